"""Refunds without goods, and the shipping of orders of which nothing arrived: what goes back, once, and never more than was charged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from approving import ApprovingProvider
from ordino.aftercare.api import routes
from ordino.aftercare.model import (
    Authorized,
    NewRefund,
    NewReturn,
    Received,
    ReceivedLine,
    RefundLine,
    RefundRefusal,
    RefundRefused,
    RefundRequested,
    ReturnLine,
    ReturnReceipt,
)
from ordino.aftercare.refunds import refund
from ordino.aftercare.returns import authorize, receive
from ordino.cli.running import load_stages
from ordino.connect.payments.manual import ManualProvider
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.events import Plans
from ordino.core.reactions import Worker
from ordino.flows.document import packaged, parse
from ordino.flows.versions import vocabulary
from ordino.orders import ledger, payments
from ordino.orders.cancel import Cancellation, Cancelled, LineCancellation, cancel
from ordino.orders.model import NewLine, OrderRefused
from ordino.orders.place import place
from ordino.orders.providers import Approved, Declined, PaymentCall
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import NewPackage, Pack, PackLine, Pick, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_clean, client, delivered, events, in_one, picked, placed, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    load_stages()
    plan = dict(parse(packaged(), vocabulary()).plan)
    del plan["payment_authorized"]  # the steps of these tests release by themselves
    plan["shipment_shipped"] = tuple(step for step in plan["shipment_shipped"] if step.reaction != "watch_parcel")

    async def load(tx: Tx, version: int) -> Any:
        return plan

    async with await Database.open(database_url, plans=Plans(load), clock=SimulatedClock(AT)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 1000, ("sku-2", "loc-1"): 1000})


async def idle(database: Database) -> None:
    """Everything that is due soon is done, and what waits for it."""
    assert isinstance(database.clock, SimulatedClock)
    for _ in range(4):
        await Worker(database).run_until_idle()
        database.clock.advance_to(database.clock.now() + timedelta(minutes=15))


async def money(database: Database, order_id: UUID) -> tuple[int, int, int, int, str]:
    """(authorized, voided, captured, refunded, status)"""
    row = await database.pool.fetchrow(
        "SELECT authorized_minor, voided_minor, captured_minor, refunded_minor, status FROM orders.payments WHERE order_id = $1",
        order_id,
    )
    return tuple(row)  # type: ignore[return-value]


async def call_off(
    database: Database, order_id: UUID, line_no: int | None = None, quantity: int | None = None
) -> Cancelled:
    lines = None if line_no is None else [LineCancellation(line_no=line_no, quantity=quantity)]
    wish = Cancellation(order_id=order_id, lines=lines, all=lines is None)
    [done] = await in_one(database, cancel, [wish], AT)
    return sure(done, Cancelled)


async def lose(database: Database, shipments: list[Shipped]) -> None:
    said = [TrackingEvent(tracking_number=s.tracking_number, kind=Kind.LOST, at=AT) for s in shipments]
    await in_one(database, take_events, said, AT)


async def send_back(database: Database, order_id: UUID, quantity: int, line_no: int = 1) -> Received:
    lines = [ReturnLine(line_no=line_no, quantity=quantity, reason="unwanted")]
    [allowed] = await in_one(database, authorize, [NewReturn(order_id=order_id, lines=lines)], AT)
    back = [ReceivedLine(line_no=line_no, restocked=quantity)]
    receipt = ReturnReceipt(order_id=order_id, return_id=sure(allowed, Authorized).return_id, lines=back)
    [came] = await in_one(database, receive, [receipt], AT)
    return sure(came, Received)


async def asked(database: Database, order_id: UUID, **what: Any) -> Any:
    [outcome] = await in_one(database, refund, [NewRefund(order_id=order_id, reason="late", **what)], AT)
    return outcome


async def test_no_cent_stays_behind(database: Database, world: World) -> None:
    """MON-8: of three units for 100 in all, one is cancelled and two are returned."""
    order = world.order("cent", 3, unit_price_minor=33, tax_minor=1)
    order_id = await placed(database, order, AT)
    await call_off(database, order_id, 1, 1)
    await released_and_shipped(database, order_id, "cent")
    await arrive(database, order_id)
    await idle(database)
    assert await money(database, order_id) == (100, 33, 67, 0, "captured")
    await send_back(database, order_id, 1)
    await send_back(database, order_id, 1)
    await idle(database)
    assert await money(database, order_id) == (100, 33, 67, 67, "refunded")
    await assert_clean(database)


async def released_and_shipped(database: Database, order_id: UUID, number: str) -> Shipped:
    """What can be released of an order is, and leaves in one parcel."""
    [id] = (await in_one(database, release, [order_id], AT))[0].fulfillment_order_ids
    key = {"order_id": order_id, "fulfillment_order_id": id}
    await in_one(database, pick, [Pick(**key, all=True)], AT)
    await in_one(database, pack, [Pack(**key, all=True)], AT)
    [left] = await in_one(database, ship, [Ship(**key, tracking_number=number, all=True)], AT)
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    return sure(left, Shipped)


async def arrive(database: Database, order_id: UUID) -> None:
    rows = await database.pool.fetch("SELECT tracking_number FROM tracking.parcels WHERE order_id = $1", order_id)
    said = [TrackingEvent(tracking_number=row[0], kind=Kind.DELIVERED, at=AT) for row in rows]
    await in_one(database, take_events, said, AT)


async def test_the_shipping_of_an_order_that_was_lost_is_given_back(database: Database, world: World) -> None:
    order_id, shipments = await shipped(database, world.order("all lost", 1, shipping_minor=500), AT)
    await lose(database, shipments)
    await idle(database)
    assert await money(database, order_id) == (1500, 0, 1500, 1500, "refunded")
    assert [fact["refund_minor"] for fact in await events(database, order_id, "lost_settled")] == [1500]
    await assert_clean(database)


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_the_shipping_of_an_order_that_was_lost_and_cancelled_is_given_back(
    database: Database, world: World, cancelled_first: bool
) -> None:
    """Whatever comes first; the cancellation that ends the order says so and its refund follows."""
    name = f"lost and cancelled {cancelled_first}"
    wanted = {"sku-1": 1, "sku-3": 1}
    order = world.order(name, wanted, shipping_minor=500, channel=world.channels["backorder"])
    order_id = await placed(database, order, AT)
    left = await released_and_shipped(database, order_id, name)
    if cancelled_first:
        await call_off(database, order_id, 2)
        await lose(database, [left])
    else:
        await lose(database, [left])
        await idle(database)
        assert (await money(database, order_id))[3] == 1000
        done = await call_off(database, order_id, 2)
        assert (done.amount_minor, done.refund_minor) == (1000, 500)
    await idle(database)
    assert await money(database, order_id) == (2500, 1000, 1500, 1500, "refunded")
    await assert_clean(database)


async def test_shipping_stays_charged_where_something_arrived(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("kept it for a day", 1, shipping_minor=500), AT)
    await send_back(database, order_id, 1)
    await idle(database)
    assert await money(database, order_id) == (1500, 0, 1500, 1000, "partially_refunded")


async def test_captured_money_that_is_refunded_while_more_is_to_ship_is_a_part(
    database: Database, world: World
) -> None:
    order = world.order("two halves", {"sku-1": 1, "sku-3": 1}, channel=world.channels["backorder"])
    order_id = await placed(database, order, AT)
    await lose(database, [await released_and_shipped(database, order_id, "two halves")])
    await idle(database)
    assert await money(database, order_id) == (2000, 0, 1000, 1000, "partially_refunded")


async def test_shipping_prices_and_goodwill_are_refunded_within_what_was_charged(
    database: Database, world: World
) -> None:
    order_id, _ = await delivered(database, world.order("parts", 3, shipping_minor=500), AT)
    await idle(database)
    shipping = sure(await asked(database, order_id, shipping_minor=200), RefundRequested)
    assert (shipping.amount_minor, shipping.left_minor) == (200, 3300)
    price = sure(await asked(database, order_id, lines=[RefundLine(line_no=1, amount_minor=600)]), RefundRequested)
    assert (price.amount_minor, price.left_minor) == (600, 2700)
    goodwill = sure(await asked(database, order_id, goodwill_minor=270), RefundRequested)
    assert (goodwill.amount_minor, goodwill.left_minor) == (270, 2430)  # 240 of the line, 30 of the shipping
    rest = sure(await asked(database, order_id, all_shipping=True, note="was three days late"), RefundRequested)
    assert rest.amount_minor == 270
    assert (await send_back(database, order_id, 2)).refund_minor == 1440
    assert (await send_back(database, order_id, 1)).refund_minor == 720
    await idle(database)
    assert await money(database, order_id) == (3500, 0, 3500, 3500, "refunded")
    assert sum(fact["amount_minor"] for fact in await events(database, order_id, "payment_refunded")) == 3500
    await assert_clean(database)


async def test_too_much_is_refused_with_what_is_left(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("too much", 1, shipping_minor=500), AT)
    untouched = await placed(database, world.order("nothing charged", 1), AT)
    for what, left in (
        ({"shipping_minor": 501}, 500),
        ({"lines": [RefundLine(line_no=1, amount_minor=1001)]}, 1000),
        ({"goodwill_minor": 1501}, 1500),
        ({"all_shipping": True, "goodwill_minor": 1001}, 1000),
    ):
        refused = await asked(database, order_id, **what)
        assert (refused.reason, refused.left_minor) == (RefundRefusal.TOO_MUCH, left)
    early = await asked(database, untouched, goodwill_minor=1)
    assert (early.reason, early.left_minor) == (RefundRefusal.TOO_MUCH, 0)
    line = RefundLine(line_no=1, amount_minor=1)
    for what, reason in (
        ({}, RefundRefusal.INVALID),
        ({"lines": [line, line]}, RefundRefusal.INVALID),
        ({"all_shipping": True, "shipping_minor": 1}, RefundRefusal.INVALID),
        ({"lines": [RefundLine(line_no=9, amount_minor=1)]}, RefundRefusal.UNKNOWN),
    ):
        assert (await asked(database, order_id, **what)).reason is reason
    assert (await asked(database, uuid4(), goodwill_minor=1)).reason is RefundRefusal.UNKNOWN
    twice = [NewRefund(order_id=order_id, reason="late", goodwill_minor=1)] * 2
    assert [getattr(o, "reason", None) for o in await in_one(database, refund, twice, AT)] == [
        None,
        RefundRefusal.REPEATED,
    ]


async def test_what_the_provider_declined_to_charge_is_not_refunded(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REF-1: of two parcels for 1000 each, the second is not paid for; no more than the first can be given back."""
    await idle(database)
    order_id, [work] = await picked(database, world.order("declined charge", {"sku-1": 1, "sku-2": 1}), AT)

    async def leave(line_no: int) -> None:
        key: dict[str, Any] = {"order_id": order_id, "fulfillment_order_id": work}
        one = NewPackage(lines=[PackLine(line_no=line_no, quantity=1)])
        await in_one(database, pack, [Pack(**key, packages=[one])], AT)
        sure((await in_one(database, ship, [Ship(**key, tracking_number=uuid4().hex, all=True)], AT))[0], Shipped)

    await leave(1)
    await idle(database)
    assert (await money(database, order_id))[2] == 1000

    async def decline(self: Any, call: PaymentCall) -> Declined:
        return Declined("card_expired", "The card has expired.")

    with monkeypatch.context() as patch:
        patch.setattr(ManualProvider, "capture", decline)
        await leave(2)
        await idle(database)
    for what in (
        {"goodwill_minor": 1001},
        {"lines": [RefundLine(line_no=1, amount_minor=600), RefundLine(line_no=2, amount_minor=401)]},
    ):
        refused = sure(await asked(database, order_id, **what), RefundRefused)
        assert (refused.reason, refused.left_minor) == (RefundRefusal.TOO_MUCH, 1000)
        assert "declined" in refused.detail
    given = sure(await asked(database, order_id, goodwill_minor=1000), RefundRequested)
    assert (given.amount_minor, given.left_minor) == (1000, 0)
    await idle(database)
    assert (await money(database, order_id))[2:4] == (1000, 1000)
    await assert_clean(database)


async def test_a_refund_is_one_call_and_waits_for_the_charge(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REF-2: whatever fails in between; and what only waits is not given up."""
    await idle(database)
    calls: list[int] = []

    class Counted(ApprovingProvider):
        async def refund(self, call: PaymentCall) -> Approved | Declined:
            calls.append(call.amount_minor)
            return Approved(call.key)

    monkeypatch.setitem(payments.providers, "manual", Counted())
    order_id, _ = await shipped(database, world.order("waits", 1), AT)
    sure(await asked(database, order_id, goodwill_minor=100), RefundRequested)
    kind = "UPDATE core.reactions SET {} WHERE subject_id = $1 AND kind = 'capture'"
    await database.pool.execute(kind.format("dead_at = now()"), order_id)
    assert isinstance(database.clock, SimulatedClock)
    for _ in range(30):  # more often than a failure is tried again
        await Worker(database).run_until_idle()
        database.clock.advance_to(database.clock.now() + timedelta(hours=2))
    assert calls == []
    await database.pool.execute(kind.format("dead_at = NULL"), order_id)
    for _ in range(3):
        await Worker(database).run_until_idle()
        database.clock.advance_to(database.clock.now() + timedelta(hours=2))
    assert calls == [100]
    assert await money(database, order_id) == (1000, 0, 1000, 100, "partially_refunded")


async def test_an_order_under_a_flow_that_is_older_than_refunds_is_refunded(database_url: str, world: World) -> None:
    async def old(tx: Tx, version: int) -> Any:
        steps = parse(packaged(), vocabulary()).plan
        return {kind: steps[kind] for kind in ("order_placed", "shipment_shipped")}

    async with await Database.open(database_url, plans=Plans(old), clock=SimulatedClock(AT)) as database:
        order_id, _ = await delivered(database, world.order("old flow", 1), AT)
        sure(await asked(database, order_id, goodwill_minor=100), RefundRequested)
        await idle(database)
        assert (await money(database, order_id))[3] == 100


async def test_over_http(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("http", 1, shipping_minor=500), AT)
    path = f"/v1/orders/{order_id}/refunds"
    async with client(database, routes) as http:
        body = {"reason": "late", "goodwill_minor": 300, "note": "sorry"}
        key = {"idempotency-key": "once"}
        made = await http.post(path, json=body, headers=key)
        again = await http.post(path, json=body, headers=key)
        assert (made.status_code, made.json()) == (201, again.json())
        much = await http.post(path, json={"reason": "late", "shipping_minor": 500})
        assert (much.status_code, much.json()["type"]) == (409, "urn:ordino:problem:too_much")
        assert much.json()["facts"] == {"left_minor": 400}
        assert much.json()["detail"] == "Only 4.00 USD of the shipping can still be refunded, not 5.00 USD."
        await idle(database)
        [shown] = (await http.get(path)).json()["refunds"]
        assert (shown["amount_minor"], shown["shipping_minor"], shown["goodwill_minor"]) == (300, 100, 300)
        assert shown["lines"] == [{"line_no": 1, "amount_minor": 200}]
        assert (shown["note"], shown["refunded_at"] is None) == ("sorry", False)
        many = await http.post(
            "/v1/refunds", json={"refunds": [{"order_id": str(order_id), **body}, {"order_id": str(uuid4()), **body}]}
        )
        assert [outcome["outcome"] for outcome in many.json()["outcomes"]] == ["requested", "refused"]
        assert (await http.get(f"/v1/orders/{uuid4()}/refunds")).status_code == 404


async def test_a_discount_may_be_as_large_as_the_order(database: Database, world: World) -> None:
    free = world.order("free", 1, shipping_minor=500, discount_minor=1500)
    order_id = await placed(database, free, AT)
    await idle(database)
    assert await money(database, order_id) == (0, 0, 0, 0, "nothing_due")
    assert len(await events(database, order_id, "payment_authorized")) == 1  # what follows it, follows
    left = await released_and_shipped(database, order_id, "free")
    assert left.amount_minor == 0
    await lose(database, [left])
    await idle(database)
    assert await money(database, order_id) == (0, 0, 0, 0, "nothing_due")
    part = await placed(database, world.order("part", 1, shipping_minor=500, tax_minor=100, discount_minor=1300), AT)
    assert (await released_and_shipped(database, part, "part")).amount_minor == 300
    await idle(database)
    assert await money(database, part) == (300, 0, 300, 0, "captured")
    off = await placed(database, world.order("off", 1, shipping_minor=500, discount_minor=1300), AT)
    assert (await call_off(database, off)).amount_minor == 200
    too_large = structs.replace(world.order("too large", 1), discount_minor=1001, total_minor=0)
    [refused] = await in_one(database, place, [too_large], AT)
    assert sure(refused, OrderRefused).detail == (
        "The discount of 1001 is more than lines, shipping and tax together; it can be 1000 at most."
    )
    await idle(database)
    await assert_clean(database)


async def test_free_lines_and_an_order_for_nothing_ask_no_provider(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strict(ApprovingProvider):
        async def authorize(self, call: PaymentCall) -> Approved | Declined:
            assert call.amount_minor > 0, "a provider refuses to authorize nothing"
            return await super().authorize(call)

    monkeypatch.setitem(payments.providers, "manual", Strict())
    free = structs.replace(
        world.order("gift", 1), lines=[NewLine(sku="sku-1", quantity=1, unit_price_minor=0)], total_minor=0
    )
    order_id = await placed(database, free, AT)
    await idle(database)
    assert (await money(database, order_id))[4] == "nothing_due"
    left = "SELECT count(*) FROM core.reactions WHERE subject_id = $1 AND kind = 'authorize'"
    assert await database.pool.fetchval(left, order_id) == 0


async def test_an_order_that_is_cancelled_before_it_is_authorized_owes_nothing(
    database: Database, world: World
) -> None:
    order_id = await placed(database, world.order("cancelled at once", 1, shipping_minor=500), AT)
    await call_off(database, order_id)
    await idle(database)
    assert await money(database, order_id) == (0, 0, 0, 0, "nothing_due")


async def _half_delivered(database: Database, world: World, number: str) -> tuple[UUID, UUID]:
    """(order id, return id): four units for 4000 and shipping of 500, charged; two were delivered and may come back, two are about
    to be lost.
    """
    order_id, [id] = await picked(database, world.order(number, 4, shipping_minor=500), AT)
    key = {"order_id": order_id, "fulfillment_order_id": id}
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=2)]) for _ in range(2)]
    [boxed] = await in_one(database, pack, [Pack(**key, packages=boxes)], AT)
    ships = [
        Ship(**key, tracking_number=f"{number} {n}", package_ids=[package_id])
        for n, package_id in enumerate(boxed.package_ids)
    ]
    await in_one(database, ship, ships, AT)
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    arrived = TrackingEvent(tracking_number=f"{number} 0", kind=Kind.DELIVERED, at=AT)
    await in_one(database, take_events, [arrived], AT)
    wanted = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=2, reason="unwanted")])
    [allowed] = await in_one(database, authorize, [wanted], AT)
    return order_id, sure(allowed, Authorized).return_id


async def test_whatever_is_given_back_at_once_is_all_that_was_charged_and_no_more(
    database: Database, world: World
) -> None:
    """REF-1, both ways: refunds, returns and a lost parcel beside each other; a refund is refused only where less is left."""
    for round in range(3):
        order_id, return_id = await _half_delivered(database, world, f"race {round}")
        lines = [ReceivedLine(line_no=1, restocked=1)]

        async def come_back(
            cause: str, lines: Any = lines, order_id: UUID = order_id, return_id: UUID = return_id
        ) -> Any:
            receipt = ReturnReceipt(order_id=order_id, return_id=return_id, lines=lines)
            return (await in_one(database, receive, [receipt], AT))[0]

        async def get_lost(round: int = round) -> None:
            said = TrackingEvent(tracking_number=f"race {round} 1", kind=Kind.LOST, at=AT)
            await in_one(database, take_events, [said], AT)
            await Worker(database).run_until_idle()

        wishes = [asked(database, order_id, goodwill_minor=700, note=str(n)) for n in range(6)]
        outcomes = await asyncio.gather(*wishes[:3], come_back("one"), get_lost(), *wishes[3:], come_back("two"))
        refunds = [outcome for outcome in outcomes if isinstance(outcome, RefundRequested)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, RefundRefused)]
        assert len(refunds) + len(refused) == 6
        assert all(outcome.left_minor < 700 for outcome in refused)
        assert sum(isinstance(outcome, Received) for outcome in outcomes) == 2
        await idle(database)
        authorized, voided, captured, refunded, _ = await money(database, order_id)
        assert (authorized, voided, captured) == (4500, 0, 4500)
        if left := captured - refunded:
            much = await asked(database, order_id, goodwill_minor=left + 1)
            assert (much.reason, much.left_minor) == (RefundRefusal.TOO_MUCH, left)
            sure(await asked(database, order_id, goodwill_minor=left), RefundRequested)
        await idle(database)
        assert (await money(database, order_id))[3:] == (4500, "refunded")
        await assert_clean(database)


async def test_without_the_lock_concurrent_refunds_collide(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, ladder: list[str]
) -> None:
    """The negative control: with the lock taken out, both find enough, and only the constraint keeps the ledger."""
    order_id, _ = await shipped(database, world.order("no lock", 1), AT)
    both, read = asyncio.Barrier(2), ledger.lines

    async def lines(tx: Tx, order_ids: Any) -> Any:
        found = await read(tx, order_ids)
        await both.wait()
        return found

    monkeypatch.setattr(ledger, "lock", ledger.orders)
    monkeypatch.setattr(ledger, "lines", lines)
    outcomes = await asyncio.gather(
        *(asked(database, order_id, goodwill_minor=600) for _ in range(2)), return_exceptions=True
    )
    ladder.clear()  # it has seen that the lock is out
    assert any(isinstance(outcome, asyncpg.CheckViolationError) for outcome in outcomes), outcomes
