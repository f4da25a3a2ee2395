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

from ordino.core.errors import OrdinoError, Unavailable
from ordino.core.statements import Connection

LOCK_TIMEOUT_SECONDS = 5
SCHEMA = "migrations"
DIRECTORY = Path(__file__).parent


class NewerDatabase(OrdinoError):
    """The database has seen a later version of Ordino."""


async def migrate(url: str) -> None:
    """Run every revision that the database has not seen, each in a transaction of its own. Whoever comes second waits.

    Raises ``Unavailable`` when the database is away or a lock could not be had, ``NewerDatabase`` when it is ahead.
    """
    # Alembic takes a second to import: only who migrates waits for it.
    from ordino.core.migrations.upgrade import upgrade

    await upgrade(url)


async def connect(url: str, name: str) -> asyncpg.Connection[Any]:
    """Raises ``Unavailable``."""
    try:
        return await asyncpg.connect(url, server_settings={"application_name": name})
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"Cannot connect to the database: {error}. Check ORDINO_DATABASE_URL.") from error


async def pending(url: str) -> bool:
    """Does the database lack a revision? Raises ``Unavailable`` when it is away."""
    connection = await connect(url, "ordino")
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
    return [row["version_num"] for row in rows] != [newest()]


@cache
def newest() -> str:
    """The last revision: each follows the one with the number before it."""
    return max(path.name.partition("_")[0] for path in (DIRECTORY / "versions").glob("[0-9]*.py"))
