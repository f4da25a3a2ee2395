"""What is wrong with an order before it is sourced, in the order of the refusals."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ordino.core.emails import email_fault
from ordino.core.times import NEEDS_OFFSET, year_fault
from ordino.network.facts import Channel
from ordino.orders import tenders
from ordino.orders.asking import Sku
from ordino.orders.model import MAX_LINES, MAX_MINOR, MAX_QUANTITY, NewOrder, OrderRefused, Refusal
from ordino.web.bodies import holds_nul

_encode = msgspec.json.Encoder().encode


def refuse(order: NewOrder, reason: Refusal, detail: str, pointer: str) -> OrderRefused:
    """The order is refused; ``detail`` says what to do, and ``pointer`` names the field."""
    return OrderRefused(order.external_id, reason, detail, pointer)


def fault_of(order: NewOrder) -> OrderRefused | None:
    """What the types of the API promise, checked again for callers that make orders themselves."""

    def invalid(pointer: str, detail: str) -> OrderRefused:
        return refuse(order, Refusal.INVALID, detail, pointer)

    if not 1 <= len(order.lines) <= MAX_LINES:
        return invalid("/lines", f"An order has 1 to {MAX_LINES} lines; this one has {len(order.lines)}.")
    for index, line in enumerate(order.lines):
        if not 1 <= line.quantity <= MAX_QUANTITY:
            return invalid(f"/lines/{index}/quantity", f"Order 1 to {MAX_QUANTITY} units, not {line.quantity}.")
        if not 0 <= line.unit_price_minor <= MAX_MINOR:
            return invalid(f"/lines/{index}/unit_price_minor", f"A price is 0 to {MAX_MINOR} minor units.")
    for name in ("shipping_minor", "tax_minor", "discount_minor", "total_minor"):
        if not 0 <= getattr(order, name) <= MAX_MINOR:
            return invalid(f"/{name}", f"{name} is 0 to {MAX_MINOR} minor units, not {getattr(order, name)}.")
    for name, instant in (("promised_at", order.promised_at), ("ship_by_at", order.ship_by_at)):
        if instant is not None and instant.tzinfo is None:
            return invalid(f"/{name}", NEEDS_OFFSET)
        if instant is not None and (wrong := year_fault(instant)):
            return invalid(f"/{name}", wrong)
    if not order.external_id or not order.channel:
        return invalid("/external_id", "Name the order: channel and external_id must not be empty.")
    if wrong := email_fault(order.ship_to.email):
        return invalid("/ship_to/email", wrong)
    if order.customer is not None and (wrong := email_fault(order.customer.email)):
        return invalid("/customer/email", wrong)
    if wrong_payment := tenders.shape_fault(order):
        return invalid(wrong_payment.pointer, wrong_payment.detail)
    if holds_nul(_encode(order)):
        return invalid("", "Text must not contain the character U+0000; leave it out.")
    return None


def no_channel(order: NewOrder, channel: Channel | None) -> str:
    """The sentence for a channel that is not there, or that no network serves."""
    if channel is None:
        return f"There is no channel {order.channel!r}; create it with PUT /v1/channels."
    return f"No network serves the channel {order.channel!r}; name it in a network with PUT /v1/networks."


def price_fault(order: NewOrder, channel: Channel) -> OrderRefused | None:
    """A wrong currency, or a total that is not the sum of its parts."""
    if order.currency != channel.currency:
        detail = f"The channel {order.channel!r} sells in {channel.currency}, not in {order.currency}."
        return refuse(order, Refusal.WRONG_CURRENCY, detail, "/currency")
    goods = sum(line.quantity * line.unit_price_minor for line in order.lines)
    total = goods + order.shipping_minor + order.tax_minor - order.discount_minor
    if total < 0:
        detail = (
            f"The discount of {order.discount_minor} is more than lines, shipping and tax together; "
            f"it can be {total + order.discount_minor} at most."
        )
        return refuse(order, Refusal.WRONG_TOTAL, detail, "/discount_minor")
    if total != order.total_minor:
        detail = (
            f"Lines {goods} + shipping {order.shipping_minor} + tax {order.tax_minor} - discount {order.discount_minor} "
            f"make {total}, not {order.total_minor}."
        )
        return refuse(order, Refusal.WRONG_TOTAL, detail, "/total_minor")
    if total > MAX_MINOR:
        return refuse(order, Refusal.WRONG_TOTAL, f"An order is worth at most {MAX_MINOR} minor units.", "/total_minor")
    return None


def payment_fault(order: NewOrder) -> OrderRefused | None:
    """A payment of another amount than the order's total, or through a provider that is not there."""
    if fault := tenders.amount_fault(order):
        return refuse(order, Refusal.WRONG_PAYMENT, fault.detail, fault.pointer)
    if fault := tenders.provider_fault(order):
        return refuse(order, Refusal.UNKNOWN_PAYMENT_PROVIDER, fault.detail, fault.pointer)
    return None


def sku_fault(order: NewOrder, skus: Mapping[str, Sku]) -> OrderRefused | None:
    """The first line with a SKU that is not there, or no longer sold."""
    for index, line in enumerate(order.lines):
        sku = skus.get(line.sku)
        if sku is None or not sku.active:
            said = "does not exist; create it with PUT /v1/skus" if sku is None else "is no longer sold"
            return refuse(order, Refusal.UNKNOWN_SKU, f"The SKU {line.sku!r} {said}.", f"/lines/{index}/sku")
    return None
