"""BAT-1, BAT-2: everybody gets the outcome of their own item, and a bad item hurts only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ordino.core.batcher import Batcher
from ordino.core.errors import Away, OutcomeUnknown, Unavailable


async def test_bat_1_everyone_gets_their_own_outcome_and_sets_gather_while_one_runs() -> None:
    sizes: list[int] = []

    async def double(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        await asyncio.sleep(0.01)
        return [2 * item for item in items]

    batcher: Batcher[int, int] = Batcher(double, size=64)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(200))) == [2 * n for n in range(200)]
    assert sum(sizes) == 200
    assert max(sizes) <= 64
    assert len(sizes) <= 5


async def test_an_idle_batcher_runs_sets_of_one() -> None:
    sizes: list[int] = []

    async def echo(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    batcher: Batcher[int, int] = Batcher(echo)
    for n in range(3):
        assert await batcher.submit(n) == n
    assert sizes == [1, 1, 1]


async def test_bat_2_a_bad_item_fails_alone() -> None:
    async def picky(items: Sequence[int]) -> Sequence[int]:
        if 13 in items:
            raise ValueError("thirteen")
        return items

    batcher: Batcher[int, int] = Batcher(picky, size=64)
    outcomes = await asyncio.gather(*(batcher.submit(n) for n in range(40)), return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [13]
    assert [outcome for outcome in outcomes if not isinstance(outcome, BaseException)] == [
        n for n in range(40) if n != 13
    ]


async def test_an_absent_database_is_told_to_everyone_at_once() -> None:
    calls = 0

    async def away(items: Sequence[int]) -> Sequence[int]:
        nonlocal calls
        calls += 1
        raise Unavailable("away")

    batcher: Batcher[int, int] = Batcher(away, size=64)
    outcomes = await asyncio.gather(*(batcher.submit(n) for n in range(40)), return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert calls == 1


async def test_a_closed_batcher_finishes_what_it_took() -> None:
    async def slow(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0.02)
        return items

    batcher: Batcher[int, int] = Batcher(slow, size=2)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in range(6)]
    await asyncio.sleep(0)
    await batcher.close()
    assert await asyncio.gather(*waiting) == list(range(6))
    with pytest.raises(Unavailable):
        await batcher.submit(7)


async def test_a_caller_that_leaves_does_not_disturb_the_others() -> None:
    async def slow(items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0.02)
        return items

    batcher: Batcher[int, int] = Batcher(slow)
    first, second = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0.005)
    first.cancel()
    assert await second == 2


async def test_bat_3_whoever_waits_for_a_database_that_is_away_is_told_with_the_first_set() -> None:
    """Otherwise the last of ten thousand would wait for forty limits of time. What was not begun is known to be undone."""
    calls = 0
    begun = asyncio.Event()

    async def silent(items: Sequence[int]) -> Sequence[int]:
        nonlocal calls
        calls += 1
        await begun.wait()
        raise OutcomeUnknown

    batcher: Batcher[int, int] = Batcher(silent, size=4, lanes=2)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in range(100)]
    await asyncio.sleep(0.05)
    begun.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert calls == 2
    assert all(isinstance(outcome, Away) for outcome in outcomes)
    unknown = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, OutcomeUnknown)]
    assert len(unknown) == 8
    assert all("Nothing was changed" in str(outcome) for n, outcome in enumerate(outcomes) if n not in unknown)


async def test_a_batcher_says_for_how_long_nothing_has_moved() -> None:
    free = asyncio.Event()

    async def slow(items: Sequence[int]) -> Sequence[int]:
        await free.wait()
        return items

    batcher: Batcher[int, int] = Batcher(slow)
    assert batcher.stalled_seconds == 0
    waiting = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0.2)
    assert 0.1 < batcher.stalled_seconds < 5
    free.set()
    assert await waiting == 1
    await asyncio.sleep(0)
    assert batcher.stalled_seconds == 0
