"""The network as sourcing sees it: who may ship, where to, at what cost and by when. Kept in memory for one revision.

A zone comes from a lane (a pair of postal prefixes, the longest pair wins) or else from the great-circle distance
(haversine, mean Earth radius 6371.0088 km, IUGG).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from holidays import HolidayBase, country_holidays
from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements

sql = statements("ordino.network")

EARTH_RADIUS_KM = 6371.0088
MEMO_LIMIT = 100_000
MEMO_ENTRIES = 5_000_000
YEAR_DAYS = 366
Kilometers = np.ndarray[tuple[int], np.dtype[np.float64]]
DELIVERED_BY = time(20, 0)  # a parcel that arrives on a day is promised for the end of the delivery round


class Location(Struct, frozen=True):
    """Where units lie. ``working_days`` are ISO weekdays, ``cut_off`` is local."""

    location_id: int
    code: str
    name: str
    type: str
    country: str
    postal_code: str
    latitude: float
    longitude: float
    zone: ZoneInfo
    working_days: frozenset[int]
    cut_off: time
    daily_capacity: int | None
    handling_cost_minor: int
    serves_countries: frozenset[str]
    active: bool
    bins: bool = False
    tags: frozenset[str] = frozenset()
    handles: frozenset[str] = frozenset()
    serves_prefixes: tuple[str, ...] = ()
    handling_line_cost_minor: int = 0
    handling_unit_cost_minor: int = 0
    daily_unit_capacity: int | None = None
    priority: int = 0
    processing_days: int = 0
    holidays: str | None = None
    pickup: bool = False
    pickup_ready_minutes: int = 120
    opens: time = time(9, 0)
    closes: time = time(20, 0)

    @property
    def handles_by_unit(self) -> bool:
        """Whether lines and units cost something, beside the order."""
        return bool(self.handling_line_cost_minor or self.handling_unit_cost_minor)


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

    @property
    def measures(self) -> bool:
        """Whether volume counts."""
        return self.dimensional_cubic_cm_per_kg is not None or self.max_cubic_cm is not None


class Serving(Struct, frozen=True):
    """The network that serves a channel: location id -> buffer in units."""

    network_id: int
    code: str
    buffers: Mapping[int, int]


class Channel(Struct, frozen=True):
    """A channel with what its seller and network say."""

    channel_id: int
    code: str
    seller_id: int
    currency: str
    return_window_days: int
    short_policy: str
    network: Serving | None
    seller: str = ""


class Closed(Struct, frozen=True):
    """A location that is switched off for a channel (None: for all) from one time until another (None: until taken back)."""

    code: str
    location_id: int
    channel_id: int | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str


class Quote(Struct, frozen=True, gc=False):
    """What it would cost to send some weight, in minor units of the service's currency, in so many parcels."""

    service_id: int
    zone: str
    cost_minor: int
    transit_days: int
    packages: int = 1


class Route:
    """From a location to where the same zones of the same services are: those services, each with its zone."""

    __slots__ = ("_by_step", "_levels", "_measured", "_measures", "_steps", "least_minor", "ways")

    def __init__(self, ways: tuple[tuple[Service, Zone], ...]) -> None:
        self.ways = ways
        self.least_minor = min((zone.costs[0] for _, zone in ways), default=0)
        # Up to what fits into one parcel of every service, no quote changes between two limits of weight.
        one_parcel = min((_heaviest(service, zone) for service, zone in ways), default=0)
        limits = {limit for _, zone in ways for limit in zone.limits}
        self._steps = sorted({limit for limit in limits if limit < one_parcel} | {one_parcel})
        self._by_step: list[tuple[Quote, ...] | None] = [None] * len(self._steps)
        self._measures = any(service.measures for service, _ in ways)
        self._measured: dict[tuple[int, int], tuple[Quote, ...]] = {}
        self._levels: dict[str, Route] = {}

    def quotes(self, grams: int, cubic_cm: int = 0, level: str | None = None) -> tuple[Quote, ...]:
        """What ``grams`` of such a volume cost with each service (of a level), cheapest first; none where no service goes.

        A parcel counts by the larger of its weight and its volume divided by the service's divisor; what is more than one parcel
        may weigh or measure goes as several.
        """
        if level is not None:
            return self._of(level).quotes(grams, cubic_cm)
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

    def _of(self, level: str) -> Route:
        route = self._levels.get(level)
        if route is None:
            route = self._levels[level] = Route(tuple(way for way in self.ways if way[0].level == level))
        return route

    def weights(self, up_to: int) -> list[int]:
        """The weights in grams below ``up_to`` after which some quote changes."""
        found = set()
        for service, zone in self.ways:
            parcel = _heaviest(service, zone)
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


class _Places:
    """Where all locations are, for one look at all of them; and the lanes that lead from them."""

    def __init__(self, locations: Mapping[int, Location]) -> None:
        self.index = {location_id: place for place, location_id in enumerate(locations)}
        self.postal_codes = [location.postal_code for location in locations.values()]
        self._latitudes = np.radians([location.latitude for location in locations.values()])
        self._longitudes = np.radians([location.longitude for location in locations.values()])
        self._cosines = np.cos(self._latitudes)
        self._rows: dict[tuple[int, tuple[str | None, ...]], list[Zone | None]] = {}
        self._lengths: dict[int, tuple[list[tuple[int, int]], dict[int, frozenset[str]]]] = {}

    def km(self, there: tuple[float, float]) -> Kilometers:
        """The great-circle distances from all locations, by the haversine formula."""
        latitude, longitude = math.radians(there[0]), math.radians(there[1])
        h = (
            np.sin((latitude - self._latitudes) / 2) ** 2
            + self._cosines * math.cos(latitude) * np.sin((longitude - self._longitudes) / 2) ** 2
        )
        found: Kilometers = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, np.sqrt(h)))
        return found

    def lanes(self, service: Service, postal_code: str) -> list[Zone | None] | None:
        """The zone that a lane says, of every location; destinations with the same prefixes share a row. None: no lanes."""
        if not service.lanes:
            return None
        lengths = self._lengths.get(service.service_id)
        if lengths is None:
            pairs = sorted({(len(origin), len(there)) for origin, there in service.lanes}, reverse=True)
            prefixes = {
                length: frozenset(there for _, there in service.lanes if len(there) == length)
                for length in {pair[1] for pair in pairs}
            }
            lengths = self._lengths[service.service_id] = (pairs, prefixes)
        pairs, prefixes = lengths
        heads = {n: postal_code[:n] if postal_code[:n] in known else None for n, known in prefixes.items()}
        key = (service.service_id, tuple(heads[n] for n in sorted(heads)))
        row = self._rows.get(key)
        if row is None:
            row = [_lane(service, origin, pairs, heads) for origin in self.postal_codes]
            if len(self._rows) * len(row) > MEMO_ENTRIES:
                self._rows.clear()
            self._rows[key] = row
        return row


def _lane(
    service: Service, origin: str, pairs: Sequence[tuple[int, int]], heads: Mapping[int, str | None]
) -> Zone | None:
    for origin_length, length in pairs:  # the longest origin first, then the longest destination
        head = heads[length]
        if head is not None and len(origin) >= origin_length:
            lane = service.lanes.get((origin[:origin_length], head))
            if lane is not None:
                return lane
    return None


class Destination(dict[int, Route]):
    """Location id -> the route from there to one address."""

    def __init__(self, facts: NetworkFacts, postal_code: str, there: tuple[float, float] | None) -> None:
        super().__init__()
        self._facts = facts
        self._km = None if there is None else facts.places.km(there)
        self._zones = [
            (
                service,
                facts.places.lanes(service, postal_code),
                None if self._km is None else np.searchsorted(limits, self._km),
            )
            for service, limits in facts.reaches
        ]

    def km(self, location_id: int) -> float | None:
        """The great-circle distance from a location; None if nobody knows where the address is."""
        return None if self._km is None else float(self._km[self._facts.places.index[location_id]])

    def __missing__(self, location_id: int) -> Route:
        place = self._facts.places.index[location_id]
        found = []
        for service, lanes, by_distance in self._zones:
            zone = None if lanes is None else lanes[place]
            if zone is None and by_distance is not None:
                step = by_distance[place]
                zone = service.zones[step] if step < len(service.zones) else None
                if zone is not None and zone.up_to_km is None:
                    zone = None
            if zone is not None:
                found.append((service, zone))
        route = self[location_id] = self._facts.route(found)
        return route


class NetworkFacts:
    """One revision of the network. Answers are remembered, and never change."""

    def __init__(
        self,
        locations: dict[int, Location],
        services: dict[int, Service],
        channels: dict[str, Channel],
        networks: dict[int, Serving],
        places: dict[tuple[str, str], tuple[float, float]],
        closures: Sequence[Closed] = (),
        pickups: Mapping[tuple[int, int], Sequence[tuple[frozenset[int], time]]] = {},
        capacity_days: Mapping[tuple[int, date], tuple[int | None, int | None]] = {},
    ) -> None:
        self.locations = locations
        self.location_ids = {location.code: location.location_id for location in locations.values()}
        self.places = _Places(locations)
        self.reaches = [
            (service, np.array([z.up_to_km for z in service.zones if z.up_to_km is not None]))
            for service in services.values()
        ]
        self.binned = frozenset(n for n, location in locations.items() if location.bins)
        self.services = services
        self.channels = channels
        self.networks = networks
        self.channels_by_id = {channel.channel_id: channel for channel in channels.values()}
        self._capacity_days = capacity_days
        self._pickups = pickups
        self.limited = frozenset(
            n
            for n, location in locations.items()
            if location.daily_capacity is not None or location.daily_unit_capacity is not None
        ) | {location_id for location_id, _ in capacity_days}
        self.levels = frozenset(service.level for service in services.values())
        self.least_handling_minor = min((at.handling_cost_minor for at in locations.values()), default=0)
        self.least_rate_minor = min((z.costs[0] for s in services.values() for z in s.zones), default=0)
        self.measures = any(service.measures for service in services.values())
        self._serving: dict[str, frozenset[int]] = {}
        self._postal_codes = places
        self._closures = closures
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._routes: dict[tuple[int, ...], Route] = {}
        self._open: dict[tuple[int, frozenset[int]], Mapping[int, int]] = {}
        self._ship_by: dict[tuple[int, int | None, int], tuple[datetime, datetime, datetime]] = {}
        self._arrivals: dict[tuple[int, int, datetime, int], datetime] = {}

    def place(self, country: str, postal_code: str) -> tuple[float, float] | None:
        """Latitude and longitude of a postal code, if known; a longer code (ZIP+4) is looked up by its first part, too."""
        return self._postal_codes.get((country, postal_code)) or self._postal_codes.get(
            (country, postal_code.split("-")[0].split(" ")[0])
        )

    def closed(self, channel_id: int | None, at: datetime) -> dict[int, Closed]:
        """Location id -> why it is switched off for the channel at this time."""
        return {
            closure.location_id: closure
            for closure in self._closures
            if closure.channel_id in (None, channel_id)
            and closure.starts_at <= at
            and (closure.ends_at is None or at < closure.ends_at)
        }

    def open_members(self, serving: Serving, closed: frozenset[int]) -> Mapping[int, int]:
        """Location id -> the network's buffer, of its members that are active and not closed."""
        found = self._open.get((serving.network_id, closed))
        if found is None:
            if len(self._open) > MEMO_LIMIT:
                self._open.clear()
            found = {n: buffer for n, buffer in serving.buffers.items() if n not in closed and self.locations[n].active}
            self._open[serving.network_id, closed] = found
        return found

    def channels_of(self, serving: Serving) -> list[int]:
        """The channels that a network serves."""
        return [
            channel.channel_id
            for channel in self.channels.values()
            if channel.network is not None and channel.network.network_id == serving.network_id
        ]

    def serving_country(self, country: str) -> frozenset[int]:
        """The active locations that ship anywhere in a country."""
        found = self._serving.get(country)
        if found is None:
            found = self._serving[country] = frozenset(
                n
                for n, location in self.locations.items()
                if location.active and country in location.serves_countries and not location.serves_prefixes
            )
        return found

    def location_id(self, code: str) -> int:
        """Raises ``NotFound``."""
        if code not in self.location_ids:
            raise NotFound(f"There is no location {code!r}.")
        return self.location_ids[code]

    def serving(self, network: str) -> Serving:
        """A network by its code. Raises ``NotFound``."""
        for serving in self.networks.values():
            if serving.code == network:
                return serving
        raise NotFound(f"There is no network {network!r}.")

    def closures_turn(self, since: datetime, at: datetime) -> bool:
        """Has a closure begun or ended after ``since``?"""
        return any(
            since < instant <= at
            for closure in self._closures
            for instant in (closure.starts_at, closure.ends_at)
            if instant is not None
        )

    def destination(self, country: str, postal_code: str) -> Destination:
        """What every location can do for an address, found out as it is asked."""
        key = (country, postal_code)
        destination = self._destinations.get(key)
        if destination is None:
            if len(self._destinations) * (len(self.locations) + 1) > MEMO_ENTRIES:
                self._destinations.clear()
            destination = self._destinations[key] = Destination(self, postal_code, self.place(country, postal_code))
        return destination

    def route(self, ways: Sequence[tuple[Service, Zone]]) -> Route:
        """Addresses that are served in the same way share a route."""
        key = tuple([id(part) for way in ways for part in way])  # all of them live as long as these facts
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = Route(tuple(ways))
        return route

    def quotes(self, location_id: int, country: str, postal_code: str, grams: int) -> tuple[Quote, ...]:
        """Every service that reaches the postal code from the location, cheapest first, with the cost of ``grams``."""
        return self.destination(country, postal_code)[location_id].quotes(grams)

    def order_limit(self, location_id: int, day: date) -> int | None:
        """How many orders a location can take on for a day; None: any number."""
        said = self._capacity_days.get((location_id, day))
        return self.locations[location_id].daily_capacity if said is None else said[0]

    def unit_limit(self, location_id: int, day: date) -> int | None:
        """How many units a location can take on for a day; None: any number."""
        said = self._capacity_days.get((location_id, day))
        return self.locations[location_id].daily_unit_capacity if said is None else said[1]

    def carbon_grams(self, service_id: int, km: float, grams: int) -> int:
        """Carbon dioxide equivalent of sending a weight so far."""
        return round(self.services[service_id].carbon_grams_per_kg_km * km * grams / 1000)

    def works(self, location: Location, day: date) -> bool:
        """Whether anything leaves a location on a day."""
        return day.isoweekday() in location.working_days and not _is_holiday(location.holidays, day)

    def ship_by(self, location_id: int, at: datetime, service_id: int | None = None, after: int = 0) -> datetime:
        """What is asked for at ``at`` is to leave by then: the next cut-off on a working day, as many working days later as
        processing takes, and ``after`` more. Where a carrier collects for the service, it leaves at the first pickup from then on.
        """
        collected = self._pickups.get((location_id, service_id)) if service_id is not None and self._pickups else None
        key = (location_id, service_id if collected else None, after)
        window = self._ship_by.get(key)
        if window is not None and window[0] <= at <= window[1]:
            return window[2]
        location = self.locations[location_id]
        local = at.astimezone(location.zone)
        day = local.date()
        if local.time() > location.cut_off:
            day += timedelta(days=1)
        day = first = self._working_day(location, day)
        for _ in range(location.processing_days + after):
            day = self._working_day(location, day + timedelta(days=1))
        leaves = datetime.combine(day, location.cut_off, location.zone)
        if collected:
            leaves = self._collection(location, collected, leaves)
        ship_by_at = leaves.astimezone(UTC)
        until = datetime.combine(first, location.cut_off, location.zone).astimezone(UTC)
        self._ship_by[key] = (at, until, ship_by_at)
        return ship_by_at

    def cut_off_at(self, location_id: int, at: datetime) -> datetime:
        """The cut-off by which an order has to come for what ``ship_by`` says of ``at``."""
        self.ship_by(location_id, at)
        return self._ship_by[location_id, None, 0][1]

    def _working_day(self, location: Location, day: date) -> date:
        """The first working day from this one on."""
        for _ in range(YEAR_DAYS):
            if self.works(location, day):
                return day
            day += timedelta(days=1)
        return day

    def _collection(
        self, location: Location, pickups: Sequence[tuple[frozenset[int], time]], ready: datetime
    ) -> datetime:
        """The first pickup at or after a local time."""
        for days in range(YEAR_DAYS):
            day = ready.date() + timedelta(days=days)
            times = [at for weekdays, at in pickups if day.isoweekday() in weekdays and (days or at >= ready.time())]
            if times and not _is_holiday(location.holidays, day):
                return datetime.combine(day, min(times), location.zone)
        return ready

    def pickup_ready_at(self, location_id: int, at: datetime) -> datetime:
        """When a customer can collect what is ordered at ``at``: so many minutes later within opening hours of a working day. What
        would be ready after closing is ready as long after the next opening.
        """
        location = self.locations[location_id]
        local = at.astimezone(location.zone)
        takes = timedelta(minutes=location.pickup_ready_minutes)
        day = local.date()
        for _ in range(YEAR_DAYS):
            opens = datetime.combine(day, location.opens, location.zone)
            closes = datetime.combine(day, location.closes, location.zone)
            ready = max(opens, local) + takes
            if self.works(location, day) and ready <= closes:
                return ready.astimezone(UTC)
            day += timedelta(days=1)
            if takes > closes - opens:  # longer than a day: ready at the end of it
                takes -= closes - opens
        return ready.astimezone(UTC)

    def arrives_at(self, location_id: int, service_id: int, ship_by_at: datetime, transit_days: int) -> datetime:
        """The end of the delivery day: ``transit_days`` working days of the service after the day of shipping."""
        key = (location_id, service_id, ship_by_at, transit_days)
        arrives = self._arrivals.get(key)
        if arrives is None:
            zone = self.locations[location_id].zone
            service = self.services[service_id]
            day = ship_by_at.astimezone(zone).date()
            left = transit_days
            for _ in range(transit_days + YEAR_DAYS):
                moves = day.isoweekday() in service.working_days and not _is_holiday(service.holidays, day)
                if left <= 0 and moves:
                    break
                day += timedelta(days=1)
                if day.isoweekday() in service.working_days and not _is_holiday(service.holidays, day):
                    left -= 1
            arrives = datetime.combine(day, DELIVERED_BY, zone).astimezone(UTC)
            if len(self._arrivals) > MEMO_LIMIT:
                self._arrivals.clear()
            self._arrivals[key] = arrives
        return arrives


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Great-circle distance between two (latitude, longitude) pairs in degrees, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = ((math.radians(a), math.radians(b)) for a, b in (here, there))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def _heaviest(service: Service, zone: Zone) -> int:
    """The weight of a full parcel, in grams."""
    return min(service.max_grams, zone.limits[-1])


def _cost(service: Service, zone: Zone, grams: int, cubic_cm: int) -> tuple[int, int]:
    """(minor units, parcels). More than one parcel may weigh goes as full ones and one with the rest; more than one may measure, as
    equal ones.
    """
    if service.dimensional_cubic_cm_per_kg is not None and cubic_cm:
        grams = max(grams, -(-cubic_cm * 1000 // service.dimensional_cubic_cm_per_kg))
    heaviest = _heaviest(service, zone)
    if service.max_cubic_cm is not None and (parcels := -(-cubic_cm // service.max_cubic_cm)) > -(-grams // heaviest):
        each = min(-(-grams // parcels), heaviest)
        return parcels * zone.costs[bisect_left(zone.limits, each)], parcels
    full, rest = divmod(grams, heaviest) if grams > heaviest else (0, grams)
    cost = full * zone.costs[bisect_left(zone.limits, heaviest)]
    more = bool(rest or not full)
    return cost + (zone.costs[bisect_left(zone.limits, rest)] if more else 0), full + more


@cache
def _calendar(name: str) -> HolidayBase:
    country, _, part = name.partition("-")
    return country_holidays(country, subdiv=part or None)


def _is_holiday(calendar: str | None, day: date) -> bool:
    return calendar is not None and day in _calendar(calendar)


async def facts(tx: Tx) -> NetworkFacts:
    """The network as this transaction sees it."""
    return await kept.current(tx, "network", _load)


async def _load(tx: Tx) -> NetworkFacts:
    locations = {
        row["location_id"]: Location(
            **{
                **{k: v for k, v in row.items() if k != "timezone"},
                "zone": ZoneInfo(row["timezone"]),
                "working_days": frozenset(row["working_days"]),
                "serves_countries": frozenset(row["serves_countries"]),
                "tags": frozenset(row["tags"]),
                "handles": frozenset(row["handles"]),
                "serves_prefixes": tuple(row["serves_prefixes"]),
            }
        )
        for row in await sql.all_locations(tx)
    }
    zones: dict[int, dict[str, Zone]] = {}
    for row in await sql.all_zones(tx):
        zones.setdefault(row["service_id"], {})[row["zone"]] = Zone(
            row["zone"], row["up_to_km"], row["transit_days"], tuple(row["limits"]), tuple(row["costs"])
        )
    lanes: dict[int, dict[tuple[str, str], Zone]] = {}
    for row in await sql.all_lanes(tx):
        zone = zones[row["service_id"]][row["zone"]]
        lanes.setdefault(row["service_id"], {})[row["origin_prefix"], row["destination_prefix"]] = zone
    services = {
        row["service_id"]: Service(
            **{
                **dict(row),
                "working_days": frozenset(row["working_days"]),
                "zones": tuple(
                    sorted(
                        zones.get(row["service_id"], {}).values(),
                        key=lambda zone: math.inf if zone.up_to_km is None else zone.up_to_km,
                    )
                ),
                "lanes": lanes.get(row["service_id"], {}),
            }
        )
        for row in await sql.all_services(tx)
    }
    networks: dict[int, Serving] = {
        row["network_id"]: Serving(
            row["network_id"], row["code"], dict(zip(row["location_ids"], row["buffers"], strict=True))
        )
        for row in await sql.all_networks(tx)
    }
    channels = {row["code"]: _channel(row, networks) for row in await sql.all_channels(tx)}
    places = {
        (row["country"], row["postal_code"]): (row["latitude"], row["longitude"]) for row in await sql.all_places(tx)
    }
    closures = [Closed(*row) for row in await sql.all_closures(tx)]
    pickups: dict[tuple[int, int], list[tuple[frozenset[int], time]]] = {}
    for row in await sql.all_pickups(tx):
        key = (row["location_id"], row["service_id"])
        pickups.setdefault(key, []).append((frozenset(row["working_days"]), row["at"]))
    days = {
        (row["location_id"], row["ship_on"]): (row["orders"], row["units"]) for row in await sql.all_capacity_days(tx)
    }
    return NetworkFacts(locations, services, channels, networks, places, closures, pickups, days)


def _channel(row: Any, networks: Mapping[int, Serving]) -> Channel:
    return Channel(
        channel_id=row["channel_id"],
        code=row["code"],
        seller_id=row["seller_id"],
        currency=row["currency"],
        return_window_days=row["return_window_days"],
        short_policy=row["short_policy"],
        network=networks.get(row["network_id"]),
        seller=row["seller"],
    )
