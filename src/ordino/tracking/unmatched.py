"""What carriers say of numbers under which nothing has left yet: kept for a while, until a shipment leaves under the number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.ids import new_ids
from ordino.inventory.adjust import OLDEST_DAYS, SKEW_SECONDS
from ordino.tracking.begin import sql
from ordino.tracking.model import TURNS, EventRefused, Kept, Kind, TrackingEvent, TrackingRefusal

KEPT_DAYS = OLDEST_DAYS
MOST_KEPT = 100_000
LAST = UUID(int=(1 << 128) - 1)


class UnmatchedEvent(Struct, frozen=True, kw_only=True):
    """What a carrier said of a number that no shipment has. ``at`` is its time, or without one when it came."""

    event_id: UUID
    tracking_number: str
    kind: Kind
    at: datetime
    received_at: datetime
    place: str | None
    detail: str | None
    expected_at: datetime | None


async def keep(tx: Tx, unknown: Sequence[tuple[int, TrackingEvent]], *, at: datetime) -> dict[int, Kept | EventRefused]:
    """(index, event): keep events of unknown numbers. Returns one outcome for each index.

    The same words twice are one; so is the end of a parcel that is told again without a time. What lies further back than what is
    kept does, or comes when nothing more can be kept, is refused.
    """
    [room] = await sql.count_unmatched(tx, limit=MOST_KEPT)
    kept = await sql.unmatched_kinds(tx, tracking_numbers=sorted({event.tracking_number for _, event in unknown}))
    first: dict[tuple[str, str], datetime] = {}
    for row in kept:
        first.setdefault((row["tracking_number"], row["kind"]), row["at"])
    outcomes: dict[int, Kept | EventRefused] = {}
    new: dict[tuple[str, str, datetime], tuple[int, TrackingEvent]] = {}
    for index, event in unknown:
        if refusal := _fault(event, at, full=room["events"] + len(new) >= MOST_KEPT):
            outcomes[index] = refusal
            continue
        said_at = event.at or at
        if event.at is None and event.kind in TURNS:
            said_at = first.get((event.tracking_number, event.kind), said_at)
        first.setdefault((event.tracking_number, event.kind), said_at)
        words = (event.tracking_number, str(event.kind), said_at)
        outcomes[index] = Kept(event.tracking_number, event.kind, said_at, repeated=words in new)
        new.setdefault(words, (index, event))
    if new:
        written = await _write(tx, new, at)
        for words, (index, event) in new.items():
            if words not in written:
                outcomes[index] = Kept(event.tracking_number, event.kind, words[2], repeated=True)
    return outcomes


def _fault(event: TrackingEvent, at: datetime, *, full: bool) -> EventRefused | None:
    number = event.tracking_number
    earliest, latest = at - timedelta(days=KEPT_DAYS), at + timedelta(seconds=SKEW_SECONDS)
    if event.at is not None and not earliest <= event.at <= latest:
        detail = (
            f"No shipment has the tracking number {number!r} yet. What is said of it is kept if it happened in the last "
            f"{KEPT_DAYS} days: `at` must be between {earliest:%Y-%m-%d %H:%M:%S} and {latest:%Y-%m-%d %H:%M:%S} UTC."
        )
        return EventRefused(number, TrackingRefusal.INVALID, detail, "/at")
    if full:
        detail = (
            f"No shipment has the tracking number {number!r}, and {MOST_KEPT} events of unknown numbers are kept already. "
            "Look at GET /v1/unmatched_tracking_events, and send this one again once its shipment has left."
        )
        return EventRefused(number, TrackingRefusal.UNKNOWN_TRACKING_NUMBER, detail, "/tracking_number")
    return None


async def _write(
    tx: Tx, new: dict[tuple[str, str, datetime], tuple[int, TrackingEvent]], at: datetime
) -> set[tuple[str, str, datetime]]:
    rows = await sql.keep_unmatched(
        tx,
        tracking_numbers=[words[0] for words in new],
        kinds=[words[1] for words in new],
        ats=[words[2] for words in new],
        event_ids=new_ids(at, len(new)),
        places=[event.place for _, event in new.values()],
        details=[event.detail for _, event in new.values()],
        expected_ats=[event.expected_at for _, event in new.values()],
        received_at=at,
    )
    return {(row["tracking_number"], row["kind"], row["at"]) for row in rows}


async def kept_of(tx: Tx, tracking_numbers: Collection[str]) -> set[str]:
    """Of which of these numbers something is kept."""
    if not tracking_numbers:
        return set()
    return {row["tracking_number"] for row in await sql.unmatched_kinds(tx, tracking_numbers=sorted(tracking_numbers))}


async def take(tx: Tx, tracking_numbers: Collection[str]) -> list[TrackingEvent]:
    """What was kept of these numbers, in the order of its time. It is no longer kept."""
    if not tracking_numbers:
        return []
    rows = await sql.take_unmatched(tx, tracking_numbers=sorted(tracking_numbers))
    return [
        TrackingEvent(
            tracking_number=row["tracking_number"],
            kind=Kind(row["kind"]),
            at=row["at"],
            place=row["place"],
            detail=row["detail"],
            expected_at=row["expected_at"],
        )
        for row in sorted(rows, key=lambda row: row["at"])
    ]


async def forget(tx: Tx, *, at: datetime) -> None:
    """What nothing has left under for so long is no longer kept."""
    before = UUID(int=int((at - timedelta(days=KEPT_DAYS)).timestamp() * 1000) << 80)  # UUIDv7 begins with its time
    await sql.forget_unmatched(tx, before=before)


async def unmatched(tx: Tx, before: UUID = LAST, limit: int = 100) -> list[UnmatchedEvent]:
    """One page of what is kept, newest first."""
    return [UnmatchedEvent(**row) for row in await sql.unmatched(tx, before=before, limit=limit)]
