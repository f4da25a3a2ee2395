"""What a batch says twice is done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from ordino.aftercare.model import NewReturn, ReturnCancellation, ReturnReceipt

Item = TypeVar("Item", NewReturn, ReturnReceipt, ReturnCancellation)


def repeats_of(items: Sequence[Item]) -> set[int]:
    """The places of items that stand earlier in the batch, too."""
    seen: dict[UUID, list[Item]] = {}
    repeats = set()
    for index, item in enumerate(items):
        earlier = seen.setdefault(item.order_id, [])
        if item in earlier:
            repeats.add(index)
        earlier.append(item)
    return repeats
