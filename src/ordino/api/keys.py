"""API keys over HTTP. A key makes and revokes none that can do more than itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct, structs

from ordino.catalog import read as catalog
from ordino.core import keys
from ordino.core.database import Database, Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.keys import ApiKey, NewKey
from ordino.core.permissions import Permission
from ordino.network import read as network
from ordino.web.answers import answer_once
from ordino.web.bodies import JSON, decode, encode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post
from ordino.web.scopes import BEARER, said

NEW_KEY = msgspec.json.Decoder(NewKey)


class Keys(Struct, frozen=True, kw_only=True):
    """Newest first."""

    keys: list[ApiKey]


class MadeKey(Struct, frozen=True, kw_only=True):
    """The key, and its token, which is shown this once; None where a request was repeated."""

    key: ApiKey
    token: str | None


class Revoked(Struct, frozen=True, kw_only=True):
    """The key is refused from the next request on. ``jobs`` is how many jobs that it had started end."""

    key_id: UUID
    jobs: int


async def make(tx: Tx, wanted: NewKey, *, at: Any) -> MadeKey:
    """A key for sellers and locations that exist. Raises ``Invalid``."""
    for name, codes, look in (
        ("sellers", wanted.sellers, catalog.sellers),
        ("locations", wanted.locations, network.locations),
    ):
        there = {one.code for one in await look(tx, codes)} if codes else set()
        if missing := set(codes or ()) - there:
            detail = f"There is no {name[:-1]} {said(missing)}; a key is narrowed to what exists."
            raise Invalid(detail, faults=[Fault(f"/{name}", detail)])
    key_id, token = await keys.make_key(tx, wanted, at=at)
    return MadeKey(key=await keys.key_of(tx, key_id), token=token)


@get(
    "/v1/keys",
    operation=Operation(name="keys.list", permission=Permission.KEYS_MANAGE),
    summary="API keys, newest first",
    tags=["keys"],
)
async def get_keys(database: NamedDependency[Database]) -> Keys:
    """What each may do, what it is narrowed to, until when it is good, and when it was last used."""
    return Keys(keys=await database.read(keys.keys))


@post(
    "/v1/keys",
    operation=Operation(name="keys.make", permission=Permission.KEYS_MANAGE),
    summary="Make an API key",
    tags=["keys"],
    status_code=201,
    operation_class=described(NewKey, MadeKey),
)
async def post_key(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """With roles, permissions or both, of which the key that asks has all. The token is shown once: it is kept as its hash only,
    and a repeat with the same `Idempotency-Key` is answered without it.
    """
    wanted = decode(await request.body(), NEW_KEY)
    bearer = BEARER.get()
    made: list[MadeKey] = []

    async def run(tx: Tx) -> MadeKey:
        if bearer is not None:
            keys.refuse_more(bearer, wanted)
        made[:] = [await make(tx, wanted, at=database.clock.now())]
        return structs.replace(made[0], token=None)  # this is what is kept for a repeat

    kept = await answer_once(request, database, run, status=201, sent=wanted)
    if made and str(made[0].key.key_id).encode() in kept.content:
        return Response(encode(made[0]), status_code=201, media_type=JSON)
    return kept  # of the request that this one repeats


@post(
    "/v1/keys/{key_id:uuid}/revocation",
    operation=Operation(
        name="keys.revoke", permission=Permission.KEYS_MANAGE, refusals={**NOT_FOUND, "forbidden": 403, "conflict": 409}
    ),
    summary="Revoke an API key",
    tags=["keys"],
    status_code=200,
    operation_class=described(None, Revoked),
)
async def post_revocation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], key_id: FromPath[UUID]
) -> Response[bytes]:
    """It is refused from the next request on, and stays on record. Jobs that it has started end: those that run before their next
    rows, others before they begin.
    """
    bearer = BEARER.get()

    async def run(tx: Tx) -> Revoked:
        ended = await keys.revoke(tx, key_id, at=database.clock.now(), by=bearer)
        return Revoked(key_id=key_id, jobs=ended)

    return await answer_once(request, database, run)


key_routes = [get_keys, post_key, post_revocation]
