"""The month, replayed on the simulated clock: orders come in at their real times, and everybody does their work.

Orders are placed hour by hour (every three hours at night), each under the instant at which its hour was looked at. What follows
from them is seen at the next step. After the last order the clock goes on until everything is delivered, returned and answered,
for at most ``PATIENCE``.

A step has two parts. First, one after the other, what changes what is free: cancellations, arrivals, returns, short picks and the
sourcing that follows. Then, side by side, the new orders (which alone take what is free), the staff and everything else; none of
them sees what the others do in the same step. Messages are written and shipments charged in the background, some hours late at
most. So the same seed gives the same orders in the same states, however the database schedules its work.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from ordino.cli.demo import days
from ordino.cli.demo.buyer import Buyer
from ordino.cli.demo.carriers import Carriers
from ordino.cli.demo.customers import Customers
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.record import Record
from ordino.cli.demo.shoppers import Cart
from ordino.cli.demo.staff import Staff
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.reactions import Worker, registry
from ordino.core.statements import statements
from ordino.orders.model import OrderRefused
from ordino.orders.place import place

sql = statements("ordino.insights")

PATIENCE = timedelta(days=75)
BATCH = 500
BUYING_HOUR = 7
MOMENT = timedelta(milliseconds=1)  # new orders are not seen by the work of their own step
TALKING = {"message"}  # reactions that change nothing but the outbox
LAG = 6
APPROVING = {"authorize"}  # orders wait for it
RELEASING = {"release"}  # gives the staff their work of the next step
CHARGING = {"capture", "void", "refund"}  # reactions that change nothing but the money
TAKING = {"source", "fill_backorders", "stop"}  # reactions that change what is free
POST_HOUR = 13

Shown = Callable[[datetime, int, Counter[str]], None]
"""Told after each step: the instant, the orders handed in so far, and what was done."""


class Crew(Worker):
    """A worker that takes up some kinds of reactions only, in the order of their names, up to ``behind`` before the present."""

    def __init__(self, database: Database, kinds: Iterable[str], behind: timedelta = timedelta(0)) -> None:
        super().__init__(database, batch_size=1000)
        self.crew = sorted(self.kinds & frozenset(kinds))
        self.behind = behind

    async def run_due(self) -> int:
        at = self.database.clock.now() - self.behind
        due = {row["kind"] for row in await self._due(at, frozenset(self.crew))}
        taken = 0
        for kind in self.crew:
            if kind in due:
                run = self._affect if kind in self.registry.effects else self._react
                taken += await run(kind, at)
        return taken


class Desk(Crew):
    """Works on while the steps go on: what it does, nobody else in the demo looks at."""

    def __init__(self, database: Database, kinds: Iterable[str]) -> None:
        super().__init__(database, kinds, behind=MOMENT)
        self._round: asyncio.Task[int] | None = None
        self._missed = 0

    async def go_on(self) -> None:
        """Begin a round. One that is still under way goes on, until it is ``LAG`` steps late and is waited for."""
        if self._round is not None and not self._round.done() and self._missed < LAG:
            self._missed += 1
            return
        await self.end()
        self._round, self._missed = asyncio.create_task(self.run_until_idle()), 0

    async def end(self) -> None:
        """Wait for the round that is under way."""
        if self._round is not None:
            await self._round


class Replay:
    """One run of the demo. ``database`` runs on ``clock``; ``counts`` says what was done so far."""

    def __init__(self, database: Database, clock: SimulatedClock, carts: Sequence[Cart], dice: Dice) -> None:
        self.database = database
        self.clock = clock
        self.carts = carts
        self.counts: Counter[str] = Counter()
        self.sent = 0
        self.placed: dict[str, tuple[datetime, datetime | None]] = {}
        self.staff = Staff(database, dice, self.counts)
        self.carriers = Carriers(database, dice, self.counts)
        self.customers = Customers(database, dice, self.counts)
        self.buyer = Buyer(database, self.counts)
        kinds = frozenset(registry.names)
        self.sourcing = Crew(database, kinds & TAKING)
        self.desks = [Desk(database, kinds & TALKING), Desk(database, kinds & CHARGING)]
        self.approval = Crew(database, kinds & APPROVING, behind=MOMENT)
        self.releasing = Crew(database, kinds & RELEASING)
        self.others = Crew(database, kinds - TAKING - TALKING - CHARGING - APPROVING - RELEASING)

    @property
    def record(self) -> Record:
        """What was done so far, order by order."""
        return Record(
            placed=self.placed,
            dispatched=self.staff.dispatched,
            deliveries=self.carriers.deliveries,
            short=self.staff.short_orders,
            left_behind=self.staff.left_behind,
            lost=self.carriers.lost_orders,
            sent_back=self.customers.sent_back,
            called_off=self.customers.called_off,
        )

    async def run(self, show: Shown) -> datetime:
        """Until nothing is left to do. Returns the last instant."""
        last = self.carts[-1].at
        for at in days.steps(self.clock.now(), busy_until=last, until=last + PATIENCE):
            await self.step(at)
            show(at, self.sent, self.counts)
            if at > last and days.hour_of(at) == days.QUIET_HOURS[-1] and await self._finished():
                break
        await self._end_desks()
        return self.clock.now()

    async def step(self, at: datetime) -> None:
        """Everything that happens until ``at``."""
        self.clock.advance_to(at - MOMENT)
        hour = days.hour_of(at)
        working = days.works(at) and hour in days.SHIFTS
        await self.customers.regret(at)
        if hour == BUYING_HOUR:
            await self.buyer.buy(at)
            await self.buyer.receive(at)
        if hour == POST_HOUR:
            await self.customers.send_back(at)
        if working:
            await self.staff.meet_shortages(at)
        await self.sourcing.run_until_idle()
        for desk in self.desks:
            await desk.go_on()
        await asyncio.gather(
            self._place(at),
            self._staff(at, hour) if working else asyncio.sleep(0),
            self.approval.run_until_idle(),
            self.releasing.run_until_idle(),
            self._others(at, hour),
        )

    async def _staff(self, at: datetime, hour: int) -> None:
        await self.staff.take_up(at, released_before=at - MOMENT)
        if hour in days.COLLECTIONS:
            self.carriers.collect(await self.staff.hand_over(at))

    async def _others(self, at: datetime, hour: int) -> None:
        await self.others.run_until_idle()
        if hour in days.SCANS:
            self.customers.delivered(await self.carriers.report(at))
        if hour == POST_HOUR:
            await self.customers.answer(at)

    async def _place(self, at: datetime) -> None:
        while self.sent < len(self.carts) and self.carts[self.sent].at <= at:
            orders = [cart.order for cart in self.carts[self.sent : self.sent + BATCH] if cart.at <= at]
            outcomes = await self.database.transact(lambda tx, orders=orders: place(tx, orders, at=at))  # type: ignore[misc]
            self.sent += len(orders)
            accepted = [o for o in outcomes if not isinstance(o, OrderRefused)]
            placed = {o.external_id: o.order_id for o in accepted}
            self.placed |= {o.external_id: (at, o.promised_at) for o in accepted}
            self.customers.ordered(placed, at)
            self.counts["placed"] += len(placed)
            self.counts["refused"] += len(outcomes) - len(placed)

    async def _finished(self) -> bool:
        if self.carriers.busy or self.customers.busy:
            return False
        await self._end_desks()
        [left] = await self.database.read(lambda tx: sql.unfinished(tx))
        return not left["orders"] and not left["reactions"]

    async def _end_desks(self) -> None:
        for desk in self.desks:
            await desk.end()
