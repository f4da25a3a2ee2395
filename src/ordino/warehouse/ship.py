"""Shipping: packages leave under a tracking number, and their units leave the stock ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import new_ids
from ordino.core.money import currency_fault
from ordino.core.payloads import Units
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts
from ordino.orders import ledger as orders_ledger
from ordino.orders import value
from ordino.orders.model import LineRow, ShippingMove, State, UnitMove
from ordino.warehouse import ledger, numbers
from ordino.warehouse.events import ShipmentShipped
from ordino.warehouse.ledger import Key, refuse, sql
from ordino.warehouse.model import FulfillmentLine, LineMove, Ship, Shipped, WorkRefusal, WorkRefused

MAX_COST_MINOR = 10**12


class _Package(Struct):
    """A package that waits: its weight, and units by line number."""

    weight_grams: int
    contents: dict[int, int]


class _Shipment(Struct):
    """What leaves under one tracking number."""

    item: Ship
    shipment_id: UUID
    package_ids: list[UUID]
    contents: dict[int, int]
    weights: list[int]  # of the packages, in grams
    line: FulfillmentLine  # any of the fulfillment order's: it says where from, by which service, by when
    cost_minor: int = 0
    cost_currency: str = ""
    worths: dict[int, value.Worth] = {}
    shipping: ShippingMove | None = None

    @property
    def amount_minor(self) -> int:
        """What the customer is charged for it."""
        units = sum(worth.amount_minor for worth in self.worths.values())
        return units + (self.shipping.charged_minor if self.shipping else 0)

    @property
    def weight_grams(self) -> int:
        return sum(self.weights)


async def ship(tx: Tx, ships: Sequence[Ship], *, at: datetime) -> list[Shipped | WorkRefused]:
    """One outcome an item, in order. A shipment leaves as told, or is refused whole.

    A tracking number leads to one parcel: shipments to one address may share it, and otherwise it is refused.

    The event ``shipment_shipped`` carries what the customer is to be charged: the units that were not charged before, and the
    order's shipping with its first shipment.
    """
    floor = await ledger.load(tx, [s.order_id for s in ships])
    refusals = ledger.doubtful(floor, ships)
    waiting: dict[Key, dict[UUID, _Package]] = {}
    if floor.orders:
        for row in await sql.waiting_packages(tx, order_ids=list(floor.orders)):
            here = waiting.setdefault((row["order_id"], row["fulfillment_order_id"]), {})
            package = here.get(row["package_id"])
            if package is None:
                package = here[row["package_id"]] = _Package(row["weight_grams"], {})
            package.contents[row["line_no"]] = row["quantity"]
    sound = [s for i, s in enumerate(ships) if i not in refusals and "\x00" not in s.tracking_number]
    known = await numbers.numbers(tx, [(s.tracking_number, s.order_id) for s in sound])
    shipments: dict[int, _Shipment] = {}
    for shipment_id, (index, item) in zip(new_ids(at, len(ships)), enumerate(ships), strict=True):
        if index in refusals:
            continue
        key = (item.order_id, item.fulfillment_order_id)
        told = await _told(tx, item, waiting.get(key, {}), floor.lines[key], known, shipment_id)
        if isinstance(told, WorkRefused):
            refusals[index] = told
            continue
        shipments[index] = told
    await numbers.write(tx, known)
    statuses = await _write(tx, list(shipments.values()), floor, at) if shipments else {}
    outcomes: list[Shipped | WorkRefused] = []
    for index, item in enumerate(ships):
        if index in refusals:
            outcomes.append(refusals[index])
            continue
        done = shipments[index]
        outcomes.append(
            Shipped(
                item.order_id,
                item.fulfillment_order_id,
                done.shipment_id,
                item.tracking_number,
                done.cost_minor,
                done.weight_grams,
                done.amount_minor,
                statuses[item.order_id, item.fulfillment_order_id],
                done.cost_currency,
            )
        )
    return outcomes


async def _told(
    tx: Tx,
    item: Ship,
    waiting: dict[UUID, _Package],
    lines: Mapping[int, FulfillmentLine],
    known: numbers.Numbers,
    shipment_id: UUID,
) -> _Shipment | WorkRefused:
    if not item.tracking_number or "\x00" in item.tracking_number:
        return refuse(item, WorkRefusal.INVALID, "Name the carrier's tracking number.", "/tracking_number")
    if item.cost_minor is not None and not 0 <= item.cost_minor <= MAX_COST_MINOR:
        detail = f"A shipment costs 0 to {MAX_COST_MINOR} minor units, not {item.cost_minor}."
        return refuse(item, WorkRefusal.INVALID, detail, "/cost_minor")
    if item.cost_currency is not None:
        if wrong := currency_fault(item.cost_currency):
            return refuse(item, WorkRefusal.INVALID, wrong, "/cost_currency")
        if item.cost_minor is None:
            detail = "`cost_currency` is the currency of `cost_minor`; send both, or neither."
            return refuse(item, WorkRefusal.INVALID, detail, "/cost_currency")
    if fault := extent_fault("package_ids", item.package_ids, item.all, of="all packages that wait"):
        return refuse(item, WorkRefusal.INVALID, fault.detail, fault.pointer)
    if item.package_ids is not None and len(set(item.package_ids)) < len(item.package_ids):
        return refuse(item, WorkRefusal.INVALID, "Name each package once.", "/package_ids")
    if item.package_ids is not None:
        for index, package_id in enumerate(item.package_ids):
            if package_id not in waiting:
                return await _not_waiting(tx, item, package_id, f"/package_ids/{index}")
    package_ids = list(waiting) if item.package_ids is None else item.package_ids
    if not package_ids:
        detail = "No package of the fulfillment order waits to be shipped: pack first, or it has left before."
        return refuse(item, WorkRefusal.DONE, detail)
    line = next(iter(lines.values()))
    if taken := known.fault(item.tracking_number, item.order_id, line.service_id):
        return refuse(item, WorkRefusal.TRACKING_NUMBER_TAKEN, taken, "/tracking_number")
    numbered = numbers.Numbered(tracking_number=item.tracking_number, order_id=item.order_id, shipment_id=shipment_id)
    known.take(numbered, line.service_id)
    contents: dict[int, int] = {}
    weights: list[int] = []
    for package_id in package_ids:
        package = waiting.pop(package_id)
        weights.append(package.weight_grams)
        for line_no, quantity in package.contents.items():
            contents[line_no] = contents.get(line_no, 0) + quantity
    return _Shipment(item, shipment_id, list(package_ids), contents, weights, line)


async def _not_waiting(tx: Tx, item: Ship, package_id: UUID, pointer: str) -> WorkRefused:
    rows = await sql.known_packages(tx, order_ids=[item.order_id], package_ids=[package_id])
    if not rows or rows[0]["fulfillment_order_id"] != item.fulfillment_order_id:
        detail = f"The fulfillment order has no package {package_id}."
        return refuse(item, WorkRefusal.UNKNOWN, detail, pointer)
    said = "has left before" if rows[0]["shipment_id"] else "is empty, or leaves with another item of this batch"
    return refuse(item, WorkRefusal.DONE, f"The package {package_id} {said}.", pointer)


async def _write(tx: Tx, shipments: Sequence[_Shipment], floor: ledger.Floor, at: datetime) -> dict[Key, Any]:
    order_ids = list(dict.fromkeys(s.item.order_id for s in shipments))
    await _price(tx, shipments, floor, order_ids)
    await _value(tx, shipments, floor, order_ids)
    line_moves: list[LineMove] = []
    unit_moves: list[UnitMove] = []
    stock_moves: list[StockMove] = []
    events: list[Event] = []
    for event_id, s in zip(new_ids(at, len(shipments)), shipments, strict=True):
        order_id, fulfillment_order_id = s.item.order_id, s.item.fulfillment_order_id
        lines = floor.lines[order_id, fulfillment_order_id]
        for line_no, quantity in s.contents.items():
            line_moves.append(LineMove(order_id, fulfillment_order_id, line_no, packed=-quantity, shipped=quantity))
            worth = s.worths[line_no]
            unit_moves.append(
                UnitMove(
                    order_id,
                    line_no,
                    State.PACKED,
                    State.SHIPPED,
                    quantity,
                    event_id,
                    None,
                    worth.paid_units,
                    worth.amount_minor,
                    worth.refund_minor,
                )
            )
            stock_moves.append(
                StockMove(
                    lines[line_no].sku_id,
                    lines[line_no].location_id,
                    event_id,
                    MoveKind.SHIPPED,
                    on_hand_delta=-quantity,
                    reserved_delta=-quantity,
                    picked_delta=-quantity,
                    order_id=order_id,
                    line_no=line_no,
                )
            )
        payload = ShipmentShipped(
            shipment_id=s.shipment_id,
            fulfillment_order_id=fulfillment_order_id,
            tracking_number=s.item.tracking_number,
            amount_minor=s.amount_minor,
            lines=[Units(line_no, quantity) for line_no, quantity in s.contents.items()],
            promised_at=floor.orders[order_id].told_at or s.line.promised_at,
            planned_at=s.line.promised_at,
        )
        events.append(Event(order_id, event_id, at, payload, floor.orders[order_id].flow_version))
    statuses = await ledger.move(tx, line_moves, shipped_at=at)
    left = [(s.item.order_id, package_id, s.shipment_id) for s in shipments for package_id in s.package_ids]
    await sql.write_shipments(
        tx,
        order_ids=[s.item.order_id for s in shipments],
        shipment_ids=[s.shipment_id for s in shipments],
        fulfillment_order_ids=[s.item.fulfillment_order_id for s in shipments],
        service_ids=[s.line.service_id for s in shipments],
        tracking_numbers=[s.item.tracking_number for s in shipments],
        costs=[s.cost_minor for s in shipments],
        weights=[s.weight_grams for s in shipments],
        promised_ats=[s.line.promised_at for s in shipments],
        cost_currencies=[s.cost_currency for s in shipments],
        at=at,
        package_order_ids=[row[0] for row in left],
        package_ids=[row[1] for row in left],
        package_shipment_ids=[row[2] for row in left],
    )
    await orders_ledger.move_units(tx, unit_moves, [s.shipping for s in shipments if s.shipping], at=at)
    await record(tx, events)
    await stock.post(tx, stock_moves, at=at)
    return statuses


async def _price(tx: Tx, shipments: Sequence[_Shipment], floor: ledger.Floor, order_ids: Sequence[UUID]) -> None:
    """What the carrier charges, and in which currency: as told, or what the rates say for each package; nothing where the service
    does not go.
    """
    if all(s.item.cost_minor is not None for s in shipments):
        network, places = None, {}
    else:
        network = await facts(tx)
        places = {row["order_id"]: row for row in await sql.destinations(tx, order_ids=order_ids)}
    for s in shipments:
        s.cost_currency = s.item.cost_currency or floor.orders[s.item.order_id].currency
        if s.item.cost_minor is not None:
            s.cost_minor = s.item.cost_minor
            continue
        place = places.get(s.item.order_id)
        if network is None or place is None:
            continue
        cost = network.price(s.line.location_id, place["country"], place["postal_code"], s.line.service_id, s.weights)
        if cost is not None:
            s.cost_minor, s.cost_currency = cost, network.services[s.line.service_id].currency


async def _value(tx: Tx, shipments: Sequence[_Shipment], floor: ledger.Floor, order_ids: Sequence[UUID]) -> None:
    """What the customer is charged for each shipment, one after the other. What was charged before and came back goes for
    nothing.
    """
    lines: dict[UUID, dict[int, LineRow]] = {}
    for (order_id, line_no), line in (await orders_ledger.lines(tx, order_ids)).items():
        lines.setdefault(order_id, {})[line_no] = line
    orders = {order_id: floor.orders[order_id] for order_id in order_ids}
    for s in shipments:
        order_id = s.item.order_id
        here = lines[order_id]
        for line_no, quantity in s.contents.items():
            here[line_no], s.worths[line_no] = value.ship(here[line_no], quantity)
        orders[order_id], s.shipping = value.ship_order(orders[order_id])
