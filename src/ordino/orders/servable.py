"""Units that were accepted and that nothing can serve any more: a person is asked at once, and no longer once something can.

A location leaves the network, a service loses a zone, a SKU becomes heavier or needs other handling: what nobody works on yet is
judged again as placement judged it (``sourcing/never.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger
from ordino.orders.asking import asked_of
from ordino.orders.exceptions import NOT_SERVABLE, clear, open_line_exceptions
from ordino.orders.model import LineRow, OrderRow
from ordino.orders.never import never_served_lines
from ordino.sourcing.model import Decision, Request
from ordino.sourcing.versions import Profiles, profiles

sql = statements("ordino.orders")

Key = tuple[UUID, int]
"""(order id, line number)"""


async def judge(tx: Tx, order_ids: Sequence[UUID], *, at: datetime) -> None:
    """Open and close the exceptions of these orders. Only orders of which something has to be written are locked."""
    network = await facts(tx)
    hopeless = await _hopeless(tx, await ledger.orders(tx, order_ids), network)
    open_ = await _open(tx, order_ids)
    changed = {order_id for order_id, _ in hopeless.keys() ^ open_.keys()}
    if not changed:
        return
    orders = await ledger.lock(tx, changed)  # and as they stand, now that nobody else changes them
    hopeless, open_ = await _hopeless(tx, orders, network), await _open(tx, list(orders))
    new = {key: said for key, said in hopeless.items() if key not in open_}
    await open_line_exceptions(tx, new, orders, at=at)
    await clear(tx, [(key[0], id) for key, id in open_.items() if key not in hopeless], orders, at=at)


async def judge_short(
    tx: Tx,
    requests: Sequence[Request],
    decisions: Sequence[Decision],
    orders: Mapping[UUID, OrderRow],
    network: NetworkFacts,
    policy: Profiles,
    *,
    at: datetime,
) -> None:
    """What sourcing found no location for, and can find none for. The orders must be locked."""
    short = [(request, d.short) for request, d in zip(requests, decisions, strict=True) if d.short]
    hopeless = await never_served_lines(short, network, policy)
    await open_line_exceptions(tx, hopeless, orders, at=at)


async def _open(tx: Tx, order_ids: Collection[UUID]) -> dict[Key, UUID]:
    rows = await sql.open_exceptions_of(tx, order_ids=list(order_ids), kind=NOT_SERVABLE)
    return {(row["order_id"], row["line_no"]): row["exception_id"] for row in rows}


async def _hopeless(tx: Tx, orders: Mapping[UUID, OrderRow], network: NetworkFacts) -> dict[Key, str]:
    """The lines with units that nobody works on, and that nothing can serve: why."""
    if not orders:
        return {}
    lines = await ledger.lines(tx, orders)
    idle: dict[UUID, set[int]] = defaultdict(set)
    for key, line in lines.items():
        if line.backordered > line.stop_wanted:
            idle[key[0]].add(key[1])
    for row in await ledger.allocations(tx, orders):
        if row.quantity > row.released:
            idle[row.order_id].add(row.line_no)
    found: dict[Key, str] = {}
    served = [order for order in orders.values() if order.order_id in idle]
    for order in served:
        channel = network.channels_by_id[order.channel_id]
        if channel.network is None:
            said = f"No network serves the channel {channel.code!r}; name it in a network with PUT /v1/networks."
            found |= {(order.order_id, line_no): said for line_no in idle[order.order_id]}
    requests = await asked_of(tx, served, _of(lines, idle), network)
    asked = [(request, idle[request.request_id]) for request in requests]
    return found | await never_served_lines(asked, network, await profiles(tx))


def _of(lines: Mapping[Key, LineRow], idle: Mapping[UUID, set[int]]) -> dict[Key, LineRow]:
    return {key: line for key, line in lines.items() if key[0] in idle}
