"""The decision itself: a pure function of what is asked, what is free, the network and the profile.

Strategies are asked in their order. Under one, each location's cover passes the fences; then, rated by cost, the order takes the
cheapest of the best single location that covers everything, a greedy cover (cheapest a unit first, then legs that the others
can absorb are dropped) and the pairs of the most promising candidates. Several locations are only looked for when the cheapest
conceivable two packages would beat the best single one. Ranked, the best single location wins, and a split takes
the location that covers the most, the better ranked one first, until everything is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from heapq import nsmallest
from typing import Any

from msgspec import Struct

from ordino.catalog.kits import Parts
from ordino.inventory.rules import Book
from ordino.network.facts import Destination, NetworkFacts
from ordino.sourcing.costs import Costs, handling
from ordino.sourcing.left import Capacity, Cover, Left, Rooms, Stock
from ordino.sourcing.model import (
    Candidate,
    Decision,
    Explanation,
    Fence,
    Leg,
    Look,
    Need,
    Outlook,
    Request,
    ShortPolicy,
    Units,
)
from ordino.sourcing.plans import Plan, cheapest, cost_of, greedy, most_units, within, without_idle
from ordino.sourcing.profile import Fallback, Keep, Partial, Profile, Strategy

EXPLAINED = 10
"""So many candidates are kept in an explanation."""

TRIES = 4
"""So often an order asks others of its set to give way."""

Policy = Profile | Callable[[Request], Profile]
NO_OUTLOOK = Outlook()


def decide(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    policy: Policy,
    capacity: Capacity | None = None,
    book: Book | None = None,
    outlook: Outlook = NO_OUTLOOK,
    *,
    tell: bool = True,
    exchange: bool = True,
) -> list[Decision]:
    """One decision a request, in order: earlier requests take first. Nothing that is passed in is changed.

    ``policy`` is one profile for all, or chooses one for each request. ``book`` holds the rules over the stock; without it,
    only the networks' own buffers withhold units. ``outlook`` is asked where a profile looks at demand. Without ``tell``, the
    candidates that lost are not told. With ``exchange``, an order gives way to a later one of the set where both cost less
    together for it, both are filled as before, and no promise breaks.
    """
    left = Left(stock, facts, capacity or {}, book)
    sittings = [Sitting(request, left, profile_of(policy, request), outlook, tell=tell) for request in requests]
    decisions = [sitting.answer() for sitting in sittings]
    if exchange and len(sittings) > 1:
        for index in exchanged(sittings):
            decisions[index] = sittings[index].decision()
    return decisions


def exchanged(sittings: Sequence[Sitting]) -> list[int]:
    """Which orders of a set are better served because an earlier one gave way, and which gave way.

    Only where the set has used up a position: who holds its last units is decided anew without them, after who could use them
    better, and that stands if both together cost less.
    """
    left = sittings[0].left
    holders: dict[tuple[int, int], list[int]] = {}
    for index, sitting in enumerate(sittings):
        if sitting.whole and not sitting.kits:
            buffers = sitting.request.network.buffers
            for n, given in sitting.takes[0].plan.items():
                for sku_id in given:
                    if left.free(sku_id)[n] <= buffers.get(n, 0):
                        holders.setdefault((sku_id, n), []).append(index)
    if not holders:
        return []
    by_sku: dict[int, list[int]] = {}
    for sku_id, n in holders:
        by_sku.setdefault(sku_id, []).append(n)
    changed: set[int] = set()
    for index, sitting in enumerate(sittings):
        if sitting.whole and not sitting.kits:
            changed |= _exchanged(index, sittings, holders, by_sku)
    return sorted(changed)


def _exchanged(
    index: int,
    sittings: Sequence[Sitting],
    holders: Mapping[tuple[int, int], Sequence[int]],
    by_sku: Mapping[int, Sequence[int]],
) -> set[int]:
    """One order asks those before it to give way."""
    mine, tries = sittings[index], 0
    changed: set[int] = set()
    for sku_id in dict.fromkeys(need.sku_id for need in mine.request.needs if need.sku_id in by_sku):
        for n in _tempting(mine, sku_id, by_sku[sku_id]):
            for other in holders[sku_id, n]:
                holder = sittings[other]
                if other >= index or tries >= TRIES or not holder.whole or n not in holder.takes[0].plan:
                    continue
                tries += 1
                if _give_way(holder, mine):
                    changed |= {index, other}
                    break
    return changed


def _tempting(sitting: Sitting, sku_id: int, places: Sequence[int]) -> list[int]:
    """Where this order would rather have a SKU from than where it has it from, the cheapest first."""
    [take] = sitting.takes
    total, here, request = take.view.costs.total, take.plan, sitting.request
    serving = sitting.facts.serving_country(request.country)
    most = max((total(n, given) for n, given in here.items() if sku_id in given), default=0)
    one = {sku_id: 1}
    found = sorted(
        (total(n, one), n)
        for n in places
        if n not in here and n in serving and n in request.network.buffers and sitting.routes[n].ways
    )
    return [n for cost, n in found[:2] if cost < most or len(here) > 1]


def _give_way(holder: Sitting, other: Sitting) -> bool:
    """Whether both cost less together when the holder lets go, the other chooses first, and the holder anew."""
    before, was = holder.cost() + other.cost(), (holder.found, other.found)
    had = holder.let_go(), other.let_go()
    if other.take_again() and holder.take_again() and holder.cost() + other.cost() < before:
        return True
    holder.let_go()
    other.let_go()
    holder.put_back(had[0], was[0])
    other.put_back(had[1], was[1])
    return False


def stocked(requests: Iterable[Request]) -> list[int]:
    """The SKUs that these requests take from stock: of kits, the components."""
    return sorted({sku_id for request in requests for need in request.needs for sku_id, _ in _parts(need)})


def _parts(need: Need) -> Parts:
    return need.parts or ((need.sku_id, 1),)


def profile_of(policy: Policy, request: Request) -> Profile:
    return policy if isinstance(policy, Profile) else policy(request)


class _Take:
    """What a strategy gives of an order, and what it costs; ``new`` are the locations that the order had not come to before."""

    __slots__ = ("new", "plan", "terms", "view")

    def __init__(self, view: View, plan: Plan, new: frozenset[int]) -> None:
        self.view = view
        self.plan = plan
        self.new = new
        self.terms = {n: view.costs.terms(n, given) for n, given in plan.items()}


class _Found(Struct, frozen=True):
    """What came of a request beside what it takes."""

    looks: list[Look]
    last: View | None
    kept: bool | None
    short: dict[int, int]
    dropped: frozenset[int]
    refused: bool


class Sitting:
    """One request before the profile's strategies."""

    def __init__(self, request: Request, left: Left, profile: Profile, outlook: Outlook, *, tell: bool = True) -> None:
        self.request = request
        self.tell = tell
        self.left = left
        self.profile = profile
        self.outlook = outlook
        self.facts = left.facts
        self.kits: dict[int, Parts] = {}
        self.grams: dict[int, int] = {}
        self.cubic_mm: dict[int, int] = {}
        self.classes: dict[int, tuple[str, ...]] = {}
        self.excluded: dict[int, frozenset[int]] = {}
        for need in request.needs:
            sku_id = need.sku_id
            self.grams[sku_id] = need.grams
            if need.parts:
                self.kits[sku_id] = need.parts
            if need.cubic_mm and self.facts.measures:
                self.cubic_mm[sku_id] = need.cubic_mm
            if need.classes:
                self.classes[sku_id] = need.classes
            if need.excluded:
                self.excluded[sku_id] = self.excluded.get(sku_id, frozenset()) | frozenset(need.excluded)
        self.routes: Destination = self.facts.destination(request.country, request.postal_code)
        self._asked: dict[str, Any] | None = None
        self._at: set[int] = set()
        self.takes: list[_Take] = []
        self.found = _Found([], None, None, {}, frozenset(), False)
        self.days: dict[int, int] = {}  # location id -> working days of backlog, where the order has a place already

    def view(self) -> View | None:
        """The order as the strategy sees it that decides it now; None if none gives anything."""
        takes, _, last, _ = self._in_time_if_possible(_wanted(self.request.needs))
        self._give_back(takes)
        return last if takes else None

    def answer(self, plan: Plan | None = None) -> Decision:
        """The decision; by ``plan``, if one is given that can be followed."""
        request = self.request
        self.left.hold(request)
        wanted = _wanted(request.needs)
        takes, looks, last, kept = self._in_time_if_possible(wanted)
        if plan is not None:
            takes, last = self._follow(plan, takes, last)
        short, dropped, refused = _shortage(request, _given(takes))
        if dropped and not refused:  # decided anew without them: what they would have taken, the other lines may have
            self._give_back(takes)
            rest = _wanted(need for need in request.needs if need.line_no not in dropped)
            takes, looks, last, kept = self._in_time_if_possible(rest)
            short, _, refused = _shortage(request, _given(takes), dropped)
        if refused:
            self._give_back(takes)
            takes = []
            self.left.hold(request, -1)
        self.takes, self.found = takes, _Found(looks, last, kept, short, dropped, refused)
        return self.decision()

    def decision(self) -> Decision:
        """What was found, as it stands."""
        request, found, version = self.request, self.found, self.profile.version
        wanted = _wanted(request.needs)
        explanation = self._explain(self.takes, wanted, found.looks, found.last, found.kept if self.takes else None)
        legs = self._legs(self.takes, found.dropped)
        last = found.last
        stopped = not legs and last is not None and bool(last.fenced) and not last.covers
        return Decision(
            request.request_id, legs, found.short, found.dropped, found.refused, stopped, explanation, version
        )

    # -- exchange ----------------------------------------------------------------------------------------------------------

    @property
    def whole(self) -> bool:
        """Everything is given, by one strategy: such an order may give way to another, or be given way."""
        found = self.found
        given = len(self.takes) == 1 and not (found.short or found.dropped or found.refused)
        return given and not self.request.held and found.kept is not False

    def cost(self) -> int:
        """What the plan costs, with its split."""
        [take] = self.takes
        split = take.view.strategy.cost.split_minor * (len(take.plan) - 1)
        return split + sum(sum(terms.values()) for terms in take.terms.values())

    def let_go(self) -> list[_Take]:
        """The plan goes; what it was comes back."""
        takes, self.takes = self.takes, []
        self._give_back(takes)
        return takes

    def take_again(self) -> bool:
        """Decide anew; whether that gives everything, as before."""
        wanted = _wanted(self.request.needs)
        self.takes, looks, last, kept = self._in_time_if_possible(wanted)
        self.found = _Found(looks, last, kept, {}, frozenset(), False)
        return len(self.takes) == 1 and _given(self.takes) == wanted and kept is not False

    def put_back(self, takes: list[_Take], found: _Found) -> None:
        """As it was."""
        self.takes, self.found = takes, found
        self._go_back(takes)

    # -- strategies --------------------------------------------------------------------------------------------------------

    def _in_time_if_possible(self, wanted: Cover) -> tuple[list[_Take], list[Look], View | None, bool | None]:
        """A plan that keeps what the buyer was told; only if there is none, the best one that does not."""
        if self.request.promised_at is None:
            return (*self._by_strategies(wanted, in_time=False), None)
        takes, looks, last = self._by_strategies(wanted, in_time=True)
        if _given(takes) == wanted:
            return takes, looks, last, True
        self._give_back(takes)
        takes, looks, last = self._by_strategies(wanted, in_time=False)
        return takes, looks, last, all(leg_in_time(take) for take in takes) if takes else None

    def _by_strategies(self, wanted: Cover, *, in_time: bool) -> tuple[list[_Take], list[Look], View | None]:
        takes: list[_Take] = []
        looks: list[Look] = []
        missing = dict(wanted)
        last: View | None = None
        best: tuple[int, Strategy] | None = None
        for strategy in self.profile.strategies:
            passed = self._passes_over(strategy)
            if passed is not None:
                looks.append(passed)
                continue
            view = View(self, strategy, missing, in_time)
            plan = view.plan(missing)
            if plan is not None:
                looks.append(Look(strategy.name, sum(missing.values())))
                takes.append(self._take(view, plan))
                return takes, looks, view
            if last is None or view.covers:
                last = view
            some = view.most(missing)
            gives = sum(some.values())
            looks.append(Look(strategy.name, gives))
            if not gives:
                continue
            if strategy.partial is Partial.TAKE:
                plan = view.plan(some)
                assert plan is not None, "what can be had together is covered"
                takes.append(self._take(view, plan))
                for sku_id, units in some.items():
                    missing[sku_id] -= units
                missing = {sku_id: units for sku_id, units in missing.items() if units}
            elif best is None or gives > best[0]:
                best = gives, strategy
        if best is not None and self.profile.fallback is Fallback.MOST_UNITS:
            view = View(self, best[1], missing, in_time)
            some = view.most(missing)
            plan = view.plan(some) if some else None
            if plan is not None:
                takes.append(self._take(view, plan))
                last = view
        return takes, looks, last

    def _follow(self, plan: Plan, takes: list[_Take], last: View | None) -> tuple[list[_Take], View | None]:
        """The plan in place of what was found, where its strategy lets every location give what the plan says."""
        self._give_back(takes)
        if last is not None:
            view = View(self, last.strategy, _wanted(self.request.needs), last.costs.only_in_time)
            if all(n in view.covers and within(given, view.covers[n]) == given for n, given in plan.items()):
                view.single_minor = last.single_minor
                return [self._take(view, plan)], view
        self._go_back(takes)
        return takes, last

    def _passes_over(self, strategy: Strategy) -> Look | None:
        if strategy.when is None:
            return None
        if self._asked is None:
            self._asked = self.request.facts()
        answer = strategy.when.holds(self._asked)
        if answer is True:
            return None
        if answer is False:
            return Look(strategy.name, 0, "its condition does not hold")
        return Look(strategy.name, 0, answer, failed=True)

    def _take(self, view: View, plan: Plan) -> _Take:
        view.told = view.tell()
        take = _Take(view, plan, frozenset(plan.keys() - self._at))
        self._at |= take.new
        self.days |= {n: view.rooms.after(n) for n in take.new}
        self._move(take, 1)
        return take

    def _give_back(self, takes: Iterable[_Take]) -> None:
        for take in takes:
            self._at -= take.new
            for n in take.new:
                self.days.pop(n, None)
            self._move(take, -1)

    def _go_back(self, takes: Iterable[_Take]) -> None:
        """What was given back goes again."""
        for take in takes:
            self._at |= take.new
            self.days |= {n: take.view.rooms.after(n) for n in take.new}
            self._move(take, 1)

    def _move(self, take: _Take, sign: int) -> None:
        for n, given in take.plan.items():
            self.left.take(
                self.request, n, given, self.kits, take.view.rooms.of(n), sign, orders=1 if n in take.new else 0
            )

    # -- the answer --------------------------------------------------------------------------------------------------------

    def _legs(self, takes: Sequence[_Take], dropped: frozenset[int]) -> tuple[Leg, ...]:
        """Share the plans' units among the lines, in line order."""
        giving: dict[int, Cover] = {}
        views: dict[int, View] = {}
        for take in takes:
            for location_id, given in take.plan.items():
                there = giving.setdefault(location_id, {})
                for sku_id, units in given.items():
                    there[sku_id] = there.get(sku_id, 0) + units
                views[location_id] = take.view
        shipped = {location_id: dict(given) for location_id, given in giving.items()}
        shares: dict[int, list[Units]] = {location_id: [] for location_id in giving}
        for need in self.request.needs:
            if need.line_no in dropped:
                continue
            asked = need.quantity
            for location_id, given in giving.items():
                taken = min(asked, given.get(need.sku_id, 0))
                if taken:
                    given[need.sku_id] -= taken
                    asked -= taken
                    shares[location_id].append(Units(need.line_no, need.sku_id, taken))
        return tuple([self._leg(views[n], n, shipped[n], shares[n]) for n in giving])

    def _leg(self, view: View, location_id: int, given: Cover, shares: list[Units]) -> Leg:
        costs = view.costs
        quote = costs.quote(location_id, given)
        ship_by_at = costs.ship_by(location_id, quote.service_id)
        return Leg(
            location_id,
            quote.service_id,
            quote.zone,
            ship_by_at,
            self.facts.arrives_at(location_id, quote.service_id, ship_by_at, quote.transit_days),
            quote.cost_minor,
            handling(self.facts.locations[location_id], given),
            tuple(shares),
            view.rooms.of(location_id).day,
            costs.carbon_grams(location_id, quote, given),
            quote.packages,
            costs.weight(given),
        )

    def _explain(
        self, takes: Sequence[_Take], wanted: Cover, looks: list[Look], last: View | None, kept: bool | None
    ) -> Explanation:
        terms: dict[str, int] = {}
        for take in takes:
            for there in take.terms.values():
                for name, minor in there.items():
                    terms[name] = terms.get(name, 0) + minor
        places, split = len(self._at), 0
        if places > 1:
            split = takes[0].view.strategy.cost.split_minor * (places - 1)
            if split:
                terms["split"] = split
        candidates, left_out, stopped = (last.told or last.tell()) if last is not None else ((), 0, {})
        told = looks if len(self.profile.strategies) > 1 or any(look.passed for look in looks) else ()
        return Explanation(
            f"{self.profile.name} {self.profile.version}",
            sum(wanted.values()),
            "nothing" if not takes else "one location" if places == 1 else "split",
            takes[-1].view.strategy.name if takes else None,
            sum(terms.values()) if takes else None,
            terms,
            split,
            last.single_minor if last is not None and takes else None,
            candidates,
            left_out,
            stopped,
            tuple(told),
            kept,
            tuple([(n, sum(given.values())) for take in takes for n, given in take.plan.items()]),
        )


def leg_in_time(take: _Take) -> bool:
    costs = take.view.costs
    return all(costs.in_time(n, costs.quote(n, given)) for n, given in take.plan.items())


class View:
    """A request as one strategy sees it: who may give what, after the fences, and at what cost."""

    def __init__(self, sitting: Sitting, strategy: Strategy, wanted: Cover, in_time: bool) -> None:
        self.sitting = sitting
        self.strategy = strategy
        self.wanted = wanted
        self.rooms = Rooms(sitting.left, sitting.request.at, sitting.profile.backlog_days, sitting.days)
        self.single_minor: int | None = None
        self.fenced: dict[int, Fence] = {}
        self.told: tuple[tuple[Candidate, ...], int, dict[str, int]] | None = None
        fences = strategy.fences
        self.costs = Costs(
            sitting.request,
            strategy.cost,
            sitting.left,
            sitting.outlook,
            sitting.grams,
            sitting.cubic_mm,
            sitting.routes,
            self.rooms,
            only_in_time=in_time or (fences.keeps_promise and sitting.request.promised_at is not None),
        )
        self._whole: list[tuple[int, int]] | None = None  # (cost, location id), where only these were looked at
        self._plain = not (
            sitting.classes
            or fences.same_country
            or fences.within_km is not None
            or fences.capacity_left is not None
            or self.costs.only_in_time
        )

    @cached_property
    def found(self) -> dict[int, Cover]:
        """What each location could give, whatever the fences say."""
        sitting = self.sitting
        return sitting.left.covers(
            sitting.request, self.wanted, sitting.kits, sitting.excluded, self.strategy.fences.stock_left
        )

    @cached_property
    def covers(self) -> dict[int, Cover]:
        """What each location may give, after the fences."""
        return self._through_fences(self.found)

    # -- fences ------------------------------------------------------------------------------------------------------------

    def _through_fences(self, found: Mapping[int, Cover]) -> dict[int, Cover]:
        sitting = self.sitting
        facts, routes, request = sitting.facts, sitting.routes, sitting.request
        barred, serving, limited = _barred(facts, self.strategy), facts.serving_country(request.country), facts.limited
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
                    self.fenced[n] = Fence.NO_SERVICE
                continue
            can = self._handled(n, cover) if sitting.classes else cover
            fence = barred.get(n) or self._fence(n, can)
            if fence is not None:
                self.fenced[n] = fence
                continue
            given = self._together(self._within_day(n, can))
            if given:
                passed[n] = given
            else:
                self.fenced[n] = Fence.APART
        return passed

    def _handled(self, location_id: int, cover: Cover) -> Cover:
        """Without what the location cannot handle."""
        handles, classes = self.sitting.facts.locations[location_id].handles, self.sitting.classes
        return {s: units for s, units in cover.items() if handles.issuperset(classes.get(s, ()))}

    def _fence(self, location_id: int, cover: Cover) -> Fence | None:
        sitting, fences = self.sitting, self.strategy.fences
        request, location = sitting.request, sitting.facts.locations[location_id]
        if not location.active or location_id in request.closed:
            return Fence.CLOSED
        if request.country not in location.serves_countries or (
            location.serves_prefixes and not request.postal_code.startswith(location.serves_prefixes)
        ):
            return Fence.DOES_NOT_SERVE
        if not cover:
            return Fence.CANNOT_HANDLE
        if fences.same_country and location.country != request.country:
            return Fence.COUNTRY
        if fences.within_km is not None:
            km = sitting.routes.km(location_id)
            if km is None or km > fences.within_km:
                return Fence.TOO_FAR
        if not self.costs.quotes(location_id, cover):
            return Fence.NO_SERVICE
        room = self.rooms.find(location_id)
        if room is None or (fences.capacity_left is not None and room.orders <= fences.capacity_left):
            return Fence.NO_CAPACITY
        if self.costs.only_in_time and not any(
            self.costs.in_time(location_id, quote) for quote in self.costs.quotes(location_id, cover)
        ):
            return Fence.LATE
        return None

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
        wanted, kits = self.wanted, self.sitting.kits
        whole = {
            s: u
            for s, u in cover.items()
            if u == wanted[s] or not (Keep.LINES in keep or (s in kits and Keep.KITS in keep))
        }
        if Keep.GROUPS in keep:
            groups: dict[str, set[int]] = {}
            for need in self.sitting.request.needs:
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
        if not self.strategy.ranked:
            return self._by_cost(target)
        ranked, costs = self.strategy.ranked, self.costs
        whole = [n for n, cover in self.covers.items() if within(target, cover) == target]
        if whole:
            best = min(whole, key=lambda n: costs.rank(ranked, n, target))
            self.single_minor = costs.total(best, target)
            return {best: dict(target)}
        if self.strategy.most_locations == 1:
            return None
        useful = {n: given for n, cover in self.covers.items() if (given := within(target, cover))}
        order = greedy(target, useful, lambda n, given, left: (-sum(given.values()), *costs.rank(ranked, n, given)))
        if order is None:
            return None
        plan = without_idle(target, useful, order, lambda n, given: 1, 0)
        most = self.strategy.most_locations
        return plan if most is None or len(plan) <= most else None

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
        sitting, fences = self.sitting, self.strategy.fences
        whole = sitting.left.whole(sitting.request, target, sitting.kits, sitting.excluded, fences.stock_left)
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
        return most_units(wanted, self.covers, self.strategy.most_locations)

    # -- what is told ------------------------------------------------------------------------------------------------------

    def tell(self) -> tuple[tuple[Candidate, ...], int, dict[str, int]]:
        """The candidates worth telling, how many are left out, and how many each fence stopped."""
        if not self.sitting.tell:
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
        skus = [
            (part, self.sitting.left.free(part)) for s in wanted for part, _ in self.sitting.kits.get(s) or ((s, 1),)
        ]
        told = [
            Candidate(
                n, -covered, cost, self.costs.terms(n, cover), None, tuple([(s, free.get(n, 0)) for s, free in skus])
            )
            for covered, cost, n, cover in ranked[:EXPLAINED]
        ]
        for n in sorted(self.fenced)[: EXPLAINED - len(told)]:
            stock = tuple([(s, free.get(n, 0)) for s, free in skus])
            covered = units if whole is not None else sum(self.found[n].values())
            told.append(Candidate(n, covered, fence=self.fenced[n], stock=stock))
        return tuple(told), looked_at + len(self.fenced) - len(told), stopped


def _by_worth(ranked: tuple[int, int, int, Cover]) -> tuple[int, int, int]:
    return ranked[:3]


_BARRED: dict[tuple[int, int], tuple[NetworkFacts, Strategy, dict[int, Fence]]] = {}


def _barred(facts: NetworkFacts, strategy: Strategy) -> dict[int, Fence]:
    """The locations that a strategy never uses, whatever the order; kept as long as both live on."""
    key = (id(facts), id(strategy))
    found = _BARRED.get(key)
    if found is None or found[0] is not facts or found[1] is not strategy:
        if len(_BARRED) >= 256:
            _BARRED.clear()
        found = _BARRED[key] = (facts, strategy, _stopped(facts, strategy))
    return found[2]


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


def _wanted(needs: Iterable[Need]) -> Cover:
    wanted: Cover = {}
    for need in needs:
        wanted[need.sku_id] = wanted.get(need.sku_id, 0) + need.quantity
    return wanted


def given_by(leg: Leg) -> Cover:
    """What a leg gives, by SKU."""
    given: Cover = {}
    for units in leg.units:
        given[units.sku_id] = given.get(units.sku_id, 0) + units.quantity
    return given


def _given(takes: Iterable[_Take]) -> Cover:
    given: Cover = {}
    for take in takes:
        for cover in take.plan.values():
            for sku_id, units in cover.items():
                given[sku_id] = given.get(sku_id, 0) + units
    return given


def _shortage(
    request: Request, given: Cover, without: frozenset[int] = frozenset()
) -> tuple[dict[int, int], frozenset[int], bool]:
    """Units short per line, lines dropped, and whether the order is refused, by the request's policy."""
    left = dict(given)
    short: dict[int, int] = {}
    dropped = set(without)
    for need in request.needs:
        if need.line_no in without:
            continue
        taken = min(need.quantity, left.get(need.sku_id, 0))
        if taken < need.quantity and request.short_policy is ShortPolicy.DROP and not without:
            dropped.add(need.line_no)
            continue
        if taken:
            left[need.sku_id] -= taken
        if taken < need.quantity:
            short[need.line_no] = need.quantity - taken
            if request.short_policy is not ShortPolicy.BACKORDER or not need.backorderable:
                return short, frozenset(dropped) if without else frozenset(), True
    return short, frozenset(dropped), len(dropped) == len(request.needs)
