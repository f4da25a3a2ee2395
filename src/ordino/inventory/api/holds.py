"""Carts' holds over HTTP."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct

from ordino.catalog.scopes import BY_CHANNEL
from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory.holds import (
    MAX_LINES,
    Held,
    HoldChange,
    HoldLine,
    HoldRefused,
    HoldView,
    Minutes,
    NewHold,
    Released,
    change,
    hold,
    hold_of,
    holds_of,
    release,
)
from ordino.inventory.model import LACKS_STOCK
from ordino.inventory.scopes import BY_HOLD
from ordino.web.answers import command, command_one
from ordino.web.bodies import Body, decode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import delete, get, patch, post

HOLDS = Body("holds", NewHold)
STATUSES = {**LACKS_STOCK, "unknown_hold": 404, "ended": 409}


class HoldPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hold is to be from now on: its lines (all of them), its end in so many minutes from now, or both."""

    lines: Annotated[list[HoldLine], Meta(min_length=1, max_length=MAX_LINES)] | None = None
    minutes: Minutes | None = None


class Holds(Struct, frozen=True):
    """The hold that a cart has or had last, or none."""

    holds: list[HoldView]


_patch = msgspec.json.Decoder(HoldPatch)


@post(
    "/v1/holds",
    operation=Operation(
        name="holds.hold",
        permission=Permission.STOCK_HOLD,
        by=BY_CHANNEL,
        items=True,
        refusals=refusals(HoldRefused, STATUSES),
    ),
    summary="Hold units for a cart",
    tags=["inventory"],
    status_code=201,
    operation_class=described(HOLDS, Held | HoldRefused),
)
async def post_holds(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One hold or a list, each whole or not at all, for 15 minutes unless it says otherwise. Name `hold_id` in the order. The same
    `cart` held again keeps its hold with the new lines (200, `replaced`); if they do not fit, it stays as it was.
    """
    return await command(request, database, HOLDS, hold, HoldRefused, status=_status, statuses=STATUSES)


def _status(outcome: Any) -> int:
    return 200 if outcome.replaced else 201


@get(
    "/v1/holds",
    operation=Operation(name="holds.of_cart", permission=Permission.STOCK_READ, by=BY_CHANNEL, refusals=NOT_FOUND),
    summary="The hold of a cart",
    tags=["inventory"],
)
async def get_holds(
    database: NamedDependency[Database],
    channel: Annotated[str, QueryParameter(max_length=100)],
    cart: Annotated[str, QueryParameter(max_length=200)],
) -> Holds:
    """The one that the cart has, or what became of the last one that it had; empty if nothing was ever held for it."""
    at = database.clock.now()
    return Holds(await database.read(lambda tx: holds_of(tx, channel, cart, at=at)))


@get(
    "/v1/holds/{hold_id:uuid}",
    operation=Operation(name="holds.get", permission=Permission.STOCK_READ, by=BY_HOLD, refusals=NOT_FOUND),
    summary="One hold",
    tags=["inventory"],
)
async def get_hold(database: NamedDependency[Database], hold_id: FromPath[UUID]) -> HoldView:
    """What is held until when, and what became of it."""
    return await database.read(lambda tx: hold_of(tx, hold_id, at=database.clock.now()))


@patch(
    "/v1/holds/{hold_id:uuid}",
    operation=Operation(
        name="holds.change", permission=Permission.STOCK_HOLD, by=BY_HOLD, refusals=refusals(HoldRefused, STATUSES)
    ),
    summary="Change or extend a hold",
    tags=["inventory"],
    operation_class=described(HoldPatch, Held),
)
async def patch_hold(
    request: Request[Any, Any, Any], database: NamedDependency[Database], hold_id: FromPath[UUID]
) -> Response[bytes]:
    """What a cart wants more must be there; else nothing changes. `minutes` count from now."""
    wanted = decode(await request.body(), _patch)
    item = HoldChange(hold_id=hold_id, lines=wanted.lines, minutes=wanted.minutes)
    return await command_one(request, database, item, change, HoldRefused, statuses=STATUSES)


@delete(
    "/v1/holds/{hold_id:uuid}",
    operation=Operation(
        name="holds.release", permission=Permission.STOCK_HOLD, by=BY_HOLD, refusals=refusals(HoldRefused, STATUSES)
    ),
    summary="Release a hold",
    tags=["inventory"],
    status_code=200,
    operation_class=described(None, Released),
)
async def delete_hold(
    request: Request[Any, Any, Any], database: NamedDependency[Database], hold_id: FromPath[UUID]
) -> Response[bytes]:
    """The units are free again. To repeat it is safe."""
    return await command_one(request, database, hold_id, release, HoldRefused, statuses=STATUSES)


routes: list[Any] = [post_holds, get_holds, get_hold, patch_hold, delete_hold]
