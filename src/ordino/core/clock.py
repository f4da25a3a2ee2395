"""Time is a parameter: nothing else in Ordino reads the wall clock.

There are two clocks. The *business's clock* says when something is due; it may run faster than time, and it may jump. *Wall time*
says how long leases, time limits, waits and pauses last. Workers take it from the database, so that they agree whatever the clocks
of their machines say: they read it once a minute, and count on from there with ``elapsed_seconds``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

FRESH_SECONDS = 60
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_seconds() -> float:
    """Seconds on a clock that nobody sets. Where the system has one, it also runs while the machine sleeps."""
    return time.clock_gettime(_STEADY)


class Clock(Protocol):
    def now(self) -> datetime:
        """The instant, in UTC."""
        ...


class WallClock:
    """The time of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SimulatedClock:
    """A clock that is set by hand and never runs backwards."""

    def __init__(self, start: datetime) -> None:
        assert start.tzinfo is not None, "an instant needs a zone"
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance_to(self, at: datetime) -> None:
        self._now = max(self._now, at)


class CountedClock:
    """The time of another machine: told from time to time, and counted on in between."""

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._told_at = 0.0

    @property
    def is_fresh(self) -> bool:
        """Was it told within the last minute?"""
        return self._at is not None and elapsed_seconds() - self._told_at < FRESH_SECONDS

    def tell(self, at: datetime, *, told_at: float) -> None:
        """It was ``at`` when ``elapsed_seconds`` was ``told_at``."""
        self._at, self._told_at = at, told_at

    def now(self) -> datetime:
        assert self._at is not None, "it was never told"
        return self._at + timedelta(seconds=elapsed_seconds() - self._told_at)
