"""Alembic at work: the revisions that a database has not seen, each in a transaction of its own."""

from __future__ import annotations

from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ordino.core import migrations
from ordino.core.errors import Unavailable
from ordino.core.migrations import DIRECTORY, SCHEMA, NewerDatabase, connect

_TURN = 0x6F7264696E6F  # "ordino": the advisory lock under which one process migrates while others wait


async def upgrade(url: str) -> None:
    """What ``migrate`` does."""

    async def creator() -> asyncpg.Connection[Any]:
        return await connect(url, "ordino migrate")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({_TURN})"))  # let go when the connection closes
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            await connection.commit()
            await connection.run_sync(_upgrade)
    except asyncpg.LockNotAvailableError as error:
        detail = f"A migration waited {migrations.LOCK_TIMEOUT_SECONDS} s for a lock and was undone; run `ordino migrate` again."
        raise Unavailable(detail) from error
    except asyncpg.PostgresConnectionError as error:
        raise Unavailable(f"The database is away: {error}; run `ordino migrate` again.") from error
    finally:
        await engine.dispose()


def _upgrade(connection: SyncConnection) -> None:
    config = _configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise NewerDatabase(
            f"{error}. Run the version of Ordino that the database was migrated with, or a later one."
        ) from error


def _configuration() -> Config:
    """Where the revisions are."""
    config = Config()
    config.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    return config


def run(script: str) -> None:
    """What a revision does: run its SQL file, with a limit on how long it may wait for locks."""
    # First through SQLAlchemy, which opens the transaction; then as it stands, because a file holds many statements.
    op.execute(f"SET LOCAL lock_timeout = '{migrations.LOCK_TIMEOUT_SECONDS}s'")
    sql = (DIRECTORY / "versions" / script).read_text(encoding="utf-8")
    raw: Any = op.get_bind().connection.dbapi_connection
    raw.run_async(lambda connection: connection.execute(sql))
