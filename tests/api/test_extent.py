"""A command that cannot be taken back says what it is about: a part, or all of it. What is left out never means everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from ordino.core.database import Database
from ordino.flows.versions import flow_plans
from ordino.inventory.transfers import NewTransfer, TransferLine, request
from steps import application, assert_clean, calling, in_one, packed, picked, placed, released
from world import World, activate_flow, small_world


@pytest.fixture(scope="module")
async def flowing(database_url: str) -> AsyncIterator[Database]:
    """The module's database, opened as the application does: orders are placed under a flow."""
    async with await Database.open(database_url, plans=flow_plans()) as opened:
        await activate_flow(opened)
        yield opened


@pytest.fixture(scope="module")
async def world(flowing: Database) -> World:
    return await small_world(flowing)


@pytest.fixture(scope="module")
async def client(database_url: str, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as one:
        yield one


async def scene(flowing: Database, world: World, name: str) -> tuple[str, dict[str, Any], str, list[Any]]:
    """Where one is told of, what names it in a list and where lists go, and a part of it."""
    at, order = flowing.clock.now(), world.order(name, 3)
    if name == "cancellation":
        order_id = await placed(flowing, order, at)
        return f"/v1/orders/{order_id}/cancellation", {"order_id": str(order_id)}, "/v1/cancellations", [{"line_no": 1}]
    if name == "shipment":
        line = TransferLine(sku=world.sku, quantity=3)
        wanted = NewTransfer(origin=world.locations[0], destination=world.locations[1], lines=[line])
        [done] = await in_one(flowing, request, [wanted], at)
        return f"/v1/transfers/{done.transfer_id}/shipment", {}, "", [{"line_no": 1, "quantity": 1}]
    stage = {"picks": released, "packages": picked, "shipments": packed}[name]
    order_id, [work] = await stage(flowing, order, at)
    where = f"/v1/orders/{order_id}/fulfillment_orders/{work}/{name}"
    part: list[Any] = {
        "picks": [{"line_no": 1, "picked": 1}],
        "packages": [{"lines": [{"line_no": 1, "quantity": 1}]}],
        "shipments": [],
    }[name]
    if name == "shipments":
        part = [
            str(await flowing.pool.fetchval("SELECT package_id FROM warehouse.packages WHERE order_id = $1", order_id))
        ]
    return where, {"order_id": str(order_id), "fulfillment_order_id": str(work)}, f"/v1/{name}", part


FIELDS = {
    "cancellation": "lines",
    "picks": "lines",
    "packages": "packages",
    "shipments": "package_ids",
    "shipment": "lines",
}


@pytest.mark.parametrize("name", FIELDS)
async def test_neither_a_part_nor_all_and_both_are_refused_and_change_nothing(
    client: AsyncClient, flowing: Database, world: World, name: str
) -> None:
    where, key, several, part = await scene(flowing, world, name)
    field, plain = FIELDS[name], {"tracking_number": "extent"} if name == "shipments" else {}
    before = await flowing.pool.fetchval("SELECT count(*) FROM core.events")
    bad: list[tuple[dict[str, Any], str]] = [
        (plain, ""),
        ({**plain, "all": False}, ""),
        ({**plain, field: None}, ""),
        ({**plain, field: []}, f"/{field}"),
        ({**plain, field: part, "all": True}, "/all"),
        ({**plain, field.rstrip("s"): part}, f"/{field.rstrip('s')}"),
    ]
    for body, pointer in bad:
        answer = await client.post(where, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer), answer.text
        if not pointer:
            assert f'Say what this is about: list it in `{field}`, or send `"all": true`' in answer.json()["detail"]
        if several:
            listed = (await client.post(several, json=[{**body, **key}])).json()
            said = listed["outcomes"][0] if "outcomes" in listed else listed["errors"][0]
            assert said["pointer"].removeprefix("/0") == pointer, listed
    if not plain:
        assert (await client.post(where)).status_code == 400
    assert await flowing.pool.fetchval("SELECT count(*) FROM core.events") == before
    assert (await client.post(where, json={**plain, field: part})).is_success
    if name in ("picks", "packages", "shipment"):  # of the others, nothing is left
        assert (await client.post(where, json={"all": True})).is_success
    await assert_clean(flowing)


async def test_a_package_says_what_it_holds(client: AsyncClient, flowing: Database, world: World) -> None:
    order_id, [work] = await picked(flowing, world.order("boxes", 3), flowing.clock.now())
    where = f"/v1/orders/{order_id}/fulfillment_orders/{work}/packages"
    nothing = await client.post(where, json={"packages": [{"weight_grams": 900}]})
    assert (nothing.status_code, nothing.json()["errors"][0]["pointer"]) == (400, "/packages/0")
    some = {"lines": [{"line_no": 1, "quantity": 2}]}
    done = await client.post(where, json={"packages": [some, {"all": True, "weight_grams": 900}]})
    assert (done.status_code, done.json()["status"]) == (201, "packed")


async def test_all_that_is_open_is_short_for_one_reason(client: AsyncClient, flowing: Database, world: World) -> None:
    order_id, [work] = await released(flowing, world.order("short", 3), flowing.clock.now())
    where = f"/v1/orders/{order_id}/fulfillment_orders/{work}/picks"
    assert (await client.post(where, json={"short_reason": "refused"})).status_code == 400
    done = await client.post(where, json={"short_reason": "refused", "all": True})
    assert (done.status_code, done.json()["short"]) == (201, 3)


@pytest.mark.parametrize("noun", ["approval", "rejection"])
async def test_variances_are_decided_by_name_or_all(client: AsyncClient, world: World, noun: str) -> None:
    where = f"/v1/count_sheets/00000000-0000-7000-8000-000000000000/{noun}"
    for body, pointer in (({}, ""), ({"skus": [world.sku], "all": True}, "/all"), ({"sku": [world.sku]}, "/sku")):
        answer = await client.post(where, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert (await client.post(where, json={"all": True})).status_code == 404
