"""The port of messages: what a message provider is given, and what it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from ordino.core.adapters import Adapter, Port


class OutgoingMessage(Struct, frozen=True, kw_only=True):
    """One message to one recipient: plain text. The same ``key`` again is the same message again."""

    key: str
    order_id: UUID
    template: str
    recipient: str
    subject: str
    body: str
    written_at: datetime


class Sent(Struct, frozen=True):
    """The provider has taken the message, under its own reference."""

    reference: str


class MessageProvider(Adapter, Protocol):
    """Who takes messages to customers.

    A message that is sent again carries the same ``key``; the provider passes it on, so that nobody reads it twice. It raises
    ``Refused`` for a message that can never be sent, ``AccountUnavailable`` where the provider is away or takes nothing from us,
    ``AnswerLost`` where the message may have been taken, and ``Unavailable`` where it may be taken later.
    """

    def account(self) -> str:
        """Who is called, and as whom: what is paused when everything fails."""
        ...

    async def send(self, message: OutgoingMessage) -> Sent:
        """Hand one message over."""
        ...


message_providers: Port[MessageProvider] = Port("message_provider", "ordino.message_providers", MessageProvider)
"""The message providers of this process, by the name that ORDINO_MESSAGE_PROVIDER has."""
