"""What a carrier's words do to parcels, and what follows for their units, their customers and the people who look after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.payloads import Payload, Units
from ordino.orders import ledger as orders_ledger
from ordino.orders import parcel_exceptions
from ordino.orders.model import OrderRow, State, UnitMove
from ordino.orders.parcel_exceptions import ARRIVED_AFTER_LOSS, RETURNED_TO_SENDER, ParcelException
from ordino.tracking.begin import sql
from ordino.tracking.events import (
    Arrived,
    Delayed,
    LostShipmentArrived,
    ShipmentBack,
    ShipmentDelayed,
    ShipmentDelivered,
    ShipmentLost,
    ShipmentReturnedToSender,
    ShipmentToBeLate,
)
from ordino.tracking.model import Kind, ParcelRow, TrackingEvent

Contents = Mapping[UUID, Mapping[int, int]]
"""Shipment id -> line number -> units that have not come back."""

DELAYS: dict[str, type[Delayed]] = {type_.kind: type_ for type_ in (ShipmentDelayed, ShipmentToBeLate)}
ARRIVALS: dict[str, type[Arrived]] = {
    type_.kind: type_
    for type_ in (ShipmentDelivered, ShipmentLost, ShipmentReturnedToSender, ShipmentBack, LostShipmentArrived)
}

SAID = {
    RETURNED_TO_SENDER: "The carrier is bringing parcel {number} back. Receive it with "
    "POST /v1/orders/{order}/parcels/{shipment}/receipt, and say whether its units are refunded or sent again.",
    ARRIVED_AFTER_LOSS: "Parcel {number} was reported lost and its units were refunded, but the carrier has now delivered it. The "
    "customer has the goods and the money: talk to them, then close this.",
}


class Happening(Struct, frozen=True):
    """Something happened to a shipment by the words at ``place`` in a batch."""

    place: int
    kind: str
    parcel: ParcelRow


def apply(event: TrackingEvent, parcel: ParcelRow, said_at: datetime) -> str | None:
    """What the words do to the parcel; the kind of the event that says so, None where they change nothing."""
    said_at = max(said_at, parcel.shipped_at)  # carriers' clocks may be a little behind
    if parcel.delivered_at is not None or parcel.received_back_at is not None:
        return None
    if event.kind is Kind.DELIVERED:
        return _arrive(parcel, said_at)
    if event.kind is Kind.RETURNED_TO_SENDER and parcel.returning_at is None:
        parcel.returning_at = said_at
        return "shipment_returned_to_sender"
    if parcel.lost_at is not None:
        return None
    if event.kind is Kind.LOST:
        if parcel.back_at is not None:
            return None  # the carrier has it no longer: whoever received it says what is missing
        parcel.lost_at = said_at
        return "shipment_lost"
    delayed = event.kind is Kind.DELAYED and event.expected_at is not None and parcel.returning_at is None
    if delayed and event.expected_at != parcel.expected_at:
        assert event.expected_at is not None
        parcel.expected_at = event.expected_at
        return "shipment_delayed"
    return None


def _arrive(parcel: ParcelRow, said_at: datetime) -> str | None:
    """A parcel that comes back arrives at the sender, whatever the carrier calls it; any other at the customer."""
    if parcel.returning_at is not None:
        if parcel.back_at is not None:
            return None
        parcel.back_at = said_at
        return "shipment_back"
    if parcel.lost_at is not None:
        return "lost_shipment_arrived"
    parcel.delivered_at = said_at
    if parcel.late_at is not None and said_at <= min(parcel.told_at, parcel.late_at):
        parcel.late_at = None  # it was only the news that came late
    return "shipment_delivered"


async def write(tx: Tx, happened: Sequence[Happening], orders: Mapping[UUID, OrderRow], *, at: datetime) -> None:
    """Write what happened: the parcels, one event an order, the units that arrived, and what a person must see."""
    if not happened:
        return
    parcels = {h.parcel.shipment_id: h.parcel for h in happened}
    await change(tx, list(parcels.values()))
    holds = await contents(tx, parcels.values())
    events: list[Event] = []
    moves: list[UnitMove] = []
    for event_id, (kind, together) in zip(new_ids(at, len(happened)), _by_order(happened), strict=False):
        first = together[0]
        lines: dict[int, int] = {}
        for parcel in together:
            for line_no, quantity in holds.get(parcel.shipment_id, {}).items():
                lines[line_no] = lines.get(line_no, 0) + quantity
        payload = _payload(kind, together, lines)
        events.append(Event(first.order_id, event_id, at, payload, orders[first.order_id].flow_version))
        if kind == "shipment_delivered":
            moves += [
                UnitMove(first.order_id, line_no, State.SHIPPED, State.DELIVERED, quantity, event_id)
                for line_no, quantity in lines.items()
            ]
    await orders_ledger.move_units(tx, moves, at=at)
    await record(tx, events)
    await _tell_people(tx, happened, holds, orders, at)


def _payload(kind: str, together: Sequence[ParcelRow], lines: Mapping[int, int]) -> Payload:
    first, shipment_ids = together[0], [parcel.shipment_id for parcel in together]
    if kind in DELAYS:
        return DELAYS[kind](
            shipment_id=first.shipment_id,
            shipment_ids=shipment_ids,
            tracking_number=first.tracking_number,
            expected_at=first.expected_at,
            last_promised_at=first.told_at,
        )
    return ARRIVALS[kind](
        shipment_id=first.shipment_id,
        shipment_ids=shipment_ids,
        tracking_number=first.tracking_number,
        lines=[Units(line_no, quantity) for line_no, quantity in sorted(lines.items())],
    )


def _by_order(happened: Sequence[Happening]) -> list[tuple[str, list[ParcelRow]]]:
    """The shipments of an order in one parcel, to which the same words happened: the customer is told once."""
    groups: dict[tuple[int, str, UUID], list[ParcelRow]] = {}
    for h in happened:
        groups.setdefault((h.place, h.kind, h.parcel.order_id), []).append(h.parcel)
    return [(kind, together) for (_, kind, _), together in groups.items()]


async def _tell_people(
    tx: Tx, happened: Sequence[Happening], holds: Contents, orders: Mapping[UUID, OrderRow], at: datetime
) -> None:
    for event_kind, kind in (
        ("shipment_returned_to_sender", RETURNED_TO_SENDER),
        ("lost_shipment_arrived", ARRIVED_AFTER_LOSS),
    ):
        wanted = {
            h.parcel.shipment_id: exception(kind, h.parcel, sum(holds.get(h.parcel.shipment_id, {}).values()))
            for h in happened
            if h.kind == event_kind
        }
        await parcel_exceptions.open_exceptions(tx, kind, list(wanted.values()), at=at)
    over = [(h.parcel.order_id, h.parcel.shipment_id) for h in happened if h.kind == "shipment_lost"]
    await parcel_exceptions.clear_exceptions(tx, RETURNED_TO_SENDER, over, orders, at=at)


def exception(kind: str, parcel: ParcelRow, units: int) -> ParcelException:
    """What a person is to see of a parcel that holds so many units."""
    detail = SAID[kind].format(number=parcel.tracking_number, order=parcel.order_id, shipment=parcel.shipment_id)
    return ParcelException(parcel.order_id, parcel.shipment_id, units, detail)


async def contents(tx: Tx, parcels: Iterable[ParcelRow]) -> dict[UUID, dict[int, int]]:
    """What of these shipments has not come back: shipment id -> line number -> units."""
    wanted = list(parcels)
    rows = await sql.contents(tx, order_ids=[p.order_id for p in wanted], shipment_ids=[p.shipment_id for p in wanted])
    holds: dict[UUID, dict[int, int]] = {}
    for row in rows:
        holds.setdefault(row["shipment_id"], {})[row["line_no"]] = row["quantity"]
    return holds


async def change(tx: Tx, parcels: Sequence[ParcelRow]) -> None:
    """Write down what became of parcels. Their orders must be locked."""
    await sql.change_parcels(
        tx,
        order_ids=[p.order_id for p in parcels],
        shipment_ids=[p.shipment_id for p in parcels],
        expected_ats=[p.expected_at for p in parcels],
        late_ats=[p.late_at for p in parcels],
        delivered_ats=[p.delivered_at for p in parcels],
        lost_ats=[p.lost_at for p in parcels],
        returning_ats=[p.returning_at for p in parcels],
        back_ats=[p.back_at for p in parcels],
        received_back_ats=[p.received_back_at for p in parcels],
    )
