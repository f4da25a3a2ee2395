"""Capacity in orders and in units: held at placement, confirmed at release, given back; never exceeded, however many come at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordino.core.database import Database
from ordino.core.errors import Invalid
from ordino.inventory.adjust import Receipt, receive
from ordino.network.days import CapacityDay, upsert_capacity_days
from ordino.network.facts import NetworkFacts
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_locations
from ordino.orders.allocate import allocate
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.capacity import CapacityView, capacity_of, remaining
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.warehouse.model import Pick, PickLine
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from steps import assert_clean, in_one, released
from world import World, small_world, sure

MONDAY = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)  # 10:00 in New York
TODAY = date(2027, 3, 1)


async def limited(database: Database, world: World, **changes: Any) -> None:
    for code in world.locations:
        [location] = await database.read(lambda tx, code=code: read_locations(tx, [code]))
        sure(await in_one(database, upsert_locations, [msgspec.structs.replace(location, **changes)], MONDAY))


async def day(database: Database, location: str, on: date = TODAY) -> CapacityView:
    [view] = await database.read(lambda tx: capacity_of(tx, [location], on, on))
    return view


async def put(database: Database, world: World, units: int = 1, **more: Any) -> UUID:
    [placed] = await in_one(database, place, [world.order(f"c-{uuid4()}", units, **more)], MONDAY)
    assert isinstance(placed, Placed), placed
    return placed.order_id


async def test_a_place_is_held_then_confirmed_and_given_back(database: Database) -> None:
    world = await small_world(database, prefix="ca-", locations=1)
    await limited(database, world, daily_capacity=10, daily_unit_capacity=20)
    kept, gone = await put(database, world, 3), await put(database, world, 4)
    held = await day(database, world.location)
    assert (held.held_orders, held.held_units, held.orders_left, held.units_left) == (2, 7, 8, 13)
    await in_one(database, release, [kept, gone], MONDAY)
    firm = await day(database, world.location)
    assert (firm.held_orders, firm.confirmed_orders, firm.confirmed_units) == (0, 2, 7)
    unreleased = await put(database, world, 2)
    await in_one(database, cancel, [Cancellation(order_id=unreleased, all=True)], MONDAY)
    after = await day(database, world.location)
    assert (after.held_orders, after.held_units, after.confirmed_units) == (0, 0, 7)
    await assert_clean(database)


async def test_units_of_a_line_that_is_cancelled_are_given_back(database: Database) -> None:
    world = await small_world(database, prefix="cb-", locations=1)
    await limited(database, world, daily_unit_capacity=20)
    order = await put(database, world, {world.skus[0]: 5, world.skus[1]: 3})
    part = msgspec.convert({"order_id": str(order), "lines": [{"line_no": 1, "quantity": 2}]}, Cancellation)
    await in_one(database, cancel, [part], MONDAY)
    left = await day(database, world.location)
    assert (left.held_orders, left.held_units) == (1, 6)
    await assert_clean(database)


async def test_a_day_of_another_capacity_counts_and_the_next_takes_the_rest(database: Database) -> None:
    world = await small_world(database, prefix="cc-", locations=1, daily_capacity=5)
    sure(
        await in_one(
            database, upsert_capacity_days, [CapacityDay(location=world.location, ship_on=TODAY, orders=1)], MONDAY
        )
    )
    await put(database, world)
    [full] = await in_one(database, place, [world.order("full")], MONDAY)
    assert not isinstance(full, Placed)
    view = await day(database, world.location)
    assert (view.order_limit, view.orders_left) == (1, 0)
    [later] = await in_one(database, place, [world.order("later")], MONDAY + timedelta(days=1))
    assert isinstance(later, Placed)


async def _race(database: Database, prefix: str) -> tuple[World, Counter[str], int]:
    """Ten batches at once against three locations with eight places and thirteen units each. Returns units placed as well."""
    world = await small_world(database, prefix=prefix, locations=3, stock=1000)
    await limited(database, world, daily_capacity=8, daily_unit_capacity=13)
    dice = random.Random(prefix)
    batches = [
        [world.order(f"r-{n}-{m}", dice.randint(1, 3), channel=world.channels["backorder"]) for m in range(6)]
        for n in range(10)
    ]
    answers = await asyncio.gather(*(in_one(database, place, batch, MONDAY) for batch in batches))
    placed = [one for some in answers for one in some if isinstance(one, Placed)]
    units = await database.pool.fetchval(
        "SELECT sum(allocated) FROM orders.orders WHERE order_id = any($1)", [one.order_id for one in placed]
    )
    return world, Counter(one.status for one in placed), int(units or 0)


async def test_cap_1_racing_batches_fill_days_exactly(database: Database) -> None:
    world, _, units = await _race(database, "cd-")
    views = [await day(database, code) for code in world.locations]
    for view in views:
        assert view.held_orders <= 8
        assert view.held_units <= 13
        assert view.orders_left == 0 or view.units_left == 0  # nothing that could be taken on was refused
    assert units == sum(view.held_units for view in views)
    await assert_clean(database)


async def test_without_the_guard_days_overflow(database: Database) -> None:
    """The negative control: the same race, with limits that the guarded update does not know."""
    known = NetworkFacts.order_limit

    def order_limit(self: NetworkFacts, location_id: int, on: date) -> int | None:
        import sys

        caller = sys._getframe(1).f_code.co_name
        return None if caller in ("_move", "<listcomp>") else known(self, location_id, on)

    with (
        patch.object(NetworkFacts, "order_limit", order_limit),
        patch.object(NetworkFacts, "unit_limit", lambda *_: None),
    ):
        world, _, _ = await _race(database, "ce-")
    views = [await day(database, code) for code in world.locations]
    assert any(view.held_orders > 8 for view in views)


async def test_cancelling_while_others_place_leaves_what_orders_claim(database: Database) -> None:
    world = await small_world(database, prefix="cf-", locations=2, stock=1000)
    await limited(database, world, daily_capacity=12, daily_unit_capacity=30)
    first = [await put(database, world, 2) for _ in range(10)]

    async def let_go(order_id: UUID) -> None:
        await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], MONDAY)

    orders = [world.order(f"x-{n}", 1) for n in range(20)]
    await asyncio.gather(*(let_go(i) for i in first), *(in_one(database, place, [order], MONDAY) for order in orders))
    views = [await day(database, code) for code in world.locations]
    assert sum(view.held_orders for view in views) >= 20
    await assert_clean(database)


async def test_days_are_asked_for_within_reason(database: Database) -> None:
    with pytest.raises(Invalid, match="up to 100 days"):
        await database.read(lambda tx: capacity_of(tx, [], TODAY, TODAY + timedelta(days=1000)))


async def test_who_waited_for_a_full_day_gets_the_next_one(database: Database) -> None:
    from ordino.core.reactions import Task
    from ordino.orders.reactions import fill_backorders, source_waiting

    world = await small_world(database, prefix="cg-", locations=1, skus=1, daily_capacity=1)
    channel = world.channels["backorder"]
    await put(database, world, 1, channel=channel)
    waits = await put(database, world, 1, channel=channel)
    assert (await database.pool.fetchval("SELECT backordered FROM orders.orders WHERE order_id = $1", waits)) == 1
    tomorrow = MONDAY + timedelta(days=1)
    await database.transact(lambda tx: source_waiting(tx, MONDAY, tomorrow))
    rows = await database.pool.fetch(
        "SELECT bucket, id, kind, subject_id, event_id, due_at, data FROM core.reactions WHERE kind = 'fill_backorders' AND due_at = $1",
        tomorrow,
    )
    tasks = [Task(*tuple(row)[:6], msgspec.json.decode(row["data"]), 0) for row in rows]
    await database.transact(lambda tx: fill_backorders(tx, tasks, tomorrow))
    assert (await database.pool.fetchval("SELECT allocated FROM orders.orders WHERE order_id = $1", waits)) == 1
    await assert_clean(database)


async def test_work_that_is_given_back_frees_its_day_whatever_was_picked_elsewhere(database: Database) -> None:
    stock = {("pb-sku-1", "pb-loc-1"): 5, ("pb-sku-2", "pb-loc-2"): 5}
    world = await small_world(database, prefix="pb-", locations=2, skus=2, stock=stock, daily_capacity=5)
    order_id, works = await released(database, world.order("two places", {"pb-sku-1": 1, "pb-sku-2": 3}), MONDAY)
    places = await database.pool.fetch(
        "SELECT fulfillment_order_id, location_id FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id
    )
    at = {row["location_id"]: row["fulfillment_order_id"] for row in places}
    assert len(works) == 2
    here, there = (at[world.location_ids[f"pb-loc-{n}"]] for n in (1, 2))
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=here, all=True)], MONDAY)
    await in_one(
        database, pick, [Pick(order_id=order_id, fulfillment_order_id=there, short_reason="refused", all=True)], MONDAY
    )
    taken = await database.pool.fetch(
        "SELECT location_id, confirmed_units FROM orders.capacity_claims WHERE order_id = $1", order_id
    )
    assert [tuple(row) for row in taken] == [(world.location_ids["pb-loc-1"], 1)]  # what was picked stays counted
    await assert_clean(database)


async def test_firm_units_that_go_are_no_longer_confirmed(database: Database) -> None:
    world = await small_world(
        database, prefix="pf-", locations=1, skus=2, stock={("pf-sku-1", "pf-loc-1"): 5}, daily_capacity=9
    )
    order = world.order("firm and held", {"pf-sku-1": 3, "pf-sku-2": 2}, channel=world.channels["backorder"])
    order_id, [work] = await released(database, order, MONDAY)
    came = Receipt(sku="pf-sku-2", location="pf-loc-1", quantity=5, reason="delivery")
    await in_one(database, receive, [came], MONDAY)
    await database.transact(lambda tx: allocate(tx, [order_id], at=MONDAY))
    given = PickLine(line_no=1, short=3, short_reason="refused")
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[given])], MONDAY)
    [claim] = await database.pool.fetch(
        "SELECT held_units, confirmed_units FROM orders.capacity_claims WHERE order_id = $1", order_id
    )
    assert tuple(claim) == (2, 0)
    await assert_clean(database)


async def test_firm_units_of_one_day_that_go_leave_what_is_held_of_another(database: Database) -> None:
    world = await small_world(
        database, prefix="pg-", locations=1, skus=2, stock={("pg-sku-1", "pg-loc-1"): 5}, daily_capacity=9
    )
    order = world.order("two days", {"pg-sku-1": 1, "pg-sku-2": 3}, channel=world.channels["backorder"])
    order_id, [work] = await released(database, order, MONDAY)
    tomorrow = MONDAY + timedelta(days=1)
    came = Receipt(sku="pg-sku-2", location="pg-loc-1", quantity=5, reason="delivery")
    await in_one(database, receive, [came], tomorrow)
    await database.transact(lambda tx: allocate(tx, [order_id], at=tomorrow))
    given = PickLine(line_no=1, short=1, short_reason="refused")
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[given])], tomorrow)
    claims = await database.pool.fetch(
        "SELECT ship_on, held_units, confirmed_units FROM orders.capacity_claims WHERE order_id = $1", order_id
    )
    assert [tuple(claim) for claim in claims] == [(date(2027, 3, 2), 3, 0)]
    assert (await day(database, "pg-loc-1")).confirmed_units == 0
    await assert_clean(database)


_day = st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(any)


@given(st.dictionaries(st.integers(1, 9).map(lambda n: date(2027, 3, n)), _day, min_size=1, max_size=4), st.data())
def test_cap_2_what_is_claimed_after_giving_back_is_what_the_order_has(
    days: dict[date, tuple[int, int]], data: st.DataObject
) -> None:
    claimed, confirmed = (sum(column) for column in zip(*((h + c, c) for h, c in days.values()), strict=True))
    units = data.draw(st.integers(0, claimed + 3))
    firm = data.draw(st.integers(0, units))
    left = remaining(days, units, firm)
    assert all(held >= 0 and firm_units >= 0 for held, firm_units in left.values())
    assert sum(h + c for h, c in left.values()) == min(claimed, units)
    assert sum(c for _, c in left.values()) == min(confirmed, firm)
    assert all(sum(left[on]) <= sum(days[on]) and left[on][1] <= days[on][1] for on in days)
