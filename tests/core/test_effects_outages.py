"""EFF-5 and EFF-4: an outage of the database makes no call twice, and counts no attempt."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from ordino.core import reactions
from ordino.core.clock import SimulatedClock, WallClock
from ordino.core.database import Database
from ordino.core.errors import Away, OutcomeUnknown
from ordino.core.leases import Leases
from ordino.core.reactions import Task, Worker
from outside import AT, at_work, calling, echo, happen, left, marks, registry_of, until


@pytest.fixture
def away(queue: Database, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """As long as something is in it, the database is away for everybody but the test."""
    away: list[bool] = []
    transact, read = queue.transact, queue.read

    async def perhaps_transact(*args: Any, **more: Any) -> Any:
        if away:
            raise Away("The database is away.")
        return await transact(*args, **more)

    async def perhaps_read(*args: Any, **more: Any) -> Any:
        if away:
            raise Away("The database is away.")
        return await read(*args, **more)

    monkeypatch.setattr(queue, "transact", perhaps_transact)
    monkeypatch.setattr(queue, "read", perhaps_read)
    return away


async def called_over_an_outage(queue: Database, away: list[bool], workers: int, *, most: int | None) -> Counter[UUID]:
    """How often each of 20 tasks was called that were answered in an outage longer than their leases. ``most`` ends it early."""
    gate, called = asyncio.Event(), Counter[UUID]()

    async def call(task: Task, request: Any) -> Any:
        called[task.id] += 1
        await gate.wait()
        return request

    ids = await happen(queue, "called", 20)
    registry = registry_of(call=calling(call))
    crew = [
        Worker(queue, registry=registry, lease_seconds=1, poll_seconds=0.02, wall=WallClock()) for _ in range(workers)
    ]

    async def all_called() -> bool:
        return len(called) == 20

    async def leases_have_ended() -> bool:
        ended = "SELECT bool_and(lease IS NOT NULL AND leased_until < clock_timestamp()) FROM core.reactions"
        return bool(await queue.pool.fetchval(ended))

    async def over() -> bool:
        return not await left(queue) or (most is not None and max(called.values()) > most)

    async with at_work(*crew):
        await until(all_called)
        away.append(True)
        gate.set()
        await until(leases_have_ended)
        away.clear()
        await until(over)
    assert set(ids) <= await marks(queue)
    return called


@pytest.mark.parametrize("workers", [1, 2])
async def test_eff_5_answers_of_an_outage_longer_than_their_leases_are_settled_and_nothing_is_called_twice(
    queue: Database, away: list[bool], workers: int
) -> None:
    called = await called_over_an_outage(queue, away, workers, most=None)
    assert set(called.values()) == {1}


@pytest.mark.parametrize("workers", [1, 2])
async def test_eff_5_calls_happen_twice_if_workers_take_over_as_soon_as_the_database_is_back(
    queue: Database, away: list[bool], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: sooner or later, in one of some outages."""

    async def nothing(leases: Leases) -> None: ...

    monkeypatch.setattr(Leases, "hold_on", nothing)
    monkeypatch.setattr(reactions, "STEADY_SECONDS", 0.0)
    for _ in range(10):
        called = await called_over_an_outage(queue, away, workers, most=1)
        if max(called.values()) > 1:
            return
    pytest.fail("nothing was called twice")


async def test_eff_5_an_answer_is_settled_if_its_lease_was_ended_and_nobody_calls_again_yet(queue: Database) -> None:
    wall, gate, called = SimulatedClock(AT + timedelta(days=200)), asyncio.Event(), list[UUID]()

    async def call(task: Task, request: Any) -> Any:
        called.append(task.id)
        await gate.wait()
        return request

    [one] = await happen(queue, "called", 1)
    slow = asyncio.create_task(Worker(queue, registry=registry_of(call=calling(call)), wall=wall).run_due())

    async def begun() -> bool:
        return bool(called)

    await until(begun)
    wall.advance_to(wall.now() + timedelta(seconds=61))
    await Worker(queue, registry=registry_of(call=calling(echo)), wall=wall)._free_expired()
    assert [(row["lease"], row["failure"]) for row in await left(queue)] == [(None, "answer_lost")]
    gate.set()
    await slow
    assert await marks(queue) == {one}
    assert await left(queue) == []


async def test_eff_4_a_commit_that_was_not_answered_leases_nothing_for_long_and_counts_no_attempt(
    queue: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact, lost, attempts = queue.transact, list[int](), list[int]()

    async def lossy(*args: Any, **more: Any) -> Any:
        result = await transact(*args, **more)
        leased = await queue.pool.fetchval("SELECT count(*) FROM core.reactions WHERE lease IS NOT NULL")
        if leased and not lost:
            lost.append(leased)
            raise OutcomeUnknown
        return result

    async def call(task: Task, request: Any) -> Any:
        attempts.append(task.attempts)
        assert task.failure is None, "nobody has called it"
        return request

    monkeypatch.setattr(queue, "transact", lossy)
    ids = await happen(queue, "called", 5)
    worker = Worker(queue, registry=registry_of(call=calling(call)), poll_seconds=0.02, lease_seconds=3600)

    async def all_done() -> bool:
        return not await left(queue)

    async with at_work(worker):
        await until(all_done)
    assert lost == [5]
    assert attempts == [1] * 5
    assert await marks(queue) == set(ids)
