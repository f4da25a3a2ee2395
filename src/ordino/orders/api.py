"""Orders over HTTP."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Struct

from ordino.catalog.scopes import BY_CHANNEL, SELLERS
from ordino.core.batcher import Batcher
from ordino.core.codes import ReasonCode
from ordino.core.database import Database
from ordino.core.errors import Invalid
from ordino.core.permissions import Permission
from ordino.core.times import read_cursor
from ordino.inventory.availability import Ask
from ordino.inventory.history import LAST
from ordino.inventory.model import LACKS_STOCK
from ordino.inventory.scopes import BY_SHORTFALL
from ordino.inventory.shortfalls import Closed, Closure, Erased, close, erase_note
from ordino.network.scopes import LOCATIONS
from ordino.orders import read
from ordino.orders.cancel import Cancellation, Cancelled, CancelRefused, LineCancellation, cancel
from ordino.orders.future import Future, future
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.notes import Note
from ordino.orders.place import place
from ordino.orders.read import OrderHead, OrderView, TimelineEntry
from ordino.orders.scopes import BY_ORDER
from ordino.orders.shortfalls import ShortfallView, Within, shortfalls_before
from ordino.orders.why import DecisionView, WhyNot, decisions, why_not
from ordino.web import scopes
from ordino.web.answers import answer_once, command, command_one
from ordino.web.bodies import JSON, Batch, Body, apart, decode, encode
from ordino.web.bulk import Limit, PathCode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.problems import as_error
from ordino.web.routes import delete, get, post

Placer = Batcher[NewOrder, Placed | OrderRefused]
ORDERS = Body("orders", NewOrder, most=5000)
CANCELLATIONS = Body("cancellations", Cancellation)
REFUSED = {
    **LACKS_STOCK,
    "repeated_with_changes": 409,
    "unknown_order": 404,
    "too_late": 409,
    "too_many": 409,
}


class WholeCancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to cancel of the order in the URL: units of ``lines``, or ``all`` that can still be cancelled."""

    lines: list[LineCancellation] | None = None
    all: bool = False
    reason: ReasonCode = "customer_request"
    note: Note | None = None


CANCELLATION = msgspec.json.Decoder(WholeCancellation)


class OrderPage(Struct, frozen=True):
    """Newest first; ``next`` is the ``after`` of the page that follows, if there may be one."""

    orders: list[OrderHead]
    next: str | None


class Shortfalls(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    shortfalls: list[ShortfallView]
    next: UUID | None


CLOSURE = msgspec.json.Decoder(Closure)


class Timeline(Struct, frozen=True):
    """Everything that happened to an order, oldest first."""

    events: list[TimelineEntry]


class Decisions(Struct, frozen=True):
    """Every sourcing decision about an order, oldest first."""

    decisions: list[DecisionView]


@post(
    "/v1/orders",
    operation=Operation(
        name="orders.place",
        permission=Permission.ORDERS_WRITE,
        by=BY_CHANNEL,
        items=True,
        refusals=refusals(OrderRefused, REFUSED),
    ),
    summary="Place orders",
    tags=["orders"],
    operation_class=described(ORDERS, Placed | OrderRefused),
)
async def post_orders(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One order, a list, or `{"orders": [...]}`. `(channel, external_id)` makes it safe to send again, without a key, too."""
    if "idempotency-key" in request.headers or scopes.narrowed():
        return await command(request, database, ORDERS, place, OrderRefused, status=_status, statuses=REFUSED)
    status, body = await answer_orders(request.app.state.placer, await request.body())
    return Response(body, status_code=status, media_type=JSON)


def _status(outcome: Any) -> int:
    return 201 if isinstance(outcome, Placed) and not outcome.repeated else 200


async def answer_orders(placer: Placer, body: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer. A refusal of a single order is raised; in a list it is a value."""
    orders, alone = await apart(ORDERS.decode, body)
    if not alone:
        return 200, encode(Batch(await asyncio.gather(*(placer.submit(order) for order in orders))))
    outcome = await placer.submit(orders[0])
    if isinstance(outcome, OrderRefused):
        raise as_error(outcome, REFUSED)
    return _status(outcome), encode(outcome)


@get(
    "/v1/orders",
    operation=Operation(
        name="orders.list", permission=Permission.ORDERS_READ, by=BY_ORDER, filters=SELLERS, refusals=NOT_FOUND
    ),
    summary="List orders",
    tags=["orders"],
)
async def list_orders(
    database: NamedDependency[Database],
    status: FromQuery[str | None] = None,
    channel: FromQuery[str | None] = None,
    external_id: FromQuery[str | None] = None,
    after: Annotated[str | None, QueryParameter(description="The `next` of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> OrderPage:
    """Newest first, page by page: all, or those in a `status` or of a `channel`. With `external_id`, the one that the channel knows
    under its own id.
    """
    if external_id is not None:
        if channel is None:
            raise Invalid("An external_id is a channel's own; name the channel, too.")
        order_id = await database.read(lambda tx: read.order_id_of(tx, channel, external_id, sellers=scopes.sellers()))
        order = await database.read(lambda tx: read.order(tx, order_id))
        head = OrderHead(**{name: getattr(order, name) for name in OrderHead.__struct_fields__})
        return OrderPage([head], None)
    cursor = None if after is None else read_cursor(after)
    heads = await database.read(
        lambda tx: read.orders(tx, status=status, channel=channel, after=cursor, limit=limit, sellers=scopes.sellers())
    )
    last = heads[-1] if len(heads) == limit else None
    return OrderPage(list(heads), f"{last.placed_at:%Y-%m-%dT%H:%M:%S.%fZ}~{last.order_id}" if last else None)


@get(
    "/v1/orders/{order_id:uuid}",
    operation=Operation(
        name="orders.get", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="One order",
    tags=["orders"],
)
async def get_order(database: NamedDependency[Database], order_id: FromPath[UUID]) -> OrderView:
    """With the states of its units, where they are to come from, and its payment."""
    return await database.read(lambda tx: read.order(tx, order_id))


@get(
    "/v1/orders/{order_id:uuid}/timeline",
    operation=Operation(name="orders.timeline", permission=Permission.ORDERS_READ, by=BY_ORDER, refusals=NOT_FOUND),
    summary="The timeline of an order",
    tags=["orders"],
)
async def get_timeline(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Timeline:
    """Oldest first."""
    return Timeline(await database.read(lambda tx: read.timeline(tx, order_id)))


@get(
    "/v1/orders/{order_id:uuid}/sourcing",
    operation=Operation(name="orders.decisions", permission=Permission.ORDERS_READ, by=BY_ORDER, refusals=NOT_FOUND),
    summary="Why units come from where they come from",
    tags=["orders"],
)
async def get_sourcing(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Decisions:
    """Every decision with its costs, the candidates that lost, the fences that stopped others, and a sentence that says so."""
    return Decisions(await database.read(lambda tx: decisions(tx, order_id)))


@get(
    "/v1/orders/{order_id:uuid}/sourcing/why_not/{location:str}",
    operation=Operation(name="orders.why_not", permission=Permission.ORDERS_READ, by=BY_ORDER, refusals=NOT_FOUND),
    summary="Why units do not come from other locations",
    tags=["orders"],
)
async def get_why_not(database: NamedDependency[Database], order_id: FromPath[UUID], location: PathCode) -> WhyNot:
    """What kept the last decision from a location: no stock, a fence, or its cost."""
    return await database.read(lambda tx: why_not(tx, order_id, location))


@post(
    "/v1/orders/{order_id:uuid}/cancellation",
    operation=Operation(
        name="orders.cancel", permission=Permission.ORDERS_WRITE, by=BY_ORDER, refusals=refusals(CancelRefused, REFUSED)
    ),
    summary="Cancel an order, lines or units",
    tags=["orders"],
    status_code=200,
    operation_class=described(WholeCancellation, Cancelled),
)
async def post_cancellation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """Units of `lines`, or with `"all": true` everything. What the warehouse has is asked of it; it answers with an event."""
    wish = decode(await request.body() or b"{}", CANCELLATION)
    cancellation = Cancellation(order_id=order_id, lines=wish.lines, all=wish.all, reason=wish.reason, note=wish.note)
    return await command_one(request, database, cancellation, cancel, CancelRefused, statuses=REFUSED)


@post(
    "/v1/cancellations",
    operation=Operation(
        name="orders.cancel_many",
        permission=Permission.ORDERS_WRITE,
        by=BY_ORDER,
        items=True,
        refusals=refusals(CancelRefused, REFUSED),
    ),
    summary="Cancel many orders",
    tags=["orders"],
    status_code=200,
    operation_class=described(CANCELLATIONS, Cancelled | CancelRefused),
)
async def post_cancellations(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One cancellation or a list, each with its order_id, and `lines` or `"all": true`."""
    return await command(request, database, CANCELLATIONS, cancel, CancelRefused, statuses=REFUSED)


@get(
    "/v1/shortfalls",
    operation=Operation(
        name="shortfalls.list", permission=Permission.STOCK_READ, by=BY_SHORTFALL, filters=LOCATIONS, personal=True
    ),
    summary="Shortfalls: units that were promised and are missing",
    tags=["inventory"],
)
async def get_shortfalls(
    database: NamedDependency[Database],
    before: FromQuery[UUID] = LAST,
    limit: Limit = 100,
    all: FromQuery[bool] = False,
) -> Shortfalls:
    """Newest first, with the orders at risk; those that are still open, or all."""
    within = Within(locations=scopes.locations(), sellers=scopes.sellers())
    found = await database.read(lambda tx: shortfalls_before(tx, before, limit, all=all, within=within))
    return Shortfalls(found, found[-1].shortfall_id if len(found) == limit else None)


@post(
    "/v1/shortfalls/{shortfall_id:uuid}/closure",
    operation=Operation(
        name="shortfalls.close",
        permission=Permission.STOCK_WRITE,
        by=BY_SHORTFALL,
        refusals={"not_found": 404, "conflict": 409},
    ),
    summary="Close a shortfall",
    tags=["inventory"],
    status_code=200,
    operation_class=described(Closure, Closed),
)
async def post_closure(
    request: Request[Any, Any, Any], database: NamedDependency[Database], shortfall_id: FromPath[UUID]
) -> Response[bytes]:
    """With a reason, and a note if there is more to say. A later count that finds them does the same."""
    said = decode(await request.body(), CLOSURE)
    return await answer_once(
        request, database, lambda tx: close(tx, shortfall_id, said, at=database.clock.now()), sent=said
    )


@delete(
    "/v1/shortfalls/{shortfall_id:uuid}/note",
    operation=Operation(
        name="shortfalls.erase_note", permission=Permission.STOCK_WRITE, by=BY_SHORTFALL, refusals=NOT_FOUND
    ),
    summary="Erase what was written about a shortfall",
    tags=["inventory"],
    status_code=200,
    operation_class=described(None, Erased),
)
async def delete_shortfall_note(
    request: Request[Any, Any, Any], database: NamedDependency[Database], shortfall_id: FromPath[UUID]
) -> Response[bytes]:
    """For good. The shortfall, its units and its events stay as they are."""
    return await answer_once(request, database, lambda tx: erase_note(tx, shortfall_id))


@get(
    "/v1/availability/{sku:str}/future",
    operation=Operation(
        name="availability.future", permission=Permission.STOCK_READ, by=BY_CHANNEL, refusals=NOT_FOUND
    ),
    summary="Future availability of a SKU",
    tags=["inventory"],
)
async def get_future(
    database: NamedDependency[Database],
    sku: PathCode,
    channel: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
    until: FromQuery[datetime | None] = None,
) -> Future:
    """What is available now, and from each date on at which something comes; who waits already is served first."""
    at = database.clock.now()
    return await database.read(lambda tx: future(tx, Ask(sku, channel, network), at=at, until=until))


routes = [
    get_future,
    get_shortfalls,
    post_closure,
    delete_shortfall_note,
    post_orders,
    list_orders,
    get_order,
    get_timeline,
    get_sourcing,
    get_why_not,
    post_cancellation,
    post_cancellations,
]
