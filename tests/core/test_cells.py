"""Cells of files, as spreadsheets and exports write them: read where they are clear, refused and shown where they are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from ordino.core.cells import cell_fault
from ordino.core.codes import Code
from ordino.core.errors import Fault, Invalid
from ordino.core.rows import CSV, NDJSON, read_rows


class Thing(Struct, frozen=True, kw_only=True):
    sku: Code
    on_hand: Annotated[int, Meta(ge=0)] | None = None
    delta: int | None = None
    share: float | None = None
    active: bool | None = None
    as_of: datetime | None = None
    due_on: date | None = None
    tags: list[Code] = []
    note: str | None = None


async def rows(body: str, media_type: str = CSV, **how: Any) -> list[tuple[int, Any]]:
    async def parts() -> AsyncIterator[bytes]:
        yield body.encode()

    return [row async for row in read_rows(parts(), media_type, Thing, **how)]


async def thing(column: str, cell: str, delimiter: str = ";") -> Thing | Fault:
    """What becomes of one cell, through the decoder that the callers use."""
    [(_, row)] = await rows(f"sku{delimiter}{column}\ntea{delimiter}{cell}\n")
    if isinstance(row, Fault):
        return row
    try:
        return msgspec.convert(row, Thing, strict=False)
    except msgspec.ValidationError as error:
        return cell_fault(error, row)


@pytest.mark.parametrize(
    "cell", ["1.000", "1,000", "12.0", "1 000", "1'000", "1e3", "1E3", "1\u00a0000", "1_000", "+5", "0x1f", "nan", "null", "twelve", "--1", "٣"]
)  # fmt: skip
@pytest.mark.parametrize("column", ["on_hand", "delta"])
async def test_what_is_no_plain_integer_is_refused_and_shown(column: str, cell: str) -> None:
    fault = await thing(column, cell)
    assert isinstance(fault, Fault)
    assert fault.pointer == f"/{column}"
    assert repr(cell) in fault.detail or repr(cell).replace("\\xa0", "\u00a0") in fault.detail
    assert "digits only" in fault.detail


@pytest.mark.parametrize("cell", ["12", " 12", "12 ", "\t12", "\u00a012\u00a0", '"12"', '" 12 "', "012"])
async def test_cells_are_stripped_and_digits_are_a_number(cell: str) -> None:
    assert await thing("on_hand", cell) == Thing(sku="tea", on_hand=12)


async def test_a_minus_is_read_where_the_field_may_be_negative() -> None:
    assert await thing("delta", "-3") == Thing(sku="tea", delta=-3)
    assert await thing("on_hand", "-3") == Fault(
        "/on_hand", "'-3' is refused. Expected a whole number that is at least 0."
    )


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("as_of", "45992", "Excel's serial number for 2025-12-01;"),
        ("as_of", "45992.5", "Excel's serial number for 2025-12-01 12:00;"),
        ("as_of", "45992,5", "Excel's serial number for 2025-12-01 12:00;"),
        ("due_on", "45992", "Excel's serial number for 2025-12-01;"),
        ("as_of", "01/12/2025", "is not a date with a time; write one such as 2026-11-27T08:00:00Z"),
        ("due_on", "01.12.2025", "is not a date; write one such as 2026-11-27"),
        ("share", "1,5", "is not a decimal number"),
        ("share", "nan", "is not a decimal number"),
        ("share", "inf", "is not a decimal number"),
        ("active", "yes", "is not a yes-or-no value; write true or false"),
    ],
)
async def test_every_refusal_shows_the_cell_and_says_what_is_expected(column: str, cell: str, said: str) -> None:
    fault = await thing(column, cell)
    assert isinstance(fault, Fault)
    assert fault.pointer == f"/{column}"
    assert repr(cell) in fault.detail
    assert said in fault.detail


async def test_a_long_cell_is_shown_shortened() -> None:
    fault = await thing("on_hand", "x" * 5000)
    assert isinstance(fault, Fault)
    assert "…" in fault.detail
    assert len(fault.detail) < 250


async def test_what_is_clear_is_read() -> None:
    assert await thing("share", " 1.5") == Thing(sku="tea", share=1.5)
    assert await thing("share", "-7.6E-05") == Thing(sku="tea", share=-7.6e-05)
    assert await thing("active", "TRUE ") == Thing(sku="tea", active=True)
    assert await thing("due_on", " 2026-11-27") == Thing(sku="tea", due_on=date(2026, 11, 27))
    when = datetime.fromisoformat("2026-11-27T08:00:00+01:00")
    assert await thing("as_of", " 2026-11-27T08:00:00+01:00") == Thing(sku="tea", as_of=when)
    assert await thing("tags", "cold  fragile\u00a0") == Thing(sku="tea", tags=["cold", "fragile"])
    assert await thing("note", "  two  blanks ") == Thing(sku="tea", note="two  blanks")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
async def test_empty_columns_after_the_last_name_are_passed_over(delimiter: str) -> None:
    body = "sku,on_hand,, \r\na,1,,\r\nb,2,, \r\n,,,\r\nc,3,,x\r\nd,4\r\n".replace(",", delimiter)
    assert await rows(body) == [
        (2, {"sku": "a", "on_hand": "1"}),
        (3, {"sku": "b", "on_hand": "2"}),
        (5, Fault("", "The row has 4 cells, the header 2.")),
        (6, {"sku": "d", "on_hand": "4"}),
    ]
    with pytest.raises(Invalid, match="does not know ''"):
        await rows("sku,,on_hand\na,,1\n")


async def test_quoted_rows_are_read_as_plain_ones_are() -> None:
    body = 'sku,on_hand,note\n"a","1","x"\n"b",2,"one, two"\n"c","3","say ""so"""\n"d",,"two\nlines"\n'
    assert await rows(body) == [
        (2, {"sku": "a", "on_hand": "1", "note": "x"}),
        (3, {"sku": "b", "on_hand": "2", "note": "one, two"}),
        (4, {"sku": "c", "on_hand": "3", "note": 'say "so"'}),
        (5, {"sku": "d", "note": "two\nlines"}),
    ]


async def test_a_cell_that_is_no_code_is_refused_however_plain_it_looks() -> None:
    found = [row for _, row in await rows('sku,on_hand\n.,1\n"..",2\n...,3\n')]
    assert [fault.pointer for fault in found[:2] if isinstance(fault, Fault)] == ["/sku", "/sku"]
    assert found[2] == {"sku": "...", "on_hand": "3"}


async def test_rows_of_json_take_integers_that_are_integers() -> None:
    body = "\n".join(
        [
            '{"sku": "a", "on_hand": 12}', '{"sku": "a", "on_hand": "12"}', '{"sku": "a", "on_hand": "1e3"}',
            '{"sku": "a", "on_hand": 1.0}', '{"sku": "a", "on_hand": 1e3}', '{"sku": "a", "on_hand": "1.000"}',
            '{"sku": "a", "as_of": 45992}', '{"sku": "a ", "on_hand": 1}', '{"sku": " "}', '{"sku": "a", "active": "true"}',
        ]
    )  # fmt: skip
    found = [row for _, row in await rows(body, NDJSON, decode=True)]
    twelve = Thing(sku="a", on_hand=12)
    assert found[:2] == [twelve, twelve]
    for fault, cell in zip(found[2:6], ("'1e3'", "'1.0'", "'1000.0'", "'1.000'"), strict=True):
        assert isinstance(fault, Fault)
        assert fault.pointer == "/on_hand"
        assert cell in fault.detail
        assert "digits only" in fault.detail
    assert "Excel's serial number" in found[6].detail
    assert found[7] == Thing(sku="a", on_hand=1)
    assert found[8] == Fault("/sku", "A code may not be empty or white space only; send a name.")
    assert found[9] == Thing(sku="a", active=True)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=8), min_size=2, max_size=4)
)
async def test_an_ordinary_row_is_read_as_any_other_is(cells: list[str]) -> None:
    """What the quick test of a row lets through is what the look at each cell makes of it."""
    names = ["sku", "note", "on_hand", "active"][: len(cells)]
    quoted = [cell.replace('"', '""') for cell in cells]
    plain = ",".join(cell if not set(cell) & set('",') else f'"{cell}"' for cell in quoted)
    all_quoted = ",".join(f'"{cell}"' for cell in quoted)
    both = await rows(f"{','.join(names)}\n{plain}\n{all_quoted}\n")
    assert len(both) in (0, 2)
    assert len({msgspec.json.encode(row) for _, row in both}) <= 1
