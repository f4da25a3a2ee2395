"""The provider ``manual``: money that moves outside Ordino (invoice, cash, bank transfer). It always says yes."""

from __future__ import annotations

from ordino.orders.payments import Approved, Declined


class ManualProvider:
    """Approves everything; the books of whoever takes the money are the truth."""

    async def authorize(self, key: str, amount_minor: int, currency: str) -> Approved | Declined:
        return Approved(key)

    async def capture(self, key: str, amount_minor: int, currency: str) -> Approved | Declined:
        return Approved(key)

    async def void(self, key: str, amount_minor: int, currency: str) -> Approved | Declined:
        return Approved(key)

    async def refund(self, key: str, amount_minor: int, currency: str) -> Approved | Declined:
        return Approved(key)
