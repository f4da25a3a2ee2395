"""Who came first is served first: what becomes free goes to orders that wait, before anybody who comes later may have it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import upsert_kits, upsert_skus
from ordino.core.database import Database, Tx
from ordino.core.reactions import Registry, Worker
from ordino.inventory import shelf, waiting
from ordino.inventory.adjust import Receipt, receive
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.explain import LocationWhy, explain
from ordino.inventory.holds import Held, HoldLine, HoldRefused, NewHold, hold
from ordino.inventory.rules import (
    Allocation,
    Buffer,
    RuleKind,
    drop,
    upsert_allocations,
    upsert_buffers,
)
from ordino.inventory.totals import totals
from ordino.inventory.transfers import NewTransfer, TransferDone, TransferLine, TransferRefused, request
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.network.read import locations
from ordino.network.upsert import upsert_locations
from ordino.orders import reactions
from ordino.orders.allocate import allocate
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseLine, PromiseRequest, promise
from steps import assert_clean, in_one, line, placed, serve_who_waits, sure
from world import PLACES, World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def world(database: Database) -> World:
    await database.pool.execute("DELETE FROM inventory.rules")
    await database.pool.execute("DELETE FROM network.closures")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1")
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=0)


async def look(database: Database, world: World, channel: str | None = None, at: datetime = AT) -> Availability:
    """As it is read one by one, and it must be what the totals say."""
    ask = Ask(world.sku, channel, None if channel else world.network)
    [answer] = await database.read(lambda tx: available(tx, [ask], at=at))
    [total] = await database.read(lambda tx: totals(tx, [ask], at=at))
    found = sure(answer, Availability)
    assert sure(total, Availability).available == found.available
    return found


async def wait_for(database: Database, world: World, units: int, at: datetime = AT, **more: str) -> UUID:
    """An order that waits for all of it."""
    order = world.order(uuid4().hex, units, channel=world.channels["backorder"], **more)
    return await placed(database, order, at)


async def arrive(database: Database, world: World, units: int, location: int = 0, at: datetime = AT) -> None:
    receipt = Receipt(sku=world.sku, location=world.locations[location], quantity=units)
    await in_one(database, receive, [receipt], at)


async def waits(database: Database, order_id: UUID) -> int:
    return int((await line(database, order_id))["backordered"])


async def buy(database: Database, world: World, units: int, policy: str = "refuse", at: datetime = AT) -> Placed | None:
    """The order, if it was placed."""
    order = world.order(uuid4().hex, units, channel=world.channels[policy])
    [outcome] = await in_one(database, place, [order], at)
    if isinstance(outcome, OrderRefused):
        assert outcome.reason is Refusal.OUT_OF_STOCK, outcome
        return None
    return sure(outcome, Placed)


async def test_what_arrives_is_for_who_waits(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    await arrive(database, world, 3)
    for policy in ("refuse", "drop"):
        assert await buy(database, world, 3, policy) is None
    later = sure(await buy(database, world, 3, "backorder"), Placed)
    assert later.status == "backordered"
    await serve_who_waits(database, AT)
    assert (await waits(database, first), await waits(database, later.order_id)) == (2, 3)
    await arrive(database, world, 4, 1)
    await serve_who_waits(database, AT)
    assert (await waits(database, first), await waits(database, later.order_id)) == (0, 1)
    await assert_clean(database)


async def test_what_is_more_than_who_waits_wants_is_for_everybody(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    await arrive(database, world, 8)
    assert (await look(database, world)).available == 3
    assert await buy(database, world, 4) is None
    assert sure(await buy(database, world, 3), Placed).status == "allocated"
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 0
    await assert_clean(database)


async def test_availability_leaves_out_what_is_claimed_and_explain_names_it(database: Database, world: World) -> None:
    await wait_for(database, world, 5)
    await arrive(database, world, 3)
    found = await look(database, world)
    assert [(part.available, part.waiting) for part in found.locations] == [(0, 3)]
    told = await database.read(lambda tx: explain(tx, Ask(world.sku, world.channel, None), at=AT))
    [why] = [one for one in told.of[0].locations if one.on_hand]
    assert sure(why, LocationWhy).waiting == 3
    assert why.why == "3 on hand - 3 for orders that wait = 0 (never below 0)"
    asked = PromiseRequest(
        channel=world.channel, country="US", postal_code=PLACES[0][0], lines=[PromiseLine(sku=world.sku, quantity=3)]
    )
    [answer] = await database.read(lambda tx: promise(tx, [asked], at=AT))
    assert sure(answer, Promise).delivery == []


async def test_carts_do_not_hold_what_is_claimed(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    await arrive(database, world, 8)

    def cart(units: int) -> NewHold:
        return NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=units)])

    [greedy] = await in_one(database, hold, [cart(4)], AT)
    sure(greedy, HoldRefused)
    [modest] = await in_one(database, hold, [cart(3)], AT)
    sure(modest, Held)
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 0
    await assert_clean(database)


async def test_transfers_leave_what_is_claimed(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    await arrive(database, world, 8)

    def away(units: int) -> NewTransfer:
        lines = [TransferLine(sku=world.sku, quantity=units)]
        return NewTransfer(origin=world.location, destination=world.locations[1], lines=lines)

    [greedy, modest] = await in_one(database, request, [away(4), away(3)], AT)
    assert sure(greedy, TransferRefused).reason == "too_few"
    sure(modest, TransferDone)
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 0
    await assert_clean(database)


async def test_what_an_expired_cart_held_is_for_who_waits(database: Database, world: World) -> None:
    await arrive(database, world, 3)
    [held] = await in_one(
        database, hold, [NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=3)], minutes=10)], AT
    )
    sure(held, Held)
    first = await wait_for(database, world, 3)
    await serve_who_waits(database, AT)
    after = AT + 11 * MINUTE
    assert (await look(database, world, at=after)).available == 0
    assert await buy(database, world, 3, at=after) is None
    await serve_who_waits(database, after)
    assert await waits(database, first) == 0
    await assert_clean(database)


End = Callable[[Database, World], Awaitable[datetime]]


async def _buffer_ends(database: Database, world: World) -> datetime:
    await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, f"{world.network}-all"))
    return AT


async def _buffer_shrinks(database: Database, world: World) -> datetime:
    await in_one(database, upsert_buffers, [Buffer(code=f"{world.network}-all", network=world.network, units=0)], AT)
    return AT


async def _share_ends(database: Database, world: World) -> datetime:
    await database.transact(lambda tx: drop(tx, RuleKind.ALLOCATION, f"{world.network}-share"))
    return AT


async def _closure_is_taken_back(database: Database, world: World) -> datetime:
    await database.transact(lambda tx: reopen(tx, f"{world.network}-closed"))
    return AT


async def _closure_runs_out(database: Database, world: World) -> datetime:
    return AT + timedelta(hours=2)


async def _location_is_switched_on(database: Database, world: World) -> datetime:
    await _switch(database, world, active=True)
    return AT


async def _switch(database: Database, world: World, *, active: bool) -> None:
    async def run(tx: Tx) -> None:
        [location] = await locations(tx, [world.location])
        await upsert_locations(tx, [replace(location, active=active)], at=AT)

    await database.transact(run)


@pytest.mark.parametrize(
    "end",
    [_buffer_ends, _buffer_shrinks, _share_ends, _closure_is_taken_back, _closure_runs_out, _location_is_switched_on],
)
async def test_what_a_rule_withheld_is_for_who_waits_when_it_ends(database: Database, world: World, end: End) -> None:
    if "buffer" in end.__name__:
        rule = Buffer(code=f"{world.network}-all", network=world.network, units=100)
        await in_one(database, upsert_buffers, [rule], AT)
    elif "share" in end.__name__:
        share = Allocation(
            code=f"{world.network}-share", channel=world.channels["drop"], network=world.network, units=100
        )
        await in_one(database, upsert_allocations, [share], AT)
    elif "closure" in end.__name__:
        closed = Closure(
            code=f"{world.network}-closed", location=world.location, reason="x", ends_at=AT + timedelta(hours=1)
        )
        await in_one(database, upsert_closures, [closed], AT)
    else:
        await _switch(database, world, active=False)
    await arrive(database, world, 3)
    first = await wait_for(database, world, 5)
    await serve_who_waits(database, AT)
    assert await waits(database, first) == 5
    at = await end(database, world)
    assert (await look(database, world, world.channel, at)).available == 0
    assert await buy(database, world, 3, at=at) is None
    await _worker_comes_by(database, at)
    assert await waits(database, first) == 2
    await assert_clean(database)


async def _worker_comes_by(database: Database, at: datetime) -> None:
    """As every second."""
    await database.transact(lambda tx: reactions.serve_waiting(tx, at - MINUTE, at))
    registry = Registry()
    registry.reaction("fill_backorders")(reactions.fill_backorders)
    await Worker(database, registry=registry).run_until_idle()


async def test_what_who_waits_cannot_use_is_for_everybody_once_they_were_asked(
    database: Database, world: World
) -> None:
    first = await wait_for(database, world, 5)
    await database.pool.execute(
        "UPDATE orders.lines SET excluded_location_ids = $2 WHERE order_id = $1",
        first,
        [world.location_ids[world.location]],
    )
    await arrive(database, world, 3)
    assert await buy(database, world, 3) is None  # nobody has asked yet
    await _worker_comes_by(database, AT)
    assert await waits(database, first) == 5
    assert (await look(database, world)).available == 3
    assert sure(await buy(database, world, 3), Placed).status == "allocated"
    await assert_clean(database)


async def test_who_begins_to_wait_does_not_claim_what_they_could_not_use(database: Database, world: World) -> None:
    """Orders that go on coming, and cannot use what is there, do not keep it from others."""
    await arrive(database, world, 3)
    await wait_for(database, world, 1)
    await wait_for(database, world, 9)  # 1 + 2 of it, 7 wait
    await arrive(database, world, 3)
    await database.pool.execute(
        "UPDATE orders.lines SET excluded_location_ids = $1 WHERE backordered > 0",
        list(world.location_ids.values()),
    )
    await serve_who_waits(database, AT)
    assert (await look(database, world)).available == 3
    order = world.order(uuid4().hex, 9, channel=world.channels["backorder"])
    [outcome] = await in_one(database, place, [order], AT)
    assert sure(outcome, Placed).status == "partially_backordered"
    after = await database.pool.fetchrow(
        "SELECT freed, offered FROM inventory.waiting WHERE sku_id = $1", world.sku_ids[world.sku]
    )
    assert after["freed"] == after["offered"]  # nothing became free in between: nobody is to be asked again


async def test_a_newer_order_that_is_sourced_does_not_overtake(database: Database, world: World) -> None:
    first = await wait_for(database, world, 5)
    second = await wait_for(database, world, 3, AT + MINUTE)
    await arrive(database, world, 3)
    assert await database.transact(lambda tx: allocate(tx, [second], at=AT)) == {}
    await serve_who_waits(database, AT)
    assert (await waits(database, first), await waits(database, second)) == (2, 3)


async def test_who_waits_for_a_kit_has_first_claim_to_its_parts(database: Database, world: World) -> None:
    kit = Sku(code=f"{world.sku}-kit", name="K", weight_grams=1, backorderable=True)
    await in_one(database, upsert_skus, [kit], AT)
    parts = [Component(sku=world.skus[0], quantity=2), Component(sku=world.skus[1])]
    await in_one(database, upsert_kits, [Kit(sku=kit.code, components=parts)], AT)
    await arrive(database, world, 4)
    order_id = await placed(database, world.order("kit", {kit.code: 2}, channel=world.channels["backorder"]), AT)
    await serve_who_waits(database, AT)
    assert (await look(database, world)).available == 4  # without the other part, it is of no use to the kit
    other = Receipt(sku=world.skus[1], location=world.location, quantity=2)
    await in_one(database, receive, [other], AT)
    assert (await look(database, world)).available == 0
    assert await buy(database, world, 1) is None
    await serve_who_waits(database, AT)
    assert await waits(database, order_id) == 0
    await assert_clean(database)


async def test_units_that_wait_are_counted_through_every_exit(database: Database, world: World) -> None:
    sku_id = world.sku_ids[world.sku]

    async def counted() -> int:
        return int(
            await database.pool.fetchval("SELECT sum(quantity) FROM inventory.waiting WHERE sku_id = $1", sku_id)
        )

    first, second = await wait_for(database, world, 5), await wait_for(database, world, 2)
    assert await counted() == 7
    await in_one(database, cancel, [Cancellation(order_id=second, all=True)], AT)
    assert await counted() == 5
    await arrive(database, world, 3)
    await serve_who_waits(database, AT)
    assert await counted() == 2
    await in_one(database, cancel, [Cancellation(order_id=first, all=True)], AT)
    assert await counted() == 0
    await assert_clean(database)


async def _race(database: Database, seed: int) -> tuple[int, int, World]:
    """Receipts, a buffer that ends, newcomers of every channel and several workers at once. Returns what those who were there first
    still wait for, and what newcomers have got.
    """
    world = await small_world(database, prefix=f"race-{seed}-{uuid4().hex[:6]}-", skus=1, locations=2, stock=0)
    dice = random.Random(seed)
    withheld = Buffer(code=f"{world.network}-all", network=world.network, units=2)
    await in_one(database, upsert_buffers, [withheld], AT)
    firsts = [await wait_for(database, world, dice.randint(1, 6), AT + n * timedelta(seconds=1)) for n in range(8)]
    got: list[UUID] = []

    async def come(policy: str) -> None:
        await asyncio.sleep(dice.random() / 10)
        if order := await buy(database, world, dice.randint(1, 3), policy, AT + MINUTE):
            got.append(order.order_id)

    async def bring() -> None:
        await asyncio.sleep(dice.random() / 10)
        await arrive(database, world, dice.randint(1, 3), dice.randint(0, 1), AT + MINUTE)

    async def end() -> None:
        await asyncio.sleep(dice.random() / 10)
        await database.transact(lambda tx: drop(tx, RuleKind.BUFFER, withheld.code))

    async def serve() -> None:
        await asyncio.sleep(dice.random() / 10)
        await serve_who_waits(database, AT + MINUTE)

    lots = [*(come(policy) for policy in ("refuse", "backorder", "drop") for _ in range(8))]
    lots += [bring() for _ in range(12)] + [end()] + [serve() for _ in range(6)]
    dice.shuffle(lots)
    await asyncio.gather(*lots)
    await serve_who_waits(database, AT + MINUTE)
    left = [await waits(database, order_id) for order_id in firsts]
    assert left == sorted(left, key=bool), "first placed, first served"
    taken = 0
    for order_id in got:
        row = await line(database, order_id)
        taken += row["allocated"]
    return sum(left), taken, world


@pytest.mark.parametrize("seed", range(6))
async def test_wai_2_nobody_overtakes_and_nothing_lies_idle(database_url: str, seed: int) -> None:
    async with await Database.open(database_url, pool_size=12) as database:
        left, taken, world = await _race(database, seed)
        if left:
            assert taken == 0, "a newcomer has what somebody before them waits for"
        found = await look(database, world, at=AT + MINUTE)
        if await database.pool.fetchval(
            "SELECT sum(quantity) FROM inventory.waiting WHERE sku_id = $1", world.sku_ids[world.sku]
        ):
            assert found.available == 0, "units lie idle while somebody waits"
        elif found.available:
            assert await buy(database, world, found.available, at=AT + MINUTE), "what is available can be had"
        await assert_clean(database)


async def test_without_claims_newcomers_overtake(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the same race, in which nobody leaves anything to who waits."""

    async def nothing(*args: object, **named: object) -> dict[waiting.Waiter, int]:
        return {}

    monkeypatch.setattr(shelf, "claimed", nothing)
    async with await Database.open(database_url, pool_size=12) as database:
        overtaken = False
        for seed in range(10):
            left, taken, _ = await _race(database, seed)
            overtaken |= bool(left and taken)
    assert overtaken
