"""What is no longer sold is not offered, wherever somebody asks; what orders have of it is served."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import Database
from ordino.core.upserts import Updated
from ordino.inventory import availability, signals
from ordino.inventory.adjust import Moved, Receipt, receive
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.explain import explain
from ordino.inventory.holds import Held, HoldChange, HoldLine, HoldRefusal, HoldRefused, NewHold, change, hold
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.inventory.totals import totals
from ordino.orders.allocate import allocate
from ordino.orders.future import future
from ordino.orders.model import OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.promise import PromiseLine, PromiseRefused, PromiseRequest, promise
from steps import assert_clean, in_one, line, placed, shipped, sure
from world import PLACES, World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=2, stock=10)


async def sell(database: Database, world: World, sku: int, active: bool) -> None:
    code = world.skus[sku]
    one = Sku(code=code, name=code, weight_grams=500, backorderable=True, active=active)
    sure((await in_one(database, upsert_skus, [one], AT))[0], Updated)


async def offered(database: Database, world: World, sku: int = 0) -> int:
    """What may be promised, which availability and totals tell alike."""
    asks = [Ask(world.skus[sku], world.channel, None)]
    [whole] = await database.read(lambda tx: available(tx, asks, at=AT))
    [total] = await database.read(lambda tx: totals(tx, asks, at=AT))
    assert sure(whole, Availability).available == sure(total, Availability).available
    return sure(whole, Availability).available


async def publish(database: Database) -> None:
    for _ in range(2):
        await database.transact(lambda tx: signals.publish(tx, AT, AT))


async def changes(database: Database, world: World, after: int) -> tuple[dict[str, int], int]:
    found = await database.read(
        lambda tx: signals.changes_after(tx, after, 1000, channel=world.channel, network=None, at=AT)
    )
    return {one.sku: one.available for one in found.changes if one.sku in world.skus}, found.next


async def test_nothing_is_available_and_explain_says_why(database: Database, world: World) -> None:
    assert await offered(database, world) == 20
    await sell(database, world, 0, False)
    assert await offered(database, world) == 0
    assert await offered(database, world, 1) == 20
    why = await database.read(lambda tx: explain(tx, Ask(world.sku, world.channel, None), at=AT))
    assert why.available == 0
    assert why.reason is not None
    assert "no longer sold" in why.reason
    assert [(at.on_hand, at.available, at.why) for at in why.of[0].locations] == [
        (10, 0, "nothing: no longer sold")
    ] * 2
    await sell(database, world, 0, True)
    assert await offered(database, world) == 20
    why = await database.read(lambda tx: explain(tx, Ask(world.sku, world.channel, None), at=AT))
    assert (why.available, why.reason) == (20, None)


async def test_a_process_that_did_not_retire_it_knows_at_once(
    database: Database, database_url: str, world: World
) -> None:
    async with await Database.open(database_url) as other:
        assert await offered(other, world) == 20
        await sell(database, world, 0, False)
        assert await offered(other, world) == 0
        await sell(database, world, 0, True)
        assert await offered(other, world) == 20


async def test_reading_availability_asks_the_database_no_more_often(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sell(database, world, 1, False)
    await offered(database, world)
    monkeypatch.setattr(availability.retired.__globals__["sql"].retired_skus, "text", "SELECT 1 / 0")
    assert [await offered(database, world, sku) for sku in range(3)] == [20, 0, 20]


async def test_orders_holds_and_promises_are_refused_alike(database: Database, world: World) -> None:
    lines = [HoldLine(sku=world.sku, quantity=1)]
    cart = NewHold(channel=world.channel, cart="c", lines=lines)
    [mine] = await in_one(database, hold, [cart], AT)
    await sell(database, world, 0, False)
    [refused] = await in_one(database, hold, [cart], AT)
    assert (sure(refused, HoldRefused).reason, refused.pointer) == (HoldRefusal.UNKNOWN_SKU, "/lines/0/sku")
    assert "no longer sold" in refused.detail
    [refused] = await in_one(database, change, [HoldChange(hold_id=sure(mine, Held).hold_id, lines=lines)], AT)
    assert sure(refused, HoldRefused).reason is HoldRefusal.UNKNOWN_SKU
    [order] = await in_one(database, place, [world.order("one", 1)], AT)
    assert sure(order, OrderRefused).reason is Refusal.UNKNOWN_SKU
    asked = PromiseRequest(
        channel=world.channel, country="US", postal_code=PLACES[0][0], lines=[PromiseLine(sku=world.sku)]
    )
    [answer] = await database.read(lambda tx: promise(tx, [asked], at=AT))
    assert sure(answer, PromiseRefused).reason == "unknown_sku"


async def test_nothing_may_be_promised_at_a_later_date(database: Database, world: World) -> None:
    due = AT + timedelta(days=3)
    coming = Incoming(document="PO", sku=world.sku, location=world.location, quantity=5, expected_at=due)
    await in_one(database, upsert_incoming, [coming], AT)
    ask = Ask(world.sku, world.channels["backorder"], None)
    await placed(database, world.order("waits", 22, channel=world.channels["backorder"]), AT)
    assert [by.available for by in (await database.read(lambda tx: future(tx, ask, at=AT))).by] == [3]
    await sell(database, world, 0, False)
    found = await database.read(lambda tx: future(tx, ask, at=AT))
    assert (found.available, found.waiting, found.by) == (0, 2, [])


async def test_the_feed_tells_that_it_is_gone_and_that_it_is_back(database: Database, world: World) -> None:
    await publish(database)
    _, cursor = await changes(database, world, 0)
    await sell(database, world, 0, False)
    await publish(database)
    told, cursor = await changes(database, world, cursor)
    assert told == {world.sku: 0}
    scarce = await database.read(lambda tx: signals.scarce(tx, world.network, "", 100, at=AT))
    assert scarce == []
    await publish(database)
    assert (await changes(database, world, cursor))[0] == {}
    await sell(database, world, 0, True)
    await publish(database)
    assert (await changes(database, world, cursor))[0] == {world.sku: 20}
    rows = await database.pool.fetch("SELECT kind FROM core.events WHERE data ->> 'sku' = $1 ORDER BY id", world.sku)
    assert [row["kind"] for row in rows] == ["stock_out", "stock_back"]


async def test_what_orders_have_of_it_or_wait_for_is_served(database: Database, world: World) -> None:
    waits = world.channels["backorder"]
    reserved = world.order("has", {world.skus[1]: 2})
    order_id = await placed(database, world.order("waits", 23, channel=waits), AT)
    await sell(database, world, 0, False)
    got = Receipt(sku=world.sku, location=world.location, quantity=5)
    sure((await in_one(database, receive, [got], AT))[0], Moved)
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert (await line(database, order_id))["backordered"] == 0
    await shipped(database, reserved, AT)
    await assert_clean(database)


async def test_a_retired_component_is_still_sold_within_kits(database: Database, world: World) -> None:
    parts = [Component(sku=world.skus[1], quantity=2)]
    kit = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=1, stock={})
    await in_one(database, upsert_kits, [Kit(sku=kit.sku, components=parts)], AT)
    ask = Ask(kit.sku, world.channel, None)

    async def kits() -> int:
        [answer] = await database.read(lambda tx: available(tx, [ask], at=AT))
        return sure(answer, Availability).available

    await sell(database, world, 1, False)
    assert await offered(database, world, 1) == 0
    assert await kits() == 10
    why = await database.read(lambda tx: explain(tx, ask, at=AT))
    assert (why.available, why.reason) == (10, None)
    assert (await database.read(lambda tx: future(tx, ask, at=AT))).available == 10
    [order] = await in_one(database, place, [world.order("kit", {kit.sku: 1})], AT)
    sure(order, Placed)
    await sell(database, kit, 0, False)
    assert await kits() == 0
    await assert_clean(database)


async def test_racing_changes_of_a_sku_leave_every_process_with_the_last_one(database_url: str) -> None:
    """Whoever writes a SKU last is believed, however many wrote it at once."""
    async with await Database.open(database_url, pool_size=6) as database, await Database.open(database_url) as other:
        world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=1, stock=10)

        async def turn(number: int) -> None:
            one = Sku(code=world.sku, name=f"n{number}", backorderable=True, active=number % 2 == 0)
            await in_one(database, upsert_skus, [one], AT)
            await other.read(lambda tx: available(tx, [Ask(world.sku, world.channel, None)], at=AT))

        for _ in range(5):
            await asyncio.gather(*map(turn, range(8)))
            active = await database.pool.fetchval(
                "SELECT active FROM catalog.skus WHERE sku_id = $1", world.sku_ids[world.sku]
            )
            for reader in (database, other):
                assert await offered(reader, world) == (10 if active else 0)
