"""Why from there, why not from elsewhere, and what would be decided now: over HTTP, with codes and sentences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from ordino.core.database import Database
from ordino.network.closures import Closure, upsert_closures
from ordino.orders.api import routes as order_routes
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.orders.sourcing_api import routes as sourcing_routes
from ordino.sourcing import versions
from steps import assert_clean, client, events, in_one
from world import World, small_world

routes = [*order_routes, *sourcing_routes]
AT = datetime(2027, 3, 1, 12, tzinfo=UTC)  # a Monday, later than the stock came


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    found = await small_world(database, prefix="w-", locations=4, stock=20)
    closed = Closure(code="w-closed", location=found.locations[3], reason="flood")
    await database.transact(lambda tx: upsert_closures(tx, [closed], at=AT))
    return found


async def put(database: Database, world: World, quantities: Any = 2, **more: Any) -> Placed:
    [placed] = await in_one(database, place, [world.order(f"o-{uuid4()}", quantities, **more)], AT)
    assert isinstance(placed, Placed)
    return placed


async def test_a_decision_is_told_with_codes_and_in_a_sentence(database: Database, world: World) -> None:
    order = await put(database, world)
    async with client(database, routes) as http:
        [decision] = (await http.get(f"/v1/orders/{order.order_id}/sourcing")).json()["decisions"]
    why = decision["why"]
    assert [part["location"] for part in why["plan"]] == [world.locations[0]]
    assert why["terms"].keys() <= {"carrier", "handling"}
    assert sum(why["terms"].values()) == why["cost_minor"]
    assert why["stopped"] == {"closed": 1}
    told = {one["location"]: one for one in why["candidates"]}
    assert told[world.locations[3]]["fence"] == "closed"
    assert told[world.locations[1]]["stock"] == {world.sku: 20}
    assert why["sentence"].startswith(
        f"All 2 units were sourced, 2 from {world.locations[0]}, by the strategy 'cheapest'"
    )
    assert "1 because it was closed" in why["sentence"]


async def test_capacity_is_told_as_it_was_seen(database: Database) -> None:
    world = await small_world(database, prefix="c-", locations=3, skus=1, stock=20, daily_capacity=1)
    first, second = await put(database, world, 2), await put(database, world, 2)
    async with client(database, routes) as http:
        [before] = (await http.get(f"/v1/orders/{first.order_id}/sourcing")).json()["decisions"]
        [after] = (await http.get(f"/v1/orders/{second.order_id}/sourcing")).json()["decisions"]
        why_not = (await http.get(f"/v1/orders/{second.order_id}/sourcing/why_not/c-loc-1")).json()
    seen = {one["location"]: one for one in before["why"]["candidates"]}
    assert (seen["c-loc-1"]["capacity"]["orders_left"], seen["c-loc-1"]["capacity"]["units_left"]) == (1, None)
    seen = {one["location"]: one for one in after["why"]["candidates"]}
    assert (seen["c-loc-1"]["fence"], seen["c-loc-1"]["capacity"]["orders_left"]) == ("no_capacity", 0)
    assert seen["c-loc-2"]["capacity"]["orders_left"] == 1
    day = seen["c-loc-1"]["capacity"]["ship_on"]
    assert why_not["sentence"] == f"Not from c-loc-1, because {day} was full there."
    assert why_not["candidate"]["capacity"] == seen["c-loc-1"]["capacity"]


async def test_why_not_is_answered_of_any_location(database: Database, world: World) -> None:
    order = await put(database, world)
    async with client(database, routes) as http:
        path = f"/v1/orders/{order.order_id}/sourcing/why_not/"
        dear = (await http.get(path + world.locations[1])).json()
        shut = (await http.get(path + world.locations[3])).json()
        own = (await http.get(path + world.locations[0])).json()
        nowhere = await http.get(path + "nowhere")
    assert dear["basis"] == "recorded"
    assert "more than what was chosen" in dear["sentence"]
    assert shut["sentence"] == f"Not from {world.locations[3]}, because it was closed."
    assert own["sentence"] == f"{world.locations[0]} was chosen."
    assert nowhere.status_code == 404


async def test_a_location_that_was_not_written_down_is_worked_out_from_the_ledger(database: Database) -> None:
    stock = {("x-sku-1", f"x-loc-{n}"): (0 if n == 16 else 5) for n in range(1, 17)}
    world = await small_world(database, prefix="x-", locations=16, skus=1, stock=stock)
    order = await put(database, world, 1)
    async with client(database, routes) as http:
        path = f"/v1/orders/{order.order_id}/sourcing"
        [decision] = (await http.get(path)).json()["decisions"]
        told = {one["location"] for one in decision["why"]["candidates"]}
        left_out = next(code for code in world.locations[:15] if code not in told)
        assert decision["why"]["candidates_left_out"] == 5
        dear = (await http.get(f"{path}/why_not/{left_out}")).json()
        empty = (await http.get(f"{path}/why_not/x-loc-16")).json()
    assert (dear["basis"], dear["candidate"]["stock"]) == ("ledger", {"x-sku-1": 5})
    assert "it would have cost" in dear["sentence"] or "was not" in dear["sentence"]
    assert (
        empty["sentence"]
        == "Not from x-loc-16, because too little was free there above what is withheld: 0 of x-sku-1."
    )


async def test_a_preview_tells_the_same_and_changes_nothing(database: Database, world: World) -> None:
    asked = {
        "channel": world.channel,
        "country": "US",
        "postal_code": "43215",
        "lines": [{"sku": world.sku, "quantity": 2}],
    }
    drafted = await database.transact(
        lambda tx: versions.draft(
            tx, f"name: far\nstrategies:\n  - name: far\n    fences: {{locations: [{world.locations[2]}]}}\n", at=AT
        )
    )
    async with client(database, routes) as http:
        now = (await http.post("/v1/sourcing/preview", json=asked)).json()
        tried = (await http.post("/v1/sourcing/preview", json={**asked, "profile_version": drafted})).json()
        unknown = await http.post("/v1/sourcing/preview", json={**asked, "service_level": "drone"})
        gone = await http.post("/v1/sourcing/preview", json={**asked, "profile_version": 999})
    assert [leg["location"] for leg in now["legs"]] == [world.locations[0]]
    assert [leg["location"] for leg in tried["legs"]] == [world.locations[2]]
    assert tried["why"]["profile"] == f"far {drafted}"
    assert unknown.json()["errors"][0]["pointer"] == "/service_level"
    assert gone.status_code == 404
    await assert_clean(database)


async def test_a_promise_that_nothing_keeps_is_told_as_an_event(database: Database, world: World) -> None:
    late = await put(database, world, promised_at=AT)
    [told] = await events(database, late.order_id, "promise_endangered")
    assert told["promised_at"] == "2027-03-01T12:00:00Z"
    assert late.promised_at == AT
    kept = await put(database, world, promised_at=datetime(2027, 4, 1, tzinfo=UTC))
    assert kept.promised_at == datetime(2027, 4, 1, tzinfo=UTC)
    assert not await events(database, kept.order_id, "promise_endangered")


async def test_a_condition_that_fails_never_stops_an_order_and_is_told(database: Database, world: World) -> None:
    text = (
        "name: odd\nstrategies:\n  - name: odd\n    when: order.total_minor / (order.size - order.units + 1) > 5\n  - name: all\n"
        f"for: {{channels: [{world.channel}]}}\n"
    )
    version = await database.transact(lambda tx: versions.draft(tx, text, at=AT))
    await database.transact(lambda tx: versions.activate(tx, version, at=AT))
    order = await put(database, world)
    [told] = await events(database, order.order_id, "condition_failed")
    assert told["strategies"][0]["strategy"] == "odd"
    assert "division by zero" in told["strategies"][0]["why"]
    await database.transact(lambda tx: versions.retire(tx, "odd"))


async def test_an_unknown_service_level_is_refused(database: Database, world: World) -> None:
    [refused] = await in_one(database, place, [world.order("level", service_level="drone")], AT)
    assert refused.reason == "unknown_service_level"
    assert "choose one of: standard" in refused.detail


async def test_a_date_without_an_offset_is_refused(database: Database, world: World) -> None:
    local = datetime(2027, 3, 3, 12, 0)
    [refused] = await in_one(database, place, [world.order("local", 1, promised_at=local)], AT)
    assert getattr(refused, "pointer", None) == "/promised_at"
    asked = {
        "channel": world.channel,
        "country": "US",
        "postal_code": "43215",
        "lines": [{"sku": world.sku, "quantity": 1}],
    }
    async with client(database, routes) as http:
        answer = await http.post("/v1/sourcing/preview", json={**asked, "promised_at": "2027-03-03T12:00:00"})
    assert answer.status_code == 400
