"""One strategy's view of a request: who may give what after the fences, what it costs, and the plan.

Rated by cost, the order takes the cheapest of the best single location that covers everything, a greedy cover (cheapest a unit
first, then legs that the others can absorb are dropped) and the pairs of the most promising candidates. Several locations are only
looked for when the cheapest conceivable two packages would beat the best single one. Ranked, the fewest locations win, and of as
many locations the best ranked ones; or the strategy takes from them strictly in rank order.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from heapq import nsmallest

from ordino.catalog.kits import Parts
from ordino.network.facts import Destination, NetworkFacts
from ordino.network.parcels import Contents
from ordino.network.rates import takes
from ordino.sourcing.costs import Costs
from ordino.sourcing.left import Cover, Left, Rooms
from ordino.sourcing.model import (
    Candidate,
    Fence,
    Need,
    Outlook,
    Request,
)
from ordino.sourcing.plans import Plan, cheapest, cost_of, most_units, within
from ordino.sourcing.profile import Keep, Profile, Strategy
from ordino.sourcing.ranked import Sources, fewest, first_units, in_rank_order

EXPLAINED = 10
"""So many candidates are kept in an explanation."""


class Case:
    """A request as strategies are asked about it: its SKUs, what is left for it, and ``days``, the working days of backlog at
    locations where it has a place already.
    """

    def __init__(self, request: Request, left: Left, profile: Profile, outlook: Outlook, *, tell: bool = True) -> None:
        self.request = request
        self.tell = tell
        self.left = left
        self.profile = profile
        self.outlook = outlook
        self.facts = left.facts.priced_in(request.currency, request.at)
        self.kits: dict[int, Parts] = {}
        self.contents: dict[int, Contents] = {}  # of kits: what they are packed as
        self.grams: dict[int, int] = {}
        self.cubic_mm: dict[int, int] = {}
        self.classes: dict[int, tuple[str, ...]] = {}
        self.excluded: dict[int, frozenset[int]] = {}
        self.pieces: dict[int, tuple[int, int]] = {}  # SKUs of which some service does not take one unit as a parcel
        for need in request.needs:
            sku_id = need.sku_id
            self.grams[sku_id] = need.grams
            if need.parts:
                self.kits[sku_id] = need.parts
                self.contents[sku_id] = need.held()
            if need.cubic_mm and self.facts.measures:
                self.cubic_mm[sku_id] = need.cubic_mm
            if need.classes:
                self.classes[sku_id] = need.classes
            if (piece := large_piece(self.facts, need)) is not None:
                self.pieces[sku_id] = piece
            if need.excluded:
                self.excluded[sku_id] = self.excluded.get(sku_id, frozenset()) | frozenset(need.excluded)
        self.routes: Destination = self.facts.destination(request.country, request.postal_code)
        self.days: dict[int, int] = {}


def large_piece(facts: NetworkFacts, need: Need) -> tuple[int, int] | None:
    """Weight and volume (grams, cubic centimeters) of one unit that some service does not take as one parcel; None of all others.

    A kit may go in several parcels, but each of its components in one: told are the weight of the heaviest and the volume of the
    largest.
    """
    grams, cubic_mm = need.grams, need.cubic_mm
    if need.parts:
        held = need.held()
        grams, cubic_mm = max(grams for grams, _, _ in held), max(mm for _, mm, _ in held)
    cubic_cm = -(-cubic_mm // 1000)
    if grams <= facts.light_grams and (facts.small_cubic_cm is None or cubic_cm <= facts.small_cubic_cm):
        return None
    return grams, cubic_cm


class View:
    """A request as one strategy sees it: who may give what, after the fences, and at what cost."""

    def __init__(self, case: Case, strategy: Strategy, wanted: Cover, in_time: bool) -> None:
        self.case = case
        self.strategy = strategy
        self.wanted = wanted
        self.rooms = Rooms(case.left, case.request.at, case.profile.backlog_days, case.days)
        self.single_minor: int | None = None
        self.fenced: dict[int, Fence] = {}
        self.told: tuple[tuple[Candidate, ...], int, dict[str, int]] | None = None
        fences = strategy.fences
        self.costs = Costs(
            case.request,
            strategy.cost,
            case.left,
            case.facts,
            case.outlook,
            case.grams,
            case.cubic_mm,
            case.routes,
            self.rooms,
            only_in_time=in_time or (fences.keeps_promise and case.request.promised_at is not None),
            pieces=case.pieces,
            contents=case.contents,
        )
        self._whole: list[tuple[int, int]] | None = None  # (cost, location id), where only these were looked at
        self._plain = not (
            case.classes
            or case.pieces
            or fences.same_country
            or fences.within_km is not None
            or fences.capacity_left is not None
            or self.costs.only_in_time
        )

    @cached_property
    def found(self) -> dict[int, Cover]:
        """What each location could give, whatever the fences say."""
        case = self.case
        return case.left.covers(case.request, self.wanted, case.kits, case.excluded, self.strategy.fences.stock_left)

    @cached_property
    def covers(self) -> dict[int, Cover]:
        """What each location may give, after the fences."""
        passed = self._through_fences(self.found)
        members = self.case.request.network.buffers
        for sku_id, barred in self.case.excluded.items():
            if sku_id in self.wanted:
                self.fenced |= {n: Fence.REJECTED for n in barred if n in members and n not in passed}
        return passed

    # -- fences ------------------------------------------------------------------------------------------------------------

    def _through_fences(self, found: Mapping[int, Cover]) -> dict[int, Cover]:
        case = self.case
        facts, routes, request = case.facts, case.routes, case.request
        barred, serving, limited = (
            barred_by(facts, self.strategy),
            facts.serving_country(request.country),
            facts.limited,
        )
        closed, keep, plain, level = request.closed, self.strategy.keep, self._plain, request.service_level
        passed: dict[int, Cover] = {}
        for n, cover in found.items():
            if plain and n in serving and n not in closed and n not in barred and n not in limited:
                if routes[n].ways if level is None else routes[n].of(level).ways:
                    given = self._together(cover) if keep else cover
                    if given:
                        passed[n] = given
                    else:
                        self.fenced[n] = Fence.APART
                else:
                    self.fenced[n] = self._no_service(n)
                continue
            can = self._handled(n, cover) if case.classes else cover
            carried = self._carried(n, can) if case.pieces else can
            fence = barred.get(n) or self._fence(n, can, carried)
            if fence is not None:
                self.fenced[n] = fence
                continue
            given = self._together(self._within_day(n, carried))
            if given:
                passed[n] = given
            else:
                self.fenced[n] = Fence.APART
        return passed

    def _handled(self, location_id: int, cover: Cover) -> Cover:
        """Without what the location cannot handle."""
        handles, classes = self.case.facts.locations[location_id].handles, self.case.classes
        return {s: units for s, units in cover.items() if handles.issuperset(classes.get(s, ()))}

    def _carried(self, location_id: int, cover: Cover) -> Cover:
        """Without SKUs of which no service takes one unit as a parcel from there. A leg goes with one service: where none takes all
        that is left, what the one takes that takes the most units.
        """
        route, level, pieces = self.case.routes[location_id], self.case.request.service_level, self.case.pieces
        if level is not None:
            route = route.of(level)
        can = {s: units for s, units in cover.items() if s not in pieces or route.carrying(*pieces[s]).ways}
        piece = self.costs.piece(can)
        if piece is None or route.carrying(*piece).ways:
            return can
        by_service = [
            {s: units for s, units in can.items() if s not in pieces or takes(*way, *pieces[s])} for way in route.ways
        ]
        return max(by_service, key=lambda some: sum(some.values()))

    def _fence(self, location_id: int, handled: Cover, cover: Cover) -> Fence | None:
        """``cover`` is what is left of what the location can handle, once services have said what they take."""
        case, fences = self.case, self.strategy.fences
        request, location = case.request, case.facts.locations[location_id]
        if not location.active or location_id in request.closed:
            return Fence.CLOSED
        if request.country not in location.serves_countries or (
            location.serves_prefixes and not case.routes.postal_code.startswith(location.serves_prefixes)
        ):
            return Fence.DOES_NOT_SERVE
        if not handled:
            return Fence.CANNOT_HANDLE
        if location_id in case.facts.unpriced:
            return Fence.NO_EXCHANGE_RATE
        if fences.same_country and location.country != request.country:
            return Fence.COUNTRY
        if fences.within_km is not None:
            km = case.routes.km(location_id)
            if km is None or km > fences.within_km:
                return Fence.TOO_FAR
        if not cover:
            level, route = request.service_level, case.routes[location_id]
            return (
                Fence.TOO_LARGE if (route if level is None else route.of(level)).ways else self._no_service(location_id)
            )
        if not self.costs.quotes(location_id, cover):
            return self._no_service(location_id)
        room = self.rooms.find(location_id)
        if room is None or (fences.capacity_left is not None and room.orders <= fences.capacity_left):
            return Fence.NO_CAPACITY
        if self.costs.only_in_time and not any(
            self.costs.in_time(location_id, quote) for quote in self.costs.quotes(location_id, cover)
        ):
            return Fence.LATE
        return None

    def _no_service(self, location_id: int) -> Fence:
        """Nothing goes there, or nothing whose rates can be converted."""
        request, facts = self.case.request, self.case.facts
        if any(rate is None for rate in facts.exchanged.values()) and facts.reaches(
            location_id, request.country, request.postal_code, request.service_level
        ):
            return Fence.NO_EXCHANGE_RATE
        return Fence.NO_SERVICE

    def _within_day(self, location_id: int, cover: Cover) -> Cover:
        """No more units than the location's day has left."""
        left = self.rooms.of(location_id).units
        if sum(cover.values()) <= left:
            return cover
        some: Cover = {}
        for sku_id, units in cover.items():
            if left > 0:
                some[sku_id] = min(units, left)
                left -= some[sku_id]
        return some

    def _together(self, cover: Cover) -> Cover:
        """Without what would come in part only, where it has to come from one location."""
        keep = self.strategy.keep
        if not keep:
            return cover
        wanted, kits = self.wanted, self.case.kits
        whole = {
            s: u
            for s, u in cover.items()
            if u == wanted[s] or not (Keep.LINES in keep or (s in kits and Keep.KITS in keep))
        }
        if Keep.GROUPS in keep:
            groups: dict[str, set[int]] = {}
            for need in self.case.request.needs:
                if need.group is not None and need.sku_id in wanted:
                    groups.setdefault(need.group, set()).add(need.sku_id)
            for _ in groups:  # groups that share a SKU fall together
                for skus in groups.values():
                    if any(whole.get(s, 0) < wanted[s] for s in skus):
                        for sku_id in skus:
                            whole.pop(sku_id, None)
        return whole

    # -- plans -------------------------------------------------------------------------------------------------------------

    def plan(self, target: Cover) -> Plan | None:
        """Where all of this comes from; None if the strategy cannot fill it."""
        return self._by_rank(target) if self.strategy.ranked else self._by_cost(target)

    def _by_rank(self, target: Cover) -> Plan | None:
        strategy, costs = self.strategy, self.costs
        whole = [n for n, cover in self.covers.items() if within(target, cover) == target]
        if strategy.in_rank_order:
            self.single_minor = min((costs.total(n, target) for n in whole), default=None)
            return in_rank_order(target, self._ranked(target), strategy.most_locations)
        if whole:
            best = min(whole, key=lambda n: costs.rank(strategy.ranked, n, target))
            self.single_minor = costs.total(best, target)
            return {best: dict(target)}
        self.single_minor = None
        if strategy.most_locations == 1:
            return None
        return fewest(target, self._ranked(target), strategy.most_locations)

    def _ranked(self, target: Cover) -> Sources:
        """What locations can give of the target, the best ranked first."""
        return [(n, given) for n in self.rank_order if (given := within(target, self.covers[n]))]

    @cached_property
    def rank_order(self) -> list[int]:
        """The locations that may give something, the best ranked first: each by what it could give of what is wanted."""
        rank, ranked = self.costs.rank, self.strategy.ranked
        return sorted(self.covers, key=lambda n: rank(ranked, n, self.covers[n]))

    def _by_cost(self, target: Cover) -> Plan | None:
        costs, split = self.costs, self.strategy.cost.split_minor
        if target is self.wanted and (best := self._best_whole(target)) is not None:
            return {best: dict(target)}
        single = self._single(target)
        self.single_minor = None if single is None else single[0]
        most = self.strategy.most_locations
        if single is not None and (most == 1 or single[0] <= self._two_at_least(target)):
            return {single[1]: dict(target)}
        if most != 1:
            memo: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}

            def cost(n: int, given: Cover) -> int:
                key = (n, tuple(given.items()))
                found = memo.get(key)
                if found is None:
                    found = memo[key] = costs.total(n, given)
                return found

            several = cheapest(target, self.covers, cost, split, most)
            if several is not None and (single is None or cost_of(several, cost, split) < single[0]):
                return several
        return None if single is None else {single[1]: dict(target)}

    def _best_whole(self, target: Cover) -> int | None:
        """The cheapest location that has everything, where no two packages could be cheaper: nobody else need be looked at."""
        case, fences = self.case, self.strategy.fences
        whole = case.left.whole(case.request, target, case.kits, case.excluded, fences.stock_left)
        if whole is None:
            return None
        passed = self._through_fences(dict.fromkeys(whole, target))
        total = self.costs.total
        ranked = sorted([(total(n, target), n) for n, cover in passed.items() if cover == target])
        if ranked and (
            self.strategy.most_locations == 1
            or ranked[0][0] <= 2 * self.costs.floor(sum(target.values())) + self.strategy.cost.split_minor
        ):
            self._whole = ranked
            self.single_minor = ranked[0][0]
            return ranked[0][1]
        self.fenced.clear()
        return None

    def _single(self, target: Cover) -> tuple[int, int] | None:
        """(cost, location id) of the cheapest location that covers everything."""
        best: tuple[int, int] | None = None
        total = self.costs.total
        part = target is not self.wanted
        for location_id, cover in self.covers.items():
            if cover == target or (part and within(target, cover) == target):
                key = (total(location_id, target), location_id)
                if best is None or key < best:
                    best = key
        return best

    def _two_at_least(self, target: Cover) -> int:
        """A bound that no plan of two packages undercuts: the two cheapest that anybody could send, and a split."""
        if len(self.covers) < 2:
            return 1 << 62
        units = sum(target.values())
        least = nsmallest(2, self.costs.least(self.covers, units))
        return least[0] + least[1] + self.strategy.cost.split_minor

    def most(self, wanted: Cover) -> Cover:
        """As much as the strategy can give."""
        most = self.strategy.most_locations
        if not self.strategy.ranked or most is None:
            return most_units(wanted, self.covers, most)
        if self.strategy.in_rank_order:
            return first_units(wanted, self._ranked(wanted), most)
        return most_units(wanted, self.covers, most, {n: place for place, n in enumerate(self.rank_order)})

    # -- what is told ------------------------------------------------------------------------------------------------------

    def tell(self) -> tuple[tuple[Candidate, ...], int, dict[str, int]]:
        """The candidates worth telling, how many are left out, and how many each fence stopped."""
        if not self.case.tell:
            return (), 0, {}
        stopped: dict[str, int] = {}
        for fence in self.fenced.values():
            stopped[fence.value] = stopped.get(fence.value, 0) + 1
        wanted, whole = self.wanted, self._whole
        units = sum(wanted.values())
        if whole is not None:
            ranked = [(-units, cost, n, wanted) for cost, n in whole[:EXPLAINED]]
            looked_at = len(whole)
        else:
            covers, total = self.covers, self.costs.total
            looked_at = len(covers)
            few = looked_at <= 4 * EXPLAINED
            some = covers.items() if few else [(n, cover) for n, cover in covers.items() if cover == wanted]
            ranked = sorted([(-sum(cover.values()), total(n, cover), n, cover) for n, cover in some], key=_by_worth)
        skus = [(part, self.case.left.free(part)) for s in wanted for part, _ in self.case.kits.get(s) or ((s, 1),)]
        told = [
            Candidate(
                n,
                -covered,
                cost,
                self.costs.terms(n, cover),
                None,
                tuple([(s, free.get(n, 0)) for s, free in skus]),
                self.rooms.seen(n),
            )
            for covered, cost, n, cover in ranked[:EXPLAINED]
        ]
        for n in sorted(self.fenced)[: EXPLAINED - len(told)]:
            stock = tuple([(s, free.get(n, 0)) for s, free in skus])
            covered = units if whole is not None else sum(self.found.get(n, {}).values())
            told.append(Candidate(n, covered, fence=self.fenced[n], stock=stock, room=self.rooms.seen(n)))
        return tuple(told), looked_at + len(self.fenced) - len(told), stopped


def _by_worth(ranked: tuple[int, int, int, Cover]) -> tuple[int, int, int]:
    return ranked[:3]


def barred_by(facts: NetworkFacts, strategy: Strategy) -> dict[int, Fence]:
    """The locations that a strategy never uses, whatever the order; kept with the facts."""
    return facts.remember(("barred", id(strategy)), strategy, lambda: _stopped(facts, strategy))


def _stopped(facts: NetworkFacts, strategy: Strategy) -> dict[int, Fence]:
    fences, stopped = strategy.fences, {}
    for location_id, location in facts.locations.items():
        if fences.location_types and location.type not in fences.location_types:
            stopped[location_id] = Fence.LOCATION_TYPE
        elif fences.locations and location.code not in fences.locations:
            stopped[location_id] = Fence.LOCATION
        elif (
            (fences.any_tag and not fences.any_tag & location.tags)
            or not fences.all_tags <= location.tags
            or fences.no_tag & location.tags
        ):
            stopped[location_id] = Fence.TAG
    return stopped
