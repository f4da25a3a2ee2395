"""Dollars, yen and dinars side by side: the right carrier wins, what is booked keeps its currency, and KPIs add up none of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Channel, Seller
from ordino.catalog.upsert import upsert_channels, upsert_sellers
from ordino.core.database import Database
from ordino.insights.kpis import kpis
from ordino.network import read
from ordino.network.exchange import ExchangeRate, upsert_exchange_rates
from ordino.network.model import CarrierService, Rate, Zone
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks
from ordino.orders.model import NewOrder
from ordino.warehouse.model import NewPackage, Pack, PackLine, Ship, Shipped, WorkRefusal, WorkRefused
from ordino.warehouse.pack import pack
from ordino.warehouse.read import fulfillment_orders
from ordino.warehouse.ship import ship
from steps import assert_clean, delivered, in_one, packed, picked, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, tzinfo=UTC)


def carrier(code: str, currency: str, minor: int) -> CarrierService:
    zone = Zone(zone="all", up_to_km=20_000, transit_days=2, rates=[Rate(up_to_grams=30_000, cost_minor=minor)])
    return CarrierService(code=code, carrier="C", name=code, currency=currency, max_grams=30_000, zones=[zone])


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    """1 KWD = 3.25 USD, 1 USD = 150 JPY. A parcel costs 0.300 KWD (0.98 USD, 146 JPY), 120 JPY (0.80 USD) or 5.00 USD; handling costs
    1.00 USD in the first location.
    """
    world = await small_world(database, locations=1, stock=1000)
    day = date(2026, 1, 1)
    rates = [("KWD", "USD", "3.25"), ("USD", "JPY", "150"), ("KWD", "JPY", "487.5")]
    await in_one(
        database,
        upsert_exchange_rates,
        [ExchangeRate(from_currency=a, to_currency=b, rate=rate, valid_from=day) for a, b, rate in rates],
        AT,
    )
    [site] = await database.read(lambda tx: read.locations(tx, world.locations))
    await in_one(database, upsert_locations, [replace(site, currency="USD")], AT)
    for currency in ("JPY", "KWD"):
        await in_one(database, upsert_sellers, [Seller(code=currency, name=currency, currency=currency)], AT)
        await in_one(database, upsert_channels, [Channel(code=currency, name=currency, seller=currency)], AT)
    [network] = await database.read(lambda tx: read.networks(tx, [world.network]))
    await in_one(database, upsert_networks, [replace(network, channels=[*network.channels, "JPY", "KWD"])], AT)
    services = [carrier("fils", "KWD", 300), carrier("yen", "JPY", 120)]
    await in_one(database, upsert_carrier_services, services, AT)
    return world


def order(world: World, currency: str) -> NewOrder:
    channel = world.channel if currency == "USD" else currency
    return world.order(f"{currency}-{uuid4().hex[:6]}", 1, channel=channel, currency=currency)


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD"])
async def test_the_cheapest_carrier_wins_and_its_cost_is_booked_in_its_currency(
    database: Database, world: World, currency: str
) -> None:
    order_id, [gone] = await shipped(database, order(world, currency), AT)
    assert (gone.cost_minor, gone.cost_currency) == (120, "JPY")
    [seen] = await database.read(lambda tx: fulfillment_orders(tx, order_id))
    assert (seen.service, seen.handling_cost_minor, seen.handling_currency) == ("yen", 100, "USD")
    assert [(s.cost_minor, s.cost_currency) for s in seen.shipments] == [(120, "JPY")]
    await assert_clean(database)


async def test_when_the_yen_rises_the_dinar_wins(database: Database, world: World) -> None:
    stronger = ExchangeRate(from_currency="USD", to_currency="JPY", rate="100", valid_from=date(2026, 3, 3))
    await in_one(database, upsert_exchange_rates, [stronger], AT)  # 120 JPY are 1.20 USD from then on
    _, [before] = await shipped(database, order(world, "USD"), AT)
    _, [after] = await shipped(database, order(world, "USD"), AT + timedelta(days=1))
    assert (before.cost_minor, before.cost_currency) == (120, "JPY")
    assert (after.cost_minor, after.cost_currency) == (300, "KWD")


async def test_a_told_cost_is_in_the_order_s_currency_or_in_the_one_that_is_told(
    database: Database, world: World
) -> None:
    async def told(**more: object) -> Shipped | WorkRefused:
        order_id, [fulfillment_order_id] = await packed(database, order(world, "USD"), AT)
        item = Ship(
            order_id=order_id, fulfillment_order_id=fulfillment_order_id, tracking_number=uuid4().hex, all=True, **more
        )  # type: ignore[arg-type]
        return (await in_one(database, ship, [item], AT))[0]

    own = sure(await told(cost_minor=777), Shipped)
    assert (own.cost_minor, own.cost_currency) == (777, "USD")
    other = sure(await told(cost_minor=777, cost_currency="JPY"), Shipped)
    assert (other.cost_minor, other.cost_currency) == (777, "JPY")
    unknown = sure(await told(cost_minor=777, cost_currency="XYZ"), WorkRefused)
    assert (unknown.reason, unknown.pointer) == (WorkRefusal.INVALID, "/cost_currency")
    alone = sure(await told(cost_currency="JPY"), WorkRefused)
    assert (alone.reason, alone.pointer) == (WorkRefusal.INVALID, "/cost_currency")


async def test_a_shipment_is_priced_package_by_package(database: Database, world: World) -> None:
    three = world.order(f"three-{uuid4().hex[:6]}", 3)
    order_id, [fulfillment_order_id] = await picked(database, three, AT)
    boxes = [NewPackage(lines=[PackLine(line_no=1, quantity=1)]) for _ in range(3)]
    await in_one(
        database, pack, [Pack(order_id=order_id, fulfillment_order_id=fulfillment_order_id, packages=boxes)], AT
    )
    item = Ship(order_id=order_id, fulfillment_order_id=fulfillment_order_id, tracking_number=uuid4().hex, all=True)
    gone = sure((await in_one(database, ship, [item], AT))[0], Shipped)
    assert (gone.weight_grams, gone.cost_minor) == (1500, 3 * 120)  # quoted as one parcel, it left as three


async def test_kpis_tell_costs_by_currency_and_add_up_none(database: Database, world: World) -> None:
    since = datetime(2026, 2, 1, tzinfo=UTC)
    at = since + timedelta(hours=15)
    for currency in ("USD", "USD", "JPY", "KWD"):
        await delivered(database, order(world, currency), at)
    # as an older version wrote it: no currency is the order's
    order_id, _ = await delivered(database, order(world, "KWD"), at)
    await database.pool.execute(
        "UPDATE warehouse.shipments SET cost_currency = NULL, cost_minor = 450 WHERE order_id = $1", order_id
    )
    await database.pool.execute(
        "UPDATE warehouse.fulfillment_orders SET handling_currency = NULL, handling_cost_minor = 50 WHERE order_id = $1",
        order_id,
    )
    found = {
        kpi.name: kpi for kpi in await database.read(lambda tx: kpis(tx, since=since, until=since + timedelta(days=1)))
    }
    shipping = {part.key: (part.above, part.below) for part in found["shipping_cost_per_order"].parts}
    assert shipping == {"JPY": (480, 4), "KWD": (450, 1)}
    whole = {part.key: (part.above, part.below) for part in found["cost_per_order"].parts}
    assert whole == {"JPY": (480, 4), "USD": (400, 4), "KWD": (500, 1)}
