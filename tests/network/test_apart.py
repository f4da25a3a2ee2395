"""Threads that think about a network remember by themselves: nobody is told what was found for somebody else."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from time import sleep
from zoneinfo import ZoneInfo

import pytest
from holidays import country_holidays

from ordino.network.facts import Location, NetworkFacts
from ordino.network.facts.calendar import days_off, is_holiday
from ordino.network.facts.tariff import REMEMBERED
from ordino.network.rates import Service, Zone

WEEKDAYS = frozenset({1, 2, 3, 4, 5})
SERVICES = 41  # with two zones each: more combinations than fit into one number
MONDAY = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)
THREADS = 6


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def network() -> NetworkFacts:
    def service(n: int) -> Service:
        zones = (Zone("near", 40.0 * n, 1, (1000,), (100 + n,)), Zone("far", 400.0 * n, 3, (1000,), (200 + n,)))
        return Service(n, f"s{n}", "C", "S", "USD", WEEKDAYS, 5000, zones, {}, holidays="US")

    def location(n: int) -> Location:
        return Location(
            n, f"L{n}", "", "warehouse", "US", "10001", 40.0, -74.0 - 2 * n, ZoneInfo("America/New_York"),
            WEEKDAYS, time(10, 0), None, 100, frozenset({"US"}), True, holidays="US",
        )  # fmt: skip

    places = {("US", f"{n:05}"): (40.0, -74.0 - n / 4) for n in range(200)}
    return NetworkFacts(
        {n: location(n) for n in range(1, 9)}, {n: service(n) for n in range(1, SERVICES + 1)}, {}, {}, places
    )


def asked(network: NetworkFacts, seed: int, months: int) -> list[object]:
    """Addresses, dates and cut-offs of some months, in an order of its own."""
    dice, told = random.Random(seed), []
    for _ in range(40):
        n, at = dice.randint(1, 8), MONDAY + timedelta(days=30 * months + dice.randint(0, 60))
        route = network.destination("US", f"{dice.randint(0, 199):05}")[n]
        ways = [(service.service_id, zone.zone) for service, zone in route.ways]
        told.append((network.cut_off_at(n, at), network.ship_by(n, at), network.arrives_at(n, 1, at, 2), ways))
    return told


class Slow(list[bytes]):
    """A list to which nothing is added before another thread has had its turn."""

    def append(self, one: bytes) -> None:
        sleep(0.0005)
        super().append(one)


def slowed(network: NetworkFacts) -> NetworkFacts:
    if not isinstance(network.places._zones, Slow):
        network.places._zones = Slow()
    return network


def in_threads(owned: Callable[[], NetworkFacts]) -> list[bool]:
    """Whether each thread, and the one that waits for them, was told what is told to somebody who asks alone."""
    right = [asked(network(), seed, seed % 3) for seed in range(THREADS + 1)]
    with ThreadPoolExecutor(THREADS) as threads:
        others = [threads.submit(asked, slowed(owned()), seed, seed % 3) for seed in range(1, THREADS + 1)]
        mine = asked(slowed(owned()), 0, 0)
        return [found == wanted for found, wanted in zip([mine, *(one.result() for one in others)], right, strict=True)]


def test_threads_with_memos_of_their_own_are_told_what_is_so() -> None:
    shared = network()
    assert all(in_threads(shared.apart))


def test_threads_that_share_memos_are_told_what_is_not_so() -> None:
    shared = network()
    with contextlib.suppress(IndexError, KeyError):
        assert not all(in_threads(lambda: shared))


def test_facts_that_are_apart_share_nothing_that_changes() -> None:
    shared = network()
    apart = shared.apart()
    before = asked(shared, 1, 0)
    assert all((shared.calendar.left, shared.calendar.arrived, shared.places.routes))
    assert not any((apart.calendar.left, apart.calendar.arrived, apart.places.routes))
    assert asked(apart, 1, 0) == before
    priced, own = shared.priced_in("USD", MONDAY), apart.priced_in("USD", MONDAY)
    assert (priced, own) == (shared, apart)  # nothing to convert: themselves, not each other
    remembered = [facts.remember(("x", 1), shared, object) for facts in (shared, apart)]
    assert remembered[0] is not remembered[1]
    assert shared.remember(("x", 1), shared, object) is remembered[0]
    assert shared.remember(("x", 1), apart, object) is not remembered[0]  # of another object


def test_a_year_of_holidays_is_there_as_a_whole_or_not_at_all() -> None:
    calendar = country_holidays("US", years=range(2019, 2031))
    for year in range(2020, 2030):
        every = {date(year, 1, 1) + timedelta(days=n) for n in range(366)}
        off = {day for day in every if is_holiday("US", day)}
        assert off == {day for day in every if day in calendar}
        assert isinstance(days_off("US", year), frozenset)


def test_what_is_remembered_is_bounded() -> None:
    shared = network()
    for n in range(3 * REMEMBERED):
        shared.remember(("x", n), shared, object)
    assert len(shared.tariff.remembered) <= REMEMBERED
