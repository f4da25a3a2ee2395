"""What a process keeps of slow-changing facts, each for one revision of them: every transaction asks for the revision first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ordino.core.database import Tx
from ordino.core.statements import statements

T = TypeVar("T")
sql = statements("ordino.core")


async def current(tx: Tx, name: str, load: Callable[[Tx], Awaitable[T]]) -> T:
    """The facts called ``name`` as this transaction sees them: kept ones if their revision still stands, else loaded."""
    if name in tx.changed:  # not committed: nobody else may see it
        return await load(tx)
    if tx.revisions is None:
        tx.revisions = {row["name"]: row["number"] for row in await sql.revisions(tx)}
    number = tx.revisions[name]
    kept = tx.kept.get(name)
    if kept is not None and kept[0] == number:
        facts: T = kept[1]
        return facts
    facts = await load(tx)
    tx.kept[name] = (number, facts)
    return facts


async def stand(tx: Tx, name: str) -> bool:
    """Nobody changes the facts called ``name`` until this transaction ends. Are they still as it has seen them?"""
    if name in tx.changed:  # by this transaction itself
        return True
    seen = tx.revisions
    [now] = await sql.share_revision(tx, name=name)
    return seen is not None and now["number"] == seen[name]


async def hold(tx: Tx, name: str) -> None:
    """Changes of the facts called ``name`` take turns: until this transaction ends, what rests on them waits, and it sees them as
    they are now.
    """
    await sql.hold_revision(tx, name=name)
    tx.revisions = None


async def changed(tx: Tx, name: str) -> None:
    """Say that the facts called ``name`` change in this transaction."""
    await sql.bump_revision(tx, name=name)
    tx.changed.add(name)
