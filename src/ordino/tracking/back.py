"""Parcels that come back to the sender: what is still in them, and what was received of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.orders import parcel_exceptions
from ordino.orders.model import OrderRow
from ordino.orders.parcel_exceptions import RETURNED_TO_SENDER
from ordino.tracking.begin import Sent, begin, sql
from ordino.tracking.happen import change, contents, exception
from ordino.tracking.model import ParcelRow
from ordino.tracking.watch import begin_what_left
from ordino.warehouse import numbers

Key = tuple[UUID, UUID]
"""(order id, shipment id)"""


class Back(Struct):
    """A shipment that is received back: its parcel, where it was shipped from, and the units that are still in it by line number.
    Verbs take units out as they go through a batch.
    """

    parcel: ParcelRow
    location_id: int
    left: dict[int, int]


class Receipt(Struct, frozen=True, kw_only=True):
    """What became of units of a line of a parcel. ``next`` is `refund`, `send_again` or `nothing`."""

    order_id: UUID
    shipment_id: UUID
    receipt_id: UUID
    line_no: int
    location_id: int
    restocked: int
    scrapped: int
    lost: int
    next: str
    refund_minor: int


async def parcels_back(tx: Tx, keys: Collection[Key], *, at: datetime) -> dict[Key, Back]:
    """The shipments among these that exist, with what is still in them. Their orders must be locked."""
    wanted = sorted(set(keys))
    columns = {"order_ids": [key[0] for key in wanted], "shipment_ids": [key[1] for key in wanted]}
    places = {(row["order_id"], row["shipment_id"]): row for row in await sql.places_of_shipments(tx, **columns)}
    if not places:
        return {}
    await begin_what_left(tx, {order_id for order_id, _ in places}, at=at)
    parcels = {(row["order_id"], row["shipment_id"]): ParcelRow(*row) for row in await sql.parcels(tx, **columns)}
    if missing := [Sent(*key, row["tracking_number"], key[1]) for key, row in places.items() if key not in parcels]:
        await begin(tx, missing, at=at)
        parcels = {(row["order_id"], row["shipment_id"]): ParcelRow(*row) for row in await sql.parcels(tx, **columns)}
    left = await contents(tx, parcels.values())
    return {key: Back(parcels[key], row["location_id"], left.get(key[1], {})) for key, row in places.items()}


async def receive(
    tx: Tx,
    received: Mapping[Key, Back],
    receipts: Sequence[Receipt],
    orders: Mapping[UUID, OrderRow],
    *,
    at: datetime,
) -> None:
    """Write what came back of parcels. ``received`` says what is left in them now; a parcel is received back once nothing is."""
    if not receipts:
        return
    await sql.write_receipts(
        tx,
        order_ids=[r.order_id for r in receipts],
        shipment_ids=[r.shipment_id for r in receipts],
        receipt_ids=[r.receipt_id for r in receipts],
        line_nos=[r.line_no for r in receipts],
        location_ids=[r.location_id for r in receipts],
        restocked=[r.restocked for r in receipts],
        scrapped=[r.scrapped for r in receipts],
        lost=[r.lost for r in receipts],
        nexts=[r.next for r in receipts],
        refunds=[r.refund_minor for r in receipts],
        at=at,
    )
    unannounced = [key for key, back in received.items() if back.parcel.returning_at is None]
    for back in received.values():
        back.parcel.returning_at = back.parcel.returning_at or at
        if not any(back.left.values()):
            back.parcel.received_back_at = at
    await change(tx, [back.parcel for back in received.values()])
    await numbers.close(tx, {back.parcel.tracking_number for back in received.values()}, at=at)
    await _tell_people(tx, received, unannounced, orders, at)


async def _tell_people(
    tx: Tx, received: Mapping[Key, Back], unannounced: Sequence[Key], orders: Mapping[UUID, OrderRow], at: datetime
) -> None:
    """Who waits for the rest of a parcel sees how much it is, and nothing once all is there."""
    left = {key: sum(back.left.values()) for key, back in received.items()}
    opened = [exception(RETURNED_TO_SENDER, received[key].parcel, left[key]) for key in unannounced if left[key]]
    await parcel_exceptions.open_exceptions(tx, RETURNED_TO_SENDER, opened, at=at)
    await parcel_exceptions.count_units(tx, RETURNED_TO_SENDER, {key: units for key, units in left.items() if units})
    over = [key for key, units in left.items() if not units]
    await parcel_exceptions.clear_exceptions(tx, RETURNED_TO_SENDER, over, orders, at=at)
