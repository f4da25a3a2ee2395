"""Telling: the customer gets another date, and alarms hold to it from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.times import expected_fault
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import OrderRow
from ordino.orders.told import tell_orders
from ordino.tracking.begin import sql
from ordino.tracking.events import PromiseChanged
from ordino.tracking.model import DateRefusal, DateRefused, DateTold, NewDate
from ordino.tracking.watch import begin_what_left, look_again

ENDED = frozenset({"delivered", "returned", "cancelled"})


class _Told(Struct):
    """What is told of one order, as the dates of a batch change it. ``parcels``: those under way, and until when each is told."""

    order: OrderRow
    first: datetime | None
    last: datetime | None
    parcels: dict[UUID, datetime]


async def tell(tx: Tx, dates: Sequence[NewDate], *, at: datetime) -> list[DateTold | DateRefused]:
    """One outcome a date, in order. The first date that an order is told is ``promised_at`` and stays; the newest is
    ``last_promised_at``. The date of one parcel is the order's, too, where it is later; other parcels stay held to theirs.
    """
    orders = await orders_ledger.lock(tx, [date.order_id for date in dates])
    if orders and await begin_what_left(tx, orders, at=at):
        orders = await orders_ledger.lock(
            tx, orders
        )  # what was said of a parcel before it left may have ended its order
    told = {order_id: _Told(order, order.promised_at, order.last_promised_at, {}) for order_id, order in orders.items()}
    for row in await sql.parcels_under_way(tx, order_ids=list(orders)) if orders else ():
        told[row["order_id"]].parcels[row["shipment_id"]] = row["told_at"]
    before = {order_id: dict(one.parcels) for order_id, one in told.items()}
    outcomes: list[DateTold | DateRefused] = []
    events: list[Event] = []
    for event_id, date in zip(new_ids(at, len(dates)), dates, strict=True):
        refused = _fault(date, told, at)
        if refused is not None:
            outcomes.append(refused)
            continue
        one = told[date.order_id]
        date = replace(date, promised_at=date.promised_at.astimezone(UTC))
        was = one.last or one.first if date.shipment_id is None else one.parcels[date.shipment_id]
        _change(one, date)
        outcomes.append(DateTold(date.order_id, one.first, one.last or one.first))
        payload = PromiseChanged(promised_at=date.promised_at, was=was, shipment_id=date.shipment_id)
        events.append(Event(date.order_id, event_id, at, payload, one.order.flow_version))
    changed = {event.subject_id: told[event.subject_id] for event in events}
    if changed:
        await _write(tx, changed, before, at)
        await record(tx, events)
    return outcomes


def _change(one: _Told, date: NewDate) -> None:
    if date.shipment_id is not None:
        one.parcels[date.shipment_id] = date.promised_at
        if one.first is not None:
            one.last = max(one.last or one.first, date.promised_at)
        return
    one.parcels = dict.fromkeys(one.parcels, date.promised_at)
    if one.first is None:
        one.first = date.promised_at
    else:
        one.last = date.promised_at


async def _write(
    tx: Tx, changed: Mapping[UUID, _Told], before: Mapping[UUID, Mapping[UUID, datetime]], at: datetime
) -> None:
    await tell_orders(tx, {order_id: (one.first, one.last) for order_id, one in changed.items()})
    parcels = [(order_id, *parcel) for order_id, one in changed.items() for parcel in one.parcels.items()]
    if not parcels:
        return
    order_ids, shipment_ids, told_ats = (list(column) for column in zip(*parcels, strict=True))
    await sql.tell_parcels(tx, order_ids=order_ids, shipment_ids=shipment_ids, last_promised_ats=told_ats)
    # What is told later is looked at again by the look that comes before it; what is told earlier needs one of its own.
    await look_again(tx, [parcel for parcel in parcels if parcel[2] < before[parcel[0]][parcel[1]]], at=at)


def _fault(date: NewDate, told: Mapping[UUID, _Told], at: datetime) -> DateRefused | None:
    if (wrong := expected_fault(date.promised_at, at, "promised_at")) is not None:
        return DateRefused(date.order_id, DateRefusal.INVALID, wrong, "/promised_at")
    one = told.get(date.order_id)
    if one is None:
        detail = f"There is no order {date.order_id}."
        return DateRefused(date.order_id, DateRefusal.UNKNOWN, detail, "/order_id")
    if one.order.status in ENDED:
        detail = "Everything in the order has arrived or was cancelled, so there is no date left to tell."
        return DateRefused(date.order_id, DateRefusal.ENDED, detail, "/order_id")
    if date.shipment_id is not None and date.shipment_id not in one.parcels:
        detail = (
            f"The order has no parcel {date.shipment_id} on its way; leave out `shipment_id` to tell one of the order."
        )
        return DateRefused(date.order_id, DateRefusal.UNKNOWN, detail, "/shipment_id")
    return None
