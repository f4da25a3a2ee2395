"""Units that wait find a location: backorders when stock arrives, and units that a location could not supply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.payloads import Units
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.shelf import on_shelf
from ordino.inventory.waiting import Waiter
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import capacity, ledger
from ordino.orders.asking import asked_of
from ordino.orders.events import OrderAllocated
from ordino.orders.exceptions import give_up
from ordino.orders.model import LineRow, OrderRow, State, UnitMove
from ordino.orders.servable import judge_short
from ordino.orders.told import endangered
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import Profiles, profiles

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
_encode = msgspec.json.Encoder().encode
NIL = UUID(int=0)


async def allocate(tx: Tx, order_ids: Sequence[UUID], *, at: datetime, first: bool = False) -> dict[UUID, int]:
    """Source the backordered units of these orders, in the order given. Returns the units that found a location, by order.

    Stock is held while it is decided on; what finds nothing goes on waiting. What others wait for and have not been offered yet is
    left to them, unless these orders are those that come ``first``.
    """
    orders = await ledger.lock(tx, order_ids)
    waiting: dict[UUID, list[LineRow]] = defaultdict(list)
    lines = await ledger.lines(tx, orders)
    for line in lines.values():
        if line.backordered > line.stop_wanted:
            waiting[line.order_id].append(line)
    if not waiting:
        return {}
    network = await facts(tx)
    units = {i: {line.line_no: line.backordered - line.stop_wanted for line in of} for i, of in waiting.items()}
    requests = await requests_of(tx, [orders[i] for i in order_ids if i in waiting], lines, units, network, at)
    policy = await profiles(tx)
    requests = await _without_hopeless(tx, requests, waiting, orders, policy, network, at)
    if not requests:
        return {}
    servings = {request.network.network_id: request.network for request in requests}
    used = await capacity.used(tx, network, servings, at, lock=True, backlog_days=policy.backlog_days)
    sku_ids = stocked(requests)
    shelf = await on_shelf(tx, sku_ids, at=at, lock=True, first=first, own=_own(requests))
    outlook = await outlook_for(tx, policy.looks_ahead, sku_ids)
    found = await decide_aside(requests, shelf.free, network, policy, used, shelf.book, outlook)
    await judge_short(tx, requests, found, orders, network, policy, at=at)
    decisions = [d for d in found if d.legs]
    if decisions:
        await _write(tx, decisions, orders, network, at)
    return {d.request_id: sum(units.quantity for leg in d.legs for units in leg.units) for d in decisions}


def _own(requests: Sequence[Request]) -> dict[Waiter, int]:
    """What these requests wait for, of kits their components."""
    units: dict[Waiter, int] = defaultdict(int)
    for request in requests:
        assert request.channel_id is not None, "an order has a channel"
        for need in request.needs:
            for sku_id, each in need.parts or ((need.sku_id, 1),):
                units[sku_id, request.channel_id] += need.quantity * each
    return units


async def _without_hopeless(
    tx: Tx,
    requests: Sequence[Request],
    waiting: Mapping[UUID, Sequence[LineRow]],
    orders: Mapping[UUID, OrderRow],
    policy: Profiles,
    network: NetworkFacts,
    at: datetime,
) -> list[Request]:
    """Without lines that have failed as often as the profile lets them, or everywhere: those need a person."""
    found, given_up = [], []
    for request in requests:
        most = policy.for_request(request).most_tries
        serving = network.serving_country(request.country)
        places = {n for n in request.network.buffers if n in serving and network.locations[n].active}
        hopeless = {
            line.line_no
            for line in waiting[request.request_id]
            if line.tries >= most or (line.tries and places.issubset(line.excluded_location_ids))
        }
        given_up += [line for line in waiting[request.request_id] if line.line_no in hopeless]
        if needs := tuple(need for need in request.needs if need.line_no not in hopeless):
            found.append(request if not hopeless else replace(request, needs=needs))
    await give_up(tx, given_up, orders, at=at)
    return found


async def waiting_for(tx: Tx, sku_ids: Sequence[int], *, limit: int, after: UUID = NIL) -> list[UUID]:
    """Orders with units that wait for these SKUs, first placed first; the page after an order."""
    rows = await sql.waiting_orders(tx, sku_ids=list(sku_ids), after=after, limit=limit)
    return [row["order_id"] for row in rows]


async def requests_of(
    tx: Tx,
    orders: Sequence[OrderRow],
    lines: Mapping[tuple[UUID, int], LineRow],
    wanted: Mapping[UUID, Mapping[int, int]],
    network: NetworkFacts,
    at: datetime,
) -> list[Request]:
    """What orders ask of sourcing again: so many units of some of their lines, by line number. Conditions see the whole order."""
    numbers = {order.order_id for order in orders}
    asked = await asked_of(tx, orders, {key: line for key, line in lines.items() if key[0] in numbers}, network)
    promises = {order.order_id: order.told_at for order in orders}
    return [
        replace(
            request,
            at=at,
            needs=tuple(
                replace(
                    need,
                    quantity=wanted[request.request_id][need.line_no],
                    backorderable=True,
                    excluded=tuple(lines[request.request_id, need.line_no].excluded_location_ids),
                )
                for need in request.needs
                if need.line_no in wanted[request.request_id]
            ),
            whole=request.needs,
            short_policy=ShortPolicy.BACKORDER,
            closed=network.closed(request.channel_id, at),
            promised_at=promises[request.request_id],
        )
        for request in asked
    ]


async def _write(
    tx: Tx,
    decisions: Sequence[Decision],
    orders: dict[UUID, OrderRow],
    network: NetworkFacts,
    at: datetime,
) -> None:
    ids = new_ids(at, len(decisions))
    events, unit_moves, stock_moves = [], [], []
    rows: list[tuple[Any, ...]] = []
    claims: list[capacity.Claim] = []
    promises: list[tuple[UUID, datetime]] = []
    for event_id, decision in zip(ids, decisions, strict=True):
        order = orders[decision.request_id]
        by_line: dict[int, int] = defaultdict(int)
        for leg in decision.legs:
            claims += capacity.claims_of(network, order.order_id, leg)
            for units in leg.units:
                by_line[units.line_no] += units.quantity
                rows.append(
                    (
                        order.order_id,
                        units.line_no,
                        leg.location_id,
                        units.sku_id,
                        units.quantity,
                        leg.service_id,
                        leg.ship_by_at,
                        leg.promised_at,
                    )
                )
                stock_moves.append(
                    StockMove(
                        units.sku_id,
                        leg.location_id,
                        event_id,
                        MoveKind.RESERVED,
                        reserved_delta=units.quantity,
                        order_id=order.order_id,
                        line_no=units.line_no,
                        channel_id=order.channel_id,
                    )
                )
        if decision.promised_at is not None:
            promises.append((order.order_id, decision.promised_at))
        unit_moves += [
            UnitMove(order.order_id, line_no, State.BACKORDERED, State.ALLOCATED, quantity, event_id)
            for line_no, quantity in by_line.items()
        ]
        payload = OrderAllocated(lines=[Units(n, q) for n, q in by_line.items()])
        events.append(Event(order.order_id, event_id, at, payload, order.flow_version))
        events += endangered(decision, order.told_at, order.ship_by_at, order.flow_version, at=at)
    names = ("order_ids", "line_nos", "location_ids", "sku_ids", "quantities", "service_ids", "ship_bys", "promises")
    await sql.add_allocations(
        tx, **{name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    )
    await ledger.move_units(tx, unit_moves, at=at)
    if promises:
        await sql.promise(tx, order_ids=[p[0] for p in promises], promised_ats=[p[1] for p in promises])
    await sourcing_sql.record_decisions(
        tx,
        order_ids=[decision.request_id for decision in decisions],
        cause_ids=ids,
        profile_versions=[decision.profile_version for decision in decisions],
        explanations=[_encode(decision.explanation).decode() for decision in decisions],
        at=at,
    )
    await record(tx, events)
    await capacity.claim(tx, network, claims)
    await stock.post(tx, stock_moves, at=at, guarded=False)
