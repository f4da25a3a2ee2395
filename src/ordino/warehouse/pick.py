"""Picking: units leave the shelf, or turn out to be short. The reason of a short pick corrects the stock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import new_ids
from ordino.core.payloads import Units
from ordino.core.statements import statements
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory import named
from ordino.inventory.detail import Key as Position
from ordino.inventory.detail import Shelf, shelves_of
from ordino.inventory.model import MoveKind, Part, StockMove
from ordino.network.facts import facts
from ordino.orders import capacity
from ordino.orders import ledger as orders_ledger
from ordino.orders.ledger import AllocationKey
from ordino.orders.model import AllocationRow, OrderRow, State, UnitMove
from ordino.warehouse import ledger
from ordino.warehouse.events import FulfillmentPicked, ShortUnits, UnitsShort
from ordino.warehouse.ledger import Key, refuse
from ordino.warehouse.model import (
    MAX_LABOR_SECONDS,
    FulfillmentLine,
    LineMove,
    Pick,
    Picked,
    PickLine,
    StockEffect,
    WorkRefusal,
    WorkRefused,
)
from ordino.warehouse.reasons import ShortReason, short_reasons

inventory_sql = statements("ordino.inventory")


class _Result(Struct):
    """What a batch writes."""

    events: list[Event]
    line_moves: list[LineMove]
    unit_moves: list[UnitMove]
    stock_moves: list[StockMove]
    taken: dict[AllocationKey, tuple[int, int]]
    picked: dict[AllocationKey, int]
    tried: list[tuple[UUID, int]]
    excluded: list[AllocationKey]
    labor_seconds: dict[Key, int]
    written_off: list[tuple[StockMove, StockEffect]]
    gave_up: set[UUID]


def nothing_yet() -> _Result:
    return _Result([], [], [], [], {}, {}, [], [], {}, [], set())


def give_back(
    rows: Sequence[AllocationRow],
    reason: ShortReason,
    order: OrderRow,
    result: _Result,
    *,
    open_: Collection[int],
    worker: str | None,
    at: datetime,
) -> int:
    """Units of an order that a location was to supply, and that are not released to it, are short there. Returns how many.

    Lines that are ``open_`` there, too, count the try with their open units.
    """
    [short_id] = new_ids(at, 1)
    told, total = [], 0
    for row in rows:
        units = row.quantity - row.released
        line = FulfillmentLine(
            row.order_id,
            short_id,
            row.location_id,
            row.service_id,
            row.promised_at,
            row.line_no,
            row.sku_id,
            units,
            0,
            0,
            0,
            0,
        )
        asked = PickLine(line_no=row.line_no, short=units, short_reason=reason.code)
        result.taken[row.order_id, row.line_no, row.location_id] = (units, 0)
        if row.line_no not in open_:
            result.tried.append((row.order_id, row.line_no))
        _count_short(row.order_id, asked, line, reason, short_id, result)
        told.append(ShortUnits(row.line_no, units, reason.code))
        total += units
    result.gave_up.add(order.order_id)
    payload = UnitsShort(fulfillment_order_id=None, lines=told, worker=worker)
    result.events.append(Event(order.order_id, short_id, at, payload, order.flow_version))
    return total


async def pick(
    tx: Tx, picks: Sequence[Pick], *, at: datetime, beside: _Result | None = None
) -> list[Picked | WorkRefused]:
    """One outcome an item, in order. A pick is done as told, or refused whole. ``beside`` is written with it.

    Short units go back to sourcing by the event ``units_short``; their reason says what becomes of the stock, and
    whether their line may come back to this location.
    """
    floor = await ledger.load(tx, [p.order_id for p in picks])
    reasons: dict[str, ShortReason] = {}
    if any(p.short_reason is not None or any(line.short for line in p.lines or ()) for p in picks):
        reasons = {reason.code: reason for reason in await short_reasons(tx)}
    refusals = ledger.doubtful(floor, picks)
    result = beside or nothing_yet()
    ids = new_ids(at, 2 * len(picks))
    counted: dict[int, tuple[int, int]] = {}
    trail = await _trail(tx, picks, floor, at)
    for index, item in enumerate(picks):
        if index in refusals:
            continue
        lines = floor.lines[item.order_id, item.fulfillment_order_id]
        told = _told(item, lines, reasons)
        if not isinstance(told, WorkRefused):
            told = _detail_fault(item, told, lines, trail) or told
        if isinstance(told, WorkRefused):
            refusals[index] = told
            continue
        version = floor.orders[item.order_id].flow_version
        _count(item, told, lines, reasons, ids[2 * index], ids[2 * index + 1], version, at, result)
        counted[index] = (sum(line.picked for line in told), sum(line.short for line in told))
    statuses = await _write(tx, result, at)
    outcomes: list[Picked | WorkRefused] = []
    for index, item in enumerate(picks):
        if index in refusals:
            outcomes.append(refusals[index])
        else:
            status = statuses[item.order_id, item.fulfillment_order_id]
            outcomes.append(Picked(item.order_id, item.fulfillment_order_id, *counted[index], status))
    return outcomes


def _told(
    item: Pick, lines: Mapping[int, FulfillmentLine], reasons: Mapping[str, ShortReason]
) -> list[PickLine] | WorkRefused:
    if not 0 <= item.labor_seconds <= MAX_LABOR_SECONDS:
        detail = f"Work takes 0 to {MAX_LABOR_SECONDS} seconds, not {item.labor_seconds}."
        return refuse(item, WorkRefusal.INVALID, detail, "/labor_seconds")
    if fault := extent_fault("lines", item.lines, item.all, of="everything that is open"):
        return refuse(item, WorkRefusal.INVALID, fault.detail, fault.pointer)
    if item.short_reason is not None and item.short_reason not in reasons:
        return _unknown_reason(item, reasons, "/short_reason")
    told = item.lines
    if told is None:
        told = [_all_of(line, item.short_reason) for line in lines.values() if line.open]
    elif item.short_reason is not None:
        detail = 'Name lines with their reasons, or send `"all": true` with one reason for all that is open.'
        return refuse(item, WorkRefusal.INVALID, detail, "/short_reason")
    seen: set[int] = set()
    for index, asked in enumerate(told):
        pointer = f"/lines/{index}"
        line = lines.get(asked.line_no)
        if line is None:
            detail = f"The fulfillment order has lines {_listed(lines)}, but no line {asked.line_no}."
            return refuse(item, WorkRefusal.UNKNOWN, detail, f"{pointer}/line_no")
        if asked.line_no in seen:
            detail = f"Line {asked.line_no} is named twice; say everything about it once."
            return refuse(item, WorkRefusal.INVALID, detail, f"{pointer}/line_no")
        seen.add(asked.line_no)
        if asked.picked < 0 or asked.short < 0 or asked.picked + asked.short == 0:
            detail = f"Say how many units were picked or short, not {asked.picked} and {asked.short}."
            return refuse(item, WorkRefusal.INVALID, detail, f"{pointer}/{'short' if asked.short < 0 else 'picked'}")
        if asked.short and asked.short_reason not in reasons:
            return _unknown_reason(item, reasons, f"{pointer}/short_reason")
        if not line.open:
            detail = f"Nothing of line {asked.line_no} is open: it was picked, short or cancelled before."
            return refuse(item, WorkRefusal.DONE, detail, pointer)
        if asked.picked + asked.short > line.open:
            detail = f"Of line {asked.line_no}, {line.open} units are open, not {asked.picked + asked.short}."
            return refuse(item, WorkRefusal.TOO_MANY, detail, pointer)
    if not told:
        return refuse(item, WorkRefusal.DONE, "Nothing is open: everything was picked, short or cancelled before.")
    return told


def _unknown_reason(item: Pick, reasons: Mapping[str, ShortReason], pointer: str) -> WorkRefused:
    detail = f"Say why the units are short: one of {', '.join(sorted(reasons))}."
    return refuse(item, WorkRefusal.UNKNOWN_REASON, detail, pointer)


def _all_of(line: FulfillmentLine, short_reason: str | None) -> PickLine:
    if short_reason is None:
        return PickLine(line_no=line.line_no, picked=line.open)
    return PickLine(line_no=line.line_no, short=line.open, short_reason=short_reason)


class _Trail(Struct):
    """The serial numbers that picks name, where the lots lie that they take, and what the kits of their lines are made of."""

    names: named.Names
    shelves: dict[Position, Shelf]
    parts: dict[kit_ledger.LineKey, Parts]

    def taken(self, line: FulfillmentLine) -> Parts:
        """(SKU id, units) that one unit of a line takes."""
        return self.parts.get((line.order_id, line.line_no), ((line.sku_id, 1),))


async def _trail(tx: Tx, picks: Sequence[Pick], floor: ledger.Floor, at: datetime) -> _Trail:
    wanted: list[tuple[FulfillmentLine, PickLine]] = []
    touched: dict[kit_ledger.LineKey, FulfillmentLine] = {}
    for item in picks:
        lines = floor.lines.get((item.order_id, item.fulfillment_order_id), {})
        wanted += [(lines[asked.line_no], asked) for asked in item.lines or () if asked.line_no in lines]
        touched |= {(line.order_id, line.line_no): line for line in lines.values()}
    names = await named.names(tx, [(line.sku_id, asked.serials) for line, asked in wanted])
    ever = (await kits(tx)).ever
    of_kits = [key for key, line in touched.items() if line.sku_id in ever]
    trail = _Trail(names, {}, await kit_ledger.frozen(tx, of_kits) if of_kits else {})
    keys = {
        (sku_id, line.location_id)
        for line in touched.values()
        for sku_id, _ in trail.taken(line)
        if names.tracking(sku_id) == "lot"
    }
    if keys:
        trail.shelves = await shelves_of(tx, sorted(keys), at=at)
    return trail


def _detail_fault(
    item: Pick, told: Sequence[PickLine], lines: Mapping[int, FulfillmentLine], trail: _Trail
) -> WorkRefused | None:
    """Why serial numbers or lots do not fit; what fits is taken, and is not there for the picks after this one."""
    here = next(iter(lines.values())).location_id
    left = {position: shelf.copy() for position, shelf in trail.shelves.items() if position[1] == here}
    for index, asked in enumerate(told):
        line = lines[asked.line_no]
        said = None
        if asked.lots and trail.names.tracking(line.sku_id) != "lot":
            said = "The SKU has no lots; leave them out."
        elif asked.lots and sum(part.quantity for part in asked.lots) != asked.picked:
            said = f"The lots of line {asked.line_no} do not add up to the {asked.picked} units that were picked."
        elif left:
            of = ((left.get((sku_id, here)), each) for sku_id, each in trail.taken(line))
            said = next((s for shelf, each in of if shelf is not None and (s := _lots_fault(asked, each, shelf))), None)
        if said is not None:
            return refuse(item, WorkRefusal.DETAIL, said, f"/lines/{index}/lots")
    wrong = trail.names.take(
        [named.Naming(asked.line_no, lines[asked.line_no].sku_id, asked.picked, asked.serials) for asked in told],
        lambda known, _: (known.state, known.location_id) == ("in_stock", here),
        done="picked",
        else_="does not lie on a shelf here",
    )
    if wrong is not None:
        return refuse(item, WorkRefusal.DETAIL, wrong.sentence, f"/lines/{wrong.place}/serials")
    trail.shelves |= left
    return None


def _lots_fault(asked: PickLine, each: int, shelf: Shelf) -> str | None:
    """Why the lots that are named do not lie there or are expired; or, if none is named, why too few good units are left."""
    if not asked.lots:
        taken = shelf.take(asked.picked * each, sellable=True)
        good = sum(units for _, _, units in taken)
        if good < asked.picked * each and shelf.over:
            return (
                f"Line {asked.line_no}: only {good} units lie on shelves here that may still be sold, not {asked.picked * each}; "
                "the others have expired. Report what is lacking as short, with the reason 'expired'."
            )
        shelf.less(taken)
    for part in asked.lots or ():
        if part.lot in shelf.over:
            return (
                f"The lot {part.lot!r} expires on {shelf.expires[part.lot]} and may no longer be sold. "
                "Pick another lot, or report the units as short, with the reason 'expired'."
            )
        taken = shelf.take(part.quantity, lot=part.lot)
        if (there := sum(units for _, _, units in taken)) < part.quantity:
            return f"Only {there} units of lot {part.lot!r} lie on shelves here, not {part.quantity}."
        shelf.less(taken)
    return None


def _listed(lines: Mapping[int, FulfillmentLine]) -> str:
    return ", ".join(map(str, sorted(lines)[:20])) + (", …" if len(lines) > 20 else "")


def _count(
    item: Pick,
    told: Sequence[PickLine],
    lines: Mapping[int, FulfillmentLine],
    reasons: Mapping[str, ShortReason],
    pick_id: UUID,
    short_id: UUID,
    flow_version: int,
    at: datetime,
    result: _Result,
) -> None:
    order_id, fulfillment_order_id = item.order_id, item.fulfillment_order_id
    key = (order_id, fulfillment_order_id)
    result.labor_seconds[key] = result.labor_seconds.get(key, 0) + item.labor_seconds
    picked: list[Units] = []
    short: list[ShortUnits] = []
    for asked in told:
        line = lines[asked.line_no]
        here = (order_id, asked.line_no, line.location_id)
        gone = asked.picked + asked.short
        line.open -= gone
        line.picked += asked.picked
        result.line_moves.append(
            LineMove(order_id, fulfillment_order_id, asked.line_no, open=-gone, picked=asked.picked, short=asked.short)
        )
        before = result.taken.get(here, (0, 0))
        result.taken[here] = (before[0] + gone, before[1] + gone)
        result.picked[here] = result.picked.get(here, 0) + asked.picked
        if asked.picked:
            picked.append(Units(asked.line_no, asked.picked))
            result.unit_moves.append(
                UnitMove(order_id, asked.line_no, State.ALLOCATED, State.PICKED, asked.picked, pick_id)
            )
            result.stock_moves.append(
                StockMove(
                    line.sku_id,
                    line.location_id,
                    pick_id,
                    MoveKind.PICKED,
                    picked_delta=asked.picked,
                    order_id=order_id,
                    line_no=asked.line_no,
                    serials=tuple(asked.serials or ()),
                    parts=tuple(Part(part.quantity, None, part.lot) for part in asked.lots or ()),
                )
            )
        if asked.short:
            assert asked.short_reason is not None, "checked before"
            reason = reasons[asked.short_reason]
            short.append(ShortUnits(asked.line_no, asked.short, reason.code))
            if not line.short:  # one try of a location, in however many reports it says so
                result.tried.append((order_id, asked.line_no))
            line.short += asked.short
            _count_short(order_id, asked, line, reason, short_id, result)
    if picked:
        done = FulfillmentPicked(fulfillment_order_id=fulfillment_order_id, lines=picked, worker=item.worker)
        result.events.append(Event(order_id, pick_id, at, done, flow_version))
    if short:
        result.gave_up.add(order_id)
        missing = UnitsShort(fulfillment_order_id=fulfillment_order_id, lines=short, worker=item.worker)
        result.events.append(Event(order_id, short_id, at, missing, flow_version))


def _count_short(
    order_id: UUID, asked: PickLine, line: FulfillmentLine, reason: ShortReason, short_id: UUID, result: _Result
) -> None:
    result.unit_moves.append(
        UnitMove(order_id, asked.line_no, State.ALLOCATED, State.BACKORDERED, asked.short, short_id, reason.code)
    )
    result.stock_moves.append(
        StockMove(
            line.sku_id,
            line.location_id,
            short_id,
            MoveKind.RELEASED,
            reserved_delta=-asked.short,
            reason=reason.code,
            order_id=order_id,
            line_no=asked.line_no,
        )
    )
    if reason.stock_effect is not StockEffect.NONE:
        adjusted = StockMove(
            line.sku_id,
            line.location_id,
            short_id,
            MoveKind.ADJUSTED,
            on_hand_delta=-asked.short,
            reason=reason.code,
            order_id=order_id,
            line_no=asked.line_no,
        )
        result.written_off.append((adjusted, reason.stock_effect))
    if reason.excludes_location:
        result.excluded.append((order_id, asked.line_no, line.location_id))


async def _write(tx: Tx, result: _Result, at: datetime) -> dict[Key, Any]:
    statuses = await ledger.move(tx, result.line_moves, result.labor_seconds, picked_at=at)
    await orders_ledger.take_allocations(tx, result.taken, result.picked)
    await orders_ledger.exclude_locations(tx, result.excluded)
    await orders_ledger.count_tries(tx, result.tried)
    await orders_ledger.move_units(tx, result.unit_moves, at=at)
    await record(tx, result.events)
    if result.gave_up:
        await capacity.give_back(tx, await facts(tx), sorted(result.gave_up))
    if result.written_off:
        result.stock_moves += await _written_off(tx, result)
    await stock.post(tx, result.stock_moves, at=at)
    return statuses


async def _written_off(tx: Tx, result: _Result) -> list[StockMove]:
    """The write-offs; where nothing is left, what is free goes with the first of them."""
    free: dict[tuple[int, int], int] = {}
    if any(effect is StockEffect.ZERO for _, effect in result.written_off):
        # All positions of the batch at once, in key order, so that nobody waits for us while we wait for them.
        moves = await kit_ledger.expand(tx, result.stock_moves)
        keys = sorted({(m.sku_id, m.location_id) for m in (*moves, *(move for move, _ in result.written_off))})
        rows = await inventory_sql.lock_some(
            tx, sku_ids=[sku_id for sku_id, _ in keys], location_ids=[location_id for _, location_id in keys]
        )
        free = {(row["sku_id"], row["location_id"]): row["on_hand"] - row["reserved"] for row in rows}
    written_off = []
    for move, effect in result.written_off:
        extra = free.pop((move.sku_id, move.location_id), 0) if effect is StockEffect.ZERO else 0
        written_off.append(
            StockMove(
                move.sku_id,
                move.location_id,
                move.cause_id,
                move.kind,
                on_hand_delta=move.on_hand_delta - extra,
                reason=move.reason,
                order_id=move.order_id,
                line_no=move.line_no,
            )
        )
    return written_off
