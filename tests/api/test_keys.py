"""Keys over HTTP and from the command line: what they may give, what narrows them, until when they are good, when they were used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from httpx import AsyncClient

from ordino.core import keys
from ordino.core.database import Database
from ordino.core.errors import Conflict, Forbidden, Invalid, NotFound
from ordino.core.keys import NewKey
from ordino.core.permissions import ROLES, Permission, Role
from ordino.flows.versions import flow_plans
from steps import application, calling, order_body, placed, released
from world import World, served_world, small_world


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The module's database, under the flow that is active there."""
    async with await Database.open(database_url, plans=flow_plans()) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database)


@pytest.fixture(scope="module")
async def others(database: Database) -> World:
    return await small_world(database, prefix="other-")


@pytest.fixture(scope="module")
async def client(database_url: str, world: World, others: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as caller:
        yield caller


@pytest.fixture
async def admin(database: Database) -> dict[str, str]:
    return await made(database, roles=[Role.ADMIN])


async def made(database: Database, **fields: Any) -> dict[str, str]:
    """The header of a new key."""
    at = database.clock.now()
    _, token = await database.transact(lambda tx: keys.make_key(tx, NewKey(name="k", **fields), at=at))
    return {"Authorization": f"Bearer {token}"}


async def test_a_key_is_made_listed_used_and_revoked_over_http(client: AsyncClient, admin: dict[str, str]) -> None:
    wanted = {
        "name": "till 7", "permissions": ["stock.write"], "sellers": ["seller"], "locations": ["loc-1"],
        "expires_at": "2099-01-01T00:00:00Z",
    }  # fmt: skip
    answer = await client.post("/v1/keys", json=wanted, headers=admin)
    assert answer.status_code == 201
    key, token = answer.json()["key"], answer.json()["token"]
    assert {name: key[name] for name in wanted} == wanted
    till = {"Authorization": f"Bearer {token}"}
    receipt = {"sku": "sku-1", "location": "loc-1", "quantity": 1}
    assert (await client.post("/v1/receipts", json=receipt, headers=till)).status_code == 201
    assert (await client.get("/v1/stock/sku-1", headers=till)).status_code == 403
    listed = (await client.get("/v1/keys", headers=admin)).json()["keys"]
    [shown] = [one for one in listed if one["key_id"] == key["key_id"]]
    assert token not in str(listed)
    assert shown["name"] == "till 7"
    path = f"/v1/keys/{key['key_id']}/revocation"
    assert (await client.post(path, headers=admin)).json() == {"key_id": key["key_id"], "jobs": 0}
    assert (await client.post("/v1/receipts", json=receipt, headers=till)).status_code == 401
    again = await client.post(path, headers=admin)
    assert (again.status_code, again.json()["type"]) == (409, "urn:ordino:problem:conflict")
    nobody = "/v1/keys/00000000-0000-7000-8000-000000000000/revocation"
    assert (await client.post(nobody, headers=admin)).status_code == 404


async def test_a_repeat_makes_no_second_key_and_shows_no_token(
    client: AsyncClient, admin: dict[str, str], database: Database
) -> None:
    headers = {**admin, "Idempotency-Key": "once"}
    first = await client.post("/v1/keys", json={"name": "once", "roles": ["read"]}, headers=headers)
    again = await client.post("/v1/keys", json={"name": "once", "roles": ["read"]}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == {**first.json(), "token": None}
    token = first.json()["token"]
    assert token
    kept = await database.pool.fetch("SELECT body FROM core.idempotency")
    assert all(token.encode() not in row["body"] for row in kept if row["body"] is not None)
    other = await client.post("/v1/keys", json={"name": "twice", "roles": ["read"]}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "urn:ordino:problem:key_reused")


async def test_key_3_a_key_gives_and_revokes_nothing_beyond_itself(client: AsyncClient, database: Database) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    some = [Permission.KEYS_MANAGE, Permission.ORDERS_READ, Permission.STOCK_READ]
    maker = await made(database, permissions=some)
    passing = await made(database, permissions=some, expires_at=soon)
    narrowed = await made(database, roles=[Role.ADMIN], sellers=["seller"])

    async def asked(header: dict[str, str], **wanted: Any) -> tuple[int, str]:
        answer = await client.post("/v1/keys", json={"name": "n", **wanted}, headers=header)
        return answer.status_code, str(answer.json().get("detail", ""))

    assert (await asked(maker, permissions=["orders.read"]))[0] == 201
    assert (await asked(maker, permissions=["keys.manage", "stock.read"], sellers=["seller"]))[0] == 201
    for wanted in ({"permissions": ["orders.write"]}, {"roles": ["read"]}, {"roles": ["admin"]}):
        status, detail = await asked(maker, **wanted)
        assert status == 403
        assert "it lacks" in detail
    assert (await asked(passing, permissions=["orders.read"]))[0] == 403
    assert (await asked(passing, permissions=["orders.read"], expires_at=soon.isoformat()))[0] == 201
    assert (await asked(narrowed, roles=["read"], sellers=["seller"]))[0] == 403
    at = database.clock.now()
    strong, _ = await database.transact(lambda tx: keys.make(tx, "strong", ["admin"], at=at))
    weak, _ = await database.transact(lambda tx: keys.make_key(tx, NewKey(name="w", permissions=some[1:]), at=at))
    assert (await client.post(f"/v1/keys/{strong}/revocation", headers=maker)).status_code == 403
    assert (await client.post(f"/v1/keys/{weak}/revocation", headers=maker)).status_code == 200


BAD: dict[str, dict[str, Any]] = {
    "no permission": {"name": "n"},
    "no name": {"roles": ["read"]},
    "a blank name": {"name": " ", "roles": ["read"]},
    "an unknown role": {"name": "n", "roles": ["owner"]},
    "an unknown permission": {"name": "n", "permissions": ["everything"]},
    "an unknown seller": {"name": "n", "roles": ["read"], "sellers": ["nobody"]},
    "an unknown location": {"name": "n", "roles": ["read"], "locations": ["nowhere"]},
    "narrowed to nothing": {"name": "n", "roles": ["read"], "sellers": []},
    "in the past": {"name": "n", "roles": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
    "a time without an offset": {"name": "n", "roles": ["read"], "expires_at": "2099-01-01T00:00:00"},
    "an unknown field": {"name": "n", "roles": ["read"], "scopes": ["admin"]},
}


@pytest.mark.parametrize("case", BAD)
async def test_a_key_that_makes_no_sense_is_refused_and_not_made(
    client: AsyncClient, admin: dict[str, str], database: Database, case: str
) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM core.api_keys")
    answer = await client.post("/v1/keys", json=BAD[case], headers=admin)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ordino:problem:invalid")
    assert answer.json()["errors"][0]["detail"]
    assert await database.pool.fetchval("SELECT count(*) FROM core.api_keys") == before


async def test_key_1_a_key_does_nothing_once_it_has_expired(client: AsyncClient, database: Database) -> None:
    header = await made(database, roles=[Role.READ], expires_at=datetime.now(UTC) + timedelta(seconds=1))
    assert (await client.get("/v1/orders", headers=header)).status_code == 200
    await asyncio.sleep(1.1)
    for path in ("/v1/orders", "/v1/availability/sku-1?channel=refuse"):
        answer = await client.get(path, headers=header)
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:ordino:problem:unauthorized")
        assert "This key expired at" in answer.json()["detail"]


async def test_when_a_key_was_last_used_is_written_once_a_minute(client: AsyncClient, database: Database) -> None:
    at = database.clock.now()
    key_id, token = await database.transact(lambda tx: keys.make(tx, "used", ["read"], at=at))

    async def used() -> datetime | None:
        found: datetime | None = (await database.read(lambda tx: keys.key_of(tx, key_id))).last_used_at
        return found

    assert await used() is None
    for _ in range(5):
        await client.get("/v1/skus", headers={"Authorization": f"Bearer {token}"})
    async with asyncio.timeout(10):
        while (first := await used()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert first >= at
    for seconds, written in ((59, False), (61, True)):
        later = first + timedelta(seconds=seconds)
        await database.transact(lambda tx, later=later: keys.note_use(tx, key_id, at=later))  # type: ignore[misc]
        assert await used() == (later if written else first)


async def test_many_processes_that_see_a_key_at_once_write_its_use_once(database: Database) -> None:
    at = database.clock.now()
    key_id, _ = await database.transact(lambda tx: keys.make(tx, "everywhere", ["read"], at=at))

    async def note(milliseconds: int) -> None:
        then = at + timedelta(milliseconds=milliseconds)
        await database.transact(lambda tx: keys.note_use(tx, key_id, at=then))

    await asyncio.gather(*map(note, range(8)))
    first = (await database.read(lambda tx: keys.key_of(tx, key_id))).last_used_at
    await note(30_000)
    assert (await database.read(lambda tx: keys.key_of(tx, key_id))).last_used_at == first


async def test_programs_of_before_let_a_narrowed_key_do_nothing(database: Database) -> None:
    for fields, scopes in (
        ({"roles": [Role.ADMIN]}, ["admin"]),
        ({"roles": [Role.ADMIN], "sellers": ["seller"]}, []),
        ({"roles": [Role.WRITE], "expires_at": datetime.now(UTC) + timedelta(days=1)}, []),
    ):
        at = database.clock.now()
        new = NewKey(name="k", **fields)  # type: ignore[arg-type]
        key_id, token = await database.transact(lambda tx, new=new, at=at: keys.make_key(tx, new, at=at))  # type: ignore[misc]
        row = await database.pool.fetchrow("SELECT scopes FROM core.api_keys WHERE key_id = $1", key_id)
        assert row["scopes"] == scopes
        bearer = await database.read(lambda tx, token=token: keys.bearer_of(tx, token))  # type: ignore[misc]
        assert bearer is not None
        assert bearer.permissions == ROLES[new.roles[0]]
    with pytest.raises(asyncpg.CheckViolationError, match="programs_of_before"):
        await database.pool.execute("UPDATE core.api_keys SET scopes = '{admin}' WHERE sellers IS NOT NULL")


async def test_a_key_whose_seller_or_location_is_gone_is_told_so(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    gone = NewKey(name="k", roles=[Role.READ], sellers=["closed down"])
    _, token = await database.transact(lambda tx: keys.make_key(tx, gone, at=at))
    for path in ("/v1/orders", "/v1/availability/sku-1?channel=refuse"):
        answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:ordino:problem:forbidden")
        assert "seller 'closed down', which no longer exists" in answer.json()["detail"]


async def test_key_2_a_narrowed_key_reads_the_orders_of_its_sellers_only(
    client: AsyncClient, database: Database, world: World, others: World
) -> None:
    at = database.clock.now()
    mine = [await placed(database, world.order(f"mine {n}"), at) for n in range(3)]
    theirs = [await placed(database, others.order(f"theirs {n}"), at) for n in range(3)]
    header = await made(database, roles=[Role.READ], sellers=["seller"])
    seen, after = set(), None
    while True:
        query = {"limit": 2, **({"after": after} if after else {})}
        page = (await client.get("/v1/orders", params=query, headers=header)).json()
        seen |= {one["order_id"] for one in page["orders"]}
        if (after := page["next"]) is None:
            break
    assert set(map(str, mine)) <= seen
    assert not seen & set(map(str, theirs))
    assert (await client.get(f"/v1/orders/{mine[0]}", headers=header)).status_code == 200
    hidden = await client.get(f"/v1/orders/{theirs[0]}", headers=header)
    nobody = "00000000-0000-7000-8000-000000000000"
    missing = await client.get(f"/v1/orders/{nobody}", headers=header)
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert hidden.json()["detail"].replace(str(theirs[0]), nobody) == missing.json()["detail"]
    known = {"channel": others.channel, "external_id": "theirs 0"}
    assert (await client.get("/v1/orders", params=known, headers=header)).status_code == 404
    own = {"channel": world.channel, "external_id": "mine 0"}
    assert (await client.get("/v1/orders", params=own, headers=header)).json()["orders"][0]["order_id"] == str(mine[0])


@pytest.mark.parametrize("noun", ["locations", "channels", "sellers", "closures"])
async def test_key_2_the_pages_of_a_list_name_nothing_of_others(
    client: AsyncClient, database: Database, admin: dict[str, str], world: World, others: World, noun: str
) -> None:
    span = {"starts_at": "2099-01-01T00:00:00Z", "ends_at": "2099-01-02T00:00:00Z"}
    for place in (*world.locations, *others.locations):
        closure = {"code": f"closed {place}", "location": place, "reason": "flood", **span}
        assert (await client.put("/v1/closures", json=closure, headers=admin)).status_code in (200, 201)
    narrow = {"locations": others.locations} if noun in ("locations", "closures") else {"sellers": [others.seller]}
    theirs = await made(database, roles=[Role.ADMIN], **narrow)
    mine = {
        "locations": others.locations,
        "channels": list(others.channels.values()),
        "sellers": [others.seller],
        "closures": [f"closed {place}" for place in others.locations],
    }[noun]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        answer = await client.get(f"/v1/{noun}", params={"after": after, "limit": 1}, headers=theirs)
        page = answer.json()
        seen += [one["code"] for one in page[noun]]
        after = page["next"]
        assert after is None or after in mine
    assert seen == sorted(mine)


async def test_a_narrowed_key_places_orders_of_its_channels_and_each_other_item_is_refused(
    client: AsyncClient, database: Database, world: World, others: World
) -> None:
    header = await made(database, roles=[Role.WRITE], sellers=["seller"])
    own, other = order_body("own"), {**order_body("not own"), "channel": others.channel}
    answer = await client.post("/v1/orders", json={"orders": [other, own, other]}, headers=header)
    assert [one["outcome"] for one in answer.json()["outcomes"]] == ["refused", "placed", "refused"]
    assert answer.json()["outcomes"][0]["reason"] == "forbidden"
    assert answer.json()["outcomes"][0]["pointer"] == "/channel"
    alone = await client.post("/v1/orders", json=other, headers=header)
    assert (alone.status_code, alone.json()["type"]) == (403, "urn:ordino:problem:forbidden")
    assert (await client.post("/v1/orders", json=order_body("alone"), headers=header)).status_code == 201
    rows = await database.pool.fetch("SELECT external_id FROM orders.orders WHERE external_id LIKE '%own'")
    assert [row["external_id"] for row in rows] == ["own"]


async def test_a_key_of_one_location_works_there_and_counts_there(
    client: AsyncClient, database: Database, world: World, others: World
) -> None:
    at = database.clock.now()
    order_id, [work_id] = await released(database, world.order("picked by its own"), at)
    there_id, [there_work] = await released(database, others.order("not ours"), at)
    place = await database.pool.fetchval(
        "SELECT l.code FROM warehouse.fulfillment_orders JOIN network.locations l USING (location_id) WHERE order_id = $1",
        order_id,
    )
    header = await made(database, roles=[Role.WRITE], locations=[place])
    path = f"/v1/orders/{order_id}/fulfillment_orders/{work_id}"
    there = f"/v1/orders/{there_id}/fulfillment_orders/{there_work}"
    assert (await client.get(path, headers=header)).status_code == 200
    assert (await client.get(there, headers=header)).status_code == 404
    assert (await client.post(f"{there}/picks", json={"all": True}, headers=header)).status_code == 403
    assert (await client.post(f"{path}/picks", json={"all": True}, headers=header)).status_code == 201
    assert (await client.get(f"/v1/locations/{place}/fulfillment_orders", headers=header)).status_code == 200
    assert (await client.get("/v1/locations/other-loc-1/fulfillment_orders", headers=header)).status_code == 404
    whole = await client.post(f"/v1/orders/{order_id}/cancellation", json={"all": True}, headers=header)
    assert (whole.status_code, whole.json()["type"]) == (403, "urn:ordino:problem:forbidden")
    rows = f"sku,location,on_hand\nsku-1,{place},70\nsku-1,other-loc-1,1\nsku-2,{place},71\n"
    fed = await client.post("/v1/counts", content=rows, headers={**header, "Content-Type": "text/csv"})
    assert (fed.json()["applied"], fed.json()["refused"]) == (2, 1)
    [fault] = fed.json()["faults"]
    assert (fault["line"], fault["pointer"]) == (3, "/location")
    shown = (await client.get("/v1/stock/sku-1", headers=header)).json()
    assert [one["location"] for one in shown["positions"]] == [place]
    assert (await client.get("/v1/stock/sku-1/moves", headers=header)).status_code == 403
    assert (await client.get(f"/v1/stock/sku-1/moves?location={place}", headers=header)).status_code == 200


async def test_what_a_key_is_made_with_is_checked_wherever_it_is_made(database: Database) -> None:
    at = database.clock.now()
    with pytest.raises(Invalid, match="allowed nothing"):
        await database.transact(lambda tx: keys.make_key(tx, NewKey(name="k"), at=at))
    with pytest.raises(Invalid, match="roles out of read, write, admin, not owner"):
        await database.transact(lambda tx: keys.make(tx, "k", ["owner"], at=at))
    key_id, _ = await database.transact(lambda tx: keys.make(tx, "k", ["write"], at=at))
    _, token = await database.transact(lambda tx: keys.make(tx, "weaker", ["read"], at=at))
    bearer = await database.read(lambda tx: keys.bearer_of(tx, token))
    with pytest.raises(Forbidden, match="may not revoke a key that can do more"):
        await database.transact(lambda tx: keys.revoke(tx, key_id, at=at, by=bearer))
    await database.transact(lambda tx: keys.revoke(tx, key_id, at=at))
    with pytest.raises(Conflict, match="revoked already"):
        await database.transact(lambda tx: keys.revoke(tx, key_id, at=at))
    with pytest.raises(NotFound):
        await database.transact(lambda tx: keys.revoke(tx, UUID(int=1), at=at))
