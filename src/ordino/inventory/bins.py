"""Bins: places inside a location, and units that are carried from one to another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.core.upserts import NotUpserted, Outcome, Reason, in_rounds, outcome
from ordino.inventory.detail import RECEIVING, Key, Lot, Place, shelves_held, write
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")


class Bin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place inside a location that has bins."""

    location: Code
    code: Annotated[Code, Meta(pattern=r"^[^(-]")]


class BinMove(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units that were carried from one bin to another. ``-`` is where units lie that nobody has put away."""

    sku: Code
    location: Code
    from_bin: Code = RECEIVING
    to_bin: Code
    quantity: Annotated[int, Meta(ge=1, le=10**9)]
    lot: Lot | None = None


class BinMoved(Struct, frozen=True, tag_field="outcome", tag="moved"):
    sku: str
    location: str
    to_bin: str
    quantity: int


class BinMoveRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    sku: str
    location: str
    reason: str
    detail: str
    pointer: str = ""


def _name(one: Bin) -> str:
    return f"{one.location} {one.code}"


async def upsert_bins(tx: Tx, bins: Sequence[Bin], *, at: datetime) -> list[Outcome]:
    """Each by its location and code."""
    known = await facts(tx)

    async def apply(batch: Sequence[Bin]) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        for one in sorted(
            batch, key=_name
        ):  # whoever sends the same bins meanwhile waits for the first of them, and no other
            location_id = known.location_ids.get(one.location)
            if location_id is None:
                detail = f"There is no location {one.location!r}; create it with PUT /v1/locations."
                outcomes[_name(one)] = NotUpserted(one.code, Reason.UNKNOWN, detail, "/location")
            elif location_id not in known.binned:
                detail = f'{one.location!r} has no bins; say `"bins": true` with PUT /v1/locations first.'
                outcomes[_name(one)] = NotUpserted(one.code, Reason.CONFLICT, detail, "/location")
            else:
                rows = await sql.write_bin(tx, location_id=location_id, code=one.code)
                outcomes[_name(one)] = outcome(one.code, new=bool(rows), written=False)
        return [outcomes[_name(one)] for one in batch]

    return await in_rounds(bins, code=_name, fault=lambda one: None, apply=apply)


async def move_bins(tx: Tx, moves: Sequence[BinMove], *, at: datetime) -> list[BinMoved | BinMoveRefused]:
    """One outcome a move, in order. On hand stays as it is."""
    known = await facts(tx)
    skus = await sku_ids(tx, [move.sku for move in moves])
    keys = {
        index: (skus[move.sku], known.location_ids[move.location])
        for index, move in enumerate(moves)
        if move.sku in skus and known.location_ids.get(move.location) in known.binned
    }
    shelves = await shelves_held(tx, sorted(set(keys.values())), at) if keys else {}
    places = sorted({key[1] for key in keys.values()})
    bins = {(row["location_id"], row["code"]) for row in await sql.bins_at(tx, location_ids=places)}
    deltas: dict[tuple[Key, Place], int] = defaultdict(int)
    rows: list[tuple[StockMove, str, str, int]] = []
    outcomes: list[BinMoved | BinMoveRefused] = []
    cause = new_id(at)

    for index, move in enumerate(moves):

        def refuse(reason: str, detail: str, pointer: str, move: BinMove = move) -> BinMoveRefused:
            return BinMoveRefused(move.sku, move.location, reason, detail, pointer)

        key = keys.get(index)
        if move.sku not in skus:
            outcomes.append(refuse("unknown", f"The SKU {move.sku!r} does not exist.", "/sku"))
        elif key is None:
            outcomes.append(refuse("unknown", f"There is no location {move.location!r} with bins.", "/location"))
        elif wrong := next(
            (b for b in (move.from_bin, move.to_bin) if b != RECEIVING and (key[1], b) not in bins), None
        ):
            pointer = "/from_bin" if wrong == move.from_bin else "/to_bin"
            outcomes.append(refuse("unknown", f"{move.location!r} has no bin {wrong!r}.", pointer))
        else:
            taken = shelves[key].take(move.quantity, bin_=move.from_bin, lot=move.lot)
            there = sum(units for _, _, units in taken)
            if there < move.quantity:
                said = f"Only {there} units lie in bin {move.from_bin!r}, not {move.quantity}."
                outcomes.append(refuse("too_few", said, "/quantity"))
                continue
            posted = StockMove(*key, cause, MoveKind.COUNTED, line_no=index + 1)
            for bin_, lot, units in taken:
                for place, delta in (((bin_, lot), -units), ((move.to_bin, lot), units)):
                    shelves[key].units[place] += delta
                    deltas[key, place] += delta
                    rows.append((posted, *place, delta))
            outcomes.append(BinMoved(move.sku, move.location, move.to_bin, move.quantity))
    if rows:
        await write(tx, deltas, rows, at)
    return outcomes
