"""The buyer: twice a week what orders wait for is bought, and arrives at a distribution center three days later.

What goes on waiting after that is bought for the next center: a location that could not supply a line is not asked for it again.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from ordino.cli.demo.agenda import Agenda
from ordino.cli.demo.days import LOCAL
from ordino.cli.demo.world import CENTER_CODES
from ordino.core.database import Database
from ordino.core.statements import statements
from ordino.inventory.adjust import Receipt, receive

sql = statements("ordino.insights")

BUYS_ON = (1, 4)  # ISO: Monday and Thursday
ARRIVES_AFTER = timedelta(days=3)


class Buyer:
    """Buys what is missing. ``counts`` is told how many units arrived."""

    def __init__(self, database: Database, counts: Counter[str]) -> None:
        self.database = database
        self.counts = counts
        self._deliveries: Agenda[Receipt] = Agenda()
        self._on_order: Counter[str] = Counter()
        self._bought: Counter[str] = Counter()

    async def buy(self, at: datetime) -> None:
        """Order what is missing, once a buying day."""
        if at.astimezone(LOCAL).isoweekday() not in BUYS_ON:
            return
        for row in await self.database.read(lambda tx: sql.waiting_units(tx)):
            missing = row["quantity"] - self._on_order[row["sku"]]
            if missing > 0:
                center = CENTER_CODES[self._bought[row["sku"]] % len(CENTER_CODES)]
                receipt = Receipt(sku=row["sku"], location=center, quantity=missing, reason="bought for backorders")
                self._deliveries.enter(at + ARRIVES_AFTER, receipt)
                self._on_order[row["sku"]] += missing
                self._bought[row["sku"]] += 1

    async def receive(self, at: datetime) -> None:
        """Take in what has arrived."""
        receipts = [receipt for _, receipt in self._deliveries.due(at)]
        if receipts:
            await self.database.transact(lambda tx: receive(tx, receipts, at=at))
            for receipt in receipts:
                self._on_order[receipt.sku] -= receipt.quantity
                self.counts["units received"] += receipt.quantity
