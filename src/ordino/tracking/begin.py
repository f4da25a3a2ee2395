"""A parcel begins: what has shipped is on its way, and is looked at when it should have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import BUCKETS
from ordino.core.ids import new_ids
from ordino.core.statements import statements

sql = statements("ordino.tracking")
core_sql = statements("ordino.core")


class Sent(Struct, frozen=True):
    """A shipment that left, and the event that says so."""

    order_id: UUID
    shipment_id: UUID
    tracking_number: str
    event_id: UUID


async def begin(tx: Tx, shipments: Sequence[Sent], *, at: datetime) -> set[UUID]:
    """Write the parcels that are not there yet, and enqueue the reaction ``check_late`` for the instant of each plan or promise,
    whichever is first.

    Returns the shipments that became parcels. The orders must be locked; a shipment begins once, whoever comes first.
    """
    shipments = sorted(shipments, key=lambda s: (s.order_id, s.shipment_id))
    if not shipments:
        return set()
    parcels = await sql.write_parcels(
        tx, order_ids=[s.order_id for s in shipments], shipment_ids=[s.shipment_id for s in shipments]
    )
    if not parcels:
        return set()
    causes = {s.shipment_id: s.event_id for s in shipments}
    await core_sql.enqueue(
        tx,
        buckets=[row["order_id"].int % BUCKETS for row in parcels],
        ids=new_ids(at, len(parcels)),
        kinds=["check_late"] * len(parcels),
        subject_ids=[row["order_id"] for row in parcels],
        event_ids=[causes[row["shipment_id"]] for row in parcels],
        due_ats=[row["look_at"] for row in parcels],
        data=[f'{{"shipment_id":"{row["shipment_id"]}"}}' for row in parcels],
    )
    return {row["shipment_id"] for row in parcels}
