"""Killed in the middle of a load, the server or PostgreSQL loses no acknowledged order and leaves nothing half done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from conftest import short_directory
from ordino.cli import running
from ordino.cli.bench import load, world
from ordino.cli.verify import verify
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres

CLIENTS = 32
CEILING_SECONDS = 600.0
"""Only for what never comes true: a busy machine takes long."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Logs and lists of the test lie in it, beside the data of PostgreSQL."""
    with short_directory() as directory:
        yield directory


@asynccontextmanager
async def _running(url: str, directory: Path) -> AsyncIterator[tuple[world.Server, world.Server]]:
    """A server and a worker on the database."""
    server = await world.start("serve", url, directory)
    worker = await world.start("work", url, directory)
    try:
        await server.ready()
        yield server, worker
    finally:
        await server.stop()
        await worker.stop()


def _plan(server: world.Server, run: str, acknowledged: Path, seconds: float) -> load.Plan:
    return load.Plan(
        url=server.url,
        kind="place",
        path="/v1/orders",
        run=run,
        clients=CLIENTS,
        seconds=seconds,
        skus=500,
        acknowledged=str(acknowledged),
    )


def _count(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _names(file: Path) -> list[str]:
    return file.read_text().split()


async def _acknowledged_more_than(file: Path, count: int) -> None:
    """Wait until the load is well on its way."""
    for _ in range(int(CEILING_SECONDS * 20)):
        if _count(file) > count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{count} orders were not acknowledged in time")


async def _assert_nothing_is_lost(url: str, acknowledged: Path) -> None:
    """Every acknowledged order is there and paid for, the queue has come to rest, and every promise holds."""
    names = _names(acknowledged)
    assert len(names) == len(set(names))
    async with await Database.open(url) as database:
        await _come_to_rest(database)
        missing = await database.pool.fetch(
            "SELECT name FROM unnest($1::text[]) AS name"
            " WHERE NOT EXISTS (SELECT FROM orders.orders o WHERE o.external_id = name AND o.status = 'allocated')",
            names,
        )
        assert missing == []
        unpaid = await database.pool.fetchval("SELECT count(*) FROM orders.payments WHERE status <> 'authorized'")
        assert unpaid == 0, "the queue went on"
        assert (await verify(database)).broken == []


async def _come_to_rest(database: Database) -> None:
    for _ in range(int(CEILING_SECONDS * 10)):
        due = await database.pool.fetchval(
            "SELECT count(*) FROM core.reactions WHERE due_at <= now() AND dead_at IS NULL"
        )
        leased = await database.pool.fetchval(
            "SELECT count(*) FROM core.reactions WHERE lease IS NOT NULL AND dead_at IS NULL"
        )
        if not due and not leased:
            assert await database.pool.fetchval("SELECT count(*) FROM core.reactions WHERE dead_at IS NOT NULL") == 0
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the queue did not come to rest")


async def test_a_killed_server_loses_no_acknowledged_order(directory: Path) -> None:
    acknowledged = directory / "acknowledged"
    with EmbeddedPostgres(directory / "data", {"shared_buffers": "128MB"}) as postgres:
        await running.prepare(postgres.url)
        await world.fill(postgres.url, skus=500)
        async with _running(postgres.url, directory) as (server, worker):
            loading = asyncio.create_task(load.run(_plan(server, "before", acknowledged, 30)))
            await _acknowledged_more_than(acknowledged, 500)
            await server.stop(signal.SIGKILL)
            await worker.stop(signal.SIGKILL)
            result = await loading
            assert result.failed > 0, "nobody was waiting for an answer when the server was killed"
        before = _count(acknowledged)
        async with _running(postgres.url, directory) as (server, _):
            await load.run(_plan(server, "after", acknowledged, 2))
            assert _count(acknowledged) > before
            await _assert_nothing_is_lost(postgres.url, acknowledged)


async def test_a_killed_postgresql_loses_no_acknowledged_order(directory: Path) -> None:
    acknowledged = directory / "acknowledged"
    first = EmbeddedPostgres(directory / "data", {"shared_buffers": "128MB"})
    first.start()
    second = EmbeddedPostgres(directory / "data", {"shared_buffers": "128MB"})
    try:
        await running.prepare(first.url)
        await world.fill(first.url, skus=500)
        async with _running(first.url, directory) as (server, worker):
            loading = asyncio.create_task(load.run(_plan(server, "run", acknowledged, 15)))
            await _acknowledged_more_than(acknowledged, 500)
            url = first.url
            _kill_all(first)
            first.stop()  # lets go of the directory; there is nothing left to shut down
            before = _count(acknowledged)
            await asyncio.to_thread(second.start)
            assert second.url == url
            result = await loading
            assert result.good < result.answers, "some were told to try again"
            await load.run(_plan(server, "after", acknowledged, 2))  # server and worker went on by themselves
            assert _count(acknowledged) > max(before, result.good)
            assert (server.process.returncode, worker.process.returncode) == (None, None)
            await _assert_nothing_is_lost(url, acknowledged)
    finally:
        first.stop()
        second.stop()


def _kill_all(postgres: EmbeddedPostgres) -> None:
    """Postmaster and backends at once, as a machine that loses power would."""
    assert postgres.pid is not None
    postmaster = psutil.Process(postgres.pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)


async def test_the_log_of_the_crash_shows_recovery(directory: Path) -> None:
    """The control of this file: what it does to PostgreSQL is a crash, and not a shutdown."""
    with EmbeddedPostgres(directory / "data") as postgres:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE public.crash (n int); INSERT INTO public.crash VALUES (1)")
        _kill_all(postgres)
    with EmbeddedPostgres(directory / "data") as postgres:
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("SELECT n FROM public.crash") == 1
        await connection.close()
        assert "was not properly shut down; automatic recovery in progress" in postgres.log.read_text()
