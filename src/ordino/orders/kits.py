"""Kits are made and changed where nobody loses units from sight: stock, supply and orders of the SKU are looked at first.

A kit has no stock of its own (KIT-2). While there is any of the SKU by itself, or an order waits for it, it does not become a kit.
While orders wait for a kit, it keeps its components: those orders are filled from what comes of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from ordino.catalog import upsert
from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import Parts, kits
from ordino.catalog.model import Kit
from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted, Outcome, Reason

sql = statements("ordino.orders")
inventory_sql = statements("ordino.inventory")

WAYS_OUT = {
    "on_hand": ("{} on hand", "sell what is on hand or adjust it away (POST /v1/adjustments)"),
    "set_aside": ("{} set aside", "scrap what is set aside (POST /v1/scrappings)"),
    "in_transit": ("{} in transit in transfers", "receive the transfers and adjust away what arrives"),
    "announced": ("{} announced by suppliers", "close the announcements (PUT /v1/incoming)"),
    "waiting": ("{} on backorder", "fill or cancel the orders that wait for it"),
}
"""What there may be of a SKU by itself, and what to do about it."""


async def upsert_kits(tx: Tx, wanted: Sequence[Kit], *, at: datetime) -> list[Outcome]:
    """One outcome a kit, in order. Refused is also what would lose units or lines of orders from sight.

    Whoever brings a position its first units, announces some or lets an order wait holds the kits as they are until the commit, and
    so does this: they take turns, and the later one sees what the earlier one did.
    """
    await kept.hold(tx, "kits")
    parts = (await kits(tx)).parts
    ids = await sku_ids(tx, [kit.sku for kit in wanted])
    refused = await _in_the_way(tx, wanted, ids, parts)
    sound = [kit for index, kit in enumerate(wanted) if index not in refused]
    outcomes = iter(await upsert.upsert_kits(tx, sound, at=at) if sound else ())
    return [refused[index] if index in refused else next(outcomes) for index in range(len(wanted))]


async def _in_the_way(
    tx: Tx, wanted: Sequence[Kit], ids: Mapping[str, int], parts: Mapping[int, Parts]
) -> dict[int, NotUpserted]:
    """Place in ``wanted`` -> why this kit stays as it is."""
    component_ids = await sku_ids(tx, {part.sku for kit in wanted for part in kit.components})
    begins: dict[int, int] = {}
    loses: dict[int, int] = {}
    for index, kit in enumerate(wanted):
        sku_id = ids.get(kit.sku)
        if sku_id is None:
            continue
        before = {part for part, _ in parts.get(sku_id, ())}
        if kit.components and not before:
            begins[index] = sku_id
        elif before - {component_ids.get(part.sku) for part in kit.components}:
            loses[index] = sku_id
    if not begins and not loses:
        return {}
    there: dict[int, dict[str, int]] = defaultdict(dict)
    # Stock first: what is taken from it for an order or a transfer meanwhile is seen by what is asked next.
    for row in await inventory_sql.stocked_by_themselves(tx, sku_ids=list(begins.values())):
        there[row["sku_id"]][row["kind"]] = row["quantity"]
    for row in await sql.units_waiting_for(tx, sku_ids=[*begins.values(), *loses.values()]):
        there[row["sku_id"]]["waiting"] = row["quantity"]
    refused = {}
    for index, kit in enumerate(wanted):
        found = there.get(ids.get(kit.sku, 0))
        if found and index in begins:
            refused[index] = NotUpserted(kit.sku, Reason.CONFLICT, _stocked(kit.sku, found), "/sku")
        elif found and index in loses:
            detail = (
                f"Orders wait for {found['waiting']} of the kit {kit.sku!r} with its present components, and could not be filled "
                "without the ones you remove. Fill or cancel those orders first, or create the new kit under another SKU."
            )
            refused[index] = NotUpserted(kit.sku, Reason.CONFLICT, detail, "/components")
    return refused


def _stocked(code: str, found: Mapping[str, int]) -> str:
    kinds = [kind for kind in WAYS_OUT if kind in found]
    there = ", ".join(WAYS_OUT[kind][0].format(found[kind]) for kind in kinds)
    ways = "; ".join(WAYS_OUT[kind][1] for kind in kinds)
    return (
        f"{code!r} cannot become a kit while there are {there}; a kit has no units of its own. First {ways}. "
        "Or create the kit under another SKU."
    )
