"""Cancellation up to shipping: what is cancelled at once, what is asked of the warehouse, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

import steps
from ordino.core.database import Database
from ordino.core.reactions import Registry, Task, Worker
from ordino.inventory.adjust import Receipt, receive
from ordino.orders import reactions
from ordino.orders.allocate import allocate, waiting_for
from ordino.orders.cancel import Cancellation, Cancelled, CancelRefusal, CancelRefused, LineCancellation, cancel
from ordino.orders.model import NewOrder, Placed
from ordino.orders.place import place
from ordino.warehouse.model import Ship
from ordino.warehouse.ship import ship
from world import World, small_world

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 100, ("sku-2", "loc-1"): 5})


async def put(database: Database, order: NewOrder, at: datetime = AT) -> UUID:
    [placed] = await database.transact(lambda tx: place(tx, [order], at=at))
    assert isinstance(placed, Placed)
    return placed.order_id


async def call_off(database: Database, *wishes: Cancellation) -> list[Cancelled | CancelRefused]:
    return await database.transact(lambda tx: cancel(tx, wishes, at=AT))


async def reserved(database: Database, world: World, sku: str) -> int:
    total = await database.pool.fetchval(
        "SELECT coalesce(sum(reserved), 0) FROM inventory.stock WHERE sku_id = $1", world.sku_ids[sku]
    )
    return int(total)


async def test_a_cancelled_order_gives_its_stock_back(database: Database, world: World) -> None:
    before = await reserved(database, world, "sku-1")
    order_id = await put(database, world.order("whole", 7, shipping_minor=500))
    assert await reserved(database, world, "sku-1") == before + 7
    [done] = await call_off(database, Cancellation(order_id=order_id, all=True))
    assert isinstance(done, Cancelled)
    assert (done.status, done.amount_minor, done.wanted) == ("cancelled", 7500, [])
    assert await reserved(database, world, "sku-1") == before


async def test_units_of_a_line_are_worth_their_share_to_the_cent(database: Database, world: World) -> None:
    order_id = await put(database, world.order("shares", 3, unit_price_minor=333, tax_minor=1))
    amounts = []
    for _ in range(3):
        [done] = await call_off(
            database, Cancellation(order_id=order_id, lines=[LineCancellation(line_no=1, quantity=1)])
        )
        assert isinstance(done, Cancelled)
        amounts.append(done.amount_minor)
    assert sum(amounts) == 1000
    assert max(amounts) - min(amounts) <= 1


async def test_waiting_units_are_cancelled_before_allocated_ones(database: Database, world: World) -> None:
    order_id = await put(database, world.order("waits", {"sku-2": 8}, channel="backorder"))
    [done] = await call_off(database, Cancellation(order_id=order_id, lines=[LineCancellation(line_no=1, quantity=4)]))
    assert isinstance(done, Cancelled)
    line = await database.pool.fetchrow("SELECT * FROM orders.lines WHERE order_id = $1", order_id)
    assert (line["backordered"], line["allocated"], line["cancelled"]) == (0, 4, 4)


async def test_one_order_twice_in_a_batch_is_cancelled_once(database: Database, world: World) -> None:
    order_id = await put(database, world.order("twice", 2))
    first, second = await call_off(
        database, Cancellation(order_id=order_id, all=True), Cancellation(order_id=order_id, all=True)
    )
    assert isinstance(first, Cancelled)
    assert isinstance(second, CancelRefused)
    assert second.reason is CancelRefusal.TOO_LATE


async def test_one_order_twice_in_a_batch_gives_stock_back_in_the_order_of_locks(
    database: Database, world: World
) -> None:
    """What the second cancellation frees stands before what the first one did; the watcher of every test would tell."""
    before = [await reserved(database, world, sku) for sku in ("sku-1", "sku-2")]
    order_id = await put(database, world.order("backwards", {"sku-1": 2, "sku-2": 1}))
    last_first = [Cancellation(order_id=order_id, lines=[LineCancellation(line_no=line_no)]) for line_no in (2, 1)]
    assert all(isinstance(done, Cancelled) for done in await call_off(database, *last_first))
    assert [await reserved(database, world, sku) for sku in ("sku-1", "sku-2")] == before
    await steps.assert_clean(database)


async def test_units_that_shipped_before_their_stop_was_answered_are_not_cancelled_again(
    database: Database, world: World
) -> None:
    order_id, [fulfillment_order_id] = await steps.packed(database, world.order("late-stop", 3), AT)
    [asked] = await call_off(database, Cancellation(order_id=order_id, all=True))
    assert isinstance(asked, Cancelled)
    assert [w.quantity for w in asked.wanted] == [3]
    item = Ship(order_id=order_id, fulfillment_order_id=fulfillment_order_id, tracking_number="T-late-stop", all=True)
    await database.transact(lambda tx: ship(tx, [item], at=AT))
    for lines in (None, [LineCancellation(line_no=1)]):
        [late] = await call_off(database, Cancellation(order_id=order_id, lines=lines, all=lines is None))
        assert isinstance(late, CancelRefused)
        assert late.reason is CancelRefusal.TOO_LATE


async def test_refusals_say_what_can_be_done(database: Database, world: World) -> None:
    order_id = await put(database, world.order("refused", 2))
    outcomes = await call_off(
        database,
        Cancellation(order_id=uuid4(), all=True),
        Cancellation(order_id=order_id, lines=[LineCancellation(line_no=2)]),
        Cancellation(order_id=order_id, lines=[LineCancellation(line_no=1, quantity=3)]),
    )
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [
        CancelRefusal.UNKNOWN_ORDER,
        CancelRefusal.UNKNOWN_LINE,
        CancelRefusal.TOO_MANY,
    ]
    assert await database.pool.fetchval("SELECT cancelled FROM orders.orders WHERE order_id = $1", order_id) == 0


async def test_arrived_stock_goes_to_who_waited_first(database: Database, world: World) -> None:
    first = await put(database, world.order("w1", {"sku-3": 4}, channel="backorder"))
    second = await put(database, world.order("w2", {"sku-3": 4}, channel="backorder"), AT + timedelta(seconds=1))
    receipt = Receipt(sku="sku-3", location="loc-2", quantity=6)
    await database.transact(lambda tx: receive(tx, [receipt], at=AT))
    waiting = await database.read(lambda tx: waiting_for(tx, [world.sku_ids["sku-3"]], limit=10))
    assert waiting == [first, second]
    found = await database.transact(lambda tx: allocate(tx, waiting, at=AT))
    assert found == {first: 4, second: 2}
    rows = await database.pool.fetch(
        "SELECT status, promised_at IS NOT NULL AS promised FROM orders.orders WHERE order_id = any($1) ORDER BY order_id",
        [first, second],
    )
    assert [tuple(row) for row in rows] == [("allocated", True), ("partially_backordered", False)]


async def test_arrived_stock_reaches_everybody_who_waits(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactions, "FILLED_AT_ONCE", 2)
    ids = [await put(database, world.order(f"many {n}", {"sku-4": 1}, channel="backorder")) for n in range(5)]
    await database.transact(lambda tx: receive(tx, [Receipt(sku="sku-4", location="loc-1", quantity=5)], at=AT))
    data = {"sku_ids": [world.sku_ids["sku-4"]]}
    task = Task(0, uuid4(), "fill_backorders", uuid4(), uuid4(), AT, data, 0)
    await database.transact(lambda tx: reactions.fill_backorders(tx, [task], AT))
    registry = Registry()
    registry.reaction("fill_backorders")(reactions.fill_backorders)
    await Worker(database, registry=registry).run_until_idle()
    rows = await database.pool.fetch("SELECT status FROM orders.orders WHERE order_id = any($1)", ids)
    assert [row["status"] for row in rows] == ["allocated"] * 5


async def test_cancelled_units_go_to_who_waits_for_them(database: Database, world: World) -> None:
    await database.transact(lambda tx: receive(tx, [Receipt(sku="sku-5", location="loc-1", quantity=4)], at=AT))
    has = await put(database, world.order("has four", {"sku-5": 4}))
    waits = await put(database, world.order("waits for two", {"sku-5": 2}, channel="backorder"))
    wish = Cancellation(order_id=has, lines=[LineCancellation(line_no=1, quantity=3)])
    await database.transact(lambda tx: cancel(tx, [wish], at=AT))
    [event] = await database.pool.fetch(
        "SELECT data FROM core.events WHERE subject_id = $1 AND kind = 'units_cancelled'", has
    )
    task = Task(0, uuid4(), "fill_backorders", has, uuid4(), AT, json.loads(event["data"]), 0)
    await database.transact(lambda tx: reactions.fill_backorders(tx, [task], AT))
    status = "SELECT status FROM orders.orders WHERE order_id = $1"
    assert await database.pool.fetchval(status, waits) == "allocated"


async def test_an_order_is_promised_for_when_its_last_package_arrives(database: Database) -> None:
    far = await small_world(
        database, prefix="far-", skus=2, locations=8, stock={("far-sku-1", "far-loc-8"): 1}
    )  # across the country
    wanted = {"far-sku-1": 1, "far-sku-2": 1}
    order_id = await put(database, far.order("both", wanted, channel=far.channels["backorder"]))
    receipt = Receipt(sku="far-sku-2", location="far-loc-1", quantity=1)  # next door
    await database.transact(lambda tx: receive(tx, [receipt], at=AT))
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    rows = await database.pool.fetch("SELECT promised_at FROM orders.allocations WHERE order_id = $1", order_id)
    first, last = sorted(row["promised_at"] for row in rows)
    assert first < last
    assert await database.pool.fetchval("SELECT promised_at FROM orders.orders WHERE order_id = $1", order_id) == last
