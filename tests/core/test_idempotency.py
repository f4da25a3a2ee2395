"""IDM-1, IDM-2: what is sent under one key is done once, whoever is killed when; and what was not done is kept nowhere."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordino.core import idempotency
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Conflict, Invalid, NotFound
from ordino.core.idempotency import Key, Outcome, Sets, answer, once
from ordino.core.reactions import Worker
from ordino.core.statements import Statement

TIMES = 6
COUNTED = "SELECT next FROM core.counters WHERE name = $1"


async def counter(database: Database) -> str:
    """Something that counts how often it is done."""
    name = uuid4().hex
    await database.pool.execute("INSERT INTO core.counters (name, next) VALUES ($1, 0)", name)
    return name


async def count(tx: Tx, name: str) -> Outcome:
    [row] = await idempotency.sql.take_numbers(tx, name=name, count=1)
    return Outcome(201, b'"%d"' % row["first"])


def key_of(*said: Any, caller: str = "tests", name: str | None = None) -> Key:
    return Key.of(caller, name or uuid4().hex, *said)


async def test_many_at_once_are_one_that_does_it_and_others_that_get_its_answer(database: Database) -> None:
    name, key = await counter(database), key_of("do it")
    answers = await asyncio.gather(*(answer(database, key, lambda tx: count(tx, name)) for _ in range(TIMES)))
    assert {(one.status, one.body) for one in answers} == {(201, b'"0"')}
    assert sorted(one.repeated for one in answers) == [False] + [True] * (TIMES - 1)
    assert await database.pool.fetchval(COUNTED, name) == 1


async def test_nothing_right_is_refused_other_keys_and_other_callers_are_other_requests(database: Database) -> None:
    name = await counter(database)
    keys = [key_of(n, caller=caller, name=f"k{n}") for n in range(3) for caller in ("a", "b")]
    answers = await asyncio.gather(*(answer(database, key, lambda tx: count(tx, name)) for key in keys))
    assert len({one.body for one in answers}) == await database.pool.fetchval(COUNTED, name) == len(keys)
    for _ in range(2):
        await answer(database, None, lambda tx: count(tx, name))
    assert await database.pool.fetchval(COUNTED, name) == len(keys) + 2


async def test_without_the_claim_all_of_them_would_do_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the claim, first in the transaction, for which a repeat waits."""
    name, key = await counter(database), key_of("do it")
    call = Statement.__call__

    async def unclaimed(self: Statement, connection: Any, **values: Any) -> Sequence[Any]:
        return [values] if self.name == "claim_key" else await call(self, connection, **values)

    monkeypatch.setattr(Statement, "__call__", unclaimed)
    await asyncio.gather(*(answer(database, key, lambda tx: count(tx, name)) for _ in range(TIMES)))
    assert await database.pool.fetchval(COUNTED, name) == TIMES


async def test_a_key_with_another_request_is_refused_and_does_nothing(database: Database) -> None:
    name, key = await counter(database), key_of("do it")
    await answer(database, key, lambda tx: count(tx, name))
    with pytest.raises(Conflict, match="already used for a different request") as refused:
        await answer(database, key_of("do that", name=key.name), lambda tx: count(tx, name))
    assert refused.value.code == "key_reused"
    assert await database.pool.fetchval(COUNTED, name) == 1


async def test_a_refusal_is_kept_nowhere(database: Database) -> None:
    name, key = await counter(database), key_of("do it")

    async def refuse(tx: Tx) -> Outcome:
        await count(tx, name)
        raise NotFound("There is no such thing.")

    with pytest.raises(NotFound):
        await answer(database, key, refuse)
    assert await database.read(lambda tx: idempotency.first(tx, key)) is None
    assert (await answer(database, key, lambda tx: count(tx, name))).body == b'"0"'


async def test_a_repeat_waits_for_a_first_that_fails_and_does_it_then(database: Database) -> None:
    name, key = await counter(database), key_of("do it")
    began, fail = asyncio.Event(), asyncio.Event()

    async def break_off(tx: Tx) -> Outcome:
        await count(tx, name)
        began.set()
        await fail.wait()
        raise NotFound("It broke off.")

    first = asyncio.create_task(answer(database, key, break_off))
    await began.wait()
    second = asyncio.create_task(answer(database, key, lambda tx: count(tx, name)))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await database.pool.fetchval(waiting):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    fail.set()
    with pytest.raises(NotFound):
        await first
    assert not (await second).repeated
    assert await database.pool.fetchval(COUNTED, name) == 1


async def test_an_answer_that_is_forgotten_at_this_very_moment_is_done_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the claim and the look another transaction may forget the key; this is a repeat that came too late, and no fault."""
    name, key = await counter(database), key_of("do it")
    await answer(database, key, lambda tx: count(tx, name))
    call = Statement.__call__

    async def late(self: Statement, connection: Any, **values: Any) -> Sequence[Any]:
        if self.name == "first_answer":
            await database.pool.execute("DELETE FROM core.idempotency WHERE key = $1", key.stored)
        return await call(self, connection, **values)

    monkeypatch.setattr(Statement, "__call__", late)
    again = await answer(database, key, lambda tx: count(tx, name))
    assert (again.body, again.repeated) == (b'"1"', False)


@pytest.mark.parametrize(
    "name",
    ["", "k" * 201, "nul\x00", "two\nlines", "bell\x07"],
    ids=["empty", "201 characters", "NUL", "line break", "control character"],
)
def test_what_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="1 to 200 characters"):
        Key.of("tests", name)


def test_no_two_keys_are_kept_as_one() -> None:
    keys = [
        key_of(caller=caller, name=name)
        for caller in ("a", "a b")
        for name in ("c", "b c", "c 2", "k" * 200, "schlüssel")
    ]
    keys += [key.of_part(part) for key in keys for part in ("2", idempotency.END)]
    assert len({key.stored for key in keys}) == len(keys)


async def test_keys_are_forgotten_after_their_days_and_not_before(database: Database) -> None:
    ages = {"young": timedelta(days=3, hours=-1), "old": timedelta(days=3, hours=1)}
    name = await counter(database)
    keys = {age: key_of(age) for age in ages}
    for age, key in keys.items():
        await database.transact(lambda tx, key=key: once(tx, key, lambda tx: count(tx, name)))  # type: ignore[misc]
        aged = "UPDATE core.idempotency SET at = now() - $2::interval WHERE key = $1"
        await database.pool.execute(aged, key.stored, ages[age])
    await Worker(database, idempotency_days=3).run_duties(all=True)
    repeats = {age: await answer(database, key, lambda tx: count(tx, name)) for age, key in keys.items()}
    assert {age: one.repeated for age, one in repeats.items()} == {"young": True, "old": False}
    assert await database.pool.fetchval(COUNTED, name) == 3


KILLED = """
import asyncio, os, signal, sys
from ordino.core import idempotency
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.idempotency import Key, Outcome, answer

async def main(url, counter, key, when):
    async with await Database.open(url, pool_size=1) as database:
        async def run(tx):
            await idempotency.sql.take_numbers(tx, name=counter, count=1)
            if when == "done":
                os.kill(os.getpid(), signal.SIGKILL)
            return Outcome(200, b"1")

        async def kept(tx):
            outcome = await idempotency.once(tx, Key.of("tests", key, "do it"), run)
            if when == "kept":
                os.kill(os.getpid(), signal.SIGKILL)
            return outcome

        await database.transact(kept)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("when", ["done", "kept", "committed"])
async def test_a_process_that_is_killed_anywhere_has_done_it_with_its_answer_or_not_at_all(
    database: Database, database_url: str, when: str
) -> None:
    name, key = await counter(database), uuid4().hex
    run = [sys.executable, "-c", KILLED, database_url, name, key, when]
    ended = await asyncio.to_thread(subprocess.run, run, check=False)
    assert ended.returncode == -signal.SIGKILL
    again = await answer(database, key_of("do it", name=key), lambda tx: count(tx, name))
    assert again.repeated == (when == "committed")
    assert await database.pool.fetchval(COUNTED, name) == 1


# -- rows, set by set ------------------------------------------------------------------------------------------------------


async def load(database: Database, key: Key, name: str, rows: Sequence[bytes], *, ends: bool = True) -> list[Outcome]:
    """Sets of rows under one key, one after another."""
    sets = Sets(key)
    done = [await sets.once(database, number, said, lambda tx: count(tx, name)) for number, said in enumerate(rows, 1)]
    if ends:
        await sets.end(database, len(rows))
    return done


async def test_a_load_goes_on_where_it_broke_off_and_is_answered_as_before_when_it_is_over(database: Database) -> None:
    name, key = await counter(database), key_of("rows")
    await load(database, key, name, [b"1", b"2"], ends=False)
    again = await load(database, key, name, [b"1", b"2", b"3"])
    assert [one.repeated for one in again] == [True, True, False]
    third = await load(database, key, name, [b"1", b"2", b"3"])
    assert [one.body for one in third] == [one.body for one in again] == [b'"0"', b'"1"', b'"2"']
    assert await database.pool.fetchval(COUNTED, name) == 3


@pytest.mark.parametrize(
    "rows",
    [[b"1", b"2", b"3"], [b"1"], [b"0", b"2"], [b"1", b"3"]],
    ids=["more sets", "fewer sets", "another first set", "another last set"],
)
async def test_a_key_with_other_rows_is_refused_and_does_nothing(database: Database, rows: list[bytes]) -> None:
    name, key = await counter(database), key_of("rows")
    await load(database, key, name, [b"1", b"2"])
    with pytest.raises(Conflict) as refused:
        await load(database, key, name, rows)
    assert refused.value.code == "key_reused"
    assert await database.pool.fetchval(COUNTED, name) == 2


async def test_rows_and_a_request_of_one_key_are_two_requests(database: Database) -> None:
    name, key = await counter(database), key_of("rows")
    await answer(database, key, lambda tx: count(tx, name))
    with pytest.raises(Conflict):
        await load(database, key, name, [b"1", b"2"])
    assert await database.pool.fetchval(COUNTED, name) == 1


async def test_keys_age_by_the_clock_of_the_database_however_fast_the_business_runs(database: Database) -> None:
    name, key = await counter(database), key_of("fast")
    fast = Database(database.pool, database.plans, SimulatedClock(datetime.now(UTC) + timedelta(days=400)))
    for _ in range(2):
        await answer(fast, key, lambda tx: count(tx, name))
        await Worker(fast, idempotency_days=3).run_duties(all=True)
    assert await database.pool.fetchval(COUNTED, name) == 1
