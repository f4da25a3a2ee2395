"""Ship-by times: the channel's own, the queue before it, and the orders that on-time shipping counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from ordino.core.database import Database
from ordino.insights.kpis import counted_orders, kpis
from ordino.network.model import Location
from ordino.network.read import locations
from ordino.network.upsert import upsert_locations
from ordino.orders import read as orders_read
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import OrderRefused, Refusal
from ordino.orders.place import place
from ordino.orders.preview import PreviewLine, PreviewRequest, preview
from ordino.orders.why import decisions
from ordino.warehouse import read
from ordino.warehouse.model import Released, Ship, Shipped
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_clean, events, in_one, packed, placed, released, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # Monday, 10:00 in New York
CUT_OFF = datetime(2026, 3, 2, 19, 0, tzinfo=UTC)  # 14:00
EVENING = datetime(2026, 3, 3, 1, 0, tzinfo=UTC)  # 20:00
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


async def work(database: Database, order_id: UUID) -> list[read.FulfillmentOrderView]:
    return await database.read(lambda tx: read.fulfillment_orders(tx, order_id))


async def sent(database: Database, order_id: UUID, fulfillment_order_id: UUID, at: datetime) -> None:
    item = Ship(
        order_id=order_id,
        fulfillment_order_id=fulfillment_order_id,
        tracking_number=f"N-{fulfillment_order_id}",
        all=True,
    )
    sure((await in_one(database, ship, [item], at))[0], Shipped)


async def change(database: Database, code: str, **changes: Any) -> None:
    [was] = await database.read(lambda tx: locations(tx, [code]))
    await database.transact(lambda tx: upsert_locations(tx, [structs.replace(was, **changes)], at=AT))


async def counted(database: Database, since: datetime, until: datetime) -> dict[UUID, list[str]]:
    """What is listed; it is what is counted."""
    listed = await database.read(
        lambda tx: counted_orders(
            tx, "on_time_shipping_rate", since=since, until=until, after=UUID(int=0), limit=10_000
        )
    )
    found = await database.read(lambda tx: kpis(tx, since=since, until=until))
    kpi = next(kpi for kpi in found if kpi.name == "on_time_shipping_rate")
    assert (kpi.above or 0, kpi.below or 0) == (sum(not one.why for one in listed), len(listed))
    return {one.order_id: one.why for one in listed}


async def test_work_is_queued_by_the_cut_off_and_due_in_the_evening(database: Database, world: World) -> None:
    order_id, _ = await released(database, world.order("plain"), AT)
    [one] = await work(database, order_id)
    assert (one.cut_off_at, one.ship_by_at) == (CUT_OFF, EVENING)
    assert one.planned_at == datetime(2026, 3, 4, 1, 0, tzinfo=UTC)  # Tuesday 20:00, as with the cut-off


async def test_an_order_brings_its_own_ship_by_time(database: Database, world: World) -> None:
    """FUL-9."""
    soon = AT + 2 * HOUR
    order_id, _ = await released(database, world.order("soon", ship_by_at=soon), AT)
    [one] = await work(database, order_id)
    assert (one.cut_off_at, one.ship_by_at) == (soon, soon)
    order = await database.read(lambda tx: orders_read.order(tx, order_id))
    assert order.ship_by_at == soon
    later, _ = await released(database, world.order("later", ship_by_at=AT + 90 * DAY), AT)
    [one] = await work(database, later)
    assert (one.cut_off_at, one.ship_by_at) == (CUT_OFF, AT + 90 * DAY)
    [place_] = {one.location}
    queue = await database.read(lambda tx: read.work_queue(tx, place_, status=None, after=None, limit=1000))
    assert [item.cut_off_at for item in queue] == sorted(item.cut_off_at for item in queue)
    assert queue[0].order_id == order_id
    pages: list[UUID] = []
    after = None
    while page := await database.read(
        lambda tx, after=after: read.work_queue(tx, place_, status=None, after=after, limit=1)  # type: ignore[misc]
    ):
        pages.append(page[0].fulfillment_order_id)
        after = (page[0].cut_off_at, page[0].fulfillment_order_id)
    assert pages == [item.fulfillment_order_id for item in queue]
    await assert_clean(database)


@pytest.mark.parametrize(
    "wrong", [datetime(2026, 3, 9), datetime(3000, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)]
)
@pytest.mark.parametrize("name", ["ship_by_at", "promised_at"])
async def test_a_time_without_offset_or_beyond_the_calendar_is_refused(
    database: Database, world: World, name: str, wrong: datetime
) -> None:
    [refused] = await in_one(database, place, [world.order("wrong", **{name: wrong})], AT)
    said = sure(refused, OrderRefused)
    assert (said.reason, said.pointer) == (Refusal.INVALID, f"/{name}")


async def test_a_plan_that_leaves_in_time_goes_before_any_that_does_not(database: Database) -> None:
    slow = await small_world(database, prefix="sl-")
    await change(database, "sl-loc-1", processing_days=3)
    usual, _ = await released(database, slow.order("usual"), AT)
    assert [one.location for one in await work(database, usual)] == ["sl-loc-1"]  # nearer
    hurried, _ = await released(database, slow.order("hurried", ship_by_at=EVENING), AT)
    assert [one.location for one in await work(database, hurried)] == ["sl-loc-2"]
    assert await events(database, hurried, "ship_by_endangered") == []
    lost = await placed(database, slow.order("lost", ship_by_at=AT + HOUR), AT)
    [fact] = await events(database, lost, "ship_by_endangered")
    assert fact["ship_by_at"] == "2026-03-02T16:00:00Z"
    assert await events(database, lost, "promise_endangered") == []
    [told] = await database.read(lambda tx: decisions(tx, lost))
    assert (told.why.promise_kept, told.why.ship_by_kept) == (None, False)
    assert "No plan ships the order by the channel's ship-by time." in told.why.sentence
    asked = PreviewRequest(
        channel=slow.channel, country="US", postal_code="43215", ship_by_at=EVENING,
        lines=[PreviewLine(sku=slow.sku, quantity=1)],
    )  # fmt: skip
    seen = await database.read(lambda tx: preview(tx, asked, at=AT))
    assert ([leg.location for leg in seen.legs], seen.why.ship_by_kept) == (["sl-loc-2"], True)
    both = await placed(database, slow.order("both", ship_by_at=EVENING, promised_at=AT + HOUR), AT)
    [told] = await database.read(lambda tx: decisions(tx, both))
    assert (told.why.promise_kept, told.why.ship_by_kept) in {(False, False), (False, True)}
    await assert_clean(database)


async def test_an_order_counts_once_and_when_it_is_due(database: Database) -> None:
    """KPI-3."""
    some = await small_world(
        database, prefix="due-", stock={("due-sku-1", "due-loc-1"): 500, ("due-sku-2", "due-loc-2"): 500}
    )
    since, day = AT + 7 * DAY, AT + 7 * DAY  # a week of its own

    async def one(name: str, at: datetime = day, **more: Any) -> tuple[UUID, list[UUID]]:
        return await packed(database, some.order(name, **more), at)

    evening = EVENING + 7 * DAY - HOUR  # daylight saving has begun
    in_time, [work_] = await one("in time")
    await sent(database, in_time, work_, evening)  # to the instant
    late, [work_] = await one("late")
    await sent(database, late, work_, evening + timedelta(seconds=1))
    packed_only, _ = await one("packed only")
    waits = await placed(database, some.order("allocated only"), day)
    own, [work_] = await one("own", ship_by_at=day + 3 * HOUR)
    await sent(database, own, work_, day + 4 * HOUR)
    generous, [work_] = await one("generous", ship_by_at=evening + 3 * DAY)
    await sent(database, generous, work_, evening + 2 * DAY)
    split, works = await one("split", quantities={"due-sku-1": 1, "due-sku-2": 1})
    await sent(database, split, works[0], evening)
    off = await placed(database, some.order("off"), day)
    await in_one(database, cancel, [Cancellation(order_id=off, all=True)], day)
    short = some.order("short", 600, channel=some.channels["backorder"], ship_by_at=evening)
    backordered = await placed(database, short, day)
    expected = {
        in_time: [],
        late: ["shipped_late"],
        packed_only: ["not_shipped"],
        waits: ["not_shipped"],
        own: ["shipped_late"],
        split: ["not_shipped"],
        backordered: ["not_shipped"],
    }
    assert await counted(database, since, evening + HOUR) == expected
    assert await counted(database, since, evening) == {own: ["shipped_late"]}  # the others are not due yet
    assert await counted(database, evening + HOUR, evening + 4 * DAY) == {generous: []}
    await sent(database, split, works[1], evening - HOUR)
    assert (await counted(database, since, evening + HOUR))[split] == []
    sure((await database.transact(lambda tx: release(tx, [waits], at=evening)))[0], Released)
    assert (await counted(database, since, evening + HOUR))[waits] == ["not_shipped"]
    await assert_clean(database)


async def test_an_order_with_parts_due_on_two_days_counts_on_the_second(database: Database) -> None:
    some = await small_world(
        database, prefix="two-", stock={("two-sku-1", "two-loc-1"): 5, ("two-sku-2", "two-loc-2"): 5}
    )
    await change(database, "two-loc-2", processing_days=2)
    at = AT + 21 * DAY
    order_id, _ = await packed(database, some.order("two days", {"two-sku-1": 1, "two-sku-2": 1}), at)
    by_due = sorted(await work(database, order_id), key=lambda one: one.ship_by_at)
    first, second = by_due[0].ship_by_at, by_due[1].ship_by_at
    assert second - first == 2 * DAY
    await sent(database, order_id, by_due[0].fulfillment_order_id, first + HOUR)
    assert await counted(database, first - HOUR, first + HOUR) == {}
    assert await counted(database, second - HOUR, second + HOUR) == {order_id: ["shipped_late", "not_shipped"]}
    await sent(database, order_id, by_due[1].fulfillment_order_id, second)
    assert await counted(database, second - HOUR, second + HOUR) == {order_id: ["shipped_late"]}


async def test_where_parcels_leave_until_is_kept(database: Database, world: World) -> None:
    await change(database, world.locations[1], ships_until="18:30")
    [kept] = await database.read(lambda tx: locations(tx, [world.locations[1]]))
    assert isinstance(kept, Location)
    assert kept.ships_until == "18:30"
