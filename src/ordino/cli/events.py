"""``ordino events``: everything that happens, as it happens, and who follows it."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from ordino.cli import running
from ordino.cli.terminal import Json, Key, change, console, on_database, sent, show
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from ordino.core.log import Cursor

events_app = App(name="events", help="Everything that happens, in order, and the subscriptions that follow it.")
AT_ONCE = 1000
MOST = 10_000
LOOK_SECONDS = 0.5
AWAY_SECONDS = 1.0

Kinds = Annotated[list[str] | None, Parameter(name="--kind", help="Only this kind; repeat it for more.", negative="")]


@events_app.command
def follow(
    *,
    kind: Kinds = None,
    after: Annotated[str, Parameter(help="A cursor, `beginning` or `now`.")] = "now",
    once: Annotated[bool, Parameter(help="End after the last event instead of waiting.", negative="")] = False,
    json: Annotated[bool, Parameter(help="One JSON document a line.", negative="")] = False,
) -> None:
    """Print events as they are recorded, until you stop it. At the end it prints the cursor with which to continue."""
    from ordino.core.log import head, known_kinds, read_cursor

    async def run(database: Database) -> None:
        kinds = known_kinds(kind, pointer="--kind")
        cursor = read_cursor(after, await database.read(head), pointer="--after")
        await _follow(database, cursor, kinds, once=once, json=json)

    on_database(run)


async def _follow(database: Database, cursor: Cursor, kinds: list[str] | None, *, once: bool, json: bool) -> None:
    from ordino.api.events import shown
    from ordino.core.log import HeadWatch, read, written

    watch, stop = HeadWatch(database), await running.stopped()
    now = await watch.head()
    try:
        while not stop.is_set():
            try:
                page = await database.read(lambda tx, cursor=cursor: read(tx, cursor, kinds=kinds, limit=AT_ONCE))  # type: ignore[misc]
                for event in shown(page, now).events:
                    _print(event, json=json)
                sys.stdout.flush()
                cursor = page.next
                if once and not page.more:
                    break
                if not page.more:
                    await watch.beyond(cursor, monotonic() + LOOK_SECONDS)
            except Unavailable as error:
                if once:
                    raise
                print(f"ordino: {error}", file=sys.stderr)
                await asyncio.sleep(AWAY_SECONDS)
    finally:
        print(f"ordino: go on with --after {written(cursor, now)}", file=sys.stderr)


def _print(event: object, *, json: bool) -> None:
    from ordino.api.events import EventView

    assert isinstance(event, EventView), "it is an event"
    if json:
        sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        return
    facts = msgspec.json.encode(event.data).decode()
    sys.stdout.write(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.kind}  {event.subject_id}  {facts}\n")


@events_app.command(name="kinds")
def list_kinds(*, json: Json = False) -> None:
    """Every kind of event, with its facts; as JSON, with a JSON Schema of each."""
    from ordino.api.server import load_stages
    from ordino.core.payloads import event_kinds

    load_stages()
    found = event_kinds()

    def table() -> Table:
        table = Table(
            Column("kind", no_wrap=True),
            "version",
            Column("what it says", overflow="fold"),
            Column("facts", overflow="fold"),
        )
        for one in found:
            facts = [field for field in one.fields if "." not in field.name]
            names = ", ".join(field.name if field.always else f"{field.name} (sometimes)" for field in facts)
            table.add_row(one.kind, str(one.version), Text(one.sentence), Text(names))
        return table

    show(found, table, json=json)


@events_app.command(name="subscriptions")
def list_subscriptions(*, json: Json = False) -> None:
    """List the subscriptions, and how far behind each is."""
    from ordino.core.subscriptions import subscriptions

    found = on_database(lambda database: database.read(subscriptions))

    def table() -> Table:
        table = Table("name", "read by", Column("kinds", overflow="fold"), "sets behind", "moved")
        for one in found:
            moved = f"{one.moved_at:%Y-%m-%d %H:%M}" if one.moved_at else ""
            reader = "a program" if one.reader == "program" else "Ordino"
            table.add_row(one.name, reader, ", ".join(one.kinds or ["all"]), f"{one.sets_behind:,}", moved)
        return table

    show(found, table, json=json)


@events_app.command
def subscribe(
    name: str,
    *,
    kind: Kinds = None,
    start: Annotated[
        str, Parameter(help="`beginning`: everything that ever happened; `now`: what is new.")
    ] = "beginning",
    key: Key = None,
) -> None:
    """Make a subscription: under its name, Ordino remembers how far your program has read the events."""
    from ordino.core.reactions import registry
    from ordino.core.subscriptions import NewSubscription, SubscriptionView
    from ordino.core.subscriptions import subscribe as follow_as

    wanted: NewSubscription = sent({"name": name, "kinds": kind, "start": start}, NewSubscription)

    async def run(tx: Tx, at: datetime) -> SubscriptionView:
        return await follow_as(tx, wanted, registry.subscriptions, at=at)

    made = change("events subscribe", wanted, run, SubscriptionView, key=key)
    console.print(
        f"{made.name} follows {', '.join(made.kinds or ['all kinds of events'])}.", markup=False, soft_wrap=True
    )


@events_app.command(name="read")
def read_events(name: str, *, most: int = 100, json: Json = False) -> None:
    """Print the next events of a subscription. It stays where it is until `ordino events acknowledge`."""
    from ordino.api.events import EventPage, shown
    from ordino.core.log import head
    from ordino.core.subscriptions import read_next

    if not 1 <= most <= MOST:
        raise Invalid(f"Ask for 1 to {MOST} events at once.")

    async def read(tx: Tx) -> EventPage:
        page, _ = await read_next(tx, name, most)
        return shown(page, await head(tx))

    page = on_database(lambda database: database.read(read))

    def table() -> Group:
        table = Table("at", "kind", Column("subject", min_width=36), Column("facts", overflow="fold"))
        for event in page.events:
            facts = msgspec.json.encode(event.data).decode()
            table.add_row(f"{event.at:%Y-%m-%d %H:%M:%S}", event.kind, str(event.subject_id), Text(facts))
        return Group(table, Text(f"Once they are done: ordino events acknowledge {name} {page.next}"))

    show(page, table, json=json)


@events_app.command
def acknowledge(name: str, cursor: str, *, key: Key = None) -> None:
    """Say that all events up to a cursor are done: the cursor of an event, or the `next` of a page."""
    from ordino.core.subscriptions import Acknowledgment, SubscriptionView
    from ordino.core.subscriptions import acknowledge as done

    told: Acknowledgment = sent({"cursor": cursor}, Acknowledgment)

    async def run(tx: Tx, at: datetime) -> SubscriptionView:
        return await done(tx, name, told, at=at)

    now = change("events acknowledge", [name, told], run, SubscriptionView, key=key)
    console.print(f"{now.name} is {now.sets_behind:,} sets of events behind.", markup=False)


@events_app.command
def unsubscribe(name: str, *, key: Key = None) -> None:
    """Delete a subscription. The events stay."""
    from ordino.core.subscriptions import Dropped
    from ordino.core.subscriptions import unsubscribe as drop

    dropped = change("events unsubscribe", name, lambda tx, _: drop(tx, name), Dropped, key=key)
    console.print(f"Nobody follows as {dropped.name} any more.", markup=False)
