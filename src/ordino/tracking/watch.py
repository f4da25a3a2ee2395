"""Watching: every shipment becomes a parcel, and is looked at when it should have arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import OrderRow
from ordino.tracking.begin import Sent, begin, sql
from ordino.tracking.take_events import take_kept
from ordino.warehouse import numbers

__all__ = ["Sent", "check_late", "watch"]


async def watch(tx: Tx, shipments: Sequence[Sent], *, at: datetime) -> None:
    """Write the parcels that no carrier has spoken of yet, and let happen to them what was said before they left.

    A process of an earlier release may have sent a shipment under the number of another parcel. It cannot be watched; the event
    ``tracking_number_taken`` says so.
    """
    orders = await orders_ledger.lock(tx, [s.order_id for s in shipments])
    wanted = [
        numbers.Numbered(tracking_number=s.tracking_number, order_id=s.order_id, shipment_id=s.shipment_id)
        for s in shipments
    ]
    numbered = await numbers.ensure(tx, wanted)
    await _complain(tx, [s for s in shipments if s.shipment_id not in numbered], orders, at)
    watched = [s for s in shipments if s.shipment_id in numbered]
    await begin(tx, watched, at=at)
    await take_kept(tx, {s.tracking_number for s in watched}, at=at)


async def _complain(tx: Tx, shipments: Sequence[Sent], orders: Mapping[UUID, OrderRow], at: datetime) -> None:
    events = []
    for event_id, s in zip(new_ids(at, len(shipments)), shipments, strict=True):
        data = {"shipment_id": s.shipment_id, "tracking_number": s.tracking_number}
        version = orders[s.order_id].flow_version
        events.append(Event(s.order_id, event_id, "tracking_number_taken", at, data, version))
    await record(tx, events)


async def check_late(tx: Tx, parcels: Sequence[tuple[UUID, UUID]], *, at: datetime) -> int:
    """(order id, shipment id): whatever has not arrived by its promise is late. Returns how many parcels became late.

    The shipments of an order in one parcel are late together: the customer is told of the first.
    """
    orders = await orders_ledger.lock(tx, [order_id for order_id, _ in parcels])
    rows = await sql.mark_late(
        tx,
        order_ids=[order_id for order_id, _ in parcels],
        shipment_ids=[shipment_id for _, shipment_id in parcels],
        at=at,
    )
    if not rows:
        return 0
    before = await sql.late_before(tx, order_ids=sorted({row["order_id"] for row in rows}), at=at)
    told = {(row["order_id"], row["tracking_number"]) for row in before}
    news: dict[tuple[UUID, str], Any] = {}
    for row in rows:
        if (key := (row["order_id"], row["tracking_number"])) not in told:
            news.setdefault(key, row)
    events = []
    for event_id, row in zip(new_ids(at, len(news)), news.values(), strict=True):
        data = {name: row[name] for name in ("shipment_id", "tracking_number", "promised_at", "expected_at")}
        version = orders[row["order_id"]].flow_version
        events.append(Event(row["order_id"], event_id, "shipment_late", at, data, version))
    await record(tx, events)
    return len(rows)
