"""Where returns go: each unit back to where it was shipped from, or where the request says; stock is where units really arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from ordino.aftercare.api import routes
from ordino.aftercare.model import (
    Authorized,
    Received,
    ReceivedLine,
    ReturnCancelled,
    ReturnReceipt,
    ReturnRefusal,
    ReturnRefused,
)
from ordino.aftercare.returns import authorize, cancel, receive, returns_of
from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.inventory.adjust import Moved, Receipt
from ordino.inventory.adjust import receive as receive_stock
from ordino.network.closures import Closure, upsert_closures
from ordino.tracking.model import Kind, Recorded, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Packed, Pick, Picked, PickLine, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship
from sending_back import called_off, came, wanted
from steps import assert_clean, client, delivered, events, in_one, line, react, released, shipped, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    """SKU 1 lies at the first location only, SKU 2 at the second only, of SKU 3 three at the first and two at the second."""
    prefix = f"{uuid4().hex[:8]}-"
    sku, loc = [f"{prefix}sku-{n}" for n in (1, 2, 3)], [f"{prefix}loc-{n}" for n in (1, 2, 3)]
    there = {(sku[0], loc[0]): 9, (sku[1], loc[1]): 9, (sku[2], loc[0]): 3, (sku[2], loc[1]): 2}
    return await small_world(database, prefix=prefix, skus=3, locations=3, stock=there)


async def on_hand(database: Database, world: World, sku: int) -> dict[str, int]:
    """Location -> units, where there is a position."""
    rows = await database.pool.fetch(
        "SELECT location_id, on_hand FROM inventory.stock WHERE sku_id = $1", world.sku_ids[world.skus[sku]]
    )
    codes = {location_id: code for code, location_id in world.location_ids.items()}
    return {codes[row["location_id"]]: row["on_hand"] for row in rows}


async def switched_off(database: Database, world: World, location: str) -> None:
    await database.pool.execute(
        "UPDATE network.locations SET active = false WHERE location_id = $1", world.location_ids[location]
    )
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")


async def test_each_line_goes_back_to_where_its_units_were_shipped_from(database: Database, world: World) -> None:
    here, there, _ = world.locations
    order_id, _ = await delivered(database, world.order("two places", {world.skus[0]: 2, world.skus[1]: 2}), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 2), (2, 1))], AT)
    assert sure(allowed, Authorized).location is None
    assert [(part.line_no, part.location, part.quantity) for part in allowed.lines] == [(1, here, 2), (2, there, 1)]
    both = [ReceivedLine(line_no=1, restocked=2), ReceivedLine(line_no=2, restocked=1)]
    receipt = ReturnReceipt(order_id=order_id, return_id=allowed.return_id, lines=both)
    sure((await in_one(database, receive, [receipt], AT))[0], Received)
    assert (await on_hand(database, world, 0), await on_hand(database, world, 1)) == ({here: 9}, {there: 8})
    [said] = await events(database, order_id, "return_authorized")
    assert [part["location"] for part in said["lines"]] == [here, there]
    [said] = await events(database, order_id, "return_received")
    assert [part["location"] for part in said["lines"]] == [here, there]
    [shown] = (await database.read(lambda tx: returns_of(tx, order_id))).returns
    assert shown.location is None
    assert [(part.location, part.restocked, part.received_at) for part in shown.lines] == [
        (here, 2, AT),
        (there, 1, AT),
    ]
    await assert_clean(database)


async def test_units_of_one_line_go_back_to_each_place_that_shipped_some(database: Database, world: World) -> None:
    here, there, _ = world.locations
    order_id, _ = await delivered(database, world.order("split", {world.skus[2]: 5}), AT)
    first, second, third = [
        (await in_one(database, authorize, [wanted(order_id, (1, units))], AT))[0] for units in (2, 1, 2)
    ]
    places = [[(part.location, part.quantity) for part in one.lines] for one in (first, second, third)]
    assert places == [[(here, 2)], [(there, 1)], [(here, 1), (there, 1)]]
    unclear = sure((await in_one(database, receive, [came(third, 1, 2)], AT))[0], ReturnRefused)
    assert (unclear.reason, unclear.pointer) == (ReturnRefusal.INVALID, "/location")
    assert here in unclear.detail
    assert there in unclear.detail
    receipts = [came(first, 1, 2), came(second, 1, 1), came(third, 1, 1, location=here), came(third, 1, 0, 1)]
    for outcome in await in_one(database, receive, receipts, AT):
        sure(outcome, Received)
    assert await on_hand(database, world, 2) == {here: 3, there: 1}
    assert (await line(database, order_id))["returned"] == 5
    await assert_clean(database)


async def test_a_request_may_name_the_location(database: Database, world: World) -> None:
    elsewhere = world.locations[2]
    order_id, _ = await delivered(database, world.order("named", {world.skus[0]: 1, world.skus[1]: 1}), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 1), (2, 1), location=elsewhere)], AT)
    assert (allowed.location, {part.location for part in allowed.lines}) == (elsewhere, {elsewhere})
    for outcome in await in_one(database, receive, [came(allowed, 1, 1), came(allowed, 2, 1)], AT):
        sure(outcome, Received)
    assert (await on_hand(database, world, 0))[elsewhere] == 1
    await assert_clean(database)


async def test_stock_is_booked_where_units_really_arrived(database: Database, world: World) -> None:
    here, _, elsewhere = world.locations
    order_id, _ = await delivered(database, world.order("astray", {world.skus[0]: 3}), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 3))], AT)
    nowhere, done = await in_one(
        database, receive, [came(allowed, 1, 1, location="nowhere"), came(allowed, 1, 2, 1, location=elsewhere)], AT
    )
    assert (nowhere.reason, nowhere.pointer) == (ReturnRefusal.UNKNOWN, "/location")
    sure(done, Received)
    assert await on_hand(database, world, 0) == {here: 6, elsewhere: 2}
    [said] = await events(database, order_id, "return_received")
    assert said["lines"][0]["location"] == elsewhere
    await assert_clean(database)


async def test_nothing_is_sent_to_a_location_that_is_switched_off(database: Database, world: World) -> None:
    here, _, elsewhere = world.locations
    order_id, _ = await delivered(database, world.order("gone", {world.skus[0]: 2}), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 1))], AT)
    await switched_off(database, world, here)
    by_itself, by_name, fine = await in_one(
        database,
        authorize,
        [
            wanted(order_id, (1, 1)),
            wanted(order_id, (1, 1), location=here),
            wanted(order_id, (1, 1), location=elsewhere),
        ],
        AT,
    )
    assert (by_itself.reason, by_itself.pointer) == (ReturnRefusal.CLOSED, "/lines/0")
    assert "name another `location`" in by_itself.detail
    assert (by_name.reason, by_name.pointer) == (ReturnRefusal.CLOSED, "/location")
    assert sure(fine, Authorized).location == elsewhere
    sure(
        (await in_one(database, receive, [came(allowed, 1, 1)], AT))[0], Received
    )  # what arrived is there all the same
    assert await on_hand(database, world, 0) == {here: 8}
    await assert_clean(database)


async def test_a_closed_location_takes_returns(database: Database, world: World) -> None:
    here = world.location
    order_id, _ = await delivered(database, world.order("closed", {world.skus[0]: 1}), AT)
    closure = Closure(code=f"{here}-closed", location=here, reason="stocktaking")
    await in_one(database, upsert_closures, [closure], AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 1))], AT)
    assert sure(allowed, Authorized).location == here
    sure((await in_one(database, receive, [came(allowed, 1, 1)], AT))[0], Received)
    assert await on_hand(database, world, 0) == {here: 9}


async def test_the_return_window_counts_from_the_last_delivery_of_the_order(database: Database, world: World) -> None:
    order_id, parcels = await shipped(database, world.order("parcels", {world.skus[0]: 1, world.skus[1]: 1}), AT)
    days = await database.pool.fetchval("SELECT max(return_window_days) FROM catalog.sellers")
    for parcel, at in zip(parcels, (AT, AT + timedelta(days=5)), strict=True):
        said = TrackingEvent(tracking_number=parcel.tracking_number, kind=Kind.DELIVERED, at=at)
        await in_one(database, take_events, [said], at)
    in_time, too_late = AT + timedelta(days=days + 5), AT + timedelta(days=days + 5, seconds=1)
    [late] = await in_one(database, authorize, [wanted(order_id, (1, 1), (2, 1))], too_late)
    assert sure(late, ReturnRefused).reason is ReturnRefusal.TOO_LATE
    sure((await in_one(database, authorize, [wanted(order_id, (1, 1), (2, 1))], in_time))[0], Authorized)


async def test_a_serial_number_comes_back_with_the_line_that_it_left_with(database: Database, world: World) -> None:
    numbered = f"{world.sku}-numbered"
    goods = Sku(code=numbered, name=numbered, weight_grams=1, tracking="serial")
    await in_one(database, upsert_skus, [goods], AT)
    units = Receipt(sku=numbered, location=world.location, quantity=2, serials=["A", "B"])
    sure((await in_one(database, receive_stock, [units], AT))[0], Moved)
    order = world.order("twice", {numbered: 2})
    order = structs.replace(order, lines=[structs.replace(order.lines[0], quantity=1)] * 2)
    order_id, [work] = await released(database, order, AT)
    named = [PickLine(line_no=1, picked=1, serials=["A"]), PickLine(line_no=2, picked=1, serials=["B"])]
    work_on = {"order_id": order_id, "fulfillment_order_id": work}
    sure((await in_one(database, pick, [Pick(**work_on, lines=named)], AT))[0], Picked)
    sure((await in_one(database, pack, [Pack(**work_on, all=True)], AT))[0], Packed)
    sure((await in_one(database, ship, [Ship(**work_on, tracking_number=work.hex, all=True)], AT))[0], Shipped)
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    said = TrackingEvent(tracking_number=work.hex, kind=Kind.DELIVERED, at=AT)
    sure((await in_one(database, take_events, [said], AT))[0], Recorded)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 1), (2, 1))], AT)
    wrong, right = await in_one(
        database,
        receive,
        [came(allowed, 1, 1, serials=["B"]), came(allowed, 1, 1, serials=["A"])],
        AT,
    )
    assert (wrong.reason, wrong.pointer) == (ReturnRefusal.UNKNOWN, "/lines/0/serials")
    sure(right, Received)
    await assert_clean(database)


async def test_over_http_a_receipt_says_where(database: Database, world: World) -> None:
    now = datetime.now(UTC)
    order_id, _ = await delivered(database, world.order("http", {world.skus[0]: 2}), now)
    async with client(database, routes) as http:
        body = {"lines": [{"line_no": 1, "quantity": 2, "reason": "unwanted"}]}
        made = (await http.post(f"/v1/orders/{order_id}/returns", json=body)).json()
        assert made["lines"][0]["location"] == made["location"] == world.location
        where = f"/v1/orders/{order_id}/returns/{UUID(made['return_id'])}/receipts"
        one = {"lines": [{"line_no": 1, "restocked": 1}]}
        assert (await http.post(where, json={**one, "location": "nowhere"})).status_code == 404
        assert (await http.post(where, json={**one, "location": world.locations[1]})).status_code == 201
        more = await http.post(where, json={"lines": [{"line_no": 1, "restocked": 2}]})
        assert (more.status_code, more.json()["type"]) == (409, "urn:ordino:problem:too_many")
        assert "authorize the others first" in more.json()["detail"]
    assert (await stock(database, world.sku_ids[world.sku], world.location_ids[world.locations[1]]))[0] == 1


async def test_a_return_of_the_version_before_goes_where_its_return_goes(database: Database, world: World) -> None:
    """Its lines name no location of their own, and are received, cancelled and shown like others."""
    order_id, _ = await delivered(database, world.order("before", {world.skus[0]: 3}), AT)
    allowed = Authorized(order_id, uuid4(), None, [])
    there = world.locations[1]
    await database.pool.execute(
        "INSERT INTO aftercare.returns (order_id, return_id, location_id, authorized_at) VALUES ($1, $2, $3, $4)",
        order_id,
        allowed.return_id,
        world.location_ids[there],
        AT,
    )
    await database.pool.execute(
        "INSERT INTO aftercare.return_lines (order_id, return_id, line_no, sku_id, reason, authorized)"
        " VALUES ($1, $2, 1, $3, 'unwanted', 3)",
        order_id,
        allowed.return_id,
        world.sku_ids[world.sku],
    )
    sure((await in_one(database, receive, [came(allowed, 1, 1)], AT))[0], Received)
    sure((await in_one(database, cancel, [called_off(allowed, (1, 1))], AT))[0], ReturnCancelled)
    [shown] = (await database.read(lambda tx: returns_of(tx, order_id))).returns
    assert shown.location == there
    assert [(part.authorized, part.restocked, part.cancelled) for part in shown.lines] == [(3, 1, 1)]
    assert (await on_hand(database, world, 0))[there] == 1
    await assert_clean(database)
