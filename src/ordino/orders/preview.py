"""What placement would decide now, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound, Refused
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import capacity
from ordino.orders.model import MAX_LINES, MAX_QUANTITY, Code
from ordino.orders.place import known_skus
from ordino.sourcing import profiles
from ordino.sourcing.decide import decide, stocked
from ordino.sourcing.model import Candidate, Decision, Need, Request, ShortPolicy

NOBODY = UUID(int=0)


class PreviewLine(Struct, frozen=True, kw_only=True):
    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]


class PreviewRequest(Struct, frozen=True, kw_only=True):
    """Lines to an address, through a channel."""

    channel: Code
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    postal_code: Annotated[str, Meta(min_length=1, max_length=20)]
    lines: Annotated[list[PreviewLine], Meta(min_length=1, max_length=MAX_LINES)]


class PreviewUnits(Struct, frozen=True):
    line_no: int
    sku: str
    quantity: int


class PreviewLeg(Struct, frozen=True):
    """What one location would ship, with which service, by when, at what cost."""

    location: str
    service: str
    zone: str
    ship_by_at: datetime
    promised_at: datetime
    carrier_cost_minor: int
    handling_cost_minor: int
    units: list[PreviewUnits]


class PreviewCandidate(Struct, frozen=True):
    """A location that was looked at: what it could give at what cost, or the fence that stopped it."""

    location: str
    covers: int
    carrier_cost_minor: int | None
    handling_cost_minor: int | None
    fence: str | None


class Preview(Struct, frozen=True):
    """``outcome``: what placement would answer: `placed` or `refused`."""

    outcome: str
    promised_at: datetime | None
    cost_minor: int | None
    legs: list[PreviewLeg]
    short: dict[int, int]
    dropped: list[int]
    profile: str
    candidates: list[PreviewCandidate]


async def preview(tx: Tx, wanted: PreviewRequest, *, at: datetime) -> Preview:
    """Nothing is reserved or written. Raises ``NotFound`` for an unknown channel, ``Refused`` for an unknown SKU."""
    network = await facts(tx)
    channel = network.channels.get(wanted.channel)
    if channel is None or channel.network is None:
        raise NotFound(f"There is no channel {wanted.channel!r} that a network serves.")
    skus = await known_skus(tx, {line.sku for line in wanted.lines})
    for index, line in enumerate(wanted.lines):
        if line.sku not in skus:
            detail = f"The SKU {line.sku!r} does not exist."
            raise Refused(detail, code="unknown_sku", faults=[Fault(f"/lines/{index}/sku", detail)])
    needs = tuple(
        Need(line_no, sku.sku_id, line.quantity, sku.weight_grams, sku.backorderable, (), sku.parts)
        for line_no, line in enumerate(wanted.lines, 1)
        for sku in (skus[line.sku],)
    )
    policy = ShortPolicy(channel.short_policy)
    closed = network.closed(channel.channel_id, at)
    request = Request(
        NOBODY, channel.network, wanted.country, wanted.postal_code, at, needs, policy, channel.channel_id, closed
    )
    used = await capacity.used(tx, network, {channel.network.network_id: channel.network}, at, lock=False)
    free, book = await on_shelf(tx, stocked([request]), decides=False)
    [decision] = decide([request], free, network, await profiles.active(tx), used, book)
    return _view(decision, network, {sku.sku_id: code for code, sku in skus.items()})


def _view(decision: Decision, network: NetworkFacts, codes: Mapping[int, str]) -> Preview:
    legs = [
        PreviewLeg(
            network.locations[leg.location_id].code,
            network.services[leg.service_id].code,
            leg.zone,
            leg.ship_by_at,
            leg.promised_at,
            leg.carrier_cost_minor,
            leg.handling_cost_minor,
            [PreviewUnits(units.line_no, codes[units.sku_id], units.quantity) for units in leg.units],
        )
        for leg in decision.legs
    ]
    why = decision.explanation
    return Preview(
        "refused" if decision.refused else "placed",
        decision.promised_at,
        why.cost_minor,
        legs,
        dict(decision.short),
        sorted(decision.dropped),
        why.profile,
        [_candidate(candidate, network) for candidate in why.candidates],
    )


def _candidate(seen: Candidate, network: NetworkFacts) -> PreviewCandidate:
    return PreviewCandidate(
        network.locations[seen.location_id].code,
        seen.covers,
        seen.carrier_cost_minor,
        seen.handling_cost_minor,
        seen.fence,
    )
