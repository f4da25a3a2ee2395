"""Orders that say how they are paid: which payments are taken, what is asked of whom, and that tokens are shown nowhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from api.test_api import application, calling
from approving import ApprovingProvider
from ordino.catalog.model import Channel
from ordino.catalog.upsert import upsert_channels
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import AnswerLost, NotYet, Refused, Unavailable
from ordino.core.events import Plans, Step
from ordino.core.reactions import Registry, Worker
from ordino.core.secret import Secret
from ordino.core.upserts import NotUpserted
from ordino.orders import payments
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import Authorization, NewOrder, NewPayment, OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.providers import Approved, Declined, PaymentCall, providers
from ordino.orders.reactions import forget_tokens
from ordino.orders.reactions import registry as known_reactions
from ordino.warehouse.model import Ship
from ordino.warehouse.ship import ship
from steps import assert_clean, events, in_one, order_body, packed, placed, sure
from world import World, served_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
TOKEN = "tok_4242424242424242"
FLOW = {
    "order_placed": (Step("authorize"),),
    "units_cancelled": (Step("void"),),
    "authorization_exceeded": (Step("void"),),
    "shipment_shipped": (Step("capture"),),
    "refund_requested": (Step("refund"),),
}


class Acme(ApprovingProvider):
    """Says yes and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, PaymentCall]] = []

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        self.calls.append(("authorize", call))
        return Approved(f"auth-{call.external_id}")

    async def capture(self, call: PaymentCall) -> Approved | Declined:
        self.calls.append(("capture", call))
        return Approved(f"capture-{call.key}")

    async def void(self, call: PaymentCall) -> Approved | Declined:
        self.calls.append(("void", call))
        return Approved(f"void-{call.key}")

    async def refund(self, call: PaymentCall) -> Approved | Declined:
        self.calls.append(("refund", call))
        return Approved(f"refund-{call.key}")


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async def plan(tx: Tx, version: int) -> dict[str, tuple[Step, ...]]:
        return FLOW

    async with await Database.open(database_url, plans=Plans(plan), clock=SimulatedClock(AT)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 1000})


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Acme:
    provider = Acme()
    monkeypatch.setitem(providers, "acme", provider)
    return provider


def paid(order: NewOrder, **fields: Any) -> NewOrder:
    """The order with one payment for its whole total."""
    return structs.replace(order, payments=[NewPayment(**{"amount_minor": order.total_minor, **fields})])


async def put(database: Database, order: NewOrder) -> Placed | OrderRefused:
    [outcome] = await database.transact(lambda tx: place(tx, [order], at=AT))
    return outcome


async def run(database: Database, *kinds: str) -> None:
    """Everything of these kinds that waits, whatever it waited for."""
    assert isinstance(database.clock, SimulatedClock)
    database.clock.advance_to(database.clock.now() + timedelta(hours=2))
    for kind in kinds:
        registry = Registry()
        registry.effect(kind, getattr(payments, kind))
        await Worker(database, registry=registry).run_due()


async def money(database: Database, order_id: UUID) -> tuple[int, ...]:
    row = await database.pool.fetchrow(
        "SELECT authorized_minor, voided_minor, captured_minor, refunded_minor FROM orders.payments WHERE order_id = $1",
        order_id,
    )
    return tuple(row)


async def test_an_order_without_payments_is_paid_by_its_channels_provider(
    database: Database, world: World, acme: Acme
) -> None:
    plain = await placed(database, world.order("plain"), AT)
    channel = Channel(code="by-acme", name="By Acme", seller=world.seller, payment_provider="acme")
    await database.transact(lambda tx: upsert_channels(tx, [channel], at=AT))
    await database.pool.execute(
        "INSERT INTO network.channel_networks (channel_id, network_id) SELECT c.channel_id, n.network_id FROM catalog.channels c, "
        "network.networks n WHERE c.code = 'by-acme' LIMIT 1"
    )
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")
    theirs = await placed(database, world.order("theirs", channel="by-acme"), AT)
    named = await placed(
        database, paid(world.order("named", channel="by-acme"), provider="manual", method="invoice"), AT
    )
    rows = await database.pool.fetch(
        "SELECT order_id, provider, method FROM orders.payments WHERE order_id = any($1)", [plain, theirs, named]
    )
    assert {row["order_id"]: (row["provider"], row["method"]) for row in rows} == {
        plain: ("manual", None),
        theirs: ("acme", None),
        named: ("manual", "invoice"),
    }
    await run(database, "authorize")
    [(_, call)] = acme.calls
    assert (call.order_id, call.external_id, call.channel, call.seller) == (theirs, "theirs", "by-acme", world.seller)


async def test_a_channel_cannot_name_a_provider_that_is_not_there(database: Database, world: World, acme: Acme) -> None:
    async def put_channel(provider: str) -> Any:
        channel = Channel(code="picky", name="Picky", seller=world.seller, payment_provider=provider)
        [outcome] = await database.transact(lambda tx: upsert_channels(tx, [channel], at=AT))
        return outcome

    refused = sure(await put_channel("nobody"), NotUpserted)
    assert refused.pointer == "/payment_provider"
    assert "There is no payment provider 'nobody' here; choose one of: acme, manual." in refused.detail
    assert not isinstance(await put_channel("acme"), NotUpserted)
    del providers["acme"]
    assert not isinstance(await put_channel("acme"), NotUpserted)  # it has it already: another process may know it
    providers["acme"] = acme


async def test_a_provider_is_told_what_it_needs_and_the_token_once(
    database: Database, world: World, acme: Acme
) -> None:
    order = paid(world.order("told", 2), provider="acme", method="card", token=TOKEN)
    order_id, [work] = await packed(database, order, AT)
    await run(database, "authorize")
    assert await database.pool.fetchval("SELECT count(*) FROM orders.payment_tokens") == 0
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="told", all=True)], AT
    )
    await run(database, "capture")
    (_, first), (_, second) = acme.calls
    assert first.token == Secret(TOKEN)
    assert (first.amount_minor, first.currency, first.method, first.authorization) == (2000, "USD", "card", None)
    assert (second.token, second.authorization, second.payment_id) == (None, "auth-told", first.payment_id)
    assert len({first.key, second.key}) == 2
    assert await money(database, order_id) == (2000, 0, 2000, 0)
    await assert_clean(database)


async def test_a_refund_names_the_captures(database: Database, world: World, acme: Acme) -> None:
    order_id, [work] = await packed(database, paid(world.order("captures"), provider="acme"), AT)
    await run(database, "authorize")
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="captures", all=True)], AT
    )
    await run(database, "capture")
    from ordino.aftercare.model import NewRefund
    from ordino.aftercare.refunds import refund

    await in_one(database, refund, [NewRefund(order_id=order_id, reason="late", goodwill_minor=300)], AT)
    await run(database, "refund")
    captured, asked = acme.calls[-2][1], acme.calls[-1][1]
    assert [(one.reference, one.amount_minor) for one in asked.captures] == [(f"capture-{captured.key}", 1000)]
    assert (asked.amount_minor, asked.authorization) == (300, "auth-captures")
    await assert_clean(database)


async def test_an_authorization_that_was_made_elsewhere_is_taken_over_without_a_call(
    database: Database, world: World, acme: Acme
) -> None:
    made = Authorization(reference="pi_123", amount_minor=2000)
    order = paid(world.order("elsewhere", 2), provider="acme", authorization=made)
    order_id, [work] = await packed(database, order, AT)
    assert await money(database, order_id) == (2000, 0, 0, 0)
    [told] = await events(database, order_id, "payment_authorized")  # what follows it, follows
    assert told == {"amount_minor": 2000, "reference": "pi_123", "taken_over": True}
    await run(database, "authorize")
    assert acme.calls == []
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="else", all=True)], AT
    )
    await run(database, "capture")
    [(verb, call)] = acme.calls
    assert (verb, call.authorization, call.amount_minor) == ("capture", "pi_123", 2000)
    assert len(await events(database, order_id, "payment_authorized")) == 1
    await assert_clean(database)


async def test_what_an_authorization_exceeds_the_order_by_is_let_go(
    database: Database, world: World, acme: Acme
) -> None:
    made = Authorization(reference="pi_456", amount_minor=2500)
    order = world.order("drops", {"sku-1": 1, "sku-2": 1}, channel=world.channels["drop"], shipping_minor=500)
    order_id = await placed(database, paid(order, provider="acme", authorization=made), AT)
    assert await money(database, order_id) == (2500, 0, 0, 0)
    await run(database, "authorize", "void")
    [(verb, call)] = acme.calls
    assert (verb, call.authorization, call.amount_minor) == ("void", "pi_456", 1000)
    assert await money(database, order_id) == (2500, 1000, 0, 0)
    await assert_clean(database)


def test_the_surplus_is_let_go_under_older_flows_too() -> None:
    from ordino.core.events import FOLLOWS

    assert [step.reaction for step in FOLLOWS["authorization_exceeded"]] == ["void"]
    assert "void" in known_reactions.effects


@pytest.mark.parametrize(
    ("fields", "reason", "pointer", "said"),
    [
        ({"amount_minor": 999}, Refusal.WRONG_PAYMENT, "/payments/0/amount_minor", "999 and the order for 1000"),
        (
            {"provider": "nobody"},
            Refusal.UNKNOWN_PAYMENT_PROVIDER,
            "/payments/0/provider",
            "choose one of: acme, manual.",
        ),
        (
            {"provider": "acme", "authorization": Authorization(reference="x", amount_minor=1)},
            Refusal.WRONG_PAYMENT,
            "/payments/0/authorization/amount_minor",
            "The authorization is for 1",
        ),
        (
            {"provider": "acme", "token": TOKEN, "authorization": Authorization(reference="x", amount_minor=1000)},
            Refusal.INVALID,
            "/payments/0/token",
            "send one of them",
        ),
    ],
)
async def test_a_payment_that_cannot_be_is_refused_and_nothing_is_written(
    database: Database, world: World, acme: Acme, fields: dict[str, Any], reason: Refusal, pointer: str, said: str
) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM orders.order_keys")
    refused = sure(await put(database, paid(world.order("cannot be"), **fields)), OrderRefused)
    assert (refused.reason, refused.pointer) == (reason, pointer)
    assert said in refused.detail
    assert TOKEN not in refused.detail
    assert await database.pool.fetchval("SELECT count(*) FROM orders.order_keys") == before


@pytest.mark.parametrize("count", [0, 2])
async def test_an_order_has_one_payment_for_now(database: Database, world: World, count: int) -> None:
    payment = NewPayment(amount_minor=1000)
    order = structs.replace(world.order("several"), payments=[payment] * count)
    refused = sure(await put(database, order), OrderRefused)
    assert (refused.reason, refused.pointer) == (Refusal.INVALID, "/payments")
    assert "send one entry for the whole total" in refused.detail


async def test_an_order_sent_again_with_another_payment_is_another_order(
    database: Database, world: World, acme: Acme
) -> None:
    order = paid(world.order("sent again"), provider="acme", token=TOKEN)
    first, again = await put(database, order), await put(database, order)
    assert again == structs.replace(sure(first, Placed), repeated=True)
    changed = paid(world.order("sent again"), provider="manual")
    assert sure(await put(database, changed), OrderRefused).reason is Refusal.REPEATED_WITH_CHANGES
    await database.pool.execute("DELETE FROM orders.payment_tokens; DELETE FROM core.reactions")


async def test_an_authorization_is_taken_over_once_however_often_its_order_comes_at_once(
    database: Database, world: World, acme: Acme
) -> None:
    made = Authorization(reference="pi_789", amount_minor=1000)
    order = paid(world.order("at once"), provider="acme", authorization=made)
    outcomes = await asyncio.gather(*(put(database, order) for _ in range(6)))
    assert [sure(one, Placed).repeated for one in outcomes].count(False) == 1
    [order_id] = {sure(one, Placed).order_id for one in outcomes}
    assert await money(database, order_id) == (1000, 0, 0, 0)
    assert len(await events(database, order_id, "payment_authorized")) == 1
    await assert_clean(database)


async def test_what_the_version_before_writes_fits_the_new_tables(database: Database, world: World) -> None:
    """It knows neither how an order is paid nor who moves a channel's money."""
    await database.pool.execute(
        "INSERT INTO catalog.channels (channel_id, code, name, seller_id, short_policy) "
        "SELECT 9999, 'older', 'Older', seller_id, 'refuse' FROM catalog.sellers LIMIT 1"
    )
    kept = await database.pool.fetchrow("SELECT payment_provider FROM catalog.channels WHERE code = 'older'")
    assert tuple(kept) == ("manual",)
    order_id = await placed(database, world.order("older"), AT)
    await database.pool.execute("DELETE FROM orders.payments WHERE order_id = $1", order_id)
    await database.pool.execute(
        "INSERT INTO orders.payments (order_id, provider, currency, authorized_minor, voided_minor, captured_minor, refunded_minor, due_minor) "
        "VALUES ($1, 'manual', 'USD', 0, 0, 0, 0, 1000)",
        order_id,
    )
    await run(database, "authorize")
    assert await money(database, order_id) == (1000, 0, 0, 0)
    await assert_clean(database)


async def test_payments_come_over_http_and_unknown_fields_are_refused(
    database: Database, database_url: str, world: World, acme: Acme
) -> None:
    async with calling(application(database_url)) as client:
        payment = {"provider": "acme", "method": "card", "token": TOKEN, "amount_minor": 500}
        answer = await client.post("/v1/orders", json={**order_body("over http"), "payments": [payment]})
        assert answer.status_code == 201
        order_id = answer.json()["order_id"]
        shown = (await client.get(f"/v1/orders/{order_id}")).json()["payment"]
        assert (shown["provider"], shown["method"], shown["status"]) == ("acme", "card", "pending")
        kept = {**order_body("kept answer"), "payments": [payment]}
        for _ in range(2):  # the first answer is kept, and told again
            assert (await client.post("/v1/orders", json=kept, headers={"Idempotency-Key": "k"})).status_code == 201
        assert TOKEN not in await everything(database)
        wrong = {"provider": "acme", "number": "4242424242424242", "amount_minor": 500}
        refused = await client.post("/v1/orders", json={**order_body("wrong"), "payments": [wrong]})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/payments/0/number")
        several = await client.post("/v1/orders", json={**order_body("wrong"), "payments": [payment, payment]})
        assert (several.status_code, several.json()["errors"][0]["pointer"]) == (400, "/payments")
        for answered in (answer, refused, several):
            assert TOKEN not in answered.text


# -- tokens ----------------------------------------------------------------------------------------------------------------


async def everything(database: Database) -> str:
    """All rows of all tables, but for the one that keeps tokens."""
    tables = await database.pool.fetch(
        "SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relname <> 'payment_tokens'"
    )
    assert len(tables) > 50
    rows = [await database.pool.fetch(f"SELECT t::text FROM {table['name']} t") for table in tables]
    return "\n".join(row["t"] for some in rows for row in some)


class Tells(Acme):
    """Puts the token wherever words go."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    async def authorize(self, call: PaymentCall) -> Approved | Declined:
        assert call.token is not None
        token = call.token.reveal()
        match self.what:
            case "refused":
                raise Refused(f"The token {token} is unknown.")
            case "lost":
                raise AnswerLost(f"No answer to {token}.")
            case "unavailable":
                raise Unavailable(f"Try {token} again.")
            case "not_yet":
                raise NotYet(f"{token} is pending.")
            case "bug":
                raise ValueError({"token": token})
            case "chained":
                raise RuntimeError(f"failed with {token}") from KeyError(token)
            case "declined":
                return Declined(f"no_{token}", f"The card behind {token}\nwas declined.")
            case "reference":
                return Approved(token)
        raise AssertionError(f"{call!r} {call.token} {call}")


@pytest.mark.parametrize(
    "what", ["refused", "lost", "unavailable", "not_yet", "bug", "chained", "declined", "reference", "printed"]
)
async def test_mon_10_a_token_is_in_no_row_log_answer_or_error(
    database: Database,
    database_url: str,
    world: World,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(providers, "acme", Tells(what))
    order = paid(world.order(f"secret {what}"), provider="acme", token=TOKEN)
    with caplog.at_level(logging.DEBUG):
        order_id = await placed(database, order, AT)
        await run(database, "authorize")
        logging.getLogger("test").warning("%r %s", order, order)
    async with calling(application(database_url)) as client:
        paths = (
            f"/v1/orders/{order_id}",
            f"/v1/orders/{order_id}/timeline",
            f"/v1/orders/{order_id}/sourcing",
            "/v1/dead_letters",
            "/v1/effects",
        )
        shown = [(await client.get(path)).text for path in paths]
    assert TOKEN not in await everything(database)
    assert TOKEN not in "\n".join(shown)
    assert TOKEN not in caplog.text
    assert (
        await database.pool.fetchval("SELECT token FROM orders.payment_tokens WHERE order_id = $1", order_id) == TOKEN
    )
    if what == "declined":
        [said] = await events(database, order_id, "payment_declined")
        assert said == {
            "amount_minor": 1000,
            "reason": "declined",
            "of": "authorize",
            "sentence": "The card behind [secret] was declined.",
        }
    await database.pool.execute("DELETE FROM orders.payment_tokens; DELETE FROM core.reactions")


async def test_an_error_about_a_payment_shows_no_token(database: Database, world: World, acme: Acme) -> None:
    """PostgreSQL tells the whole row that breaks a rule: a token in it would be in every log."""
    order_id = await placed(database, paid(world.order("breaks"), provider="acme", token=TOKEN), AT)
    with pytest.raises(Exception, match="Failing row contains") as raised:
        await database.pool.execute("UPDATE orders.payments SET captured_minor = 1 WHERE order_id = $1", order_id)
    assert TOKEN not in str(raised.value)
    await database.pool.execute("DELETE FROM orders.payment_tokens; DELETE FROM core.reactions")


async def test_tokens_of_cancelled_orders_are_forgotten_and_those_that_wait_are_not(
    database: Database, world: World, acme: Acme
) -> None:
    gone, waits, queued = [
        await placed(database, paid(world.order(f"token {n}"), provider="acme", token=TOKEN), AT) for n in range(3)
    ]
    await in_one(database, cancel, [Cancellation(order_id=gone, all=True), Cancellation(order_id=queued, all=True)], AT)
    await database.pool.execute("DELETE FROM core.reactions WHERE subject_id = any($1)", [gone, waits])
    await database.transact(lambda tx: forget_tokens(tx, AT, AT))
    kept = await database.pool.fetch("SELECT order_id FROM orders.payment_tokens ORDER BY 1")
    assert [row["order_id"] for row in kept] == sorted([waits, queued])
    await database.pool.execute("DELETE FROM orders.payment_tokens; DELETE FROM core.reactions")


async def test_the_token_of_an_order_that_costs_nothing_is_forgotten_though_nobody_was_asked(
    database: Database, world: World, acme: Acme
) -> None:
    order = paid(world.order("free", unit_price_minor=0), provider="acme", token=TOKEN)
    order_id = await placed(database, order, AT)
    await run(database, "authorize")
    assert acme.calls == []
    kept = await database.pool.fetchval("SELECT count(*) FROM orders.payment_tokens WHERE order_id = $1", order_id)
    assert kept == 0


# -- answers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (True, "answered with bool, which is no answer"),
        ({"id": 1}, "answered with dict, which is no answer"),
        (None, "answered with NoneType, which is no answer"),
        (Approved(""), "approved without a reference"),
        (Approved("x" * 201), "approved without a reference"),
        (Approved("a\x00b"), "approved without a reference"),
        (Approved(5), "approved without a reference"),  # type: ignore[arg-type]
        (Approved("ref", 1001), "asked to authorize 1000 USD (minor units) and says that it did 1001"),
        (Approved("ref", 0), "and says that it did 0"),
        (Approved("ref", -1), "and says that it did -1"),
        (Approved("ref", 10.5), "and says that it did 10.5"),  # type: ignore[arg-type]
        (Approved("ref", "1000"), "and says that it did 1000"),  # type: ignore[arg-type]
        (Approved("ref", True), "and says that it did True"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_written_nowhere_and_said(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, answer: Any, said: str
) -> None:
    class Odd(Acme):
        async def authorize(self, call: PaymentCall) -> Any:
            return answer

    monkeypatch.setitem(providers, "acme", Odd())
    order_id = await placed(database, paid(world.order(f"odd {answer!r}"[:50]), provider="acme"), AT)
    await run(database, "authorize")
    row = await database.pool.fetchrow(
        "SELECT * FROM core.reactions WHERE subject_id = $1 AND kind = 'authorize'", order_id
    )
    assert said in row["last_error"]
    assert (row["dead_at"] is not None) == ("says that it did" in said)
    assert await money(database, order_id) == (0, 0, 0, 0)
    assert await events(database, order_id, "payment_authorized") == []
    await database.pool.execute("DELETE FROM core.reactions WHERE subject_id = $1", order_id)


@pytest.mark.parametrize(
    "answer",
    [Declined(None), Declined(5, "No."), Declined("card_declined", None), Declined("x" * 99, {"why": 1})],  # type: ignore[arg-type]
    ids=["no code", "a number", "no sentence", "too long"],
)
async def test_a_no_without_a_word_or_a_sentence_is_a_no(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, answer: Declined
) -> None:
    class Odd(Acme):
        async def authorize(self, call: PaymentCall) -> Approved | Declined:
            return answer

    monkeypatch.setitem(providers, "acme", Odd())
    order_id = await placed(database, paid(world.order(f"odd no {answer!r}"[:100]), provider="acme"), AT)
    await run(database, "authorize")
    [said] = await events(database, order_id, "payment_declined")
    assert said["reason"] == ("card_declined" if answer.code == "card_declined" else "declined")
    await database.pool.execute("DELETE FROM core.reactions WHERE subject_id = $1", order_id)


async def test_a_partial_approval_is_written_and_its_rest_is_declined(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Partly(Acme):
        async def capture(self, call: PaymentCall) -> Approved | Declined:
            return Approved("part", 600)

    monkeypatch.setitem(providers, "acme", Partly())
    order_id, [work] = await packed(database, paid(world.order("partly"), provider="acme"), AT)
    await run(database, "authorize")
    await in_one(
        database, ship, [Ship(order_id=order_id, fulfillment_order_id=work, tracking_number="partly", all=True)], AT
    )
    await run(database, "capture")
    assert await money(database, order_id) == (1000, 0, 600, 0)
    [rest] = await events(database, order_id, "payment_declined")
    assert rest == {"amount_minor": 400, "reason": "partially_approved", "of": "capture"}
    await assert_clean(database)


async def test_a_provider_that_lacks_a_setting_leaves_its_calls_to_other_workers(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Poor(Acme):
        def lacking(self) -> str | None:
            return "Set ACME_KEY."

    monkeypatch.setitem(providers, "acme", Poor())
    order_id = await placed(database, paid(world.order("poor"), provider="acme"), AT)
    with caplog.at_level(logging.WARNING):
        await run(database, "authorize")
    row = await database.pool.fetchrow(
        "SELECT * FROM core.reactions WHERE subject_id = $1 AND kind = 'authorize'", order_id
    )
    said = "The payment provider 'acme' is not set up in this worker: Set ACME_KEY."
    assert (row["attempts"], row["dead_at"], row["last_error"]) == (0, None, f"NotYet: {said}")
    assert f"{said} Calls to it wait for a worker in which it is." in caplog.messages
    monkeypatch.setitem(providers, "acme", Acme())
    await run(database, "authorize")
    assert (await money(database, order_id))[0] == 1000
