"""What was stored beyond the calendar is brought back into it, so that it can be calculated with again."""

from __future__ import annotations

from importlib.resources import files
from uuid import uuid4

import asyncpg

from conftest import database_at
from ordino.core.embedded import EmbeddedPostgres

VERSIONS = files("ordino.core.migrations").joinpath("versions")
BEFORE = """
INSERT INTO network.closures (code, location_id, starts_at, ends_at, reason) VALUES
    ('never ends', 1, '2026-01-01 00:00Z', 'infinity', 'x'), ('far', 1, '2026-01-01 00:00Z', '9999-12-31 23:00Z', 'x'),
    ('long ago', 1, '-infinity', '0002-01-01 00:00Z', 'x'), ('never begins', 1, '9999-01-01 00:00Z', 'infinity', 'x'),
    ('sound', 1, '2026-01-01 00:00Z', '2026-02-01 00:00Z', 'x');
INSERT INTO inventory.lots (sku_id, lot, expires_on, first_at) VALUES (1, 'a', 'infinity', now()), (1, 'b', '2027-01-01', now()),
    (1, 'c', NULL, now());
INSERT INTO inventory.feeds (feed, kind, as_of, started_at) VALUES ('f', 'counts', 'infinity', now()), ('g', 'counts', NULL, now());
"""


async def test_what_was_stored_beyond_the_calendar_is_brought_back_into_it(cluster: EmbeddedPostgres) -> None:
    name = f"before_{uuid4().hex}"
    server = await asyncpg.connect(cluster.url)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    connection = await asyncpg.connect(database_at(cluster.url, name))
    try:
        for script in sorted(path.name for path in VERSIONS.iterdir() if path.name.endswith(".sql")):
            if script == "0016_calendar.sql":
                await connection.execute("ALTER TABLE network.closures DROP CONSTRAINT a_location_is_closed")
                await connection.execute(BEFORE)
            await connection.execute(VERSIONS.joinpath(script).read_text(encoding="utf-8"))
        rows = await connection.fetch("SELECT code, starts_at, ends_at FROM network.closures ORDER BY code")
        assert [
            (row["code"], f"{row['starts_at']:%Y-%m-%d}", row["ends_at"] and f"{row['ends_at']:%Y-%m-%d}") for row in rows
        ] == [
            ("far", "2026-01-01", None), ("long ago", "1990-01-01", "1990-01-01"), ("never begins", "2200-12-31", None),
            ("never ends", "2026-01-01", None), ("sound", "2026-01-01", "2026-02-01"),
        ]  # fmt: skip
        assert all(row["starts_at"].tzinfo for row in rows)
        lots = await connection.fetch("SELECT expires_on FROM inventory.lots ORDER BY lot")
        assert [row["expires_on"] and row["expires_on"].isoformat() for row in lots] == [
            "2200-12-31",
            "2027-01-01",
            None,
        ]
        assert await connection.fetchval("SELECT count(*) FROM inventory.feeds WHERE NOT isfinite(as_of)") == 0
    finally:
        await connection.close()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
