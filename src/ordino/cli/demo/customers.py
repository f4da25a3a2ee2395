"""Customers after the purchase, by seed: some call their order off, some send things back, some answer the survey.

Three orders in two hundred are called off, mostly within some hours. Of one delivery in twenty, one or two lines are sent back
within two weeks; that is authorized at once and arrives four to eight days later, where one unit in four is scrapped. Of those
asked, one third answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.aftercare.model import (
    Answers,
    Authorized,
    NewReturn,
    Received,
    ReceivedLine,
    ReturnLine,
    ReturnReceipt,
    SurveyAnswer,
)
from ordino.aftercare.returns import authorize, receive
from ordino.aftercare.survey import answer
from ordino.cli.demo.agenda import Agenda
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.staff import Dispatched
from ordino.core.database import Database
from ordino.core.statements import statements
from ordino.orders.cancel import Cancellation, Cancelled, cancel

sql = statements("ordino.insights")

CALLED_OFF = 0.015
MEAN_REGRET = timedelta(hours=4)
SENT_BACK = 0.05
SCRAPPED = 0.25
ANSWERED = 1 / 3
REASONS = ("changed_mind", "changed_mind", "not_as_described", "damaged", "wrong_item")
COMMENTS = (
    None,
    None,
    None,
    "Thank you!",
    "All as expected.",
    "The box was far too large.",
    "I had hoped for an earlier day.",
)


class Sent(Struct, frozen=True):
    """A return on its way back."""

    order_id: UUID
    return_id: UUID
    order: str
    location: str
    lines: tuple[tuple[int, int], ...]
    """(line number, quantity)"""


class Customers:
    """Knows which order is whose. ``counts`` is told what they did."""

    def __init__(self, database: Database, dice: Dice, counts: Counter[str]) -> None:
        self.database = database
        self.dice = dice
        self.counts = counts
        self._orders: dict[str, UUID] = {}
        self._regrets: Agenda[str] = Agenda()
        self._wishes: Agenda[str] = Agenda()
        self._returns: Agenda[Sent] = Agenda()
        self._answers: Agenda[str] = Agenda()
        self._wishing: set[str] = set()
        self._asked_until: datetime | None = None
        self.called_off: set[str] = set()
        self.sent_back: set[str] = set()

    @property
    def busy(self) -> bool:
        return any((len(self._wishes), len(self._returns), len(self._answers)))

    def ordered(self, placed: Mapping[str, UUID], at: datetime) -> None:
        """External id -> order id of what was placed."""
        self._orders |= placed
        for order in placed:
            if self.dice.chance("called off", order) < CALLED_OFF:
                hours = self.dice.exponential(MEAN_REGRET / timedelta(hours=1), "regret", order)
                self._regrets.enter(at + timedelta(hours=hours), order)

    def delivered(self, deliveries: Sequence[tuple[datetime, Dispatched]]) -> None:
        for at, parcel in deliveries:
            if parcel.order not in self._wishing and self.dice.chance("sent back", parcel.order) < SENT_BACK:
                self._wishing.add(parcel.order)
                self._wishes.enter(
                    at + timedelta(days=self.dice.between(1, 14, "sent back", parcel.order)), parcel.order
                )

    async def regret(self, at: datetime) -> None:
        """Call off orders that are regretted by now."""
        orders = [order for _, order in self._regrets.due(at)]
        if orders:
            wanted = [Cancellation(order_id=self._orders[order], all=True) for order in orders]
            outcomes = await self.database.transact(lambda tx: cancel(tx, wanted, at=at))
            done = [o for o, outcome in zip(orders, outcomes, strict=True) if isinstance(outcome, Cancelled)]
            self.counts["cancelled"] += len(done)
            self.called_off.update(done)

    async def send_back(self, at: datetime) -> None:
        """Ask for returns, and take those in that have arrived."""
        await self._want(at)
        await self._arrive(at)

    async def _want(self, at: datetime) -> None:
        orders = [order for _, order in self._wishes.due(at)]
        if not orders:
            return
        order_ids = [self._orders[order] for order in orders]
        rows = await self.database.read(lambda tx: sql.delivered_lines(tx, order_ids=order_ids))
        lines: dict[UUID, list[tuple[int, int]]] = {}
        for row in rows:
            lines.setdefault(row["order_id"], []).append((row["line_no"], row["delivered"]))
        chosen: list[tuple[str, list[tuple[int, int]]]] = []
        for order in orders:
            if delivered := lines.get(self._orders[order]):
                first = self.dice.between(0, len(delivered) - 1, "line", order)
                chosen.append((order, delivered[first : first + self.dice.between(1, 2, "lines", order)]))
        wanted = [
            NewReturn(
                order_id=self._orders[order],
                lines=[
                    ReturnLine(line_no=line_no, quantity=units, reason=self.dice.one_of(REASONS, "reason", order))
                    for line_no, units in some
                ],
            )
            for order, some in chosen
        ]
        outcomes = await self.database.transact(lambda tx: authorize(tx, wanted, at=at))
        for (order, _), outcome in zip(chosen, outcomes, strict=True):
            if isinstance(outcome, Authorized):
                self.sent_back.add(order)
                by_location: dict[str, list[tuple[int, int]]] = {}
                for line in outcome.lines:
                    by_location.setdefault(line.location, []).append((line.line_no, line.quantity))
                due = at + timedelta(days=self.dice.between(4, 8, "way back", order))
                for location, some in by_location.items():
                    self._returns.enter(due, Sent(outcome.order_id, outcome.return_id, order, location, tuple(some)))

    async def _arrive(self, at: datetime) -> None:
        arrived = [sent for _, sent in self._returns.due(at)]
        if not arrived:
            return
        receipts = [
            ReturnReceipt(
                order_id=sent.order_id,
                return_id=sent.return_id,
                location=sent.location,
                lines=[
                    ReceivedLine(line_no=line_no, scrapped=scrapped, restocked=units - scrapped)
                    for line_no, units in sent.lines
                    for scrapped in [self._scrapped(sent.order, line_no, units)]
                ],
            )
            for sent in arrived
        ]
        outcomes = await self.database.transact(lambda tx: receive(tx, receipts, at=at))
        self.counts["returned"] += sum(isinstance(outcome, Received) for outcome in outcomes)

    def _scrapped(self, order: str, line_no: int, units: int) -> int:
        return sum(self.dice.chance("scrapped", order, line_no, unit) < SCRAPPED for unit in range(units))

    async def answer(self, at: datetime) -> None:
        """Decide who of the newly asked will answer, and answer for those whose time has come."""
        since = self._asked_until or at - timedelta(days=400)
        rows = await self.database.read(lambda tx: sql.asked(tx, since=since, until=at))
        self._asked_until = at
        for row in rows:
            order = row["external_id"]
            if self.dice.chance("answers", order) < ANSWERED:
                self._answers.enter(at + timedelta(hours=self.dice.between(0, 72, "answers", order)), order)
        orders = [order for _, order in self._answers.due(at)]
        if orders:
            given = [self._form(order) for order in orders]
            await self.database.transact(lambda tx: answer(tx, given, at=at))
            self.counts["answers"] += len(given)

    def _form(self, order: str) -> SurveyAnswer:
        ratings = {
            question: min(5, self.dice.between(2, 6, "rating", question, order))
            for question in Answers.__struct_fields__
            if self.dice.chance("left out", question, order) > 0.1
        }
        comment = self.dice.one_of(COMMENTS, "comment", order)
        return SurveyAnswer(order_id=self._orders[order], answers=Answers(**ratings or {"overall": 4}), comment=comment)
