"""The KPIs of order management, each defined once: what it says, its formula, and the statement that counts it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.insights.model import CountedOrder, Definition, Direction, Kpi, Part, Unit

sql = statements("ordino.insights")

DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "picking_accuracy",
        "Accuracy in order picking",
        "How many of the orders picked were picked whole and right: no short pick, and no return as the wrong item.",
        "orders accurately prepared to ship / total orders picked x 100",
        Unit.PERCENT,
        Direction.UP,
        "picking_accuracy",
        100,
        "No order was picked in the period.",
    ),
    Definition(
        "average_order_value",
        "Average order value",
        "What an order was accepted for, shipping and tax included. Dropped lines and wholly cancelled orders are left out.",
        "total revenue over a period / number of orders",
        Unit.MINOR,
        Direction.UP,
        "average_order_value",
        missing="No order was placed in the period.",
    ),
    Definition(
        "cost_per_order",
        "Cost per order",
        "What handling and carriage of an order cost, over the orders with something shipped in the period.",
        "total fulfillment costs / number of orders",
        Unit.MINOR,
        Direction.DOWN,
        "cost_per_order",
        missing="Nothing was shipped in the period.",
    ),
    Definition(
        "internal_order_cycle_time",
        "Internal order cycle time",
        "The mean time from placement until the last of the order has left, over orders that were finished in the period.",
        "time order shipped - time order placed",
        Unit.HOURS,
        Direction.DOWN,
        "internal_order_cycle_time",
        1 / 3600,
        "No order was shipped whole in the period.",
    ),
    Definition(
        "on_time_shipping_rate",
        "On-time shipping rate",
        "How many of the orders that were due to leave in the period left by their ship-by time, with all that was to leave.",
        "orders shipped on time / orders due to ship x 100",
        Unit.PERCENT,
        Direction.UP,
        "on_time_shipping_rate",
        100,
        "No order was due to leave in the period.",
    ),
    Definition(
        "order_fill_rate",
        "Order fill rate",
        "How many of the accepted orders found every unit in stock when they were placed; refused orders leave no row to count.",
        "orders fillable from inventory / total orders x 100",
        Unit.PERCENT,
        Direction.UP,
        "order_fill_rate",
        100,
        "No order was placed in the period.",
    ),
    Definition(
        "order_fulfillment_cycle_time",
        "Order fulfillment cycle time",
        "The mean time from placement until the last of the order was delivered, over orders that were completed in the period.",
        "time order reaches customer - time order placed",
        Unit.HOURS,
        Direction.DOWN,
        "order_fulfillment_cycle_time",
        1 / 3600,
        "No order was delivered whole in the period.",
    ),
    Definition(
        "orders_picked_per_hour",
        "Orders picked per hour",
        "How many orders were picked and shipped for each reported hour of work.",
        "orders picked and shipped / total work hours",
        Unit.PER_HOUR,
        Direction.UP,
        "orders_picked_per_hour",
        missing="No time of work was reported for the orders shipped in the period.",
    ),
    Definition(
        "order_placement_percentage",
        "Order placement percentage",
        "Each channel's share of the orders placed; the value is the largest channel's.",
        "sales via one channel / total sales x 100",
        Unit.PERCENT,
        Direction.NONE,
        "order_placement_percentage",
        100,
        "No order was placed in the period.",
    ),
    Definition(
        "order_placement_percentage_by_revenue",
        "Order placement percentage by revenue",
        "Each channel's share of what orders in the same currency were accepted for; the value is the largest channel's.",
        "sales via one channel / total sales x 100",
        Unit.PERCENT,
        Direction.NONE,
        "order_placement_percentage_by_revenue",
        100,
        "Nothing was sold in the period.",
    ),
    Definition(
        "perfect_order_rate",
        "Perfect order rate",
        "How many of the orders placed that have reached their end arrived complete, in one piece, by the date that the customer "
        "was told first, and stayed; the standard is 90%.",
        "orders delivered without incident / total orders x 100",
        Unit.PERCENT,
        Direction.UP,
        "perfect_order_rate",
        100,
        "No order placed in the period has reached its end.",
    ),
    Definition(
        "purchasing_frequency",
        "Purchasing frequency",
        "How often a customer who ordered in the period did so.",
        "purchases in period / unique customers",
        Unit.COUNT,
        Direction.UP,
        "purchasing_frequency",
        missing="No known customer ordered in the period.",
    ),
    Definition(
        "rate_of_returns",
        "Rate of returns",
        "Of how many of the orders placed in the period something came back.",
        "orders returned / total orders x 100",
        Unit.PERCENT,
        Direction.DOWN,
        "rate_of_returns",
        100,
        "No order was placed in the period.",
    ),
    Definition(
        "scrap_rate",
        "Scrap rate",
        "Of how many of the returns received something had to be scrapped.",
        "scrapped orders / total returns x 100",
        Unit.PERCENT,
        Direction.DOWN,
        "scrap_rate",
        100,
        "No return was received in the period.",
    ),
    Definition(
        "shipping_cost_per_order",
        "Shipping cost per order",
        "What carriers cost for the shipments of the period, over the orders successfully delivered in it.",
        "total shipping cost for the period / successful deliveries",
        Unit.MINOR,
        Direction.DOWN,
        "shipping_cost_per_order",
        missing="Nothing was delivered in the period.",
    ),
    Definition(
        "cart_abandonment_rate",
        "Shopping cart abandonment rate",
        "How many of the carts that stock was held for became no order. Carts that hold nothing are not known here.",
        "(1 - completed transactions / shopping carts) x 100",
        Unit.PERCENT,
        Direction.DOWN,
        "cart_abandonment_rate",
        100,
        "No stock was held for a cart in the period.",
    ),
    Definition(
        "customer_lifetime_value",
        "Customer lifetime value",
        "The margin that a customer has brought, and is expected to bring.",
        "historic margin, and a stated predictive model",
        Unit.MINOR,
        Direction.UP,
        missing="A margin needs the purchase cost of what was sold, which is not recorded.",
    ),
)

DEFINED = {definition.name: definition for definition in DEFINITIONS}


LISTED = {"on_time_shipping_rate": "on_time_shipping_orders", "perfect_order_rate": "perfect_orders"}
"""The KPIs that can be asked which orders they count, and the statements that list them."""


async def counted_orders(
    tx: Tx, name: str, *, since: datetime, until: datetime, after: UUID, limit: int
) -> list[CountedOrder]:
    """A page of the orders that a KPI counts over the period, by id, from the one after ``after`` on. Raises ``NotFound``."""
    if name not in LISTED:
        raise NotFound(f"The orders of the KPI {name!r} cannot be listed; ask for {' or '.join(sorted(LISTED))}.")
    rows = await getattr(sql, LISTED[name])(tx, since=since, until=until, after=after, limit=limit)
    return [CountedOrder(**row) for row in rows]


async def kpis(tx: Tx, *, since: datetime, until: datetime) -> list[Kpi]:
    """Every KPI over the period from ``since`` up to, not including, ``until``, in the order of ``DEFINITIONS``."""
    return [await measure(tx, definition, since=since, until=until) for definition in DEFINITIONS]


async def measure(tx: Tx, definition: Definition, *, since: datetime, until: datetime) -> Kpi:
    """One KPI over the period."""
    parts: list[Part] = []
    total: Part | None = None
    if definition.statement is not None:
        for row in await getattr(sql, definition.statement)(tx, since=since, until=until):
            if not row["below"]:
                continue
            value = row["above"] / row["below"] * definition.scale
            total = Part(row["part"] or "", value, row["above"], row["below"])
            if row["part"] is not None:
                parts.append(total)
    parts.sort(key=lambda part: (-part.below, -part.value, part.key))
    if parts:
        total = parts[0]
    return Kpi(
        name=definition.name,
        title=definition.title,
        sentence=definition.sentence,
        formula=definition.formula,
        unit=definition.unit,
        direction=definition.direction,
        value=None if total is None else total.value,
        above=None if total is None else total.above,
        below=None if total is None else total.below,
        key=None if total is None else total.key or None,
        parts=tuple(parts),
        missing=definition.missing if total is None else None,
    )
