"""``ordino sourcing`` as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ordino.cli.running import load_stages
from ordino.core.database import Database
from ordino.flows import versions as flows
from ordino.flows.document import packaged
from ordino.flows.versions import flow_plans
from ordino.orders.allocate import allocate
from ordino.orders.place import place
from ordino.warehouse.release import release
from processes import CEILING_SECONDS
from steps import in_one
from world import World, small_world


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, prefix="cli-", locations=3, skus=1)


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> object:
    def ordino(*words: str, fails: bool = False) -> str:
        environment = {**os.environ, "ORDINO_DATABASE_URL": database_url}
        done = subprocess.run(
            [sys.executable, "-m", "ordino", "sourcing", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=CEILING_SECONDS,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    return ordino


async def test_a_profile_is_checked_tried_activated_and_explained(
    database: Database, world: World, run: object, tmp_path: Path
) -> None:
    assert callable(run)
    wrong, right = tmp_path / "wrong.yaml", tmp_path / "right.yaml"
    wrong.write_text("name: x\nstrategies:\n  - name: s\n    split: sometimes\n")
    assert f"{wrong}: Line 4: `split` is never" in run("validate", str(wrong), fails=True)
    right.write_text(
        f"name: far\nfor: {{channels: [{world.channel}]}}\nstrategies:\n  - name: s\n    ranked: [{{location: [cli-loc-3]}}]\n"
    )
    assert "1 strategy." in run("validate", str(right))
    [placed] = await in_one(database, place, [world.order("before")], datetime.now(UTC))
    now = datetime.now(UTC)
    since, until = ((now + timedelta(hours=h)).strftime("%Y-%m-%dT%H:%M:%SZ") for h in (-2, 2))
    report = json.loads(
        run("replay", "--profile", str(right), "--from", since, "--to", until, "--channel", world.channel, "--json")
    )
    assert (report["orders"], report["after"]["load"]) == (1, {"cli-loc-3": 1})
    shown = run("replay", "--profile", str(right), "--from", since, "--to", until, "--channel", world.channel)
    assert "1 of 1 orders differ" in shown
    assert "1 cli-loc-3" in shown  # where it would have come from
    assert "is kept" in run("draft", str(right))
    version = str(json.loads(run("list", "--json"))[0]["version"])
    run("activate", version)
    assert json.loads(run("list", "--json"))[0]["active"]
    assert run("show", version) == right.read_text()
    assert "from cli-loc-3" in run("preview", world.channel, "US", "43215", world.sku)
    assert "from cli-loc-1" in run("why", str(placed.order_id))
    assert run("why", str(placed.order_id), "--not-from", "cli-loc-3").startswith("Not from cli-loc-3")
    options = json.loads(run("promise", world.channel, "US", "43215", f"{world.sku}=2", "--json"))
    assert options["delivery"][0]["legs"][0]["location"] == "cli-loc-3"
    assert "orders come from elsewhere" in run("reevaluate")
    run("outlook", "--weeks", "1")
    assert json.loads(run("capacity", "--json")) == []
    assert json.loads(run("schema"))["title"] == "Routing profile"
    run("retire", "far")


async def test_refused_work_is_sourced_again_until_a_person_is_asked(
    database: Database, database_url: str, world: World, run: object, tmp_path: Path
) -> None:
    assert callable(run)
    load_stages()
    now = datetime.now(UTC)
    flow = await database.transact(lambda tx: flows.draft(tx, packaged(), at=now))
    await database.transact(lambda tx: flows.activate(tx, flow, at=now))
    path = tmp_path / "once.yaml"
    path.write_text(f"name: once\nfor: {{channels: [{world.channel}]}}\nstrategies: [{{name: s}}]\nmost_tries: 1\n")
    run("draft", str(path))
    run("activate", str(json.loads(run("list", "--json"))[0]["version"]))
    async with await Database.open(database_url, plans=flow_plans()) as flowing:
        [order] = await in_one(flowing, place, [world.order("refused", 2)], now)
        await in_one(flowing, release, [order.order_id], now)
    assert "one of damaged" in run("reject", str(order.order_id), "cli-loc-1", "--reason", "bored", fails=True)
    assert "2 units go back" in run("reject", str(order.order_id), "cli-loc-1")
    assert "Nothing of the order is open" in run("reject", str(order.order_id), "cli-loc-1", fails=True)
    async with await Database.open(database_url, plans=flow_plans()) as flowing:
        await flowing.transact(lambda tx: allocate(tx, [order.order_id], at=datetime.now(UTC)))
    [open_] = json.loads(run("exceptions", "--json"))
    assert (open_["order_id"], open_["units"]) == (str(order.order_id), 2)
    assert f"2 x {world.sku} (line 1) of refused wait. Fulfillment failed once; not asked again: cli-loc-1." in run(
        "exceptions"
    )
    assert run("resolve", open_["exception_id"], "cancel") == "Resolved: cancel.\n"
    assert json.loads(run("exceptions", "--json")) == []
    assert json.loads(run("exceptions", "--all", "--json"))[0]["resolved_by"] == "ordino sourcing"
    assert isinstance(json.loads(run("reevaluations", "--json")), list)
    assert "is no line" in run("promise", world.channel, "US", "43215", f"{world.sku}=x", fails=True)
    assert "is no line" in run("preview", world.channel, "US", "43215", f"{world.sku}=0", fails=True)
    assert "1 week" in run("outlook", "--weeks", "0", fails=True)
    assert "outside of the years 1990 to 2200" in run("capacity", "--first", "9999-12-20", fails=True)
    run("retire", "once")
