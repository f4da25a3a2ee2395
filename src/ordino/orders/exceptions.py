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


class Resolve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
            said = f"The exception was resolved before: {row['resolution']}."
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
