"""IDM-1, IDM-2 over HTTP: every operation that changes something honors an Idempotency-Key. All of it is made from the table."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from httpx import AsyncClient, Response
from msgspec import inspect as types

from ordino.api.app import build
from ordino.api.server import load_stages
from ordino.core import keys
from ordino.core.database import Database
from ordino.core.digests import digest_of
from ordino.core.keys import NewKey
from ordino.core.permissions import Role
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans
from ordino.inventory import feed
from ordino.web import loads
from ordino.web.bodies import Body
from samples import Sample, sample, samples
from shop import Ask, Shop, ask_for, state
from steps import application, assert_clean, calling, order_body
from world import served_world


async def _no_database() -> None:
    """The application is only looked at."""


load_stages()
EVERY = {one.operation.name: one for one in samples(build(_no_database, Settings()))}
WRITES = sorted(name for name, one in EVERY.items() if one.operation.writes(one.method))
ASKS = {"profiles.validate", "promises.ask", "sourcing.preview", "sourcing.replay"}
CHANGES_NOTHING = {"orders.erase_notes", "subscriptions.acknowledge"}
REUSED = (409, "urn:ordino:problem:key_reused")


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The module's database, under the flow that is active there."""
    async with await Database.open(database_url, plans=flow_plans()) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shop(database_url: str, database: Database) -> AsyncIterator[Shop]:
    world = await served_world(database, skus=4, locations=3, stock=1000)
    header = await bearer(database)
    async with calling(application(database_url)) as client:
        yield Shop(client, database, world, header)


@pytest.fixture(scope="module")
async def other(database: Database) -> dict[str, str]:
    """The header of another API key."""
    return await bearer(database)


async def bearer(database: Database) -> dict[str, str]:
    at = database.clock.now()
    made = NewKey(name="k", roles=[Role.ADMIN])
    _, token = await database.transact(lambda tx: keys.make_key(tx, made, at=at))
    return {"Authorization": f"Bearer {token}"}


async def kept(database: Database, key: str) -> int:
    """How many callers have an answer to this key."""
    found: int = await database.pool.fetchval(
        "SELECT count(*) FROM core.idempotency WHERE split_part(key, E'\\n', 2) = $1", key
    )
    return found


async def send(shop: Shop, one: Sample, ask: Ask, key: str, *, header: dict[str, str] | None = None) -> Response:
    content = ask.text.encode() if ask.text is not None else None if ask.body is None else msgspec.json.encode(ask.body)
    headers = {**(header or shop.header), "Idempotency-Key": key}
    if ask.text is not None:
        headers["content-type"] = "application/yaml"
    return await shop.client.request(one.method, one.url(ask.path), content=content, headers=headers)


def told(answer: Response) -> tuple[int, str]:
    found = answer.json() if "problem" in answer.headers["content-type"] else {}
    return answer.status_code, str(found.get("type", ""))


def test_what_changes_nothing_says_so() -> None:
    assert {name for name, one in EVERY.items() if one.operation.asks} == ASKS
    assert len(WRITES) > 90
    views = build(_no_database, Settings()).state.operations.views
    assert sorted(view.name for view in views if view.writes) == WRITES


@pytest.mark.parametrize("name", WRITES)
async def test_an_operation_with_a_key_is_done_once_and_answered_alike(
    shop: Shop, other: dict[str, str], name: str
) -> None:
    one, key = EVERY[name], uuid4().hex
    ask = await ask_for(shop, one)
    before = await state(shop.database)
    twins = await asyncio.gather(send(shop, one, ask, key), send(shop, one, ask, key))  # at the same instant
    assert [answer.status_code // 100 for answer in twins] == [2, 2], (ask, twins[0].text)
    after = await state(shop.database)
    assert (after == before) == (name in CHANGES_NOTHING), "it does something"
    assert await kept(shop.database, key) == 1
    again = await send(shop, one, ask, key)
    assert await state(shop.database) == after, "a repeat does nothing"
    if name == "keys.make":
        assert sorted(answer.json()["token"] is None for answer in twins) == [False, True], "a token is shown once"
        assert again.content in (answer.content for answer in twins)
    else:
        assert (again.status_code, again.content) == (twins[0].status_code, twins[0].content)
        assert twins[1].content == twins[0].content
    await another_request_is_refused(shop, one, ask, key)
    assert await state(shop.database) == after
    answer = await send(shop, one, ask, key, header=other)
    assert told(answer) != REUSED
    assert await kept(shop.database, key) == 1 + (answer.status_code < 300), "another caller's key is another"


async def another_request_is_refused(shop: Shop, one: Sample, ask: Ask, key: str) -> None:
    receipt = {"sku": shop.world.sku, "location": shop.world.location, "quantity": 1, "document": key}
    headers = {**shop.header, "Idempotency-Key": key}
    assert told(await shop.client.post("/v1/receipts", json=receipt, headers=headers)) == REUSED
    if ask.text is not None:
        changed = Ask(ask.path, None, ask.text + "# said otherwise\n")
        assert told(await send(shop, one, changed, key)) == REUSED
    refused = [told(await send(shop, one, Ask(ask.path, body), key)) for body in others(one, ask.body)]
    assert all(status >= 400 for status, _ in refused), refused
    assert ask.body is None or REUSED in refused, refused


def others(one: Sample, body: Any) -> Iterator[Any]:
    """Bodies that say something else: a field more, another number or word, or one item more."""
    if not isinstance(body, dict):
        return
    sent = getattr(one.handler.operation_class, "sent", None)
    if isinstance(sent, Body):
        yield {sent.name: [body, body]}
        sent = sent.type
    for name, value in body.items():
        if isinstance(value, list) and value:
            yield {**body, name: [*value, value[0]]}
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield {**body, name: value + 1 if isinstance(value, int) else f"{value}x"}
    info = types.type_info(sent) if isinstance(sent, type) else None
    for field in info.fields if isinstance(info, types.StructType) else ():
        if field.encode_name not in body:
            more = {**body, field.encode_name: sample(field.type, {}, field.encode_name)}
            if meant(sent, more) != meant(sent, body):
                yield more
                yield {field.encode_name: more[field.encode_name]}


def meant(sent: Any, body: Any) -> bytes:
    try:
        return digest_of(msgspec.convert(body, sent))
    except msgspec.ValidationError:
        return b""


def refusals_of(shop: Shop) -> dict[str, Ask]:
    """Requests that are refused, one of each way of answering."""
    nothing = str(uuid4())
    return {
        "stock.receive": Ask(body={"sku": "none", "location": shop.world.location, "quantity": 1}),
        "orders.cancel": Ask(path={"order_id": nothing}, body={"all": True}),
        "skus.upsert": Ask(body={"code": "late", "weight_grams": -1}),
        "jobs.cancel": Ask(path={"job_id": nothing}),
        "subscriptions.drop": Ask(path={"name": "nobody"}),
    }


@pytest.mark.parametrize("name", ["stock.receive", "orders.cancel", "skus.upsert", "jobs.cancel", "subscriptions.drop"])
async def test_a_refusal_is_not_kept(shop: Shop, name: str) -> None:
    key, ask = uuid4().hex, refusals_of(shop)[name]
    before = await state(shop.database)
    for _ in range(2):
        assert (await send(shop, EVERY[name], ask, key)).status_code in (400, 404, 422)
    assert await kept(shop.database, key) == 0
    assert await state(shop.database) == before
    receipt = Ask(body={"sku": shop.world.sku, "location": shop.world.location, "quantity": 1})
    assert (await send(shop, EVERY["stock.receive"], receipt, key)).status_code == 201


async def test_a_list_is_kept_whole_with_what_it_refused(shop: Shop) -> None:
    key = uuid4().hex
    good, bad = ({"sku": sku, "location": shop.world.location, "quantity": 1} for sku in (shop.world.sku, "none"))
    first = await send(shop, EVERY["stock.receive"], Ask(body=[good, bad]), key)
    assert [one["outcome"] for one in first.json()["outcomes"]] == ["moved", "refused"]
    after = await state(shop.database)
    named = await send(shop, EVERY["stock.receive"], Ask(body={"receipts": [good, bad]}), key)
    assert named.content == first.content
    assert told(await send(shop, EVERY["stock.receive"], Ask(body=[bad, good]), key)) == REUSED
    assert await state(shop.database) == after


@pytest.mark.parametrize(
    "key", ["", "k" * 201, "nul\x00", "tab\tbed"], ids=["empty", "201 characters", "NUL", "control character"]
)
@pytest.mark.parametrize("name", ["orders.place", "stock.receive", "skus.upsert", "jobs.cancel"])
@pytest.mark.parametrize("rows", [False, True], ids=["JSON", "rows"])
async def test_what_is_no_key_is_refused(shop: Shop, name: str, key: str, rows: bool) -> None:
    headers = {**shop.header, "content-type": "application/x-ndjson"} if rows else shop.header
    if rows and name not in ("stock.receive", "skus.upsert"):
        headers = shop.header
    before = await state(shop.database)
    ask = await ask_for(shop, EVERY[name]) if name != "jobs.cancel" else Ask(path={"job_id": str(uuid4())})
    made = await state(shop.database) if name == "jobs.cancel" else before
    answer = await send(shop, EVERY[name], ask, key, header=headers)
    assert told(answer) == (400, "urn:ordino:problem:invalid")
    assert "1 to 200 characters" in answer.json()["detail"]
    assert await state(shop.database) == made


async def test_a_key_of_200_characters_is_one_for_rows_and_for_json(shop: Shop) -> None:
    row = {"sku": shop.world.sku, "location": shop.world.location, "quantity": 1}
    for media_type, status in (("application/json", 201), ("application/x-ndjson", 200)):
        headers = {**shop.header, "content-type": media_type, "Idempotency-Key": uuid4().hex.ljust(200, "k")}
        answers = [await shop.client.post("/v1/receipts", json=row, headers=headers) for _ in range(2)]
        assert [(one.status_code, one.content) for one in answers] == [(status, answers[0].content)] * 2


async def test_two_keys_in_one_request_are_refused(shop: Shop) -> None:
    row = {"sku": shop.world.sku, "location": shop.world.location, "quantity": 1}
    two = [*shop.header.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await shop.client.post("/v1/receipts", json=row, headers=two)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Send one Idempotency-Key; this request has several.")


async def test_questions_ignore_a_key(shop: Shop) -> None:
    key = uuid4().hex
    document = {**shop.header, "Idempotency-Key": key, "content-type": "application/yaml"}
    for text in (shop.profile()[1], "name: [\n"):
        answer = await shop.client.post("/v1/sourcing/profiles/validation", content=text, headers=document)
        assert answer.status_code == 200
    asked = {"channel": shop.world.channel, "country": "US", "postal_code": "43215"}
    for quantity in (1, 2):
        question = asked | {"lines": [{"sku": shop.world.sku, "quantity": quantity}]}
        assert (await send(shop, EVERY["promises.ask"], Ask(body=question), key)).status_code == 200
    assert await kept(shop.database, key) == 0


# -- rows ------------------------------------------------------------------------------------------------------------------


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def rows_sent(client: AsyncClient, path: str, body: bytes, headers: dict[str, str], key: str) -> Response:
    told = {**headers, "Idempotency-Key": key, "content-type": "application/x-ndjson"}
    return await client.post(path, content=body, headers=told)


def skus(*names: str, weight_grams: int = 5) -> list[Any]:
    return [{"code": name, "name": name, "weight_grams": weight_grams} for name in names]


async def test_rows_of_an_upsert_get_their_first_answer(
    shop: Shop, other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "ROWS_AT_ONCE", 3)
    names, key = [f"row-{uuid4().hex}-{n}" for n in range(8)], uuid4().hex
    body = lines(*skus(*names[:7]), {"name": "nameless"})
    twins = await asyncio.gather(*(rows_sent(shop.client, "/v1/skus", body, shop.header, key) for _ in range(2)))
    assert {one.content for one in twins} == {twins[0].content}
    assert twins[0].json()["created"] == 7
    assert twins[0].json()["faults"][0]["line"] == 8
    await rows_sent(shop.client, "/v1/skus", lines(*skus(*names[:2], weight_grams=9)), shop.header, uuid4().hex)
    after = await state(shop.database)
    assert (await rows_sent(shop.client, "/v1/skus", body, shop.header, key)).content == twins[0].content
    for changed in (
        lines(*skus(*names[:7])),
        lines(*skus(*names[:7]), {"name": "another"}),
        body + lines(*skus(names[7])) * 2,
        lines(*skus(*names[:3])),
        lines(*skus(names[7])),
    ):
        assert told(await rows_sent(shop.client, "/v1/skus", changed, shop.header, key)) == REUSED
    assert told(await rows_sent(shop.client, "/v1/sellers", body, shop.header, key)) == REUSED
    assert await state(shop.database) == after
    again = await rows_sent(shop.client, "/v1/skus", body, other, key)
    assert (again.json()["updated"], again.json()["unchanged"]) == (2, 5), "another caller's key is another"


async def test_rows_of_an_upsert_may_come_again_in_another_form(shop: Shop) -> None:
    code, key = f"form-{uuid4().hex}", uuid4().hex
    headers = {**shop.header, "Idempotency-Key": key}
    sent = [
        ("application/x-ndjson", lines(*skus(code))),
        ("text/csv", f"weight_grams;code;name\n5;{code};{code}\n".encode()),
    ]
    answers = [
        await shop.client.post("/v1/skus", content=body, headers={**headers, "content-type": form})
        for form, body in sent
    ]
    assert [(one.status_code, one.json()["created"]) for one in answers] == [(200, 1)] * 2


async def units(shop: Shop, sku: str) -> int:
    stock = "SELECT coalesce(sum(on_hand), 0)::int FROM inventory.stock WHERE sku_id = $1"
    found: int = await shop.database.pool.fetchval(stock, shop.world.sku_ids[sku])
    return found


async def test_rows_of_receipts_are_applied_once_and_go_on_where_they_broke_off(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 3)
    sku, key = shop.world.skus[2], uuid4().hex
    had = await units(shop, sku)
    rows = [{"sku": sku, "location": shop.world.location, "quantity": n} for n in range(1, 9)]
    part = gzip.compress(lines(*rows[:5]))[:-9]
    broken = await rows_sent(shop.client, "/v1/receipts", part, shop.header, key)
    assert broken.status_code == 400
    assert "with the same Idempotency-Key" in broken.json()["detail"]
    assert await units(shop, sku) in (had, had + 1 + 2 + 3), "whole sets only"
    twins = await asyncio.gather(
        *(rows_sent(shop.client, "/v1/receipts", lines(*rows), shop.header, key) for _ in range(3))
    )
    assert {(one.status_code, one.content) for one in twins} == {(200, twins[0].content)}
    assert (twins[0].json()["applied"], twins[0].json()["feed"]) == (8, None)
    assert await units(shop, sku) == had + sum(range(1, 9))
    after = await state(shop.database)
    for changed in (rows[:3], rows[:7], [*rows, rows[0]], [*rows, *rows], [rows[1], *rows]):
        assert told(await rows_sent(shop.client, "/v1/receipts", lines(*changed), shop.header, key)) == REUSED
    assert told(await rows_sent(shop.client, "/v1/counts", lines(*rows), shop.header, key)) == REUSED
    assert told(await rows_sent(shop.client, "/v1/receipts?feed=x", lines(*rows), shop.header, key)) == REUSED
    assert await state(shop.database) == after


async def test_a_key_of_a_request_takes_no_set_of_rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets go side by side only once it is known that the key is theirs."""
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 1)
    sku, key = shop.world.skus[3], uuid4().hex
    row = {"sku": sku, "location": shop.world.location, "quantity": 1}
    rows = [{**row, "location": at} for at in shop.world.locations] * 3
    await send(shop, EVERY["stock.receive"], Ask(body=row), key)
    had = await units(shop, sku)
    assert told(await rows_sent(shop.client, "/v1/receipts", lines(*rows), shop.header, key)) == REUSED
    assert await units(shop, sku) == had


async def test_a_named_feed_may_have_a_key_too(shop: Shop) -> None:
    sku, key = shop.world.skus[3], uuid4().hex
    row = {"sku": sku, "location": shop.world.location, "quantity": 4}
    had = await units(shop, sku)
    path = f"/v1/receipts?feed={uuid4().hex}"
    for again in (key, key, uuid4().hex):  # by its key, and by its name
        assert (await rows_sent(shop.client, path, lines(row), shop.header, again)).json()["applied"] == 1
    assert await units(shop, sku) == had + 4


# -- placement -------------------------------------------------------------------------------------------------------------


async def test_an_orders_own_key_works_beside_a_client_key(shop: Shop) -> None:
    order, key = order_body(uuid4().hex), uuid4().hex
    place = EVERY["orders.place"]
    first = await send(shop, place, Ask(body=order), key)
    assert (first.status_code, first.json()["repeated"]) == (201, False)
    assert (await send(shop, place, Ask(body=order), key)).content == first.content
    bare = await shop.client.post("/v1/orders", json=order, headers=shop.header)
    assert (bare.status_code, bare.json()["repeated"]) == (200, True)
    assert bare.json()["order_id"] == first.json()["order_id"]
    assert (await send(shop, place, Ask(body=order), uuid4().hex)).json()["repeated"]


async def test_nothing_is_left_of_it_all_that_does_not_add_up(shop: Shop) -> None:
    await assert_clean(shop.database)
