"""How a worker does jobs (``core.jobs``): a few side by side, each under a lease, a slice of time each in turn.

A job keeps its lane for ``SLICE_SECONDS`` and then lets the one go first that has waited longest. So a long job does not keep a
short one waiting, and no job is forgotten.

A set of rows that fails is tried again with half as many, down to the row that fails alone: that one is refused, and the job goes
on. A job that was taken up ``MOST_TRIES`` times without getting on loses its worker to its next row: that row is refused, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec

from ordino.core.clock import elapsed_seconds
from ordino.core.database import ACTOR, Database, Tx
from ordino.core.errors import Refused, Unavailable
from ordino.core.failures import words_of
from ordino.core.job_hand import Hand, Taken, mine, refusal_of, rows_in_hand
from ordino.core.jobs import OVER, JobKind, Outcome, Row, RowOutcome, State, Step, encode, sql
from ordino.core.leases import LeaseLost, while_leased
from ordino.core.outage import Outage
from ordino.core.settings import Settings

log = logging.getLogger("ordino.jobs")
SLICE_SECONDS = 2.0
AWAY_SECONDS = 1.0
"""How long a job rests after the database was away or too busy."""
MOST_TRIES = 10
FORGET_JOBS, FORGET_ROWS = 10, 20_000
"""So many old jobs, and so many of their rows, are forgotten at once."""
ENDS_WORKERS = (
    "Work on it was begun {tries} times and never came to an end: each time the worker stopped or lost the database. Look into the "
    "workers' logs, and send it again alone."
)


class JobRunner:
    """Does the jobs of one database, as one of its workers."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, JobKind],
        *,
        settings: Settings,
        poll_seconds: float = 0.2,
        outage: Outage | None = None,
    ) -> None:
        self.database = database
        self.kinds = kinds
        self.lanes = settings.job_lanes
        self.lease_seconds = settings.job_lease_seconds
        self.days = settings.job_days
        self.poll_seconds = poll_seconds
        self.slice_seconds = SLICE_SECONDS
        self._outage = outage or Outage()
        self._running: dict[asyncio.Task[None], str] = {}
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Do jobs until told to stop; what is in hand is let go after its present rows."""
        self._stop = stop
        while not stop.is_set():
            try:
                while await self._take_up():
                    pass
            except Exception as error:
                self._outage.note(error, "looking for jobs")
            await self._rest(stop)
        await self._ended()

    async def run_until_idle(self) -> None:
        """Do jobs until none is due."""
        self._stop = asyncio.Event()
        while True:
            while await self._take_up():
                pass
            if not self._running:
                return
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def forget(self, tx: Tx) -> None:
        """Forget jobs that were over long ago: their rows first, as many as are forgotten at once."""
        left = FORGET_ROWS
        for row in await sql.old_jobs(tx, days=self.days, limit=FORGET_JOBS):
            await sql.begin_to_forget(tx, job_id=row["job_id"])
            gone = await sql.forget_job_rows(tx, job_id=row["job_id"], limit=left)
            left -= len(gone)
            if left <= 0:
                return
            await sql.forget_job(tx, job_id=row["job_id"])

    async def _rest(self, stop: asyncio.Event) -> None:
        """Until it is time to look again, or a lane is free, or all ends."""
        waiting = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                {waiting, *self._running}, timeout=self.poll_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()

    async def _ended(self) -> None:
        while self._running:
            await asyncio.wait(self._running)

    async def _take_up(self) -> bool:
        """Begin or go on with one job, if there is a lane for it and one is due."""
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
        busy = Counter(self._running.values())
        kinds = sorted(name for name, kind in self.kinds.items() if busy[name] < kind.at_once)
        if len(self._running) >= self.lanes or not kinds:
            return False
        due = [row["kind"] for row in await self.database.read(lambda tx: sql.due_jobs(tx, kinds=kinds))]
        if not due:
            return False
        lease, since = uuid4(), elapsed_seconds()
        rows = await self.database.transact(
            lambda tx: sql.lease_job(tx, kinds=due, lease=lease, lease_seconds=self.lease_seconds)
        )
        for row in rows:
            taken = Taken(**dict(row), lease=lease, since=since)
            task = asyncio.create_task(self._serve(taken))
            self._running[task] = taken.kind
        return bool(rows)

    async def _serve(self, taken: Taken) -> None:
        """A slice of a job's time, under its lease and in the name of who started it."""
        ACTOR.set(taken.started_by)

        async def renew() -> bool:
            return bool(
                await self.database.transact(
                    lambda tx: sql.renew_job(
                        tx, job_id=taken.job_id, lease=taken.lease, lease_seconds=self.lease_seconds
                    )
                )
            )

        try:
            await while_leased(lambda: self._work(taken), renew, seconds=self.lease_seconds, since=taken.since)
        except LeaseLost as error:
            log.warning("the job %s (%s) was stopped: %s", taken.job_id, taken.kind, error)
        except Unavailable as error:
            self._outage.note(error, f"the job {taken.job_id} ({taken.kind})")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), AWAY_SECONDS)
            await self._let_go(taken)
        except Exception:
            log.exception("the job %s (%s) could not be gone on with", taken.job_id, taken.kind)
            await self._let_go(taken)

    async def _let_go(self, taken: Taken) -> None:
        """Whoever comes next goes on; if this cannot be said, once the lease ends."""
        with suppress(Unavailable):
            await self.database.transact(lambda tx: sql.let_go_job(tx, job_id=taken.job_id, lease=taken.lease))

    async def _work(self, taken: Taken) -> None:
        until = elapsed_seconds() + self.slice_seconds
        try:
            hand = Hand(taken, self.kinds[taken.kind])
        except msgspec.MsgspecError as error:
            log.error("the job %s (%s) cannot be read: %s", taken.job_id, taken.kind, error)
            detail = "This version of Ordino cannot read what the job is to do; start it again."
            await self._fail(taken, Refused(detail, code="unreadable"))
            return
        if taken.state == State.CANCELLING:
            await self.database.transact(lambda tx: self._cancelled(tx, hand))
        while not hand.over:
            if hand.kind.do is not None:
                await self._do_set(hand)
            else:
                await self._do_step(hand)
            if not hand.over and (self._stop.is_set() or elapsed_seconds() >= until):
                await self._let_go(taken)
                return

    # -- rows --------------------------------------------------------------------------------------------------------------

    async def _do_set(self, hand: Hand) -> None:
        """The next rows, in one transaction with what became of them. Fewer the next time if that fails; more if it does not."""
        given = 0

        async def one_set(tx: Tx) -> bool:
            nonlocal given
            found = await sql.open_job_rows(tx, job_id=hand.taken.job_id, limit=hand.size)
            given = len(found)
            rows = rows_in_hand(found, hand.kind)
            outcomes = await self._outcomes(tx, hand, rows)
            return await self._settle(tx, hand, rows, outcomes)

        try:
            hand.over = await self.database.transact(one_set)
            hand.size, hand.tries = min(hand.kind.set_size, 2 * hand.size), 0
        except (LeaseLost, Unavailable):
            raise
        except Exception as error:
            if given > 1:
                log.warning("%d rows of the job %s failed together: %s", given, hand.taken.job_id, error)
                hand.size = given // 2
            else:
                outcome = refusal_of(error, hand)
                hand.over = await self.database.transact(lambda tx: self._leave_out(tx, hand, outcome))

    async def _outcomes(self, tx: Tx, hand: Hand, rows: Sequence[Row]) -> Sequence[RowOutcome]:
        if not rows:
            return []
        if hand.tries > MOST_TRIES and len(rows) == 1:
            return [RowOutcome(code="fault", detail=ENDS_WORKERS.format(tries=hand.tries - 1))]
        assert hand.kind.do is not None, "it does rows"
        outcomes = await hand.kind.do(tx, hand.parameters, rows, self.database.clock.now())
        assert len(outcomes) == len(rows), "one outcome a row"
        return outcomes

    async def _leave_out(self, tx: Tx, hand: Hand, outcome: RowOutcome) -> bool:
        """The next row is refused, so that the others are done."""
        rows = rows_in_hand(await sql.open_job_rows(tx, job_id=hand.taken.job_id, limit=1), None)
        return await self._settle(tx, hand, rows, [outcome for _ in rows])

    async def _settle(self, tx: Tx, hand: Hand, rows: Sequence[Row], outcomes: Sequence[RowOutcome]) -> bool:
        """Write down what became of rows, last the job's progress, which is fenced by its lease. Is the job over?"""
        if rows:
            await sql.settle_job_rows(
                tx,
                job_id=hand.taken.job_id,
                row_nos=[row.row_no for row in rows],
                outcomes=[Outcome.OK if one.code is None else Outcome.REFUSED for one in outcomes],
                codes=[one.code for one in outcomes],
                details=[one.detail for one in outcomes],
                pointers=[one.pointer for one in outcomes],
                outputs=[None if one.output is None else encode(one.output).decode() for one in outcomes],
            )
        refused = sum(one.code is not None for one in outcomes)
        head = mine(
            await sql.advance_job(tx, job_id=hand.taken.job_id, lease=hand.taken.lease, done=len(rows), refused=refused)
        )
        if head is not None and head["done"] == head["total"]:
            await self._end(tx, hand.taken, State.DONE)
            return True
        if head is not None and head["state"] == State.CANCELLING:
            return await self._cancelled(tx, hand)
        return False

    async def _cancelled(self, tx: Tx, hand: Hand) -> bool:
        await sql.forget_inputs(tx, job_id=hand.taken.job_id)
        await self._end(tx, hand.taken, State.CANCELLED)
        hand.over = True
        return True

    # -- steps -------------------------------------------------------------------------------------------------------------

    async def _do_step(self, hand: Hand) -> None:
        """The next step, read beside everything else; then it is written down, if the job is still in hand."""
        assert hand.kind.step is not None, "it takes steps"
        taken = hand.taken
        if hand.tries > MOST_TRIES:
            await self._fail(taken, Refused(ENDS_WORKERS.format(tries=hand.tries - 1), code="fault"))
            hand.over = True
            return
        try:
            step = await hand.kind.step(self.database, hand.parameters, hand.cursor, self.database.clock.now())
        except Unavailable:
            raise
        except Exception as error:
            if not isinstance(error, Refused):
                log.exception("the job %s (%s) failed", taken.job_id, taken.kind)
            await self._fail(taken, error)
            hand.over = True
            return
        hand.over = await self.database.transact(lambda tx: self._keep(tx, hand, step))
        hand.cursor, hand.tries = step.cursor, 0

    async def _keep(self, tx: Tx, hand: Hand, step: Step) -> bool:
        taken = hand.taken
        head = mine(
            await sql.keep_step(
                tx,
                job_id=taken.job_id,
                lease=taken.lease,
                done=step.done,
                total=step.total,
                finished=step.finished,
                cursor=None if step.cursor is None else encode(step.cursor).decode(),
            )
        )
        assert head is not None, "it is fenced"
        if step.lines:
            first = head["done"] - len(step.lines)
            await sql.add_job_rows(
                tx,
                job_id=taken.job_id,
                row_nos=[first + n for n in range(1, len(step.lines) + 1)],
                subjects=[line.subject for line in step.lines],
                inputs=[None for _ in step.lines],
                outcomes=[Outcome.OK for _ in step.lines],
                codes=[None for _ in step.lines],
                details=[None for _ in step.lines],
                pointers=[None for _ in step.lines],
                outputs=[encode(line.output).decode() for line in step.lines],
            )
        if step.finished:
            await self._end(tx, taken, State.DONE, result=step.result)
            return True
        if head["state"] == State.CANCELLING:
            return await self._cancelled(tx, hand)
        return False

    # -- the end -----------------------------------------------------------------------------------------------------------

    async def _end(
        self,
        tx: Tx,
        taken: Taken,
        state: State,
        *,
        result: Any = None,
        code: str | None = None,
        error: str | None = None,
    ) -> None:
        assert state in OVER, "it is an end"
        written = None if result is None else encode(result).decode()
        mine(
            await sql.end_job(
                tx, job_id=taken.job_id, lease=taken.lease, state=state, result=written, error_code=code, error=error
            )
        )

    async def _fail(self, taken: Taken, error: Exception) -> None:
        """The job ends here, and says why."""
        code, detail = (
            "fault",
            "Ordino has a fault here, and it is logged. Nothing of it was lost; it can be started again.",
        )
        if isinstance(error, Refused):
            code, detail = error.code, words_of(error)

        async def end(tx: Tx) -> None:
            await sql.forget_inputs(tx, job_id=taken.job_id)
            await self._end(tx, taken, State.FAILED, code=code, error=detail)

        await self.database.transact(end)
