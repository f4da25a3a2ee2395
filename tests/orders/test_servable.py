"""What becomes impossible after placement is an exception at once, and is one no longer when it becomes possible again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from closing import look, open_exceptions, queued, switch, take_out
from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.network import read
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks
from ordino.orders.allocate import allocate
from ordino.orders.exceptions import Resolve, resolve
from ordino.sourcing import aside, never
from steps import assert_clean, events, in_one, line, placed, released
from world import World, parcel_service, small_world
from world import sure as written

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
async def world(database: Database, request: pytest.FixtureRequest) -> World:
    return await small_world(database, prefix=request.node.name[5:28], skus=2, locations=1, stock=5)


async def weigh(database: Database, sku: str, grams: int, classes: list[str] | None = None) -> None:
    one = Sku(code=sku, name=sku, weight_grams=grams, backorderable=True, handling_classes=classes or [])
    written(await in_one(database, upsert_skus, [one], AT))


async def waiting(database: Database, world: World, name: str, units: int = 9) -> UUID:
    """An order with units that are allocated, and others that wait."""
    return await placed(database, world.order(name, units, channel=world.channels["backorder"]), AT)


async def kinds(database: Database, order_id: UUID) -> list[tuple[str, int]]:
    return [(one.kind, one.units) for one in await open_exceptions(database, order_id)]


async def test_a_sku_that_becomes_too_heavy_is_an_exception_until_it_is_lighter(
    database: Database, world: World
) -> None:
    order_id = await waiting(database, world, "heavier")
    await look(database, AT)
    assert await kinds(database, order_id) == []
    await weigh(database, world.sku, 95_000)
    for _ in range(2):
        await look(database, AT)
    [told] = await open_exceptions(database, order_id)
    assert (told.kind, told.line_no, told.sku, told.units) == ("not_servable", 1, world.sku, 9)
    assert "one unit weighs 95000 g" in told.detail
    [fact] = await events(database, order_id, "not_servable")
    assert fact["why"] == told.detail
    await weigh(database, world.sku, 30_000)
    await look(database, AT)
    assert await kinds(database, order_id) == []
    [done] = await open_exceptions(database, order_id, all=True)
    assert (done.resolution, done.resolved_by) == ("cleared", None)
    await weigh(database, world.sku, 500, ["frozen"])
    await look(database, AT)
    assert await kinds(database, order_id) == [("not_servable", 9)]
    await assert_clean(database)


async def test_a_location_that_leaves_the_network_is_an_exception_and_one_that_is_switched_off_is_none(
    database: Database,
) -> None:
    world = await small_world(
        database, prefix="leaves-", skus=1, locations=2, stock={("leaves-sku-1", "leaves-loc-1"): 5}
    )
    [other] = await database.read(lambda tx: read.locations(tx, [world.locations[1]]))
    written(await in_one(database, upsert_locations, [replace(other, serves_countries=["CA"])], AT))
    order_id = await waiting(database, world, "left")
    await switch(database, world.location, AT, active=False)
    await look(database, AT)
    assert await kinds(database, order_id) == []
    [whole] = await database.read(lambda tx: read.networks(tx, [world.network]))
    await take_out(database, world, world.location, AT)
    await look(database, AT)
    assert await kinds(database, order_id) == [("not_servable", 9)]
    written(await in_one(database, upsert_networks, [whole], AT))
    await look(database, AT)
    assert await kinds(database, order_id) == []
    written(await in_one(database, upsert_networks, [replace(whole, channels=[])], AT))
    await look(database, AT)
    [told] = await open_exceptions(database, order_id)
    assert told.detail.startswith("No network serves the channel")
    await assert_clean(database)


async def test_a_service_that_loses_its_zones_is_an_exception(database: Database) -> None:
    world = await small_world(database, prefix="zones-", skus=1, locations=1, stock=0)
    order_id = await waiting(database, world, "zones")
    codes = [row["code"] for row in await database.pool.fetch("SELECT code FROM network.carrier_services")]
    whole = [parcel_service(code) for code in codes]
    light = [replace(one, max_grams=400) for one in whole]
    for services, found in ((light, [("not_servable", 9)]), (whole, [])):
        written(await in_one(database, upsert_carrier_services, services, AT))
        await look(database, AT)
        assert await kinds(database, order_id) == found
    await assert_clean(database)


async def test_allocation_tells_what_it_can_never_serve(database: Database, world: World) -> None:
    order_id = await waiting(database, world, "allocated")
    await weigh(database, world.sku, 95_000)
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {}
    assert await kinds(database, order_id) == [("not_servable", 9)]
    await assert_clean(database)


async def test_what_takes_long_to_judge_is_judged_in_a_thread(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else that the worker does waits for it: neither when orders are looked at again, nor when they are allocated."""
    order_id = await waiting(database, world, "thread")
    await weigh(database, world.sku, 95_000)
    threads: list[threading.Thread] = []
    asks = never._asked

    def watched(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return asks(*args)

    monkeypatch.setattr(never, "_asked", watched)
    monkeypatch.setattr(aside, "AT_ONCE", -1)  # whatever is judged takes long
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {}
    allocating = len(threads)
    await look(database, AT)
    assert 0 < allocating < len(threads)
    assert threading.main_thread() not in threads
    assert await kinds(database, order_id) == [("not_servable", 9)]
    await assert_clean(database)


async def test_what_is_released_is_the_warehouses(database: Database, world: World) -> None:
    order_id, _ = await released(database, world.order("released", 2), AT)
    await weigh(database, world.sku, 95_000)
    await look(database, AT)
    assert await kinds(database, order_id) == []


async def test_a_person_sees_to_it_with_the_usual_verbs(database: Database, world: World) -> None:
    ids = {action: await waiting(database, world, action, 2) for action in ("cancel", "retry", "close")}
    await weigh(database, world.sku, 95_000)
    await look(database, AT)
    for action, order_id in ids.items():
        [told] = await open_exceptions(database, order_id)
        wish = Resolve(action=action)  # type: ignore[arg-type]
        await database.transact(lambda tx, id=told.exception_id, wish=wish: resolve(tx, id, wish, at=AT))
    assert (await line(database, ids["cancel"]))["cancelled"] == 2
    assert await queued(database, "source", ids["retry"]) == 1
    await weigh(database, world.sku, 96_000)
    await look(database, AT)
    assert [await kinds(database, ids[action]) for action in ("cancel", "retry", "close")] == [
        [],
        [("not_servable", 2)],  # nothing has changed, so it is asked again
        [],
    ]
    await assert_clean(database)
