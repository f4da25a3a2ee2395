"""Feeds: counts of any length, applied in sets as they come."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from ordino.core.database import Database
from ordino.core.errors import Invalid, Unavailable
from ordino.core.rows import CSV, LINE_CHARACTERS, read_rows
from ordino.inventory import feed
from ordino.inventory.adjust import Count, Moved, Receipt, StockRefusal, StockRefused, apply_counts, count
from steps import assert_clean
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


# -- feeds that break off ----------------------------------------------------------------------------------------------


class Cut(Exception):
    """The connection is gone."""


def whole(world: World) -> bytes:
    """Ten receipts of one unit each, with a cell that is quoted."""
    return b"sku,location,quantity,reason\n" + f'{world.sku},{world.location},1,"a b"\n'.encode() * 10


def broken(how: str, world: World) -> tuple[bytes, bool]:
    """The same feed as it arrives when it breaks off in its third set: the body, and whether the connection was cut after it."""
    body = whole(world)
    if how == "truncated gzip":
        noise = os.urandom(3000).hex().encode()  # so that rows come out before it ends
        return gzip.compress(body + b"x,y,1," + noise)[:-1500], False
    if how == "bad byte":
        return body + b"\xff\xfe\n", False
    if how == "over-long line":
        return body + b"x" * (LINE_CHARACTERS + 1), False
    if how == "open quote":
        return body[:-3], False
    return body, True


@pytest.mark.parametrize("how", ["truncated gzip", "bad byte", "over-long line", "open quote", "cut"])
@pytest.mark.parametrize("at_once", [4, 100])
async def test_a_named_feed_that_breaks_off_inside_a_set_is_sent_again_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch, how: str, at_once: int
) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=1, stock=0)
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", at_once)
    name = f"receipts {world.sku}"

    async def send(body: bytes, cut: bool = False) -> feed.Applied:
        async def parts() -> AsyncIterator[bytes]:
            size = max(40, len(body) // 50)
            for at in range(0, len(body), size):
                yield body[at : at + size]
            if cut:
                raise Cut

        return await feed.feed(database, read_rows(parts(), CSV, Receipt), feed.RECEIPTS, name=name)

    async def lies() -> int:
        rows = "SELECT on_hand FROM inventory.stock WHERE sku_id = $1"
        return await database.pool.fetchval(rows, world.sku_ids[world.sku]) or 0

    for _ in range(2):
        with pytest.raises((Invalid, Cut)) as error:
            await send(*broken(how, world))
        assert how == "cut" or "send it again, whole, under the same name" in str(getattr(error.value, "detail", ""))
        assert await lies() == (0 if at_once == 100 else 8)
    for _ in range(2):
        applied = await send(whole(world))
        assert (applied.rows, applied.applied, await lies()) == (10, 10, 10)
    await assert_clean(database)
