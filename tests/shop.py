"""A shop in which every operation that changes something can be done: for each of them, something that is there to be changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import msgspec
from httpx import AsyncClient
from msgspec import Struct

from ordino.core.accounts import pause
from ordino.core.database import Database
from ordino.core.ids import new_id
from ordino.flows.document import packaged
from ordino.tracking.model import Kind, TrackingEvent
from ordino.tracking.take_events import take_events
from ordino.warehouse.model import Shipped
from samples import Sample
from steps import delivered, in_one, packed, picked, placed, released, shipped
from world import World


async def state(database: Database) -> dict[str, Any]:
    """All that the database holds, but what is kept of client keys."""
    tables = [
        f"{row['schemaname']}.{row['tablename']}"
        for row in await database.pool.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
    ]
    looked = (
        f"SELECT '{name}' AS name, count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) AS held FROM {name} t"
        for name in sorted(tables)
        if name not in ("core.idempotency", "core.api_keys")  # that a key was used is written now and then
    )
    keys_made = await database.pool.fetch("SELECT count(*), count(revoked_at) FROM core.api_keys")
    rows = await database.pool.fetch(" UNION ALL ".join(looked))
    return {row["name"]: row["held"] for row in rows} | {"keys": tuple(keys_made[0])}


DAYS = count(10)


class Ask(Struct, frozen=True):
    """One request: what is known by the names of path parameters, and the body; ``text`` is sent as it stands."""

    path: dict[str, Any] = {}
    body: Any = None
    text: str | None = None


class Shop(Struct, frozen=True):
    client: AsyncClient
    database: Database
    world: World
    header: dict[str, str]

    @property
    def then(self) -> datetime:
        return self.database.clock.now() - timedelta(days=3)

    async def do(self, path: str, body: Any = None, *, method: str = "POST") -> dict[str, Any]:
        """What the API answers; it must not refuse."""
        answer = await self.client.request(method, path, json=body, headers=self.header)
        assert answer.status_code < 300, (method, path, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    def new(self) -> dict[str, Any]:
        """What a thing that is new says, by the names of fields."""
        code = f"c{uuid4().hex}"
        day = f"{self.then + timedelta(days=next(DAYS)):%Y-%m-%d}"
        return {
            **self.codes, "code": code, "document": code, "units": 1, "at": "16:00", "timezone": "America/New_York", "rate": "1.5",
            "to_currency": "EUR", "valid_from": day, "ship_on": day, "postal_code": f"{20000 + next(DAYS)}",
        }  # fmt: skip

    @property
    def codes(self) -> dict[str, Any]:
        """The codes that are there, by the names of fields."""
        here, there = self.world.locations[:2]
        return {
            "channel": self.world.channel, "location": here, "origin": here, "destination": there, "sku": self.world.sku,
            "seller": self.world.seller, "network": self.world.network, "country": "US", "carrier_service": self.world.service,
        }  # fmt: skip

    async def placed(self) -> UUID:
        return await placed(self.database, self.world.order(uuid4().hex, 2), self.then)

    async def at(self, step: Any) -> dict[str, Any]:
        """The keys of an order's first fulfillment order after a step."""
        order_id, ids = await step(self.database, self.world.order(uuid4().hex, 2), self.then)
        return {"order_id": str(order_id), "fulfillment_order_id": str(ids[0])}

    async def shipped(self) -> tuple[UUID, Shipped]:
        order_id, [parcel] = await shipped(self.database, self.world.order(uuid4().hex, 2), self.then)
        return order_id, parcel

    async def delivered(self) -> dict[str, Any]:
        order_id, _ = await delivered(self.database, self.world.order(uuid4().hex, 2, shipping_minor=500), self.then)
        return {"order_id": str(order_id)}

    async def comes_back(self) -> dict[str, Any]:
        """The keys of a return that is authorized."""
        order = await self.delivered()
        line = {"line_no": 1, "quantity": 1, "reason": "changed_mind"}
        made = await self.do("/v1/returns", {**order, "lines": [line]})
        return {**order, "return_id": made["return_id"]}

    async def returning(self) -> dict[str, Any]:
        """The keys of a parcel that the carrier brings back."""
        order_id, parcel = await self.shipped()
        said = TrackingEvent(tracking_number=parcel.tracking_number, kind=Kind.RETURNED_TO_SENDER, at=self.then)
        await in_one(self.database, take_events, [said], self.then)
        return {"order_id": str(order_id), "shipment_id": str(parcel.shipment_id)}

    async def asked(self) -> dict[str, Any]:
        """An order whose customer was asked what they think of it."""
        order = await self.delivered()
        ask = "INSERT INTO aftercare.surveys (order_id, asked_at) VALUES ($1, $2)"
        await self.database.pool.execute(ask, UUID(order["order_id"]), self.then)
        return order

    async def transfer(self, *done: str) -> dict[str, Any]:
        here, there = self.world.locations[:2]
        wanted = {"origin": here, "destination": there, "lines": [{"sku": self.world.sku, "quantity": 1}]}
        found = await self.do("/v1/transfers", wanted)
        for step in done:
            await self.do(f"/v1/transfers/{found['transfer_id']}/{step}", {"all": True})
        return {"transfer_id": found["transfer_id"]}

    async def sheet(self, counted: int | None = None) -> dict[str, Any]:
        """A count sheet; with units, one that waits for an approval of these."""
        plan, sku = f"plan-{uuid4().hex}", self.world.skus[1]
        rules = {"accept_units": 0, "approve_above_units": 1}
        await self.do("/v1/count_plans", {"code": plan, "location": self.world.location, **rules})
        sheet = await self.do("/v1/count_sheets", {"plan": plan, "skus": [sku]})
        for _ in range(0 if counted is None else 2):
            await self.do(
                f"/v1/count_sheets/{sheet['sheet_id']}/counts", {"counts": [{"sku": sku, "counted": counted}]}
            )
        return {"sheet_id": sheet["sheet_id"]}

    async def hold(self) -> dict[str, Any]:
        wanted = {"channel": self.world.channel, "lines": [{"sku": self.world.sku, "quantity": 1}]}
        return {"hold_id": (await self.do("/v1/holds", wanted))["hold_id"]}

    async def later(self) -> dict[str, Any]:
        body = {"orders": [{"order_id": str(await self.placed())}]}
        wanted = {"kind": "release_orders", "parameters": body, "delay_seconds": 300}
        return {"job_id": (await self.do("/v1/delayed_commands", wanted))["job_id"]}

    async def job(self) -> dict[str, Any]:
        wanted = {"kind": "release_orders", "orders": [{"order_id": str(await self.placed())}]}
        return {"job_id": (await self.do("/v1/jobs", wanted))["job_id"]}

    def profile(self) -> tuple[str, str]:
        """(name, document)"""
        name = f"p{uuid4().hex}"
        ranked = f"[{{location: [{self.world.location}]}}]"
        return name, f"name: {name}\nfor: {{channels: [{name}]}}\nstrategies:\n  - name: s\n    ranked: {ranked}\n"

    async def drafted(self, *done: str) -> dict[str, Any]:
        """A version of a profile that is for a channel of its own."""
        name, document = self.profile()
        await self.do("/v1/channels", {"code": name, "name": name, "seller": self.world.seller})
        sent = {**self.header, "content-type": "application/yaml"}
        answer = await self.client.post("/v1/sourcing/profiles", content=document, headers=sent)
        version = answer.json()["version"]
        for step in done:
            method = "PUT" if step == "shadow" else "POST"
            await self.do(f"/v1/sourcing/profiles/{version}/{step}", method=method)
        return {"version": version, "name": name}

    async def subscription(self) -> dict[str, Any]:
        name = f"s{uuid4().hex}"
        await self.do("/v1/subscriptions", {"name": name})
        return {"name": name}

    async def rule(self, noun: str, **fields: Any) -> dict[str, Any]:
        code = f"r{uuid4().hex}"
        await self.do(f"/v1/{noun}", {"code": code, **fields})
        return {"code": code, noun: code}

    async def dead_letter(self) -> dict[str, Any]:
        letter_id, at = new_id(self.then), self.then
        dead = (
            "INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at)"
            " VALUES (0, $1, 'allocate', $1, $1, $2, '{}', 12, 'It failed.', $2)"
        )
        await self.database.pool.execute(dead, letter_id, at)
        return {"letter_id": str(letter_id)}

    async def paused(self) -> dict[str, Any]:
        account, at = f"mail server {uuid4().hex}:25", datetime.now(UTC)
        await self.database.transact(lambda tx: pause(tx, account, "It is away.", at=at, tried=False))
        return {"account": account}

    async def exception(self) -> dict[str, Any]:
        order_id, exception_id = await self.placed(), new_id(self.then)
        write = (
            "INSERT INTO orders.exceptions (order_id, exception_id, kind, line_no, detail, at)"
            " VALUES ($1, $2, 'not_sourced', 1, 'x', $3)"
        )
        await self.database.pool.execute(write, order_id, exception_id, self.then)
        await self.database.pool.execute("UPDATE orders.lines SET tries = 1 WHERE order_id = $1", order_id)
        return {"exception_id": str(exception_id)}

    async def shortfall(self) -> dict[str, Any]:
        """One that a count has found: fewer units are there than orders have reserved."""
        sku, location = f"k{uuid4().hex}", self.world.location
        await self.do("/v1/skus", {"code": sku, "name": "Short", "weight_grams": 1})
        await self.do("/v1/receipts", {"sku": sku, "location": location, "quantity": 2})
        await placed(self.database, self.world.order(uuid4().hex, {sku: 2}), self.then)
        await self.do("/v1/counts", {"sku": sku, "location": location, "on_hand": 0})
        found = (await self.client.get("/v1/shortfalls", headers=self.header)).json()["shortfalls"]
        return {"shortfall_id": next(one["shortfall_id"] for one in found if one["sku"] == sku)}

    async def closed_shortfall(self) -> dict[str, Any]:
        one = await self.shortfall()
        await self.do(f"/v1/shortfalls/{one['shortfall_id']}/closure", {"reason": "found", "note": "Behind the door."})
        return one


Make = Callable[[Shop], Awaitable[Ask]]
MAKES: dict[str, Make] = {}


def makes(*names: str) -> Callable[[Make], Make]:
    """The request of these operations."""

    def note(make: Make) -> Make:
        MAKES.update(dict.fromkeys(names, make))
        return make

    return note


def by(make: Callable[[Shop], Awaitable[dict[str, Any]]], **body: Any) -> Make:
    """The path names what is made; the body is this."""

    async def ask(shop: Shop) -> Ask:
        return Ask(path=await make(shop), body=body or None)

    return ask


def of(make: Callable[[Shop], Awaitable[dict[str, Any]]], **body: Any) -> Make:
    """The body names what is made."""

    async def ask(shop: Shop) -> Ask:
        return Ask(body={**await make(shop), **body})

    return ask


async def _order(shop: Shop) -> dict[str, Any]:
    return {"order_id": str(await shop.placed())}


async def _under_way(shop: Shop) -> dict[str, Any]:
    order_id, _ = await shop.shipped()
    return {"order_id": str(order_id)}


def _number() -> dict[str, Any]:
    return {"tracking_number": f"T-{uuid4().hex}", "all": True}


LINE = {"line_no": 1, "quantity": 1, "reason": "changed_mind"}
BACK = {"lines": [{"line_no": 1, "restocked": 1}]}
LATE = "2027-06-01T12:00:00Z"
MAKES |= {
    "orders.cancel": by(_order, all=True),
    "orders.cancel_many": of(_order, all=True),
    "orders.release": by(_order),
    "orders.release_many": of(_order),
    "orders.erase_notes": by(_order),
    "fulfillment_orders.pick": by(lambda shop: shop.at(released), all=True),
    "fulfillment_orders.pick_many": of(lambda shop: shop.at(released), all=True),
    "fulfillment_orders.pack": by(lambda shop: shop.at(picked), all=True),
    "fulfillment_orders.pack_many": of(lambda shop: shop.at(picked), all=True),
    "returns.authorize": by(Shop.delivered, lines=[LINE]),
    "returns.authorize_many": of(Shop.delivered, lines=[LINE]),
    "returns.receive": by(Shop.comes_back, **BACK),
    "returns.receive_many": of(Shop.comes_back, **BACK),
    "returns.cancel": by(Shop.comes_back, all=True),
    "returns.cancel_many": of(Shop.comes_back, all=True),
    "refunds.make": by(Shop.delivered, reason="late", goodwill_minor=1),
    "refunds.make_many": of(Shop.delivered, reason="late", goodwill_minor=1),
    "parcels.receive_back": by(Shop.returning, all=True, then="refund"),
    "parcels.receive_back_many": of(Shop.returning, all=True, then="refund"),
    "surveys.answer": by(Shop.asked, answers={"overall": 5}),
    "surveys.answer_many": of(Shop.asked, answers={"overall": 5}),
    "told_dates.record": of(_under_way, promised_at=LATE),
    "transfers.ship": by(Shop.transfer, all=True),
    "transfers.receive": by(lambda shop: shop.transfer("shipment"), all=True),
    "transfers.cancel": by(Shop.transfer),
    "holds.change": by(Shop.hold, minutes=30),
    "holds.release": by(Shop.hold),
    "count_sheets.approve": by(lambda shop: shop.sheet(7 * next(DAYS)), all=True),
    "count_sheets.reject": by(lambda shop: shop.sheet(7 * next(DAYS)), all=True),
    "delayed_commands.drop": by(Shop.later),
    "delayed_commands.revoke": by(Shop.later),
    "jobs.cancel": by(Shop.job),
    "profiles.activate": by(Shop.drafted),
    "profiles.retire": by(lambda shop: shop.drafted("activation")),
    "profiles.shadow": by(Shop.drafted),
    "profiles.end_shadow": by(lambda shop: shop.drafted("shadow")),
    "subscriptions.drop": by(Shop.subscription),
    "subscriptions.acknowledge": by(Shop.subscription, cursor="beginning"),
    "dead_letters.replay": by(Shop.dead_letter),
    "effects.resume": of(Shop.paused),
    "exceptions.resolve": by(Shop.exception, action="close"),
    "shortfalls.close": by(Shop.shortfall, reason="found"),
    "shortfalls.erase_note": by(Shop.closed_shortfall),
}


@makes("orders.place")
async def _place(shop: Shop) -> Ask:
    return Ask(body=msgspec.to_builtins(shop.world.order(uuid4().hex)))


@makes("orders.reject")
async def _reject(shop: Shop) -> Ask:
    return Ask(path=await shop.at(released), body={"location": shop.world.location})


@makes("orders.reject_many")
async def _reject_many(shop: Shop) -> Ask:
    work = await shop.at(released)
    return Ask(body={"order_id": work["order_id"], "location": shop.world.location})


@makes("fulfillment_orders.ship")
async def _ship(shop: Shop) -> Ask:
    return Ask(path=await shop.at(packed), body=_number())


@makes("fulfillment_orders.ship_many")
async def _ship_many(shop: Shop) -> Ask:
    return Ask(body={**await shop.at(packed), **_number()})


@makes("tracking_events.take")
async def _track(shop: Shop) -> Ask:
    _, parcel = await shop.shipped()
    return Ask(
        body={"tracking_number": parcel.tracking_number, "kind": "delivered", "at": f"{shop.then:%Y-%m-%dT%H:%M:%SZ}"}
    )


@makes("stock.adjust")
async def _adjust(shop: Shop) -> Ask:
    return Ask(body={"sku": shop.world.sku, "location": shop.world.location, "delta": 3, "reason": "found"})


@makes("stock.count")
async def _count(shop: Shop) -> Ask:
    return Ask(body={"sku": shop.world.skus[1], "location": shop.world.location, "on_hand": 7})


@makes("stock.set_aside")
async def _set_aside(shop: Shop) -> Ask:
    where = {"sku": shop.world.sku, "location": shop.world.location}
    return Ask(body={**where, "quantity": 1, "condition": "damaged"})


@makes("stock.restore", "stock.scrap")
async def _set_aside_before(shop: Shop) -> Ask:
    ask = await _set_aside(shop)
    await shop.do("/v1/set_asides", ask.body)
    return ask


@makes("bins.move")
async def _move(shop: Shop) -> Ask:
    place = await _with_bins(shop)
    await shop.do("/v1/bins", {"code": "shelf", "location": place})
    await shop.do("/v1/receipts", {"sku": shop.world.sku, "location": place, "quantity": 5})
    return Ask(body={"location": place, "sku": shop.world.sku, "to_bin": "shelf", "quantity": 1})


async def _with_bins(shop: Shop) -> str:
    """The code of a new location that has bins."""
    code = f"l{uuid4().hex}"
    where = {"latitude": 39.9, "longitude": -83.0, "timezone": "America/New_York"}
    await shop.do(
        "/v1/locations",
        {
            "code": code,
            "name": code,
            "type": "warehouse",
            "country": "US",
            "postal_code": "43215",
            "bins": True,
            **where,
        },
    )
    return code


@makes("bins.upsert", "bins.upsert_by_post")
async def _bin(shop: Shop) -> Ask:
    return Ask(body={"code": "shelf", "location": await _with_bins(shop)})


@makes("kits.upsert", "kits.upsert_by_post")
async def _kit(shop: Shop) -> Ask:
    sku = f"k{uuid4().hex}"
    await shop.do("/v1/skus", {"code": sku, "name": "Kit", "weight_grams": 1})
    return Ask(body={"sku": sku, "components": [{"sku": shop.world.sku, "quantity": 2}]})


@makes(*(f"{noun}.{verb}" for noun in ("buffers", "channel_allocations") for verb in ("upsert", "upsert_by_post")))
async def _rule(shop: Shop) -> Ask:
    sku = f"k{uuid4().hex}"
    await shop.do("/v1/skus", {"code": sku, "name": "Ruled", "weight_grams": 1})
    return Ask(body={"code": f"r{sku}", "channel": shop.world.channel, "sku": sku, "units": 1})


@makes("low_stock_levels.upsert", "low_stock_levels.upsert_by_post")
async def _low(shop: Shop) -> Ask:
    rule = (await _rule(shop)).body
    return Ask(body={name: rule[name] for name in ("code", "sku", "units")})


@makes("capacity_days.delete")
async def _day(shop: Shop) -> Ask:
    where = {"location": shop.world.locations[-1], "ship_on": shop.new()["ship_on"]}
    await shop.do("/v1/capacity_days", {**where, "orders": 1000})
    return Ask(path=where)


@makes("carrier_pickups.delete")
async def _pickup(shop: Shop) -> Ask:
    new = shop.new()
    when = {"location": new["location"], "carrier_service": new["carrier_service"], "working_days": [1], "at": "16:00"}
    await shop.do("/v1/carrier_pickups", {"code": new["code"], **when})
    return Ask(path={"carrier_pickups": new["code"]})


@makes("count_sheets.make")
async def _sheet(shop: Shop) -> Ask:
    plan = await shop.rule("count_plans", location=shop.world.location)
    return Ask(body={"plan": plan["code"], "skus": [shop.world.sku]})


@makes("count_sheets.count")
async def _enter(shop: Shop) -> Ask:
    return Ask(path=await shop.sheet(), body={"counts": [{"sku": shop.world.skus[1], "counted": 1}]})


@makes("buffers.delete")
async def _buffer(shop: Shop) -> Ask:
    return Ask(path=await shop.rule("buffers", location=shop.world.location, units=1))


@makes("channel_allocations.delete")
async def _allocation(shop: Shop) -> Ask:
    fields = {"channel": shop.world.channel, "sku": shop.world.sku, "units": 1}
    return Ask(path=await shop.rule("channel_allocations", **fields))


@makes("low_stock_levels.delete")
async def _level(shop: Shop) -> Ask:
    return Ask(path=await shop.rule("low_stock_levels", sku=shop.world.sku, units=1))


@makes("closures.delete")
async def _closure(shop: Shop) -> Ask:
    fields = {"location": shop.world.locations[-1], "starts_at": LATE, "reason": "stocktaking"}
    return Ask(path=await shop.rule("closures", **fields))


@makes("keys.revoke")
async def _revoke(shop: Shop) -> Ask:
    made = await shop.do("/v1/keys", {"name": "till", "roles": ["read"]})
    return Ask(path={"key_id": made["key"]["key_id"]})


@makes("keys.make")
async def _key(shop: Shop) -> Ask:
    return Ask(body={"name": "till", "roles": ["read"]})


@makes("jobs.start")
async def _job(shop: Shop) -> Ask:
    return Ask(body={"kind": "cancel_orders", "orders": [await _order(shop)], "reason": "fraud"})


@makes("delayed_commands.start")
async def _later(shop: Shop) -> Ask:
    return Ask(body={"kind": "release_orders", "parameters": {"orders": [await _order(shop)]}, "delay_seconds": 200})


@makes("flows.draft")
async def _flow(shop: Shop) -> Ask:
    return Ask(text=packaged())


@makes("flows.activate")
async def _activate(shop: Shop) -> Ask:
    sent = {**shop.header, "content-type": "application/yaml"}
    answer = await shop.client.post("/v1/flows", content=packaged(), headers=sent)
    return Ask(path={"version": answer.json()["version"]})


@makes("profiles.draft")
async def _profile(shop: Shop) -> Ask:
    drafted = await shop.drafted()
    name = drafted["name"]
    return Ask(
        text=f"name: {name}\nfor: {{channels: [{name}]}}\nstrategies:\n  - name: s\n    ranked: [{{location: [{shop.world.location}]}}]\n"
    )


@makes("subscriptions.make")
async def _follow(shop: Shop) -> Ask:
    return Ask(body={"name": f"s{uuid4().hex}"})


async def ask_for(shop: Shop, one: Sample) -> Ask:
    """A request of an operation that changes something that is there."""
    if make := MAKES.get(one.operation.name):
        return await make(shop)
    return Ask(path=shop.codes, body=one.item(shop.new()))
