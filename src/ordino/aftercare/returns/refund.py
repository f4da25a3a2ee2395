"""What is given back for what comes back."""

from __future__ import annotations

from msgspec import structs

from ordino.core.money import share_of_pool
from ordino.orders.model import LineRow
from ordino.orders.value import kept_minor, kept_units


def take_back(line: LineRow, *, parts: int, partly: int, coming: int, units: int) -> tuple[LineRow, int]:
    """The line after ``coming`` parts of its units came back, and what they are refunded, in minor units.

    A unit has ``parts`` equal parts: a kit as many as units of components are in it, anything else one; a component of a kit has no
    price of its own. ``partly`` parts of units that are not back whole came before, and ``units`` units are back whole now. What is
    left of the line's charge is shared among the parts that are still out, and the last one takes all of it.
    """
    refund = share_of_pool(kept_minor(line), coming, kept_units(line) * parts - partly)
    line = structs.replace(
        line,
        delivered=line.delivered - units,
        returned=line.returned + units,
        refunded_units=line.refunded_units + units,
        refunded_minor=line.refunded_minor + refund,
        parts_per_unit=parts,
        parts_back=partly + coming - units * parts,
    )
    return line, refund
