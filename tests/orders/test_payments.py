"""Payments: what is authorized, voided, charged and given back, whatever comes in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from approving import ApprovingProvider
from ordino.aftercare.model import NewRefund, RefundRequested
from ordino.aftercare.refunds import refund
from ordino.core import accounts, adapters
from ordino.core.clock import Clock, SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import AccountUnavailable, Unavailable
from ordino.core.events import Event, Plans, Step, record
from ordino.core.ids import new_ids
from ordino.core.limits import Limits
from ordino.core.reactions import Registry, Worker
from ordino.orders import payments
from ordino.orders.cancel import Cancellation, Cancelled, LineCancellation, cancel
from ordino.orders.events import RefundRequested as RefundDue
from ordino.orders.model import NewOrder
from ordino.orders.providers import Approved, Declined, PaymentCall
from ordino.warehouse.model import NewPackage, Pack, PackLine, Pick, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from outside import at_work, until
from steps import assert_clean, in_one, packed, picked, placed, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
FLOW = {
    "order_placed": (Step("authorize"),),
    "units_cancelled": (Step("void"),),
    "shipment_shipped": (Step("capture"),),
    "lost_settled": (Step("refund"),),
    "return_received": (Step("refund"),),
    "refund_requested": (Step("refund"),),
}


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async def plan(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return FLOW

    async with await Database.open(database_url, plans=Plans(plan), clock=SimulatedClock(AT)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 1000})


async def run(database: Database, *kinds: str, seconds: int = 0, wall: Clock | None = None) -> None:
    """Everything of these kinds that is due by then, one batch a kind, in this order."""
    assert isinstance(database.clock, SimulatedClock)
    database.clock.advance_to(database.clock.now() + timedelta(seconds=seconds))
    for kind in kinds:
        registry = Registry()
        registry.effect(kind, getattr(payments, kind))
        await Worker(database, registry=registry, wall=wall).run_due()


async def call_off(database: Database, order_id: UUID, quantity: int) -> None:
    wish = Cancellation(order_id=order_id, lines=[LineCancellation(line_no=1, quantity=quantity)])
    [done] = await in_one(database, cancel, [wish], AT)
    sure(done, Cancelled)


async def money(database: Database, order_id: UUID) -> dict[str, int]:
    row = await database.pool.fetchrow("SELECT * FROM orders.payments WHERE order_id = $1", order_id)
    return {kind: row[f"{kind}_minor"] for kind in ("authorized", "voided", "captured", "refunded")}


async def test_cancellations_around_the_authorization_leave_what_is_owed(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("around", 3), AT)
    await call_off(database, order_id, 1)
    await run(database, "authorize")
    await call_off(database, order_id, 1)
    await run(database, "void")
    held = await money(database, order_id)
    assert held["authorized"] - held["voided"] == 1000
    await assert_clean(database)


async def test_what_a_shipment_is_still_to_charge_is_not_voided(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("late void", 2), AT)
    await call_off(database, order_id, 1)
    await run(database, "authorize")
    [id] = (await in_one(database, release, [order_id], AT))[0].fulfillment_order_ids
    key = {"order_id": order_id, "fulfillment_order_id": id}
    await in_one(database, pick, [Pick(**key, all=True)], AT)
    await in_one(database, pack, [Pack(**key, all=True)], AT)
    await in_one(database, ship, [Ship(**key, tracking_number="late void", all=True)], AT)
    await run(database, "void", "capture")
    held = await money(database, order_id)
    assert (held["captured"], held["authorized"] - held["voided"]) == (1000, 1000)
    await assert_clean(database)


async def test_an_authorization_that_is_asked_for_again_asks_for_the_same(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[int]] = {}

    class Silent(ApprovingProvider):
        async def authorize(self, call: PaymentCall) -> Approved | Declined:
            asked.setdefault(call.key, []).append(call.amount_minor)
            if len(asked[call.key]) == 1:
                raise Unavailable("The answer did not arrive.")
            return Approved(call.key)

    monkeypatch.setitem(payments.providers, "manual", Silent())
    order_id = await placed(database, world.order("again", 3), AT)
    await run(database, "authorize")
    await call_off(database, order_id, 1)
    await run(database, "authorize", "void", seconds=2)
    assert list(asked.values()) == [[3000, 3000]]
    assert await money(database, order_id) == {"authorized": 3000, "voided": 1000, "captured": 0, "refunded": 0}
    await assert_clean(database)


async def test_an_order_that_was_cancelled_first_is_not_authorized(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("gone", 2), AT)
    await call_off(database, order_id, 2)
    await run(database, "authorize", "void")
    assert await money(database, order_id) == {"authorized": 0, "voided": 0, "captured": 0, "refunded": 0}
    left = "SELECT count(*) FROM core.reactions WHERE subject_id = $1"
    assert await database.pool.fetchval(left, order_id) == 0
    await assert_clean(database)


async def test_dropped_lines_are_not_authorized(database: Database, world: World) -> None:
    order = world.order("drops", {"sku-1": 1, "sku-2": 1}, channel=world.channels["drop"], shipping_minor=500)
    order_id = await placed(database, order, AT)
    await run(database, "authorize")
    assert await money(database, order_id) == {"authorized": 1500, "voided": 0, "captured": 0, "refunded": 0}
    await assert_clean(database)


async def test_dropped_lines_are_not_authorized_where_goods_went_out_first(database: Database, world: World) -> None:
    order = world.order("dropped", {"sku-1": 1, "sku-2": 1}, channel=world.channels["drop"], shipping_minor=500)
    order_id, [id] = await packed(database, order, AT)
    [gone] = await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="dropped", all=True)], AT
    )
    await run(database, "authorize", "capture")
    assert sure(gone, Shipped).amount_minor == 1500
    assert await money(database, order_id) == {"authorized": 1500, "voided": 0, "captured": 1500, "refunded": 0}
    await assert_clean(database)


async def test_refunds_wait_for_the_charges_that_they_need_together(database: Database, world: World) -> None:
    order_id, [id] = await picked(database, world.order("refunds", 2), AT)
    key = {"order_id": order_id, "fulfillment_order_id": id}
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=1)]) for _ in range(2)]
    [boxed] = await in_one(database, pack, [Pack(**key, packages=boxes)], AT)
    await run(database, "authorize")
    for number, package_id in enumerate(boxed.package_ids):
        item = Ship(**key, tracking_number=f"refunds {number}", package_ids=[package_id])
        await in_one(database, ship, [item], AT)
        if number == 0:
            await run(database, "capture")
    halves = [NewRefund(order_id=order_id, reason=f"half-{n}", goodwill_minor=1000) for n in range(2)]
    for asked in await in_one(database, refund, halves, AT):
        sure(asked, RefundRequested)
    await run(database, "refund")
    assert (await money(database, order_id))["refunded"] == 1000
    await run(database, "capture", "refund", seconds=2)
    assert await money(database, order_id) == {"authorized": 2000, "voided": 0, "captured": 2000, "refunded": 2000}
    await assert_clean(database)


async def test_an_authorization_that_comes_while_a_void_is_prepared_is_seen(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await placed(database, world.order("meanwhile", 2), AT)
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(ApprovingProvider):
        async def authorize(self, call: PaymentCall) -> Approved | Declined:
            asked.set()
            await answer.wait()
            return Approved(call.key)

    monkeypatch.setitem(payments.providers, "manual", Slow())
    authorization = asyncio.create_task(run(database, "authorize"))
    await asked.wait()
    await call_off(database, order_id, 1)
    look = payments.sql.still_to_move

    async def look_later(tx: Tx, **values: Any) -> Any:
        answer.set()
        await authorization
        return await look(tx, **values)

    monkeypatch.setattr(payments.sql, "still_to_move", look_later, raising=False)
    await run(database, "void")
    assert await money(database, order_id) == {"authorized": 2000, "voided": 1000, "captured": 0, "refunded": 0}
    await assert_clean(database)


async def test_a_shipment_before_its_authorization_alarms_nobody_and_spoils_no_batch(
    database: Database, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    orders = []
    for number in range(2):
        order_id, [id] = await packed(database, world.order(f"early {number}", 1), AT)
        key = {"order_id": order_id, "fulfillment_order_id": id}
        if number == 0:
            await run(database, "authorize")
        await in_one(database, ship, [Ship(**key, tracking_number=f"early {number}", all=True)], AT)
        orders.append(order_id)
    with caplog.at_level(logging.WARNING):
        await run(database, "capture")
    assert caplog.messages == []
    assert [(await money(database, order_id))["captured"] for order_id in orders] == [1000, 0]
    row = await database.pool.fetchrow("SELECT attempts, dead_at FROM core.reactions WHERE kind = 'capture'")
    assert tuple(row) == (0, None)
    await run(database, "authorize", "capture", seconds=2)
    assert (await money(database, orders[1]))["captured"] == 1000
    await assert_clean(database)


async def test_a_provider_that_is_away_is_paused_and_the_others_go_on(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Away(ApprovingProvider):
        async def authorize(self, call: PaymentCall) -> Approved | Declined:
            calls.append(call.key)
            raise AccountUnavailable("The provider is away. Check its status page.")

    monkeypatch.setitem(payments.providers, "away", Away())
    there = await placed(database, world.order("there", 1), AT)
    gone = [await placed(database, world.order(f"provider away {n}", 1), AT) for n in range(5)]
    await database.pool.execute("UPDATE orders.payments SET provider = 'away' WHERE order_id = ANY($1)", gone)
    wall = SimulatedClock(AT)
    await run(database, "authorize", wall=wall)
    assert (await money(database, there))["authorized"] == 1000
    assert len(calls) == 5
    for _ in range(3):
        await run(database, "authorize", seconds=60, wall=wall)
    assert len(calls) == 5  # the wall's clock says that the pause goes on
    rows = await database.pool.fetch("SELECT attempts, last_error FROM core.reactions WHERE kind = 'authorize'")
    assert {tuple(row) for row in rows} == {(0, "The provider is away. Check its status page.")}
    monkeypatch.setitem(payments.providers, "away", ApprovingProvider())
    await database.transact(lambda tx: accounts.try_again(tx, at=wall.now()))
    for _ in range(3):
        await run(database, "authorize", seconds=600, wall=wall)
    assert [(await money(database, order_id))["authorized"] for order_id in gone] == [1000] * 5
    assert await database.read(accounts.paused) == []
    await assert_clean(database)


class Narrow(ApprovingProvider):
    """A provider that says how many calls it bears, and counts how many it gets."""

    def __init__(self, limits: Limits) -> None:
        self.bears, self.running, self.most, self.times = limits, 0, 0, list[float]()

    def call_limits(self) -> Limits:
        return self.bears

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        self.times.append(time.monotonic())
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.02)
        self.running -= 1
        return await super().authorize(call)


@pytest.mark.parametrize(
    ("states", "told", "at_once", "per_second"),
    [
        (Limits(at_once=2), "", 2, None),
        (Limits(), "narrow=2", 2, None),
        (Limits(at_once=50), "narrow=3", 3, None),
        (Limits(at_once=1), "narrow=4", 4, None),
        (Limits(per_second=20), "narrow=4", 4, 20),
        (Limits(at_once=4), "narrow=/20", 4, 20),
    ],
    ids=["the adapter", "the setting", "both", "the setting wins", "each a part", "each the other part"],
)
async def test_lim_1_a_provider_gets_no_more_calls_than_its_adapter_or_the_settings_say(
    database: Database,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    states: Limits,
    told: str,
    at_once: int,
    per_second: float | None,
) -> None:
    provider = Narrow(states)
    monkeypatch.setitem(payments.providers, "narrow", provider)
    monkeypatch.setenv("ORDINO_CALL_LIMITS", told)
    adapters.set_limits.cache_clear()
    orders = [await placed(database, world.order(f"narrow {states} {told} {n}", 1), AT) for n in range(12)]
    await database.pool.execute("UPDATE orders.payments SET provider = 'narrow' WHERE order_id = ANY($1)", orders)
    registry = Registry()
    registry.effect("authorize", payments.authorize)

    async def all_called() -> bool:
        return len(provider.times) == 12

    try:
        async with at_work(Worker(database, registry=registry, poll_seconds=0.02)):
            await until(all_called)
    finally:
        adapters.set_limits.cache_clear()
    assert 1 <= provider.most <= at_once
    if at_once > 1 and per_second is None:
        assert provider.most > 1
    if per_second is not None:
        assert provider.times[-1] - provider.times[0] >= 11 / per_second - 0.2
    assert [(await money(database, order_id))["authorized"] for order_id in orders] == [1000] * 12


async def test_calls_to_a_provider_that_this_worker_does_not_know_wait_for_one_that_does(
    database: Database, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = await placed(database, world.order("unknown", 1), AT)
    another = await placed(database, world.order("unknown too", 1), AT)
    both = [order_id, another]
    await database.pool.execute("UPDATE orders.payments SET provider = 'elsewhere' WHERE order_id = ANY($1)", both)
    with caplog.at_level(logging.WARNING):
        await run(database, "authorize", seconds=750)
    assert [said for said in caplog.messages if "'elsewhere'" in said] == [
        "This worker knows no payment provider 'elsewhere'; calls to it wait for a worker that does."
    ]
    for _ in range(20):
        await run(database, "authorize", seconds=750)
    row = await database.pool.fetchrow(
        "SELECT attempts, dead_at, last_error FROM core.reactions WHERE subject_id = $1 AND kind = 'authorize'",
        order_id,
    )
    assert tuple(row)[:2] == (0, None)
    assert "start one that does" in row["last_error"]
    payments.providers["elsewhere"] = ApprovingProvider()
    try:
        await run(database, "authorize", seconds=750)
    finally:
        del payments.providers["elsewhere"]
    assert [(await money(database, one))["authorized"] for one in both] == [1000, 1000]


class Slow(ApprovingProvider):
    """Gives back what it is asked for once a test lets it answer."""

    def __init__(self) -> None:
        self.begun, self.answer = asyncio.Event(), asyncio.Event()
        self.given: list[int] = []

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        self.given.append(call.amount_minor)
        self.begun.set()
        await self.answer.wait()
        return Approved(call.key)


async def refunded_twice(database: Database, order: NewOrder, slow: Slow) -> tuple[UUID, asyncio.Task[None]]:
    """An order for 1000 that was charged, with two refunds of 800 each: the task that asks for the first waits for its answer."""
    order_id, [id] = await packed(database, order, AT)
    await run(database, "authorize")
    key = {"order_id": order_id, "fulfillment_order_id": id}
    await in_one(database, ship, [Ship(**key, tracking_number=order.external_id, all=True)], AT)
    await run(database, "capture")
    events = [Event(order_id, id, AT, RefundDue(refund_minor=800, reason="goodwill"), 1) for id in new_ids(AT, 2)]
    await database.transact(lambda tx: record(tx, events[:1]))
    first = asyncio.create_task(run(database, "refund"))
    await slow.begun.wait()
    await database.transact(lambda tx: record(tx, events[1:]))
    return order_id, first


async def test_two_refunds_of_an_order_by_two_workers_never_give_back_more_than_was_charged(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the answer to the first, or both would be asked for in full."""
    slow = Slow()
    monkeypatch.setitem(payments.providers, "manual", slow)
    order_id, first = await refunded_twice(database, world.order("two refunds", 1), slow)
    await run(database, "refund")
    assert slow.given == [800]
    slow.answer.set()
    await first
    await run(database, "refund", seconds=750)
    assert slow.given == [800, 200]
    assert (await money(database, order_id))["refunded"] == 1000


async def test_a_refund_that_is_answered_while_another_is_prepared_is_not_overlooked(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saw the ledger before the answer and the queue after it would give back more than was charged."""
    slow = Slow()
    monkeypatch.setitem(payments.providers, "manual", slow)
    order_id, first = await refunded_twice(database, world.order("answered meanwhile", 1), slow)
    looks: list[str] = []

    def second_look_waits(name: str) -> None:
        look = getattr(payments.sql, name)

        async def waiting(tx: Tx, **values: Any) -> Any:
            looks.append(name)
            if len(looks) == 2:
                slow.answer.set()
                await first
            return await look(tx, **values)

        monkeypatch.setattr(payments.sql, name, waiting, raising=False)

    second_look_waits("other_calls")
    second_look_waits("money_of")
    await run(database, "refund")
    await run(database, "refund", seconds=750)
    assert set(looks[:2]) == {"other_calls", "money_of"}
    assert slow.given == [800, 200]
    assert (await money(database, order_id))["refunded"] == 1000
