"""Messages, returns and surveys.

MSG-1  A fact is told to the customer once by each template, however often its reaction runs.
MSG-2  What a customer typed stays text: it never begins a new line or header of a message.
RET-1  No more comes back than was authorized, and no more is authorized than was delivered and is still out.
RET-2  The returned units of a line are those that its returns restocked or scrapped.
RET-3  Restocked units are in stock again where the return went, and nothing else is.
RET-4  All refunds of a line together are never more than its units were charged.
SUR-1  An order is asked once, and answers once.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import Code

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
    """Delivered units that may come back. ``wrong_item`` is the reason that counts against picking accuracy."""

    line_no: int
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)]
    reason: Code


class WantedReturn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer wants to send back. Without a location, it goes back to where it last came from."""

    lines: Annotated[list[ReturnLine], Meta(min_length=1)]
    location: Code | None = None


class NewReturn(WantedReturn, frozen=True, kw_only=True):
    order_id: UUID


class ReceivedLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of units that came back: on the shelf again, or scrapped."""

    line_no: int
    restocked: Units = 0
    scrapped: Units = 0
    serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None  # of restocked units, where the SKU has them
    scrapped_serials: Annotated[list[Code], Meta(max_length=10_000)] | None = None


class ReturnArrival(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of a return arrived. Several arrivals may make up one return."""

    lines: Annotated[list[ReceivedLine], Meta(min_length=1)]


class ReturnReceipt(ReturnArrival, frozen=True, kw_only=True):
    order_id: UUID
    return_id: UUID


class ReturnRefusal(StrEnum):
    """Why a return was refused, in the order in which the reasons are tested."""

    REPEATED = "repeated"  # The same item stands earlier in this batch.
    UNKNOWN = "unknown"  # No such order, return, line or location.
    INVALID = "invalid"  # Units or lines that make no sense: negative, none, a line twice.
    TOO_LATE = "too_late"  # The seller's return window has closed.
    TOO_MANY = "too_many"  # More than was delivered and may still come back, or more than was authorized.
    KIT = "kit"  # What was sold by itself has become a kit since, which has no stock of its own.


class Authorized(Struct, frozen=True, tag_field="outcome", tag="authorized"):
    """The units may come back to the location."""

    order_id: UUID
    return_id: UUID
    location: str


class Received(Struct, frozen=True, tag_field="outcome", tag="received"):
    """``refund_minor`` is what is to be given back for these units. ``expired`` ones of the restocked are past their date: they are
    set aside, and not offered.
    """

    order_id: UUID
    return_id: UUID
    restocked: int
    scrapped: int
    refund_minor: int
    status: str
    expired: int = 0


class ReturnRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was written for this item. ``pointer`` names the field within it, ``detail`` says what to do."""

    order_id: UUID
    return_id: UUID | None
    reason: ReturnRefusal
    detail: str
    pointer: str = ""


class ReturnLineView(Struct, frozen=True):
    line_no: int
    sku: str
    reason: str
    authorized: int
    restocked: int
    scrapped: int
    refund_minor: int


class ReturnView(Struct, frozen=True):
    """One return. ``received_at`` is when units last arrived."""

    return_id: UUID
    location: str
    authorized_at: datetime
    received_at: datetime | None
    lines: list[ReturnLineView]


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
