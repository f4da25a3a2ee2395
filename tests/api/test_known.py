"""No request is read for less than it says: every route refuses names that it does not know, in its body and in its query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient

from ordino.api.app import build
from ordino.core.database import Database
from ordino.core.settings import Settings
from steps import application, calling
from world import served_world

ODD = "no_such_name"
METHODS = ("get", "put", "post", "patch", "delete")
VALUES = {"uuid": str(uuid4()), "integer": "1", "date": "2026-11-27"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of everything that the application's document knows."""
    app = build(lambda: None, Settings())
    for path, item in app.openapi_schema.to_schema()["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


OPERATIONS = list(operations())
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
CHANGING = [(method, path, operation) for method, path, operation in OPERATIONS if method != "get"]


@pytest.fixture(scope="module")
async def client(database: Database, database_url: str) -> AsyncIterator[AsyncClient]:
    await served_world(database)
    async with calling(application(database_url)) as one:
        yield one


def url_of(path: str, operation: dict[str, Any]) -> str:
    """The path with something of the right form in the place of each of its parameters."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            schema = parameter["schema"]
            value = VALUES.get(schema.get("format") or schema.get("type"), "some")
            path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def body_schema(operation: dict[str, Any], media_type: str = "application/json") -> dict[str, Any] | None:
    schema: dict[str, Any] | None = (
        operation.get("requestBody", {}).get("content", {}).get(media_type, {}).get("schema")
    )
    return schema


def pointers(answer: Any) -> list[str]:
    said = answer.json()
    return [fault["pointer"] for fault in said["errors"]] if "errors" in said else []


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
async def test_a_query_parameter_that_no_route_declares_is_refused_by_name(
    client: AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    for query in (f"{ODD}=1", ODD, f"{ODD}=", f"limit=1&{ODD}=1"):
        answer = await client.request(method, f"{url_of(path, operation)}?{query}")
        assert answer.status_code == 400, answer.text
        assert f"/{ODD}" in pointers(answer), answer.text


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
async def test_a_query_parameter_that_holds_one_value_is_not_said_twice(
    client: AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "query":
            continue
        forms = [parameter["schema"], *parameter["schema"].get("oneOf", ())]
        if any(form.get("type") == "array" for form in forms):
            continue
        name = parameter["name"]
        answer = await client.request(method, f"{url_of(path, operation)}?{name}=1&{name}=2")
        assert answer.status_code == 400, answer.text
        assert f"/{name}" in pointers(answer), answer.text


@pytest.mark.parametrize(("method", "path", "operation"), CHANGING, ids=[f"{m} {p}" for m, p, _ in CHANGING])
async def test_a_field_that_no_body_has_is_refused_by_name(
    client: AsyncClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    url = url_of(path, operation)
    answer = await client.request(method, url, json={ODD: 1})
    if "application/yaml" in operation.get("requestBody", {}).get("content", {}):  # documents tell faults with lines
        assert ODD in answer.text
        return
    assert answer.status_code == 400, answer.text
    assert f"/{ODD}" in pointers(answer), answer.text
    forms = (body_schema(operation) or {}).get("anyOf", [])
    if not any(form["type"] == "array" for form in forms):
        return
    listed = (await client.request(method, url, json=[{ODD: 1}])).json()
    said = listed["outcomes"][0]["pointer"] if "outcomes" in listed else listed["errors"][0]["pointer"]
    assert said in (f"/0/{ODD}", f"/{ODD}"), listed
    [name] = [name for form in forms for name, part in form.get("properties", {}).items() if "maxItems" in part][-1:]
    beside = await client.request(method, url, json={name: [], ODD: 1})
    assert (beside.status_code, pointers(beside)) == (400, [f"/{ODD}"]), beside.text


def objects(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part, where)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield where, schema
        for name, part in schema.items():
            yield from objects(part, f"{where}/{name}")


@pytest.mark.parametrize(("method", "path", "operation"), CHANGING, ids=[f"{m} {p}" for m, p, _ in CHANGING])
def test_the_document_says_that_no_object_of_a_body_has_further_fields(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    open_ = [
        where for where, schema in objects(body_schema(operation)) if schema.get("additionalProperties") is not False
    ]
    assert not open_, open_


async def test_rows_with_an_unknown_field_are_faults_with_their_lines(client: AsyncClient) -> None:
    rows = '{"sku": "sku-1", "location": "loc-1", "on_hand": 5, "as_off": "2026-11-27T00:00:00Z"}\n'
    for path in ("/v1/counts", "/v1/skus"):
        answer = await client.post(path, content=rows, headers={"content-type": "application/x-ndjson"})
        [fault] = answer.json()["faults"]
        assert (answer.json()["refused"], fault["line"]) == (1, 1)
        assert fault["pointer"] in ("/as_off", "/sku")


async def test_a_misspelt_query_does_not_count_as_now(client: AsyncClient) -> None:
    rows = '{"sku": "sku-1", "location": "loc-1", "on_hand": 5}\n'
    headers = {"content-type": "application/x-ndjson"}
    answer = await client.post("/v1/counts?as_off=2026-11-27T00:00:00Z", content=rows, headers=headers)
    assert (answer.status_code, pointers(answer)) == (400, ["/as_off"])
    assert "the known ones are as_of, feed" in answer.json()["detail"]


async def test_a_pointer_to_an_odd_name_is_one_step(client: AsyncClient) -> None:
    answer = await client.post("/v1/sourcing/outlook", json={"a/b~c": 1})
    assert pointers(answer) == ["/a~1b~0c"]
