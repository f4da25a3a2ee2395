"""Holds are narrowed by the seller of their channel; count sheets, shortfalls and transfers by their locations."""

from __future__ import annotations

from collections.abc import Sequence

from ordino.catalog.scopes import SELLERS
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.network.scopes import LOCATIONS
from ordino.web.scopes import Dimension, Key, Narrowing, Owner, Owners

sql = statements("ordino.inventory")


async def _holds(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.sellers_of_holds(tx, hold_ids=sorted({hold_id for (hold_id,) in keys}))
    of = {row["hold_id"]: row["seller"] for row in rows}
    return [[Owner(seller=of[hold_id])] if hold_id in of else [] for (hold_id,) in keys]


async def _plans(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.plans(tx, codes=sorted({code for (code,) in keys}))
    at = {row["code"]: row["location"] for row in rows}
    return [[Owner(location=at[code])] if code in at else [] for (code,) in keys]


async def _sheets(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.places_of_sheets(tx, sheet_ids=sorted({sheet_id for (sheet_id,) in keys}))
    at = {row["sheet_id"]: row["location"] for row in rows}
    return [[Owner(location=at[sheet_id])] if sheet_id in at else [] for (sheet_id,) in keys]


async def _shortfalls(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
    rows = await sql.places_of_shortfalls(tx, shortfall_ids=sorted({shortfall_id for (shortfall_id,) in keys}))
    at = {row["shortfall_id"]: row["location"] for row in rows}
    return [[Owner(location=at[shortfall_id])] if shortfall_id in at else [] for (shortfall_id,) in keys]


def _transfers(*ends: str) -> Owners:
    """The locations of transfers at these ends: `origin`, `destination`, or both."""

    async def owners(tx: Tx, keys: Sequence[Key]) -> list[list[Owner]]:
        rows = await sql.places_of_transfers(tx, transfer_ids=sorted({transfer_id for (transfer_id,) in keys}))
        at = {row["transfer_id"]: [Owner(location=row[end]) for end in ends] for row in rows}
        return [at.get(transfer_id, []) for (transfer_id,) in keys]

    return owners


def _by_location(name: str, parameter: str, owners: Owners, missing: str, *, one_is_enough: bool = False) -> Narrowing:
    """What lies or moves at locations is no seller's."""
    return Narrowing(
        name=name,
        dimensions=LOCATIONS,
        free=frozenset({Dimension.SELLER}),
        names=(parameter,),
        owners=owners,
        missing=missing,
        one_is_enough=one_is_enough,
    )


NO_TRANSFER = "There is no transfer {0}."
BY_PLAN = _by_location(
    "count plan", "plan", _plans, "There is no count plan {0!r}; create it with PUT /v1/count_plans."
)
BY_SHEET = _by_location("count sheet", "sheet_id", _sheets, "There is no count sheet {0}.")
BY_SHORTFALL = _by_location("shortfall", "shortfall_id", _shortfalls, "There is no shortfall {0}.")
BY_TRANSFER = _by_location(
    "transfer from or to a location",
    "transfer_id",
    _transfers("origin", "destination"),
    NO_TRANSFER,
    one_is_enough=True,
)
BY_ORIGIN = _by_location("transfer from a location", "transfer_id", _transfers("origin"), NO_TRANSFER)
BY_DESTINATION = _by_location("transfer to a location", "transfer_id", _transfers("destination"), NO_TRANSFER)
BY_HOLD = Narrowing(name="hold", dimensions=SELLERS, names=("hold_id",), owners=_holds, missing="There is no hold {0}.")
