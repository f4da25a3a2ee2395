"""Exceptions: what needs a person before it hurts a promise.

``not_sourced``: several locations could not supply a line. ``not_servable``: nothing can serve it any more. ``location_closed``:
work lies at a location that is closed. ``returned_to_sender``: a parcel comes back. ``arrived_after_loss``: a parcel that was
given up, and refunded, has reached the customer. All but the first and the last close by themselves (``cleared``) once they are
over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from ordino.core.codes import ReasonCode
from ordino.core.database import Tx
from ordino.core.errors import Conflict, NotFound
from ordino.core.events import Due, Event, enqueue, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import waiting
from ordino.network.facts import facts
from ordino.orders import ledger, notes
from ordino.orders.cancel import Cancellation, LineCancellation, cancel
from ordino.orders.events import ExceptionCleared, ExceptionResolved, NotServable, SourcingGivenUp
from ordino.orders.model import LineRow, OrderRow
from ordino.orders.notes import About, NewNote, Note

sql = statements("ordino.orders")
NOT_SOURCED = "not_sourced"
NOT_SERVABLE = "not_servable"
LOCATION_CLOSED = "location_closed"
FOUND = "units were found"
"""Who resolved an exception, where no person did; events carry the code."""
FOUND_CODE = "units_were_found"
DONE = {
    "retry": "its units are sourced again",
    "cancel": "its units were cancelled",
    "close": "its units may wait",
}
"""What a resolution has done, as a part of a sentence."""
LAST = UUID(int=(1 << 128) - 1)


class ExceptionView(Struct, frozen=True):
    """``units`` wait now: of the line, open at the closed ``location``, in ``fulfillment_order_id``, or in the parcel
    ``shipment_id``. One that is resolved says how (`retry`, `cancel`, `close`, or `cleared`: it was over) and by whom.
    """

    exception_id: UUID
    order_id: UUID
    external_id: str
    kind: str
    line_no: int | None
    sku: str | None
    units: int
    detail: str
    at: datetime
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None
    fulfillment_order_id: UUID | None = None
    location: str | None = None
    shipment_id: UUID | None = None


class Resolve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`retry` forgets the tries and the locations that failed, and sources again; of work at a closed location, it rejects the
    work, so that others can do it. `cancel` cancels the units; `close` leaves them waiting. An exception of a parcel can be closed.
    """

    action: Literal["retry", "cancel", "close"]
    reason: ReasonCode | None = None
    note: Note | None = None


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
        return f"Fulfillment failed {times}" + (f"; not asked again: {places}." if places else ".")

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
                row["order_id"],
                new_id(at),
                at,
                SourcingGivenUp(line_no=row["line_no"], exception_id=row["exception_id"]),
                orders[row["order_id"]].flow_version,
            )
            for row in rows
        ],
    )


async def found(tx: Tx, positions: Sequence[tuple[int, int]], *, beside: Collection[UUID] = (), at: datetime) -> None:
    """Units of these positions (SKU id, location id) are there after all: lines that wait for them may go back there, the try that
    failed is not held against them, and their exceptions are over. Orders ``beside`` them are locked with them.
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
    orders = await ledger.lock(tx, {*order_ids, *beside})
    lines = await ledger.include_locations(tx, back)
    over = await sql.close_found(
        tx, order_ids=[line[0] for line in lines], line_nos=[line[1] for line in lines], resolved_by=FOUND, at=at
    )
    events = []
    for row in over:
        payload = ExceptionResolved(
            exception_id=row["exception_id"], line_no=row["line_no"], action="retry", reason=FOUND_CODE
        )
        version = orders[row["order_id"]].flow_version
        events.append(Event(row["order_id"], new_id(at), at, payload, version))
    await record(tx, events)


async def exceptions(
    tx: Tx, before: UUID = LAST, limit: int = 100, *, all: bool = False, sellers: Sequence[str] | None = None
) -> list[ExceptionView]:
    """One page, newest first; those that are open, or all; of orders of ``sellers``, or of everybody's."""
    rows = await sql.exceptions(tx, before=before, limit=limit, all=all, sellers=sellers)
    return [ExceptionView(**row) for row in rows]


async def resolve(tx: Tx, exception_id: UUID, wish: Resolve, *, at: datetime) -> Resolved:
    """Raises ``NotFound``, and ``Conflict`` if it was resolved before in another way."""
    rows = await sql.exception(tx, exception_id=exception_id)
    if not rows:
        raise NotFound(f"There is no exception {exception_id}.")
    order_id, line_no, kind, place = (rows[0][name] for name in ("order_id", "line_no", "kind", "location_id"))
    orders = await ledger.lock(tx, [order_id])
    [row] = await sql.exception(tx, exception_id=exception_id)  # as it stands, now that nobody else changes it
    if row["resolved_at"] is not None:
        if row["resolution"] != wish.action:
            how = (
                DONE[row["resolution"]]
                if row["shipment_id"] is None
                else "a person has seen to it, or its parcel is received"
            )
            said = f"The exception is resolved: {how}. Look at the order, and cancel units there if they are to be cancelled."
            raise Conflict(said, code="resolved")
        return Resolved(exception_id, wish.action)
    if row["shipment_id"] is not None and wish.action != "close":
        parcel = f"/v1/orders/{order_id}/parcels/{row['shipment_id']}"
        said = f"The exception is about a parcel: receive what comes back with POST {parcel}/receipt, or close it."
        raise Conflict(said, code="of_a_parcel")
    await sql.resolve_exception(
        tx, order_id=order_id, exception_id=exception_id, resolution=wish.action, resolved_by=tx.actor, at=at
    )
    payload = ExceptionResolved(exception_id=exception_id, line_no=line_no, action=wish.action, reason=wish.reason)
    event_id = new_id(at)
    note = NewNote(order_id=order_id, note_id=event_id, about=About.EXCEPTION, text=wish.note)
    await notes.write(tx, [note], at=at)
    await record(tx, [Event(order_id, event_id, at, payload, orders[order_id].flow_version)])
    if wish.action == "retry" and kind == LOCATION_CLOSED:
        told = f'{{"location_id": {place}}}'
        await enqueue(tx, [Due("reject_closed", order_id, exception_id, at, told)], at=at)
    elif wish.action == "retry":
        await sql.forget_tries(tx, order_id=order_id, line_no=line_no)
        line = (await ledger.lines(tx, [order_id]))[order_id, line_no]
        parts = await ledger.lines_of_kits(tx, {(order_id, line_no): line.sku_id})
        # What it may use again, nobody who comes later may have before it was asked.
        waiting.freed(tx, [sku_id for sku_id, _ in parts.get((order_id, line_no)) or ((line.sku_id, 1),)])
        await enqueue(tx, [Due("source", order_id, exception_id, at)], at=at)
    elif wish.action == "cancel" and (units := await _units(tx, kind, order_id, line_no, place)):
        lines = [LineCancellation(line_no=number, quantity=quantity) for number, quantity in sorted(units.items())]
        reason = wish.reason or kind
        await cancel(tx, [Cancellation(order_id=order_id, lines=lines, reason=reason)], at=at)
    return Resolved(exception_id, wish.action)


async def _units(tx: Tx, kind: str, order_id: UUID, line_no: int | None, place: int | None) -> dict[int, int]:
    """Line number -> the units that an exception is about, as they stand."""
    units: dict[int, int] = defaultdict(int)
    for row in await ledger.allocations(tx, [order_id]):
        if kind == LOCATION_CLOSED and row.location_id == place:
            units[row.line_no] += row.released
        elif kind == NOT_SERVABLE and row.line_no == line_no:
            units[row.line_no] += row.quantity - row.released
    if line_no is not None:
        line = (await ledger.lines(tx, [order_id]))[order_id, line_no]
        units[line_no] += line.backordered - line.stop_wanted
    return {number: quantity for number, quantity in units.items() if quantity > 0}


async def open_line_exceptions(
    tx: Tx, lines: Mapping[tuple[UUID, int], str], orders: Mapping[UUID, OrderRow], *, at: datetime
) -> None:
    """Nothing can serve these lines: (order id, line number) -> why. Each gets an exception, unless it has one of this kind that is
    open. The orders must be locked.
    """
    if not lines:
        return
    rows = await sql.open_exceptions(
        tx,
        exception_ids=new_ids(at, len(lines)),
        order_ids=[order_id for order_id, _ in lines],
        line_nos=[line_no for _, line_no in lines],
        details=list(lines.values()),
        kind=NOT_SERVABLE,
        at=at,
    )
    events = []
    for row in rows:
        order_id, line_no = row["order_id"], row["line_no"]
        payload = NotServable(line_no=line_no, exception_id=row["exception_id"], why=lines[order_id, line_no])
        events.append(Event(order_id, new_id(at), at, payload, orders[order_id].flow_version))
    await record(tx, events)


async def clear(tx: Tx, over: Sequence[tuple[UUID, UUID]], orders: Mapping[UUID, OrderRow], *, at: datetime) -> None:
    """These exceptions are over: (order id, exception id). The orders must be locked."""
    if not over:
        return
    rows = await sql.clear_exceptions(
        tx, order_ids=[order_id for order_id, _ in over], exception_ids=[id for _, id in over], at=at
    )
    events = []
    for row in rows:
        payload = ExceptionCleared(
            exception_id=row["exception_id"],
            line_no=row["line_no"],
            fulfillment_order_id=row["fulfillment_order_id"],
            shipment_id=row["shipment_id"],
        )
        events.append(Event(row["order_id"], new_id(at), at, payload, orders[row["order_id"]].flow_version))
    await record(tx, events)
