"""Random batches of everything that people do, all at once; afterwards every promise holds, both ways.

Hypothesis draws the scripts; each lane of a script has a connection of its own and runs against the others.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordino.cli.verify import verify
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.inventory.adjust import Adjustment, Count, Receipt, adjust, count, receive
from ordino.orders.cancel import Cancellation, LineCancellation, cancel
from ordino.orders.model import NewOrder, OrderRefused, Placed, Refusal
from ordino.orders.place import Outcome, place
from tests.conftest import finish
from tests.world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SKUS, LOCATIONS = 3, 2
_example = itertools.count()

SLOW = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

sku = st.integers(0, SKUS - 1)
baskets = st.dictionaries(sku, st.integers(1, 4), min_size=1, max_size=SKUS)
policies = st.sampled_from(("refuse", "backorder", "drop"))


async def _lanes(url: str, lanes: Sequence[Callable[[Database], Awaitable[Any]]]) -> list[Any]:
    """Run every lane on a connection of its own, all at the same time."""

    async def run(lane: Callable[[Database], Awaitable[Any]]) -> Any:
        async with await Database.open(url, pool_size=1, clock=SimulatedClock(AT)) as database:
            return await lane(database)

    return list(await asyncio.gather(*map(run, lanes)))


async def _place(database: Database, orders: Sequence[NewOrder]) -> list[Outcome]:
    return await database.transact(lambda tx: place(tx, orders, at=AT))


async def _free(database: Database, world: World) -> dict[str, int]:
    rows = await database.pool.fetch(
        "SELECT sku_id, sum(on_hand - reserved)::bigint AS free FROM inventory.stock WHERE sku_id = any($1::int[]) GROUP BY sku_id",
        list(world.sku_ids.values()),
    )
    free = {row["sku_id"]: row["free"] for row in rows}
    return {code: free.get(sku_id, 0) for code, sku_id in world.sku_ids.items()}


async def _assert_clean(database: Database) -> None:
    report = await verify(database)
    assert report.broken == [], report.broken


# -- INV-1, INV-2, INV-3, INV-5, DEM-1, DEM-3, DEM-4, DEM-5: nothing wrong is placed, nothing right is refused ---------------


@SLOW
@given(st.lists(st.lists(st.lists(baskets, min_size=1, max_size=8), min_size=1, max_size=3), min_size=2, max_size=4), st.integers(1, 30))
def test_what_can_be_had_is_sold_and_nothing_else(database_url: str, lanes: list[list[list[dict[int, int]]]], stock: int) -> None:
    finish(_sold_and_nothing_else(database_url, lanes, stock))


async def _sold_and_nothing_else(url: str, lanes: list[list[list[dict[int, int]]]], stock: int) -> None:
    async with await Database.open(url) as database:
        world = await small_world(database, prefix=f"sold{next(_example)}-", skus=SKUS, locations=LOCATIONS, stock=stock)
        asked: dict[str, NewOrder] = {}

        def lane(number: int, batches: list[list[dict[int, int]]]) -> Callable[[Database], Awaitable[list[Outcome]]]:
            made = [
                [
                    world.order(f"{world.seller}{number}-{b}-{o}", {world.skus[s]: units for s, units in basket.items()})
                    for o, basket in enumerate(batch)
                ]
                for b, batch in enumerate(batches)
            ]
            asked.update((order.external_id, order) for batch in made for order in batch)

            async def run(own: Database) -> list[Outcome]:
                return [outcome for batch in made for outcome in await _place(own, batch)]

            return run

        outcomes = [o for result in await _lanes(url, [lane(n, batches) for n, batches in enumerate(lanes)]) for o in result]
        free = await _free(database, world)
        sold = dict.fromkeys(world.skus, 0)
        assert len(outcomes) == len(asked)
        for outcome in outcomes:
            wanted = {line.sku: line.quantity for line in asked[outcome.external_id].lines}
            if isinstance(outcome, Placed):
                for code, units in wanted.items():
                    sold[code] += units
            else:  # stock only shrinks here: what is free at the end was free when the order was refused
                assert outcome.reason is Refusal.OUT_OF_STOCK
                assert any(free[code] < units for code, units in wanted.items()), (outcome, free)
        assert sold == {code: LOCATIONS * stock - free[code] for code in world.skus}
        await _assert_clean(database)


@SLOW
@given(st.lists(baskets, min_size=1, max_size=10), st.integers(2, 4), st.randoms(use_true_random=False))
def test_an_order_is_placed_once_however_often_it_is_sent(database_url: str, wanted: list[dict[int, int]], lanes: int, dice: Any) -> None:
    finish(_placed_once(database_url, wanted, lanes, dice))


async def _placed_once(url: str, wanted: list[dict[int, int]], lanes: int, dice: Any) -> None:
    async with await Database.open(url) as database:
        world = await small_world(database, prefix=f"once{next(_example)}-", skus=SKUS, locations=LOCATIONS, stock=1000)
        orders = [
            world.order(f"{world.seller}-{n}", {world.skus[s]: units for s, units in basket.items()}) for n, basket in enumerate(wanted)
        ]

        def lane(mine: list[NewOrder]) -> Callable[[Database], Awaitable[list[Outcome]]]:
            return lambda own: _place(own, mine)

        results = await _lanes(url, [lane(dice.sample(orders, len(orders)) + orders[:1]) for _ in range(lanes)])
        ids: dict[str, set[Any]] = {}
        firsts = 0
        for outcome in itertools.chain.from_iterable(results):
            assert isinstance(outcome, Placed)
            ids.setdefault(outcome.external_id, set()).add(outcome.order_id)
            firsts += not outcome.repeated
        assert firsts == len(orders)
        assert all(len(found) == 1 for found in ids.values())
        units = sum(sum(basket.values()) for basket in wanted)
        assert sum((await _free(database, world)).values()) == SKUS * LOCATIONS * 1000 - units
        await _assert_clean(database)
