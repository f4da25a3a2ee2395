"""The provider ``manual``: money that moves outside Ordino (invoice, cash, bank transfer). It always says yes."""

from __future__ import annotations

from ordino.orders.providers import Approved, Declined, PaymentCall


class ManualProvider:
    """Approves everything; the books of whoever takes the money are the truth."""

    calls_nobody = True

    def lacking(self) -> str | None:
        return None

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        return Approved(call.key)

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        return Approved(call.key)

    async def void(self, call: PaymentCall) -> Approved | Declined:
        return Approved(call.key)

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        return Approved(call.key)
