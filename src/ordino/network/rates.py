"""What parcels cost: carrier services with their zones and rates, and routes, which quote them.

A parcel counts by the larger of its weight and its volume divided by the service's divisor. It weighs no more than the service lets
it, counts no more than the zone has rates for, and measures no more than the service lets it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from ordino.core.money import converted
from ordino.network.parcels import Contents, packed


class Zone(Struct, frozen=True):
    """How far, how long, and what it costs: ``costs[i]`` up to ``limits[i]`` grams."""

    zone: str
    up_to_km: float | None
    transit_days: int
    limits: tuple[int, ...]
    costs: tuple[int, ...]


class Service(Struct, frozen=True):
    """A carrier's service, its zones nearest first, its lanes by (origin prefix, destination prefix)."""

    service_id: int
    code: str
    carrier: str
    name: str
    currency: str
    working_days: frozenset[int]
    max_grams: int
    zones: tuple[Zone, ...]
    lanes: Mapping[tuple[str, str], Zone]
    level: str = "standard"
    holidays: str | None = None
    dimensional_cubic_cm_per_kg: int | None = None
    max_cubic_cm: int | None = None
    carbon_grams_per_kg_km: float = 0

    def priced_in(self, currency: str, rate: Fraction) -> Service:
        """With its rates in another currency, each rounded half to even; ``rate`` is what one whole unit is worth there."""
        if currency == self.currency:
            return self

        def priced(zone: Zone) -> Zone:
            return replace(zone, costs=tuple(converted(cost, rate, self.currency, currency) for cost in zone.costs))

        zones = {id(zone): priced(zone) for zone in (*self.zones, *self.lanes.values())}
        return replace(
            self,
            currency=currency,
            zones=tuple(zones[id(zone)] for zone in self.zones),
            lanes={pair: zones[id(zone)] for pair, zone in self.lanes.items()},
        )

    @property
    def measures(self) -> bool:
        """Whether volume counts."""
        return self.dimensional_cubic_cm_per_kg is not None or self.max_cubic_cm is not None


class Quote(Struct, frozen=True, gc=False):
    """What it would cost to send some weight, in minor units of the service's currency, in so many parcels."""

    service_id: int
    zone: str
    cost_minor: int
    transit_days: int
    packages: int = 1


class Route:
    """From a location to where the same zones of the same services are: those services, each with its zone."""

    __slots__ = (
        "_by_step",
        "_by_units",
        "_carrying",
        "_levels",
        "_measured",
        "_measures",
        "_steps",
        "least_minor",
        "ways",
    )

    def __init__(self, ways: tuple[tuple[Service, Zone], ...]) -> None:
        self.ways = ways
        self.least_minor = min((zone.costs[0] for _, zone in ways), default=0)
        # Up to what fits into one parcel of every service, no quote changes between two limits of weight.
        one_parcel = min((heaviest(service, zone) for service, zone in ways), default=0)
        limits = {limit for _, zone in ways for limit in zone.limits}
        self._steps = sorted({limit for limit in limits if limit < one_parcel} | {one_parcel})
        self._by_step: list[tuple[Quote, ...] | None] = [None] * len(self._steps)
        self._measures = any(service.measures for service, _ in ways)
        self._measured: dict[tuple[int, int], tuple[Quote, ...]] = {}
        self._levels: dict[str, Route] = {}
        self._carrying: dict[tuple[int, int], Route] = {}
        self._by_units: dict[Contents, tuple[Quote, ...]] = {}

    def quotes(self, grams: int, cubic_cm: int = 0, level: str | None = None) -> tuple[Quote, ...]:
        """What ``grams`` of such a volume cost with each service (of a level), cheapest first; none where no service goes.

        What is more than one parcel may weigh or measure goes as several, as if it could be cut at will: ``packed`` is told
        what it consists of.
        """
        if level is not None:
            return self.of(level).quotes(grams, cubic_cm)
        if cubic_cm and self._measures:
            key = (grams, cubic_cm)
            found = self._measured.get(key)
            if found is None:
                if len(self._measured) >= 10_000:
                    self._measured.clear()
                found = self._measured[key] = self._asked(grams, cubic_cm)
            return found
        step = bisect_left(self._steps, grams)
        if step == len(self._steps):
            return self._asked(grams, 0)
        quotes = self._by_step[step]
        if quotes is None:
            quotes = self._by_step[step] = self._asked(grams, 0)
        return quotes

    def packed(self, units: Contents, level: str | None = None) -> tuple[Quote, ...]:
        """What whole units cost with each service (of a level), cheapest first. A service that does not take one of the units as a
        parcel is left out.
        """
        if level is not None:
            return self.of(level).packed(units)
        found = self._by_units.get(units)
        if found is None:
            if len(self._by_units) >= 10_000:
                self._by_units.clear()
            priced = [(s, z, _cost_of_units(s, z, units)) for s, z in self.ways]
            quotes = [
                Quote(s.service_id, z.zone, cost[0], z.transit_days, cost[1])
                for s, z, cost in priced
                if cost is not None
            ]
            found = self._by_units[units] = tuple(
                sorted(quotes, key=lambda q: (q.cost_minor, q.transit_days, q.service_id))
            )
        return found

    def of(self, level: str) -> Route:
        """The services of a level alone."""
        route = self._levels.get(level)
        if route is None:
            route = self._levels[level] = Route(tuple(way for way in self.ways if way[0].level == level))
        return route

    def carrying(self, grams: int, cubic_cm: int) -> Route:
        """The services alone that take one unit of this weight and volume as a parcel: a unit does not go in several."""
        route = self._carrying.get((grams, cubic_cm))
        if route is None:
            if len(self._carrying) >= 10_000:
                self._carrying.clear()
            ways = tuple(way for way in self.ways if takes(*way, grams, cubic_cm))
            route = self._carrying[grams, cubic_cm] = self if len(ways) == len(self.ways) else Route(ways)
        return route

    def weights(self, up_to: int) -> list[int]:
        """The weights in grams below ``up_to`` after which some quote changes."""
        found = set()
        for service, zone in self.ways:
            parcel = heaviest(service, zone)
            for full in range(min(up_to // parcel + 1, 50)):
                found |= {full * parcel + limit for limit in (*zone.limits, parcel) if limit <= parcel}
        return sorted(grams for grams in found if grams < up_to)

    def _asked(self, grams: int, cubic_cm: int) -> tuple[Quote, ...]:
        found = [
            Quote(s.service_id, z.zone, cost, z.transit_days, packages)
            for s, z in self.ways
            for cost, packages in [_cost(s, z, grams, cubic_cm)]
        ]
        return tuple(sorted(found, key=lambda q: (q.cost_minor, q.transit_days, q.service_id)))


def heaviest(service: Service, zone: Zone) -> int:
    """The weight of a full parcel, in grams."""
    return min(service.max_grams, zone.limits[-1])


def largest(service: Service, zone: Zone) -> int | None:
    """The volume of a full parcel, in cubic centimeters: what the service lets it measure, and what the zone has rates for. None is
    any volume.
    """
    divisor = service.dimensional_cubic_cm_per_kg
    if divisor is None:
        return service.max_cubic_cm
    rated = zone.limits[-1] * divisor // 1000
    return rated if service.max_cubic_cm is None else min(rated, service.max_cubic_cm)


def takes(service: Service, zone: Zone, grams: int, cubic_cm: int) -> bool:
    """Whether the service takes one unit of this weight and volume as a parcel there."""
    most = largest(service, zone)
    return grams <= heaviest(service, zone) and (most is None or cubic_cm <= most)


def _cost_of_units(service: Service, zone: Zone, units: Contents) -> tuple[int, int] | None:
    """(minor units, parcels) of whole units; None if one of them is too heavy or too large for a parcel."""
    most, divisor = largest(service, zone), service.dimensional_cubic_cm_per_kg
    parcels = packed(units, heaviest(service, zone), None if most is None else most * 1000)
    if parcels is None:
        return None
    cost = count = 0
    for some in parcels:
        grams = some.grams
        if divisor is not None:
            cubic_cm = -(-some.cubic_mm // 1000)
            grams = max(grams, -(-cubic_cm * 1000 // divisor))
        cost += some.count * zone.costs[bisect_left(zone.limits, grams)]
        count += some.count
    return cost, count


def _cost(service: Service, zone: Zone, grams: int, cubic_cm: int) -> tuple[int, int]:
    """(minor units, parcels). More than one parcel may weigh goes as full ones and one with the rest; more than one may measure, as
    equal ones.
    """
    if service.dimensional_cubic_cm_per_kg is not None and cubic_cm:
        grams = max(grams, -(-cubic_cm * 1000 // service.dimensional_cubic_cm_per_kg))
    most = heaviest(service, zone)
    if service.max_cubic_cm is not None and (parcels := -(-cubic_cm // service.max_cubic_cm)) > -(-grams // most):
        each = min(-(-grams // parcels), most)
        return parcels * zone.costs[bisect_left(zone.limits, each)], parcels
    full, rest = divmod(grams, most) if grams > most else (0, grams)
    cost = full * zone.costs[bisect_left(zone.limits, most)]
    more = bool(rest or not full)
    return cost + (zone.costs[bisect_left(zone.limits, rest)] if more else 0), full + more
