"""Bins, lots and serial numbers over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromQuery

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory import bins, detail_view
from ordino.inventory.bins import Bin, BinMove, BinMoved, BinMoveRefused
from ordino.inventory.detail_view import DetailView, SerialView
from ordino.inventory.model import LACKS_STOCK
from ordino.network.scopes import BY_LOCATION
from ordino.web import bulk
from ordino.web.answers import command
from ordino.web.bodies import Body
from ordino.web.bulk import Kind, PathCode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post

BIN_MOVES = Body("bin_moves", BinMove)


@post(
    "/v1/bin_moves",
    operation=Operation(
        name="bins.move",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals={"unknown": 422, **LACKS_STOCK},
    ),
    summary="Move units to another bin",
    tags=["inventory"],
    status_code=201,
    operation_class=described(BIN_MOVES, BinMoved | BinMoveRefused),
)
async def post_bin_moves(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One move or a list. What arrives without a bin lies in `-` until it is put away."""
    return await command(request, database, BIN_MOVES, bins.move_bins, BinMoveRefused, status=201, statuses=LACKS_STOCK)


@get(
    "/v1/stock/{sku:str}/detail",
    operation=Operation(name="stock.detail", permission=Permission.STOCK_READ, by=BY_LOCATION, refusals=NOT_FOUND),
    summary="Bins, lots and serial numbers of a SKU",
    tags=["inventory"],
)
async def get_detail(
    database: NamedDependency[Database], sku: PathCode, location: FromQuery[str | None] = None
) -> DetailView:
    """Bins, lots with what is available of each (the first to expire are taken to be reserved first), serial numbers."""
    at = database.clock.now()
    return await database.read(lambda tx: detail_view.detail_view(tx, sku, location=location, at=at))


@get(
    "/v1/serials/{sku:str}/{serial:str}",
    operation=Operation(name="serials.get", permission=Permission.STOCK_READ, refusals=NOT_FOUND),
    summary="The history of a serial number",
    tags=["inventory"],
)
async def get_serial(database: NamedDependency[Database], sku: PathCode, serial: PathCode) -> SerialView:
    """Where it is, and all that happened to it."""
    return await database.read(lambda tx: detail_view.serial_view(tx, sku, serial))


routes: list[Any] = [
    *bulk.upserts(
        Kind("bins", Bin, bins.upsert_bins, by=BY_LOCATION),
        "inventory",
        note="Each by its location and code. The location says `bins` first.",
        writes=Permission.STOCK_WRITE,
    ),
    post_bin_moves,
    get_detail,
    get_serial,
]
