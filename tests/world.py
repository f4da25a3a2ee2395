"""A small world to test in: a seller with one channel for each short policy, a network of locations, a parcel service, SKUs, stock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from ordino.api.server import load_stages
from ordino.catalog.model import Channel, Seller, Sku
from ordino.catalog.upsert import sku_ids, upsert_channels, upsert_sellers, upsert_skus
from ordino.core.database import Database, Tx
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted, Outcome
from ordino.flows.versions import ensure_active
from ordino.inventory import ledger
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.model import CarrierService, Location, Member, Network, PostalCode, Rate, Zone
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes
from ordino.orders.model import Address, NewCustomer, NewLine, NewOrder

SHORT_POLICIES = ("refuse", "backorder", "drop")
PLACES = (  # ZIP code, city, latitude, longitude
    ("43215", "Columbus", 39.9671, -83.0044),
    ("46204", "Indianapolis", 39.7720, -86.1570),
    ("40202", "Louisville", 38.2530, -85.7515),
    ("60601", "Chicago", 41.8858, -87.6181),
    ("10001", "New York", 40.7506, -73.9971),
    ("75201", "Dallas", 32.7904, -96.8044),
    ("80202", "Denver", 39.7491, -104.9946),
    ("98101", "Seattle", 47.6114, -122.3305),
)


class World(Struct, frozen=True):
    """The codes of everything, and the keys behind them. Location ``n`` lies at ``PLACES[n % 8]``."""

    seller: str
    channel: str  # the one that refuses
    channels: dict[str, str]  # short policy -> channel
    network: str
    service: str
    skus: list[str]
    locations: list[str]
    sku_ids: dict[str, int]
    location_ids: dict[str, int]

    @property
    def sku(self) -> str:
        return self.skus[0]

    @property
    def location(self) -> str:
        return self.locations[0]

    def order(
        self,
        external_id: str,
        quantities: Mapping[str, int] | int = 1,
        *,
        channel: str | None = None,
        postal_code: str = PLACES[0][0],
        unit_price_minor: int = 1000,
        shipping_minor: int = 0,
        customer: str | None = None,
        **more: Any,
    ) -> NewOrder:
        """An order whose total adds up: SKU code -> units, or so many units of the first SKU."""
        if isinstance(quantities, int):
            quantities = {self.sku: quantities}
        lines = [
            NewLine(sku=sku, quantity=units, unit_price_minor=unit_price_minor) for sku, units in quantities.items()
        ]
        total = unit_price_minor * sum(quantities.values()) + shipping_minor
        total += more.get("tax_minor", 0) - more.get("discount_minor", 0)
        address = Address(name="Ada", line1="1 Main Street", city="Town", postal_code=postal_code, country="US")
        who = None if customer is None else NewCustomer(external_id=customer)
        fields = {"currency": "USD", "total_minor": total, "ship_to": address, "customer": who}
        return NewOrder(
            channel=channel or self.channel,
            external_id=external_id,
            lines=lines,
            shipping_minor=shipping_minor,
            **(fields | more),
        )


async def served_world(database: Database, **options: Any) -> World:
    """A small world that a server can serve: the packaged flow is active. The options are those of ``small_world``."""
    await activate_flow(database)
    return await small_world(database, **options)


async def activate_flow(database: Database) -> None:
    load_stages()
    at = database.clock.now()
    await database.transact(lambda tx: ensure_active(tx, at=at))


async def small_world(
    database: Database,
    *,
    skus: int = 5,
    locations: int = 2,
    stock: int | Mapping[tuple[str, str], int] = 100,
    prefix: str = "",
    buffer: int = 0,
    backorderable: bool = True,
    daily_capacity: int | None = None,
) -> World:
    """Builds it in one transaction. ``stock`` is what lies of every SKU everywhere, or (SKU code, location code) -> units.

    SKUs are ``sku-1``…, locations ``loc-1``…, channels named for their short policy; ``prefix`` stands before every code,
    so that one database can hold several worlds.
    """

    async def build(tx: Tx) -> World:
        return await _build(
            tx, database.clock.now(), skus, locations, stock, prefix, buffer, backorderable, daily_capacity
        )

    return await database.transact(build)


async def _build(
    tx: Tx,
    at: datetime,
    skus: int,
    locations: int,
    stock: int | Mapping[tuple[str, str], int],
    prefix: str,
    buffer: int,
    backorderable: bool,
    daily_capacity: int | None,
) -> World:
    seller, network, service = f"{prefix}seller", f"{prefix}network", f"{prefix}ground"
    channels = {policy: f"{prefix}{policy}" for policy in SHORT_POLICIES}
    sku_codes = [f"{prefix}sku-{n}" for n in range(1, skus + 1)]
    codes = [f"{prefix}loc-{n}" for n in range(1, locations + 1)]
    sure(await upsert_sellers(tx, [Seller(code=seller, name="Seller", currency="USD")], at=at))
    sure(
        await upsert_channels(
            tx,
            [Channel(code=code, name=code, seller=seller, short_policy=policy) for policy, code in channels.items()],  # type: ignore[arg-type]
            at=at,
        )
    )
    goods = [Sku(code=code, name=code, weight_grams=500, backorderable=backorderable) for code in sku_codes]
    sure(await upsert_skus(tx, goods, at=at))
    sure(
        await upsert_locations(
            tx,
            [
                Location(
                    code=code,
                    name=code,
                    type="warehouse",  # type: ignore[arg-type]
                    country="US",
                    postal_code=zip_code,
                    latitude=latitude,
                    longitude=longitude,
                    timezone="America/New_York",
                    daily_capacity=daily_capacity,
                    handling_cost_minor=100,
                )
                for index, code in enumerate(codes)
                for zip_code, _, latitude, longitude in (PLACES[index % len(PLACES)],)
            ],
            at=at,
        )
    )
    places = [PostalCode(country="US", postal_code=code, latitude=lat, longitude=lon) for code, _, lat, lon in PLACES]
    sure(await upsert_postal_codes(tx, places, at=at))
    sure(await upsert_carrier_services(tx, [parcel_service(service)], at=at))
    members = [Member(location=code, buffer=buffer) for code in codes]
    whole = Network(code=network, name="Network", members=members, channels=list(channels.values()))
    sure(await upsert_networks(tx, [whole], at=at))
    ids = await sku_ids(tx, sku_codes)
    location_rows = await statements("ordino.network").location_ids(tx, codes=codes)
    location_ids = {row["code"]: row["location_id"] for row in location_rows}
    if isinstance(stock, int):
        stock = {(sku, location): stock for sku in sku_codes for location in codes}
    cause_id = new_id(at)
    moves = [
        StockMove(ids[sku], location_ids[location], cause_id, MoveKind.RECEIVED, on_hand_delta=units)
        for (sku, location), units in stock.items()
        if units
    ]
    await ledger.post(tx, moves, at=at)
    return World(seller, channels["refuse"], channels, network, service, sku_codes, codes, ids, location_ids)


def parcel_service(code: str) -> CarrierService:
    """By distance: 300 km in a day, 1,000 in two, everywhere in five. Up to 1 kg, 5 kg, 30 kg."""
    zones = [
        Zone(
            zone=name,
            up_to_km=km,
            transit_days=days,
            rates=[
                Rate(up_to_grams=grams, cost_minor=base * factor)
                for grams, factor in ((1000, 1), (5000, 2), (30_000, 5))
            ],
        )
        for name, km, days, base in (("near", 300, 1, 500), ("far", 1000, 2, 800), ("farthest", 20_000, 5, 1200))
    ]
    return CarrierService(code=code, carrier="Parcel", name="Ground", currency="USD", max_grams=30_000, zones=zones)


def sure(outcomes: list[Outcome]) -> None:
    """Nothing was refused."""
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotUpserted)]
    assert not refused, refused
