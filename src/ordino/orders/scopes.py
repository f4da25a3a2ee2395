"""Orders, and their exceptions, are narrowed by the seller of the order's channel."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ordino.catalog.scopes import SELLERS
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.web.scopes import Dimension, Key, Narrowing, Owner

sql = statements("ordino.orders")


async def sellers_of(tx: Tx, order_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The codes of the orders' sellers; orders that do not exist have none."""
    rows = await sql.sellers_of_orders(tx, order_ids=sorted(set(order_ids)))
    return {row["order_id"]: row["seller"] for row in rows}


async def _orders(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    of = await sellers_of(tx, [order_id for (order_id,) in keys])
    return [[Owner(seller=of[order_id])] if order_id in of else [] for (order_id,) in keys]


async def _orders_at(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    of = await sellers_of(tx, [order_id for order_id, _ in keys])
    return [[Owner(seller=of[order_id], location=at)] if order_id in of else [] for order_id, at in keys]


async def _exceptions(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.sellers_of_exceptions(tx, exception_ids=sorted({exception_id for (exception_id,) in keys}))
    of = {row["exception_id"]: row["seller"] for row in rows}
    return [[Owner(seller=of[exception_id])] if exception_id in of else [] for (exception_id,) in keys]


BY_EXCEPTION = Narrowing(
    name="exception",
    dimensions=SELLERS,
    names=("exception_id",),
    owners=_exceptions,
    missing="There is no exception {0}.",
)
BY_ORDER = Narrowing(
    name="order", dimensions=SELLERS, names=("order_id",), owners=_orders, missing="There is no order {0}."
)
BY_ORDER_AT = Narrowing(
    name="order at a location",
    dimensions=SELLERS | {Dimension.LOCATION},
    names=("order_id", "location"),
    owners=_orders_at,
    missing="There is no order {0}.",
)
