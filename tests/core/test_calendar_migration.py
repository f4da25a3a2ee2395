"""What was stored beyond the calendar is brought back into it, so that it can be calculated with again."""

from __future__ import annotations

from conftest import database_before, run_revisions
from ordino.core.embedded import EmbeddedPostgres

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
    async with database_before(cluster, "0016") as connection:
        await connection.execute("ALTER TABLE network.closures DROP CONSTRAINT a_location_is_closed")
        await connection.execute(BEFORE)
        await run_revisions(connection, since="0016")
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
