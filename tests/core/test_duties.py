"""Duties: done again and again, by one worker at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from ordino.core.database import Database, Tx
from ordino.core.reactions import Registry, Worker

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def test_a_duty_is_done_by_one_worker_at_a_time_and_told_since_when(database: Database) -> None:
    registry, at_it, most, told = Registry(), 0, 0, []

    @registry.duty("look", every_seconds=0)
    async def look(tx: Tx, since: datetime, at: datetime) -> None:
        nonlocal at_it, most
        at_it += 1
        most = max(most, at_it)
        await asyncio.sleep(0.02)
        at_it -= 1
        told.append((since, at))

    workers = [Worker(database, registry=registry) for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(worker.run_duties() for worker in workers))
    assert most == 1
    assert told[0][0] < AT - timedelta(days=365)  # never before
    assert [since for since, _ in told[1:]] == [at for _, at in told[:-1]]


async def test_a_duty_waits_for_its_time_and_survives_its_failures(database: Database) -> None:
    registry, done = Registry(), []

    @registry.duty("rare", every_seconds=3600)
    async def rare(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("rare")

    @registry.duty("broken", every_seconds=0)
    async def broken(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("broken")
        raise RuntimeError("not today")

    @registry.duty("sound", every_seconds=0)
    async def sound(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("sound")

    worker = Worker(database, registry=registry)
    for _ in range(2):
        await worker.run_duties()
    assert done == ["rare", "broken", "sound", "broken", "sound"]
    await worker.run_duties(all=True)
    assert done[-3:] == ["rare", "broken", "sound"]
