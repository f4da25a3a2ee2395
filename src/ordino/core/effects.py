"""Calls to the world outside, as stages describe them and as the queue keeps them. ``ordino.core.calls`` makes them.

EFF-1  A task is leased while it is called, and the lease is renewed until it is settled. A call does not begin under a lease that
       may have ended.
EFF-2  A worker leases no more than it calls now, and only what it is configured for.
EFF-3  A call touches no other: it is settled once it has answered, and one that hangs, fails or cannot be settled does so alone. A
       kind of effect or an account that hangs leaves places to the others.
EFF-4  What can never be done (``Refused``) goes to the dead-letter list at once. A failure of a whole account
       (``AccountUnavailable``) pauses it and counts no attempt; nor does a database that is away before the call. When the pause
       ends, one call tries the account, or leaves that to another.
EFF-5  An answer that the database is away for is kept until it can be settled, so that an outage makes no call twice: after it,
       whoever was away leases anew what it has in hand before anybody takes over.
EFF-6  A lost answer (``AnswerLost``) is no refusal: the task is called again with the same key, and says that it may have been
       done until it is answered. An answer that cannot be settled is called once more; after that a person looks.
EFF-7  Leases, limits, waits and pauses last as long as they say by the database's clock, whatever the business's clock says.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct

from ordino.core.accounts import Undecided
from ordino.core.clock import Clock
from ordino.core.database import Tx
from ordino.core.errors import Refused
from ordino.core.events import BUCKETS
from ordino.core.failures import Failure, failure_of, retry_after_seconds, words_of
from ordino.core.limits import PLENTY, Limits
from ordino.core.statements import statements

sql = statements("ordino.core")
log = logging.getLogger("ordino.reactions")
EVERY_BUCKET = list(range(BUCKETS))
UNLIMITED = Limits()
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Task(Struct, frozen=True, gc=False):
    """One reaction to run. ``data`` holds the event's facts and the flow's options; ``failure`` says how it failed the last time,
    and ``waiting_since`` is when it first had to wait, in wall time.
    """

    bucket: int
    id: UUID
    kind: str
    subject_id: UUID
    event_id: UUID
    due_at: datetime
    data: dict[str, Any]
    attempts: int
    failure: str | None = None
    waiting_since: datetime | None = None


def tasks_of(rows: Sequence[Record]) -> list[Task]:
    return [Task(**{**dict(row), "data": _decode(row["data"])}) for row in rows]


def _lacks_nothing() -> str | None:
    return None


def _without_limits(account: str) -> Limits:
    return UNLIMITED


class Answered(Struct, frozen=True):
    """Stands for a request that needs no call: the answer is known, and is settled together with those of other tasks."""

    answer: Any


class Effect(Struct, frozen=True):
    """A call to the world outside, in three steps; no lock is held in the second.

    ``ask`` reads what to send, one request a task: None where nothing is to do, ``Answered`` where the answer needs no call, and an
    ``OrdinoError`` where a task has to wait (``NotYet``) or cannot be done. ``call`` sends one request, with the task's id as
    idempotency key. It can be cancelled, has ``call_seconds``, and ``at_once`` of them run side by side, of which ``per_second``
    begin in a second (None: as they come). It raises ``Refused`` for what can never be done, ``AccountUnavailable`` where the whole
    account fails or asks for patience (429), ``AnswerLost`` where it was sent and no answer can be read, and ``Unavailable`` where
    this call was not done and may pass later.
    ``settle`` writes answers down, in the transaction in which their tasks leave the queue.

    ``account`` names who is called by a request; ``one_account`` does so where every request goes to the same. ``limits`` says what
    an account bears, whichever kinds of effects call it. ``lacking`` says what this process would need to do any of it, or None.
    """

    ask: Callable[[Tx, Sequence[Task], datetime], Awaitable[Sequence[Any]]]
    call: Callable[[Task, Any], Awaitable[Any]]
    settle: Callable[[Tx, Sequence[tuple[Task, Any]], datetime], Awaitable[None]]
    account: Callable[[Any], str] | None = None
    one_account: Callable[[], str] | None = None
    call_seconds: float = 30
    at_once: int = 100
    lacking: Callable[[], str | None] = _lacks_nothing
    per_second: float | None = None
    limits: Callable[[str], Limits] = _without_limits

    def __post_init__(self) -> None:
        Limits(at_once=self.at_once, per_second=self.per_second)
        if not 0 < self.call_seconds < PLENTY:
            raise ValueError(f"call_seconds is a number above 0, not {self.call_seconds}")

    def account_of(self, request: Any) -> str | None:
        if self.one_account is not None:
            return self.one_account()
        return None if self.account is None else self.account(request)


class Later(Struct, frozen=True, kw_only=True):
    """A task is not done: how long it waits, in wall time, or since when it waits for a person, in the business's. Without an
    ``error`` it has only not had its turn. ``account`` is whom it calls, if that was found out.
    """

    attempts: int
    wait_until: datetime | None = None
    error: str | None = None
    failure: Failure | None = None
    account: str | None = None
    dead_at: datetime | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a leased task: an answer to settle (None: nothing to settle), or ``later``. ``serves`` is an account that
    failed before and has answered this one; ``undecided`` is one that this was to try, and that did not say whether it is there.
    ``paused``: its account has just been paused.
    """

    task: Task
    lease: UUID
    at: datetime
    answer: Any = None
    later: Later | None = None
    serves: str | None = None
    undecided: Undecided | None = None
    paused: bool = False


def backoff_seconds(attempts: int) -> float:
    """How long a failure waits: anything up to a limit that doubles from two seconds to an hour ("full jitter", as in Brooker,
    "Exponential Backoff And Jitter", 2015), so that what failed together is not tried again together.
    """
    return float(max(0.05, random.uniform(0, min(3600, 2**attempts))))


def wait_seconds(task: Task, wall_at: datetime) -> float:
    """How long what has not failed waits before it asks again: a second at first, later a quarter of the time since it began to
    wait, and never more than ten minutes.
    """
    waited_seconds = 0.0 if task.waiting_since is None else (wall_at - task.waiting_since).total_seconds()
    return float(min(600, max(1, waited_seconds / 4)) * random.uniform(0.8, 1))


def failed(
    task: Task,
    attempts: int,
    error: BaseException,
    at: datetime,
    *,
    wall_at: datetime,
    max_attempts: int,
    failure: Failure | None = None,
    for_good: bool = False,
) -> Later:
    """A task has failed, now ``attempts`` times: it is logged, and tried again or put aside for a person at ``at``."""
    words, dead = words_of(error), for_good or isinstance(error, Refused) or attempts >= max_attempts
    level = logging.ERROR if dead else logging.WARNING
    log.log(level, "%s for %s failed (%d of %d): %s", task.kind, task.subject_id, attempts, max_attempts, words)
    seconds = max(backoff_seconds(attempts), retry_after_seconds(error))
    return Later(
        attempts=attempts,
        wait_until=wall_at + timedelta(seconds=seconds),
        error=words,
        failure=failure or failure_of(error),
        dead_at=at if dead else None,
    )


async def postpone(tx: Tx, put_off: Sequence[tuple[Task, UUID | None, Later]], *, wall: Clock) -> None:
    """These wait, or wait for a person; what somebody else has taken over is left to them."""
    if not put_off:
        return
    await sql.postpone(
        tx,
        buckets=[task.bucket for task, _, _ in put_off],
        ids=[task.id for task, _, _ in put_off],
        leases=[lease for _, lease, _ in put_off],
        attempts=[later.attempts for _, _, later in put_off],
        wait_untils=[later.wait_until for _, _, later in put_off],
        errors=[later.error for _, _, later in put_off],
        failures=[later.failure for _, _, later in put_off],
        accounts=[later.account for _, _, later in put_off],
        dead_ats=[later.dead_at for _, _, later in put_off],
        wall_at=wall.now(),
    )
