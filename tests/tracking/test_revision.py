"""Parcels of before: whoever was watched under a number has it, and each parcel is where it was."""

from __future__ import annotations

from importlib.resources import files
from uuid import uuid4

import asyncpg

from ordino.core.embedded import EmbeddedPostgres
from ordino.core.migrations import DIRECTORY

REVISION = "0007_parcels.sql"


async def test_numbers_and_parcels_of_before_are_kept(cluster: EmbeddedPostgres) -> None:
    admin = await asyncpg.connect(cluster.url)
    name = f"before_{uuid4().hex}"
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    connection = await asyncpg.connect(cluster.url, database=name)
    try:
        for path in sorted(files("ordino").joinpath("core", "migrations", "versions").iterdir(), key=lambda p: p.name):
            if path.name.endswith(".sql") and path.name < REVISION:
                await connection.execute(path.read_text(encoding="utf-8"))
        await connection.execute("SET session_replication_role = replica")  # foreign keys look away
        orders, shipments = [uuid4() for _ in range(3)], [uuid4() for _ in range(3)]
        for n, number in enumerate(("twice", "twice", "lost")):
            await connection.execute(
                "INSERT INTO warehouse.shipments VALUES ($1, $2, $3, 1, $4, 0, 0, now() - make_interval(hours => $5), now())",
                orders[n], shipments[n], uuid4(), number, n,
            )  # fmt: skip
        for n, column in ((0, "late_at"), (2, "lost_at")):
            await connection.execute(
                "INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, "
                f"{column}) VALUES ($1, $2, $3, now(), now(), now(), now())",
                orders[n], shipments[n], ("twice", "twice", "lost")[n],
            )  # fmt: skip
        await connection.execute((DIRECTORY / "versions" / REVISION).read_text(encoding="utf-8"))
        numbers = await connection.fetch("SELECT * FROM warehouse.tracking_numbers ORDER BY tracking_number")
        assert [(r["tracking_number"], r["shipment_id"], r["first"], r["closed_at"] is None) for r in numbers] == [
            ("lost", shipments[2], True, False),
            ("twice", shipments[0], True, True),
        ]
        parcels = await connection.fetch("SELECT shipment_id, status FROM tracking.parcels ORDER BY status")
        assert [tuple(row) for row in parcels] == [(shipments[0], "late"), (shipments[2], "lost")]
    finally:
        await connection.close()
        await admin.execute(f"DROP DATABASE {name}")
        await admin.close()
