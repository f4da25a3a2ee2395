"""Whole units into parcels: first-fit decreasing, the heaviest units first.

Units of one kind are packed exactly: as many into each parcel as it holds. Of several kinds, by weight alone, there are at most
11/9 of the fewest possible parcels and 6/9 of one more (Dósa 2007, "The tight bound of first fit decreasing bin-packing
algorithm").
Where volume counts too, a unit goes into the first parcel that has room for both.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

Contents = tuple[tuple[int, int, int], ...]
"""(grams of one unit, cubic millimeters of one unit, number of units), the heaviest first, then the largest."""


class Parcels(Struct, frozen=True, gc=False):
    """So many parcels that each weigh and measure this."""

    count: int
    grams: int
    cubic_mm: int


def tidy(units: Sequence[tuple[int, int, int]]) -> Contents:
    """In the order in which they are packed; units that weigh and measure the same are one kind."""
    found: dict[tuple[int, int], int] = {}
    for grams, cubic_mm, count in units:
        if count:
            found[grams, cubic_mm] = found.get((grams, cubic_mm), 0) + count
    return tuple([(grams, cubic_mm, found[grams, cubic_mm]) for grams, cubic_mm in sorted(found, reverse=True)])


def packed(units: Contents, most_grams: int, most_cubic_mm: int | None) -> list[Parcels] | None:
    """The parcels, in the order in which they were begun; None if one unit alone weighs or measures more than a parcel may."""
    parcels: list[Parcels] = []
    for grams, cubic_mm, count in units:
        if grams > most_grams or (most_cubic_mm is not None and cubic_mm > most_cubic_mm):
            return None
        left, filled = count, []
        for some in parcels:  # all parcels of an entry are alike, so the first of them are filled first
            room = _room(some.grams, some.cubic_mm, grams, cubic_mm, most_grams, most_cubic_mm, left)
            filled += _filled(some, room, min(left, room * some.count), grams, cubic_mm)
            left -= min(left, room * some.count)
        if left:
            room = _room(0, 0, grams, cubic_mm, most_grams, most_cubic_mm, left)
            filled += _filled(Parcels(-(-left // room), 0, 0), room, left, grams, cubic_mm)
        parcels = filled
    return parcels


def _room(
    held: int, held_mm: int, grams: int, cubic_mm: int, most_grams: int, most_cubic_mm: int | None, asked: int
) -> int:
    """How many units of a kind a parcel still takes, of those that are asked for."""
    room = asked if not grams else min(asked, (most_grams - held) // grams)
    if most_cubic_mm is not None and cubic_mm:
        room = min(room, (most_cubic_mm - held_mm) // cubic_mm)
    return room


def _filled(some: Parcels, room: int, units: int, grams: int, cubic_mm: int) -> list[Parcels]:
    """Equal parcels once so many units are in them, each full before the next one gets any."""
    if not units:
        return [some]
    full, rest = divmod(units, room)
    found = []
    if full:
        found.append(Parcels(full, some.grams + room * grams, some.cubic_mm + room * cubic_mm))
    if rest:
        found.append(Parcels(1, some.grams + rest * grams, some.cubic_mm + rest * cubic_mm))
    if untouched := some.count - full - bool(rest):
        found.append(Parcels(untouched, some.grams, some.cubic_mm))
    return found
