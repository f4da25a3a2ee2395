"""What tracking does about what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.payloads import payload_of
from ordino.core.reactions import Task, registry
from ordino.tracking import take_events, unmatched, watch
from ordino.tracking.begin import sql

MATCHED_AT_ONCE = 1000


class ShipmentTold(Struct, frozen=True):
    """What a reaction is told that is about a shipment, whatever it follows."""

    shipment_id: UUID


class SentTold(ShipmentTold, frozen=True):
    """What a reaction is told of a shipment that has left, by whatever event it follows."""

    tracking_number: str


@registry.reaction("watch_parcel")
async def watch_parcel(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Every shipment becomes a parcel that carriers' words can be told of."""
    shipments = []
    for task in tasks:
        told = payload_of(task, SentTold)
        shipments.append(watch.Sent(task.subject_id, told.shipment_id, told.tracking_number, task.event_id))
    await watch.watch(tx, shipments, at=at)


@registry.reaction("check_late")
async def check_late(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """What has not arrived by the date that its customer was told last is late."""
    await watch.check_late(tx, [(task.subject_id, payload_of(task, ShipmentTold).shipment_id) for task in tasks], at=at)


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
