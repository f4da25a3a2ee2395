"""Which locations are switched off when, and for whom."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from datetime import datetime

from ordino.network.facts.model import Closed

REMEMBERED = 256
"""So many answers are kept in memory."""
_Turn = tuple[int | None, datetime | None]
"""A channel, and when the last closure before the time that is asked for began or ended; None: none had."""


class Closures:
    """All closures. They never change: ``changed`` returns others, at about the cost of what is different.

    Between two instants at which a closure begins or ends, the answer for a channel stays the same, and is remembered.
    """

    def __init__(self, closures: Iterable[Closed] = ()) -> None:
        self._by_code = {one.code: one for one in closures}
        self._by_location: dict[int, tuple[Closed, ...]] = {}
        for one in self._by_code.values():
            self._by_location[one.location_id] = (*self._by_location.get(one.location_id, ()), one)
        self._turns = sorted(turn for one in self._by_code.values() for turn in one.turns)
        self._known: dict[_Turn, dict[int, Closed]] = {}

    def apart(self) -> Closures:
        """The same closures with memos of their own."""
        closures = copy(self)
        closures._known = {}
        return closures

    def changed(self, written: Collection[Closed], gone: Collection[str]) -> Closures:
        """With these as they are ``written`` now, and without those that are ``gone``, by code."""
        closures = copy(self)
        closures._by_code, closures._by_location = self._by_code.copy(), self._by_location.copy()
        closures._turns = self._turns.copy()
        touched: list[Closed] = []
        for code in (*gone, *(one.code for one in written)):
            if (before := closures._by_code.pop(code, None)) is not None:
                touched.append(before)
                at_location = closures._by_location[before.location_id]
                closures._by_location[before.location_id] = tuple(one for one in at_location if one is not before)
                for turn in before.turns:
                    del closures._turns[bisect_right(closures._turns, turn) - 1]
        for one in written:
            touched.append(one)
            closures._by_code[one.code] = one
            closures._by_location[one.location_id] = (*closures._by_location.get(one.location_id, ()), one)
            for turn in one.turns:
                insort(closures._turns, turn)
        closures._known = {key: closures._patched(key, known, touched) for key, known in self._known.items()}
        return closures

    def _patched(self, key: _Turn, known: dict[int, Closed], touched: Iterable[Closed]) -> dict[int, Closed]:
        """An answer that was known before, where closures of some locations are different now."""
        channel_id, at = key
        stale = {one.location_id for one in touched if one.channel_id in (None, channel_id)}
        if at is None or not stale:
            return known
        found = {location_id: closure for location_id, closure in known.items() if location_id not in stale}
        return found | self._closed(stale, channel_id, at)

    def closed(self, channel_id: int | None, at: datetime) -> Mapping[int, Closed]:
        """Location id -> why it is switched off for the channel at this time: the closure that began last."""
        if not self._turns:
            return {}
        place = bisect_right(self._turns, at)
        key = (channel_id, self._turns[place - 1] if place else None)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._closed(self._by_location, channel_id, at)
        return found

    def _closed(self, location_ids: Iterable[int], channel_id: int | None, at: datetime) -> dict[int, Closed]:
        found: dict[int, Closed] = {}
        for location_id in location_ids:
            some = [
                one
                for one in self._by_location.get(location_id, ())
                if one.channel_id in (None, channel_id) and one.covers(at)
            ]
            if some:
                found[location_id] = max(some, key=lambda one: (one.starts_at, one.code))
        return found

    def turn_between(self, since: datetime, at: datetime) -> bool:
        """Has a closure begun or ended after ``since``, and until ``at``?"""
        return bisect_right(self._turns, since) < bisect_right(self._turns, at)

    def last_turn(self, at: datetime) -> datetime | None:
        """When a closure last began or ended, ``at`` at the latest."""
        place = bisect_right(self._turns, at)
        return self._turns[place - 1] if place else None

    def all(self) -> dict[str, Closed]:
        """Every closure by its code."""
        return dict(self._by_code)
