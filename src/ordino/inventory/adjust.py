"""Receipts, adjustments and snapshots: how units enter and leave the ledger outside of orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from asyncpg import Record
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import kits
from ordino.core.codes import Code, LongCode
from ordino.core.database import Raced, Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET, Instant
from ordino.inventory import holds, ledger, named, shortfalls
from ordino.inventory.detail import Lot, Serials, tracked
from ordino.inventory.events import StockReceived, Variance, VarianceFound
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import facts

sql = statements("ordino.inventory")

MAX_UNITS = 10**12
SKEW_SECONDS = 60
OLDEST_DAYS = 30
VARIANCES_TOLD = 100

Document = Annotated[LongCode, Meta(description="The paper behind it, as its owner calls it.")]


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units that arrived."""

    sku: Code
    location: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)]
    reason: Annotated[str, Meta(max_length=200)] | None = None
    document: Document | None = None
    bin: Code | None = None
    lot: Lot | None = None
    expires_on: date | None = None
    serials: Serials | None = None


class Adjustment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units found (positive) or lost (negative), and why."""

    sku: Code
    location: Code
    delta: Annotated[int, Meta(ge=-MAX_UNITS, le=MAX_UNITS)]
    reason: Annotated[str, Meta(min_length=1, max_length=200)]
    document: Document | None = None
    bin: Code | None = None
    lot: Lot | None = None
    serials: Serials | None = None


class Count(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was physically there at ``as_of`` (by default now), picked units included. What has moved since is kept."""

    sku: Code
    location: Code
    on_hand: Annotated[int, Meta(ge=0, le=MAX_UNITS)]
    as_of: Instant | None = None


class StockRefusal(StrEnum):
    """Why a position was left as it is, in the order in which the reasons are tested."""

    INVALID = "invalid"  # Zero or too many units.
    UNKNOWN_SKU = "unknown_sku"
    UNKNOWN_LOCATION = "unknown_location"
    DETAIL = "detail"  # A bin, lot, date or serial number is missing, wrong or not there.
    KIT = "kit"  # A kit has no stock of its own; its components have.
    FROM_THE_FUTURE = "from_the_future"  # Counted as of a time that has not come.
    STALE = "stale"  # The position was counted as of a later time before.
    REPEATED = "repeated"  # The same position stands later in this batch of counts.
    TOO_FEW = "too_few"  # Fewer units are set aside.
    RESERVED = "reserved"  # Orders hold more units than would be left.


class Moved(Struct, frozen=True, tag_field="outcome", tag="moved"):
    """On hand changed by ``delta`` and is ``on_hand``; 0 where it already was so, at the time of the count. ``shortfall`` units are
    missing beyond that: orders hold them, and are sourced anew. ``expired`` units of a receipt are past their last selling day:
    they were taken in and set aside at once, and are not in ``on_hand``. Of a receipt whose document
    announced fewer units than have come by now, ``beyond_announced`` are too many: was it sent before? Of counts, ``counted`` is
    what was there at their time, and ``on_hand`` what is now.
    """

    sku: str
    location: str
    delta: int
    on_hand: int
    shortfall: int = 0
    expired: int = 0
    beyond_announced: int = 0
    counted: int | None = None


class StockRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    sku: str
    location: str
    reason: StockRefusal
    detail: str
    pointer: str = ""


Outcome = Moved | StockRefused
Change = Receipt | Adjustment


async def receive(tx: Tx, receipts: Sequence[Receipt], *, at: datetime) -> list[Outcome]:
    """Units arrive; who waits for them is told by the event ``stock_received``."""
    return await _change(tx, receipts, MoveKind.RECEIVED, at)


async def adjust(tx: Tx, adjustments: Sequence[Adjustment], *, at: datetime) -> list[Outcome]:
    """On hand is corrected by a difference. What orders hold is never taken away."""
    return await _change(tx, adjustments, MoveKind.ADJUSTED, at)


async def count(tx: Tx, counts: Sequence[Count], *, at: datetime) -> list[Outcome]:
    """On hand becomes what was counted, and what has moved since. Positions that stand so are neither locked nor written."""
    outcomes: list[Outcome] = [Moved(c.sku, c.location, 0, c.on_hand, counted=c.on_hand) for c in counts]
    codes, places, on_hand = [c.sku for c in counts], [c.location for c in counts], [c.on_hand for c in counts]
    snapshot = await apply_counts(tx, codes, places, on_hand, at=at, as_of=[c.as_of for c in counts])
    for index, change in snapshot.changed.items():
        outcomes[index] = Moved(codes[index], places[index], *change, counted=on_hand[index])
    for index, refusal in snapshot.refused.items():
        outcomes[index] = refusal
    await _stands_now(tx, counts, outcomes)
    return outcomes


async def _stands_now(tx: Tx, counts: Sequence[Count], outcomes: list[Outcome]) -> None:
    """What counts of the past left on hand: other than what was counted then, if something has moved since."""
    past = {i: o for i, o in enumerate(outcomes) if isinstance(o, Moved) and counts[i].as_of is not None}
    if not past:
        return
    skus, known = await sku_ids(tx, sorted({one.sku for one in past.values()})), (await facts(tx)).location_ids
    rows = await sql.on_hand_of(tx, sku_ids=list(skus.values()))
    stands = {(row["sku_id"], row["location_id"]): row["on_hand"] for row in rows}
    for index, one in past.items():
        outcomes[index] = replace(one, on_hand=stands.get((skus[one.sku], known[one.location]), 0))


class Snapshot(Struct, frozen=True):
    """What became of counted rows, by their place in the set: (delta, on hand now, shortfall) of the changes, and the refusals.
    All others stood as counted.
    """

    changed: dict[int, tuple[int, int, int]]
    refused: dict[int, StockRefused]


async def apply_counts(
    tx: Tx,
    codes: Sequence[str],
    places: Sequence[str],
    on_hand: Sequence[int],
    *,
    at: datetime,
    as_of: Sequence[datetime | None] | None = None,
    document: str | None = None,
) -> Snapshot:
    """Counts as columns, for feeds of any length: SKU code, location code, units, and when they were counted (None: now)."""
    changed: dict[int, tuple[int, int, int]] = {}
    refused: dict[int, StockRefused] = {}
    await take_turns(tx, as_of)
    times = {None} if as_of is None else set(as_of)
    if len(times) > 1:  # one time after the other: all positions are held before the first
        await _hold_named(tx, codes, places)
    for instant in sorted(times, key=lambda t: at if t is None else t.replace(tzinfo=t.tzinfo or UTC)):
        if len(times) == 1:
            indexes: Sequence[int] = range(len(codes))
            found = await _counted(tx, codes, places, on_hand, at, instant, document)
        else:
            assert as_of is not None, "there are several times"
            indexes = [index for index, time in enumerate(as_of) if time == instant]
            some_codes, some_places = [codes[index] for index in indexes], [places[index] for index in indexes]
            found = await _counted(
                tx, some_codes, some_places, [on_hand[index] for index in indexes], at, instant, document
            )
        changed |= {indexes[index]: change for index, change in found.changed.items()}
        refused |= {indexes[index]: refusal for index, refusal in found.refused.items()}
    return Snapshot(changed, refused)


async def take_turns(tx: Tx, as_of: Sequence[datetime | None] | None) -> None:
    """A count of the past must see every later one: it waits for those under way, and they for it. Before any position is held."""
    await (sql.share_counting if as_of is None or not any(as_of) else sql.hold_counting)(tx)


async def _hold_named(tx: Tx, codes: Sequence[str], places: Sequence[str]) -> None:
    """Hold these positions; SKUs that are kits have none."""
    of_kits, known = (await kits(tx)).parts, (await facts(tx)).location_ids
    skus = await sku_ids(tx, sorted(set(codes)))
    pairs = zip(codes, places, strict=True)
    keys = {(skus[code], known[place]) for code, place in pairs if code in skus and place in known}
    if keys := {key for key in keys if key[0] not in of_kits}:
        await _hold(tx, keys)


async def _counted(
    tx: Tx,
    codes: Sequence[str],
    places: Sequence[str],
    on_hand: Sequence[int],
    at: datetime,
    as_of: datetime | None,
    document: str | None,
) -> Snapshot:
    """The counts of one time. What they change is entered in the ledger as of that time, so that a repeat changes nothing."""
    refused: dict[int, StockRefused] = {}

    def refuse(index: int, reason: StockRefusal, detail: str, pointer: str) -> None:
        refused[index] = StockRefused(codes[index], places[index], reason, detail, pointer)

    if as_of is not None and (fault := _time_fault(as_of, at)) is not None:
        for index in range(len(codes)):
            refuse(index, *fault, "/as_of")
        return Snapshot({}, refused)
    past = None if as_of is None or as_of >= at else as_of
    if on_hand and not (min(on_hand) >= 0 and max(on_hand) <= MAX_UNITS):
        for index, units in enumerate(on_hand):
            if not 0 <= units <= MAX_UNITS:
                refuse(index, StockRefusal.INVALID, f"Count 0 to {MAX_UNITS} units.", "/on_hand")
    pairs = list(zip(codes, places, strict=True))
    if len(set(pairs)) < len(pairs):
        last = {pair: index for index, pair in enumerate(pairs)}
        for index, pair in enumerate(pairs):
            if last[pair] != index and index not in refused:
                detail = (
                    "The same SKU and location appear later in this batch, and the last count is the one that counts."
                )
                refuse(index, StockRefusal.REPEATED, detail, "")
    of_kits, by = (await kits(tx)).parts, await tracked(tx)
    keys: dict[tuple[int, int], int] = {}
    for row in await _differing(tx, codes, places, on_hand, at, past):
        index = row["ordinal"] - 1
        if index in refused:
            continue
        if row["sku_id"] is None:
            refuse(index, StockRefusal.UNKNOWN_SKU, f"The SKU {codes[index]!r} does not exist.", "/sku")
        elif row["location_id"] is None:
            refuse(index, StockRefusal.UNKNOWN_LOCATION, f"The location {places[index]!r} does not exist.", "/location")
        elif row["sku_id"] in of_kits:
            refuse(index, StockRefusal.KIT, _is_kit(codes[index]), "/sku")
        elif row["sku_id"] in by:
            how = "lot" if by[row["sku_id"]].by == "lot" else "serial number"
            told = f"{codes[index]!r} is tracked by {how}; say which ones are found or lost with POST /v1/adjustments."
            refuse(index, StockRefusal.DETAIL, told, "/on_hand")
        else:
            keys[row["sku_id"], row["location_id"]] = index
    moved: dict[tuple[int, int], int] = {}
    held = await _hold(tx, set(keys)) if keys else {}
    if past is not None and keys:
        for key in await _counted_later(tx, keys, past):
            detail = f"It was counted as of a later time than {past:%Y-%m-%d %H:%M:%S} UTC before; count again."
            refuse(keys.pop(key), StockRefusal.STALE, detail, "/as_of")
        moved = await _moved_since(tx, keys, past)
    cause_id = new_id(at)
    changed: dict[int, tuple[int, int, int]] = {}
    moves = []
    missing: dict[tuple[int, int], int] = {}
    for key, index in keys.items():
        before, reserved = held[key]
        now = on_hand[index] + moved.get(key, 0)
        missing[key] = max(reserved - now, 0)
        delta = max(now, reserved) - before  # what orders hold is never taken away, and what is missing of it is told
        if delta or missing[key]:
            changed[index] = (delta, before + delta, missing[key])
        if delta:
            moves.append(
                StockMove(*key, cause_id, MoveKind.COUNTED, on_hand_delta=delta, line_no=index + 1, document=document)
            )
    if missing:
        await shortfalls.note(tx, missing, at=at, document=document)
    await _tell_variance(tx, moves, missing, at)
    await _announce(tx, moves, cause_id, at)
    await ledger.post(tx, moves, at=past or at)
    return Snapshot(changed, refused)


async def _tell_variance(
    tx: Tx, moves: Sequence[StockMove], missing: Mapping[tuple[int, int], int], at: datetime
) -> None:
    """Less was there than should have been: how much, and where most."""
    lost: dict[tuple[int, int], int] = {key: units for key, units in missing.items() if units}
    for move in moves:
        if move.on_hand_delta < 0:
            key = (move.sku_id, move.location_id)
            lost[key] = lost.get(key, 0) - move.on_hand_delta
    if lost:
        most = sorted(lost, key=lambda key: -lost[key])[:VARIANCES_TOLD]
        told = [Variance(*key, lost[key]) for key in most]
        id_ = new_id(at)
        payload = VarianceFound(positions=len(lost), quantity=sum(lost.values()), largest=told)
        await record(tx, [Event(id_, id_, at, payload, await tx.plans.active(tx))])


def _time_fault(as_of: datetime, at: datetime) -> tuple[StockRefusal, str] | None:
    if as_of.tzinfo is None:
        return StockRefusal.INVALID, NEEDS_OFFSET
    if as_of > at + timedelta(seconds=SKEW_SECONDS):
        return StockRefusal.FROM_THE_FUTURE, f"It is {at:%Y-%m-%d %H:%M:%S} UTC; nothing was counted after that."
    if as_of < at - timedelta(days=OLDEST_DAYS):
        return StockRefusal.STALE, f"A count is taken in for {OLDEST_DAYS} days; count again."
    return None


async def _differing(
    tx: Tx, codes: Sequence[str], places: Sequence[str], on_hand: Sequence[int], at: datetime, past: datetime | None
) -> Sequence[Record]:
    """The rows that do not stand as counted, or name what is unknown. All are remembered as counted."""
    columns = {"codes": list(codes), "places": list(places), "on_hand": list(on_hand), "counted_id": new_id(at)}
    if past is None:
        return await sql.snapshot_rows(tx, **columns, as_of=at)
    return await sql.snapshot_rows_as_of(tx, **columns, as_of=past, floor=_floor(past))


def _floor(past: datetime) -> UUID:
    """No cause of a move after ``past`` is older than this: an id is made at its move's time, to the millisecond."""
    return UUID(int=(int(past.timestamp() * 1000) - 1) << 80)


async def _counted_later(tx: Tx, keys: Collection[tuple[int, int]], past: datetime) -> list[tuple[int, int]]:
    if not (await sql.newer_counts(tx, as_of=past))[0]["there"]:
        return []
    skus = [sku_id for sku_id, _ in keys]
    rows = await sql.counted_since(
        tx,
        sku_ids=skus,
        location_ids=[location_id for _, location_id in keys],
        as_of=past,
        first_sku_id=min(skus),
        last_sku_id=max(skus),
    )
    return [(row["sku_id"], row["location_id"]) for row in rows]


async def _moved_since(tx: Tx, keys: Collection[tuple[int, int]], past: datetime) -> dict[tuple[int, int], int]:
    skus, places = [sku_id for sku_id, _ in keys], [location_id for _, location_id in keys]
    rows = await sql.moved_since(tx, sku_ids=skus, location_ids=places, floor=_floor(past), as_of=past)
    return {(row["sku_id"], row["location_id"]): row["delta"] for row in rows}


async def stood_then(tx: Tx, keys: Sequence[tuple[int, int]], past: datetime | None) -> dict[tuple[int, int], int]:
    """What the ledger says was on hand at these positions at a time (None: now). They are locked."""
    held = await _hold(tx, set(keys))
    moved = {} if past is None else await _moved_since(tx, keys, past)
    return {key: held[key][0] - moved.get(key, 0) for key in keys}


async def forget_counted(tx: Tx, since: datetime, at: datetime) -> None:
    """Counts that are too old to be sent again need no remembering."""
    await sql.forget_counted(tx, before=at - timedelta(days=OLDEST_DAYS))


def _is_kit(sku: str) -> str:
    return f"{sku!r} is a kit: it is assembled when it is picked, and has no stock of its own. Name its components."


def _held_back(on_hand: int, reserved: int) -> str:
    return (
        f"{on_hand} units are on hand and orders hold {reserved} of them; "
        f"at most {on_hand - reserved} can be taken away. Cancel or re-source orders first."
    )


def _lacking(
    changes: Sequence[Change], keys: Mapping[int, tuple[int, int]], held: Mapping[tuple[int, int], tuple[int, int]]
) -> set[int]:
    """The SKUs of which less is free than these changes take away."""
    taken: dict[tuple[int, int], int] = defaultdict(int)
    for index, key in keys.items():
        change = changes[index]
        if isinstance(change, Adjustment) and change.delta < 0:
            taken[key] -= change.delta
    return {
        key[0]
        for key, units in taken.items()
        for on_hand, reserved in [held.get(key, (0, 0))]
        if on_hand - units < reserved
    }


async def _change(tx: Tx, changes: Sequence[Change], kind: MoveKind, at: datetime) -> list[Outcome]:
    if not changes:
        return []
    skus, places = await sku_ids(tx, [change.sku for change in changes]), (await facts(tx)).location_ids
    of_kits = (await kits(tx)).parts
    outcomes: list[Outcome | None] = [None] * len(changes)
    keys: dict[int, tuple[int, int]] = {}
    for index, change in enumerate(changes):
        refusal = _fault(change, skus, places)
        if refusal is None and skus[change.sku] in of_kits:
            refusal = _refuse(change, StockRefusal.KIT, _is_kit(change.sku), "/sku")
        if refusal is None:
            keys[index] = (skus[change.sku], places[change.location])
        else:
            outcomes[index] = refusal
    if tx.careful:
        await holds.lapse_first(tx, set(keys.values()), at=at)
    held = await _hold(tx, set(keys.values()))
    if (lacking := _lacking(changes, keys, held)) and not tx.careful and await holds.any_lapsed(tx, lacking, at=at):
        raise Raced([])  # those let go before the stock is held
    desk = await named.desk(tx, [(changes[index], key) for index, key in keys.items()], at=at)
    deltas: dict[tuple[int, int], int] = defaultdict(int)
    cause_id = new_id(at)
    moves = []
    for index, key in keys.items():
        change = changes[index]
        on_hand, reserved = held.get(key, (0, 0))
        on_hand += deltas[key]
        delta = change.quantity if isinstance(change, Receipt) else change.delta
        if on_hand + delta < reserved:
            detail = _held_back(on_hand, reserved)
            outcomes[index] = _refuse(change, StockRefusal.RESERVED, detail)
            continue
        if desk is not None and (wrong := desk.fault(change, key, delta)) is not None:
            outcomes[index] = _refuse(change, StockRefusal.DETAIL, wrong[1], wrong[0])
            continue
        deltas[key] += delta
        outcomes[index] = Moved(change.sku, change.location, delta, on_hand + delta)
        if delta:
            moves.append(
                StockMove(
                    key[0],
                    key[1],
                    cause_id,
                    kind,
                    on_hand_delta=delta,
                    line_no=index + 1,
                    reason=change.reason,
                    document=change.document,
                    parts=named.parts_of(change, abs(delta)),
                    serials=tuple(change.serials or ()),
                )
            )
    if desk is not None:
        await named.know_lots(tx, desk.lots, at=at)
        came = [(move.sku_id, serial) for move in moves if move.on_hand_delta > 0 for serial in move.serials]
        await named.know_serials(tx, came)
    if kind is MoveKind.RECEIVED:
        await _take_incoming(tx, moves, keys, outcomes, changes)
    await _announce(tx, moves, cause_id, at)
    aside = await ledger.post(tx, moves, at=at)
    if aside:
        assert desk is not None, "only lots expire"
        _tell_expired(outcomes, changes, keys, aside, desk, at)
    return [outcome for outcome in outcomes if outcome is not None]


def _tell_expired(
    outcomes: list[Outcome | None],
    changes: Sequence[Change],
    keys: Mapping[int, tuple[int, int]],
    aside: Mapping[tuple[int, int], int],
    desk: named.Desk,
    at: datetime,
) -> None:
    """Of changes that brought units of expired lots: how many, and what is on hand without them. ``aside``: in all, by position."""
    gone: dict[tuple[int, int], int] = defaultdict(int)
    last: dict[tuple[int, int], int] = {}
    for index, key in keys.items():
        outcome, lot = outcomes[index], changes[index].lot
        if not isinstance(outcome, Moved) or key not in aside:
            continue
        expired = outcome.delta if outcome.delta > 0 and lot is not None and desk.over(key, lot, at) else 0
        gone[key] += expired
        last[key] = index
        outcomes[index] = replace(outcome, on_hand=outcome.on_hand - gone[key], expired=expired)
    for key, index in last.items():  # lots that had expired before may have become free to be set aside, too
        outcome = outcomes[index]
        assert isinstance(outcome, Moved)
        outcomes[index] = replace(outcome, on_hand=outcome.on_hand - (aside[key] - gone[key]))


async def _take_incoming(
    tx: Tx,
    moves: Sequence[StockMove],
    keys: Mapping[int, tuple[int, int]],
    outcomes: list[Outcome | None],
    changes: Sequence[Change],
) -> None:
    """What receipts name by its document has come; if more than was announced, the last ones to bring it are told."""
    units: dict[tuple[int, int, str], int] = defaultdict(int)
    for move in moves:
        if move.document is not None:
            units[move.sku_id, move.location_id, move.document] += move.on_hand_delta
    if units:
        rows = await sql.take_incoming(
            tx,
            sku_ids=[key[0] for key in units],
            location_ids=[key[1] for key in units],
            documents=[key[2] for key in units],
            quantities=list(units.values()),
        )
        over = {(row["sku_id"], row["location_id"], row["document"]): row["over"] for row in rows if row["over"] > 0}
        for index in sorted(keys, reverse=True) if over else ():
            outcome, document = outcomes[index], changes[index].document
            if isinstance(outcome, Moved) and document is not None and (key := (*keys[index], document)) in over:
                beyond = min(outcome.delta, over[key])
                over[key] -= beyond
                outcomes[index] = replace(outcome, beyond_announced=beyond)


async def _hold(tx: Tx, keys: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """On hand and reserved of these positions, opened where they are new, locked in key order."""
    ordered = sorted(keys)
    await sql.open_positions(tx, sku_ids=[key[0] for key in ordered], location_ids=[key[1] for key in ordered])
    rows = await sql.lock_some(tx, sku_ids=[key[0] for key in ordered], location_ids=[key[1] for key in ordered])
    return {(row["sku_id"], row["location_id"]): (row["on_hand"], row["reserved"]) for row in rows}


async def _announce(tx: Tx, moves: Sequence[StockMove], cause_id: UUID, at: datetime) -> None:
    """Units came in; ``found`` names the positions where somebody has found some that were taken to be lost."""
    arrived = sorted({move.sku_id for move in moves if move.on_hand_delta > 0})
    if arrived:
        found = {(m.sku_id, m.location_id) for m in moves if m.on_hand_delta > 0 and m.kind is not MoveKind.RECEIVED}
        payload = StockReceived(sku_ids=arrived, found=sorted(found) if found else UNSET)
        await record(tx, [Event(cause_id, cause_id, at, payload, await tx.plans.active(tx))])


def _fault(change: Change, skus: dict[str, int], places: dict[str, int]) -> StockRefused | None:
    if isinstance(change, Receipt):
        if not 1 <= change.quantity <= MAX_UNITS:
            return _refuse(change, StockRefusal.INVALID, f"Receive 1 to {MAX_UNITS} units.", "/quantity")
    elif change.delta == 0 or abs(change.delta) > MAX_UNITS:
        return _refuse(change, StockRefusal.INVALID, f"Adjust by 1 to {MAX_UNITS} units, up or down.", "/delta")
    if change.sku not in skus:
        return _refuse(change, StockRefusal.UNKNOWN_SKU, f"The SKU {change.sku!r} does not exist.", "/sku")
    if change.location not in places:
        detail = f"The location {change.location!r} does not exist."
        return _refuse(change, StockRefusal.UNKNOWN_LOCATION, detail, "/location")
    return None


def _refuse(change: Change, reason: StockRefusal, detail: str, pointer: str = "") -> StockRefused:
    return StockRefused(change.sku, change.location, reason, detail, pointer)
