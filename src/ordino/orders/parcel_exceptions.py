"""Exceptions of parcels: ``returned_to_sender`` until all that comes back is received, and ``arrived_after_loss`` until a person
has seen to it. Stages after this one know the parcels; they say when such an exception opens and when it is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.orders.exceptions import clear
from ordino.orders.model import OrderRow

sql = statements("ordino.orders")
RETURNED_TO_SENDER = "returned_to_sender"
ARRIVED_AFTER_LOSS = "arrived_after_loss"


class ParcelException(Struct, frozen=True):
    """What a person is to see: the parcel, how many units it is about, and a sentence."""

    order_id: UUID
    shipment_id: UUID
    units: int
    detail: str


async def open_exceptions(tx: Tx, kind: str, parcels: Sequence[ParcelException], *, at: datetime) -> None:
    """One of this kind for each parcel that has none open. The orders must be locked."""
    if parcels:
        await sql.open_parcel_exceptions(
            tx,
            order_ids=[p.order_id for p in parcels],
            exception_ids=new_ids(at, len(parcels)),
            shipment_ids=[p.shipment_id for p in parcels],
            units=[p.units for p in parcels],
            details=[p.detail for p in parcels],
            kind=kind,
            at=at,
        )


async def count_units(tx: Tx, kind: str, left: Mapping[tuple[UUID, UUID], int]) -> None:
    """(order id, shipment id) -> how many units an open exception is still about. The orders must be locked."""
    if left:
        order_ids, shipment_ids = (list(column) for column in zip(*left, strict=True))
        await sql.count_parcel_units(
            tx, order_ids=order_ids, shipment_ids=shipment_ids, units=list(left.values()), kind=kind
        )


async def clear_exceptions(
    tx: Tx, kind: str, over: Sequence[tuple[UUID, UUID]], orders: Mapping[UUID, OrderRow], *, at: datetime
) -> None:
    """The exceptions of these parcels, (order id, shipment id), are over. The orders must be locked."""
    if over:
        rows = await sql.open_parcel_exceptions_of(
            tx, order_ids=[order_id for order_id, _ in over], shipment_ids=[id for _, id in over], kind=kind
        )
        await clear(tx, [(row["order_id"], row["exception_id"]) for row in rows], orders, at=at)
