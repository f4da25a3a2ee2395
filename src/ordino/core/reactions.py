"""What follows after the commit: claimed in batches, retried with growing pauses, put aside for a person in the end.

REA-1  A reaction's rows and its leaving the queue are one transaction: its effect on the database happens once.
REA-2  A worker that dies leaves its work to the others: its locks and leases end without it.
REA-3  A reaction that fails, fails alone: its batch is run again one by one. A database that is away is no failure of a reaction:
       the batch stays as it is, is run again later, and no attempt is counted.
REA-4  What has failed ``max_attempts`` times is kept, with its last error, until a person replays it. What waits for another
       reaction (``NotYet``) has not failed: it is tried again until that one is done.

Two kinds. ``reaction`` runs in one transaction with its own leaving of the queue. ``effect`` calls the world outside
(``ordino.core.effects``): it holds a lease instead of row locks, calls with the reaction's id as idempotency key, and then
settles its rows and its leaving in one transaction.

Two clocks. A reaction is due by the business's clock. How long it waits after that, because it failed or waits for another, is wall
time (``ordino.core.clock``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from asyncpg import Record

from ordino.core import accounts, idempotency
from ordino.core.calls import Calls
from ordino.core.clock import Clock, CountedClock, SimulatedClock, elapsed_seconds
from ordino.core.database import Database, Tx
from ordino.core.effects import (
    EVERY_BUCKET,
    Effect,
    Later,
    Task,
    failed,
    postpone,
    tasks_of,
    wait_seconds,
)
from ordino.core.errors import Away, NotYet
from ordino.core.failures import WORKER_GONE, retry_after_seconds, words_of
from ordino.core.job_runner import JobRunner
from ordino.core.outage import Outage
from ordino.core.registry import Reaction, Registry, registry
from ordino.core.schedule import Duty, Schedule
from ordino.core.settings import Settings
from ordino.core.statements import statements
from ordino.core.subscriptions import Followers
from ordino.core.taken import not_taken
from ordino.core.turns import Shared

__all__ = ["Effect", "Reaction", "Registry", "Task", "Worker", "registry"]

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")
TIDY_SECONDS = 60
TELL_SECONDS = 60
"""So often a worker says which effects it takes, and what waits for another."""
STEADY_SECONDS = 5.0
"""So long a worker has to find the database there before it takes over from others: after an outage, those who were away as it was
come first, and renew their leases.
"""
AWAY_IN_A_ROW = 10
"""So often a batch may lose the database that it had reached. After that it may be the batch that does it, as one that makes
PostgreSQL run out of memory, and it is run one by one.
"""


class Worker:
    """Runs what is due. As many as wanted may work on one database.

    Of the effects it takes those that this process is configured for, and of these only ``effects``, where they are named. ``wall``
    is the clock of leases, waits and pauses: the database's, unless the business's clock is set by hand, as in a simulation, where
    all time is that.
    """

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry = registry,
        batch_size: int = 500,
        lanes: int = 4,
        poll_seconds: float = 0.2,
        lease_seconds: float = 60,
        max_attempts: int = 12,
        idempotency_days: int = 7,
        wall: Clock | None = None,
        effects: Collection[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.database = database
        self.registry = registry
        self.batch_size = batch_size
        self.lanes = lanes
        self.poll_seconds = poll_seconds
        self.max_attempts = max_attempts
        self.idempotency_days = idempotency_days
        self._counted = CountedClock()
        simulated = database.clock if isinstance(database.clock, SimulatedClock) else None
        self.wall: Clock = wall or simulated or self._counted
        self._lost: dict[str, int] = {}
        self._outage = Outage()
        self.followers = Followers(
            database, registry.subscriptions, outage=self._outage, batch_size=batch_size, poll_seconds=poll_seconds
        )
        settings = settings or Settings()
        beside: dict[str, Any] = {"settings": settings, "poll_seconds": poll_seconds, "outage": self._outage}
        self.jobs = JobRunner(database, registry.jobs, **beside)
        self.schedule = Schedule(database, {**registry.duties, **self._own_duties()}, **beside)
        self._chosen = frozenset(registry.effects if effects is None else effects)
        taken = {
            kind: effect
            for kind, effect in registry.effects.items()
            if kind in self._chosen and effect.lacking() is None
        }
        shared = Shared(
            database,
            taken,
            wall=self.wall,
            batch_size=batch_size,
            lease_seconds=lease_seconds,
            max_attempts=max_attempts,
            outage=self._outage,
        )
        self._leases = shared.leases
        self.calls = {kind: Calls(kind, effect, shared) for kind, effect in taken.items()}

    @property
    def kinds(self) -> frozenset[str]:
        """The reactions and effects that this worker takes."""
        return frozenset(self.registry.reactions) | frozenset(self.calls)

    def introduction(self) -> list[str]:
        """Which effects this worker takes, and what it lacks for the others: a sentence each."""
        lacking = {
            kind: effect.lacking() for kind, effect in sorted(self.registry.effects.items()) if kind in self._chosen
        }
        taken = ", ".join(sorted(self.calls)) or "none"
        others = ", ".join(sorted(self.registry.effects.keys() - self._chosen))
        return [
            f"This worker takes these effects: {taken}.",
            *(f"It does not take `{kind}`. {why}" for kind, why in lacking.items() if why is not None),
            *([f"It leaves these to other workers: {others}."] if others else []),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop. A database that is away is waited for."""
        await asyncio.gather(
            self._react_until(stop),
            self._wake_until(stop),
            self.followers.run(stop),
            self.schedule.run(stop),
            self.jobs.run(stop),
            *(calls.run(stop) for calls in self.calls.values()),
        )

    async def _react_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._tell_wall()
                done = await self._run_due(frozenset(self.registry.reactions))
                self._outage.over()
            except Exception as error:
                self._outage.note(error, "looking for reactions")
                done = 0
            if not done:
                await self._rest(stop)

    async def _wake_until(self, stop: asyncio.Event) -> None:
        """Look for effects that are due, beside the reactions and whatever is being called."""
        told_at = steady_since = None
        while not stop.is_set():
            try:
                await self._tell_wall()
                if told_at is None:
                    await self.database.transact(lambda tx: accounts.try_again(tx, at=self.wall.now()))
                if told_at is None or time.monotonic() >= told_at + TELL_SECONDS:
                    await self._tell()
                    told_at = time.monotonic()
                steady_since = elapsed_seconds() if steady_since is None else steady_since
                if elapsed_seconds() >= steady_since + STEADY_SECONDS:
                    await self._free_expired()
                for row in await self._due(self.database.clock.now(), frozenset(self.calls)):
                    self.calls[row["kind"]].wake.set()
            except Exception as error:
                steady_since = None
                self._outage.note(error, "looking for calls")
            await self._rest(stop)
        for calls in self.calls.values():
            calls.wake.set()

    async def _rest(self, stop: asyncio.Event) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self.poll_seconds)

    async def _tell_wall(self) -> None:
        """Know the database's time, where this worker goes by it."""
        if self.wall is self._counted and not self._counted.is_fresh:
            told_at = elapsed_seconds()
            [row] = await self.database.read(sql.database_time)
            self._counted.tell(row["at"], told_at=told_at)

    async def _tell(self) -> None:
        """That this worker is there, and what waits for a worker that is not."""
        at, wall_at = self.database.clock.now(), self.wall.now()
        if self.calls:
            await self.database.transact(lambda tx: sql.take_effects(tx, kinds=sorted(self.calls), at=wall_at))
        for kind, since, count in await self.database.read(
            lambda tx: not_taken(tx, self.registry.effects, at=at, wall_at=wall_at)
        ):
            start = "Start `ordino work`." if kind in self._chosen else f"Start `ordino work --effects {kind}`."
            log.warning(
                "%d due since %s, and no worker takes them: `%s`. %s",
                count,
                f"{since:%Y-%m-%d %H:%M} UTC",
                kind,
                self.registry.effects[kind].lacking() or start,
            )

    async def _free_expired(self) -> None:
        await self._leases.hold_on()
        at, wall_at = self.database.clock.now(), self.wall.now()
        rows = await self.database.transact(lambda tx: sql.free_expired(tx, at=at, wall_at=wall_at, error=WORKER_GONE))
        if rows:
            log.warning("%d calls are taken over from a worker that is gone; they may have been done", len(rows))

    async def _due(self, at: datetime, kinds: frozenset[str]) -> list[Record]:
        if not kinds:
            return []
        wall_at, told_at = self.wall.now(), elapsed_seconds()
        rows = await self.database.read(lambda tx: sql.due_kinds(tx, at=at, wall_at=wall_at, kinds=sorted(kinds)))
        self._counted.tell(rows[0]["database_at"], told_at=told_at)  # a machine that was suspended has lost count
        return [row for row in rows if row["due_at"] is not None]

    async def run_duties(self, *, all: bool = False) -> None:
        """Do the recurring work that is due (or all of it). Raises ``Away``: it is due as soon as the database is there."""
        await self.schedule.run_due(all=all)

    def _own_duties(self) -> dict[str, Duty]:
        """What every worker tidies up."""

        async def forget_answers(tx: Tx, since: datetime, at: datetime) -> None:
            await idempotency.forget(tx, days=self.idempotency_days)

        async def forget_jobs(tx: Tx, since: datetime, at: datetime) -> None:
            await self.jobs.forget(tx)

        return {
            "forget_answers": Duty(name="forget_answers", every_seconds=TIDY_SECONDS, in_transaction=forget_answers),
            "forget_jobs": Duty(name="forget_jobs", every_seconds=TIDY_SECONDS, in_transaction=forget_jobs),
        }

    async def run_due(self) -> int:
        """Run everything due now, one batch of each kind, ``lanes`` kinds side by side, oldest first, and calls to their end.
        Returns how many were taken up.
        """
        await self._tell_wall()
        if self.calls:
            await self._free_expired()
        return await self._run_due(self.kinds)

    async def _run_due(self, kinds: frozenset[str]) -> int:
        at = self.database.clock.now()
        room = asyncio.Semaphore(self.lanes)

        async def run(kind: str) -> int:
            async with room:
                return await (self._react(kind, at) if kind in self.registry.reactions else self._affect(kind, at))

        oldest = sorted(await self._due(at, kinds), key=lambda row: (row["due_at"], row["kind"]))
        taken = await asyncio.gather(*(run(row["kind"]) for row in oldest), return_exceptions=True)
        for outcome in taken:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome for outcome in taken if isinstance(outcome, int))

    async def run_until_idle(self) -> int:
        """Run until nothing is due at the clock's present. Returns how many were taken up."""
        total = 0
        while taken := await self.run_due() + await self.followers.run_until_idle():
            total += taken
        return total

    async def _react(self, kind: str, at: datetime) -> int:
        run = self.registry.reactions[kind]
        held: list[Task] = []

        async def batch(tx: Tx) -> None:
            held.clear()
            rows = await sql.hold_due(
                tx, kind=kind, at=at, wall_at=self.wall.now(), limit=self.batch_size, buckets=EVERY_BUCKET
            )
            held[:] = tasks_of(rows)
            if held:
                await run(tx, held, at)
                await self._finish(tx, held)

        try:
            await self.database.transact(batch)
            self._lost.pop(kind, None)
        except Exception as error:
            if not held or (isinstance(error, Away) and not self._loses_the_database(kind)):
                raise
            level = logging.INFO if isinstance(error, NotYet) else logging.WARNING
            log.log(level, "%s failed for a batch of %d, which is run one by one: %s", kind, len(held), words_of(error))
            for task in list(held):
                await self._react_alone(task, run, at)
        return len(held)

    def _loses_the_database(self, kind: str) -> bool:
        """Once more the database went away under a batch of this kind: is it the batch that does it?"""
        self._lost[kind] = self._lost.get(kind, 0) + 1
        if self._lost[kind] < AWAY_IN_A_ROW:
            return False
        del self._lost[kind]
        return True

    async def _react_alone(self, task: Task, run: Reaction, at: datetime) -> None:
        async def one(tx: Tx) -> None:
            wall_at = self.wall.now()
            held = tasks_of(await sql.hold_one(tx, bucket=task.bucket, id=task.id, at=at, wall_at=wall_at))
            if held:
                await run(tx, held, at)
                await self._finish(tx, held)

        try:
            await self.database.transact(one)
        except Exception as error:
            await self._fail(task, task.attempts + 1, error, at)

    async def _affect(self, kind: str, at: datetime) -> int:
        """One round of calls as of ``at``, to their end."""
        calls = self.calls[kind]
        taken = await calls.take(lambda: at)
        await calls.end()
        return taken

    async def _finish(self, tx: Tx, tasks: Sequence[Task]) -> None:
        await sql.finish(tx, buckets=[t.bucket for t in tasks], ids=[t.id for t in tasks])

    async def _fail(self, task: Task, attempts: int, error: BaseException, at: datetime) -> None:
        wall_at = self.wall.now()
        if isinstance(error, NotYet):
            words = words_of(error)
            log.info("%s for %s waits: %s", task.kind, task.subject_id, words)
            seconds = max(wait_seconds(task, wall_at), retry_after_seconds(error))
            until = wall_at + timedelta(seconds=seconds)
            later = Later(attempts=attempts - 1, wait_until=until, error=words)
        else:
            later = failed(task, attempts, error, at, wall_at=wall_at, max_attempts=self.max_attempts)
        await self.database.transact(lambda tx: postpone(tx, [(task, None, later)], wall=self.wall))
