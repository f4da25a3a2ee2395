"""Revisions and ``schema.sql`` make the same database, once, however many processes begin at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Unavailable
from ordino.core.migrations import SCHEMA, NewerDatabase, migrate, newest, pending

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
    async with _new_database(cluster) as url:
        yield url


@pytest.fixture
async def schema_url(cluster: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database made from ``schema.sql``."""
    async with _new_database(cluster) as url:
        await _execute(url, files("ordino").joinpath("schema.sql").read_text(encoding="utf-8"))
        yield url


class _new_database:
    def __init__(self, cluster: EmbeddedPostgres) -> None:
        self.cluster = cluster
        self.name = f"empty_{uuid4().hex}"

    async def __aenter__(self) -> str:
        await _execute(self.cluster.url, f"CREATE DATABASE {self.name} TEMPLATE template0")
        return urlunsplit(urlsplit(self.cluster.url)._replace(path=f"/{self.name}"))

    async def __aexit__(self, *_: object) -> None:
        await _execute(self.cluster.url, f"DROP DATABASE {self.name} WITH (FORCE)")


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


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
        ("counting",),
        ("flows",),
        ("goods",),
        ("kits",),
        ("looked_at",),
        ("network",),
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
    await _execute(empty_url, f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'")
    assert await pending(empty_url)
    with pytest.raises(NewerDatabase, match="9999"):
        await migrate(empty_url)


async def test_a_revision_does_not_wait_for_locks_for_ever(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordino.core.migrations.LOCK_TIMEOUT_SECONDS", 1)
    await migrate(empty_url)
    await _execute(empty_url, "CREATE SCHEMA other; ALTER SCHEMA core RENAME TO held; DROP SCHEMA held CASCADE")
    await _execute(empty_url, f"DELETE FROM {SCHEMA}.alembic_version")
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
