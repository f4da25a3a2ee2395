"""What the network consists of, as sourcing sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from msgspec import Struct

Pickups = Mapping[tuple[int, int], Sequence[tuple[frozenset[int], time]]]
"""(location id, service id) -> the ISO weekdays and local times at which the carrier collects."""
CapacityDays = Mapping[tuple[int, date], tuple[int | None, int | None]]
"""(location id, day of shipping) -> how many orders and units the location takes on then; None: any number."""


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

    def covers(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    @property
    def turns(self) -> tuple[datetime, ...]:
        """When it begins, and when it ends by itself."""
        return (self.starts_at,) if self.ends_at is None else (self.starts_at, self.ends_at)


class Channels:
    """Channels by code and by id, and the networks by id."""

    def __init__(self, channels: Mapping[str, Channel], networks: Mapping[int, Serving]) -> None:
        self.by_code = channels
        self.by_id = {channel.channel_id: channel for channel in channels.values()}
        self.networks = networks
