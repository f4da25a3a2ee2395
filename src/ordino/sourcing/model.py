"""What sourcing is asked, what it answers, and why.

SRC-1  A decision never uses units that are not free above the buffer.
SRC-2  A decision never uses a location that a fence stops.
SRC-3  Equal questions get equal answers.
SRC-4  A decision never costs more than the best plan from one location.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from ordino.catalog.kits import Parts
from ordino.network.facts import Serving


class ShortPolicy(StrEnum):
    """What becomes of an order when too little is free."""

    REFUSE = "refuse"  # the whole order is refused
    BACKORDER = "backorder"  # missing units of backorderable SKUs wait for stock; others refuse the order
    DROP = "drop"  # lines that cannot be filled whole are dropped


class Need(Struct, frozen=True, gc=False):
    """Units of one line. ``grams`` is the weight of one unit; ``excluded`` are locations that have failed it before.

    Kits are assembled where they are picked: all components of one come from the same location.
    """

    line_no: int
    sku_id: int
    quantity: int
    grams: int
    backorderable: bool = False
    excluded: tuple[int, ...] = ()
    parts: Parts = ()  # of a kit: what it takes from stock


class Request(Struct, frozen=True, gc=False):
    """One order's question."""

    request_id: UUID
    network: Serving
    country: str
    postal_code: str
    at: datetime
    needs: tuple[Need, ...]
    short_policy: ShortPolicy
    channel_id: int | None = None
    closed: Collection[int] = ()  # locations that are switched off for the channel now
    held: Mapping[tuple[int, int], int] = {}  # (SKU id, location id) -> units that a hold keeps for this order


class Fence(StrEnum):
    """Why a location is not a candidate, in the order in which the fences are tested."""

    CLOSED = "closed"  # The location is switched off.
    DOES_NOT_SERVE = "does_not_serve"  # It does not ship to this country.
    NO_SERVICE = "no_service"  # No carrier service reaches the address from there with this weight.
    NO_CAPACITY = "no_capacity"  # Its day of shipping is full.


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """The routing profile, first form: which fences hold, and what an extra package costs beside carrier and handling."""

    name: str
    fences: tuple[Fence, ...] = (Fence.CLOSED, Fence.DOES_NOT_SERVE, Fence.NO_SERVICE, Fence.NO_CAPACITY)
    split_cost_minor: int = 200
    version: int = 0


class Units(Struct, frozen=True, gc=False):
    """Units of one line that come from the leg's location."""

    line_no: int
    sku_id: int
    quantity: int


class Leg(Struct, frozen=True, gc=False):
    """What one location is to ship, with which service, by when, and at what cost."""

    location_id: int
    service_id: int
    zone: str
    ship_by_at: datetime
    promised_at: datetime
    carrier_cost_minor: int
    handling_cost_minor: int
    units: tuple[Units, ...]


class Candidate(Struct, frozen=True, gc=False, omit_defaults=True):
    """A location that was looked at: the fence that stopped it, or what it could cover and what that would have cost."""

    location_id: int
    covers: int = 0
    carrier_cost_minor: int | None = None
    handling_cost_minor: int | None = None
    fence: Fence | None = None


class Explanation(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why: the costs of the plan that was chosen and of the best others, and every candidate up to a limit."""

    profile: str
    wanted: int
    chosen: str  # "one location", "split" or "nothing"
    cost_minor: int | None = None
    split_cost_minor: int = 0
    best_single_cost_minor: int | None = None
    candidates: tuple[Candidate, ...] = ()
    candidates_left_out: int = 0


class Decision(Struct, frozen=True, gc=False):
    """The answer. ``short`` are units per line that no leg covers; ``refused`` says that the policy refuses the order."""

    request_id: UUID
    legs: tuple[Leg, ...]
    short: Mapping[int, int]
    dropped: frozenset[int]
    refused: bool
    stopped_by_fences: bool
    explanation: Explanation

    @property
    def promised_at(self) -> datetime | None:
        """When the last package arrives; None while something is short."""
        if self.short or not self.legs:
            return None
        return max(leg.promised_at for leg in self.legs)
