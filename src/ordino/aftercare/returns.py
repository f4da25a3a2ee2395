"""Returns: delivered units may come back, do come back, and are restocked or scrapped; what they cost is given back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from ordino.aftercare.model import (
    MAX_UNITS,
    Authorized,
    NewReturn,
    Received,
    ReturnLineView,
    ReturnReceipt,
    ReturnRefusal,
    ReturnRefused,
    ReturnView,
)
from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory import named
from ordino.inventory.detail import scrap_returned
from ordino.inventory.model import MoveKind, StockMove
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger as orders_ledger
from ordino.orders import value
from ordino.orders.model import LineRow, OrderRow, State, UnitMove

sql = statements("ordino.aftercare")
Item = TypeVar("Item", NewReturn, ReturnReceipt)


class _ReturnLine(Struct):
    """A line of a return; ``outstanding`` units were authorized and did not come back yet."""

    order_id: UUID
    return_id: UUID
    location_id: int
    line_no: int
    sku_id: int
    outstanding: int


class _Past(Struct):
    """What is known of the orders that returns are wanted of."""

    orders: dict[UUID, OrderRow]
    lines: dict[tuple[UUID, int], LineRow]
    out: dict[tuple[UUID, int], int]  # authorized, and not back yet
    delivered_at: dict[UUID, datetime]
    came_from: dict[UUID, int]
    network: NetworkFacts


def _repeats(items: Sequence[Item]) -> set[int]:
    seen: dict[UUID, list[Item]] = {}
    repeats = set()
    for index, item in enumerate(items):
        earlier = seen.setdefault(item.order_id, [])
        if item in earlier:
            repeats.add(index)
        earlier.append(item)
    return repeats


async def authorize(tx: Tx, returns: Sequence[NewReturn], *, at: datetime) -> list[Authorized | ReturnRefused]:
    """One outcome a return, in order. What is authorized may come back within no set time."""
    past = await _past(tx, [r.order_id for r in returns])
    repeats = _repeats(returns)
    outcomes: list[Authorized | ReturnRefused] = []
    rows: list[tuple[UUID, UUID, int]] = []
    lines: list[tuple[UUID, UUID, int, int, str, int]] = []
    events: list[Event] = []
    ids = new_ids(at, 2 * len(returns))
    for index, wanted in enumerate(returns):
        judged = _judge(wanted, past, at, repeated=index in repeats)
        if isinstance(judged, ReturnRefused):
            outcomes.append(judged)
            continue
        return_id = ids[2 * index]
        rows.append((wanted.order_id, return_id, judged))
        for line in wanted.lines:
            key = (wanted.order_id, line.line_no)
            past.out[key] = past.out.get(key, 0) + line.quantity
            sku_id = past.lines[key].sku_id
            lines.append((wanted.order_id, return_id, line.line_no, sku_id, line.reason, line.quantity))
        location = past.network.locations[judged].code
        data = {"return_id": return_id, "location": location, "lines": wanted.lines}
        version = past.orders[wanted.order_id].flow_version
        events.append(Event(wanted.order_id, ids[2 * index + 1], "return_authorized", at, data, version))
        outcomes.append(Authorized(wanted.order_id, return_id, location))
    if rows:
        await sql.write_returns(
            tx,
            order_ids=[row[0] for row in rows],
            return_ids=[row[1] for row in rows],
            location_ids=[row[2] for row in rows],
            at=at,
            line_order_ids=[row[0] for row in lines],
            line_return_ids=[row[1] for row in lines],
            line_nos=[row[2] for row in lines],
            sku_ids=[row[3] for row in lines],
            reasons=[row[4] for row in lines],
            authorized=[row[5] for row in lines],
        )
        await record(tx, events)
    return outcomes


async def _past(tx: Tx, order_ids: Sequence[UUID]) -> _Past:
    orders = await orders_ledger.lock(tx, order_ids)
    known = list(orders)
    return _Past(
        orders,
        await orders_ledger.lines(tx, known),
        {(row["order_id"], row["line_no"]): row["quantity"] for row in await sql.outstanding(tx, order_ids=known)},
        {row["order_id"]: row["at"] for row in await sql.last_delivered(tx, order_ids=known)},
        {row["order_id"]: row["location_id"] for row in await sql.came_from(tx, order_ids=known)},
        await facts(tx),
    )


def _judge(wanted: NewReturn, past: _Past, at: datetime, *, repeated: bool) -> int | ReturnRefused:
    """The location that the return goes to, or why there is none."""
    order_id = wanted.order_id

    def refuse(reason: ReturnRefusal, detail: str, pointer: str = "") -> ReturnRefused:
        return ReturnRefused(order_id, None, reason, detail, pointer)

    if repeated:
        return refuse(ReturnRefusal.REPEATED, "The same return appears earlier in this batch; it is authorized once.")
    order = past.orders.get(order_id)
    if order is None:
        return refuse(ReturnRefusal.UNKNOWN, f"There is no order {order_id}.", "/order_id")
    location_id = past.came_from.get(order_id)
    if wanted.location is not None:
        location_id = past.network.location_ids.get(wanted.location)
        if location_id is None:
            return refuse(ReturnRefusal.UNKNOWN, f"There is no location {wanted.location!r}.", "/location")
    if not wanted.lines:
        return refuse(ReturnRefusal.INVALID, "Name the lines that are to come back.", "/lines")
    seen: set[int] = set()
    for index, line in enumerate(wanted.lines):
        pointer = f"/lines/{index}"
        if (order_id, line.line_no) not in past.lines:
            return refuse(ReturnRefusal.UNKNOWN, f"The order has no line {line.line_no}.", f"{pointer}/line_no")
        if line.line_no in seen:
            detail = f"Line {line.line_no} is named twice; name it once, with all its units."
            return refuse(ReturnRefusal.INVALID, detail, f"{pointer}/line_no")
        seen.add(line.line_no)
        if not 1 <= line.quantity <= MAX_UNITS:
            return refuse(
                ReturnRefusal.INVALID, f"Return at least one unit, not {line.quantity}.", f"{pointer}/quantity"
            )
    days = past.network.channels_by_id[order.channel_id].return_window_days
    delivered_at = past.delivered_at.get(order_id)
    if delivered_at is not None and at > delivered_at + timedelta(days=days):
        detail = f"The order was delivered on {delivered_at:%Y-%m-%d}; it could be returned for {days} days after that."
        return refuse(ReturnRefusal.TOO_LATE, detail)
    for index, line in enumerate(wanted.lines):
        key = (order_id, line.line_no)
        can = past.lines[key].delivered - past.out.get(key, 0)
        if line.quantity > can:
            detail = f"Of line {line.line_no}, {can} delivered units can still be returned, not {line.quantity}."
            return refuse(ReturnRefusal.TOO_MANY, detail, f"/lines/{index}/quantity")
    assert location_id is not None, "what was delivered was shipped from somewhere"
    return location_id


async def receive(tx: Tx, receipts: Sequence[ReturnReceipt], *, at: datetime) -> list[Received | ReturnRefused]:
    """One outcome a receipt, in order. Restocked units are in stock at once; the refund follows the event."""
    orders = await orders_ledger.lock(tx, [r.order_id for r in receipts])
    lines = await orders_ledger.lines(tx, orders)
    returns: dict[tuple[UUID, UUID], dict[int, _ReturnLine]] = {}
    for row in await sql.return_lines(
        tx, order_ids=[r.order_id for r in receipts], return_ids=[r.return_id for r in receipts]
    ):
        returns.setdefault((row["order_id"], row["return_id"]), {})[row["line_no"]] = _ReturnLine(*row)
    names = await _names(tx, receipts, returns)
    became_kits = await _became_kits(tx, returns)
    repeats = _repeats(receipts)
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
            lines[key], worth = value.take_back(lines[key], back)
            refund = worth.refund_minor
            refunds[index] += refund
            there[line.line_no].outstanding -= back
            sums = came.setdefault((receipt.order_id, receipt.return_id, line.line_no), [0, 0, 0])
            for place, units in enumerate((line.restocked, line.scrapped, refund)):
                sums[place] += units
            unit_moves.append(
                UnitMove(*key, State.DELIVERED, State.RETURNED, back, event_id, None, worth.paid_units, 0, refund)
            )
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


async def returns_of(tx: Tx, order_id: UUID) -> list[ReturnView]:
    """The returns of an order, oldest first. Raises ``NotFound``."""
    rows = await sql.returns_of_order(tx, order_id=order_id)
    if not rows and not await sql.order_exists(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    lines: dict[UUID, list[ReturnLineView]] = {}
    for row in await sql.return_lines_of_order(tx, order_id=order_id):
        lines.setdefault(row["return_id"], []).append(
            ReturnLineView(**{name: row[name] for name in ReturnLineView.__struct_fields__})
        )
    locations = (await facts(tx)).locations
    return [
        ReturnView(
            row["return_id"],
            locations[row["location_id"]].code,
            row["authorized_at"],
            row["received_at"],
            lines.get(row["return_id"], []),
        )
        for row in rows
    ]
