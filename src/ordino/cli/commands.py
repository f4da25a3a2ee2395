"""The commands."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Column, Table

from ordino.api.server import address_of, refuse_taken_port
from ordino.cli import running, signals
from ordino.cli.call import call_app
from ordino.cli.demo.baskets import ORDINARY_MONTH
from ordino.cli.effects import effects_app
from ordino.cli.events import events_app
from ordino.cli.jobs import jobs_app, show_schedule
from ordino.cli.keys import keys_app
from ordino.cli.kpis import kpis_app
from ordino.cli.orders import orders_app
from ordino.cli.parts import Parts
from ordino.cli.sourcing import sourcing_app
from ordino.cli.stock import stock_app
from ordino.cli.terminal import Json, Key, Limit, change, on_database, show
from ordino.core.errors import Invalid, OrdinoError
from ordino.core.lifeline import VARIABLE, end_with_starter
from ordino.core.ready import tell_ready
from ordino.core.settings import Settings

app = App(name="ordino", help="An open, distributed order management system.", result_action="return_value")
letters_app = App(name="dead-letters", help="Reactions and calls that failed too often, and wait for a person.")
flows_app = App(name="flows", help="The documents that say what follows what.")
app.command(keys_app)
app.command(call_app)
app.command(letters_app)
app.command(effects_app)
app.command(flows_app)
app.command(stock_app)
app.command(sourcing_app)
app.command(orders_app)
app.command(kpis_app)
app.command(events_app)
app.command(jobs_app)
app.command(show_schedule, name="schedule")

console = Console()
SLOW_SECONDS = 60
TEND_SECONDS = 0.1


@app.command
def up() -> None:
    """Start everything: PostgreSQL (unless ORDINO_DATABASE_URL is set), migrations, HTTP, a worker."""
    settings = Settings.from_environment()
    running.refuse_bad_settings(settings)
    running.refuse_held_directory(settings)  # before its port is found taken, too: it says who has both
    refuse_taken_port(settings)
    with running.database_url(settings, alone=True, prepared=True) as url:
        up_on(settings, url)


def up_on(settings: Settings, url: str) -> None:
    """Serve and work on a prepared database until told to stop. A part that ends is started again.

    Raises ``PartGivenUp`` where that does not help.
    """
    signals.install()
    refuse_taken_port(settings)
    running.run(_check_door(settings, url))
    with Parts(("serve", "work"), os.environ | {"ORDINO_DATABASE_URL": url}) as parts:
        try:
            _announce(settings, parts)
            while True:
                parts.tend()
                time.sleep(TEND_SECONDS)
        except SystemExit:
            console.print("Stopping.")
            raise


def _announce(settings: Settings, parts: Parts) -> None:
    """Wait until the server is ready, for as long as its process is worth waiting for, and say so."""
    address = address_of(settings)
    slow_at: float | None = time.monotonic() + SLOW_SECONDS
    while (missing := _not_ready(address)) is not None:
        parts.tend()
        time.sleep(TEND_SECONDS)
        if slow_at is not None and time.monotonic() >= slow_at:
            slow_at = None
            console.print(f"The server takes long to get ready. Ordino waits; {address}/ready answers: {missing}")
    console.print(f"Ordino serves on {address}; the API is at /schema. Ctrl-C stops it.")


def _not_ready(address: str) -> str | None:
    """What keeps the server from being ready; None when it is."""
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=2):
            return None
    except OSError as error:
        return str(error)


async def _check_door(settings: Settings, url: str) -> None:
    from ordino.api.server import refuse_open_door

    async with running.opened(settings, url) as database:
        await refuse_open_door(database, settings)


@app.command
def serve() -> None:
    """Serve HTTP on the database of ORDINO_DATABASE_URL (or of a running `ordino up`)."""
    from ordino.api.server import serve as serve_http

    end_with_starter()
    settings = Settings.from_environment()
    running.refuse_bad_settings(settings)
    if VARIABLE not in os.environ:  # processes of a server that was killed may still listen; they are ours
        refuse_taken_port(settings)
    with running.database_url(settings) as url:
        running.run(_check_door(settings, url))
        serve_http(settings, url)


@app.command
def work(
    *,
    effects: Annotated[
        str | None,
        Parameter(
            help="Which calls to providers and mail servers to take, such as authorize,capture; none for reactions only; "
            "without it what ORDINO_EFFECTS says, else all that this process is configured for."
        ),
    ] = None,
) -> None:
    """Run reactions on the database of ORDINO_DATABASE_URL. As many workers as wanted may run."""
    end_with_starter()
    settings = Settings.from_environment()
    running.load_stages()
    said, variable = (settings.effects, "ORDINO_EFFECTS") if effects is None else (effects, "--effects")
    taken = running.effects_of(said, variable=variable)
    running.refuse_bad_limits(settings)
    running.calm_collector()
    with running.database_url(settings) as url:
        running.run(_work(settings, url, taken))


async def _work(settings: Settings, url: str, effects: frozenset[str]) -> None:
    from ordino.core.reactions import Worker
    from ordino.core.rows import Limits
    from ordino.inventory.folder import Folder

    async with running.opened(settings, url) as database:
        worker = Worker(
            database,
            batch_size=settings.worker_batch_size,
            lanes=settings.worker_lanes,
            poll_seconds=settings.worker_poll_seconds,
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            idempotency_days=settings.idempotency_days,
            effects=effects,
            settings=settings,
        )
        for sentence in worker.introduction():
            console.print(sentence, soft_wrap=True, highlight=False)
        stop = await running.stopped()
        tasks = [running.again("the queue", lambda: worker.run(stop), stop)]
        if settings.feed_directory is not None:
            folder = Folder(database, settings.feed_directory, limits=Limits.of(settings))
            tasks.append(running.again("the feed folder", lambda: folder.watch(stop), stop))
        tell_ready()
        await asyncio.gather(*tasks)


@app.command
def migrate() -> None:
    """Bring the database up to date, and activate the packaged flow if there is none."""
    running.load_stages()
    with running.database_url(Settings.from_environment(), prepared=True):
        pass
    console.print("The database is up to date.")


@app.command
def demo(
    *,
    orders: Annotated[int | None, Parameter(help="Place so many orders only.")] = None,
    exit: Annotated[bool, Parameter(help="End after the report instead of serving.", negative="")] = False,
    month: Annotated[int, Parameter(help="Which month of the year of purchases.")] = ORDINARY_MONTH,
    seed: Annotated[int, Parameter(help="Another seed, other accidents.")] = 1,
) -> None:
    """Replay a month of real orders through every stage, report, and serve what came of it."""
    from ordino.cli.demo.run import run

    running.end_by_exception()
    running.load_stages()
    settings = Settings.from_environment()
    if not exit:
        running.refuse_bad_settings(settings)
    raise SystemExit(run(settings, orders=orders, exit=exit, month=month, seed=seed))


@app.command
def verify(*, json: Json = False) -> None:
    """Recompute every balance from its moves and name each row that disagrees."""
    import msgspec

    from ordino.cli.verify import render
    from ordino.cli.verify import verify as verify_database

    report = on_database(verify_database)
    if json:
        print(msgspec.json.encode(report).decode())
    else:
        render(report, console)
    raise SystemExit(0 if report.clean else 1)


@app.command
def bench(
    name: Annotated[
        str, Parameter(help="place, hot, life, atp, stores, feed, snapshot, verify, sourcing, year or all")
    ] = "place",
    *,
    seconds: Annotated[float, Parameter(help="How long each figure is measured.")] = 10,
    json: Annotated[bool, Parameter(help="One JSON object a figure.", negative="")] = False,
    small: Annotated[
        bool, Parameter(help="A small world, to see that a figure runs; its rates say nothing.", negative="")
    ] = False,
) -> None:
    """Measure, on a database of its own, beside the floor of the same run."""
    from ordino.cli.bench import run

    running.end_by_exception()
    running.load_stages()
    running.calm_collector()
    raise SystemExit(run(name, seconds=seconds, json=json, small=small))


@app.command(name="adapters")
def show_adapters(*, json: Json = False) -> None:
    """Which payment providers, message providers, carriers and channels are installed, and what each lacks."""
    from ordino.core.adapters import adapters

    running.load_stages()
    found = adapters()

    def table() -> Table:
        table = Table("kind", "name", "package", "version", Column("ready", overflow="fold"))
        for one in found:
            ready = one.problem or one.lacking or "yes"
            table.add_row(one.kind.replace("_", " "), one.name, one.package, one.version, ready)
        return table

    show(found, table, json=json)


@letters_app.command(name="list")
def list_letters(*, limit: Limit = 100, json: Json = False) -> None:
    """What failed too often and waits for a person, oldest first."""
    from ordino.api.dead_letters import dead_letters

    found = on_database(lambda database: database.read(lambda tx: dead_letters(tx, limit)))

    def table() -> Table:
        table = Table(
            Column("id", min_width=36),
            "reaction",
            Column("subject", overflow="fold"),
            "attempts",
            "what happened",
            "last error",
        )
        for letter in found:
            happened = letter.what_happened or ""
            subject, attempts = str(letter.subject_id), str(letter.attempts)
            table.add_row(str(letter.id), letter.kind, subject, attempts, happened, letter.last_error)
        return table

    show(found, table, json=json)


@letters_app.command(name="replay")
def replay_letter(letter_id: UUID, *, key: Key = None) -> None:
    """Retry a dead letter now."""
    from ordino.api.dead_letters import Replayed, replay

    change("dead-letters replay", [letter_id], lambda tx, at: replay(tx, letter_id, at=at), Replayed, key=key)
    console.print(f"{letter_id} is due now.")


@flows_app.command(name="validate")
def validate_flow(path: Path) -> None:
    """Check a flow document, line by line, without a database."""
    from ordino.flows.document import parse
    from ordino.flows.versions import vocabulary

    running.load_stages()
    try:
        flow = parse(path.read_text(encoding="utf-8"), vocabulary())
    except OSError as error:
        raise OrdinoError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OrdinoError(f"{path} is not text in UTF-8.") from error
    except Invalid as error:
        for fault in error.faults:
            print(f"{path}: {fault.detail}", file=sys.stderr)
        raise SystemExit(1) from None
    console.print(f"{flow.name}: {sum(map(len, flow.plan.values()))} reactions to {len(flow.plan)} events.")
