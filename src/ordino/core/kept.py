"""What a process keeps of slow-changing facts, each for one revision of them: every transaction asks for the revision first.

What is kept is shared by all transactions of a process, and so it is complete before anybody sees it and never changes.

KEP-1  All that a transaction is given belongs together: it is how these facts stood at one moment, whatever is written meanwhile.
KEP-2  What has not been committed is given only to the transaction that wrote it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from ordino.core.database import Moved, Tx
from ordino.core.errors import Unavailable
from ordino.core.statements import statements

T = TypeVar("T")
Load = Callable[[Tx], Awaitable[Any]]
sql = statements("ordino.core")
LOOKS = 20
"""So often facts are read anew because they have changed while they were being read."""


class _Kept(Struct, frozen=True):
    """Facts of one revision, and how they are read again when there is another."""

    facts: Any
    load: Load


async def current(tx: Tx, name: str, load: Callable[[Tx], Awaitable[T]]) -> T:
    """The facts called ``name`` as this transaction sees them: kept ones if their revision still stands, else loaded.

    Raises ``Moved``, upon which the transaction is run again, if it was given other facts before these changed.
    """
    if name in tx.changed:  # not committed: nobody else may see it
        return await load(tx)
    facts: T
    if tx.revisions is not None and name in tx.facts:
        facts = tx.facts[name]
    else:
        await _look(tx, name, load)
        assert tx.revisions is not None, "it has looked"
        facts = tx.facts[name]
    tx.given[name] = tx.revisions[name]
    return facts


def last(tx: Tx, name: str) -> Any | None:
    """The facts called ``name`` that the process has kept last, whether or not they still stand; None if there are none. What is
    loaded anew may share with them whatever has not changed since.
    """
    found = tx.kept.get(name)
    return found[1].facts if found is not None and isinstance(found[1], _Kept) else None


async def _look(tx: Tx, name: str, load: Load) -> None:
    """Make ``tx.facts`` and ``tx.revisions`` hold all that the process knows, and ``name``, as of one moment.

    Other transactions commit while several statements read. What was read counts only if its revision is the same afterwards: then
    nothing of it has changed in between.
    """
    for _ in range(LOOKS):
        if tx.revisions is None:
            _see(tx, {row["name"]: row["number"] for row in await sql.revisions(tx)})
        assert tx.revisions is not None, "it has just been seen"
        wanted: dict[str, Load] = {name: load} if name not in tx.facts else {}
        if not tx.given:
            wanted |= {n: one[1].load for n, one in tx.kept.items() if isinstance(one[1], _Kept) and _is_stale(tx, n)}
        if not wanted:
            return
        found = {n: await read(tx) for n, read in wanted.items()}
        now = {row["name"]: row["number"] for row in await sql.revisions(tx)}
        if all(now[n] == tx.revisions[n] for n in found):
            for n, facts in found.items():
                tx.facts[n] = facts
                if n not in tx.held and (n not in tx.kept or tx.kept[n][0] <= now[n]):
                    tx.kept[n] = (now[n], _Kept(facts, wanted[n]))
            return
        _see(tx, now)
    raise Unavailable("What orders are decided by is being changed all the time. Try again.")


def _see(tx: Tx, numbers: dict[str, int]) -> None:
    """From here on the transaction looks at these revisions."""
    if any(numbers[name] != number for name, number in tx.given.items() if name not in tx.changed):
        raise Moved("The facts that this transaction was given have changed.")
    tx.revisions = numbers
    tx.facts = {
        name: kept.facts
        for name, (number, kept) in tx.kept.items()
        if isinstance(kept, _Kept) and numbers[name] == number and name not in tx.changed
    }


def _is_stale(tx: Tx, name: str) -> bool:
    return name not in tx.facts and name not in tx.changed and name not in tx.held


async def stand(tx: Tx, name: str) -> bool:
    """Nobody changes the facts called ``name`` until this transaction ends. Are they still as it has seen them?"""
    if name in tx.changed:  # by this transaction itself
        return True
    seen = tx.revisions
    [now] = await sql.share_revision(tx, name=name)
    return seen is not None and now["number"] == seen[name]


async def share(tx: Tx, name: str) -> None:
    """Nobody changes the facts called ``name`` until this transaction ends, and it sees them as they are now. Others who share do
    not wait. Raises ``Moved`` if it was given others.
    """
    [now] = await sql.share_revision(tx, name=name)
    if tx.revisions is not None and name not in tx.changed and now["number"] != tx.revisions[name]:
        if tx.given:
            raise Moved("The facts that this transaction was given have changed.")
        tx.revisions = None


async def hold(tx: Tx, name: str) -> None:
    """Changes of the facts called ``name`` take turns: until this transaction ends, what rests on them waits, and it sees them as
    they are now.
    """
    await sql.hold_revision(tx, name=name)
    tx.held.add(name)
    tx.revisions = None


def agree(tx: Tx, name: str, number: int) -> None:
    """What a statement has just read of the facts called ``name`` is of this revision. Raises ``Moved`` if the transaction was
    given others.
    """
    if name not in tx.changed and tx.given.get(name, number) != number:
        raise Moved("The facts that this transaction was given have changed.")


async def changed(tx: Tx, name: str) -> None:
    """Say that the facts called ``name`` change in this transaction."""
    await sql.bump_revision(tx, name=name)
    tx.changed.add(name)
