"""What shipping costs: locations with their handling costs, carrier services with their rates, and all that follows from these."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from fractions import Fraction
from typing import Any, TypeVar

from msgspec.structs import replace

from ordino.core.money import converted
from ordino.network.facts.model import Location
from ordino.network.facts.places import Addresses, Places, PostalCodes
from ordino.network.rates import Service, heaviest, largest

Found = TypeVar("Found")
Exchanged = Mapping[str, Fraction | None]
"""Currency -> what one whole unit of it is worth in another one; None: nobody knows."""
NOT_EXCHANGED: Exchanged = {}
PRICED = 64
"""So many currencies and days are kept in memory."""
REMEMBERED = 1024
"""So many answers of later stages are kept in memory."""
HANDLING = ("handling_cost_minor", "handling_line_cost_minor", "handling_unit_cost_minor")


class Tariff:
    """Locations and carrier services, as they stand or with all costs in one currency. It remembers its answers, for one thread."""

    def __init__(
        self,
        locations: Mapping[int, Location],
        services: Mapping[int, Service],
        *,
        exchanged: Exchanged = NOT_EXCHANGED,
        unpriced: frozenset[int] = frozenset(),
    ) -> None:
        self.locations = locations
        self.services = services
        self.exchanged = exchanged
        """Of one that was converted: by which rates."""
        self.unpriced = unpriced
        """Of such a one: the locations whose handling costs nobody can convert."""
        self.places = Places(locations, list(services.values()))
        self.location_ids = {location.code: location.location_id for location in locations.values()}
        self.binned = frozenset(n for n, location in locations.items() if location.bins)
        self.limited = frozenset(
            n
            for n, location in locations.items()
            if location.daily_capacity is not None or location.daily_unit_capacity is not None
        )
        self.levels = frozenset(service.level for service in services.values())
        self.currencies = frozenset(service.currency for service in services.values()) | {
            at.currency for at in locations.values() if at.currency is not None and at.handles_at_cost
        }
        """The currencies in which something costs."""
        self.handling = {n: location.handling_cost_minor for n, location in locations.items()}
        self.handles_by_unit = frozenset(
            n for n, at in locations.items() if at.handling_line_cost_minor or at.handling_unit_cost_minor
        )
        self.least_handling_minor = min((at.handling_cost_minor for at in locations.values()), default=0)
        self.least_rate_minor = min((z.costs[0] for s in services.values() for z in s.zones), default=0)
        self.measures = any(service.measures for service in services.values())
        ways = [(s, zone) for s in services.values() for zone in (*s.zones, *s.lanes.values())]
        self.light_grams = min((heaviest(*way) for way in ways), default=0)
        """A unit of up to this weight goes with every service."""
        self.small_cubic_cm = min((most for way in ways if (most := largest(*way)) is not None), default=None)
        """A unit of up to this volume goes with every service; None: any volume does."""
        self._forget()

    def _forget(self) -> None:
        """Nothing has been asked yet."""
        self._addresses: Addresses | None = None
        self._serving: dict[str, frozenset[int]] = {}
        self._converted: dict[tuple[str, tuple[tuple[str, Fraction | None], ...]], Tariff] = {}
        self.remembered: dict[Any, tuple[object, Any]] = {}

    def apart(self) -> Tariff:
        """The same for another thread: what it remembers is its own."""
        tariff = copy(self)
        tariff.places = self.places.apart()
        tariff._forget()
        return tariff

    def addresses(self, postal_codes: PostalCodes) -> Addresses:
        """Routes to addresses, with what is known of them as long as nobody asks with other postal codes."""
        if self._addresses is None or self._addresses.postal_codes is not postal_codes:
            self._addresses = Addresses(self.places, self.locations, postal_codes)
        return self._addresses

    def remember(self, key: tuple[Hashable, ...], of: object, find: Callable[[], Found]) -> Found:
        """What later stages find out about locations and services, kept as long as these stand. ``of`` is the object whose ``id``
        is in ``key``: an answer that was found for another object is found anew.
        """
        kept = self.remembered.get(key)
        if kept is None or kept[0] is not of:
            if len(self.remembered) >= REMEMBERED:
                self.remembered.clear()
            kept = self.remembered[key] = (of, find())
        found: Found = kept[1]
        return found

    def serving_country(self, country: str) -> frozenset[int]:
        """The active locations that ship anywhere in a country."""
        found = self._serving.get(country)
        if found is None:
            found = self._serving[country] = frozenset(
                n
                for n, location in self.locations.items()
                if location.active
                and country in location.serves_countries
                and not location.serves_prefixes
                and n not in self.unpriced
            )
        return found

    def in_currency(self, currency: str, rates: tuple[tuple[str, Fraction | None], ...]) -> Tariff:
        """The same with all costs in minor units of one currency: each rate of a zone and each handling cost, rounded half to even.
        Services whose currency nobody can convert reach nothing.
        """
        found = self._converted.get((currency, rates))
        if found is None:
            if len(self._converted) >= PRICED:
                self._converted.clear()
            found = self._converted[currency, rates] = self._convert(currency, dict(rates))
        return found

    def _convert(self, currency: str, rates: Exchanged) -> Tariff:
        worth = {currency: Fraction(1), **rates}
        unpriced = frozenset(
            n
            for n, location in self.locations.items()
            if location.handles_at_cost and location.currency is not None and worth[location.currency] is None
        )
        locations = dict(self.locations)
        for n, location in self.locations.items():
            rate = worth.get(location.currency or currency)
            if location.currency in (None, currency) or rate is None:
                continue
            costs = {name: converted(getattr(location, name), rate, location.currency, currency) for name in HANDLING}
            locations[n] = replace(location, currency=currency, **costs)
        services = {
            n: service.priced_in(currency, rate)
            for n, service in self.services.items()
            if (rate := worth[service.currency]) is not None
        }
        tariff = Tariff(locations, services, exchanged=rates, unpriced=unpriced)
        tariff.services = {
            **self.services,
            **services,
        }  # what a service is called and when it works, nobody has to pay for
        return tariff
