"""Available to promise: on hand - reserved - buffer - what is kept for other channels, location by location, never below 0; a
network's is the sum. Of a kit it is the number of kits whose components are available at one location.

What an expired hold has reserved counts as free: whoever asks for it gets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from ordino.catalog.kits import Parts, kits
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.rules import Book, book
from ordino.network.facts import Closed, NetworkFacts, Serving, facts

sql = statements("ordino.inventory")


class AtLocation(Struct, frozen=True):
    """One location's part. ``kept`` units are for other channels."""

    location: str
    on_hand: int
    reserved: int
    buffer: int
    kept: int
    available: int


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
    """Whose question it is: a channel (or none) in its network, and which locations are switched off for it now."""

    serving: Serving
    channel_id: int | None
    closed: Mapping[int, Closed]


async def available(tx: Tx, asks: Sequence[Ask], *, at: datetime) -> list[Availability | NotFound]:
    """One answer an ask, in order: what stood when the set was read, or the error that says what is unknown."""
    known = await facts(tx)
    reaches: dict[tuple[str | None, str | None], Reach | NotFound] = {}
    for ask in asks:
        if (ask.channel, ask.network) not in reaches:
            reaches[ask.channel, ask.network] = reach_of(known, ask.channel, ask.network, at)
    sku_ids = {row["code"]: row["sku_id"] for row in await sql.sku_ids(tx, codes=list({ask.sku for ask in asks}))}
    parts = (await kits(tx)).parts
    stocked = {part for sku_id in sku_ids.values() for part, _ in parts.get(sku_id) or ((sku_id, 1),)}
    stock = {row["sku_id"]: row for row in await sql.stock_of(tx, sku_ids=list(stocked), at=at)}
    rules = await book(tx, stocked)
    answers: list[Availability | NotFound] = []
    for ask in asks:
        reach, sku_id = reaches[ask.channel, ask.network], sku_ids.get(ask.sku)
        if isinstance(reach, NotFound):
            answers.append(reach)
        elif sku_id is None:
            answers.append(NotFound(f"There is no SKU {ask.sku!r}."))
        else:
            if sku_id in parts:
                found = _kits(known, reach, parts[sku_id], stock, rules)
            else:
                found = _parts(known, reach, stock[sku_id], rules) if sku_id in stock else []
            answers.append(Availability(ask.sku, reach.serving.code, sum([part.available for part in found]), found))
    return answers


def reach_of(known: NetworkFacts, channel: str | None, network: str | None, at: datetime) -> Reach | NotFound:
    """By the code of a channel or of a network; where there is one network only, by neither."""
    if channel is not None:
        found = known.channels.get(channel)
        if found is None or found.network is None:
            return NotFound(f"There is no channel {channel!r} that a network serves.")
        return Reach(found.network, found.channel_id, known.closed(found.channel_id, at))
    for serving in known.networks.values():
        if serving.code == network:
            return Reach(serving, None, known.closed(None, at))
    if network is None and len(known.networks) == 1:
        return Reach(next(iter(known.networks.values())), None, known.closed(None, at))
    return NotFound(f"There is no network {network!r}." if network else "Name a channel or a network.")


def _parts(known: NetworkFacts, reach: Reach, row: Record, rules: Book | None) -> list[AtLocation]:
    """The network's open locations where the SKU has a position, in the order of their ids."""
    parts = []
    for location_id, on_hand, reserved in sorted(
        zip(row["location_ids"], row["on_hand"], row["reserved"], strict=True)
    ):
        buffer = reach.serving.buffers.get(location_id)
        if buffer is None or not (location := known.locations[location_id]).active or location_id in reach.closed:
            continue
        kept = 0
        if rules is not None:
            buffer = rules.buffer(reach.serving, reach.channel_id, row["sku_id"], location)[0]
            others = rules.kept_for_others(reach.serving, reach.channel_id, row["sku_id"], location)
            kept = sum([units for _, units, _ in others])
        free = max(on_hand - reserved - buffer - kept, 0)
        parts.append(AtLocation(location.code, on_hand, reserved, buffer, kept, free))
    return parts


def _kits(
    known: NetworkFacts, reach: Reach, parts: Parts, stock: Mapping[int, Record], rules: Book | None
) -> list[AtLocation]:
    """Kits whose components all lie at one location, counted down in the same steps as units: the scarcest component decides."""
    by_location: dict[str, list[tuple[int, AtLocation]]] = {}
    for sku_id, each in parts:
        for part in _parts(known, reach, stock[sku_id], rules) if sku_id in stock else []:
            by_location.setdefault(part.location, []).append((each, part))
    whole = []
    for code, found in by_location.items():
        if len(found) < len(parts):
            continue
        on_hand = min(part.on_hand // each for each, part in found)
        free = min((part.on_hand - part.reserved) // each for each, part in found)
        unbuffered = min(max(part.on_hand - part.reserved - part.buffer, 0) // each for each, part in found)
        can = min(part.available // each for each, part in found)
        whole.append(AtLocation(code, on_hand, on_hand - free, free - unbuffered, unbuffered - can, can))
    return whole
