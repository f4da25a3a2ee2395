"""Any orders, any network, any profile, by a seed; and what must hold of any decision about them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.catalog.kits import Parts
from ordino.network.facts import NetworkFacts
from ordino.sourcing.condition import CelCondition
from ordino.sourcing.model import Decision, Need, Outlook, Request, ShortPolicy
from ordino.sourcing.profile import Cost, Fallback, Fences, Keep, Partial, Profile, Ranked, Rating, Strategy
from paper import GROUND, NEAR, location, request

EXPRESS = msgspec.structs.replace(
    GROUND, service_id=2, code="express", level="express", carbon_grams_per_kg_km=0.5,
    zones=(msgspec.structs.replace(NEAR, up_to_km=900, costs=(800, 1100)),),
)  # fmt: skip
MEASURED = msgspec.structs.replace(GROUND, dimensional_cubic_cm_per_kg=5000, max_cubic_cm=40_000)
PLACES = {("US", "10001"): (40.0, -74.0), ("US", "90001"): (20.0, -74.0)}
ADDRESSES = ("10001", "10001", "90001", "55555")
LATER = datetime(2026, 3, 4, 1, 0, tzinfo=UTC)
KIT, PARTS = 9, ((1, 1), (2, 2))


class Case(Struct, frozen=True):
    requests: list[Request]
    stock: dict[int, dict[int, int]]
    facts: NetworkFacts
    profile: Profile
    outlook: Outlook


def anything(seed: int, *, orders: int = 6) -> Case:
    """Small, so that everything is scarce: stock, days, services, places that may take part."""
    dice = random.Random(seed)
    sites = [
        location(
            n, dice.uniform(25, 42), handling_cost_minor=dice.randint(0, 300),
            handling_line_cost_minor=dice.choice([0, 30]), handling_unit_cost_minor=dice.choice([0, 20]),
            type=dice.choice(["store", "warehouse"]), country=dice.choice(["US", "US", "CA"]),
            tags=frozenset(dice.sample(["outlet", "eco"], dice.randint(0, 2))), active=dice.random() > 0.1,
            daily_capacity=dice.choice([None, None, 1, 3]), daily_unit_capacity=dice.choice([None, None, 4, 9]),
            handles=dice.choice([frozenset(), frozenset({"cold"})]), serves_prefixes=dice.choice([(), (), ("1",)]),
        )
        for n in range(1, dice.randint(3, 8))
    ]  # fmt: skip
    services = dice.choice([{1: GROUND}, {1: GROUND, 2: EXPRESS}, {1: MEASURED, 2: EXPRESS}])
    facts = NetworkFacts({at.location_id: at for at in sites}, services, {}, {}, PLACES)
    stock = {sku: {at.location_id: dice.randint(0, 6) for at in sites if dice.random() < 0.8} for sku in range(1, 5)}
    profile = Profile(
        "any", strategies=tuple(_strategy(dice, f"s{n}") for n in range(dice.randint(1, 3))),
        fallback=dice.choice(list(Fallback)), backlog_days=dice.choice([0, 0, 2]),
    )  # fmt: skip
    outlook = Outlook(
        {(s, n): dice.uniform(0.1, 3) for s in stock for n in stock[s]},
        {(s, n): dice.randint(0, 400) for s in stock for n in stock[s]},
    )
    buffers = {at.location_id: dice.choice([0, 0, 0, 1]) for at in sites if dice.random() < 0.9} or {1: 0}
    return Case([_request(dice, n, buffers) for n in range(1, dice.randint(2, orders))], stock, facts, profile, outlook)


def _strategy(dice: random.Random, name: str) -> Strategy:
    fences = Fences(
        location_types=dice.choice([frozenset(), frozenset(), frozenset({"store"}), frozenset({"warehouse", "3pl"})]),
        no_tag=dice.choice([frozenset(), frozenset({"outlet"})]),
        within_km=dice.choice([None, None, 900.0]),
        same_country=dice.random() < 0.2,
        stock_left=dice.choice([0, 0, 1]),
        capacity_left=dice.choice([None, None, 1]),
        keeps_promise=dice.random() < 0.2,
    )
    ratings: tuple[Any, ...] = (
        (), (), (), (Ranked(Rating.DISTANCE),), (Ranked(Rating.MOST_STOCK), Ranked(Rating.COST)),
        (Ranked(Rating.CAPACITY_LEFT), Ranked(Rating.ARRIVAL)), (Ranked(Rating.WEEKS_OF_SUPPLY),),
    )  # fmt: skip
    cost = Cost(
        carrier=dice.random() > 0.1,
        handling=dice.random() > 0.1,
        split_minor=dice.choice([0, 200]),
        capacity_minor=dice.choice([0, 300]),
        capacity_from=dice.choice([0.0, 0.5, 1.0]),
        overstock_minor=dice.choice([0, 100]),
        overstock_weeks=dice.choice([0, 2]),
        stock_out_minor=dice.choice([0, 100]),
        last_units=dice.choice([0.0, 1.0]),
        late_minor=dice.choice([0, 100]),
        carbon_minor=dice.choice([0, 100]),
    )
    return Strategy(
        name,
        dice.choice([None, None, CelCondition("order.units > 3")]),
        fences,
        dice.choice(ratings),
        cost,
        dice.choice([None, None, 1, 2]),
        frozenset(dice.sample(list(Keep), dice.choice([0, 0, 1, 2]))),
        dice.choice(list(Partial)),
    )


def _request(dice: random.Random, number: int, buffers: dict[int, int]) -> Request:
    needs = []
    for line_no in range(1, dice.randint(2, 5)):
        sku = dice.choice([1, 2, 3, 4, KIT])
        parts: Parts = PARTS if sku == KIT else ()
        needs.append(
            Need(
                line_no, sku, dice.randint(1, 4), 400 * (1 + 2 * (sku == KIT)), dice.random() > 0.2,
                excluded=(dice.choice(sorted(buffers)),) if dice.random() < 0.1 else (), parts=parts,
                cubic_mm=3_000_000 * sku, classes=("cold",) if sku == 3 else (), group=dice.choice([None, "a"]),
            )
        )  # fmt: skip
    held = {(1, dice.choice(sorted(buffers))): dice.randint(1, 2)} if dice.random() < 0.15 else {}
    return request(
        needs=tuple(needs), policy=dice.choice(list(ShortPolicy)), buffers=buffers, request_id=UUID(int=number),
        postal_code=dice.choice(ADDRESSES), promised_at=dice.choice([None, None, LATER]), held=held,
        service_level=dice.choice([None, None, None, "express", "standard"]),
        closed=frozenset({dice.choice(sorted(buffers))}) if dice.random() < 0.15 else (),
    )  # fmt: skip


def holds(case: Case, decisions: Sequence[Decision]) -> None:
    """Every unit is accounted for, nothing is used that is not there, and no fence that always stands is broken."""
    facts, taken = case.facts, Counter[tuple[int, int]]()
    orders, units = Counter[tuple[int, date]](), Counter[tuple[int, date]]()
    held = Counter[tuple[int, int]]()
    for asked, decision in zip(case.requests, decisions, strict=True):
        assert decision.request_id == asked.request_id
        needs = {need.line_no: need for need in asked.needs}
        given = Counter[int]()
        assert len({leg.location_id for leg in decision.legs}) == len(decision.legs)
        for leg in decision.legs:
            n = leg.location_id
            _may_send(asked, n, facts)
            assert asked.service_level in (None, facts.services[leg.service_id].level)
            orders[n, leg.ship_on] += 1
            for part in leg.units:
                need = needs[part.line_no]
                assert part.quantity > 0
                assert n not in need.excluded
                assert facts.locations[n].handles.issuperset(need.classes)
                for sku, each in need.parts or ((need.sku_id, 1),):
                    taken[sku, n] += part.quantity * each
                units[n, leg.ship_on] += part.quantity
                given[part.line_no] += part.quantity
        for need in asked.needs:
            lost = decision.refused or need.line_no in decision.dropped
            assert given[need.line_no] == (0 if lost else need.quantity - decision.short.get(need.line_no, 0))
        if not decision.refused:
            held.update(asked.held)
        if decision.legs:
            assert decision.explanation.cost_minor == sum(decision.explanation.terms.values())
    for (sku, n), quantity in taken.items():
        withheld = case.requests[0].network.buffers[n]
        assert quantity <= max(case.stock.get(sku, {}).get(n, 0) - withheld, 0) + held[sku, n]
    for (n, day), count in orders.items():
        assert count <= (facts.order_limit(n, day) or 10**9)
        assert units[n, day] <= (facts.unit_limit(n, day) or 10**9)


def _may_send(asked: Request, n: int, facts: NetworkFacts) -> None:
    at = facts.locations[n]
    assert at.active
    assert n in asked.network.buffers
    assert n not in asked.closed
    assert asked.country in at.serves_countries
    assert not at.serves_prefixes or asked.postal_code.startswith(at.serves_prefixes)
