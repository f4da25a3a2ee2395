"""The channel ``files``: orders come out of a folder, and news go into it.

ORDINO_CHANNEL_DIRECTORY names it. ``orders`` is read: NDJSON files whose lines are orders as the API takes them. ``news`` gets
one file for whatever is told: ``shipped``, ``cancelled``, ``refunded`` and ``stock``.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path
from typing import Any

from ordino.connect import folder
from ordino.core.settings import Settings
from ordino.orders.channels import OrderCancelled, OrderPage, OrderRefunded, OrderShipped, StockLevels
from ordino.orders.model import NewOrder

VARIABLE = "ORDINO_CHANNEL_DIRECTORY"


class FilesChannel:
    """A shop that exports its orders to files and imports what became of them."""

    def __init__(self, directory: Path | None = None) -> None:
        self._given = directory

    def lacking(self) -> str | None:
        return folder.lacking(self._directory, VARIABLE)

    async def orders(self, after: str | None, limit: int) -> OrderPage:
        found = await asyncio.to_thread(folder.read_things, self._there / "orders", after, limit, NewOrder)
        return OrderPage(orders=found.things, next=found.next, more=found.more, unreadable=found.unreadable)

    async def tell_shipped(self, news: OrderShipped) -> None:
        await self._tell("shipped", news.key, news)

    async def tell_cancelled(self, news: OrderCancelled) -> None:
        await self._tell("cancelled", news.key, news)

    async def tell_refunded(self, news: OrderRefunded) -> None:
        await self._tell("refunded", news.key, news)

    async def tell_stock(self, levels: StockLevels) -> None:
        await self._tell("stock", levels.key, levels)

    async def _tell(self, kind: str, key: str, news: Any) -> None:
        await asyncio.to_thread(folder.write_once, self._there / "news" / kind, key, news)

    @cached_property
    def _directory(self) -> Path | None:
        """Raises ``BadSetting``, and only for whoever uses the adapter."""
        return self._given or Settings.from_environment().channel_directory

    @property
    def _there(self) -> Path:
        return folder.known(self._directory, VARIABLE)
