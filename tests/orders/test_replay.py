"""Candidates on past orders, against the stock as it then was; nothing is changed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordino.core.database import Database
from ordino.core.errors import Invalid
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.replay import replay
from ordino.orders.sourcing_api import routes
from ordino.sourcing import versions
from ordino.sourcing.document import packaged
from steps import client, in_one
from world import PLACES, World, small_world

MONDAY = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)
ONLY_FAR = "name: far\nstrategies:\n  - name: far\n    fences: {{locations: [{location}]}}\n"


async def put(database: Database, world: World, quantities: Any, at: datetime, **more: Any) -> Placed:
    [placed] = await in_one(database, place, [world.order(f"t-{uuid4()}", quantities, **more)], at)
    assert isinstance(placed, Placed), placed
    return placed


async def counts(database: Database) -> list[int]:
    tables = (
        "inventory.moves",
        "orders.orders",
        "sourcing.decisions",
        "core.events",
        "core.reactions",
        "orders.allocations",
    )
    return [await database.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_the_same_profile_decides_as_it_did(database: Database) -> None:
    """Whatever has happened to the stock since: it is seen as it then was."""
    world = await small_world(database, prefix="sa-", locations=5, skus=4, stock=6)
    dice = random.Random(1)
    for n in range(60):
        at = MONDAY + timedelta(minutes=n)
        batch = [
            world.order(f"b-{n}-{m}", {dice.choice(world.skus): dice.randint(1, 2)}, postal_code=dice.choice(PLACES)[0],
                        channel=world.channels["backorder"])
            for m in range(2)
        ]  # fmt: skip
        await in_one(database, place, batch, at)
        if n % 20 == 10:
            await in_one(
                database,
                receive,
                [Receipt(sku=s, location=world.locations[n % 5], quantity=5, reason="more") for s in world.skus],
                at,
            )
    before = await counts(database)
    report = await replay(
        database, packaged(), MONDAY, MONDAY + timedelta(hours=2), channel=world.channels["backorder"]
    )
    assert (report.orders, report.differ, report.saved_minor) == (120, 0, 0)
    assert report.before.load == report.after.load
    assert report.before.unit_fill_rate == report.after.unit_fill_rate
    assert await counts(database) == before


async def test_what_a_cart_held_is_there_for_its_order(database: Database) -> None:
    day = MONDAY + timedelta(days=80)
    world = await small_world(database, prefix="sf-", locations=2, skus=1, stock={("sf-sku-1", "sf-loc-1"): 2})
    wanted = NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=2)])
    [held] = await in_one(database, hold, [wanted], day)
    assert isinstance(held, Held)
    await put(database, world, 2, day + timedelta(minutes=5), hold_id=held.hold_id)
    report = await replay(database, packaged(), day, day + timedelta(hours=1), channel=world.channel)
    assert (report.orders, report.differ, report.after.unit_fill_rate) == (1, 0, 1.0)


async def test_a_candidate_is_held_against_what_happened(database: Database) -> None:
    world = await small_world(database, prefix="sb-", locations=5, skus=1, stock=10)
    orders = [await put(database, world, 1, MONDAY + timedelta(minutes=n)) for n in range(3)]
    far = ONLY_FAR.format(location=world.locations[4])
    report = await replay(database, far, MONDAY, MONDAY + timedelta(hours=1), channel=world.channel)
    assert (report.orders, report.differ) == (3, 3)
    assert report.before.load == {world.locations[0]: 3}
    assert report.after.load == {world.locations[4]: 3}
    assert report.saved_minor == report.before.cost_minor - report.after.cost_minor < 0
    assert report.after.km_per_package > report.before.km_per_package
    assert report.differences[0].order_id == orders[0].order_id
    assert (report.differences[0].before, report.differences[0].after) == (
        {world.locations[0]: 1},
        {world.locations[4]: 1},
    )


async def test_conditions_see_the_order_as_it_was_placed(database: Database) -> None:
    """Who ordered, and whether a date was promised: in a replay as when it was placed."""
    day = MONDAY + timedelta(days=70)
    world = await small_world(database, prefix="se-", locations=5, skus=1, stock=10)
    near, far = world.locations[0], world.locations[4]
    text = (
        f"name: se\nfor: {{channels: [{world.channel}]}}\nstrategies:\n"
        f"  - {{name: known, when: 'customer.id == \"c-1\"', fences: {{locations: [{far}]}}}}\n"
        f"  - {{name: promised, when: order.promised, fences: {{locations: [{far}]}}}}\n"
        f"  - {{name: others, fences: {{locations: [{near}]}}}}\n"
    )
    version = await database.transact(lambda tx: versions.draft(tx, text, at=day))
    await database.transact(lambda tx: versions.activate(tx, version, at=day))
    late = day + timedelta(days=30)
    for n, more in enumerate(({}, {"customer": "c-1"}, {"promised_at": late})):
        await put(database, world, 1, day + timedelta(minutes=n), **more)
    report = await replay(database, text, day, day + timedelta(hours=1), channel=world.channel)
    assert report.before.on_time_rate == report.after.on_time_rate == 1.0
    hasty = await put(database, world, 1, day + timedelta(minutes=9), promised_at=day + timedelta(minutes=10))
    late = await replay(database, text, day + timedelta(minutes=9), day + timedelta(hours=1), channel=world.channel)
    assert (late.orders, late.before.on_time_rate, late.after.on_time_rate) == (1, 0.0, 0.0), hasty
    assert report.before.load == {near: 1, far: 2}
    assert (report.orders, report.differ, report.after.load) == (3, 0, {near: 1, far: 2})


async def test_what_came_later_was_not_there_then(database: Database) -> None:
    world = await small_world(database, prefix="sc-", locations=5, skus=1, stock={("sc-sku-1", "sc-loc-1"): 10})
    await put(database, world, 1, MONDAY)
    await in_one(
        database,
        receive,
        [Receipt(sku="sc-sku-1", location="sc-loc-5", quantity=9, reason="more")],
        MONDAY + timedelta(minutes=5),
    )
    await put(database, world, 1, MONDAY + timedelta(minutes=9))
    far = ONLY_FAR.format(location="sc-loc-5")
    report = await replay(database, far, MONDAY, MONDAY + timedelta(hours=1), channel=world.channel)
    assert (report.orders, report.after.filled_orders, report.after.load) == (2, 1, {"sc-loc-5": 1})


async def test_what_cannot_be_replayed_is_refused(database: Database) -> None:
    with pytest.raises(Invalid, match="until when"):
        await replay(database, packaged(), MONDAY, MONDAY)
    with pytest.raises(Invalid, match="There is no channel"):
        await replay(database, packaged(), MONDAY, MONDAY + timedelta(hours=1), channel="nope")
    with pytest.raises(Invalid, match="Line 1"):
        await replay(database, "name: x", MONDAY, MONDAY + timedelta(hours=1))


async def test_replays_over_http(database: Database) -> None:
    world = await small_world(database, prefix="se-", locations=2, skus=1, stock=10)
    await put(database, world, 1, MONDAY)
    asked = {"since": "2027-03-01T00:00:00Z", "until": "2027-03-02T00:00:00Z", "channel": world.channel}
    async with client(database, routes) as http:
        done = await http.post("/v1/sourcing/replays", json={**asked, "profile_version": 0})
        neither = await http.post("/v1/sourcing/replays", json=asked)
    assert (done.json()["orders"], done.json()["differ"]) == (1, 0)
    assert "one of the two" in neither.json()["detail"]
