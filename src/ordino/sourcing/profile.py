"""A routing profile as sourcing obeys it: whose orders it is for, and ordered strategies of fences, ratings and a split policy.

``document.py`` makes one of YAML or JSON; ``decide.py`` follows it. Money is in minor units of the profile's currency, or else of
the order's.

Some fences always stand and need not be named: a location that is closed, that does not serve the address, from which no
service (of the level that was asked for) goes there, that cannot handle a SKU's class, that has failed the line before, or
whose day of shipping is full.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from ordino.core.money import converted
from ordino.network import postal
from ordino.sourcing.condition import Asked


class Condition(Protocol):
    """A CEL expression over an order."""

    @property
    def source(self) -> str: ...

    @property
    def line(self) -> int: ...

    @property
    def asks_time(self) -> bool:
        """Whether the answer may change with the time of day or year."""

    def steps(self, lines: int) -> float:
        """So many steps does it take at most on an order of so many lines, about a microsecond each."""

    def answer(self, asked: Asked) -> bool | str:
        """Whether it holds for an order; the sentence why that cannot be told, where the expression fails on this order."""


class Scope(Struct, frozen=True):
    """Whose orders a profile is for; what is left out matches all. The most specific of the active profiles decides:
    one that names channels before one that names sellers, then order types, then destinations; each outweighs all that come
    after it together.

    ``destinations`` are countries (``US``) or countries with the beginning of a postal code (``US-97``).
    """

    channels: frozenset[str] = frozenset()
    sellers: frozenset[str] = frozenset()
    order_types: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()

    @property
    def weight(self) -> int:
        """How specific it is."""
        named = (self.channels, self.sellers, self.order_types, self.destinations)
        return sum(8 >> place for place, names in enumerate(named) if names)

    def fits(self, channel: str, seller: str, order_type: str, country: str, postal_code: str) -> bool:
        return (
            (not self.channels or channel in self.channels)
            and (not self.sellers or seller in self.sellers)
            and (not self.order_types or order_type in self.order_types)
            and (
                not self.destinations
                or any(
                    postal.within(country, postal_code).startswith(place) if "-" in place else place == country
                    for place in self.destinations
                )
            )
        )


class Fences(Struct, frozen=True):
    """Hard filters on candidates, beside those that always stand. What is left out does not filter."""

    location_types: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()  # codes
    any_tag: frozenset[str] = frozenset()  # it has one of these
    all_tags: frozenset[str] = frozenset()  # it has all of these
    no_tag: frozenset[str] = frozenset()  # it has none of these
    within_km: float | None = None  # great-circle, from the location to the address
    same_country: bool = False
    capacity_left: int | None = None  # so many orders can the day take on beside this one (no limit: always)
    stock_left: int = 0  # so many units of each SKU stay there, free, beside buffers
    keeps_promise: bool = False  # what leaves there arrives by the promise; an order without a promise passes


class Cost(Struct, frozen=True):
    """What a plan costs. Every term can be switched off (False or 0), and is told in the explanation under its name.

    ``carrier``: the rates of the cheapest service, by zone, weight (the larger of actual and dimensional) and packages.
    ``handling``: the location's costs per order, line and unit.
    ``split_minor``: each location beyond the first.
    ``capacity_minor``: what taking the last place of a day costs; it rises in proportion from 0 where the share
    ``capacity_from`` of the day (0 to 1) is used.
    ``stock_out_minor``: per unit, times the share by which the location's weeks of supply fall short of ``safe_weeks`` after it.
    ``overstock_minor``: relief per unit (it makes the plan cheaper) where weeks of supply exceed ``overstock_weeks``; times the
    share by which they do, up to 1.
    ``late_minor``: per begun day that a package arrives after the promise.
    ``carbon_minor``: per kilogram of carbon dioxide equivalent.
    ``last_units``: the opportunity cost of the units at the location, times this weight (0: off).
    """

    carrier: bool = True
    handling: bool = True
    split_minor: int = 200
    capacity_minor: int = 0
    capacity_from: float = 0.8
    stock_out_minor: int = 0
    safe_weeks: float = 4.0
    overstock_minor: int = 0
    overstock_weeks: float = 26.0
    late_minor: int = 0
    carbon_minor: int = 0
    last_units: float = 0.0

    @property
    def has_money(self) -> bool:
        return any(name.endswith("_minor") and getattr(self, name) for name in self.__struct_fields__)

    def priced_in(self, currency: str, into: str, rate: Fraction) -> Cost:
        """With its money in another currency, rounded half to even; ``rate`` is what one whole unit is worth there."""
        money = {
            name: converted(getattr(self, name), rate, currency, into)
            for name in self.__struct_fields__
            if name.endswith("_minor")
        }
        return replace(self, **money)

    @property
    def looks_at_demand(self) -> bool:
        return bool(self.stock_out_minor or self.overstock_minor)


class Rating(StrEnum):
    """What ranked ratings can compare. The smaller figure is the better one, unless it says otherwise."""

    COST = "cost"  # carrier and handling, a unit
    DISTANCE = "distance"  # great-circle, in whole kilometers
    ARRIVAL = "arrival"  # the day on which it arrives
    LOCATION_TYPE = "location_type"  # its place in the list that is given
    LOCATION = "location"  # its place in the list that is given
    TAG = "tag"  # the place in the list that is given of the first tag that it has
    PRIORITY = "priority"  # the location's own
    MOST_STOCK = "most_stock"  # units of the order's SKUs that lie free there: more is better
    WEEKS_OF_SUPPLY = "weeks_of_supply"  # more is better
    CAPACITY_LEFT = "capacity_left"  # more is better


class Ranked(Struct, frozen=True):
    """One ranked rating; ``order`` is the list of those that need one, the best first. A location is rated by what it could give
    of what is wanted.
    """

    by: Rating
    order: tuple[str, ...] = ()


class Keep(StrEnum):
    """What comes from one location, or not under this strategy."""

    LINES = "lines"  # all units of a line
    GROUPS = "groups"  # all lines that the channel has put into one group
    KITS = "kits"  # all units of a kit (each single kit always does)


class Partial(StrEnum):
    """What becomes of an order of which this strategy cannot fill everything."""

    NEXT = "next"  # the next strategy is asked
    TAKE = "take"  # it gives what it can, and the next strategies are asked for the rest


class Fallback(StrEnum):
    """What becomes of an order that no strategy could fill. What stays short follows the channel's short policy."""

    MOST_UNITS = "most_units"  # the first of the matching strategies that can give the most units gives them
    SHORT = "short"  # all that no strategy has taken is short


class Strategy(Struct, frozen=True):
    """How candidates are filtered and chosen, for orders of which ``when`` holds.

    ``ranked``: the first of these that tells two locations apart decides between them; empty: the cheapest plan by ``cost`` wins.
    A ranked strategy uses the fewest locations, and of as many locations the best ranked ones; the better ranked one gives the
    more. ``in_rank_order``, it takes from the best ranked location all that there is, then from the next one, even where another
    one has everything. ``most_locations`` bounds a split: 1 is never, None is as many as it takes.
    """

    name: str
    when: Condition | None = None
    fences: Fences = Fences()
    ranked: tuple[Ranked, ...] = ()
    cost: Cost = Cost()
    most_locations: int | None = None
    keep: frozenset[Keep] = frozenset()
    partial: Partial = Partial.NEXT
    in_rank_order: bool = False


class Profile(Struct, frozen=True):
    """The first strategy that matches and can fill everything decides.

    ``backlog_days``: where a location's day is full, the work may wait so many working days for a day that is not.
    ``most_tries``: an order line whose units so many locations could not supply is no longer sourced, and needs a person.
    ``currency``: of the money in its costs, which is converted for orders in another one; None: of each order's own.
    """

    name: str
    scope: Scope = Scope()
    strategies: tuple[Strategy, ...] = (Strategy("least_cost"),)
    fallback: Fallback = Fallback.MOST_UNITS
    backlog_days: int = 0
    most_tries: int = 5
    version: int = 0
    currency: str | None = None

    @property
    def looks_ahead(self) -> bool:
        """Whether some strategy asks what is expected of positions."""
        return any(
            strategy.cost.last_units
            or strategy.cost.looks_at_demand
            or any(rating.by is Rating.WEEKS_OF_SUPPLY for rating in strategy.ranked)
            for strategy in self.strategies
        )


def priced_in(profile: Profile, into: str, rate: Fraction) -> Profile:
    """The profile with its money in an order's currency."""
    assert profile.currency is not None, "it is converted from there"
    strategies = [
        replace(strategy, cost=strategy.cost.priced_in(profile.currency, into, rate)) for strategy in profile.strategies
    ]
    return replace(profile, strategies=tuple(strategies))
