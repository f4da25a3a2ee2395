"""Bins, lots and serial numbers: where exactly, of which lot, and which ones. Whoever does not use them pays nothing.

A position is *detailed* where its location has bins or its SKU is tracked by lot or serial number. Its detail is kept by the
ledger's one door, in the transaction that moves its units, with its stock row held. Units come into the bin that is named, else
``-``; they leave as named, else first expired, first out. Picked units lie in a bin of their own until they ship.

DET-1  The detail of a position sums to its on hand, and what lies in the bin of picked units to its picked ones.
DET-2  Detail is the sum of its moves.
SER-1  A serial number is in one place; those that are at a position are as many as its on hand.
LOT-1  A lot that must have a date has one, and keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core import kept
from ordino.core.database import Raced, Tx
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.inventory.model import MoveKind, Part, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")
RECEIVING = "-"
PICKED = "(picked)"
NO_LOT = ""
FAR = date.max

Key = tuple[int, int]
Place = tuple[str, str]
"""(bin, lot)"""

Lot = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
Serial = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
Serials = Annotated[list[Serial], Meta(min_length=1, max_length=10_000)]


class Tracking(Struct, frozen=True):
    """How a SKU is tracked: by ``lot`` or by ``serial``."""

    by: str
    expiry_required: bool


class State(NamedTuple):
    """What becomes of serial numbers by a kind of move."""

    state: str
    from_states: tuple[str, ...]


SERIALS: dict[MoveKind, State] = {
    MoveKind.RECEIVED: State("in_stock", ("gone",)),
    MoveKind.RETURNED: State("in_stock", ("shipped",)),
    MoveKind.RESTORED: State("in_stock", ("set_aside",)),
    MoveKind.ARRIVED: State("in_stock", ("in_transit",)),
    MoveKind.PICKED: State("picked", ("in_stock",)),
    MoveKind.UNPICKED: State("in_stock", ("picked",)),
    MoveKind.SHIPPED: State("shipped", ("picked",)),
    MoveKind.SENT: State("in_transit", ("in_stock",)),
    MoveKind.SET_ASIDE: State("set_aside", ("in_stock",)),
    MoveKind.SCRAPPED: State("gone", ("set_aside",)),
}


def becomes(move: StockMove) -> State | None:
    """Found units come into stock, lost ones are gone; units that are reserved or let go stay where they are."""
    if move.kind in (MoveKind.ADJUSTED, MoveKind.COUNTED):
        return State("in_stock", ("gone",)) if move.on_hand_delta > 0 else State("gone", ("in_stock",))
    return SERIALS.get(move.kind)


async def tracked(tx: Tx) -> dict[int, Tracking]:
    """SKU id -> how it is tracked, of those that are."""
    return await kept.current(tx, "tracking", _load)


async def _load(tx: Tx) -> dict[int, Tracking]:
    return {row["sku_id"]: Tracking(row["tracking"], row["expiry_required"]) for row in await sql.tracked_skus(tx)}


async def settle(tx: Tx, moves: Sequence[StockMove]) -> Sequence[StockMove]:
    """What a short pick says of a SKU by serial number names none: it says nothing of the stock until somebody counts."""
    by = await tracked(tx)
    if not by:
        return moves
    return [
        move
        for move in moves
        if move.kind is not MoveKind.ADJUSTED
        or move.order_id is None
        or move.serials
        or move.sku_id not in by
        or by[move.sku_id].by != "serial"
    ]


async def keep(tx: Tx, moves: Sequence[StockMove], at: datetime) -> None:
    """Bring the detail of the positions that these moves touch in step with them."""
    by, binned = await tracked(tx), (await facts(tx)).binned
    if not by and not binned:
        return
    concerned = [
        move
        for move in moves
        if (move.on_hand_delta or move.picked_delta) and (move.sku_id in by or move.location_id in binned)
    ]
    aside = [move for move in moves if move.kind is MoveKind.SCRAPPED and move.sku_id in by]
    if not concerned and not aside:
        return
    keys = sorted({(move.sku_id, move.location_id) for move in (*concerned, *aside)})
    shelves = await shelves_held(tx, keys, at)
    came = await _came_from(tx, concerned)
    deltas: dict[tuple[Key, Place], int] = defaultdict(int)
    rows: list[tuple[StockMove, str, str, int]] = []
    for move in concerned:
        key = (move.sku_id, move.location_id)
        for bin_, lot, delta in _changes(move, shelves[key], came):
            shelves[key].units[bin_, lot] += delta
            deltas[key, (bin_, lot)] += delta
            rows.append((move, bin_, lot, delta))
    await write(tx, deltas, rows, at)
    for move in (*concerned, *aside):
        if move.sku_id in by and by[move.sku_id].by == "serial":
            await _move_serials(tx, move, at)


class Shelf(Struct):
    """What lies where at a position, and when its lots expire."""

    units: dict[Place, int]
    expires: Mapping[str, date | None]

    def take(
        self, quantity: int, *, picked: bool = False, bin_: str | None = None, lot: str | None = None
    ) -> list[tuple[str, str, int]]:
        """(bin, lot, units), first expired first, of what is (not) picked, in a bin or of a lot. Fewer if there are fewer."""
        taken = []
        fitting = [
            place
            for place, units in self.units.items()
            if units > 0 and (place[0] == PICKED) == picked and bin_ in (None, place[0]) and lot in (None, place[1])
        ]
        for place in sorted(fitting, key=lambda place: (self.expires.get(place[1]) or FAR, place[1], place[0])):
            units = min(self.units[place], quantity)
            quantity -= units
            taken.append((*place, units))
            if not quantity:
                break
        return taken


async def shelves_of(tx: Tx, keys: Sequence[Key]) -> dict[Key, Shelf]:
    """What lies where at these positions, as it stands."""
    skus, places = [key[0] for key in keys], [key[1] for key in keys]
    dates: dict[int, dict[str, date | None]] = defaultdict(dict)
    for row in await sql.lots_of(tx, sku_ids=sorted(set(skus))):
        dates[row["sku_id"]][row["lot"]] = row["expires_on"]
    shelves = {key: Shelf(defaultdict(int), dates[key[0]]) for key in keys}
    for row in await sql.detail_of(tx, sku_ids=skus, location_ids=places):
        shelves[row["sku_id"], row["location_id"]].units[row["bin"], row["lot"]] = row["quantity"]
    return shelves


async def shelves_held(tx: Tx, keys: Sequence[Key], at: datetime) -> dict[Key, Shelf]:
    """The same, with the stock rows held; a position that had no detail begins with what it has."""
    skus, places = [key[0] for key in keys], [key[1] for key in keys]
    stock = {
        (row["sku_id"], row["location_id"]): row
        for row in await sql.lock_detailed(tx, sku_ids=skus, location_ids=places)
    }
    shelves = await shelves_of(tx, keys)
    opened: dict[tuple[Key, Place], int] = {}
    for key, row in stock.items():
        if not shelves[key].units:
            for place, units in ((RECEIVING, row["on_hand"] - row["picked"]), (PICKED, row["picked"])):
                if units:
                    shelves[key].units[place, NO_LOT] = opened[key, (place, NO_LOT)] = units
    if opened:
        cause = new_id(at)
        moves = [
            (StockMove(*key, cause, MoveKind.COUNTED), bin_, lot, units) for (key, (bin_, lot)), units in opened.items()
        ]
        await write(tx, opened, moves, at)
    return shelves


def _changes(
    move: StockMove, shelf: Shelf, came: dict[tuple[int, UUID, int], list[list[Any]]]
) -> list[tuple[str, str, int]]:
    if move.kind is MoveKind.SHIPPED:
        return _less(shelf.take(-move.on_hand_delta, picked=True), -move.on_hand_delta)
    if move.picked_delta > 0:
        taken = _taken(move, shelf, move.picked_delta)
        return taken + [(PICKED, lot, -units) for _, lot, units in taken]
    if move.picked_delta < 0:
        taken = _less(shelf.take(-move.picked_delta, picked=True), -move.picked_delta)
        return taken + [(RECEIVING, lot, -units) for _, lot, units in taken]
    if move.on_hand_delta < 0:
        return _taken(move, shelf, -move.on_hand_delta)
    if move.parts:
        return [(part.bin or RECEIVING, part.lot or NO_LOT, part.quantity) for part in move.parts]
    left, put = move.on_hand_delta, []
    if move.order_id is not None:  # what left comes back with the lots that it had
        for known in came.get((move.sku_id, move.order_id, move.line_no), ()):
            units = min(left, known[1])
            if units > 0:
                known[1] -= units
                left -= units
                put.append((RECEIVING, known[0], units))
    return [*put, (RECEIVING, NO_LOT, left)] if left else put


def _taken(move: StockMove, shelf: Shelf, quantity: int) -> list[tuple[str, str, int]]:
    if not move.parts:
        return _less(shelf.take(quantity), quantity)
    taken = []
    for part in move.parts:
        taken += _less(shelf.take(part.quantity, bin_=part.bin, lot=part.lot), part.quantity)
    return taken


def _less(taken: Sequence[tuple[str, str, int]], quantity: int) -> list[tuple[str, str, int]]:
    if sum(units for _, _, units in taken) < quantity:
        raise Raced([])  # somebody was faster: it is decided again on what is there now
    return [(bin_, lot, -units) for bin_, lot, units in taken]


async def _came_from(tx: Tx, moves: Sequence[StockMove]) -> dict[tuple[int, UUID, int], list[list[Any]]]:
    """(SKU id, order id, line) -> [lot, units] that left for it and have not come back."""
    back = [m for m in moves if m.on_hand_delta > 0 and m.order_id is not None and not m.parts]
    if not back:
        return {}
    lots: dict[tuple[int, UUID, int], list[list[Any]]] = defaultdict(list)
    rows = await sql.lots_that_left(
        tx, sku_ids=[m.sku_id for m in back], order_ids=[m.order_id for m in back], line_nos=[m.line_no for m in back]
    )
    for row in rows:
        lots[row["sku_id"], row["order_id"], row["line_no"]].append([row["lot"], row["quantity"]])
    return lots


async def write(
    tx: Tx, deltas: Mapping[tuple[Key, Place], int], rows: Sequence[tuple[StockMove, str, str, int]], at: datetime
) -> None:
    grown = sorted((key, place, delta) for (key, place), delta in deltas.items() if delta)
    await sql.move_detail(
        tx,
        sku_ids=[key[0] for key, _, _ in grown],
        location_ids=[key[1] for key, _, _ in grown],
        bins=[place[0] for _, place, _ in grown],
        lots=[place[1] for _, place, _ in grown],
        deltas=[delta for _, _, delta in grown],
    )
    summed: dict[tuple[Any, ...], int] = defaultdict(int)
    for move, bin_, lot, delta in rows:
        names = (move.sku_id, move.cause_id, move.location_id, move.line_no, str(move.kind), bin_, lot, move.order_id)
        summed[names] += delta
    columns = [list(column) for column in zip(*summed, strict=True)] if summed else [[] for _ in range(8)]
    fields = ("sku_ids", "cause_ids", "location_ids", "line_nos", "kinds", "bins", "lots", "order_ids")
    await sql.record_detail_moves(tx, **dict(zip(fields, columns, strict=True)), deltas=list(summed.values()), at=at)


async def _move_serials(tx: Tx, move: StockMove, at: datetime) -> None:
    to = becomes(move)
    units = abs(move.on_hand_delta) or abs(move.picked_delta) or -move.unavailable_delta
    if to is None or not units:
        return
    serials = list(move.serials)
    if not serials:  # of those that this order (or transfer) has
        rows = await sql.serials_in(
            tx,
            sku_id=move.sku_id,
            order_id=move.order_id,
            line_no=move.line_no,
            states=list(to.from_states),
            limit=units,
        )
        serials = [row["serial"] for row in rows]
    leaves = to.state in ("gone", "shipped", "in_transit")
    rows = await sql.move_serials(
        tx,
        sku_id=move.sku_id,
        serials=serials,
        state=to.state,
        location_id=None if leaves else move.location_id,
        from_states=list(to.from_states),
        order_id=move.order_id if to.state in ("picked", "shipped", "in_transit") else None,
        line_no=move.line_no if to.state in ("picked", "shipped", "in_transit") else None,
        cause_id=move.cause_id,
        kind=move.kind,
        at=at,
    )
    if len(rows) < units:
        raise Raced([])


# -- what callers name ---------------------------------------------------------------------------------------------------


class Desk:
    """What is known of the detail of some positions, while a batch of changes is judged."""

    def __init__(
        self,
        by: Mapping[int, Tracking],
        binned: frozenset[int],
        bins: set[tuple[int, str]],
        shelves: dict[Key, Shelf],
        serials: dict[tuple[int, str], tuple[str, int | None]],
    ) -> None:
        self._by = by
        self._binned = binned
        self._bins = bins
        self._shelves = shelves
        self._serials = serials
        self.lots: dict[tuple[int, str], date | None] = {}

    def fault(self, change: Any, key: Key, delta: int, *, aside: bool = False) -> tuple[str, str] | None:
        """(pointer, sentence) where bin, lot, date or serial numbers of a change are missing, wrong or not there.

        ``aside``: the units come from, or leave, what is set aside.
        """
        tracking = self._by.get(key[0])
        by = None if tracking is None else tracking.by
        lot, serials = getattr(change, "lot", None), getattr(change, "serials", None)
        bin_, expires_on = getattr(change, "bin", None), getattr(change, "expires_on", None)
        if by != "lot" and (lot is not None or expires_on is not None):
            return "/lot", f"{change.sku!r} is not tracked by lot; leave out lot and date."
        if by != "serial" and serials is not None:
            return "/serials", f"{change.sku!r} is not tracked by serial number; leave them out."
        if bin_ is not None and key[1] not in self._binned:
            return "/bin", f"{change.location!r} has no bins; leave it out."
        if bin_ is not None and (key[1], bin_) not in self._bins:
            return "/bin", f"{change.location!r} has no bin {bin_!r}; create it with PUT /v1/bins."
        if tracking is not None and by == "lot":
            wrong = self._lot_fault(change.sku, key[0], lot, expires_on, tracking)
            if wrong is not None:
                return wrong
        if by == "serial":
            wrong = self._serial_fault(change.sku, key, serials, delta, aside=aside)
            if wrong is not None:
                return wrong
        if delta < 0 and not aside and (lot is not None or bin_ is not None):
            shelf = self._shelves[key]
            taken = shelf.take(-delta, bin_=bin_, lot=lot)
            there = sum(units for _, _, units in taken)
            if there < -delta:
                where = " and ".join(filter(None, (bin_ and f"bin {bin_!r}", lot and f"lot {lot!r}")))
                return "/lot" if lot else "/bin", f"Only {there} units lie in {where}, not {-delta}."
            for place_bin, place_lot, units in taken:
                shelf.units[place_bin, place_lot] -= units
        return None

    def _lot_fault(
        self, sku: str, sku_id: int, lot: str | None, expires_on: date | None, tracking: Tracking
    ) -> tuple[str, str] | None:
        if lot is None:
            return "/lot", f"{sku!r} is tracked by lot; name the lot."
        known = {**next((s.expires for k, s in self._shelves.items() if k[0] == sku_id), {})}
        had = self.lots.get((sku_id, lot), known.get(lot))
        if (sku_id, lot) not in self.lots and lot not in known and expires_on is None and tracking.expiry_required:
            return "/expires_on", f"The lot {lot!r} of {sku!r} is new and needs the date on which it expires."
        if had is not None and expires_on is not None and had != expires_on:
            return "/expires_on", f"The lot {lot!r} of {sku!r} expires on {had}, not on {expires_on}."
        self.lots[sku_id, lot] = had or expires_on
        return None

    def _serial_fault(
        self, sku: str, key: Key, serials: Sequence[str] | None, delta: int, *, aside: bool
    ) -> tuple[str, str] | None:
        if serials is None or len(serials) != abs(delta):
            count = 0 if serials is None else len(serials)
            return "/serials", f"{sku!r} is tracked by serial number: name {abs(delta)} of them, not {count}."
        if len(set(serials)) < len(serials):
            return "/serials", "A serial number stands there twice."
        for serial in serials:
            state, location_id = self._serials.get((key[0], serial), ("gone", None))
            if aside and (state, location_id) != ("set_aside", key[1]):
                return "/serials", f"{serial!r} is not set aside there."
            if not aside and delta > 0 and state != "gone":
                return "/serials", f"{serial!r} is known and {state.replace('_', ' ')}; it cannot come in again."
            if not aside and delta < 0 and (state, location_id) != ("in_stock", key[1]):
                return "/serials", f"{serial!r} does not lie on a shelf there."
        for serial in serials:
            came = (delta > 0) if not aside else False
            self._serials[key[0], serial] = ("in_stock", key[1]) if came else ("gone", None)
        return None


def parts_of(change: Any, quantity: int) -> tuple[Part, ...]:
    """What a change names, for the ledger."""
    bin_, lot = getattr(change, "bin", None), getattr(change, "lot", None)
    return (Part(quantity, bin_, lot),) if bin_ is not None or lot is not None else ()


async def desk(tx: Tx, changes: Sequence[tuple[Any, Key]]) -> Desk | None:
    """What judging these changes takes; None where nothing is detailed."""
    by, binned = await tracked(tx), (await facts(tx)).binned
    if not by and not binned and not any(_names(change) for change, _ in changes):
        return None
    keys = sorted({key for _, key in changes})
    bins = {
        (row["location_id"], row["code"]) for row in await sql.bins_at(tx, location_ids=sorted({k[1] for k in keys}))
    }
    shelves = await shelves_of(tx, keys)
    serials = await serials_known(
        tx, [(key[0], serial) for change, key in changes for serial in getattr(change, "serials", None) or ()]
    )
    return Desk(by, binned, bins, shelves, serials)


def _names(change: Any) -> bool:
    return any(getattr(change, name, None) is not None for name in ("bin", "lot", "serials", "expires_on"))


async def serials_known(tx: Tx, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], tuple[str, int | None]]:
    """(SKU id, serial) -> state and location, of those that are known."""
    if not wanted:
        return {}
    rows = await sql.serials_named(
        tx, sku_ids=[sku_id for sku_id, _ in wanted], serials=[serial for _, serial in wanted]
    )
    return {(row["sku_id"], row["serial"]): (row["state"], row["location_id"]) for row in rows}


async def know_lots(tx: Tx, lots: Mapping[tuple[int, str], date | None], *, at: datetime) -> None:
    """Lots that come for the first time, and dates that were not known."""
    if lots:
        await sql.know_lots(
            tx,
            sku_ids=[key[0] for key in lots],
            lots=[key[1] for key in lots],
            expires=list(lots.values()),
            at=at,
        )


async def know_serials(tx: Tx, serials: Sequence[tuple[int, str]]) -> None:
    """Serial numbers that come for the first time."""
    if serials:
        await sql.know_serials(tx, sku_ids=[sku_id for sku_id, _ in serials], serials=[serial for _, serial in serials])
