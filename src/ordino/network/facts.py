"""The network as sourcing sees it: who may ship, where to, at what cost and by when. Kept in memory for one revision.

Facts are immutable, but they remember answers, and those memos belong to one thread: the one of the event loop. What thinks in
another thread is given facts of its own (``apart``).

A zone comes from a lane (a pair of postal prefixes, the longest pair wins) or else from the great-circle distance
(haversine, mean Earth radius 6371.0088 km, IUGG).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from copy import copy
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from holidays import country_holidays
from msgspec import Struct
from msgspec.structs import replace

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.money import converted
from ordino.core.statements import statements
from ordino.network.exchange import Rates, all_rates
from ordino.network.postal import beginning, first_part, normal
from ordino.network.rates import Quote, Route, Service, Zone, heaviest, largest

sql = statements("ordino.network")
Found = TypeVar("Found")

EARTH_RADIUS_KM = 6371.0088
MEMO_LIMIT = 100_000
MEMO_BYTES = 100_000_000
YEAR_DAYS = 366
LARGEST_CODE = 1 << 62
PRICED = 64
"""So many currencies and days are kept in memory."""
REMEMBERED = 1024
"""So many answers of later stages are kept in memory."""
YEARS = 4096
"""So many calendars, each of one year, are kept in memory."""
HANDLING = ("handling_cost_minor", "handling_line_cost_minor", "handling_unit_cost_minor")
NO_RATES = Rates()
Exchanged = Mapping[str, Fraction | None]
Kilometers = np.ndarray[tuple[int], np.dtype[np.float64]]
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]
DELIVERED_BY = time(20, 0)  # a parcel that arrives on a day is promised for the end of the delivery round


class Location(Struct, frozen=True):
    """Where units lie. ``working_days`` are ISO weekdays, ``cut_off`` and ``ships_until`` are local."""

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
    currency: str | None = None  # of the handling costs; None: the order's
    ships_until: time = time(20, 0)

    @property
    def handles_at_cost(self) -> bool:
        return bool(self.handling_cost_minor or self.handling_line_cost_minor or self.handling_unit_cost_minor)


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
    payment_provider: str = "manual"


class Closed(Struct, frozen=True):
    """A location that is switched off for a channel (None: for all) from one time until another (None: until taken back)."""

    code: str
    location_id: int
    channel_id: int | None
    starts_at: datetime
    ends_at: datetime | None
    reason: str


class _Places:
    """All locations at once: where they are, and by which zones of which services an address is reached from each of them.

    A zone is a number among its service's zones, 0 is none; the zones of all services together make one code a location, and
    locations with the same code share a route.
    """

    def __init__(self, locations: Mapping[int, Location], services: Sequence[Service]) -> None:
        self.index = {location_id: place for place, location_id in enumerate(locations)}
        self._postal_codes = [normal(location.country, location.postal_code) for location in locations.values()]
        self._latitudes = np.radians([location.latitude for location in locations.values()])
        self._longitudes = np.radians([location.longitude for location in locations.values()])
        self._cosines = np.cos(self._latitudes)
        self._reaches = [_Reach(service) for service in services]
        codes = math.prod(reach.base for reach in self._reaches)
        self._fits = codes < LARGEST_CODE
        self._kind, self._type = ("H", "uint16") if codes <= 1 << 16 else ("q", "int64")
        self.bytes = len(self.index) * np.dtype(self._type).itemsize  # of what is kept of one address
        self._forget()

    def _forget(self) -> None:
        self._interned: dict[bytes, int] = {}  # of zones, where there are too many services for one number
        self._zones: list[bytes] = []
        self._rows: dict[tuple[int, tuple[str | None, ...]], Numbers] = {}
        self.routes: dict[int, Route] = {}

    def apart(self) -> _Places:
        """The same places with memos of their own."""
        places = copy(self)
        places._forget()
        return places

    def codes(self, postal_code: str, there: tuple[float, float] | None) -> array[int]:
        """One code a location, in the order of the index."""
        km = None if there is None else self._km(there)
        found: Numbers = np.zeros(len(self.index), dtype=np.int64)
        several: list[Numbers] = []
        for number, reach in enumerate(self._reaches):
            zones = np.zeros(len(self.index), dtype=np.int64)
            if km is not None:
                zones = reach.by_distance[np.searchsorted(reach.limits, km)]
            if reach.pairs:
                lanes = self._lanes(number, reach, postal_code)
                zones = np.where(lanes > 0, lanes, zones)
            if self._fits:
                found = found * reach.base + zones
            else:
                several.append(zones)
        if several:
            rows = np.stack(several, axis=1).astype(np.uint16)
            return array("q", [self._intern(row.tobytes()) for row in rows])
        return array(self._kind, found.astype(self._type).tobytes())

    def _intern(self, zones: bytes) -> int:
        code = self._interned.get(zones)
        if code is None:
            code = self._interned[zones] = len(self._zones)
            self._zones.append(zones)
        return code

    def _numbers(self, code: int) -> list[int]:
        """The zones of a code, one a service."""
        if not self._fits:
            return list(memoryview(self._zones[code]).cast("H"))
        found = []
        for reach in reversed(self._reaches):
            code, zone = divmod(code, reach.base)
            found.append(zone)
        return found[::-1]

    def route(self, code: int) -> Route:
        """What a code says."""
        route = self.routes.get(code)
        if route is None:
            zones = zip(self._reaches, self._numbers(code), strict=True)
            ways = tuple((reach.service, reach.zones[zone - 1]) for reach, zone in zones if zone)
            route = self.routes[code] = Route(ways)
        return route

    def _km(self, there: tuple[float, float]) -> Kilometers:
        """The great-circle distances from all locations, by the haversine formula."""
        latitude, longitude = math.radians(there[0]), math.radians(there[1])
        h = (
            np.sin((latitude - self._latitudes) / 2) ** 2
            + self._cosines * math.cos(latitude) * np.sin((longitude - self._longitudes) / 2) ** 2
        )
        found: Kilometers = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, np.sqrt(h)))
        return found

    def _lanes(self, number: int, reach: _Reach, postal_code: str) -> Numbers:
        """The zone that a lane says, of every location; destinations with the same prefixes share a row."""
        heads = {n: postal_code[:n] if postal_code[:n] in known else None for n, known in reach.prefixes.items()}
        key = (number, tuple(heads.values()))
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) * len(self.index) * 8 > MEMO_BYTES:
                self._rows.clear()
            row = self._rows[key] = np.array(
                [reach.lane(origin, heads) for origin in self._postal_codes], dtype=np.int64
            )
        return row


class _Reach:
    """A service's zones by number, by distance and by lane."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.zones = list(dict.fromkeys((*service.zones, *service.lanes.values())))
        self.base = len(self.zones) + 1
        numbers = {zone: number for number, zone in enumerate(self.zones, 1)}
        by_distance = [zone for zone in service.zones if zone.up_to_km is not None]
        self.limits = np.array([zone.up_to_km for zone in by_distance], dtype=np.float64)
        self.by_distance = np.array([*(numbers[zone] for zone in by_distance), 0], dtype=np.int64)
        lanes = {(beginning(origin), beginning(there)): zone for (origin, there), zone in service.lanes.items()}
        self._lanes = {pair: numbers[zone] for pair, zone in lanes.items()}
        self.pairs = sorted({(len(origin), len(there)) for origin, there in lanes}, reverse=True)
        self.prefixes = {
            length: frozenset(there for _, there in lanes if len(there) == length)
            for length in sorted({pair[1] for pair in self.pairs})
        }

    def lane(self, origin: str, heads: Mapping[int, str | None]) -> int:
        """The longest origin first, then the longest destination."""
        for origin_length, length in self.pairs:
            head = heads[length]
            if head is not None and len(origin) >= origin_length:
                zone = self._lanes.get((origin[:origin_length], head))
                if zone is not None:
                    return zone
        return 0


class Destination:
    """Location id -> the route from there to one address."""

    __slots__ = ("_codes", "_facts", "_index", "_routes", "_there", "postal_code")

    def __init__(self, facts: NetworkFacts, postal_code: str, there: tuple[float, float] | None) -> None:
        self._facts = facts
        self._there = there
        self.postal_code = postal_code  # in its normal form
        self._codes = facts.places.codes(postal_code, there)
        self._index = facts.places.index
        self._routes = facts.places.routes

    def __getitem__(self, location_id: int) -> Route:
        code = self._codes[self._index[location_id]]
        return self._routes.get(code) or self._facts.places.route(code)

    def km(self, location_id: int) -> float | None:
        """The great-circle distance from a location; None if nobody knows where the address is."""
        location = self._facts.locations[location_id]
        return None if self._there is None else distance_km((location.latitude, location.longitude), self._there)


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
        rates: Rates = NO_RATES,
    ) -> None:
        self.rates = rates
        self.exchanged: Exchanged = {}
        """Of facts that ``priced_in`` has made: currency -> what one whole unit of it is worth; None: nobody knows."""
        self.unpriced: frozenset[int] = frozenset()
        """Of such facts: the locations whose handling costs nobody can convert."""
        self._original = self
        self.locations = locations
        self.location_ids = {location.code: location.location_id for location in locations.values()}
        self.binned = frozenset(n for n, location in locations.items() if location.bins)
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
        self._price(locations, services)
        self._forget()
        self._postal_codes = {(country, normal(country, code)): there for (country, code), there in places.items()}
        self._closures = closures

    def _forget(self) -> None:
        """Nothing has been asked yet."""
        self._priced: dict[tuple[str, tuple[tuple[str, Fraction | None], ...]], NetworkFacts] = {}
        self._serving: dict[str, frozenset[int]] = {}
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._open: dict[tuple[int, frozenset[int]], Mapping[int, int]] = {}
        self._ship_by: dict[tuple[int, int | None, int], tuple[datetime, datetime, datetime, datetime]] = {}
        self._arrivals: dict[tuple[int, int, datetime, int], datetime] = {}
        self._remembered: dict[Any, tuple[object, Any]] = {}

    def apart(self) -> NetworkFacts:
        """The same network for another thread: what it remembers is its own."""
        facts = copy(self)
        facts._original = facts if self._original is self else self._original.apart()
        facts.places = self.places.apart()
        facts._forget()
        return facts

    def remember(self, key: tuple[Hashable, ...], of: object, find: Callable[[], Found]) -> Found:
        """What later stages find out about the network, kept as long as these facts live. ``of`` is the object whose ``id`` is in
        ``key``: an answer that was found for another object is found anew.
        """
        kept = self._remembered.get(key)
        if kept is None or kept[0] is not of:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            kept = self._remembered[key] = (of, find())
        found: Found = kept[1]
        return found

    def _price(self, locations: dict[int, Location], services: dict[int, Service]) -> None:
        """All that follows from what locations and services cost."""
        self.locations = locations
        self.services = services
        self.places = _Places(locations, list(services.values()))
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

    def priced_in(self, currency: str, at: datetime) -> NetworkFacts:
        """The same network with all costs in minor units of one currency, converted by the exchange rates of the day: each rate of
        a zone and each handling cost, rounded half to even. Services whose currency nobody can convert are left out, and locations
        whose handling costs nobody can convert are ``unpriced``. Without another currency, these facts themselves.
        """
        if not currency or not self.currencies or (currency in self.currencies and len(self.currencies) == 1):
            return self
        rates = tuple((other, self.rates.rate(other, currency, at)) for other in sorted(self.currencies - {currency}))
        found = self._priced.get((currency, rates))
        if found is None:
            if len(self._priced) >= PRICED:
                self._priced.clear()
            found = self._priced[currency, rates] = self._converted(currency, dict(rates))
        return found

    def _converted(self, currency: str, rates: Exchanged) -> NetworkFacts:
        worth = {currency: Fraction(1), **rates}
        facts = copy(self)
        facts._forget()
        facts.exchanged = rates
        facts.unpriced = frozenset(
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
        facts._price(locations, services)
        facts.services = self.services | services  # what a service is called and when it works, nobody has to pay for
        return facts

    def reaches(self, location_id: int, country: str, postal_code: str, level: str | None) -> bool:
        """Whether any carrier service (of a level) goes there, whether or not its rates can be converted."""
        route = self._original.destination(country, postal_code)[location_id]
        return bool((route if level is None else route.of(level)).ways)

    def place(self, country: str, postal_code: str) -> tuple[float, float] | None:
        """Latitude and longitude of a postal code, if known; a longer code is looked up by its first part, too."""
        return self._postal_codes.get((country, normal(country, postal_code))) or self._postal_codes.get(
            (country, first_part(country, postal_code))
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

    def is_open(self, location_id: int, channel_id: int, closed: Collection[int]) -> bool:
        """Whether the location may be given work of the channel: its network has it, it is active, and it is not among those that
        are ``closed`` for the channel.
        """
        serving = self.channels_by_id[channel_id].network
        if serving is None or location_id not in serving.buffers or not self.locations[location_id].active:
            return False
        return location_id not in closed

    def why_shut(self, location_id: int, channel_id: int, at: datetime) -> str:
        """Why ``is_open`` says no, as a part of a sentence."""
        code, channel = self.locations[location_id].code, self.channels_by_id[channel_id]
        if (closure := self.closed(channel_id, at).get(location_id)) is not None:
            return f"{code} is closed ({closure.reason})"
        if not self.locations[location_id].active:
            return f"{code} is switched off"
        return f"{code} is not in the network of the channel {channel.code!r}"

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

    def channels_beside(self, serving: Serving) -> list[int]:
        """The channels of every network that has a location of this one: what comes there may go to their orders."""
        members = serving.buffers.keys()
        return [
            channel.channel_id
            for channel in self.channels.values()
            if channel.network is not None and not members.isdisjoint(channel.network.buffers)
        ]

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

    def last_turn(self, at: datetime) -> datetime | None:
        """The latest instant, ``at`` at the latest, at which time alone changed who can work: a closure began or ended, or a
        location with limits began to ship for another day. None if there was none.
        """
        turns = [
            instant
            for closure in self._closures
            for instant in (closure.starts_at, closure.ends_at)
            if instant is not None and instant <= at
        ]
        for location_id in self.limited:
            location = self.locations[location_id]
            today = datetime.combine(at.astimezone(location.zone).date(), location.cut_off, location.zone)
            turns.append(today if today <= at else today - timedelta(days=1))
        return max(turns, default=None)

    def destination(self, country: str, postal_code: str) -> Destination:
        """What every location can do for an address, however its postal code is written; found out as it is asked."""
        key = (country, postal_code)
        destination = self._destinations.get(key)
        if destination is None:
            if len(self._destinations) * (self.places.bytes + 500) > MEMO_BYTES:
                self._destinations.clear()
            form = normal(country, postal_code)
            destination = Destination(self, form, self.place(country, postal_code))
            self._destinations[key] = destination
        return destination

    def quotes(self, location_id: int, country: str, postal_code: str, grams: int) -> tuple[Quote, ...]:
        """Every service that reaches the postal code from the location, cheapest first, with the cost of ``grams``."""
        return self.destination(country, postal_code)[location_id].quotes(grams)

    def price(
        self, location_id: int, country: str, postal_code: str, service_id: int, weights: Sequence[int]
    ) -> int | None:
        """What packages of these weights (grams) cost with a service, each as a parcel of its own; None where it does not go.

        A package that weighs more than the service takes has left all the same, and costs as much as full parcels and a rest.
        """
        cost = 0
        for grams in weights:
            quotes = self.quotes(location_id, country, postal_code, grams)
            quote = next((quote for quote in quotes if quote.service_id == service_id), None)
            if quote is None:
                return None
            cost += quote.cost_minor
        return cost

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
        """What is asked for at ``at`` is late if it leaves after that. Its work is done by the next cut-off on a working day, as
        many working days later as processing takes, and ``after`` more. Where a carrier collects for the service, it leaves at the
        first pickup from then on; elsewhere until ``ships_until`` of that day.
        """
        return self._leaves(location_id, at, service_id, after)[2]

    def ready_at(self, location_id: int, at: datetime, service_id: int | None = None, after: int = 0) -> datetime:
        """When what is asked for at ``at`` leaves at the earliest by plan: at its pickup, or else from the cut-off on."""
        return self._leaves(location_id, at, service_id, after)[3]

    def _leaves(
        self, location_id: int, at: datetime, service_id: int | None, after: int
    ) -> tuple[datetime, datetime, datetime, datetime]:
        """The first and the last instant at which the answer is this one, the ship-by time, and when it is ready to leave."""
        collected = self._pickups.get((location_id, service_id)) if service_id is not None and self._pickups else None
        key = (location_id, service_id if collected else None, after)
        window = self._ship_by.get(key)
        if window is not None and window[0] <= at <= window[1]:
            return window
        location = self.locations[location_id]
        day = at.astimezone(location.zone).date()
        # Instants are compared: where clocks are put back, a local time comes twice, and where they are put forward, not at all.
        if at > datetime.combine(day, location.cut_off, location.zone).astimezone(UTC):
            day += timedelta(days=1)
        day = first = self._working_day(location, day)
        for _ in range(location.processing_days + after):
            day = self._working_day(location, day + timedelta(days=1))
        ready = ship_by = datetime.combine(day, location.cut_off, location.zone)
        if collected and service_id is not None:
            ready = ship_by = self._collection(location, self.services[service_id], collected, ready)
        else:
            ship_by = max(ready, datetime.combine(day, location.ships_until, location.zone))
        until = datetime.combine(first, location.cut_off, location.zone).astimezone(UTC)
        window = self._ship_by[key] = (at, until, ship_by.astimezone(UTC), ready.astimezone(UTC))
        return window

    def cut_off_of_day(self, location_id: int, at: datetime) -> datetime:
        """The location's cut-off on the local day of an instant."""
        location = self.locations[location_id]
        return datetime.combine(at.astimezone(location.zone).date(), location.cut_off, location.zone).astimezone(UTC)

    def cut_off_at(self, location_id: int, at: datetime) -> datetime:
        """The cut-off by which an order has to come for what ``ship_by`` says of ``at``."""
        return self._leaves(location_id, at, None, 0)[1]

    def _working_day(self, location: Location, day: date) -> date:
        """The first working day from this one on."""
        for _ in range(YEAR_DAYS):
            if self.works(location, day):
                return day
            day += timedelta(days=1)
        return day

    def _collection(
        self, location: Location, service: Service, pickups: Sequence[tuple[frozenset[int], time]], ready: datetime
    ) -> datetime:
        """The first pickup at or after a local time, on a day on which the location works and the carrier keeps no holiday."""
        for days in range(YEAR_DAYS):
            day = ready.date() + timedelta(days=days)
            times = [at for weekdays, at in pickups if day.isoweekday() in weekdays and (days or at >= ready.time())]
            if times and self.works(location, day) and not _is_holiday(service.holidays, day):
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


@lru_cache(YEARS)
def _days_off(name: str, year: int) -> frozenset[date]:
    """A year of a calendar, made as a whole: one that fills itself as it is asked is wrong while another thread fills it. The years
    beside it count, too, because a holiday may be kept on a day of another year.
    """
    country, _, part = name.partition("-")
    years = [one for one in (year - 1, year, year + 1) if MINYEAR <= one <= MAXYEAR]
    found = country_holidays(country, subdiv=part or None, years=years, expand=False)
    return frozenset(day for day in found if day.year == year)


def _is_holiday(calendar: str | None, day: date) -> bool:
    return calendar is not None and day in _days_off(calendar, day.year)


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
                "serves_prefixes": tuple(map(beginning, row["serves_prefixes"])),
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
    rates = await all_rates(tx)
    return NetworkFacts(locations, services, channels, networks, places, closures, pickups, days, rates)


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
        payment_provider=row["payment_provider"],
    )
