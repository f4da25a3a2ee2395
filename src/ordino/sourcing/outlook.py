"""What is expected to be asked of positions, for the profiles that look at it."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.sourcing.model import Outlook

sql = statements("ordino.sourcing")
NOTHING = Outlook()


async def outlook_for(tx: Tx, wanted: bool, sku_ids: Sequence[int]) -> Outlook:
    """Weekly demand and prices of these SKUs' positions; nothing is read unless a profile asks for it."""
    if not wanted:
        return NOTHING
    rows = await sql.outlook(tx, sku_ids=list(sku_ids))
    return Outlook(
        {(row["sku_id"], row["location_id"]): row["weekly_units"] for row in rows},
        {(row["sku_id"], row["location_id"]): row["price_minor"] for row in rows if row["price_minor"]},
        {(row["sku_id"], row["location_id"]): row["currency"] for row in rows if row["currency"]},
    )
