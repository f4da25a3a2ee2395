"""Parcels that come back to the sender: seen by people, received unit by unit, and refunded or sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.aftercare.api import routes
from ordino.aftercare.received_back.model import BackLine, BackRefusal, BackRefused, Next, ParcelReceipt, ReceivedBack
from ordino.aftercare.received_back.receive import receive_back
from ordino.api.server import load_stages
from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Conflict
from ordino.core.events import Plans, Step
from ordino.core.reactions import Worker
from ordino.core.upserts import NotUpserted
from ordino.insights.kpis import kpis
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.detail_view import detail_view, serial_view
from ordino.orders.exceptions import Resolve, exceptions, resolve
from ordino.tracking import read
from ordino.tracking.model import Kind, Recorded, Status, TrackingEvent
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Pick, PickLine, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_clean, client, delivered, events, in_one, line, packed, placed, released, shipped, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = AT + timedelta(days=3)
FLOW = {
    "order_placed": (Step("authorize"),),
    "shipment_shipped": (Step("capture"), Step("watch_parcel")),
    "shipment_lost": (Step("settle_lost"),),
    "lost_settled": (Step("refund"),),
    "shipment_returned_to_sender": (Step("message", 0, {"template": "order_returning"}),),
    "shipment_delivered": (Step("message", 0, {"template": "order_delivered"}),),
    "units_sent_again": (Step("message", 0, {"template": "order_sent_again"}),),
    "payment_refunded": (Step("message", 0, {"template": "order_refunded"}),),
}


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async def plan(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return FLOW

    load_stages()
    async with await Database.open(database_url, plans=Plans(plan), clock=SimulatedClock(AT)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


async def work(database: Database, at: datetime) -> None:
    """A worker does what is due, until nothing is."""
    assert isinstance(database.clock, SimulatedClock)
    database.clock.advance_to(at)
    worker = Worker(database)
    for _ in range(30):
        if not await worker.run_due():
            return


async def turned_back(database: Database, world: World, units: int = 2, **more: Any) -> tuple[UUID, Shipped]:
    """An order that was charged and sent, and whose parcel the carrier brings back."""
    order_id = await placed(database, world.order(uuid4().hex, units, **more), AT)
    await work(database, AT)
    [out] = await in_one(database, release, [order_id], AT)
    [id] = out.fulfillment_order_ids
    sent = await leave(database, order_id, id, AT)
    await say(database, sent.tracking_number, Kind.RETURNED_TO_SENDER, LATER)
    await work(database, LATER)
    return order_id, sent


async def leave(database: Database, order_id: UUID, id: UUID, at: datetime) -> Shipped:
    """Picked, packed and shipped under a new number."""
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=id, all=True)], at)
    await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=id, all=True)], at)
    item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=f"T-{uuid4().hex}", all=True)
    [sent] = await in_one(database, ship, [item], at)
    await work(database, at)
    return sure(sent, Shipped)


async def say(database: Database, number: str, kind: Kind, at: datetime) -> Recorded:
    [outcome] = await in_one(database, take_events, [TrackingEvent(tracking_number=number, kind=kind, at=at)], at)
    return sure(outcome, Recorded)


async def back(database: Database, order_id: UUID, sent: Shipped, **said: Any) -> Any:
    receipt = ParcelReceipt(order_id=order_id, shipment_id=sent.shipment_id, **said)
    [outcome] = await in_one(database, receive_back, [receipt], LATER)
    return outcome


def of(line_no: int = 1, **said: Any) -> list[BackLine]:
    return [BackLine(line_no=line_no, **said)]


async def parcel(database: Database, order_id: UUID, sent: Shipped) -> read.ParcelView:
    found = await database.read(lambda tx: read.parcels(tx, order_id))
    return next(p for p in found if p.shipment_id == sent.shipment_id)


async def open_exceptions(database: Database, order_id: UUID) -> list[tuple[str, int, UUID | None]]:
    found = await database.read(lambda tx: exceptions(tx, limit=1000))
    return [(one.kind, one.units, one.shipment_id) for one in found if one.order_id == order_id]


async def money(database: Database, order_id: UUID) -> tuple[int, int]:
    """(captured, refunded) in minor units"""
    row = await database.pool.fetchrow("SELECT * FROM orders.payments WHERE order_id = $1", order_id)
    return row["captured_minor"], row["refunded_minor"]


async def told(database: Database, order_id: UUID) -> list[str]:
    rows = await database.pool.fetch(
        "SELECT template FROM aftercare.messages WHERE order_id = $1 ORDER BY written_at, event_id", order_id
    )
    return [row["template"] for row in rows]


def to_ada(**more: Any) -> dict[str, Any]:
    from ordino.orders.model import Address

    home = {"line1": "1 Main Street", "city": "Town", "postal_code": "43215", "country": "US"}
    return {"ship_to": Address(name="Ada", email="ada@example.com", **home), **more}


# -- on its way back -----------------------------------------------------------------------------------------------------------


async def test_a_parcel_that_arrives_at_the_sender_is_not_delivered(database: Database, world: World) -> None:
    """TRK-5: and the customer is not told that it was."""
    order_id, sent = await turned_back(database, world, **to_ada())
    assert (await parcel(database, order_id, sent)).status is Status.RETURNING
    home = await say(database, sent.tracking_number, Kind.DELIVERED, LATER + timedelta(hours=5))
    assert home.status is Status.RETURNING
    await say(database, sent.tracking_number, Kind.DELIVERED, LATER + timedelta(hours=6))
    await work(database, LATER + timedelta(days=9))
    view = await parcel(database, order_id, sent)
    assert (view.back_at, view.delivered_at) == (LATER + timedelta(hours=5), None)
    counts = await line(database, order_id)
    assert (counts["shipped"], counts["delivered"]) == (2, 0)
    assert await told(database, order_id) == ["order_returning"]
    assert await events(database, order_id, "shipment_late") == []
    assert await open_exceptions(database, order_id) == [("returned_to_sender", 2, sent.shipment_id)]
    await assert_clean(database)


async def test_a_delivered_parcel_is_not_received_back(database: Database, world: World) -> None:
    order_id, [sent] = await delivered(database, world.order(uuid4().hex), AT)
    refused = sure(await back(database, order_id, sent, all=True, then=Next.REFUND), BackRefused)
    assert refused.reason is BackRefusal.DELIVERED


async def test_its_exception_can_only_be_closed(database: Database, world: World) -> None:
    order_id, _ = await turned_back(database, world)
    found = await database.read(lambda tx: exceptions(tx, limit=1000))
    [id] = [one.exception_id for one in found if one.order_id == order_id]
    for action in ("retry", "cancel"):
        with pytest.raises(Conflict, match="receipt"):
            await database.transact(lambda tx, a=action: resolve(tx, id, Resolve(action=a), at=LATER))  # type: ignore[misc]
    await database.transact(lambda tx: resolve(tx, id, Resolve(action="close"), at=LATER))
    assert await open_exceptions(database, order_id) == []


# -- refunded ------------------------------------------------------------------------------------------------------------------


async def test_what_came_back_is_in_stock_and_refunded(database: Database, world: World) -> None:
    """TRK-6: all of it at once, where it was shipped from."""
    order_id, sent = await turned_back(
        database, world, unit_price_minor=333, tax_minor=1, shipping_minor=500, **to_ada()
    )
    assert await money(database, order_id) == (1167, 0)
    here = (world.sku_ids[world.sku], world.location_ids["loc-1"])
    before = await stock(database, *here)
    done = sure(await back(database, order_id, sent, all=True, then=Next.REFUND), ReceivedBack)
    assert (done.restocked, done.left, done.refund_minor, done.sent_again) == (2, 0, 1167, 0)  # with the shipping
    assert (done.parcel, done.order) == (Status.RECEIVED_BACK, "cancelled")
    assert (await stock(database, *here))[0] == before[0] + 2
    assert await open_exceptions(database, order_id) == []
    await work(database, LATER)
    assert await money(database, order_id) == (1167, 1167)
    assert await told(database, order_id) == ["order_returning", "order_refunded"]
    view = await parcel(database, order_id, sent)
    assert view.status is Status.RECEIVED_BACK
    assert [(r.line_no, r.restocked, r.next, r.refund_minor, r.location) for r in view.receipts] == [
        (1, 2, "refund", 667, "loc-1")
    ]
    again = sure(await back(database, order_id, sent, all=True, then=Next.REFUND), BackRefused)
    assert again.reason is BackRefusal.DONE
    await say(database, sent.tracking_number, Kind.DELIVERED, LATER)
    assert (await line(database, order_id))["cancelled"] == 2
    await assert_clean(database)


async def test_units_come_back_bit_by_bit_each_with_its_disposition(database: Database, world: World) -> None:
    """TRK-5, TRK-6."""
    order_id, sent = await turned_back(database, world, 6, unit_price_minor=100)
    here = (world.sku_ids[world.sku], world.location_ids["loc-2"])
    before = await stock(database, *here)
    first = await back(database, order_id, sent, lines=of(restocked=1, scrapped=1), then=Next.REFUND, location="loc-2")
    assert (sure(first, ReceivedBack).left, first.refund_minor, first.parcel) == (4, 200, Status.RETURNING)
    assert (await stock(database, *here))[0] == before[0] + 1
    assert await open_exceptions(database, order_id) == [("returned_to_sender", 4, sent.shipment_id)]
    too_many = sure(await back(database, order_id, sent, lines=of(restocked=5), then=Next.REFUND), BackRefused)
    assert (too_many.reason, too_many.pointer) == (BackRefusal.TOO_MANY, "/lines/0")
    missing = await back(database, order_id, sent, lines=of(lost=1, then=Next.REFUND))
    assert (sure(missing, ReceivedBack).lost, missing.refund_minor) == (1, 100)
    last = await back(database, order_id, sent, all=True, then=Next.REFUND)
    assert (sure(last, ReceivedBack).restocked, last.parcel) == (3, Status.RECEIVED_BACK)
    await work(database, LATER)
    assert await money(database, order_id) == (600, 600)
    await assert_clean(database)


async def test_what_the_carrier_loses_on_the_way_back_is_only_the_rest(database: Database, world: World) -> None:
    order_id, sent = await turned_back(database, world, 5, unit_price_minor=100)
    sure(await back(database, order_id, sent, lines=of(restocked=2), then=Next.REFUND), ReceivedBack)
    await say(database, sent.tracking_number, Kind.LOST, LATER)
    [fact] = await events(database, order_id, "shipment_lost")
    assert fact["lines"] == [{"line_no": 1, "quantity": 3}]
    await work(database, LATER)
    assert await money(database, order_id) == (500, 500)
    assert await open_exceptions(database, order_id) == []
    assert (await line(database, order_id))["cancelled"] == 5
    await assert_clean(database)


async def test_a_carrier_no_longer_loses_what_the_sender_has(database: Database, world: World) -> None:
    """It waits to be received, refunded or sent again, whatever the carrier says after it has handed it over."""
    order_id, sent = await turned_back(database, world, 2)
    await say(database, sent.tracking_number, Kind.DELIVERED, LATER + timedelta(hours=1))
    late = await say(database, sent.tracking_number, Kind.LOST, LATER + timedelta(hours=2))
    assert (late.status, late.repeated) == (Status.RETURNING, False)
    await work(database, LATER + timedelta(hours=2))
    assert await open_exceptions(database, order_id) == [("returned_to_sender", 2, sent.shipment_id)]
    assert await money(database, order_id) == (2000, 0)
    sure(await back(database, order_id, sent, all=True, then=Next.SEND_AGAIN), ReceivedBack)
    await assert_clean(database)


async def test_a_lost_parcel_that_comes_back_brings_its_units_and_no_second_refund(
    database: Database, world: World
) -> None:
    order_id, [sent] = await shipped(database, world.order(uuid4().hex, 2), AT)
    await say(database, sent.tracking_number, Kind.LOST, LATER)
    await work(database, LATER)
    here = (world.sku_ids[world.sku], world.location_ids["loc-1"])
    before = await stock(database, *here)
    wrong = sure(await back(database, order_id, sent, all=True, then=Next.REFUND), BackRefused)
    assert (wrong.reason, wrong.pointer) == (BackRefusal.INVALID, "/then")
    done = sure(await back(database, order_id, sent, all=True), ReceivedBack)
    assert (done.restocked, done.refund_minor, done.parcel) == (2, 0, Status.RECEIVED_BACK)
    assert (await stock(database, *here))[0] == before[0] + 2
    await assert_clean(database)


# -- sent again ----------------------------------------------------------------------------------------------------------------


async def test_a_lost_parcel_of_before_that_comes_back_moves_no_money(database: Database, world: World) -> None:
    """MON-5: orders that were lost before shipping was given back kept it, and what comes back settles nothing anew."""
    order_id = await placed(database, world.order(uuid4().hex, 2, shipping_minor=500), AT)
    await work(database, AT)
    [out] = await in_one(database, release, [order_id], AT)
    sent = await leave(database, order_id, out.fulfillment_order_ids[0], AT)
    await say(database, sent.tracking_number, Kind.LOST, LATER)
    await work(database, LATER)
    assert await money(database, order_id) == (2500, 2500)
    for statement in (  # as the revision leaves such an order
        "UPDATE orders.orders SET shipping_refunded_minor = 0 WHERE order_id = $1",
        "UPDATE orders.moves SET amount_minor = NULL WHERE order_id = $1 AND (from_state, to_state) = ('shipped', 'cancelled')",
        "UPDATE orders.payments SET refunded_minor = refunded_minor - 500 WHERE order_id = $1",
        "UPDATE orders.payment_moves SET amount_minor = amount_minor - 500 WHERE order_id = $1 AND kind = 'refunded'",
    ):
        await database.pool.execute(statement, order_id)
    got = sure(await back(database, order_id, sent, all=True), ReceivedBack)
    await work(database, LATER)
    assert (got.refund_minor, await money(database, order_id)) == (0, (2500, 2000))
    await assert_clean(database)


async def test_what_is_sent_again_is_sourced_shipped_and_charged_no_second_time(
    database: Database, world: World
) -> None:
    order_id, sent = await turned_back(
        database, world, 3, unit_price_minor=333, tax_minor=1, shipping_minor=500, **to_ada()
    )
    assert await money(database, order_id) == (1500, 0)
    done = sure(await back(database, order_id, sent, all=True, then=Next.SEND_AGAIN), ReceivedBack)
    assert (done.sent_again, done.refund_minor, done.order) == (3, 0, "backordered")
    await assert_clean(database)
    await work(database, LATER)
    assert (await line(database, order_id))["allocated"] == 3
    [out] = await in_one(database, release, [order_id], LATER)
    [id] = out.fulfillment_order_ids
    second = await leave(database, order_id, id, LATER)
    assert second.amount_minor == 0
    await say(database, second.tracking_number, Kind.DELIVERED, LATER + timedelta(days=1))
    await work(database, LATER + timedelta(days=1))
    assert (await line(database, order_id))["delivered"] == 3
    assert await money(database, order_id) == (1500, 0)
    assert await told(database, order_id) == ["order_returning", "order_sent_again", "order_delivered"]
    await assert_clean(database)


async def test_an_order_is_not_perfect_if_a_parcel_of_it_came_back(database: Database) -> None:
    world = await small_world(database, prefix="kpi-")
    placed_at = AT + timedelta(days=365)
    order_id, sent = await turned_back(database, world, 1)
    await back(database, order_id, sent, all=True, then=Next.SEND_AGAIN)
    await work(database, LATER)
    [out] = await in_one(database, release, [order_id], LATER)
    second = await leave(database, order_id, out.fulfillment_order_ids[0], LATER)
    await say(database, second.tracking_number, Kind.DELIVERED, LATER + timedelta(minutes=1))
    await database.pool.execute(
        "UPDATE orders.orders SET placed_at = $2, promised_at = $2 WHERE order_id = $1", order_id, placed_at
    )
    since, until = placed_at - timedelta(days=1), placed_at + timedelta(days=1)
    [rate] = [
        kpi
        for kpi in await database.read(lambda tx: kpis(tx, since=since, until=until))
        if kpi.name == "perfect_order_rate"
    ]
    assert (rate.above, rate.below) == (0, 1)


async def test_units_that_leave_for_the_first_time_are_charged_beside_those_that_leave_again(
    database: Database, world: World
) -> None:
    """One line, of which two units were sent, came back and leave again with a third."""
    from ordino.warehouse.model import NewPackage, PackLine
    from steps import picked

    order_id, [id] = await picked(database, world.order(uuid4().hex, 3, unit_price_minor=100), AT)
    await work(database, AT)
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=n)]) for n in (2, 1)]
    [box] = await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=id, packages=boxes)], AT)
    amounts = []
    for package_id in box.package_ids:
        item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=uuid4().hex, package_ids=[package_id])
        [sent] = await in_one(database, ship, [item], LATER if amounts else AT)
        amounts.append(sure(sent, Shipped).amount_minor)
        if len(amounts) == 1:
            await say(database, sent.tracking_number, Kind.RETURNED_TO_SENDER, AT)
            sure(await back(database, order_id, sent, all=True, then=Next.SEND_AGAIN), ReceivedBack)
    await work(database, LATER)
    [out] = await in_one(database, release, [order_id], LATER)
    [id] = out.fulfillment_order_ids
    amounts.append((await leave(database, order_id, id, LATER)).amount_minor)
    # The unit of the second box leaves for nothing in the place of one that came back; its price is charged with the last.
    assert sorted(amounts) == [0, 100, 200]
    assert sum(amounts) == 300
    await assert_clean(database)


async def test_one_parcel_is_refunded_in_part_and_sent_again_in_part(database: Database, world: World) -> None:
    order = world.order(uuid4().hex, {world.skus[0]: 2, world.skus[1]: 1}, unit_price_minor=100)
    order_id, [id] = await packed(database, order, AT)
    await work(database, AT)
    item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=uuid4().hex, all=True)
    [sent] = await in_one(database, ship, [item], AT)
    await work(database, AT)
    lines = [*of(1, restocked=2, then=Next.SEND_AGAIN), *of(2, scrapped=1)]
    done = sure(await back(database, order_id, sent, lines=lines, then=Next.REFUND), ReceivedBack)
    assert (done.sent_again, done.refund_minor, done.parcel) == (2, 100, Status.RECEIVED_BACK)
    await work(database, LATER)
    counts = [await line(database, order_id, n) for n in (1, 2)]
    assert (counts[0]["allocated"], counts[1]["cancelled"]) == (2, 1)
    assert await money(database, order_id) == (300, 100)
    await assert_clean(database)


# -- what units are ------------------------------------------------------------------------------------------------------------


async def test_serial_numbers_and_lots_come_back_as_what_they_are(database: Database, world: World) -> None:
    prefix = uuid4().hex[:8]
    goods = [
        Sku(code=f"{prefix}-serial", name="S", weight_grams=100, tracking="serial"),
        Sku(code=f"{prefix}-lot", name="L", weight_grams=100, tracking="lot", expiry_required=True),
    ]
    await in_one(database, upsert_skus, goods, AT)
    arrivals = [
        Receipt(sku=goods[0].code, location="loc-1", quantity=2, serials=["S1", "S2"]),
        Receipt(sku=goods[1].code, location="loc-1", quantity=2, lot="L1", expires_on=date(2027, 1, 1)),
    ]
    await in_one(database, receive, arrivals, AT)
    order_id, [id] = await released(database, world.order(uuid4().hex, {goods[0].code: 2, goods[1].code: 2}), AT)
    picks = [PickLine(line_no=1, picked=2, serials=["S1", "S2"]), PickLine(line_no=2, picked=2)]
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=id, lines=picks)], AT)
    await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=id, all=True)], AT)
    item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=uuid4().hex, all=True)
    [sent] = await in_one(database, ship, [item], AT)
    unnamed = sure(await back(database, order_id, sent, all=True, then=Next.REFUND), BackRefused)
    assert unnamed.reason is BackRefusal.INVALID
    assert "serial numbers" in unnamed.detail
    strange = of(1, restocked=1, serials=["S9"])
    assert sure(await back(database, order_id, sent, lines=strange, then=Next.REFUND), BackRefused).reason == "unknown"
    lines = [
        *of(1, restocked=1, scrapped=1, serials=["S2"], scrapped_serials=["S1"]),
        *of(2, restocked=2),
    ]
    done = sure(await back(database, order_id, sent, lines=lines, then=Next.REFUND), ReceivedBack)
    assert done.parcel is Status.RECEIVED_BACK
    seen = [await database.read(lambda tx, s=s: serial_view(tx, goods[0].code, s)) for s in ("S1", "S2")]  # type: ignore[misc]
    assert [view.state for view in seen] == ["scrapped", "in_stock"]
    lots = await database.read(lambda tx: detail_view(tx, goods[1].code, location="loc-1", at=LATER))
    assert {(row.lot, row.quantity) for row in lots.bins} == {("L1", 2)}
    await assert_clean(database)


async def test_kits_come_back_as_their_components(database: Database, world: World) -> None:
    prefix = uuid4().hex[:8]
    await in_one(database, upsert_skus, [Sku(code=f"{prefix}-kit", name="K", weight_grams=100)], AT)
    components = [Component(sku=world.skus[2], quantity=1), Component(sku=world.skus[3], quantity=2)]
    await in_one(database, upsert_kits, [Kit(sku=f"{prefix}-kit", components=components)], AT)
    order_id, [sent] = await shipped(database, world.order(uuid4().hex, {f"{prefix}-kit": 3}), AT)
    part = (world.sku_ids[world.skus[3]], world.location_ids["loc-1"])
    before = await stock(database, *part)
    sure(await back(database, order_id, sent, lines=of(restocked=1), then=Next.REFUND), ReceivedBack)
    sure(await back(database, order_id, sent, all=True, then=Next.SEND_AGAIN), ReceivedBack)
    assert (await stock(database, *part))[0] == before[0] + 6
    await work(database, LATER)
    assert (await line(database, order_id))["allocated"] == 2
    await assert_clean(database)


async def test_a_component_that_has_become_a_kit_is_not_stocked(database: Database, world: World) -> None:
    """KIT-2: it is scrapped, and its own components are received by themselves."""
    prefix = uuid4().hex[:8]
    kit, part = f"{prefix}-kit", f"{prefix}-part"
    await in_one(database, upsert_skus, [Sku(code=code, name=code, weight_grams=1) for code in (kit, part)], AT)
    await in_one(database, upsert_kits, [Kit(sku=kit, components=[Component(sku=part, quantity=1)])], AT)
    await in_one(database, receive, [Receipt(sku=part, location=world.location, quantity=2)], AT)
    order_id, [sent] = await shipped(database, world.order(uuid4().hex, {kit: 2}), AT)
    other = [Component(sku=world.skus[2], quantity=1)]
    for code in (kit, part):  # the kit is made of something else, so that its component can become one
        [made] = await in_one(database, upsert_kits, [Kit(sku=code, components=other)], AT)
        assert not isinstance(made, NotUpserted), made
    refused = await back(database, order_id, sent, lines=of(restocked=1), then=Next.REFUND)
    assert (sure(refused, BackRefused).reason, refused.pointer) == (BackRefusal.KIT, "/lines/0/restocked")
    assert "component" in refused.detail
    sure(await back(database, order_id, sent, lines=of(scrapped=2), then=Next.REFUND), ReceivedBack)
    await assert_clean(database)


# -- refusals ------------------------------------------------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused_with_a_pointer(database: Database, world: World) -> None:
    order_id, sent = await turned_back(database, world, 2)
    for said, reason, pointer in (
        ({"all": True}, "invalid", "/then"),
        ({"then": Next.REFUND}, "invalid", ""),
        ({"all": True, "lines": of(restocked=1), "then": Next.REFUND}, "invalid", "/all"),
        ({"lines": of(), "then": Next.REFUND}, "invalid", "/lines/0/restocked"),
        ({"lines": of(7, restocked=1), "then": Next.REFUND}, "unknown", "/lines/0/line_no"),
        ({"lines": [*of(restocked=1), *of(restocked=1)], "then": Next.REFUND}, "invalid", "/lines/1/line_no"),
        ({"all": True, "then": Next.REFUND, "location": "nowhere"}, "unknown", "/location"),
    ):
        refused = sure(await back(database, order_id, sent, **said), BackRefused)  # type: ignore[arg-type]
        assert (refused.reason, refused.pointer) == (reason, pointer)
    nobody = ParcelReceipt(order_id=order_id, shipment_id=uuid4(), all=True, then=Next.REFUND)
    twice = ParcelReceipt(order_id=order_id, shipment_id=sent.shipment_id, lines=of(restocked=1), then=Next.REFUND)
    outcomes = await in_one(database, receive_back, [nobody, twice, twice], LATER)
    assert [getattr(o, "reason", None) for o in outcomes] == [BackRefusal.UNKNOWN, None, BackRefusal.REPEATED]
    await assert_clean(database)


async def test_over_http(database: Database, world: World) -> None:
    order_id, sent = await turned_back(database, world, 2)
    where = f"/v1/orders/{order_id}/parcels/{sent.shipment_id}/receipt"
    async with client(database, routes) as http:
        refused = await http.post(where, json={"all": True})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/then")
        body = {"lines": [{"line_no": 1, "restocked": 1}], "then": "refund"}
        key = {"Idempotency-Key": uuid4().hex}
        first, again = [await http.post(where, json=body, headers=key) for _ in range(2)]
        assert (first.status_code, first.json()["left"], again.content) == (201, 1, first.content)
        rest = {"order_id": str(order_id), "shipment_id": str(sent.shipment_id), "all": True, "then": "send_again"}
        outcomes = (await http.post("/v1/parcel_receipts", json={"parcel_receipts": [rest]})).json()["outcomes"]
        assert (outcomes[0]["outcome"], outcomes[0]["parcel"]) == ("received_back", "received_back")
        assert (await http.post(where, json={"all": True, "then": "refund"})).status_code == 409


# -- at once -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_carriers_and_receipts_at_once_account_for_every_unit_once(
    database: Database, world: World, seed: int
) -> None:
    """TRK-4, TRK-5, TRK-6: whatever comes first, each unit comes back, is lost or is delivered once, and is refunded once at most."""
    dice = random.Random(seed)
    orders = [await turned_back(database, world, 4, unit_price_minor=100) for _ in range(3)]

    async def carrier() -> None:
        for _ in range(4):
            _, sent = dice.choice(orders)
            await say(database, sent.tracking_number, dice.choice([Kind.DELIVERED, Kind.LOST, Kind.IN_TRANSIT]), LATER)

    async def staff() -> None:
        for _ in range(6):
            order_id, sent = dice.choice(orders)
            then = dice.choice([Next.REFUND, Next.SEND_AGAIN, None])
            units = {dice.choice(["restocked", "scrapped", "lost"]): dice.randint(1, 2)}
            await back(database, order_id, sent, lines=of(**units), then=then)

    await asyncio.gather(carrier(), staff(), staff(), staff())
    await work(database, LATER + timedelta(seconds=seed))
    for order_id, sent in orders:
        counts = await line(database, order_id)
        assert counts["delivered"] == 0
        captured, refunded = await money(database, order_id)
        assert (captured, refunded) == (400, 100 * counts["cancelled"])
        view = await parcel(database, order_id, sent)
        came = sum(r.restocked + r.scrapped + r.lost for r in view.receipts)
        assert came <= 4
        assert (view.status is Status.RECEIVED_BACK) == (came == 4)
    await assert_clean(database)


async def test_two_receipts_of_everything_at_once_receive_it_once(database: Database, world: World) -> None:
    order_id, sent = await turned_back(database, world, 3)
    outcomes = await asyncio.gather(*(back(database, order_id, sent, all=True, then=Next.REFUND) for _ in range(6)))
    assert sum(isinstance(outcome, ReceivedBack) for outcome in outcomes) == 1
    assert {o.reason for o in outcomes if isinstance(o, BackRefused)} == {BackRefusal.DONE}
    await assert_clean(database)
