"""Buffers, channel allocations and low-stock levels over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency

from ordino.core.database import Database
from ordino.core.permissions import Permission
from ordino.inventory.rules import (
    Allocation,
    Buffer,
    Dropped,
    LowStock,
    RuleKind,
    drop,
    rules_after,
    rules_by_code,
    upsert_allocations,
    upsert_buffers,
    upsert_low_stock,
)
from ordino.web import bulk
from ordino.web.answers import answer_once
from ordino.web.bulk import Kind, PathCode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete


def _routes(kind: Kind[Any], of: RuleKind, *, note: str) -> list[Any]:
    async def remove(
        request: Request[Any, Any, Any], database: NamedDependency[Database], code: PathCode
    ) -> Response[bytes]:
        """It holds no longer."""
        return await answer_once(request, database, lambda tx: drop(tx, of, code))

    return [
        *bulk.routes(
            kind,
            "inventory",
            note=note,
            reads=Permission.STOCK_READ,
            writes=Permission.STOCK_WRITE,
            by_code=partial(rules_by_code, kind.type),
            after_code=partial(rules_after, kind.type),
        ),
        delete(
            f"/v1/{kind.name}/{{code:str}}",
            operation=Operation(name=f"{kind.name}.delete", permission=Permission.STOCK_WRITE, refusals=NOT_FOUND),
            summary=f"Delete one of the {kind.title}",
            tags=["inventory"],
            status_code=200,
            operation_class=described(None, Dropped),
        )(remove),
    ]


routes: list[Any] = [
    *_routes(
        Kind("buffers", Buffer, upsert_buffers),
        RuleKind.BUFFER,
        note="Each by its code. Of the buffers that fit a position, the one about the most special thing holds.",
    ),
    *_routes(
        Kind("channel_allocations", Allocation, upsert_allocations),
        RuleKind.ALLOCATION,
        note="Each by its code. What is kept for a channel, the others may not have.",
    ),
    *_routes(
        Kind("low_stock_levels", LowStock, upsert_low_stock),
        RuleKind.LOW_STOCK,
        note="Each by its code. At or below it, a SKU is low in a network, and the event `stock_low` says so.",
    ),
]
