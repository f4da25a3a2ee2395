"""Rejections: a location gives work back. What is open there is short for the reason that it names, and is sourced again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.network.facts import facts
from ordino.warehouse import ledger
from ordino.warehouse.model import Pick, Picked, Rejected, Rejection, WorkRefusal, WorkRefused
from ordino.warehouse.pick import pick


class _Given(Struct):
    """The picks of one rejection, by their places in the batch of picks."""

    item: Rejection
    picks: range


async def reject(tx: Tx, rejections: Sequence[Rejection], *, at: datetime) -> list[Rejected | WorkRefused]:
    """One outcome an item, in order. A rejection is done whole, or refused."""
    floor = await ledger.load(tx, [item.order_id for item in rejections])
    location_ids = (await facts(tx)).location_ids
    refused: dict[int, WorkRefused] = {}
    given: dict[int, _Given] = {}
    picks: list[Pick] = []
    seen: set[tuple[UUID, str]] = set()
    for index, item in enumerate(rejections):
        work = _open_work(floor, item.order_id, location_ids.get(item.location))
        if item.order_id not in floor.orders:
            refused[index] = _refuse(item, WorkRefusal.UNKNOWN, f"There is no order {item.order_id}.", "/order_id")
        elif item.location not in location_ids:
            refused[index] = _refuse(item, WorkRefusal.UNKNOWN, f"There is no location {item.location!r}.", "/location")
        elif (item.order_id, item.location) in seen:
            detail = "The same item stands earlier in this batch; it is carried out once."
            refused[index] = _refuse(item, WorkRefusal.REPEATED, detail)
        elif not work:
            detail = f"Nothing of the order is open at {item.location}."
            refused[index] = _refuse(item, WorkRefusal.DONE, detail, "/location")
        else:
            seen.add((item.order_id, item.location))
            given[index] = _Given(item, range(len(picks), len(picks) + len(work)))
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
    picked = await pick(tx, picks, at=at)
    return [refused[n] if n in refused else _outcome(given[n], picked) for n in range(len(rejections))]


def _open_work(floor: ledger.Floor, order_id: UUID, location_id: int | None) -> list[UUID]:
    return [
        id
        for (of, id), lines in floor.lines.items()
        if of == order_id and any(line.open and line.location_id == location_id for line in lines.values())
    ]


def _outcome(given: _Given, picked: Sequence[Picked | WorkRefused]) -> Rejected | WorkRefused:
    units = 0
    for place in given.picks:
        done = picked[place]
        if isinstance(done, WorkRefused):  # an unknown reason refuses all of them alike
            return _refuse(given.item, done.reason, done.detail, "/reason")
        units += done.short
    return Rejected(given.item.order_id, given.item.location, units)


def _refuse(item: Rejection, reason: WorkRefusal, detail: str, pointer: str = "") -> WorkRefused:
    return WorkRefused(item.order_id, None, reason, detail, pointer)
