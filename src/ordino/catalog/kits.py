"""What kits are made of, kept in memory for one revision."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements

sql = statements("ordino.catalog")

Parts = tuple[tuple[int, int], ...]
"""(component's SKU id, units of it in one kit)"""


class Kits(Struct, frozen=True):
    """``parts`` of every kit of today; ``ever`` holds those that were kits once, too; ``within`` says which kits need a SKU."""

    parts: Mapping[int, Parts]
    ever: frozenset[int]
    within: Mapping[int, frozenset[int]]


async def kits(tx: Tx) -> Kits:
    """As this transaction sees them."""
    return await kept.current(tx, "kits", _load)


async def _load(tx: Tx) -> Kits:
    parts: dict[int, list[tuple[int, int]]] = {}
    within: dict[int, set[int]] = {}
    for row in await sql.all_components(tx):
        parts.setdefault(row["sku_id"], []).append((row["component_sku_id"], row["quantity"]))
        within.setdefault(row["component_sku_id"], set()).add(row["sku_id"])
    ever = frozenset(row["sku_id"] for row in await sql.all_kits(tx))
    return Kits(
        {kit: tuple(of) for kit, of in parts.items()}, ever, {sku_id: frozenset(of) for sku_id, of in within.items()}
    )
