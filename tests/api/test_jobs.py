"""Jobs, delayed commands and the schedule over HTTP: started, followed, stopped, and refused in clear words."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from httpx import AsyncClient

from ordino.core import keys
from ordino.core.database import Database
from ordino.core.job_runner import JobRunner
from ordino.core.reactions import Worker, registry
from ordino.core.settings import Settings
from steps import application, calling, order_body
from world import World, served_world

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock=1000)


@pytest.fixture
async def client(database_url: str, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as client:
        yield client


async def work(database: Database) -> None:
    await JobRunner(database, registry.jobs, settings=Settings()).run_until_idle()


async def placed(client: AsyncClient, name: str) -> str:
    answer = await client.post("/v1/orders", json=order_body(name))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["order_id"])


def pointers(answer: Any) -> list[str]:
    return [fault["pointer"] for fault in answer.json()["errors"]]


async def test_a_job_is_started_followed_and_its_refused_rows_are_found(
    client: AsyncClient, database: Database
) -> None:
    order_id = await placed(client, "jobs-1")
    orders = [{"order_id": order_id}, {"channel": "refuse", "external_id": "never sent"}]
    begun = await client.post("/v1/jobs", json={"kind": "cancel_orders", "orders": orders, "reason": "fraud"})
    assert begun.status_code == 202, begun.text
    job = begun.json()
    assert (job["state"], job["total"], job["done"], job["parameters"]) == ("queued", 2, 0, {"reason": "fraud"})
    assert job["started_by"] == "this machine"
    url = f"/v1/jobs/{job['job_id']}"
    early = await client.get(f"{url}/result")
    assert (early.status_code, early.json()["type"]) == (409, "urn:ordino:problem:conflict")
    await work(database)
    done = (await client.get(url)).json()
    assert (done["state"], done["done"], done["refused"]) == ("done", 2, 1)
    refused = (await client.get(f"{url}/rows?outcome=refused")).json()
    assert [(row["row_no"], row["code"]) for row in refused["rows"]] == [(2, "unknown_order")]
    assert "has sent no order 'never sent'" in refused["rows"][0]["detail"]
    first = (await client.get(f"{url}/rows?limit=1")).json()
    assert (first["rows"][0]["subject"], first["next"]) == (order_id, 1)
    assert [row["row_no"] for row in (await client.get(f"{url}/rows?limit=1&after=1")).json()["rows"]] == [2]
    lines = (await client.get(f"{url}/result")).text.splitlines()
    assert [msgspec.json.decode(line)["outcome"] for line in lines] == ["ok", "refused"]
    assert (await client.get(f"/v1/orders/{order_id}")).json()["status"] == "cancelled"


async def test_jobs_are_listed_newest_first_and_by_state_and_kind(client: AsyncClient, database: Database) -> None:
    await work(database)
    ids = []
    for _ in range(3):
        body = {"kind": "release_orders", "orders": [{"order_id": str(uuid4())}]}
        ids.append((await client.post("/v1/jobs", json=body)).json()["job_id"])
    page = (await client.get("/v1/jobs?limit=2")).json()
    assert [job["job_id"] for job in page["jobs"]] == ids[:0:-1]
    more = (await client.get(f"/v1/jobs?state=queued&before={page['next']}")).json()
    assert [job["job_id"] for job in more["jobs"]] == ids[:1]
    assert (await client.get("/v1/jobs?kind=cancel_orders&state=queued")).json()["jobs"] == []
    odd = await client.get("/v1/jobs?kind=nothing")
    assert (odd.status_code, "the kinds are cancel_orders, " in odd.json()["detail"]) == (400, True)
    assert (await client.get("/v1/jobs?state=asleep")).status_code == 400


async def test_a_key_starts_one_job_and_the_same_key_with_another_request_is_a_conflict(
    client: AsyncClient, database: Database
) -> None:
    key = {"Idempotency-Key": "start once"}
    body = {"kind": "cancel_orders", "orders": [{"order_id": str(uuid4())}]}
    first = await client.post("/v1/jobs", json=body, headers=key)
    again = await client.post("/v1/jobs", json={**body, "reason": "customer_request"}, headers=key)  # the default
    assert (again.status_code, again.json()) == (202, first.json())
    for other in ({**body, "reason": "fraud"}, {"kind": "release_orders", "orders": body["orders"]}):
        refused = await client.post("/v1/jobs", json=other, headers=key)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:ordino:problem:key_reused")


@pytest.mark.parametrize(
    ("body", "where", "words"),
    [
        ({}, "/kind", "The field 'kind' is missing; send one of cancel_orders, "),
        ({"kind": "dance"}, "/kind", "There is no kind 'dance'; send one of cancel_orders, "),
        ({"kind": 7}, "/kind", "There is no kind 7"),
        ({"kind": "cancel_orders"}, "/orders", "The field 'orders' is missing"),
        ({"kind": "cancel_orders", "orders": [], "x": 1}, "/orders", ""),
        ({"kind": "cancel_orders", "orders": [{"order_id": "x"}]}, "/orders/0/order_id", ""),
        ({"kind": "cancel_orders", "orders": [{}], "reason": "two words"}, "/reason", ""),
        ({"kind": "cancel_orders", "orders": [{"order_id": str(uuid4()), "id": 1}]}, "/orders/0/id", ""),
        ({"kind": "cancel_orders", "orders": [{}]}, "/orders/0", "Name an order by its `order_id`"),
        ({"kind": "release_orders", "orders": [{"order_id": str(uuid4())}], "reason": "x"}, "/reason", "no field"),
        ({"kind": "retry_dead_letters"}, "", "one of the three"),
        ({"kind": "retry_dead_letters", "reaction": "dance"}, "/reaction", "There is no reaction 'dance'"),
        ({"kind": "export_orders", "since": "2026-11-01", "until": "2026-11-02"}, "/since", ""),
    ],
)
async def test_bad_jobs_get_a_problem_that_names_the_field_and_start_nothing(
    client: AsyncClient, database: Database, body: dict[str, Any], where: str, words: str
) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM core.jobs")
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 400, answer.text
    assert where in pointers(answer), answer.text
    assert words in answer.json()["detail"], answer.text
    assert await database.pool.fetchval("SELECT count(*) FROM core.jobs") == before


@pytest.mark.parametrize("body", [b"[]", b"7", b"not JSON", b"", b'{"kind": "cancel_orders"', b"[" * 100_000])
async def test_what_is_no_object_is_a_problem(client: AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


async def test_jobs_that_do_not_exist_are_not_found(client: AsyncClient) -> None:
    nobody = uuid4()
    for method, path in (
        ("get", f"/v1/jobs/{nobody}"),
        ("get", f"/v1/jobs/{nobody}/rows"),
        ("get", f"/v1/jobs/{nobody}/result"),
        ("post", f"/v1/jobs/{nobody}/cancellation"),
        ("post", f"/v1/delayed_commands/{nobody}/revocation"),
        ("delete", f"/v1/delayed_commands/{nobody}"),
    ):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:ordino:problem:not_found"), path


@pytest.mark.parametrize("zipped", [False, True])
async def test_orders_are_uploaded_line_by_line_and_bad_lines_are_refused_with_their_numbers(
    client: AsyncClient, database: Database, zipped: bool
) -> None:
    orders: list[Any] = [order_body(f"line-{zipped}-{n}") for n in range(6)]
    orders[3]["lines"][0]["sku"] = "no such SKU"
    del orders[4]["total_minor"]
    said = [msgspec.json.encode(order).decode() for order in orders]
    body = "\n".join([*said[:2], "", "not JSON", *said[2:]]).encode()
    sent = gzip.compress(body) if zipped else body
    begun = await client.post("/v1/jobs?kind=import_orders", content=sent, headers=NDJSON)
    assert begun.status_code == 202, begun.text
    job = begun.json()
    assert (job["total"], job["done"], job["refused"]) == (7, 2, 2)
    await work(database)
    url = f"/v1/jobs/{job['job_id']}"
    done = (await client.get(url)).json()
    assert (done["state"], done["done"], done["refused"]) == ("done", 7, 3)
    refused = (await client.get(f"{url}/rows?outcome=refused")).json()["rows"]
    assert [(row["row_no"], row["code"]) for row in refused] == [(4, "invalid"), (6, "unknown_sku"), (7, "invalid")]
    assert "total_minor" in refused[2]["detail"] + (refused[2]["pointer"] or "")
    listed = await client.get(f"/v1/orders?channel=refuse&external_id=line-{zipped}-5")
    assert len(listed.json()["orders"]) == 1


async def test_a_line_with_the_character_that_cannot_be_kept_is_refused_and_the_others_are_done(
    client: AsyncClient, database: Database
) -> None:
    odd = order_body("odd")
    odd["ship_to"]["name"] = "A\x00da"
    body = b"\n".join(map(msgspec.json.encode, (odd, order_body("even"))))
    begun = await client.post("/v1/jobs?kind=import_orders", content=body, headers=NDJSON)
    assert (begun.status_code, begun.json()["refused"]) == (202, 1), begun.text
    await work(database)
    rows = (await client.get(f"/v1/jobs/{begun.json()['job_id']}/rows")).json()["rows"]
    assert [(row["outcome"], row["detail"]) for row in rows] == [
        ("refused", "Texts may not hold U+0000."),
        ("ok", None),
    ]


async def test_an_upload_that_cannot_be_read_starts_nothing(client: AsyncClient, database: Database) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM core.jobs")
    order = msgspec.json.encode(order_body("never"))
    cut = gzip.compress(order * 3)[:-10]
    for query, body, words in (
        ("?kind=import_orders", b"", "holds no rows"),
        ("?kind=import_orders", cut, "ends too early"),
        ("?kind=cancel_orders", order, "no rows can be uploaded for 'cancel_orders'; add ?kind=import_orders"),
        ("", order, "say which kind of job the rows are for"),
    ):
        answer = await client.post(f"/v1/jobs{query}", content=body, headers=NDJSON)
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["detail"], answer.text
    in_query = await client.post("/v1/jobs?kind=cancel_orders", json={"kind": "cancel_orders"})
    assert (in_query.status_code, pointers(in_query)) == (400, ["/kind"])
    assert await database.pool.fetchval("SELECT count(*) FROM core.jobs") == before


async def test_the_same_upload_with_the_same_key_is_one_job(client: AsyncClient) -> None:
    body, key = msgspec.json.encode(order_body("upload once")), {"Idempotency-Key": "upload"}
    first, again = [
        await client.post("/v1/jobs?kind=import_orders", content=sent, headers=NDJSON | key)
        for sent in (body, body + b"\n\n")
    ]
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = await client.post("/v1/jobs?kind=import_orders", content=body * 1 + b"\n7", headers=NDJSON | key)
    assert other.status_code == 409


async def test_exports_and_replays_are_downloaded(client: AsyncClient, database: Database) -> None:
    await work(database)  # imports of other tests
    order_id = await placed(client, "exported")
    span = {"since": "2020-01-01T00:00:00Z", "until": "2199-01-01T00:00:00Z"}
    exported = (await client.post("/v1/jobs", json={"kind": "export_orders", **span})).json()
    replayed = (await client.post("/v1/jobs", json={"kind": "replay_profile", "profile_version": 0, **span})).json()
    await work(database)
    file = await client.get(f"/v1/jobs/{exported['job_id']}/result")
    assert file.headers["content-type"].startswith("application/x-ndjson")
    assert order_id in {msgspec.json.decode(line)["order_id"] for line in file.text.splitlines()}
    report = await client.get(f"/v1/jobs/{replayed['job_id']}/result")
    assert report.headers["content-type"].startswith("application/json")
    count = await database.pool.fetchval("SELECT count(*) FROM orders.orders")
    assert (report.json()["orders"], len(file.text.splitlines())) == (count, count)


async def test_a_job_is_cancelled_over_http(client: AsyncClient, database: Database) -> None:
    order_id = await placed(client, "stays")
    body = {"kind": "cancel_orders", "orders": [{"order_id": order_id}]}
    job = (await client.post("/v1/jobs", json=body)).json()
    for _ in range(2):
        answer = await client.post(f"/v1/jobs/{job['job_id']}/cancellation")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    await work(database)
    assert (await client.get(f"/v1/orders/{order_id}")).json()["status"] == "allocated"


@pytest.mark.parametrize("how", ["post", "delete"])
async def test_a_delayed_command_is_revoked_until_it_has_begun(
    client: AsyncClient, database: Database, how: str
) -> None:
    def revoke(job_id: str) -> Any:
        path = f"/v1/delayed_commands/{job_id}"
        return client.post(f"{path}/revocation") if how == "post" else client.delete(path)

    order_id = await placed(client, f"undone-{how}")
    command = {"kind": "cancel_orders", "parameters": {"orders": [{"order_id": order_id}], "reason": "fraud"}}
    begun = await client.post("/v1/delayed_commands", json={**command, "delay_seconds": 300})
    assert begun.status_code == 202, begun.text
    job_id = begun.json()["job_id"]
    await work(database)
    for _ in range(2):
        answer = await revoke(job_id)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    await work(database)
    assert (await client.get(f"/v1/orders/{order_id}")).json()["status"] == "allocated"
    at_once = (await client.post("/v1/delayed_commands", json={**command, "delay_seconds": 0})).json()
    await work(database)
    late = await revoke(at_once["job_id"])
    assert (late.status_code, late.json()["type"]) == (409, "urn:ordino:problem:begun")
    assert (await client.get(f"/v1/orders/{order_id}")).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"kind": "import_orders", "parameters": {}}, "/kind"),
        ({"parameters": {}}, "/kind"),
        ({"kind": "cancel_orders"}, "/parameters"),
        ({"kind": "cancel_orders", "parameters": {"orders": [{"order_id": "x"}]}}, "/parameters/orders/0/order_id"),
        ({"kind": "cancel_orders", "parameters": {"orders": []}, "delay_seconds": 301}, None),
        (
            {"kind": "cancel_orders", "parameters": {"orders": [{"order_id": str(uuid4())}]}, "delay_seconds": 301},
            "/delay_seconds",
        ),
        (
            {"kind": "cancel_orders", "parameters": {"orders": [{"order_id": str(uuid4())}]}, "delay_seconds": -1},
            "/delay_seconds",
        ),
        ({"kind": "cancel_orders", "parameters": {"orders": [{"order_id": str(uuid4())}]}, "delay": 1}, "/delay"),
    ],
)
async def test_bad_delayed_commands_get_a_problem_that_names_the_field(
    client: AsyncClient, body: dict[str, Any], where: str | None
) -> None:
    answer = await client.post("/v1/delayed_commands", json=body)
    assert answer.status_code == 400, answer.text
    assert where is None or where in pointers(answer), answer.text


async def test_what_workers_do_again_and_again_is_shown(client: AsyncClient, database: Database) -> None:
    fresh = {one["name"]: one for one in (await client.get("/v1/schedule")).json()["schedule"]}
    assert {"expire_holds", "serve_waiting", "reevaluate", "match_events"} <= set(fresh)
    await Worker(database).run_duties()
    found = {one["name"]: one for one in (await client.get("/v1/schedule")).json()["schedule"]}
    assert set(found) == set(fresh) | {"forget_answers", "forget_jobs"}
    assert all(one["last_run_at"] and one["next_at"] and one["failures"] == 0 for one in found.values())
    assert (found["reevaluate"]["every_seconds"], found["expire_holds"]["every_seconds"]) == (900.0, 1.0)
    assert all(one["sentence"] for one in found.values()), found


async def test_a_key_starts_only_what_it_could_do_otherwise(
    database_url: str, world: World, database: Database
) -> None:
    """Dead letters are tried again by keys with the scope ``admin``, one by one and by a job."""
    headers = {}
    for scope in ("read", "write", "admin"):
        _, token = await database.transact(
            lambda tx, scope=scope: keys.make(tx, scope, [scope], at=database.clock.now())  # type: ignore[misc]
        )
        headers[scope] = {"authorization": f"Bearer {token}"}
    retry, cancel = (
        {"kind": "retry_dead_letters", "all": True},
        {"kind": "cancel_orders", "orders": [{"order_id": str(uuid4())}]},
    )
    async with calling(application(database_url)) as client:
        said = {
            (scope, body["kind"]): (await client.post("/v1/jobs", json=body, headers=headers[scope])).status_code
            for scope in headers
            for body in (retry, cancel)
        }
        assert said == {
            ("read", "retry_dead_letters"): 403,
            ("read", "cancel_orders"): 403,
            ("write", "retry_dead_letters"): 403,
            ("write", "cancel_orders"): 202,
            ("admin", "retry_dead_letters"): 202,
            ("admin", "cancel_orders"): 202,
        }
        listed = (await client.get("/v1/jobs?limit=1", headers=headers["read"])).json()["jobs"]
        assert [job["started_by"] for job in listed] == ["admin"]


async def test_key_1_revoking_a_key_ends_its_jobs_and_delayed_commands_over_http(
    database_url: str, world: World, database: Database
) -> None:
    key_id, token = await database.transact(lambda tx: keys.make(tx, "leaked", ["write"], at=database.clock.now()))
    _, mine = await database.transact(lambda tx: keys.make(tx, "owner", ["admin"], at=database.clock.now()))
    leaked, owner = ({"authorization": f"Bearer {one}"} for one in (token, mine))
    cancel = {"orders": [{"order_id": str(uuid4())}]}
    async with calling(application(database_url)) as client:
        begun = [
            await client.post("/v1/jobs", json={"kind": "cancel_orders", **cancel}, headers=leaked),
            await client.post(
                "/v1/delayed_commands",
                json={"kind": "cancel_orders", "parameters": cancel, "delay_seconds": 300},
                headers=leaked,
            ),
            await client.post(
                "/v1/jobs?kind=import_orders",
                content=msgspec.json.encode(order_body("leaked")),
                headers=NDJSON | leaked,
            ),
        ]
        other = await client.post("/v1/jobs", json={"kind": "cancel_orders", **cancel}, headers=owner)
        assert [answer.status_code for answer in (*begun, other)] == [202] * 4
        revoked = await client.post(f"/v1/keys/{key_id}/revocation", headers=owner)
        assert (revoked.status_code, revoked.json()) == (200, {"key_id": str(key_id), "jobs": 3})
        await work(database)
        for answer in begun:
            job = (await client.get(f"/v1/jobs/{answer.json()['job_id']}", headers=owner)).json()
            assert (job["state"], job["done"], job["error_code"]) == ("cancelled", 0, "key_revoked")
        job = (await client.get(f"/v1/jobs/{other.json()['job_id']}", headers=owner)).json()
        assert (job["state"], job["error_code"]) == ("done", None)
