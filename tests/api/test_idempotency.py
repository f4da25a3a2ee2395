"""An Idempotency-Key is its caller's own, covers all that the request says, and does not mind how it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient
from litestar import Request, Response, post
from litestar.di import NamedDependency

import steps
from ordino.core import keys
from ordino.core.database import Database, Tx
from ordino.web.answers import CALLER, answer_once
from world import World, served_world

TIMES = 6
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, skus=4, stock=0)


@pytest.fixture(scope="module")
async def bearers(database: Database) -> list[dict[str, str]]:
    """The headers of two integrations, whose keys go by one name."""
    made = [
        await database.transact(lambda tx: keys.make(tx, "integration", ["write"], at=database.clock.now()))
        for _ in range(2)
    ]
    return [{"Authorization": f"Bearer {token}"} for _, token in made]


@pytest.fixture(scope="module")
async def client(database_url: str, world: World, bearers: Any) -> AsyncIterator[AsyncClient]:
    async with steps.calling(steps.application(database_url)) as one:
        yield one


async def on_hand(database: Database, world: World, sku: str) -> int:
    found: int = await database.pool.fetchval(
        "SELECT coalesce(sum(on_hand), 0)::int FROM inventory.stock WHERE sku_id = $1", world.sku_ids[sku]
    )
    return found


async def test_two_callers_with_one_key_are_both_served_and_neither_reads_the_others_answer(
    client: AsyncClient, database: Database, world: World, bearers: list[dict[str, str]]
) -> None:
    sku, key = world.skus[0], {"Idempotency-Key": "nightly"}
    mine, theirs = ({"sku": sku, "location": world.locations[n], "quantity": n + 3} for n in (0, 1))
    answers = await asyncio.gather(
        *(client.post("/v1/receipts", json=mine, headers=bearers[0] | key) for _ in range(TIMES)),
        *(client.post("/v1/receipts", json=theirs, headers=bearers[1] | key) for _ in range(TIMES)),
    )
    assert {answer.status_code for answer in answers} == {201}
    told = [answer.json() for answer in answers]
    assert [one["location"] for one in told] == [mine["location"]] * TIMES + [theirs["location"]] * TIMES
    assert await on_hand(database, world, sku) == 7  # each once
    same = {**theirs, "quantity": 5}
    assert (await client.post("/v1/receipts", json=same, headers=bearers[1] | key)).status_code == 409
    assert await on_hand(database, world, sku) == 7


async def test_one_caller_with_one_key_is_served_once(
    client: AsyncClient, database: Database, world: World, bearers: list[dict[str, str]]
) -> None:
    sku, headers = world.skus[1], bearers[0] | {"Idempotency-Key": "alone"}
    receipt = {"sku": sku, "location": world.location, "quantity": 3}
    answers = await asyncio.gather(*(client.post("/v1/receipts", json=receipt, headers=headers) for _ in range(TIMES)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert await on_hand(database, world, sku) == 3


async def test_without_the_caller_in_the_key_two_callers_would_collide(database: Database) -> None:
    """The control: as long as nobody says who calls, one key is one request."""
    done: list[str] = []

    @post("/done")
    async def handle(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
        CALLER.set(request.headers.get("x-caller", "nobody"))

        async def run(tx: Tx) -> list[str]:
            done.append(request.headers.get("x-caller", "nobody"))
            return done

        return await answer_once(request, database, run)

    async with steps.client(database, [handle]) as http:
        key = {"Idempotency-Key": uuid4().hex}
        for _ in range(2):
            await http.post("/done", headers=key)
        assert done == ["nobody"]
        for caller in ("one", "other", "one"):
            await http.post("/done", headers=key | {"x-caller": caller})
        assert done == ["nobody", "one", "other"]


async def test_the_query_is_part_of_the_request_and_its_order_is_not(database: Database) -> None:
    done: list[str] = []

    @post("/done")
    async def handle(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
        async def run(tx: Tx) -> int:
            done.append(str(request.url.query))
            return len(done)

        return await answer_once(request, database, run)

    async with steps.client(database, [handle]) as http:
        key = {"Idempotency-Key": uuid4().hex}
        answers = [
            (await http.post(f"/done?{query}", headers=key)).status_code
            for query in ("a=1&b=2", "b=2&a=1", "a=1&b=3", "a=1", "", "a=1&b=2&c=")
        ]
    assert answers == [200, 200, 409, 409, 409, 409]
    assert done == ["a=1&b=2"]


async def test_a_retry_may_be_written_otherwise(
    client: AsyncClient, database: Database, world: World, bearers: list[dict[str, str]]
) -> None:
    headers = bearers[0] | {"Idempotency-Key": uuid4().hex, "content-type": "application/json"}
    order: dict[str, Any] = (
            {
                "channel": world.channels["backorder"], "external_id": "written", "currency": "USD", "total_minor": 500,
                "lines": [{"sku": world.sku, "quantity": 1, "unit_price_minor": 500}],
                "promised_at": "2027-11-27T18:00:00Z",
                "ship_to": {"name": "A", "line1": "1", "city": "C", "postal_code": "43215", "country": "US"},
            }
    )  # fmt: skip
    first = await client.post("/v1/orders", content=json.dumps(order), headers=headers)
    assert first.status_code == 201, first.text
    again = {**dict(reversed(order.items())), "promised_at": "2027-11-27T19:00:00+01:00", "tax_minor": 0}
    second = await client.post("/v1/orders", content=json.dumps(again, indent=2), headers=headers)
    assert (second.status_code, second.text) == (201, first.text)
    other = await client.post("/v1/orders", content=json.dumps(again | {"tax_minor": 1}), headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "urn:ordino:problem:key_reused")
    count = "SELECT count(*) FROM orders.orders WHERE external_id = 'written'"
    assert await database.pool.fetchval(count) == 1


async def test_a_retry_of_an_upsert_may_leave_defaults_out(client: AsyncClient, bearers: list[dict[str, str]]) -> None:
    headers = bearers[0] | {"Idempotency-Key": uuid4().hex}
    sku = {"code": "keyed", "name": "Keyed", "weight_grams": 5}
    first = await client.put("/v1/skus", json=[sku, {"name": "nameless"}], headers=headers)
    assert [one["outcome"] for one in first.json()["outcomes"]] == ["created", "refused"]
    again = await client.put("/v1/skus", json=[{**sku, "active": True}, {"name": "nameless"}], headers=headers)
    assert again.text == first.text
    for body in ([sku], [{**sku, "active": False}, {"name": "nameless"}], [sku, {"name": "other"}]):
        assert (await client.put("/v1/skus", json=body, headers=headers)).status_code == 409


async def test_a_key_of_rows_is_its_callers_own(
    client: AsyncClient, database: Database, world: World, bearers: list[dict[str, str]]
) -> None:
    sku, key = world.skus[2], {"Idempotency-Key": "truck", **NDJSON}
    row = {"sku": sku, "location": world.location, "quantity": 4}
    for caller, quantity, had in ((0, 4, 4), (1, 5, 9), (0, 4, 9), (1, 5, 9)):
        body = json.dumps(row | {"quantity": quantity})
        answer = await client.post("/v1/receipts", content=body, headers=bearers[caller] | key)
        assert (answer.status_code, answer.json()["applied"]) == (200, 1), answer.text
        assert await on_hand(database, world, sku) == had


async def test_a_named_feed_may_come_again_in_another_form(
    client: AsyncClient, database: Database, world: World, bearers: list[dict[str, str]]
) -> None:
    sku, where, headers = world.skus[3], world.location, bearers[0]
    stamp = database.clock.now().strftime("%Y-%m-%dT%H:%M:%S")

    async def feed(body: str, media_type: str) -> Any:
        return await client.post("/v1/counts?feed=forms", content=body, headers=headers | {"content-type": media_type})

    row = {"sku": sku, "location": where, "on_hand": 8, "as_of": f"{stamp}+00:00"}
    first = await feed(json.dumps(row) + "\n", "application/x-ndjson")
    assert (first.status_code, first.json()["applied"]) == (200, 1), first.text
    hour, rest = int(stamp[11:13]), stamp[13:]
    shifted = f"{stamp[:11]}{hour - 1:02d}{rest}-01:00" if hour else f"{stamp[:11]}{hour + 1:02d}{rest}+01:00"
    for body, media_type in (
        (json.dumps(dict(reversed((row | {"as_of": shifted}).items()))), "application/x-ndjson"),
        (f"location,as_of,sku,on_hand\n{where},{stamp}Z,{sku},8\n", "text/csv"),
    ):
        again = await feed(body, media_type)
        assert (again.status_code, again.json()["applied"]) == (200, 1), again.text
    other = await feed(json.dumps(row | {"on_hand": 9}), "application/x-ndjson")
    assert other.status_code == 409
    assert await on_hand(database, world, sku) == 8
