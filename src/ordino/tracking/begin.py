"""A parcel begins: what has shipped is on its way, and is looked at when it should have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import Due, enqueue
from ordino.core.statements import statements

sql = statements("ordino.tracking")


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
    due = [look_at(row["order_id"], row["shipment_id"], causes[row["shipment_id"]], row["look_at"]) for row in parcels]
    await enqueue(tx, due, at=at)
    return {row["shipment_id"] for row in parcels}


def look_at(order_id: UUID, shipment_id: UUID, cause_id: UUID, due_at: datetime) -> Due:
    """A parcel is to be looked at: ``check_late``."""
    return Due("check_late", order_id, cause_id, due_at, f'{{"shipment_id":"{shipment_id}"}}')
