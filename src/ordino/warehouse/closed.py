"""Work that was released to a location which has closed since: a person is told, and no longer once it is open again or done.

Nobody but the location knows what its people have in hand, so nothing is taken from it: somebody rejects the work, and others can
do it, or it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.network.facts import Closed, NetworkFacts, facts
from ordino.orders import ledger as orders_ledger
from ordino.orders.exceptions import clear
from ordino.orders.model import OrderRow
from ordino.warehouse.events import WorkAtClosedLocation
from ordino.warehouse.ledger import sql

orders_sql = statements("ordino.orders")
core_sql = statements("ordino.core")
SEEN = "seen_by_warehouse"
AT_ONCE = 1000


async def watch_closed(tx: Tx, since: datetime, at: datetime) -> None:
    """Open and close the exceptions: what is over is looked for every time, what is new when the network has changed."""
    network = await facts(tx)
    shut = _Shut(network, at)
    numbers = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
    looks = numbers["network"] != numbers[SEEN] or network.closures_turn(since, at)
    over, found = await _over(tx, shut), await _work(tx, shut) if looks else []
    orders = await orders_ledger.lock(tx, {row["order_id"] for row in (*over, *found)})
    await clear(tx, [(row["order_id"], row["exception_id"]) for row in over], orders, at=at)
    await _open(tx, found, shut, orders, at)
    if looks and len(found) < AT_ONCE:
        await core_sql.set_revision(tx, name=SEEN, number=numbers["network"])


class _Shut:
    """Which locations are open for which channels now."""

    def __init__(self, network: NetworkFacts, at: datetime) -> None:
        self.network = network
        self._at = at
        self._closed: dict[int, Mapping[int, Closed]] = {n: network.closed(n, at) for n in network.channels_by_id}

    def is_open(self, location_id: int, channel_id: int) -> bool:
        return self.network.is_open(location_id, channel_id, self._closed[channel_id])

    def pairs(self) -> list[tuple[int, int]]:
        """(location id, channel id) of what is open."""
        channels, locations = self.network.channels_by_id, self.network.locations
        return [(n, c) for c in channels for n in locations if self.is_open(n, c)]

    def said(self, location_id: int, channel_id: int) -> str:
        why = self.network.why_shut(location_id, channel_id, self._at)
        return f"{why}, and has released work of this order. Retry to give it to other locations, or wait until this one opens."


async def _work(tx: Tx, shut: _Shut) -> list[Any]:
    """A page of open work that lies at closed locations and that nobody was told of."""
    pairs = shut.pairs()
    channels = len(shut.network.channels_by_id)
    always: dict[int, int] = {}
    for location_id, _ in pairs:
        always[location_id] = always.get(location_id, 0) + 1
    some = [n for n in shut.network.locations if always.get(n, 0) < channels]
    rows = await sql.work_at_closed_locations(
        tx,
        location_ids=some,
        open_location_ids=[pair[0] for pair in pairs],
        open_channel_ids=[pair[1] for pair in pairs],
        limit=AT_ONCE,
    )
    return list(rows)


async def _open(tx: Tx, found: list[Any], shut: _Shut, orders: Mapping[UUID, OrderRow], at: datetime) -> None:
    """The orders must be locked."""
    if not found:
        return
    ids = {name: [row[name] for row in found] for name in ("order_id", "fulfillment_order_id")}
    left = await sql.open_work(
        tx, order_ids=ids["order_id"], fulfillment_order_ids=ids["fulfillment_order_id"]
    )  # as it stands, now that nobody else changes it
    still = {row["fulfillment_order_id"] for row in left if row["open"]}
    await _tell(tx, [row for row in found if row["fulfillment_order_id"] in still], shut, orders, at)


async def _tell(tx: Tx, work: list[Any], shut: _Shut, orders: Mapping[UUID, OrderRow], at: datetime) -> None:
    details = {row["fulfillment_order_id"]: shut.said(row["location_id"], row["channel_id"]) for row in work}
    rows = await orders_sql.open_work_exceptions(
        tx,
        order_ids=[row["order_id"] for row in work],
        exception_ids=new_ids(at, len(work)),
        fulfillment_order_ids=[row["fulfillment_order_id"] for row in work],
        location_ids=[row["location_id"] for row in work],
        details=list(details.values()),
        at=at,
    )
    events = []
    for row in rows:
        payload = WorkAtClosedLocation(
            exception_id=row["exception_id"],
            fulfillment_order_id=row["fulfillment_order_id"],
            location=shut.network.locations[row["location_id"]].code,
            why=details[row["fulfillment_order_id"]],
        )
        events.append(Event(row["order_id"], new_id(at), at, payload, orders[row["order_id"]].flow_version))
    await record(tx, events)


async def _over(tx: Tx, shut: _Shut) -> list[Any]:
    """Exceptions whose location is open again, or whose work was picked, rejected or cancelled."""
    told = await sql.told_closed(tx, limit=AT_ONCE)
    return [row for row in told if not row["open"] or shut.is_open(row["location_id"], row["channel_id"])]
