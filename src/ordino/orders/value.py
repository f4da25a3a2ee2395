"""What units are worth: the very units that are charged, no longer owed, or given back share what is left of their line's amount.

Every unit has a state in money beside its state of demand: owed, then charged, then refunded; or owed, then void (no longer
owed). Units that are charged or void share the amount that is still owed with the units that still owe it; units that are given
back share what was charged and not refunded. The last one takes what is left, so that nothing stays behind in any order of
events. All functions are pure: they return the line or order after what happened to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, structs

from ordino.core.money import share_of_pool
from ordino.orders.model import LineRow, OrderRow, ShippingMove


class Worth(Struct, frozen=True, gc=False):
    """What units of a line mean in money, in minor units. ``paid_units`` of them were charged before.

    ``amount_minor`` is charged or no longer owed; ``refund_minor`` is to be given back.
    """

    paid_units: int
    amount_minor: int
    refund_minor: int


def owed_units(line: LineRow) -> int:
    """Units that are neither charged nor void."""
    return line.ordered - line.charged_units - line.void_units


def owed_minor(line: LineRow) -> int:
    """What the owed units are worth together."""
    return line.amount_minor - line.charged_minor - line.void_minor


def kept_units(line: LineRow) -> int:
    """Units that were charged and not refunded."""
    return line.charged_units - line.refunded_units


def kept_minor(line: LineRow) -> int:
    """What was charged and not given back yet."""
    return line.charged_minor - line.refunded_minor


def idle_units(line: LineRow) -> int:
    """Units that were charged and are not with the customer or on their way: they came back undelivered, to be sent again."""
    return max(0, kept_units(line) - line.shipped - line.delivered)


def ship(line: LineRow, quantity: int) -> tuple[LineRow, Worth]:
    """``quantity`` packed units leave. Those that were charged before cost nothing again; the others are charged."""
    paid = min(quantity, idle_units(line))
    new = quantity - paid
    amount = share_of_pool(owed_minor(line), new, owed_units(line)) if new else 0
    line = structs.replace(
        line,
        packed=line.packed - quantity,
        shipped=line.shipped + quantity,
        charged_units=line.charged_units + new,
        charged_minor=line.charged_minor + amount,
    )
    return line, Worth(paid, amount, 0)


def cancel(line: LineRow, quantity: int) -> tuple[LineRow, Worth]:
    """``quantity`` units that are not with the customer or on their way are cancelled: first those that are still owed are owed no
    longer, then charged ones are given back. The states that the units leave are the caller's to count.
    """
    void = min(quantity, owed_units(line))
    amount = share_of_pool(owed_minor(line), void, owed_units(line)) if void else 0
    line = structs.replace(
        line,
        cancelled=line.cancelled + quantity,
        void_units=line.void_units + void,
        void_minor=line.void_minor + amount,
    )
    line, refund = give_back(line, quantity - void)
    return line, Worth(quantity - void, amount, refund)


def lose(line: LineRow, quantity: int) -> tuple[LineRow, Worth]:
    """``quantity`` units were lost on the way: they are cancelled, and given back."""
    line, refund = give_back(line, quantity)
    line = structs.replace(line, shipped=line.shipped - quantity, cancelled=line.cancelled + quantity)
    return line, Worth(quantity, 0, refund)


def take_back(line: LineRow, *, parts: int, partly: int, coming: int, units: int) -> tuple[LineRow, int]:
    """The line after ``coming`` parts of its delivered units came back, and what they are refunded, in minor units.

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


def give_back(line: LineRow, quantity: int) -> tuple[LineRow, int]:
    """The line, and what ``quantity`` charged units are refunded, in minor units. Parts of other units that came back by themselves
    were refunded then, and take no share.
    """
    if not quantity:
        return line, 0
    parts = line.parts_per_unit
    # No more than the customer has: a process of the version before takes kits back without counting their parts.
    parts_back = min(line.parts_back, line.delivered * parts)
    refund = share_of_pool(kept_minor(line), quantity * parts, kept_units(line) * parts - parts_back)
    line = structs.replace(
        line, refunded_units=line.refunded_units + quantity, refunded_minor=line.refunded_minor + refund
    )
    return line, refund


def kept_shipping_minor(order: OrderRow) -> int:
    """What of the order's shipping was charged and not given back yet."""
    return order.shipping_charged_minor - order.shipping_refunded_minor


def _owed_shipping_minor(order: OrderRow) -> int:
    return order.net_shipping_minor - order.shipping_charged_minor - order.shipping_void_minor


def ship_order(order: OrderRow) -> tuple[OrderRow, ShippingMove]:
    """Something of the order ships: its first shipment charges the shipping."""
    return move_shipping(order, ShippingMove(order.order_id, charged_minor=_owed_shipping_minor(order)))


def close_order(order: OrderRow, lines: Iterable[LineRow]) -> tuple[OrderRow, ShippingMove]:
    """Units were cancelled or lost; ``lines`` are all lines of the order as they are now. If nothing of it has reached the customer
    or still may, its shipping is no longer owed, and given back as far as it was charged.
    """
    if any(line.cancelled < line.ordered for line in lines):
        return order, ShippingMove(order.order_id)
    move = ShippingMove(order.order_id, void_minor=_owed_shipping_minor(order), refund_minor=kept_shipping_minor(order))
    return move_shipping(order, move)


def move_shipping(order: OrderRow, move: ShippingMove) -> tuple[OrderRow, ShippingMove]:
    """The order after the move."""
    order = structs.replace(
        order,
        shipping_charged_minor=order.shipping_charged_minor + move.charged_minor,
        shipping_void_minor=order.shipping_void_minor + move.void_minor,
        shipping_refunded_minor=order.shipping_refunded_minor + move.refund_minor,
    )
    return order, move
