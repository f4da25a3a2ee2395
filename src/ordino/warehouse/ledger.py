"""The fulfillment ledger: how every verb of the warehouse reads and moves units. Orders are locked first, stock is moved last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import OrderRow
from ordino.warehouse.model import FulfillmentLine, LineMove, Status, WorkRefusal, WorkRefused

sql = statements("ordino.warehouse")

Key = tuple[UUID, UUID]
"""(order id, fulfillment order id)"""


class Work(Protocol):
    """An item of a batch: work on one fulfillment order."""

    @property
    def order_id(self) -> UUID: ...
    @property
    def fulfillment_order_id(self) -> UUID: ...


Item = TypeVar("Item", bound=Work)


class Floor(Struct):
    """What a verb works on: orders, held until the transaction ends, and the lines of their fulfillment orders by number."""

    orders: dict[UUID, OrderRow]
    lines: dict[Key, dict[int, FulfillmentLine]]


async def load(tx: Tx, order_ids: Iterable[UUID]) -> Floor:
    """Lock the orders, and read what the warehouse has of them."""
    orders = await orders_ledger.lock(tx, order_ids)
    lines: dict[Key, dict[int, FulfillmentLine]] = {}
    for row in await sql.fulfillment_lines(tx, order_ids=list(orders)):
        line = FulfillmentLine(*row)
        lines.setdefault((line.order_id, line.fulfillment_order_id), {})[line.line_no] = line
    return Floor(orders, lines)


async def move(
    tx: Tx,
    moves: Sequence[LineMove],
    labor_seconds: Mapping[Key, int] | None = None,
    *,
    picked_at: datetime | None = None,
    packed_at: datetime | None = None,
    shipped_at: datetime | None = None,
) -> dict[Key, Status]:
    """Change the counts of lines and the sums of their fulfillment orders. Returns each one's new status.

    The instants say when work of that kind was last done on them.
    """
    if not moves:
        return {}
    deltas: dict[tuple[UUID, UUID, int], list[int]] = defaultdict(lambda: [0] * 6)
    for m in moves:
        delta = deltas[m.order_id, m.fulfillment_order_id, m.line_no]
        for place, change in enumerate((m.open, m.picked, m.packed, m.shipped, m.short, m.cancelled)):
            delta[place] += change
    keys = list(dict.fromkeys(key[:2] for key in deltas))
    labor_seconds = labor_seconds or {}
    counts = list(zip(*deltas.values(), strict=True))
    rows = await sql.move_lines(
        tx,
        order_ids=[key[0] for key in deltas],
        fulfillment_order_ids=[key[1] for key in deltas],
        line_nos=[key[2] for key in deltas],
        open=counts[0],
        picked=counts[1],
        packed=counts[2],
        shipped=counts[3],
        short=counts[4],
        cancelled=counts[5],
        worked_order_ids=[key[0] for key in keys],
        worked_fulfillment_order_ids=[key[1] for key in keys],
        labor_seconds=[labor_seconds.get(key, 0) for key in keys],
        picked_at=picked_at,
        packed_at=packed_at,
        shipped_at=shipped_at,
    )
    return {(row["order_id"], row["fulfillment_order_id"]): Status(row["status"]) for row in rows}


def refuse(item: Work, reason: WorkRefusal, detail: str, pointer: str = "") -> WorkRefused:
    return WorkRefused(item.order_id, item.fulfillment_order_id, reason, detail, pointer)


def doubtful(floor: Floor, items: Sequence[Item]) -> dict[int, WorkRefused]:
    """Items that stand earlier in the batch, and items of unknown fulfillment orders: index -> refusal."""
    refusals: dict[int, WorkRefused] = {}
    seen: dict[Key, list[Item]] = {}
    for index, item in enumerate(items):
        key = (item.order_id, item.fulfillment_order_id)
        earlier = seen.setdefault(key, [])
        if item in earlier:
            detail = "The same item appears earlier in this batch; it is carried out once. Leave the repeat out."
            refusals[index] = refuse(item, WorkRefusal.REPEATED, detail)
        elif key not in floor.lines:
            known = item.order_id in floor.orders
            detail = (
                f"The order {item.order_id} has no fulfillment order {item.fulfillment_order_id}."
                if known
                else f"There is no order {item.order_id}."
            )
            pointer = "/fulfillment_order_id" if known else "/order_id"
            refusals[index] = refuse(item, WorkRefusal.UNKNOWN, detail, pointer)
        earlier.append(item)
    return refusals
