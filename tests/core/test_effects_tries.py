"""EFF-4: whoever tries a paused account finds out whether it is there, or leaves that to another at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from ordino.core import accounts
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database, Tx
from ordino.core.effects import Effect
from ordino.core.errors import AccountUnavailable, AnswerLost, NotYet, Unavailable
from ordino.core.reactions import Task, Worker
from outside import AT, calling, happen, left, marks, registry_of


class Server:
    """A server that is away, and answers everything once it is back, but for what ``odd`` says of some tasks. Tasks in ``gone`` have
    nothing to send.
    """

    def __init__(self) -> None:
        self.away = True
        self.odd: dict[int, Exception] = {}
        self.gone: set[int] = set()
        self.called: list[int] = []

    async def ask(self, tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Any]:
        return [None if task.data["n"] in self.gone else ("to", task.data["n"]) for task in tasks]

    async def call(self, task: Task, request: Any) -> Any:
        self.called.append(request[1])
        if self.away:
            raise AccountUnavailable("The server is away.")
        if request[1] in self.odd:
            raise self.odd[request[1]]
        return request

    def effect(self, *, one: bool) -> Effect:
        more: dict[str, Any] = {"one_account": lambda: "server"} if one else {"account": lambda request: "server"}
        return calling(self.call, ask=self.ask, at_once=4, **more)


async def paused(
    queue: Database, wall: SimulatedClock, *, one: bool, count: int = 12
) -> tuple[Server, Worker, list[Any]]:
    """So many tasks, whose server is back, and whose account's pause has just ended."""
    server = Server()
    ids = await happen(queue, "called", count)
    worker = Worker(queue, registry=registry_of(call=server.effect(one=one)), wall=wall)
    await worker.run_until_idle()
    assert [one.account for one in await queue.read(accounts.paused)] == ["server"]
    server.away = False
    server.called.clear()
    wall.advance_to(wall.now() + timedelta(seconds=6))
    return server, worker, ids


both = pytest.mark.parametrize("one", [True, False], ids=["one account", "several accounts"])


@both
async def test_eff_4_tasks_with_nothing_to_send_try_no_account(
    queue: Database, wall: SimulatedClock, one: bool
) -> None:
    server, worker, ids = await paused(queue, wall, one=one)
    server.gone = set(range(8))
    await worker.run_until_idle()
    assert await left(queue) == []
    assert await marks(queue) == set(ids[8:])
    assert await queue.read(accounts.paused) == []


@both
async def test_eff_4_an_account_that_has_not_decided_yet_is_there_for_the_others(
    queue: Database, wall: SimulatedClock, one: bool
) -> None:
    server, worker, ids = await paused(queue, wall, one=one)
    server.odd = dict.fromkeys(range(11), NotYet("It has not decided yet."))
    await worker.run_until_idle()
    assert await marks(queue) == set(ids[11:])
    assert await queue.read(accounts.paused) == []


@both
@pytest.mark.parametrize(
    "error",
    [AnswerLost("The connection was cut."), Unavailable("This recipient, later."), KeyError("a fault")],
    ids=lambda error: type(error).__name__,
)
async def test_eff_4_a_call_that_finds_nothing_out_leaves_its_account_to_another_after_five_seconds(
    queue: Database, wall: SimulatedClock, one: bool, error: Exception
) -> None:
    server, worker, ids = await paused(queue, wall, one=one)
    server.odd = {0: error}
    for _ in range(2):
        await worker.run_until_idle()
        wall.advance_to(wall.now() + timedelta(seconds=5))
    await worker.run_until_idle()
    assert await marks(queue) == set(ids[1:])
    assert server.called.count(0) <= 2
    assert await queue.read(accounts.paused) == []


@both
async def test_eff_4_a_task_that_is_given_up_leaves_its_account_to_another_at_once(
    queue: Database, wall: SimulatedClock, one: bool
) -> None:
    server, worker, ids = await paused(queue, wall, one=one)
    await queue.pool.execute("UPDATE core.reactions SET attempts = 50 WHERE (data->>'n')::int < 11")
    await worker.run_until_idle()
    assert server.called == [11]
    assert await marks(queue) == set(ids[11:])
    assert {row["dead_at"] for row in await left(queue)} == {AT}


async def test_eff_4_what_was_decided_on_an_account_meanwhile_stands(queue: Database, wall: SimulatedClock) -> None:
    """Whoever found nothing out does not end a pause that another call has asked for since."""
    at, longer = wall.now(), wall.now() + timedelta(hours=1)
    await queue.transact(lambda tx: accounts.pause(tx, "server", "It is away.", at=at, tried=False))
    wall.advance_to(at + timedelta(seconds=6))
    gate = await queue.read(lambda tx: accounts.gate(tx, ["server"], at=wall.now(), try_seconds=45))
    left = accounts.Undecided(account="server", until=gate.closed["server"], again_at=wall.now())
    await queue.transact(lambda tx: accounts.pause(tx, "server", "429.", at=wall.now(), tried=False, not_before=longer))
    await queue.transact(lambda tx: accounts.undecided(tx, [left]))
    [pause] = await queue.read(accounts.paused)
    assert pause.paused_until == longer


async def test_eff_4_of_two_workers_one_tries_whatever_it_finds_out(queue: Database, wall: SimulatedClock) -> None:
    server, worker, _ = await paused(queue, wall, one=True)
    server.odd = dict.fromkeys(range(12), AnswerLost("The connection was cut."))
    other = Worker(queue, registry=worker.registry, wall=wall)
    for times in range(1, 5):
        for each in (worker, other):
            await each.run_until_idle()
        assert len(server.called) == times
        wall.advance_to(wall.now() + timedelta(seconds=5))
