"""EFF-4 and EFF-6: who asks for patience gets it, and a lost answer is told apart from a refusal."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from ordino.api.dead_letters import dead_letters
from ordino.core import accounts
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.effects import backoff_seconds
from ordino.core.errors import AccountUnavailable, AnswerLost, Invalid, NotFound, NotYet, Refused, Unavailable
from ordino.core.reactions import Task, Worker
from ordino.core.statements import statements
from ordino.core.taken import chosen_effects
from outside import AT, at_work, calling, echo, happen, left, marks, registry_of, until

sql = statements("ordino.core")


def pass_(wall: SimulatedClock, seconds: float) -> None:
    wall.advance_to(wall.now() + timedelta(seconds=seconds))


@pytest.mark.parametrize("one", [True, False])
async def test_eff_4_a_thousand_tasks_of_an_account_that_asks_for_ten_minutes_wait_that_long_and_lose_no_attempt(
    queue: Database, wall: SimulatedClock, one: bool
) -> None:
    busy, called = [True], list[int]()

    async def call(task: Task, request: Any) -> Any:
        called.append(request)
        if busy:
            raise AccountUnavailable("429 Too Many Requests.", retry_after_seconds=600)
        return request

    more: dict[str, Any] = {"one_account": lambda: "shop"} if one else {"account": lambda request: "shop"}
    ids = await happen(queue, "called", 1000)
    worker = Worker(queue, registry=registry_of(call=calling(call, at_once=20, **more)), wall=wall, max_attempts=2)
    await worker.run_until_idle()
    first = len(called)
    assert 0 < first <= 20
    pass_(wall, 599)
    await worker.run_until_idle()
    assert len(called) == first
    pass_(wall, 2)
    await worker.run_until_idle()
    assert len(called) == first + 1  # one tries it
    [pause] = await queue.read(accounts.paused)
    assert (pause.failures, pause.paused_until - wall.now()) == (2, timedelta(seconds=600))
    assert {(row["attempts"], row["dead_at"], row["lease"]) for row in await left(queue)} == {(0, None, None)}
    busy.clear()
    pass_(wall, 601)
    await worker.run_until_idle()
    assert await marks(queue) == set(ids)
    assert len(called) == first + 1 + 1000


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (600, 600, 600),
        (10 * 86_400, 86_400, 86_400),
        (float("inf"), 86_400, 86_400),
        (0, 0.05, 2),
        (-5, 0.05, 2),
        (float("nan"), 0.05, 2),
        (None, 0.05, 2),
    ],
)
async def test_eff_4_a_task_waits_as_long_as_it_is_told_to_and_a_day_at_most(
    queue: Database, wall: SimulatedClock, asked: float | None, least: float, most: float
) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise Unavailable("Later.", retry_after_seconds=asked)

    await happen(queue, "called", 1)
    await Worker(queue, registry=registry_of(call=calling(call)), wall=wall).run_until_idle()
    [row] = await left(queue)
    assert least <= (row["wait_until"] - wall.now()).total_seconds() <= most
    assert (row["failure"], row["attempts"], row["waiting_since"]) == ("unavailable", 1, wall.now())


def test_backoff_is_spread_over_all_of_its_time_and_never_longer_than_an_hour() -> None:
    waits = [backoff_seconds(5) for _ in range(2000)]
    assert min(waits) < 4
    assert 28 < max(waits) <= 32
    assert max(backoff_seconds(60) for _ in range(200)) <= 3600


async def test_what_waits_for_another_waits_ten_minutes_at_most(queue: Database, wall: SimulatedClock) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise NotYet("The other one comes first.")

    await happen(queue, "called", 50)
    worker = Worker(queue, registry=registry_of(call=calling(call)), wall=wall)
    for _ in range(3):
        await worker.run_due()
        waits = [(row["wait_until"] - wall.now()).total_seconds() for row in await left(queue)]
        pass_(wall, 86_400)
    assert 480 <= min(waits) < max(waits) <= 600


@pytest.mark.parametrize(
    ("error", "failure", "words"),
    [
        (Refused("The card is closed."), "refused", "The card is closed."),
        (AnswerLost("The connection was cut. It may have been done."), "answer_lost", "The connection was cut."),
        (ConnectionResetError("reset by peer"), "answer_lost", "ConnectionResetError: reset by peer"),
        (TimeoutError("no answer"), "answer_lost", "TimeoutError: no answer"),
        (msgspec.DecodeError("garbage"), "answer_lost", "DecodeError: garbage"),
        (json.JSONDecodeError("garbage", "<html>", 0), "answer_lost", "JSONDecodeError: garbage"),
        (ConnectionRefusedError("nobody there"), "unavailable", "ConnectionRefusedError: nobody there"),
        (socket.gaierror("no such host"), "unavailable", "gaierror: no such host"),
        (Unavailable("Later."), "unavailable", "Unavailable: Later."),
        (KeyError("a fault"), "fault", "KeyError: 'a fault'"),
        (ValueError("with \x00 and \ud800"), "fault", "ValueError: with ? and ?"),
    ],
)
async def test_eff_6_the_queue_says_how_it_failed(
    queue: Database, wall: SimulatedClock, error: Exception, failure: str, words: str
) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise error

    await happen(queue, "called", 1)
    await Worker(queue, registry=registry_of(call=calling(call)), wall=wall).run_due()
    [row] = await left(queue)
    assert (row["failure"], row["attempts"]) == (failure, 1)
    assert row["last_error"].startswith(words)
    assert (row["dead_at"] is not None) == (failure == "refused")


async def test_eff_6_a_person_reads_whether_it_may_have_been_done(queue: Database, wall: SimulatedClock) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise [Refused("Never."), AnswerLost("The connection was cut."), Unavailable("It is away.")][request]

    await happen(queue, "called", 3)
    await Worker(queue, registry=registry_of(call=calling(call)), wall=wall, max_attempts=1).run_due()
    letters = await queue.read(lambda tx: dead_letters(tx, 10))
    assert {letter.data["n"]: letter.what_happened for letter in letters} == {
        0: "refused",
        1: "the answer was lost: it may have been done",
        2: "could not be reached",
    }
    again = [letter.id for letter in letters]
    await queue.transact(lambda tx: sql.replay(tx, ids=again, at=AT))
    assert await Worker(queue, registry=registry_of(call=calling(echo)), wall=wall).run_until_idle() == 3


async def test_eff_6_what_was_answered_and_not_written_down_is_called_once_more_with_the_same_key(
    queue: Database, wall: SimulatedClock
) -> None:
    keys, settled = [], list[int]()

    async def call(task: Task, request: Any) -> Any:
        keys.append(task.id)
        return request

    async def settle(tx: Any, answers: Any, at: Any) -> None:
        settled.append(1)
        if len(settled) == 1:
            raise ValueError("a fault")

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call, settle=settle)), wall=wall)
    for _ in range(5):
        await worker.run_until_idle()
        pass_(wall, 7200)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert not await left(queue)


async def test_eff_6_what_can_never_be_written_down_is_called_once_more_and_then_waits_for_a_person(
    queue: Database, wall: SimulatedClock
) -> None:
    keys = []

    async def call(task: Task, request: Any) -> Any:
        keys.append(task.id)
        return request

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call, spoiled=0)), wall=wall)
    for _ in range(5):
        await worker.run_until_idle()
        pass_(wall, 7200)
    assert len(keys) == 2
    [row] = await left(queue)
    assert (row["failure"], row["dead_at"]) == ("not_written_down", AT)
    assert row["last_error"].startswith("It was answered, and the answer could not be written down. ValueError")


async def test_eff_6_a_call_that_takes_every_worker_with_it_waits_for_a_person_in_the_end(
    queue: Database, wall: SimulatedClock
) -> None:
    called = []

    async def call(task: Task, request: Any) -> Any:
        called.append(request)

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call)), wall=wall, max_attempts=3)
    for attempts in range(1, 4):
        await queue.pool.execute(
            "UPDATE core.reactions SET lease = $1, leased_until = $2, attempts = $3", uuid4(), wall.now(), attempts
        )
        if attempts < 3:
            await worker._free_expired()
            [row] = await left(queue)
            assert (row["failure"], row["lease"], row["due_at"]) == ("answer_lost", None, AT)
            assert "It may have been done" in row["last_error"]
    await worker.run_until_idle()
    assert called == []
    [row] = await left(queue)
    assert (row["failure"], row["dead_at"], row["attempts"]) == ("answer_lost", AT, 3)


async def test_a_person_ends_a_pause_and_one_call_tries_the_account(queue: Database, wall: SimulatedClock) -> None:
    called = []

    async def call(task: Task, request: Any) -> Any:
        called.append(request)
        raise AccountUnavailable("The key is wrong.", retry_after_seconds=86_400)

    await happen(queue, "called", 5)
    effect = calling(call, at_once=1, account=lambda request: "shop")
    worker = Worker(queue, registry=registry_of(call=effect), wall=wall)
    await worker.run_until_idle()
    before = len(called)
    with pytest.raises(NotFound, match=r"no paused account 'shop2'\. Paused are `shop`\."):
        await queue.transact(lambda tx: accounts.resume(tx, "shop2", at=wall.now()))
    resumed = await queue.transact(lambda tx: accounts.resume(tx, "shop", at=wall.now()))
    assert resumed.paused_until == wall.now()
    await worker.run_until_idle()
    assert len(called) == before + 1


def test_effects_are_chosen_by_name_and_unknown_names_are_refused_with_the_list() -> None:
    known = ["authorize", "capture", "send"]
    assert chosen_effects(None, known) == set(known)
    for nothing in ("", " , "):
        with pytest.raises(Invalid, match="it is empty"):
            chosen_effects(nothing, known)
    assert chosen_effects("none", known) == set()
    assert chosen_effects("authorize, send", known) == {"authorize", "send"}
    with pytest.raises(Invalid, match=r"`capturee` is no effect\. Name some of authorize, capture, send"):
        chosen_effects("authorize,capturee", known)
    with pytest.raises(Invalid, match="`none` is no effect"):
        chosen_effects("authorize,none", known)


async def test_eff_2_a_worker_takes_only_the_effects_that_it_is_told_to(queue: Database, wall: SimulatedClock) -> None:
    [one] = await happen(queue, "called", 1)
    [two] = await happen(queue, "other", 1)
    registry = registry_of(call=calling(echo), other=calling(echo))
    first = Worker(queue, registry=registry, wall=wall, effects=["call"], poll_seconds=0.02)
    none = Worker(queue, registry=registry, wall=wall, effects=[], poll_seconds=0.02)
    assert await none.run_until_idle() == 0

    async def is_done() -> bool:
        return await marks(queue) == {one}

    async with at_work(first, none):
        await until(is_done)
    assert [row["kind"] for row in await queue.read(lambda tx: sql.taken_effects(tx))] == ["call"]
    assert first.introduction() == [
        "This worker takes these effects: call.",
        "It leaves these to other workers: other.",
    ]
    await Worker(queue, registry=registry, wall=wall).run_until_idle()
    assert await marks(queue) == {one, two}
