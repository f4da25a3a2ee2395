"""Reading the network from the database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.exchange import all_rates
from ordino.network.facts.closed import Closures
from ordino.network.facts.model import CapacityDays, Channel, Channels, Closed, Location, Pickups, Serving
from ordino.network.facts.network import NetworkFacts, Parts
from ordino.network.facts.places import PostalCodes
from ordino.network.postal import beginning
from ordino.network.rates import Service, Zone

sql = statements("ordino.network")


async def facts(tx: Tx) -> NetworkFacts:
    """The network as this transaction sees it."""
    return await kept.current(tx, "network", _load)


async def _load(tx: Tx) -> NetworkFacts:
    return NetworkFacts.of(
        Parts(
            locations=await _locations(tx),
            services=await _services(tx),
            channels=await _channels(tx),
            postal_codes=await _postal_codes(tx),
            closures=await _closures(tx),
            pickups=await _pickups(tx),
            capacity_days=await _capacity_days(tx),
            rates=await all_rates(tx),
        )
    )


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
