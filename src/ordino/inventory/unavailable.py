"""Units that are there and may not be sold: set aside, restored, or scrapped.

UNA-1  What is set aside at a position in a condition is the sum of its moves, and never less than nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import kits
from ordino.core.codes import Code
from ordino.core.database import Raced, Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.inventory import expiry, holds, ledger, named
from ordino.inventory.adjust import MAX_UNITS, Document, StockRefusal, StockRefused
from ordino.inventory.detail import Lot, Serials
from ordino.inventory.events import StockReceived
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")


class SetAside(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units of a position in a condition: to be set aside, restored or scrapped."""

    sku: Code
    location: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)]
    condition: Code
    document: Document | None = None
    lot: Lot | None = None
    serials: Serials | None = None


class Condition(Struct, frozen=True):
    code: str
    sentence: str


class Aside(Struct, frozen=True, tag_field="outcome", tag="moved"):
    """``on_hand`` may be sold, ``unavailable`` units lie there in the condition and may not."""

    sku: str
    location: str
    on_hand: int
    unavailable: int


async def conditions(tx: Tx) -> list[Condition]:
    """Why units may not be sold."""
    return [Condition(**row) for row in await sql.conditions(tx)]


async def _move(kind: MoveKind, tx: Tx, items: Sequence[SetAside], *, at: datetime) -> list[Aside | StockRefused]:
    """One outcome an item, in order. What orders hold is never taken away; no more comes back than was set aside."""
    known = {condition.code for condition in await conditions(tx)}
    skus = await sku_ids(tx, [item.sku for item in items])
    places, of_kits = (await facts(tx)).location_ids, (await kits(tx)).parts
    outcomes: list[Aside | StockRefused | None] = [None] * len(items)
    keys: dict[int, tuple[int, int]] = {}
    for index, item in enumerate(items):
        refusal = _fault(item, skus, places, of_kits, known)
        if refusal is None:
            keys[index] = (skus[item.sku], places[item.location])
        outcomes[index] = refusal
    if kind is MoveKind.SET_ASIDE and tx.careful:
        await holds.lapse_first(tx, set(keys.values()), at=at)
    free, aside = await _positions(tx, sorted(set(keys.values())))
    if kind is MoveKind.SET_ASIDE:
        wanted: dict[tuple[int, int], int] = defaultdict(int)
        for index, key in keys.items():
            wanted[key] += items[index].quantity
        lacking = {key[0] for key, units in wanted.items() if units > free[key][0] - free[key][1]}
        if lacking and not tx.careful and await holds.any_lapsed(tx, lacking, at=at):
            raise Raced([])  # those let go before the stock is held
    cause_id, moves = new_id(at), []
    desk = await named.desk(tx, [(items[index], key) for index, key in keys.items()], at=at)
    for index, key in keys.items():
        item = items[index]
        on_hand, reserved = free[key]
        lies = aside[(*key, item.condition)]
        can = on_hand - reserved if kind is MoveKind.SET_ASIDE else lies
        if item.quantity > can:
            outcomes[index] = _too_many(item, kind, on_hand, reserved, lies)
            continue
        signed = -item.quantity if kind is not MoveKind.RESTORED else item.quantity
        if (
            desk is not None
            and (wrong := desk.fault(item, key, signed, aside=kind is not MoveKind.SET_ASIDE)) is not None
        ):
            outcomes[index] = StockRefused(item.sku, item.location, StockRefusal.DETAIL, wrong[1], wrong[0])
            continue
        if (
            kind is MoveKind.RESTORED
            and item.lot is not None
            and desk is not None
            and (day := desk.over(key, item.lot, at))
        ):
            detail = f"The lot {item.lot!r} expires on {day} and may no longer be sold at {item.location!r}; scrap the units."
            outcomes[index] = StockRefused(item.sku, item.location, StockRefusal.DETAIL, detail, "/lot")
            continue
        on_hand_delta = {MoveKind.SET_ASIDE: -item.quantity, MoveKind.RESTORED: item.quantity}.get(kind, 0)
        unavailable_delta = item.quantity if kind is MoveKind.SET_ASIDE else -item.quantity
        free[key] = (on_hand + on_hand_delta, reserved)
        aside[(*key, item.condition)] += unavailable_delta
        outcomes[index] = Aside(item.sku, item.location, on_hand + on_hand_delta, lies + unavailable_delta)
        moves.append(
            StockMove(
                *key,
                cause_id,
                kind,
                on_hand_delta=on_hand_delta,
                line_no=index + 1,
                reason=item.condition,
                unavailable_delta=unavailable_delta,
                document=item.document,
                parts=named.parts_of(item, item.quantity),
                serials=tuple(item.serials or ()),
            )
        )
    if desk is not None:
        await named.know_lots(tx, desk.lots, at=at)
    if kind is MoveKind.RESTORED and moves:
        payload = StockReceived(sku_ids=sorted({move.sku_id for move in moves}))
        await record(tx, [Event(cause_id, cause_id, at, payload, await tx.plans.active(tx))])
    await ledger.post(tx, moves, at=at)
    return [outcome for outcome in outcomes if outcome is not None]


set_aside = partial(_move, MoveKind.SET_ASIDE)
restore = partial(_move, MoveKind.RESTORED)
scrap = partial(_move, MoveKind.SCRAPPED)


async def expire_lots(tx: Tx, since: datetime, at: datetime) -> None:
    """Units of lots whose last selling day has ended where they lie are set aside; what orders hold of them is a shortfall."""
    if keys := await expiry.due(tx, at=at):
        await ledger.post(tx, await expiry.clear(tx, keys, at=at), at=at)


async def _positions(
    tx: Tx, keys: Sequence[tuple[int, int]]
) -> tuple[dict[tuple[int, int], tuple[int, int]], dict[tuple[int, int, str], int]]:
    """On hand and reserved of these positions, locked in key order, and what is set aside there by condition."""
    skus, places = [key[0] for key in keys], [key[1] for key in keys]
    await sql.open_positions(tx, sku_ids=skus, location_ids=places)
    rows = await sql.lock_some(tx, sku_ids=skus, location_ids=places)
    free = {(row["sku_id"], row["location_id"]): (row["on_hand"], row["reserved"]) for row in rows}
    aside: dict[tuple[int, int, str], int] = defaultdict(int)
    for row in await sql.unavailable_of(tx, sku_ids=skus):
        aside[row["sku_id"], row["location_id"], row["condition"]] = row["quantity"]
    return free, aside


def _fault(
    item: SetAside, skus: dict[str, int], places: dict[str, int], of_kits: object, known: set[str]
) -> StockRefused | None:
    def refuse(reason: StockRefusal, detail: str, pointer: str) -> StockRefused:
        return StockRefused(item.sku, item.location, reason, detail, pointer)

    if not 1 <= item.quantity <= MAX_UNITS:
        return refuse(StockRefusal.INVALID, f"Name 1 to {MAX_UNITS} units.", "/quantity")
    if item.condition not in known:
        detail = f"There is no condition {item.condition!r}; choose from {', '.join(sorted(known))}."
        return refuse(StockRefusal.INVALID, detail, "/condition")
    if item.sku not in skus:
        return refuse(StockRefusal.UNKNOWN_SKU, f"The SKU {item.sku!r} does not exist.", "/sku")
    if item.location not in places:
        return refuse(StockRefusal.UNKNOWN_LOCATION, f"The location {item.location!r} does not exist.", "/location")
    if skus[item.sku] in of_kits:  # type: ignore[operator]
        return refuse(
            StockRefusal.KIT, f"{item.sku!r} is a kit and has no stock of its own; name its components.", "/sku"
        )
    return None


def _too_many(item: SetAside, kind: MoveKind, on_hand: int, reserved: int, lies: int) -> StockRefused:
    if kind is MoveKind.SET_ASIDE:
        detail = (
            f"{on_hand} units are on hand and orders hold {reserved} of them; at most {on_hand - reserved} can be set aside. "
            "Cancel or re-source orders first."
        )
        return StockRefused(item.sku, item.location, StockRefusal.RESERVED, detail, "/quantity")
    detail = f"Only {lies} units are set aside at {item.location!r} in the condition {item.condition!r}; name at most that many."
    return StockRefused(item.sku, item.location, StockRefusal.TOO_FEW, detail, "/quantity")
