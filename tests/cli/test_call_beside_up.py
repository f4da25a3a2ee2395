"""`ordino call` as processes of their own, beside `ordino up`: on its embedded database, and at its server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.test_operations import made
from conftest import short_directory
from ordino.cli.call.asked import wanted
from ordino.cli.call.calling import Answer, Application, asked_of
from ordino.core.database import Database
from ordino.core.embedded import holder_of
from ordino.core.permissions import Role
from ordino.core.settings import Settings
from processes import Running, ordino, running
from steps import order_body, started
from world import small_world

STOCK = 12
COMMANDS, EACH = 3, 5
"""So many commands run at once, and order so many units each: more than there are."""


class Up:
    """A running `ordino up`, its server, and commands beside it."""

    def __init__(self, process: Running, directory: Path, http: httpx.AsyncClient) -> None:
        self.http = http
        self.url = f"http://127.0.0.1:{process.port}"
        self._environment = os.environ | {"ORDINO_DATA_DIRECTORY": str(directory)}

    async def typed(self, *words: str, body: Any = None, **environment: str) -> tuple[int, str, str]:
        """Exit status, and what stands on the standard output and the standard error."""
        data = () if body is None else ("--data", json.dumps(body))
        process = await asyncio.create_subprocess_exec(
            *ordino, *words, *data, env=self._environment | environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, errors = await process.communicate()
        assert b"Traceback" not in errors, errors
        return process.returncode or 0, said.decode(), errors.decode()

    async def placed(self, *external_ids: str) -> list[bool]:
        """Which of these orders `ordino call` has placed."""
        orders = [order_of("few-", one) for one in external_ids]
        _, said, errors = await self.typed("call", "orders.place", body=orders)
        outcomes = json.loads(said)["outcomes"]
        assert {one.get("reason") for one in outcomes} <= {None, "out_of_stock"}, errors
        return ["order_id" in one and "reason" not in one for one in outcomes]

    async def place_and_cancel(self, name: str, until: asyncio.Event) -> int:
        """Over HTTP, again and again; how often."""
        count = 0
        while not until.is_set():
            answer = await self.http.post("/v1/orders", json=order_of("few-", f"{name}-{count}"))
            if answer.status_code == 201:
                order = answer.json()["order_id"]
                cancelled = await self.http.post(
                    f"/v1/orders/{order}/cancellation", json={"reason": "fraud", "all": True}
                )
                assert cancelled.status_code == 200, cancelled.text
            count += 1
        return count


def order_of(world: str, external_id: str) -> dict[str, Any]:
    """An order of one unit in a world of its own."""
    line = {"sku": f"{world}sku-1", "quantity": 1, "unit_price_minor": 500}
    return {**order_body(external_id), "channel": f"{world}refuse", "lines": [line]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def running_up() -> AsyncIterator[Up]:
    """With three worlds: in `few-` there is less than is asked for, in `many-` and `served-` there is enough."""
    with short_directory() as parent:
        data, port = parent / "data", free_port()
        with running("up", output=parent / "output", port=port, ORDINO_DATA_DIRECTORY=str(data)) as process:
            await process.ready()
            holder = holder_of(data)
            assert holder is not None
            assert holder.url is not None
            async with await Database.open(holder.url) as database:
                for world, stock in (("few-", STOCK), ("many-", 100), ("served-", 100)):
                    await small_world(database, prefix=world, skus=1, stock={(f"{world}sku-1", f"{world}loc-1"): stock})
                header = await made(database, roles=[Role.ADMIN])
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=header, timeout=60) as http:
                yield Up(process, data, http)


@pytest.fixture(scope="module")
async def beside() -> AsyncIterator[Up]:
    """One `ordino up` for all of them: to start it takes seconds."""
    async with started(running_up()) as up:
        yield up


@pytest.mark.proof  # each command is a process that starts anew
async def test_commands_and_requests_at_once_sell_every_unit_and_none_twice(beside: Up) -> None:
    over = asyncio.Event()
    loops = [asyncio.create_task(beside.place_and_cancel(name, over)) for name in ("a", "b")]
    many = [[f"call-{command}-{n}" for n in range(EACH)] for command in range(COMMANDS)]
    placed = [one for found in await asyncio.gather(*(beside.placed(*ids) for ids in many)) for one in found]
    over.set()
    assert min(await asyncio.gather(*loops)) > 0
    assert sum(placed) <= STOCK < len(placed)
    rest = await beside.placed(*(f"rest-{n}" for n in range(STOCK)))
    assert sum(placed) + sum(rest) == STOCK
    status, said, _ = await beside.typed("verify")
    assert status == 0, said


async def test_an_order_that_a_command_and_a_request_send_at_once_is_placed_once(beside: Up) -> None:
    """And orders of different names beside it are placed, each."""
    over, answers = asyncio.Event(), list[httpx.Response]()

    async def again_and_again() -> None:
        while not over.is_set():
            answers.append(await beside.http.post("/v1/orders", json=order_of("many-", "same")))

    sending = asyncio.create_task(again_and_again())
    outcomes = await asyncio.gather(
        *(beside.typed("call", "orders.place", body=order_of("many-", name)) for name in ("same", "same", "other"))
    )
    over.set()
    await sending
    ids = [json.loads(said)["order_id"] for _, said, _ in outcomes]
    assert {answer.json()["order_id"] for answer in answers} == {ids[0]} == {ids[1]}
    assert ids[2] != ids[0]


@pytest.mark.proof  # each command is a process that starts anew
async def test_a_server_is_called_with_a_key_as_the_database_is_without(beside: Up) -> None:
    _, key, _ = await beside.typed("call", "keys.make", body={"name": "reader", "roles": ["read"]})
    at_server = {"ORDINO_URL": beside.url, "ORDINO_KEY": json.loads(key)["token"]}
    for words in (["stock.get", "sku=served-sku-1"], ["skus.list", "limit=1", "--all"]):
        here, there = await beside.typed("call", *words), await beside.typed("call", *words, **at_server)
        assert (here[0], here[1]) == (there[0], there[1]) == (0, here[1])
    status, said, errors = await beside.typed("call", "skus.get", "code=nothing", **at_server)
    assert (status, said, errors) == (1, "", "ordino: Nothing in skus has the code 'nothing'.\n")
    seller = {"code": "s", "name": "S", "currency": "USD"}
    status, _, errors = await beside.typed("call", "sellers.upsert", body=seller, **at_server)
    assert (status, "This key lacks the permission 'catalog.write'" in errors) == (1, True)
    words = ["call", "skus.list", "--url", beside.url, "--api-key", "ordino_wrong"]
    status, _, errors = await beside.typed(*words)
    assert (status, "Send an API key that is not revoked" in errors) == (1, True)


async def test_an_address_that_is_none_is_told_in_a_sentence(beside: Up) -> None:
    status, _, errors = await beside.typed("call", "skus.list", ORDINO_URL="oms.example")
    assert (status, "ORDINO_URL='oms.example' does not fit: a URL that begins with http" in errors) == (1, True)


async def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    listening = free_port()
    process = await asyncio.create_subprocess_exec(
        *ordino, "call", "skus.list", "--url", f"http://127.0.0.1:{listening}", stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.startswith(f"ordino: http://127.0.0.1:{listening} cannot be reached: ".encode())


@contextmanager
def listening_to_nobody() -> Iterator[tuple[socket.socket, str]]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server, f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answered", "words", "said"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n", ["skus.list"], "not as Ordino does"),
        (b"HTTP/1.1 302 No\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", ["skus.list"], "not as Ordino does"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>", ["skus.list"], "not as Ordino does"),
        (b"", ["skus.list"], "Send the request again."),
        (b"", ["orders.place", "--data", "{}"], "It is not known whether the request took effect"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[", ["skus.list"], "did not answer to the end"),
    ],
    ids=["not found", "redirect", "a page", "hung up", "hung up on an order", "broken off"],
)  # fmt: skip
async def test_what_no_ordino_answers_is_told_in_a_sentence(answered: bytes, words: list[str], said: str) -> None:
    with listening_to_nobody() as (server, url):
        process = await asyncio.create_subprocess_exec(
            *ordino, "call", *words, "--url", url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        connection, _ = await asyncio.to_thread(server.accept)
        with connection:
            while b"\r\n\r\n" not in await asyncio.to_thread(connection.recv, 65_536):
                pass
            connection.sendall(answered)
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert said in errors.decode(), errors
        assert b"Traceback" not in errors


async def test_an_answer_is_handed_on_while_it_is_made_and_ends_when_nobody_reads_it() -> None:
    made, ended = list[int](), asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/csv; x=y")]})
        try:
            while True:
                made.append(len(made))
                await send({"type": "http.response.body", "body": b"row\n", "more_body": True})
        finally:
            ended.set()

    view = next(view for view in Application(Settings()).table.views if view.name == "skus.list")
    async with asked_of(endless, wanted(view, []), None) as answer:
        assert isinstance(answer, Answer)
        assert (answer.status, answer.media_type) == (200, "text/csv")
        assert [await anext(answer.parts) for _ in range(3)] == [b"row\n"] * 3
        assert len(made) < 20
    assert ended.is_set()
