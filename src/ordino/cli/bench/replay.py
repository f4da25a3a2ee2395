"""The floor of a figure: the statements that it sent, sent again under new ids, with nothing in between.

A ``Recording`` database notes every statement of every transaction. A ``Replay`` sends them again, exactly as often and
in the same transactions; ids and the names of the run are exchanged beforehand, so that new rows are written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from asyncpg import Record

from ordino.core.database import Database, Tx

T = TypeVar("T")
Sent = tuple[str, tuple[Any, ...]]
_UUID = re.compile(
    r"\b[0-9a-f]{8}(?P<dash>-?)[0-9a-f]{4}(?P=dash)7[0-9a-f]{3}(?P=dash)[89ab][0-9a-f]{3}(?P=dash)[0-9a-f]{12}\b"
)
_ID_BITS = (1 << 48) - 1


class _RecordingTx(Tx):
    __slots__ = ("sent",)
    sent: list[Sent]

    async def fetch(self, query: str, /, *args: Any) -> list[Record]:
        self.sent.append((query, args))
        return await super().fetch(query, *args)

    async def execute(self, query: str, /, *args: Any) -> str:
        self.sent.append((query, args))
        return await super().execute(query, *args)


class Recording(Database):
    """A database that notes what its committed transactions sent, in ``lanes``: what was sent by one task after the other."""

    lanes: dict[str, list[list[Sent]]]

    def note(self, sent: list[Sent]) -> None:
        task = asyncio.current_task()
        assert task is not None, "transactions run in tasks"
        self.lanes.setdefault(task.get_name(), []).append(sent)

    async def transact(self, verb: Callable[[Tx], Awaitable[T]], *, seconds: float | None = None) -> T:
        sent: list[Sent] = []

        async def recorded(tx: Tx) -> T:
            sent.clear()
            recording = _RecordingTx(tx.lent, tx.plans, tx.kept)
            recording.sent = sent
            return await verb(recording)

        result = await super().transact(recorded, seconds=seconds)
        self.note(sent)
        return result

    async def read(self, query: Callable[[Tx], Awaitable[T]], *, seconds: float | None = None) -> T:
        sent: list[Sent] = []

        async def recorded(tx: Tx) -> T:
            recording = _RecordingTx(tx.lent, tx.plans, tx.kept)
            recording.sent = sent
            return await query(recording)

        result = await super().read(recorded, seconds=seconds)
        self.note(sent)
        return result


def renamed(transactions: list[list[Sent]], *, mask: int, run: str = "", new_run: str = "") -> list[list[Sent]]:
    """The same transactions about other orders: every id differs by ``mask``, every name of ``run`` is of ``new_run``."""
    assert 0 < mask <= _ID_BITS

    def other(found: re.Match[str]) -> str:
        id = UUID(int=UUID(found[0]).int ^ mask)
        return str(id) if found["dash"] else id.hex

    def rename(value: Any) -> Any:
        if isinstance(value, UUID):
            return UUID(int=value.int ^ mask)
        if isinstance(value, str):  # a name, or a whole column written as an array
            return _UUID.sub(other, value.replace(run, new_run) if run else value)
        if isinstance(value, (list, tuple)):
            return [rename(item) for item in value]
        return value

    return [[(query, tuple(rename(arg) for arg in args)) for query, args in sent] for sent in transactions]


async def replay(connection: Any, transactions: list[list[Sent]]) -> None:
    """Send them again, one transaction after the other."""
    for sent in transactions:
        async with connection.transaction():
            for query, args in sent:
                await connection.fetch(query, *args)
