"""The demand ledger and the money ledger: the one door each through which units change state and money moves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.inventory import waiting
from ordino.inventory.kits import frozen
from ordino.orders.model import EXITS, AllocationRow, LineRow, OrderRow, PaymentMove, ShippingMove, State, UnitMove

sql = statements("ordino.orders")
IN_MONEY = {State.SHIPPED, State.CANCELLED, State.RETURNED}
"""States in which units arrive with a word about their money."""


async def lock(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, OrderRow]:
    """The orders, held until the transaction ends. Every verb that changes an order takes it first, and stock last."""
    rows = await sql.lock_orders(tx, order_ids=sorted(set(order_ids)))
    return {row["order_id"]: OrderRow(**row) for row in rows}


async def orders(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, OrderRow]:
    """The orders as they stand; others may change them meanwhile."""
    return {row["order_id"]: OrderRow(**row) for row in await sql.orders(tx, order_ids=list(order_ids))}


async def lines(tx: Tx, order_ids: Iterable[UUID]) -> dict[tuple[UUID, int], LineRow]:
    """(order id, line number) -> the line with its counts."""
    rows = await sql.lines(tx, order_ids=list(order_ids))
    return {(row["order_id"], row["line_no"]): LineRow(**row) for row in rows}


async def allocations(tx: Tx, order_ids: Iterable[UUID]) -> list[AllocationRow]:
    """Where the allocated units of the orders are to come from."""
    return [AllocationRow(**row) for row in await sql.allocations(tx, order_ids=list(order_ids))]


async def move_units(
    tx: Tx, moves: Sequence[UnitMove], shipping: Sequence[ShippingMove] = (), *, at: datetime
) -> dict[UUID, str]:
    """Write the moves, and the counts and the money that follow; ``shipping`` is the shipping of orders whose units move. Returns
    each order's new status.

    The orders must be locked. A move that is no exit, or of units that are not in the state, is a bug and breaks the batch.
    """
    assert {move.order_id for move in shipping} <= {move.order_id for move in moves}, "shipping moves with units"
    if not moves:
        return {}
    assert all(move.to_state in EXITS[move.from_state] for move in moves), "a unit leaves a state by one of its exits"
    assert all((move.to_state in IN_MONEY) == (move.paid_units is not None) for move in moves), (
        "who moves money says so"
    )
    await _count_waiting(tx, moves, at)
    rows = await sql.move_units(
        tx,
        order_ids=[m.order_id for m in moves],
        cause_ids=[m.cause_id for m in moves],
        line_nos=[m.line_no for m in moves],
        from_states=[m.from_state for m in moves],
        to_states=[m.to_state for m in moves],
        quantities=[m.quantity for m in moves],
        reasons=[m.reason for m in moves],
        paid_units=[m.paid_units for m in moves],
        amounts=[m.amount_minor for m in moves],
        refunds=[m.refund_minor for m in moves],
        shipping_order_ids=[s.order_id for s in shipping],
        shipping_charged=[s.charged_minor for s in shipping],
        shipping_void=[s.void_minor for s in shipping],
        shipping_refunded=[s.refund_minor for s in shipping],
        at=at,
    )
    return {row["order_id"]: row["status"] for row in rows}


async def give_back(tx: Tx, amounts: Mapping[tuple[UUID, int], int], shipping: Mapping[UUID, int]) -> None:
    """(order id, line number) -> minor units that are to be refunded of the line, order id -> of its shipping. The orders must be
    locked; more than was charged and not refunded is a bug, and broken by a constraint.
    """
    if amounts or shipping:
        await sql.give_back(
            tx,
            order_ids=[order_id for order_id, _ in amounts],
            line_nos=[line_no for _, line_no in amounts],
            amounts=list(amounts.values()),
            shipping_order_ids=list(shipping),
            shipping_amounts=list(shipping.values()),
        )


async def count_parts(tx: Tx, lines: Iterable[LineRow]) -> None:
    """Write how many parts of their units are back while the units are not. The orders must be locked."""
    if counted := list(lines):
        await sql.count_parts(
            tx,
            order_ids=[line.order_id for line in counted],
            line_nos=[line.line_no for line in counted],
            parts_per_unit=[line.parts_per_unit for line in counted],
            parts_back=[line.parts_back for line in counted],
        )


async def _count_waiting(tx: Tx, moves: Sequence[UnitMove], at: datetime) -> None:
    """Inventory is told how many units wait for what."""
    deltas: dict[tuple[UUID, int], int] = defaultdict(int)
    for move in moves:
        sign = (move.to_state is State.BACKORDERED) - (move.from_state is State.BACKORDERED)
        if sign:
            deltas[move.order_id, move.line_no] += sign * move.quantity
    if not deltas:
        return
    order_ids, line_nos = (list(column) for column in zip(*deltas, strict=True))
    rows = await sql.waiters(tx, order_ids=order_ids, line_nos=line_nos)
    of_kits = await lines_of_kits(tx, {(row["order_id"], row["line_no"]): row["sku_id"] for row in rows})
    units: dict[waiting.Waiter, int] = defaultdict(int)
    for row in rows:
        line = (row["order_id"], row["line_no"])
        for sku_id, each in of_kits.get(line) or ((row["sku_id"], 1),):
            units[sku_id, row["channel_id"]] += deltas[line] * each
    waiting.change(tx, units, at=at)


async def lines_of_kits(tx: Tx, skus: Mapping[tuple[UUID, int], int]) -> dict[tuple[UUID, int], Parts]:
    """(order id, line number) -> what the kits of the line are made of; of lines that are of other SKUs, nothing."""
    ever = (await kits(tx)).ever
    of_kits = [line for line, sku_id in skus.items() if sku_id in ever]
    return await frozen(tx, of_kits) if of_kits else {}


async def skus_of(tx: Tx, order_ids: Collection[UUID]) -> set[int]:
    """The SKUs that these orders take from stock: of kits, the components."""
    own = {key: line.sku_id for key, line in (await lines(tx, order_ids)).items()}
    of_kits = await lines_of_kits(tx, own)
    return {sku_id for key, ordered in own.items() for sku_id, _ in of_kits.get(key) or ((ordered, 1),)}


async def move_money(tx: Tx, moves: Sequence[PaymentMove], *, at: datetime) -> dict[UUID, str]:
    """Write the moves and the balances that follow. Returns each payment's new status. The orders must be locked."""
    if not moves:
        return {}
    rows = await sql.move_money(
        tx,
        order_ids=[m.order_id for m in moves],
        cause_ids=[m.cause_id for m in moves],
        kinds=[m.kind for m in moves],
        amounts=[m.amount_minor for m in moves],
        references=[m.reference for m in moves],
        at=at,
    )
    return {row["order_id"]: row["status"] for row in rows}


AllocationKey = tuple[UUID, int, int]
"""(order id, line number, location id)"""


async def take_allocations(
    tx: Tx, taken: Mapping[AllocationKey, tuple[int, int]], picked: Mapping[AllocationKey, int] | None = None
) -> None:
    """Units leave their allocations: (all of them, those of them that were released); ``picked`` of them were picked. The orders
    must be locked.
    """
    if not taken:
        return
    order_ids, line_nos, location_ids = (list(column) for column in zip(*taken, strict=True))
    await sql.take_allocations(
        tx,
        order_ids=order_ids,
        line_nos=line_nos,
        location_ids=location_ids,
        quantities=[quantity for quantity, _ in taken.values()],
        released=[released for _, released in taken.values()],
        picked=[(picked or {}).get(key, 0) for key in taken],
    )


async def release_allocations(tx: Tx, places: Iterable[tuple[UUID, int]]) -> None:
    """Everything allocated so far to these orders at these locations becomes firm: (order id, location id). They must be locked."""
    if keys := sorted(set(places)):
        await sql.release_allocations(
            tx, order_ids=[order_id for order_id, _ in keys], location_ids=[location_id for _, location_id in keys]
        )


async def exclude_locations(tx: Tx, excluded: Iterable[AllocationKey]) -> None:
    """These lines do not go back to where they could not be had. The orders must be locked."""
    for keys in _rounds(excluded):
        order_ids, line_nos, location_ids = (list(column) for column in zip(*keys, strict=True))
        await sql.exclude_locations(tx, order_ids=order_ids, line_nos=line_nos, location_ids=location_ids)


async def include_locations(tx: Tx, found: Iterable[AllocationKey]) -> set[tuple[UUID, int]]:
    """These lines may go back to where their units were found. Returns (order id, line number). The orders must be locked."""
    lines = set()
    for keys in _rounds(found):
        order_ids, line_nos, location_ids = (list(column) for column in zip(*keys, strict=True))
        rows = await sql.include_locations(tx, order_ids=order_ids, line_nos=line_nos, location_ids=location_ids)
        lines |= {(row["order_id"], row["line_no"]) for row in rows}
    return lines


def _rounds(keys: Iterable[AllocationKey]) -> list[list[AllocationKey]]:
    """Parted so that each part names a line once: a statement changes a row once."""
    rounds: list[list[AllocationKey]] = []
    turns: dict[tuple[UUID, int], int] = defaultdict(int)
    for key in dict.fromkeys(keys):
        turn = turns[key[:2]]
        turns[key[:2]] += 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(key)
    return rounds


async def count_tries(tx: Tx, lines: Iterable[tuple[UUID, int]]) -> None:
    """A location could not supply units of these lines. The orders must be locked."""
    counted = Counter(lines)
    if counted:
        await sql.count_tries(
            tx,
            order_ids=[order_id for order_id, _ in counted],
            line_nos=[line_no for _, line_no in counted],
            tries=list(counted.values()),
        )


async def want_stops(tx: Tx, deltas: Mapping[tuple[UUID, int], int]) -> None:
    """(order id, line number) -> units whose cancellation the warehouse is asked for; negative: answered."""
    if not deltas:
        return
    order_ids, line_nos = (list(column) for column in zip(*deltas, strict=True))
    await sql.want_stops(tx, order_ids=order_ids, line_nos=line_nos, deltas=list(deltas.values()))
