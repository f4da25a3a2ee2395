"""What sourcing is asked, what it answers, and why.

SRC-1  A decision never uses units that are not free above the buffer.
SRC-2  A decision never uses a location that a fence stops.
SRC-3  Equal questions get equal answers.
SRC-4  Rated by cost, a decision never costs more than the best plan from one location.
SRC-5  A decision never takes more of a location's day than it has left, in orders or in units.
SRC-6  What belongs together under the strategy comes from one location.
SRC-7  Ranked, a decision uses the fewest locations, and of as many locations those that rank highest; in rank order, no location
       gives a unit that a better ranked one still has.
SRC-8  What a set of orders was decided on is kept until every shadow has decided on it once, and no longer: it has its reaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.catalog.kits import Parts
from ordino.network.facts import Serving
from ordino.network.parcels import Contents, tidy


class ShortPolicy(StrEnum):
    """What becomes of an order when too little is free."""

    REFUSE = "refuse"  # the whole order is refused
    BACKORDER = "backorder"  # missing units of backorderable SKUs wait for stock; others refuse the order
    DROP = "drop"  # lines that cannot be filled whole are dropped


class Need(Struct, frozen=True, gc=False, array_like=True):
    """Units of one line. ``grams`` and ``cubic_mm`` are of one unit; ``excluded`` are locations that have failed it before.

    Kits are assembled where they are picked: all components of one come from the same location. Their components are what parcels
    hold: ``contents`` says how much one unit of each weighs and measures, and how many of them one kit holds.
    """

    line_no: int
    sku_id: int
    quantity: int
    grams: int
    backorderable: bool = False
    excluded: tuple[int, ...] = ()
    parts: Parts = ()  # of a kit: what it takes from stock
    cubic_mm: int = 0
    classes: tuple[str, ...] = ()  # a location must be able to handle all of them
    group: str | None = None  # lines that the channel wants from one location
    sku: str = ""
    category: str | None = None
    unit_price_minor: int = 0
    contents: Contents = ()

    def held(self) -> Contents:
        """What one unit is packed as: itself, or the components of a kit, each as heavy as the others if nobody says what they
        weigh.
        """
        if not self.parts:
            return ((self.grams, self.cubic_mm, 1),)
        if self.contents:
            return self.contents
        count = sum(each for _, each in self.parts)
        grams, heavier = divmod(self.grams, count)
        cubic_mm = -(-self.cubic_mm // count)
        return tidy([(grams + 1, cubic_mm, heavier), (grams, cubic_mm, count - heavier)])


class Request(Struct, frozen=True, gc=False, array_like=True):
    """One order's question. ``promised_at`` is what the buyer was told, ``ship_by_at`` by when the channel wants it shipped: a plan
    that keeps both goes before any that does not.
    """

    request_id: UUID
    network: Serving
    country: str
    postal_code: str
    at: datetime
    needs: tuple[Need, ...]
    short_policy: ShortPolicy
    channel_id: int | None = None
    closed: Collection[int] = ()  # locations that are switched off for the channel now
    held: Mapping[tuple[int, int], int] = {}  # (SKU id, location id) -> units that are kept for this order
    channel: str = ""
    seller: str = ""
    order_type: str = "home_delivery"
    service_level: str | None = None  # only services of this level
    promised_at: datetime | None = None
    region: str | None = None
    city: str = ""
    total_minor: int = 0
    currency: str = ""
    customer: str | None = None
    whole: tuple[Need, ...] = ()  # what was ordered, where only some of it is asked for
    ship_by_at: datetime | None = None

    def facts(self) -> dict[str, Any]:
        """What conditions are asked about."""
        at, ordered = self.at, self.whole or self.needs
        return {
            "order": {
                "channel": self.channel,
                "seller": self.seller,
                "type": self.order_type,
                "currency": self.currency,
                "total_minor": self.total_minor,
                "units": sum(need.quantity for need in ordered),
                "size": len(ordered),
                "grams": sum(need.grams * need.quantity for need in ordered),
                "service_level": self.service_level or "",
                "promised": self.promised_at is not None,
            },
            "lines": [
                {
                    "sku": need.sku,
                    "quantity": need.quantity,
                    "unit_price_minor": need.unit_price_minor,
                    "category": need.category or "",
                    "grams": need.grams,
                    "handling_classes": list(need.classes),
                    "group": need.group or "",
                    "kit": bool(need.parts),
                }
                for need in ordered
            ],
            "customer": {"id": self.customer or "", "known": self.customer is not None},
            "destination": {
                "country": self.country,
                "region": self.region or "",
                "postal_code": self.postal_code,
                "city": self.city,
            },
            "clock": {
                "date": at.date().isoformat(),
                "hour": at.hour,
                "minute": at.minute,
                "weekday": at.isoweekday(),
                "month": at.month,
                "day": at.day,
            },
        }


class Fence(StrEnum):
    """Why a location is not a candidate, in the order in which the fences are tested."""

    CLOSED = "closed"  # The location is switched off.
    DOES_NOT_SERVE = "does_not_serve"  # It does not ship to this country, or not to this postal code.
    CANNOT_HANDLE = "cannot_handle"  # It cannot handle a class of a SKU.
    REJECTED = "rejected"  # It could not supply these lines before.
    LOCATION_TYPE = "location_type"  # The strategy wants other types of location.
    LOCATION = "location"  # The strategy names other locations.
    TAG = "tag"  # The strategy wants a tag that it lacks, or none that it has.
    COUNTRY = "country"  # It lies in another country than the address.
    TOO_FAR = "too_far"  # It lies further from the address than the strategy lets it.
    NO_EXCHANGE_RATE = "no_exchange_rate"  # What it or its carriers cost cannot be converted into the order's currency.
    NO_SERVICE = "no_service"  # No carrier service (of the level that was asked for) reaches the address from there.
    TOO_LARGE = "too_large"  # One unit weighs or measures more than any carrier service from there takes as a parcel.
    LATE = "late"  # Nothing from there leaves and arrives by what the order asks for.
    NO_CAPACITY = "no_capacity"  # Its day of shipping is full.
    STOCK_LEFT = "stock_left"  # What lies there is to stay there.
    APART = "apart"  # It has a part only of what has to come from one location.


class Units(Struct, frozen=True, gc=False):
    """Units of one line that come from the leg's location."""

    line_no: int
    sku_id: int
    quantity: int


class Leg(Struct, frozen=True, gc=False):
    """What one location is to ship, with which service, by when, and at what cost. ``ship_on`` is the day of its capacity."""

    location_id: int
    service_id: int
    zone: str
    ship_by_at: datetime
    promised_at: datetime
    carrier_cost_minor: int
    handling_cost_minor: int
    units: tuple[Units, ...]
    ship_on: date
    carbon_grams: int = 0
    packages: int = 1
    grams: int = 0

    def given(self) -> dict[int, int]:
        """SKU id -> units."""
        found: dict[int, int] = {}
        for part in self.units:
            found[part.sku_id] = found.get(part.sku_id, 0) + part.quantity
        return found


Terms = Mapping[str, int]
"""What a cost is made of: the name of the term -> minor units."""


class Seen(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a limited location's day had left for a decision, in orders and units; None: no limit."""

    day: date
    orders: int | None = None
    units: int | None = None


class Candidate(Struct, frozen=True, gc=False, omit_defaults=True):
    """A location that was looked at: the fence that stopped it, or what it could give and what sending that would have cost.

    ``stock`` are the units of each SKU that were free there as the decision saw it, by SKU id; ``room`` is its day's, if limited.
    """

    location_id: int
    covers: int = 0
    cost_minor: int | None = None
    terms: Terms = {}
    fence: Fence | None = None
    stock: tuple[tuple[int, int], ...] = ()
    room: Seen | None = None


class Look(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one strategy: why it was passed over, or how many units it could give."""

    strategy: str
    gave: int = 0
    passed: str | None = None  # its condition does not hold, or why that could not be told
    failed: bool = False  # its condition could not be evaluated on this order


class Explanation(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why: what the plan that was chosen costs, and the best others, up to a limit; how many each fence stopped in all."""

    profile: str
    wanted: int
    chosen: str  # "one location", "split" or "nothing"
    strategy: str | None = None
    cost_minor: int | None = None
    terms: Terms = {}
    split_cost_minor: int = 0
    best_single_cost_minor: int | None = None
    candidates: tuple[Candidate, ...] = ()
    candidates_left_out: int = 0
    stopped: Mapping[str, int] = {}
    looks: tuple[Look, ...] = ()
    promise_kept: bool | None = None  # None: the buyer was told nothing before
    plan: tuple[tuple[int, int], ...] = ()  # (location id, units)
    claimed: tuple[tuple[int, int, int], ...] = ()  # (SKU id, location id, units) left to orders that waited
    ranked_by: tuple[str, ...] = ()  # the ratings of the strategy that chose; empty: the cheapest plan won
    in_rank_order: bool = False  # it took from the best ranked location first, however many it took
    exchange_rates: tuple[tuple[str, str], ...] = ()  # (currency, what one whole unit of it was worth in the order's)
    ship_by_kept: bool | None = None  # None: the channel named no time by which it wants the order shipped


class Decision(Struct, frozen=True, gc=False):
    """The answer. ``short`` are units per line that no leg covers; ``refused`` says that the policy refuses the order."""

    request_id: UUID
    legs: tuple[Leg, ...]
    short: Mapping[int, int]
    dropped: frozenset[int]
    refused: bool
    stopped_by_fences: bool
    explanation: Explanation
    profile_version: int = 0

    @property
    def endangered(self) -> bool:
        """Does the plan break what the buyer was told, or the channel's ship-by time?"""
        return self.explanation.promise_kept is False or self.explanation.ship_by_kept is False

    @property
    def promised_at(self) -> datetime | None:
        """When the last package arrives; None while something is short."""
        if self.short or not self.legs:
            return None
        return max(leg.promised_at for leg in self.legs)


class Outlook(Struct, frozen=True):
    """What is expected to be asked of positions: units a week, and what one unit less there costs later, in minor units of the
    position's currency (of each order's own, where none is said).
    """

    weekly: Mapping[tuple[int, int], float] = {}
    prices: Mapping[tuple[int, int], int] = {}
    currencies: Mapping[tuple[int, int], str] = {}
