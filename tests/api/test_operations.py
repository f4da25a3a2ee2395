"""Every operation with every kind of key: it is allowed where the table says so, and nowhere else. All of it is made from the table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from httpx import AsyncClient, Response
from litestar import Litestar
from litestar import get as bare_get
from msgspec import inspect as types

from ordino.aftercare.model import Authorized, NewReturn, ReturnLine
from ordino.aftercare.returns import authorize
from ordino.api.access import KEPT_SECONDS
from ordino.api.server import load_stages
from ordino.core import keys
from ordino.core.database import Database
from ordino.core.ids import new_id
from ordino.core.keys import NewKey
from ordino.core.permissions import MEANING, ROLES, Permission, Role
from ordino.flows.versions import flow_plans
from ordino.inventory.count_sheets import CountPlan, NewSheet, make_sheet, upsert_plans
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.inventory.transfers import NewTransfer, TransferDone, TransferLine
from ordino.inventory.transfers import request as request_transfers
from ordino.web.bodies import Body
from ordino.web.operations import Table
from ordino.web.routes import table_of
from ordino.web.scopes import NOBODY, WHOLE, Dimension
from samples import Sample, samples
from steps import application, calling, delivered, sure
from world import World, served_world, small_world

PERSONAL = frozenset({"email", "phone", "line1", "recipient", "comment", "note", "text", "last_error"})
"""Fields that say something of a person: addresses, messages, notes, errors of mail servers. Carriers' words are ``detail`` of events."""
AGES = {"read": 0, "write": 1, "admin": 2}
UNKNOWN = {"no_such_parameter": "1"}
"""A request with this is refused after its key has been looked at, and before anything is done."""


@pytest.fixture(scope="module")
def app(database_url: str) -> Litestar:
    load_stages()
    return application(database_url)


@pytest.fixture(scope="module")
def every(app: Litestar) -> list[Sample]:
    return samples(app)


@pytest.fixture(scope="module")
async def client(app: Litestar, database: Database) -> AsyncIterator[AsyncClient]:
    await served_world(database, skus=2)
    await made(database, roles=[Role.READ])
    async with calling(app) as caller:
        await asyncio.sleep(KEPT_SECONDS + 0.1)  # from now on every request needs a key
        yield caller


async def made(database: Database, **fields: Any) -> dict[str, str]:
    """The header of a new key."""
    at = database.clock.now()
    _, token = await database.transact(lambda tx: keys.make_key(tx, NewKey(name="k", **fields), at=at))
    return {"Authorization": f"Bearer {token}"}


def code_of(answer: Response) -> str:
    found = answer.json() if answer.headers["content-type"] == "application/problem+json" else {}
    return str(found.get("type", "")).removeprefix("urn:ordino:problem:")


async def let_in(client: AsyncClient, one: Sample, header: dict[str, str]) -> bool:
    """Does this key get past the door? Nothing is done behind it."""
    answer = await client.request(one.method, one.url({}), params=UNKNOWN, headers=header)
    assert answer.status_code in (400, 401, 403), (one.operation.name, answer.text)
    assert (answer.status_code == 400) or code_of(answer) in ("unauthorized", "forbidden")
    return answer.status_code == 400


def test_every_route_has_one_operation_and_every_operation_one_route(app: Litestar, every: list[Sample]) -> None:
    table: Table = app.state.operations
    assert len(table.views) == len(table.operations) == len(every)
    routes = [(view.method, view.path) for view in table.views]
    assert len(set(routes)) == len(routes)
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in table.operations)
    assert all(view.summary and view.outcome not in ("None", "Any", "Response") for view in table.views)


def test_an_application_with_a_route_without_an_operation_is_not_built() -> None:
    @bare_get("/v1/forgotten", sync_to_thread=False)
    def forgotten() -> str:
        return ""

    with pytest.raises(TypeError, match="/v1/forgotten has no operation"):
        table_of(Litestar([forgotten]))


def test_every_permission_is_explained_and_in_a_role() -> None:
    assert set(MEANING) == set(Permission) == ROLES[Role.ADMIN]
    assert ROLES[Role.READ] < ROLES[Role.WRITE] < ROLES[Role.ADMIN]


def test_roles_allow_what_the_scopes_of_these_names_allowed(every: list[Sample]) -> None:
    paths = ("/v1/flows", "/v1/dead_letters", "/v1/effects", "/v1/sourcing/profiles")
    since = ("keys.", "operations.")
    for one in every:
        if one.operation.keyless or one.operation.name.startswith(since):
            continue
        needed = "read" if one.method == "GET" else "admin" if one.path.startswith(paths) else "write"
        allowed = {role for role, granted in ROLES.items() if one.operation.needs <= granted}
        assert allowed == {role for role in Role if AGES[role] >= AGES[needed]}, one.operation.name


def fields_of(info: types.Type, seen: set[Any]) -> Iterator[str]:
    """The names of all fields in an answer."""
    if isinstance(info, types.Metadata):
        yield from fields_of(info.type, seen)
    elif isinstance(info, types.UnionType):
        for one in info.types:
            yield from fields_of(one, seen)
    elif isinstance(info, types.ListType | types.VarTupleType):
        yield from fields_of(info.item_type, seen)
    elif isinstance(info, types.StructType) and info.cls not in seen:
        seen.add(info.cls)
        for field in info.fields:
            yield field.encode_name
            yield from fields_of(field.type, seen)


def test_what_shows_personal_data_needs_the_permission_for_that(every: list[Sample]) -> None:
    shown = 0
    for one in every:
        if one.method != "GET" or one.operation.keyless:
            continue
        told = one.handler.parsed_fn_signature.return_type.annotation
        told = getattr(told, "__args__", [told])[0]
        personal = PERSONAL & set(fields_of(types.type_info(told), set())) if told is not dict else set()
        if personal:
            assert one.operation.personal, (one.operation.name, personal)
        shown += bool(personal)
        assert (Permission.CUSTOMERS_READ in one.operation.needs) == one.operation.personal
    assert shown >= 6


async def test_a_key_may_do_what_the_table_says_and_nothing_else(
    client: AsyncClient, database: Database, every: list[Sample]
) -> None:
    kinds: list[dict[str, Any]] = [{"permissions": [permission]} for permission in Permission]
    kinds += [{"roles": [role]} for role in Role]
    kinds += [{"permissions": [Permission.CUSTOMERS_READ, Permission.ORDERS_READ]}]
    for kind in kinds:
        header = await made(database, **kind)
        granted = {*kind.get("permissions", ()), *(one for role in kind.get("roles", ()) for one in ROLES[role])}
        wrong = [
            one.operation.name
            for one in every
            if not one.operation.keyless and await let_in(client, one, header) != (one.operation.needs <= granted)
        ]
        assert not wrong, kind


async def test_a_key_that_is_revoked_expired_wrong_or_missing_may_do_nothing(
    client: AsyncClient, database: Database, every: list[Sample]
) -> None:
    at = datetime.now(UTC)
    key_id, token = await database.transact(lambda tx: keys.make(tx, "gone", ["admin"], at=at))
    await database.transact(lambda tx: keys.revoke(tx, key_id, at=at))
    passed = await made(database, roles=[Role.ADMIN], expires_at=at + timedelta(hours=1))
    await database.pool.execute("UPDATE core.api_keys SET expires_at = $1 WHERE expires_at IS NOT NULL", at)
    bad = [{"Authorization": f"Bearer {token}"}, passed, {"Authorization": "Bearer ordino_wrong"}, {}]
    for one in every:
        for header in bad:
            answer = await client.request(one.method, one.url({}), params=UNKNOWN, headers=header)
            assert answer.status_code == (401 if not one.operation.keyless else 400), (one.operation.name, header)
    told = (await client.get("/v1/skus", headers=passed)).json()["detail"]
    assert "expired" in told


class Side(msgspec.Struct, frozen=True):
    """Everything of one seller and its locations, by the names of parameters and fields."""

    prefix: str
    seller: str
    locations: list[str]
    known: dict[str, Any]

    def leaks_into(self, text: str) -> list[str]:
        """What of this side stands in an answer to somebody else."""
        ids = [self.known[name] for name in ("order_id", "sheet_id", "transfer_id", "shortfall_id")]
        mine = [self.seller, f"{self.prefix}refuse", *self.locations, *ids]
        return [word for word in mine if word in text]


async def side_of(database: Database, world: World) -> Side:
    """An order that has been through everything, with a return that is still to come, and one that is to be picked."""
    at = database.clock.now()
    then = at - timedelta(days=3)
    order_id, [shipment] = await delivered(database, world.order("delivered", 2), then)
    back = NewReturn(order_id=order_id, lines=[ReturnLine(line_no=1, quantity=1, reason="changed_mind")])
    [allowed] = await database.transact(lambda tx: authorize(tx, [back], at=at))
    plan = CountPlan(code=f"{world.seller} plan", location=world.location)
    await database.transact(lambda tx: upsert_plans(tx, [plan], at=at))
    sheet = await database.transact(lambda tx: make_sheet(tx, NewSheet(plan=plan.code, skus=[world.sku]), at=at))
    between = NewTransfer(
        origin=world.locations[0], destination=world.locations[1], lines=[TransferLine(sku=world.sku, quantity=1)]
    )
    [moved] = await database.transact(lambda tx: request_transfers(tx, [between], at=at))
    coming = Incoming(
        document=f"{world.seller} coming", sku=world.sku, location=world.location, quantity=1, expected_at=at + timedelta(days=9)
    )  # fmt: skip
    await database.transact(lambda tx: upsert_incoming(tx, [coming], at=at))
    shortfall_id = new_id(at)
    await database.pool.execute(
        "INSERT INTO inventory.shortfalls (shortfall_id, sku_id, location_id, missing, open, found_at) VALUES ($1, $2, $3, 1, 1, $4)",
        shortfall_id, world.sku_ids[world.skus[1]], world.location_ids[world.location], at,
    )  # fmt: skip
    cart = NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=1)])
    [held] = await database.transact(lambda tx: hold(tx, [cart], at=at))
    work = await database.pool.fetchval(
        "SELECT fulfillment_order_id FROM warehouse.fulfillment_orders WHERE order_id = $1", order_id
    )
    exception_id = new_id(at)
    await database.pool.execute(
        "INSERT INTO orders.exceptions (order_id, exception_id, kind, line_no, detail, at) VALUES ($1, $2, 'not_sourced', 1, 'x', $3)",
        order_id, exception_id, at,
    )  # fmt: skip
    known = {
        "exception_id": str(exception_id), "order_id": str(order_id), "fulfillment_order_id": str(work), "shipment_id": str(shipment.shipment_id),
        "return_id": str(sure(allowed, Authorized).return_id), "hold_id": str(sure(held, Held).hold_id),
        "channel": world.channel, "location": world.locations[0], "origin": world.locations[0],
        "destination": world.locations[1], "seller": world.seller, "sku": world.sku, "country": "US", "quantity": 1,
        "sellers": world.seller, "channels": world.channel, "locations": world.locations[0],
        "plan": plan.code, "sheet_id": str(sheet.sheet_id), "transfer_id": str(sure(moved, TransferDone).transfer_id),
        "document": coming.document, "shortfall_id": str(shortfall_id), "tracking_number": shipment.tracking_number,
    }  # fmt: skip
    return Side(world.seller.removesuffix("seller"), world.seller, world.locations, known)


@pytest.fixture(scope="module")
async def sides(client: AsyncClient, database_url: str) -> tuple[Side, Side]:
    """Two sellers with a network each, under the flow that the client has activated."""
    async with await Database.open(database_url, plans=flow_plans()) as database:
        mine = await small_world(database, prefix="mine-", skus=2)
        theirs = await small_world(database, prefix="theirs-", skus=2)
        return await side_of(database, mine), await side_of(database, theirs)


async def send(client: AsyncClient, one: Sample, side: Side, header: dict[str, str]) -> Response:
    """The operation on what is there of one side."""
    body = one.item(side.known)
    content = None if body is None else msgspec.json.encode(body)
    query = one.query(side.known)
    return await client.request(one.method, one.url(side.known), params=query, content=content, headers=header)


NARROW: dict[str, frozenset[Dimension]] = {
    "seller": frozenset({Dimension.SELLER}),
    "location": frozenset({Dimension.LOCATION}),
    "both": frozenset(Dimension),
}


@pytest.mark.parametrize("narrow", NARROW)
async def test_a_narrowed_key_touches_and_shows_nothing_of_others_and_is_refused_nothing_of_its_own(
    client: AsyncClient, database: Database, every: list[Sample], sides: tuple[Side, Side], narrow: str
) -> None:
    mine, _ = sides
    fields = {"sellers": [mine.seller], "locations": mine.locations}
    to = NARROW[narrow]
    header = await made(
        database, roles=[Role.ADMIN], **{name: fields[name] for name in fields if name.removesuffix("s") in to}
    )
    whole = await made(database, roles=[Role.ADMIN])
    for one in every:
        by, name = one.operation.by, one.operation.name
        covered = by.dimensions | one.operation.filters
        if one.operation.keyless:
            continue
        if by == NOBODY:
            assert (await send(client, one, mine, header)).status_code != 403, name
            continue
        if by == WHOLE or not to <= covered | by.free or not to & covered:
            for side in sides:
                answer = await send(client, one, side, header)
                assert (answer.status_code, code_of(answer)) == (403, "forbidden"), (name, answer.text)
            continue
        await holds_to(client, one, sides, header, whole, to)


async def holds_to(
    client: AsyncClient,
    one: Sample,
    sides: tuple[Side, Side],
    header: dict[str, str],
    whole: dict[str, str],
    to: frozenset[Dimension],
) -> None:
    """The operation does for a narrowed key what it does for others, on what is the key's; and nothing on what is not."""
    mine, theirs = sides
    name = one.operation.name
    there = await send(client, one, theirs, header)
    assert not theirs.leaks_into(there.text) or there.status_code >= 400, (name, there.text)
    if one.operation.items:
        assert (there.status_code, code_of(there)) == (403, "forbidden"), (name, there.text)
        sent = getattr(one.handler.operation_class, "sent", None)
        if isinstance(sent, Body):
            both = {sent.name: [one.item(mine.known), one.item(theirs.known)]}
            answer = await client.request(one.method, one.url(mine.known), json=both, headers=header)
            assert answer.status_code == 200, (name, answer.text)
            [own, other] = answer.json()["outcomes"]
            assert own.get("reason") != "forbidden", (name, own)
            assert other["reason"] == "forbidden", (name, other)
            return
    elif one.operation.by.dimensions & to and one.named:
        assert there.status_code == (404 if one.method == "GET" else 403), (name, there.text)
    here = await send(client, one, mine, header)
    assert here.status_code != 403, (name, here.text)
    if one.method == "GET":
        assert here.status_code == (await send(client, one, mine, whole)).status_code, (name, here.text)
