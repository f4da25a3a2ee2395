"""Refunds without goods over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.aftercare.model import NewRefund, RefundRefused, RefundRequested, RefundView, WantedRefund
from ordino.aftercare.refunds import refund, refunds_of
from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.orders.scopes import BY_ORDER
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post

REFUNDS = Body("refunds", NewRefund)
WANTED = msgspec.json.Decoder(WantedRefund)
REFUSED = {"repeated": 409, "unknown": 404, "too_much": 409}


class Refunds(Struct, frozen=True):
    """Oldest first."""

    refunds: list[RefundView]


@get(
    "/v1/orders/{order_id:uuid}/refunds",
    operation=Operation(
        name="refunds.of_order", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="An order's refunds without goods",
    tags=["aftercare"],
)
async def get_refunds(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Refunds:
    """Oldest first. What units that came back or were lost are refunded is in the timeline, not here."""
    return Refunds(await database.read(lambda tx: refunds_of(tx, order_id)))


@post(
    "/v1/orders/{order_id:uuid}/refunds",
    operation=Operation(
        name="refunds.make", permission=Permission.REFUNDS_WRITE, by=BY_ORDER, refusals=refusals(RefundRefused, REFUSED)
    ),
    summary="Refund shipping, part of a price, or goodwill",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(WantedRefund, RefundRequested),
)
async def post_refund(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """Money goes back though no unit does: at most what was charged and is not given back yet."""
    wanted = decode(await request.body(), WANTED)
    item = NewRefund(order_id=order_id, **{name: getattr(wanted, name) for name in WantedRefund.__struct_fields__})
    return await command_one(request, database, item, refund, RefundRefused, status=201, statuses=REFUSED)


@post(
    "/v1/refunds",
    operation=Operation(
        name="refunds.make_many",
        permission=Permission.REFUNDS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(RefundRefused, REFUSED),
    ),
    summary="Refund many orders",
    tags=["aftercare"],
    status_code=201,
    operation_class=described(REFUNDS, RefundRequested | RefundRefused),
)
async def post_refunds(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One refund or a list, each with its order_id."""
    return await command(request, database, REFUNDS, refund, RefundRefused, status=201, statuses=REFUSED)


refund_routes = [get_refunds, post_refund, post_refunds]
