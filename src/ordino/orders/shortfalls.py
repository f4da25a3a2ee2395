"""Orders that hold units which are not there: they are looked at in the order of harm, and sourced anew.

Carts let go first, the last held first; then orders whose units have no work yet, the last placed first, so that the first placed
keep theirs. What the warehouse has in work is the warehouse's to stop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.payloads import Units
from ordino.core.statements import statements
from ordino.inventory import holds, shortfalls
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts
from ordino.orders import capacity, ledger
from ordino.orders.events import ShortfallLeft, UnitsAtRisk
from ordino.orders.model import OrderRow, State, UnitMove

sql = statements("ordino.orders")
REASON = "shortfall"


class AtRisk(Struct, frozen=True):
    """An order line (or a transfer's, or a cart's: then without an external id) that holds units of the position."""

    order_id: UUID
    external_id: str | None
    line_no: int
    quantity: int
    promised_at: datetime | None


class ShortfallView(Struct, frozen=True):
    """``missing`` = ``open`` + ``resolved`` + ``recovered``. ``note`` is what somebody wrote who closed it. ``at_risk``: the last
    placed first.
    """

    shortfall_id: UUID
    sku: str
    location: str
    missing: int
    open: int
    resolved: int
    recovered: int
    document: str | None
    found_at: datetime
    closed_at: datetime | None
    note: str | None
    at_risk: list[AtRisk]


async def source_anew(tx: Tx, positions: Sequence[tuple[int, int]], *, at: datetime) -> None:
    """Free units of these positions (SKU id, location id) until nothing is missing, as far as orders without work go."""
    keys = list(dict.fromkeys(positions))
    owners = {key: await sql.reserved_at(tx, sku_id=key[0], location_id=key[1]) for key in keys}
    held = await _hold(tx, {key: rows for key, rows in owners.items() if rows}, at)
    for key in keys:
        orders = {row["order_id"]: held[row["order_id"]] for row in owners[key] if row["order_id"] in held}
        await _source_anew(tx, key, owners[key], orders, at)


async def _hold(tx: Tx, owners: Mapping[tuple[int, int], Sequence[Any]], at: datetime) -> dict[UUID, OrderRow]:
    """Everything of all positions that may move, in the order of ``core/locks.py``: orders, holds, days, stock. What changed before
    that is looked at again afterwards.
    """
    if not owners:
        return {}
    rows = [row for some in owners.values() for row in some]
    orders = await ledger.lock(tx, [row["order_id"] for row in rows if row["expires_at"] is None])
    carts = {row["order_id"] for row in rows if row["expires_at"] is not None}
    lapsed = await holds.lock_lapsed(tx, (), at=at, beside=sorted(carts))
    assert not lapsed.units, "no SKUs were asked for"
    await capacity.hold_claims(tx, await facts(tx), list(orders), at=at)
    of_carts = {sku_id for units in (await holds.units_of(tx, carts)).values() for sku_id, _ in units}
    await stock.hold(tx, await ledger.skus_of(tx, orders) | of_carts | {sku_id for sku_id, _ in owners})
    return orders


async def _source_anew(
    tx: Tx, key: tuple[int, int], owners: Sequence[Any], orders: Mapping[UUID, OrderRow], at: datetime
) -> None:
    left = await _left(tx, key)
    if not left:
        return
    carts, enough = [], 0
    for owner in sorted(owners, key=lambda owner: owner["order_id"], reverse=True):
        if owner["expires_at"] is not None and enough < left:
            carts.append(owner["order_id"])
            enough += owner["quantity"]
    if carts:
        await holds.release(tx, carts, at=at)
        left = await _left(tx, key)
    parts = await kit_ledger.frozen(tx, [(row["order_id"], row["line_no"]) for row in owners])
    allocated = [
        a for a in await ledger.allocations(tx, list(orders)) if a.location_id == key[1] and a.quantity > a.released
    ]
    allocated.sort(key=lambda a: (a.order_id, a.line_no), reverse=True)
    unit_moves, stock_moves, events = [], [], []
    taken: dict[ledger.AllocationKey, tuple[int, int]] = {}
    by_order: dict[UUID, list[Units]] = defaultdict(list)
    ids = dict(zip(orders, new_ids(at, len(orders)), strict=True))
    for row in allocated:
        each = dict(parts.get((row.order_id, row.line_no), ((row.sku_id, 1),))).get(key[0], 0)
        if left <= 0 or not each:
            continue
        units = min(row.quantity - row.released, -(-left // each))
        left -= units * each
        event_id = ids[row.order_id]
        taken[row.order_id, row.line_no, row.location_id] = (units, 0)
        unit_moves.append(
            UnitMove(row.order_id, row.line_no, State.ALLOCATED, State.BACKORDERED, units, event_id, REASON)
        )
        stock_moves.append(
            StockMove(
                row.sku_id, row.location_id, event_id, MoveKind.RELEASED, reserved_delta=-units, reason=REASON,
                order_id=row.order_id, line_no=row.line_no,
            )
        )  # fmt: skip
        by_order[row.order_id].append(Units(row.line_no, units))
    for order_id, lines in by_order.items():
        events.append(Event(order_id, ids[order_id], at, UnitsAtRisk(lines=lines), orders[order_id].flow_version))
    if left > 0:
        [event_id] = new_ids(at, 1)
        missing = ShortfallLeft(sku_id=key[0], location_id=key[1])
        events.append(Event(event_id, event_id, at, missing, await tx.plans.active(tx)))
    await ledger.move_units(tx, unit_moves, at=at)
    await ledger.take_allocations(tx, taken)
    if by_order:
        await capacity.give_back(tx, await facts(tx), list(by_order))
    await record(tx, events)
    await stock.post(tx, stock_moves, at=at)


async def _left(tx: Tx, key: tuple[int, int]) -> int:
    return (await shortfalls.open_units(tx, [key])).get(key, (None, 0))[1]


class Within(Struct, frozen=True, kw_only=True):
    """Whose shortfalls are told: those at ``locations``, with orders of ``sellers`` at risk. None: all."""

    locations: Sequence[str] | None = None
    sellers: Sequence[str] | None = None


EVERYWHERE = Within()


async def shortfalls_before(
    tx: Tx, before: UUID, limit: int, *, all: bool, within: Within = EVERYWHERE
) -> list[ShortfallView]:
    """One page, newest first, with the orders at risk; those that are open, or all."""
    known = await facts(tx)
    places, codes = known.locations, within.locations
    ids = None if codes is None else [known.location_ids[code] for code in codes if code in known.location_ids]
    found = []
    for row in await sql.shortfalls_page(tx, before=before, limit=limit, all=all, location_ids=ids):
        at_risk = []
        if row["open"]:
            position = {"sku_id": row["sku_id"], "location_id": row["location_id"]}
            owners = await sql.at_risk(tx, **position, limit=100, sellers=within.sellers)
            at_risk = [AtRisk(**owner) for owner in owners]
        values = {name: row[name] for name in ShortfallView.__struct_fields__ if name not in ("location", "at_risk")}
        found.append(ShortfallView(**values, location=places[row["location_id"]].code, at_risk=at_risk))
    return found
