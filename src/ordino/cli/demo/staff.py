"""Staff of all locations: they pick, pack and hand over to the carriers, by seed.

One fulfillment order in a hundred comes up short on one line: mostly the units are not found, sometimes they are damaged, now and
then the shelf is empty. One packed fulfillment order in fifty is left behind for a day when carriers collect. Picking takes a
minute and a half and 20 seconds a line, packing a minute and 8 seconds a line.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from ordino.cli.demo.days import LOCAL
from ordino.cli.demo.dice import Dice
from ordino.core.database import Database
from ordino.core.statements import statements
from ordino.warehouse.model import Pack, Pick, PickLine, Ship, Shipped, WorkRefused
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship

sql = statements("ordino.insights")

SHORT = 0.01
SHORT_REASONS = (("not_found", 0.7), ("damaged", 0.9), ("none_left", 1.0))
LEFT_BEHIND = 0.02
BATCH = 400


class Dispatched(Struct, frozen=True):
    """A shipment as the carrier gets to know it. ``order`` is its external id."""

    tracking_number: str
    order: str
    location: str
    shipped_at: datetime
    ship_by_at: datetime
    planned_at: datetime


class Staff:
    """Works through the queues of all locations. ``counts`` is told what was done."""

    def __init__(self, database: Database, dice: Dice, counts: Counter[str]) -> None:
        self.database = database
        self.dice = dice
        self.counts = counts
        self._parcels = 0
        self.short_orders: set[str] = set()
        self.left_behind: set[str] = set()
        self.dispatched: list[Dispatched] = []

    async def meet_shortages(self, at: datetime) -> None:
        """Pick what will come up short: it changes what others can be promised."""
        await self._pick_all([row for row in await self._queue("released") if self._short(row)], at)

    async def take_up(self, at: datetime, *, released_before: datetime) -> None:
        """Pack what was picked before, and pick what has been released meanwhile, before this instant."""
        picked, released = await self._queue("picked"), await self._queue("released")
        ready = [row for row in released if row["released_at"] < released_before and not self._short(row)]
        await asyncio.gather(self._pack_all(picked, at), self._pick_all(ready, at))

    async def _pack_all(self, rows: Sequence[Any], at: datetime) -> None:
        for batch in _batches(rows):
            packs = [
                Pack(
                    order_id=row["order_id"],
                    fulfillment_order_id=row["fulfillment_order_id"],
                    labor_seconds=60 + 8 * len(row["line_nos"]),
                    all=True,
                )
                for row in batch
            ]
            packed = await self.database.transact(lambda tx, packs=packs: pack(tx, packs, at=at))  # type: ignore[misc]
            self._count("packed", packed)

    async def _pick_all(self, rows: Sequence[Any], at: datetime) -> None:
        for batch in _batches(rows):
            picks = [self._pick(row) for row in batch]
            picked = await self.database.transact(lambda tx, picks=picks: pick(tx, picks, at=at))  # type: ignore[misc]
            self._count("picked", picked)

    async def hand_over(self, at: datetime) -> list[Dispatched]:
        """Everything packed leaves with the carrier, but for what is left behind until another day."""
        left: list[Dispatched] = []
        packed, today = await self._queue("packed"), at.astimezone(LOCAL).date()
        taken = []
        for row in packed:
            if self.dice.chance("left behind", *_name(row), today) < LEFT_BEHIND:
                self.left_behind.add(row["external_id"])
            else:
                taken.append(row)
        for batch in _batches(taken):
            ships = [
                Ship(
                    order_id=row["order_id"],
                    fulfillment_order_id=row["fulfillment_order_id"],
                    tracking_number=self._number(),
                    all=True,
                )
                for row in batch
            ]
            outcomes = await self.database.transact(lambda tx, ships=ships: ship(tx, ships, at=at))  # type: ignore[misc]
            self._count("shipped", outcomes)
            left += [
                Dispatched(
                    outcome.tracking_number,
                    row["external_id"],
                    row["location"],
                    at,
                    row["ship_by_at"],
                    row["planned_at"],
                )
                for row, outcome in zip(batch, outcomes, strict=True)
                if isinstance(outcome, Shipped)
            ]
        self.dispatched += left
        return left

    async def _queue(self, status: str) -> list[Any]:
        return list(await self.database.read(lambda tx: sql.floor(tx, status=status)))

    def _short(self, row: Any) -> bool:
        return self.dice.chance("short", *_name(row)) < SHORT

    def _pick(self, row: Any) -> Pick:
        lines = None
        if self._short(row):
            name = _name(row)
            which = self.dice.between(0, len(row["line_nos"]) - 1, "short line", *name)
            draw = self.dice.chance("short reason", *name)
            reason = next(code for code, upto in SHORT_REASONS if draw < upto)
            lines = [
                PickLine(line_no=line_no, short=1, picked=units - 1, short_reason=reason)
                if index == which
                else PickLine(line_no=line_no, picked=units)
                for index, (line_no, units) in enumerate(zip(row["line_nos"], row["open"], strict=True))
                if units
            ]
            self.counts["short picks"] += 1
            self.short_orders.add(row["external_id"])
        return Pick(
            order_id=row["order_id"],
            fulfillment_order_id=row["fulfillment_order_id"],
            lines=lines,
            all=lines is None,
            labor_seconds=90 + 20 * len(row["line_nos"]),
        )

    def _number(self) -> str:
        self._parcels += 1
        return f"OVL{self._parcels:09d}"

    def _count(self, what: str, outcomes: Sequence[Any]) -> None:
        refused = [outcome for outcome in outcomes if isinstance(outcome, WorkRefused)]
        assert not refused, f"nobody works against the staff of the demo: {refused[0]}"
        self.counts[what] += len(outcomes)


def _name(row: Any) -> tuple[object, ...]:
    return row["external_id"], row["location"], row["released_at"]


def _batches(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
