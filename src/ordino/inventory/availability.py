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


async def available(tx: Tx, codes: Sequence[str], *, channel: str | None, network: str | None) -> list[Availability]:
    """One answer a SKU, in order, through a channel's network or a named one. Raises ``NotFound`` for unknown words."""
    known = await facts(tx)
    serving = _serving(known, channel, network)
    by_code: dict[str, list[AtLocation]] = {}
    for row in await sql.availabilities(tx, codes=list(set(codes)), network_id=serving.network_id):
        parts = by_code.setdefault(row["code"], [])
        if row["location_id"] is not None:
            parts.append(_part(known, row))
    if unknown := [code for code in codes if code not in by_code]:
        raise NotFound(f"There is no SKU {unknown[0]!r}.")
    return [_sum(code, serving, by_code[code]) for code in codes]


async def available_one(tx: Tx, code: str, *, channel: str | None, network: str | None) -> Availability:
    """The same for one SKU, in one statement."""
    known = await facts(tx)
    serving = _serving(known, channel, network)
    rows = await sql.availability(tx, code=code, network_id=serving.network_id)
    if not rows and not await sql.sku_ids(tx, codes=[code]):
        raise NotFound(f"There is no SKU {code!r}.")
    return _sum(code, serving, [_part(known, row) for row in rows])


def _serving(known: NetworkFacts, channel: str | None, network: str | None) -> Serving:
    if channel is not None:
        found = known.channels.get(channel)
        if found is None or found.network is None:
            raise NotFound(f"There is no channel {channel!r} that a network serves.")
        return found.network
    for serving in known.networks.values():
        if serving.code == network:
            return serving
    if network is None and len(known.networks) == 1:
        return next(iter(known.networks.values()))
    raise NotFound(f"There is no network {network!r}." if network else "Name a channel or a network.")


def _part(known: NetworkFacts, row: Record) -> AtLocation:
    code = known.locations[row["location_id"]].code
    return AtLocation(code, row["on_hand"], row["reserved"], row["buffer"], row["available"])


def _sum(code: str, serving: Serving, parts: list[AtLocation]) -> Availability:
    return Availability(code, serving.code, sum(part.available for part in parts), parts)
