"""A SKU's stock now and before, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from litestar.di import NamedDependency
from litestar.params import FromQuery

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory import history
from ordino.inventory.history import Moves, StockView, StoodView
from ordino.network.scopes import BY_LOCATION, LOCATIONS
from ordino.web import scopes
from ordino.web.bulk import Limit, PathCode
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get


@get(
    "/v1/stock/{sku:str}",
    operation=Operation(
        name="stock.get", permission=Permission.STOCK_READ, by=BY_LOCATION, filters=LOCATIONS, refusals=NOT_FOUND
    ),
    summary="A SKU's stock, location by location",
    tags=["inventory"],
)
async def get_stock(database: NamedDependency[Database], sku: PathCode) -> StockView:
    """On hand, reserved, held for carts, picked, set aside and to come."""
    found = await database.read(lambda tx: history.stock_of(tx, sku, at=database.clock.now()))
    if (shown := scopes.locations()) is None:
        return found
    return StockView(found.sku, [one for one in found.positions if one.location in shown])


@get(
    "/v1/stock/{sku:str}/history",
    operation=Operation(name="stock.history", permission=Permission.STOCK_READ, by=BY_LOCATION, refusals=NOT_FOUND),
    summary="A SKU's stock at a time in the past",
    tags=["inventory"],
)
async def get_history(
    database: NamedDependency[Database],
    sku: PathCode,
    at: FromQuery[datetime],
    location: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
) -> StoodView:
    """At any time, recomputed from the moves; with a network, what could have been promised in it."""
    return await database.read(lambda tx: history.stood_at(tx, sku, at, location=location, network=network))


@get(
    "/v1/stock/{sku:str}/moves",
    operation=Operation(name="stock.moves", permission=Permission.STOCK_READ, by=BY_LOCATION, refusals=NOT_FOUND),
    summary="Every stock movement of a SKU",
    tags=["inventory"],
)
async def get_moves(
    database: NamedDependency[Database],
    sku: PathCode,
    before: FromQuery[str | None] = None,
    location: FromQuery[str | None] = None,
    limit: Limit = 100,
) -> Moves:
    """Newest first, with who, why and the document or order behind it."""
    return await database.read(lambda tx: history.moves_before(tx, sku, before, limit, location=location))


routes: list[Any] = [get_stock, get_history, get_moves]
