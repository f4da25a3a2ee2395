"""The API as a client sees it: outcomes, problem documents, keys, idempotency."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from ordino.core import keys
from ordino.core.database import Database
from steps import application, calling
from world import World, served_world

Client = AsyncClient


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 500, ("sku-2", "loc-1"): 3})


@pytest.fixture
async def client(database_url: str, world: World) -> AsyncIterator[Client]:
    async with calling(application(database_url)) as client:
        yield client


def order(external_id: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "channel": "refuse",
        "external_id": external_id,
        "currency": "USD",
        "lines": [{"sku": "sku-1", "quantity": 2, "unit_price_minor": 500}],
        "shipping_minor": 300,
        "total_minor": 1300,
        "ship_to": {
            "name": "أدا 🙂",
            "line1": "1 Main Street",
            "city": "Columbus",
            "postal_code": "43215",
            "country": "US",
        },
    }
    return plain | changes


async def test_an_order_is_placed_read_and_explained(client: Client) -> None:
    answer = await client.post("/v1/orders", json=order("a1"))
    assert answer.status_code == 201
    order_id = answer.json()["order_id"]
    again = await client.post("/v1/orders", json=order("a1"))
    assert (again.status_code, again.json()["order_id"], again.json()["repeated"]) == (200, order_id, True)
    read = (await client.get(f"/v1/orders/{order_id}")).json()
    assert read["ship_to"]["name"] == "أدا 🙂"
    assert read["lines"][0]["allocated"] == 2
    timeline = (await client.get(f"/v1/orders/{order_id}/timeline")).json()["events"]
    assert [event["kind"] for event in timeline] == ["order_placed"]
    why = (await client.get(f"/v1/orders/{order_id}/sourcing")).json()["decisions"]
    assert why[0]["why"]["candidates"][0]["location"] == "loc-1"
    found = (await client.get("/v1/orders?channel=refuse&external_id=a1")).json()
    assert found["orders"][0]["order_id"] == order_id
    page = (await client.get("/v1/orders?limit=1")).json()
    assert (await client.get(f"/v1/orders?limit=1&after={page['next']}")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/orders", order("door-1")),
        ("POST", "/v1/orders", order("door-2", lines=[{"sku": "nope", "quantity": 1, "unit_price_minor": 1000}])),
        ("POST", "/v1/orders", [order("door-3"), order("door-4", currency="EUR")]),
        ("POST", "/v1/orders", order("door\x00")),
        ("POST", "/v1/orders", "{broken"),
        ("POST", "/v1/orders", {"orders": []}),
        ("POST", "/v1/orders?x=1", order("door-5")),
        ("POST", "/v1/orders", ""),
        ("POST", "/v1/orders", "[" * 2_000_000),
        ("GET", "/v1/availability/sku-1?network={network}", None),
        ("GET", "/v1/availability/sku-2?channel={channel}", None),
        ("GET", "/v1/availability/sku-2", None),
        ("GET", "/v1/availability/nope?channel={channel}", None),
        ("GET", "/v1/availability/sku-1?channel=nope", None),
        ("GET", "/v1/availability/sku-1?network=a&network=b", None),
        ("GET", "/v1/availability/%00?channel=nope", None),
        ("GET", "/v1/availability/a%2Fb?channel=nope", None),
        ("HEAD", "/v1/availability/sku-1?channel=nope", None),
    ],
)
async def test_a_door_answers_what_its_route_answers(
    client: Client, database_url: str, world: World, method: str, path: str, body: Any
) -> None:
    path = path.format(channel=next(iter(world.channels.values())), network=world.network)
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    async with calling(application(database_url), doors=False) as routes:
        first = await client.request(method, path, content=content)
        [through_door, by_route] = [await one.request(method, path, content=content) for one in (client, routes)]
    assert first.status_code < 500
    assert through_door.status_code == by_route.status_code
    assert through_door.content == by_route.content
    assert dict(through_door.headers) == dict(by_route.headers)


async def test_lists_are_accepted_wherever_one_is(client: Client) -> None:
    for body in ([order("l1"), order("l2", currency="EUR")], {"orders": [order("l3"), order("l4", total_minor=1)]}):
        answer = await client.post("/v1/orders", json=body)
        assert answer.status_code == 200
        assert [outcome["outcome"] for outcome in answer.json()["outcomes"]] == ["placed", "refused"]


async def test_many_requests_at_once_share_transactions(client: Client, database: Database) -> None:
    answers = await asyncio.gather(*(client.post("/v1/orders", json=order(f"m{n}")) for n in range(60)))
    assert {answer.status_code for answer in answers} == {201}
    stamps = await database.pool.fetchval(
        "SELECT count(DISTINCT placed_at) FROM orders.orders WHERE external_id LIKE 'm%'"
    )
    assert stamps < 60


BAD: list[tuple[Any, int, str, str]] = [
    ({"channel": "refuse"}, 400, "invalid", "/external_id"),
    (order("b", lines=[]), 400, "invalid", "/lines"),
    (order("b", lines=[{"sku": "sku-1", "quantity": 0, "unit_price_minor": 5}]), 400, "invalid", "/lines/0/quantity"),
    (order("b", lines=[{"sku": "sku-1", "quantity": "2", "unit_price_minor": 5}]), 400, "invalid", "/lines/0/quantity"),
    (order("b", lines=[{"sku": "x", "quantity": 1, "unit_price_minor": 1000}]), 422, "unknown_sku", "/lines/0/sku"),
    (order("b", currency="EUR"), 422, "wrong_currency", "/currency"),
    (order("b", currency="dollars"), 400, "invalid", "/currency"),
    (order("b", total_minor=1), 422, "wrong_total", "/total_minor"),
    (order("b", channel="nowhere"), 422, "unknown_channel", "/channel"),
    (order("a1", total_minor=1300, tax_minor=0, shipping_minor=300, customer={"external_id": "c"}), 409, "repeated_with_changes", "/external_id"),
    (order("b", lines=[{"sku": "sku-1", "quantity": 1, "unit_price_minor": 1}] * 5001), 400, "invalid", "/lines"),
    (order("b", lines=[{"sku": "sku-2", "quantity": 9, "unit_price_minor": 0}], total_minor=300), 409, "out_of_stock", "/lines/0/quantity"),
    ("not an object", 400, "invalid", ""),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(BAD)))
async def test_bad_orders_get_a_problem_that_names_the_field_and_change_nothing(
    client: Client, database: Database, index: int
) -> None:
    body, status, code, pointer = BAD[index]
    await client.post("/v1/orders", json=order("a1"))
    count = "SELECT (SELECT count(*) FROM orders.orders), (SELECT sum(reserved) FROM inventory.stock)"
    before = await database.pool.fetchrow(count)
    answer = await client.post("/v1/orders", json=body)
    problem = answer.json()
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, f"urn:ordino:problem:{code}")
    assert problem["detail"]
    assert problem["errors"][0]["pointer"] == pointer
    assert await database.pool.fetchrow(count) == before


async def test_broken_and_oversized_bodies(client: Client) -> None:
    broken = await client.post("/v1/orders", content=b'{"channel": ')
    assert (broken.status_code, broken.json()["type"]) == (400, "urn:ordino:problem:invalid")
    huge = await client.post("/v1/orders", content=b" " * 1_000_001)
    assert (huge.status_code, huge.json()["type"]) == (413, "urn:ordino:problem:too_large")
    binary = await client.post("/v1/orders", content=b"\xff\xfe\x00")
    assert binary.status_code == 400


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/skus", "/v1/receipts", "/v1/flows"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000], ids=["lists", "objects"])
async def test_bodies_without_a_bottom_are_problems(client: Client, path: str, body: bytes) -> None:
    answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) in {
        (400, "application/problem+json"),
        (413, "application/problem+json"),
    }


async def test_the_character_that_cannot_be_kept_is_a_problem_and_named(client: Client) -> None:
    receipts = {"receipts": [{"sku": "sku-1", "location": "loc-1", "quantity": 1, "note": "a\x00b"}]}
    answer = await client.post("/v1/receipts", json=receipts)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/receipts/0/note")
    escaped = {
        "sku": "sku-1",
        "location": "loc-2",
        "quantity": 1,
        "reason": "C:\\u0000",
    }  # a backslash and five letters
    assert (await client.post("/v1/receipts", json=escaped)).status_code == 201
    asked = await client.get("/v1/orders?status=%00")
    assert (asked.status_code, asked.json()["errors"][0]["pointer"]) == (400, "/status")


async def test_unknown_places_are_problems(client: Client) -> None:
    for path, status in (
        ("/v1/nothing", 404),
        ("/v1/orders/00000000-0000-7000-8000-000000000000", 404),
        ("/v1/orders/not-an-id", 404),
        ("/v1/availability/nothing?channel=refuse", 404),
        ("/v1/availability/sku-1?channel=nothing", 404),
        ("/v1/orders?after=nonsense", 400),
        ("/v1/orders?limit=0", 400),
        ("/v1/flows/99", 404),
        ("/v1/flows/99999999999999999999", 404),
        ("/v1/flows/-4294967295", 404),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
    wrong = await client.delete("/v1/orders")
    assert wrong.status_code == 405
    assert set(wrong.headers["allow"].split(", ")) >= {"GET", "POST"}
    receipt = {"sku": "sku-1", "location": "nowhere", "quantity": 1}
    refused = await client.post("/v1/receipts", json=receipt)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/location")


async def test_a_key_is_honored_once(client: Client, database: Database) -> None:
    receipt = {"sku": "sku-3", "location": "loc-1", "quantity": 7}
    headers = {"Idempotency-Key": "truck-9"}
    answers = await asyncio.gather(*(client.post("/v1/receipts", json=receipt, headers=headers) for _ in range(8)))
    assert {(a.status_code, a.text) for a in answers} == {(201, answers[0].text)}
    other = await client.post("/v1/receipts", json=receipt | {"quantity": 8}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "urn:ordino:problem:key_reused")
    available = (await client.get("/v1/availability/sku-3?channel=refuse")).json()
    assert available["available"] == 7


async def test_a_key_is_honored_by_upserts_and_orders(client: Client, database: Database) -> None:
    headers = {"Idempotency-Key": "season"}
    seller = {"code": "keyed", "name": "Keyed", "currency": "USD"}
    first = await client.put("/v1/sellers", json=seller, headers=headers)
    assert (first.status_code, first.json()["outcome"]) == (201, "created")
    again = await client.put("/v1/sellers", json=seller, headers=headers)
    assert (again.status_code, again.text) == (201, first.text)
    assert (await client.put("/v1/sellers", json=seller)).json()["outcome"] == "unchanged"
    assert (await client.put("/v1/sellers", json=[seller], headers=headers)).status_code == 409
    refused = await client.put("/v1/sellers", json={"code": "keyed"}, headers={"Idempotency-Key": "wrong"})
    assert refused.status_code == 400
    mended = await client.put("/v1/sellers", json=seller, headers={"Idempotency-Key": "wrong"})
    assert mended.status_code == 200  # a refusal is not kept
    headers = {"Idempotency-Key": "cart-1"}
    answers = await asyncio.gather(*(client.post("/v1/orders", json=order("keyed"), headers=headers) for _ in range(4)))
    assert {(a.status_code, a.text) for a in answers} == {(201, answers[0].text)}
    other = await client.post("/v1/orders", json=order("keyed-2"), headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "urn:ordino:problem:key_reused")
    assert (await client.post("/v1/orders", json=order("keyed"))).json()["repeated"]


async def test_counts_come_as_json_csv_and_ndjson_and_name_bad_lines(client: Client) -> None:
    await client.post("/v1/counts", json={"sku": "sku-4", "location": "loc-1", "on_hand": 5})
    csv = "sku,location,on_hand\nsku-4,loc-1,5\nsku-4,loc-2,6\nnope,loc-1,1\nsku-5,loc-1,-3\n"
    answer = await client.post("/v1/counts", content=csv, headers={"Content-Type": "text/csv"})
    told = answer.json()
    assert (told["rows"], told["applied"], told["unchanged"], told["refused"]) == (4, 1, 1, 2)
    assert [fault["line"] for fault in told["faults"]] == [4, 5]
    rows = [{"sku": "sku-4", "location": "loc-1", "on_hand": n} for n in (8, 9)]
    lines = "\n".join(map(json.dumps, rows)) + '\n{"sku": \n'
    answer = await client.post("/v1/counts", content=lines, headers={"Content-Type": "application/x-ndjson"})
    told = answer.json()
    assert (told["rows"], told["applied"], told["refused"]) == (3, 1, 2)
    assert [fault["line"] for fault in told["faults"]] == [1, 3]
    short = await client.post("/v1/counts", content="sku,location\na,b\n", headers={"Content-Type": "text/csv"})
    assert short.status_code == 400
    assert "on_hand" in short.json()["detail"]


async def test_cancellation_and_preview(client: Client, database: Database) -> None:
    order_id = (await client.post("/v1/orders", json=order("c1"))).json()["order_id"]
    count = "SELECT count(*), (SELECT sum(reserved) FROM inventory.stock) FROM core.events"
    before = await database.pool.fetchrow(count)
    wanted = {"channel": "refuse", "country": "US", "postal_code": "43215", "lines": [{"sku": "sku-1", "quantity": 2}]}
    preview = (await client.post("/v1/sourcing/preview", json=wanted)).json()
    assert (preview["outcome"], preview["legs"][0]["location"]) == ("placed", "loc-1")
    assert await database.pool.fetchrow(count) == before  # a preview has no effect
    done = await client.post(f"/v1/orders/{order_id}/cancellation", json={"lines": [{"line_no": 1, "quantity": 1}]})
    assert done.json()["cancelled"] == [{"line_no": 1, "quantity": 1}]
    many = await client.post("/v1/cancellations", json=[{"order_id": order_id, "all": True}] * 2)
    assert [outcome["outcome"] for outcome in many.json()["outcomes"]] == ["cancelled", "refused"]
    late = await client.post(f"/v1/orders/{order_id}/cancellation", json={"all": True})
    assert late.status_code == 409


async def test_flows_are_drafted_checked_and_activated(client: Client) -> None:
    bad = await client.post("/v1/flows", content="name: x\nevents:\n  order_placed: [nonsense]\n")
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (400, "/line/3")
    draft = await client.post("/v1/flows", content="name: x\nevents:\n  order_placed: [authorize]\n")
    assert draft.status_code == 201
    version = draft.json()["version"]
    assert (await client.get(f"/v1/flows/{version}")).json()["active"] is False
    assert (await client.post(f"/v1/flows/{version}/activation")).status_code == 200
    assert (await client.post("/v1/flows/1/activation")).status_code == 200


async def test_health_schema_and_readiness(client: Client) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    assert (await client.get("/ready")).json() == {"status": "ready"}
    schema = (await client.get("/schema/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    body = schema["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "anyOf" in body
    silent = {
        "/v1/dead_letters/{letter_id}/replay",
        "/v1/delayed_commands/{job_id}/revocation",
        "/v1/flows/{version}/activation",
        "/v1/jobs/{job_id}/cancellation",
        "/v1/keys/{key_id}/revocation",
        "/v1/orders/{order_id}/fulfillment_orders",
        "/v1/sourcing/profiles/{name}/retirement",
        "/v1/sourcing/profiles/{version}/activation",
        "/v1/sourcing/reevaluations",
        "/v1/transfers/{transfer_id}/cancellation",
    }
    bodiless = {path for path, item in schema["paths"].items() if "post" in item and "requestBody" not in item["post"]}
    assert bodiless <= silent


async def test_without_a_key_only_this_machine_may_call(database_url: str, world: World) -> None:
    async with calling(application(database_url), "203.0.113.9") as stranger:
        assert (await stranger.get("/v1/orders")).status_code == 403
        assert (await stranger.post("/v1/orders", json=order("stranger"))).status_code == 403
        assert (await stranger.get(f"/v1/availability/sku-1?network={world.network}")).status_code == 403
        assert (await stranger.get("/health")).status_code == 200
    async with calling(application(database_url)) as here:
        page = {"Origin": "http://elsewhere.example"}
        assert (await here.get("/v1/orders", headers=page)).status_code == 403
        assert (await here.get("/v1/orders", headers={"Origin": "http://localhost"})).status_code == 200


async def test_with_a_key_everybody_needs_one_and_its_scope(client: Client, database: Database) -> None:
    at = database.clock.now()
    reader_id, reader = await database.transact(lambda tx: keys.make(tx, "reader", ["read"], at=at))
    writer_id, writer = await database.transact(lambda tx: keys.make(tx, "writer", ["write"], at=at))
    try:
        await asyncio.sleep(1.1)  # that there is a key is known a second later at most

        async def status(
            token: str | None, method: str = "GET", path: str = "/v1/orders", body: str | None = None
        ) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return (await client.request(method, path, headers=headers, content=body)).status_code

        look, body = "/v1/availability/sku-1?channel=refuse", json.dumps(order("keyless"))
        assert await status(None) == await status(None, "GET", look) == await status(None, "POST", body=body) == 401
        assert await status(reader, "GET", look) == 200
        assert await status(reader, "POST", body=body) == 403
        assert await status("ordino_wrong") == 401
        assert (await client.get("/v1/orders")).headers["www-authenticate"] == "Bearer"
        assert await status(reader) == 200
        assert await status(reader, "POST") == 403
        assert await status(writer, "POST") == 400  # let in, and told that the body is empty
        assert await status(writer, "POST", "/v1/flows/1/activation") == 403
        stored = await database.pool.fetch("SELECT hash FROM core.api_keys")
        assert all(reader.encode() not in row["hash"] for row in stored)
        await database.transact(lambda tx: keys.revoke(tx, reader_id, at=at))
        assert await status(reader) == 401
    finally:
        for key_id in (reader_id, writer_id):
            await database.pool.execute("DELETE FROM core.api_keys WHERE key_id = $1", key_id)


async def test_zipped_and_named_feeds_come_over_http(client: Client) -> None:
    rows = "sku;location;delta;reason\n" + "sku-5;loc-1;1;found\n" * 10
    zipped = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    for _ in range(2):
        answer = await client.post("/v1/adjustments?feed=api", content=gzip.compress(rows.encode()), headers=zipped)
        assert (answer.status_code, answer.json()["applied"], answer.json()["feed"]) == (200, 10, "api")
    moves = (await client.get("/v1/stock/sku-5/moves?location=loc-1")).json()["moves"]
    assert sum(move["on_hand_delta"] for move in moves if move["kind"] == "adjusted") == 10
    other = gzip.compress((rows + "sku-5;loc-1;1;found\n").encode())
    assert (await client.post("/v1/adjustments?feed=api", content=other, headers=zipped)).status_code == 409
    cut = await client.post("/v1/counts", content=gzip.compress(rows.encode())[:30], headers=zipped)
    assert cut.status_code == 400
    assert "ends too early" in cut.json()["detail"]
    told = (await client.get("/v1/feeds/api")).json()
    assert (told["rows"], told["applied"], told["kind"]) == (10, 10, "adjustments")
    assert [feed["feed"] for feed in (await client.get("/v1/feeds")).json()["feeds"]] == ["api"]
    past = {"Content-Type": "text/csv"}
    future = await client.post(
        "/v1/counts?as_of=2099-01-01T00:00:00Z", content="sku,location,on_hand\nsku-5,loc-1,1\n", headers=past
    )
    assert future.json()["faults"][0]["pointer"] == "/as_of"
    whole = await client.post("/v1/counts?feed=x", json={"sku": "sku-5", "location": "loc-1", "on_hand": 1})
    assert whole.status_code == 400
