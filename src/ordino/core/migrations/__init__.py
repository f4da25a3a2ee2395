"""How a database becomes what this version of Ordino needs, and stays that way.

A revision is ``versions/<number>_<name>.py`` with its SQL beside it in ``<number>_<name>.sql``. To change the database:

1. Write the change into ``schema.sql``, which always shows the whole database as it stands after every revision.
2. Write the next revision: plain SQL that brings a database that is in use from there to here, quickly and without rewriting
   big tables under a lock. A lock that cannot be had in ``LOCK_TIMEOUT_SECONDS`` ends the revision; it is run again.
3. Write the line of its checksum into ``tests/landed_revisions.txt``. A revision that has landed is never edited again: what it lacks
   is the next revision's work.

A test holds the two together: revisions and ``schema.sql`` make the same database.

MIG-1  A database knows which revisions it has seen, and the checksum of each as it was run (``migrations.applied``). A program whose
       revisions differ from these, or that does not know one of them, does not start on it.

Databases from before checksums were kept get those of the revisions that they say they have seen, when they are next migrated.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import asyncpg

from ordino.core.connecting import cannot_connect, connect
from ordino.core.errors import OrdinoError
from ordino.core.statements import Connection

LOCK_TIMEOUT_SECONDS = 5
ASK_SECONDS = 10.0
SCHEMA = "migrations"
TURN = 0x6F7264696E6F  # "ordino": the advisory lock under which one process migrates while others wait
DIRECTORY = Path(__file__).parent


class NewerDatabase(OrdinoError):
    """The database has seen a later version of Ordino."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database has seen revision {revision}, which this version of Ordino does not know (its newest is {newest()}). "
            "Run the version of Ordino that the database was migrated with, or a later one."
        )


class EditedRevision(OrdinoError):
    """A revision is no longer what it was when the database was migrated with it."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"Revision {revision} of this version of Ordino is not the one that the database was migrated with: its file was "
            "changed since. Run the version of Ordino that migrated the database, restore the file of the revision, or restore "
            "a backup into a database made by this version."
        )


class LostVersion(OrdinoError):
    """The database is Ordino's and does not say which version it has."""

    def __init__(self, seen: str | None) -> None:
        said = f"It was migrated up to {seen}" if seen else "Find out up to which revision it was migrated"
        super().__init__(
            f"The database holds tables of Ordino, but {SCHEMA}.alembic_version does not name one version. {said}: restore a "
            f"backup, or let the table hold that one row (INSERT INTO {SCHEMA}.alembic_version VALUES ('{seen or '…'}'))."
        )


async def migrate(url: str) -> None:
    """Run every revision that the database has not seen, each in a transaction of its own. Whoever comes second waits.

    Raises ``Unavailable`` when the database is away, refuses or a lock could not be had, ``NewerDatabase`` when it is ahead,
    ``EditedRevision`` and ``LostVersion``.
    """
    # Alembic takes a second to import: only who migrates waits for it.
    from ordino.core.migrations.upgrade import upgrade

    await upgrade(url)


async def pending(url: str) -> bool:
    """Does the database lack a revision? Raises ``Unavailable`` when it is away, and what ``pending_on`` raises."""
    connection = await connect(url, "ordino", seconds=ASK_SECONDS)
    try:
        return await pending_on(connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise cannot_connect(error) from error
    finally:
        connection.terminate()


async def pending_on(connection: Connection) -> bool:
    """The same, asked on an open connection or a ``Tx`` outside of a transaction.

    Raises ``NewerDatabase``, ``EditedRevision`` and ``LostVersion``.
    """
    [there] = await connection.fetch(
        "SELECT to_regclass($1) IS NOT NULL AS versions, to_regclass($2) IS NOT NULL AS applied, "
        "to_regclass('core.events') IS NOT NULL AS ours",
        f"{SCHEMA}.alembic_version",
        f"{SCHEMA}.applied",
    )
    applied: dict[str, str] = {}
    if there["applied"]:
        rows = await connection.fetch(f"SELECT revision, checksum FROM {SCHEMA}.applied")
        applied = {row["revision"]: row["checksum"] for row in rows}
    versions: list[str] = []
    if there["versions"]:
        versions = [
            row["version_num"] for row in await connection.fetch(f"SELECT version_num FROM {SCHEMA}.alembic_version")
        ]
    if there["ours"] and len(versions) != 1:
        raise LostVersion(max(applied, default=None))
    known = checksums()
    for revision in sorted({*versions, *applied}):
        if revision not in known:
            raise NewerDatabase(revision)
        if applied.get(revision, known[revision]) != known[revision]:
            raise EditedRevision(revision)
    return versions != [newest()] or applied.keys() != known.keys()


async def is_under_way(connection: Connection) -> bool:
    """Does somebody migrate this database at the moment?"""
    rows = await connection.fetch(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (classid::bigint << 32) + objid::bigint = $1",
        TURN,
    )
    return bool(rows)


@cache
def checksums() -> dict[str, str]:
    """Of every revision, the SHA-256 of its SQL; the line ends of the working copy do not count."""
    return {
        path.name.partition("_")[0]: sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
        for path in (DIRECTORY / "versions").glob("[0-9]*.sql")
    }


def newest() -> str:
    """The last revision: each follows the one with the number before it."""
    return max(checksums())
