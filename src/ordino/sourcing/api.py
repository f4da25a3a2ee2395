"""Routing profiles over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.permissions import Permission
from ordino.sourcing import versions
from ordino.sourcing.document import json_schema
from ordino.sourcing.versions import ProfileHead, ProfileView
from ordino.web.answers import answer_once
from ordino.web.bulk import PathCode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete, get, post, put
from ordino.web.scopes import NOBODY

YAML = "application/yaml"


class ProfileVersions(Struct, frozen=True):
    """Every version, newest first. ``etag`` changes whenever what is active does; so does the header."""

    profiles: list[ProfileHead]
    etag: str


class ProfileDrafted(Struct, frozen=True):
    """The version under which the document is kept."""

    version: int


class Validated(Struct, frozen=True):
    """``faults`` is empty if the document could be drafted."""

    name: str | None
    faults: list[Fault]


class ProfileActivated(Struct, frozen=True):
    """Orders are decided by this version from now on."""

    version: int


class ProfileRetired(Struct, frozen=True):
    """This version no longer decides."""

    version: int


class Shadowing(Struct, frozen=True):
    """Whether the version decides beside the active ones, changing nothing."""

    version: int
    shadow: bool


@get(
    "/v1/sourcing/profiles",
    operation=Operation(name="profiles.list", permission=Permission.POLICIES_READ),
    summary="List the versions of the routing profiles",
    tags=["sourcing"],
)
async def list_profiles(database: NamedDependency[Database]) -> Response[ProfileVersions]:
    """Newest first."""
    found = await database.read(_listed)
    return Response(found, headers={"ETag": found.etag})


async def _listed(tx: Tx) -> ProfileVersions:
    return ProfileVersions(await versions.heads(tx), await versions.etag(tx))


@get(
    "/v1/sourcing/profiles/schema",
    operation=Operation(name="profiles.schema", permission=Permission.POLICIES_READ, by=NOBODY),
    summary="The JSON Schema of a routing profile",
    tags=["sourcing"],
)
async def get_schema() -> dict[str, Any]:
    """As JSON Schema 2020-12."""
    return json_schema()


@get(
    "/v1/sourcing/profiles/{version:int}",
    operation=Operation(name="profiles.get", permission=Permission.POLICIES_READ, refusals=NOT_FOUND),
    summary="One version of a routing profile",
    tags=["sourcing"],
)
async def get_profile(database: NamedDependency[Database], version: FromPath[int]) -> ProfileView:
    """As it was written; 0 is the one that comes with Ordino."""
    return await database.read(lambda tx: versions.profile(tx, version))


async def _document(request: Request[Any, Any, Any]) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise Invalid("A profile is YAML or JSON in UTF-8.") from error


@post(
    "/v1/sourcing/profiles",
    operation=Operation(name="profiles.draft", permission=Permission.POLICIES_WRITE),
    summary="Draft a routing profile",
    tags=["sourcing"],
    operation_class=described(str, ProfileDrafted, media_type=YAML),
)
async def post_profile(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """The body is the document, YAML or JSON. It is checked, with the line of every fault, and kept under a new version."""
    document = await _document(request)

    async def run(tx: Tx) -> ProfileDrafted:
        return ProfileDrafted(await versions.draft(tx, document, at=database.clock.now()))

    return await answer_once(request, database, run, status=201)


@post(
    "/v1/sourcing/profiles/validation",
    operation=Operation(name="profiles.validate", permission=Permission.POLICIES_WRITE, asks=True),
    summary="Check a routing profile",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(str, Validated, media_type=YAML),
)
async def post_validation(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Validated:
    """Nothing is kept."""
    document = await _document(request)
    try:
        profile = await database.read(lambda tx: versions.check(tx, document))
    except Invalid as error:
        return Validated(None, list(error.faults) or [Fault("", str(error))])
    return Validated(profile.name, [])


@post(
    "/v1/sourcing/profiles/{version:int}/activation",
    operation=Operation(
        name="profiles.activate", permission=Permission.POLICIES_WRITE, refusals={"not_found": 404, "conflict": 409}
    ),
    summary="Activate a routing profile",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(None, ProfileActivated),
)
async def post_profile_activation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], version: FromPath[int]
) -> Response[bytes]:
    """In place of the active version of its name; an older version rolls back. `If-Match` with the list's ETag makes sure that
    nobody has activated anything since it was read.
    """
    if_match = request.headers.get("if-match")

    async def run(tx: Tx) -> ProfileActivated:
        await versions.activate(tx, version, at=database.clock.now(), if_match=if_match)
        return ProfileActivated(version)

    return await answer_once(request, database, run, sent=None if if_match is None else [if_match])


@post(
    "/v1/sourcing/profiles/{name:str}/retirement",
    operation=Operation(name="profiles.retire", permission=Permission.POLICIES_WRITE, refusals=NOT_FOUND),
    summary="Retire a routing profile",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(None, ProfileRetired),
)
async def post_retirement(
    request: Request[Any, Any, Any], database: NamedDependency[Database], name: PathCode
) -> Response[bytes]:
    """Less specific profiles decide in its place, and in the end the one that comes with Ordino."""

    async def run(tx: Tx) -> ProfileRetired:
        return ProfileRetired(await versions.retire(tx, name))

    return await answer_once(request, database, run)


@put(
    "/v1/sourcing/profiles/{version:int}/shadow",
    operation=Operation(
        name="profiles.shadow",
        permission=Permission.POLICIES_WRITE,
        refusals={"not_found": 404, "too_many_shadows": 409},
    ),
    summary="Try a routing profile on live orders",
    tags=["sourcing"],
    operation_class=described(None, Shadowing),
)
async def put_shadow(
    request: Request[Any, Any, Any], database: NamedDependency[Database], version: FromPath[int]
) -> Response[bytes]:
    """It decides beside the active ones and changes nothing; GET /v1/sourcing/profiles/{version}/report compares the two."""
    return await answer_once(request, database, lambda tx: _shadow(tx, version, True))


@delete(
    "/v1/sourcing/profiles/{version:int}/shadow",
    operation=Operation(name="profiles.end_shadow", permission=Permission.POLICIES_WRITE, refusals=NOT_FOUND),
    summary="End a trial",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(None, Shadowing),
)
async def delete_shadow(
    request: Request[Any, Any, Any], database: NamedDependency[Database], version: FromPath[int]
) -> Response[bytes]:
    """Its report stays."""
    return await answer_once(request, database, lambda tx: _shadow(tx, version, False))


async def _shadow(tx: Tx, version: int, on: bool) -> Shadowing:
    await versions.shadow(tx, version, on=on)
    return Shadowing(version, on)


routes: list[Any] = [
    list_profiles,
    get_schema,
    get_profile,
    post_profile,
    post_validation,
    post_profile_activation,
    post_retirement,
    put_shadow,
    delete_shadow,
]
