"""What networks may promise of many SKUs, without the locations' parts: a chain of a thousand stores, asked for fifty SKUs.

A total is worked out once for a version of its SKU, and every answer asks the database first whether the SKU still stands at it.
A SKU whose stock moves is noted in the transaction that moves it (``inventory.touched``), and gets the next number in the one that
takes the note: so as long as it has the same number and no note, nothing has moved, and the total is exact. Rules, closures, kits
and members have revisions that every transaction asks for; a hold that expires ends the total that knew it.

TOT-1  A total is what the positions add up to in the snapshot in which its version was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ordino.catalog.kits import kits
from ordino.catalog.retired import retired
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.availability import Ask, Availability, Reach, asked, look
from ordino.inventory.expiry import lot_tracked
from ordino.inventory.rules import RuleKind, general

sql = statements("ordino.inventory")
KEPT = 500_000
Total = tuple[int, int, datetime | None]
"""(version, units, until when at the longest)"""


async def totals(tx: Tx, asks: Sequence[Ask], *, at: datetime) -> list[Availability | NotFound]:
    """One answer an ask, in order, as ``available`` gives them but for the locations."""
    known = await asked(tx, asks, at=at)
    units: dict[tuple[str | None, str | None], dict[int, int]] = {}
    for names, reach in known.reaches.items():
        if isinstance(reach, Reach):
            skus = {ask.sku for ask in asks if (ask.channel, ask.network) == names} & known.sku_ids.keys()
            units[names] = await _units(tx, {known.sku_ids[sku] for sku in skus}, reach, at)

    def found(ask: Ask, reach: Reach, sku_id: int) -> Availability:
        return Availability(ask.sku, reach.serving.code, units[ask.channel, ask.network][sku_id], [])

    return known.answers(asks, found)


async def _units(tx: Tx, sku_ids: set[int], reach: Reach, at: datetime) -> dict[int, int]:
    """SKU id -> what may be promised."""
    of_kits = (await kits(tx)).parts
    if lots := await lot_tracked(tx, sku_ids):  # the day decides, too: worked out each time
        shelves = await look(tx, list(lots), at=at)
        told = {sku_id: sum([part.available for part in shelves.parts(reach, sku_id)]) for sku_id in lots}
        return told | (await _units(tx, sku_ids - lots.keys(), reach, at) if sku_ids - lots.keys() else {})
    if {RuleKind.BUFFER, RuleKind.ALLOCATION} & (await general(tx)).kinds or not of_kits.keys().isdisjoint(sku_ids):
        return await _units_now(tx, sku_ids, reach, at)  # rules and kits have a say: worked out each time
    kept = _kept(tx, reach)
    units: dict[int, int] = dict.fromkeys(sku_ids & await retired(tx), 0)
    sku_ids = sku_ids - units.keys()
    versions = {row["sku_id"]: row["version"] for row in await sql.versions(tx, sku_ids=list(sku_ids))}
    for sku_id in sku_ids:
        total = kept.get(sku_id)
        if total is not None and versions.get(sku_id) == total[0] and (total[2] is None or at < total[2]):
            units[sku_id] = total[1]
    if missing := sku_ids - units.keys():
        units |= dict.fromkeys(missing, 0)
        rows = await sql.versioned_stock(tx, sku_ids=list(missing), at=at)
        if waited_for := {
            row["sku_id"] for row in rows if row["waited_for"]
        }:  # who waits has a say: worked out each time
            units |= await _units_now(tx, waited_for, reach, at)
        for row in rows:
            if row["waited_for"]:
                continue
            total_units = 0
            for location_id, free in zip(row["location_ids"], row["free"], strict=True):
                buffer = reach.open.get(location_id)
                if buffer is not None and free > buffer:
                    total_units += free - buffer
            units[row["sku_id"]] = total_units
            if row["version"] is not None:
                kept[row["sku_id"]] = (row["version"], total_units, row["until"])
    return units


async def _units_now(tx: Tx, sku_ids: set[int], reach: Reach, at: datetime) -> dict[int, int]:
    shelves = await look(tx, sku_ids, at=at)
    return {sku_id: sum([part.available for part in shelves.parts(reach, sku_id)]) for sku_id in sku_ids}


def _kept(tx: Tx, reach: Reach) -> dict[int, Total]:
    """SKU id -> the total that was worked out for this network, as it is now."""
    assert tx.revisions is not None, "facts were asked for"
    stands = (tx.revisions["network"], tx.revisions["rules"], tx.revisions["kits"])
    keeper: _Keeper = tx.kept.setdefault("totals", (0, _Keeper()))[1]
    if keeper.stands != stands or sum(map(len, keeper.by_reach.values())) > KEPT:
        keeper.stands, keeper.by_reach = stands, {}
    return keeper.by_reach.setdefault((reach.serving.network_id, reach.closed), {})


class _Keeper:
    """The totals of a process, for one state of network, rules and kits."""

    def __init__(self) -> None:
        self.stands: tuple[int, ...] = ()
        self.by_reach: dict[tuple[int, frozenset[int]], dict[int, Total]] = {}
