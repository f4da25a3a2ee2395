"""The time at which goods are expected is one that can be: a year overdue at most, and ten years ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordino.core.database import Database
from ordino.core.times import AHEAD_DAYS, OVERDUE_DAYS
from ordino.core.upserts import Created, NotUpserted
from ordino.inventory.incoming import Incoming, upsert_incoming
from ordino.inventory.transfers import NewTransfer, TransferLine, TransferRefused, request
from steps import in_one, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
FIRST, LAST = AT - timedelta(days=OVERDUE_DAYS), AT + timedelta(days=AHEAD_DAYS)
A_SECOND = timedelta(seconds=1)
BEYOND = [datetime(1970, 1, 1, tzinfo=UTC), FIRST - A_SECOND, LAST + A_SECOND]


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    return await small_world(database)


async def test_supply_is_announced_for_a_time_that_can_be(database: Database, world: World) -> None:
    def announced(expected_at: datetime) -> Incoming:
        name = f"PO {expected_at.isoformat()}"
        return Incoming(sku=world.sku, location=world.location, document=name, quantity=1, expected_at=expected_at)

    for outcome in await in_one(database, upsert_incoming, [announced(time) for time in BEYOND], AT):
        assert sure(outcome, NotUpserted).pointer == "/expected_at"
    for outcome in await in_one(database, upsert_incoming, [announced(time) for time in (FIRST, LAST)], AT):
        sure(outcome, Created)


async def test_a_transfer_is_expected_at_a_time_that_can_be(database: Database, world: World) -> None:
    def wanted(expected_at: datetime) -> NewTransfer:
        lines = [TransferLine(sku=world.sku, quantity=1)]
        return NewTransfer(origin="loc-1", destination="loc-2", lines=lines, expected_at=expected_at)

    for outcome in await in_one(database, request, [wanted(time) for time in BEYOND], AT):
        assert sure(outcome, TransferRefused).pointer == "/expected_at"
    for outcome in await in_one(database, request, [wanted(time) for time in (FIRST, LAST)], AT):
        assert not isinstance(outcome, TransferRefused)
