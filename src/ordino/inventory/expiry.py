"""Lots past their date: nobody is offered them, nobody picks them unasked, and they are set aside.

A lot is sold until the end of its last selling day: the date printed on it, less its SKU's ``stop_selling_days``, in the time zone
of the location where it lies. After that a duty sets it aside as ``expired``. Until the duty has run, whatever decides on stock
or tells of it subtracts what lies on shelves of such lots. What orders hold comes from good units first; where they hold more than
the good units, the rest is a shortfall, and they are sourced anew.

EXP-1  What is offered, promised or picked unasked is never of a lot whose last selling day has ended where it lies.
EXP-2  At a position with expired lots, nothing is free once they are set aside, and what orders hold of them is its shortfall.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import shortfalls
from ordino.inventory.detail import Key, is_over, tracked
from ordino.inventory.events import LotExpiredReserved
from ordino.inventory.model import MoveKind, Part, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")
CONDITION = "expired"
AT_ONCE = 1000
STAY = frozenset({MoveKind.PICKED, MoveKind.SHIPPED, MoveKind.SENT, MoveKind.RESERVED, MoveKind.HELD})
"""Kinds of moves that neither free units of a shelf nor bring any."""


class Expired(NamedTuple):
    """Units on shelves of a lot that may no longer be sold."""

    lot: str
    expires_on: date
    quantity: int


async def lot_tracked(tx: Tx, sku_ids: Iterable[int]) -> dict[int, int]:
    """SKU id -> how many days before their date its lots are no longer sold, of those of these SKUs that have lots.

    It asks the database nothing: what is tracked is kept by the process.
    """
    by = await tracked(tx)
    if not by:
        return {}
    return {sku_id: by[sku_id].stop_selling_days for sku_id in sku_ids if sku_id in by and by[sku_id].by == "lot"}


async def expired_lots(tx: Tx, sku_ids: Iterable[int], *, at: datetime) -> dict[Key, list[Expired]]:
    """(SKU id, location id) -> lots on shelves there that may no longer be sold, first expired first."""
    stops = await lot_tracked(tx, sku_ids)
    if not stops:
        return {}
    places, found = (await facts(tx)).locations, defaultdict(list)
    rows = await sql.lots_before(tx, sku_ids=list(stops), before=_latest(at) + timedelta(days=max(stops.values())))
    for row in rows:
        sku_id, location_id = row["sku_id"], row["location_id"]
        if is_over(row["expires_on"], stops[sku_id], places[location_id].zone, at):
            found[sku_id, location_id].append(Expired(row["lot"], row["expires_on"], row["quantity"]))
    return dict(found)


async def expired_units(tx: Tx, sku_ids: Iterable[int], *, at: datetime) -> dict[Key, int]:
    """(SKU id, location id) -> units that are on hand and may no longer be sold, where there are any."""
    lots = await expired_lots(tx, sku_ids, at=at)
    return {key: sum(lot.quantity for lot in some) for key, some in lots.items()}


async def leave_out(tx: Tx, free: Mapping[int, dict[int, int]], *, at: datetime) -> None:
    """Take what may no longer be sold out of free units (SKU id -> location id -> units)."""
    for (sku_id, location_id), expired in (await expired_units(tx, free, at=at)).items():
        left = free[sku_id].pop(location_id, 0) - expired
        if left > 0:
            free[sku_id][location_id] = left


def _latest(at: datetime) -> date:
    """No location has a later day yet; dates before it are looked at."""
    return at.astimezone(UTC).date() + timedelta(days=2)


async def settle(tx: Tx, moves: Sequence[StockMove], at: datetime) -> list[StockMove]:
    """What follows from moves that brought or freed units of lots, once they are written: the moves that set expired ones aside."""
    stops = await lot_tracked(tx, (move.sku_id for move in moves))
    if not stops:
        return []
    keys = {
        (move.sku_id, move.location_id)
        for move in moves
        if move.sku_id in stops and move.kind not in STAY and not _aside_already(move)
    }
    return await clear(tx, keys, at=at) if keys else []


def _aside_already(move: StockMove) -> bool:
    return move.kind is MoveKind.SET_ASIDE and move.reason == CONDITION


async def clear(tx: Tx, keys: Collection[Key], *, at: datetime) -> list[StockMove]:
    """The moves that set aside what is expired and free at these positions. What orders hold beyond the good units is their
    shortfall: it grows, is told, and shrinks again as good units come or orders let go.
    """
    ordered = sorted(keys)
    stock = {
        (row["sku_id"], row["location_id"]): row["on_hand"] - row["reserved"]
        for row in await sql.lock_some(
            tx, sku_ids=[key[0] for key in ordered], location_ids=[key[1] for key in ordered]
        )
    }
    lots = await expired_lots(tx, {key[0] for key in ordered}, at=at)
    open_ = await shortfalls.open_units(tx, ordered)
    moves: list[StockMove] = []
    missing: dict[Key, int] = {}
    resolved = {}
    held: list[tuple[Key, str, int]] = []
    for key in ordered:
        free, left = stock.get(key, 0), 0
        for lot, _, quantity in lots.get(key, ()):
            units = min(quantity, free)
            free -= units
            left += quantity - units
            if units:
                part = Part(units, None, lot)
                moves.append(
                    StockMove(
                        *key, new_id(at), MoveKind.SET_ASIDE, on_hand_delta=-units, unavailable_delta=units, reason=CONDITION,
                        parts=(part,),
                    )
                )  # fmt: skip
            if units < quantity:
                held.append((key, lot, quantity - units))
        shortfall_id, was = open_.get(key, (None, 0))
        if left > was:
            missing[key] = left
        elif shortfall_id is not None and left < was:
            resolved[shortfall_id] = was - left
    if resolved:
        await sql.resolve_shortfalls(tx, shortfall_ids=list(resolved), quantities=list(resolved.values()), at=at)
    if missing:
        await shortfalls.note(tx, missing, at=at, document=CONDITION)
        await _tell(tx, [one for one in held if one[0] in missing], at)
    return moves


async def _tell(tx: Tx, held: Sequence[tuple[Key, str, int]], at: datetime) -> None:
    version = await tx.plans.active(tx)
    events = []
    for (key, lot, quantity), event_id in zip(held, new_ids(at, len(held)), strict=True):
        payload = LotExpiredReserved(sku_id=key[0], location_id=key[1], lot=lot, quantity=quantity)
        events.append(Event(event_id, event_id, at, payload, version))
    await record(tx, events)


async def due(tx: Tx, *, at: datetime) -> list[Key]:
    """Positions where lots are to be set aside, or to be told of; so many at once."""
    stops = [tracking.stop_selling_days for tracking in (await tracked(tx)).values() if tracking.by == "lot"]
    if not stops:
        return []
    places = (await facts(tx)).locations
    rows = await sql.expired_positions(
        tx,
        location_ids=list(places),
        days=[at.astimezone(place.zone).date() for place in places.values()],
        before=_latest(at) + timedelta(days=max(stops)),
        limit=AT_ONCE,
    )
    return [(row["sku_id"], row["location_id"]) for row in rows]
