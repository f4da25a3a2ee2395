"""Whatever process is killed, orders are taken again in seconds, and none that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import msgspec
import psutil
import pytest

from conftest import short_directory
from ordino.cli.bench import world
from ordino.core.embedded import EmbeddedPostgres, holder_of
from processes import Running, children, running, told

SKUS = 200
SECONDS = 5.0
beside_others = pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.proof)])


def patience(*, alone: bool) -> float:
    """``SECONDS`` of a machine that has nothing else to do. One that has takes as many times longer as programs share a core."""
    return SECONDS if alone else SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """One for all tests of the module; nothing that was killed lives on in it."""
    with short_directory() as parent:
        yield parent / "data"
        for process in psutil.process_iter(["name", "cwd"]):
            if process.info["cwd"] == str(parent / "data" / "postgres"):
                process.kill()


class Shop:
    """Buyers who order without a pause, each order until it is acknowledged."""

    def __init__(self, port: int) -> None:
        self.acknowledged: list[str] = []
        self._port = port
        self._dice = random.Random(port)
        self._count = 0

    async def order(self) -> None:
        self._count += 1
        name = f"kept-{self._port}-{self._count}"
        body = msgspec.json.encode(world.new_order(name, self._dice, skus=SKUS))
        while True:
            try:
                # A connection each: any process that listens may get it.
                async with httpx.AsyncClient(timeout=5) as client:
                    answer = await client.post(
                        f"http://127.0.0.1:{self._port}/v1/orders",
                        content=body,
                        headers={"content-type": "application/json"},
                    )
                if answer.status_code in (200, 201) and '"outcome":"placed"' in answer.text:
                    self.acknowledged.append(name)
                    return
                assert answer.status_code in (429, 500, 502, 503, 504), answer.text
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        async def buy() -> None:
            while not over.is_set():
                await self.order()

        over = asyncio.Event()
        buyers = [asyncio.create_task(buy()) for _ in range(4)]
        try:
            yield
        except BaseException:
            for buyer in buyers:
                buyer.cancel()
            raise
        over.set()
        await asyncio.gather(*buyers)


async def seconds_until_orders_are_taken(shop: Shop) -> float:
    """Three in a row, so that whoever listens has answered."""
    started = time.monotonic()
    for _ in range(3):
        await shop.order()
    return time.monotonic() - started


async def backend(url: str) -> int:
    """A PostgreSQL process that serves the longest-lived connection of Ordino."""
    connection = await asyncpg.connect(url)
    try:
        pid: int = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'ordino' ORDER BY backend_start LIMIT 1"
        )
        return pid
    finally:
        await connection.close()


async def ledgers_are_clean(directory: Path, shop: Shop) -> None:
    """With every process ended: no acknowledged order is missing, and every balance is what its moves say."""
    with EmbeddedPostgres(directory, {"shared_buffers": "128MB"}) as server:
        connection = await asyncpg.connect(server.url)
        try:
            missing = await connection.fetch(
                "SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS"
                " (SELECT FROM orders.orders o WHERE o.external_id = name)",
                shop.acknowledged,
            )
        finally:
            await connection.close()
        assert missing == []
        assert len(shop.acknowledged) == len(set(shop.acknowledged)) > 0
        status, said = await asyncio.to_thread(told, "verify", ORDINO_DATABASE_URL=server.url)
        assert status == 0, said


async def stock_once(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        filled = await connection.fetchval("SELECT count(*) FROM catalog.skus")
    finally:
        await connection.close()
    if not filled:
        await world.fill(url, skus=SKUS)


def same(command: Running, word: str) -> list[psutil.Process]:
    return children(psutil.Process(command.process.pid), word)


def lives(process: psutil.Process) -> bool:
    """A dead process that nobody has asked about yet does not live."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def server_processes(command: Running) -> list[psutil.Process]:
    """The processes that answer, without the one that looks after them."""
    main = psutil.Process(command.process.pid)
    found = same(command, "serve")
    return [process for process in found if process.ppid() != main.pid or main.cmdline()[-1] == "serve"]


@beside_others
async def test_up_takes_orders_again_after_any_one_of_its_processes_is_killed(directory: Path, alone: bool) -> None:
    port = world.free_port()
    output = directory.parent / "up.log"
    with running("up", output=output, port=port, ORDINO_DATA_DIRECTORY=str(directory)) as up:
        await up.ready()
        holder = holder_of(directory)
        assert holder is not None
        assert holder.url is not None
        url = holder.url
        await stock_once(url)
        shop = Shop(port)
        await up.until("had two server processes", lambda: len(server_processes(up)) == 2)

        async def kill(what: str, pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            took = await seconds_until_orders_are_taken(shop)
            assert took < patience(alone=alone), f"{took:.1f} s after {what} was killed:\n{up.said()}"
            await up.until("ran all its parts again", whole)

        def whole() -> bool:
            try:
                posts = [p for p in same(up, "postgres") if p.ppid() == up.process.pid]
                parts = [p for p in same(up, "serve") if p.ppid() == up.process.pid]
            except psutil.NoSuchProcess:  # it has ended between two looks
                return False
            return len(posts) == len(parts) == len(same(up, "work")) == 1 and len(server_processes(up)) == 2

        async with shop.busy():
            await kill("the worker", same(up, "work")[0].pid)
            for _ in range(2):
                await kill("a server process", server_processes(up)[0].pid)
            await kill("a backend", await backend(url))
            [postmaster] = [p for p in same(up, "postgres") if p.ppid() == up.process.pid]
            await kill("PostgreSQL", postmaster.pid)
            [server] = [p for p in same(up, "serve") if p.ppid() == up.process.pid]
            orphans = server.children()
            await kill("the server", server.pid)
            await up.until("let go of the old server's processes", lambda: not any(map(lives, orphans)))
        assert holder_of(directory) == holder

        for other in ("18498", str(port)):
            status, said = await asyncio.to_thread(told, "up", ORDINO_DATA_DIRECTORY=str(directory), ORDINO_PORT=other)
            assert status == 1
            assert f"is in use by `ordino up` on http://127.0.0.1:{port} (process {up.process.pid})" in said
        status, said = await asyncio.to_thread(told, "verify", ORDINO_DATA_DIRECTORY=str(directory))
        assert (status, f"using the PostgreSQL of `ordino up` on http://127.0.0.1:{port}" in said) == (0, True), said
        assert await up.stop() == 0, up.said()
        assert "refused to gracefully stop" not in up.said()
    await ledgers_are_clean(directory, shop)


async def test_a_killed_up_leaves_nothing_behind_that_keeps_the_next_one_from_starting(directory: Path) -> None:
    port = world.free_port()
    output = directory.parent / "again.log"
    with running("up", output=output, port=port, ORDINO_DATA_DIRECTORY=str(directory)) as up:
        await up.ready()
        family = psutil.Process(up.process.pid).children(recursive=True)
        await up.stop(signal.SIGKILL)
        with running("up", output=output, port=port, ORDINO_DATA_DIRECTORY=str(directory)) as following:
            await following.until("was alone", lambda: not any(map(lives, family)))
            await following.ready()
            assert await following.stop(signal.SIGINT) == 0, following.said()


@beside_others
async def test_serve_and_work_by_themselves_take_orders_again_after_a_kill(directory: Path, alone: bool) -> None:
    port = world.free_port()
    output = directory.parent / "serve.log"
    here = {"ORDINO_DATA_DIRECTORY": str(directory)}
    status, said = await asyncio.to_thread(told, "migrate", **here)
    assert status == 0, said
    with running("serve", output=output, port=port, **here) as serve:
        await serve.ready()
        holder = holder_of(directory)
        assert holder is not None
        assert holder.url is not None
        await stock_once(holder.url)
        shop = Shop(port)
        with running("work", output=directory.parent / "work.log", **here) as work:
            await work.until(
                "said whose PostgreSQL it uses", lambda: f"using the PostgreSQL of {holder}" in work.said()
            )
            await serve.until("had two server processes", lambda: len(same(serve, "serve")) == 2)
            async with shop.busy():
                [postmaster] = [p for p in same(serve, "postgres") if p.ppid() == serve.process.pid]
                for what in ("process", "backend", "PostgreSQL"):
                    pid = same(serve, "serve")[0].pid if what == "process" else postmaster.pid
                    os.kill(await backend(holder.url) if what == "backend" else pid, signal.SIGKILL)
                    took = await seconds_until_orders_are_taken(shop)
                    assert took < patience(alone=alone), f"{took:.1f} s after {what} was killed:\n{serve.said()}"
                    await serve.until("had two server processes", lambda: len(same(serve, "serve")) == 2)
            orphans = same(serve, "serve")
            await serve.stop(signal.SIGKILL)
            await work.until("was without the old ones", lambda: not any(map(lives, orphans)))
            with running("serve", output=output, port=port, **here) as following:
                await shop.order()
                assert await work.stop() == 0, work.said()
                assert await following.stop() == 0, following.said()
    await ledgers_are_clean(directory, shop)
