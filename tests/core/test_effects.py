"""EFF-1 to EFF-6: a call is leased while it runs, settled by itself, and judged by what failed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from ordino.core import accounts, reactions
from ordino.core.clock import SimulatedClock, WallClock
from ordino.core.database import Database, Tx
from ordino.core.errors import AccountUnavailable, Away, NotYet, Refused, Unavailable
from ordino.core.leases import Leases
from ordino.core.reactions import Task, Worker
from ordino.core.statements import statements
from outside import AT, Call, at_work, calling, echo, happen, left, marks, registry_of, until

sql = statements("ordino.core")


@pytest.fixture
def wall() -> SimulatedClock:
    """The machine's clock, months after the business's."""
    return SimulatedClock(datetime(2026, 11, 29, 1, 0, tzinfo=UTC))


def slow(called: Counter[UUID], seconds: float) -> Call:
    async def call(task: Task, request: Any) -> Any:
        called[task.id] += 1
        await asyncio.sleep(seconds)
        return request

    return call


async def test_eff_1_two_workers_call_each_once_though_calls_take_several_leases(queue: Database) -> None:
    called: Counter[UUID] = Counter()
    ids = await happen(queue, "called", 12)
    registry = registry_of(call=calling(slow(called, 5), at_once=6))
    workers = [Worker(queue, registry=registry, lease_seconds=2, poll_seconds=0.02, wall=WallClock()) for _ in range(2)]

    async def all_done() -> bool:
        return not await left(queue)

    async with at_work(*workers):
        await until(all_done)
    assert await marks(queue) == set(ids)
    assert set(called.values()) == {1}


async def test_eff_1_calls_happen_twice_without_the_heartbeat(queue: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: renewing the lease is what keeps a call that takes longer from happening twice."""
    called: Counter[UUID] = Counter()

    async def nothing(leases: Leases) -> None: ...

    monkeypatch.setattr(Leases, "renew", nothing)
    monkeypatch.setattr(reactions, "STEADY_SECONDS", 0.0)
    await happen(queue, "called", 2)
    registry = registry_of(call=calling(slow(called, 3)))
    workers = [
        Worker(queue, registry=registry, lease_seconds=0.5, poll_seconds=0.02, wall=WallClock()) for _ in range(2)
    ]

    async def is_called_twice() -> bool:
        return max(called.values(), default=0) > 1

    async with at_work(*workers):
        await until(is_called_twice)


async def test_eff_1_a_jump_of_the_business_clock_ends_no_lease(queue: Database, wall: SimulatedClock) -> None:
    gate, called = asyncio.Event(), list[UUID]()

    async def call(task: Task, request: Any) -> Any:
        called.append(task.id)
        await gate.wait()
        return request

    [one] = await happen(queue, "called", 1)
    registry = registry_of(call=calling(call))
    slow = asyncio.create_task(Worker(queue, registry=registry, wall=wall).run_due())

    async def begun() -> bool:
        return bool(called)

    await until(begun)
    assert isinstance(queue.clock, SimulatedClock)
    queue.clock.advance_to(AT + timedelta(days=400))
    assert await Worker(queue, registry=registry, wall=wall).run_until_idle() == 0
    gate.set()
    await slow
    assert len(called) == 1
    assert await marks(queue) == {one}


async def test_eff_1_what_a_killed_worker_held_is_called_by_another_when_the_lease_ends(
    queue: Database, database_url: str, wall: SimulatedClock
) -> None:
    ids = await happen(queue, "called", 6)
    script = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from datetime import datetime
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.reactions import Worker
from outside import calling, registry_of
async def call(task, request):
    print("calling", flush=True)
    await asyncio.sleep(60)
async def main():
    clock = SimulatedClock(datetime.fromisoformat({AT.isoformat()!r}))
    wall = SimulatedClock(datetime.fromisoformat({wall.now().isoformat()!r}))
    database = await Database.open({database_url!r}, clock=clock)
    await Worker(database, registry=registry_of(call=calling(call, at_once=2)), wall=wall).run_due()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"calling\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    other = Worker(queue, registry=registry_of(call=calling(echo)), wall=wall)
    await other.run_until_idle()
    assert len(await marks(queue)) == 4  # what the first one held is passed over
    assert {row["due_at"] for row in await left(queue)} == {AT}
    wall.advance_to(wall.now() + timedelta(seconds=61))
    await other.run_until_idle()
    assert await marks(queue) == set(ids)


async def test_eff_2_no_more_is_leased_than_is_called(queue: Database) -> None:
    gate, called = asyncio.Event(), list[UUID]()

    async def call(task: Task, request: Any) -> Any:
        called.append(task.id)
        await gate.wait()
        return request

    await happen(queue, "called", 20)
    running = asyncio.create_task(Worker(queue, registry=registry_of(call=calling(call, at_once=3))).run_due())

    async def begun() -> bool:
        return len(called) == 3

    await until(begun)
    assert await queue.pool.fetchval("SELECT count(*) FROM core.reactions WHERE lease IS NOT NULL") == 3
    gate.set()
    await running


async def test_eff_3_one_hanging_call_delays_no_other_and_no_other_kind(queue: Database) -> None:
    async def call(task: Task, request: Any) -> Any:
        if request == 0:
            await asyncio.sleep(3600)
        return request

    async def hang(task: Task, request: Any) -> Any:
        await asyncio.sleep(3600)

    registry = registry_of(call=calling(call, at_once=2, call_seconds=20), other=calling(hang, call_seconds=20))

    @registry.reaction("mark")
    async def mark(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
        for task in tasks:
            await tx.execute("INSERT INTO marks VALUES ($1, $2)", task.event_id, at)

    await happen(queue, "other", 5)
    _slow, *quick = await happen(queue, "called", 10)
    stop = asyncio.Event()
    running = asyncio.create_task(Worker(queue, registry=registry, poll_seconds=0.02, lanes=1).run(stop))

    async def others_are_done() -> bool:
        return await marks(queue) >= set(quick)

    await until(others_are_done, 15)
    happened = await happen(queue, "happened", 5)

    async def reactions_are_done() -> bool:
        return await marks(queue) == {*quick, *happened}

    await until(reactions_are_done, 15)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_eff_3_a_call_that_hangs_is_ended_at_its_limit_and_tried_again(queue: Database) -> None:
    async def call(task: Task, request: Any) -> Any:
        await asyncio.sleep(3600)

    await happen(queue, "called", 1)
    began = time.monotonic()
    await Worker(queue, registry=registry_of(call=calling(call, call_seconds=0.2))).run_due()
    assert time.monotonic() - began < 30
    [row] = await left(queue)
    assert (row["lease"], row["dead_at"], row["attempts"]) == (None, None, 1)
    assert row["failure"] == "answer_lost"
    assert row["last_error"] == (
        "There was no answer within 0.2 seconds. It may have been done; it is called again with the same key."
    )


async def test_eff_3_an_answer_that_cannot_be_settled_touches_no_other(queue: Database) -> None:
    ids = await happen(queue, "called", 9)
    await Worker(queue, registry=registry_of(call=calling(echo, spoiled=4))).run_due()
    assert await marks(queue) == {id for n, id in enumerate(ids) if n != 4}
    [row] = await left(queue)
    assert (row["subject_id"], row["attempts"], row["lease"]) == (ids[4], 1, None)


async def test_eff_3_a_task_that_cannot_be_asked_for_fails_alone(queue: Database) -> None:
    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        return [1 // (task.data["n"] - 2) or 1 for task in tasks]

    ids = await happen(queue, "called", 5)
    await Worker(queue, registry=registry_of(call=structs.replace(calling(echo), ask=ask))).run_due()
    assert await marks(queue) == {id for n, id in enumerate(ids) if n != 2}
    [row] = await left(queue)
    assert "ZeroDivisionError" in row["last_error"]


async def test_eff_4_what_can_never_be_done_goes_to_a_person_at_once(queue: Database) -> None:
    async def call(task: Task, request: Any) -> Any:
        if request == 1:
            raise Refused("The card is closed. Ask the customer for another one.")
        return request

    ids = await happen(queue, "called", 3)
    await Worker(queue, registry=registry_of(call=calling(call))).run_due()
    assert await marks(queue) == {ids[0], ids[2]}
    [dead] = await queue.read(lambda tx: sql.dead_letters(tx, limit=10))
    assert (dead["subject_id"], dead["attempts"]) == (ids[1], 1)
    assert dead["last_error"] == "The card is closed. Ask the customer for another one."


async def test_what_waits_for_another_is_no_failure_and_spoils_no_batch(
    queue: Database, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        asked.append(len(tasks))
        return [NotYet("The other one comes first.") if t.data["n"] == 1 else t.data["n"] for t in tasks]

    ids = await happen(queue, "called", 3)
    with caplog.at_level(logging.WARNING):
        await Worker(queue, registry=registry_of(call=structs.replace(calling(echo), ask=ask))).run_due()
    assert await marks(queue) == {ids[0], ids[2]}
    [row] = await left(queue)
    assert (row["attempts"], row["dead_at"]) == (0, None)
    assert asked == [3]
    assert not caplog.records


def account_of(server: dict[str, bool], *, one: bool) -> tuple[Call, dict[str, Any]]:
    async def call(task: Task, request: Any) -> Any:
        if server["away"]:
            server["calls"] += 1
            raise AccountUnavailable("The server is away. Check that it runs.")
        return request

    more = {"one_account": lambda: "server"} if one else {"account": lambda request: "server"}
    return call, {**more, "at_once": 4}


@pytest.mark.parametrize("one", [True, False])
async def test_eff_4_an_account_that_fails_is_paused_and_no_attempt_is_counted(
    queue: Database, wall: SimulatedClock, one: bool
) -> None:
    server: dict[str, Any] = {"away": True, "calls": 0}
    call, more = account_of(server, one=one)
    ids = await happen(queue, "called", 20)
    worker = Worker(queue, registry=registry_of(call=calling(call, **more)), wall=wall, max_attempts=2)
    assert isinstance(queue.clock, SimulatedClock)
    for _ in range(40):  # two hours and more
        await worker.run_until_idle()
        for clock in (wall, queue.clock):
            clock.advance_to(clock.now() + timedelta(minutes=6))
    assert {(row["attempts"], row["dead_at"], row["lease"]) for row in await left(queue)} == {(0, None, None)}
    assert 40 <= server["calls"] <= 50  # a pause is tried by one call
    [pause] = await queue.read(accounts.paused)
    assert (pause.account, pause.reason) == ("server", "The server is away. Check that it runs.")
    server["away"] = False
    for _ in range(10):
        await worker.run_until_idle()
        for clock in (wall, queue.clock):
            clock.advance_to(clock.now() + timedelta(minutes=6))
    assert await marks(queue) == set(ids)
    assert await queue.read(accounts.paused) == []


async def test_eff_4_a_pause_grows_and_is_shared_by_all_workers(queue: Database, wall: SimulatedClock) -> None:
    server: dict[str, Any] = {"away": True, "calls": 0}
    call, more = account_of(server, one=True)
    await happen(queue, "called", 8)
    workers = [Worker(queue, registry=registry_of(call=calling(call, **more)), wall=wall) for _ in range(2)]
    await workers[0].run_due()
    assert server["calls"] == 4
    pauses = []
    assert isinstance(queue.clock, SimulatedClock)
    for _ in range(9):
        assert await workers[1].run_due() == 0
        [pause] = await queue.read(accounts.paused)
        pauses.append(round((pause.paused_until - wall.now()).total_seconds()))
        wall.advance_to(pause.paused_until)
        queue.clock.advance_to(queue.clock.now() + timedelta(seconds=pauses[-1]))
        both = await asyncio.gather(*(worker.run_due() for worker in workers))
        assert sum(both) == 1
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


async def test_eff_4_an_account_that_refuses_one_task_is_there_again_for_the_others(
    queue: Database, wall: SimulatedClock
) -> None:
    away = [True]

    async def call(task: Task, request: Any) -> Any:
        if away:
            raise AccountUnavailable("The server is away.")
        if request == 0:
            raise Refused("Never this one.")
        return request

    ids = await happen(queue, "called", 3)
    effect = calling(call, one_account=lambda: "server", at_once=1)
    worker = Worker(queue, registry=registry_of(call=effect), wall=wall)
    await worker.run_due()
    away.clear()
    await queue.pool.execute("UPDATE core.reactions SET due_at = due_at - interval '1 hour' WHERE data->>'n' = '0'")
    wall.advance_to(wall.now() + timedelta(seconds=6))
    await worker.run_until_idle()
    assert await marks(queue) == set(ids[1:])
    assert await queue.read(accounts.paused) == []
    [dead] = await left(queue)
    assert (dead["last_error"], dead["dead_at"]) == ("Never this one.", AT)


async def test_eff_4_where_every_call_fails_it_is_the_account_that_fails(queue: Database) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise Unavailable("Try again later.")

    await happen(queue, "called", 10)
    worker = Worker(queue, registry=registry_of(call=calling(call)), max_attempts=4)
    assert isinstance(queue.clock, SimulatedClock)
    for _ in range(30):
        await worker.run_until_idle()
        queue.clock.advance_to(queue.clock.now() + timedelta(minutes=11))
    assert {row["dead_at"] for row in await left(queue)} == {None}
    assert max(row["attempts"] for row in await left(queue)) <= 1


async def test_eff_4_a_call_that_fails_while_others_pass_goes_to_a_person(queue: Database) -> None:
    async def call(task: Task, request: Any) -> Any:
        if request == 0:
            raise Unavailable("Try again later.")
        return request

    ids = await happen(queue, "called", 3)
    worker = Worker(queue, registry=registry_of(call=calling(call)), max_attempts=4)
    assert isinstance(queue.clock, SimulatedClock)
    for _ in range(6):
        await worker.run_until_idle()
        queue.clock.advance_to(queue.clock.now() + timedelta(hours=2))
    [dead] = await queue.read(lambda tx: sql.dead_letters(tx, limit=10))
    assert (dead["subject_id"], dead["attempts"]) == (ids[0], 4)


async def test_eff_2_a_worker_leaves_effects_that_it_is_not_configured_for(
    queue: Database, wall: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    [one] = await happen(queue, "called", 1)
    lacking = registry_of(call=calling(echo, lacking=lambda: "Set ORDINO_SERVER."))
    without, stop = Worker(queue, registry=lacking, wall=wall, poll_seconds=0.02), asyncio.Event()
    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(without.run(stop))

        async def told() -> bool:
            return bool(caplog.messages)

        await until(told)
        stop.set()
        await running
    assert caplog.messages == ["1 due since 2026-03-02 17:00 UTC, and no worker takes them: `call`. Set ORDINO_SERVER."]
    [row] = await left(queue)
    assert (row["attempts"], row["lease"]) == (0, None)
    caplog.clear()
    taking, stop = (
        Worker(queue, registry=registry_of(call=calling(echo)), wall=wall, poll_seconds=0.02),
        asyncio.Event(),
    )
    running = asyncio.create_task(taking.run(stop))

    async def done() -> bool:
        return await marks(queue) == {one}

    await until(done)
    stop.set()
    await running
    assert [row["kind"] for row in await queue.read(lambda tx: sql.taken_effects(tx))] == ["call"]
    assert without.introduction() == [
        "This worker takes these effects: none.",
        "It does not take `call`. Set ORDINO_SERVER.",
    ]
    assert taking.introduction() == ["This worker takes these effects: call."]


@pytest.mark.parametrize("step", ["ask", "gate"])
async def test_eff_4_a_database_that_is_lost_before_the_call_counts_no_attempt(queue: Database, step: str) -> None:
    asked: list[int] = []

    async def lost(*_: Any) -> Any:
        asked.append(1)
        raise Away("The connection to the database broke off.")

    effect = calling(echo, account=lambda request: "mail server")
    worker = Worker(queue, registry=registry_of(call=structs.replace(effect, ask=lost) if step == "ask" else effect))
    if step == "gate":
        worker.calls["call"].turns.gate = lost  # type: ignore[method-assign]
        await queue.transact(lambda tx: accounts.pause(tx, "mail server", "It is away.", at=AT, tried=False))
    await happen(queue, "called", 5)
    await worker.run_due()
    assert len(asked) == 1  # not one by one
    assert [(row["attempts"], row["dead_at"]) for row in await left(queue)] == [(0, None)] * 5


async def test_eff_5_an_outage_after_the_call_makes_no_second_call(
    queue: Database, wall: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease ends while the database is away: the answer is kept, and settled when it is back."""
    called: list[UUID] = []
    away = False

    async def call(task: Task, request: Any) -> Any:
        nonlocal away
        called.append(task.id)
        away = True
        return request

    transact = queue.transact

    async def perhaps(*args: Any, **more: Any) -> Any:
        if away:
            raise Away("The connection to the database broke off.")
        return await transact(*args, **more)

    monkeypatch.setattr(queue, "transact", perhaps)
    [one] = await happen(queue, "called", 1)
    registry = registry_of(call=calling(call, call_seconds=0.5))
    worker = Worker(queue, registry=registry, lease_seconds=1, wall=wall)
    running = asyncio.create_task(worker.run_due())
    await asyncio.sleep(3)  # twice the lease
    away = False
    wall.advance_to(wall.now() + timedelta(seconds=3))

    async def is_settled() -> bool:
        return await marks(queue) == {one} and not await left(queue)

    await until(is_settled)
    await running
    assert len(called) == 1
