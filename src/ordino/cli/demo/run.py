"""``ordino demo``: prepare, replay, report, and serve what came of it.

Works in an embedded PostgreSQL of its own, in ``demo`` under the data directory, made anew by each run; or in the database of
ORDINO_DATABASE_URL, if that one is empty. Nobody is written to: messages stay in the outbox.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from msgspec import Struct
from rich.console import Console

from ordino.api.server import address_of
from ordino.cli import running
from ordino.cli.demo import baskets, days, screen, shoppers, world
from ordino.cli.demo.baskets import Month
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.record import Record
from ordino.cli.demo.replay import Replay
from ordino.cli.demo.screen import Bar
from ordino.cli.verify import Report, render, verify
from ordino.core.clock import SimulatedClock
from ordino.core.database import Database
from ordino.core.embedded import EmbeddedPostgres
from ordino.core.errors import Conflict, Invalid
from ordino.core.settings import Settings
from ordino.core.statements import statements
from ordino.core.watch import Watch
from ordino.flows.versions import flow_plans
from ordino.insights.kpis import kpis
from ordino.insights.model import Kpi

sql = statements("ordino.insights")
DIRECTORY = "demo"


class Outcome(Struct, frozen=True):
    """What a replay came to."""

    since: datetime
    until: datetime
    counts: dict[str, int]
    statuses: list[tuple[str, int]]
    kpis: list[Kpi]
    report: Report
    seconds: dict[str, float]
    record: Record


def run(
    settings: Settings,
    *,
    orders: int | None = None,
    exit: bool = False,
    month: int = baskets.ORDINARY_MONTH,
    seed: int = 1,
    console: Console | None = None,
) -> int:
    """The exit status: 0 if every promise of the ledgers holds. Serves afterwards unless ``exit``."""
    console = console or Console()
    if not 1 <= month <= 12:
        raise Invalid(f"A month is 1 to 12, not {month}.")
    if orders is not None and orders < 1:
        raise Invalid(f"Place at least one order, not {orders}.")
    os.environ.pop("ORDINO_SMTP_URL", None)
    started = time.perf_counter()
    with console.status("Reading a year of purchases"):
        purchases = baskets.load(month, most=orders)
    _tell(console, purchases, month)
    seconds = {"reading the data": time.perf_counter() - started}
    with _server(settings) as url:
        running.run(running.prepare(url))
        outcome = running.run(replay(url, purchases, seed=seed, month=month, console=console, seconds=seconds))
        _show_times(console, outcome)
        ended = outcome.until + timedelta(seconds=1)
        if exit:
            command = (
                f"ordino demo{'' if orders is None else f' --orders {orders}'}      the same again, and then serve it"
            )
            console.print(screen.next_steps(None, command, outcome.since, ended), soft_wrap=True, highlight=False)
            return 0 if outcome.report.clean else 1
        command, serving = f"ORDINO_DATABASE_URL='{url}' ordino verify", address_of(settings)
        console.print(screen.next_steps(serving, command, outcome.since, ended), soft_wrap=True, highlight=False)
        from ordino.cli.commands import up_on

        up_on(settings, url)
    return 0 if outcome.report.clean else 1


async def replay(
    url: str, purchases: Month, *, seed: int, month: int, console: Console, seconds: dict[str, float] | None = None
) -> Outcome:
    """Replay the purchases on a prepared, empty database, and show what came of them."""
    seconds = {} if seconds is None else seconds
    dice = Dice(seed)
    since, _ = days.month_bounds(month)
    clock = SimulatedClock(since)
    async with await Database.open(
        url, plans=flow_plans(), clock=clock, pool_size=8, statement_timeout_seconds=120
    ) as database:
        [row] = await database.read(lambda tx: sql.is_fresh(tx))
        if not row["fresh"]:
            raise Conflict(
                "The demo needs an empty database, and this one is in use. Name another in ORDINO_DATABASE_URL."
            )
        with _timed(seconds, "building the network and its stock"), console.status("") as status:
            imagined = world.imagine(purchases, dice)
            carts = shoppers.carts(purchases.baskets, imagined.places.homes, dice)
            await world.build(database, imagined, at=since, told=lambda what: status.update(f"Building {what}"))
        running.calm_collector()
        stage = Replay(database, clock, carts, dice)
        with _timed(seconds, "replaying"), Bar(console, len(carts)) as bar:
            until = await stage.run(bar.show)
        rows = await database.read(lambda tx: sql.orders_by_status(tx))
        console.print(screen.statuses(rows))
        with _timed(seconds, "counting the KPIs"):
            measured = await database.read(lambda tx: kpis(tx, since=since, until=until + timedelta(seconds=1)))
        console.print(screen.kpi_table(measured))
        with _timed(seconds, "verifying"):
            report = await verify(database)
        render(report, console)
        statuses = [(row["status"], row["orders"]) for row in rows]
        return Outcome(since, until, dict(stage.counts), statuses, measured, report, seconds, stage.record)


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    """The database that is set; or an embedded one. Yesterday's demo goes; one that is running stays, and ends this one."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    directory = settings.data_directory / DIRECTORY
    with EmbeddedPostgres(directory, command=running.named(settings), anew=True) as server, Watch(server):
        yield server.url


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - started


def _tell(console: Console, purchases: Month, month: int) -> None:
    lines = sum(len(basket.lines) for basket in purchases.baskets)
    dropped = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in purchases.dropped.items() if count)
    console.print(
        f"{len(purchases.baskets):,} baskets of month {month} of {baskets.YEAR} with {lines:,} lines of "
        f"{len(purchases.products):,} products. Lines left out in the whole month: {dropped}."
    )


def _show_times(console: Console, outcome: Outcome) -> None:
    placed = outcome.counts.get("placed", 0)
    simulated = (outcome.until - outcome.since).days
    spent = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in outcome.seconds.items())
    rate = placed / outcome.seconds["replaying"]
    console.print(f"{simulated} days and {placed:,} orders through every stage: {rate:,.0f} orders/s. Time: {spent}.")
