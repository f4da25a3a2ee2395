"""What tracking does about what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ordino.core.database import Tx
from ordino.core.events import declare
from ordino.core.reactions import Task, registry
from ordino.tracking import take_events, unmatched, watch
from ordino.tracking.begin import sql

MATCHED_AT_ONCE = 1000

declare(
    shipment_delivered="A parcel reached the customer.",
    shipment_late="A parcel has not arrived by the date that its customer was told last.",
    shipment_behind_plan="A parcel has not arrived by the date of its plan; what its customer was told still holds.",
    shipment_lost="The carrier gave a parcel up.",
    shipment_delayed="The carrier expects a parcel at another time.",
    shipment_to_be_late="The carrier expects a parcel after the date that its customer was told last.",
    promise_changed="The customer was told another date.",
    shipment_returned_to_sender="The carrier brings a parcel back.",
    shipment_back="A parcel that the carrier brought back has reached the sender.",
    lost_shipment_arrived="A parcel that was reported lost has reached the customer after all.",
    tracking_number_taken="A shipment was sent under the tracking number of another.",
)


@registry.reaction("watch_parcel")
async def watch_parcel(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Every shipment becomes a parcel that carriers' words can be told of."""
    shipments = [
        watch.Sent(task.subject_id, UUID(task.data["shipment_id"]), task.data["tracking_number"], task.event_id)
        for task in tasks
    ]
    await watch.watch(tx, shipments, at=at)


@registry.reaction("check_late")
async def check_late(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """What has not arrived by the date that its customer was told last is late."""
    await watch.check_late(tx, [(task.subject_id, UUID(task.data["shipment_id"])) for task in tasks], at=at)


@registry.duty("match_events", every_seconds=5)
async def match_events(tx: Tx, since: datetime, at: datetime) -> None:
    """What was kept of a number while its shipment was just leaving happens to its parcel."""
    rows = await sql.matched_numbers(tx, limit=MATCHED_AT_ONCE)
    if rows:
        await take_events.take_matched(tx, {row["tracking_number"] for row in rows}, at=at)


@registry.duty("forget_unmatched", every_seconds=3600)
async def forget_unmatched(tx: Tx, since: datetime, at: datetime) -> None:
    """What carriers said of numbers under which nothing has left for a month is no longer kept."""
    await unmatched.forget(tx, at=at)
