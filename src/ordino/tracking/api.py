"""Tracking over HTTP."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.orders.scopes import BY_ORDER
from ordino.tracking import read, unmatched
from ordino.tracking.model import DateRefused, DateTold, EventRefused, Kept, NewDate, Recorded, TrackingEvent
from ordino.tracking.read import ParcelView
from ordino.tracking.scopes import BY_PARCEL
from ordino.tracking.take_events import take_events
from ordino.tracking.tell import tell
from ordino.tracking.unmatched import LAST, UnmatchedEvent
from ordino.web.answers import command
from ordino.web.bodies import Body
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post

TRACKING_EVENTS = Body("tracking_events", TrackingEvent)
TOLD_DATES = Body("told_dates", NewDate)
REFUSED = {"unknown_tracking_number": 404}
DATE_REFUSED = {"unknown": 404, "ended": 409}


Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


class UnmatchedEvents(Struct, frozen=True):
    """Newest first. ``next`` is the `before` of the next page; None on the last one."""

    unmatched_tracking_events: list[UnmatchedEvent]
    next: UUID | None


class Parcels(Struct, frozen=True):
    """First shipped first."""

    parcels: list[ParcelView]


@post(
    "/v1/tracking_events",
    operation=Operation(
        name="tracking_events.take",
        permission=Permission.TRACKING_WRITE,
        by=BY_PARCEL,
        items=True,
        refusals=refusals(EventRefused, REFUSED),
    ),
    summary="Record tracking events of carriers",
    tags=["tracking"],
    status_code=200,
    operation_class=described(TRACKING_EVENTS, Recorded | Kept | EventRefused),
)
async def post_tracking_events(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One event or a list. The same words twice are one event, so that a carrier may repeat itself. What is said of a number
    under which nothing has left yet is kept for a month, and happens to its parcel when a shipment leaves; from a key that is
    narrowed to sellers or locations it is refused.
    """
    return await command(request, database, TRACKING_EVENTS, take_events, EventRefused, statuses=REFUSED)


@post(
    "/v1/told_dates",
    operation=Operation(
        name="told_dates.record",
        permission=Permission.TRACKING_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(DateRefused, DATE_REFUSED),
    ),
    summary="Record dates that customers were told",
    tags=["tracking"],
    status_code=200,
    operation_class=described(TOLD_DATES, DateTold | DateRefused),
)
async def post_told_dates(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One date or a list, after a customer was told it. Orders and parcels are late by what was told last; the KPIs measure by
    what was told first. No message is written.
    """
    return await command(request, database, TOLD_DATES, tell, DateRefused, statuses=DATE_REFUSED)


@get(
    "/v1/orders/{order_id:uuid}/parcels",
    operation=Operation(
        name="orders.parcels", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="An order's parcels",
    tags=["tracking"],
)
async def get_parcels(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Parcels:
    """Each with everything that its carrier said."""
    return Parcels(await database.read(lambda tx: read.parcels(tx, order_id)))


@get(
    "/v1/unmatched_tracking_events",
    operation=Operation(name="tracking_events.unmatched", permission=Permission.ORDERS_READ, personal=True),
    summary="Tracking events that came before their shipment",
    tags=["tracking"],
)
async def get_unmatched_tracking_events(
    database: NamedDependency[Database], before: FromQuery[UUID] = LAST, limit: Limit = 100
) -> UnmatchedEvents:
    """Events of tracking numbers under which nothing has left, newest first. They are kept for a month."""
    found = await database.read(lambda tx: unmatched.unmatched(tx, before, limit))
    return UnmatchedEvents(found, found[-1].event_id if len(found) == limit else None)


routes = [post_tracking_events, post_told_dates, get_parcels, get_unmatched_tracking_events]
