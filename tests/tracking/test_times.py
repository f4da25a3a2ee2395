"""Times that carriers send: bounded by the shipment and now; what ends a parcel and comes again without one is a repeat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordino.core.database import Database
from ordino.inventory.adjust import SKEW_SECONDS
from ordino.orders.exceptions import Resolve, exceptions, resolve
from ordino.orders.reactions import settle_lost
from ordino.tracking.model import EventRefused, Kind, Recorded, TrackingEvent
from ordino.tracking.take_events import EXPECTED_DAYS, take_events
from steps import assert_clean, events, in_one, line, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
NOW = AT + timedelta(days=2)
A_SECOND = timedelta(seconds=1)
SKEW = timedelta(seconds=SKEW_SECONDS)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


async def hear(database: Database, number: str, kind: Kind, now: datetime = NOW, **more: Any) -> Any:
    event = TrackingEvent(tracking_number=number, kind=kind, **more)
    return (await in_one(database, take_events, [event], now))[0]


async def test_a_time_before_the_shipment_or_after_now_is_refused_with_the_span(
    database: Database, world: World
) -> None:
    order_id, [sent] = await shipped(database, world.order("span"), AT)
    for said_at in (
        datetime(1970, 1, 1, tzinfo=UTC),
        AT - SKEW - A_SECOND,
        NOW + SKEW + A_SECOND,
        datetime(2031, 1, 1, tzinfo=UTC),
    ):
        refused = sure(await hear(database, sent.tracking_number, Kind.DELIVERED, at=said_at), EventRefused)
        assert (refused.reason, refused.pointer) == ("invalid", "/at")
        assert "between 2026-03-02 14:59:00 and 2026-03-04 15:01:00 UTC" in refused.detail
    assert (await line(database, order_id))["shipped"] == 1
    for said_at in (AT - SKEW, NOW + SKEW):
        sure(await hear(database, sent.tracking_number, Kind.IN_TRANSIT, at=said_at), Recorded)
    sure(await hear(database, sent.tracking_number, Kind.DELIVERED, at=AT - SKEW), Recorded)
    row = await database.pool.fetchrow("SELECT * FROM tracking.parcels WHERE shipment_id = $1", sent.shipment_id)
    assert row["delivered_at"] == AT  # nothing arrives before it leaves
    await assert_clean(database)


async def test_an_expected_time_lies_between_the_shipment_and_a_year_from_now(database: Database, world: World) -> None:
    _, [sent] = await shipped(database, world.order("expected"), AT)
    number = sent.tracking_number
    far = NOW + timedelta(days=EXPECTED_DAYS)
    for expected_at in (datetime(1970, 1, 1, tzinfo=UTC), AT - SKEW - A_SECOND, far + A_SECOND):
        refused = sure(await hear(database, number, Kind.DELAYED, expected_at=expected_at), EventRefused)
        assert (refused.reason, refused.pointer) == ("invalid", "/expected_at")
    sure(await hear(database, number, Kind.DELAYED, expected_at=far), Recorded)


@pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.LOST, Kind.RETURNED_TO_SENDER])
async def test_the_end_of_a_parcel_told_again_without_a_time_is_a_repeat(
    database: Database, world: World, kind: Kind
) -> None:
    """TRK-3."""
    for timed in ({"at": NOW - timedelta(hours=3)}, {}):
        order_id, [sent] = await shipped(database, world.order(f"again {kind} {len(timed)}"), AT)
        first = await hear(database, sent.tracking_number, kind, **timed)
        again = await hear(database, sent.tracking_number, kind, now=NOW + timedelta(hours=1))
        assert [sure(first, Recorded).repeated, sure(again, Recorded).repeated] == [False, True]
        count = await database.pool.fetchval(
            "SELECT count(*) FROM tracking.tracking_events WHERE order_id = $1", order_id
        )
        assert count == 1
        both = [TrackingEvent(tracking_number=sent.tracking_number, kind=kind)] * 2
        assert all(sure(o, Recorded).repeated for o in await in_one(database, take_events, both, NOW))


async def test_what_is_told_along_the_way_without_a_time_is_told_each_time(database: Database, world: World) -> None:
    _, [sent] = await shipped(database, world.order("scans"), AT)
    for hours in (0, 1):
        scan = await hear(database, sent.tracking_number, Kind.IN_TRANSIT, now=NOW + timedelta(hours=hours))
        assert not sure(scan, Recorded).repeated


async def test_a_lost_parcel_that_arrives_after_all_is_seen_by_a_person(database: Database, world: World) -> None:
    """The customer has the goods and the money."""
    order_id, [sent] = await shipped(database, world.order("found", 2), AT)
    await hear(database, sent.tracking_number, Kind.LOST)
    await react(database, settle_lost, order_id, "shipment_lost", NOW)
    for hours in (1, 2):
        later = NOW + timedelta(hours=hours)
        await hear(database, sent.tracking_number, Kind.DELIVERED, now=later, at=later)
    found = await database.read(lambda tx: exceptions(tx))
    [one] = [one for one in found if one.order_id == order_id]
    assert (one.kind, one.units, one.shipment_id) == ("arrived_after_loss", 2, sent.shipment_id)
    assert sent.tracking_number in one.detail
    counts = await line(database, order_id)
    assert (counts["cancelled"], counts["delivered"]) == (2, 0)
    assert await events(database, order_id, "shipment_delivered") == []
    await database.transact(lambda tx: resolve(tx, one.exception_id, Resolve(action="close"), at=NOW))
    assert [one for one in await database.read(lambda tx: exceptions(tx)) if one.order_id == order_id] == []
    last = NOW + timedelta(hours=3)
    await hear(database, sent.tracking_number, Kind.DELIVERED, now=last, at=last)
    assert [one for one in await database.read(lambda tx: exceptions(tx)) if one.order_id == order_id] == []
    assert len(await events(database, order_id, "lost_shipment_arrived")) == 1, "what a person has closed stays closed"
    await assert_clean(database)


async def test_a_lost_parcel_arrives_once_within_a_batch(database: Database, world: World) -> None:
    order_id, [sent] = await shipped(database, world.order("found at once"), AT)
    said = [
        TrackingEvent(tracking_number=sent.tracking_number, kind=kind, at=NOW - timedelta(hours=hours))
        for kind, hours in ((Kind.LOST, 3), (Kind.DELIVERED, 2), (Kind.DELIVERED, 1))
    ]
    await in_one(database, take_events, said, NOW)
    assert len(await events(database, order_id, "lost_shipment_arrived")) == 1
