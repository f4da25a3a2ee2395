"""Where exactly a SKU lies, what is available of each lot, and the life of a serial number."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from uuid import UUID

from msgspec import Struct

from ordino.catalog.codes import sku_id_of
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.detail import FAR, PICKED, shelves_of
from ordino.network.facts import facts

sql = statements("ordino.inventory")


class DetailRow(Struct, frozen=True):
    location: str
    bin: str
    lot: str | None
    expires_on: date | None
    quantity: int


class LotAvailable(Struct, frozen=True):
    """Free units of a lot: reserved ones are taken to come from the lots that expire first, and from ``expired`` ones last."""

    location: str
    lot: str | None
    expires_on: date | None
    on_hand: int
    available: int
    expired: bool


class DetailView(Struct, frozen=True):
    sku: str
    bins: list[DetailRow]
    lots: list[LotAvailable]
    serials: list[str]


class SerialStep(Struct, frozen=True):
    at: datetime
    kind: str
    state: str
    location: str | None
    order_id: UUID | None


class SerialView(Struct, frozen=True):
    sku: str
    serial: str
    state: str
    location: str | None
    order_id: UUID | None
    life: list[SerialStep]


async def detail_view(tx: Tx, sku: str, *, location: str | None, at: datetime) -> DetailView:
    """Where exactly a SKU lies. Raises ``NotFound``."""
    known = await facts(tx)
    sku_id = await sku_id_of(tx, sku)
    only = None if location is None else known.location_id(location)
    stock = [row for row in await sql.positions_of(tx, sku_id=sku_id) if only in (None, row["location_id"])]
    shelves = await shelves_of(tx, [(sku_id, row["location_id"]) for row in stock], at=at)
    bins, lots = [], []
    for row in stock:
        code, shelf = known.locations[row["location_id"]].code, shelves[sku_id, row["location_id"]]
        for (bin_, lot), units in sorted(shelf.units.items()):
            if units:
                bins.append(DetailRow(code, bin_, lot or None, shelf.expires.get(lot), units))
        by_lot: dict[str, int] = defaultdict(int)
        on_shelves: dict[str, int] = defaultdict(int)
        for (bin_, lot), units in shelf.units.items():
            by_lot[lot] += units
            on_shelves[lot] += 0 if bin_ == PICKED else units
        left, free = row["reserved"] - row["picked"], {}
        for lot in sorted(by_lot, key=lambda lot: (lot in shelf.over, shelf.expires.get(lot) or FAR, lot)):
            taken = min(left, on_shelves[lot])
            left -= taken
            free[lot] = 0 if lot in shelf.over else on_shelves[lot] - taken
        for lot in sorted(by_lot, key=lambda lot: (shelf.expires.get(lot) or FAR, lot)):
            if by_lot[lot]:
                expires_on, over = shelf.expires.get(lot), lot in shelf.over
                lots.append(LotAvailable(code, lot or None, expires_on, by_lot[lot], free[lot], over))
    serials = await sql.serials_at(tx, sku_id=sku_id, location_id=only)
    return DetailView(sku, bins, lots, [row["serial"] for row in serials])


async def serial_view(tx: Tx, sku: str, serial: str) -> SerialView:
    """Where a serial number is, and its life. Raises ``NotFound``."""
    places = (await facts(tx)).locations
    rows = await sql.serial_by_name(tx, sku=sku, serial=serial)
    if not rows:
        raise NotFound(f"There is no serial number {serial!r} of {sku!r}.")
    [row] = rows

    def code(location_id: int | None) -> str | None:
        return None if location_id is None else places[location_id].code

    life = [
        SerialStep(step["at"], step["kind"], step["state"], code(step["location_id"]), step["order_id"])
        for step in await sql.life_of_serial(tx, sku_id=row["sku_id"], serial=serial)
    ]
    return SerialView(sku, serial, row["state"], code(row["location_id"]), row["order_id"], life)
