"""What decisions are made on: what is free of some SKUs, and the rules over it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.core.database import Tx
from ordino.inventory import ledger
from ordino.inventory.rules import Book, RuleKind, book, general


async def on_shelf(
    tx: Tx, sku_ids: Sequence[int], *, lock: bool = False, decides: bool = True, at: datetime | None = None
) -> tuple[dict[int, dict[int, int]], Book | None]:
    """Free units (SKU id -> location id -> units) and rules, both as they stand.

    ``lock`` holds the positions until the transaction ends. Where units are kept for channels, they are held anyway: what one
    channel may have depends on what the others take meanwhile; unless nothing is decided. ``at`` is for those who write nothing:
    what holds have that have expired by then is free, as it would be for whoever asked and wrote.
    """
    if decides and RuleKind.ALLOCATION in (await general(tx)).kinds:
        tx.careful = True
    free = await ledger.free(tx, sku_ids, lock=lock or tx.careful, at=at)
    return free, await book(tx, sku_ids, at=at)
