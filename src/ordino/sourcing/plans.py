"""How units are shared among locations: the best single one, pairs of the most promising ones, a greedy cover.

A plan is location id -> SKU id -> units. What is wanted is never more than the candidates can give together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import islice, permutations

from ordino.sourcing.left import Cover

PAIRED = 8
"""So many of the best candidates are tried in pairs."""
ALIKE = 3
"""Of candidates that could give just the same, so many of the cheapest are looked at, or as many as it takes."""
MANY = 16
"""Up to so many candidates, all are looked at."""

Plan = dict[int, Cover]
LegCost = Callable[[int, Cover], int]
"""(location id, units) -> minor units"""


def within(target: Cover, cover: Cover) -> Cover:
    """What a location that could give ``cover`` gives of the target."""
    return {s: min(u, cover[s]) for s, u in target.items() if s in cover}


def fill(target: Cover, sources: Sequence[tuple[int, Cover]]) -> Plan | None:
    """Take the target from the sources in order; None if they cannot cover it."""
    left = dict(target)
    plan: Plan = {}
    for location_id, cover in sources:
        given = {s: min(u, cover[s]) for s, u in left.items() if u and cover.get(s, 0)}
        if given:
            plan[location_id] = given
            for sku_id, units in given.items():
                left[sku_id] -= units
    return None if any(left.values()) else plan


def cost_of(plan: Plan, cost: LegCost, split_minor: int) -> int:
    return sum(cost(location_id, given) for location_id, given in plan.items()) + split_minor * (len(plan) - 1)


def cheapest(
    target: Cover, covers: Mapping[int, Cover], cost: LegCost, split_minor: int, most: int | None
) -> Plan | None:
    """The cheapest plan of several locations that was found, of at most so many; None if there is none."""
    plans = [
        (cost_of(plan, cost, split_minor), len(plan), sorted(plan), plan)
        for plan in _several(target, covers, cost, split_minor)
        if most is None or len(plan) <= most
    ]
    if plans:
        return min(plans, key=lambda plan: plan[:3])[3]
    if most is None:
        return None
    plan = fill(target, list(islice(largest_first(target, covers), most)))  # dearer, but of few locations
    return plan if plan is not None and len(plan) > 1 else None


def _several(target: Cover, covers: Mapping[int, Cover], cost: LegCost, split_minor: int) -> Iterable[Plan]:
    useful = {n: given for n, cover in covers.items() if (given := within(target, cover))}
    useful = _without_dearer(target, useful, cost)

    def per_unit(n: int, given: Cover, left: Cover) -> tuple[float, ...]:
        units = sum(given.values())
        return (cost(n, given) * 1000 // units, -units, n)

    first = greedy(target, useful, per_unit)
    if first is not None:
        yield without_idle(target, useful, first, cost, split_minor)
    some = _promising(target, useful, cost)
    for pair in permutations(some, 2):
        plan = fill(target, [(n, useful[n]) for n in pair])
        if plan is not None and len(plan) == 2:
            yield plan


def _without_dearer(target: Cover, useful: dict[int, Cover], cost: LegCost) -> dict[int, Cover]:
    """Without candidates beside which enough cheaper ones could give just the same."""
    if len(useful) <= MANY:
        return useful
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for n, given in useful.items():
        alike.setdefault(tuple(given.items()), []).append(n)
    kept: dict[int, Cover] = {}
    for places in alike.values():
        given = useful[places[0]]
        enough = max(ALIKE, max(-(-target[s] // units) for s, units in given.items()))
        if len(places) > enough:
            places = [n for _, n in sorted([(cost(n, given), n) for n in places])[:enough]]
        for n in places:
            kept[n] = useful[n]
    return kept


def _promising(target: Cover, useful: Mapping[int, Cover], cost: LegCost) -> list[int]:
    """The cheapest a unit, and for each SKU the cheapest that has all of it."""
    ranked = sorted((cost(n, given) * 1000 // sum(given.values()), n) for n, given in useful.items())
    some = [n for _, n in ranked[:PAIRED]]
    if len(ranked) > PAIRED and len(target) <= PAIRED:
        for sku_id, units in target.items():
            whole = [n for _, n in ranked if useful[n].get(sku_id, 0) == units]
            if whole:
                best = min(whole, key=lambda n: (cost(n, {sku_id: units}), n))
                if best not in some:
                    some.append(best)
    return some


def greedy(
    target: Cover, useful: Mapping[int, Cover], key: Callable[[int, Cover, Cover], tuple[float, ...]]
) -> list[int] | None:
    """One location after the other, the one with the smallest key for what is still missing; None if that does not suffice."""
    left = dict(target)
    order: list[int] = []
    while left:
        best: tuple[tuple[float, ...], int] | None = None
        for n, cover in useful.items():
            if n in order:
                continue
            given = within(left, cover)
            if given:
                found = (key(n, given, left), n)
                if best is None or found < best:
                    best = found
        if best is None:
            return None
        order.append(best[1])
        for sku_id, units in useful[best[1]].items():
            if sku_id in left:
                left[sku_id] -= min(left[sku_id], units)
                if not left[sku_id]:
                    del left[sku_id]
    return order


def without_idle(target: Cover, useful: Mapping[int, Cover], order: list[int], cost: LegCost, split_minor: int) -> Plan:
    """Legs that the others can absorb are dropped, if that is not dearer."""
    plan = fill(target, [(n, useful[n]) for n in order])
    assert plan is not None, "the order covers the target"
    least = cost_of(plan, cost, split_minor)
    for n in list(order):
        fewer = [other for other in order if other != n]
        smaller = fill(target, [(other, useful[other]) for other in fewer])
        if smaller is not None and (smaller_cost := cost_of(smaller, cost, split_minor)) <= least:
            plan, least, order = smaller, smaller_cost, fewer
    return plan


def most_units(
    wanted: Cover, covers: Mapping[int, Cover], most: int | None, places: Mapping[int, int] | None = None
) -> Cover:
    """As much of what is wanted as can be had, from at most so many locations. Of locations that give as much, the one with the
    smaller place is taken; without places, the one with the smaller key.
    """
    if most is None:
        return {
            s: units
            for s, asked in wanted.items()
            if (units := min(asked, sum(cover.get(s, 0) for cover in covers.values())))
        }
    given: Cover = {}
    for _, part in islice(largest_first(wanted, covers, places), most):
        for sku_id, units in part.items():
            given[sku_id] = given.get(sku_id, 0) + units
    return given


def largest_first(
    wanted: Cover, covers: Mapping[int, Cover], places: Mapping[int, int] | None = None
) -> Iterator[tuple[int, Cover]]:
    """(location id, what it gives): always the location that has the most of what is still missing, until nothing is, or nobody has
    any. Of equal ones, the one with the smaller place goes first; without places, the one with the smaller key.

    What a location can give of what is missing only shrinks, so that a figure from before is a bound: a location is looked at
    again only when it comes first by its bound (Minoux 1978, "Accelerated greedy algorithms for maximizing submodular set
    functions").
    """
    left = dict(wanted)
    bounds = [
        (-units, n if places is None else places[n], n)
        for n, cover in covers.items()
        if (units := sum(within(left, cover).values()))
    ]
    heapify(bounds)
    while bounds and bounds[0][0]:
        bound, place, n = bounds[0]
        given = {s: units for s, asked in left.items() if (units := min(asked, covers[n].get(s, 0)))}
        units = sum(given.values())
        if units == -bound:
            yield n, given
            for sku_id, some in given.items():
                left[sku_id] -= some
                if not left[sku_id]:
                    del left[sku_id]
            units = 0
        heapreplace(bounds, (-units, place, n))
