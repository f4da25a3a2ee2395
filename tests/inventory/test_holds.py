"""Holds: units kept for carts, that become orders without a gap, change, let go and expire."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.api.server import load_stages
from ordino.core.database import Database
from ordino.core.reactions import Worker
from ordino.inventory import holds
from ordino.inventory.availability import Ask, available
from ordino.inventory.holds import Held, HoldChange, HoldLine, HoldRefusal, HoldRefused, NewHold, Released, change, hold
from ordino.inventory.holds import release as let_go
from ordino.orders.model import OrderRefused, Placed, Refusal
from ordino.orders.place import place
from steps import assert_clean, in_one, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=10)


def wanted(world: World, quantity: int, sku: int = 0, **more: Any) -> NewHold:
    return NewHold(channel=world.channel, lines=[HoldLine(sku=world.skus[sku], quantity=quantity)], **more)


def lines(world: World, *quantities: int) -> list[HoldLine]:
    return [HoldLine(sku=sku, quantity=units) for sku, units in zip(world.skus, quantities, strict=False) if units]


async def held(database: Database, world: World, quantity: int, at: datetime = AT, **more: Any) -> UUID:
    [outcome] = await in_one(database, hold, [wanted(world, quantity, **more)], at)
    return sure(outcome, Held).hold_id


async def to_promise(database: Database, world: World, at: datetime = AT, sku: int = 0) -> int:
    [answer] = await database.read(lambda tx: available(tx, [Ask(world.skus[sku], world.channel, None)], at=at))
    return answer.available  # type: ignore[union-attr]


async def test_held_units_are_nobody_elses(database: Database, world: World) -> None:
    await held(database, world, 15)
    assert await to_promise(database, world) == 5
    [refused] = await in_one(database, hold, [wanted(world, 6)], AT)
    assert sure(refused, HoldRefused).reason is HoldRefusal.OUT_OF_STOCK
    [order] = await in_one(database, place, [world.order("six", 6)], AT)
    assert sure(order, OrderRefused).reason is Refusal.OUT_OF_STOCK
    [order] = await in_one(database, place, [world.order("five", 5)], AT)
    sure(order, Placed)
    await assert_clean(database)


async def test_a_hold_becomes_the_order(database: Database, world: World) -> None:
    hold_id = await held(database, world, 20)
    [other] = await in_one(database, place, [world.order("other", 1)], AT)
    sure(other, OrderRefused)
    [mine, again] = await in_one(
        database, place, [world.order("mine", 20, hold_id=hold_id), world.order("again", 1, hold_id=hold_id)], AT
    )
    order_id = sure(mine, Placed).order_id
    assert sure(again, OrderRefused).reason is Refusal.OUT_OF_STOCK
    view = await database.read(lambda tx: holds.hold_of(tx, hold_id, at=AT))
    assert (view.status, view.order_id) == ("ordered", order_id)
    assert await to_promise(database, world) == 0
    [ended] = await in_one(database, let_go, [hold_id], AT)
    assert sure(ended, HoldRefused).reason is HoldRefusal.ENDED
    await assert_clean(database)


async def test_what_an_order_leaves_of_its_hold_is_free(database: Database, world: World) -> None:
    hold_id = await held(database, world, 20)
    less, other = await in_one(database, place, [world.order("less", 12, hold_id=hold_id), world.order("rest", 8)], AT)
    sure(less, Placed)
    sure(other, Placed)
    await assert_clean(database)


async def test_a_refused_order_leaves_its_hold(database: Database, world: World) -> None:
    hold_id = await held(database, world, 20)
    too_much = world.order("much", {world.skus[0]: 20, world.skus[1]: 21}, hold_id=hold_id)
    refused, other = await in_one(database, place, [too_much, world.order("other", 1)], AT)
    assert sure(refused, OrderRefused).reason is Refusal.OUT_OF_STOCK
    sure(other, OrderRefused)
    assert (await database.read(lambda tx: holds.hold_of(tx, hold_id, at=AT))).status == "open"
    await assert_clean(database)


async def test_a_hold_of_another_channel_is_unknown(database: Database, world: World) -> None:
    hold_id = await held(database, world, 1)
    [refused] = await in_one(
        database, place, [world.order("x", 1, channel=world.channels["drop"], hold_id=hold_id)], AT
    )
    assert sure(refused, OrderRefused).reason is Refusal.UNKNOWN_HOLD
    [refused] = await in_one(database, place, [world.order("y", 1, hold_id=uuid4())], AT)
    assert sure(refused, OrderRefused).reason is Refusal.UNKNOWN_HOLD


async def test_held_units_withstand_a_buffer_that_grows(database: Database, world: World) -> None:
    hold_id = await held(database, world, 20)
    await database.pool.execute("UPDATE network.members SET buffer = 5")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")
    [order] = await in_one(database, place, [world.order("late", 20, hold_id=hold_id)], AT)
    sure(order, Placed)
    await assert_clean(database)


async def test_carts_take_more_and_less_and_time(database: Database, world: World) -> None:
    hold_id = await held(database, world, 10)
    later = AT + timedelta(minutes=10)
    [more] = await in_one(database, change, [HoldChange(hold_id=hold_id, lines=lines(world, 12, 3), minutes=15)], later)
    assert sure(more, Held).expires_at == later + timedelta(minutes=15)
    assert (await to_promise(database, world), await to_promise(database, world, sku=1)) == (8, 17)
    [less] = await in_one(database, change, [HoldChange(hold_id=hold_id, lines=lines(world, 4))], later)
    assert sure(less, Held).expires_at == later + timedelta(minutes=15)
    assert (await to_promise(database, world), await to_promise(database, world, sku=1)) == (16, 20)
    [much] = await in_one(database, change, [HoldChange(hold_id=hold_id, lines=lines(world, 21))], later)
    assert sure(much, HoldRefused).reason is HoldRefusal.OUT_OF_STOCK
    view = await database.read(lambda tx: holds.hold_of(tx, hold_id, at=later))
    assert [(line.sku, line.quantity) for line in view.lines] == [(world.skus[0], 4)]
    twice = [HoldChange(hold_id=hold_id, lines=lines(world, units)) for units in (20, 5)]
    for outcome in await in_one(database, change, twice, later):
        sure(outcome, Held)
    assert await to_promise(database, world) == 15
    assert [sure(o, Released).hold_id for o in await in_one(database, let_go, [hold_id, hold_id], later)] == [
        hold_id
    ] * 2
    assert await to_promise(database, world) == 20
    await assert_clean(database)


async def test_expired_units_are_free_before_any_worker_comes(database: Database, world: World) -> None:
    first = await held(database, world, 20, minutes=5)
    late = AT + timedelta(minutes=5)
    assert await to_promise(database, world, AT + timedelta(minutes=4)) == 0
    assert await to_promise(database, world, late) == 20
    [order] = await in_one(database, place, [world.order("late", 20)], late)
    sure(order, Placed)
    assert (await database.read(lambda tx: holds.hold_of(tx, first, at=late))).status == "expired"
    second = await held(database, world, 20, minutes=5, sku=1)
    third = await held(database, world, 20, at=late, sku=1)
    assert second != third
    [gone] = await in_one(database, change, [HoldChange(hold_id=second, minutes=9)], late)
    assert sure(gone, HoldRefused).reason is HoldRefusal.ENDED
    await assert_clean(database)


async def test_a_worker_frees_what_has_expired(database: Database, world: World) -> None:
    load_stages()
    hold_id = await held(database, world, 20, at=database.clock.now() - timedelta(hours=1))
    await Worker(database).run_duties(all=True)
    row = await database.pool.fetchrow("SELECT status, ended_at FROM inventory.holds WHERE hold_id = $1", hold_id)
    assert row["status"] == "expired"
    reserved = "SELECT sum(reserved) FROM inventory.stock WHERE sku_id = $1"
    assert await database.pool.fetchval(reserved, world.sku_ids[world.sku]) == 0
    await assert_clean(database)


async def test_an_order_that_names_an_expired_hold_takes_what_is_free(database: Database, world: World) -> None:
    hold_id = await held(database, world, 5, minutes=1)
    [order] = await in_one(database, place, [world.order("late", 20, hold_id=hold_id)], AT + timedelta(minutes=2))
    sure(order, Placed)
    await assert_clean(database)


async def test_bad_holds_are_refused_in_words(database: Database, world: World) -> None:
    nowhere = NewHold(channel="nowhere", lines=lines(world, 1))
    nothing = NewHold(channel=world.channel, lines=[HoldLine(sku="nothing", quantity=1)])
    fine = wanted(world, 1)
    outcomes = await in_one(database, hold, [nowhere, nothing, wanted(world, 0), wanted(world, 1, minutes=0), fine], AT)
    reasons = [outcome.reason for outcome in outcomes[:-1]]
    assert reasons == [
        HoldRefusal.UNKNOWN_CHANNEL, HoldRefusal.UNKNOWN_SKU, HoldRefusal.INVALID, HoldRefusal.INVALID,
    ]  # fmt: skip
    sure(outcomes[-1], Held)
    unknown = await in_one(database, change, [HoldChange(hold_id=uuid4(), minutes=1), HoldChange(hold_id=uuid4())], AT)
    assert [outcome.reason for outcome in unknown] == [HoldRefusal.UNKNOWN_HOLD, HoldRefusal.INVALID]


@pytest.mark.parametrize("seed", range(3))
async def test_racing_carts_and_orders_share_exactly_what_is_there(database_url: str, seed: int) -> None:
    """Carts hold, change, order, and let go at once with orders that come without a hold: HLD-1 to HLD-3."""
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"race-{seed}-{uuid4().hex[:6]}-", skus=1, locations=2, stock=60)
        dice = random.Random(seed)

        async def cart(number: int) -> int:
            [mine] = await in_one(database, hold, [wanted(world, dice.randint(1, 6))], AT)
            if isinstance(mine, HoldRefused):
                return 0
            await asyncio.sleep(dice.random() / 50)
            units = dice.randint(1, 6)
            changed = await in_one(database, change, [HoldChange(hold_id=mine.hold_id, lines=lines(world, units))], AT)
            view = await database.read(lambda tx: holds.hold_of(tx, mine.hold_id, at=AT))
            has = view.lines[0].quantity
            assert isinstance(changed[0], HoldRefused) or has == units
            if dice.random() < 0.3:
                await in_one(database, let_go, [mine.hold_id], AT)
                return 0
            [order] = await in_one(database, place, [world.order(f"cart-{number}", has, hold_id=mine.hold_id)], AT)
            sure(order, Placed)  # what a cart holds, it gets
            return has

        async def walk_in(number: int) -> int:
            units = dice.randint(1, 4)
            [order] = await in_one(database, place, [world.order(f"walk-{number}", units)], AT)
            return units if isinstance(order, Placed) else 0

        sold = sum(await asyncio.gather(*(f(n) for n in range(30) for f in (cart, walk_in))))
        row = await database.pool.fetchrow(
            "SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM inventory.stock WHERE sku_id = $1",
            world.sku_ids[world.sku],
        )
        assert (row["on_hand"], row["reserved"]) == (120, sold)
        left = 120 - sold
        rest = [world.order(f"rest-{n}", 1) for n in range(left + 1)]
        outcomes = await in_one(database, place, rest, AT)
        assert sum(isinstance(outcome, Placed) for outcome in outcomes) == left  # nothing right is refused
        await assert_clean(database)


async def test_a_gap_between_hold_and_order_loses_units_to_others(database: Database, world: World) -> None:
    """The negative control of HLD-2: let go first, order after, and another buyer is in between."""
    hold_id = await held(database, world, 20)
    await in_one(database, let_go, [hold_id], AT)
    [other] = await in_one(database, place, [world.order("other", 20)], AT)
    sure(other, Placed)
    [mine] = await in_one(database, place, [world.order("mine", 20, hold_id=hold_id)], AT)
    assert sure(mine, OrderRefused).reason is Refusal.OUT_OF_STOCK
