"""Where goods lie, who may use them, and what carries them.

NET-1  A channel is served by at most one network.
NET-2  Every change is seen by everybody who keeps facts of the network, from its commit on.
NET-3  Every zone has a rate, every lane a zone.
NET-4  Costs of different currencies are never compared or added: they are converted by the exchange rate of the day, or stay apart.
NET-5  Facts of which only what has changed was read again are the same as those that are read whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from holidays import list_supported_countries
from msgspec import Meta, Struct, field

from ordino.core.codes import TRIMMED, Code, ShortCode
from ordino.core.errors import Fault
from ordino.core.money import currency_fault
from ordino.core.upserts import CountryCode, CurrencyCode, Text
from ordino.network import postal

MAX_GRAMS = 1_000_000_000
MAX_MINOR = 10**12
MAX_ZONES = 1000
MAX_LANES = 200_000
MAX_RATES = 1000
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
WorkingDays = Annotated[
    list[Annotated[int, Meta(ge=1, le=7)]], Meta(min_length=1, max_length=7, description="ISO weekdays: 1 is Monday.")
]
_NO_NUL = r"^[^\x00]*$"
PostalText = Annotated[postal.PostalText, Meta(pattern=_NO_NUL)]
Prefix = Annotated[str, Meta(max_length=20, pattern=_NO_NUL, extra={TRIMMED: True})]
LocalTime = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
MONDAY_TO_FRIDAY = (1, 2, 3, 4, 5)


def _weekdays() -> list[int]:
    return list(MONDAY_TO_FRIDAY)


class LocationType(StrEnum):
    WAREHOUSE = "warehouse"
    DISTRIBUTION_CENTER = "distribution_center"
    STORE = "store"
    THIRD_PARTY = "3pl"
    SUPPLIER = "supplier"


class Location(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place that holds or hands over stock.

    ``timezone`` is an IANA name. What is placed before ``cut_off`` (HH:MM, local) leaves on the same working day, or
    ``processing_days`` working days later: with the first carrier pickup from the cut-off on where the service has pickups, else
    until ``ships_until`` (HH:MM, local; 20:00 if left out, or the cut-off if that is later). On the public ``holidays`` of a
    country (US) or a part of it (US-OH) nothing leaves. ``daily_capacity`` counts orders, ``daily_unit_capacity`` units; left out,
    there is no limit. ``serves_countries`` defaults to its own country; ``serves_prefixes`` are how the postal codes begin that it
    serves there, all if left out. ``handles`` are the handling classes (frozen, hazmat) that it can; goods without a class go
    anywhere. With ``pickup``, customers collect here between ``opens`` and ``closes`` (local), ``pickup_ready_minutes`` after
    ordering. Handling costs are in minor units of ``currency``; left out, of each order's own.
    """

    code: Code
    name: Text
    type: LocationType
    country: CountryCode
    postal_code: PostalText
    latitude: Latitude
    longitude: Longitude
    timezone: Annotated[str, Meta(max_length=64)]
    working_days: WorkingDays = field(default_factory=_weekdays)
    cut_off: LocalTime = "14:00"
    daily_capacity: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    handling_cost_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0
    serves_countries: Annotated[list[CountryCode], Meta(max_length=300)] = []
    active: bool = True
    bins: bool = False
    tags: Annotated[list[Code], Meta(max_length=100)] = []
    handles: Annotated[list[Code], Meta(max_length=100)] = []
    serves_prefixes: Annotated[list[PostalText], Meta(max_length=10_000)] = []
    handling_line_cost_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0
    handling_unit_cost_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0
    daily_unit_capacity: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    priority: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    processing_days: Annotated[int, Meta(ge=0, le=365)] = 0
    holidays: Annotated[str, Meta(max_length=20)] | None = None
    pickup: bool = False
    pickup_ready_minutes: Annotated[int, Meta(ge=0, le=10_080)] = 120
    opens: LocalTime = "09:00"
    closes: LocalTime = "20:00"
    ships_until: LocalTime | None = None
    currency: CurrencyCode | None = None


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A location of a network; ``buffer`` units of each SKU there are withheld from promising."""

    location: Code
    buffer: Annotated[int, Meta(ge=0, le=MAX_MINOR)] = 0


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of locations that serves channels, written whole. A channel that is named here leaves the network it had."""

    code: Code
    name: Text
    members: Annotated[list[Member], Meta(min_length=1, max_length=100_000)]
    channels: Annotated[list[Code], Meta(max_length=100_000)] = []


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a parcel costs up to a weight, in minor units of the service's currency."""

    up_to_grams: Annotated[int, Meta(ge=1, le=MAX_GRAMS)]
    cost_minor: Annotated[int, Meta(ge=0, le=MAX_MINOR)]


class Zone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is at most ``up_to_km`` away (great-circle), or what a lane leads to. It takes working days of the service."""

    zone: ShortCode
    up_to_km: Annotated[float, Meta(gt=0, le=50_000)] | None = None
    transit_days: Annotated[int, Meta(ge=0, le=365)]
    rates: Annotated[list[Rate], Meta(min_length=1, max_length=MAX_RATES)]


class Lane(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From postal codes that begin so to postal codes that begin so: this zone. The longest prefixes win, and win over distance."""

    origin_prefix: Prefix = ""
    destination_prefix: Prefix = ""
    zone: ShortCode


class CarrierService(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of a carrier with its zones, rates and lanes, written whole.

    ``level`` is what buyers choose among (standard, express). A parcel counts by its volume divided by
    ``dimensional_cubic_cm_per_kg``, where that weighs more. What is above ``max_grams`` or ``max_cubic_cm`` goes as several
    parcels of whole units; a unit that is above them itself has no price.
    """

    code: Code
    carrier: Text
    name: Text
    currency: CurrencyCode
    max_grams: Annotated[int, Meta(ge=1, le=MAX_GRAMS)]
    working_days: WorkingDays = field(default_factory=_weekdays)
    active: bool = True
    level: Code = "standard"
    holidays: Annotated[str, Meta(max_length=20)] | None = None
    dimensional_cubic_cm_per_kg: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    max_cubic_cm: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    carbon_grams_per_kg_km: Annotated[float, Meta(ge=0, le=1000)] = 0
    zones: Annotated[list[Zone], Meta(min_length=1, max_length=MAX_ZONES)]
    lanes: Annotated[list[Lane], Meta(max_length=MAX_LANES)] = []


class PostalCode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a postal code is. It is kept in the normal form of its country, ``K1A 0B1`` for ``k1a0b1``."""

    country: CountryCode
    postal_code: PostalText
    latitude: Latitude
    longitude: Longitude

    @property
    def code(self) -> str:
        """Country and postal code in its normal form, as in ``US-43215``."""
        return postal.within(self.country, self.postal_code)


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def location_fault(location: Location) -> Fault | None:
    if location.timezone not in _timezones():
        detail = f"{location.timezone!r} is not an IANA time zone; write one such as America/New_York."
        return Fault("/timezone", detail)
    if location.closes <= location.opens:
        return Fault("/closes", f"A location closes after it opens; {location.closes} is not after {location.opens}.")
    if wrong := currency_fault(location.currency):
        return Fault("/currency", wrong)
    if location.ships_until is not None and location.ships_until < location.cut_off:
        detail = (
            f"Parcels leave at least until the cut-off; set ships_until to {location.cut_off} or later, not "
            f"{location.ships_until}."
        )
        return Fault("/ships_until", detail)
    return holidays_fault(location.holidays)


def holidays_fault(calendar: str | None) -> Fault | None:
    """What is wrong with the name of a holiday calendar."""
    if calendar is None:
        return None
    country, _, part = calendar.partition("-")
    known = list_supported_countries()
    if country not in known or (part and part not in known[country]):
        parts = f"; of {country} there are {', '.join(known[country][:20])}" if known.get(country) and part else ""
        said = f"There is no calendar {calendar!r}; write a country as in US, or a part of it as in US-OH{parts}."
        return Fault("/holidays", said)
    return None


def network_fault(network: Network) -> Fault | None:
    return _repeated("/members", "/location", [member.location for member in network.members]) or _repeated(
        "/channels", "", network.channels
    )


def service_fault(service: CarrierService) -> Fault | None:
    if said := currency_fault(service.currency):
        return Fault("/currency", said)
    zones = {zone.zone for zone in service.zones}
    for index, zone in enumerate(service.zones):
        wrong = _repeated(f"/zones/{index}/rates", "/up_to_grams", [rate.up_to_grams for rate in zone.rates])
        if wrong is not None:
            return wrong
    if (unknown := holidays_fault(service.holidays)) is not None:
        return unknown
    for index, lane in enumerate(service.lanes):
        if lane.zone not in zones:
            return Fault(
                f"/lanes/{index}/zone", f"The service has no zone {lane.zone!r}; add it, or name one of its zones."
            )
    lanes = [
        (postal.beginning(lane.origin_prefix), postal.beginning(lane.destination_prefix)) for lane in service.lanes
    ]
    return (
        _repeated("/zones", "/zone", [zone.zone for zone in service.zones])
        or _repeated("/zones", "/up_to_km", [zone.up_to_km for zone in service.zones if zone.up_to_km is not None])
        or _repeated("/lanes", "", lanes)
    )


def _repeated(pointer: str, within: str, values: Sequence[Hashable]) -> Fault | None:
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            detail = f"{value!r} stands at {pointer}/{first[value]} already; send it once."
            return Fault(f"{pointer}/{index}{within}", detail)
    return None
