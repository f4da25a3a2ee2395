"""What a KPI is.

KPI-1  A KPI is a fraction: its value is ``above`` / ``below``, in its unit; both are counted from rows, and nothing is estimated.
KPI-2  A KPI without data says so and has no value.
KPI-3  The orders that are listed of a KPI are those that it counts: ``below`` all of them, ``above`` those without a reason why.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class Direction(StrEnum):
    """Which way is better."""

    UP = "up"
    DOWN = "down"
    NONE = "none"  # it describes, it does not judge


class Unit(StrEnum):
    """What a value counts."""

    PERCENT = "percent"
    HOURS = "hours"
    MINOR = "minor"  # minor units of the part's currency
    PER_HOUR = "per_hour"
    COUNT = "count"


class Definition(Struct, frozen=True):
    """A KPI as the field defines it. ``statement`` names its SQL; without one, ``missing`` says what data is not there."""

    name: str
    title: str
    sentence: str
    formula: str
    unit: Unit
    direction: Direction
    statement: str | None = None
    scale: float = 1
    missing: str = "Nothing of this kind happened in the period."


class Part(Struct, frozen=True):
    """A KPI's value for one key: a channel, or a currency."""

    key: str
    value: float
    above: float
    below: float


class Kpi(Struct, frozen=True):
    """A KPI over a period. ``value`` is None where it cannot be measured, and ``missing`` then says why.

    Where a KPI has parts, its value is that of the largest (by ``below``, or by ``value`` where parts share one whole),
    which ``key`` names.
    """

    name: str
    title: str
    sentence: str
    formula: str
    unit: Unit
    direction: Direction
    value: float | None
    above: float | None = None
    below: float | None = None
    key: str | None = None
    parts: tuple[Part, ...] = ()
    missing: str | None = None


class CountedOrder(Struct, frozen=True):
    """An order that a KPI counts. ``why`` are the reasons for which it is not what the KPI asks for; [] if it is.

    Of the perfect order rate: `incomplete`, `late`, `lost`, `returned_to_sender`, `short_pick`, `returned`. Of the on-time shipping
    rate: `shipped_late`, `not_shipped`.
    """

    order_id: UUID
    channel: str
    external_id: str
    why: list[str]
