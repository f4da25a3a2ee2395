"""The life of an order, from the cart to the doorstep and back, told once: the flow and a worker do what nobody asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ordino.aftercare.model import (
    Authorized,
    NewReturn,
    Received,
    ReceivedLine,
    ReturnLine,
    ReturnReceipt,
)
from ordino.aftercare.returns import authorize, receive
from ordino.api.server import load_stages
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.reactions import Worker
from ordino.flows.versions import ensure_active, flow_plans
from ordino.inventory.adjust import Receipt
from ordino.inventory.adjust import receive as receive_stock
from ordino.orders.cancel import Cancellation, Cancelled, LineCancellation, cancel
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Packed, Pick, PickLine, Ship, Shipped
from ordino.warehouse.model import Picked as PickedOutcome
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship
from steps import assert_clean, sure
from world import World, small_world

MONDAY = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


class Scene:
    """A shop, its clock, and the worker behind it."""

    def __init__(self, database: Database, clock: SimulatedClock, world: World) -> None:
        self.database = database
        self.clock = clock
        self.world = world
        self.worker = Worker(database)

    async def later(self, **duration: int) -> None:
        """Time passes, and what is due is done."""
        await self.worker.run_until_idle()
        self.clock.advance_to(self.clock.now() + timedelta(**duration))
        await self.worker.run_until_idle()

    async def do(self, verb: Any, *items: Any) -> list[Any]:
        outcomes: list[Any] = await self.database.transact(lambda tx: verb(tx, items, at=self.clock.now()))
        return outcomes

    async def order(self, order_id: UUID) -> dict[str, Any]:
        row = await self.database.pool.fetchrow(
            "SELECT o.status, o.promised_at, p.status AS payment, p.authorized_minor, p.captured_minor, p.voided_minor, "
            "p.refunded_minor FROM orders.orders o JOIN orders.payments p USING (order_id) WHERE order_id = $1",
            order_id,
        )
        return dict(row)

    async def work(self, order_id: UUID) -> list[UUID]:
        rows = await self.database.pool.fetch(
            "SELECT fulfillment_order_id FROM warehouse.fulfillment_orders WHERE order_id = $1 AND open > 0", order_id
        )
        return [row["fulfillment_order_id"] for row in rows]

    async def told(self, order_id: UUID) -> list[str]:
        rows = await self.database.pool.fetch(
            "SELECT template FROM aftercare.messages WHERE order_id = $1 ORDER BY written_at, template", order_id
        )
        return [row["template"] for row in rows]

    async def kinds(self, order_id: UUID) -> list[str]:
        rows = await self.database.pool.fetch(
            "SELECT kind FROM core.events WHERE subject_id = $1 ORDER BY at, id", order_id
        )
        return [row["kind"] for row in rows]


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    load_stages()
    clock = SimulatedClock(MONDAY)
    async with await Database.open(database_url, plans=flow_plans(), clock=clock) as database:
        await database.transact(lambda tx: ensure_active(tx, at=MONDAY))
        name = f"s{await database.pool.fetchval('SELECT count(*) FROM catalog.sellers')}-"
        stock = {
            (f"{name}sku-1", f"{name}loc-1"): 5,
            (f"{name}sku-2", f"{name}loc-1"): 5,
            (f"{name}sku-1", f"{name}loc-2"): 5,
        }
        yield Scene(database, clock, await small_world(database, stock=stock, prefix=name))
        await assert_clean(database)


def with_email(order: Any) -> Any:
    return msgspec.structs.replace(order, ship_to=msgspec.structs.replace(order.ship_to, email="ada@example.com"))


async def test_from_the_cart_to_the_doorstep_and_back(scene: Scene) -> None:
    sku_1, sku_2 = scene.world.skus[:2]
    # Ada orders two of one and one of another; the answer comes with a date.
    wish = with_email(scene.world.order("life", {sku_1: 2, sku_2: 1}, shipping_minor=500, tax_minor=99))
    [placed] = await scene.do(place, wish)
    order_id = sure(placed, Placed).order_id
    assert placed.promised_at is not None
    # Her money is authorized at once, and she is told. The warehouse hears nothing for half an hour.
    await scene.later(minutes=29)
    assert (await scene.order(order_id))["authorized_minor"] == 3599
    assert await scene.told(order_id) == ["order_received"]
    assert await scene.work(order_id) == []
    await scene.later(minutes=2)
    [work] = await scene.work(order_id)
    # Picked, packed, shipped: stock leaves the ledger, and the money is taken.
    sure(
        (await scene.do(pick, Pick(order_id=order_id, fulfillment_order_id=work, labor_seconds=60, all=True)))[0],
        PickedOutcome,
    )
    sure((await scene.do(pack, Pack(order_id=order_id, fulfillment_order_id=work, all=True)))[0], Packed)
    [left] = await scene.do(ship, Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="T-1", all=True))
    assert sure(left, Shipped).amount_minor == 3599
    await scene.later(minutes=1)
    assert await scene.order(order_id) | {"promised_at": None} == {
        "status": "shipped", "promised_at": None, "payment": "captured", "authorized_minor": 3599,
        "captured_minor": 3599, "voided_minor": 0, "refunded_minor": 0,
    }  # fmt: skip
    # The carrier delivers; five days later she is asked how it was.
    await scene.later(days=1)
    await scene.do(take_events, TrackingEvent(tracking_number="T-1", kind=Kind.DELIVERED, at=scene.clock.now()))
    assert (await scene.order(order_id))["status"] == "delivered"
    await scene.later(days=4)
    assert "survey" not in await scene.told(order_id)
    await scene.later(days=1, hours=1)
    assert "survey" in await scene.told(order_id)
    # One of the two goes back, and her money with it; the unit is sold again.
    line = ReturnLine(line_no=1, quantity=1, reason="too_small")
    [authorized] = await scene.do(authorize, NewReturn(order_id=order_id, lines=[line]))
    back = ReturnReceipt(
        order_id=order_id,
        return_id=sure(authorized, Authorized).return_id,
        lines=[ReceivedLine(line_no=1, restocked=1)],
    )
    sure((await scene.do(receive, back))[0], Received)
    await scene.later(minutes=1)
    assert (await scene.order(order_id))["refunded_minor"] == 1033
    assert "order_refunded" in await scene.told(order_id)
    kinds = await scene.kinds(order_id)
    assert kinds[:4] == ["order_placed", "payment_authorized", "order_released", "fulfillment_picked"]


async def test_a_short_pick_is_sourced_elsewhere(scene: Scene) -> None:
    sku = scene.world.sku
    [placed] = await scene.do(place, scene.world.order("short", {sku: 2}))
    order_id = sure(placed, Placed).order_id
    await scene.later(minutes=31)
    [first] = await scene.work(order_id)
    found = PickLine(line_no=1, picked=1, short=1, short_reason="not_found")
    sure((await scene.do(pick, Pick(order_id=order_id, fulfillment_order_id=first, lines=[found])))[0], PickedOutcome)
    await scene.later(minutes=1)
    [second] = await scene.work(order_id)  # from the other location, released at once
    assert second != first
    for n, work in enumerate((first, second)):
        if work == second:
            await scene.do(pick, Pick(order_id=order_id, fulfillment_order_id=work, all=True))
        await scene.do(pack, Pack(order_id=order_id, fulfillment_order_id=work, all=True))
        sure(
            (
                await scene.do(
                    ship, Ship(order_id=order_id, fulfillment_order_id=work, tracking_number=f"S-{n}", all=True)
                )
            )[0],
            Shipped,
        )
    await scene.later(minutes=1)
    assert (await scene.order(order_id))["captured_minor"] == 2000


async def test_a_cancellation_during_picking_stops_what_can_be_stopped(scene: Scene) -> None:
    sku = scene.world.sku
    [placed] = await scene.do(place, scene.world.order("stop", {sku: 3}, shipping_minor=300))
    order_id = sure(placed, Placed).order_id
    await scene.later(minutes=31)
    [work] = await scene.work(order_id)
    await scene.do(pick, Pick(order_id=order_id, fulfillment_order_id=work, all=True))
    wish = Cancellation(order_id=order_id, lines=[LineCancellation(line_no=1, quantity=2)])
    [asked] = await scene.do(cancel, wish)
    assert [(w.line_no, w.quantity) for w in sure(asked, Cancelled).wanted] == [(1, 2)]
    await scene.later(minutes=1)
    assert (await scene.order(order_id))["voided_minor"] == 2000
    await scene.do(pack, Pack(order_id=order_id, fulfillment_order_id=work, all=True))
    [left] = await scene.do(ship, Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="C-1", all=True))
    assert sure(left, Shipped).amount_minor == 1300
    await scene.later(minutes=1)
    assert (await scene.order(order_id))["payment"] == "captured"


async def test_a_backorder_waits_for_stock_and_then_goes_its_way(scene: Scene) -> None:
    sku = scene.world.skus[3]
    [placed] = await scene.do(place, scene.world.order("wait", {sku: 2}, channel=scene.world.channels["backorder"]))
    order_id = sure(placed, Placed).order_id
    assert placed.status == "backordered"
    await scene.later(days=2)
    await scene.do(receive_stock, Receipt(sku=sku, location=scene.world.location, quantity=10))
    await scene.later(minutes=1)
    assert (await scene.order(order_id))["promised_at"] is not None
    assert len(await scene.work(order_id)) == 1


async def test_a_late_parcel_is_told_of_and_a_lost_one_is_refunded(scene: Scene) -> None:
    sku = scene.world.sku
    [placed] = await scene.do(place, with_email(scene.world.order("lost", {sku: 1}, shipping_minor=300)))
    order_id = sure(placed, Placed).order_id
    await scene.later(minutes=31)
    [work] = await scene.work(order_id)
    await scene.do(pick, Pick(order_id=order_id, fulfillment_order_id=work, all=True))
    await scene.do(pack, Pack(order_id=order_id, fulfillment_order_id=work, all=True))
    await scene.do(ship, Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="L-1", all=True))
    await scene.later(days=9)
    assert "order_late" in await scene.told(order_id)
    await scene.do(take_events, TrackingEvent(tracking_number="L-1", kind=Kind.LOST, at=scene.clock.now()))
    await scene.later(minutes=1)
    state = await scene.order(order_id)
    assert (state["status"], state["captured_minor"], state["refunded_minor"]) == ("cancelled", 1300, 1300)
