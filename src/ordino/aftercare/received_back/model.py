"""What is said of a parcel that came back to the sender, and what is answered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.aftercare.model import Units
from ordino.core.codes import Code
from ordino.tracking.model import Status


class Next(StrEnum):
    """What follows for the customer."""

    REFUND = "refund"  # The units are cancelled, and what they were charged is given back.
    SEND_AGAIN = "send_again"  # The units are sourced again, and leave in another shipment.


class BackLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of units of a line: on the shelf again, scrapped, or missing in the parcel (``lost``). Of kits, whole kits."""

    line_no: int
    restocked: Units = 0
    scrapped: Units = 0
    lost: Units = 0
    serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None  # of restocked units, where the SKU has them
    scrapped_serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None
    then: Next | None = None


class ParcelArrival(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of a parcel came back: those of ``lines``, or ``all`` that are still in it, which are restocked.

    ``then`` says what follows for the customer, for all lines that do not say it themselves. Units of a parcel that was lost were
    refunded then: leave it out. Without a ``location``, they arrived where they were shipped from. What is missing may come later.
    """

    lines: list[BackLine] | None = None
    all: bool = False
    then: Next | None = None
    location: Code | None = None


class ParcelReceipt(ParcelArrival, frozen=True, kw_only=True):
    order_id: UUID
    shipment_id: UUID


class BackRefusal(StrEnum):
    """Why a receipt was refused, in the order in which the reasons are tested."""

    REPEATED = "repeated"  # The same item stands earlier in this batch.
    UNKNOWN = "unknown"  # No such order, shipment, line or location.
    DELIVERED = "delivered"  # The customer has it: what they send back is a return.
    DONE = "done"  # All of it came back before.
    INVALID = "invalid"  # Units, lines or serial numbers that make no sense, or nothing said of what follows.
    KIT = "kit"  # What was sold by itself has become a kit since, which has no stock of its own.
    TOO_MANY = "too_many"  # More than is still in the parcel.


class ReceivedBack(Struct, frozen=True, tag_field="outcome", tag="received_back"):
    """``left`` units are still to come. ``refund_minor`` is what is to be given back; ``sent_again`` units are sourced again.
    ``expired`` ones of the restocked are past their date: they are set aside, and not offered.
    """

    order_id: UUID
    shipment_id: UUID
    receipt_id: UUID
    restocked: int
    scrapped: int
    lost: int
    left: int
    refund_minor: int
    sent_again: int
    parcel: Status
    order: str
    expired: int = 0


class BackRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this item. ``pointer`` names the field within it, ``detail`` says what to do."""

    order_id: UUID
    shipment_id: UUID
    reason: BackRefusal
    detail: str
    pointer: str = ""
