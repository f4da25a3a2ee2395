"""``ordino sourcing``: routing profiles, what they would do, and why they did it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import msgspec
from cyclopts import App, Parameter
from rich.console import Group
from rich.markup import escape
from rich.table import Column, Table

from ordino.cli.terminal import Json, Key, change, console, day, instant, on_database, sent, show, units
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, OrdinoError
from ordino.core.money import amount
from ordino.web.problems import as_error

if TYPE_CHECKING:
    from ordino.orders.reevaluate import Reevaluated
    from ordino.sourcing.compare import Report, Side

TOLD = 20
"""So many orders that differ are shown; all that are kept come with --json."""

sourcing_app = App(name="sourcing", help="Routing profiles: what decides where orders come from, and why.")


def read_document(path: Path) -> str:
    """A profile's text. Raises ``OrdinoError``."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise OrdinoError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OrdinoError(f"{path} is not text in UTF-8.") from error


def with_lines(path: Path, work: Callable[[], None]) -> None:
    """Every fault of a document on a line of its own, as editors read them."""
    try:
        work()
    except Invalid as error:
        for fault in error.faults:
            print(f"{path}: {fault.detail}", file=sys.stderr)
        if not error.faults:
            print(f"{path}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def line_of(text: str) -> tuple[str, int]:
    """SKU and units of ``SKU`` or ``SKU=units``."""
    sku, _, units = text.partition("=")
    if units and not (units.isascii() and units.isdigit() and int(units)):
        raise Invalid(f"{text!r} is no line; write SKU or SKU=units.")
    return sku, int(units or 1)


@sourcing_app.command
def validate(path: Path) -> None:
    """Check a profile, line by line, without a database."""
    from ordino.sourcing.document import parse

    def check() -> None:
        profile = parse(read_document(path))
        many = len(profile.strategies)
        strategies = "1 strategy" if many == 1 else f"{many} strategies"
        console.print(f"{profile.name}: {strategies}. Codes are checked when it is drafted.")

    with_lines(path, check)


@sourcing_app.command
def schema() -> None:
    """The form of a profile, as JSON Schema."""
    from ordino.sourcing.document import json_schema

    print(msgspec.json.format(msgspec.json.encode(json_schema())).decode())


@sourcing_app.command
def draft(path: Path, *, key: Key = None) -> None:
    """Keep a profile under a new version; nothing is decided by it yet."""
    from ordino.sourcing import versions

    text = read_document(path)

    def keep() -> None:
        version = change("sourcing draft", text, lambda tx, at: versions.draft(tx, text, at=at), int, key=key)
        console.print(f"Version {version} is kept; `activate` lets it decide.")

    with_lines(path, keep)


@sourcing_app.command
def activate(version: int, *, key: Key = None) -> None:
    """Decide by a version, in place of the active one of its name. An older version rolls back."""
    from ordino.sourcing import versions

    change("sourcing activate", [version], lambda tx, at: versions.activate(tx, version, at=at), None, key=key)
    console.print(f"Version {version} decides from now on.")


@sourcing_app.command
def retire(name: str, *, key: Key = None) -> None:
    """No version of this name decides any more."""
    from ordino.sourcing import versions

    version = change("sourcing retire", name, lambda tx, _: versions.retire(tx, name), int, key=key)
    console.print(f"Version {version} no longer decides.")


@sourcing_app.command
def shadow(
    version: int,
    *,
    off: Annotated[bool, Parameter(help="End the trial.", negative="")] = False,
    key: Key = None,
) -> None:
    """Let a version decide beside the active ones on live orders, changing nothing."""
    from ordino.sourcing import versions

    said = [version, off]
    change("sourcing shadow", said, lambda tx, _: versions.shadow(tx, version, on=not off), None, key=key)
    console.print(
        f"Version {version} is tried no more." if off else f"Version {version} is tried; `report {version}` compares."
    )


@sourcing_app.command(name="list")
def list_profiles(*, json: Json = False) -> None:
    """Every version, newest first."""
    from ordino.sourcing import versions

    found = on_database(lambda database: database.read(versions.heads))

    def table() -> Table:
        table = Table("version", "name", "state", "made", "activated")
        for head in found:
            state = " ".join(word for word, on in (("active", head.active), ("shadow", head.shadow)) if on) or "draft"
            activated = f"{head.activated_at:%Y-%m-%d %H:%M}" if head.activated_at else ""
            table.add_row(str(head.version), head.name, state, f"{head.created_at:%Y-%m-%d %H:%M}", activated)
        return table

    show(found, table, json=json)


@sourcing_app.command(name="show")
def show_profile(version: int) -> None:
    """A version as it was written; 0 comes with Ordino."""
    from ordino.sourcing import versions

    found = on_database(lambda database: database.read(lambda tx: versions.profile(tx, version)))
    print(found.document, end="" if found.document.endswith("\n") else "\n")


@sourcing_app.command
def why(
    order_id: UUID,
    *,
    not_from: Annotated[str | None, Parameter(help="Why not from this location?")] = None,
    json: Json = False,
) -> None:
    """Why an order's units come from where they come from, or why not from a location."""
    from ordino.orders.why import decisions, why_not

    if not_from is not None:
        answer = on_database(lambda database: database.read(lambda tx: why_not(tx, order_id, not_from)))
        print(msgspec.json.encode(answer).decode() if json else answer.sentence)
        return
    found = on_database(lambda database: database.read(lambda tx: decisions(tx, order_id)))
    if json:
        print(msgspec.json.encode(found).decode())
        return
    for decision in found:
        console.print(f"[bold]{decision.at:%Y-%m-%d %H:%M}[/bold] {decision.why.sentence}", highlight=False)


@sourcing_app.command
def preview(
    channel: str,
    country: str,
    postal_code: str,
    lines: Annotated[list[str], Parameter(help="SKU or SKU=units, one or more.")],
    *,
    profile: Annotated[int | None, Parameter(help="Try this version.")] = None,
    hold: Annotated[UUID | None, Parameter(help="What the cart holds under this id is there for it.")] = None,
    json: Json = False,
) -> None:
    """Where an order would come from now, and why. Nothing is reserved."""
    from ordino.orders.preview import PreviewLine, PreviewRequest
    from ordino.orders.preview import preview as preview_of

    wanted = [PreviewLine(sku=sku, quantity=units) for sku, units in map(line_of, lines)]
    asked = PreviewRequest(
        channel=channel,
        country=country,
        postal_code=postal_code,
        lines=wanted,
        profile_version=profile,
        hold_id=hold,
    )

    async def ask(database: Database) -> object:
        at = database.clock.now()
        return await database.read(lambda tx: preview_of(tx, asked, at=at))

    found = on_database(ask)
    print(msgspec.json.encode(found).decode() if json else found.why.sentence)  # type: ignore[attr-defined]


@sourcing_app.command
def promise(
    channel: str,
    country: str,
    postal_code: str,
    lines: Annotated[list[str], Parameter(help="SKU or SKU=units, one or more.")],
    *,
    pickups: Annotated[int, Parameter(help="So many stores to collect at.")] = 3,
    hold: Annotated[UUID | None, Parameter(help="What the cart holds under this id is there for it.")] = None,
    json: Json = False,
) -> None:
    """What a buyer can be promised: options by service level, and stores to collect at."""
    from ordino.orders.promise import Promise, PromiseLine, PromiseRefused, PromiseRequest
    from ordino.orders.promise import promise as promise_of

    wanted = [PromiseLine(sku=sku, quantity=units) for sku, units in map(line_of, lines)]
    asked = PromiseRequest(
        channel=channel, country=country, postal_code=postal_code, lines=wanted, pickups=pickups, hold_id=hold
    )

    async def ask(database: Database) -> Promise | PromiseRefused:
        at = database.clock.now()
        return (await database.read(lambda tx: promise_of(tx, [asked], at=at)))[0]

    found = on_database(ask)
    if isinstance(found, PromiseRefused):
        raise Invalid(found.detail)

    def table() -> Table:
        table = Table("how", "when", "order by", "from", "cost", "confidence", caption=found.detail)
        for option in found.delivery:
            places = ", ".join(f"{leg.units} x {leg.location}" for leg in option.legs)
            by = f"{option.order_by_at:%Y-%m-%d %H:%M} UTC"
            row = (
                option.service_level,
                option.promised_on.isoformat(),
                by,
                places,
                amount(option.cost_minor, option.currency),
            )
            table.add_row(*row, option.confidence)
        for store in found.pickup:
            km = "" if store.distance_km is None else f" ({store.distance_km:,.0f} km)"
            table.add_row(
                "collect", f"{store.ready_at:%Y-%m-%d %H:%M} UTC", "", store.location + km, "", store.confidence
            )
        return table

    show(found, table, json=json)


@sourcing_app.command
def replay(
    *,
    profile: Annotated[Path, Parameter(help="The candidate's document.")],
    from_: Annotated[str, Parameter(name="--from", help="Orders placed from then on, e.g. 2026-11-01.")],
    to: Annotated[str, Parameter(help="Until before then.")],
    channel: Annotated[str | None, Parameter(help="Of this channel only.")] = None,
    most: Annotated[int, Parameter(help="So many orders at most.")] = 1_000_000,
    json: Json = False,
) -> None:
    """Try a profile on past orders, against the stock as it then was."""
    from ordino.orders.replay import replay as replayed

    text, since, until = read_document(profile), instant(from_), instant(to)
    assert since is not None, "it is given"
    assert until is not None, "it is given"

    def run() -> None:
        found: Report = on_database(lambda database: replayed(database, text, since, until, channel=channel, most=most))
        show(found, lambda: report_tables(found, "happened"), json=json)

    with_lines(profile, run)


@sourcing_app.command
def report(version: int, *, json: Json = False) -> None:
    """How a version that was tried on live orders compares."""
    from ordino.orders.shadows import shadow_report

    found = on_database(lambda database: database.read(lambda tx: shadow_report(tx, version)))
    show(found, lambda: report_tables(found, "live"), json=json)


def report_tables(found: Report, before: str) -> Group:
    """A report as people read it: the two sides, and the first orders that differ."""

    def places(plan: Mapping[str, int]) -> str:
        return ", ".join(f"{units} {code}" for code, units in plan.items()) or "nothing"

    differing = Table(
        Column("order", min_width=36), before, found.profile, "minor units", title="The first that differ"
    )
    for one in found.differences[:TOLD]:
        more = one.after_minor - one.before_minor
        differing.add_row(str(one.order_id), places(one.before), places(one.after), f"{more:+,}")
    return Group(_sides(found, before), differing) if found.differences else Group(_sides(found, before))


def _sides(found: Report, before: str) -> Table:
    saved = []
    for one in found.costs:
        word = "less" if one.before_minor >= one.after_minor else "more"
        saved.append(f"{amount(abs(one.before_minor - one.after_minor), one.currency)} {word}")
    said = f"{found.differ} of {found.orders} orders differ; {', '.join(saved) or 'nothing'}"
    table = Table("", before, found.profile, title=f"{found.orders} orders, {found.units} units", caption=said)

    def row(name: str, of: Callable[[Side], object]) -> None:
        table.add_row(name, str(of(found.before)), str(of(found.after)))

    for one in found.costs:
        costs = [amount(minor, one.currency) for minor in (one.before_minor, one.after_minor)]
        each = [amount(round(minor / one.orders), one.currency) for minor in (one.before_minor, one.after_minor)]
        table.add_row(f"carrier and handling, {one.currency}", *costs)
        table.add_row("per order", *each)
    row("orders filled", lambda side: f"{side.fill_rate:.1%}")
    row("units filled", lambda side: f"{side.unit_fill_rate:.1%}")
    row("orders split", lambda side: side.split_orders)
    row("packages", lambda side: side.packages)
    row("km a package", lambda side: f"{side.km_per_package:,}")
    row("on time", lambda side: "" if side.on_time_rate is None else f"{side.on_time_rate:.1%}")
    row("busiest", lambda side: ", ".join(f"{code} {n}" for code, n in list(side.load.items())[:5]))
    return table


def _saved(run: Reevaluated) -> str:
    """What a run has saved, currency by currency."""
    return ", ".join(amount(one.before_minor - one.after_minor, one.currency) for one in run.costs) or "nothing"


@sourcing_app.command
def reevaluate(*, key: Key = None, json: Json = False) -> None:
    """Decide orders anew that are not released yet, together; no promise gets worse."""
    from ordino.orders.reevaluate import Reevaluated, decide_anew, write_down

    runs: list[Reevaluated] = []

    async def decide(database: Database) -> None:
        runs.append(await decide_anew(database, at=database.clock.now()))

    found = change(
        "sourcing reevaluate", [], lambda tx, _: write_down(tx, runs[-1]), Reevaluated, key=key, before=decide
    )
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        console.print(f"{found.changed} of {found.orders} orders come from elsewhere now, for {_saved(found)} less.")


@sourcing_app.command
def reevaluations(*, most: Annotated[int, Parameter(help="The newest so many.")] = 20, json: Json = False) -> None:
    """What deciding anew has saved, run by run."""
    from ordino.orders.reevaluate import reevaluations as runs

    found = on_database(lambda database: database.read(lambda tx: runs(tx, limit=most)))

    def table() -> Table:
        table = Table("at", "orders", "from elsewhere now", "saved")
        for run in found:
            table.add_row(f"{run.at:%Y-%m-%d %H:%M} UTC", str(run.orders), str(run.changed), _saved(run))
        return table

    show(found, table, json=json)


@sourcing_app.command
def reject(
    order_id: UUID,
    location: str,
    *,
    reason: Annotated[str, Parameter(help="A code of GET /v1/short_reasons.")] = "refused",
    key: Key = None,
    json: Json = False,
) -> None:
    """A location gives work back: what is open there of an order is sourced again, as the reason says."""
    from ordino.warehouse.model import Rejected, Rejection, WorkRefused
    from ordino.warehouse.reject import reject as rejected

    item = Rejection(order_id=order_id, location=location, reason=reason)

    async def run(tx: Tx, at: datetime) -> Rejected:
        [outcome] = await rejected(tx, [item], at=at)
        if isinstance(outcome, WorkRefused):
            raise as_error(outcome)
        return outcome

    found = change("sourcing reject", item, run, Rejected, key=key)
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        console.print(f"{found.units} units go back to sourcing; a worker looks for another location.")


@sourcing_app.command
def exceptions(
    *,
    all: Annotated[bool, Parameter(help="Those that are resolved, too.", negative="")] = False,
    most: Annotated[int, Parameter(help="The newest so many.")] = 50,
    json: Json = False,
) -> None:
    """What needs a person: units that could not be sourced or that nothing can serve, work at closed locations, and parcels that
    come back or that arrived after they were given up.
    """
    from ordino.orders.exceptions import exceptions as exceptions_of

    found = on_database(lambda database: database.read(lambda tx: exceptions_of(tx, limit=most, all=all)))

    if json:
        print(msgspec.json.encode(found).decode())
        return
    if not found:
        console.print("There are no exceptions." if all else "No exception is open.")
    for one in found:
        since = f"{one.at:%Y-%m-%d %H:%M} UTC" + (f", resolved: {one.resolution}" if one.resolution else "")
        what = f"{one.units} x {one.sku} (line {one.line_no}) of {one.external_id} wait"
        if one.shipment_id is not None:
            what = f"A parcel holds {units(one.units)} of {one.external_id}"
        elif one.sku is None:
            what = f"{units(one.units)} at {one.location} of {one.external_id} wait"
        console.print(f"[bold]{one.exception_id}[/bold] {since}", highlight=False)
        console.print(f"  {escape(what)}. {escape(one.detail)}", highlight=False, soft_wrap=True)


@sourcing_app.command
def resolve(
    exception_id: UUID,
    action: Literal["retry", "cancel", "close"],
    *,
    reason: Annotated[str | None, Parameter(help="A code of your own, such as fraud.")] = None,
    note: Annotated[
        str | None, Parameter(help="A sentence for the file; `ordino orders erase-notes` erases it.")
    ] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Resolve an exception: source again (or reject the work), cancel the units, or close it."""
    from ordino.orders.exceptions import Resolve, Resolved
    from ordino.orders.exceptions import resolve as resolved

    wish = sent({"action": action, "reason": reason, "note": note}, Resolve)

    async def run(tx: Tx, at: datetime) -> Resolved:
        return await resolved(tx, exception_id, wish, at=at)

    found = change("sourcing resolve", [exception_id, wish], run, Resolved, key=key)
    print(msgspec.json.encode(found).decode() if json else f"Resolved: {found.resolution}.")


@sourcing_app.command
def outlook(
    *,
    weeks: Annotated[int, Parameter(help="From the orders of so many weeks.")] = 8,
    horizon: Annotated[float, Parameter(help="Weeks until the next replenishment.")] = 2.0,
    key: Key = None,
) -> None:
    """Work out weekly demand by position, and what the last units there are worth."""
    from ordino.orders.outlook import Foreseen, foresee

    if weeks < 1 or horizon <= 0:
        raise Invalid("Ask for 1 week of orders or more, and for a horizon beyond now.")

    async def run(tx: Tx, at: datetime) -> Foreseen:
        return await foresee(tx, at=at, weeks=weeks, horizon_weeks=horizon)

    found = change("sourcing outlook", [weeks, horizon], run, Foreseen, key=key)
    console.print(f"The outlook of {found.positions} positions is worked out.")


@sourcing_app.command
def capacity(
    locations: Annotated[list[str] | None, Parameter(help="Some locations; by default all that are limited.")] = None,
    *,
    first: Annotated[date | None, Parameter(help="From this day on; by default today.")] = None,
    days: int = 7,
    json: Json = False,
) -> None:
    """What locations have taken on, day by day."""
    from ordino.orders.capacity import LONGEST_DAYS, CapacityView, capacity_of

    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid(f"Ask for 1 to {LONGEST_DAYS} days.")
    begins = day(first)

    async def ask(database: Database) -> list[CapacityView]:
        begin = begins or database.clock.now().date()
        return await database.read(lambda tx: capacity_of(tx, locations or [], begin, begin + timedelta(days=days - 1)))

    found = on_database(ask)

    def table() -> Table:
        table = Table("location", "day", "orders held", "confirmed", "left", "units held", "confirmed", "left")
        for one in found:
            left = ["no limit" if n is None else str(n) for n in (one.orders_left, one.units_left)]
            orders = (str(one.held_orders), str(one.confirmed_orders), left[0])
            table.add_row(
                one.location, one.ship_on.isoformat(), *orders, str(one.held_units), str(one.confirmed_units), left[1]
            )
        return table

    show(found, table, json=json)
