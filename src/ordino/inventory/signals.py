"""What changed, for those who follow: the feed of changed SKUs, and events when stock is low, out or back.

A SKU whose stock moves is noted in the transaction that moves it. One worker at a time takes the notes, gives each SKU the next
number of the feed, and compares what every network has now with what it was last known to have. However often a SKU has
moved meanwhile, it is told once.

SIG-1  Every change of what may be promised is followed by the SKU's number in the feed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.inventory.availability import look, reach, reach_of
from ordino.inventory.events import StockBack, StockLow, StockOut
from ordino.inventory.rules import RuleKind, book
from ordino.network.facts import facts

sql = statements("ordino.inventory")
core_sql = statements("ordino.core")
AT_ONCE = 20_000


class Change(Struct, frozen=True):
    """A SKU that changed, and what may be promised of it now."""

    sku: str
    available: int
    changed_at: datetime


Told = tuple[type[StockOut | StockBack | StockLow], int, int, int]
"""What is told of a SKU: the event, the SKU's id, the network's id, and the units that are available."""


class Scarce(Struct, frozen=True):
    """A SKU that is low in a network, or out, and since when."""

    sku: str
    available: int
    is_out: bool
    since: datetime


async def publish(tx: Tx, since: datetime, at: datetime) -> None:
    """Give what has moved its numbers in the feed, and tell what became low, ran out or came back."""
    numbers = {row["name"]: row["number"] for row in await core_sql.revisions(tx)}
    if await _rules_changed(tx, numbers, since, at):
        await sql.touch_all(tx)
    if numbers["retired"] != numbers["retired_published"]:
        await sql.touch_retired(tx)
        await core_sql.set_revision(tx, name="retired_published", number=numbers["retired"])
    sku_ids = sorted(row["sku_id"] for row in await sql.take_touched(tx, limit=AT_ONCE))
    if not sku_ids:
        return
    sku_ids = await _with_kits(tx, sku_ids)
    [number] = await core_sql.take_numbers(tx, name="change", count=len(sku_ids))
    await sql.publish_changes(tx, sku_ids=sku_ids, first=number["first"], at=at)
    await _compare(tx, sku_ids, at)


async def _rules_changed(tx: Tx, numbers: Mapping[str, int], since: datetime, at: datetime) -> bool:
    """Has anything changed that touches what may be promised of any SKU? A closure that begins or ends counts, too."""
    turned = (await facts(tx)).closures_turn(since, at)
    if numbers["promises"] == numbers["published"]:
        return turned
    await core_sql.set_revision(tx, name="published", number=numbers["promises"])
    return True


async def _with_kits(tx: Tx, sku_ids: Sequence[int]) -> list[int]:
    """A kit changes with its components."""
    within = (await kits(tx)).within
    return sorted({*sku_ids, *(kit for sku_id in sku_ids for kit in within.get(sku_id, ()))})


async def _compare(tx: Tx, sku_ids: Sequence[int], at: datetime) -> None:
    known, shelves = await facts(tx), await look(tx, sku_ids, at=at)
    levels = await book(tx, sku_ids, kinds=[RuleKind.LOW_STOCK])
    was = {(row["sku_id"], row["network_id"]): row for row in await sql.published_of(tx, sku_ids=sku_ids)}
    rows: list[tuple[int, int, int, bool]] = []
    told: list[Told] = []
    for serving in known.networks.values():
        whose = reach(known, serving, None, at)
        for sku_id in sku_ids:
            parts, before = shelves.parts(whose, sku_id), was.get((sku_id, serving.network_id))
            if before is None and not parts:
                continue  # this network never had any
            units = sum([part.available for part in parts])
            level = None if levels is None else levels.low_at(serving.network_id, sku_id)
            low = level is not None and units <= level
            had, was_low = (0, False) if before is None else (before["available"], before["low"])
            if before is not None and (had, was_low) == (units, low):
                continue
            rows.append((sku_id, serving.network_id, units, low))
            if before is None:
                continue
            if units == 0 and had:
                told.append((StockOut, sku_id, serving.network_id, units))
            elif units and not had:
                told.append((StockBack, sku_id, serving.network_id, units))
            if low and not was_low and units:
                told.append((StockLow, sku_id, serving.network_id, units))
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        names = ("sku_ids", "network_ids", "available", "low")
        await sql.publish(tx, **dict(zip(names, columns, strict=True)), at=at)
    if told:
        await _tell(tx, told, {n.network_id: n.code for n in known.networks.values()}, at)


async def _tell(
    tx: Tx,
    told: Sequence[Told],
    networks: Mapping[int, str],
    at: datetime,
) -> None:
    codes = {row["sku_id"]: row["code"] for row in await sql.codes_of(tx, sku_ids=[sku_id for _, sku_id, _, _ in told])}
    version = await tx.plans.active(tx)
    events = []
    for (type_, sku_id, network_id, units), event_id in zip(told, new_ids(at, len(told)), strict=True):
        payload = type_(sku=codes[sku_id], sku_ids=[sku_id], network=networks[network_id], available=units)
        events.append(Event(event_id, event_id, at, payload, version))
    await record(tx, events)


class Changes(Struct, frozen=True):
    """SKUs that changed after a cursor, each once, and the cursor to ask with next time."""

    changes: list[Change]
    next: int


async def changes_after(
    tx: Tx, after: int, limit: int, *, channel: str | None, network: str | None, at: datetime
) -> Changes:
    """What changed after ``after``, with what may be promised now. Raises ``NotFound`` for an unknown channel or network."""
    reach = reach_of(await facts(tx), channel, network, at)
    if isinstance(reach, NotFound):
        raise reach
    rows = await sql.changes_after(tx, after=after, limit=limit)
    shelves = await look(tx, [row["sku_id"] for row in rows], at=at)
    found = [
        Change(row["code"], sum([part.available for part in shelves.parts(reach, row["sku_id"])]), row["changed_at"])
        for row in rows
    ]
    return Changes(found, rows[-1]["cursor"] if rows else after)


async def scarce(tx: Tx, network: str | None, after: str, limit: int, *, at: datetime) -> list[Scarce]:
    """What is low or out in a network, as last published, in order of codes. Raises ``NotFound``."""
    reach = reach_of(await facts(tx), None, network, at)
    if isinstance(reach, NotFound):
        raise reach
    rows = await sql.scarce(tx, network_id=reach.serving.network_id, after=after, limit=limit)
    return [Scarce(**row) for row in rows]
