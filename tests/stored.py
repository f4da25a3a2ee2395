"""Events as they were stored, one of each kind, each with a test that writes its kind. Whoever runs that test sees that it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from ordino.core.statements import Statement

TESTS = Path(__file__).parent


class Stored(msgspec.Struct, forbid_unknown_fields=True):
    """An event as it was stored before payloads had types, and a test that writes this kind."""

    kind: str
    written_by: str
    data: dict[str, Any]


def stored() -> list[Stored]:
    lines = (TESTS / "stored_events.jsonl").read_text(encoding="utf-8").splitlines()
    return [msgspec.json.decode(line, type=Stored) for line in lines]


@cache
def kinds_by_test() -> dict[str, frozenset[str]]:
    """``file::function`` -> the kinds of events that this test says that it writes."""
    found: dict[str, frozenset[str]] = {}
    for row in stored():
        found[row.written_by] = found.get(row.written_by, frozenset()) | {row.kind}
    return found


@contextmanager
def writes(kinds: frozenset[str]) -> Iterator[None]:
    """Events of all of these kinds are written in this process meanwhile. Raises ``AssertionError``."""
    written: set[str] = set()
    call = Statement.__call__

    async def watching(self: Statement, connection: Any, **values: Any) -> list[Any]:
        rows = await call(self, connection, **values)
        if self.name == "record_events":
            written.update(values["kinds"])
        return rows

    with patch.object(Statement, "__call__", watching):
        yield
    missing = sorted(kinds - written)
    assert not missing, (
        f"no event of the kind {', '.join(missing)} was written; tests/stored_events.jsonl says that one is"
    )
