"""Random batches of everything that people do, all at once; afterwards every promise holds, both ways.

Hypothesis draws the scripts; each lane of a script has a connection of its own and runs against the others.
``ORDINO_EXAMPLES=200`` runs so many new scripts of the last test instead of the usual ones.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from approving import ApprovingProvider
from ordino.aftercare.model import (
    Authorized,
    NewRefund,
    NewReturn,
    ReceivedLine,
    RefundLine,
    ReturnCancellation,
    ReturnLine,
    ReturnReceipt,
)
from ordino.aftercare.refunds import refund
from ordino.aftercare.returns import authorize
from ordino.aftercare.returns import cancel as cancel_returns
from ordino.aftercare.returns import receive as receive_returns
from ordino.cli.running import load_stages
from ordino.cli.verify import verify
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Unavailable
from ordino.core.events import Plans, Step
from ordino.core.reactions import Worker
from ordino.inventory.adjust import Adjustment, Count, Receipt, adjust, count, receive
from ordino.orders.cancel import Cancellation, LineCancellation, cancel
from ordino.orders.model import NewLine, NewOrder, Placed, Refusal
from ordino.orders.place import Outcome, place
from ordino.orders.providers import Approved, Declined, PaymentCall, providers
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import NewPackage, Pack, PackLine, Pick, PickLine, Ship
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from steps import assert_events_fit
from world import World, small_world

RETRIES = 12
SHORT_REASONS = ("not_found", "none_left", "damaged", "refused")
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SKUS, LOCATIONS = 3, 2
_example = itertools.count()

# Races do not shrink: what fails is told as it was drawn.
SLOW = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
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
    await assert_events_fit(database)


# -- INV-1, INV-2, INV-3, INV-5, DEM-1, DEM-3, DEM-4, DEM-5: nothing wrong is placed, nothing right is refused ---------------


@SLOW
@given(
    st.lists(st.lists(st.lists(baskets, min_size=1, max_size=8), min_size=1, max_size=3), min_size=2, max_size=4),
    st.integers(1, 30),
)
def test_what_can_be_had_is_sold_and_nothing_else(
    database_url: str, lanes: list[list[list[dict[int, int]]]], stock: int
) -> None:
    asyncio.run(_sold_and_nothing_else(database_url, lanes, stock))


async def _sold_and_nothing_else(url: str, lanes: list[list[list[dict[int, int]]]], stock: int) -> None:
    async with await Database.open(url) as database:
        world = await small_world(
            database, prefix=f"sold{next(_example)}-", skus=SKUS, locations=LOCATIONS, stock=stock
        )
        asked: dict[str, NewOrder] = {}

        def lane(number: int, batches: list[list[dict[int, int]]]) -> Callable[[Database], Awaitable[list[Outcome]]]:
            made = [
                [
                    world.order(
                        f"{world.seller}{number}-{b}-{o}", {world.skus[s]: units for s, units in basket.items()}
                    )
                    for o, basket in enumerate(batch)
                ]
                for b, batch in enumerate(batches)
            ]
            asked.update((order.external_id, order) for batch in made for order in batch)

            async def run(own: Database) -> list[Outcome]:
                return [outcome for batch in made for outcome in await _place(own, batch)]

            return run

        outcomes = [
            o for result in await _lanes(url, [lane(n, batches) for n, batches in enumerate(lanes)]) for o in result
        ]
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
def test_an_order_is_placed_once_however_often_it_is_sent(
    database_url: str, wanted: list[dict[int, int]], lanes: int, dice: Any
) -> None:
    asyncio.run(_placed_once(database_url, wanted, lanes, dice))


async def _placed_once(url: str, wanted: list[dict[int, int]], lanes: int, dice: Any) -> None:
    async with await Database.open(url) as database:
        world = await small_world(database, prefix=f"once{next(_example)}-", skus=SKUS, locations=LOCATIONS, stock=1000)
        orders = [
            world.order(f"{world.seller}-{n}", {world.skus[s]: units for s, units in basket.items()})
            for n, basket in enumerate(wanted)
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


# -- everything at once: every promise afterwards, nothing owed to anybody is forgotten ----------------------------------


FLOW: dict[str, tuple[Step, ...]] = {
    "order_placed": (Step("authorize"),),
    "stock_received": (Step("fill_backorders"),),
    "units_backordered": (Step("source"),),
    "units_short": (Step("source"), Step("fill_backorders")),
    "cancellation_wanted": (Step("stop"),),
    "units_cancelled": (Step("void"), Step("fill_backorders")),
    "shipment_shipped": (Step("capture"), Step("watch_parcel")),
    "shipment_lost": (Step("settle_lost"),),
    "lost_settled": (Step("refund"),),
    "return_received": (Step("refund"),),
    "refund_requested": (Step("refund"),),
}


async def _flow(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
    return FLOW


class MoodyProvider(ApprovingProvider):
    """A provider whose answer is lost now and then, and to whom a key means one amount."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.asked: dict[str, int] = {}

    def _take(self, key: str, amount_minor: int) -> None:
        assert self.asked.setdefault(key, amount_minor) == amount_minor, "the same key, another amount"
        if self.dice.random() < 0.2:
            raise Unavailable("The provider does not answer.")

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        self._take(call.key, call.amount_minor)
        return await super().authorize(call)

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        self._take(call.key, call.amount_minor)
        return await super().capture(call)

    async def void(self, call: PaymentCall) -> Approved | Declined:
        self._take(call.key, call.amount_minor)
        return await super().void(call)

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        self._take(call.key, call.amount_minor)
        return await super().refund(call)


def _of(*kinds: str) -> st.SearchStrategy[tuple[str, int, int, int]]:
    number = st.integers(0, 1 << 30)
    return st.tuples(st.sampled_from(kinds), number, number, number)


scripts = st.lists(
    st.lists(
        _of(
            *(["place"] * 3),
            *(["cancel"] * 3),
            "receive",
            "adjust",
            "count",
            "release",
            "release",
            *(["pick"] * 3),
            "pack",
            "pack",
            "ship",
            "ship",
            "track",
            "send_back",
            "give_back",
            *(["react"] * 3),
            "wait",
            "again",
        ),
        min_size=6,
        max_size=18,
    ),
    min_size=2,
    max_size=4,
)


# What every lane does at last, so that every script reaches every stage.
CLOSING = (
    "react",
    "release",
    "pick",
    "pack",
    "ship",
    "react",
    "track",
    "react",
    "give_back",
    "send_back",
    "receive",
    "react",
)


class Shop:
    """What one lane can do to the world: each act is one batch, drawn from its numbers. Refusals are welcome, errors are not."""

    def __init__(self, database: Database, clock: SimulatedClock, world: World, lane: int, orders: list[UUID]) -> None:
        self.database = database
        self.clock = clock
        self.world = world
        self.lane = lane
        self.orders = orders  # of all lanes
        self.acts = 0
        self.last: tuple[Any, Sequence[Any]] | None = None

    async def act(self, kind: str, *numbers: int) -> None:
        self.acts += 1
        dice = random.Random(str((kind, numbers)))
        await getattr(self, kind)(dice)

    async def _do(self, verb: Callable[..., Awaitable[Any]], items: Sequence[Any]) -> Any:
        self.last = (verb, items)
        at = self.clock.now()
        outcomes = await self.database.transact(lambda tx: verb(tx, items, at=at))
        assert len(outcomes) == len(items)
        return outcomes

    def _some(self, dice: random.Random) -> list[UUID]:
        some = dice.sample(self.orders, min(len(self.orders), dice.randint(1, 6)))
        return some + some[: dice.randint(-3, 2)] if some else []

    def _position(self, dice: random.Random) -> dict[str, str]:
        return {"sku": dice.choice(self.world.skus), "location": dice.choice(self.world.locations)}

    async def again(self, dice: random.Random) -> None:
        """What was sent last is sent once more, some of it twice."""
        if self.last is not None:
            verb, items = self.last
            await self._do(verb, [*items, *items[: dice.randint(0, 2)]])

    async def wait(self, dice: random.Random) -> None:
        self.clock.advance_to(self.clock.now() + timedelta(seconds=dice.choice((1, 3, 60, 3600, 86400))))

    async def place(self, dice: random.Random) -> None:
        orders = []
        for n in range(dice.randint(1, 8)):
            skus = dice.sample(self.world.skus, dice.randint(1, SKUS)) + self.world.skus[: dice.choice((0, 0, 0, 1))]
            lines = [
                NewLine(sku=sku, quantity=dice.randint(1, 4), unit_price_minor=dice.randint(0, 999)) for sku in skus
            ]
            shipping, tax = dice.randint(0, 500), dice.randint(0, 99)
            goods = sum(line.quantity * line.unit_price_minor for line in lines)
            discount = dice.choice(
                (0, dice.randint(0, tax), dice.randint(0, goods + tax + shipping), goods + tax + shipping)
            )
            order = self.world.order(
                f"{self.world.seller}{self.lane}-{self.acts}-{n}",
                channel=dice.choice(list(self.world.channels.values())),
                shipping_minor=shipping,
                tax_minor=tax,
                discount_minor=discount,
            )
            total = goods + shipping + tax - discount
            orders.append(structs.replace(order, lines=lines, total_minor=total))
        outcomes = await self._do(place, orders)
        self.orders += [outcome.order_id for outcome in outcomes if isinstance(outcome, Placed)]

    async def cancel(self, dice: random.Random) -> None:
        def lines() -> list[LineCancellation] | None:
            return [
                LineCancellation(line_no=dice.choice((1, 1, 1, 2, 3)), quantity=dice.choice((1, 1, 2, None)))
                for _ in range(dice.choice((1, 1, 2)))
            ]

        await self._do(
            cancel,
            [
                Cancellation(order_id=order_id, **({"all": True} if dice.random() < 0.3 else {"lines": lines()}))
                for order_id in self._some(dice)
            ],
        )

    async def receive(self, dice: random.Random) -> None:
        await self._do(receive, [Receipt(**self._position(dice), quantity=dice.randint(1, 20)) for _ in range(3)])

    async def adjust(self, dice: random.Random) -> None:
        deltas = [dice.choice((-5, -1, 1, 3)) for _ in range(3)]
        await self._do(
            adjust, [Adjustment(**self._position(dice), delta=delta, reason="found or lost") for delta in deltas]
        )

    async def count(self, dice: random.Random) -> None:
        await self._do(count, [Count(**self._position(dice), on_hand=dice.randint(0, 40)) for _ in range(2)])

    async def release(self, dice: random.Random) -> None:
        await self._do(release, self._some(dice))

    async def _work(self, dice: random.Random, state: str) -> list[dict[str, Any]]:
        """Fulfillment orders with units in a state, and how many of which line."""
        rows = await self.database.pool.fetch(
            f"SELECT order_id, fulfillment_order_id, array_agg(line_no) AS lines, array_agg({state}) AS units"
            f" FROM warehouse.fulfillment_lines WHERE order_id = any($1::uuid[]) AND {state} > 0 GROUP BY 1, 2 ORDER BY 1, 2",
            self.orders,
        )
        return [dict(row) for row in dice.sample(rows, min(len(rows), 5))]

    async def pick(self, dice: random.Random) -> None:
        picks = []
        for work in await self._work(dice, "open"):
            lines = []
            for line_no, units in zip(work["lines"], work["units"], strict=True):
                short = dice.randint(1, units) if dice.random() < 0.2 else 0
                picked = dice.randint(0 if short else 1, units - short) if units > short else 0
                reason = dice.choice(SHORT_REASONS) if short else None
                lines.append(PickLine(line_no=line_no, picked=picked, short=short, short_reason=reason))
            picks.append(
                Pick(order_id=work["order_id"], fulfillment_order_id=work["fulfillment_order_id"], lines=lines)
            )
        await self._do(pick, picks)

    async def pack(self, dice: random.Random) -> None:
        packs = []
        for work in await self._work(dice, "picked"):
            some = [PackLine(line_no=work["lines"][0], quantity=dice.randint(1, work["units"][0]))]
            packages = dice.choice(
                (None, None, [NewPackage(lines=some)], [NewPackage(lines=some), NewPackage(all=True)])
            )
            packs.append(
                Pack(
                    order_id=work["order_id"],
                    fulfillment_order_id=work["fulfillment_order_id"],
                    packages=packages,
                    all=packages is None,
                )
            )
        await self._do(pack, packs)

    async def ship(self, dice: random.Random) -> None:
        ships = []
        for n, work in enumerate(await self._work(dice, "packed")):
            number = f"{self.world.seller}{self.lane}-{self.acts}-{n}"
            key = {"order_id": work["order_id"], "fulfillment_order_id": work["fulfillment_order_id"]}
            waiting = await self.database.pool.fetch(
                "SELECT package_id FROM warehouse.packages WHERE order_id = $1 AND fulfillment_order_id = $2"
                " AND shipment_id IS NULL ORDER BY 1",
                *key.values(),
            )
            if waiting and dice.random() < 0.3:
                ships.append(Ship(**key, tracking_number=f"{number}-first", package_ids=[waiting[0]["package_id"]]))
            ships.append(Ship(**key, tracking_number=number, all=True))
        await self._do(ship, ships)

    async def track(self, dice: random.Random) -> None:
        rows = await self.database.pool.fetch(
            "SELECT tracking_number FROM tracking.parcels WHERE order_id = any($1::uuid[]) ORDER BY 1", self.orders
        )
        words = []
        for row in dice.sample(rows, min(len(rows), 6)):
            for _ in range(dice.choice((1, 1, 2))):
                kind = dice.choice((*[Kind.DELIVERED] * 5, Kind.LOST, Kind.LOST, Kind.DELAYED, Kind.RETURNED_TO_SENDER))
                said_at = AT + timedelta(hours=dice.randint(0, 48))
                words.append(
                    TrackingEvent(
                        tracking_number=row["tracking_number"],
                        kind=kind,
                        at=dice.choice((None, said_at)),
                        expected_at=AT + timedelta(days=dice.randint(0, 9)),
                    )
                )
        await self._do(take_events, words)

    async def send_back(self, dice: random.Random) -> None:
        wanted = [
            NewReturn(
                order_id=order_id,
                lines=[
                    ReturnLine(line_no=line_no, quantity=dice.randint(1, 2), reason="unwanted")
                    for line_no in dice.choice(((1,), (1,), (1, 2), (2,)))
                ],
            )
            for order_id in self._some(dice)
        ]
        outcomes = await self._do(authorize, wanted)
        arrivals = [
            ReturnReceipt(
                order_id=outcome.order_id,
                return_id=outcome.return_id,
                lines=[
                    ReceivedLine(line_no=line.line_no, restocked=dice.randint(0, 1), scrapped=dice.randint(0, 1))
                    for line in asked.lines
                ],
                location=dice.choice((None, *self.world.locations)),
            )
            for asked, outcome in zip(wanted, outcomes, strict=True)
            if isinstance(outcome, Authorized)
        ]
        await self._do(receive_returns, arrivals + arrivals[:1])
        rest = [
            ReturnCancellation(order_id=one.order_id, return_id=one.return_id, all=True)
            for one in arrivals
            if dice.random() < 0.3
        ]
        await self._do(cancel_returns, rest + rest[:1])

    async def give_back(self, dice: random.Random) -> None:
        """Part of a price, of the shipping, or goodwill; some of it too much."""
        refunds = []
        for order_id in self._some(dice):
            what: dict[str, Any] = dice.choice(
                (
                    {"lines": [RefundLine(line_no=dice.choice((1, 1, 2)), amount_minor=dice.randint(1, 500))]},
                    {"shipping_minor": dice.randint(1, 300)},
                    {"all_shipping": True},
                    {"goodwill_minor": dice.choice((1, 50, dice.randint(1, 3000)))},
                )
            )
            refunds.append(NewRefund(order_id=order_id, reason=f"r{dice.randint(0, 1)}", **what))
        await self._do(refund, refunds)

    async def react(self, dice: random.Random) -> None:
        await Worker(self.database, batch_size=dice.choice((2, 20, 500))).run_due()


FORGOTTEN = """
WITH lines AS (
    SELECT order_id, sum(stop_wanted) AS stop_wanted, sum(amount_minor - charged_minor - void_minor) AS open,
           sum(charged_minor) AS charged, sum(refunded_minor) AS owed_back, bool_and(cancelled + returned = ordered) AS all_gone
    FROM orders.lines GROUP BY order_id
), said AS (
    SELECT subject_id AS order_id,
           sum((data->>'amount_minor')::bigint) FILTER (WHERE kind = 'shipment_shipped') AS charged,
           sum((data->>'refund_minor')::bigint)
               FILTER (WHERE kind IN ('lost_settled', 'return_received', 'refund_requested')) AS owed_back
    FROM core.events GROUP BY subject_id
), due AS (
    SELECT p.*, l.stop_wanted, l.all_gone, coalesce(s.charged, 0) AS said_charged, coalesce(s.owed_back, 0) AS said_owed_back,
           l.charged + o.shipping_charged_minor AS charged, l.owed_back + o.shipping_refunded_minor AS owed_back,
           l.open + least(o.shipping_minor, o.total_minor) - o.shipping_charged_minor - o.shipping_void_minor AS open,
           o.shipping_charged_minor - o.shipping_refunded_minor AS shipping_kept
    FROM orders.payments p JOIN orders.orders o USING (order_id) JOIN lines l USING (order_id) LEFT JOIN said s USING (order_id)
)
SELECT order_id, authorized_minor, voided_minor, captured_minor, refunded_minor, charged, owed_back, open, stop_wanted
FROM due
WHERE order_id = any($1::uuid[])
  AND (stop_wanted <> 0 OR captured_minor <> charged OR refunded_minor <> owed_back OR charged <> said_charged
       OR owed_back <> said_owed_back OR authorized_minor - voided_minor <> charged + open
       OR (all_gone AND captured_minor - refunded_minor <> shipping_kept))
"""
"""Orders whose wishes were not all answered, or whose money is not what their units are worth, when nothing is left to be done."""


WAITING_FOR_NOTHING = """
SELECT l.order_id, l.line_no, l.sku_id, l.backordered, s.location_id, s.on_hand - s.reserved AS free
FROM orders.lines l JOIN inventory.stock s USING (sku_id) JOIN network.members m USING (location_id)
JOIN network.locations p USING (location_id)
WHERE l.order_id = any($1::uuid[]) AND l.backordered > l.stop_wanted AND s.on_hand - s.reserved > m.buffer AND p.daily_capacity IS NULL
  AND NOT EXISTS (SELECT FROM orders.lines e WHERE e.order_id = l.order_id AND e.sku_id = l.sku_id
                  AND s.location_id = any(e.excluded_location_ids))
"""
"""Lines whose units wait although some that they may have are free. A location with a daily capacity may be full."""


EXAMPLES = os.environ.get("ORDINO_EXAMPLES")


@settings(parent=SLOW, max_examples=int(EXAMPLES or 25), derandomize=EXAMPLES is None)
@given(scripts)
def test_every_promise_holds_after_everything_at_once(
    database_url: str, script: list[list[tuple[str, int, int, int]]]
) -> None:
    load_stages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(providers, "manual", MoodyProvider(random.Random(str(script))))
        asyncio.run(_everything_at_once(database_url, script))


async def _everything_at_once(url: str, script: list[list[tuple[str, int, int, int]]]) -> None:
    plans = Plans(_flow)
    clock = SimulatedClock(AT)
    async with await Database.open(url, plans=plans, clock=clock) as database:
        dice = random.Random(str(script))
        world = await small_world(
            database,
            prefix=f"all{next(_example)}-",
            skus=SKUS,
            locations=LOCATIONS,
            stock=dice.randint(3, 25),
            buffer=dice.choice((0, 0, 1)),
            daily_capacity=dice.choice((None, 4, 20)),
        )
        orders: list[UUID] = []

        async def lane(number: int, acts: list[tuple[str, int, int, int]]) -> None:
            shop = Shop(database, clock, world, number, orders)
            for act in acts:
                await shop.act(*act)
            for kind in CLOSING:
                await shop.act(kind, number, len(acts))

        # One lane looks at the books while the others write them: every look sees whole transactions only.
        await asyncio.gather(_assert_clean(database), *(lane(number, acts) for number, acts in enumerate(script)))
        await _assert_clean(database)
        for _ in range(RETRIES):  # a charge waits for its authorization, and a refund for its charge
            clock.advance_to(clock.now() + timedelta(hours=1))
            await Worker(database).run_until_idle()
        assert await database.pool.fetch("SELECT kind, last_error FROM core.reactions WHERE attempts > 0") == []
        await _assert_clean(database)
        forgotten = [dict(row) for row in await database.pool.fetch(FORGOTTEN, orders)]
        assert forgotten == [], forgotten
        waiting = [dict(row) for row in await database.pool.fetch(WAITING_FOR_NOTHING, orders)]
        assert waiting == [], waiting
