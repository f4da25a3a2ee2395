"""The port of sales channels: how orders get here, and what the channel is told of them.

Whatever is told again carries the same ``key``, and is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from ordino.core.adapters import Adapter, Port, Unreadable
from ordino.orders.model import NewOrder


class OrderPage(Struct, frozen=True, kw_only=True):
    """Orders after a cursor, in the channel's order. ``next`` is the cursor for the rest, ``more`` whether there is any yet.
    What is ``unreadable`` stops nobody: it is told, and the cursor goes beyond it.
    """

    orders: Sequence[NewOrder]
    next: str | None
    more: bool = False
    unreadable: Sequence[Unreadable] = ()


class ToldUnits(Struct, frozen=True, kw_only=True):
    """Units of a line, counted from 1 as the order's lines are."""

    line_no: int
    sku: str
    quantity: int


class OrderShipped(Struct, frozen=True, kw_only=True):
    """Units of an order have left under a tracking number."""

    key: str
    channel: str
    external_id: str
    tracking_number: str
    carrier: str
    units: Sequence[ToldUnits]
    shipped_at: datetime


class OrderCancelled(Struct, frozen=True, kw_only=True):
    """Units of an order will not come. ``reason`` is a code."""

    key: str
    channel: str
    external_id: str
    units: Sequence[ToldUnits]
    reason: str
    cancelled_at: datetime


class OrderRefunded(Struct, frozen=True, kw_only=True):
    """Money went back to the customer, in minor units of ``currency``."""

    key: str
    channel: str
    external_id: str
    amount_minor: int
    currency: str
    refunded_at: datetime


class StockLevel(Struct, frozen=True, kw_only=True):
    """So many units of a SKU may be sold."""

    sku: str
    available: int


class StockLevels(Struct, frozen=True, kw_only=True):
    """What a channel may sell, as of an instant. Of two that name a SKU, the later one holds."""

    key: str
    channel: str
    levels: Sequence[StockLevel]
    at: datetime


class Channel(Adapter, Protocol):
    """Where orders come from, and who is told what became of them.

    Raises ``AnswerLost`` where something may have been told, ``AccountUnavailable`` where the channel is away or refuses our
    credentials, ``Unavailable`` where the same call may pass later, ``Refused`` for what it will never take, and ``Invalid`` for a
    cursor that is not one of its own.
    """

    async def orders(self, after: str | None, limit: int) -> OrderPage:
        """Orders after a cursor; None begins with the oldest. Reading moves nothing: the caller keeps ``next``."""
        ...

    async def tell_shipped(self, news: OrderShipped) -> None:
        """Units have left."""
        ...

    async def tell_cancelled(self, news: OrderCancelled) -> None:
        """Units will not come."""
        ...

    async def tell_refunded(self, news: OrderRefunded) -> None:
        """Money went back."""
        ...

    async def tell_stock(self, levels: StockLevels) -> None:
        """What may be sold now."""
        ...


channels: Port[Channel] = Port("channel", "ordino.channels", Channel)
"""The channels of this process, by the name of their adapter."""
