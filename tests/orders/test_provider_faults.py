"""A payment provider on the other side of HTTP does everything wrong that it can: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from connect.acme import SECRET, Acme
from connect.pages import acme_module
from ordino.aftercare.model import NewRefund
from ordino.aftercare.refunds import refund
from ordino.api.dead_letters import dead_letters, replay
from ordino.connect.http import Limits
from ordino.core import accounts
from ordino.core.clock import SimulatedClock, WallClock
from ordino.core.database import Database, Tx
from ordino.core.events import Plans, Step
from ordino.core.reactions import Registry, Worker
from ordino.orders import payments
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import NewOrder, NewPayment
from ordino.orders.providers import providers
from ordino.testing import LocalServer
from ordino.warehouse.model import Ship
from ordino.warehouse.ship import ship
from steps import assert_clean, in_one, packed, placed
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
PATIENT = Limits(call_seconds=20, private_addresses=True)
HASTY = Limits(call_seconds=3, private_addresses=True)
KINDS = ("authorize", "void", "capture", "refund")
FLOW = {
    "order_placed": (Step("authorize"),),
    "units_cancelled": (Step("void"),),
    "shipment_shipped": (Step("capture"),),
    "refund_requested": (Step("refund"),),
}


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async def plan(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return FLOW

    async with await Database.open(database_url, plans=Plans(plan), clock=SimulatedClock(AT)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 1000})


@pytest.fixture
async def acme(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Acme]:
    """The provider of the documentation, and a server that keeps its books."""
    monkeypatch.setenv("ACME_SECRET", SECRET)
    bank = Acme()
    async with LocalServer(bank.answer) as server:
        made = acme_module().AcmeProvider
        monkeypatch.setitem(providers, "acme", made(server.url, limits=PATIENT))
        monkeypatch.setitem(providers, "hasty acme", made(server.url, limits=HASTY))
        yield bank


def paid(order: NewOrder, provider: str = "acme") -> NewOrder:
    payment = NewPayment(provider=provider, token="tok_good", amount_minor=order.total_minor)
    return structs.replace(order, payments=[payment])


async def run(database: Database, *kinds: str) -> None:
    """Everything of these kinds that waits, whatever it waited for; accounts that are paused are tried."""
    assert isinstance(database.clock, SimulatedClock)
    database.clock.advance_to(database.clock.now() + timedelta(hours=2))
    await database.transact(lambda tx: accounts.try_again(tx, at=WallClock().now()))
    for kind in kinds or KINDS:
        registry = Registry()
        registry.effect(kind, getattr(payments, kind))
        await Worker(database, registry=registry, max_attempts=50).run_due()


async def money(database: Database, order_id: UUID) -> tuple[int, ...]:
    row = await database.pool.fetchrow(
        "SELECT authorized_minor, voided_minor, captured_minor, refunded_minor FROM orders.payments WHERE order_id = $1",
        order_id,
    )
    return tuple(row)


async def waiting(database: Database, order_id: UUID) -> Any:
    return await database.pool.fetchrow("SELECT * FROM core.reactions WHERE subject_id = $1", order_id)


@pytest.mark.parametrize("fault", ["lost", "late", "garbage", "other"])
async def test_what_was_done_without_an_answer_is_found_out_and_not_done_again(
    database: Database, world: World, acme: Acme, fault: str
) -> None:
    provider = "hasty acme" if fault == "late" else "acme"
    order_id = await placed(database, paid(world.order(f"answer {fault}", 2), provider), AT)
    acme.faults.extend([fault, fault])
    for _ in range(2):
        await run(database, "authorize")
        task = await waiting(database, order_id)
        assert task["dead_at"] is None
        assert "called again with the same key" in task["last_error"]
        assert await money(database, order_id) == (0, 0, 0, 0)
    await run(database, "authorize")
    assert await money(database, order_id) == (2000, 0, 0, 0)
    assert acme.of(order_id) == [(2000, 0, 0, 0)]
    assert list(acme.keys.values()) == [3]  # one key, three times
    await assert_clean(database)


@pytest.mark.parametrize("fault", ["broken", "away", "busy", "pending"])
async def test_what_was_not_done_is_done_later_however_long_that_takes(
    database: Database, world: World, acme: Acme, fault: str
) -> None:
    orders = [await placed(database, paid(world.order(f"{fault} {n}", 1)), AT) for n in range(4)]
    acme.always = fault
    for _ in range(15):
        await run(database, "authorize")
    tasks = [await waiting(database, order_id) for order_id in orders]
    assert {task["dead_at"] for task in tasks} == {None}
    acme.always = None
    for _ in range(3):
        await run(database, "authorize")
    assert [await money(database, order_id) for order_id in orders] == [(1000, 0, 0, 0)] * 4
    assert [acme.of(order_id) for order_id in orders] == [[(1000, 0, 0, 0)]] * 4
    await assert_clean(database)


async def test_what_failed_too_often_waits_for_a_person_and_is_done_once_when_it_is_tried_again(
    database: Database, world: World, acme: Acme
) -> None:
    """An order alone at a provider that fails for an hour: it is given up in words that say what may have happened."""
    order_id = await placed(database, paid(world.order("alone", 2)), AT)
    acme.faults.append("lost")
    await run(database, "authorize")
    acme.always = "broken"
    registry = Registry()
    registry.effect("authorize", payments.authorize)
    assert isinstance(database.clock, SimulatedClock)
    for _ in range(12):
        database.clock.advance_to(database.clock.now() + timedelta(hours=2))
        await Worker(database, registry=registry).run_due()
    [letter] = [one for one in await database.read(lambda tx: dead_letters(tx, 100)) if one.subject_id == order_id]
    assert (
        "answered 500, a failure of its own. It may have been done; it is called again with the same key."
        in letter.last_error
    )
    acme.always = None
    await database.transact(lambda tx: replay(tx, letter.id, at=database.clock.now()))
    await run(database, "authorize")
    assert await money(database, order_id) == (2000, 0, 0, 0)
    assert acme.of(order_id) == [(2000, 0, 0, 0)]


async def test_a_provider_that_asks_for_a_pause_is_paused_and_counts_no_attempt(
    database: Database, world: World, acme: Acme
) -> None:
    order_id = await placed(database, paid(world.order("paused")), AT)
    acme.faults.append("busy")
    await run(database, "authorize")
    [pause] = await database.read(accounts.paused)
    assert pause.account == "payment provider acme"
    assert "answered 429: it was called too often" in pause.reason
    assert (await waiting(database, order_id))["attempts"] == 0
    await run(database, "authorize")
    assert await money(database, order_id) == (1000, 0, 0, 0)


async def test_answers_that_come_twice_are_each_their_own_orders(database: Database, world: World, acme: Acme) -> None:
    acme.always = "twice"
    orders = [await placed(database, paid(world.order(f"twice {n}", n + 1)), AT) for n in range(5)]
    await run(database, "authorize")
    assert [(await money(database, one))[0] for one in orders] == [1000, 2000, 3000, 4000, 5000]
    references = await database.pool.fetch(
        "SELECT order_id, reference FROM orders.payment_moves WHERE order_id = any($1)", orders
    )
    assert {acme.books[row["reference"]].order for row in references} == {str(one) for one in orders}


async def test_a_no_over_http_is_an_event_and_asked_once(database: Database, world: World, acme: Acme) -> None:
    order = world.order("no")
    payment = NewPayment(provider="acme", token="tok_declined", amount_minor=1000)
    order_id = await placed(database, structs.replace(order, payments=[payment]), AT)
    for _ in range(2):
        await run(database, "authorize")
    data = await database.pool.fetchval(
        "SELECT data FROM core.events WHERE subject_id = $1 AND kind = 'payment_declined'", order_id
    )
    assert '"reason": "card_declined"' in data
    assert list(acme.keys.values()) == [1]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_goes_wrong_the_ledger_and_the_provider_agree_in_the_end(
    database: Database, world: World, acme: Acme, seed: int
) -> None:
    """Orders are cancelled, shipped and refunded, while most calls go wrong in some way."""
    dice = random.Random(seed)
    ways = ["lost", "garbage", "other", "broken", "away", "busy", "pending", "twice", "", ""]
    orders = []
    for n in range(6):
        order = paid(world.order(f"storm {seed} {n}", dice.randint(1, 4), shipping_minor=100 * n))
        fate = ("cancelled", "shipped", "refunded")[n % 3]
        if fate == "cancelled":
            order_id = await placed(database, order, AT)
            await in_one(database, cancel, [Cancellation(order_id=order_id, all=True)], AT)
        else:
            order_id, works = await packed(database, order, AT)
            for work in works:
                number = f"storm {seed} {n} {work}"
                await in_one(
                    database,
                    ship,
                    [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number=number, all=True)],
                    AT,
                )
        orders.append((order_id, fate))
    for _ in range(6):
        acme.faults.extend(dice.choice(ways) for _ in range(20))
        await run(database)
    for order_id, fate in orders:
        if fate == "refunded":
            await in_one(database, refund, [NewRefund(order_id=order_id, reason="late", goodwill_minor=1)], AT)
    for _ in range(6):
        acme.faults.extend(dice.choice(ways) for _ in range(5))
        await run(database)
    acme.faults.clear()
    for _ in range(3):
        await run(database)
    for order_id, fate in orders:
        ours = await money(database, order_id)
        assert acme.of(order_id) == ([ours] if ours[0] else [])
        assert (ours[3] == 1) == (fate == "refunded")
        assert await waiting(database, order_id) is None
    await assert_clean(database)
