"""Counts, adjustments and receipts of any length, applied in sets as they come, each durable.

A feed that has a name is remembered set by set, in the transaction that applies the set: sent again after it broke off, it goes
on where it stood, and what was applied is applied once. A name is remembered for good; a client key does the same for a while
(``core.idempotency``).

FED-1  A set of a named feed is applied once, however often it is sent, and only whole: where a feed breaks off inside a set,
       nothing of that set is applied, so that the feed can be sent again under its name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, structs

from ordino.core.cells import cell_fault
from ordino.core.database import Database, Tx
from ordino.core.digests import digest_of, encode_sorted
from ordino.core.errors import Conflict, Fault, Invalid, NotFound, Unavailable, broken_off
from ordino.core.idempotency import Outcome, Sets
from ordino.core.rows import RowFault
from ordino.core.statements import statements
from ordino.inventory.adjust import Adjustment, Count, Moved, Receipt, StockRefused, adjust, apply_counts, receive

sql = statements("ordino.inventory")
_encode = msgspec.json.Encoder().encode
_faults = msgspec.json.Decoder(list[RowFault]).decode

_OFFSET = re.compile(rb'[+-]\d\d:\d\d"')  # an instant that is not in UTC

ROWS_AT_ONCE = 4000
LANES = 2
FAULTS_TOLD = 1000
SEEN_AT_MOST = 2_000_000
NAME_CHARACTERS = 200


class Applied(Struct, frozen=True):
    """What became of a feed. At most the first 1,000 faults are told, with their lines; ``refused`` counts all. ``repeated`` counts
    rows about a position that stood in an earlier set: they are applied, and told among the faults.
    """

    rows: int
    applied: int
    unchanged: int
    refused: int
    faults: list[RowFault]
    feed: str | None = None
    repeated: int = 0


class FeedView(Struct, frozen=True):
    """A named feed. While ``finished_at`` is null it is being read, or broke off after line ``lines``: send it again, whole."""

    feed: str
    kind: str
    as_of: datetime | None
    actor: str | None
    started_at: datetime
    finished_at: datetime | None
    rows: int
    applied: int
    unchanged: int
    refused: int
    lines: int | None = None
    faults: list[RowFault] = []


class Kind(Struct, frozen=True):
    """What a feed holds, and how a set of it is applied: how many rows changed something, and the refusals by their place."""

    name: str
    type: type[Struct]
    apply: Callable[[Tx, Sequence[Any], datetime, datetime | None], Awaitable[tuple[int, dict[int, StockRefused]]]]


async def _apply_counts(
    tx: Tx, counts: Sequence[Count], at: datetime, as_of: datetime | None
) -> tuple[int, dict[int, StockRefused]]:
    columns = [c.sku for c in counts], [c.location for c in counts], [c.on_hand for c in counts]
    times = [c.as_of or as_of for c in counts]
    snapshot = await apply_counts(tx, *columns, at=at, as_of=times if any(times) else None)
    return len(snapshot.changed), snapshot.refused


def _applied(verb: Callable[..., Awaitable[Sequence[Moved | StockRefused]]]) -> Any:
    async def apply(
        tx: Tx, items: Sequence[Any], at: datetime, _: datetime | None
    ) -> tuple[int, dict[int, StockRefused]]:
        outcomes = await verb(tx, items, at=at)
        refused = {index: done for index, done in enumerate(outcomes) if isinstance(done, StockRefused)}
        return len(outcomes) - len(refused), refused

    return apply


class _Claim(Struct, frozen=True):
    """One set of a feed that is remembered: which it is, from 1, its first and last line, and a digest of its rows."""

    number: int
    first_line: int
    last_line: int
    digest: bytes


class _Done(Struct, frozen=True):
    """What became of a set: how many rows it has, how many changed something, and the faults of the others, by line."""

    rows: int
    applied: int
    faults: list[RowFault]


_done = msgspec.json.Decoder(_Done).decode

COUNTS = Kind("counts", Count, _apply_counts)
ADJUSTMENTS = Kind("adjustments", Adjustment, _applied(adjust))
RECEIPTS = Kind("receipts", Receipt, _applied(receive))
KINDS = {kind.name: kind for kind in (COUNTS, ADJUSTMENTS, RECEIPTS)}


async def feed(
    database: Database,
    rows: AsyncIterator[tuple[int, Any]],
    kind: Kind = COUNTS,
    *,
    name: str | None = None,
    sets: Sets | None = None,
    as_of: datetime | None = None,
    told: Callable[[int], None] = lambda line: None,
    busy: Callable[[], bool] = lambda: False,
) -> Applied:
    """Apply rows, a few sets at a time. Of a position that is counted again, the last row counts. ``told`` hears of the last line
    read; while something more urgent is ``busy``, a feed that changes most of what
    it names takes one set at a time.

    To repeat counts that broke off is safe. Adjustments and receipts need a ``name`` or a client key (``sets``) for that: what was
    applied before is passed over, and a set that is not whole when the rows break off is not applied.

    Raises ``Conflict`` if a name comes again with other rows, ``Invalid`` where rows cannot be read on, ``Unavailable`` where
    the database is away.
    """
    if name is not None and sets is None:
        await database.transact(lambda tx: _begin(tx, kind, name, as_of, at=database.clock.now()))
    known = name is not None or sets is not None
    under = "under the same name" if name is not None else "with the same Idempotency-Key"
    feed = _Sets(database, kind, name, sets, as_of, busy)
    batch: list[tuple[int, Any]] = []
    try:
        async for row in rows:
            batch.append(row)
            if len(batch) >= ROWS_AT_ONCE:
                await feed.start(batch)
                told(batch[-1][0])
                batch = []
        await feed.start(batch)
        done = await feed.end()
        if sets is not None:
            await sets.end(database, feed.started)
        if name is not None:
            await database.transact(lambda tx: _end(tx, kind, name, as_of, at=database.clock.now()))
        return done
    except Unavailable as error:
        await feed.settle()
        again = "it is safe to send all of them again"
        if known:
            again = f"send the feed again, whole, {under}, and those are not applied twice"
        elif kind is not COUNTS:
            again = "compare with the history of the stock before you send any of them again; a feed with a name can be sent again"
        raise broken_off(
            error, f"{feed.taken_in} rows were taken in before, not always the first ones: {again}."
        ) from error
    except Invalid as error:
        if not known:
            await feed.start(batch)
        done = await feed.end()
        again = "it is safe to send them again" if kind is COUNTS else "do not send those again"
        if known:
            again = f"send it again, whole, {under}, and those are not applied twice"
        said = f"Of the rows before it, {done.rows - done.refused} were taken in and {done.refused} refused; {again}."
        detail = f"{error.detail} {said}"
        raise Invalid(detail, faults=error.faults) from error
    except Exception:
        await feed.settle()
        raise


async def _begin(tx: Tx, kind: Kind, name: str, as_of: datetime | None, *, at: datetime) -> None:
    if not 1 <= len(name) <= NAME_CHARACTERS or "\x00" in name:
        raise Invalid(f"A feed's name has 1 to {NAME_CHARACTERS} characters.")
    [row] = await sql.begin_feed(tx, feed=name, kind=kind.name, as_of=as_of, actor=tx.actor, at=at)
    if (row["kind"], row["as_of"]) != (kind.name, as_of):
        since = f" as of {row['as_of']}" if row["as_of"] else ""
        raise Conflict(
            f"The feed name {name!r} was already used for {row['kind']}{since}; give this feed another name."
        )


async def _end(tx: Tx, kind: Kind, name: str, as_of: datetime | None, *, at: datetime) -> None:
    await _begin(tx, kind, name, as_of, at=at)  # one without rows has not begun yet if it has a client key
    await sql.end_feed(tx, feed=name, at=at)


class _Sets:
    """The sets of one feed, up to ``LANES`` side by side, and what became of their rows."""

    def __init__(
        self,
        database: Database,
        kind: Kind,
        name: str | None,
        keyed: Sets | None,
        as_of: datetime | None,
        busy: Callable[[], bool],
    ) -> None:
        self._busy = busy
        self._keyed = keyed
        self._database = database
        self._kind = kind
        self._name = name
        self._as_of = as_of
        self._running: dict[asyncio.Task[None], set[tuple[str, str]]] = {}  # with the positions that each is about
        self._failed: list[BaseException] = []
        self._faults: list[RowFault] = []
        self.started = self._rows = self._applied = self._refused = self._repeated = 0
        self._seen: set[int] = set()
        self._heavy = False  # does the feed change most of what it names?

    @property
    def taken_in(self) -> int:
        """How many rows are durably done with, so far."""
        return self._rows - self._refused

    async def start(self, batch: Sequence[tuple[int, Any]]) -> None:
        """Begin a set, once there is room and none that is under way is about a position of it."""
        if not batch:
            return
        lines, items, faults = self._sound(batch)
        positions = {(item.sku, item.location) for item in items}
        self._tell_repeated(lines, items)
        while len(self._running) >= self._lanes or not all(map(positions.isdisjoint, self._running.values())):
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failed()
        self.started += 1
        if self._name is None and self._keyed is None:
            task = asyncio.create_task(self._take(lines, items, faults))
        else:
            claim = _Claim(self.started, batch[0][0], batch[-1][0], _digest(items, faults))
            task = asyncio.create_task(self._take_once(claim, lines, items, faults))
        self._running[task] = positions
        task.add_done_callback(self._ended)

    @property
    def _lanes(self) -> int:
        """So many sets may be under way."""
        waits = self._heavy and self._busy()
        return 1 if waits or (self._keyed is not None and self._keyed.repeats) else LANES

    async def settle(self) -> None:
        """Wait for the sets that are under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def end(self) -> Applied:
        """Wait for the last sets. Raises what broke one of them."""
        await self.settle()
        self._raise_failed()
        faults = sorted(self._faults, key=lambda fault: fault.line)[:FAULTS_TOLD]
        unchanged = self._rows - self._applied - self._refused
        return Applied(self._rows, self._applied, unchanged, self._refused, faults, self._name, self._repeated)

    def _tell_repeated(self, lines: Sequence[int], items: Sequence[Any]) -> None:
        """Counts of positions that an earlier set was about; of very long feeds, those of the first millions are known."""
        if self._kind is not COUNTS:
            return
        here = [hash((item.sku, item.location)) for item in items]
        for line, position in zip(lines, here, strict=True):
            if position in self._seen:
                self._repeated += 1
                if len(self._faults) < FAULTS_TOLD:
                    detail = "The same SKU and location appear earlier in this feed; this later count is the one that counts."
                    self._faults.append(RowFault(line, "", detail))
        if len(self._seen) < SEEN_AT_MOST:
            self._seen.update(here)

    def _sound(self, batch: Sequence[tuple[int, Any]]) -> tuple[list[int], list[Any], list[RowFault]]:
        lines, items, faults = [], [], []
        type_ = self._kind.type
        for line, item in batch:
            if isinstance(item, Fault):
                faults.append(RowFault(line, item.pointer, item.detail))
                continue
            try:
                items.append(item if type(item) is type_ else msgspec.convert(item, type_, strict=False))
            except msgspec.ValidationError as error:
                fault = cell_fault(error, item)
                faults.append(RowFault(line, fault.pointer, fault.detail))
            else:
                lines.append(line)
        return lines, items, faults

    async def _apply(self, tx: Tx, lines: Sequence[int], items: Sequence[Any], faults: Sequence[RowFault]) -> _Done:
        applied, refused = await self._kind.apply(tx, items, self._database.clock.now(), self._as_of)
        told = sorted([*faults, *_told(lines, refused)], key=lambda fault: fault.line)
        return _Done(len(items) + len(faults), applied, told)

    async def _take(self, lines: Sequence[int], items: Sequence[Any], faults: list[RowFault]) -> None:
        self._note(await self._database.transact(lambda tx: self._apply(tx, lines, items, faults)))

    async def _take_once(
        self, claim: _Claim, lines: Sequence[int], items: Sequence[Any], faults: list[RowFault]
    ) -> None:
        """Under the feed's name, a client key, or both."""

        async def run(tx: Tx) -> _Done:
            if self._name is None:
                return await self._apply(tx, lines, items, faults)
            return await self._apply_named(tx, claim, lines, items, faults)

        async def keep(tx: Tx) -> Outcome:
            return Outcome(200, _encode(await run(tx)))

        if self._keyed is None:
            self._note(await self._database.transact(run))
        else:
            self._note(_done((await self._keyed.once(self._database, claim.number, claim.digest, keep)).body))

    async def _apply_named(
        self, tx: Tx, claim: _Claim, lines: Sequence[int], items: Sequence[Any], faults: Sequence[RowFault]
    ) -> _Done:
        assert self._name is not None, "only a named feed is claimed by its name"
        if self._keyed is not None:  # nothing begins under a key that was used for something else
            await _begin(tx, self._kind, self._name, self._as_of, at=self._database.clock.now())
        names = {"feed": self._name, "set_no": claim.number}
        said = {"first_line": claim.first_line, "last_line": claim.last_line, "digest": claim.digest}
        if not await sql.claim_set(tx, **names, **said):
            [was] = await sql.first_set(tx, **names)
            if was["digest"] != claim.digest:
                raise Conflict(
                    f"The feed {self._name!r} was already sent with other rows in lines {was['first_line']} to "
                    f"{was['last_line']}; send it as it was, or give it another name."
                )
            return _Done(was["rows"], was["applied"], _faults(was["faults"]))
        done = await self._apply(tx, lines, items, faults)
        told = _encode(done.faults).decode()
        await sql.keep_set(tx, **names, rows=done.rows, applied=done.applied, refused=len(done.faults), faults=told)
        return done

    def _note(self, done: _Done) -> None:
        self._rows += done.rows
        self._applied += done.applied
        self._heavy = 2 * done.applied > done.rows
        self._refused += len(done.faults)
        self._faults += done.faults[: max(FAULTS_TOLD - len(self._faults), 0)]

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()):
            self._failed.append(error)

    def _raise_failed(self) -> None:
        if self._failed:
            raise self._failed[0]


def _told(lines: Sequence[int], refused: dict[int, StockRefused]) -> list[RowFault]:
    return [RowFault(lines[index], refusal.pointer, refusal.detail) for index, refusal in refused.items()]


def _digest(items: Sequence[Any], faults: Sequence[RowFault]) -> bytes:
    """16 bytes that are the same for rows that say the same, in whichever form they come."""
    said = encode_sorted(items)
    if b'"as_of"' in said and _OFFSET.search(said):
        said = encode_sorted([_in_utc(item) for item in items])
    return digest_of(said, [(fault.line, fault.pointer) for fault in faults])


def _in_utc(item: Any) -> Any:
    as_of: datetime | None = getattr(item, "as_of", None)
    return item if as_of is None or as_of.tzinfo is None else structs.replace(item, as_of=as_of.astimezone(UTC))


async def feeds(tx: Tx, limit: int) -> list[FeedView]:
    """The last named feeds, newest first."""
    return [FeedView(**row) for row in await sql.recent_feeds(tx, limit=limit)]


async def feed_of(tx: Tx, name: str, *, after: int = 0) -> FeedView:
    """One feed with up to 1,000 of its faults, those after a line. Raises ``NotFound``."""
    rows = await sql.feed_by_name(tx, feed=name)
    if not rows:
        raise NotFound(f"There is no feed {name!r}; only feeds with a name are remembered.")
    faults = await sql.feed_faults(tx, feed=name, after=after, limit=FAULTS_TOLD)
    return FeedView(**rows[0], faults=[RowFault(**fault) for fault in faults])
