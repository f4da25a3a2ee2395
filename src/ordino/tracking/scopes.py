"""What carriers say of parcels is narrowed by the sellers of the orders in them, and by the locations that sent them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ordino.core.database import Tx
from ordino.orders.scopes import sellers_of
from ordino.tracking.begin import sql
from ordino.web.scopes import Dimension, Key, Narrowing, Owner


async def _parcels(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    """A number may stand on a parcel of several shipments, which must all be reached."""
    rows = await sql.behind_numbers(tx, tracking_numbers=sorted({number for (number,) in keys}))
    of = await sellers_of(tx, [row["order_id"] for row in rows])
    places = await sql.shipped_from(tx, order_ids=sorted(of), shipment_ids=sorted({row["shipment_id"] for row in rows}))
    at = {(row["order_id"], row["shipment_id"]): row["location"] for row in places}
    owners: dict[str, list[Owner]] = defaultdict(list)
    for row in rows:
        owner = Owner(seller=of.get(row["order_id"]), location=at.get((row["order_id"], row["shipment_id"])))
        owners[row["tracking_number"]].append(owner)
    return [owners.get(number, []) for (number,) in keys]


BY_PARCEL = Narrowing(
    name="parcel",
    dimensions=frozenset(Dimension),
    names=("tracking_number",),
    owners=_parcels,
    missing="There is no parcel {0!r}.",
)
