"""EFF-7, LEA-1 and LEA-2: wall time is the database's, and a worker that loses its leases knows it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from conftest import database_before, run_revisions
from ordino.core.clock import SimulatedClock, WallClock, elapsed_seconds
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Away, NotYet, Unavailable
from ordino.core.leases import Leases
from ordino.core.reactions import Registry, Task, Worker
from outside import AT, FastClock, at_work, calling, echo, happen, left, marks, queue_of, registry_of, until


async def test_eff_7_at_600_times_the_speed_a_failure_waits_its_time_and_a_delay_of_the_flow_passes(
    database_url: str,
) -> None:
    times: list[float] = []

    async def call(task: Task, request: Any) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Unavailable("Come back in two seconds.", retry_after_seconds=2)
        return request

    async with queue_of(database_url, FastClock(600)) as queue:
        await happen(queue, "called", 1)

        async def is_done() -> bool:
            return not await left(queue)

        async with at_work(Worker(queue, registry=registry_of(call=calling(call)), poll_seconds=0.02)):
            await until(is_done)
            assert times[1] - times[0] >= 2
            [one] = await happen(queue, "later", 1, queue.clock.now())
            began = time.monotonic()
            await until(is_done, 60)  # ten minutes of the business
            assert time.monotonic() - began < 60
        assert one in await marks(queue)


async def test_eff_7_at_600_times_the_speed_no_lease_ends_before_its_call(database_url: str) -> None:
    called: Counter[UUID] = Counter()

    async def call(task: Task, request: Any) -> Any:
        called[task.id] += 1
        await asyncio.sleep(3)  # half an hour of the business
        return request

    async with queue_of(database_url, FastClock(600)) as queue:
        ids = await happen(queue, "called", 3)
        registry = registry_of(call=calling(call, call_seconds=20))

        async def is_done() -> bool:
            return not await left(queue)

        async with at_work(*(Worker(queue, registry=registry, poll_seconds=0.02) for _ in range(2))):
            await until(is_done)
        assert await marks(queue) == set(ids)
    assert set(called.values()) == {1}


async def test_eff_7_a_jump_of_the_business_clock_ends_no_wait(queue: Database, wall: SimulatedClock) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise Unavailable("Come back in a minute.", retry_after_seconds=60)

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call)), wall=wall)
    assert await worker.run_until_idle() == 1
    assert isinstance(queue.clock, SimulatedClock)
    queue.clock.advance_to(AT + timedelta(days=1))
    assert await worker.run_until_idle() == 0
    [row] = await left(queue)
    assert (row["due_at"], row["attempts"]) == (AT, 1)
    wall.advance_to(wall.now() + timedelta(seconds=61))
    assert await worker.run_until_idle() == 1


async def test_eff_7_a_jump_of_the_business_clock_ends_no_wait_of_a_reaction(
    queue: Database, wall: SimulatedClock
) -> None:
    tries: list[datetime] = []
    registry = Registry()

    @registry.reaction("mark")
    async def mark(tx: Any, tasks: Any, at: datetime) -> None:
        tries.append(at)
        raise NotYet("The other one comes first.") if len(tries) < 3 else ValueError("a fault")

    await happen(queue, "happened", 1)
    worker = Worker(queue, registry=registry, wall=wall)
    assert isinstance(queue.clock, SimulatedClock)
    for waits in (1, 2):
        before = len(tries)
        await worker.run_until_idle()
        assert len(tries) > before
        queue.clock.advance_to(AT + timedelta(days=waits))
        assert await worker.run_until_idle() == 0
        wall.advance_to(wall.now() + timedelta(seconds=4000))


@pytest.mark.parametrize("hours", [-1, 1])
async def test_eff_7_a_worker_whose_clock_is_off_by_an_hour_takes_no_lease_too_early_and_none_too_late(
    queue: Database, database_url: str, hours: int
) -> None:
    """Leases are compared by the database's clock, which each worker asks for; its own says only what is due."""
    gate, called = asyncio.Event(), list[UUID]()

    async def call(task: Task, request: Any) -> Any:
        called.append(task.id)
        await gate.wait()
        return request

    class Off:
        def now(self) -> datetime:
            return WallClock().now() + timedelta(hours=hours)

    queue.clock = WallClock()
    at = queue.clock.now() - timedelta(hours=2)
    [one] = await happen(queue, "called", 1, at)
    first = asyncio.create_task(Worker(queue, registry=registry_of(call=calling(call))).run_due())

    async def is_called() -> bool:
        return bool(called)

    await until(is_called)
    async with await Database.open(database_url, clock=Off()) as elsewhere:
        other = Worker(elsewhere, registry=registry_of(call=calling(call)))
        assert await other.run_until_idle() == 0
        assert abs(other.wall.now() - WallClock().now()) < timedelta(seconds=30)
        [row] = await left(queue)
        ends_in = row["leased_until"] - WallClock().now()
        assert timedelta(seconds=20) < ends_in <= timedelta(seconds=61)
        gate.set()
        await first
        assert await marks(queue) == {one}
        [two] = await happen(queue, "called", 1, at)
        await queue.pool.execute(
            "UPDATE core.reactions SET lease = $1, leased_until = now() - interval '1 second'", uuid4()
        )
        assert await other.run_until_idle() == 1
    assert await marks(queue) == {one, two}


async def test_lea_2_a_worker_that_cannot_renew_begins_no_call(
    queue: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    renewed: list[int] = []

    async def call(task: Task, request: Any) -> Any:
        called.append(request)
        return request

    async def lost(leases: Leases) -> None:
        renewed.append(1)
        raise Away("The connection to the database broke off.")

    monkeypatch.setattr(Leases, "renew", lost)
    monkeypatch.setattr("ordino.core.limits.SOON_SECONDS", 5)
    await happen(queue, "called", 2)
    worker = Worker(queue, registry=registry_of(call=calling(call, per_second=0.3)), lease_seconds=3)
    await worker.run_due()  # the second would begin after 3.3 seconds
    assert len(called) == 1
    assert renewed
    [row] = await left(queue)
    assert (row["attempts"], row["lease"], row["dead_at"]) == (0, None, None)
    assert row["last_error"] == "The lease ended before the call could begin; it is called again."


async def test_lea_1_renewing_while_others_are_settled_loses_nothing_and_calls_nothing_twice(queue: Database) -> None:
    called: Counter[UUID] = Counter()

    async def call(task: Task, request: Any) -> Any:
        called[task.id] += 1
        await asyncio.sleep(0.01 * (request % 7))
        return request

    ids = await happen(queue, "called", 300)
    registry = registry_of(call=calling(call, at_once=40))
    workers = [Worker(queue, registry=registry, poll_seconds=0.02, wall=WallClock()) for _ in range(2)]
    stop = asyncio.Event()

    async def renew(worker: Worker) -> None:
        while not stop.is_set():
            await worker.calls["call"].shared.leases.renew()
            await asyncio.sleep(0)

    async def is_done() -> bool:
        return not await left(queue)

    async with at_work(*workers):
        renewing = [asyncio.create_task(renew(worker)) for worker in workers]
        await until(is_done)
        stop.set()
        await asyncio.gather(*renewing)
    assert await marks(queue) == set(ids)
    assert set(called.values()) == {1}


async def test_eff_7_a_machine_that_was_suspended_knows_the_time_again_with_its_first_look(queue: Database) -> None:
    """Where the system's clocks stand still meanwhile, it has lost count by as much."""
    queue.clock = WallClock()
    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(echo)))
    worker._counted.tell(WallClock().now() - timedelta(hours=3), told_at=elapsed_seconds())
    assert worker._counted.is_fresh
    await worker.run_due()
    assert abs(worker.wall.now() - WallClock().now()) < timedelta(seconds=30)


SCRIPT = """
import asyncio, sys
sys.path[:0] = {path!r}
from ordino.core import limits
from ordino.core.clock import WallClock
from ordino.core.database import Database
from ordino.core.reactions import Worker
from outside import calling, registry_of
limits.SOON_SECONDS = 5
async def call(task, request):
    print("calling", request, flush=True)
    await asyncio.sleep({seconds})
    return request
async def main():
    async with await Database.open({url!r}, clock=WallClock()) as database:
        registry = registry_of(call=calling(call, at_once=2, call_seconds=300, per_second={per_second}))
        worker = Worker(database, registry=registry, lease_seconds={lease_seconds}, poll_seconds=0.05)
        await worker.run(asyncio.Event())
asyncio.run(main())
"""


def started(url: str, *, seconds: float, per_second: float | None = None) -> subprocess.Popen[bytes]:
    """A worker in a process of its own, which prints what it calls."""
    script = SCRIPT.format(path=sys.path, url=url, seconds=seconds, per_second=per_second, lease_seconds=4)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)


async def test_lea_1_what_a_killed_worker_called_is_taken_up_soon_however_long_the_call_may_take(
    queue: Database, database_url: str
) -> None:
    queue.clock = WallClock()
    ids = await happen(queue, "called", 6)
    process = started(database_url, seconds=300)
    try:
        assert process.stdout is not None
        for _ in range(2):
            assert (await asyncio.to_thread(process.stdout.readline)).startswith(b"calling")
        other = Worker(queue, registry=registry_of(call=calling(echo)), poll_seconds=0.05)

        async def others_are_done() -> bool:
            return len(await left(queue)) == 2

        async def all_done() -> bool:
            return not await left(queue)

        async with at_work(other):
            await until(others_are_done)
            await asyncio.sleep(6)  # longer than the lease: it is renewed
            assert len(await left(queue)) == 2
            process.kill()
            process.wait()
            killed_at = time.monotonic()
            await until(all_done)
            assert time.monotonic() - killed_at < 30
    finally:
        process.kill()
        process.wait()
    assert await marks(queue) == set(ids)


async def test_lea_2_a_worker_that_was_stopped_beyond_its_lease_begins_no_call_when_it_goes_on(
    queue: Database, database_url: str
) -> None:
    queue.clock = WallClock()
    ids = await happen(queue, "called", 2)
    process = started(database_url, seconds=0.5, per_second=0.3)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) in (b"calling 0\n", b"calling 1\n")
        os.kill(process.pid, signal.SIGSTOP)  # the second call is to begin three seconds later
        assert {row["lease"] is None for row in await left(queue)} == {False}
        called: list[int] = []

        async def call(task: Task, request: Any) -> Any:
            called.append(request)
            return request

        async def all_done() -> bool:
            return not await left(queue)

        async with at_work(Worker(queue, registry=registry_of(call=calling(call)), poll_seconds=0.05)):
            await until(all_done)
        assert sorted(called) == [0, 1]
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.sleep(3)
        process.kill()
        assert process.stdout.read() == b""
    finally:
        process.kill()
        process.wait()
    assert await marks(queue) == set(ids)


async def test_a_lease_of_the_version_before_ends_when_that_said(queue: Database, wall: SimulatedClock) -> None:
    """It wrote the end of a lease into ``due_at``."""
    [one] = await happen(queue, "called", 1)
    await queue.pool.execute(
        "UPDATE core.reactions SET lease = $1, attempts = 1, due_at = $2", uuid4(), wall.now() + timedelta(seconds=60)
    )
    assert isinstance(queue.clock, SimulatedClock)
    queue.clock.advance_to(AT + timedelta(days=1))
    worker = Worker(queue, registry=registry_of(call=calling(echo)), wall=wall)
    assert await worker.run_until_idle() == 0
    wall.advance_to(wall.now() + timedelta(seconds=61))
    assert await worker.run_until_idle() == 1
    assert await marks(queue) == {one}


async def test_the_statements_of_the_version_before_run_on_this_schema(queue: Database) -> None:
    await happen(queue, "called", 2)
    lease = uuid4()
    took = await queue.pool.fetch(
        "UPDATE core.reactions r SET due_at = $1, lease = $2, attempts = attempts + 1 FROM (SELECT bucket, id"
        " FROM core.reactions WHERE kind = 'call' AND due_at <= $3 AND dead_at IS NULL AND lease IS NULL"
        " ORDER BY due_at, id LIMIT 10 FOR UPDATE SKIP LOCKED) AS due WHERE r.bucket = due.bucket AND r.id = due.id"
        " RETURNING r.bucket, r.id",
        AT + timedelta(seconds=60),
        lease,
        AT,
    )
    assert len(took) == 2
    later = AT + timedelta(seconds=2)
    await queue.pool.execute(
        "UPDATE core.reactions SET attempts = 1, due_at = $1, last_error = 'it failed', dead_at = NULL, lease = NULL"
        " WHERE id = $2 AND lease = $3",
        later,
        took[0]["id"],
        lease,
    )
    await queue.pool.execute("DELETE FROM core.reactions WHERE id = $1 AND lease = $2", took[1]["id"], lease)
    assert isinstance(queue.clock, SimulatedClock)
    worker = Worker(queue, registry=registry_of(call=calling(echo)))
    assert await worker.run_until_idle() == 0
    queue.clock.advance_to(later)
    assert await worker.run_until_idle() == 1


async def test_what_is_queued_when_the_revision_comes_stays_as_it_was(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0018") as connection:
        for dead in ("NULL", "now()"):
            await connection.execute(
                "INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at)"
                f" VALUES (0, $1, 'capture', $1, $1, $2, '{{}}', 3, 'It failed.', {dead})",
                uuid4(),
                AT,
            )
        kept = "SELECT bucket, id, kind, due_at, attempts, lease, last_error, dead_at FROM core.reactions ORDER BY id"
        before = await connection.fetch(kept)
        await run_revisions(connection, since="0018", before="0019")
        assert await connection.fetch(kept) == before
        new = "SELECT DISTINCT wait_until, waiting_since, leased_until, failure, account FROM core.reactions"
        assert [tuple(row) for row in await connection.fetch(new)] == [(None,) * 5]
