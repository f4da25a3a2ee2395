"""The port of carriers: how a parcel is booked and cancelled, and how what the carrier says of parcels gets here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from ordino.core.adapters import Adapter, Port, Unreadable
from ordino.orders.model import Address
from ordino.tracking.model import TrackingEvent


class Booking(Struct, frozen=True, kw_only=True):
    """One parcel to be carried. The same ``key`` again is the same parcel again.

    ``service`` is the carrier service of the network, ``package_id`` the parcel. Weight and sizes are in grams and millimeters;
    0 is not known. ``tracking_number`` is one that somebody has typed, from a roll of labels for example.
    """

    key: str
    order_id: UUID
    external_id: str
    package_id: UUID
    seller: str
    service: str
    ship_to: Address
    ship_from: Address | None = None
    weight_grams: int = 0
    length_mm: int = 0
    width_mm: int = 0
    height_mm: int = 0
    tracking_number: str | None = None


class Label(Struct, frozen=True, kw_only=True):
    """What is stuck onto the parcel, such as ``application/pdf``."""

    media_type: str
    content: bytes


class Booked(Struct, frozen=True, kw_only=True):
    """The carrier takes the parcel. ``reference`` is its name for the booking; a cost comes with its currency, or not at all."""

    tracking_number: str
    reference: str
    label: Label | None = None
    cost_minor: int | None = None
    cost_currency: str | None = None


class NotBooked(Struct, frozen=True):
    """The carrier does not take the parcel as it is. ``code`` is a word, and ``sentence`` says what to do."""

    code: str
    sentence: str


class BookingCancelled(Struct, frozen=True):
    """The parcel will not be carried, and nothing is paid for it."""

    reference: str


class NotCancelled(Struct, frozen=True):
    """It is too late, or the carrier does not know the booking."""

    code: str
    sentence: str


class EventPage(Struct, frozen=True, kw_only=True):
    """What a carrier said after a cursor, in its order. ``next`` is the cursor for the rest, ``more`` whether there is any yet."""

    events: Sequence[TrackingEvent]
    next: str | None
    more: bool = False
    unreadable: Sequence[Unreadable] = ()


class Carrier(Adapter, Protocol):
    """Who carries parcels.

    Raises ``AnswerLost`` where a parcel may have been booked, ``AccountUnavailable`` where the carrier is away or refuses our
    credentials, ``Unavailable`` where the same call may pass later, and ``Invalid`` for a cursor that is not one of its own.
    """

    async def book(self, booking: Booking) -> Booked | NotBooked:
        """Have a parcel carried: a tracking number, and a label if the carrier makes one. Booked again, it is the same parcel."""
        ...

    async def cancel(self, key: str, reference: str) -> BookingCancelled | NotCancelled:
        """Give a booking back that is not needed. Cancelled again, it is cancelled."""
        ...

    async def events(self, after: str | None, limit: int) -> EventPage:
        """What was said of parcels after a cursor; None begins with the oldest. Reading moves nothing: the caller keeps
        ``next``.
        """
        ...


carriers: Port[Carrier] = Port("carrier", "ordino.carriers", Carrier)
"""The carriers of this process, by name."""
