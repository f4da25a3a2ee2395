"""Units that orders wait for, and their first claim to what becomes free.

What becomes free of a SKU is offered to the orders that wait for it, first placed first, before anybody who comes later may have
it. Until that is done, what they wait for is left alone: it is not available, not promised, not held for carts and not
allocated to later orders. Once they have been asked, what they could not use is free for everybody.

Units become free when stock moves (receipts, cancellations, carts that let go), when a location has room for work again, when an
order may go back to where it failed, and when what decides changes: rules, the network, profiles (the stamp), or the hour
(closures that begin or end, days of limited locations).

WAI-1  What inventory says a channel's orders wait for is what their lines have backordered, of kits their components.
WAI-2  What becomes free is offered to who waits, first placed first, before anybody who comes later may have it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.inventory.rules import Book, Position
from ordino.network.facts import NetworkFacts, facts

sql = statements("ordino.inventory")
LAST = "waiting"
NEVER = -1
DECIDES = ("network", "rules", "kits", "profiles", "goods")
"""The revisions of what decides who may have stock."""

Waiter = tuple[int, int]
"""(SKU id, channel id)"""


class Waiting(Struct, frozen=True, gc=False, array_like=True):
    """Units that a channel's orders wait for. Each time that units of the SKU may have become free counts in ``freed``;
    ``offered`` is how many of those times had come when the orders were last asked, ``stamp`` and ``offered_at`` under what
    rules, and when.
    """

    sku_id: int
    channel_id: int
    quantity: int
    freed: int
    offered: int
    stamp: int
    offered_at: datetime | None


_decode = msgspec.json.Decoder(list[Waiting]).decode


def decoded(rows: str | None) -> list[Waiting]:
    """As the statements give the rows beside the stock of a SKU."""
    return [] if rows is None else _decode(rows)


class _Gathered:
    """What a transaction says of waiting units, written in key order, after the stock."""

    def __init__(self) -> None:
        self.units: dict[Waiter, int] = {}
        self.seen: dict[Waiter, int] = {}
        self.decided_at: datetime | None = None
        self.freed: set[int] = set()
        self.places: set[int] = set()
        self.asked: list[_Asked] = []

    async def write(self, tx: Tx) -> None:
        if self.places:
            rows = await sql.waiting_at(tx, location_ids=sorted(self.places))
            self.freed.update([row["sku_id"] for row in rows])
        more = {key: quantity for key, quantity in sorted(self.units.items()) if quantity > 0}
        fewer = {key: -quantity for key, quantity in sorted(self.units.items()) if quantity < 0}
        freed = sorted(await _with_fellows(tx, self.freed))
        asked = {sku_id for one in self.asked for sku_id in one.sku_ids}
        if sum(map(bool, (more, fewer, freed, *self.asked))) > 1:
            await sql.lock_waiting(tx, sku_ids=sorted({*freed, *asked, *(sku_id for sku_id, _ in (*more, *fewer))}))
        if more:
            await sql.more_waiting(
                tx,
                **_columns(more),
                seen=[self.seen.get(key, NEVER) for key in more],
                stamp=await stamp_of(tx),
                names=DECIDES,
                at=self.decided_at,
            )
        if fewer:
            await sql.fewer_waiting(tx, **_columns(fewer))
        if freed:
            await sql.free_for_waiting(tx, sku_ids=freed)
        for one in self.asked:
            await sql.mark_offered(
                tx,
                sku_ids=one.sku_ids,
                channel_ids=one.channel_ids,
                freed=one.freed,
                stamp=one.stamp,
                at=one.at,
            )


class _Asked(Struct, frozen=True, kw_only=True):
    """Who has been asked: rows in key order, how often units had become free then, under what rules, and when."""

    sku_ids: list[int]
    channel_ids: list[int]
    freed: list[int]
    stamp: int
    at: datetime


def _columns(units: Mapping[Waiter, int]) -> dict[str, list[int]]:
    return {
        "sku_ids": [sku_id for sku_id, _ in units],
        "channel_ids": [channel_id for _, channel_id in units],
        "quantities": list(units.values()),
    }


async def _with_fellows(tx: Tx, sku_ids: Collection[int]) -> set[int]:
    """Who waits for a kit may have the other components, too, once one has come."""
    known = await kits(tx) if sku_ids else None
    if known is None or not known.within:
        return set(sku_ids)
    of = {kit for sku_id in sku_ids for kit in known.within.get(sku_id, ())}
    return {*sku_ids, *(part for kit in of for part, _ in known.parts.get(kit, ()))}


def _gathered(tx: Tx) -> _Gathered:
    found = tx.last.setdefault(LAST, _Gathered())
    assert isinstance(found, _Gathered), "nobody else gathers under this name"
    return found


def change(tx: Tx, units: Mapping[Waiter, int], seen: Mapping[Waiter, int] | None = None, *, at: datetime) -> None:
    """So many units more (or fewer) wait. ``seen`` says how often units had become free when it was decided that they wait, in
    this transaction, ``at`` a time and under the rules that it sees; without it, or if the rules have changed or others have been
    asked since, they are offered what is there once more.
    """
    gathered = _gathered(tx)
    gathered.decided_at = at if gathered.decided_at is None else min(gathered.decided_at, at)
    for key, quantity in units.items():
        gathered.units[key] = gathered.units.get(key, 0) + quantity
    gathered.seen.update(seen or {})


def freed(tx: Tx, sku_ids: Collection[int]) -> None:
    """Units of these SKUs have become free."""
    if sku_ids:
        _gathered(tx).freed.update(sku_ids)


def room(tx: Tx, location_ids: Collection[int]) -> None:
    """These locations can take on work again: what lies there may be used by orders that wait."""
    if location_ids:
        _gathered(tx).places.update(location_ids)


async def waiting_of(tx: Tx, sku_ids: Collection[int]) -> list[Waiting]:
    """What waits for these SKUs."""
    return [Waiting(*row) for row in await sql.waiting_of(tx, sku_ids=list(sku_ids))]


def offered(tx: Tx, rows: Sequence[Waiting], *, stamp: int, at: datetime) -> None:
    """Who waited when these rows were read has been asked, from a time on, and under the rules of a stamp at least."""
    if rows:
        keys = sorted({(row.sku_id, row.channel_id): row.freed for row in rows}.items())
        _gathered(tx).asked.append(
            _Asked(
                sku_ids=[key[0] for key, _ in keys],
                channel_ids=[key[1] for key, _ in keys],
                freed=[number for _, number in keys],
                stamp=stamp,
                at=at,
            )
        )


async def waited_for(tx: Tx) -> list[int]:
    """What orders wait for: SKU ids, of kits those of their components."""
    return [row["sku_id"] for row in await sql.waited_for(tx)]


async def unserved_skus(tx: Tx, *, at: datetime, limit: int) -> list[int]:
    """SKUs whose waiting orders have not yet been offered what may have become free."""
    turned = (await facts(tx)).last_turn(at)
    return [row["sku_id"] for row in await sql.unserved(tx, stamp=await stamp_of(tx), turned=turned, limit=limit)]


async def stamp_of(tx: Tx) -> int:
    """Grows with every change of what decides."""
    await facts(tx)
    assert tx.revisions is not None, "facts were asked for"
    return sum([tx.revisions[name] for name in DECIDES])


Own = Mapping[Waiter, int]
"""Units among those that wait which are the asker's own."""


async def claimed(
    tx: Tx,
    rows: Sequence[Waiting],
    free: Mapping[int, Mapping[int, int]],
    book: Book | None,
    *,
    at: datetime,
    own: Own | None = None,
    lapsed: Collection[int] = (),
) -> dict[Position, int]:
    """Free units that orders wait for and have not been offered yet, by position; of SKUs in ``lapsed``, carts' holds have just
    expired. ``own`` says how many of the waiting units are the asker's.
    """
    if not rows:
        return {}
    network, gathered = await facts(tx), tx.last.get(LAST)
    fresh = {*lapsed, *(gathered.freed if isinstance(gathered, _Gathered) else ())}
    stamp, turned = await stamp_of(tx), network.last_turn(at)
    units: dict[Position, int] = {}
    for row in rows:
        quantity = row.quantity - (own or {}).get((row.sku_id, row.channel_id), 0)
        if quantity <= 0 or not (row.sku_id in fresh or _is_unserved(row, stamp, turned)):
            continue
        there = free.get(row.sku_id, {})
        for location_id, room in _rooms(row, there, network, book, at).items():
            key = (row.sku_id, location_id)
            units[key] = min(units.get(key, 0) + min(quantity, room), there[location_id])
    return units


def _is_unserved(row: Waiting, stamp: int, turned: datetime | None) -> bool:
    if row.offered_at is None or row.offered < row.freed or row.stamp != stamp:
        return True
    return turned is not None and row.offered_at < turned


def _rooms(
    row: Waiting, there: Mapping[int, int], network: NetworkFacts, book: Book | None, at: datetime
) -> dict[int, int]:
    """Location id -> what the channel's orders may have of the SKU there."""
    serving = network.channels_by_id[row.channel_id].network
    if serving is None:
        return {}
    members = network.open_members(serving, frozenset(network.closed(row.channel_id, at)))
    rooms = {}
    for location_id, free in there.items():
        buffer = members.get(location_id)
        if buffer is not None:
            if book is not None:
                buffer = book.withheld(serving, row.channel_id, row.sku_id, network.locations[location_id])
            if free > buffer:
                rooms[location_id] = free - buffer
    return rooms
