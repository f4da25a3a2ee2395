"""Carriers: what happens to a parcel on its way, by seed.

Four parcels in a hundred come one to three days late, two in a thousand are lost. A parcel that left after its ship-by time arrives
as many days later. Deliveries are made between 9 and 19 on any day but Sunday.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ordino.cli.demo.agenda import Agenda
from ordino.cli.demo.days import DAY_OFF, LOCAL, local
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.staff import Dispatched
from ordino.core.database import Database
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events

LATE = 0.04
LOST = 0.002
LOST_AFTER = timedelta(days=6)
BATCH = 2000


class Scan(Struct, frozen=True):
    """One thing that the carrier has to say about a parcel."""

    kind: Kind
    parcel: Dispatched


class Carriers:
    """Carries parcels, and says so. ``counts`` is told what became of them."""

    def __init__(self, database: Database, dice: Dice, counts: Counter[str]) -> None:
        self.database = database
        self.dice = dice
        self.counts = counts
        self._agenda: Agenda[Scan] = Agenda()
        self.deliveries: list[tuple[datetime, Dispatched]] = []
        self.lost_orders: set[str] = set()

    @property
    def busy(self) -> bool:
        return len(self._agenda) > 0

    def collect(self, parcels: Sequence[Dispatched]) -> None:
        """Decide what will happen to each parcel."""
        for parcel in parcels:
            self._agenda.enter(parcel.shipped_at + timedelta(hours=1), Scan(Kind.HANDED_OVER, parcel))
            if self.dice.chance("lost", parcel.order, parcel.tracking_number) < LOST:
                self._agenda.enter(parcel.planned_at + LOST_AFTER, Scan(Kind.LOST, parcel))
                continue
            arrives_at = self._arrival(parcel)
            if arrives_at - parcel.shipped_at > timedelta(hours=30):
                self._agenda.enter(parcel.shipped_at + timedelta(hours=12), Scan(Kind.IN_TRANSIT, parcel))
            self._agenda.enter(arrives_at - timedelta(hours=2), Scan(Kind.OUT_FOR_DELIVERY, parcel))
            self._agenda.enter(arrives_at, Scan(Kind.DELIVERED, parcel))

    async def report(self, at: datetime) -> list[tuple[datetime, Dispatched]]:
        """Tell what has happened by now. Returns the deliveries."""
        due = self._agenda.due(at)
        for start in range(0, len(due), BATCH):
            events = [
                TrackingEvent(tracking_number=scan.parcel.tracking_number, kind=scan.kind, at=when)
                for when, scan in due[start : start + BATCH]
            ]
            await self.database.transact(lambda tx, events=events: take_events(tx, events, at=at))  # type: ignore[misc]
        self.counts["tracking events"] += len(due)
        delivered = [(when, scan.parcel) for when, scan in due if scan.kind is Kind.DELIVERED]
        self.counts["delivered"] += len(delivered)
        lost = [scan.parcel.order for _, scan in due if scan.kind is Kind.LOST]
        self.counts["lost"] += len(lost)
        self.lost_orders.update(lost)
        self.deliveries += delivered
        return delivered

    def _arrival(self, parcel: Dispatched) -> datetime:
        name = (parcel.order, parcel.tracking_number)
        day = parcel.planned_at.astimezone(LOCAL).date()
        if parcel.shipped_at > parcel.ship_by_at:
            day += parcel.shipped_at.astimezone(LOCAL).date() - parcel.ship_by_at.astimezone(LOCAL).date()
            day += timedelta(days=1)
        if self.dice.chance("late", *name) < LATE:
            day += timedelta(days=self.dice.between(1, 3, "how late", *name))
        while day.isoweekday() == DAY_OFF:
            day += timedelta(days=1)
        return local(day, 9) + timedelta(seconds=self.dice.between(0, 36_000, "hour", *name))
