"""Rows as they come: other delimiters and encodings, zipped, broken; every fault with its line."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ordino.core.errors import Fault, Invalid
from ordino.core.rows import CSV, NDJSON, UNZIPPED_AT_ONCE, media_type_of, read_rows, unzipped


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
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True])
async def test_csv_is_read_as_people_save_it(delimiter: str, encoding: str, zipped: bool) -> None:
    text = "sku,on_hand,note\r\nJäger,3,\r\n\r\nb,4,x\r\n".replace(",", delimiter)
    body = text.encode(encoding)
    assert await read(gzip.compress(body) if zipped else body) == EXPECTED


async def test_another_encoding_must_be_named() -> None:
    body = "sku;on_hand\nb;1\nJäger;3\n".encode("windows-1252")
    with pytest.raises(Invalid, match=r"Line 3 is not UTF-8.*charset=windows-1252"):
        await read(body, size=1000)
    assert (await read(body, charset="windows-1252"))[1] == (3, {"sku": "Jäger", "on_hand": "3"})
    with pytest.raises(Invalid, match="no charset 'klingon'"):
        await read(body, charset="klingon")
    with pytest.raises(Invalid, match="no charset"):
        await read(body, charset="base64")
    assert media_type_of('Text/CSV; header=present; charset="Latin-1"') == ("text/csv", "Latin-1")


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
    sizes = [len(part) async for part in unzipped(parts(bomb, 100_000))]
    assert max(sizes) <= UNZIPPED_AT_ONCE
    assert sum(sizes) == 50_000_000


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
async def test_members_in_a_row_are_one_stream(members: list[bytes], size: int) -> None:
    zipped = b"".join(map(gzip.compress, members))
    assert b"".join([part async for part in unzipped(parts(zipped, size))]) == b"".join(members)
