"""`/ready` says whether the process can do its work, and names the cause where it cannot."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from litestar import Litestar

from conftest import command, database_at, finish
from ordino.api.server import load_stages
from ordino.cli.running import prepare
from ordino.core import lookout, readiness
from ordino.core.connecting import Limits
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.settings import Settings
from steps import application, calling, order_body
from wire import wire_to

NAME_OF_FULL = "full_disk"
DISK_BYTES = 64 * 1024 * 1024


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as client:
        yield client


async def cause(client: AsyncClient) -> str:
    """Why it is not ready, without anything that is nobody's business."""
    answer = await client.get("/ready")
    assert answer.status_code == 503, answer.text
    told: str = answer.json()["detail"]
    assert "/" not in told.replace("pg_hba.conf", "")
    assert "base" not in told.replace("database", "")
    return told


async def test_it_is_ready_after_a_test_write(client: AsyncClient, database: Database) -> None:
    before = await database.pool.fetchval("SELECT max(written_at) FROM core.test_writes")
    assert (await client.get("/ready")).json() == {"status": "ready"}
    after = await database.pool.fetchval("SELECT max(written_at) FROM core.test_writes")
    assert after is not None
    assert before is None or after > before


async def test_a_prober_cannot_load_the_database(
    client: AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 60.0)
    assert (await client.get("/ready")).status_code == 200
    written = await database.pool.fetch("SELECT * FROM core.test_writes ORDER BY slot")
    answers = await asyncio.gather(*(client.get("/ready") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert await database.pool.fetch("SELECT * FROM core.test_writes ORDER BY slot") == written
    assert len(written) <= readiness.SLOTS


async def test_the_test_write_needs_room(database: Database) -> None:
    """Otherwise a full disk would not be noticed: an update may fit where there is room already."""

    connection = await database.pool.acquire()
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL work_mem = '64kB'")
            plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_text('try_room')}")
    finally:
        await database.pool.release(connection)
    assert json.loads(plan)[0]["Plan"]["Temp Written Blocks"] > 0


def _text(name: str) -> str:
    text: str = getattr(readiness.sql, name).text
    return text


async def test_a_database_that_is_read_only_is_named(client: AsyncClient, database: Database) -> None:
    name = await database.pool.fetchval("SELECT current_database()")
    await database.pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        await _end_sessions(database)
        async with asyncio.timeout(60):
            while "read-only" not in (told := await cause(client)):  # a session that was ended may be told of first
                assert "connection" in told
    finally:
        await database.pool.execute(f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET ALL")
        await _end_sessions(database)
    await _becomes_ready(client)


async def _end_sessions(database: Database) -> None:
    await database.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'ordino'"
    )


async def _becomes_ready(client: AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await client.get("/ready")).status_code != 200:  # noqa: ASYNC110 - the database moves
            await asyncio.sleep(0.1)


async def test_too_many_connections_are_named(cluster: EmbeddedPostgres, database_url: str) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    async with calling(application(database_url)) as client:
        assert (await client.get("/ready")).status_code == 200
        await command(
            cluster.url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        held: list[Any] = []
        try:
            while True:
                held.append(await asyncpg.connect(cluster.url))
        except asyncpg.TooManyConnectionsError:
            assert "takes no more connections" in await cause(client)
        finally:
            for connection in held:
                await connection.close()
        await _becomes_ready(client)


async def test_a_silent_database_is_named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "DOUBT_SECONDS", 1e9)
    async with wire_to(database_url) as wire, calling(_behind(wire.url)) as client:
        assert (await client.get("/ready")).status_code == 200
        wire.silence()
        assert "did not answer" in await cause(client)
        assert (await client.get("/health")).status_code == 200
        wire.forward()
        await _becomes_ready(client)


def _behind(url: str, *, batch_seconds: float = 60.0) -> Litestar:
    limits = Limits(connect_seconds=1.5, statement_seconds=batch_seconds, batch_seconds=batch_seconds)
    return application(url, Settings(batch_timeout_seconds=batch_seconds), limits=limits)


async def test_lanes_that_do_not_move_are_named(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database answers everybody else."""
    monkeypatch.setattr(lookout, "DOUBT_SECONDS", 1e9)
    monkeypatch.setattr(readiness, "STALLED_SECONDS", 1.0)
    load_stages()
    async with wire_to(database_url) as wire, calling(_behind(wire.url)) as client:
        assert (await client.get("/ready")).status_code == 200
        wire.spoil_at("BEGIN;", "down")
        sent = asyncio.create_task(client.post("/v1/orders", json=order_body("stuck-1")))
        await wire.spoiled.wait()
        await asyncio.sleep(1.5)  # the answer has come and is lost
        wire.forward()
        assert "Orders that are being placed do not come to an end" in await cause(client)
        wire.cut()
        assert (await sent).status_code == 503
        await _becomes_ready(client)


async def test_a_newer_database_keeps_a_running_server_ready_and_an_edited_revision_does_not(
    client: AsyncClient, database: Database
) -> None:
    await database.pool.execute("INSERT INTO migrations.applied (revision, checksum) VALUES ('9999', 'of the future')")
    assert (await client.get("/ready")).status_code == 200
    await database.pool.execute("DELETE FROM migrations.applied WHERE revision = '9999'")
    checksum = await database.pool.fetchval("SELECT checksum FROM migrations.applied WHERE revision = '0002'")
    await database.pool.execute("UPDATE migrations.applied SET checksum = 'another' WHERE revision = '0002'")
    assert "Revision 0002" in await cause(client)
    await database.pool.execute("UPDATE migrations.applied SET checksum = $1 WHERE revision = '0002'", checksum)
    assert (await client.get("/ready")).status_code == 200


@pytest.fixture
def small_disk(cluster: EmbeddedPostgres) -> Iterator[Path]:
    """A disk of its own for one database. Only root can make one."""
    directory = Path(tempfile.mkdtemp(prefix="ordino-disk-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode:
        shutil.rmtree(directory)
        pytest.skip("a small disk can be made by root on Linux only")
    owner = cluster.cluster.stat()
    place = directory / "space"
    place.mkdir(mode=0o700)
    shutil.chown(place, owner.st_uid, owner.st_gid)
    directory.chmod(0o711)
    yield place
    finish(command(cluster.url, f"DROP DATABASE IF EXISTS {NAME_OF_FULL} WITH (FORCE)"))
    finish(command(cluster.url, "DROP TABLESPACE IF EXISTS small"))
    subprocess.run(["umount", "-l", directory], check=False)
    shutil.rmtree(directory, ignore_errors=True)


async def test_a_full_disk_is_named_and_nothing_is_half_done(cluster: EmbeddedPostgres, small_disk: Path) -> None:
    await command(cluster.url, f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    await command(cluster.url, f"CREATE DATABASE {NAME_OF_FULL} TABLESPACE small")
    url = database_at(cluster.url, NAME_OF_FULL)
    await prepare(url)
    filler = small_disk / "filler"
    async with calling(application(url)) as client:
        assert (await client.get("/ready")).status_code == 200
        _fill(filler)
        assert await cause(client) == "The database's disk is full: free some space on it."
        rows = [{"code": f"full-{n}", "name": "F" * 100} for n in range(5000)]
        answer = await client.put("/v1/skus", json=rows)
        assert answer.status_code == 503, answer.text
        assert (
            answer.json()["detail"]
            == "The database's disk is full: free some space on it. Nothing was changed; try again."
        )
        filler.unlink()
        await _becomes_ready(client)
        assert (await client.get("/v1/skus")).json()["skus"] == []
        assert (await client.put("/v1/skus", json=rows)).status_code == 200


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
