"""Carriers' words: recorded once, and what they say of a parcel happens to its units."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import State, UnitMove
from ordino.tracking.model import (
    EventRefused,
    Kind,
    ParcelRow,
    Recorded,
    TrackingEvent,
    TrackingRefusal,
    instant_fault,
)
from ordino.tracking.watch import sql

DELAYS = frozenset({"shipment_delayed", "shipment_to_be_late"})

Words = tuple[UUID, str, datetime]
"""(shipment id, kind, the carrier's time): what makes two events the same."""


async def take_events(
    tx: Tx, tracking_events: Sequence[TrackingEvent], *, at: datetime
) -> list[Recorded | EventRefused]:
    """One outcome an event, in order.

    The first ``delivered`` delivers the units of the shipment, the first ``lost`` reports them lost by the event
    ``shipment_lost``, ``delayed`` moves the expected time, and
    where that is after what the customer was told last, the event ``shipment_to_be_late`` says so. What a carrier says of a parcel
    after its end is only recorded.
    """
    rows = await sql.behind_numbers(tx, tracking_numbers=list({e.tracking_number for e in tracking_events}))
    behind = {row["tracking_number"]: (row["order_id"], row["shipment_id"]) for row in rows}
    outcomes: dict[int, Recorded | EventRefused] = {}
    known: list[tuple[int, TrackingEvent, UUID, UUID, datetime]] = []
    for index, event in enumerate(tracking_events):
        refusal = _fault(event, behind)
        if refusal is not None:
            outcomes[index] = refusal
        else:
            known.append((index, event, *behind[event.tracking_number], event.at or at))
    if known:
        await _record(tx, known, outcomes, at)
    return [outcomes[index] for index in range(len(tracking_events))]


def _fault(event: TrackingEvent, behind: dict[str, Any]) -> EventRefused | None:
    number = event.tracking_number
    for name in ("at", "expected_at"):
        if (wrong := instant_fault(name, getattr(event, name))) is not None:
            return EventRefused(number, TrackingRefusal.INVALID, wrong, f"/{name}")
    if number not in behind:
        detail = f"No parcel has the tracking number {number!r}; it is known once its shipment has left."
        return EventRefused(number, TrackingRefusal.UNKNOWN_TRACKING_NUMBER, detail, "/tracking_number")
    return None


async def _record(
    tx: Tx,
    known: Sequence[tuple[int, TrackingEvent, UUID, UUID, datetime]],
    outcomes: dict[int, Recorded | EventRefused],
    at: datetime,
) -> None:
    orders = await orders_ledger.lock(tx, [order_id for _, _, order_id, _, _ in known])
    owners = {shipment_id: order_id for _, _, order_id, shipment_id, _ in known}
    rows = await sql.parcels(tx, order_ids=list(owners.values()), shipment_ids=list(owners))
    parcels = {row["shipment_id"]: ParcelRow(*row) for row in rows}
    delays = await _delays(tx, known)
    distinct: dict[Words, tuple[TrackingEvent, UUID]] = {}
    for _, event, order_id, shipment_id, said_at in known:
        distinct.setdefault((shipment_id, event.kind, said_at), (event, order_id))
    rows = await sql.record_events(
        tx,
        order_ids=[order_id for _, order_id in distinct.values()],
        shipment_ids=[words[0] for words in distinct],
        kinds=[words[1] for words in distinct],
        ats=[words[2] for words in distinct],
        places=[event.place for event, _ in distinct.values()],
        details=[event.detail for event, _ in distinct.values()],
        received_at=at,
    )
    new = {(row["shipment_id"], row["kind"], row["at"]) for row in rows}
    happened: list[tuple[str, ParcelRow]] = []
    changed: dict[UUID, ParcelRow] = {}
    repeated: dict[int, bool] = {}
    for index, event, _, shipment_id, said_at in known:
        words = (shipment_id, str(event.kind), said_at)
        repeated[index] = words not in new
        if repeated[index]:
            continue
        new.discard(words)  # the same words again in this batch are a repeat
        parcel = parcels[shipment_id]
        if event.kind is Kind.DELAYED:
            if said_at < delays.get(shipment_id, said_at):
                continue  # the carrier has said something newer since
            delays[shipment_id] = said_at
        kind = _apply(event, parcel, said_at)
        if kind is not None:
            happened.append((kind, parcel))
            changed[shipment_id] = parcel
            if kind == "shipment_delayed" and parcel.expected_at > parcel.told_at:
                happened.append(("shipment_to_be_late", parcel))
    await _write(tx, happened, changed, {order_id: order.flow_version for order_id, order in orders.items()}, at)
    for index, event, order_id, shipment_id, _ in known:
        status = parcels[shipment_id].status
        outcomes[index] = Recorded(
            event.tracking_number, event.kind, order_id, shipment_id, status, repeated=repeated[index]
        )


async def _delays(tx: Tx, known: Sequence[tuple[int, TrackingEvent, UUID, UUID, datetime]]) -> dict[UUID, datetime]:
    """Shipment id -> when its delay was told last, before this batch."""
    delayed = {shipment_id: order_id for _, event, order_id, shipment_id, _ in known if event.kind is Kind.DELAYED}
    if not delayed:
        return {}
    rows = await sql.delays(tx, order_ids=list(delayed.values()), shipment_ids=list(delayed))
    return {row["shipment_id"]: row["at"] for row in rows}


def _apply(event: TrackingEvent, parcel: ParcelRow, said_at: datetime) -> str | None:
    """What the words do to the parcel; None where they change nothing."""
    if parcel.delivered_at is not None or parcel.lost_at is not None:
        return None
    if event.kind is Kind.DELIVERED:
        parcel.delivered_at = said_at
        if parcel.late_at is not None and said_at <= min(parcel.told_at, parcel.late_at):
            parcel.late_at = None  # it was only the news that came late
        return "shipment_delivered"
    if event.kind is Kind.LOST:
        parcel.lost_at = said_at
        return "shipment_lost"
    if event.kind is Kind.DELAYED and event.expected_at is not None and event.expected_at != parcel.expected_at:
        parcel.expected_at = event.expected_at
        return "shipment_delayed"
    if event.kind is Kind.RETURNED_TO_SENDER:
        return "shipment_returned_to_sender"
    return None


async def _write(
    tx: Tx,
    happened: Sequence[tuple[str, ParcelRow]],
    changed: dict[UUID, ParcelRow],
    versions: dict[UUID, int],
    at: datetime,
) -> None:
    if not happened:
        return
    parcels = list(changed.values())
    await sql.change_parcels(
        tx,
        order_ids=[p.order_id for p in parcels],
        shipment_ids=[p.shipment_id for p in parcels],
        expected_ats=[p.expected_at for p in parcels],
        late_ats=[p.late_at for p in parcels],
        delivered_ats=[p.delivered_at for p in parcels],
        lost_ats=[p.lost_at for p in parcels],
    )
    contents: dict[UUID, list[dict[str, int]]] = {}
    told = {p.shipment_id: p for kind, p in happened if kind not in DELAYS}
    if told:
        rows = await sql.contents(tx, order_ids=[p.order_id for p in told.values()], shipment_ids=list(told))
        for row in rows:
            contents.setdefault(row["shipment_id"], []).append({"line_no": row["line_no"], "quantity": row["quantity"]})
    events: list[Event] = []
    moves: list[UnitMove] = []
    for event_id, (kind, parcel) in zip(new_ids(at, len(happened)), happened, strict=True):
        data: dict[str, Any] = {"shipment_id": parcel.shipment_id, "tracking_number": parcel.tracking_number}
        if kind in DELAYS:
            data |= {"expected_at": parcel.expected_at, "last_promised_at": parcel.told_at}
        else:
            data["lines"] = contents[parcel.shipment_id]
        events.append(Event(parcel.order_id, event_id, kind, at, data, versions[parcel.order_id]))
        if kind == "shipment_delivered":
            moves += [
                UnitMove(parcel.order_id, units["line_no"], State.SHIPPED, State.DELIVERED, units["quantity"], event_id)
                for units in contents[parcel.shipment_id]
            ]
    await orders_ledger.move_units(tx, moves, at=at)
    await record(tx, events)
