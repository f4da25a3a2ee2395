"""Rules over stock: the most specific buffer holds, allocations are kept for their channel, closures switch locations off."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.core.upserts import Created, NotUpserted, Unchanged, Updated
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.rules import (
    Allocation,
    Buffer,
    LowStock,
    RuleKind,
    book,
    drop,
    rules_by_code,
    upsert_allocations,
    upsert_buffers,
    upsert_low_stock,
)
from ordino.network.closures import Closure, closures, reopen, upsert_closures
from ordino.network.facts import facts
from ordino.orders.model import OrderRefused, Placed, Refusal
from ordino.orders.place import place
from steps import assert_clean, in_one, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    await database.pool.execute("DELETE FROM inventory.rules")
    await database.pool.execute("DELETE FROM network.closures")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1")
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=100)


async def look(database: Database, world: World, channel: str | None = None, at: datetime = AT) -> Availability:
    ask = Ask(world.sku, channel, None if channel else world.network)
    [answer] = await database.read(lambda tx: available(tx, [ask], at=at))
    return sure(answer, Availability)


async def test_the_most_specific_buffer_holds(database: Database, world: World) -> None:
    other = world.channels["drop"]
    [_] = await in_one(database, upsert_skus, [Sku(code=world.sku, name="S", category="shoes")], AT)
    ladder: list[tuple[dict[str, Any], int]] = [
        ({"network": world.network, "units": 1}, 1),
        ({"channel": other, "units": 2}, 2),
        ({"channel": other, "network": world.network, "units": 3}, 3),
        ({"location_type": "warehouse", "units": 4}, 4),
        ({"location": world.location, "units": 5}, 5),
        ({"location": world.location, "location_type": "warehouse", "channel": other, "units": 6}, 6),
        ({"category": "shoes", "units": 7}, 7),
        ({"sku": world.sku, "units": 8}, 8),
        ({"sku": world.sku, "location": world.location, "percent": 9.5}, 10),  # 9.5 of 100, rounded up
    ]
    for number, (scope, expected) in enumerate(ladder):
        [made] = await in_one(database, upsert_buffers, [Buffer(code=f"b{number}", **scope)], AT)
        sure(made, Created)
        first = (await look(database, world, other)).locations[0]
        assert (first.buffer, first.available) == (expected, 100 - expected), scope
        ids = [world.sku_ids[world.sku]]
        rules = await database.read(lambda tx, ids=ids: book(tx, ids))  # type: ignore[misc]
        network = await database.read(facts)
        channel, place_ = network.channels[other], network.locations[world.location_ids[world.location]]
        assert rules is not None
        assert channel.network is not None
        assert rules.buffer(channel.network, channel.channel_id, ids[0], place_) == (expected, f"b{number}")
    assert (await look(database, world)).locations[0].buffer == 10
    for number in reversed(range(len(ladder))):
        await database.transact(lambda tx, n=number: drop(tx, RuleKind.BUFFER, f"b{n}"))  # type: ignore[misc]
    assert (await look(database, world, other)).available == 200
    with pytest.raises(NotFound):
        await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, "b0"))


async def test_a_buffer_of_nothing_lifts_a_wider_one(database: Database, world: World) -> None:
    wide, lifted = Buffer(code="all", units=30), Buffer(code="not-here", sku=world.sku, units=0)
    await in_one(database, upsert_buffers, [wide, lifted], AT)
    assert (await look(database, world)).available == 200
    [order] = await in_one(database, place, [world.order("much", {world.skus[0]: 100, world.skus[1]: 70})], AT)
    sure(order, Placed)
    [refused] = await in_one(database, place, [world.order("more", {world.skus[1]: 71})], AT)
    sure(refused, OrderRefused)
    [order] = await in_one(database, place, [world.order("rest", {world.skus[1]: 70})], AT)
    sure(order, Placed)
    await assert_clean(database)


async def test_what_is_kept_for_a_channel_the_others_may_not_have(database: Database, world: World) -> None:
    mine, other = world.channel, world.channels["drop"]
    await in_one(database, upsert_allocations, [Allocation(code="a", channel=mine, sku=world.sku, units=40)], AT)
    assert (await look(database, world, mine)).available == 200
    theirs = await look(database, world, other)
    assert [(part.kept, part.available) for part in theirs.locations] == [(40, 60)] * 2
    assert (await look(database, world)).available == 120  # nobody in particular
    orders = [
        world.order("theirs", 120, channel=other),
        world.order("too much", 1, channel=other),  # drops its only line
        world.order("mine", 80),
        world.order("nothing left", 1),
    ]
    outcomes = await in_one(database, place, orders, AT)
    assert [isinstance(outcome, Placed) for outcome in outcomes] == [True, False, True, False]
    await assert_clean(database)


async def test_what_a_channel_has_reserved_counts_towards_what_is_kept_for_it(database: Database, world: World) -> None:
    """In one batch, too: 40 of 100 are kept at a place, the channel takes 40, and then the others may have all that is left."""
    mine, other = world.channel, world.channels["drop"]
    await in_one(database, upsert_allocations, [_forty_percent(world)], AT)
    orders = [world.order("mine", 40), world.order("theirs", 160, channel=other)]
    for outcome in await in_one(database, place, orders, AT):
        sure(outcome, Placed)
    assert (await look(database, world, mine)).available == 0
    await assert_clean(database)


def _forty_percent(world: World) -> Allocation:
    return Allocation(code="a", channel=world.channel, sku=world.sku, location=world.location, percent=40)


@pytest.mark.parametrize("round_", range(2))
async def test_racing_channels_keep_to_their_allocations(database_url: str, round_: int) -> None:
    """Others never take what is kept; nobody is refused what is theirs."""
    async with await Database.open(database_url, pool_size=8) as database:
        await database.pool.execute("DELETE FROM inventory.rules")
        await database.pool.execute("UPDATE core.revisions SET number = number + 1")
        world = await small_world(database, prefix=f"keep-{round_}-{uuid4().hex[:6]}-", skus=1, locations=1, stock=60)
        mine, other = world.channel, world.channels["drop"]
        await in_one(database, upsert_allocations, [Allocation(code="k", channel=mine, sku=world.sku, units=20)], AT)

        async def buy(number: int) -> tuple[str, bool]:
            channel = other if number % 2 else mine
            [outcome] = await in_one(database, place, [world.order(f"n{number}", 1, channel=channel)], AT)
            return channel, isinstance(outcome, Placed)

        bought = await asyncio.gather(*map(buy, range(160)))
        got = {code: sum(placed for channel, placed in bought if channel == code) for code in (mine, other)}
        assert got[mine] + got[other] == 60
        assert got[mine] >= 20  # what is kept for it, it got: it asked for 80
        await assert_clean(database)


async def test_a_closed_location_promises_nothing(database: Database, world: World) -> None:
    other = world.channels["drop"]
    outage = Closure(code=f"{world.network}-out", location=world.location, reason="burst pipe")
    [made] = await in_one(database, upsert_closures, [outage], AT)
    sure(made, Created)
    [same] = await in_one(database, upsert_closures, [outage], AT + timedelta(hours=1))
    sure(same, Unchanged)
    assert (await look(database, world)).available == 100
    [order] = await in_one(database, place, [world.order("all", 101)], AT)
    assert sure(order, OrderRefused).reason is Refusal.OUT_OF_STOCK
    await database.transact(lambda tx: reopen(tx, outage.code))
    soon, end = AT + timedelta(days=1), AT + timedelta(days=2)
    stocktake = Closure(
        code=outage.code, location=world.location, channel=other, starts_at=soon, ends_at=end, reason="x"
    )
    await in_one(database, upsert_closures, [stocktake], AT)
    seen = [(await look(database, world, other, at)).available for at in (AT, soon, end)]
    assert seen == [200, 100, 200]
    assert (await look(database, world, world.channel, soon)).available == 200
    [order] = await in_one(database, place, [world.order("kept", 101, channel=other)], soon)
    sure(order, OrderRefused)
    assert await database.read(lambda tx: closures(tx, [outage.code])) == [stocktake]
    [refused] = await in_one(
        database,
        upsert_closures,
        [Closure(code="bad", location=world.location, starts_at=end, ends_at=soon, reason="x")],
        AT,
    )
    assert sure(refused, NotUpserted).pointer == "/ends_at"
    early = Closure(
        code=outage.code, location=world.location, ends_at=AT + timedelta(hours=1), reason="it starts later"
    )
    [refused] = await in_one(database, upsert_closures, [early], AT)
    assert "end it after that, or send `starts_at`" in sure(refused, NotUpserted).detail
    assert await database.read(lambda tx: closures(tx, [outage.code])) == [stocktake]


async def test_rules_that_say_nothing_or_too_much_are_refused(database: Database, world: World) -> None:
    rules = [
        Buffer(code="neither", sku=world.sku),
        Buffer(code="both", units=1, percent=1),
        Buffer(code="where", location="nowhere", units=1),
        Buffer(code="first", sku=world.sku, units=1),
        Buffer(code="second", sku=world.sku, units=2),
        Buffer(code="first", sku=world.sku, units=3),
        Buffer(code="first", sku=world.sku, units=3),
    ]
    outcomes = await in_one(database, upsert_buffers, rules, AT)
    told = [o.reason if isinstance(o, NotUpserted) else type(o).__name__ for o in outcomes]
    assert told == ["invalid", "invalid", "unknown", "Created", "conflict", "Updated", "Unchanged"]
    assert Updated("first") in outcomes
    [kept] = await database.read(lambda tx: rules_by_code(Buffer, tx, ["first"]))
    assert kept == rules[-1]
    [wrong] = await in_one(database, upsert_low_stock, [LowStock(code="low", location=world.location, units=1)], AT)
    sure(wrong, NotUpserted)
