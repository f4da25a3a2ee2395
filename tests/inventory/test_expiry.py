"""Lots past their date: offered by nothing, picked by nobody unasked, set aside at midnight where they lie, and told."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordino.aftercare.model import NewReturn, ReceivedLine, ReturnLine, ReturnReceipt
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import receive as receive_return
from ordino.api.server import load_stages
from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.clock import Clock
from ordino.core.database import Database, Tx
from ordino.core.errors import Conflict
from ordino.core.reactions import Worker
from ordino.core.upserts import Created, NotUpserted, Updated
from ordino.flows.versions import ensure_active, flow_plans
from ordino.inventory import expiry, shelf, transfers
from ordino.inventory.adjust import Adjustment, Moved, Receipt, adjust, receive
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.explain import explain
from ordino.inventory.history import LAST
from ordino.inventory.holds import Held, HoldLine, HoldRefused, NewHold, hold
from ordino.inventory.shortfalls import Closure, close
from ordino.inventory.totals import totals
from ordino.inventory.transfers import NewTransfer, Shipment, TransferDone, TransferLine, TransferRefused
from ordino.inventory.unavailable import SetAside, expire_lots, restore
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.future import future
from ordino.orders.model import OrderRefused, Placed
from ordino.orders.place import place
from ordino.orders.shortfalls import shortfalls_before
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Pick, Picked, PickedLot, PickLine, Ship, WorkRefused
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship
from steps import assert_clean, in_one, placed, react, released, stock, sure
from world import World, small_world

DAY = date(2026, 3, 2)
BEFORE = datetime(2026, 3, 2, 15, tzinfo=UTC)  # ten in the morning where the lots lie, and their last day
AT = BEFORE + timedelta(days=1)
GOOD = date(2026, 9, 1)


class Now(Clock):
    def now(self) -> datetime:
        return AT


@pytest.fixture
async def flowing(database_url: str) -> Any:
    """A database whose events are followed by what the packaged flow says, a day after ``DAY``."""
    load_stages()
    async with await Database.open(database_url, plans=flow_plans(), clock=Now(), pool_size=8) as database:
        await database.transact(lambda tx: ensure_active(tx, at=BEFORE))
        yield database


@pytest.fixture
async def world(flowing: Database) -> World:
    """5 units of the lot ``old`` and 5 of ``good`` at the first location; a kit takes two units."""
    return await build(flowing)


async def build(database: Database, *, old: int = 5, good: int = 5) -> World:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=0)
    prefix = world.sku.removesuffix("sku-1")
    goods = [
        Sku(code=f"{prefix}lot", name="L", weight_grams=100, tracking="lot", expiry_required=True, backorderable=True),
        Sku(code=f"{prefix}kit", name="K", weight_grams=200),
    ]
    for outcome in await in_one(database, upsert_skus, goods, BEFORE):
        sure(outcome, Created)
    kit = Kit(sku=goods[1].code, components=[Component(sku=goods[0].code, quantity=2)])
    await in_one(database, upsert_kits, [kit], BEFORE)
    codes = [one.code for one in goods]
    rows = await database.pool.fetch("SELECT code, sku_id FROM catalog.sku_codes WHERE code = any($1)", codes)
    world = replace(world, skus=codes, sku_ids={row["code"]: row["sku_id"] for row in rows})
    for lot, units, day in (("old", old, DAY), ("good", good, GOOD)):
        if units:
            await got(database, world, units, lot, day, BEFORE)
    return world


async def got(
    database: Database, world: World, units: int, lot: str, day: date | None = None, at: datetime = AT
) -> Moved:
    one = Receipt(sku=world.sku, location=world.location, quantity=units, lot=lot, expires_on=day)
    return sure((await in_one(database, receive, [one], at))[0], Moved)


async def told(database: Database, world: World, at: datetime, sku: int = 0) -> Availability:
    ask = Ask(world.skus[sku], world.channel, None)
    [answer] = await database.read(lambda tx: available(tx, [ask], at=at))
    [total] = await database.read(lambda tx: totals(tx, [ask], at=at))
    found, short = sure(answer, Availability), sure(total, Availability)
    assert found.available == short.available
    return found


async def here(database: Database, world: World) -> tuple[int, int, int]:
    return await stock(database, world.sku_ids[world.sku], world.location_ids[world.location])


async def lies(database: Database, world: World) -> dict[tuple[str, str], int]:
    """(bin, lot) -> units."""
    rows = await database.pool.fetch(
        "SELECT bin, lot, quantity FROM inventory.detail WHERE sku_id = $1 AND quantity > 0", world.sku_ids[world.sku]
    )
    return {(row["bin"], row["lot"]): row["quantity"] for row in rows}


async def aside(database: Database, world: World) -> int:
    units = (
        "SELECT coalesce(sum(quantity), 0)::int FROM inventory.unavailable WHERE sku_id = $1 AND condition = 'expired'"
    )
    return int(await database.pool.fetchval(units, world.sku_ids[world.sku]))


async def run_duty(database: Database, at: datetime = AT) -> None:
    await database.transact(lambda tx: expire_lots(tx, at, at))


async def missing(database: Database, world: World) -> list[tuple[int, int]]:
    """(missing, open) of the shortfalls."""
    found = await database.read(lambda tx: shortfalls_before(tx, LAST, 100, all=True))
    return [(one.missing, one.open) for one in found if one.sku == world.sku]


# -- what is offered ---------------------------------------------------------------------------------------------------


async def test_expired_units_are_offered_by_nothing_before_the_duty_has_run(flowing: Database, world: World) -> None:
    assert (await told(flowing, world, BEFORE)).available == 10
    found = await told(flowing, world, AT)
    assert (found.available, found.locations[0].on_hand, found.locations[0].expired) == (5, 10, 5)
    kits = await told(flowing, world, AT, 1)
    assert (kits.available, kits.locations[0].on_hand, kits.locations[0].expired) == (2, 5, 3)
    ask = Ask(world.sku, world.channel, None)
    why = (await flowing.read(lambda tx: explain(tx, ask, at=AT))).of[0].locations[0]
    assert (why.available, why.expired, why.why) == (5, 5, "10 on hand - 5 expired = 5")
    assert (await flowing.read(lambda tx: future(tx, ask, at=AT))).available == 5


async def test_nobody_is_promised_expired_units(flowing: Database, world: World) -> None:
    cart = NewHold(channel=world.channel, cart="c", minutes=10, lines=[HoldLine(sku=world.sku, quantity=6)])
    sure((await in_one(flowing, hold, [cart], AT))[0], HoldRefused)
    six = NewTransfer(
        origin=world.location, destination=world.locations[1], lines=[TransferLine(sku=world.sku, quantity=6)]
    )
    assert sure((await in_one(flowing, transfers.request, [six], AT))[0], TransferRefused).reason == "too_few"
    sure((await in_one(flowing, place, [world.order("six", 6)], AT))[0], OrderRefused)
    sure((await in_one(flowing, hold, [replace(cart, lines=[HoldLine(sku=world.sku, quantity=2)])], AT))[0], Held)
    sure((await in_one(flowing, place, [world.order("three", 3)], AT))[0], Placed)
    sure((await in_one(flowing, place, [world.order("one", 1)], AT))[0], OrderRefused)
    assert await here(flowing, world) == (10, 5, 0)
    await assert_clean(flowing)


async def test_the_day_ends_at_midnight_where_the_lot_lies(flowing: Database, world: World) -> None:
    assert (await told(flowing, world, datetime(2026, 3, 3, 4, 59, tzinfo=UTC))).available == 10
    assert (await told(flowing, world, datetime(2026, 3, 3, 5, 0, tzinfo=UTC))).available == 5
    await run_duty(flowing, datetime(2026, 3, 3, 4, 59, tzinfo=UTC))
    assert await aside(flowing, world) == 0
    await run_duty(flowing, datetime(2026, 3, 3, 5, 0, tzinfo=UTC))
    assert await aside(flowing, world) == 5


async def test_a_sku_may_stop_selling_days_before_the_date(flowing: Database, world: World) -> None:
    sku = Sku(
        code=world.sku, name="L", weight_grams=100, tracking="lot", expiry_required=True, backorderable=True,
        stop_selling_days=3,
    )  # fmt: skip
    sure((await in_one(flowing, upsert_skus, [sku], BEFORE))[0], Updated)
    assert (await told(flowing, world, BEFORE - timedelta(days=3))).available == 10
    assert (await told(flowing, world, BEFORE - timedelta(days=2))).available == 5
    [wrong] = await in_one(flowing, upsert_skus, [Sku(code="plain", name="P", stop_selling_days=3)], BEFORE)
    assert sure(wrong, NotUpserted).pointer == "/stop_selling_days"


async def test_skus_without_lots_ask_the_database_nothing_more(
    flowing: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await small_world(flowing, prefix=f"{uuid4().hex[:8]}-", skus=1, stock=5)
    asked: list[str] = []
    fetch = Tx.fetch

    async def listening(tx: Tx, query: str, /, *args: Any) -> Any:
        asked.append(query)
        return await fetch(tx, query, *args)

    monkeypatch.setattr(Tx, "fetch", listening)
    plain, lots = other.sku_ids[other.sku], world.sku_ids[world.sku]

    async def about(sku_id: int) -> int:
        async def look(tx: Tx) -> int:
            await expiry.lot_tracked(tx, [sku_id])
            before = len(asked)
            await expiry.expired_units(tx, [sku_id], at=AT)
            return len(asked) - before

        return await flowing.transact(look)

    assert await about(plain) == 0
    assert await about(lots) >= 1


# -- picks and transfers -----------------------------------------------------------------------------------------------


async def test_a_pick_takes_good_units_and_refuses_a_lot_that_has_expired(flowing: Database, world: World) -> None:
    order_id, [work] = await released(flowing, world.order("four", 4), AT)
    named = PickLine(line_no=1, picked=4, lots=[PickedLot(lot="old", quantity=4)])
    [no] = await in_one(flowing, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[named])], AT)
    assert sure(no, WorkRefused).detail == (
        "The lot 'old' expires on 2026-03-02 and may no longer be sold. "
        "Pick another lot, or report the units as short, with the reason 'expired'."
    )
    sure((await in_one(flowing, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], AT))[0], Picked)
    assert await lies(flowing, world) == {("-", "old"): 5, ("-", "good"): 1, ("(picked)", "good"): 4}
    await assert_clean(flowing)


async def test_a_pick_of_more_than_the_good_units_says_so_and_short_ones_are_set_aside(flowing: Database) -> None:
    world = await build(flowing, old=5, good=3)
    order_id, [work] = await released(flowing, world.order("three kits", {world.skus[1]: 3}), BEFORE)
    asked = Pick(order_id=order_id, fulfillment_order_id=work, all=True)
    [no] = await in_one(flowing, pick, [asked], AT)
    assert "only 3 units lie on shelves here that may still be sold, not 6" in sure(no, WorkRefused).detail
    line = PickLine(line_no=1, picked=1, short=2, short_reason="expired")
    sure((await in_one(flowing, pick, [replace(asked, lines=[line], all=False)], AT))[0], Picked)
    assert await lies(flowing, world) == {("-", "good"): 1, ("(picked)", "good"): 2}
    assert (await here(flowing, world), await aside(flowing, world)) == ((3, 2, 2), 5)
    await assert_clean(flowing)


async def test_a_transfer_sends_good_units_only(flowing: Database) -> None:
    world = await build(flowing, old=5, good=3)
    seven = NewTransfer(
        origin=world.location, destination=world.locations[1], lines=[TransferLine(sku=world.sku, quantity=7)]
    )
    transfer_id = sure((await in_one(flowing, transfers.request, [seven], BEFORE))[0], TransferDone).transfer_id
    [no] = await in_one(flowing, transfers.ship, [Shipment(transfer_id=transfer_id, all=True)], AT)
    assert sure(no, TransferRefused).reason == "too_few"
    some = Shipment(transfer_id=transfer_id, lines=[transfers.SentLine(line_no=1, quantity=3)])
    sure((await in_one(flowing, transfers.ship, [some], AT))[0], TransferDone)
    assert await lies(flowing, world) == {("-", "old"): 5}
    sure((await in_one(flowing, transfers.cancel, [transfer_id], AT))[0], TransferDone)
    assert (await here(flowing, world), await aside(flowing, world)) == ((0, 0, 0), 5)
    await assert_clean(flowing)


# -- the duty and shortfalls -------------------------------------------------------------------------------------------


async def test_free_units_go_first_and_the_rest_is_a_shortfall_that_sources_anew(flowing: Database) -> None:
    world = await build(flowing, old=6, good=4)
    first, second = [await placed(flowing, world.order(name, 4), BEFORE) for name in ("first", "second")]
    await run_duty(flowing)
    assert (await here(flowing, world), await aside(flowing, world)) == ((8, 8, 0), 2)
    assert await missing(flowing, world) == [(4, 4)]
    await run_duty(flowing)
    assert await missing(flowing, world) == [(4, 4)]
    await assert_clean(flowing)
    await Worker(flowing).run_until_idle()
    assert (await here(flowing, world), await aside(flowing, world)) == ((4, 4, 0), 6)
    assert await missing(flowing, world) == [(4, 0)]
    assert await lies(flowing, world) == {("-", "good"): 4}
    rows = await flowing.pool.fetch(
        "SELECT order_id, backordered FROM orders.lines WHERE order_id = any($1)", [first, second]
    )
    assert {row["order_id"]: row["backordered"] for row in rows} == {first: 0, second: 4}
    await assert_clean(flowing)


async def test_work_in_the_warehouse_is_reported_short_and_nothing_is_written_off(flowing: Database) -> None:
    world = await build(flowing, old=3, good=0)
    order_id, [_] = await released(flowing, world.order("three", 3), BEFORE)
    await run_duty(flowing)
    await Worker(flowing).run_until_idle()
    assert (await here(flowing, world), await aside(flowing, world)) == ((0, 0, 0), 3)
    kinds = "SELECT count(*) FROM inventory.moves WHERE sku_id = $1 AND kind IN ('adjusted', 'counted')"
    assert await flowing.pool.fetchval(kinds, world.sku_ids[world.sku]) == 0
    units = "SELECT backordered FROM orders.lines WHERE order_id = $1"
    assert await flowing.pool.fetchval(units, order_id) == 3
    await assert_clean(flowing)


async def test_good_units_that_come_cover_what_orders_hold_of_expired_ones(flowing: Database) -> None:
    world = await build(flowing, old=5, good=0)
    await placed(flowing, world.order("four", 4), BEFORE)
    await run_duty(flowing)
    assert await missing(flowing, world) == [(4, 4)]
    [shortfall] = [
        one
        for one in await flowing.read(lambda tx: shortfalls_before(tx, LAST, 100, all=False))
        if one.sku == world.sku
    ]
    with pytest.raises(Conflict, match="have expired"):
        await flowing.transact(lambda tx: close(tx, shortfall.shortfall_id, Closure(reason="found"), at=AT))
    assert (await got(flowing, world, 3, "new", GOOD)).on_hand == 4
    assert (await here(flowing, world), await missing(flowing, world)) == ((4, 4, 0), [(4, 1)])
    assert (await got(flowing, world, 3, "new", GOOD)).on_hand == 6
    assert (await here(flowing, world), await missing(flowing, world)) == ((6, 4, 0), [(4, 0)])
    assert (await aside(flowing, world), await lies(flowing, world)) == (5, {("-", "new"): 6})
    await assert_clean(flowing)


async def test_picked_units_that_come_back_expired_are_set_aside_at_once(flowing: Database) -> None:
    world = await build(flowing, old=5, good=2)
    order_id, [work] = await released(flowing, world.order("four", 4), BEFORE)
    sure(
        (await in_one(flowing, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], BEFORE))[0], Picked
    )
    await run_duty(flowing)
    assert (await here(flowing, world), await aside(flowing, world)) == ((6, 4, 4), 1)
    await in_one(flowing, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    await Worker(flowing).run_until_idle()
    assert (await here(flowing, world), await aside(flowing, world)) == ((2, 0, 0), 5)
    await assert_clean(flowing)


# -- what comes in -----------------------------------------------------------------------------------------------------


async def test_a_receipt_of_an_expired_lot_is_set_aside_and_told(flowing: Database) -> None:
    world = await build(flowing, old=0, good=5)
    told_ = await got(flowing, world, 4, "late", DAY)
    assert (told_.delta, told_.on_hand, told_.expired) == (4, 5, 4)
    found = Adjustment(sku=world.sku, location=world.location, delta=2, reason="found", lot="late")
    more = sure((await in_one(flowing, adjust, [found], AT))[0], Moved)
    assert (more.delta, more.on_hand, more.expired) == (2, 5, 2)
    assert (await here(flowing, world), await aside(flowing, world)) == ((5, 0, 0), 6)
    back = SetAside(sku=world.sku, location=world.location, quantity=1, condition="expired", lot="late")
    assert "scrap the units" in (await in_one(flowing, restore, [back], AT))[0].detail
    await assert_clean(flowing)


async def test_returned_units_of_an_expired_lot_are_set_aside_and_told(flowing: Database) -> None:
    world = await build(flowing, old=3, good=0)
    order_id, [work] = await released(flowing, world.order("two", 2), BEFORE)
    await in_one(flowing, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], BEFORE)
    await go_out(flowing, order_id, work)
    wanted = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=2, reason="x")])
    [back] = await in_one(flowing, authorize, [wanted], BEFORE)
    lines = [ReceivedLine(line_no=1, restocked=2)]
    receipt = ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)
    [done] = await in_one(flowing, receive_return, [receipt], AT)
    assert (done.restocked, done.expired) == (2, 2)
    assert (await here(flowing, world), await aside(flowing, world)) == ((0, 0, 0), 3)
    await assert_clean(flowing)


async def go_out(database: Database, order_id: UUID, work: UUID) -> None:
    await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=work, all=True)], BEFORE)
    number = f"T-{uuid4().hex}"
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number=number, all=True)], BEFORE
    )
    await react(database, watch_parcel, order_id, "shipment_shipped", BEFORE)
    await in_one(database, take_events, [TrackingEvent(tracking_number=number, kind=Kind.DELIVERED, at=BEFORE)], BEFORE)


# -- races -------------------------------------------------------------------------------------------------------------


async def sold(database: Database, world: World) -> int:
    """Two orders for 4 each, side by side, where 5 are good: how many are taken."""
    look = shelf.ledger.free

    async def slowly(*args: Any, **options: Any) -> Any:
        free = await look(*args, **options)
        await asyncio.sleep(0.2)
        return free

    shelf.ledger.free = slowly  # type: ignore[assignment]
    try:
        orders = [world.order(name, 4) for name in ("one", "two")]
        outcomes = await asyncio.gather(*(in_one(database, place, [order], AT) for order in orders))
    finally:
        shelf.ledger.free = look
    return sum(isinstance(outcome, Placed) for [outcome] in outcomes)


async def test_of_good_units_each_is_sold_once_while_expired_ones_lie_beside_them(
    flowing: Database, world: World
) -> None:
    assert await sold(flowing, world) == 1
    assert await here(flowing, world) == (10, 4, 0)


async def test_without_the_lock_expired_units_would_be_sold(
    flowing: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any, **__: Any) -> dict[Any, Any]:
        return {}

    monkeypatch.setattr(shelf.expiry, "expired_lots", nothing)
    monkeypatch.setattr(expiry, "expired_units", _units_of(expiry.sql))
    assert await sold(flowing, world) == 2


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_around_midnight_only_good_units_are_picked(flowing: Database, seed: int) -> None:
    """Orders of the day before hold units of both lots; after midnight they are picked, cancelled and joined by others, while the
    duty runs and good units come.
    """
    dice = random.Random(seed)
    world = await build(flowing, old=20, good=12)
    waits = world.channels["backorder"]
    before = [await released(flowing, world.order(f"b{n}", 2, channel=waits), BEFORE) for n in range(12)]
    picked = came = 0

    async def work(order_id: UUID, works: list[UUID]) -> None:
        nonlocal picked
        await asyncio.sleep(dice.random() / 5)
        if dice.random() < 0.4:
            await in_one(flowing, cancel, [Cancellation(order_id=order_id, all=True)], AT)
            return
        asked = [Pick(order_id=order_id, fulfillment_order_id=one, all=True) for one in works]
        picked += sum(o.picked for o in await in_one(flowing, pick, asked, AT) if isinstance(o, Picked))

    async def buy(number: int) -> None:
        await asyncio.sleep(dice.random() / 5)
        await in_one(flowing, place, [world.order(f"a{number}", 2)], AT)

    async def deliver(number: int) -> None:
        nonlocal came
        await asyncio.sleep(dice.random() / 5)
        await got(flowing, world, 3, f"new{number}", GOOD)
        came += 3

    jobs = [work(*one) for one in before] + [buy(n) for n in range(8)] + [deliver(n) for n in range(3)]
    await asyncio.gather(*jobs, *(run_duty(flowing) for _ in range(3)))
    await assert_clean(flowing)
    await run_duty(flowing)
    await Worker(flowing).run_until_idle()
    await run_duty(flowing)
    there = await lies(flowing, world)
    assert {lot for bin_, lot in there if bin_ == "(picked)"} <= {"good", "new0", "new1", "new2"}
    assert sum(units for (bin_, _), units in there.items() if bin_ == "(picked)") >= picked
    on_hand, reserved, _ = await here(flowing, world)
    assert (on_hand, await aside(flowing, world)) == (12 + came, 20)
    assert reserved <= on_hand
    assert all(open_ == 0 for _, open_ in await missing(flowing, world))
    await assert_clean(flowing)


def _units_of(sql: Any) -> Any:
    async def units(tx: Tx, sku_ids: Any, *, at: datetime) -> dict[tuple[int, int], int]:
        rows = await sql.lots_before(tx, sku_ids=list(sku_ids), before=at.date())
        return {(row["sku_id"], row["location_id"]): row["quantity"] for row in rows}

    return units
