"""Which effects workers take: what a worker is told to, and what is due although nobody takes it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from ordino.core.database import Tx
from ordino.core.errors import Invalid
from ordino.core.statements import statements

sql = statements("ordino.core")
GONE_SECONDS = 300
"""Who has not said for so long that it takes an effect takes it no more."""


def gone_since(wall_at: datetime) -> datetime:
    """Workers that were not there since then are gone."""
    return wall_at - timedelta(seconds=GONE_SECONDS)


async def was_taken(tx: Tx, kind: str, *, within_seconds: float) -> bool:
    """Did some worker take this effect so recently, in wall time?"""
    [row] = await sql.was_taken(tx, kind=kind, seconds=within_seconds)
    return bool(row["taken"])


async def not_taken(
    tx: Tx, effects: Collection[str], *, at: datetime, wall_at: datetime
) -> list[tuple[str, datetime, int]]:
    """Effects that are due although no worker takes them: the kind, since when, and how many."""
    seen = {row["kind"]: row["seen_at"] for row in await sql.taken_effects(tx)}
    kinds = sorted(kind for kind in effects if kind not in seen or seen[kind] < gone_since(wall_at))
    return [tuple(row) for row in await sql.waiting_since(tx, kinds=kinds, at=at, wall_at=wall_at)] if kinds else []


def chosen_effects(text: str | None, known: Collection[str]) -> frozenset[str]:
    """The effects that a worker is to take, separated by commas: ``authorize,capture``, or ``none``; all of them where nothing is
    said (None). Raises ``Invalid``, with the list, for anything else.
    """
    if text is None:
        return frozenset(known)
    names = {name.strip() for name in text.split(",") if name.strip()}
    if names == {"none"}:
        return frozenset()
    if names and names <= set(known):
        return frozenset(names)
    unknown = [f"`{name}`" for name in sorted(names - set(known))]
    wrong = (
        f"{', '.join(unknown)} {'is no effect' if len(unknown) == 1 else 'are no effects'}"
        if unknown
        else "it is empty"
    )
    raise Invalid(
        f"{wrong}. Name some of {', '.join(sorted(known))}, separated by commas; or `none` for reactions only."
    )
