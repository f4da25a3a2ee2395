"""Returns: what may come back, what becomes of it, and what is given back for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordino.aftercare.api import routes
from ordino.aftercare.model import (
    Authorized,
    NewReturn,
    Received,
    ReceivedLine,
    ReturnLine,
    ReturnReceipt,
    ReturnRefusal,
)
from ordino.aftercare.returns import authorize, receive
from ordino.core.database import Database
from steps import assert_clean, client, delivered, events, in_one, line, shipped, stock, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, stock={("sku-1", "loc-1"): 1000})


def wanted(order_id: UUID, quantity: int, line_no: int = 1, **more: Any) -> NewReturn:
    return NewReturn(
        order_id=order_id, lines=[ReturnLine(line_no=line_no, quantity=quantity, reason="unwanted")], **more
    )


def came(order_id: UUID, return_id: UUID, restocked: int = 0, scrapped: int = 0) -> ReturnReceipt:
    lines = [ReceivedLine(line_no=1, restocked=restocked, scrapped=scrapped)]
    return ReturnReceipt(order_id=order_id, return_id=return_id, lines=lines)


async def test_units_come_back_and_are_worth_what_was_charged(database: Database, world: World) -> None:
    """RET-2, RET-3, RET-4."""
    here = (world.sku_ids["sku-1"], world.location_ids["loc-1"])
    order = world.order("back", 3, unit_price_minor=333, tax_minor=1, shipping_minor=500)
    order_id, _ = await delivered(database, order, AT)
    before = await stock(database, *here)
    [allowed] = await in_one(database, authorize, [wanted(order_id, 3)], AT)
    return_id = sure(allowed, Authorized).return_id
    assert allowed.location == "loc-1"
    first, second = await in_one(
        database, receive, [came(order_id, return_id, restocked=1), came(order_id, return_id, scrapped=2)], AT
    )
    assert sure(first, Received).refund_minor + sure(second, Received).refund_minor == 1000
    assert second.status == "returned"
    assert (await stock(database, *here))[0] == before[0] + 1
    refunds = [fact["refund_minor"] for fact in await events(database, order_id, "return_received")]
    assert sum(refunds) == 1000
    arrivals = await database.pool.fetchval("SELECT count(*) FROM core.events WHERE kind = 'stock_received'")
    assert arrivals == 1
    await assert_clean(database)


async def test_no_more_is_authorized_than_was_delivered(database: Database, world: World) -> None:
    """RET-1."""
    order_id, _ = await delivered(database, world.order("too many", 3), AT)
    outcomes = await in_one(
        database, authorize, [wanted(order_id, 4), wanted(order_id, 2), wanted(order_id, 2), wanted(order_id, 1)], AT
    )
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [
        ReturnRefusal.TOO_MANY,
        None,
        ReturnRefusal.REPEATED,
        None,
    ]
    [more] = await in_one(database, authorize, [wanted(order_id, 1)], AT)
    assert more.reason is ReturnRefusal.TOO_MANY
    return_id = outcomes[1].return_id
    twice = came(order_id, return_id, restocked=1)
    received = await in_one(database, receive, [twice, twice, came(order_id, return_id, restocked=3)], AT)
    assert [getattr(outcome, "reason", None) for outcome in received] == [
        None,
        ReturnRefusal.REPEATED,
        ReturnRefusal.TOO_MANY,
    ]
    assert (await line(database, order_id))["returned"] == 1
    await assert_clean(database)


async def test_what_cannot_be_returned_is_refused(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("refused", 2), AT)
    underway, _ = await shipped(database, world.order("underway", 2), AT)
    outcomes = await in_one(
        database,
        authorize,
        [
            wanted(uuid4(), 1),
            wanted(order_id, 1, location="nowhere"),
            wanted(order_id, 1, line_no=7),
            wanted(order_id, 0),
            wanted(underway, 1),
        ],
        AT,
    )
    assert [outcome.reason for outcome in outcomes] == [
        ReturnRefusal.UNKNOWN,
        ReturnRefusal.UNKNOWN,
        ReturnRefusal.UNKNOWN,
        ReturnRefusal.INVALID,
        ReturnRefusal.TOO_MANY,
    ]
    assert outcomes[2].pointer == "/lines/0/line_no"
    window = await database.pool.fetchval("SELECT max(return_window_days) FROM catalog.sellers")
    [late] = await in_one(database, authorize, [wanted(order_id, 1)], AT + timedelta(days=window, seconds=1))
    assert late.reason is ReturnRefusal.TOO_LATE
    receipts = [came(order_id, uuid4(), restocked=1)]
    [unknown] = await in_one(database, receive, receipts, AT)
    assert unknown.reason is ReturnRefusal.UNKNOWN


async def test_over_http(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("http", 2), datetime.now(UTC))
    async with client(database, routes) as http:
        body = {"lines": [{"line_no": 1, "quantity": 2, "reason": "wrong_item"}]}
        made = await http.post(f"/v1/orders/{order_id}/returns", json=body)
        assert made.status_code == 201
        again = await http.post(f"/v1/orders/{order_id}/returns", json=body)
        assert (again.status_code, again.json()["type"]) == (409, "urn:ordino:problem:too_many")
        where = f"/v1/orders/{order_id}/returns/{made.json()['return_id']}/receipts"
        arrived = await http.post(where, json={"lines": [{"line_no": 1, "restocked": 1, "scrapped": 1}]})
        assert arrived.json()["refund_minor"] == 2000
        assert (await http.post(where, json={"lines": []})).status_code == 400
        [shown] = (await http.get(f"/v1/orders/{order_id}/returns")).json()["returns"]
        assert (shown["lines"][0]["restocked"], shown["lines"][0]["scrapped"]) == (1, 1)
        listed = await http.post("/v1/returns", json={"returns": [{"order_id": str(uuid4()), **body}]})
        assert listed.json()["outcomes"][0]["reason"] == "unknown"
