"""How a connection to PostgreSQL is opened, by whatever opens one: limits on every wait, and signs of life.

A network that swallows what is sent answers nothing, not even an error. So each wait has an end: opening a connection, a
statement (the server stops it; if that is not heard either, we stop waiting), a commit, a rollback. TCP keepalives on both sides
find a peer that is gone, and the server lets go of the locks of clients that have left.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import asyncpg
from msgspec import Struct

from ordino.core.errors import Unavailable
from ordino.core.settings import Settings
from ordino.core.troubles import OLDEST_POSTGRESQL, URL_HINT, plain

GRACE_SECONDS = 2.0
"""How much longer than the server a client waits for a statement: the server's own word comes first."""
KEEPALIVE_IDLE_SECONDS = 10
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_COUNT = 3
UNACKNOWLEDGED_SECONDS = KEEPALIVE_IDLE_SECONDS + KEEPALIVE_INTERVAL_SECONDS * KEEPALIVE_COUNT
CLIENT_LEFT_SECONDS = 2
"""How often the server looks, during a statement, whether its client is still there."""


class Limits(Struct, frozen=True, kw_only=True):
    """How long is waited for what, in seconds. Each is a setting, ``ORDINO_…_TIMEOUT_SECONDS``."""

    connect_seconds: float = 5.0
    acquire_seconds: float = 15.0
    statement_seconds: float = 30.0
    lock_seconds: float = 5.0
    batch_seconds: float = 15.0
    idle_seconds: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            connect_seconds=settings.connect_timeout_seconds,
            acquire_seconds=settings.acquire_timeout_seconds,
            statement_seconds=settings.statement_timeout_seconds,
            lock_seconds=settings.lock_timeout_seconds,
            batch_seconds=settings.batch_timeout_seconds,
            idle_seconds=settings.idle_timeout_seconds,
        )

    @property
    def answer_seconds(self) -> float:
        """How long the answer to one statement is waited for."""
        return self.statement_seconds + GRACE_SECONDS


class Session(asyncpg.Connection):
    """A connection that knows which server it leads to: what a second connection is told of the first holds only there."""

    server: object | None = None
    """When the server was started; None behind a pooler that shares its connections among clients."""


async def connect(url: str, name: str, *, seconds: float | None = None, connect_seconds: float = 5.0) -> Session:
    """One connection outside the pool. Each statement may take ``seconds``; without them, as long as it takes.

    Raises ``Unavailable`` with a sentence that says what is wrong.
    """
    try:
        session: Session = await asyncpg.connect(
            url,
            timeout=connect_seconds,
            command_timeout=seconds,
            connection_class=Session,
            server_settings={"application_name": name, **signs_of_life()},
        )
        await greet(session, connect_seconds)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise cannot_connect(error) from error
    return session


def cannot_connect(error: BaseException) -> Unavailable:
    sentence = (
        plain(error) or f"ORDINO_DATABASE_URL or one of the PG* variables of the environment cannot be read. {URL_HINT}"
    )
    return Unavailable(f"Cannot connect to the database. {sentence}")


async def greet(session: Session, seconds: float) -> None:
    """Right after a connection was opened: keepalives on our side, the version, and which server it is. One round trip.

    Raises ``Unavailable`` for a PostgreSQL that is too old.
    """
    try:
        version = session.get_server_version()
        if version.major < OLDEST_POSTGRESQL:
            raise Unavailable(
                f"The database runs PostgreSQL {version.major}; Ordino needs {OLDEST_POSTGRESQL} or newer. Upgrade the server."
            )
        keep_alive(session)
        [[server, pid]] = await session.fetch("SELECT pg_postmaster_start_time(), pg_backend_pid()", timeout=seconds)
        session.server = server if pid == session.get_server_pid() else None
    except BaseException:
        session.terminate()
        raise


def keep_alive(session: Session) -> None:
    """TCP keepalives, and an end to sending what nobody acknowledges. Unix sockets need none of it."""
    transport: Any = getattr(session, "_transport")  # noqa: B009 - the driver has no other way to its socket
    number = transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(number)) as pipe:
        if pipe.family == socket.AF_UNIX:
            return
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
            ("TCP_KEEPCNT", KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_SECONDS * 1000),
        ):
            if hasattr(socket, name):  # Linux has them all, macOS has some
                pipe.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def signs_of_life() -> dict[str, str]:
    """What the server does to find clients that have left without a word. Of Unix sockets it ignores the first four."""
    return {
        "tcp_keepalives_idle": str(KEEPALIVE_IDLE_SECONDS),
        "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_SECONDS),
        "tcp_keepalives_count": str(KEEPALIVE_COUNT),
        "tcp_user_timeout": str(UNACKNOWLEDGED_SECONDS * 1000),
        "client_connection_check_interval": str(CLIENT_LEFT_SECONDS * 1000),
    }


async def _as_it_is(connection: object) -> None:
    """Between users: nobody changes a session beyond their transaction, so there is nothing to ask the server to reset."""


async def open_pool(url: str, *, size: int, limits: Limits, ask: bool = True) -> asyncpg.Pool[Any]:
    """The pool that a process works with. Raises ``Unavailable``; but to who does not ``ask`` whether the database is there."""

    async def init(session: Session) -> None:
        await greet(session, limits.connect_seconds)

    try:
        pool: asyncpg.Pool[Any] = await asyncpg.create_pool(  # type: ignore[call-overload]
            url,
            min_size=0,  # with a floor, the driver would log a traceback for each try to restore it while the database is away
            max_size=size,
            timeout=limits.connect_seconds,
            command_timeout=limits.answer_seconds,
            connection_class=Session,
            init=init,
            statement_cache_size=1000,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            max_inactive_connection_lifetime=0,
            reset=_as_it_is,
            server_settings={
                "application_name": "ordino",
                "statement_timeout": str(int(limits.statement_seconds * 1000)),
                "lock_timeout": str(int(limits.lock_seconds * 1000)),
                "idle_in_transaction_session_timeout": str(int(limits.idle_seconds * 1000)),
                **signs_of_life(),
                "synchronous_commit": "on",
                "timezone": "UTC",
                "jit": "off",
                # Plans outlive the moment they are made in. One made while a table was small would read all of it
                # for ever; every statement here has an index to go by.
                "enable_seqscan": "off",
            },
        )
        try:
            if ask:
                await pool.release(await pool.acquire())  # what is wrong is told now, and not to the first who asks
        except BaseException:
            pool.terminate()
            raise
        return pool
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise cannot_connect(error) from error
