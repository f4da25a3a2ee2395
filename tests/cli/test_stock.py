"""``ordino stock``: the stock from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ordino.cli.running import prepare
from ordino.core.database import Database
from processes import CEILING_SECONDS
from steps import assert_clean
from world import World, small_world


@pytest.fixture
async def world(database: Database, database_url: str) -> World:
    await prepare(database_url)
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=2, locations=2, stock=10)


def ordino(url: str, *words: str, body: Any = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "ordino", "stock", *words],
        input=None if body is None else json.dumps(body),
        env={**os.environ, "ORDINO_DATABASE_URL": url, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=CEILING_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_everything_that_the_api_does_can_be_done(
    database: Database, database_url: str, world: World, tmp_path: Path
) -> None:
    def sure(*words: str, body: Any = None) -> str:
        code, said = ordino(database_url, *words, body=body)
        assert code == 0, said
        return said

    sku, here, there = world.sku, *world.locations
    sure("apply", "buffers", body={"code": f"b {sku}", "sku": sku, "units": 3})
    assert "10 on hand - 3 buffer" in sure("available", sku, "--channel", world.channel)
    line = {"sku": sku, "quantity": 2}
    [held] = json.loads(sure("apply", "holds", body={"channel": world.channel, "lines": [line]}))
    [sent] = json.loads(sure("apply", "transfers", body=[{"origin": here, "destination": there, "lines": [line]}]))
    sure("apply", "transfer_shipments", body={"transfer_id": sent["transfer_id"], "all": True})
    assert sent["transfer_id"] in sure("transfers")
    shown = json.loads(sure("show", sku, "--json"))
    assert [position["on_hand"] for position in shown["positions"]] == [8, 10]
    assert "are free" in sure("release", held["hold_id"])
    soon = (datetime.now(UTC) + timedelta(days=100)).date().isoformat()
    when = {"document": f"PO {sku}", "sku": sku, "location": here, "quantity": 5, "expected_at": f"{soon}T00:00:00Z"}
    sure("apply", "incoming", body=when)
    assert soon in sure("future", sku, "--channel", world.channel)
    sure("apply", "count_plans", body={"code": f"p {sku}", "location": here})
    assert sku in sure("sheet", f"p {sku}", "--sku", sku)
    assert f"p {sku}" in sure("sheets", "--location", here)
    code, said = ordino(
        database_url, "apply", "set_asides", body={"sku": sku, "location": here, "quantity": 99, "condition": "damaged"}
    )
    assert (code, json.loads(said)[0]["reason"]) == (1, "reserved")
    for wrong in (
        ("apply", "nothing"),
        ("apply", "buffers", "no-such-file"),
        ("show", "nothing"),
        ("history", sku, "--at", "noon"),
    ):
        code, said = ordino(database_url, *wrong)
        assert code != 0, wrong
        assert "Traceback" not in said
    code, said = ordino(database_url, "apply", "buffers", body={"code": 1})
    assert "Expected text, but got a whole number" in said
    assert "bin_moves" in sure("apply", "list")
    assert "this machine" not in sure("moves", sku, "--location", here)
    assert "sent" in sure("moves", sku, "--location", here)
    path = tmp_path / "counts-x.csv"
    path.write_text(f"sku;location;on_hand\n{sku};{here};7\n{sku};nowhere;1\n")
    code, said = ordino(database_url, "feed", str(path))
    assert code == 1
    assert "line 3: location:" in said
    assert "counts-x.csv" in sure("feeds")
    await assert_clean(database)


async def test_a_carts_hold_is_found_by_its_cart_and_counts_for_it(
    database: Database, database_url: str, world: World
) -> None:
    body = {"channel": world.channel, "cart": "c-1", "lines": [{"sku": world.sku, "quantity": 20}]}
    [held] = json.loads(ordino(database_url, "apply", "holds", body=body)[1])
    [again] = json.loads(ordino(database_url, "apply", "holds", body=body)[1])
    assert (again["hold_id"], again["replaced"]) == (held["hold_id"], True)
    code, said = ordino(database_url, "holds", "--channel", world.channel, "--cart", "c-1", "--json")
    assert (code, [one["hold_id"] for one in json.loads(said)]) == (0, [held["hold_id"]])
    assert "open" in ordino(database_url, "holds", held["hold_id"])[1]
    code, said = ordino(database_url, "holds", "--cart", "c-1")
    assert code != 0
    assert "--channel and --cart" in said


def test_the_limits_that_are_set_hold_for_files_from_the_command_line(
    database_url: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names ORDINO_FEED_WASTE_LINES: whoever raises it must get the file in."""
    blank = "sku,location,on_hand\n" + "\n" * 100
    path = tmp_path / "counts-blank.csv"
    path.write_text(blank)
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "counts-blank.csv").write_text(blank)
    code, said = ordino(database_url, "feed", str(path))
    assert code == 0, said
    monkeypatch.setenv("ORDINO_FEED_WASTE_LINES", "50")
    code, said = ordino(database_url, "feed", str(path), "--name", "again")
    assert (code, "ORDINO_FEED_WASTE_LINES sets the limit" in said) == (1, True), said
    assert ordino(database_url, "watch", str(tmp_path), "--once")[0] == 0
    assert "ORDINO_FEED_WASTE_LINES" in (tmp_path / "failed" / "counts-blank.csv.report.txt").read_text()
