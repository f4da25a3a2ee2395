"""Sellers, channels, SKUs and kits over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from msgspec import Struct

from ordino.catalog import read
from ordino.catalog.model import Channel, Kit, Seller, Sku
from ordino.catalog.upsert import upsert_channels, upsert_kits, upsert_sellers, upsert_skus
from ordino.core.bulk import After, Kind, Limit, Loaded, Outcomes, PathCode, described, next_of, one
from ordino.core.database import Database
from ordino.core.upserts import Outcome

SELLERS = Kind("sellers", Seller, upsert_sellers)
CHANNELS = Kind("channels", Channel, upsert_channels)
SKUS = Kind("skus", Sku, upsert_skus)
KITS = Kind("kits", Kit, upsert_kits, key="sku", flat=False)


class SellerPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    sellers: list[Seller]
    next: str | None


class ChannelPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    channels: list[Channel]
    next: str | None


class SkuPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    skus: list[Sku]
    next: str | None


class KitPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    kits: list[Kit]
    next: str | None


async def upsert_these_sellers(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each by its code. A changed currency holds for orders to come."""
    return await SELLERS.answer(request, database)


@get("/v1/sellers", summary="List sellers", tags=["catalog"])
async def list_sellers(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> SellerPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.sellers_after(tx, after, limit))
    return SellerPage(found, next_of(found, limit))


@get("/v1/sellers/{code:str}", summary="One seller", tags=["catalog"])
async def get_seller(database: NamedDependency[Database], code: PathCode) -> Seller:
    """As it was sent."""
    return await one(database, "sellers", code, read.sellers)


async def upsert_these_channels(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each by its code. Orders come in once a network serves the channel, too."""
    return await CHANNELS.answer(request, database)


@get("/v1/channels", summary="List channels", tags=["catalog"])
async def list_channels(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> ChannelPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.channels_after(tx, after, limit))
    return ChannelPage(found, next_of(found, limit))


@get("/v1/channels/{code:str}", summary="One channel", tags=["catalog"])
async def get_channel(database: NamedDependency[Database], code: PathCode) -> Channel:
    """As it was sent."""
    return await one(database, "channels", code, read.channels)


async def upsert_these_skus(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each by its code, 4,000 rows at a time if they come as CSV or NDJSON."""
    return await SKUS.answer(request, database)


@get("/v1/skus", summary="List SKUs", tags=["catalog"])
async def list_skus(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> SkuPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.skus_after(tx, after, limit))
    return SkuPage(found, next_of(found, limit))


@get("/v1/skus/{code:str}", summary="One SKU", tags=["catalog"])
async def get_sku(database: NamedDependency[Database], code: PathCode) -> Sku:
    """As it was sent."""
    return await one(database, "skus", code, read.skus)


async def upsert_these_kits(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each whole, by its SKU; one without components becomes an ordinary SKU again."""
    return await KITS.answer(request, database)


@get("/v1/kits", summary="List kits", tags=["catalog"])
async def list_kits(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> KitPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.kits_after(tx, after, limit))
    return KitPage(found, next_of(found, limit, "sku"))


@get("/v1/kits/{code:str}", summary="One kit", tags=["catalog"])
async def get_kit(database: NamedDependency[Database], code: PathCode) -> Kit:
    """As it was sent."""
    return await one(database, "kits", code, read.kits)


def _upserts() -> list[Any]:
    """PUT and POST do the same: things are named by their codes."""
    return [
        method(
            f"/v1/{kind.name}",
            operation_id=f"{method.__name__}_{kind.name}",
            summary=f"Create or change {kind.title}",
            tags=["catalog"],
            operation_class=described(kind),
            request_max_body_size=None,  # rows may be of any length; what is read whole has its own limit
        )(handler)
        for kind, handler in (
            (SELLERS, upsert_these_sellers),
            (CHANNELS, upsert_these_channels),
            (SKUS, upsert_these_skus),
            (KITS, upsert_these_kits),
        )
        for method in (put, post)
    ]


routes: list[Any] = [
    *_upserts(),
    list_sellers,
    get_seller,
    list_channels,
    get_channel,
    list_skus,
    get_sku,
    list_kits,
    get_kit,
]
