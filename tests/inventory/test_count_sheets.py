"""Cycle counts: due by class, counted blind, again where much differs, approved where very much does."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.core.database import Database
from ordino.core.errors import Conflict, Invalid, NotFound
from ordino.core.upserts import Created, NotUpserted, Unchanged
from ordino.inventory import count_sheets
from ordino.inventory.adjust import Adjustment, Receipt, adjust, receive
from ordino.inventory.count_sheets import (
    EXITS,
    CountedLine,
    CountPlan,
    NewSheet,
    Sheet,
    State,
    Told,
    upsert_plans,
)
from ordino.inventory.history import LAST
from ordino.orders.model import Placed
from ordino.orders.place import place
from steps import assert_clean, in_one, shipped, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=5, locations=1, stock=100)


async def planned(database: Database, world: World, **more: Any) -> str:
    plan = CountPlan(code=f"plan {world.location}", location=world.location, **more)
    sure((await in_one(database, upsert_plans, [plan], AT))[0], Created)
    return plan.code


async def sheet(database: Database, plan: str, skus: list[str] | None = None, at: datetime = AT) -> Sheet:
    return await database.transact(lambda tx: count_sheets.make_sheet(tx, NewSheet(plan=plan, skus=skus), at=at))


async def enter(database: Database, sheet_id: UUID, *counts: tuple[str, int], at: datetime = AT) -> list[str | None]:
    lines = [CountedLine(sku=sku, counted=units) for sku, units in counts]
    told = await database.transact(lambda tx: count_sheets.enter(tx, sheet_id, lines, at=at))
    return [one.state if one.refused is None else one.refused for one in told]


async def on_hand(database: Database, world: World, sku: int) -> int:
    return (await stock(database, world.sku_ids[world.skus[sku]], world.location_ids[world.location]))[0]


async def test_a_sheet_is_counted_blind_and_differences_are_looked_at(database: Database, world: World) -> None:
    plan = await planned(database, world, accept_units=1, accept_percent=2, approve_above_units=10)
    made = await sheet(database, plan)
    assert [(line.sku, line.state, line.expected) for line in made.lines] == [(sku, "open", None) for sku in world.skus]
    with pytest.raises(Conflict):
        await sheet(database, plan)  # everything is on a sheet
    one, two, three, four, five = world.skus
    first = [(one, 100), (two, 98), (three, 95), (four, 50), (five, 90)]
    assert await enter(database, made.sheet_id, *first) == ["accepted", "accepted", "recount", "recount", "recount"]
    assert await on_hand(database, world, 1) == 98
    blind = await database.read(lambda tx: count_sheets.sheet_of(tx, made.sheet_id))
    assert [(line.counted, line.expected) for line in blind.lines[:3]] == [(100, 100), (98, 100), (None, None)]
    again = [(three, 95), (four, 50), (five, 91)]
    assert await enter(database, made.sheet_id, *again) == ["accepted", "waiting", "recount"]
    assert await enter(database, made.sheet_id, (five, 91)) == ["accepted"]
    assert (await database.read(lambda tx: count_sheets.sheet_of(tx, made.sheet_id))).status == "approval"
    assert await on_hand(database, world, 3) == 100
    told = await database.transact(lambda tx: count_sheets.decide(tx, made.sheet_id, [four, one], approve=True, at=AT))
    assert [one.refused is None for one in told] == [True, False]
    done = await database.read(lambda tx: count_sheets.sheet_of(tx, made.sheet_id))
    assert (done.status, [line.variance for line in done.lines]) == ("done", [0, -2, -5, -50, -9])
    assert [await on_hand(database, world, n) for n in range(5)] == [100, 98, 95, 50, 91]
    document = "SELECT DISTINCT document FROM inventory.moves WHERE kind = 'counted' AND sku_id = $1"
    assert await database.pool.fetchval(document, world.sku_ids[four]) == str(made.sheet_id)
    [head] = await database.read(lambda tx: count_sheets.sheets_before(tx, LAST, 9, location=world.location))
    assert (head.accepted, head.status) == (5, "done")
    await assert_clean(database)


async def test_a_rejected_variance_is_counted_anew(database: Database, world: World) -> None:
    plan = await planned(database, world, approve_above_units=5)
    made = await sheet(database, plan, [world.sku])
    for _ in range(2):
        await enter(database, made.sheet_id, (world.sku, 20))
    [told] = await database.transact(lambda tx: count_sheets.decide(tx, made.sheet_id, None, approve=False, at=AT))
    assert told == Told(world.sku, State.OPEN)
    assert await enter(database, made.sheet_id, (world.sku, 100)) == ["accepted"]
    assert await on_hand(database, world, 0) == 100
    await assert_clean(database)


async def test_what_moves_while_people_count_is_no_variance(database: Database, world: World) -> None:
    plan = await planned(database, world)
    await database.pool.execute("UPDATE inventory.moves SET at = $1 WHERE sku_id = $2", AT, world.sku_ids[world.sku])
    made = await sheet(database, plan, [world.sku])
    counted_at, later = AT + timedelta(minutes=5), AT + timedelta(minutes=30)
    got = Receipt(sku=world.sku, location=world.location, quantity=7)
    await in_one(database, receive, [got], AT + timedelta(minutes=10))
    await shipped(database, world.order("two", 2), AT + timedelta(minutes=15))
    lines = [CountedLine(sku=world.sku, counted=100, counted_at=counted_at)]
    [told] = await database.transact(lambda tx: count_sheets.enter(tx, made.sheet_id, lines, at=later))
    assert told.state == State.ACCEPTED
    assert await on_hand(database, world, 0) == 105
    await assert_clean(database)


async def test_what_sells_most_is_due_most_often(database: Database, world: World) -> None:
    """Of 100 units, 80 were of the first SKU, 15 of the second, 5 of the third, none of the rest."""
    plan = await planned(database, world, a_days=10, b_days=20, c_days=30, lines=10)
    for sku, units in zip(world.skus, (80, 15, 5), strict=False):
        await shipped(database, world.order(f"ship {sku}", {sku: units}), AT - timedelta(days=1))
    made = await sheet(database, plan)
    assert [line.sku for line in made.lines] == world.skus  # never counted: A, B, C
    states = await enter(
        database, made.sheet_id, *((sku, 100 - n) for sku, n in zip(world.skus, (80, 15, 5, 0, 0), strict=True))
    )
    assert set(states) == {"accepted"}
    due = {}
    for days in (9, 10, 20, 30):
        at = AT + timedelta(days=days)
        try:
            due[days] = [world.skus.index(line.sku) for line in (await sheet(database, plan, at=at)).lines]
        except Conflict:
            due[days] = []
    assert due == {9: [], 10: [0], 20: [1], 30: [2, 3, 4]}


async def test_a_worker_makes_sheets_of_what_is_due(database: Database, world: World) -> None:
    await planned(database, world, lines=2)
    for _ in range(2):
        await database.transact(lambda tx: count_sheets.make_due_sheets(tx, AT, AT))
    [head] = await database.read(lambda tx: count_sheets.sheets_before(tx, LAST, 9, location=world.location))
    assert head.open == 2


async def test_bad_counts_are_refused_in_words(database: Database, world: World) -> None:
    plan = await planned(database, world)
    again = CountPlan(code=plan, location=world.location)
    lost = CountPlan(code="x", location="nowhere")
    outcomes = await in_one(database, upsert_plans, [again, lost], AT)
    assert [type(outcome) for outcome in outcomes] == [Unchanged, NotUpserted]
    with pytest.raises(NotFound):
        await sheet(database, "no such plan")
    with pytest.raises(Invalid):
        await sheet(database, plan, ["nothing"])
    with pytest.raises(NotFound):
        await enter(database, uuid4(), (world.sku, 1))
    made = await sheet(database, plan, [world.sku])
    lines = [
        CountedLine(sku="other", counted=1),
        CountedLine(sku=world.sku, counted=1, counted_at=AT + timedelta(hours=1)),
        CountedLine(sku=world.sku, counted=1, counted_at=datetime(2026, 3, 2)),
        CountedLine(sku=world.sku, counted=100),
        CountedLine(sku=world.sku, counted=100),
    ]
    told = await database.transact(lambda tx: count_sheets.enter(tx, made.sheet_id, lines, at=AT))
    assert [one.state for one in told] == [None, None, None, "accepted", None]
    [late] = await database.transact(lambda tx: count_sheets.enter(tx, made.sheet_id, lines[3:4], at=AT))
    assert late.refused is not None
    assert late.refused.endswith("was accepted; count it again on a new sheet.")


@pytest.mark.parametrize("was", list(State))
@pytest.mark.parametrize("becomes", list(State))
def test_lines_leave_their_states_by_exits(was: State, becomes: State) -> None:
    """Every way that the verbs take is an exit, and no line leaves when it is accepted."""
    taken = {
        (State.OPEN, State.RECOUNT), (State.OPEN, State.ACCEPTED), (State.RECOUNT, State.WAITING),
        (State.RECOUNT, State.ACCEPTED), (State.WAITING, State.ACCEPTED), (State.WAITING, State.OPEN), (State.RECOUNT, State.OPEN),
    }  # fmt: skip
    assert (becomes in EXITS[was]) == ((was, becomes) in taken)


@pytest.mark.parametrize("seed", range(2))
async def test_sheets_race_with_orders_and_losses(database_url: str, seed: int) -> None:
    """Counters who see what is there end with exactly that, whatever is placed, lost and found meanwhile."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"w{seed}-{uuid4().hex[:6]}-", skus=1, locations=1, stock=100)
        plan = await planned(database, world, accept_units=10**6)
        there = 100  # physically
        lock = asyncio.Lock()

        async def lose(_: int) -> None:
            """What nobody has told the ledger."""
            nonlocal there
            async with lock:
                there -= dice.randint(0, 1)

        async def find(number: int) -> None:
            nonlocal there
            async with lock:
                there += 2
                one = Adjustment(sku=world.sku, location=world.location, delta=2, reason=f"found {number}")
                await in_one(database, adjust, [one], database.clock.now())

        async def count_it(_: int) -> None:
            async with lock:
                made = await sheet(database, plan, [world.sku], at=database.clock.now())
                assert await enter(database, made.sheet_id, (world.sku, there), at=database.clock.now()) == ["accepted"]

        async def buy(number: int) -> None:
            sure((await in_one(database, place, [world.order(f"o{number}", 1)], database.clock.now()))[0], Placed)

        await asyncio.gather(*(f(n) for n in range(12) for f in (lose, find, count_it, buy)))
        await count_it(0)
        assert await on_hand(database, world, 0) == there
        await assert_clean(database)


async def test_a_count_that_is_sent_again_is_no_second_count(database: Database, world: World) -> None:
    made = await sheet(database, await planned(database, world), [world.sku])
    now = database.clock.now()
    first = CountedLine(sku=world.sku, counted=97, counted_at=now + timedelta(seconds=1))

    async def entered(line: CountedLine) -> Told:
        [told] = await database.transact(
            lambda tx: count_sheets.enter(tx, made.sheet_id, [line], at=now + timedelta(seconds=3))
        )
        return told

    for _ in range(3):
        assert await entered(first) == Told(world.sku, State.RECOUNT)
    assert await on_hand(database, world, 0) == 100
    second = CountedLine(sku=world.sku, counted=97, counted_at=now + timedelta(seconds=2))
    for _ in range(2):
        assert await entered(second) == Told(world.sku, State.ACCEPTED)
    assert await on_hand(database, world, 0) == 97
    await assert_clean(database)
