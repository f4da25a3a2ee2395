"""What the warehouse does about what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.payloads import Units, payload_of
from ordino.core.reactions import Task, registry
from ordino.network.facts import facts
from ordino.orders.reactions import PositionTold
from ordino.warehouse import closed, shortfall
from ordino.warehouse import release as releasing
from ordino.warehouse import stop as stopping
from ordino.warehouse.model import Rejection
from ordino.warehouse.reject import reject
from ordino.warehouse.stop import Wish


class LocationTold(Struct, frozen=True):
    """What a reaction is told that is about a location, whatever it follows."""

    location_id: int


class StopTold(Struct, frozen=True):
    """What a reaction is told that is to stop units, by whatever event it follows."""

    lines: list[Units]
    reason: str = "customer_request"


@registry.reaction("release")
async def release(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Make an order's allocations firm; what was released before stays as it is."""
    await releasing.release(tx, list(dict.fromkeys(task.subject_id for task in tasks)), at=at)


@registry.reaction("report_short")
async def report_short(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that are missing and in work are short; their orders are sourced anew."""
    await shortfall.report_short(tx, [payload_of(task, PositionTold).key for task in tasks], at=at)


registry.duty("watch_closed", every_seconds=1)(closed.watch_closed)


@registry.reaction("reject_closed")
async def reject_closed(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """A person wants work that lies at a closed location done elsewhere."""
    locations = (await facts(tx)).locations
    await reject(
        tx,
        [
            Rejection(
                order_id=task.subject_id,
                location=locations[payload_of(task, LocationTold).location_id].code,
                reason="refused",
            )
            for task in tasks
        ],
        at=at,
    )


@registry.reaction("stop")
async def stop(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Stop the units whose cancellation is wanted, as far as they did not leave."""
    wishes = []
    for task in tasks:
        told = payload_of(task, StopTold)
        wishes.append(Wish(task.subject_id, {units.line_no: units.quantity for units in told.lines}, told.reason))
    await stopping.stop(tx, wishes, at=at)
