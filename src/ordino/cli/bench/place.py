"""Orders placed over HTTP, one order a request: ``place`` on 10,000 SKUs, ``hot`` with one SKU in every order.

The floor writes the same rows with the same function that placement writes with, from decisions made beforehand: no
HTTP, no checks, no sourcing. Both run in turns against the same database.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

import msgspec

from ordino.cli.bench import load, world
from ordino.cli.bench.figure import Figure, make, median
from ordino.cli.bench.scale import Bench, Scale
from ordino.core.database import Database, Tx
from ordino.core.ids import new_ids
from ordino.network.facts import facts
from ordino.orders import place as placement
from ordino.orders.planned import PlannedOrder, write

CLIENTS = 256
FLOOR_BATCH = 256
FLOOR_LANES = 2
HOT_STOCK = 100_000_000
PATH = "/v1/orders"


async def measure(bench: Bench, *, hot: bool = False) -> list[Figure]:
    """Windows of load and floor in turns, then a count: what was acknowledged must be there."""
    database, scale, seconds = bench.database, bench.scale, bench.seconds
    clients = min(CLIENTS, scale.most_clients)
    await world.fill(bench.url, skus=scale.skus, hot=HOT_STOCK if hot else 0)
    planned = await _decide(database, scale, hot=hot)
    rates: list[float] = []
    floors: list[float] = []
    results: list[load.Result] = []
    async with world.serving(bench.url, bench.directory) as server:
        plan = load.Plan(
            url=server.url,
            kind="hot" if hot else "place",
            path=PATH,
            run="",
            clients=clients,
            seconds=scale.warm_seconds,
            skus=scale.skus,
        )
        acknowledged = (await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4)))).good
        await _write(database, _fresh(database, planned, len(planned)), scale.warm_seconds)
        for _ in range(scale.windows):
            floors.append(await _floor(database, planned, seconds, floors))
            result = await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=seconds))
            results.append(result)
            rates.append(result.rate)
        acknowledged += sum(result.good for result in results)
        checks = await _check(database, acknowledged, (scale.windows + 1) * clients if load.wrk() else 0)
        if hot:
            checks["last_units"] = await _sell_out(database, plan, scale)
    async with database.pool.acquire() as connection:
        conditions = await world.conditions(connection)
    figure = make(
        "hot" if hot else "place",
        rates,
        "orders/s",
        floors,
        {
            **conditions,
            "client": f"{results[0].client}, {clients} connections",
            "window_seconds": seconds,
            "floor_is": f"the same writing function, batches of {FLOOR_BATCH}, {FLOOR_LANES} connections",
            "refused_or_failed": sum(result.answers - result.good + result.failed for result in results),
            **checks,
        },
        latencies_ms=(median([r.p50_ms for r in results]), median([r.p99_ms for r in results])),
    )
    return [figure]


async def _decide(database: Database, scale: Scale, *, hot: bool) -> list[PlannedOrder]:
    """Orders with their decisions, as placement hands them to ``write``; nothing is written."""
    dice = random.Random("floor")
    orders = [world.new_order(f"floor-{n}", dice, skus=scale.skus, hot=hot) for n in range(scale.decided_orders)]
    caught: list[PlannedOrder] = []

    async def catch(tx: Tx, planned: Sequence[PlannedOrder], *more: Any, **options: Any) -> dict[Any, str]:
        caught.extend(planned)
        return {plan.order_id: "" for plan in planned}

    async def decide(tx: Tx) -> None:
        for at in range(0, len(orders), FLOOR_BATCH):
            await placement.place(tx, orders[at : at + FLOOR_BATCH], at=database.clock.now())

    with patch.object(placement, "write", catch):
        await database.transact(decide)
    assert len(caught) == len(orders), "an order of the bench was refused"
    return caught


def _fresh(database: Database, planned: Sequence[PlannedOrder], count: int) -> list[list[PlannedOrder]]:
    """Batches of new orders with the same decisions."""
    run = secrets.token_hex(4)
    ids = new_ids(database.clock.now(), 2 * count)
    fresh = []
    for n in range(count):
        plan = planned[n % len(planned)]
        order = msgspec.structs.replace(plan.order, external_id=f"f{run}-{n}")
        fresh.append(msgspec.structs.replace(plan, order=order, order_id=ids[2 * n], event_id=ids[2 * n + 1]))
    return [fresh[at : at + FLOOR_BATCH] for at in range(0, count, FLOOR_BATCH)]


async def _floor(database: Database, planned: Sequence[PlannedOrder], seconds: float, before: Sequence[float]) -> float:
    guess = 1.3 * max(before, default=15_000.0) * seconds
    return await _write(database, _fresh(database, planned, int(guess)), seconds)


async def _write(database: Database, batches: list[list[PlannedOrder]], seconds: float) -> float:
    """Orders/s while the batches last, or until time is up."""
    waiting = iter(batches)
    written = 0
    started = time.perf_counter()

    async def lane() -> None:
        nonlocal written
        for batch in waiting:
            at = database.clock.now()

            async def write_batch(tx: Tx, batch: list[PlannedOrder] = batch, at: datetime = at) -> None:
                await write(tx, batch, await facts(tx), at=at)

            await database.transact(write_batch)
            written += len(batch)
            if time.perf_counter() - started > seconds:
                return

    await asyncio.gather(*(lane() for _ in range(FLOOR_LANES)))
    return written / (time.perf_counter() - started)


async def _check(database: Database, acknowledged: int, unheard: int) -> dict[str, Any]:
    """Every acknowledged order is there; beyond them only those whose client stopped listening."""
    await asyncio.sleep(1)
    row = await database.pool.fetchrow(
        "SELECT (SELECT count(*) FROM orders.orders WHERE external_id !~ '^f[0-9a-f]{8}-') AS placed,"
        " (SELECT count(*) FROM inventory.stock WHERE reserved > on_hand) AS oversold"
    )
    assert row is not None
    if not acknowledged <= row["placed"] <= acknowledged + unheard:
        raise RuntimeError(f"{acknowledged} orders were acknowledged, {row['placed']} are in the database")
    return {"acknowledged": acknowledged, "in_database": row["placed"], "oversold_positions": row["oversold"]}


async def _sell_out(database: Database, plan: load.Plan, scale: Scale) -> dict[str, int]:
    """Leave a few units of the hot SKU, and have everybody race for them."""
    await database.pool.execute(
        "WITH hot AS (SELECT location_id, on_hand AS was, reserved + 1 + $1 AS is_now FROM inventory.stock WHERE sku_id = 1"
        "             FOR UPDATE),"
        " kept AS (UPDATE inventory.stock s SET on_hand = is_now FROM hot WHERE s.sku_id = 1 AND s.location_id = hot.location_id)"
        " INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta,"
        "                              reason, at)"
        " SELECT 1, $2, location_id, 0, 'adjusted', is_now - was, 0, 0, 'only the last units stay', now() FROM hot",
        scale.last_units,
        new_ids(database.clock.now(), 1)[0],
    )
    result = await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=scale.buying_seconds))
    if result.answers < scale.buyers:
        raise RuntimeError(f"only {result.answers} of {scale.buyers} buyers got an answer in {scale.buying_seconds} s")
    await asyncio.sleep(1)
    free = await database.pool.fetchval("SELECT on_hand - reserved - 1 FROM inventory.stock WHERE sku_id = 1")
    sold = scale.last_units - free
    if free < 0 or result.good > sold:
        raise RuntimeError(
            f"oversold: {scale.last_units} units were left, {result.good} orders were acknowledged, {free} remain"
        )
    return {
        "left": scale.last_units,
        "asked_for": result.answers,
        "sold": sold,
        "acknowledged": result.good,
        "oversold": 0,
    }
