"""Only UTF-8 is read. A body that says that it is something else is refused before it is read, on every path."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient
from litestar import Litestar

from ordino.api.server import load_stages
from ordino.core.database import Database
from ordino.core.media import foreign_charset
from ordino.flows.versions import ensure_active
from steps import application, calling
from world import World, small_world

CHARSETS = [
    "utf-16",
    "utf-16-le",
    "utf-7",
    "punycode",
    "klingon",
    "base64",
    "windows-1252",
    "utf-8-sig",
    "",
    "idna",
    "x" * 500,
]
ID = "01990000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    load_stages()
    await database.transact(lambda tx: ensure_active(tx, at=database.clock.now()))
    return await small_world(database, stock={("sku-1", "loc-1"): 500})


@pytest.fixture
def app(database_url: str) -> Litestar:
    return application(database_url)


@pytest.fixture
async def client(app: Litestar, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(app) as client:
        yield client


async def test_every_path_that_takes_a_body_refuses_another_charset(app: Litestar, client: AsyncClient) -> None:
    tried = 0
    for path, item in (app.openapi_schema.paths or {}).items():
        for method in ("post", "put", "patch", "delete"):
            if getattr(item, method) is None:
                continue
            filled = re.sub(r"\{(version|ship_on)\}", lambda found: {"version": "1"}.get(found[1], "2026-11-27"), path)
            filled = re.sub(r"\{\w+_id\}", ID, filled)
            filled = re.sub(r"\{\w+\}", "x", filled)
            for charset in CHARSETS[tried % 4 :: 4]:
                for type_ in ("application/json", "text/csv", "application/x-ndjson"):
                    headers = {"Content-Type": f"{type_}; charset={charset}"}
                    answer = await client.request(method, filled, content=b"\xff\xfex", headers=headers)
                    assert answer.status_code == 415, (method, path, headers, answer.text)
                    assert "only UTF-8. Save the file as UTF-8" in answer.json()["detail"]
            tried += 1
    assert tried > 40


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii"])
async def test_utf_8_is_read_whatever_it_is_called(client: AsyncClient, charset: str) -> None:
    rows = "sku,location,on_hand\nsku-1,loc-1,500\n"
    answer = await client.post("/v1/counts", content=rows, headers={"Content-Type": f"text/csv; charset={charset}"})
    assert (answer.status_code, answer.json()["rows"]) == (200, 1)
    answer = await client.post(
        "/v1/orders", content="{}", headers={"Content-Type": f"application/json;charset={charset}"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "windows-1252"])
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/skus", "/v1/flows", "/v1/sourcing/profiles", "/v1/holds"])
async def test_a_body_that_does_not_say_that_it_is_not_utf_8_is_invalid(
    client: AsyncClient, path: str, encoding: str
) -> None:
    answer = await client.post(
        path, content='{"code": "ä"}'.encode(encoding), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text


def test_every_charset_of_a_content_type_counts() -> None:
    assert foreign_charset("text/csv") is None
    assert foreign_charset("text/csv; header=present; CHARSET = 'x'") == "'x'"
    assert foreign_charset("text/csv; charset=utf-8; charset=utf-7") == "utf-7"
