"""Bulk upserts of the network: one outcome an item, and everybody who keeps facts of it sees the change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time
from typing import Any

import pytest
from msgspec.structs import replace

from ordino.core.database import Database, Tx
from ordino.core.upserts import Created, NotUpserted, Reason, Unchanged, Updated
from ordino.network import read
from ordino.network.facts import NetworkFacts, facts
from ordino.network.model import (
    Lane,
    Location,
    LocationType,
    Member,
    Network,
    PostalCode,
    Rate,
    Zone,
)
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes
from world import parcel_service, small_world, sure

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
STORE = Location(
    code="store",
    name="Store",
    type=LocationType.STORE,
    country="DE",
    postal_code="10115",
    latitude=52.53,
    longitude=13.38,
    timezone="Europe/Berlin",
)


async def _do(database: Database, verb: Any, *things: Any) -> list[Any]:
    outcomes: list[Any] = await database.transact(lambda tx: verb(tx, things, at=AT))
    return outcomes


async def _facts(database: Database) -> NetworkFacts:
    return await database.read(facts)


async def _revision(database: Database) -> int:
    async def ask(tx: Tx) -> int:
        number: int = (await tx.fetch("SELECT number FROM core.revisions WHERE name = 'network'"))[0]["number"]
        return number

    return await database.read(ask)


async def test_a_location_is_completed_by_defaults(database: Database) -> None:
    assert await _do(database, upsert_locations, STORE) == [Created("store")]
    [found] = await database.read(lambda tx: read.locations(tx, ["store"]))
    assert found == replace(STORE, serves_countries=["DE"])
    assert (found.working_days, found.cut_off) == ([1, 2, 3, 4, 5], "14:00")
    assert await _do(database, upsert_locations, STORE, found) == [Unchanged("store"), Unchanged("store")]


async def test_every_field_of_a_location_comes_back_as_sent(database: Database) -> None:
    whole = replace(
        STORE,
        code="whole",
        type=LocationType.THIRD_PARTY,
        working_days=[1, 6, 7],
        cut_off="09:30",
        daily_capacity=12,
        handling_cost_minor=150,
        serves_countries=["AT", "DE"],
        active=False,
    )
    assert await _do(database, upsert_locations, whole) == [Created("whole")]
    assert await database.read(lambda tx: read.locations(tx, ["whole"])) == [whole]
    shuffled = replace(whole, working_days=[7, 1, 6, 1], serves_countries=["DE", "AT"])
    assert await _do(database, upsert_locations, shuffled) == [Unchanged("whole")]
    for field, other in {
        "working_days": [2],
        "daily_capacity": None,
        "serves_countries": ["FR"],
        "cut_off": "23:59",
    }.items():
        assert await _do(database, upsert_locations, replace(whole, **{field: other})) == [Updated("whole")]
    kept = (await _facts(database)).locations
    [location] = [location for location in kept.values() if location.code == "whole"]
    assert location.cut_off == time(23, 59)


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("timezone", "Europe/Atlantis", "/timezone"),
        ("timezone", "../../etc/passwd", "/timezone"),
        ("latitude", 90.5, "/latitude"),
        ("longitude", float("nan"), "/longitude"),
        ("working_days", [], "/working_days"),
        ("working_days", [1, 8], "/working_days/1"),
        ("cut_off", "24:00", "/cut_off"),
        ("cut_off", "14:00\n", "/cut_off"),
        ("country", "Germany", "/country"),
        ("country", "DE\n", "/country"),
        ("serves_countries", ["DE", "xx"], "/serves_countries/1"),
        ("daily_capacity", -1, "/daily_capacity"),
        ("handling_cost_minor", -1, "/handling_cost_minor"),
        ("type", "castle", "/type"),
    ],
)
async def test_a_bad_location_is_named_by_its_field(database: Database, field: str, value: Any, pointer: str) -> None:
    bad, good = await _do(
        database, upsert_locations, replace(STORE, code="bad", **{field: value}), replace(STORE, code="good")
    )
    assert isinstance(bad, NotUpserted)
    assert (bad.reason, bad.pointer) == (Reason.INVALID, pointer)
    assert isinstance(good, Created | Unchanged)


async def test_net_1_a_channel_has_one_network(database: Database) -> None:
    world = await small_world(database, prefix="net1-")
    web = world.channels["drop"]
    one = Network(code="one", name="One", members=[Member(location=world.location, buffer=3)], channels=[web])
    assert await _do(database, upsert_networks, one, replace(one, code="two")) == [Created("one"), Created("two")]
    [first, second] = await database.read(lambda tx: read.networks(tx, ["one", "two"]))
    assert (first.channels, second.channels) == ([], [web])
    serving = (await _facts(database)).channels[web].network
    assert serving is not None
    assert serving.code == "two"
    assert list(serving.buffers.values()) == [3]
    assert await _do(database, upsert_networks, replace(one, channels=[]), one, one) == [
        Unchanged("one"),
        Updated("one"),
        Unchanged("one"),
    ]


async def test_a_network_names_what_is_there(database: Database) -> None:
    world = await small_world(database, prefix="names-")
    good = Network(code="names", name="Names", members=[Member(location=world.location)])
    outcomes = await _do(
        database,
        upsert_networks,
        replace(good, members=[*good.members, Member(location="nowhere")]),
        replace(good, channels=[world.channel, "nothing"]),
        replace(good, members=good.members * 2),
        replace(good, channels=[world.channel] * 2),
        replace(good, members=[]),
        good,
    )
    assert [(o.reason, o.pointer) for o in outcomes[:-1]] == [
        (Reason.UNKNOWN, "/members/1/location"),
        (Reason.UNKNOWN, "/channels/1"),
        (Reason.INVALID, "/members/1/location"),
        (Reason.INVALID, "/channels/1"),
        (Reason.INVALID, "/members"),
    ]
    assert outcomes[-1] == Created("names")


async def test_a_service_is_written_whole(database: Database) -> None:
    world = await small_world(database, prefix="service-", locations=1)
    service = replace(
        parcel_service("express"),
        lanes=[Lane(origin_prefix="432", destination_prefix="9", zone="near")],
        working_days=[1, 2, 3, 4, 5, 6],
    )
    assert await _do(database, upsert_carrier_services, service, service) == [Created("express"), Unchanged("express")]
    assert await database.read(lambda tx: read.carrier_services(tx, ["express"])) == [service]
    backwards = replace(service, zones=[replace(zone, rates=zone.rates[::-1]) for zone in service.zones[::-1]])
    assert await _do(database, upsert_carrier_services, backwards) == [Unchanged("express")]
    network = await _facts(database)
    origin = world.location_ids[world.location]
    express = next(key for key, found in network.services.items() if found.code == "express")
    by_service = {quote.service_id: quote for quote in network.quotes(origin, "US", "98101", 1500)}
    assert (by_service[express].zone, by_service[express].cost_minor) == ("near", 1000)  # the lane wins over 3,200 km
    cheaper = replace(
        service,
        lanes=[],
        zones=[Zone(zone="all", up_to_km=20_000, transit_days=0, rates=[Rate(up_to_grams=30_000, cost_minor=1)])],
    )
    assert await _do(database, upsert_carrier_services, cheaper) == [Updated("express")]
    quote = (await _facts(database)).quotes(origin, "US", "98101", 1500)[0]
    assert (quote.service_id, quote.cost_minor, quote.transit_days) == (express, 1, 0)


async def test_a_service_that_contradicts_itself_is_refused(database: Database) -> None:
    good = parcel_service("contradiction")
    near, far = good.zones[:2]
    outcomes = await _do(
        database,
        upsert_carrier_services,
        replace(good, lanes=[Lane(zone="nowhere")]),
        replace(good, lanes=[Lane(zone="near"), Lane(zone="far")]),
        replace(good, zones=[near, near]),
        replace(good, zones=[near, replace(far, up_to_km=near.up_to_km)]),
        replace(good, zones=[replace(near, rates=[])]),
        replace(good, zones=[near, replace(far, rates=[far.rates[0], far.rates[0]])]),
        replace(good, max_grams=0),
        good,
    )
    assert [o.pointer for o in outcomes[:-1]] == [
        "/lanes/0/zone",
        "/lanes/1",
        "/zones/1/zone",
        "/zones/1/up_to_km",
        "/zones/0/rates",
        "/zones/1/rates/1/up_to_grams",
        "/max_grams",
    ]
    assert outcomes[-1] == Created("contradiction")


async def test_postal_codes_come_in_bulk(database: Database) -> None:
    places = [
        PostalCode(country="FR", postal_code=f"{n:05}", latitude=n / 1000, longitude=-n / 1000) for n in range(20_000)
    ]
    before = await _revision(database)
    assert set(map(type, await _do(database, upsert_postal_codes, *places))) == {Created}
    assert await _revision(database) == before + 1
    moved = replace(places[7], latitude=1.0)
    bad = replace(places[8], longitude=181.0)
    assert await _do(database, upsert_postal_codes, moved, bad, places[9]) == [
        Updated("FR-00007"),
        NotUpserted("FR-00008", Reason.INVALID, "Expected a number that is at most 180.", "/longitude"),
        Unchanged("FR-00009"),
    ]
    assert await database.read(lambda tx: read.postal_code(tx, "FR", "00007")) == moved
    assert await database.read(lambda tx: read.postal_code(tx, "XX", "00007")) is None
    page = await database.read(lambda tx: read.postal_codes_after(tx, "FR", "00007", 3))
    assert page == places[8:11]
    assert (await _facts(database)).place("FR", "00007") == (1.0, -0.007)


async def test_net_2_a_change_is_seen_from_its_commit_on(database: Database) -> None:
    sure(await _do(database, upsert_locations, replace(STORE, code="seen")))
    await _facts(database)

    async def change(tx: Tx) -> None:
        sure(await upsert_locations(tx, [replace(STORE, code="seen", name="New")], at=AT))
        network = await facts(tx)
        assert network.locations[network.location_ids["seen"]].name == "New"  # by whoever made it
        network = await _facts(database)
        assert network.locations[network.location_ids["seen"]].name == "Store"  # and by nobody else

    before = await _revision(database)
    await database.transact(change)
    assert await _revision(database) == before + 1
    network = await _facts(database)
    assert network.locations[network.location_ids["seen"]].name == "New"


async def test_what_changes_nothing_leaves_the_revision(database: Database) -> None:
    world = await small_world(database, prefix="still-")
    before = await _revision(database)
    assert await small_world(database, prefix="still-") == world
    assert await _revision(database) == before


async def test_locations_made_at_once_are_each_made_once(database: Database) -> None:
    batch = [replace(STORE, code=f"raced-{n}") for n in range(20)]
    results = await asyncio.gather(*(_do(database, upsert_locations, *batch[n:], *batch[:n]) for n in range(0, 20, 5)))
    created = [outcome.code for outcomes in results for outcome in outcomes if isinstance(outcome, Created)]
    assert sorted(created) == sorted(location.code for location in batch)


async def test_nothing_is_asked_for_nothing(database: Database) -> None:
    for verb in (upsert_locations, upsert_networks, upsert_carrier_services, upsert_postal_codes):
        assert await _do(database, verb) == []
