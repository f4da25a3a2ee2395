"""A snapshot of a million positions, of which 5 % or all have changed, alone and while orders are placed.

The rate counts the positions; ``seconds`` is what the whole snapshot takes. ``peak_megabytes`` is the most memory that any server
process has held so far. Of orders, the rate alone and during the snapshot is told.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from ordino.cli.bench import load, world
from ordino.cli.bench.feed import chunks, send
from ordino.cli.bench.figure import Figure, make
from ordino.cli.bench.scale import Bench

CLIENTS = 256


async def measure(bench: Bench) -> list[Figure]:
    """One figure a share of changes, each of one snapshot alone and one while orders come in."""
    database, scale = bench.database, bench.scale
    locations = scale.snapshot_locations
    await world.fill(bench.url, skus=scale.skus, locations=locations)
    on_hand = [1_000_000] * (scale.skus * locations)
    dice = random.Random("snapshot")
    figures = []
    async with world.serving(bench.url, bench.directory) as server:
        plan = load.Plan(
            url=server.url,
            kind="place",
            path="/v1/orders",
            run="",
            clients=min(CLIENTS, scale.most_clients),
            seconds=bench.seconds,
            skus=scale.skus,
        )
        await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=scale.warm_seconds))
        alone = await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4)))
        for share in (0.05, 1.0):
            quiet = await _snapshot(server.url, on_hand, locations, dice, share)
            peak = _peak_megabytes(server.process.pid)
            busy, during = await _both(server.url, plan, on_hand, locations, dice, share)
            async with database.pool.acquire() as connection:
                conditions = await world.conditions(connection)
            conditions |= {
                "client": "asyncio, one stream of NDJSON",
                "positions": len(on_hand),
                "changed": share,
                "seconds": round(quiet, 1),
                "seconds_while_orders_come": round(busy, 1),
                "orders_per_second_alone": round(alone.rate),
                "orders_per_second_meanwhile": round(during),
                "peak_megabytes": peak,
            }
            name = f"snapshot_{share:.0%}".replace("%", "_percent")
            figures.append(make(name, [len(on_hand) / quiet], "positions/s", [], conditions))
        rows = await database.pool.fetch(
            "SELECT on_hand FROM inventory.stock WHERE sku_id > 1 ORDER BY sku_id, location_id"
        )
        if [row["on_hand"] for row in rows] != on_hand:
            raise RuntimeError("the stock is not what the snapshot said")
    return figures


async def _snapshot(server: str, on_hand: list[int], locations: int, dice: random.Random, share: float) -> float:
    """Seconds from the first byte to the answer."""
    for position in dice.sample(range(len(on_hand)), int(len(on_hand) * share)):
        on_hand[position] += dice.choice((-1, 1)) * dice.randint(1, 100)
    body: Sequence[bytes] = list(chunks(on_hand, locations))
    started = time.perf_counter()
    await send(server, body, len(on_hand))
    return time.perf_counter() - started


async def _both(
    server: str, plan: load.Plan, on_hand: list[int], locations: int, dice: random.Random, share: float
) -> tuple[float, float]:
    """(seconds of the snapshot, orders/s while it is taken in): orders come until it has been answered."""
    rates: list[float] = []
    done = asyncio.Event()

    async def orders() -> None:
        while not done.is_set():
            result = await load.run(
                msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=min(5.0, plan.seconds))
            )
            rates.append(result.rate)

    ordering = asyncio.create_task(orders())
    await asyncio.sleep(0.5)
    seconds = await _snapshot(server, on_hand, locations, dice, share)
    done.set()
    await ordering
    return seconds, sum(rates[:-1]) / len(rates[:-1]) if len(rates) > 1 else rates[0]


def _peak_megabytes(pid: int) -> int | None:
    """The most memory that a process of the group held at once; None where the system does not tell."""
    peaks = []
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            continue
        peaks += [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks, default=None)
