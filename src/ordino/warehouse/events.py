"""What the warehouse does: each kind of event that this stage writes, with its facts."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ordino.core.payloads import Payload, Units, declare
from ordino.core.times import Instant

FulfillmentOrderId = Annotated[UUID, Meta(description="The fulfillment order.")]
Worker = Annotated[str | None, Meta(description="Who reported it; null if nobody was named.")]


class Work(Struct, frozen=True):
    """A fulfillment order, and where it is worked on."""

    id: FulfillmentOrderId
    location: Annotated[str, Meta(description="The location's code.")]


class OrderReleased(Payload, kind="order_released"):
    """Allocations became fulfillment orders."""

    fulfillment_orders: Annotated[list[Work], Meta(description="The new fulfillment orders.")]


class FulfillmentPicked(Payload, kind="fulfillment_picked"):
    """Units were picked from their shelves."""

    fulfillment_order_id: FulfillmentOrderId
    lines: Annotated[list[Units], Meta(description="The units that were picked, by line of the order.")]
    worker: Worker


class ShortUnits(Struct, frozen=True):
    """Units of one line that a location could not supply."""

    line_no: Annotated[int, Meta(description="The line's number, from 1.")]
    quantity: Annotated[int, Meta(description="How many units.")]
    reason: Annotated[str, Meta(description="Why, as the code of a reason for short picks.")]


class UnitsShort(Payload, kind="units_short"):
    """A location could not supply units."""

    fulfillment_order_id: Annotated[
        UUID | None, Meta(description="The fulfillment order; null if the units were not released yet.")
    ]
    lines: Annotated[list[ShortUnits], Meta(description="The units, by line of the order.")]
    worker: Worker


class FulfillmentPacked(Payload, kind="fulfillment_packed"):
    """Units were packed."""

    fulfillment_order_id: FulfillmentOrderId
    package_ids: Annotated[list[UUID], Meta(description="The packages.")]


class ShipmentShipped(Payload, kind="shipment_shipped"):
    """Packages left under a tracking number."""

    shipment_id: Annotated[UUID, Meta(description="The shipment.")]
    fulfillment_order_id: FulfillmentOrderId
    tracking_number: Annotated[str, Meta(description="The carrier's number.")]
    amount_minor: Annotated[int, Meta(description="What it charges, in minor units of the order's currency.")]
    lines: Annotated[list[Units], Meta(description="The units in it, by line of the order.")]
    promised_at: Annotated[
        Instant, Meta(description="When the customer was told that it arrives, or else its plan does.")
    ]
    planned_at: Annotated[
        Instant | UnsetType, Meta(description="When it arrives by its plan. Absent in older events.")
    ] = UNSET


class CancellationRefused(Payload, kind="cancellation_refused"):
    """Units had left before they could be stopped."""

    lines: Annotated[list[Units], Meta(description="The units, by line of the order.")]
    reason: Annotated[str, Meta(description="Why they were to be cancelled, as a code.")]


class WorkAtClosedLocation(Payload, kind="work_at_closed_location"):
    """Work of the order lies at a location that is closed; a person is asked."""

    exception_id: Annotated[UUID, Meta(description="The exception that a person has to resolve.")]
    fulfillment_order_id: FulfillmentOrderId
    location: Annotated[str, Meta(description="The location's code.")]
    why: Annotated[str, Meta(description="Why it is closed, in a sentence that names the closure by its code.")]


declare(__name__)
