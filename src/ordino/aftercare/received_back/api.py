"""Parcels that come back to the sender, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from ordino.aftercare.received_back.model import BackRefused, ParcelArrival, ParcelReceipt, ReceivedBack
from ordino.aftercare.received_back.receive import receive_back
from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.orders.scopes import BY_ORDER
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.described import described
from ordino.web.operations import Operation, refusals
from ordino.web.routes import post

PARCEL_RECEIPTS = Body("parcel_receipts", ParcelReceipt)
ARRIVAL = msgspec.json.Decoder(ParcelArrival)
REFUSED = {"repeated": 409, "unknown": 404, "delivered": 409, "done": 409, "kit": 409, "too_many": 409}


@post(
    "/v1/orders/{order_id:uuid}/parcels/{shipment_id:uuid}/receipt",
    operation=Operation(
        name="parcels.receive_back",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        refusals=refusals(BackRefused, REFUSED),
    ),
    summary="Receive a parcel that came back",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(ParcelArrival, ReceivedBack),
)
async def post_parcel_receipt(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    shipment_id: FromPath[UUID],
) -> Response[bytes]:
    """All that is still in it, or some lines. Restocked units are in stock at once; refunds follow, and what is sent again is
    sourced.
    """
    said = decode(await request.body(), ARRIVAL)
    item = ParcelReceipt(order_id=order_id, shipment_id=shipment_id, **msgspec.structs.asdict(said))
    return await command_one(request, database, item, receive_back, BackRefused, status=201, statuses=REFUSED)


@post(
    "/v1/parcel_receipts",
    operation=Operation(
        name="parcels.receive_back_many",
        permission=Permission.RETURNS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(BackRefused, REFUSED),
    ),
    summary="Receive many parcels that came back",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(PARCEL_RECEIPTS, ReceivedBack | BackRefused),
)
async def post_parcel_receipts(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One receipt or a list, each with its order_id and shipment_id."""
    return await command(request, database, PARCEL_RECEIPTS, receive_back, BackRefused, status=201, statuses=REFUSED)


routes = [post_parcel_receipt, post_parcel_receipts]
