"""JSON is UTF-8, and CSV is what its charset says, if that is known. Any other body is refused before it is read, on every path."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient
from litestar import Litestar

from ordino.core.database import Database
from ordino.core.media import foreign_charset
from steps import application, calling
from world import World, served_world

KNOWN = ["utf-16", "utf-16-le", "windows-1252", "shift_jis", "gb18030", "iso-8859-15"]
REFUSED = ["utf-7", "punycode", "klingon", "base64", "utf-32", "unicode_escape", "", "idna", "x" * 500]
ID = "01990000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 500})


@pytest.fixture
def app(database_url: str) -> Litestar:
    return application(database_url)


@pytest.fixture
async def client(app: Litestar, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(app) as client:
        yield client


async def test_every_path_that_takes_a_body_refuses_a_charset_that_is_not_read_there(
    app: Litestar, client: AsyncClient
) -> None:
    tried = of_rows = 0
    for path, item in (app.openapi_schema.paths or {}).items():
        for method in ("post", "put", "patch", "delete"):
            operation = getattr(item, method)
            if operation is None:
                continue
            filled = re.sub(r"\{(version|ship_on)\}", lambda found: {"version": "1"}.get(found[1], "2026-11-27"), path)
            filled = re.sub(r"\{\w+_id\}", ID, filled)
            filled = re.sub(r"\{\w+\}", "x", filled)
            takes_csv = "text/csv" in operation.to_schema().get("requestBody", {}).get("content", {})
            for charset in (REFUSED + KNOWN)[tried % 4 :: 4]:
                for type_ in ("application/json", "text/csv", "application/x-ndjson"):
                    if takes_csv and type_ == "text/csv" and charset in KNOWN:
                        continue
                    headers = {"Content-Type": f"{type_}; charset={charset}"}
                    answer = await client.request(method, filled, content=b"\xff\xfex", headers=headers)
                    assert answer.status_code == 415, (method, path, headers, answer.text)
                    assert "Save the file as UTF-8" in answer.json()["detail"]
            tried += 1
            of_rows += takes_csv
    assert (tried > 40, of_rows > 8) == (True, True)


@pytest.mark.parametrize("charset", ["windows-1252", "ISO-8859-15", '"latin1"', "utf-16", "utf-16le", "macintosh"])
async def test_rows_of_csv_are_read_in_the_charset_that_they_name(client: AsyncClient, charset: str) -> None:
    encoding = charset.strip('"').replace("macintosh", "mac-roman")
    body = "code,name\nsku-ä,Jäger\n".encode(encoding)
    type_ = {"Content-Type": f"text/csv; header=present; charset={charset}"}
    answer = await client.post("/v1/skus", content=gzip.compress(body), headers={**type_, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["rows"], answer.json()["refused"]) == (200, 1, 0), answer.text
    assert (await client.get("/v1/skus/sku-ä")).json()["name"] == "Jäger"
    counts = "sku;location;on_hand\nsku-ä;loc-1;5\n".encode(encoding)
    answer = await client.post("/v1/counts", content=counts, headers=type_)
    assert (answer.status_code, answer.json()["rows"], answer.json()["refused"]) == (200, 1, 0), answer.text


async def test_utf_16_is_known_by_its_mark_and_refused_without_one(client: AsyncClient) -> None:
    rows = "sku\tlocation\ton_hand\nsku-1\tloc-1\t500\n"
    marked = await client.post("/v1/counts", content=rows.encode("utf-16"), headers={"Content-Type": "text/csv"})
    assert (marked.status_code, marked.json()["rows"]) == (200, 1)
    told = {"Content-Type": "text/csv; charset=utf-16"}
    bare = await client.post("/v1/counts", content=rows.encode("utf-16-le"), headers=told)
    assert (bare.status_code, "charset=utf-16le" in bare.json()["detail"]) == (400, True)
    lines = '{"sku": "sku-1", "location": "loc-1", "on_hand": 500}\n'.encode("utf-16")
    json = await client.post("/v1/counts", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert (json.status_code, "only UTF-8 is read" in json.json()["detail"]) == (415, True)


async def test_a_content_type_names_one_charset(client: AsyncClient) -> None:
    rows = b"sku,location,on_hand\nsku-1,loc-1,500\n"
    for headers in (
        [("Content-Type", "text/csv; charset=utf-8; charset=windows-1252")],
        [("Content-Type", "text/csv; charset=utf-8"), ("Content-Type", "text/csv; charset=windows-1252")],
        [("Content-Type", "text/csv; charset=windows-1252"), ("Content-Type", "application/json")],
    ):
        answer = await client.post("/v1/counts", content=rows, headers=headers)
        assert answer.status_code == 415, (headers, answer.text)
    same = await client.post(
        "/v1/counts", content=rows, headers={"Content-Type": "text/csv; charset=latin1; charset=iso-8859-1"}
    )
    assert same.status_code == 200


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
