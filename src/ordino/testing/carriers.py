"""What a carrier has to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.core.errors import Invalid
from ordino.orders.model import Address
from ordino.tracking.carriers import Booked, Booking, BookingCancelled, Carrier, EventPage, Label, NotBooked
from ordino.tracking.model import Kind, TrackingEvent


async def next_page(carrier: Carrier, page: EventPage, limit: int) -> EventPage:
    """The page after one that says that there is more."""
    following = await carrier.events(page.next, limit)
    assert not following.more or following.next != page.next, "the cursor stands still, and there is always more"
    return following


@pytest.mark.asyncio
class CarrierSuite:
    """Subclass it and give it the fixture ``carrier``. ``types_numbers``: a person types the tracking number, and the carrier makes
    none.
    """

    service = "ground"
    types_numbers = False

    def new_booking(self, **changes: Any) -> Booking:
        key = str(uuid4())
        booking = Booking(
            key=key,
            order_id=uuid4(),
            external_id=f"test-{key[:8]}",
            package_id=uuid4(),
            seller="test-seller",
            service=self.service,
            ship_to=Address(
                name="Ada", line1="1 Main Street", city="Columbus", region="OH", postal_code="43215", country="US"
            ),
            weight_grams=1200,
            tracking_number=f"T{key[:12]}" if self.types_numbers else None,
        )
        return replace(booking, **changes)

    async def booked(self, carrier: Carrier, booking: Booking) -> Booked:
        answer = await carrier.book(booking)
        assert isinstance(answer, Booked), f"it answered {type(answer).__name__}, and should have booked"
        assert 1 <= len(answer.tracking_number) <= 100, "a tracking number has 1 to 100 characters"
        assert answer.tracking_number.isprintable()
        assert answer.reference, "a booking has a reference"
        if answer.label is not None:
            assert isinstance(answer.label, Label)
            assert answer.label.content, "a label that is there holds something"
            assert "/" in answer.label.media_type, "a label says what it is, such as application/pdf"
        assert (answer.cost_minor is None) == (answer.cost_currency is None), "a cost has a currency"
        if answer.cost_minor is not None:
            assert type(answer.cost_minor) is int, "a cost is a whole number of minor units"
            assert answer.cost_minor >= 0, "a cost is not negative"
            assert re.fullmatch("[A-Z]{3}", answer.cost_currency or ""), "a currency has three letters"
        return answer

    async def test_it_lacks_nothing(self, carrier: Carrier) -> None:
        assert carrier.lacking() is None

    async def test_a_parcel_gets_a_tracking_number(self, carrier: Carrier) -> None:
        booking = self.new_booking()
        booked = await self.booked(carrier, booking)
        assert not self.types_numbers or booked.tracking_number == booking.tracking_number

    async def test_the_same_key_is_the_same_parcel(self, carrier: Carrier) -> None:
        booking = self.new_booking()
        first, again = await self.booked(carrier, booking), await self.booked(carrier, booking)
        assert (first.tracking_number, first.reference) == (again.tracking_number, again.reference), (
            "it was booked twice"
        )

    async def test_another_parcel_has_another_number(self, carrier: Carrier) -> None:
        one, other = [await self.booked(carrier, self.new_booking()) for _ in range(2)]
        assert one.tracking_number != other.tracking_number
        assert one.reference != other.reference

    async def test_what_it_cannot_take_is_an_answer_that_says_what_to_do(self, carrier: Carrier) -> None:
        """A number that nobody has typed, or an address that nobody can have."""
        nowhere = Address(name="Nobody", line1="-", city="-", postal_code="00000", country="ZZ")
        impossible = {"tracking_number": None} if self.types_numbers else {"ship_to": nowhere}
        answer = await carrier.book(self.new_booking(**impossible))
        assert isinstance(answer, NotBooked), f"it answered {type(answer).__name__}, and should have said why not"
        assert answer.code
        assert answer.sentence.strip().endswith("."), "it says in a sentence what to do"

    async def test_a_booking_can_be_cancelled_and_stays_cancelled(self, carrier: Carrier) -> None:
        booked = await self.booked(carrier, self.new_booking())
        key = str(uuid4())
        for _ in range(2):
            answer = await carrier.cancel(key, booked.reference)
            assert isinstance(answer, BookingCancelled), f"it answered {type(answer).__name__}"

    async def test_reading_on_from_the_end_finds_nothing(self, carrier: Carrier) -> None:
        page = await carrier.events(None, 1000)
        while page.more:
            page = await next_page(carrier, page, 1000)
        again = await carrier.events(page.next, 1000)
        assert isinstance(again, EventPage)
        assert (list(again.events), again.more) == ([], False), "what was read comes again"


Say = Callable[[TrackingEvent], None]


@pytest.mark.asyncio
class TrackingSuite:
    """For carriers that tell events: give it the fixtures ``carrier`` and ``say``, a function that has the carrier say one
    more thing.
    """

    async def test_events_come_in_order_page_by_page_and_once(self, carrier: Carrier, say: Say) -> None:
        said = [TrackingEvent(tracking_number=f"T{n}", kind=Kind.IN_TRANSIT, place="Columbus") for n in range(5)]
        for event in said[:4]:
            say(event)
        heard: list[TrackingEvent] = []
        page = await carrier.events(None, 2)
        heard += page.events
        while page.more:
            assert len(page.events) <= 2, "a page holds more events than were asked for"
            page = await next_page(carrier, page, 2)
            heard += page.events
        say(said[4])
        heard += (await carrier.events(page.next, 2)).events
        assert [event.tracking_number for event in heard] == [event.tracking_number for event in said]

    async def test_a_cursor_reads_the_same_page_again(self, carrier: Carrier, say: Say) -> None:
        """Whoever reads may be killed before the page is written down."""
        for n in range(3):
            say(TrackingEvent(tracking_number=f"T{n}", kind=Kind.DELIVERED))
        first = await carrier.events(None, 2)
        rest = [list((await carrier.events(first.next, 2)).events) for _ in range(2)]
        assert rest[0] == rest[1], "a page that was read is gone"
        assert len(rest[0]) == 1

    async def test_what_is_no_cursor_is_refused(self, carrier: Carrier, say: Say) -> None:
        with pytest.raises(Invalid):
            await carrier.events("no cursor of yours\x00", 2)
