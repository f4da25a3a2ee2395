"""What transactions are given of slow-changing facts belongs together, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ordino.catalog.codes import sku_ids
from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core import kept
from ordino.core.database import Database, Tx
from ordino.core.statements import statements
from ordino.inventory.rules import Buffer, RuleKind, book, general, upsert_buffers
from ordino.network.facts import facts
from ordino.network.facts import load as facts_load
from ordino.network.model import Location, Member, Network
from ordino.network.read import locations as read_locations
from ordino.network.upsert import upsert_locations, upsert_networks
from world import World, small_world, sure

core_sql = statements("ordino.core")
CHANGES = 15
READERS = 4
Check = Callable[[Tx], Awaitable[None]]


async def careless(tx: Tx, name: str, load: Callable[[Tx], Awaitable[Any]]) -> Any:
    """Facts as they come: each by its own revision, read by several statements while others commit."""
    numbers = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
    found = tx.kept.get(f"careless {name}")
    if found is not None and found[0] == numbers[name]:
        return found[1]
    read = await load(tx)
    tx.kept[f"careless {name}"] = (numbers[name], read)
    tx.revisions, tx.given[name] = numbers, numbers[name]
    return read


async def hammered(database: Database, change: Callable[[Tx, int], Awaitable[None]], check: Check) -> int:
    """Looks while somebody else changes things; how many looks were taken."""
    done, looks = asyncio.Event(), 0

    async def write() -> None:
        for number in range(1, CHANGES + 1):
            await database.transact(lambda tx, n=number: change(tx, n))  # type: ignore[misc]
        done.set()

    async def look(transacts: bool) -> None:
        nonlocal looks
        while not done.is_set():
            await (database.transact(check) if transacts else database.read(check))
            looks += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for number in range(READERS):
            tasks.create_task(look(number % 2 == 0))
    return looks


def renumbers(world: World, place: Location) -> tuple[Callable[[Tx, int], Awaitable[None]], Check]:
    """A location's priority, a rule of the network and one about a SKU always name the same number."""

    async def change(tx: Tx, number: int) -> None:
        at = None
        sure(await upsert_locations(tx, [replace(place, priority=number)], at=at))  # type: ignore[arg-type]
        rules = [
            Buffer(code="all", network=world.network, units=number),
            Buffer(code="one", sku=world.sku, units=number),
        ]
        sure(await upsert_buffers(tx, rules, at=at))  # type: ignore[arg-type]

    async def check(tx: Tx) -> None:
        network = await facts(tx)
        await asyncio.sleep(0.001)
        rules = await general(tx)
        number = network.locations[world.location_ids[world.location]].priority
        said = [rule.units for rule in rules.rules.get(RuleKind.BUFFER, ())]
        assert said == ([number] if number else []), "network and rules are of different moments"
        found = await book(tx, list(world.sku_ids.values()))
        if found is not None:
            location = network.locations[world.location_ids[world.location]]
            serving = network.serving(world.network)
            units = found.buffer(serving, None, world.sku_ids[world.sku], location)[0]
            assert units == number, "a SKU's rules are of another moment"

    return change, check


async def prepared(database: Database, prefix: str) -> tuple[World, Location]:
    world = await small_world(database, prefix=prefix, skus=2, locations=2)
    [place] = await database.read(lambda tx: read_locations(tx, [world.location]))
    return world, place


async def clear(database: Database) -> None:
    await database.pool.execute("DELETE FROM inventory.rules")
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'rules'")


async def test_kep_1_network_and_rules_of_one_look_belong_together(database: Database) -> None:
    world, place = await prepared(database, "ka-")
    change, check = renumbers(world, place)
    assert await hammered(database, change, check) > CHANGES / 2  # looks go on meanwhile
    await database.read(check)
    await clear(database)


async def test_facts_that_come_one_by_one_do_not_belong_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "current", careless)
    world, place = await prepared(database, "kb-")
    change, check = renumbers(world, place)
    with pytest.raises(ExceptionGroup):
        await hammered(database, change, check)
    await clear(database)


def grows(world: World, place: Location) -> tuple[Callable[[Tx, int], Awaitable[None]], Check]:
    """Locations open, and join the network in the transaction in which they open."""
    codes = list(world.locations)

    async def change(tx: Tx, number: int) -> None:
        code = f"{world.locations[0]}-{number}"
        codes.append(code)
        sure(await upsert_locations(tx, [replace(place, code=code)], at=None))  # type: ignore[arg-type]
        members = [Member(location=one) for one in codes]
        whole = Network(code=world.network, name="N", members=members, channels=list(world.channels.values()))
        sure(await upsert_networks(tx, [whole], at=None))  # type: ignore[arg-type]

    async def check(tx: Tx) -> None:
        network = await facts(tx)
        serving = network.channels[world.channel].network
        assert serving is not None
        assert set(network.open_members(serving, frozenset())) == {
            n for n, location in network.locations.items() if location.code.startswith(world.locations[0][:3])
        }

    return change, check


async def opened_while_read(database: Database, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Check:
    """A location opens after the locations were read, and before the networks are."""
    world, place = await prepared(database, prefix)
    change, check = grows(world, place)
    real, opened = facts_load.sql, False

    class Between:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def all_networks(self, tx: Tx) -> Any:
            nonlocal opened
            if not opened:
                opened = True
                await database.transact(lambda other: change(other, 1))
            return await real.all_networks(tx)

    monkeypatch.setattr(facts_load, "sql", Between())
    await database.pool.execute("UPDATE core.revisions SET number = number + 1 WHERE name = 'network'")
    return check


async def test_kep_1_a_network_never_has_members_that_are_not_there_yet(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.read(await opened_while_read(database, "kc-", monkeypatch))
    await database.transact(await opened_while_read(database, "kh-", monkeypatch))


async def test_members_and_locations_read_one_after_the_other_do_not_fit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = await opened_while_read(database, "kd-", monkeypatch)
    monkeypatch.setattr(kept, "current", careless)
    with pytest.raises(KeyError):
        await database.read(check)


async def test_kep_1_what_a_transaction_holds_is_as_it_is_now(database: Database) -> None:
    world, place = await prepared(database, "ke-")
    tries: list[int] = []

    async def verb(tx: Tx) -> int:
        before = (await facts(tx)).locations[world.location_ids[world.location]].priority
        tries.append(before)
        if len(tries) == 1:  # somebody is faster
            await database.transact(lambda other: upsert_locations(other, [replace(place, priority=7)], at=None))  # type: ignore[arg-type]
        await kept.share(tx, "network")
        return (await facts(tx)).locations[world.location_ids[world.location]].priority

    assert await database.transact(verb) == 7
    assert tries == [0, 7], "it is run again as a whole"


async def test_kep_2_what_is_rolled_back_is_given_to_nobody(database: Database) -> None:
    world, place = await prepared(database, "kf-")
    key = world.location_ids[world.location]

    async def fails(tx: Tx) -> None:
        sure(await upsert_locations(tx, [replace(place, priority=9)], at=None))  # type: ignore[arg-type]
        assert (await facts(tx)).locations[key].priority == 9
        assert (await database.read(facts)).locations[key].priority == 0
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fails)
    assert (await database.read(facts)).locations[key].priority == 0


async def test_kep_2_a_code_of_a_sku_that_was_rolled_back_means_nothing(database: Database) -> None:
    async def create(tx: Tx, code: str) -> int:
        sure(await upsert_skus(tx, [Sku(code=code, name=code, weight_grams=1)], at=None))  # type: ignore[arg-type]
        return (await sku_ids(tx, [code]))[code]

    async def fails(tx: Tx) -> None:
        await create(tx, "kg-1")
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fails)
    assert await database.read(lambda tx: sku_ids(tx, ["kg-1"])) == {}
    await database.transact(lambda tx: create(tx, "kg-2"))  # it has the number that was given back
    created = await database.transact(lambda tx: create(tx, "kg-1"))
    assert await database.read(lambda tx: sku_ids(tx, ["kg-1"])) == {"kg-1": created}
