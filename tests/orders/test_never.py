"""What nothing can ever serve is refused at placement, in a sentence that names the line and the limit; what time cures waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.network.closures import Closure, upsert_closures
from ordino.network.model import Location
from ordino.network.upsert import upsert_carrier_services, upsert_locations
from ordino.orders import never as judging
from ordino.orders.model import Address, NewOrder, OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.preview import PreviewLine, PreviewRequest, preview
from ordino.orders.promise import Promise, PromiseLine, PromiseRequest, promise
from ordino.sourcing import versions
from steps import assert_clean, events, in_one, line
from world import PLACES, World, parcel_service, small_world
from world import sure as written

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
PARIS = Address(name="Ada", line1="1 rue", city="Paris", postal_code="75001", country="FR")
NOWHERE = Address(name="Ada", line1="1 Main Street", city="Town", postal_code="99999", country="US")


async def put_sku(database: Database, code: str, **values: Any) -> None:
    fields = {"name": code, "weight_grams": 500, "backorderable": True} | values
    written(await in_one(database, upsert_skus, [Sku(code=code, **fields)], AT))


async def put_location(database: Database, code: str, **values: Any) -> None:
    zip_code, _, latitude, longitude = PLACES[0]
    fields: dict[str, Any] = {
        "name": code, "type": "warehouse", "country": "US", "postal_code": zip_code, "latitude": latitude,
        "longitude": longitude, "timezone": "America/New_York", "handling_cost_minor": 100,
    }  # fmt: skip
    written(await in_one(database, upsert_locations, [Location(code=code, **fields | values)], AT))


@pytest.fixture
async def world(database: Database, request: pytest.FixtureRequest) -> World:
    return await small_world(database, prefix=request.node.name[5:24], skus=2, locations=1, stock=0)


async def answer(database: Database, order: NewOrder) -> Placed | OrderRefused:
    [outcome] = await in_one(database, place, [order], AT)
    return outcome  # type: ignore[no-any-return]


async def refused(database: Database, order: NewOrder, pointer: str, *words: str) -> None:
    outcome = await answer(database, order)
    assert isinstance(outcome, OrderRefused), outcome
    assert (outcome.reason, outcome.pointer) == (Refusal.CANNOT_SHIP, pointer)
    assert outcome.detail.startswith("Line 1 (")
    assert [word for word in words if word not in outcome.detail] == [], outcome.detail


async def waits(database: Database, order: NewOrder) -> None:
    outcome = await answer(database, order)
    assert isinstance(outcome, Placed), outcome
    assert outcome.status == "backordered"


async def test_an_address_that_no_location_serves_is_refused(database: Database, world: World) -> None:
    channel = world.channels["backorder"]
    order = world.order("paris", channel=channel, ship_to=PARIS)
    await refused(database, order, "/ship_to", "no location of the network", "75001 in FR", "another address")
    order = world.order("nowhere", channel=channel, ship_to=NOWHERE)
    await refused(
        database, order, "/ship_to", "no carrier service reaches 99999", "is unknown (add it with PUT /v1/postal_codes)"
    )
    await waits(database, world.order("here", channel=channel))


async def test_a_unit_that_is_too_heavy_for_one_parcel_is_refused(database: Database) -> None:
    for name, stock in (("heavy-none-", 0), ("heavy-some-", 9)):
        world = await small_world(database, prefix=name, skus=2, locations=1, stock=stock)
        await put_sku(database, world.sku, weight_grams=95_000)
        for policy, channel in world.channels.items():
            order = world.order(policy, channel=channel)
            await refused(database, order, "/lines/0/sku", "one unit weighs 95000 g", "more than 30000 g")
        await put_sku(database, world.sku, weight_grams=30_000)
        outcome = await answer(database, world.order("many", 3, channel=world.channels["backorder"]))
        assert isinstance(outcome, Placed)  # three units go as three parcels
    await assert_clean(database)


async def test_a_unit_that_is_too_large_for_one_parcel_is_refused(database: Database, world: World) -> None:
    codes = [row["code"] for row in await database.pool.fetch("SELECT code FROM network.carrier_services")]
    services = [replace(parcel_service(code), max_cubic_cm=1000) for code in codes]
    written(await in_one(database, upsert_carrier_services, services, AT))
    await put_sku(database, world.sku, length_mm=100, width_mm=100, height_mm=101)
    order = world.order("large", channel=world.channels["backorder"])
    await refused(database, order, "/lines/0/sku", "one unit has a volume of 1010 cubic cm", "more than 1000 cubic cm")
    await put_sku(database, world.sku, length_mm=100, width_mm=100, height_mm=100)
    await waits(database, world.order("small", 5, channel=world.channels["backorder"]))


async def test_goods_that_no_location_handles_are_refused(database: Database, world: World) -> None:
    await put_sku(database, world.sku, handling_classes=["frozen"])
    order = world.order("frozen", channel=world.channels["backorder"])
    await refused(database, order, "/lines/0/sku", "can handle 'frozen'")
    await put_location(database, world.location, handles=["frozen"], active=False)
    await waits(database, order)


async def test_a_service_level_that_does_not_reach_the_address_is_refused(database: Database, world: World) -> None:
    near = parcel_service(f"{world.service}-fast")
    fast = replace(near, level="fast", zones=[replace(near.zones[0], up_to_km=1.0)])
    await in_one(database, upsert_carrier_services, [fast], AT)
    channel = world.channels["backorder"]
    far = world.order("far", channel=channel, postal_code=PLACES[7][0], service_level="fast")
    await refused(database, far, "/service_level", "level 'fast' reaches the address", "Choose one of: ", "standard")
    await waits(database, world.order("near", channel=channel, service_level="fast"))
    await waits(database, world.order("slow", channel=channel, postal_code=PLACES[7][0]))


async def activate(database: Database, text: str) -> None:
    version = await database.transact(lambda tx: versions.draft(tx, text, at=AT))
    await database.transact(lambda tx: versions.activate(tx, version, at=AT))


async def test_what_the_routing_profile_never_lets_through_is_refused(database: Database, world: World) -> None:
    channel = world.channels["backorder"]
    text = (
        f"name: mine\nfor: {{channels: [{channel}]}}\nstrategies:\n  - {{name: near, fences: {{within_km: 100}}%s}}\n"
    )
    await activate(database, text % "")
    far = world.order("far", channel=channel, postal_code=PLACES[7][0])
    await refused(database, far, "/ship_to", "routing profile 'mine'")
    await waits(database, world.order("near", channel=channel))
    await activate(database, text % "" + "  - {name: by night, when: clock.hour > 22}\n")
    await waits(database, far)  # at another time of day it may go


async def test_lines_that_no_location_can_send_together_are_refused(database: Database) -> None:
    world = await small_world(database, prefix="together-", skus=2, locations=2, stock=0)
    channel = world.channels["backorder"]
    for sku, location, name in zip(world.skus, world.locations, ("frozen", "sharp"), strict=True):
        await put_sku(database, sku, handling_classes=[name])
        await put_location(database, location, handles=[name])
    text = f"name: groups\nfor: {{channels: [{channel}]}}\nstrategies: [{{name: s, keep_together: [groups]}}]\n"
    await activate(database, text)
    apart = world.order("apart", dict.fromkeys(world.skus, 1), channel=channel)
    grouped = replace(apart, external_id="grouped", lines=[replace(one, group="set") for one in apart.lines])
    await refused(database, grouped, "/lines/0/group", "the group 'set'")
    await waits(database, apart)


async def test_what_time_cures_waits(database: Database) -> None:
    """Stock, buffers, closures, full days and locations that are switched off pass."""
    empty = await small_world(database, prefix="empty-", locations=1, skus=1, stock=0)
    buffered = await small_world(database, prefix="buffered-", locations=1, skus=1, stock=5, buffer=5)
    full = await small_world(database, prefix="full-", locations=1, skus=1, stock=5, daily_capacity=0)
    closed = await small_world(database, prefix="closed-", locations=1, skus=1, stock=5)
    off = await small_world(database, prefix="off-", locations=1, skus=1, stock=5)
    flood = Closure(code="flood", location=closed.location, reason="flood")
    written(await in_one(database, upsert_closures, [flood], AT))
    await put_location(database, off.location, active=False)
    for world in (empty, buffered, full, closed, off):
        await waits(database, world.order("waits", channel=world.channels["backorder"]))
    outcome = await answer(database, closed.order("refuses"))
    assert isinstance(outcome, OrderRefused)
    assert "now" in outcome.detail
    await assert_clean(database)


async def test_a_line_that_can_never_be_served_is_dropped_where_the_channel_drops(database: Database) -> None:
    world = await small_world(database, prefix="drops-", locations=1, skus=2)
    await put_sku(database, world.sku, weight_grams=95_000)
    both = world.order("both", dict.fromkeys(world.skus, 1), channel=world.channels["drop"])
    outcome = await answer(database, both)
    assert isinstance(outcome, Placed)
    assert ((await line(database, outcome.order_id))["cancelled"], outcome.status) == (1, "allocated")
    [told] = await events(database, outcome.order_id, "lines_dropped")
    [never] = told["lines"]
    assert (never["line_no"], never["reason"]) == (1, "cannot_ship")
    assert "95000 g" in never["detail"]
    await refused(database, world.order("alone", channel=world.channels["drop"]), "/lines/0/sku", "95000 g")
    await assert_clean(database)


async def test_an_order_that_is_refused_takes_nothing_from_those_after_it(database: Database) -> None:
    world = await small_world(database, prefix="after-", locations=1, skus=2, stock=1)
    channel = world.channels["backorder"]
    await put_sku(database, world.sku, weight_grams=95_000)
    first = world.order("first", dict.fromkeys(world.skus, 1), channel=channel)
    second = world.order("second", {world.skus[1]: 1}, channel=channel)
    outcomes = await in_one(database, place, [first, second], AT)
    assert isinstance(outcomes[0], OrderRefused)
    assert outcomes[0].pointer == "/lines/0/sku"
    assert (isinstance(outcomes[1], Placed), outcomes[1].status) == (True, "allocated")
    await assert_clean(database)


async def test_orders_that_are_filled_are_not_judged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await small_world(database, prefix="filled-", locations=1, skus=1)
    asked: list[Any] = []
    monkeypatch.setattr(judging, "never", lambda *told: asked.append(told) or {})
    await in_one(database, place, [world.order(f"filled {n}") for n in range(5)], AT)
    assert asked == []


async def test_promises_and_previews_say_the_same(database: Database, world: World) -> None:
    await put_sku(database, world.sku, weight_grams=95_000)
    channel, zip_code = world.channels["backorder"], PLACES[0][0]
    asked = PromiseRequest(channel=channel, country="US", postal_code=zip_code, lines=[PromiseLine(sku=world.sku)])
    [told, other, abroad] = await in_one(
        database, promise,
        [asked, replace(asked, lines=[PromiseLine(sku=world.skus[1])]), replace(asked, country="FR")], AT,
    )  # fmt: skip
    assert isinstance(told, Promise)
    assert (told.delivery, "95000 g" in str(told.detail)) == ([], True)
    assert "never" not in other.detail
    assert "no location of the network" in abroad.detail
    wanted = PreviewRequest(
        channel=channel, country="US", postal_code=zip_code, lines=[PreviewLine(sku=world.sku, quantity=1)]
    )
    seen = await database.read(lambda tx: preview(tx, wanted, at=AT))
    assert (seen.outcome, seen.legs, list(seen.never_served)) == ("refused", [], [1])
    wanted = replace(wanted, lines=[PreviewLine(sku=world.skus[1], quantity=1)])
    seen = await database.read(lambda tx: preview(tx, wanted, at=AT))
    assert (seen.outcome, seen.never_served, seen.short) == ("placed", {}, {1: 1})
