"""Exceptions: what needs a person before it hurts a promise. Today: lines that several locations could not supply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.database import Tx
from ordino.core.errors import Conflict, NotFound
from ordino.core.events import BUCKETS, Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.network.facts import facts
from ordino.orders import ledger
from ordino.orders.cancel import Cancellation, LineCancellation, cancel
from ordino.orders.model import LineRow, OrderRow

sql = statements("ordino.orders")
core_sql = statements("ordino.core")
NOT_SOURCED = "not_sourced"
FOUND = "units were found"
DONE = {
    "retry": "its units are sourced again",
    "cancel": "its units were cancelled",
    "close": "its units may wait",
}
"""What a resolution has done, as a part of a sentence."""
LAST = UUID(int=(1 << 128) - 1)


class ExceptionView(Struct, frozen=True):
    """``units`` of the line wait now. An exception that is resolved says how and by whom."""

    exception_id: UUID
    order_id: UUID
    external_id: str
    kind: str
    line_no: int
    sku: str
    units: int
    detail: str
    at: datetime
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None


class Resolve(Struct, frozen=True, kw_only=True):
    """`retry` forgets the tries and the locations that failed, and sources again; `cancel` cancels the units that wait; `close`
    leaves them waiting.
    """

    action: Literal["retry", "cancel", "close"]
    reason: Annotated[str, Meta(max_length=200)] | None = None


class Resolved(Struct, frozen=True):
    """What was done."""

    exception_id: UUID
    resolution: str


async def give_up(tx: Tx, lines: Sequence[LineRow], orders: Mapping[UUID, OrderRow], *, at: datetime) -> None:
    """These lines are no longer sourced; each gets an exception, if it has none that is open. The orders must be locked."""
    if not lines:
        return
    network = await facts(tx)

    def said(line: LineRow) -> str:
        places = ", ".join(network.locations[id].code for id in line.excluded_location_ids)
        times = "once" if line.tries == 1 else f"{line.tries} times"
        return f"Failed {times}" + (f"; not asked again: {places}." if places else ".")

    rows = await sql.open_exceptions(
        tx,
        exception_ids=new_ids(at, len(lines)),
        order_ids=[line.order_id for line in lines],
        line_nos=[line.line_no for line in lines],
        details=[said(line) for line in lines],
        kind=NOT_SOURCED,
        at=at,
    )
    await record(
        tx,
        [
            Event(
                row["order_id"], new_id(at), "sourcing_given_up", at,
                {"line_no": row["line_no"], "exception_id": row["exception_id"]}, orders[row["order_id"]].flow_version,
            )
            for row in rows
        ],
    )  # fmt: skip


async def found(tx: Tx, positions: Sequence[tuple[int, int]], *, at: datetime) -> None:
    """Units of these positions (SKU id, location id) are there after all: lines that wait for them may go back there, the try that
    failed is not held against them, and their exceptions are over.
    """
    columns = {"sku_ids": [sku_id for sku_id, _ in positions], "location_ids": [place for _, place in positions]}
    rows = await sql.excluded_where_found(tx, **columns)
    if not rows:
        return
    order_ids = sorted({row["order_id"] for row in rows})
    # A location that refused the work, or is excluded for another reason, stays so, whatever is found there.
    gone = await sql.written_off_for(tx, sku_ids=sorted({row["sku_id"] for row in rows}), order_ids=order_ids)
    written_off = {(row["order_id"], row["line_no"], row["location_id"]) for row in gone}
    back = [key for row in rows if (key := (row["order_id"], row["line_no"], row["location_id"])) in written_off]
    if not back:
        return
    orders = await ledger.lock(tx, order_ids)
    lines = await ledger.include_locations(tx, back)
    over = await sql.close_found(
        tx, order_ids=[line[0] for line in lines], line_nos=[line[1] for line in lines], resolved_by=FOUND, at=at
    )
    events = []
    for row in over:
        data = {"exception_id": row["exception_id"], "line_no": row["line_no"], "action": "retry", "reason": FOUND}
        version = orders[row["order_id"]].flow_version
        events.append(Event(row["order_id"], new_id(at), "exception_resolved", at, data, version))
    await record(tx, events)


async def exceptions(tx: Tx, before: UUID = LAST, limit: int = 100, *, all: bool = False) -> list[ExceptionView]:
    """One page, newest first; those that are open, or all."""
    return [ExceptionView(**row) for row in await sql.exceptions(tx, before=before, limit=limit, all=all)]


async def resolve(tx: Tx, exception_id: UUID, wish: Resolve, *, at: datetime) -> Resolved:
    """Raises ``NotFound``, and ``Conflict`` if it was resolved before in another way."""
    rows = await sql.exception(tx, exception_id=exception_id)
    if not rows:
        raise NotFound(f"There is no exception {exception_id}.")
    order_id, line_no = rows[0]["order_id"], rows[0]["line_no"]
    orders = await ledger.lock(tx, [order_id])
    [row] = await sql.exception(tx, exception_id=exception_id)  # as it stands, now that nobody else changes it
    if row["resolved_at"] is not None:
        if row["resolution"] != wish.action:
            how = DONE[row["resolution"]]
            said = f"The exception is resolved: {how}. Look at the order, and cancel units there if they are to be cancelled."
            raise Conflict(said, code="resolved")
        return Resolved(exception_id, wish.action)
    await sql.resolve_exception(
        tx, order_id=order_id, exception_id=exception_id, resolution=wish.action, resolved_by=tx.actor, at=at
    )
    data = {"exception_id": exception_id, "line_no": line_no, "action": wish.action, "reason": wish.reason}
    await record(tx, [Event(order_id, new_id(at), "exception_resolved", at, data, orders[order_id].flow_version)])
    line = (await ledger.lines(tx, [order_id]))[order_id, line_no]
    if wish.action == "retry":
        await sql.forget_tries(tx, order_id=order_id, line_no=line_no)
        await core_sql.enqueue(
            tx,
            buckets=[order_id.int % BUCKETS],
            ids=new_ids(at, 1),
            kinds=["source"],
            subject_ids=[order_id],
            event_ids=[exception_id],
            due_ats=[at],
            data=["{}"],
        )
    elif wish.action == "cancel" and (units := line.backordered - line.stop_wanted) > 0:
        lines = [LineCancellation(line_no=line_no, quantity=units)]
        await cancel(tx, [Cancellation(order_id=order_id, lines=lines, reason=wish.reason or "not sourced")], at=at)
    return Resolved(exception_id, wish.action)
