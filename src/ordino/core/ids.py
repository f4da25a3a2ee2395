"""UUIDv7 (RFC 9562, section 5.7), made by the application: time-ordered, so that new rows land beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_RANDOM_MASK = ((0xFFF << 64) | ((1 << 62) - 1)) & ~(0xF << 76)


def new_ids(at: datetime, count: int) -> list[UUID]:
    """``count`` ids of the instant ``at``, ascending: the first in a list sorts first."""
    stamp = (int(at.timestamp() * 1000) << 80) | _VERSION_AND_VARIANT
    randomness = os.urandom(8 * count)
    # A counter of 24 bits within the list (rand_a and the top of rand_b), then 50 random bits.
    return [
        UUID(
            int=stamp
            | ((i >> 12) << 64)
            | ((i & 0xFFF) << 50)
            | (int.from_bytes(randomness[8 * i : 8 * i + 8], "big") >> 14)
        )
        for i in range(count)
    ]


def new_id(at: datetime) -> UUID:
    return UUID(
        int=(int(at.timestamp() * 1000) << 80)
        | _VERSION_AND_VARIANT
        | (int.from_bytes(os.urandom(10), "big") & _RANDOM_MASK)
    )


def id_stream(at: datetime, chunk: int = 256) -> Iterator[UUID]:
    """Ids without an end, made in chunks."""
    while True:
        yield from new_ids(at, chunk)
