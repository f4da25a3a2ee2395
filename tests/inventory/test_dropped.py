"""Whatever somebody puts into the watched folder, the watch goes on: it is taken in, or moved aside once with a report."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ordino.core.database import Database
from ordino.core.errors import Unavailable
from ordino.inventory import dropped
from ordino.inventory import folder as of_folder
from ordino.inventory.dropped import NAME_BYTES, REPORT, safe_name
from ordino.inventory.folder import Folder
from steps import stock
from world import World, small_world


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=1, stock={})


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Folder:
    (tmp_path / "incoming").mkdir()
    return Folder(database, tmp_path, still_seconds=0)


def row(world: World, quantity: int) -> str:
    return f"sku,location,quantity\n{world.sku},{world.location},{quantity}\n"


async def on_hand(database: Database, world: World) -> int:
    return (await stock(database, world.sku_ids[world.sku], world.location_ids[world.location]))[0]


def names(path: Path) -> set[str]:
    return {one.name for one in path.iterdir()}


async def taken_in_beside(database: Database, world: World, folder: Folder, path: Path, quantity: int = 5) -> None:
    """An ordinary file that lies beside is taken in, and nothing is left where files wait."""
    (path / "incoming" / "receipts-sound.csv").write_text(row(world, quantity))
    await folder.sweep()
    assert await on_hand(database, world) == quantity
    assert not names(path / "incoming") | names(path / "working")
    assert await folder.sweep() == 0


@pytest.mark.parametrize(
    "name",
    [
        b"receipts-caf\xe9.csv",
        b"receipts-\xff\xfe.csv.gz",
        b"receipts-\n\x1b[2J.csv",
        b"\xff",
        b"receipts-\xed\xa0\x80.csv",
    ],
)
async def test_a_name_that_is_not_utf_8_or_cannot_be_shown_is_dealt_with_once(
    database: Database, world: World, folder: Folder, tmp_path: Path, name: bytes
) -> None:
    incoming = os.fsencode(tmp_path / "incoming")
    with open(incoming + b"/" + name, "w") as file:  # noqa: ASYNC230
        file.write(row(world, 1))
    expected = 6 if b"receipts" in name else 5  # gzip is recognized, and its absence, too
    (tmp_path / "incoming" / "receipts-sound.csv").write_text(row(world, 5))
    await folder.sweep()
    assert await on_hand(database, world) == expected
    ended = names(tmp_path / "done") | names(tmp_path / "failed")
    assert len(ended) == 4
    for one in ended:
        assert one.encode().isascii() or one.isprintable()
    assert not names(tmp_path / "incoming") | names(tmp_path / "working")
    assert await folder.sweep() == 0


@pytest.mark.parametrize("name", ["receipts-" + "x" * 242 + ".csv", "receipts-" + "ä" * 120 + ".csv", "y" * 255])
async def test_a_name_of_any_length_is_dealt_with_and_its_report_fits(
    database: Database, world: World, folder: Folder, tmp_path: Path, name: str
) -> None:
    for quantity in (1, 2):  # twice, so that a number stands before the name
        (tmp_path / "incoming" / name).write_text(row(world, quantity))
        await folder.sweep()
    told = tmp_path / ("done" if name.startswith("receipts") else "failed")
    assert len([one for one in names(told) if one.endswith(REPORT)]) == 2
    if name.startswith("receipts"):
        assert await on_hand(database, world) == 3
    assert not names(tmp_path / "incoming") | names(tmp_path / "working")


@pytest.mark.parametrize(
    "what", ["link", "dangling link", "hard link", "pipe", "socket", "device", "link to the folder"]
)
async def test_only_ordinary_files_are_read(
    database: Database, world: World, folder: Folder, tmp_path: Path, what: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root:secret:1\n")
    bait = tmp_path / "incoming" / "receipts-bait.csv"
    if what == "link":
        bait.symlink_to(secret)
    elif what == "dangling link":
        bait.symlink_to(tmp_path / "nothing")
    elif what == "link to the folder":
        bait.symlink_to(tmp_path)
    elif what == "hard link":
        bait.hardlink_to(secret)
    elif what == "pipe":
        os.mkfifo(bait)
    elif what == "socket":
        socket.socket(socket.AF_UNIX).bind(str(bait)[-100:] if len(str(bait)) < 100 else _bound(bait))
    else:
        try:
            os.mknod(bait, 0o020600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    async with asyncio.timeout(20):
        await taken_in_beside(database, world, folder, tmp_path)
    assert os.path.lexists(tmp_path / "failed" / bait.name)  # noqa: ASYNC240
    told = (tmp_path / "failed" / f"{bait.name}{REPORT}").read_text()
    assert "only ordinary files are read" in told or "has another name elsewhere" in told
    assert "root:" not in told
    assert secret.read_text() == "root:secret:1\n"


def _bound(path: Path) -> str:
    pytest.skip(f"{path} is too long for a socket")


async def test_a_link_that_waits_where_the_report_goes_is_not_written_through(
    database: Database, world: World, folder: Folder, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / f"receipts-sound.csv{REPORT}").symlink_to(target)
    await taken_in_beside(database, world, folder, tmp_path)
    assert target.read_text() == "precious"
    assert f"2-receipts-sound.csv{REPORT}" in names(tmp_path / "done")


async def test_other_folders_are_left_alone(database: Database, world: World, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "incoming" / "receipts.csv").mkdir()
    (tmp_path / "incoming" / "receipts-sound.csv").write_text(row(world, 5))
    assert await folder.sweep() == 1
    assert names(tmp_path / "incoming") == {"receipts.csv"}


@pytest.mark.parametrize("how", ["unreadable", "vanishing", "broken disk", "fault"])
async def test_what_cannot_be_read_is_moved_aside_once_and_what_is_gone_is_forgotten(
    database: Database, world: World, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    faults = {
        "unreadable": PermissionError(errno.EACCES, "Permission denied"),
        "broken disk": OSError(errno.EIO, "Input/output error"),
        "fault": RuntimeError("a fault of ours"),
        "vanishing": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    }
    really = dropped.open_dropped

    def opened(path: Path) -> Any:
        if "bad" not in path.name:
            return really(path)
        if how == "vanishing":
            path.unlink()
        raise faults[how]

    monkeypatch.setattr(of_folder, "open_dropped", opened)
    (tmp_path / "incoming" / "receipts-bad.csv").write_text(row(world, 1))
    await taken_in_beside(database, world, folder, tmp_path)
    if how == "vanishing":
        assert not names(tmp_path / "failed")
    else:
        told = (tmp_path / "failed" / f"receipts-bad.csv{REPORT}").read_text()
        assert {"unreadable": "Permission denied", "broken disk": "Input/output", "fault": "a fault here"}[how] in told


@pytest.mark.parametrize("how", ["grows", "changes"])
async def test_of_a_file_that_changes_while_it_is_read_nothing_is_applied(
    database: Database, world: World, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "incoming" / "receipts-moving.csv"
    path.write_text(row(world, 7))
    writer = path.open("r+")
    really = of_folder.digest_of

    def digest_of(path: Path, *more: Any) -> str:
        found = really(path, *more)
        if how == "grows":
            writer.seek(0, os.SEEK_END)
            writer.write(f"{world.sku},{world.location},1\n")
        else:
            writer.write(row(world, 8))
        writer.close()
        return found

    monkeypatch.setattr(of_folder, "digest_of", digest_of)
    assert await folder.sweep() == 1
    assert "was changed while it was read" in (tmp_path / "failed" / f"receipts-moving.csv{REPORT}").read_text()
    count = "SELECT count(*) FROM inventory.stock WHERE sku_id = $1"
    assert await database.pool.fetchval(count, world.sku_ids[world.sku]) == 0


@pytest.mark.parametrize("failing", ["report", "archive"])
async def test_a_full_disk_or_a_missing_archive_ends_nothing(
    database: Database, world: World, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    really = Path.open
    full = OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Path, *how: Any, **more: Any) -> Any:
        if path.name.endswith(REPORT):
            raise full
        return really(path, *how, **more)

    if failing == "report":
        monkeypatch.setattr(Path, "open", opened)
    else:
        moves = of_folder.move_aside

        def move(working: Path, to: Path, text: str) -> str | None:
            shutil.rmtree(to)  # between the look at the folders and the move
            return moves(working, to, text)

        monkeypatch.setattr(of_folder, "move_aside", move)
    await taken_in_beside(database, world, folder, tmp_path)
    assert "receipts-sound.csv" in names(tmp_path / "done")
    assert (failing == "report") == ("No space left" in caplog.text)


async def test_a_file_that_cannot_be_moved_is_told_once_and_keeps_no_other_waiting(
    database: Database, world: World, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    really = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "receipts-a.csv":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return really(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    for name in ("receipts-a.csv", "receipts-b.csv"):
        (tmp_path / "incoming" / name).write_text(row(world, 5))
    for _ in range(3):
        await folder.sweep()
    assert await on_hand(database, world) == 5
    assert caplog.text.count("receipts-a.csv cannot be moved") == 1


async def test_while_the_database_is_away_a_file_waits(
    database: Database, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = Folder(database, tmp_path, still_seconds=0, abandoned_seconds=-3600)
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "receipts.csv").write_text(row(world, 5))

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(of_folder, "feed", away)
        await impatient.sweep()
    assert names(tmp_path / "working") == {"receipts.csv"}
    assert not names(tmp_path / "failed")
    await impatient.sweep()
    assert await on_hand(database, world) == 5


async def test_nothing_ends_the_watch(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watching, stop, sweeps = Folder(database, tmp_path), asyncio.Event(), 0

    async def sweep() -> int:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 3:
            stop.set()
            return 0
        raise ValueError("embedded null byte")

    monkeypatch.setattr(of_folder, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watching, "sweep", sweep)
    await asyncio.wait_for(watching.watch(stop), 20)
    assert sweeps == 3
    assert "could not be swept" in caplog.text


def test_names_that_are_changed_stay_apart_and_fit() -> None:
    raw = [
        b"a\xff.csv",
        b"a\xfe.csv",
        b"a_.csv",
        b"x" * 255,
        b"x" * 254 + b"y",
        ("ä" * 127).encode(),
        b"b" * 250 + b".csv",
    ]
    safe = [safe_name(os.fsdecode(one)) for one in raw]
    assert len(set(safe)) == len(raw)
    assert all(len(one.encode()) <= NAME_BYTES for one in safe)
    assert safe[2] == "a_.csv"
    assert safe[6].endswith(".csv")
