"""What customers are told, first and last: alarms hold to it, and the plan is a matter of its own."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.aftercare.message import messages
from ordino.cli.running import load_stages
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.reactions import Worker
from ordino.flows.versions import ensure_active, flow_plans
from ordino.insights.kpis import counted_orders
from ordino.orders import read as orders_read
from ordino.orders.model import Address, NewOrder
from ordino.tracking import read, watch
from ordino.tracking.api import routes
from ordino.tracking.model import (
    DateRefusal,
    DateRefused,
    DateTold,
    Kept,
    Kind,
    NewDate,
    Recorded,
    Status,
    TrackingEvent,
)
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.tracking.tell import tell
from ordino.warehouse.model import Released, Ship, Shipped
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_clean, client, delivered, events, in_one, packed, placed, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # a Monday; what leaves now is planned for Tuesday 20:00 in New York
PLANNED = datetime(2026, 3, 4, 1, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=100_000)


async def parcel(database: Database, shipment_id: UUID) -> dict[str, Any]:
    return dict(await database.pool.fetchrow("SELECT * FROM tracking.parcels WHERE shipment_id = $1", shipment_id))


async def look(database: Database, order_id: UUID, shipment_id: UUID, at: datetime) -> int:
    return await database.transact(lambda tx: watch.check_late(tx, [(order_id, shipment_id)], at=at))


async def dues(database: Database, order_id: UUID) -> list[datetime]:
    rows = await database.pool.fetch(
        "SELECT due_at FROM core.reactions WHERE subject_id = $1 AND kind = 'check_late' ORDER BY due_at", order_id
    )
    return [row["due_at"] for row in rows]


async def arrive(database: Database, number: str, at: datetime) -> Recorded:
    said = TrackingEvent(tracking_number=number, kind=Kind.DELIVERED, at=at)
    return sure((await in_one(database, take_events, [said], at))[0], Recorded)


async def test_a_parcel_is_late_by_what_was_told_and_behind_by_its_plan(database: Database, world: World) -> None:
    """TRK-8."""
    told_at = PLANNED + 2 * DAY
    order_id, [sent] = await shipped(database, world.order("generous", promised_at=told_at), AT)
    row = await parcel(database, sent.shipment_id)
    assert (row["promised_at"], row["planned_at"], row["expected_at"]) == (told_at, PLANNED, PLANNED)
    assert await dues(database, order_id) == [PLANNED]
    assert await look(database, order_id, sent.shipment_id, PLANNED) == 0
    assert await look(database, order_id, sent.shipment_id, PLANNED + HOUR) == 0
    row = await parcel(database, sent.shipment_id)
    assert (row["status"], row["behind_plan_at"]) == (Status.IN_TRANSIT, PLANNED)
    [fact] = await events(database, order_id, "shipment_behind_plan")
    assert fact["promised_at"] == "2026-03-06T01:00:00Z"
    assert await events(database, order_id, "shipment_late") == []
    assert (await dues(database, order_id))[-1] == told_at
    assert await look(database, order_id, sent.shipment_id, told_at) == 1
    assert (await parcel(database, sent.shipment_id))["status"] == Status.LATE
    assert len(await events(database, order_id, "shipment_late")) == 1
    await assert_clean(database)


async def test_a_date_that_is_told_before_the_plan_is_the_one_that_counts(database: Database, world: World) -> None:
    told_at = PLANNED - 5 * HOUR
    order_id, [sent] = await shipped(database, world.order("hasty", promised_at=told_at), AT)
    assert await dues(database, order_id) == [told_at]
    assert await look(database, order_id, sent.shipment_id, told_at) == 1


async def test_a_later_date_that_is_told_is_what_alarms_wait_for(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("told again"), AT)
    later = PLANNED + 2 * DAY
    [outcome] = await in_one(database, tell, [NewDate(order_id=order_id, promised_at=later)], AT)
    assert outcome == DateTold(order_id, PLANNED, later)
    assert await look(database, order_id, sent.shipment_id, PLANNED) == 0
    assert await look(database, order_id, sent.shipment_id, later) == 1
    [fact] = await events(database, order_id, "promise_changed")
    assert (fact["was"], fact["promised_at"]) == ("2026-03-04T01:00:00Z", "2026-03-06T01:00:00Z")
    order = await database.read(lambda tx: orders_read.order(tx, order_id))
    assert (order.promised_at, order.last_promised_at) == (PLANNED, later)
    [shown] = await database.read(lambda tx: read.parcels(tx, order_id))
    assert (shown.promised_at, shown.last_promised_at, shown.planned_at) == (PLANNED, later, PLANNED)
    await assert_clean(database)


async def test_an_earlier_date_that_is_told_is_looked_at_when_it_comes(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("told earlier"), AT)
    sooner = PLANNED - 8 * HOUR
    sure((await in_one(database, tell, [NewDate(order_id=order_id, promised_at=sooner)], AT))[0], DateTold)
    assert await dues(database, order_id) == [sooner, PLANNED]
    assert await look(database, order_id, sent.shipment_id, sooner) == 1
    await assert_clean(database)


async def test_a_date_told_before_shipping_holds_for_the_parcel(database: Database, world: World) -> None:
    order = world.order("before shipping")
    order_id = await placed(database, order, AT)
    later = PLANNED + 3 * DAY
    await in_one(database, tell, [NewDate(order_id=order_id, promised_at=later)], AT)
    again, [sent] = await shipped(database, order, AT)
    assert again == order_id
    assert await look(database, order_id, sent.shipment_id, PLANNED) == 0
    assert await look(database, order_id, sent.shipment_id, later) == 1


async def test_the_date_of_one_parcel_leaves_the_other_held_to_its_own(database: Database, world: World) -> None:
    stock = {("tw-sku-1", "tw-loc-1"): 1, ("tw-sku-2", "tw-loc-2"): 1}
    split = await small_world(database, skus=2, stock=stock, prefix="tw-")
    order_id, [one, other] = await shipped(database, split.order("two", {"tw-sku-1": 1, "tw-sku-2": 1}), AT)
    before = {id: (await parcel(database, id))["promised_at"] for id in (one.shipment_id, other.shipment_id)}
    last = max(before.values())
    later = last + DAY
    [outcome] = await in_one(
        database, tell, [NewDate(order_id=order_id, promised_at=later, shipment_id=one.shipment_id)], AT
    )
    assert outcome == DateTold(order_id, last, later)
    assert await look(database, order_id, one.shipment_id, last) == 0
    assert await look(database, order_id, other.shipment_id, last) == 1
    assert await look(database, order_id, one.shipment_id, later) == 1


async def test_parcels_are_told_of_before_a_worker_has_seen_them(database: Database, world: World) -> None:
    """The date of one of them is not the other's; and what a carrier said before they left happens first."""
    stock = {("ts-sku-1", "ts-loc-1"): 9, ("ts-sku-2", "ts-loc-2"): 9}
    split = await small_world(database, skus=2, stock=stock, prefix="ts-")
    order_id, [one, other] = await left(database, split.order("left", {"ts-sku-1": 1, "ts-sku-2": 1}))
    first = await database.pool.fetchval("SELECT promised_at FROM orders.orders WHERE order_id = $1", order_id)
    later = first + DAY
    date = NewDate(order_id=order_id, promised_at=later, shipment_id=one.shipment_id)
    assert (await in_one(database, tell, [date], AT))[0] == DateTold(order_id, first, later)
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    assert await look(database, order_id, one.shipment_id, first) == 0
    assert await look(database, order_id, other.shipment_id, first) == 1
    assert await look(database, order_id, one.shipment_id, later) == 1

    said = [TrackingEvent(tracking_number=f"ts-{n}", kind=Kind.DELIVERED, at=AT) for n in (0, 1)]
    for outcome in await in_one(database, take_events, said, AT):
        sure(outcome, Kept)
    order_id, _ = await left(database, split.order("ended", {"ts-sku-1": 1, "ts-sku-2": 1}), "ts-")
    [refused] = await in_one(database, tell, [NewDate(order_id=order_id, promised_at=later)], AT)
    assert sure(refused, DateRefused).reason is DateRefusal.ENDED
    await assert_clean(database)


async def left(database: Database, order: NewOrder, prefix: str | None = None) -> tuple[UUID, list[Shipped]]:
    """An order in parcels that nobody has seen yet."""
    order_id, works = await packed(database, order, AT)
    ships = [
        Ship(order_id=order_id, fulfillment_order_id=work, tracking_number=f"{prefix or uuid4().hex}{n}", all=True)
        for n, work in enumerate(works)
    ]
    return order_id, [sure(outcome, Shipped) for outcome in await in_one(database, ship, ships, AT)]


async def test_nobody_can_be_told_a_date_of_nothing(database: Database, world: World) -> None:
    done, _ = await delivered(database, world.order("arrived"), AT)
    open_ = await placed(database, world.order("not shipped"), AT)
    dates = [
        NewDate(order_id=open_, promised_at=datetime(2026, 3, 9)),
        NewDate(order_id=open_, promised_at=datetime(3000, 3, 9, tzinfo=UTC)),
        NewDate(order_id=uuid4(), promised_at=PLANNED),
        NewDate(order_id=done, promised_at=PLANNED),
        NewDate(order_id=open_, promised_at=PLANNED, shipment_id=uuid4()),
    ]
    outcomes = await in_one(database, tell, dates, AT)
    assert [sure(outcome, DateRefused).reason for outcome in outcomes] == [
        DateRefusal.INVALID,
        DateRefusal.INVALID,
        DateRefusal.UNKNOWN,
        DateRefusal.ENDED,
        DateRefusal.UNKNOWN,
    ]
    assert await events(database, open_, "promise_changed") == []


async def test_a_date_is_told_over_http(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("over http"), AT)
    async with client(database, routes) as http:
        body = {"order_id": str(order_id), "promised_at": "2026-03-09T12:00:00+01:00"}
        told = await http.post("/v1/told_dates", json=body)
        assert (told.status_code, told.json()["last_promised_at"]) == (200, "2026-03-09T11:00:00Z")
        unknown = await http.post("/v1/told_dates", json={**body, "order_id": str(uuid4())})
        assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (404, "/order_id")


async def test_three_seconds_late_is_late(database: Database, world: World) -> None:
    """Told 16:59:16: delivered then it is perfect, delivered at 16:59:19 it is not."""
    told_at = datetime(2026, 3, 6, 16, 59, 16, tzinfo=UTC)
    orders = {}
    for name, seconds in (("in time", 0), ("three seconds", 3)):
        order_id, [sent] = await shipped(database, world.order(name, promised_at=told_at), AT)
        await arrive(database, sent.tracking_number, told_at + seconds * SECOND)
        orders[order_id] = [] if not seconds else ["late"]
    listed = await database.read(
        lambda tx: counted_orders(
            tx, "perfect_order_rate", since=AT, until=AT + SECOND, after=UUID(int=0), limit=10_000
        )
    )
    assert {one.order_id: one.why for one in listed if one.order_id in orders} == orders


async def test_what_was_told_last_does_not_make_a_late_order_perfect(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("excused"), AT)
    await in_one(database, tell, [NewDate(order_id=order_id, promised_at=PLANNED + DAY)], AT)
    await arrive(database, sent.tracking_number, PLANNED + HOUR)
    assert await look(database, order_id, sent.shipment_id, PLANNED + DAY) == 0
    listed = await database.read(
        lambda tx: counted_orders(
            tx, "perfect_order_rate", since=AT, until=AT + SECOND, after=UUID(int=0), limit=10_000
        )
    )
    assert next(one.why for one in listed if one.order_id == order_id) == ["late"]


async def test_news_of_a_delay_become_what_was_told_only_by_a_message(database_url: str, world: World) -> None:
    """With an email address, the customer is told the new date, and no alarm goes off before it; without one, nothing was told."""
    clock = SimulatedClock(AT)
    async with await Database.open(database_url, plans=flow_plans(), clock=clock) as live:
        load_stages()
        await live.transact(lambda tx: ensure_active(tx, at=AT))
        worker = Worker(live)
        found: dict[str, UUID] = {}
        for name, email in (("mailed", "ada@example.com"), ("unmailed", None)):
            address = Address(
                name="Ada", line1="1 Main Street", city="Town", postal_code="43215", country="US", email=email
            )
            order_id, [sent] = await shipped(live, world.order(name, ship_to=address), AT)
            found[name] = order_id
            delay = TrackingEvent(
                tracking_number=sent.tracking_number, kind=Kind.DELAYED, at=AT, expected_at=PLANNED + DAY
            )
            sure((await in_one(live, take_events, [delay], AT))[0], Recorded)
        for at in (AT + HOUR, PLANNED + HOUR, PLANNED + DAY + HOUR):
            clock.advance_to(at)
            await worker.run_until_idle()
            late = {name: len(await events(live, order_id, "shipment_late")) for name, order_id in found.items()}
            if at == PLANNED + HOUR:
                assert late == {"mailed": 0, "unmailed": 1}
        assert late == {"mailed": 1, "unmailed": 1}
        sent_out = await live.read(lambda tx: messages(tx, found["mailed"]))
        [delayed] = [shown for shown in sent_out if shown.template == "order_delayed"]
        assert "It is now expected by Wednesday, March 4, 2026." in delayed.body
        [left] = [shown for shown in sent_out if shown.template == "order_shipped"]
        assert "They should arrive by Tuesday, March 3, 2026." in left.body
        order = await live.read(lambda tx: orders_read.order(tx, found["mailed"]))
        assert (order.promised_at, order.last_promised_at) == (PLANNED, PLANNED + DAY)
        quiet = await live.read(lambda tx: orders_read.order(tx, found["unmailed"]))
        assert (quiet.promised_at, quiet.last_promised_at) == (PLANNED, PLANNED)
        await assert_clean(live)


async def test_a_delay_within_what_was_told_is_no_matter_of_the_customers(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("within", promised_at=PLANNED + 3 * DAY), AT)
    delay = TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.DELAYED, at=AT, expected_at=PLANNED + DAY)
    await in_one(database, take_events, [delay], AT)
    assert len(await events(database, order_id, "shipment_delayed")) == 1
    assert await events(database, order_id, "shipment_to_be_late") == []


async def test_late_alarms_are_exactly_the_orders_that_are_really_late(database: Database, world: World) -> None:
    """Some hundred orders, each with a date of its own and a day of arrival that has nothing to do with the plan."""
    dice = random.Random(2018)
    late, numbers = set(), {}
    for n in range(300):
        told_at = PLANNED + timedelta(seconds=dice.randrange(-36_000, 20 * 86_400))
        arrives_at = max(
            AT + HOUR, told_at + timedelta(seconds=dice.choice([0, 1, 3, -1, 86_400 * dice.randrange(-15, 4)]))
        )
        order_id, [sent] = await shipped(database, world.order(f"real {n}", promised_at=told_at), AT)
        numbers[order_id] = (sent, arrives_at)
        if arrives_at > told_at:
            late.add(order_id)
    days: list[tuple[datetime, int, UUID]] = [(at, 0, order_id) for order_id, (_, at) in numbers.items()]
    done: set[UUID] = set()
    while True:  # deliveries and looks, in the order of the clock
        rows = await database.pool.fetch(
            "DELETE FROM core.reactions WHERE kind = 'check_late' AND subject_id = any($1) RETURNING subject_id, due_at",
            list(numbers),
        )
        days = sorted([*days, *((row["due_at"], 1, row["subject_id"]) for row in rows)])
        if not days:
            break
        at, kind, order_id = days.pop(0)
        sent = numbers[order_id][0]
        if kind == 0:
            await arrive(database, sent.tracking_number, at)
            done.add(order_id)
        elif order_id not in done:
            await look(database, order_id, sent.shipment_id, at)
    alarmed = await database.pool.fetch(
        "SELECT DISTINCT subject_id FROM core.events WHERE kind = 'shipment_late' AND subject_id = any($1)",
        list(numbers),
    )
    assert {row["subject_id"] for row in alarmed} == late
    assert 30 < len(late) < 270
    listed = await database.read(
        lambda tx: counted_orders(
            tx, "perfect_order_rate", since=AT, until=AT + SECOND, after=UUID(int=0), limit=10_000
        )
    )
    assert {one.order_id for one in listed if one.order_id in numbers and one.why == ["late"]} == late
    assert {one.order_id for one in listed if one.order_id in numbers and not one.why} == set(numbers) - late
    await assert_clean(database)


async def test_telling_and_looking_at_once_leave_no_false_alarm_and_lose_no_look(
    database: Database, world: World
) -> None:
    later = PLANNED + DAY
    for n in range(12):
        order_id, [sent] = await shipped(database, world.order(f"race {n}"), AT)
        dates = [NewDate(order_id=order_id, promised_at=later)]
        became, [outcome] = await asyncio.gather(
            look(database, order_id, sent.shipment_id, PLANNED), in_one(database, tell, dates, PLANNED)
        )
        sure(outcome, DateTold)
        row = await parcel(database, sent.shipment_id)
        if became:  # the look came first: it was late by what was told then
            assert row["late_at"] == PLANNED
        else:
            assert row["late_at"] is None
            assert later in await dues(database, order_id)
    await assert_clean(database)


async def test_a_backorder_is_held_to_the_date_that_was_first_told(database: Database, world: World) -> None:
    few = await small_world(database, skus=1, stock={("bo-sku-1", "bo-loc-1"): 1}, prefix="bo-")
    order_id = await placed(database, few.order("waits", 3, channel=few.channels["backorder"]), AT)
    order = await database.read(lambda tx: orders_read.order(tx, order_id))
    assert (order.promised_at, order.last_promised_at) == (None, None)
    [outcome] = await in_one(database, tell, [NewDate(order_id=order_id, promised_at=PLANNED + 7 * DAY)], AT)
    assert outcome == DateTold(order_id, PLANNED + 7 * DAY, PLANNED + 7 * DAY)
    sure((await database.transact(lambda tx: release(tx, [order_id], at=AT)))[0], Released)


async def test_parcels_from_before_are_held_to_what_was_told_and_looked_at_again(
    database: Database, world: World
) -> None:
    """What the revision does to parcels that were held to their plans."""
    text = files("ordino.core.migrations").joinpath("versions/0009_told.sql").read_text(encoding="utf-8")
    revision = text[text.index("WITH held") :]
    told_at = PLANNED + 4 * DAY
    cases: dict[str, tuple[datetime | None, datetime | None]] = {  # late at, delivered at -> as it was
        "on its way": (None, None),
        "called late": (PLANNED, None),
        "late by the plan": (PLANNED, PLANNED + DAY),
        "late": (PLANNED, told_at + DAY),
    }
    found = {}
    for name, (late_at, delivered_at) in cases.items():
        order_id, [sent] = await shipped(database, world.order(f"before: {name}", promised_at=told_at), AT)
        found[name] = (order_id, sent.shipment_id)
        await database.pool.execute("DELETE FROM core.reactions WHERE subject_id = $1", order_id)
        await database.pool.execute(
            "UPDATE tracking.parcels SET promised_at = planned_at, planned_at = NULL, late_at = $2, delivered_at = $3"
            " WHERE order_id = $1",
            order_id, late_at, delivered_at,
        )  # fmt: skip
    async with database.pool.acquire() as connection, connection.transaction() as _:
        await connection.execute(revision)
    rows = {name: await parcel(database, shipment_id) for name, (_, shipment_id) in found.items()}
    assert {(row["promised_at"], row["planned_at"]) for row in rows.values()} == {(told_at, PLANNED)}
    assert {name: row["late_at"] for name, row in rows.items() if row["late_at"]} == {"late": told_at}
    assert {name: await dues(database, order_id) for name, (order_id, _) in found.items()} == {
        "on its way": [told_at],
        "called late": [told_at],
        "late by the plan": [],
        "late": [],
    }
