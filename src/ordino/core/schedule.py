"""Recurring work: what is done again and again, by one worker at a time.

SCH-1  One worker at a time does a piece of recurring work, however many there are.
SCH-2  It is due one interval after it was last begun, by the clock of the database. What was missed while no worker was there is
       done once. What it is told is the business's time: when it was done last, and now.
SCH-3  A worker that dies leaves it to the others: its row lock or its lease ends without it, and it is as due as before.
SCH-4  A failure is logged and kept, with its error and how many there were in a row, and tried again at the next time.
SCH-5  Once a piece of work is another worker's, whoever had it writes nothing more.
SCH-6  Recurring work that is slow or hangs keeps no other waiting. In a transaction, it fails after ``LONGEST_SECONDS``.

Two forms. A *duty* runs in one transaction, in which it is marked as done. A *leased duty* takes longer than a transaction should:
it works on the database, under a lease that is renewed meanwhile (``core.leases``). A worker that was suspended may find out late
that it is another's turn: each transaction of its work ends by asking for the lease, and without it nothing is committed. So the
work may be begun twice, and what a turn has written stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID, uuid4

from msgspec import Struct

from ordino.core.clock import elapsed_seconds
from ordino.core.database import Database, Tx
from ordino.core.errors import Away
from ordino.core.failures import words_of
from ordino.core.leases import LeaseLost, while_leased
from ordino.core.outage import Outage
from ordino.core.settings import Settings
from ordino.core.statements import statements

sql = statements("ordino.core")
log = logging.getLogger("ordino.schedule")
LONGEST_SECONDS = 300.0
"""How long a duty may take in its transaction, before it is stopped and has failed."""
AT_ONCE = 4
"""So many duties of a worker are in their transactions at once."""
LEAVE_SECONDS = 10.0
"""How long a worker that is told to stop waits for duties in their transactions, before it undoes them for others to do."""
LOOK_SECONDS = 1.0
"""How long a worker goes without asking what is due: another may have changed an interval."""

InTransaction = Callable[[Tx, datetime, datetime], Awaitable[None]]
"""Is told when it was done last, and the time."""
OnDatabase = Callable[[Database, datetime, datetime], Awaitable[None]]
Interval = float | Callable[[Settings], float | None]
"""Seconds from one beginning to the next; a setting may say it, and None is never."""


class Duty(Struct, frozen=True, kw_only=True):
    """One piece of recurring work: it runs ``in_transaction`` or ``on_database``."""

    name: str
    every_seconds: Interval
    in_transaction: InTransaction | None = None
    on_database: OnDatabase | None = None

    @property
    def sentence(self) -> str:
        """What it does."""
        said = (self.in_transaction or self.on_database).__doc__ or ""
        return said.strip().split("\n\n")[0].replace("\n", " ")

    def interval(self, settings: Settings) -> float | None:
        """Seconds from one beginning to the next; None: it is not done."""
        return self.every_seconds(settings) if callable(self.every_seconds) else self.every_seconds


class DutyView(Struct, frozen=True, kw_only=True):
    """One piece of recurring work as ``ordino schedule`` shows it. Times are of the database's clock, not of the business's.

    ``every_seconds`` is the interval that the worker which started last was set to; None: it is not done. ``failures`` counts those
    in a row since it last went well; ``last_error`` is the last one there was.
    """

    name: str
    sentence: str
    every_seconds: float | None
    running: bool
    last_run_at: datetime | None
    took_seconds: float | None
    next_at: datetime | None
    failures: int
    failed_at: datetime | None
    last_error: str | None


async def schedule(tx: Tx, known: Mapping[str, str]) -> list[DutyView]:
    """All recurring work, by name: what the database knows of, and what is ``known`` with a sentence before a worker was there."""
    rows = {row["name"]: dict(row) for row in await sql.duties(tx)}
    nothing = dict.fromkeys(("every_seconds", "last_run_at", "took_seconds", "next_at", "failed_at", "last_error"))
    new = {**nothing, "running": False, "failures": 0}
    return [
        DutyView(**{**new, "name": name, "sentence": known.get(name, ""), **rows.get(name, {})})
        for name in sorted({*rows, *known})
    ]


class Fence:
    """Asks for the lease of a piece of work, last before a commit: until that, nobody takes the work over."""

    def __init__(self, name: str, lease: UUID) -> None:
        self._name = name
        self._lease = lease

    async def write(self, tx: Tx) -> None:
        """Raises ``LeaseLost``."""
        if not await sql.ask_for_duty(tx, name=self._name, lease=self._lease):
            raise LeaseLost


class Schedule:
    """The recurring work that one worker takes part in."""

    def __init__(
        self,
        database: Database,
        duties: Mapping[str, Duty],
        *,
        settings: Settings,
        poll_seconds: float = 0.2,
        outage: Outage | None = None,
    ) -> None:
        self.database = database
        self.duties = duties
        self.intervals = {name: duty.interval(settings) for name, duty in duties.items()}
        self.lease_seconds = settings.job_lease_seconds
        self.poll_seconds = poll_seconds
        self._outage = outage or Outage()
        self._known = False
        self._look_at = 0.0
        self._room = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Do what is due until told to stop. Leased work that is under way is let go then, for others to do; what is in its
        transaction has ``LEAVE_SECONDS`` to end.
        """
        while not stop.is_set():
            try:
                await self.run_due(wait=False)
            except Exception as error:
                self._outage.note(error, "recurring work")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.poll_seconds)
        in_transaction = [
            task for name, task in self._under_way.items() if self.duties[name].in_transaction is not None
        ]
        for name, task in self._under_way.items():
            if self.duties[name].in_transaction is None:
                task.cancel()
        if in_transaction:
            await asyncio.wait(in_transaction, timeout=LEAVE_SECONDS)
        for task in in_transaction:
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def run_due(self, *, all: bool = False, wait: bool = True) -> None:
        """Do what is due (or everything): one after another, and ``wait`` for it, or each beside the others. Raises ``Away`` where
        it waits, and then it is due as soon as the database is there.
        """
        if not self.duties or (not all and elapsed_seconds() < self._look_at):
            return
        await self._know()
        at_work = {name for name, task in self._under_way.items() if not task.done()}
        names = [name for name in self.duties if name not in at_work and (all or self.intervals[name] is not None)]
        left = await self.database.read(lambda tx: _times(tx, names))
        for name in names:
            if not all and left.get(name, 0.0) > 0:
                continue
            left[name] = self.intervals[name] or 0.0
            if wait and self.duties[name].in_transaction is not None:
                await self._do(self.duties[name], anyway=all)
            else:
                self._under_way[name] = asyncio.create_task(self._do_beside(self.duties[name], anyway=all))
        self._look_at = elapsed_seconds() + min([LOOK_SECONDS, *(max(0.0, seconds) for seconds in left.values())])
        if wait:
            await asyncio.gather(*self._under_way.values())

    async def _know(self) -> None:
        if self._known:
            return
        names = sorted(self.duties)
        intervals = [self.intervals[name] for name in names]
        await self.database.transact(lambda tx: sql.know_duties(tx, names=names))
        await self.database.transact(lambda tx: sql.set_intervals(tx, names=names, intervals=intervals))
        self._known = True

    async def _do(self, duty: Duty, *, anyway: bool) -> None:
        run = duty.in_transaction
        assert run is not None, "it runs in a transaction"
        began = elapsed_seconds()

        async def turn(tx: Tx) -> None:
            for row in await sql.hold_duty(tx, name=duty.name, anyway=anyway):
                at = self.database.clock.now()
                await run(tx, row["since"], at)
                await self._end(tx, duty, None, at, began)

        try:
            async with asyncio.timeout(LONGEST_SECONDS) as limit:
                await self.database.transact(turn)
        except Away:
            self._look_at = 0.0
            raise
        except Exception as error:
            late = TimeoutError(f"It took longer than {LONGEST_SECONDS:g} seconds, and was stopped and undone.")
            await self._fail(duty, None, late if limit.expired() else error, began)

    async def _do_beside(self, duty: Duty, *, anyway: bool) -> None:
        """A worker that is away from its database leaves it to whoever is there."""
        try:
            if duty.in_transaction is None:
                await self._take_turn(duty, uuid4(), anyway=anyway)
                return
            async with self._room:
                await self._do(duty, anyway=anyway)
        except Exception as error:
            self._outage.note(error, f"the duty {duty.name}")

    async def _take_turn(self, duty: Duty, lease: UUID, *, anyway: bool) -> None:
        run = duty.on_database
        assert run is not None, "it runs on the database"
        began, seconds = elapsed_seconds(), self.lease_seconds
        taken = await self.database.transact(
            lambda tx: sql.lease_duty(tx, name=duty.name, lease=lease, lease_seconds=seconds, anyway=anyway)
        )
        if not taken:
            return
        at = self.database.clock.now()

        async def renew() -> bool:
            return bool(
                await self.database.transact(
                    lambda tx: sql.renew_duty(tx, name=duty.name, lease=lease, lease_seconds=seconds)
                )
            )

        try:
            since, mine = taken[0]["since"], self.database.fenced(Fence(duty.name, lease))
            await while_leased(lambda: run(mine, since, at), renew, seconds=seconds, since=began)
            await self.database.transact(lambda tx: self._end(tx, duty, lease, at, began))
        except LeaseLost as error:
            log.warning("the duty %s was stopped: %s", duty.name, error)
        except Away:
            await self._let_go(duty, lease)
            raise
        except asyncio.CancelledError:
            await self._let_go(duty, lease)
            raise
        except Exception as error:
            await self._fail(duty, lease, error, began)

    async def _let_go(self, duty: Duty, lease: UUID) -> None:
        """It is due at once for the next worker; if this cannot be said, once the lease ends."""
        with suppress(Exception):
            await self.database.transact(lambda tx: sql.let_go_duty(tx, name=duty.name, lease=lease))

    async def _end(self, tx: Tx, duty: Duty, lease: UUID | None, at: datetime, began: float) -> None:
        every, took = self.intervals[duty.name], elapsed_seconds() - began
        await sql.end_duty(tx, name=duty.name, lease=lease, at=at, every_seconds=every, took_seconds=took)

    async def _fail(self, duty: Duty, lease: UUID | None, error: Exception, began: float) -> None:
        log.error("the duty %s failed; it is tried again at its next time", duty.name, exc_info=error)
        every, took = self.intervals[duty.name], elapsed_seconds() - began
        await self.database.transact(
            lambda tx: sql.fail_duty(
                tx, name=duty.name, lease=lease, every_seconds=every, took_seconds=took, error=words_of(error)
            )
        )


async def _times(tx: Tx, names: Sequence[str]) -> dict[str, float]:
    """In how many seconds each of them is due."""
    return {row["name"]: row["in_seconds"] for row in await sql.duty_times(tx, names=list(names))}
