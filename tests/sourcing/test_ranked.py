"""Ranked strategies: of the fewest locations the best ranked ones, or strictly in rank order. Held against every plan there is."""

from __future__ import annotations

import random
from itertools import combinations
from time import process_time

import pytest

from ordino.network.facts import NetworkFacts
from ordino.sourcing.decide import decide
from ordino.sourcing.exact import exact
from ordino.sourcing.left import Cover
from ordino.sourcing.model import Decision, Need, Request, ShortPolicy
from ordino.sourcing.plans import Plan, fill, largest_first
from ordino.sourcing.profile import Fallback, Fences, Keep, Partial, Profile, Ranked, Rating, Strategy
from ordino.sourcing.ranked import fewest, first_units, in_rank_order
from ordino.sourcing.why import why
from paper import FAR_3, NEAR_1, NEAR_2, location, network, request

PRIORITY = (Ranked(Rating.PRIORITY),)
DISTANCE = (Ranked(Rating.DISTANCE),)
THREE = network(location(1, 40.1, priority=1), location(2, 40.2, priority=2), location(3, 40.3, priority=3))
AUSTIN = location(1, 30.2672, code="Austin", longitude=-97.7431)
LOS_ANGELES = location(2, 34.0522, code="Los Angeles", longitude=-118.2437)
KYIV = location(3, 50.4501, code="Kyiv", longitude=30.5234)


def ranked(*by: Ranked, strict: bool = False, **more: object) -> Profile:
    return Profile("test", strategies=(Strategy("s", ranked=by, in_rank_order=strict, **more),))  # type: ignore[arg-type]


def given(decision: Decision) -> dict[int, int]:
    found: dict[int, int] = {}
    for leg in decision.legs:
        found[leg.location_id] = sum(leg.given().values())
    return found


def decided(asked: Request, stock: dict[int, dict[int, int]], by: Profile, facts: NetworkFacts = THREE) -> Decision:
    [decision] = decide([asked], stock, facts, by)
    return decision


# -- the fewest locations, and of those the best ranked ----------------------------------------------------------------------


def test_of_as_many_locations_the_best_ranked_ones_give_and_the_better_one_gives_more() -> None:
    stock = {7: {1: 4, 2: 4, 3: 5}}
    assert given(decided(request((7, 6)), stock, ranked(*PRIORITY))) == {1: 4, 2: 2}
    # 9 units take 4 + 5 or 4 + 4 + 1: two locations are fewer, and of those the best is among them
    assert given(decided(request((7, 9)), stock, ranked(*PRIORITY))) == {1: 4, 3: 5}
    assert given(decided(request((7, 13)), stock, ranked(*PRIORITY))) == {1: 4, 2: 4, 3: 5}


def test_the_nearest_locations_win_over_the_one_that_has_the_most() -> None:
    facts = network(AUSTIN, LOS_ANGELES, KYIV)
    facts = NetworkFacts(facts.locations, {1: _everywhere()}, {}, {}, {("US", "10001"): (30.27, -97.74)})
    stock = {7: {1: 5, 2: 5, 3: 9}}
    asked = request((7, 10))
    assert given(decided(asked, stock, ranked(*DISTANCE), facts)) == {1: 5, 2: 5}
    assert given(decided(request((7, 9)), stock, ranked(*DISTANCE), facts)) == {3: 9}
    assert given(decided(request((7, 9)), stock, ranked(*DISTANCE, strict=True), facts)) == {1: 5, 2: 4}


def _everywhere() -> object:
    import msgspec

    from paper import FAR, GROUND

    return msgspec.structs.replace(GROUND, zones=(msgspec.structs.replace(FAR, up_to_km=20_100),))


def test_equal_ratings_are_decided_by_the_key_of_the_location() -> None:
    facts = network(location(1, 40.1), location(2, 40.1), location(3, 40.1))
    assert given(decided(request((7, 6)), {7: {3: 4, 2: 4, 1: 4}}, ranked(*PRIORITY), facts)) == {1: 4, 2: 2}


def test_locations_are_ranked_by_what_a_unit_costs_there() -> None:
    # of 8 units L1 has 1: 300 + 100; L2 and L3 have 4: 500 + 100 = 150 a unit, and 500 + 180 = 170 a unit
    facts = network(NEAR_1, NEAR_2, location(3, 40.3, handling_cost_minor=180))
    stock = {7: {1: 1, 2: 4, 3: 4}}
    assert given(decided(request((7, 8)), stock, ranked(Ranked(Rating.COST)), facts)) == {2: 4, 3: 4}
    assert given(decided(request((7, 5)), stock, ranked(Ranked(Rating.COST)), facts)) == {2: 4, 3: 1}


# -- strictly in rank order --------------------------------------------------------------------------------------------------


def test_in_rank_order_the_best_gives_all_that_it_has_even_where_another_has_everything() -> None:
    strict = ranked(*PRIORITY, strict=True)
    stock = {7: {1: 1, 2: 2, 3: 9}}
    assert given(decided(request((7, 6)), stock, strict)) == {1: 1, 2: 2, 3: 3}
    assert given(decided(request((7, 6)), stock, ranked(*PRIORITY))) == {3: 6}


def test_in_rank_order_is_what_a_chain_of_strategies_of_one_location_gives() -> None:
    chain = Profile(
        "chain",
        strategies=tuple(
            Strategy(f"s{n}", fences=Fences(locations=frozenset({f"L{n}"})), partial=Partial.TAKE) for n in (1, 2, 3)
        ),
    )
    for seed in range(200):
        dice = random.Random(seed)
        stock = {sku: {n: dice.randint(0, 4) for n in (1, 2, 3)} for sku in (7, 8)}
        asked = request((7, dice.randint(1, 9)), (8, dice.randint(1, 9)), policy=ShortPolicy.BACKORDER)
        mine = decided(asked, stock, ranked(*PRIORITY, strict=True))
        assert {leg.location_id: leg.given() for leg in mine.legs} == {
            leg.location_id: leg.given() for leg in decided(asked, stock, chain).legs
        }


def test_a_limit_of_locations_holds_in_rank_order_too() -> None:
    stock = {7: {1: 1, 2: 2, 3: 9}}
    two = ranked(*PRIORITY, strict=True, most_locations=2)
    backordered = decided(request((7, 6), policy=ShortPolicy.BACKORDER), stock, two)
    assert (given(backordered), backordered.short) == ({1: 1, 2: 2}, {1: 3})
    assert given(decided(request((7, 3)), stock, two)) == {1: 1, 2: 2}
    one = ranked(*PRIORITY, strict=True, most_locations=1)
    assert given(decided(request((7, 3), policy=ShortPolicy.BACKORDER), stock, one)) == {1: 1}
    # in as few as possible, the one that has everything needs no split
    assert given(decided(request((7, 6)), stock, ranked(*PRIORITY, most_locations=2))) == {3: 6}


@pytest.mark.parametrize("strict", [False, True])
def test_fences_kits_groups_and_days_hold_when_ranks_decide(strict: bool) -> None:
    by = ranked(*PRIORITY, strict=strict)
    # the best ranked one has room for two units on its day
    facts = network(
        location(1, 40.1, priority=1, daily_unit_capacity=2),
        location(2, 40.2, priority=2),
        location(3, 40.3, priority=3),
    )
    assert given(decided(request((7, 6)), {7: {1: 9, 2: 4, 3: 0}}, by, facts)) == {1: 2, 2: 4}
    # a closed one gives nothing
    assert given(decided(request((7, 6), closed={1: 1}), {7: {1: 9, 2: 4, 3: 4}}, by)) == {2: 4, 3: 2}
    # kits: two of component 5 each; the first location can make one of them
    kits = (Need(1, 9, 3, 400, parts=((5, 2),)),)
    assert given(decided(request(needs=kits), {5: {1: 3, 2: 2, 3: 2}}, by)) == {1: 1, 2: 1, 3: 1}
    # a group comes from one location: not from the best one, which has a part of it only
    grouped = (Need(1, 7, 2, 400, group="g"), Need(2, 8, 2, 400, group="g"))
    together = ranked(*PRIORITY, strict=strict, keep=frozenset({Keep.GROUPS}))
    stock = {7: {1: 2, 2: 2, 3: 2}, 8: {1: 1, 2: 2, 3: 2}}
    assert given(decided(request(needs=grouped), stock, together)) == {2: 4}


# -- against every plan there is ---------------------------------------------------------------------------------------------


def _best(target: Cover, sources: list[tuple[int, Cover]], most: int | None) -> Plan | None:
    """By trying every set of locations: the fewest; of those, the first in rank order."""
    for count in range(1, min(len(sources), most or len(sources)) + 1):
        for some in combinations(sources, count):  # in lexicographic order of the ranks
            if (plan := fill(target, some)) is not None:
                return plan
    return None


def _any(seed: int) -> tuple[Cover, list[tuple[int, Cover]], int | None]:
    dice = random.Random(seed)
    target = {sku: dice.randint(1, 9) for sku in range(dice.randint(1, 4))}
    sources = []
    for n in dice.sample(range(1, 20), dice.randint(1, 9)):
        cover = {s: min(units, dice.randint(1, 6)) for s, units in target.items() if dice.random() < 0.7}
        if cover:
            sources.append((n, cover))
    return target, sources, dice.choice([None, None, 1, 2, 3])


@pytest.mark.parametrize("begin", range(0, 3000, 100))
def test_src_7_ranked_the_fewest_locations_win_and_of_those_the_best_ranked(begin: int) -> None:
    for seed in range(begin, begin + 100):
        target, sources, most = _any(seed)
        assert fewest(target, sources, most) == _best(target, sources, most), seed


@pytest.mark.parametrize("begin", range(0, 1000, 100))
def test_src_7_in_rank_order_nobody_gives_what_a_better_ranked_one_still_has(begin: int) -> None:
    for seed in range(begin, begin + 100):
        target, sources, most = _any(seed)
        plan = in_rank_order(target, sources, None)
        total = {s: sum(cover.get(s, 0) for _, cover in sources) for s in target}
        assert (plan is not None) == all(total[s] >= units for s, units in target.items())
        some = first_units(target, sources, most)
        if some:
            part = in_rank_order(some, sources, most)
            assert part is not None  # what can be had is had
            plan = plan or part
        if plan is None:
            continue
        for place, (_, cover) in enumerate(sources):
            for later, _ in sources[place + 1 :]:
                for sku_id in plan.get(later, {}):
                    assert plan.get(sources[place][0], {}).get(sku_id, 0) == cover.get(sku_id, 0)


@pytest.mark.parametrize("begin", range(0, 600, 50))
def test_what_is_decided_is_the_best_plan_under_both_rules(begin: int) -> None:
    for seed in range(begin, begin + 50):
        dice = random.Random(seed)
        sites = [location(n, dice.uniform(39, 41), priority=dice.randint(0, 2)) for n in range(1, dice.randint(3, 7))]
        stock = {sku: {at.location_id: dice.randint(0, 4) for at in sites} for sku in (7, 8)}
        asked = request(
            (7, dice.randint(1, 8)), (8, dice.randint(1, 8)), policy=ShortPolicy.BACKORDER,
            buffers={at.location_id: 0 for at in sites},
        )  # fmt: skip
        order = sorted(sites, key=lambda at: (at.priority, at.location_id))
        wanted = {need.sku_id: need.quantity for need in asked.needs}
        sources = []
        for at in order:
            cover = {s: min(u, stock[s][at.location_id]) for s, u in wanted.items() if stock[s][at.location_id]}
            if cover:
                sources.append((at.location_id, cover))
        had = {s: min(u, sum(cover.get(s, 0) for _, cover in sources)) for s, u in wanted.items()}
        had = {s: u for s, u in had.items() if u}
        cut = [(n, {s: min(u, had[s]) for s, u in cover.items()}) for n, cover in sources]
        for strict in (False, True):
            decision = decided(asked, stock, ranked(*PRIORITY, strict=strict), network(*sites))
            plan = {leg.location_id: leg.given() for leg in decision.legs}
            assert plan == ((fill(had, cut) if strict else _best(had, cut, None)) or {})


def test_a_search_that_takes_too_long_ends_with_a_cover_that_holds() -> None:
    dice = random.Random(1)
    target = dict.fromkeys(range(40), 3)
    sources = [(n, {s: dice.randint(1, 2) for s in target if dice.random() < 0.3}) for n in range(200)]
    plan = fewest(target, sources, None)
    assert plan is not None
    for sku_id, units in target.items():
        assert sum(part.get(sku_id, 0) for part in plan.values()) == units


# -- beside others -----------------------------------------------------------------------------------------------------------


def test_ranks_are_not_traded_for_cost() -> None:
    # as in test_exact: rated by cost, the first order leaves the near unit to the second; where ranks decide, first come is first served
    facts = network(NEAR_1, FAR_3)
    stock = {7: {1: 1, 3: 5}, 8: {1: 1}}
    asked = [request((7, 1)), request((7, 1), (8, 1))]
    by = ranked(*DISTANCE)
    one_by_one = decide(asked, stock, facts, by)
    assert [given(decision) for decision in one_by_one] == [{1: 1}, {1: 1, 3: 1}]
    solved = exact(asked, stock, facts, by)
    assert ([given(decision) for decision in solved.decisions], solved.improved) == ([{1: 1}, {1: 1, 3: 1}], False)


def test_short_units_come_from_the_best_ranked_of_those_that_give_as_many() -> None:
    stock = {7: {1: 2, 2: 3, 3: 3}}
    by = Profile(
        "test", strategies=(Strategy("s", ranked=(Ranked(Rating.LOCATION, ("L3", "L2")),), most_locations=1),),
        fallback=Fallback.MOST_UNITS,
    )  # fmt: skip
    assert given(decided(request((7, 9), policy=ShortPolicy.BACKORDER), stock, by)) == {3: 3}


def test_why_tells_that_ranks_decided() -> None:
    stock = {7: {1: 1, 2: 2, 3: 9}}
    told = decided(request((7, 6)), stock, ranked(*PRIORITY, strict=True)).explanation
    said = why(told, THREE, {7: "seven"}, "USD")
    assert (said.ranked_by, said.in_rank_order) == (["priority"], True)
    assert "strictly in rank order (priority)" in said.sentence
    assert "The best single location would have cost 6.00 USD." in said.sentence  # 2,400 g: 500 + 100
    few = decided(request((7, 2)), stock, ranked(*PRIORITY)).explanation
    assert (
        "as few locations as possible, and among those the best-ranked ones (priority)"
        in why(few, THREE, {}, "USD").sentence
    )
    assert next(c for c in why(few, THREE, {}, "USD").candidates if c.location == "L3").sentence.startswith(
        "Not from L3, which the ratings put behind what was chosen"
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_first_cover_is_the_one_that_looks_at_all_locations_every_time(seed: int) -> None:
    dice = random.Random(seed)
    target = {sku: dice.randint(1, 9) for sku in range(dice.randint(1, 5))}
    covers = {n: {s: dice.randint(0, 4) for s in target if dice.random() < 0.7} for n in dice.sample(range(60), 12)}
    left, plain = dict(target), []
    while True:
        gains = {
            n: sum(min(units, left[s]) for s, units in cover.items()) for n, cover in covers.items() if n not in plain
        }
        best = min(gains, key=lambda n: (-gains[n], n), default=None)
        if best is None or not gains[best]:
            break
        plain.append(best)
        for sku_id, units in covers[best].items():
            left[sku_id] -= min(units, left[sku_id])
    assert [n for n, _ in largest_first(target, covers)] == plain


@pytest.mark.parametrize(
    ("skus", "locations", "share"), [(1, 3000, 1.0), (1, 700, 1.0), (200, 300, 0.05), (200, 300, 0.9)]
)
def test_a_large_order_is_split_among_very_many_locations_in_a_moment(skus: int, locations: int, share: float) -> None:
    dice = random.Random(1)
    sources = [(n, {s: 1 for s in range(skus) if dice.random() < share}) for n in range(locations)]
    had = {s: sum(cover.get(s, 0) for _, cover in sources) for s in range(skus)}
    target = {s: units if skus == 1 else 3 for s, units in had.items()}
    begun = process_time()
    plan = fewest(target, sources, None)
    assert process_time() - begun < 2
    assert plan is not None
    assert all(sum(part.get(s, 0) for part in plan.values()) == units for s, units in target.items())
