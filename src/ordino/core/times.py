"""Times that people and systems send: with an offset, and where they can be."""

from __future__ import annotations

from datetime import datetime, timedelta

NEEDS_OFFSET = "A time needs its offset, as in 2026-11-27T08:00:00Z."
OVERDUE_DAYS = 366
AHEAD_DAYS = 3660


def span_fault(name: str, instant: datetime, earliest: datetime, latest: datetime, why: str) -> str | None:
    """What is wrong with a time that must have an offset and lie between two others, ``why`` is said of the span; None if nothing
    is.
    """
    if instant.tzinfo is None:
        return NEEDS_OFFSET
    if earliest <= instant <= latest:
        return None
    return (
        f"`{name}` must be between {earliest:%Y-%m-%d %H:%M:%S} and {latest:%Y-%m-%d %H:%M:%S} UTC ({why}), "
        f"not {instant.isoformat()}. Check the time and its offset."
    )


def expected_fault(instant: datetime, at: datetime, name: str = "expected_at") -> str | None:
    """What is wrong with the time at which goods are expected: it may be a year overdue, and ten years ahead."""
    earliest, latest = at - timedelta(days=OVERDUE_DAYS), at + timedelta(days=AHEAD_DAYS)
    return span_fault(name, instant, earliest, latest, "a year before now and ten after")
