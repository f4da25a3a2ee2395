"""The warehouse over HTTP. Each kind of work on one fulfillment order is a noun under it; lists go to the noun alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct, structs

from ordino.catalog.scopes import SELLERS
from ordino.core.database import Database, Tx
from ordino.core.permissions import Permission
from ordino.core.times import read_cursor
from ordino.network.scopes import BY_LOCATION, LOCATIONS
from ordino.orders.scopes import BY_ORDER, BY_ORDER_AT
from ordino.warehouse import read
from ordino.warehouse.model import (
    Pack,
    Packed,
    PackWork,
    Pick,
    Picked,
    PickWork,
    Rejected,
    Rejection,
    RejectWork,
    Released,
    Ship,
    Shipped,
    ShipWork,
    Status,
    WorkRefused,
)
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.read import FulfillmentOrderView, WorkItem
from ordino.warehouse.reasons import ShortReason, short_reasons, upsert_short_reasons
from ordino.warehouse.reject import reject
from ordino.warehouse.release import release
from ordino.warehouse.scopes import BY_FULFILLMENT_ORDER
from ordino.warehouse.ship import ship
from ordino.web import bulk, scopes
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.bulk import Kind
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post
from ordino.web.scopes import NOBODY

Work = TypeVar("Work", bound=Struct)


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """An order whose allocations are to become firm."""

    order_id: UUID


RELEASES = Body("releases", Release)
PICKS = Body("picks", Pick)
REJECTIONS = Body("rejections", Rejection)
PACKS = Body("packs", Pack)
SHIPS = Body("shipments", Ship)
PICK_WORK = msgspec.json.Decoder(PickWork)
REJECT_WORK = msgspec.json.Decoder(RejectWork)
PACK_WORK = msgspec.json.Decoder(PackWork)
SHIP_WORK = msgspec.json.Decoder(ShipWork)
REFUSED = {
    "repeated": 409,
    "unknown": 404,
    "unknown_reason": 400,
    "done": 409,
    "too_many": 409,
    "tracking_number_taken": 409,
}


class WorkQueue(Struct, frozen=True):
    """Most urgent first; ``next`` is the ``after`` of the page that follows, if there may be one."""

    fulfillment_orders: list[WorkItem]
    next: str | None


class FulfillmentOrders(Struct, frozen=True):
    """Oldest first."""

    fulfillment_orders: list[FulfillmentOrderView]


class ShortReasons(Struct, frozen=True):
    short_reasons: list[ShortReason]


async def _release(tx: Tx, releases: Sequence[Release], *, at: datetime) -> list[Released | WorkRefused]:
    return await release(tx, [r.order_id for r in releases], at=at)


async def _work(request: Request[Any, Any, Any], decoder: msgspec.json.Decoder[Work]) -> dict[str, Any]:
    body = await request.body()
    return structs.asdict(decode(body if body.strip() else b"{}", decoder))


@get(
    "/v1/locations/{location:str}/fulfillment_orders",
    operation=Operation(
        name="fulfillment_orders.queue",
        permission=Permission.FULFILLMENT_READ,
        by=BY_LOCATION,
        filters=SELLERS,
        refusals=NOT_FOUND,
    ),
    summary="A location's work queue",
    tags=["warehouse"],
)
async def get_work_queue(
    database: NamedDependency[Database],
    location: FromPath[str],
    status: Annotated[Status | None, QueryParameter(description="Only those in this state.")] = None,
    after: Annotated[str | None, QueryParameter(description="The `next` of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> WorkQueue:
    """Fulfillment orders that are not finished, by their ship-by times."""
    cursor = None if after is None else read_cursor(after)
    items = await database.read(
        lambda tx: read.work_queue(tx, location, status=status, after=cursor, limit=limit, sellers=scopes.sellers())
    )
    last = items[-1] if len(items) == limit else None
    return WorkQueue(items, f"{last.cut_off_at.isoformat()}~{last.fulfillment_order_id}" if last else None)


@get(
    "/v1/short_reasons",
    operation=Operation(name="short_reasons.list", permission=Permission.NETWORK_READ, by=NOBODY),
    summary="Why units can be short",
    tags=["warehouse"],
)
async def get_short_reasons(database: NamedDependency[Database]) -> ShortReasons:
    """Each with what it says of the stock, and whether the units may come back to the location."""
    return ShortReasons(await database.read(short_reasons))


@get(
    "/v1/orders/{order_id:uuid}/fulfillment_orders",
    operation=Operation(
        name="fulfillment_orders.of_order",
        permission=Permission.FULFILLMENT_READ,
        by=BY_ORDER,
        filters=LOCATIONS,
        refusals=NOT_FOUND,
    ),
    summary="An order's fulfillment orders",
    tags=["warehouse"],
)
async def get_fulfillment_orders(database: NamedDependency[Database], order_id: FromPath[UUID]) -> FulfillmentOrders:
    """With lines, packages and shipments."""
    found = await database.read(lambda tx: read.fulfillment_orders(tx, order_id))
    shown = scopes.locations()
    return FulfillmentOrders([one for one in found if shown is None or one.location in shown])


@get(
    "/v1/orders/{order_id:uuid}/fulfillment_orders/{fulfillment_order_id:uuid}",
    operation=Operation(
        name="fulfillment_orders.get",
        permission=Permission.FULFILLMENT_READ,
        by=BY_FULFILLMENT_ORDER,
        refusals=NOT_FOUND,
    ),
    summary="One fulfillment order",
    tags=["warehouse"],
)
async def get_fulfillment_order(
    database: NamedDependency[Database], order_id: FromPath[UUID], fulfillment_order_id: FromPath[UUID]
) -> FulfillmentOrderView:
    """With lines, packages and shipments."""
    return (await database.read(lambda tx: read.fulfillment_orders(tx, order_id, fulfillment_order_id)))[0]


@post(
    "/v1/orders/{order_id:uuid}/fulfillment_orders",
    operation=Operation(
        name="orders.release",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_ORDER,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Release an order",
    tags=["warehouse"],
    status_code=200,
    operation_class=described(None, Released),
)
async def post_release(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """What is allocated and not released yet becomes work for its locations. Safe to repeat. Takes no body."""
    return await command_one(request, database, Release(order_id), _release, WorkRefused, statuses=REFUSED)


@post(
    "/v1/releases",
    operation=Operation(
        name="orders.release_many",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_ORDER,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Release many orders",
    tags=["warehouse"],
    status_code=200,
    operation_class=described(RELEASES, Released | WorkRefused),
)
async def post_releases(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One release or a list, each with its order_id."""
    return await command(request, database, RELEASES, _release, WorkRefused, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/fulfillment_orders/{fulfillment_order_id:uuid}/picks",
    operation=Operation(
        name="fulfillment_orders.pick",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Pick units, or report them short",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(PickWork, Picked),
)
async def post_pick(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    fulfillment_order_id: FromPath[UUID],
) -> Response[bytes]:
    """Those of `lines`, or `"all": true`: everything open was picked, or, with a `short_reason`, is short."""
    work = await _work(request, PICK_WORK)
    item = Pick(order_id=order_id, fulfillment_order_id=fulfillment_order_id, **work)
    return await command_one(request, database, item, pick, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/picks",
    operation=Operation(
        name="fulfillment_orders.pick_many",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Pick units of many fulfillment orders",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(PICKS, Picked | WorkRefused),
)
async def post_picks(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One pick or a list, each with its order_id, its fulfillment_order_id, and `lines` or `"all": true`."""
    return await command(request, database, PICKS, pick, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/rejections",
    operation=Operation(
        name="orders.reject",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_ORDER_AT,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Reject work at a location",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(RejectWork, Rejected),
)
async def post_rejection(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """What is open there of the order is sourced again; whether from the same location, the reason says."""
    item = Rejection(order_id=order_id, **await _work(request, REJECT_WORK))
    return await command_one(request, database, item, reject, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/rejections",
    operation=Operation(
        name="orders.reject_many",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_ORDER_AT,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Reject work of many orders",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(REJECTIONS, Rejected | WorkRefused),
)
async def post_rejections(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One rejection or a list, each with its order_id."""
    return await command(request, database, REJECTIONS, reject, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/fulfillment_orders/{fulfillment_order_id:uuid}/packages",
    operation=Operation(
        name="fulfillment_orders.pack",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Pack picked units",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(PackWork, Packed),
)
async def post_pack(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    fulfillment_order_id: FromPath[UUID],
) -> Response[bytes]:
    """Into `packages`; with `"all": true`, everything picked went into one."""
    work = await _work(request, PACK_WORK)
    item = Pack(order_id=order_id, fulfillment_order_id=fulfillment_order_id, **work)
    return await command_one(request, database, item, pack, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/packages",
    operation=Operation(
        name="fulfillment_orders.pack_many",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Pack units of many fulfillment orders",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(PACKS, Packed | WorkRefused),
)
async def post_packs(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One pack or a list, each with its order_id, its fulfillment_order_id, and `packages` or `"all": true`."""
    return await command(request, database, PACKS, pack, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/orders/{order_id:uuid}/fulfillment_orders/{fulfillment_order_id:uuid}/shipments",
    operation=Operation(
        name="fulfillment_orders.ship",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Ship packages",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(ShipWork, Shipped),
)
async def post_ship(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    order_id: FromPath[UUID],
    fulfillment_order_id: FromPath[UUID],
) -> Response[bytes]:
    """Under one tracking number: those of `package_ids`, or with `"all": true` all that wait."""
    work = await _work(request, SHIP_WORK)
    item = Ship(order_id=order_id, fulfillment_order_id=fulfillment_order_id, **work)
    return await command_one(request, database, item, ship, WorkRefused, status=201, statuses=REFUSED)


@post(
    "/v1/shipments",
    operation=Operation(
        name="fulfillment_orders.ship_many",
        permission=Permission.FULFILLMENT_WORK,
        by=BY_FULFILLMENT_ORDER,
        items=True,
        refusals=refusals(WorkRefused, REFUSED),
    ),
    summary="Ship packages of many fulfillment orders",
    tags=["warehouse"],
    status_code=201,
    operation_class=described(SHIPS, Shipped | WorkRefused),
)
async def post_ships(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One shipment or a list, each with its order_id, its fulfillment_order_id, and `package_ids` or `"all": true`."""
    return await command(request, database, SHIPS, ship, WorkRefused, status=201, statuses=REFUSED)


routes: list[Any] = [
    get_work_queue,
    get_short_reasons,
    *bulk.upserts(
        Kind("short_reasons", ShortReason, upsert_short_reasons),
        "warehouse",
        note="Each by its code: what it says of the stock, and whether the location is asked for the line again.",
        writes=Permission.NETWORK_WRITE,
    ),
    get_fulfillment_orders,
    get_fulfillment_order,
    post_release,
    post_releases,
    post_pick,
    post_picks,
    post_rejection,
    post_rejections,
    post_pack,
    post_packs,
    post_ship,
    post_ships,
]
