"""Parcels, and what carriers say of them.

TRK-1  A tracking number leads to one parcel, and every parcel is a shipment.
TRK-2  A parcel's status follows from what happened to it.
TRK-3  The same words of a carrier twice are one event, however often they are sent.
TRK-4  A parcel is delivered or lost once, whichever comes first; its units follow, and no later word moves them again.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code

_NO_NUL = r"^[^\x00]*$"
Instant = Annotated[datetime, Meta(tz=True)]


class Kind(StrEnum):
    """What a carrier may say."""

    HANDED_OVER = "handed_over"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERED = "delivered"
    DELAYED = "delayed"
    LOST = "lost"
    RETURNED_TO_SENDER = "returned_to_sender"


class Status(StrEnum):
    """Where a parcel is."""

    IN_TRANSIT = "in_transit"
    LATE = "late"
    DELIVERED = "delivered"
    LOST = "lost"


EXITS: dict[Status, frozenset[Status]] = {
    Status.IN_TRANSIT: frozenset({Status.LATE, Status.DELIVERED, Status.LOST}),
    Status.LATE: frozenset({Status.DELIVERED, Status.LOST}),
    Status.DELIVERED: frozenset(),
    Status.LOST: frozenset(),
}


class TrackingEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the carrier said. ``at`` is the carrier's time, by default now; ``expected_at`` is its new date for a delayed parcel."""

    tracking_number: Code
    kind: Kind
    at: Instant | None = None
    place: Annotated[str, Meta(max_length=200, pattern=_NO_NUL)] | None = None
    detail: Annotated[str, Meta(max_length=1000, pattern=_NO_NUL)] | None = None
    expected_at: Instant | None = None


class TrackingRefusal(StrEnum):
    """Why an event was refused, in the order in which the reasons are tested."""

    INVALID = "invalid"  # A time without an offset, or in no year that a parcel can see.
    UNKNOWN_TRACKING_NUMBER = "unknown_tracking_number"  # No parcel has it.


class Recorded(Struct, frozen=True, tag_field="outcome", tag="recorded"):
    """The event is on record. ``repeated`` says that it already was; ``status`` is the parcel's."""

    tracking_number: str
    kind: Kind
    order_id: UUID
    shipment_id: UUID
    status: Status
    repeated: bool = False


class EventRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this event. ``pointer`` names the field, ``detail`` says what to do."""

    tracking_number: str
    reason: TrackingRefusal
    detail: str
    pointer: str = ""


class ParcelRow(Struct):
    """One shipment on its way. Verbs change it as they go through a batch."""

    order_id: UUID
    shipment_id: UUID
    tracking_number: str
    promised_at: datetime
    expected_at: datetime
    shipped_at: datetime
    late_at: datetime | None
    delivered_at: datetime | None
    lost_at: datetime | None

    @property
    def status(self) -> Status:
        if self.delivered_at is not None:
            return Status.DELIVERED
        if self.lost_at is not None:
            return Status.LOST
        return Status.IN_TRANSIT if self.late_at is None else Status.LATE
