"""What callers name: bins, lots, dates and serial numbers of the units that come or go, judged before the ledger moves them.

Whatever is refused leaves nothing behind: the next change of a batch is judged as if it had not been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.inventory.detail import Key, Shelf, Tracking, is_over, shelves_of, tracked
from ordino.inventory.model import Part
from ordino.network.facts import facts

sql = statements("ordino.inventory")
Wrong = tuple[str, str]
"""(pointer, sentence)"""


class Known(NamedTuple):
    """Where a serial number is, and with which order or transfer it went."""

    state: str
    location_id: int | None = None
    order_id: UUID | None = None
    line_no: int | None = None


GONE = Known("gone")
LIES = {
    "in_stock": "is in stock already",
    "picked": "was picked for an order and has not left",
    "shipped": "went out with an order; take it back with its return",
    "in_transit": "is on its way between locations; receive its transfer",
    "set_aside": "was set aside; restore it to sell it",
}
"""Where a serial number is that cannot come in, as a part of a sentence."""


async def serials_known(tx: Tx, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Known]:
    """(SKU id, serial) -> what is known of it; nothing of one that was never here."""
    if not wanted:
        return {}
    rows = await sql.serials_named(
        tx, sku_ids=[sku_id for sku_id, _ in wanted], serials=[serial for _, serial in wanted]
    )
    columns = Known._fields
    return {(row["sku_id"], row["serial"]): Known(*(row[name] for name in columns)) for row in rows}


# -- units that come in, are lost or are set aside -------------------------------------------------------------------------


class Desk:
    """What is known of the detail of some positions, while a batch of changes is judged."""

    def __init__(
        self,
        by: Mapping[int, Tracking],
        binned: frozenset[int],
        bins: set[tuple[int, str]],
        shelves: dict[Key, Shelf],
        serials: dict[tuple[int, str], Known],
        zones: Mapping[int, ZoneInfo],
    ) -> None:
        self._by = by
        self._zones = zones
        self._binned = binned
        self._bins = bins
        self._shelves = shelves
        self._serials = serials
        self._expires = {key[0]: shelf.expires for key, shelf in shelves.items()}
        self.lots: dict[tuple[int, str], date | None] = {}

    def fault(self, change: Any, key: Key, delta: int, *, aside: bool = False) -> Wrong | None:
        """Where bin, lot, date or serial numbers of a change are missing, wrong or not there.

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
        if by == "lot" and (wrong := self._lot_fault(change.sku, key[0], lot, expires_on)) is not None:
            return wrong
        if by == "serial" and (wrong := self._serial_fault(change.sku, key, serials, delta, aside=aside)) is not None:
            return wrong
        taken = []
        if delta < 0 and not aside and (lot is not None or bin_ is not None):
            taken = self._shelves[key].take(-delta, bin_=bin_, lot=lot)
            there = sum(units for _, _, units in taken)
            if there < -delta:
                where = " and ".join(filter(None, (bin_ and f"bin {bin_!r}", lot and f"lot {lot!r}")))
                return "/lot" if lot else "/bin", f"Only {there} units lie in {where}, not {-delta}."
        if taken:
            self._shelves[key].less(taken)
        if lot is not None:
            self.lots[key[0], lot] = self._date(key[0], lot) or expires_on
        comes = delta > 0 and not aside
        for serial in serials or ():
            self._serials[key[0], serial] = Known("in_stock", key[1]) if comes else GONE
        return None

    def over(self, key: Key, lot: str, at: datetime) -> date | None:
        """The date of a lot that may no longer be sold at a position; None of one that may."""
        expires_on = self._date(key[0], lot)
        over = is_over(expires_on, self._by[key[0]].stop_selling_days, self._zones[key[1]], at)
        return expires_on if over else None

    def _date(self, sku_id: int, lot: str) -> date | None:
        return self.lots.get((sku_id, lot), self._expires[sku_id].get(lot))

    def _lot_fault(self, sku: str, sku_id: int, lot: str | None, expires_on: date | None) -> Wrong | None:
        if lot is None:
            return "/lot", f"{sku!r} is tracked by lot; name the lot."
        new = (sku_id, lot) not in self.lots and lot not in self._expires[sku_id]
        if new and expires_on is None and self._by[sku_id].expiry_required:
            return "/expires_on", f"The lot {lot!r} of {sku!r} is new and needs the date on which it expires."
        had = self._date(sku_id, lot)
        if had is not None and expires_on is not None and had != expires_on:
            return "/expires_on", f"The lot {lot!r} of {sku!r} expires on {had}, not on {expires_on}."
        return None

    def _serial_fault(
        self, sku: str, key: Key, serials: Sequence[str] | None, delta: int, *, aside: bool
    ) -> Wrong | None:
        if serials is None or len(serials) != abs(delta):
            count = 0 if serials is None else len(serials)
            return "/serials", f"{sku!r} is tracked by serial number: name {abs(delta)} of them, not {count}."
        if len(set(serials)) < len(serials):
            return "/serials", "A serial number is named twice; name each once."
        for serial in serials:
            state, location_id, *_ = self._serials.get((key[0], serial), GONE)
            if aside and (state, location_id) != ("set_aside", key[1]):
                return "/serials", f"{serial!r} is not set aside at this location; name one that is."
            if not aside and delta > 0 and state not in ("gone", "scrapped"):
                return "/serials", f"{serial!r} {LIES[state]}. Check the number; a unit comes in once."
            if not aside and delta < 0 and (state, location_id) != ("in_stock", key[1]):
                return "/serials", f"{serial!r} does not lie on a shelf at this location; name one that does."
        return None


def parts_of(change: Any, quantity: int) -> tuple[Part, ...]:
    """What a change names, for the ledger."""
    bin_, lot = getattr(change, "bin", None), getattr(change, "lot", None)
    return (Part(quantity, bin_, lot),) if bin_ is not None or lot is not None else ()


async def desk(tx: Tx, changes: Sequence[tuple[Any, Key]], *, at: datetime) -> Desk | None:
    """What judging these changes takes; None where nothing is detailed."""
    by, binned = await tracked(tx), (await facts(tx)).binned
    if not by and not binned and not any(_names(change) for change, _ in changes):
        return None
    keys = sorted({key for _, key in changes})
    bins = {
        (row["location_id"], row["code"]) for row in await sql.bins_at(tx, location_ids=sorted({k[1] for k in keys}))
    }
    shelves = await shelves_of(tx, keys, at=at)
    serials = await serials_known(
        tx, [(key[0], serial) for change, key in changes for serial in getattr(change, "serials", None) or ()]
    )
    zones = {location_id: place.zone for location_id, place in (await facts(tx)).locations.items()}
    return Desk(by, binned, bins, shelves, serials, zones)


def _names(change: Any) -> bool:
    return any(getattr(change, name, None) is not None for name in ("bin", "lot", "serials", "expires_on"))


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


# -- units of orders and transfers ------------------------------------------------------------------------------------------


class Naming(NamedTuple):
    """So many units of a line, and the serial numbers that are named for them."""

    line_no: int
    sku_id: int
    quantity: int
    serials: Sequence[str] | None


class Misnamed(NamedTuple):
    """``place``: of which line. ``unknown``: they are as many as they must be, but one is not there."""

    place: int
    sentence: str
    unknown: bool = False


class Names:
    """Serial numbers that a batch of work names; each is taken once."""

    def __init__(self, by: Mapping[int, Tracking], known: Mapping[tuple[int, str], Known]) -> None:
        self._by = by
        self._known = known
        self._taken: set[tuple[int, str]] = set()

    def tracking(self, sku_id: int) -> str | None:
        """By what a SKU is tracked, if it is."""
        tracking = self._by.get(sku_id)
        return None if tracking is None else tracking.by

    def take(
        self, namings: Sequence[Naming], fits: Callable[[Known, int], bool], *, done: str, else_: str
    ) -> Misnamed | None:
        """All lines of one piece of work, or what is wrong with one of them: units that were ``done`` are named, each once.

        ``fits`` judges what is known of one and its line's number; one that does not fit ``else_``.
        """
        taken: set[tuple[int, str]] = set()
        for place, (line_no, sku_id, quantity, serials) in enumerate(namings):
            named = {(sku_id, serial) for serial in serials or ()}
            if self.tracking(sku_id) != "serial":
                if named:
                    return Misnamed(place, "The SKU has no serial numbers; leave them out.")
                continue
            if not len(named) == len(serials or ()) == quantity:
                return Misnamed(place, f"The SKU has serial numbers: name the {quantity} that were {done}, each once.")
            for key in sorted(named):
                if key in self._taken or key in taken or not fits(self._known.get(key, GONE), line_no):
                    return Misnamed(place, f"The serial number {key[1]!r} {else_}.", True)
            taken |= named
        self._taken |= taken
        return None


async def names(tx: Tx, wanted: Iterable[tuple[int, Sequence[str] | None]]) -> Names:
    """What judging these (SKU id, serial numbers) takes."""
    by = await tracked(tx)
    return Names(by, await serials_known(tx, [(sku_id, serial) for sku_id, some in wanted for serial in some or ()]))
