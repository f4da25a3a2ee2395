"""A return that will not come is cancelled: what came stays, and what is cancelled can be authorized again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from ordino.aftercare.api import routes
from ordino.aftercare.model import (
    Authorized,
    Received,
    ReturnCancellation,
    ReturnCancelled,
    ReturnRefusal,
    ReturnRefused,
)
from ordino.aftercare.returns import authorize, cancel, receive, returns_of
from ordino.core.database import Database
from ordino.insights.kpis import kpis
from sending_back import called_off, came, wanted
from steps import assert_clean, client, delivered, events, in_one, line, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database, skus=2, stock=1000)


async def test_a_cancelled_return_blocks_nothing(database: Database, world: World) -> None:
    """RET-6."""
    order_id, _ = await delivered(database, world.order("blocked", 3), AT)
    [first] = await in_one(database, authorize, [wanted(order_id, (1, 3))], AT)
    again = wanted(order_id, (1, 2))
    assert (await in_one(database, authorize, [again], AT))[0].reason is ReturnRefusal.TOO_MANY
    [done] = await in_one(database, cancel, [called_off(first)], AT)
    assert [(unit.line_no, unit.quantity) for unit in sure(done, ReturnCancelled).cancelled] == [(1, 3)]
    late, none = await in_one(database, receive, [came(first, 1, 1), came(first, 1, 0, 1)], AT)
    assert (late.reason, none.reason) == (ReturnRefusal.TOO_MANY, ReturnRefusal.TOO_MANY)
    [second] = await in_one(database, authorize, [again], AT)
    sure((await in_one(database, receive, [came(second, 1, 2)], AT))[0], Received)
    [said] = await events(database, order_id, "return_cancelled")
    assert said["return_id"] == str(first.return_id)
    assert said["lines"] == [{"line_no": 1, "component": None, "quantity": 3}]
    await assert_clean(database)


async def test_what_was_received_stays_received(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("partly", 4), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 4))], AT)
    sure((await in_one(database, receive, [came(allowed, 1, 1)], AT))[0], Received)
    some, rest, nothing = await in_one(
        database, cancel, [called_off(allowed, (1, 1)), called_off(allowed), called_off(allowed, (1, None))], AT
    )
    assert [sure(one, ReturnCancelled).cancelled[0].quantity for one in (some, rest)] == [1, 2]
    assert sure(nothing, ReturnRefused).reason is ReturnRefusal.TOO_LATE
    [shown] = (await database.read(lambda tx: returns_of(tx, order_id))).returns
    assert (shown.lines[0].authorized, shown.lines[0].restocked, shown.lines[0].cancelled) == (4, 1, 3)
    assert (await line(database, order_id))["returned"] == 1
    await assert_clean(database)


async def test_what_cannot_be_cancelled_is_refused(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("wrong", {world.skus[0]: 2, world.skus[1]: 1}), AT)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 2), (2, 1))], AT)
    one = called_off(allowed, (1, 1))
    outcomes = await in_one(
        database,
        cancel,
        [
            ReturnCancellation(order_id=order_id, return_id=uuid4(), all=True),
            ReturnCancellation(order_id=order_id, return_id=allowed.return_id),
            called_off(allowed, (7, 1)),
            called_off(allowed, (1, 1, world.skus[1])),
            called_off(allowed, (1, 1), (1, 1)),
            called_off(allowed, (1, 3)),
            called_off(allowed, (2, 1), (1, 3)),
            one,
            one,
        ],
        AT,
    )
    assert [(getattr(outcome, "reason", None), getattr(outcome, "pointer", None)) for outcome in outcomes] == [
        (ReturnRefusal.UNKNOWN, "/return_id"),
        (ReturnRefusal.INVALID, ""),
        (ReturnRefusal.UNKNOWN, "/lines/0/line_no"),
        (ReturnRefusal.UNKNOWN, "/lines/0/component"),
        (ReturnRefusal.INVALID, "/lines/1/line_no"),
        (ReturnRefusal.TOO_MANY, "/lines/0/quantity"),
        (ReturnRefusal.TOO_MANY, "/lines/1/quantity"),
        (None, None),
        (ReturnRefusal.REPEATED, ""),
    ]
    [shown] = (await database.read(lambda tx: returns_of(tx, order_id))).returns
    assert [part.cancelled for part in shown.lines] == [1, 0]  # what is refused changes nothing


async def test_a_cancelled_return_spoils_no_kpi(database: Database, world: World) -> None:
    """A wrong item that is kept after all was picked right, and its order is perfect."""
    at = AT + timedelta(days=400)
    order_id, _ = await delivered(database, world.order("kept", 1), at)
    [allowed] = await in_one(database, authorize, [wanted(order_id, (1, 1))], at)
    await database.pool.execute("UPDATE aftercare.return_lines SET reason = 'wrong_item' WHERE order_id = $1", order_id)

    async def told() -> list[float | None]:
        since, until = at - timedelta(days=1), at + timedelta(days=1)
        found = await database.read(lambda tx: kpis(tx, since=since, until=until))
        values = {one.name: one.value for one in found}
        return [values["picking_accuracy"], values["perfect_order_rate"]]

    assert await told() == [0, 0]
    sure((await in_one(database, cancel, [called_off(allowed)], at))[0], ReturnCancelled)
    assert await told() == [100, 100]


async def test_over_http(database: Database, world: World) -> None:
    order_id, _ = await delivered(database, world.order("http", 2), datetime.now(UTC))
    async with client(database, routes) as http:
        body = {"lines": [{"line_no": 1, "quantity": 2, "reason": "unwanted"}]}
        made = (await http.post(f"/v1/orders/{order_id}/returns", json=body)).json()
        where = f"/v1/orders/{order_id}/returns/{made['return_id']}/cancellation"
        assert (await http.post(where)).status_code == 400
        assert (await http.post(where, json={"all": True, "lines": []})).status_code == 400
        more = await http.post(where, json={"lines": [{"line_no": 1, "quantity": 3}]})
        assert (more.status_code, more.json()["type"]) == (409, "urn:ordino:problem:too_many")
        some = await http.post(
            where,
            json={"lines": [{"line_no": 1, "quantity": 1}], "reason": "kept_one", "note": "the customer kept one"},
        )
        assert (some.status_code, some.json()["cancelled"]) == (200, [{"line_no": 1, "component": None, "quantity": 1}])
        assert (await http.post(where, json={"all": True})).status_code == 200
        assert (await http.post(where, json={"all": True})).status_code == 409
        one = {"order_id": str(order_id), "return_id": str(uuid4()), "all": True}
        listed = await http.post("/v1/return_cancellations", json={"return_cancellations": [one]})
        assert listed.json()["outcomes"][0]["reason"] == "unknown"
        [shown] = (await http.get(f"/v1/orders/{order_id}/returns")).json()["returns"]
        assert shown["lines"][0]["cancelled"] == 2
        assert sure((await in_one(database, authorize, [wanted(order_id, (1, 2))], datetime.now(UTC)))[0], Authorized)
