"""A count is the truth: what is missing of what orders hold is told, and who is promised it is sourced anew."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.api.server import load_stages
from ordino.core.clock import Clock
from ordino.core.database import Database
from ordino.core.errors import Conflict, NotFound
from ordino.core.reactions import Worker
from ordino.flows.versions import ensure_active, flow_plans
from ordino.inventory.adjust import Count, Moved, Receipt, count, receive
from ordino.inventory.history import LAST
from ordino.inventory.holds import HoldLine, NewHold, hold
from ordino.inventory.shortfalls import Closure, close
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.shortfalls import ShortfallView, shortfalls_before
from ordino.warehouse.model import Pick, Ship
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship
from steps import assert_clean, in_one, line, packed, placed, released, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Now(Clock):
    def now(self) -> datetime:
        return AT


@pytest.fixture
async def flowing(database_url: str) -> Any:
    """A database whose events are followed by what the packaged flow says."""
    load_stages()
    async with await Database.open(database_url, plans=flow_plans(), clock=Now(), pool_size=8) as database:
        await database.transact(lambda tx: ensure_active(tx, at=AT))
        yield database


@pytest.fixture
async def world(flowing: Database) -> World:
    return await small_world(flowing, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=10)


async def counted(database: Database, world: World, units: int, as_of: datetime | None = None) -> Moved:
    one = Count(sku=world.sku, location=world.location, on_hand=units, as_of=as_of)
    return sure((await in_one(database, count, [one], AT))[0], Moved)


async def here(database: Database, world: World, place_: int = 0) -> tuple[int, int, int]:
    return await stock(database, world.sku_ids[world.sku], world.location_ids[world.locations[place_]])


async def work(database: Database) -> None:
    await Worker(database).run_until_idle()


async def shortfalls(database: Database, world: World, *, all: bool = True) -> list[ShortfallView]:
    found = await database.read(lambda tx: shortfalls_before(tx, LAST, 100, all=all))
    return [one for one in found if one.sku == world.sku]


async def test_units_without_work_are_sourced_anew_the_last_placed_first(flowing: Database, world: World) -> None:
    first = await placed(flowing, world.order("first", 6), AT)
    last = await placed(flowing, world.order("last", 4), AT + timedelta(seconds=1))
    done = await counted(flowing, world, 7)
    assert (done.delta, done.on_hand, done.shortfall) == (0, 10, 3)
    [told] = await shortfalls(flowing, world, all=False)
    assert (told.open, [(risk.order_id, risk.quantity) for risk in told.at_risk]) == (3, [(last, 4), (first, 6)])
    await work(flowing)
    assert (await here(flowing, world))[:2] == (7, 7)
    assert (await here(flowing, world, 1))[:2] == (10, 3)  # three units come from elsewhere now
    assert (await line(flowing, first))["allocated"] == 6
    assert (await line(flowing, last))["allocated"] == 4
    [told] = await shortfalls(flowing, world)
    assert (told.open, told.resolved, told.closed_at) == (0, 3, AT)
    await assert_clean(flowing)


async def test_open_work_is_reported_short(flowing: Database, world: World) -> None:
    order_id, _ = await released(flowing, world.order("released", 8), AT)
    await counted(flowing, world, 5)
    assert (await here(flowing, world))[:2] == (8, 8)
    await work(flowing)
    assert (await here(flowing, world))[:2] == (5, 5)
    assert (await line(flowing, order_id))["allocated"] == 8
    assert (await here(flowing, world, 1))[:2] == (10, 3)
    await assert_clean(flowing)


async def test_what_is_picked_stays_until_a_person_says(flowing: Database, world: World) -> None:
    order_id, [task] = await released(flowing, world.order("picked", 10), AT)
    await in_one(flowing, pick, [Pick(order_id=order_id, fulfillment_order_id=task, all=True)], AT)
    await counted(flowing, world, 9)
    await work(flowing)
    [told] = await shortfalls(flowing, world, all=False)
    assert told.open == 1
    closed = await flowing.transact(lambda tx: close(tx, told.shortfall_id, Closure(reason="behind_the_shelf"), at=AT))
    assert closed.recovered == 1
    with pytest.raises(Conflict):
        await flowing.transact(lambda tx: close(tx, told.shortfall_id, Closure(reason="again"), at=AT))
    with pytest.raises(NotFound):
        await flowing.transact(lambda tx: close(tx, uuid4(), Closure(reason="what"), at=AT))
    assert await here(flowing, world) == (10, 10, 10)
    await assert_clean(flowing)


async def test_what_leaves_was_there(database: Database) -> None:
    """SHO-2: picked units leave though a count found nothing at all; no more is missing than is left."""
    world = await small_world(database, prefix="leaves-", locations=1, stock=10)
    order_id, [task] = await packed(database, world.order("packed", 4), AT - timedelta(hours=1))
    await placed(database, world.order("waits", 6), AT)
    assert (await counted(database, world, 0)).shortfall == 10
    item = Ship(order_id=order_id, fulfillment_order_id=task, tracking_number="leaves", all=True)
    await in_one(database, ship, [item], AT)
    [told] = await shortfalls(database, world, all=False)
    assert (told.open, told.recovered) == (6, 4)
    await assert_clean(database)


async def test_a_later_count_has_the_last_word(flowing: Database, world: World) -> None:
    await placed(flowing, world.order("all", 10), AT)
    assert (await counted(flowing, world, 6)).shortfall == 4
    assert (await counted(flowing, world, 5)).shortfall == 5
    assert (await counted(flowing, world, 8)).shortfall == 2
    assert (await counted(flowing, world, 10)).shortfall == 0
    [told] = await shortfalls(flowing, world)
    assert (told.missing, told.open, told.recovered) == (5, 0, 5)
    await work(flowing)
    assert (await here(flowing, world))[:2] == (10, 10)
    await assert_clean(flowing)


async def test_what_comes_free_is_missing_first(flowing: Database, world: World) -> None:
    """Before any reaction: units of a cancelled order, and units that arrive, are not promised while others are missing."""
    kept = await placed(flowing, world.order("kept", 6), AT)
    gone = await placed(flowing, world.order("gone", 4), AT)
    await counted(flowing, world, 5)
    await in_one(flowing, cancel, [Cancellation(order_id=gone, all=True)], AT)
    assert (await here(flowing, world))[:2] == (6, 6)  # 10 - 4; one of the six is still missing
    [told] = await shortfalls(flowing, world, all=False)
    assert told.open == 1
    await in_one(flowing, receive, [Receipt(sku=world.sku, location=world.location, quantity=3)], AT)
    assert (await here(flowing, world))[:2] == (8, 6)
    assert await shortfalls(flowing, world, all=False) == []
    await work(flowing)
    assert (await line(flowing, kept))["allocated"] == 6
    await assert_clean(flowing)


async def test_carts_let_go_before_orders_do(flowing: Database, world: World) -> None:
    order_id = await placed(flowing, world.order("order", 6), AT)
    await in_one(flowing, hold, [NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=10)])], AT)
    stays = (await here(flowing, world))[1]
    await counted(flowing, world, 6)
    await work(flowing)
    assert (await line(flowing, order_id))["allocated"] == 6
    assert (await here(flowing, world))[1] == 6 <= stays
    await assert_clean(flowing)


@pytest.mark.parametrize("seed", range(3))
async def test_counts_race_with_orders_picks_and_cancellations(database_url: str, seed: int) -> None:
    """However it interleaves: what is promised in the end is there, and nobody who could be served waits."""
    load_stages()
    dice = random.Random(seed)
    async with await Database.open(database_url, plans=flow_plans(), clock=Now(), pool_size=8) as database:
        await database.transact(lambda tx: ensure_active(tx, at=AT))
        world = await small_world(database, prefix=f"c{seed}-{uuid4().hex[:6]}-", skus=1, locations=2, stock=60)
        stolen = 0
        orders: list[UUID] = []
        names: list[int] = []
        one_at_a_time = asyncio.Lock()

        async def buy(number: int) -> None:
            names.append(number)
            wanted = world.order(f"o{number}-{len(names)}", dice.randint(1, 3), channel=world.channels["backorder"])
            orders.append(sure((await in_one(database, place, [wanted], AT))[0], Placed).order_id)

        async def steal(_: int) -> None:
            """Units vanish, and a count that knows nothing of the ledger finds what is left."""
            nonlocal stolen
            async with one_at_a_time:
                stolen += 2
                await counted(database, world, 60 - stolen)

        async def drop(_: int) -> None:
            if orders:
                await in_one(database, cancel, [Cancellation(order_id=dice.choice(orders), all=True)], AT)

        async def toil(_: int) -> None:
            await Worker(database).run_due()

        await asyncio.gather(*(f(n) for n in range(12) for f in (buy, buy, steal, drop, toil)))
        for _ in range(3):
            await work(database)
        assert (await here(database, world))[0] == 60 - stolen
        assert (await here(database, world, 1))[0] == 60
        assert await shortfalls(database, world, all=False) == []
        waiting = await database.pool.fetchval(
            "SELECT sum(backordered) FROM orders.lines WHERE order_id = any($1)", orders
        )
        assert waiting == 0  # 24 orders of at most three units share 96
        await assert_clean(database)
