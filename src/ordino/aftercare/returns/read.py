"""What is known of the returns of an order."""

from __future__ import annotations

from uuid import UUID

from ordino.aftercare.model import ReturnLineView, ReturnView
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.network.facts import facts

sql = statements("ordino.aftercare")


async def returns_of(tx: Tx, order_id: UUID) -> list[ReturnView]:
    """The returns of an order, oldest first. Raises ``NotFound``."""
    rows = await sql.returns_of_order(tx, order_id=order_id)
    if not rows and not await sql.order_exists(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    lines: dict[UUID, list[ReturnLineView]] = {}
    for row in await sql.return_lines_of_order(tx, order_id=order_id):
        lines.setdefault(row["return_id"], []).append(
            ReturnLineView(**{name: row[name] for name in ReturnLineView.__struct_fields__})
        )
    locations = (await facts(tx)).locations
    return [
        ReturnView(
            row["return_id"],
            locations[row["location_id"]].code,
            row["authorized_at"],
            row["received_at"],
            lines.get(row["return_id"], []),
        )
        for row in rows
    ]
