"""Cancelling: units of a return that will not come. What came stays; what is cancelled may be authorized again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ordino.aftercare.events import CancelledUnits
from ordino.aftercare.events import ReturnCancelled as ReturnWasCancelled
from ordino.aftercare.model import ReturnCancellation, ReturnCancelled, ReturnRefusal, ReturnRefused, Unit
from ordino.aftercare.repeats import repeats_of
from ordino.aftercare.returns.authorization import Refusal, line_fault
from ordino.aftercare.returns.history import ITSELF, History, Row, RowKey, history_of, write_rows
from ordino.aftercare.returns.take import copied, expected, take
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import new_ids
from ordino.orders import notes
from ordino.orders.notes import About, NewNote


async def cancel(
    tx: Tx, cancellations: Sequence[ReturnCancellation], *, at: datetime
) -> list[ReturnCancelled | ReturnRefused]:
    """One outcome a cancellation, in order. A cancellation is done as asked, or refused whole."""
    history = await history_of(tx, [c.order_id for c in cancellations])
    repeats = repeats_of(cancellations)
    outcomes: list[ReturnCancelled | ReturnRefused] = []
    changed: dict[RowKey, Row] = {}
    events: list[Event] = []
    said: list[NewNote] = []
    for index, (wish, event_id) in enumerate(zip(cancellations, new_ids(at, len(cancellations)), strict=True)):
        rows = copied(history.of_return(wish.order_id, wish.return_id))
        taken = _take(wish, rows, history, repeated=index in repeats)
        if isinstance(taken, tuple):
            outcomes.append(ReturnRefused(wish.order_id, wish.return_id, *taken))
            continue
        others = [row for row in history.rows[wish.order_id] if row.return_id != wish.return_id]
        history.rows[wish.order_id] = others + rows
        changed |= {row.key: row for row in rows}
        units = [
            Unit(
                line_no, None if component == ITSELF else history.components[wish.order_id, line_no][component].code, n
            )
            for (line_no, component), n in sorted(taken.items())
        ]
        told = [CancelledUnits(line_no=one.line_no, component=one.component, quantity=one.quantity) for one in units]
        payload = ReturnWasCancelled(return_id=wish.return_id, lines=told, reason=wish.reason)
        events.append(Event(wish.order_id, event_id, at, payload, history.orders[wish.order_id].flow_version))
        said.append(NewNote(order_id=wish.order_id, note_id=event_id, about=About.RETURN, text=wish.note))
        outcomes.append(ReturnCancelled(wish.order_id, wish.return_id, units))
    await notes.write(tx, said, at=at)
    await write_rows(tx, list(changed.values()))
    await record(tx, events)
    return outcomes


def _take(
    wish: ReturnCancellation, rows: list[Row], history: History, *, repeated: bool
) -> Mapping[tuple[int, int], int] | Refusal:
    """(line number, component) -> units that are cancelled of the rows, or why none are."""
    if repeated:
        detail = "The same cancellation appears earlier in this batch; it is carried out once."
        return ReturnRefusal.REPEATED, detail, ""
    if not rows:
        detail = f"The order {wish.order_id} has no return {wish.return_id}; GET its returns to see which it has."
        return ReturnRefusal.UNKNOWN, detail, "/return_id"
    if fault := extent_fault("lines", wish.lines, wish.all, of="everything that is still to come"):
        return ReturnRefusal.INVALID, fault.detail, fault.pointer
    asked = _asked(wish, rows, history)
    if isinstance(asked, tuple):
        return asked
    taken: dict[tuple[int, int], int] = {}
    for place, line_no, component, quantity in sorted(asked, key=lambda one: one[2] != ITSELF):
        key = (wish.order_id, line_no)
        can = expected(history, rows, key, component)
        units = can if quantity is None else quantity
        if units > can:
            what = f"line {line_no}" if component == ITSELF else f"this component of line {line_no}"
            detail = f"Of {what}, only {can} units of this return are still expected, not {units}."
            return ReturnRefusal.TOO_MANY, detail, f"/lines/{place}/quantity"
        for row, some in take(history, rows, key, component, units):
            row.cancelled += some
            taken[line_no, component] = taken.get((line_no, component), 0) + some
    if not taken:
        return (
            ReturnRefusal.TOO_LATE,
            "Nothing of this return is still expected: everything was already received or cancelled.",
            "",
        )
    return taken


def _asked(
    wish: ReturnCancellation, rows: Sequence[Row], history: History
) -> list[tuple[int, int, int, int | None]] | Refusal:
    """(place in the request, line number, component, units or all); whole kits are taken first."""
    if wish.all:
        return [(0, line_no, component, None) for line_no, component in {(r.line_no, r.component_sku_id) for r in rows}]
    asked: list[tuple[int, int, int, int | None]] = []
    seen: set[tuple[int, str | None]] = set()
    for index, line in enumerate(wish.lines or ()):
        key, pointer = (wish.order_id, line.line_no), f"/lines/{index}"
        if wrong := line_fault(history, key, line.component, seen, pointer):
            return wrong
        if line.quantity is not None and line.quantity < 1:
            detail = f"Cancel at least one unit, not {line.quantity}."
            return ReturnRefusal.INVALID, detail, f"{pointer}/quantity"
        component = history.component_named(key, line.component)
        assert component is not None, "what is named was found"
        asked.append((index, line.line_no, component, line.quantity))
    return asked
