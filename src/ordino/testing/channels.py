"""What a channel has to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from ordino.core.errors import Invalid
from ordino.orders.channels import (
    Channel,
    OrderCancelled,
    OrderRefunded,
    OrderShipped,
    StockLevel,
    StockLevels,
    ToldUnits,
)
from ordino.orders.model import Address, NewLine, NewOrder

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
Sell = Callable[[NewOrder], None]
Heard = Callable[[], Sequence[Mapping[str, Any]]]


@pytest.mark.asyncio
class ChannelSuite:
    """Subclass it and give it the fixtures ``channel``; ``sell``, a function that has the shop sell an order; ``spoil``, one
    that has it send an order that nobody can read; and ``heard``, one that returns all that the shop was told: each with
    ``kind`` (shipped, cancelled, refunded, stock) and the order's ``external_id``, None for stock.
    """

    code = "test-channel"
    currency = "USD"

    def new_order(self, external_id: str) -> NewOrder:
        return NewOrder(
            channel=self.code,
            external_id=external_id,
            currency=self.currency,
            lines=[NewLine(sku="sku-1", quantity=2, unit_price_minor=500)],
            total_minor=1000,
            ship_to=Address(name="Ada", line1="1 Main Street", city="Columbus", postal_code="43215", country="US"),
        )

    async def read(self, channel: Channel, after: str | None, limit: int) -> tuple[list[str], str | None, int]:
        """(external ids of all orders after a cursor, the next cursor, how many could not be read)"""
        orders: list[NewOrder] = []
        unreadable = 0
        while True:
            page = await channel.orders(after, limit)
            orders += page.orders
            unreadable += len(page.unreadable)
            assert all(one.where and one.detail for one in page.unreadable), (
                "what cannot be read is named, with the reason"
            )
            assert not page.more or page.next != after, "the cursor stands still, and there is always more"
            after = page.next
            if not page.more:
                return [order.external_id for order in orders], after, unreadable

    async def test_it_lacks_nothing(self, channel: Channel) -> None:
        assert channel.lacking() is None

    async def test_orders_come_whole_in_order_and_once(self, channel: Channel, sell: Sell) -> None:
        orders = [self.new_order(f"order-{n}") for n in range(5)]
        for order in orders[:4]:
            sell(order)
        first = await channel.orders(None, 2)
        assert list(first.orders) == orders[:2], "an order is not what was sold"
        rest, after, _ = await self.read(channel, first.next, 2)
        sell(orders[4])
        last, after, _ = await self.read(channel, after, 2)
        assert [*rest, *last] == ["order-2", "order-3", "order-4"]
        assert (await self.read(channel, after, 2))[0] == [], "what was read comes again"

    async def test_a_cursor_reads_the_same_page_again(self, channel: Channel, sell: Sell) -> None:
        """Whoever reads may be killed before the orders are placed."""
        for n in range(3):
            sell(self.new_order(f"order-{n}"))
        first = await channel.orders(None, 2)
        rest = [(await self.read(channel, first.next, 2))[0] for _ in range(2)]
        assert rest == [["order-2"], ["order-2"]], "a page that was read is gone"

    async def test_an_order_that_cannot_be_read_is_told_and_stops_no_other(
        self, channel: Channel, sell: Sell, spoil: Callable[[], None]
    ) -> None:
        sell(self.new_order("before"))
        spoil()
        sell(self.new_order("after"))
        ids, _, unreadable = await self.read(channel, None, 10)
        assert ids == ["before", "after"]
        assert unreadable == 1, "an order was lost without a word"

    async def test_what_is_no_cursor_is_refused(self, channel: Channel) -> None:
        with pytest.raises(Invalid):
            await channel.orders("no cursor of yours\x00", 2)

    @pytest.mark.parametrize("kind", ["shipped", "cancelled", "refunded", "stock"])
    async def test_what_is_told_twice_is_heard_once(self, channel: Channel, heard: Heard, kind: str) -> None:
        for key in (str(uuid4()), str(uuid4())):
            for _ in range(2):
                await self.tell(channel, kind, key)
        assert [one["kind"] for one in heard()] == [kind, kind], (
            "news with one key are told once, and others by themselves"
        )
        expected = None if kind == "stock" else "order-1"
        assert {one.get("external_id") for one in heard()} == {expected}

    async def tell(self, channel: Channel, kind: str, key: str) -> None:
        named: dict[str, Any] = {"key": key, "channel": self.code, "external_id": "order-1"}
        units = [ToldUnits(line_no=1, sku="sku-1", quantity=2)]
        if kind == "shipped":
            news = OrderShipped(**named, tracking_number="T1", carrier="Parcel", units=units, shipped_at=AT)
            await channel.tell_shipped(news)
        elif kind == "cancelled":
            await channel.tell_cancelled(OrderCancelled(**named, units=units, reason="not_sourced", cancelled_at=AT))
        elif kind == "refunded":
            given_back = OrderRefunded(**named, amount_minor=500, currency=self.currency, refunded_at=AT)
            await channel.tell_refunded(given_back)
        else:
            levels = [StockLevel(sku="sku-1", available=3)]
            await channel.tell_stock(StockLevels(key=key, channel=self.code, levels=levels, at=AT))
