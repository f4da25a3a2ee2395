"""Orders through every stage to delivered, in-process: place, release, pick, pack, ship, deliver, and every reaction between.

Staff and carriers work in batches over two connections; the reactions of the shipped flow are run by one worker, on a
simulated clock. The floor sends the very same statements in the very same transactions again, for other orders.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from ordino.cli.bench import world
from ordino.cli.bench.figure import Figure, make
from ordino.cli.bench.replay import Recording, Sent, renamed, replay
from ordino.cli.bench.scale import Bench, Scale
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.reactions import Worker
from ordino.core.statements import Statements
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.tracking.model import Kind, Recorded, TrackingEvent
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Packed, Pick, Picked, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.ship import ship

T = TypeVar("T")
Done = TypeVar("Done")
LANES = 2
BATCHES = 4
AMENDMENT = timedelta(minutes=31)
TRANSIT = timedelta(hours=20)

sql = Statements(
    """
-- name: released
-- The fulfillment orders of these orders.
SELECT order_id, fulfillment_order_id FROM warehouse.fulfillment_orders WHERE order_id = any(:order_ids::uuid[])
"""
)


class Steps:
    """What one round sent: steps one after the other, each with what its lanes sent side by side."""

    def __init__(self) -> None:
        self.steps: list[list[list[list[Sent]]]] = []

    def renamed(self, run: str, new_run: str) -> Steps:
        steps = Steps()
        mask = secrets.randbelow((1 << 48) - 1) + 1
        steps.steps = [[renamed(lane, mask=mask, run=run, new_run=new_run) for lane in lanes] for lanes in self.steps]
        return steps


async def measure(bench: Bench) -> list[Figure]:
    database, scale, seconds = bench.database, bench.scale, bench.seconds
    await world.fill(bench.url, skus=scale.skus)
    clock = SimulatedClock(database.clock.now())
    rates, floors = [], []
    plain = Database(database.pool, database.plans, clock)
    await _round(plain, clock, scale, random.Random("warm"))
    for _ in range(scale.windows):
        floors.append(await _floor(database, clock, scale, seconds))
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += await _round(plain, clock, scale, random.Random(secrets.token_hex(4)))
        rates.append(done / (time.perf_counter() - started))
    delivered = await database.pool.fetchval("SELECT count(*) FROM orders.orders WHERE status = 'delivered'")
    others = await database.pool.fetchval("SELECT count(*) FROM orders.orders WHERE status <> 'delivered'")
    if others or not delivered:
        raise RuntimeError(f"{others} orders were not delivered")
    async with database.pool.acquire() as connection:
        conditions = await world.conditions(connection)
    figure = make(
        "life",
        rates,
        "orders/s",
        floors,
        {
            **conditions,
            "client": f"in-process, batches of {scale.life_batch} over {LANES} connections, reactions by one worker",
            "window_seconds": seconds,
            "floor_is": "the same statements, arguments and transactions over as many connections, for other orders",
            "delivered": delivered,
        },
    )
    return [figure]


async def _floor(database: Database, clock: SimulatedClock, scale: Scale, seconds: float) -> float:
    """Record one round, then send it again for other orders until time is up."""
    recording = Recording(database.pool, database.plans, clock)
    recording.lanes = {}
    run = secrets.token_hex(8)
    steps = Steps()
    orders = await _round(recording, clock, scale, random.Random(run), run=run, steps=steps)
    spent, sent = 0.0, 0
    while spent < seconds:
        again = steps.renamed(run, secrets.token_hex(8))
        started = time.perf_counter()
        for lanes in again.steps:
            await asyncio.gather(*(_replay(database, lane) for lane in lanes))
        spent += time.perf_counter() - started
        sent += orders
    await database.pool.execute(
        "TRUNCATE core.reactions"
    )  # what the floor left for later is not for the next window to do
    return sent / spent


async def _replay(database: Database, transactions: list[list[Sent]]) -> None:
    async with database.pool.acquire() as connection:
        await replay(connection, transactions)


async def _round(
    database: Database,
    clock: SimulatedClock,
    scale: Scale,
    dice: random.Random,
    *,
    run: str | None = None,
    steps: Steps | None = None,
) -> int:
    """Take some orders from placement to the door."""
    run = run or secrets.token_hex(8)

    def note() -> None:
        if steps is not None:
            assert isinstance(database, Recording)
            steps.steps.append(list(database.lanes.values()))
            database.lanes.clear()

    async def act(verb: Callable[..., Awaitable[Sequence[Any]]], items: Sequence[Any], done: type[Done]) -> list[Done]:
        outcomes = await _beside(database, clock, scale.life_batch, verb, items)
        assert all(isinstance(outcome, done) for outcome in outcomes), outcomes[:3]
        note()
        return outcomes

    async def react() -> None:
        worker = Worker(database)
        while await worker.run_due():
            note()

    orders = [world.new_order(f"{run}-{n}", dice, skus=scale.skus) for n in range(BATCHES * scale.life_batch)]
    placed = await act(place, orders, Placed)
    await react()
    clock.advance_to(clock.now() + AMENDMENT)
    await react()
    todo = await _released(database, [outcome.order_id for outcome in placed])
    note()
    await act(pick, [Pick(order_id=o, fulfillment_order_id=f, labor_seconds=60, all=True) for o, f in todo], Picked)
    await act(pack, [Pack(order_id=o, fulfillment_order_id=f, labor_seconds=30, all=True) for o, f in todo], Packed)
    ships = [
        Ship(order_id=o, fulfillment_order_id=f, tracking_number=f"{run}-{n}", all=True)
        for n, (o, f) in enumerate(todo)
    ]
    shipped = await act(ship, ships, Shipped)
    await react()
    clock.advance_to(clock.now() + TRANSIT)
    words = [TrackingEvent(tracking_number=s.tracking_number, kind=Kind.DELIVERED) for s in shipped]
    await act(take_events, words, Recorded)
    await react()
    return len(orders)


async def _beside(
    database: Database,
    clock: SimulatedClock,
    size: int,
    verb: Callable[..., Awaitable[Sequence[Any]]],
    items: Sequence[Any],
) -> list[Any]:
    """Batches of one verb over some connections, outcomes in order. An order's items stay in one batch."""
    batches = iter([(at, items[at : at + size]) for at in range(0, len(items), size)])
    outcomes: dict[int, Sequence[Any]] = {}

    async def lane() -> None:
        for at, batch in batches:

            async def run(tx: Tx, batch: Sequence[Any] = batch) -> Sequence[Any]:
                return await verb(tx, batch, at=clock.now())

            outcomes[at] = await database.transact(run)

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return [outcome for at in sorted(outcomes) for outcome in outcomes[at]]


async def _released(database: Database, order_ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    rows = await database.read(lambda tx: sql.released(tx, order_ids=list(order_ids)))
    assert len({row["order_id"] for row in rows}) == len(order_ids), "everything was released"
    return sorted((row["order_id"], row["fulfillment_order_id"]) for row in rows)
