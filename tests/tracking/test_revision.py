"""Parcels of before: whoever was watched under a number has it, and each parcel is where it was."""

from __future__ import annotations

from uuid import uuid4

from conftest import database_before, run_revisions
from ordino.core.embedded import EmbeddedPostgres


async def test_numbers_and_parcels_of_before_are_kept(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0007") as connection:
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
        await run_revisions(connection, since="0007", before="0008")
        numbers = await connection.fetch("SELECT * FROM warehouse.tracking_numbers ORDER BY tracking_number")
        assert [(r["tracking_number"], r["shipment_id"], r["first"], r["closed_at"] is None) for r in numbers] == [
            ("lost", shipments[2], True, False),
            ("twice", shipments[0], True, True),
        ]
        parcels = await connection.fetch("SELECT shipment_id, status FROM tracking.parcels ORDER BY status")
        assert [tuple(row) for row in parcels] == [(shipments[0], "late"), (shipments[2], "lost")]
