"""SUB-1 to SUB-3: stages follow the log and do their work once, whoever dies, and one bad event stops no other."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest

from happenings import TYPES, played
from ordino.core import subscriptions as module
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Away, Invalid, NotYet
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.log import Cursor, Logged, head, read, sequence, written
from ordino.core.reactions import Registry, Worker
from ordino.core.statements import Statement, statements
from ordino.core.subscriptions import (
    AWAY_IN_A_ROW,
    Acknowledgment,
    NewSubscription,
    Subscription,
    acknowledge,
    subscribe,
)
from ordino.flows.versions import vocabulary

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
sql = statements("ordino.core")


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    with played():
        yield


@pytest.fixture
async def fresh(database_url: str) -> AsyncIterator[Database]:
    """A database on a clock that stands still, with no subscriptions, and a table in which work is marked."""
    async with await Database.open(database_url, clock=SimulatedClock(AT)) as database:
        await database.pool.execute("CREATE TABLE IF NOT EXISTS marks (n int, who text, done bigserial)")
        await database.pool.execute("TRUNCATE marks, core.reactions, core.subscriptions, core.events, core.event_sets")
        yield database


async def happen(database: Database, numbers: Sequence[int], *, at_once: int = 1, kind: str = "happened") -> None:
    ids = new_ids(AT, len(numbers))
    for start in range(0, len(numbers), at_once):
        events = [
            Event(id, id, AT, TYPES[kind](n=n), 0)
            for n, id in list(zip(numbers, ids, strict=True))[start : start + at_once]
        ]
        await database.transact(lambda tx, events=events: record(tx, events))  # type: ignore[misc]


def marking(
    who: str,
    *,
    poison: set[int] | None = None,
    error: type[Exception] = ValueError,
    pause_seconds: float = 0,
    **options: Any,
) -> Registry:
    """A stage that marks the numbers of the events that it is given."""
    registry = Registry()

    @registry.subscription("mark", **{"kinds": ["happened"], **options})
    async def mark(tx: Tx, events: Sequence[Logged], at: datetime) -> None:
        await asyncio.sleep(pause_seconds)
        for event in events:
            await tx.execute("INSERT INTO marks VALUES ($1, $2)", event.data["n"], who)
            if event.data["n"] in (poison or ()):
                raise error("poison")

    return registry


async def marks(database: Database) -> list[int]:
    return [row["n"] for row in await database.pool.fetch("SELECT n FROM marks ORDER BY done")]


async def caught_up(database: Database) -> None:
    """Wait until no subscription is behind."""
    async with asyncio.timeout(300):
        while await database.pool.fetchval(
            "SELECT count(*) = 0 OR bool_or(position < head OR place < 2147483647) OR EXISTS (SELECT FROM core.event_sets WHERE "
            "position IS NULL) FROM core.subscriptions, core.log_head"
        ):
            pass


async def test_what_is_added_later_sees_what_was_there_in_order(fresh: Database) -> None:
    await happen(fresh, range(30), at_once=4)
    await happen(fresh, [99], kind="else_happened")
    worker = Worker(fresh, registry=marking("w"), batch_size=7)
    await worker.run_until_idle()
    assert await marks(fresh) == list(range(30))
    await happen(fresh, range(30, 35))
    await worker.run_until_idle()
    assert await marks(fresh) == list(range(35))


async def test_who_starts_now_is_told_only_what_comes(fresh: Database) -> None:
    await happen(fresh, range(5))
    await sequence(fresh)
    registry = marking("w", start="now")
    await Worker(fresh, registry=registry).run_until_idle()
    await happen(fresh, range(5, 8))
    await Worker(fresh, registry=registry).run_until_idle()
    assert await marks(fresh) == [5, 6, 7]


async def test_sub_1_several_workers_share_and_do_everything_once(fresh: Database) -> None:
    stop = asyncio.Event()
    workers = [
        Worker(fresh, registry=marking(str(n), pause_seconds=0.002), batch_size=5, poll_seconds=0.01) for n in range(2)
    ]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    await asyncio.gather(*(happen(fresh, range(start, start + 100)) for start in (0, 100, 200)))
    await caught_up(fresh)
    stop.set()
    await asyncio.gather(*running)
    done = await marks(fresh)
    assert sorted(done) == list(range(300))
    for start in (0, 100, 200):  # each writer's own, in order
        assert [n for n in done if start <= n < start + 100] == list(range(start, start + 100))


class Unheld:
    """The statements, as if no subscription were ever held."""

    def __getattr__(self, name: str) -> Statement:
        found: Statement = getattr(sql, name)
        if name == "hold_subscription":
            return Statement(name, found.text.replace("$1", ":name").removesuffix("FOR NO KEY UPDATE SKIP LOCKED"))
        return found


async def test_sub_1_without_the_lock_work_is_done_twice(fresh: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(module, "sql", Unheld())
    await happen(fresh, range(20))
    await sequence(fresh)
    workers = [Worker(fresh, registry=marking(str(n), pause_seconds=0.3)) for n in range(2)]
    await asyncio.gather(*(worker.followers.run_until_idle() for worker in workers))
    assert len(await marks(fresh)) > 20


async def test_sub_1_a_killed_worker_loses_nothing_and_nothing_is_done_twice(
    fresh: Database, database_url: str
) -> None:
    await happen(fresh, range(50))
    await sequence(fresh)
    script = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from ordino.core.database import Database
from happenings import DECLARED
from ordino.core.payloads import KINDS
from ordino.core.reactions import Registry, Worker
KINDS.update(DECLARED)
registry = Registry()
calls = 0
@registry.subscription("mark", kinds=["happened"])
async def mark(tx, events, at):
    global calls
    calls += 1
    for n, event in enumerate(events):
        await tx.execute("INSERT INTO marks VALUES ($1, 'killed')", event.data["n"])
        if calls == 3 and n == 4:
            print("in the middle", flush=True)
            await asyncio.sleep(3600)
async def main():
    database = await Database.open({database_url!r})
    await Worker(database, registry=registry, batch_size=10).run_until_idle()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"in the middle\n"
        other = Worker(fresh, registry=marking("alive"), batch_size=10)
        assert await other.run_until_idle() == 0  # the other one has the subscription
        assert len(await marks(fresh)) == 20
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    async with asyncio.timeout(300):
        while len(await marks(fresh)) < 50:
            await other.run_until_idle()
    assert await marks(fresh) == list(range(50))
    assert await fresh.pool.fetchval("SELECT count(*) FROM marks WHERE who = 'alive'") == 30


async def test_sub_2_one_bad_event_goes_to_the_queue_and_the_rest_goes_on(
    fresh: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await happen(fresh, range(40), at_once=40)
    worker = Worker(fresh, registry=marking("w", poison={17, 30}), max_attempts=2)
    with caplog.at_level(logging.WARNING):
        await worker.run_until_idle()
    assert await marks(fresh) == [n for n in range(40) if n not in (17, 30)]
    assert "goes to the queue: ValueError: poison" in caplog.text
    clock = fresh.clock
    assert isinstance(clock, SimulatedClock)
    for hour in range(1, 4):
        clock.advance_to(AT + timedelta(hours=hour))
        await worker.run_until_idle()
    dead = await fresh.read(lambda tx: sql.dead_letters(tx, limit=10))
    assert [(row["kind"], row["attempts"]) for row in dead] == [("mark", 2), ("mark", 2)]
    assert "poison" in dead[0]["last_error"]
    await fresh.transact(lambda tx: sql.replay(tx, ids=[row["id"] for row in dead], at=clock.now()))
    await Worker(fresh, registry=marking("mended")).run_until_idle()
    assert (await marks(fresh))[-2:] == [17, 30]
    assert await fresh.pool.fetchval("SELECT count(*) FROM core.reactions") == 0


async def test_sub_2_what_waits_for_something_else_waits_in_the_queue(fresh: Database) -> None:
    await happen(fresh, range(3))
    await Worker(fresh, registry=marking("w", poison={1}, error=NotYet), max_attempts=1).run_until_idle()
    assert await marks(fresh) == [0, 2]
    [waiting] = await fresh.pool.fetch("SELECT kind, attempts, dead_at FROM core.reactions")
    assert (waiting["kind"], waiting["attempts"], waiting["dead_at"]) == ("mark", 0, None)


async def test_a_database_that_is_away_is_nobodys_fault_unless_it_stays_so(fresh: Database) -> None:
    await happen(fresh, range(4), at_once=4)
    await sequence(fresh)
    worker = Worker(fresh, registry=marking("w", poison={2}, error=Away))
    for _ in range(AWAY_IN_A_ROW - 1):
        with pytest.raises(Away):
            await worker.followers.run_until_idle()
    assert await marks(fresh) == []
    assert await fresh.pool.fetchval("SELECT count(*) FROM core.reactions") == 0
    for _ in range(10 * AWAY_IN_A_ROW):  # it may be the events that do it: they are tried one by one
        try:
            await worker.followers.run_until_idle()
        except Away:
            continue
        break
    assert await marks(fresh) == [0, 1, 3]
    assert await fresh.pool.fetchval("SELECT count(*) FROM core.reactions WHERE kind = 'mark'") == 1


async def test_a_slow_subscription_keeps_no_other_waiting(fresh: Database) -> None:
    registry, quick = marking("slow", pause_seconds=3600), []

    @registry.subscription("quick")
    async def run(tx: Tx, events: Sequence[Logged], at: datetime) -> None:
        quick.extend(event.data["n"] for event in events)

    stop = asyncio.Event()
    running = asyncio.create_task(Worker(fresh, registry=registry, poll_seconds=0.01).run(stop))
    async with asyncio.timeout(120):
        for n in range(10):
            await happen(fresh, [n])
            while len(quick) <= n:
                await fresh.pool.fetchval("SELECT pg_sleep(0.01)")
    assert quick == list(range(10))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_kinds_that_nobody_writes_are_refused_when_a_stage_registers() -> None:
    with pytest.raises(Invalid, match=r"no events of the kind 'hapened'. The kinds are: .*happened"):
        marking("w", kinds=["hapened"])


def test_a_flow_cannot_ask_for_a_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    from ordino.flows import versions

    registry = marking("w")

    @registry.reaction("other")
    async def other(tx: Tx, tasks: Sequence[Any], at: datetime) -> None: ...

    monkeypatch.setattr(versions, "registry", registry)
    assert set(vocabulary().reactions) == {"other"}


async def test_a_name_that_a_program_has_is_told_and_stops_no_other(
    fresh: Database, caplog: pytest.LogCaptureFixture
) -> None:
    no: dict[str, Subscription] = {}
    await fresh.transact(lambda tx: subscribe(tx, NewSubscription(name="mark"), no, at=AT))
    await happen(fresh, range(3))
    registry, seen = marking("w"), []

    @registry.subscription("fine")
    async def fine(tx: Tx, events: Sequence[Logged], at: datetime) -> None:
        seen.extend(event.data["n"] for event in events)

    with caplog.at_level(logging.ERROR):
        await Worker(fresh, registry=registry).run_until_idle()
    assert seen == [0, 1, 2]
    assert await marks(fresh) == []
    assert "`mark` does not run, because a program has one of this name" in caplog.text


async def test_nothing_is_asked_of_the_database_where_nobody_follows(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("nobody follows")

    monkeypatch.setattr(module, "sequence", never)
    assert await Worker(fresh, registry=Registry()).followers.run_until_idle() == 0


async def test_events_of_any_subject_can_be_followed_by_id(fresh: Database) -> None:
    await happen(fresh, range(3))
    await sequence(fresh)
    keys = [
        (UUID(str(row["id"])), row["id"]) for row in await fresh.pool.fetch("SELECT id FROM core.events ORDER BY id")
    ]
    found = await fresh.read(lambda tx: module.events_by_id(tx, [*reversed(keys), (uuid4(), uuid4())]))
    assert [event.data["n"] for event in found] == [0, 1, 2]
    assert found[-1].cursor == (await fresh.read(head)).end


async def test_how_far_a_subscription_is_behind_counts_the_sets_that_it_has_to_read(fresh: Database) -> None:
    no: dict[str, Subscription] = {}
    await fresh.pool.execute("UPDATE core.log_head SET head = 0")

    async def behind(start: Literal["beginning", "now"]) -> int:
        wanted = NewSubscription(name=f"from {start}", start=start)
        return (await fresh.transact(lambda tx: subscribe(tx, wanted, no, at=AT))).sets_behind

    assert (await behind("beginning"), await behind("now")) == (0, 0)
    await happen(fresh, range(6), at_once=2)
    await sequence(fresh)
    assert (await behind("beginning"), await behind("now")) == (3, 3)
    page = await fresh.read(lambda tx: read(tx, Cursor(), limit=1))
    sent = Acknowledgment(cursor=written(page.next, await fresh.read(head)))
    view = await fresh.transact(lambda tx: acknowledge(tx, "from beginning", sent, at=AT))
    assert view.sets_behind == 3  # one event of the first set is still to be read
