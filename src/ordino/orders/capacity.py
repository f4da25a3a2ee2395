"""The days of limited locations: what placement counts against them, and what cancellation gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from ordino.core.database import Raced, Tx
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, Serving

sql = statements("ordino.orders")
network_sql = statements("ordino.network")


async def used(
    tx: Tx, network: NetworkFacts, servings: Mapping[int, Serving], at: datetime, lock: bool
) -> dict[tuple[int, date], tuple[int, int]]:
    """(location id, day) -> orders taken on, for limited locations, from yesterday on; held if ``lock``."""
    limited = sorted(
        {
            location_id
            for serving in servings.values()
            for location_id in serving.buffers
            if network.locations[location_id].daily_capacity is not None
        }
    )
    if not limited:
        return {}
    since = (at - timedelta(days=1)).date()
    if lock:
        days = [
            (location_id, network.ship_by(location_id, at).astimezone(network.locations[location_id].zone).date())
            for location_id in limited
        ]
        await network_sql.open_capacity(tx, location_ids=[d[0] for d in days], ship_ons=[d[1] for d in days])
    read = network_sql.lock_capacity if lock else network_sql.capacity_used
    rows = await read(tx, location_ids=limited, since=since)
    return {(row["location_id"], row["ship_on"]): (row["used"], 0) for row in rows}


def day(
    network: NetworkFacts, order_id: UUID, location_id: int, ship_by_at: datetime
) -> Iterator[tuple[UUID, int, date]]:
    """The claim that an order makes on a location, if the location is limited."""
    location = network.locations[location_id]
    if location.daily_capacity is not None:
        yield order_id, location_id, ship_by_at.astimezone(location.zone).date()


async def claim(tx: Tx, network: NetworkFacts, days: Sequence[tuple[UUID, int, date]]) -> None:
    """Count each order once against its days. Raises ``Raced`` when a day is full meanwhile."""
    if not days:
        return
    rows = await sql.claim_capacity(
        tx, order_ids=[d[0] for d in days], location_ids=[d[1] for d in days], ship_ons=[d[2] for d in days]
    )
    await _move(tx, network, Counter((row["location_id"], row["ship_on"]) for row in rows))


async def give_back(tx: Tx, network: NetworkFacts, order_ids: Sequence[UUID]) -> None:
    """Days of locations that have nothing left to do for these orders."""
    rows = await sql.return_capacity(tx, order_ids=list(order_ids))
    returned = Counter((row["location_id"], row["ship_on"]) for row in rows)
    await _move(tx, network, Counter({key: -count for key, count in returned.items()}))


async def _move(tx: Tx, network: NetworkFacts, deltas: Mapping[tuple[int, date], int]) -> None:
    if not deltas:
        return
    keys = sorted(deltas)
    columns = {"location_ids": [key[0] for key in keys], "ship_ons": [key[1] for key in keys]}
    await network_sql.open_capacity(tx, **columns)
    limits = [network.locations[location_id].daily_capacity for location_id, _ in keys]
    rows = await network_sql.move_capacity(
        tx,
        **columns,
        deltas=[deltas[key] for key in keys],
        limits=[2**31 - 1 if limit is None else limit for limit in limits],
    )
    if len(rows) < len(keys):
        raise Raced([])
