"""Sourcing, worked by hand: a small network whose costs can be added up on paper."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime
from itertools import combinations

import pytest

from ordino.network.facts import NetworkFacts
from ordino.sourcing.decide import decide
from ordino.sourcing.model import Fence, Need, Request, ShortPolicy
from ordino.sourcing.profile import Partial, Profile, Strategy
from paper import FAR_3, NEAR_1, NEAR_2, location, network, request

PROFILE = Profile("test")


def test_the_cheapest_location_that_has_everything_wins() -> None:
    [decision] = decide([request((7, 2))], {7: {1: 5, 3: 5}}, network(NEAR_1, FAR_3), PROFILE)
    [leg] = decision.legs
    assert (leg.location_id, leg.carrier_cost_minor, leg.handling_cost_minor) == (1, 300, 100)
    assert decision.explanation.cost_minor == 400
    assert decision.explanation.chosen == "one location"
    assert {c.location_id: c.terms for c in decision.explanation.candidates} == {
        1: {"carrier": 300, "handling": 100},
        3: {"carrier": 700, "handling": 100},
    }


def test_one_package_from_afar_beats_two_from_nearby_where_that_is_cheaper() -> None:
    # far alone: 700 + 100 = 800; near 1 + near 2: 300 + 100 + 300 + 100 + 200 for the split = 1,000
    stock = {7: {1: 1, 3: 1}, 8: {2: 1, 3: 1}}
    [decision] = decide([request((7, 1), (8, 1))], stock, network(NEAR_1, NEAR_2, FAR_3), PROFILE)
    assert [leg.location_id for leg in decision.legs] == [3]


def test_two_packages_from_nearby_beat_one_from_afar_where_that_is_cheaper() -> None:
    # 3 units of 400 g: far alone 1,200 + 100 = 1,300; near 1 (1 unit) 400 + near 2 (2 units) 400 + 200 = 1,000
    stock = {7: {1: 1, 3: 1}, 8: {2: 2, 3: 2}}
    [decision] = decide([request((7, 1), (8, 2))], stock, network(NEAR_1, NEAR_2, FAR_3), PROFILE)
    assert sorted(leg.location_id for leg in decision.legs) == [1, 2]
    assert decision.explanation.cost_minor == 1000
    assert decision.explanation.best_single_cost_minor == 1300
    assert decision.explanation.split_cost_minor == 200


def test_a_split_is_made_when_nobody_has_everything() -> None:
    [decision] = decide([request((7, 3))], {7: {1: 2, 2: 2}}, network(NEAR_1, NEAR_2), PROFILE)
    assert sum(units.quantity for leg in decision.legs for units in leg.units) == 3
    assert len(decision.legs) == 2


def test_the_promise_follows_from_cut_off_working_days_and_transit() -> None:
    facts = network(NEAR_1)
    [before] = decide([request((7, 1))], {7: {1: 9}}, facts, PROFILE)
    # Monday before the cut-off: leaves Monday until 20:00 in New York, arrives Tuesday
    assert before.legs[0].ship_by_at == datetime(2026, 3, 3, 1, 0, tzinfo=UTC)
    assert before.promised_at == datetime(2026, 3, 4, 1, 0, tzinfo=UTC)  # Tuesday 20:00 in New York
    friday_evening = datetime(2026, 3, 6, 23, 0, tzinfo=UTC)
    [after] = decide([request((7, 1), at=friday_evening)], {7: {1: 9}}, facts, PROFILE)
    # Friday after the cut-off: leaves on Monday, arrives on Tuesday; daylight saving begins on Sunday
    assert after.legs[0].ship_by_at == datetime(2026, 3, 10, 0, 0, tzinfo=UTC)
    assert after.promised_at == datetime(2026, 3, 11, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "fence"),
    [
        ({"active": False}, Fence.CLOSED),
        ({"serves_countries": frozenset({"CA"})}, Fence.DOES_NOT_SERVE),
        ({"daily_capacity": 0}, Fence.NO_CAPACITY),
    ],
)
def test_a_fence_stops_a_location_and_says_so(changed: dict[str, object], fence: Fence) -> None:
    facts = network(location(1, 40.1, **changed), FAR_3)
    [decision] = decide([request((7, 1))], {7: {1: 9, 3: 9}}, facts, PROFILE)
    assert [leg.location_id for leg in decision.legs] == [3]
    assert {c.location_id: c.fence for c in decision.explanation.candidates} == {1: fence, 3: None}


def test_an_address_that_no_service_reaches_is_no_candidate() -> None:
    [decision] = decide([request((7, 1), postal_code="00000")], {7: {1: 9}}, network(NEAR_1), PROFILE)
    assert decision.refused
    assert decision.stopped_by_fences
    assert decision.explanation.candidates[0].fence is Fence.NO_SERVICE


def test_capacity_is_used_up_within_a_batch() -> None:
    facts = network(location(1, 40.1, daily_capacity=2), FAR_3)
    used = {(1, date(2026, 3, 2)): (1, 1)}
    decisions = decide([request((7, 1)), request((7, 1))], {7: {1: 9, 3: 9}}, facts, PROFILE, used)
    assert [decision.legs[0].location_id for decision in decisions] == [1, 3]


def test_a_buffer_is_not_touched() -> None:
    [decision] = decide([request((7, 3), buffers={1: 3})], {7: {1: 5}}, network(NEAR_1), PROFILE)
    assert decision.refused
    assert decision.short == {1: 1}


@pytest.mark.parametrize(
    ("policy", "refused", "short", "dropped"),
    [
        (ShortPolicy.REFUSE, True, {2: 2}, frozenset()),
        (ShortPolicy.BACKORDER, False, {2: 2}, frozenset()),
        (ShortPolicy.DROP, False, {}, frozenset({2})),
    ],
)
def test_the_policy_says_what_becomes_of_what_is_short(
    policy: ShortPolicy, refused: bool, short: dict[int, int], dropped: frozenset[int]
) -> None:
    [decision] = decide([request((7, 1), (8, 3), policy=policy)], {7: {1: 9}, 8: {1: 1}}, network(NEAR_1), PROFILE)
    assert (decision.refused, decision.short, decision.dropped) == (refused, short, dropped)


def test_a_location_that_failed_a_line_is_not_asked_again() -> None:
    needs = (Need(1, 7, 1, 400, True, excluded=(1,)),)
    [decision] = decide([request(needs=needs)], {7: {1: 9, 3: 9}}, network(NEAR_1, FAR_3), PROFILE)
    assert [leg.location_id for leg in decision.legs] == [3]


def test_more_weight_than_one_parcel_carries_goes_as_several() -> None:
    # 30 units of 400 g are 12,000 g: two full parcels of 5,000 g and one of 2,000 g, 500 each
    [decision] = decide([request((7, 30))], {7: {1: 99}}, network(NEAR_1), PROFILE)
    assert decision.legs[0].carrier_cost_minor == 1500


def _random_case(seed: int) -> tuple[list[Request], dict[int, dict[int, int]], NetworkFacts, dict[int, int]]:
    dice = random.Random(seed)
    sites = [
        location(
            n, dice.uniform(25, 42), handling_cost_minor=dice.randint(0, 300), active=dice.random() > 0.1,
            daily_capacity=dice.choice([None, None, 1, 3]),
        )
        for n in range(1, dice.randint(2, 7))
    ]  # fmt: skip
    stock = {sku: {at.location_id: dice.randint(0, 6) for at in sites if dice.random() < 0.7} for sku in range(1, 5)}
    buffers = {at.location_id: dice.choice([0, 0, 1]) for at in sites}
    requests = [
        request(
            *[(dice.randint(1, 4), dice.randint(1, 4)) for _ in range(dice.randint(1, 3))],
            policy=dice.choice(list(ShortPolicy)),
            buffers=buffers,
        )
        for _ in range(dice.randint(1, 8))
    ]
    return requests, stock, network(*sites), buffers


@pytest.mark.parametrize("seed", range(200))
def test_src_1_to_4_hold_for_any_case(seed: int) -> None:
    requests, stock, facts, buffers = _random_case(seed)
    decisions = decide(requests, stock, facts, PROFILE)
    assert decide(requests, stock, facts, PROFILE) == decisions  # SRC-3
    taken: Counter[tuple[int, int]] = Counter()
    for asked, decision in zip(requests, decisions, strict=True):
        given: Counter[int] = Counter()
        for leg in decision.legs:
            assert facts.locations[leg.location_id].active  # SRC-2
            for units in leg.units:
                taken[units.sku_id, leg.location_id] += units.quantity
                given[units.line_no] += units.quantity
        if decision.refused:
            assert not decision.legs
            continue
        for need in asked.needs:  # every unit is given, short or dropped: nothing is lost
            expected = 0 if need.line_no in decision.dropped else need.quantity - decision.short.get(need.line_no, 0)
            assert given[need.line_no] == expected
        single = decision.explanation.best_single_cost_minor
        assert single is None or (decision.explanation.cost_minor or 0) <= single  # SRC-4
    for (sku_id, location_id), quantity in taken.items():  # SRC-1
        assert quantity <= stock[sku_id][location_id] - buffers[location_id]


@pytest.mark.parametrize("seed", range(200, 260))
def test_a_first_decision_is_the_cheapest_of_all_subsets(seed: int) -> None:
    """Held against exhaustive search over which locations ship, units taken in every order of those locations."""
    from itertools import permutations

    requests, stock, facts, buffers = _random_case(seed)
    asked = requests[0]
    [decision] = decide([asked], stock, facts, PROFILE)
    if decision.refused or not decision.legs:
        return
    wanted: Counter[int] = Counter()
    for leg in decision.legs:
        for units in leg.units:
            wanted[units.sku_id] += units.quantity
    sites = [n for n, at in facts.locations.items() if at.active and at.daily_capacity != 0]
    best = None
    for size in range(1, 3):
        for some in combinations(sites, size):
            for order in permutations(some):
                left, cost = Counter(wanted), PROFILE.strategies[0].cost.split_minor * (size - 1)
                for n in order:
                    here = {s: min(u, max(0, stock[s].get(n, 0) - buffers[n])) for s, u in left.items()}
                    left -= Counter(here)
                    if grams := 400 * sum(here.values()):
                        cost += (
                            facts.quotes(n, "US", "10001", grams)[0].cost_minor + facts.locations[n].handling_cost_minor
                        )
                if not +left:
                    best = cost if best is None else min(best, cost)
    if best is not None:
        assert (decision.explanation.cost_minor or 0) <= best


@pytest.mark.parametrize("most", [None, 30])
@pytest.mark.parametrize("partial", [Partial.NEXT, Partial.TAKE])
def test_many_locations_that_have_as_little_give_it_together(most: int | None, partial: Partial) -> None:
    """Twenty stores have one unit each: of a unit fewer than there are, none is missing."""
    facts = network(*(location(n, 40 + n / 100) for n in range(1, 21)))
    profile = Profile("p", strategies=(Strategy("s", most_locations=most, partial=partial),))
    asked = request((7, 19), buffers=dict.fromkeys(range(1, 21), 0))
    [decision] = decide([asked], {7: dict.fromkeys(range(1, 21), 1)}, facts, profile)
    assert not decision.refused
    assert sorted(leg.location_id for leg in decision.legs) == list(range(1, 20))


def test_a_limit_of_locations_is_kept_by_those_that_have_the_most_where_the_cheapest_are_too_many() -> None:
    # nine cheap ones have a unit each; 6 units from at most three locations come from the dear ones, which have two
    sites = [location(n, 40.1, handling_cost_minor=0 if n < 10 else 5000) for n in range(1, 15)]
    stock = {location.location_id: 1 if location.location_id < 10 else 2 for location in sites}
    strategy = Strategy("s", most_locations=3, partial=Partial.TAKE)
    asked = request((7, 6), buffers=dict.fromkeys(stock, 0))
    [decision] = decide([asked], {7: stock}, network(*sites), Profile("p", strategies=(strategy,)))
    assert not decision.refused
    assert [sum(leg.given().values()) for leg in decision.legs] == [2, 2, 2]
