"""Why a plan was chosen, as it is told: codes instead of keys, and a sentence that a customer-service agent can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from msgspec import Struct

from ordino.core.money import amount
from ordino.network.facts import NetworkFacts
from ordino.sourcing.model import Candidate, Explanation, Fence, Look

FENCES: dict[Fence, str] = {
    Fence.CLOSED: "it was closed",
    Fence.DOES_NOT_SERVE: "it does not ship to this address",
    Fence.CANNOT_HANDLE: "it cannot handle these goods",
    Fence.REJECTED: "it could not supply them before",
    Fence.LOCATION_TYPE: "the strategy wants another type of location",
    Fence.LOCATION: "the strategy names other locations",
    Fence.TAG: "its tags are not those that the strategy wants",
    Fence.COUNTRY: "it lies in another country than the address",
    Fence.TOO_FAR: "it lies too far from the address",
    Fence.NO_EXCHANGE_RATE: "there is no exchange rate from the currency of its costs to the currency of the order",
    Fence.NO_SERVICE: "no carrier service goes to the address from there",
    Fence.TOO_LARGE: "one unit is too heavy or too large for every carrier service from there",
    Fence.LATE: "it cannot ship and deliver by the dates of the order",
    Fence.NO_CAPACITY: "its day was full",
    Fence.STOCK_LEFT: "what lies there is to stay there",
    Fence.APART: "it has only a part of what has to come from one location",
}
"""What each fence says, after "because"."""


class PlanPart(Struct, frozen=True):
    """What a location was to send."""

    location: str
    units: int


class CapacitySeen(Struct, frozen=True):
    """What a limited location's day had left, in orders and units; null: no limit."""

    ship_on: date
    orders_left: int | None
    units_left: int | None


class CandidateView(Struct, frozen=True):
    """A location that was looked at: what it could give, at what cost, or the fence that stopped it. ``stock`` is what was free
    there, by SKU, as the decision saw it, and ``capacity`` what its day had left; null where it is not limited.
    """

    location: str
    covers: int
    cost_minor: int | None
    terms: Mapping[str, int]
    fence: Fence | None
    stock: Mapping[str, int]
    capacity: CapacitySeen | None
    sentence: str


class Why(Struct, frozen=True):
    """Why: see ``Explanation``. ``stopped`` counts the locations that each fence stopped; ``sentence`` says all of it in words.
    ``ranked_by`` are the ratings of a ranked strategy, the first one first; empty, the cheapest plan won. Costs are in the order's
    currency; ``exchange_rates`` are those by which costs in others were converted.
    """

    profile: str
    strategy: str | None
    chosen: str
    wanted: int
    plan: list[PlanPart]
    cost_minor: int | None
    terms: Mapping[str, int]
    best_single_cost_minor: int | None
    promise_kept: bool | None
    ship_by_kept: bool | None
    candidates: list[CandidateView]
    candidates_left_out: int
    stopped: Mapping[str, int]
    strategies: list[Look]
    sentence: str
    ranked_by: list[str]
    in_rank_order: bool
    exchange_rates: Mapping[str, str]


def why(told: Explanation, network: NetworkFacts, skus: Mapping[int, str], currency: str) -> Why:
    """The explanation with codes and in words. ``skus`` are the codes of the SKUs that it speaks of."""
    candidates = [candidate_view(one, told, network, skus, currency) for one in told.candidates]
    return Why(
        told.profile,
        told.strategy,
        told.chosen,
        told.wanted,
        [PlanPart(network.locations[n].code, units) for n, units in told.plan],
        told.cost_minor,
        told.terms,
        told.best_single_cost_minor,
        told.promise_kept,
        told.ship_by_kept,
        candidates,
        told.candidates_left_out,
        told.stopped,
        list(told.looks),
        sentence(told, network, candidates, currency),
        list(told.ranked_by),
        told.in_rank_order,
        dict(told.exchange_rates),
    )


def candidate_view(
    one: Candidate, told: Explanation, network: NetworkFacts, skus: Mapping[int, str], currency: str
) -> CandidateView:
    code = network.locations[one.location_id].code
    stock = {skus.get(sku_id, str(sku_id)): units for sku_id, units in one.stock}
    capacity = None if one.room is None else CapacitySeen(one.room.day, one.room.orders, one.room.units)
    said = _about(one, code, told, currency)
    return CandidateView(code, one.covers, one.cost_minor, one.terms, one.fence, stock, capacity, said)


def _about(one: Candidate, code: str, told: Explanation, currency: str) -> str:
    """Why (not) from there."""
    if any(n == one.location_id for n, _ in told.plan):
        return f"{code} was chosen."
    if one.fence is Fence.NO_CAPACITY and (room := one.room) is not None:
        full = 0 in (room.orders, room.units)
        return f"Not from {code}, because {room.day} " + (
            "was full there." if full else f"had only {room.orders} orders left there."
        )
    if one.fence is not None:
        return f"Not from {code}, because {FENCES[one.fence]}."
    if not one.covers or one.cost_minor is None:
        return f"Not from {code}, because nothing that could be given was free there."
    cost = amount(one.cost_minor, currency)
    terms = terms_in_words(one.terms, currency)
    if one.covers < told.wanted:
        return f"Not from {code}: it could give {one.covers} of {told.wanted} units, for {cost} ({terms})."
    if told.cost_minor is None or told.ranked_by or one.cost_minor < told.cost_minor:
        return f"Not from {code}, which the ratings put behind what was chosen; it would have cost {cost} ({terms})."
    more = amount(one.cost_minor - told.cost_minor, currency)
    return f"Not from {code}: it would have cost {cost} ({terms}), {more} more than what was chosen."


def terms_in_words(terms: Mapping[str, int], currency: str) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {amount(minor, currency)}" for name, minor in terms.items()) or "nothing"
    )


def sentence(told: Explanation, network: NetworkFacts, candidates: Sequence[CandidateView], currency: str) -> str:
    """What was chosen, why, and what the next best would have been."""
    parts = []
    by = f"by the strategy {told.strategy!r} of the profile {told.profile}" if told.strategy else f"by {told.profile}"
    if told.chosen == "nothing":
        parts.append(f"Nothing of the {told.wanted} units that were wanted could be sourced {by}.")
    else:
        places = _listed([f"{units} from {network.locations[n].code}" for n, units in told.plan])
        given = sum(units for _, units in told.plan)
        of = f"All {given}" if given == told.wanted else f"{given} of {told.wanted}"
        assert told.cost_minor is not None, "a plan has a cost"
        parts.append(
            f"{of} units were sourced, {places}, {by}, "
            f"for {amount(told.cost_minor, currency)} ({terms_in_words(told.terms, currency)})."
        )
    if told.exchange_rates:
        rates = _listed([f"1 {other} = {rate} {currency}" for other, rate in told.exchange_rates])
        parts.append(f"Costs in other currencies were converted ({rates}).")
    if told.ranked_by and told.chosen != "nothing":
        parts.append(_by_rank(told))
    if told.chosen == "split" and told.best_single_cost_minor is not None:
        parts.append(f"The best single location would have cost {amount(told.best_single_cost_minor, currency)}.")
    if told.chosen == "split" and told.best_single_cost_minor is None:
        parts.append("No single location could give everything.")
    if told.promise_kept is False:
        parts.append("No plan keeps the promise that the buyer was given.")
    if told.ship_by_kept is False:
        parts.append("No plan ships the order by the channel's ship-by time.")
    chosen = {network.locations[n].code for n, _ in told.plan}
    losers = [one for one in candidates if one.location not in chosen and one.fence is None][:2]
    parts += [one.sentence for one in losers]
    if told.stopped:
        stopped = _listed([f"{count} because {_WHY_STOPPED[name]}" for name, count in told.stopped.items()])
        parts.append(f"Locations with stock that were stopped: {stopped}.")
    parts += [
        f"The strategy {look.strategy!r} was passed over: {look.passed}."
        for look in told.looks
        if look.passed is not None
    ]
    return " ".join(parts)


def _by_rank(told: Explanation) -> str:
    """What a ranked strategy goes by."""
    ratings = ", then ".join(name.replace("_", " ") for name in told.ranked_by)
    if told.in_rank_order:
        return f"The strategy takes units strictly in rank order ({ratings}): the best-ranked location gives all it has first."
    return f"The strategy uses as few locations as possible, and among those the best-ranked ones ({ratings})."


_WHY_STOPPED = {fence.value: words for fence, words in FENCES.items()}


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nowhere"
