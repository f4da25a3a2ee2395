"""What orders do about what happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.events import BUCKETS, Event, declare, record
from ordino.core.ids import new_ids
from ordino.core.reactions import Task, registry
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.orders import ledger, look_again, payments, shortfalls  # noqa: F401 - one of them registers its own duty
from ordino.orders.allocate import NIL, allocate, waiting_for
from ordino.orders.model import State, UnitMove
from ordino.orders.value import value_given_back

core_sql = statements("ordino.core")
sql = statements("ordino.orders")
FILLED_AT_ONCE = 5000

declare(
    order_placed="An order was accepted.",
    units_backordered="Units of a new order wait for stock.",
    promise_endangered="No plan keeps the promise that the buyer was given; the best one was taken.",
    sourcing_given_up="Units that several locations could not supply are no longer sourced, and need a person.",
    exception_resolved="A person has seen to an exception.",
    condition_failed="A strategy's condition could not be evaluated on the order; the strategy was passed over.",
    order_resourced="Units that nobody works on yet come from elsewhere: for less, or because their location is closed.",
    exception_cleared="What an exception was about is over, without anybody's doing.",
    order_allocated="Units that waited have found a location.",
    units_cancelled="Units are no longer owed to the customer.",
    cancellation_wanted="Units that the warehouse has are to be stopped.",
    payment_authorized="The provider holds the money.",
    payment_declined="The provider said no.",
    payment_captured="The money of a shipment was taken.",
    payment_voided="Money that is no longer owed was let go.",
    payment_refunded="Money went back to the customer.",
    lost_settled="Units that were lost on the way are cancelled.",
)

registry.effect("authorize", payments.authorize)
registry.effect("capture", payments.capture)
registry.effect("void", payments.void)
registry.effect("refund", payments.refund)


@registry.reaction("source")
async def source(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Look for another location for the units that an order waits for."""
    await allocate(tx, sorted({task.subject_id for task in tasks}), at=at)


@registry.reaction("fill_backorders")
async def fill_backorders(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that are free go to who waits for them, first placed first: so many orders now, and the next ones after the
    commit. Arrivals name their SKUs; of a cancellation or a short pick, the lines do.
    """
    arrived = {sku_id for task in tasks for sku_id in task.data.get("sku_ids", ())}
    lines = [
        (task.subject_id, line["line_no"])
        for task in tasks
        if "sku_ids" not in task.data
        for line in task.data["lines"]
    ]
    if lines:
        rows = await sql.skus_of_lines(tx, order_ids=[line[0] for line in lines], line_nos=[line[1] for line in lines])
        arrived |= {row["sku_id"] for row in rows}
    known = await kits(tx)
    arrived |= {part for sku_id in arrived for part, _ in known.parts.get(sku_id, ())}
    there = sorted(await stock.free(tx, sorted(arrived)))
    if not there:
        return
    sku_ids = sorted({*there, *(kit for sku_id in there for kit in known.within.get(sku_id, ()))})
    after = min(UUID(task.data["after"]) if "after" in task.data else NIL for task in tasks)
    waiting = await waiting_for(tx, sku_ids, after=after, limit=FILLED_AT_ONCE)
    await allocate(tx, waiting, at=at)
    if len(waiting) == FILLED_AT_ONCE and (left := sorted(await stock.free(tx, there))):
        await core_sql.enqueue(
            tx,
            buckets=[tasks[0].bucket],
            ids=new_ids(at, 1),
            kinds=["fill_backorders"],
            subject_ids=[tasks[0].subject_id],
            event_ids=[tasks[0].event_id],
            due_ats=[at],
            data=[msgspec.json.encode({"sku_ids": left, "after": waiting[-1]}).decode()],
        )


async def source_waiting(tx: Tx, since: datetime, at: datetime) -> None:
    """Who waits though stock is there (its location's day was full, or it was closed) is looked at again, first placed first."""
    sku_ids = sorted(await stock.free(tx, [row["sku_id"] for row in await sql.waiting_skus(tx)]))
    if sku_ids:
        [id] = new_ids(at, 1)
        await core_sql.enqueue(
            tx,
            buckets=[id.int % BUCKETS],
            ids=[id],
            kinds=["fill_backorders"],
            subject_ids=[id],
            event_ids=[id],
            due_ats=[at],
            data=[msgspec.json.encode({"sku_ids": sku_ids}).decode()],
        )


registry.duty("source_waiting", every_seconds=3600)(source_waiting)


@registry.reaction("source_anew")
async def source_anew(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that were promised and are not there: who holds them is sourced anew, the last placed first."""
    await shortfalls.source_anew(tx, [(task.data["sku_id"], task.data["location_id"]) for task in tasks], at=at)


@registry.reaction("settle_lost")
async def settle_lost(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that were lost on the way are cancelled; their price is to be given back."""
    orders = await ledger.lock(tx, [task.subject_id for task in tasks])
    lines = await ledger.lines(tx, orders)
    gone = defaultdict(int, await ledger.lost_units(tx, orders))
    left: dict[tuple[UUID, int], int] = {key: line.shipped for key, line in lines.items()}
    moves, events = [], []
    for task, event_id in zip(tasks, new_ids(at, len(tasks)), strict=True):
        order_id = task.subject_id
        lost: dict[int, int] = defaultdict(int)
        for units in task.data["lines"]:
            key = (order_id, units["line_no"])
            taken = min(units["quantity"], left[key])
            left[key] -= taken
            if taken:
                lost[units["line_no"]] += taken
        if not lost:
            continue
        refund = 0
        for line_no, quantity in lost.items():
            line = lines[order_id, line_no]
            refund += value_given_back(line, gone[order_id, line_no], quantity)
            gone[order_id, line_no] += quantity
            moves.append(UnitMove(order_id, line_no, State.SHIPPED, State.CANCELLED, quantity, event_id, "lost"))
        data = {"lines": [{"line_no": n, "quantity": q} for n, q in lost.items()], "refund_minor": refund}
        events.append(Event(order_id, event_id, "lost_settled", at, data, orders[order_id].flow_version))
    await ledger.move_units(tx, moves, at=at)
    await record(tx, events)
