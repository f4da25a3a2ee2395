"""Locations, networks, carrier services and postal codes over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from msgspec import Struct

from ordino.core.bulk import After, Kind, Limit, Loaded, Outcomes, PathCode, described, next_of, one
from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.core.upserts import Outcome
from ordino.network import read
from ordino.network.model import CarrierService, Location, Network, PostalCode
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes

LOCATIONS = Kind("locations", Location, upsert_locations)
NETWORKS = Kind("networks", Network, upsert_networks, flat=False)
CARRIER_SERVICES = Kind("carrier_services", CarrierService, upsert_carrier_services, flat=False)
POSTAL_CODES = Kind("postal_codes", PostalCode, upsert_postal_codes)


class LocationPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    locations: list[Location]
    next: str | None


class NetworkPage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    networks: list[Network]
    next: str | None


class CarrierServicePage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    carrier_services: list[CarrierService]
    next: str | None


class PostalCodePage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    postal_codes: list[PostalCode]
    next: str | None


async def upsert_these_locations(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each by its code. A location takes part once a network names it."""
    return await LOCATIONS.answer(request, database)


@get("/v1/locations", summary="List locations", tags=["network"])
async def list_locations(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> LocationPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.locations_after(tx, after, limit))
    return LocationPage(found, next_of(found, limit))


@get("/v1/locations/{code:str}", summary="One location", tags=["network"])
async def get_location(database: NamedDependency[Database], code: PathCode) -> Location:
    """As it was sent."""
    return await one(database, "locations", code, read.locations)


async def upsert_these_networks(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each whole, by its code. A channel that is named leaves the network that it had."""
    return await NETWORKS.answer(request, database)


@get("/v1/networks", summary="List networks", tags=["network"])
async def list_networks(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> NetworkPage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.networks_after(tx, after, limit))
    return NetworkPage(found, next_of(found, limit))


@get("/v1/networks/{code:str}", summary="One network", tags=["network"])
async def get_network(database: NamedDependency[Database], code: PathCode) -> Network:
    """As it was sent."""
    return await one(database, "networks", code, read.networks)


async def upsert_these_carrier_services(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each whole, by its code, with its zones, rates and lanes."""
    return await CARRIER_SERVICES.answer(request, database)


@get("/v1/carrier_services", summary="List carrier services", tags=["network"])
async def list_carrier_services(
    database: NamedDependency[Database], after: After = "", limit: Limit = 100
) -> CarrierServicePage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.carrier_services_after(tx, after, limit))
    return CarrierServicePage(found, next_of(found, limit))


@get("/v1/carrier_services/{code:str}", summary="One carrier service", tags=["network"])
async def get_carrier_service(database: NamedDependency[Database], code: PathCode) -> CarrierService:
    """As it was sent."""
    return await one(database, "carrier_services", code, read.carrier_services)


async def upsert_these_postal_codes(
    request: Request[Any, Any, Any], database: NamedDependency[Database]
) -> Response[Outcome | Outcomes | Loaded]:
    """Each by its country and postal code."""
    return await POSTAL_CODES.answer(request, database)


@get("/v1/postal_codes/{country:str}", summary="List postal codes of a country", tags=["network"])
async def list_postal_codes(
    database: NamedDependency[Database], country: PathCode, after: After = "", limit: Limit = 100
) -> PostalCodePage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.postal_codes_after(tx, country, after, limit))
    return PostalCodePage(found, next_of(found, limit, "postal_code"))


@get("/v1/postal_codes/{country:str}/{code:str}", summary="Where a postal code is", tags=["network"])
async def get_postal_code(database: NamedDependency[Database], country: PathCode, code: PathCode) -> PostalCode:
    """Latitude and longitude in degrees."""
    found = await database.read(lambda tx: read.postal_code(tx, country, code))
    if found is None:
        raise NotFound(f"There is no postal code {code!r} of {country!r}; load it with PUT /v1/postal_codes.")
    return found


def _upserts() -> list[Any]:
    """PUT and POST do the same: things are named by their codes."""
    return [
        method(
            f"/v1/{kind.name}",
            operation_id=f"{method.__name__}_{kind.name}",
            summary=f"Create or change {kind.title}",
            tags=["network"],
            operation_class=described(kind),
            request_max_body_size=None,  # rows may be of any length; what is read whole has its own limit
        )(handler)
        for kind, handler in (
            (LOCATIONS, upsert_these_locations),
            (NETWORKS, upsert_these_networks),
            (CARRIER_SERVICES, upsert_these_carrier_services),
            (POSTAL_CODES, upsert_these_postal_codes),
        )
        for method in (put, post)
    ]


routes: list[Any] = [
    *_upserts(),
    list_locations,
    get_location,
    list_networks,
    get_network,
    list_carrier_services,
    get_carrier_service,
    list_postal_codes,
    get_postal_code,
]
