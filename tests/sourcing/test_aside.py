"""Deciding keeps nobody waiting: what takes long is done beside the event loop, with the same outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from ordino.core.database import Database
from ordino.sourcing import aside
from steps import application, assert_clean, calling, meanwhile, order_body
from world import World, served_world

HEALTH_SECONDS = 0.5
"""A machine by itself needs a tenth of it."""
LINES = 1000
ASKED_LINES = 200
COSTLY = (
    "size(lines + lines + lines + [lines[0], lines[0]]) == {n}",
    '{{"a": lines, "b": lines, "c": lines}} == {{"a": {n}}}',
    "lines == lines && lines != lines && size(lines) == {n}",
    'lines.exists(a, a.sku + a.sku + a.sku + a.sku + a.sku + a.sku == "{n}")',
)
FALSE = "lines.exists(a, lines.exists(b, a.sku != b.sku || a.grams != b.grams || order.size > 90{n}))"


def profile(name: str, conditions: list[str]) -> str:
    strategies = "".join(f"  - name: s{n}\n    when: '{one}'\n" for n, one in enumerate(conditions))
    return f"name: {name}\nstrategies:\n{strategies}  - name: last\n"


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 1_000_000})


@pytest.fixture
async def client(database_url: str, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as client:
        yield client


async def activate(client: AsyncClient, name: str, conditions: list[str]) -> None:
    answer = await client.post(
        "/v1/sourcing/profiles", content=profile(name, conditions), headers={"Content-Type": "application/yaml"}
    )
    assert answer.status_code in (200, 201), answer.text
    version = answer.json()["version"]
    for one in (await client.get("/v1/sourcing/profiles")).json()["profiles"]:
        if one["active"] and one["version"]:
            answer = await client.post(f"/v1/sourcing/profiles/{one['name']}/retirement")
            assert answer.status_code in (200, 201), answer.text
    answer = await client.post(f"/v1/sourcing/profiles/{version}/activation")
    assert answer.status_code in (200, 201), answer.text


def lines(count: int) -> list[dict[str, Any]]:
    return [{"sku": "sku-1", "quantity": 1, "unit_price_minor": 500} for _ in range(count)]


@pytest.mark.parametrize("large", [True, False])
async def test_costly_conditions_hold_up_no_other_request(client: AsyncClient, database: Database, large: bool) -> None:
    """Those of one order of 1,000 lines, and those of a set of small orders."""
    costly = [one.format(n=n + 1) for n in range(2) for one in COSTLY]
    conditions = costly if large else [FALSE.format(n=n) for n in range(5)]
    await activate(client, f"costly-{large}", conditions)
    if large:
        answer, took = await meanwhile(client, client.post("/v1/orders", json=order_body("large", lines=LINES)))
        assert answer.status_code == 201, answer.text
    else:
        many = {"orders": [order_body(f"small-{n}", lines=15) for n in range(150)]}
        answer, took = await meanwhile(client, client.post("/v1/orders", json=many))
        assert {one["outcome"] for one in answer.json()["outcomes"]} == {"placed"}, answer.text[:500]
    assert took < HEALTH_SECONDS, took
    asked = {"channel": "refuse", "country": "US", "postal_code": "43215", "lines": lines(ASKED_LINES if large else 15)}
    for path in ("/v1/promises", "/v1/sourcing/preview"):
        answer, took = await meanwhile(client, client.post(path, json=asked))
        assert answer.status_code == 200, answer.text
        assert took < HEALTH_SECONDS, (path, took)
    await assert_clean(database)


async def test_what_is_decided_aside_is_what_is_decided_at_once(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await activate(client, "either", [FALSE.format(n=1), "order.size > 3"])
    asked = {"channel": "refuse", "country": "US", "postal_code": "43215", "lines": lines(7)}
    found = []
    for at_once in (0, 1e12):
        monkeypatch.setattr(aside, "AT_ONCE", at_once)
        answers = [await client.post(path, json=asked) for path in ("/v1/promises", "/v1/sourcing/preview")]
        options = answers[0].json()["delivery"]
        preview = answers[1].json()
        found.append(([(one["service_level"], one["cost_minor"]) for one in options], preview))
    assert found[0] == found[1]
    assert found[0][0]
    assert found[0][1]["legs"]


async def test_decided_at_once_the_same_orders_hold_up_the_others(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(aside, "AT_ONCE", 1e12)
    await activate(client, "control", [FALSE.format(n=n) for n in range(5)])
    many = {"orders": [order_body(f"control-{n}", lines=15) for n in range(450)]}
    _, took = await meanwhile(client, client.post("/v1/orders", json=many))
    assert took > HEALTH_SECONDS
