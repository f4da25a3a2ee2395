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

from ordino.cli.bench import load, world
from ordino.cli.bench.figure import Figure, make, median
from ordino.core.database import Database
from ordino.inventory.availability import sql

CLIENTS = 64
WINDOWS = 3
WARM_SECONDS = 2.0
PATH = "/v1/availability/B%05d?channel=bench"
FLOOR_LANES = 8


async def measure(url: str, database: Database, directory: Path, seconds: float) -> Figure:
    await world.fill(url)
    rates, floors, results = [], [], []
    async with world.serving(url, directory) as server:
        plan = load.Plan(url=server.url, kind="get", path=PATH, run="", clients=CLIENTS, seconds=WARM_SECONDS)
        await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4)))
        for _ in range(WINDOWS):
            floors.append(await _floor(database, seconds))
            result = await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=seconds))
            if result.good < result.answers:
                raise RuntimeError(
                    f"{result.answers - result.good} of {result.answers} reads were not answered with 200"
                )
            results.append(result)
            rates.append(result.rate)
    async with database.pool.acquire() as connection:
        conditions = await world.conditions(connection)
    return make(
        "atp",
        rates,
        "reads/s",
        floors,
        {
            **conditions,
            "client": f"{results[0].client}, {CLIENTS} connections",
            "window_seconds": seconds,
            "floor_is": f"the same statements, one SKU at a time, {FLOOR_LANES} connections in one process",
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
                [row] = await sql.sku_ids(connection, codes=[world.sku_code(dice.randint(1, world.SKUS))])
                await sql.stock_of(connection, sku_ids=[row["sku_id"]], at=at)
                reads += 1
        return reads

    started = time.perf_counter()
    reads = await asyncio.gather(*map(lane, range(FLOOR_LANES)))
    return sum(reads) / (time.perf_counter() - started)
