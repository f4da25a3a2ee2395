"""REA-1 to REA-4: what follows happens once, whoever dies, and what cannot be done waits for a person."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from happenings import TYPES, played
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Away, NotYet, OutcomeUnknown
from ordino.core.events import Event, Plans, Step, record
from ordino.core.ids import new_ids
from ordino.core.reactions import AWAY_IN_A_ROW, Effect, Registry, Task, Worker
from ordino.core.statements import statements

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
sql = statements("ordino.core")


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Database]:
    async def load(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return {"happened": (Step("mark"),), "called": (Step("call"),), "later": (Step("mark", 3600),)}

    clock = SimulatedClock(AT)
    with played():
        async with await Database.open(database_url, plans=Plans(load), clock=clock) as database:
            await database.pool.execute("CREATE TABLE IF NOT EXISTS marks (id uuid, worker text, UNIQUE (id, worker))")
            await database.pool.execute("TRUNCATE marks; TRUNCATE core.reactions; TRUNCATE core.events")
            yield database


async def happen(database: Database, kind: str, count: int) -> list[UUID]:
    ids = new_ids(AT, count)
    await database.transact(lambda tx: record(tx, [Event(i, i, AT, TYPES[kind](n=n), 1) for n, i in enumerate(ids)]))
    return ids


def marking(name: str, *, poison: UUID | None = None, pause_seconds: float = 0) -> Registry:
    registry = Registry()

    @registry.reaction("mark")
    async def mark(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
        await asyncio.sleep(pause_seconds)
        for task in tasks:
            if task.subject_id == poison:
                raise ValueError("poison")
            await tx.execute("INSERT INTO marks VALUES ($1, $2)", task.event_id, name)

    return registry


async def marks(database: Database) -> list[UUID]:
    return [row["id"] for row in await database.pool.fetch("SELECT id FROM marks ORDER BY id")]


async def test_rea_1_two_workers_do_everything_once(queue: Database) -> None:
    ids = await happen(queue, "happened", 300)
    workers = [Worker(queue, registry=marking(str(n), pause_seconds=0.01), batch_size=20) for n in range(2)]
    await asyncio.gather(*(worker.run_until_idle() for worker in workers))
    assert await marks(queue) == sorted(ids)
    assert await queue.pool.fetchval("SELECT count(DISTINCT worker) FROM marks") == 2
    assert await queue.pool.fetchval("SELECT count(*) FROM core.reactions") == 0


async def test_a_reaction_waits_for_its_time(queue: Database) -> None:
    [one] = await happen(queue, "later", 1)
    worker = Worker(queue, registry=marking("w"))
    assert await worker.run_until_idle() == 0
    assert isinstance(queue.clock, SimulatedClock)
    queue.clock.advance_to(AT + timedelta(hours=1))
    assert await worker.run_until_idle() == 1
    assert await marks(queue) == [one]


async def test_a_worker_forgets_answers_that_nobody_will_ask_for_again(queue: Database) -> None:
    for days in (0, 6, 8, 400):
        await queue.transact(lambda tx, days=days: sql.claim_key(tx, key=f"{days} days", digest=b""))
        aged = "UPDATE core.idempotency SET at = now() - $2::interval WHERE key = $1"
        await queue.pool.execute(aged, f"{days} days", timedelta(days=days))
    stop = asyncio.Event()
    worker = Worker(queue, registry=marking("w"), idempotency_days=7, poll_seconds=0.01)
    running = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(600):
        while await queue.pool.fetchval("SELECT count(*) FROM core.idempotency") > 2:
            pass
    stop.set()
    await running
    kept = await queue.pool.fetch("SELECT key FROM core.idempotency ORDER BY key")
    assert [row["key"] for row in kept] == ["0 days", "6 days"]


async def test_rea_3_and_4_a_bad_one_fails_alone_and_waits_for_a_person(queue: Database) -> None:
    ids = await happen(queue, "happened", 10)
    worker = Worker(queue, registry=marking("w", poison=ids[4]), max_attempts=3)
    assert isinstance(queue.clock, SimulatedClock)
    await worker.run_due()
    assert await marks(queue) == [i for i in ids if i != ids[4]]
    for hour in range(1, 4):
        queue.clock.advance_to(AT + timedelta(hours=hour))
        await worker.run_due()
    [dead] = await queue.read(lambda tx: sql.dead_letters(tx, limit=10))
    assert (dead["subject_id"], dead["attempts"]) == (ids[4], 3)
    assert "poison" in dead["last_error"]
    await queue.transact(lambda tx: sql.replay(tx, ids=[dead["id"]], at=queue.clock.now()))
    await Worker(queue, registry=marking("w")).run_until_idle()
    assert await marks(queue) == sorted(ids)


async def test_rea_2_a_killed_worker_leaves_its_work_to_the_other(queue: Database, database_url: str) -> None:
    ids = await happen(queue, "happened", 50)
    script = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from datetime import datetime, UTC
from happenings import TYPES, played
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.reactions import Registry, Worker
registry = Registry()
@registry.reaction("mark")
async def mark(tx, tasks, at):
    for task in tasks:
        await tx.execute("INSERT INTO marks VALUES ($1, 'killed')", task.event_id)
    print("holding", flush=True)
    await asyncio.sleep(3600)
async def main():
    clock = SimulatedClock(datetime.fromisoformat({AT.isoformat()!r}))
    database = await Database.open({database_url!r}, clock=clock)
    await Worker(database, registry=registry, batch_size=30).run_due()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"holding\n"
        other = Worker(queue, registry=marking("alive"))
        await other.run_until_idle()
        assert len(await marks(queue)) == 20  # what the first one holds is passed over
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(12_000):
        await other.run_until_idle()
        if len(await marks(queue)) == 50:
            break
        await asyncio.sleep(0.05)
    assert await marks(queue) == sorted(ids)
    assert await queue.pool.fetchval("SELECT count(*) FROM marks WHERE worker = 'killed'") == 0


def calling(called: list[UUID], *, fail: bool = False, gate: asyncio.Event | None = None) -> Registry:
    registry = Registry()

    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        return [task.data["n"] for task in tasks]

    async def call(task: Task, request: Any) -> Any:
        called.append(task.id)
        if gate is not None:
            await gate.wait()
        if fail:
            raise ConnectionError("nobody there")
        return request

    async def settle(tx: Tx, answers: Sequence[tuple[Task, Any]], at: datetime) -> None:
        for task, _ in answers:
            await tx.execute("INSERT INTO marks VALUES ($1, 'effect')", task.event_id)

    registry.effect("call", Effect(ask, call, settle))
    return registry


async def test_an_effect_is_written_once_even_when_its_lease_ran_out(queue: Database) -> None:
    [one] = await happen(queue, "called", 1)
    wall = SimulatedClock(AT)
    gate, called = asyncio.Event(), list[UUID]()
    slow = asyncio.create_task(
        Worker(queue, registry=calling(called, gate=gate), lease_seconds=60, wall=wall).run_due()
    )
    for _ in range(500):
        await asyncio.sleep(0 if called else 0.01)
    assert called
    wall.advance_to(AT + timedelta(seconds=61))
    again: list[UUID] = []
    await Worker(queue, registry=calling(again), wall=wall).run_until_idle()
    gate.set()
    await slow
    assert again == called  # the second call carries the first one's idempotency key
    assert await marks(queue) == [one]
    assert await queue.pool.fetchval("SELECT count(*) FROM core.reactions") == 0


async def test_an_effect_that_cannot_be_reached_is_tried_again_later(queue: Database) -> None:
    [one] = await happen(queue, "called", 1)
    assert isinstance(queue.clock, SimulatedClock)
    await Worker(queue, registry=calling([], fail=True)).run_due()
    assert await marks(queue) == []
    assert await Worker(queue, registry=calling([])).run_due() == 0  # not yet
    queue.clock.advance_to(AT + timedelta(minutes=2))
    await Worker(queue, registry=calling([])).run_due()
    assert await marks(queue) == [one]


async def test_what_waits_for_another_reaction_is_never_given_up(queue: Database) -> None:
    """REA-4: it has not failed. It asks again within ten minutes, however long that takes."""
    tries: list[UUID] = []
    ready: list[bool] = []
    registry = Registry()

    @registry.reaction("mark")
    async def mark(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
        tries.extend(task.event_id for task in tasks)
        if not ready:
            raise NotYet("The other one is still to run.")

    [one] = await happen(queue, "happened", 1)
    worker = Worker(queue, registry=registry, max_attempts=3)
    assert isinstance(queue.clock, SimulatedClock)
    for _ in range(20):
        before = len(tries)
        await worker.run_until_idle()
        assert len(tries) > before
        queue.clock.advance_to(queue.clock.now() + timedelta(minutes=11))
    row = await queue.pool.fetchrow("SELECT attempts, last_error, dead_at FROM core.reactions")
    assert (row["attempts"], row["last_error"], row["dead_at"]) == (0, "NotYet: The other one is still to run.", None)
    ready.append(True)
    await worker.run_until_idle()
    assert tries[-1] == one
    assert await queue.pool.fetchval("SELECT count(*) FROM core.reactions") == 0


def losing(lost: list[int], *, times: int, error: type[Away], poison: UUID | None = None) -> Registry:
    """Loses the database ``times`` times, with a batch in hand; with ``poison`` only where that is among it."""
    registry = Registry()

    @registry.reaction("mark")
    async def mark(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
        if len(lost) < times and (poison is None or poison in {task.event_id for task in tasks}):
            lost.append(len(tasks))
            raise error()
        for task in tasks:
            await tx.execute("INSERT INTO marks VALUES ($1, 'w')", task.event_id)

    return registry


@pytest.mark.parametrize("error", [Away, OutcomeUnknown])
async def test_rea_3_a_lost_database_counts_no_attempt_and_splits_no_batch(queue: Database, error: type[Away]) -> None:
    ids = await happen(queue, "happened", 7)
    lost: list[int] = []
    worker = Worker(queue, registry=losing(lost, times=AWAY_IN_A_ROW - 1, error=error), max_attempts=2)
    for _ in range(AWAY_IN_A_ROW - 1):
        with pytest.raises(Away):
            await worker.run_due()
        left = await queue.pool.fetch("SELECT attempts, last_error, dead_at FROM core.reactions")
        assert [tuple(row) for row in left] == [(0, None, None)] * 7
    await worker.run_until_idle()
    assert lost == [7] * (AWAY_IN_A_ROW - 1)  # never one by one
    assert await marks(queue) == sorted(ids)


async def test_rea_3_a_reaction_that_itself_takes_the_database_down_fails_alone_in_the_end(queue: Database) -> None:
    ids = await happen(queue, "happened", 5)
    registry = losing([], times=1000, error=Away, poison=ids[2])
    worker = Worker(queue, registry=registry, max_attempts=1)
    for _ in range(AWAY_IN_A_ROW - 1):
        with pytest.raises(Away):
            await worker.run_due()
    await worker.run_due()
    assert await marks(queue) == sorted(set(ids) - {ids[2]})
    [dead] = await queue.read(lambda tx: sql.dead_letters(tx, limit=10))
    assert dead["subject_id"] == ids[2]


async def test_a_worker_tells_of_an_outage_once_and_of_its_end(
    queue: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, not a traceback a poll, whatever runs in the worker: reactions, duties and calls."""
    ids = await happen(queue, "happened", 2)
    done: list[datetime] = []
    registry = marking("w")
    registry.effect("call", calling([]).effects["call"])

    @registry.duty("look_around", every_seconds=0.01)
    async def look_around(tx: Tx, since: datetime, at: datetime) -> None:
        done.append(at)

    tries: list[int] = []
    away = True

    async def lost(*_: Any, **__: Any) -> Any:
        tries.append(1)
        raise Away("The database is starting, stopping or recovering. Nothing was changed; try again.")

    transact, read = queue.transact, queue.read
    monkeypatch.setattr(queue, "transact", lambda *a, **k: (lost if away else transact)(*a, **k))
    monkeypatch.setattr(queue, "read", lambda *a, **k: (lost if away else read)(*a, **k))
    stop = asyncio.Event()
    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(Worker(queue, registry=registry, poll_seconds=0.01).run(stop))
        async with asyncio.timeout(60):
            while len(tries) < 40:  # noqa: ASYNC110 - what is watched is what others do
                await asyncio.sleep(0.01)
            away = False
            while len(done) < 2 or len(await marks(queue)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stop.set()
        await running
    assert await marks(queue) == sorted(ids)
    told = [record for record in caplog.records if record.name == "ordino.reactions"]
    assert all(record.exc_info is None for record in told)
    outage = [record.getMessage() for record in told if "database" in record.getMessage()]
    assert len(outage) == 2, outage
    assert "has to wait for the database" in outage[0]
    assert "the database answers again" in outage[1]
