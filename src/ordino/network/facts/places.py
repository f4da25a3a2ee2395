"""Which zones of which services reach an address from each location.

A zone comes from a lane (a pair of postal prefixes, the longest pair wins) or else from the great-circle distance
(haversine, mean Earth radius 6371.0088 km, IUGG).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np

from ordino.network.facts.model import Location
from ordino.network.postal import beginning, first_part, normal
from ordino.network.rates import Route, Service

EARTH_RADIUS_KM = 6371.0088
MEMO_BYTES = 100_000_000
LARGEST_CODE = 1 << 62
Coordinates = tuple[float, float]
"""Latitude and longitude in degrees."""
Kilometers = np.ndarray[tuple[int], np.dtype[np.float64]]
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


class Places:
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

    def apart(self) -> Places:
        """The same places with memos of their own."""
        places = copy(self)
        places._forget()
        return places

    def codes(self, postal_code: str, there: Coordinates | None) -> array[int]:
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

    def _km(self, there: Coordinates) -> Kilometers:
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


class PostalCodes:
    """Where postal codes are."""

    def __init__(self, places: Mapping[tuple[str, str], Coordinates]) -> None:
        self._places = {(country, normal(country, code)): there for (country, code), there in places.items()}

    def place(self, country: str, postal_code: str) -> Coordinates | None:
        """Of a postal code, if known; a longer code is looked up by its first part, too."""
        return self._places.get((country, normal(country, postal_code))) or self._places.get(
            (country, first_part(country, postal_code))
        )


class Destination:
    """Location id -> the route from there to one address."""

    __slots__ = ("_codes", "_index", "_locations", "_places", "_routes", "_there", "postal_code")

    def __init__(
        self, places: Places, locations: Mapping[int, Location], postal_code: str, there: Coordinates | None
    ) -> None:
        self._places = places
        self._locations = locations
        self._there = there
        self.postal_code = postal_code  # in its normal form
        self._codes = places.codes(postal_code, there)
        self._index = places.index
        self._routes = places.routes

    def __getitem__(self, location_id: int) -> Route:
        code = self._codes[self._index[location_id]]
        return self._routes.get(code) or self._places.route(code)

    def km(self, location_id: int) -> float | None:
        """The great-circle distance from a location; None if nobody knows where the address is."""
        location = self._locations[location_id]
        return None if self._there is None else distance_km((location.latitude, location.longitude), self._there)


class Addresses:
    """What every location can do for an address; found out as it is asked, and remembered."""

    def __init__(self, places: Places, locations: Mapping[int, Location], postal_codes: PostalCodes) -> None:
        self.postal_codes = postal_codes
        self._places = places
        self._locations = locations
        self.known: dict[tuple[str, str], Destination] = {}

    def destination(self, country: str, postal_code: str) -> Destination:
        """The routes to an address, however its postal code is written."""
        key = (country, postal_code)
        destination = self.known.get(key)
        if destination is None:
            if len(self.known) * (self._places.bytes + 500) > MEMO_BYTES:
                self.known.clear()
            form = normal(country, postal_code)
            there = self.postal_codes.place(country, postal_code)
            destination = self.known[key] = Destination(self._places, self._locations, form, there)
        return destination


def distance_km(here: Coordinates, there: Coordinates) -> float:
    """Great-circle distance between two (latitude, longitude) pairs in degrees, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = ((math.radians(a), math.radians(b)) for a, b in (here, there))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))
