"""Bulk work on orders as jobs: the verbs' own answers row by row, and files and reports of any span."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from ordino.api.server import load_stages
from ordino.core import jobs
from ordino.core.database import Database
from ordino.core.errors import Invalid, NotFound
from ordino.core.job_runner import JobRunner
from ordino.core.jobs import JobView, Outcome, RowView, State
from ordino.core.reactions import registry
from ordino.core.settings import Settings
from ordino.orders import jobs as kinds
from ordino.orders import replay as replay_module
from ordino.orders.jobs import ExportOrders, ReplayProfile
from ordino.orders.model import NewPayment
from ordino.orders.named import OrderNamed
from ordino.orders.replay import replay
from ordino.sourcing.document import packaged
from ordino.warehouse.jobs import ReleaseOrders
from steps import assert_clean, placed, released, shipped
from world import World, small_world

load_stages()
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
UNTIL = AT + timedelta(days=30)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock=1000)


@pytest.fixture(autouse=True)
async def clean(database: Database) -> AsyncIterator[None]:
    yield
    await assert_clean(database)


async def finished(database: Database, kind: str, sent: Any) -> JobView:
    """The job once a worker has done it."""
    at = database.clock.now()
    job = await database.transact(lambda tx: jobs.start(tx, registry.jobs[kind], sent, at=at))
    await JobRunner(database, registry.jobs, settings=Settings()).run_until_idle()
    return await database.read(lambda tx: jobs.job(tx, job.job_id))


async def rows_of(database: Database, job: JobView, outcome: Outcome | None = None) -> list[RowView]:
    return await database.read(lambda tx: jobs.rows_of_job(tx, job.job_id, outcome=outcome, after=0, limit=1000))


async def result_of(database: Database, job: JobView) -> bytes:
    found = await jobs.result(database, job.job_id, writes_file=registry.jobs[job.kind].writes_file)
    if found.document is not None:
        return found.document
    assert found.lines is not None
    return b"".join([part async for part in found.lines])


async def status_of(database: Database, order_id: UUID) -> str:
    status: str = await database.pool.fetchval("SELECT status FROM orders.orders WHERE order_id = $1", order_id)
    return status


async def test_orders_are_cancelled_by_id_and_by_what_their_channel_calls_them(
    database: Database, world: World
) -> None:
    one, two = [await placed(database, world.order(name), AT) for name in ("cancel-1", "cancel-2")]
    gone, _ = await shipped(database, world.order("cancel-3"), AT)
    nobody = uuid4()
    named = [
        OrderNamed(order_id=one),
        OrderNamed(channel=world.channel, external_id="cancel-2"),
        OrderNamed(order_id=gone),
        OrderNamed(order_id=nobody),
        OrderNamed(channel=world.channel, external_id="no such order"),
        OrderNamed(channel="no such channel", external_id="cancel-1"),
        OrderNamed(order_id=one),
    ]
    job = await finished(database, "cancel_orders", kinds.CancelOrders(orders=named, reason="fraud"))
    assert (job.state, job.total, job.done, job.refused) == (State.DONE, 7, 7, 5)
    rows = await rows_of(database, job)
    assert [row.code for row in rows] == [
        None, None, "too_late", "unknown_order", "unknown_order", "unknown_order", "too_late",
    ]  # fmt: skip
    assert rows[1].subject == f"{world.channel} cancel-2"
    assert rows[1].output["order_id"] == str(two)
    assert [await status_of(database, id) for id in (one, two, gone)] == ["cancelled", "cancelled", "shipped"]
    reasons = await database.pool.fetch(
        "SELECT DISTINCT reason FROM orders.moves WHERE order_id = ANY($1) AND to_state = 'cancelled'", [one, two]
    )
    assert [row["reason"] for row in reasons] == ["fraud"]


@pytest.mark.parametrize(
    "odd",
    [
        OrderNamed(),
        OrderNamed(channel="refuse"),
        OrderNamed(external_id="1"),
        OrderNamed(order_id=UUID(int=1), channel="refuse", external_id="1"),
        OrderNamed(order_id=UUID(int=1), channel="refuse"),
    ],
)
async def test_an_order_that_is_named_in_neither_way_refuses_the_whole_job(
    database: Database, world: World, odd: OrderNamed
) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM core.jobs")
    with pytest.raises(Invalid, match="Name an order by its `order_id`") as refused:
        await finished(database, "cancel_orders", kinds.CancelOrders(orders=[OrderNamed(order_id=UUID(int=2)), odd]))
    assert [fault.pointer for fault in refused.value.faults] == ["/orders/1"]
    assert await database.pool.fetchval("SELECT count(*) FROM core.jobs") == before


async def test_orders_are_released(database: Database, world: World) -> None:
    one = await placed(database, world.order("release-1"), AT)
    two, _ = await released(database, world.order("release-2"), AT)
    named = [
        OrderNamed(channel=world.channel, external_id="release-1"),
        OrderNamed(order_id=two),
        OrderNamed(order_id=UUID(int=1)),
        OrderNamed(channel=world.channel, external_id="nothing"),
    ]
    job = await finished(database, "release_orders", ReleaseOrders(orders=named))
    rows = await rows_of(database, job)
    assert [row.code for row in rows] == [None, None, "unknown", "unknown"]
    assert len(rows[0].output["fulfillment_order_ids"]) == 1
    assert rows[1].output["fulfillment_order_ids"] == []  # released before
    assert (
        await database.pool.fetchval("SELECT count(*) FROM warehouse.fulfillment_orders WHERE order_id = $1", one) == 1
    )


async def test_orders_are_imported_once_and_their_personal_data_does_not_stay(database: Database, world: World) -> None:
    orders = [world.order(f"import-{n}") for n in range(230)]
    orders[7] = world.order("import-7", {"no such SKU": 1})
    job = await finished(database, "import_orders", kinds.ImportOrders(orders=orders))
    assert (job.state, job.done, job.refused) == (State.DONE, 230, 1)
    [refused] = await rows_of(database, job, Outcome.REFUSED)
    assert (refused.row_no, refused.code, refused.pointer) == (8, "unknown_sku", "/lines/0/sku")
    assert refused.subject == f"{world.channel} import-7"
    said = await result_of(database, job)
    assert said.count(b"\n") == 230
    assert b"Main Street" not in said
    kept = await database.pool.fetchval("SELECT string_agg(r::text, '') FROM core.job_rows r")
    assert "Main Street" not in kept
    again = await finished(database, "import_orders", kinds.ImportOrders(orders=orders[:5]))
    assert [row.output["repeated"] for row in await rows_of(database, again)] == [True] * 5
    assert await database.pool.fetchval("SELECT count(*) FROM orders.orders WHERE external_id LIKE 'import-%'") == 229


async def test_an_order_with_a_payment_token_is_refused_by_an_import_and_its_token_is_kept_nowhere(
    database: Database, world: World
) -> None:
    token = f"tok-{uuid4().hex}"
    paid = NewPayment(amount_minor=1000, provider="manual", token=token)
    orders = [world.order("import-token", payments=[paid]), world.order("import-tokenless")]
    job = await database.transact(
        lambda tx: jobs.start(tx, registry.jobs["import_orders"], kinds.ImportOrders(orders=orders), at=AT)
    )
    [refused] = await rows_of(database, job, Outcome.REFUSED)
    assert (refused.row_no, refused.code, refused.pointer) == (1, "invalid", "/payments/0/token")
    kept = await database.pool.fetchval("SELECT string_agg(r::text, '') FROM core.job_rows r")
    assert token not in kept
    await JobRunner(database, registry.jobs, settings=Settings()).run_until_idle()
    assert (await database.read(lambda tx: jobs.job(tx, job.job_id))).done == 2


async def test_an_export_is_a_file_of_every_order_of_its_span(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "PAGE", 7)
    day = AT + timedelta(days=100)
    ids = [await placed(database, world.order(f"export-{n}", 2), day + timedelta(minutes=n // 3)) for n in range(25)]
    other = world.channels["backorder"]
    await placed(database, world.order("elsewhere", channel=other), day)
    wanted = ExportOrders(since=day, until=day + timedelta(hours=1), channel=world.channel)
    job = await finished(database, "export_orders", wanted)
    assert (job.state, job.done, job.total) == (State.DONE, 25, 25)
    lines = [msgspec.json.decode(line) for line in (await result_of(database, job)).splitlines()]
    assert sorted(line["order_id"] for line in lines) == sorted(map(str, ids))
    assert len({line["external_id"] for line in lines}) == 25
    [line] = lines[0]["lines"]
    assert (line["sku"], line["ordered"], line["allocated"], line["amount_minor"]) == (world.sku, 2, 2, 2000)
    assert b"Main Street" not in await result_of(database, job)
    cancelled = await finished(
        database, "export_orders", ExportOrders(since=day, until=day + timedelta(hours=1), status="cancelled")
    )
    assert (cancelled.state, cancelled.total, await result_of(database, cancelled)) == (State.DONE, 0, b"")


async def test_a_replay_as_a_job_says_what_a_replay_says(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = AT + timedelta(days=200)
    for n in range(23):
        await placed(database, world.order(f"replay-{n}", 1 + n % 3), day + timedelta(minutes=n))
    until = day + timedelta(days=1)
    whole = await replay(database, packaged(), day, until)
    monkeypatch.setattr(replay_module, "AT_ONCE", 5)
    job = await finished(database, "replay_profile", ReplayProfile(since=day, until=until, profile_version=0))
    assert (job.state, job.done, job.total) == (State.DONE, 23, 23)
    assert msgspec.json.decode(await result_of(database, job)) == msgspec.to_builtins(whole, str_keys=True)
    assert whole.orders == 23


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (ReplayProfile(since=AT, until=UNTIL), Invalid),
        (ReplayProfile(since=AT, until=UNTIL, document="x", profile_version=0), Invalid),
        (ReplayProfile(since=AT, until=UNTIL, document="no: [such"), Invalid),
        (ReplayProfile(since=UNTIL, until=AT, profile_version=0), Invalid),
        (ReplayProfile(since=AT, until=UNTIL, profile_version=0, channel="nowhere"), Invalid),
        (ReplayProfile(since=AT, until=UNTIL, profile_version=9999), NotFound),
        (ExportOrders(since=UNTIL, until=AT), Invalid),
        (ExportOrders(since=AT, until=UNTIL, channel="nowhere"), Invalid),
    ],
)
async def test_what_does_not_exist_is_refused_before_a_job_begins(
    database: Database, world: World, sent: Any, error: type[Exception]
) -> None:
    before = await database.pool.fetchval("SELECT count(*) FROM core.jobs")
    with pytest.raises(error):
        await finished(database, "replay_profile" if isinstance(sent, ReplayProfile) else "export_orders", sent)
    assert await database.pool.fetchval("SELECT count(*) FROM core.jobs") == before
