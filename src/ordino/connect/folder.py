"""Folders as a way to the world: NDJSON files that somebody drops are read line by line, and news are written, one file each.

A file is read in the order of its name, and the last one may grow at its end. Files get new names, in an order such as that of
dates: what is put before the cursor is not seen.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from ordino.core.adapters import Unreadable
from ordino.core.codes import tidy_body
from ordino.core.errors import AccountUnavailable, Invalid, Refused
from ordino.core.upserts import fault_of

T = TypeVar("T")
LINE_BYTES = 2_000_000
MOST_LINES = 10_000
SUFFIX = ".ndjson"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,150}")
_encode = msgspec.json.Encoder().encode


class Line(Struct, frozen=True, kw_only=True):
    """A line that is not blank. ``where`` says so to people."""

    where: str
    text: bytes


class Lines(Struct, frozen=True, kw_only=True):
    """Lines after a cursor. ``next`` is the cursor for the rest; ``more``: the limit was reached."""

    lines: list[Line]
    next: str | None
    more: bool


class Things(Struct, Generic[T], frozen=True, kw_only=True):
    """What the lines after a cursor say, and those that say nothing."""

    things: list[T]
    unreadable: list[Unreadable]
    next: str | None
    more: bool


class _Place(Struct, frozen=True):
    """How far a file was read: so many lines, and bytes."""

    name: str
    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.name}:{self.number}:{self.offset}"


def read_lines(folder: Path, after: str | None, limit: int) -> Lines:
    """Up to ``limit`` lines of the folder's files after a cursor. A folder that is not there has none.

    Raises ``Invalid`` for what is no cursor, and ``AccountUnavailable`` where the folder cannot be read.
    """
    place = None if after is None else _place_of(after)
    limit = max(1, min(limit, MOST_LINES))
    lines: list[Line] = []
    try:
        names = _names(folder)
        for name in names:
            if place is not None and name < place.name:
                continue
            begin = place if place is not None and name == place.name else _Place(name, 0, 0)
            for line, reached in _lines_of(folder / name, begin, grows=name == names[-1]):
                place = reached
                if line is not None:
                    lines.append(line)
                if len(lines) == limit:
                    return Lines(lines=lines, next=str(place), more=True)
    except OSError as error:
        raise AccountUnavailable(
            f"The folder {folder} cannot be read: {error.strerror}. Check who may read it."
        ) from error
    return Lines(lines=lines, next=after if place is None else str(place), more=False)


def read_things(folder: Path, after: str | None, limit: int, kind: type[T]) -> Things[T]:
    """Up to ``limit`` lines after a cursor as what they should be. Raises what ``read_lines`` raises."""
    found = read_lines(folder, after, limit)
    things: list[T] = []
    unreadable: list[Unreadable] = []
    for line in found.lines:
        try:
            things.append(read_as(line.text, kind))
        except Invalid as error:
            unreadable.append(Unreadable(line.where, error.detail))
    return Things(things=things, unreadable=unreadable, next=found.next, more=found.more)


def read_as(text: bytes, kind: type[T]) -> T:
    """A line as what it should be, with its codes normalized. Raises ``Invalid``, in a sentence that names the field."""
    try:
        return msgspec.json.decode(tidy_body(text, kind), type=kind)
    except msgspec.ValidationError as error:
        fault = fault_of(error)
        raise Invalid(f"{fault.pointer}: {fault.detail}" if fault.pointer else fault.detail) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"This is not JSON: {error}.") from error


def write_once(folder: Path, key: str, news: Any) -> None:
    """News under their key: one file of one line, there as a whole or not at all. Written again, they are there already.

    Raises ``Refused`` where other news have the key, and ``AccountUnavailable`` where the folder cannot be written to.
    """
    target, said = _target(folder, key), _encode(news) + b"\n"
    try:
        if target.exists():
            if target.read_bytes() != said:
                raise Refused(f"Other news were written to {target} under the same key; nothing was changed.")
            return
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f".{uuid4().hex}"
        try:
            with written.open("xb") as file:
                file.write(said)
                file.flush()
                os.fsync(file.fileno())
            written.replace(target)
        finally:
            written.unlink(missing_ok=True)  # where a disk is full, no pieces are left on it
    except OSError as error:
        raise AccountUnavailable(
            f"The folder {folder} cannot be written to: {error.strerror}. Check who may write there."
        ) from error


def was_written(folder: Path, key: str) -> bool:
    """Were news written under this key?"""
    return _target(folder, key).is_file()


def lacking(directory: Path | None, variable: str) -> str | None:
    """What a folder needs before it can be used, as a sentence; None if nothing."""
    if directory is None:
        return f"Set {variable} to a folder."
    return None if directory.is_dir() else f"There is no folder {directory}; make it, or set {variable} to another one."


def known(directory: Path | None, variable: str) -> Path:
    """The folder. Raises ``AccountUnavailable`` where it is not there: on a share that is not mounted, for example."""
    if (missing := lacking(directory, variable)) is not None or directory is None:
        raise AccountUnavailable(missing or variable)
    return directory


def _target(folder: Path, key: str) -> Path:
    name = key if _NAME.fullmatch(key) and key[0] != "." else hashlib.sha256(key.encode()).hexdigest()
    return folder / f"{name}{SUFFIX}"


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(it.name for it in folder.iterdir() if it.suffix == SUFFIX and it.name[0] != "." and it.is_file())


def _lines_of(path: Path, begin: _Place, *, grows: bool) -> Iterator[tuple[Line | None, _Place]]:
    """Each line (None: blank), and how far the file is read then. Where the file still ``grows``, a last line that is not whole is
    left for later; of one that nobody will read again, it is a line that says nothing whole.
    """
    with path.open("rb") as file:
        if begin.offset > file.seek(0, os.SEEK_END):
            raise Invalid(
                f"The file {path} is shorter than it was; put new lines at its end, or into a file with a new name."
            )
        file.seek(begin.offset)
        number = begin.number
        while text := file.readline(LINE_BYTES + 1):
            number += 1
            if len(text) > LINE_BYTES:
                text = text[:100] + _rest(file)
            elif grows and not text.endswith(b"\n") and not _is_whole(text):
                return
            where = f"{path.name}, line {number}"
            line = Line(where=where, text=text) if text.strip() else None
            yield line, _Place(path.name, number, file.tell())


def _rest(file: Any) -> bytes:
    """Skip what is left of a line that is too long. What comes back makes it no JSON."""
    while (part := file.readline(LINE_BYTES)) and not part.endswith(b"\n"):
        pass
    return b" ... (the line is too long)"


def _is_whole(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _place_of(cursor: str) -> _Place:
    name, _, rest = cursor.partition(f"{SUFFIX}:")
    number, _, offset = rest.partition(":")
    if not name or "/" in name or not (number.isascii() and number.isdigit() and offset.isascii() and offset.isdigit()):
        raise Invalid(f"{cursor!r} is no cursor of this folder; use the `next` of an earlier page, or leave it out.")
    return _Place(f"{name}{SUFFIX}", int(number), int(offset))
