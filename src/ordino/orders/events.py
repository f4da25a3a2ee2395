"""What happens to orders, their units and their money: each kind of event that this stage writes, with its facts.

Amounts are in minor units of the order's currency (cents).
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ordino.core.payloads import Payload, Units, declare
from ordino.core.times import Instant

Lines = Annotated[list[Units], Meta(description="The units, by line of the order.")]
LineNo = Annotated[int, Meta(description="The line's number, from 1.")]
Reason = Annotated[str, Meta(description="Why, as a code.")]
ExceptionId = Annotated[UUID, Meta(description="The exception that a person has to resolve.")]
Reference = Annotated[str | None, Meta(description="The provider's reference; null if it gave none.")]
Why = Annotated[str, Meta(description="Why, in a sentence.")]


# -- placement -------------------------------------------------------------------------------------------------------------


class OrderPlaced(Payload, kind="order_placed"):
    """An order was accepted."""

    channel: Annotated[str, Meta(description="The channel's code.")]
    total_minor: Annotated[int, Meta(description="The total as the channel sent it, in minor units.")]
    backordered: Annotated[
        list[Units] | UnsetType, Meta(description="Units that wait for stock, by line. Absent if none do.")
    ] = UNSET
    accepted_total_minor: Annotated[
        int | UnsetType,
        Meta(description="The total without the lines that were dropped, in minor units. Absent if none were."),
    ] = UNSET


class DroppedUnits(Struct, frozen=True):
    """A line that was not accepted."""

    line_no: LineNo
    sku: Annotated[str, Meta(description="The SKU's code.")]
    quantity: Annotated[int, Meta(description="How many units were ordered.")]
    reason: Annotated[str, Meta(description="`out_of_stock` or `cannot_ship`.")]
    amount_minor: Annotated[int, Meta(description="What the line was worth, in minor units.")]
    detail: Annotated[
        str | UnsetType, Meta(description="Why it cannot be shipped, in a sentence. Absent if it is out of stock.")
    ] = UNSET


class LinesDropped(Payload, kind="lines_dropped"):
    """Lines of a new order were dropped, because they are out of stock or cannot be shipped."""

    lines: Annotated[list[DroppedUnits], Meta(description="The lines.")]
    accepted_total_minor: Annotated[int, Meta(description="The order's total without them, in minor units.")]


class UnitsBackordered(Payload, kind="units_backordered"):
    """Units of a new order wait for stock."""

    lines: Lines


class PassedStrategy(Struct, frozen=True):
    """A strategy of the routing profile that was passed over."""

    strategy: Annotated[str, Meta(description="The strategy's name.")]
    why: Annotated[str | None, Meta(description="Why its condition could not be evaluated; null if nothing is known.")]


class ConditionFailed(Payload, kind="condition_failed"):
    """A strategy's condition could not be evaluated on the order; the strategy was passed over."""

    profile: Annotated[str, Meta(description="The routing profile's name.")]
    strategies: Annotated[list[PassedStrategy], Meta(description="The strategies that were passed over.")]


# -- sourcing --------------------------------------------------------------------------------------------------------------


class PromiseEndangered(Payload, kind="promise_endangered"):
    """No plan keeps the promise that the buyer was given; the best one was taken."""

    promised_at: Annotated[Instant | None, Meta(description="What the buyer was told; null if nothing was.")]
    arrives_at: Annotated[Instant | None, Meta(description="When the plan arrives; null if it has no parcel.")]


class ShipByEndangered(Payload, kind="ship_by_endangered"):
    """No plan ships the order by the channel's ship-by time; the best plan was taken."""

    ship_by_at: Annotated[Instant | None, Meta(description="By when it should leave; null if nothing was said.")]
    leaves_by: Annotated[Instant | None, Meta(description="When the plan leaves; null if it has no parcel.")]


class OrderAllocated(Payload, kind="order_allocated"):
    """Units that waited have found a location."""

    lines: Lines


class OrderResourced(Payload, kind="order_resourced"):
    """Units that nobody works on yet come from elsewhere: for less, or because their location is closed."""

    from_: Annotated[list[str], Meta(description="Codes of the locations from which they came before.")] = field(
        name="from"
    )
    to: Annotated[list[str], Meta(description="Codes of the locations from which they come now.")]
    why: Annotated[
        str | UnsetType,
        Meta(
            description="Why their location is closed, by the closure's code. Absent if they come from elsewhere for less."
        ),
    ] = UNSET


class UnitsKept(Payload, kind="units_kept"):
    """Units stay allocated to a location that is closed, because no other one can supply them."""

    lines: Annotated[list[int], Meta(description="Numbers of the lines.")]
    locations: Annotated[list[str], Meta(description="Codes of the locations that are closed.")]
    why: Annotated[str, Meta(description="Why they are closed, and what becomes of the units, in sentences.")]


class UnitsAtRisk(Payload, kind="units_at_risk"):
    """Units that the order was allocated are not there; they are sourced anew."""

    lines: Lines


class ShortfallLeft(Payload, kind="shortfall_left"):
    """Units are missing that the warehouse has in work, or that somebody must find."""

    sku_id: Annotated[int, Meta(description="The SKU's id in this database.")]
    location_id: Annotated[int, Meta(description="The location's id in this database.")]


# -- exceptions and notes --------------------------------------------------------------------------------------------------


class SourcingGivenUp(Payload, kind="sourcing_given_up"):
    """Units that several locations could not supply are no longer sourced, and need a person."""

    line_no: LineNo
    exception_id: ExceptionId


class NotServable(Payload, kind="not_servable"):
    """Units of the order that nobody works on yet can no longer be served by any location; a person is asked."""

    line_no: LineNo
    exception_id: ExceptionId
    why: Why


class ExceptionResolved(Payload, kind="exception_resolved"):
    """A person has resolved an exception."""

    exception_id: Annotated[UUID, Meta(description="The exception.")]
    line_no: Annotated[int | None, Meta(description="The line that it was about; null if it was about no single line.")]
    action: Annotated[str, Meta(description="What was done: `retry`, `cancel` or `close`.")]
    reason: Annotated[str | None, Meta(description="Why, as a code; null if none was given.")]


class ExceptionCleared(Payload, kind="exception_cleared"):
    """An exception was closed by itself: its cause is gone."""

    exception_id: Annotated[UUID, Meta(description="The exception.")]
    line_no: Annotated[int | None, Meta(description="The line that it was about; null if it was about no single line.")]
    fulfillment_order_id: Annotated[
        UUID | None, Meta(description="The fulfillment order that it was about; null if it was about none.")
    ]
    shipment_id: Annotated[
        UUID | UnsetType | None,
        Meta(description="The shipment that it was about; null if it was about none. Absent in older events."),
    ] = UNSET


class NotesErased(Payload, kind="notes_erased"):
    """What people had written about the order was erased."""

    notes: Annotated[int, Meta(description="How many notes.")]


# -- cancellation ----------------------------------------------------------------------------------------------------------


class UnitsCancelled(Payload, kind="units_cancelled"):
    """Units were cancelled: they are no longer owed to the customer."""

    lines: Lines
    reason: Reason
    amount_minor: Annotated[int, Meta(description="What is not charged any more, in minor units.")]
    given_back_minor: Annotated[
        int | UnsetType,
        Meta(description="What was charged and is given back, in minor units. Absent in older events."),
    ] = UNSET


class CancellationWanted(Payload, kind="cancellation_wanted"):
    """A cancellation was requested for units that the warehouse is working on."""

    lines: Lines
    reason: Reason


class LostSettled(Payload, kind="lost_settled"):
    """Units that were lost on the way are cancelled."""

    lines: Lines
    refund_minor: Annotated[int, Meta(description="What is given back for them, in minor units.")]


# -- money -----------------------------------------------------------------------------------------------------------------


class PaymentAuthorized(Payload, kind="payment_authorized"):
    """The provider holds the money."""

    amount_minor: Annotated[int, Meta(description="What it holds, in minor units.")]
    reference: Reference
    taken_over: Annotated[
        bool | UnsetType,
        Meta(description="True if the shop had it authorized. Absent if Ordino asked the provider."),
    ] = UNSET


class PaymentDeclined(Payload, kind="payment_declined"):
    """The provider declined all of the amount, or the rest of it."""

    amount_minor: Annotated[int, Meta(description="What it did not move, in minor units.")]
    reason: Annotated[str, Meta(description="Why, as the provider's code.")]
    of: Annotated[str, Meta(description="What it was asked for: `authorize`, `capture`, `void` or `refund`.")]
    sentence: Annotated[
        str | UnsetType, Meta(description="What the provider says about it. Absent if it says nothing.")
    ] = UNSET


class AuthorizationExceeded(Payload, kind="authorization_exceeded"):
    """An authorization that was made elsewhere is for more than the order was accepted for."""

    amount_minor: Annotated[int, Meta(description="What exceeds the order's total and is voided, in minor units.")]


class _Moved(Payload):
    """Money that a provider has moved."""

    amount_minor: Annotated[int, Meta(description="How much, in minor units.")]
    reference: Reference


class PaymentCaptured(_Moved, kind="payment_captured"):
    """The money of a shipment was captured."""


class PaymentVoided(_Moved, kind="payment_voided"):
    """Money that is no longer owed was voided."""


class PaymentRefunded(_Moved, kind="payment_refunded"):
    """Money went back to the customer."""


class RefundRequested(Payload, kind="refund_requested"):
    """A refund is due: of cancelled units that were charged, shipping, part of a price, or goodwill."""

    refund_minor: Annotated[int, Meta(description="What is to be given back, in minor units.")]
    reason: Reason
    cause_id: Annotated[
        UUID | UnsetType, Meta(description="The event that cancelled the units. Absent if none were cancelled.")
    ] = UNSET
    refund_id: Annotated[
        UUID | UnsetType, Meta(description="The refund that a person asked for. Absent if nobody did.")
    ] = UNSET


declare(__name__)
