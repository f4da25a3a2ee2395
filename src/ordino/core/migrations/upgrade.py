"""Alembic at work: the revisions that a database has not seen, each in a transaction of its own."""

from __future__ import annotations

from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ordino.core import migrations
from ordino.core.connecting import connect
from ordino.core.errors import Unavailable
from ordino.core.migrations import DIRECTORY, SCHEMA, checksums, pending_on
from ordino.core.troubles import causes, plain

LONGEST_SECONDS = 24 * 3600.0
"""A revision of a large database, or the turn of another process, takes long and is not cut."""
APPLIED = f"""
    CREATE TABLE IF NOT EXISTS {SCHEMA}.applied (
        revision text PRIMARY KEY,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""


async def upgrade(url: str) -> None:
    """What ``migrate`` does."""

    async def creator() -> asyncpg.Connection[Any]:
        return await connect(url, "ordino migrate", seconds=LONGEST_SECONDS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(
                text(f"SELECT pg_advisory_lock({migrations.TURN})")
            )  # let go when the connection closes
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            await connection.execute(text(APPLIED))
            await connection.commit()
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await pending_on(raw)  # refuses what is ahead, was edited or has lost its version
            await _adopt(raw)
            await connection.run_sync(_upgrade)
    except asyncpg.LockNotAvailableError as error:
        detail = f"A migration waited {migrations.LOCK_TIMEOUT_SECONDS} s for a lock and was undone; run `ordino migrate` again."
        raise Unavailable(detail) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, OSError) as error:
        raise Unavailable(f"{_said(error)} The revision under way was undone; run `ordino migrate` again.") from error
    finally:
        await engine.dispose()


def _said(error: BaseException) -> str:
    found = [one.orig or one if isinstance(one, DBAPIError) else one for one in causes(error)]
    for one in found:
        if isinstance(one, asyncpg.DuplicateSchemaError | asyncpg.DuplicateTableError):
            return "The database holds schemas or tables of others that have the names of Ordino's: give Ordino a database of its own."
        if isinstance(one, asyncpg.InsufficientPrivilegeError):
            return "The role in ORDINO_DATABASE_URL may not create schemas here: let it own the database (ALTER DATABASE … OWNER TO …)."
    return next((sentence for one in found if (sentence := plain(one))), "The database could not be migrated.")


async def _adopt(connection: asyncpg.Connection[Any]) -> None:
    """A database from before checksums were kept gets those of the revisions that it has seen."""
    known = checksums()
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.alembic_version"):
        return
    seen = await connection.fetchval(f"SELECT version_num FROM {SCHEMA}.alembic_version")
    revisions = [revision for revision in sorted(known) if seen is not None and revision <= seen]
    await connection.execute(
        f"INSERT INTO {SCHEMA}.applied (revision, checksum) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
        revisions,
        [known[revision] for revision in revisions],
    )


def _upgrade(connection: SyncConnection) -> None:
    config = _configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
    revision = script.partition("_")[0]
    op.execute(
        text(
            f"INSERT INTO {SCHEMA}.applied (revision, checksum) VALUES (:revision, :checksum) "
            "ON CONFLICT (revision) DO UPDATE SET checksum = excluded.checksum, applied_at = now()"
        ).bindparams(revision=revision, checksum=checksums()[revision])
    )
