"""Which calls to the world outside workers take, what waits for one, and which accounts are paused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from msgspec import Struct

from ordino.core import accounts
from ordino.core.accounts import PausedAccount
from ordino.core.database import Database, Tx
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.core.statements import statements
from ordino.core.taken import gone_since
from ordino.web.answers import answer_once
from ordino.web.bodies import decode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post

sql = statements("ordino.core")


class EffectShown(Struct, frozen=True, kw_only=True):
    """One kind of call. ``taken`` says whether a worker takes it; ``due`` counts what waits, ``due_since`` since when; ``calling``
    counts what is being called now, and ``failing`` what is tried again, by how it failed: ``answer_lost`` (it may have been done),
    ``unavailable`` (could not be reached), ``fault``, ``not_written_down`` (it was answered, and may have been done).
    """

    kind: str
    taken: bool
    seen_at: datetime | None
    due: int
    due_since: datetime | None
    calling: int
    failing: dict[str, int]


class Effects(Struct, frozen=True, kw_only=True):
    """Every kind of call, and the accounts that fail for everybody."""

    effects: list[EffectShown]
    paused_accounts: list[PausedAccount]


class Resumption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which account's pause ends, as ``paused_accounts`` names it."""

    account: str


_resumption = msgspec.json.Decoder(Resumption)


async def effects(tx: Tx, *, at: datetime) -> Effects:
    """As of ``at``: kinds by name, paused accounts with the longest failing first."""
    kinds = sorted(registry.effects)
    wall_at = (await sql.database_time(tx))[0]["at"]
    seen = {row["kind"]: row["seen_at"] for row in await sql.taken_effects(tx)}
    waiting = {row["kind"]: row for row in await sql.waiting_since(tx, kinds=kinds, at=at, wall_at=wall_at)}
    calling, failing = dict.fromkeys(kinds, 0), {kind: dict[str, int]() for kind in kinds}
    for row in await sql.failing(tx, kinds=kinds):
        calling[row["kind"]] += row["calling"]
        if row["tasks"]:
            failing[row["kind"]][row["failure"]] = row["tasks"]
    shown = [
        EffectShown(
            kind=kind,
            taken=kind in seen and seen[kind] >= gone_since(wall_at),
            seen_at=seen.get(kind),
            due=waiting[kind]["tasks"] if kind in waiting else 0,
            due_since=waiting[kind]["since"] if kind in waiting else None,
            calling=calling[kind],
            failing=failing[kind],
        )
        for kind in kinds
    ]
    return Effects(effects=shown, paused_accounts=await accounts.paused(tx))


@get(
    "/v1/effects",
    operation=Operation(name="effects.list", permission=Permission.ENGINE_READ),
    summary="Calls to providers and mail servers",
    tags=["reactions"],
)
async def get_effects(database: NamedDependency[Database]) -> Effects:
    """Which kinds of calls workers take, how many are due, called and tried again, and which accounts are paused because they fail
    for everybody.
    """
    return await database.read(lambda tx: effects(tx, at=database.clock.now()))


@post(
    "/v1/effects/resumption",
    operation=Operation(name="effects.resume", permission=Permission.ENGINE_MANAGE, refusals=NOT_FOUND),
    summary="End the pause of an account",
    tags=["reactions"],
    status_code=200,
    operation_class=described(Resumption, PausedAccount),
)
async def post_resumption(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """The next call tries the account now. If it fails, the account is paused again, for longer than before."""
    wanted = decode(await request.body(), _resumption)
    return await answer_once(request, database, lambda tx: accounts.resume_now(tx, wanted.account), sent=wanted)


effect_routes = [get_effects, post_resumption]
