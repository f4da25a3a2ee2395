"""On-time shipping and perfect orders of the demo, explained order by order by what the simulation did."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from msgspec import Struct
from rich.console import Console

from conftest import command, database_at, finish
from ordino.cli import running
from ordino.cli.demo import baskets
from ordino.cli.demo import run as demo
from ordino.cli.demo.record import Record
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.insights.kpis import counted_orders
from ordino.insights.model import CountedOrder

ORDERS = 300
SEED = 7
NAME = "demo_explained"
SUNDAY = 7


class Told(Struct, frozen=True):
    """The replay, what the two KPIs list, and the rows behind them."""

    outcome: demo.Outcome
    on_time: dict[str, CountedOrder]
    perfect: dict[str, CountedOrder]
    orders: dict[str, asyncpg.Record]
    locations: dict[str, asyncpg.Record]
    parcels: dict[str, asyncpg.Record]

    @property
    def record(self) -> Record:
        return self.outcome.record


@pytest.fixture(scope="module")
def told(cluster: EmbeddedPostgres, template: str) -> Iterator[Told]:
    running.load_stages()
    finish(command(cluster.url, f"CREATE DATABASE {NAME} TEMPLATE {template}"))
    url = database_at(cluster.url, NAME)
    finish(running.prepare(url))
    console = Console(file=io.StringIO(), width=160)
    month = baskets.ORDINARY_MONTH
    outcome = finish(demo.replay(url, baskets.load(most=ORDERS), seed=SEED, month=month, console=console, seconds={}))
    yield finish(_read(url, outcome))
    finish(command(cluster.url, f"DROP DATABASE {NAME} WITH (FORCE)"))


async def _read(url: str, outcome: demo.Outcome) -> Told:
    async with await Database.open(url) as database:

        async def listed(name: str) -> dict[str, CountedOrder]:
            found: list[CountedOrder] = []
            after, until = UUID(int=0), outcome.until + timedelta(seconds=1)
            while page := await database.read(
                lambda tx, after=after: counted_orders(  # type: ignore[misc]
                    tx, name, since=outcome.since, until=until, after=after, limit=100
                )
            ):
                found += page
                after = page[-1].order_id
            assert len({order.order_id for order in found}) == len(found), "each order is listed once"
            return {order.external_id: order for order in found}

        orders = await database.pool.fetch("SELECT * FROM orders.orders")
        locations = await database.pool.fetch("SELECT * FROM network.locations")
        parcels = await database.pool.fetch("SELECT tracking_number, promised_at, late_at FROM tracking.parcels")
        return Told(
            outcome,
            await listed("on_time_shipping_rate"),
            await listed("perfect_order_rate"),
            {row["external_id"]: row for row in orders},
            {row["code"]: row for row in locations},
            {row["tracking_number"]: row for row in parcels},
        )


def counted(outcome: demo.Outcome, name: str) -> tuple[float | None, float | None]:
    kpi = next(kpi for kpi in outcome.kpis if kpi.name == name)
    return kpi.above, kpi.below


def ship_by(placed_at: datetime, zone: ZoneInfo, cut_off: time) -> datetime:
    """20:00 of the day of the next cut-off, on any day but Sunday."""
    local = placed_at.astimezone(zone)
    day = local.date() + timedelta(days=local.time() > cut_off)
    while day.isoweekday() == SUNDAY:
        day += timedelta(days=1)
    return datetime.combine(day, time(20), zone)


def test_what_is_counted_is_what_is_listed(told: Told) -> None:
    """KPI-3."""
    for name, orders in (("on_time_shipping_rate", told.on_time), ("perfect_order_rate", told.perfect)):
        good = sum(not order.why for order in orders.values())
        assert counted(told.outcome, name) == (good, len(orders))
        assert 0 < good < len(orders)


def test_the_orders_not_shipped_on_time_are_those_that_left_after_hours(told: Told) -> None:
    record = told.record
    late = {parcel.order for parcel in record.dispatched if parcel.shipped_at > parcel.ship_by_at}
    assert late <= record.left_behind
    assert set(told.on_time) == {parcel.order for parcel in record.dispatched}
    assert {order for order, one in told.on_time.items() if one.why} == late
    assert all(told.on_time[order].why == ["shipped_late"] for order in late)


def test_what_leaves_on_its_day_is_on_time(told: Told) -> None:
    """The deadlines, worked out again from calendar and cut-off: of all that is shipped as it was placed."""
    record, seen = told.record, 0
    again = record.short | {order for order, (_, told_at) in record.placed.items() if told_at is None}
    for parcel in record.dispatched:
        if parcel.order in again:
            continue
        place = told.locations[parcel.location]
        due_at = ship_by(record.placed[parcel.order][0], ZoneInfo(place["timezone"]), place["cut_off"])
        assert parcel.ship_by_at == due_at
        seen += 1
    assert seen > ORDERS / 2


def test_the_orders_that_are_not_perfect_are_those_to_which_something_happened(told: Told) -> None:
    record = told.record
    late = set()
    for arrived_at, parcel in record.deliveries:
        first = record.placed[parcel.order][1] or told.parcels[parcel.tracking_number]["promised_at"]
        if arrived_at > first:
            late.add(parcel.order)
    whole = {order for order in record.called_off if told.orders[order]["status"] == "cancelled"}
    part = {order for order, row in told.orders.items() if row["cancelled"] and order not in whole}
    assert set(told.perfect) == set(record.placed) - whole
    expected = (late | record.lost | record.short | record.sent_back | part) - whole
    assert {order for order, one in told.perfect.items() if one.why} == expected
    for why, orders in (
        ("late", late), ("lost", record.lost), ("short_pick", record.short), ("returned", record.sent_back),
    ):  # fmt: skip
        assert {order for order, one in told.perfect.items() if why in one.why} == orders - whole, why


def test_the_parcels_that_stay_late_are_those_that_came_late_or_never(told: Told) -> None:
    arrived = {parcel.tracking_number: at for at, parcel in told.record.deliveries}
    for number, row in told.parcels.items():
        assert (row["late_at"] is not None) == (number not in arrived or arrived[number] > row["promised_at"]), number
    assert sum(row["late_at"] is not None for row in told.parcels.values()) > 0
