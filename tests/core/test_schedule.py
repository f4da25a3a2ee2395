"""SCH-1 to SCH-6: recurring work is done by one worker at a time, when it is due by the clock of the database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from ordino.core.clock import Clock, SimulatedClock, elapsed_seconds
from ordino.core.database import Database, Tx
from ordino.core.errors import Away
from ordino.core.leases import LeaseLost, while_leased
from ordino.core.reactions import Registry, Worker
from ordino.core.schedule import DutyView, Fence, Schedule, schedule
from ordino.core.settings import Settings

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SOON = Settings(job_lease_seconds=0.6)


class Hurrying:
    """A business whose clock runs 600 times as fast as the machine's."""

    def __init__(self, start: datetime) -> None:
        self._start, self._begun = start, datetime.now(UTC)

    def now(self) -> datetime:
        return self._start + 600 * (datetime.now(UTC) - self._begun)


@pytest.fixture(autouse=True)
async def nothing_known(database: Database) -> None:
    await database.pool.execute("TRUNCATE core.duties")


async def told_of(database: Database, registry: Registry, name: str) -> DutyView:
    return next(one for one in await database.read(lambda tx: schedule(tx, registry.recurring)) if one.name == name)


async def make_due(database: Database, name: str, seconds_ago: float = 0.0) -> None:
    await database.pool.execute(
        "UPDATE core.duties SET next_at = now() - make_interval(secs => $2) WHERE name = $1", name, seconds_ago
    )


async def test_sch_1_a_duty_is_done_by_one_worker_at_a_time_and_told_since_when(database: Database) -> None:
    registry, at_it, most, told = Registry(), 0, 0, []

    @registry.duty("look", every_seconds=0)
    async def look(tx: Tx, since: datetime, at: datetime) -> None:
        nonlocal at_it, most
        at_it += 1
        most = max(most, at_it)
        await asyncio.sleep(0.02)
        at_it -= 1
        told.append((since, at))

    workers = [Worker(database, registry=registry) for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(worker.run_duties() for worker in workers))
    assert most == 1
    assert told[0][0] < AT - timedelta(days=365)  # never before
    assert [since for since, _ in told[1:]] == [at for _, at in told[:-1]]


async def test_a_duty_waits_for_its_time_and_survives_its_failures(database: Database) -> None:
    registry, done = Registry(), []

    @registry.duty("rare", every_seconds=3600)
    async def rare(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("rare")

    @registry.duty("broken", every_seconds=0)
    async def broken(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("broken")
        raise RuntimeError("not today")

    @registry.duty("sound", every_seconds=0)
    async def sound(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("sound")

    worker = Worker(database, registry=registry)
    for _ in range(2):
        await worker.run_duties()
    assert done == ["rare", "broken", "sound", "broken", "sound"]
    await worker.run_duties(all=True)
    assert done[-3:] == ["rare", "broken", "sound"]


async def test_sch_1_several_workers_do_it_no_more_often_than_one(database: Database) -> None:
    registry, done = Registry(), []

    @registry.duty("hourly", every_seconds=3600)
    async def hourly(tx: Tx, since: datetime, at: datetime) -> None:
        done.append("in a transaction")

    @registry.leased_duty("long", every_seconds=3600)
    async def long(database: Database, since: datetime, at: datetime) -> None:
        done.append("on the database")

    workers = [Worker(database, registry=registry) for _ in range(3)]
    for _ in range(2):
        await asyncio.gather(*(worker.run_duties() for worker in workers))
    assert sorted(done) == ["in a transaction", "on the database"]
    later = Worker(database, registry=registry)  # one that was started since
    await later.run_duties()
    assert len(done) == 2


@pytest.mark.parametrize("leased", [False, True])
async def test_sch_2_what_was_missed_is_done_once(database: Database, leased: bool) -> None:
    registry, done = Registry(), []
    if leased:

        @registry.leased_duty("hourly", every_seconds=3600)
        async def long(database: Database, since: datetime, at: datetime) -> None:
            done.append(at)
    else:

        @registry.duty("hourly", every_seconds=3600)
        async def hourly(tx: Tx, since: datetime, at: datetime) -> None:
            done.append(at)

    await Worker(database, registry=registry).run_duties()
    await make_due(database, "hourly", 5 * 3600)
    for _ in range(3):
        await Worker(database, registry=registry).run_duties()
    assert len(done) == 2
    view = await told_of(database, registry, "hourly")
    assert view.last_run_at is not None
    assert view.next_at == view.last_run_at + timedelta(hours=1)


@pytest.mark.parametrize("clock", [Hurrying(AT), SimulatedClock(AT)], ids=["600 times as fast", "a day at once"])
async def test_sch_2_intervals_are_of_the_machine_and_what_is_told_of_the_business(
    database_url: str, clock: Clock
) -> None:
    registry, told = Registry(), []

    @registry.duty("often", every_seconds=30)
    async def often(tx: Tx, since: datetime, at: datetime) -> None:
        told.append((since, at))

    async with await Database.open(database_url, clock=clock) as database:
        await Worker(database, registry=registry).run_duties()
        if isinstance(clock, SimulatedClock):
            clock.advance_to(AT + timedelta(days=1))
        else:
            await asyncio.sleep(0.2)  # two minutes of the business
        await Worker(database, registry=registry).run_duties()
        assert len(told) == 1
        await make_due(database, "often")
        await Worker(database, registry=registry).run_duties()
        assert len(told) == 2
        assert told[1][0] == told[0][1] >= AT
        assert told[1][1] - told[0][1] >= timedelta(seconds=60)


async def test_sch_3_whoever_died_holds_it_until_the_lease_ends_and_no_longer(database: Database) -> None:
    registry, told = Registry(), []

    @registry.leased_duty("long", every_seconds=3600)
    async def long(database: Database, since: datetime, at: datetime) -> None:
        told.append(since)

    await Worker(database, registry=registry).run_duties()
    await database.pool.execute(
        "UPDATE core.duties SET next_at = now(), lease = gen_random_uuid(), leased_until = now() + interval '1 hour'"
        " WHERE name = 'long'"
    )
    await Worker(database, registry=registry).run_duties()
    assert len(told) == 1
    assert (await told_of(database, registry, "long")).running
    await database.pool.execute("UPDATE core.duties SET leased_until = now() WHERE name = 'long'")
    await Worker(database, registry=registry).run_duties()
    assert len(told) == 2
    assert not (await told_of(database, registry, "long")).running


async def test_sch_3_a_worker_that_is_told_to_stop_leaves_long_work_to_the_others_at_once(database: Database) -> None:
    registry, begun, ended = Registry(), asyncio.Event(), []

    @registry.leased_duty("long", every_seconds=3600)
    async def long(database: Database, since: datetime, at: datetime) -> None:
        first = not begun.is_set()
        begun.set()
        await asyncio.sleep(3600 if first else 0)
        ended.append(since)

    stop = asyncio.Event()
    working = asyncio.create_task(Worker(database, registry=registry).schedule.run(stop))
    await begun.wait()
    stop.set()
    async with asyncio.timeout(60):
        await working
    assert ended == []
    await Worker(database, registry=registry).run_duties()
    assert len(ended) == 1


async def long_work(database: Database, *, workers: int = 2) -> int:
    """How many of some workers did work that lasts three times as long as its lease."""
    registry, done = Registry(), []

    @registry.leased_duty("long", every_seconds=3600)
    async def long(database: Database, since: datetime, at: datetime) -> None:
        done.append(since)
        await asyncio.sleep(1.8)

    async def work() -> None:
        schedule = Schedule(database, registry.duties, settings=SOON)
        for _ in range(12):
            await schedule.run_due(wait=False)
            await asyncio.sleep(0.1)
        await schedule.run_due()

    await asyncio.gather(*(work() for _ in range(workers)))
    return len(done)


async def test_sch_1_a_lease_is_renewed_while_the_work_goes_on(database: Database) -> None:
    assert await long_work(database) == 1


async def test_without_the_renewal_two_workers_would_be_at_it(database: Database) -> None:
    async def forgetful(work: Any, renew: Any, *, seconds: float, since: float) -> Any:
        return await work()

    with patch("ordino.core.schedule.while_leased", forgetful):
        assert await long_work(database) == 2


async def overtaken(database: Database, *, how: str) -> tuple[list[str], list[str]]:
    """What two workers write, of whom the second takes the work over in the middle of the first one's; and what was committed."""
    registry, begun, gate, wrote = Registry(), asyncio.Event(), asyncio.Event(), list[str]()
    await database.pool.execute("CREATE TABLE IF NOT EXISTS written (who text)")
    await database.pool.execute("TRUNCATE written")

    async def write(mine: Database, who: str) -> None:
        await mine.transact(lambda tx: tx.execute("INSERT INTO written VALUES ($1)", who))
        wrote.append(who)

    @registry.leased_duty("long", every_seconds=3600)
    async def long(mine: Database, since: datetime, at: datetime) -> None:
        if begun.is_set():
            await write(mine, "second")
            return
        await write(mine, "first, before")
        begun.set()
        await gate.wait()
        await write(mine, "first, after")

    first = asyncio.create_task(Schedule(database, registry.duties, settings=Settings()).run_due())
    await begun.wait()
    if how != "left alone":
        await database.pool.execute(
            "UPDATE core.duties SET leased_until = now() - interval '1 second' WHERE name = 'long'"
        )
    if how == "taken over":
        await Schedule(database, registry.duties, settings=Settings()).run_due()
    gate.set()
    await first
    return wrote, [row["who"] for row in await database.pool.fetch("SELECT who FROM written ORDER BY who")]


async def test_sch_5_whoever_lost_the_lease_writes_nothing_more(database: Database) -> None:
    wrote, committed = await overtaken(database, how="taken over")
    assert wrote == ["first, before", "second"]
    assert committed == sorted(wrote)
    assert (await told_of(database, Registry(), "long")).failures == 0


@pytest.mark.parametrize("how", ["left alone", "ended and nobody came"])
async def test_sch_5_whoever_has_the_lease_writes_all(database: Database, how: str) -> None:
    wrote, committed = await overtaken(database, how=how)
    assert wrote == ["first, before", "first, after"]
    assert committed == sorted(wrote)


async def test_without_the_fence_whoever_lost_the_lease_would_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(fence: Fence, tx: Tx) -> None: ...

    monkeypatch.setattr(Fence, "write", forgetful)
    _, committed = await overtaken(database, how="taken over")
    assert "first, after" in committed


async def test_sch_5_nobody_takes_work_over_between_its_last_question_and_its_commit(database: Database) -> None:
    """Eight workers whose leases end all the time: what each turn commits, it commits before the next one is given."""
    registry, turns, fence = Registry(), list[str](), Fence.write
    await database.pool.execute("CREATE TABLE IF NOT EXISTS turns (turn text, at timestamptz)")
    await database.pool.execute("TRUNCATE turns")

    async def slowly(self: Fence, tx: Tx) -> None:
        await fence(self, tx)
        await asyncio.sleep(0.05)  # between the question and the commit

    @registry.leased_duty("long", every_seconds=0)
    async def long(mine: Database, since: datetime, at: datetime) -> None:
        turn = f"{len(turns):03}"
        turns.append(turn)
        for _ in range(4):
            await mine.transact(lambda tx: tx.execute("INSERT INTO turns VALUES ($1, clock_timestamp())", turn))

    async def work() -> None:
        while len(turns) < 12:
            await Schedule(database, registry.duties, settings=Settings()).run_due(all=True)

    async def end_leases() -> None:
        while True:
            await database.pool.execute("UPDATE core.duties SET leased_until = now() WHERE lease IS NOT NULL")
            await asyncio.sleep(0.01)

    with patch.object(Fence, "write", slowly):
        ending = asyncio.create_task(end_leases())
        await asyncio.gather(*(work() for _ in range(8)))
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    written = [row["turn"] for row in await database.pool.fetch("SELECT turn FROM turns ORDER BY at")]
    assert written == sorted(written)


@pytest.mark.parametrize("answer", ["another's", "away", "silent"])
async def test_lea_2_work_is_stopped_once_its_lease_cannot_be_renewed(answer: str) -> None:
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    async def renew() -> bool:
        if answer == "away":
            raise Away("The database is away.")
        if answer == "silent":
            await asyncio.sleep(3600)
        return False

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LeaseLost):
        await while_leased(work, renew, seconds=0.3, since=elapsed_seconds())
    assert stopped.is_set()
    assert loop.time() - began < 3


@pytest.mark.parametrize("leased", [False, True])
async def test_sch_4_a_failure_is_kept_and_tried_again_at_the_next_time(
    database: Database, leased: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "ordino.schedule")  # half a surrogate in what was logged ends a process of xdist
    registry, tries, fails = Registry(), [], True
    words = "RuntimeError: the disk is full??".ljust(2000, "!")

    def attempt() -> None:
        tries.append(1)
        if fails:
            raise RuntimeError("the disk is full\x00\ud800" + "!" * 3000)

    if leased:

        @registry.leased_duty("broken", every_seconds=3600)
        async def long(database: Database, since: datetime, at: datetime) -> None:
            attempt()
    else:

        @registry.duty("broken", every_seconds=3600)
        async def broken(tx: Tx, since: datetime, at: datetime) -> None:
            await tx.execute("SELECT 1")
            attempt()

    for times in (1, 2):
        for _ in range(3):
            await Worker(database, registry=registry).run_duties()
        view = await told_of(database, registry, "broken")
        assert (len(tries), view.failures, view.last_error) == (times, times, words)
        assert view.failed_at is not None
        assert view.next_at is not None
        assert view.next_at > view.failed_at
        await make_due(database, "broken")
    fails = False
    await Worker(database, registry=registry).run_duties()
    view = await told_of(database, registry, "broken")
    assert (len(tries), view.failures, view.last_error) == (3, 0, words)
    assert view.took_seconds is not None


async def test_how_often_may_come_from_a_setting_and_none_is_never(database: Database) -> None:
    registry, done = Registry(), []

    @registry.duty("set", every_seconds=lambda settings: 60.0 * settings.reevaluate_minutes or None)
    async def often(tx: Tx, since: datetime, at: datetime) -> None:
        """Look around.

        Closely.
        """
        done.append(at)

    def worker(minutes: int) -> Worker:
        return Worker(database, registry=registry, settings=Settings(reevaluate_minutes=minutes))

    assert (await told_of(database, registry, "set")).next_at is None
    await worker(0).run_duties()
    assert done == []
    assert (await told_of(database, registry, "set")).every_seconds is None
    await worker(60).run_duties()
    view = await told_of(database, registry, "set")
    assert (len(done), view.every_seconds, view.sentence) == (1, 3600.0, "Look around.")
    await worker(1).run_duties()  # not done yet, but due sooner than before
    sooner = await told_of(database, registry, "set")
    assert (len(done), sooner.every_seconds) == (1, 60.0)
    assert view.next_at is not None
    assert sooner.next_at is not None
    assert sooner.next_at < view.next_at - timedelta(minutes=58)


async def test_what_an_older_version_wrote_down_is_gone_on_with(database: Database) -> None:
    registry, told = Registry(), []
    await database.pool.execute("INSERT INTO core.duties (name, done_at) VALUES ('old', $1)", AT)

    @registry.duty("old", every_seconds=3600)
    async def old(tx: Tx, since: datetime, at: datetime) -> None:
        told.append(since)

    await Worker(database, registry=registry).run_duties()
    assert told == [AT]


async def test_every_worker_tidies_up_in_the_same_way(database: Database) -> None:
    await Worker(database, registry=Registry()).run_duties()
    shown = await database.read(lambda tx: schedule(tx, {}))
    assert [one.name for one in shown] == ["forget_answers", "forget_jobs"]
    assert all(one.last_run_at is not None and one.failures == 0 for one in shown)


async def test_sch_6_a_duty_that_hangs_keeps_no_other_waiting(database: Database) -> None:
    registry, hangs, done, enough = Registry(), asyncio.Event(), 0, asyncio.Event()

    @registry.duty("a hangs", every_seconds=0)
    async def hang(tx: Tx, since: datetime, at: datetime) -> None:
        hangs.set()
        await asyncio.sleep(3600)

    @registry.duty("b goes on", every_seconds=0)
    async def go_on(tx: Tx, since: datetime, at: datetime) -> None:
        nonlocal done
        done += hangs.is_set()
        if done >= 3:
            enough.set()

    stop = asyncio.Event()
    working = asyncio.create_task(Worker(database, registry=registry, poll_seconds=0.01).schedule.run(stop))
    async with asyncio.timeout(60):
        await hangs.wait()
        await enough.wait()
    stop.set()
    with patch("ordino.core.schedule.LEAVE_SECONDS", 0.1):
        await working
    view = await told_of(database, registry, "a hangs")
    assert (view.last_run_at, view.failures) == (None, 0)  # it is as due as before
    again = Registry()

    @again.duty("a hangs", every_seconds=0)
    async def mended(tx: Tx, since: datetime, at: datetime) -> None: ...

    await Worker(database, registry=again).run_duties()
    assert (await told_of(database, again, "a hangs")).last_run_at is not None


async def test_sch_6_a_duty_that_does_not_end_in_time_is_undone_and_has_failed(database: Database) -> None:
    registry = Registry()
    await database.pool.execute("CREATE TABLE IF NOT EXISTS half (n int)")

    @registry.duty("hangs", every_seconds=3600)
    async def hang(tx: Tx, since: datetime, at: datetime) -> None:
        await tx.execute("INSERT INTO half VALUES (1)")
        await asyncio.sleep(3600)

    with patch("ordino.core.schedule.LONGEST_SECONDS", 0.3):
        async with asyncio.timeout(60):
            await Worker(database, registry=registry).run_duties()
    view = await told_of(database, registry, "hangs")
    assert view.failures == 1
    assert view.last_error == "TimeoutError: It took longer than 0.3 seconds, and was stopped and undone."
    assert view.next_at is not None
    assert not await database.pool.fetchval("SELECT count(*) FROM half")


async def test_a_worker_that_is_told_to_stop_ends_what_it_has_begun(database: Database) -> None:
    registry, begun, stop = Registry(), asyncio.Event(), asyncio.Event()

    @registry.duty("slow", every_seconds=3600)
    async def slow(tx: Tx, since: datetime, at: datetime) -> None:
        begun.set()
        await stop.wait()
        await tx.execute("SELECT pg_sleep(0.1)")

    working = asyncio.create_task(Worker(database, registry=registry).schedule.run(stop))
    async with asyncio.timeout(60):
        await begun.wait()
        stop.set()
        await working
    view = await told_of(database, registry, "slow")
    assert view.last_run_at is not None
    assert view.failures == 0


async def test_old_answers_are_forgotten_a_part_at_a_time(database: Database) -> None:
    """However many there are, a statement has time for its part."""
    await database.pool.execute(
        "INSERT INTO core.idempotency (key, digest, status, body, at) "
        "SELECT n::text, '', 200, '', now() - interval '7 days 20 hours' + n * interval '8 hours' FROM generate_series(0, 11) n"
    )

    async def left() -> int:
        count: int = await database.pool.fetchval("SELECT count(*) FROM core.idempotency")
        return count

    worker = Worker(database, registry=Registry())
    with patch("ordino.core.idempotency.FORGOTTEN_AT_ONCE", 1):
        await worker.run_duties(all=True)
        assert await left() == 11
    await worker.run_duties(all=True)
    assert await left() == 9  # the others are younger than a week
