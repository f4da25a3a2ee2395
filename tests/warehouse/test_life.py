"""Release, pick, pack and ship: what each writes, that work is done once, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.core.database import Database
from ordino.warehouse.api import routes
from ordino.warehouse.model import (
    EXITS,
    NewPackage,
    Pack,
    Packed,
    PackLine,
    Pick,
    Picked,
    PickLine,
    Released,
    Ship,
    Shipped,
    Status,
    WorkRefusal,
    WorkRefused,
)
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_clean, client, events, in_one, line, packed, picked, placed, released, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(
        database,
        stock={("sku-1", "loc-1"): 1000, ("sku-2", "loc-1"): 1000, ("sku-3", "loc-1"): 3, ("sku-3", "loc-2"): 500},
    )


def reasons(outcomes: list[Any]) -> list[WorkRefusal | None]:
    return [getattr(outcome, "reason", None) for outcome in outcomes]


async def status(database: Database, fulfillment_order_id: UUID) -> str:
    return str(
        await database.pool.fetchval(
            "SELECT status FROM warehouse.fulfillment_orders WHERE fulfillment_order_id = $1", fulfillment_order_id
        )
    )


async def test_an_order_goes_through_the_warehouse(database: Database, world: World) -> None:
    before = await stock(database, world.sku_ids["sku-1"], world.location_ids["loc-1"])
    order = world.order("whole", {"sku-1": 2, "sku-2": 1}, shipping_minor=500)
    order_id, [fulfillment_order_id] = await released(database, order, AT)
    assert await status(database, fulfillment_order_id) == Status.RELEASED
    [done] = await in_one(
        database,
        pick,
        [Pick(order_id=order_id, fulfillment_order_id=fulfillment_order_id, labor_seconds=30, all=True)],
        AT,
    )
    assert sure(done, Picked) == Picked(order_id, fulfillment_order_id, 3, 0, Status.PICKED)
    [box] = await in_one(
        database, pack, [Pack(order_id=order_id, fulfillment_order_id=fulfillment_order_id, all=True)], AT
    )
    assert sure(box, Packed).status is Status.PACKED
    item = Ship(order_id=order_id, fulfillment_order_id=fulfillment_order_id, tracking_number="whole", all=True)
    [gone] = await in_one(database, ship, [item], AT)
    assert sure(gone, Shipped).status is Status.SHIPPED
    assert (gone.weight_grams, gone.cost_minor, gone.amount_minor) == (1500, 1000, 3500)
    on_hand, reserved, picked_units = await stock(database, world.sku_ids["sku-1"], world.location_ids["loc-1"])
    assert (on_hand, reserved, picked_units) == (before[0] - 2, before[1], before[2])
    assert (await line(database, order_id))["shipped"] == 2
    kinds = await database.pool.fetch("SELECT kind FROM core.events WHERE subject_id = $1 ORDER BY id", order_id)
    assert {row["kind"] for row in kinds} == {
        "order_placed",
        "order_released",
        "fulfillment_picked",
        "fulfillment_packed",
        "shipment_shipped",
    }
    [fact] = await events(database, order_id, "shipment_shipped")
    assert fact["lines"] == [{"line_no": 1, "quantity": 2}, {"line_no": 2, "quantity": 1}]
    await assert_clean(database)


async def test_each_location_gets_its_own_fulfillment_order(database: Database, world: World) -> None:
    order = world.order("split", {"sku-1": 1, "sku-3": 40})
    order_id, ids = await released(database, order, AT)
    places = await database.pool.fetch(
        "SELECT location_id, quantity FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id
    )
    assert len(ids) == len({row["location_id"] for row in places}) > 1
    assert sum(row["quantity"] for row in places) == 41


async def test_released_again_nothing_is_released(database: Database, world: World) -> None:
    """FUL-6."""
    order_id, ids = await released(database, world.order("again"), AT)
    outcomes = await in_one(database, release, [order_id, order_id], AT)
    assert outcomes == [Released(order_id, []), Released(order_id, [])]
    new = await placed(database, world.order("twice in a batch"), AT)
    first, second = await in_one(database, release, [new, new], AT)
    assert (len(first.fulfillment_order_ids), second.fulfillment_order_ids) == (1, [])
    [unknown] = await in_one(database, release, [uuid4()], AT)
    assert sure(unknown, WorkRefused).reason is WorkRefusal.UNKNOWN
    assert (
        await database.pool.fetchval(
            "SELECT count(*) FROM warehouse.fulfillment_orders WHERE order_id = any($1)", [order_id, new]
        )
        == len(ids) + 1
    )


async def test_repeated_work_does_not_double(database: Database, world: World) -> None:
    """FUL-6."""
    order_id, [id] = await released(database, world.order("repeats", 4), AT)
    part = Pick(order_id=order_id, fulfillment_order_id=id, lines=[PickLine(line_no=1, picked=2)])
    rest = Pick(order_id=order_id, fulfillment_order_id=id, all=True)
    outcomes = await in_one(database, pick, [part, part, rest, rest], AT)
    assert reasons(outcomes) == [None, WorkRefusal.REPEATED, None, WorkRefusal.REPEATED]
    assert reasons(await in_one(database, pick, [part, rest], AT)) == [WorkRefusal.DONE, WorkRefusal.DONE]
    box = Pack(order_id=order_id, fulfillment_order_id=id, all=True)
    assert reasons(await in_one(database, pack, [box, box], AT)) == [None, WorkRefusal.REPEATED]
    assert reasons(await in_one(database, pack, [box], AT)) == [WorkRefusal.DONE]
    out = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="repeats", all=True)
    assert reasons(await in_one(database, ship, [out, out], AT)) == [None, WorkRefusal.REPEATED]
    assert reasons(await in_one(database, ship, [out], AT)) == [WorkRefusal.DONE]
    assert (await line(database, order_id))["shipped"] == 4


async def test_what_cannot_be_picked_is_refused(database: Database, world: World) -> None:
    order_id, [id] = await released(database, world.order("bad picks", 3), AT)

    def bad(*lines: PickLine, order: UUID = order_id, fulfillment_order: UUID = id) -> Pick:
        return Pick(order_id=order, fulfillment_order_id=fulfillment_order, lines=list(lines))

    outcomes = await in_one(
        database,
        pick,
        [
            bad(PickLine(line_no=1, picked=1), order=uuid4()),
            bad(PickLine(line_no=1, picked=1), fulfillment_order=uuid4()),
            bad(PickLine(line_no=9, picked=1)),
            bad(PickLine(line_no=1, picked=1), PickLine(line_no=1, picked=1)),
            bad(PickLine(line_no=1, picked=-1)),
            bad(PickLine(line_no=1)),
            bad(PickLine(line_no=1, short=1, short_reason="bored")),
            bad(PickLine(line_no=1, short=1)),
            bad(PickLine(line_no=1, picked=3, short=1, short_reason="damaged")),
            bad(),
        ],
        AT,
    )
    assert reasons(outcomes) == [
        WorkRefusal.UNKNOWN,
        WorkRefusal.UNKNOWN,
        WorkRefusal.UNKNOWN,
        WorkRefusal.INVALID,
        WorkRefusal.INVALID,
        WorkRefusal.INVALID,
        WorkRefusal.UNKNOWN_REASON,
        WorkRefusal.UNKNOWN_REASON,
        WorkRefusal.TOO_MANY,
        WorkRefusal.INVALID,
    ]
    assert outcomes[2].pointer == "/lines/0/line_no"
    assert await status(database, id) == Status.RELEASED


async def test_what_cannot_be_packed_or_shipped_is_refused(database: Database, world: World) -> None:
    order_id, [id] = await picked(database, world.order("bad packs", 3), AT)

    def bad(*packages: NewPackage) -> Pack:
        return Pack(order_id=order_id, fulfillment_order_id=id, packages=list(packages))

    outcomes = await in_one(
        database,
        pack,
        [
            bad(NewPackage(lines=[PackLine(line_no=9, quantity=1)])),
            bad(NewPackage(lines=[PackLine(line_no=1, quantity=0)])),
            bad(
                NewPackage(lines=[PackLine(line_no=1, quantity=2)]), NewPackage(lines=[PackLine(line_no=1, quantity=2)])
            ),
            bad(NewPackage(all=True), NewPackage(all=True)),
            bad(NewPackage(weight_grams=-1, all=True)),
        ],
        AT,
    )
    assert reasons(outcomes) == [
        WorkRefusal.UNKNOWN,
        WorkRefusal.INVALID,
        WorkRefusal.TOO_MANY,
        WorkRefusal.INVALID,
        WorkRefusal.INVALID,
    ]
    out = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="bad ships", all=True)
    unknown = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="bad ships", package_ids=[uuid4()])
    assert reasons(await in_one(database, ship, [out, unknown], AT)) == [WorkRefusal.DONE, WorkRefusal.UNKNOWN]


async def test_packages_ship_one_by_one_and_charge_what_they_hold(database: Database, world: World) -> None:
    """FUL-4, and money: the shipments of an order together charge its total."""
    order = world.order("three boxes", 3, unit_price_minor=333, shipping_minor=500, tax_minor=1)
    order_id, [id] = await picked(database, order, AT)
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=1)], weight_grams=100) for _ in range(3)]
    [box] = await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=id, packages=boxes)], AT)
    package_ids = sure(box, Packed).package_ids
    items = [
        Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=f"box {n}", package_ids=[package_id])
        for n, package_id in enumerate(package_ids)
    ]
    [first] = await in_one(database, ship, items[:1], AT)
    assert sure(first, Shipped).status is Status.PACKED
    again = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="new", package_ids=package_ids[:1])
    outcomes = await in_one(database, ship, [again, items[1], items[2]], AT)
    assert reasons(outcomes) == [WorkRefusal.DONE, None, None]
    charged = [first.amount_minor, outcomes[1].amount_minor, outcomes[2].amount_minor]
    assert sum(charged) == order.total_minor
    assert charged[0] >= 500 + 333
    assert await status(database, id) == Status.SHIPPED
    await assert_clean(database)


async def test_two_orders_with_one_sku_ship_in_one_batch(database: Database, world: World) -> None:
    orders = [await packed(database, world.order(f"batch {n}", {"sku-1": 1, "sku-2": 2}), AT) for n in range(5)]
    items = [
        Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=f"batch {n}", all=True)
        for n, (order_id, [id]) in enumerate(orders)
    ]
    for outcome in await in_one(database, ship, items, AT):
        sure(outcome, Shipped)
    await assert_clean(database)


def test_every_status_has_its_exits() -> None:
    assert set(EXITS) == set(Status)
    assert {status for status, exits in EXITS.items() if not exits} == {
        Status.SHIPPED,
        Status.REJECTED,
        Status.CANCELLED,
    }


async def test_over_http(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("http", 2), AT)
    async with client(database, routes) as http:
        made = await http.post(f"/v1/orders/{order_id}/fulfillment_orders")
        assert made.status_code == 200
        [id] = made.json()["fulfillment_order_ids"]
        queue: list[str] = []
        after: str | None = None
        while True:
            parameters = {"limit": "2", "status": "released"} | ({"after": after} if after else {})
            page = (await http.get("/v1/locations/loc-1/fulfillment_orders", params=parameters)).json()
            queue += [item["fulfillment_order_id"] for item in page["fulfillment_orders"]]
            after = page["next"]
            if after is None:
                break
        assert id in queue
        assert len(set(queue)) == len(queue)
        assert (await http.get("/v1/locations/nowhere/fulfillment_orders")).status_code == 404
        where = f"/v1/orders/{order_id}/fulfillment_orders/{id}"
        headers = {"Idempotency-Key": uuid4().hex}
        assert (await http.post(f"{where}/picks", headers=headers, json={"all": True})).status_code == 201
        assert (await http.post(f"{where}/picks", headers=headers, json={"all": True})).json()["picked"] == 2
        refused = await http.post(f"{where}/picks", json={"all": True})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:ordino:problem:done")
        several = {"packs": [{"order_id": str(order_id), "fulfillment_order_id": id, "all": True}]}
        outcomes = (await http.post("/v1/packages", json=several)).json()["outcomes"]
        assert outcomes[0]["outcome"] == "packed"
        assert (await http.post(f"{where}/shipments", json={})).status_code == 400
        assert (await http.post(f"{where}/shipments", json={"tracking_number": "http", "all": True})).status_code == 201
        view = (await http.get(where)).json()
        assert (view["status"], view["location"], len(view["packages"])) == ("shipped", "loc-1", 1)
        assert view["shipments"][0]["tracking_number"] == "http"
        everything = (await http.get(f"/v1/orders/{order_id}/fulfillment_orders")).json()
        assert len(everything["fulfillment_orders"]) == 1
        assert (await http.get(f"/v1/orders/{order_id}/fulfillment_orders/{uuid4()}")).status_code == 404
        codes = [reason["code"] for reason in (await http.get("/v1/short_reasons")).json()["short_reasons"]]
        assert codes == ["damaged", "expired", "none_left", "not_found", "refused"]
