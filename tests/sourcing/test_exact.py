"""Orders decided together: never dearer than one by one, as cheap as any plan where all plans can be tried."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from itertools import product
from uuid import UUID

import pytest

from anything import anything, holds
from ordino.network.facts import NetworkFacts
from ordino.sourcing.decide import decide
from ordino.sourcing.exact import exact, follow, worth
from ordino.sourcing.model import Decision, Need, Request, ShortPolicy
from ordino.sourcing.profile import Cost, Profile, Strategy
from paper import FAR_3, NEAR_1, NEAR_2, location, network, request

PLAIN = Profile("test")


def total(decisions: list[Decision]) -> int:
    return sum(decision.explanation.cost_minor or 0 for decision in decisions)


def test_the_first_order_leaves_the_near_unit_to_who_needs_it_more() -> None:
    # the first order could have SKU 7 near or far; the second wants 7 and 8, and 8 lies near only. One by one, the first takes the
    # near 7 (400), and the second is split: near 400 + far 800 + 200. Together: far 800, near 400 for both SKUs (800 g: 300 + 100)
    facts = network(NEAR_1, FAR_3)
    stock = {7: {1: 1, 3: 5}, 8: {1: 1}}
    asked = [request((7, 1), request_id=UUID(int=1)), request((7, 1), (8, 1), request_id=UUID(int=2))]
    one_by_one = decide(asked, stock, facts, PLAIN)
    solved = exact(asked, stock, facts, PLAIN)
    assert total(one_by_one) == 400 + 1400
    assert (solved.cost_minor, solved.improved) == (800 + 400, True)
    assert [[leg.location_id for leg in d.legs] for d in solved.decisions] == [[3], [1]]
    assert solved.bound_minor <= solved.cost_minor + 1


def test_a_place_of_the_day_goes_to_whom_it_saves_most() -> None:
    # near has one place; it saves the light order 400 (400 for 800) and the heavy one 700 (600 for 1,300)
    facts = network(location(1, 40.1, daily_capacity=1), FAR_3)
    stock = {7: {1: 9, 3: 9}}
    asked = [request((7, 1), request_id=UUID(int=1)), request((7, 3), request_id=UUID(int=2))]
    assert [d.legs[0].location_id for d in decide(asked, stock, facts, PLAIN)] == [1, 3]
    assert [d.legs[0].location_id for d in exact(asked, stock, facts, PLAIN).decisions] == [3, 1]


def _any_case(seed: int) -> tuple[list[Request], dict[int, dict[int, int]], NetworkFacts, Profile]:
    dice = random.Random(seed)
    sites = [
        location(
            n, dice.uniform(25, 42), handling_cost_minor=dice.randint(0, 300),
            handling_unit_cost_minor=dice.choice([0, 20]), handling_line_cost_minor=dice.choice([0, 30]),
            daily_capacity=dice.choice([None, None, 1, 2]), daily_unit_capacity=dice.choice([None, None, 3]),
        )
        for n in range(1, dice.randint(3, 5))
    ]  # fmt: skip
    stock = {sku: {at.location_id: dice.randint(0, 2) for at in sites} for sku in (1, 2)}
    requests = [
        request(
            needs=tuple(Need(n, sku, dice.randint(1, 2), 700, True) for n, sku in enumerate(dice.sample([1, 2], dice.randint(1, 2)), 1)),
            policy=ShortPolicy.BACKORDER, buffers={at.location_id: 0 for at in sites}, request_id=UUID(int=number),
        )
        for number in range(1, dice.randint(3, 5))
    ]  # fmt: skip
    by = Profile("x", strategies=(Strategy("s", cost=Cost(split_minor=dice.choice([0, 150]))),))
    return requests, stock, network(*sites), by


@pytest.mark.parametrize("seed", range(60))
def test_together_is_never_worse_and_breaks_nothing(seed: int) -> None:
    requests, stock, facts, by = _any_case(seed)
    first = decide(requests, stock, facts, by)
    solved = exact(requests, stock, facts, by)
    assert exact(requests, stock, facts, by).decisions == solved.decisions
    short = [sum(sum(d.short.values()) for d in some) for some in (first, solved.decisions)]
    assert short[1] < short[0] or (short[1] == short[0] and total(solved.decisions) <= total(first))
    taken: Counter[tuple[int, int]] = Counter()
    orders: Counter[tuple[int, date]] = Counter()
    units: Counter[tuple[int, date]] = Counter()
    for asked, decision in zip(requests, solved.decisions, strict=True):
        assert decision.request_id == asked.request_id
        given: Counter[int] = Counter()
        for leg in decision.legs:
            orders[leg.location_id, leg.ship_on] += 1
            for part in leg.units:
                taken[part.sku_id, leg.location_id] += part.quantity
                units[leg.location_id, leg.ship_on] += part.quantity
                given[part.line_no] += part.quantity
        for need in asked.needs:
            assert given[need.line_no] + decision.short.get(need.line_no, 0) == need.quantity
    assert all(stock[s][n] >= u for (s, n), u in taken.items())
    for (n, day), count in orders.items():
        assert count <= (facts.order_limit(n, day) or 10**9)
        assert units[n, day] <= (facts.unit_limit(n, day) or 10**9)


@pytest.mark.parametrize("begin", range(0, 300, 10))
def test_under_any_profile_it_is_never_worse_than_one_by_one_or_than_it_was(begin: int) -> None:
    for seed in range(begin, begin + 10):
        case, other = anything(seed), anything(seed + 1).profile
        asked = (case.requests, case.stock, case.facts)
        solved = exact(*asked, case.profile, outlook=case.outlook)
        holds(case, solved.decisions)
        assert worth(solved.decisions) <= worth(decide(*asked, case.profile, outlook=case.outlook))
        was = {
            number: {leg.location_id: leg.given() for leg in decision.legs}
            for number, decision in enumerate(decide(*asked, other, outlook=case.outlook))
        }
        before = follow(*asked, case.profile, None, None, case.outlook, was)
        holds(case, before)
        again = exact(*asked, case.profile, outlook=case.outlook, current=was)
        holds(case, again.decisions)
        assert worth(again.decisions) <= worth(before)


@pytest.mark.parametrize("seed", range(100, 130))
def test_no_plan_at_all_is_cheaper(seed: int) -> None:
    """Held against every way to give every unit of every order to some location, where all can be filled."""
    dice = random.Random(seed)
    sites = [location(n, dice.uniform(25, 42), handling_cost_minor=dice.randint(0, 300)) for n in (1, 2, 3)]
    facts = network(*sites)
    stock = {sku: {n: dice.randint(0, 2) for n in (1, 2, 3)} for sku in (1, 2)}
    asked = [
        request(
            needs=(Need(1, 1, dice.randint(1, 2), 700), Need(2, 2, 1, 700)), request_id=UUID(int=n), policy=ShortPolicy.BACKORDER,
        )
        for n in (1, 2)
    ]  # fmt: skip
    wanted = [(o, need.sku_id) for o, one in enumerate(asked) for need in one.needs for _ in range(need.quantity)]
    best = None
    for choice in product((1, 2, 3), repeat=len(wanted)):
        used: Counter[tuple[int, int]] = Counter()
        legs: dict[tuple[int, int], int] = {}
        for (o, sku), n in zip(wanted, choice, strict=True):
            used[sku, n] += 1
            legs[o, n] = legs.get((o, n), 0) + 700
        if any(stock[s][n] < u for (s, n), u in used.items()):
            continue
        cost = sum(
            facts.quotes(n, "US", "10001", grams)[0].cost_minor + facts.locations[n].handling_cost_minor
            for (_, n), grams in legs.items()
        ) + 200 * (len(legs) - len(asked))
        best = cost if best is None else min(best, cost)
    if best is None:
        return
    assert exact(asked, stock, facts, PLAIN).cost_minor == best


def test_nothing_to_decide_costs_nothing() -> None:
    assert exact([], {}, network(NEAR_1, NEAR_2), PLAIN).cost_minor == 0
    [none] = exact([request((7, 1))], {}, network(NEAR_1), PLAIN).decisions
    assert none.refused
