"""What is given back for what comes back."""

from __future__ import annotations

from ordino.core.money import share_of_units
from ordino.orders.value import Counts


def refund_of(line: Counts, lost: int, *, parts: int, back: int, coming: int) -> int:
    """What the next ``coming`` parts of a line's units to come back are refunded, in minor units.

    A unit has ``parts`` equal parts: a kit as many as units of components are in it, anything else one; a component of a kit has no
    price of its own. ``back`` parts of the line are back already, and ``lost`` units of it were lost. The shares are differences of
    one running total: all parts of all units together are refunded the line's amount to the cent, in whatever order they come.
    """
    return share_of_units(line.amount_minor, line.ordered * parts, back + lost * parts, coming)
