"""Payments that come with an order: checked before it is placed, and taken up in the transaction that places it.

An order has one payment for now, of its whole total. Where the channel names none, it is its default provider's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.catalog.upsert import PROVIDER_CHECKS
from ordino.core.database import Tx
from ordino.core.errors import Fault
from ordino.core.statements import statements
from ordino.orders.model import NewOrder, NewPayment
from ordino.orders.providers import providers

sql = statements("ordino.orders")
ONE = "An order has one payment for now: send one entry for the whole total, or leave `payments` out."
BOTH = "A payment has a token, from which it will be authorized, or an authorization that was made already; send one of them."


class Tender(Struct, frozen=True, gc=False):
    """A payment that came with a new order. ``cause_id`` is the event that placed the order."""

    order_id: UUID
    cause_id: UUID
    payment: NewPayment


def shape_fault(order: NewOrder) -> Fault | None:
    """What no order may say of its payments."""
    if order.payments is None:
        return None
    if len(order.payments) != 1:
        return Fault("/payments", ONE)
    [payment] = order.payments
    if payment.token is not None and payment.authorization is not None:
        return Fault("/payments/0/token", BOTH)
    return None


def amount_fault(order: NewOrder) -> Fault | None:
    """A payment, or an authorization, of another amount than the order's total."""
    if order.payments is None:
        return None
    [payment] = order.payments
    if payment.amount_minor != order.total_minor:
        detail = f"The payment is for {payment.amount_minor} and the order for {order.total_minor}; they have to be the same."
        return Fault("/payments/0/amount_minor", detail)
    made = payment.authorization
    if made is not None and made.amount_minor != payment.amount_minor:
        detail = f"The authorization is for {made.amount_minor}, the payment for {payment.amount_minor}; they have to be the same."
        return Fault("/payments/0/authorization/amount_minor", detail)
    return None


def provider_fault(order: NewOrder) -> Fault | None:
    """A provider that is not there. The channel's own default was checked when it was set."""
    if order.payments is None or (named := order.payments[0].provider) is None or named in providers:
        return None
    return Fault("/payments/0/provider", providers.unknown(named))


def unknown_provider(name: str) -> str | None:
    """The sentence that refuses it as a channel's default, if it is not there."""
    return None if name in providers else providers.unknown(name)


PROVIDER_CHECKS.append(unknown_provider)


async def take_up(tx: Tx, tenders: Sequence[Tender], *, at: datetime) -> None:
    """Keep the tokens of new orders until they are used, and take over authorizations that were made elsewhere: the provider is not
    asked for these again.
    """
    if not tenders:
        return
    if with_tokens := [tender for tender in tenders if tender.payment.token is not None]:
        await sql.keep_tokens(
            tx,
            order_ids=[tender.order_id for tender in with_tokens],
            tokens=[tender.payment.token for tender in with_tokens],
        )
    made = [(tender, tender.payment.authorization) for tender in tenders if tender.payment.authorization is not None]
    if made:
        await sql.take_over(
            tx,
            order_ids=[tender.order_id for tender, _ in made],
            cause_ids=[tender.cause_id for tender, _ in made],
            amounts=[authorization.amount_minor for _, authorization in made],
            references=[authorization.reference for _, authorization in made],
            at=at,
        )
