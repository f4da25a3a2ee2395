"""What buyers were told of their orders, first and last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import Event
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.orders.events import PromiseEndangered, ShipByEndangered
from ordino.sourcing.model import Decision

sql = statements("ordino.orders")


async def tell_orders(tx: Tx, told: Mapping[UUID, tuple[datetime | None, datetime | None]]) -> None:
    """Order id -> (told first, told last). The orders must be locked."""
    await sql.tell_orders(
        tx,
        order_ids=list(told),
        promised_ats=[first for first, _ in told.values()],
        last_promised_ats=[last for _, last in told.values()],
    )


def endangered(
    decision: Decision, told_at: datetime | None, ship_by_at: datetime | None, flow_version: int, *, at: datetime
) -> Iterator[Event]:
    """The events of a plan that breaks what the buyer was told, or that leaves after the channel's ship-by time."""
    if decision.explanation.promise_kept is False:
        arrives_at = max((leg.promised_at for leg in decision.legs), default=None)
        payload = PromiseEndangered(promised_at=told_at, arrives_at=arrives_at)
        yield Event(decision.request_id, new_id(at), at, payload, flow_version)
    if decision.explanation.ship_by_kept is False:
        leaves_by = max((leg.ship_by_at for leg in decision.legs), default=None)
        yield Event(
            decision.request_id,
            new_id(at),
            at,
            ShipByEndangered(ship_by_at=ship_by_at, leaves_by=leaves_by),
            flow_version,
        )
