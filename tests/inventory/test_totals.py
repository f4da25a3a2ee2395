"""Totals are kept for a version of their SKU, and are exact at every moment."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.inventory import signals, totals
from ordino.inventory.adjust import Count, count
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.holds import HoldLine, NewHold, hold
from ordino.inventory.rules import Buffer, RuleKind, drop, upsert_buffers
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.orders.model import Placed
from ordino.orders.place import place
from steps import in_one, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=3, stock=50, buffer=2)


async def told(database: Database, world: World, at: datetime = AT) -> list[int]:
    """The totals, which must be what the locations add up to."""
    asks = [Ask(sku, world.channel, None) for sku in world.skus]
    short = await database.read(lambda tx: totals.totals(tx, asks, at=at))
    whole = await database.read(lambda tx: available(tx, asks, at=at))
    assert [sure(a, Availability).available for a in short] == [sure(a, Availability).available for a in whole]
    return [sure(a, Availability).available for a in short]


async def publish(database: Database) -> None:
    for _ in range(2):
        await database.transact(lambda tx: signals.publish(tx, AT, AT))


async def test_totals_are_exact_whatever_happens(database: Database, world: World) -> None:
    await publish(database)
    assert await told(database, world) == [144, 144, 144]
    await in_one(database, place, [world.order("ten", 10)], AT)
    assert await told(database, world) == [134, 144, 144]  # noted, not published
    await publish(database)
    assert await told(database, world) == [134, 144, 144]
    assert await told(database, world) == [134, 144, 144]
    shut = Closure(code=f"c {world.sku}", location=world.location, reason="x", ends_at=AT + timedelta(hours=1))
    await in_one(database, upsert_closures, [shut], AT)
    assert (await told(database, world))[1:] == [96, 96]
    assert (await told(database, world, AT + timedelta(hours=1)))[1:] == [144, 144]
    await database.transact(lambda tx: reopen(tx, shut.code))
    await in_one(database, upsert_buffers, [Buffer(code=f"b {world.sku}", sku=world.sku, units=0)], AT)
    assert await told(database, world) == [140, 144, 144]
    await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, f"b {world.sku}"))
    cart = NewHold(channel=world.channel, lines=[HoldLine(sku=world.skus[2], quantity=40)], minutes=5)
    await in_one(database, hold, [cart], AT)
    await publish(database)
    assert await told(database, world) == [134, 144, 104]
    assert await told(database, world, AT + timedelta(minutes=5)) == [134, 144, 144]  # it has expired
    unknown = [Ask("nothing", world.channel, None), Ask(world.sku, "nowhere", None)]
    found = await database.read(lambda tx: totals.totals(tx, unknown, at=AT))
    assert all(isinstance(answer, NotFound) for answer in found)


async def test_what_is_kept_is_not_read_again(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(database)
    before = await told(database, world)
    monkeypatch.setattr(totals.sql.versioned_stock, "text", "SELECT 1 / 0")
    assert await told(database, world) == before


@pytest.mark.parametrize("seed", range(3))
async def test_readers_see_what_was_acknowledged_before(database_url: str, seed: int) -> None:
    """TOT-1: orders, counts and publishing race; a total that is read after an answer knows what was answered."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database, await Database.open(database_url) as other:
        world = await small_world(database, prefix=f"t{seed}-{uuid4().hex[:6]}-", skus=2, locations=2, stock=500)
        sold, done = dict.fromkeys(world.skus, 0), asyncio.Event()

        async def publisher() -> None:
            while not done.is_set():
                await publish(database)

        async def buy(number: int) -> None:
            sku = dice.choice(world.skus)
            sure((await in_one(database, place, [world.order(f"o{number}", {sku: 1})], AT))[0], Placed)
            sold[sku] += 1
            least = dict(sold)  # acknowledged before what follows
            asks = [Ask(sku, world.channel, None) for sku in world.skus]
            for reader in (database, other):
                answers = await reader.read(lambda tx: totals.totals(tx, asks, at=AT))
                for answer in answers:
                    assert sure(answer, Availability).available <= 1000 - least[answer.sku]

        publishing = asyncio.create_task(publisher())
        await asyncio.gather(*map(buy, range(120)))
        done.set()
        await publishing
        one = Count(sku=world.sku, location=world.location, on_hand=600)
        await in_one(database, count, [one], AT)
        for reader in (database, other):
            assert await told(reader, world) == [1100 - sold[world.skus[0]], 1000 - sold[world.skus[1]]]
