"""A SKU's stock now and before, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from ordino.core.database import Database
from ordino.inventory import history
from ordino.inventory.history import Moves, StockView, StoodView
from ordino.web.bulk import Limit, PathCode


@get("/v1/stock/{sku:str}", summary="A SKU's stock, location by location", tags=["inventory"])
async def get_stock(database: NamedDependency[Database], sku: PathCode) -> StockView:
    """On hand, reserved, held for carts, picked, set aside and to come."""
    return await database.read(lambda tx: history.stock_of(tx, sku, at=database.clock.now()))


@get("/v1/stock/{sku:str}/history", summary="A SKU's stock as it stood", tags=["inventory"])
async def get_history(
    database: NamedDependency[Database],
    sku: PathCode,
    at: FromQuery[datetime],
    location: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
) -> StoodView:
    """At any time, recomputed from the moves; with a network, what could have been promised in it."""
    return await database.read(lambda tx: history.stood_at(tx, sku, at, location=location, network=network))


@get("/v1/stock/{sku:str}/moves", summary="Every move of a SKU", tags=["inventory"])
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
