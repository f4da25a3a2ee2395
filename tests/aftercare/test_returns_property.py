"""However returns are authorized, cancelled and received, everything comes back exactly once and is refunded to the cent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordino.aftercare.model import Authorized, Received, ReturnCancelled, ReturnRefusal, ReturnRefused
from ordino.aftercare.returns import authorize, cancel, receive, returns_of
from ordino.catalog.model import Component, Kit
from ordino.catalog.upsert import upsert_kits
from ordino.cli.verify import verify
from ordino.core.database import Database, Tx
from ordino.core.upserts import Created
from ordino.inventory.adjust import Moved, Receipt
from ordino.inventory.adjust import receive as receive_stock
from ordino.orders import ledger as orders_ledger
from ordino.orders.reactions import settle_lost
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events
from sending_back import called_off, came, wanted
from steps import assert_clean, delivered, events, in_one, line, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
KITS = 4
PER_KIT = {1: 1, 2: 2}


async def kit_world(database: Database) -> World:
    """SKU 1 is a kit of one SKU 2 and two SKU 3; there are three kits' worth of them at the first location, one at the second."""
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=3, stock={})
    components = [Component(sku=world.skus[sku], quantity=units) for sku, units in PER_KIT.items()]
    sure((await in_one(database, upsert_kits, [Kit(sku=world.sku, components=components)], AT))[0], Created)
    for place, kits in ((0, KITS - 1), (1, 1)):
        for sku, units in PER_KIT.items():
            one = Receipt(sku=world.skus[sku], location=world.locations[place], quantity=units * kits)
            sure((await in_one(database, receive_stock, [one], AT))[0], Moved)
    return world


@pytest.fixture(scope="module")
async def wide(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url, pool_size=6) as opened:
        yield opened


async def stocked(database: Database, world: World) -> dict[int, int]:
    """SKU number -> units on hand, wherever."""
    return {
        sku: await database.pool.fetchval(
            "SELECT coalesce(sum(on_hand), 0)::bigint FROM inventory.stock WHERE sku_id = $1",
            world.sku_ids[world.skus[sku]],
        )
        for sku in PER_KIT
    }


class Customer:
    """Sends an order of kits back, at random, and remembers what was said of it."""

    def __init__(self, database: Database, world: World, order_id: UUID, dice: random.Random) -> None:
        self.database = database
        self.world = world
        self.order_id = order_id
        self.dice = dice
        self.refunds: list[int] = []
        self.restocked = dict.fromkeys(PER_KIT, 0)
        self.scrapped = dict.fromkeys(PER_KIT, 0)

    def _component(self) -> str | None:
        return self.dice.choice((None, self.world.skus[1], self.world.skus[2], self.world.skus[2]))

    async def _return(self) -> Any:
        """Some return of the order."""
        shown = (await self.database.read(lambda tx: returns_of(tx, self.order_id))).returns
        if not shown:
            return None
        one = self.dice.choice(shown)
        return Authorized(self.order_id, one.return_id, None, [])

    async def authorize(self) -> None:
        component, units = self._component(), self.dice.randint(1, 3)
        line = (1, units) if component is None else (1, units, component)
        location = self.dice.choice((None, None, self.world.locations[2]))
        await in_one(self.database, authorize, [wanted(self.order_id, line, location=location)], AT)

    async def cancel(self) -> None:
        if (allowed := await self._return()) is not None:
            component = self._component()
            line = (1, self.dice.choice((None, 1, 2)), *(() if component is None else (component,)))
            await in_one(self.database, cancel, [called_off(allowed, *self.dice.choice(((), (line,))))], AT)

    async def receive(self) -> None:
        if (allowed := await self._return()) is not None:
            location = self.dice.choice((None, *self.world.locations))
            await self.take(allowed, self._component(), self.dice.randint(0, 2), self.dice.randint(0, 1), location)

    async def take(self, allowed: Any, component: str | None, restocked: int, scrapped: int, location: Any) -> Any:
        receipt = came(allowed, 1, restocked, scrapped, component=component, location=location)
        [outcome] = await in_one(self.database, receive, [receipt], AT)
        if isinstance(outcome, Received):
            self.refunds.append(outcome.refund_minor)
            for sku, each in PER_KIT.items():
                if component in (None, self.world.skus[sku]):
                    self.restocked[sku] += restocked * (1 if component else each)
                    self.scrapped[sku] += scrapped * (1 if component else each)
        return outcome

    async def finish(self) -> None:
        """Whatever is not back yet is authorized piece by piece, and comes."""
        for shown in (await self.database.read(lambda tx: returns_of(tx, self.order_id))).returns:
            await in_one(self.database, cancel, [called_off(Authorized(self.order_id, shown.return_id, None, []))], AT)
        left = {sku: KITS * each - self.restocked[sku] - self.scrapped[sku] for sku, each in PER_KIT.items()}
        lines = [(1, units, self.world.skus[sku]) for sku, units in left.items() if units]
        self.dice.shuffle(lines)
        if lines:
            [allowed] = await in_one(self.database, authorize, [wanted(self.order_id, *lines)], AT)
            sure(allowed, Authorized)
            for _, units, component in lines:
                sure(await self.take(allowed, component, units, 0, self.world.locations[0]), Received)


@given(
    script=st.lists(st.sampled_from(["authorize", "authorize", "receive", "receive", "cancel"]), max_size=25),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_everything_comes_back_exactly_once_and_refunds_add_up(database_url: str, script: list[str], seed: int) -> None:
    """RET-1, RET-2, RET-3, RET-4, RET-5, RET-6."""

    async def run() -> None:
        async with await Database.open(database_url, pool_size=2) as database:
            world = await kit_world(database)
            charged = 1003 * KITS + 2
            order = world.order("kits", KITS, unit_price_minor=1003, tax_minor=2)
            order_id, _ = await delivered(database, order, AT)
            customer = Customer(database, world, order_id, random.Random(seed))
            for step in script:
                await getattr(customer, step)()
            await assert_clean(database)
            await customer.finish()
            assert (await line(database, order_id))["returned"] == KITS
            assert sum(customer.refunds) == charged
            assert await stocked(database, world) == customer.restocked
            assert {sku: customer.restocked[sku] + customer.scrapped[sku] for sku in PER_KIT} == {
                sku: KITS * each for sku, each in PER_KIT.items()
            }
            [refused] = await in_one(database, authorize, [wanted(order_id, (1, 1, world.skus[1]))], AT)
            sure(refused, ReturnRefused)
            await assert_clean(database)

    asyncio.run(run())


@pytest.mark.parametrize("lost_after", range(4))
async def test_a_kit_lost_between_components_of_others_leaves_no_cent_behind(wide: Database, lost_after: int) -> None:
    """RET-4, MON-8: a parcel is lost before, between or after receipts; what is refunded in the end is what was captured."""
    world = await kit_world(wide)
    order = world.order("lost", KITS, unit_price_minor=100, tax_minor=3)
    order_id, parcels = await shipped(wide, order, AT)
    said = [TrackingEvent(tracking_number=parcel.tracking_number, kind=Kind.DELIVERED, at=AT) for parcel in parcels]
    by_size = sorted(zip(parcels, said, strict=True), key=lambda one: one[0].amount_minor)
    lost = TrackingEvent(tracking_number=by_size[0][0].tracking_number, kind=Kind.LOST, at=AT)
    await in_one(wide, take_events, [by_size[1][1]], AT)
    asked = [(1, 3, world.skus[1]), (1, 6, world.skus[2])]
    [allowed] = await in_one(wide, authorize, [wanted(order_id, *asked)], AT)
    refunds = 0
    for number, (component, units) in enumerate(((2, 4), (1, 1), (1, 2), (2, 2))):
        if number == lost_after:
            await in_one(wide, take_events, [lost], AT)
            await react(wide, settle_lost, order_id, "shipment_lost", AT)
        receipt = came(allowed, 1, units, component=world.skus[component])
        refunds += sure((await in_one(wide, receive, [receipt], AT))[0], Received).refund_minor
        await assert_clean(wide)
    [settled] = await events(wide, order_id, "lost_settled")
    assert refunds + settled["refund_minor"] == 403
    assert (await line(wide, order_id))["returned"] == 3


# -- at the same time ------------------------------------------------------------------------------------------------------


async def scrambled(database: Database, world: World) -> tuple[UUID, list[Any]]:
    """Many at once: each wants a kit or a component, and receives or cancels what it gets. Four kits went out."""
    order_id, _ = await delivered(database, world.order("race", KITS), AT)

    async def one(number: int) -> list[Any]:
        component = (None, world.skus[1], world.skus[2])[number % 3]
        asked = wanted(order_id, (1, 1) if component is None else (1, 1, component), location=world.location)
        [allowed] = await in_one(database, authorize, [asked], AT)
        if isinstance(allowed, ReturnRefused):
            return [allowed]
        verb: Any = (
            (cancel, called_off(allowed)) if number % 4 == 3 else (receive, came(allowed, 1, 1, component=component))
        )
        return [allowed, *(await in_one(database, verb[0], [verb[1]], AT))]

    return order_id, [told for some in await asyncio.gather(*map(one, range(24))) for told in some]


async def test_returns_at_the_same_time_take_turns(wide: Database) -> None:
    """Nothing wrong is done: the ledgers are sound. Nothing right is refused: what is left can still come back."""
    world = await kit_world(wide)
    order_id, outcomes = await scrambled(wide, world)
    assert any(isinstance(one, Received) for one in outcomes)
    assert any(isinstance(one, ReturnCancelled) for one in outcomes)
    assert any(isinstance(one, ReturnRefused) for one in outcomes)
    await assert_clean(wide)
    shown = await wide.read(lambda tx: returns_of(tx, order_id))
    back = {part.component: part.received for part in shown.kits[0].components}
    left = {world.skus[sku]: KITS * each - back[world.skus[sku]] for sku, each in PER_KIT.items()}
    rest = [(1, units, component) for component, units in left.items() if units]
    if rest:
        [allowed] = await in_one(wide, authorize, [wanted(order_id, *rest, location=world.location)], AT)
        for _, units, component in rest:
            sure((await in_one(wide, receive, [came(allowed, 1, units, component=component)], AT))[0], Received)
    assert (await line(wide, order_id))["returned"] == KITS
    await assert_clean(wide)


async def test_two_receipts_of_one_return_at_the_same_time_bring_no_more_than_was_authorized(wide: Database) -> None:
    world = await kit_world(wide)
    order_id, _ = await delivered(wide, world.order("twice", 3), AT)
    [allowed] = await in_one(wide, authorize, [wanted(order_id, (1, 2), location=world.location)], AT)
    told = await asyncio.gather(*[in_one(wide, receive, [came(allowed, 1, 1)], AT) for _ in range(5)])
    assert sum(isinstance(one, Received) for [one] in told) == 2
    assert (await line(wide, order_id))["returned"] == 2
    await assert_clean(wide)


async def overlapping(database: Database, order_id: UUID, location: str) -> list[Any]:
    """Two returns of both kits of an order: the second is asked for when the first is written and not committed."""
    asked = [wanted(order_id, (1, 2), location=location)]
    written, go = asyncio.Event(), asyncio.Event()

    async def first(tx: Tx) -> Any:
        outcomes = await authorize(tx, asked, at=AT)
        written.set()
        await go.wait()
        return outcomes

    one = asyncio.create_task(database.transact(first))
    await written.wait()
    other = asyncio.create_task(in_one(database, authorize, asked, AT))
    await asyncio.sleep(0.3)
    go.set()
    return [*await one, *await other]


async def test_of_two_returns_at_once_the_second_sees_the_first(wide: Database) -> None:
    world = await kit_world(wide)
    order_id, _ = await delivered(wide, world.order("locked", 2), AT)
    first, second = await overlapping(wide, order_id, world.location)
    sure(first, Authorized)
    assert sure(second, ReturnRefused).reason is ReturnRefusal.TOO_MANY
    await assert_clean(wide)


async def test_without_the_lock_more_comes_back_than_went_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch, ladder: list[str]
) -> None:
    """The negative control: with orders that are not held, returns overtake each other, and ``verify`` names it."""
    async with await Database.open(database_url) as database:
        world = await kit_world(database)
        order_id, _ = await delivered(database, world.order("unlocked", 2), AT)
        monkeypatch.setattr(orders_ledger, "lock", orders_ledger.orders)
        for outcome in await overlapping(database, order_id, world.location):
            sure(outcome, Authorized)
        assert [finding.name for finding in (await verify(database)).broken] == ["no_more_comes_back_than_went_out"]
        monkeypatch.undo()
        ladder.clear()  # it has seen that the lock is out
        await database.pool.execute("DELETE FROM aftercare.return_lines WHERE order_id = $1", order_id)
