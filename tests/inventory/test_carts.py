"""Carts: one open hold each, replaced when the cart is held again, found by its name, and never in the shopper's own way."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from conftest import command, database_at
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import NotFound, Refused
from ordino.core.ids import new_ids
from ordino.core.migrations import DIRECTORY
from ordino.inventory import api as inventory_api
from ordino.inventory import holds
from ordino.inventory.adjust import Adjustment, Moved, adjust
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.holds import Held, HoldLine, HoldRefusal, HoldRefused, HoldView, NewHold, hold
from ordino.inventory.holds import release as let_go
from ordino.inventory.rules import Allocation, upsert_allocations
from ordino.inventory.transfers import NewTransfer, TransferDone, TransferLine
from ordino.inventory.transfers import request as request_transfers
from ordino.inventory.unavailable import Aside, SetAside, set_aside
from ordino.orders import api as orders_api
from ordino.orders import sourcing_api
from ordino.orders.model import OrderRefused, Placed, Refusal
from ordino.orders.place import place
from ordino.orders.preview import PreviewLine, PreviewRequest, preview
from ordino.orders.promise import Promise, PromiseLine, PromiseRefused, PromiseRequest, promise
from ordino.orders.reevaluate import improve, look
from ordino.orders.why import why_not
from steps import assert_clean, client, in_one, placed, sure
from world import PLACES, World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
LATE = AT + timedelta(minutes=15)


@pytest.fixture
async def world(database: Database) -> World:
    """Ten of each of two SKUs, at one location."""
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=1, stock=10)


def wanted(world: World, quantity: int, sku: int = 0, *, cart: str | None = "cart", **more: Any) -> NewHold:
    return NewHold(channel=world.channel, cart=cart, lines=[HoldLine(sku=world.skus[sku], quantity=quantity)], **more)


async def held(database: Database, world: World, quantity: int, at: datetime = AT, **more: Any) -> Held:
    [outcome] = await in_one(database, hold, [wanted(world, quantity, **more)], at)
    return sure(outcome, Held)


async def of_cart(database: Database, world: World, at: datetime = AT, cart: str = "cart") -> list[HoldView]:
    return await database.read(lambda tx: holds.holds_of(tx, world.channel, cart, at=at))


async def to_promise(database: Database, world: World, at: datetime = AT, **ask: Any) -> int:
    ask_ = Ask(**{"sku": world.sku, "channel": world.channel, "network": None, **ask})
    [answer] = await database.read(lambda tx: available(tx, [ask_], at=at))
    return sure(answer, Availability).available


async def promised(
    database: Database, world: World, quantity: int, at: datetime = AT, **more: Any
) -> Promise | PromiseRefused:
    line = PromiseLine(sku=world.sku, quantity=quantity)
    one = PromiseRequest(
        **{"channel": world.channel, "country": "US", "postal_code": PLACES[0][0], "lines": [line], **more}
    )
    return (await database.read(lambda tx: promise(tx, [one], at=at)))[0]


async def previewed(database: Database, world: World, quantity: int, at: datetime = AT, **more: Any) -> str:
    line = PreviewLine(sku=world.sku, quantity=quantity)
    one = PreviewRequest(channel=world.channel, country="US", postal_code=PLACES[0][0], lines=[line], **more)
    return (await database.read(lambda tx: preview(tx, one, at=at))).outcome


# -- one hold a cart ----------------------------------------------------------------------------------------------------------


async def test_the_same_cart_held_again_keeps_its_hold_with_what_it_wants_now(database: Database, world: World) -> None:
    first = await held(database, world, 8)
    assert not first.replaced
    again = await held(database, world, 10, AT + timedelta(minutes=5))
    assert (again.hold_id, again.replaced, again.expires_at) == (first.hold_id, True, AT + timedelta(minutes=20))
    assert await to_promise(database, world) == 0
    other = await held(database, world, 3, AT + timedelta(minutes=6), sku=1)
    assert other.hold_id == first.hold_id
    assert await to_promise(database, world) == 10
    [view] = await of_cart(database, world)
    assert [(line.sku, line.quantity) for line in view.lines] == [(world.skus[1], 3)]
    await assert_clean(database)


async def test_what_does_not_fit_leaves_the_carts_hold_as_it_was(database: Database, world: World) -> None:
    first = await held(database, world, 8)
    both = [HoldLine(sku=world.skus[0], quantity=9), HoldLine(sku=world.skus[1], quantity=11)]
    [refused] = await in_one(database, hold, [NewHold(channel=world.channel, cart="cart", lines=both)], AT)
    assert sure(refused, HoldRefused).reason is HoldRefusal.OUT_OF_STOCK
    assert refused.hold_id == first.hold_id
    assert "stays as it was" in refused.detail
    [view] = await of_cart(database, world)
    assert [(line.sku, line.quantity) for line in view.lines] == [(world.sku, 8)]
    assert view.expires_at == first.expires_at
    assert await to_promise(database, world) == 2
    await assert_clean(database)


async def test_holds_without_a_cart_and_of_other_carts_or_channels_are_new(database: Database, world: World) -> None:
    holds_ = [
        wanted(world, 1, cart=None),
        wanted(world, 1, cart=None),
        wanted(world, 1, cart="a"),
        wanted(world, 1, cart="b"),
        NewHold(channel=world.channels["drop"], cart="a", lines=[HoldLine(sku=world.sku, quantity=1)]),
    ]
    outcomes = [sure(outcome, Held) for outcome in await in_one(database, hold, holds_, AT)]
    assert len({outcome.hold_id for outcome in outcomes}) == 5
    assert not any(outcome.replaced for outcome in outcomes)
    assert await to_promise(database, world) == 5
    await assert_clean(database)


async def test_the_same_cart_twice_in_a_batch_ends_with_what_came_last(database: Database, world: World) -> None:
    batch = [wanted(world, 4), wanted(world, 9), wanted(world, 11), wanted(world, 1, cart=None)]
    first, second, refused, other = await in_one(database, hold, batch, AT)
    assert sure(first, Held).hold_id == sure(second, Held).hold_id
    assert (first.replaced, second.replaced) == (False, True)
    sure(refused, HoldRefused)
    sure(other, Held)
    [view] = await of_cart(database, world)
    assert [line.quantity for line in view.lines] == [9]
    await assert_clean(database)


async def test_a_cart_that_was_refused_has_no_hold(database: Database, world: World) -> None:
    [refused, fine] = await in_one(database, hold, [wanted(world, 11), wanted(world, 1, cart="other")], AT)
    assert sure(refused, HoldRefused).hold_id is None
    sure(fine, Held)
    assert await of_cart(database, world) == []
    await held(database, world, 1)
    await assert_clean(database)


@pytest.mark.parametrize("how", ["expired", "let go", "ordered"])
async def test_a_cart_whose_hold_has_ended_gets_a_new_one(database: Database, world: World, how: str) -> None:
    first, at = await held(database, world, 10), AT
    if how == "expired":
        at = LATE
    elif how == "let go":
        await in_one(database, let_go, [first.hold_id], AT)
    else:
        sure((await in_one(database, place, [world.order("first", 5, hold_id=first.hold_id)], AT))[0], Placed)
    second = await held(database, world, 5, at)
    assert second.hold_id != first.hold_id
    assert not second.replaced
    [view] = await of_cart(database, world, at)
    assert (view.hold_id, view.status) == (second.hold_id, "open")
    await assert_clean(database)


async def test_a_hold_is_found_by_its_cart(database: Database, world: World) -> None:
    assert await of_cart(database, world) == []
    first = await held(database, world, 2)
    async with client(database, inventory_api.routes) as http:
        found = await http.get("/v1/holds", params={"channel": world.channel, "cart": "cart"})
        assert [one["hold_id"] for one in found.json()["holds"]] == [str(first.hold_id)]
        none = await http.get("/v1/holds", params={"channel": world.channel, "cart": "other"})
        assert (none.status_code, none.json()) == (200, {"holds": []})
        assert (await http.get("/v1/holds", params={"channel": "nowhere", "cart": "cart"})).status_code == 404
        assert (await http.get("/v1/holds", params={"channel": world.channel})).status_code == 400
    [view] = await of_cart(database, world, LATE)
    assert view.status == "expired"
    with pytest.raises(NotFound, match="nowhere"):
        await database.read(lambda tx: holds.holds_of(tx, "nowhere", "cart", at=AT))


async def test_a_new_hold_is_created_and_a_replaced_one_is_not(database: Database) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=1, stock=10)
    async with client(database, inventory_api.routes) as http:
        body = {"channel": world.channel, "cart": "c", "lines": [{"sku": world.sku, "quantity": 8}]}
        first = await http.post("/v1/holds", json=body)
        again = await http.post("/v1/holds", json=body)
        assert (first.status_code, again.status_code) == (201, 200)
        assert (first.json()["replaced"], again.json()["replaced"]) == (False, True)
        assert first.json()["hold_id"] == again.json()["hold_id"]


@pytest.mark.parametrize("seed", range(3))
async def test_racing_requests_for_carts_end_with_one_hold_each(database_url: str, seed: int) -> None:
    """HLD-4: nothing is oversold, no cart has two open holds, and nothing is refused that would have fit."""
    dice = random.Random(seed)
    async with await Database.open(database_url, pool_size=8) as database:
        world = await small_world(database, prefix=f"c{seed}-{uuid4().hex[:6]}-", skus=1, locations=1, stock=30)

        async def ask(number: int) -> Any:
            # Five carts that want six units at most: 30 are there, so that every wish fits if each cart has one hold.
            one = wanted(world, dice.randint(1, 6), cart=f"cart-{number % 5}")
            return (await in_one(database, hold, [one], AT))[0]

        outcomes = [sure(outcome, Held) for outcome in await asyncio.gather(*map(ask, range(60)))]
        assert len({outcome.hold_id for outcome in outcomes}) == 5
        assert sum(not outcome.replaced for outcome in outcomes) == 5
        views = [(await of_cart(database, world, cart=f"cart-{n}"))[0] for n in range(5)]
        assert await to_promise(database, world) == 30 - sum(view.lines[0].quantity for view in views)
        await assert_clean(database)


async def test_carts_that_do_not_take_turns_get_two_holds(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of HLD-4: without the cart's row, whoever asks at the same time holds beside it."""
    statement = holds.sql.claim_carts
    unclaimed = re.sub(r"^INSERT INTO \S+ AS c \(.*?\)\s|\bON CONFLICT.*", "", statement.text, flags=re.DOTALL)
    assert unclaimed.startswith("SELECT")
    monkeypatch.setattr(statement, "text", unclaimed)
    both = await asyncio.gather(*(in_one(database, hold, [wanted(world, 6)], AT) for _ in range(2)))
    assert {type(outcome) for [outcome] in both} == {Held, HoldRefused}  # the shopper is in the own way
    await in_one(database, hold, [wanted(world, 2)], AT)
    query = "SELECT count(*) FROM inventory.holds WHERE cart = 'cart' AND channel_id = $1 AND ended_at IS NULL"
    channel = await database.pool.fetchval("SELECT channel_id FROM catalog.channels WHERE code = $1", world.channel)
    assert await database.pool.fetchval(query, channel) == 2
    await database.pool.execute("UPDATE inventory.holds SET cart = NULL WHERE channel_id = $1", channel)


async def test_an_order_gets_what_its_cart_holds_now_though_it_names_an_earlier_hold(
    database: Database, world: World
) -> None:
    first = await held(database, world, 10)
    second = await held(database, world, 10, LATE)  # the first one has expired
    assert second.hold_id != first.hold_id
    assert isinstance(await promised(database, world, 10, LATE, hold_id=first.hold_id), Promise)
    order, again = await in_one(
        database,
        place,
        [world.order("mine", 10, hold_id=first.hold_id), world.order("again", 1, hold_id=second.hold_id)],
        LATE,
    )
    sure(order, Placed)
    assert sure(again, OrderRefused).reason is Refusal.OUT_OF_STOCK
    [view] = await of_cart(database, world, LATE)
    assert (view.hold_id, view.status, view.order_id) == (second.hold_id, "ordered", order.order_id)
    await assert_clean(database)


async def test_an_order_whose_hold_was_replaced_or_has_just_expired_is_placed(database: Database, world: World) -> None:
    first = await held(database, world, 10)
    await held(database, world, 6)
    sure((await in_one(database, place, [world.order("fewer", 8, hold_id=first.hold_id)], AT))[0], Placed)
    late = await held(database, world, 2, cart="late")
    sure((await in_one(database, place, [world.order("late", 2, hold_id=late.hold_id)], LATE))[0], Placed)
    await assert_clean(database)


# -- what the cart holds is there for it ------------------------------------------------------------------------------------


async def test_a_promise_counts_what_the_cart_holds(database: Database, world: World) -> None:
    mine = await held(database, world, 8)
    alone = await promised(database, world, 10)
    assert sure(alone, Promise).delivery == []
    option = sure(await promised(database, world, 10, hold_id=mine.hold_id), Promise).delivery[0]
    assert (option.confidence, sum(leg.units for leg in option.legs)) == ("medium", 10)
    few = sure(await promised(database, world, 3, hold_id=mine.hold_id), Promise).delivery[0]
    assert few.confidence == "high"
    assert sure(await promised(database, world, 11, hold_id=mine.hold_id), Promise).delivery == []
    [order] = await in_one(database, place, [world.order("ten", 10, hold_id=mine.hold_id)], AT)
    assert sure(order, Placed).promised_at == option.promised_at
    assert sure(await promised(database, world, 1, hold_id=mine.hold_id), Promise).delivery == []


async def test_a_preview_counts_what_the_cart_holds(database: Database, world: World) -> None:
    mine = await held(database, world, 8)
    assert await previewed(database, world, 10) == "refused"
    assert await previewed(database, world, 10, hold_id=mine.hold_id) == "placed"
    with pytest.raises(Refused, match="has no hold"):
        await previewed(database, world, 1, hold_id=uuid4())


async def test_a_promise_for_a_hold_of_another_channel_is_refused(database: Database, world: World) -> None:
    mine = await held(database, world, 8)
    for channel, hold_id in ((world.channels["drop"], mine.hold_id), (world.channel, uuid4())):
        refused = sure(await promised(database, world, 1, channel=channel, hold_id=hold_id), PromiseRefused)
        assert (refused.reason, refused.pointer) == ("unknown_hold", "/hold_id")


async def test_stores_to_collect_at_count_what_the_cart_holds(database: Database, world: World) -> None:
    await database.pool.execute(
        "UPDATE network.locations SET pickup = true WHERE location_id = any($1::int[])", [*world.location_ids.values()]
    )
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")
    mine = await held(database, world, 8)
    assert sure(await promised(database, world, 10, pickups=3), Promise).pickup == []
    found = sure(await promised(database, world, 10, pickups=3, hold_id=mine.hold_id), Promise).pickup
    assert [(store.location, store.confidence) for store in found] == [(world.location, "medium")]


# -- what has expired is free for every read -------------------------------------------------------------------------------


async def test_what_has_expired_is_promised_and_previewed(database: Database, world: World) -> None:
    await held(database, world, 10)
    assert sure(await promised(database, world, 10), Promise).delivery == []
    assert await previewed(database, world, 10) == "refused"
    assert await to_promise(database, world, LATE) == 10
    assert len(sure(await promised(database, world, 10, LATE), Promise).delivery) == 1
    assert await previewed(database, world, 10, LATE) == "placed"
    sure((await in_one(database, place, [world.order("late", 10)], LATE))[0], Placed)
    await assert_clean(database)


async def test_what_has_expired_is_kept_for_its_channel_again(database: Database, world: World) -> None:
    """Units kept for a channel of which an expired hold has some: placement and every read say the same."""
    other = world.channels["drop"]
    kept = Allocation(code=f"a {world.sku}", channel=world.channel, sku=world.sku, location=world.location, units=6)
    await in_one(database, upsert_allocations, [kept], AT)
    await held(database, world, 4)
    assert await to_promise(database, world, AT, channel=other) == 4
    assert await to_promise(database, world, LATE, channel=other) == 4  # 10 free, and 6 kept
    assert sure(await promised(database, world, 5, LATE, channel=other), Promise).delivery == []
    assert len(sure(await promised(database, world, 4, LATE, channel=other), Promise).delivery) == 1
    assert len(sure(await promised(database, world, 10, LATE), Promise).delivery) == 1


async def test_orders_are_decided_anew_on_what_has_expired(database: Database) -> None:
    """An order that had to come from far away moves near, once the cart that stood in its way has expired."""
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=5, stock={})
    near, far = world.locations[0], world.locations[4]
    for location in (near, far):
        await database.pool.execute(
            "INSERT INTO inventory.stock VALUES ($1, $2, 1, 0, 0)",
            world.sku_ids[world.sku],
            world.location_ids[location],
        )
    await held(database, world, 1)
    order_id = await placed(database, world.order("one", 1), AT)
    seen = await database.read(lambda tx: look(tx, [order_id], at=LATE))
    assert seen is not None
    assert sum(units for places in seen.free.values() for units in places.values()) == 1
    query = "SELECT location_id FROM orders.allocations WHERE order_id = $1 AND quantity > 0"
    assert await database.pool.fetchval(query, order_id) == world.location_ids[far]
    await improve(database, [order_id], at=LATE)
    assert await database.pool.fetchval(query, order_id) == world.location_ids[near]
    [position] = await database.pool.fetch(
        "SELECT sum(reserved) AS reserved FROM inventory.stock WHERE sku_id = $1", world.sku_ids[world.sku]
    )
    assert position["reserved"] == 1


async def test_why_not_counts_what_had_expired_as_free(database: Database) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=10)
    now = database.clock.now()
    later = now + timedelta(minutes=15)
    await held(database, world, 10, now)  # at the first location, or the other
    [position] = await database.pool.fetch(
        "SELECT location_id FROM inventory.stock WHERE sku_id = $1 AND reserved = 10", world.sku_ids[world.sku]
    )
    code = next(code for code, key in world.location_ids.items() if key == position["location_id"])
    order_id = await placed(database, world.order("one", 1), later)
    units = await database.read(lambda tx: holds.expired_units(tx, world.sku_ids[world.sku], at=later))
    assert units == {position["location_id"]: 10}
    assert await database.read(lambda tx: holds.expired_units(tx, world.sku_ids[world.sku], at=now)) == {}
    told = await database.read(lambda tx: why_not(tx, order_id, code))
    assert "too little was free" not in told.sentence


async def test_expired_units_can_be_transferred_adjusted_and_set_aside(database: Database) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=2, stock=10)
    here, there = world.locations
    lines = [HoldLine(sku=sku, quantity=20) for sku in world.skus]
    sure((await in_one(database, hold, [NewHold(channel=world.channel, lines=lines)], AT))[0], Held)
    first, second, third = world.skus
    transfer = NewTransfer(origin=here, destination=there, lines=[TransferLine(sku=first, quantity=10)])
    sure((await in_one(database, request_transfers, [transfer], LATE))[0], TransferDone)
    lost = Adjustment(sku=second, location=here, delta=-10, reason="lost")
    sure((await in_one(database, adjust, [lost], LATE))[0], Moved)
    damaged = SetAside(sku=third, location=here, quantity=10, condition="damaged")
    sure((await in_one(database, set_aside, [damaged], LATE))[0], Aside)


async def test_of_several_open_holds_of_a_cart_the_last_one_becomes_its_own(cluster: EmbeddedPostgres) -> None:
    """As it was before carts had one hold, so it may be in a database that is migrated."""
    name = f"carts_{uuid4().hex}"
    versions = DIRECTORY / "versions"
    [revision] = versions.glob("*_carts.sql")
    old, last, ended, other = new_ids(AT, 4)
    await command(cluster.url, f"CREATE DATABASE {name} TEMPLATE template0")
    connection = await asyncpg.connect(database_at(cluster.url, name))
    try:
        await connection.execute((versions / "0001_spine.sql").read_text())
        for hold_id, cart, ended_at in ((old, "a", None), (last, "a", None), (ended, "a", AT), (other, None, None)):
            await connection.execute(
                "INSERT INTO inventory.holds (hold_id, channel_id, cart, held_at, expires_at, ended_at) VALUES ($1, 1, $2, $3, $4, $5)",
                hold_id, cart, AT, LATE, ended_at,
            )  # fmt: skip
        await connection.execute(revision.read_text())
        assert [tuple(row) for row in await connection.fetch("SELECT * FROM inventory.carts")] == [(1, "a", last)]
        rows = await connection.fetch("SELECT hold_id FROM inventory.holds WHERE cart = 'a' AND ended_at IS NULL")
        assert [row["hold_id"] for row in rows] == [last]
    finally:
        await connection.close()
        await command(cluster.url, f"DROP DATABASE {name} WITH (FORCE)")


# -- one answer to a lack of stock -----------------------------------------------------------------------------------------


async def test_a_lack_of_stock_is_a_conflict_everywhere(database: Database) -> None:
    world = await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=10)
    here, there = world.locations
    sku, position = world.sku, {"sku": world.sku, "location": here}
    line = {"sku": sku, "quantity": 21}
    address = {"name": "A", "line1": "1", "city": "T", "postal_code": PLACES[0][0], "country": "US"}
    sold = [{"sku": sku, "quantity": 21, "unit_price_minor": 0}]
    order = {
        "channel": world.channel, "external_id": "x", "currency": "USD", "lines": sold, "total_minor": 0, "ship_to": address,
    }  # fmt: skip
    asked = {
        "/v1/holds": ({"channel": world.channel, "lines": [line]}, "out_of_stock"),
        "/v1/transfers": ({"origin": here, "destination": there, "lines": [line]}, "too_few"),
        "/v1/adjustments": ({**position, "delta": -11, "reason": "lost"}, "reserved"),
        "/v1/set_asides": ({**position, "quantity": 11, "condition": "damaged"}, "reserved"),
        "/v1/restorations": ({**position, "quantity": 1, "condition": "damaged"}, "too_few"),
        "/v1/scrappings": ({**position, "quantity": 1, "condition": "damaged"}, "too_few"),
        "/v1/orders": (order, "out_of_stock"),
    }
    routes = [*inventory_api.routes, *orders_api.routes, *sourcing_api.routes]
    async with client(database, routes) as http:
        for path, (body, code) in asked.items():
            answer = await http.post(path, json=body, headers={"Idempotency-Key": uuid4().hex})
            assert (path, answer.status_code, answer.json()["type"]) == (path, 409, f"urn:ordino:problem:{code}")
