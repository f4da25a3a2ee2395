"""What decisions are made on: what is free of some SKUs, and the rules over it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.inventory import expiry, ledger
from ordino.inventory.rules import Book, Position, RuleKind, book, general
from ordino.inventory.waiting import Own, Waiter, Waiting, claimed, decoded, waiting_of

sql = statements("ordino.inventory")


class Shelf(Struct, frozen=True, kw_only=True):
    """``free`` (SKU id -> location id -> units) is what may be decided on, without what is ``claimed`` by orders that wait.
    ``waiting`` is who waits, where something is free.
    """

    free: dict[int, dict[int, int]]
    book: Book | None
    claimed: Mapping[Position, int]
    waiting: Sequence[Waiting]

    @property
    def seen(self) -> dict[Waiter, int]:
        """How often units had become free for who waits; without SKUs of which something was left to who waits: whoever was
        decided on has not been offered that.
        """
        left = {sku_id for sku_id, _ in self.claimed}
        return {(row.sku_id, row.channel_id): row.freed for row in self.waiting if row.sku_id not in left}


async def must_hold(tx: Tx, sku_ids: Collection[int], *, at: datetime) -> bool:
    """Must what is decided on these SKUs be held from the start, before anything is read that it rests on?

    After a race was lost it must. So it must where units are kept for channels: what one channel may have depends on what the
    others take meanwhile; and where expired lots lie: those are on hand, too, and may not make up for good units that somebody
    else takes.
    """
    if tx.careful or RuleKind.ALLOCATION in (await general(tx)).kinds:
        return True
    return bool(await expiry.expired_lots(tx, sku_ids, at=at))


async def on_shelf(
    tx: Tx,
    sku_ids: Sequence[int],
    *,
    at: datetime,
    lock: bool = False,
    decides: bool = True,
    first: bool = False,
    own: Own | None = None,
) -> Shelf:
    """Free units and rules, both as they stand.

    ``lock`` holds the positions until the transaction ends; who decides asks ``must_hold`` first whether that has to be. Units that
    orders wait for, and have not been offered yet, are left out; unless who asks is served ``first``, or as far as they are the
    asker's ``own``. For who decides nothing, what holds have that have expired is free, as it would be for whoever asked and wrote.
    """
    if lock:
        free, lapsed = await ledger.free(tx, sku_ids, at=at, lock=True), []
        waiting = await waiting_of(tx, free) if free else []
    else:
        ids = list(set(sku_ids))
        rows = await (sql.shelf(tx, sku_ids=ids) if decides else sql.shelf_at(tx, sku_ids=ids, at=at))
        lapsed = [row["sku_id"] for row in rows if row["lapsed"]]
        free = {row["sku_id"]: dict(zip(row["location_ids"], row["free"], strict=True)) for row in rows}
        waiting = [one for row in rows if row["waiting"] is not None for one in decoded(row["waiting"])]
        if not decides:
            await expiry.leave_out(tx, free, at=at)
    rules = await book(tx, sku_ids, at=None if decides else at)
    if first or not waiting:
        return Shelf(free=free, book=rules, claimed={}, waiting=waiting)
    claims = await claimed(tx, waiting, free, rules, at=at, own=own, lapsed=lapsed)
    for (sku_id, location_id), units in claims.items():
        free[sku_id][location_id] -= units
    return Shelf(free=free, book=rules, claimed=claims, waiting=waiting)
