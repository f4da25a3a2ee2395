"""What is where, and what is promised.

INV-1  Reserved never exceeds on hand, for any SKU at any location.
INV-2  A cause moves a line's units at a location in one way at most once, however often it is told.
INV-3  A stock row's ``reserved`` is the sum of its open reservations.
INV-4  Picked units are reserved units.
INV-5  A stock row is the sum of its moves.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

LACKS_STOCK = {"out_of_stock": 409, "too_few": 409, "reserved": 409}
"""The reasons of refusals for lack of stock, with the HTTP status that answers each: the request is sound, but what is there now is
too little for it.
"""


class MoveKind(StrEnum):
    """Why units moved: each kind touches on hand, reserved and picked in its own way."""

    RECEIVED = "received"  # on hand +
    ADJUSTED = "adjusted"  # on hand + or -, with a reason
    COUNTED = "counted"  # on hand + or -, to what was counted
    RESERVED = "reserved"  # reserved +
    RELEASED = "released"  # reserved -
    PICKED = "picked"  # picked +
    UNPICKED = "unpicked"  # picked -, back on the shelf
    SHIPPED = "shipped"  # on hand -, reserved -, picked -
    RETURNED = "returned"  # on hand +
    HELD = "held"  # reserved +, for a cart
    LET_GO = "let_go"  # reserved -, by a cart
    SET_ASIDE = "set_aside"  # on hand -, unavailable +: damaged, in quality control, expired
    RESTORED = "restored"  # unavailable -, on hand +
    SCRAPPED = "scrapped"  # unavailable -
    SENT = "sent"  # on hand -, on the way to another location
    ARRIVED = "arrived"  # on hand +, from another location


class Part(NamedTuple):
    """Some of a move's units: in a bin, of a lot, as far as they are named."""

    quantity: int
    bin: str | None = None
    lot: str | None = None


class StockMove(Struct, frozen=True, gc=False):
    """One row of the stock ledger. ``cause_id`` is the event behind it."""

    sku_id: int
    location_id: int
    cause_id: UUID
    kind: MoveKind
    on_hand_delta: int = 0
    reserved_delta: int = 0
    picked_delta: int = 0
    order_id: UUID | None = None  # or the hold's id, of what is held or let go
    line_no: int = 0
    reason: str | None = None
    unavailable_delta: int = 0
    document: str | None = None
    channel_id: int | None = None  # for which channel units are reserved
    expires_at: datetime | None = None  # of what is held
    parts: tuple[Part, ...] = ()  # bins and lots, where they are named
    serials: tuple[str, ...] = ()


def stock_shard(sku_id: int) -> int:
    """Which shard of stock holds the SKU: one statement a shard. On one PostgreSQL there is one."""
    return 0
