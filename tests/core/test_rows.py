"""Rows as they come: other delimiters and encodings, zipped, broken; every fault with its line."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ordino.core.charsets import CHARSETS, codec_of
from ordino.core.errors import Fault, Invalid, UnsupportedMedia
from ordino.core.rows import CSV, NDJSON, UNZIPPED_AT_ONCE, Limits, check_readable, media_type_of, read_rows, unzipped


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
    assert media_type_of('Text/CSV; header=present; charset="Latin-1"') == "text/csv"


CODES = {
    "utf-8-sig": "Jäger", "utf-16": "Jäger", "UTF-16LE": "Jäger", "utf-16-be": "Ċafé", "ISO-8859-1": "Jäger", "latin1": "Jäger",
    "iso-8859-2": "Łódź", "iso-8859-5": "Сапог", "iso-8859-7": "Ελλάς", "iso-8859-9": "Şişe", "iso-8859-15": "5€",
    "windows-1250": "Łódź", "windows-1251": "Сапог", "Windows-1252": "5€", "cp1252": "5€", "windows-1253": "Ελλάς",
    "windows-1254": "Şişe", "windows-1255": "שלום", "windows-1256": "قلم", "windows-1257": "Šķēres", "windows-1258": "Đô",
    "windows-874": "ไทย", "ibm437": "Jäger", "cp850": "Jäger", "ibm852": "Łódź", "macintosh": "Jäger", "koi8-r": "Сапог",
    "Shift_JIS": "表①", "sjis": "ソ", "windows-31j": "髙", "euc-jp": "日本", "gb18030": "中文𠀀", "gbk": "中文", "gb2312": "中文",
    "big5": "許功蓋", "euc-kr": "한국",
}  # fmt: skip
WRITTEN_WITH = {"windows-874": "cp874", "macintosh": "mac-roman", "windows-31j": "cp932", "Shift_JIS": "cp932"}


@pytest.mark.parametrize("charset", CODES)
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_csv_is_read_in_every_charset_of_the_list_however_it_is_cut(charset: str, size: int) -> None:
    sku = CODES[charset]
    body = f'sku;on_hand;note\r\nb;1;"x;\ny"\r\n{sku};3;\r\n'.encode(WRITTEN_WITH.get(charset, charset))
    expected = [(2, {"sku": "b", "on_hand": "1", "note": "x;\ny"}), (4, {"sku": sku, "on_hand": "3"})]
    assert await read(body, charset=charset, size=size) == expected
    assert await read(gzip.compress(body), charset=charset, size=size) == expected


def test_the_list_of_charsets_holds_no_others_than_were_tried() -> None:
    tried = {codec_of(charset, csv=True) for charset in CODES}
    assert {codec_of(charset, csv=True) for charset in CHARSETS} <= tried
    for charset in CHARSETS:
        assert charset == "utf-8" or codecs.lookup(str(codec_of(charset, csv=True)))._is_text_encoding  # type: ignore[attr-defined]


REFUSED = [
    "utf-7", "utf_7", "UTF7", "punycode", "idna", "base64", "hex", "rot13", "zlib", "bz2", "uu", "quopri", "raw_unicode_escape",
    "unicode_escape", "undefined", "mbcs", "oem", "utf-32", "utf-8-variants", "hz", "iso2022_jp", "cp037", "klingon", "", " ",
    "\x00", "x" * 500, "utf-8\n", "../utf-8", "charmap", "string_escape", "unicode_internal",
]  # fmt: skip


@pytest.mark.parametrize("charset", REFUSED)
async def test_no_other_charset_is_read_and_the_known_ones_are_named(charset: str) -> None:
    with pytest.raises(UnsupportedMedia, match=r"Save the file as UTF-8.*or name one of utf-8, utf-16, .*windows-1252"):
        await read(b"sku,on_hand\nb,1\n", charset=charset)
    with pytest.raises(UnsupportedMedia):
        await check_readable(parts(b"sku,on_hand\nb,1\n"), CSV, charset=charset)


@pytest.mark.parametrize("charset", ["windows-1252", "utf-16", "utf-16le", "shift_jis", *REFUSED])
async def test_json_lines_are_utf_8(charset: str) -> None:
    with pytest.raises(UnsupportedMedia, match="only UTF-8"):
        await read(b'{"sku": "b", "on_hand": 1}\n', NDJSON, charset=charset)
    with pytest.raises(UnsupportedMedia, match="only UTF-8"):
        await check_readable(parts(b"{}\n"), NDJSON, charset=charset)
    for marked in ("\ufeff{}\n".encode("utf-16-le"), "\ufeff{}\n".encode("utf-16-be")):
        with pytest.raises(UnsupportedMedia, match="only UTF-8 is read"):
            await read(marked, NDJSON)


@pytest.mark.parametrize("size", [1, 1000])
async def test_utf_16_needs_a_mark_or_its_byte_order(size: int) -> None:
    for order in ("utf-16-le", "utf-16-be"):
        body = "sku,on_hand\nJäger,1\n".encode(order)
        with pytest.raises(Invalid, match=r"does not begin with a byte order mark.*charset=utf-16le"):
            await read(body, charset="utf-16", size=size)
        for sent in (body, "\ufeff".encode(order) + body):
            assert await read(sent, charset=order, size=size) == [(2, {"sku": "Jäger", "on_hand": "1"})]
    assert await read(b"", charset="utf-16") == []


@pytest.mark.parametrize(
    ("charset", "said", "broken"),
    [
        ("windows-1252", "windows-1252", b"\x81"),
        ("utf-16le", "utf-16le", b"\x00\xd8a\x00"),
        ("utf-16", "utf-16", b"\xd8"),
        ("shift_jis", "shift_jis", b"\x81"),
        ("gbk", "gb18030", b"\x81"),
        (None, "UTF-8", b"\xff"),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_what_cannot_be_read_is_told_with_its_line(
    charset: str | None, said: str, broken: bytes, size: int
) -> None:
    # of UTF-16, U+010A has the byte of a line's end and is none
    text = "sku,on_hand\nb,1\nĊ,2\nc," if "utf-16" in str(charset) else "sku,on_hand\nb,1\nb,2\nc,"
    encoding = {"utf-16": "utf-16", "utf-16le": "utf-16-le"}.get(str(charset), "ascii")
    with pytest.raises(Invalid, match=f"Line 4 is not {said}"):
        await read(text.encode(encoding) + broken, charset=charset, size=size)


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
