"""Availability reads over HTTP: one SKU a request, 64 clients.

The floor is the same statements, one SKU at a time, over asyncpg connections in this process, as many at once as the server has.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from pathlib import Path

import msgspec

from ordino.catalog.codes import sql as catalog_sql
from ordino.cli.bench import load, world
from ordino.cli.bench.figure import Figure, make, median
from ordino.core.database import Database
from ordino.inventory.availability import sql

CLIENTS = 64
WINDOWS = 3
WARM_SECONDS = 2.0
PATH = "/v1/availability/B%05d?channel=bench"
FLOOR_LANES = 8
STORES = 1000
STORE_SKUS = 1000
STORE_ASKED = 50
STORES_PATH = "/v1/availability?channel=bench&locations=false" + "&sku=B%05d" * STORE_ASKED


async def measure(url: str, database: Database, directory: Path, seconds: float, *, stores: bool = False) -> Figure:
    """One SKU at 10 locations, or totals of 50 SKUs at 1,000 stores."""
    skus = STORE_SKUS if stores else world.SKUS
    await world.fill(url, skus=skus, locations=STORES if stores else 10)
    path = STORES_PATH if stores else PATH
    rates, floors, results = [], [], []
    async with world.serving(url, directory) as server:
        plan = load.Plan(
            url=server.url, kind="get", path=path, run="", clients=CLIENTS, seconds=WARM_SECONDS, skus=skus
        )
        await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4)))
        for _ in range(WINDOWS):
            floors.append(await (_floor_of_stores if stores else _floor)(database, seconds))
            result = await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=seconds))
            if result.good < result.answers:
                raise RuntimeError(
                    f"{result.answers - result.good} of {result.answers} reads were not answered with 200"
                )
            results.append(result)
            rates.append(result.rate)
    async with database.pool.acquire() as connection:
        conditions = await world.conditions(connection)
    one = f"the same statements, one SKU at a time, {FLOOR_LANES} connections in one process"
    many = f"a plain look at all positions, {STORE_ASKED} SKUs at a time, {FLOOR_LANES} connections in one process"
    return make(
        "atp_stores" if stores else "atp",
        rates,
        "reads/s",
        floors,
        {
            **conditions,
            "client": f"{results[0].client}, {CLIENTS} connections",
            "window_seconds": seconds,
            "positions_a_read": STORES * STORE_ASKED if stores else 10,
            "floor_is": many if stores else one,
        },
        latencies_ms=(median([r.p50_ms for r in results]), median([r.p99_ms for r in results])),
    )


async def _floor(database: Database, seconds: float) -> float:
    ends_at = time.perf_counter() + seconds
    at = database.clock.now()

    async def lane(number: int) -> int:
        dice = random.Random(number)
        reads = 0
        async with database.pool.acquire() as connection:
            while time.perf_counter() < ends_at:
                [row] = await catalog_sql.sku_ids(connection, codes=[world.sku_code(dice.randint(1, world.SKUS))])
                await sql.stock_of(connection, sku_ids=[row["sku_id"]], at=at)
                reads += 1
        return reads

    started = time.perf_counter()
    reads = await asyncio.gather(*map(lane, range(FLOOR_LANES)))
    return sum(reads) / (time.perf_counter() - started)


async def _floor_of_stores(database: Database, seconds: float) -> float:
    ends_at = time.perf_counter() + seconds

    async def lane(number: int) -> int:
        dice = random.Random(number)
        reads = 0
        async with database.pool.acquire() as connection:
            while time.perf_counter() < ends_at:
                skus = [dice.randint(2, STORE_SKUS + 1) for _ in range(STORE_ASKED)]
                await sql.on_hand_of(connection, sku_ids=skus)
                reads += 1
        return reads

    started = time.perf_counter()
    reads = await asyncio.gather(*map(lane, range(FLOOR_LANES)))
    return sum(reads) / (time.perf_counter() - started)
