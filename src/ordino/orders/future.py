"""What may be promised by when: what is available now, and dated supply, less what orders already wait for.

Orders that wait take the first units that come: available at a date = available now + max(0, supply until then - units waiting),
as in the cumulative available-to-promise of master scheduling (APICS Dictionary, "available-to-promise"). Supply that is overdue
counts for nothing, and so does what comes to a location that is closed then. Of a SKU that is no longer sold nothing may be
promised at any time: what comes of it goes to the orders that wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ordino.catalog.codes import sku_id_of
from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.availability import Ask, look, reach_of
from ordino.inventory.availability import reach as reach_at
from ordino.inventory.incoming import Expected, expected
from ordino.network.facts import facts

sql = statements("ordino.orders")


class By(Struct, frozen=True):
    """From ``at`` on, ``available`` units in all may be promised; ``arriving`` of them come then."""

    at: datetime
    arriving: int
    available: int


class Future(Struct, frozen=True):
    """``waiting`` units (of a kit: kits' worth of its scarcest component) are ordered, by themselves or in kits, and have no stock;
    what comes goes to them first. ``overdue`` supply is in no date.
    """

    sku: str
    network: str
    available: int
    waiting: int
    by: list[By]
    overdue: list[Expected]


async def future(tx: Tx, ask: Ask, *, at: datetime, until: datetime | None = None) -> Future:
    """Of one SKU (or kit) through a channel or in a network. Raises ``NotFound``."""
    known = await facts(tx)
    reach = reach_of(known, ask.channel, ask.network, at)
    if isinstance(reach, NotFound):
        raise reach
    sku_id = await sku_id_of(tx, ask.sku)
    shelves = await look(tx, [sku_id], at=at)
    of = shelves.kits.get(sku_id) or ((sku_id, 1),)
    if sku_id in shelves.retired:
        waits = await _waiting(tx, of, known.channels_of(reach.serving))
        return Future(ask.sku, reach.serving.code, 0, waits, [], [])
    now = sum(part.available for part in shelves.parts(reach, sku_id))
    left = {  # with what waiting orders have first claim to: they are counted below
        part: {
            known.location_ids[p.location]: p.available + p.waiting
            for p in shelves.parts(reach, part, in_kit=part != sku_id)
        }
        for part, _ in of
    }
    coming: list[tuple[int, int, Expected]] = []
    overdue: list[Expected] = []
    for part, announced in (await expected(tx, [part for part, _ in of], at=at)).items():
        for location_id, one in announced:
            then = reach_at(known, reach.serving, reach.channel_id, max(at, one.expected_at))
            if location_id not in then.open:
                continue
            if one.overdue:
                overdue.append(one)
            elif until is None or one.expected_at <= until:
                coming.append((part, location_id, one))
    waiting = await _waiting(tx, of, known.channels_of(reach.serving))
    supply: dict[int, dict[int, int]] = {part: defaultdict(int) for part, _ in of}
    by: list[By] = []
    before = sum(_whole(of, left, supply).values())
    for instant in sorted({one.expected_at for _, _, one in coming}):
        for part, location_id, one in coming:
            if one.expected_at == instant:
                supply[part][location_id] += one.quantity
        there = sum(_whole(of, left, supply).values())
        by.append(By(instant, there - before, now + max(0, there - now - waiting)))
        before = there
    return Future(ask.sku, reach.serving.code, now, waiting, by, overdue)


def _whole(of: Parts, left: Mapping[int, Mapping[int, int]], supply: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Location id -> what can be made there of what is left and what has come."""
    places = {place for part, _ in of for place in (*left[part], *supply[part])}
    return {
        place: min((left[part].get(place, 0) + supply[part].get(place, 0)) // each for part, each in of)
        for place in places
    }


async def _waiting(tx: Tx, of: Parts, channel_ids: Sequence[int]) -> int:
    """What waits for these parts, in pieces of what is made of them."""
    within = (await kits(tx)).within
    wanted = sorted({part for part, _ in of} | {kit for part, _ in of for kit in within.get(part, ())})
    rows = await sql.units_waiting(tx, sku_ids=wanted, channel_ids=channel_ids)
    units: dict[int, int] = {row["sku_id"]: row["quantity"] for row in rows}
    return max(-(-units.get(part, 0) // each) for part, each in of)
