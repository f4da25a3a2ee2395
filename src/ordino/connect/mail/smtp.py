"""The message provider ``smtp``: messages leave by the mail server of ORDINO_SMTP_URL.

Over TLS, the server has to show a certificate for its name, signed by an authority that the machine or ORDINO_SMTP_CA_FILE trusts.
A password leaves the machine over TLS only: what takes STARTTLS out of a conversation gets none.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
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
    trusted: ssl.SSLContext

    @property
    def start_tls(self) -> bool | None:
        """Must the conversation be encrypted with STARTTLS? None: where the server offers it."""
        if self.encrypted:
            return False
        return True if self.user is not None and not _is_loopback(self.host) else None

    @property
    def name(self) -> str:
        """Whom messages are handed to, and as whom."""
        return f"mail server {self.host}:{self.port}" + (f" as {self.user}" if self.user else "")


def server_of(url: str, sender: str, ca_file: Path | None = None) -> Server:
    """``smtp://user:password@host:587`` (encrypted by STARTTLS, which a server that is sent a password must offer unless it is this
    machine) or ``smtps://host:465``. ``ca_file`` holds certificates of authorities that are trusted, too.

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
    host, trusted = parts.hostname or "localhost", _trusted(ca_file)
    return Server(host, port, encrypted, user, password, sender_of(sender), trusted)


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Who may sign the certificate of a mail server."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # so are the errors of ssl
            raise BadSetting(
                "ORDINO_SMTP_CA_FILE",
                str(ca_file),
                f"a PEM file of certificates is expected ({error.strerror or error})",
            ) from error
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    if settings.smtp_url is None:
        return None
    return server_of(settings.smtp_url, settings.smtp_sender, settings.smtp_ca_file)


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
        start_tls=to.start_tls,
        tls_context=to.trusted,
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
        raise AccountUnavailable(f"The {to.name} {_why_not(error)}") from error


def _why_not(error: Exception) -> str:
    """Why a mail server cannot be connected to, and what to do."""
    for one in (error, error.__cause__):
        if isinstance(one, ssl.SSLCertVerificationError):
            return (
                f"shows a certificate that is not trusted: {one.verify_message.rstrip('.')}. Call the server by the name in its "
                "certificate, or name the authority that signed it in ORDINO_SMTP_CA_FILE."
            )
    if "STARTTLS extension not supported" in str(error):
        return (
            "does not offer to encrypt the conversation (STARTTLS), and a password is not sent without that. Use smtps://, or "
            "leave the user and password out of ORDINO_SMTP_URL."
        )
    return f"cannot be used: {_said(error)}. Check that it runs, and ORDINO_SMTP_URL."


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
