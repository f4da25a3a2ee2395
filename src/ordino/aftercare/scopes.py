"""Receipts of returns are narrowed by the seller of the order, and by where the units arrive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.orders.scopes import sellers_of
from ordino.web.scopes import Dimension, Key, Narrowing, Owner

sql = statements("ordino.aftercare")


async def _receipts(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    """Units arrive where the receipt says, or else wherever lines of the return are to go: all of these must be reached."""
    of = await sellers_of(tx, [order_id for order_id, _, _ in keys])
    rows = await sql.places_of_returns(tx, order_ids=sorted(of))
    places: dict[tuple[UUID, UUID], list[str]] = defaultdict(list)
    for row in rows:
        places[row["order_id"], row["return_id"]].append(row["location"])
    return [
        [Owner(seller=of[order_id], location=place) for place in ([said] if said else places[order_id, return_id])]
        if (order_id, return_id) in places
        else []
        for order_id, return_id, said in keys
    ]


BY_RECEIPT = Narrowing(
    name="return at a location",
    dimensions=frozenset(Dimension),
    names=("order_id", "return_id", "location"),
    owners=_receipts,
)
