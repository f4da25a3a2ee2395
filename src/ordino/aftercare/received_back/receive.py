"""Receiving a parcel back: its units are restocked, scrapped or missing, and then refunded or sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.arrivals import Restocking, expired_of
from ordino.aftercare.events import ParcelReceivedBack, UnitsBack, UnitsSentAgain
from ordino.aftercare.received_back.judge import Judged, Known, judge, known_of
from ordino.aftercare.received_back.model import BackRefused, Next, ParcelReceipt, ReceivedBack
from ordino.aftercare.repeats import repeats_of
from ordino.core.database import Tx
from ordino.core.events import Due, Event, enqueue, record
from ordino.core.ids import new_id, new_ids
from ordino.core.payloads import Units
from ordino.inventory import ledger as stock
from ordino.inventory.detail import scrap_returned
from ordino.inventory.events import StockReceived
from ordino.inventory.model import StockMove
from ordino.orders import ledger as orders_ledger
from ordino.orders.called_off import CalledOff
from ordino.orders.model import ShippingMove, State, UnitMove
from ordino.orders.parcel_exceptions import RETURNED_TO_SENDER
from ordino.tracking import back as parcels
from ordino.tracking.back import Key, Receipt
from ordino.tracking.model import Status


class _Batch(Struct):
    """What a batch of receipts comes to, gathered while it is judged."""

    receipts: list[Receipt]
    unit_moves: list[UnitMove]
    shipping: list[ShippingMove]
    stock_moves: list[StockMove]
    scrapped: list[tuple[int, Sequence[str], UUID]]
    events: list[Event]
    following: list[Due]


async def receive_back(tx: Tx, receipts: Sequence[ParcelReceipt], *, at: datetime) -> list[ReceivedBack | BackRefused]:
    """One outcome a receipt, in order. Restocked units are in stock at once; refund and sourcing follow."""
    known = await known_of(tx, receipts, at=at)
    repeats = repeats_of(receipts)
    batch = _Batch([], [], [], [], [], [], [])
    outcomes: dict[int, ReceivedBack | BackRefused] = {}
    brought: dict[int, list[StockMove]] = {}
    received: dict[Key, parcels.Back] = {}
    for index, (receipt, receipt_id) in enumerate(zip(receipts, new_ids(at, len(receipts)), strict=True)):
        judged = judge(receipt, known, repeated=index in repeats)
        if isinstance(judged, BackRefused):
            outcomes[index] = judged
            continue
        key = (receipt.order_id, receipt.shipment_id)
        received[key] = known.parcels[key]
        first = len(batch.stock_moves)
        outcomes[index] = _take_back(receipt, receipt_id, judged, known, batch, at)
        brought[index] = batch.stock_moves[first:]
    statuses, aside = await _write(tx, batch, received, known, at)
    answers: list[ReceivedBack | BackRefused] = []
    for index, outcome in sorted(outcomes.items()):
        if isinstance(outcome, ReceivedBack):
            parcel = received[outcome.order_id, outcome.shipment_id].parcel.status
            expired = expired_of(brought[index], aside)
            order = statuses.get(outcome.order_id, outcome.order)
            outcome = structs.replace(outcome, parcel=parcel, order=order, expired=expired)
        answers.append(outcome)
    return answers


def _take_back(
    receipt: ParcelReceipt, receipt_id: UUID, judged: Judged, known: Known, batch: _Batch, at: datetime
) -> ReceivedBack:
    """Count a sound receipt in, and gather what is to be written of it."""
    order_id = receipt.order_id
    back = known.parcels[order_id, receipt.shipment_id]
    called_off = CalledOff(known.orders[order_id], known.lines[order_id], receipt_id, RETURNED_TO_SENDER)
    again: dict[int, int] = {}
    shelf = Restocking({}, {})
    told: list[UnitsBack] = []
    for line in judged.lines:
        units = line.restocked + line.scrapped + line.lost
        back.left[line.line_no] -= units
        given_back = 0
        if line.then is Next.SEND_AGAIN:
            again[line.line_no] = units
            _send_again(order_id, receipt_id, line.line_no, units, known, batch)
        elif line.then is Next.REFUND:
            given_back = called_off.take(line.line_no, State.SHIPPED, units)
        sku_id = known.lines[order_id][line.line_no].sku_id
        if line.restocked:
            shelf.add(sku_id, judged.location_id, line.line_no, line.restocked)
            shelf.name(sku_id, judged.location_id, line.line_no, line.serials or ())
        if line.scrapped_serials:
            batch.scrapped.append((sku_id, line.scrapped_serials, receipt_id))
        row = Receipt(
            order_id=order_id,
            shipment_id=receipt.shipment_id,
            receipt_id=receipt_id,
            line_no=line.line_no,
            location_id=judged.location_id,
            restocked=line.restocked,
            scrapped=line.scrapped,
            lost=line.lost,
            next=line.then or "nothing",
            refund_minor=given_back,
        )
        batch.receipts.append(row)
        told.append(UnitsBack(row.line_no, row.restocked, row.scrapped, row.lost, row.next))
    if called_off.moves:
        batch.unit_moves += called_off.moves
        batch.shipping.append(called_off.close())
        known.orders[order_id] = called_off.order
    batch.stock_moves += shelf.moves(order_id, receipt_id)
    _tell(receipt, receipt_id, told, called_off.refund_minor, again, known, batch, at)
    return ReceivedBack(
        order_id,
        receipt.shipment_id,
        receipt_id,
        sum(line.restocked for line in judged.lines),
        sum(line.scrapped for line in judged.lines),
        sum(line.lost for line in judged.lines),
        sum(back.left.values()),
        called_off.refund_minor,
        sum(again.values()),
        Status.RETURNING,
        known.orders[order_id].status,
    )


def _tell(
    receipt: ParcelReceipt,
    receipt_id: UUID,
    told: list[UnitsBack],
    refund_minor: int,
    again: Mapping[int, int],
    known: Known,
    batch: _Batch,
    at: datetime,
) -> None:
    """The events of a receipt, and what is to follow them."""
    order_id = receipt.order_id
    version = known.orders[order_id].flow_version
    number = known.parcels[order_id, receipt.shipment_id].parcel.tracking_number
    received = ParcelReceivedBack(
        shipment_id=receipt.shipment_id, tracking_number=number, lines=told, refund_minor=refund_minor
    )
    batch.events.append(Event(order_id, receipt_id, at, received, version))
    if refund_minor:
        batch.following.append(Due("refund", order_id, receipt_id, at, f'{{"refund_minor":{refund_minor}}}'))
    if again:
        lines = [Units(line_no, quantity) for line_no, quantity in again.items()]
        event_id = new_id(at)
        sent = UnitsSentAgain(shipment_id=receipt.shipment_id, tracking_number=number, lines=lines)
        batch.events.append(Event(order_id, event_id, at, sent, version))
        batch.following.append(Due("source", order_id, event_id, at))


def _send_again(order_id: UUID, receipt_id: UUID, line_no: int, units: int, known: Known, batch: _Batch) -> None:
    """The units wait to be sourced again: nothing moves in money."""
    row = known.lines[order_id][line_no]
    known.lines[order_id][line_no] = structs.replace(
        row, shipped=row.shipped - units, backordered=row.backordered + units
    )
    batch.unit_moves.append(
        UnitMove(order_id, line_no, State.SHIPPED, State.BACKORDERED, units, receipt_id, RETURNED_TO_SENDER)
    )


async def _write(
    tx: Tx, batch: _Batch, received: Mapping[Key, parcels.Back], known: Known, at: datetime
) -> tuple[dict[UUID, str], dict[stock.Key, int]]:
    """The orders' statuses, and how many units were set aside because their lots have expired, by position."""
    await parcels.receive(tx, received, batch.receipts, known.orders, at=at)
    statuses = await orders_ledger.move_units(tx, batch.unit_moves, batch.shipping, at=at)
    if batch.stock_moves:
        arrival = new_id(at)
        arrived = StockReceived(sku_ids=sorted({move.sku_id for move in batch.stock_moves}))
        batch.events.append(Event(arrival, arrival, at, arrived, await tx.plans.active(tx)))
    await record(tx, batch.events)
    await enqueue(
        tx, batch.following, at=at
    )  # what a person has said is done, whatever flow the order was placed under
    aside = await stock.post(tx, batch.stock_moves, at=at)
    for sku_id, serials, receipt_id in batch.scrapped:
        await scrap_returned(tx, sku_id, serials, cause_id=receipt_id, at=at)
    return statuses, dict(aside)
