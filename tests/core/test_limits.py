"""LIM-1 and LIM-2: calls side by side and a second, shared fairly among accounts and kinds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordino.core.database import Database, Tx
from ordino.core.effects import Effect
from ordino.core.errors import Invalid
from ordino.core.leases import Leases
from ordino.core.limits import Limits, Places, limits_by_name
from ordino.core.reactions import Registry, Task, Worker
from outside import at_work, calling, echo, happen, left, marks, registry_of, until


def addressed(call: Any, **more: Any) -> Effect:
    """An effect whose account is what the event says."""

    async def ask(tx: Tx, tasks: Any, at: Any) -> list[Any]:
        return [(task.data["account"], task.data["n"]) for task in tasks]

    return calling(call, ask=ask, account=lambda request: request[0], **more)


@given(st.integers(1, 40), st.integers(1, 12), st.lists(st.integers(0, 11), max_size=200))
def test_lim_1_and_2_places_are_never_exceeded_and_nobody_has_all_where_there_may_be_others(
    at_once: int, users: int, wanted: list[int]
) -> None:
    places, held = Places(Limits(at_once=at_once), shared=True), Counter[str]()
    for number in wanted:
        user = str(number % users)
        if places.room(user, 0.0):
            places.take(user, 0.0)
            held[user] += 1
    assert held.total() <= at_once
    if at_once >= 2:
        assert max(held.values(), default=0) < at_once
    if at_once >= 4 and len(held) == 1:
        assert places.room("another", 0.0) >= at_once // 4


def test_lim_1_places_that_are_left_can_be_taken_again() -> None:
    places = Places(Limits(at_once=1), shared=False)
    places.take("a", 0.0)
    assert (places.free(0.0), places.room("b", 0.0)) == (0, 0)
    places.leave("a")
    assert (places.free(0.0), places.room("b", 0.0)) == (1, 1)


def test_lim_1_calls_begin_one_after_the_other_and_none_is_taken_up_that_has_to_wait_long() -> None:
    places = Places(Limits(per_second=4), shared=False)
    turns = []
    while places.room("a", 100.0):
        turns.append(places.take("a", 100.0))
    assert turns == [0.0, 0.25, 0.5, 0.75]
    assert 0 < (places.wait_seconds(100.0) or 0) < 0.1
    assert places.wait_seconds(100.5) is None
    assert places.take("a", 200.0) == 0.0


@pytest.mark.parametrize("bad", [{"at_once": 0}, {"at_once": -1}, {"per_second": 0}, {"per_second": float("nan")}])
def test_limits_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Limits(**bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        calling(echo, **bad)


async def done(queue: Database, ids: list[UUID]) -> bool:
    return await marks(queue) >= set(ids)


async def test_lim_1_a_kind_calls_no_faster_than_it_may(queue: Database) -> None:
    times: list[float] = []

    async def call(task: Task, request: Any) -> Any:
        times.append(time.monotonic())
        return request

    ids = await happen(queue, "called", 30)
    async with at_work(Worker(queue, registry=registry_of(call=calling(call, per_second=10)), poll_seconds=0.02)):
        await until(lambda: done(queue, ids))
    assert times[-1] - times[0] >= 29 / 10 - 0.2
    for first, eleventh in zip(times, times[11:], strict=False):
        assert eleventh - first >= 0.8  # at most ten a second, but for what a busy machine wakes late


async def test_lim_1_an_account_has_one_limit_for_all_kinds_of_effects(queue: Database) -> None:
    running, most = Counter[str](), Counter[str]()

    async def call(task: Task, request: Any) -> Any:
        account = request[0]
        running[account] += 1
        most[account] = max(most[account], running[account])
        await asyncio.sleep(0.02)
        running[account] -= 1
        return request

    def limits(account: str) -> Limits:
        return Limits(at_once=3) if account == "small" else Limits()

    effect = addressed(call, limits=limits)
    ids = []
    for kind in ("called", "other"):
        for account in ("small", "large"):
            ids += await happen(queue, kind, 30, account=account)
    async with at_work(Worker(queue, registry=registry_of(call=effect, other=effect), poll_seconds=0.02)):
        await until(lambda: done(queue, ids))
    assert most["small"] <= 3
    assert most["large"] > 3


async def slow_and_quick(queue: Database, **more: Any) -> tuple[Registry, list[UUID]]:
    """A hundred calls of an account that hangs, and behind them twenty of one that answers at once."""

    async def call(task: Task, request: Any) -> Any:
        if request[0] == "slow":
            await asyncio.sleep(300)
        return request

    await happen(queue, "called", 100, account="slow")
    ids = await happen(queue, "called", 20, account="quick")
    return registry_of(call=addressed(call, at_once=4, call_seconds=300, **more)), ids


async def test_lim_2_an_account_that_hangs_leaves_places_to_the_others(queue: Database) -> None:
    registry, ids = await slow_and_quick(queue)
    running = asyncio.create_task(Worker(queue, registry=registry, poll_seconds=0.02).run(asyncio.Event()))
    await until(lambda: done(queue, ids), 30)
    assert {row["attempts"] for row in await left(queue) if row["lease"] is None} == {0}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_lim_2_without_fair_places_nobody_else_comes_to_their_turn(
    queue: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(Places, "_share", lambda places, user: places._at_once - places._taken)
    registry, _ = await slow_and_quick(queue)
    running = asyncio.create_task(Worker(queue, registry=registry, poll_seconds=0.02).run(asyncio.Event()))
    await asyncio.sleep(3)
    assert await marks(queue) == set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_lim_2_a_kind_that_hangs_leaves_places_of_their_account_to_the_others(queue: Database) -> None:
    async def hang(task: Task, request: Any) -> Any:
        await asyncio.sleep(300)

    def limits(account: str) -> Limits:
        return Limits(at_once=8)

    await happen(queue, "other", 50, account="provider")
    more = {"limits": limits, "call_seconds": 300}
    registry = registry_of(call=addressed(echo, **more), other=addressed(hang, **more))
    running = asyncio.create_task(Worker(queue, registry=registry, poll_seconds=0.02).run(asyncio.Event()))

    async def hangs() -> bool:
        return len([row for row in await left(queue) if row["lease"] is not None]) >= 6

    await until(hangs, 30)
    ids = await happen(queue, "called", 50, account="provider")
    await until(lambda: done(queue, ids), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_lim_2_one_account_serves_all_of_its_kind_where_there_is_no_other(queue: Database) -> None:
    ids = await happen(queue, "called", 50)
    effect = calling(echo, one_account=lambda: "server", limits=lambda account: Limits(at_once=2, per_second=100))
    worker = Worker(queue, registry=registry_of(call=effect))
    await worker.run_until_idle()
    async with at_work(worker):
        await until(lambda: done(queue, ids))
    assert not await left(queue)


async def test_lim_1_no_more_is_leased_of_an_account_than_it_has_room_for(
    queue: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog of an account that bears little is not taken up and put back over and over."""
    taken, hold = list[int](), Leases.hold

    def counted(leases: Leases, tasks: Any, *args: Any, **more: Any) -> Any:
        taken.append(len(tasks))
        return hold(leases, tasks, *args, **more)

    async def call(task: Task, request: Any) -> Any:
        await asyncio.sleep(0.01)
        return request

    monkeypatch.setattr(Leases, "hold", counted)
    ids = await happen(queue, "called", 100, account="small")
    effect = addressed(call, limits=lambda account: Limits(at_once=2))
    async with at_work(Worker(queue, registry=registry_of(call=effect), poll_seconds=0.02)):
        await until(lambda: done(queue, ids))
    assert sum(taken) <= 3 * len(ids)  # once to find out whom they call, and once to call


def test_limits_are_read_by_name_and_bad_ones_are_refused_with_a_sentence() -> None:
    assert limits_by_name("") == {}
    assert limits_by_name("acme=8/20, smtp=4,  other=/0.5,") == {
        "acme": Limits(at_once=8, per_second=20),
        "smtp": Limits(at_once=4),
        "other": Limits(per_second=0.5),
    }
    for bad in ("acme", "acme=", "acme=/", "=8", "8/20"):
        with pytest.raises(Invalid, match="is not of the form name=at_once/per_second"):
            limits_by_name(bad)
    for bad in ("acme=0", "acme=-1/2", "acme=two", "acme=1/0", "acme=1/nan", "acme=1/inf", "acme=1.5", "acme=1/2/3"):
        with pytest.raises(Invalid, match="a whole number of at least 1"):
            limits_by_name(bad)
    with pytest.raises(Invalid, match="names 'acme' twice"):
        limits_by_name("acme=1,acme=2")
