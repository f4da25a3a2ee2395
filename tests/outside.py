"""A queue of calls to a world outside that a test plays: what is called, what it answers, and what is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from happenings import TYPES, played
from ordino.core.clock import Clock, SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.events import Event, Plans, Step, record
from ordino.core.ids import new_ids
from ordino.core.reactions import Effect, Registry, Task, Worker

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
Call = Callable[[Task, Any], Awaitable[Any]]


class FastClock:
    """A business whose time runs ``times`` as fast as everybody else's."""

    def __init__(self, times: float, start: datetime = AT) -> None:
        self._times, self._start, self._begun = times, start, time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._times * (time.monotonic() - self._begun))


@asynccontextmanager
async def queue_of(url: str, clock: Clock | None = None) -> AsyncIterator[Database]:
    """An empty queue. ``called`` asks for ``call``, ``other`` for ``other``, ``happened`` for ``mark``, and ``later`` for ``call`` after
    ten minutes.
    """

    async def load(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return {
            "called": (Step("call"),),
            "other": (Step("other"),),
            "happened": (Step("mark"),),
            "later": (Step("call", 600),),
        }

    opening = Database.open(url, plans=Plans(load), clock=clock or SimulatedClock(AT))
    with played():
        async with await opening as database:
            await database.pool.execute("CREATE TABLE IF NOT EXISTS marks (id uuid UNIQUE, at timestamptz)")
            await database.pool.execute(
                "TRUNCATE marks; TRUNCATE core.reactions; TRUNCATE core.events; TRUNCATE core.paused_accounts;"
                "TRUNCATE core.taken_effects"
            )
            yield database


async def happen(database: Database, kind: str, count: int, at: datetime = AT, **data: Any) -> list[UUID]:
    """So many events, numbered ``n`` from 0."""
    ids = new_ids(at, count)
    events = [Event(i, i, at, TYPES[kind](n=n, **data), 1) for n, i in enumerate(ids)]
    await database.transact(lambda tx: record(tx, events))
    return ids


async def echo(task: Task, request: Any) -> Any:
    """A call that is answered at once, with what was asked."""
    return request


def calling(call: Call, *, spoiled: int | None = None, **more: Any) -> Effect:
    """An effect that asks ``n``, and marks what was answered. The answer ``spoiled`` cannot be settled."""

    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        return [task.data["n"] for task in tasks]

    async def settle(tx: Tx, answers: Sequence[tuple[Task, Any]], at: datetime) -> None:
        for task, _ in answers:
            if task.data["n"] == spoiled:
                raise ValueError("this answer cannot be settled")
            await tx.execute("INSERT INTO marks VALUES ($1, $2)", task.event_id, at)

    return Effect(**{"ask": ask, "call": call, "settle": settle, **more})


def registry_of(**effects: Effect) -> Registry:
    registry = Registry()
    for kind, effect in effects.items():
        registry.effect(kind, effect)
    return registry


async def marks(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.pool.fetch("SELECT id FROM marks")}


async def left(database: Database) -> list[Any]:
    rows: list[Any] = await database.pool.fetch("SELECT * FROM core.reactions ORDER BY (data->>'n')::int")
    return rows


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the database is asked, and nothing tells when it changes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[None]:
    """The workers run, and end what they have in hand."""
    stop = asyncio.Event()
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)
