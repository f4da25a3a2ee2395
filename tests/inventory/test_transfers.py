"""Transfers, incoming supply, units set aside, and what all of it looked like at any time."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import ACTOR, Database
from ordino.core.errors import Invalid, NotFound
from ordino.core.upserts import Created, NotUpserted, Unchanged, Updated
from ordino.inventory import history, transfers
from ordino.inventory.adjust import Moved, Receipt, StockRefusal, StockRefused, receive
from ordino.inventory.availability import Ask
from ordino.inventory.incoming import Incoming, incoming_of, upsert_incoming
from ordino.inventory.transfers import (
    Arrival,
    ArrivedLine,
    NewTransfer,
    SentLine,
    Shipment,
    TransferDone,
    TransferLine,
    TransferRefusal,
    TransferRefused,
    TransferView,
)
from ordino.inventory.unavailable import Aside, SetAside, restore, scrap, set_aside
from ordino.network.closures import Closure, upsert_closures
from ordino.orders.future import By, Future, future
from ordino.orders.model import OrderRefused, Placed
from ordino.orders.place import place
from steps import assert_clean, in_one, placed, serve_who_waits, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=20)


async def at(database: Database, world: World, place_: int, sku: int = 0) -> tuple[int, int]:
    """(on hand, reserved)"""
    return (await stock(database, world.sku_ids[world.skus[sku]], world.location_ids[world.locations[place_]]))[:2]


def wanted(world: World, *units: int, **more: Any) -> NewTransfer:
    lines = [TransferLine(sku=sku, quantity=n) for sku, n in zip(world.skus, units, strict=False) if n]
    return NewTransfer(origin=world.locations[0], destination=world.locations[1], lines=lines, **more)


async def requested(database: Database, world: World, *units: int, **more: Any) -> UUID:
    [done] = await in_one(database, transfers.request, [wanted(world, *units, **more)], AT)
    return sure(done, TransferDone).transfer_id


async def view(database: Database, transfer_id: UUID) -> TransferView:
    return await database.read(lambda tx: transfers.transfer_of(tx, transfer_id))


async def look(database: Database, world: World, sku: int = 0, when: datetime = AT) -> Future:
    return await database.read(lambda tx: future(tx, Ask(world.skus[sku], world.channel, None), at=when))


# -- transfers ---------------------------------------------------------------------------------------------------------


async def test_units_go_from_one_place_to_the_other(database: Database, world: World) -> None:
    transfer_id = await requested(database, world, 12, 3, document="T-1", expected_at=AT + 2 * DAY)
    assert (await at(database, world, 0), await at(database, world, 0, 1)) == ((20, 12), (20, 3))
    [order] = await in_one(database, place, [world.order("much", 29)], AT)
    sure(order, OrderRefused)  # 12 of 40 are on their way
    part = Shipment(transfer_id=transfer_id, lines=[SentLine(line_no=1, quantity=10)])
    [sent] = await in_one(database, transfers.ship, [part], AT)
    assert sure(sent, TransferDone).status == "partially_shipped"
    assert await at(database, world, 0) == (10, 2)
    assert (await look(database, world)).by == [By(AT + 2 * DAY, 10, 38)]
    [sent] = await in_one(database, transfers.ship, [Shipment(transfer_id=transfer_id, all=True)], AT)
    assert sure(sent, TransferDone).status == "in_transit"
    lines = [ArrivedLine(line_no=1, received=7, damaged=2), ArrivedLine(line_no=2, received=3, surplus=1)]
    [came] = await in_one(database, transfers.receive, [Arrival(transfer_id=transfer_id, lines=lines)], AT)
    assert sure(came, TransferDone).status == "in_transit"  # three of twelve are missing
    [last] = await in_one(database, transfers.receive, [Arrival(transfer_id=transfer_id, last=True, all=True)], AT)
    assert sure(last, TransferDone).status == "received"
    first, second = (await view(database, transfer_id)).lines
    assert (first.received, first.lost, second.received, second.surplus) == (12, 0, 3, 1)
    assert (await at(database, world, 1), await at(database, world, 1, 1)) == ((30, 0), (24, 0))
    aside = await database.read(lambda tx: history.stock_of(tx, world.sku, at=AT))
    assert [position.unavailable for position in aside.positions] == [{}, {"damaged": 2}]
    await assert_clean(database)


async def test_what_does_not_arrive_is_lost_and_what_is_not_sent_is_free_again(
    database: Database, world: World
) -> None:
    transfer_id = await requested(database, world, 10)
    sent = Shipment(transfer_id=transfer_id, lines=[SentLine(line_no=1, quantity=6)])
    await in_one(database, transfers.ship, [sent], AT)
    [left] = await in_one(database, transfers.cancel, [transfer_id], AT)
    assert sure(left, TransferDone).status == "in_transit"
    assert await at(database, world, 0) == (14, 0)
    some = Arrival(transfer_id=transfer_id, lines=[ArrivedLine(line_no=1, received=5)], last=True)
    [done] = await in_one(database, transfers.receive, [some], AT)
    assert sure(done, TransferDone).status == "received"
    [line] = (await view(database, transfer_id)).lines
    assert (line.received, line.lost, line.cancelled) == (5, 1, 4)
    for verb, item in ((transfers.ship, Shipment(transfer_id=transfer_id, all=True)), (transfers.cancel, transfer_id)):
        [late] = await in_one(database, verb, [item], AT)
        assert sure(late, TransferRefused).reason is TransferRefusal.TOO_LATE
    await assert_clean(database)


async def test_bad_transfers_are_refused_in_words(database: Database, world: World) -> None:
    here, there = world.locations
    line = TransferLine(sku=world.sku, quantity=1)
    much = TransferLine(sku=world.sku, quantity=15)
    asked = [
        NewTransfer(origin=here, destination=here, lines=[line]),
        NewTransfer(origin=here, destination="nowhere", lines=[line]),
        NewTransfer(origin=here, destination=there, lines=[TransferLine(sku="nothing", quantity=1)]),
        NewTransfer(origin=here, destination=there, lines=[much, much]),
        NewTransfer(origin=here, destination=there, lines=[much]),
        NewTransfer(origin=here, destination=there, lines=[much]),
    ]
    outcomes = await in_one(database, transfers.request, asked, AT)
    told = [o.reason if isinstance(o, TransferRefused) else o.status for o in outcomes]
    assert told == ["invalid", "unknown", "unknown", "too_few", "requested", "too_few"]
    id_ = outcomes[4].transfer_id
    [unsent] = await in_one(
        database, transfers.receive, [Arrival(transfer_id=id_, lines=[ArrivedLine(line_no=1, received=1)])], AT
    )
    assert sure(unsent, TransferRefused).reason is TransferRefusal.INVALID
    wrong = [
        Shipment(transfer_id=uuid4(), all=True),
        Shipment(transfer_id=id_, lines=[SentLine(line_no=2, quantity=1)]),
        Shipment(transfer_id=id_, lines=[SentLine(line_no=1, quantity=16)]),
        Shipment(transfer_id=id_, lines=[SentLine(line_no=1, quantity=10)]),
        Shipment(transfer_id=id_, lines=[SentLine(line_no=1, quantity=10)]),
    ]
    told = [getattr(o, "reason", None) for o in await in_one(database, transfers.ship, wrong, AT)]
    assert told == ["unknown", "unknown", "too_many", None, "too_many"]
    await assert_clean(database)


async def test_a_receipt_that_is_sent_again_makes_no_stock(database: Database, world: World) -> None:
    transfer_id = await requested(database, world, 6)
    await in_one(database, transfers.ship, [Shipment(transfer_id=transfer_id, all=True)], AT)
    six = Arrival(transfer_id=transfer_id, lines=[ArrivedLine(line_no=1, received=6)], last=True)
    outcomes = [o for _ in range(3) for o in await in_one(database, transfers.receive, [six], AT)]
    assert [getattr(o, "reason", "done") for o in outcomes] == ["done", "too_late", "too_late"]
    assert sure(outcomes[1], TransferRefused).detail == (
        "The transfer is finished. Nothing is in transit; receive anything else that arrived with POST /v1/receipts."
    )
    assert await at(database, world, 1) == (26, 0)
    [late] = await in_one(database, transfers.receive, [Arrival(transfer_id=transfer_id, all=True, last=True)], AT)
    assert sure(late, TransferRefused).reason is TransferRefusal.TOO_LATE
    await assert_clean(database)


async def test_a_surplus_is_said_once_with_the_last_units_of_its_line(database: Database, world: World) -> None:
    transfer_id = await requested(database, world, 6, 2)
    await in_one(database, transfers.ship, [Shipment(transfer_id=transfer_id, all=True)], AT)

    def came(**units: int) -> Arrival:
        return Arrival(transfer_id=transfer_id, lines=[ArrivedLine(line_no=1, **units)])

    asked = [came(received=7), came(received=3, surplus=1), came(surplus=1), came(received=5, damaged=1, surplus=2)]
    told = [getattr(o, "reason", "done") for o in await in_one(database, transfers.receive, asked, AT)]
    assert told == ["too_many", "invalid", "invalid", "done"]
    repeats = [asked[3], came(surplus=2)]
    told = [getattr(o, "reason", "done") for o in await in_one(database, transfers.receive, repeats, AT)]
    assert told == ["too_many", "too_many"]
    line, _ = (await view(database, transfer_id)).lines
    assert (line.received, line.surplus, line.in_transit) == (6, 2, 0)
    assert await at(database, world, 1) == (27, 0)
    await assert_clean(database)


@pytest.mark.parametrize("copies", [2, 5])
async def test_receipts_sent_at_once_are_taken_once(database_url: str, copies: int) -> None:
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=20)
        transfer_id = await requested(database, world, 6)
        await in_one(database, transfers.ship, [Shipment(transfer_id=transfer_id, all=True)], AT)
        six = Arrival(transfer_id=transfer_id, lines=[ArrivedLine(line_no=1, received=6, surplus=1)], last=True)
        outcomes = await asyncio.gather(*(in_one(database, transfers.receive, [six], AT) for _ in range(copies)))
        assert sum(isinstance(o, TransferDone) for [o] in outcomes) == 1
        assert await at(database, world, 1) == (27, 0)
        await assert_clean(database)


@pytest.mark.parametrize("seed", range(3))
async def test_racing_transfers_and_orders_conserve_every_unit(database_url: str, seed: int) -> None:
    """Units go back and forth while orders are placed at both ends: none is made, lost or promised twice."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"t{seed}-{uuid4().hex[:6]}-", skus=1, locations=2, stock=300)
        ordered = lost = surplus = scrapped = 0

        async def carry(number: int) -> None:
            nonlocal lost, surplus
            ends = world.locations if number % 2 else world.locations[::-1]
            units = dice.randint(1, 9)
            asked = NewTransfer(
                origin=ends[0], destination=ends[1], lines=[TransferLine(sku=world.sku, quantity=units)]
            )
            [done] = await in_one(database, transfers.request, [asked], AT)
            if isinstance(done, TransferRefused):
                return
            some = dice.randint(1, units)
            sent = Shipment(transfer_id=done.transfer_id, lines=[SentLine(line_no=1, quantity=some)])
            sure((await in_one(database, transfers.ship, [sent], AT))[0], TransferDone)
            if some < units:
                sure((await in_one(database, transfers.cancel, [done.transfer_id], AT))[0], TransferDone)
            came = dice.randint(1, some + 1)
            arrived = [ArrivedLine(line_no=1, received=min(came, some), surplus=max(came - some, 0))]
            last = Arrival(transfer_id=done.transfer_id, lines=arrived, last=True)
            sure((await in_one(database, transfers.receive, [last], AT))[0], TransferDone)
            lost += max(some - came, 0)
            surplus += max(came - some, 0)

        async def buy(number: int) -> None:
            nonlocal ordered
            [outcome] = await in_one(database, place, [world.order(f"o{number}", 1)], AT)
            ordered += isinstance(outcome, Placed)

        async def break_one(number: int) -> None:
            nonlocal scrapped
            one = SetAside(sku=world.sku, location=dice.choice(world.locations), quantity=1, condition="damaged")
            [aside] = await in_one(database, set_aside, [one], AT)
            if isinstance(aside, Aside) and number % 2:
                sure((await in_one(database, scrap, [one], AT))[0], Aside)
                scrapped += 1
            elif isinstance(aside, Aside):
                sure((await in_one(database, restore, [one], AT))[0], Aside)

        await asyncio.gather(*(f(n) for n in range(25) for f in (carry, buy, break_one)))
        total = [await at(database, world, n) for n in (0, 1)]
        assert sum(on_hand for on_hand, _ in total) == 600 - lost + surplus - scrapped
        assert sum(reserved for _, reserved in total) == ordered == 25
        await assert_clean(database)


# -- set aside ---------------------------------------------------------------------------------------------------------


async def test_units_that_are_set_aside_are_not_sold_and_come_back(database: Database, world: World) -> None:
    await placed(database, world.order("ten", 10), AT)
    here = {"sku": world.sku, "location": world.locations[0]}
    asked = [
        SetAside(**here, quantity=11, condition="damaged"),
        SetAside(**here, quantity=6, condition="damaged", document="QC-1"),
        SetAside(**here, quantity=4, condition="quality_control"),
        SetAside(**here, quantity=1, condition="damaged"),
        SetAside(**here, quantity=1, condition="ugly"),
        SetAside(sku="nothing", location=world.location, quantity=1, condition="damaged"),
    ]
    outcomes = await in_one(database, set_aside, asked, AT)
    told = [o.reason if isinstance(o, StockRefused) else (o.on_hand, o.unavailable) for o in outcomes]
    assert told == ["reserved", (14, 6), (10, 4), "reserved", "invalid", "unknown_sku"]
    [back, many] = await in_one(
        database, restore, [SetAside(**here, quantity=n, condition="quality_control") for n in (3, 2)], AT
    )
    assert (sure(back, Aside).on_hand, sure(many, StockRefused).reason) == (13, StockRefusal.TOO_FEW)
    [gone] = await in_one(database, scrap, [SetAside(**here, quantity=6, condition="damaged")], AT)
    assert (sure(gone, Aside).on_hand, gone.unavailable) == (13, 0)
    await assert_clean(database)


# -- incoming, and what may be promised by when -------------------------------------------------------------------------


def announced(world: World, quantity: int, days: int, document: str = "PO-1", **more: Any) -> Incoming:
    return Incoming(
        document=f"{document} {world.sku}", sku=world.sku, location=world.location, quantity=quantity,
        expected_at=AT + days * DAY, **more,
    )  # fmt: skip


async def test_receipts_count_towards_what_their_document_announced(database: Database, world: World) -> None:
    one, other = announced(world, 30, 3), announced(world, 5, 5, "PO-2")
    outcomes = await in_one(database, upsert_incoming, [one, other, one], AT)
    assert [type(o) for o in outcomes] == [Created, Created, Unchanged]
    [order] = await in_one(database, place, [world.order("waits", 44, channel=world.channels["backorder"])], AT)
    sure(order, Placed)  # four units wait
    now = await look(database, world)
    assert (now.available, now.waiting) == (0, 4)
    assert now.by == [By(AT + 3 * DAY, 30, 26), By(AT + 5 * DAY, 5, 31)]
    some = Receipt(sku=world.sku, location=world.location, quantity=28, document=one.document)
    sure((await in_one(database, receive, [some], AT))[0], Moved)
    [row] = await database.read(lambda tx: incoming_of(tx, one.document))
    assert (row.quantity, row.received) == (30, 28)
    over = Receipt(sku=world.sku, location=world.location, quantity=9, document=one.document)
    more = sure((await in_one(database, receive, [over], AT))[0], Moved)
    assert more.beyond_announced == 7  # 37 of 30 have come
    then = await look(database, world)
    assert (then.available, then.by) == (33, [By(AT + 5 * DAY, 5, 38)])  # four of the 37 are for who waits
    late = await look(database, world, when=AT + 6 * DAY)
    assert (late.by, [one.quantity for one in late.overdue]) == ([], [5])
    [closed] = await in_one(database, upsert_incoming, [announced(world, 5, 5, "PO-2", closed=True)], AT)
    sure(closed, Updated)
    assert (await look(database, world)).by == []
    bad = [
        announced(world, 1, 1),
        Incoming(document="d", sku="nothing", location=world.location, quantity=1, expected_at=AT),
    ]
    bad[0] = Incoming(
        document="d", sku=world.sku, location=world.location, quantity=1, expected_at=datetime(2026, 3, 3)
    )
    told = [sure(o, NotUpserted).pointer for o in await in_one(database, upsert_incoming, bad, AT)]
    assert told == ["/expected_at", "/sku"]
    with pytest.raises(NotFound):
        await database.read(lambda tx: incoming_of(tx, "nothing"))
    await assert_clean(database)


async def test_what_comes_to_a_closed_location_counts_once_it_is_open(database: Database, world: World) -> None:
    await in_one(database, upsert_incoming, [announced(world, 7, 2), announced(world, 5, 5, "PO-2")], AT)
    shut = Closure(code=f"shut {world.sku}", location=world.location, ends_at=AT + 4 * DAY, reason="flood")
    sure((await in_one(database, upsert_closures, [shut], AT))[0], Created)
    assert (await look(database, world)).by == [By(AT + 5 * DAY, 5, 25)]
    assert [by.arriving for by in (await look(database, world, when=AT + 4 * DAY)).by] == [5]
    await assert_clean(database)


async def test_kits_that_wait_take_what_comes_of_their_components(database: Database, world: World) -> None:
    kit = Sku(code=f"{world.sku}-kit", name="K", weight_grams=1, backorderable=True)
    sure((await in_one(database, upsert_skus, [kit], AT))[0], Created)
    parts = [Component(sku=world.skus[0], quantity=3), Component(sku=world.skus[1])]
    sure((await in_one(database, upsert_kits, [Kit(sku=kit.code, components=parts)], AT))[0], Created)
    wanted = world.order("kits", {kit.code: 15}, channel=world.channels["backorder"])
    sure((await in_one(database, place, [wanted], AT))[0], Placed)  # 12 of 20 + 20 components; three kits wait
    await in_one(database, upsert_incoming, [announced(world, 10, 2)], AT)
    asked_first = await look(database, world)
    assert (asked_first.available, asked_first.waiting) == (0, 9)  # what is there is still to be offered to who waits
    assert asked_first.by == [By(AT + 2 * DAY, 10, 5)]
    await serve_who_waits(database, AT)
    by_itself = await look(database, world)
    assert (by_itself.available, by_itself.waiting) == (4, 9)
    assert by_itself.by == [By(AT + 2 * DAY, 10, 5)]
    sets = await database.read(lambda tx: future(tx, Ask(kit.code, world.channel, None), at=AT))
    assert (sets.available, sets.waiting) == (0, 3)
    assert sets.by == [By(AT + 2 * DAY, 4, 1)]
    await assert_clean(database)


# -- history -----------------------------------------------------------------------------------------------------------


async def test_every_move_is_told_with_who_why_and_what_was_behind_it(database: Database, world: World) -> None:
    token = ACTOR.set("Ada")
    try:
        bought = Receipt(sku=world.sku, location=world.location, quantity=5, reason="delivery", document="PO-9")
        await in_one(database, receive, [bought], AT + DAY)
    finally:
        ACTOR.reset(token)
    order_id = await placed(database, world.order("one", 1), AT + 2 * DAY)
    pages, before = [], None
    while True:
        page = await database.read(lambda tx, before=before: history.moves_before(tx, world.sku, before, 2))  # type: ignore[misc]
        pages += page.moves
        before = page.next
        if before is None:
            break
    newest, received = (move for move in pages if move.at > AT and move.at < AT + 9 * DAY)
    assert (newest.kind, newest.order_id, newest.reserved_delta, newest.actor) == ("reserved", order_id, 1, None)
    assert (received.kind, received.actor, received.reason, received.document) == (
        "received",
        "Ada",
        "delivery",
        "PO-9",
    )
    assert len(pages) == 4  # and what lay there from the beginning
    only = await database.read(lambda tx: history.moves_before(tx, world.sku, None, 10, location=world.locations[1]))
    assert {move.location for move in only.moves} == {world.locations[1]}
    for wrong in ("", "x.y", "a.1.2.b"):
        with pytest.raises(Invalid):
            await database.read(lambda tx, wrong=wrong: history.moves_before(tx, world.sku, wrong, 10))  # type: ignore[misc]
    with pytest.raises(NotFound):
        await database.read(lambda tx: history.moves_before(tx, "nothing", None, 10))


async def test_stock_is_told_as_it_stood(database: Database, world: World) -> None:
    await database.pool.execute("UPDATE inventory.moves SET at = $1 WHERE sku_id = $2", AT, world.sku_ids[world.sku])
    aside = SetAside(sku=world.sku, location=world.location, quantity=2, condition="damaged")
    await in_one(database, set_aside, [aside], AT + DAY)
    await placed(database, world.order("three", 3), AT + 2 * DAY)

    async def stood(when: datetime) -> list[tuple[int, int, int, int | None]]:
        found = await database.read(lambda tx: history.stood_at(tx, world.sku, when, network=world.network))
        return [
            (p.on_hand, p.reserved, p.unavailable, p.available) for p in found.positions if p.location == world.location
        ]

    assert await stood(AT - DAY) == []
    assert await stood(AT) == [(20, 0, 0, 20)]
    assert await stood(AT + DAY) == [(18, 0, 2, 18)]
    assert await stood(AT + 2 * DAY) == [(18, 3, 2, 15)]
    with pytest.raises(Invalid):
        await stood(datetime(2026, 3, 3))
