"""Calls to the world outside: leased while they run, called within a time limit, settled each by itself.

EFF-1  A lease outlasts its call: it lasts longer than asking, calling and settling may take, by the clock of the machine. A call
       that cannot begin in time does not begin.
EFF-2  A worker leases no more than it calls now, and only what it is configured for.
EFF-3  A call touches no other: it is settled once it has answered, and one that hangs, fails or cannot be settled does so alone.
EFF-4  What can never be done (``Refused``) goes to the dead-letter list at once. A failure of a whole account
       (``AccountUnavailable``) pauses it and counts no attempt; nor does a database that is away before the call.
EFF-5  An answer that the database is away for is kept until it can be settled, so that an outage makes no call twice.
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

from ordino.core import accounts
from ordino.core.accounts import OPEN, Gate
from ordino.core.batcher import Batcher
from ordino.core.clock import Clock
from ordino.core.database import Database, Tx
from ordino.core.errors import AccountUnavailable, Away, NotYet, Refused, Unavailable
from ordino.core.events import BUCKETS
from ordino.core.ids import made_at, new_id
from ordino.core.outage import Outage
from ordino.core.statements import statements

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")
ASK_SECONDS = 15
"""So long after its lease a call may begin."""
SETTLE_SECONDS = 15
"""So long a lease lasts beyond the latest answer."""
ALL_FAIL = 3
"""So many tasks in a row that an account does not serve, and none that it serves: then it is the account that fails."""
EVERY_BUCKET = list(range(BUCKETS))
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


def tasks_of(rows: Sequence[Record]) -> list[Task]:
    return [Task(**{**dict(row), "data": _decode(row["data"])}) for row in rows]


def _lacks_nothing() -> str | None:
    return None


class Effect(Struct, frozen=True):
    """A call to the world outside, in three steps; no lock is held in the second.

    ``ask`` reads what to send, one request a task: None where nothing is to do, and an ``OrdinoError`` where a task has to wait
    (``NotYet``) or cannot be done. ``call`` sends one request, with the task's id as idempotency key. It can be cancelled, has
    ``call_seconds``, and ``at_once`` of them run side by side. It raises ``Refused`` for what can never be done,
    ``AccountUnavailable`` where the whole account fails, and ``Unavailable`` where this call may pass later. ``settle`` writes
    answers down, in the transaction in which their tasks leave the queue.

    ``account`` names who is called by a request; ``one_account`` does so where every request goes to the same. ``lacking`` says
    what this process would need to do any of it, or None.
    """

    ask: Callable[[Tx, Sequence[Task], datetime], Awaitable[Sequence[Any]]]
    call: Callable[[Task, Any], Awaitable[Any]]
    settle: Callable[[Tx, Sequence[tuple[Task, Any]], datetime], Awaitable[None]]
    account: Callable[[Any], str] | None = None
    one_account: Callable[[], str] | None = None
    call_seconds: float = 30
    at_once: int = 100
    lacking: Callable[[], str | None] = _lacks_nothing

    def account_of(self, request: Any) -> str | None:
        if self.one_account is not None:
            return self.one_account()
        return None if self.account is None else self.account(request)


class Later(Struct, frozen=True, kw_only=True):
    """A task is not done: when it is tried again, or since when it waits for a person."""

    attempts: int
    due_at: datetime
    error: str
    dead_at: datetime | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a leased task: an answer to settle (None: nothing to settle), or ``later``. ``serves`` is an account that
    failed before and has answered this one.
    """

    task: Task
    lease: UUID
    at: datetime
    answer: Any = None
    later: Later | None = None
    serves: str | None = None


class Lease(Struct, frozen=True, kw_only=True):
    """Tasks in hand. ``at`` is the business's time; calls may begin ``call_by`` and answers be settled ``settle_by``, on the
    monotonic clock. ``now`` is asked for the business's time once a call has ended.
    """

    id: UUID
    at: datetime
    call_by: float
    settle_by: float
    gate: Gate
    now: Callable[[], datetime]


def backoff_seconds(attempts: int) -> float:
    """Doubling pauses from one second to an hour, with a tenth of jitter."""
    return float(min(3600, 2 ** (attempts - 1)) * random.uniform(0.9, 1.1))


def wait_seconds(id: UUID, at: datetime) -> float:
    """How long what has not failed waits before it asks again: a second at first, later a quarter of its age, and never more than
    ten minutes. Its id says how old it is.
    """
    age_seconds = at.timestamp() - made_at(id).timestamp()
    return float(min(600, max(1, age_seconds / 4)) * random.uniform(0.9, 1.1))


def words_of(error: BaseException) -> str:
    """An error as the queue keeps it."""
    if isinstance(error, Refused):
        return error.detail
    return str(error) if isinstance(error, AccountUnavailable) else f"{type(error).__name__}: {error}"


def failed(
    task: Task, attempts: int, error: BaseException, at: datetime, *, max_attempts: int, for_good: bool = False
) -> Later:
    """A task has failed, now ``attempts`` times: it is logged, and tried again or put aside for a person."""
    words, dead = words_of(error), for_good or attempts >= max_attempts
    level = logging.ERROR if dead else logging.WARNING
    log.log(level, "%s for %s failed (%d of %d): %s", task.kind, task.subject_id, attempts, max_attempts, words)
    due_at = at + timedelta(seconds=backoff_seconds(attempts))
    return Later(attempts=attempts, due_at=due_at, error=words[:2000], dead_at=at if dead else None)


class Calls:
    """What one worker has in hand of one kind of effect."""

    def __init__(
        self,
        database: Database,
        kind: str,
        effect: Effect,
        *,
        wall: Clock,
        batch_size: int,
        lease_seconds: float,
        max_attempts: int,
        outage: Outage,
    ) -> None:
        self.database = database
        self.kind = kind
        self.effect = effect
        self.wall = wall
        self.at_once = min(batch_size, effect.at_once)
        self.lease_seconds = max(lease_seconds, ASK_SECONDS + effect.call_seconds + SETTLE_SECONDS)
        self.max_attempts = max_attempts
        self.wake = asyncio.Event()
        self._outage = outage
        self._ending = False
        self._running: set[asyncio.Task[None]] = set()
        self._unserved: dict[str | None, set[UUID]] = {}
        self._settler: Batcher[Outcome, None] = Batcher(self._write, size=batch_size)

    async def run(self, stop: asyncio.Event) -> None:
        """Call what is due, whenever woken, until told to stop; calls under way are ended first."""
        while not stop.is_set():
            await self.wake.wait()
            self.wake.clear()
            try:
                while not stop.is_set() and await self.take(self.database.clock.now):
                    await self._room()
            except Exception as error:
                self._outage.note(error, f"taking up {self.kind}")
        self._ending = True
        await self.end()

    async def end(self) -> None:
        """Wait until everything in hand is settled."""
        while self._running:
            await asyncio.wait(self._running)

    async def take(self, now: Callable[[], datetime]) -> int:
        """Lease as many tasks as can be called now, and begin to call. Returns how many were taken up."""
        room = self.at_once - len(self._running)
        if room <= 0:
            return 0
        gate = OPEN
        if self.effect.one_account is not None:
            account = self.effect.one_account()
            gate = await self._gate([account])
            if account in gate.closed:
                if account not in gate.tried:
                    return 0
                room = 1
        at, wall, begun = now(), self.wall.now(), time.monotonic()
        lease = Lease(
            id=new_id(at),
            at=at,
            call_by=begun + ASK_SECONDS,
            settle_by=begun + self.lease_seconds - 1,
            gate=gate,
            now=now,
        )
        until = wall + timedelta(seconds=self.lease_seconds)
        tasks = tasks_of(
            await self.database.transact(
                lambda tx: sql.lease_due(
                    tx, kind=self.kind, at=at, until=until, lease=lease.id, limit=room, buckets=EVERY_BUCKET
                )
            )
        )
        if tasks:
            await self._begin(tasks, lease)
        return len(tasks)

    async def _gate(self, names: Sequence[str]) -> Gate:
        at = self.wall.now()
        try_seconds = ASK_SECONDS + self.effect.call_seconds
        return await self.database.read(lambda tx: accounts.gate(tx, names, at=at, try_seconds=try_seconds))

    async def _room(self) -> None:
        while len(self._running) >= self.at_once:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _begin(self, tasks: Sequence[Task], lease: Lease) -> None:
        requests = await self._ask(tasks, lease)
        if self.effect.account is not None and self.effect.one_account is None:
            asked = [request for request in requests if request is not None and not isinstance(request, Exception)]
            if names := {self.effect.account(request) for request in asked}:
                try:
                    lease = msgspec.structs.replace(lease, gate=await self._gate(sorted(names)))
                except Unavailable as error:
                    requests = [error] * len(tasks)
        left = set(lease.gate.tried)
        asked_for = list(zip(tasks, requests, strict=True))
        if left:
            random.shuffle(asked_for)  # no task is the one that tries its account every time
        for task, request in asked_for:
            account = None
            if request is not None and not isinstance(request, Exception):
                account = self.effect.account_of(request)
            trying = account in left
            left.discard(account or "")
            running = asyncio.create_task(self._do(task, request, account, lease, trying))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def _ask(self, tasks: Sequence[Task], lease: Lease) -> list[Any]:
        """A request a task. Where asking for all of them fails, each is asked for alone, and the error stands for its request."""
        try:
            return list(await self.database.read(lambda tx: self.effect.ask(tx, tasks, lease.at)))
        except Exception as error:
            if len(tasks) == 1 or isinstance(error, Away):
                return [error] * len(tasks)
            log.warning("%s: %d tasks could not be looked at together: %s", self.kind, len(tasks), words_of(error))
        requests: list[Any] = []
        for task in tasks:
            late = time.monotonic() > lease.call_by
            requests += [None] if late else await self._ask([task], lease)  # one that is late is given back, not done
        return requests

    async def _do(self, task: Task, request: Any, account: str | None, lease: Lease, trying: bool) -> None:
        outcome = await self._outcome(task, request, account, lease, trying)
        settle: Callable[[Outcome], Awaitable[object]] = self._settler.submit
        away = False
        # While the database is away nobody else takes it up, though its lease ends. Whoever is first when it is back has it.
        while time.monotonic() < lease.settle_by or (away and not self._ending):
            try:
                await settle(outcome)
                return
            except Unavailable as error:
                away = isinstance(error, Away)
                self._outage.note(error, f"writing down {task.kind} for {task.subject_id}")
                settle = self._write_alone  # it waits for no other, and no other for it
                await asyncio.sleep(random.uniform(0.2, 1))
            except Exception as error:
                if outcome.later is not None:
                    log.exception("%s for %s could not be put off", task.kind, task.subject_id)
                    break
                log.exception("%s for %s was called, and its answer cannot be settled", task.kind, task.subject_id)
                outcome = self._failed(task, error, lease)
        log.error("%s for %s was not settled; it is taken up again when its lease ends", task.kind, task.subject_id)

    async def _outcome(self, task: Task, request: Any, account: str | None, lease: Lease, trying: bool) -> Outcome:
        if isinstance(request, Exception):
            return self._failed(task, request, lease)
        if time.monotonic() > lease.call_by:
            return self._put_off(task, lease, 0, "There was no time left to call; it is called again.")
        if request is None:
            return Outcome(task=task, lease=lease.id, at=lease.now())
        if account in lease.gate.closed and not trying:
            pause_seconds = (lease.gate.closed[account] - self.wall.now()).total_seconds()
            return self._put_off(task, lease, max(1, pause_seconds), f"Nothing is sent to the {account} for now.")
        try:
            async with asyncio.timeout(self.effect.call_seconds) as limit:
                answer = await self.effect.call(task, request)
        except Exception as error:
            if isinstance(error, AccountUnavailable) and account is not None:
                return await self._pause(task, error, account, lease, trying)
            if limit.expired():
                error = Unavailable(f"There was no answer within {self.effect.call_seconds:g} seconds.")
            outcome = self._failed(task, error, lease, account, called=True)
            if not isinstance(error, Refused):
                return outcome
            self._unserved.pop(account, None)  # it refuses this one, and so it is there
            return msgspec.structs.replace(outcome, serves=account if trying else None)
        self._unserved.pop(account, None)
        return Outcome(task=task, lease=lease.id, at=lease.now(), answer=answer, serves=account if trying else None)

    async def _pause(self, task: Task, error: AccountUnavailable, account: str, lease: Lease, trying: bool) -> Outcome:
        at, reason = self.wall.now(), str(error)
        try:
            until = await self.database.transact(lambda tx: accounts.pause(tx, account, reason, at=at, tried=trying))
        except Unavailable:
            until = at + timedelta(seconds=accounts.FIRST_SECONDS)
        pause_seconds = max(1.0, (until - at).total_seconds())
        log.warning("the %s is paused for %.0f seconds: %s", account, pause_seconds, reason)
        return self._put_off(task, lease, pause_seconds, reason)

    def _put_off(self, task: Task, lease: Lease, seconds: float, error: str) -> Outcome:
        """It has not failed: it is due again, with as many attempts as before its lease."""
        due_at = lease.now() + timedelta(seconds=seconds * random.uniform(1, 1.1))
        later = Later(attempts=max(0, task.attempts - 1), due_at=due_at, error=error[:2000])
        return Outcome(task=task, lease=lease.id, at=lease.now(), later=later)

    def _failed(
        self, task: Task, error: Exception, lease: Lease, account: str | None = None, *, called: bool = False
    ) -> Outcome:
        at, words = lease.now(), words_of(error)
        away = isinstance(error, Away) and not called
        if away or isinstance(error, NotYet) or (called and self._fails_for_all(task, error, account)):
            log.info("%s for %s waits: %s", task.kind, task.subject_id, words)
            return self._put_off(task, lease, wait_seconds(task.id, at), words)
        later = failed(
            task, task.attempts, error, at, max_attempts=self.max_attempts, for_good=isinstance(error, Refused)
        )
        return Outcome(task=task, lease=lease.id, at=at, later=later)

    def _fails_for_all(self, task: Task, error: Exception, account: str | None) -> bool:
        """Is it the account that fails, call by call? So it is once it has failed several tasks, and served none since."""
        if not isinstance(error, (Unavailable, OSError)):
            return False
        unserved = self._unserved.setdefault(account, set())
        if len(unserved) < ALL_FAIL:
            unserved.add(task.id)
        return len(unserved) >= ALL_FAIL

    async def _write(self, outcomes: Sequence[Outcome]) -> Sequence[None]:
        await self.database.transact(lambda tx: self._write_in(tx, outcomes))
        return [None] * len(outcomes)

    async def _write_alone(self, outcome: Outcome) -> None:
        await self._write([outcome])

    async def _write_in(self, tx: Tx, outcomes: Sequence[Outcome]) -> None:
        done = [outcome for outcome in outcomes if outcome.later is None]
        if done:
            rows = await sql.finish_leased(
                tx,
                buckets=[one.task.bucket for one in done],
                ids=[one.task.id for one in done],
                leases=[one.lease for one in done],
            )
            mine = {row["id"] for row in rows}
            kept = [one for one in done if one.task.id in mine and one.answer is not None]
            if kept:
                at = max(one.at for one in kept)
                await self.effect.settle(tx, [(one.task, one.answer) for one in kept], at)
        await accounts.served(tx, {one.serves for one in outcomes if one.serves is not None})
        await postpone(tx, [(one.task, one.lease, one.later) for one in outcomes if one.later is not None])


async def postpone(tx: Tx, put_off: Sequence[tuple[Task, UUID | None, Later]]) -> None:
    """These are due later, or wait for a person; what somebody else has taken over is left to them."""
    if not put_off:
        return
    await sql.postpone(
        tx,
        buckets=[task.bucket for task, _, _ in put_off],
        ids=[task.id for task, _, _ in put_off],
        leases=[lease for _, lease, _ in put_off],
        attempts=[later.attempts for _, _, later in put_off],
        due_ats=[later.due_at for _, _, later in put_off],
        errors=[later.error for _, _, later in put_off],
        dead_ats=[later.dead_at for _, _, later in put_off],
    )
