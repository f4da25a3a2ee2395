"""Rows of any length: CSV and NDJSON as they come, zipped or not, each with the number of its line.

What is wrong with a row is a ``Fault`` in its place. ``Invalid`` is raised where a stream cannot be read on, and says from which
line.
"""

from __future__ import annotations

import codecs
import csv
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ordino.core.cells import cell_fault, columns_of, row_of, tidy_row
from ordino.core.codes import is_plain, tidy
from ordino.core.errors import Fault, Invalid

CSV = "text/csv"
NDJSON = "application/x-ndjson"
LINE_CHARACTERS = 1_000_000
DELIMITERS = (",", ";", "\t", "|")
GZIP_MAGIC = b"\x1f\x8b"
UNZIPPED_AT_ONCE = 256 * 1024

Rows = AsyncIterator[tuple[int, Any]]
"""(line, what stands there): of CSV a dict of texts by field, of NDJSON what was decoded, or a ``Fault``."""


class RowFault(Struct, frozen=True):
    """What is wrong with one row; the header of a CSV is line 1."""

    line: int
    pointer: str
    detail: str


def media_type_of(content_type: str) -> tuple[str, str | None]:
    """The media type, and the charset if it names one."""
    type_, *parameters = (part.strip() for part in content_type.split(";"))
    charset = next((p.partition("=")[2].strip('" ') for p in parameters if p.lower().startswith("charset=")), None)
    return type_.lower(), charset or None


def read_rows(
    stream: AsyncIterator[bytes],
    media_type: str,
    type_: type[Struct],
    *,
    charset: str | None = None,
    zipped: bool = False,
    decode: bool = False,
) -> Rows:
    """The rows of a body. A zipped one is recognized, too, if nobody says that it is. With ``decode``, NDJSON becomes the type at
    once. Raises ``Invalid`` for an unknown charset.
    """
    encoding = _encoding(charset)
    plain = unzipped(stream, sure=zipped)
    if media_type == NDJSON:
        return read_ndjson(plain, type_, decode=decode, encoding=encoding)
    return read_csv(plain, type_, encoding=encoding)


def _encoding(charset: str | None) -> str | None:
    if charset is None:
        return None
    try:
        known = codecs.lookup(charset)
    except (LookupError, ValueError):
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise Invalid(f"There is no charset {charset!r}; send UTF-8, or name one such as windows-1252.")
    return None if known.name == "utf-8" else known.name


async def unzipped(stream: AsyncIterator[bytes], *, sure: bool = False) -> AsyncIterator[bytes]:
    """A gzip stream as it was before, a little at a time, however much comes out of it; anything else as it is."""
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
    try:
        while rest is not None:
            while rest:
                begun = True
                if out := unzip.decompress(rest, UNZIPPED_AT_ONCE):
                    yield out
                rest = unzip.unconsumed_tail
                if unzip.eof:  # several members in a row are one stream
                    rest = unzip.unused_data
                    unzip, begun = zlib.decompressobj(wbits=31), False
            rest = await anext(stream, None)
    except zlib.error as error:
        raise Invalid(
            f"The body is not gzip, or was damaged on the way: {error}. Zip it again, or send it plain."
        ) from error
    if begun:
        raise Invalid("The zipped body ends too early; send it again, whole.")


async def read_csv(stream: AsyncIterator[bytes], type_: type[Struct], *, encoding: str | None = None) -> Rows:
    """Lines and their rows: field -> text. The header names the columns, parted by a comma, a semicolon, a tab or a bar; empty ones
    after the last name are passed over with their empty cells. Cells are stripped; an empty one leaves its field out; a list's
    values are parted by blanks. A cell that its field cannot take is a ``Fault`` that shows it.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    columns = None
    delimiter = ","
    async for line, text in _records(stream, encoding=encoding):
        if columns is None:
            if not text.strip():
                continue
            delimiter = _delimiter(text, fields)
        elif (row := columns.ordinary(text)) is not None:
            yield line, row
            continue
        try:
            cells = next(csv.reader([text], strict=True, delimiter=delimiter), [])
        except csv.Error as error:
            yield line, Fault("", f"The line is not CSV: {error}.")
            continue
        if not any(map(str.strip, cells)):
            continue
        if columns is None:
            header = _named(cells)
            _check(header, fields, line)
            columns = columns_of(type_, header, delimiter)
        elif len(cells) < len(columns.names) or any(map(str.strip, cells[len(columns.names) :])):
            yield line, Fault("", f"The row has {len(cells)} cells, the header {len(columns.names)}.")
        else:
            yield line, row_of(columns, cells)


def _named(cells: Sequence[str]) -> list[str]:
    """The names of a header, without the empty columns that spreadsheets leave after the last one."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _delimiter(header: str, fields: Collection[str]) -> str:
    """What parts the header into the most columns that are known."""

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
    stream: AsyncIterator[bytes], *, quotes: bool = True, encoding: str | None = None
) -> AsyncIterator[tuple[int, str]]:
    """Line numbers and records. A record ends with its line, unless a quote is open there. Text is UTF-8, or UTF-16 with a byte
    order mark, if nobody says what it is.
    """
    decoder: Any = None
    record: list[str] = []
    rest = ""
    line = first = 1
    length = 0
    quoted = ended = False
    parts = aiter(stream)
    while not ended:
        part = await anext(parts, None)
        ended = part is None
        if decoder is None:
            marked = part is not None and part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            decoder = codecs.getincrementaldecoder(encoding or ("utf-16" if marked else "utf-8-sig"))()
        try:
            rest += decoder.decode(part or b"", final=ended)
        except UnicodeDecodeError as error:
            said = encoding or "UTF-8"
            lines = bytes(error.object[: error.start]).count(b"\n")
            raise Invalid(
                f"Line {line + lines} is not {said}: {error.reason}. Save the file as UTF-8, or say in the Content-Type what it "
                "is, as in text/csv; charset=windows-1252."
            ) from error
        *lines_, rest = rest.split("\n")
        if ended and rest:
            lines_.append(rest)
        for text in lines_:
            record.append(text)
            length += len(text)
            line += 1
            if quotes and text.count('"') % 2:
                quoted = not quoted
            if not quoted:
                yield first, "\n".join(record)
                record.clear()
                first, length = line, 0
        if length + len(rest) > LINE_CHARACTERS:
            raise Invalid(f"Line {first} is longer than {LINE_CHARACTERS} characters; a quote may be open there.")
    if record:
        raise Invalid(
            f"The text ends inside a quoted cell that begins in line {first}. Send it whole, or close the quote."
        )


async def read_ndjson(
    stream: AsyncIterator[bytes], type_: type[Struct], *, decode: bool = False, encoding: str | None = None
) -> Rows:
    """Line numbers and what stands on each line, with its codes normalized; a line that is not JSON, or with ``decode`` not of the
    type, is a ``Fault``. Numbers may stand as texts of digits; a number with a point or an exponent is no integer.
    """
    decoder = msgspec.json.Decoder(type_ if decode else Any).decode
    async for line, text in _records(stream, quotes=False, encoding=encoding):
        if not text.strip():
            continue
        body = text.encode("utf-8", "surrogatepass")
        try:
            if is_plain(body):
                yield line, decoder(body)
                continue
        except (ValueError, RecursionError):
            pass  # looked at below, and told
        yield line, _looked_at(body, type_, decode=decode)


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


async def check_readable(stream: AsyncIterator[bytes], media_type: str, *, charset: str | None = None) -> None:
    """Read a body to its end and keep nothing of it. Raises ``Invalid`` where it cannot be read on."""
    async for _ in _records(unzipped(stream), quotes=media_type != NDJSON, encoding=_encoding(charset)):
        pass
