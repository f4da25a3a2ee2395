"""UUIDv7 (RFC 9562, section 5.7), made by the application: time-ordered, so that new rows land beside each other.

After the millisecond stand a counter of 32 bits and 42 random bits. The counter begins at a random number and goes on whatever the
millisecond is, so that the ids that one process makes of an instant ascend, also where its work on several instants alternates. A
counter that is full carries into the millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)


class _Counter:
    """How many ids the process has made, and where it began: in the lower half, so that it is not full soon."""

    next = int.from_bytes(os.urandom(4), "big") >> 1


def new_ids(at: datetime, count: int) -> list[UUID]:
    """``count`` ids of the instant ``at``, ascending, and above those that this process has made of it before."""
    start = (int(at.timestamp() * 1000) << 32) + _Counter.next
    _Counter.next += count
    randomness = os.urandom(8 * count)
    return [
        UUID(
            int=((n >> 32) << 80)
            | _VERSION_AND_VARIANT
            | ((n & 0xFFF00000) << 44)
            | ((n & 0xFFFFF) << 42)
            | (int.from_bytes(randomness[8 * i : 8 * i + 8], "big") >> 22)
        )
        for i, n in enumerate(range(start, start + count))
    ]


def new_id(at: datetime) -> UUID:
    """One id of the instant ``at``."""
    return new_ids(at, 1)[0]


def id_stream(at: datetime, chunk: int = 256) -> Iterator[UUID]:
    """Ids of the instant ``at`` without an end, made in chunks."""
    while True:
        yield from new_ids(at, chunk)
