"""Mail: each message leaves once, to one mailbox, and what fails is judged by whom it concerns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any
from uuid import UUID, uuid4

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from ordino.aftercare import send
from ordino.aftercare.model import Template
from ordino.aftercare.providers import OutgoingMessage, Sent, message_providers
from ordino.aftercare.reactions import message
from ordino.connect.mail import smtp
from ordino.core import accounts
from ordino.core.clock import SimulatedClock, WallClock
from ordino.core.database import Database
from ordino.core.errors import AccountUnavailable, AnswerLost, Refused, Unavailable
from ordino.core.reactions import Registry, Worker
from ordino.core.settings import BadSetting
from ordino.core.statements import statements
from ordino.orders.model import Address, OrderRefused
from ordino.orders.place import place
from steps import in_one, placed, react
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
core_sql = statements("ordino.core")


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


@pytest.fixture(autouse=True)
async def empty(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await database.pool.execute(
        "TRUNCATE core.reactions; TRUNCATE core.paused_accounts; TRUNCATE core.taken_effects; TRUNCATE aftercare.messages"
    )
    monkeypatch.setattr(database, "clock", SimulatedClock(AT))


class MailServer:
    """A server that takes ``seconds`` for a message, and answers with what a test says."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.mail_answer: str | None = None
        self.recipient_answer: Callable[[str], str | None] = lambda address: None
        self.data_answer: str | None = None
        self.taken: list[tuple[list[str], Any]] = []
        self.hangs_on: str | None = None
        self.cuts_early = self.cuts = False

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mail_answer is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.mail_answer or "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.cuts_early:
            server.transport.abort()
        if answer := self.recipient_answer(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.cuts:
            server.transport.abort()
        if self.hangs_on in envelope.rcpt_tos:
            await asyncio.sleep(3600)
        await asyncio.sleep(self.seconds)
        if self.data_answer is None:
            assert isinstance(envelope.content, bytes)
            self.taken.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return self.data_answer or "250 OK"


@pytest.fixture
def server() -> MailServer:
    return MailServer()


@pytest.fixture
async def listening(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The server at work on a free port; the settings name it."""

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=isinstance(data, LoginPassword) and data.password == b"right", handled=False)

    loop = asyncio.get_running_loop()
    options = {"authenticator": authenticate, "auth_require_tls": False, "enable_SMTPUTF8": True}
    serving = await loop.create_server(lambda: SMTP(server, loop=loop, hostname="test", **options), "127.0.0.1", 0)
    where = f"127.0.0.1:{serving.sockets[0].getsockname()[1]}"
    use(monkeypatch, f"smtp://{where}")
    yield where
    serving.close()
    smtp.server.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ORDINO_SMTP_URL", url)
    smtp.server.cache_clear()


async def written(database: Database, world: World, *recipients: str) -> list[UUID]:
    """Messages in the outbox, as many as recipients; what an order's address says is theirs, whoever let it in."""
    order_ids = []
    for recipient in recipients:
        order_id = await placed(database, order(world, "ada@example.com"), AT)
        await database.pool.execute("UPDATE orders.addresses SET email = $2 WHERE order_id = $1", order_id, recipient)
        await react(database, message, order_id, "order_placed", AT, template=Template.ORDER_RECEIVED)
        order_ids.append(order_id)
    return order_ids


def order(world: World, email: str) -> Any:
    address = Address(name="Ada", line1="1 Main Street", city="Town", postal_code="43215", country="US", email=email)
    return world.order(f"mail {uuid4()}", 1, ship_to=address)


def worker_of(database: Database, **more: Any) -> Worker:
    registry = Registry()
    registry.effect("send", send.effect)
    return Worker(database, registry=registry, **more)


async def queued(database: Database) -> list[Any]:
    rows: list[Any] = await database.pool.fetch("SELECT * FROM core.reactions ORDER BY id")
    return rows


async def test_155_messages_and_a_slow_server_two_workers_and_a_short_lease_each_leaves_once(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.seconds = 1
    recipients = [f"ada{n}@example.com" for n in range(155)]
    await written(database, world, *recipients)
    stop = asyncio.Event()
    workers = [worker_of(database, lease_seconds=15, poll_seconds=0.05) for _ in range(2)]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    async with asyncio.timeout(120):
        while await queued(database):  # noqa: ASYNC110 - nothing tells when it changes
            await asyncio.sleep(0.2)
    stop.set()
    await asyncio.gather(*running)
    assert Counter(to for [to], _ in server.taken) == dict.fromkeys(recipients, 1)
    assert await database.pool.fetchval("SELECT count(*) FROM aftercare.messages WHERE sent_at IS NULL") == 0


async def test_a_message_that_hangs_holds_up_no_other(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.hangs_on = "hangs@example.com"
    await written(database, world, "hangs@example.com", *[f"ada{n}@example.com" for n in range(30)])
    running = asyncio.create_task(worker_of(database, poll_seconds=0.05).run(asyncio.Event()))
    async with asyncio.timeout(20):
        while len(await queued(database)) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert len(server.taken) == 30
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "recipient",
    ["a@b.co,eve@x.yz", "a@b.co, eve@x.yz", "a@b.co;eve@x.yz", "a@b.co eve@x.yz", "Eve <eve@x.yz>", "a@b.co\nBcc: eve@x.yz",
     "undisclosed:a@b.co,eve@x.yz;", "nobody"],
)  # fmt: skip
async def test_what_is_not_one_mailbox_is_never_sent_and_goes_to_a_person_at_once(
    database: Database, world: World, server: MailServer, listening: str, recipient: str
) -> None:
    await written(database, world, recipient, "ada@example.com")
    await worker_of(database).run_until_idle()
    assert [to for to, _ in server.taken] == [["ada@example.com"]]
    [dead] = await database.read(lambda tx: core_sql.dead_letters(tx, limit=10))
    assert dead["attempts"] == 1
    assert "is not a valid email address" in dead["last_error"]
    assert "Tell the customer in another way" in dead["last_error"]


@pytest.mark.parametrize("recipient", ["a@b.c,eve@x.y", "a@b.co eve@x.yz", "Eve <eve@x.yz>", "a@b.co\r\nBcc: eve@x.yz"])
async def test_an_order_with_an_address_that_is_not_one_mailbox_is_refused(
    database: Database, world: World, recipient: str
) -> None:
    [refused] = await in_one(database, place, [order(world, recipient)], AT)
    assert isinstance(refused, OrderRefused)
    assert "is not a valid email address" in refused.detail


@pytest.mark.parametrize(
    ("recipient", "envelope"),
    [
        ('"a@b.co,eve"@x.yz', '"a@b.co,eve"@x.yz'),
        ("ada@exämple.de", "ada@xn--exmple-cua.de"),
        ("ädä@exämple.de", "ädä@xn--exmple-cua.de"),
    ],
)
async def test_unusual_mailboxes_are_one_recipient(
    database: Database, world: World, server: MailServer, listening: str, recipient: str, envelope: str
) -> None:
    await written(database, world, recipient)
    await worker_of(database).run_until_idle()
    assert [to for to, _ in server.taken] == [[envelope]]
    assert await queued(database) == []


async def test_a_recipient_that_the_server_refuses_goes_to_a_person_at_once(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.recipient_answer = lambda address: "550 5.1.1 No such user." if address == "gone@example.com" else None
    await written(database, world, "gone@example.com", "ada@example.com")
    await worker_of(database).run_until_idle()
    assert len(server.taken) == 1
    [dead] = await database.read(lambda tx: core_sql.dead_letters(tx, limit=10))
    assert dead["last_error"] == (
        f"The mail server {listening} refuses the recipient gone@example.com: 550 5.1.1 No such user. "
        "Tell the customer in another way; trying again helps once the mail server takes this address."
    )


async def test_a_recipient_whose_server_asks_for_patience_is_tried_again(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.recipient_answer = lambda address: "451 4.7.1 Greylisted." if address == "grey@example.com" else None
    await written(database, world, "grey@example.com", "ada@example.com")
    worker = worker_of(database)
    await worker.run_until_idle()
    [row] = await queued(database)
    assert (row["dead_at"], row["attempts"]) == (None, 1)
    server.recipient_answer = lambda address: None
    assert isinstance(database.clock, SimulatedClock)
    database.clock.advance_to(AT + timedelta(minutes=1))
    await worker.run_until_idle()
    assert len(server.taken) == 2


async def out_for_hours(database: Database, worker: Worker, wall: SimulatedClock) -> None:
    assert isinstance(database.clock, SimulatedClock)
    for _ in range(30):
        await worker.run_until_idle()
        for clock in (wall, database.clock):
            clock.advance_to(clock.now() + timedelta(minutes=6))


async def back_again(database: Database, worker: Worker, wall: SimulatedClock, server: MailServer) -> None:
    """After an outage of three hours no attempt is counted, and every message leaves once."""
    assert {(row["dead_at"], row["attempts"]) for row in await queued(database)} == {(None, 0)}
    waiting = len(await queued(database))
    server.mail_answer, server.recipient_answer = None, lambda address: None
    await out_for_hours(database, worker, wall)
    assert len(server.taken) == waiting
    assert await queued(database) == []
    assert await database.read(accounts.paused) == []


@pytest.mark.parametrize(
    "answer", ["421 4.3.2 Closing", "450 4.3.0 Later", "550 5.7.1 You may not send as that", "530 5.7.0 Log in first"]
)
async def test_a_server_that_takes_nothing_from_us_counts_no_attempt(
    database: Database, world: World, server: MailServer, listening: str, answer: str
) -> None:
    server.mail_answer, wall = answer, SimulatedClock(AT)
    await written(database, world, *[f"ada{n}@example.com" for n in range(10)])
    worker = worker_of(database, wall=wall, max_attempts=3)
    await out_for_hours(database, worker, wall)
    [pause] = await database.read(accounts.paused)
    assert pause.account == f"mail server {listening}"
    assert answer in pause.reason
    await back_again(database, worker, wall, server)


async def test_a_server_that_does_not_relay_for_us_counts_no_attempt(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.recipient_answer, wall = lambda address: "554 5.7.1 Relay access denied", SimulatedClock(AT)
    await written(database, world, *[f"ada{n}@example.com" for n in range(10)])
    worker = worker_of(database, wall=wall, max_attempts=3)
    await out_for_hours(database, worker, wall)
    await back_again(database, worker, wall, server)


async def test_a_server_that_is_away_for_hours_counts_no_attempt(
    database: Database, world: World, server: MailServer, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(database, world, *[f"ada{n}@example.com" for n in range(10)])
    use(monkeypatch, "smtp://127.0.0.1:9")
    wall = SimulatedClock(AT)
    await out_for_hours(database, worker_of(database, wall=wall, max_attempts=3), wall)
    [pause] = await database.read(accounts.paused)
    assert pause.reason.startswith("The mail server 127.0.0.1:9 cannot be used: ")
    assert pause.reason.endswith("Check that it runs, and ORDINO_SMTP_URL.")
    await database.pool.execute("TRUNCATE core.paused_accounts")
    use(monkeypatch, f"smtp://{listening}")
    await back_again(database, worker_of(database, wall=wall, max_attempts=3), wall, server)


async def test_a_password_that_is_refused_counts_no_attempt(
    database: Database, world: World, server: MailServer, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(database, world, "ada@example.com", "bob@example.com")
    use(monkeypatch, f"smtp://shop:wrong@{listening}")
    wall = SimulatedClock(AT)
    await out_for_hours(database, worker_of(database, wall=wall, max_attempts=3), wall)
    [pause] = await database.read(accounts.paused)
    assert pause.account == f"mail server {listening} as shop"
    assert "refuses the user and password of ORDINO_SMTP_URL: 535 5.7.8" in pause.reason
    assert "wrong" not in pause.reason
    use(monkeypatch, f"smtp://shop:right@{listening}")
    await back_again(database, worker_of(database, wall=wall, max_attempts=3), wall, server)


async def test_a_server_that_puts_everybody_off_gives_up_nobody(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.recipient_answer = lambda address: "451 4.7.1 Greylisted."
    await written(database, world, *[f"ada{n}@example.com" for n in range(10)])
    wall = SimulatedClock(AT)
    worker = worker_of(database, wall=wall, max_attempts=3)
    await out_for_hours(database, worker, wall)
    assert {row["dead_at"] for row in await queued(database)} == {None}
    server.recipient_answer = lambda address: None
    await out_for_hours(database, worker, wall)
    assert len(server.taken) == 10


def test_errors_of_a_conversation_are_judged_by_whom_they_concern() -> None:
    to = smtp.server_of("smtp://mail.example:587", "orders@example.com")

    def kind(error: Exception) -> type[Exception]:
        return type(smtp.judged(error, to, "ada@example.com"))

    def refused(code: int, words: str = "no") -> Exception:
        return aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(code, words, "ada@example.com")])

    assert [kind(refused(code)) for code in (421, 450, 452, 530, 550, 553)] == [
        AccountUnavailable, Unavailable, Unavailable, AccountUnavailable, Refused, Refused,
    ]  # fmt: skip
    assert kind(aiosmtplib.SMTPSenderRefused(552, "too large", "s")) is Refused
    assert kind(aiosmtplib.SMTPSenderRefused(452, "disk full", "s")) is AccountUnavailable
    assert kind(aiosmtplib.SMTPDataError(554, "spam")) is Refused
    assert kind(aiosmtplib.SMTPDataError(451, "later")) is Unavailable
    assert kind(aiosmtplib.SMTPServerDisconnected("gone")) is Unavailable
    assert kind(TimeoutError()) is Unavailable
    assert kind(ValueError()) is ValueError
    lost = [aiosmtplib.SMTPServerDisconnected("gone"), TimeoutError(), ConnectionResetError()]
    assert [type(smtp.judged(error, to, "ada@example.com", given=True)) for error in lost] == [AnswerLost] * 3
    deferred = aiosmtplib.SMTPDataError(451, "later")
    assert type(smtp.judged(deferred, to, "ada@example.com", given=True)) is Unavailable


@pytest.mark.parametrize("how", ["cut", "late"])
async def test_a_message_that_was_given_and_not_answered_may_have_been_taken(
    database: Database, world: World, server: MailServer, listening: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It is sent again under the same Message-ID."""
    if how == "cut":
        server.cuts = True
    else:
        monkeypatch.setattr(smtp, "SEND_SECONDS", 1)
        server.hangs_on = "ada@example.com"
    await written(database, world, "ada@example.com")
    await worker_of(database).run_due()
    [row] = await queued(database)
    assert (row["failure"], row["attempts"], row["dead_at"]) == ("answer_lost", 1, None)
    assert "was given the message, and did not say that it took it. It may have been done" in row["last_error"]


async def test_a_connection_that_is_cut_before_the_message_has_sent_nothing(
    database: Database, world: World, server: MailServer, listening: str
) -> None:
    server.cuts_early = True
    await written(database, world, "ada@example.com")
    await worker_of(database).run_due()
    [row] = await queued(database)
    assert (row["failure"], row["attempts"]) == ("unavailable", 1)


@pytest.mark.parametrize("sender", ["a@b.co, eve@x.yz", "nobody", "a@b.co\nBcc: eve@x.yz", "Shop <>"])
def test_a_sender_that_is_not_one_address_is_refused_at_the_start(sender: str) -> None:
    with pytest.raises(BadSetting, match=r"one address such as Shop <orders@example\.com> is expected"):
        smtp.server_of("smtp://mail.example", sender)


class Pigeons:
    """Another way for messages to leave."""

    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []

    def lacking(self) -> str | None:
        return None

    def account(self) -> str:
        return "pigeon loft"

    async def send(self, message: OutgoingMessage) -> Sent:
        self.sent.append(message)
        return Sent(message.key)


async def test_messages_leave_by_the_provider_that_the_settings_choose(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loft = Pigeons()
    monkeypatch.setitem(message_providers, "pigeon", loft)
    monkeypatch.setattr(send, "chosen", lambda: "pigeon")
    [order_id] = await written(database, world, "ada@example.com")
    await worker_of(database).run_until_idle()
    [message] = loft.sent
    assert (message.order_id, message.template, message.recipient) == (order_id, "order_received", "ada@example.com")
    assert send.account() == "pigeon loft"
    assert await database.pool.fetchval("SELECT count(*) FROM aftercare.messages WHERE sent_at IS NULL") == 0


async def test_a_message_provider_that_is_not_there_is_named_and_messages_stay(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "chosen", lambda: "pigeon")
    await written(database, world, "ada@example.com")
    assert await queued(database) == []
    assert not worker_of(database).calls
    assert send.lacking() == (
        "There is no message provider 'pigeon' here; choose one of: smtp. `ordino adapters` says what is wrong with others."
    )


async def test_messages_are_queued_where_another_process_sends_them(
    database: Database, world: World, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes a message and who sends it may be two workers with other settings. When it was there is wall time."""
    monkeypatch.delenv("ORDINO_SMTP_URL")
    smtp.server.cache_clear()
    await written(database, world, "before@example.com")
    assert await queued(database) == []
    assert not worker_of(database).calls  # without a mail server it takes no messages
    now = WallClock().now()
    await database.transact(lambda tx: core_sql.take_effects(tx, kinds=["send"], at=now - timedelta(hours=25)))
    await written(database, world, "too late@example.com")
    assert await queued(database) == []
    await database.transact(lambda tx: core_sql.take_effects(tx, kinds=["send"], at=now - timedelta(hours=23)))
    await written(database, world, "after@example.com")
    [row] = await queued(database)
    assert row["kind"] == "send"
    assert await worker_of(database).run_until_idle() == 0
    [row] = await queued(database)
    assert (row["attempts"], row["lease"]) == (0, None)
