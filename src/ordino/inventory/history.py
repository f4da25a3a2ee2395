"""A SKU's stock now, at any time before, and every move in between, with who, why and the document behind it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.catalog.codes import sku_id_of
from ordino.core.database import Tx
from ordino.core.errors import Invalid
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET
from ordino.inventory.incoming import Expected, expected
from ordino.network.facts import facts

sql = statements("ordino.inventory")
LAST = UUID(int=(1 << 128) - 1)


class Position(Struct, frozen=True):
    """``reserved`` includes what is ``held`` for carts; ``unavailable`` units lie there beside ``on_hand``, by condition."""

    location: str
    on_hand: int
    reserved: int
    held: int
    picked: int
    unavailable: dict[str, int]
    incoming: list[Expected]


class StockView(Struct, frozen=True):
    sku: str
    positions: list[Position]


class Stood(Struct, frozen=True):
    """A position as it stood. ``available`` is on hand - reserved - the buffer that the network has for its member today."""

    location: str
    on_hand: int
    reserved: int
    picked: int
    unavailable: int
    available: int | None


class StoodView(Struct, frozen=True):
    sku: str
    at: datetime
    positions: list[Stood]


class MoveView(Struct, frozen=True):
    """One row of the ledger. ``actor`` is who, ``reason`` why, ``document`` (or the order) what is behind it."""

    at: datetime
    location: str
    kind: str
    on_hand_delta: int
    reserved_delta: int
    picked_delta: int
    unavailable_delta: int
    reason: str | None
    actor: str | None
    document: str | None
    order_id: UUID | None
    line_no: int
    cause_id: UUID


class Moves(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    moves: list[MoveView]
    next: str | None


async def stock_of(tx: Tx, sku: str, *, at: datetime) -> StockView:
    """Every position of a SKU as it stands. Raises ``NotFound``."""
    sku_id, known = await sku_id_of(tx, sku), await facts(tx)
    rows = {row["location_id"]: row for row in await sql.positions_of(tx, sku_id=sku_id)}
    aside: dict[int, dict[str, int]] = defaultdict(dict)
    for row in await sql.unavailable_of(tx, sku_ids=[sku_id]):
        aside[row["location_id"]][row["condition"]] = row["quantity"]
    coming: dict[int, list[Expected]] = defaultdict(list)
    for location_id, one in (await expected(tx, [sku_id], at=at)).get(sku_id, ()):
        coming[location_id].append(one)
    positions = []
    for location_id in sorted({*rows, *aside, *coming}):
        there: Any = rows.get(location_id) or defaultdict(int)
        counts = (there["on_hand"], there["reserved"], there["held"], there["picked"])
        positions.append(
            Position(
                known.locations[location_id].code, *counts, aside.get(location_id, {}), coming.get(location_id, [])
            )
        )
    return StockView(sku, positions)


async def stood_at(
    tx: Tx, sku: str, at: datetime, *, location: str | None = None, network: str | None = None
) -> StoodView:
    """How a SKU stood at a time, by its moves. With a network, its members and what could have been promised there."""
    if at.tzinfo is None:
        raise Invalid(NEEDS_OFFSET)
    sku_id, known = await sku_id_of(tx, sku), await facts(tx)
    only = None if location is None else known.location_id(location)
    serving = None if network is None else known.serving(network)
    positions = []
    for row in await sql.stood_at(tx, sku_id=sku_id, at=at):
        place = known.locations[row["location_id"]]
        if only not in (None, row["location_id"]) or (serving and row["location_id"] not in serving.buffers):
            continue
        free = row["on_hand"] - row["reserved"]
        can = None if serving is None else max(free - serving.buffers[row["location_id"]], 0)
        counts = (row["on_hand"], row["reserved"], row["picked"], row["unavailable"])
        positions.append(Stood(place.code, *counts, can))
    return StoodView(sku, at, positions)


async def moves_before(tx: Tx, sku: str, before: str | None, limit: int, *, location: str | None = None) -> Moves:
    """One page of a SKU's moves, at all locations or at one. Raises ``NotFound``, and ``Invalid`` for what is no ``next``."""
    sku_id, known = await sku_id_of(tx, sku), await facts(tx)
    key = (LAST, 0, 0, "") if before is None else _key(before)
    rows = await sql.moves_before(
        tx,
        sku_id=sku_id,
        cause_id=key[0],
        location_id=key[1],
        line_no=key[2],
        kind=key[3],
        only_location_id=None if location is None else known.location_id(location),
        limit=limit,
    )
    names = [name for name in MoveView.__struct_fields__ if name != "location"]
    moves = [
        MoveView(location=known.locations[row["location_id"]].code, **{name: row[name] for name in names})
        for row in rows
    ]
    last = rows[-1] if len(rows) == limit else None
    following = None if last is None else f"{last['cause_id']}.{last['location_id']}.{last['line_no']}.{last['kind']}"
    return Moves(moves, following)


def _key(before: str) -> tuple[UUID, int, int, str]:
    try:
        cause_id, location_id, line_no, kind = before.split(".")
        return UUID(cause_id), int(location_id), int(line_no), kind
    except ValueError as error:
        raise Invalid("`before` is the `next` of the page before.") from error
