"""An order's steps, one call each, for tests that need an order further down its life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from ordino.api.app import build
from ordino.api.doors import Doors
from ordino.api.server import calm_collector
from ordino.cli.verify import verify
from ordino.core.connecting import Limits as Timeouts
from ordino.core.database import Database, Tx
from ordino.core.errors import OrdinoError
from ordino.core.payloads import KINDS
from ordino.core.reactions import Task
from ordino.core.rows import Limits
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans
from ordino.inventory import waiting
from ordino.orders.model import NewOrder, Placed
from ordino.orders.place import place
from ordino.orders.reactions import fill_backorders
from ordino.tracking.model import Kind, Recorded, TrackingEvent
from ordino.tracking.reactions import watch_parcel
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Pack, Packed, Pick, Picked, Released, Ship, Shipped
from ordino.warehouse.pack import pack
from ordino.warehouse.pick import pick
from ordino.warehouse.release import release
from ordino.warehouse.ship import ship
from ordino.web.answers import problem

T = TypeVar("T")
_reacted: set[tuple[Any, UUID]] = set()


def sure(outcome: Any, kind: type[T]) -> T:
    assert isinstance(outcome, kind), outcome
    return outcome


async def placed(database: Database, order: NewOrder, at: datetime) -> UUID:
    [outcome] = await database.transact(lambda tx: place(tx, [order], at=at))
    return sure(outcome, Placed).order_id


async def released(database: Database, order: NewOrder, at: datetime) -> tuple[UUID, list[UUID]]:
    """(order id, fulfillment order ids)"""
    order_id = await placed(database, order, at)
    [outcome] = await database.transact(lambda tx: release(tx, [order_id], at=at))
    return order_id, sure(outcome, Released).fulfillment_order_ids


async def picked(database: Database, order: NewOrder, at: datetime) -> tuple[UUID, list[UUID]]:
    order_id, ids = await released(database, order, at)
    picks = [Pick(order_id=order_id, fulfillment_order_id=id, all=True) for id in ids]
    for outcome in await database.transact(lambda tx: pick(tx, picks, at=at)):
        sure(outcome, Picked)
    return order_id, ids


async def packed(database: Database, order: NewOrder, at: datetime) -> tuple[UUID, list[UUID]]:
    order_id, ids = await picked(database, order, at)
    packs = [Pack(order_id=order_id, fulfillment_order_id=id, all=True) for id in ids]
    for outcome in await database.transact(lambda tx: pack(tx, packs, at=at)):
        sure(outcome, Packed)
    return order_id, ids


async def shipped(database: Database, order: NewOrder, at: datetime) -> tuple[UUID, list[Shipped]]:
    """Shipped and watched."""
    order_id, ids = await packed(database, order, at)
    ships = [
        Ship(order_id=order_id, fulfillment_order_id=id, tracking_number=f"T-{uuid4().hex}", all=True) for id in ids
    ]
    outcomes = await database.transact(lambda tx: ship(tx, ships, at=at))
    await react(database, watch_parcel, order_id, "shipment_shipped", at)
    return order_id, [sure(outcome, Shipped) for outcome in outcomes]


async def delivered(database: Database, order: NewOrder, at: datetime) -> tuple[UUID, list[Shipped]]:
    order_id, shipments = await shipped(database, order, at)
    said = [TrackingEvent(tracking_number=s.tracking_number, kind=Kind.DELIVERED, at=at) for s in shipments]
    for outcome in await database.transact(lambda tx: take_events(tx, said, at=at)):
        sure(outcome, Recorded)
    return order_id, shipments


async def events(database: Database, order_id: UUID, kind: str) -> list[dict[str, Any]]:
    """The facts of an order's events of one kind, oldest first."""
    rows = await database.pool.fetch(
        "SELECT data FROM core.events WHERE subject_id = $1 AND kind = $2 ORDER BY id", order_id, kind
    )
    return [msgspec.json.decode(row["data"]) for row in rows]


async def react(
    database: Database, reaction: Any, order_id: UUID, kind: str, at: datetime, **options: Any
) -> list[Task]:
    """Run a reaction on every event of one kind that the order has, once for each event, as the worker would."""
    rows = await database.pool.fetch(
        "SELECT id, data FROM core.events WHERE subject_id = $1 AND kind = $2 ORDER BY id", order_id, kind
    )
    tasks = [
        Task(0, uuid4(), "test", order_id, row["id"], at, {**msgspec.json.decode(row["data"]), **options}, 0)
        for row in rows
        if (reaction, row["id"]) not in _reacted
    ]
    _reacted.update((reaction, task.event_id) for task in tasks)
    await database.transact(lambda tx: reaction(tx, tasks, at))
    return tasks


async def serve_who_waits(database: Database, at: datetime) -> None:
    """What has become free is offered to the orders that wait, as a worker does it."""
    while sku_ids := await database.read(lambda tx: waiting.unserved_skus(tx, at=at, limit=1000)):
        task = Task(0, uuid4(), "test", uuid4(), uuid4(), at, {"sku_ids": sku_ids}, 0)
        await database.transact(lambda tx, task=task: fill_backorders(tx, [task], at))  # type: ignore[misc]


async def line(database: Database, order_id: UUID, line_no: int = 1) -> dict[str, Any]:
    row = await database.pool.fetchrow(
        "SELECT * FROM orders.lines WHERE order_id = $1 AND line_no = $2", order_id, line_no
    )
    return dict(row)


async def stock(database: Database, sku_id: int, location_id: int) -> tuple[int, int, int]:
    """(on hand, reserved, picked)"""
    row = await database.pool.fetchrow(
        "SELECT on_hand, reserved, picked FROM inventory.stock WHERE sku_id = $1 AND location_id = $2",
        sku_id,
        location_id,
    )
    return row["on_hand"], row["reserved"], row["picked"]


async def assert_clean(database: Database) -> None:
    report = await verify(database)
    assert report.broken == [], report.broken
    await assert_events_fit(database)


async def assert_events_fit(database: Database) -> None:
    """Every event that is stored is read as its type, which knows all of its fields."""
    rows = await database.pool.fetch("SELECT DISTINCT ON (kind, data) kind, data::text FROM core.events")
    told = [(row["kind"], msgspec.json.decode(row["data"])) for row in rows]
    assert [(kind, left) for kind, data in told if (left := unread(kind, data))] == []


def unread(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a stored event that its type does not know, or would write in another way."""
    again = msgspec.json.decode(msgspec.json.encode(KINDS[kind].read(data)))
    return {name: value for name, value in data.items() if name not in again or again[name] != value}


def client(database: Database, routes: Sequence[Any]) -> httpx.AsyncClient:
    """An application of these routes alone, called in this event loop."""
    app = Litestar(
        route_handlers=routes,
        dependencies={"database": Provide(lambda: database, sync_to_thread=False)},
        exception_handlers={OrdinoError: lambda _, error: problem(error)},  # type: ignore[dict-item]
        state=State({"row_limits": Limits()}),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


async def in_one(database: Database, verb: Any, items: Sequence[Any], at: datetime) -> list[Any]:
    """A batch in one transaction."""

    async def run(tx: Tx) -> Any:
        return await verb(tx, items, at=at)

    return list(await database.transact(run))


@asynccontextmanager
async def calling(app: Litestar, address: str = "127.0.0.1", *, doors: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client at an address, on a started application, which has its doors in front of it as the server has."""
    async with started(app.lifespan()):
        front: Any = Doors(app, body_limit_bytes=1_000_000) if doors else app
        transport = httpx.ASGITransport(front, raise_app_exceptions=False, client=(address, 5555))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as caller:
            yield caller


@asynccontextmanager
async def started(lifespan: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """What a lifespan gives, in a task of its own: a fixture may be entered and left in different tasks, a lifespan may not."""
    begun: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def live() -> None:
        async with lifespan as given:
            begun.set_result(given)
            await ended.wait()

    life = asyncio.create_task(live())
    await asyncio.wait({life, begun}, return_when=asyncio.FIRST_COMPLETED)
    yield begun.result() if begun.done() else await life  # type: ignore[misc]
    ended.set()
    await life


def application(database_url: str, settings: Settings | None = None, *, limits: Timeouts | None = None) -> Litestar:
    """The whole application on a database; ``limits`` say how long it waits for that."""

    async def open_database() -> Database:
        return await Database.open(database_url, plans=flow_plans(), limits=limits)

    return build(open_database, settings or Settings(body_limit_bytes=1_000_000))


def order_body(external_id: str, *, lines: int = 1) -> dict[str, Any]:
    """An order as a client sends it to a ``served_world``: one unit for 500 cents a line."""
    return {
        "channel": "refuse",
        "external_id": external_id,
        "currency": "USD",
        "lines": [{"sku": "sku-1", "quantity": 1, "unit_price_minor": 500} for _ in range(lines)],
        "total_minor": 500 * lines,
        "ship_to": {"name": "A", "line1": "1 Main Street", "city": "Columbus", "postal_code": "43215", "country": "US"},
    }


async def meanwhile(caller: httpx.AsyncClient, sending: Awaitable[T]) -> tuple[T, float]:
    """What ``sending`` came to, and how long this process kept a caller of `/health` waiting meanwhile at most, in seconds. The time in
    which it could have run and a busy machine ran others does not count; nor are cycles looked for among what the tests have
    loaded, as in a server.
    """
    calm_collector()
    task, took = asyncio.ensure_future(sending), 0.0
    while not task.done():
        began = time.perf_counter() - _passed_over_seconds()
        await asyncio.sleep(0.005)  # others have their turn: what keeps the event loop busy delays the answer
        assert (await caller.get("/health")).status_code == 200
        took = max(took, time.perf_counter() - _passed_over_seconds() - began)
    return await task, took


def _passed_over_seconds() -> float:
    """How long this thread has waited for a processor so far, as Linux counts it; 0 on other systems."""
    counted = Path("/proc/thread-self/schedstat")
    return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else 0.0
