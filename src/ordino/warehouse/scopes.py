"""Fulfillment orders are narrowed by the seller of their order and by their location."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.orders.scopes import sellers_of
from ordino.web.scopes import Dimension, Key, Narrowing, Owner

sql = statements("ordino.warehouse")


async def _fulfillment_orders(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    of = await sellers_of(tx, [order_id for order_id, _ in keys])
    rows = await sql.places_of_fulfillment_orders(
        tx, order_ids=sorted(of), fulfillment_order_ids=sorted({work_id for _, work_id in keys})
    )
    at = {(row["order_id"], row["fulfillment_order_id"]): row["location"] for row in rows}
    return [[Owner(seller=of[key[0]], location=at[key])] if key in at else [] for key in keys]


BY_FULFILLMENT_ORDER = Narrowing(
    name="fulfillment order",
    dimensions=frozenset(Dimension),
    names=("order_id", "fulfillment_order_id"),
    owners=_fulfillment_orders,
    missing="The order {0} has no fulfillment order {1}.",
)
