"""Reading the network from the database."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.core.upserts import NETWORK_PARTS
from ordino.network.exchange import all_rates
from ordino.network.facts.closed import Closures
from ordino.network.facts.model import CapacityDays, Channel, Channels, Closed, Location, Pickups, Serving
from ordino.network.facts.network import NetworkFacts, Parts
from ordino.network.facts.places import PostalCodes
from ordino.network.postal import beginning
from ordino.network.rates import Service, Zone

Part = TypeVar("Part")
sql = statements("ordino.network")
core_sql = statements("ordino.core")


REOPENED_KEPT = 1000
"""What has become of closures is told to whoever has kept them for at most so many revisions of them."""
OTHERS = "network"
"""In the numbers of facts: what the whole has counted beyond its parts."""


async def facts(tx: Tx) -> NetworkFacts:
    """The network as this transaction sees it."""
    return await kept.current(tx, "network", _load)


async def _load(tx: Tx) -> NetworkFacts:
    """What has changed since the process read the network last is read, and the rest is kept with all that was found out about it.

    All parts are of one moment: the number of the whole is the same before and after they are read (``core.kept``).
    """
    numbers = await _numbers(tx)
    before: NetworkFacts | None = kept.last(tx, "network")
    if before is None or before.numbers.get(OTHERS) != numbers[OTHERS]:
        before = None
    reading = _Reading(tx, numbers, before)
    parts = Parts(
        locations=await reading.part("locations", lambda parts: parts.locations, _locations),
        services=await reading.part("carrier_services", lambda parts: parts.services, _services),
        channels=await reading.part("channels", lambda parts: parts.channels, _channels),
        postal_codes=await reading.part("postal_codes", lambda parts: parts.postal_codes, _postal_codes),
        closures=await reading.closures(),
        pickups=await reading.part("carrier_pickups", lambda parts: parts.pickups, _pickups),
        capacity_days=await reading.part("capacity_days", lambda parts: parts.capacity_days, _capacity_days),
        rates=await reading.part("exchange_rates", lambda parts: parts.rates, all_rates),
    )
    return NetworkFacts.of(parts, before, numbers)


async def _numbers(tx: Tx) -> dict[str, int]:
    """The revisions of the parts as this transaction sees them, and under ``OTHERS`` what the whole has counted beyond them."""
    seen = tx.revisions
    if seen is None or "network" in tx.changed:
        seen = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
    numbers = {part: seen[part] for part in NETWORK_PARTS}
    return {**numbers, OTHERS: seen["network"] - sum(numbers.values())}


class _Reading(Struct, frozen=True):
    """One look at the network; ``before`` is what was kept of it, if its parts may be kept on."""

    tx: Tx
    numbers: Mapping[str, int]
    before: NetworkFacts | None

    async def part(self, name: str, of: Callable[[Parts], Part], read: Callable[[Tx], Awaitable[Part]]) -> Part:
        """The part that was kept, if it has not changed; else as it is read now."""
        if self.before is not None and self.before.numbers[name] == self.numbers[name]:
            return of(self.before.parts)
        return await read(self.tx)

    async def closures(self) -> Closures:
        """There are many, and they come and go: of those that were kept, only what is different is read."""
        now, since = self.numbers["closures"], None if self.before is None else self.before.numbers["closures"]
        if self.before is None or since is None or now - since > REOPENED_KEPT:
            return await _closures(self.tx)
        known = self.before.parts.closures
        if now == since:
            return known
        rows = await sql.closures_since(self.tx, number=since)
        written = [Closed(*tuple(row)[:-1]) for row in rows if row["counts"]]
        return known.changed(written, [row["code"] for row in rows if not row["counts"]])


async def _locations(tx: Tx) -> Mapping[int, Location]:
    return {
        row["location_id"]: Location(
            **{
                **{k: v for k, v in row.items() if k != "timezone"},
                "zone": ZoneInfo(row["timezone"]),
                "working_days": frozenset(row["working_days"]),
                "serves_countries": frozenset(row["serves_countries"]),
                "tags": frozenset(row["tags"]),
                "handles": frozenset(row["handles"]),
                "serves_prefixes": tuple(map(beginning, row["serves_prefixes"])),
            }
        )
        for row in await sql.all_locations(tx)
    }


async def _services(tx: Tx) -> Mapping[int, Service]:
    """Active carrier services with their zones and lanes."""
    zones: dict[int, dict[str, Zone]] = {}
    for row in await sql.all_zones(tx):
        zones.setdefault(row["service_id"], {})[row["zone"]] = Zone(
            row["zone"], row["up_to_km"], row["transit_days"], tuple(row["limits"]), tuple(row["costs"])
        )
    lanes: dict[int, dict[tuple[str, str], Zone]] = {}
    for row in await sql.all_lanes(tx):
        zone = zones[row["service_id"]][row["zone"]]
        lanes.setdefault(row["service_id"], {})[row["origin_prefix"], row["destination_prefix"]] = zone
    return {
        row["service_id"]: Service(
            **{
                **dict(row),
                "working_days": frozenset(row["working_days"]),
                "zones": tuple(
                    sorted(
                        zones.get(row["service_id"], {}).values(),
                        key=lambda zone: math.inf if zone.up_to_km is None else zone.up_to_km,
                    )
                ),
                "lanes": lanes.get(row["service_id"], {}),
            }
        )
        for row in await sql.all_services(tx)
    }


async def _channels(tx: Tx) -> Channels:
    networks: dict[int, Serving] = {
        row["network_id"]: Serving(
            row["network_id"], row["code"], dict(zip(row["location_ids"], row["buffers"], strict=True))
        )
        for row in await sql.all_networks(tx)
    }
    return Channels({row["code"]: _channel(row, networks) for row in await sql.all_channels(tx)}, networks)


def _channel(row: Any, networks: Mapping[int, Serving]) -> Channel:
    return Channel(
        channel_id=row["channel_id"],
        code=row["code"],
        seller_id=row["seller_id"],
        currency=row["currency"],
        return_window_days=row["return_window_days"],
        short_policy=row["short_policy"],
        network=networks.get(row["network_id"]),
        seller=row["seller"],
        payment_provider=row["payment_provider"],
    )


async def _postal_codes(tx: Tx) -> PostalCodes:
    rows = await sql.all_places(tx)
    return PostalCodes({(row["country"], row["postal_code"]): (row["latitude"], row["longitude"]) for row in rows})


async def _closures(tx: Tx) -> Closures:
    return Closures([Closed(*row) for row in await sql.all_closures(tx)])


async def _pickups(tx: Tx) -> Pickups:
    pickups: dict[tuple[int, int], list[Any]] = {}
    for row in await sql.all_pickups(tx):
        key = (row["location_id"], row["service_id"])
        pickups.setdefault(key, []).append((frozenset(row["working_days"]), row["at"]))
    return pickups


async def _capacity_days(tx: Tx) -> CapacityDays:
    return {
        (row["location_id"], row["ship_on"]): (row["orders"], row["units"]) for row in await sql.all_capacity_days(tx)
    }
