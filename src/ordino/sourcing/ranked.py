"""Plans of a ranked strategy: of the fewest locations, the best ranked ones; or strictly in rank order.

The locations are compared in rank order: a plan goes before another one of as many locations if its best location ranks higher; if
that is the same one, if its second best does, and so on. The higher a location ranks, the more it gives: everything that it has
of what is still missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ordino.sourcing.left import Cover
from ordino.sourcing.plans import Plan, fill, largest_first

COMPARISONS = 200_000
"""So many quantities (a SKU at a location) are looked at until the search gives up, and a greedy cover stands: about a tenth of
a second.
"""
PREPARED = 500_000
"""A search that would have to note more figures than this before it begins is left out: about a tenth of a second, too."""

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

    It is exact up to ``COMPARISONS`` and ``PREPARED``. Beyond that (many SKUs that lie scattered over many locations, or units
    that take hundreds of locations), a greedy cover stands: always the location that has the most of what is missing, of equal
    ones the better ranked.
    """
    places = {n: place for place, (n, _) in enumerate(sources)}
    useful = dict(sources)
    taken = [n for n, _ in largest_first(target, useful, places)]
    plain = _needed(target, useful, taken)
    if plain is None:
        return None
    end = len(plain) if most is None else min(len(plain), most)
    if len(sources) * (len(target) + 1) * (len(plain) + 8) <= PREPARED:  # each list costs as much as some figures
        search = _Search(target, sources, len(plain))
        for count in range(search.least(), end + 1):
            chosen = search.first(count)
            if chosen is not None:
                return fill(target, [(n, useful[n]) for n in chosen])
            if search.left <= 0:
                break
    if most is not None and len(plain) > most:
        return None
    return fill(target, [(n, useful[n]) for n in sorted(plain, key=places.__getitem__)])


def _needed(target: Cover, useful: Mapping[int, Cover], taken: Sequence[int]) -> list[int] | None:
    """Without the locations that the others can do without; None if all together have too little."""
    spare = {s: -units for s, units in target.items()}
    for n in taken:
        for sku_id, units in useful[n].items():
            spare[sku_id] += units
    if any(units < 0 for units in spare.values()):
        return None
    kept = []
    for n in taken:
        if all(spare[sku_id] >= units for sku_id, units in useful[n].items()):
            for sku_id, units in useful[n].items():
                spare[sku_id] -= units
        else:
            kept.append(n)
    return kept


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
        chosen: list[tuple[int, list[int]]] = []  # places, and what was missing before each of them
        place, left = 0, self._target
        while left[-1]:
            found = self._next(place, left, count - len(chosen))
            if found is not None:
                chosen.append((found[0], left))
                place, left = found[0] + 1, found[1]
            elif chosen and self.left > 0:
                place, left = chosen.pop()
                place += 1
            else:
                return None
        return [self._ids[place] for place, _ in chosen]

    def _next(self, place: int, left: list[int], count: int) -> tuple[int, list[int]] | None:
        """The first place from this one on that gives something, and what is missing then; None if no plan goes on from here."""
        if not count:
            return None
        for at in range(place, len(self._ids)):
            if self.left <= 0:
                return None
            self.left -= len(left)
            if any(asked > sums[min(count, len(sums) - 1)] for asked, sums in zip(left, self._sums[at], strict=True)):
                return None  # from here on, they have too little
            rest = [asked - min(asked, here) for asked, here in zip(left[:-1], self._given[at][:-1], strict=True)]
            units = sum(rest)
            if units < left[-1]:
                return at, [*rest, units]
        return None
