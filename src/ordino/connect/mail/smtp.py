"""The message provider ``smtp``: messages leave by the mail server of ORDINO_SMTP_URL."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from msgspec import Struct

from ordino.aftercare.providers import OutgoingMessage, Sent
from ordino.core.emails import mailbox
from ordino.core.errors import AccountUnavailable, AnswerLost, Invalid, NotYet, Refused, Unavailable
from ordino.core.failures import MAY_HAVE_BEEN_DONE
from ordino.core.settings import BadSetting, Settings

CONNECT_SECONDS = 10
SEND_SECONDS = 25
QUIT_SECONDS = 2
TOO_LARGE = 552
LACKING = "Set ORDINO_SMTP_URL to send messages."
LEFT_OUT = " Send one such as ada@example.com, or leave the field out."
INSTEAD = "Tell the customer in another way; trying again helps once the mail server takes this address."


class Server(Struct, frozen=True):
    """Who takes mail, and in whose name it is sent."""

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None
    sender: Address

    @property
    def name(self) -> str:
        """Whom messages are handed to, and as whom."""
        return f"mail server {self.host}:{self.port}" + (f" as {self.user}" if self.user else "")


def server_of(url: str, sender: str) -> Server:
    """``smtp://user:password@host:587`` (encrypted by STARTTLS where the server offers it) or ``smtps://host:465``.

    Raises ``BadSetting``.
    """
    parts = urlsplit(url)
    encrypted = parts.scheme == "smtps"
    try:
        port = parts.port or (465 if encrypted else 25)
    except ValueError:
        raise BadSetting(
            "ORDINO_SMTP_URL", f"{parts.scheme}://{parts.hostname}", "its port is a number up to 65535"
        ) from None
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return Server(parts.hostname or "localhost", port, encrypted, user, password, sender_of(sender))


def sender_of(text: str) -> Address:
    """``orders@example.com`` or ``Shop <orders@example.com>``: one address, on one line. Raises ``BadSetting``."""
    header = EmailMessage()
    with suppress(ValueError):  # a line break
        header["From"] = text
    addresses = header["From"].addresses if "From" in header else ()
    if len(addresses) != 1 or not addresses[0].domain or header["From"].defects:  # type: ignore[misc]
        raise BadSetting("ORDINO_SMTP_SENDER", text, "one address such as Shop <orders@example.com> is expected")
    sender: Address = addresses[0]  # type: ignore[misc]
    return sender


@cache
def server() -> Server | None:
    """The one that the settings name."""
    settings = Settings.from_environment()
    return None if settings.smtp_url is None else server_of(settings.smtp_url, settings.smtp_sender)


class SmtpProvider:
    """Sends by the server that the settings name; its Message-ID is the message's key, by which servers and readers know a
    repeat.
    """

    def lacking(self) -> str | None:
        """Raises ``BadSetting``."""
        return LACKING if server() is None else None

    def account(self) -> str:
        to = server()
        return "mail server" if to is None else to.name

    async def send(self, message: OutgoingMessage) -> Sent:
        """Hand the message over.

        Raises ``AccountUnavailable`` where the mail server is away or takes nothing from us, ``Refused`` where it will never take
        this message, ``AnswerLost`` where it may have taken it, and ``Unavailable`` where it may take it later.
        """
        to = server()
        if to is None:
            raise NotYet(LACKING)
        return await deliver(to, message)


class _Conversation(aiosmtplib.SMTP):
    """``given``: the message has begun to leave. Before that, the mail server cannot have taken it."""

    given = False

    async def data(self, message: str | bytes, /, **more: Any) -> aiosmtplib.SMTPResponse:
        self.given = True
        return await super().data(message, **more)


async def deliver(to: Server, mail: OutgoingMessage) -> Sent:
    """One SMTP conversation; the message's key becomes its Message-ID."""
    recipient, message = letter_of(to, mail)
    client = _Conversation(
        hostname=to.host,
        port=to.port,
        username=to.user,
        password=to.password if to.password or to.user is None else "",
        use_tls=to.encrypted,
        start_tls=False if to.encrypted else None,
        validate_certs=False,
        timeout=SEND_SECONDS,
    )
    try:
        await _connect(client, to)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await client.send_message(message, sender=to.sender.addr_spec, recipients=[recipient])
        except Exception as error:
            raise judged(error, to, recipient, given=client.given) from error
        with suppress(OSError, aiosmtplib.SMTPException):  # the message is taken, however the conversation ends
            async with asyncio.timeout(QUIT_SECONDS):
                await client.quit()
        return Sent(message["Message-ID"])
    finally:
        client.close()


def letter_of(to: Server, mail: OutgoingMessage) -> tuple[str, EmailMessage]:
    """The recipient for the mail server, and the message. Raises ``Refused`` where the address is not exactly one mailbox."""
    try:
        recipient = mailbox(mail.recipient)
    except Invalid as error:
        raise Refused(f"The message cannot be sent. {error.detail.removesuffix(LEFT_OUT)} {INSTEAD}") from error
    message = EmailMessage()
    message["From"] = to.sender
    message["To"] = recipient
    try:
        message["Subject"] = mail.subject
    except ValueError as error:
        raise Refused("The message cannot be sent: its subject holds a line break. Correct its template.") from error
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = f"<{mail.key}@ordino>"
    message.set_content(mail.body)
    return recipient.addr_spec, message


async def _connect(client: aiosmtplib.SMTP, to: Server) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect()
    except aiosmtplib.SMTPAuthenticationError as error:
        raise AccountUnavailable(
            f"The {to.name} refuses the user and password of ORDINO_SMTP_URL: {_said(error)}. Correct them and restart."
        ) from error
    except TimeoutError as error:
        raise AccountUnavailable(
            f"The {to.name} did not answer within {CONNECT_SECONDS} seconds. Check that it runs, and ORDINO_SMTP_URL."
        ) from error
    except (OSError, aiosmtplib.SMTPException) as error:
        raise AccountUnavailable(
            f"The {to.name} cannot be used: {_said(error)}. Check that it runs, and ORDINO_SMTP_URL."
        ) from error


def judged(error: Exception, to: Server, recipient: str, *, given: bool = False) -> Exception:
    """What an error of the conversation means: for this message, or for all of them. ``given``: the message had begun to leave."""
    said = _said(error)
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[refused, *_]):
            said = _said(refused)
            if refused.code in (421, 530) or "relay" in refused.message.lower():
                return AccountUnavailable(f"The {to.name} takes no messages from us: {said}. Check ORDINO_SMTP_URL.")
            if refused.code >= 500:
                return Refused(f"The {to.name} refuses the recipient {recipient}: {said}. {INSTEAD}")
            return Unavailable(f"The {to.name} does not take messages to {recipient} for now: {said}")
        case aiosmtplib.SMTPSenderRefused(code=code) if code != TOO_LARGE:
            return AccountUnavailable(
                f"The {to.name} refuses the sender {to.sender.addr_spec}: {said}. Check ORDINO_SMTP_SENDER."
            )
        case aiosmtplib.SMTPResponseException(code=code) if code >= 500:
            return Refused(f"The {to.name} refuses the message to {recipient}: {said}. {INSTEAD}")
        case aiosmtplib.SMTPNotSupported():
            return Refused(f"The {to.name} cannot send to {recipient}: {said}. {INSTEAD}")
        case aiosmtplib.SMTPException() | OSError() if given and not isinstance(
            error, aiosmtplib.SMTPResponseException
        ):
            return AnswerLost(
                f"The {to.name} was given the message, and did not say that it took it. {MAY_HAVE_BEEN_DONE}"
            )
        case TimeoutError():
            return Unavailable(f"The {to.name} did not take the message within {SEND_SECONDS} seconds.")
        case aiosmtplib.SMTPException() | OSError():
            return Unavailable(f"The {to.name} did not take the message: {said}")
    return error


def _said(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return " ".join(f"{error.code} {error.message}".split()).rstrip(".")
    return (str(error) or type(error).__name__).rstrip(".")
