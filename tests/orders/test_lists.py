"""Lists of orders: those of sellers and channels are merged in order, page by page, and read no orders of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ordino.core.database import Database
from ordino.orders import read
from ordino.orders.read import sql
from steps import placed
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def mine(database: Database) -> World:
    return await small_world(database, prefix="mine-", stock=1000)


@pytest.fixture(scope="module")
async def sent(database: Database, mine: World) -> dict[str, list[UUID]]:
    """Channel -> its orders, oldest first; they take turns, some at one instant, and another seller's stand between them."""
    theirs = await small_world(database, prefix="theirs-", stock=1000)
    orders: dict[str, list[UUID]] = {}
    for n in range(24):
        at = AT + timedelta(seconds=n // 3)
        world, channel = (theirs, theirs.channel) if n % 2 else (mine, list(mine.channels.values())[n // 2 % 3])
        orders.setdefault(channel, []).append(await placed(database, world.order(f"order {n}", channel=channel), at))
    return orders


async def pages(database: Database, **of: Any) -> list[UUID]:
    """All orders of a list, in its order, two at a time."""
    seen: list[UUID] = []
    after = None
    while True:
        heads = await database.read(lambda tx, a=after: read.orders(tx, after=a, limit=2, **{"status": None, **of}))  # type: ignore[misc]
        seen += [head.order_id for head in heads]
        if len(heads) < 2:
            return seen
        after = (heads[-1].placed_at, heads[-1].order_id)


async def newest_first(database: Database, order_ids: list[UUID]) -> list[UUID]:
    rows = await database.pool.fetch(
        "SELECT order_id FROM orders.orders WHERE order_id = any($1) ORDER BY placed_at DESC, order_id DESC", order_ids
    )
    return [row["order_id"] for row in rows]


async def test_the_orders_of_a_seller_are_those_of_its_channels_in_one_order(
    database: Database, mine: World, sent: dict[str, list[UUID]]
) -> None:
    own = [order_id for channel in mine.channels.values() for order_id in sent[channel]]
    assert len(own) == 12
    assert await pages(database, sellers=[mine.seller]) == await newest_first(database, own)
    everything = [order_id for orders in sent.values() for order_id in orders]
    assert await pages(database) == await newest_first(database, everything)
    assert await pages(database, sellers=[mine.seller, "theirs-seller"]) == await newest_first(database, everything)


async def test_a_channel_is_listed_to_its_seller_only(
    database: Database, mine: World, sent: dict[str, list[UUID]]
) -> None:
    for channel, orders in sent.items():
        listed = await newest_first(database, orders)
        assert await pages(database, channel=channel) == listed
        assert await pages(database, channel=channel, sellers=[mine.seller]) == (
            listed if channel in mine.channels.values() else []
        )
    assert await pages(database, channel="nobody's") == []
    assert await pages(database, sellers=["nobody"]) == []
    assert await pages(database, channel=mine.channel, status="delivered") == []
    assert await pages(database, channel=mine.channel, status="allocated") == await newest_first(
        database, sent[mine.channel]
    )


async def test_the_list_of_a_channel_reads_no_orders_of_others(database: Database, sent: dict[str, list[UUID]]) -> None:
    """Without an index of its own, a list of few orders is looked for among all."""
    statement = sql.list_orders_of_channel
    channel_id = await database.pool.fetchval("SELECT channel_id FROM catalog.channels WHERE code = 'mine-refuse'")
    values = {"channel_id": channel_id, "after_at": None, "after_id": None, "status": None, "limit": 100}
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        rows = await connection.fetch(f"EXPLAIN {statement.text}", *[values[name] for name in statement.parameters])
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan Backward using orders_by_channel" in plan
    assert "Sort" not in plan
