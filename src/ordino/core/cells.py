"""Cells of a CSV: texts that spreadsheets and exports write, each checked against the type of its field.

What could be a thousands separator or a decimal is refused rather than guessed: ``1.000`` is a thousand in Berlin, and one in
Boston.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from ordino.core import codes
from ordino.core.codes import shown
from ordino.core.errors import Fault
from ordino.core.times import YEARS, year_fault
from ordino.core.upserts import fault_of

DIGITS_AT_MOST = 25
FIRST_SERIAL = datetime(1899, 12, 30)  # what Excel counts days from, its leap day of 1900 left aside
LAST_SERIAL = 2_958_465  # the last day of the year 9999


class Kind(StrEnum):
    """What a cell is to hold."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    INSTANT = "instant"
    DATE = "date"
    CODE = "code"
    CODES = "codes"
    TEXTS = "texts"
    TEXT = "text"


_KINDS: tuple[tuple[type[types.Type], Kind], ...] = (
    (types.IntType, Kind.INTEGER),
    (types.FloatType, Kind.DECIMAL),
    (types.BoolType, Kind.BOOLEAN),
    (types.DateTimeType, Kind.INSTANT),
    (types.DateType, Kind.DATE),
    (types.ListType, Kind.TEXTS),
)

# What needs no second look: the text of a row, cell by cell. White space, quotes and everything beyond ASCII takes the slower way.
_PLAIN: dict[Kind, str] = {
    Kind.INTEGER: "(?:0|[1-9][0-9]{0,17})",
    Kind.DECIMAL: r"-?[0-9]{1,15}(?:\.[0-9]{1,20})?",
    Kind.BOOLEAN: "(?:true|false)",
    Kind.INSTANT: f"{YEARS}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z",
    Kind.DATE: f"{YEARS}-[0-9]{{2}}-[0-9]{{2}}",
}
_INTEGER = re.compile("-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_BOOLEAN = re.compile("true|false|1|0", re.IGNORECASE)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SERIAL = re.compile("([0-9]{1,7})(?:[.,]([0-9]+))?")


class Columns(Struct, frozen=True):
    """The columns of one file: their names and kinds, and the tests that settle an ordinary row at once."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    lists: bool
    plain: Callable[[str], re.Match[str] | None]
    quoted: Callable[[str], re.Match[str] | None]

    def ordinary(self, text: str) -> dict[str, Any] | None:
        """The values of a row in which nothing needs a second look; None of any other, and of an empty one."""
        if found := self.plain(text):
            cells: Sequence[str | None] = found.groups()
        elif '"' in text and (found := self.quoted(text)):
            cells = found.groups()[1::2]  # before each, whether it is quoted
        else:
            return None
        row: dict[str, Any] = {name: cell for name, cell in zip(self.names, cells, strict=True) if cell}
        if self.lists:
            for name, kind in zip(self.names, self.kinds, strict=True):
                if kind in (Kind.CODES, Kind.TEXTS) and name in row:
                    row[name] = row[name].split()
        return row or None


@cache
def kinds_of(type_: type[Struct]) -> dict[str, Kind]:
    """What the cells of each field hold."""
    info = types.type_info(type_)
    assert isinstance(info, types.StructType), "rows are Structs"
    return {field.encode_name: kind_of(field.type) for field in info.fields}


def kind_of(info: types.Type) -> Kind:
    """What a cell of a type holds."""
    if codes.is_code(info):
        return Kind.CODE
    if isinstance(info, types.Metadata):
        return kind_of(info.type)
    if isinstance(info, types.UnionType):
        return next(kind_of(one) for one in info.types if not isinstance(one, types.NoneType))
    if isinstance(info, types.ListType) and codes.is_code(info.item_type):
        return Kind.CODES
    return next((kind for type_, kind in _KINDS if isinstance(info, type_)), Kind.TEXT)


def columns_of(type_: type[Struct], names: Sequence[str], delimiter: str) -> Columns:
    """The columns that a header names."""
    kinds = kinds_of(type_)
    found = tuple(kinds[name] for name in names)
    barred = re.escape(delimiter + '"')
    word = rf"[^\x00-\x20{barred}\x7f-\U0010ffff]+"
    code = rf"(?!\.\.?(?:[{barred}\r]|$)){word}(?: {word})*"
    item = rf"(?!\.\.?(?:[ {barred}\r]|$)){word}"
    texts = {Kind.CODE: code, Kind.CODES: f"{item}(?: {item})*"}  # neither "." nor ".." is a code
    cells = [_PLAIN.get(kind) or texts.get(kind) or f"{word}(?: {word})*" for kind in found]
    parting = re.escape(delimiter)
    plain = parting.join(f"({cell})?" for cell in cells)
    quoted = parting.join(f'(")?({cell})?(?({2 * place + 1})")' for place, cell in enumerate(cells))
    end = f"(?:{parting})*\r?"
    lists = any(kind in (Kind.CODES, Kind.TEXTS) for kind in found)
    return Columns(tuple(names), found, lists, re.compile(plain + end).fullmatch, re.compile(quoted + end).fullmatch)


def row_of(columns: Columns, cells: Sequence[str]) -> dict[str, Any] | Fault:
    """A row's values by field, each text checked and stripped; empty cells leave their field out. The ``Fault`` of the
    first cell that is refused shows it.
    """
    row: dict[str, Any] = {}
    for name, kind, cell in zip(columns.names, columns.kinds, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        value, wrong = read(text, kind)
        if wrong is not None:
            return Fault(f"/{name}", wrong)
        row[name] = value
    return row


def read(text: str, kind: Kind) -> tuple[Any, str | None]:
    """What a stripped cell holds, as the decoder takes it, and what is wrong with it."""
    if kind is Kind.CODE:
        code = codes.normal(text)
        return code, codes.wrong_with(code)
    if kind is Kind.CODES:
        found = [codes.normal(part) for part in text.split()]
        return found, next((wrong for code in found if (wrong := codes.wrong_with(code))), None)
    if kind is Kind.TEXTS:
        return text.split(), None
    return (text, None) if kind is Kind.TEXT else _READ[kind](text)


def _integer(text: str) -> tuple[Any, str | None]:
    if _INTEGER.fullmatch(text) and len(text) <= DIGITS_AT_MOST:
        return str(int(text)), None
    if _INTEGER.fullmatch(text):
        return None, f"{shown(text)} is too large; write digits only, {DIGITS_AT_MOST} at most."
    said = (
        "cannot be read as a whole number; write digits only, such as 1000, without separators, decimals, or exponents."
    )
    return None, f"{shown(text)} {said}"


def _decimal(text: str) -> tuple[Any, str | None]:
    if _DECIMAL.fullmatch(text):
        return text, None
    return None, f"{shown(text)} is not a decimal number; write digits and a decimal point only, such as 1000.5."


def _boolean(text: str) -> tuple[Any, str | None]:
    return (
        (text, None)
        if _BOOLEAN.fullmatch(text)
        else (None, f"{shown(text)} is not a yes-or-no value; write true or false.")
    )


def _instant(text: str) -> tuple[Any, str | None]:
    if _INSTANT.fullmatch(text):
        return text, year_fault(text)
    if serial := serial_date(text, timed=True):
        return None, serial
    return None, f"{shown(text)} is not a date with a time; write one such as 2026-11-27T08:00:00Z."


def _day(text: str) -> tuple[Any, str | None]:
    if _DATE.fullmatch(text):
        return text, year_fault(text)
    if serial := serial_date(text, timed=False):
        return None, serial
    return None, f"{shown(text)} is not a date; write one such as 2026-11-27."


_READ: dict[Kind, Callable[[str], tuple[Any, str | None]]] = {
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.INSTANT: _instant,
    Kind.DATE: _day,
}


def serial_date(text: str, *, timed: bool) -> str | None:
    """What to tell somebody whose cell holds the number by which Excel keeps a date; None if it is no such number."""
    found = _SERIAL.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= LAST_SERIAL:
        return None
    there = FIRST_SERIAL + timedelta(days=int(found[1]), seconds=round(float(f"0.{found[2] or 0}") * 86_400))
    meant = f"{there:%Y-%m-%d %H:%M}" if found[2] else f"{there:%Y-%m-%d}"
    form = "2026-11-27T08:00:00Z" if timed else "2026-11-27"
    return f"{shown(text)} is a number, probably Excel's serial number for {meant}; write the date as text, such as {form}."


def cell_fault(error: msgspec.ValidationError, row: Any) -> Fault:
    """What a decoder complains of in a row, with the cell that it found."""
    fault = fault_of(error)
    name = fault.pointer.removeprefix("/").partition("/")[0]
    cell = row.get(name) if isinstance(row, dict) else None
    if cell is None or isinstance(cell, dict):
        return fault
    said = " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
    if fault.detail.startswith("Expected a whole number, but got text"):
        return Fault(fault.pointer, _integer(said)[1] or f"{shown(said)} is too large for this field.")
    return Fault(fault.pointer, f"{shown(said)} is refused. {fault.detail}")


def tidy_row(row: Any, type_: type[Struct]) -> Any:
    """A row of NDJSON that its decoder refused, with the numbers and booleans that it holds as texts read as cells; or the
    ``Fault`` of the first that is none.
    """
    if not isinstance(row, dict):
        return row
    kinds = kinds_of(type_)
    tidied = dict(row)
    for name, value in row.items():
        kind = kinds.get(name)
        if kind is Kind.INTEGER and isinstance(value, float):
            return Fault(f"/{name}", _integer(repr(value))[1] or "")
        if isinstance(value, str) and kind in (Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN):
            text, wrong = read(value.strip(), kind)
            if wrong is not None:
                return Fault(f"/{name}", wrong)
            tidied[name] = msgspec.convert(text, _TARGETS[kind], strict=False)
        elif kind in (Kind.INSTANT, Kind.DATE) and isinstance(value, int | float) and not isinstance(value, bool):
            wrong = serial_date(repr(value), timed=kind is Kind.INSTANT)
            form = "2026-11-27T08:00:00Z" if kind is Kind.INSTANT else "2026-11-27"
            return Fault(f"/{name}", wrong or f"{value!r} is not a date; write it as text, such as {form}.")
    return tidied


_TARGETS: dict[Kind, type] = {Kind.INTEGER: int, Kind.DECIMAL: float, Kind.BOOLEAN: bool}
