"""An order that is sent again gets its first answer, however it is written and whatever has become of its channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from msgspec import structs

from ordino.core.database import Database
from ordino.network.model import Member, Network
from ordino.network.upsert import upsert_networks
from ordino.orders.model import NewCustomer, NewOrder, NewPayment, OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.repeats import digest_of
from steps import assert_clean
from world import World, small_world, sure

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
PROMISED = datetime(2026, 3, 9, 18, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


async def put(database: Database, *orders: NewOrder) -> list[Placed | OrderRefused]:
    return await database.transact(lambda tx: place(tx, orders, at=AT))


async def placed(database: Database, order: NewOrder) -> Placed:
    [outcome] = await put(database, order)
    assert isinstance(outcome, Placed), outcome
    return outcome


def in_json(order: NewOrder, **changes: Any) -> NewOrder:
    """The order as it comes over HTTP: every text is an object of its own."""
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(order) | changes), type=NewOrder)


@pytest.mark.parametrize("hours", [1, -5, 9])
async def test_the_same_instant_at_another_offset_is_a_repeat(database: Database, world: World, hours: int) -> None:
    order = world.order(f"offset {hours}", promised_at=PROMISED)
    first = await placed(database, order)
    again = structs.replace(order, promised_at=PROMISED.astimezone(timezone(timedelta(hours=hours))))
    repeated = await placed(database, again)
    assert (repeated.order_id, repeated.repeated) == (first.order_id, True)
    [other] = await put(database, structs.replace(order, promised_at=PROMISED + timedelta(hours=1)))
    assert isinstance(other, OrderRefused)
    assert other.reason is Refusal.REPEATED_WITH_CHANGES


async def test_defaults_that_are_written_out_are_a_repeat(database: Database, world: World) -> None:
    order = world.order("defaults")
    first = await placed(database, order)
    written = in_json(order, type="home_delivery", tax_minor=0, hold_id=None, customer=None, service_level=None)
    assert (await placed(database, written)).order_id == first.order_id
    [other] = await put(database, in_json(order, type="pickup"))
    assert isinstance(other, OrderRefused)


async def test_an_order_gets_its_first_answer_after_its_channel_lost_its_network(database: Database) -> None:
    world = await small_world(database, prefix="lost-")
    order = world.order("before")
    first, twin = await put(database, order, world.order("twin"))
    assert isinstance(first, Placed)
    assert isinstance(twin, Placed)
    alone = Network(code=world.network, name="Network", members=[Member(location=world.location)], channels=[])
    await database.transact(lambda tx: _upsert(tx, alone))
    repeated, new, changed = await put(
        database, order, world.order("after"), structs.replace(world.order("twin"), type="pickup")
    )
    assert repeated == structs.replace(first, repeated=True)
    assert isinstance(new, OrderRefused)
    assert new.reason is Refusal.UNKNOWN_CHANNEL
    assert isinstance(changed, OrderRefused)
    assert changed.reason is Refusal.REPEATED_WITH_CHANGES
    await assert_clean(database)


async def _upsert(tx: Any, network: Network) -> None:
    sure(await upsert_networks(tx, [network], at=AT))


def test_a_release_that_adds_a_field_leaves_retries_honest(world: World) -> None:
    later = msgspec.defstruct(
        "LaterOrder", [("gift", bool, False), ("note", str | None, None)], bases=(NewOrder,), kw_only=True
    )
    order = world.order("later")
    body = msgspec.json.encode(msgspec.to_builtins(order))
    assert digest_of(msgspec.json.decode(body, type=later)) == digest_of(order)
    gift = msgspec.json.encode(msgspec.to_builtins(order) | {"gift": True})
    assert digest_of(msgspec.json.decode(gift, type=later)) != digest_of(order)


def test_every_field_of_an_order_counts(world: World) -> None:
    order = world.order("whole", customer="c")
    others: dict[str, Any] = {
        "channel": "other", "external_id": "other", "currency": "EUR", "lines": order.lines * 2, "shipping_minor": 1,
        "tax_minor": 1, "discount_minor": 1, "total_minor": 1, "type": "pickup", "service_level": "fast",
        "promised_at": PROMISED, "ship_by_at": PROMISED, "hold_id": uuid4(), "customer": NewCustomer(external_id="d"),
        "ship_to": structs.replace(order.ship_to, city="Elsewhere"), "payments": [NewPayment(amount_minor=1000)],
    }  # fmt: skip
    assert set(others) == set(NewOrder.__struct_fields__)
    digests = {digest_of(structs.replace(order, **{name: value})) for name, value in others.items()}
    assert len(digests | {digest_of(order)}) == len(others) + 1


def test_what_the_encoder_leaves_out_is_every_default(world: World) -> None:
    """The digest is one pass of the encoder, which knows a default only by being the same object; the type is compared."""
    written = {field.name: field.default for field in structs.fields(NewOrder) if not field.required}
    by_worth = {name for name, default in written.items() if not isinstance(default, int | None)}
    assert by_worth == {"type"}
    for line in (order_line for order_line in world.order("defaults").lines):
        assert {field.default for field in structs.fields(line) if not field.required} <= {None}
