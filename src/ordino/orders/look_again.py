"""Orders that nobody works on yet are looked at again when the network, a routing profile or a SKU has changed.

A duty sees the change, within a second, and a closure that begins or ends by itself, too; then the orders are gone through page by
page, each page in a transaction of its own: exceptions that may be over, units that wait, units that stay at closed locations, and
units that are allocated and not released, the newest first. Every hour those with exceptions and at closed locations are looked
at anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ordino.core.database import Tx
from ordino.core.events import Due, enqueue
from ordino.core.ids import new_id, new_ids
from ordino.core.reactions import Task, registry
from ordino.core.statements import statements
from ordino.network.facts import facts
from ordino.orders import ledger
from ordino.orders.exceptions import NOT_SERVABLE
from ordino.orders.leave import leave, shut, stop_keeping
from ordino.orders.servable import judge

sql = statements("ordino.orders")
core_sql = statements("ordino.core")
KIND = "look_again"
SEEN = "looked_at"
PAGE = 500
LOOK_BACK = timedelta(days=30)
"""An order that is older and not released yet is looked at when it is to be released."""
NIL = UUID(int=0)
LAST = UUID(int=(1 << 128) - 1)
PHASES = ("exceptions", "waiting", "kept", "not_released", "servable")
"""The last two go through the same orders: each takes its own locks, and none after stock."""


async def see_changes(tx: Tx, since: datetime, at: datetime) -> None:
    """Begin to look again, if there is reason to."""
    numbers = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
    stands = numbers["network"] + numbers["goods"] + numbers["profiles"]
    changed = stands != numbers[SEEN]
    turned = (await facts(tx)).closures_turn(since, at)
    if changed and not turned and (await core_sql.queued(tx, kind=KIND))[0]["is_there"]:
        return  # orders are being gone through already; what has changed since is seen after that
    if changed or turned:
        await core_sql.set_revision(tx, name=SEEN, number=stands)
        await _enqueue(tx, {"phases": PHASES}, at)
    elif (since.hour, since.date()) != (at.hour, at.date()):
        await _enqueue(tx, {"phases": ("exceptions", "kept")}, at)


registry.duty("see_changes", every_seconds=1)(see_changes)


@registry.reaction(KIND)
async def look_again(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """One page of the first phase; what is left is another reaction."""
    task, *others = tasks
    phase, *later = task.data["phases"]
    order_ids, after = await _page(tx, phase, task.data.get("after"), at)
    if order_ids:
        await _look(tx, phase, order_ids, at)
    if after is not None:
        await _enqueue(tx, {"phases": task.data["phases"], "after": after}, at)
    elif later:
        await _enqueue(tx, {"phases": later}, at)
    for other in others:  # each in a transaction of its own: it locks orders, and they go first
        await _enqueue(tx, other.data, at)


async def _page(tx: Tx, phase: str, after: Any, at: datetime) -> tuple[list[UUID], Any]:
    """Orders to look at, and where the next page begins; None: this was the last one."""
    if phase in ("not_released", "servable"):
        before_at, before_id = at + timedelta(days=1), LAST
        if after is not None:
            before_at, before_id = datetime.fromisoformat(after[0]), UUID(after[1])
        rows = await sql.orders_not_released(
            tx, since=at - LOOK_BACK, before_at=before_at, before_id=before_id, limit=4 * PAGE
        )
        more = (rows[-1]["placed_at"], rows[-1]["order_id"]) if len(rows) == 4 * PAGE else None
        return [row["order_id"] for row in rows if row["tentative"]], more
    last = NIL if after is None else UUID(after)
    if phase == "exceptions":
        rows = await sql.orders_with_exceptions(tx, kind=NOT_SERVABLE, after=last, limit=PAGE)
    elif phase == "waiting":
        rows = await sql.orders_that_wait(tx, after=last, limit=PAGE)
    else:
        rows = await sql.orders_that_keep(tx, after=last, limit=PAGE)
    order_ids = [row["order_id"] for row in rows]
    return order_ids, order_ids[-1] if len(order_ids) == PAGE else None


async def _look(tx: Tx, phase: str, order_ids: Sequence[UUID], at: datetime) -> None:
    if phase in ("kept", "not_released"):
        await leave_closed(tx, order_ids, at=at)
    else:
        await judge(tx, order_ids, at=at)


async def leave_closed(tx: Tx, order_ids: Sequence[UUID], *, at: datetime) -> None:
    """Units of these orders leave closed locations; those that stay are told of, and those whose location is open again go on."""
    network = await facts(tx)
    known = await ledger.orders(tx, order_ids)
    closed = {row.order_id for row in shut(await ledger.allocations(tx, known), known, network, at)}
    kept = {row["order_id"] for row in await sql.kept_allocations(tx, order_ids=list(known))}
    orders = await ledger.lock(tx, closed | kept)  # and as they stand, now that nobody else changes them
    if not orders:
        return
    was = await sql.kept_allocations(tx, order_ids=list(orders))
    rows = shut(await ledger.allocations(tx, orders), orders, network, at)
    left = await leave(tx, orders, rows, network, at=at)
    still = {(row.order_id, row.line_no, row.location_id) for row in rows}
    await stop_keeping(
        tx, [key for row in was if (key := (row["order_id"], row["line_no"], row["location_id"])) not in still]
    )
    wanted: dict[UUID, bool] = defaultdict(bool)
    for row in was:
        goes_on = (row["order_id"], row["line_no"], row["location_id"]) not in still and row["units"] > 0
        wanted[row["order_id"]] |= row["release_wanted"] and (goes_on or row["order_id"] in left.moved)
    await _release(tx, sorted(order_id for order_id, due in wanted.items() if due), at)


async def _release(tx: Tx, order_ids: Sequence[UUID], at: datetime) -> None:
    """Orders whose release has waited for an open location. The reaction is named as a flow names it: its stage comes later."""
    ids = new_ids(at, len(order_ids))
    due = [Due("release", order_id, id_, at) for order_id, id_ in zip(order_ids, ids, strict=True)]
    await enqueue(tx, due, at=at)


async def _enqueue(tx: Tx, data: dict[str, Any], at: datetime) -> None:
    id_ = new_id(at)
    await enqueue(tx, [Due(KIND, id_, id_, at, msgspec.json.encode(data).decode())], at=at)
