"""Units that are not released leave locations that are closed: another location takes them on, as far as one can.

What no other location can supply stays where it is. Its stock is there, and nobody else would hold it for the order: given up, the
units would wait at the end of the line for what they had already. The event ``units_kept`` says so; the units are looked at again
when the network changes, and every hour, and are released once the location is open again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import Closed, NetworkFacts
from ordino.orders import capacity, ledger
from ordino.orders.allocate import requests_of
from ordino.orders.events import OrderResourced, UnitsKept
from ordino.orders.ledger import AllocationKey
from ordino.orders.model import AllocationRow, OrderRow
from ordino.orders.told import endangered
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Decision
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import profiles

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
_encode = msgspec.json.Encoder().encode
REASON = "location_closed"


class Left(Struct, frozen=True):
    """Orders of which units have come to other locations, and what stays at closed ones: order id -> location ids."""

    moved: set[UUID]
    kept: dict[UUID, set[int]]


def shut(
    rows: Iterable[AllocationRow], orders: Mapping[UUID, OrderRow], network: NetworkFacts, at: datetime
) -> list[AllocationRow]:
    """The allocations with units that are not released, at locations that are closed for the order's channel."""
    closed: dict[int, Mapping[int, Closed]] = {}
    found = []
    for row in rows:
        channel_id = orders[row.order_id].channel_id
        if channel_id not in closed:
            closed[channel_id] = network.closed(channel_id, at)
        if row.quantity > row.released and not network.is_open(row.location_id, channel_id, closed[channel_id]):
            found.append(row)
    return found


async def leave(
    tx: Tx,
    orders: Mapping[UUID, OrderRow],
    closed: Sequence[AllocationRow],
    network: NetworkFacts,
    *,
    at: datetime,
    release_wanted: bool = False,
) -> Left:
    """Source again what ``shut`` has found. The orders must be locked, and the days of other orders that this transaction may touch
    (``capacity.hold_claims``). ``release_wanted``: what is kept would be released now.
    """
    if not closed:
        return Left(set(), {})
    there: dict[tuple[UUID, int], list[AllocationRow]] = defaultdict(list)
    units: dict[UUID, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in closed:
        there[row.order_id, row.line_no].append(row)
        units[row.order_id][row.line_no] += row.quantity - row.released
    decisions = await _decided(tx, {order_id: orders[order_id] for order_id in units}, units, network, at)
    taken = _taken(decisions, there)
    if decisions:
        await _write(tx, decisions, taken, there, orders, network, at)
    kept = [row for row in closed if row.quantity - row.released > taken.get(_key(row), 0)]
    gone = [row for row in closed if row.quantity - row.released == taken.get(_key(row), 0)]
    await stop_keeping(tx, [_key(row) for row in gone])
    await _keep(tx, kept, orders, network, at, release_wanted)
    places: dict[UUID, set[int]] = defaultdict(set)
    for row in kept:
        places[row.order_id].add(row.location_id)
    return Left({decision.request_id for decision in decisions}, dict(places))


async def stop_keeping(tx: Tx, keys: Sequence[AllocationKey]) -> None:
    """These units do not wait for their location to open any more. The orders must be locked."""
    if keys:
        order_ids, line_nos, location_ids = (list(column) for column in zip(*keys, strict=True))
        await sql.stop_keeping(tx, order_ids=order_ids, line_nos=line_nos, location_ids=location_ids)


def _key(row: AllocationRow) -> AllocationKey:
    return row.order_id, row.line_no, row.location_id


async def _decided(
    tx: Tx,
    orders: Mapping[UUID, OrderRow],
    units: Mapping[UUID, Mapping[int, int]],
    network: NetworkFacts,
    at: datetime,
) -> list[Decision]:
    """Where some of these units can come from instead, on stock and days that are held from here on."""
    lines = await ledger.lines(tx, orders)
    requests = await requests_of(tx, [orders[order_id] for order_id in sorted(orders)], lines, units, network, at)
    if not requests:
        return []
    policy = await profiles(tx)
    servings = {request.network.network_id: request.network for request in requests}
    # The orders give back days of where they were.
    used = await capacity.used(
        tx, network, servings, at, lock=True, backlog_days=policy.backlog_days, beside=list(orders)
    )
    sku_ids = stocked(requests)
    shelf = await on_shelf(tx, sku_ids, at=at, lock=True)
    outlook = await outlook_for(tx, policy.looks_ahead, sku_ids)
    decisions = await decide_aside(requests, shelf.free, network, policy, used, shelf.book, outlook)
    return [d for d in decisions if d.legs]


def _taken(
    decisions: Sequence[Decision], there: Mapping[tuple[UUID, int], Sequence[AllocationRow]]
) -> dict[AllocationKey, int]:
    """What leaves each allocation."""
    taken: dict[AllocationKey, int] = {}
    for decision in decisions:
        wanted: dict[int, int] = defaultdict(int)
        for leg in decision.legs:
            for units in leg.units:
                wanted[units.line_no] += units.quantity
        for line_no, left in wanted.items():
            for row in there[decision.request_id, line_no]:
                if gone := min(left, row.quantity - row.released):
                    taken[_key(row)] = gone
                    left -= gone
    return taken


async def _write(
    tx: Tx,
    decisions: Sequence[Decision],
    taken: Mapping[AllocationKey, int],
    there: Mapping[tuple[UUID, int], Sequence[AllocationRow]],
    orders: Mapping[UUID, OrderRow],
    network: NetworkFacts,
    at: datetime,
) -> None:
    """Reservations, allocations and places of days go over to the other locations."""
    ids = dict(zip([d.request_id for d in decisions], new_ids(at, len(decisions)), strict=True))
    rows: list[tuple[Any, ...]] = []
    claims: list[capacity.Claim] = []
    moves: list[StockMove] = []
    events: list[Event] = []

    def move(order_id: UUID, line_no: int, location_id: int, units: int) -> None:
        kind = MoveKind.RESERVED if units > 0 else MoveKind.RELEASED
        moves.append(
            StockMove(
                there[order_id, line_no][0].sku_id, location_id, ids[order_id], kind, reserved_delta=units, reason=REASON,
                order_id=order_id, line_no=line_no, channel_id=orders[order_id].channel_id,
            )
        )  # fmt: skip

    for (order_id, line_no, location_id), units in taken.items():
        move(order_id, line_no, location_id, -units)
    for decision in decisions:
        order = orders[decision.request_id]
        for leg in decision.legs:
            claims += capacity.claims_of(network, order.order_id, leg)
            for part in leg.units:
                dates = (leg.service_id, leg.ship_by_at, leg.promised_at)
                rows.append((order.order_id, part.line_no, leg.location_id, part.sku_id, part.quantity, *dates))
                move(order.order_id, part.line_no, leg.location_id, part.quantity)
        was = sorted({location_id for order_id, _, location_id in taken if order_id == order.order_id})
        payload = OrderResourced(
            from_=[network.locations[n].code for n in was],
            to=sorted({network.locations[leg.location_id].code for leg in decision.legs}),
            why="; ".join(network.why_shut(n, order.channel_id, at) for n in was),
        )
        events.append(Event(order.order_id, ids[order.order_id], at, payload, order.flow_version))
        events += endangered(decision, order.told_at, order.ship_by_at, order.flow_version, at=at)
    await ledger.take_allocations(tx, {key: (units, 0) for key, units in taken.items()})
    await capacity.give_back(tx, network, list(ids))
    names = ("order_ids", "line_nos", "location_ids", "sku_ids", "quantities", "service_ids", "ship_bys", "promises")
    columns = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    await sql.add_allocations(tx, **columns)
    await sourcing_sql.record_decisions(
        tx,
        order_ids=list(ids),
        cause_ids=list(ids.values()),
        profile_versions=[decision.profile_version for decision in decisions],
        explanations=[_encode(decision.explanation).decode() for decision in decisions],
        at=at,
    )
    await record(tx, events)
    await capacity.claim(tx, network, claims)
    await stock.post(tx, moves, at=at, guarded=False)


async def _keep(
    tx: Tx,
    rows: Sequence[AllocationRow],
    orders: Mapping[UUID, OrderRow],
    network: NetworkFacts,
    at: datetime,
    release_wanted: bool,
) -> None:
    """Mark what stays; it is told once for as long as it stays."""
    if not rows:
        return
    new = await sql.keep_allocations(
        tx,
        order_ids=[row.order_id for row in rows],
        line_nos=[row.line_no for row in rows],
        location_ids=[row.location_id for row in rows],
        release=release_wanted,
        at=at,
    )
    told: dict[UUID, list[tuple[int, int]]] = defaultdict(list)
    for row in new:
        told[row["order_id"]].append((row["line_no"], row["location_id"]))
    events = []
    for order_id, parts in told.items():
        channel_id = orders[order_id].channel_id
        places = sorted({n for _, n in parts})
        payload = UnitsKept(
            lines=sorted({line_no for line_no, _ in parts}),
            locations=[network.locations[n].code for n in places],
            why="; ".join(network.why_shut(n, channel_id, at) for n in places)
            + ". No other location can supply the units; they stay where their stock is until it opens again.",
        )
        events.append(Event(order_id, new_id(at), at, payload, orders[order_id].flow_version))
    await record(tx, events)
