"""What happens to units that had left when they come into stock again: serial numbers, moves, expired lots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from ordino.inventory import ledger as stock
from ordino.inventory import named
from ordino.inventory.model import MoveKind, StockMove


class Arriving(Struct, frozen=True, kw_only=True):
    """So many units of a SKU arrived for a line, with the serial numbers that are named for them."""

    line_no: int
    sku_id: int
    restocked: int
    scrapped: int
    serials: Sequence[str] | None
    scrapped_serials: Sequence[str] | None


class Misnamed(NamedTuple):
    """What is wrong with the serial numbers of a line. ``unknown``: they are as many as they must be, but one is not there."""

    sentence: str
    pointer: str
    unknown: bool


def serial_fault(order_id: UUID, arriving: Sequence[Arriving], names: named.Names) -> Misnamed | None:
    """Units with serial numbers come back as what they are: each restocked or scrapped one is named, and had gone out with this
    line of the order. The pointer is into the list.
    """
    count = len(arriving)
    namings = [named.Naming(unit.line_no, unit.sku_id, unit.restocked, unit.serials) for unit in arriving]
    namings += [named.Naming(unit.line_no, unit.sku_id, unit.scrapped, unit.scrapped_serials) for unit in arriving]
    wrong = names.take(
        namings,
        lambda known, line_no: (known.state, known.order_id, known.line_no) == ("shipped", order_id, line_no),
        done="restocked",
        else_="did not go out with this line of the order, or is back already",
    )
    if wrong is None:
        return None
    sentence = wrong.sentence
    if wrong.place >= count and not wrong.unknown and names.tracking(namings[wrong.place].sku_id) == "serial":
        units = namings[wrong.place].quantity
        sentence = f"The SKU has serial numbers: name the {units} that were scrapped in `scrapped_serials`, each once."
    pointer = f"/{wrong.place % count}/{'serials' if wrong.place < count else 'scrapped_serials'}"
    return Misnamed(sentence, pointer, wrong.unknown)


class Restocking(Struct):
    """Units that go back to shelves, gathered: a cause moves a line's units at a place once."""

    units: dict[tuple[int, int, int], int]
    """(SKU id, location id, line number) -> units"""
    serials: dict[tuple[int, int, int], list[str]]

    def add(self, sku_id: int, location_id: int, line_no: int, units: int) -> None:
        key = (sku_id, location_id, line_no)
        self.units[key] = self.units.get(key, 0) + units

    def name(self, sku_id: int, location_id: int, line_no: int, serials: Sequence[str]) -> None:
        """These are the serial numbers of units that were added."""
        self.serials.setdefault((sku_id, location_id, line_no), []).extend(serials)

    def moves(self, order_id: UUID, cause_id: UUID) -> list[StockMove]:
        return [
            StockMove(
                sku_id,
                location_id,
                cause_id,
                MoveKind.RETURNED,
                on_hand_delta=units,
                order_id=order_id,
                line_no=line_no,
                serials=tuple(self.serials.get((sku_id, location_id, line_no), ())),
            )
            for (sku_id, location_id, line_no), units in self.units.items()
        ]


def expired_of(moves: Sequence[StockMove], aside: dict[stock.Key, int]) -> int:
    """How many of the units that these moves brought were set aside as expired; ``aside`` keeps what others' moves brought."""
    expired = 0
    for move in moves:
        key = (move.sku_id, move.location_id)
        if units := min(move.on_hand_delta, aside.get(key, 0)):
            aside[key] -= units
            expired += units
    return expired
