"""Locations, networks, carrier services and postal codes over HTTP."""

from __future__ import annotations

from datetime import date
from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.core.permissions import Permission
from ordino.network import read
from ordino.network.closures import Closure, Reopened, closures, closures_after, reopen, upsert_closures
from ordino.network.days import (
    CapacityDay,
    CarrierPickup,
    Dropped,
    capacity_days_after,
    carrier_pickups,
    carrier_pickups_after,
    drop_capacity_day,
    drop_pickup,
    upsert_capacity_days,
    upsert_carrier_pickups,
)
from ordino.network.exchange import ExchangeRate, exchange_rates_after, upsert_exchange_rates
from ordino.network.model import CarrierService, Location, Network, PostalCode
from ordino.network.postal import normal
from ordino.network.scopes import BY_LOCATION
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes
from ordino.web import bulk
from ordino.web.answers import answer_once
from ordino.web.bulk import After, Kind, Limit, PathCode, next_of
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete, get
from ordino.web.scopes import NOBODY


class PostalCodePage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    postal_codes: list[PostalCode]
    next: str | None


@get(
    "/v1/postal_codes/{country:str}",
    operation=Operation(name="postal_codes.list", permission=Permission.NETWORK_READ, by=NOBODY),
    summary="List postal codes of a country",
    tags=["network"],
)
async def list_postal_codes(
    database: NamedDependency[Database], country: PathCode, after: After = "", limit: Limit = 100
) -> PostalCodePage:
    """In order of codes, page by page."""
    found = await database.read(lambda tx: read.postal_codes_after(tx, country, after, limit))
    return PostalCodePage(found, next_of(found, limit, "postal_code"))


@get(
    "/v1/postal_codes/{country:str}/{code:str}",
    operation=Operation(name="postal_codes.get", permission=Permission.NETWORK_READ, by=NOBODY, refusals=NOT_FOUND),
    summary="Where a postal code is",
    tags=["network"],
)
async def get_postal_code(database: NamedDependency[Database], country: PathCode, code: PathCode) -> PostalCode:
    """Latitude and longitude in degrees."""
    found = await database.read(lambda tx: read.postal_code(tx, country, normal(country, code)))
    if found is None:
        raise NotFound(f"There is no postal code {code!r} of {country!r}; load it with PUT /v1/postal_codes.")
    return found


@delete(
    "/v1/closures/{code:str}",
    operation=Operation(name="closures.delete", permission=Permission.NETWORK_WRITE, refusals=NOT_FOUND),
    summary="End a closure",
    tags=["network"],
    status_code=200,
    operation_class=described(None, Reopened),
)
async def delete_closure(
    request: Request[Any, Any, Any], database: NamedDependency[Database], code: PathCode
) -> Response[bytes]:
    """The location is open again, as far as other closures let it."""
    return await answer_once(request, database, lambda tx: reopen(tx, code))


class ExchangeRatePage(Struct, frozen=True):
    """One page in order of currencies and days; ``next`` is the ``after`` of the page that follows, if there may be one."""

    exchange_rates: list[ExchangeRate]
    next: str | None


@get(
    "/v1/exchange_rates",
    operation=Operation(name="exchange_rates.list", permission=Permission.NETWORK_READ, by=NOBODY),
    summary="List exchange rates",
    tags=["network"],
)
async def list_exchange_rates(
    database: NamedDependency[Database], after: After = "", limit: Limit = 100
) -> ExchangeRatePage:
    """In order of currencies and days, page by page."""
    found = await database.read(lambda tx: exchange_rates_after(tx, after, limit))
    return ExchangeRatePage(found, next_of(found, limit))


class CapacityDayPage(Struct, frozen=True):
    """One page in order of location and day; ``next`` is the ``after`` of the page that follows, if there may be one."""

    capacity_days: list[CapacityDay]
    next: str | None


@get(
    "/v1/capacity_days",
    operation=Operation(name="capacity_days.list", permission=Permission.NETWORK_READ),
    summary="List days with a capacity of their own",
    tags=["network"],
)
async def list_capacity_days(
    database: NamedDependency[Database], after: After = "", limit: Limit = 100
) -> CapacityDayPage:
    """In order of location and day, page by page."""
    found = await database.read(lambda tx: capacity_days_after(tx, after, limit))
    return CapacityDayPage(found, next_of(found, limit))


@delete(
    "/v1/capacity_days/{location:str}/{ship_on:date}",
    operation=Operation(name="capacity_days.delete", permission=Permission.NETWORK_WRITE, refusals=NOT_FOUND),
    summary="Delete a day's own capacity",
    tags=["network"],
    status_code=200,
    operation_class=described(None, Dropped),
)
async def delete_capacity_day(
    request: Request[Any, Any, Any], database: NamedDependency[Database], location: PathCode, ship_on: FromPath[date]
) -> Response[bytes]:
    """The location's daily capacities hold."""
    return await answer_once(request, database, lambda tx: drop_capacity_day(tx, location, ship_on))


@delete(
    "/v1/carrier_pickups/{code:str}",
    operation=Operation(name="carrier_pickups.delete", permission=Permission.NETWORK_WRITE, refusals=NOT_FOUND),
    summary="Delete a carrier pickup",
    tags=["network"],
    status_code=200,
    operation_class=described(None, Dropped),
)
async def delete_carrier_pickup(
    request: Request[Any, Any, Any], database: NamedDependency[Database], code: PathCode
) -> Response[bytes]:
    """Where a service has no pickup left at a location, its parcels leave at the cut-off."""
    return await answer_once(request, database, lambda tx: drop_pickup(tx, code))


routes: list[Any] = [
    *bulk.routes(
        Kind("locations", Location, upsert_locations),
        "network",
        note="Each by its code. A location takes part once a network names it.",
        reads=Permission.NETWORK_READ,
        writes=Permission.NETWORK_WRITE,
        shown_by=BY_LOCATION.under("code"),
        by_code=read.locations,
        after_code=read.locations_after,
    ),
    *bulk.routes(
        Kind("networks", Network, upsert_networks, flat=False),
        "network",
        note="Each whole, by its code. A channel that is named leaves the network that it had.",
        reads=Permission.NETWORK_READ,
        writes=Permission.NETWORK_WRITE,
        by_code=read.networks,
        after_code=read.networks_after,
    ),
    *bulk.routes(
        Kind("carrier_services", CarrierService, upsert_carrier_services, flat=False),
        "network",
        note="Each whole, by its code, with its zones, rates and lanes.",
        reads=Permission.NETWORK_READ,
        writes=Permission.NETWORK_WRITE,
        by_code=read.carrier_services,
        after_code=read.carrier_services_after,
    ),
    *bulk.routes(
        Kind("closures", Closure, upsert_closures),
        "network",
        note="Each by its code. While it lasts, nothing is promised from the location, for one channel or for all.",
        reads=Permission.NETWORK_READ,
        writes=Permission.NETWORK_WRITE,
        shown_by=BY_LOCATION,
        by_code=closures,
        after_code=closures_after,
    ),
    delete_closure,
    *bulk.routes(
        Kind("carrier_pickups", CarrierPickup, upsert_carrier_pickups),
        "network",
        note="Each by its code. What goes with the service leaves the location at these times and no others.",
        reads=Permission.NETWORK_READ,
        writes=Permission.NETWORK_WRITE,
        shown_by=BY_LOCATION,
        by_code=carrier_pickups,
        after_code=carrier_pickups_after,
    ),
    delete_carrier_pickup,
    *bulk.upserts(
        Kind("capacity_days", CapacityDay, upsert_capacity_days),
        "network",
        note="Each by its location and day: what it can take on then, in place of its daily capacities.",
        writes=Permission.NETWORK_WRITE,
    ),
    list_capacity_days,
    delete_capacity_day,
    *bulk.upserts(
        Kind("exchange_rates", ExchangeRate, upsert_exchange_rates),
        "network",
        note="Each by its two currencies and its first day. Costs in another currency than the order's are converted by them.",
        writes=Permission.NETWORK_WRITE,
    ),
    list_exchange_rates,
    *bulk.upserts(
        Kind("postal_codes", PostalCode, upsert_postal_codes),
        "network",
        note="Each by its country and postal code.",
        writes=Permission.NETWORK_WRITE,
    ),
    list_postal_codes,
    get_postal_code,
]
