"""What a batch says twice is done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID


class OfOrder(Protocol):
    """Something said of an order."""

    @property
    def order_id(self) -> UUID: ...


def repeats_of(items: Sequence[OfOrder]) -> set[int]:
    """The places of items that stand earlier in the batch, too."""
    seen: dict[UUID, list[OfOrder]] = {}
    repeats = set()
    for index, item in enumerate(items):
        earlier = seen.setdefault(item.order_id, [])
        if item in earlier:
            repeats.add(index)
        earlier.append(item)
    return repeats
