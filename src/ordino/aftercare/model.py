"""Messages, returns, refunds without goods and surveys.

MSG-1  A fact is told to the customer once by each template, however often its reaction runs.
MSG-2  What a customer typed stays text: it never begins a new line or header of a message.
MSG-3  A message goes to exactly one mailbox, or to nobody.
RET-1  No more comes back than was authorized, and no more is authorized than was delivered and is still out.
RET-2  The returned units of a line are those that its returns restocked or scrapped; a kit is returned when all its components are.
RET-3  Restocked units are in stock again, each component of a kit as itself, and nothing else is.
RET-4  All refunds of a line together are never more than its units were charged; a component is worth its share of a kit.
RET-5  Of a kit's component, no more may come back, as itself and within whole kits, than went out.
RET-6  What is cancelled of a return does not come back with it, and may be authorized again.
REF-1  A refund is the sum of its lines and its shipping, and never more than was charged and not given back.
REF-2  A refund moves money once, however often its reaction runs.
SUR-1  An order is asked once, and answers once.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code, ReasonCode
from ordino.orders.model import MAX_MINOR
from ordino.orders.notes import Note

_NO_NUL = r"^[^\x00]*$"
MAX_UNITS = 10**9
Units = Annotated[int, Meta(ge=0, le=MAX_UNITS)]
Rating = Annotated[int, Meta(ge=1, le=5, description="1 is worst, 5 is best.")]


class Template(StrEnum):
    """What a customer can be told; each is a file in ``templates/``."""

    ORDER_RECEIVED = "order_received"
    ORDER_SHIPPED = "order_shipped"
    ORDER_DELIVERED = "order_delivered"
    ORDER_DELAYED = "order_delayed"
    ORDER_LATE = "order_late"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_REFUNDED = "order_refunded"
    ORDER_RETURNING = "order_returning"
    ORDER_SENT_AGAIN = "order_sent_again"
    SURVEY = "survey"


class Message(Struct, frozen=True):
    """What a customer was told; ``sent_at`` is None while it waits in the outbox."""

    event_id: UUID
    template: str
    recipient: str
    subject: str
    body: str
    written_at: datetime
    sent_at: datetime | None


# -- returns ---------------------------------------------------------------------------------------------------------------


class ReturnLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delivered units that may come back. With a ``component``, they are single units of that SKU out of the line's kits; else they
    are of the line itself, of a kit whole kits. ``wrong_item`` is the reason that counts against picking accuracy.
    """

    line_no: int
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)]
    reason: ReasonCode
    component: Code | None = None


class WantedReturn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer wants to send back. Without a location, each line goes back to where its units were shipped from."""

    lines: Annotated[list[ReturnLine], Meta(min_length=1)]
    location: Code | None = None


class NewReturn(WantedReturn, frozen=True, kw_only=True):
    order_id: UUID


class ReceivedLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of units that came back: on the shelf again, or scrapped. With a ``component``, they are single units of that SKU
    out of the line's kits.
    """

    line_no: int
    restocked: Units = 0
    scrapped: Units = 0
    serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None  # of restocked units, where the SKU has them
    scrapped_serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None
    component: Code | None = None


class ReturnArrival(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of a return arrived. Several arrivals may make up one return. ``location`` is where they really arrived; without it,
    they arrived where they were to go.
    """

    lines: Annotated[list[ReceivedLine], Meta(min_length=1)]
    location: Code | None = None


class ReturnReceipt(ReturnArrival, frozen=True, kw_only=True):
    order_id: UUID
    return_id: UUID


class CancelledLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of a line that will not come back; without a quantity, all that are still to come."""

    line_no: int
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)] | None = None
    component: Code | None = None


class WantedCancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a return will not come back: units of ``lines``, or ``all`` that are still to come."""

    lines: list[CancelledLine] | None = None
    all: bool = False
    reason: ReasonCode = "customer_request"
    note: Note | None = None


class ReturnCancellation(WantedCancellation, frozen=True, kw_only=True):
    order_id: UUID
    return_id: UUID


class ReturnRefusal(StrEnum):
    """Why a return was refused, in the order in which the reasons are tested."""

    REPEATED = "repeated"  # The same item stands earlier in this batch.
    UNKNOWN = "unknown"  # No such order, return, line, component or location.
    INVALID = "invalid"  # Units or lines that make no sense: negative, none, a line twice; or it is not clear where they arrived.
    TOO_LATE = "too_late"  # The seller's return window has closed; or nothing of the return is still to come.
    TOO_MANY = "too_many"  # More than was delivered and may still come back, or more than was authorized.
    CLOSED = "closed"  # The location that the units would go back to is switched off.
    KIT = "kit"  # What was sold by itself has become a kit since, which has no stock of its own.


class Unit(Struct, frozen=True):
    """Units of a line, or of a component of its kits."""

    line_no: int
    component: str | None
    quantity: int


class AuthorizedLine(Struct, frozen=True):
    """Units of a line, or of a component of its kits, and where they go."""

    line_no: int
    component: str | None
    quantity: int
    reason: str
    location: str


class Authorized(Struct, frozen=True, tag_field="outcome", tag="authorized"):
    """The units may come back. ``location`` is where all of them go; None if they go to several, as ``lines`` says."""

    order_id: UUID
    return_id: UUID
    location: str | None
    lines: list[AuthorizedLine]


class Received(Struct, frozen=True, tag_field="outcome", tag="received"):
    """``refund_minor`` is what is to be given back for these units. ``expired`` ones of the restocked (of kits, of their
    components) are past their date: they are set aside, and not offered.
    """

    order_id: UUID
    return_id: UUID
    restocked: int
    scrapped: int
    refund_minor: int
    status: str
    expired: int = 0


class ReturnCancelled(Struct, frozen=True, tag_field="outcome", tag="cancelled"):
    """These units do not come back with the return any more."""

    order_id: UUID
    return_id: UUID
    cancelled: list[Unit]


class ReturnRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this item. ``pointer`` names the field within it, ``detail`` says what to do."""

    order_id: UUID
    return_id: UUID | None
    reason: ReturnRefusal
    detail: str
    pointer: str = ""


class ReturnLineView(Struct, frozen=True):
    """Units of a line, or of a ``component`` of its kits, that go to one location. ``received_at`` is when units last arrived."""

    line_no: int
    sku: str
    component: str | None
    location: str
    reason: str
    authorized: int
    restocked: int
    scrapped: int
    cancelled: int
    refund_minor: int
    received_at: datetime | None


class ReturnView(Struct, frozen=True):
    """One return. ``location`` is where all of it goes, None if its lines go to several. ``received_at`` is when units last
    arrived.
    """

    return_id: UUID
    location: str | None
    authorized_at: datetime
    received_at: datetime | None
    lines: list[ReturnLineView]


class ComponentView(Struct, frozen=True):
    """``per_kit`` units of it are in one kit. ``received`` ones came back, within whole kits or by themselves; ``expected`` ones
    may still come with returns that were authorized.
    """

    component: str
    per_kit: int
    received: int
    expected: int


class KitView(Struct, frozen=True):
    """How much of a line's kits is back. ``returned`` counts the kits of which every component is."""

    line_no: int
    sku: str
    returned: int
    components: list[ComponentView]


# -- refunds ---------------------------------------------------------------------------------------------------------------

Positive = Annotated[int, Meta(ge=1, le=MAX_MINOR, description="An amount in minor units of the order's currency.")]


class RefundLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Part of what a line was charged."""

    line_no: int
    amount_minor: Positive


class WantedRefund(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money that is to go back though no unit does, in minor units of the order's currency: part of lines' prices, the shipping
    (``shipping_minor`` of it, or all that is left with ``all_shipping``), and ``goodwill_minor``, which is for nothing in
    particular: it is shared by what is left of all lines and of the shipping, in proportion.
    """

    reason: ReasonCode
    lines: Annotated[list[RefundLine], Meta(min_length=1)] | None = None
    shipping_minor: Positive | None = None
    all_shipping: bool = False
    goodwill_minor: Positive | None = None
    note: Note | None = None


class NewRefund(WantedRefund, frozen=True, kw_only=True):
    order_id: UUID


class RefundRefusal(StrEnum):
    """Why nothing is refunded, in the order in which the reasons are tested."""

    REPEATED = "repeated"  # The same item stands earlier in this batch.
    UNKNOWN = "unknown"  # No such order or line.
    INVALID = "invalid"  # Nothing is asked for, a line twice, or the shipping both in part and whole.
    TOO_MUCH = "too_much"  # More than was charged and is not given back yet.


class RefundRequested(Struct, frozen=True, tag_field="outcome", tag="requested"):
    """``amount_minor`` goes back as soon as what it is part of has been captured. ``left_minor`` of the order could still be
    refunded after that.
    """

    order_id: UUID
    refund_id: UUID
    amount_minor: int
    left_minor: int


class RefundRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this item. ``pointer`` names the field within it, ``detail`` says what to do; ``left_minor`` is what
    can still be refunded of what was asked for too much of.
    """

    order_id: UUID
    reason: RefundRefusal
    detail: str
    pointer: str = ""
    left_minor: int | None = None

    @property
    def facts(self) -> dict[str, int]:
        """What a problem document says beside the sentence."""
        return {} if self.left_minor is None else {"left_minor": self.left_minor}


class RefundLineView(Struct, frozen=True):
    """``amount_minor`` includes the line's share of the goodwill."""

    line_no: int
    amount_minor: int


class RefundView(Struct, frozen=True):
    """One refund, in minor units of the order's currency. ``shipping_minor`` and the lines make up ``amount_minor``, of which
    ``goodwill_minor`` was asked for as goodwill. ``refunded_at`` is when the provider gave it back; None: not yet.
    """

    refund_id: UUID
    amount_minor: int
    shipping_minor: int
    goodwill_minor: int
    lines: list[RefundLineView]
    reason: str
    note: str | None
    asked_by: str | None
    asked_at: datetime
    refunded_at: datetime | None


# -- surveys ---------------------------------------------------------------------------------------------------------------

QUESTIONS: dict[str, str] = {
    "overall": "How would you rate the overall ordering experience?",
    "finding": "How easy was it to find the products you were searching for?",
    "ordering": "How easy was it to place your order?",
    "timeframe": "Did the order come within the expected timeframe?",
    "speed": "How would you rate delivery speed?",
    "expectations": "Did the order meet your expectations?",
    "accuracy": "Is each product accurate (right size, color)?",
    "packaging": "How would you rate the packaging?",
    "condition": "Did the product come in the right condition?",
}


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ratings from 1 to 5; what was left out was not answered."""

    overall: Rating | None = None
    finding: Rating | None = None
    ordering: Rating | None = None
    timeframe: Rating | None = None
    speed: Rating | None = None
    expectations: Rating | None = None
    accuracy: Rating | None = None
    packaging: Rating | None = None
    condition: Rating | None = None


class SurveyForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer answers."""

    answers: Answers
    comment: Annotated[str, Meta(max_length=5000, pattern=_NO_NUL)] | None = None


class SurveyAnswer(SurveyForm, frozen=True, kw_only=True):
    order_id: UUID


class SurveyRefusal(StrEnum):
    """Why an answer was refused, in the order in which the reasons are tested."""

    UNKNOWN_ORDER = "unknown_order"
    NOT_ASKED = "not_asked"
    ANSWERED_BEFORE = "answered_before"
    INVALID = "invalid"  # No answer at all, or a rating that is not 1 to 5.


class Answered(Struct, frozen=True, tag_field="outcome", tag="answered"):
    order_id: UUID


class SurveyRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    order_id: UUID
    reason: SurveyRefusal
    detail: str
    pointer: str = ""


class SurveyView(Struct, frozen=True):
    """What an order was asked, and answered."""

    questions: dict[str, str]
    asked_at: datetime
    answered_at: datetime | None
    answers: dict[str, int] | None
    comment: str | None
