"""Missing units that a location has in work already: they are reported short before somebody walks to an empty shelf."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.core.database import Tx
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory import shortfalls
from ordino.inventory.expiry import lot_tracked
from ordino.network.facts import facts
from ordino.orders import capacity
from ordino.orders import ledger as orders_ledger
from ordino.warehouse.ledger import sql
from ordino.warehouse.model import Pick, PickLine
from ordino.warehouse.pick import pick

REASON = "not_found"
EXPIRED = "expired"
"""Missing units of a SKU with lots are there, and may no longer be sold."""


async def report_short(tx: Tx, positions: Sequence[tuple[int, int]], *, at: datetime) -> None:
    """Of each position (SKU id, location id), open work is short until nothing is missing, the last placed first. What is picked is
    there, and stays.
    """
    lots = await lot_tracked(tx, {key[0] for key in positions})
    keys = list(dict.fromkeys(positions))
    # One position after the other: all that any of them takes is held before the first.
    seen = [row for key in keys for row in await sql.open_work_at(tx, sku_id=key[0], location_id=key[1])]
    orders = await orders_ledger.lock(tx, {row["order_id"] for row in seen})
    await capacity.hold_claims(tx, await facts(tx), list(orders), at=at)
    await stock.hold(tx, await orders_ledger.skus_of(tx, orders) | {sku_id for sku_id, _ in keys})
    for key in keys:
        rows = await sql.open_work_at(tx, sku_id=key[0], location_id=key[1])
        rows = [row for row in rows if row["order_id"] in orders]
        left = (await shortfalls.open_units(tx, [key])).get(key, (None, 0))[1]
        parts = await kit_ledger.frozen(tx, [(row["order_id"], row["line_no"]) for row in rows])
        picks, reason = [], EXPIRED if key[0] in lots else REASON
        for row in rows:
            each = dict(parts.get((row["order_id"], row["line_no"]), ((key[0], 1),))).get(key[0], 1)
            units = min(row["open"], -(-left // each))
            if units > 0:
                left -= units * each
                line = PickLine(line_no=row["line_no"], picked=0, short=units, short_reason=reason)
                work = row["fulfillment_order_id"]
                picks.append(Pick(order_id=row["order_id"], fulfillment_order_id=work, lines=[line]))
        await pick(tx, picks, at=at)
