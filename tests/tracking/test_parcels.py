"""Parcels: watched from shipping on, late by the clock, delivered or lost once by their carriers' words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from ordino.core.database import Database
from ordino.core.reactions import Task
from ordino.orders.reactions import settle_lost
from ordino.tracking import watch
from ordino.tracking.api import routes
from ordino.tracking.model import EXITS, EventRefused, InParcel, Kind, Recorded, Status, TrackingEvent, TrackingRefusal
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Ship
from ordino.warehouse.ship import ship
from steps import assert_clean, client, events, in_one, line, packed, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = AT + timedelta(days=30)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


async def parcel(database: Database, shipment_id: UUID) -> dict[str, object]:
    return dict(await database.pool.fetchrow("SELECT * FROM tracking.parcels WHERE shipment_id = $1", shipment_id))


def said(number: str, kind: Kind, hours: float = 1, **more: object) -> TrackingEvent:
    return TrackingEvent(tracking_number=number, kind=kind, at=AT + timedelta(hours=hours), **more)  # type: ignore[arg-type]


async def test_a_shipment_is_watched_and_looked_at_when_due(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("watched"), AT)
    row = await parcel(database, sent.shipment_id)
    assert (row["status"], row["tracking_number"]) == (Status.IN_TRANSIT, sent.tracking_number)
    due = await database.pool.fetchrow("SELECT * FROM core.reactions WHERE subject_id = $1", order_id)
    assert (due["kind"], due["due_at"]) == ("check_late", row["promised_at"])
    await assert_clean(database)


async def test_the_same_shipment_is_watched_once(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("watched twice"), AT)
    again = watch.Sent(order_id, sent.shipment_id, sent.tracking_number, uuid4())
    await database.transact(lambda tx: watch.watch(tx, [again], at=AT))
    assert await database.pool.fetchval("SELECT count(*) FROM tracking.parcels WHERE order_id = $1", order_id) == 1
    assert await events(database, order_id, "tracking_number_taken") == []


async def test_a_number_that_an_earlier_release_gave_twice_is_told(database: Database, world: World) -> None:
    """A process that does not know the claims of tracking numbers may still ship under one that is taken."""
    _, [first] = await shipped(database, world.order("first owner"), AT)
    order_id, [id] = await packed(database, world.order("second owner"), AT)
    item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=f"T-{uuid4().hex}", all=True)
    [sent] = await in_one(database, ship, [item], AT)
    await database.pool.execute("DELETE FROM warehouse.tracking_numbers WHERE shipment_id = $1", sent.shipment_id)
    taken = watch.Sent(order_id, sent.shipment_id, first.tracking_number, uuid4())
    await database.transact(lambda tx: watch.watch(tx, [taken], at=AT))
    [fact] = await events(database, order_id, "tracking_number_taken")
    assert fact["tracking_number"] == first.tracking_number
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)  # under its own, it is watched


async def test_delivered_units_follow_once(database: Database, world: World) -> None:
    """TRK-3, TRK-4."""
    order_id, [sent] = await shipped(database, world.order("delivered", 3), AT)
    number = sent.tracking_number
    first = said(number, Kind.DELIVERED, 5, place="Columbus")
    scan = said(number, Kind.OUT_FOR_DELIVERY, 4)
    outcomes = await in_one(database, take_events, [scan, first, first, said(number, Kind.DELIVERED, 6)], LATER)
    assert [sure(outcome, Recorded).repeated for outcome in outcomes] == [False, False, True, False]
    assert (await line(database, order_id))["delivered"] == 3
    [again] = await in_one(database, take_events, [first], LATER)
    here = (InParcel(order_id, sent.shipment_id),)
    assert again == Recorded(
        number, Kind.DELIVERED, order_id, sent.shipment_id, Status.DELIVERED, repeated=True, shipments=here
    )
    assert len(await events(database, order_id, "shipment_delivered")) == 1
    await in_one(database, take_events, [said(number, Kind.LOST, 7)], LATER)
    assert (await parcel(database, sent.shipment_id))["status"] == Status.DELIVERED
    assert await events(database, order_id, "shipment_lost") == []
    await assert_clean(database)


async def test_a_lost_parcel_stays_lost(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("lost", 2), AT)
    await in_one(database, take_events, [said(sent.tracking_number, Kind.LOST)], LATER)
    [fact] = await events(database, order_id, "shipment_lost")
    assert fact["lines"] == [{"line_no": 1, "quantity": 2}]
    await react(database, settle_lost, order_id, "shipment_lost", AT)
    [late_word] = await in_one(database, take_events, [said(sent.tracking_number, Kind.DELIVERED, 2)], LATER)
    assert sure(late_word, Recorded).status is Status.LOST
    counts = await line(database, order_id)
    assert (counts["delivered"], counts["cancelled"]) == (0, 2)
    assert (
        await database.pool.fetchval("SELECT count(*) FROM tracking.tracking_events WHERE order_id = $1", order_id) == 2
    )
    await assert_clean(database)


async def test_units_that_are_lost_one_by_one_are_refunded_to_the_cent(database: Database, world: World) -> None:
    order = world.order("lost piece by piece", 3, unit_price_minor=333, tax_minor=1)  # a line of 1,000
    order_id, _ = await shipped(database, order, AT)
    one = {"lines": [{"line_no": 1, "quantity": 1}]}
    for several in (1, 2):
        tasks = [Task(0, uuid4(), "settle_lost", order_id, uuid4(), AT, one, 0) for _ in range(several)]
        await database.transact(lambda tx, tasks=tasks: settle_lost(tx, tasks, AT))  # type: ignore[misc]
    refunds = [fact["refund_minor"] for fact in await events(database, order_id, "lost_settled")]
    assert sum(refunds) == 1000
    assert sorted(refunds) == [333, 333, 334]
    await assert_clean(database)


async def test_a_parcel_becomes_late_once_and_late_news_take_it_back(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("late"), AT)
    key = [(order_id, sent.shipment_id)]
    promised_at = (await parcel(database, sent.shipment_id))["promised_at"]
    assert isinstance(promised_at, datetime)
    early = await database.transact(lambda tx: watch.check_late(tx, key, at=promised_at - timedelta(hours=1)))
    became = [await database.transact(lambda tx: watch.check_late(tx, key, at=promised_at)) for _ in range(2)]
    assert (early, became) == (0, [1, 0])
    assert (await parcel(database, sent.shipment_id))["status"] == Status.LATE
    assert len(await events(database, order_id, "shipment_late")) == 1
    new_date = promised_at + timedelta(days=2)
    await in_one(database, take_events, [said(sent.tracking_number, Kind.DELAYED, expected_at=new_date)], LATER)
    assert (await parcel(database, sent.shipment_id))["expected_at"] == new_date
    in_time = TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.DELIVERED, at=promised_at)
    await in_one(database, take_events, [in_time], LATER)
    row = await parcel(database, sent.shipment_id)
    assert (row["status"], row["late_at"]) == (Status.DELIVERED, None)


async def test_the_newest_word_of_a_delay_counts_whenever_it_comes(database: Database, world: World) -> None:
    _, [sent] = await shipped(database, world.order("twice delayed"), AT)
    days = [AT + timedelta(days=n) for n in range(6)]

    def delay(said_at: datetime, expected_at: datetime) -> TrackingEvent:
        number = sent.tracking_number
        return TrackingEvent(tracking_number=number, kind=Kind.DELAYED, at=said_at, expected_at=expected_at)

    await in_one(database, take_events, [delay(days[2], days[5])], LATER)
    await in_one(database, take_events, [delay(days[1], days[3])], LATER)
    assert (await parcel(database, sent.shipment_id))["expected_at"] == days[5]
    await in_one(database, take_events, [delay(days[4], days[4]), delay(days[3], days[2])], LATER)
    assert (await parcel(database, sent.shipment_id))["expected_at"] == days[4]


async def test_a_time_without_offset_is_refused(database: Database, world: World) -> None:
    _, [sent] = await shipped(database, world.order("refused"), AT)
    outcomes = await in_one(
        database,
        take_events,
        [
            TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.DELIVERED, at=datetime(2026, 3, 3)),
            said(sent.tracking_number, Kind.HANDED_OVER),
        ],
        LATER,
    )
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [TrackingRefusal.INVALID, None]


async def test_a_time_that_no_calendar_reaches_is_refused(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("far away"), AT)
    far = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
    early = datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=12)))
    words = [
        said(sent.tracking_number, Kind.DELAYED, expected_at=far),
        TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.DELIVERED, at=far),
        TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.IN_TRANSIT, at=early),
    ]
    for refused in await in_one(database, take_events, words, LATER):
        assert sure(refused, EventRefused).reason is TrackingRefusal.INVALID
    await in_one(database, take_events, [said(sent.tracking_number, Kind.DELIVERED)], LATER)
    assert (await line(database, order_id))["delivered"] == 1


async def test_a_parcel_that_comes_back_says_what_it_holds(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("comes back", 2), AT)
    await in_one(database, take_events, [said(sent.tracking_number, Kind.RETURNED_TO_SENDER)], LATER)
    [fact] = await events(database, order_id, "shipment_returned_to_sender")
    assert fact["lines"] == [{"line_no": 1, "quantity": 2}]


async def test_over_http(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("http"), AT)
    async with client(database, routes) as http:
        body = {"tracking_number": sent.tracking_number, "kind": "in_transit", "at": "2026-03-03T10:00:00Z"}
        assert (await http.post("/v1/tracking_events", json=body)).json()["status"] == "in_transit"
        several = [
            body,
            {**body, "kind": "delivered", "at": "2026-03-03T12:00:00Z"},
            {**body, "tracking_number": "none"},
        ]
        outcomes = (await http.post("/v1/tracking_events", json={"tracking_events": several})).json()["outcomes"]
        assert [outcome["outcome"] for outcome in outcomes] == ["recorded", "recorded", "refused"]
        unknown = {"tracking_number": f"nobody's {uuid4()}", "kind": "in_transit", "place": "Columbus"}
        kept = await http.post("/v1/tracking_events", json=unknown)
        assert (kept.status_code, kept.json()["outcome"]) == (200, "kept")
        [newest, *_] = (await http.get("/v1/unmatched_tracking_events")).json()["unmatched_tracking_events"]
        assert (newest["tracking_number"], newest["place"]) == (unknown["tracking_number"], "Columbus")
        assert (await http.post("/v1/tracking_events", json={**body, "kind": "eaten"})).status_code == 400
        [shown] = (await http.get(f"/v1/orders/{order_id}/parcels")).json()["parcels"]
        assert (shown["status"], [event["kind"] for event in shown["events"]]) == (
            "delivered",
            ["in_transit", "delivered"],
        )
        assert (await http.get(f"/v1/orders/{uuid4()}/parcels")).status_code == 404


def test_every_status_has_its_exits() -> None:
    assert set(EXITS) == set(Status)
