"""Versions of routing profiles: who decides, and how that changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.core.database import Database
from ordino.core.errors import Conflict, Invalid, NotFound
from ordino.network.exchange import ExchangeRate, upsert_exchange_rates
from ordino.network.facts import Serving
from ordino.orders.model import Placed
from ordino.orders.place import place
from ordino.sourcing import versions
from ordino.sourcing.api import routes
from ordino.sourcing.model import Need, Request, ShortPolicy
from steps import client, in_one
from world import World, small_world

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, prefix="v-")


async def drafted(database: Database, name: str, for_: str = "") -> int:
    text = f"name: {name}\n{for_}strategies:\n  - name: s\n"
    return await database.transact(lambda tx: versions.draft(tx, text, at=AT))


async def activate(database: Database, version: int, **more: Any) -> None:
    await database.transact(lambda tx: versions.activate(tx, version, at=AT, **more))


async def decides(database: Database, world: World, **changes: Any) -> str:
    plain = Request(
        uuid4(), Serving(1, "n", {}), "US", "97201", AT, (Need(1, 1, 1, 1),), ShortPolicy.REFUSE,
        channel=world.channel, seller=world.seller,
    )  # fmt: skip
    found = await database.read(versions.profiles)
    return found.for_request(replace(plain, **changes)).name


async def retire_all(database: Database) -> None:
    for head in await database.read(versions.heads):
        if head.active:
            await database.transact(lambda tx, name=head.name: versions.retire(tx, name))


async def test_the_most_specific_active_profile_decides(database: Database, world: World) -> None:
    assert await decides(database, world) == "least_cost"
    for name, scope in {
        "all": "",
        "pacific": "for: {destinations: [US-97]}\n",
        "gifts": "for: {order_types: [gift]}\n",
        "seller": f"for: {{sellers: [{world.seller}]}}\n",
        "channel": f"for: {{channels: [{world.channel}]}}\n",
        "channel_abroad": f"for: {{channels: [{world.channel}], destinations: [CA]}}\n",
    }.items():
        await activate(database, await drafted(database, name, scope))
    other = world.channels["backorder"]
    assert await decides(database, world) == "channel"
    assert await decides(database, world, country="CA") == "channel_abroad"
    assert await decides(database, world, channel=other) == "seller"
    assert await decides(database, world, channel=other, seller="x", order_type="gift") == "gifts"
    assert await decides(database, world, channel=other, seller="x") == "pacific"
    assert await decides(database, world, channel=other, seller="x", postal_code="10001") == "all"
    await retire_all(database)
    assert await decides(database, world) == "least_cost"


async def test_a_version_that_cannot_be_read_any_more_stops_no_order(
    database: Database, database_url: str, world: World
) -> None:
    version = await drafted(database, "old", "")
    await activate(database, version)
    assert await decides(database, world) == "old"
    await database.pool.execute("UPDATE sourcing.profiles SET document = 'name: 3' WHERE version = $1", version)
    async with await Database.open(database_url) as fresh:
        assert await decides(fresh, world) == "least_cost"
        placed = await in_one(fresh, place, [world.order("goes on")], AT)
    assert isinstance(placed[0], Placed)
    await retire_all(database)


async def test_a_version_replaces_the_one_of_its_name_and_an_older_one_rolls_back(
    database: Database, world: World
) -> None:
    first, second = await drafted(database, "roll"), await drafted(database, "roll")
    for version in (first, second, first):
        await activate(database, version)
        found = await database.read(versions.profiles)
        assert [profile.version for profile in found.active] == [version]
    with pytest.raises(NotFound):
        await activate(database, 10**6)
    await retire_all(database)


async def test_two_profiles_for_exactly_the_same_orders_are_refused(database: Database, world: World) -> None:
    await activate(database, await drafted(database, "one"))
    with pytest.raises(Conflict, match=r"'one', version .*, is active for exactly the same orders"):
        await activate(database, await drafted(database, "two"))
    await retire_all(database)


async def test_activations_at_once_leave_one_version_of_a_name(database: Database, world: World) -> None:
    mine = [await drafted(database, "raced") for _ in range(6)]
    await asyncio.gather(*(activate(database, version) for version in mine))
    active = [head.version for head in await database.read(versions.heads) if head.active]
    assert len(active) == 1
    assert active[0] in mine
    await retire_all(database)


async def test_who_activates_can_make_sure_that_nothing_changed_since(database: Database, world: World) -> None:
    seen = await database.read(versions.etag)
    await activate(database, await drafted(database, "a"), if_match=seen)
    with pytest.raises(Conflict) as caught:
        await activate(database, await drafted(database, "b", "for: {order_types: [gift]}\n"), if_match=seen)
    assert caught.value.status == 412
    await retire_all(database)


async def test_codes_are_held_against_what_there_is(database: Database, world: World) -> None:
    with pytest.raises(Invalid, match="there is no 'nowhere'"):
        await drafted(database, "x", "for: {channels: [nowhere]}\n")


async def test_profiles_over_http(database: Database, world: World) -> None:
    async with client(database, routes) as http:
        text = "name: web\nstrategies:\n  - name: s\n    split: never\n"
        wrong = await http.post("/v1/sourcing/profiles", content="name: x\nstrategies: [{name: s, split: x}]")
        assert wrong.status_code in (400, 422)
        assert wrong.json()["errors"][0]["pointer"] == "/line/2"
        checked = await http.post("/v1/sourcing/profiles/validation", content="name: x")
        assert checked.json()["faults"][0]["detail"].startswith("Line 1:")
        key = {"idempotency-key": "draft-1"}
        made = [await http.post("/v1/sourcing/profiles", content=text, headers=key) for _ in range(2)]
        assert [answer.status_code for answer in made] == [201, 201]
        version = made[0].json()["version"]
        assert made[1].json()["version"] == version
        listed = await http.get("/v1/sourcing/profiles")
        stale = await http.post(f"/v1/sourcing/profiles/{version}/activation", headers={"if-match": '"other"'})
        assert stale.status_code == 412
        done = await http.post(
            f"/v1/sourcing/profiles/{version}/activation", headers={"if-match": listed.headers["etag"]}
        )
        assert done.json() == {"version": version}
        assert (await http.get(f"/v1/sourcing/profiles/{version}")).json()["document"] == text
        assert (await http.get("/v1/sourcing/profiles/0")).json()["name"] == "least_cost"
        assert (await http.get("/v1/sourcing/profiles/schema")).json()["title"] == "Routing profile"
        assert (await http.put(f"/v1/sourcing/profiles/{version}/shadow")).json() == {
            "version": version,
            "shadow": True,
        }
        assert (await http.delete(f"/v1/sourcing/profiles/{version}/shadow")).json()["shadow"] is False
        assert (await http.post("/v1/sourcing/profiles/web/retirement")).json() == {"version": version}
        assert (await http.post("/v1/sourcing/profiles/web/retirement")).status_code == 404


async def test_at_most_three_shadows_run_at_once(database: Database, world: World) -> None:
    mine = [await drafted(database, f"shadow{n}") for n in range(4)]
    for version in mine[:3]:
        await database.transact(lambda tx, v=version: versions.shadow(tx, v, on=True))
    with pytest.raises(Conflict, match="At most 3"):
        await database.transact(lambda tx: versions.shadow(tx, mine[3], on=True))
    for version in mine[:3]:
        await database.transact(lambda tx, v=version: versions.shadow(tx, v, on=False))


async def test_a_profile_whose_money_nobody_can_convert_is_not_activated(database: Database, world: World) -> None:
    await retire_all(database)
    for_ = f"currency: EUR\nfor: {{channels: [{world.channel}]}}\n"
    euro = await drafted(database, "euro", for_)
    with pytest.raises(Conflict, match="no exchange rate from EUR to USD for today"):
        await activate(database, euro)
    await activate(database, await drafted(database, "dollar", for_.replace("EUR", "USD")))
    await retire_all(database)
    rate = ExchangeRate(from_currency="EUR", to_currency="USD", rate="1.08", valid_from=AT.date())
    await in_one(database, upsert_exchange_rates, [rate], AT)
    await activate(database, euro)
    assert await decides(database, world) == "euro"
    await retire_all(database)
