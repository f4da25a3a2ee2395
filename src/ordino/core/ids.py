"""UUIDv7 (RFC 9562, section 5.7), made by the application: time-ordered, so that new rows land beside each other.

After the millisecond stand a counter of 24 bits, which goes on as long as the millisecond is the same, and 50 random
bits: ids that one process makes ascend even where the clock stands still.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_COUNTS = 1 << 24


class _Counter:
    """Where the process is within a millisecond."""

    stamp = -1
    next = 0


def new_ids(at: datetime, count: int) -> list[UUID]:
    """``count`` ids of the instant ``at``, ascending."""
    stamp = int(at.timestamp() * 1000)
    if stamp != _Counter.stamp:
        _Counter.stamp, _Counter.next = stamp, 0
    start = _Counter.next
    _Counter.next = (start + count) % _COUNTS
    high = (stamp << 80) | _VERSION_AND_VARIANT
    randomness = os.urandom(8 * count)
    return [
        UUID(
            int=high
            | ((n >> 12) << 64)
            | ((n & 0xFFF) << 50)
            | (int.from_bytes(randomness[8 * i : 8 * i + 8], "big") >> 14)
        )
        for i, n in enumerate(m % _COUNTS for m in range(start, start + count))
    ]


def new_id(at: datetime) -> UUID:
    """One id of the instant ``at``."""
    return new_ids(at, 1)[0]


def id_stream(at: datetime, chunk: int = 256) -> Iterator[UUID]:
    """Ids of the instant ``at`` without an end, made in chunks."""
    while True:
        yield from new_ids(at, chunk)


def made_at(id: UUID) -> datetime:
    """The instant of an id, to the millisecond."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
