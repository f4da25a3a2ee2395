"""Facts of the network are read again part by part: what has not changed is kept with all that was found out about it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Channel, Seller
from ordino.catalog.upsert import upsert_channels, upsert_sellers
from ordino.core import kept
from ordino.core.database import Database, Tx
from ordino.core.statements import Statement, statements
from ordino.core.upserts import NETWORK_PARTS
from ordino.network import closures as closures_module
from ordino.network.closures import Closure, reopen, upsert_closures
from ordino.network.days import (
    CapacityDay,
    CarrierPickup,
    drop_capacity_day,
    drop_pickup,
    upsert_capacity_days,
    upsert_carrier_pickups,
)
from ordino.network.exchange import ExchangeRate, upsert_exchange_rates
from ordino.network.facts import NetworkFacts, facts
from ordino.network.facts import load as facts_load
from ordino.network.model import Lane, Location, Member, Network, PostalCode
from ordino.network.read import carrier_services as read_services
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes
from steps import in_one
from world import PLACES, World, small_world, sure

core_sql = statements("ordino.core")
MONDAY = datetime(2027, 3, 1, 12, tzinfo=UTC)
TIMES = [MONDAY + timedelta(hours=11 * n) for n in range(12)]
DAY = date(2027, 3, 3)
Write = Callable[[], Awaitable[Any]]


async def whole(database: Database) -> NetworkFacts:
    """As a process that has just started reads them."""
    fresh = Database(database.pool, database.plans, database.clock)
    return await fresh.read(facts)


def answers(network: NetworkFacts) -> dict[str, Any]:
    """All that is known, and what is said to all kinds of questions."""
    found: dict[str, Any] = {
        "locations": network.locations,
        "services": network.services,
        "channels": network.channels,
        "channels by id": network.channels_by_id,
        "networks": network.networks,
        "closures": network.parts.closures.all(),
        "pickups": {key: sorted(some, key=repr) for key, some in network.parts.pickups.items()},
        "days": network.parts.capacity_days,
        "rates": network.rates._rates,
        "codes": network.location_ids,
        "sets": (network.limited, network.binned, network.levels, network.currencies, network.measures),
        "least": (network.least_handling_minor, network.least_rate_minor, network.light_grams, network.small_cubic_cm),
    }
    found["open"] = [
        (channel_id, sorted(network.open_members(channel.network, frozenset(closed)).items()), closed)
        for channel_id, channel in network.channels_by_id.items()
        if channel.network is not None
        for at in TIMES
        for closed in (network.closed(channel_id, at),)
    ]
    found["turns"] = [(network.last_turn(at), network.closures_turn(at - timedelta(hours=9), at)) for at in TIMES]
    found["serving"] = [network.serving_country(country) for country in ("US", "DE")]
    for priced in (network, *(network.priced_in(currency, MONDAY) for currency in ("USD", "EUR", "JPY"))):
        found.setdefault("handling", []).append((priced.handling, priced.exchanged, priced.unpriced))
        for code, *_ in PLACES:
            routes = priced.destination("US", code)
            ways = {n: [(s.code, zone) for s, zone in routes[n].ways] for n in network.locations}
            km = {n: routes.km(n) for n in network.locations}
            quotes = {n: priced.quotes(n, "US", code, 1700) for n in network.locations}
            found.setdefault("routes", []).append((ways, km, quotes, priced.place("US", code)))
    for n in network.locations:
        for at in TIMES:
            for service_id in (None, *network.services):
                leaves = network.ship_by(n, at, service_id), network.ready_at(n, at, service_id, 1)
                arrives = service_id and network.arrives_at(n, service_id, leaves[0], 3)
                found.setdefault("times", []).append((leaves, arrives))
            found["times"].append((network.cut_off_at(n, at), network.pickup_ready_at(n, at)))
            found["times"].append((network.order_limit(n, at.date()), network.unit_limit(n, at.date())))
    return found


async def writing(database: Database, prefix: str, seed: int, locations: int = 3) -> Writer:
    """Somebody in a small world, who knows what currencies are worth."""
    world = await small_world(database, prefix=prefix, locations=locations, skus=1)
    writer = Writer(database, world, random.Random(seed))
    await writer.rate()
    return writer


class Writer:
    """Someone who changes any part of the network, in any way."""

    def __init__(self, database: Database, world: World, dice: random.Random) -> None:
        self.database = database
        self.world = world
        self.dice = dice
        self.kinds: tuple[Write, ...] = (
            self.location, self.network, self.channel, self.seller, self.service, self.postal_code, self.closure, self.closure,
            self.several_closures, self.reopened, self.pickup, self.no_pickup, self.day, self.no_day, self.rate,
            self.older_version,
        )  # fmt: skip

    async def write(self) -> str:
        kind = self.dice.choice(self.kinds)
        await kind()
        return kind.__name__

    def _place(self) -> str:
        return self.dice.choice(self.world.locations)

    async def _do(self, verb: Any, *things: Any) -> None:
        sure(await in_one(self.database, verb, things, MONDAY))

    async def location(self) -> None:
        [one] = await self.database.read(lambda tx: read_locations(tx, [self._place()]))
        await self._do(
            upsert_locations,
            replace(
                one,
                cut_off=self.dice.choice(("10:00", "14:00", "17:30")),
                handling_cost_minor=self.dice.choice((0, 100, 250)),
                latitude=one.latitude + self.dice.choice((0, 0.5, -0.5)),
                active=self.dice.random() < 0.8,
                daily_capacity=self.dice.choice((None, 3)),
                currency=self.dice.choice((None, "EUR")),
            ),
        )

    async def network(self) -> None:
        some = self.dice.sample(self.world.locations, self.dice.randint(1, len(self.world.locations)))
        members = [Member(location=code, buffer=self.dice.randint(0, 3)) for code in some]
        channels = self.dice.sample(list(self.world.channels.values()), 2)
        await self._do(upsert_networks, Network(code=self.world.network, name="N", members=members, channels=channels))

    async def channel(self) -> None:
        policy = self.dice.choice(("refuse", "backorder", "drop"))
        one = Channel(code=f"{self.world.channel}-{policy}", name="x", seller=self.world.seller, short_policy=policy)  # type: ignore[arg-type]
        await self._do(upsert_channels, one)

    async def seller(self) -> None:
        days = self.dice.choice((14, 30, 60))
        await self._do(
            upsert_sellers, Seller(code=self.world.seller, name="S", currency="USD", return_window_days=days)
        )

    async def service(self) -> None:
        [one] = await self.database.read(lambda tx: read_services(tx, [self.world.service]))
        lanes = [Lane(destination_prefix=prefix, zone="far") for prefix in self.dice.sample(["1", "43", "6"], 2)]
        more = replace(
            one, code=f"{one.code}-{self.dice.randint(1, 3)}", currency="EUR", active=self.dice.random() < 0.7
        )
        await self._do(upsert_carrier_services, replace(one, lanes=lanes, working_days=[1, 2, 3, 4, 5, 6]), more)

    async def postal_code(self) -> None:
        code, _, latitude, longitude = self.dice.choice(PLACES)
        latitude += self.dice.choice((0, 1, 2))
        await self._do(
            upsert_postal_codes, PostalCode(country="US", postal_code=code, latitude=latitude, longitude=longitude)
        )

    def _closure(self) -> Closure:
        starts_at = self.dice.choice((None, *TIMES))
        ends_at = starts_at and self.dice.choice((None, starts_at + timedelta(hours=self.dice.randint(1, 40))))
        return Closure(
            code=f"{self.world.seller}-c-{self.dice.randint(1, 6)}",
            location=self._place(),
            channel=self.dice.choice((None, self.world.channel)),
            starts_at=starts_at,
            ends_at=ends_at,
            reason=self.dice.choice(("storm", "strike")),
        )

    async def closure(self) -> None:
        await self._do(upsert_closures, self._closure())

    async def several_closures(self) -> None:
        await self._do(upsert_closures, *(self._closure() for _ in range(4)))

    async def reopened(self) -> None:
        rows = await self.database.pool.fetch("SELECT code FROM network.closures ORDER BY code")
        if rows:
            code = self.dice.choice(rows)["code"]
            await self.database.transact(lambda tx: reopen(tx, code))

    async def pickup(self) -> None:
        await self._do(
            upsert_carrier_pickups,
            CarrierPickup(
                code=f"{self.world.seller}-p-{self.dice.randint(1, 3)}",
                location=self._place(),
                carrier_service=self.world.service,
                working_days=[1, 2, 4],
                at=self.dice.choice(("09:00", "16:00")),
            ),
        )

    async def no_pickup(self) -> None:
        rows = await self.database.pool.fetch("SELECT code FROM network.carrier_pickups ORDER BY code")
        if rows:
            code = self.dice.choice(rows)["code"]
            await self.database.transact(lambda tx: drop_pickup(tx, code))

    async def day(self) -> None:
        orders = self.dice.choice((None, 0, 5))
        await self._do(upsert_capacity_days, CapacityDay(location=self._place(), ship_on=DAY, orders=orders, units=9))

    async def no_day(self) -> None:
        rows = await self.database.pool.fetch(
            "SELECT l.code FROM network.capacity_days JOIN network.locations l USING (location_id) ORDER BY code"
        )
        if rows:
            code = self.dice.choice(rows)["code"]
            await self.database.transact(lambda tx: drop_capacity_day(tx, code, DAY))

    async def rate(self) -> None:
        await self._do(
            upsert_exchange_rates,
            *(
                ExchangeRate(
                    from_currency=pair[0],
                    to_currency=pair[1],
                    rate=self.dice.choice(("1.1", "1.25", "140")),
                    valid_from=date(2026, 1, self.dice.randint(1, 3)),
                )
                for pair in (("EUR", "USD"), ("EUR", "JPY"), ("USD", "JPY"))
            ),
        )

    async def older_version(self) -> None:
        """A version of Ordino that counts the network as a whole, and writes closures as it always has."""
        async with self.database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM core.revisions WHERE name = 'network' FOR NO KEY UPDATE")
            row = await connection.fetchrow("SELECT code FROM network.closures ORDER BY code LIMIT 1")
            if row is not None and self.dice.random() < 0.5:
                await connection.execute("DELETE FROM network.closures WHERE code = $1", row["code"])
            elif row is not None:
                await connection.execute("UPDATE network.closures SET reason = 'old' WHERE code = $1", row["code"])
            await connection.execute(
                "UPDATE network.locations SET priority = priority + 1 WHERE code = $1", self._place()
            )
            await connection.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")


@pytest.fixture
def far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been taken back is soon forgotten."""
    monkeypatch.setattr(facts_load, "REOPENED_KEPT", 3)
    monkeypatch.setattr(closures_module, "REOPENED_KEPT", 3)


@pytest.mark.parametrize("seed", range(4))
async def test_net_5_facts_that_are_read_again_in_part_are_those_that_are_read_whole(
    database: Database, seed: int, far_behind: None
) -> None:
    writer = await writing(database, f"ra{seed}-", seed, 4)
    done: list[str] = []
    for _ in range(45):
        for _ in range(writer.dice.choice((1, 1, 1, 2, 6))):  # who is far behind, too, learns of everything
            done.append(await writer.write())
        found, right = answers(await database.read(facts)), answers(await whole(database))
        for what, said in right.items():
            assert found[what] == said, (what, done)
    assert len(set(done)) > 10


async def test_an_older_version_that_is_not_heard_leaves_facts_that_are_not_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the whole counts beyond its parts is what tells of it."""
    numbers = facts_load._numbers

    async def deaf(tx: Tx) -> dict[str, int]:
        return {**await numbers(tx), facts_load.OTHERS: 0}

    monkeypatch.setattr(facts_load, "_numbers", deaf)
    writer = await writing(database, "rb-", 1)
    before = await database.read(facts)
    await writer.older_version()
    found, right = await database.read(facts), await whole(database)
    assert found.locations == before.locations != right.locations


async def asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[NetworkFacts, list[str]]:
    """The network, and the statements that it took to see it."""
    call, names = Statement.__call__, []

    async def noted(self: Statement, connection: Any, **values: Any) -> list[Any]:
        names.append(self.name)
        return await call(self, connection, **values)

    with monkeypatch.context() as patching:
        patching.setattr(Statement, "__call__", noted)
        return await database.read(facts), names


async def test_a_new_closure_costs_one_row_and_keeps_distances_prices_and_calendars(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await small_world(database, prefix="rc-", locations=3, skus=1)
    await in_one(database, upsert_closures, [Closure(code="rc-1", location=world.location, reason="x")], MONDAY)
    before = await database.read(facts)
    answers(before)
    routes, leaves = before.destination("US", "43215"), dict(before.calendar.left)
    await in_one(database, upsert_closures, [Closure(code="rc-2", location=world.locations[1], reason="y")], MONDAY)
    after, names = await asked(database, monkeypatch)
    assert names == ["revisions", "closures_since", "revisions"]
    assert after is not before
    assert after.destination("US", "43215") is routes
    assert (after.tariff, after.calendar) == (before.tariff, before.calendar)
    assert leaves
    assert after.calendar.left == leaves
    assert after.priced_in("EUR", MONDAY).tariff is before.priced_in("EUR", MONDAY).tariff
    shut = {world.location_ids[world.location], world.location_ids[world.locations[1]]}
    assert shut & set(before.closed(None, MONDAY)) == {min(shut)}
    assert shut & set(after.closed(None, MONDAY)) == shut
    await database.transact(lambda tx: reopen(tx, "rc-1"))
    again, names = await asked(database, monkeypatch)
    assert names == ["revisions", "closures_since", "revisions"]
    assert shut & set(again.closed(None, MONDAY)) == {max(shut)}
    await database.transact(lambda tx: reopen(tx, "rc-2"))


KEEPS: dict[str, tuple[str, set[str]]] = {
    "network": ("all_networks all_channels", {"tariff", "calendar", "addresses"}),
    "seller": ("all_networks all_channels", {"tariff", "calendar", "addresses"}),
    "day": ("all_capacity_days", {"tariff", "calendar", "addresses"}),
    "rate": ("all_exchange_rates", {"tariff", "calendar", "addresses"}),
    "closure": ("closures_since", {"tariff", "calendar", "addresses"}),
    "pickup": ("all_pickups", {"tariff", "addresses"}),
    "postal_code": ("all_places", {"tariff", "calendar"}),
    "service": ("all_zones all_lanes all_services", set()),
    "location": ("all_locations", set()),
}
"""A write -> the statements that read it, and what it lets be."""


@pytest.mark.parametrize("kind", KEEPS)
async def test_what_changes_is_read_and_nothing_else_and_only_what_rests_on_it_is_found_out_anew(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await writing(database, f"rd-{kind}-", 7)
    before = await database.read(facts)
    after, names = before, list[str]()
    while after is before:  # until something is different
        await getattr(writer, kind)()
        after, names = await asked(database, monkeypatch)
    statements_, keeps = KEEPS[kind]
    assert names[1:-1] == statements_.split()
    kept_on = {
        name
        for name, same in (
            ("tariff", after.tariff is before.tariff),
            ("calendar", after.calendar is before.calendar),
            ("addresses", after.destination == before.destination),
        )
        if same
    }
    assert kept_on == keeps


async def test_the_whole_counts_every_change_of_a_part_once(database: Database) -> None:
    """So who watches the whole misses nothing, and what it counts beyond its parts is somebody else's."""
    writer = await writing(database, "re-", 3)

    async def numbers() -> dict[str, int]:
        return {row["name"]: row["number"] for row in await database.read(core_sql.revisions)}

    for kind in writer.kinds:
        before = await numbers()
        await kind()
        after = await numbers()
        grown = {name: after[name] - before[name] for name in ("network", *NETWORK_PARTS)}
        if kind == writer.older_version:
            assert grown == {"network": 1} | dict.fromkeys(NETWORK_PARTS, 0)
        else:
            assert grown["network"] == sum(grown[part] for part in NETWORK_PARTS)


async def test_kep_2_a_closure_that_was_rolled_back_is_never_seen_whatever_has_its_number(database: Database) -> None:
    world = await small_world(database, prefix="rf-", locations=2, skus=1)
    here, there = (world.location_ids[code] for code in world.locations)
    await database.read(facts)

    async def fails(tx: Tx) -> None:
        sure(await upsert_closures(tx, [Closure(code="rf-1", location=world.locations[0], reason="x")], at=MONDAY))
        assert here in (await facts(tx)).closed(None, MONDAY)
        assert here not in (await database.read(facts)).closed(None, MONDAY)
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fails)
    await in_one(database, upsert_closures, [Closure(code="rf-2", location=world.locations[1], reason="y")], MONDAY)
    closed = (await database.read(facts)).closed(None, MONDAY)
    assert (there in closed, here in closed) == (True, False)
    await database.transact(lambda tx: reopen(tx, "rf-2"))


# -- writers beside readers ------------------------------------------------------------------------------------------------

CHANGES = 25
READERS = 4


def renumbers(world: World, place: Location) -> tuple[Callable[[Tx, int], Awaitable[None]], Callable[[Tx], Any]]:
    """Six parts of the network always name the same number."""
    location_id = world.location_ids[world.location]

    async def change(tx: Tx, number: int) -> None:
        sure(await upsert_locations(tx, [replace(place, priority=number)], at=MONDAY))
        sure(
            await upsert_closures(
                tx, [Closure(code=f"{place.code}-c", location=place.code, reason=f"{number}")], at=MONDAY
            )
        )
        day = CapacityDay(location=place.code, ship_on=DAY, orders=number)
        sure(await upsert_capacity_days(tx, [day], at=MONDAY))
        members = [Member(location=place.code, buffer=number)]
        channels = list(world.channels.values())
        sure(
            await upsert_networks(
                tx, [Network(code=world.network, name="N", members=members, channels=channels)], at=MONDAY
            )
        )
        moved = PostalCode(country="US", postal_code="99999", latitude=1 + number / 100, longitude=1.0)
        sure(await upsert_postal_codes(tx, [moved], at=MONDAY))
        rate = ExchangeRate(from_currency="USD", to_currency="SEK", rate=f"{number}", valid_from=DAY)
        sure(await upsert_exchange_rates(tx, [rate], at=MONDAY))

    async def check(tx: Tx) -> int:
        network = await facts(tx)
        await asyncio.sleep(0.001)
        network = await facts(tx)
        numbers = {
            network.locations[location_id].priority,
            int(network.closed(None, MONDAY)[location_id].reason),
            network.order_limit(location_id, DAY),
            network.serving(world.network).buffers[location_id],
            round(((network.place("US", "99999") or (0, 0))[0] - 1) * 100),
            int(network.rates.rate("USD", "SEK", MONDAY + timedelta(days=9)) or 0),
        }
        assert len(numbers) == 1, f"parts of different moments: {numbers}"
        return numbers.pop() or 0

    return change, check


async def hammered(database: Database, prefix: str) -> list[int]:
    """Readers of two processes, beside somebody who writes; which numbers they saw."""
    world = await small_world(database, prefix=prefix, locations=1, skus=1)
    [place] = await database.read(lambda tx: read_locations(tx, [world.location]))
    change, check = renumbers(world, place)
    await database.transact(lambda tx: change(tx, 1))
    done, seen = asyncio.Event(), []
    other = Database(database.pool, database.plans, database.clock)

    async def write() -> None:
        for number in range(2, CHANGES + 2):
            await database.transact(lambda tx, n=number: change(tx, n))  # type: ignore[misc]
        done.set()

    async def look(process: Database, transacts: bool) -> None:
        while not done.is_set():
            seen.append(await (process.transact(check) if transacts else process.read(check)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for number in range(READERS):
            tasks.create_task(look(other if number % 2 else database, number < 2))
    seen.append(await database.read(check))
    return seen


async def test_kep_1_parts_that_are_read_one_by_one_are_of_one_moment_whatever_is_written(database: Database) -> None:
    seen = await hammered(database, "rg-")
    assert seen[-1] == CHANGES + 1  # the last change is seen
    assert len(set(seen)) > 2  # and some before it: readers go on meanwhile


async def test_parts_that_are_taken_as_they_come_are_of_different_moments(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another look at the number of the whole."""

    async def careless(tx: Tx, name: str, load: Callable[[Tx], Awaitable[Any]]) -> Any:
        tx.revisions = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
        found = await load(tx)
        tx.kept[name] = (tx.revisions[name], kept._Kept(found, load))
        return found

    monkeypatch.setattr(kept, "current", careless)
    with pytest.raises(ExceptionGroup):
        await hammered(database, "rh-")
