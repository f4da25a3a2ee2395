"""Authorizing: which delivered units may come back, and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ordino.aftercare.model import MAX_UNITS, Authorized, NewReturn, ReturnRefusal, ReturnRefused
from ordino.aftercare.returns.repeats import repeats_of
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import LineRow, OrderRow

sql = statements("ordino.aftercare")


class _Past(Struct):
    """What is known of the orders that returns are wanted of."""

    orders: dict[UUID, OrderRow]
    lines: dict[tuple[UUID, int], LineRow]
    out: dict[tuple[UUID, int], int]  # authorized, and not back yet
    delivered_at: dict[UUID, datetime]
    came_from: dict[UUID, int]
    network: NetworkFacts


async def authorize(tx: Tx, returns: Sequence[NewReturn], *, at: datetime) -> list[Authorized | ReturnRefused]:
    """One outcome a return, in order. What is authorized may come back within no set time."""
    past = await _past(tx, [r.order_id for r in returns])
    repeats = repeats_of(returns)
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
