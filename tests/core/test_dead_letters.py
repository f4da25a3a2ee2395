"""Dead letters are tried again by a job: those that are named, those of a reaction, or all."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from ordino.api.server import load_stages
from ordino.core import jobs
from ordino.core.database import Database
from ordino.core.dead_letters import RetryDeadLetters
from ordino.core.errors import Invalid
from ordino.core.ids import new_ids
from ordino.core.job_runner import JobRunner
from ordino.core.jobs import JobView, RowView, State
from ordino.core.reactions import registry
from ordino.core.settings import Settings

load_stages()
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def letters(database: Database) -> list[UUID]:
    """Two of ``source`` and one of ``send``."""
    await database.pool.execute("TRUNCATE core.reactions")
    ids = new_ids(AT, 3)
    for id, kind in zip(ids, ("source", "source", "send"), strict=True):
        await database.pool.execute(
            "INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at)"
            " VALUES ($3, $1, $2, $1, $1, $4, '{}', 12, 'It failed.', $4)",
            id,
            kind,
            id.int % 64,
            AT,
        )
    return ids


async def retried(database: Database, sent: RetryDeadLetters) -> tuple[JobView, list[RowView]]:
    job = await database.transact(
        lambda tx: jobs.start(tx, registry.jobs["retry_dead_letters"], sent, at=database.clock.now())
    )
    await JobRunner(database, registry.jobs, settings=Settings()).run_until_idle()
    return await database.read(lambda tx: jobs.job(tx, job.job_id)), await database.read(
        lambda tx: jobs.rows_of_job(tx, job.job_id, outcome=None, after=0, limit=100)
    )


async def due(database: Database) -> set[UUID]:
    rows = await database.pool.fetch("SELECT id FROM core.reactions WHERE dead_at IS NULL AND attempts = 0")
    return {row["id"] for row in rows}


async def test_those_that_are_named_are_due_again_and_others_are_refused(
    database: Database, letters: list[UUID]
) -> None:
    nobody = UUID(int=1)
    job, rows = await retried(database, RetryDeadLetters(ids=[letters[0], nobody, letters[0]]))
    assert (job.state, job.total, job.refused) == (State.DONE, 2, 1)
    assert [(row.subject, row.code) for row in rows] == [(str(letters[0]), None), (str(nobody), "not_found")]
    assert await due(database) == {letters[0]}


async def test_those_of_a_reaction_or_all_are_due_again(database: Database, letters: list[UUID]) -> None:
    job, _ = await retried(database, RetryDeadLetters(reaction="source"))
    assert (job.total, await due(database)) == (2, set(letters[:2]))
    job, _ = await retried(database, RetryDeadLetters(all=True))
    assert (job.total, await due(database)) == (1, set(letters))
    job, _ = await retried(database, RetryDeadLetters(all=True))
    assert (job.state, job.total) == (State.DONE, 0)


@pytest.mark.parametrize(
    "sent",
    [
        RetryDeadLetters(),
        RetryDeadLetters(reaction="dance"),
        RetryDeadLetters(ids=[UUID(int=1)], all=True),
        RetryDeadLetters(reaction="source", all=True),
    ],
)
async def test_what_is_said_in_no_way_or_in_two_is_refused(
    database: Database, letters: list[UUID], sent: RetryDeadLetters
) -> None:
    with pytest.raises(Invalid):
        await retried(database, sent)
    assert await due(database) == set()
