"""The carrier ``files``: bookings go into a folder, and tracking events come out of one.

ORDINO_CARRIER_DIRECTORY names it. ``bookings`` and ``cancellations`` get one file each; ``events`` is read: NDJSON files whose
lines are tracking events as the API takes them. A person types the tracking number.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path

from ordino.connect import folder
from ordino.connect.carriers.manual import NO_NUMBER
from ordino.core.settings import Settings
from ordino.tracking.carriers import Booked, Booking, BookingCancelled, EventPage, NotBooked, NotCancelled
from ordino.tracking.model import TrackingEvent

VARIABLE = "ORDINO_CARRIER_DIRECTORY"


class FilesCarrier:
    """Hands parcels over by files. The reference of a booking is its key."""

    def __init__(self, directory: Path | None = None) -> None:
        self._given = directory

    def lacking(self) -> str | None:
        return folder.lacking(self._directory, VARIABLE)

    async def book(self, booking: Booking) -> Booked | NotBooked:
        if booking.tracking_number is None:
            return NO_NUMBER
        await asyncio.to_thread(folder.write_once, self._there / "bookings", booking.key, booking)
        return Booked(tracking_number=booking.tracking_number, reference=booking.key)

    async def cancel(self, key: str, reference: str) -> BookingCancelled | NotCancelled:
        if not await asyncio.to_thread(folder.was_written, self._there / "bookings", reference):
            return NotCancelled(
                "unknown_booking", f"Nothing was booked under {reference!r}; look the parcel up in `bookings`."
            )
        cancelled = BookingCancelled(reference)
        await asyncio.to_thread(folder.write_once, self._there / "cancellations", reference, cancelled)
        return cancelled

    async def events(self, after: str | None, limit: int) -> EventPage:
        found = await asyncio.to_thread(folder.read_things, self._there / "events", after, limit, TrackingEvent)
        return EventPage(events=found.things, next=found.next, more=found.more, unreadable=found.unreadable)

    @cached_property
    def _directory(self) -> Path | None:
        """Raises ``BadSetting``, and only for whoever uses the adapter."""
        return self._given or Settings.from_environment().carrier_directory

    @property
    def _there(self) -> Path:
        return folder.known(self._directory, VARIABLE)
