"""An embedded PostgreSQL that is killed runs again in a moment; one that cannot be cured is given up with a sentence."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from ordino.core import patience
from ordino.core.embedded import EmbeddedPostgres, StartFailed
from ordino.core.patience import Patience
from ordino.core.watch import Watch

SMALL = {"shared_buffers": "128MB"}
CEILING_SECONDS = 600


def wait_for_another(server: EmbeddedPostgres, killed: int) -> None:
    deadline = time.monotonic() + CEILING_SECONDS
    while server.pid in (None, killed):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def connected(url: str) -> asyncpg.Connection:
    """Connect as soon as it lets one in."""
    deadline = time.monotonic() + CEILING_SECONDS
    while True:
        try:
            return await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("place", ["data", "long" * 25])
async def test_a_killed_server_runs_again_at_the_same_url(directory: Path, place: str) -> None:
    """With an orphan left that works on, so that its shared memory is in use, and where the socket lies elsewhere."""
    with EmbeddedPostgres(directory.parent / place, SMALL) as server, Watch(server):
        url = server.url
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        orphan = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        orphan.suspend()
        assert server.pid is not None
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        wait_for_another(server, killed)
        connection.terminate()
        again = await connected(url)
        assert await again.fetchval("SELECT number FROM kept") == 7
        await again.close()
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_server_that_is_not_watched_stays_away(directory: Path) -> None:
    """The control."""
    with EmbeddedPostgres(directory, SMALL) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        time.sleep(1)  # a watched one is there again sooner
        assert server.pid is None


def test_a_stopped_server_is_not_started_again(directory: Path) -> None:
    server = EmbeddedPostgres(directory, SMALL)
    server.start()
    with Watch(server):
        server.stop()
        server.restart()
        assert server.pid is None


def test_what_cannot_be_cured_ends_the_command_and_says_why(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TRIES", 1)
    told: list[int] = []

    def break_and_wait() -> None:
        with EmbeddedPostgres(directory, SMALL) as server, Watch(server):
            with (directory / "postgres.conf").open("a") as configuration:
                configuration.write("max_connections = 'nonsense'\n")
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            deadline = time.monotonic() + CEILING_SECONDS
            while not told:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with pytest.raises(StartFailed, match="nonsense"):
            break_and_wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_ends_soon_waits_longer_each_time_and_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Patience()
    assert [one.end() for _ in range(11)] == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, None]
    passing = Patience()
    assert [passing.end(passing=True) for _ in range(50)][10:] == [5.0] * 40
    steady = Patience()
    now = time.monotonic()
    for turn in range(1, 50):
        monkeypatch.setattr(time, "monotonic", lambda at=now + 31 * turn: at)
        assert steady.end() == 0.0
        steady.start()
