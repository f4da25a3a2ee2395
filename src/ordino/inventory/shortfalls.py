"""Shortfalls: units that are promised and were not there when somebody counted.

A count is the truth, and orders may hold more than it leaves. Then on hand comes down to what is reserved, so that nothing more is
promised, and what is missing beyond that is a shortfall. Whatever frees units of the position after that (an order that
is sourced anew, a cancellation, a receipt) makes it smaller before it makes anything available.

SHO-1  Every missing unit of a shortfall is open, resolved or recovered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.codes import ReasonCode
from ordino.core.database import Tx
from ordino.core.errors import Conflict, NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.inventory.detail import tracked
from ordino.inventory.events import ShortfallClosed, ShortfallFound, StockReceived
from ordino.inventory.model import MoveKind, StockMove

sql = statements("ordino.inventory")

Key = tuple[int, int]


class Closure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a shortfall is none any more: the units were found. ``reason`` is a code, which the event carries."""

    reason: ReasonCode = "found"
    note: (
        Annotated[
            str,
            Meta(
                max_length=1000,
                pattern=r"^[^\x00]*$",
                description="Words of your own. They are kept with the shortfall, in no event, and can be erased.",
            ),
        ]
        | None
    ) = None


class Closed(Struct, frozen=True):
    shortfall_id: UUID
    recovered: int


class Erased(Struct, frozen=True, kw_only=True):
    """Whether the shortfall had a note."""

    shortfall_id: UUID
    erased: bool


async def note(tx: Tx, missing: Mapping[Key, int], *, at: datetime, document: str | None) -> dict[Key, UUID]:
    """What a count says of these positions (0: nothing is missing). The newest count is the truth: it replaces what was open.

    Returns the shortfalls that are open now, and tells of those that are new or have grown.
    """
    there = {(row["sku_id"], row["location_id"]): row for row in await _open(tx, list(missing))}
    news = {key: units for key, units in missing.items() if units and key not in there}
    for key, id_ in zip(news, new_ids(at, len(news)), strict=True):
        there[key] = {"shortfall_id": id_, "open": 0}
    if news:
        await sql.write_shortfalls(
            tx,
            shortfall_ids=[there[key]["shortfall_id"] for key in news],
            sku_ids=[key[0] for key in news],
            location_ids=[key[1] for key in news],
            quantities=list(news.values()),
            document=document,
            at=at,
        )
    changed = {key: units - there[key]["open"] for key, units in missing.items() if key in there and key not in news}
    if any(changed.values()):
        await sql.recount_shortfalls(
            tx,
            shortfall_ids=[there[key]["shortfall_id"] for key in changed],
            deltas=list(changed.values()),
            at=at,
        )
    grown = {**news, **{key: units for key, units in changed.items() if units > 0}}
    if grown:
        version = await tx.plans.active(tx)
        events = []
        for (key, units), event_id in zip(grown.items(), new_ids(at, len(grown)), strict=True):
            payload = ShortfallFound(sku_id=key[0], location_id=key[1], quantity=units, document=document)
            events.append(Event(there[key]["shortfall_id"], event_id, at, payload, version))
        await record(tx, events)
    return {key: there[key]["shortfall_id"] for key, units in missing.items() if units}


async def absorb(tx: Tx, moves: Sequence[StockMove], at: datetime) -> list[StockMove]:
    """The corrections that follow from moves which have freed units of positions with a shortfall, and what they resolve.
    Units that left were there: no more is missing than is left. The moves are written, and their positions held.
    """
    freed: dict[Key, int] = defaultdict(int)
    arrived: dict[Key, int] = defaultdict(int)
    written_off: dict[Key, int] = defaultdict(int)
    counted: set[Key] = set()
    for move in moves:
        key = (move.sku_id, move.location_id)
        freed[key] += move.on_hand_delta - move.reserved_delta
        arrived[key] += move.on_hand_delta
        if move.kind is MoveKind.COUNTED:
            counted.add(key)
        elif move.kind is MoveKind.ADJUSTED and move.order_id is not None:
            written_off[key] -= move.on_hand_delta
    keys = [key for key in freed if key not in counted and (freed[key] > 0 or written_off[key] > 0 or arrived[key] < 0)]
    rows = await _open(tx, keys) if keys else ()
    if not rows:
        return []
    left = await _on_hand(tx, [key for row in rows if arrived[key := (row["sku_id"], row["location_id"])] < 0])
    corrections = []
    resolved: dict[UUID, int] = {}
    recovered: dict[UUID, int] = {}
    for row in rows:
        key = (row["sku_id"], row["location_id"])
        gone = min(row["open"], written_off[key])
        taken = min(row["open"] - gone, max(freed[key], 0))
        resolved[row["shortfall_id"]] = gone + taken
        if key in left and (more := row["open"] - gone - left[key]) > 0:
            recovered[row["shortfall_id"]] = more
        if taken:
            document = str(row["shortfall_id"])
            corrections.append(
                StockMove(
                    *key, row["shortfall_id"], MoveKind.COUNTED, on_hand_delta=-taken, line_no=row["resolved"],
                    reason="shortfall", document=document,
                )
            )  # fmt: skip
    if resolved:
        await sql.resolve_shortfalls(tx, shortfall_ids=list(resolved), quantities=list(resolved.values()), at=at)
    if recovered:
        await sql.recount_shortfalls(
            tx, shortfall_ids=list(recovered), deltas=[-units for units in recovered.values()], at=at
        )
    return corrections


async def _on_hand(tx: Tx, keys: Sequence[Key]) -> dict[Key, int]:
    """What lies at these positions, which are held."""
    if not keys:
        return {}
    columns = {"sku_ids": [key[0] for key in keys], "location_ids": [key[1] for key in keys]}
    return {(row["sku_id"], row["location_id"]): row["on_hand"] for row in await sql.lock_some(tx, **columns)}


async def open_units(tx: Tx, keys: Collection[Key]) -> dict[Key, tuple[UUID, int]]:
    """(SKU id, location id) -> shortfall and units still missing, locked."""
    return {
        (row["sku_id"], row["location_id"]): (row["shortfall_id"], row["open"]) for row in await _open(tx, list(keys))
    }


async def close(tx: Tx, shortfall_id: UUID, closure: Closure, *, at: datetime) -> Closed:
    """The units are there after all. Raises ``NotFound``, and ``Conflict`` where nothing is open."""
    rows = await sql.lock_shortfall(tx, shortfall_id=shortfall_id)
    if not rows:
        raise NotFound(f"There is no shortfall {shortfall_id}.")
    [row] = rows
    if not row["open"]:
        raise Conflict("The shortfall is closed.")
    tracking = (await tracked(tx)).get(row["sku_id"])
    if tracking is not None and tracking.by == "lot":
        raise Conflict(
            "The units are there, and have expired: they are set aside as orders let go of them. Cancel the orders that hold them, "
            "or receive other units; the shortfall closes by itself."
        )
    await sql.recover_shortfall(tx, shortfall_id=shortfall_id, note=closure.note or None, at=at)
    closed = ShortfallClosed(reason=closure.reason, recovered=row["open"], actor=tx.actor)
    event_id, found_id = new_ids(at, 2)
    version = await tx.plans.active(tx)
    found = StockReceived(sku_ids=[row["sku_id"]], found=[(row["sku_id"], row["location_id"])])
    await record(
        tx,
        [
            Event(shortfall_id, event_id, at, closed, version),
            Event(found_id, found_id, at, found, version),
        ],
    )
    return Closed(shortfall_id, row["open"])


async def erase_note(tx: Tx, shortfall_id: UUID) -> Erased:
    """What somebody wrote when they closed a shortfall can be read no longer. To repeat it changes nothing. Raises ``NotFound``."""
    rows = await sql.lock_shortfall(tx, shortfall_id=shortfall_id)
    if not rows:
        raise NotFound(f"There is no shortfall {shortfall_id}.")
    return Erased(shortfall_id=shortfall_id, erased=bool(await sql.erase_shortfall_note(tx, shortfall_id=shortfall_id)))


async def _open(tx: Tx, keys: Sequence[Key]) -> Sequence[Any]:
    ordered = sorted(keys)
    return await sql.open_shortfalls(tx, sku_ids=[key[0] for key in ordered], location_ids=[key[1] for key in ordered])
