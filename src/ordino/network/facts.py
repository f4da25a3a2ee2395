"""The network as sourcing sees it: who may ship, where to, at what cost and by when. Kept in memory for one revision.

A zone comes from a lane (a pair of postal prefixes, the longest pair wins) or else from the great-circle distance
(haversine, mean Earth radius 6371.0088 km, IUGG).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements

sql = statements("ordino.network")

EARTH_RADIUS_KM = 6371.0088
MEMO_LIMIT = 100_000
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


class Closed(Struct, frozen=True):
    """A location that is switched off for a channel (None: for all) from one time until another (None: until taken back)."""

    code: str
    location_id: int
    channel_id: int | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str


class Quote(Struct, frozen=True, gc=False):
    """What it would cost to send some weight, in minor units of the service's currency."""

    service_id: int
    zone: str
    cost_minor: int
    transit_days: int


class Route:
    """From a location to where the same zones of the same services are: those services, each with its zone."""

    __slots__ = ("_by_step", "_steps", "least_minor", "ways")

    def __init__(self, ways: tuple[tuple[Service, Zone], ...]) -> None:
        self.ways = ways
        self.least_minor = min((zone.costs[0] for _, zone in ways), default=0)
        # Up to what fits into one parcel of every service, no quote changes between two limits of weight.
        one_parcel = min((_heaviest(service, zone) for service, zone in ways), default=0)
        limits = {limit for _, zone in ways for limit in zone.limits}
        self._steps = sorted({limit for limit in limits if limit < one_parcel} | {one_parcel})
        self._by_step: list[tuple[Quote, ...] | None] = [None] * len(self._steps)

    def quotes(self, grams: int) -> tuple[Quote, ...]:
        """What ``grams`` cost with each service, cheapest first; none where no service goes."""
        step = bisect_left(self._steps, grams)
        if step == len(self._steps):
            return self._asked(grams)
        quotes = self._by_step[step]
        if quotes is None:
            quotes = self._by_step[step] = self._asked(grams)
        return quotes

    def _asked(self, grams: int) -> tuple[Quote, ...]:
        found = [Quote(s.service_id, z.zone, _cost(s, z, grams), z.transit_days) for s, z in self.ways]
        return tuple(sorted(found, key=lambda q: (q.cost_minor, q.transit_days, q.service_id)))


class Destination(dict[int, Route]):
    """Location id -> the route from there to one address."""

    def __init__(self, facts: NetworkFacts, postal_code: str, there: tuple[float, float] | None) -> None:
        super().__init__()
        self._facts = facts
        self._postal_code = postal_code
        self._there = there

    def __missing__(self, location_id: int) -> Route:
        location = self._facts.locations[location_id]
        km = None if self._there is None else distance_km((location.latitude, location.longitude), self._there)
        services = self._facts.services.values()
        found = ((service, _zone(service, location, self._postal_code, km)) for service in services)
        route = self[location_id] = self._facts.route([(service, zone) for service, zone in found if zone is not None])
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
    ) -> None:
        self.locations = locations
        self.location_ids = {location.code: location.location_id for location in locations.values()}
        self.binned = frozenset(n for n, location in locations.items() if location.bins)
        self.services = services
        self.channels = channels
        self.networks = networks
        self.channels_by_id = {channel.channel_id: channel for channel in channels.values()}
        self._places = places
        self._closures = closures
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._routes: dict[tuple[int, ...], Route] = {}
        self._open: dict[tuple[int, frozenset[int]], Mapping[int, int]] = {}
        self._ship_by: dict[int, tuple[datetime, datetime]] = {}
        self._arrivals: dict[tuple[int, int, datetime, int], datetime] = {}

    def place(self, country: str, postal_code: str) -> tuple[float, float] | None:
        """Latitude and longitude of a postal code, if known; a longer code (ZIP+4) is looked up by its first part, too."""
        return self._places.get((country, postal_code)) or self._places.get(
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
            if len(self._destinations) > MEMO_LIMIT:
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

    def ship_by(self, location_id: int, at: datetime) -> datetime:
        """The next cut-off on a working day of the location: what is asked for at ``at`` is to leave by then."""
        window = self._ship_by.get(location_id)
        if window is not None and window[0] <= at <= window[1]:
            return window[1]
        location = self.locations[location_id]
        local = at.astimezone(location.zone)
        day = local.date()
        if local.time() > location.cut_off:
            day += timedelta(days=1)
        while day.isoweekday() not in location.working_days:
            day += timedelta(days=1)
        ship_by_at = datetime.combine(day, location.cut_off, location.zone).astimezone(UTC)
        self._ship_by[location_id] = (at, ship_by_at)
        return ship_by_at

    def arrives_at(self, location_id: int, service_id: int, ship_by_at: datetime, transit_days: int) -> datetime:
        """The end of the delivery day: ``transit_days`` working days of the service after the day of shipping."""
        key = (location_id, service_id, ship_by_at, transit_days)
        arrives = self._arrivals.get(key)
        if arrives is None:
            zone = self.locations[location_id].zone
            working_days = self.services[service_id].working_days
            day = ship_by_at.astimezone(zone).date()
            left = transit_days
            while left > 0 or day.isoweekday() not in working_days:
                day += timedelta(days=1)
                if day.isoweekday() in working_days:
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


def _cost(service: Service, zone: Zone, grams: int) -> int:
    """More than one parcel may carry goes as several: full ones, and one with the rest."""
    heaviest = _heaviest(service, zone)
    full, rest = divmod(grams, heaviest) if grams > heaviest else (0, grams)
    cost = full * zone.costs[bisect_left(zone.limits, heaviest)]
    return cost + (zone.costs[bisect_left(zone.limits, rest)] if rest or not full else 0)


def _zone(service: Service, location: Location, postal_code: str, km: float | None) -> Zone | None:
    if service.lanes:
        for origin_length in range(len(location.postal_code), -1, -1):
            for length in range(len(postal_code), -1, -1):
                lane = service.lanes.get((location.postal_code[:origin_length], postal_code[:length]))
                if lane is not None:
                    return lane
    if km is not None:
        for zone in service.zones:
            if zone.up_to_km is not None and km <= zone.up_to_km:
                return zone
    return None


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
    return NetworkFacts(locations, services, channels, networks, places, closures)


def _channel(row: Any, networks: Mapping[int, Serving]) -> Channel:
    return Channel(
        channel_id=row["channel_id"],
        code=row["code"],
        seller_id=row["seller_id"],
        currency=row["currency"],
        return_window_days=row["return_window_days"],
        short_policy=row["short_policy"],
        network=networks.get(row["network_id"]),
    )
