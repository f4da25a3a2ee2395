"""Sending: messages leave the outbox by the message provider that the settings name. Where it is not set up they stay readable
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.aftercare.providers import MessageProvider, OutgoingMessage, message_providers
from ordino.core.database import Tx
from ordino.core.effects import Effect, Task
from ordino.core.errors import NotYet
from ordino.core.limits import Limits
from ordino.core.settings import Settings
from ordino.core.statements import statements
from ordino.core.taken import was_taken

sql = statements("ordino.aftercare")

KIND = "send"
DAY_SECONDS = 86_400
CALL_SECONDS = 40
AT_ONCE = 8
"""Mail servers bear some ten conversations with one client."""
Letter = tuple[UUID, UUID, str]
"""(order id, event id, template)"""


class Mail(Struct, frozen=True):
    """One message on its way out."""

    letter: Letter
    recipient: str
    subject: str
    body: str
    written_at: datetime


@cache
def chosen() -> str:
    """The name of the message provider that the settings choose."""
    return Settings.from_environment().message_provider


def provider() -> MessageProvider | None:
    """The message provider that the settings choose, if it is installed."""
    return message_providers.get(chosen())


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
    """Hand the message over, under the reaction's id. Raises what the provider raises."""
    by, missing = provider(), lacking()
    if by is None or missing is not None:
        raise NotYet(missing or message_providers.unknown(chosen()))
    order_id, _, template = mail.letter
    await by.send(
        OutgoingMessage(
            key=str(task.id),
            order_id=order_id,
            template=template,
            recipient=mail.recipient,
            subject=mail.subject,
            body=mail.body,
            written_at=mail.written_at,
        )
    )
    return mail


async def settle(tx: Tx, sent: Sequence[tuple[Task, Any]], at: datetime) -> None:
    letters = [mail.letter for _, mail in sent]
    await sql.mark_sent(
        tx,
        order_ids=[letter[0] for letter in letters],
        event_ids=[letter[1] for letter in letters],
        templates=[letter[2] for letter in letters],
        at=at,
    )


def lacking() -> str | None:
    """What this process would need to send messages. Raises ``BadSetting``."""
    by = provider()
    return message_providers.unknown(chosen()) if by is None else by.lacking()


def account() -> str:
    """Who takes the messages, as paused accounts name it."""
    by = provider()
    return "message provider" if by is None else by.account()


async def somebody_sends(tx: Tx) -> bool:
    """Does this process send messages, or some worker that was there within a day?"""
    return lacking() is None or await was_taken(tx, KIND, within_seconds=DAY_SECONDS)


def limits(account: str) -> Limits:
    """What the chosen provider bears, within what any mail server does."""
    return message_providers.limits(chosen())


effect = Effect(
    ask,
    call,
    settle,
    one_account=account,
    call_seconds=CALL_SECONDS,
    at_once=AT_ONCE,
    lacking=lacking,
    limits=limits,
)
