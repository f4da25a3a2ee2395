"""Closures, releases, placements and sourcing at once: nothing is released to a closed place, and no unit is lost or doubled (FUL-7)."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from closing import close, look, open_again
from ordino.core.database import Database
from ordino.orders import ledger as orders_ledger
from ordino.orders.allocate import allocate
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.warehouse import release as releasing
from ordino.warehouse.release import release
from steps import assert_clean, in_one, placed
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ROUNDS = 6


async def work_at(database: Database, location_id: int) -> set[UUID]:
    rows = await database.pool.fetch(
        "SELECT fulfillment_order_id FROM warehouse.fulfillment_orders WHERE location_id = $1", location_id
    )
    return {row["fulfillment_order_id"] for row in rows}


class Race:
    """A shop in which everything happens at once, until ``over``."""

    def __init__(self, database: Database, world: World, seed: int) -> None:
        self.database = database
        self.world = world
        self.dice = random.Random(seed)
        self.order_ids: list[UUID] = []
        self.over = False
        self.released_where_closed: set[UUID] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(self.buy(number))
                group.create_task(self.send())
            group.create_task(self.worker())
            await self.close_and_open()
            self.over = True

    async def buy(self, number: int) -> None:
        count = 0
        while not self.over:
            count += 1
            order = self.world.order(
                f"{number}-{count}", self.dice.randint(1, 3), channel=self.world.channels["backorder"]
            )
            for outcome in await in_one(self.database, place, [order], AT):
                assert isinstance(outcome, Placed), outcome
                self.order_ids.append(outcome.order_id)

    async def send(self) -> None:
        while not self.over:
            some = self.dice.sample(self.order_ids, min(3, len(self.order_ids)))
            if some:
                await in_one(self.database, release, some, AT)
            await asyncio.sleep(0.005)

    async def worker(self) -> None:
        while not self.over:
            await look(self.database, AT)
            await self.database.transact(lambda tx: allocate(tx, self.order_ids[-20:], at=AT))
            await asyncio.sleep(0.02)

    async def close_and_open(self) -> None:
        for turn in range(ROUNDS):
            location = self.world.locations[turn % 2]
            location_id = self.world.location_ids[location]
            await close(self.database, location, AT)
            before = await work_at(self.database, location_id)
            await asyncio.sleep(0.2)
            self.released_where_closed |= await work_at(self.database, location_id) - before
            await open_again(self.database, location)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2])
async def test_closures_releases_placements_and_sourcing_at_once(database: Database, seed: int) -> None:
    world = await small_world(database, prefix=f"race-{seed}-", skus=1, locations=2, stock=5000, daily_capacity=100_000)
    race = Race(database, world, seed)
    await race.run()
    assert race.order_ids
    assert race.released_where_closed == set()
    await look(database, AT)
    await in_one(database, release, race.order_ids, AT)
    await assert_clean(database)
    [row] = await database.pool.fetch(
        """SELECT sum(o.ordered)::bigint AS ordered, sum(f.open)::bigint AS open FROM orders.orders o
           LEFT JOIN (SELECT order_id, sum(open) AS open FROM warehouse.fulfillment_orders GROUP BY order_id) f USING (order_id)
           WHERE o.order_id = any($1::uuid[])""",
        race.order_ids,
    )
    assert row["open"] == row["ordered"]  # nothing right was refused, and nothing was released twice


async def _release_while_closing(database: Database, world: World, patch: pytest.MonkeyPatch) -> set[UUID]:
    """A release is about to commit when its location closes. Returns what appears there after the closure has."""
    order_id = await placed(database, world.order("race", 2), AT)
    about_to, go_on = asyncio.Event(), asyncio.Event()
    really = orders_ledger.release_allocations

    async def slowly(*given: Any) -> None:
        await really(*given)
        about_to.set()
        await go_on.wait()

    patch.setattr(releasing.orders_ledger, "release_allocations", slowly)
    sending = asyncio.create_task(in_one(database, release, [order_id], AT))
    await about_to.wait()
    location_id = world.location_ids[world.location]

    async def closing() -> set[UUID]:
        await close(database, world.location, AT)
        return await work_at(database, location_id)

    closed = asyncio.create_task(closing())
    await asyncio.sleep(0.3)
    if closed.done():  # it did not wait for the release
        await closed
    go_on.set()
    before, _ = await asyncio.gather(closed, sending)
    return await work_at(database, location_id) - before


async def test_a_location_closes_before_a_release_or_after_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await small_world(database, prefix="shared-", skus=1, locations=2)
    assert await _release_while_closing(database, world, monkeypatch) == set()


async def test_without_the_shared_lock_work_appears_at_a_closed_location(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the race."""

    async def nothing(tx: Any) -> None:
        return None

    monkeypatch.setattr(releasing, "share_network", nothing)
    world = await small_world(database, prefix="unshared-", skus=1, locations=2)
    assert len(await _release_while_closing(database, world, monkeypatch)) == 1
