"""Short picks: what each reason does to the stock, to the demand, and to where the units may come from next."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from ordino.core.database import Database
from ordino.orders.allocate import allocate
from ordino.warehouse.model import Pick, Picked, PickLine, Status
from ordino.warehouse.pick import pick
from steps import assert_clean, events, in_one, line, placed, released, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
async def world(database: Database, request: pytest.FixtureRequest) -> World:
    return await small_world(
        database,
        skus=2,
        stock={(f"{request.node.name}sku-1", f"{request.node.name}loc-1"): 10},
        prefix=request.node.name,
    )


def short(order_id: UUID, id: UUID, units: int, reason: str, picked: int = 0) -> Pick:
    lines = [PickLine(line_no=1, picked=picked, short=units, short_reason=reason)]
    return Pick(order_id=order_id, fulfillment_order_id=id, lines=lines)


@pytest.mark.parametrize(
    ("reason", "on_hand", "excluded"),
    [("not_found", 8, True), ("damaged", 8, False), ("none_left", 3, True), ("refused", 10, True)],
)
async def test_a_reason_corrects_the_stock(
    database: Database, world: World, reason: str, on_hand: int, excluded: bool
) -> None:
    here = (world.sku_ids[world.sku], world.location_ids[world.location])
    await placed(database, world.order("other", 2), AT)
    order_id, [id] = await released(database, world.order("short", 3), AT)
    [done] = await in_one(database, pick, [short(order_id, id, 2, reason, picked=1)], AT)
    assert sure(done, Picked) == Picked(order_id, id, 1, 2, Status.PICKED)
    assert await stock(database, *here) == (on_hand, 3, 1)
    counts = await line(database, order_id)
    assert (counts["backordered"], counts["allocated"], counts["picked"]) == (2, 0, 1)
    assert counts["excluded_location_ids"] == ([here[1]] if excluded else [])
    [fact] = await events(database, order_id, "units_short")
    assert fact["lines"] == [{"line_no": 1, "quantity": 2, "reason": reason}]
    await assert_clean(database)


async def test_short_units_find_another_location(database: Database, world: World) -> None:
    other = await small_world(database, stock=5, prefix=f"{world.sku}again")
    order_id, [id] = await released(database, other.order("short", 5), AT)
    [done] = await in_one(database, pick, [short(order_id, id, 5, "not_found")], AT)
    assert sure(done, Picked).status is Status.REJECTED
    found = await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert found == {order_id: 5}
    places = await database.pool.fetch(
        "SELECT location_id FROM orders.allocations WHERE order_id = $1 AND quantity > 0", order_id
    )
    first = await database.pool.fetchval(
        "SELECT location_id FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id
    )
    assert first not in {row["location_id"] for row in places}
    await assert_clean(database)


async def test_many_shorts_in_one_batch_write_off_once(database: Database, world: World) -> None:
    orders = [await released(database, world.order(f"short {n}", 2), AT) for n in range(3)]
    items = [short(order_id, id, 2, "none_left") for order_id, [id] in orders]
    for outcome in await in_one(database, pick, items, AT):
        sure(outcome, Picked)
    assert await stock(database, world.sku_ids[world.sku], world.location_ids[world.location]) == (0, 0, 0)
    await assert_clean(database)
