"""What is to happen at which simulated instant."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Things with a time, taken out when it has come: earliest first, and in the order of their entry at one time."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._entries = 0

    def enter(self, at: datetime, thing: T) -> None:
        self._entries += 1
        heappush(self._heap, (at, self._entries, thing))

    def due(self, at: datetime) -> list[tuple[datetime, T]]:
        """Everything up to ``at``, with its time; it leaves the agenda."""
        found = []
        while self._heap and self._heap[0][0] <= at:
            when, _, thing = heappop(self._heap)
            found.append((when, thing))
        return found

    def __len__(self) -> int:
        return len(self._heap)
