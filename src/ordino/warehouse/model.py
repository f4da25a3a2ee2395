"""Fulfillment orders: what one location is to pick, pack and ship for one order.

FUL-1  Every released unit of a line is in exactly one state.
FUL-2  A fulfillment order's counts are the sums over its lines, and its status follows from them.
FUL-3  The warehouse and the demand ledger say the same of every line: open is what is released of its allocation, and
       what is picked, packed and shipped here is picked, packed and shipped there.
FUL-4  A unit is packed or shipped in exactly one package, and a package ships at most once.
FUL-5  What shipped has left the stock ledger, and nothing else has.
FUL-6  Work is done once: released again, picked again or shipped again, it changes nothing and says so.
FUL-7  Nothing is released to a location that is closed for the order's channel, is switched off, or has left its network.
FUL-8  A tracking number leads to one parcel: its shipments go with one carrier to one address.
FUL-9  A fulfillment order is due when its order's channel wants it shipped, if the channel said so; no work comes after its due
       time.
EXC-2  An open exception of work at a closed location names a fulfillment order of that location.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.upserts import CurrencyCode

_NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps every character but this one
MAX_LABOR_SECONDS = 10**7
MAX_GRAMS = 10**9
Units = Annotated[int, Meta(ge=0, le=10**9)]
LaborSeconds = Annotated[int, Meta(ge=0, le=MAX_LABOR_SECONDS, description="Work on it, in seconds.")]


class Status(StrEnum):
    """What a fulfillment order's counts add up to."""

    RELEASED = "released"  # Nothing was touched yet.
    PICKING = "picking"  # Some units are still open.
    PICKED = "picked"  # No unit is open, some are not in a package yet.
    PACKED = "packed"  # Every unit left is in a package, some did not ship yet.
    SHIPPED = "shipped"  # Every unit that was not short or cancelled has shipped.
    REJECTED = "rejected"  # Nothing shipped, something was short.
    CANCELLED = "cancelled"


EXITS: dict[Status, frozenset[Status]] = {
    Status.RELEASED: frozenset({Status.PICKING, Status.PICKED, Status.REJECTED, Status.CANCELLED}),
    Status.PICKING: frozenset(
        {Status.PICKED, Status.PACKED, Status.SHIPPED, Status.REJECTED, Status.CANCELLED},
    ),
    Status.PICKED: frozenset({Status.PACKED, Status.SHIPPED, Status.REJECTED, Status.CANCELLED}),
    Status.PACKED: frozenset({Status.SHIPPED, Status.REJECTED, Status.CANCELLED}),
    Status.SHIPPED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class StockEffect(StrEnum):
    """What a short pick says of the stock."""

    REDUCE = "reduce"  # The short units are not there.
    ZERO = "zero"  # They are not there, and nothing else that is free, either.
    NONE = "none"  # They are there.


# -- what is asked ---------------------------------------------------------------------------------------------------------


class PickedLot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lot: Code
    quantity: Annotated[int, Meta(ge=1, le=10**9)]


class PickLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of open units of a line. ``short_reason`` is a code of ``GET /v1/short_reasons``.

    Of SKUs with serial numbers, ``serials`` names each picked unit. Of others with lots, ``lots`` may say which were taken; else
    the first to expire were.
    """

    line_no: int
    picked: Units = 0
    short: Units = 0
    short_reason: Code | None = None
    serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None
    lots: Annotated[list[PickedLot], Meta(max_length=1000)] | None = None


class PickWork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units were picked, or could not be: those of ``lines``, or ``all`` that is open. With a `short_reason`, all is short."""

    lines: list[PickLine] | None = None
    all: bool = False
    short_reason: Code | None = None
    labor_seconds: LaborSeconds = 0
    worker: Annotated[str, Meta(max_length=200, pattern=_NO_NUL)] | None = None


class Pick(PickWork, frozen=True, kw_only=True):
    order_id: UUID
    fulfillment_order_id: UUID


class RejectWork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A location cannot do what is open there of an order, released or not. ``reason`` is a code of ``GET /v1/short_reasons``."""

    location: Code
    reason: Code = "refused"
    worker: Annotated[str, Meta(max_length=200, pattern=_NO_NUL)] | None = None


class Rejection(RejectWork, frozen=True, kw_only=True):
    order_id: UUID


class PackLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    line_no: int
    quantity: Annotated[int, Meta(ge=1, le=10**9)]


class NewPackage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One box, which holds ``lines``, or ``all`` that was picked. Without a weight, its SKUs' weights are added up."""

    lines: list[PackLine] | None = None
    all: bool = False
    carton: Code | None = None
    weight_grams: Annotated[int, Meta(ge=0, le=MAX_GRAMS)] | None = None


class PackWork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Picked units went into ``packages``, or ``all`` that was picked into one."""

    packages: Annotated[list[NewPackage], Meta(min_length=1)] | None = None
    all: bool = False
    labor_seconds: LaborSeconds = 0


class Pack(PackWork, frozen=True, kw_only=True):
    order_id: UUID
    fulfillment_order_id: UUID


class ShipWork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Packages left under one tracking number: those of ``package_ids``, or ``all`` that wait. Shipments to the same address with
    the same carrier may share a number: they are one parcel.

    ``cost_minor`` is what the carrier charges, in minor units of ``cost_currency`` (left out: of the order's currency). Without it,
    the shipment costs what the network's rates say for each package, in the currency of the carrier service.
    """

    tracking_number: Code
    package_ids: Annotated[list[UUID], Meta(min_length=1)] | None = None
    all: bool = False
    cost_minor: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    cost_currency: CurrencyCode | None = None


class Ship(ShipWork, frozen=True, kw_only=True):
    order_id: UUID
    fulfillment_order_id: UUID


# -- what is answered ------------------------------------------------------------------------------------------------------


class WorkRefusal(StrEnum):
    """Why work was refused, in the order in which the reasons are tested."""

    REPEATED = "repeated"  # The same item stands earlier in this batch.
    UNKNOWN = "unknown"  # No such order, fulfillment order, line or package.
    INVALID = "invalid"  # Neither a part nor all, or units or lines that make no sense: negative, none, a line twice.
    UNKNOWN_REASON = "unknown_reason"  # No such short reason, or none given.
    DONE = "done"  # There is nothing left to do: it was picked, packed, shipped or cancelled before.
    DETAIL = "detail"  # Serial numbers or lots are missing, wrong or not there.
    TOO_MANY = "too_many"  # More units than are in the state that they would leave.
    TRACKING_NUMBER_TAKEN = "tracking_number_taken"  # A shipment to elsewhere has it, or a parcel that has ended.


class WorkRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this item. ``pointer`` names the field within it, ``detail`` says what to do."""

    order_id: UUID
    fulfillment_order_id: UUID | None
    reason: WorkRefusal
    detail: str
    pointer: str = ""


class Released(Struct, frozen=True, tag_field="outcome", tag="released"):
    """The new fulfillment orders; none where nothing was left to release. ``waits_at`` are locations that are closed, and whose
    units no other location can supply: they are released there once it is open again.
    """

    order_id: UUID
    fulfillment_order_ids: list[UUID]
    waits_at: list[str] = []


class Picked(Struct, frozen=True, tag_field="outcome", tag="picked"):
    order_id: UUID
    fulfillment_order_id: UUID
    picked: int
    short: int
    status: Status


class Rejected(Struct, frozen=True, tag_field="outcome", tag="rejected"):
    """So many units go back to sourcing."""

    order_id: UUID
    location: str
    units: int


class Packed(Struct, frozen=True, tag_field="outcome", tag="packed"):
    order_id: UUID
    fulfillment_order_id: UUID
    package_ids: list[UUID]
    status: Status


class Shipped(Struct, frozen=True, tag_field="outcome", tag="shipped"):
    """``amount_minor`` is what the customer is charged for it; ``cost_minor`` is in minor units of ``cost_currency``."""

    order_id: UUID
    fulfillment_order_id: UUID
    shipment_id: UUID
    tracking_number: str
    cost_minor: int
    weight_grams: int
    amount_minor: int
    status: Status
    cost_currency: str


# -- rows ------------------------------------------------------------------------------------------------------------------


class FulfillmentLine(Struct):
    """A line with its counts, and what its fulfillment order says. Verbs count in it as they go through a batch."""

    order_id: UUID
    fulfillment_order_id: UUID
    location_id: int
    service_id: int
    promised_at: datetime  # when the plan arrives
    line_no: int
    sku_id: int
    open: int
    picked: int
    packed: int
    shipped: int
    short: int


class LineMove(Struct, frozen=True):
    """By how much the counts of a fulfillment line change; they add up to 0."""

    order_id: UUID
    fulfillment_order_id: UUID
    line_no: int
    open: int = 0
    picked: int = 0
    packed: int = 0
    shipped: int = 0
    short: int = 0
    cancelled: int = 0
