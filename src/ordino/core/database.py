"""One pool, one way to open a transaction, and the retries that belong there.

Verbs take a ``Tx`` and never commit; ``Database.transact`` opens it, retries what the database asks to have retried
(deadlock, serialization, lock timeout) or the verb itself (``Raced``), and answers only after the commit is durable.

Every wait has an end (``connecting.Limits``), and what happened then is told: nothing, or nobody knows.

DB-1  What is answered with ``Away`` is undone: the commit was never sent, or the server refused it.
DB-2  A commit that was sent and not answered is ``OutcomeUnknown``, and never told as done or undone.
DB-3  A connection that did not answer in time is dropped; no other work gets it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from copy import copy
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, TypeVar

import asyncpg
from asyncpg import Record

from ordino.core.clock import Clock, WallClock
from ordino.core.connecting import Limits, Session, connect, open_pool
from ordino.core.errors import UNDONE, Away, OutcomeUnknown, Unavailable
from ordino.core.events import Plans
from ordino.core.lookout import Lent, Lookout
from ordino.core.settings import Settings
from ordino.core.troubles import is_away, plain, was_answered

T = TypeVar("T")

# deadlock detected, serialization failure, lock not available
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
TRIES = 8
UNDO_SECONDS = 5.0
"""How long a rollback, or giving a connection back, may take before the connection is dropped instead."""
CLOSE_SECONDS = 10.0
RENEW_SECONDS = 5.0
"""How often all connections are opened anew at most: where it is only busy, that would make it busier."""

ACTOR: ContextVar[str | None] = ContextVar("actor", default=None)
"""Who acts: the name of the API key, the command, the feed. Nobody where an order takes its own course."""


class Raced(Exception):
    """Somebody else was faster: what was decided on is no longer so. The transaction is rolled back and run again.

    ``positions`` says what was raced for, where that is known.
    """

    def __init__(self, positions: Sequence[object] = ()) -> None:
        super().__init__(f"{len(positions)} positions changed meanwhile")
        self.positions = positions


class Moved(Exception):
    """Facts have changed while a transaction was being given them (``core.kept``): it is run again on what they are now."""


class Last(Protocol):
    """What a transaction gathers, and writes once, last before its commit."""

    async def write(self, tx: Tx) -> None: ...


class Tx:
    """An open transaction: what verbs are given. ``careful`` after a race was lost: what is decided on is held from the start.
    ``positions`` are those that the stock's ledger holds: SKU id -> location ids.
    """

    __slots__ = (
        "actor", "careful", "changed", "connection", "facts", "given", "held", "kept", "last", "lent", "plans", "positions",
        "revisions",
    )  # fmt: skip

    def __init__(self, lent: Lent, plans: Plans, kept: dict[str, tuple[int, Any]], *, careful: bool = False) -> None:
        self.actor = ACTOR.get()
        self.lent = lent
        self.connection = lent.connection
        self.careful = careful
        self.plans = plans
        self.kept = kept
        self.changed: set[str] = set()
        self.held: set[str] = set()
        self.facts: dict[str, Any] = {}
        self.given: dict[str, int] = {}
        self.revisions: dict[str, int] | None = None
        self.last: dict[str, Last] = {}
        self.positions: dict[int, set[int]] = {}

    async def fetch(self, query: str, /, *args: Any) -> list[Record]:
        self.lent.asked_at = monotonic()
        try:
            rows: list[Record] = await self.connection.fetch(query, *args)
        finally:
            self.lent.asked_at = None
        return rows

    async def execute(self, query: str, /, *args: Any) -> str:
        self.lent.asked_at = monotonic()
        try:
            status: str = await self.connection.execute(query, *args)
        finally:
            self.lent.asked_at = None
        return status


class Database:
    """A pool of connections to one PostgreSQL (or to any node of a distributed one)."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        plans: Plans,
        clock: Clock,
        limits: Limits | None = None,
        lookout: Lookout | None = None,
    ) -> None:
        self.pool = pool
        self.plans = plans
        self.clock = clock
        self.limits = limits or Limits()
        self.kept: dict[str, tuple[int, Any]] = {}
        self._fence: Last | None = None
        self._lookout = lookout
        self._renewed_at = float("-inf")

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        plans: Plans | None = None,
        clock: Clock | None = None,
        pool_size: int = 8,
        statement_timeout_seconds: float = 30,
        lock_timeout_seconds: float = 5,
        limits: Limits | None = None,
        ask: bool = True,
    ) -> Database:
        """``limits``, where given, say all of the timeouts. Raises ``Unavailable``, unless it is not to ``ask``."""
        limits = limits or Limits(statement_seconds=statement_timeout_seconds, lock_seconds=lock_timeout_seconds)

        async def look_from() -> Session:
            return await connect(
                url, "ordino lookout", seconds=limits.connect_seconds, connect_seconds=limits.connect_seconds
            )

        pool = await open_pool(url, size=pool_size, limits=limits, ask=ask)
        lookout = Lookout(look_from)
        lookout.start()
        return cls(pool, plans or Plans(), clock or WallClock(), limits, lookout)

    @classmethod
    async def of(cls, settings: Settings, url: str, *, plans: Plans | None = None, ask: bool = True) -> Database:
        """As the settings say. Raises ``Unavailable``."""
        return await cls.open(url, plans=plans, pool_size=settings.pool_size, limits=Limits.of(settings), ask=ask)

    async def close(self) -> None:
        if self._lookout is not None:
            await self._lookout.stop()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def fenced(self, fence: Last) -> Database:
        """The same database, for work that is one worker's at a time: each of its transactions ends with ``fence``, and is undone
        where that raises.
        """
        view = copy(self)
        view._fence = fence
        return view

    async def transact(self, verb: Callable[[Tx], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Run ``verb`` in one transaction; its result is returned once the commit is durable.

        ``seconds`` limit all of it up to the commit, however often it is tried; without them, each statement has its limit.
        Raises ``Away`` when the database is away or silent, ``OutcomeUnknown`` when it did not answer the commit,
        ``Unavailable`` when it is too busy, or still contended after some tries. Only of ``OutcomeUnknown`` something may have
        been changed.
        """
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        careful = False
        for attempt in range(TRIES):
            if attempt and deadline is not None and asyncio.get_running_loop().time() >= deadline:
                break
            try:
                return await self._try(verb, careful, deadline)
            except Moved:
                continue
            except Raced:
                careful = True
            except _TRANSIENT:
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))
        raise Unavailable(f"The database was still contended after several tries. {UNDONE}")

    async def _try(self, verb: Callable[[Tx], Awaitable[T]], careful: bool, deadline: float | None) -> T:
        lent = await self._lend(deadline)
        transaction = lent.connection.transaction()
        committing = False
        try:
            async with asyncio.timeout_at(deadline):
                lent.asked_at = monotonic()
                await transaction.start()
                lent.asked_at = None
                tx = Tx(lent, self.plans, self.kept, careful=careful)
                result = await verb(tx)
                for gathered in tx.last.values():
                    await gathered.write(tx)
                if self._fence is not None:
                    await self._fence.write(tx)
            if lent.connection.is_closed():
                raise ConnectionResetError
            committing = True  # from here on the limit of a statement holds, not that of the whole
            lent.asked_at = monotonic()
            await transaction.commit()
            return result
        except BaseException as error:
            lent.asked_at = None
            closed = lent.connection.is_closed()
            await self._undo(lent, transaction, error, answered=committing)
            if committing and isinstance(error, Exception) and not was_answered(error):
                raise OutcomeUnknown from error
            if told := _told(error, closed=closed):
                raise told from error
            raise
        finally:
            await self._take_back(lent)

    async def read(self, query: Callable[[Tx], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Run reads on one connection, outside a transaction. ``seconds`` limit all of it. Raises ``Away``."""
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        for _ in range(TRIES):
            try:
                return await self._read(query, deadline)
            except Moved:
                continue
        raise Unavailable(f"What the answer rests on has changed {TRIES} times while it was read. Try again.")

    async def _read(self, query: Callable[[Tx], Awaitable[T]], deadline: float | None) -> T:
        lent = await self._lend(deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await query(Tx(lent, self.plans, self.kept))
        except BaseException as error:
            closed = lent.connection.is_closed()
            if _is_lost(error):
                await self._drop(lent, error)
            if told := _told(error, closed=closed):
                raise told from error
            raise
        finally:
            await self._take_back(lent)

    async def _lend(self, deadline: float | None) -> Lent:
        until = asyncio.get_running_loop().time() + self.limits.acquire_seconds
        try:
            async with asyncio.timeout_at(until if deadline is None else min(until, deadline)) as waiting:
                lent = Lent(await self.pool.acquire())
        except TimeoutError as error:
            if (
                waiting.expired()
                and self.pool.get_idle_size() == 0
                and self.pool.get_size() == self.pool.get_max_size()
            ):
                raise Unavailable(
                    f"All {self.pool.get_max_size()} database connections of this process were busy for too long. {UNDONE} "
                    "If this happens often, raise ORDINO_POOL_SIZE."
                ) from error
            raise Away(f"The database did not answer when a connection was to be opened. {UNDONE}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Away(f"{plain(error)} {UNDONE}") from error
        if self._lookout is not None:
            self._lookout.lent.add(lent)
        return lent

    async def _undo(self, lent: Lent, transaction: Any, error: BaseException, *, answered: bool) -> None:
        """Roll back, or drop the connection if it may not answer: then the server rolls back by itself."""
        if _is_lost(error):
            await self._drop(lent, error)
        elif not answered and not lent.connection.is_closed():
            try:
                async with asyncio.timeout(UNDO_SECONDS):
                    await transaction.rollback()
            except BaseException as trouble:
                await self._drop(lent, trouble)
                if not isinstance(trouble, Exception):
                    raise

    async def _drop(self, lent: Lent, error: BaseException) -> None:
        """No other work gets this connection. If it was silent, connections that lie idle are opened anew, too: the way is broken,
        perhaps for all, and they are not to be found out one by one.
        """
        lent.connection.terminate()
        if isinstance(error, TimeoutError) and monotonic() - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = monotonic()
            await self.pool.expire_connections()

    async def _take_back(self, lent: Lent) -> None:
        if self._lookout is not None:
            self._lookout.lent.discard(lent)
        try:
            await self.pool.release(lent.proxy, timeout=UNDO_SECONDS)
        except Exception:
            lent.connection.terminate()


def _is_lost(error: BaseException) -> bool:
    """May the connection still be waiting for an answer, or be broken?"""
    return isinstance(error, asyncio.CancelledError | asyncpg.InterfaceError) or (
        is_away(error) and not was_answered(error)
    )


def _told(error: BaseException, *, closed: bool) -> Unavailable | None:
    """What callers are told where the database's error has undone their work; None of any other error. ``closed``: so is the
    connection.
    """
    if isinstance(error, asyncpg.QueryCanceledError):
        return Unavailable(f"{plain(error)} {UNDONE}")
    return Away(f"{plain(error)} {UNDONE}") if is_away(error, closed=closed) else None
