"""Plans of a ranked strategy: of the fewest locations, the best ranked ones; or strictly in rank order.

The locations are compared in rank order: a plan goes before another one of as many locations if its best location ranks higher; if
that is the same one, if its second best does, and so on. The higher a location ranks, the more it gives: everything that it has
of what is still missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ordino.sourcing.left import Cover
from ordino.sourcing.plans import Plan, fill, greedy, without_idle

COMPARISONS = 200_000
"""So many quantities (a SKU at a location) are looked at until the search gives up, and a greedy cover stands: about a tenth of
a second.
"""

Sources = Sequence[tuple[int, Cover]]
"""(location id, what it can give of the target), the best ranked first."""


def in_rank_order(target: Cover, sources: Sources, most: int | None) -> Plan | None:
    """The best ranked location gives all that it has, the next one what is missing, and so on; None if more than ``most``
    locations would have to give something, or all of them have too little.
    """
    plan = fill(target, sources)
    return plan if plan is not None and (most is None or len(plan) <= most) else None


def first_units(wanted: Cover, sources: Sources, most: int | None) -> Cover:
    """What the first locations in rank order give, at most so many of those that give something."""
    left = dict(wanted)
    given: Cover = {}
    places = 0
    for _, cover in sources:
        some = {s: units for s in cover if (units := min(left.get(s, 0), cover[s]))}
        if not some:
            continue
        if most is not None and places == most:
            break
        places += 1
        for sku_id, units in some.items():
            left[sku_id] -= units
            given[sku_id] = given.get(sku_id, 0) + units
    return given


def fewest(target: Cover, sources: Sources, most: int | None) -> Plan | None:
    """The plan of the fewest locations, and of those the one whose locations rank highest; None if there is none of at most
    ``most`` locations.

    It is exact up to ``COMPARISONS``. Beyond that (many SKUs that lie scattered over many locations), a greedy cover stands: always
    the location that has the most of what is missing, of equal ones the better ranked.
    """
    places = {n: place for place, (n, _) in enumerate(sources)}
    useful = dict(sources)
    cover = greedy(target, useful, lambda n, given, left: (-sum(given.values()), places[n]))
    if cover is None:
        return None
    plain = without_idle(target, useful, cover, lambda n, given: 1, 0)
    search = _Search(target, sources, len(plain))
    for count in range(search.least(), len(plain) + 1 if most is None else min(len(plain), most) + 1):
        chosen = search.first(count)
        if chosen is not None:
            return fill(target, [(n, useful[n]) for n in chosen])
        if search.left <= 0:
            break
    if most is not None and len(plain) > most:
        return None
    return fill(target, [(n, useful[n]) for n in sorted(plain, key=places.__getitem__)])


class _Search:
    """Looks for so many locations that cover the target, in rank order, so that the first ones found are the best ranked."""

    def __init__(self, target: Cover, sources: Sources, most: int) -> None:
        self.left = COMPARISONS
        self._ids = [n for n, _ in sources]
        self._target = [*target.values(), sum(target.values())]
        self._given = [[*(cover.get(s, 0) for s in target), sum(cover.values())] for _, cover in sources]
        self._most = most
        self._sums = self._suffixes()

    def _suffixes(self) -> list[list[list[int]]]:
        """By place, SKU (the last one: all together) and number of locations: the most that they give from that place on."""
        largest: list[list[int]] = [[] for _ in self._target]
        sums = [[[0, *accumulate(units)] for units in largest]]
        for given in reversed(self._given):
            largest = [
                sorted([*units, here], reverse=True)[: self._most] for units, here in zip(largest, given, strict=True)
            ]
            sums.append([[0, *accumulate(units)] for units in largest])
        return sums[::-1]

    def least(self) -> int:
        """No plan has fewer locations."""
        counts = [
            next(count for count, units in enumerate(sums) if units >= asked)
            for sums, asked in zip(self._sums[0], self._target, strict=True)
        ]
        return max(counts, default=0)

    def first(self, count: int) -> list[int] | None:
        """The best ranked locations that cover the target, just so many; None if there are none, or if the search gives up."""
        chosen: list[int] = []
        return chosen if self._descend(0, self._target, count, chosen) else None

    def _descend(self, place: int, left: list[int], count: int, chosen: list[int]) -> bool:
        if not left[-1]:
            return True
        if not count:
            return False
        for at in range(place, len(self._ids)):
            if self.left <= 0:
                return False
            self.left -= len(left)
            if any(asked > sums[min(count, len(sums) - 1)] for asked, sums in zip(left, self._sums[at], strict=True)):
                return False  # from here on, they have too little
            given = [min(asked, here) for asked, here in zip(left[:-1], self._given[at][:-1], strict=True)]
            units = sum(given)
            if not units:
                continue
            chosen.append(self._ids[at])
            rest = [asked - here for asked, here in zip(left[:-1], given, strict=True)]
            if self._descend(at + 1, [*rest, left[-1] - units], count - 1, chosen):
                return True
            chosen.pop()
        return False
