"""Holds are narrowed by the seller of their channel."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.catalog.scopes import SELLERS
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.web.scopes import Key, Narrowing, Owner

sql = statements("ordino.inventory")


async def _holds(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.sellers_of_holds(tx, hold_ids=sorted({hold_id for (hold_id,) in keys}))
    of = {row["hold_id"]: row["seller"] for row in rows}
    return [[Owner(seller=of[hold_id])] if hold_id in of else [] for (hold_id,) in keys]


BY_HOLD = Narrowing(name="hold", dimensions=SELLERS, names=("hold_id",), owners=_holds, missing="There is no hold {0}.")
