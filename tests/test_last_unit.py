"""Many buyers, few units: exactly what is there is sold. The negative control takes the guard out and must oversell."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ordino.cli.verify import verify
from ordino.core.database import Database
from ordino.inventory import ledger
from ordino.orders.model import NewOrder, Placed
from ordino.orders.place import Outcome, place
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
BUYERS = 8
BATCHES_EACH = 4
ORDERS_EACH = 25

GUARD = """  AND s.reserved + w.reserved BETWEEN 0 AND s.on_hand + w.on_hand - w.keep
  AND s.picked + w.picked BETWEEN 0 AND s.reserved + w.reserved
"""


async def _race(url: str, world: World, *, run: str, units: int = 1) -> list[Outcome]:
    """Every buyer has a connection of their own and places batch after batch, all at the same time."""
    ready = asyncio.Barrier(BUYERS)

    async def buy(buyer: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        async with await Database.open(url, pool_size=1) as database:
            await ready.wait()
            for batch in range(BATCHES_EACH):
                orders = [world.order(f"{run}-{buyer}-{batch}-{n}", units) for n in range(ORDERS_EACH)]
                outcomes += await database.transact(lambda tx, orders=orders: _place(tx, orders))  # type: ignore[misc]
        return outcomes

    return [outcome for outcomes in await asyncio.gather(*map(buy, range(BUYERS))) for outcome in outcomes]


async def _place(tx: object, orders: list[NewOrder]) -> list[Outcome]:
    return await place(tx, orders, at=AT)  # type: ignore[arg-type]


async def _position(database: Database, world: World) -> tuple[int, int]:
    row = await database.pool.fetchrow(
        "SELECT sum(on_hand) AS on_hand, sum(reserved) AS reserved FROM inventory.stock WHERE sku_id = $1",
        world.sku_ids[world.sku],
    )
    assert row is not None
    return int(row["on_hand"]), int(row["reserved"])


def _sold(outcomes: list[Outcome]) -> int:
    return sum(isinstance(outcome, Placed) for outcome in outcomes)


async def test_exactly_the_stock_is_sold(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        world = await small_world(database, prefix="exact-", skus=1, stock=250)
        outcomes = await _race(database_url, world, run="exact")
        assert len(outcomes) == BUYERS * BATCHES_EACH * ORDERS_EACH
        assert _sold(outcomes) == 500
        assert await _position(database, world) == (500, 500)
        assert (await verify(database)).broken == []


async def test_no_more_is_sold_than_can_be_had_whole(database_url: str) -> None:
    """Orders of three units share ten: one unit stays, and nobody gets a part."""
    async with await Database.open(database_url) as database:
        world = await small_world(database, prefix="whole-", skus=1, locations=1, stock=10)
        outcomes = await _race(database_url, world, run="whole", units=3)
        assert _sold(outcomes) == 3
        assert await _position(database, world) == (10, 9)
        assert (await verify(database)).broken == []


async def test_nobody_is_refused_while_there_is_enough(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        world = await small_world(database, prefix="enough-", skus=1, stock=BUYERS * BATCHES_EACH * ORDERS_EACH)
        outcomes = await _race(database_url, world, run="enough")
        assert _sold(outcomes) == len(outcomes)
        assert (await verify(database)).broken == []


async def test_a_buffer_is_never_sold(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        world = await small_world(database, prefix="buffer-", skus=1, stock=100, buffer=7)
        outcomes = await _race(database_url, world, run="buffer")
        assert _sold(outcomes) == 2 * (100 - 7)
        assert (await verify(database)).broken == []


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ledger.sql.move_stock.text
    guard = GUARD.rstrip("\n")
    assert guard in text, "the negative control no longer knows the guard"
    monkeypatch.setattr(ledger.sql.move_stock, "text", text.replace(guard, ""))


async def test_without_the_guard_the_same_race_oversells(database_url: str, template: str, unguarded: None) -> None:
    name = "unguarded"
    await _execute(database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    try:
        async with await Database.open(url) as database:
            await database.pool.execute(
                "ALTER TABLE inventory.stock DROP CONSTRAINT inv_1_never_promise_more_than_we_have"
            )
            world = await small_world(database, skus=1, stock=250)
            outcomes = await _race(url, world, run="unguarded")
            on_hand, reserved = await _position(database, world)
            assert _sold(outcomes) == reserved > on_hand == 500
            broken = {finding.promise for finding in (await verify(database)).broken}
            assert broken == {"INV-1"}
    finally:
        await _execute(database_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
