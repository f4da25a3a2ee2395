"""Availability reads over HTTP: one SKU a request, 64 clients.

The floor is the same statements, one SKU at a time, over asyncpg connections in this process, as many at once as the server has.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ordino.catalog.codes import sql as catalog_sql
from ordino.cli.bench import load, world
from ordino.cli.bench.figure import Figure, make, median
from ordino.cli.bench.scale import Bench
from ordino.inventory.availability import sql

CLIENTS = 64
LOCATIONS = 10
PATH = "/v1/availability/B%05d?channel=bench"
FLOOR_LANES = 8
STORES_PATH = "/v1/availability?channel=bench&locations=false"


async def measure(bench: Bench, *, stores: bool = False) -> list[Figure]:
    """One SKU at 10 locations, or totals of 50 SKUs at 1,000 stores."""
    database, scale, seconds = bench.database, bench.scale, bench.seconds
    skus = scale.store_skus if stores else scale.skus
    asked = scale.store_skus_asked
    clients = min(CLIENTS, scale.most_clients)
    await world.fill(bench.url, skus=skus, locations=scale.store_locations if stores else LOCATIONS)
    path = STORES_PATH + "&sku=B%05d" * asked if stores else PATH
    rates, floors, results = [], [], []
    async with world.serving(bench.url, bench.directory) as server:
        plan = load.Plan(
            url=server.url, kind="get", path=path, run="", clients=clients, seconds=scale.warm_seconds, skus=skus
        )
        await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4)))
        for _ in range(scale.windows):
            floors.append(await (_floor_of_stores(bench) if stores else _floor(bench)))
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
    many = f"a plain look at all positions, {asked} SKUs at a time, {FLOOR_LANES} connections in one process"
    figure = make(
        "atp_stores" if stores else "atp",
        rates,
        "reads/s",
        floors,
        {
            **conditions,
            "client": f"{results[0].client}, {clients} connections",
            "window_seconds": seconds,
            "positions_a_read": scale.store_locations * asked if stores else LOCATIONS,
            "floor_is": many if stores else one,
        },
        latencies_ms=(median([r.p50_ms for r in results]), median([r.p99_ms for r in results])),
    )
    return [figure]


async def _floor(bench: Bench) -> float:
    at = bench.database.clock.now()

    async def read(connection: Any, dice: random.Random) -> None:
        [row] = await catalog_sql.sku_ids(connection, codes=[world.sku_code(dice.randint(1, bench.scale.skus))])
        await sql.stock_of(connection, sku_ids=[row["sku_id"]], at=at)

    return await _reads_a_second(bench, read)


async def _floor_of_stores(bench: Bench) -> float:
    scale = bench.scale

    async def read(connection: Any, dice: random.Random) -> None:
        skus = [dice.randint(2, scale.store_skus + 1) for _ in range(scale.store_skus_asked)]
        await sql.on_hand_of(connection, sku_ids=skus)

    return await _reads_a_second(bench, read)


async def _reads_a_second(bench: Bench, read: Callable[[Any, random.Random], Awaitable[None]]) -> float:
    """The same read again and again over ``FLOOR_LANES`` connections, for a window."""
    ends_at = time.perf_counter() + bench.seconds

    async def lane(number: int) -> int:
        dice = random.Random(number)
        reads = 0
        async with bench.database.pool.acquire() as connection:
            while time.perf_counter() < ends_at:
                await read(connection, dice)
                reads += 1
        return reads

    started = time.perf_counter()
    reads = await asyncio.gather(*map(lane, range(FLOOR_LANES)))
    return sum(reads) / (time.perf_counter() - started)
