"""``ordino stock``: what is where, and files that say so."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from ordino.cli import running
from ordino.cli.terminal import Json, Key, Limit, Verb, apply_file, change, console, instant, on_database, show
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, NotFound, OrdinoError
from ordino.core.rows import Limits
from ordino.core.settings import Settings
from ordino.web.problems import as_error

stock_app = App(name="stock", help="What is where, and feeds that say so.")


@stock_app.command
def available(
    sku: str,
    *,
    channel: Annotated[str | None, Parameter(help="Through this channel.")] = None,
    network: Annotated[str | None, Parameter(help="In this network.")] = None,
    json: Json = False,
) -> None:
    """How many units may be promised, and why so many."""
    from ordino.inventory.availability import Ask
    from ordino.inventory.explain import Explanation, explain

    async def ask(database: Database) -> Explanation:
        at = database.clock.now()
        return await database.read(lambda tx: explain(tx, Ask(sku, channel, network), at=at))

    found = on_database(ask)

    def table() -> Table:
        table = Table(title=f"{found.available} of {found.sku} in {found.network}", caption=found.reason)
        for name in ("SKU", "location", "on hand", "reserved", "available"):
            table.add_column(name, justify="left" if name in ("SKU", "location") else "right")
        table.add_column("why", overflow="fold")
        for part in found.of:
            for at in part.locations:
                each = part.sku if part.each == 1 else f"{part.each} x {part.sku}"
                table.add_row(each, at.location, str(at.on_hand), str(at.reserved), str(at.available), at.why)
        return table

    show(found, table, json=json)


@stock_app.command(name="feed")
def feed_file(
    path: Path,
    *,
    kind: Annotated[
        str | None, Parameter(help="counts, adjustments or receipts; by default as the file's name says.")
    ] = None,
    name: Annotated[str | None, Parameter(help="The feed's name; by default the file's name and content.")] = None,
    as_of: Annotated[
        str | None, Parameter(help="When the counts were taken, e.g. 2026-11-27T08:00:00Z; by default now.")
    ] = None,
    charset: Annotated[
        str | None, Parameter(help="What a CSV is written in if it is not UTF-8, e.g. windows-1252.")
    ] = None,
    json: Json = False,
) -> None:
    """Take in a file of counts, adjustments or receipts. Given again, what was applied is passed over."""
    from ordino.inventory import folder
    from ordino.inventory.feed import Applied

    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    of, media_type = folder.kind_of(path, kind)
    time = instant(as_of)
    called = name or f"{path.name} {folder.digest_of(path)}"
    read, size = [0], path.stat().st_size
    limits = Limits.of(Settings.from_environment())

    async def take(database: Database) -> Applied:
        columns = (TextColumn("{task.description}"), BarColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(path.name, total=size)
            taking = asyncio.ensure_future(
                folder.take_file(
                    database, path, of, media_type, name=called, as_of=time, charset=charset, read=read, limits=limits
                )
            )
            while not taking.done():
                await asyncio.wait([taking], timeout=0.1)
                progress.update(bar, completed=read[0])
            return taking.result()

    applied = on_database(take)
    if json:
        sys.stdout.write(msgspec.json.encode(applied).decode() + "\n")
    else:
        sys.stdout.write(folder.report(path.name, of, applied, datetime.now(UTC)))
    if applied.refused:
        raise SystemExit(1)


@stock_app.command
def watch(
    directory: Path,
    *,
    once: Annotated[bool, Parameter(help="Take in what is there, and end.", negative="")] = False,
) -> None:
    """Watch a folder: take in every file that is dropped into its `incoming`, until stopped."""
    from ordino.inventory.folder import STILL_SECONDS, Folder

    async def look(database: Database) -> None:
        limits = Limits.of(Settings.from_environment())
        folder = Folder(database, directory, still_seconds=0 if once else STILL_SECONDS, limits=limits)
        if once:
            console.print(f"{await folder.sweep()} files were taken in.")
            return
        console.print(f"Watching {directory / 'incoming'}. Ctrl-C stops it.")
        await folder.watch(await running.stopped())

    if directory.exists() and not directory.is_dir():
        raise OrdinoError(f"{directory} is not a folder.")
    on_database(look)


@stock_app.command
def feeds(
    name: Annotated[str | None, Parameter(help="Tell this one with its faults.")] = None,
    *,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """The last feeds that had a name, or one of them with its faults."""
    from ordino.inventory import feed

    async def read(database: Database) -> list[feed.FeedView]:
        if name is not None:
            return [await database.read(lambda tx: feed.feed_of(tx, name))]
        return await database.read(lambda tx: feed.feeds(tx, limit))

    found = on_database(read)

    def table() -> Table:
        table = Table("feed", "kind", "started", "rows", "applied", "unchanged", "refused", "state")
        for one in found:
            state = "finished" if one.finished_at else "broke off, or is being read"
            numbers = (str(n) for n in (one.rows, one.applied, one.unchanged, one.refused))
            table.add_row(one.feed, one.kind, f"{one.started_at:%Y-%m-%d %H:%M}", *numbers, state)
            for fault in one.faults:
                table.add_row(f"  line {fault.line}: {fault.detail}")
        return table

    show(found, table, json=json)


@stock_app.command
def scarce(
    *,
    network: Annotated[str | None, Parameter(help="In this network.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """What is low or out."""
    from ordino.inventory.signals import Scarce
    from ordino.inventory.signals import scarce as read_scarce

    async def read(database: Database) -> list[Scarce]:
        at = database.clock.now()
        return await database.read(lambda tx: read_scarce(tx, network, "", limit, at=at))

    found = on_database(read)

    def table() -> Table:
        table = Table("SKU", "available", "", "since")
        for one in found:
            table.add_row(one.sku, str(one.available), "out" if one.is_out else "low", f"{one.since:%Y-%m-%d %H:%M}")
        return table

    show(found, table, json=json)


@stock_app.command(name="show")
def show_stock(sku: str, *, json: Json = False) -> None:
    """Where a SKU lies: on hand, reserved, held, picked, set aside, and to come."""
    from ordino.inventory.history import StockView, stock_of

    async def read(database: Database) -> StockView:
        return await database.read(lambda tx: stock_of(tx, sku, at=database.clock.now()))

    found = on_database(read)

    def table() -> Table:
        table = Table(
            "location", "on hand", "reserved", "of it held", "picked", "set aside", "to come", title=found.sku
        )
        for at in found.positions:
            aside = ", ".join(f"{units} {condition}" for condition, units in at.unavailable.items())
            coming = ", ".join(
                f"{one.quantity} {'overdue since' if one.overdue else 'by'} {one.expected_at:%Y-%m-%d}"
                for one in at.incoming
            )
            table.add_row(at.location, *map(str, (at.on_hand, at.reserved, at.held, at.picked)), aside, coming)
        return table

    show(found, table, json=json)


@stock_app.command
def history(
    sku: str,
    *,
    at: Annotated[str, Parameter(help="When, e.g. 2026-11-27T08:00:00Z.")],
    location: Annotated[str | None, Parameter(help="Only there.")] = None,
    network: Annotated[str | None, Parameter(help="Its members, and what could have been promised.")] = None,
    json: Json = False,
) -> None:
    """How a SKU stood at a past time, recomputed from its moves."""
    from ordino.inventory.history import StoodView, stood_at

    time = instant(at)
    assert time is not None, "it is required"

    async def read(database: Database) -> StoodView:
        return await database.read(lambda tx: stood_at(tx, sku, time, location=location, network=network))

    found = on_database(read)

    def table() -> Table:
        title = f"{found.sku} at {found.at:%Y-%m-%d %H:%M:%S %Z}"
        table = Table("location", "on hand", "reserved", "picked", "set aside", "available", title=title)
        for one in found.positions:
            can = "" if one.available is None else str(one.available)
            table.add_row(one.location, *map(str, (one.on_hand, one.reserved, one.picked, one.unavailable)), can)
        return table

    show(found, table, json=json)


@stock_app.command
def moves(
    sku: str,
    *,
    location: Annotated[str | None, Parameter(help="Only there.")] = None,
    before: Annotated[str | None, Parameter(help="The `next` of the page before.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Every move of a SKU, newest first: what, who, why, and the document or order behind it."""
    from ordino.inventory.history import Moves, moves_before

    async def read(database: Database) -> Moves:
        return await database.read(lambda tx: moves_before(tx, sku, before, limit, location=location))

    found = on_database(read)

    def table() -> Table:
        table = Table(
            *(Column(name, no_wrap=True) for name in ("at", "location", "what", "on hand", "reserved", "set aside"))
        )
        for name in ("who", "why", "document or order"):
            table.add_column(name, overflow="fold")
        for move in found.moves:
            deltas = (move.on_hand_delta, move.reserved_delta, move.unavailable_delta)
            behind = move.document or (str(move.order_id) if move.order_id else "")
            table.add_row(
                f"{move.at:%Y-%m-%d %H:%M}", move.location, move.kind, *(f"{d:+}" if d else "" for d in deltas),
                move.actor or "", move.reason or "", behind,
            )  # fmt: skip
        return table

    show(found, table, json=json)
    if found.next and not json:
        console.print(f"More: --before {found.next}")


@stock_app.command
def transfers(
    *,
    status: Annotated[str | None, Parameter(help="Only those in it, e.g. in_transit.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Transfers between locations, newest first."""
    from ordino.inventory.history import LAST
    from ordino.inventory.transfers import TransferView, transfers_before

    async def read(database: Database) -> list[TransferView]:
        return await database.read(lambda tx: transfers_before(tx, LAST, limit, status=status))

    found = on_database(read)

    def table() -> Table:
        table = Table("transfer", "document", "from", "to", "status", "expected", "units by SKU")
        for one in found:
            units = ", ".join(f"{line.requested} {line.sku}" for line in one.lines)
            when = f"{one.expected_at:%Y-%m-%d}"
            table.add_row(
                str(one.transfer_id), one.document or "", one.origin, one.destination, one.status, when, units
            )
        return table

    show(found, table, json=json)


@stock_app.command(name="detail")
def show_detail(
    sku: str,
    *,
    location: Annotated[str | None, Parameter(help="Only there.")] = None,
    json: Json = False,
) -> None:
    """Where exactly a SKU lies: bins, lots, and what is available of each lot."""
    from ordino.inventory.detail_view import DetailView, detail_view

    async def read(database: Database) -> DetailView:
        return await database.read(lambda tx: detail_view(tx, sku, location=location, at=database.clock.now()))

    found = on_database(read)

    def table() -> Table:
        table = Table("location", "bin", "lot", "expires", "units", title=found.sku)
        for row in found.bins:
            table.add_row(row.location, row.bin, row.lot or "", str(row.expires_on or ""), str(row.quantity))
        for lot in found.lots:
            said = "expired" if lot.expired else f"{lot.available} available"
            table.add_row(lot.location, "", lot.lot or "", str(lot.expires_on or ""), said)
        return table

    show(found, table, json=json)


@stock_app.command
def shortfalls(
    *,
    all: Annotated[bool, Parameter(help="Those that are closed, too.", negative="")] = False,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Units that are promised and were not there when somebody counted, and the orders at risk."""
    from ordino.inventory.history import LAST
    from ordino.orders.shortfalls import ShortfallView, shortfalls_before

    async def read(database: Database) -> list[ShortfallView]:
        return await database.read(lambda tx: shortfalls_before(tx, LAST, limit, all=all))

    found = on_database(read)

    def table() -> Table:
        table = Table(
            "SKU", "location", "found", "missing", "open", "resolved", "recovered", "at risk, last placed first"
        )
        for one in found:
            risks = ", ".join(f"{risk.quantity} of {risk.external_id or risk.order_id}" for risk in one.at_risk)
            counts = (str(n) for n in (one.missing, one.open, one.resolved, one.recovered))
            table.add_row(one.sku, one.location, f"{one.found_at:%Y-%m-%d %H:%M}", *counts, risks)
        return table

    show(found, table, json=json)


@stock_app.command
def erase_shortfall_note(shortfall_id: UUID, *, key: Key = None, json: Json = False) -> None:
    """Erase what somebody wrote when they closed a shortfall, for good. The shortfall and its events stay as they are."""
    from ordino.inventory.shortfalls import Erased, erase_note

    said = [shortfall_id]
    found = change("stock erase-shortfall-note", said, lambda tx, _: erase_note(tx, shortfall_id), Erased, key=key)
    if json:
        show(found, Table, json=True)
    else:
        console.print("The note is erased." if found.erased else "The shortfall has no note.")


@stock_app.command
def sheets(
    *,
    location: Annotated[str | None, Parameter(help="Only of it.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Count sheets, newest first."""
    from ordino.inventory.count_sheets import SheetHead, sheets_before
    from ordino.inventory.history import LAST

    async def read(database: Database) -> list[SheetHead]:
        return await database.read(lambda tx: sheets_before(tx, LAST, limit, location=location))

    found = on_database(read)

    def table() -> Table:
        table = Table("sheet", "plan", "location", "made", "status", "open", "recount", "waiting", "accepted")
        for one in found:
            counts = (str(n) for n in (one.open, one.recount, one.waiting, one.accepted))
            table.add_row(str(one.sheet_id), one.plan, one.location, f"{one.made_at:%Y-%m-%d}", one.status, *counts)
        return table

    show(found, table, json=json)


@stock_app.command
def apply(
    noun: Annotated[
        str, Parameter(help="What the file holds: buffers, holds, transfers, set_asides, … (`list` names all).")
    ],
    path: Annotated[
        Path | None, Parameter(help="JSON as the API takes it; without it, the standard input is read.")
    ] = None,
    *,
    key: Key = None,
) -> None:
    """Do what the API does with the same body: one item or a list. Ends with 1 if something was refused."""
    apply_file("stock", noun, path, _nouns(), key=key)


def _nouns() -> dict[str, tuple[type[Any], Verb]]:
    """Noun -> what one is, and the verb that the API has for it."""
    from ordino.inventory import adjust, bins, count_sheets, holds, incoming, rules, transfers, unavailable
    from ordino.network import closures

    return {
        "receipts": (adjust.Receipt, adjust.receive),
        "adjustments": (adjust.Adjustment, adjust.adjust),
        "counts": (adjust.Count, adjust.count),
        "buffers": (rules.Buffer, rules.upsert_buffers),
        "channel_allocations": (rules.Allocation, rules.upsert_allocations),
        "low_stock_levels": (rules.LowStock, rules.upsert_low_stock),
        "closures": (closures.Closure, closures.upsert_closures),
        "holds": (holds.NewHold, holds.hold),
        "hold_changes": (holds.HoldChange, holds.change),
        "set_asides": (unavailable.SetAside, unavailable.set_aside),
        "restorations": (unavailable.SetAside, unavailable.restore),
        "scrappings": (unavailable.SetAside, unavailable.scrap),
        "incoming": (incoming.Incoming, incoming.upsert_incoming),
        "transfers": (transfers.NewTransfer, transfers.request),
        "transfer_shipments": (transfers.Shipment, transfers.ship),
        "transfer_receipts": (transfers.Arrival, transfers.receive),
        "bins": (bins.Bin, bins.upsert_bins),
        "bin_moves": (bins.BinMove, bins.move_bins),
        "count_plans": (count_sheets.CountPlan, count_sheets.upsert_plans),
    }


@stock_app.command
def future(
    sku: str,
    *,
    channel: Annotated[str | None, Parameter(help="Through this channel.")] = None,
    network: Annotated[str | None, Parameter(help="In this network.")] = None,
    json: Json = False,
) -> None:
    """What may be promised by when."""
    from ordino.inventory.availability import Ask
    from ordino.orders.future import Future
    from ordino.orders.future import future as read_future

    async def read(database: Database) -> Future:
        at = database.clock.now()
        return await database.read(lambda tx: read_future(tx, Ask(sku, channel, network), at=at))

    found = on_database(read)

    def table() -> Table:
        table = Table(
            "from", "arriving", "available", title=f"{found.sku} in {found.network}, {found.waiting} units waiting"
        )
        table.add_row("now", "", str(found.available))
        for by in found.by:
            table.add_row(f"{by.at:%Y-%m-%d %H:%M}", str(by.arriving), str(by.available))
        for one in found.overdue:
            table.add_row(f"overdue since {one.expected_at:%Y-%m-%d}", str(one.quantity), "")
        return table

    show(found, table, json=json)


@stock_app.command(name="holds")
def show_holds(
    hold_id: Annotated[UUID | None, Parameter(help="This one.")] = None,
    *,
    channel: Annotated[str | None, Parameter(help="The channel of a cart.")] = None,
    cart: Annotated[str | None, Parameter(help="What the channel calls the cart.")] = None,
    json: Json = False,
) -> None:
    """What is held, until when: by the hold's id, or by channel and cart."""
    from ordino.inventory.holds import HoldView, hold_of, holds_of

    if hold_id is None and (channel is None or cart is None):
        raise Invalid("Name a hold by its id, or --channel and --cart.")

    async def read(database: Database) -> list[HoldView]:
        at = database.clock.now()
        if hold_id is not None:
            return [await database.read(lambda tx: hold_of(tx, hold_id, at=at))]
        return await database.read(lambda tx: holds_of(tx, channel or "", cart or "", at=at))

    found = on_database(read)

    def table() -> Table:
        table = Table("hold", "channel", "cart", "status", "expires", "units by SKU")
        for one in found:
            units = ", ".join(f"{line.quantity} {line.sku}" for line in one.lines)
            until = f"{one.expires_at:%Y-%m-%d %H:%M}"
            table.add_row(str(one.hold_id), one.channel, one.cart or "", one.status, until, units)
        return table

    show(found, table, json=json)


@stock_app.command
def release(hold_id: UUID, *, key: Key = None) -> None:
    """Let a cart's hold go."""
    from ordino.inventory.holds import Released
    from ordino.inventory.holds import release as let_go

    async def run(tx: Tx, at: datetime) -> Released:
        [outcome] = await let_go(tx, [hold_id], at=at)
        if not isinstance(outcome, Released):
            raise as_error(outcome)
        return outcome

    change("stock release", [hold_id], run, Released, key=key)
    console.print(f"The units of {hold_id} are free.")


@stock_app.command(name="sheet")
def make_sheet(
    plan: str,
    *,
    sku: Annotated[list[str] | None, Parameter(help="Only these; by default what is due.")] = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Make a count sheet of a plan."""
    from ordino.inventory.count_sheets import NewSheet, Sheet
    from ordino.inventory.count_sheets import make_sheet as make

    wanted = NewSheet(plan=plan, skus=sku)
    made = change("stock sheet", wanted, lambda tx, at: make(tx, wanted, at=at), Sheet, key=key)

    def table() -> Table:
        table = Table("SKU", "counted", title=f"count sheet {made.sheet_id}, {made.location}")
        for line in made.lines:
            table.add_row(line.sku, "")
        return table

    show(made, table, json=json)
