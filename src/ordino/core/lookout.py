"""Looks after statements whose answer does not come: does the server still work on them?

Where a network swallows a statement or its answer, waiting for the time limit would block a lane for long, and a shorter
limit would cut what takes long for good reasons. So the lookout asks after a statement that has waited for ``DOUBT_SECONDS``, on a
connection of its own. When the server says twice that it has nothing to do for that connection, or no longer has it, then the
statement or its answer is lost: the connection is dropped, and whoever waits hears of it at once.

If the lookout is not answered either, the time limits decide. Nothing is concluded about another server (after a failover, or
where several share one name), nor behind a pooler.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from ordino.core.connecting import Session
from ordino.core.errors import Unavailable
from ordino.core.troubles import is_away

log = logging.getLogger("ordino.database")

LOOK_SECONDS = 1.0
DOUBT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
STATES = """
    SELECT pid, state, pg_postmaster_start_time() AS server
    FROM pg_stat_activity WHERE pid = any($1) OR pid = pg_backend_pid()"""
AT_REST = frozenset({"idle", "idle in transaction", "idle in transaction (aborted)"})


class Lent:
    """A connection in somebody's hands. ``asked_at`` (monotonic) is set while an answer is awaited. ``proxy`` is what the pool
    gave; the connection behind it can still be asked when the pool has taken it back because it broke.
    """

    __slots__ = ("asked_at", "connection", "doubted_at", "pid", "proxy", "server")

    def __init__(self, proxy: Any) -> None:
        self.proxy = proxy
        self.connection: Session = proxy._con
        self.asked_at: float | None = None
        self.doubted_at: float | None = None
        self.pid: int = self.connection.get_server_pid()
        self.server = self.connection.server


class Lookout:
    """Watches what is lent by one pool. ``connect`` opens a connection to look from."""

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        self.lent: set[Lent] = set()
        self._connect = connect
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_again_and_again())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._forget()

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            doubtful = self._doubtful()
            if not doubtful:
                continue
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._look(doubtful)
            except Exception as error:
                self._forget()
                if not (isinstance(error, Unavailable) or is_away(error, closed=True)):
                    log.exception("the lookout could not look")

    def _doubtful(self) -> list[tuple[Lent, float]]:
        before = monotonic() - DOUBT_SECONDS
        return [
            (one, one.asked_at)
            for one in self.lent
            if one.asked_at is not None and one.asked_at < before and one.server is not None
        ]

    async def _look(self, doubtful: Sequence[tuple[Lent, float]]) -> None:
        if self._session is None or self._session.is_closed():
            self._session = await self._connect()
        rows = await self._session.fetch(STATES, [one.pid for one, _ in doubtful])
        states = {row["pid"]: row["state"] for row in rows}
        [server] = {row["server"] for row in rows}
        for one, asked_at in doubtful:
            if one.asked_at != asked_at or one.server != server:
                continue  # answered meanwhile, or another server's
            if one.pid in states and states[one.pid] not in AT_REST:
                one.doubted_at = None
            elif one.doubted_at != asked_at:
                one.doubted_at = asked_at  # once more: the answer may be on its way
            else:
                log.warning("an answer of the database was lost on the way; its connection is dropped")
                one.connection.terminate()

    def _forget(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None
