"""What a batch says twice is done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from ordino.aftercare.model import NewReturn, ReturnReceipt

Item = TypeVar("Item", NewReturn, ReturnReceipt)


def repeats_of(items: Sequence[Item]) -> set[int]:
    seen: dict[UUID, list[Item]] = {}
    repeats = set()
    for index, item in enumerate(items):
        earlier = seen.setdefault(item.order_id, [])
        if item in earlier:
            repeats.add(index)
        earlier.append(item)
    return repeats
