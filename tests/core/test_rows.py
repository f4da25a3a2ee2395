"""Rows as they come: other delimiters and encodings, zipped, broken; every fault with its line."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ordino.core.errors import Fault, Invalid, UnsupportedMedia
from ordino.core.rows import CSV, NDJSON, UNZIPPED_AT_ONCE, Limits, media_type_of, read_rows, unzipped


class Thing(Struct):
    sku: str
    on_hand: int
    note: str | None = None


async def parts(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(body: bytes, media_type: str = CSV, size: int = 7, **how: object) -> list[tuple[int, object]]:
    return [row async for row in read_rows(parts(body, size), media_type, Thing, **how)]  # type: ignore[arg-type]


EXPECTED = [(2, {"sku": "Jäger", "on_hand": "3"}), (4, {"sku": "b", "on_hand": "4", "note": "x"})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("zipped", [False, True])
async def test_csv_is_read_as_people_save_it(delimiter: str, encoding: str, zipped: bool) -> None:
    text = "sku,on_hand,note\r\nJäger,3,\r\n\r\nb,4,x\r\n".replace(",", delimiter)
    body = text.encode(encoding)
    assert await read(gzip.compress(body) if zipped else body) == EXPECTED


@pytest.mark.parametrize("media_type", [CSV, NDJSON])
async def test_what_is_not_utf_8_is_refused_with_its_line_and_what_to_do(media_type: str) -> None:
    body = "sku;on_hand\nb;1\nJäger;3\n".encode("windows-1252")
    with pytest.raises(Invalid, match=r"Line 3 is not UTF-8.*Save the file as UTF-8"):
        await read(body, media_type, size=1000)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        mark = "" if encoding == "utf-16" else "\ufeff"
        for zipped in (False, True):
            text = f"{mark}sku;on_hand\nb;1\n".encode(encoding)
            with pytest.raises(UnsupportedMedia, match="only UTF-8 is read"):
                await read(gzip.compress(text) if zipped else text, media_type)
    assert media_type_of('Text/CSV; header=present; charset="Latin-1"') == "text/csv"


@pytest.mark.parametrize("header", ["sku;amount", "sku", "sku,sku,on_hand"])
async def test_a_wrong_header_is_told_with_the_columns(header: str) -> None:
    with pytest.raises(Invalid, match="the columns are sku, on_hand, note"):
        await read(f"{header}\na,1\n".encode())


async def test_ndjson_comes_zipped_too() -> None:
    body = b'{"sku": "a", "on_hand": 1}\nnonsense\n{"sku": "b"}\n'
    rows = await read(gzip.compress(body), NDJSON, decode=True)
    assert rows[0] == (1, Thing("a", 1))
    assert [(line, type(item)) for line, item in rows[1:]] == [(2, Fault), (3, Fault)]


async def test_a_zipped_body_that_is_cut_off_or_damaged_is_told_after_what_came_before() -> None:
    body = gzip.compress(b"sku,on_hand\n" + b"a,1\n" * 50_000)
    for broken in (body[:-9], body[: len(body) // 2]):
        seen: list[int] = []

        async def follow(body: bytes = broken, seen: list[int] = seen) -> None:
            async for line, _ in read_rows(parts(body), CSV, Thing):
                seen.append(line)

        with pytest.raises(Invalid, match="ends too early"):
            await follow()
        assert seen
    with pytest.raises(Invalid, match="not gzip, or was damaged"):
        await read(body[:50] + b"\xff" * 40 + body[90:])
    with pytest.raises(Invalid, match="not gzip"):
        await read(b"sku,on_hand\n", zipped=True)


async def test_a_bomb_comes_out_a_little_at_a_time() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    sizes = [len(part) async for part in unzipped(parts(bomb, 100_000), ratio=1100)]
    assert max(sizes) <= UNZIPPED_AT_ONCE
    assert sum(sizes) == 50_000_000
    with pytest.raises(Invalid, match="unpacks to more than 200 times its size"):
        async for _ in unzipped(parts(bomb, 100_000)):
            pass


@pytest.mark.parametrize("media_type", [CSV, NDJSON])
@pytest.mark.parametrize("line", ["", "\r", " , ", '"'])
async def test_a_feed_of_lines_that_hold_nothing_is_not_read_to_its_end(media_type: str, line: str) -> None:
    limits = Limits(waste_lines=1000)
    head = "sku,on_hand\n" if media_type == CSV else ""
    with pytest.raises(Invalid, match=r"blank or unreadable|longer than"):
        async for _ in read_rows(
            parts((head + f"{line}\n" * 2_000_000).encode(), 9999), media_type, Thing, limits=limits
        ):
            pass


@pytest.mark.parametrize("media_type", [CSV, NDJSON])
async def test_a_feed_with_a_blank_line_after_each_row_is_read_whatever_its_length(media_type: str) -> None:
    row = "a,1\n\n" if media_type == CSV else '{"sku": "a", "on_hand": 1}\n\n'
    head = "sku,on_hand\n" if media_type == CSV else ""
    rows = read_rows(parts((head + row * 5000).encode(), 999), media_type, Thing, limits=Limits(waste_lines=10))
    assert len([row async for row in rows]) == 5000


async def test_blank_lines_inside_an_open_quote_count_towards_its_length() -> None:
    with pytest.raises(Invalid, match="a quote may be open there"):
        async for _ in read_rows(parts(b'sku,on_hand\n"' + b"\n" * 3_000_000, 9999), CSV, Thing):
            pass


async def test_a_line_that_comes_a_byte_at_a_time_is_as_long_as_it_is() -> None:
    assert await read(b'sku,on_hand,note\na,1,"b\n\nc"\nd,2,' + b"e" * 40_000 + b"\n", size=1) == [
        (2, {"sku": "a", "on_hand": "1", "note": "b\n\nc"}),
        (5, {"sku": "d", "on_hand": "2", "note": "e" * 40_000}),
    ]


async def test_a_header_of_a_million_columns_is_refused_with_the_columns() -> None:
    with pytest.raises(Invalid, match="1000 at most; the columns are sku, on_hand, note") as refused:
        await read(b"a," * 499_000 + b"\n", size=99_999)
    assert len(str(refused.value)) < 200


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
async def test_members_in_a_row_are_one_stream(members: list[bytes], size: int) -> None:
    zipped = b"".join(map(gzip.compress, members))
    assert b"".join([part async for part in unzipped(parts(zipped, size))]) == b"".join(members)
