"""Revisions and ``schema.sql`` make the same database, once, however many processes begin at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from conftest import command, new_database, run_revisions
from ordino.cli import running
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Unavailable
from ordino.core.migrations import (
    SCHEMA,
    EditedRevision,
    LostVersion,
    NewerDatabase,
    checksums,
    migrate,
    newest,
    pending,
)
from ordino.core.settings import Settings

_OURS = f"n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '{SCHEMA}')"

CATALOGS = {
    "schemas": f"SELECT n.nspname FROM pg_namespace n WHERE {_OURS}",
    "relations": f"""
        SELECT n.nspname, c.relname, c.relkind, c.relpersistence, c.reloptions
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}""",
    "columns": f"""
        SELECT n.nspname, c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
               a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid) AS expression
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm') AND {_OURS}""",
    "constraints": f"""
        SELECT n.nspname, k.conrelid::regclass::text AS relation, k.conname, k.contype, pg_get_constraintdef(k.oid) AS definition,
               k.convalidated
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_OURS}""",
    "indexes": f"""
        SELECT n.nspname, c.relname, pg_get_indexdef(c.oid) AS definition, i.indisvalid
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}""",
    "routines and triggers": f"""
        SELECT n.nspname, p.proname AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OURS}
        UNION ALL
        SELECT n.nspname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND {_OURS}""",
}
FIRST_ROWS = ("core.revisions", "core.counters", "warehouse.short_reasons")


@pytest.fixture
async def empty_url(cluster: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database with nothing in it."""
    async with new_database(cluster) as url:
        yield url


@pytest.fixture
async def schema_url(cluster: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database made from ``schema.sql``."""
    async with new_database(cluster) as url:
        await command(url, files("ordino").joinpath("schema.sql").read_text(encoding="utf-8"))
        yield url


async def _fetch(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return sorted((tuple(row) for row in await connection.fetch(sql)), key=repr)
    finally:
        await connection.close()


@pytest.mark.parametrize("catalog", CATALOGS)
async def test_revisions_and_schema_make_the_same_database(database_url: str, schema_url: str, catalog: str) -> None:
    migrated = await _fetch(database_url, CATALOGS[catalog])
    assert migrated == await _fetch(schema_url, CATALOGS[catalog])
    assert migrated or catalog == "routines and triggers"


@pytest.mark.parametrize("table", FIRST_ROWS)
async def test_revisions_and_schema_write_the_same_first_rows(database_url: str, schema_url: str, table: str) -> None:
    assert await _fetch(database_url, f"SELECT * FROM {table}") == await _fetch(schema_url, f"SELECT * FROM {table}")


async def test_a_database_is_pending_until_it_is_migrated(empty_url: str) -> None:
    assert await pending(empty_url)
    await migrate(empty_url)
    assert not await pending(empty_url)
    await migrate(empty_url)
    assert not await pending(empty_url)


async def test_processes_that_begin_at_once_migrate_once(empty_url: str) -> None:
    await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert await _fetch(empty_url, f"SELECT version_num FROM {SCHEMA}.alembic_version") == [(newest(),)]
    names = await _fetch(empty_url, "SELECT name FROM core.revisions ORDER BY name")
    assert names == [
        ("capacity_days",),
        ("carrier_pickups",),
        ("carrier_services",),
        ("channels",),
        ("closures",),
        ("counting",),
        ("exchange_rates",),
        ("flows",),
        ("goods",),
        ("kits",),
        ("locations",),
        ("looked_at",),
        ("network",),
        ("postal_codes",),
        ("profiles",),
        ("promises",),
        ("published",),
        ("retired",),
        ("retired_published",),
        ("rules",),
        ("seen_by_warehouse",),
        ("tracking",),
    ]


async def test_a_database_that_is_ahead_is_left_alone(empty_url: str) -> None:
    await migrate(empty_url)
    await command(empty_url, f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'")
    for refuses in (pending, migrate):
        with pytest.raises(NewerDatabase, match="revision 9999, which this version of Ordino does not know"):
            await refuses(empty_url)


async def test_mig_1_every_revision_is_kept_with_its_checksum(empty_url: str) -> None:
    await migrate(empty_url)
    kept = await _fetch(empty_url, f"SELECT revision, checksum FROM {SCHEMA}.applied")
    assert dict(kept) == checksums()
    assert len(kept) == len({checksum for _, checksum in kept}) > 13


async def test_mig_1_an_edited_revision_is_refused(empty_url: str) -> None:
    await migrate(empty_url)
    await command(empty_url, f"UPDATE {SCHEMA}.applied SET checksum = 'of another file' WHERE revision = '0001'")
    for refuses in (pending, migrate):
        with pytest.raises(EditedRevision, match=r"Revision 0001 .* its file was changed"):
            await refuses(empty_url)


async def test_mig_1_an_edited_revision_is_refused_at_start(empty_url: str) -> None:
    await migrate(empty_url)
    await command(empty_url, f"UPDATE {SCHEMA}.applied SET checksum = 'of another file' WHERE revision = '0006'")
    with pytest.raises(EditedRevision, match="0006"):
        async with running.opened(Settings(), empty_url):
            pass


async def test_a_database_of_before_checksums_gets_them_when_it_is_migrated(empty_url: str) -> None:
    """Whatever it says that it has seen; what it has not seen gets its checksum when it is run."""
    connection = await asyncpg.connect(empty_url)
    try:
        await run_revisions(connection, before="0014")
    finally:
        await connection.close()
    await command(
        empty_url,
        f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.alembic_version (version_num text PRIMARY KEY);"
        f" INSERT INTO {SCHEMA}.alembic_version VALUES ('0013')",
    )
    assert await pending(empty_url)
    await migrate(empty_url)
    assert dict(await _fetch(empty_url, f"SELECT revision, checksum FROM {SCHEMA}.applied")) == checksums()
    assert not await pending(empty_url)


async def test_an_empty_version_table_is_told_with_the_version_that_it_lacks(empty_url: str) -> None:
    await migrate(empty_url)
    await command(empty_url, f"DELETE FROM {SCHEMA}.alembic_version")
    for refuses in (pending, migrate):
        with pytest.raises(LostVersion, match=rf"VALUES \('{newest()}'\)"):
            await refuses(empty_url)
    await command(empty_url, f"INSERT INTO {SCHEMA}.alembic_version VALUES ('{newest()}')")
    assert not await pending(empty_url)


async def test_a_database_made_from_the_schema_alone_is_refused_with_a_sentence(schema_url: str) -> None:
    with pytest.raises(LostVersion, match="does not name one version"):
        await migrate(schema_url)


async def test_a_database_of_others_is_refused_with_a_sentence(empty_url: str) -> None:
    await command(empty_url, "CREATE SCHEMA inventory; CREATE TABLE inventory.stock (n int)")
    with pytest.raises(Unavailable, match="give Ordino a database of its own"):
        await migrate(empty_url)


async def test_a_role_without_rights_is_refused_with_a_sentence(cluster: EmbeddedPostgres, empty_url: str) -> None:
    await command(cluster.url, "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    parts = urlsplit(empty_url)
    guest = urlunsplit(parts._replace(netloc="guest@"))
    with pytest.raises(Unavailable, match="may not create schemas here"):
        await migrate(guest)
    await migrate(empty_url)
    with pytest.raises(Unavailable, match="lacks rights"):
        await pending(guest)


async def test_an_old_postgresql_is_refused_with_a_sentence(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordino.core.connecting.OLDEST_POSTGRESQL", 99)
    for refuses in (pending, migrate, Database.open):
        with pytest.raises(Unavailable, match="Ordino needs 99 or newer"):
            await refuses(empty_url)


async def test_a_revision_does_not_wait_for_locks_for_ever(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordino.core.migrations.LOCK_TIMEOUT_SECONDS", 1)
    await migrate(empty_url)
    await command(empty_url, "CREATE SCHEMA other; ALTER SCHEMA core RENAME TO held; DROP SCHEMA held CASCADE")
    await command(empty_url, f"DELETE FROM {SCHEMA}.alembic_version")
    holder = await asyncpg.connect(empty_url)
    try:
        async with holder.transaction():
            await holder.execute("CREATE SCHEMA core")  # whoever makes it, too, waits for this transaction
            with pytest.raises(Unavailable, match="waited 1 s for a lock"):
                await migrate(empty_url)
    finally:
        await holder.close()
    assert await pending(empty_url)


async def test_an_absent_database_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await pending("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await migrate("postgresql://nobody@127.0.0.1:1/none")
