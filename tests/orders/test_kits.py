"""A SKU becomes a kit, and a kit something else, only while nobody loses units or lines of orders from sight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordino.aftercare.model import NewReturn, ReceivedLine, ReturnLine, ReturnReceipt, ReturnRefusal, ReturnRefused
from ordino.aftercare.model import Received as CameBack
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import receive as receive_return
from ordino.catalog.kits import kits
from ordino.catalog.model import Component, Kit
from ordino.cli.verify import verify
from ordino.core.database import Database, Tx
from ordino.core.upserts import Created, NotUpserted, Reason, Updated
from ordino.inventory import kits as kit_ledger
from ordino.inventory.adjust import Adjustment, Moved, Receipt, StockRefusal, StockRefused, adjust, receive
from ordino.inventory.holds import HoldLine, NewHold, hold
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.inventory.transfers import Arrival, NewTransfer, Shipment, TransferLine
from ordino.inventory.transfers import receive as receive_transfer
from ordino.inventory.transfers import request as request_transfers
from ordino.inventory.transfers import ship as ship_transfer
from ordino.inventory.unavailable import SetAside, scrap, set_aside
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.kits import upsert_kits
from ordino.orders.kits_api import routes
from ordino.orders.model import NewOrder, Placed
from ordino.orders.place import place
from steps import assert_clean, client, delivered, in_one, placed, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
DUE = AT + timedelta(days=3)


@pytest.fixture
async def world(database: Database) -> World:
    """Three SKUs, of which nothing is there."""
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=2, stock={})


def kit(world: World, *components: int) -> Kit:
    """The first SKU as a kit of others; of none, as a plain SKU."""
    return Kit(sku=world.sku, components=[Component(sku=world.skus[n], quantity=1) for n in components])


async def made(database: Database, world: World, *components: int) -> Any:
    return (await in_one(database, upsert_kits, [kit(world, *components)], AT))[0]


async def received(database: Database, world: World, quantity: int, sku: int = 0) -> Any:
    one = Receipt(sku=world.skus[sku], location=world.location, quantity=quantity)
    return (await in_one(database, receive, [one], AT))[0]


def backorder(world: World, name: str, quantity: int) -> NewOrder:
    return world.order(name, quantity, channel=world.channels["backorder"])


def conflict(outcome: Any, *words: str) -> None:
    refused = sure(outcome, NotUpserted)
    assert refused.reason is Reason.CONFLICT
    for word in words:
        assert word in refused.detail, refused.detail


async def test_stock_stands_in_the_way_until_it_is_adjusted_away(database: Database, world: World) -> None:
    sure(await received(database, world, 5), Moved)
    conflict(await made(database, world, 1), "5 on hand", "POST /v1/adjustments", "under another SKU")
    lost = Adjustment(sku=world.sku, location=world.location, delta=-5, reason="made into kits")
    sure((await in_one(database, adjust, [lost], AT))[0], Moved)
    sure(await made(database, world, 1), Created)
    assert sure(await received(database, world, 1), StockRefused).reason is StockRefusal.KIT
    await assert_clean(database)


async def test_what_carts_and_orders_have_stands_in_the_way(database: Database, world: World) -> None:
    await received(database, world, 5)
    cart = NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=2)])
    await in_one(database, hold, [cart], AT)
    await placed(database, world.order("three", 3), AT)
    conflict(await made(database, world, 1), "5 on hand")
    await assert_clean(database)


async def test_units_that_are_set_aside_stand_in_the_way(database: Database, world: World) -> None:
    await received(database, world, 2)
    aside = SetAside(sku=world.sku, location=world.location, quantity=2, condition="damaged")
    await in_one(database, set_aside, [aside], AT)
    conflict(await made(database, world, 1), "2 set aside", "POST /v1/scrappings")
    await in_one(database, scrap, [aside], AT)
    sure(await made(database, world, 1), Created)


async def test_units_under_way_stand_in_the_way(database: Database, world: World) -> None:
    await received(database, world, 2)
    here, there = world.locations
    wanted = NewTransfer(origin=here, destination=there, lines=[TransferLine(sku=world.sku, quantity=2)])
    [done] = await in_one(database, request_transfers, [wanted], AT)
    await in_one(database, ship_transfer, [Shipment(transfer_id=done.transfer_id, all=True)], AT)
    conflict(await made(database, world, 1), "2 in transit in transfers")
    await in_one(database, receive_transfer, [Arrival(transfer_id=done.transfer_id, all=True)], AT)
    conflict(await made(database, world, 1), "2 on hand")


async def test_announced_units_stand_in_the_way_and_kits_are_not_announced(database: Database, world: World) -> None:
    coming = {"document": "PO", "sku": world.sku, "location": world.location, "quantity": 9, "expected_at": DUE}
    sure((await in_one(database, upsert_incoming, [Incoming(**coming)], AT))[0], Created)
    conflict(await made(database, world, 1), "9 announced by suppliers", "PUT /v1/incoming")
    sure((await in_one(database, upsert_incoming, [Incoming(**coming, closed=True)], AT))[0], Updated)
    sure(await made(database, world, 1), Created)
    conflict((await in_one(database, upsert_incoming, [Incoming(**coming)], AT))[0], "announce its components")


async def test_orders_that_wait_stand_in_the_way(database: Database, world: World) -> None:
    order_id = await placed(database, backorder(world, "waits", 4), AT)
    conflict(await made(database, world, 1), "4 on backorder", "cancel the orders")
    await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    sure(await made(database, world, 1), Created)
    await assert_clean(database)


async def test_a_kit_that_orders_wait_for_keeps_its_components(database: Database, world: World) -> None:
    sure(await made(database, world, 1), Created)
    order_id = await placed(database, backorder(world, "waits", 4), AT)
    conflict(await made(database, world), "wait for 4 of the kit")
    conflict(await made(database, world, 2), "wait for 4 of the kit")
    sure(await made(database, world, 1, 2), Updated)  # it loses none
    await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    sure(await made(database, world, 2), Updated)
    sure(await made(database, world), Updated)
    sure(await received(database, world, 1), Moved)
    await assert_clean(database)


async def test_an_order_that_has_its_units_is_not_in_the_way(database: Database, world: World) -> None:
    sure(await made(database, world, 1), Created)
    await received(database, world, 4, sku=1)
    await placed(database, world.order("has", 4), AT)
    sure(await made(database, world, 2), Updated)
    sure(await made(database, world), Updated)
    await assert_clean(database)


async def test_one_kit_in_the_way_spoils_none_of_its_neighbors(database: Database, world: World) -> None:
    await received(database, world, 1)
    other = Kit(sku=world.skus[2], components=[Component(sku=world.skus[1])])
    unknown = Kit(sku="nothing", components=[Component(sku=world.skus[1])])
    refused, fine, none = await in_one(database, upsert_kits, [kit(world, 1), other, unknown], AT)
    conflict(refused, "1 on hand")
    sure(fine, Created)
    assert sure(none, NotUpserted).reason is Reason.UNKNOWN


async def test_the_api_refuses_it_as_a_conflict(database: Database, world: World) -> None:
    await received(database, world, 1)
    async with client(database, routes) as http:
        body = {"sku": world.sku, "components": [{"sku": world.skus[1]}]}
        answer = await http.put("/v1/kits", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, "/sku")


async def test_what_was_sold_before_does_not_come_back_as_stock_of_a_kit(database: Database, world: World) -> None:
    await received(database, world, 2)
    order_id, _ = await delivered(database, world.order("home", 2), AT)
    wanted = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=2, reason="x")])
    [back] = await in_one(database, authorize, [wanted], AT)
    sure(await made(database, world, 1), Created)

    async def came(restocked: int, scrapped: int) -> Any:
        lines = [ReceivedLine(line_no=1, restocked=restocked, scrapped=scrapped)]
        receipt = ReturnReceipt(order_id=order_id, return_id=back.return_id, lines=lines)
        return (await in_one(database, receive_return, [receipt], AT))[0]

    refused = sure(await came(2, 0), ReturnRefused)
    assert (refused.reason, refused.pointer) == (ReturnRefusal.KIT, "/lines/0/restocked")
    assert "scrapped" in refused.detail
    sure(await came(0, 2), CameBack)
    await assert_clean(database)


# -- at the same time ------------------------------------------------------------------------------------------------------

Verb = Callable[[Tx, World], Awaitable[Any]]


async def first_units(tx: Tx, world: World) -> bool:
    one = Receipt(sku=world.sku, location=world.location, quantity=3)
    return isinstance((await receive(tx, [one], at=AT))[0], Moved)


async def announcement(tx: Tx, world: World) -> bool:
    one = Incoming(document="PO", sku=world.sku, location=world.location, quantity=3, expected_at=DUE)
    return isinstance((await upsert_incoming(tx, [one], at=AT))[0], Created)


async def waiting_order(tx: Tx, world: World) -> bool:
    """An order for a kit is placed, too; but as one for its components."""
    [outcome] = await place(tx, [backorder(world, "waits", 3)], at=AT)
    assert isinstance(outcome, Placed)
    return not await tx.fetch("SELECT 1 FROM inventory.kit_lines WHERE order_id = $1", outcome.order_id)


async def becomes_kit(tx: Tx, world: World) -> bool:
    return isinstance((await upsert_kits(tx, [kit(world, 1)], at=AT))[0], Created)


PLAIN = pytest.mark.parametrize("plain", [first_units, announcement, waiting_order], ids=lambda verb: verb.__name__)


async def overlapping(database: Database, world: World, first: Verb, second: Verb) -> tuple[Any, Any]:
    """``second`` runs from after ``first`` has written until after it has committed."""
    written, go = asyncio.Event(), asyncio.Event()

    async def run(tx: Tx) -> Any:
        done = await first(tx, world)
        written.set()
        await go.wait()
        return done

    one = asyncio.create_task(database.transact(run))
    await written.wait()
    other = asyncio.create_task(database.transact(lambda tx: second(tx, world)))
    await asyncio.sleep(0.3)
    go.set()
    return await one, await other


@PLAIN
async def test_whoever_writes_first_has_it(database: Database, world: World, plain: Verb) -> None:
    assert await overlapping(database, world, plain, becomes_kit) == (True, False)
    await assert_clean(database)


@PLAIN
async def test_a_kit_that_is_being_made_is_a_kit_for_whoever_comes_meanwhile(
    database: Database, world: World, plain: Verb
) -> None:
    assert await overlapping(database, world, becomes_kit, plain) == (True, False)
    await assert_clean(database)


@PLAIN
async def test_what_was_known_of_kits_is_known_again_before_it_is_written(
    database: Database, world: World, plain: Verb
) -> None:
    tries = []

    async def run(tx: Tx) -> Any:
        tries.append((await kits(tx)).parts)
        if len(tries) == 1:
            assert await database.transact(lambda other: becomes_kit(other, world))
        return await plain(tx, world)

    assert await database.transact(run) is False
    assert len(tries) == 2
    await assert_clean(database)


async def test_other_kits_that_are_made_meanwhile_stop_nobody(database: Database, world: World) -> None:
    other = Kit(sku=world.skus[2], components=[Component(sku=world.skus[1])])
    tries = []

    async def run(tx: Tx) -> Any:
        tries.append(await kits(tx))
        if len(tries) == 1:
            await in_one(database, upsert_kits, [other], AT)
        return await first_units(tx, world)

    assert await database.transact(run) is True
    assert len(tries) == 1


async def test_without_taking_turns_units_of_a_kit_are_lost_from_sight(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control, which also shows that ``verify`` names what is lost."""

    async def stand(tx: Tx, seen: Any) -> None:
        return None

    async with await Database.open(database_url) as database:
        world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=1, stock={})
        monkeypatch.setattr(kit_ledger, "stand", stand)
        assert await overlapping(database, world, becomes_kit, first_units) == (True, True)
        assert [finding.name for finding in (await verify(database)).broken] == ["kits_have_no_stock_of_their_own"]
        monkeypatch.undo()
        await database.pool.execute("DELETE FROM catalog.kit_components WHERE sku_id = $1", world.sku_ids[world.sku])
