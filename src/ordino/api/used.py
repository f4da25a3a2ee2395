"""When a key was last used: written at most once a minute, beside the requests, which do not wait for it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from uuid import UUID

from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.core.keys import USED_SECONDS, Bearer, note_use

log = logging.getLogger("ordino.api")
LEAVE_SECONDS = 1.0
MINUTE = timedelta(seconds=USED_SECONDS)


class Uses:
    """What is to be written of the uses of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[UUID, datetime] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, bearer: Bearer, at: datetime) -> None:
        """A key is used. That is written unless it was, by any process, within the last minute."""
        last = self._noted.get(bearer.key_id, bearer.last_used_at)
        if last is not None and at - last < MINUTE:
            return
        self._noted[bearer.key_id] = at
        task = asyncio.create_task(self._write(bearer.key_id, at))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, key_id: UUID, at: datetime) -> None:
        try:
            await self._database.transact(lambda tx: note_use(tx, key_id, at=at))
        except Unavailable as error:
            log.info("that key %s was used is not written: %s", key_id, error)  # the next minute writes it

    async def close(self) -> None:
        """Wait a moment for what is being written; a database that is silent does not hold up the end."""
        if not self._writing:
            return
        _, late = await asyncio.wait(self._writing, timeout=LEAVE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
