"""KEY-2 in the corners: what a narrowed key is told of others in explanations, pages, totals and names, and by which ways it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from httpx import AsyncClient

from ordino.catalog.model import Channel, Seller
from ordino.catalog.upsert import upsert_channels, upsert_sellers
from ordino.core import keys
from ordino.core.database import Database
from ordino.core.job_runner import JobRunner
from ordino.core.keys import NewKey
from ordino.core.permissions import Permission, Role
from ordino.core.reactions import registry
from ordino.core.settings import Settings
from ordino.flows.versions import flow_plans
from ordino.inventory.count_sheets import CountPlan, upsert_plans
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.inventory.rules import Allocation, upsert_allocations
from ordino.inventory.transfers import NewTransfer, TransferDone, TransferLine
from ordino.inventory.transfers import request as request_transfers
from ordino.network.model import Member, Network
from ordino.network.upsert import upsert_networks
from steps import application, calling, in_one, placed, shipped, sure
from world import World, served_world

NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url, plans=flow_plans()) as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    """Two sellers share the network and its stock: `seller`, and `rival` with a channel of the same name."""
    world = await served_world(database, locations=3)
    at = database.clock.now()
    await in_one(database, upsert_sellers, [Seller(code="rival", name="Rival", currency="USD")], at)
    await in_one(database, upsert_channels, [Channel(code="rival-web", name="Rival", seller="rival")], at)
    members = [Member(location=code) for code in world.locations]
    channels = [*world.channels.values(), "rival-web"]
    await in_one(
        database, upsert_networks, [Network(code=world.network, name="N", members=members, channels=channels)], at
    )
    return world


@pytest.fixture(scope="module")
async def client(database_url: str, world: World) -> AsyncIterator[AsyncClient]:
    async with calling(application(database_url)) as caller:
        yield caller


async def made(database: Database, **fields: Any) -> dict[str, str]:
    """The header of a new key; for everything, unless it is said what for."""
    at = database.clock.now()
    fields = {"roles": [Role.ADMIN]} | fields
    _, token = await database.transact(lambda tx: keys.make_key(tx, NewKey(name="k", **fields), at=at))
    return {"Authorization": f"Bearer {token}"}


# -- explanations ----------------------------------------------------------------------------------------------------------


async def test_an_explanation_tells_a_seller_of_its_own_orders_and_carts_only(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    own = await placed(database, world.order("explained", 2), at)
    theirs = await placed(database, world.order("not explained", 5, channel="rival-web"), at)
    lines = [HoldLine(sku=world.sku, quantity=7)]
    [cart] = await in_one(database, hold, [NewHold(channel="rival-web", lines=lines)], at)
    rules = [Allocation(code="rival rule", channel="rival-web", sku=world.sku, location=world.location, units=30)]
    await in_one(database, upsert_allocations, rules, at)
    header, whole = await made(database, sellers=["seller"]), await made(database)
    path = f"/v1/availability/{world.sku}?channel={world.channel}&explain=true"
    told = (await client.get(path, headers=header)).text
    for secret in (str(theirs), str(sure(cart, Held).hold_id), "rival"):
        assert secret not in told
    assert str(own) in told
    assert " kept for another seller" in told
    shown, everything = msgspec.json.decode(told), (await client.get(path, headers=whole)).json()
    assert str(theirs) in str(everything)
    assert "kept for rival-web (rival rule)" in str(everything)

    def counted(answer: Any) -> list[tuple[Any, ...]]:
        """The numbers, and how many reservations stand behind them."""
        return [
            (at["location"], at["reserved"], at["available"], len(at["reserved_by"]) + at["reserved_by_more"])
            for at in answer["of"][0]["locations"]
        ]

    assert counted(shown) == counted(everything)


# -- feeds -----------------------------------------------------------------------------------------------------------------


async def test_the_feeds_of_a_narrowed_key_meet_nobody_elses(
    client: AsyncClient, database: Database, world: World
) -> None:
    whole = {**await made(database), "Content-Type": "text/csv"}
    mine = {**await made(database, locations=[world.location]), "Content-Type": "text/csv"}
    rows = f"sku,location,on_hand\nsku-5,{world.location},41\n"
    secret = f"sku,location,on_hand\nsku-5,{world.locations[1]},77\nno-such-sku,{world.locations[1]},1\n"
    for first, second in (((whole, secret), (mine, rows)), ((mine, rows), (whole, secret))):
        name = f"monday {uuid4()}"
        answers = []
        for header, body in (first, second):
            answer = await client.post("/v1/counts", params={"feed": name}, content=body, headers=header)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json()["rows"])
        assert sorted(answers) == [1, 2]
    again = await client.post("/v1/counts", params={"feed": name}, content=rows, headers=mine)
    assert again.json()["rows"] == 1
    assert "no-such-sku" not in again.text


# -- jobs ------------------------------------------------------------------------------------------------------------------


async def test_what_a_job_exported_needs_the_permission_to_see_that(
    client: AsyncClient, database: Database, world: World, database_url: str
) -> None:
    at = database.clock.now()
    order_id = await placed(database, world.order("exported"), at)
    exporter = await made(database)
    span = {"since": (at - timedelta(days=1)).isoformat(), "until": (at + timedelta(days=1)).isoformat()}
    started = await client.post("/v1/jobs", json={"kind": "export_orders", **span}, headers=exporter)
    assert started.status_code == 202, started.text
    await JobRunner(database, registry.jobs, settings=Settings()).run_until_idle()
    job = f"/v1/jobs/{started.json()['job_id']}"
    assert str(order_id) in (await client.get(f"{job}/result", headers=exporter)).text
    some = [Permission.JOBS_READ, Permission.CUSTOMERS_READ]
    clerk = await made(database, roles=[], permissions=some)
    reader = await made(database, roles=[], permissions=[*some, Permission.ORDERS_READ])
    for path in (f"{job}/result", f"{job}/rows"):
        refused = await client.get(path, headers=clerk)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:ordino:problem:forbidden")
        assert "lacks 'orders.read'" in refused.json()["detail"]
        assert str(order_id) in (await client.get(path, headers=reader)).text
    assert (await client.get(job, headers=clerk)).status_code == 200


# -- transfers -------------------------------------------------------------------------------------------------------------


async def test_a_transfer_is_seen_from_both_ends_sent_from_one_and_received_at_the_other(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    here, there = world.locations[:2]
    wanted = NewTransfer(origin=here, destination=there, lines=[TransferLine(sku="sku-2", quantity=4)])
    [done] = await in_one(database, request_transfers, [wanted], at)
    transfer_id = str(sure(done, TransferDone).transfer_id)
    path = f"/v1/transfers/{transfer_id}"
    sender, receiver, nobody = [await made(database, locations=[code]) for code in world.locations]

    async def listed(header: dict[str, str]) -> list[str]:
        answer = await client.get("/v1/transfers", headers=header)
        return [one["transfer_id"] for one in answer.json()["transfers"]]

    for header, seen in ((sender, True), (receiver, True), (nobody, False)):
        assert (transfer_id in await listed(header)) is seen
        answer = await client.get(path, headers=header)
        assert answer.status_code == (200 if seen else 404)
    missing = await client.get(f"/v1/transfers/{NOWHERE}", headers=nobody)
    assert missing.json()["detail"].replace(NOWHERE, transfer_id) == answer.json()["detail"]
    for action, header in (
        ("shipment", receiver),
        ("receipt", sender),
        ("cancellation", receiver),
        ("shipment", nobody),
    ):
        body = None if action == "cancellation" else {"all": True}
        refused = await client.post(f"{path}/{action}", json=body, headers=header)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:ordino:problem:forbidden"), action
    assert (await client.post(f"{path}/shipment", json={"all": True}, headers=sender)).status_code == 200
    assert (await client.post(f"{path}/receipt", json={"all": True}, headers=receiver)).status_code == 200
    both = await made(database, locations=[here, there])
    order = {"origin": here, "destination": there, "lines": [{"sku": "sku-2", "quantity": 1}]}
    assert (await client.post("/v1/transfers", json=order, headers=sender)).status_code == 403
    assert (await client.post("/v1/transfers", json=order, headers=both)).status_code == 201


async def test_a_page_of_transfers_is_full_however_many_are_of_others(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    here, there, elsewhere = world.locations
    lines = [TransferLine(sku="sku-3", quantity=1)]
    pairs = [(here, there), (there, elsewhere), (there, elsewhere), (here, there)] * 3
    for origin, destination in pairs:
        wanted = [NewTransfer(origin=origin, destination=destination, lines=lines)]
        sure((await in_one(database, request_transfers, wanted, at))[0], TransferDone)
    header = await made(database, locations=[elsewhere], sellers=["seller"])
    seen, before = [], None
    while True:
        query = {"limit": 2, **({"before": before} if before else {})}
        page = (await client.get("/v1/transfers", params=query, headers=header)).json()
        assert len(page["transfers"]) == 2 or page["next"] is None
        seen += page["transfers"]
        if (before := page["next"]) is None:
            break
    assert [(one["origin"], one["destination"]) for one in seen] == [(there, elsewhere)] * 6


async def test_what_a_document_announces_is_shown_for_the_keys_own_locations(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    soon = at + timedelta(days=3)
    coming = [
        Incoming(document="po 1", sku="sku-1", location=code, quantity=5, expected_at=soon)
        for code in world.locations[:2]
    ]
    await in_one(database, upsert_incoming, coming, at)
    here, elsewhere = [await made(database, locations=[code]) for code in (world.locations[0], world.locations[2])]
    shown = (await client.get("/v1/incoming/po%201", headers=here)).json()["incoming"]
    assert [one["location"] for one in shown] == [world.location]
    hidden = await client.get("/v1/incoming/po%201", headers=elsewhere)
    missing = await client.get("/v1/incoming/po%202", headers=elsewhere)
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert hidden.json()["detail"] == missing.json()["detail"].replace("po 2", "po 1")


# -- counts and shortfalls -------------------------------------------------------------------------------------------------


async def test_a_store_counts_by_its_own_sheets(client: AsyncClient, database: Database, world: World) -> None:
    at = database.clock.now()
    here, there = world.locations[:2]
    plans = [CountPlan(code=f"plan {code}", location=code, accept_units=1000) for code in (here, there)]
    await in_one(database, upsert_plans, plans, at)
    store, whole = await made(database, roles=[Role.WRITE], locations=[here]), await made(database)

    async def sheet(code: str, header: dict[str, str]) -> Any:
        return await client.post("/v1/count_sheets", json={"plan": f"plan {code}", "skus": ["sku-4"]}, headers=header)

    other = (await sheet(there, whole)).json()["sheet_id"]
    refused, missing = await sheet(there, store), await sheet("nowhere", store)
    assert (refused.status_code, missing.status_code) == (403, 403)
    assert refused.json()["detail"] == missing.json()["detail"]
    answer = await sheet(here, store)
    assert answer.status_code == 201, answer.text
    own = answer.json()["sheet_id"]
    listed = (await client.get("/v1/count_sheets", headers=store)).json()["sheets"]
    assert {one["location"] for one in listed} == {here}
    assert (await client.get("/v1/count_sheets", params={"location": there}, headers=store)).status_code == 404
    counts = {"counts": [{"sku": "sku-4", "counted": 3}]}
    for sheet_id, status in ((own, 200), (other, 403), (NOWHERE, 403)):
        assert (await client.get(f"/v1/count_sheets/{sheet_id}", headers=store)).status_code == (
            200 if status == 200 else 404
        )
        for action, body in (("counts", counts), ("approval", {"all": True}), ("rejection", {"all": True})):
            done = await client.post(f"/v1/count_sheets/{sheet_id}/{action}", json=body, headers=store)
            assert done.status_code == status, (action, done.text)
    positions = (await client.get("/v1/stock/sku-4", headers=whole)).json()["positions"]
    assert {one["location"]: one["on_hand"] for one in positions if one["location"] in (here, there)} == {
        here: 3,
        there: 100,
    }


async def test_shortfalls_are_those_of_the_keys_locations_with_the_orders_of_its_sellers(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    here = world.location
    whole = await made(database)
    for external_id, channel in (("at risk", world.channel), ("rival at risk", "rival-web")):
        await placed(database, world.order(external_id, {"sku-5": 3}, channel=channel), at)
    places = await database.pool.fetch(
        "SELECT DISTINCT l.code FROM inventory.reservations r JOIN network.locations l USING (location_id) "
        "WHERE r.sku_id = $1 AND r.quantity > 0",
        world.sku_ids["sku-5"],
    )
    [here] = [row["code"] for row in places]
    counted = await client.post("/v1/counts", json={"sku": "sku-5", "location": here, "on_hand": 1}, headers=whole)
    assert counted.status_code == 200, counted.text
    store = await made(database, locations=[here])
    both = await made(database, locations=[here], sellers=["seller"])
    elsewhere = await made(database, locations=[code for code in world.locations if code != here])
    [found] = (await client.get("/v1/shortfalls", headers=store)).json()["shortfalls"]
    assert {one["external_id"] for one in found["at_risk"]} >= {"at risk", "rival at risk"}
    [found] = (await client.get("/v1/shortfalls", headers=both)).json()["shortfalls"]
    assert [one["external_id"] for one in found["at_risk"]] == ["at risk"]
    assert (await client.get("/v1/shortfalls", headers=elsewhere)).json()["shortfalls"] == []
    path = f"/v1/shortfalls/{found['shortfall_id']}/closure"
    assert (await client.post(path, json={"reason": "found"}, headers=elsewhere)).status_code == 403
    assert (await client.post(path, json={"reason": "found"}, headers=store)).status_code == 200


# -- parcels ---------------------------------------------------------------------------------------------------------------


async def test_what_carriers_say_is_taken_of_parcels_of_the_keys_own_orders(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now() - timedelta(hours=1)
    _, [own] = await shipped(database, world.order("own parcel"), at)
    theirs_id, [theirs] = await shipped(database, world.order("rival parcel", channel="rival-web"), at)
    place = await database.pool.fetchval(
        "SELECT l.code FROM warehouse.fulfillment_orders JOIN network.locations l USING (location_id) WHERE order_id = $1",
        theirs_id,
    )
    seller = await made(database, roles=[], permissions=[Permission.TRACKING_WRITE], sellers=["seller"])
    store = await made(database, roles=[], permissions=[Permission.TRACKING_WRITE], locations=[place])
    elsewhere = await made(
        database, roles=[], permissions=[Permission.TRACKING_WRITE],
        locations=[code for code in world.locations if code != place],
    )  # fmt: skip

    def said(*numbers: str) -> dict[str, Any]:
        return {"tracking_events": [{"tracking_number": one, "kind": "in_transit"} for one in numbers]}

    async def outcomes(header: dict[str, str], *numbers: str) -> list[str]:
        answer = await client.post("/v1/tracking_events", json=said(*numbers), headers=header)
        assert answer.status_code == 200, answer.text
        return [one.get("reason") or one["outcome"] for one in answer.json()["outcomes"]]

    unknown = "no shipment has this"
    numbers = (theirs.tracking_number, own.tracking_number, unknown)
    assert await outcomes(seller, *numbers) == ["forbidden", "recorded", "forbidden"]
    assert (await outcomes(store, theirs.tracking_number)) == ["recorded"]
    assert (await outcomes(elsewhere, theirs.tracking_number)) == ["forbidden"]
    alone = {"tracking_number": theirs.tracking_number, "kind": "lost"}
    hidden = await client.post("/v1/tracking_events", json=alone, headers=seller)
    missing = await client.post("/v1/tracking_events", json={**alone, "tracking_number": unknown}, headers=seller)
    assert (hidden.status_code, hidden.json()) == (403, missing.json())
    assert await database.pool.fetchval("SELECT count(*) FROM tracking.unmatched_events") == 0
    lost = "SELECT count(*) FROM tracking.parcels WHERE order_id = $1 AND lost_at IS NOT NULL"
    assert await database.pool.fetchval(lost, theirs_id) == 0


# -- ways to ask -----------------------------------------------------------------------------------------------------------


def ways(path: str) -> list[str]:
    """Other spellings of a path, which some server or router may take for the same."""
    head, _, last = path.rpartition("/")
    return [
        path, f"{path}/", f"{path}//", f"/{path}", path.replace("/v1/", "/v1//"), path.replace("/v1/", "/v1/./"),
        path.replace("/v1/", "/v1/x/../"), path.replace("/v1", "/V1"), f"{head}/%20{last}", f"{path}%20", f"{path}%00",
        f"{path};x=1", f"{head}%2F{last}", f"{path}?", f"{path}?after=", f"{path}%3Fx", f"{path}#x", path.upper(),
    ]  # fmt: skip


async def test_no_spelling_of_a_path_shows_what_the_path_hides(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    theirs: UUID = await placed(database, world.order("hidden", channel="rival-web"), at)
    header, whole = await made(database, sellers=["seller"]), await made(database)
    paths = [
        f"/v1/orders/{theirs}", f"/v1/orders/{theirs}/timeline", f"/v1/orders/{theirs}/notes",
        f"/v1/availability/{world.sku}?channel=rival-web", f"/v1/availability/{world.sku}?channel=rival%2Dweb",
        f"/v1/availability/{world.sku}?channel={world.channel}&channel=rival-web",
        f"/v1/availability?sku={world.sku}&channel=%20rival-web", f"/v1/availability/{world.sku}?network={world.network}",
        f"/v1/availability/{world.sku}/future?network={world.network}", f"/v1/availability_changes?network={world.network}",
        "/v1/holds?channel=rival-web&cart=1", "/v1/channels/rival-web", "/v1/sellers/rival", "/v1/keys", "/v1/events",
    ]  # fmt: skip
    assert (await client.get(paths[0], headers=whole)).status_code == 200
    for path in paths:
        for way in ways(path) if "?" not in path else [path, path.replace("?", "/?"), f"/{path}"]:
            for method in ("GET", "HEAD"):
                answer = await client.request(method, way, headers=header)
                assert answer.status_code in (400, 403, 404, 405), (method, way, answer.text)
            assert (await client.get(way)).status_code in (400, 401, 404, 405), way


async def test_other_methods_tell_nothing_of_what_a_path_names(
    client: AsyncClient, database: Database, world: World
) -> None:
    at = database.clock.now()
    theirs = await placed(database, world.order("asked otherwise", channel="rival-web"), at)
    header = await made(database, sellers=["seller"])
    for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "POST"):
        told = [
            await client.request(method, f"/v1/orders/{order_id}", headers=header) for order_id in (theirs, NOWHERE)
        ]
        assert told[0].status_code == told[1].status_code
        assert told[0].text.replace(str(theirs), NOWHERE) == told[1].text
        assert (await client.request(method, f"/v1/orders/{theirs}")).status_code in (401, 405)
