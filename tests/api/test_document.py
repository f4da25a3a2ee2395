"""The API does what its document says, whatever is sent: requests made from the document, to a real server."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from ordino.cli.bench import world
from ordino.core import keys
from ordino.core.database import Database
from ordino.core.events import Event, record
from ordino.core.log import sequence
from ordino.inventory.events import StockReceived

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOO_LONG = "/v1/availability"
"""A thousand SKUs of any characters make a URL that the HTTP server refuses by itself, before the application sees it."""
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"


@pytest.mark.parametrize(
    ("phases", "examples", "more"),
    [
        ("fuzzing", 10, ["--seed", "1"]),
        pytest.param("coverage,fuzzing", 60, ["--exclude-path", TOO_LONG], marks=pytest.mark.proof),
    ],
    ids=["some", "many"],
)
async def test_answers_are_those_of_the_document(
    database: Database, database_url: str, tmp_path: Path, phases: str, examples: int, more: list[str]
) -> None:
    if not await database.pool.fetchval("SELECT count(*) FROM catalog.skus"):
        await world.fill(database_url, skus=100)
    await database.transact(lambda tx: record(tx, [Event(uuid4(), uuid4(), AT, StockReceived(sku_ids=[]), 0)]))
    while await sequence(database):  # else whoever reads the events would wait for the first one
        pass
    _, token = await database.transact(lambda tx: keys.make(tx, "anybody", ["admin"], at=database.clock.now()))
    async with world.serving(database_url, tmp_path) as server:
        run = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/schema/openapi.json",
            "--header", f"Authorization: Bearer {token}", "--checks", CHECKS, "--phases", phases,
            "--max-examples", str(examples), *more, "--no-color",
            cwd=tmp_path, env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await run.communicate()
    assert run.returncode == 0, said.decode()[-20_000:]
