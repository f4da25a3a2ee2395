"""Strategies, fences, ratings and every term of the cost, each with numbers worked by hand.

The network is that of ``test_decide``: a parcel costs 300 up to 1 kg and 500 up to 5 kg near (1 day), 700 and 1,200 far (3 days);
handling is 100 an order; a unit weighs 400 g; it is Monday noon in New York, and the cut-off is at 16:00.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from anything import anything, holds
from ordino.network.facts import NetworkFacts
from ordino.sourcing.condition import CelCondition
from ordino.sourcing.decide import decide
from ordino.sourcing.model import Decision, Fence, Need, Outlook, Request, ShortPolicy
from ordino.sourcing.profile import (
    Cost,
    Fallback,
    Fences,
    Keep,
    Partial,
    Profile,
    Ranked,
    Rating,
    Strategy,
)
from paper import FAR_3, GROUND, MONDAY_NOON, NEAR_1, NEAR_2, location, network, request

EXPRESS = msgspec.structs.replace(
    GROUND,
    service_id=2,
    code="express",
    level="express",
    zones=tuple(msgspec.structs.replace(z, transit_days=1, costs=tuple(2 * c for c in z.costs)) for z in GROUND.zones),
)
TUESDAY_EVENING = datetime(2026, 3, 4, 1, 0, tzinfo=UTC)  # what leaves near on Monday arrives then


def profile(*strategies: Strategy, **more: Any) -> Profile:
    return Profile("test", strategies=strategies or (Strategy("s"),), **more)


def by(cost: Cost, **more: Any) -> Profile:
    return profile(Strategy("s", cost=cost, **more))


def one(asked: Request, stock: dict[int, dict[int, int]], facts: NetworkFacts, by: Profile, **more: Any) -> Decision:
    [decision] = decide([asked], stock, facts, by, **more)
    return decision


def places(decision: Decision) -> list[int]:
    return sorted(leg.location_id for leg in decision.legs)


def fence_of(decision: Decision, location_id: int) -> Fence | None:
    return next(c.fence for c in decision.explanation.candidates if c.location_id == location_id)


BOTH = {7: {1: 9, 3: 9}}

# -- the terms of the cost ---------------------------------------------------------------------------------------------------


def test_handling_is_by_order_line_and_unit() -> None:
    # 100 + 2 SKUs x 30 + 5 units x 20 = 260; 2,000 g near: 500
    facts = network(location(1, 40.1, handling_line_cost_minor=30, handling_unit_cost_minor=20))
    decision = one(request((7, 2), (8, 3)), {7: {1: 9}, 8: {1: 9}}, facts, profile())
    assert decision.explanation.terms == {"carrier": 500, "handling": 260}
    assert decision.legs[0].handling_cost_minor == 260


def test_terms_can_be_switched_off() -> None:
    facts = network(location(1, 40.1, handling_cost_minor=900), FAR_3)
    # all: 300 + 900 near, 700 + 100 far; without handling, near wins by its rate; without carrier, far by its handling
    assert places(one(request((7, 1)), BOTH, facts, profile())) == [3]
    without_handling = one(request((7, 1)), BOTH, facts, by(Cost(handling=False)))
    assert (places(without_handling), without_handling.explanation.terms) == ([1], {"carrier": 300})
    assert places(one(request((7, 1)), BOTH, facts, by(Cost(carrier=False)))) == [3]


def test_a_split_costs_what_the_profile_says() -> None:
    stock = {7: {1: 1, 3: 1}, 8: {2: 2, 3: 2}}
    facts = network(NEAR_1, NEAR_2, FAR_3)
    # near 1 + near 2: 400 + 400 + split; far alone: 1,200 + 100 = 1,300
    cheap = one(request((7, 1), (8, 2)), stock, facts, by(Cost(split_minor=499)))
    assert (places(cheap), cheap.explanation.cost_minor) == ([1, 2], 1299)
    assert cheap.explanation.terms == {"carrier": 600, "handling": 200, "split": 499}
    assert places(one(request((7, 1), (8, 2)), stock, facts, by(Cost(split_minor=501)))) == [3]


@pytest.mark.parametrize(
    ("used", "pressure"),
    [
        (7, 0),
        (8, 200),
        (9, 400),
    ],  # the 8th place: 0.8 is where it begins; the 9th: 400 x (0.9 - 0.8) / 0.2; the last: all
)
def test_capacity_pressure_rises_to_the_last_place(used: int, pressure: int) -> None:
    facts = network(location(1, 40.1, daily_capacity=10))
    decision = one(
        request((7, 1)),
        {7: {1: 9}},
        facts,
        by(Cost(capacity_minor=400)),
        capacity={(1, date(2026, 3, 2)): (used, used)},
    )
    assert decision.explanation.terms.get("capacity", 0) == pressure


def test_a_location_under_pressure_loses_to_a_dearer_one() -> None:
    facts = network(location(1, 40.1, daily_capacity=10), FAR_3)
    busy = {(1, date(2026, 3, 2)): (9, 9)}
    # near 400 + 401 of pressure, far 800
    assert places(one(request((7, 1)), BOTH, facts, by(Cost(capacity_minor=401)), capacity=busy)) == [3]
    assert places(one(request((7, 1)), BOTH, facts, by(Cost(capacity_minor=399)), capacity=busy)) == [1]


def test_stock_out_risk_grows_as_weeks_of_supply_fall() -> None:
    # 3 units, 1 a week; 1 of them goes: 2 weeks are left of the 4 that are safe: half of 300
    facts = network(NEAR_1)
    outlook = Outlook({(7, 1): 1.0})
    decision = one(request((7, 1)), {7: {1: 3}}, facts, by(Cost(stock_out_minor=300)), outlook=outlook)
    assert decision.explanation.terms["stock_out"] == 150
    # two units go: 1 week is left, a quarter: 225 each
    two = one(request((7, 2)), {7: {1: 3}}, facts, by(Cost(stock_out_minor=300)), outlook=outlook)
    assert two.explanation.terms["stock_out"] == 450
    safe = one(request((7, 1)), {7: {1: 5}}, facts, by(Cost(stock_out_minor=300)), outlook=outlook)
    assert "stock_out" not in safe.explanation.terms


def test_overstock_is_relieved() -> None:
    # 39 units, 1 a week: 13 weeks beyond 26, half of them: half of 500 a unit
    facts = network(NEAR_1, FAR_3)
    cost = Cost(overstock_minor=500, overstock_weeks=26)
    outlook = Outlook({(7, 3): 1.0})
    decision = one(request((7, 2)), {7: {1: 9, 3: 39}}, facts, by(cost), outlook=outlook)
    # far: 700 + 100 - 2 x 250 = 300; near: 300 + 100
    assert (places(decision), decision.explanation.cost_minor) == ([3], 300)
    assert decision.explanation.terms == {"carrier": 700, "handling": 100, "overstock": -500}


def test_lateness_costs_by_the_day_begun() -> None:
    # promised for Monday evening; near arrives on Tuesday 20:00: 1 day late; far on Thursday: 3 days
    asked = request((7, 1), promised_at=TUESDAY_EVENING - timedelta(days=1))
    facts = network(NEAR_1, FAR_3)
    decision = one(asked, BOTH, facts, by(Cost(late_minor=50)))
    assert decision.explanation.terms == {"carrier": 300, "handling": 100, "late": 50}
    assert decision.explanation.promise_kept is False
    [far] = [c for c in decision.explanation.candidates if c.location_id == 3]
    assert far.terms["late"] == 150


def test_carbon_costs_by_the_kilogram() -> None:
    green = msgspec.structs.replace(GROUND, carbon_grams_per_kg_km=10)
    facts = network(NEAR_1)
    facts = NetworkFacts(facts.locations, {1: green}, {}, {}, {("US", "10001"): (40.0, -74.0)})
    decision = one(request((7, 2)), {7: {1: 9}}, facts, by(Cost(carbon_minor=100)))
    # 0.1 degrees of latitude are 11.119 km; 10 g x 11.119 km x 0.8 kg = 89 g; at 100 a kilogram: 9
    assert decision.legs[0].carbon_grams == 89
    assert decision.explanation.terms["carbon"] == 9


def test_last_units_cost_what_they_will_be_missed_for() -> None:
    facts, outlook = network(NEAR_1, FAR_3), Outlook({}, {(7, 1): 300})
    # near 400 + 300 x 1.5 = 850, far 800
    decision = one(request((7, 1)), BOTH, facts, by(Cost(last_units=1.5)), outlook=outlook)
    assert places(decision) == [3]
    [near] = [c for c in decision.explanation.candidates if c.location_id == 1]
    assert near.terms == {"carrier": 300, "handling": 100, "last_units": 450}
    assert places(one(request((7, 1)), BOTH, facts, by(Cost(last_units=1.0)), outlook=outlook)) == [1]


def test_dimensional_weight_counts() -> None:
    large = msgspec.structs.replace(GROUND, dimensional_cubic_cm_per_kg=5000)
    facts = NetworkFacts({1: NEAR_1}, {1: large}, {}, {}, {("US", "10001"): (40.0, -74.0)})
    needs = (Need(1, 7, 1, 400, cubic_mm=24_000_000),)  # 24,000 cm³ are 4.8 kg
    assert one(request(needs=needs), {7: {1: 9}}, facts, profile()).explanation.terms["carrier"] == 500


# -- fences ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fences", "changed", "fence"),
    [
        (Fences(location_types=frozenset({"store"})), {}, Fence.LOCATION_TYPE),
        (Fences(locations=frozenset({"L3"})), {}, Fence.LOCATION),
        (Fences(any_tag=frozenset({"eco"})), {"tags": frozenset({"dry"})}, Fence.TAG),
        (Fences(all_tags=frozenset({"eco", "dry"})), {"tags": frozenset({"dry"})}, Fence.TAG),
        (Fences(no_tag=frozenset({"dry"})), {"tags": frozenset({"dry"})}, Fence.TAG),
        (Fences(within_km=5), {}, Fence.TOO_FAR),
        (Fences(same_country=True), {"country": "CA"}, Fence.COUNTRY),
        (Fences(capacity_left=3), {"daily_capacity": 3}, Fence.NO_CAPACITY),
        (Fences(), {"serves_prefixes": ("2", "101")}, Fence.DOES_NOT_SERVE),
        (Fences(), {"daily_unit_capacity": 0}, Fence.NO_CAPACITY),
    ],
)
def test_every_fence_stops_and_says_so(fences: Fences, changed: dict[str, Any], fence: Fence) -> None:
    facts = network(location(1, 40.1, **changed))
    decision = one(request((7, 1)), {7: {1: 9}}, facts, profile(Strategy("s", fences=fences)))
    assert decision.refused
    assert decision.stopped_by_fences
    assert fence_of(decision, 1) is fence
    assert decision.explanation.stopped == {fence.value: 1}


def test_a_location_keeps_its_last_units() -> None:
    facts = network(NEAR_1, FAR_3)
    last_two = profile(Strategy("s", fences=Fences(stock_left=2)))
    assert places(one(request((7, 1)), {7: {1: 3, 3: 9}}, facts, last_two)) == [1]
    assert places(one(request((7, 2)), {7: {1: 3, 3: 9}}, facts, last_two)) == [3]


def test_goods_go_only_from_who_can_handle_their_class() -> None:
    facts = network(NEAR_1, location(3, 25.0, handles=frozenset({"frozen"})))
    frozen = (Need(1, 7, 1, 400, classes=("frozen",)),)
    decision = one(request(needs=frozen), BOTH, facts, profile())
    assert (places(decision), fence_of(decision, 1)) == ([3], Fence.CANNOT_HANDLE)
    mixed = (*frozen, Need(2, 8, 1, 400))
    both = one(request(needs=mixed), {7: {1: 9, 3: 9}, 8: {1: 9}}, facts, profile())
    assert {leg.location_id: [u.sku_id for u in leg.units] for leg in both.legs} == {1: [8], 3: [7]}


def test_only_what_keeps_the_promise_leaves_where_the_fence_stands() -> None:
    asked = request((7, 1), promised_at=TUESDAY_EVENING)
    hard = profile(Strategy("s", fences=Fences(keeps_promise=True)))
    assert fence_of(one(asked, {7: {3: 9}}, network(FAR_3), hard), 3) is Fence.LATE
    assert places(one(asked, BOTH, network(NEAR_1, FAR_3), hard)) == [1]


def test_a_plan_that_keeps_the_promise_goes_before_a_cheaper_one() -> None:
    facts = network(location(1, 40.1, handling_cost_minor=2000), FAR_3)
    told = one(request((7, 1), promised_at=TUESDAY_EVENING), BOTH, facts, profile())
    assert (places(told), told.explanation.promise_kept) == ([1], True)
    assert places(one(request((7, 1)), BOTH, facts, profile())) == [3]
    late = one(request((7, 1), promised_at=TUESDAY_EVENING), {7: {3: 9}}, facts, profile())
    assert (places(late), late.explanation.promise_kept) == ([3], False)


def test_what_is_there_keeps_the_promise_though_something_else_is_short() -> None:
    near = msgspec.structs.replace(NEAR_1, handling_cost_minor=9000)
    facts = network(near, FAR_3)
    stock = {7: {1: 5, 3: 5}}
    asked = request((7, 1), (8, 1), policy=ShortPolicy.BACKORDER, promised_at=TUESDAY_EVENING)
    decision = one(asked, stock, facts, profile())
    assert (places(decision), decision.explanation.promise_kept) == ([1], True)
    assert places(one(request((7, 1), (8, 1), policy=ShortPolicy.BACKORDER), stock, facts, profile())) == [3]


def test_a_location_that_failed_is_told_as_such() -> None:
    need = Need(1, 7, 1, 400, excluded=(1,))
    decision = one(request(needs=(need,)), BOTH, network(NEAR_1, FAR_3), profile())
    assert (places(decision), fence_of(decision, 1)) == ([3], Fence.REJECTED)


def test_a_faster_service_is_taken_where_it_keeps_the_promise() -> None:
    facts = NetworkFacts({3: FAR_3}, {1: GROUND, 2: EXPRESS}, {}, {}, {("US", "10001"): (40.0, -74.0)})
    asked = request((7, 1), promised_at=TUESDAY_EVENING)
    decision = one(asked, {7: {3: 9}}, facts, profile())
    assert (decision.legs[0].service_id, decision.explanation.promise_kept) == (2, True)
    assert one(request((7, 1)), {7: {3: 9}}, facts, profile()).legs[0].service_id == 1
    chosen = one(request((7, 1), service_level="express"), {7: {3: 9}}, facts, profile())
    assert chosen.legs[0].service_id == 2
    none = one(request((7, 1), service_level="drone"), {7: {3: 9}}, facts, profile())
    assert fence_of(none, 3) is Fence.NO_SERVICE


# -- capacity ----------------------------------------------------------------------------------------------------------------


def test_units_of_a_day_are_used_up_and_the_rest_comes_from_elsewhere() -> None:
    facts = network(location(1, 40.1, daily_unit_capacity=5), FAR_3)
    used = {(1, date(2026, 3, 2)): (1, 2)}
    first, second = decide([request((7, 2)), request((7, 2))], {7: {1: 9, 3: 1}}, facts, profile(), used)
    assert (places(first), places(second)) == ([1], [1, 3])  # 2 + 2 of 5, then 1 of 2


def test_a_later_strategy_takes_more_from_a_location_on_the_day_that_the_order_has_there() -> None:
    facts = network(location(1, 40.1, daily_capacity=1, daily_unit_capacity=5))
    keep_two = Strategy("some", fences=Fences(stock_left=2), partial=Partial.TAKE)
    decision = one(request((7, 4)), {7: {1: 4}}, facts, profile(keep_two, Strategy("all"), backlog_days=2))
    [leg] = decision.legs
    assert (sum(u.quantity for u in leg.units), leg.ship_on) == (4, date(2026, 3, 2))


def test_a_backlog_waits_for_a_day_that_is_not_full() -> None:
    facts = network(location(1, 40.1, daily_capacity=1))
    full = {(1, date(2026, 3, 2)): (1, 1)}
    assert one(request((7, 1)), {7: {1: 9}}, facts, profile(), capacity=full).refused
    decision = one(request((7, 1)), {7: {1: 9}}, facts, profile(backlog_days=2), capacity=full)
    [leg] = decision.legs
    assert leg.ship_on == date(2026, 3, 3)
    assert leg.ship_by_at == datetime(2026, 3, 4, 1, 0, tzinfo=UTC)


# -- strategies --------------------------------------------------------------------------------------------------------------

WAREHOUSES = Fences(location_types=frozenset({"warehouse"}))
STORES = Fences(location_types=frozenset({"store"}))
STORE_1, HOUSE_3 = location(1, 40.1, type="store"), FAR_3


def test_warehouses_go_first_and_stores_follow() -> None:
    facts = network(STORE_1, HOUSE_3)
    both = profile(Strategy("warehouses", fences=WAREHOUSES), Strategy("stores", fences=STORES))
    first = one(request((7, 1)), BOTH, facts, both)
    assert (places(first), first.explanation.strategy) == ([3], "warehouses")
    second = one(request((7, 5)), {7: {1: 9, 3: 2}}, facts, both)
    assert (places(second), second.explanation.strategy) == ([1], "stores")
    assert [(look.strategy, look.gave) for look in second.explanation.looks] == [("warehouses", 2), ("stores", 5)]


def test_a_strategy_may_take_what_it_can_and_leave_the_rest() -> None:
    facts = network(STORE_1, HOUSE_3)
    take = profile(Strategy("warehouses", fences=WAREHOUSES, partial=Partial.TAKE), Strategy("stores", fences=STORES))
    decision = one(request((7, 5)), {7: {1: 9, 3: 2}}, facts, take)
    assert {leg.location_id: leg.units[0].quantity for leg in decision.legs} == {3: 2, 1: 3}
    assert decision.explanation.terms["split"] == 200
    assert not decision.short


@pytest.mark.parametrize(("fallback", "given"), [(Fallback.MOST_UNITS, 4), (Fallback.SHORT, 0)])
def test_the_fallback_says_what_becomes_of_what_nobody_can_fill(fallback: Fallback, given: int) -> None:
    facts = network(STORE_1, HOUSE_3)
    some = profile(Strategy("warehouses", fences=WAREHOUSES), Strategy("stores", fences=STORES), fallback=fallback)
    asked = request((7, 9), policy=ShortPolicy.BACKORDER)
    decision = one(asked, {7: {1: 4, 3: 2}}, facts, some)
    assert decision.short == {1: 9 - given}
    assert sum(u.quantity for leg in decision.legs for u in leg.units) == given


def test_a_condition_chooses_whose_orders_a_strategy_is_for() -> None:
    facts = network(STORE_1, HOUSE_3)
    when = profile(
        Strategy("large", CelCondition("order.units > 3"), fences=WAREHOUSES), Strategy("small", fences=STORES)
    )
    assert places(one(request((7, 4)), BOTH, facts, when)) == [3]
    small = one(request((7, 1)), BOTH, facts, when)
    assert places(small) == [1]
    assert small.explanation.looks[0].passed == "its condition does not hold"


def test_a_condition_that_fails_makes_its_strategy_not_match_and_is_told() -> None:
    failing = profile(
        Strategy("odd", CelCondition("order.total_minor / (order.size - order.units + 1) > 5")),
        Strategy("all", fences=STORES),
    )
    decision = one(request((7, 2)), BOTH, network(STORE_1, HOUSE_3), failing)
    assert places(decision) == [1]
    assert decision.explanation.looks[0].failed
    assert "division by zero" in (decision.explanation.looks[0].passed or "")


def test_an_order_is_never_split_where_the_strategy_says_so() -> None:
    facts = network(NEAR_1, NEAR_2)
    never = profile(Strategy("s", most_locations=1))
    decision = one(request((7, 3), policy=ShortPolicy.BACKORDER), {7: {1: 2, 2: 2}}, facts, never)
    assert (places(decision), decision.short) == ([1], {1: 1})
    assert one(request((7, 3)), {7: {1: 2, 2: 2}}, facts, never).refused


def test_a_split_is_of_at_most_so_many_locations() -> None:
    facts = network(NEAR_1, NEAR_2, FAR_3)
    stock = {7: {1: 1, 2: 1, 3: 1}}
    assert len(one(request((7, 3)), stock, facts, profile()).legs) == 3
    assert one(request((7, 3)), stock, facts, profile(Strategy("s", most_locations=2))).refused
    assert len(one(request((7, 2)), stock, facts, profile(Strategy("s", most_locations=2))).legs) == 2


def test_lines_and_groups_stay_together() -> None:
    facts = network(NEAR_1, NEAR_2, FAR_3)
    lines = profile(Strategy("s", keep=frozenset({Keep.LINES})))
    # 2 + 1 near would be split within the line; far has the line whole
    decision = one(request((7, 3)), {7: {1: 2, 2: 1, 3: 3}}, facts, lines)
    assert places(decision) == [3]
    grouped = (Need(1, 7, 1, 400, group="set"), Need(2, 8, 1, 400, group="set"), Need(3, 9, 1, 400))
    stock = {7: {1: 1, 3: 1}, 8: {2: 1, 3: 1}, 9: {1: 1}}
    together = one(request(needs=grouped), stock, facts, profile(Strategy("s", keep=frozenset({Keep.GROUPS}))))
    assert {leg.location_id: sorted(u.sku_id for u in leg.units) for leg in together.legs} == {3: [7, 8], 1: [9]}
    apart = one(request(needs=grouped), stock, facts, profile())
    assert places(apart) == [1, 2]


def test_kits_of_a_line_stay_together() -> None:
    facts = network(NEAR_1, NEAR_2, FAR_3)
    kits = (Need(1, 70, 2, 900, parts=((7, 2), (8, 1))),)
    stock = {7: {1: 2, 2: 2, 3: 4}, 8: {1: 1, 2: 1, 3: 2}}
    assert places(one(request(needs=kits), stock, facts, by(Cost(split_minor=0)))) == [1, 2]
    kept = by(Cost(split_minor=0), keep=frozenset({Keep.KITS}))
    assert places(one(request(needs=kits), stock, facts, kept)) == [3]


# -- ranked ratings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranked", "chosen"),
    [
        ([Ranked(Rating.DISTANCE)], 1),
        ([Ranked(Rating.COST)], 2),
        ([Ranked(Rating.LOCATION_TYPE, ("3pl", "store")), Ranked(Rating.DISTANCE)], 3),
        ([Ranked(Rating.LOCATION, ("L2", "L1"))], 2),
        ([Ranked(Rating.TAG, ("gold", "silver"))], 3),
        ([Ranked(Rating.PRIORITY)], 2),
        ([Ranked(Rating.MOST_STOCK)], 3),
        ([Ranked(Rating.WEEKS_OF_SUPPLY)], 1),
        ([Ranked(Rating.ARRIVAL), Ranked(Rating.MOST_STOCK)], 2),
        ([Ranked(Rating.CAPACITY_LEFT)], 1),
    ],
)
def test_the_first_rating_that_tells_two_locations_apart_decides(ranked: list[Ranked], chosen: int) -> None:
    facts = network(
        location(1, 40.1, type="store", handling_cost_minor=500, priority=5, tags=frozenset({"silver"})),
        location(2, 40.2, type="store", priority=1, daily_capacity=9),
        location(3, 25.0, type="3pl", priority=5, tags=frozenset({"gold"}), daily_capacity=5),
    )
    outlook = Outlook({(7, 1): 1.0, (7, 2): 5.0, (7, 3): 9.0})
    decision = one(
        request((7, 1)), {7: {1: 5, 2: 8, 3: 9}}, facts, profile(Strategy("s", ranked=tuple(ranked))), outlook=outlook
    )
    assert places(decision) == [chosen]


def test_ranked_locations_split_only_where_nobody_has_everything() -> None:
    facts = network(NEAR_1, NEAR_2, FAR_3)
    nearest = profile(Strategy("s", ranked=(Ranked(Rating.DISTANCE),)))
    assert places(one(request((7, 3)), {7: {1: 2, 2: 2, 3: 3}}, facts, nearest)) == [3]
    split = one(request((7, 4)), {7: {1: 2, 2: 3, 3: 3}}, facts, nearest)
    assert {leg.location_id: leg.units[0].quantity for leg in split.legs} == {1: 2, 2: 2}


# -- for any case ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", range(0, 2000, 10))
def test_src_1_to_6_hold_under_any_profile(begin: int) -> None:
    for seed in range(begin, begin + 10):
        case = anything(seed)
        asked = (case.requests, case.stock, case.facts, case.profile)
        decisions = decide(*asked, outlook=case.outlook)
        assert decide(*asked, outlook=case.outlook) == decisions  # SRC-3
        holds(case, decisions)  # SRC-1, SRC-5
        for request_, decision in zip(case.requests, decisions, strict=True):
            if decision.refused or not decision.legs:
                continue
            told, strategies = decision.explanation, case.profile.strategies
            chosen = next(s for s in strategies if s.name == told.strategy)
            single = told.best_single_cost_minor
            if not chosen.ranked and single is not None and len(decision.legs) > 1:
                assert (told.cost_minor or 0) < single or len(strategies) > 1  # SRC-4
            if len(strategies) == 1:
                _one_strategy_holds(request_, decision, chosen, case.facts)


def _one_strategy_holds(asked: Request, decision: Decision, chosen: Strategy, facts: NetworkFacts) -> None:
    fences = chosen.fences
    for leg in decision.legs:  # SRC-2
        at = facts.locations[leg.location_id]
        assert not fences.location_types or at.type in fences.location_types
        assert not fences.no_tag & at.tags
        km = facts.destination(asked.country, asked.postal_code).km(leg.location_id)
        assert fences.within_km is None or (km is not None and km <= fences.within_km)
    if chosen.most_locations is not None:
        assert len(decision.legs) <= chosen.most_locations
    if Keep.LINES in chosen.keep:  # SRC-6
        for need in asked.needs:
            assert len([leg for leg in decision.legs if any(u.line_no == need.line_no for u in leg.units)]) <= 1
    if Keep.GROUPS in chosen.keep and not decision.dropped:
        grouped = {need.line_no for need in asked.needs if need.group}
        assert len([leg for leg in decision.legs if any(u.line_no in grouped for u in leg.units)]) <= 1


def test_the_clock_of_the_tests_is_monday_noon() -> None:
    assert MONDAY_NOON.isoweekday() == 1
