"""Sending: messages leave the outbox by SMTP, where a server is configured. Without one they stay readable there."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import Unavailable
from ordino.core.reactions import Effect, Task
from ordino.core.settings import Settings
from ordino.core.statements import statements

sql = statements("ordino.aftercare")

WAIT_SECONDS = 30
Letter = tuple[UUID, UUID, str]
"""(order id, event id, template)"""


class Server(Struct, frozen=True):
    """Who takes mail, and in whose name it is sent."""

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None
    sender: str


class Mail(Struct, frozen=True):
    """One message on its way out."""

    letter: Letter
    recipient: str
    subject: str
    body: str
    written_at: datetime


def server_of(url: str, sender: str) -> Server:
    """``smtp://user:password@host:587`` (encrypted by STARTTLS where the server offers it) or ``smtps://host:465``."""
    parts = urlsplit(url)
    encrypted = parts.scheme == "smtps"
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return Server(
        parts.hostname or "localhost", parts.port or (465 if encrypted else 25), encrypted, user, password, sender
    )


@cache
def server() -> Server | None:
    """The one that the settings name."""
    settings = Settings.from_environment()
    return None if settings.smtp_url is None else server_of(settings.smtp_url, settings.smtp_sender)


async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Mail | None]:
    letters = [(task.subject_id, task.event_id, task.data["template"]) for task in tasks]
    rows = await sql.unsent_messages(
        tx,
        order_ids=[letter[0] for letter in letters],
        event_ids=[letter[1] for letter in letters],
        templates=[letter[2] for letter in letters],
    )
    waiting = {(row["order_id"], row["event_id"], row["template"]): row for row in rows}
    mails: list[Mail | None] = []
    for letter in letters:
        row = waiting.get(letter)
        mails.append(
            None if row is None else Mail(letter, row["recipient"], row["subject"], row["body"], row["written_at"])
        )
    return mails


async def call(task: Task, mail: Mail) -> Mail:
    """Hand the mail over. Its Message-ID is the reaction's: servers and readers know a repeat by it."""
    to = server()
    if to is None:
        raise Unavailable("No mail server is configured; set ORDINO_SMTP_URL.")
    try:
        await asyncio.to_thread(deliver, to, mail, str(task.id))
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"The mail server {to.host} did not take the message: {error}") from error
    return mail


def deliver(to: Server, mail: Mail, key: str) -> None:
    """One SMTP conversation; ``key`` becomes the Message-ID."""
    message = EmailMessage()
    message["From"] = to.sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.written_at)
    message["Message-ID"] = f"<{key}@ordino>"
    message.set_content(mail.body)
    kind = smtplib.SMTP_SSL if to.encrypted else smtplib.SMTP
    with kind(to.host, to.port, timeout=WAIT_SECONDS) as smtp:
        smtp.ehlo()
        if not to.encrypted and smtp.has_extn("starttls"):
            smtp.starttls()
            smtp.ehlo()
        if to.user is not None:
            smtp.login(to.user, to.password or "")
        smtp.send_message(message)


async def settle(tx: Tx, sent: Sequence[tuple[Task, Any]], at: datetime) -> None:
    letters = [mail.letter for _, mail in sent]
    await sql.mark_sent(
        tx,
        order_ids=[letter[0] for letter in letters],
        event_ids=[letter[1] for letter in letters],
        templates=[letter[2] for letter in letters],
        at=at,
    )


effect = Effect(ask, call, settle)
