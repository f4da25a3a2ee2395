"""The table of operations over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request
from msgspec import Struct

from ordino.core.permissions import MEANING, ROLES, Permission
from ordino.web.operations import Operation, OperationView, Table
from ordino.web.routes import get
from ordino.web.scopes import NOBODY


class PermissionView(Struct, frozen=True, kw_only=True):
    """One permission, what it allows, and the roles that have it."""

    permission: Permission
    meaning: str
    roles: list[str]


class Operations(Struct, frozen=True, kw_only=True):
    """Every operation by its path, and every permission."""

    operations: list[OperationView]
    permissions: list[PermissionView]


def permissions() -> list[PermissionView]:
    """Every permission, in the order in which they are declared."""
    return [
        PermissionView(
            permission=permission,
            meaning=MEANING[permission],
            roles=[str(role) for role, granted in ROLES.items() if permission in granted],
        )
        for permission in Permission
    ]


@get(
    "/v1/operations",
    operation=Operation(name="operations.list", permission=None, by=NOBODY),
    summary="List the operations of the API",
    tags=["keys"],
)
async def get_operations(request: Request[Any, Any, Any]) -> Operations:
    """Each operation with the permissions that a key needs for it, what narrowed keys are held to, and its refusals. Any key may
    ask.
    """
    table: Table = request.app.state.operations
    return Operations(operations=table.views, permissions=permissions())


operation_routes = [get_operations]
