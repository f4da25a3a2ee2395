"""SKUs by their codes. A code names the same SKU for ever (CAT-1), so a process keeps what it has found. What a transaction has
just created is not kept: it may be rolled back, and the code then belongs to another SKU.
"""

from __future__ import annotations

from collections.abc import Iterable

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements

sql = statements("ordino.catalog")
KEPT = 2_000_000
CREATED = "sku_ids"
"""Among what has ``changed`` in a transaction that creates SKUs."""


async def sku_ids(tx: Tx, codes: Iterable[str]) -> dict[str, int]:
    """Code -> key, of the SKUs that exist."""
    kept: dict[str, int] = {} if CREATED in tx.changed else tx.kept.setdefault("sku_ids", (0, {}))[1]
    wanted = set(codes)
    if missing := [code for code in wanted if code not in kept]:
        if len(kept) > KEPT:
            kept.clear()
            missing = list(wanted)
        for row in await sql.sku_ids(tx, codes=missing):
            kept[row["code"]] = row["sku_id"]
    return {code: kept[code] for code in wanted if code in kept}


async def sku_id_of(tx: Tx, code: str) -> int:
    """Raises ``NotFound``."""
    found = await sku_ids(tx, [code])
    if code not in found:
        raise NotFound(f"There is no SKU {code!r}.")
    return found[code]
