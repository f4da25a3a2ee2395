"""`ordino call` does what the API does, for every operation: one table serves both."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from api.test_operations import Side, made, send, side_of
from cli.test_every_command import Terminal
from conftest import command, database_at, finish, new_database
from ordino.cli import call as call_module
from ordino.cli.call import answered
from ordino.cli.call.asked import Wanted, body_of, named, wanted
from ordino.cli.call.calling import Application, Call
from ordino.cli.call.described import described, fields_of, in_words
from ordino.cli.running import prepare
from ordino.cli.terminal import console
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.permissions import Role
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans
from ordino.web.bodies import JSON
from samples import NOWHERE, Sample, samples
from steps import application, calling, started
from world import activate_flow, served_world, small_world

MOVES = frozenset({"ready.get", "health.get", "schedule.list", "effects.list", "keys.list", "kpis.list", "kpis.orders"})
"""What differs from one moment to the next."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Application, Call]]:
    """The application as `ordino call` has it, on a database, and how it is called."""
    app = Application(Settings())
    async with started(app.on(await Database.open(url, plans=flow_plans()), None)) as call:
        yield app, call


async def side_on(url: str) -> Side:
    """What every operation finds on a database."""
    async with await Database.open(url) as database:
        await activate_flow(database)
    async with await Database.open(url, plans=flow_plans()) as database:
        await served_world(database, skus=2)
        return await side_of(database, await small_world(database, prefix="one-", skus=2))


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Over HTTP, with a key that may do everything."""
    async with await Database.open(url) as database:
        header = await made(database, roles=[Role.ADMIN])
    async with calling(application(url)) as caller:
        caller.headers.update(header)
        yield caller


def text_of(one: Sample, known: Mapping[str, Any]) -> str | None:
    """The body of a sample as it is typed."""
    item = one.item(known)
    takes = getattr(one.handler.operation_class, "takes_body", False)
    return msgspec.json.encode(item).decode() if item is not None else "" if takes else None


def typed(app: Application, one: Sample, known: Mapping[str, Any]) -> Wanted:
    """The request that somebody types who knows only the table."""
    view = named(app.table.views, one.operation.name)
    words = [f"{name}={value}" for name, value in one.in_path(known).items()]
    words += [f"{name}={value}" for name, value in one.query(known).items()]
    return wanted(view, words, body=body_of(view, file=None, data=text_of(one, known), content_type=None))


async def asked(call: Call, request: Wanted) -> tuple[int, bytes]:
    async with call(request) as answer:
        return answer.status, await answer.whole()


async def test_every_operation_that_reads_answers_what_http_answers(database_url: str) -> None:
    side, read = await side_on(database_url), 0
    async with opened(database_url) as (app, call), wired(database_url) as client:
        for one in samples(app.app):
            if one.method != "GET":
                continue
            over_wire = await send(client, one, side, {})
            status, body = await asked(call, typed(app, one, side.known))
            assert status == over_wire.status_code, (one.operation.name, body)
            if one.operation.name not in MOVES:
                assert body == over_wire.content, one.operation.name
            read += status == 200
    assert read > 60


async def test_every_operation_that_writes_answers_with_the_status_of_http(
    cluster: EmbeddedPostgres, template: str
) -> None:
    """On two databases that are alike, one operation after the other."""
    async with new_database(cluster, template) as here, new_database(cluster, template) as there:
        mine, theirs = await side_on(here), await side_on(there)
        async with opened(here) as (app, call), wired(there) as client:
            writes = [one for one in samples(app.app) if one.method != "GET"]
            done = 0
            for one in writes:
                status, body = await asked(call, typed(app, one, mine.known))
                url, query, content = one.url(theirs.known), one.query(theirs.known), text_of(one, theirs.known)
                over_wire = await client.request(one.method, url, params=query, content=content)
                assert status == over_wire.status_code, (one.operation.name, body, over_wire.text)
                done += status < 300
    assert done > 40
    assert len(writes) > 90


def test_the_table_says_every_parameter_and_what_a_body_may_be(built: Application) -> None:
    document = built.app.openapi_schema.to_schema()
    for view in built.table.views:
        told = document["paths"][view.path][view.method.lower()]
        declared = {(one["name"], one["in"]) for one in told.get("parameters", ()) if one["in"] != "header"}
        assert {(one.name, one.place) for one in view.parameters} == declared, view.name
        needed = {one["name"] for one in told.get("parameters", ()) if one.get("required")}
        assert {one.name for one in view.parameters if one.required} == needed, view.name
        body = told.get("requestBody", {"required": False, "content": {}})
        assert (set(view.media_types), view.body_required) == (set(body["content"]), body["required"]), view.name


# -- the command line ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> Application:
    """Once for all commands that are typed here: to build it takes a second."""
    return Application(Settings())


@pytest.fixture
def ordino(database_url: str, built: Application, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Types into this process."""
    finish(prepare(database_url))
    monkeypatch.setattr(call_module, "Application", lambda settings: built)
    return Terminal(database_url, monkeypatch)


@contextmanager
def own_database(cluster: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The URL of a database for one test."""
    name = f"call_{uuid4().hex}"
    finish(command(cluster.url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    url = database_at(cluster.url, name)
    finish(prepare(url))
    yield url
    finish(command(cluster.url, f"DROP DATABASE {name} WITH (FORCE)"))


JOB = json.dumps({"kind": "release_orders", "orders": [{"order_id": NOWHERE}]})
MISUSED = {
    "unknown": (["skus.gett", "code=a"], "near it are skus.get"),
    "missing": (["skus.get"], "skus.get needs code=VALUE. Its parameters are code."),
    "no value": (["skus.get", "code"], "'code' is not clear; write NAME=VALUE"),
    "unknown parameter": (["skus.get", "code=a", "colour=red"], "skus.get has no parameter 'colour'"),
    "a field of the body": (["skus.upsert", "name=Tea", "--data", "{}"], "--data"),
    "twice": (["skus.list", "limit=1", "limit=2"], "`limit` is given twice"),
    "empty": (["skus.get", "code="], "may not be empty"),
    "elsewhere": (["skus.get", "code=.."], "A path cannot name the code '..'"),
    "no UUID": (["orders.get", "order_id=abc"], "is of the type UUID; 'abc' is not"),
    "a body for nothing": (["skus.get", "code=a", "--data", "{}"], "skus.get takes no body"),
    "no body": (["orders.place"], "orders.place needs a body (NewOrder or a list)"),
    "two bodies": (["orders.place", "--data", "{}", "--body", "-"], "not with both"),
    "no file": (["orders.place", "--body", "/nowhere/order.json"], "Cannot read /nowhere/order.json: No such file"),
    "a folder": (["orders.place", "--body", "/tmp"], "Cannot read /tmp: Is a directory"),
    "no pages": (["skus.get", "code=a", "--all"], "skus.get is not read page by page"),
    "a key for reading": (["skus.get", "code=a", "--key", "k"], "skus.get changes nothing; leave out --key"),
    "no server": (["skus.get", "code=a", "--url", "oms.example"], "is no address of a server"),
    "described": (["describe", "skus.gett"], "near it are skus.get"),
    "helped": (["skus.gett", "--help"], "near it are skus.get"),
    "an option": (["skus.get", "code=a", "--quickly"], "--quickly"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(ordino: Terminal, case: str) -> None:
    words, said = MISUSED[case]
    assert ordino("call", *words, status=2) == ""
    assert said in " ".join(ordino.errors.split())
    assert "Traceback" not in ordino.errors


def test_rows_are_sent_only_where_rows_are_taken(ordino: Terminal, tmp_path: Path) -> None:
    rows = tmp_path / "orders.csv"
    rows.write_text("external_id\n1\n")
    ordino("call", "orders.place", "--body", rows, status=2)
    assert "orders.place takes no text/csv; send application/json." in ordino.errors


REFUSED = {
    "not found": (["skus.get", "code=nothing"], "not_found", "Nothing in skus has the code 'nothing'."),
    "a wrong value": (["skus.list", "limit=many"], "invalid", "/limit"),
    "no JSON": (["orders.place", "--data", "{"], "invalid", "The body is not JSON"),
    "no body at all": (["orders.place", "--data", ""], "invalid", "The body is not JSON"),
    "bytes that are no text": (["skus.get", "code=\udcff"], "not_found", "Nothing in skus"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_ends_with_1_its_sentence_and_with_json_its_document(ordino: Terminal, case: str) -> None:
    words, code, said = REFUSED[case]
    assert ordino("call", *words, status=1) == ""
    assert ordino.errors.startswith("ordino: ")
    assert said in ordino.errors
    document = json.loads(ordino("call", *words, "--json", status=1))
    assert document["type"] == f"urn:ordino:problem:{code}"
    assert document["detail"] in ordino.errors


def test_every_fault_of_a_request_is_told(ordino: Terminal) -> None:
    ordino("call", "skus.upsert", "unknown=1", "--data", "{}", status=2)
    ordino("call", "keys.make", "--data", '{"name": "k", "permissions": ["no"], "roles": ["no"]}', status=1)
    assert "/" in ordino.errors


def sellers_of(ordino: Terminal, prefix: str) -> list[str]:
    lines = ordino("call", "sellers.list", "limit=2", "--all").splitlines()
    return [one["code"] for one in map(json.loads, lines) if one["code"].startswith(prefix)]


def test_a_body_comes_from_a_file_the_standard_input_or_the_command_line(ordino: Terminal, tmp_path: Path) -> None:
    seller = {"code": "body-0", "name": "Body", "currency": "USD"}

    def of(code: str) -> dict[str, str]:
        return {**seller, "code": code}

    assert json.loads(ordino("call", "sellers.upsert", "--data", json.dumps(seller)))["code"] == "body-0"
    file = tmp_path / "seller.json"
    file.write_text(json.dumps(of("body-1")))
    ordino("call", "sellers.upsert", "--body", file)
    ordino("call", "sellers.upsert", "--body", "-", body=of("body-2"))
    rows = tmp_path / "sellers.csv"
    rows.write_text("code,name,currency\nbody-3,Body,USD\n")
    assert json.loads(ordino("call", "sellers.upsert", "--body", rows))["created"] == 1
    for name, code in (("sellers.ndjson", "body-4"), ("sellers.jsonl", "body-5")):
        lines = tmp_path / name
        lines.write_text(json.dumps(of(code)) + "\n")
        assert json.loads(ordino("call", "sellers.upsert", "--body", lines))["created"] == 1
    zipped = tmp_path / "sellers.csv.gz"
    zipped.write_bytes(gzip.compress(b"code,name,currency\nbody-6,Body,USD\n"))
    assert json.loads(ordino("call", "sellers.upsert", "--body", zipped))["created"] == 1
    typed = ("--content-type", "text/csv; charset=windows-1252")
    latin = "code,name,currency\nbody-7,Körper,USD\n".encode("windows-1252")
    assert json.loads(ordino("call", "sellers.upsert", "--body", "-", *typed, body=latin))["created"] == 1
    assert sellers_of(ordino, "body-") == [f"body-{n}" for n in range(8)]
    assert json.loads(ordino("call", "sellers.get", "code=body-7"))["name"] == "Körper"


def test_codes_are_written_as_they_are_and_texts_are_kept_as_they_are(ordino: Terminal) -> None:
    decomposed = "Cafe\u0301"
    seller = {"code": "a/b c%20d?e#f&g=h", "name": decomposed, "currency": "USD"}
    ordino("call", "sellers.upsert", "--data", json.dumps(seller, ensure_ascii=False))
    found = json.loads(ordino("call", "sellers.get", f"code={seller['code']}"))
    assert (found["code"], found["name"]) == (seller["code"], decomposed)


def test_items_that_are_refused_end_the_command_with_1(ordino: Terminal) -> None:
    good, bad = {"code": "part-1", "name": "P", "currency": "USD"}, {"code": "part-2", "name": "P", "currency": "?"}
    answer = json.loads(ordino("call", "sellers.upsert", "--data", json.dumps([good, bad]), status=1))
    assert [one.get("reason") for one in answer["outcomes"]] == [None, "invalid"]
    assert ordino.errors == "ordino: 1 refused; the answer says why.\n"
    assert sellers_of(ordino, "part-") == ["part-1"]
    ordino("call", "sellers.upsert", "--data", json.dumps([good]))


def test_with_a_key_a_request_is_carried_out_once(ordino: Terminal) -> None:
    first, again = [json.loads(ordino("call", "jobs.start", "--data", JOB, "--key", "once")) for _ in range(2)]
    assert first["job_id"] == again["job_id"]
    other = json.loads(ordino("call", "jobs.start", "--data", JOB))
    assert other["job_id"] != first["job_id"]
    ordino("call", "sellers.upsert", "--data", "[]", "--key", "once", status=1)
    assert "was already used for a different request" in ordino.errors


def test_what_is_done_is_recorded_as_done_by_the_command(ordino: Terminal) -> None:
    job = json.loads(ordino("call", "jobs.start", "--data", JOB))
    assert job["started_by"] == "ordino call"


def test_with_an_api_key_it_may_do_what_the_key_may(
    ordino: Terminal, cluster: EmbeddedPostgres, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database of its own: once there is a key, HTTP asks for one."""
    with own_database(cluster, template) as url:
        monkeypatch.setenv("ORDINO_DATABASE_URL", url)
        token = json.loads(ordino("call", "keys.make", "--data", '{"name": "reader", "roles": ["read"]}'))["token"]
        seller = ("call", "sellers.upsert", "--data", '{"code": "s", "name": "S", "currency": "USD"}')
        ordino(*seller, "--api-key", token, status=1)
        assert "This key lacks the permission 'catalog.write'" in ordino.errors
        ordino("call", "sellers.list", "--api-key", "ordino_wrong", status=1)
        ordino(*seller)  # whoever has the database needs no key
        monkeypatch.setenv("ORDINO_KEY", token)
        assert json.loads(ordino("call", "sellers.list"))["sellers"][0]["code"] == "s"
        ordino(*seller, status=1)


def test_a_list_is_read_to_its_end_whatever_its_cursor_is_called(ordino: Terminal) -> None:
    for code in range(5):
        ordino("call", "sellers.upsert", "--data", json.dumps({"code": f"page-{code}", "name": "P", "currency": "USD"}))
        ordino("call", "jobs.start", "--data", JOB)
    assert sellers_of(ordino, "page-") == [f"page-{n}" for n in range(5)]
    one, all_ = [ordino("call", "jobs.list", f"limit={n}", "--all").splitlines() for n in (2, 1000)]
    assert one == all_
    assert len(one) >= 5
    assert len(ordino("call", "sellers.list", "after=page-2", "limit=1", "--all").splitlines()) >= 2


def test_a_terminal_gets_tables_and_with_json_what_was_answered(
    ordino: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordino("call", "sellers.upsert", "--data", '{"code": "seen", "name": "[bold]Seen[/bold]", "currency": "USD"}')
    monkeypatch.setattr(answered, "on_terminal", lambda: True)
    shown = ordino("call", "sellers.list", "after=sedn", "limit=1")
    assert "┃ code ┃" in shown
    assert "[bold]Seen[/bold]" in shown
    assert "┃ code " in ordino("call", "sellers.list", "after=sedn", "--all")
    assert json.loads(ordino("call", "sellers.list", "--json"))["sellers"]
    assert "currency USD" in " ".join(ordino("call", "sellers.get", "code=seen").split())


def test_a_word_that_is_longer_than_a_file_name_may_be_is_a_word_like_any_other(ordino: Terminal) -> None:
    orders = json.dumps([{"channel": "nobody's", "external_id": f"{n}"} for n in range(20)])
    assert len(orders) > 255
    job = json.loads(ordino("jobs", "start", "cancel_orders", f"orders={orders}", "reason=fraud", "--json"))
    assert job["total"] == 20


def test_an_operation_is_described_with_its_parameters_its_fields_and_its_permission(ordino: Terminal) -> None:
    shown = ordino("call", "orders.cancel", "--help")
    assert shown == ordino("call", "describe", "orders.cancel")
    for word in ("ordino call orders.cancel order_id=… --body FILE", "`orders.write`", "reason", "too_late (409)"):
        assert word in shown
    kinds = ordino("call", "describe", "jobs.start")
    assert all(word in kinds for word in ("cancel_orders", "import_orders", "application/x-ndjson"))
    assert "one of" in ordino("call", "describe", "jobs.list")


def test_every_operation_can_be_described(built: Application) -> None:
    for view in built.table.views:
        found = described(built.app, view)
        assert found.description, view.name
        console.print(in_words(found))
        if JSON in view.media_types:
            assert fields_of(found.body_schema or {}), view.name
