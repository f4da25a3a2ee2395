"""Carriers' words: recorded once, and what they say of a parcel happens to all its shipments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Raced, Tx
from ordino.core.times import NEEDS_OFFSET, span_fault
from ordino.inventory.adjust import SKEW_SECONDS
from ordino.orders import ledger as orders_ledger
from ordino.tracking import unmatched
from ordino.tracking.begin import Sent, begin, sql
from ordino.tracking.happen import Happening, apply, write
from ordino.tracking.model import (
    TURNS,
    EventRefused,
    InParcel,
    Kept,
    Kind,
    ParcelRow,
    Recorded,
    TrackingEvent,
    TrackingRefusal,
)
from ordino.warehouse import numbers

EXPECTED_DAYS = 366
SKEW = timedelta(seconds=SKEW_SECONDS)

Shipment = tuple[UUID, UUID]
"""(order id, shipment id)"""
Words = tuple[UUID, str, datetime]
"""(shipment id, kind, the carrier's time): what makes two events the same."""


class _Said(Struct):
    """Words at ``place`` in a batch, of one shipment in the parcel."""

    place: int
    event: TrackingEvent
    order_id: UUID
    shipment_id: UUID
    at: datetime

    @property
    def words(self) -> Words:
        return self.shipment_id, str(self.event.kind), self.at


async def take_events(
    tx: Tx, tracking_events: Sequence[TrackingEvent], *, at: datetime
) -> list[Recorded | Kept | EventRefused]:
    """One outcome an event, in order.

    The first ``delivered`` delivers the units of the shipments, the first ``lost`` reports them lost by the event
    ``shipment_lost``, ``delayed`` moves the expected time, and where that is after what the customer was told last, the event
    ``shipment_to_be_late`` says so; ``returned_to_sender`` turns the parcel back. What a carrier says of a parcel after its end is
    only recorded. What it says of a number that no shipment has is kept.
    """
    behind = await behind_numbers(tx, {event.tracking_number for event in tracking_events})
    outcomes: dict[int, Recorded | Kept | EventRefused] = {}
    unknown: list[tuple[int, TrackingEvent]] = []
    known: list[tuple[int, TrackingEvent]] = []
    for index, event in enumerate(tracking_events):
        refusal = _doubt(event, at)
        if refusal is not None:
            outcomes[index] = refusal
        else:
            (known if event.tracking_number in behind else unknown).append((index, event))
    if known:
        outcomes |= await _take(tx, known, behind, at)
    if unknown:
        outcomes |= await unmatched.keep(tx, unknown, at=at)
    return [outcomes[index] for index in range(len(tracking_events))]


async def take_kept(tx: Tx, tracking_numbers: Collection[str], held: Collection[UUID], *, at: datetime) -> None:
    """What was said of these numbers before their shipments left happens to them now, in the order of its time.

    ``held`` are the orders that this transaction has locked. Where a shipment of another order is in the parcel, because it joined
    the number meanwhile, what is kept waits for ``take_matched``: it is too late to lock that order, too.
    """
    numbers = await unmatched.kept_of(tx, tracking_numbers)
    if not numbers:
        return
    behind = await behind_numbers(tx, numbers)
    mine = {number for number, parcel in behind.items() if all(order_id in held for order_id, _ in parcel)}
    if events := await unmatched.take(tx, mine):
        await _take(tx, list(enumerate(events)), behind, at, kept=True)


async def take_matched(tx: Tx, tracking_numbers: Collection[str], *, at: datetime) -> None:
    """As ``take_kept``, for a caller that has not locked the orders behind these numbers: they are locked here, first."""
    behind = await behind_numbers(tx, tracking_numbers)
    held = await orders_ledger.lock(tx, {order_id for parcel in behind.values() for order_id, _ in parcel})
    await take_kept(tx, tracking_numbers, held, at=at)


async def behind_numbers(tx: Tx, tracking_numbers: Collection[str]) -> dict[str, list[Shipment]]:
    """Number -> the shipments in its parcel, the first one first."""
    behind: dict[str, list[Shipment]] = {}
    for row in await sql.behind_numbers(tx, tracking_numbers=sorted(tracking_numbers)):
        behind.setdefault(row["tracking_number"], []).append((row["order_id"], row["shipment_id"]))
    return behind


def _doubt(event: TrackingEvent, at: datetime) -> EventRefused | None:
    """What can be said against an event without knowing its parcel."""
    for name in ("at", "expected_at"):
        instant = getattr(event, name)
        if instant is not None and instant.tzinfo is None:
            return EventRefused(event.tracking_number, TrackingRefusal.INVALID, NEEDS_OFFSET, f"/{name}")
    earliest, latest = at - timedelta(days=EXPECTED_DAYS), at + timedelta(days=EXPECTED_DAYS)
    return _outside(event, "expected_at", earliest, latest, "a year before and after now")


def _outside(event: TrackingEvent, name: str, earliest: datetime, latest: datetime, why: str) -> EventRefused | None:
    instant = getattr(event, name)
    wrong = None if instant is None else span_fault(name, instant, earliest, latest, why)
    if wrong is None:
        return None
    return EventRefused(event.tracking_number, TrackingRefusal.INVALID, wrong, f"/{name}")


async def _take(
    tx: Tx,
    known: Sequence[tuple[int, TrackingEvent]],
    behind: Mapping[str, Sequence[Shipment]],
    at: datetime,
    *,
    kept: bool = False,
) -> dict[int, Recorded | Kept | EventRefused]:
    """(index, event) of known numbers. Kept events happened before their shipments left: their times are not refused."""
    shipments = {s: number for number in {e.tracking_number for _, e in known} for s in behind[number]}
    orders = await orders_ledger.lock(tx, [order_id for order_id, _ in shipments])
    parcels = await _parcels(tx, shipments, at)
    outcomes: dict[int, Recorded | Kept | EventRefused] = {}
    said: list[_Said] = []
    before = await _said_before(tx, known, behind, parcels)
    for place, event in known:
        here = behind[event.tracking_number]
        shipped_at = min(parcels[shipment_id].shipped_at for _, shipment_id in here)
        refusal = None if kept else _fault(event, here[0][1], shipped_at, before, at)
        if refusal is not None:
            outcomes[place] = refusal
            continue
        for order_id, shipment_id in here:
            said.append(_Said(place, event, order_id, shipment_id, _time_of(event, shipment_id, before, at)))
    await _close(tx, said, behind, at)
    new = await _record(tx, said, at)
    delays = await _delays(tx, said, new)
    arrived = await _arrived(tx, said, new, parcels)
    happened: list[Happening] = []
    repeated: dict[int, bool] = {}
    for one in said:
        fresh = one.words in new
        new.discard(one.words)  # the same words again in this batch are a repeat
        repeated[one.place] = repeated.get(one.place, True) and not fresh
        if not fresh or not _is_newest(one, delays):
            continue
        parcel = parcels[one.shipment_id]
        kind = apply(one.event, parcel, one.at)
        if kind == "lost_shipment_arrived":
            if parcel.shipment_id in arrived:
                continue
            arrived.add(parcel.shipment_id)
        if kind is not None:
            happened.append(Happening(one.place, kind, parcel))
            if kind == "shipment_delayed" and parcel.expected_at > parcel.told_at:
                happened.append(Happening(one.place, "shipment_to_be_late", parcel))
    await write(tx, happened, orders, at=at)
    for place, event in known:
        if place not in outcomes:
            here = behind[event.tracking_number]
            first = parcels[here[0][1]]
            outcomes[place] = Recorded(
                event.tracking_number,
                event.kind,
                *here[0],
                first.status,
                repeated[place],
                tuple(InParcel(*s) for s in here),
            )
    return outcomes


async def _parcels(tx: Tx, shipments: Mapping[Shipment, str], at: datetime) -> dict[UUID, ParcelRow]:
    """Their parcels by shipment id. A shipment that nobody has made a parcel of yet becomes one, and what was kept of it
    happens.
    """

    async def load() -> dict[UUID, ParcelRow]:
        rows = await sql.parcels(
            tx, order_ids=[order_id for order_id, _ in shipments], shipment_ids=[id for _, id in shipments]
        )
        return {row["shipment_id"]: ParcelRow(*row) for row in rows}

    parcels = await load()
    missing = [Sent(*s, number, s[1]) for s, number in shipments.items() if s[1] not in parcels]
    if missing:
        await begin(tx, missing, at=at)
        held = {order_id for order_id, _ in shipments}
        await take_kept(tx, {sent.tracking_number for sent in missing}, held, at=at)
        parcels = await load()
    return parcels


async def _said_before(
    tx: Tx,
    known: Sequence[tuple[int, TrackingEvent]],
    behind: Mapping[str, Sequence[Shipment]],
    parcels: Mapping[UUID, ParcelRow],
) -> dict[tuple[UUID, str], list[datetime]]:
    """When it was said before, where that matters: (shipment id, kind) -> times, the first one first."""
    wanted = {
        (order_id, shipment_id, str(event.kind))
        for _, event in known
        for order_id, shipment_id in behind[event.tracking_number]
        if (event.at is None and event.kind in TURNS)
        or (event.at is not None and event.at < parcels[shipment_id].shipped_at - SKEW)
    }
    before: dict[tuple[UUID, str], list[datetime]] = {}
    if wanted:
        order_ids, shipment_ids, kinds = (list(column) for column in zip(*sorted(wanted), strict=True))
        for row in await sql.said_before(tx, order_ids=order_ids, shipment_ids=shipment_ids, kinds=kinds):
            before.setdefault((row["shipment_id"], row["kind"]), []).append(row["at"])
    return before


def _fault(
    event: TrackingEvent,
    shipment_id: UUID,
    shipped_at: datetime,
    before: Mapping[tuple[UUID, str], Sequence[datetime]],
    at: datetime,
) -> EventRefused | None:
    if event.at in before.get((shipment_id, str(event.kind)), ()):
        return None  # it is on record: what was kept until the shipment left may be told again
    why = f"from when the shipment left until now, give or take {SKEW_SECONDS} seconds"
    until = at + timedelta(days=EXPECTED_DAYS)
    return _outside(event, "at", shipped_at - SKEW, at + SKEW, why) or _outside(
        event,
        "expected_at",
        shipped_at - SKEW,
        until,
        f"from when the shipment left until {EXPECTED_DAYS} days from now",
    )


def _time_of(
    event: TrackingEvent, shipment_id: UUID, before: dict[tuple[UUID, str], list[datetime]], at: datetime
) -> datetime:
    """When it happened: as the carrier says, else now. The end of a parcel that is told again without a time was told before."""
    key = (shipment_id, str(event.kind))
    said_at = event.at or at
    if event.at is None and event.kind in TURNS and before.get(key):
        said_at = before[key][0]
    before.setdefault(key, []).append(said_at)
    return said_at


async def _close(tx: Tx, said: Sequence[_Said], behind: Mapping[str, Sequence[Shipment]], at: datetime) -> None:
    """Parcels that end or turn back take no further shipment. Raises ``Raced`` if one has just joined: it happens to that, too."""
    ending = {one.event.tracking_number for one in said if one.event.kind in TURNS}
    if not ending:
        return
    await numbers.close(tx, ending, at=at)
    now = await behind_numbers(tx, ending)
    if any(set(now[number]) != set(behind[number]) for number in ending):
        raise Raced([])


async def _record(tx: Tx, said: Sequence[_Said], at: datetime) -> set[Words]:
    """Which of the words are new."""
    distinct = {one.words: one for one in reversed(said)}
    if not distinct:
        return set()
    rows = await sql.record_events(
        tx,
        order_ids=[one.order_id for one in distinct.values()],
        shipment_ids=[words[0] for words in distinct],
        kinds=[words[1] for words in distinct],
        ats=[words[2] for words in distinct],
        places=[one.event.place for one in distinct.values()],
        details=[one.event.detail for one in distinct.values()],
        received_at=at,
    )
    return {(row["shipment_id"], row["kind"], row["at"]) for row in rows}


async def _delays(tx: Tx, said: Sequence[_Said], new: Collection[Words]) -> dict[UUID, datetime]:
    """Shipment id -> when its delay was told last, before this batch."""
    delayed = {one.shipment_id: one.order_id for one in said if one.event.kind is Kind.DELAYED}
    if not delayed:
        return {}
    just = {(shipment_id, said_at) for shipment_id, _, said_at in new}
    rows = await sql.said_before(
        tx, order_ids=list(delayed.values()), shipment_ids=list(delayed), kinds=[str(Kind.DELAYED)] * len(delayed)
    )
    delays: dict[UUID, datetime] = {}
    for row in rows:
        if (row["shipment_id"], row["at"]) not in just:
            delays[row["shipment_id"]] = row["at"]
    return delays


async def _arrived(
    tx: Tx, said: Sequence[_Said], new: Collection[Words], parcels: Mapping[UUID, ParcelRow]
) -> set[UUID]:
    """Shipments that were lost, and of which the carrier had said before this batch that they arrived: that is told once."""
    lost = {
        one.shipment_id: one.order_id
        for one in said
        if one.event.kind is Kind.DELIVERED and parcels[one.shipment_id].lost_at is not None
    }
    if not lost:
        return set()
    rows = await sql.said_before(
        tx, order_ids=list(lost.values()), shipment_ids=list(lost), kinds=[str(Kind.DELIVERED)] * len(lost)
    )
    return {row["shipment_id"] for row in rows if (row["shipment_id"], row["kind"], row["at"]) not in new}


def _is_newest(one: _Said, delays: dict[UUID, datetime]) -> bool:
    """Has the carrier said nothing newer of the delay?"""
    if one.event.kind is not Kind.DELAYED:
        return True
    if one.at < delays.get(one.shipment_id, one.at):
        return False
    delays[one.shipment_id] = one.at
    return True
