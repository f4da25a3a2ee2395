"""EFF-3 and EFF-6: whatever an adapter does, its call ends in time, fails alone, and is told to have been done if it may have been."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from ordino.core import accounts
from ordino.core import calling as one_call
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.errors import AccountUnavailable, AnswerLost, NotYet, Refused, Unavailable
from ordino.core.failures import MEANS, Failure, remembered
from ordino.core.reactions import Task, Worker
from outside import AT, calling, happen, left, marks, registry_of


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot say what happened")


class Foreign(BaseException):
    """What no adapter should raise."""


@pytest.mark.parametrize(
    ("error", "failure", "words"),
    [
        (Speechless(), "fault", "Speechless: it cannot say what happened"),
        (Refused({"code": "closed"}), "refused", "{'code': 'closed'}"),  # type: ignore[arg-type]
        (Refused(None), "refused", "None"),  # type: ignore[arg-type]
        (Unavailable("Later.", "600"), "unavailable", "Unavailable: Later."),  # type: ignore[arg-type]
        (Unavailable("Later.", "soon"), "unavailable", "Unavailable: Later."),  # type: ignore[arg-type]
        (Unavailable("Later.", timedelta(hours=1)), "unavailable", "Unavailable: Later."),  # type: ignore[arg-type]
        (Unavailable("Later.", 10**400), "unavailable", "Unavailable: Later."),
        (ValueError("x" * 50_000_000), "fault", "ValueError: xxx"),
        (asyncio.CancelledError(), "answer_lost", "The call was broken off from inside."),
        (SystemExit(1), "answer_lost", "The adapter ended with SystemExit."),
        (Foreign(), "answer_lost", "The adapter ended with Foreign."),
        (BaseExceptionGroup("many", [Foreign()]), "answer_lost", "The adapter ended with BaseExceptionGroup."),
    ],
    ids=[
        "cannot be printed", "refusal of a dict", "refusal of nothing", "retry after text", "retry after words",
        "retry after a timedelta", "retry after 10^400", "50 MB of words", "cancelled", "exit", "foreign", "group",
    ],
)  # fmt: skip
async def test_eff_3_whatever_an_adapter_raises_its_task_fails_alone_and_at_once(
    queue: Database, wall: SimulatedClock, error: BaseException, failure: str, words: str
) -> None:
    async def call(task: Task, request: Any) -> Any:
        if request == 1:
            raise error
        return request

    ids = await happen(queue, "called", 3)
    await Worker(queue, registry=registry_of(call=calling(call)), wall=wall).run_due()
    assert await marks(queue) == {ids[0], ids[2]}
    [row] = await left(queue)
    assert (row["lease"], row["failure"], row["attempts"]) == (None, failure, 1)
    assert row["last_error"].startswith(words)
    assert len(row["last_error"]) <= 2000


async def test_eff_4_an_account_that_asks_for_patience_in_words_is_paused(
    queue: Database, wall: SimulatedClock
) -> None:
    async def call(task: Task, request: Any) -> Any:
        raise AccountUnavailable("429 Too Many Requests.", retry_after_seconds="600")  # type: ignore[arg-type]

    await happen(queue, "called", 3)
    effect = calling(call, at_once=1, one_account=lambda: "shop")
    await Worker(queue, registry=registry_of(call=effect), wall=wall).run_due()
    [pause] = await queue.read(accounts.paused)
    assert pause.paused_until == wall.now() + timedelta(seconds=600)
    assert {(row["lease"], row["attempts"]) for row in await left(queue)} == {(None, 0)}


async def test_eff_3_a_call_that_does_not_end_when_told_to_is_left_alone_at_its_limit(
    queue: Database, wall: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_call, "END_SECONDS", 0.1)
    gate, told = asyncio.Event(), list[int]()

    async def call(task: Task, request: Any) -> Any:
        while request == 0 and not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                told.append(request)
        return request

    ids = await happen(queue, "called", 2)
    began = time.monotonic()
    worker = Worker(queue, registry=registry_of(call=calling(call, call_seconds=0.2)), wall=wall)
    await worker.run_due()
    assert time.monotonic() - began < 30
    assert told
    [row] = await left(queue)
    assert (row["subject_id"], row["lease"], row["failure"]) == (ids[0], None, "answer_lost")
    assert row["last_error"].startswith("There was no answer within 0.2 seconds.")
    assert worker.calls["call"].turns.places.free(0.0) == 100  # the place is free again
    gate.set()


async def test_eff_3_an_answer_that_comes_while_a_call_is_ended_counts(queue: Database, wall: SimulatedClock) -> None:
    async def call(task: Task, request: Any) -> Any:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return request

    ids = await happen(queue, "called", 1)
    await Worker(queue, registry=registry_of(call=calling(call, call_seconds=0.1)), wall=wall).run_due()
    assert await marks(queue) == set(ids)


@pytest.mark.parametrize(
    ("errors", "failure"),
    [
        ([AnswerLost("Cut."), Unavailable("Away.")], "answer_lost"),
        ([AnswerLost("Cut."), KeyError("a fault")], "answer_lost"),
        ([AnswerLost("Cut."), AccountUnavailable("503.")], "answer_lost"),
        ([AnswerLost("Cut."), ConnectionRefusedError()], "answer_lost"),
        ([AnswerLost("Cut."), NotYet("It has not decided yet.")], None),
        ([AnswerLost("Cut."), NotYet("It has not decided yet."), Unavailable("Away.")], "unavailable"),
        ([AnswerLost("Cut."), Refused("Never.")], "refused"),
        ([Unavailable("Away."), KeyError("a fault")], "fault"),
        ([Unavailable("Away."), AnswerLost("Cut.")], "answer_lost"),
    ],
    ids=lambda one: "-".join(type(error).__name__ for error in one) if isinstance(one, list) else str(one),
)
async def test_eff_6_what_may_have_been_done_stays_so_until_it_is_answered(
    queue: Database, wall: SimulatedClock, errors: list[Exception], failure: str | None
) -> None:
    coming = list(errors)

    async def call(task: Task, request: Any) -> Any:
        raise coming.pop(0)

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call, account=lambda request: "shop")), wall=wall)
    while coming:
        await worker.run_due()
        wall.advance_to(wall.now() + timedelta(hours=2))
    [row] = await left(queue)
    assert row["failure"] == failure


async def test_eff_6_a_dead_letter_whose_last_call_was_not_made_says_that_an_earlier_one_may_have_been_done(
    queue: Database, wall: SimulatedClock
) -> None:
    called: list[int] = []

    async def call(task: Task, request: Any) -> Any:
        called.append(1)
        raise AnswerLost("Cut.") if len(called) == 1 else Unavailable("Away.")

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call)), wall=wall, max_attempts=3)
    for _ in range(4):
        await worker.run_until_idle()
        wall.advance_to(wall.now() + timedelta(hours=2))
    [row] = await left(queue)
    assert row["dead_at"] is not None
    assert "may have been done" in MEANS[Failure(row["failure"])]


async def test_eff_6_an_outage_of_the_account_between_makes_no_third_call_of_what_cannot_be_written_down(
    queue: Database, wall: SimulatedClock
) -> None:
    answered, called = [], list[int]()

    async def call(task: Task, request: Any) -> Any:
        called.append(1)
        if len(called) == 2:
            raise Unavailable("Away.")
        answered.append(1)
        return request

    await happen(queue, "called", 1)
    worker = Worker(queue, registry=registry_of(call=calling(call, spoiled=0)), wall=wall)
    for _ in range(6):
        await worker.run_until_idle()
        wall.advance_to(wall.now() + timedelta(hours=2))
    assert len(answered) == 2
    [row] = await left(queue)
    assert (row["failure"], row["dead_at"]) == ("not_written_down", AT)


def test_what_is_remembered_of_a_failure() -> None:
    assert remembered(None, None) is None
    assert remembered(None, Failure.FAULT) is Failure.FAULT
    assert remembered("answer_lost", None) is Failure.ANSWER_LOST
    assert remembered("not_written_down", Failure.ANSWER_LOST) is Failure.NOT_WRITTEN_DOWN
    assert remembered("answer_lost", Failure.NOT_WRITTEN_DOWN) is Failure.NOT_WRITTEN_DOWN
    assert remembered("not_written_down", Failure.REFUSED) is Failure.REFUSED
