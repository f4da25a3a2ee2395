"""What sending units from a location costs, term by term, and how locations rank beside each other.

Money is in minor units. A term is told under the name that it has in the profile. Where money is made of shares it is rounded
half to even, once a unit or once a leg, as its term says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ordino.core.money import converted
from ordino.network.facts import Destination, Location, NetworkFacts
from ordino.network.parcels import Contents, tidy
from ordino.network.rates import Quote
from ordino.sourcing.left import NO_LIMIT, Cover, Left, Rooms
from ordino.sourcing.model import Outlook, Request
from ordino.sourcing.profile import Cost, Ranked, Rating

DAY = timedelta(days=1)
NOWHERE_KM = 1_000_000


class Costs:
    """The costs of one request under one strategy."""

    def __init__(
        self,
        request: Request,
        cost: Cost,
        left: Left,
        facts: NetworkFacts,
        outlook: Outlook,
        grams: Mapping[int, int],
        cubic_mm: Mapping[int, int],
        routes: Destination,
        rooms: Rooms,
        *,
        only_in_time: bool,
        pieces: Mapping[int, tuple[int, int]] = {},
        contents: Mapping[int, Contents] = {},
    ) -> None:
        self.request = request
        self.cost = cost
        self.facts = facts
        self._left = left
        self._outlook = outlook
        self._grams = grams
        self._cubic_mm = cubic_mm
        self._routes = routes
        self._rooms = rooms
        self._level = request.service_level
        self._carrier = cost.carrier
        self._handling = facts.handling if cost.handling else None
        self._by_unit = facts.handles_by_unit
        self._given: Cover | None = None  # what was weighed last
        self._weight = self._volume = 0
        self._pieces = pieces
        self._contents = contents
        self._light, self._small = facts.light_grams, facts.small_cubic_cm
        self._packed: Contents | None = None  # what was weighed last, unit by unit
        self._packs = False  # whether what was weighed last may be more than one parcel
        self.only_in_time = only_in_time
        self._by_service = only_in_time or bool(cost.carbon_minor or (cost.late_minor and request.promised_at))
        self._more = bool(
            self._by_service
            or pieces
            or cost.capacity_minor
            or cost.stock_out_minor
            or cost.overstock_minor
            or cost.last_units
        )

    def total(self, location_id: int, given: Cover) -> int:
        """What a leg costs, all terms together."""
        if self._more:
            return sum(self.terms(location_id, given).values())
        cost = 0
        if self._carrier:
            if given is not self._given:
                self._weigh(given)
            route = self._routes[location_id]
            if self._packs:
                cost = route.packed(self._units(given), self._level)[0].cost_minor
            else:
                cost = route.quotes(self._weight, self._volume, self._level)[0].cost_minor
        if self._handling is not None:
            if location_id in self._by_unit:
                return cost + handling(self.facts.locations[location_id], given)
            cost += self._handling[location_id]
        return cost

    def terms(self, location_id: int, given: Cover) -> dict[str, int]:
        """What a leg costs, by term; terms that are switched off or nothing are left out."""
        if not self._more:
            return self._plain_terms(location_id, given)
        cost, terms = self.cost, {}
        quote = self.quote(location_id, given)
        if cost.carrier:
            terms["carrier"] = quote.cost_minor
        if cost.handling:
            terms["handling"] = handling(self.facts.locations[location_id], given)
        if cost.capacity_minor:
            terms["capacity"] = self._pressure(location_id)
        if cost.late_minor:
            terms["late"] = self._late(location_id, quote)
        if cost.carbon_minor:
            terms["carbon"] = self._carbon(location_id, quote, given)
        if cost.stock_out_minor:
            terms["stock_out"] = sum(self._stock_out(location_id, *item) for item in given.items())
        if cost.overstock_minor:
            terms["overstock"] = -sum(self._overstock(location_id, *item) for item in given.items())
        if cost.last_units:
            terms["last_units"] = sum(self._last_units(location_id, *item) for item in given.items())
        return {name: minor for name, minor in terms.items() if minor}

    def _plain_terms(self, location_id: int, given: Cover) -> dict[str, int]:
        terms: dict[str, int] = {}
        if self._carrier and (minor := self.quotes(location_id, given)[0].cost_minor):
            terms["carrier"] = minor
        if self._handling is not None:
            minor = self._handling[location_id]
            if location_id in self._by_unit:
                minor = handling(self.facts.locations[location_id], given)
            if minor:
                terms["handling"] = minor
        return terms

    def by_unit(self, location_id: int, sku_id: int) -> int:
        """What one unit costs beside rates and handling, as the position stands."""
        cost, minor = self.cost, 0
        if cost.last_units:
            minor += self._last_units(location_id, sku_id, 1)
        if cost.stock_out_minor:
            minor += self._stock_out(location_id, sku_id, 1)
        if cost.overstock_minor:
            minor -= self._overstock(location_id, sku_id, 1)
        return minor

    def steps(self, location_id: int, cover: Cover) -> list[tuple[int, int]]:
        """(grams, minor units): what a leg of up to that weight costs beside its units, for every step up to the whole cover. What
        is more than one parcel counts as if its weight could be cut at will.
        """
        whole = self.weight(cover)
        found: list[tuple[int, int]] = []
        piece = self.piece(cover)
        for grams in [*(g for g in self._routes[location_id].weights(whole) if g < whole), whole]:
            minor = self._step(location_id, grams, piece)
            if found and found[-1][1] == minor:
                found[-1] = (grams, minor)
            else:
                found.append((grams, minor))
        return found

    def _step(self, location_id: int, grams: int, piece: tuple[int, int] | None) -> int:
        cost = self.cost
        route = self._routes[location_id]
        if piece is not None:
            route = route.carrying(*piece)
        quotes = route.quotes(grams, 0, self.request.service_level)
        let = [quote for quote in quotes if not self.only_in_time or self.in_time(location_id, quote)] or quotes
        km = self._routes.km(location_id) or 0.0
        minor = min(
            (quote.cost_minor if cost.carrier else 0)
            + self._late(location_id, quote)
            + round(cost.carbon_minor * self.facts.carbon_grams(quote.service_id, km, grams) / 1000)
            for quote in let
        )
        if cost.handling:
            minor += self.facts.locations[location_id].handling_cost_minor
        return minor + (self._pressure(location_id) if cost.capacity_minor else 0)

    def least(self, locations: Iterable[int], units: int) -> list[int]:
        """No leg of up to so many units from these locations costs less."""
        routes, asked = self._routes, self._handling
        relief = self.cost.overstock_minor * units
        if not self._carrier:
            return [(0 if asked is None else asked[n]) - relief for n in locations]
        if asked is None:
            return [routes[n].least_minor - relief for n in locations]
        return [routes[n].least_minor + asked[n] - relief for n in locations]

    def floor(self, units: int) -> int:
        """No leg of up to so many units from anywhere costs less."""
        cost = self.facts.least_rate_minor if self.cost.carrier else 0
        if self.cost.handling:
            cost += self.facts.least_handling_minor
        return cost - self.cost.overstock_minor * units

    def weight(self, given: Cover) -> int:
        grams = 0
        for sku_id, units in given.items():
            grams += self._grams[sku_id] * units
        return grams

    def volume(self, given: Cover) -> int:
        """In cubic centimeters, rounded up."""
        if not self._cubic_mm:
            return 0
        return -(-sum(self._cubic_mm.get(sku_id, 0) * units for sku_id, units in given.items()) // 1000)

    def quote(self, location_id: int, given: Cover) -> Quote:
        """The service that a leg goes with: the cheapest, counting lateness and carbon, of those that are let."""
        quotes = self.quotes(location_id, given)
        if not self._by_service:
            return quotes[0]
        found = [quote for quote in quotes if not self.only_in_time or self.in_time(location_id, quote)] or quotes
        return min(
            found,
            key=lambda q: (
                (q.cost_minor if self.cost.carrier else 0)
                + self._late(location_id, q)
                + self._carbon(location_id, q, given),
                q.cost_minor,
                q.transit_days,
                q.service_id,
            ),
        )

    def quotes(self, location_id: int, given: Cover) -> Sequence[Quote]:
        if given is not self._given:
            self._weigh(given)
        route = self._routes[location_id]
        if self._packs:
            return route.packed(self._units(given), self._level)
        return route.quotes(self._weight, self._volume, self._level)

    def _weigh(self, given: Cover) -> None:
        self._given, self._weight, self._volume = given, self.weight(given), self.volume(given)
        self._packs = self._weight > self._light or (self._small is not None and self._volume > self._small)
        self._packed = None

    def _units(self, given: Cover) -> Contents:
        """What was weighed last, unit by unit: a parcel holds whole ones. Kits go as their components."""
        if self._packed is None:
            found = []
            for sku_id, units in given.items():
                if sku_id in self._contents:
                    found += [(grams, mm, each * units) for grams, mm, each in self._contents[sku_id]]
                else:
                    found.append((self._grams[sku_id], self._cubic_mm.get(sku_id, 0), units))
            self._packed = tidy(found)
        return self._packed

    def piece(self, given: Cover) -> tuple[int, int] | None:
        """Weight and volume (grams, cubic centimeters) that a service must take as one parcel; None: any service does."""
        pieces = [self._pieces[sku_id] for sku_id in given if sku_id in self._pieces]
        return (max(grams for grams, _ in pieces), max(volume for _, volume in pieces)) if pieces else None

    def ship_by(self, location_id: int, service_id: int | None) -> datetime:
        return self.facts.ship_by(location_id, self.request.at, service_id, self._rooms.after(location_id))

    def arrives(self, location_id: int, quote: Quote) -> datetime:
        return self.facts.arrives_at(
            location_id, quote.service_id, self.ship_by(location_id, quote.service_id), quote.transit_days
        )

    def in_time(self, location_id: int, quote: Quote) -> bool:
        return self.leaves_in_time(location_id, quote) and self.arrives_in_time(location_id, quote)

    def leaves_in_time(self, location_id: int, quote: Quote) -> bool:
        """Can it be on its way by when the channel wants it shipped?"""
        ship_by_at = self.request.ship_by_at
        if ship_by_at is None:
            return True
        after = self._rooms.after(location_id)
        return self.facts.ready_at(location_id, self.request.at, quote.service_id, after) <= ship_by_at

    def arrives_in_time(self, location_id: int, quote: Quote) -> bool:
        promised_at = self.request.promised_at
        return promised_at is None or self.arrives(location_id, quote) <= promised_at

    def carbon_grams(self, location_id: int, quote: Quote, given: Cover) -> int:
        km = self._routes.km(location_id)
        return 0 if km is None else self.facts.carbon_grams(quote.service_id, km, self.weight(given))

    def _carbon(self, location_id: int, quote: Quote, given: Cover) -> int:
        if not self.cost.carbon_minor:
            return 0
        return round(self.cost.carbon_minor * self.carbon_grams(location_id, quote, given) / 1000)

    def _late(self, location_id: int, quote: Quote) -> int:
        promised_at = self.request.promised_at
        if promised_at is None or not self.cost.late_minor:
            return 0
        late = self.arrives(location_id, quote) - promised_at
        return self.cost.late_minor * math.ceil(late / DAY) if late > timedelta(0) else 0

    def _pressure(self, location_id: int) -> int:
        room, begins = self._rooms.of(location_id), self.cost.capacity_from
        if room.limit is None or room.orders >= NO_LIMIT:
            return 0
        share = (room.limit - room.orders + 1) / room.limit
        if begins >= 1:
            return self.cost.capacity_minor if share >= 1 else 0
        return round(self.cost.capacity_minor * max(0.0, share - begins) / (1 - begins))

    def _weeks(self, sku_id: int, location_id: int, less: int) -> float | None:
        weekly = self._outlook.weekly.get((sku_id, location_id))
        if not weekly:
            return None
        return (self._left.free(sku_id).get(location_id, 0) - less) / weekly

    def _stock_out(self, location_id: int, sku_id: int, units: int) -> int:
        weeks = self._weeks(sku_id, location_id, units)
        if weeks is None or weeks >= self.cost.safe_weeks:
            return 0
        return round(self.cost.stock_out_minor * (1 - max(weeks, 0.0) / self.cost.safe_weeks)) * units

    def _overstock(self, location_id: int, sku_id: int, units: int) -> int:
        weeks, most = self._weeks(sku_id, location_id, 0), self.cost.overstock_weeks
        if weeks is None or weeks <= most:
            return 0
        share = 1.0 if not most else min(1.0, (weeks - most) / most)
        return round(self.cost.overstock_minor * share) * units

    def _last_units(self, location_id: int, sku_id: int, units: int) -> int:
        price = self._outlook.prices.get((sku_id, location_id), 0)
        currency, into = self._outlook.currencies.get((sku_id, location_id)), self.request.currency
        if price and currency is not None and into and currency != into:
            rate = self.facts.rates.rate(currency, into, self.request.at)
            price = 0 if rate is None else converted(price, rate, currency, into)
        return round(price * self.cost.last_units) * units

    def rank(self, ranked: Sequence[Ranked], location_id: int, given: Cover) -> tuple[float, ...]:
        """The figures by which locations are compared, smaller ones first; the location's key breaks the last tie."""
        return (*[self._figure(rating, location_id, given) for rating in ranked], location_id)

    def _figure(self, rating: Ranked, location_id: int, given: Cover) -> float:
        location = self.facts.locations[location_id]
        match rating.by:
            case Rating.COST:
                return self.total(location_id, given) / sum(given.values())
            case Rating.DISTANCE:
                km = self._routes.km(location_id)
                return NOWHERE_KM if km is None else round(km)
            case Rating.ARRIVAL:
                return self.arrives(location_id, self.quote(location_id, given)).toordinal()
            case Rating.LOCATION_TYPE:
                return _place(rating.order, [location.type])
            case Rating.LOCATION:
                return _place(rating.order, [location.code])
            case Rating.TAG:
                return _place(rating.order, location.tags)
            case Rating.PRIORITY:
                return location.priority
            case Rating.MOST_STOCK:
                return -sum(self._left.free(sku_id).get(location_id, 0) for sku_id in given)
            case Rating.WEEKS_OF_SUPPLY:
                weeks = [self._weeks(sku_id, location_id, 0) for sku_id in given]
                return -min((math.inf if week is None else week for week in weeks), default=math.inf)
            case Rating.CAPACITY_LEFT:
                return -self._rooms.of(location_id).orders


def _place(order: Sequence[str], names: Sequence[str] | frozenset[str]) -> int:
    return min((order.index(name) for name in names if name in order), default=len(order))


def handling(location: Location, given: Cover) -> int:
    """What a location asks for an order, each of its SKUs and each unit."""
    cost = location.handling_cost_minor
    if location.handling_line_cost_minor or location.handling_unit_cost_minor:
        cost += location.handling_line_cost_minor * len(given) + location.handling_unit_cost_minor * sum(given.values())
    return cost
