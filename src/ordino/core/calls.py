"""What a worker calls: takes up tasks of one kind of effect, calls, and settles each by itself (EFF-1 to EFF-7)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ordino.core import accounts
from ordino.core.accounts import OPEN, Gate, Undecided
from ordino.core.calling import answer_within
from ordino.core.clock import elapsed_seconds
from ordino.core.effects import (
    EVERY_BUCKET,
    Answered,
    Effect,
    Later,
    Outcome,
    Task,
    failed,
    tasks_of,
    wait_seconds,
)
from ordino.core.errors import AccountUnavailable, AnswerLost, Away, NotYet, OutcomeUnknown, Refused, Unavailable
from ordino.core.failures import MAY_HAVE_BEEN_DONE, Failure, failure_of, remembered, retry_after_seconds, words_of
from ordino.core.ids import new_id
from ordino.core.leases import Held
from ordino.core.settling import Settler
from ordino.core.statements import statements
from ordino.core.turns import Asked, Shared, Turn, Turns

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")
ALL_FAIL = 3
"""So many tasks in a row that an account does not serve, and none that it serves: then it is the account that fails."""
LATE = "The lease ended before the call could begin; it is called again."
Now = Callable[[], datetime]
"""Asked for the business's time."""


class Calls:
    """What one worker has in hand of one kind of effect."""

    def __init__(self, kind: str, effect: Effect, shared: Shared) -> None:
        self.kind = kind
        self.effect = effect
        self.shared = shared
        self.database = shared.database
        self.wall = shared.wall
        self.wake = asyncio.Event()
        self.turns = Turns(kind, effect, shared)
        self._running: set[asyncio.Task[None]] = set()
        self._without_call = 0
        """So many tasks are being settled that need no call: no more than a batch at once."""
        self._unserved: dict[str | None, set[UUID]] = {}
        self._settler = Settler(kind, effect, shared)

    async def run(self, stop: asyncio.Event) -> None:
        """Call what is due, whenever woken, until told to stop; calls under way are ended first."""
        while not stop.is_set():
            await self.wake.wait()
            self.wake.clear()
            try:
                while not stop.is_set() and await self.take(self.database.clock.now):
                    await self._room()
            except Exception as error:
                self.shared.outage.note(error, f"taking up {self.kind}")
        self._settler.ending = True
        await self.end()

    async def end(self) -> None:
        """Wait until everything in hand is settled."""
        while self._running:
            await asyncio.wait(self._running)

    async def take(self, now: Now) -> int:
        """Lease as many tasks as can be called now, and begin to call. Returns how many were taken up."""
        room = self._free()
        if room <= 0:
            return 0
        gate, passed_over, rooms = OPEN, list[str](), dict[str, int]()
        if self.effect.one_account is not None:
            gate, room = await self.turns.one_account(self.effect.one_account(), room)
            if room <= 0:
                return 0
        elif self.turns.several:
            gate, passed_over, rooms = await self.turns.look()
        held = await self._lease(now(), room, passed_over, rooms)
        if held:
            await self._begin(held, gate, now)
        elif self.effect.one_account is not None:
            await self._leave_untried(gate)
        return len(held)

    def _free(self) -> int:
        """How many tasks may be taken up."""
        return min(self.turns.places.free(elapsed_seconds()), self.shared.batch_size - self._without_call)

    async def _lease(self, at: datetime, room: int, passed_over: list[str], rooms: dict[str, int]) -> list[Held]:
        wall_at, asked_at = self.wall.now(), elapsed_seconds()
        lease, until = new_id(at), wall_at + timedelta(seconds=self.shared.leases.seconds)
        try:
            rows = await self.database.transact(
                lambda tx: sql.lease_due(
                    tx,
                    kind=self.kind,
                    at=at,
                    wall_at=wall_at,
                    until=until,
                    lease=lease,
                    limit=room,
                    passed_over=passed_over,
                    accounts=list(rooms),
                    rooms=list(rooms.values()),
                    buckets=EVERY_BUCKET,
                )
            )
        except OutcomeUnknown:
            self._run(self._unlease(lease, elapsed_seconds() + self.shared.leases.seconds))
            raise
        return self.shared.leases.hold(tasks_of(rows), lease, asked_at=asked_at)

    async def _unlease(self, lease: UUID, until: float) -> None:
        """Nobody knows whether this lease was given. What it holds was not called: it is due as before, without another attempt."""
        while not self._settler.ending and elapsed_seconds() < until:
            try:
                await self.database.transact(lambda tx: sql.unlease(tx, lease=lease))
                return
            except Unavailable as error:
                self.shared.outage.note(error, f"giving {self.kind} back")
                await asyncio.sleep(random.uniform(0.2, 1))

    async def _leave_untried(self, gate: Gate) -> None:
        """These accounts were to be tried, and there was nothing to try them with: the next call does."""
        left = [
            Undecided(account=account, until=gate.closed[account], again_at=self.wall.now()) for account in gate.tried
        ]
        if left:
            await self.database.transact(lambda tx: accounts.undecided(tx, left))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _room(self) -> None:
        """Wait until a task can be taken up."""
        while self._free() <= 0:
            seconds = self.turns.places.wait_seconds(elapsed_seconds())
            if self._running:
                await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(seconds or 0)

    async def _begin(self, held: Sequence[Held], gate: Gate, now: Now) -> None:
        begun = 0
        try:
            requests = await self._ask([one.task for one in held], now())
            all_asked = [self.turns.asked(one, request) for one, request in zip(held, requests, strict=True)]
            asked = [one for one in all_asked if not one.needs_no_call]
            names = {one.account for one in asked if one.account is not None}
            if self.turns.several and names & gate.closed.keys():
                try:
                    gate = await self.turns.gate(sorted(names))
                except Unavailable as error:
                    asked = [Asked(held=one.held, request=error) for one in asked]
            if gate.tried:
                random.shuffle(asked)  # no task is the one that tries its account every time
            turns = self.turns.give(asked, gate)
            if together := [one for one in all_asked if one.needs_no_call]:
                self._without_call += len(together)
                self._run(self._settle_together(together, now))
                begun += len(together)
            for one, turn in zip(asked, turns, strict=True):
                self._run(self._do(one, turn, now))
                begun += 1
        finally:
            for left in held if not begun else ():
                self.shared.leases.drop(left)
        if any(one.account is not None and turn.in_seconds is None for one, turn in zip(asked, turns, strict=True)):
            await self._find_accounts(now())
        if not any(turn.trying for turn in turns):
            await self._leave_untried(gate)

    async def _find_accounts(self, at: datetime) -> None:
        """Find out whom the next tasks call: those whose account has no room are passed over, and others come to their turn."""
        wall_at = self.wall.now()
        tasks = tasks_of(
            await self.database.read(
                lambda tx: sql.without_account(tx, kind=self.kind, at=at, wall_at=wall_at, limit=self.shared.batch_size)
            )
        )
        if not tasks:
            return
        found = []
        for task, request in zip(tasks, await self._ask(tasks, at), strict=True):
            asked = self.turns.asked(Held(task, task.id, 0.0), request)
            if asked.account is not None:
                found.append((task, asked.account))
        await self.database.transact(
            lambda tx: sql.write_accounts(
                tx,
                buckets=[task.bucket for task, _ in found],
                ids=[task.id for task, _ in found],
                accounts=[account for _, account in found],
            )
        )

    async def _ask(self, tasks: Sequence[Task], at: datetime) -> list[Any]:
        """A request a task. Where asking for all of them fails, each is asked for alone, and the error stands for its request."""
        try:
            requests = list(await self.database.read(lambda tx: self.effect.ask(tx, tasks, at)))
            if len(requests) != len(tasks):
                raise ValueError(f"{self.kind} asks {len(requests)} requests for {len(tasks)} tasks")
            return requests
        except Exception as error:
            if len(tasks) == 1 or isinstance(error, Away):
                return [error] * len(tasks)
            log.warning("%s: %d tasks could not be looked at together: %s", self.kind, len(tasks), words_of(error))
        return [request for task in tasks for request in await self._ask([task], at)]

    async def _settle_together(self, asked: Sequence[Asked], now: Now) -> None:
        """What needs no call is written down in one transaction."""
        held = [one.held for one in asked]
        try:
            at = now()
            outcomes = [
                Outcome(
                    task=one.held.task,
                    lease=one.held.lease,
                    at=at,
                    answer=one.request.answer if isinstance(one.request, Answered) else None,
                )
                for one in asked
            ]
            await self._settler.settle_together(outcomes, held, now)
        finally:
            self._without_call -= len(asked)
            for one in held:
                self.shared.leases.drop(one)

    async def _do(self, asked: Asked, turn: Turn, now: Now) -> None:
        try:
            try:
                outcome = await self._outcome(asked, turn, now)
            finally:
                self.turns.leave(turn, asked.account, called=True)
            await self._settler.settle(outcome, asked.held, now)
        finally:
            self.turns.leave(turn, asked.account, called=False)
            self.shared.leases.drop(asked.held)
            if self.turns.crowded:
                self.wake.set()

    async def _outcome(self, asked: Asked, turn: Turn, now: Now) -> Outcome:
        """What becomes of a task. One that was to try its account, and did not find out, leaves that to another."""
        try:
            outcome = await self._tried(asked, turn, now)
        except Exception as error:  # whatever an adapter's error does when it is looked at
            outcome = self._failed(asked, AnswerLost(f"{type(error).__name__}. {MAY_HAVE_BEEN_DONE}"), now, called=True)
        if turn.trying and outcome.serves is None and outcome.undecided is None and not outcome.paused:
            return msgspec.structs.replace(outcome, undecided=self._undecided(asked, turn, 0))
        return outcome

    def _undecided(self, asked: Asked, turn: Turn, seconds: float) -> Undecided:
        account = asked.account or ""
        again_at = self.wall.now() + timedelta(seconds=seconds)
        return Undecided(account=account, until=turn.gate.closed[account], again_at=again_at)

    async def _tried(self, asked: Asked, turn: Turn, now: Now) -> Outcome:
        task, request, account = asked.held.task, asked.request, asked.account
        if isinstance(request, Exception):
            return self._failed(asked, request, now)
        if turn.in_seconds is None:
            if account not in turn.gate.closed:
                return self._put_off(asked, now, error=None)
            words = f"Nothing is sent to the {account} for now."
            return self._put_off(asked, now, error=words, failure=Failure.UNAVAILABLE)
        if task.attempts > self.shared.max_attempts:
            return self._given_up(asked, now)
        if turn.in_seconds > 0:
            await asyncio.sleep(turn.in_seconds)
        if not asked.held.is_good:  # the last look before the call
            return self._put_off(asked, now, error=LATE)
        return await self._call(asked, turn, now)

    async def _call(self, asked: Asked, turn: Turn, now: Now) -> Outcome:
        task, account, serves = asked.held.task, asked.account, asked.account if turn.trying else None
        try:
            answer = await answer_within(lambda: self.effect.call(task, asked.request), self.effect.call_seconds)
        except Exception as error:
            if isinstance(error, AccountUnavailable) and account is not None:
                return await self._pause(asked, turn, error, now)
            outcome = self._failed(asked, error, now, called=True)
            if isinstance(error, Refused | NotYet):  # it says no to this one, and so it is there
                self._unserved.pop(account, None)
                return msgspec.structs.replace(outcome, serves=serves)
            if turn.trying:
                return self._leave_to_another(asked, turn, outcome)
            return outcome
        self._unserved.pop(account, None)
        return Outcome(task=task, lease=asked.held.lease, at=now(), answer=answer, serves=serves)

    def _leave_to_another(self, asked: Asked, turn: Turn, outcome: Outcome) -> Outcome:
        """It has tried its account and found nothing out: another task does so next, and this one waits until then."""
        undecided, later = self._undecided(asked, turn, accounts.FIRST_SECONDS), outcome.later
        if later is not None and later.wait_until is not None:
            until = max(later.wait_until, undecided.again_at + timedelta(seconds=accounts.FIRST_SECONDS))
            later = msgspec.structs.replace(later, wait_until=until)
        return msgspec.structs.replace(outcome, undecided=undecided, later=later)

    async def _pause(self, asked: Asked, turn: Turn, error: AccountUnavailable, now: Now) -> Outcome:
        """The account is paused: what calls it is passed over until the pause ends, and needs not wait by itself."""
        at, reason, account = self.wall.now(), words_of(error), asked.account or ""
        not_before = at + timedelta(seconds=retry_after_seconds(error))
        try:
            until = await self.database.transact(
                lambda tx: accounts.pause(tx, account, reason, at=at, tried=turn.trying, not_before=not_before)
            )
        except Unavailable:
            outcome = self._put_off(
                asked, now, error=reason, failure=Failure.UNAVAILABLE, seconds=accounts.FIRST_SECONDS
            )
            return msgspec.structs.replace(outcome, paused=True)
        log.warning("the %s is paused for %.0f seconds: %s", account, max(0.0, (until - at).total_seconds()), reason)
        outcome = self._put_off(asked, now, error=reason, failure=Failure.UNAVAILABLE)
        return msgspec.structs.replace(outcome, paused=True)

    def _put_off(
        self,
        asked: Asked,
        now: Now,
        *,
        error: str | None,
        failure: Failure | None = None,
        seconds: float = 0,
        known: bool = False,
    ) -> Outcome:
        """It has not failed: it keeps as many attempts as before its lease. ``known``: it is known what became of earlier calls."""
        task = asked.held.task
        until = self.wall.now() + timedelta(seconds=seconds) if seconds else None
        later = Later(
            attempts=max(0, task.attempts - 1),
            wait_until=until,
            error=error,
            failure=failure if known else remembered(task.failure, failure),
            account=asked.account if self.turns.several else None,
        )
        return Outcome(task=task, lease=asked.held.lease, at=now(), later=later)

    def _given_up(self, asked: Asked, now: Now) -> Outcome:
        """Every attempt took its worker with it, or found no end: a person looks before there is another."""
        task = asked.held.task
        words = f"It was called {task.attempts - 1} times, and no worker lived to write down an answer. It may have been done."
        log.error("%s for %s is given up: %s", task.kind, task.subject_id, words)
        later = Later(attempts=task.attempts - 1, error=words, failure=Failure.ANSWER_LOST, dead_at=now())
        return Outcome(task=task, lease=asked.held.lease, at=now(), later=later)

    def _failed(self, asked: Asked, error: Exception, now: Now, *, called: bool = False) -> Outcome:
        task, words, wall_at = asked.held.task, words_of(error), self.wall.now()
        failure = failure_of(error, called=called)
        whole = isinstance(error, AccountUnavailable) or (called and self._fails_for_all(asked, failure))
        if isinstance(error, NotYet) or (isinstance(error, Away) and not called) or whole:
            log.info("%s for %s waits: %s", task.kind, task.subject_id, words)
            seconds = max(wait_seconds(task, wall_at), retry_after_seconds(error))
            known = called and isinstance(error, NotYet)
            return self._put_off(asked, now, error=words, failure=failure, seconds=seconds, known=known)
        later = failed(
            task,
            task.attempts,
            error,
            now(),
            wall_at=wall_at,
            max_attempts=self.shared.max_attempts,
            failure=remembered(task.failure, failure),
        )
        return Outcome(task=task, lease=asked.held.lease, at=now(), later=later)

    def _fails_for_all(self, asked: Asked, failure: Failure | None) -> bool:
        """Is it the account that fails, call by call? So it is once it has failed several tasks, and served none since."""
        if failure not in (Failure.UNAVAILABLE, Failure.ANSWER_LOST):
            return False
        unserved = self._unserved.setdefault(asked.account, set())
        if len(unserved) < ALL_FAIL:
            unserved.add(asked.held.task.id)
        return len(unserved) >= ALL_FAIL
