"""Promises: what is told, from what, and that placement keeps it. Worked by hand on a Monday noon in Columbus."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ordino.core.database import Database
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.network.closures import Closure, upsert_closures
from ordino.network.model import CarrierService, Rate, Zone
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_carrier_services, upsert_locations
from ordino.orders.allocate import allocate
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseLine, PromiseRefused, PromiseRequest, promise
from ordino.sourcing import versions
from steps import assert_clean, events, in_one
from world import PLACES, World, small_world, sure

MONDAY = datetime(2027, 3, 1, 17, 0, tzinfo=UTC)  # 12:00 in New York, where the locations' clocks are


def express(world: World) -> CarrierService:
    zone = Zone(zone="1", up_to_km=5000, transit_days=1, rates=[Rate(up_to_grams=30_000, cost_minor=3000)])
    return CarrierService(
        code="x-" + world.service,
        carrier="C",
        name="Express",
        currency="USD",
        max_grams=30_000,
        level="express",
        zones=[zone],
    )


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    stock = {
        ("p-sku-1", "p-loc-1"): 10,
        ("p-sku-1", "p-loc-5"): 10,
        ("p-sku-2", "p-loc-5"): 3,
        ("p-sku-3", "p-loc-1"): 1,
    }
    found = await small_world(database, prefix="p-", locations=5, skus=4, stock=stock)
    sure(await in_one(database, upsert_carrier_services, [express(found)], MONDAY))
    return found


async def change(database: Database, code: str, **changes: Any) -> None:
    [location] = await database.read(lambda tx: read_locations(tx, [code]))
    sure(await in_one(database, upsert_locations, [msgspec.structs.replace(location, **changes)], MONDAY))


def cart(world: World, *lines: tuple[str, int], **more: Any) -> PromiseRequest:
    fields = {"channel": world.channel, "country": "US", "postal_code": PLACES[0][0]} | more
    return PromiseRequest(lines=[PromiseLine(sku=sku, quantity=units) for sku, units in lines], **fields)


async def ask(database: Database, *asked: PromiseRequest, at: datetime = MONDAY) -> list[Promise]:
    answers = await database.read(lambda tx: promise(tx, asked, at=at))
    assert all(isinstance(answer, Promise) for answer in answers), answers
    return answers  # type: ignore[return-value]


async def test_every_level_is_an_option_the_soonest_first(database: Database, world: World) -> None:
    [found] = await ask(database, cart(world, ("p-sku-1", 2)))
    assert {option.service_level for option in found.delivery} == {"standard", "express"}
    assert [o.promised_at for o in found.delivery] == sorted(o.promised_at for o in found.delivery)
    standard = next(o for o in found.delivery if o.service_level == "standard")
    [leg] = standard.legs
    assert (leg.location, leg.units, standard.source, standard.confidence, standard.packages) == (
        "p-loc-1",
        2,
        "stock",
        "high",
        1,
    )
    # no processing: it leaves on the day of the cut-off by which it has to be ordered, 14:00, until 20:00
    assert standard.order_by_at == leg.ship_by_at - timedelta(hours=6)
    assert standard.promised_at == leg.arrives_at
    [only] = (await ask(database, cart(world, ("p-sku-1", 2), service_level="express")))[0].delivery
    assert only.service_level == "express"


async def test_the_date_moves_with_the_cut_off_and_the_weekend(database: Database, world: World) -> None:
    asked = cart(world, ("p-sku-1", 1), service_level="express")
    [before], [after] = [
        (await ask(database, asked, at=at))[0].delivery for at in (MONDAY, MONDAY + timedelta(days=4, hours=12))
    ]
    assert before.promised_on.isoformat() == "2027-03-02"  # leaves Monday, arrives Tuesday
    assert after.promised_on.isoformat() == "2027-03-09"  # late on Friday: leaves Monday, arrives Tuesday


async def test_processing_and_backlog_move_the_date(database: Database, world: World) -> None:
    asked = cart(world, ("p-sku-3", 1), service_level="express")
    await change(database, "p-loc-1", processing_days=2)
    [option] = (await ask(database, asked))[0].delivery
    assert option.promised_on.isoformat() == "2027-03-04"  # leaves Wednesday
    assert option.order_by_at < option.legs[0].ship_by_at
    await change(database, "p-loc-1", processing_days=0)


async def test_the_last_units_and_a_split_lower_the_confidence(database: Database, world: World) -> None:
    last, split = await ask(
        database,
        cart(world, ("p-sku-3", 1), service_level="standard"),
        cart(world, ("p-sku-3", 1), ("p-sku-2", 1), service_level="standard"),
    )
    assert last.delivery[0].confidence == "medium"
    assert (len(split.delivery[0].legs), split.delivery[0].confidence) == (2, "medium")


async def test_what_is_not_there_is_promised_from_supply_that_comes(database: Database, world: World) -> None:
    coming = Incoming(
        sku="p-sku-4",
        location="p-loc-1",
        quantity=5,
        expected_at=MONDAY + timedelta(days=9),
        document="PO-1",
    )
    await in_one(database, upsert_incoming, [coming], MONDAY)
    channel = world.channels["backorder"]
    found, refusing = await ask(
        database,
        cart(world, ("p-sku-4", 2), service_level="express", channel=channel),
        cart(world, ("p-sku-4", 2), service_level="express"),  # its channel lets nobody wait
    )
    assert not refusing.delivery
    [option] = found.delivery
    assert (option.source, option.confidence) == ("incoming", "low")
    assert (
        option.promised_on.isoformat() == "2027-03-11"
    )  # comes Wednesday the 10th at noon, leaves, arrives on Thursday
    waits = world.order("waits", {"p-sku-4": 4}, channel=channel)
    [placed] = await in_one(database, place, [waits], MONDAY)
    assert isinstance(placed, Placed)
    [none] = await ask(database, cart(world, ("p-sku-4", 2), channel=channel))  # 4 of the 5 are waited for
    assert not none.delivery
    assert none.detail is not None
    [one] = await ask(database, cart(world, ("p-sku-4", 1), channel=channel))
    assert one.delivery[0].source == "incoming"
    mine = world.order(
        "waits too", {"p-sku-4": 1}, channel=channel,
        service_level=one.delivery[0].service_level, promised_at=one.delivery[0].promised_at,
    )  # fmt: skip
    [promised] = await in_one(database, place, [mine], MONDAY)
    assert isinstance(promised, Placed)
    assert promised.promised_at == one.delivery[0].promised_at
    came = coming.expected_at
    await in_one(database, receive, [Receipt(sku="p-sku-4", location="p-loc-1", quantity=5, document="PO-1")], came)
    await database.transact(lambda tx: allocate(tx, [placed.order_id, promised.order_id], at=came))
    arrives = await database.pool.fetchval(
        "SELECT promised_at FROM orders.allocations WHERE order_id = $1", promised.order_id
    )
    assert arrives == one.delivery[0].promised_at
    assert not await events(database, promised.order_id, "promise_endangered")


async def test_stores_are_told_nearest_first_with_the_hour(database: Database, world: World) -> None:
    for code in ("p-loc-1", "p-loc-5"):
        await change(database, code, pickup=True, pickup_ready_minutes=60)
    [found] = await ask(database, cart(world, ("p-sku-1", 1), pickups=5))
    assert [store.location for store in found.pickup] == ["p-loc-5", "p-loc-1"] or [
        store.location for store in found.pickup
    ] == ["p-loc-1", "p-loc-5"]
    assert [s.distance_km for s in found.pickup] == sorted(s.distance_km or 0 for s in found.pickup)
    assert all(MONDAY < store.ready_at < MONDAY + timedelta(days=2) for store in found.pickup)
    [both] = await ask(database, cart(world, ("p-sku-1", 1), ("p-sku-2", 1), pickups=5))
    assert [store.location for store in both.pickup] == ["p-loc-5"]
    shut = Closure(code="p-shut", location="p-loc-5", reason="stock take", ends_at=MONDAY + timedelta(days=1))
    sure(await in_one(database, upsert_closures, [shut], MONDAY - timedelta(hours=1)))
    [closed] = await ask(database, cart(world, ("p-sku-1", 1), ("p-sku-2", 1), pickups=5))
    assert not closed.pickup
    await database.pool.execute("DELETE FROM network.closures WHERE code = 'p-shut'")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")


async def test_questions_that_make_no_sense_are_refused_each_by_itself(database: Database, world: World) -> None:
    asked = [
        cart(world, ("p-sku-1", 1), channel="nope"),
        cart(world, ("p-sku-1", 1), ("nope", 1)),
        cart(world, ("p-sku-1", 1), service_level="drone"),
        cart(world, ("p-sku-1", 1)),
    ]
    answers = await database.read(lambda tx: promise(tx, asked, at=MONDAY))
    assert [a.pointer for a in answers if isinstance(a, PromiseRefused)] == [
        "/channel",
        "/lines/1/sku",
        "/service_level",
    ]
    assert isinstance(answers[3], Promise)


async def test_placement_keeps_what_was_promised(database: Database) -> None:
    world = await small_world(database, prefix="k-", locations=6, skus=6, stock=200)
    dice = random.Random(7)
    asked = [
        cart(
            world,
            *[(sku, dice.randint(1, 3)) for sku in dice.sample(world.skus, 2)],
            postal_code=dice.choice(PLACES)[0],
        )
        for _ in range(60)
    ]
    told = await ask(database, *asked)
    chosen = [dice.choice(found.delivery) for found in told]
    orders = [
        world.order(
            f"kept-{n}", {line.sku: line.quantity for line in one.lines}, postal_code=one.postal_code,
            service_level=option.service_level, promised_at=option.promised_at,
        )
        for n, (one, option) in enumerate(zip(asked, chosen, strict=True))
    ]  # fmt: skip
    for order, option in zip(await in_one(database, place, orders, MONDAY), chosen, strict=True):
        assert isinstance(order, Placed)
        assert order.promised_at == option.promised_at
        assert not await events(database, order.order_id, "promise_endangered")
    late = await database.pool.fetchval(
        "SELECT count(*) FROM orders.allocations a JOIN orders.orders o USING (order_id)"
        " WHERE a.promised_at > o.promised_at AND o.external_id LIKE 'kept-%'"
    )
    assert late == 0
    await assert_clean(database)


async def test_a_promise_is_asked_as_the_order_will_be(database: Database) -> None:
    world = await small_world(database, prefix="pt-", locations=5, skus=1, stock=9)
    text = (
        f"name: pt\nfor: {{channels: [{world.channel}]}}\nstrategies:\n"
        "  - {name: dear, when: 'order.total_minor >= 5000 && customer.known', fences: {locations: [pt-loc-5]}}\n"
        "  - {name: others, fences: {locations: [pt-loc-1]}}\n"
    )
    version = await database.transact(lambda tx: versions.draft(tx, text, at=MONDAY))
    await database.transact(lambda tx: versions.activate(tx, version, at=MONDAY))
    line = PromiseLine(sku="pt-sku-1", quantity=2, unit_price_minor=2500)
    fields = {"channel": world.channel, "country": "US", "postal_code": PLACES[0][0], "lines": [line]}
    known, unknown = await ask(database, PromiseRequest(customer="c-1", **fields), PromiseRequest(**fields))
    assert [found.delivery[0].legs[0].location for found in (known, unknown)] == ["pt-loc-5", "pt-loc-1"]
