"""What is known of the returns of an order."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from ordino.aftercare.model import ComponentView, KitView, ReturnLineView, ReturnView
from ordino.aftercare.returns.history import ITSELF, History, Row, components_of, pieces
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.network.facts import facts
from ordino.orders import ledger as orders_ledger

sql = statements("ordino.aftercare")


class Returns(Struct, frozen=True):
    """Oldest first. ``kits`` says of each line of kits of which something came or may come back, how much of its kits is back."""

    returns: list[ReturnView]
    kits: list[KitView]


async def returns_of(tx: Tx, order_id: UUID) -> Returns:
    """The returns of an order. Raises ``NotFound``."""
    orders = await orders_ledger.orders(tx, [order_id])
    if not orders:
        raise NotFound(f"There is no order {order_id}.")
    lines = await orders_ledger.lines(tx, orders)
    rows = [Row(**row) for row in await sql.return_lines(tx, order_ids=[order_id])]
    history = History(orders=orders, lines=lines, components=await components_of(tx, lines), rows={order_id: rows})
    codes = {
        row["sku_id"]: row["code"]
        for row in await sql.sku_codes(tx, sku_ids=sorted({line.sku_id for line in lines.values()}))
    }
    places = {location_id: place.code for location_id, place in (await facts(tx)).locations.items()}
    returns = []
    for head in await sql.returns_of_order(tx, order_id=order_id):
        own = [row for row in rows if row.return_id == head["return_id"] and row.authorized]
        bound_for = {places[row.location_id] for row in own}
        returns.append(
            ReturnView(
                head["return_id"],
                bound_for.pop() if len(bound_for) == 1 else None,
                head["authorized_at"],
                head["received_at"],
                [_line(row, history, codes, places) for row in own],
            )
        )
    return Returns(returns, _kits(history, order_id, codes))


def _line(row: Row, history: History, codes: dict[int, str], places: dict[int, str]) -> ReturnLineView:
    return ReturnLineView(
        row.line_no,
        codes[row.sku_id],
        history.code_of(row),
        places[row.location_id],
        row.reason,
        row.authorized,
        row.restocked,
        row.scrapped,
        row.cancelled,
        row.refund_minor,
        row.received_at,
    )


def _kits(history: History, order_id: UUID, codes: dict[int, str]) -> list[KitView]:
    """The kits of an order of which something came or may come back."""
    views = []
    for line_no in sorted({row.line_no for row in history.rows.get(order_id, ())}):
        line = (order_id, line_no)
        per_unit = history.per_unit(line)
        if ITSELF in per_unit:
            continue
        received = pieces(history.of_line(line), per_unit, lambda row: row.back)
        coming = pieces(history.of_line(line), per_unit, lambda row: row.outstanding)
        components = [
            ComponentView(part.code, part.per_kit, received[sku_id], coming[sku_id])
            for sku_id, part in history.components[line].items()
        ]
        views.append(KitView(line_no, codes[history.lines[line].sku_id], history.returned(line), components))
    return views
