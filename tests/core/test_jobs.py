"""JOB-1 to JOB-6: what people start is done row by row, once each, whatever happens to the workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest
from msgspec import Struct

from core.test_schedule import Hurrying
from ordino.core import job_runner, jobs, keys
from ordino.core.clock import Clock
from ordino.core.database import ACTOR, Database, Tx
from ordino.core.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from ordino.core.job_runner import MOST_TRIES, JobRunner
from ordino.core.jobs import (
    EXITS,
    JobKind,
    JobView,
    Line,
    NewRow,
    Nothing,
    Outcome,
    Planned,
    Row,
    RowOutcome,
    State,
    Step,
    encode,
)
from ordino.core.settings import Settings

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
Hook = Callable[[Tx, Sequence[Row]], Awaitable[None]]
PAIRS = [(None, State.QUEUED), *((state, exit) for state, exits in EXITS.items() for exit in exits)]


class Marks(Struct, frozen=True, kw_only=True):
    """So many rows, and which of them are refused."""

    count: int
    refused: list[int] = []


class Far(Struct, frozen=True, kw_only=True):
    """How far a walk has come."""

    n: int


def marking(hook: Hook | None = None, *, name: str = "mark", set_size: int = 10, at_once: int = 2) -> JobKind:
    """Does rows: each leaves a mark, and nothing keeps it from leaving two."""

    async def plan(tx: Tx, sent: Marks, at: datetime) -> Planned:
        if sent.count < 0:
            raise Invalid("Send a number of rows that is not negative.")
        rows = [NewRow(row_no=n, subject=f"row {n}", input=encode(n).decode()) for n in range(1, sent.count + 1)]
        return Planned(parameters=sent, rows=rows)

    async def do(tx: Tx, parameters: Marks, rows: Sequence[Row], at: datetime) -> list[RowOutcome]:
        done = [row.input for row in rows if row.input not in parameters.refused]
        await tx.execute(
            "INSERT INTO marks (n, at, by) SELECT n, $2, $3 FROM unnest($1::int[]) AS n (n)", done, at, tx.actor
        )
        if hook is not None:
            await hook(tx, rows)
        return [
            RowOutcome(output={"n": row.input}) if row.input in done else RowOutcome(code="odd", detail="It is odd.")
            for row in rows
        ]

    return JobKind(
        name=name, sentence="Leave marks.", sent=Marks, parameters=Marks, plan=plan, row=int, do=do, set_size=set_size,
        at_once=at_once, needs=frozenset(), may_be_delayed=True,
    )  # fmt: skip


def walking(hook: Callable[[int], Awaitable[None]] | None = None) -> JobKind:
    """Takes steps, and writes a line each."""

    async def plan(tx: Tx, sent: Marks, at: datetime) -> Planned:
        return Planned(parameters=sent)

    async def step(database: Database, parameters: Marks, cursor: Far | None, at: datetime) -> Step:
        n = 1 if cursor is None else cursor.n + 1
        if n in parameters.refused:
            raise Refused("It goes no further.", code="no_way")
        if hook is not None:
            await hook(n)
        line = Line(subject=f"step {n}", output={"n": n})
        return Step(done=1, total=parameters.count, cursor=Far(n=n), lines=[line], finished=n == parameters.count)

    return JobKind(
        name="walk",
        sentence="Walk.",
        sent=Marks,
        parameters=Marks,
        plan=plan,
        cursor=Far,
        step=step,
        writes_file=True,
        needs=frozenset(),
    )


@pytest.fixture(autouse=True)
async def marks(database: Database) -> None:
    await database.pool.execute("CREATE TABLE IF NOT EXISTS marks (n int, at timestamptz, by text)")
    await database.pool.execute("TRUNCATE marks; TRUNCATE core.jobs CASCADE")


def runner(database: Database, *kinds: JobKind, lease_seconds: float = 30.0, lanes: int = 4, **more: Any) -> JobRunner:
    settings = Settings(job_lease_seconds=lease_seconds, job_lanes=lanes, **more)
    return JobRunner(database, {kind.name: kind for kind in kinds}, settings=settings, poll_seconds=0.02)


async def started(
    database: Database, kind: JobKind, count: int, *, refused: Sequence[int] = (), delay_seconds: float = 0.0
) -> JobView:
    sent = Marks(count=count, refused=list(refused))
    return await database.transact(lambda tx: jobs.start(tx, kind, sent, at=AT, delay_seconds=delay_seconds))


async def seen(database: Database, job: JobView | UUID) -> JobView:
    job_id = job if isinstance(job, UUID) else job.job_id
    return await database.read(lambda tx: jobs.job(tx, job_id))


async def rows_of(database: Database, job: JobView, outcome: Outcome | None = None) -> list[jobs.RowView]:
    return await database.read(lambda tx: jobs.rows_of_job(tx, job.job_id, outcome=outcome, after=0, limit=10_000))


async def left_marks(database: Database) -> Counter[int]:
    return Counter(row["n"] for row in await database.pool.fetch("SELECT n FROM marks"))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what is watched is in the database
            await asyncio.sleep(0.01)


async def expire(database: Database, job: JobView) -> None:
    """As if its worker had been away for longer than its lease."""
    await database.pool.execute("UPDATE core.jobs SET leased_until = now() WHERE job_id = $1", job.job_id)


async def test_job_1_to_3_each_row_has_its_outcome_and_the_job_is_done(database: Database) -> None:
    kind = marking()
    ACTOR.set("Ada")
    job = await started(database, kind, 35, refused=[3, 30])
    ACTOR.set(None)
    assert (job.state, job.total, job.done, job.started_by) == (State.QUEUED, 35, 0, "Ada")
    await runner(database, kind).run_until_idle()
    job = await seen(database, job)
    assert (job.state, job.total, job.done, job.refused) == (State.DONE, 35, 35, 2)
    assert job.begun_at is not None
    assert job.finished_at is not None
    assert await left_marks(database) == Counter(set(range(1, 36)) - {3, 30})
    assert {row["by"] for row in await database.pool.fetch("SELECT by FROM marks")} == {"Ada"}
    refused = await rows_of(database, job, Outcome.REFUSED)
    assert [(row.row_no, row.code, row.detail) for row in refused] == [
        (3, "odd", "It is odd."),
        (30, "odd", "It is odd."),
    ]
    assert [row.output for row in await rows_of(database, job, Outcome.OK)][:2] == [{"n": 1}, {"n": 2}]
    assert not await database.pool.fetchval("SELECT count(*) FROM core.job_rows WHERE input IS NOT NULL")


async def test_a_job_without_rows_is_done_at_once(database: Database) -> None:
    kind = marking()
    job = await started(database, kind, 0)
    await runner(database, kind).run_until_idle()
    assert (await seen(database, job)).state is State.DONE


async def test_what_makes_no_sense_is_refused_whole(database: Database) -> None:
    with pytest.raises(Invalid):
        await started(database, marking(), -1)
    assert not await database.pool.fetchval("SELECT count(*) FROM core.jobs")


async def test_job_3_a_row_that_fails_does_not_end_the_job(database: Database) -> None:
    tried: list[int] = []

    async def hook(tx: Tx, rows: Sequence[Row]) -> None:
        tried.append(len(rows))
        if any(row.input == 17 for row in rows):
            raise RuntimeError("seventeen")
        if any(row.input == 18 for row in rows):
            raise Refused("Not eighteen, either.", code="eighteen")
        if any(row.input == 19 for row in rows):
            await tx.execute("SELECT 1 / 0")

    kind = marking(hook)
    job = await started(database, kind, 30)
    await runner(database, kind).run_until_idle()
    job = await seen(database, job)
    assert (job.state, job.done, job.refused) == (State.DONE, 30, 3)
    assert await left_marks(database) == Counter(set(range(1, 31)) - {17, 18, 19})
    found = {row.row_no: row.code for row in await rows_of(database, job, Outcome.REFUSED)}
    assert found == {17: "fault", 18: "eighteen", 19: "fault"}
    assert max(tried) == 10
    assert len(tried) < 30  # halved, and then in sets again


async def test_job_4_several_workers_share_jobs_and_do_each_row_once(database: Database) -> None:
    kind = marking(set_size=7, at_once=4)
    some = [await started(database, kind, 50) for _ in range(6)]
    workers = [runner(database, kind) for _ in range(3)]
    for worker in workers:
        worker.slice_seconds = 0.005
    await asyncio.gather(*(worker.run_until_idle() for worker in workers))
    assert {(await seen(database, job)).state for job in some} == {State.DONE}
    assert await left_marks(database) == Counter(dict.fromkeys(range(1, 51), 6))


async def two_workers(database: Database) -> tuple[JobView, Counter[int]]:
    """A worker that is suspended in the middle of its rows for longer than its lease; another one goes on meanwhile."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep(tx: Tx, rows: Sequence[Row]) -> None:
        if not asleep.is_set():
            asleep.set()
            await awake.wait()

    kind = marking(sleep)
    job = await started(database, kind, 20)
    sleeper = runner(database, kind)
    sleeper.slice_seconds = 0.0  # it does the set that it has in hand, and no other
    first = asyncio.create_task(sleeper.run_until_idle())
    await asleep.wait()
    await expire(database, job)
    async with asyncio.timeout(60):
        await runner(database, marking()).run_until_idle()
        awake.set()
        await first
    return await seen(database, job), await left_marks(database)


async def test_job_1_a_worker_that_has_lost_its_lease_commits_nothing(database: Database) -> None:
    job, marks = await two_workers(database)
    assert (job.state, job.done) == (State.DONE, 20)
    assert marks == Counter(range(1, 21))


async def test_without_the_fence_of_the_lease_rows_would_be_done_twice(database: Database) -> None:
    with patch.object(job_runner, "mine", lambda rows: rows[0] if rows else None):
        _, marks = await two_workers(database)
    assert max(marks.values()) == 2


async def test_job_4_a_lease_is_renewed_and_does_not_shrink_with_the_clock_of_the_business(database_url: str) -> None:
    """Rows take three times as long as a lease, which is five minutes of a business 600 times as fast."""

    async def slow(tx: Tx, rows: Sequence[Row]) -> None:
        await asyncio.sleep(1.5)

    clock: Clock = Hurrying(AT)
    async with await Database.open(database_url, clock=clock) as database:
        kind = marking(slow)
        job = await started(database, kind, 10)
        workers = [runner(database, kind, lease_seconds=0.5) for _ in range(2)]
        stop = asyncio.Event()
        running = [asyncio.create_task(worker.run(stop)) for worker in workers]
        most_tries = 0

        async def over() -> bool:
            nonlocal most_tries
            tries = await database.pool.fetchval("SELECT tries FROM core.jobs WHERE job_id = $1", job.job_id)
            most_tries = max(most_tries, tries)
            return (await seen(database, job)).state is State.DONE

        await until(over)
        stop.set()
        await asyncio.gather(*running)
        assert most_tries == 1
        assert await left_marks(database) == Counter(range(1, 11))
        [at] = {row["at"] for row in await database.pool.fetch("SELECT at FROM marks")}
        assert at < AT + timedelta(days=1)  # what is done is done at the business's time


async def test_job_5_a_cancellation_takes_effect_between_rows(database: Database) -> None:
    at_it, go_on = asyncio.Event(), asyncio.Event()

    async def wait(tx: Tx, rows: Sequence[Row]) -> None:
        if rows[0].input == 11:
            at_it.set()
            await go_on.wait()

    kind = marking(wait)
    job = await started(database, kind, 40)
    working = asyncio.create_task(runner(database, kind).run_until_idle())
    await at_it.wait()
    wanted = await database.transact(lambda tx: jobs.cancel(tx, job.job_id))
    assert wanted.state is State.CANCELLING
    assert (await database.transact(lambda tx: jobs.cancel(tx, job.job_id))).state is State.CANCELLING
    go_on.set()
    await working
    job = await seen(database, job)
    assert (job.state, job.done, job.total) == (State.CANCELLED, 20, 40)
    assert await left_marks(database) == Counter(range(1, 21))
    assert [row.row_no for row in await rows_of(database, job, Outcome.OPEN)] == list(range(21, 41))
    assert not await database.pool.fetchval("SELECT count(*) FROM core.job_rows WHERE input IS NOT NULL")
    assert (await database.transact(lambda tx: jobs.cancel(tx, job.job_id))).state is State.CANCELLED


async def test_job_5_a_job_that_has_not_begun_is_cancelled_at_once_and_one_that_is_done_is_not(
    database: Database,
) -> None:
    kind = marking()
    job = await started(database, kind, 5)
    assert (await database.transact(lambda tx: jobs.cancel(tx, job.job_id))).state is State.CANCELLED
    await runner(database, kind).run_until_idle()
    assert not await left_marks(database)
    done = await started(database, kind, 5)
    await runner(database, kind).run_until_idle()
    with pytest.raises(Conflict, match="is done and can no longer be cancelled"):
        await database.transact(lambda tx: jobs.cancel(tx, done.job_id))
    with pytest.raises(NotFound):
        await database.transact(lambda tx: jobs.cancel(tx, UUID(int=1)))


async def test_a_cancellation_that_comes_with_the_last_row_finds_everything_done(database: Database) -> None:
    at_it, go_on = asyncio.Event(), asyncio.Event()

    async def wait(tx: Tx, rows: Sequence[Row]) -> None:
        at_it.set()
        await go_on.wait()

    kind = marking(wait)
    job = await started(database, kind, 10)
    working = asyncio.create_task(runner(database, kind).run_until_idle())
    await at_it.wait()
    await database.transact(lambda tx: jobs.cancel(tx, job.job_id))
    go_on.set()
    await working
    assert ((await seen(database, job)).state, len(await left_marks(database))) == (State.DONE, 10)


async def test_job_6_of_a_revocation_and_the_beginning_one_happens(database: Database) -> None:
    kind = marking(at_once=4)
    outcomes: Counter[str] = Counter()
    for number in range(40):
        await database.pool.execute("TRUNCATE marks")
        job = await started(database, kind, 1)
        worker = runner(database, kind)

        async def revoke(job: JobView = job, number: int = number) -> bool:
            await asyncio.sleep(0.0005 * (number % 20))
            try:
                await database.transact(lambda tx: jobs.revoke(tx, job.job_id))
            except Conflict:
                return False
            return True

        revoked, _ = await asyncio.gather(revoke(), worker.run_until_idle())
        await worker.run_until_idle()
        state, marks = (await seen(database, job)).state, await left_marks(database)
        assert (state, marks) == ((State.CANCELLED, Counter()) if revoked else (State.DONE, Counter({1: 1})))
        outcomes["revoked" if revoked else "done"] += 1
    assert min(outcomes["revoked"], outcomes["done"]) > 0, outcomes


async def test_job_6_a_delay_is_of_the_machine_whatever_the_clock_of_the_business_says(database_url: str) -> None:
    async with await Database.open(database_url, clock=Hurrying(AT)) as database:
        kind = marking()
        job = await started(database, kind, 1, delay_seconds=60)
        await asyncio.sleep(0.3)  # three minutes of the business
        await runner(database, kind).run_until_idle()
        assert (await seen(database, job)).state is State.QUEUED
        assert job.starts_at - job.created_at == timedelta(seconds=60)
        await database.pool.execute("UPDATE core.jobs SET starts_at = now()")
        await runner(database, kind).run_until_idle()
        assert (await seen(database, job)).state is State.DONE


async def test_a_revocation_may_be_repeated_and_a_command_that_has_begun_stays(database: Database) -> None:
    kind = marking()
    job = await started(database, kind, 3, delay_seconds=60)
    for _ in range(2):
        assert (await database.transact(lambda tx: jobs.revoke(tx, job.job_id))).state is State.CANCELLED
    assert not await database.pool.fetchval("SELECT count(*) FROM core.job_rows WHERE input IS NOT NULL")
    done = await started(database, kind, 3)
    await runner(database, kind).run_until_idle()
    with pytest.raises(Conflict, match="is done and can no longer be revoked"):
        await database.transact(lambda tx: jobs.revoke(tx, done.job_id))


@pytest.mark.parametrize("lanes", [1, 4])
async def test_a_long_job_does_not_keep_a_short_one_waiting(database: Database, lanes: int) -> None:
    """Of its own kind, or with a single lane: each has its slice of time in turn."""

    async def slow(tx: Tx, rows: Sequence[Row]) -> None:
        await asyncio.sleep(0.02)

    kind = marking(slow, set_size=1, at_once=1)
    long = await started(database, kind, 60)
    worker = runner(database, kind, lanes=lanes)
    worker.slice_seconds = 0.05
    working = asyncio.create_task(worker.run_until_idle())

    async def begun() -> bool:
        return (await seen(database, long)).done > 3

    await until(begun)
    short = await started(database, kind, 2)
    await working
    long, short = await seen(database, long), await seen(database, short)
    assert (long.state, short.state) == (State.DONE, State.DONE)
    assert short.finished_at is not None
    assert long.finished_at is not None
    assert short.finished_at < long.finished_at


async def test_a_kind_takes_no_more_lanes_than_it_may_have(database: Database) -> None:
    at_it = most = 0

    async def count(tx: Tx, rows: Sequence[Row]) -> None:
        nonlocal at_it, most
        at_it += 1
        most = max(most, at_it)
        await asyncio.sleep(0.02)
        at_it -= 1

    heavy, light = marking(count, name="heavy", at_once=2), marking(name="light")
    for _ in range(5):
        await started(database, heavy, 10)
    quick = await started(database, light, 10)
    await runner(database, heavy, light).run_until_idle()
    assert most == 2
    assert (await seen(database, quick)).state is State.DONE


async def test_job_4_steps_go_on_where_another_worker_stopped(database: Database) -> None:
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep(n: int) -> None:
        if n == 4 and not asleep.is_set():
            asleep.set()
            await awake.wait()

    kind = walking(sleep)
    job = await started(database, kind, 9)
    first = asyncio.create_task(runner(database, kind).run_until_idle())
    await asleep.wait()
    await expire(database, job)
    await runner(database, kind).run_until_idle()
    awake.set()
    await first
    job = await seen(database, job)
    assert (job.state, job.done, job.total) == (State.DONE, 9, 9)
    found = await jobs.result(database, job.job_id, writes_file=True)
    assert found.lines is not None
    said = b"".join([part async for part in found.lines])
    assert said == b"".join(b'{"n": %d}\n' % n for n in range(1, 10))


async def test_a_job_that_cannot_go_on_says_why(database: Database) -> None:
    kind = walking()
    job = await started(database, kind, 9, refused=[5])
    await runner(database, kind).run_until_idle()
    job = await seen(database, job)
    assert (job.state, job.done, job.error_code, job.error) == (State.FAILED, 4, "no_way", "It goes no further.")

    async def broken(n: int) -> None:
        raise RuntimeError("secret")

    faulty = walking(broken)
    other = await started(database, faulty, 9)
    await runner(database, faulty).run_until_idle()
    other = await seen(database, other)
    assert (other.state, other.error_code) == (State.FAILED, "fault")
    assert "secret" not in (other.error or "")


async def test_job_3_a_row_that_ends_its_workers_is_left_out_in_the_end(database: Database) -> None:
    """Each time the worker dies before it can say anything; the job is then taken up by a worker that leaves the row out."""
    job = await started(database, marking(), 30)
    for _ in range(MOST_TRIES):
        taken = await database.transact(
            lambda tx: jobs.sql.lease_job(tx, kinds=["mark"], lease=UUID(int=7), lease_seconds=0.0)
        )
        assert taken
    sizes: list[int] = []

    async def note(tx: Tx, rows: Sequence[Row]) -> None:
        sizes.append(len(rows))

    await runner(database, marking(note)).run_until_idle()
    job = await seen(database, job)
    assert (job.state, job.done, job.refused) == (State.DONE, 30, 1)
    [left_out] = await rows_of(database, job, Outcome.REFUSED)
    assert (left_out.row_no, left_out.code) == (1, "fault")
    assert f"{MOST_TRIES} times" in (left_out.detail or "")
    assert sizes[0] == 2  # careful at first
    assert await left_marks(database) == Counter(range(2, 31))


async def test_the_database_knows_the_same_exits(database: Database) -> None:
    allowed = set()
    for came_from in (None, *State):
        for state in State:
            over = "now()" if state in jobs.OVER else "NULL"
            try:
                await database.pool.execute(
                    "INSERT INTO core.jobs (job_id, kind, parameters, came_from, state, created_at, starts_at, finished_at, has_rows)"
                    f" VALUES (gen_random_uuid(), 'mark', '{{}}', $1, $2, now(), now(), {over}, false)",
                    came_from,
                    state,
                )
            except asyncpg.CheckViolationError:
                continue
            allowed.add((came_from, state))
    assert allowed == set(PAIRS)


async def test_jobs_that_were_over_long_ago_are_forgotten_with_their_rows(database: Database) -> None:
    kind = marking()
    old, fresh, waiting = [await started(database, kind, 3, delay_seconds=d) for d in (0, 0, 60)]
    worker = runner(database, kind, job_days=30)
    await worker.run_until_idle()
    await database.pool.execute(
        "UPDATE core.jobs SET created_at = now() - interval '90 days', finished_at = finished_at - interval '31 days'"
        " WHERE job_id = $1",
        old.job_id,
    )
    with patch.object(job_runner, "FORGET_ROWS", 2):
        await database.transact(worker.forget)
        assert await database.pool.fetchval("SELECT count(*) FROM core.job_rows WHERE job_id = $1", old.job_id) == 1
    await database.transact(worker.forget)
    with pytest.raises(NotFound, match="ORDINO_JOB_DAYS"):
        await seen(database, old)
    assert (await seen(database, fresh)).state is State.DONE
    assert (await seen(database, waiting)).state is State.QUEUED
    assert len(await rows_of(database, fresh)) == 3


async def test_a_job_of_a_version_that_wrote_other_parameters_fails_and_says_so(database: Database) -> None:
    kind = marking()
    job = await started(database, kind, 3)
    await database.pool.execute("UPDATE core.jobs SET parameters = '{}'")
    await runner(database, kind).run_until_idle()
    job = await seen(database, job)
    assert (job.state, job.error_code) == (State.FAILED, "unreadable")


async def test_a_worker_leaves_kinds_that_it_does_not_know_to_others(database: Database) -> None:
    kind = marking(name="newer")
    job = await started(database, kind, 3)
    await runner(database, marking()).run_until_idle()
    assert (await seen(database, job)).state is State.QUEUED


async def test_nothing_is_a_kind_of_parameters_that_takes_no_field() -> None:
    assert Nothing.__struct_fields__ == ()


async def made_key(database: Database) -> UUID:
    key_id, _ = await database.transact(lambda tx: keys.make(tx, "partner", ["write"], at=AT))
    return key_id


async def started_with(database: Database, kind: JobKind, key_id: UUID, *, delay_seconds: float = 0.0) -> JobView:
    sent = Marks(count=40)
    return await database.transact(
        lambda tx: jobs.start(tx, kind, sent, at=AT, delay_seconds=delay_seconds, key_id=key_id)
    )


async def test_key_1_what_a_key_has_started_ends_when_it_is_revoked(database: Database) -> None:
    """What runs ends between two sets of rows, what waits never begins; other keys' jobs go on."""
    at_it, go_on = asyncio.Event(), asyncio.Event()

    async def wait(tx: Tx, rows: Sequence[Row]) -> None:
        if rows[0].input == 11 and not at_it.is_set():
            at_it.set()
            await go_on.wait()

    kind = marking(wait, at_once=1)
    key_id, other = await made_key(database), await made_key(database)
    runs = await started_with(database, kind, key_id)
    waits = await started_with(database, kind, key_id)
    delayed = await started_with(database, kind, key_id, delay_seconds=60)
    others, nobodys = await started_with(database, kind, other), await started(database, kind, 40)
    worker = asyncio.create_task(runner(database, kind).run_until_idle())
    await at_it.wait()
    assert await database.transact(lambda tx: keys.revoke(tx, key_id, at=AT)) == 3
    assert (await seen(database, runs)).state is State.CANCELLING
    go_on.set()
    await worker
    for job, done in ((runs, 20), (waits, 0), (delayed, 0)):
        view = await seen(database, job)
        assert (view.state, view.done, view.error_code) == (State.CANCELLED, done, "key_revoked")
        assert "was revoked. Start it again with another key" in (view.error or "")
    for job in (others, nobodys):
        view = await seen(database, job)
        assert (view.state, view.done, view.error) == (State.DONE, 40, None)
    left = "SELECT count(*) FROM core.job_rows WHERE input IS NOT NULL"
    assert not await database.pool.fetchval(left)


async def test_a_job_that_was_done_before_it_could_end_says_nothing_of_its_key(database: Database) -> None:
    at_it, go_on = asyncio.Event(), asyncio.Event()

    async def wait(tx: Tx, rows: Sequence[Row]) -> None:
        if rows[-1].input == 40:
            at_it.set()
            await go_on.wait()

    kind, key_id = marking(wait), await made_key(database)
    job = await started_with(database, kind, key_id)
    worker = asyncio.create_task(runner(database, kind).run_until_idle())
    await at_it.wait()
    await database.transact(lambda tx: keys.revoke(tx, key_id, at=AT))
    go_on.set()
    await worker
    view = await seen(database, job)
    assert (view.state, view.done, view.error_code, view.error) == (State.DONE, 40, None, None)


async def race_of_start_and_revocation(database: Database, *, rounds: int) -> Counter[str]:
    """A key starts a job while it is revoked: how often the start was refused, how often it ended, and how often it was left to run."""
    kind, outcomes = marking(), Counter[str]()
    for number in range(rounds):
        key_id = await made_key(database)

        async def start(key_id: UUID = key_id) -> JobView | None:
            try:
                return await started_with(database, kind, key_id)
            except Forbidden:
                return None

        async def revoke(key_id: UUID = key_id, number: int = number) -> None:
            await asyncio.sleep(0.0007 * (number % 12))
            await database.transact(lambda tx: keys.revoke(tx, key_id, at=AT))

        job, _ = await asyncio.gather(start(), revoke())
        if job is None:
            outcomes["refused"] += 1
        else:
            outcomes["ended" if (await seen(database, job)).state is State.CANCELLED else "left"] += 1
    return outcomes


async def test_key_1_a_job_that_is_started_while_its_key_is_revoked_is_refused_or_ends(database: Database) -> None:
    outcomes = await race_of_start_and_revocation(database, rounds=48)
    assert outcomes["left"] == 0, outcomes
    assert min(outcomes["refused"], outcomes["ended"]) > 0, outcomes


async def test_without_asking_for_the_key_last_a_job_may_outlive_it(database: Database) -> None:
    """The negative control: the revocation comes while the job is being put into the queue."""
    asked, revoked = asyncio.Event(), asyncio.Event()

    async def forgetful(tx: Tx, key_id: UUID | None) -> None:
        asked.set()
        await revoked.wait()

    key_id = await made_key(database)
    with patch.object(jobs, "refuse_revoked", forgetful):
        starting = asyncio.create_task(started_with(database, marking(), key_id))
        await asked.wait()
        await database.transact(lambda tx: keys.revoke(tx, key_id, at=AT))
        revoked.set()
        job = await starting
    assert (await seen(database, job)).state is State.QUEUED


@pytest.mark.parametrize("some", [True, False], ids=["some rows are gone", "all is gone"])
async def test_a_result_that_is_forgotten_while_it_is_read_breaks_off(database: Database, some: bool) -> None:
    """A reader that got fewer rows than there were, and no error, would take them for all."""
    kind = marking()
    job = await started(database, kind, 30)
    worker = runner(database, kind, job_days=30)
    await worker.run_until_idle()
    with patch.object(jobs, "ROWS_AT_ONCE", 7):
        whole = await jobs.result(database, job.job_id, writes_file=False)
        assert whole.lines is not None
        assert b"".join([part async for part in whole.lines]).count(b"\n") == 30
        broken = await jobs.result(database, job.job_id, writes_file=False)
        assert broken.lines is not None
        assert (await anext(broken.lines)).count(b"\n") == 7
        await database.pool.execute(
            "UPDATE core.jobs SET created_at = now() - interval '90 days', finished_at = now() - interval '31 days'"
        )
        with patch.object(job_runner, "FORGET_ROWS", 10 if some else 1000):
            await database.transact(worker.forget)
        with pytest.raises(jobs.Forgotten, match="not all of it"):
            await anext(broken.lines)
