"""Rejections: a location gives work back. What is open there is short for the reason that it names, and is sourced again.

So is what was not released to it yet: then nobody has to release the work first in order to take it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.network.facts import facts
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import AllocationRow
from ordino.warehouse import ledger
from ordino.warehouse.model import Pick, Picked, Rejected, Rejection, WorkRefusal, WorkRefused
from ordino.warehouse.pick import give_back, nothing_yet, pick
from ordino.warehouse.reasons import short_reasons


class _Given(Struct):
    """The picks of one rejection, by their places in the batch of picks, and the units that were not released."""

    item: Rejection
    picks: range
    units: int


async def reject(tx: Tx, rejections: Sequence[Rejection], *, at: datetime) -> list[Rejected | WorkRefused]:
    """One outcome an item, in order. A rejection is done whole, or refused."""
    floor = await ledger.load(tx, [item.order_id for item in rejections])
    location_ids = (await facts(tx)).location_ids
    refused: dict[int, WorkRefused] = {}
    given: dict[int, _Given] = {}
    picks: list[Pick] = []
    seen: set[tuple[UUID, str]] = set()
    reasons = {reason.code: reason for reason in await short_reasons(tx)} if rejections else {}
    idle = await _not_released(tx, floor)
    beside = nothing_yet()
    for index, item in enumerate(rejections):
        work = _open_work(floor, item.order_id, location_ids.get(item.location))
        rows = idle.get((item.order_id, location_ids.get(item.location)), ())
        if item.order_id not in floor.orders:
            refused[index] = _refuse(item, WorkRefusal.UNKNOWN, f"There is no order {item.order_id}.", "/order_id")
        elif item.location not in location_ids:
            refused[index] = _refuse(item, WorkRefusal.UNKNOWN, f"There is no location {item.location!r}.", "/location")
        elif (item.order_id, item.location) in seen:
            detail = "The same item appears earlier in this batch; it is carried out once. Leave the repeat out."
            refused[index] = _refuse(item, WorkRefusal.REPEATED, detail)
        elif not work and not rows:
            detail = f"Nothing of the order is open at {item.location!r}: it is done already, or elsewhere."
            refused[index] = _refuse(item, WorkRefusal.DONE, detail, "/location")
        elif item.reason not in reasons:
            detail = f"Say why the units are short: one of {', '.join(sorted(reasons))}."
            refused[index] = _refuse(item, WorkRefusal.UNKNOWN_REASON, detail, "/reason")
            seen.add((item.order_id, item.location))
        else:
            seen.add((item.order_id, item.location))
            units = 0
            if rows:
                order = floor.orders[item.order_id]
                open_ = {n for id in work for n, line in floor.lines[item.order_id, id].items() if line.open}
                units = give_back(rows, reasons[item.reason], order, beside, open_=open_, worker=item.worker, at=at)
            given[index] = _Given(item, range(len(picks), len(picks) + len(work)), units)
            picks += [
                Pick(
                    order_id=item.order_id,
                    fulfillment_order_id=id,
                    all=True,
                    short_reason=item.reason,
                    worker=item.worker,
                )
                for id in work
            ]
    picked = await pick(tx, picks, at=at, beside=beside)
    return [refused[n] if n in refused else _outcome(given[n], picked) for n in range(len(rejections))]


def _open_work(floor: ledger.Floor, order_id: UUID, location_id: int | None) -> list[UUID]:
    return [
        id
        for (of, id), lines in floor.lines.items()
        if of == order_id and any(line.open and line.location_id == location_id for line in lines.values())
    ]


async def _not_released(tx: Tx, floor: ledger.Floor) -> dict[tuple[UUID, int | None], list[AllocationRow]]:
    """(order id, location id) -> allocations with units that are not released."""
    found: dict[tuple[UUID, int | None], list[AllocationRow]] = {}
    for row in await orders_ledger.allocations(tx, floor.orders):
        if row.quantity > row.released:
            found.setdefault((row.order_id, row.location_id), []).append(row)
    return found


def _outcome(given: _Given, picked: Sequence[Picked | WorkRefused]) -> Rejected | WorkRefused:
    units = given.units
    for place in given.picks:
        done = picked[place]
        assert isinstance(done, Picked), "what is open can be short, and the reason is known"
        units += done.short
    return Rejected(given.item.order_id, given.item.location, units)


def _refuse(item: Rejection, reason: WorkRefusal, detail: str, pointer: str = "") -> WorkRefused:
    return WorkRefused(item.order_id, None, reason, detail, pointer)
