"""The port of payments: what a payment provider is asked for, and what it answers.

A provider is told everything that it needs in one value, and answers with one: nothing is looked up, and nothing is remembered from
one call to the next. ``docs/howto/write-an-adapter.md`` shows a whole provider.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from msgspec import Struct

from ordino.core.adapters import Adapter, Port
from ordino.core.secret import Secret


class Capture(Struct, frozen=True, kw_only=True):
    """Money that was taken: the provider's reference, and minor units."""

    reference: str | None
    amount_minor: int


class PaymentCall(Struct, frozen=True, kw_only=True):
    """One call. The same ``key`` again means the same call again: it is answered, and nothing is done twice.

    ``external_id`` is the order as its ``channel`` knows it. ``payment_id`` is the payment's own id, the same in all of its calls.
    ``method`` is what the channel called the way of paying, and ``token`` what its checkout got from the provider: it comes with
    ``authorize`` only, and is forgotten once the money is authorized. ``authorization`` is the provider's reference of the
    authorization, and comes with every later call; ``captures``, oldest first, come with ``refund``.
    """

    key: str
    order_id: UUID
    external_id: str
    channel: str
    seller: str
    payment_id: UUID
    amount_minor: int
    currency: str
    method: str | None = None
    token: Secret | None = None
    authorization: str | None = None
    captures: tuple[Capture, ...] = ()


class Approved(Struct, frozen=True):
    """The provider did it, under its own reference. ``amount_minor`` is how much, if it is less than was asked."""

    reference: str
    amount_minor: int | None = None


class Declined(Struct, frozen=True):
    """The provider said no, and asking again would not help. ``code`` is a word such as ``card_expired``; ``sentence`` is
    for people.
    """

    code: str
    sentence: str = ""


class PaymentProvider(Adapter, Protocol):
    """Who moves the money. Amounts are minor units of the call's currency.

    A call may be cancelled at any moment, and is made again with the same key. It raises

    * ``Refused`` for what can never be done, and only a person can see to;
    * ``NotYet`` while the provider has not made up its mind; the same call is made again later, for as long as it takes;
    * ``AnswerLost`` where it may have been done, and the answer is missing or makes no sense;
    * ``AccountUnavailable`` where the provider is away or refuses our credentials, whatever is asked;
    * ``Unavailable`` where it was not done, and the same call may pass later.
    """

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        """Hold the money, without taking it."""
        ...

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        """Take some or all of what is held. A payment may be captured several times, up to what was authorized."""
        ...

    async def void(self, call: PaymentCall) -> Approved | Declined:
        """Let go of some or all of what is held and will not be taken."""
        ...

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        """Give back some or all of what was taken."""
        ...


providers: Port[PaymentProvider] = Port("payment_provider", "ordino.payment_providers", PaymentProvider)
"""The providers of this process, by the name that payments carry."""
