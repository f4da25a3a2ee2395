"""Parcels, and what carriers say of them.

TRK-1  Every parcel is a shipment, and is found by its tracking number; what a carrier says of a number happens to all its
       shipments.
TRK-2  A parcel's status follows from what happened to it.
TRK-3  The same words of a carrier twice are one event, however often they are sent.
TRK-4  A parcel is delivered or lost once, whichever comes first; its units follow, and no later word moves them again.
TRK-5  What comes back to the sender is never delivered; no more of it is received back than was sent.
TRK-6  A parcel is received back when all its units are accounted for: restocked, scrapped or missing.
TRK-7  What a carrier says before a shipment leaves is kept, and happens to its parcel once, when it leaves.
TRK-8  A parcel is late only after a date that its customer was told, and behind its plan only after the plan.
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
    RETURNING = "returning"  # The carrier brings it back to the sender, or has brought it there.
    RECEIVED_BACK = "received_back"  # The sender has it, and has accounted for its units.
    LOST = "lost"


EXITS: dict[Status, frozenset[Status]] = {
    Status.IN_TRANSIT: frozenset({Status.LATE, Status.DELIVERED, Status.RETURNING, Status.RECEIVED_BACK, Status.LOST}),
    Status.LATE: frozenset({Status.DELIVERED, Status.RETURNING, Status.RECEIVED_BACK, Status.LOST}),
    Status.DELIVERED: frozenset(),
    Status.RETURNING: frozenset({Status.RECEIVED_BACK, Status.LOST}),
    Status.RECEIVED_BACK: frozenset(),
    Status.LOST: frozenset({Status.RECEIVED_BACK}),  # found again
}

TURNS = frozenset({Kind.DELIVERED, Kind.LOST, Kind.RETURNED_TO_SENDER})
"""What is said of a parcel once. Said again without a time, it is a repeat."""


class TrackingEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the carrier said. ``at`` is the carrier's time, by default now: not before the shipment left and not in the future,
    give or take a minute. ``expected_at`` is its new date for a delayed parcel, within a year.
    """

    tracking_number: Code
    kind: Kind
    at: Instant | None = None
    place: Annotated[str, Meta(max_length=200, pattern=_NO_NUL)] | None = None
    detail: Annotated[str, Meta(max_length=1000, pattern=_NO_NUL)] | None = None
    expected_at: Instant | None = None


class TrackingRefusal(StrEnum):
    """Why an event was refused, in the order in which the reasons are tested."""

    INVALID = "invalid"  # A time without an offset, before the shipment left, or in the future.
    UNKNOWN_TRACKING_NUMBER = "unknown_tracking_number"  # No shipment has it, and nothing more is kept.


class InParcel(Struct, frozen=True):
    """A shipment in a parcel."""

    order_id: UUID
    shipment_id: UUID


class Recorded(Struct, frozen=True, tag_field="outcome", tag="recorded"):
    """The event is on record. ``repeated`` says that it already was; ``status`` is the parcel's. ``shipments`` are all in the
    parcel; ``order_id`` and ``shipment_id`` are the first of them.
    """

    tracking_number: str
    kind: Kind
    order_id: UUID
    shipment_id: UUID
    status: Status
    repeated: bool = False
    shipments: tuple[InParcel, ...] = ()


class Kept(Struct, frozen=True, tag_field="outcome", tag="kept"):
    """No shipment has left under the number yet. What was said is kept, and happens to its parcel when one does."""

    tracking_number: str
    kind: Kind
    at: datetime
    repeated: bool = False


class EventRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this event. ``pointer`` names the field, ``detail`` says what to do."""

    tracking_number: str
    reason: TrackingRefusal
    detail: str
    pointer: str = ""


class NewDate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A date that the customer was told: of the parcel ``shipment_id``, or of the whole order if that is left out."""

    order_id: UUID
    promised_at: Instant
    shipment_id: UUID | None = None


class DateRefusal(StrEnum):
    """Why a date was refused, in the order in which the reasons are tested."""

    INVALID = "invalid"  # A time without an offset, or in no year that a parcel can see.
    UNKNOWN = "unknown"  # No such order, or the order has no such parcel.
    ENDED = "ended"  # Nothing is to arrive any more.


class DateTold(Struct, frozen=True, tag_field="outcome", tag="told"):
    """What the customer was told of the order first and last; both are None while only dates of its parcels were told."""

    order_id: UUID
    promised_at: datetime | None
    last_promised_at: datetime | None


class DateRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this date. ``pointer`` names the field, ``detail`` says what to do."""

    order_id: UUID
    reason: DateRefusal
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
    told_at: datetime  # what its customer was told last
    planned_at: datetime
    behind_plan_at: datetime | None = None
    returning_at: datetime | None = None
    back_at: datetime | None = None
    received_back_at: datetime | None = None

    @property
    def status(self) -> Status:
        if self.received_back_at is not None:
            return Status.RECEIVED_BACK
        if self.delivered_at is not None:
            return Status.DELIVERED
        if self.lost_at is not None:
            return Status.LOST
        if self.returning_at is not None:
            return Status.RETURNING
        return Status.IN_TRANSIT if self.late_at is None else Status.LATE
