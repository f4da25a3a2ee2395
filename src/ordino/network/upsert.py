"""Locations, networks, carrier services and postal codes are created and changed in sets, each thing by its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import json, to_builtins
from msgspec.structs import replace

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.core.upserts import (
    NotUpserted,
    Outcome,
    Reason,
    hold_network,
    in_rounds,
    network_changed,
    outcome,
    take_ids,
)
from ordino.network import read
from ordino.network.currencies import currencies
from ordino.network.model import (
    CarrierService,
    Location,
    Network,
    PostalCode,
    location_fault,
    network_fault,
    service_fault,
)
from ordino.network.postal import normal

sql = statements("ordino.network")


async def upsert_locations(tx: Tx, locations: Sequence[Location], *, at: datetime) -> list[Outcome]:
    """A location takes part once a network names it."""
    if not locations:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[Location]) -> list[Outcome]:
        known_currencies = await currencies(tx, at)  # as the round before has left it
        binned = {row["code"] for row in await sql.binned(tx, codes=[location.code for location in batch])}
        refused = {
            location.code: said
            for location in batch
            if (said := known_currencies.against_location(location)) is not None
        } | {
            location.code: NotUpserted(
                location.code,
                Reason.CONFLICT,
                f"{location.code!r} has bins, and its units lie in them; bins stay.",
                "/bins",
            )
            for location in batch
            if location.code in binned and not location.bins
        }
        everything, batch = batch, [location for location in batch if location.code not in refused]
        codes = [location.code for location in batch]
        known = {row["code"]: row["location_id"] for row in await sql.location_ids(tx, codes=codes)}
        ids = known | await take_ids(tx, "location", [code for code in codes if code not in known])
        rows = await sql.write_locations(tx, rows=_json([_row(location, ids[location.code]) for location in batch]))
        written = {row["code"] for row in rows}
        done = {code: outcome(code, new=code not in known, written=code in written) for code in codes}
        return [refused.get(location.code) or done[location.code] for location in everything]

    outcomes = await in_rounds(locations, code=lambda location: location.code, fault=location_fault, apply=apply)
    await network_changed(tx, outcomes, "locations", promises=True)
    return outcomes


def _row(location: Location, location_id: int) -> dict[str, Any]:
    row: dict[str, Any] = {"location_id": location_id, **to_builtins(location)}
    for name in ("working_days", "tags", "handles", "serves_prefixes"):
        row[name] = sorted(set(row[name]))
    row["serves_countries"] = sorted(set(location.serves_countries)) or [location.country]
    return row


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return json.encode(rows).decode()


async def upsert_networks(tx: Tx, networks: Sequence[Network], *, at: datetime) -> list[Outcome]:
    """Each network is written whole. A channel that it names leaves the network that it had (NET-1)."""
    if not networks:
        return []
    await hold_network(tx)
    places = {member.location for network in networks for member in network.members}
    location_ids = {row["code"]: row["location_id"] for row in await sql.location_ids(tx, codes=list(places))}
    served = {channel for network in networks for channel in network.channels}
    channel_ids = {row["code"]: row["channel_id"] for row in await sql.channel_ids(tx, codes=list(served))}

    async def apply(batch: Sequence[Network]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for network in batch:  # one by one: a channel that one network takes, another loses
            outcomes.append(
                _unknown(network, location_ids, channel_ids)
                or (await currencies(tx, at)).against_network(network)
                or await _write_network(tx, network, location_ids, channel_ids)
            )
        return outcomes

    outcomes = await in_rounds(networks, code=lambda network: network.code, fault=network_fault, apply=apply)
    await network_changed(tx, outcomes, "channels", promises=True)
    return outcomes


def _unknown(network: Network, locations: Mapping[str, int], channels: Mapping[str, int]) -> NotUpserted | None:
    for index, member in enumerate(network.members):
        if member.location not in locations:
            detail = f"There is no location {member.location!r}; create it with PUT /v1/locations."
            return NotUpserted(network.code, Reason.UNKNOWN, detail, f"/members/{index}/location")
    for index, channel in enumerate(network.channels):
        if channel not in channels:
            detail = f"There is no channel {channel!r}; create it with PUT /v1/channels."
            return NotUpserted(network.code, Reason.UNKNOWN, detail, f"/channels/{index}")
    return None


async def _write_network(
    tx: Tx, network: Network, location_ids: Mapping[str, int], channel_ids: Mapping[str, int]
) -> Outcome:
    tidy = replace(
        network,
        members=sorted(network.members, key=lambda member: member.location),
        channels=sorted(network.channels),
    )
    was = await read.networks(tx, [network.code])
    if was == [tidy]:
        return outcome(network.code, new=False, written=False)
    known = {row["code"]: row["network_id"] for row in await sql.network_ids(tx, codes=[network.code])}
    network_id = (known or await take_ids(tx, "network", [network.code]))[network.code]
    served = [channel_ids[channel] for channel in tidy.channels]
    await sql.write_networks(tx, network_ids=[network_id], codes=[network.code], names=[network.name])
    await sql.clear_members(tx, network_ids=[network_id])
    await sql.clear_channel_networks(tx, network_ids=[network_id], channel_ids=served)
    await sql.write_members(
        tx,
        network_ids=[network_id] * len(tidy.members),
        location_ids=[location_ids[member.location] for member in tidy.members],
        buffers=[member.buffer for member in tidy.members],
    )
    await sql.write_channel_networks(tx, channel_ids=served, network_ids=[network_id] * len(served))
    return outcome(network.code, new=not known, written=True)


async def upsert_carrier_services(tx: Tx, services: Sequence[CarrierService], *, at: datetime) -> list[Outcome]:
    """Each service is written whole, with its zones, rates and lanes."""
    if not services:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[CarrierService]) -> list[Outcome]:
        known_currencies = await currencies(tx, at)  # as the round before has left it
        refused = {
            service.code: said for service in batch if (said := known_currencies.against_service(service)) is not None
        }
        everything, batch = batch, [service for service in batch if service.code not in refused]
        codes = [service.code for service in batch]
        was = {service.code: service for service in await read.carrier_services(tx, codes)}
        tidy = {service.code: _tidy(service) for service in batch}
        changed = [service for service in tidy.values() if was.get(service.code) != service]
        if changed:
            await _write_services(tx, changed)
        written = {service.code for service in changed}
        return [
            refused.get(service.code)
            or outcome(service.code, new=service.code not in was, written=service.code in written)
            for service in everything
        ]

    outcomes = await in_rounds(services, code=lambda service: service.code, fault=service_fault, apply=apply)
    await network_changed(tx, outcomes, "carrier_services")
    return outcomes


def _tidy(service: CarrierService) -> CarrierService:
    """In the order in which it is read."""
    far = float("inf")
    return replace(
        service,
        working_days=sorted(set(service.working_days)),
        zones=sorted(
            (replace(zone, rates=sorted(zone.rates, key=lambda rate: rate.up_to_grams)) for zone in service.zones),
            key=lambda zone: (far if zone.up_to_km is None else zone.up_to_km, zone.zone),
        ),
        lanes=sorted(service.lanes, key=lambda lane: (lane.origin_prefix, lane.destination_prefix)),
    )


async def _write_services(tx: Tx, services: Sequence[CarrierService]) -> None:
    codes = [service.code for service in services]
    known = {row["code"]: row["service_id"] for row in await sql.service_ids(tx, codes=codes)}
    ids = known | await take_ids(tx, "service", [code for code in codes if code not in known])
    service_ids = [ids[code] for code in codes]
    own = {"zones", "lanes"}
    written = [
        {"service_id": ids[service.code], **{k: v for k, v in to_builtins(service).items() if k not in own}}
        for service in services
    ]
    await sql.write_carrier_services(tx, rows=_json(written))
    for clear in (sql.clear_lanes, sql.clear_rates, sql.clear_zones):
        await clear(tx, service_ids=service_ids)
    zones = [(ids[service.code], zone) for service in services for zone in service.zones]
    await sql.write_zones(
        tx,
        service_ids=[service_id for service_id, _ in zones],
        zones=[zone.zone for _, zone in zones],
        up_to_km=[zone.up_to_km for _, zone in zones],
        transit_days=[zone.transit_days for _, zone in zones],
    )
    rates = [(service_id, zone.zone, rate) for service_id, zone in zones for rate in zone.rates]
    await sql.write_rates(
        tx,
        service_ids=[service_id for service_id, _, _ in rates],
        zones=[zone for _, zone, _ in rates],
        up_to_grams=[rate.up_to_grams for _, _, rate in rates],
        costs=[rate.cost_minor for _, _, rate in rates],
    )
    lanes = [(ids[service.code], lane) for service in services for lane in service.lanes]
    await sql.write_lanes(
        tx,
        service_ids=[service_id for service_id, _ in lanes],
        origin_prefixes=[lane.origin_prefix for _, lane in lanes],
        destination_prefixes=[lane.destination_prefix for _, lane in lanes],
        zones=[lane.zone for _, lane in lanes],
    )


async def upsert_postal_codes(tx: Tx, postal_codes: Sequence[PostalCode], *, at: datetime) -> list[Outcome]:
    """Zones by distance need to know where the destination is."""
    postal_codes = [replace(one, postal_code=normal(one.country, one.postal_code)) for one in postal_codes]
    if not postal_codes:
        return []
    await hold_network(tx)

    async def apply(batch: Sequence[PostalCode]) -> list[Outcome]:
        names: dict[str, Any] = {
            "countries": [place.country for place in batch],
            "postal_codes": [place.postal_code for place in batch],
        }
        known = {tuple(row) for row in await sql.known_postal_codes(tx, **names)}
        rows = await sql.write_postal_codes(
            tx,
            **names,
            latitudes=[place.latitude for place in batch],
            longitudes=[place.longitude for place in batch],
        )
        written = {tuple(row) for row in rows}
        keys = [(place.country, place.postal_code) for place in batch]
        return [
            outcome(place.code, new=key not in known, written=key in written)
            for place, key in zip(batch, keys, strict=True)
        ]

    outcomes = await in_rounds(postal_codes, code=lambda place: place.code, fault=lambda place: None, apply=apply)
    await network_changed(tx, outcomes, "postal_codes")
    return outcomes
