"""Components of kits come back singly: each once, worth its share of the kit, and a kit is returned when all of them are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest

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
from ordino.aftercare.received_back.model import Next, ParcelReceipt, ReceivedBack
from ordino.aftercare.received_back.receive import receive_back
from ordino.aftercare.returns import authorize, cancel, receive, returns_of
from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import Database
from ordino.core.upserts import Created, Updated
from ordino.inventory.adjust import Moved, Receipt
from ordino.inventory.adjust import receive as receive_stock
from ordino.orders.cancel import Cancellation, Cancelled
from ordino.orders.cancel import cancel as cancel_order
from ordino.orders.reactions import settle_lost
from ordino.tracking.model import Kind, Recorded, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import NewPackage, Pack, Packed, PackLine, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.ship import ship
from sending_back import called_off, came, return_rows, wanted
from steps import assert_clean, client, delivered, events, in_one, line, picked, react, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    """SKU 1 is a kit of one SKU 2 and two SKU 3, which lie at the first location; SKU 4 is by itself."""
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=4, locations=2, stock={})
    await made_of(database, world, (1, 1), (2, 2))
    for sku, units in ((1, 10), (2, 20), (3, 10)):
        one = Receipt(sku=world.skus[sku], location=world.location, quantity=units)
        sure((await in_one(database, receive_stock, [one], AT))[0], Moved)
    return world


async def made_of(database: Database, world: World, *parts: tuple[int, int]) -> None:
    """The first SKU becomes a kit of (SKU number, units)."""
    kit = Kit(sku=world.sku, components=[Component(sku=world.skus[sku], quantity=units) for sku, units in parts])
    assert isinstance((await in_one(database, upsert_kits, [kit], AT))[0], Created | Updated)


async def on_hand(database: Database, world: World, *skus: int) -> list[int]:
    here = world.location_ids[world.location]
    return [(await stock(database, world.sku_ids[world.skus[sku]], here))[0] for sku in skus]


async def allowed_for(database: Database, order_id: UUID, *lines: Any) -> Authorized:
    return sure((await in_one(database, authorize, [wanted(order_id, *lines)], AT))[0], Authorized)


async def test_a_kit_is_returned_when_all_its_components_are_back(database: Database, world: World) -> None:
    """RET-2, RET-3."""
    one, two = world.skus[1], world.skus[2]
    order_id, _ = await delivered(database, world.order("piece by piece", 2), AT)
    allowed = await allowed_for(database, order_id, (1, 1, one), (1, 2, two))
    steps = [(one, 1, 0, "delivered", 0), (two, 1, 0, "delivered", 0), (two, 0, 1, "delivered", 1)]
    for component, restocked, scrapped, status, returned in steps:
        [done] = await in_one(database, receive, [came(allowed, 1, restocked, scrapped, component=component)], AT)
        assert sure(done, Received).status == status
        assert (await line(database, order_id))["returned"] == returned
        await assert_clean(database)
    assert await on_hand(database, world, 1, 2) == [9, 17]
    [kit] = (await database.read(lambda tx: returns_of(tx, order_id))).kits
    assert (kit.line_no, kit.sku, kit.returned) == (1, world.sku, 1)
    assert [(part.component, part.per_kit, part.received, part.expected) for part in kit.components] == [
        (one, 1, 1, 0),
        (two, 2, 2, 0),
    ]


async def test_a_line_says_how_many_components_are_back(database: Database, world: World) -> None:
    one, two = world.skus[1], world.skus[2]
    order_id, _ = await delivered(database, world.order("so far", 3), AT)
    allowed = await allowed_for(database, order_id, (1, 1), (1, 2, two))
    await in_one(database, receive, [came(allowed, 1, 1, component=two)], AT)
    [kit] = (await database.read(lambda tx: returns_of(tx, order_id))).kits
    assert kit.returned == 0
    assert [(part.component, part.received, part.expected) for part in kit.components] == [(one, 0, 1), (two, 1, 3)]


@pytest.mark.parametrize("order", sorted(set(permutations((1, 1, 2, 2, 2, 2)))), ids=str)
async def test_components_are_worth_exactly_the_kit_whatever_the_order(
    database: Database, world: World, order: tuple[int, ...]
) -> None:
    """RET-4: two kits at 3.34 and a cent of tax in all; six units of components."""
    bought = world.order("".join(map(str, order)), 2, unit_price_minor=334, tax_minor=1)
    order_id, _ = await delivered(database, bought, AT)
    allowed = await allowed_for(database, order_id, (1, 2, world.skus[1]), (1, 4, world.skus[2]))
    refunds = []
    for number, component in enumerate(order):
        receipt = came(allowed, 1, 1 - number % 2, number % 2, component=world.skus[component])
        refunds.append(sure((await in_one(database, receive, [receipt], AT))[0], Received).refund_minor)
    assert sum(refunds) == 669
    assert set(refunds) == {111, 112}
    assert [said["refund_minor"] for said in await events(database, order_id, "return_received")] == refunds
    assert (await line(database, order_id))["returned"] == 2


async def test_a_refund_follows_each_component_and_the_rest_follows_the_kit(database: Database, world: World) -> None:
    await assert_clean(database)
    order_id, _ = await delivered(database, world.order("mixed", 3, unit_price_minor=1000), AT)
    allowed = await allowed_for(database, order_id, (1, 1), (1, 1, world.skus[1]), (1, 4, world.skus[2]))
    receipts = [
        came(allowed, 1, 1, component=world.skus[1]),
        came(allowed, 1, 1),
        came(allowed, 1, 3, 1, component=world.skus[2]),
    ]
    done = await in_one(database, receive, receipts, AT)
    assert [sure(one, Received).refund_minor for one in done] == [333, 1000, 1333]
    rows = await return_rows(database, order_id)
    assert sorted(row["refund_minor"] for row in rows) == [333, 1000, 1333]
    assert (await line(database, order_id))["returned"] == 2
    await assert_clean(database)


@pytest.mark.parametrize("after", ["lost", "received back", "sent again and cancelled"])
async def test_a_kit_that_never_arrived_is_refunded_whole_after_components_of_another(
    database: Database, world: World, after: str
) -> None:
    """MON-9: of two kits for 300 each, one is delivered and two of its three parts come back (200); the other is worth 300."""
    order_id, [first, second] = await in_two_parcels(database, world)
    await hear(database, first, Kind.DELIVERED)
    allowed = await allowed_for(database, order_id, (1, 2, world.skus[2]), (1, 1, world.skus[1]))
    parts = came(allowed, 1, 2, component=world.skus[2])
    assert sure((await in_one(database, receive, [parts], AT))[0], Received).refund_minor == 200
    await assert_clean(database)
    if after == "lost":
        await hear(database, second, Kind.LOST)
        await react(database, settle_lost, order_id, "shipment_lost", AT)
        [settled] = await events(database, order_id, "lost_settled")
        assert settled["refund_minor"] == 300
    else:
        then = Next.REFUND if after == "received back" else Next.SEND_AGAIN
        whole = ParcelReceipt(order_id=order_id, shipment_id=second.shipment_id, all=True, then=then)
        [back] = await in_one(database, receive_back, [whole], AT)
        assert sure(back, ReceivedBack).refund_minor == (300 if then is Next.REFUND else 0)
        if then is Next.SEND_AGAIN:
            [off] = await in_one(database, cancel_order, [Cancellation(order_id=order_id, all=True)], AT)
            assert sure(off, Cancelled).refund_minor == 300
    last = came(allowed, 1, 1, component=world.skus[1])
    assert sure((await in_one(database, receive, [last], AT))[0], Received).refund_minor == 100
    left = await line(database, order_id)
    assert (left["parts_per_unit"], left["parts_back"], left["refunded_minor"]) == (3, 0, 600)
    await assert_clean(database)


async def in_two_parcels(database: Database, world: World) -> tuple[UUID, list[Shipped]]:
    """Two kits for 300 each, and a parcel for each of them."""
    order_id, [work] = await picked(database, world.order(uuid4().hex, 2, unit_price_minor=300), AT)
    key: dict[str, Any] = {"order_id": order_id, "fulfillment_order_id": work}
    sent = []
    for _ in range(2):
        one = NewPackage(lines=[PackLine(line_no=1, quantity=1)])
        sure((await in_one(database, pack, [Pack(**key, packages=[one])], AT))[0], Packed)
        out = Ship(**key, tracking_number=uuid4().hex, all=True)
        sent.append(sure((await in_one(database, ship, [out], AT))[0], Shipped))
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    return order_id, sent


async def hear(database: Database, sent: Shipped, kind: Kind) -> None:
    said = TrackingEvent(tracking_number=sent.tracking_number, kind=kind, at=AT)
    sure((await in_one(database, take_events, [said], AT))[0], Recorded)


async def test_never_more_of_a_component_comes_back_than_went_out(database: Database, world: World) -> None:
    """RET-5: as itself, within whole kits, back or authorized."""
    one, two = world.skus[1], world.skus[2]
    order_id, _ = await delivered(database, world.order("limits", 3), AT)

    async def asked(*lines: Any) -> Any:
        return (await in_one(database, authorize, [wanted(order_id, *lines)], AT))[0]

    kits = sure(await asked((1, 1)), Authorized)
    for lines in ([(1, 3, one)], [(1, 5, two)], [(1, 1), (1, 2, one)], [(1, 2), (1, 1, two)], [(1, 3)]):
        refused = sure(await asked(*lines), ReturnRefused)
        assert refused.reason is ReturnRefusal.TOO_MANY
    loose = sure(await asked((1, 1), (1, 1, one)), Authorized)
    assert sure(await asked((1, 1)), ReturnRefused).detail == (
        "Of line 1, only 0 delivered units can still be returned, not 1."
    )
    assert "component" in sure(await asked((1, 1, one)), ReturnRefused).detail
    sure((await in_one(database, receive, [came(kits, 1, 0, 1), came(loose, 1, 1, component=one)], AT))[0], Received)
    assert sure(await asked((1, 1, one)), ReturnRefused).reason is ReturnRefusal.TOO_MANY
    sure((await in_one(database, cancel, [called_off(loose, (1, 1))], AT))[0], ReturnCancelled)
    sure(await asked((1, 1, one), (1, 4, two)), Authorized)
    await assert_clean(database)


async def test_whole_kits_may_arrive_as_components(database: Database, world: World) -> None:
    """A kit that was to come back whole comes back in part: the rest is still expected."""
    one, two = world.skus[1], world.skus[2]
    order_id, _ = await delivered(database, world.order("incomplete", 2), AT)
    allowed = await allowed_for(database, order_id, (1, 2))
    parts = [ReceivedLine(line_no=1, restocked=3, component=two), ReceivedLine(line_no=1, scrapped=1, component=one)]
    receipt = ReturnReceipt(order_id=order_id, return_id=allowed.return_id, lines=parts)
    sure((await in_one(database, receive, [receipt], AT))[0], Received)
    assert (await line(database, order_id))["returned"] == 1
    [shown] = (await database.read(lambda tx: returns_of(tx, order_id))).returns
    assert [(part.component, part.authorized, part.restocked, part.scrapped) for part in shown.lines] == [
        (one, 2, 0, 1),
        (two, 4, 3, 0),
    ]
    whole, rest = await in_one(database, receive, [came(allowed, 1, 1), came(allowed, 1, 1, component=two)], AT)
    assert sure(whole, ReturnRefused).reason is ReturnRefusal.TOO_MANY
    sure(rest, Received)
    [done] = await in_one(database, cancel, [called_off(allowed)], AT)
    assert [(unit.component, unit.quantity) for unit in sure(done, ReturnCancelled).cancelled] == [(one, 1)]
    await assert_clean(database)


async def test_a_refused_receipt_breaks_up_no_kit(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("untouched", 1), AT)
    allowed = await allowed_for(database, order_id, (1, 1))
    parts = [
        ReceivedLine(line_no=1, restocked=1, component=world.skus[1]),
        ReceivedLine(line_no=1, restocked=3, component=world.skus[2]),
    ]
    receipt = ReturnReceipt(order_id=order_id, return_id=allowed.return_id, lines=parts)
    refused, whole = await in_one(database, receive, [receipt, came(allowed, 1, 1)], AT)
    assert (refused.reason, refused.pointer) == (ReturnRefusal.TOO_MANY, "/lines/1")
    sure(whole, Received)
    assert [row["authorized"] for row in await return_rows(database, order_id)] == [1]
    await assert_clean(database)


async def test_what_is_no_component_is_refused(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("none", {world.skus[0]: 1, world.skus[3]: 1}), AT)
    ask = [wanted(order_id, (1, 1, world.skus[3])), wanted(order_id, (2, 1, world.skus[1]))]
    stranger, plain = await in_one(database, authorize, ask, AT)
    assert (stranger.reason, stranger.pointer) == (ReturnRefusal.UNKNOWN, "/lines/0/component")
    assert world.skus[1] in stranger.detail
    assert "not a kit" in plain.detail
    allowed = await allowed_for(database, order_id, (1, 1), (2, 1))
    for receipt in (came(allowed, 1, 1, component=world.skus[3]), came(allowed, 2, 1, component=world.skus[1])):
        [refused] = await in_one(database, receive, [receipt], AT)
        assert (refused.reason, refused.pointer) == (ReturnRefusal.UNKNOWN, "/lines/0/component")


async def test_components_are_those_that_the_kit_had_when_it_was_ordered(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("as it was", 1), AT)
    await made_of(database, world, (3, 1))
    allowed = await allowed_for(database, order_id, (1, 1, world.skus[1]), (1, 2, world.skus[2]))
    parts = [
        ReceivedLine(line_no=1, restocked=1, component=world.skus[1]),
        ReceivedLine(line_no=1, restocked=2, component=world.skus[2]),
    ]
    [done] = await in_one(
        database, receive, [ReturnReceipt(order_id=order_id, return_id=allowed.return_id, lines=parts)], AT
    )
    assert (sure(done, Received).status, done.refund_minor) == ("returned", 1000)
    assert await on_hand(database, world, 1, 2, 3) == [10, 20, 10]
    await assert_clean(database)


async def test_a_component_that_was_a_kit_once_is_stocked_as_itself(database: Database, world: World) -> None:
    """SKU 2 was a kit before it was a component: what comes back is one SKU 2, and not the parts of the line's kit."""
    more = Receipt(sku=world.skus[1], location=world.location, quantity=1)
    sure((await in_one(database, receive_stock, [more], AT))[0], Moved)
    await database.pool.execute("INSERT INTO catalog.kits VALUES ($1)", world.sku_ids[world.skus[1]])
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'kits'")
    order_id, _ = await delivered(database, world.order("once", 1), AT)
    allowed = await allowed_for(database, order_id, (1, 1, world.skus[1]))
    sure((await in_one(database, receive, [came(allowed, 1, 1, component=world.skus[1])], AT))[0], Received)
    assert await on_hand(database, world, 1, 2) == [11, 18]
    await assert_clean(database)


async def test_a_component_that_has_become_a_kit_is_not_stocked(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("became", 2), AT)
    allowed = await allowed_for(database, order_id, (1, 2))
    await made_of(database, world, (3, 1))
    await database.pool.execute("INSERT INTO catalog.kits VALUES ($1)", world.sku_ids[world.skus[1]])
    await database.pool.execute(
        "INSERT INTO catalog.kit_components VALUES ($1, $2, 1)",
        world.sku_ids[world.skus[1]],
        world.sku_ids[world.skus[3]],
    )
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'kits'")
    one = world.skus[1]
    whole, single, scrapped = await in_one(
        database, receive, [came(allowed, 1, 1), came(allowed, 1, 1, component=one), came(allowed, 1, 0, 1)], AT
    )
    assert (whole.reason, whole.pointer) == (ReturnRefusal.KIT, "/lines/0/restocked")
    assert single.reason is ReturnRefusal.KIT
    assert one in single.detail
    sure(scrapped, Received)
    await database.pool.execute("DELETE FROM catalog.kit_components WHERE sku_id = $1", world.sku_ids[world.skus[1]])
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'kits'")


async def test_a_component_of_an_expired_lot_is_set_aside(database: Database, world: World) -> None:
    fresh = f"{world.sku}-fresh"
    await in_one(database, upsert_skus, [Sku(code=fresh, name=fresh, weight_grams=1, tracking="lot")], AT)
    lot = Receipt(sku=fresh, location=world.location, quantity=4, lot="L", expires_on=date(2026, 3, 20))
    sure((await in_one(database, receive_stock, [lot], AT))[0], Moved)
    kit = Kit(sku=world.skus[3], components=[Component(sku=fresh, quantity=2)])
    await delivered(database, world.order("all of it", {world.skus[3]: 10}), AT)
    assert isinstance((await in_one(database, upsert_kits, [kit], AT))[0], Created)
    order_id, _ = await delivered(database, world.order("lots", {world.skus[3]: 2}), AT)
    allowed = await allowed_for(database, order_id, (1, 3, fresh))
    early, late = AT + timedelta(days=1), AT + timedelta(days=25)
    [good] = await in_one(database, receive, [came(allowed, 1, 1, component=fresh)], early)
    [bad] = await in_one(database, receive, [came(allowed, 1, 2, component=fresh)], late)
    assert (sure(good, Received).expired, sure(bad, Received).expired) == (0, 2)


async def test_over_http(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("http", 1), datetime.now(UTC))
    async with client(database, routes) as http:
        one = {"line_no": 1, "component": world.skus[1]}
        body = {"lines": [{**one, "quantity": 1, "reason": "unwanted"}]}
        made = (await http.post(f"/v1/orders/{order_id}/returns", json=body)).json()
        assert made["lines"][0]["component"] == world.skus[1]
        where = f"/v1/orders/{order_id}/returns/{made['return_id']}"
        arrived = (await http.post(f"{where}/receipts", json={"lines": [{**one, "scrapped": 1}]})).json()
        assert (arrived["refund_minor"], arrived["status"]) == (333, "delivered")
        shown = (await http.get(f"/v1/orders/{order_id}/returns")).json()
        assert shown["returns"][0]["lines"][0]["component"] == world.skus[1]
        assert [part["received"] for part in shown["kits"][0]["components"]] == [1, 0]
