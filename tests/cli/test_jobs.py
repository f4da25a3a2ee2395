"""``ordino jobs start --wait`` waits for a worker, says how far the job is, and ends with what came of it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ordino.api.server import load_stages
from ordino.cli import jobs as cli
from ordino.core import jobs
from ordino.core.database import Database
from ordino.core.errors import Invalid, NotFound
from ordino.core.job_runner import JobRunner
from ordino.core.reactions import registry
from ordino.core.settings import Settings
from ordino.warehouse.jobs import ReleaseOrders
from steps import placed
from world import World, small_world


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    load_stages()
    return await small_world(database)


async def waited(database_url: str, *order_ids: UUID) -> tuple[int | None, dict[str, Any]]:
    """The exit status of the command, and the job that it told of, while a worker runs beside it."""
    orders = msgspec.json.encode([{"order_id": order_id} for order_id in order_ids]).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ordino", "jobs", "start", "release_orders", f"orders={orders}", "--wait", "--json",
        env={"ORDINO_DATABASE_URL": database_url, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, errors = await process.communicate()
    assert b"Traceback" not in errors, errors
    return process.returncode, msgspec.json.decode(said)


async def test_it_waits_until_the_job_is_over_and_ends_with_1_if_a_row_was_refused(
    database: Database, database_url: str, world: World
) -> None:
    order_id = await placed(database, world.order("waited for"), database.clock.now())
    stop = asyncio.Event()
    working = asyncio.create_task(JobRunner(database, registry.jobs, settings=Settings()).run(stop))
    status, job = await waited(database_url, order_id)
    assert (status, job["state"], job["done"], job["refused"]) == (0, "done", 1, 0)
    status, job = await waited(database_url, order_id, UUID(int=1))
    assert (status, job["state"], job["done"], job["refused"]) == (1, "done", 2, 1)
    stop.set()
    await working


async def test_who_waits_without_a_worker_is_told_so(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "HINT_SECONDS", 0.2)
    sent = ReleaseOrders(orders=[])
    kind, at = registry.jobs["release_orders"], database.clock.now()
    job = await database.transact(lambda tx: jobs.start(tx, kind, sent, at=at))
    waiting = asyncio.create_task(cli.wait_for(database, job))
    await asyncio.sleep(1)
    await database.transact(lambda tx: jobs.cancel(tx, job.job_id))
    assert (await waiting).state is jobs.State.CANCELLED
    assert "No worker has begun it yet" in capsys.readouterr().err


def test_fields_are_json_or_text_and_beside_a_body(tmp_path: Any) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"reason": "late", "orders": []}')
    said = cli.body_of("cancel_orders", ["reason=fraud", 'orders=[{"order_id": 1}]', "note=1=2"], body)
    assert said == {"kind": "cancel_orders", "reason": "fraud", "orders": [{"order_id": 1}], "note": "1=2"}
    for odd in ("reason", "=x"):
        with pytest.raises(Invalid, match="FIELD=VALUE"):
            cli.body_of("cancel_orders", [odd], None)
    with pytest.raises(NotFound):
        cli.body_of("cancel_orders", [], tmp_path / "nothing")
    body.write_text("[]")
    with pytest.raises(Invalid, match="one JSON object"):
        cli.body_of("cancel_orders", [], body)
