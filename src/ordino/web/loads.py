"""Rows of CSV or NDJSON without an end: applied in sets as they come, each durable before the next is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, Unavailable, broken_off
from ordino.core.idempotency import Outcome, Sets
from ordino.core.rows import RowFault
from ordino.web.bodies import encode

ROWS_AT_ONCE = 4000
FAULTS_TOLD = 1000
Batch = Sequence[tuple[int, Any]]


class Loaded(Struct, frozen=True):
    """What became of the rows. At most the first 1,000 faults are told; ``refused`` counts all."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    faults: list[RowFault] = []

    def and_then(self, more: Loaded) -> Loaded:
        """This and the rows after it."""
        return Loaded(
            self.rows + more.rows,
            self.created + more.created,
            self.updated + more.updated,
            self.unchanged + more.unchanged,
            self.refused + more.refused,
            (self.faults + more.faults)[:FAULTS_TOLD],
        )


async def load(
    rows: AsyncIterator[tuple[int, Any]],
    database: Database,
    apply: Callable[[Tx, Batch], Awaitable[Loaded]],
    *,
    sets: Sets | None,
    digest: Callable[[Batch], bytes],
) -> Loaded:
    """Apply rows as they come; with ``sets``, each set once under the request's client key, by its ``digest``.

    ``Invalid`` is raised where the rows cannot be read on, ``Unavailable`` where the database is away. What came before is applied,
    under a key in whole sets only, so that the rows can be sent again.
    """
    done = Loaded()
    batch: list[tuple[int, Any]] = []
    number = 0

    async def run(tx: Tx) -> Loaded:
        return await apply(tx, batch)

    async def keep(tx: Tx) -> Outcome:
        return Outcome(200, encode(await run(tx)))

    async def take() -> None:
        nonlocal done, number
        if not batch:
            return
        number += 1
        if sets is None:
            some = await database.transact(run)
        else:
            some = msgspec.json.decode((await sets.once(database, number, digest(batch), keep)).body, type=Loaded)
        done = done.and_then(some)
        batch.clear()

    try:
        async for row in rows:
            batch.append(row)
            if len(batch) >= ROWS_AT_ONCE:
                await take()
        await take()
        if sets is not None:
            await sets.end(database, number)
    except Unavailable as error:
        said = f"{done.rows} rows were processed before; it is safe to send them again, with the rest."
        raise broken_off(error, said) from error
    except Invalid as error:
        if sets is None:
            await take()
        detail = f"{error.detail} The {done.rows} rows before it were processed; it is safe to send them again."
        raise Invalid(detail, faults=error.faults) from error
    return done
