"""The stock ledger: the one door through which units move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from asyncpg import Record

from ordino.core.database import Raced, Tx
from ordino.core.statements import statements
from ordino.inventory import detail, expiry, kits, shortfalls, waiting
from ordino.inventory.model import StockMove, stock_shard

sql = statements("ordino.inventory")

Key = tuple[int, int]
"""(SKU id, location id)"""


async def post(
    tx: Tx, moves: Sequence[StockMove], *, at: datetime, keep: Mapping[Key, int] | None = None, guarded: bool = True
) -> dict[Key, int]:
    """Write the moves, the reservations behind them, and the balances, rows taken in key order; after them what rests on a
    position's row: what is set aside there, and its shortfall.

    ``keep`` says how many free units must stay at a position after reserving there (its buffer). What moves free of expired lots,
    or bring of them, is set aside at once: returns how many units, by position.
    Raises ``Raced`` when a position no longer bears its moves, or its SKU became a kit meanwhile: the transaction is rolled back
    and run again.
    """
    moves = await detail.settle(tx, await kits.expand(tx, moves)) if moves else moves
    if not moves:
        return {}
    lots = await expiry.lot_tracked(tx, (m.sku_id for m in moves))
    if arriving := sorted({(m.sku_id, m.location_id) for m in moves if m.on_hand_delta > 0}):
        await sql.open_positions(tx, sku_ids=[k[0] for k in arriving], location_ids=[k[1] for k in arriving])
        for sku_id, location_id in arriving:
            if sku_id in tx.positions:
                tx.positions[sku_id].add(location_id)
    await _record(tx, moves, at)
    await detail.keep(tx, moves, at)
    await _hold(tx, moves)
    first = await _balance(tx, moves, keep or {}, guarded, arrives=bool(arriving))
    await _set_aside(tx, moves)
    # A count writes a shortfall while it holds the position: what this transaction sees now, after it got the row, is all there is.
    counted = [m for m in moves if m.sku_id not in lots] if lots else moves
    if corrections := await shortfalls.absorb(tx, counted, at):
        await _record(tx, corrections, at)
        await detail.keep(tx, corrections, at)
        await _balance(tx, corrections, {}, guarded=False, arrives=False)
        moves = [*moves, *corrections]
    waiting.freed(tx, _freed(moves))
    if first:
        await kits.stand(tx, dict.fromkeys(first, ()))  # what is stocked does not become a kit
    aside: dict[Key, int] = defaultdict(int)
    if lots and (expired := await expiry.settle(tx, moves, at)):
        await post(tx, expired, at=at)
        for move in expired:
            aside[move.sku_id, move.location_id] += move.unavailable_delta
    return aside


def _freed(moves: Sequence[StockMove]) -> set[int]:
    """SKUs of which units become free somewhere. What one lets go of and another takes at the same place does not."""
    if not any(m.on_hand_delta > m.reserved_delta for m in moves):
        return set()
    free: dict[Key, int] = defaultdict(int)
    for move in moves:
        free[move.sku_id, move.location_id] += move.on_hand_delta - move.reserved_delta
    return {sku_id for (sku_id, _), units in free.items() if units > 0}


async def _record(tx: Tx, moves: Sequence[StockMove], at: datetime) -> None:
    columns: dict[str, list[Any]] = {
        "sku_ids": [m.sku_id for m in moves],
        "cause_ids": [m.cause_id for m in moves],
        "location_ids": [m.location_id for m in moves],
        "line_nos": [m.line_no for m in moves],
        "kinds": [m.kind for m in moves],
        "on_hand": [m.on_hand_delta for m in moves],
        "reserved": [m.reserved_delta for m in moves],
        "picked": [m.picked_delta for m in moves],
        "reasons": [m.reason for m in moves],
        "order_ids": [m.order_id for m in moves],
    }
    if tx.actor is None and not any(m.unavailable_delta or m.document for m in moves):
        await sql.record_moves(tx, **columns, at=at)
        return
    await sql.record_documented_moves(
        tx,
        **columns,
        unavailable=[m.unavailable_delta for m in moves],
        documents=[m.document for m in moves],
        actor=tx.actor,
        at=at,
    )


async def _set_aside(tx: Tx, moves: Sequence[StockMove]) -> None:
    units: dict[tuple[int, int, str], int] = defaultdict(int)
    for move in moves:
        if move.unavailable_delta:
            assert move.reason is not None, "units are set aside for a reason"
            units[move.sku_id, move.location_id, move.reason] += move.unavailable_delta
    for write, sign in ((sql.move_unavailable, 1), (sql.let_in_unavailable, -1)):
        if some := {key: sign * quantity for key, quantity in sorted(units.items()) if sign * quantity > 0}:
            await write(
                tx,
                sku_ids=[key[0] for key in some],
                location_ids=[key[1] for key in some],
                conditions=[key[2] for key in some],
                quantities=list(some.values()),
            )


async def _hold(tx: Tx, moves: Sequence[StockMove]) -> None:
    held: dict[tuple[int, UUID, int, int], int] = defaultdict(int)
    owners: dict[UUID, StockMove] = {}
    for move in moves:
        if move.reserved_delta:
            assert move.order_id is not None, "only an order line or a hold reserves units"
            held[move.sku_id, move.order_id, move.line_no, move.location_id] += move.reserved_delta
            owners[move.order_id] = move
    if grown := {key: quantity for key, quantity in held.items() if quantity > 0}:
        await sql.hold_units(
            tx,
            **_columns(grown),
            channel_ids=[owners[key[1]].channel_id for key in grown],
            expiries=[owners[key[1]].expires_at for key in grown],
        )
    if shrunk := {key: -quantity for key, quantity in held.items() if quantity < 0}:
        touched = (await sql.let_go_units(tx, **_columns(shrunk)))[0]["touched"]
        assert touched == len(shrunk), "a line lets go of no more than it holds"


def _columns(held: Mapping[tuple[int, UUID, int, int], int]) -> dict[str, list[object]]:
    sku_ids, order_ids, line_nos, location_ids = (list(column) for column in zip(*held, strict=True))
    return {
        "sku_ids": sku_ids,
        "order_ids": order_ids,
        "line_nos": line_nos,
        "location_ids": location_ids,
        "quantities": list(held.values()),
    }


async def _balance(
    tx: Tx, moves: Sequence[StockMove], keep: Mapping[Key, int], guarded: bool, *, arrives: bool
) -> set[int]:
    """The SKUs that got their first units at a position, if units arrive."""
    first: set[int] = set()
    deltas: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for move in moves:
        delta = deltas[move.sku_id, move.location_id]
        delta[0] += move.on_hand_delta
        delta[1] += move.reserved_delta
        delta[2] += move.picked_delta
    touched = {key: delta for key, delta in deltas.items() if any(delta)}
    keys = sorted(touched, key=lambda key: (stock_shard(key[0]), key))
    lost: list[Key] = []
    for _, group in groupby(keys, key=lambda key: stock_shard(key[0])):
        shard = list(group)
        rows = await sql.move_stock(
            tx,
            sku_ids=[sku_id for sku_id, _ in shard],
            location_ids=[location_id for _, location_id in shard],
            on_hand=[touched[key][0] for key in shard],
            reserved=[touched[key][1] for key in shard],
            picked=[touched[key][2] for key in shard],
            keep=[keep.get(key, 0) if guarded and touched[key][1] > 0 else 0 for key in shard],
        )
        if len(rows) < len(shard):
            lost += set(shard) - {(row["sku_id"], row["location_id"]) for row in rows}
        if arrives:
            first.update([row["sku_id"] for row in rows if row["was_empty"]])
    if lost:
        raise Raced(sorted(lost))
    return first


async def hold(tx: Tx, sku_ids: Collection[int]) -> list[Record]:
    """Every position of these SKUs stays as it is until the transaction ends, but for what this transaction does. Returns those
    that it had not held yet.

    What is held is not held again: a position that somebody has opened meanwhile would be locked after others that come later.
    """
    if not (new := sorted(set(sku_ids) - tx.positions.keys())):
        return []
    rows = await sql.lock_positions(tx, sku_ids=new)
    tx.positions |= {sku_id: set() for sku_id in new}
    for row in rows:
        tx.positions[row["sku_id"]].add(row["location_id"])
    return rows


async def _held(tx: Tx, sku_ids: Collection[int]) -> list[Record]:
    """The positions of these SKUs, which are held now. Raises ``Raced`` if somebody has opened one since those of its SKU were
    held.
    """
    before = [sku_id for sku_id in set(sku_ids) if sku_id in tx.positions]
    rows = await hold(tx, sku_ids)
    if not before:
        return rows
    again = await sql.positions(tx, sku_ids=before)
    if opened := [key for row in again if (key := (row["sku_id"], row["location_id"]))[1] not in tx.positions[key[0]]]:
        raise Raced(opened)
    return [*rows, *again]


async def free(tx: Tx, sku_ids: Sequence[int], *, at: datetime, lock: bool = False) -> dict[int, dict[int, int]]:
    """SKU id -> location id -> units on hand, not reserved and not of expired lots; positions without free units are left out."""
    units: dict[int, dict[int, int]] = defaultdict(dict)
    if lock:
        for row in await _held(tx, sku_ids):
            if row["on_hand"] > row["reserved"]:
                units[row["sku_id"]][row["location_id"]] = row["on_hand"] - row["reserved"]
    else:
        for row in await sql.free(tx, sku_ids=list(set(sku_ids))):
            units[row["sku_id"]] = dict(zip(row["location_ids"], row["free"], strict=True))
    await expiry.leave_out(tx, units, at=at)
    return {sku_id: places for sku_id, places in units.items() if places}
