"""Client keys: a request that comes again with its key is answered with the first outcome, and not done again.

IDM-1  What a caller sends under one key is done once. Every repeat gets the first outcome, byte by byte; the same key with another
       request is refused as ``key_reused``. Two that come at the same instant are one that does it and one that waits for it.
IDM-2  An outcome is kept in the transaction that makes it true. What was refused, broke off or was rolled back is kept nowhere, and
       may be sent again under its key.

A key belongs to its caller: an API key, this machine or the command line. It is kept for ``ORDINO_IDEMPOTENCY_DAYS`` days at
least, by the clock of the database, and then forgotten (``forget``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from ordino.core.database import Database, Moved, Tx
from ordino.core.digests import digest_of
from ordino.core.errors import Conflict, Invalid
from ordino.core.statements import statements

sql = statements("ordino.core")
CHARACTERS = 200
END = "end"
FORGOTTEN_AT_ONCE = 100_000
"""More than are kept from one time to the next, and no more than a statement has time for."""


class Key(Struct, frozen=True, kw_only=True):
    """A caller's key for one request. ``digest`` is of everything that the request says; ``part`` is which part, where rows of
    any length are done set by set.
    """

    caller: str
    name: str
    digest: bytes
    part: str = ""

    @classmethod
    def of(cls, caller: str, name: str, *said: Any) -> Key:
        """A caller's key for a request that says this: bytes, texts, Structs, or what JSON decodes to. Raises ``Invalid``."""
        if not 1 <= len(name) <= CHARACTERS or any(character < " " for character in name):
            raise Invalid(f"An Idempotency-Key has 1 to {CHARACTERS} characters, none of them a control character.")
        return cls(caller=caller, name=name, digest=digest_of(*said))

    @property
    def stored(self) -> str:
        """As it is kept. No key holds a line break, so that no two are kept as one."""
        return f"{self.caller}\n{self.name}" + (f"\n{self.part}" if self.part else "")

    def of_part(self, part: str, *said: Any) -> Key:
        """The key of one part of the same request."""
        return Key(caller=self.caller, name=self.name, digest=digest_of(self.digest, *said), part=part)


class Outcome(Struct, frozen=True):
    """What is answered: the HTTP status, and the body in JSON. ``repeated``: it was done before."""

    status: int
    body: bytes
    repeated: bool = False


Run = Callable[[Tx], Awaitable[Outcome]]


async def once(tx: Tx, key: Key, run: Run) -> Outcome:
    """The first outcome of the key; if there is none yet, that of ``run``, which is kept with what it does.

    It comes first in its transaction: a repeat waits here until the first is committed or undone. Raises ``Conflict`` where the
    key was used for another request, and whatever ``run`` raises.
    """
    if not await sql.claim_key(tx, key=key.stored, digest=key.digest):
        found = await first(tx, key)
        if found is None:  # forgotten at this very moment
            raise Moved("The outcome of this key has just been forgotten.")
        return found
    outcome = await run(tx)
    await sql.keep_answer(tx, key=key.stored, status=outcome.status, body=outcome.body)
    return outcome


async def first(tx: Tx, key: Key) -> Outcome | None:
    """The first outcome of the key, if it is kept. Raises ``Conflict`` where the key was used for another request."""
    for row in await sql.first_answer(tx, key=key.stored):
        if row["digest"] != key.digest:
            raise _reused(key)
        return Outcome(row["status"], row["body"], repeated=True)
    return None


def _reused(key: Key) -> Conflict:
    return Conflict(
        f"The Idempotency-Key {key.name!r} was already used for a different request; use a new key for a new request.",
        code="key_reused",
    )


async def answer(
    database: Database, key: Key | None, run: Run, *, before: Callable[[], Awaitable[None]] | None = None
) -> Outcome:
    """``run`` in one transaction, once for the key; without a key, once for each call.

    ``before`` is work in transactions of its own that comes before, if the key has no outcome yet. It has to bear being done
    again: only what ``run`` does is done once.
    """
    if before is not None:
        found = None if key is None else await database.read(lambda tx: first(tx, key))
        if found is not None:
            return found
        await before()
    if key is None:
        return await database.transact(run)
    return await database.transact(lambda tx: once(tx, key, run))


class Sets:
    """The sets of rows that come under one key. A load that broke off is sent again, whole: its first sets are answered as they
    were, and it goes on where it stood.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self.repeats = True
        """Has every set so far been done before? Until one was not, sets are to be done one after another: if the key was used for
        something else, nothing of this is done.
        """

    async def once(self, database: Database, number: int, said: bytes, run: Run) -> Outcome:
        """``run`` of set ``number``, from 1, which says this, in one transaction and once. Raises ``Conflict`` where the key was
        used for other rows.
        """
        key = self._key.of_part("" if number == 1 else str(number), said)

        async def new(tx: Tx) -> Outcome:
            if number > 1 and await sql.first_answer(tx, key=self._key.of_part(END).stored):
                raise _reused(key)  # the first load ended before this set
            return await run(tx)

        outcome = await answer(database, key, new)
        self.repeats = self.repeats and outcome.repeated
        return outcome

    async def end(self, database: Database, sets: int) -> None:
        """There are so many sets, and no more. Raises ``Conflict`` where the first load had others."""

        async def run(tx: Tx) -> Outcome:
            return Outcome(200, str(sets).encode())

        if sets:
            await answer(database, self._key.of_part(END, str(sets)), run)


async def forget(tx: Tx, *, days: int) -> None:
    """Forget the keys that came first more than so many days ago; of many, some now and the others the next time."""
    await sql.forget_answers(tx, days=days, limit=FORGOTTEN_AT_ONCE)
