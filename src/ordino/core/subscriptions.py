"""Who follows the event log, and how far each has come.

A *stage* follows with a function that it registers (``registry.subscription``): workers run it, page by page. It stands beside
the flow of an order: what is added later sees the orders that are there already. Another *program* follows over HTTP: it reads,
does its work, and acknowledges.

SUB-1  A stage's subscription does its work on the database once for each event: the work and the move of its cursor are one
       transaction, and one worker at a time has a subscription.
SUB-2  An event that cannot be handled stops no other: it leaves the subscription for the queue, under the subscription's name, and
       is tried again there as any reaction is, up to the dead-letter list.
SUB-3  A cursor goes forward only, and never beyond the head of the log.
SUB-4  What a program has read and not acknowledged is read again.

A stage's function sees the events of its kinds in the order of the log, except for those that went to the queue: they come
later. Whoever needs more than that looks at the order itself, which the event names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal

from asyncpg import Record
from msgspec import Meta, Struct

from ordino.core.codes import ShortCode
from ordino.core.database import Database, Tx
from ordino.core.effects import Task
from ordino.core.errors import Away, Conflict, Fault, NotFound
from ordino.core.events import Due, enqueue
from ordino.core.failures import words_of
from ordino.core.log import (
    BEGINNING,
    NIL,
    NOW,
    Cursor,
    Logged,
    Page,
    events_by_id,
    head,
    known_kinds,
    read,
    read_cursor,
    sequence,
    written,
)
from ordino.core.outage import Outage
from ordino.core.statements import statements

sql = statements("ordino.core")
log = logging.getLogger("ordino.subscriptions")

SEQUENCE_SECONDS = 0.1
IDLE_SECONDS = 0.4
"""How often a worker looks whether something has no position yet: while something is new, and otherwise."""
AWAY_IN_A_ROW = 10
"""So often a page may lose the database that it had reached. After that it may be the page that does it, and it is halved."""

Start = Literal["beginning", "now"]
Follow = Callable[[Tx, Sequence[Logged], datetime], Awaitable[None]]
"""What a stage does about events, in the transaction in which its cursor moves. It is told the business's time."""


class Subscription(Struct, frozen=True, kw_only=True):
    """What a stage follows: events of these kinds (None: of all), from the beginning of the log or from when it is first there."""

    name: str
    kinds: tuple[str, ...] | None
    start: Start
    run: Follow

    async def try_again(self, tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
        """The reaction of events that went to the queue."""
        events = await events_by_id(tx, [(task.subject_id, task.event_id) for task in tasks])
        await self.run(tx, events, at)


def subscription(name: str, kinds: Sequence[str] | None, start: Start, run: Follow) -> Subscription:
    """Raises ``Invalid`` for a kind that no stage has declared."""
    assert start in (BEGINNING, NOW), f"a subscription starts at {BEGINNING!r} or {NOW!r}, not at {start!r}"
    known = known_kinds(kinds)
    return Subscription(name=name, kinds=None if known is None else tuple(known), start=start, run=run)


class NewSubscription(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program wants to follow the log."""

    name: ShortCode
    kinds: Annotated[
        list[str] | None, Meta(description="The kinds of events that it follows; all of them if left out.")
    ] = None
    start: Annotated[
        Start,
        Meta(description="`beginning`: everything that ever happened; `now`: what is recorded from now on."),
    ] = "beginning"


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """Who follows the log. ``reader`` is `program` or `stage` (Ordino itself). ``kinds`` is null where all are followed. ``cursor``
    is what was acknowledged last, and ``sets_behind`` how many sets of events have been recorded after it, of whatever kinds.
    """

    name: str
    reader: str
    kinds: list[str] | None
    cursor: str
    sets_behind: int
    created_at: datetime
    moved_at: datetime | None


class Acknowledgment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything up to this cursor is done: that of an event, or the ``next`` of a page."""

    cursor: Annotated[str, Meta(max_length=200)]


class Dropped(Struct, frozen=True, kw_only=True):
    """Nobody follows the log under this name any more."""

    name: str


async def subscriptions(tx: Tx, name: str | None = None) -> list[SubscriptionView]:
    """Everybody who follows the log, by name; or the one with this name."""
    now = await head(tx)
    return [
        SubscriptionView(
            name=row["name"],
            reader=row["reader"],
            kinds=row["kinds"],
            cursor=written(_cursor_of(row), now),
            sets_behind=row["sets_behind"],
            created_at=row["created_at"],
            moved_at=row["moved_at"],
        )
        for row in await sql.subscriptions(tx, name=name)
    ]


async def _view(tx: Tx, name: str) -> SubscriptionView:
    [found] = await subscriptions(tx, name)
    return found


async def subscribe(
    tx: Tx, wanted: NewSubscription, taken: Mapping[str, Subscription], *, at: datetime
) -> SubscriptionView:
    """A program follows from now on. Asked for again, it is where it was.

    ``taken`` are the subscriptions of Ordino itself. Raises ``Invalid`` for unknown kinds, and ``Conflict`` where another
    subscription has the name.
    """
    kinds = known_kinds(wanted.kinds)
    made = wanted.name not in taken and await sql.make_subscription(
        tx, name=wanted.name, reader="program", kinds=kinds, from_now=wanted.start == NOW, at=at
    )
    if not made:
        rows = await sql.subscriptions(tx, name=wanted.name)
        if wanted.name in taken or not rows or rows[0]["reader"] != "program" or rows[0]["kinds"] != kinds:
            detail = (
                f"There is a subscription {wanted.name!r} already, and it follows something else. Choose another name."
            )
            raise Conflict(detail, code="name_taken", faults=[Fault("/name", detail)])
    return await _view(tx, wanted.name)


async def unsubscribe(tx: Tx, name: str) -> Dropped:
    """A program follows no longer. Raises ``NotFound``, and ``Conflict`` for a subscription of Ordino itself."""
    await _programs(tx, name)
    await sql.drop_subscription(tx, name=name)
    return Dropped(name=name)


async def read_next(tx: Tx, name: str, limit: int) -> tuple[Page, list[str] | None]:
    """What comes after the last acknowledgment, and the kinds that are followed (None: all); reading moves nothing.

    Raises ``NotFound`` and ``Conflict``.
    """
    row = await _programs(tx, name)
    return await read(tx, _cursor_of(row), kinds=row["kinds"], limit=limit), row["kinds"]


async def acknowledge(tx: Tx, name: str, sent: Acknowledgment, *, at: datetime) -> SubscriptionView:
    """Everything up to the cursor is done. What was acknowledged before stays so: a cursor from before moves nothing.

    Raises ``NotFound``, ``Conflict`` for a subscription of Ordino itself, and ``Invalid`` for a cursor that is none.
    """
    await _programs(tx, name)
    cursor = read_cursor(sent.cursor, await head(tx), pointer="/cursor")
    await _move(tx, name, cursor, at)
    return await _view(tx, name)


async def _programs(tx: Tx, name: str) -> Record:
    rows = await sql.subscriptions(tx, name=name)
    if not rows:
        raise NotFound(f"There is no subscription {name!r}; POST /v1/subscriptions makes one.")
    if rows[0]["reader"] != "program":
        raise Conflict(f"The subscription {name!r} is Ordino's own: its workers read it. Make one of your own.")
    return rows[0]


def _cursor_of(row: Record) -> Cursor:
    return Cursor(row["position"], row["place"], row["subject_id"] or NIL, row["event_id"] or NIL)


async def _move(tx: Tx, name: str, cursor: Cursor, at: datetime) -> None:
    before = cursor.subject_id != NIL or cursor.event_id != NIL
    await sql.move_subscription(
        tx,
        name=name,
        position=cursor.position,
        place=cursor.place,
        subject_id=cursor.subject_id if before else None,
        event_id=cursor.event_id if before else None,
        at=at,
    )


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


class Followers:
    """What one worker does for the log: it gives positions, and runs the stages' subscriptions."""

    def __init__(
        self,
        database: Database,
        subscriptions: Mapping[str, Subscription],
        *,
        outage: Outage,
        batch_size: int = 500,
        lanes: int = 2,
        poll_seconds: float = 0.2,
    ) -> None:
        self.handled = 0
        self.database = database
        self.subscriptions = subscriptions
        self.batch_size = batch_size
        self.poll_seconds = poll_seconds
        self._outage = outage
        self._room = asyncio.Semaphore(lanes)
        self._known: set[str] = set()
        self._refused: set[str] = set()
        self._size: dict[str, int] = {}
        self._lost: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. What is under way is ended first."""
        await asyncio.gather(self._sequence_until(stop), self._follow_until(stop))

    async def run_until_idle(self) -> int:
        """Until everything that is committed was followed. Returns how many events were handled."""
        if not self.subscriptions:
            return 0
        while await sequence(self.database):
            pass
        before, went_on = self.handled, True
        while went_on:
            went_on = False
            for name in await self._behind():
                went_on = await self._page(name) or went_on
        return self.handled - before

    async def _sequence_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            wait_seconds = SEQUENCE_SECONDS
            try:
                if not await sequence(self.database):
                    wait_seconds = IDLE_SECONDS
            except Exception as error:
                self._outage.note(error, "giving events their positions")
            await _rest(stop, wait_seconds)

    async def _follow_until(self, stop: asyncio.Event) -> None:
        """Each subscription that is behind is followed beside the others: a slow one keeps none waiting."""
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while self.subscriptions and not stop.is_set():
                try:
                    for name in await self._behind():
                        if name not in running or running[name].done():
                            running[name] = group.create_task(self._catch_up(name, stop))
                except Exception as error:
                    self._outage.note(error, "following the event log")
                await _rest(stop, self.poll_seconds)

    async def _catch_up(self, name: str, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set() and await self._page(name):
                pass
        except Exception as error:
            self._outage.note(error, f"following the event log for {name}")

    async def _behind(self) -> list[str]:
        for name in sorted(self.subscriptions.keys() - self._known - self._refused):
            ours = await self.database.transact(lambda tx, name=name: self._enter(tx, name))  # type: ignore[misc]
            (self._known if ours else self._refused).add(name)
        names = sorted(self._known)
        return [row["name"] for row in await self.database.read(lambda tx: sql.subscriptions_behind(tx, names=names))]

    async def _enter(self, tx: Tx, name: str) -> bool:
        """A new subscription gets its row, and each of them the kinds that it follows now. False where the name is taken."""
        one, at = self.subscriptions[name], self.database.clock.now()
        kinds = None if one.kinds is None else list(one.kinds)
        await sql.make_subscription(tx, name=name, reader="stage", kinds=kinds, from_now=one.start == NOW, at=at)
        [row] = await sql.subscriptions(tx, name=name)
        if row["reader"] == "stage":
            await sql.say_kinds(tx, name=name, kinds=kinds)
            return True
        log.error(
            "Ordino's own subscription `%s` does not run, because a program has one of this name. Move the program to another "
            "name, remove this one (DELETE /v1/subscriptions/%s), and start the workers again.",
            name,
            name,
        )
        return False

    async def _page(self, name: str) -> bool:
        """The next events of a subscription. If they cannot be handled together, fewer are tried next, down to a single one.

        Returns whether there is more to do at once. False where another worker has the subscription.
        """
        found: list[Logged] = []
        size = self._size.get(name, self.batch_size)

        async def run(tx: Tx) -> bool:
            found.clear()
            return await self._handle(tx, name, size, found)

        async with self._room:
            try:
                more = await self.database.transact(run)
            except Exception as error:
                if not found or (isinstance(error, Away) and not self._loses_the_database(name)):
                    raise
                if len(found) == 1:
                    await self._put_aside(name, found[0], error)
                else:
                    self._size[name] = len(found) // 2
                    log.warning("%s failed for %d events, fewer are tried: %s", name, len(found), words_of(error))
                return True
        self._lost.pop(name, None)
        self._size[name] = min(self.batch_size, 2 * size)
        self.handled += len(found)
        return more

    async def _handle(self, tx: Tx, name: str, size: int, found: list[Logged]) -> bool:
        """Holds the subscription and handles the next events; ``found`` tells which. Is there more?"""
        one, at = self.subscriptions[name], self.database.clock.now()
        for row in await sql.hold_subscription(tx, name=name):
            cursor = _cursor_of(row)
            page = await read(tx, cursor, kinds=one.kinds, limit=size)
            found.extend(page.events)
            if page.events:
                await one.run(tx, page.events, at)
            if page.next != cursor:
                await _move(tx, name, page.next, at)
            return page.more
        return False

    async def _put_aside(self, name: str, culprit: Logged, error: Exception) -> None:
        """An event that fails by itself goes to the queue, and the subscription goes on after it."""
        one, at = self.subscriptions[name], self.database.clock.now()
        words = words_of(error)

        async def run(tx: Tx) -> bool:
            for row in await sql.hold_subscription(tx, name=name):
                page = await read(tx, _cursor_of(row), kinds=one.kinds, limit=1)
                if [event.id for event in page.events] == [culprit.id]:  # nobody else has moved on meanwhile
                    await enqueue(tx, [Due(name, culprit.subject_id, culprit.id, at)], at=at)
                    await _move(tx, name, page.next, at)
                    return True
            return False

        if await self.database.transact(run):
            log.warning(
                "%s failed for the event %s of %s, which goes to the queue: %s",
                name,
                culprit.id,
                culprit.subject_id,
                words,
            )

    def _loses_the_database(self, name: str) -> bool:
        """Once more the database went away under a page: is it the page that does it?"""
        self._lost[name] = self._lost.get(name, 0) + 1
        if self._lost[name] < AWAY_IN_A_ROW:
            return False
        del self._lost[name]
        return True
