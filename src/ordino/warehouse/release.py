"""Release: allocations become firm, and each location is told what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.upserts import share_network
from ordino.network.facts import Location, NetworkFacts, facts
from ordino.orders import capacity
from ordino.orders import ledger as orders_ledger
from ordino.orders.leave import leave, shut
from ordino.orders.model import AllocationRow, OrderRow
from ordino.sourcing.costs import handling
from ordino.sourcing.versions import profiles
from ordino.warehouse.events import OrderReleased, Work
from ordino.warehouse.ledger import sql
from ordino.warehouse.model import Released, WorkRefusal, WorkRefused


async def release(tx: Tx, order_ids: Sequence[UUID], *, at: datetime) -> list[Released | WorkRefused]:
    """One outcome an order, in order. What was released before stays as it is: a repeat releases nothing.

    An order gets a fulfillment order for each location and carrier service that its unreleased units were allocated to. Nothing is
    released to a location that is closed for the order's channel (FUL-7): other locations take the units on, or they stay there
    and are released once it is open again.
    """
    orders = await orders_ledger.lock(tx, order_ids)
    parts: dict[tuple[UUID, int, int], list[AllocationRow]] = {}
    kept: dict[UUID, set[int]] = {}
    if orders:
        await share_network(tx)  # nothing closes between this look and the commit
        network = await facts(tx)
        allocations = await orders_ledger.allocations(tx, orders)
        if closed := shut(allocations, orders, network, at):
            backlog_days = (await profiles(tx)).backlog_days
            await capacity.hold_claims(tx, network, list(orders), at=at, with_days=True, backlog_days=backlog_days)
            left = await leave(tx, orders, closed, network, at=at, release_wanted=True)
            kept = left.kept
            allocations = await orders_ledger.allocations(tx, orders)
        for row in allocations:
            if row.quantity > row.released and row.location_id not in kept.get(row.order_id, ()):
                parts.setdefault((row.order_id, row.location_id, row.service_id), []).append(row)
    made: dict[UUID, list[tuple[UUID, int]]] = {}
    if parts:
        ids = new_ids(at, len(parts))
        for fulfillment_order_id, (order_id, location_id, _) in zip(ids, parts, strict=True):
            made.setdefault(order_id, []).append((fulfillment_order_id, location_id))
        locations = network.locations
        await sql.write_fulfillment_orders(
            tx,
            **_columns(ids, parts, orders, network),
            at=at,
            handling_costs=[_handling(locations[key[1]], rows) for key, rows in parts.items()],
            handling_currencies=[locations[key[1]].currency or orders[key[0]].currency for key in parts],
        )
        places = {(order_id, location_id) for order_id, location_id, _ in parts}
        await orders_ledger.release_allocations(tx, places)
        await capacity.confirm(tx, network, places)
        events = []
        for event_id, (order_id, new) in zip(new_ids(at, len(made)), made.items(), strict=True):
            payload = OrderReleased(fulfillment_orders=[Work(id, locations[place].code) for id, place in new])
            events.append(Event(order_id, event_id, at, payload, orders[order_id].flow_version))
        await record(tx, events)
    outcomes: list[Released | WorkRefused] = []
    for order_id in order_ids:
        if order_id in orders:
            waits = sorted(network.locations[n].code for n in kept.get(order_id, ()))
            outcomes.append(Released(order_id, [id for id, _ in made.pop(order_id, ())], waits))
        else:
            detail = f"There is no order {order_id}."
            outcomes.append(WorkRefused(order_id, None, WorkRefusal.UNKNOWN, detail, "/order_id"))
    return outcomes


def _handling(location: Location, rows: Sequence[AllocationRow]) -> int:
    given: dict[int, int] = {}
    for row in rows:
        given[row.sku_id] = given.get(row.sku_id, 0) + row.quantity - row.released
    return handling(location, given)


def _columns(
    ids: Sequence[UUID],
    parts: dict[tuple[UUID, int, int], list[AllocationRow]],
    orders: Mapping[UUID, OrderRow],
    network: NetworkFacts,
) -> dict[str, list[Any]]:
    dates = [_dates(orders[key[0]], rows, network) for key, rows in parts.items()]
    lines = [(id, row) for id, rows in zip(ids, parts.values(), strict=True) for row in rows]
    return {
        "order_ids": [key[0] for key in parts],
        "fulfillment_order_ids": list(ids),
        "location_ids": [key[1] for key in parts],
        "service_ids": [key[2] for key in parts],
        "cut_off_ats": [cut_off_at for cut_off_at, _ in dates],
        "ship_by_ats": [ship_by_at for _, ship_by_at in dates],
        "promised_ats": [min(row.promised_at for row in rows) for rows in parts.values()],
        "quantities": [sum(row.quantity - row.released for row in rows) for rows in parts.values()],
        "line_order_ids": [row.order_id for _, row in lines],
        "line_fulfillment_order_ids": [id for id, _ in lines],
        "line_nos": [row.line_no for _, row in lines],
        "line_sku_ids": [row.sku_id for _, row in lines],
        "line_quantities": [row.quantity - row.released for _, row in lines],
    }


def _dates(order: OrderRow, rows: Sequence[AllocationRow], network: NetworkFacts) -> tuple[datetime, datetime]:
    """(the cut-off that orders the work, the instant by which it is to leave). A ship-by time of the order's own counts before the
    plan's, and its work is done before that.
    """
    planned_at = min(row.ship_by_at for row in rows)
    cut_off_at = network.cut_off_of_day(rows[0].location_id, planned_at)
    if order.ship_by_at is None:
        return min(cut_off_at, planned_at), planned_at
    return min(cut_off_at, order.ship_by_at), order.ship_by_at
