"""Rows of any length: CSV and NDJSON as they come, zipped or not, each with the number of its line.

What is wrong with a row is a ``Fault`` in its place. ``Invalid`` is raised where a stream cannot be read on, and says from which
line. A feed may be of any length. What is limited is what only costs time: lines that are blank or unreadable, and zipped bodies
that unpack to many times their size (``Limits``). Whoever reads rows lets other requests run in between.
"""

from __future__ import annotations

import asyncio
import csv
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ordino.core.cells import cell_fault, columns_of, row_of, tidy_row
from ordino.core.charsets import codec_of, decoder_of, not_decoded
from ordino.core.codes import is_plain, tidy
from ordino.core.errors import Fault, Invalid
from ordino.core.settings import Settings

CSV = "text/csv"
NDJSON = "application/x-ndjson"
LINE_CHARACTERS = 1_000_000
DELIMITERS = (",", ";", "\t", "|")
GZIP_MAGIC = b"\x1f\x8b"
GZIPPED = frozenset({"gzip", "x-gzip"})
"""What a Content-Encoding says of a zipped body."""
UNZIPPED_AT_ONCE = 64 * 1024
UNZIPPED_FREELY = 10_000_000
"""So many bytes may come out of a zipped body whatever its size."""
COLUMNS = 1000
MARK_BYTES = 2
LINES_IN_A_ROW = 128
"""After so many lines, other requests have their turn."""
ORDINARY_CHARACTERS = 10_000

Rows = AsyncIterator[tuple[int, Any]]
"""(line, what stands there): of CSV a dict of texts by field, of NDJSON what was decoded, or a ``Fault``."""


class RowFault(Struct, frozen=True):
    """What is wrong with one row; the header of a CSV is line 1."""

    line: int
    pointer: str
    detail: str


class Limits(Struct, frozen=True, kw_only=True):
    """What a feed may cost beyond its rows. ``ratio`` is how many times its size a zipped body may unpack to, beyond the first
    ``UNZIPPED_FREELY`` bytes; ``waste_lines`` is how many lines may be blank or unreadable, beyond as many as hold rows.
    """

    ratio: int = 200
    waste_lines: int = 100_000

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those that are set."""
        return cls(ratio=settings.feed_ratio, waste_lines=settings.feed_waste_lines)


LIMITS = Limits()


def media_type_of(content_type: str) -> str:
    """The media type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_rows(
    stream: AsyncIterator[bytes],
    media_type: str,
    type_: type[Struct],
    *,
    charset: str | None = None,
    zipped: bool = False,
    decode: bool = False,
    limits: Limits = LIMITS,
) -> Rows:
    """The rows of a body. A zipped one is recognized, too, if nobody says that it is. With ``decode``, NDJSON becomes the type at
    once. Raises ``UnsupportedMedia`` for a charset that is not read (``charsets.py``).
    """
    codec = codec_of(charset, csv=media_type != NDJSON)
    plain = unzipped(stream, sure=zipped, ratio=limits.ratio)
    if media_type == NDJSON:
        return read_ndjson(plain, type_, decode=decode, limits=limits)
    return read_csv(plain, type_, codec=codec, limits=limits)


async def unzipped(
    stream: AsyncIterator[bytes], *, sure: bool = False, ratio: int = LIMITS.ratio
) -> AsyncIterator[bytes]:
    """A gzip stream as it was before, a little at a time, however much comes out of it; anything else as it is. Raises ``Invalid``
    for what is damaged or cut off, and for what is more than ``ratio`` times as large as it was sent.
    """
    head = b""
    async for part in stream:
        head += part
        if len(head) >= len(GZIP_MAGIC):
            break
    if not sure and not head.startswith(GZIP_MAGIC):
        yield head
        async for part in stream:
            yield part
        return
    unzip, begun = zlib.decompressobj(wbits=31), False
    rest: bytes | None = head
    taken = given = 0
    try:
        while rest is not None:
            taken += len(rest)
            while rest:
                begun = True
                if out := unzip.decompress(rest, UNZIPPED_AT_ONCE):
                    given += len(out)
                    if given > UNZIPPED_FREELY + ratio * taken:
                        raise _too_dense(ratio)
                    yield out
                rest = unzip.unconsumed_tail
                if unzip.eof:  # several members in a row are one stream
                    rest = unzip.unused_data
                    unzip, begun = zlib.decompressobj(wbits=31), False
                    await asyncio.sleep(0)  # a member may be empty
            rest = await anext(stream, None)
    except zlib.error as error:
        raise Invalid(
            f"The body is not gzip, or was damaged on the way: {error}. Zip it again, or send it plain."
        ) from error
    if begun:
        raise Invalid("The zipped body ends too early; send it again, whole.")


def _too_dense(ratio: int) -> Invalid:
    return Invalid(
        f"The zipped body unpacks to more than {ratio} times its size. Send it plain, or in parts of less than "
        f"{UNZIPPED_FREELY:,} unpacked bytes each; ORDINO_FEED_RATIO sets the limit."
    )


class _Waste:
    """Counts the lines of a feed that hold rows, and those that only cost time."""

    __slots__ = ("_most", "rows", "wasted")

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows = self.wasted = 0

    def note(self, line: int) -> None:
        """One more line is blank or unreadable. Raises ``Invalid`` if there are too many of them."""
        self.wasted += 1
        if self.wasted > self._most + self.rows:
            detail = (
                f"Up to line {line}, {self.wasted} lines are blank or unreadable and {self.rows} hold rows. Check the file and "
                "leave such lines out; ORDINO_FEED_WASTE_LINES sets the limit."
            )
            raise Invalid(detail, faults=[Fault(f"/{line}", detail)])


async def read_csv(
    stream: AsyncIterator[bytes], type_: type[Struct], *, codec: str | None = None, limits: Limits = LIMITS
) -> Rows:
    """Lines and their rows: field -> text. The header names the columns, parted by a comma, a semicolon, a tab or a bar; empty ones
    after the last name are passed over with their empty cells. Cells are stripped; an empty one leaves its field out; a list's
    values are parted by blanks. A cell that its field cannot take is a ``Fault`` that shows it.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    columns = None
    delimiter = ","
    waste = _Waste(limits.waste_lines)
    async for line, text in _records(stream, codec=codec):
        if not text:
            waste.note(line)
            continue
        if columns is None:
            if not text.strip():
                waste.note(line)
                continue
            delimiter = _delimiter(text, fields, line)
        elif len(text) <= ORDINARY_CHARACTERS and (row := columns.ordinary(text)) is not None:
            waste.rows += 1
            yield line, row
            continue
        try:
            cells = next(csv.reader([text], strict=True, delimiter=delimiter), [])
        except csv.Error as error:
            waste.note(line)
            yield line, Fault("", f"The line is not CSV: {error}.")
            continue
        if not any(map(str.strip, cells)):
            waste.note(line)
            continue
        if columns is None:
            header = _named(cells)
            _check(header, fields, line)
            columns = columns_of(type_, header, delimiter)
        elif len(cells) < len(columns.names) or any(map(str.strip, cells[len(columns.names) :])):
            waste.note(line)
            yield line, Fault("", f"The row has {len(cells)} cells, the header {len(columns.names)}.")
        else:
            found = row_of(columns, cells)
            if isinstance(found, Fault):
                waste.note(line)
            else:
                waste.rows += 1
            yield line, found


def _named(cells: Sequence[str]) -> list[str]:
    """The names of a header, without the empty columns that spreadsheets leave after the last one."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _delimiter(header: str, fields: Collection[str], line: int) -> str:
    """What parts the header into the most columns that are known. Raises ``Invalid`` for a line that can be no header."""
    if max(map(header.count, DELIMITERS)) >= COLUMNS:
        detail = f"The first line names the columns, {COLUMNS} at most; the columns are {', '.join(fields)}."
        raise Invalid(detail, faults=[Fault(f"/{line}", detail)])

    def known(delimiter: str) -> int:
        return sum(cell.strip().strip('"') in fields for cell in header.rstrip("\r").split(delimiter))

    return max(DELIMITERS, key=known)


def _check(header: Sequence[str], fields: dict[str, Any], line: int) -> None:
    unknown = [name for name in header if name not in fields]
    lacking = [name for name, field in fields.items() if field.required and name not in header]
    if unknown or lacking or len(set(header)) < len(header):
        wrong = f"does not know {', '.join(map(repr, unknown))}" if unknown else ""
        wrong = wrong or (f"lacks {', '.join(lacking)}" if lacking else "names a column twice")
        detail = f"The first line names the columns, and it {wrong}; the columns are {', '.join(fields)}."
        raise Invalid(detail, faults=[Fault(f"/{line}", detail)])


async def _records(
    stream: AsyncIterator[bytes], *, quotes: bool = True, codec: str | None = None
) -> AsyncIterator[tuple[int, str]]:
    """Line numbers and records. With ``quotes`` it is CSV, and a record ends with its line unless a quote is open there. Raises
    what ``decoder_of`` raises, and ``Invalid`` for what the codec cannot read.
    """
    decoder: Any = None
    head = b""
    marked = True  # a byte order mark may still come
    record: list[str] = []
    begun: list[str] = []  # of a line that has not ended yet
    line = first = 1
    length = unended = 0  # of the record, and of its line that has not ended yet
    quoted = ended = False
    parts = aiter(stream)
    while not ended:
        part = await anext(parts, None)
        await asyncio.sleep(0)
        ended = part is None
        if decoder is None:
            head += part or b""
            if len(head) < MARK_BYTES and not ended:
                continue
            decoder, codec = decoder_of(codec, head, csv=quotes)
            part = head
        try:
            text = decoder.decode(part or b"", final=ended)
        except UnicodeDecodeError as error:
            raise not_decoded(error, line, codec, csv=quotes) from error
        if marked and text:
            text, marked = text.removeprefix("\ufeff"), False
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = "".join([*begun, lines[0]])
            begun.clear()
            unended = 0
        if rest:
            begun.append(rest)
            unended += len(rest)
        if ended and begun:
            lines.append("".join(begun))
        for text in lines:
            record.append(text)
            length += len(text) + 1
            line += 1
            if quotes and text.count('"') % 2:
                quoted = not quoted
            if not quoted:
                yield first, "\n".join(record) if len(record) > 1 else text
                record.clear()
                first, length = line, 0
            if not line % LINES_IN_A_ROW:
                await asyncio.sleep(0)
        if length + unended > LINE_CHARACTERS:
            raise Invalid(f"Line {first} is longer than {LINE_CHARACTERS} characters; a quote may be open there.")
    if record:
        raise Invalid(
            f"The text ends inside a quoted cell that begins in line {first}. Send it whole, or close the quote."
        )


async def read_ndjson(
    stream: AsyncIterator[bytes],
    type_: type[Struct],
    *,
    decode: bool = False,
    limits: Limits = LIMITS,
) -> Rows:
    """Line numbers and what stands on each line, with its codes normalized; a line that is not JSON, or with ``decode`` not of the
    type, is a ``Fault``. Numbers may stand as texts of digits; a number with a point or an exponent is no integer.
    """
    decoder = msgspec.json.Decoder(type_ if decode else Any).decode
    waste = _Waste(limits.waste_lines)
    async for line, text in _records(stream, quotes=False):
        if not text or not text.strip():
            waste.note(line)
            continue
        body = text.encode("utf-8", "surrogatepass")
        try:
            if is_plain(body):
                row = decoder(body)
                waste.rows += 1
                yield line, row
                continue
        except (ValueError, RecursionError):
            pass  # looked at below, and told
        row = _looked_at(body, type_, decode=decode)
        if isinstance(row, Fault):
            waste.note(line)
        else:
            waste.rows += 1
        yield line, row


def _looked_at(body: bytes, type_: type[Struct], *, decode: bool) -> Any:
    """A line that no quick look settled: what stands there, or what is wrong with it."""
    try:
        row = msgspec.json.decode(body)
    except RecursionError:
        return Fault("", "The line is nested too deeply.")
    except ValueError as error:
        return Fault("", f"The line is not JSON: {error}.")
    row, faults = tidy(row, type_)
    if faults:
        return faults[0]
    if not decode:
        return row
    row = tidy_row(row, type_)
    if isinstance(row, Fault):
        return row
    try:
        return msgspec.convert(row, type_)
    except msgspec.ValidationError as error:
        return cell_fault(error, row)


async def check_readable(
    stream: AsyncIterator[bytes], media_type: str, *, charset: str | None = None, limits: Limits = LIMITS
) -> None:
    """Read a body to its end and keep nothing of it. Raises ``Invalid`` where it cannot be read on, and ``UnsupportedMedia`` for a
    charset that is not read.
    """
    quotes = media_type != NDJSON
    codec = codec_of(charset, csv=quotes)
    waste = _Waste(limits.waste_lines)
    plain = unzipped(stream, ratio=limits.ratio)
    async for line, text in _records(plain, quotes=quotes, codec=codec):
        if text:
            waste.rows += 1
        else:
            waste.note(line)
