from __future__ import annotations

import os
import platform
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import asyncpg
import psutil
import pytest

from ordino.core import embedded
from ordino.core.embedded import (
    DirectoryInUse,
    DirectoryUnusable,
    DiskFull,
    EmbeddedPostgres,
    StartFailed,
    holder_of,
)
from ordino.core.embedded import programs as server_programs
from ordino.core.embedded.configuration import tells_errors_of_syncfs

SMALL = {"shared_buffers": "128MB"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")

HOLD = dedent("""
    import sys
    from pathlib import Path
    from ordino.core.embedded import EmbeddedPostgres
    with EmbeddedPostgres(Path(sys.argv[1]), {"shared_buffers": "128MB"}) as server:
        print(server.pid, flush=True)
        sys.stdin.read()  # until it is killed, or the test is gone
""")


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_it_starts_durable_and_only_behind_its_socket(directory: Path):
    with EmbeddedPostgres(directory, SMALL) as server:
        names = "fsync synchronous_commit full_page_writes jit listen_addresses server_encoding shared_buffers"
        found = [await ask(server.url, f"SHOW {name}") for name in names.split()]
        assert found == ["on", "on", "on", "off", "", "UTF8", "128MB"]
        assert await ask(server.url, "SELECT current_database()") == "ordino"
        assert await ask(server.url, "SELECT upper('é')") == "É"
        assert mode(directory / "socket") == 0o700
        assert mode(directory / "postgres") == 0o700
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).username() != "root"
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("system", "release", "syncs"),
    [
        ("Linux", "5.7.19", False),
        ("Linux", "5.8.0", True),
        ("Linux", "6.18.5-cloud", True),
        ("Linux", "odd", False),
        ("Darwin", "24.1", False),
    ],
)
def test_recovery_syncs_in_one_call_where_the_system_tells_its_errors(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, syncs: bool
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "release", lambda: release)
    assert tells_errors_of_syncfs() is syncs


async def test_what_was_written_is_there_after_a_restart(directory: Path):
    with EmbeddedPostgres(directory, SMALL) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedPostgres(directory, SMALL) as server:
        assert await ask(server.url, "SELECT number FROM kept") == 7


async def test_a_second_run_is_told_who_holds_the_directory(directory: Path):
    with EmbeddedPostgres(directory, SMALL) as server:
        with pytest.raises(DirectoryInUse, match=str(os.getpid())) as refused:
            EmbeddedPostgres(directory, SMALL).start()
        assert refused.value.pid == os.getpid()
        assert await ask(server.url, "SELECT 1") == 1
        holder = holder_of(directory)
        assert holder is not None
        assert holder.url == server.url
        assert str(holder) == f"another command (process {os.getpid()})"
    assert holder_of(directory) is None


def test_the_note_of_a_dead_run_is_no_obstacle(directory: Path):
    directory.mkdir(parents=True)
    if os.geteuid() == 0:
        directory.chmod(0o755)
    (directory / "lock").write_text(f"{os.getpid()}\npostgresql://gone\n`ordino up`\n")
    assert holder_of(directory) is None
    with EmbeddedPostgres(directory, SMALL, command="`ordino up` on http://127.0.0.1:8000") as server:
        holder = holder_of(directory)
        assert holder is not None
        assert (holder.pid, holder.url) == (os.getpid(), server.url)
        with pytest.raises(DirectoryInUse, match=r"`ordino up` on http://127.0.0.1:8000 \(process \d+\)\. Stop it"):
            EmbeddedPostgres(directory, SMALL).start()


async def test_a_cluster_is_made_anew_where_that_is_asked_for(directory: Path):
    with EmbeddedPostgres(directory, SMALL) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedPostgres(directory, SMALL, anew=True) as server:
        assert await ask(server.url, "SELECT to_regclass('kept')::text") is None


async def test_a_killed_server_recovers(directory: Path):
    server = EmbeddedPostgres(directory, SMALL)
    server.start()
    await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.pid is not None:
        time.sleep(0.01)
    server.stop()
    with server:
        assert await ask(server.url, "SELECT number FROM kept") == 7


async def test_a_server_orphaned_by_a_killed_run_is_replaced(directory: Path):
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        orphan = int(run.stdout.readline())
        run.kill()
    assert psutil.pid_exists(orphan)
    with EmbeddedPostgres(directory, SMALL) as server:
        assert server.pid != orphan
        assert await ask(server.url, "SELECT 1") == 1
        assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


async def test_a_process_number_that_belongs_to_another_is_left_alone(directory: Path):
    with EmbeddedPostgres(directory, SMALL):
        note = (directory / "postgres" / "postmaster.pid").read_text().splitlines()
    (directory / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *note[1:], ""]))
    with EmbeddedPostgres(directory, SMALL) as server:
        assert await ask(server.url, "SELECT 1") == 1


def test_a_forked_child_neither_stops_the_server_nor_holds_the_directory(directory: Path):
    with EmbeddedPostgres(directory, SMALL) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            time.sleep(30)
            os._exit(0)
        time.sleep(0.2)
        assert server.pid is not None
    try:
        with EmbeddedPostgres(directory, SMALL):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_an_interrupted_first_start_is_begun_anew(directory: Path):
    draft = directory / "postgres.new"
    draft.mkdir(parents=True)
    if os.geteuid() == 0:
        directory.chmod(0o755)
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(directory, SMALL) as server:
        assert server.pid
    assert not draft.exists()


def test_a_full_disk_is_said_plainly(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "ROOM_BYTES", 2**62)
    with pytest.raises(DiskFull, match="Free some space"):
        EmbeddedPostgres(directory, SMALL).start()
    assert not (directory / "postgres").exists()


def test_a_server_that_does_not_start_says_why(directory: Path):
    with pytest.raises(StartFailed, match="max_connections"):
        EmbeddedPostgres(directory, {"max_connections": "none"}).start()
    with EmbeddedPostgres(directory, SMALL) as server:
        assert server.pid


async def test_a_long_path_gets_its_socket_elsewhere(directory: Path):
    with EmbeddedPostgres(directory / ("long" * 25), SMALL) as server:
        assert await ask(server.url, "SELECT 1") == 1
        socket = server._socket
        assert socket is not None
        assert mode(socket) == 0o700
    assert not socket.exists()


@needs_root
def test_a_private_directory_above_is_refused_and_kept(directory: Path):
    directory.parent.chmod(0o700)
    with pytest.raises(DirectoryUnusable, match="ORDINO_DATA_DIRECTORY"):
        EmbeddedPostgres(directory, SMALL).start()
    assert mode(directory.parent) == 0o700


@needs_root
async def test_programs_out_of_reach_are_copied_and_no_permission_is_loosened(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    private = directory.parent / "private"
    package = server_programs.installed().parents[1]
    for part in (package, package.parent / f"{package.name}.libs"):
        if part.is_dir():
            shutil.copytree(part, private / part.name, symlinks=True)
    private.chmod(0o700)
    monkeypatch.setattr(server_programs, "installed", lambda: private / package.name / "pginstall18" / "bin")
    with EmbeddedPostgres(directory, SMALL) as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).exe().startswith(str(directory / "binaries"))
        assert await ask(server.url, "SELECT 1") == 1
    assert mode(private) == 0o700
    assert mode(directory.parent) == 0o711


@needs_root
def test_an_ordinary_user_needs_nothing_from_root(directory: Path):
    user = pwd.getpwnam("nobody")
    directory.mkdir()
    os.chown(directory, user.pw_uid, user.pw_gid)
    directory.chmod(0o700)
    child = os.fork()
    if child == 0:
        # The programs of this very Python may be out of nobody's reach; what is loaded already is not.
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            with EmbeddedPostgres(directory, SMALL) as server:
                started = server.pid is not None
            os._exit(0 if started else 1)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (directory / "postgres").stat().st_uid == user.pw_uid
    assert mode(directory) == 0o700
