"""What changed: the feed of SKUs, and the events of stock that is low, out or back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from ordino.core.database import Database, Tx
from ordino.inventory import signals
from ordino.inventory.adjust import Count, count
from ordino.inventory.rules import Buffer, LowStock, upsert_buffers, upsert_low_stock
from ordino.network.closures import Closure, upsert_closures
from ordino.orders.place import place
from steps import in_one
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    await database.pool.execute("DELETE FROM inventory.rules; DELETE FROM network.closures")
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=1, stock=10)
    await publish(database)
    return world


async def publish(database: Database, since: datetime = AT, at: datetime = AT) -> None:
    for _ in range(2):  # the first may find that everything is to be told
        await database.transact(lambda tx: signals.publish(tx, since, at))


async def follow(database: Database, world: World, after: int) -> tuple[dict[str, int], int]:
    async def ask(tx: Tx) -> signals.Changes:
        return await signals.changes_after(tx, after, 1000, channel=world.channel, network=None, at=AT)

    found = await database.read(ask)
    mine = {change.sku: change.available for change in found.changes if change.sku in world.skus}
    return mine, found.next


async def events(database: Database, world: World, kind: str) -> list[dict[str, Any]]:
    rows = await database.pool.fetch("SELECT data FROM core.events WHERE kind = $1 ORDER BY id", kind)
    told = [msgspec.json.decode(row["data"]) for row in rows]
    return [data for data in told if data["sku"] in world.skus]


async def counted(database: Database, world: World, sku: int, units: int) -> None:
    await in_one(database, count, [Count(sku=world.skus[sku], location=world.location, on_hand=units)], AT)


async def test_only_what_changed_is_told_once(database: Database, world: World) -> None:
    everything, cursor = await follow(database, world, 0)
    assert everything == dict.fromkeys(world.skus, 10)
    assert await follow(database, world, cursor) == ({}, cursor)
    for units in (9, 8, 7):
        await counted(database, world, 0, units)
    await in_one(database, place, [world.order("two", {world.skus[1]: 2})], AT)
    assert (await follow(database, world, cursor))[0] == {}  # not published yet
    await publish(database)
    changed, later = await follow(database, world, cursor)
    assert changed == {world.skus[0]: 7, world.skus[1]: 8}
    await counted(database, world, 0, 7)  # as it was
    await publish(database)
    assert await follow(database, world, later) == ({}, later)


async def test_rules_and_closures_change_what_may_be_promised(database: Database, world: World) -> None:
    _, cursor = await follow(database, world, 0)
    await in_one(database, upsert_buffers, [Buffer(code=f"b-{world.sku}", network=world.network, units=4)], AT)
    await publish(database)
    changed, cursor = await follow(database, world, cursor)
    assert changed == dict.fromkeys(world.skus, 6)
    tomorrow = AT + timedelta(days=1)
    shut = Closure(code=f"c-{world.sku}", location=world.location, starts_at=tomorrow, reason="stocktake")
    await in_one(database, upsert_closures, [shut], AT)
    await publish(database)
    _, cursor = await follow(database, world, cursor)
    await publish(database)
    assert (await follow(database, world, cursor))[0] == {}
    await publish(database, AT, tomorrow)
    assert set((await follow(database, world, cursor))[0]) == set(world.skus)


async def test_low_out_and_back_are_told_when_they_come_about(database: Database, world: World) -> None:
    sku = world.sku
    await in_one(database, upsert_low_stock, [LowStock(code=f"low-{sku}", sku=sku, units=3)], AT)
    for units, low, out, back in ((4, 0, 0, 0), (3, 1, 0, 0), (2, 1, 0, 0), (0, 1, 1, 0), (5, 1, 1, 1), (0, 1, 2, 1)):
        await counted(database, world, 0, units)
        await publish(database)
        told = [len(await events(database, world, kind)) for kind in ("stock_low", "stock_out", "stock_back")]
        assert told == [low, out, back], units
    [first] = await events(database, world, "stock_low")
    assert first == {"sku": sku, "sku_ids": [world.sku_ids[sku]], "network": world.network, "available": 3}
    [row] = await database.read(lambda tx: signals.scarce(tx, world.network, "", 10, at=AT))
    assert (row.sku, row.available, row.is_out) == (sku, 0, True)


async def test_followers_miss_nothing_that_races(database_url: str) -> None:
    """SIG-1: orders are placed and changes published at once; a follower ends with what is there."""
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"race-{uuid4().hex[:6]}-", skus=5, locations=1, stock=100)
        known: dict[str, int] = {}
        cursor = 0
        done = asyncio.Event()

        async def buy(number: int) -> None:
            await in_one(database, place, [world.order(f"n{number}", {world.skus[number % 5]: 1})], AT)

        async def publisher() -> None:
            while not done.is_set():
                await publish(database)

        async def follower() -> None:
            nonlocal cursor
            while not done.is_set():
                changed, cursor = await follow(database, world, cursor)
                known.update(changed)
                await asyncio.sleep(0.005)

        following = [asyncio.create_task(job()) for job in (publisher, publisher, follower)]
        await asyncio.gather(*map(buy, range(150)))
        done.set()
        await asyncio.gather(*following)
        await publish(database)
        changed, cursor = await follow(database, world, cursor)
        known.update(changed)
        assert known == dict.fromkeys(world.skus, 70)
