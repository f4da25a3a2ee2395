"""Parcels hold whole units: what a plan of several units costs, and where no service takes one of them."""

from __future__ import annotations

import random
from itertools import product

import msgspec
import pytest

from ordino.network.facts import NetworkFacts
from ordino.network.parcels import packed, tidy
from ordino.network.rates import Route, Service, Zone
from ordino.sourcing.decide import decide
from ordino.sourcing.model import Fence, Need, ShortPolicy
from ordino.sourcing.never import Hurdle, never
from ordino.sourcing.profile import Profile, Strategy
from paper import NEAR_1, WEEKDAYS, request

ZONE = Zone("near", 300, 1, (100, 150), (300, 400))
SMALL = Service(1, "small", "C", "Small", "USD", WEEKDAYS, 150, (ZONE,), {})
HEAVY = Zone("near", 300, 1, (30_000, 100_000), (2_000, 9_000))
FREIGHT = Service(2, "freight", "C", "Freight", "USD", WEEKDAYS, 100_000, (HEAVY,), {})
PLAIN = Profile("p", strategies=(Strategy("s"),))


def network(*services: Service) -> NetworkFacts:
    return NetworkFacts({1: NEAR_1}, {s.service_id: s for s in services}, {}, {}, {("US", "10001"): (40.0, -74.0)})


def parcels(units: list[tuple[int, int, int]], grams: int, cubic_mm: int | None = None) -> int | None:
    found = packed(tidy(units), grams, cubic_mm)
    return None if found is None else sum(some.count for some in found)


def test_units_are_not_cut() -> None:
    assert parcels([(100, 0, 4)], 150) == 4
    assert parcels([(200, 0, 2)], 150) is None
    assert parcels([(80_000, 0, 1)], 30_000) is None
    assert parcels([(50, 0, 7)], 150) == 3
    assert parcels([(0, 0, 10**9)], 150) == 1
    assert parcels([(100, 0, 3), (50, 0, 4)], 150) == 4  # 100 + 50 three times, and a 50
    assert parcels([(10, 500, 5)], 1000, 1000) == 3  # by volume, two a parcel


def test_a_route_quotes_whole_units() -> None:
    route = Route(((SMALL, ZONE), (FREIGHT, HEAVY)))
    quotes = {quote.service_id: quote for quote in route.packed(((100, 0, 4),))}
    assert (quotes[1].packages, quotes[1].cost_minor) == (4, 1200)
    assert (quotes[2].packages, quotes[2].cost_minor) == (1, 2000)
    assert [quote.service_id for quote in route.packed(((200, 0, 2),))] == [2]
    assert route.packed(((200_000, 0, 1),)) == ()
    assert [quote.service_id for quote in route.packed(((100, 0, 4),), "standard")] == [1, 2]


def test_a_unit_that_counts_more_than_the_last_rate_has_no_price() -> None:
    # 60,000 cm³ / 5,000 = 12 kg, and the rates of the zone end at 5 kg
    zone = Zone("near", 300, 1, (1000, 5000), (300, 500))
    service = msgspec.structs.replace(SMALL, dimensional_cubic_cm_per_kg=5000, max_grams=30_000)
    route = Route(((service, zone),))
    assert route.packed(((400, 60_000_000, 1),)) == ()
    [quote] = route.packed(((400, 24_000_000, 2),))  # 4.8 kg each: two parcels
    assert (quote.packages, quote.cost_minor) == (2, 1000)


def _fewest(sizes: list[int], most: int) -> int:
    """By trying every way of sharing a few units among parcels."""
    best = len(sizes)
    for places in product(range(len(sizes)), repeat=len(sizes)):
        loads: dict[int, int] = {}
        for place, size in zip(places, sizes, strict=True):
            loads[place] = loads.get(place, 0) + size
        if all(load <= most for load in loads.values()):
            best = min(best, len(loads))
    return best


def _one_by_one(units: list[tuple[int, int]], grams: int, cubic_mm: int) -> list[list[int]]:
    """First-fit decreasing, unit by unit: the plain form."""
    bins: list[list[int]] = []
    for weight, volume in sorted(units, reverse=True):
        for held in bins:
            if held[0] + weight <= grams and held[1] + volume <= cubic_mm:
                held[0] += weight
                held[1] += volume
                break
        else:
            bins.append([weight, volume])
    return bins


@pytest.mark.parametrize("begin", range(0, 400, 50))
def test_kinds_are_packed_as_units_one_by_one_would_be(begin: int) -> None:
    for seed in range(begin, begin + 50):
        dice = random.Random(seed)
        kinds = [(dice.randint(1, 60), dice.randint(0, 60), dice.randint(1, 12)) for _ in range(dice.randint(1, 5))]
        found = packed(tidy(kinds), 60, 90)
        assert found is not None
        mine = [[some.grams, some.cubic_mm] for some in found for _ in range(some.count)]
        units = [(grams, mm) for grams, mm, count in kinds for _ in range(count)]
        assert sorted(mine) == sorted(_one_by_one(units, 60, 90)), seed


@pytest.mark.parametrize("seed", range(60))
def test_the_bound_of_the_rule_holds_and_equal_units_are_packed_exactly(seed: int) -> None:
    dice = random.Random(seed)
    sizes = [dice.randint(1, 10) for _ in range(dice.randint(1, 6))]
    mine, fewest = parcels([(size, 0, 1) for size in sizes], 10), _fewest(sizes, 10)
    assert mine is not None
    assert fewest <= mine <= 11 / 9 * fewest + 6 / 9
    alike = [sizes[0]] * len(sizes)
    assert parcels([(sizes[0], 0, len(sizes))], 10) == _fewest(alike, 10)


# -- what is decided -----------------------------------------------------------------------------------------------------------


def test_a_decision_costs_whole_parcels() -> None:
    facts = network(SMALL)
    [decision] = decide([request(needs=(Need(1, 7, 4, 100),))], {7: {1: 9}}, facts, PLAIN)
    assert (decision.legs[0].packages, decision.explanation.terms["carrier"]) == (4, 1200)
    mixed = (Need(1, 7, 3, 100), Need(2, 8, 4, 50))
    [decision] = decide([request(needs=mixed)], {7: {1: 9}, 8: {1: 9}}, facts, PLAIN)
    assert (decision.legs[0].packages, decision.explanation.terms["carrier"]) == (4, 3 * 400 + 300)


def test_a_unit_that_is_too_heavy_has_no_service_whatever_else_goes_with_it() -> None:
    facts = network(SMALL)
    needs = (Need(1, 7, 2, 200), Need(2, 8, 1, 100))
    [decision] = decide([request(needs=needs)], {7: {1: 9}, 8: {1: 9}}, facts, PLAIN)
    assert decision.refused
    only = request(needs=needs[:1], buffers={1: 0})
    [decision] = decide([only], {7: {1: 9}}, facts, PLAIN)
    assert decision.explanation.candidates[0].fence is Fence.TOO_LARGE
    assert never(only, facts, PLAIN)[1].hurdle is Hurdle.WEIGHT
    # the other service takes them: it is chosen though the first one would be cheaper a gram
    [decision] = decide([request(needs=needs)], {7: {1: 9}, 8: {1: 9}}, network(SMALL, FREIGHT), PLAIN)
    assert (decision.legs[0].service_id, decision.legs[0].packages) == (2, 1)


def test_what_no_single_service_takes_together_goes_one_after_the_other() -> None:
    heavy = msgspec.structs.replace(FREIGHT, max_cubic_cm=1_000)
    bulky = msgspec.structs.replace(FREIGHT, service_id=3, code="bulky", max_grams=30_000, max_cubic_cm=100_000)
    needs = (
        Need(1, 7, 1, 90_000, True, cubic_mm=500_000),
        Need(2, 8, 2, 5_000, True, cubic_mm=50_000_000),
        Need(3, 9, 1, 100, True),
    )
    stock = {7: {1: 9}, 8: {1: 9}, 9: {1: 9}}
    asked = request(needs=needs, policy=ShortPolicy.BACKORDER, buffers={1: 0})
    facts = network(heavy, bulky)
    assert never(asked, facts, PLAIN) == {}
    [first] = decide([asked], stock, facts, PLAIN)
    assert (first.legs[0].service_id, first.legs[0].given(), dict(first.short)) == (3, {8: 2, 9: 1}, {1: 1})
    rest = msgspec.structs.replace(asked, needs=needs[:1])
    [second] = decide([rest], stock, facts, PLAIN)
    assert (second.legs[0].service_id, second.legs[0].given(), dict(second.short)) == (2, {7: 1}, {})


def test_the_units_of_a_kit_are_its_components() -> None:
    facts = network(SMALL)
    told = Need(1, 9, 1, 200, parts=((7, 1), (8, 1)), contents=((150, 0, 1), (50, 0, 1)), sku="set")
    [decision] = decide([request(needs=(told,))], {7: {1: 9}, 8: {1: 9}}, facts, PLAIN)
    assert (decision.legs[0].packages, decision.explanation.terms["carrier"]) == (2, 700)
    # nobody says what they weigh: 100 g each
    untold = Need(1, 9, 1, 200, parts=((7, 1), (8, 1)))
    [decision] = decide([request(needs=(untold,))], {7: {1: 9}, 8: {1: 9}}, facts, PLAIN)
    assert (decision.legs[0].packages, decision.explanation.terms["carrier"]) == (2, 600)
    # one component is too heavy for every service
    heavy = Need(1, 9, 1, 250, parts=((7, 1), (8, 1)), contents=((200, 0, 1), (50, 0, 1)), sku="set")
    asked = request(needs=(heavy,), buffers={1: 0})
    assert decide([asked], {7: {1: 9}, 8: {1: 9}}, facts, PLAIN)[0].refused
    assert "one of its components weighs 200 g, and no carrier service" in never(asked, facts, PLAIN)[1].detail


def test_packages_are_priced_one_by_one() -> None:
    facts = network(SMALL)
    assert facts.price(1, "US", "10001", 1, [100, 100]) == 600  # 200 g together would be 400 + 300
    assert facts.price(1, "US", "10001", 1, [150, 50]) == 700
    assert facts.price(1, "US", "10001", 1, [200]) == 700  # it has left: a full one and a rest
    assert facts.price(1, "US", "10001", 2, [100]) is None
