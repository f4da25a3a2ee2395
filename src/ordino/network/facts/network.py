"""The network as sourcing sees it: who may ship, where to, at what cost and by when."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from copy import copy
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ordino.core.errors import NotFound
from ordino.network.exchange import Rates
from ordino.network.facts.calendar import Calendar
from ordino.network.facts.closed import Closures
from ordino.network.facts.model import CapacityDays, Channel, Channels, Closed, Location, Pickups, Serving
from ordino.network.facts.places import Coordinates, PostalCodes
from ordino.network.facts.tariff import PRICED, Tariff
from ordino.network.rates import Quote, Service

Found = TypeVar("Found")
MEMO_LIMIT = 1024
NO_RATES = Rates()
NO_PICKUPS: Pickups = {}
NO_DAYS: CapacityDays = {}


class Parts(Struct, frozen=True, kw_only=True):
    """What facts are made of. Each part is read by itself, and stays the same object as long as nobody changes it."""

    locations: Mapping[int, Location]
    services: Mapping[int, Service]
    channels: Channels
    postal_codes: PostalCodes
    closures: Closures
    pickups: Pickups
    capacity_days: CapacityDays
    rates: Rates


class NetworkFacts:
    """The network as it stands at one moment. What is asked of it is remembered, for one thread: what decides in another one is
    given facts of its own (``apart``).
    """

    parts: Parts
    tariff: Tariff
    calendar: Calendar

    def __init__(
        self,
        locations: Mapping[int, Location],
        services: Mapping[int, Service],
        channels: Mapping[str, Channel],
        networks: Mapping[int, Serving],
        places: Mapping[tuple[str, str], Coordinates],
        closures: Iterable[Closed] = (),
        pickups: Pickups = NO_PICKUPS,
        capacity_days: CapacityDays = NO_DAYS,
        rates: Rates = NO_RATES,
    ) -> None:
        parts = Parts(
            locations=locations,
            services=services,
            channels=Channels(channels, networks),
            postal_codes=PostalCodes(places),
            closures=Closures(closures),
            pickups=pickups,
            capacity_days=capacity_days,
            rates=rates,
        )
        self._make(parts, None)

    @classmethod
    def of(cls, parts: Parts, before: NetworkFacts | None = None, numbers: Mapping[str, int] = {}) -> NetworkFacts:
        """These parts together, of these revisions. What was found out ``before`` is kept as far as the parts it rests on are the
        same.
        """
        facts = cls.__new__(cls)
        facts._make(parts, before)
        facts.numbers = numbers
        return facts

    def _make(self, parts: Parts, before: NetworkFacts | None) -> None:
        was = None if before is None else before.parts
        same = was is not None and was.locations is parts.locations and was.services is parts.services
        self.parts = parts
        self.numbers: Mapping[str, int] = {}
        self._original = self
        self.rates = parts.rates
        self.channels = parts.channels.by_code
        self.channels_by_id = parts.channels.by_id
        self.networks = parts.channels.networks
        tariff = before.tariff if before and same else Tariff(parts.locations, parts.services)
        kept = before is not None and was is not None and same and was.pickups is parts.pickups
        calendar = before.calendar if before and kept else Calendar(parts.locations, parts.services, parts.pickups)
        self.location_ids, self.binned, self.levels = tariff.location_ids, tariff.binned, tariff.levels
        self.limited = tariff.limited | {location_id for location_id, _ in parts.capacity_days}
        self._use(tariff, calendar)

    def _use(self, tariff: Tariff, calendar: Calendar) -> None:
        """From here on, this is what shipping costs and when it is done. What is asked for thousands of times a second is bound
        here, so that asking takes no detour.
        """
        self.tariff = tariff
        self.locations, self.services = tariff.locations, tariff.services
        self.places, self.currencies = tariff.places, tariff.currencies
        self.exchanged, self.unpriced = tariff.exchanged, tariff.unpriced
        self.handling, self.handles_by_unit = tariff.handling, tariff.handles_by_unit
        self.least_handling_minor, self.least_rate_minor = tariff.least_handling_minor, tariff.least_rate_minor
        self.measures, self.light_grams = tariff.measures, tariff.light_grams
        self.small_cubic_cm = tariff.small_cubic_cm
        self.serving_country = tariff.serving_country
        self.destination = tariff.addresses(self.parts.postal_codes).destination
        self.calendar = calendar
        self.works, self.ship_by, self.ready_at = calendar.works, calendar.ship_by, calendar.ready_at
        self.cut_off_at, self.cut_off_of_day = calendar.cut_off_at, calendar.cut_off_of_day
        self.pickup_ready_at, self.arrives_at = calendar.pickup_ready_at, calendar.arrives_at
        self._priced: dict[tuple[str, tuple[tuple[str, Fraction | None], ...]], NetworkFacts] = {}
        self._open: dict[tuple[int, frozenset[int]], Mapping[int, int]] = {}

    def apart(self) -> NetworkFacts:
        """The same network for another thread: what it remembers is its own."""
        facts = copy(self)
        facts._original = facts if self._original is self else self._original.apart()
        facts.parts = replace(self.parts, closures=self.parts.closures.apart())
        facts._use(self.tariff.apart(), self.calendar.apart())
        return facts

    def remember(self, key: tuple[Hashable, ...], of: object, find: Callable[[], Found]) -> Found:
        """What later stages find out about locations and services: see ``Tariff.remember``."""
        return self.tariff.remember(key, of, find)

    # -- money -------------------------------------------------------------------------------------------------------------

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
            found = self._priced[currency, rates] = copy(self)
            found._use(self.tariff.in_currency(currency, rates), self.calendar)
        return found

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

    def carbon_grams(self, service_id: int, km: float, grams: int) -> int:
        """Carbon dioxide equivalent of sending a weight so far."""
        return round(self.services[service_id].carbon_grams_per_kg_km * km * grams / 1000)

    # -- where to ----------------------------------------------------------------------------------------------------------

    def reaches(self, location_id: int, country: str, postal_code: str, level: str | None) -> bool:
        """Whether any carrier service (of a level) goes there, whether or not its rates can be converted."""
        route = self._original.destination(country, postal_code)[location_id]
        return bool((route if level is None else route.of(level)).ways)

    def place(self, country: str, postal_code: str) -> Coordinates | None:
        """Latitude and longitude of a postal code, if known; a longer code is looked up by its first part, too."""
        return self.parts.postal_codes.place(country, postal_code)

    # -- who is open -------------------------------------------------------------------------------------------------------

    def closed(self, channel_id: int | None, at: datetime) -> Mapping[int, Closed]:
        """Location id -> why it is switched off for the channel at this time."""
        return self.parts.closures.closed(channel_id, at)

    def is_open(self, location_id: int, channel_id: int, closed: Collection[int]) -> bool:
        """Whether the location may be given work of the channel: its network has it, it is active, and it is not among those that
        are ``closed`` for the channel.
        """
        serving = self.channels_by_id[channel_id].network
        if serving is None or location_id not in serving.buffers or not self.locations[location_id].active:
            return False
        return location_id not in closed

    def why_shut(self, location_id: int, channel_id: int, at: datetime) -> str:
        """Why ``is_open`` says no, as a part of a sentence. A closure is named by its code: what people wrote as its reason
        stays with it, because sentences like this one go into events, which are kept for good.
        """
        code, channel = self.locations[location_id].code, self.channels_by_id[channel_id]
        if (closure := self.closed(channel_id, at).get(location_id)) is not None:
            return f"{code} is closed by the closure {closure.code!r}"
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

    def closures_turn(self, since: datetime, at: datetime) -> bool:
        """Has a closure begun or ended after ``since``?"""
        return self.parts.closures.turn_between(since, at)

    def last_turn(self, at: datetime) -> datetime | None:
        """The latest instant, ``at`` at the latest, at which time alone changed who can work: a closure began or ended, or a
        location with limits began to ship for another day. None if there was none.
        """
        turn = self.parts.closures.last_turn(at)
        turns = [] if turn is None else [turn]
        for location_id in self.limited:
            location = self.locations[location_id]
            today = datetime.combine(at.astimezone(location.zone).date(), location.cut_off, location.zone)
            turns.append(today if today <= at else today - timedelta(days=1))
        return max(turns, default=None)

    # -- who serves whom ---------------------------------------------------------------------------------------------------

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

    # -- days --------------------------------------------------------------------------------------------------------------

    def order_limit(self, location_id: int, day: date) -> int | None:
        """How many orders a location can take on for a day; None: any number."""
        said = self.parts.capacity_days.get((location_id, day))
        return self.locations[location_id].daily_capacity if said is None else said[0]

    def unit_limit(self, location_id: int, day: date) -> int | None:
        """How many units a location can take on for a day; None: any number."""
        said = self.parts.capacity_days.get((location_id, day))
        return self.locations[location_id].daily_unit_capacity if said is None else said[1]
