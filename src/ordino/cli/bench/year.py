"""A simulated year: what reevaluation and look-ahead save against going to the nearest, and against rules alone.

100 locations (10 distribution centers, 90 stores) of real coordinates where there are some, 50 SKUs, 25 orders a day with a season
and regional tastes, replenished every week to what is usually sold. All policies see the same orders, one after the other as they
come; what cannot be filled waits for nothing and is lost, at ``MISSED_MINOR`` a unit. The year is decided in-process.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.cli.bench.figure import Figure, make
from ordino.cli.bench.geography import Geography, geography
from ordino.cli.bench.scale import Bench, Scale
from ordino.sourcing.decide import decide
from ordino.sourcing.exact import exact
from ordino.sourcing.look_ahead import prices
from ordino.sourcing.model import Decision, Need, Outlook, Request, ShortPolicy
from ordino.sourcing.plans import Plan
from ordino.sourcing.profile import Cost, Fences, Profile, Ranked, Rating, Strategy

LOCATIONS, CENTERS, SKUS = 100, 10, 50
WEEK = 7
MISSED_MINOR = 3000
BEGIN = datetime(2025, 1, 6, 18, tzinfo=UTC)
Stock = dict[int, dict[int, int]]

CENTERS_ONLY = Fences(location_types=frozenset({"distribution_center"}))
CENTERS_FIRST = Ranked(Rating.LOCATION_TYPE, ("distribution_center", "store"))
NEAREST = Profile("nearest", strategies=(Strategy("nearest", ranked=(Ranked(Rating.DISTANCE),)),))
RULES = Profile(
    "rules",
    strategies=(
        Strategy("centers", fences=CENTERS_ONLY, ranked=(Ranked(Rating.DISTANCE),), most_locations=1),
        Strategy("stores", ranked=(CENTERS_FIRST, Ranked(Rating.DISTANCE))),
    ),
)  # fmt: skip
LEAST_COST = Profile("least_cost")
LOOK_AHEAD = Profile("look_ahead", strategies=(Strategy("cheapest", cost=Cost(last_units=1.0)),))


class Policy(Struct, frozen=True):
    """``reevaluates``: a day's orders are decided together at its end, before they are released."""

    name: str
    profile: Profile
    reevaluates: bool = False


POLICIES = (
    Policy("nearest, order by order", NEAREST),
    Policy("rules: centers first, then stores, nearest first", RULES),
    Policy("least cost, order by order", LEAST_COST),
    Policy("least cost with look-ahead", LOOK_AHEAD),
    Policy("least cost, reevaluated daily", LEAST_COST, True),
    Policy("least cost with look-ahead, reevaluated daily", LOOK_AHEAD, True),
)


class Year(Struct):
    """What a policy came to. ``cost_minor`` is carrier, handling and splits; ``total_minor`` adds what was missed."""

    policy: str
    orders: int = 0
    cost_minor: int = 0
    packages: int = 0
    splits: int = 0
    missed_units: int = 0
    seconds: float = 0

    @property
    def total_minor(self) -> int:
        return self.cost_minor + MISSED_MINOR * self.missed_units


class _World:
    """The orders of a year, the same for all policies."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.geo: Geography = geography(LOCATIONS, centers=CENTERS, seed=7)
        dice = random.Random("year")
        self.zips = dice.sample(self.geo.zips, 200)
        self.popular = [1 / (n + 3) for n in range(SKUS)]
        self.taste = {code[:1]: dice.sample(self.popular, SKUS) for code in self.zips}
        self.days = [self._day(day, random.Random(f"day {day}")) for day in range(scale.year_days)]
        self.usual = self._usual()
        sizes = [sum(need.quantity for need in request.needs) for day in self.days for request in day]
        self.shared = sum(sizes) / len(sizes)  # so many units share a package

    def _day(self, day: int, dice: random.Random) -> list[Request]:
        season = 1 + 0.35 * math.sin(2 * math.pi * (day - 250) / 364) + (0.8 if 320 <= day < 350 else 0)
        found = []
        for n in range(round(self.scale.year_orders_a_day * season)):
            code = dice.choice(self.zips)
            weights = [a + b for a, b in zip(self.popular, self.taste[code[:1]], strict=True)]
            skus = sorted(set(dice.choices(range(1, SKUS + 1), weights, k=dice.choice((1, 1, 2, 3)))))
            needs = tuple(
                Need(k, s, dice.choice((1, 1, 1, 2)), 200 + 37 * s % 2500, True) for k, s in enumerate(skus, 1)
            )
            at = BEGIN + timedelta(days=day)
            found.append(
                Request(UUID(int=day * 100_000 + n), self.geo.serving, "US", code, at, needs, ShortPolicy.BACKORDER)
            )
        return found

    def _usual(self) -> dict[tuple[int, str], float]:
        """(SKU, first digit of the postal code) -> units a week, over the year."""
        units: dict[tuple[int, str], float] = defaultdict(float)
        for day in self.days:
            for request in day:
                for need in request.needs:
                    units[need.sku_id, request.postal_code[:1]] += need.quantity / (self.scale.year_days / WEEK)
        return units

    def levels(self) -> dict[tuple[int, int], int]:
        """(SKU, location) -> what it is replenished to: a region's usual week, half of it shared among its stores."""
        regions: dict[str, list[int]] = defaultdict(list)
        for n, location in self.geo.facts.locations.items():
            regions[location.postal_code[:1]].append(n)
        dice = random.Random("levels")
        levels: dict[tuple[int, int], int] = defaultdict(int)
        for (sku, region), weekly in self.usual.items():
            stores = [n for n in regions[region] if n not in self.geo.centers]
            for n in dice.sample(stores, min(len(stores), 3)):
                levels[sku, n] += max(1, round(0.5 * weekly / 3))
            center = self.geo.centers[(sku + int(region)) % CENTERS]
            levels[sku, center] += math.ceil(0.5 * weekly)
        return levels


def _outlook(world: _World, stock: Stock, week: int, ahead_days: int) -> Outlook:
    """What the last units are worth until the next delivery, by the usual week of each region and the season; worked out daily."""
    season = 1 + 0.35 * math.sin(2 * math.pi * (week * WEEK - 250) / 364) + (0.8 if 320 <= week * WEEK < 350 else 0)
    centre = {code[:1]: code for code in sorted(world.zips)}
    found: dict[tuple[int, int], int] = {}
    facts = world.geo.facts
    for sku, places in stock.items():
        demand = {region: world.usual.get((sku, region), 0.0) * season * ahead_days / WEEK for region in centre}
        costs = {}
        grams = 200 + 37 * sku % 2500
        for n in places:
            for region, code in centre.items():
                quotes = facts.destination("US", code)[n].quotes(grams)
                if quotes:
                    cost = quotes[0].cost_minor + facts.locations[n].handling_cost_minor
                    costs[n, region] = round(cost / world.shared)
        for n, price in prices(places, demand, costs, MISSED_MINOR).items():
            if price:
                found[sku, n] = price
    return Outlook({}, found)


def live(world: _World, policy: Policy, said: Callable[[str], None] = lambda _: None) -> Year:
    """One policy's year."""
    year, started = Year(policy.name), time.perf_counter()
    levels = world.levels()
    stock: Stock = defaultdict(dict)
    outlook = Outlook()
    for day, orders in enumerate(world.days):
        if day % WEEK == 0:
            for (sku, n), level in levels.items():
                stock[sku][n] = max(stock[sku].get(n, 0), level)
        if policy.profile.looks_ahead:
            outlook = _outlook(world, stock, day // WEEK, WEEK - day % WEEK)
        decisions = _day(world, policy, orders, stock, outlook)
        for request, decision in zip(orders, decisions, strict=True):
            _count(year, request, decision, stock)
    year.seconds = time.perf_counter() - started
    said(f"{policy.name}: {year.total_minor / year.orders:,.0f}")
    return year


def _day(world: _World, policy: Policy, orders: Sequence[Request], stock: Stock, outlook: Outlook) -> list[Decision]:
    facts = world.geo.facts
    decisions = decide(orders, stock, facts, policy.profile, outlook=outlook, exchange=False)
    if not policy.reevaluates:
        return decisions
    plans: dict[int, Plan] = {
        number: {leg.location_id: leg.given() for leg in decision.legs}
        for number, decision in enumerate(decisions)
        if decision.legs
    }
    return exact(orders, stock, facts, policy.profile, outlook=outlook, seconds=0.5, current=plans).decisions


def _count(year: Year, request: Request, decision: Decision, stock: Stock) -> None:
    year.orders += 1
    year.packages += len(decision.legs)
    year.splits += len(decision.legs) > 1
    year.missed_units += sum(decision.short.values())
    year.cost_minor += sum(leg.carrier_cost_minor + leg.handling_cost_minor for leg in decision.legs)
    year.cost_minor += 200 * max(0, len(decision.legs) - 1)
    for leg in decision.legs:
        for units in leg.units:
            stock[units.sku_id][leg.location_id] -= units.quantity
            assert stock[units.sku_id][leg.location_id] >= 0, "nothing is sold twice"


async def measure(bench: Bench) -> list[Figure]:
    """One figure: orders decided a second, with the table of all policies in the conditions."""
    world = _World(bench.scale)
    years = [live(world, policy) for policy in POLICIES]
    nearest = years[0].total_minor
    rows = [
        {
            "policy": year.policy,
            "cost_per_order_minor": round(year.cost_minor / year.orders, 1),
            "missed_units": year.missed_units,
            "packages_per_order": round(year.packages / year.orders, 3),
            "total_per_order_minor": round(year.total_minor / year.orders, 1),
            "saved_percent": round(100 * (1 - year.total_minor / nearest), 2),
            "seconds": round(year.seconds, 1),
        }
        for year in years
    ]
    conditions = {
        "geography": world.geo.source,
        "orders": years[0].orders,
        "missed_minor_a_unit": MISSED_MINOR,
        "table": rows,
    }
    total = sum(year.orders for year in years)
    return [make("year", [total / sum(year.seconds for year in years)], "orders/s", [], conditions)]
