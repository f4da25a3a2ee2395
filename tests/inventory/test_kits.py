"""Kits: promised from their components, reserved on them, assembled where they are picked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from ordino.aftercare.model import NewReturn, ReceivedLine, ReturnLine, ReturnReceipt
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import receive as receive_return
from ordino.catalog.model import Component, Kit
from ordino.catalog.upsert import upsert_kits
from ordino.core.database import Database
from ordino.core.upserts import Created, Updated
from ordino.inventory.adjust import Count, Moved, Receipt, StockRefusal, StockRefused, count, receive
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.orders.allocate import allocate
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.place import place
from ordino.warehouse.model import Pick, Picked, PickLine
from ordino.warehouse.pick import pick
from steps import assert_clean, delivered, in_one, line, placed, released, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    """SKU 1 is a kit of one SKU 2 and two SKU 3; SKU 4 is by itself."""
    world = await small_world(
        database,
        prefix=f"{uuid4().hex[:8]}-",
        skus=4,
        locations=2,
        stock={},
    )
    components = [Component(sku=world.skus[1], quantity=1), Component(sku=world.skus[2], quantity=2)]
    sure((await in_one(database, upsert_kits, [Kit(sku=world.skus[0], components=components)], AT))[0], Created)
    return world


async def stocked(database: Database, world: World, *units: tuple[int, int, int]) -> None:
    """(SKU number, location number, units)"""
    receipts = [
        Receipt(sku=world.skus[sku], location=world.locations[place_], quantity=quantity)
        for sku, place_, quantity in units
    ]
    for outcome in await in_one(database, receive, receipts, AT):
        sure(outcome, Moved)


async def kits_to_promise(database: Database, world: World) -> list[int]:
    [answer] = await database.read(lambda tx: available(tx, [Ask(world.sku, world.channel, None)], at=AT))
    return [part.available for part in sure(answer, Availability).locations]


async def test_as_many_kits_as_the_scarcest_component_gives(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 10), (2, 0, 7), (1, 1, 1), (2, 1, 9))
    assert await kits_to_promise(database, world) == [3, 1]
    [order] = await in_one(database, place, [world.order("three", 3)], AT)
    sure(order, Placed)
    assert await kits_to_promise(database, world) == [0, 1]
    [refused] = await in_one(database, place, [world.order("two", 2)], AT)
    sure(refused, OrderRefused)
    await assert_clean(database)


async def test_a_kit_is_never_put_together_from_two_places(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 5), (2, 1, 10))
    assert await kits_to_promise(database, world) == []
    [refused] = await in_one(database, place, [world.order("one", 1)], AT)
    sure(refused, OrderRefused)
    await stocked(database, world, (2, 0, 2), (1, 1, 2))
    [order] = await in_one(database, place, [world.order("split", 3)], AT)
    sure(order, Placed)
    await assert_clean(database)


async def test_kits_and_their_components_share_what_is_there(database: Database, world: World) -> None:
    """Five of SKU 3 make two kits and one loose unit; two kits and two loose ones are too much."""
    await stocked(database, world, (1, 0, 9), (2, 0, 5))
    kit, loose = world.skus[0], world.skus[2]
    much = world.order("much", {kit: 2, loose: 2})
    fits = world.order("fits", {kit: 2, loose: 1})
    first, second, third = await in_one(database, place, [much, fits, world.order("none", {loose: 1})], AT)
    sure(first, OrderRefused)
    sure(second, Placed)
    sure(third, OrderRefused)
    assert (await stock(database, world.sku_ids[loose], world.location_ids[world.location]))[:2] == (5, 5)
    await assert_clean(database)


async def test_a_kit_ships_its_components_and_they_come_back(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 4), (2, 0, 8))
    here = world.location_ids[world.location]
    order_id, _ = await delivered(database, world.order("home", 3), AT)
    assert await stock(database, world.sku_ids[world.skus[1]], here) == (1, 0, 0)
    assert await stock(database, world.sku_ids[world.skus[2]], here) == (2, 0, 0)
    [back] = await in_one(
        database, authorize, [NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=2, reason="x")])], AT
    )
    lines = [ReceivedLine(line_no=1, restocked=1, scrapped=1)]
    await in_one(
        database, receive_return, [ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)], AT
    )
    assert await stock(database, world.sku_ids[world.skus[2]], here) == (4, 0, 0)
    await assert_clean(database)


async def test_what_a_line_reserved_it_lets_go_though_the_kit_has_changed(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 4), (2, 0, 8), (3, 0, 8))
    here = world.location_ids[world.location]
    order_id = await placed(database, world.order("before", 2), AT)
    other = Kit(sku=world.sku, components=[Component(sku=world.skus[3], quantity=3)])
    sure((await in_one(database, upsert_kits, [other], AT))[0], Updated)
    assert await kits_to_promise(database, world) == [2]
    order_2 = await placed(database, world.order("after", 2), AT)
    assert await stock(database, world.sku_ids[world.skus[3]], here) == (8, 6, 0)
    await database.transact(lambda tx: cancel(tx, [Cancellation(order_id=order_id, all=True)], at=AT))
    assert await stock(database, world.sku_ids[world.skus[2]], here) == (8, 0, 0)
    sure((await in_one(database, upsert_kits, [Kit(sku=world.sku, components=[])], AT))[0], Updated)
    await database.transact(lambda tx: cancel(tx, [Cancellation(order_id=order_2, all=True)], at=AT))
    assert await stock(database, world.sku_ids[world.skus[3]], here) == (8, 0, 0)
    await assert_clean(database)


async def test_a_short_pick_of_kits_frees_the_components(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 4), (2, 0, 8), (1, 1, 4), (2, 1, 8))
    order_id, [work] = await released(database, world.order("short", 2), AT)
    lines = [PickLine(line_no=1, picked=1, short=1, short_reason="not_found")]
    [done] = await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=lines)], AT)
    sure(done, Picked)
    assert (await line(database, order_id))["backordered"] == 1
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert (await line(database, order_id))["backordered"] == 0
    await assert_clean(database)


async def test_a_kit_has_no_stock_of_its_own(database: Database, world: World) -> None:
    [refused] = await in_one(database, receive, [Receipt(sku=world.sku, location=world.location, quantity=1)], AT)
    assert sure(refused, StockRefused).reason is StockRefusal.KIT
    [refused] = await in_one(database, count, [Count(sku=world.sku, location=world.location, on_hand=1)], AT)
    assert sure(refused, StockRefused).reason is StockRefusal.KIT


async def test_carts_hold_kits(database: Database, world: World) -> None:
    await stocked(database, world, (1, 0, 4), (2, 0, 8))
    wanted = NewHold(
        channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=3), HoldLine(sku=world.skus[2], quantity=2)]
    )
    [held] = await in_one(database, hold, [wanted], AT)
    assert await kits_to_promise(database, world) == [0]
    order = world.order("held", {world.sku: 3, world.skus[2]: 2}, hold_id=sure(held, Held).hold_id)
    sure((await in_one(database, place, [order], AT))[0], Placed)
    await assert_clean(database)


async def test_racing_kits_and_components_never_oversell(database_url: str) -> None:
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"kits-{uuid4().hex[:6]}-", skus=3, locations=1, stock={})
        parts = [Component(sku=world.skus[1], quantity=1), Component(sku=world.skus[2], quantity=2)]
        await in_one(database, upsert_kits, [Kit(sku=world.sku, components=parts)], AT)
        await stocked(database, world, (1, 0, 60), (2, 0, 100))

        async def buy(number: int) -> tuple[int, int]:
            kits, loose = (1, 0) if number % 2 else (0, 1)
            wanted: NewOrder = world.order(f"n{number}", {world.sku: 1} if kits else {world.skus[2]: 1})
            [outcome] = await in_one(database, place, [wanted], AT)
            return (kits, loose) if isinstance(outcome, Placed) else (0, 0)

        bought = await asyncio.gather(*map(buy, range(160)))
        kits, loose = sum(k for k, _ in bought), sum(n for _, n in bought)
        here = world.location_ids[world.location]
        assert (await stock(database, world.sku_ids[world.skus[2]], here))[:2] == (100, 2 * kits + loose)
        assert 100 - (2 * kits + loose) <= 1  # nothing right was refused: 80 kits and 80 units were wanted
        await assert_clean(database)
