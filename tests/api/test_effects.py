"""Who makes calls to the world outside, and what waits, is told where a person looks."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

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
    assert (effects["send"]["calling"], effects["send"]["failing"]) == (0, {})
    [pause] = answer["paused_accounts"]
    assert (pause["account"], pause["failures"], pause["reason"]) == ("mail server x:25", 1, "It is away.")


@pytest.fixture
async def failing(database: Database) -> None:
    """Four charges: one is being called, one was lost, one could not be reached, and one is given up."""
    at = database.clock.now()
    await database.pool.execute("TRUNCATE core.reactions; TRUNCATE core.paused_accounts")
    due = [Due("capture", uuid4(), uuid4(), at - timedelta(hours=n)) for n in range(4)]
    await database.transact(lambda tx: enqueue(tx, due, at=at))
    for one, said in zip(
        due,
        (
            "lease = gen_random_uuid(), leased_until = now() + interval '1 minute'",
            "failure = 'answer_lost', last_error = 'It was cut.', wait_until = now() + interval '1 hour'",
            "failure = 'unavailable', last_error = 'It is away.'",
            "failure = 'answer_lost', last_error = 'It was cut.', dead_at = now()",
        ),
        strict=True,
    ):
        await database.pool.execute(f"UPDATE core.reactions SET {said} WHERE subject_id = $1", one.subject_id)


async def test_effects_say_how_calls_failed_and_dead_letters_whether_they_may_have_been_done(
    database: Database, database_url: str, failing: None
) -> None:
    load_stages()
    async with calling(application(database_url)) as client:
        effects = {effect["kind"]: effect for effect in (await client.get("/v1/effects")).json()["effects"]}
        [letter] = (await client.get("/v1/dead_letters")).json()["dead_letters"]
    capture = effects["capture"]
    assert (capture["due"], capture["calling"]) == (1, 1)
    assert capture["failing"] == {"answer_lost": 1, "unavailable": 1}
    assert (letter["failure"], letter["what_happened"]) == ("answer_lost", "the answer was lost: it may have been done")


async def test_a_person_ends_a_pause_over_http(database: Database, database_url: str) -> None:
    at = database.clock.now()
    await database.transact(lambda tx: accounts.pause(tx, "shop / eu", "It is away.", at=at, tried=False))
    path, key = "/v1/effects/resumption", {"idempotency-key": uuid4().hex}
    async with calling(application(database_url)) as client:
        first = await client.post(path, json={"account": "shop / eu"}, headers=key)
        again = await client.post(path, json={"account": "shop / eu"}, headers=key)
        assert (first.status_code, first.json()) == (200, again.json())
        assert (first.json()["account"], first.json()["failures"]) == ("shop / eu", 1)
        unknown = await client.post(path, json={"account": "nobody"})
        assert (unknown.status_code, "`shop / eu`" in unknown.json()["detail"]) == (404, True)
        assert (await client.post(path, json={"account": "shop / eu", "until": 1})).status_code == 400
        assert (await client.post(path, json={})).status_code == 400
    [pause] = await database.read(accounts.paused)
    assert pause.paused_until <= database.clock.now()
