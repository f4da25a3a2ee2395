"""Messages and surveys: a fact is told once, what was typed stays text, and an order is asked once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs

from ordino.aftercare.api import routes
from ordino.aftercare.message import Fact, Line, render, units
from ordino.aftercare.model import QUESTIONS, Answered, Answers, SurveyAnswer, SurveyRefusal, Template
from ordino.aftercare.reactions import ask_survey, message
from ordino.aftercare.survey import answer
from ordino.connect.mail import smtp
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.money import amount
from ordino.core.reactions import Worker, registry
from ordino.orders.cancel import Cancellation, cancel
from ordino.orders.model import Address, NewOrder
from steps import client, delivered, events, in_one, placed, react, shipped, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


def order(
    world: World, external_id: str, name: str = "Ada", email: str | None = "ada@example.com", units: int = 2
) -> NewOrder:
    address = Address(name=name, line1="1 Main Street", city="Town", postal_code="43215", country="US", email=email)
    return world.order(external_id, units, shipping_minor=500, ship_to=address)


async def told(database: Database, order_id: Any) -> list[dict[str, Any]]:
    async with client(database, routes) as http:
        shown: list[dict[str, Any]] = (await http.get(f"/v1/orders/{order_id}/messages")).json()["messages"]
        return shown


async def test_every_template_says_what_happened(database: Database, world: World) -> None:
    order_id, [sent] = await delivered(database, order(world, "told"), AT)
    for kind, template in (
        ("order_placed", Template.ORDER_RECEIVED),
        ("shipment_shipped", Template.ORDER_SHIPPED),
        ("shipment_delivered", Template.ORDER_DELIVERED),
    ):
        await react(database, message, order_id, kind, AT, template=template)
    bodies = {shown["template"]: shown for shown in await told(database, order_id)}
    assert set(bodies) == {
        Template.ORDER_RECEIVED,
        Template.ORDER_SHIPPED,
        Template.ORDER_DELIVERED,
    }
    assert "2 x sku-1" in bodies["order_received"]["body"]
    assert "25.00 USD" in bodies["order_received"]["body"]
    assert re.search(r"day, March \d, 2026\.", bodies["order_received"]["body"])
    assert sent.tracking_number in bodies["order_shipped"]["body"]
    assert all("told" in shown["subject"] and shown["recipient"] == "ada@example.com" for shown in bodies.values())


async def test_sums_in_messages_are_what_is_charged_and_given_back(database: Database, world: World) -> None:
    dear = structs.replace(order(world, "discounted"), discount_minor=2200, total_minor=300)
    order_id = await placed(database, dear, AT)
    await react(database, message, order_id, "order_placed", AT, template=Template.ORDER_RECEIVED)
    cancelled = await placed(database, order(world, "cancelled", units=3), AT)
    await in_one(database, cancel, [Cancellation(order_id=cancelled, all=True)], AT)
    await react(database, message, cancelled, "units_cancelled", AT, template=Template.ORDER_CANCELLED)
    [received], [called_off] = await told(database, order_id), await told(database, cancelled)
    assert "5.00 USD" not in received["body"]
    assert received["body"].count("3.00 USD") == 2  # the shipping, and all of it
    assert "You will not be charged 35.00 USD for them." in called_off["body"]
    assert "refund" not in called_off["body"]
    fact = Fact(cancelled, uuid4(), Template.ORDER_CANCELLED, {"lines": [], "given_back_minor": 1234})
    words = {"seller": "Seller", "external_id": "x", "name": "Ada", "currency": "USD"}
    assert "We will refund the 12.34 USD that you paid for them." in render(fact, words, {})[1]


@pytest.mark.parametrize(("currency", "paid"), [("KWD", "12.000 KWD"), ("JPY", "12,000 JPY"), ("USD", "120.00 USD")])
async def test_amounts_have_the_decimals_of_their_currency(currency: str, paid: str) -> None:
    words = {"seller": "Acme", "external_id": "x", "name": "Ada", "currency": currency, "shipping_minor": 500}
    words |= {"total_minor": 12500, "promised_on": None}
    lines = {1: Line(2, 0, "Tea", 12000), 2: Line(1500, 3, "Flour", 700, accepted=False)}
    body = render(Fact(uuid4(), uuid4(), Template.ORDER_RECEIVED, {}), words, lines)[1]
    bought, missing = body.split("These items are not available.")
    assert f"2 x Tea, {paid}" in bought
    assert amount(12500, currency) in bought
    assert "1.5 x Flour\n" in missing
    assert "Flour" not in bought


@pytest.mark.parametrize("words", list(Template))
async def test_messages_begin_with_a_greeting_and_a_capital_letter(words: Template) -> None:
    order = {"seller": "Acme", "external_id": "x", "name": "Ada", "currency": "USD", "shipping_minor": 500}
    order |= {"total_minor": 1500, "promised_on": None, "arrives_on": None, "expected_on": "Friday, December 4, 2026"}
    data = {"tracking_number": "1Z", "amount_minor": 700}
    subject, body = render(Fact(uuid4(), uuid4(), words, data), order, {1: Line(2, 0, "Tea", 1000)})
    assert subject.startswith("Acme: ")
    assert body.startswith("Hello Ada,\n\n")
    assert body[12].isupper()
    assert "\n\n\n" not in body


@pytest.mark.parametrize("words", list(Template))
async def test_a_fact_is_told_once(database: Database, world: World, words: Template) -> None:
    """MSG-1."""
    order_id, _ = await shipped(database, order(world, f"once {words}"), AT)

    async def first(*arguments: Any) -> None:
        await message(*arguments)

    for reaction in (message, first):
        await react(database, reaction, order_id, "shipment_shipped", AT, template=words)
    [shown] = await told(database, order_id)
    assert shown["template"] == words
    assert shown["sent_at"] is None
    assert f"once {words}" in shown["body"]


async def test_what_was_typed_stays_text(database: Database, world: World) -> None:
    """MSG-2."""
    name = "Eve\nBcc: all@example.com {{ 7 * 7 }} <b>&"
    order_id = await placed(database, order(world, "typed\r\nX-Evil: 1", name), AT)
    await react(database, message, order_id, "order_placed", AT, template="order_received")
    [shown] = await told(database, order_id)
    assert "\n" not in shown["subject"]
    assert "\r" not in shown["subject"]
    assert "Hello Eve Bcc: all@example.com {{ 7 * 7 }} <b>&,\n" in shown["body"]


async def test_an_order_without_an_address_for_mail_is_not_written_to(database: Database, world: World) -> None:
    order_id = await placed(database, order(world, "mute", email=None), AT)
    await react(database, message, order_id, "order_placed", AT, template="order_received")
    assert await told(database, order_id) == []


def test_amounts_and_units_in_words() -> None:
    assert [amount(123456, "USD"), amount(-5, "EUR"), amount(1234, "JPY"), amount(1, "KWD")] == [
        "1,234.56 USD",
        "-0.05 EUR",
        "1,234 JPY",
        "0.001 KWD",
    ]
    assert [units(2, 0), units(1500, 3), units(2000, 3)] == ["2", "1.5", "2"]


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("ORDINO_SMTP_URL", "smtp://127.0.0.1:2525")
    smtp.server.cache_clear()
    yield "127.0.0.1"
    smtp.server.cache_clear()


async def test_mail_leaves_the_outbox_once(
    database: Database, world: World, mail_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        letter: list[bytes] | None = None
        while text := await reader.readline():
            if letter is not None:
                if text == b".\r\n":
                    taken.append(b"".join(letter))
                    letter = None
                    writer.write(b"250 taken\r\n")
                else:
                    letter.append(text)
            elif text.upper().startswith(b"DATA"):
                letter = []
                writer.write(b"354 go on\r\n")
            elif text.upper().startswith(b"QUIT"):
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 fine\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    monkeypatch.setenv("ORDINO_SMTP_URL", f"smtp://127.0.0.1:{port}")
    smtp.server.cache_clear()
    order_id = await placed(database, order(world, "mailed"), AT)
    await react(database, message, order_id, "order_placed", AT, template="order_received")
    [task] = await database.pool.fetch("SELECT id FROM core.reactions WHERE kind = 'send'")
    monkeypatch.setattr(database, "clock", SimulatedClock(AT))
    async with listening:
        worker = Worker(database, registry=registry)
        await worker._affect("send", AT)
        await worker._affect("send", AT)
    [letter] = [message_from_bytes(data) for data in taken]
    assert letter["Message-ID"] == f"<{task['id']}@ordino>"
    assert letter["To"] == "ada@example.com"
    [shown] = await told(database, order_id)
    assert shown["sent_at"] is not None


async def test_an_order_is_asked_once_and_answers_once(database: Database, world: World) -> None:
    """SUR-1."""
    order_id, _ = await delivered(database, order(world, "asked"), AT)
    underway, _ = await shipped(database, order(world, "not asked"), AT)
    for _ in range(2):
        await react(database, ask_survey, order_id, "shipment_delivered", AT)
        await react(database, ask_survey, underway, "shipment_shipped", AT)
    assert len(await events(database, order_id, "survey_asked")) == 1
    assert await events(database, underway, "survey_asked") == []
    await react(database, message, order_id, "survey_asked", AT, template=Template.SURVEY)
    [asked] = await told(database, order_id)
    assert all(question in asked["body"] for question in QUESTIONS.values())
    good = SurveyAnswer(order_id=order_id, answers=Answers(overall=5, packaging=2), comment="Fine")
    outcomes = await in_one(
        database,
        answer,
        [
            SurveyAnswer(order_id=uuid4(), answers=Answers(overall=1)),
            SurveyAnswer(order_id=underway, answers=Answers(overall=1)),
            SurveyAnswer(order_id=order_id, answers=Answers()),
            good,
            good,
        ],
        AT,
    )
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [
        SurveyRefusal.UNKNOWN_ORDER,
        SurveyRefusal.NOT_ASKED,
        SurveyRefusal.INVALID,
        None,
        SurveyRefusal.ANSWERED_BEFORE,
    ]
    sure(outcomes[3], Answered)
    async with client(database, routes) as http:
        shown = (await http.get(f"/v1/orders/{order_id}/survey")).json()
        assert shown["answers"] == {"overall": 5, "packaging": 2}
        where = f"/v1/orders/{order_id}/survey/answers"
        assert (await http.post(where, json={"answers": {"overall": 9}})).status_code == 400
        assert (await http.post(where, json={"answers": {"overall": 4}})).status_code == 409
    [fact] = await events(database, order_id, "survey_answered")
    assert fact["answers"] == {"overall": 5, "packaging": 2}
