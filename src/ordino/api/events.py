"""The event log over HTTP: everything that happened, in order, and subscriptions that remember how far a program has read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.log import BEGINNING, Head, HeadWatch, Page, head, known_kinds, read, read_cursor, written
from ordino.core.payloads import EventKind, event_kinds
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.core.subscriptions import (
    Acknowledgment,
    Dropped,
    NewSubscription,
    SubscriptionView,
    acknowledge,
    read_next,
    subscribe,
    subscriptions,
    unsubscribe,
)
from ordino.web.answers import answer_once
from ordino.web.bodies import decode
from ordino.web.bulk import Limit, PathCode
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete, get, post

NEW = msgspec.json.Decoder(NewSubscription)
ACKNOWLEDGMENT = msgspec.json.Decoder(Acknowledgment)
LONGEST_WAIT_SECONDS = 30
After = Annotated[
    str,
    QueryParameter(
        max_length=200,
        description="The `next` of the page before, or the `cursor` of an event; `beginning` (the default) or `now` to start.",
    ),
]
Wait = Annotated[
    float,
    QueryParameter(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        description="How long to wait for an event where there is none yet. The answer comes as soon as there is one.",
    ),
]


class EventView(Struct, frozen=True, kw_only=True):
    """Something that happened to `subject_id` (an order, where there is one). `at` is when it happened, and `recorded_at` when it
    was written down (null for events from before the log). `data` holds its facts. `cursor` is where a reader stands who has read
    it.
    """

    cursor: str
    id: UUID
    subject_id: UUID
    kind: str
    at: datetime
    recorded_at: datetime | None
    data: dict[str, Any]


class EventPage(Struct, frozen=True, kw_only=True):
    """Events in the order of the log. Read on with `next`: at once if there is `more`. A page of some kinds may be empty although
    there is more, because the events that it has passed over are of other kinds.
    """

    events: list[EventView]
    next: str
    more: bool


class Subscriptions(Struct, frozen=True, kw_only=True):
    """By name."""

    subscriptions: list[SubscriptionView]


class EventKinds(Struct, frozen=True, kw_only=True):
    """By name."""

    event_kinds: list[EventKind]


def shown(page: Page, now: Head) -> EventPage:
    """The page as it is handed out."""
    events = [
        EventView(
            cursor=written(event.cursor, now),
            id=event.id,
            subject_id=event.subject_id,
            kind=event.kind,
            at=event.at,
            recorded_at=event.recorded_at,
            data=event.data,
        )
        for event in page.events
    ]
    return EventPage(events=events, next=written(page.next, now), more=page.more)


async def _waited(
    request: Request[Any, Any, Any],
    database: Database,
    first: Callable[[Tx], Awaitable[tuple[Page, list[str] | None]]],
    *,
    limit: int,
    wait_seconds: float,
) -> EventPage:
    """The first page that has events, or an empty one when the time is over. No connection is held while it waits."""
    watch: HeadWatch = request.app.state.head_watch
    deadline = monotonic() + wait_seconds
    page, kinds = await database.read(first)
    while wait_seconds and not page.events:
        if not page.more and not await watch.beyond(page.next, deadline):
            break
        if monotonic() >= deadline:
            break
        after = page.next
        page = await database.read(lambda tx, after=after: read(tx, after, kinds=kinds, limit=limit))  # type: ignore[misc]
    return shown(page, await watch.head())


@get(
    "/v1/events",
    operation=Operation(
        name="events.list", permission=Permission.EVENTS_READ, personal=True, refusals={"bad_cursor": 400}
    ),
    summary="Read the event log",
    tags=["events"],
)
async def list_events(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    after: After = BEGINNING,
    kind: Annotated[
        list[str] | None, QueryParameter(description="Only events of this kind; say it again for more kinds.")
    ] = None,
    limit: Limit = 100,
    wait_seconds: Wait = 0,
) -> EventPage:
    """All events of all subjects, each once. Whoever reads on from `next` misses none, and the events of an order come in the order
    in which they happened to it. A worker gives events their places in the log within a second; without a worker, nothing new
    appears.
    """
    kinds = known_kinds(kind, pointer="/kind")

    async def first(tx: Tx) -> tuple[Page, list[str] | None]:
        cursor = read_cursor(after, await head(tx))
        return await read(tx, cursor, kinds=kinds, limit=limit), kinds

    return await _waited(request, database, first, limit=limit, wait_seconds=wait_seconds)


@get(
    "/v1/subscriptions",
    operation=Operation(name="subscriptions.list", permission=Permission.EVENTS_READ),
    summary="List subscriptions",
    tags=["events"],
)
async def list_subscriptions(database: NamedDependency[Database]) -> Subscriptions:
    """Every subscription, by name: those of programs, and those of Ordino itself."""
    return Subscriptions(subscriptions=await database.read(subscriptions))


@post(
    "/v1/subscriptions",
    operation=Operation(
        name="subscriptions.make", permission=Permission.EVENTS_FOLLOW, refusals={"invalid": 400, "conflict": 409}
    ),
    summary="Make a subscription",
    tags=["events"],
    status_code=201,
    operation_class=described(NewSubscription, SubscriptionView),
)
async def post_subscription(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """Ordino remembers under the name how far its reader has come. Asked for again, the subscription stays where it is; a name
    under which other kinds are followed is refused.
    """
    wanted = decode(await request.body(), NEW)
    taken = registry.subscriptions

    async def run(tx: Tx) -> SubscriptionView:
        return await subscribe(tx, wanted, taken, at=database.clock.now())

    return await answer_once(request, database, run, status=201, sent=wanted)


@get(
    "/v1/subscriptions/{name:str}/events",
    operation=Operation(
        name="subscriptions.read", permission=Permission.EVENTS_READ, personal=True, refusals=NOT_FOUND
    ),
    summary="Read the next events of a subscription",
    tags=["events"],
)
async def list_next_events(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    name: PathCode,
    limit: Limit = 100,
    wait_seconds: Wait = 0,
) -> EventPage:
    """The events after the last acknowledgment. Reading moves nothing: until they are acknowledged, the same events are answered
    again. A subscription is for one reader at a time.
    """

    return await _waited(
        request, database, lambda tx: read_next(tx, name, limit), limit=limit, wait_seconds=wait_seconds
    )


@post(
    "/v1/subscriptions/{name:str}/acknowledgments",
    operation=Operation(
        name="subscriptions.acknowledge",
        permission=Permission.EVENTS_FOLLOW,
        refusals={**NOT_FOUND, "bad_cursor": 400, "conflict": 409},
    ),
    summary="Acknowledge events",
    tags=["events"],
    status_code=200,
    operation_class=described(Acknowledgment, SubscriptionView),
)
async def post_acknowledgment(
    request: Request[Any, Any, Any], database: NamedDependency[Database], name: PathCode
) -> Response[bytes]:
    """Everything up to the cursor is done: that of an event, or the `next` of a page. It is safe to repeat; a cursor from before
    the last acknowledgment moves nothing.
    """
    sent = decode(await request.body(), ACKNOWLEDGMENT)

    async def run(tx: Tx) -> SubscriptionView:
        return await acknowledge(tx, name, sent, at=database.clock.now())

    return await answer_once(request, database, run, sent=sent)


@delete(
    "/v1/subscriptions/{name:str}",
    operation=Operation(
        name="subscriptions.drop", permission=Permission.EVENTS_FOLLOW, refusals={**NOT_FOUND, "conflict": 409}
    ),
    summary="Delete a subscription",
    tags=["events"],
    status_code=200,
    operation_class=described(None, Dropped),
)
async def delete_subscription(
    request: Request[Any, Any, Any], database: NamedDependency[Database], name: PathCode
) -> Response[bytes]:
    """The name is forgotten, with how far its reader has come. The events stay."""
    return await answer_once(request, database, lambda tx: unsubscribe(tx, name))


@get(
    "/v1/event_kinds",
    operation=Operation(name="events.kinds", permission=Permission.EVENTS_READ),
    summary="List the kinds of events",
    tags=["events"],
)
async def list_event_kinds() -> EventKinds:
    """Every kind of event, by name: what it says, its version, and its facts with their types, as a list and as a JSON Schema. A
    reader ignores fields that it does not know: later versions of Ordino may add some.
    """
    return EventKinds(event_kinds=event_kinds())


event_routes: list[Any] = [
    list_events,
    list_event_kinds,
    list_subscriptions,
    post_subscription,
    list_next_events,
    post_acknowledgment,
    delete_subscription,
]
