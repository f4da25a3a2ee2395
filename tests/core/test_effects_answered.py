"""Tasks whose answer needs no call: they are settled in sets, and hold up and spoil nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.effects import Answered, Effect
from ordino.core.reactions import Task, Worker
from outside import AT, at_work, calling, happen, left, marks, registry_of, until


class Desk:
    """Knows all answers but those to ``called``; ``sets`` are the sizes of the sets that were settled."""

    def __init__(self, *called: int, spoiled: int | None = None) -> None:
        self.called = called
        self.asked: list[int] = []
        self.sets: list[int] = []
        self.hang = asyncio.Event()
        self._marked = calling(self.call, spoiled=spoiled)

    async def ask(self, tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        return [task.data["n"] if task.data["n"] in self.called else Answered(task.data["n"]) for task in tasks]

    async def call(self, task: Task, request: Any) -> Any:
        self.asked.append(request)
        await self.hang.wait()
        return request

    async def settle(self, tx: Tx, answers: Sequence[tuple[Task, Any]], at: datetime) -> None:
        assert all(task.data["n"] == answer for task, answer in answers)
        await self._marked.settle(tx, answers, at)
        self.sets.append(len(answers))

    def effect(self) -> Effect:
        return Effect(ask=self.ask, call=self.call, settle=self.settle, account=lambda request: "desk", at_once=100)


async def test_answers_that_need_no_call_are_settled_in_sets_of_a_batch(queue: Database) -> None:
    desk = Desk()
    ids = await happen(queue, "called", 250)
    worker = Worker(queue, registry=registry_of(call=desk.effect()), batch_size=100)
    await worker.run_until_idle()
    assert await marks(queue) == set(ids)
    assert await left(queue) == []
    assert desk.asked == []
    assert sum(desk.sets) == 250
    assert 50 <= max(desk.sets) <= 100


async def test_an_answer_that_cannot_be_settled_spoils_no_other(queue: Database) -> None:
    desk = Desk(spoiled=3)
    ids = await happen(queue, "called", 8)
    worker = Worker(queue, registry=registry_of(call=desk.effect()), wall=SimulatedClock(AT))
    await worker.run_until_idle()
    assert await marks(queue) == {*ids[:3], *ids[4:]}
    [one] = await left(queue)
    assert (one["event_id"], one["failure"], one["attempts"]) == (ids[3], "not_written_down", 1)


async def test_a_call_that_hangs_keeps_no_known_answer_waiting(queue: Database) -> None:
    desk = Desk(0)
    ids = await happen(queue, "called", 30)
    async with at_work(Worker(queue, registry=registry_of(call=desk.effect()), batch_size=10)):

        async def all_but_one() -> bool:
            return len(await marks(queue)) == 29

        await until(all_but_one)
        assert desk.asked == [0]
        desk.hang.set()
    assert await marks(queue) == set(ids)
