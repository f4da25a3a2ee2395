"""Watching: every shipment becomes a parcel, and is looked at when it should have arrived, by plan and by what was told."""

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
from ordino.tracking.model import ParcelRow, Status

sql = statements("ordino.tracking")
core_sql = statements("ordino.core")


class Sent(Struct, frozen=True):
    """A shipment that left, and the event that says so."""

    order_id: UUID
    shipment_id: UUID
    tracking_number: str
    event_id: UUID


async def watch(tx: Tx, shipments: Sequence[Sent], *, at: datetime) -> None:
    """Write the parcels, and enqueue the reaction ``check_late`` for the instant of each plan or promise, whichever is first.

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
        due_ats=[row["look_at"] for row in parcels],
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
    """(order id, shipment id): whatever has not arrived by the date that its customer was told last is late, and told so by the
    event ``shipment_late``. Returns how many parcels became late.

    What has only missed the date of its plan is behind it (``shipment_behind_plan``): that is no matter of the customer's. It is
    looked at again when the date comes that he was told, whichever that is by then.
    """
    orders = await orders_ledger.lock(tx, [order_id for order_id, _ in parcels])
    rows = await sql.parcels(
        tx,
        order_ids=[order_id for order_id, _ in parcels],
        shipment_ids=[shipment_id for _, shipment_id in parcels],
    )
    found = {row["shipment_id"]: ParcelRow(*row) for row in rows}
    waits = [p for p in found.values() if p.status is Status.IN_TRANSIT]
    late = [p for p in waits if p.told_at <= at]
    behind = [p for p in waits if p.planned_at <= at < p.told_at and p.behind_plan_at is None]
    for parcel in late:
        parcel.late_at = at
    for parcel in behind:
        parcel.behind_plan_at = at
    if marked := late + behind:
        await sql.mark_late(
            tx,
            order_ids=[p.order_id for p in marked],
            shipment_ids=[p.shipment_id for p in marked],
            late_ats=[p.late_at for p in marked],
            behind_plan_ats=[p.behind_plan_at for p in marked],
        )
    events = []
    for event_id, parcel in zip(new_ids(at, len(marked)), marked, strict=True):
        data = {
            "shipment_id": parcel.shipment_id,
            "tracking_number": parcel.tracking_number,
            "promised_at": parcel.promised_at,
            "last_promised_at": parcel.told_at,
            "planned_at": parcel.planned_at,
            "expected_at": parcel.expected_at,
        }
        kind = "shipment_behind_plan" if parcel.late_at is None else "shipment_late"
        events.append(Event(parcel.order_id, event_id, kind, at, data, orders[parcel.order_id].flow_version))
    await record(tx, events)
    await look_again(tx, [(p.order_id, p.shipment_id, p.told_at) for p in waits if p.told_at > at], at=at)
    return len(late)


async def look_again(tx: Tx, parcels: Sequence[tuple[UUID, UUID, datetime]], *, at: datetime) -> None:
    """(order id, shipment id, when): enqueue ``check_late``. A parcel that was looked at more often than needed is none the
    worse.
    """
    if not parcels:
        return
    await core_sql.enqueue(
        tx,
        buckets=[order_id.int % BUCKETS for order_id, _, _ in parcels],
        ids=new_ids(at, len(parcels)),
        kinds=["check_late"] * len(parcels),
        subject_ids=[order_id for order_id, _, _ in parcels],
        event_ids=[shipment_id for _, shipment_id, _ in parcels],
        due_ats=[due_at for _, _, due_at in parcels],
        data=[f'{{"shipment_id":"{shipment_id}"}}' for _, shipment_id, _ in parcels],
    )
