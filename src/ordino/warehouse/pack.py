"""Packing: picked units go into packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import id_stream, new_ids
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import State, UnitMove
from ordino.warehouse import ledger
from ordino.warehouse.events import FulfillmentPacked
from ordino.warehouse.ledger import Key, refuse, sql
from ordino.warehouse.model import (
    MAX_GRAMS,
    MAX_LABOR_SECONDS,
    FulfillmentLine,
    LineMove,
    NewPackage,
    Pack,
    Packed,
    WorkRefusal,
    WorkRefused,
)

Contents = dict[int, int]
"""Line number -> units."""


async def pack(tx: Tx, packs: Sequence[Pack], *, at: datetime) -> list[Packed | WorkRefused]:
    """One outcome an item, in order. A pack is done as told, or refused whole."""
    floor = await ledger.load(tx, [p.order_id for p in packs])
    refusals = ledger.doubtful(floor, packs)
    ids = id_stream(at)
    made: dict[int, list[UUID]] = {}
    boxes: list[tuple[UUID, UUID, UUID, NewPackage, Contents]] = []
    line_moves: list[LineMove] = []
    unit_moves: list[UnitMove] = []
    events: list[Event] = []
    labor_seconds: dict[Key, int] = {}
    for event_id, (index, item) in zip(new_ids(at, len(packs)), enumerate(packs), strict=True):
        if index in refusals:
            continue
        key = (item.order_id, item.fulfillment_order_id)
        lines = floor.lines[key]
        told = _told(item, lines)
        if isinstance(told, WorkRefused):
            refusals[index] = told
            continue
        made[index] = []
        total: Contents = {}
        for package, contents in told:
            package_id = next(ids)
            made[index].append(package_id)
            boxes.append((item.order_id, package_id, item.fulfillment_order_id, package, contents))
            for line_no, quantity in contents.items():
                total[line_no] = total.get(line_no, 0) + quantity
        for line_no, quantity in total.items():
            lines[line_no].picked -= quantity
            lines[line_no].packed += quantity
            line_moves.append(LineMove(*key, line_no, picked=-quantity, packed=quantity))
            unit_moves.append(UnitMove(item.order_id, line_no, State.PICKED, State.PACKED, quantity, event_id))
        labor_seconds[key] = labor_seconds.get(key, 0) + item.labor_seconds
        payload = FulfillmentPacked(fulfillment_order_id=item.fulfillment_order_id, package_ids=made[index])
        events.append(Event(item.order_id, event_id, at, payload, floor.orders[item.order_id].flow_version))
    statuses = await ledger.move(tx, line_moves, labor_seconds, packed_at=at)
    if boxes:
        await _write(tx, boxes, floor.lines, at)
        await orders_ledger.move_units(tx, unit_moves, at=at)
        await record(tx, events)
    return [
        refusals.get(index)
        or Packed(
            item.order_id,
            item.fulfillment_order_id,
            made[index],
            statuses[item.order_id, item.fulfillment_order_id],
        )
        for index, item in enumerate(packs)
    ]


def _told(item: Pack, lines: Mapping[int, FulfillmentLine]) -> list[tuple[NewPackage, Contents]] | WorkRefused:
    if not 0 <= item.labor_seconds <= MAX_LABOR_SECONDS:
        detail = f"Work takes 0 to {MAX_LABOR_SECONDS} seconds, not {item.labor_seconds}."
        return refuse(item, WorkRefusal.INVALID, detail, "/labor_seconds")
    if fault := extent_fault("packages", item.packages, item.all, of="one package with everything that was picked"):
        return refuse(item, WorkRefusal.INVALID, fault.detail, fault.pointer)
    left = {line.line_no: line.picked for line in lines.values() if line.picked}
    if not left:
        detail = "Nothing that was picked waits to be packed: it was packed or cancelled before, or is not picked yet."
        return refuse(item, WorkRefusal.DONE, detail)
    told: list[tuple[NewPackage, Contents]] = []
    for number, package in enumerate((NewPackage(all=True),) if item.packages is None else item.packages):
        pointer = "" if item.packages is None else f"/packages/{number}"
        if fault := extent_fault("lines", package.lines, package.all, of="everything that was picked"):
            return refuse(item, WorkRefusal.INVALID, fault.detail, f"{pointer}{fault.pointer}")
        if package.weight_grams is not None and not 0 <= package.weight_grams <= MAX_GRAMS:
            detail = f"A package weighs 0 to {MAX_GRAMS} grams, not {package.weight_grams}."
            return refuse(item, WorkRefusal.INVALID, detail, f"{pointer}/weight_grams")
        contents: Contents = {}
        if package.lines is None:
            contents = {line_no: quantity for line_no, quantity in left.items() if quantity}
        for index, asked in enumerate(package.lines or ()):
            where = f"{pointer}/lines/{index}"
            if asked.line_no not in lines:
                detail = f"The fulfillment order has no line {asked.line_no}."
                return refuse(item, WorkRefusal.UNKNOWN, detail, f"{where}/line_no")
            if asked.quantity < 1:
                detail = f"Pack at least one unit, not {asked.quantity}."
                return refuse(item, WorkRefusal.INVALID, detail, f"{where}/quantity")
            contents[asked.line_no] = contents.get(asked.line_no, 0) + asked.quantity
            if contents[asked.line_no] > left.get(asked.line_no, 0):
                detail = (
                    f"Of line {asked.line_no}, {left.get(asked.line_no, 0)} picked units are left for this package, "
                    f"not {contents[asked.line_no]}."
                )
                return refuse(item, WorkRefusal.TOO_MANY, detail, f"{where}/quantity")
        if not contents:
            return refuse(item, WorkRefusal.INVALID, "Nothing is left for this package; leave it out.", pointer)
        for line_no, quantity in contents.items():
            left[line_no] -= quantity
        told.append((package, contents))
    return told


async def _write(
    tx: Tx,
    boxes: Sequence[tuple[UUID, UUID, UUID, NewPackage, Contents]],
    lines: Mapping[Key, Mapping[int, FulfillmentLine]],
    at: datetime,
) -> None:
    unweighed = {
        lines[order_id, fulfillment_order_id][line_no].sku_id
        for order_id, _, fulfillment_order_id, package, contents in boxes
        if package.weight_grams is None
        for line_no in contents
    }
    grams = {}
    if unweighed:
        rows = await sql.sku_weights(tx, sku_ids=list(unweighed))
        grams = {row["sku_id"]: row["weight_grams"] for row in rows}
    weights = []
    for order_id, _, fulfillment_order_id, package, contents in boxes:
        weight = package.weight_grams
        if weight is None:
            here = lines[order_id, fulfillment_order_id]
            weight = sum(grams[here[line_no].sku_id] * quantity for line_no, quantity in contents.items())
        weights.append(weight)
    held = [(box[0], box[1], line_no, quantity) for box in boxes for line_no, quantity in box[4].items()]
    await sql.write_packages(
        tx,
        order_ids=[box[0] for box in boxes],
        package_ids=[box[1] for box in boxes],
        fulfillment_order_ids=[box[2] for box in boxes],
        cartons=[box[3].carton for box in boxes],
        weights=weights,
        at=at,
        line_order_ids=[row[0] for row in held],
        line_package_ids=[row[1] for row in held],
        line_nos=[row[2] for row in held],
        quantities=[row[3] for row in held],
    )
