"""Bins, lots and serial numbers, from receipt to return."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordino.aftercare.model import NewReturn, ReceivedLine, ReturnLine, ReturnReceipt
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import receive as receive_return
from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import Database
from ordino.core.upserts import Created, NotUpserted, Unchanged
from ordino.inventory import transfers
from ordino.inventory.adjust import (
    Adjustment,
    Count,
    Moved,
    Receipt,
    StockRefusal,
    StockRefused,
    adjust,
    count,
    receive,
)
from ordino.inventory.bins import Bin, BinMove, BinMoved, BinMoveRefused, move_bins, upsert_bins
from ordino.inventory.detail_view import DetailView, detail_view, serial_view
from ordino.inventory.transfers import Arrival, ArrivedLine, NewTransfer, SentLine, Shipment, TransferLine
from ordino.inventory.transfers import TransferDone as Sent
from ordino.inventory.unavailable import Aside, SetAside, expire_lots, restore, scrap, set_aside
from ordino.network import read as network_read
from ordino.network.upsert import upsert_locations
from ordino.orders.cancel import Cancellation, cancel
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Pick, Picked, PickedLot, PickLine, Ship, WorkRefused
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship
from steps import assert_clean, in_one, placed, react, released, stock, sure
from test_deadlocks import counted
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SOON, LATER, PAST = date(2026, 4, 1), date(2026, 9, 1), date(2026, 2, 1)


@pytest.fixture
async def world(database: Database) -> World:
    """``lot`` and ``serial`` are tracked so, ``plain`` is not; the first location has the bins A-1 and B-2."""
    return await build(database)


async def build(database: Database) -> World:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=20)
    prefix = world.sku.removesuffix("sku-1")
    codes = [f"{prefix}lot", f"{prefix}serial"]
    goods = [
        Sku(code=codes[0], name="L", weight_grams=100, tracking="lot", expiry_required=True),
        Sku(code=codes[1], name="S", weight_grams=100, tracking="serial"),
    ]
    for outcome in await in_one(database, upsert_skus, goods, AT):
        sure(outcome, Created)
    [place_] = await database.read(lambda tx: network_read.locations(tx, [world.location]))
    await in_one(database, upsert_locations, [replace(place_, bins=True)], AT)
    for outcome in await in_one(
        database, upsert_bins, [Bin(location=world.location, code=c) for c in ("A-1", "B-2")], AT
    ):
        sure(outcome, Created)
    rows = await database.pool.fetch("SELECT code, sku_id FROM catalog.sku_codes WHERE code = any($1)", codes)
    return replace(
        world, skus=[world.sku, *codes], sku_ids=world.sku_ids | {row["code"]: row["sku_id"] for row in rows}
    )


async def got(database: Database, world: World, sku: int, quantity: int, place_: int = 0, **more: Any) -> list[Any]:
    one = Receipt(sku=world.skus[sku], location=world.locations[place_], quantity=quantity, **more)
    return await in_one(database, receive, [one], AT)


async def look(database: Database, world: World, sku: int, place_: int = 0) -> DetailView:
    return await database.read(lambda tx: detail_view(tx, world.skus[sku], location=world.locations[place_], at=AT))


async def bins(database: Database, world: World, sku: int, place_: int = 0) -> dict[tuple[str, str | None], int]:
    return {(row.bin, row.lot): row.quantity for row in (await look(database, world, sku, place_)).bins}


async def go_out(database: Database, order_id: UUID, work: UUID) -> None:
    await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=work, all=True)], AT)
    number = f"T-{uuid4().hex}"
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number=number, all=True)], AT
    )
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    await in_one(database, take_events, [TrackingEvent(tracking_number=number, kind=Kind.DELIVERED, at=AT)], AT)


# -- bins --------------------------------------------------------------------------------------------------------------


async def test_units_are_put_away_picked_from_bins_and_gone(database: Database, world: World) -> None:
    sure((await got(database, world, 0, 5, bin="A-1"))[0], Moved)
    assert await bins(database, world, 0) == {("-", None): 20, ("A-1", None): 5}
    put = BinMove(sku=world.sku, location=world.location, to_bin="B-2", quantity=18)
    sure((await in_one(database, move_bins, [put], AT))[0], BinMoved)
    order_id, [work] = await released(database, world.order("six", 6), AT)
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], AT)
    assert await bins(database, world, 0) == {("A-1", None): 1, ("B-2", None): 18, ("(picked)", None): 6}
    await go_out(database, order_id, work)
    assert await bins(database, world, 0) == {("A-1", None): 1, ("B-2", None): 18}
    lost = Adjustment(sku=world.sku, location=world.location, delta=-3, reason="lost", bin="B-2")
    sure((await in_one(database, adjust, [lost], AT))[0], Moved)
    counted = Count(sku=world.sku, location=world.location, on_hand=20)
    sure((await in_one(database, count, [counted], AT))[0], Moved)
    assert await bins(database, world, 0) == {("-", None): 4, ("A-1", None): 1, ("B-2", None): 15}
    await assert_clean(database)


async def test_bins_are_refused_in_words(database: Database, world: World) -> None:
    asked = [
        Receipt(sku=world.sku, location=world.location, quantity=1, bin="Z-9"),
        Receipt(sku=world.sku, location=world.locations[1], quantity=1, bin="A-1"),
        Receipt(sku=world.sku, location=world.location, quantity=1, lot="L"),
        Receipt(sku=world.sku, location=world.location, quantity=1, serials=["S"]),
    ]
    told = [(o.reason, o.pointer) for o in await in_one(database, receive, asked, AT)]
    assert told == [("detail", "/bin"), ("detail", "/bin"), ("detail", "/lot"), ("detail", "/serials")]
    here = {"sku": world.sku, "location": world.location}
    moves = [
        BinMove(**here, to_bin="Z-9", quantity=1),
        BinMove(**here, from_bin="A-1", to_bin="B-2", quantity=1),
        BinMove(sku="x", location=world.location, to_bin="A-1", quantity=1),
        BinMove(sku=world.sku, location=world.locations[1], to_bin="A-1", quantity=1),
        BinMove(**here, to_bin="A-1", quantity=20),
        BinMove(**here, to_bin="A-1", quantity=1),
    ]
    told = [
        o.reason if isinstance(o, BinMoveRefused) else "moved" for o in await in_one(database, move_bins, moves, AT)
    ]
    assert told == ["unknown", "too_few", "unknown", "unknown", "moved", "too_few"]
    much = Adjustment(**here, delta=-1, reason="lost", bin="B-2")
    assert (
        sure((await in_one(database, adjust, [much], AT))[0], StockRefused).detail
        == "Only 0 units lie in bin 'B-2', not 1."
    )
    again = Bin(location=world.location, code="A-1")
    nowhere = Bin(location=world.locations[1], code="A-1")
    outcomes = await in_one(database, upsert_bins, [again, nowhere], AT)
    assert [type(o) for o in outcomes] == [Unchanged, NotUpserted]
    [place_] = await database.read(lambda tx: network_read.locations(tx, [world.location]))
    [stays] = await in_one(database, upsert_locations, [replace(place_, bins=False)], AT)
    assert sure(stays, NotUpserted).pointer == "/bins"
    await assert_clean(database)


# -- lots --------------------------------------------------------------------------------------------------------------


async def test_the_first_to_expire_goes_first_and_comes_back_as_it_was(database: Database, world: World) -> None:
    sure((await got(database, world, 1, 5, lot="late", expires_on=LATER))[0], Moved)
    sure((await got(database, world, 1, 3, lot="soon", expires_on=SOON, bin="A-1"))[0], Moved)
    sure((await got(database, world, 1, 1, lot="late"))[0], Moved)  # its date is known
    lots = (await look(database, world, 1)).lots
    assert [(lot.lot, lot.on_hand, lot.available) for lot in lots] == [("soon", 3, 3), ("late", 6, 6)]
    order_id, [work] = await released(database, world.order("four", {world.skus[1]: 4}), AT)
    lots = (await look(database, world, 1)).lots
    assert [(lot.lot, lot.available) for lot in lots] == [("soon", 0), ("late", 5)]
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], AT)
    assert await bins(database, world, 1) == {("-", "late"): 5, ("(picked)", "soon"): 3, ("(picked)", "late"): 1}
    await go_out(database, order_id, work)
    wanted = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=4, reason="x")])
    [back] = await in_one(database, authorize, [wanted], AT)
    lines = [ReceivedLine(line_no=1, restocked=4)]
    receipt = ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)
    await in_one(database, receive_return, [receipt], AT)
    assert await bins(database, world, 1) == {("-", "late"): 6, ("-", "soon"): 3}
    await assert_clean(database)


async def test_a_picker_may_say_which_lots(database: Database, world: World) -> None:
    await got(database, world, 1, 5, lot="late", expires_on=LATER)
    await got(database, world, 1, 3, lot="soon", expires_on=SOON)
    order_id, [work] = await released(database, world.order("four", {world.skus[1]: 4}), AT)

    def picking(*lots: tuple[str, int]) -> Pick:
        parts = [PickedLot(lot=lot, quantity=units) for lot, units in lots]
        return Pick(order_id=order_id, fulfillment_order_id=work, lines=[PickLine(line_no=1, picked=4, lots=parts)])

    wrong = [picking(("late", 3)), picking(("soon", 4)), picking(("none", 4))]
    for item in wrong:
        assert sure((await in_one(database, pick, [item], AT))[0], WorkRefused).reason == "detail"
    sure((await in_one(database, pick, [picking(("late", 3), ("soon", 1))], AT))[0], Picked)
    assert await bins(database, world, 1) == {
        ("-", "late"): 2, ("-", "soon"): 2, ("(picked)", "late"): 3, ("(picked)", "soon"): 1,
    }  # fmt: skip
    await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    await assert_clean(database)


async def test_lots_are_refused_in_words(database: Database, world: World) -> None:
    lot = {"sku": world.skus[1], "location": world.location, "quantity": 2}
    asked = [
        Receipt(**lot),
        Receipt(**lot, lot="new"),
        Receipt(**lot, lot="new", expires_on=SOON),
        Receipt(**lot, lot="new", expires_on=LATER),
        Receipt(**lot, lot="new"),
    ]
    told = [o.pointer if isinstance(o, StockRefused) else o.on_hand for o in await in_one(database, receive, asked, AT)]
    assert told == ["/lot", "/expires_on", 2, "/expires_on", 4]
    here = {"sku": world.skus[1], "location": world.location, "reason": "lost"}
    deltas = [
        Adjustment(**here, delta=-3, lot="new"),
        Adjustment(**here, delta=-2, lot="new"),
        Adjustment(**here, delta=-1),
    ]
    told = [o.pointer if isinstance(o, StockRefused) else o.on_hand for o in await in_one(database, adjust, deltas, AT)]
    assert told == [1, "", "/lot"]
    counted = Count(sku=world.skus[1], location=world.location, on_hand=7)
    assert sure((await in_one(database, count, [counted], AT))[0], StockRefused).reason is StockRefusal.DETAIL
    changed = Sku(code=world.skus[1], name="L", tracking="none")
    [stays] = await in_one(database, upsert_skus, [changed], AT)
    assert sure(stays, NotUpserted).pointer == "/tracking"
    await assert_clean(database)


async def test_expired_lots_are_set_aside_as_far_as_they_are_free(database: Database, world: World) -> None:
    then = datetime(2026, 1, 5, 9, tzinfo=UTC)
    old = Receipt(sku=world.skus[1], location=world.location, quantity=5, lot="old", expires_on=PAST)
    await in_one(database, receive, [old, replace(old, quantity=3, lot="soon", expires_on=SOON)], then)
    await placed(database, world.order("four", {world.skus[1]: 4}), then)
    lots = (await look(database, world, 1)).lots
    assert [(lot.lot, lot.expired, lot.available) for lot in lots] == [("old", True, 0), ("soon", False, 0)]
    await database.transact(lambda tx: expire_lots(tx, AT, AT))
    assert await bins(database, world, 1) == {("-", "old"): 1, ("-", "soon"): 3}
    await database.transact(lambda tx: expire_lots(tx, AT, AT))
    kind = "SELECT data->>'lot' FROM core.events WHERE kind = 'lot_expired_reserved' AND (data->>'sku_id')::int = $1"
    assert await database.pool.fetchval(kind, world.sku_ids[world.skus[1]]) == "old"
    aside = "SELECT quantity FROM inventory.unavailable WHERE sku_id = $1 AND condition = 'expired'"
    assert await database.pool.fetchval(aside, world.sku_ids[world.skus[1]]) == 4
    await assert_clean(database)


# -- serial numbers ----------------------------------------------------------------------------------------------------


async def test_two_who_name_the_same_serial_numbers_the_other_way_round_do_not_wait_in_a_circle(
    database: Database, world: World
) -> None:
    """At different locations no position is common to them: who comes second finds the units taken, and nobody deadlocks."""
    sku, names = world.skus[2], [f"R{n}" for n in range(12)]
    sure((await got(database, world, 2, 12, serials=names))[0], Moved)
    gone = Adjustment(sku=sku, location=world.location, delta=-12, reason="lost", serials=names)
    sure((await in_one(database, adjust, [gone], AT))[0], Moved)
    with counted() as deadlocks:
        here, there = await asyncio.gather(
            *(
                in_one(
                    database,
                    receive,
                    [Receipt(sku=sku, location=place_, quantity=1, serials=[name]) for name in order],
                    AT,
                )
                for place_, order in zip(world.locations, (names, names[::-1]), strict=True)
            )
        )
    assert deadlocks.seen == 0
    assert sorted((sum(isinstance(o, Moved) for o in here), sum(isinstance(o, Moved) for o in there))) == [0, 12]
    await assert_clean(database)


async def test_a_serial_number_that_is_scrapped_says_so(database: Database, world: World) -> None:
    sku = world.skus[2]
    sure((await got(database, world, 2, 3, serials=["S1", "S2", "S3"]))[0], Moved)
    order_id, [work] = await released(database, world.order("two", {sku: 2}), AT)
    line = PickLine(line_no=1, picked=2, serials=["S1", "S2"])
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, lines=[line])], AT)
    await go_out(database, order_id, work)
    wanted = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=2, reason="x")])
    [back] = await in_one(database, authorize, [wanted], AT)

    def came(**said: Any) -> ReturnReceipt:
        lines = [ReceivedLine(line_no=1, restocked=1, scrapped=1, **said)]
        return ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)

    [no] = await in_one(database, receive_return, [came(serials=["S1"])], AT)
    assert no.detail == ("The SKU has serial numbers: name the 1 that were scrapped in `scrapped_serials`, each once.")
    assert no.pointer == "/lines/0/scrapped_serials"
    [no] = await in_one(database, receive_return, [came(serials=["S1"], scrapped_serials=["S1"])], AT)
    assert no.pointer == "/lines/0/scrapped_serials"
    [done] = await in_one(database, receive_return, [came(serials=["S1"], scrapped_serials=["S2"])], AT)
    assert (done.restocked, done.scrapped) == (1, 1)
    aside = SetAside(sku=sku, location=world.location, quantity=1, condition="damaged", serials=["S3"])
    for verb in (set_aside, scrap):
        sure((await in_one(database, verb, [aside], AT))[0], Aside)
    states = [(await database.read(lambda tx, s=s: serial_view(tx, sku, s))).state for s in ("S1", "S2", "S3")]  # type: ignore[misc]
    assert states == ["in_stock", "scrapped", "scrapped"]
    [known] = await got(database, world, 2, 1, serials=["S1"])
    assert sure(known, StockRefused).detail == "'S1' is in stock already. Check the number; a unit comes in once."
    await assert_clean(database)


async def test_a_serial_number_is_known_from_receipt_to_return(database: Database, world: World) -> None:
    sku = world.skus[2]
    sure((await got(database, world, 2, 3, serials=["S1", "S2", "S3"]))[0], Moved)
    order_id, [work] = await released(database, world.order("two", {sku: 2}), AT)

    def picking(*serials: str) -> Pick:
        line = PickLine(line_no=1, picked=2, serials=list(serials) or None)
        return Pick(order_id=order_id, fulfillment_order_id=work, lines=[line])

    for wrong in ((), ("S1",), ("S1", "S1"), ("S1", "S9")):
        assert sure((await in_one(database, pick, [picking(*wrong)], AT))[0], WorkRefused).reason == "detail"
    sure((await in_one(database, pick, [picking("S1", "S3")], AT))[0], Picked)
    await go_out(database, order_id, work)
    assert (await look(database, world, 2)).serials == ["S2"]
    [back] = await in_one(
        database, authorize, [NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=1, reason="x")])], AT
    )
    for serials, fine in ((None, False), (["S2"], False), (["S3"], True)):
        lines = [ReceivedLine(line_no=1, restocked=1, serials=serials)]
        receipt = ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)
        [done] = await in_one(database, receive_return, [receipt], AT)
        assert (type(done).__name__ == "Received") == fine
    seen = await database.read(lambda tx: serial_view(tx, sku, "S3"))
    assert (seen.state, seen.location, seen.order_id) == ("in_stock", world.location, None)
    assert [step.kind for step in seen.life] == ["received", "picked", "shipped", "returned"]
    assert (await database.read(lambda tx: serial_view(tx, sku, "S1"))).state == "shipped"
    await assert_clean(database)


async def test_serial_numbers_are_refused_in_words(database: Database, world: World) -> None:
    here = {"sku": world.skus[2], "location": world.location}
    asked = [
        Receipt(**here, quantity=2),
        Receipt(**here, quantity=2, serials=["S1"]),
        Receipt(**here, quantity=2, serials=["S1", "S1"]),
        Receipt(**here, quantity=2, serials=["S1", "S2"]),
        Receipt(**here, quantity=2, serials=["S2", "S3"]),
    ]
    told = [o.pointer if isinstance(o, StockRefused) else o.on_hand for o in await in_one(database, receive, asked, AT)]
    assert told == ["/serials", "/serials", "/serials", 2, "/serials"]
    assert sure((await got(database, world, 2, 1, serials=["S1"]))[0], StockRefused).detail.startswith(
        "'S1' is in stock"
    )
    gone = [Adjustment(**here, delta=-1, reason="lost", serials=[s]) for s in ("S9", "S1", "S1")]
    told = [o.pointer if isinstance(o, StockRefused) else o.on_hand for o in await in_one(database, adjust, gone, AT)]
    assert told == ["/serials", 1, "/serials"]
    found = Adjustment(**here, delta=1, reason="found", serials=["S1"])
    sure((await in_one(database, adjust, [found], AT))[0], Moved)
    kit = Kit(sku=world.sku, components=[Component(sku=world.skus[2])])
    assert sure((await in_one(database, upsert_kits, [kit], AT))[0], NotUpserted).pointer == "/components/0/sku"
    await assert_clean(database)


async def test_serial_numbers_and_lots_travel_and_are_set_aside(database: Database, world: World) -> None:
    await got(database, world, 2, 3, serials=["S1", "S2", "S3"])
    await got(database, world, 1, 4, lot="soon", expires_on=SOON)
    lines = [TransferLine(sku=world.skus[2], quantity=2), TransferLine(sku=world.skus[1], quantity=3)]
    asked = NewTransfer(origin=world.locations[0], destination=world.locations[1], lines=lines)
    [done] = await in_one(database, transfers.request, [asked], AT)

    def sending(serials: list[str] | None) -> Shipment:
        sent = [SentLine(line_no=1, quantity=2, serials=serials), SentLine(line_no=2, quantity=3)]
        return Shipment(transfer_id=done.transfer_id, lines=sent)

    for serials, fine in ((None, False), (["S1", "S9"], False), (["S1", "S2"], True)):
        [sent] = await in_one(database, transfers.ship, [sending(serials)], AT)
        assert (type(sent).__name__ == "TransferDone") == fine
    assert (await database.read(lambda tx: serial_view(tx, world.skus[2], "S1"))).state == "in_transit"
    await in_one(database, transfers.receive, [Arrival(transfer_id=done.transfer_id, all=True)], AT)
    assert (await look(database, world, 2, 1)).serials == ["S1", "S2"]
    assert await bins(database, world, 1, 1) == {("-", "soon"): 3}
    broken = SetAside(sku=world.skus[2], location=world.locations[1], quantity=1, condition="damaged", serials=["S2"])
    sure((await in_one(database, set_aside, [broken], AT))[0], Aside)
    assert (await database.read(lambda tx: serial_view(tx, world.skus[2], "S2"))).state == "set_aside"
    sure((await in_one(database, restore, [broken], AT))[0], Aside)
    assert (await look(database, world, 2, 1)).serials == ["S1", "S2"]
    await assert_clean(database)


async def test_tracked_units_arrive_by_name_and_lost_ones_may_be_found_again(database: Database, world: World) -> None:
    await got(database, world, 2, 4, serials=["S1", "S2", "S3", "S4"])
    await got(database, world, 1, 3, lot="soon", expires_on=SOON)
    lines = [TransferLine(sku=world.skus[2], quantity=3), TransferLine(sku=world.skus[1], quantity=3)]
    asked = NewTransfer(origin=world.locations[0], destination=world.locations[1], lines=lines)
    [done] = await in_one(database, transfers.request, [asked], AT)
    one, two = (
        Shipment(transfer_id=done.transfer_id, lines=[SentLine(line_no=1, quantity=len(some), serials=some)])
        for some in (["S1"], ["S1", "S2"])
    )
    told = [type(o).__name__ for o in await in_one(database, transfers.ship, [one, two], AT)]
    assert told == ["TransferDone", "TransferRefused"]  # S1 is sent once
    rest = [SentLine(line_no=1, quantity=2, serials=["S2", "S3"]), SentLine(line_no=2, quantity=3)]
    sure((await in_one(database, transfers.ship, [Shipment(transfer_id=done.transfer_id, lines=rest)], AT))[0], Sent)

    def came(*lines: ArrivedLine, last: bool = False) -> Arrival:
        return Arrival(transfer_id=done.transfer_id, lines=list(lines), last=last)

    wrong = [
        came(ArrivedLine(line_no=1, received=2)),
        came(ArrivedLine(line_no=1, received=2, serials=["S1", "S1"])),
        came(ArrivedLine(line_no=1, received=1, serials=["S4"])),
        came(ArrivedLine(line_no=1, received=2, damaged=1)),
        came(ArrivedLine(line_no=1, received=4, serials=["S1", "S2", "S3", "S9"])),
        came(ArrivedLine(line_no=2, received=2, damaged=1)),
        came(ArrivedLine(line_no=2, received=4)),
        came(ArrivedLine(line_no=2, received=3, serials=["S1"])),
    ]
    told = [getattr(o, "reason", None) for o in await in_one(database, transfers.receive, wrong, AT)]
    assert told == ["invalid", "invalid", "unknown", "invalid", "too_many", "invalid", "too_many", "invalid"]
    last = came(
        ArrivedLine(line_no=1, received=1, serials=["S3"]),
        ArrivedLine(line_no=1, received=1, serials=["S1"]),
        ArrivedLine(line_no=2, received=2),
        last=True,
    )
    assert sure((await in_one(database, transfers.receive, [last], AT))[0], Sent).status == "received"
    assert (await look(database, world, 2, 1)).serials == ["S1", "S3"]
    lost = await database.read(lambda tx: serial_view(tx, world.skus[2], "S2"))
    assert (lost.state, lost.location) == ("gone", None)
    sure((await got(database, world, 2, 1, 1, serials=["S2"]))[0], Moved)
    assert (await look(database, world, 2, 1)).serials == ["S1", "S2", "S3"]
    await assert_clean(database)


async def test_picks_of_one_batch_take_lots_and_serial_numbers_from_each_other(
    database: Database, world: World
) -> None:
    """Of two picks that name the same units, the first has them; the second is refused in words, and nothing else is."""
    await got(database, world, 1, 3, lot="soon", expires_on=SOON)
    await got(database, world, 1, 3, lot="late", expires_on=LATER)
    orders = []
    for number in range(3):
        wanted = replace(
            world.order(f"lot-{number}", 2), lines=[replace(world.order("x", 2).lines[0], sku=world.skus[1])]
        )
        order_id, [work] = await released(database, wanted, AT)
        orders.append((order_id, work))
    picks = [
        Pick(
            order_id=order_id,
            fulfillment_order_id=work,
            lines=[PickLine(line_no=1, picked=2, lots=[PickedLot(lot=lot, quantity=2)])],
        )
        for (order_id, work), lot in zip(orders, ("soon", "soon", "late"), strict=True)
    ]
    outcomes = await in_one(database, pick, picks, AT)
    assert [type(outcome) for outcome in outcomes] == [Picked, WorkRefused, Picked]
    assert sure(outcomes[1], WorkRefused).detail.startswith("Only 1 units of lot 'soon'")
    assert await bins(database, world, 1) == {
        ("-", "soon"): 1,
        ("-", "late"): 1,
        ("(picked)", "soon"): 2,
        ("(picked)", "late"): 2,
    }
    await assert_clean(database)


@pytest.mark.parametrize("seed", range(3))
async def test_everything_at_once_keeps_every_detail(database_url: str, seed: int) -> None:
    """DET-1, DET-2, SER-1, LOT-1: receipts, put-aways, picks, shipments and losses of tracked goods race, and all is accounted for."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database:
        world = await build(database)
        await got(database, world, 1, 200, lot="base", expires_on=LATER)
        names = iter(f"N{n}" for n in range(10_000))

        async def arrive(number: int) -> None:
            units = dice.randint(1, 4)
            lot, day = dice.choice((("soon", SOON), ("late", LATER)))
            outcomes = [
                *(await got(database, world, 1, units, lot=lot, expires_on=day, bin=dice.choice(("A-1", None)))),
                *(await got(database, world, 2, units, serials=[next(names) for _ in range(units)])),
                *(await got(database, world, 0, units, bin="B-2")),
            ]
            for outcome in outcomes:
                sure(outcome, Moved)

        async def put_away(_: int) -> None:
            one = BinMove(
                sku=world.skus[dice.randint(0, 1)], location=world.location, to_bin="A-1", quantity=dice.randint(1, 5)
            )
            await in_one(database, move_bins, [one], AT)

        async def sell(number: int) -> None:
            wanted = {world.skus[n]: 1 for n in dice.sample(range(2), dice.randint(1, 2))}
            order_id, works = await released(database, world.order(f"o{number}", wanted), AT)
            for work in works:
                sure(
                    (await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=work, all=True)], AT))[
                        0
                    ],
                    Picked,
                )
                if dice.random() < 0.7:
                    await go_out(database, order_id, work)

        async def lose(number: int) -> None:
            one = Adjustment(sku=world.skus[1], location=world.location, delta=-1, reason="lost", lot="base")
            sure((await in_one(database, adjust, [one], AT))[0], Moved)

        await asyncio.gather(*(f(n) for n in range(12) for f in (arrive, put_away, sell, lose)))
        on_hand, _, _ = await stock(database, world.sku_ids[world.skus[1]], world.location_ids[world.location])
        assert sum((await bins(database, world, 1)).values()) == on_hand
        await assert_clean(database)
