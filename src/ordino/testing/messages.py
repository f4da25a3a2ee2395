"""What a message provider has to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct
from msgspec.structs import replace

from ordino.aftercare.providers import MessageProvider, OutgoingMessage, Sent
from ordino.core.errors import Refused


class Arrived(Struct, frozen=True, kw_only=True):
    """A message as its recipient has it. ``id`` is what tells repeats apart."""

    id: str
    recipients: Sequence[str]
    subject: str
    body: str


Outbox = Callable[[], Sequence[Arrived]]


@pytest.mark.asyncio
class MessageProviderSuite:
    """Subclass it and give it the fixtures ``provider`` and ``arrived``: a function that returns what has arrived so far, as
    ``ordino.testing.messages.Arrived``.
    """

    recipient = "ada@example.com"

    def new_message(self, **changes: Any) -> OutgoingMessage:
        message = OutgoingMessage(
            key=str(uuid4()),
            order_id=uuid4(),
            template="order_received",
            recipient=self.recipient,
            subject="Your order",
            body="Hello Ada,\n\nwe have your order.\n",
            written_at=datetime(2026, 3, 2, 15, 0, tzinfo=UTC),
        )
        return replace(message, **changes)

    async def test_it_lacks_nothing_and_names_its_account(self, provider: MessageProvider) -> None:
        assert provider.lacking() is None
        assert provider.account().strip(), "a paused account has a name"

    async def test_a_message_arrives_as_it_was_written(self, provider: MessageProvider, arrived: Outbox) -> None:
        message = self.new_message(subject="Größe 42 ist da", body="Line one.\n\nLine two: 5 €.\n")
        sent = await provider.send(message)
        assert isinstance(sent, Sent), f"it answered {type(sent).__name__}, and should have sent"
        assert sent.reference, "a message has a reference"
        [one] = arrived()
        assert list(one.recipients) == [message.recipient], "it went to somebody else, too"
        assert one.subject == message.subject
        assert one.body.split() == message.body.split()

    async def test_the_same_key_is_told_apart_as_the_same_message(
        self, provider: MessageProvider, arrived: Outbox
    ) -> None:
        message = self.new_message()
        for _ in range(2):
            await provider.send(message)
        await provider.send(self.new_message())
        ids = [one.id for one in arrived()]
        assert len(set(ids)) == 2, "repeats of a message have one id, and other messages another"

    @pytest.mark.parametrize(
        "recipient", ["ada@example.com, eve@example.com", "ada@example.com\nBcc: eve@example.com", ""]
    )
    async def test_what_is_not_one_recipient_is_refused_for_good(
        self, provider: MessageProvider, arrived: Outbox, recipient: str
    ) -> None:
        with pytest.raises(Refused):
            await provider.send(self.new_message(recipient=recipient))
        assert list(arrived()) == []

    async def test_a_subject_cannot_add_a_header(self, provider: MessageProvider, arrived: Outbox) -> None:
        try:
            await provider.send(self.new_message(subject="Hello\nBcc: eve@example.com"))
        except Refused:
            return
        assert all(list(one.recipients) == [self.recipient] for one in arrived()), "the subject added a recipient"
