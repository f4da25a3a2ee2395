"""``ordino orders`` and ``ordino kpis`` as people type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from ordino.cli.orders import gathered, units_of
from ordino.cli.running import prepare
from ordino.core.database import Database
from ordino.core.errors import Invalid
from ordino.flows.versions import flow_plans
from ordino.tracking.model import Kind, Recorded, TrackingEvent
from ordino.tracking.take_events import take_events
from processes import CEILING_SECONDS
from steps import assert_clean, delivered, in_one, line, placed, shipped, stock, sure
from world import World, small_world

Run = Callable[..., str]
THEN = datetime.now(UTC) - timedelta(days=2)


@pytest.fixture
async def world(database: Database, database_url: str) -> World:
    await prepare(database_url)
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=1, locations=2, stock=20)


@pytest.fixture
async def flowing(database_url: str, world: World) -> AsyncIterator[Database]:
    """Orders that are placed here follow the active flow, so that commands can record their events."""
    async with await Database.open(database_url, plans=flow_plans()) as opened:
        yield opened


@pytest.fixture
def ordino(database_url: str) -> Run:
    def run(*words: object, fails: bool = False, body: object = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ordino", *map(str, words)],
            input=None if body is None else json.dumps(body),
            env={**os.environ, "ORDINO_DATABASE_URL": database_url, "COLUMNS": "250"},
            capture_output=True,
            text=True,
            timeout=CEILING_SECONDS,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr + done.stdout if fails else done.stdout

    return run


async def test_money_is_refunded_without_goods(flowing: Database, world: World, ordino: Run) -> None:
    order = structs.replace(world.order("refunded", 2), shipping_minor=500, total_minor=2500)
    order_id, _ = await delivered(flowing, order, THEN)
    said = ordino(
        "orders", "refund", order_id, "--reason", "late", "--line", "1=200", "--shipping", 100, "--goodwill", 30
    )
    assert "3.30 USD will be refunded. 21.70 USD of the order are left." in said
    found = json.loads(
        ordino("orders", "refund", order_id, "--reason", "late", "--all-shipping", "--note", "x", "--json")
    )
    assert found["outcome"] == "requested"
    [first, second] = json.loads(ordino("orders", "refunds", order_id, "--json"))
    assert (first["amount_minor"], first["goodwill_minor"], second["note"]) == (330, 30, "x")
    assert first["asked_by"] == "ordino orders"
    table = ordino("orders", "refunds", order_id)
    assert "3.30 USD" in table
    assert "not refunded yet" in table
    too_much = ordino("orders", "refund", order_id, "--reason", "late", "--line", "1=1900", fails=True)
    assert "Only 17.7" in too_much
    assert "of line 1 can still be refunded, not 19.00 USD." in too_much
    assert "write LINE=AMOUNT" in ordino("orders", "refund", order_id, "--reason", "x", "--line", "1", fails=True)
    assert "There is no order" in ordino("orders", "refunds", uuid4(), fails=True)
    await assert_clean(flowing)


async def test_goods_are_taken_back(flowing: Database, world: World, ordino: Run) -> None:
    order_id, _ = await delivered(flowing, world.order("taken back", 5), THEN)
    here = world.locations[0]
    said = ordino("orders", "return", order_id, "1=4", "--reason", "changed_mind")
    assert f"is authorized: 4 units of line 1 to {here}." in said
    return_id = said.split()[1]
    came = ordino("orders", "receive-return", order_id, return_id, "--restocked", "1=2", "--scrapped", "1=1")
    assert "Restocked: 2; scrapped: 1. 30.00 USD will be refunded." in came
    assert "authorize the others first" in ordino(
        "orders", "receive-return", order_id, return_id, "--restocked", "1=2", fails=True
    )
    assert "--restocked LINE=UNITS" in ordino("orders", "receive-return", order_id, return_id, fails=True)
    assert "Cancelled: 1 unit." in ordino("orders", "cancel-return", order_id, return_id, "--all")
    assert "30.00 USD" in ordino("orders", "returns", order_id)
    [one] = json.loads(ordino("orders", "returns", order_id, "--json"))["returns"]
    [part] = one["lines"]
    assert [part[name] for name in ("authorized", "restocked", "scrapped", "cancelled")] == [4, 2, 1, 1]
    [again] = json.loads(
        ordino(
            "orders",
            "apply",
            "returns",
            body={"order_id": str(order_id), "lines": [{"line_no": 1, "quantity": 1, "reason": "late"}]},
        )
    )
    assert again["outcome"] == "authorized"
    assert "too_many" in ordino(
        "orders",
        "apply",
        "returns",
        fails=True,
        body=[{"order_id": str(order_id), "lines": [{"line_no": 1, "quantity": 9, "reason": "late"}]}],
    )
    assert "apply list" in ordino("orders", "apply", "nonsense", fails=True)
    assert (await line(flowing, order_id))["returned"] == 3
    await assert_clean(flowing)


async def test_a_parcel_that_comes_back_is_received(flowing: Database, world: World, ordino: Run) -> None:
    order_id, [sent] = await shipped(flowing, world.order("back", 3), THEN)
    event = TrackingEvent(tracking_number=sent.tracking_number, kind=Kind.RETURNED_TO_SENDER, at=THEN)
    [told] = await in_one(flowing, take_events, [event], THEN)
    sure(told, Recorded)
    assert "returning" in ordino("orders", "parcels", order_id)
    there = world.locations[1]
    before = await stock(flowing, world.sku_ids[world.sku], world.location_ids[there])
    words = ("--restocked", "1=1", "--lost", "1=1", "--then", "refund", "--location", there)
    came = ordino("orders", "receive-parcel", order_id, sent.shipment_id, *words)
    assert "Restocked: 1; scrapped: 0; missing: 1; still to come: 1. 20.00 USD will be refunded" in came
    assert (await stock(flowing, world.sku_ids[world.sku], world.location_ids[there]))[0] == before[0] + 1
    found = json.loads(
        ordino("orders", "receive-parcel", order_id, sent.shipment_id, "--all", "--then", "send_again", "--json")
    )
    assert (found["left"], found["sent_again"], found["parcel"]) == (0, 1, "received_back")
    [parcel] = json.loads(ordino("orders", "parcels", order_id, "--json"))
    assert [(r["restocked"], r["lost"], r["next"]) for r in parcel["receipts"]] == [
        (1, 1, "refund"),
        (1, 0, "send_again"),
    ]
    assert "was already received" in ordino(
        "orders", "receive-parcel", order_id, sent.shipment_id, "--all", "--then", "refund", fails=True
    )
    await assert_clean(flowing)


async def test_a_date_that_was_told_is_recorded(flowing: Database, world: World, ordino: Run) -> None:
    order_id = await placed(flowing, world.order("told", 1), THEN)
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    said = ordino("orders", "tell-date", order_id, when.isoformat())
    assert f"told last: {when:%Y-%m-%d %H:%M} (UTC)." in said
    row = await flowing.pool.fetchrow("SELECT * FROM orders.orders WHERE order_id = $1", order_id)
    assert row["last_promised_at"] == when
    assert row["promised_at"] != when
    assert "is not a time" in ordino("orders", "tell-date", order_id, "soon", fails=True)
    assert "has no parcel" in ordino(
        "orders", "tell-date", order_id, when.isoformat(), "--parcel", UUID(int=7), fails=True
    )


async def test_kpis_and_the_orders_that_they_count_are_shown(flowing: Database, world: World, ordino: Run) -> None:
    order_id, _ = await delivered(flowing, world.order("perfect", 1), THEN)
    late = await placed(flowing, world.order("late", 1), THEN - timedelta(days=20))
    counted = json.loads(ordino("kpis", "orders", "perfect_order_rate", "--json"))
    assert next(one for one in counted if one["order_id"] == str(order_id))["why"] == []
    shown = json.loads(ordino("kpis", "show", "--json"))
    assert len(shown) == 17
    rate = next(kpi for kpi in shown if kpi["name"] == "perfect_order_rate")
    assert (rate["below"], rate["above"]) == (len(counted), sum(not one["why"] for one in counted))
    table = ordino("kpis", "show", "--since", "2026-01-01T00:00:00Z")
    assert "orders delivered without incident / total orders x 100" in table
    assert "fall short" in ordino("kpis", "orders", "perfect_order_rate")
    assert str(late) not in {one["order_id"] for one in counted}  # it has not reached its end
    assert "ask for on_time_shipping_rate or perfect_order_rate" in ordino("kpis", "orders", "scrap_rate", fails=True)
    assert "`since` must be before `until`" in ordino("kpis", "show", "--since", "2099-01-01T00:00:00Z", fails=True)


def test_units_are_said_by_line_and_component() -> None:
    assert units_of("1=2") == {"line_no": 1, "quantity": 2}
    assert units_of("2:a=b:c=3") == {"line_no": 2, "quantity": 3, "component": "a=b:c"}
    for text in ("1", "=1", "x=1", "1=x", "1:=2", "1=-2", ""):
        with pytest.raises(Invalid, match="is not clear"):
            units_of(text)


def test_serial_numbers_join_the_line_that_they_belong_to() -> None:
    lines = gathered({"restocked": ["1=2"], "scrapped": ["1=1", "2=1"]}, {"serials": ["1=A", "1=B"]})
    assert lines == [
        {"line_no": 1, "restocked": 2, "scrapped": 1, "serials": ["A", "B"]},
        {"line_no": 2, "scrapped": 1},
    ]
    with pytest.raises(Invalid, match="must be said once"):
        gathered({"restocked": ["1=1"]}, {"serials": ["2=A"]})
