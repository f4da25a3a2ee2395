"""Tracking over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.http import Body, command, described
from ordino.tracking import read
from ordino.tracking.model import EventRefused, Recorded, TrackingEvent
from ordino.tracking.read import ParcelView
from ordino.tracking.take_events import take_events

TRACKING_EVENTS = Body("tracking_events", TrackingEvent)
REFUSED = {"unknown_tracking_number": 404}


class Parcels(Struct, frozen=True):
    """First shipped first."""

    parcels: list[ParcelView]


@post(
    "/v1/tracking_events",
    summary="What a carrier says of its parcels",
    tags=["tracking"],
    status_code=200,
    operation_class=described(TRACKING_EVENTS, Recorded | EventRefused),
)
async def post_tracking_events(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One event or a list. The same words twice are one event, so that a carrier may repeat itself."""
    return await command(request, database, TRACKING_EVENTS, take_events, EventRefused, statuses=REFUSED)


@get("/v1/orders/{order_id:uuid}/parcels", summary="An order's parcels", tags=["tracking"])
async def get_parcels(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Parcels:
    """Each with everything that its carrier said."""
    return Parcels(await database.read(lambda tx: read.parcels(tx, order_id)))


routes = [post_tracking_events, get_parcels]
