"""Threads that replay and reevaluate, beside orders and promises, while the network and the rules over it are being written."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from msgspec import structs

from ordino.cli.running import load_stages
from ordino.core.database import Database
from ordino.inventory.rules import Buffer, RuleKind, drop, upsert_buffers
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.network.facts import NetworkFacts, facts
from ordino.network.model import Member, Network
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_locations, upsert_networks
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseLine, PromiseRequest, promise
from ordino.orders.reevaluate import reevaluate
from ordino.orders.replay import replay
from ordino.sourcing.versions import packaged
from steps import assert_clean, in_one
from world import World, small_world, sure

MONTH = datetime(2026, 2, 2, 8, tzinfo=UTC)
MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAYS = 12
SECONDS = 4.0


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def _asked(world: World) -> PromiseRequest:
    lines = [PromiseLine(sku=world.sku, quantity=1)]
    return PromiseRequest(channel=world.channel, country="US", postal_code="43215", lines=lines)


async def _order_by(database: Database, world: World, at: datetime) -> set[datetime]:
    [told] = await database.read(lambda tx: promise(tx, [_asked(world)], at=at))
    assert isinstance(told, Promise)
    return {option.order_by_at for option in told.delivery}


async def test_every_promise_has_the_cut_off_of_its_own_day_whatever_threads_think_about_and_others_write(
    database: Database, hasty: None
) -> None:
    load_stages()
    world = await small_world(database, prefix="beside-", skus=2, locations=3, stock=100_000)
    times = [MONDAY + timedelta(days=n, minutes=n) for n in range(DAYS)]
    right = [await _order_by(database, world, at) for at in times]
    assert all(len(cut_offs) == 1 and timedelta(0) < min(cut_offs) - at < timedelta(days=4) for cut_offs, at in
               zip(right, times, strict=True))  # fmt: skip
    for day in range(20):  # what is replayed is of another month
        at = MONTH + timedelta(days=day)
        old = [world.order(f"old-{day}-{n}", dict.fromkeys(world.skus, 1)) for n in range(15)]
        assert all(isinstance(o, Placed) for o in await in_one(database, place, old, at))
    [first] = await database.read(lambda tx: read_locations(tx, [world.location]))
    end = asyncio.get_running_loop().time() + SECONDS
    done: dict[str, int] = {}

    async def again(kind: str, act: Any) -> None:
        for n in count():
            if asyncio.get_running_loop().time() >= end and done.get(kind, 0):
                return
            await act(n)
            done[kind] = n + 1

    async def ask(n: int) -> None:
        for at, cut_offs in zip(times, right, strict=True):
            assert await _order_by(database, world, at) == cut_offs

    async def buy(n: int) -> None:
        orders = [world.order(f"new-{n}-{k}", 1) for k in range(4)]
        assert all(isinstance(o, Placed) for o in await in_one(database, place, orders, times[n % DAYS]))

    async def repeat_the_past(n: int) -> None:
        report = await replay(database, packaged(), MONTH, MONTH + timedelta(days=25), channel=world.channel)
        assert report.orders == 20 * 15

    async def think_again(n: int) -> None:
        await reevaluate(database, at=times[n % DAYS] + timedelta(minutes=5), most=100, seconds=0.1)

    async def write(n: int) -> None:
        """A new place that joins the network at once, a rule and a closure that come and go."""
        fresh = structs.replace(first, code=f"{world.seller}-new-{n}", handling_cost_minor=100 + n % 7)
        sure(await in_one(database, upsert_locations, [fresh], MONDAY))
        members = [Member(location=code, buffer=n % 3) for code in (*world.locations, fresh.code)]
        whole = Network(code=world.network, name="N", members=members, channels=list(world.channels.values()))
        sure(await in_one(database, upsert_networks, [whole], MONDAY))
        sure(await in_one(database, upsert_buffers, [Buffer(code="beside", sku=world.sku, units=1 + n % 5)], MONDAY))
        closed = Closure(code="beside", location=fresh.code, reason="storm")
        sure(await in_one(database, upsert_closures, [closed], MONDAY))
        await database.transact(lambda tx: reopen(tx, "beside"))
        await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, "beside"))

    acts = {"ask": ask, "buy": buy, "replay": repeat_the_past, "think": think_again, "write": write}
    apart, owned = NetworkFacts.apart, []

    def noted(self: NetworkFacts) -> NetworkFacts:
        owned.append(apart(self))
        return owned[-1]

    with patch.object(NetworkFacts, "apart", noted):
        async with asyncio.TaskGroup() as group:
            for kind, act in acts.items():
                group.create_task(again(kind, act))
    assert set(done) == set(acts)
    shared = await database.read(facts)
    assert owned  # each thread had facts of its own, whatever was written
    assert len({id(one.calendar.left) for one in (*owned, shared)}) == len(owned) + 1
    await assert_clean(database)
