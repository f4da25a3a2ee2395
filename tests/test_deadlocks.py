"""Everything against everything, on several connections at once: nobody ever waits in a circle.

``tests/ladder.py`` watches the order of locks in every test; here it is raced. The negative control takes two kinds of locks the
other way round in one verb, and must see both: the watcher's sentence and the database's deadlocks.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
from msgspec import structs

from ladder import ALONE, BEGINS, MAKES, ONE, TAKES, TURNS, UNDER
from ordino.catalog.model import Component, Kit, Sku
from ordino.catalog.upsert import sku_ids, upsert_kits, upsert_skus
from ordino.cli.running import load_stages
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Refused, Unavailable
from ordino.core.events import Plans
from ordino.core.reactions import Worker
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.inventory import transfers
from ordino.inventory.adjust import Count, Receipt, count, receive
from ordino.inventory.bins import Bin, BinMove, move_bins, upsert_bins
from ordino.inventory.count_sheets import CountedLine, CountPlan, NewSheet, decide, enter, make_sheet, upsert_plans
from ordino.inventory.holds import HoldChange, HoldLine, NewHold, change, hold
from ordino.inventory.holds import release as let_go
from ordino.inventory.rules import Allocation, Buffer, RuleKind, drop, upsert_allocations, upsert_buffers
from ordino.inventory.unavailable import SetAside, restore, scrap, set_aside
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_locations
from ordino.orders import allocate as allocating
from ordino.orders import capacity
from ordino.orders.allocate import allocate
from ordino.orders.exceptions import Resolve, exceptions, resolve
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.reevaluate import reevaluate
from ordino.orders.shortfalls import source_anew
from ordino.warehouse.model import Rejection
from ordino.warehouse.reject import reject
from ordino.warehouse.shortfall import report_short
from steps import assert_clean, in_one
from test_properties import Shop, _flow
from world import World, small_world, sure

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
LANES, ACTS = 6, 40
CODES = ("a", "b", "c")


class _Deadlocks:
    """How often the database broke a circle, as transactions saw it."""

    def __init__(self) -> None:
        self.seen = 0


@contextmanager
def counted() -> Iterator[_Deadlocks]:
    deadlocks, fetch = _Deadlocks(), Tx.fetch

    async def watching(self: Tx, query: str, /, *args: Any) -> Any:
        try:
            return await fetch(self, query, *args)
        except asyncpg.DeadlockDetectedError:
            deadlocks.seen += 1
            raise

    with patch.object(Tx, "fetch", watching):
        yield deadlocks


async def told_by_the_database(database: Database) -> int:
    """Deadlocks since the database was made; what backends count comes within a second of their last transaction."""
    await asyncio.sleep(1.5)
    await database.pool.execute("SELECT pg_stat_force_next_flush()")
    return int(
        await database.pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    )


@asynccontextmanager
async def busy_world(url: str, prefix: str) -> AsyncIterator[tuple[Database, SimulatedClock, World]]:
    """Everything is in use: rules of both kinds, a kit, a lot-tracked SKU, bins, limits in orders and units, a count plan."""
    clock = SimulatedClock(AT)
    async with await Database.open(url, plans=Plans(_flow), clock=clock, pool_size=LANES + 4) as database:
        world = await small_world(database, prefix=prefix, skus=3, locations=3, stock=40, buffer=1, daily_capacity=30)
        kit, lots = f"{prefix}kit", f"{prefix}lots"
        new = [Sku(code=kit, name=kit), Sku(code=lots, name=lots, weight_grams=500, tracking="lot", backorderable=True)]
        sure(await in_one(database, upsert_skus, new, AT))
        made = Kit(
            sku=kit, components=[Component(sku=world.skus[0], quantity=1), Component(sku=world.skus[1], quantity=2)]
        )
        sure(await in_one(database, upsert_kits, [made], AT))
        codes = [*world.skus, kit, lots]
        ids = await database.transact(lambda tx: sku_ids(tx, codes))
        world = structs.replace(world, skus=codes, sku_ids=ids)
        [first] = await database.read(lambda tx: read_locations(tx, [world.locations[0]]))
        binned = structs.replace(first, bins=True, daily_unit_capacity=60)
        sure(await in_one(database, upsert_locations, [binned], AT))
        sure(await in_one(database, upsert_bins, [Bin(location=first.code, code="B1")], AT))
        kept = Allocation(code=f"{prefix}kept", channel=world.channels["backorder"], sku=world.skus[0], units=3)
        sure(await in_one(database, upsert_allocations, [kept], AT))
        plan = CountPlan(code=f"{prefix}plan", location=world.locations[1], lines=5)
        sure(await in_one(database, upsert_plans, [plan], AT))
        yield database, clock, world


class Everybody(Shop):
    """One lane, which does what shops, warehouses, buyers, planners and the software itself do."""

    KINDS = (
        "place", "place", "place", "place_held", "place_twice", "cancel", "receive", "receive_lots", "adjust", "count",
        "count_past", "release", "release", "pick", "pick", "pack", "ship", "track", "send_back", "give_back", "react", "react",
        "duties", "wait", "hold", "hold", "change_hold", "let_go", "transfer", "move_transfers", "aside", "bins", "rule", "close",
        "reevaluate", "allocate", "reject", "resolve", "missing", "sheet", "again",
    )  # fmt: skip

    def __init__(self, database: Database, clock: SimulatedClock, world: World, lane: int, orders: list[UUID]) -> None:
        super().__init__(database, clock, world, lane, orders)
        self.held: list[UUID] = []
        self.transfers: list[UUID] = []
        self.sheets: list[UUID] = []

    async def try_to(self, kind: str, *numbers: int) -> None:
        with suppress(Refused):  # a verb of a single thing raises what is refused
            await self.act(kind, *numbers)

    def _lines(self, dice: random.Random) -> list[HoldLine]:
        some = dice.sample(self.world.skus, dice.randint(1, 3))
        return [HoldLine(sku=sku, quantity=dice.randint(1, 3)) for sku in some]

    async def hold(self, dice: random.Random) -> None:
        carts = [f"cart-{dice.randint(1, 4)}", None, f"cart-{dice.randint(1, 4)}"]
        channels = list(self.world.channels.values())
        wanted = [
            NewHold(channel=dice.choice(channels), cart=cart, lines=self._lines(dice), minutes=dice.choice((1, 15)))
            for cart in carts
        ]
        self.held += [o.hold_id for o in await self._do(hold, wanted) if hasattr(o, "expires_at")]

    async def change_hold(self, dice: random.Random) -> None:
        some = dice.sample(self.held, min(len(self.held), 3))
        await self._do(change, [HoldChange(hold_id=hold_id, lines=self._lines(dice)) for hold_id in some + some[:1]])

    async def let_go(self, dice: random.Random) -> None:
        await self._do(let_go, dice.sample(self.held, min(len(self.held), 2)))

    async def place_held(self, dice: random.Random) -> None:
        hold_ids = dice.sample(self.held, min(len(self.held), 2))
        orders = [
            self.world.order(
                f"held-{self.lane}-{self.acts}-{n}", {line.sku: line.quantity for line in self._lines(dice)},
                channel=dice.choice(list(self.world.channels.values())), hold_id=hold_id, customer=f"c{dice.randint(1, 9)}",
            )
            for n, hold_id in enumerate([*hold_ids, None])
        ]  # fmt: skip
        self.orders += [o.order_id for o in await self._do(place, orders) if isinstance(o, Placed)]

    async def place_twice(self, dice: random.Random) -> None:
        """The same orders from several lanes, and twice in one batch."""
        orders = [
            self.world.order(f"twice-{n}", {self.world.skus[n % 5]: 1 + n % 3}, customer=f"t{n}")
            for n in dice.sample(range(200), 3)
        ]
        outcomes = await self._do(place, [*orders, orders[0]])
        self.orders += [o.order_id for o in outcomes if isinstance(o, Placed) and o.order_id not in self.orders]

    async def receive_lots(self, dice: random.Random) -> None:
        lots = dice.sample(["l1", "l2", "l3"], 2)
        await self._do(
            receive,
            [
                Receipt(
                    sku=self.world.skus[4], location=dice.choice(self.world.locations), quantity=dice.randint(1, 9), lot=lot,
                    expires_on=date(2026, 3, 1) + timedelta(days=int(lot[1])),
                )
                for lot in lots
            ],
        )  # fmt: skip

    async def count_past(self, dice: random.Random) -> None:
        times = (None, self.clock.now() - timedelta(minutes=5), self.clock.now() - timedelta(minutes=9))
        await self._do(
            count, [Count(**self._position(dice), on_hand=dice.randint(0, 40), as_of=as_of) for as_of in times]
        )

    async def duties(self, dice: random.Random) -> None:
        await Worker(self.database).run_duties(all=True)

    async def transfer(self, dice: random.Random) -> None:
        origin, destination = dice.sample(self.world.locations, 2)
        wanted = [
            transfers.NewTransfer(origin=origin, destination=destination, lines=[transfers.TransferLine(sku=sku, quantity=2)])
            for sku in dice.sample(self.world.skus, 2)
        ]  # fmt: skip
        done = await self._do(transfers.request, wanted)
        self.transfers += [o.transfer_id for o in done if isinstance(o, transfers.TransferDone)]

    async def move_transfers(self, dice: random.Random) -> None:
        some = dice.sample(self.transfers, min(len(self.transfers), 3))
        await self._do(transfers.ship, [transfers.Shipment(transfer_id=id, all=True) for id in some[:2]])
        await self._do(transfers.receive, [transfers.Arrival(transfer_id=id, all=True) for id in some])
        await self._do(transfers.cancel, some)

    async def aside(self, dice: random.Random) -> None:
        verb = dice.choice((set_aside, set_aside, restore, scrap))
        await self._do(verb, [SetAside(**self._position(dice), quantity=1, condition="damaged") for _ in range(3)])

    async def bins(self, dice: random.Random) -> None:
        places = dice.choice((("-", "B1"), ("B1", "-")))
        moves = [
            BinMove(sku=sku, location=self.world.locations[0], from_bin=places[0], to_bin=places[1], quantity=2)
            for sku in dice.sample(self.world.skus, 2)
        ]
        await self._do(move_bins, moves)

    async def rule(self, dice: random.Random) -> None:
        code = f"{self.world.seller}-{dice.choice(CODES)}"
        sku, channel = dice.choice(self.world.skus), dice.choice(list(self.world.channels.values()))
        if dice.random() < 0.3:
            kind = dice.choice((RuleKind.BUFFER, RuleKind.ALLOCATION))
            await self.database.transact(lambda tx: drop(tx, kind, code))
        elif dice.random() < 0.5:
            await self._do(upsert_buffers, [Buffer(code=code, sku=sku, units=1)])
        else:
            await self._do(upsert_allocations, [Allocation(code=code, channel=channel, sku=sku, units=2)])

    async def close(self, dice: random.Random) -> None:
        code, place_ = f"{self.world.seller}-{dice.choice(CODES)}", dice.choice(self.world.locations)
        if dice.random() < 0.6:
            await self.database.transact(lambda tx: reopen(tx, code))
        else:
            await self._do(upsert_closures, [Closure(code=code, location=place_, reason="storm")])

    async def reevaluate(self, dice: random.Random) -> None:
        await reevaluate(self.database, at=self.clock.now(), most=60, seconds=0.2)

    async def allocate(self, dice: random.Random) -> None:
        at, some = self.clock.now(), self._some(dice)
        await self.database.transact(lambda tx: allocate(tx, list(dict.fromkeys(some)), at=at))

    async def reject(self, dice: random.Random) -> None:
        await self._do(
            reject,
            [
                Rejection(order_id=order_id, location=dice.choice(self.world.locations), reason="not_found")
                for order_id in self._some(dice)
            ],
        )

    async def resolve(self, dice: random.Random) -> None:
        at = self.clock.now()
        some = await self.database.read(lambda tx: exceptions(tx, limit=20))
        if some:
            one, wish = dice.choice(some), Resolve(action=dice.choice(("retry", "cancel", "close")))
            await self.database.transact(lambda tx: resolve(tx, one.exception_id, wish, at=at))

    async def missing(self, dice: random.Random) -> None:
        """What a count left missing is sourced anew, several positions in one transaction."""
        rows = await self.database.pool.fetch("SELECT sku_id, location_id FROM inventory.shortfalls WHERE open > 0")
        keys = [(row["sku_id"], row["location_id"]) for row in rows]
        dice.shuffle(keys)
        verb, at = dice.choice((source_anew, report_short)), self.clock.now()
        await self.database.transact(lambda tx: verb(tx, keys[:3], at=at))

    async def sheet(self, dice: random.Random) -> None:
        at, plan = self.clock.now(), f"{self.world.seller[: -len('seller')]}plan"
        if not self.sheets or dice.random() < 0.3:
            skus = dice.sample(self.world.skus[:3], 2)
            made = await self.database.transact(lambda tx: make_sheet(tx, NewSheet(plan=plan, skus=skus), at=at))
            self.sheets.append(made.sheet_id)
        sheet_id = dice.choice(self.sheets)
        times = (None, at - timedelta(minutes=3), at - timedelta(minutes=7))
        counts = [
            CountedLine(sku=sku, counted=dice.randint(0, 30), counted_at=time)
            for sku, time in zip(self.world.skus[:3], times, strict=True)
        ]
        await self.database.transact(lambda tx: enter(tx, sheet_id, counts, at=at))
        await self.database.transact(lambda tx: decide(tx, sheet_id, None, approve=True, at=at))


async def test_everything_against_everything_never_deadlocks(database_url: str) -> None:
    load_stages()
    async with busy_world(database_url, "every-") as (database, clock, world):
        orders: list[UUID] = []

        async def lane(number: int) -> None:
            person, dice = Everybody(database, clock, world, number, orders), random.Random(number)
            kinds = list(Everybody.KINDS)
            dice.shuffle(kinds)
            for act in range(ACTS):
                await person.try_to(kinds[act % len(kinds)], number, act)

        with counted() as deadlocks:
            await asyncio.gather(*map(lane, range(LANES)))
        assert deadlocks.seen == 0
        assert await told_by_the_database(database) == 0
        assert len(set(orders)) > LANES  # nobody stood in the way of everybody
        await assert_clean(database)


async def _orders_and_allocations(database: Database, world: World) -> int:
    """Four lanes place, two allocate what waits. Returns how many orders were placed."""
    waiting = [world.order(f"w-{n}", 3, channel=world.channels["backorder"]) for n in range(60)]
    at = database.clock.now()
    placed = [o.order_id for o in await in_one(database, place, waiting, at) if isinstance(o, Placed)]
    done = asyncio.Event()

    async def buy(lane: int) -> int:
        count_ = 0
        for batch in range(10):
            orders = [
                world.order(f"o-{lane}-{batch}-{n}", dict.fromkeys(world.skus[:2], 1), channel=world.channels["drop"])
                for n in range(5)
            ]
            count_ += sum(isinstance(o, Placed) for o in await in_one(database, place, orders, at))
        return count_

    async def fill() -> None:
        dice = random.Random(7)
        while not done.is_set():
            await in_one(
                database, receive, [Receipt(sku=world.sku, location=dice.choice(world.locations), quantity=2)], at
            )
            some = dice.sample(placed, 8)
            await database.transact(lambda tx, some=some: allocate(tx, some, at=at))  # type: ignore[misc]

    fillers = [asyncio.create_task(fill()) for _ in range(2)]
    try:
        sold = await asyncio.gather(*(buy(lane) for lane in range(4)))
    finally:
        done.set()
        await asyncio.gather(*fillers, return_exceptions=True)
    return sum(sold)


async def _with_a_rule(database: Database, prefix: str) -> World:
    codes, places = [f"{prefix}sku-{n}" for n in (1, 2)], [f"{prefix}loc-{n}" for n in (1, 2, 3)]
    units = {(code, place_): (1, 300)[n] for n, code in enumerate(codes) for place_ in places}
    world = await small_world(database, prefix=prefix, skus=2, locations=3, stock=units, daily_capacity=1000)
    at = database.clock.now()
    kept = Allocation(code=f"{prefix}kept", channel=world.channels["backorder"], sku=world.sku, units=5)
    sure(await in_one(database, upsert_allocations, [kept], at))
    return world


async def test_placing_and_allocating_where_units_are_kept_for_a_channel_never_deadlocks(database: Database) -> None:
    world = await _with_a_rule(database, "kept-")
    with counted() as deadlocks:
        assert await _orders_and_allocations(database, world) == 4 * 10 * 5
    assert deadlocks.seen == 0
    await assert_clean(database)


async def test_with_stock_before_days_in_one_verb_both_the_watcher_and_the_race_see_it(
    database: Database, ladder: list[str]
) -> None:
    """The negative control."""
    world = await _with_a_rule(database, "inverted-")

    async def inverted(tx: Tx, *values: Any, **more: Any) -> Any:
        await stock.hold(tx, list(world.sku_ids.values()))
        await asyncio.sleep(0.05)
        return await capacity.used(tx, *values, **more)

    other = SimpleNamespace(**{**vars(capacity), "used": inverted})
    # Some callers may be refused in the end.
    with patch.object(allocating, "capacity", other), counted() as deadlocks, suppress(Unavailable):
        await _orders_and_allocations(database, world)
    assert deadlocks.seen > 0
    assert any("takes day" in sentence and "position" in sentence for sentence in ladder)
    ladder.clear()


async def test_a_change_of_what_is_not_held_is_told(database: Database, ladder: list[str]) -> None:
    """The negative control of what changes only under an order or a hold."""
    nobody = [UUID(int=1)]
    await database.transact(lambda tx: statements("ordino.inventory").clear_hold_lines(tx, hold_ids=nobody))
    await database.transact(
        lambda tx: statements("ordino.orders").drop_claims(
            tx, order_ids=nobody, location_ids=[1], ship_ons=[date(2026, 3, 2)]
        )
    )
    assert [sentence.split(":")[0] for sentence in ladder] == [
        "clear_hold_lines changes rows of holds that are not held",
        "drop_claims changes rows of orders that are not held",
    ]
    ladder.clear()


PACKAGES = (
    "core", "catalog", "network", "inventory", "sourcing", "orders", "warehouse", "tracking", "aftercare", "flows", "insights",
)  # fmt: skip


def test_every_statement_that_locks_has_its_place_in_the_order() -> None:
    """Of one kind of row, many are taken in the order of their keys; what is not in the order says why it need not be."""
    for package in PACKAGES:
        for statement in statements(f"ordino.{package}"):
            if re.search(r"FOR (NO KEY )?UPDATE|FOR SHARE", statement.text):
                assert statement.name in {*TAKES, *BEGINS, *ALONE}, (
                    f"{package}: {statement.name} is not in the order of locks"
                )
                if "any(" in statement.text.lower() or "unnest" in statement.text:
                    assert "ORDER BY" in statement.text, f"{package}: {statement.name} takes its rows in no order"


def _changes(text: str) -> bool:
    """Does it change rows that are there, or wait for others who insert the same?"""
    return re.search(r"\bUPDATE [a-z]+\.[a-z]|\bDELETE FROM|\bON CONFLICT\b", text) is not None


def _in_order(text: str) -> bool:
    """Does it name the order in which it takes the rows that it changes?"""
    return re.search(r"ORDER BY[^;]*(FOR (NO KEY )?UPDATE|ON CONFLICT)", text) is not None


def test_every_statement_that_changes_many_rows_takes_them_in_order_or_says_why_it_need_not() -> None:
    """A change locks, too: in the order in which the database comes by the rows, if the statement names none."""
    said = {*UNDER, *MAKES, *TURNS, *ONE}
    found: set[str] = set()
    for package in PACKAGES:
        for statement in statements(f"ordino.{package}"):
            if not _changes(statement.text):
                continue
            found.add(statement.name)
            assert _in_order(statement.text) or statement.name in said, (
                f"{package}: {statement.name} changes rows in no order"
            )
            many = "any(" in statement.text or "unnest" in statement.text
            assert not (many and statement.name in ONE), f"{package}: {statement.name} changes more than one row"
    assert {*TURNS, *ONE} <= found


def test_a_statement_that_changes_many_rows_in_no_order_is_seen() -> None:
    """The negative control."""
    text = "UPDATE core.reactions SET dead_at = NULL WHERE id = any(:ids::uuid[])"
    assert _changes(text)
    assert not _in_order(text)
