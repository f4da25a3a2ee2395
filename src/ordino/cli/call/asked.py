"""What was typed, as the request that it means: the operation, its parameters and its body."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from msgspec import Struct, structs

from ordino.core.codes import normal, shown, wrong_with
from ordino.core.errors import OrdinoError
from ordino.core.rows import CSV, NDJSON
from ordino.web.operations import OperationView, ParameterView

PART_BYTES = 64 * 1024
NEAR = 8
CURSORS = ("after", "before")
SUFFIXES = {
    ".json": "application/json",
    ".ndjson": NDJSON,
    ".jsonl": NDJSON,
    ".csv": CSV,
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_FIT: dict[str, Callable[[str], object]] = {"UUID": UUID, "integer": int, "date": date.fromisoformat}


class Misused(OrdinoError):
    """The command line itself is wrong, and nothing was called. The command ends with status 2."""


class Sent(Struct, frozen=True, kw_only=True):
    """A body: text, or a file that is read part by part. ``length`` in bytes, None if only its end tells."""

    source: BinaryIO | bytes
    media_type: str
    zipped: bool
    length: int | None

    async def parts(self) -> AsyncIterator[bytes]:
        if isinstance(self.source, bytes):
            yield self.source
            return
        while part := await asyncio.to_thread(self.source.read, PART_BYTES):
            yield part


class Wanted(Struct, frozen=True, kw_only=True):
    """A request. ``path`` is quoted, without the query; ``key`` is its Idempotency-Key."""

    view: OperationView
    path: str
    query: tuple[tuple[str, str], ...]
    key: str | None
    body: Sent | None

    @property
    def query_string(self) -> str:
        return urlencode([(name, os.fsencode(value)) for name, value in self.query])

    def headers(self, token: str | None) -> list[tuple[bytes, bytes]]:
        """All of its headers but Host; ``token`` is an API key."""
        said = [(b"accept", b"*/*")]
        if token is not None:
            said.append((b"authorization", f"Bearer {token}".encode()))
        if self.key is not None:
            said.append((b"idempotency-key", self.key.encode()))
        if self.body is not None:
            said.append((b"content-type", self.body.media_type.encode()))
            if self.body.zipped:
                said.append((b"content-encoding", b"gzip"))
            if self.body.length is not None:
                said.append((b"content-length", str(self.body.length).encode()))
        return said

    @property
    def cursor(self) -> str:
        """The parameter that asks for the next page. Raises ``Misused`` where there are no pages."""
        for parameter in self.view.parameters:
            if parameter.place == "query" and parameter.name in CURSORS:
                return parameter.name
        raise Misused(f"{self.view.name} is not read page by page; leave out --all.")

    def from_cursor(self, at: str) -> Wanted:
        """The request for the page at a cursor."""
        others = tuple((name, value) for name, value in self.query if name != self.cursor)
        return structs.replace(self, query=(*others, (self.cursor, at)))


def named(views: Sequence[OperationView], name: str) -> OperationView:
    """The operation of this name. Raises ``Misused`` with names that are near."""
    names = [view.name for view in views]
    if name in names:
        return views[names.index(name)]
    group = name.partition(".")[0]
    near = [*get_close_matches(name, names, n=3), *(one for one in names if one.startswith(f"{group}."))]
    hint = f"near it are {', '.join(list(dict.fromkeys(near))[:NEAR])}. " if near else ""
    raise Misused(f"There is no operation {shown(name)}; {hint}`ordino call` lists all of them.")


def wanted(
    view: OperationView, words: Sequence[str], *, key: str | None = None, body: Sent | None = None, paged: bool = False
) -> Wanted:
    """The request that NAME=VALUE ``words`` make of an operation. Raises ``Misused``, also where it is to be ``paged`` and has no
    pages.
    """
    given = _given(view, words)
    path = view.path
    for parameter in view.parameters:
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", _segment(parameter, given[parameter.name][0]))
    if key is not None and (view.method == "GET" or not (key and key.isprintable())):
        why = "changes nothing; leave out --key" if key else "needs a --key of visible characters"
        raise Misused(f"{view.name} {why}.")
    query = [
        (parameter.name, value)
        for parameter in view.parameters
        if parameter.place == "query"
        for value in given.get(parameter.name, ())
    ]
    asked = Wanted(view=view, path=path, query=tuple(query), key=key, body=body)
    if paged:
        _ = asked.cursor
    return asked


def _given(view: OperationView, words: Sequence[str]) -> dict[str, list[str]]:
    known = {parameter.name: parameter for parameter in view.parameters}
    found: dict[str, list[str]] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise Misused(f"{shown(word)} is not clear; write NAME=VALUE. {_takes(view)}")
        if name not in known:
            hint = " Give the fields of its body with --data or --body." if view.media_types else ""
            raise Misused(f"{view.name} has no parameter {shown(name)}. {_takes(view)}{hint}")
        if name in found and not known[name].repeatable:
            raise Misused(f"`{name}` is given twice; {view.name} takes one value.")
        found.setdefault(name, []).append(value)
    missing = [parameter.name for parameter in view.parameters if parameter.required and parameter.name not in found]
    if missing:
        raise Misused(f"{view.name} needs {' and '.join(f'{name}=VALUE' for name in missing)}. {_takes(view)}")
    return found


def _takes(view: OperationView) -> str:
    names = [one.name if one.required else f"[{one.name}]" for one in view.parameters]
    return f"Its parameters are {', '.join(names)}." if names else "It takes no parameters."


def _segment(parameter: ParameterView, value: str) -> str:
    """A value as a part of a path. What the server would take for another path is refused here."""
    text = normal(value)
    if text in ("", ".", ".."):
        raise Misused(f"`{parameter.name}`: {wrong_with(text)}")
    if (read := _FIT.get(parameter.type)) is not None:
        try:
            read(text)
        except ValueError:
            raise Misused(f"`{parameter.name}` is of the type {parameter.type}; {shown(value)} is not.") from None
    return quote(os.fsencode(value), safe="")


def body_of(view: OperationView, *, file: Path | None, data: str | None, content_type: str | None) -> Sent | None:
    """The body that was given. Raises ``Misused`` for one where none is taken, and for none where one is needed."""
    takes = " or ".join(view.media_types)
    if file is None and data is None:
        if view.body_required:
            raise Misused(
                f"{view.name} needs a body ({view.body or takes}): give --body FILE, --body - (the standard input) or --data TEXT."
            )
        return None
    if not view.media_types:
        raise Misused(f"{view.name} takes no body; leave out --body and --data.")
    if file is not None and data is not None:
        raise Misused("Give the body with --body or with --data, not with both.")
    usual = content_type or view.media_types[0]
    if data is not None:
        text = os.fsencode(data)
        return Sent(source=text, media_type=usual, zipped=False, length=len(text))
    assert file is not None, "one of the two is given"
    if str(file) == "-":
        return Sent(source=sys.stdin.buffer, media_type=usual, zipped=False, length=None)
    suffixes = [suffix.lower() for suffix in file.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    told = SUFFIXES.get(next(iter((suffixes[:-1] if zipped else suffixes)[-1:]), ""))
    if told is not None and content_type is None:
        if told in view.media_types:
            usual = told
        elif told in (CSV, NDJSON):
            raise Misused(f"{view.name} takes no {told}; send {takes}.")
    source, length = _opened(file)
    return Sent(source=source, media_type=usual, zipped=zipped, length=length)


def _opened(file: Path) -> tuple[BinaryIO, int | None]:
    """A file to read from, and its size; None of a pipe."""
    try:
        source = file.open("rb")
    except OSError as error:
        raise Misused(f"Cannot read {file}: {error.strerror}.") from error
    return source, os.fstat(source.fileno()).st_size if file.is_file() else None


def token_of(key: str | None) -> str | None:
    """An API key as a header holds it. Raises ``Misused``."""
    if key is not None and not (key.isascii() and key.isprintable()):
        raise Misused("An API key has no such characters; send one that `ordino keys make NAME` has printed.")
    return key


def address(url: str | None) -> str | None:
    """The URL of a server, to which paths are added. Raises ``Misused``."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment:
        raise Misused(f"{shown(url)} is no address of a server; write one such as https://oms.example.")
    return url.rstrip("/")
