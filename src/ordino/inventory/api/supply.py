"""What is to come, what is on its way between locations, and what may not be sold, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, PathParameter
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory import incoming, transfers, unavailable
from ordino.inventory.adjust import StockRefused
from ordino.inventory.history import LAST
from ordino.inventory.incoming import Incoming, IncomingView, upsert_incoming
from ordino.inventory.model import LACKS_STOCK
from ordino.inventory.scopes import BY_DESTINATION, BY_ORIGIN, BY_TRANSFER
from ordino.inventory.transfers import (
    Arrival,
    ArrivalBody,
    NewTransfer,
    Shipment,
    ShipmentBody,
    TransferDone,
    TransferRefused,
    TransferView,
)
from ordino.inventory.unavailable import Aside, Condition, SetAside, restore, scrap, set_aside
from ordino.network.scopes import BY_LOCATION, LOCATIONS
from ordino.web import bulk, scopes
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.bulk import Kind, Limit
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post
from ordino.web.scopes import NOBODY

SET_ASIDES = Body("set_asides", SetAside)
RESTORATIONS = Body("restorations", SetAside)
SCRAPPINGS = Body("scrappings", SetAside)
TRANSFERS = Body("transfers", NewTransfer)
STATUSES = {**LACKS_STOCK, "unknown": 404, "too_late": 409, "too_many": 409, "too_few": 409}
_shipment, _arrival = msgspec.json.Decoder(ShipmentBody), msgspec.json.Decoder(ArrivalBody)


class Conditions(Struct, frozen=True):
    conditions: list[Condition]


class Announced(Struct, frozen=True):
    """What a document announced, by SKU and location."""

    incoming: list[IncomingView]


class TransferPage(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    transfers: list[TransferView]
    next: UUID | None


@get(
    "/v1/stock_conditions",
    operation=Operation(name="stock_conditions.list", permission=Permission.STOCK_READ, by=NOBODY),
    summary="Why units may not be sold",
    tags=["inventory"],
)
async def get_conditions(database: NamedDependency[Database]) -> Conditions:
    """The conditions in which units are set aside."""
    return Conditions(await database.read(unavailable.conditions))


@post(
    "/v1/set_asides",
    operation=Operation(
        name="stock.set_aside",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Set units aside",
    tags=["inventory"],
    status_code=201,
    operation_class=described(SET_ASIDES, Aside | StockRefused),
)
async def post_set_asides(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """Units that are there and may not be sold leave on hand for a condition. What orders hold is never taken away."""
    return await command(request, database, SET_ASIDES, set_aside, StockRefused, status=201, statuses=LACKS_STOCK)


@post(
    "/v1/restorations",
    operation=Operation(
        name="stock.restore",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Restore units that were set aside",
    tags=["inventory"],
    status_code=201,
    operation_class=described(RESTORATIONS, Aside | StockRefused),
)
async def post_restorations(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """They may be sold again; who waits for them gets them."""
    return await command(request, database, RESTORATIONS, restore, StockRefused, status=201, statuses=LACKS_STOCK)


@post(
    "/v1/scrappings",
    operation=Operation(
        name="stock.scrap",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Scrap units that were set aside",
    tags=["inventory"],
    status_code=201,
    operation_class=described(SCRAPPINGS, Aside | StockRefused),
)
async def post_scrappings(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """They leave for good."""
    return await command(request, database, SCRAPPINGS, scrap, StockRefused, status=201, statuses=LACKS_STOCK)


@get(
    "/v1/incoming/{document:str}",
    operation=Operation(
        name="incoming.get", permission=Permission.STOCK_READ, by=BY_LOCATION, filters=LOCATIONS, refusals=NOT_FOUND
    ),
    summary="Incoming units of a document",
    tags=["inventory"],
)
async def get_incoming(
    database: NamedDependency[Database], document: Annotated[str, PathParameter(pattern=r"^[^\x00]*$", max_length=200)]
) -> Announced:
    """And what of it has come."""
    within = scopes.locations()
    return Announced(await database.read(lambda tx: incoming.incoming_of(tx, document, within=within)))


@post(
    "/v1/transfers",
    operation=Operation(
        name="transfers.request",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION.under("origin", "destination"),
        items=True,
        refusals=refusals(TransferRefused, STATUSES),
    ),
    summary="Request a transfer between locations",
    tags=["inventory"],
    status_code=201,
    operation_class=described(TRANSFERS, TransferDone | TransferRefused),
)
async def post_transfers(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One transfer or a list. Its units are reserved at the origin until they are sent or it is cancelled."""
    return await command(
        request, database, TRANSFERS, transfers.request, TransferRefused, status=201, statuses=STATUSES
    )


@get(
    "/v1/transfers",
    operation=Operation(name="transfers.list", permission=Permission.STOCK_READ, by=BY_TRANSFER, filters=LOCATIONS),
    summary="Transfers, newest first",
    tags=["inventory"],
)
async def get_transfers(
    database: NamedDependency[Database],
    status: FromQuery[str | None] = None,
    before: FromQuery[UUID] = LAST,
    limit: Limit = 100,
) -> TransferPage:
    """Of one status, or all."""
    within = scopes.locations()
    found = await database.read(lambda tx: transfers.transfers_before(tx, before, limit, status=status, within=within))
    return TransferPage(found, found[-1].transfer_id if len(found) == limit else None)


@get(
    "/v1/transfers/{transfer_id:uuid}",
    operation=Operation(name="transfers.get", permission=Permission.STOCK_READ, by=BY_TRANSFER, refusals=NOT_FOUND),
    summary="One transfer",
    tags=["inventory"],
)
async def get_transfer(database: NamedDependency[Database], transfer_id: FromPath[UUID]) -> TransferView:
    """Where its units are, line by line."""
    return await database.read(lambda tx: transfers.transfer_of(tx, transfer_id))


@post(
    "/v1/transfers/{transfer_id:uuid}/shipment",
    operation=Operation(
        name="transfers.ship",
        permission=Permission.STOCK_WRITE,
        by=BY_ORIGIN,
        refusals=refusals(TransferRefused, STATUSES),
    ),
    summary="Ship units of a transfer",
    tags=["inventory"],
    status_code=200,
    operation_class=described(ShipmentBody, TransferDone),
)
async def post_shipment(
    request: Request[Any, Any, Any], database: NamedDependency[Database], transfer_id: FromPath[UUID]
) -> Response[bytes]:
    """Those of `lines`, or with `"all": true` everything that is left to send. From now on they are incoming at the destination."""
    said = decode(await request.body() or b"{}", _shipment)
    item = Shipment(transfer_id=transfer_id, lines=said.lines, all=said.all, expected_at=said.expected_at)
    return await command_one(request, database, item, transfers.ship, TransferRefused, statuses=STATUSES)


@post(
    "/v1/transfers/{transfer_id:uuid}/receipt",
    operation=Operation(
        name="transfers.receive",
        permission=Permission.STOCK_WRITE,
        by=BY_DESTINATION,
        refusals=refusals(TransferRefused, STATUSES),
    ),
    summary="Receive units of a transfer",
    tags=["inventory"],
    status_code=200,
    operation_class=described(ArrivalBody, TransferDone),
)
async def post_receipt(
    request: Request[Any, Any, Any], database: NamedDependency[Database], transfer_id: FromPath[UUID]
) -> Response[bytes]:
    """Those of `lines`, more or less than was sent, fine or damaged; or with `"all": true` everything that was sent. With `last`,
    what is still under way is lost.
    """
    said = decode(await request.body() or b"{}", _arrival)
    item = Arrival(transfer_id=transfer_id, lines=said.lines, all=said.all, last=said.last)
    return await command_one(request, database, item, transfers.receive, TransferRefused, statuses=STATUSES)


@post(
    "/v1/transfers/{transfer_id:uuid}/cancellation",
    operation=Operation(
        name="transfers.cancel",
        permission=Permission.STOCK_WRITE,
        by=BY_ORIGIN,
        refusals=refusals(TransferRefused, STATUSES),
    ),
    summary="Cancel units of a transfer that were not sent",
    tags=["inventory"],
    status_code=200,
    operation_class=described(None, TransferDone),
)
async def post_cancellation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], transfer_id: FromPath[UUID]
) -> Response[bytes]:
    """The units are free again where they are."""
    return await command_one(request, database, transfer_id, transfers.cancel, TransferRefused, statuses=STATUSES)


routes: list[Any] = [
    *bulk.upserts(
        Kind("incoming", Incoming, upsert_incoming, key="document", by=BY_LOCATION),
        "inventory",
        note="Each by its document, SKU and location. Receipts that name the document count towards it.",
        writes=Permission.STOCK_WRITE,
    ),
    get_incoming,
    get_conditions,
    post_set_asides,
    post_restorations,
    post_scrappings,
    post_transfers,
    get_transfers,
    get_transfer,
    post_shipment,
    post_receipt,
    post_cancellation,
]
