"""What PostgreSQL and its driver raise, in plain words: what is wrong, and what to do about it.

No sentence carries a path, a statement or an address from the error: they are read by callers of the API, too.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import asyncpg
from asyncpg import exceptions

OLDEST_POSTGRESQL = 15
URL_HINT = (
    "A URL looks like postgresql://user:password@host:5432/database; characters such as @ : / # in a password are written "
    "as %40 %3A %2F %23."
)

MISTAKEN = (
    exceptions.ClientConfigurationError,
    exceptions.DuplicateDatabaseError,
    exceptions.InsufficientPrivilegeError,
    exceptions.InvalidAuthorizationSpecificationError,  # and with it InvalidPasswordError
    exceptions.InvalidCatalogNameError,
    exceptions.InvalidSchemaNameError,
)
"""What says that somebody set up the database, the role or the URL in another way than Ordino needs."""
AWAY = (
    asyncpg.PostgresConnectionError,
    exceptions.OperatorInterventionError,  # stopped, crashed, dropped, starting; a statement that took too long
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,
    exceptions.InternalClientError,  # the server has said its last word, and the end of the connection is still on its way
    ConnectionError,
    OSError,  # and with it TimeoutError
)
"""What says that the database is away, or cannot be written now. The same request may pass later."""

_SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.DiskFullError, "The database's disk is full: free some space on it."),
    (asyncpg.OutOfMemoryError, "The database has run out of memory."),
    (
        asyncpg.TooManyConnectionsError,
        "The database takes no more connections: raise its max_connections, or lower ORDINO_POOL_SIZE or ORDINO_PROCESSES.",
    ),
    (asyncpg.InsufficientResourcesError, "The database has reached a limit of its server's resources."),
    (asyncpg.PostgresIOError, "The database cannot read or write its disk: see the log of PostgreSQL."),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "The database is read-only: it is a standby, or its default_transaction_read_only is on. "
        "Let ORDINO_DATABASE_URL point to the primary.",
    ),
    (asyncpg.CannotConnectNowError, "The database is starting, stopping or recovering."),
    (asyncpg.AdminShutdownError, "The database has closed the connection: it was stopped or restarted."),
    (asyncpg.CrashShutdownError, "The database has closed the connection: another of its processes crashed."),
    (
        asyncpg.IdleInTransactionSessionTimeoutError,
        "The database has closed the connection: the transaction was idle for too long.",
    ),
    (asyncpg.QueryCanceledError, "The database took too long to answer."),
    (
        exceptions.InvalidPasswordError,
        "The database refused the password. Check the user and the password in ORDINO_DATABASE_URL.",
    ),
    (
        exceptions.InvalidAuthorizationSpecificationError,
        "The database does not let this user in from here. Check the user in ORDINO_DATABASE_URL and the server's pg_hba.conf.",
    ),
    (
        exceptions.InvalidCatalogNameError,
        "There is no database of this name on the server. Create it, or check the name in ORDINO_DATABASE_URL.",
    ),
    (
        exceptions.InsufficientPrivilegeError,
        "The role in ORDINO_DATABASE_URL lacks rights. Let the role that owns the database use Ordino, or grant it the rights.",
    ),
    (
        exceptions.DuplicateDatabaseError,
        "A database of this name is there already: wait for whoever uses it, or drop it.",
    ),
    (
        exceptions.InvalidSchemaNameError,
        "This is no database of Ordino, or it was never migrated; run `ordino migrate`.",
    ),
    (exceptions.UndefinedTableError, "A table of Ordino is missing; run `ordino migrate`."),
    (
        exceptions.ClientConfigurationError,
        "ORDINO_DATABASE_URL or one of the PG* variables of the environment cannot be read. " + URL_HINT,
    ),
    (
        ssl.SSLError,
        "No secure connection to the database came about. Check its certificate and the sslmode in ORDINO_DATABASE_URL.",
    ),
    (TimeoutError, "The database did not answer in time."),
    (ConnectionRefusedError, "Nothing listens at the host and port of the database. Is PostgreSQL running there?"),
    (FileNotFoundError, "There is no socket of PostgreSQL where ORDINO_DATABASE_URL points. Is PostgreSQL running?"),
    (PermissionError, "This user may not connect to the database's socket or host."),
    (socket.gaierror, "There is no host of the database's name. Check the host in ORDINO_DATABASE_URL."),
)
_CLOSED = "The connection to the database broke off."
_REFUSED = next(sentence for kind, sentence in _SENTENCES if kind is ConnectionRefusedError)
_NO_HOST = "The database's host cannot be reached. Check the host in ORDINO_DATABASE_URL and the network."


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from, also where several came together."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from causes(one)
        error = error.__cause__


def is_away(error: BaseException, *, closed: bool = False) -> bool:
    """Does the error say that the database is away, and not that somebody made a mistake? ``closed``: so is the connection."""
    return isinstance(error, AWAY) or (closed and isinstance(error, asyncpg.InterfaceError))


def plain(error: BaseException) -> str | None:
    """One sentence for what the database or the way to it has raised; None for anything else.

    What a broken connection hides (the server's last word) is told rather than the break.
    """
    found = list(causes(error))
    for kind, sentence in _SENTENCES:
        if any(isinstance(one, kind) for one in found):
            return sentence
    if any(
        isinstance(
            one,
            asyncpg.PostgresConnectionError | asyncpg.InterfaceError | exceptions.InternalClientError | ConnectionError,
        )
        for one in found
    ):
        return _CLOSED
    if away := [one for one in found if isinstance(one, OSError)]:
        # Of a name with several addresses the errors come as one, in words.
        return _REFUSED if f"[Errno {errno.ECONNREFUSED}]" in str(away[0]) else _NO_HOST
    if any(isinstance(one, asyncpg.PostgresError) for one in found):
        return "The database refused a statement; its log and Ordino's log say why."
    return None


def was_answered(error: BaseException) -> bool:
    """Did the server itself say no to the statement? Then it is undone. A connection that breaks, or that the server ends with its
    last word (FATAL, PANIC), leaves open what became of a commit.
    """
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"
