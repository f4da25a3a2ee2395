"""Which SKUs are no longer sold, kept in memory for one revision."""

from __future__ import annotations

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements

sql = statements("ordino.catalog")


async def retired(tx: Tx) -> frozenset[int]:
    """The ids of the SKUs whose ``active`` is false, as this transaction sees them."""
    return await kept.current(tx, "retired", _load)


async def _load(tx: Tx) -> frozenset[int]:
    return frozenset([row["sku_id"] for row in await sql.retired_skus(tx)])
