"""Stopping: what a cancellation still reaches in the warehouse, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from ordino.core.database import Database
from ordino.orders.cancel import Cancellation, Cancelled, LineCancellation, cancel
from ordino.warehouse.model import NewPackage, Pack, PackLine, Pick, PickLine, Ship, WorkRefusal
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.reactions import stop
from ordino.warehouse.ship import ship
from steps import assert_clean, events, in_one, line, packed, picked, react, released, shipped, stock
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 1000})


async def call_off(database: Database, order_id: UUID, quantity: int | None = None) -> Cancelled:
    lines = None if quantity is None else [LineCancellation(line_no=1, quantity=quantity)]
    [done] = await in_one(database, cancel, [Cancellation(order_id=order_id, lines=lines, all=lines is None)], AT)
    assert isinstance(done, Cancelled), done
    await react(database, stop, order_id, "cancellation_wanted", AT)
    return done


@pytest.mark.parametrize("step", [released, picked, packed])
async def test_units_are_stopped_wherever_they_are(database: Database, world: World, step: object) -> None:
    here = (world.sku_ids["sku-1"], world.location_ids["loc-1"])
    before = await stock(database, *here)
    order = world.order(step.__name__, 3, shipping_minor=500)  # type: ignore[attr-defined]
    order_id, [id] = await step(database, order, AT)  # type: ignore[operator]
    await call_off(database, order_id)
    counts = await line(database, order_id)
    assert (counts["cancelled"], counts["stop_wanted"]) == (3, 0)
    assert await stock(database, *here) == before
    [fact] = await events(database, order_id, "units_cancelled")
    assert (fact["lines"], fact["amount_minor"]) == ([{"line_no": 1, "quantity": 3}], 3500)
    out = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=step.__name__, all=True)  # type: ignore[attr-defined]
    [refused] = await in_one(database, ship, [out], AT)
    assert refused.reason is WorkRefusal.DONE
    await assert_clean(database)


async def test_what_costs_least_to_stop_is_stopped_first(database: Database, world: World) -> None:
    order_id, [id] = await released(database, world.order("mixed", 6), AT)
    key = {"order_id": order_id, "fulfillment_order_id": id}
    await in_one(database, pick, [Pick(**key, lines=[PickLine(line_no=1, picked=4)])], AT)
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=2)])]
    await in_one(database, pack, [Pack(**key, packages=boxes)], AT)
    await call_off(database, order_id, 3)
    counts = await line(database, order_id)
    assert (counts["allocated"], counts["picked"], counts["packed"], counts["cancelled"]) == (0, 1, 2, 3)
    await call_off(database, order_id, 2)
    counts = await line(database, order_id)
    assert (counts["picked"], counts["packed"], counts["cancelled"]) == (0, 1, 5)
    [gone] = await in_one(database, ship, [Ship(**key, tracking_number="mixed", all=True)], AT)
    worth = [fact["amount_minor"] for fact in await events(database, order_id, "units_cancelled")]
    assert sum(worth) + gone.amount_minor == 6000
    await assert_clean(database)


async def test_what_has_shipped_cannot_be_stopped(database: Database, world: World) -> None:
    order_id, [id] = await packed(database, world.order("gone", 2), AT)
    [done] = await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    assert done.wanted[0].quantity == 2
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=id, tracking_number="gone", all=True)], AT
    )
    await react(database, stop, order_id, "cancellation_wanted", AT)
    [fact] = await events(database, order_id, "cancellation_refused")
    assert fact["lines"] == [{"line_no": 1, "quantity": 2}]
    assert await events(database, order_id, "units_cancelled") == []
    assert (await line(database, order_id))["stop_wanted"] == 0
    await assert_clean(database)


async def test_units_that_were_short_meanwhile_are_stopped_while_they_wait(database: Database, world: World) -> None:
    order_id, [id] = await released(database, world.order("short meanwhile", 2), AT)
    await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    lines = [PickLine(line_no=1, short=2, short_reason="damaged")]
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=id, lines=lines)], AT)
    await react(database, stop, order_id, "cancellation_wanted", AT)
    assert (await line(database, order_id))["cancelled"] == 2
    await assert_clean(database)


async def test_a_shipped_order_is_not_cancelled(database: Database, world: World) -> None:
    order_id, _ = await shipped(database, world.order("too late"), AT)
    [refused] = await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
    assert refused.reason == "too_late"
