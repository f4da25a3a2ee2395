"""What placement would decide now, without doing it; and what a candidate profile would decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound, Refused
from ordino.inventory import holds
from ordino.inventory.rules import Position
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import Channel, NetworkFacts, Serving, facts
from ordino.network.postal import PostalText
from ordino.orders import capacity
from ordino.orders.asking import Sku, known_skus, skus_of, unknown_level
from ordino.orders.model import MAX_LINES, MAX_MINOR, MAX_QUANTITY
from ordino.orders.never import never_served
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import by_version, profiles
from ordino.sourcing.why import Why, why

NOBODY = UUID(int=0)


class PreviewLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
    unit_price_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0
    group: Code | None = None


class PreviewRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines to an address, through a channel. ``profile_version`` tries a drafted profile instead of the active ones; what the cart
    holds under ``hold_id`` is there for it, as it is for the order that names the hold.
    """

    channel: Code
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    postal_code: PostalText
    lines: Annotated[list[PreviewLine], Meta(min_length=1, max_length=MAX_LINES)]
    region: Annotated[str, Meta(max_length=100)] | None = None
    type: Code = "home_delivery"
    service_level: Code | None = None
    promised_at: Annotated[datetime, Meta(tz=True)] | None = None
    ship_by_at: Annotated[datetime, Meta(tz=True)] | None = None
    total_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] | None = None
    customer: Code | None = None
    profile_version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    hold_id: UUID | None = None


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
    carbon_grams: int
    packages: int
    units: list[PreviewUnits]


class Preview(Struct, frozen=True):
    """``outcome``: what placement would answer: `placed` or `refused`. Costs are in minor units of ``currency``, the channel's.
    ``never_served``: line number -> why nothing can ever serve
    it, of the lines for which the order would be refused, or which it would do without.
    """

    outcome: str
    promised_at: datetime | None
    cost_minor: int | None
    legs: list[PreviewLeg]
    short: dict[int, int]
    dropped: list[int]
    why: Why
    never_served: dict[int, str] = {}
    currency: str = ""


async def preview(tx: Tx, wanted: PreviewRequest, *, at: datetime) -> Preview:
    """Nothing is reserved or written. Raises ``NotFound`` for an unknown channel or version, ``Refused`` for an unknown SKU, level
    or hold.
    """
    network = await facts(tx)
    channel = network.channels.get(wanted.channel)
    if channel is None or channel.network is None:
        raise NotFound(
            f"No network serves a channel {wanted.channel!r}; add the channel to a network (PUT /v1/networks)."
        )
    skus = await known_skus(tx, {line.sku for line in wanted.lines})
    for index, line in enumerate(wanted.lines):
        if line.sku not in skus or not skus[line.sku].active:
            detail = f"The SKU {line.sku!r} does not exist, or is no longer sold."
            raise Refused(detail, code="unknown_sku", faults=[Fault(f"/lines/{index}/sku", detail)])
    if (said := unknown_level(network, wanted.service_level)) is not None:
        raise Refused(said, code="unknown_service_level", faults=[Fault("/service_level", said)])
    held = await _held(tx, wanted, channel, at)
    request = _request(wanted, channel, channel.network, skus, network, held, at)
    policy = await profiles(tx)
    chosen = (
        policy.for_request(request) if wanted.profile_version is None else await by_version(tx, wanted.profile_version)
    )
    used = await capacity.used(tx, network, {channel.network.network_id: channel.network}, at, lock=False)
    sku_ids = stocked([request])
    shelf = await on_shelf(tx, sku_ids, at=at, decides=False)
    outlook = await outlook_for(tx, chosen.looks_ahead, sku_ids)
    [decision] = await decide_aside([request], shelf.free, network, chosen, used, shelf.book, outlook)
    hopeless = await never_served([request], [decision], network, chosen)
    if hopeless.orders:
        refused = replace(request, short_policy=ShortPolicy.REFUSE)
        [decision] = await decide_aside([refused], shelf.free, network, chosen, used, shelf.book, outlook)
    lines = {one.line_no: one.detail for one in hopeless.orders.values()} | dict(hopeless.dropped.get(0, {}))
    known = await skus_of(tx, {sku_id for one in decision.explanation.candidates for sku_id, _ in one.stock})
    codes = {sku_id: sku.code for sku_id, sku in known.items()} | {sku.sku_id: code for code, sku in skus.items()}
    return replace(_view(decision, network, codes, channel.currency), never_served=lines)


async def _held(tx: Tx, wanted: PreviewRequest, channel: Channel, at: datetime) -> Mapping[Position, int]:
    if wanted.hold_id is None:
        return {}
    claimed = (await holds.claim(tx, [wanted.hold_id], at=at, lock=False)).get(wanted.hold_id)
    if claimed is None or claimed.channel_id != channel.channel_id:
        said = holds.unknown(channel.code, wanted.hold_id)
        raise Refused(said, code="unknown_hold", faults=[Fault("/hold_id", said)])
    return claimed.units


def _request(
    wanted: PreviewRequest,
    channel: Channel,
    serving: Serving,
    skus: Mapping[str, Sku],
    network: NetworkFacts,
    held: Mapping[Position, int],
    at: datetime,
) -> Request:
    worth = sum(line.quantity * line.unit_price_minor for line in wanted.lines)
    return Request(
        NOBODY,
        serving,
        wanted.country,
        wanted.postal_code,
        at,
        tuple(
            skus[line.sku].need(line_no, line.quantity, group=line.group, unit_price_minor=line.unit_price_minor)
            for line_no, line in enumerate(wanted.lines, 1)
        ),
        ShortPolicy(channel.short_policy),
        channel.channel_id,
        network.closed(channel.channel_id, at),
        held,
        channel=channel.code,
        seller=channel.seller,
        order_type=wanted.type,
        service_level=wanted.service_level,
        promised_at=wanted.promised_at,
        region=wanted.region,
        total_minor=worth if wanted.total_minor is None else wanted.total_minor,
        currency=channel.currency,
        customer=wanted.customer,
        ship_by_at=wanted.ship_by_at,
    )


def _view(decision: Decision, network: NetworkFacts, codes: Mapping[int, str], currency: str) -> Preview:
    legs = [
        PreviewLeg(
            network.locations[leg.location_id].code,
            network.services[leg.service_id].code,
            leg.zone,
            leg.ship_by_at,
            leg.promised_at,
            leg.carrier_cost_minor,
            leg.handling_cost_minor,
            leg.carbon_grams,
            leg.packages,
            [PreviewUnits(units.line_no, codes[units.sku_id], units.quantity) for units in leg.units],
        )
        for leg in decision.legs
    ]
    return Preview(
        "refused" if decision.refused else "placed",
        decision.promised_at,
        decision.explanation.cost_minor,
        legs,
        dict(decision.short),
        sorted(decision.dropped),
        why(decision.explanation, network, codes, currency),
        currency=currency,
    )
