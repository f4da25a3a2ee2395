"""What follows after the commit: claimed in batches, retried with growing pauses, put aside for a person in the end.

REA-1  A reaction's rows and its leaving the queue are one transaction: its effect on the database happens once.
REA-2  A worker that dies leaves its work to the others: its locks and leases end without it.
REA-3  A reaction that fails, fails alone: its batch is run again one by one.
REA-4  What has failed ``max_attempts`` times is kept, with its last error, until a person replays it. What waits for another
       reaction (``NotYet``) has not failed: it is tried again until that one is done.

Two kinds. ``reaction`` runs in one transaction with its own leaving of the queue. ``effect`` calls the world outside:
it holds a lease instead of row locks, calls with the reaction's id as idempotency key, and then settles its rows and
its leaving in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import NotYet, Refused
from ordino.core.events import BUCKETS
from ordino.core.ids import made_at, new_id
from ordino.core.statements import statements

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")
TIDY_SECONDS = 3600
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Task(Struct, frozen=True, gc=False):
    """One reaction to run. ``data`` holds the event's facts and the flow's options."""

    bucket: int
    id: UUID
    kind: str
    subject_id: UUID
    event_id: UUID
    due_at: datetime
    data: dict[str, Any]
    attempts: int


Reaction = Callable[[Tx, Sequence[Task], datetime], Awaitable[None]]
"""Runs in the transaction in which its tasks leave the queue."""


Duty = Callable[[Tx, datetime, datetime], Awaitable[None]]
"""What is done again and again, by one worker at a time, in one transaction: it is told when it was done last, and the time."""


class Effect(Struct, frozen=True):
    """A call to the world outside, in three steps; no lock is held in the second.

    ``ask`` reads what to send, one request a task (None: nothing to do). ``call`` sends one, with the task's id as
    idempotency key. ``settle`` writes the answers down, in the transaction in which their tasks leave the queue.
    """

    ask: Callable[[Tx, Sequence[Task], datetime], Awaitable[Sequence[Any]]]
    call: Callable[[Task, Any], Awaitable[Any]]
    settle: Callable[[Tx, Sequence[tuple[Task, Any]], datetime], Awaitable[None]]


class Registry:
    """Reactions by name: what a flow may ask for."""

    def __init__(self) -> None:
        self.reactions: dict[str, Reaction] = {}
        self.effects: dict[str, Effect] = {}
        self.options: dict[str, frozenset[str]] = {}
        self.duties: dict[str, tuple[float, Duty]] = {}

    def duty(self, name: str, *, every_seconds: float) -> Callable[[Duty], Duty]:
        """Done every so often while there is a worker, whoever it is, and once at least after all were away."""

        def register(run: Duty) -> Duty:
            assert name not in self.duties, f"two duties are named {name}"
            self.duties[name] = (every_seconds, run)
            return run

        return register

    def reaction(self, name: str, *, options: Sequence[str] = ()) -> Callable[[Reaction], Reaction]:
        """``options`` are what a flow must say of it besides the delay."""

        def register(run: Reaction) -> Reaction:
            assert name not in self.names, f"two reactions are named {name}"
            self.reactions[name] = run
            self.options[name] = frozenset(options)
            return run

        return register

    def effect(self, name: str, effect: Effect) -> None:
        assert name not in self.names, f"two reactions are named {name}"
        self.effects[name] = effect

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.reactions) | frozenset(self.effects)


registry = Registry()
"""Where every stage's ``reactions.py`` registers what it can do."""


def backoff_seconds(attempts: int) -> float:
    """Doubling pauses from one second to an hour, with a tenth of jitter."""
    return float(min(3600, 2 ** (attempts - 1)) * random.uniform(0.9, 1.1))


def wait_seconds(id: UUID, at: datetime) -> float:
    """How long what waits for another reaction waits before it asks again: a second at first, later a quarter of its age, and never
    more than ten minutes. Its id says how old it is.
    """
    age_seconds = at.timestamp() - made_at(id).timestamp()
    return float(min(600, max(1, age_seconds / 4)) * random.uniform(0.9, 1.1))


class Worker:
    """Runs what is due. As many as wanted may work on one database."""

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
    ) -> None:
        self.database = database
        self.registry = registry
        self.batch_size = batch_size
        self.lanes = lanes
        self.poll_seconds = poll_seconds
        self.lease_seconds = lease_seconds
        self.max_attempts = max_attempts
        self.idempotency_days = idempotency_days
        self._tidy_at = 0.0
        self._duty_at: dict[str, float] = {}
        self._known_duties: set[str] = set()
        self._buckets = list(range(BUCKETS))

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop. A database that is away is waited for."""
        while not stop.is_set():
            try:
                done = await self.run_due()
                await self.run_duties()
                if time.monotonic() >= self._tidy_at:
                    await self.tidy()
                    self._tidy_at = time.monotonic() + TIDY_SECONDS
            except Exception:
                log.exception("the worker could not reach its queue; it goes on trying")
                done = 0
            if not done:
                try:
                    await asyncio.wait_for(stop.wait(), self.poll_seconds)
                except TimeoutError:
                    continue

    async def run_duties(self, *, all: bool = False) -> None:
        """Do what it is time for (or everything). A duty that another worker has in hand is passed over, and one that fails is
        tried again when its time comes.
        """
        for name, (every_seconds, duty) in self.registry.duties.items():
            if not all and time.monotonic() < self._duty_at.get(name, 0.0):
                continue
            self._duty_at[name] = time.monotonic() + every_seconds
            at = self.database.clock.now()

            async def run(tx: Tx, name: str = name, duty: Duty = duty, at: datetime = at) -> None:
                for row in await sql.hold_duty(tx, name=name, at=at):
                    await duty(tx, row["since"], at)

            try:
                if name not in self._known_duties:
                    await self.database.transact(lambda tx, name=name: sql.know_duty(tx, name=name))  # type: ignore[misc]
                    self._known_duties.add(name)
                await self.database.transact(run)
            except Exception:
                log.exception("the duty %s failed; it is tried again", name)

    async def tidy(self) -> None:
        """Forget answers that nobody will ask for again."""
        before = self.database.clock.now() - timedelta(days=self.idempotency_days)
        await self.database.transact(lambda tx: sql.forget_answers(tx, before=before))

    async def run_due(self) -> int:
        """Run everything due now, one batch of each kind, ``lanes`` kinds side by side, oldest first. Returns how many were
        taken up.
        """
        at = self.database.clock.now()
        kinds = await self.database.read(lambda tx: sql.due_kinds(tx, at=at, kinds=sorted(self.registry.names)))
        room = asyncio.Semaphore(self.lanes)

        async def run(kind: str) -> int:
            async with room:
                return await (self._react(kind, at) if kind in self.registry.reactions else self._affect(kind, at))

        oldest = sorted(kinds, key=lambda row: (row["due_at"], row["kind"]))
        taken = await asyncio.gather(*(run(row["kind"]) for row in oldest), return_exceptions=True)
        for outcome in taken:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome for outcome in taken if isinstance(outcome, int))

    async def run_until_idle(self) -> int:
        """Run until nothing is due at the clock's present. Returns how many were taken up."""
        total = 0
        while taken := await self.run_due():
            total += taken
        return total

    async def _react(self, kind: str, at: datetime) -> int:
        run = self.registry.reactions[kind]
        held: list[Task] = []

        async def batch(tx: Tx) -> None:
            held[:] = _tasks(await sql.hold_due(tx, kind=kind, at=at, limit=self.batch_size, buckets=self._buckets))
            if held:
                await run(tx, held, at)
                await self._finish(tx, held, None)

        try:
            await self.database.transact(batch)
        except Exception as error:
            if not held:
                raise
            log.warning("%s failed for a batch of %d, which is run one by one: %s", kind, len(held), error)
            for task in list(held):
                await self._react_alone(task, run, at)
        return len(held)

    async def _react_alone(self, task: Task, run: Reaction, at: datetime) -> None:
        async def one(tx: Tx) -> None:
            held = _tasks(await sql.hold_one(tx, bucket=task.bucket, id=task.id, at=at))
            if held:
                await run(tx, held, at)
                await self._finish(tx, held, None)

        try:
            await self.database.transact(one)
        except Exception as error:
            await self._fail(task, task.attempts + 1, error, at, None)

    async def _affect(self, kind: str, at: datetime) -> int:
        effect = self.registry.effects[kind]
        lease = new_id(at)
        until = at + timedelta(seconds=self.lease_seconds)
        tasks = _tasks(
            await self.database.transact(
                lambda tx: sql.lease_due(
                    tx, kind=kind, at=at, until=until, lease=lease, limit=self.batch_size, buckets=self._buckets
                )
            )
        )
        if tasks:
            await self._ask_call_settle(effect, tasks, lease, at)
        return len(tasks)

    async def _ask_call_settle(self, effect: Effect, tasks: Sequence[Task], lease: UUID, at: datetime) -> None:
        try:
            requests = await self.database.read(lambda tx: effect.ask(tx, tasks, at))
            calls = await asyncio.gather(
                *(_call(effect, task, request) for task, request in zip(tasks, requests, strict=True)),
                return_exceptions=True,
            )
            answered = [(task, answer) for task, answer in zip(tasks, calls, strict=True) if not _failed(answer)]
            if answered:
                await self.database.transact(lambda tx: self._settle(tx, effect, answered, lease, at))
        except Exception as error:
            if len(tasks) == 1:
                await self._fail(tasks[0], tasks[0].attempts, error, at, lease)
                return
            log.warning("a batch of %d effects failed and is tried one by one: %s", len(tasks), error)
            for task in tasks:
                await self._ask_call_settle(effect, [task], lease, at)
            return
        for task, answer in zip(tasks, calls, strict=True):
            if isinstance(answer, BaseException):
                await self._fail(task, task.attempts, answer, at, lease)

    async def _settle(
        self, tx: Tx, effect: Effect, answered: Sequence[tuple[Task, Any]], lease: UUID, at: datetime
    ) -> None:
        mine = await self._finish(tx, [task for task, _ in answered], lease)
        if kept := [(task, answer) for task, answer in answered if task.id in mine and answer is not None]:
            await effect.settle(tx, kept, at)

    async def _finish(self, tx: Tx, tasks: Sequence[Task], lease: UUID | None) -> set[UUID]:
        rows = await sql.finish(tx, buckets=[t.bucket for t in tasks], ids=[t.id for t in tasks], lease=lease)
        return {row["id"] for row in rows}

    async def _fail(self, task: Task, attempts: int, error: BaseException, at: datetime, lease: UUID | None) -> None:
        words = error.detail if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        if isinstance(error, NotYet):
            log.info("%s for %s waits: %s", task.kind, task.subject_id, words)
            attempts, dead = attempts - 1, False
            due_at = at + timedelta(seconds=wait_seconds(task.id, at))
        else:
            log.error("%s for %s failed (%d of %d): %s", task.kind, task.subject_id, attempts, self.max_attempts, words)
            dead = attempts >= self.max_attempts
            due_at = at + timedelta(seconds=backoff_seconds(attempts))
        await self.database.transact(
            lambda tx: sql.postpone(
                tx,
                bucket=task.bucket,
                id=task.id,
                attempts=attempts,
                due_at=due_at,
                error=words[:2000],
                dead_at=at if dead else None,
                lease=lease,
            )
        )


async def _call(effect: Effect, task: Task, request: Any) -> Any:
    return None if request is None else await effect.call(task, request)


def _failed(answer: Any) -> bool:
    return isinstance(answer, BaseException)


def _tasks(rows: Sequence[Record]) -> list[Task]:
    return [Task(**{**dict(row), "data": _decode(row["data"])}) for row in rows]
