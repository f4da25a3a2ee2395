"""A stock feed: a snapshot of all positions streamed to the API as NDJSON, of which 5 % or all have changed.

The rate counts the positions of the snapshot. The floor sends the statements that the feed sends (compare, hold, record,
balance) again, with the same arrays in the same transactions over as many connections: no HTTP, no parsing, no decisions.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from ordino.cli.bench import world
from ordino.cli.bench.figure import Figure, make
from ordino.cli.bench.replay import Recording, Sent, renamed, replay
from ordino.cli.bench.scale import Bench
from ordino.core.database import Database
from ordino.inventory.adjust import Count
from ordino.inventory.feed import LANES, ROWS_AT_ONCE, feed

PATH = "/v1/counts"
LOCATIONS = 10


async def measure(bench: Bench) -> list[Figure]:
    """Two figures. A window sends as many snapshots as fit, and at least one."""
    database, scale = bench.database, bench.scale
    await world.fill(bench.url, skus=scale.skus)
    on_hand = [1_000_000] * (scale.skus * LOCATIONS)
    dice = random.Random("feed")
    figures = []
    async with world.serving(bench.url, bench.directory) as server:
        await _windows(msgspec.structs.replace(bench, seconds=0.1), server.url, on_hand, dice, 0.05)
        for share in (0.05, 1.0):
            rates, floors = await _windows(bench, server.url, on_hand, dice, share)
            async with database.pool.acquire() as connection:
                conditions = await world.conditions(connection)
            conditions |= {
                "client": "asyncio, one stream of NDJSON",
                "positions": len(on_hand),
                "changed": share,
                "window_seconds": bench.seconds,
                "floor_is": f"the same statements and arrays, {ROWS_AT_ONCE:,} rows a transaction, {LANES} connections",
            }
            figures.append(make(f"feed_{share:.0%}".replace("%", "_percent"), rates, "positions/s", floors, conditions))
    return figures


async def _windows(
    bench: Bench, server: str, on_hand: list[int], dice: random.Random, share: float
) -> tuple[list[float], list[float]]:
    rates, floors = [], []
    for _ in range(bench.scale.windows):
        floors.append(await _floor(bench.database, on_hand, dice, share, bench.seconds))
        spent, sent = 0.0, 0
        while spent < bench.seconds or not sent:
            _change(on_hand, dice, share)
            body = list(chunks(on_hand))
            started = time.perf_counter()
            await send(server, body, len(on_hand))
            spent += time.perf_counter() - started
            sent += len(on_hand)
        rates.append(sent / spent)
        await _check(bench.database, on_hand)
    return rates, floors


def _change(on_hand: list[int], dice: random.Random, share: float) -> None:
    for position in dice.sample(range(len(on_hand)), int(len(on_hand) * share)):
        on_hand[position] += dice.choice((-1, 1)) * dice.randint(1, 100)


def counts(on_hand: Sequence[int], locations: int = LOCATIONS) -> Iterator[Count]:
    for position, units in enumerate(on_hand):
        yield Count(
            sku=world.sku_code(position // locations + 1), location=f"W{position % locations + 1}", on_hand=units
        )


def chunks(on_hand: Sequence[int], locations: int = LOCATIONS) -> Iterator[bytes]:
    lines = map(msgspec.json.encode, counts(on_hand, locations))
    while part := list(islice(lines, 1000)):
        yield b"\n".join(part) + b"\n"


async def send(server: str, body: Iterable[bytes], positions: int) -> None:
    """One request with a chunked body; every line must be answered as done."""
    host, port = server.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    writer.write(
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )

    async def stream() -> None:
        for part in body:
            writer.write(b"%x\r\n" % len(part) + part + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    _, answer = await asyncio.gather(stream(), reader.read())
    writer.close()
    if b" 200 " not in answer[:20] or b'"rows":%d,' % positions not in answer or b'"refused":0,' not in answer:
        raise RuntimeError(f"the feed was answered with {answer[:500]!r}")


async def _check(database: Database, on_hand: Sequence[int]) -> None:
    """The ledger holds the snapshot that was sent last."""
    if await _read(database) != list(on_hand):
        raise RuntimeError("the stock is not what the feed said")


async def _read(database: Database) -> list[int]:
    rows = await database.pool.fetch(
        "SELECT on_hand FROM inventory.stock WHERE sku_id > 1 ORDER BY sku_id, location_id"
    )
    return [row["on_hand"] for row in rows]


async def _floor(database: Database, on_hand: list[int], dice: random.Random, share: float, seconds: float) -> float:
    """Record one snapshot that is really taken in, undo it in mind, and send its statements again."""
    _change(on_hand, dice, share)
    recording = Recording(database.pool, database.plans, database.clock)
    recording.lanes = {}

    async def rows() -> AsyncIterator[tuple[int, Count]]:
        for row in enumerate(counts(on_hand), 1):
            yield row

    applied = await feed(recording, rows())
    assert applied.rows == len(on_hand)
    assert not applied.refused
    spent, sent, mask = 0.0, 0, 0
    while spent < seconds or not sent:
        mask += 1
        again = renamed([sent for lane in recording.lanes.values() for sent in lane], mask=mask)
        started = time.perf_counter()
        await asyncio.gather(*(_replay(database, again[n::LANES]) for n in range(LANES)))
        spent += time.perf_counter() - started
        sent += len(on_hand)
    on_hand[:] = await _read(database)  # what was recorded was applied once more by each replay
    return sent / spent


async def _replay(database: Database, transactions: list[list[Sent]]) -> None:
    async with database.pool.acquire() as connection:
        await replay(connection, transactions)
