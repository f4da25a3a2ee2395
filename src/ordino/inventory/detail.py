"""Bins, lots and serial numbers: where exactly, of which lot, and which ones. Whoever does not use them pays nothing.

A position is *detailed* where its location has bins or its SKU is tracked by lot or serial number. Its detail is kept by the
ledger's one door, in the transaction that moves its units, with its stock row held. Units come into the bin that is named, else
``-``; they leave as named, else first expired, first out, and lots past their last selling day are not picked or sent unless
they are named. Picked units lie in a bin of their own until they ship.

DET-1  The detail of a position sums to its on hand, and what lies in the bin of picked units to its picked ones.
DET-2  Detail is the sum of its moves.
SER-1  A serial number is in one place; at a position are as many as its on hand, with a transfer's line as many as are under way.
LOT-1  A lot that must have a date has one, and keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from ordino.core import kept
from ordino.core.codes import Code
from ordino.core.database import Raced, Tx
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")
RECEIVING = "-"
PICKED = "(picked)"
NO_LOT = ""
FAR = date.max
ALL = 2**62

Key = tuple[int, int]
Place = tuple[str, str]
"""(bin, lot)"""

Lot = Code
Serial = Code
Serials = Annotated[list[Serial], Meta(min_length=1, max_length=10_000)]


class Tracking(Struct, frozen=True):
    """How a SKU is tracked: by ``lot`` or by ``serial``. Lots stop selling so many days before their date."""

    by: str
    expiry_required: bool
    stop_selling_days: int = 0


class State(NamedTuple):
    """What becomes of serial numbers by a kind of move."""

    state: str
    from_states: tuple[str, ...]


SERIALS: dict[MoveKind, State] = {
    MoveKind.RECEIVED: State("in_stock", ("gone", "scrapped")),
    MoveKind.RETURNED: State("in_stock", ("shipped",)),
    MoveKind.RESTORED: State("in_stock", ("set_aside",)),
    MoveKind.ARRIVED: State("in_stock", ("in_transit",)),
    MoveKind.PICKED: State("picked", ("in_stock",)),
    MoveKind.UNPICKED: State("in_stock", ("picked",)),
    MoveKind.SHIPPED: State("shipped", ("picked",)),
    MoveKind.SENT: State("in_transit", ("in_stock",)),
    MoveKind.SET_ASIDE: State("set_aside", ("in_stock",)),
    MoveKind.SCRAPPED: State("scrapped", ("set_aside",)),
}


def becomes(move: StockMove) -> State | None:
    """Found units come into stock, lost ones are gone; units that are reserved or let go stay where they are."""
    if move.kind in (MoveKind.ADJUSTED, MoveKind.COUNTED):
        return State("in_stock", ("gone", "scrapped")) if move.on_hand_delta > 0 else State("gone", ("in_stock",))
    return SERIALS.get(move.kind)


async def tracked(tx: Tx) -> dict[int, Tracking]:
    """SKU id -> how it is tracked, of those that are."""
    return await kept.current(tx, "tracking", _load)


async def _load(tx: Tx) -> dict[int, Tracking]:
    rows = await sql.tracked_skus(tx)
    return {row["sku_id"]: Tracking(row["tracking"], row["expiry_required"], row["stop_selling_days"]) for row in rows}


def is_over(expires_on: date | None, stop_selling_days: int, zone: ZoneInfo, at: datetime) -> bool:
    """Has a lot's last selling day ended, by the clock of the place where it lies?"""
    return expires_on is not None and (at.astimezone(zone).date() - expires_on).days + stop_selling_days > 0


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
    # All that these moves touch is held at once: the others would be taken out of their order.
    touched = {(move.sku_id, move.location_id) for move in moves}
    shelves = await shelves_held(tx, keys, at, beside=touched)
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
    numbered = [move for move in (*concerned, *aside) if move.sku_id in by and by[move.sku_id].by == "serial"]
    named = sorted({(move.sku_id, serial) for move in numbered for serial in move.serials})
    if len(numbered) > 1 and named:  # each move would take its own, in the order of the moves
        await sql.lock_serials(tx, sku_ids=[name[0] for name in named], serials=[name[1] for name in named])
    for move in numbered:
        await _move_serials(tx, move, at)


class Shelf(Struct):
    """What lies where at a position, and when its lots expire; those that are ``over`` may no longer be sold there."""

    units: dict[Place, int]
    expires: Mapping[str, date | None]
    over: frozenset[str] = frozenset()

    def take(
        self,
        quantity: int,
        *,
        picked: bool = False,
        bin_: str | None = None,
        lot: str | None = None,
        sellable: bool = False,
    ) -> list[tuple[str, str, int]]:
        """(bin, lot, units), first expired first, of what is (not) picked, in a bin or of a lot. Fewer if there are fewer.

        ``sellable``: only of lots that may still be sold.
        """
        taken = []
        fitting = [
            place
            for place, units in self.units.items()
            if units > 0
            and (place[0] == PICKED) == picked
            and bin_ in (None, place[0])
            and lot in (None, place[1])
            and not (sellable and place[1] in self.over)
        ]
        for place in sorted(fitting, key=lambda place: (self.expires.get(place[1]) or FAR, place[1], place[0])):
            units = min(self.units[place], quantity)
            quantity -= units
            taken.append((*place, units))
            if not quantity:
                break
        return taken

    def less(self, taken: Iterable[tuple[str, str, int]]) -> None:
        """What was taken is gone."""
        for bin_, lot, units in taken:
            self.units[bin_, lot] -= units

    def copy(self) -> Shelf:
        """To try on what fits."""
        return Shelf(dict(self.units), self.expires, self.over)


async def shelves_of(tx: Tx, keys: Sequence[Key], *, at: datetime) -> dict[Key, Shelf]:
    """What lies where at these positions, as it stands, and which lots may no longer be sold there."""
    by, places_known = await tracked(tx), (await facts(tx)).locations
    skus, places = [key[0] for key in keys], [key[1] for key in keys]
    dates: dict[int, dict[str, date | None]] = defaultdict(dict)
    for row in await sql.lots_of(tx, sku_ids=sorted(set(skus))):
        dates[row["sku_id"]][row["lot"]] = row["expires_on"]
    shelves = {}
    for sku_id, location_id in keys:
        tracking, zone = by.get(sku_id), places_known[location_id].zone
        stop = 0 if tracking is None else tracking.stop_selling_days
        over = frozenset(lot for lot, expires_on in dates[sku_id].items() if is_over(expires_on, stop, zone, at))
        shelves[sku_id, location_id] = Shelf(defaultdict(int), dates[sku_id], over)
    for row in await sql.detail_of(tx, sku_ids=skus, location_ids=places):
        shelves[row["sku_id"], row["location_id"]].units[row["bin"], row["lot"]] = row["quantity"]
    return shelves


async def shelves_held(tx: Tx, keys: Sequence[Key], at: datetime, *, beside: Collection[Key] = ()) -> dict[Key, Shelf]:
    """The same, with the stock rows held, and those of positions ``beside`` them; a position that had no detail begins with what it
    has.
    """
    held = sorted({*keys, *beside})
    rows = await sql.lock_detailed(tx, sku_ids=[key[0] for key in held], location_ids=[key[1] for key in held])
    wanted = set(keys)
    stock = {key: row for row in rows if (key := (row["sku_id"], row["location_id"])) in wanted}
    shelves = await shelves_of(tx, keys, at=at)
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
        # What is picked or sent may be sold; what somebody looked for in vain was to be sold, too.
        if move.order_id is not None and (shelf.over or move.kind is MoveKind.PICKED):
            good = shelf.take(quantity, sellable=True)
            if move.kind in (MoveKind.PICKED, MoveKind.SENT) or sum(units for _, _, units in good) == quantity:
                return _less(good, quantity)
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
    serials: Sequence[str] = move.serials
    if not serials and move.order_id is not None:
        serials = await _serials_in(tx, move.sku_id, move.order_id, move.line_no, to.from_states, units)
    leaves = to.state in ("gone", "scrapped", "shipped", "in_transit")
    goes_with = to.state in ("picked", "shipped", "in_transit")
    rows = await sql.move_serials(
        tx,
        sku_id=move.sku_id,
        serials=list(serials),
        state=to.state,
        location_id=None if leaves else move.location_id,
        from_states=list(to.from_states),
        order_id=move.order_id if goes_with else None,
        line_no=move.line_no if goes_with else None,
        cause_id=move.cause_id,
        kind=move.kind,
        at=at,
    )
    if len(rows) < units:
        raise Raced([])


async def _serials_in(
    tx: Tx, sku_id: int, order_id: UUID, line_no: int, states: Sequence[str], limit: int
) -> list[str]:
    """Of those that this order (or transfer) has."""
    rows = await sql.serials_in(tx, sku_id=sku_id, order_id=order_id, line_no=line_no, states=list(states), limit=limit)
    return [row["serial"] for row in rows]


async def lose(tx: Tx, sku_id: int, transfer_id: UUID, line_no: int, *, cause_id: UUID, at: datetime) -> None:
    """What is still under way with a transfer's line does not arrive: it is gone, and may come in again if it is found."""
    states = ("in_transit",)
    await sql.move_serials(
        tx,
        sku_id=sku_id,
        serials=await _serials_in(tx, sku_id, transfer_id, line_no, states, ALL),
        state="gone",
        location_id=None,
        from_states=list(states),
        order_id=None,
        line_no=None,
        cause_id=cause_id,
        kind="lost",
        at=at,
    )


async def scrap_returned(tx: Tx, sku_id: int, serials: Sequence[str], *, cause_id: UUID, at: datetime) -> None:
    """Units that came back and were scrapped at once were never in stock again; their serial numbers say what became of them."""
    rows = await sql.move_serials(
        tx,
        sku_id=sku_id,
        serials=list(serials),
        state="scrapped",
        location_id=None,
        from_states=["shipped"],
        order_id=None,
        line_no=None,
        cause_id=cause_id,
        kind="scrapped",
        at=at,
    )
    if len(rows) < len(serials):
        raise Raced([])
