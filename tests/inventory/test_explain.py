"""Why so many units may be promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from ordino.catalog.model import Component, Kit
from ordino.catalog.upsert import upsert_kits
from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.inventory.availability import Ask, available
from ordino.inventory.explain import Explanation, explain
from ordino.inventory.holds import Held, HoldLine, NewHold, hold
from ordino.inventory.rules import Allocation, Buffer, upsert_allocations, upsert_buffers
from ordino.network.closures import Closure, upsert_closures
from steps import in_one, placed, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", skus=3, locations=2, stock=50, buffer=1)


async def why(database: Database, sku: str, channel: str, at: datetime = AT) -> Explanation:
    found = await database.read(lambda tx: explain(tx, Ask(sku, channel, None), at=at))
    [plain] = await database.read(lambda tx: available(tx, [Ask(sku, channel, None)], at=at))
    assert plain.available == found.available  # type: ignore[union-attr]
    return found


async def test_every_number_is_explained(database: Database, world: World) -> None:
    order_id = await placed(database, world.order("ten", 10), AT)
    [held] = await in_one(
        database, hold, [NewHold(channel=world.channel, lines=[HoldLine(sku=world.sku, quantity=4)])], AT
    )
    hold_id = sure(held, Held).hold_id
    other = world.channels["drop"]
    rules = [Allocation(code=f"web {world.sku}", channel=other, sku=world.sku, location=world.location, units=6)]
    await in_one(database, upsert_allocations, rules, AT)
    await in_one(database, upsert_buffers, [Buffer(code=f"safe {world.sku}", sku=world.sku, percent=10)], AT)
    outage = Closure(code=f"out {world.sku}", location=world.locations[1], reason="flood")
    await in_one(database, upsert_closures, [outage], AT)
    found = await why(database, world.sku, world.channel)
    here, there = found.of[0].locations
    assert (here.on_hand, here.reserved, here.buffer, here.buffer_rule) == (50, 10, 5, f"safe {world.sku}")
    assert [(by.order_id, by.line_no, by.quantity) for by in here.reserved_by] == [(order_id, 1, 10)]
    assert [(kept.channel, kept.units) for kept in here.kept] == [(other, 6)]
    assert here.available == found.available == 29
    assert (
        here.why
        == f"50 on hand - 10 reserved - 5 buffer (safe {world.sku}) - 6 kept for {other} (web {world.sku}) = 29"
    )
    assert (there.available, there.why, there.reserved) == (0, "nothing: closed: flood", 4)
    assert [(by.hold_id, by.quantity) for by in there.reserved_by] == [(hold_id, 4)]
    later = await why(database, world.sku, world.channel, AT + timedelta(hours=1))
    assert (later.of[0].locations[1].reserved, later.of[0].locations[1].reserved_by) == (0, [])  # expired


async def test_a_kit_is_explained_by_its_components(database: Database, world: World) -> None:
    parts = [Component(sku=world.skus[1], quantity=2), Component(sku=world.skus[2], quantity=5)]
    await in_one(database, upsert_kits, [Kit(sku=world.sku, components=parts)], AT)
    found = await why(database, world.sku, world.channel)
    assert found.available == 2 * (49 // 5)
    assert [(part.sku, part.each, part.locations[0].available) for part in found.of] == [
        (world.skus[1], 2, 49), (world.skus[2], 5, 49),
    ]  # fmt: skip


async def test_what_is_unknown_is_said(database: Database, world: World) -> None:
    for ask in (Ask("nothing", world.channel, None), Ask(world.sku, "nowhere", None)):
        with pytest.raises(NotFound):
            await database.read(lambda tx, ask=ask: explain(tx, ask, at=AT))  # type: ignore[misc]
