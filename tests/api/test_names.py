"""Codes as callers write them: trimmed, in one form, with slashes; numbers and times of queries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from api.test_api import Client, application, calling, order
from ordino.api.names import kinds_of
from ordino.core.database import Database
from world import World, served_world

PREFIX = "a/b "
"""Before every code of the world: a slash and a blank."""


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, prefix=PREFIX)


@pytest.fixture(scope="module")
async def client(database_url: str, world: World) -> AsyncIterator[Client]:
    async with calling(application(database_url)) as client:
        yield client


def path_of(template: str, **codes: str) -> str:
    return template.format(**{name: quote(code, safe="") for name, code in codes.items()})


async def put(client: Client, noun: str, **fields: Any) -> None:
    answer = await client.put(f"/v1/{noun}", json=fields)
    assert answer.status_code in (200, 201), answer.text


async def test_a_code_with_a_slash_is_read_back_by_every_path_that_names_it(
    client: Client, database: Database, database_url: str, world: World
) -> None:
    sku, location, at = world.sku, world.location, database.clock.now()
    seen = f"{PREFIX}x"
    await put(client, "closures", code=seen, location=location, reason="flood", channel=world.channel)
    await put(
        client,
        "carrier_pickups",
        code=seen,
        location=location,
        carrier_service=world.service,
        working_days=[1],
        at="15:00",
    )
    await put(client, "capacity_days", location=location, ship_on="2030-01-02", orders=1)
    await put(client, "postal_codes", country="US", postal_code="1/2", latitude=1, longitude=2)
    await put(client, "count_plans", code=seen, location=location)
    kit = f"{PREFIX}kit"
    await put(client, "skus", code=kit, name="Kit")
    await put(client, "kits", sku=kit, components=[{"sku": sku, "quantity": 1}])
    await put(
        client,
        "incoming",
        document=seen,
        sku=sku,
        location=location,
        quantity=1,
        expected_at=(at + timedelta(9)).isoformat(),
    )
    await put(client, "skus", code=f"{PREFIX}serial", name="Phone", tracking="serial")
    for kind in ("buffers", "channel_allocations", "low_stock_levels"):
        more = {"channel": world.channel} if kind == "channel_allocations" else {}
        await put(client, kind, code=seen, sku=sku, units=1, **more)
    units = {"sku": f"{PREFIX}serial", "location": location, "quantity": 1, "serials": ["s/1"]}
    assert (await client.post("/v1/receipts", json=units)).status_code == 201
    counts = f'{{"sku": "{sku}", "location": "{location}", "on_hand": 100}}\n'
    named = {"content": counts, "headers": {"content-type": "application/x-ndjson"}}
    assert (await client.post(f"/v1/counts?feed={quote(seen, safe='')}", **named)).status_code == 200
    placed = await client.post(
        "/v1/orders",
        json=order("a/1", channel=world.channel, lines=[{"sku": sku, "quantity": 2, "unit_price_minor": 500}]),
    )
    assert placed.status_code == 201, placed.text
    order_id = placed.json()["order_id"]
    profile = f"name: {seen}\nfor: {{channels: ['{world.channel}']}}\nstrategies: [{{name: all}}]\n"
    drafted = await client.post("/v1/sourcing/profiles", content=profile)
    assert drafted.status_code == 201, drafted.text
    assert (await client.post(f"/v1/sourcing/profiles/{drafted.json()['version']}/activation")).status_code == 200
    assert (await client.post("/v1/subscriptions", json={"name": seen})).status_code == 201

    of_code = {
        "sellers": world.seller, "channels": world.channel, "skus": sku, "kits": kit, "locations": location,
        "networks": world.network, "carrier_services": world.service, "closures": seen, "carrier_pickups": seen,
        "count_plans": seen, "buffers": seen, "channel_allocations": seen, "low_stock_levels": seen,
    }  # fmt: skip
    gets = {f"/v1/{noun}/{{code}}": {"code": code} for noun, code in of_code.items()} | {
        "/v1/postal_codes/{country}": {"country": "US"},
        "/v1/postal_codes/{country}/{code}": {"country": "US", "code": "1/2"},
        "/v1/stock/{sku}": {"sku": sku},
        "/v1/stock/{sku}/detail": {"sku": sku},
        "/v1/stock/{sku}/moves": {"sku": sku},
        "/v1/stock/{sku}/history": {"sku": sku},
        "/v1/serials/{sku}/{serial}": {"sku": f"{PREFIX}serial", "serial": "s/1"},
        "/v1/feeds/{name}": {"name": seen},
        "/v1/availability/{sku}": {"sku": sku},
        "/v1/availability/{sku}/future": {"sku": sku},
        "/v1/incoming/{document}": {"document": seen},
        "/v1/orders/{order_id}/sourcing/why_not/{location}": {"order_id": order_id, "location": location},
        "/v1/locations/{location}/fulfillment_orders": {"location": location},
        "/v1/subscriptions/{name}/events": {"name": seen},
    }
    said = {"network": world.network, "at": at.isoformat()}
    asks = {"/v1/availability/{sku}": ["network"], "/v1/availability/{sku}/future": ["network"]}
    asks["/v1/stock/{sku}/history"] = ["at"]
    for template, names in gets.items():
        for written in (names, {name: f" {text}\u00a0" for name, text in names.items() if name != "order_id"}):
            query = {name: said[name] for name in asks.get(template, ())}
            answer = await client.get(path_of(template, **(names | written)), params=query)
            assert answer.status_code == 200, (template, written, answer.text)
    deletes = {f"/v1/{noun}/{{code}}": {"code": seen} for noun in ("closures", "carrier_pickups", "buffers", "channel_allocations", "low_stock_levels")}  # fmt: skip
    deletes["/v1/capacity_days/{location}/2030-01-02"] = {"location": location}
    posts = {"/v1/subscriptions/{name}/acknowledgments": {"name": seen}}
    read = await client.get(path_of("/v1/subscriptions/{name}/events", name=seen))
    for template, names in posts.items():
        answer = await client.post(path_of(template, **names), json={"cursor": read.json()["next"]})
        assert answer.status_code == 200, (template, answer.text)
    deletes["/v1/subscriptions/{name}"] = {"name": seen}
    for template, names in deletes.items():
        answer = await client.delete(path_of(template, **names))
        assert answer.status_code < 300, (template, answer.text)
    retired = await client.post(path_of("/v1/sourcing/profiles/{name}/retirement", name=seen))
    assert retired.status_code == 200

    held = (
        set(gets)
        | set(deletes)
        | set(posts)
        | {"/v1/sourcing/profiles/{name}/retirement", "/schema/{path}", "/v1/kpis/{name}/orders"}
    )
    routes = {plain(route.path_format) for route in application(database_url).routes if ":str}" in route.path}
    assert {route for route in routes if "capacity_days" not in route} <= held, (
        "every route that names a code stands here"
    )


def plain(path: str) -> str:
    import re

    return re.sub(r":[a-z]+}", "}", path)


async def test_one_thing_has_one_code_however_it_is_written(client: Client, world: World) -> None:
    same = ["tée", "tée ", "\ttée", "\u00a0tée\u00a0", "te\u0301e"]
    answers = [(await client.put("/v1/skus", json={"code": code, "name": "Tea"})).json() for code in same]
    assert answers == [{"outcome": "created", "code": "tée"}, *[{"outcome": "unchanged", "code": "tée"}] * 4]
    csv = "code,name\r\n tée ,Tea\r\nte\u0301e,Tea\r\n".encode()
    loaded = (await client.put("/v1/skus", content=csv, headers={"content-type": "text/csv"})).json()
    assert (loaded["unchanged"], loaded["rows"]) == (2, 2)
    lines = '{"code": "t\\u00e9e ", "name": "Tea"}\n{"code":"\\tt\\u00e9e","name":"Tea"}\n'
    loaded = (await client.put("/v1/skus", content=lines, headers={"content-type": "application/x-ndjson"})).json()
    assert (loaded["unchanged"], loaded["rows"]) == (2, 2)
    for code in same:
        assert (await client.get(f"/v1/skus/{quote(code)}")).json()["code"] == "tée"
    assert (await client.get("/v1/skus/T%C3%89E")).status_code == 404, "case distinguishes"


@pytest.mark.parametrize(
    "code",
    [
        "te\u200ba",
        "te\u2060a",
        "te\ta",
        "te\u00a0a",
        "te  a",
        "te\na",
        "\ufefftea",
        "te\x00a",
        "te\u00ada",
        "te\U0001d173a",
        "te\U0001bca0a",
        ".",
        "..",
    ],
)
async def test_what_nobody_sees_is_refused_with_its_pointer(client: Client, world: World, code: str) -> None:
    alone = await client.put("/v1/skus", json={"code": code, "name": "Tea"})
    assert alone.status_code == 400
    assert alone.json()["errors"][0]["pointer"] == "/code"
    [bad, good] = (await client.put("/v1/skus", json=[{"code": code, "name": "Tea"}, {"code": "good", "name": "x"}])).json()["outcomes"]  # fmt: skip
    assert (bad["outcome"], bad["pointer"]) == ("refused", "/code")
    assert good["outcome"] != "refused"
    sent = order("odd", channel=world.channel, lines=[{"sku": code, "quantity": 2, "unit_price_minor": 500}])
    placed = await client.post("/v1/orders", json={"orders": [sent]})
    assert placed.status_code == 400
    assert placed.json()["errors"][0]["pointer"] == "/orders/0/lines/0/sku"


async def test_what_is_empty_after_trimming_is_refused_with_its_pointer(client: Client, world: World) -> None:
    for body, pointer in (({"code": " ", "name": "x"}, "/code"), ({"code": "x", "name": "x", "handling_classes": ["\u00a0"]}, "/handling_classes/0")):  # fmt: skip
        answer = await client.put("/v1/skus", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    for path, pointer in (("/v1/skus/%20", "/code"), ("/v1/orders?channel=%C2%A0", "/channel"), ("/v1/serials/a/%09", "/serial")):  # fmt: skip
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer), answer.text


async def test_an_order_is_one_however_its_codes_are_written(client: Client, world: World) -> None:
    lines = [{"sku": world.sku, "quantity": 2, "unit_price_minor": 500}]
    first = await client.post("/v1/orders", json=order("one", channel=world.channel, lines=lines))
    assert first.status_code == 201, first.text
    spaced = [{"sku": f" {world.sku}\t", "quantity": 2, "unit_price_minor": 500}]
    again = await client.post("/v1/orders", json=order("one ", channel=f" {world.channel}", lines=spaced))
    assert (again.status_code, again.json()["order_id"]) == (200, first.json()["order_id"])
    found = await client.get("/v1/orders", params={"channel": f" {world.channel}", "external_id": "one\u00a0"})
    assert [one["order_id"] for one in found.json()["orders"]] == [first.json()["order_id"]]


@pytest.mark.parametrize(
    "path", ["/v1/orders?limit=1e3", "/v1/skus?limit=1.0", "/v1/feeds?limit=1_0", "/v1/skus?limit=ten"]
)
async def test_a_number_of_a_query_is_digits(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    [fault] = answer.json()["errors"]
    assert fault["pointer"] == "/limit"
    assert repr(path.partition("=")[2]) in fault["detail"]
    assert "digits only" in fault["detail"]
    assert (await client.get("/v1/skus?limit=%2010")).status_code == 200


async def test_a_time_of_a_query_keeps_its_offset_and_a_number_is_none(client: Client, world: World) -> None:
    path = f"/v1/stock/{quote(world.sku, safe='')}/history"
    now = "2026-01-01T09:00:00"
    whole = await client.get(f"{path}?at={now}%2B01:00")
    spoiled = await client.get(f"{path}?at={now}+01:00")
    assert (whole.status_code, spoiled.status_code) == (200, 200), spoiled.text
    assert spoiled.json() == whole.json()
    number = await client.get(f"{path}?at=45992.5")
    assert number.status_code == 400
    assert "Excel's serial number for 2025-12-01 12:00" in number.json()["errors"][0]["detail"]


async def test_every_query_parameter_is_looked_at_by_its_type(database_url: str) -> None:
    found: dict[str, str] = {}
    for route in application(database_url).routes:
        for handler in getattr(route, "route_handlers", []):
            found |= kinds_of(handler)
    assert {
        "limit": "integer",
        "as_of": "instant",
        "channel": "text",
        "first": "date",
        "explain": "boolean",
    }.items() <= found.items()


def test_the_body_of_an_ordinary_order_is_not_looked_at_twice() -> None:
    """What the quick look lets through has nothing to normalize; ordinary bodies, compact or spaced, pass it."""
    from ordino.core.codes import is_plain

    assert is_plain(json.dumps(order("a1") | {"ship_to": {"name": "Ada"}}).encode())
    assert is_plain(json.dumps(order("a1") | {"ship_to": {"name": "Ada"}}, separators=(",", ":")).encode())
    assert is_plain(json.dumps(order("a1") | {"ship_to": {"name": "Ada"}}, indent=2).encode())
    for odd in ("a ", " a", "a  b", "é", 'a"', "a\t", ", ", ": ", " "):
        for how in ({}, {"separators": (",", ":")}, {"indent": 1}):
            assert not is_plain(json.dumps({"x": ["z", odd, "b"], "y": odd}, ensure_ascii=False, **how).encode()), odd
