"""What an order is quoted counts whole units as parcels, and a kit goes as its components."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.network.model import CarrierService, Rate, Zone
from ordino.network.upsert import upsert_carrier_services
from ordino.orders.kits import upsert_kits
from ordino.orders.preview import Preview, PreviewLine, PreviewRequest, preview
from steps import in_one
from world import World, small_world

AT = datetime(2026, 3, 2, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    """A unit weighs 500 g, and the only service takes 700 g a parcel, for 4.00. The third SKU is a kit of one of the first two each;
    its own weight, 5 kg, is beside the point. The fourth weighs 900 g, the fifth is a kit with it.
    """
    world = await small_world(database, locations=1, stock={(f"sku-{n}", "loc-1"): 100 for n in (1, 2, 4)})
    zone = Zone(zone="all", up_to_km=20_000, transit_days=2, rates=[Rate(up_to_grams=700, cost_minor=400)])
    small = CarrierService(code=world.service, carrier="C", name="Small", currency="USD", max_grams=700, zones=[zone])
    await in_one(database, upsert_carrier_services, [small], AT)
    weights = {2: 5000, 3: 900, 4: 100}
    await in_one(
        database,
        upsert_skus,
        [Sku(code=world.skus[n], name=world.skus[n], weight_grams=grams) for n, grams in weights.items()],
        AT,
    )
    sets = [
        Kit(sku=world.skus[2], components=[Component(sku=world.skus[n], quantity=1) for n in (0, 1)]),
        Kit(sku=world.skus[4], components=[Component(sku=world.skus[n], quantity=1) for n in (0, 3)]),
    ]
    await in_one(database, upsert_kits, sets, AT)
    return world


async def seen(database: Database, world: World, sku: int, quantity: int) -> Preview:
    lines = [PreviewLine(sku=world.skus[sku], quantity=quantity)]
    asked = PreviewRequest(channel=world.channel, country="US", postal_code="43215", lines=lines)
    return await database.read(lambda tx: preview(tx, asked, at=AT))


async def test_two_units_that_do_not_share_a_parcel_cost_two(database: Database, world: World) -> None:
    found = await seen(database, world, 0, 3)
    assert [(leg.packages, leg.carrier_cost_minor) for leg in found.legs] == [
        (3, 1200)
    ]  # 1,500 g would be 3 of 700 g, too
    found = await seen(database, world, 0, 7)
    assert [(leg.packages, leg.carrier_cost_minor) for leg in found.legs] == [(7, 2800)]  # 3,500 g would be 5
    assert (found.currency, found.cost_minor) == ("USD", 2900)


async def test_a_kit_goes_as_its_components(database: Database, world: World) -> None:
    found = await seen(database, world, 2, 2)
    assert [(leg.packages, leg.carrier_cost_minor) for leg in found.legs] == [(4, 1600)]


async def test_a_kit_with_a_component_that_no_service_takes_is_never_served(database: Database, world: World) -> None:
    found = await seen(database, world, 4, 1)
    assert found.outcome == "refused"
    assert "one of its components weighs 900 g, and no carrier service" in found.never_served[1]
    assert "takes more than 700 g as one parcel" in found.never_served[1]
