"""The suites of carriers, channels and message providers: Ordino's own pass, and broken ones fail the test that names their fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiosmtpd.smtp import SMTP
from msgspec.structs import replace

from connect.broken import failing
from ordino.aftercare.providers import OutgoingMessage, Sent
from ordino.connect import folder
from ordino.connect.carriers.files import FilesCarrier
from ordino.connect.carriers.manual import ManualCarrier
from ordino.connect.channels.files import FilesChannel
from ordino.connect.mail import smtp
from ordino.connect.mail.smtp import SmtpProvider
from ordino.core.errors import AccountUnavailable, Invalid, Refused
from ordino.orders.channels import OrderPage, OrderShipped
from ordino.orders.model import NewOrder
from ordino.testing import CarrierSuite, ChannelSuite, MessageProviderSuite, TrackingSuite
from ordino.testing.messages import Arrived
from ordino.tracking.carriers import Booked, Booking, BookingCancelled, EventPage, NotBooked, NotCancelled
from ordino.tracking.model import TrackingEvent

# -- carriers --------------------------------------------------------------------------------------------------------------


def append(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line + b"\n")


class TestManualCarrier(CarrierSuite):
    types_numbers = True

    @pytest.fixture
    def carrier(self) -> ManualCarrier:
        return ManualCarrier()


class TestFilesCarrier(CarrierSuite, TrackingSuite):
    types_numbers = True

    @pytest.fixture
    def carrier(self, tmp_path: Path) -> FilesCarrier:
        return FilesCarrier(tmp_path)

    @pytest.fixture
    def say(self, tmp_path: Path) -> Callable[[TrackingEvent], None]:
        return lambda event: append(tmp_path / "events" / "2026-03-02.ndjson", msgspec.json.encode(event))


class TypedSuite(CarrierSuite, TrackingSuite):
    types_numbers = True


class BooksAgain(FilesCarrier):
    async def book(self, booking: Booking) -> Booked | NotBooked:
        answer = await super().book(booking)
        return replace(answer, reference=uuid4().hex) if isinstance(answer, Booked) else answer


class OneNumber(FilesCarrier):
    async def book(self, booking: Booking) -> Booked | NotBooked:
        answer = await super().book(booking)
        return replace(answer, tracking_number="T1") if isinstance(answer, Booked) else answer


class RaisesNo(FilesCarrier):
    async def book(self, booking: Booking) -> Booked | NotBooked:
        if booking.tracking_number is None:
            raise ValueError("no number")
        return await super().book(booking)


class ForgetsBookings(FilesCarrier):
    async def cancel(self, key: str, reference: str) -> BookingCancelled | NotCancelled:
        return NotCancelled("unknown_booking", "There is no such booking.")


class Repeats(FilesCarrier):
    async def events(self, after: str | None, limit: int) -> EventPage:
        page = await super().events(None, 1000)
        return EventPage(events=page.events or [TrackingEvent(tracking_number="T", kind="lost")], next=page.next)  # type: ignore[arg-type]


class LosesThePage(FilesCarrier):
    """Moves on by reading."""

    at: str | None = None

    async def events(self, after: str | None, limit: int) -> EventPage:
        if after is not None:
            await super().events(after, limit)
        page = await super().events(self.at, limit)
        self.at = page.next
        return page


class Backward(FilesCarrier):
    async def events(self, after: str | None, limit: int) -> EventPage:
        page = await super().events(after, limit)
        return EventPage(events=list(reversed(page.events)), next=page.next, more=page.more)


class TakesAnyCursor(FilesCarrier):
    async def events(self, after: str | None, limit: int) -> EventPage:
        try:
            return await super().events(after, limit)
        except Invalid:
            return await super().events(None, limit)


class Overfull(FilesCarrier):
    """Answers with all that there is, whatever was asked for."""

    async def events(self, after: str | None, limit: int) -> EventPage:
        page = await super().events(after, 1000)
        return EventPage(events=page.events, next=page.next, more=bool(page.events))


class Endless(FilesCarrier):
    """Says for ever that there is more."""

    async def events(self, after: str | None, limit: int) -> EventPage:
        page = await super().events(after, limit)
        return EventPage(events=page.events, next=page.next or "1.ndjson:0:0", more=True)


class PaysUs(FilesCarrier):
    async def book(self, booking: Booking) -> Booked | NotBooked:
        answer = await super().book(booking)
        return replace(answer, cost_minor=-5, cost_currency="usd") if isinstance(answer, Booked) else answer


class NoFolder(FilesCarrier):
    def lacking(self) -> str | None:
        return "Set ORDINO_CARRIER_DIRECTORY to a folder."


class NoLabelRoll(FilesCarrier):
    async def book(self, booking: Booking) -> Booked | NotBooked:
        return NotBooked("no_tracking_number", "Type the tracking number.")


CARRIER_FAULTS: dict[type[FilesCarrier], str] = {
    NoFolder: "test_it_lacks_nothing",
    NoLabelRoll: "test_a_parcel_gets_a_tracking_number",
    BooksAgain: "test_the_same_key_is_the_same_parcel",
    OneNumber: "test_another_parcel_has_another_number",
    RaisesNo: "test_what_it_cannot_take_is_an_answer_that_says_what_to_do",
    ForgetsBookings: "test_a_booking_can_be_cancelled_and_stays_cancelled",
    Repeats: "test_reading_on_from_the_end_finds_nothing",
    LosesThePage: "test_a_cursor_reads_the_same_page_again",
    Backward: "test_events_come_in_order_page_by_page_and_once",
    TakesAnyCursor: "test_what_is_no_cursor_is_refused",
}


def _made(parent: Path) -> Path:
    folder = parent / uuid4().hex
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("broken", "failed"),
    [
        (Overfull, "test_events_come_in_order_page_by_page_and_once"),
        (Endless, "test_reading_on_from_the_end_finds_nothing"),
        (PaysUs, "test_a_parcel_gets_a_tracking_number"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
async def test_a_carrier_with_pages_or_costs_that_make_no_sense_fails(
    tmp_path: Path, broken: type[FilesCarrier], failed: str
) -> None:
    def made() -> dict[str, Any]:
        there = _made(tmp_path)
        return {
            "carrier": broken(there),
            "say": lambda event: append(there / "events" / "1.ndjson", msgspec.json.encode(event)),
        }

    assert failed in await failing(TypedSuite(), made)


@pytest.mark.parametrize("broken", CARRIER_FAULTS, ids=lambda broken: broken.__name__)
async def test_a_broken_carrier_fails_the_test_that_names_its_fault(tmp_path: Path, broken: type[FilesCarrier]) -> None:
    def made() -> dict[str, Any]:
        there = _made(tmp_path)
        return {
            "carrier": broken(there),
            "say": lambda event: append(there / "events" / "1.ndjson", msgspec.json.encode(event)),
        }

    assert CARRIER_FAULTS[broken] in await failing(TypedSuite(), made)


def test_every_test_of_carriers_has_one_that_fails_it() -> None:
    assert {name for name in dir(TypedSuite) if name.startswith("test_")} == set(CARRIER_FAULTS.values())


# -- channels --------------------------------------------------------------------------------------------------------------


def shop(there: Path) -> dict[str, Any]:
    """The other side of a folder: what sells and hears."""
    file = there / "orders" / "2026-03-02.ndjson"

    def heard() -> list[dict[str, Any]]:
        news = sorted((there / "news").rglob("*.ndjson"))
        return [{"kind": path.parent.name, **json.loads(path.read_text())} for path in news]

    return {
        "sell": lambda order: append(file, msgspec.json.encode(order)),
        "spoil": lambda: append(file, b'{"channel": "test-channel", "external_id": 5}'),
        "heard": heard,
    }


class TestFilesChannel(ChannelSuite):
    @pytest.fixture
    def channel(self, tmp_path: Path) -> FilesChannel:
        return FilesChannel(tmp_path)

    @pytest.fixture
    def sell(self, tmp_path: Path) -> Any:
        return shop(tmp_path)["sell"]

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Any:
        return shop(tmp_path)["spoil"]

    @pytest.fixture
    def heard(self, tmp_path: Path) -> Any:
        return shop(tmp_path)["heard"]


class Consumes(FilesChannel):
    """What was read is gone."""

    at: str | None = None

    async def orders(self, after: str | None, limit: int) -> OrderPage:
        if after is not None:
            await super().orders(after, limit)
        page = await super().orders(self.at, limit)
        self.at = page.next
        return page


class Silent(FilesChannel):
    """Drops what it cannot read, without a word."""

    async def orders(self, after: str | None, limit: int) -> OrderPage:
        return replace(await super().orders(after, limit), unreadable=())


class FromTheStart(FilesChannel):
    async def orders(self, after: str | None, limit: int) -> OrderPage:
        if after is not None:
            await super().orders(after, limit)
        return replace(await super().orders(None, 1000), more=False)


class AnyCursor(FilesChannel):
    async def orders(self, after: str | None, limit: int) -> OrderPage:
        try:
            return await super().orders(after, limit)
        except Invalid:
            return OrderPage(orders=(), next=after)


class TellsTwice(FilesChannel):
    async def _tell(self, kind: str, key: str, news: Any) -> None:
        await super()._tell(kind, uuid4().hex, news)


class Deaf(FilesChannel):
    async def tell_shipped(self, news: OrderShipped) -> None:
        pass


class NeverEnds(FilesChannel):
    """Says for ever that there is more."""

    async def orders(self, after: str | None, limit: int) -> OrderPage:
        return replace(await super().orders(after, limit), more=True)


class NoShop(FilesChannel):
    def lacking(self) -> str | None:
        return "Set ORDINO_CHANNEL_DIRECTORY to a folder."


CHANNEL_FAULTS: dict[type[FilesChannel], str] = {
    NoShop: "test_it_lacks_nothing",
    FromTheStart: "test_orders_come_whole_in_order_and_once",
    Consumes: "test_a_cursor_reads_the_same_page_again",
    Silent: "test_an_order_that_cannot_be_read_is_told_and_stops_no_other",
    AnyCursor: "test_what_is_no_cursor_is_refused",
    TellsTwice: "test_what_is_told_twice_is_heard_once",
    NeverEnds: "test_orders_come_whole_in_order_and_once",
    Deaf: "test_what_is_told_twice_is_heard_once",
}


@pytest.mark.parametrize("broken", CHANNEL_FAULTS, ids=lambda broken: broken.__name__)
async def test_a_broken_channel_fails_the_test_that_names_its_fault(tmp_path: Path, broken: type[FilesChannel]) -> None:
    def made() -> dict[str, Any]:
        there = _made(tmp_path)
        return {"channel": broken(there), **shop(there)}

    assert CHANNEL_FAULTS[broken] in await failing(ChannelSuite(), made)


def test_every_test_of_channels_has_one_that_fails_it() -> None:
    assert {name for name in dir(ChannelSuite) if name.startswith("test_")} == set(CHANNEL_FAULTS.values())


# -- folders ---------------------------------------------------------------------------------------------------------------


def order(external_id: str) -> bytes:
    return msgspec.json.encode(ChannelSuite().new_order(external_id))


async def ids(channel: FilesChannel, after: str | None = None) -> tuple[list[str], str | None, list[str]]:
    page = await channel.orders(after, 100)
    return [one.external_id for one in page.orders], page.next, [one.where for one in page.unreadable]


async def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    channel, file = FilesChannel(tmp_path), tmp_path / "orders" / "1.ndjson"
    file.parent.mkdir()
    whole = order("late")
    file.write_bytes(order("first") + b"\n" + whole[:50])
    found, after, wrong = await ids(channel)
    assert (found, wrong) == (["first"], [])
    file.write_bytes(order("first") + b"\n" + whole)  # without a line break at the end
    found, after, wrong = await ids(channel, after)
    assert (found, wrong) == (["late"], [])
    file.write_bytes(order("first") + b"\n" + whole + b"\n\n" + order("more") + b"\n")
    assert (await ids(channel, after))[0] == ["more"]


async def test_a_line_that_was_never_finished_is_told_once_another_file_follows(tmp_path: Path) -> None:
    """Reading goes on with the next file, and nobody comes back to the rest of the line."""
    channel, there = FilesChannel(tmp_path), tmp_path / "orders"
    there.mkdir()
    (there / "1.ndjson").write_bytes(order("first") + b"\n" + order("cut off")[:50])
    found, after, wrong = await ids(channel)
    assert (found, wrong) == (["first"], [])
    (there / "2.ndjson").write_bytes(order("second") + b"\n")
    for cursor, orders in ((after, ["second"]), (None, ["first", "second"])):
        found, _, wrong = await ids(channel, cursor)
        assert (found, wrong) == (orders, ["1.ndjson, line 2"])


async def test_files_are_read_by_name_and_what_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    channel, there = FilesChannel(tmp_path), tmp_path / "orders"
    there.mkdir()
    (there / "2.ndjson").write_bytes(order("second") + b"\n")
    (there / "1.ndjson").write_bytes(
        b"\n" + b"not json\n" + order(" first ") + b"\n" + b"x" * 3_000_000 + b"\n" + order("big") + b"\n"
    )
    (there / "notes.txt").write_bytes(b"no orders")
    (there / ".hidden.ndjson").write_bytes(order("hidden") + b"\n")
    found, after, wrong = await ids(channel)
    assert found == ["first", "big", "second"]
    assert wrong == ["1.ndjson, line 2", "1.ndjson, line 4"]
    (there / "1.ndjson").unlink()  # what was read may be cleared away
    (there / "3.ndjson").write_bytes(order("third") + b"\n")
    assert (await ids(channel, after))[0] == ["third"]
    (there / "3.ndjson").write_bytes(b"")
    with pytest.raises(Invalid, match="shorter than it was"):
        await ids(channel, "3.ndjson:1:50")


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(AccountUnavailable, match="No space left on device"):
        folder.write_once(tmp_path, "key", {"told": True})
    assert list(tmp_path.iterdir()) == []


async def test_other_news_under_a_key_are_refused_and_change_nothing(tmp_path: Path) -> None:
    channel = FilesChannel(tmp_path)
    suite = ChannelSuite()
    await suite.tell(channel, "refunded", "same")
    suite.currency = "EUR"
    with pytest.raises(Refused, match="the same key"):
        await suite.tell(channel, "refunded", "same")
    await suite.tell(channel, "refunded", "../../elsewhere")
    assert [one["currency"] for one in shop(tmp_path)["heard"]()].count("USD") == 1
    assert len(shop(tmp_path)["heard"]()) == 2


async def test_a_folder_that_is_not_there_is_what_the_adapter_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FilesChannel().lacking() == "Set ORDINO_CHANNEL_DIRECTORY to a folder."
    monkeypatch.setenv("ORDINO_CARRIER_DIRECTORY", str(tmp_path / "gone"))
    assert "There is no folder" in (FilesCarrier().lacking() or "")


# -- messages --------------------------------------------------------------------------------------------------------------


class Postbox:
    """A mail server, and what has arrived at it."""

    def __init__(self) -> None:
        self.taken: list[Arrived] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        letter = message_from_bytes(envelope.content, policy=policy.default)
        body = letter.get_body()
        assert body is not None
        self.taken.append(
            Arrived(
                id=letter["Message-ID"],
                recipients=envelope.rcpt_tos,
                subject=letter["Subject"],
                body=body.get_content(),
            )
        )
        return "250 OK"


@pytest.fixture
async def postbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Postbox]:
    box, loop = Postbox(), asyncio.get_running_loop()
    serving = await loop.create_server(
        lambda: SMTP(box, loop=loop, hostname="test", enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    monkeypatch.setenv("ORDINO_SMTP_URL", f"smtp://127.0.0.1:{serving.sockets[0].getsockname()[1]}")
    smtp.server.cache_clear()
    yield box
    serving.close()
    smtp.server.cache_clear()


class TestSmtp(MessageProviderSuite):
    @pytest.fixture
    def provider(self, postbox: Postbox) -> SmtpProvider:
        return SmtpProvider()

    @pytest.fixture
    def arrived(self, postbox: Postbox) -> Callable[[], Sequence[Arrived]]:
        return lambda: postbox.taken


class Mails:
    """A sound message provider in memory."""

    def __init__(self) -> None:
        self.out: list[Arrived] = []

    def lacking(self) -> str | None:
        return None

    def account(self) -> str:
        return "mail service test"

    def id_of(self, message: OutgoingMessage) -> str:
        return message.key

    def recipients_of(self, message: OutgoingMessage) -> list[str]:
        if not message.recipient or "," in message.recipient or "\n" in message.recipient:
            raise Refused("This is not one recipient.")
        return [message.recipient]

    async def send(self, message: OutgoingMessage) -> Sent:
        if "\n" in message.subject:
            raise Refused("The subject has two lines.")
        self.take(message, message.body)
        return Sent(message.key)

    def take(self, message: OutgoingMessage, body: str) -> None:
        recipients, id = self.recipients_of(message), self.id_of(message)
        self.out.append(Arrived(id=id, recipients=recipients, subject=message.subject, body=body))


class NewIds(Mails):
    def id_of(self, message: OutgoingMessage) -> str:
        return uuid4().hex


class SendsToAll(Mails):
    def recipients_of(self, message: OutgoingMessage) -> list[str]:
        return [one.strip() for one in message.recipient.split(",")]


class Headers(Mails):
    async def send(self, message: OutgoingMessage) -> Sent:
        recipients = self.recipients_of(message) + (["eve@example.com"] if "Bcc:" in message.subject else [])
        self.out.append(Arrived(id=message.key, recipients=recipients, subject=message.subject, body=message.body))
        return Sent(message.key)


class Latin(Mails):
    def take(self, message: OutgoingMessage, body: str) -> None:
        super().take(message, body.encode("ascii", "replace").decode())


class Nameless(Mails):
    def account(self) -> str:
        return ""


MESSAGE_FAULTS: dict[type[Mails], str] = {
    Nameless: "test_it_lacks_nothing_and_names_its_account",
    Latin: "test_a_message_arrives_as_it_was_written",
    NewIds: "test_the_same_key_is_told_apart_as_the_same_message",
    SendsToAll: "test_what_is_not_one_recipient_is_refused_for_good",
    Headers: "test_a_subject_cannot_add_a_header",
}


def in_memory(kind: type[Mails]) -> dict[str, Any]:
    provider = kind()
    return {"provider": provider, "arrived": lambda: provider.out}


async def test_a_sound_message_provider_passes_the_suite() -> None:
    assert await failing(MessageProviderSuite(), lambda: in_memory(Mails)) == set()


@pytest.mark.parametrize("broken", MESSAGE_FAULTS, ids=lambda broken: broken.__name__)
async def test_a_broken_message_provider_fails_the_test_that_names_its_fault(broken: type[Mails]) -> None:
    assert MESSAGE_FAULTS[broken] in await failing(MessageProviderSuite(), lambda: in_memory(broken))


def test_every_test_of_message_providers_has_one_that_fails_it() -> None:
    assert {name for name in dir(MessageProviderSuite) if name.startswith("test_")} == set(MESSAGE_FAULTS.values())


def test_the_orders_of_the_suite_are_orders() -> None:
    assert msgspec.json.decode(order("x"), type=NewOrder).external_id == "x"
