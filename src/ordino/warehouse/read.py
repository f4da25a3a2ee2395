"""Fulfillment orders as people read them: a location's work, and everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.network.facts import NetworkFacts, facts
from ordino.orders.ledger import sql as orders_sql
from ordino.warehouse.ledger import sql
from ordino.warehouse.model import Status


class WorkItem(Struct, frozen=True):
    """One fulfillment order in a location's queue, which is ordered by ``cut_off_at``.

    It is on time if it has left by ``ship_by_at``; ``planned_at`` is when it then arrives.
    """

    order_id: UUID
    fulfillment_order_id: UUID
    service: str
    status: Status
    released_at: datetime
    cut_off_at: datetime
    ship_by_at: datetime
    planned_at: datetime
    quantity: int
    open: int
    picked: int
    packed: int
    shipped: int


class FulfillmentLineView(Struct, frozen=True):
    """A line: what is to be done, and how many of its units are in which state."""

    line_no: int
    sku: str
    name: str
    gtin: str | None
    quantity: int
    open: int
    picked: int
    packed: int
    shipped: int
    short: int
    cancelled: int


class PackageView(Struct, frozen=True):
    """A package with its units by line number; ``shipment_id`` is None while it waits."""

    package_id: UUID
    carton: str | None
    weight_grams: int
    shipment_id: UUID | None
    packed_at: datetime
    contents: dict[int, int]


class ShipmentView(Struct, frozen=True):
    shipment_id: UUID
    service: str
    tracking_number: str
    cost_minor: int
    cost_currency: str
    weight_grams: int
    shipped_at: datetime
    planned_at: datetime


class FulfillmentOrderView(Struct, frozen=True):
    """One fulfillment order. The instants say when its units were last picked, packed and shipped."""

    order_id: UUID
    fulfillment_order_id: UUID
    location: str
    service: str
    status: Status
    released_at: datetime
    cut_off_at: datetime
    ship_by_at: datetime
    planned_at: datetime
    picked_at: datetime | None
    packed_at: datetime | None
    shipped_at: datetime | None
    labor_seconds: int
    handling_cost_minor: int
    handling_currency: str
    lines: list[FulfillmentLineView]
    packages: list[PackageView]
    shipments: list[ShipmentView]


async def work_queue(
    tx: Tx,
    location: str,
    *,
    status: Status | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
    sellers: Sequence[str] | None = None,
) -> list[WorkItem]:
    """What a location has to do, most urgent first, from the one after ``after`` on; for orders of ``sellers``, or for all. Raises
    ``NotFound``.
    """
    network = await facts(tx)
    location_id = network.location_id(location)
    rows = await sql.work_queue(
        tx,
        location_id=location_id,
        status=status,
        after_at=after and after[0],
        after_id=after and after[1],
        limit=limit,
        sellers=sellers,
    )
    return [WorkItem(**_fields(WorkItem, row, network)) for row in rows]


async def fulfillment_orders(
    tx: Tx, order_id: UUID, fulfillment_order_id: UUID | None = None
) -> list[FulfillmentOrderView]:
    """All fulfillment orders of an order, or one of them. Raises ``NotFound``."""
    rows = await sql.fulfillment_orders(tx, order_id=order_id, fulfillment_order_id=fulfillment_order_id)
    if not rows and fulfillment_order_id is not None:
        raise NotFound(f"The order {order_id} has no fulfillment order {fulfillment_order_id}.")
    if not rows and not await orders_sql.order(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    network = await facts(tx)
    lines = _grouped(await sql.lines_of_order(tx, order_id=order_id))
    packages = _grouped(await sql.packages_of_order(tx, order_id=order_id))
    shipments = _grouped(await sql.shipments_of_order(tx, order_id=order_id))
    return [
        FulfillmentOrderView(
            **_fields(FulfillmentOrderView, row, network),
            lines=[
                FulfillmentLineView(**_fields(FulfillmentLineView, line, network))
                for line in lines.get(row["fulfillment_order_id"], ())
            ],
            packages=[
                PackageView(
                    **_fields(PackageView, package, network),
                    contents=dict(zip(package["line_nos"] or (), package["quantities"] or (), strict=True)),
                )
                for package in packages.get(row["fulfillment_order_id"], ())
            ],
            shipments=[
                ShipmentView(**_fields(ShipmentView, shipment, network))
                for shipment in shipments.get(row["fulfillment_order_id"], ())
            ],
        )
        for row in rows
    ]


def _grouped(rows: Sequence[Any]) -> dict[UUID, list[Any]]:
    grouped: dict[UUID, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row["fulfillment_order_id"], []).append(row)
    return grouped


def _fields(kind: type[Struct], row: Any, network: NetworkFacts) -> dict[str, Any]:
    """The row's columns that the view has, with codes for keys."""
    fields = {name: row[name] for name in kind.__struct_fields__ if name in row}
    if "location" in kind.__struct_fields__:
        fields["location"] = network.locations[row["location_id"]].code
    if "service" in kind.__struct_fields__:
        service = network.services.get(row["service_id"])
        fields["service"] = service.code if service else str(row["service_id"])
    if "status" in fields:
        fields["status"] = Status(fields["status"])
    return fields
