"""Stopping: a cancellation reaches units that the warehouse already has. What has shipped cannot be stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.payloads import Units
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts
from ordino.orders import capacity
from ordino.orders import ledger as orders_ledger
from ordino.orders.called_off import CalledOff
from ordino.orders.ledger import AllocationKey
from ordino.orders.model import AllocationRow, LineRow, ShippingMove, State, UnitMove
from ordino.warehouse import ledger
from ordino.warehouse.events import CancellationRefused
from ordino.warehouse.ledger import sql
from ordino.warehouse.model import FulfillmentLine, LineMove


class Wish(Struct, frozen=True):
    """Units of an order that are to be cancelled: line number -> quantity."""

    order_id: UUID
    lines: dict[int, int]
    reason: str


class Stopped(Struct, frozen=True):
    """What was cancelled, and what had left: line number -> quantity."""

    order_id: UUID
    cancelled: dict[int, int]
    refused: dict[int, int]
    amount_minor: int
    refund_minor: int = 0


class _Package(Struct):
    """Units of a line in a package that waits."""

    package_id: UUID
    quantity: int


class _Place(Struct):
    """Everything that a stop may find and take."""

    orders: dict[UUID, dict[int, LineRow]]
    allocations: dict[tuple[UUID, int], list[AllocationRow]]
    fulfillment: dict[tuple[UUID, int], list[FulfillmentLine]]
    packages: dict[tuple[UUID, UUID, int], list[_Package]]


class _Result(Struct):
    """What a batch writes, summed up by what each ledger keeps apart."""

    units: list[UnitMove]
    shipping: list[ShippingMove]
    stock: dict[tuple[int, int, UUID, MoveKind, UUID, int], int]
    taken: dict[AllocationKey, tuple[int, int]]
    line_moves: list[LineMove]
    unpacked: dict[tuple[UUID, UUID, int], int]


async def stop(tx: Tx, wishes: Sequence[Wish], *, at: datetime) -> list[Stopped]:
    """One outcome a wish, in order.

    Units are taken where stopping them costs least: waiting, allocated, open, picked, and at last packed ones.
    """
    floor = await ledger.load(tx, [wish.order_id for wish in wishes])
    place = await _look(tx, floor)
    result = _Result([], [], defaultdict(int), {}, [], defaultdict(int))
    deltas: dict[tuple[UUID, int], int] = defaultdict(int)
    events: list[Event] = []
    outcomes: list[Stopped] = []
    ids = new_ids(at, 3 * len(wishes))
    for index, wish in enumerate(wishes):
        event_id, refused_id, refund_id = ids[3 * index : 3 * index + 3]
        order = floor.orders[wish.order_id]
        lines = place.orders[wish.order_id]
        called_off = CalledOff(order, lines, event_id, wish.reason)
        refused: dict[int, int] = {}
        for line_no, quantity in wish.lines.items():
            taken = _take(called_off, line_no, quantity, place, result)
            deltas[wish.order_id, line_no] -= min(quantity, lines[line_no].stop_wanted)
            lines[line_no] = structs.replace(lines[line_no], stop_wanted=max(0, lines[line_no].stop_wanted - quantity))
            if taken < quantity:
                refused[line_no] = quantity - taken
        if called_off.moves:
            result.shipping.append(called_off.close())
            result.units += called_off.moves
            floor.orders[wish.order_id] = called_off.order
            events += called_off.events(refund_id, at)
        if refused:
            payload = CancellationRefused(lines=_listed(refused), reason=wish.reason)
            events.append(Event(wish.order_id, refused_id, at, payload, order.flow_version))
        outcomes.append(
            Stopped(wish.order_id, called_off.units(), refused, called_off.amount_minor, called_off.refund_minor)
        )
    await _write(tx, result, deltas, events, at)
    return outcomes


def _listed(units: dict[int, int]) -> list[Units]:
    return [Units(line_no, quantity) for line_no, quantity in sorted(units.items())]


async def _look(tx: Tx, floor: ledger.Floor) -> _Place:
    place = _Place({}, {}, {}, {})
    order_ids = list(floor.orders)
    if not order_ids:
        return place
    for (order_id, line_no), line in (await orders_ledger.lines(tx, order_ids)).items():
        place.orders.setdefault(order_id, {})[line_no] = line
    for allocation in await orders_ledger.allocations(tx, order_ids):
        place.allocations.setdefault((allocation.order_id, allocation.line_no), []).append(allocation)
    for lines in floor.lines.values():
        for released in lines.values():
            place.fulfillment.setdefault((released.order_id, released.line_no), []).append(released)
    for row in await sql.waiting_packages(tx, order_ids=order_ids):
        key = (row["order_id"], row["fulfillment_order_id"], row["line_no"])
        place.packages.setdefault(key, []).append(_Package(row["package_id"], row["quantity"]))
    return place


def _take(called_off: CalledOff, line_no: int, wanted: int, place: _Place, result: _Result) -> int:
    """Cancel up to ``wanted`` units of a line. Returns how many."""
    order_id, cause_id = called_off.order.order_id, called_off.cause_id
    line = place.orders[order_id][line_no]
    left = wanted
    by_state: dict[State, int] = defaultdict(int)

    def cancel(state: State, quantity: int) -> None:
        nonlocal left
        left -= quantity
        by_state[state] += quantity

    def move(kind: MoveKind, location_id: int, quantity: int) -> None:
        result.stock[line.sku_id, location_id, cause_id, kind, order_id, line_no] += quantity

    def take_allocation(location_id: int, quantity: int, released: int) -> None:
        key = (order_id, line_no, location_id)
        before = result.taken.get(key, (0, 0))
        result.taken[key] = (before[0] + quantity, before[1] + released)

    if taken := min(left, line.backordered):
        cancel(State.BACKORDERED, taken)
    for row in place.allocations.get((order_id, line_no), ()):
        before = result.taken.get((order_id, line_no, row.location_id), (0, 0))
        unreleased = row.quantity - row.released - (before[0] - before[1])
        if taken := min(left, unreleased):
            cancel(State.ALLOCATED, taken)
            take_allocation(row.location_id, taken, 0)
            move(MoveKind.RELEASED, row.location_id, taken)
    released = place.fulfillment.get((order_id, line_no), ())
    for f in released:
        if taken := min(left, f.open):
            cancel(State.ALLOCATED, taken)
            f.open -= taken
            take_allocation(f.location_id, taken, taken)
            move(MoveKind.RELEASED, f.location_id, taken)
            result.line_moves.append(LineMove(order_id, f.fulfillment_order_id, line_no, open=-taken, cancelled=taken))
    for f in released:
        if taken := min(left, f.picked):
            cancel(State.PICKED, taken)
            f.picked -= taken
            move(MoveKind.UNPICKED, f.location_id, taken)
            move(MoveKind.RELEASED, f.location_id, taken)
            result.line_moves.append(
                LineMove(order_id, f.fulfillment_order_id, line_no, picked=-taken, cancelled=taken)
            )
    for f in released:
        for package in place.packages.get((order_id, f.fulfillment_order_id, line_no), ()):
            if taken := min(left, package.quantity):
                cancel(State.PACKED, taken)
                package.quantity -= taken
                f.packed -= taken
                move(MoveKind.UNPICKED, f.location_id, taken)
                move(MoveKind.RELEASED, f.location_id, taken)
                result.unpacked[order_id, package.package_id, line_no] += taken
                result.line_moves.append(
                    LineMove(order_id, f.fulfillment_order_id, line_no, packed=-taken, cancelled=taken)
                )
    for state, quantity in by_state.items():
        counts = {state.value: getattr(called_off.lines[line_no], state) - quantity}
        called_off.lines[line_no] = structs.replace(called_off.lines[line_no], **counts)
        called_off.take(line_no, state, quantity)
    return wanted - left


async def _write(
    tx: Tx, result: _Result, deltas: dict[tuple[UUID, int], int], events: Sequence[Event], at: datetime
) -> None:
    await ledger.move(tx, result.line_moves)
    if result.unpacked:
        await sql.unpack(
            tx,
            order_ids=[key[0] for key in result.unpacked],
            package_ids=[key[1] for key in result.unpacked],
            line_nos=[key[2] for key in result.unpacked],
            quantities=list(result.unpacked.values()),
        )
    await orders_ledger.take_allocations(tx, result.taken)
    await orders_ledger.want_stops(tx, deltas)
    await orders_ledger.move_units(tx, result.units, result.shipping, at=at)
    await record(tx, events)
    if result.units:
        await capacity.give_back(tx, await facts(tx), sorted({move.order_id for move in result.units}))
    await stock.post(
        tx,
        [
            StockMove(
                sku_id,
                location_id,
                cause_id,
                kind,
                reserved_delta=-quantity if kind is MoveKind.RELEASED else 0,
                picked_delta=-quantity if kind is MoveKind.UNPICKED else 0,
                order_id=order_id,
                line_no=line_no,
            )
            for (sku_id, location_id, cause_id, kind, order_id, line_no), quantity in result.stock.items()
        ],
        at=at,
    )
