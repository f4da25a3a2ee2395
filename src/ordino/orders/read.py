"""An order with everything that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.network.facts import facts
from ordino.orders.model import Address

sql = statements("ordino.orders")
core_sql = statements("ordino.core")


class AllocationView(Struct, frozen=True):
    """Units that are to come from a location; ``released`` of them are in a fulfillment order. ``planned_at`` is when they
    arrive.
    """

    location: str
    quantity: int
    released: int
    service: str
    ship_by_at: datetime
    planned_at: datetime


class LineView(Struct, frozen=True):
    """A line: what was ordered, how many of its units are in which state, and what of ``amount_minor`` was charged, is no longer
    owed, and is given back or to be given back.
    """

    line_no: int
    sku: str
    ordered: int
    unit_price_minor: int
    amount_minor: int
    backordered: int
    allocated: int
    picked: int
    packed: int
    shipped: int
    delivered: int
    returned: int
    cancelled: int
    stop_wanted: int
    charged_minor: int
    void_minor: int
    refunded_minor: int
    allocations: list[AllocationView]


class PaymentView(Struct, frozen=True):
    """The balance of the money ledger. ``method`` is the channel's word for the way of paying. ``due_minor`` is the order's
    total less what is no longer owed; None: it was placed before that was kept.
    """

    provider: str
    status: str
    authorized_minor: int
    voided_minor: int
    captured_minor: int
    refunded_minor: int
    due_minor: int | None
    method: str | None = None


class OrderView(Struct, frozen=True):
    """One order. ``accepted_total_minor`` is its total without the lines that placement dropped.

    ``promised_at`` and ``last_promised_at`` are by when the buyer was told that it arrives, first and last; ``ship_by_at`` is by
    when the channel wants it shipped, None if it did not say.
    """

    order_id: UUID
    channel: str
    external_id: str
    customer_id: UUID | None
    status: str
    placed_at: datetime
    promised_at: datetime | None
    last_promised_at: datetime | None
    ship_by_at: datetime | None
    currency: str
    shipping_minor: int
    tax_minor: int
    discount_minor: int
    total_minor: int
    accepted_total_minor: int
    flow_version: int
    ship_to: Address | None
    lines: list[LineView]
    payment: PaymentView


class OrderHead(Struct, frozen=True):
    """One order in a list."""

    order_id: UUID
    channel: str
    external_id: str
    status: str
    placed_at: datetime
    promised_at: datetime | None
    last_promised_at: datetime | None
    ship_by_at: datetime | None
    currency: str
    total_minor: int
    accepted_total_minor: int


class TimelineEntry(Struct, frozen=True):
    """Something that happened."""

    id: UUID
    kind: str
    at: datetime
    data: dict[str, Any]


async def order(tx: Tx, order_id: UUID) -> OrderView:
    """Raises ``NotFound``."""
    rows = await sql.order(tx, order_id=order_id)
    if not rows:
        raise NotFound(f"There is no order {order_id}.")
    head = dict(rows[0])
    head["last_promised_at"] = head["last_promised_at"] or head["promised_at"]
    network = await facts(tx)
    allocations: dict[int, list[AllocationView]] = {}
    for row in await sql.allocations(tx, order_ids=[order_id]):
        service = network.services.get(row["service_id"])
        allocations.setdefault(row["line_no"], []).append(
            AllocationView(
                network.locations[row["location_id"]].code,
                row["quantity"],
                row["released"],
                service.code if service else str(row["service_id"]),
                row["ship_by_at"],
                row["promised_at"],
            )
        )
    lines = [
        LineView(
            **{name: row[name] for name in LineView.__struct_fields__ if name != "allocations"},
            allocations=allocations.get(row["line_no"], []),
        )
        for row in await sql.order_lines(tx, order_id=order_id)
    ]
    addresses = await sql.order_address(tx, order_id=order_id)
    payment = PaymentView(
        **{name: head[name] for name in PaymentView.__struct_fields__ if name != "status"},
        status=head["payment_status"],
    )
    own = {"ship_to", "lines", "payment"}
    return OrderView(
        **{name: head[name] for name in OrderView.__struct_fields__ if name not in own},
        ship_to=Address(**addresses[0]) if addresses else None,
        lines=lines,
        payment=payment,
    )


async def order_id_of(tx: Tx, channel: str, external_id: str, *, sellers: Sequence[str] | None = None) -> UUID:
    """The order that a channel, of one of ``sellers`` if they are given, knows under its own id. Raises ``NotFound``."""
    rows = await sql.order_by_key(tx, channel=channel, external_id=external_id, sellers=sellers)
    if not rows:
        raise NotFound(f"The channel {channel!r} has sent no order {external_id!r}.")
    order_id: UUID = rows[0]["order_id"]
    return order_id


async def orders(
    tx: Tx,
    *,
    status: str | None,
    channel: str | None = None,
    after: tuple[datetime, UUID] | None,
    limit: int,
    sellers: Sequence[str] | None = None,
) -> Sequence[OrderHead]:
    """Newest first, from the one after ``after`` on; those in a status, of a channel and of ``sellers``, or all."""
    page = {"status": status, "after_at": after and after[0], "after_id": after and after[1], "limit": limit}
    if channel is None and sellers is None:
        return [OrderHead(**row) for row in await sql.list_orders(tx, **page)]
    # Each channel's orders by its own index: in that of all, few of them may stand among millions.
    heads: list[OrderHead] = []
    for found in await sql.channels_of_sellers(tx, sellers=sellers, channel=channel):
        rows = await sql.list_orders_of_channel(tx, channel_id=found["channel_id"], **page)
        heads += [OrderHead(**row) for row in rows]
    return sorted(heads, key=lambda head: (head.placed_at, head.order_id), reverse=True)[:limit]


async def timeline(tx: Tx, order_id: UUID) -> list[TimelineEntry]:
    """Everything that happened to an order, oldest first. Raises ``NotFound``."""
    rows = await core_sql.timeline(tx, subject_id=order_id)
    if not rows:
        raise NotFound(f"There is no order {order_id}.")
    return [TimelineEntry(row["id"], row["kind"], row["at"], msgspec.json.decode(row["data"])) for row in rows]
