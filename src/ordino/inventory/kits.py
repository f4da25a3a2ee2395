"""Kits in the stock ledger: an order line for kits moves their components.

A kit has no stock of its own. What it was made of is written down when an order line first asks for it, so that a kit that is
changed meanwhile releases and ships what was reserved for it.

KIT-1  A line for kits holds, at each location, of every component as many units as its kits there need.
KIT-2  A kit has no stock of its own: nothing of it is on hand, set aside, under way or announced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from msgspec.structs import replace

from ordino.catalog.kits import Parts, kits
from ordino.core import kept
from ordino.core.database import Raced, Tx
from ordino.core.statements import statements
from ordino.inventory.model import MoveKind, StockMove

sql = statements("ordino.inventory")
catalog_sql = statements("ordino.catalog")

LineKey = tuple[UUID, int]
"""(order id, line number)"""


async def stand(tx: Tx, seen: Mapping[int, Parts]) -> None:
    """SKUs stay made of what they were seen to be made of (of nothing, those that are no kits) until this transaction ends.

    Raises ``Raced`` if they are not any more: it is to be run again on what they are made of now.
    """
    if await kept.stand(tx, "kits"):
        return
    now: dict[int, dict[int, int]] = {}
    for row in await catalog_sql.components_of(tx, sku_ids=list(seen)):
        now.setdefault(row["sku_id"], {})[row["component_sku_id"]] = row["quantity"]
    if any(now.get(sku_id, {}) != dict(parts) for sku_id, parts in seen.items()):
        raise Raced


async def freeze(tx: Tx, lines: Mapping[LineKey, Parts]) -> None:
    """Write down what the kits of new order lines are made of."""
    rows = [(*line, *part) for line, parts in lines.items() for part in parts]
    if rows:
        await sql.freeze_kits(
            tx,
            order_ids=[row[0] for row in rows],
            line_nos=[row[1] for row in rows],
            component_sku_ids=[row[2] for row in rows],
            quantities=[row[3] for row in rows],
        )


async def frozen(tx: Tx, lines: Collection[LineKey]) -> dict[LineKey, Parts]:
    """What the kits of these lines were made of when they were ordered; lines that ordered no kit are left out."""
    parts: dict[LineKey, list[tuple[int, int]]] = {}
    for row in await sql.frozen_kits(tx, order_ids=[line[0] for line in lines], line_nos=[line[1] for line in lines]):
        parts.setdefault((row["order_id"], row["line_no"]), []).append((row["component_sku_id"], row["quantity"]))
    return {line: tuple(of) for line, of in parts.items()}


async def expand(tx: Tx, moves: Sequence[StockMove]) -> Sequence[StockMove]:
    """Moves of kits become moves of their components. What moves a component of the line's kits by itself stays as it is, though
    that SKU may have been a kit once.

    What a short pick says of kits says nothing of any one component: whoever counts the components will.
    """
    ever = (await kits(tx)).ever
    lines = {(move.order_id, move.line_no) for move in moves if move.sku_id in ever and move.order_id is not None}
    if not lines:
        return moves
    parts = await frozen(tx, lines)
    expanded: list[StockMove] = []
    for move in moves:
        of = parts.get((move.order_id, move.line_no)) if move.order_id is not None and move.sku_id in ever else None
        if of is None or any(move.sku_id == sku_id for sku_id, _ in of):
            expanded.append(move)
        elif move.kind is not MoveKind.ADJUSTED:
            expanded += [
                replace(
                    move,
                    sku_id=sku_id,
                    on_hand_delta=move.on_hand_delta * units,
                    reserved_delta=move.reserved_delta * units,
                    picked_delta=move.picked_delta * units,
                )
                for sku_id, units in of
            ]
    return expanded
