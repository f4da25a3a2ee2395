"""Who makes calls to the world outside, and what waits, is told where a person looks."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from api.test_api import application, calling
from ordino.api.server import load_stages
from ordino.core import accounts
from ordino.core.database import Database
from ordino.core.events import Due, enqueue
from ordino.core.statements import statements

sql = statements("ordino.core")


async def test_effects_that_nobody_takes_and_accounts_that_are_paused_are_told(
    database: Database, database_url: str
) -> None:
    load_stages()
    at = database.clock.now()
    due = [Due("send", uuid4(), uuid4(), at - timedelta(hours=n)) for n in (3, 1, -1)]
    await database.transact(lambda tx: enqueue(tx, due, at=at))
    await database.transact(lambda tx: sql.take_effects(tx, kinds=["authorize"], at=at))
    await database.transact(lambda tx: sql.take_effects(tx, kinds=["send"], at=at - timedelta(minutes=6)))
    await database.transact(lambda tx: accounts.pause(tx, "mail server x:25", "It is away.", at=at, tried=False))
    async with calling(application(database_url)) as client:
        answer = (await client.get("/v1/effects")).json()
    effects = {effect["kind"]: effect for effect in answer["effects"]}
    assert set(effects) == {"authorize", "capture", "refund", "send", "void"}
    assert {kind for kind, effect in effects.items() if effect["taken"]} == {"authorize"}
    assert (effects["send"]["due"], effects["authorize"]["due"]) == (2, 0)
    assert effects["send"]["due_since"] == (at - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
    [pause] = answer["paused_accounts"]
    assert (pause["account"], pause["failures"], pause["reason"]) == ("mail server x:25", 1, "It is away.")
