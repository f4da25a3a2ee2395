"""The retailer of the demo: what it sells, from where, through which channels, with which carriers, and what it has in stock.

From the data: the products, and which stores are busiest. Invented: codes, channels, which SKUs may be backordered (17 of
20), locations' hours, capacities and costs, carriers with their zones and rates, and (see ``places`` and ``stocking``)
coordinates and stock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from msgspec import Struct

from ordino.catalog.model import Channel, Seller, Sku
from ordino.catalog.upsert import upsert_channels, upsert_sellers, upsert_skus
from ordino.cli.demo.baskets import Month, Product
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.places import Place, Places, settle
from ordino.cli.demo.shoppers import CURRENCY, sku_code
from ordino.cli.demo.stocking import stock_up
from ordino.core.database import Database, Tx
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted
from ordino.inventory.adjust import Receipt, StockRefused, receive
from ordino.network.model import CarrierService, Location, LocationType, Member, Network, PostalCode, Rate, Zone
from ordino.network.upsert import (
    upsert_carrier_services,
    upsert_locations,
    upsert_networks,
    upsert_postal_codes,
)
from ordino.sourcing import versions

sql = statements("ordino.insights")

SELLER = Seller(code="journey", name="The Complete Journey", currency=CURRENCY, return_window_days=45)
CHANNELS = (
    Channel(code="web-shop", name="Web shop", seller="journey", short_policy="backorder"),
    Channel(code="app", name="App", seller="journey", short_policy="drop"),
    Channel(code="marketplace", name="Marketplace", seller="journey", short_policy="refuse"),
)
BUSIEST_STORES = 12
BACKORDERABLE = 0.85
MONDAY_TO_SATURDAY = [1, 2, 3, 4, 5, 6]
CENTER_CODES = ("DC-1", "DC-2", "DC-3")
MAIN = CENTER_CODES[0]
CHUNK = 8000


def _zones(days: Sequence[int], base_minor: int, per_kilogram_minor: int) -> list[Zone]:
    """Four zones by distance; a parcel costs more with the zone and with each kilogram begun."""
    reach = (("local", 120.0), ("near", 300.0), ("regional", 700.0), ("national", 5000.0))
    return [
        Zone(
            zone=name,
            up_to_km=km,
            transit_days=transit,
            rates=[
                Rate(
                    up_to_grams=kilograms * 1000,
                    cost_minor=base_minor + 120 * step + (per_kilogram_minor + 5 * step) * kilograms,
                )
                for kilograms in (1, 2, 3, 5, 7, 10, 15, 20, 25, 30)
            ],
        )
        for step, ((name, km), transit) in enumerate(zip(reach, days, strict=True))
    ]


SERVICES = (
    CarrierService(
        code="ground",
        carrier="Overland",
        name="Ground",
        currency=CURRENCY,
        max_grams=30_000,
        working_days=MONDAY_TO_SATURDAY,
        zones=_zones((1, 2, 3, 5), 420, 35),
        holidays="US",
    ),
    CarrierService(
        code="express",
        carrier="Overland",
        name="Express",
        currency=CURRENCY,
        max_grams=30_000,
        working_days=MONDAY_TO_SATURDAY,
        zones=_zones((1, 1, 1, 2), 990, 90),
        level="express",
        holidays="US",
    ),
)


class World(Struct, frozen=True):
    """Everything that is there before the first order. ``opening`` is the stock it begins with."""

    places: Places
    stores: tuple[int, ...]
    skus: list[Sku]
    locations: list[Location]
    networks: list[Network]
    opening: list[Receipt]

    @property
    def returns_location(self) -> str:
        return MAIN


def imagine(month: Month, dice: Dice) -> World:
    """The world that this month of baskets needs."""
    visits = Counter(basket.store_id for basket in month.baskets)
    stores = tuple(sorted(visits, key=lambda store: (-visits[store], store))[:BUSIEST_STORES])
    places = settle(month.baskets, dice)
    locations = [_center(code, place) for code, place in zip(CENTER_CODES, places.centers, strict=True)]
    locations += [_store(number, places.stores[number]) for number in stores]
    centers = [Member(location=code) for code in CENTER_CODES]
    shops = [Member(location=_store_code(number), buffer=1) for number in stores]
    networks = [
        Network(code="everywhere", name="Centers and stores", members=centers + shops, channels=["web-shop", "app"]),
        Network(code="centers", name="Distribution centers", members=centers, channels=["marketplace"]),
    ]
    skus = [_sku(product, dice) for product in month.products.values()]
    opening = [
        Receipt(sku=sku_code(product), location=_place_code(place), quantity=quantity, reason="opening stock")
        for product, place, quantity in stock_up(month.baskets, places, stores, dice)
    ]
    return World(places, stores, skus, locations, networks, opening)


async def build(database: Database, world: World, *, at: datetime, told: Callable[[str], None]) -> None:
    """Create it all through the verbs that the API calls."""

    async def upsert(verb: Callable[..., Awaitable[Sequence[Any]]], things: Sequence[Any]) -> None:
        for start in range(0, len(things), CHUNK):
            chunk = things[start : start + CHUNK]

            async def once(tx: Tx, chunk: Sequence[Any] = chunk) -> Sequence[Any]:
                return await verb(tx, chunk, at=at)

            for outcome in await database.transact(once):
                assert not isinstance(outcome, NotUpserted | StockRefused), f"the demo's own data is sound: {outcome}"

    told("sellers, channels, network")
    await upsert(upsert_sellers, [SELLER])
    await upsert(upsert_channels, CHANNELS)
    await upsert(
        upsert_postal_codes,
        [
            PostalCode(country="US", postal_code=place.postal_code, latitude=place.latitude, longitude=place.longitude)
            for place in world.places.region
        ],
    )
    await upsert(upsert_locations, world.locations)
    await upsert(upsert_carrier_services, SERVICES)
    await upsert(upsert_networks, world.networks)
    await database.transact(lambda tx: _route(tx, at))
    told(f"{len(world.skus):,} SKUs")
    await upsert(upsert_skus, world.skus)
    told(f"{len(world.opening):,} stock positions")
    middle = len(world.opening) // 2
    await asyncio.gather(upsert(receive, world.opening[:middle]), upsert(receive, world.opening[middle:]))
    await database.read(lambda tx: sql.analyze_stock(tx))


async def _route(tx: Tx, at: datetime) -> None:
    """The demo's own routing profile decides."""
    document = files("ordino.cli.demo").joinpath("profile.yaml").read_text(encoding="utf-8")
    await versions.activate(tx, await versions.draft(tx, document, at=at), at=at)


def _sku(product: Product, dice: Dice) -> Sku:
    return Sku(
        code=sku_code(product.product_id),
        name=product.name,
        category=product.category,
        weight_grams=product.weight_grams,
        length_mm=product.length_mm,
        width_mm=product.width_mm,
        height_mm=product.height_mm,
        backorderable=dice.chance("backorderable", product.product_id) < BACKORDERABLE,
    )


def _center(code: str, place: Place) -> Location:
    return Location(
        code=code,
        name=f"Distribution center {place.city}, {place.region}",
        type=LocationType.DISTRIBUTION_CENTER,
        country="US",
        postal_code=place.postal_code,
        latitude=place.latitude,
        longitude=place.longitude,
        timezone=place.timezone,
        working_days=MONDAY_TO_SATURDAY,
        cut_off="10:00",
        handling_cost_minor=120,
    )


def _store(number: int, place: Place) -> Location:
    return Location(
        code=_store_code(number),
        name=f"Store {number} {place.city}, {place.region}",
        type=LocationType.STORE,
        country="US",
        postal_code=place.postal_code,
        latitude=place.latitude,
        longitude=place.longitude,
        timezone=place.timezone,
        working_days=MONDAY_TO_SATURDAY,
        cut_off="11:00",
        daily_capacity=30,
        handling_cost_minor=160,
    )


def _store_code(number: int) -> str:
    return f"S-{number}"


def _place_code(place: int) -> str:
    return CENTER_CODES[place] if place < len(CENTER_CODES) else _store_code(place)
