"""A reevaluation that is killed on its way has moved sets of orders whole, or not at all; the next one goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from ordino.cli.running import load_stages
from ordino.core.database import Database
from ordino.flows import versions as flows
from ordino.flows.document import packaged
from ordino.flows.versions import flow_plans
from ordino.inventory.adjust import Receipt, receive
from ordino.orders.model import Placed
from ordino.orders.place import place
from steps import assert_clean, in_one
from world import PLACES, small_world

COMMAND = (sys.executable, "-m", "ordino", "sourcing", "reevaluate")


async def test_killed_on_its_way_it_has_moved_sets_whole(database: Database, database_url: str) -> None:
    world = await small_world(database, locations=5, skus=1, stock={("sku-1", "loc-1"): 400})
    load_stages()
    now = datetime.now(UTC)
    flow = await database.transact(lambda tx: flows.draft(tx, packaged(), at=now))
    await database.transact(lambda tx: flows.activate(tx, flow, at=now))
    async with await Database.open(database_url, plans=flow_plans()) as flowing:
        orders = [world.order(f"k-{n}", 1, postal_code=PLACES[4][0]) for n in range(350)]
        placed = await in_one(flowing, place, orders, now)
        came = Receipt(sku="sku-1", location="loc-5", quantity=400, reason="delivery")
        await in_one(flowing, receive, [came], now)
    assert all(isinstance(order, Placed) for order in placed)

    async def moved() -> int:
        count: int = await database.pool.fetchval(
            "SELECT count(*) FROM orders.allocations WHERE location_id = $1 AND quantity > 0",
            world.location_ids["loc-5"],
        )
        return count

    environment = {**os.environ, "ORDINO_DATABASE_URL": database_url}
    assert not await moved()
    killed = await asyncio.create_subprocess_exec(*COMMAND, env=environment)
    while not await moved():
        assert killed.returncode is None, "it is killed while it runs"
        await asyncio.sleep(0.002)
    killed.kill()
    await killed.wait()
    before = await moved()
    assert before < len(orders)
    assert before % 100 == 0
    await assert_clean(database)
    again = await asyncio.create_subprocess_exec(*COMMAND, env=environment)
    assert await again.wait() == 0
    assert await moved() == len(orders)
    await assert_clean(database)
