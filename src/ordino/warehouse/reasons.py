"""Why units can be short: what each reason says of the stock, and whether the location is asked for their line again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.upserts import Outcome, in_rounds, outcome
from ordino.warehouse.ledger import sql
from ordino.warehouse.model import StockEffect


class ShortReason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reduce` takes the short units off the stock, `zero` all that is free there, too, `none` leaves it as it is. A location that
    a reason excludes is not asked for the line again.
    """

    code: Code
    sentence: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
    stock_effect: StockEffect
    excludes_location: bool


async def short_reasons(tx: Tx) -> list[ShortReason]:
    """What may be said of units that could not be picked."""
    return [
        ShortReason(
            code=row["code"],
            sentence=row["sentence"],
            stock_effect=StockEffect(row["stock_effect"]),
            excludes_location=row["excludes_location"],
        )
        for row in await sql.short_reasons(tx)
    ]


async def upsert_short_reasons(tx: Tx, reasons: Sequence[ShortReason], *, at: datetime) -> list[Outcome]:
    """Each by its code. What was short before stays as it was told."""

    async def apply(batch: Sequence[ShortReason]) -> list[Outcome]:
        rows = await sql.write_short_reasons(
            tx,
            codes=[one.code for one in batch],
            sentences=[one.sentence for one in batch],
            stock_effects=[one.stock_effect.value for one in batch],
            excludes=[one.excludes_location for one in batch],
        )
        new = {row["code"]: row["new"] for row in rows}
        return [outcome(one.code, new=new.get(one.code, False), written=one.code in new) for one in batch]

    return await in_rounds(reasons, code=lambda reason: reason.code, fault=lambda _: None, apply=apply)
