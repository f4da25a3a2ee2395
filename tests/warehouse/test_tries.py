"""Refused work goes elsewhere, a bounded number of times; then a person is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from ordino.core.database import Database
from ordino.core.errors import Conflict, NotFound
from ordino.core.reactions import Task
from ordino.inventory.adjust import Count, Receipt, count, receive
from ordino.orders.allocate import allocate
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.exceptions import Resolve, exceptions, found, resolve
from ordino.orders.reactions import fill_backorders
from ordino.orders.sourcing_api import routes
from ordino.sourcing import versions
from ordino.warehouse.api import routes as warehouse_routes
from ordino.warehouse.model import Pick, PickLine, Rejected, Rejection
from ordino.warehouse.pick import pick
from ordino.warehouse.reject import reject
from ordino.warehouse.release import release
from steps import assert_clean, client, events, in_one, line, placed
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


async def refuse(database: Database, order_id: UUID, reason: str = "refused") -> int:
    """Release, refuse everything, and source again. Returns the location that refused."""
    await in_one(database, release, [order_id], AT)
    rows = await database.pool.fetch(
        "SELECT fulfillment_order_id, location_id FROM warehouse.fulfillment_orders WHERE order_id = $1 AND open > 0",
        order_id,
    )
    [row] = rows
    told = PickLine(line_no=1, short=2, short_reason=reason)
    item = Pick(order_id=order_id, fulfillment_order_id=row["fulfillment_order_id"], lines=[told])
    await in_one(database, pick, [item], AT)
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    location_id: int = row["location_id"]
    return location_id


@pytest.fixture
async def world(database: Database, request: pytest.FixtureRequest) -> World:
    prefix = request.node.name[5:20]
    found = await small_world(database, prefix=prefix, locations=4, skus=1)
    text = f"name: {prefix}\nfor: {{channels: [{found.channel}]}}\nstrategies: [{{name: s}}]\nmost_tries: 2\n"
    version = await database.transact(lambda tx: versions.draft(tx, text, at=AT))
    await database.transact(lambda tx: versions.activate(tx, version, at=AT))
    return found


async def given_up(database: Database, world: World) -> UUID:
    order_id = await placed(database, world.order("hopeless", 2), AT)
    assert await refuse(database, order_id) != await refuse(database, order_id)
    return order_id


async def test_after_so_many_tries_a_person_is_asked(database: Database, world: World) -> None:
    order_id = await given_up(database, world)
    counts = await line(database, order_id)
    assert (counts["tries"], counts["backordered"], counts["allocated"]) == (2, 2, 0)  # two other locations have it
    [open_] = [one for one in await database.read(exceptions) if one.order_id == order_id]
    assert (open_.kind, open_.line_no, open_.units, open_.sku) == ("not_sourced", 1, 2, world.sku)
    assert open_.detail.startswith("Fulfillment failed 2 times; not asked again: ")
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert len(await events(database, order_id, "sourcing_given_up")) == 1
    await assert_clean(database)


async def test_retrying_forgets_what_failed(database: Database, world: World) -> None:
    order_id = await given_up(database, world)
    [open_] = [one for one in await database.read(exceptions) if one.order_id == order_id]
    await database.transact(lambda tx: resolve(tx, open_.exception_id, Resolve(action="retry"), at=AT))
    queued = await database.pool.fetchval(
        "SELECT count(*) FROM core.reactions WHERE kind = 'source' AND subject_id = $1 AND data = '{}'", order_id
    )
    assert queued == 1
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {order_id: 2}
    again = await database.transact(lambda tx: resolve(tx, open_.exception_id, Resolve(action="retry"), at=AT))
    assert again.resolution == "retry"
    with pytest.raises(Conflict, match="its units are sourced again"):
        await database.transact(lambda tx: resolve(tx, open_.exception_id, Resolve(action="cancel"), at=AT))
    await assert_clean(database)


async def test_cancelling_cancels_what_waits(database: Database, world: World) -> None:
    order_id = await given_up(database, world)
    [open_] = [one for one in await database.read(exceptions) if one.order_id == order_id]
    wishes = [Resolve(action="cancel"), Resolve(action="cancel")]
    await asyncio.gather(
        *(database.transact(lambda tx, wish=wish: resolve(tx, open_.exception_id, wish, at=AT)) for wish in wishes)
    )
    counts = await line(database, order_id)
    assert (counts["cancelled"], counts["backordered"]) == (2, 0)
    await assert_clean(database)


async def test_damaged_units_count_as_a_try_though_the_location_may_be_asked_again(
    database: Database, world: World
) -> None:
    order_id = await placed(database, world.order("damaged", 2), AT)
    first, second = await refuse(database, order_id, "damaged"), await refuse(database, order_id, "damaged")
    assert first == second
    assert (await line(database, order_id))["tries"] == 2
    assert [one for one in await database.read(exceptions) if one.order_id == order_id]


async def test_what_is_sourced_again_is_asked_about_as_the_whole_order(database: Database, world: World) -> None:
    """Who ordered, and how much in all: conditions answer for the units that are left as they did for the order."""
    text = (
        f"name: whole\nfor: {{channels: [{world.channel}], order_types: [bulk]}}\nstrategies:\n"
        f"  - {{name: mine, when: 'customer.known && order.units == 5', fences: {{locations: [{world.locations[2]}]}}}}\n"
        f"  - {{name: others, fences: {{locations: [{world.locations[3]}]}}}}\n"
    )
    version = await database.transact(lambda tx: versions.draft(tx, text, at=AT))
    await database.transact(lambda tx: versions.activate(tx, version, at=AT))
    order = world.order("whole", 5, customer="c-1", type="bulk")
    order_id = await placed(database, order, AT)
    await in_one(database, release, [order_id], AT)
    rows = await database.pool.fetch("SELECT * FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id)
    told = PickLine(line_no=1, picked=3, short=2, short_reason="damaged")
    work = rows[0]["fulfillment_order_id"]
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[told])], AT)
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {order_id: 2}
    again = await database.pool.fetchval(
        "SELECT location_id FROM orders.allocations WHERE order_id = $1 AND quantity > 0", order_id
    )
    assert again == rows[0]["location_id"] == world.location_ids[world.locations[2]]


async def test_exceptions_over_http(database: Database, world: World) -> None:
    order_id = await given_up(database, world)
    async with client(database, routes) as http:
        found = (await http.get("/v1/exceptions")).json()["exceptions"]
        mine = next(one for one in found if one["order_id"] == str(order_id))
        path = f"/v1/exceptions/{mine['exception_id']}/resolution"
        wrong = await http.post(path, json={"action": "forget"})
        done = await http.post(path, json={"action": "close"})
        other = await http.post(path, json={"action": "cancel"})
        still = (await http.get("/v1/exceptions")).json()["exceptions"]
        every = (await http.get("/v1/exceptions?all=true")).json()["exceptions"]
    assert wrong.status_code == 400
    assert done.json()["resolution"] == "close"
    assert other.status_code == 409
    assert mine["exception_id"] not in {one["exception_id"] for one in still}
    assert mine["exception_id"] in {one["exception_id"] for one in every}
    with pytest.raises(NotFound):
        await database.transact(lambda tx: resolve(tx, order_id, Resolve(action="close"), at=AT))


async def test_a_location_gives_back_what_is_open_there(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("given back", 3), AT)
    await in_one(database, release, [order_id], AT)
    rows = await database.pool.fetch("SELECT * FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id)
    [here] = [code for code, id in world.location_ids.items() if id == rows[0]["location_id"]]
    one = PickLine(line_no=1, picked=1)
    work = rows[0]["fulfillment_order_id"]
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[one])], AT)
    mine = Rejection(order_id=order_id, location=here)
    outcomes = await in_one(
        database,
        reject,
        [
            Rejection(order_id=order_id, location=here, reason="bored"),
            mine,
            mine,
            Rejection(order_id=order_id, location="nowhere"),
            Rejection(order_id=work, location=here),
        ],
        AT,
    )
    assert [getattr(one, "reason", None) for one in outcomes] == [
        "unknown_reason",
        "repeated",
        "repeated",
        "unknown",
        "unknown",
    ]
    [done, again] = [(await in_one(database, reject, [mine], AT))[0] for _ in range(2)]
    assert done == Rejected(order_id, here, 2)
    assert getattr(again, "reason", None) == "done"
    counts = await line(database, order_id)
    assert (counts["picked"], counts["backordered"], counts["excluded_location_ids"]) == (
        1,
        2,
        [rows[0]["location_id"]],
    )
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert (await line(database, order_id))["allocated"] == 2
    await assert_clean(database)


async def test_reasons_are_the_retailers_own(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("own reason", 2), AT)
    async with client(database, [*routes, *warehouse_routes]) as http:
        mine = {"code": "overrun", "sentence": "Too busy.", "stock_effect": "none", "excludes_location": False}
        made = await http.put("/v1/short_reasons", json=mine)
        same = await http.put("/v1/short_reasons", json=[mine, {**mine, "stock_effect": "some"}])
        listed = (await http.get("/v1/short_reasons")).json()["short_reasons"]
        await http.post(f"/v1/orders/{order_id}/fulfillment_orders")
        location = (await http.get(f"/v1/orders/{order_id}/fulfillment_orders")).json()["fulfillment_orders"][0][
            "location"
        ]
        given = await http.post(f"/v1/orders/{order_id}/rejections", json={"location": location, "reason": "overrun"})
        twice = await http.post("/v1/rejections", json=[{"order_id": str(order_id), "location": location}])
    assert made.json() == {"outcome": "created", "code": "overrun"}
    assert [one["outcome"] for one in same.json()["outcomes"]] == ["unchanged", "refused"]
    assert mine in listed
    assert (given.status_code, given.json()["units"]) == (201, 2)
    assert twice.json()["outcomes"][0]["reason"] == "done"
    assert (await line(database, order_id))["excluded_location_ids"] == []  # as this reason says
    await database.pool.execute("DELETE FROM warehouse.short_reasons WHERE code = 'overrun'")
    await assert_clean(database)


async def test_refused_everywhere_a_person_is_asked_at_once(database: Database) -> None:
    world = await small_world(database, prefix="nowhere-", locations=1, skus=1)
    order_id = await placed(database, world.order("nowhere else", 2), AT)
    await refuse(database, order_id)
    [open_] = [one for one in await database.read(exceptions) if one.order_id == order_id]
    assert open_.detail == "Fulfillment failed once; not asked again: nowhere-loc-1."
    assert (await line(database, order_id))["backordered"] == 2


async def test_closed_is_closed_and_what_was_cancelled_needs_nobody(database: Database, world: World) -> None:
    closed, cancelled = await given_up(database, world), await placed(database, world.order("hopeless too", 2), AT)
    await refuse(database, cancelled), await refuse(database, cancelled)
    mine = {one.order_id: one for one in await database.read(exceptions) if one.order_id in (closed, cancelled)}
    await database.transact(lambda tx: resolve(tx, mine[closed].exception_id, Resolve(action="close"), at=AT))
    await in_one(database, cancel, [Cancellation(order_id=cancelled, all=True)], AT)
    await database.transact(lambda tx: allocate(tx, [closed], at=AT))
    assert not {one.order_id for one in await database.read(exceptions)} & {closed, cancelled}
    await assert_clean(database)


async def test_a_promise_that_later_supply_misses_is_told(database: Database) -> None:
    world = await small_world(database, prefix="missed-", locations=1, skus=1, stock=0)
    order = world.order("missed", 1, channel=world.channels["backorder"], promised_at=AT + timedelta(days=3))
    order_id = await placed(database, order, AT)
    assert not await events(database, order_id, "promise_endangered")
    came = AT + timedelta(days=9)
    await in_one(database, receive, [Receipt(sku=world.sku, location=world.location, quantity=1, reason="late")], came)
    await database.transact(lambda tx: allocate(tx, [order_id], at=came))
    [told] = await events(database, order_id, "promise_endangered")
    assert told["promised_at"] < told["arrives_at"]


async def test_a_location_that_reports_unit_by_unit_is_one_try(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("unit by unit", 3), AT)
    await in_one(database, release, [order_id], AT)
    work = await database.pool.fetchval(
        "SELECT fulfillment_order_id FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id
    )
    told = PickLine(line_no=1, short=1, short_reason="not_found")
    for _ in range(3):
        await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[told])], AT)
    assert (await line(database, order_id))["tries"] == 1
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {order_id: 3}


async def given_up_unfound(database: Database, world: World) -> tuple[UUID, list[int]]:
    """Nobody finds the units at two locations, one after the other; the order and the locations."""
    order_id = await placed(database, world.order("unfound", 2), AT)
    return order_id, [await refuse(database, order_id, "not_found") for _ in range(2)]


async def counted_up(database: Database, world: World, location_id: int) -> list[tuple[int, int]]:
    """A count finds more than there is; what the event says was found."""
    [place] = [code for code, id_ in world.location_ids.items() if id_ == location_id]
    more = Count(sku=world.sku, location=place, on_hand=150)
    await in_one(database, count, [more], AT)
    data = "SELECT data->>'found' FROM core.events WHERE kind = 'stock_received' AND data->'sku_ids' @> to_jsonb($1::int) AND data ? 'found'"
    positions = await database.pool.fetchval(data, world.sku_ids[world.sku])
    told = msgspec.json.decode(positions, type=list[tuple[int, int]])
    assert told == [(world.sku_ids[world.sku], location_id)]
    return told


async def test_units_that_are_found_again_are_held_against_nobody(database: Database, world: World) -> None:
    order_id, [first, second] = await given_up_unfound(database, world)
    assert [one.order_id for one in await database.read(exceptions) if one.order_id == order_id]
    there = await counted_up(database, world, first)
    await database.transact(lambda tx: found(tx, there, at=AT))
    counts = await line(database, order_id)
    assert (counts["tries"], counts["excluded_location_ids"]) == (1, [second])
    assert not [one for one in await database.read(exceptions) if one.order_id == order_id]
    [told] = await events(database, order_id, "exception_resolved")
    assert (told["action"], told["reason"]) == ("retry", "units_were_found")
    await database.transact(lambda tx: found(tx, there, at=AT))
    assert (await line(database, order_id))["tries"] == 1
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert (await line(database, order_id))["allocated"] == 2
    await assert_clean(database)


async def test_who_refused_the_work_stays_excluded_whatever_is_found(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("refused", 2), AT)
    places = [await refuse(database, order_id) for _ in range(2)]
    there = await counted_up(database, world, places[0])
    await database.transact(lambda tx: found(tx, there, at=AT))
    counts = await line(database, order_id)
    assert (counts["tries"], sorted(counts["excluded_location_ids"])) == (2, sorted(places))
    assert [one.order_id for one in await database.read(exceptions) if one.order_id == order_id]


async def test_found_units_reach_the_lines_that_wait_for_them(database: Database, world: World) -> None:
    order_id, [first, _] = await given_up_unfound(database, world)
    there = await counted_up(database, world, first)
    data = {"sku_ids": [there[0][0]], "found": there}
    task = Task(0, uuid4(), "fill_backorders", order_id, uuid4(), AT, data, 0)
    await database.transact(lambda tx: fill_backorders(tx, [task], AT))
    counts = await line(database, order_id)
    assert (counts["allocated"], counts["backordered"]) == (2, 0)
    await assert_clean(database)
