"""What happens after the delivery: each kind of event that this stage writes, with its facts.

Amounts are in minor units of the order's currency (cents).
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ordino.core.payloads import Payload, Units, declare

LineNo = Annotated[int, Meta(description="The line's number in the order, from 1.")]
Component = Annotated[
    str | UnsetType | None,
    Meta(
        description="The SKU code of a kit's component; null if the units are of the line itself. Absent in older events."
    ),
]
ReturnId = Annotated[UUID, Meta(description="The return.")]
Rating = Annotated[int | UnsetType, Meta(description="From 1 (worst) to 5 (best). Absent if it was not answered.")]


# -- returns ---------------------------------------------------------------------------------------------------------------


class AuthorizedUnits(Struct, frozen=True, kw_only=True):
    """Units that may come back."""

    line_no: LineNo
    component: Component = UNSET
    quantity: Annotated[int, Meta(description="How many units.")]
    reason: Annotated[str, Meta(description="Why they come back, as a code.")]
    location: Annotated[
        str | UnsetType, Meta(description="The code of the location to which they go. Absent in older events.")
    ] = UNSET


class ReturnAuthorized(Payload, kind="return_authorized"):
    """A return was authorized: the units may come back."""

    return_id: ReturnId
    location: Annotated[
        str | None, Meta(description="The code of the location to which all of them go; null if there are several.")
    ]
    lines: Annotated[list[AuthorizedUnits], Meta(description="The units, by line of the order.")]


class CancelledUnits(Struct, frozen=True, kw_only=True):
    """Units that will not come back."""

    line_no: LineNo
    component: Component = UNSET
    quantity: Annotated[int, Meta(description="How many units.")]


class ReturnCancelled(Payload, kind="return_cancelled"):
    """Units of a return were cancelled; they will not come back."""

    return_id: ReturnId
    lines: Annotated[list[CancelledUnits], Meta(description="The units, by line of the order.")]
    reason: Annotated[str, Meta(description="Why, as a code.")]


class ReturnedUnits(Struct, frozen=True, kw_only=True):
    """What became of units that came back."""

    line_no: LineNo
    restocked: Annotated[int, Meta(description="How many units are on the shelf again.")]
    scrapped: Annotated[int, Meta(description="How many units are scrapped.")]
    serials: Annotated[
        list[str] | UnsetType | None,
        Meta(description="Serial numbers of the restocked units; null if the SKU has none. Absent in older events."),
    ] = UNSET
    scrapped_serials: Annotated[
        list[str] | UnsetType | None,
        Meta(description="Serial numbers of the scrapped units; null if the SKU has none. Absent in older events."),
    ] = UNSET
    component: Component = UNSET
    location: Annotated[
        str | UnsetType, Meta(description="The code of the location where they arrived. Absent in older events.")
    ] = UNSET


class ReturnReceived(Payload, kind="return_received"):
    """Units of a return were received."""

    return_id: ReturnId
    lines: Annotated[list[ReturnedUnits], Meta(description="The units, by line of the order.")]
    refund_minor: Annotated[int, Meta(description="What is given back for them, in minor units.")]


# -- parcels that came back ------------------------------------------------------------------------------------------------


class UnitsBack(Struct, frozen=True):
    """What became of units in a parcel that came back to the sender."""

    line_no: LineNo
    restocked: Annotated[int, Meta(description="How many units are on the shelf again.")]
    scrapped: Annotated[int, Meta(description="How many units are scrapped.")]
    lost: Annotated[int, Meta(description="How many units were not in the parcel.")]
    next: Annotated[str, Meta(description="What follows: `refund`, `send_again` or `nothing`.")]


class _OfShipment(Payload):
    """Something happened to a shipment that came back to the sender."""

    shipment_id: Annotated[UUID, Meta(description="The shipment.")]
    tracking_number: Annotated[str, Meta(description="The carrier's number.")]


class ParcelReceivedBack(_OfShipment, kind="parcel_received_back"):
    """Units of a parcel that came back to the sender were received."""

    lines: Annotated[list[UnitsBack], Meta(description="The units, by line of the order.")]
    refund_minor: Annotated[int, Meta(description="What is given back for them, in minor units.")]


class UnitsSentAgain(_OfShipment, kind="units_sent_again"):
    """Units that came back to the sender are sourced again."""

    lines: Annotated[list[Units], Meta(description="The units, by line of the order.")]


# -- surveys ---------------------------------------------------------------------------------------------------------------


class SurveyAsked(Payload, kind="survey_asked"):
    """The customer was sent a survey about the order."""


class Ratings(Struct, frozen=True, kw_only=True):
    """What the customer answered, by question."""

    overall: Rating = UNSET
    finding: Rating = UNSET
    ordering: Rating = UNSET
    timeframe: Rating = UNSET
    speed: Rating = UNSET
    expectations: Rating = UNSET
    accuracy: Rating = UNSET
    packaging: Rating = UNSET
    condition: Rating = UNSET


class SurveyAnswered(Payload, kind="survey_answered"):
    """The customer has answered the survey."""

    answers: Annotated[Ratings, Meta(description="The ratings.")]


declare(__name__)
