"""Cut-offs, holidays, processing, carrier pickups and store pickup, each worked by hand on a calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ordino.network import model
from ordino.network.facts import Location, NetworkFacts
from ordino.network.rates import Route, Service, Zone

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = frozenset({1, 2, 3, 4, 5})
ZONE = Zone("z", 9000, 2, (1000, 10_000), (500, 900))
GROUND = Service(1, "ground", "C", "Ground", "USD", WEEKDAYS, 10_000, (ZONE,), {}, holidays="US")
PLAIN = Location(
    1, "L1", "", "warehouse", "US", "10001", 40.1, -74.0, NEW_YORK, WEEKDAYS, time(16, 0), None, 100, frozenset({"US"}), True,
)  # fmt: skip


def network(pickups: Any = None, days: Any = None, service: Service = GROUND, **changes: Any) -> NetworkFacts:
    location = msgspec.structs.replace(PLAIN, **changes)
    return NetworkFacts({1: location}, {1: service}, {}, {}, {}, (), pickups or {}, days or {})


def local(year: int, month: int, day: int, hour: int = 16, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


WEDNESDAY = local(2026, 11, 25, 17)  # the day before Thanksgiving, after the cut-off


def test_nothing_leaves_on_a_holiday_that_is_kept() -> None:
    assert network().ship_by(1, WEDNESDAY) == local(2026, 11, 26, 20)  # who keeps none works on Thanksgiving
    assert network(holidays="US").ship_by(1, WEDNESDAY) == local(2026, 11, 27, 20)  # Friday
    assert network(holidays="US").ship_by(1, local(2026, 12, 24, 17)) == local(
        2026, 12, 28, 20
    )  # Christmas is a Friday


def test_parcels_do_not_move_on_the_services_holidays() -> None:
    # leaves Wednesday; Thanksgiving does not count: Friday is the first day, Monday the second
    assert network().arrives_at(1, 1, local(2026, 11, 25), 2) == local(2026, 11, 30, 20)
    free = msgspec.structs.replace(GROUND, holidays=None)
    assert network(service=free).arrives_at(1, 1, local(2026, 11, 25), 2) == local(2026, 11, 27, 20)


def test_processing_takes_whole_working_days() -> None:
    friday = local(2026, 3, 6, 12)
    assert network(processing_days=0).ship_by(1, friday) == local(2026, 3, 6, 20)
    assert network(processing_days=2).ship_by(1, friday) == local(2026, 3, 10, 20)  # Monday, Tuesday
    assert network(processing_days=1).ship_by(1, friday, None, 1) == local(2026, 3, 10, 20)  # and a day of backlog


def test_what_a_carrier_collects_leaves_at_its_pickups() -> None:
    facts = network(pickups={(1, 1): [(frozenset({2, 5}), time(11, 0))]})
    # Monday noon: ready by Monday's cut-off, collected on Tuesday at 11
    assert facts.ship_by(1, local(2026, 3, 2, 12), 1) == local(2026, 3, 3, 11)
    # Tuesday 9:00 is ready by the cut-off at 16, too late for 11: Friday
    assert facts.ship_by(1, local(2026, 3, 3, 9), 1) == local(2026, 3, 6, 11)
    # another service, and the day of capacity, have the whole day
    assert facts.ship_by(1, local(2026, 3, 3, 9), 2) == local(2026, 3, 3, 20)
    assert facts.ship_by(1, local(2026, 3, 3, 9)) == local(2026, 3, 3, 20)


def test_nobody_collects_on_the_carriers_holidays_or_where_nobody_works() -> None:
    daily = {(1, 1): [(frozenset({1, 2, 3, 4, 5, 6, 7}), time(9, 0))]}
    # ready Wednesday at 16:00; Thanksgiving is the carrier's holiday: Friday at 9
    assert network(pickups=daily).ship_by(1, local(2026, 11, 25, 12), 1) == local(2026, 11, 27, 9)
    # ready on Friday at 16:00; nobody hands over parcels on a weekend: Monday at 9
    assert network(pickups=daily).ship_by(1, local(2026, 3, 6, 10), 1) == local(2026, 3, 9, 9)


def test_what_leaves_until_the_evening_is_in_time_and_arrives_no_later() -> None:
    monday = local(2026, 3, 2, 12)
    assert network(ships_until=time(22, 30)).ship_by(1, monday) == local(2026, 3, 2, 22, 30)
    assert network(ships_until=time(16)).ship_by(1, monday) == local(2026, 3, 2, 16)
    late = network(cut_off=time(21), ships_until=time(20))  # as a location was before it said so
    assert late.ship_by(1, monday) == local(2026, 3, 2, 21)
    for until in (time(16), time(20), time(23, 59)):
        facts = network(ships_until=until)
        assert facts.arrives_at(1, 1, facts.ship_by(1, monday), 2) == local(2026, 3, 4, 20)
        assert facts.ready_at(1, monday) == facts.cut_off_at(1, monday) == local(2026, 3, 2, 16)
        assert facts.cut_off_of_day(1, facts.ship_by(1, monday)) == local(2026, 3, 2, 16)
    daily = network(pickups={(1, 1): [(frozenset({1, 2, 3, 4, 5}), time(18, 0))]})
    assert daily.ready_at(1, monday, 1) == daily.ship_by(1, monday, 1) == local(2026, 3, 2, 18)


@pytest.mark.parametrize(("until", "refused"), [("13:59", True), ("14:00", False), (None, False)])
def test_nothing_stops_leaving_before_the_cut_off(until: str | None, refused: bool) -> None:
    place = model.Location(
        code="l", name="L", type=model.LocationType.STORE, country="US", postal_code="10001", latitude=1, longitude=1,
        timezone="America/New_York", cut_off="14:00", ships_until=until,
    )  # fmt: skip
    fault = model.location_fault(place)
    assert (fault is not None) == refused
    assert fault is None or (fault.pointer, "14:00" in fault.detail) == ("/ships_until", True)


def test_answers_are_the_same_in_any_order_of_asking() -> None:
    instants = [local(2026, 11, day, hour) for day in range(20, 31) for hour in (1, 9, 15, 17, 23)]
    changes: dict[str, Any] = {"holidays": "US", "processing_days": 1}
    fresh = [network(**changes).ship_by(1, at) for at in instants]
    once = network(**changes)
    assert [once.ship_by(1, at) for at in reversed(instants)] == fresh[::-1]
    assert [once.ship_by(1, at) for at in instants] == fresh


@pytest.mark.parametrize(
    ("at", "ready"),
    [
        (local(2026, 3, 2, 10), local(2026, 3, 2, 12)),  # Monday 10:00, two hours
        (local(2026, 3, 2, 7), local(2026, 3, 2, 11)),  # before opening at 9
        (local(2026, 3, 2, 19), local(2026, 3, 3, 11)),  # too late for today: closes at 20
        (local(2026, 3, 6, 19), local(2026, 3, 9, 11)),  # Friday evening: Monday
    ],
)
def test_a_pickup_is_ready_within_opening_hours(at: datetime, ready: datetime) -> None:
    assert network(pickup=True).pickup_ready_at(1, at) == ready


def test_a_day_may_have_a_capacity_of_its_own() -> None:
    facts = network(daily_capacity=10, days={(1, date(2026, 12, 24)): (3, None)})
    assert facts.order_limit(1, date(2026, 12, 23)) == 10
    assert facts.order_limit(1, date(2026, 12, 24)) == 3
    assert facts.unit_limit(1, date(2026, 12, 24)) is None
    assert facts.limited == {1}
    assert network(days={(1, date(2026, 12, 24)): (3, None)}).limited == {1}


def test_a_light_but_large_parcel_counts_by_its_volume() -> None:
    route = Route(((msgspec.structs.replace(GROUND, dimensional_cubic_cm_per_kg=5000), ZONE),))
    # 800 g, 40 x 30 x 20 cm = 24,000 cm³: 24,000 / 5,000 = 4.8 kg
    assert route.quotes(800, 24_000)[0].cost_minor == 900
    assert route.quotes(800, 4_999)[0].cost_minor == 500  # 1 kg at most
    assert route.quotes(800)[0].cost_minor == 500


def test_more_than_one_parcel_measures_goes_as_equal_ones() -> None:
    route = Route(((msgspec.structs.replace(GROUND, max_cubic_cm=50_000), ZONE),))
    # 120,000 cm³ are three parcels of 2,400 g / 3 = 800 g each
    [quote] = route.quotes(2400, 120_000)
    assert (quote.packages, quote.cost_minor) == (3, 1500)
    assert route.quotes(2400, 50_000)[0].packages == 1


def test_a_level_filters_services() -> None:
    express = msgspec.structs.replace(GROUND, service_id=2, level="express")
    route = Route(((GROUND, ZONE), (express, msgspec.structs.replace(ZONE, costs=(100, 100)))))
    assert [quote.service_id for quote in route.quotes(500)] == [2, 1]
    assert [quote.service_id for quote in route.quotes(500, 0, "standard")] == [1]
    assert route.quotes(500, 0, "overnight") == ()


def test_carbon_follows_weight_and_distance() -> None:
    facts = network(service=msgspec.structs.replace(GROUND, carbon_grams_per_kg_km=0.1))
    assert facts.carbon_grams(1, 500.0, 2000) == 100  # 0.1 x 500 km x 2 kg


def test_lanes_win_over_distance_the_longest_prefixes_first() -> None:
    near, far, lane, exact = (
        Zone(name, km, 1, (1000,), (1,)) for name, km in (("n", 100), ("f", 9000), ("l", None), ("x", None))
    )
    lanes = {("100", "902"): lane, ("10001", "90210"): exact, ("", "33"): far}
    service = Service(1, "s", "C", "S", "USD", WEEKDAYS, 1000, (near, far, lane, exact), lanes)
    places = {("US", code): (40.2, -74.0) for code in ("90210", "90299", "33101", "10002")}
    facts = NetworkFacts({1: PLAIN}, {1: service}, {}, {}, places)
    found = {code: facts.destination("US", code)[1].ways[0][1].zone for code in ("90210", "90299", "33101", "10002")}
    assert found == {"90210": "x", "90299": "l", "33101": "f", "10002": "n"}
    assert facts.destination("US", "10002").km(1) == pytest.approx(11.1, abs=0.1)
    assert facts.destination("US", "00000").km(1) is None


def test_any_number_of_services_has_its_zones() -> None:
    """More of them than one number could tell apart."""
    zones = tuple(Zone(f"z{n}", 100.0 * n, 1, (1000,), (n,)) for n in range(1, 60))
    services = {k: Service(k, f"s{k}", "C", "S", "USD", WEEKDAYS, 1000, zones, {}) for k in range(1, 20)}
    facts = NetworkFacts({1: PLAIN}, services, {}, {}, {("US", "x"): (42.0, -74.0), ("US", "y"): (40.2, -74.0)})
    far = facts.destination("US", "x")[1]
    assert [(service.service_id, zone.zone) for service, zone in far.ways] == [(k, "z3") for k in services]  # 211 km
    assert {zone.zone for _, zone in facts.destination("US", "y")[1].ways} == {"z1"}
    assert facts.destination("US", "nowhere")[1].ways == ()


@pytest.mark.parametrize(
    ("zone", "cut_off", "begin"),
    [
        ("Asia/Beirut", time(23, 59), datetime(2026, 10, 24, 19, tzinfo=UTC)),  # 23:00 to 24:00 comes twice
        ("Asia/Beirut", time(0, 30), datetime(2026, 3, 28, 20, tzinfo=UTC)),  # 00:00 to 01:00 does not come
        ("America/New_York", time(2, 30), datetime(2026, 3, 8, 5, tzinfo=UTC)),
        ("America/New_York", time(1, 30), datetime(2026, 11, 1, 4, tzinfo=UTC)),
    ],
)
def test_where_clocks_change_nothing_is_due_before_it_is_ordered_and_what_was_asked_before_changes_nothing(
    zone: str, cut_off: time, begin: datetime
) -> None:
    changes = {
        "zone": ZoneInfo(zone),
        "cut_off": cut_off,
        "working_days": frozenset(range(1, 8)),
        "ships_until": cut_off,
    }
    instants = [begin + timedelta(minutes=minute) for minute in range(0, 300, 5)]
    alone = [network(**changes).ship_by(1, at) for at in instants]
    one, other = network(**changes), network(**changes)
    assert [one.ship_by(1, at) for at in instants] == alone
    assert [other.ship_by(1, at) for at in reversed(instants)] == alone[::-1]
    assert all(due >= at for at, due in zip(instants, alone, strict=True))
    assert alone == sorted(alone)
