"""Flows over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid
from ordino.core.permissions import Permission
from ordino.flows import versions
from ordino.flows.versions import FlowHead, FlowView
from ordino.web.answers import answer_once
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post

LONGEST = 50_000  # reading YAML takes a second for some 60,000 characters


class Flows(Struct, frozen=True):
    """Every version, newest first."""

    flows: list[FlowHead]


class Drafted(Struct, frozen=True):
    """The version under which the document is kept."""

    version: int


class Activated(Struct, frozen=True):
    """New orders are placed under this version."""

    version: int


@get(
    "/v1/flows",
    operation=Operation(name="flows.list", permission=Permission.POLICIES_READ),
    summary="List the versions of the flow",
    tags=["flows"],
)
async def list_flows(database: NamedDependency[Database]) -> Flows:
    """Newest first."""
    return Flows(await database.read(versions.flows))


@get(
    "/v1/flows/{version:int}",
    operation=Operation(name="flows.get", permission=Permission.POLICIES_READ, refusals=NOT_FOUND),
    summary="One version of the flow",
    tags=["flows"],
)
async def get_flow(database: NamedDependency[Database], version: FromPath[int]) -> FlowView:
    """As it was written."""
    return await database.read(lambda tx: versions.flow(tx, version))


@post(
    "/v1/flows",
    operation=Operation(name="flows.draft", permission=Permission.POLICIES_WRITE),
    summary="Draft a flow",
    tags=["flows"],
    operation_class=described(str, Drafted, media_type="application/yaml"),
)
async def post_flow(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """The body is the YAML document. It is checked, with the line of every fault, and kept under a new version."""
    body = await request.body()
    try:
        document = body.decode()
    except UnicodeDecodeError as error:
        raise Invalid("A flow is YAML in UTF-8.") from error
    if len(document) > LONGEST or "\x00" in document:
        raise Invalid(f"A flow is YAML of at most {LONGEST} characters, without U+0000.")

    async def run(tx: Tx) -> Drafted:
        return Drafted(await versions.draft(tx, document, at=database.clock.now()))

    return await answer_once(request, database, run, status=201)


@post(
    "/v1/flows/{version:int}/activation",
    operation=Operation(name="flows.activate", permission=Permission.POLICIES_WRITE, refusals=NOT_FOUND),
    summary="Activate a flow",
    tags=["flows"],
    status_code=200,
    operation_class=described(None, Activated),
)
async def post_activation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], version: FromPath[int]
) -> Response[bytes]:
    """Orders placed from now on follow it; orders placed before keep theirs. Activating an older version rolls back."""

    async def run(tx: Tx) -> Activated:
        await versions.activate(tx, version, at=database.clock.now())
        return Activated(version)

    return await answer_once(request, database, run)


routes = [list_flows, get_flow, post_flow, post_activation]
