"""What a route quotes by steps of weight is what its rates say, worked out directly."""

from __future__ import annotations

from bisect import bisect_left
from datetime import time
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from ordino.network.facts import Location, NetworkFacts
from ordino.network.rates import Quote, Route, Service, Zone

WEEKDAYS = frozenset({1, 2, 3, 4, 5})
limits = st.lists(st.integers(1, 9000), min_size=1, max_size=4, unique=True).map(sorted)


@st.composite
def ways(draw: st.DrawFn) -> tuple[tuple[Service, Zone], ...]:
    found = []
    for service_id in range(1, draw(st.integers(1, 4)) + 1):
        up_to = tuple(draw(limits))
        costs = tuple(draw(st.integers(0, 2000)) for _ in up_to)
        zone = Zone("z", 100, draw(st.integers(0, 5)), up_to, costs)
        most = draw(st.integers(1, 12_000))
        found.append((Service(service_id, f"s{service_id}", "C", "S", "USD", WEEKDAYS, most, (zone,), {}), zone))
    return tuple(found)


def straight(way: tuple[Service, Zone], grams: int) -> Quote:
    """Parcels as heavy as may be, one after the other, each at the rate of the first limit that it does not exceed."""
    service, zone = way
    heaviest = min(service.max_grams, zone.limits[-1])
    cost, left, parcels = 0, grams, 0
    while True:
        parcels += 1
        parcel = min(left, heaviest)
        cost += zone.costs[bisect_left(zone.limits, parcel)]
        left -= parcel
        if left <= 0:
            return Quote(service.service_id, zone.zone, cost, zone.transit_days, parcels)


@given(ways(), st.lists(st.integers(0, 40_000), min_size=1, max_size=20))
def test_steps_quote_what_the_rates_say(found: tuple[tuple[Service, Zone], ...], weights: list[int]) -> None:
    route = Route(found)
    edges = [limit + more for _, zone in found for limit in zone.limits for more in (-1, 0, 1)]
    for grams in [*weights, *edges]:
        quotes = [straight(way, grams) for way in found]
        quotes.sort(key=lambda quote: (quote.cost_minor, quote.transit_days, quote.service_id))
        assert list(route.quotes(grams)) == quotes, grams


def test_addresses_that_are_served_alike_share_a_route() -> None:
    near, far = Zone("near", 50, 1, (1000,), (300,)), Zone("far", 9000, 3, (1000,), (700,))
    ground = Service(1, "ground", "C", "Ground", "USD", WEEKDAYS, 5000, (near, far), {})
    here = Location(
        1, "L1", "", "warehouse", "US", "10001", 40.0, -74.0, ZoneInfo("America/New_York"),
        WEEKDAYS, time(16, 0), None, 100, frozenset({"US"}), True,
    )  # fmt: skip
    places = {("US", "10001"): (40.0, -74.0), ("US", "10002"): (40.1, -74.0), ("US", "90001"): (20.0, -74.0)}
    facts = NetworkFacts({1: here}, {1: ground}, {}, {}, places)
    route = facts.destination("US", "10001")[1]
    assert facts.destination("US", "10002")[1] is route
    assert facts.destination("US", "90001")[1] is not route
