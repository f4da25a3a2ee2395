"""What orders do about what happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.catalog.kits import Kits, kits
from ordino.core.database import Tx
from ordino.core.events import Due, Event, Step, enqueue, follow, record
from ordino.core.ids import new_id, new_ids
from ordino.core.payloads import Units, payload_of
from ordino.core.reactions import Task, registry
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.inventory import waiting
from ordino.orders import exceptions, ledger, look_again, payments, reevaluate, shadows, shortfalls  # noqa: F401 - some register what they do
from ordino.orders.allocate import NIL, allocate, waiting_for
from ordino.orders.called_off import CalledOff
from ordino.orders.events import LostSettled
from ordino.orders.model import LineRow, State

sql = statements("ordino.orders")
FILLED_AT_ONCE = 5000
SKUS_AT_ONCE = 5000
WAITING = UUID(int=1)
"""The subject of what is done for who waits, whatever they wait for: it is queued once."""


class LinesTold(Struct, frozen=True):
    """What a reaction is told that is about units, by whatever event it follows."""

    lines: list[Units]


class PositionTold(Struct, frozen=True):
    """What a reaction is told that is about a SKU at a location, by whatever event it follows."""

    sku_id: int
    location_id: int

    @property
    def key(self) -> tuple[int, int]:
        return self.sku_id, self.location_id


follow(refund_requested=(Step("refund"),), authorization_exceeded=(Step("void"),))

registry.effect("authorize", payments.authorize)
registry.effect("capture", payments.capture)
registry.effect("void", payments.void)
registry.effect("refund", payments.refund)


@registry.reaction("source")
async def source(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Look for another location for the units that an order waits for."""
    await allocate(tx, sorted({task.subject_id for task in tasks}), at=at)


@registry.reaction("fill_backorders")
async def fill_backorders(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that are free go to who waits for them, first placed first: so many orders now, and the next ones after the
    commit. Arrivals name their SKUs; of a cancellation or a short pick, the lines do.
    """
    arrived = {sku_id for task in tasks for sku_id in task.data.get("sku_ids", ())}
    lines = [
        (task.subject_id, line["line_no"])
        for task in tasks
        if "sku_ids" not in task.data
        for line in task.data["lines"]
    ]
    if lines:
        rows = await sql.skus_of_lines(tx, order_ids=[line[0] for line in lines], line_nos=[line[1] for line in lines])
        arrived |= {row["sku_id"] for row in rows}
    known = await kits(tx)
    arrived |= {kit for sku_id in arrived for kit in known.within.get(sku_id, ())}
    arrived |= {part for sku_id in arrived for part, _ in known.parts.get(sku_id, ())}
    after = min(UUID(task.data["after"]) if "after" in task.data else NIL for task in tasks)
    # Read before the stock: what becomes free from now on is offered once more.
    seen, stamp, since = await waiting.waiting_of(tx, arrived), await waiting.stamp_of(tx), at
    if after != NIL:
        begun = next(task.data for task in tasks if "after" in task.data)
        if begun.get("stamp", stamp) == stamp:
            seen = msgspec.convert(begun["seen"], list[waiting.Waiting])
            since = msgspec.convert(begun.get("since", at), datetime)
        else:
            after = NIL  # the rules have changed meanwhile: who was asked first may have more now, and is asked again
    there = sorted(await stock.free(tx, sorted(arrived), at=at))
    sku_ids = sorted({*there, *await _kits_waiting_for(tx, there, known)})
    orders = await waiting_for(tx, sku_ids, after=after, limit=FILLED_AT_ONCE) if there else []
    if there_after_all := {tuple(position) for task in tasks for position in task.data.get("found", ())}:
        await exceptions.found(tx, sorted(there_after_all), beside=orders, at=at)
    await allocate(tx, orders, at=at, first=True)
    if len(orders) == FILLED_AT_ONCE and (left := sorted(await stock.free(tx, there, at=at))):
        data = {"sku_ids": left, "after": orders[-1], "seen": seen, "stamp": stamp, "since": since}
        await _fill_later(tx, tasks[0].subject_id, data, at)
    else:
        waiting.offered(tx, seen, stamp=stamp, at=since)


async def _kits_waiting_for(tx: Tx, sku_ids: Sequence[int], known: Kits) -> list[int]:
    """Who waits for a kit gets it as it was made when it was ordered, whatever it is made of since."""
    if not sku_ids or not known.ever:
        return []
    rows = await sql.kits_waiting_for(tx, kit_ids=sorted(known.ever), sku_ids=list(sku_ids))
    return [row["sku_id"] for row in rows]


async def _fill_later(tx: Tx, subject_id: UUID, data: dict[str, Any], at: datetime) -> None:
    told = msgspec.json.encode(data).decode()
    await enqueue(tx, [Due("fill_backorders", subject_id, new_id(at), at, told)], at=at)


@registry.duty("serve_waiting", every_seconds=1)
async def serve_waiting(tx: Tx, since: datetime, at: datetime) -> None:
    """What may have become free by rules, the network or the hour is offered to who waits; and whatever a flow left undone."""
    if await sql.still_queued(tx, kind="fill_backorders", order_ids=[WAITING]):
        return
    if sku_ids := await waiting.unserved_skus(tx, at=at, limit=SKUS_AT_ONCE):
        await _fill_later(tx, WAITING, {"sku_ids": sku_ids}, at)


@registry.duty("source_waiting", every_seconds=3600)
async def source_waiting(tx: Tx, since: datetime, at: datetime) -> None:
    """Who waits though stock is there is looked at again, first placed first: time itself may have changed what can be done."""
    if sku_ids := sorted(await stock.free(tx, await waiting.waited_for(tx), at=at)):
        await _fill_later(tx, new_id(at), {"sku_ids": sku_ids}, at)


@registry.duty("forget_tokens", every_seconds=3600)
async def forget_tokens(tx: Tx, since: datetime, at: datetime) -> None:
    """Tokens of orders that were cancelled before their money was authorized are not kept."""
    await sql.forget_idle_tokens(tx)


@registry.reaction("source_anew")
async def source_anew(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that were promised and are not there: who holds them is sourced anew, the last placed first."""
    await shortfalls.source_anew(tx, [payload_of(task, PositionTold).key for task in tasks], at=at)


@registry.reaction("settle_lost")
async def settle_lost(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Units that were lost on the way are cancelled; their price is to be given back, and the shipping of an order of which nothing
    else has arrived or still may.
    """
    orders = await ledger.lock(tx, [task.subject_id for task in tasks])
    lines: dict[UUID, dict[int, LineRow]] = defaultdict(dict)
    for (order_id, line_no), line in (await ledger.lines(tx, orders)).items():
        lines[order_id][line_no] = line
    moves, shipping, events = [], [], []
    for task, event_id in zip(tasks, new_ids(at, len(tasks)), strict=True):
        order_id = task.subject_id
        called_off = CalledOff(orders[order_id], lines[order_id], event_id, "lost")
        lost: dict[int, int] = defaultdict(int)
        for units in payload_of(task, LinesTold).lines:
            lost[units.line_no] += units.quantity
        for line_no, quantity in lost.items():
            if taken := min(quantity, lines[order_id][line_no].shipped):
                called_off.take(line_no, State.SHIPPED, taken)
        if not called_off.moves:
            continue
        shipping.append(called_off.close())
        orders[order_id] = called_off.order
        moves += called_off.moves
        payload = LostSettled(lines=called_off.listed(), refund_minor=called_off.refund_minor)
        events.append(Event(order_id, event_id, at, payload, orders[order_id].flow_version))
    await ledger.move_units(tx, moves, shipping, at=at)
    await record(tx, events)
