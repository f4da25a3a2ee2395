"""Counts as of a time, and feeds that have a name: nothing newer is overwritten, nothing is applied twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.core.database import Database
from ordino.core.errors import Conflict, Fault, Invalid, NotFound, Unavailable
from ordino.inventory import feed
from ordino.inventory.adjust import (
    Adjustment,
    Count,
    Moved,
    Receipt,
    StockRefusal,
    StockRefused,
    adjust,
    count,
    receive,
)
from ordino.orders.model import Placed
from ordino.orders.place import place
from steps import assert_clean, in_one, shipped, stock, sure
from world import World, small_world

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=1, stock={})


def counted(world: World, units: int, as_of: datetime | None = None, sku: int = 0) -> Count:
    return Count(sku=world.skus[sku], location=world.location, on_hand=units, as_of=as_of)


async def received(database: Database, world: World, units: int, at: datetime, sku: int = 0) -> None:
    await in_one(database, receive, [Receipt(sku=world.skus[sku], location=world.location, quantity=units)], at)


async def on_hand(database: Database, world: World, sku: int = 0) -> int:
    return (await stock(database, world.sku_ids[world.skus[sku]], world.location_ids[world.location]))[0]


async def test_what_moved_after_the_count_is_kept(database: Database, world: World) -> None:
    await received(database, world, 10, NOON)
    await received(database, world, 5, NOON + 10 * MINUTE)
    await shipped(database, world.order("two", 2), NOON + 20 * MINUTE)
    late = NOON + 30 * MINUTE
    [moved] = await in_one(database, count, [counted(world, 9, NOON + 5 * MINUTE)], late)  # one was lost before that
    assert (sure(moved, Moved).delta, moved.on_hand) == (-1, 12)
    [again] = await in_one(database, count, [counted(world, 9, NOON + 5 * MINUTE)], late + MINUTE)
    assert sure(again, Moved).delta == 0
    assert await on_hand(database, world) == 12
    at = "SELECT sum(on_hand_delta)::int FROM inventory.moves WHERE sku_id = $1 AND at <= $2"
    assert await database.pool.fetchval(at, world.sku_ids[world.sku], NOON + 5 * MINUTE) == 9
    await assert_clean(database)


async def test_an_older_count_never_overwrites_a_newer_one(database: Database, world: World) -> None:
    await received(database, world, 10, NOON)
    late = NOON + 60 * MINUTE
    [_] = await in_one(
        database, count, [counted(world, 10, NOON + 20 * MINUTE)], late
    )  # nothing changed, and still a fact
    [stale] = await in_one(database, count, [counted(world, 3, NOON + 10 * MINUTE)], late)
    assert sure(stale, StockRefused).reason is StockRefusal.STALE
    [same] = await in_one(database, count, [counted(world, 4, NOON + 20 * MINUTE)], late)
    assert sure(same, Moved).on_hand == 4
    [newer] = await in_one(database, count, [counted(world, 8, NOON + 30 * MINUTE)], late)
    assert sure(newer, Moved).on_hand == 8
    [plain] = await in_one(database, count, [counted(world, 7)], late)
    assert sure(plain, Moved).on_hand == 7
    [stale] = await in_one(database, count, [counted(world, 9, NOON + 40 * MINUTE)], late)
    assert sure(stale, StockRefused).reason is StockRefusal.STALE
    assert await on_hand(database, world) == 7


async def test_counts_of_several_times_in_one_list_apply_in_their_order(database: Database, world: World) -> None:
    late = NOON + 60 * MINUTE
    wanted = [
        counted(world, 5, NOON + 30 * MINUTE),
        counted(world, 9, NOON + 10 * MINUTE),
        counted(world, 6, NOON, sku=1),
        counted(world, 1, sku=2),
        counted(world, 1, late + 2 * MINUTE),
        counted(world, 1, datetime(2026, 3, 2)),
        counted(world, 1, NOON - timedelta(days=90)),
    ]
    outcomes = await in_one(database, count, wanted, late)
    told = [o.reason if isinstance(o, StockRefused) else (o.delta, o.on_hand) for o in outcomes]
    assert told == [(-4, 5), (9, 5), (6, 6), (1, 1), "from_the_future", "invalid", "stale"]
    assert await on_hand(database, world) == 5
    await assert_clean(database)


@pytest.mark.parametrize("seed", range(4))
async def test_snapshots_race_with_receipts_and_orders(database_url: str, seed: int) -> None:
    """A warehouse counts at some instant while goods come and orders are placed; whenever its count arrives, it changes nothing."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"s{seed}-{uuid4().hex[:6]}-", skus=1, locations=1, stock={})
        await received(database, world, 100, NOON)
        came = [(NOON + timedelta(seconds=n), dice.randint(1, 9)) for n in range(1, 40)]
        instants = [NOON + timedelta(seconds=dice.uniform(0, 45)) for _ in range(10)]
        late = NOON + 10 * MINUTE
        truth = {t: 100 + sum(units for at, units in came if at <= t) for t in instants}
        bought = 0

        async def buy(number: int) -> None:
            nonlocal bought
            [outcome] = await in_one(database, place, [world.order(f"o{number}", 1)], late)
            bought += isinstance(outcome, Placed)

        async def take_in(t: datetime) -> None:
            [outcome] = await in_one(database, count, [counted(world, truth[t], t)], late)
            assert isinstance(outcome, Moved) or outcome.reason is StockRefusal.STALE

        for at, units in came:
            await received(database, world, units, at)
        await asyncio.gather(*map(take_in, instants), *map(buy, range(60)))
        assert bought == 60
        assert await on_hand(database, world) == 100 + sum(units for _, units in came)
        await assert_clean(database)


# -- feeds that have a name --------------------------------------------------------------------------------------------


async def deltas(world: World, *units: int, broken_after: int | None = None) -> AsyncIterator[tuple[int, Any]]:
    for line, delta in enumerate(units, 2):
        if broken_after is not None and line - 2 >= broken_after:
            raise Unavailable("The line went dead.")
        yield line, {"sku": world.sku, "location": world.location, "delta": delta, "reason": "found", "document": "W-1"}


async def test_a_feed_that_broke_off_goes_on_where_it_stood(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 3)
    name = f"monday {world.sku}"
    rows = [1, 2, 3, 4, 5, 6, 7, 0]
    with pytest.raises(Unavailable):
        await feed.feed(database, deltas(world, *rows, broken_after=5), feed.ADJUSTMENTS, name=name)
    await asyncio.sleep(0.2)
    view = await database.read(lambda tx: feed.feed_of(tx, name))
    assert (view.rows, view.lines, view.finished_at) == (3, 4, None)
    for _ in range(2):
        done = await feed.feed(database, deltas(world, *rows), feed.ADJUSTMENTS, name=name)
        assert (done.rows, done.applied, done.refused, done.faults[0].line) == (8, 7, 1, 9)
        assert await on_hand(database, world) == sum(rows)
    view = await database.read(lambda tx: feed.feed_of(tx, name))
    assert (view.rows, view.applied, view.refused, view.faults) == (8, 7, 1, done.faults)
    assert view.finished_at is not None
    documents = "SELECT DISTINCT document FROM inventory.moves WHERE sku_id = $1"
    assert await database.pool.fetchval(documents, world.sku_ids[world.sku]) == "W-1"
    assert name in [one.feed for one in await database.read(lambda tx: feed.feeds(tx, 100))]
    await assert_clean(database)


async def test_a_name_comes_again_with_other_rows_only_to_be_refused(database: Database, world: World) -> None:
    name = f"tuesday {world.sku}"
    await feed.feed(database, deltas(world, 1, 2), feed.ADJUSTMENTS, name=name)
    with pytest.raises(Conflict, match="other rows in lines 2 to 3"):
        await feed.feed(database, deltas(world, 1, 3), feed.ADJUSTMENTS, name=name)
    with pytest.raises(Conflict, match="was already used for adjustments"):
        await feed.feed(database, deltas(world, 1, 2), feed.RECEIPTS, name=name)
    with pytest.raises(Invalid):
        await feed.feed(database, deltas(world), feed.RECEIPTS, name="")
    with pytest.raises(NotFound):
        await database.read(lambda tx: feed.feed_of(tx, "never"))
    assert await on_hand(database, world) == 3


async def test_the_same_feed_twice_at_once_is_applied_once(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 2)
    name = f"twins {world.sku}"
    both = await asyncio.gather(
        *(feed.feed(database, deltas(world, *range(1, 21)), feed.ADJUSTMENTS, name=name) for _ in range(3))
    )
    assert {(done.rows, done.applied) for done in both} == {(20, 20)}
    assert await on_hand(database, world) == sum(range(1, 21))
    await assert_clean(database)


async def test_without_a_name_deltas_sent_again_are_applied_again(database: Database, world: World) -> None:
    """The negative control: it is the name that keeps a feed from being applied twice."""
    for _ in range(2):
        await feed.feed(database, deltas(world, 5), feed.ADJUSTMENTS)
    assert await on_hand(database, world) == 10


async def test_rows_that_cannot_be_read_on_leave_those_before_them(database: Database, world: World) -> None:
    async def rows() -> AsyncIterator[tuple[int, Any]]:
        yield 1, {"sku": world.sku, "location": world.location, "quantity": 4}
        yield 2, Fault("/quantity", "wrong")
        raise Invalid("Line 3 is not UTF-8.")

    with pytest.raises(Invalid, match=r"Line 3.*1 were taken in and 1 refused; do not send those again"):
        await feed.feed(database, rows(), feed.RECEIPTS)
    assert await on_hand(database, world) == 4


async def test_adjustments_carry_documents(database: Database, world: World) -> None:
    await received(database, world, 4, NOON)
    lost = Adjustment(sku=world.sku, location=world.location, delta=-1, reason="lost", document="INC-7")
    [done] = await in_one(database, adjust, [lost], NOON)
    sure(done, Moved)
    row = await database.pool.fetchrow(
        "SELECT reason, document FROM inventory.moves WHERE sku_id = $1 AND kind = 'adjusted'", world.sku_ids[world.sku]
    )
    assert tuple(row) == ("lost", "INC-7")


async def test_a_count_of_the_past_tells_what_was_counted_and_what_stands_now(database: Database) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=1, stock=0)
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    ten = [Receipt(sku=sku, location=world.location, quantity=10) for sku in world.skus]
    await in_one(database, receive, ten, noon)
    await in_one(database, receive, [replace(one, quantity=5) for one in ten], noon + timedelta(minutes=10))
    past = noon + timedelta(minutes=5)
    counts = [
        Count(sku=sku, location=world.location, on_hand=n, as_of=past)
        for sku, n in zip(world.skus, (9, 10), strict=True)
    ]
    outcomes = await in_one(database, count, counts, noon + timedelta(minutes=30))
    assert [(o.delta, o.counted, o.on_hand) for o in outcomes] == [(-1, 9, 14), (0, 10, 15)]
    again = await in_one(database, count, counts, noon + timedelta(minutes=31))
    assert [(o.delta, o.counted, o.on_hand) for o in again] == [(0, 9, 14), (0, 10, 15)]
