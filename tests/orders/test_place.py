"""Placement: what is accepted, what is refused and why, and what a refusal leaves behind (nothing)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from ordino.core.database import Database
from ordino.core.statements import Statement
from ordino.orders.model import NewLine, NewOrder, OrderRefused, Placed, Refusal
from ordino.orders.place import place
from steps import assert_clean, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(
        database, skus=8, stock={("sku-1", "loc-1"): 1000, ("sku-2", "loc-1"): 10, ("sku-2", "loc-2"): 10}
    )


async def put(database: Database, *orders: NewOrder) -> list[Placed | OrderRefused]:
    return await database.transact(lambda tx: place(tx, orders, at=AT))


async def everything(database: Database) -> list[Any]:
    tables = (
        "orders.orders",
        "orders.lines",
        "orders.moves",
        "inventory.moves",
        "inventory.reservations",
        "core.events",
    )
    return [await database.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables] + [
        tuple(row) for row in await database.pool.fetch("SELECT * FROM inventory.stock ORDER BY 1, 2")
    ]


async def test_an_order_is_placed_priced_sourced_and_reserved(database: Database, world: World) -> None:
    order = world.order("first", {"sku-1": 3, "sku-2": 2}, unit_price_minor=999, shipping_minor=500, tax_minor=101)
    [placed] = await put(database, order)
    assert isinstance(placed, Placed)
    assert placed.status == "allocated"
    assert placed.promised_at is not None
    lines = await database.pool.fetch(
        "SELECT * FROM orders.lines WHERE order_id = $1 ORDER BY line_no", placed.order_id
    )
    assert [(line["allocated"], line["backordered"]) for line in lines] == [(3, 0), (2, 0)]
    assert sum(line["amount_minor"] for line in lines) + 500 == order.total_minor
    held = await database.pool.fetch("SELECT quantity FROM inventory.reservations WHERE order_id = $1", placed.order_id)
    assert sorted(row["quantity"] for row in held) == [2, 3]
    events = await database.pool.fetch("SELECT kind FROM core.events WHERE subject_id = $1", placed.order_id)
    assert [event["kind"] for event in events] == ["order_placed"]
    why = await database.pool.fetchval(
        "SELECT explanation FROM sourcing.decisions WHERE order_id = $1", placed.order_id
    )
    assert "one location" in why


async def test_an_order_sent_again_is_answered_and_not_placed_again(database: Database, world: World) -> None:
    order = world.order("again", 2)
    [first] = await put(database, order)
    before = await everything(database)
    [second, third] = await put(database, order, order)
    assert isinstance(first, Placed)
    assert second == third == msgspec.structs.replace(first, repeated=True)
    assert await everything(database) == before


async def test_twice_in_one_batch_is_placed_once(database: Database, world: World) -> None:
    order = world.order("twins", 2)
    outcomes = await put(database, order, order, world.order("twins", 3))
    assert [getattr(o, "repeated", None) for o in outcomes] == [False, True, None]
    assert isinstance(outcomes[2], OrderRefused)
    assert outcomes[2].reason is Refusal.REPEATED_WITH_CHANGES


async def test_repeats_in_a_set_hold_nothing_up(database: Database, world: World) -> None:
    """A client that sends again before it was answered: its neighbours are placed as if it had not, without a lock on what they read."""
    orders = [world.order(f"flood-{n}", 1) for n in range(6)]
    none_left = world.order("none-left", 5_000, channel=world.channels["refuse"])
    statements_: list[str] = []
    call = Statement.__call__

    async def noted(self: Statement, connection: Any, **values: Any) -> list[Any]:
        statements_.append(self.name)
        return await call(self, connection, **values)

    with patch.object(Statement, "__call__", noted):
        outcomes = await put(database, *orders, *orders[::2], none_left, none_left)
    assert [getattr(o, "repeated", None) for o in outcomes] == [False] * 6 + [True] * 3 + [None] * 2
    assert outcomes[6:9] == [msgspec.structs.replace(o, repeated=True) for o in outcomes[:6:2]]
    assert outcomes[9] == outcomes[10]
    assert sure(outcomes[10], OrderRefused).reason is Refusal.OUT_OF_STOCK
    assert statements_.count("write_orders") == 1  # nothing was tried twice
    assert not {"lock_positions", "lock_some", "lock_holds"} & set(statements_)
    assert statements_[-1] == "move_stock"  # nobody who wants the same stock waits for the repeats


async def test_an_order_that_was_refused_and_comes_changed_in_the_same_set_is_placed(
    database: Database, world: World
) -> None:
    """What is taken for others before it is held from the start then, in its turn."""
    name, channel = "changed-its-mind", world.channels["refuse"]
    too_many, fine = world.order(name, 5_000, channel=channel), world.order(name, 1, channel=channel)
    left, no, yes, again = await put(database, world.order("left-of-it", 1), too_many, fine, fine)
    assert isinstance(left, Placed)
    assert sure(no, OrderRefused).reason is Refusal.OUT_OF_STOCK
    assert again == msgspec.structs.replace(sure(yes, Placed), repeated=True)
    await assert_clean(database)


async def test_a_bad_order_does_not_spoil_its_neighbours(database: Database, world: World) -> None:
    bad = world.order("bad", {"no-such-sku": 1})
    outcomes = await put(database, world.order("left"), bad, world.order("right"))
    assert [type(outcome) for outcome in outcomes] == [Placed, OrderRefused, Placed]


BAD: dict[str, tuple[dict[str, Any], Refusal, str]] = {
    "zero units": (
        {"lines": [NewLine(sku="sku-1", quantity=0, unit_price_minor=0)]},
        Refusal.INVALID,
        "/lines/0/quantity",
    ),
    "negative units": (
        {"lines": [NewLine(sku="sku-1", quantity=-1, unit_price_minor=0)]},
        Refusal.INVALID,
        "/lines/0/quantity",
    ),
    "no lines": ({"lines": []}, Refusal.INVALID, "/lines"),
    "too many lines": (
        {"lines": [NewLine(sku="sku-1", quantity=1, unit_price_minor=0)] * 5001},
        Refusal.INVALID,
        "/lines",
    ),
    "a zero byte": ({"external_id": "a\x00b"}, Refusal.INVALID, ""),
    "unknown channel": ({"channel": "nowhere"}, Refusal.UNKNOWN_CHANNEL, "/channel"),
    "wrong currency": ({"currency": "EUR"}, Refusal.WRONG_CURRENCY, "/currency"),
    "wrong total": ({"total_minor": 1}, Refusal.WRONG_TOTAL, "/total_minor"),
    "discount above worth": ({"discount_minor": 9999, "total_minor": 0}, Refusal.WRONG_TOTAL, "/discount_minor"),
    "unknown SKU": (
        {
            "lines": [
                NewLine(sku="sku-1", quantity=1, unit_price_minor=0),
                NewLine(sku="x", quantity=1, unit_price_minor=1000),
            ]
        },
        Refusal.UNKNOWN_SKU,
        "/lines/1/sku",
    ),
    "too little stock": (
        {"lines": [NewLine(sku="sku-1", quantity=100_000, unit_price_minor=0)], "total_minor": 0},
        Refusal.OUT_OF_STOCK,
        "/lines/0/quantity",
    ),
    "an address nobody serves": ({"ship_to": "FR"}, Refusal.CANNOT_SHIP, "/ship_to"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_names_its_field_and_changes_nothing(database: Database, world: World, name: str) -> None:
    changes, reason, pointer = BAD[name]
    order = world.order(f"bad {name}")
    if "ship_to" in changes:
        changes = {"ship_to": msgspec.structs.replace(order.ship_to, country=changes["ship_to"])}
    before = await everything(database)
    [refused] = await put(database, msgspec.structs.replace(order, **changes))
    assert isinstance(refused, OrderRefused)
    assert (refused.reason, refused.pointer) == (reason, pointer)
    assert refused.detail
    assert await everything(database) == before


async def test_short_lines_follow_the_policy_of_the_channel(database: Database, world: World) -> None:
    def wants(name: str, channel: str) -> NewOrder:
        return world.order(name, {"sku-1": 1, "sku-3": 2}, channel=channel)

    refused, waits, drops = await put(database, wants("r", "refuse"), wants("b", "backorder"), wants("d", "drop"))
    assert isinstance(refused, OrderRefused)
    assert refused.reason is Refusal.OUT_OF_STOCK
    assert isinstance(waits, Placed)
    assert (waits.status, waits.promised_at) == ("partially_backordered", None)
    assert isinstance(drops, Placed)
    dropped = await database.pool.fetchrow(
        "SELECT * FROM orders.lines WHERE order_id = $1 AND line_no = 2", drops.order_id
    )
    assert (dropped["cancelled"], dropped["allocated"]) == (2, 0)
    assert drops.status == "allocated"


async def test_long_orders_are_placed_or_refused_whole(database: Database, world: World) -> None:
    many = [NewLine(sku="sku-1", quantity=1, unit_price_minor=1)] * 500
    [placed] = await put(database, msgspec.structs.replace(world.order("long"), lines=many, total_minor=500))
    assert isinstance(placed, Placed)
    too_much = [NewLine(sku="sku-1", quantity=1, unit_price_minor=1)] * 5000
    [refused] = await put(database, msgspec.structs.replace(world.order("longest"), lines=too_much, total_minor=5000))
    assert isinstance(refused, OrderRefused)  # 5,000 lines are allowed; the stock is not there
    assert refused.reason is Refusal.OUT_OF_STOCK


async def test_tax_and_discount_are_shared_to_the_cent(database: Database, world: World) -> None:
    order = world.order("cents", {"sku-1": 3, "sku-2": 1}, unit_price_minor=333, tax_minor=77, discount_minor=50)
    [placed] = await put(database, order)
    assert isinstance(placed, Placed)
    amounts = await database.pool.fetch("SELECT amount_minor FROM orders.lines WHERE order_id = $1", placed.order_id)
    assert sum(row["amount_minor"] for row in amounts) == order.total_minor


async def test_customers_are_known_again(database: Database, world: World) -> None:
    await put(
        database,
        world.order("c1", customer="ann"),
        world.order("c2", customer="ann"),
        world.order("c3", customer="bob"),
    )
    await put(database, world.order("c4", customer="ann"))
    rows = await database.pool.fetch("SELECT external_id, count(*) AS n FROM orders.customers GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("ann", 1), ("bob", 1)]
    assert (
        await database.pool.fetchval(
            "SELECT count(*) FROM orders.orders JOIN orders.customers USING (customer_id) WHERE orders.customers.external_id = 'ann'"
        )
        == 3
    )


async def test_a_refused_order_leaves_no_customer(database: Database, world: World) -> None:
    [refused] = await put(database, world.order("too many", {"sku-2": 1000}, customer="carl"))
    assert isinstance(refused, OrderRefused)
    for table in ("customers", "customer_keys"):
        found = await database.pool.fetch(f"SELECT FROM orders.{table} WHERE external_id = 'carl'")
        assert found == []
