"""One request before the profile's strategies: asked in their order, until one can fill what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial

from msgspec import Struct

from ordino.network.exchange import in_words
from ordino.sourcing.condition import Asked
from ordino.sourcing.costs import handling
from ordino.sourcing.left import Cover, Left
from ordino.sourcing.model import (
    Decision,
    Explanation,
    Leg,
    Look,
    Need,
    Outlook,
    Request,
    ShortPolicy,
    Units,
)
from ordino.sourcing.plans import Plan, within
from ordino.sourcing.profile import Fallback, Partial, Profile, Strategy, priced_in
from ordino.sourcing.view import Case, View


class Sitting(Case):
    """One request before the profile's strategies."""

    def __init__(self, request: Request, left: Left, profile: Profile, outlook: Outlook, *, tell: bool = True) -> None:
        self._rate: tuple[str, Fraction | None] | None = (
            None  # (the profile's currency, what it is worth in the order's)
        )
        if profile.currency is not None and request.currency and profile.currency != request.currency:
            rate = left.facts.rates.rate(profile.currency, request.currency, request.at)
            self._rate = (profile.currency, rate)
            if rate is not None:
                key, own = ("priced", id(profile), request.currency, rate), profile
                profile = left.facts.remember(key, own, partial(priced_in, own, request.currency, rate))
        super().__init__(request, left, profile, outlook, tell=tell)
        self._asked: Asked | None = None
        self._at: set[int] = set()
        self.takes: list[Take] = []
        self.found = Found([], None, None, {}, frozenset(), False)

    def view(self) -> View | None:
        """The order as the strategy sees it that decides all of it now; None if none does, or several share it."""
        takes, _, last, _ = self._in_time_if_possible(_wanted(self.request.needs))
        self._give_back(takes)
        alone = len(takes) == 1 and takes[0].view is last and last.wanted == _wanted(self.request.needs)
        return last if alone else None

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
        self.takes, self.found = takes, Found(looks, last, kept, short, dropped, refused)
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
        """Everything is given, by one strategy that rates by cost: such an order may give way to another, or be given way."""
        found = self.found
        given = len(self.takes) == 1 and not (found.short or found.dropped or found.refused)
        by_cost = given and not self.takes[0].view.strategy.ranked
        return by_cost and not self.request.held and found.kept is not False

    def cost(self) -> int:
        """What the plan costs, with its split."""
        [take] = self.takes
        split = take.view.strategy.cost.split_minor * (len(take.plan) - 1)
        return split + sum(sum(terms.values()) for terms in take.terms.values())

    def let_go(self) -> list[Take]:
        """The plan goes; what it was comes back."""
        takes, self.takes = self.takes, []
        self._give_back(takes)
        return takes

    def take_again(self) -> bool:
        """Decide anew; whether that gives everything, as before."""
        wanted = _wanted(self.request.needs)
        self.takes, looks, last, kept = self._in_time_if_possible(wanted)
        self.found = Found(looks, last, kept, {}, frozenset(), False)
        return len(self.takes) == 1 and _given(self.takes) == wanted and kept is not False

    def put_back(self, takes: list[Take], found: Found) -> None:
        """As it was."""
        self.takes, self.found = takes, found
        self._go_back(takes)

    # -- strategies --------------------------------------------------------------------------------------------------------

    def _in_time_if_possible(self, wanted: Cover) -> tuple[list[Take], list[Look], View | None, bool | None]:
        """A plan that keeps what the buyer was told and leaves by when the channel wants it shipped; only if there is none, the
        best one that does not.
        """
        if self.request.promised_at is None and self.request.ship_by_at is None:
            return (*self._by_strategies(wanted, in_time=False), None)
        takes, looks, last = self._by_strategies(wanted, in_time=True)
        if _given(takes) == wanted:
            return takes, looks, last, True
        self._give_back(takes)
        late, late_looks, late_last = self._by_strategies(wanted, in_time=False)
        if takes and sum(_given(takes).values()) >= sum(_given(late).values()):
            self._give_back(late)
            self._go_back(takes)
            return takes, looks, last, True
        return late, late_looks, late_last, all(leg_in_time(take) for take in late) if late else None

    def _by_strategies(self, wanted: Cover, *, in_time: bool) -> tuple[list[Take], list[Look], View | None]:
        takes: list[Take] = []
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
                missing = {s: left for s, units in missing.items() if (left := units - some.get(s, 0))}
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

    def _follow(self, plan: Plan, takes: list[Take], last: View | None) -> tuple[list[Take], View | None]:
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
        if self._rate is not None and self._rate[1] is None and strategy.cost.has_money:
            pair = f"from {self._rate[0]} to {self.request.currency}"
            return Look(strategy.name, 0, f"its costs cannot be converted, because there is no exchange rate {pair}")
        if strategy.when is None:
            return None
        if self._asked is None:
            self._asked = Asked(self.request.facts())
        answer = strategy.when.answer(self._asked)
        if answer is True:
            return None
        if answer is False:
            return Look(strategy.name, 0, "its condition does not hold")
        return Look(strategy.name, 0, answer, failed=True)

    def _take(self, view: View, plan: Plan) -> Take:
        view.told = view.tell()
        take = Take(view, plan, frozenset(plan.keys() - self._at))
        self._at |= take.new
        self.days |= {n: view.rooms.after(n) for n in take.new}
        self._move(take, 1)
        return take

    def _give_back(self, takes: Iterable[Take]) -> None:
        for take in takes:
            self._at -= take.new
            for n in take.new:
                self.days.pop(n, None)
            self._move(take, -1)

    def _go_back(self, takes: Iterable[Take]) -> None:
        """What was given back goes again."""
        for take in takes:
            self._at |= take.new
            self.days |= {n: take.view.rooms.after(n) for n in take.new}
            self._move(take, 1)

    def _move(self, take: Take, sign: int) -> None:
        for n, given in take.plan.items():
            self.left.take(
                self.request, n, given, self.kits, take.view.rooms.of(n), sign, orders=1 if n in take.new else 0
            )

    # -- the answer --------------------------------------------------------------------------------------------------------

    def _legs(self, takes: Sequence[Take], dropped: frozenset[int]) -> tuple[Leg, ...]:
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
        self, takes: Sequence[Take], wanted: Cover, looks: list[Look], last: View | None, kept: bool | None
    ) -> Explanation:
        promise_kept, ship_by_kept = self._kept(takes, kept)
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
            promise_kept,
            tuple([(n, sum(given.values())) for take in takes for n, given in take.plan.items()]),
            (),
            tuple([str(rating.by) for rating in takes[-1].view.strategy.ranked]) if takes else (),
            bool(takes) and takes[-1].view.strategy.in_rank_order,
            self._exchange_rates() if takes else (),
            ship_by_kept=ship_by_kept,
        )

    def _exchange_rates(self) -> tuple[tuple[str, str], ...]:
        """The exchange rates by which costs were converted."""
        if self._rate is None and not self.facts.exchanged:
            return ()
        rates = {**self.facts.exchanged, **dict([self._rate] if self._rate is not None else [])}
        return tuple([(currency, in_words(rate)) for currency, rate in sorted(rates.items()) if rate is not None])

    def _kept(self, takes: Sequence[Take], kept: bool | None) -> tuple[bool | None, bool | None]:
        """What was told, and the channel's ship-by time: is each kept? None: there is no such time."""
        request = self.request
        if kept is not False or request.ship_by_at is None:
            return None if request.promised_at is None else kept, None if request.ship_by_at is None else kept
        ways = [(take.view.costs, n, given) for take in takes for n, given in take.plan.items()]
        arrives = all(costs.arrives_in_time(n, costs.quote(n, given)) for costs, n, given in ways)
        leaves = all(costs.leaves_in_time(n, costs.quote(n, given)) for costs, n, given in ways)
        return None if request.promised_at is None else arrives, leaves


class Take:
    """What a strategy gives of an order, and what it costs; ``new`` are the locations that the order had not come to before."""

    __slots__ = ("new", "plan", "terms", "view")

    def __init__(self, view: View, plan: Plan, new: frozenset[int]) -> None:
        self.view = view
        self.plan = plan
        self.new = new
        self.terms = {n: view.costs.terms(n, given) for n, given in plan.items()}


class Found(Struct, frozen=True):
    """What came of a request beside what it takes."""

    looks: list[Look]
    last: View | None
    kept: bool | None
    short: dict[int, int]
    dropped: frozenset[int]
    refused: bool


def leg_in_time(take: Take) -> bool:
    costs = take.view.costs
    return all(costs.in_time(n, costs.quote(n, given)) for n, given in take.plan.items())


def _wanted(needs: Iterable[Need]) -> Cover:
    wanted: Cover = {}
    for need in needs:
        wanted[need.sku_id] = wanted.get(need.sku_id, 0) + need.quantity
    return wanted


def _given(takes: Iterable[Take]) -> Cover:
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
