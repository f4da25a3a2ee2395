"""Work does not go to closed places: what is not released leaves them, what is released there is told, and rejections work before release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from closing import allocated_at, close, look, open_again, open_exceptions, queued, switch, take_out
from ordino.core.database import Database
from ordino.core.reactions import Task
from ordino.inventory.adjust import Receipt, receive
from ordino.orders.allocate import allocate
from ordino.orders.exceptions import Resolve, resolve
from ordino.warehouse.model import Pick, PickLine, Rejected, Rejection, Released
from ordino.warehouse.pick import pick
from ordino.warehouse.reactions import reject_closed
from ordino.warehouse.reject import reject
from ordino.warehouse.release import release
from steps import assert_clean, events, in_one, line, placed, released, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def world(database: Database, request: pytest.FixtureRequest) -> World:
    return await small_world(
        database, prefix=request.node.name[5:28] + request.node.name[-5:], skus=1, locations=2, stock=10
    )


async def work_of(database: Database, order_id: UUID) -> list[dict[str, Any]]:
    rows = await database.pool.fetch(
        "SELECT * FROM warehouse.fulfillment_orders WHERE order_id = $1 ORDER BY fulfillment_order_id", order_id
    )
    return [dict(row) for row in rows]


@pytest.mark.parametrize("how", ["closed", "off", "out"])
async def test_units_that_are_not_released_leave_a_closed_place(database: Database, world: World, how: str) -> None:
    here, there = (world.location_ids[code] for code in world.locations)
    order_id = await placed(database, world.order("moves", 3), AT)
    assert await allocated_at(database, order_id) == {here: 3}
    if how == "closed":
        await close(database, world.location, AT)
    elif how == "off":
        await switch(database, world.location, AT, active=False)
    else:
        await take_out(database, world, world.location, AT)
    await look(database, AT)
    assert await allocated_at(database, order_id) == {there: 3}
    assert (await stock(database, world.sku_ids[world.sku], here))[1] == 0
    assert (await stock(database, world.sku_ids[world.sku], there))[1] == 3
    [told] = await events(database, order_id, "order_resourced")
    assert (told["from"], told["to"]) == ([world.locations[0]], [world.locations[1]])
    assert world.location in told["why"]
    await look(database, AT)
    assert len(await events(database, order_id, "order_resourced")) == 1
    await assert_clean(database)


async def test_a_closure_of_one_channel_moves_its_orders_only(database: Database, world: World) -> None:
    here, there = (world.location_ids[code] for code in world.locations)
    mine, other = [
        await placed(database, world.order("one", channel=world.channels[policy]), AT) for policy in ("refuse", "drop")
    ]
    await close(database, world.location, AT, channel=world.channels["refuse"])
    await look(database, AT)
    assert (await allocated_at(database, mine), await allocated_at(database, other)) == ({there: 1}, {here: 1})
    await assert_clean(database)


async def test_a_closure_takes_effect_when_it_begins_and_not_if_it_is_taken_back(
    database: Database, world: World
) -> None:
    here, there = (world.location_ids[code] for code in world.locations)
    order_id = await placed(database, world.order("later"), AT)
    await close(database, world.location, AT, starts_at=AT + HOUR, ends_at=AT + 5 * HOUR)
    await look(database, AT)
    assert await allocated_at(database, order_id) == {here: 1}
    await open_again(database, world.location)
    await look(database, AT + 2 * HOUR, AT)
    assert await allocated_at(database, order_id) == {here: 1}
    await close(database, world.location, AT, starts_at=AT + 3 * HOUR, ends_at=AT + 5 * HOUR)
    await look(database, AT + 2 * HOUR)
    assert await allocated_at(database, order_id) == {here: 1}
    await look(database, AT + 3 * HOUR, AT + 3 * HOUR - timedelta(seconds=1))
    assert await allocated_at(database, order_id) == {there: 1}
    await assert_clean(database)


async def test_a_release_sources_again_instead_of_releasing_to_a_closed_place(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("released"), AT)
    await close(database, world.location, AT)
    [outcome] = await in_one(database, release, [order_id], AT)
    [work] = await work_of(database, order_id)
    assert sure(outcome, Released).waits_at == []
    assert work["location_id"] == world.location_ids[world.locations[1]]
    await assert_clean(database)


async def test_work_that_nobody_else_can_do_waits_where_its_stock_is(database: Database) -> None:
    world = await small_world(
        database, prefix="only-", skus=1, locations=2, daily_capacity=5, stock={("only-sku-1", "only-loc-1"): 4}
    )
    here = world.location_ids[world.location]
    order_id = await placed(database, world.order("only", 3), AT)
    await close(database, world.location, AT)
    for _ in range(2):
        await look(database, AT)
    assert await allocated_at(database, order_id) == {here: 3}
    assert (await stock(database, world.sku_ids[world.sku], here))[:2] == (4, 3)
    [told] = await events(database, order_id, "units_kept")
    assert (told["lines"], told["locations"]) == ([1], [world.location])
    assert "No other location can supply the units" in told["why"]
    for _ in range(2):
        [outcome] = await in_one(database, release, [order_id], AT)
        assert outcome == Released(order_id, [], [world.location])
    assert await work_of(database, order_id) == []
    await assert_clean(database)
    assert await queued(database, "release", order_id) == 0
    await open_again(database, world.location)
    await look(database, AT + HOUR)
    assert await queued(database, "release", order_id) == 1
    [outcome] = await in_one(database, release, [order_id], AT + HOUR)
    assert len(sure(outcome, Released).fulfillment_order_ids) == 1
    await look(database, AT + HOUR)
    assert await queued(database, "release", order_id) == 0
    await assert_clean(database)


async def test_what_waits_at_a_closed_place_moves_once_another_has_stock(database: Database) -> None:
    world = await small_world(
        database, prefix="stocked-", skus=1, locations=2, stock={("stocked-sku-1", "stocked-loc-1"): 4}
    )
    here, there = (world.location_ids[code] for code in world.locations)
    order_id = await placed(database, world.order("some", 3), AT)
    await close(database, world.location, AT)
    await in_one(database, release, [order_id], AT)
    receipt = Receipt(sku=world.sku, location=world.locations[1], quantity=2, reason="late")
    await in_one(database, receive, [receipt], AT)
    await look(database, AT + HOUR, AT)  # every hour
    assert await allocated_at(database, order_id) == {here: 1, there: 2}
    assert await queued(database, "release", order_id) == 1
    [outcome] = await in_one(database, release, [order_id], AT)
    assert outcome.waits_at == [world.location]
    [work] = await work_of(database, order_id)
    assert (work["location_id"], work["quantity"]) == (there, 2)
    await assert_clean(database)


async def test_work_at_a_closed_place_needs_a_person_until_it_opens_or_the_work_is_done(
    database: Database, world: World
) -> None:
    order_id, [work] = await released(database, world.order("there", 3), AT)
    other, [others] = await released(database, world.order("there too", 2), AT)
    await close(database, world.location, AT)
    for _ in range(2):
        await look(database, AT)
    [told] = await open_exceptions(database, order_id)
    assert (told.kind, told.fulfillment_order_id, told.location) == ("location_closed", work, world.location)
    assert (told.units, told.line_no, told.sku) == (3, None, None)
    assert told.detail.startswith(
        f"{world.location} is closed by the closure 'closed-{world.location}', and has released work of this order. Retry to give it"
    )
    [fact] = await events(database, order_id, "work_at_closed_location")
    assert fact["fulfillment_order_id"] == str(work)
    await in_one(database, pick, [Pick(order_id=other, fulfillment_order_id=others, all=True)], AT)
    await look(database, AT)
    assert await open_exceptions(database, other) == []
    [done] = await open_exceptions(database, other, all=True)
    assert (done.resolution, done.resolved_by) == ("cleared", None)
    await open_again(database, world.location)
    await look(database, AT)
    assert await open_exceptions(database, order_id) == []
    assert len(await events(database, order_id, "exception_cleared")) == 1
    await switch(database, world.location, AT, active=False)  # closed once more, told once more
    await look(database, AT)
    assert len(await open_exceptions(database, order_id)) == 1
    await assert_clean(database)


async def test_a_person_sees_to_work_at_a_closed_place_with_the_usual_verbs(database: Database, world: World) -> None:
    ids = [(await released(database, world.order(name, 2), AT))[0] for name in ("retry", "cancel", "close", "reject")]
    await close(database, world.location, AT)
    await look(database, AT)
    for order_id, action in zip(ids, ("retry", "cancel", "close"), strict=False):
        [told] = await open_exceptions(database, order_id)
        wish = Resolve(action=action)  # type: ignore[arg-type]
        await database.transact(lambda tx, id=told.exception_id, wish=wish: resolve(tx, id, wish, at=AT))
    data = {"location_id": world.location_ids[world.location]}
    assert await queued(database, "reject_closed", ids[0]) == 1
    task = Task(0, ids[0], "reject_closed", ids[0], ids[0], AT, data, 0)
    await database.transact(lambda tx: reject_closed(tx, [task], AT))
    assert await database.transact(lambda tx: allocate(tx, [ids[0]], at=AT)) == {ids[0]: 2}
    assert await allocated_at(database, ids[0]) == {world.location_ids[world.locations[1]]: 2}
    [wanted] = await events(database, ids[1], "cancellation_wanted")
    assert wanted["lines"] == [{"line_no": 1, "quantity": 2}]
    [done] = await in_one(database, reject, [Rejection(order_id=ids[3], location=world.location)], AT)
    assert done == Rejected(ids[3], world.location, 2)
    await look(database, AT)
    assert [await open_exceptions(database, order_id) for order_id in ids] == [[], [], [], []]
    await assert_clean(database)


async def test_a_location_rejects_work_before_it_is_released(database: Database, world: World) -> None:
    here, there = (world.location_ids[code] for code in world.locations)
    order_id = await placed(database, world.order("early", 3), AT)
    mine = Rejection(order_id=order_id, location=world.location)
    bored = Rejection(order_id=order_id, location=world.location, reason="bored")
    [unknown] = await in_one(database, reject, [bored], AT)
    elsewhere = Rejection(order_id=order_id, location=world.locations[1])
    outcomes = await in_one(database, reject, [mine, mine, elsewhere], AT)
    assert [getattr(one, "reason", None) for one in (unknown, *outcomes)] == [
        "unknown_reason",
        None,
        "repeated",
        "done",
    ]
    assert outcomes[0] == Rejected(order_id, world.location, 3)
    counts = await line(database, order_id)
    assert (counts["backordered"], counts["allocated"], counts["tries"], counts["excluded_location_ids"]) == (
        3,
        0,
        1,
        [here],
    )
    assert (await stock(database, world.sku_ids[world.sku], here))[:2] == (10, 0)
    [told] = await events(database, order_id, "units_short")
    assert told["lines"] == [{"line_no": 1, "quantity": 3, "reason": "refused"}]
    assert await database.transact(lambda tx: allocate(tx, [order_id], at=AT)) == {order_id: 3}
    assert await allocated_at(database, order_id) == {there: 3}
    await assert_clean(database)


async def test_a_rejection_takes_back_what_is_released_and_what_is_not(database: Database) -> None:
    """The reason's effect on the stock is the same for both, and the location has failed the line once."""
    world = await small_world(database, prefix="both-", skus=1, locations=2, stock=3, daily_capacity=9)
    channel = world.channels["backorder"]
    order_id = await placed(database, world.order("both", 6, channel=channel), AT)
    await in_one(database, release, [order_id], AT)
    works = {row["location_id"]: row["fulfillment_order_id"] for row in await work_of(database, order_id)}
    here, there = (world.location_ids[code] for code in world.locations)
    told = PickLine(line_no=1, short=1, short_reason="damaged")
    await in_one(database, pick, [Pick(order_id=order_id, fulfillment_order_id=works[there], lines=[told])], AT)
    receipt = Receipt(sku=world.sku, location=world.location, quantity=1, reason="late")
    await in_one(database, receive, [receipt], AT)
    await database.transact(lambda tx: allocate(tx, [order_id], at=AT))
    assert await allocated_at(database, order_id) == {here: 4, there: 2}  # 3 of the 4 are released
    await assert_clean(database)
    gone = Rejection(order_id=order_id, location=world.location, reason="not_found")
    [done] = await in_one(database, reject, [gone], AT)
    assert done == Rejected(order_id, world.location, 4)
    counts = await line(database, order_id)
    assert (counts["backordered"], counts["tries"]) == (4, 2)
    assert (await stock(database, world.sku_ids[world.sku], here))[:2] == (0, 0)
    await assert_clean(database)
