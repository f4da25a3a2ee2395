"""What orders ask of sourcing: their lines as needs, and who decides."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts
from ordino.sourcing.model import Need

sql = statements("ordino.orders")


class Sku(Struct, frozen=True, gc=False):
    """What orders need to know of a SKU."""

    sku_id: int
    weight_grams: int
    backorderable: bool
    active: bool
    code: str
    category: str | None
    cubic_mm: int
    handling_classes: tuple[str, ...]
    parts: Parts = ()

    def need(
        self,
        line_no: int,
        quantity: int,
        *,
        backorderable: bool | None = None,
        excluded: tuple[int, ...] = (),
        parts: Parts | None = None,
        group: str | None = None,
        unit_price_minor: int = 0,
    ) -> Need:
        """So many units, for a line."""
        return Need(
            line_no,
            self.sku_id,
            quantity,
            self.weight_grams,
            self.backorderable if backorderable is None else backorderable,
            excluded,
            self.parts if parts is None else parts,
            self.cubic_mm,
            self.handling_classes,
            group,
            self.code,
            self.category,
            unit_price_minor,
        )


async def known_skus(tx: Tx, codes: set[str]) -> dict[str, Sku]:
    """Code -> the SKU; unknown codes are left out."""
    known = await sku_ids(tx, codes)
    by_id = await skus_of(tx, known.values())
    return {code: by_id[sku_id] for code, sku_id in known.items() if sku_id in by_id}


async def skus_of(tx: Tx, ids: Collection[int]) -> dict[int, Sku]:
    """SKU id -> the SKU."""
    parts = (await kits(tx)).parts
    return {
        row["sku_id"]: Sku(
            **{**row, "handling_classes": tuple(row["handling_classes"])}, parts=parts.get(row["sku_id"], ())
        )
        for row in await sql.sold_skus(tx, sku_ids=list(ids))
    }


def unknown_level(network: NetworkFacts, level: str | None) -> str | None:
    """The sentence that refuses a service level that no carrier service has."""
    if level is None or level in network.levels:
        return None
    return f"No carrier service has the level {level!r}; there are {', '.join(sorted(network.levels))}."
