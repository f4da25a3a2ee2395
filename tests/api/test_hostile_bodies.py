"""Small bodies that are made to keep a server busy: refused with a reason, while other requests are answered as ever."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from ordino.core.database import Database
from ordino.core.settings import Settings
from steps import application, calling, meanwhile
from world import World, served_world

CSV = "text/csv"
NDJSON = "application/x-ndjson"
HEADER = b"sku,location,on_hand\n"
HEALTH_SECONDS = 0.25
"""The machine is shared: what is meant is a tenth of a second."""


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await served_world(database, stock={("sku-1", "loc-1"): 500})


@pytest.fixture
async def client(database_url: str, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as client:
        yield client


BOMBS = {
    "blank lines": (CSV, gzip.compress(HEADER + b"\n" * 7_000_000)),
    "blank lines, half a megabyte": (CSV, gzip.compress(b"\n" * 100_000_000, 1)[:400_000]),
    "blank rows of NDJSON": (NDJSON, gzip.compress(b"\n" * 7_000_000)),
    "blanks": (CSV, gzip.compress(HEADER + b" \n" * 3_500_000)),
    "commas": (CSV, gzip.compress(HEADER + b",,\n" * 2_500_000)),
    "unreadable rows": (NDJSON, gzip.compress(b"x\n" * 3_500_000)),
    "one line": (CSV, gzip.compress(HEADER + b"a" * 7_000_000)),
    "an open quote": (CSV, gzip.compress(HEADER + b'"' + b"\n" * 7_000_000)),
    "many columns": (CSV, gzip.compress(b"a," * 3_500_000)),
    "nested rows": (NDJSON, gzip.compress((b"[" * 400_000 + b"\n") * 20)),
    "long numbers": (NDJSON, gzip.compress((b'{"sku": ' + b"9" * 400_000 + b"}\n") * 20)),
    "empty members": (CSV, gzip.compress(b"") * 25_000 + gzip.compress(b"x")),
    "deflated twice": (CSV, gzip.compress(gzip.compress(HEADER + b"\n" * 7_000_000))),
    "cut off": (CSV, gzip.compress(HEADER + b"sku-1,loc-1,9\n" * 1000)[:-9]),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_small_body_that_costs_much_is_refused_and_health_answers_meanwhile(
    client: AsyncClient, bomb: str
) -> None:
    media_type, body = BOMBS[bomb]
    headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
    answer, took = await meanwhile(client, client.post("/v1/counts", content=body, headers=headers))
    faults = answer.json().get("refused", 0)
    assert answer.status_code == 400 or faults, (bomb, answer.text[:500])
    assert len(answer.content) < 300_000
    assert took < HEALTH_SECONDS, (bomb, took)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/orders", b'{"orders": [' + b"0," * 4_000_000 + b"0]}"),
        ("/v1/orders", "[{ä".encode() + b"[" * 9_000_000),
        ("/v1/skus", b"[" + b"0," * 4_000_000 + b"0]"),
        ("/v1/skus", b"[" * 9_000_000),
        ("/v1/holds", b'{"\\u00e4": [' + b"0," * 4_000_000 + b"0]}"),
        ("/v1/sourcing/preview", b'{"\\u00e4": [' + b"0," * 4_000_000 + b"0]}"),
        ("/v1/networks", b'{"code": "\\u00e4", "members": [' + b'"a",' * 400_000 + b'"a"]}'),
        ("/v1/skus", b'{"code": "a", "handling": [' + b'"a ",' * 400_000 + b'"a"]}'),
        ("/v1/sourcing/reevaluations", b"[" + b"0," * 4_000_000 + b"0]"),
    ],
)
async def test_one_huge_body_is_refused_and_health_answers_meanwhile(
    database_url: str, world: World, path: str, body: bytes
) -> None:
    async with calling(application(database_url, Settings())) as client:
        answer, took = await meanwhile(
            client, client.post(path, content=body, headers={"Content-Type": "application/json"})
        )
    assert answer.status_code in (400, 413), answer.text[:500]
    assert took < HEALTH_SECONDS, took


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "gzip, br", "compress", "nonsense"])
@pytest.mark.parametrize("path", ["/v1/counts", "/v1/skus", "/v1/orders"])
async def test_other_encodings_are_refused_with_words(client: AsyncClient, encoding: str, path: str) -> None:
    headers = {"Content-Type": CSV, "Content-Encoding": encoding}
    answer = await client.post(path, content=zlib.compress(HEADER), headers=headers)
    assert (answer.status_code, "zip the body once, with gzip" in answer.json()["detail"]) == (415, True)


async def test_only_rows_may_be_zipped(client: AsyncClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for path in ("/v1/counts", "/v1/orders", "/v1/flows"):
        answer = await client.post(path, content=gzip.compress(b"{}"), headers=headers)
        assert (answer.status_code, "Only rows" in answer.json()["detail"]) == (415, True)
    rows = gzip.compress(HEADER + b"sku-1,loc-1,500\n")
    for name in ("gzip", "x-gzip", "GZIP", "identity"):
        answer = await client.post("/v1/counts", content=rows, headers={"Content-Type": CSV, "Content-Encoding": name})
        assert (answer.status_code, answer.json()["rows"]) == (200, 1), answer.text


@pytest.mark.parametrize("path", ["/v1/counts", "/v1/orders", "/v1/skus"])
async def test_a_body_that_pauses_is_given_up(database_url: str, world: World, path: str) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"\n" if path == "/v1/skus" else HEADER
        await asyncio.sleep(0.5)
        yield b"sku-1,loc-1,500\n"

    headers = {"Content-Type": CSV}
    async with calling(application(database_url, Settings(body_wait_seconds=0.2))) as client:
        answer = await client.post(path, content=slow(), headers=headers)
        assert (answer.status_code, "paused for more than 0.2 seconds" in answer.text) == (408, True), answer.text
    async with calling(application(database_url, Settings(body_wait_seconds=5))) as client:
        if path == "/v1/counts":
            assert (await client.post(path, content=slow(), headers=headers)).json()["rows"] == 1


@pytest.mark.parametrize("path", ["/v1/counts", "/v1/orders", "/v1/skus", "/v1/holds"])
async def test_a_body_that_trickles_is_given_up_and_a_slow_one_that_keeps_pace_is_read(
    database_url: str, world: World, path: str
) -> None:
    """One byte now and then is no pause, and would hold a connection for ever."""

    async def trickle() -> AsyncIterator[bytes]:
        yield HEADER if path == "/v1/counts" else b" "
        for _ in range(400):
            await asyncio.sleep(0.05)
            yield b" "

    async def slow() -> AsyncIterator[bytes]:
        yield HEADER
        for _ in range(20):
            await asyncio.sleep(0.05)
            yield b"sku-1,loc-1,500\n" * 20

    headers = {"Content-Type": CSV if path == "/v1/counts" else "application/json"}
    settings = Settings(body_wait_seconds=0.5, body_bytes_a_second=1000)
    async with calling(application(database_url, settings)) as client:
        began = time.monotonic()
        answer = await client.post(path, content=trickle(), headers=headers)
        assert (answer.status_code, "fewer than 1000 bytes a second" in answer.text) == (408, True), answer.text
        assert time.monotonic() - began < 10
        if path == "/v1/counts":
            answer = await client.post(path, content=slow(), headers=headers)
            assert (answer.status_code, answer.json()["rows"]) == (200, 400), answer.text


async def test_a_real_feed_that_packs_well_is_read(client: AsyncClient) -> None:
    """Many rows of one position pack a hundred times smaller; they are a feed."""
    row = b"sku-1,loc-1,500\r\n"
    body = gzip.compress(HEADER + row * 100_000)
    answer = await client.post("/v1/counts", content=body, headers={"Content-Type": CSV})
    assert (answer.status_code, answer.json()["rows"]) == (200, 100_000)


@pytest.mark.parametrize("path", ["/v1/counts", "/v1/orders", "/v1/skus", "/v1/holds"])
async def test_a_body_that_breaks_off_is_no_fault_of_ours(database_url: str, world: World, path: str) -> None:
    """A client that has closed its half, or whose chunks cannot be read, is told so."""

    came = iter([{"type": "http.request", "body": b"sku,", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(came)

    async def send(message: Any) -> None:
        sent.append(message)

    type_ = CSV if path == "/v1/counts" else "application/json"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"localhost"), (b"content-type", type_.encode())],
    }  # fmt: skip
    async with calling(application(database_url, Settings())) as client:
        await client._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    assert sent[0]["status"] == 400, sent
    assert b"broke off before it was whole" in sent[1]["body"]
