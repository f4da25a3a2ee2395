"""The event log: everything that happened, in one order that a reader follows with a cursor.

LOG-1  Whoever reads on from cursor to cursor reads every committed event, once: nothing appears later below a cursor, however long
       its transaction took and whatever time it says.
LOG-2  The events of an order come in the order in which they were recorded.
LOG-3  Positions are 1, 2, 3 and so on without a gap up to the head; each is that of a set, and a set has the events that it was
       recorded with.

What a transaction records at once is a *set* (``events.record``), with no position. A *sequencer*, one worker at a time, gives the
sets that are committed the next positions. Ids and times are no cursor: they are made before the commit, and history is recorded
with times of the past. Positions are given afterwards, and only to what is seen; so none is given below one that was read.

LOG-2 holds because a verb records what happens to an order while it holds the order. Whoever has the order next records after the
first has committed: if the sequencer sees the second set, it sees the first one, too, and sets that it sees at once are put in the
order in which they were written. That is where PostgreSQL's write-ahead log was (``written``), and not its clock, which may be
set back. (Places in the log of one server compare; a database on several servers needs another order in ``waiting_sets``.) Within
a set, events keep the order in which they were recorded, which is not that of their ids.

Events from before the log have no set. They are its position 0, and are read subject by subject.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.ids import new_id
from ordino.core.payloads import KINDS, Payload
from ordino.core.statements import statements

sql = statements("ordino.core")
_decode = msgspec.json.Decoder(dict[str, Any]).decode

BEGINNING, NOW = "beginning", "now"
END = 2**31 - 1
"""The place behind the last event of a set, and behind all events from before the log."""
NIL = UUID(int=0)
SETS_AT_ONCE = 10_000
"""So many sets get their positions in one transaction."""
SCANNED = 5_000
"""So many events are looked at for one page where only some kinds are asked for. A page may hold none, and its cursor goes on."""
LOOK_SECONDS = 0.1
"""How often a process looks for the head while somebody waits for it."""
_VERSION = 1
_HEAD = struct.Struct(">BIQI")
_CHECK = struct.Struct(">I")


class Cursor(Struct, frozen=True, order=True):
    """How far somebody has read: up to ``place`` of the set at ``position``; of what is from before the log (position 0), up to
    this event. Cursors are ordered as the log is.
    """

    position: int = 0
    place: int = 0
    subject_id: UUID = NIL
    event_id: UUID = NIL

    @property
    def before_the_log(self) -> bool:
        """Is something from before the log still to be read?"""
        return self.position == 0 and self.place < END


class Head(Struct, frozen=True, kw_only=True):
    """Whose log this is, and its last position. ``last_before``: the last subject that has events from before the log."""

    log_id: UUID
    head: int
    last_before: UUID | None

    @property
    def end(self) -> Cursor:
        """The cursor of whoever has read everything."""
        return Cursor(self.head, END)

    @property
    def mark(self) -> int:
        """What tells this log's cursors from those of another."""
        return self.log_id.int & 0xFFFFFFFF


class Logged(Struct, frozen=True, kw_only=True):
    """An event as the log has it. ``recorded_at`` is when it was written down, by the clock of the database's server (null for
    events from before the log); ``at`` is when it happened. ``data`` holds its facts as JSON, and ``payload()`` as the type of its
    kind. ``cursor`` is where a reader stands who has read it.
    """

    cursor: Cursor
    id: UUID
    subject_id: UUID
    kind: str
    at: datetime
    recorded_at: datetime | None
    data: dict[str, Any]

    def payload(self) -> Payload:
        """The facts, typed. Raises ``LookupError`` for a kind that no stage declares any more, ``Unavailable`` for a version that
        this program does not know yet, and ``msgspec.ValidationError`` for facts that do not fit.
        """
        if self.kind not in KINDS:
            raise LookupError(f"No stage declares the event {self.kind!r}; read its facts from `data`.")
        return KINDS[self.kind].read(self.data)


class Page(Struct, frozen=True, kw_only=True):
    """Some events in order, and the cursor to read on with. ``more``: there is more to read at once."""

    events: list[Logged]
    next: Cursor
    more: bool


def known_kinds(kinds: Sequence[str] | None, *, pointer: str = "/kinds") -> list[str] | None:
    """The kinds, each once, in order; None stands for all of them. Raises ``Invalid`` for one that nobody writes."""
    if kinds is None:
        return None
    if not kinds:
        detail = "Name at least one kind of event, or leave the kinds out to follow all of them."
        raise Invalid(detail, faults=[Fault(pointer, detail)])
    if unknown := sorted(set(kinds) - KINDS.keys()):
        said = ", ".join(map(repr, unknown))
        detail = f"There are no events of the kind {said}. The kinds are: {', '.join(sorted(KINDS))}."
        raise Invalid(detail, faults=[Fault(pointer, detail)])
    return sorted(set(kinds))


async def head(tx: Tx) -> Head:
    """How far the log goes now."""
    [row] = await sql.log_head(tx)
    return Head(**row)


def written(cursor: Cursor, head: Head) -> str:
    """The cursor as it is handed out."""
    packed = _HEAD.pack(_VERSION, head.mark, cursor.position, cursor.place)
    if cursor.subject_id != NIL or cursor.event_id != NIL:
        packed += cursor.subject_id.bytes + cursor.event_id.bytes
    packed += _CHECK.pack(zlib.crc32(packed))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str, head: Head, *, pointer: str = "/after") -> Cursor:
    """The cursor that was handed out, or that of ``beginning`` or ``now``.

    Raises ``Invalid`` for what is no cursor, for one of another log, and for one that is ahead of this log.
    """
    if text == BEGINNING:
        return Cursor()
    if text == NOW:
        return head.end
    mark, cursor = _unpacked(text, pointer)
    if mark != head.mark:
        raise _no_cursor("This cursor is of another database.", pointer)
    if cursor.position > head.head:
        raise _no_cursor(
            "This cursor is ahead of the log: the database was restored from a backup that is older than the cursor.",
            pointer,
        )
    return cursor


def _unpacked(text: str, pointer: str) -> tuple[int, Cursor]:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        packed = b""
    body, check = packed[: -_CHECK.size], packed[-_CHECK.size :]
    sound = len(body) in (_HEAD.size, _HEAD.size + 32) and _CHECK.unpack(check)[0] == zlib.crc32(body)
    if not sound or body[0] != _VERSION:
        raise _no_cursor("This is not a cursor.", pointer)
    _, mark, position, place = _HEAD.unpack_from(body)
    ids = [UUID(bytes=body[start : start + 16]) for start in range(_HEAD.size, len(body), 16)]
    return mark, Cursor(position, place, *ids)


def _no_cursor(why: str, pointer: str) -> Invalid:
    detail = f"{why} Send one that this server has handed out, {BEGINNING!r} to read everything, or {NOW!r} to read what is new."
    return Invalid(detail, code="bad_cursor", faults=[Fault(pointer, detail)])


async def read(tx: Tx, after: Cursor, *, kinds: Sequence[str] | None = None, limit: int = 1000) -> Page:
    """Up to ``limit`` events after a cursor, of some kinds or of all, in the order of the log.

    A page of some kinds may be empty although more follows: ``next`` has moved on, and ``more`` says so.
    """
    now = await head(tx)
    if after.before_the_log:
        if now.last_before is not None and after.subject_id <= now.last_before:
            return await _before_the_log(tx, after, now, kinds, limit)
        after = Cursor(0, END)
    return await _from_sets(tx, after, now, kinds, limit)


async def _before_the_log(tx: Tx, after: Cursor, now: Head, kinds: Sequence[str] | None, limit: int) -> Page:
    scanned = limit if kinds is None else max(limit, SCANNED)
    rows = await sql.events_before_the_log(
        tx, subject_id=after.subject_id, id=after.event_id, last=now.last_before, limit=scanned
    )
    found: list[Logged] = []
    next = Cursor(0, END) if len(rows) < scanned else Cursor(0, 0, rows[-1]["subject_id"], rows[-1]["id"])
    for row in rows:
        if kinds is None or row["kind"] in kinds:
            found.append(_logged(row, Cursor(0, 0, row["subject_id"], row["id"]), None))
            if len(found) == limit:
                next = found[-1].cursor
                break
    return Page(events=found, next=next, more=next < now.end)


async def _from_sets(tx: Tx, after: Cursor, now: Head, kinds: Sequence[str] | None, limit: int) -> Page:
    budget = limit if kinds is None else max(limit, SCANNED)
    first = after.position + (1 if after.place == END else 0)
    sets = []
    for row in await sql.sets_after(tx, position=first, limit=min(budget, SETS_AT_ONCE)) if first <= now.head else ():
        sets.append(row)
        budget -= row["events"] - (after.place if row["position"] == after.position else 0)
        if budget <= 0:
            break
    if not sets:
        return Page(events=[], next=after, more=False)
    rows = await sql.events_of_sets(
        tx,
        set_ids=[row["set_id"] for row in sets],
        place=after.place if sets[0]["position"] == after.position else 0,
        kinds=None if kinds is None else list(kinds),
        limit=limit,
    )
    found = []
    for row in rows:
        one = sets[row["n"] - 1]
        found.append(_logged(row, _in_set(one["position"], row["place"], one["events"]), one["recorded_at"]))
    next = found[-1].cursor if len(found) == limit else Cursor(sets[-1]["position"], END)
    return Page(events=found, next=next, more=next < now.end)


def _in_set(position: int, place: int, events: int) -> Cursor:
    return Cursor(position, place if place < events else END)


def _logged(row: Record, cursor: Cursor, recorded_at: datetime | None) -> Logged:
    return Logged(
        cursor=cursor,
        id=row["id"],
        subject_id=row["subject_id"],
        kind=row["kind"],
        at=row["at"],
        recorded_at=recorded_at,
        data=_decode(row["data"]),
    )


async def events_by_id(tx: Tx, keys: Sequence[tuple[UUID, UUID]]) -> list[Logged]:
    """The events with these subjects and ids, in the order of the log."""
    rows = await sql.events_by_id(tx, subject_ids=[subject for subject, _ in keys], ids=[id for _, id in keys])
    return [
        _logged(
            row,
            _in_set(row["position"], row["place"], row["events"])
            if row["position"]
            else Cursor(0, 0, row["subject_id"], row["id"]),
            row["recorded_at"],
        )
        for row in rows
    ]


async def sequence(database: Database, *, limit: int = SETS_AT_ONCE) -> int:
    """Give committed sets their positions. Returns how many got one: 0 where nothing is new, or another worker is at it."""
    [new] = await database.read(sql.anything_new)
    if not (new["sets"] or new["strays"]):
        return 0
    set_id = new_id(database.clock.now())

    async def run(tx: Tx) -> int:
        for held in await sql.hold_log(tx):
            if new["strays"]:
                await sql.adopt_events(tx, set_id=set_id, limit=limit)
            # A statement of its own: it sees what was committed when the log was held already.
            sets = [row["set_id"] for row in await sql.waiting_sets(tx, limit=limit)]
            if sets:
                await sql.position_sets(tx, head=held["head"], set_ids=sets)
                drained_at = held["at"] if len(sets) < limit else None
                await sql.move_head(tx, head=held["head"] + len(sets), drained_at=drained_at)
            return len(sets)
        return 0

    return await database.transact(run)


class HeadWatch:
    """The head of the log as this process sees it: many who wait share one look at the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looking = asyncio.Lock()
        self._seen: Head | None = None
        self._seen_at = float("-inf")

    async def head(self) -> Head:
        """At most ``LOOK_SECONDS`` old."""
        async with self._looking:
            if self._seen is None or monotonic() - self._seen_at > LOOK_SECONDS:
                self._seen = await self._database.read(head)
                self._seen_at = monotonic()
            return self._seen

    async def beyond(self, cursor: Cursor, deadline: float) -> bool:
        """Wait until the log goes on after a cursor, or until ``deadline`` (monotonic). No connection is held meanwhile."""
        while (await self.head()).end <= cursor:
            left = deadline - monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(LOOK_SECONDS, left))
        return True
