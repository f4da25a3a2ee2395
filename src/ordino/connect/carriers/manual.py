"""The carrier ``manual``: a person types the tracking number that stands on a label, and tells what becomes of the parcel."""

from __future__ import annotations

from ordino.tracking.carriers import Booked, Booking, BookingCancelled, EventPage, NotBooked, NotCancelled

NO_NUMBER = NotBooked("no_tracking_number", "Type the tracking number that stands on the carrier's label.")


class ManualCarrier:
    """Makes no labels, and says nothing of parcels by itself."""

    def lacking(self) -> str | None:
        return None

    async def book(self, booking: Booking) -> Booked | NotBooked:
        if booking.tracking_number is None:
            return NO_NUMBER
        return Booked(tracking_number=booking.tracking_number, reference=booking.key)

    async def cancel(self, key: str, reference: str) -> BookingCancelled | NotCancelled:
        return BookingCancelled(reference)

    async def events(self, after: str | None, limit: int) -> EventPage:
        return EventPage(events=(), next=after)
