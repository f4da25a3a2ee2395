"""What changed, and what is scarce, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from ordino.catalog.scopes import BY_CHANNEL
from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory import signals
from ordino.inventory.signals import Changes, Scarce
from ordino.web.bulk import After, Limit, next_of
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get


class ScarcePage(Struct, frozen=True):
    """One page in order of codes; ``next`` is the ``after`` of the page that follows, if there may be one."""

    skus: list[Scarce]
    next: str | None


@get(
    "/v1/availability_changes",
    operation=Operation(
        name="availability.changes", permission=Permission.STOCK_READ, by=BY_CHANNEL, refusals=NOT_FOUND
    ),
    summary="SKUs that changed",
    tags=["inventory"],
)
async def get_changes(
    database: NamedDependency[Database],
    channel: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
    after: Annotated[int, QueryParameter(ge=0, le=2**62, description="The `next` of the answer before.")] = 0,
    limit: Limit = 100,
) -> Changes:
    """Each once, however often it changed, in the order of last changes, with what may be promised of it now. Ask again with
    `next` for what changes after this."""
    at = database.clock.now()
    return await database.read(
        lambda tx: signals.changes_after(tx, after, limit, channel=channel, network=network, at=at)
    )


@get(
    "/v1/scarce_skus",
    operation=Operation(name="skus.scarce", permission=Permission.STOCK_READ, refusals=NOT_FOUND),
    summary="SKUs that are low or out",
    tags=["inventory"],
)
async def get_scarce(
    database: NamedDependency[Database],
    network: FromQuery[str | None] = None,
    after: After = "",
    limit: Limit = 100,
) -> ScarcePage:
    """In a network, by its low-stock levels, a second old at most while a worker runs."""
    at = database.clock.now()
    found = await database.read(lambda tx: signals.scarce(tx, network, after, limit, at=at))
    return ScarcePage(found, next_of(found, limit, "sku"))


routes: list[Any] = [get_changes, get_scarce]
