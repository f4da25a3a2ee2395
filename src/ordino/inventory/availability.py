"""Available to promise: on hand - reserved - buffer, location by location, never below 0; a network's is the sum."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Record
from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, Serving, facts

sql = statements("ordino.inventory")


class AtLocation(Struct, frozen=True):
    """One location's part."""

    location: str
    on_hand: int
    reserved: int
    buffer: int
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


async def available(tx: Tx, asks: Sequence[Ask]) -> list[Availability | NotFound]:
    """One answer an ask, in order: what stood when the set was read, or the error that says what is unknown."""
    known = await facts(tx)
    servings: dict[tuple[str | None, str | None], Serving | NotFound] = {}
    for ask in asks:
        if (ask.channel, ask.network) not in servings:
            servings[ask.channel, ask.network] = _serving(known, ask.channel, ask.network)
    sku_ids = {row["code"]: row["sku_id"] for row in await sql.sku_ids(tx, codes=list({ask.sku for ask in asks}))}
    stock = {row["sku_id"]: row for row in await sql.stock_of(tx, sku_ids=list(sku_ids.values()))}
    answers: list[Availability | NotFound] = []
    for ask in asks:
        serving, sku_id = servings[ask.channel, ask.network], sku_ids.get(ask.sku)
        if isinstance(serving, NotFound):
            answers.append(serving)
        elif sku_id is None:
            answers.append(NotFound(f"There is no SKU {ask.sku!r}."))
        else:
            parts = _parts(known, serving, stock[sku_id]) if sku_id in stock else []
            answers.append(Availability(ask.sku, serving.code, sum([part.available for part in parts]), parts))
    return answers


def _serving(known: NetworkFacts, channel: str | None, network: str | None) -> Serving | NotFound:
    if channel is not None:
        found = known.channels.get(channel)
        if found is None or found.network is None:
            return NotFound(f"There is no channel {channel!r} that a network serves.")
        return found.network
    for serving in known.networks.values():
        if serving.code == network:
            return serving
    if network is None and len(known.networks) == 1:
        return next(iter(known.networks.values()))
    return NotFound(f"There is no network {network!r}." if network else "Name a channel or a network.")


def _parts(known: NetworkFacts, serving: Serving, row: Record) -> list[AtLocation]:
    """The network's open locations where the SKU has a position, in the order of their ids."""
    parts = []
    for location_id, on_hand, reserved in sorted(
        zip(row["location_ids"], row["on_hand"], row["reserved"], strict=True)
    ):
        buffer = serving.buffers.get(location_id)
        if buffer is not None and (location := known.locations[location_id]).active:
            free = max(on_hand - reserved - buffer, 0)
            parts.append(AtLocation(location.code, on_hand, reserved, buffer, free))
    return parts
