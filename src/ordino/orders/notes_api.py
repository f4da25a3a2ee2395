"""What people have written about orders, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.orders import notes
from ordino.orders.notes import NoteView
from ordino.orders.scopes import BY_ORDER
from ordino.web.answers import answer_once
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete, get


class Notes(Struct, frozen=True):
    """Oldest first."""

    notes: list[NoteView]


@get(
    "/v1/orders/{order_id:uuid}/notes",
    operation=Operation(
        name="orders.notes", permission=Permission.ORDERS_READ, by=BY_ORDER, personal=True, refusals=NOT_FOUND
    ),
    summary="Notes about an order",
    tags=["orders"],
)
async def get_notes(database: NamedDependency[Database], order_id: FromPath[UUID]) -> Notes:
    """Notes on cancellations, exceptions, refunds and returns, and the customer's comment, oldest first."""
    return Notes(await database.read(lambda tx: notes.notes_of(tx, order_id)))


@delete(
    "/v1/orders/{order_id:uuid}/notes",
    operation=Operation(name="orders.erase_notes", permission=Permission.ORDERS_WRITE, by=BY_ORDER, refusals=NOT_FOUND),
    summary="Erase the notes about an order",
    tags=["orders"],
    status_code=200,
)
async def delete_notes(
    request: Request[Any, Any, Any], database: NamedDependency[Database], order_id: FromPath[UUID]
) -> Response[bytes]:
    """For good. The order, its money and its events stay as they are."""
    return await answer_once(request, database, lambda tx: notes.erase(tx, order_id, at=database.clock.now()))


routes = [get_notes, delete_notes]
