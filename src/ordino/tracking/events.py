"""What becomes of parcels: each kind of event that this stage writes, with its facts."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from ordino.core.payloads import Payload, Units, declare
from ordino.core.times import Instant

ShipmentId = Annotated[UUID, Meta(description="The shipment.")]
TrackingNumber = Annotated[str, Meta(description="The carrier's number.")]


class _OfParcel(Payload, kw_only=True):
    """Something happened to a parcel. The shipments of an order that are in one parcel are told of together."""

    shipment_id: Annotated[UUID, Meta(description="The shipment; of several in the parcel, the first.")]
    shipment_ids: Annotated[
        list[UUID] | UnsetType, Meta(description="All shipments of the order in the parcel. Absent in older events.")
    ] = UNSET
    tracking_number: TrackingNumber


class Arrived(_OfParcel, kw_only=True):
    """What has come to its end, or turned back, with its units."""

    lines: Annotated[list[Units], Meta(description="The units in the parcel, by line of the order.")]


class Delayed(_OfParcel, kw_only=True):
    """What comes at another time."""

    expected_at: Annotated[Instant, Meta(description="When the carrier expects it to arrive.")]
    last_promised_at: Annotated[
        Instant | UnsetType, Meta(description="What its customer was told last. Absent in older events.")
    ] = UNSET


class ShipmentDelivered(Arrived, kind="shipment_delivered"):
    """A parcel reached the customer."""


class ShipmentLost(Arrived, kind="shipment_lost"):
    """The carrier reported a parcel as lost."""


class ShipmentReturnedToSender(Arrived, kind="shipment_returned_to_sender"):
    """The carrier brings a parcel back."""


class ShipmentBack(Arrived, kind="shipment_back"):
    """A parcel that the carrier brought back has reached the sender."""


class LostShipmentArrived(Arrived, kind="lost_shipment_arrived"):
    """A parcel that was reported lost has reached the customer after all."""


class ShipmentDelayed(Delayed, kind="shipment_delayed"):
    """The carrier expects a parcel at another time."""


class ShipmentToBeLate(Delayed, kind="shipment_to_be_late"):
    """The carrier expects a parcel after the date that its customer was told last."""


class Overdue(Payload, kw_only=True):
    """A parcel that has not arrived, with all its dates."""

    shipment_id: ShipmentId
    tracking_number: TrackingNumber
    promised_at: Annotated[Instant, Meta(description="What its customer was told when it left, or else its plan.")]
    last_promised_at: Annotated[
        Instant | UnsetType, Meta(description="What its customer was told last. Absent in older events.")
    ] = UNSET
    planned_at: Annotated[
        Instant | UnsetType, Meta(description="When it arrives by its plan. Absent in older events.")
    ] = UNSET
    expected_at: Annotated[Instant, Meta(description="When the carrier expects it to arrive, or else its plan.")]


class ShipmentLate(Overdue, kind="shipment_late"):
    """A parcel has not arrived by the date that its customer was told last."""


class ShipmentBehindPlan(Overdue, kind="shipment_behind_plan"):
    """A parcel has not arrived by the date of its plan; what its customer was told still holds."""


class PromiseChanged(Payload, kind="promise_changed"):
    """The customer was told another date."""

    promised_at: Annotated[Instant, Meta(description="What the customer is told now.")]
    was: Annotated[Instant | None, Meta(description="What the customer was told before; null if nothing was.")]
    shipment_id: Annotated[UUID | None, Meta(description="The shipment; null if all of the order is meant.")]


class TrackingNumberTaken(Payload, kind="tracking_number_taken"):
    """A shipment was sent under the tracking number of another."""

    shipment_id: ShipmentId
    tracking_number: TrackingNumber


declare(__name__)
