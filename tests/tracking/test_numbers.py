"""Tracking numbers: claimed at shipping, shared by what is one parcel, and heard of before the shipment has left."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.aftercare.reactions import message
from ordino.core.database import Database, Tx
from ordino.orders.model import Address
from ordino.tracking import unmatched, watch
from ordino.tracking.model import EventRefused, Kept, Kind, Recorded, Status, TrackingEvent
from ordino.tracking.reactions import forget_unmatched, match_events, watch_parcel
from ordino.tracking.take_events import take_events
from ordino.tracking.unmatched import KEPT_DAYS
from ordino.warehouse import numbers
from ordino.warehouse.api import routes as warehouse_routes
from ordino.warehouse.model import Ship, Shipped, WorkRefusal, WorkRefused
from ordino.warehouse.ship import ship
from steps import assert_clean, client, events, in_one, line, packed, react, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = AT + timedelta(days=2)
HOME = {"line1": "1 Main Street", "city": "Town", "postal_code": "43215", "country": "US"}


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


def number() -> str:
    return f"T-{uuid4().hex}"


def said(of: str, kind: Kind, at: datetime | None = None, **more: Any) -> TrackingEvent:
    return TrackingEvent(tracking_number=of, kind=kind, at=at, **more)


async def waiting(database: Database, world: World, units: int = 1, **more: Any) -> Ship:
    """A packed order, ready to leave under a new number."""
    order_id, [id] = await packed(database, world.order(uuid4().hex, units, **more), AT)
    return Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=number(), all=True)


def under(item: Ship, tracking_number: str) -> Ship:
    return Ship(
        order_id=item.order_id,
        fulfillment_order_id=item.fulfillment_order_id,
        tracking_number=tracking_number,
        all=True,
    )


async def kept(database: Database, of: str) -> int:
    count = await database.pool.fetchval(
        "SELECT count(*) FROM tracking.unmatched_events WHERE tracking_number = $1", of
    )
    return int(count)


# -- what has left is known --------------------------------------------------------------------------------------------------


async def test_what_has_left_is_known_before_a_worker_has_seen_it(database: Database, world: World) -> None:
    """TRK-1."""
    item = await waiting(database, world)
    [sent] = await in_one(database, ship, [item], AT)
    [outcome] = await in_one(database, take_events, [said(item.tracking_number, Kind.DELIVERED)], LATER)
    assert sure(outcome, Recorded).status is Status.DELIVERED
    assert (await line(database, item.order_id))["delivered"] == 1
    await react(database, watch_parcel, item.order_id, "shipment_shipped", LATER)
    queued = await database.pool.fetch(
        "SELECT due_at FROM core.reactions WHERE subject_id = $1 AND kind = 'check_late'", item.order_id
    )
    promised_at = await database.pool.fetchval(
        "SELECT promised_at FROM warehouse.shipments WHERE shipment_id = $1", sent.shipment_id
    )
    assert [row["due_at"] for row in queued] == [promised_at]
    await assert_clean(database)


async def test_the_worker_and_the_carrier_make_a_parcel_once(database: Database, world: World) -> None:
    """Both at once, many times over: one parcel and one look at its promise for each shipment."""
    items = [await waiting(database, world) for _ in range(12)]
    outcomes = [sure(o, Shipped) for o in await in_one(database, ship, items, AT)]
    sent = [watch.Sent(o.order_id, o.shipment_id, o.tracking_number, uuid4()) for o in outcomes]

    async def hear(some: Sequence[Shipped]) -> list[Any]:
        return await in_one(database, take_events, [said(o.tracking_number, Kind.DELIVERED) for o in some], LATER)

    async def see(some: Sequence[watch.Sent]) -> None:
        await database.transact(lambda tx: watch.watch(tx, some, at=LATER))

    await asyncio.gather(
        hear(outcomes), see(sent), hear(outcomes[::-1]), see(sent[::-1]), hear(outcomes[::2]), see(sent[1::2])
    )
    order_ids = [o.order_id for o in outcomes]
    for table, where in (("tracking.parcels", "order_id"), ("core.reactions", "kind = 'check_late' AND subject_id")):
        count = await database.pool.fetchval(f"SELECT count(*) FROM {table} WHERE {where} = any($1)", order_ids)
        assert count == len(items), table
    for order_id in order_ids:
        assert len(await events(database, order_id, "shipment_delivered")) == 1
    await assert_clean(database)


# -- what is unknown is kept ---------------------------------------------------------------------------------------------------


async def test_what_is_said_before_the_shipment_leaves_happens_when_it_does(database: Database, world: World) -> None:
    """TRK-7: in the order of its time, whatever order it came in."""
    item = await waiting(database, world)
    of, expected_at = item.tracking_number, AT + timedelta(days=4)
    hours = [AT - timedelta(hours=n) for n in range(4)]
    early = [
        said(of, Kind.DELAYED, hours[1], expected_at=expected_at),
        said(of, Kind.DELAYED, hours[2], expected_at=AT + timedelta(days=9)),
        said(of, Kind.HANDED_OVER, hours[3]),
    ]
    for outcome in await in_one(database, take_events, early, AT):
        assert sure(outcome, Kept).repeated is False
    [again] = await in_one(database, take_events, [early[2]], AT)
    assert sure(again, Kept).repeated
    assert await kept(database, of) == 3
    [sent] = await in_one(database, ship, [item], AT)
    await react(database, watch_parcel, item.order_id, "shipment_shipped", AT)
    assert await kept(database, of) == 0
    told = await database.pool.fetch(
        "SELECT kind FROM tracking.tracking_events WHERE shipment_id = $1 ORDER BY at", sent.shipment_id
    )
    assert [row["kind"] for row in told] == ["handed_over", "delayed", "delayed"]
    parcel = await database.pool.fetchrow("SELECT * FROM tracking.parcels WHERE shipment_id = $1", sent.shipment_id)
    assert parcel["expected_at"] == expected_at
    [repeat] = await in_one(database, take_events, [early[2]], LATER)
    assert sure(repeat, Recorded).repeated


async def test_what_is_kept_of_an_end_is_kept_once_and_ends_the_parcel(database: Database, world: World) -> None:
    item = await waiting(database, world, 2)
    of = item.tracking_number
    first, second = await in_one(database, take_events, [said(of, Kind.DELIVERED), said(of, Kind.DELIVERED)], AT)
    [third] = await in_one(database, take_events, [said(of, Kind.DELIVERED)], AT + timedelta(minutes=5))
    assert [sure(o, Kept).repeated for o in (first, second, third)] == [False, True, True]
    await in_one(database, ship, [item], LATER)
    await in_one(
        database, take_events, [said(of, Kind.LOST)], LATER
    )  # before any worker: what was said first happens first
    assert (await line(database, item.order_id))["delivered"] == 2
    delivered_at = await database.pool.fetchval(
        "SELECT delivered_at FROM tracking.parcels WHERE order_id = $1", item.order_id
    )
    assert delivered_at == LATER  # nothing arrives before it leaves
    await assert_clean(database)


async def test_an_event_that_came_while_its_shipment_left_is_matched_later(database: Database, world: World) -> None:
    """The number was unknown when the event asked, and the event was not there when the shipment did."""
    item = await waiting(database, world)
    await in_one(database, ship, [item], AT)
    await react(database, watch_parcel, item.order_id, "shipment_shipped", AT)
    event = said(item.tracking_number, Kind.DELIVERED, AT + timedelta(hours=1))
    await database.transact(lambda tx: unmatched.keep(tx, [(0, event)], at=LATER))
    await database.transact(lambda tx: match_events(tx, AT, LATER))
    assert await kept(database, item.tracking_number) == 0
    assert (await line(database, item.order_id))["delivered"] == 1


async def _in_one_parcel(database: Database, world: World) -> tuple[list[Ship], str]:
    """Two orders that have left in one parcel, of which a carrier has spoken before."""
    items = sorted([await waiting(database, world), await waiting(database, world)], key=lambda item: item.order_id)
    of = items[0].tracking_number
    await in_one(database, take_events, [said(of, Kind.HANDED_OVER, AT - timedelta(hours=1))], AT)
    for outcome in await in_one(database, ship, [items[0], under(items[1], of)], AT):
        assert isinstance(outcome, Shipped)
    return items, of


async def _heard(database: Database, items: Sequence[Ship]) -> list[str]:
    """What is recorded of the parcels of these orders."""
    rows = await database.pool.fetch(
        "SELECT kind FROM tracking.tracking_events WHERE order_id = any($1) ORDER BY order_id, at",
        [item.order_id for item in items],
    )
    return [row["kind"] for row in rows]


async def test_whoever_watches_one_order_of_a_parcel_holds_the_others_before_it_hears_what_was_said(
    database: Database, world: World
) -> None:
    """The order that comes first is the one that is not watched: locked afterwards, it would be out of its turn."""
    items, of = await _in_one_parcel(database, world)
    await react(database, watch_parcel, items[1].order_id, "shipment_shipped", AT)
    assert await kept(database, of) == 0
    assert await _heard(database, items) == ["handed_over", "handed_over"]
    await assert_clean(database)


async def test_what_was_said_of_a_parcel_waits_where_an_order_joins_it_at_that_very_moment(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds one order locks no other for it: the events stay, and the duty, which locks orders first, takes them."""
    items, of = await _in_one_parcel(database, world)
    looked = watch.behind_numbers

    async def before_it_joined(tx: Tx, numbers_: Collection[str]) -> dict[str, list[tuple[UUID, UUID]]]:
        parcels = await looked(tx, numbers_)
        return {one: [s for s in parcel if s[0] != items[0].order_id] for one, parcel in parcels.items()}

    with monkeypatch.context() as patched:
        patched.setattr(watch, "behind_numbers", before_it_joined)
        await react(database, watch_parcel, items[1].order_id, "shipment_shipped", AT)
    assert (await kept(database, of), await _heard(database, items)) == (1, [])
    await database.transact(lambda tx: match_events(tx, AT, LATER))
    assert (await kept(database, of), await _heard(database, items)) == (0, ["handed_over", "handed_over"])
    await assert_clean(database)


async def test_what_is_kept_is_bounded_in_time_and_count(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, start = number(), datetime(2026, 1, 1, tzinfo=UTC)
    too_old, too_new = start - timedelta(days=KEPT_DAYS, seconds=1), start + timedelta(minutes=2)
    for outcome in await in_one(
        database, take_events, [said(of, Kind.IN_TRANSIT, too_old), said(of, Kind.IN_TRANSIT, too_new)], start
    ):
        assert sure(outcome, EventRefused).reason == "invalid"
    await in_one(database, take_events, [said(of, Kind.IN_TRANSIT)], start)
    held = await database.pool.fetchval("SELECT count(*) FROM tracking.unmatched_events")
    monkeypatch.setattr(unmatched, "MOST_KEPT", held + 1)
    one, other = await in_one(
        database, take_events, [said(number(), Kind.IN_TRANSIT), said(number(), Kind.IN_TRANSIT)], start
    )
    assert isinstance(one, Kept)
    assert sure(other, EventRefused).reason == "unknown_tracking_number"
    end = start + timedelta(days=KEPT_DAYS, seconds=1)
    await database.transact(lambda tx: forget_unmatched(tx, start, end))
    assert await kept(database, of) == 0


# -- one number, one parcel ----------------------------------------------------------------------------------------------------


async def test_shipments_to_one_address_share_a_parcel(database: Database, world: World) -> None:
    """FUL-8, TRK-1: two orders, one of them in two shipments; each customer is told once."""
    one = await waiting(database, world, ship_to=Address(name="Ada  Lovelace", email="ada@example.com", **HOME))
    same = Address(
        name="ADA LOVELACE",
        line1="1 main street ",
        city="TOWN",
        postal_code="43215-1234",
        country="US",
        email="ada@example.com",
    )
    order = world.order(uuid4().hex, {world.skus[0]: 2, world.skus[1]: 1}, ship_to=same)
    order_id, [id] = await packed_apart(database, order)
    packages = await database.pool.fetch("SELECT package_id FROM warehouse.packages WHERE order_id = $1", order_id)
    items = [
        one,
        *(
            Ship(
                order_id=order_id,
                fulfillment_order_id=id,
                tracking_number=one.tracking_number,
                package_ids=[row["package_id"]],
            )
            for row in packages
        ),
    ]
    for item in items:
        [outcome] = await in_one(database, ship, [item], AT)
        sure(outcome, Shipped)
    for order_of in (one.order_id, order_id):
        await react(database, watch_parcel, order_of, "shipment_shipped", AT)
    [outcome] = await in_one(database, take_events, [said(one.tracking_number, Kind.DELIVERED)], LATER)
    assert len(sure(outcome, Recorded).shipments) == 3
    assert (await line(database, one.order_id))["delivered"] == 1
    assert [(await line(database, order_id, n))["delivered"] for n in (1, 2)] == [2, 1]
    for order_of in (one.order_id, order_id):
        await react(database, message, order_of, "shipment_delivered", LATER, template="order_delivered")
        told = await database.pool.fetchval("SELECT count(*) FROM aftercare.messages WHERE order_id = $1", order_of)
        assert told == 1
    await assert_clean(database)


async def packed_apart(database: Database, order: Any) -> tuple[UUID, list[UUID]]:
    """Each line in a package of its own."""
    from ordino.warehouse.model import NewPackage, Pack, PackLine
    from ordino.warehouse.pack import pack
    from steps import picked

    order_id, ids = await picked(database, order, AT)
    [id] = ids
    packages = [
        NewPackage(lines=[PackLine(line_no=n, quantity=one.quantity)]) for n, one in enumerate(order.lines, start=1)
    ]
    await in_one(database, pack, [Pack(order_id=order_id, fulfillment_order_id=id, packages=packages)], AT)
    return order_id, ids


async def test_the_customer_is_told_once_that_a_shared_parcel_is_late(database: Database, world: World) -> None:
    order_id, [id] = await packed_apart(database, world.order(uuid4().hex, {world.skus[0]: 1, world.skus[1]: 1}))
    of = number()
    for row in await database.pool.fetch("SELECT package_id FROM warehouse.packages WHERE order_id = $1", order_id):
        item = Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=of, package_ids=[row["package_id"]])
        sure((await in_one(database, ship, [item], AT))[0], Shipped)
    await react(database, watch_parcel, order_id, "shipment_shipped", AT)
    rows = await database.pool.fetch("SELECT * FROM tracking.parcels WHERE order_id = $1", order_id)
    keys = [(row["order_id"], row["shipment_id"]) for row in rows]
    due = max(row["promised_at"] for row in rows)
    assert await database.transact(lambda tx: watch.check_late(tx, keys[:1], at=due)) == 1
    assert await database.transact(lambda tx: watch.check_late(tx, keys[1:], at=due + timedelta(hours=1))) == 1
    assert len(await events(database, order_id, "shipment_late")) == 1


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
async def test_a_number_is_refused_to_what_goes_elsewhere(database: Database, world: World, together: bool) -> None:
    first = await waiting(database, world)
    elsewhere = Address(name="Bob", line1="9 Side Street", city="Town", postal_code="43215", country="US")
    second = under(await waiting(database, world, ship_to=elsewhere), first.tracking_number)
    good = under(second, number())
    if together:
        outcomes = await in_one(database, ship, [first, second, good], AT)
    else:
        outcomes = [(await in_one(database, ship, [item], AT))[0] for item in (first, second, good)]
    sent = sure(outcomes[0], Shipped)
    refused = sure(outcomes[1], WorkRefused)
    assert refused.reason is WorkRefusal.TRACKING_NUMBER_TAKEN
    assert refused.pointer == "/tracking_number"
    assert str(sent.shipment_id) in refused.detail
    assert str(first.order_id) in refused.detail
    sure(outcomes[2], Shipped)  # the refusal has taken nothing
    await assert_clean(database)


async def test_a_number_is_refused_over_http_with_409(database: Database, world: World) -> None:
    first = await waiting(database, world)
    await in_one(database, ship, [first], AT)
    elsewhere = Address(name="Bob", line1="9 Side Street", city="Town", postal_code="43215", country="US")
    second = await waiting(database, world, ship_to=elsewhere)
    async with client(database, warehouse_routes) as http:
        answer = await http.post(
            f"/v1/orders/{second.order_id}/fulfillment_orders/{second.fulfillment_order_id}/shipments",
            json={"tracking_number": first.tracking_number, "all": True},
        )
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:ordino:problem:tracking_number_taken")


@pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.LOST, Kind.RETURNED_TO_SENDER])
async def test_nothing_joins_a_parcel_that_has_ended(database: Database, world: World, kind: Kind) -> None:
    first, second = await waiting(database, world), await waiting(database, world)
    await in_one(database, ship, [first], AT)
    await in_one(database, take_events, [said(first.tracking_number, kind)], AT)
    [refused] = await in_one(database, ship, [under(second, first.tracking_number)], AT)
    assert sure(refused, WorkRefused).reason is WorkRefusal.TRACKING_NUMBER_TAKEN


async def test_a_race_for_a_number_has_one_winner_and_refuses_nothing_right(database: Database, world: World) -> None:
    """Half of the orders go to one address and may share the number, the others go elsewhere and may not."""
    for _ in range(4):
        of = number()
        doors = [
            Address(name="Ada", line1=f"{n % 2} Main Street", city="Town", postal_code="43215", country="US")
            for n in range(8)
        ]
        items = [under(await waiting(database, world, ship_to=door), of) for door in doors]
        outcomes = [o for [o] in await asyncio.gather(*(in_one(database, ship, [item], AT) for item in items))]
        won = {n % 2 for n, outcome in enumerate(outcomes) if isinstance(outcome, Shipped)}
        assert len(won) == 1
        [door] = won
        assert [isinstance(outcome, Shipped) for outcome in outcomes] == [n % 2 == door for n in range(8)]
    await assert_clean(database)


async def test_a_shipment_that_joins_while_its_parcel_ends_ends_with_it_or_is_refused(
    database: Database, world: World
) -> None:
    """No shipment stays under way in a parcel that was delivered."""
    for _ in range(8):
        first, second = await waiting(database, world), await waiting(database, world)
        await in_one(database, ship, [first], AT)
        (joined,), _ = await asyncio.gather(
            in_one(database, ship, [under(second, first.tracking_number)], AT),
            in_one(database, take_events, [said(first.tracking_number, Kind.DELIVERED)], AT),
        )
        counts = await line(database, second.order_id)
        assert (counts["delivered"], counts["packed"]) == ((1, 0) if isinstance(joined, Shipped) else (0, 1))


async def test_without_the_claim_two_shipments_would_have_one_number(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the races: without the claim, both leave, and one is stranded."""
    elsewhere = Address(name="Bob", line1="9 Side Street", city="Town", postal_code="43215", country="US")
    first = await waiting(database, world)
    second = under(await waiting(database, world, ship_to=elsewhere), first.tracking_number)

    async def nobody(*_: Any, **__: Any) -> None:
        return None

    with monkeypatch.context() as without:
        without.setattr(numbers, "write", nobody)
        outcomes = await asyncio.gather(*(in_one(database, ship, [item], AT) for item in (first, second)))
    assert all(isinstance(outcome, Shipped) for [outcome] in outcomes)
