"""Watching: every shipment becomes a parcel, and is looked at when it should have arrived, by plan and by what was told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, enqueue, record
from ordino.core.ids import new_ids
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import OrderRow
from ordino.tracking.begin import Sent, begin, look_at, sql
from ordino.tracking.events import ShipmentBehindPlan, ShipmentLate, TrackingNumberTaken
from ordino.tracking.model import ParcelRow, Status
from ordino.tracking.take_events import behind_numbers, take_kept
from ordino.warehouse import numbers

__all__ = ["Sent", "begin_what_left", "check_late", "look_again", "watch"]


async def watch(tx: Tx, shipments: Sequence[Sent], *, at: datetime) -> None:
    """Write the parcels that no carrier has spoken of yet, and let happen to them what was said before they left.

    A process of an earlier release may have sent a shipment under the number of another parcel. It cannot be watched; the event
    ``tracking_number_taken`` says so.
    """
    behind = await behind_numbers(tx, {s.tracking_number for s in shipments})
    fellows = {order_id for parcel in behind.values() for order_id, _ in parcel}
    orders = await orders_ledger.lock(tx, fellows.union(s.order_id for s in shipments))
    wanted = [
        numbers.Numbered(tracking_number=s.tracking_number, order_id=s.order_id, shipment_id=s.shipment_id)
        for s in shipments
    ]
    numbered = await numbers.ensure(tx, wanted)
    await _complain(tx, [s for s in shipments if s.shipment_id not in numbered], orders, at)
    watched = [s for s in shipments if s.shipment_id in numbered]
    await begin(tx, watched, at=at)
    await take_kept(tx, {s.tracking_number for s in watched}, orders, at=at)


async def begin_what_left(tx: Tx, order_ids: Collection[UUID], *, at: datetime) -> bool:
    """Shipments of these orders that neither a worker nor a carrier has spoken of become parcels now, and what was said before they
    left happens to them. Returns whether there were any. The orders must be locked.
    """
    rows = await sql.not_begun(tx, order_ids=sorted(order_ids))
    if not rows:
        return False
    numbered = await numbers.ensure(tx, [numbers.Numbered(**row) for row in rows])
    left = [Sent(**row, event_id=row["shipment_id"]) for row in rows if row["shipment_id"] in numbered]
    await begin(tx, left, at=at)
    await take_kept(tx, {s.tracking_number for s in left}, order_ids, at=at)
    return True


async def _complain(tx: Tx, shipments: Sequence[Sent], orders: Mapping[UUID, OrderRow], at: datetime) -> None:
    events = []
    for event_id, s in zip(new_ids(at, len(shipments)), shipments, strict=True):
        payload = TrackingNumberTaken(shipment_id=s.shipment_id, tracking_number=s.tracking_number)
        events.append(Event(s.order_id, event_id, at, payload, orders[s.order_id].flow_version))
    await record(tx, events)


async def check_late(tx: Tx, parcels: Sequence[tuple[UUID, UUID]], *, at: datetime) -> int:
    """(order id, shipment id): whatever has not arrived by the date that its customer was told last is late, and told so by the
    event ``shipment_late``. Returns how many parcels became late.

    The shipments of an order in one parcel are late together: the customer is told of the first.
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
    news = await _first_news(tx, late, at) + behind
    events = []
    for event_id, parcel in zip(new_ids(at, len(news)), news, strict=True):
        overdue = ShipmentBehindPlan if parcel.late_at is None else ShipmentLate
        payload = overdue(
            shipment_id=parcel.shipment_id,
            tracking_number=parcel.tracking_number,
            promised_at=parcel.promised_at,
            last_promised_at=parcel.told_at,
            planned_at=parcel.planned_at,
            expected_at=parcel.expected_at,
        )
        events.append(Event(parcel.order_id, event_id, at, payload, orders[parcel.order_id].flow_version))
    await record(tx, events)
    await look_again(tx, [(p.order_id, p.shipment_id, p.told_at) for p in waits if p.told_at > at], at=at)
    return len(late)


async def _first_news(tx: Tx, late: Sequence[ParcelRow], at: datetime) -> list[ParcelRow]:
    """The first shipment of each order in each parcel, of those of which none was late before."""
    if not late:
        return []
    rows = await sql.late_before(tx, order_ids=sorted({p.order_id for p in late}), at=at)
    told = {(row["order_id"], row["tracking_number"]) for row in rows}
    first: dict[tuple[UUID, str], ParcelRow] = {}
    for parcel in late:
        if (key := (parcel.order_id, parcel.tracking_number)) not in told:
            first.setdefault(key, parcel)
    return list(first.values())


async def look_again(tx: Tx, parcels: Sequence[tuple[UUID, UUID, datetime]], *, at: datetime) -> None:
    """(order id, shipment id, when): enqueue ``check_late``. A parcel that was looked at more often than needed is none the
    worse.
    """
    due = [look_at(order_id, shipment_id, shipment_id, due_at) for order_id, shipment_id, due_at in parcels]
    await enqueue(tx, due, at=at)
