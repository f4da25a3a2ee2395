"""Files that other systems drop: taken in once, with a report that a person can read, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from ordino.cli.running import prepare
from ordino.core.database import Database
from ordino.inventory.folder import Folder
from steps import assert_clean, stock
from world import World, small_world


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=1, stock={})


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Folder:
    return Folder(database, tmp_path, still_seconds=0)


async def on_hand(database: Database, world: World, sku: int = 0) -> int:
    return (await stock(database, world.sku_ids[world.skus[sku]], world.location_ids[world.location]))[0]


def drop(folder: Path, name: str, text: str) -> Path:
    path = folder / "incoming" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


async def test_files_are_taken_in_and_reported(
    database: Database, world: World, folder: Folder, tmp_path: Path
) -> None:
    here = world.location
    drop(
        tmp_path,
        "counts-monday.csv",
        f"sku;location;on_hand\n{world.sku};{here};9\nnone;{here};1\n{world.sku};{here};-1\n",
    )
    drop(tmp_path, "Receipts 7.ndjson.gz", f'{{"sku": "{world.skus[1]}", "location": "{here}", "quantity": 4}}\n')
    drop(tmp_path, "stock.csv", "x\n")
    drop(tmp_path, "adjustments.csv", "sku,location\n")
    drop(tmp_path, ".hidden", "x")
    assert await folder.sweep() == 4
    assert (await on_hand(database, world), await on_hand(database, world, 1)) == (9, 4)
    done = {path.name for path in (tmp_path / "done").iterdir()}
    assert done == {
        "counts-monday.csv", "counts-monday.csv.report.txt", "Receipts 7.ndjson.gz", "Receipts 7.ndjson.gz.report.txt",
    }  # fmt: skip
    told = (tmp_path / "done" / "counts-monday.csv.report.txt").read_text().splitlines()
    assert told[1] == "3 rows: 1 applied, 0 unchanged, 2 refused."
    assert told[3:] == [
        "  line 3: sku: The SKU 'none' does not exist.",
        "  line 4: on_hand: '-1' is refused. Expected a whole number that is at least 0.",
    ]
    failed = tmp_path / "failed"
    assert "does not say what it holds" in (failed / "stock.csv.report.txt").read_text()
    assert "lacks delta, reason" in (failed / "adjustments.csv.report.txt").read_text()
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == [".hidden"]
    assert await folder.sweep() == 0
    await assert_clean(database)


async def test_the_same_file_again_changes_nothing(
    database: Database, world: World, folder: Folder, tmp_path: Path
) -> None:
    text = f"sku,location,delta,reason\n{world.sku},{world.location},5,found\n"
    for _ in range(2):
        drop(tmp_path, "adjustments.csv", text)
        await folder.sweep()
    assert await on_hand(database, world) == 5
    drop(tmp_path, "adjustments.csv", text + "\n" + text.splitlines()[1] + "\n")
    await folder.sweep()
    assert await on_hand(database, world) == 15  # another file
    assert {path.name for path in (tmp_path / "done").glob("*.csv")} == {
        "adjustments.csv", "2-adjustments.csv", "3-adjustments.csv",
    }  # fmt: skip


@pytest.mark.parametrize("how", ["truncated gzip", "bad byte"])
async def test_of_a_broken_file_nothing_is_applied_and_the_whole_one_is_applied_once(
    database: Database, world: World, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("ordino.inventory.feed.ROWS_AT_ONCE", 4)
    text = "sku,location,quantity\n" + f"{world.sku},{world.location},1\n" * 10
    name = "receipts.csv.gz" if how == "truncated gzip" else "receipts.csv"
    path = drop(tmp_path, name, text)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] if how == "truncated gzip" else whole + b"\xff\xfe\n")
    assert await folder.sweep() == 1
    told = (tmp_path / "failed" / f"{name}.report.txt").read_text()
    assert f"Nothing of '{name}' was applied." in told
    feeds = "SELECT count(*) FROM inventory.stock WHERE sku_id = $1"
    assert await database.pool.fetchval(feeds, world.sku_ids[world.sku]) == 0
    for _ in range(2):
        drop(tmp_path, name, text).write_bytes(whole)
        assert await folder.sweep() == 1
        assert await on_hand(database, world) == 10
    await assert_clean(database)


async def test_a_file_that_still_grows_is_left_alone(database: Database, world: World, tmp_path: Path) -> None:
    patient = Folder(database, tmp_path, still_seconds=0.15)
    path = drop(tmp_path, "receipts.csv", "sku,location,quantity\n")
    for _ in range(4):
        with path.open("a") as file:
            file.write(f"{world.sku},{world.location},1\n")
        assert await patient.sweep() == 0
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    assert await patient.sweep() == 1
    assert await on_hand(database, world) == 4


@pytest.mark.parametrize("name", ["receipts.csv", "receipts.csv.gz", "receipts.ndjson"])
async def test_an_empty_file_is_waited_for_and_never_taken_for_a_feed(
    database: Database, world: World, folder: Folder, tmp_path: Path, name: str
) -> None:
    """A program opens a file, and computes for a while before it writes."""
    text = f"sku,location,quantity\n{world.sku},{world.location},4\n"
    if name.endswith("ndjson"):
        text = f'{{"sku": "{world.sku}", "location": "{world.location}", "quantity": 4}}\n'
    path = drop(tmp_path, name, text)
    whole = path.read_bytes()
    with path.open("wb") as file:
        for _ in range(3):
            assert await folder.sweep() == 0
        file.write(whole)
    assert await folder.sweep() == 1
    assert await on_hand(database, world) == 4
    drop(tmp_path, name, "").write_bytes(b"")
    impatient = Folder(database, tmp_path, still_seconds=0, abandoned_seconds=0)
    assert await impatient.sweep() == 1
    assert "The file is empty" in (tmp_path / "failed" / f"{name}.report.txt").read_text()


async def test_of_many_watchers_one_gets_a_file(database: Database, world: World, tmp_path: Path) -> None:
    for number in range(10):
        row = f"{world.sku},{world.location},{number + 1}"
        drop(tmp_path, f"receipts-{number}.csv", f"sku,location,quantity\n{row}\n")
    taken = await asyncio.gather(*(Folder(database, tmp_path, still_seconds=0).sweep() for _ in range(4)))
    assert sum(taken) == 10
    assert await on_hand(database, world) == 55


async def test_what_a_dead_watcher_left_is_taken_up_again(database: Database, world: World, tmp_path: Path) -> None:
    path = drop(tmp_path, "receipts.csv", f"sku,location,quantity\n{world.sku},{world.location},3\n")
    (tmp_path / "working").mkdir()
    left = path.rename(tmp_path / "working" / path.name)
    folder = Folder(database, tmp_path, still_seconds=0, abandoned_seconds=60)
    assert await folder.sweep() == 0  # somebody may be at it
    old = time.time() - 61
    os.utime(left, (old, old))
    assert await folder.sweep() == 1
    assert await on_hand(database, world) == 3


async def test_a_killed_feed_is_sent_again_and_applied_once(
    database: Database, database_url: str, world: World, tmp_path: Path
) -> None:
    rows = 60_000
    await prepare(database_url)
    path = tmp_path / "receipts-big.csv"
    lines = (f"{world.skus[n % 3]},{world.location},1\n" for n in range(rows))
    path.write_text("sku,location,quantity\n" + "".join(lines))
    environment = {**os.environ, "ORDINO_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "ordino", "stock", "feed", str(path)]
    sets = "SELECT count(*) FROM inventory.feed_sets WHERE feed LIKE 'receipts-big.csv %'"
    for killed_at in (2, 5):
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)
        while process.returncode is None and await database.pool.fetchval(sets) < killed_at:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert process.returncode is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        await process.wait()
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == 0
    assert f"{rows} rows: {rows} applied, 0 unchanged, 0 refused." in told.decode()
    assert sum([await on_hand(database, world, n) for n in range(3)]) == rows
    actor = "SELECT DISTINCT actor FROM inventory.moves WHERE sku_id = $1"
    assert await database.pool.fetchval(actor, world.sku_ids[world.sku]) == "file receipts-big.csv"
    await assert_clean(database)
