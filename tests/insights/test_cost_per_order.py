"""Cost per order where carriers and locations cost in several currencies, counted by hand, order by order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from ordino.core.database import Database
from ordino.insights.kpis import kpis
from steps import shipped
from world import small_world

SINCE, UNTIL = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(3))
async def test_cost_per_order_is_what_is_counted_by_hand(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    since, until = SINCE + timedelta(days=100 * seed), UNTIL + timedelta(days=100 * seed)
    world = await small_world(database, prefix=f"costs-{seed}-", locations=2, stock=90)
    spent: dict[tuple[str, str], int] = {}  # (order, currency) -> minor units
    for number in range(8):
        _, [one] = await shipped(database, world.order(f"costs-{seed}-{number}", dice.randint(1, 3)), since)
        carrier, handler = dice.choice([None, "USD", "EUR"]), dice.choice([None, "USD", "JPY"])
        left_at = dice.choice([since, until - timedelta(microseconds=1), until])
        carriage, handling = dice.choice([0, 333, 900]), dice.choice([0, 7, 300])
        await database.pool.execute(
            "UPDATE warehouse.shipments SET cost_minor = $2, cost_currency = $3, shipped_at = $4 WHERE order_id = $1",
            one.order_id, carriage, carrier, left_at,
        )  # fmt: skip
        await database.pool.execute(
            "UPDATE warehouse.fulfillment_orders SET handling_cost_minor = $2, handling_currency = $3, shipped_at = $4 "
            "WHERE order_id = $1",
            one.order_id, handling, handler, left_at,
        )  # fmt: skip
        if left_at == until:
            continue
        asked = [(carrier, carriage)] + ([(handler, handling)] if handling else [])
        for currency, minor in asked:
            key = (str(one.order_id), currency or "USD")  # without one, costs are in the order's
            spent[key] = spent.get(key, 0) + minor
    expected: dict[str, tuple[float, float]] = {}
    for (_, currency), minor in spent.items():
        above, below = expected.get(currency, (0.0, 0.0))
        expected[currency] = (above + minor, below + 1)
    found = {kpi.name: kpi for kpi in await database.read(lambda tx: kpis(tx, since=since, until=until))}
    cost = found["cost_per_order"]
    assert {part.key: (part.above, part.below) for part in cost.parts} == expected
    assert cost.value == cost.above / cost.below  # type: ignore[operator]
