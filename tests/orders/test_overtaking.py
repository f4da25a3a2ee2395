"""Nobody overtakes who waits: in the moment in which an order is placed, and when something other than stock has become free."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import Database, Tx
from ordino.core.reactions import Registry, Task, Worker
from ordino.inventory import waiting
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.inventory.rules import Buffer, RuleKind, drop, upsert_buffers
from ordino.network.closures import Closure, upsert_closures
from ordino.orders import exceptions, reactions
from ordino.orders.allocate import allocate
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.place import place
from ordino.warehouse.model import Pick, PickLine
from ordino.warehouse.pick import pick
from steps import assert_clean, in_one, line, placed, released, serve_who_waits, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    await database.pool.execute("DELETE FROM inventory.rules")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1")
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=0)


async def arrive(database: Database, world: World, units: int, location: int = 0, sku: int = 0) -> None:
    receipt = Receipt(sku=world.skus[sku], location=world.locations[location], quantity=units)
    await in_one(database, receive, [receipt], AT)


async def wait_for(database: Database, world: World, units: int, sku: int = 0) -> UUID:
    order = world.order(uuid4().hex, {world.skus[sku]: units}, channel=world.channels["backorder"])
    return await placed(database, order, AT)


async def waits(database: Database, order_id: UUID) -> int:
    return int((await line(database, order_id))["backordered"])


async def buy(database: Database, world: World, units: int, sku: int = 0) -> bool:
    [outcome] = await in_one(database, place, [world.order(uuid4().hex, {world.skus[sku]: units})], AT)
    return isinstance(outcome, Placed)


async def _slowly(database: Database, order: NewOrder, decided: asyncio.Event, go_on: asyncio.Event) -> UUID:
    """The order is decided on and written; its transaction ends once it may ``go_on``."""

    async def run(tx: Tx) -> UUID:
        [outcome] = await place(tx, [order], at=AT)
        decided.set()
        await go_on.wait()
        return sure(outcome, Placed).order_id

    return await database.transact(run)


async def test_who_left_units_to_others_is_asked_though_those_were_served_meanwhile(
    database: Database, world: World
) -> None:
    first = await wait_for(database, world, 5)
    here = world.location_ids[world.locations[0]]
    await database.pool.execute("UPDATE orders.lines SET excluded_location_ids = $2 WHERE order_id = $1", first, [here])
    await serve_who_waits(database, AT)
    await arrive(database, world, 3)
    decided, go_on = asyncio.Event(), asyncio.Event()
    order = world.order(uuid4().hex, 3, channel=world.channels["backorder"])
    late = asyncio.create_task(_slowly(database, order, decided, go_on))
    await decided.wait()
    await serve_who_waits(database, AT)  # who waited can use nothing
    go_on.set()
    order_id = await late
    assert not await buy(database, world, 3), "the units are for the order that came first"
    await serve_who_waits(database, AT)
    assert await waits(database, order_id) == 0
    await assert_clean(database)


async def test_who_was_decided_on_before_a_closure_ended_is_asked_after_it(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    here = world.location_ids[world.locations[0]]
    await database.pool.execute("UPDATE orders.lines SET excluded_location_ids = $2 WHERE order_id = $1", first, [here])
    closed = Closure(
        code=f"{world.network}-x", location=world.locations[0], reason="x", ends_at=AT + timedelta(hours=1)
    )
    await in_one(database, upsert_closures, [closed], AT)
    await arrive(database, world, 3)
    await serve_who_waits(database, AT)
    decided, go_on = asyncio.Event(), asyncio.Event()
    order = world.order(uuid4().hex, 3, channel=world.channels["backorder"])
    late = asyncio.create_task(_slowly(database, order, decided, go_on))
    await decided.wait()
    then = AT + timedelta(hours=2)
    await serve_who_waits(database, then)
    go_on.set()
    order_id = await late
    [newer] = await in_one(database, place, [world.order(uuid4().hex, 3)], then)
    sure(newer, OrderRefused)
    await serve_who_waits(database, then)
    assert await waits(database, order_id) == 0
    await assert_clean(database)


async def test_who_was_decided_on_under_old_rules_is_asked_under_the_new_ones(database: Database, world: World) -> None:
    await wait_for(database, world, 5)
    rule = Buffer(code=f"{world.network}-all", network=world.network, units=100)
    await in_one(database, upsert_buffers, [rule], AT)
    await arrive(database, world, 8)
    await serve_who_waits(database, AT)
    decided, go_on = asyncio.Event(), asyncio.Event()
    order = world.order(uuid4().hex, 3, channel=world.channels["backorder"])
    late = asyncio.create_task(_slowly(database, order, decided, go_on))
    await decided.wait()
    await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, rule.code))
    await serve_who_waits(database, AT)
    go_on.set()
    order_id = await late
    assert not await buy(database, world, 3), "the units are for the order that came first"
    await serve_who_waits(database, AT)
    assert await waits(database, order_id) == 0
    await assert_clean(database)


async def test_a_day_that_has_room_again_is_for_who_waits(database: Database) -> None:
    """Not the units were lacking, but somebody to send them."""
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=1, stock=10, daily_capacity=1)
    busy = await placed(database, world.order(uuid4().hex, 1), AT)
    first = await wait_for(database, world, 10, sku=1)
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 10
    await in_one(database, cancel, [Cancellation(order_id=busy, all=True)], AT)
    assert not await buy(database, world, 5, sku=1), "the day is for the order that came first"
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 0
    await assert_clean(database)


async def test_carts_that_become_orders_free_nothing(database: Database, world: World) -> None:
    first = await wait_for(database, world, 2)
    here = world.location_ids[world.locations[0]]
    await database.pool.execute("UPDATE orders.lines SET excluded_location_ids = $2 WHERE order_id = $1", first, [here])
    await arrive(database, world, 3)
    await serve_who_waits(database, AT)
    [held] = await in_one(
        database, hold, [NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=2)])], AT
    )
    order = world.order(uuid4().hex, 2, hold_id=sure(held, Held).hold_id)
    await placed(database, order, AT)
    assert await buy(database, world, 1), "who waits was asked, and nothing has become free since"
    await assert_clean(database)


async def test_who_is_tried_again_comes_before_newcomers(database: Database, world: World) -> None:
    first = await wait_for(database, world, 3)
    here = world.location_ids[world.locations[0]]
    await database.pool.execute(
        "UPDATE orders.lines SET excluded_location_ids = $2, tries = 9 WHERE order_id = $1", first, [here]
    )
    await arrive(database, world, 3)
    await serve_who_waits(database, AT)
    [row] = [r for r in await database.read(lambda tx: exceptions.exceptions(tx)) if r.order_id == first]
    wish = exceptions.Resolve(action="retry")
    await database.transact(lambda tx: exceptions.resolve(tx, row.exception_id, wish, at=AT))
    assert not await buy(database, world, 3), "the units are for the order that is tried again"
    await database.transact(lambda tx: allocate(tx, [first], at=AT))
    assert await waits(database, first) == 0
    await assert_clean(database)


async def test_who_was_asked_before_the_rules_changed_is_asked_again_before_the_next_page(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactions, "FILLED_AT_ONCE", 1)
    rule = Buffer(code=f"{world.network}-all", network=world.network, units=100)
    await in_one(database, upsert_buffers, [rule], AT)
    first, second = await wait_for(database, world, 3), await wait_for(database, world, 3)
    await arrive(database, world, 3)
    task = Task(0, uuid4(), "test", uuid4(), uuid4(), AT, {"sku_ids": [world.sku_ids[world.sku]]}, 0)
    await database.transact(lambda tx: reactions.fill_backorders(tx, [task], AT))
    await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, rule.code))
    registry = Registry()
    registry.reaction("fill_backorders")(reactions.fill_backorders)
    await Worker(database, registry=registry).run_until_idle()
    assert (await waits(database, first), await waits(database, second)) == (0, 3)
    await assert_clean(database)


async def test_who_was_asked_of_more_and_under_newer_rules_but_never_both_is_asked_again(
    database: Database, world: World
) -> None:
    """Two workers that asked at once: one knew the new rules, the other what had become free last."""
    await wait_for(database, world, 3)
    sku_id = world.sku_ids[world.sku]

    async def asked(freed: int, stamp: int) -> tuple[int, int]:
        async def run(tx: Tx) -> None:
            rows = [replace(row, freed=freed) for row in await waiting.waiting_of(tx, [sku_id])]
            waiting.offered(tx, rows, stamp=stamp, at=AT)

        await database.transact(run)
        row = await database.pool.fetchrow("SELECT offered, stamp FROM inventory.waiting WHERE sku_id = $1", sku_id)
        return row["offered"], row["stamp"]

    assert await asked(4, 11) == (4, 11)
    assert await asked(5, 10) == (4, 11)
    assert await asked(5, 11) == (5, 11)
    assert await asked(4, 12) == (5, 11)
    assert await asked(5, 12) == (5, 12)
    await database.pool.execute(
        "UPDATE inventory.waiting SET stamp = 0, offered = -1 WHERE sku_id = $1", sku_id
    )  # as if never asked


async def test_who_waits_for_a_kit_as_it_was_made_gets_what_it_was_made_of(database: Database, world: World) -> None:
    """A short pick lets the units wait after the kit has been changed."""
    kit = Sku(code=f"{world.sku}-kit", name="K", weight_grams=1, backorderable=True)
    await in_one(database, upsert_skus, [kit], AT)
    await in_one(database, upsert_kits, [Kit(sku=kit.code, components=[Component(sku=world.skus[0], quantity=2)])], AT)
    await arrive(database, world, 2)
    order = world.order(uuid4().hex, {kit.code: 1}, channel=world.channels["backorder"])
    order_id, [work] = await released(database, order, AT)
    await in_one(database, upsert_kits, [Kit(sku=kit.code, components=[Component(sku=world.skus[1])])], AT)
    short = Pick(
        order_id=order_id,
        fulfillment_order_id=work,
        lines=[PickLine(line_no=1, picked=0, short=1, short_reason="refused")],
    )
    await in_one(database, pick, [short], AT)
    assert await waits(database, order_id) == 1
    await arrive(database, world, 2, location=1)
    assert not await buy(database, world, 1), "one would be too few for the kit"
    await serve_who_waits(database, AT)
    assert await waits(database, order_id) == 0
    await assert_clean(database)
