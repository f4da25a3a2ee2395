"""Available to promise: on hand - reserved - expired - buffer - what is kept for other channels - what waiting orders have first
claim to, location by location, never below 0; a network's is the sum. Of a kit it is the number of kits whose components are
available at one location.

What an expired hold has reserved counts as free: whoever asks for it gets it. Of a SKU that is no longer sold (its ``active`` is
false) nothing is available, though its units lie there; as a component of kits that are sold, it counts as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import Parts, kits
from ordino.catalog.retired import retired
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.expiry import expired_units
from ordino.inventory.rules import Book, Position, book
from ordino.inventory.waiting import claimed, decoded
from ordino.network.facts import NetworkFacts, Serving, facts

sql = statements("ordino.inventory")


class AtLocation(Struct, frozen=True):
    """One location's part. ``kept`` units are for other channels; ``waiting`` units are for orders that wait and are still to be
    offered them; ``expired`` ones are of lots that may no longer be sold.
    """

    location: str
    on_hand: int
    reserved: int
    buffer: int
    kept: int
    available: int
    waiting: int = 0
    expired: int = 0


class Availability(Struct, frozen=True):
    """Units of one SKU that may be promised in a network, and where they lie."""

    sku: str
    network: str
    available: int
    locations: list[AtLocation]


class Ask(Struct, frozen=True):
    """Of which SKU, through which channel's network or in which one."""

    sku: str
    channel: str | None
    network: str | None


class Reach(Struct, frozen=True):
    """Whose question it is: a channel (or none) in its network, and that network's buffers at the locations that are open."""

    serving: Serving
    channel_id: int | None
    closed: frozenset[int]
    open: Mapping[int, int]


class Asked(Struct, frozen=True):
    """What is known of some asks: their reaches, by the codes of channel and network, and their SKUs."""

    reaches: dict[tuple[str | None, str | None], Reach | NotFound]
    sku_ids: dict[str, int]

    def answers(
        self, asks: Sequence[Ask], found: Callable[[Ask, Reach, int], Availability]
    ) -> list[Availability | NotFound]:
        """One answer an ask, in order: what was ``found``, or the error that says what is unknown."""
        answers: list[Availability | NotFound] = []
        for ask in asks:
            reach, sku_id = self.reaches[ask.channel, ask.network], self.sku_ids.get(ask.sku)
            if isinstance(reach, NotFound):
                answers.append(reach)
            elif sku_id is None:
                answers.append(NotFound(f"There is no SKU {ask.sku!r}."))
            else:
                answers.append(found(ask, reach, sku_id))
        return answers


async def asked(tx: Tx, asks: Sequence[Ask], *, at: datetime) -> Asked:
    """What answering takes, but for the stock."""
    known = await facts(tx)
    names = {(ask.channel, ask.network) for ask in asks}
    reaches = {(channel, network): reach_of(known, channel, network, at) for channel, network in names}
    return Asked(reaches, await sku_ids(tx, [ask.sku for ask in asks]))


async def available(tx: Tx, asks: Sequence[Ask], *, at: datetime) -> list[Availability | NotFound]:
    """One answer an ask, in order: what stood when the set was read, or the error that says what is unknown."""
    known = await asked(tx, asks, at=at)
    shelves = await look(tx, known.sku_ids.values(), at=at)

    def found(ask: Ask, reach: Reach, sku_id: int) -> Availability:
        parts = shelves.parts(reach, sku_id)
        return Availability(ask.sku, reach.serving.code, sum([part.available for part in parts]), parts)

    return known.answers(asks, found)


async def look(tx: Tx, skus: Collection[int], *, at: datetime) -> Shelves:
    """What there is of these SKUs, with all that says how much of it may be promised."""
    parts = (await kits(tx)).parts
    stocked = {part for sku_id in skus for part, _ in parts.get(sku_id) or ((sku_id, 1),)}
    stock = {row["sku_id"]: row for row in await sql.stock_of(tx, sku_ids=list(stocked), at=at)}
    rules = await book(tx, stocked, at=at)
    expired = await expired_units(tx, stock, at=at)
    claimed_units = await _claimed(tx, stock, expired, rules, at)
    return Shelves(await facts(tx), parts, stock, rules, claimed_units, await retired(tx), expired)


async def _claimed(
    tx: Tx, stock: Mapping[int, Record], expired: Mapping[Position, int], rules: Book | None, at: datetime
) -> Mapping[Position, int]:
    """What waiting orders have first claim to, by position."""
    waiting = [one for row in stock.values() if row["waiting"] is not None for one in decoded(row["waiting"])]
    if not waiting:
        return {}
    free = {
        sku_id: {
            location_id: on_hand - reserved - expired.get((sku_id, location_id), 0)
            for location_id, on_hand, reserved in zip(row["location_ids"], row["on_hand"], row["reserved"], strict=True)
        }
        for sku_id, row in stock.items()
    }
    lapsed = [sku_id for sku_id, row in stock.items() if row["lapsed"]]
    return await claimed(tx, waiting, free, rules, at=at, lapsed=lapsed)


class Shelves:
    """Some SKUs' stock as it stood when it was read."""

    def __init__(
        self,
        known: NetworkFacts,
        kits: Mapping[int, Parts],
        stock: Mapping[int, Record],
        rules: Book | None,
        claimed: Mapping[Position, int],
        retired: frozenset[int],
        expired: Mapping[Position, int],
    ) -> None:
        self.known = known
        self.kits = kits
        self.rules = rules
        self.claimed = claimed
        self.retired = retired
        self.expired = expired
        self._stock = stock

    def parts(self, reach: Reach, sku_id: int, *, in_kit: bool = False) -> list[AtLocation]:
        """Each open location's part, in the order of their ids. A SKU that is no longer sold has none by itself; as a component of
        kits (``in_kit``) it has.
        """
        if sku_id in self.retired and not in_kit:
            return []
        of = self.kits.get(sku_id)
        return self._units(reach, sku_id) if of is None else self._kits(reach, of)

    def positions(self, sku_id: int) -> list[tuple[int, int, int]]:
        """(location id, on hand, reserved) of every position that the SKU has, in the order of their ids."""
        row = self._stock.get(sku_id)
        return [] if row is None else sorted(zip(row["location_ids"], row["on_hand"], row["reserved"], strict=True))

    def _units(self, reach: Reach, sku_id: int) -> list[AtLocation]:
        serving, locations, rules, claimed, parts = reach.serving, self.known.locations, self.rules, self.claimed, []
        for location_id, on_hand, reserved in self.positions(sku_id):
            buffer = reach.open.get(location_id)
            if buffer is None:
                continue
            location, kept = locations[location_id], 0
            if rules is not None:
                buffer = rules.buffer(serving, reach.channel_id, sku_id, location)[0]
                kept = sum(
                    [units for _, units, _ in rules.kept_for_others(serving, reach.channel_id, sku_id, location)]
                )
            waiting = claimed.get((sku_id, location_id), 0) if claimed else 0
            expired = self.expired.get((sku_id, location_id), 0) if self.expired else 0
            free = max(on_hand - reserved - expired - buffer - kept - waiting, 0)
            parts.append(AtLocation(location.code, on_hand, reserved, buffer, kept, free, waiting, expired))
        return parts

    def _kits(self, reach: Reach, of: Parts) -> list[AtLocation]:
        """Kits whose components all lie at one location, counted down in the same steps as units: the scarcest decides."""
        by_location: dict[str, list[tuple[int, AtLocation]]] = {}
        for sku_id, each in of:
            for part in self._units(reach, sku_id):
                by_location.setdefault(part.location, []).append((each, part))
        whole = []
        for code, found in by_location.items():
            if len(found) < len(of):
                continue
            on_hand = min(part.on_hand // each for each, part in found)
            free = min((part.on_hand - part.reserved) // each for each, part in found)
            sellable = min(max(part.on_hand - part.reserved - part.expired, 0) // each for each, part in found)
            unbuffered = min(
                max(part.on_hand - part.reserved - part.expired - part.buffer, 0) // each for each, part in found
            )
            unkept = min(
                max(part.on_hand - part.reserved - part.expired - part.buffer - part.kept, 0) // each
                for each, part in found
            )
            can = min(part.available // each for each, part in found)
            kept, waiting, expired = unbuffered - unkept, unkept - can, free - sellable
            whole.append(AtLocation(code, on_hand, on_hand - free, sellable - unbuffered, kept, can, waiting, expired))
        return whole


def reach_of(known: NetworkFacts, channel: str | None, network: str | None, at: datetime) -> Reach | NotFound:
    """By the code of a channel or of a network; where there is one network only, by neither."""
    if channel is not None:
        found = known.channels.get(channel)
        if found is None or found.network is None:
            return NotFound(
                f"No network serves a channel {channel!r}; add the channel to a network (PUT /v1/networks)."
            )
        return reach(known, found.network, found.channel_id, at)
    if network is None and len(known.networks) != 1:
        return NotFound("Name a channel or a network.")
    try:
        serving = next(iter(known.networks.values())) if network is None else known.serving(network)
    except NotFound as error:
        return error
    return reach(known, serving, None, at)


def reach(known: NetworkFacts, serving: Serving, channel_id: int | None, at: datetime) -> Reach:
    """Of a network through a channel of it, or through none."""
    closed = frozenset(known.closed(channel_id, at))
    return Reach(serving, channel_id, closed, known.open_members(serving, closed))
