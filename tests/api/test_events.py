"""SUB-3, SUB-4: programs follow the events over HTTP, wait for them, and say how far they have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient

from happenings import TYPES, played
from ordino.api.app import build
from ordino.core.connecting import Limits
from ordino.core.database import Database, Tx
from ordino.core.events import Event, record
from ordino.core.log import Logged, sequence
from ordino.core.payloads import KINDS
from ordino.core.reactions import Worker, registry
from ordino.core.settings import Settings
from steps import application, calling


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    with played():
        yield


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as client:
        yield client


async def happen(database: Database, numbers: Sequence[int], kind: str = "happened") -> None:
    at = database.clock.now()
    events = [Event(id, id, at, TYPES[kind](n=n), 0) for n, id in ((n, uuid4()) for n in numbers)]
    await database.transact(lambda tx: record(tx, events))
    await sequence(database)


async def get(client: AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def numbers(page: dict[str, Any]) -> list[int]:
    return [event["data"]["n"] for event in page["events"]]


async def test_a_reader_follows_page_by_page_and_goes_on_later(client: AsyncClient, database: Database) -> None:
    start = (await get(client, "/v1/events", after="now"))["next"]
    await happen(database, range(5))
    first = await get(client, "/v1/events", after=start, limit=3)
    assert (numbers(first), first["more"]) == ([0, 1, 2], True)
    second = await get(client, "/v1/events", after=first["next"], limit=3)
    assert (numbers(second), second["more"]) == ([3, 4], False)
    assert numbers(await get(client, "/v1/events", after=first["events"][1]["cursor"])) == [2, 3, 4]
    assert (await get(client, "/v1/events", after=second["next"]))["events"] == []
    await happen(database, [5])
    assert numbers(await get(client, "/v1/events", after=second["next"])) == [5]
    event = first["events"][0]
    assert set(event) == {"cursor", "id", "subject_id", "kind", "at", "recorded_at", "data"}


async def test_everything_is_read_from_the_beginning_by_default(client: AsyncClient, database: Database) -> None:
    await happen(database, [1])
    page = await get(client, "/v1/events", limit=1)
    assert page == await get(client, "/v1/events", limit=1, after="beginning")
    assert len(page["events"]) == 1


async def test_some_kinds_only(client: AsyncClient, database: Database) -> None:
    start = (await get(client, "/v1/events", after="now"))["next"]
    await happen(database, [1])
    await happen(database, [2], "else_happened")
    assert numbers(await get(client, "/v1/events", after=start, kind="else_happened")) == [2]
    assert numbers(await get(client, "/v1/events", after=start, kind=["else_happened", "happened"])) == [1, 2]


@pytest.mark.parametrize(
    ("query", "says", "pointer"),
    [
        ({"kind": "hapened"}, "There are no events of the kind 'hapened'. The kinds are: ", "/kind"),
        ({"after": "garbage"}, "This is not a cursor. Send one that this server has handed out", "/after"),
        ({"limit": 0}, "", "/limit"),
        ({"limit": 1001}, "", "/limit"),
        ({"wait_seconds": 31}, "", "/wait_seconds"),
        ({"wait_seconds": "nan"}, "", "/wait_seconds"),
        ({"since": "now"}, "does not know the query parameter 'since'", "/since"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    client: AsyncClient, query: dict[str, Any], says: str, pointer: str
) -> None:
    answer = await client.get("/v1/events", params=query)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["detail"]
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_whoever_waits_is_answered_at_once_and_holds_no_connection(database: Database, database_url: str) -> None:
    """Thirty wait, on a server with a single connection, which answers others meanwhile."""

    async def open_database() -> Database:
        return await Database.open(database_url, limits=Limits(acquire_seconds=5), pool_size=1)

    async with calling(build(open_database, Settings())) as client:
        start = (await get(client, "/v1/events", after="now"))["next"]
        began = time.monotonic()
        waiting = [
            asyncio.create_task(get(client, "/v1/events", after=start, kind="happened", wait_seconds=30))
            for _ in range(30)
        ]
        await happen(database, [1], "else_happened")  # not what they wait for
        for _ in range(10):
            assert (await client.get("/v1/effects")).status_code == 200
            await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        await happen(database, [2])
        assert [numbers(page) for page in await asyncio.gather(*waiting)] == [[2]] * 30
        assert time.monotonic() - began < 25


async def test_whoever_waits_in_vain_is_answered_in_time_and_goes_on(client: AsyncClient, database: Database) -> None:
    start = (await get(client, "/v1/events", after="now"))["next"]
    await happen(database, [1], "else_happened")
    began = time.monotonic()
    page = await get(client, "/v1/events", after=start, kind="happened", wait_seconds=0.5)
    assert 0.4 < time.monotonic() - began < 10
    assert (page["events"], page["more"]) == ([], False)
    assert page["next"] != start  # it need not pass over the other one again
    assert (await get(client, "/v1/events", after=page["next"]))["events"] == []


async def test_sub_4_what_is_read_is_read_again_until_it_is_acknowledged(
    client: AsyncClient, database: Database
) -> None:
    made = await client.post("/v1/subscriptions", json={"name": "erp", "kinds": ["happened"], "start": "now"})
    assert made.status_code == 201, made.text
    assert made.json() | {"cursor": "", "created_at": ""} == {
        "name": "erp", "reader": "program", "kinds": ["happened"], "cursor": "", "sets_behind": 0, "created_at": "", "moved_at": None,
    }  # fmt: skip
    await happen(database, [1, 2, 3])
    await happen(database, [4], "else_happened")
    events, done = "/v1/subscriptions/erp/events", "/v1/subscriptions/erp/acknowledgments"
    page = await get(client, events, limit=2)
    assert numbers(page) == [1, 2]
    assert await get(client, events, limit=2) == page
    one = await client.post(done, json={"cursor": page["events"][0]["cursor"]})
    assert one.status_code == 200, one.text
    assert numbers(await get(client, events)) == [2, 3]
    both = await client.post(done, json={"cursor": page["next"]})
    assert (await client.post(done, json={"cursor": page["next"]})).json() == both.json()  # said twice
    late = await client.post(done, json={"cursor": page["events"][0]["cursor"]})
    assert (late.status_code, late.json()) == (200, both.json())  # from before: it moves nothing
    rest = await get(client, events)
    assert numbers(rest) == [3]
    ended = (await client.post(done, json={"cursor": rest["next"]})).json()
    assert ended["sets_behind"] == 0
    assert ended["moved_at"] is not None
    assert (await get(client, events, wait_seconds=0.2))["events"] == []


async def test_whoever_subscribes_again_is_where_they_were(client: AsyncClient, database: Database) -> None:
    body = {"name": "lake", "start": "now"}
    await client.post("/v1/subscriptions", json=body)
    await happen(database, [1])
    page = await get(client, "/v1/subscriptions/lake/events")
    told = (await client.post("/v1/subscriptions/lake/acknowledgments", json={"cursor": page["next"]})).json()
    again = await client.post("/v1/subscriptions", json=body)
    assert (again.status_code, again.json()) == (201, told)
    other = await client.post("/v1/subscriptions", json=body | {"kinds": ["happened"]})
    assert other.status_code == 409
    assert "it follows something else. Choose another name." in other.json()["detail"]
    listed = (await get(client, "/v1/subscriptions"))["subscriptions"]
    assert told in listed
    assert (await client.delete("/v1/subscriptions/lake")).json() == {"name": "lake"}
    for answer in (
        await client.get("/v1/subscriptions/lake/events"),
        await client.delete("/v1/subscriptions/lake"),
        await client.post("/v1/subscriptions/lake/acknowledgments", json={"cursor": page["next"]}),
    ):
        assert answer.status_code == 404
        assert "POST /v1/subscriptions makes one" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "a", "kinds": ["hapened"]}, "no events of the kind 'hapened'"),
        ({"name": "a", "kinds": []}, "leave the kinds out"),
        ({"name": ""}, "/name"),
        ({"name": "a", "start": "yesterday"}, "/start"),
        ({"name": "a", "kind": "happened"}, "kind"),
        ({}, "name"),
    ],
)
async def test_subscriptions_that_cannot_be_are_refused(client: AsyncClient, body: dict[str, Any], says: str) -> None:
    answer = await client.post("/v1/subscriptions", json=body)
    assert answer.status_code == 400, answer.text
    assert says in answer.text
    assert all(one["name"] != "a" for one in (await get(client, "/v1/subscriptions"))["subscriptions"])


async def test_sub_3_no_acknowledgment_goes_beyond_the_log_or_comes_from_another(
    client: AsyncClient, database: Database
) -> None:
    await client.post("/v1/subscriptions", json={"name": "ahead"})
    await happen(database, [1])
    cursor = (await get(client, "/v1/events", after="now"))["next"]
    done = "/v1/subscriptions/ahead/acknowledgments"
    await database.pool.execute("UPDATE core.log_head SET head = head - 1")
    try:
        answer = await client.post(done, json={"cursor": cursor})
    finally:
        await database.pool.execute("UPDATE core.log_head SET head = head + 1")
    assert answer.status_code == 400
    assert "ahead of the log" in answer.json()["detail"]
    assert answer.json()["type"] == "urn:ordino:problem:bad_cursor"
    assert answer.json()["errors"][0]["pointer"] == "/cursor"
    garbage = await client.post(done, json={"cursor": cursor[:-1]})
    assert (garbage.status_code, garbage.json()["errors"][0]["pointer"]) == (400, "/cursor")
    assert (await client.post(done, json={"cursor": cursor, "more": 1})).status_code == 400
    assert (await client.post(done, json={"cursor": cursor})).status_code == 200


async def test_the_subscriptions_of_ordino_itself_are_shown_and_left_alone(
    client: AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "subscriptions", {})
    monkeypatch.setattr(registry, "reactions", dict(registry.reactions))

    @registry.subscription("counting")
    async def count(tx: Tx, events: Sequence[Logged], at: Any) -> None: ...

    await Worker(database).followers.run_until_idle()
    [shown] = [one for one in (await get(client, "/v1/subscriptions"))["subscriptions"] if one["name"] == "counting"]
    assert (shown["reader"], shown["sets_behind"]) == ("stage", 0)
    taken = await client.post("/v1/subscriptions", json={"name": "counting"})
    for answer in (
        taken,
        await client.get("/v1/subscriptions/counting/events"),
        await client.delete("/v1/subscriptions/counting"),
        await client.post("/v1/subscriptions/counting/acknowledgments", json={"cursor": shown["cursor"]}),
    ):
        assert answer.status_code == 409, answer.text


async def test_the_kinds_are_listed_with_their_facts(client: AsyncClient) -> None:
    kinds = {one["kind"]: one for one in (await get(client, "/v1/event_kinds"))["event_kinds"]}
    assert list(kinds) == sorted(KINDS)
    captured = kinds["payment_captured"]
    assert (captured["version"], captured["stage"]) == (1, "orders")
    assert captured["sentence"] == "The money of a shipment was captured."
    assert captured["fields"] == [
        {
            "name": "amount_minor",
            "type": "integer",
            "always": True,
            "description": "How much, in minor units.",
        },
        {
            "name": "reference",
            "type": "string or null",
            "always": True,
            "description": "The provider's reference; null if it gave none.",
        },
    ]
    sometimes = [field["name"] for field in kinds["order_placed"]["fields"] if not field["always"]]
    assert sometimes == ["backordered", "accepted_total_minor"]
    schema = kinds["order_placed"]["schema"]
    assert schema["$defs"]["OrderPlaced"]["required"] == ["channel", "total_minor"]
