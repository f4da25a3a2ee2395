"""Feeds: counts of any length, applied in sets as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.inventory import feed
from ordino.inventory.adjust import Count, Moved, StockRefusal, StockRefused, apply_counts, count
from world import World, small_world


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, skus=4, locations=1, stock=10)


async def rows(world: World, pause_seconds: float = 0) -> AsyncIterator[tuple[int, Any]]:
    for line, sku in enumerate(world.skus, 1):
        yield line, {"sku": sku, "location": world.location, "on_hand": 7}
        await asyncio.sleep(pause_seconds)


@pytest.mark.parametrize("broken", [0, 3])
async def test_a_set_that_fails_while_others_come_breaks_the_feed(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    async def apply(tx: Any, codes: Any, *counts: Any, **more: Any) -> Any:
        if codes == [world.skus[broken]]:
            raise Unavailable("The database is away.")
        return await apply_counts(tx, codes, *counts, **more)

    monkeypatch.setattr(feed, "apply_counts", apply)
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 1)
    with pytest.raises(Unavailable):
        await feed.feed(database, rows(world, pause_seconds=0.05))
    monkeypatch.undo()
    applied = await feed.feed(database, rows(world))
    assert (applied.rows, applied.refused) == (4, 0)
    stock = await database.pool.fetch("SELECT on_hand FROM inventory.stock")
    assert [row["on_hand"] for row in stock] == [7] * 4


@pytest.mark.parametrize(("rows_at_once", "sets"), [(1, 12), (5, 3), (100, 1)])
async def test_of_a_position_that_comes_again_the_later_row_counts(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, sets: int
) -> None:
    async def slow_before_the_last(tx: Any, codes: Any, locations: Any, on_hand: list[int], **more: Any) -> Any:
        await asyncio.sleep(0.1 if on_hand == [10] else 0)
        return await apply_counts(tx, codes, locations, on_hand, **more)

    async def counts() -> AsyncIterator[tuple[int, Any]]:
        for line in range(12):
            yield line, {"sku": world.sku, "location": world.location, "on_hand": line}

    monkeypatch.setattr(feed, "apply_counts", slow_before_the_last)
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", rows_at_once)
    applied = await feed.feed(database, counts())
    assert (applied.rows, applied.refused, applied.repeated) == (
        12,
        12 - sets,
        12 - (12 if sets == 1 else min(12, rows_at_once)),
    )
    told = {fault.line for fault in applied.faults}
    assert len(told) >= 11  # every row that another one overrules, or that overrules one
    on_hand = "SELECT on_hand FROM inventory.stock WHERE sku_id = $1"
    assert await database.pool.fetchval(on_hand, world.sku_ids[world.sku]) == 11


async def test_of_a_position_twice_in_a_list_the_last_count_holds(database: Database, world: World) -> None:
    twice = [Count(sku=world.sku, location=world.location, on_hand=units) for units in (3, 4)]
    first, last = await database.transact(lambda tx: count(tx, twice, at=database.clock.now()))
    assert isinstance(first, StockRefused)
    assert first.reason is StockRefusal.REPEATED
    assert isinstance(last, Moved)
    assert last.on_hand == 4
