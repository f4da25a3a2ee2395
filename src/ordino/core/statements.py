"""Named SQL: each stage keeps all of its SQL in ``queries.sql``; here it becomes callable.

A statement begins with ``-- name: verb`` and takes ``:name`` parameters, which become ``$n`` in the order
in which they first appear. Arrays of numbers, ids, texts and instants travel as PostgreSQL's array literals, which
costs a third of encoding them element by element. PostgreSQL reads a literal once where it searches an index for what is in it,
but once a row where it only filters by it. Filters therefore say ``IN (SELECT * FROM unnest(:ids::uuid[]))`` or, where the array
is short, ``CAST(:buckets AS smallint[])``, which is sent element by element.

``/* on shards: ... */`` holds what a statement also has to say where its tables are distributed, so that shards are pruned.
One PostgreSQL would be slower for it, and takes it for the comment that it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Protocol
from uuid import UUID

from asyncpg import Record

_LITERAL_ARRAY = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)::(smallint|int|bigint|uuid|text|timestamptz)\[\]")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


class Connection(Protocol):
    """What a statement runs on: an open transaction or a bare connection."""

    async def fetch(self, query: str, /, *args: Any) -> list[Record]: ...


def _integers(values: Sequence[int | None] | None) -> str | None:
    if values is None:
        return None
    if None in values:
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return "{" + ",".join(map(str, values)) + "}"


def _uuids(values: Sequence[UUID | None] | None) -> str | None:
    if values is None:
        return None
    return "{" + ",".join(["NULL" if value is None else f"{value.int:032x}" for value in values]) + "}"


def _texts(values: Sequence[str | None] | None) -> str | None:
    if values is None:
        return None
    written = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    ]
    return "{" + ",".join(written) + "}"


def _utc(instant: datetime) -> str:
    """PostgreSQL reads offsets of less than 16 hours only; callers may send up to 24."""
    return (instant if instant.tzinfo is None else instant.astimezone(UTC)).isoformat()


def _instants(values: Sequence[datetime | None] | None) -> str | None:
    if values is None:
        return None
    written = {value: "NULL" if value is None else f'"{_utc(value)}"' for value in set(values)}  # mostly the same one
    return "{" + ",".join([written[value] for value in values]) + "}"


def text_array(values: Sequence[str]) -> str:
    """A PostgreSQL array of texts as a literal, for columns of arrays: an array of arrays would be flattened."""
    written = _texts(values)
    assert written is not None, "it is given values"
    return written


_WRITERS: dict[str, Callable[[Any], str | None]] = {
    "smallint": _integers,
    "int": _integers,
    "bigint": _integers,
    "uuid": _uuids,
    "text": _texts,
    "timestamptz": _instants,
}


class Statement:
    """One named statement. Calling it returns its rows."""

    __slots__ = ("_literals", "name", "parameters", "text")

    def __init__(self, name: str, body: str) -> None:
        self.name = name
        code = _COMMENT.sub("", "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")))
        used = Counter(_PARAMETER.findall(code))
        # A literal is read once where it stands: an array that is used again would be read again for every row.
        arrays = {match[1]: match[2] for match in _LITERAL_ARRAY.finditer(code) if used[match[1]] == 1}
        code = _LITERAL_ARRAY.sub(lambda m: f":{m[1]}::text::{m[2]}[]" if m[1] in arrays else m[0], code)
        order: dict[str, int] = {}
        self.text = _PARAMETER.sub(lambda m: f"${order.setdefault(m[1], len(order) + 1)}", code).strip().rstrip(";")
        self.parameters = tuple(order)
        self._literals = tuple(_WRITERS[arrays[name]] if name in arrays else None for name in order)

    async def __call__(self, connection: Connection, **values: Any) -> list[Record]:
        """Rows of the statement. A missing or unknown parameter is a bug and raises."""
        if len(values) != len(self.parameters):
            raise TypeError(f"{self.name} takes {self.parameters}, got {tuple(values)}")
        return await connection.fetch(
            self.text,
            *[
                values[name] if literal is None else literal(values[name])
                for name, literal in zip(self.parameters, self._literals, strict=True)
            ],
        )


class Statements:
    """The statements of one file, each under its name."""

    def __init__(self, text: str) -> None:
        blocks = re.split(r"^-- name: (\w+)\s*$", text, flags=re.MULTILINE)
        twice = sorted(name for name, count in Counter(blocks[1::2]).items() if count > 1)
        assert not twice, f"two statements of one file are named {', '.join(twice)}"
        self._by_name = {name: Statement(name, body) for name, body in zip(blocks[1::2], blocks[2::2], strict=True)}

    def __getattr__(self, name: str) -> Statement:
        try:
            return self._by_name[name]
        except KeyError:
            raise AttributeError(f"no statement is named {name!r}") from None

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._by_name.values())


def statements(package: str) -> Statements:
    """The statements in ``queries.sql`` of a package, e.g. ``statements(__package__)``."""
    return Statements(files(package).joinpath("queries.sql").read_text(encoding="utf-8"))
