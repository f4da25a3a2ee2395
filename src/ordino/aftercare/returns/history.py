"""What is known of orders whose units come back: their lines, what their kits were made of, and their returns so far.

Units of a line are counted in *pieces*: of a kit, each component unit is one; a unit of any other line is one piece itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.orders import ledger as orders_ledger
from ordino.orders import value
from ordino.orders.model import LineRow, OrderRow

sql = statements("ordino.aftercare")

ITSELF = 0
"""In the place of a component's SKU id: the line's own SKU, of a kit the whole kit."""

LineKey = tuple[UUID, int]
"""(order id, line number)"""

RowKey = tuple[UUID, UUID, int, int, int]
"""(order id, return id, line number, component or ``ITSELF``, location id as it is kept)"""


class Row(Struct, kw_only=True):
    """Units of a line, or of a component of its kits, of one return and bound for one location. ``kept_location_id`` is 0 where the
    row leaves it to its return where they go.
    """

    order_id: UUID
    return_id: UUID
    line_no: int
    component_sku_id: int
    kept_location_id: int
    sku_id: int
    reason: str
    authorized: int
    restocked: int = 0
    scrapped: int = 0
    cancelled: int = 0
    refund_minor: int = 0
    received_at: datetime | None = None
    location_id: int

    @property
    def key(self) -> RowKey:
        return self.order_id, self.return_id, self.line_no, self.component_sku_id, self.kept_location_id

    @property
    def back(self) -> int:
        return self.restocked + self.scrapped

    @property
    def claimed(self) -> int:
        """Units that are back or may still come."""
        return self.authorized - self.cancelled

    @property
    def outstanding(self) -> int:
        return self.authorized - self.cancelled - self.back


class Component(NamedTuple):
    """``per_kit`` units of a SKU are in one kit."""

    code: str
    per_kit: int


class History(Struct, kw_only=True):
    """Of some orders. ``components`` (by SKU id) are those of lines of kits, as they were ordered."""

    orders: Mapping[UUID, OrderRow]
    lines: dict[LineKey, LineRow]
    components: Mapping[LineKey, Mapping[int, Component]]
    rows: dict[UUID, list[Row]]

    def of_line(self, line: LineKey) -> list[Row]:
        return [row for row in self.rows.get(line[0], ()) if row.line_no == line[1]]

    def of_return(self, order_id: UUID, return_id: UUID) -> list[Row]:
        return [row for row in self.rows.get(order_id, ()) if row.return_id == return_id]

    def per_unit(self, line: LineKey) -> dict[int, int]:
        """Component, or ``ITSELF`` -> how many pieces of it are in one unit of the line."""
        return {sku_id: part.per_kit for sku_id, part in self.components.get(line, {}).items()} or {ITSELF: 1}

    def component_named(self, line: LineKey, code: str | None) -> int | None:
        """The SKU id of a component by its code; ``ITSELF`` without one; None if the line has no such component."""
        if code is None:
            return ITSELF
        return next((sku_id for sku_id, part in self.components.get(line, {}).items() if part.code == code), None)

    def code_of(self, row: Row) -> str | None:
        """Which component the units of a row are."""
        if row.component_sku_id == ITSELF:
            return None
        return self.components[row.order_id, row.line_no][row.component_sku_id].code

    def returned(self, line: LineKey) -> int:
        """Units of the line that are back whole."""
        per_unit = self.per_unit(line)
        return whole(pieces(self.of_line(line), per_unit, lambda row: row.back), per_unit)

    def left(self, line: LineKey) -> dict[int, int]:
        """Pieces of the line that were delivered, and are neither back nor to come with a return."""
        per_unit = self.per_unit(line)
        delivered = self.lines[line].delivered + self.returned(line)
        claimed = pieces(self.of_line(line), per_unit, lambda row: row.claimed)
        return {piece: delivered * each - claimed[piece] for piece, each in per_unit.items()}

    def parts_of(self, line: LineKey, component: int) -> int:
        """How many parts a unit of the line has, or a component of its kits: each piece is one."""
        return sum(self.per_unit(line).values()) if component == ITSELF else 1

    def parts_back(self, line: LineKey) -> int:
        """Parts of the line that are back."""
        return sum(pieces(self.of_line(line), self.per_unit(line), lambda row: row.back).values())

    def take_back(self, line: LineKey, *, back: int, coming: int, last: bool) -> tuple[int, int]:
        """The next ``coming`` parts of a line come back after ``back`` of them: what they are refunded, in minor units, and how
        many units are whole now. ``rows`` have all parts of the receipt already; its units are counted with its ``last`` parts.
        """
        parts, returned = self.parts_of(line, ITSELF), self.lines[line].returned
        units = self.returned(line) - returned if last else 0
        partly = back - returned * parts
        self.lines[line], refund = value.take_back(
            self.lines[line], parts=parts, partly=partly, coming=coming, units=units
        )
        return refund, units


def pieces(rows: Iterable[Row], per_unit: Mapping[int, int], count: Callable[[Row], int]) -> dict[int, int]:
    """Component, or ``ITSELF`` -> so many pieces of it are what is counted of the rows of a line."""
    sums = dict.fromkeys(per_unit, 0)
    for row in rows:
        for piece, each in per_unit.items():
            if row.component_sku_id == ITSELF:
                sums[piece] += count(row) * each
            elif row.component_sku_id == piece:
                sums[piece] += count(row)
    return sums


def whole(of: Mapping[int, int], per_unit: Mapping[int, int]) -> int:
    """How many units of the line these pieces make up."""
    return min(of[piece] // each for piece, each in per_unit.items())


async def history_of(tx: Tx, order_ids: Sequence[UUID]) -> History:
    """Of the orders that there are. They are locked until the transaction ends."""
    orders = await orders_ledger.lock(tx, order_ids)
    known = list(orders)
    lines = await orders_ledger.lines(tx, known)
    rows: dict[UUID, list[Row]] = {}
    for record in await sql.return_lines(tx, order_ids=known):
        rows.setdefault(record["order_id"], []).append(Row(**record))
    return History(
        orders=orders,
        lines=lines,
        components=await components_of(tx, lines),
        rows=rows,
    )


async def components_of(tx: Tx, lines: Mapping[LineKey, LineRow]) -> dict[LineKey, dict[int, Component]]:
    """Line -> SKU id -> the component, as ordered; lines that ordered no kit are left out."""
    ever = (await kits(tx)).ever
    of_kits = {order_id for (order_id, _), line in lines.items() if line.sku_id in ever}
    components: dict[LineKey, dict[int, Component]] = {}
    if of_kits:
        for row in await sql.kit_parts(tx, order_ids=sorted(of_kits)):
            line = components.setdefault((row["order_id"], row["line_no"]), {})
            line[row["component_sku_id"]] = Component(row["code"], row["quantity"])
    return components


async def write_rows(tx: Tx, rows: Sequence[Row]) -> None:
    """The rows as they are now, each once."""
    if not rows:
        return
    await sql.write_return_lines(
        tx,
        order_ids=[row.order_id for row in rows],
        return_ids=[row.return_id for row in rows],
        line_nos=[row.line_no for row in rows],
        component_sku_ids=[row.component_sku_id for row in rows],
        location_ids=[row.kept_location_id for row in rows],
        sku_ids=[row.sku_id for row in rows],
        reasons=[row.reason for row in rows],
        authorized=[row.authorized for row in rows],
        restocked=[row.restocked for row in rows],
        scrapped=[row.scrapped for row in rows],
        cancelled=[row.cancelled for row in rows],
        refunds=[row.refund_minor for row in rows],
        received_ats=[row.received_at for row in rows],
    )
