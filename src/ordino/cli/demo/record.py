"""What the simulation did, order by order: what the KPIs are held against."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ordino.cli.demo.staff import Dispatched


class Record(Struct, frozen=True, kw_only=True):
    """Orders by their external ids.

    ``placed``: when it was placed, and by when the answer said that it arrives (None: not yet known); ``deliveries``: when which
    parcel arrived; the rest are the orders to which it happened.
    """

    placed: dict[str, tuple[datetime, datetime | None]]
    dispatched: list[Dispatched]
    deliveries: list[tuple[datetime, Dispatched]]
    short: set[str]
    left_behind: set[str]
    lost: set[str]
    sent_back: set[str]
    called_off: set[str]
