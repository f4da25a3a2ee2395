"""Closing places, and what the worker's duties make of it, for tests of more than one stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from ordino.core.database import Database
from ordino.core.reactions import Task
from ordino.network import read
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.network.upsert import upsert_locations, upsert_networks
from ordino.orders.exceptions import ExceptionView, exceptions
from ordino.orders.look_again import look_again, see_changes
from ordino.warehouse.closed import watch_closed
from steps import in_one
from world import World
from world import sure as written


async def close(database: Database, location: str, at: datetime, **more: Any) -> str:
    """A closure of the location; returns its code."""
    code = f"closed-{location}"
    one = Closure(code=code, location=location, reason="flood", **more)
    written(await in_one(database, upsert_closures, [one], at))
    return code


async def open_again(database: Database, location: str) -> None:
    await database.transact(lambda tx: reopen(tx, f"closed-{location}"))


async def switch(database: Database, location: str, at: datetime, *, active: bool) -> None:
    [one] = await database.read(lambda tx: read.locations(tx, [location]))
    written(await in_one(database, upsert_locations, [replace(one, active=active)], at))


async def take_out(database: Database, world: World, location: str, at: datetime) -> None:
    """The location leaves the network."""
    [one] = await database.read(lambda tx: read.networks(tx, [world.network]))
    members = [member for member in one.members if member.location != location]
    written(await in_one(database, upsert_networks, [replace(one, members=members)], at))


async def look(database: Database, at: datetime, since: datetime | None = None) -> None:
    """What the duties do within a second."""
    await database.transact(lambda tx: see_changes(tx, since or at, at))
    while rows := await database.pool.fetch("DELETE FROM core.reactions WHERE kind = 'look_again' RETURNING *"):
        tasks = [
            Task(
                0, row["id"], "look_again", row["subject_id"], row["event_id"], at, msgspec.json.decode(row["data"]), 0
            )
            for row in rows
        ]
        await database.transact(lambda tx, tasks=tasks: look_again(tx, tasks, at))  # type: ignore[misc]
    await database.transact(lambda tx: watch_closed(tx, since or at, at))


async def allocated_at(database: Database, order_id: UUID) -> dict[int, int]:
    """Location id -> units that are allocated there."""
    rows = await database.pool.fetch(
        "SELECT location_id, sum(quantity)::bigint AS units FROM orders.allocations "
        "WHERE order_id = $1 AND quantity > 0 GROUP BY 1",
        order_id,
    )
    return {row["location_id"]: row["units"] for row in rows}


async def queued(database: Database, kind: str, order_id: UUID) -> int:
    """How many reactions of a kind are to run for an order; they are taken away."""
    rows = await database.pool.fetch(
        "DELETE FROM core.reactions WHERE kind = $1 AND subject_id = $2 RETURNING id", kind, order_id
    )
    return len(rows)


async def open_exceptions(database: Database, order_id: UUID, *, all: bool = False) -> Sequence[ExceptionView]:
    found = await database.read(lambda tx: exceptions(tx, limit=1000, all=all))
    return [one for one in found if one.order_id == order_id]
