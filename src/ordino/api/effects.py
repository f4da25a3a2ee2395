"""Which calls to the world outside workers take, what waits for one, and which accounts are paused."""

from __future__ import annotations

from datetime import datetime

from litestar.di import NamedDependency
from msgspec import Struct

from ordino.core import accounts
from ordino.core.accounts import PausedAccount
from ordino.core.database import Database, Tx
from ordino.core.permissions import Permission
from ordino.core.reactions import gone_since, registry
from ordino.core.statements import statements
from ordino.web.operations import Operation
from ordino.web.routes import get

sql = statements("ordino.core")


class EffectShown(Struct, frozen=True, kw_only=True):
    """One kind of call. ``taken`` says whether a worker takes it; ``due`` counts what waits, ``due_since`` since when."""

    kind: str
    taken: bool
    seen_at: datetime | None
    due: int
    due_since: datetime | None


class Effects(Struct, frozen=True, kw_only=True):
    """Every kind of call, and the accounts that fail for everybody."""

    effects: list[EffectShown]
    paused_accounts: list[PausedAccount]


async def effects(tx: Tx, *, at: datetime) -> Effects:
    """As of ``at``: kinds by name, paused accounts with the longest failing first."""
    kinds = sorted(registry.effects)
    seen = {row["kind"]: row["seen_at"] for row in await sql.taken_effects(tx)}
    waiting = {row["kind"]: row for row in await sql.waiting_since(tx, kinds=kinds, at=at)}
    shown = [
        EffectShown(
            kind=kind,
            taken=kind in seen and seen[kind] >= gone_since(at),
            seen_at=seen.get(kind),
            due=waiting[kind]["tasks"] if kind in waiting else 0,
            due_since=waiting[kind]["since"] if kind in waiting else None,
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
    """Which kinds of calls workers take, how many are due, and which accounts are paused because they fail for everybody."""
    return await database.read(lambda tx: effects(tx, at=database.clock.now()))
