"""Tentative orders decided anew: cheaper together, never later, nothing lost; released orders stay."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.inventory.adjust import Receipt, receive
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_locations
from ordino.orders import reevaluate as reevaluate_
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.reevaluate import improve, look, move, reevaluate, reevaluations, think
from ordino.tracking.model import NewDate
from ordino.tracking.tell import tell
from ordino.warehouse.release import release
from steps import assert_clean, events, in_one
from world import PLACES, World, small_world

MONDAY = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)
LATER = MONDAY + timedelta(minutes=20)


async def put(database: Database, world: World, quantities: Any, postal_code: str = PLACES[0][0], **more: Any) -> UUID:
    order = world.order(f"e-{uuid4()}", quantities, postal_code=postal_code, **more)
    [placed] = await in_one(database, place, [order], MONDAY)
    assert isinstance(placed, Placed), placed
    return placed.order_id


async def where(database: Database, world: World, order_id: UUID) -> dict[str, int]:
    codes = {location_id: code for code, location_id in world.location_ids.items()}
    rows = await database.pool.fetch(
        "SELECT location_id, sum(quantity)::int AS units FROM orders.allocations WHERE order_id = $1 AND quantity > 0 GROUP BY 1",
        order_id,
    )
    return {codes[row["location_id"]]: row["units"] for row in rows}


async def test_an_order_moves_to_where_it_costs_less(database: Database) -> None:
    # loc-1 lies in Columbus, loc-5 in New York; the order to New York came when only Columbus had the goods
    world = await small_world(database, prefix="ra-", locations=5, skus=1, stock={("ra-sku-1", "ra-loc-1"): 5})
    order = await put(database, world, 2, PLACES[4][0])
    assert await where(database, world, order) == {"ra-loc-1": 2}
    await in_one(
        database, receive, [Receipt(sku="ra-sku-1", location="ra-loc-5", quantity=5, reason="delivery")], MONDAY
    )
    result = await improve(database, [order], at=LATER)
    assert (result.orders, result.changed) == (1, 1)
    assert result.after_minor < result.before_minor
    assert await where(database, world, order) == {"ra-loc-5": 2}
    [told] = await events(database, order, "order_resourced")
    assert told == {"from": ["ra-loc-1"], "to": ["ra-loc-5"]}
    again = await improve(database, [order], at=LATER)
    assert again.changed == 0
    await assert_clean(database)


async def test_two_orders_swap_what_each_can_use_better(database: Database) -> None:
    # one unit in Columbus and one in New York: the first order (New York) took Columbus while New York was empty
    world = await small_world(database, prefix="rb-", locations=5, skus=1, stock={("rb-sku-1", "rb-loc-1"): 1})
    east = await put(database, world, 1, PLACES[4][0])
    await in_one(
        database, receive, [Receipt(sku="rb-sku-1", location="rb-loc-5", quantity=1, reason="delivery")], MONDAY
    )
    middle = await put(database, world, 1, PLACES[0][0])
    assert (await where(database, world, east), await where(database, world, middle)) == (
        {"rb-loc-1": 1},
        {"rb-loc-5": 1},
    )
    await improve(database, [east, middle], at=LATER)
    assert (await where(database, world, east), await where(database, world, middle)) == (
        {"rb-loc-5": 1},
        {"rb-loc-1": 1},
    )
    await assert_clean(database)


async def test_a_released_order_stays_and_a_promise_is_not_made_worse(database: Database) -> None:
    world = await small_world(database, prefix="rc-", locations=5, skus=1, stock={("rc-sku-1", "rc-loc-1"): 9})
    firm, tentative = await put(database, world, 1, PLACES[4][0]), await put(database, world, 1, PLACES[4][0])
    await in_one(database, release, [firm], MONDAY)
    await in_one(
        database, receive, [Receipt(sku="rc-sku-1", location="rc-loc-5", quantity=5, reason="delivery")], MONDAY
    )
    before = await database.pool.fetchval("SELECT promised_at FROM orders.orders WHERE order_id = $1", tentative)
    run = await reevaluate(database, at=LATER)
    assert run.changed >= 1
    assert await where(database, world, firm) == {"rc-loc-1": 1}
    assert await where(database, world, tentative) == {"rc-loc-5": 1}
    after = await database.pool.fetchval("SELECT promised_at FROM orders.orders WHERE order_id = $1", tentative)
    assert after == before
    arrives = await database.pool.fetchval(
        "SELECT max(promised_at) FROM orders.allocations WHERE order_id = $1 AND quantity > 0", tentative
    )
    assert arrives <= before
    [newest, *_] = await database.read(reevaluations)
    assert (newest.reevaluation_id, newest.changed) == (run.reevaluation_id, run.changed)
    await assert_clean(database)


async def better(database: Database, prefix: str) -> tuple[World, list[UUID], Any, Any]:
    """Two orders to New York came when only Columbus had the goods; two units have come to New York since."""
    world = await small_world(
        database, prefix=prefix, locations=5, skus=1, stock={(f"{prefix}sku-1", f"{prefix}loc-1"): 5}
    )
    orders = [await put(database, world, 1, PLACES[4][0]) for _ in range(2)]
    came = Receipt(sku=f"{prefix}sku-1", location=f"{prefix}loc-5", quantity=2, reason="delivery")
    await in_one(database, receive, [came], MONDAY)
    seen = await database.read(lambda tx: look(tx, orders, at=LATER))
    assert seen is not None
    found = think(seen)
    assert set(found.plans) == set(orders)
    return world, orders, seen, found


@pytest.mark.parametrize("meanwhile", ["cancelled", "released", "one sold", "both sold", "nothing"])
async def test_what_was_found_holds_only_as_far_as_nothing_has_changed(database: Database, meanwhile: str) -> None:
    world, [first, second], seen, found = await better(database, f"re-{meanwhile}-".replace(" ", "-"))
    if meanwhile == "cancelled":
        await in_one(database, cancel, [Cancellation(order_id=first, all=True)], LATER)
    elif meanwhile == "released":
        await in_one(database, release, [first], LATER)
    elif meanwhile != "nothing":
        for _ in range(1 if meanwhile == "one sold" else 2):
            assert await where(database, world, await put(database, world, 1, PLACES[4][0])) == {world.locations[4]: 1}
    changed, saved = await database.transact(lambda tx: move(tx, seen, found.plans, at=LATER))
    assert changed == {"cancelled": 1, "released": 1, "one sold": 1, "both sold": 0, "nothing": 2}[meanwhile]
    assert (saved > 0) == (changed > 0)
    moved = [order for order in (first, second) if await where(database, world, order) == {world.locations[4]: 1}]
    assert len(moved) == changed
    assert first not in moved or meanwhile in ("nothing", "one sold")
    await assert_clean(database)


async def test_without_a_second_look_units_would_be_promised_twice(database: Database, ladder: list[str]) -> None:
    world, _, seen, found = await better(database, "rf-")
    for _ in range(2):
        await put(database, world, 1, PLACES[4][0])
    stale = {decision.request_id: decision for decision in seen.decided(seen.requests, found.plans)}
    with pytest.raises(Unavailable):  # the table itself refuses to reserve what is not there, try after try
        await database.transact(lambda tx: reevaluate_._move(tx, stale, seen.orders, seen.rows, seen.network, LATER))
    ladder.clear()  # nothing is locked before it, either
    await assert_clean(database)


async def test_racing_with_placement_release_and_cancellation_nothing_is_lost(database: Database) -> None:
    world = await small_world(database, prefix="rd-", locations=5, skus=3, stock=12, daily_capacity=40)
    dice = random.Random(3)

    def some() -> dict[str, int]:
        return {sku: dice.randint(1, 2) for sku in dice.sample(world.skus, dice.randint(1, 2))}

    channel = world.channels["backorder"]
    mine = [await put(database, world, some(), dice.choice(PLACES)[0], channel=channel) for _ in range(40)]
    await in_one(
        database,
        receive,
        [Receipt(sku=s, location=n, quantity=4, reason="more") for s in world.skus for n in world.locations],
        MONDAY,
    )
    new = [world.order(f"new-{n}", some(), postal_code=dice.choice(PLACES)[0], channel=channel) for n in range(20)]
    before = await database.pool.fetchval("SELECT sum(allocated) FROM orders.orders WHERE order_id = any($1)", mine)
    cancelled, released = mine[:8], mine[8:16]
    await asyncio.gather(
        *(improve(database, mine[n::4], at=LATER) for n in range(4)),
        *(in_one(database, place, [order], MONDAY) for order in new),
        *(in_one(database, cancel, [Cancellation(order_id=i, all=True)], LATER) for i in cancelled),
        *(in_one(database, release, [i], LATER) for i in released),
    )
    after = await database.pool.fetchval(
        "SELECT sum(allocated + cancelled) FROM orders.orders WHERE order_id = any($1)", mine
    )
    assert after >= before  # of those that were cancelled, the units that waited count, too
    late = await database.pool.fetchval(
        "SELECT count(*) FROM orders.orders o JOIN orders.allocations a USING (order_id)"
        " WHERE o.order_id = any($1) AND a.quantity > 0 AND o.promised_at IS NOT NULL AND a.promised_at > o.promised_at",
        mine,
    )
    assert late == 0
    await assert_clean(database)


async def test_what_has_become_dear_only_by_the_cut_off_stays(database: Database) -> None:
    """The first order leaves today, as it stands; made now, it would leave tomorrow, be late, and come from a dearer place."""
    world = await small_world(
        database, prefix="rg-", locations=5, skus=2,
        stock={("rg-sku-1", "rg-loc-1"): 1, ("rg-sku-1", "rg-loc-2"): 1, ("rg-sku-2", "rg-loc-1"): 1},
    )  # fmt: skip
    [late] = await database.read(lambda tx: read_locations(tx, ["rg-loc-2"]))
    dear = msgspec.structs.replace(late, cut_off="23:00", handling_cost_minor=2000)
    await in_one(database, upsert_locations, [dear], MONDAY)
    stays = await put(database, world, {"rg-sku-1": 1})
    moves = await put(database, world, {"rg-sku-2": 1}, PLACES[4][0], promised_at=MONDAY + timedelta(days=9))
    came = Receipt(sku="rg-sku-2", location="rg-loc-5", quantity=1, reason="delivery")
    await in_one(database, receive, [came], MONDAY)
    result = await improve(database, [stays, moves], at=MONDAY + timedelta(hours=6))
    assert await where(database, world, stays) == {"rg-loc-1": 1}
    assert await where(database, world, moves) == {"rg-loc-5": 1}
    assert (
        result.before_minor - result.after_minor == 300
    )  # the order that moved: 800 to New York from Columbus, 500 from there
    await assert_clean(database)


async def test_no_units_are_added_to_a_limited_day_that_an_order_has_a_place_on(database: Database) -> None:
    stock = {("rh-sku-1", "rh-loc-1"): 2, ("rh-sku-1", "rh-loc-2"): 2}
    world = await small_world(database, prefix="rh-", locations=2, skus=1, stock=stock)
    for code in world.locations:
        [one] = await database.read(lambda tx, code=code: read_locations(tx, [code]))
        await in_one(database, upsert_locations, [msgspec.structs.replace(one, daily_unit_capacity=4)], MONDAY)
    order = await put(database, world, 4)
    await in_one(database, receive, [Receipt(sku="rh-sku-1", location="rh-loc-1", quantity=5, reason="more")], MONDAY)
    await improve(database, [order], at=LATER)
    claims = await database.pool.fetch(
        "SELECT location_id, held_units FROM orders.capacity_claims WHERE order_id = $1", order
    )
    held = {row["location_id"]: row["held_units"] for row in claims}
    assert held == {world.location_ids[code]: units for code, units in (await where(database, world, order)).items()}
    await assert_clean(database)


async def test_an_order_is_held_to_what_was_told_last(database: Database) -> None:
    """REV-1: not to what was told first, and never to a date before its own plan."""
    world = await small_world(database, prefix="rt-", stock=100)
    order_id = await put(database, world, {"rt-sku-1": 1})
    first = await database.pool.fetchval("SELECT promised_at FROM orders.orders WHERE order_id = $1", order_id)
    for told in (first + timedelta(days=3), first - timedelta(days=1)):
        await in_one(database, tell, [NewDate(order_id=order_id, promised_at=told)], MONDAY)
        seen = await database.read(lambda tx: look(tx, [order_id], at=LATER))
        assert seen is not None
        [request] = seen.requests
        assert request.promised_at == max(told, first)


async def test_what_a_run_saved_is_told_by_currency(database: Database) -> None:
    """Two sellers, one in yen: amounts of different currencies are never added."""
    worlds = [
        await small_world(
            database, prefix=f"{name}-", locations=5, skus=1, stock={(f"{name}-sku-1", f"{name}-loc-1"): 5}
        )
        for name in ("rusd", "rjpy")
    ]
    for world, currency in zip(worlds, ("USD", "JPY"), strict=True):
        order = await put(database, world, 1, PLACES[4][0])
        await database.pool.execute("UPDATE orders.orders SET currency = $2 WHERE order_id = $1", order, currency)
    run = await reevaluate(database, at=LATER)
    assert ("JPY", 1) in {(one.currency, one.orders) for one in run.costs}
    assert {one.currency for one in run.costs} == {"USD", "JPY"}
    assert run in await database.read(reevaluations)
