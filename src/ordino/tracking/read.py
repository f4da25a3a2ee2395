"""Parcels as people read them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.tracking.begin import sql
from ordino.tracking.model import Kind, Status


class TrackingEventView(Struct, frozen=True):
    """What the carrier said; ``at`` is its time, ``received_at`` ours."""

    kind: Kind
    at: datetime
    received_at: datetime
    place: str | None
    detail: str | None


class ParcelReceiptView(Struct, frozen=True):
    """What came back of a line of a parcel: units that were ``restocked``, ``scrapped`` or missing (``lost``), and what followed
    for the customer: `refund`, `send_again`, or `nothing` where the units were refunded when the parcel was lost.
    """

    receipt_id: UUID
    location: str
    line_no: int
    restocked: int
    scrapped: int
    lost: int
    next: str
    refund_minor: int
    at: datetime


class ParcelView(Struct, frozen=True):
    """One shipment on its way.

    ``promised_at`` and ``last_promised_at`` are what the customer was told first and last of this parcel; ``planned_at`` is when
    the plan arrives, ``expected_at`` when the carrier expects it. It is late by what was told last; ``behind_plan_at`` says since
    when it was known to be behind the plan while that still held. A parcel that comes back is ``returning_at`` from then on,
    ``back_at`` when it reached the sender, and ``received_back_at`` when all its units were accounted for.
    """

    shipment_id: UUID
    tracking_number: str
    status: Status
    carrier: str | None
    service: str | None
    shipped_at: datetime
    promised_at: datetime
    last_promised_at: datetime
    planned_at: datetime
    expected_at: datetime
    behind_plan_at: datetime | None
    late_at: datetime | None
    delivered_at: datetime | None
    lost_at: datetime | None
    returning_at: datetime | None
    back_at: datetime | None
    received_back_at: datetime | None
    events: list[TrackingEventView]
    receipts: list[ParcelReceiptView]


async def parcels(tx: Tx, order_id: UUID) -> list[ParcelView]:
    """The parcels of an order, first shipped first. Raises ``NotFound``."""
    rows = await sql.parcels_of_order(tx, order_id=order_id)
    if not rows and not await sql.order_exists(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    said: dict[UUID, list[TrackingEventView]] = {}
    for row in await sql.events_of_order(tx, order_id=order_id):
        said.setdefault(row["shipment_id"], []).append(
            TrackingEventView(Kind(row["kind"]), row["at"], row["received_at"], row["place"], row["detail"])
        )
    came: dict[UUID, list[ParcelReceiptView]] = {}
    for row in await sql.receipts_of_order(tx, order_id=order_id):
        fields = {name: row[name] for name in ParcelReceiptView.__struct_fields__}
        came.setdefault(row["shipment_id"], []).append(ParcelReceiptView(**fields))
    return [
        ParcelView(
            **{**dict(row), "status": Status(row["status"])},
            events=said.get(row["shipment_id"], []),
            receipts=came.get(row["shipment_id"], []),
        )
        for row in rows
    ]
