"""What units are worth: a line's amount, shared among its units in the order in which they leave for good.

A unit leaves by shipping or by cancellation. Valued one after the other, all units together are worth the line's
amount to the cent, whatever the order of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ordino.core.money import share_of_units


class Counts(Protocol):
    """A line with its amount and counts."""

    @property
    def ordered(self) -> int: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def shipped(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def returned(self) -> int: ...
    @property
    def cancelled(self) -> int: ...


def gone(line: Counts) -> int:
    """Units that have left for good: shipped at some time, or cancelled."""
    return line.shipped + line.delivered + line.returned + line.cancelled


def value_of_leaving(line: Counts, quantity: int) -> int:
    """What the next ``quantity`` units to leave are worth, in minor units."""
    return share_of_units(line.amount_minor, line.ordered, gone(line), quantity)


def value_given_back(line: Counts, lost: int, quantity: int) -> int:
    """What the next ``quantity`` units to come back, or to be lost, are refunded, after ``lost`` units of the line were lost.

    All units together are refunded the line's amount to the cent.
    """
    return share_of_units(line.amount_minor, line.ordered, line.returned + lost, quantity)


def value_of_shipment(
    shipping_minor: int, lines: Mapping[int, Counts], quantities: Mapping[int, int], *, first: bool
) -> int:
    """What a shipment charges: its units, and the order's shipping with the first one, whatever became of that.

    ``lines`` are all lines of the order by number, as they were before the shipment.
    """
    units = sum(value_of_leaving(lines[line_no], quantity) for line_no, quantity in quantities.items())
    return units + (shipping_minor if first else 0)


def value_of_cancelling(
    shipping_minor: int, lines: Mapping[int, Counts], quantities: Mapping[int, int], *, went_out: bool
) -> int:
    """What is no longer owed: the units, and the order's shipping when nothing of the order is left and nothing ever went out.

    ``lines`` are all lines of the order by number, as they were before the cancellation.
    """
    units = sum(value_of_leaving(lines[line_no], quantity) for line_no, quantity in quantities.items())
    nothing_left = all(line.cancelled + quantities.get(line_no, 0) == line.ordered for line_no, line in lines.items())
    return units + (shipping_minor if nothing_left and not went_out else 0)
