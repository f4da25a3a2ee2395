"""Receiving: units of returns arrive, are judged, and are restocked or scrapped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.model import Received, ReturnReceipt, ReturnRefusal, ReturnRefused
from ordino.aftercare.returns.repeats import repeats_of
from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory import named
from ordino.inventory.detail import scrap_returned
from ordino.inventory.model import MoveKind, StockMove
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import State, UnitMove
from ordino.orders.value import value_given_back

sql = statements("ordino.aftercare")


class _ReturnLine(Struct):
    """A line of a return; ``outstanding`` units were authorized and did not come back yet."""

    order_id: UUID
    return_id: UUID
    location_id: int
    line_no: int
    sku_id: int
    outstanding: int


async def receive(tx: Tx, receipts: Sequence[ReturnReceipt], *, at: datetime) -> list[Received | ReturnRefused]:
    """One outcome a receipt, in order. Restocked units are in stock at once; the refund follows the event."""
    orders = await orders_ledger.lock(tx, [r.order_id for r in receipts])
    lines = await orders_ledger.lines(tx, orders)
    lost = await orders_ledger.lost_units(tx, orders)
    returns: dict[tuple[UUID, UUID], dict[int, _ReturnLine]] = {}
    for row in await sql.return_lines(
        tx, order_ids=[r.order_id for r in receipts], return_ids=[r.return_id for r in receipts]
    ):
        returns.setdefault((row["order_id"], row["return_id"]), {})[row["line_no"]] = _ReturnLine(*row)
    names = await _names(tx, receipts, returns)
    became_kits = await _became_kits(tx, returns)
    repeats = repeats_of(receipts)
    refusals: dict[int, ReturnRefused] = {}
    refunds: dict[int, int] = {}
    came: dict[tuple[UUID, UUID, int], list[int]] = {}
    unit_moves: list[UnitMove] = []
    stock_moves: list[StockMove] = []
    scrapped: list[tuple[int, Sequence[str], UUID]] = []
    events: list[Event] = []
    for event_id, (index, receipt) in zip(new_ids(at, len(receipts)), enumerate(receipts), strict=True):
        there = returns.get((receipt.order_id, receipt.return_id), {})
        refusal = (
            _doubt(receipt, there, repeated=index in repeats)
            or _doubt_serials(receipt, there, names)
            or _doubt_kits(receipt, there, became_kits)
        )
        if refusal is not None:
            refusals[index] = refusal
            continue
        refunds[index] = 0
        for line in receipt.lines:
            back = line.restocked + line.scrapped
            key = (receipt.order_id, line.line_no)
            refund = value_given_back(lines[key], lost.get(key, 0), back)
            refunds[index] += refund
            lines[key] = structs.replace(lines[key], returned=lines[key].returned + back)
            there[line.line_no].outstanding -= back
            sums = came.setdefault((receipt.order_id, receipt.return_id, line.line_no), [0, 0, 0])
            for place, units in enumerate((line.restocked, line.scrapped, refund)):
                sums[place] += units
            unit_moves.append(UnitMove(*key, State.DELIVERED, State.RETURNED, back, event_id))
            if line.scrapped_serials:
                scrapped.append((there[line.line_no].sku_id, line.scrapped_serials, event_id))
            if line.restocked:
                stock_moves.append(
                    StockMove(
                        there[line.line_no].sku_id,
                        there[line.line_no].location_id,
                        event_id,
                        MoveKind.RETURNED,
                        on_hand_delta=line.restocked,
                        order_id=receipt.order_id,
                        line_no=line.line_no,
                        serials=tuple(line.serials or ()),
                    )
                )
        data = {"return_id": receipt.return_id, "lines": receipt.lines, "refund_minor": refunds[index]}
        version = orders[receipt.order_id].flow_version
        events.append(Event(receipt.order_id, event_id, "return_received", at, data, version))
    statuses, aside = await _write(tx, came, unit_moves, stock_moves, events, at)
    for sku_id, serials, event_id in scrapped:
        await scrap_returned(tx, sku_id, serials, cause_id=event_id, at=at)
    expired = _expired(receipts, refunds, returns, aside)
    return [
        refusals.get(index)
        or Received(
            receipt.order_id,
            receipt.return_id,
            sum(line.restocked for line in receipt.lines),
            sum(line.scrapped for line in receipt.lines),
            refunds[index],
            statuses[receipt.order_id],
            expired.get(index, 0),
        )
        for index, receipt in enumerate(receipts)
    ]


async def _became_kits(tx: Tx, returns: Mapping[tuple[UUID, UUID], Mapping[int, _ReturnLine]]) -> set[tuple[UUID, int]]:
    """(order id, line number) of lines that sold by itself what is a kit today."""
    of_kits = (await kits(tx)).parts
    lines = {(order_id, n) for (order_id, _), of in returns.items() for n, line in of.items() if line.sku_id in of_kits}
    return lines - (await kit_ledger.frozen(tx, lines)).keys() if lines else set()


def _doubt_kits(
    receipt: ReturnReceipt, there: Mapping[int, _ReturnLine], became_kits: set[tuple[UUID, int]]
) -> ReturnRefused | None:
    for index, line in enumerate(receipt.lines):
        if line.restocked and (receipt.order_id, line.line_no) in became_kits:
            detail = (
                f"The SKU of line {line.line_no} has become a kit since it was sold, and a kit has no stock of its own: "
                "say that the units were scrapped, and receive their components by POST /v1/receipts."
            )
            pointer = f"/lines/{index}/restocked"
            return ReturnRefused(receipt.order_id, receipt.return_id, ReturnRefusal.KIT, detail, pointer)
    return None


def _expired(
    receipts: Sequence[ReturnReceipt],
    done: Collection[int],
    returns: Mapping[tuple[UUID, UUID], Mapping[int, _ReturnLine]],
    aside: Mapping[stock.Key, int],
) -> dict[int, int]:
    """Receipt -> how many of its restocked units are of lots past their date; of kits, their components are only set aside."""
    left, expired = dict(aside), defaultdict[int, int](int)
    for index in sorted(done) if aside else ():
        receipt = receipts[index]
        for line in receipt.lines:
            there = returns[receipt.order_id, receipt.return_id][line.line_no]
            units = min(line.restocked, left.get((there.sku_id, there.location_id), 0))
            if units:
                left[there.sku_id, there.location_id] -= units
                expired[index] += units
    return expired


def _doubt(receipt: ReturnReceipt, there: Mapping[int, _ReturnLine], *, repeated: bool) -> ReturnRefused | None:
    def refuse(reason: ReturnRefusal, detail: str, pointer: str = "") -> ReturnRefused:
        return ReturnRefused(receipt.order_id, receipt.return_id, reason, detail, pointer)

    if repeated:
        return refuse(ReturnRefusal.REPEATED, "The same receipt appears earlier in this batch; it is carried out once.")
    if not there:
        detail = f"The order {receipt.order_id} has no return {receipt.return_id}; authorize it first."
        return refuse(ReturnRefusal.UNKNOWN, detail, "/return_id")
    if not receipt.lines:
        return refuse(ReturnRefusal.INVALID, "Name the lines that came back.", "/lines")
    seen: set[int] = set()
    for index, line in enumerate(receipt.lines):
        pointer = f"/lines/{index}"
        if line.line_no not in there:
            return refuse(ReturnRefusal.UNKNOWN, f"The return has no line {line.line_no}.", f"{pointer}/line_no")
        if line.line_no in seen:
            detail = f"Line {line.line_no} is named twice; say everything about it once."
            return refuse(ReturnRefusal.INVALID, detail, f"{pointer}/line_no")
        seen.add(line.line_no)
        back = line.restocked + line.scrapped
        if line.restocked < 0 or line.scrapped < 0 or back == 0:
            detail = f"Say how many units were restocked or scrapped: {line.restocked} and {line.scrapped} say nothing."
            return refuse(ReturnRefusal.INVALID, detail, f"{pointer}/restocked")
        if back > there[line.line_no].outstanding:
            left = there[line.line_no].outstanding
            detail = f"Of line {line.line_no}, {left} authorized units are to come back, not {back}; authorize the others first."
            return refuse(ReturnRefusal.TOO_MANY, detail, pointer)
    return None


async def _names(
    tx: Tx, receipts: Sequence[ReturnReceipt], returns: Mapping[tuple[UUID, UUID], Mapping[int, _ReturnLine]]
) -> named.Names:
    wanted = []
    for receipt in receipts:
        there = returns.get((receipt.order_id, receipt.return_id), {})
        wanted += [
            (there[line.line_no].sku_id, [*(line.serials or ()), *(line.scrapped_serials or ())])
            for line in receipt.lines
            if line.line_no in there
        ]
    return await named.names(tx, wanted)


def _doubt_serials(
    receipt: ReturnReceipt, there: Mapping[int, _ReturnLine], names: named.Names
) -> ReturnRefused | None:
    """Units with serial numbers come back as what they are: each restocked or scrapped one is named, and had gone out with this
    order.
    """
    count = len(receipt.lines)
    namings = [
        named.Naming(line.line_no, there[line.line_no].sku_id, line.restocked, line.serials) for line in receipt.lines
    ]
    namings += [
        named.Naming(line.line_no, there[line.line_no].sku_id, line.scrapped, line.scrapped_serials)
        for line in receipt.lines
    ]
    wrong = names.take(
        namings,
        lambda known, _: known.state == "shipped" and known.order_id == receipt.order_id,
        done="restocked",
        else_="did not go out with this order, or is back already",
    )
    if wrong is None:
        return None
    reason = ReturnRefusal.UNKNOWN if wrong.unknown else ReturnRefusal.INVALID
    sentence = wrong.sentence
    if wrong.place >= count and not wrong.unknown and names.tracking(namings[wrong.place].sku_id) == "serial":
        units = namings[wrong.place].quantity
        sentence = f"The SKU has serial numbers: name the {units} that were scrapped in `scrapped_serials`, each once."
    pointer = f"/lines/{wrong.place % count}/{'serials' if wrong.place < count else 'scrapped_serials'}"
    return ReturnRefused(receipt.order_id, receipt.return_id, reason, sentence, pointer)


async def _write(
    tx: Tx,
    came: Mapping[tuple[UUID, UUID, int], list[int]],
    unit_moves: Sequence[UnitMove],
    stock_moves: Sequence[StockMove],
    events: list[Event],
    at: datetime,
) -> tuple[dict[UUID, str], dict[stock.Key, int]]:
    """The orders' statuses, and how many units were set aside because their lots have expired, by position."""
    if not came:
        return {}, {}
    await sql.receive(
        tx,
        order_ids=[key[0] for key in came],
        return_ids=[key[1] for key in came],
        line_nos=[key[2] for key in came],
        restocked=[sums[0] for sums in came.values()],
        scrapped=[sums[1] for sums in came.values()],
        refunds=[sums[2] for sums in came.values()],
        at=at,
    )
    statuses = await orders_ledger.move_units(tx, unit_moves, at=at)
    if stock_moves:
        arrival = new_id(at)
        data: dict[str, Any] = {"sku_ids": sorted({move.sku_id for move in stock_moves})}
        events.append(Event(arrival, arrival, "stock_received", at, data, await tx.plans.active(tx)))
    await record(tx, events)
    return statuses, await stock.post(tx, stock_moves, at=at)
