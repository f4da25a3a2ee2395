"""Can this process do its work? It writes and looks whether what must move moves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from time import monotonic

import asyncpg

from ordino.core.database import Database, Tx
from ordino.core.errors import UNDONE, OrdinoError, Unavailable
from ordino.core.migrations import NewerDatabase, pending_on
from ordino.core.statements import statements
from ordino.core.troubles import plain

sql = statements("ordino.core")
KEPT_SECONDS = 1.0
"""An answer is given again for so long: a prober cannot load the database."""
WRITE_SECONDS = 4.0
STALLED_SECONDS = 5.0
SLOTS = 64


class Readiness:
    """``lanes`` say of each kind of work, by a name that fits "… do not come to an end", for how many seconds it has been under way
    without any progress.
    """

    def __init__(self, database: Database, lanes: Mapping[str, Callable[[], float]]) -> None:
        self._database = database
        self._lanes = lanes
        self._slot = os.getpid() % SLOTS
        self._looking: asyncio.Task[str | None] | None = None
        self._looked_at = 0.0

    async def check(self) -> None:
        """Raises ``Unavailable`` with the cause in plain words. Whoever asks at once, or within a second, shares one look."""
        if self._looking is None or (self._looking.done() and monotonic() - self._looked_at > KEPT_SECONDS):
            self._looking = asyncio.create_task(self._look())
        trouble = await asyncio.shield(self._looking)
        if trouble is not None:
            raise Unavailable(trouble)

    async def _look(self) -> str | None:
        """What is wrong, if anything."""
        try:
            for name, stalled_seconds in self._lanes.items():
                if (seconds := stalled_seconds()) > STALLED_SECONDS:
                    return f"{name} do not come to an end: nothing has moved for {seconds:.0f} s."
            try:
                if await self._database.read(pending_on, seconds=WRITE_SECONDS):
                    return "The database lacks migrations; run `ordino migrate`."
            except NewerDatabase:
                pass  # whoever runs already goes on: new schemas fit old programs
            await self._database.transact(self._write, seconds=WRITE_SECONDS)
        except OrdinoError as error:
            return str(error).removesuffix(UNDONE).strip()
        except asyncpg.PostgresError as error:
            return plain(error)
        finally:
            self._looked_at = monotonic()
        return None

    async def _write(self, tx: Tx) -> None:
        await tx.execute("SET LOCAL work_mem = '64kB'")  # so that it needs room on the disk
        await sql.try_room(tx)
        await sql.try_to_write(tx, slot=self._slot, at=self._database.clock.now())
