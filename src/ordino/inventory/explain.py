"""Why so many units may be promised: every number of an answer with what stands behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.catalog.codes import sku_id_of
from ordino.catalog.read import sellers_of_channels
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory.availability import Ask, Reach, Shelves, look, reach_of
from ordino.network.facts import Closed, NetworkFacts, facts

sql = statements("ordino.inventory")
TOLD = 100
"""So many reservations of a position are told one by one."""


class Reserved(Struct, frozen=True, omit_defaults=True):
    """Units reserved by a line of an order (or a transfer), or held for a cart until ``expires_at``."""

    quantity: int
    order_id: UUID | None = None
    line_no: int | None = None
    hold_id: UUID | None = None
    expires_at: datetime | None = None


class Kept(Struct, frozen=True):
    """Units kept for another channel, and the rule that says so; neither is told where the channel is of a seller whom the caller
    does not reach.
    """

    channel: str | None
    units: int
    rule: str | None


class LocationWhy(Struct, frozen=True):
    """``available`` = ``on_hand`` - ``reserved`` - ``expired`` - ``buffer`` - the units ``kept`` - ``waiting``, never below 0;
    nothing while ``closed``. ``waiting`` units are for orders that came before, and are being offered to them. ``expired`` units
    are of lots whose last selling day has ended, and were not set aside yet.
    """

    location: str
    on_hand: int
    reserved: int
    reserved_by: list[Reserved]
    reserved_by_more: int  # reservations that are not told one by one
    buffer: int
    buffer_rule: str | None
    kept: list[Kept]
    closed: str | None
    available: int
    why: str
    waiting: int = 0
    expired: int = 0


class SkuWhy(Struct, frozen=True):
    """One SKU; of a kit, ``each`` units are needed for one."""

    sku: str
    each: int
    locations: list[LocationWhy]


class Explanation(Struct, frozen=True):
    """What may be promised, and of every SKU that it takes, why so much lies where. ``reason`` says why nothing at all may be,
    whatever lies where.
    """

    sku: str
    network: str
    available: int
    of: list[SkuWhy]
    reason: str | None = None


async def explain(tx: Tx, ask: Ask, *, at: datetime, sellers: Sequence[str] | None = None) -> Explanation:
    """Of what belongs to others than these ``sellers``, only the units are told. Raises ``NotFound`` for an unknown SKU, channel or
    network.
    """
    known = await facts(tx)
    reach = reach_of(known, ask.channel, ask.network, at)
    if isinstance(reach, NotFound):
        raise reach
    sku_id = await sku_id_of(tx, ask.sku)
    shelves = await look(tx, [sku_id], at=at)
    of = shelves.kits.get(sku_id) or ((sku_id, 1),)
    codes = {row["sku_id"]: row["code"] for row in await sql.codes_of(tx, sku_ids=[part for part, _ in of])}
    reserved = await _reserved(tx, [part for part, _ in of], at, sellers)
    others = await _of_others(tx, known, sellers)
    total = sum(part.available for part in shelves.parts(reach, sku_id))
    why = [
        SkuWhy(
            codes[part],
            each,
            _locations(shelves, reach, part, reserved, known.closed(reach.channel_id, at), part != sku_id, others),
        )
        for part, each in of
    ]
    if sku_id not in shelves.retired:
        return Explanation(ask.sku, reach.serving.code, total, why)
    said = (
        f"{ask.sku!r} is no longer sold: its `active` is false. What orders have of it, or wait for, is still served."
    )
    return Explanation(ask.sku, reach.serving.code, 0, why, said)


async def _of_others(tx: Tx, known: NetworkFacts, sellers: Sequence[str] | None) -> frozenset[str]:
    """The channels of everybody but these sellers."""
    if sellers is None:
        return frozenset()
    of = await sellers_of_channels(tx, sorted(known.channels))
    return frozenset(channel for channel, seller in of.items() if seller not in sellers)


async def _reserved(
    tx: Tx, sku_ids: Sequence[int], at: datetime, sellers: Sequence[str] | None
) -> dict[tuple[int, int], tuple[list[Reserved], int]]:
    """(SKU id, location id) -> reservations, largest first, and how many more there are. Expired holds reserve nothing."""
    found: dict[tuple[int, int], tuple[list[Reserved], int]] = {}
    for row in await sql.reserved_by(tx, sku_ids=list(sku_ids), at=at, limit=TOLD, sellers=sellers):
        told, _ = found.setdefault((row["sku_id"], row["location_id"]), ([], 0))
        if not row["told"]:
            pass  # it is counted only
        elif row["expires_at"] is None:
            told.append(Reserved(row["quantity"], order_id=row["order_id"], line_no=row["line_no"]))
        else:
            told.append(Reserved(row["quantity"], hold_id=row["order_id"], expires_at=row["expires_at"]))
        found[row["sku_id"], row["location_id"]] = (told, row["reservations"] - len(told))
    return found


def _locations(
    shelves: Shelves,
    reach: Reach,
    sku_id: int,
    reserved: Mapping[tuple[int, int], tuple[list[Reserved], int]],
    closures: Mapping[int, Closed],
    in_kit: bool,
    of_others: Collection[str],
) -> list[LocationWhy]:
    whys = []
    channels = {channel.channel_id: channel.code for channel in shelves.known.channels.values()}
    for location_id, on_hand, taken in shelves.positions(sku_id):
        if location_id not in reach.serving.buffers:
            continue
        location = shelves.known.locations[location_id]
        closed = closures.get(location_id)
        shut = f"closed: {closed.reason}" if closed else None if location.active else "switched off"
        if sku_id in shelves.retired and not in_kit:
            shut = shut or "no longer sold"
        buffer, rule = reach.serving.buffers[location_id], f"network {reach.serving.code}"
        kept: list[Kept] = []
        if shelves.rules is not None:
            buffer, found = shelves.rules.buffer(reach.serving, reach.channel_id, sku_id, location)
            rule = found or rule
            others = shelves.rules.kept_for_others(reach.serving, reach.channel_id, sku_id, location)
            kept = [_kept(channels[channel_id], units, code, of_others) for channel_id, units, code in others]
        waiting, expired = (some.get((sku_id, location_id), 0) for some in (shelves.claimed, shelves.expired))
        free = 0 if shut else max(on_hand - taken - expired - buffer - sum(part.units for part in kept) - waiting, 0)
        by, more = reserved.get((sku_id, location_id), ([], 0))
        sentence = _sentence(on_hand, taken, expired, buffer, rule, kept, waiting, shut, free)
        named = rule if buffer or rule != f"network {reach.serving.code}" else None
        told = (taken, by, more, buffer, named, kept, shut, free, sentence, waiting, expired)
        whys.append(LocationWhy(location.code, on_hand, *told))
    return whys


def _kept(channel: str, units: int, rule: str, of_others: Collection[str]) -> Kept:
    return Kept(None, units, None) if channel in of_others else Kept(channel, units, rule)


def _sentence(
    on_hand: int,
    reserved: int,
    expired: int,
    buffer: int,
    rule: str,
    kept: Sequence[Kept],
    waiting: int,
    shut: str | None,
    free: int,
) -> str:
    if shut is not None:
        return f"nothing: {shut}"
    steps = [f"{on_hand} on hand"]
    if reserved:
        steps.append(f"{reserved} reserved")
    if expired:
        steps.append(f"{expired} expired")
    if buffer:
        steps.append(f"{buffer} buffer ({rule})")
    steps += [
        f"{part.units} kept for another seller"
        if part.channel is None
        else f"{part.units} kept for {part.channel} ({part.rule})"
        for part in kept
    ]
    if waiting:
        steps.append(f"{waiting} for orders that wait")
    return f"{' - '.join(steps)} = {free}" + (" (never below 0)" if not free and len(steps) > 1 else "")
