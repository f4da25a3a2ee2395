"""What decisions are made on: what is free of some SKUs, and the rules over it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.core.database import Tx
from ordino.inventory import expiry, ledger
from ordino.inventory.rules import Book, RuleKind, book, general


async def on_shelf(
    tx: Tx, sku_ids: Sequence[int], *, at: datetime, lock: bool = False, decides: bool = True
) -> tuple[dict[int, dict[int, int]], Book | None]:
    """Free units (SKU id -> location id -> units) and rules, both as they stand.

    ``lock`` holds the positions until the transaction ends. Where units are kept for channels, they are held anyway: what one
    channel may have depends on what the others take meanwhile; so are positions of SKUs of which expired lots lie somewhere, since
    those are on hand, too, and may not make up for good units that somebody else takes; unless nothing is decided.
    """
    if decides and RuleKind.ALLOCATION in (await general(tx)).kinds:
        tx.careful = True
    if decides and not (lock or tx.careful) and await expiry.expired_lots(tx, sku_ids, at=at):
        tx.careful = True
    free = await ledger.free(tx, sku_ids, at=at, lock=lock or tx.careful)
    return free, await book(tx, sku_ids)
