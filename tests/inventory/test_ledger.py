"""What is held of stock: once, in the order of its keys, whatever is opened meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

from ordino.core.database import Database, Tx
from ordino.inventory import ledger
from ordino.inventory.adjust import Receipt, receive
from steps import in_one
from world import small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def test_a_position_that_is_opened_beside_those_that_are_held_is_held_in_order_by_another_run(
    database: Database,
) -> None:
    """It comes before the one that is held: to lock it, too, might wait for somebody who waits for the other."""
    world = await small_world(database, prefix="opened-", skus=1, stock={("opened-sku-1", "opened-loc-2"): 5})
    sku_id = world.sku_ids[world.sku]
    runs = 0

    async def decide(tx: Tx) -> dict[int, dict[int, int]]:
        nonlocal runs
        runs += 1
        await ledger.hold(tx, [sku_id])
        if runs == 1:
            receipt = Receipt(sku=world.sku, location=world.locations[0], quantity=3)
            await in_one(database, receive, [receipt], AT)
        return await ledger.free(tx, [sku_id], at=AT, lock=True)

    found = await database.transact(decide)
    assert (runs, sorted(found[sku_id].values())) == (2, [3, 5])


async def test_a_position_that_the_transaction_itself_opens_is_held(database: Database) -> None:
    world = await small_world(database, prefix="own-", skus=1, stock=0)
    sku_id = world.sku_ids[world.sku]

    async def bring(tx: Tx) -> dict[int, dict[int, int]]:
        await ledger.hold(tx, [sku_id])
        await receive(tx, [Receipt(sku=world.sku, location=world.locations[0], quantity=3)], at=AT)
        return await ledger.free(tx, [sku_id], at=AT, lock=True)

    assert list((await database.transact(bring))[sku_id].values()) == [3]
