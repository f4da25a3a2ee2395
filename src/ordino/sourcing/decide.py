"""The decision itself: a pure function of what is asked, what is free, the network and the profile.

Each order takes the cheapest of: the best single location that covers everything; a greedy cover (cheapest cost per
unit first, then legs that the others can absorb are dropped); and, among the best few candidates, every pair.
Plans are compared by carrier + handling + split cost; a pair or cover is only looked for when the cheapest conceivable
two packages would beat the best single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import permutations

from ordino.catalog.kits import Parts
from ordino.inventory.rules import Book
from ordino.network.facts import NetworkFacts, Quote
from ordino.sourcing.model import (
    Candidate,
    Decision,
    Explanation,
    Fence,
    Leg,
    Need,
    Profile,
    Request,
    ShortPolicy,
    Units,
)

PAIRED = 8
"""So many of the best candidates are tried in pairs."""
EXPLAINED = 12
"""So many candidates are kept in an explanation."""

Stock = Mapping[int, Mapping[int, int]]
"""SKU id -> location id -> free units."""
Capacity = Mapping[tuple[int, date], int]
"""(location id, day of shipping) -> orders taken on."""
Cover = dict[int, int]
"""SKU id -> units."""


def decide(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    profile: Profile,
    capacity: Capacity | None = None,
    book: Book | None = None,
) -> list[Decision]:
    """One decision a request, in order: earlier requests take first. Nothing that is passed in is changed.

    ``book`` holds the rules over the stock; without it, only the networks' own buffers withhold units.
    """
    desk = _Desk(stock, facts, profile, capacity or {}, book)
    return [desk.answer(request) for request in requests]


def stocked(requests: Iterable[Request]) -> list[int]:
    """The SKUs that these requests take from stock: of kits, the components."""
    return sorted({sku_id for request in requests for need in request.needs for sku_id, _ in _parts(need)})


def _parts(need: Need) -> Parts:
    return need.parts or ((need.sku_id, 1),)


class _Desk:
    """One sitting: what is left of stock and capacity as its requests are answered."""

    def __init__(
        self, stock: Stock, facts: NetworkFacts, profile: Profile, capacity: Capacity, book: Book | None
    ) -> None:
        self.facts = facts
        self._book = book
        self._kits: dict[int, Parts] = {}
        self._taken: dict[tuple[int, int], dict[int, int]] = {}  # by channels, in this sitting
        self.profile = profile
        self._stock = stock
        self._left: dict[int, dict[int, int]] = {}
        self._capacity = dict(capacity)
        self._closed, self._serves, self._capacity_counts = (
            fence in profile.fences for fence in (Fence.CLOSED, Fence.DOES_NOT_SERVE, Fence.NO_CAPACITY)
        )
        self._profile_name = f"{profile.name} {profile.version}"
        self._routes = facts.destination("", "")

    def _free(self, sku_id: int) -> dict[int, int]:
        left = self._left.get(sku_id)
        if left is None:
            left = self._left[sku_id] = dict(self._stock.get(sku_id, ()))
        return left

    def answer(self, request: Request) -> Decision:
        for (sku_id, location_id), units in request.held.items():
            free = self._free(sku_id)
            free[location_id] = free.get(location_id, 0) + units
        decision = self.decide(request)
        if decision.refused:  # what was held stays so; else the hold ends, and others may have what this order leaves
            for (sku_id, location_id), units in request.held.items():
                self._free(sku_id)[location_id] -= units
        return decision

    def decide(self, request: Request) -> Decision:
        wanted: Cover = {}
        grams: dict[int, int] = {}
        excluded: dict[int, frozenset[int]] = {}
        self._kits = {}
        for need in request.needs:
            if need.parts:
                self._kits[need.sku_id] = need.parts
            wanted[need.sku_id] = wanted.get(need.sku_id, 0) + need.quantity
            grams[need.sku_id] = need.grams
            if need.excluded:
                excluded[need.sku_id] = excluded.get(need.sku_id, frozenset()) | frozenset(need.excluded)
        self._routes = self.facts.destination(request.country, request.postal_code)
        covers = self._covers(request, wanted, excluded)
        seen: list[Candidate] = []
        passed = self._through_fences(request, covers, seen)
        best = self._best_single(wanted, passed, grams)
        if best is not None and best[0] <= self._two_at_least(passed):
            self._tell(wanted, passed, grams, seen)
            return self._plan(request, {best[1]: wanted}, best[0], grams, {}, frozenset(), seen, wanted)
        available = {
            sku_id: min(units, sum(cover.get(sku_id, 0) for cover in passed.values()))
            for sku_id, units in wanted.items()
        }
        short, dropped, refused = _shortage(request, available)
        if dropped:
            available = _wanted(need for need in request.needs if need.line_no not in dropped)
        target = {sku_id: units for sku_id, units in available.items() if units}
        self._tell(target or wanted, passed, grams, seen)
        if refused or not target:
            return self._nothing(request, short, dropped, refused, bool(covers) and not passed, seen, wanted)
        plan, single_cost = self._cheapest(target, passed, grams)
        return self._plan(request, plan, single_cost, grams, short, dropped, seen, wanted)

    def _plan(
        self,
        request: Request,
        plan: dict[int, Cover],
        single_cost: int | None,
        grams: Mapping[int, int],
        short: dict[int, int],
        dropped: frozenset[int],
        seen: list[Candidate],
        wanted: Cover,
    ) -> Decision:
        legs = self._legs(request, plan, grams, dropped)
        split_cost = self.profile.split_cost_minor * (len(legs) - 1)
        cost = split_cost
        for leg in legs:
            cost += leg.carrier_cost_minor + leg.handling_cost_minor
        chosen = "one location" if len(legs) == 1 else "split"
        explanation = self._explain(chosen, cost, single_cost, split_cost, seen, wanted)
        return Decision(request.request_id, legs, short, dropped, False, False, explanation)

    def _nothing(
        self,
        request: Request,
        short: dict[int, int],
        dropped: frozenset[int],
        refused: bool,
        stopped_by_fences: bool,
        seen: list[Candidate],
        wanted: Cover,
    ) -> Decision:
        explanation = self._explain("nothing", None, None, 0, seen, wanted)
        return Decision(request.request_id, (), short, dropped, refused, stopped_by_fences, explanation)

    def _covers(
        self, request: Request, wanted: Cover, excluded: Mapping[int, frozenset[int]]
    ) -> dict[int, dict[int, int]]:
        """Location id -> what it could give, above its buffer."""
        if self._book is not None or self._kits or request.held:
            return self._covers_by_rules(request, wanted, excluded)
        covers: dict[int, dict[int, int]] = {}
        buffers = request.network.buffers
        for sku_id, units in wanted.items():
            barred = excluded.get(sku_id, ())
            for location_id, free in self._free(sku_id).items():
                buffer = buffers.get(location_id)
                if buffer is None or free <= buffer or location_id in barred:
                    continue
                covers.setdefault(location_id, {})[sku_id] = min(units, free - buffer)
        return covers

    def _covers_by_rules(
        self, request: Request, wanted: Cover, excluded: Mapping[int, frozenset[int]]
    ) -> dict[int, dict[int, int]]:
        """The same where there are rules, kits or a hold: what a location could give of everything together."""
        parts = {sku_id: self._kits.get(sku_id) or ((sku_id, 1),) for sku_id in wanted}
        places = {place for of in parts.values() for sku_id, _ in of for place in self._free(sku_id)}
        covers: dict[int, dict[int, int]] = {}
        for location_id in places & request.network.buffers.keys():
            left: dict[int, int] = {}
            for sku_id, units in wanted.items():
                if location_id in excluded.get(sku_id, ()):
                    continue
                given = units
                for component, each in parts[sku_id]:
                    if component not in left:
                        left[component] = self._able(request, component, location_id)
                    given = min(given, left[component] // each)
                if given:
                    covers.setdefault(location_id, {})[sku_id] = given
                    for component, each in parts[sku_id]:
                        left[component] -= given * each
        return covers

    def _able(self, request: Request, sku_id: int, location_id: int) -> int:
        """What this request may have of a position: what is held for it, and what is free above all that is withheld."""
        free, held = self._free(sku_id).get(location_id, 0), request.held.get((sku_id, location_id), 0)
        withheld = request.network.buffers[location_id]
        if self._book is not None:
            location, taken = self.facts.locations[location_id], self._taken.get((sku_id, location_id), {})
            withheld = self._book.withheld(request.network, request.channel_id, sku_id, location, taken)
        return held + max(free - held - withheld, 0)

    def _take(self, request: Request, location_id: int, given: Cover) -> None:
        if not self._kits and self._book is None:
            for sku_id, units in given.items():
                self._free(sku_id)[location_id] -= units
            return
        for sku_id, units in given.items():
            for component, each in self._kits.get(sku_id) or ((sku_id, 1),):
                self._free(component)[location_id] -= units * each
                if request.channel_id is not None:
                    taken = self._taken.setdefault((component, location_id), {})
                    taken[request.channel_id] = taken.get(request.channel_id, 0) + units * each

    def _through_fences(self, request: Request, covers: Mapping[int, Cover], seen: list[Candidate]) -> dict[int, Cover]:
        passed: dict[int, Cover] = {}
        for location_id in sorted(covers):
            fence = self._fence(request, location_id)
            if fence is None:
                passed[location_id] = covers[location_id]
            else:
                seen.append(Candidate(location_id, sum(covers[location_id].values()), fence=fence))
        return passed

    def _fence(self, request: Request, location_id: int) -> Fence | None:
        location = self.facts.locations[location_id]
        if self._closed and (not location.active or location_id in request.closed):
            return Fence.CLOSED
        if self._serves and request.country not in location.serves_countries:
            return Fence.DOES_NOT_SERVE
        if not self._routes[location_id].ways:
            return Fence.NO_SERVICE
        if location.daily_capacity is not None and self._capacity_counts:
            ship_on = self._ship_on(location_id, request.at)
            if self._capacity.get((location_id, ship_on), 0) >= location.daily_capacity:
                return Fence.NO_CAPACITY
        return None

    def _ship_on(self, location_id: int, at: datetime) -> date:
        return self.facts.ship_by(location_id, at).astimezone(self.facts.locations[location_id].zone).date()

    def _quote(self, location_id: int, cover: Cover, grams: Mapping[int, int]) -> Quote:
        return self._routes[location_id].quotes(_weight(cover, grams))[0]

    def _package_cost(self, location_id: int, cover: Cover, grams: Mapping[int, int]) -> int:
        return self._quote(location_id, cover, grams).cost_minor + self.facts.locations[location_id].handling_cost_minor

    def _best_single(
        self, target: Cover, covers: Mapping[int, Cover], grams: Mapping[int, int]
    ) -> tuple[int, int] | None:
        """(cost, location id) of the cheapest location that covers everything."""
        total = _weight(target, grams)
        best: tuple[int, int] | None = None
        for location_id, cover in covers.items():
            if cover == target:
                handling = self.facts.locations[location_id].handling_cost_minor
                key = (self._routes[location_id].quotes(total)[0].cost_minor + handling, location_id)
                if best is None or key < best:
                    best = key
        return best

    def _tell(
        self, target: Cover, covers: Mapping[int, Cover], grams: Mapping[int, int], seen: list[Candidate]
    ) -> None:
        """Write down what each candidate could have given, and at what cost."""
        total, units = _weight(target, grams), sum(target.values())
        for location_id, cover in covers.items():
            weight, given = total, units
            if cover != target:
                some = {s: min(u, cover[s]) for s, u in target.items() if s in cover}
                weight, given = _weight(some, grams), sum(some.values())
            if given:
                carrier = self._routes[location_id].quotes(weight)[0].cost_minor
                handling = self.facts.locations[location_id].handling_cost_minor
                seen.append(Candidate(location_id, given, carrier, handling))

    def _cheapest(
        self, target: Cover, covers: Mapping[int, Cover], grams: Mapping[int, int]
    ) -> tuple[dict[int, Cover], int | None]:
        """The cheapest plan found (location id -> units), and the cost of the best single location."""
        useful = {
            location_id: {s: min(u, cover[s]) for s, u in target.items() if s in cover}
            for location_id, cover in covers.items()
            if any(sku_id in cover for sku_id in target)
        }
        best = self._best_single(target, useful, grams)
        if best is not None and best[0] <= self._two_at_least(useful):
            return {best[1]: dict(target)}, best[0]
        plans: list[tuple[int, int, dict[int, Cover]]] = []
        if best is not None:
            plans.append((best[0], 1, {best[1]: dict(target)}))
        for plan in self._multi(target, useful, grams):
            plans.append((self._cost(plan, grams), len(plan), plan))
        chosen = min(plans, key=lambda plan: (plan[0], plan[1], sorted(plan[2])))
        return chosen[2], None if best is None else best[0]

    def _two_at_least(self, covers: Mapping[int, Cover]) -> int:
        """A bound that no plan of two packages undercuts: the two cheapest that anybody could send, and a split."""
        if len(covers) < 2:
            return 1 << 62
        locations, routes = self.facts.locations, self._routes
        least = sorted([routes[n].least_minor + locations[n].handling_cost_minor for n in covers])
        return least[0] + least[1] + self.profile.split_cost_minor

    def _multi(
        self, target: Cover, covers: Mapping[int, Cover], grams: Mapping[int, int]
    ) -> Iterable[dict[int, Cover]]:
        yield self._greedy(target, covers, grams)
        ranked = sorted(
            (self._package_cost(location_id, given, grams) * 1000 // sum(given.values()), location_id)
            for location_id, given in covers.items()
        )
        some = [location_id for _, location_id in ranked[:PAIRED]]
        for first, second in permutations(some, 2):
            plan = _fill(target, [(first, covers[first]), (second, covers[second])])
            if plan is not None and len(plan) == 2:
                yield plan

    def _greedy(self, target: Cover, covers: Mapping[int, Cover], grams: Mapping[int, int]) -> dict[int, Cover]:
        left = dict(target)
        order: list[int] = []
        while left:
            best: tuple[int, int, int] | None = None
            for location_id, cover in covers.items():
                given = {s: min(u, cover[s]) for s, u in left.items() if s in cover}
                if location_id in order or not given:
                    continue
                units = sum(given.values())
                key = (self._package_cost(location_id, given, grams) * 1000 // units, -units, location_id)
                best = key if best is None else min(best, key)
            assert best is not None, "the target is no more than the candidates cover"
            order.append(best[2])
            for sku_id, units in covers[best[2]].items():
                if sku_id in left:
                    left[sku_id] -= min(left[sku_id], units)
                    if not left[sku_id]:
                        del left[sku_id]
        return self._without_idle_legs(target, covers, order, grams)

    def _without_idle_legs(
        self, target: Cover, covers: Mapping[int, Cover], order: list[int], grams: Mapping[int, int]
    ) -> dict[int, Cover]:
        plan = _fill(target, [(location_id, covers[location_id]) for location_id in order])
        assert plan is not None
        cost = self._cost(plan, grams)
        for location_id in list(order):
            fewer = [other for other in order if other != location_id]
            smaller = _fill(target, [(other, covers[other]) for other in fewer])
            if smaller is not None and (smaller_cost := self._cost(smaller, grams)) <= cost:
                plan, cost, order = smaller, smaller_cost, fewer
        return plan

    def _cost(self, plan: Mapping[int, Cover], grams: Mapping[int, int]) -> int:
        packages = sum(self._package_cost(location_id, given, grams) for location_id, given in plan.items())
        return packages + self.profile.split_cost_minor * (len(plan) - 1)

    def _legs(
        self, request: Request, plan: Mapping[int, Cover], grams: Mapping[int, int], dropped: frozenset[int]
    ) -> tuple[Leg, ...]:
        """Share the plan's units among the lines, in line order, and take them from what is left."""
        giving = {location_id: dict(given) for location_id, given in plan.items()}
        units: dict[int, list[Units]] = {location_id: [] for location_id in plan}
        for need in request.needs:
            if need.line_no in dropped:
                continue
            wanted = need.quantity
            for location_id, given in giving.items():
                taken = min(wanted, given.get(need.sku_id, 0))
                if taken:
                    given[need.sku_id] -= taken
                    wanted -= taken
                    units[location_id].append(Units(need.line_no, need.sku_id, taken))
        legs = []
        for location_id, given in plan.items():
            self._take(request, location_id, given)
            quote = self._quote(location_id, given, grams)
            location = self.facts.locations[location_id]
            ship_by_at = self.facts.ship_by(location_id, request.at)
            if location.daily_capacity is not None:
                day = (location_id, self._ship_on(location_id, request.at))
                self._capacity[day] = self._capacity.get(day, 0) + 1
            legs.append(
                Leg(
                    location_id,
                    quote.service_id,
                    quote.zone,
                    ship_by_at,
                    self.facts.arrives_at(location_id, quote.service_id, ship_by_at, quote.transit_days),
                    quote.cost_minor,
                    location.handling_cost_minor,
                    tuple(units[location_id]),
                )
            )
        return tuple(legs)

    def _explain(
        self,
        chosen: str,
        cost: int | None,
        single_cost: int | None,
        split_cost: int,
        seen: list[Candidate],
        wanted: Cover,
    ) -> Explanation:
        if len(seen) > EXPLAINED:
            seen.sort(key=_worth_telling)
        return Explanation(
            self._profile_name,
            sum(wanted.values()),
            chosen,
            cost,
            split_cost,
            single_cost,
            tuple(seen[:EXPLAINED]),
            max(0, len(seen) - EXPLAINED),
        )


def _worth_telling(candidate: Candidate) -> tuple[bool, int, int, int]:
    cost = (candidate.carrier_cost_minor or 0) + (candidate.handling_cost_minor or 0)
    return (candidate.fence is not None, -candidate.covers, cost, candidate.location_id)


def _weight(cover: Cover, grams: Mapping[int, int]) -> int:
    total = 0
    for sku_id, units in cover.items():
        total += grams[sku_id] * units
    return total


def _wanted(needs: Iterable[Need]) -> Cover:
    wanted: Cover = {}
    for need in needs:
        wanted[need.sku_id] = wanted.get(need.sku_id, 0) + need.quantity
    return wanted


def _shortage(request: Request, available: Mapping[int, int]) -> tuple[dict[int, int], frozenset[int], bool]:
    """Units short per line, lines dropped, and whether the order is refused, by the request's policy."""
    left = dict(available)
    short: dict[int, int] = {}
    dropped: set[int] = set()
    for need in request.needs:
        given = min(need.quantity, left[need.sku_id])
        if given < need.quantity and request.short_policy is ShortPolicy.DROP:
            dropped.add(need.line_no)
            continue
        left[need.sku_id] -= given
        if given < need.quantity:
            short[need.line_no] = need.quantity - given
            if request.short_policy is ShortPolicy.REFUSE or not need.backorderable:
                return short, frozenset(), True
    return short, frozenset(dropped), len(dropped) == len(request.needs)


def _fill(target: Cover, sources: Sequence[tuple[int, Cover]]) -> dict[int, Cover] | None:
    """Take the target from the sources in order; None if they cannot cover it."""
    left = dict(target)
    plan: dict[int, Cover] = {}
    for location_id, cover in sources:
        given = {s: min(u, cover[s]) for s, u in left.items() if u and cover.get(s, 0)}
        if given:
            plan[location_id] = given
            for sku_id, units in given.items():
                left[sku_id] -= units
    return None if any(left.values()) else plan
