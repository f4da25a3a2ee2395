"""Watching: every shipment becomes a parcel, and is looked at when it should have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import BUCKETS, Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.orders import ledger as orders_ledger

sql = statements("ordino.tracking")
core_sql = statements("ordino.core")


class Sent(Struct, frozen=True):
    """A shipment that left, and the event that says so."""

    order_id: UUID
    shipment_id: UUID
    tracking_number: str
    event_id: UUID


async def watch(tx: Tx, shipments: Sequence[Sent], *, at: datetime) -> None:
    """Write the parcels, and enqueue the reaction ``check_late`` for the instant of each promise.

    A shipment whose tracking number leads to another parcel cannot be watched; the event ``tracking_number_taken`` says so.
    """
    rows = await sql.claim_tracking_numbers(
        tx,
        tracking_numbers=[s.tracking_number for s in shipments],
        order_ids=[s.order_id for s in shipments],
        shipment_ids=[s.shipment_id for s in shipments],
    )
    claimed = {row["shipment_id"] for row in rows}
    if len(claimed) < len(shipments):
        await _complain(tx, [s for s in shipments if s.shipment_id not in claimed], at)
    causes = {s.shipment_id: s.event_id for s in shipments if s.shipment_id in claimed}
    watched = [s for s in shipments if s.shipment_id in claimed]
    if not watched:
        return
    parcels = await sql.write_parcels(
        tx,
        order_ids=[s.order_id for s in watched],
        shipment_ids=[s.shipment_id for s in watched],
    )
    assert len(parcels) == len(watched), "what was shipped is in the warehouse's books"
    await core_sql.enqueue(
        tx,
        buckets=[row["order_id"].int % BUCKETS for row in parcels],
        ids=new_ids(at, len(parcels)),
        kinds=["check_late"] * len(parcels),
        subject_ids=[row["order_id"] for row in parcels],
        event_ids=[causes[row["shipment_id"]] for row in parcels],
        due_ats=[row["promised_at"] for row in parcels],
        data=[f'{{"shipment_id":"{row["shipment_id"]}"}}' for row in parcels],
    )


async def _complain(tx: Tx, shipments: Sequence[Sent], at: datetime) -> None:
    rows = await sql.behind_numbers(tx, tracking_numbers=[s.tracking_number for s in shipments])
    owners = {row["tracking_number"]: row["shipment_id"] for row in rows}
    lost = [s for s in shipments if owners.get(s.tracking_number) != s.shipment_id]
    if not lost:
        return
    orders = await orders_ledger.lock(tx, [s.order_id for s in lost])
    events = []
    for event_id, s in zip(new_ids(at, len(lost)), lost, strict=True):
        data = {"shipment_id": s.shipment_id, "tracking_number": s.tracking_number}
        version = orders[s.order_id].flow_version
        events.append(Event(s.order_id, event_id, "tracking_number_taken", at, data, version))
    await record(tx, events)


async def check_late(tx: Tx, parcels: Sequence[tuple[UUID, UUID]], *, at: datetime) -> int:
    """(order id, shipment id): whatever has not arrived by its promise is late. Returns how many parcels became late."""
    orders = await orders_ledger.lock(tx, [order_id for order_id, _ in parcels])
    rows = await sql.mark_late(
        tx,
        order_ids=[order_id for order_id, _ in parcels],
        shipment_ids=[shipment_id for _, shipment_id in parcels],
        at=at,
    )
    events = []
    for event_id, row in zip(new_ids(at, len(rows)), rows, strict=True):
        data = {name: row[name] for name in ("shipment_id", "tracking_number", "promised_at", "expected_at")}
        version = orders[row["order_id"]].flow_version
        events.append(Event(row["order_id"], event_id, "shipment_late", at, data, version))
    await record(tx, events)
    return len(rows)
