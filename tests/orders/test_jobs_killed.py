"""Workers that are killed on their way, as processes: their jobs go on where they stopped, and no row is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from ordino.api.server import load_stages
from ordino.core import jobs
from ordino.core.database import Database
from ordino.core.jobs import JobView, State
from ordino.core.reactions import registry
from ordino.flows.versions import flow_plans
from ordino.orders.jobs import CancelOrders
from ordino.orders.model import Placed
from ordino.orders.named import OrderNamed
from ordino.orders.place import place
from processes import Running, running
from steps import assert_clean, in_one
from world import World, served_world

ORDERS = 600
WORKER = {"ORDINO_JOB_LEASE_SECONDS": "1", "ORDINO_REEVALUATE_MINUTES": "0"}


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    load_stages()
    return await served_world(database, stock=10_000)


@pytest.fixture
async def order_ids(
    database: Database, database_url: str, world: World, request: pytest.FixtureRequest
) -> AsyncIterator[list[UUID]]:
    at = database.clock.now()
    orders = [world.order(f"{request.node.name}-{n}") for n in range(ORDERS)]
    async with await Database.open(database_url, plans=flow_plans()) as flowing:
        outcomes = await in_one(flowing, place, orders, at)
    yield [outcome.order_id for outcome in outcomes if isinstance(outcome, Placed)]
    await assert_clean(database)


async def cancelling(database: Database, order_ids: list[UUID]) -> JobView:
    sent = CancelOrders(orders=[OrderNamed(order_id=order_id) for order_id in order_ids])
    kind, at = registry.jobs["cancel_orders"], database.clock.now()
    return await database.transact(lambda tx: jobs.start(tx, kind, sent, at=at))


async def seen(database: Database, job: JobView) -> JobView:
    return await database.read(lambda tx: jobs.job(tx, job.job_id))


def over(database: Database, job: JobView) -> Callable[[], Awaitable[JobView | None]]:
    async def look() -> JobView | None:
        found = await seen(database, job)
        return found if found.state in jobs.OVER else None

    return look


async def times_cancelled(database: Database, order_ids: list[UUID]) -> list[int]:
    rows = await database.pool.fetch(
        "SELECT o.order_id, count(e.id) AS times FROM unnest($1::uuid[]) AS o (order_id)"
        " LEFT JOIN core.events e ON e.subject_id = o.order_id AND e.kind = 'units_cancelled' GROUP BY o.order_id",
        order_ids,
    )
    return [row["times"] for row in rows]


async def kill(worker: Running) -> None:
    worker.process.kill()
    await asyncio.to_thread(worker.process.wait)


async def test_job_1_killed_in_the_middle_of_a_row_the_job_goes_on_with_that_row(
    database: Database, database_url: str, order_ids: list[UUID], tmp_path: Path
) -> None:
    """One order is held by somebody else, so that its set hangs in the middle; then its worker is killed."""
    holder = await database.pool.acquire()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM orders.orders WHERE order_id = $1 FOR UPDATE", order_ids[120])
    job = await cancelling(database, order_ids)
    environment = {**WORKER, "ORDINO_DATABASE_URL": database_url}
    with running("work", output=tmp_path / "first", **environment) as worker:

        async def hangs() -> bool:
            waits = await database.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(waits) and (await seen(database, job)).done == 100

        await worker.until("came to the order that is held", hangs)
        await kill(worker)
    await transaction.rollback()
    await database.pool.release(holder)
    assert (await seen(database, job)).state is State.RUNNING
    with running("work", output=tmp_path / "second", **environment) as worker:
        found = await worker.until("went on", over(database, job))
    assert (found.state, found.done, found.refused) == (State.DONE, ORDERS, 0)
    assert await times_cancelled(database, order_ids) == [1] * ORDERS


async def test_job_1_killed_again_and_again_no_row_is_lost_or_done_twice(
    database: Database, database_url: str, order_ids: list[UUID], tmp_path: Path
) -> None:
    """Each time as soon as the job has got on; two workers do the rest."""
    job = await cancelling(database, order_ids)
    environment = {**WORKER, "ORDINO_DATABASE_URL": database_url}
    for number in range(2):
        before = (await seen(database, job)).done
        with running("work", output=tmp_path / f"{number}", **environment) as worker:

            async def got_on(before: int = before) -> bool:
                return (await seen(database, job)).done > before

            await worker.until("got on", got_on)
            await kill(worker)
        assert (await seen(database, job)).state is State.RUNNING
    with (
        running("work", output=tmp_path / "one", **environment),
        running("work", output=tmp_path / "other", **environment) as worker,
    ):
        found = await worker.until("went on", over(database, job))
    assert (found.state, found.done, found.refused) == (State.DONE, ORDERS, 0)
    assert await times_cancelled(database, order_ids) == [1] * ORDERS
