"""Shadows judge after placement, on what placement saw, and come to what they would have decided in its place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import structs

from ordino.catalog.model import Component, Kit
from ordino.core.database import Database, Tx
from ordino.core.reactions import Registry, Worker
from ordino.core.reactions import registry as every
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.inventory.rules import Allocation, Buffer, RuleKind, drop, upsert_allocations, upsert_buffers
from ordino.network.closures import Closure, upsert_closures
from ordino.network.days import CapacityDay, upsert_capacity_days
from ordino.network.facts import NetworkFacts
from ordino.orders import place as placement
from ordino.orders import shadows
from ordino.orders.kits import upsert_kits
from ordino.orders.model import NewOrder, Placed
from ordino.orders.place import place
from ordino.orders.shadows import Kept, Seen, judge_shadows, keep_for_shadows, shadow_report
from ordino.sourcing import versions
from ordino.sourcing.compare import outcome
from ordino.sourcing.decide import decide
from ordino.sourcing.model import Decision, Outlook, Request
from ordino.sourcing.versions import Profiles
from steps import assert_clean, in_one
from world import PLACES, World, small_world

MONDAY = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
FAR = "name: far\nstrategies:\n  - name: far\n    fences: {{locations: [{location}]}}\n"
AHEAD = """
name: ahead
backlog_days: 2
strategies:
  - name: known
    when: customer.id == "c-1" && destination.city == "Town"
    cost: {carrier: false, handling: true}
  - name: ahead
    cost: {stock_out_minor: 300, last_units: 150, capacity_minor: 200}
"""
Row = tuple[UUID, int, int, Any, Any, datetime]


@pytest.fixture
async def on(database: Database) -> AsyncIterator[Any]:
    """Switches shadows on by their documents; all are off in the end."""
    started: list[int] = []

    async def start(*documents: str) -> list[int]:
        for document in documents:
            version = await database.transact(lambda tx, d=document: versions.draft(tx, d, at=MONDAY))  # type: ignore[misc]
            await database.transact(lambda tx, v=version: versions.shadow(tx, v, on=True))  # type: ignore[misc]
            started.append(version)
        return started

    yield start
    for version in started:
        await database.transact(lambda tx, v=version: versions.shadow(tx, v, on=False))  # type: ignore[misc]
    await judged(database)


class AsBefore:
    """What the shadows would have decided within placement, on the very things that it saw."""

    def __init__(self) -> None:
        self.tried: list[list[Row]] = []

    async def __call__(
        self,
        tx: Tx,
        policy: Profiles,
        requests: Sequence[Request],
        decisions: Sequence[Decision],
        network: NetworkFacts,
        seen: Seen,
        at: datetime,
    ) -> None:
        rows: list[Row] = []
        for profile in policy.shadows:
            would = decide(requests, seen.stock, network, profile, seen.used, seen.rules, seen.outlook, tell=False)
            for n, decision in enumerate(decisions):
                if decision.refused:
                    continue
                live, other = (outcome(one, requests[n], network) for one in (decision, would[n]))
                wanted = sum(need.quantity for need in requests[n].needs)
                rows.append((requests[n].request_id, profile.version, wanted, _plain(live), _plain(other), at))
        self.tried.append(rows)
        await keep_for_shadows(tx, policy, requests, decisions, network, seen, at)


def _plain(one: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(one))


def judging() -> Registry:
    """A registry of the reaction alone."""
    registry = Registry()
    registry.reaction(shadows.KIND)(judge_shadows)
    return registry


async def judged(database: Database) -> None:
    await Worker(database, registry=judging()).run_until_idle()


async def rows_of(database: Database) -> list[Row]:
    found = await database.pool.fetch(
        "SELECT order_id, version, wanted, live::text AS live, shadow::text AS shadow, at FROM sourcing.shadows"
    )
    return sorted(
        (row["order_id"], row["version"], row["wanted"], msgspec.json.decode(row["live"]),
         msgspec.json.decode(row["shadow"]), row["at"])
        for row in found
    )  # fmt: skip


async def waiting(database: Database) -> tuple[int, int]:
    """How many sets are kept, and how many reactions there are for them."""
    return (
        await database.pool.fetchval("SELECT count(*) FROM sourcing.unjudged"),
        await database.pool.fetchval("SELECT count(*) FROM core.reactions WHERE kind = $1", shadows.KIND),
    )


async def lively(database: Database, prefix: str) -> World:
    """A world in which everything plays a part that a decision can rest on."""
    lie = {(f"{prefix}sku-{n}", f"{prefix}loc-{m}"): 12 for n in range(1, 5) for m in range(1, 7)}
    world = await small_world(database, prefix=prefix, locations=6, skus=5, stock=lie, daily_capacity=30, buffer=1)
    parts = [Component(sku=world.skus[n], quantity=n + 1) for n in range(2)]
    await in_one(database, upsert_kits, [Kit(sku=world.skus[4], components=parts)], MONDAY)
    rules = [
        Buffer(code=f"{prefix}b", sku=world.skus[1], percent=20),
        Buffer(code=f"{prefix}n", network=world.network, units=2),
    ]
    await in_one(database, upsert_buffers, rules, MONDAY)
    kept_units = Allocation(code=f"{prefix}a", sku=world.skus[2], units=5, channel=world.channels["backorder"])
    await in_one(database, upsert_allocations, [kept_units], MONDAY)
    shut = Closure(code=f"{prefix}c", location=world.locations[1], channel=world.channels["drop"], reason="storm")
    await in_one(database, upsert_closures, [shut], MONDAY - timedelta(hours=1))
    full = CapacityDay(location=world.locations[0], ship_on=date(2026, 3, 2), orders=4, units=9)
    await in_one(database, upsert_capacity_days, [full], MONDAY)
    await database.pool.executemany(
        "INSERT INTO sourcing.outlook (sku_id, location_id, weekly_units, price_minor, at) VALUES ($1, $2, $3, $4, $5)",
        [
            (sku_id, location_id, (sku_id + location_id) % 5 / 2, (sku_id * location_id) % 400, MONDAY)
            for sku_id in world.sku_ids.values()
            for location_id in world.location_ids.values()
        ],
    )
    return world


def sets_of(world: World, dice: random.Random, hold_id: UUID) -> list[list[NewOrder]]:
    """Orders of all channels, kits and large ones, some of which are refused."""

    def one(n: int, m: int) -> NewOrder:
        return world.order(
            f"{world.seller}-{n}-{m}",
            {sku: dice.choice((1, 1, 2, 3, 40)) for sku in dice.sample(world.skus, dice.randint(1, 2))},
            channel=dice.choice(list(world.channels.values())),
            postal_code=dice.choice(PLACES)[0],
            customer=dice.choice((None, "c-1", "c-2")),
            promised_at=dice.choice((None, MONDAY + timedelta(days=3))),
        )

    held = world.order(f"{world.seller}-held", {world.skus[3]: 40}, hold_id=hold_id)
    return [[held], *([one(n, m) for m in range(dice.randint(1, 9))] for n in range(12))]


async def played(
    database: Database, on: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Row], list[Row], list[Any]]:
    """What shadows made of the orders of a lively world, what they would have made of them at placement, and the outcomes."""
    world = await lively(database, prefix)
    await on(FAR.format(location=world.locations[5]), AHEAD)
    [held] = await in_one(
        database, hold, [NewHold(channel=world.channel, lines=[HoldLine(sku=world.skus[3], quantity=40)])], MONDAY
    )
    assert isinstance(held, Held)
    as_before = AsBefore()
    monkeypatch.setattr(placement, "keep_for_shadows", as_before)
    before, right, outcomes = await rows_of(database), list[Row](), list[Any]()
    for n, orders in enumerate(sets_of(world, random.Random(5), held.hold_id)):
        as_before.tried.clear()
        outcomes += await in_one(database, place, orders, MONDAY + timedelta(minutes=n))
        if as_before.tried:
            right += as_before.tried[-1]  # a try that was overtaken left nothing
        if n == 6:  # units for whoever waits: others leave them alone
            arrived = Receipt(sku=world.skus[0], location=world.locations[2], quantity=9, reason="more")
            await in_one(database, receive, [arrived], MONDAY + timedelta(minutes=n))
    assert await rows_of(database) == before, "placement itself decides for no shadow"
    await judged(database)
    for code, kind in (("b", RuleKind.BUFFER), ("n", RuleKind.BUFFER), ("a", RuleKind.ALLOCATION)):
        await database.transact(lambda tx, c=code, k=kind: drop(tx, k, f"{prefix}{c}"))  # type: ignore[misc]
    assert await waiting(database) == (0, 0)
    return [row for row in await rows_of(database) if row not in before], sorted(right), outcomes


@pytest.mark.parametrize("packed", [False, True])
async def test_a_shadow_comes_to_what_it_would_have_decided_at_placement(
    database: Database, on: Any, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old way is the oracle: deciding at once, on what placement sees."""
    monkeypatch.setattr(shadows, "LARGE_BYTES", 0 if packed else 10**9)
    read, formats = shadows._read, set()

    def noted(row: Any) -> Kept:
        formats.add(row["format"])
        return read(row)

    monkeypatch.setattr(shadows, "_read", noted)
    found, right, outcomes = await played(database, on, f"oa{packed:d}-", monkeypatch)
    assert found == right
    assert formats == {shadows.PACKED if packed else shadows.FORMAT}
    assert {type(one).__name__ for one in outcomes} == {"Placed", "OrderRefused"}
    assert len({tuple(map(tuple, row[4]["plan"])) for row in found}) > 5
    assert any(row[3] != row[4] for row in found)


@pytest.mark.parametrize(
    ("part", "nothing"),
    [("stock", {}), ("used", []), ("rules", None), ("outlook", Outlook()), ("closed", None), ("held", {})],
)
async def test_whatever_is_not_kept_would_be_missed(
    database: Database, on: Any, part: str, nothing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = shadows._read

    def forgetful(row: Any) -> Kept:
        kept = read(row)
        if part == "closed":
            return structs.replace(kept, closed={channel_id: [] for channel_id in kept.closed})
        if part == "held":
            return structs.replace(kept, requests=[structs.replace(one, held=nothing) for one in kept.requests])
        return structs.replace(kept, **{part: nothing})

    monkeypatch.setattr(shadows, "_read", forgetful)
    found, right, _ = await played(database, on, f"ob-{part}-", monkeypatch)
    assert [row[:3] for row in found] == [row[:3] for row in right]
    assert found != right


async def bought(database: Database, world: World, name: str, count: int = 1) -> list[UUID]:
    orders = [world.order(f"{name}-{n}", 1) for n in range(count)]
    outcomes = await in_one(database, place, orders, MONDAY)
    assert all(isinstance(one, Placed) for one in outcomes), outcomes
    return [one.order_id for one in outcomes]


async def test_the_report_counts_the_orders_that_were_placed_while_the_shadow_was_on(
    database: Database, on: Any
) -> None:
    world = await small_world(database, prefix="sd-", locations=5, skus=1, stock=10)
    await bought(database, world, "before")
    [version] = await on(FAR.format(location=world.locations[4]))
    for n in range(3):
        await bought(database, world, f"within-{n}")
    [refused] = await in_one(database, place, [world.order("too-many", 1000)], MONDAY)
    assert not isinstance(refused, Placed)
    await judged(database)
    await database.transact(lambda tx: versions.shadow(tx, version, on=False))
    await bought(database, world, "after")
    await judged(database)
    report = await database.read(lambda tx: shadow_report(tx, version))
    assert (report.profile, report.orders, report.differ) == ("far", 3, 3)
    assert report.before.load == {world.locations[0]: 3}
    assert report.after.load == {world.locations[4]: 3}
    await assert_clean(database)


async def test_nothing_is_kept_while_no_shadow_is_on(database: Database) -> None:
    world = await small_world(database, prefix="se-", locations=2, skus=1, stock=10)
    await bought(database, world, "one")
    assert await waiting(database) == (0, 0)


async def test_what_was_kept_goes_unjudged_if_the_shadow_has_ended_meanwhile(database: Database, on: Any) -> None:
    world = await small_world(database, prefix="sf-", locations=2, skus=1, stock=10)
    ended, goes_on = await on(FAR.format(location=world.locations[1]), AHEAD)
    [order_id] = await bought(database, world, "one")
    await database.transact(lambda tx: versions.shadow(tx, ended, on=False))
    await judged(database)
    assert [row[:2] for row in await rows_of(database) if row[0] == order_id] == [(order_id, goes_on)]
    [alone] = await bought(database, world, "two")
    await database.transact(lambda tx: versions.shadow(tx, goes_on, on=False))
    await judged(database)
    assert alone not in {row[0] for row in await rows_of(database)}
    assert await waiting(database) == (0, 0)


async def test_a_shadow_that_begins_later_does_not_judge_what_was_placed_before(database: Database, on: Any) -> None:
    world = await small_world(database, prefix="sg-", locations=2, skus=1, stock=10)
    [first] = await on(FAR.format(location=world.locations[1]))
    [order_id] = await bought(database, world, "one")
    await on(AHEAD)
    await judged(database)
    assert [row[1] for row in await rows_of(database) if row[0] == order_id] == [first]


async def test_a_placement_that_is_rolled_back_leaves_nothing_to_judge(database: Database, on: Any) -> None:
    world = await small_world(database, prefix="sh-", locations=2, skus=1, stock=10)
    await on(AHEAD)

    async def fails(tx: Tx) -> None:
        await place(tx, [world.order("one", 1)], at=MONDAY)
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fails)
    assert await waiting(database) == (0, 0)


async def test_what_fails_is_judged_again_and_once(
    database: Database, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends between deciding and its commit loses nothing, and nothing is written twice."""
    world = await small_world(database, prefix="si-", locations=2, skus=1, stock=10)
    await on(FAR.format(location=world.locations[1]))
    order_ids = await bought(database, world, "a", 2) + await bought(database, world, "b")
    before, judge = len(await rows_of(database)), shadows._judged

    async def ended(tx: Tx, **columns: Any) -> None:
        raise ConnectionResetError

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return ended if name == "record_shadows" else getattr(shadows_sql, name)

    shadows_sql = shadows.sql
    with monkeypatch.context() as patching:
        patching.setattr(shadows, "sql", Broken())
        with pytest.raises(Exception, match="Nothing was changed"):
            await Worker(database, registry=judging()).run_due()
    assert judge is shadows._judged
    assert (await waiting(database), len(await rows_of(database))) == ((2, 2), before)
    await assert_clean(database)
    await judged(database)
    found = [row[0] for row in await rows_of(database) if row[0] in order_ids]
    assert (sorted(found), await waiting(database)) == (sorted(order_ids), (0, 0))


async def test_workers_side_by_side_judge_everything_once_while_orders_are_placed(database: Database, on: Any) -> None:
    world = await small_world(database, prefix="sj-", locations=3, skus=1, stock=500)
    [version] = await on(FAR.format(location=world.locations[2]))
    done, order_ids = asyncio.Event(), []

    async def buy() -> None:
        for n in range(25):
            order_ids.extend(await bought(database, world, f"race-{n}", 3))
        done.set()

    async def work() -> None:
        while not done.is_set():
            await Worker(database, registry=judging(), batch_size=3).run_due()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(buy())
        for _ in range(3):
            tasks.create_task(work())
    await judged(database)
    found = sorted(row[0] for row in await rows_of(database) if row[1] == version)
    assert (found, await waiting(database)) == (sorted(order_ids), (0, 0))


async def test_many_orders_are_judged_in_several_transactions(
    database: Database, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "AT_ONCE", 4)
    monkeypatch.setattr(shadows, "FEW", 2)  # and in a thread
    world = await small_world(database, prefix="sk-", locations=2, skus=1, stock=50)
    [version] = await on(FAR.format(location=world.locations[1]))
    order_ids = [id_ for n in range(5) for id_ in await bought(database, world, f"many-{n}", 3)]
    await Worker(database, registry=judging()).run_due()
    assert await waiting(database) == (3, 3)
    await assert_clean(database)
    await judged(database)
    found = sorted(row[0] for row in await rows_of(database) if row[1] == version)
    assert (found, await waiting(database)) == (sorted(order_ids), (0, 0))


async def test_what_another_version_has_kept_waits_and_says_so(database: Database, on: Any) -> None:
    world = await small_world(database, prefix="sl-", locations=2, skus=1, stock=10)
    await on(FAR.format(location=world.locations[1]))
    [order_id] = await bought(database, world, "one")
    await database.pool.execute("UPDATE sourcing.unjudged SET format = 99")
    worker = Worker(database, registry=judging(), max_attempts=1)
    await worker.run_due()
    said = await database.pool.fetchval("SELECT last_error FROM core.reactions WHERE kind = $1", shadows.KIND)
    assert "format 99" in said
    assert "shadow VERSION --off" in said
    assert await waiting(database) == (1, 1)
    await database.pool.execute("UPDATE sourcing.unjudged SET format = $1", shadows.FORMAT)
    await database.pool.execute(
        "UPDATE core.reactions SET dead_at = NULL, attempts = 0, wait_until = NULL, due_at = now() - interval '1 day'"
    )
    await judged(database)
    assert order_id in {row[0] for row in await rows_of(database)}


def test_the_reaction_is_one_that_workers_take() -> None:
    assert every.reactions[shadows.KIND] is judge_shadows
