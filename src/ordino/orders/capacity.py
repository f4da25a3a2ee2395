"""The days of limited locations: places and units are held at placement, confirmed at release, and given back on cancellation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Raced, Tx
from ordino.core.errors import Invalid
from ordino.core.statements import statements
from ordino.inventory import waiting
from ordino.network.facts import NetworkFacts, Serving, facts
from ordino.sourcing.model import Leg

sql = statements("ordino.orders")
network_sql = statements("ordino.network")
Day = tuple[int, date]
"""(location id, day of shipping)"""
LONGEST_DAYS = 100
_NO_LIMIT = 2**31 - 1


class Claim(Struct, frozen=True):
    """What an order takes of a limited location's day: a place, and so many units."""

    order_id: UUID
    location_id: int
    ship_on: date
    units: int


class CapacityView(Struct, frozen=True):
    """A location's day: limits (none: no limit), what is held for orders that are not released, what is confirmed, what is left."""

    location: str
    ship_on: date
    order_limit: int | None
    held_orders: int
    confirmed_orders: int
    orders_left: int | None
    unit_limit: int | None
    held_units: int
    confirmed_units: int
    units_left: int | None


class _Delta(Struct):
    held_orders: int = 0
    confirmed_orders: int = 0
    held_units: int = 0
    confirmed_units: int = 0

    @property
    def gives_back(self) -> bool:
        return self.held_orders + self.confirmed_orders < 0 or self.held_units + self.confirmed_units < 0


async def used(
    tx: Tx,
    network: NetworkFacts,
    servings: Mapping[int, Serving],
    at: datetime,
    lock: bool,
    backlog_days: int = 0,
    *,
    beside: Collection[UUID] = (),
) -> dict[Day, tuple[int, int]]:
    """Orders and units taken on for limited locations' days, from yesterday on; with ``lock``, held for as long as may be used, and
    with them the days on which these orders ``beside`` claim anything that they may give back.
    """
    members = {location_id for serving in servings.values() for location_id in serving.buffers}
    limited = sorted(members & network.limited)
    claimed = await sql.claims(tx, order_ids=list(beside)) if lock and beside else ()
    if claimed:
        return await _hold(
            tx, network, limited, {(row["location_id"], row["ship_on"]) for row in claimed}, at, backlog_days
        )
    if not limited:
        return {}
    if lock:
        return await _hold(tx, network, limited, (), at, backlog_days)
    rows = await network_sql.capacity_used(tx, location_ids=limited, since=_since(at))
    return {(row["location_id"], row["ship_on"]): (row["orders"], row["units"]) for row in rows}


def _since(at: datetime) -> date:
    return (at - timedelta(days=1)).date()


async def _hold(
    tx: Tx, network: NetworkFacts, limited: Sequence[int], days: Collection[Day], at: datetime, backlog_days: int
) -> dict[Day, tuple[int, int]]:
    """All days of limited locations that may be used, and other ``days``, in key order; a day that is new begins before that."""
    may_be = {
        (n, network.ship_by(n, at, None, after).astimezone(network.locations[n].zone).date())
        for n in limited
        for after in range(backlog_days + 1)
    }
    opened, held = sorted(may_be | set(days)), sorted(days)
    await network_sql.open_capacity(tx, location_ids=[d[0] for d in opened], ship_ons=[d[1] for d in opened])
    rows = await network_sql.lock_capacity(
        tx,
        location_ids=list(limited),
        since=_since(at),
        more_location_ids=[d[0] for d in held],
        more_ship_ons=[d[1] for d in held],
    )
    wanted, since = set(limited), _since(at)
    return {
        (row["location_id"], row["ship_on"]): (row["orders"], row["units"])
        for row in rows
        if row["location_id"] in wanted and row["ship_on"] >= since
    }


async def hold_claims(
    tx: Tx,
    network: NetworkFacts,
    order_ids: Collection[UUID],
    *,
    at: datetime,
    with_days: bool = False,
    backlog_days: int = 0,
) -> None:
    """The days on which these orders claim anything stay as they are until the transaction ends: it may give some of that
    back after it has taken stock. ``with_days``: and the days that may be used from now on. The orders must be locked.
    """
    if order_ids:
        servings = network.networks if with_days else {}
        await used(tx, network, servings, at, True, backlog_days, beside=order_ids)


def claims_of(network: NetworkFacts, order_id: UUID, leg: Leg) -> list[Claim]:
    """The claim that an order makes on a location, if the location is limited."""
    if leg.location_id not in network.limited:
        return []
    return [Claim(order_id, leg.location_id, leg.ship_on, sum(units.quantity for units in leg.units))]


async def claim(tx: Tx, network: NetworkFacts, claims: Sequence[Claim]) -> None:
    """Count each order once against its days, and its units. Raises ``Raced`` when a day is full meanwhile."""
    if not claims:
        return
    rows = await sql.claim_capacity(
        tx,
        order_ids=[c.order_id for c in claims],
        location_ids=[c.location_id for c in claims],
        ship_ons=[c.ship_on for c in claims],
        units=[c.units for c in claims],
    )
    deltas: dict[Day, _Delta] = defaultdict(_Delta)
    for row in rows:
        deltas[row["location_id"], row["ship_on"]].held_orders += row["new"]
    for one in claims:
        deltas[one.location_id, one.ship_on].held_units += one.units
    await _move(tx, network, deltas)


async def claimed(tx: Tx, order_ids: Sequence[UUID]) -> dict[UUID, list[tuple[int, date, int, int]]]:
    """Order id -> (location id, day, orders, units) of its claims."""
    found: dict[UUID, list[tuple[int, date, int, int]]] = defaultdict(list)
    for row in await sql.claims(tx, order_ids=list(order_ids)):
        units = row["held_units"] + row["confirmed_units"]
        found[row["order_id"]].append((row["location_id"], row["ship_on"], 1, units))
    return found


async def confirm(tx: Tx, network: NetworkFacts, places: Collection[tuple[UUID, int]]) -> None:
    """What these orders hold of these locations is firm: (order id, location id). The orders must be locked."""
    if not network.limited or not places:
        return
    deltas: dict[Day, _Delta] = defaultdict(_Delta)
    for row in await sql.claims(tx, order_ids=sorted({order_id for order_id, _ in places})):
        if not row["held_units"] or (row["order_id"], row["location_id"]) not in places:
            continue
        delta = deltas[row["location_id"], row["ship_on"]]
        delta.held_units -= row["held_units"]
        delta.confirmed_units += row["held_units"]
        if not row["confirmed_units"]:
            delta.held_orders -= 1
            delta.confirmed_orders += 1
    if deltas:
        await sql.confirm_claims(tx, order_ids=[one[0] for one in places], location_ids=[one[1] for one in places])
        await _move(tx, network, deltas)


def remaining(days: Mapping[date, tuple[int, int]], units: int, firm: int) -> dict[date, tuple[int, int]]:
    """What an order goes on claiming of a location: day -> (units held, units confirmed).

    ``days`` is what it claims, ``units`` what it still has at the location or had picked there, ``firm`` those of them
    that are released or picked. Firm units that went free confirmed places, the others held ones, the last day first.
    """
    claimed = dict(days)
    too_many = sum(held + confirmed for held, confirmed in days.values()) - units
    not_firm = sum(confirmed for _, confirmed in days.values()) - firm
    for ship_on, (held, confirmed) in sorted(days.items(), reverse=True):
        went = max(0, min(confirmed, not_firm, too_many))
        too_many, not_firm = too_many - went, not_firm - went
        claimed[ship_on] = (held, confirmed - went)
    for ship_on, (held, confirmed) in sorted(claimed.items(), reverse=True):
        went, loosened = max(0, min(held, too_many)), max(0, min(confirmed, not_firm))
        too_many, not_firm = too_many - went, not_firm - loosened
        claimed[ship_on] = (held - went + loosened, confirmed - loosened)
    return claimed


async def give_back(tx: Tx, network: NetworkFacts, order_ids: Sequence[UUID]) -> None:
    """What these orders no longer have at a location, its last day first; the work that was done there stays counted."""
    claims: dict[tuple[UUID, int], dict[date, tuple[int, int]]] = defaultdict(dict)
    has: dict[tuple[UUID, int], tuple[int, int]] = {}
    for row in await sql.claims(tx, order_ids=list(order_ids)):
        key = (row["order_id"], row["location_id"])
        claims[key][row["ship_on"]] = (row["held_units"], row["confirmed_units"])
        has[key] = (row["units"], row["firm"])
    dropped: list[tuple[UUID, int, date]] = []
    reduced: list[tuple[UUID, int, date, int, int]] = []
    deltas: dict[Day, _Delta] = defaultdict(_Delta)
    for (order_id, location_id), days in claims.items():
        for ship_on, (held, confirmed) in remaining(days, *has[order_id, location_id]).items():
            held_before, confirmed_before = days[ship_on]
            if (held, confirmed) == (held_before, confirmed_before):
                continue
            delta = deltas[location_id, ship_on]
            delta.held_units += held - held_before
            delta.confirmed_units += confirmed - confirmed_before
            delta.confirmed_orders += (confirmed > 0) - (confirmed_before > 0)
            delta.held_orders += (held > 0 and not confirmed) - (not confirmed_before)
            if held + confirmed:
                reduced.append((order_id, location_id, ship_on, held_before - held, confirmed_before - confirmed))
            else:
                dropped.append((order_id, location_id, ship_on))
    await _give_back(tx, dropped, reduced)
    await _move(tx, network, deltas)


async def _give_back(
    tx: Tx, dropped: Sequence[tuple[UUID, int, date]], reduced: Sequence[tuple[UUID, int, date, int, int]]
) -> None:
    if dropped:
        order_ids, location_ids, ship_ons = (list(column) for column in zip(*dropped, strict=True))
        await sql.drop_claims(tx, order_ids=order_ids, location_ids=location_ids, ship_ons=ship_ons)
    if reduced:
        names = ("order_ids", "location_ids", "ship_ons", "held", "confirmed")
        columns = dict(zip(names, (list(column) for column in zip(*reduced, strict=True)), strict=True))
        await sql.reduce_claims(tx, **columns)


async def _move(tx: Tx, network: NetworkFacts, deltas: Mapping[Day, _Delta]) -> None:
    """In key order. Raises ``Raced`` when a day would overflow."""
    if not deltas:
        return
    keys = sorted(deltas)
    columns = {"location_ids": [key[0] for key in keys], "ship_ons": [key[1] for key in keys]}
    await network_sql.open_capacity(tx, **columns)
    order_limits = [network.order_limit(*key) for key in keys]
    unit_limits = [network.unit_limit(*key) for key in keys]
    rows = await network_sql.move_capacity(
        tx,
        **columns,
        held_orders=[deltas[key].held_orders for key in keys],
        confirmed_orders=[deltas[key].confirmed_orders for key in keys],
        held_units=[deltas[key].held_units for key in keys],
        confirmed_units=[deltas[key].confirmed_units for key in keys],
        order_limits=[_NO_LIMIT if limit is None else limit for limit in order_limits],
        unit_limits=[_NO_LIMIT if limit is None else limit for limit in unit_limits],
    )
    if len(rows) < len(keys):
        raise Raced([])
    waiting.room(tx, {location_id for (location_id, _), delta in deltas.items() if delta.gives_back})


async def capacity_of(tx: Tx, locations: Iterable[str], first: date, last: date) -> list[CapacityView]:
    """The days of some locations, or of all that are limited, by location and day. Raises ``NotFound`` and ``Invalid``."""
    if not 1900 <= first.year <= last.year <= 9000 or not 0 <= (last - first).days <= LONGEST_DAYS:
        raise Invalid(f"Ask for up to {LONGEST_DAYS} days, from the first to the last.")
    network = await facts(tx)
    ids = [network.location_id(code) for code in locations] or sorted(
        network.limited, key=lambda n: network.locations[n].code
    )
    rows = await network_sql.capacity_between(tx, location_ids=ids, first=first, last=last)
    taken = {(row["location_id"], row["ship_on"]): tuple(row)[2:] for row in rows}
    found = []
    for location_id in ids:
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
            if not network.works(network.locations[location_id], day) and (location_id, day) not in taken:
                continue
            held, confirmed, held_units, confirmed_units = taken.get((location_id, day), (0, 0, 0, 0))
            orders, units = network.order_limit(location_id, day), network.unit_limit(location_id, day)
            found.append(
                CapacityView(
                    network.locations[location_id].code,
                    day,
                    orders,
                    held,
                    confirmed,
                    None if orders is None else max(0, orders - held - confirmed),
                    units,
                    held_units,
                    confirmed_units,
                    None if units is None else max(0, units - held_units - confirmed_units),
                )
            )
    return found
