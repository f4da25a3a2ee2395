"""Keys that are narrowed to sellers or locations: what a path or a query names must lie inside of that.

What lies outside is not there for those who read (404), and may not be changed (403); whether it exists is not told. Items of a
body are held to the same by ``web.answers.command``, one by one, and lists by their handlers.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from litestar import Request

from ordino.catalog import read as catalog
from ordino.core.database import Database, Tx
from ordino.core.errors import Forbidden, NotFound
from ordino.core.keys import Bearer
from ordino.network import read as network
from ordino.web.operations import Operation
from ordino.web.routes import operation_of
from ordino.web.scopes import Key, dimensions_of, inside, narrowed, refuse_wide, said


async def hold_to_scope(request: Request[Any, Any, Any]) -> None:
    """Raises ``Forbidden`` or ``NotFound`` if the request's key is narrowed and does not reach what it asks for."""
    bearer, operation = narrowed(), operation_of(request.route_handler)
    if bearer is None or operation is None:
        return
    refuse_wide(bearer, operation.by, operation.filters)
    database: Database = request.app.state.database
    await database.read(lambda tx: refuse_gone(tx, bearer))
    if operation.items or not operation.by.dimensions & dimensions_of(bearer):
        return
    keys = _named(request, operation)
    if not keys:
        if operation.by.dimensions & dimensions_of(bearer) <= operation.filters:
            return
        parameters = " and ".join(f"`{name}`" for name in operation.by.names)
        raise Forbidden(f"This key is narrowed: say in the query for which {operation.by.name} ({parameters}) you ask.")
    reached = await database.read(lambda tx: inside(tx, bearer, operation.by, keys))
    if all(reached):
        return
    if request.method == "GET":
        raise NotFound(operation.by.missing.format(*keys[reached.index(False)]))
    raise Forbidden(
        f"This key is narrowed, and does not reach this {operation.by.name}, if it exists. Use a key that does."
    )


def _named(request: Request[Any, Any, Any], operation: Operation) -> list[Key]:
    """The things that the path and the query name; none if they leave out what names one."""
    path = request.path_params
    values = [[path[name]] if name in path else request.query_params.getall(name, []) for name in operation.by.names]
    return list(product(*values)) if all(values) else []


async def refuse_gone(tx: Tx, bearer: Bearer) -> None:
    """Raises ``Forbidden`` if nothing is left of what the key is narrowed to."""
    for noun, codes, look in (
        ("seller", bearer.sellers, catalog.sellers),
        ("location", bearer.locations, network.locations),
    ):
        if codes is not None and not await look(tx, sorted(codes)):
            raise Forbidden(
                f"This key is narrowed to the {noun} {said(codes)}, which no longer exists. Make a key for one that does."
            )
