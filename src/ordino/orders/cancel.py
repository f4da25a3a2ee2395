"""Cancellation: of an order, of lines, of units, up to shipping.

Units that the warehouse does not have yet are cancelled here and now. For units that it has, the wish is recorded and
an event written; its reaction stops what can still be stopped and answers with what could not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

from ordino.core.codes import ReasonCode
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import new_ids
from ordino.core.payloads import Units
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts
from ordino.orders import capacity, ledger, notes
from ordino.orders.called_off import CalledOff
from ordino.orders.events import CancellationWanted
from ordino.orders.model import MAX_QUANTITY, AllocationRow, LineRow, OrderRow, ShippingMove, State, UnitMove
from ordino.orders.notes import About, NewNote, Note


class LineCancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of one line; without a quantity, all that can still be cancelled."""

    line_no: int
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)] | None = None


class Cancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to cancel: units of ``lines``, or ``all`` that can still be cancelled. ``reason`` is a code, which events and moves
    carry; whatever else there is to say is a ``note``, which can be erased.
    """

    order_id: UUID
    lines: list[LineCancellation] | None = None
    all: bool = False
    reason: ReasonCode = "customer_request"
    note: Note | None = None


class CancelRefusal(StrEnum):
    """Why nothing was cancelled, in the order in which the reasons are tested."""

    UNKNOWN_ORDER = "unknown_order"
    INVALID = "invalid"  # Neither lines nor all, or both.
    UNKNOWN_LINE = "unknown_line"
    TOO_MANY = "too_many"  # Fewer units can still be cancelled than were asked for.
    TOO_LATE = "too_late"  # Everything is shipped, cancelled, or being stopped.


class CancelledUnits(Struct, frozen=True):
    line_no: int
    quantity: int


class Cancelled(Struct, frozen=True, tag_field="outcome", tag="cancelled"):
    """``cancelled`` is done; ``wanted`` is being asked of the warehouse, which answers with an event. Of what was cancelled,
    ``amount_minor`` is not charged any more, and ``refund_minor`` was charged before and is given back.
    """

    order_id: UUID
    cancelled: list[CancelledUnits]
    wanted: list[CancelledUnits]
    amount_minor: int
    status: str
    refund_minor: int = 0


class CancelRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    order_id: UUID
    reason: CancelRefusal
    detail: str
    pointer: str = ""


class _Taking(Struct):
    """What one cancellation takes: units per line, from which allocation, and what is left to wish for."""

    backordered: dict[int, int]
    allocated: dict[tuple[int, int], int]
    wanted: dict[int, int]


class _Freed(Struct, kw_only=True):
    """What all cancellations of a batch give back: the places of these orders, in the order they came, and stock."""

    order_ids: dict[UUID, None] = field(default_factory=dict)
    stock_moves: list[StockMove] = field(default_factory=list)


async def cancel(tx: Tx, cancellations: Sequence[Cancellation], *, at: datetime) -> list[Cancelled | CancelRefused]:
    """One outcome a cancellation, in order. A cancellation is done as asked, or refused whole."""
    freed = _Freed()
    outcomes: list[Cancelled | CancelRefused | None] = [None] * len(cancellations)
    pending = list(enumerate(cancellations))
    while pending:  # one order twice in a batch: the second sees what the first left
        seen: set[UUID] = set()
        now: list[tuple[int, Cancellation]] = []
        later: list[tuple[int, Cancellation]] = []
        for index, cancellation in pending:
            (later if cancellation.order_id in seen else now).append((index, cancellation))
            seen.add(cancellation.order_id)
        done = await _cancel_distinct(tx, [cancellation for _, cancellation in now], freed, at)
        for (index, _), outcome in zip(now, done, strict=True):
            outcomes[index] = outcome
        pending = later
    # Days and stock are given back once, in their turn: what a later round frees may stand before what an earlier one did.
    if freed.order_ids:
        await capacity.give_back(tx, await facts(tx), list(freed.order_ids))
    await stock.post(tx, freed.stock_moves, at=at)
    return [outcome for outcome in outcomes if outcome is not None]


async def _cancel_distinct(
    tx: Tx, cancellations: Sequence[Cancellation], freed: _Freed, at: datetime
) -> list[Cancelled | CancelRefused]:
    orders = await ledger.lock(tx, [c.order_id for c in cancellations])
    lines: dict[UUID, dict[int, LineRow]] = defaultdict(dict)
    for (order_id, line_no), line in (await ledger.lines(tx, orders)).items():
        lines[order_id][line_no] = line
    allocations: dict[tuple[UUID, int], list[AllocationRow]] = defaultdict(list)
    for row in await ledger.allocations(tx, orders):
        allocations[row.order_id, row.line_no].append(row)
    takings: dict[UUID, _Taking] = {}
    refusals: dict[UUID, CancelRefused] = {}
    for cancellation in cancellations:
        taken = _take(cancellation, lines.get(cancellation.order_id, {}), allocations)
        if isinstance(taken, CancelRefused):
            refusals[cancellation.order_id] = taken
        else:
            takings[cancellation.order_id] = taken
    done = [c for c in cancellations if c.order_id in takings]
    results = await _write(tx, done, takings, orders, lines, freed, at)
    return [refusals.get(c.order_id) or results[c.order_id] for c in cancellations]


def _take(
    cancellation: Cancellation,
    lines: Mapping[int, LineRow],
    allocations: Mapping[tuple[UUID, int], list[AllocationRow]],
) -> _Taking | CancelRefused:
    order_id = cancellation.order_id

    def refuse(reason: CancelRefusal, detail: str, pointer: str = "") -> CancelRefused:
        return CancelRefused(order_id, reason, detail, pointer)

    if not lines:
        return refuse(CancelRefusal.UNKNOWN_ORDER, f"There is no order {order_id}.", "/order_id")
    if fault := extent_fault(
        "lines", cancellation.lines, cancellation.all, of="everything that can still be cancelled"
    ):
        return refuse(CancelRefusal.INVALID, fault.detail, fault.pointer)
    asked: dict[int, int | None] = {}
    for index, wish in enumerate(cancellation.lines or ()):
        if wish.line_no not in lines:
            detail = f"The order has lines {min(lines)} to {max(lines)}, but no line {wish.line_no}."
            return refuse(CancelRefusal.UNKNOWN_LINE, detail, f"/lines/{index}/line_no")
        if wish.quantity is not None and wish.quantity < 1:
            detail = f"Cancel at least one unit, not {wish.quantity}."
            return refuse(CancelRefusal.TOO_MANY, detail, f"/lines/{index}/quantity")
        before = asked.get(wish.line_no, 0)
        asked[wish.line_no] = None if wish.quantity is None or before is None else before + wish.quantity
    if cancellation.all:
        asked = dict.fromkeys(lines)
    taking = _Taking({}, {}, {})
    for line_no, quantity in asked.items():
        line = lines[line_no]
        # Units that a wish was made for may ship before the wish is answered.
        can = max(0, line.backordered + line.allocated + line.picked + line.packed - line.stop_wanted)
        left = can if quantity is None else quantity
        if left > can:
            detail = f"Of line {line_no}, {can} units can still be cancelled, not {left}."
            return refuse(CancelRefusal.TOO_MANY, detail, "/lines")
        if taken := min(left, line.backordered):
            taking.backordered[line_no] = taken
            left -= taken
        for row in allocations.get((order_id, line_no), ()):
            if taken := min(left, row.quantity - row.released):
                taking.allocated[line_no, row.location_id] = taken
                left -= taken
        if left:
            taking.wanted[line_no] = left
    if not (taking.backordered or taking.allocated or taking.wanted):
        detail = "Nothing of it can be cancelled any more: it is shipped, cancelled, or being stopped."
        return refuse(CancelRefusal.TOO_LATE, detail)
    return taking


async def _write(
    tx: Tx,
    cancellations: Sequence[Cancellation],
    takings: Mapping[UUID, _Taking],
    orders: Mapping[UUID, OrderRow],
    lines: Mapping[UUID, Mapping[int, LineRow]],
    freed: _Freed,
    at: datetime,
) -> dict[UUID, Cancelled]:
    if not cancellations:
        return {}
    ids = iter(new_ids(at, 3 * len(cancellations)))
    events: list[Event] = []
    unit_moves: list[UnitMove] = []
    shipping: list[ShippingMove] = []
    taken: dict[ledger.AllocationKey, tuple[int, int]] = {}
    wishes: list[tuple[UUID, int, int]] = []
    said: list[NewNote] = []
    results: dict[UUID, tuple[list[CancelledUnits], list[CancelledUnits], CalledOff]] = {}
    for cancellation in cancellations:
        order, taking = orders[cancellation.order_id], takings[cancellation.order_id]
        order_id, event_id, wish_id, refund_id = order.order_id, next(ids), next(ids), next(ids)
        taken |= {(order_id, *place): (quantity, 0) for place, quantity in taking.allocated.items()}
        freed.stock_moves += _stock_moves(taking, order_id, lines[order_id], event_id)
        called_off = CalledOff(order, dict(lines[order_id]), event_id, cancellation.reason)
        _call_off(called_off, taking)
        cancelled = [CancelledUnits(line_no, quantity) for line_no, quantity in sorted(called_off.units().items())]
        wanted = [CancelledUnits(line_no, quantity) for line_no, quantity in sorted(taking.wanted.items())]
        if cancelled:
            shipping.append(called_off.close())
            unit_moves += called_off.moves
            events += called_off.events(refund_id, at)
        if wanted:
            wishes += [(order_id, w.line_no, w.quantity) for w in wanted]
            payload = CancellationWanted(
                lines=[Units(w.line_no, w.quantity) for w in wanted], reason=cancellation.reason
            )
            events.append(Event(order_id, wish_id, at, payload, order.flow_version))
        said.append(
            NewNote(
                order_id=order_id,
                note_id=event_id if cancelled else wish_id,
                about=About.CANCELLATION,
                text=cancellation.note,
            )
        )
        results[order_id] = (cancelled, wanted, called_off)
    statuses = await ledger.move_units(tx, unit_moves, shipping, at=at)
    await ledger.take_allocations(tx, taken)
    freed.order_ids |= dict.fromkeys(order_id for order_id, _, _ in taken)
    if wishes:
        columns = list(zip(*wishes, strict=True))
        await ledger.sql.want_stops(tx, order_ids=list(columns[0]), line_nos=list(columns[1]), deltas=list(columns[2]))
    await notes.write(tx, said, at=at)
    await record(tx, events)
    return {
        order_id: Cancelled(
            order_id,
            cancelled,
            wanted,
            called_off.amount_minor,
            statuses.get(order_id, orders[order_id].status),
            called_off.refund_minor,
        )
        for order_id, (cancelled, wanted, called_off) in results.items()
    }


def _stock_moves(taking: _Taking, order_id: UUID, lines: Mapping[int, LineRow], event_id: UUID) -> list[StockMove]:
    """What is no longer reserved where units were allocated."""
    return [
        StockMove(
            lines[line_no].sku_id,
            location_id,
            event_id,
            MoveKind.RELEASED,
            reserved_delta=-quantity,
            order_id=order_id,
            line_no=line_no,
        )
        for (line_no, location_id), quantity in taking.allocated.items()
    ]


def _call_off(called_off: CalledOff, taking: _Taking) -> None:
    """Units leave the states that they are in; allocated ones together, wherever they were allocated."""
    allocated: dict[int, int] = defaultdict(int)
    for (line_no, _), quantity in taking.allocated.items():
        allocated[line_no] += quantity
    for line_no, quantity in taking.backordered.items():
        called_off.take(line_no, State.BACKORDERED, quantity)
    for line_no, quantity in allocated.items():
        called_off.take(line_no, State.ALLOCATED, quantity)
