"""How a database becomes what this version of Ordino needs, and stays that way.

A revision is ``versions/<number>_<name>.py`` with its SQL beside it in ``<number>_<name>.sql``. To change the database:

1. Write the change into ``schema.sql``, which always shows the whole database as it stands after every revision.
2. Write the next revision: plain SQL that brings a database that is in use from there to here, quickly and without rewriting
   big tables under a lock. A lock that cannot be had in ``LOCK_TIMEOUT_SECONDS`` ends the revision; it is run again.
3. Never edit a revision that a release has carried. ``0001_spine.sql`` is a frozen copy of ``schema.sql``, made anew only
   until the first release.

A test holds the two together: revisions and ``schema.sql`` make the same database.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ordino.core.errors import OrdinoError, Unavailable
from ordino.core.statements import Connection

LOCK_TIMEOUT_SECONDS = 5
SCHEMA = "migrations"
_TURN = 0x6F7264696E6F  # "ordino": the advisory lock under which one process migrates while others wait
_DIRECTORY = Path(__file__).parent


class NewerDatabase(OrdinoError):
    """The database has seen a later version of Ordino."""


async def migrate(url: str) -> None:
    """Run every revision that the database has not seen, each in a transaction of its own. Whoever comes second waits.

    Raises ``Unavailable`` when the database is away or a lock could not be had, ``NewerDatabase`` when it is ahead.
    """

    async def connect() -> asyncpg.Connection[Any]:
        return await _connect(url, "ordino migrate")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({_TURN})"))  # let go when the connection closes
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            await connection.commit()
            await connection.run_sync(_upgrade)
    except asyncpg.LockNotAvailableError as error:
        detail = f"A migration waited {LOCK_TIMEOUT_SECONDS} s for a lock and was undone; run `ordino migrate` again."
        raise Unavailable(detail) from error
    except asyncpg.PostgresConnectionError as error:
        raise Unavailable(f"The database is away: {error}; run `ordino migrate` again.") from error
    finally:
        await engine.dispose()


async def _connect(url: str, name: str) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(url, server_settings={"application_name": name})
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"Cannot connect to the database: {error}. Check ORDINO_DATABASE_URL.") from error


def _upgrade(connection: SyncConnection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise NewerDatabase(
            f"{error}. Run the version of Ordino that the database was migrated with, or a later one."
        ) from error


async def pending(url: str) -> bool:
    """Does the database lack a revision? Raises ``Unavailable`` when it is away."""
    connection = await _connect(url, "ordino")
    try:
        return await pending_on(connection)
    finally:
        await connection.close()


async def pending_on(connection: Connection) -> bool:
    """The same, asked on an open connection or a ``Tx`` outside of a transaction."""
    is_there = await connection.fetch("SELECT to_regclass($1) IS NOT NULL AS is_there", f"{SCHEMA}.alembic_version")
    if not is_there[0]["is_there"]:
        return True
    rows = await connection.fetch(f"SELECT version_num FROM {SCHEMA}.alembic_version")
    return {row["version_num"] for row in rows} != _heads()


@cache
def _heads() -> frozenset[str]:
    return frozenset(ScriptDirectory.from_config(_config()).get_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return config


def run(script: str) -> None:
    """What a revision does: run its SQL file, with a limit on how long it may wait for locks."""
    # First through SQLAlchemy, which opens the transaction; then as it stands, because a file holds many statements.
    op.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    sql = (_DIRECTORY / "versions" / script).read_text(encoding="utf-8")
    raw: Any = op.get_bind().connection.dbapi_connection
    raw.run_async(lambda connection: connection.execute(sql))
