"""What a buyer can be promised: by which service level, by when, at what cost, from where; and where it can be picked up.

An option is the decision that placement would make now for a service level, so what is told is what would be done. What is not
there can be promised from supply that is announced, where the channel and the SKUs let orders wait: units that orders wait for
are taken off it first, in order of dates; the decision is then made as of the day on which the last of it is there. An order
that names the option's ``service_level`` and ``promised_at`` is held to them (see ``NewOrder``).

Confidence is `high` where units lie free and stay so after the order; `medium` where the order takes the last units of a
location, waits for room in a location's day or is split; `low` where it depends on supply to come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from ordino.catalog.kits import kits
from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.statements import statements
from ordino.inventory import holds
from ordino.inventory.incoming import Expected, expected
from ordino.inventory.rules import Book, Position
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import Channel, NetworkFacts, facts
from ordino.network.postal import PostalText
from ordino.orders import capacity
from ordino.orders.asking import Sku, known_skus
from ordino.orders.model import MAX_MINOR, MAX_QUANTITY
from ordino.sourcing.aside import aside
from ordino.sourcing.decide import decide, stocked
from ordino.sourcing.left import Capacity, Left
from ordino.sourcing.model import Decision, Outlook, Request, ShortPolicy
from ordino.sourcing.never import never
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.profile import Profile
from ordino.sourcing.versions import Profiles, profiles

T = TypeVar("T")

sql = statements("ordino.orders")
NOBODY = UUID(int=0)
MOST_LINES = 200
DATES_TRIED = 12
"""So many dates of coming supply are tried, the soonest first."""

Confidence = Literal["high", "medium", "low"]
Stock = Mapping[int, Mapping[int, int]]


class PromiseLine(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)] = 1
    group: Code | None = None
    unit_price_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0


class PromiseRequest(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A product page (one line), a cart or a checkout. ``service_level`` asks for one level; left out, for all that there are.
    ``pickups`` is how many stores, nearest first, are to be told. Conditions of a routing profile may ask for the prices, the
    ``total_minor`` (by default what the lines add up to) and the ``customer``; then say them, as the order will. What the cart
    holds under ``hold_id`` is there for it, as it is for the order that names the hold.
    """

    channel: Code
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    postal_code: PostalText
    region: Annotated[str, Meta(max_length=100)] | None = None
    lines: Annotated[list[PromiseLine], Meta(min_length=1, max_length=MOST_LINES)]
    type: Code = "home_delivery"
    total_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] | None = None
    customer: Code | None = None
    service_level: Code | None = None
    pickups: Annotated[int, Meta(ge=0, le=50)] = 0
    hold_id: UUID | None = None


class PromiseLeg(Struct, frozen=True, gc=False):
    """What one location would send."""

    location: str
    location_type: str
    carrier_service: str
    units: int
    ship_by_at: datetime
    arrives_at: datetime


class DeliveryOption(Struct, frozen=True, gc=False):
    """``promised_at`` holds for orders placed by ``order_by_at``. ``cost_minor`` is what fulfilling it is expected to cost, in
    minor units of ``currency``, the channel's.
    """

    service_level: str
    promised_at: datetime
    promised_on: date
    order_by_at: datetime
    cost_minor: int
    source: Literal["stock", "incoming"]
    confidence: Confidence
    packages: int
    legs: list[PromiseLeg]
    currency: str


class PickupOption(Struct, frozen=True, gc=False):
    """A store that has everything, and when it can be collected there, if ordered now."""

    location: str
    name: str
    distance_km: float | None
    ready_at: datetime
    confidence: Confidence


class Promise(Struct, frozen=True, gc=False, tag_field="outcome", tag="promise"):
    """Delivery options, the soonest first, and stores, the nearest first. Both empty: it cannot be had, and ``detail`` says why."""

    delivery: list[DeliveryOption]
    pickup: list[PickupOption]
    detail: str | None = None


class PromiseRefused(Struct, frozen=True, gc=False, tag_field="outcome", tag="refused"):
    """The question cannot be answered. ``pointer`` names the field, ``detail`` says what to do."""

    reason: Literal["unknown_channel", "unknown_sku", "unknown_service_level", "unknown_hold"]
    detail: str
    pointer: str


class _Desk(Struct):
    """What all answers of a batch are made from."""

    network: NetworkFacts
    policy: Profiles
    free: dict[int, dict[int, int]]
    book: Book | None
    used: Capacity
    outlook: Outlook
    at: datetime


async def promise(tx: Tx, asked: Sequence[PromiseRequest], *, at: datetime) -> list[Promise | PromiseRefused]:
    """One answer a question, in order. Nothing is reserved, and no answer depends on another."""
    network = await facts(tx)
    skus = await known_skus(tx, {line.sku for one in asked for line in one.lines})
    refused = {index: said for index, one in enumerate(asked) if (said := _fault(one, network, skus)) is not None}
    held = await _held(tx, asked, network, refused, at)
    requests = {
        index: _request(one, network.channels[one.channel], skus, network, held.get(index, {}), at)
        for index, one in enumerate(asked)
        if index not in refused
    }
    if not requests:
        return [refused[index] for index in range(len(asked))]
    policy = await profiles(tx)
    sku_ids = stocked(requests.values())
    shelf = await on_shelf(tx, sku_ids, at=at, decides=False)
    servings = {request.network.network_id: request.network for request in requests.values()}
    used = await capacity.used(tx, network, servings, at, lock=False)
    desk = _Desk(network, policy, shelf.free, shelf.book, used, await outlook_for(tx, policy.looks_ahead, sku_ids), at)
    times = max(len(_levels(desk, asked[index])) for index in requests)

    async def of_all(answer: Callable[[_Desk, int], T], indexes: Iterable[int], times: int = times) -> dict[int, T]:
        """An answer each, in a thread where that takes long."""
        chosen = list(indexes)

        def work(network: NetworkFacts, policy: Profile | Profiles) -> dict[int, T]:
            assert isinstance(policy, Profiles), "it is what the desk has"
            own = replace(desk, network=network, policy=policy)
            return {index: answer(own, index) for index in chosen}

        return await aside(work, [requests[index] for index in chosen], network, policy, times=times)

    options = await of_all(lambda desk, index: _from_stock(desk, requests[index], asked[index]), requests)
    if short := {
        index: requests[index] for index, found in options.items() if not found and _waits(requests[index], network)
    }:
        supply = await _supply(tx, desk, list(short.values()))
        options |= await of_all(
            lambda desk, index: _from_supply(
                desk, requests[index], asked[index], supply[requests[index].network.network_id]
            ),
            short,
            times * DATES_TRIED,
        )
    nothing = [index for index, found in options.items() if not found]
    reasons = await of_all(lambda desk, index: _why_not(desk, requests[index], asked[index]), nothing, 1)
    answers: list[Promise | PromiseRefused] = []
    for index, one in enumerate(asked):
        if index in refused:
            answers.append(refused[index])
            continue
        pickup = _pickups(desk, requests[index], one.pickups) if one.pickups else []
        found = options[index]
        detail = None if found or pickup else reasons[index]
        answers.append(Promise(found, pickup, detail))
    return answers


def _why_not(desk: _Desk, request: Request, one: PromiseRequest) -> str:
    """What stands against all options: for ever, or for now."""
    lines = never(replace(request, service_level=one.service_level), desk.network, desk.policy.for_request)
    for line in lines.values():
        return line.detail
    return "Too little is there or announced, or nothing that has it ships there."


def _fault(one: PromiseRequest, network: NetworkFacts, skus: Mapping[str, Sku]) -> PromiseRefused | None:
    channel = network.channels.get(one.channel)
    if channel is None or channel.network is None:
        said = f"No network serves a channel {one.channel!r}; add the channel to a network (PUT /v1/networks)."
        return PromiseRefused("unknown_channel", said, "/channel")
    for index, line in enumerate(one.lines):
        if line.sku not in skus or not skus[line.sku].active:
            said = f"The SKU {line.sku!r} does not exist, or is no longer sold."
            return PromiseRefused("unknown_sku", said, f"/lines/{index}/sku")
    if one.service_level is not None and one.service_level not in network.levels:
        there = ", ".join(sorted(network.levels))
        said = f"No carrier service has the level {one.service_level!r}; choose one of: {there}."
        return PromiseRefused("unknown_service_level", said, "/service_level")
    return None


async def _held(
    tx: Tx,
    asked: Sequence[PromiseRequest],
    network: NetworkFacts,
    refused: dict[int, PromiseRefused],
    at: datetime,
) -> dict[int, Mapping[Position, int]]:
    """What holds keep for these questions; those that name a hold that their channel does not have are refused."""
    named = {i: one.hold_id for i, one in enumerate(asked) if i not in refused and one.hold_id is not None}
    found = await holds.claim(tx, set(named.values()), at=at, lock=False) if named else {}
    held: dict[int, Mapping[Position, int]] = {}
    for index, hold_id in named.items():
        claimed, channel = found.get(hold_id), network.channels[asked[index].channel]
        if claimed is None or claimed.channel_id != channel.channel_id:
            refused[index] = PromiseRefused("unknown_hold", holds.unknown(channel.code, hold_id), "/hold_id")
        else:
            held[index] = claimed.units
    return held


def _request(
    one: PromiseRequest,
    channel: Channel,
    skus: Mapping[str, Sku],
    network: NetworkFacts,
    held: Mapping[Position, int],
    at: datetime,
) -> Request:
    assert channel.network is not None, "asked before"
    return Request(
        NOBODY,
        channel.network,
        one.country,
        one.postal_code,
        at,
        tuple(
            [
                skus[line.sku].need(n, line.quantity, group=line.group, unit_price_minor=line.unit_price_minor)
                for n, line in enumerate(one.lines, 1)
            ]
        ),
        ShortPolicy.REFUSE,
        channel.channel_id,
        network.closed(channel.channel_id, at),
        held,
        channel=channel.code,
        seller=channel.seller,
        order_type=one.type,
        region=one.region,
        total_minor=sum(line.quantity * line.unit_price_minor for line in one.lines)
        if one.total_minor is None
        else one.total_minor,
        currency=channel.currency,
        customer=one.customer,
    )


def _levels(desk: _Desk, one: PromiseRequest) -> list[str]:
    return sorted(desk.network.levels) if one.service_level is None else [one.service_level]


def _from_stock(desk: _Desk, request: Request, one: PromiseRequest) -> list[DeliveryOption]:
    found = []
    for level in _levels(desk, one):
        decision = _decide(desk, replace(request, service_level=level), desk.free)
        if decision is not None:
            found.append(_option(desk, request, decision, level, desk.free, "stock"))
    return sorted(found, key=_soonest)


def _soonest(option: DeliveryOption) -> tuple[datetime, int, str]:
    return option.promised_at, option.cost_minor, option.service_level


def _decide(desk: _Desk, request: Request, free: Stock) -> Decision | None:
    """The decision, if it fills everything."""
    [decision] = decide(
        [request], free, desk.network, desk.policy.for_request, desk.used, desk.book, desk.outlook, tell=False
    )
    return None if decision.refused or not decision.legs else decision


def _option(
    desk: _Desk,
    request: Request,
    decision: Decision,
    level: str,
    free: Stock,
    source: Literal["stock", "incoming"],
) -> DeliveryOption:
    network, parts = desk.network, {need.sku_id: need.parts or ((need.sku_id, 1),) for need in request.needs}
    taken: dict[tuple[int, int], int] = defaultdict(int)
    legs = []
    backlog = False
    for leg in decision.legs:
        location = network.locations[leg.location_id]
        for units in leg.units:
            for sku_id, each in parts[units.sku_id]:
                taken[sku_id, leg.location_id] += units.quantity * each
        backlog |= leg.ship_on > network.ship_by(leg.location_id, request.at).astimezone(location.zone).date()
        legs.append(
            PromiseLeg(
                location.code,
                location.type,
                network.services[leg.service_id].code,
                sum(units.quantity for units in leg.units),
                leg.ship_by_at,
                leg.promised_at,
            )
        )
    last = any(
        free.get(sku_id, {}).get(n, 0) + request.held.get((sku_id, n), 0) - units <= request.network.buffers[n]
        for (sku_id, n), units in taken.items()
    )
    latest = max(decision.legs, key=lambda leg: leg.promised_at)
    confidence: Confidence = "low" if source == "incoming" else "high"
    if source == "stock" and (last or backlog or len(legs) > 1):
        confidence = "medium"
    assert decision.explanation.cost_minor is not None, "a plan has a cost"
    return DeliveryOption(
        level,
        latest.promised_at,
        latest.promised_at.astimezone(network.locations[latest.location_id].zone).date(),
        min(network.cut_off_at(leg.location_id, request.at) for leg in decision.legs),
        decision.explanation.cost_minor,
        source,
        confidence,
        sum(leg.packages for leg in decision.legs),
        legs,
        request.currency,
    )


def _waits(request: Request, network: NetworkFacts) -> bool:
    """Would placement let all of it wait for supply?"""
    policy = network.channels_by_id[request.channel_id].short_policy if request.channel_id is not None else None
    return policy == ShortPolicy.BACKORDER and all(need.backorderable for need in request.needs)


# -- supply to come ----------------------------------------------------------------------------------------------------------


async def _supply(
    tx: Tx, desk: _Desk, requests: Sequence[Request]
) -> dict[int, dict[int, list[tuple[datetime, int, int]]]]:
    """Network id -> SKU id -> (when, location id, units) that come and nobody waits for, soonest first."""
    sku_ids = stocked(requests)
    coming = await expected(tx, sku_ids, at=desk.at)
    within = (await kits(tx)).within
    asked = sorted({*sku_ids, *(kit for sku_id in sku_ids for kit in within.get(sku_id, ()))})
    found = {}
    for serving in {request.network.network_id: request.network for request in requests}.values():
        rows = await sql.units_waiting(tx, sku_ids=asked, channel_ids=desk.network.channels_beside(serving))
        waiting = {row["sku_id"]: row["quantity"] for row in rows}
        found[serving.network_id] = {
            sku_id: _left_over(of, waiting.get(sku_id, 0), serving.buffers) for sku_id, of in coming.items()
        }
    return found


def _left_over(
    coming: Sequence[tuple[int, Expected]], waiting: int, members: Mapping[int, int]
) -> list[tuple[datetime, int, int]]:
    """Without what is overdue, comes to others, or orders wait for."""
    found = []
    for location_id, one in coming:
        if one.overdue or location_id not in members:
            continue
        taken = min(waiting, one.quantity)
        waiting -= taken
        if one.quantity > taken:
            found.append((one.expected_at, location_id, one.quantity - taken))
    return sorted(found)


def _from_supply(
    desk: _Desk,
    request: Request,
    one: PromiseRequest,
    supply: Mapping[int, Sequence[tuple[datetime, int, int]]],
) -> list[DeliveryOption]:
    """The decision as of the first date by which enough has come."""
    mine = {sku_id: supply.get(sku_id, ()) for sku_id in stocked([request])}
    dates = sorted({when for of in mine.values() for when, _, _ in of})[:DATES_TRIED]
    found: dict[str, DeliveryOption] = {}
    for when in dates:
        free = {sku_id: dict(desk.free.get(sku_id, {})) for sku_id in mine}
        for sku_id, of in mine.items():
            for at, location_id, units in of:
                if at <= when:
                    free[sku_id][location_id] = free[sku_id].get(location_id, 0) + units
        closed = desk.network.closed(request.channel_id, when)
        for level in _levels(desk, one):
            then = replace(request, at=when, closed=closed, service_level=level)
            if level not in found and (decision := _decide(desk, then, free)) is not None:
                found[level] = _option(desk, then, decision, level, free, "incoming")
        if len(found) == len(_levels(desk, one)):
            break
    return sorted(found.values(), key=_soonest)


# -- pickup ------------------------------------------------------------------------------------------------------------------


def _pickups(desk: _Desk, request: Request, most: int) -> list[PickupOption]:
    """The nearest stores that have everything and are open to customers."""
    network = desk.network
    left = Left(desk.free, network, desk.used, desk.book)
    left.hold(request)
    wanted: dict[int, int] = {}
    kit_parts = {}
    for need in request.needs:
        wanted[need.sku_id] = wanted.get(need.sku_id, 0) + need.quantity
        if need.parts:
            kit_parts[need.sku_id] = need.parts
    covers = left.covers(request, wanted, kit_parts, {}, 0)
    routes = network.destination(request.country, request.postal_code)
    found = []
    for n, cover in covers.items():
        location = network.locations[n]
        if cover != wanted or not location.pickup or not location.active or n in request.closed:
            continue
        if any(not location.handles.issuperset(need.classes) for need in request.needs):
            continue
        last = any(left.able(request, s, n) <= units for s, units in wanted.items() if s not in kit_parts)
        km = routes.km(n)
        found.append((km is None, km or 0.0, location.code, n, last))
    return [
        PickupOption(
            code,
            network.locations[n].name,
            None if unknown else round(km, 1),
            network.pickup_ready_at(n, desk.at),
            "medium" if last else "high",
        )
        for unknown, km, code, n, last in sorted(found)[:most]
    ]
