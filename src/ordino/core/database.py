"""One pool, one way to open a transaction, and the retries that belong there.

Verbs take a ``Tx`` and never commit; ``Database.transact`` opens it, retries what the database asks to have retried
(deadlock, serialization, lock timeout) or the verb itself (``Raced``), and answers only after the commit is durable.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Protocol, TypeVar

import asyncpg
from asyncpg import Record

from ordino.core.clock import Clock, WallClock
from ordino.core.errors import Unavailable
from ordino.core.events import Plans

T = TypeVar("T")

# deadlock detected, serialization failure, lock not available
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
_AWAY = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    ConnectionError,
    OSError,
)
TRIES = 8

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


async def _as_it_is(connection: object) -> None:
    """Between users: nobody changes a session beyond their transaction, so there is nothing to ask the server to reset."""


class Last(Protocol):
    """What a transaction gathers, and writes once, last before its commit."""

    async def write(self, tx: Tx) -> None: ...


class Tx:
    """An open transaction: what verbs are given. ``careful`` after a race was lost: what is decided on is held from the start."""

    __slots__ = (
        "actor", "careful", "changed", "connection", "facts", "given", "held", "kept", "last", "plans", "revisions",
    )  # fmt: skip

    def __init__(
        self, connection: Any, plans: Plans, kept: dict[str, tuple[int, Any]], *, careful: bool = False
    ) -> None:
        self.actor = ACTOR.get()
        self.connection = connection
        self.careful = careful
        self.plans = plans
        self.kept = kept
        self.changed: set[str] = set()
        self.held: set[str] = set()
        self.facts: dict[str, Any] = {}
        self.given: dict[str, int] = {}
        self.revisions: dict[str, int] | None = None
        self.last: dict[str, Last] = {}

    async def fetch(self, query: str, /, *args: Any) -> list[Record]:
        rows: list[Record] = await self.connection.fetch(query, *args)
        return rows

    async def execute(self, query: str, /, *args: Any) -> str:
        status: str = await self.connection.execute(query, *args)
        return status


class Database:
    """A pool of connections to one PostgreSQL (or to any node of a distributed one)."""

    def __init__(self, pool: asyncpg.Pool[Any], plans: Plans, clock: Clock) -> None:
        self.pool = pool
        self.plans = plans
        self.clock = clock
        self.kept: dict[str, tuple[int, Any]] = {}

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
    ) -> Database:
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_size,
                statement_cache_size=1000,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=0,
                max_inactive_connection_lifetime=0,
                reset=_as_it_is,
                server_settings={
                    "application_name": "ordino",
                    "statement_timeout": str(int(statement_timeout_seconds * 1000)),
                    "lock_timeout": str(int(lock_timeout_seconds * 1000)),
                    "synchronous_commit": "on",
                    "timezone": "UTC",
                    "jit": "off",
                    # Plans outlive the moment they are made in. One made while a table was small would read all of it
                    # for ever; every statement here has an index to go by.
                    "enable_seqscan": "off",
                },
            )
        except (OSError, asyncpg.PostgresError) as error:
            raise Unavailable(f"Cannot connect to the database: {error}. Check ORDINO_DATABASE_URL.") from error
        return cls(pool, plans or Plans(), clock or WallClock())

    async def close(self) -> None:
        await self.pool.close()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def transact(self, verb: Callable[[Tx], Awaitable[T]]) -> T:
        """Run ``verb`` in one transaction; its result is returned once the commit is durable.

        Raises ``Unavailable`` when the database is away, or still contended after some tries.
        """
        careful = False
        for attempt in range(TRIES):
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    tx = Tx(connection, self.plans, self.kept, careful=careful)
                    result = await verb(tx)
                    for gathered in tx.last.values():
                        await gathered.write(tx)
                    return result
            except Moved:
                continue
            except Raced:
                careful = True
            except _TRANSIENT:
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))
            except asyncpg.QueryCanceledError as error:
                raise Unavailable("The database took too long to answer.") from error
            except _AWAY as error:
                raise Unavailable(f"The database is away: {error}") from error
        raise Unavailable(f"The database was still contended after {TRIES} tries.")

    async def read(self, query: Callable[[Tx], Awaitable[T]]) -> T:
        """Run reads on one connection, outside a transaction."""
        try:
            for _ in range(TRIES):
                try:
                    async with self.pool.acquire() as connection:
                        return await query(Tx(connection, self.plans, self.kept))
                except Moved:
                    continue
        except asyncpg.QueryCanceledError as error:
            raise Unavailable("The database took too long to answer.") from error
        except _AWAY as error:
            raise Unavailable(f"The database is away: {error}") from error
        raise Unavailable(f"What the answer rests on has changed {TRIES} times while it was read. Try again.")
