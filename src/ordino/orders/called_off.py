"""What a cancellation means in money: units that are owed no longer, charged ones that are given back, and the order's shipping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from ordino.core.events import Event
from ordino.core.payloads import Units
from ordino.orders import value
from ordino.orders.events import RefundRequested, UnitsCancelled
from ordino.orders.model import LineRow, OrderRow, ShippingMove, State, UnitMove


class CalledOff:
    """The units of one order that one cause cancels, one state of a line after the other. ``lines`` are all lines of the order by
    number, and are kept up to date.
    """

    def __init__(self, order: OrderRow, lines: dict[int, LineRow], cause_id: UUID, reason: str) -> None:
        self.order = order
        self.lines = lines
        self.cause_id = cause_id
        self.reason = reason
        self.moves: list[UnitMove] = []
        self.amount_minor = 0
        self.refund_minor = 0

    def take(self, line_no: int, state: State, quantity: int) -> int:
        """So many units of a line are cancelled, out of a state that they leave by this cause once; shipped ones did not arrive.
        Returns what is given back for them, in minor units.
        """
        verb = value.lose if state is State.SHIPPED else value.cancel
        self.lines[line_no], worth = verb(self.lines[line_no], quantity)
        self.amount_minor += worth.amount_minor
        self.refund_minor += worth.refund_minor
        self.moves.append(
            UnitMove(
                self.order.order_id,
                line_no,
                state,
                State.CANCELLED,
                quantity,
                self.cause_id,
                self.reason,
                worth.paid_units,
                worth.amount_minor,
                worth.refund_minor,
            )
        )
        return worth.refund_minor

    def close(self) -> ShippingMove:
        """After the last unit: the shipping goes with the order, if nothing of it is left and nothing has reached the customer."""
        self.order, move = value.close_order(self.order, self.lines.values())
        self.amount_minor += move.void_minor
        self.refund_minor += move.refund_minor
        return move

    def units(self) -> dict[int, int]:
        """Line number -> units that were cancelled."""
        units: dict[int, int] = {}
        for move in self.moves:
            units[move.line_no] = units.get(move.line_no, 0) + move.quantity
        return units

    def listed(self) -> list[Units]:
        """The units as events have them."""
        return [Units(line_no, units) for line_no, units in sorted(self.units().items())]

    def events(self, refund_id: UUID, at: datetime) -> Iterator[Event]:
        """That the units are cancelled, with what is no longer owed and what is given back; and the wish for a refund, if there is
        something to give back.
        """
        order_id, version = self.order.order_id, self.order.flow_version
        cancelled = UnitsCancelled(
            lines=self.listed(),
            reason=self.reason,
            amount_minor=self.amount_minor,
            given_back_minor=self.refund_minor,
        )
        yield Event(order_id, self.cause_id, at, cancelled, version)
        if self.refund_minor:
            refund = RefundRequested(refund_minor=self.refund_minor, reason=UnitsCancelled.kind, cause_id=self.cause_id)
            yield Event(order_id, refund_id, at, refund, version)
