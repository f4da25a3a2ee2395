"""Authorizing: which delivered units may come back, and where they go.

A line goes back to where its units were shipped from; of a line from several locations, those come first that shipped most of it.
So a return may have lines for several locations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.events import AuthorizedUnits, ReturnAuthorized
from ordino.aftercare.model import (
    MAX_UNITS,
    Authorized,
    AuthorizedLine,
    NewReturn,
    ReturnLine,
    ReturnRefusal,
    ReturnRefused,
)
from ordino.aftercare.repeats import repeats_of
from ordino.aftercare.returns.history import ITSELF, History, LineKey, Row, history_of, pieces, whole, write_rows
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.network.facts import NetworkFacts, facts

sql = statements("ordino.aftercare")
Refusal = tuple[ReturnRefusal, str, str]
"""(reason, detail, pointer)"""


class _Past(Struct, kw_only=True):
    """What is known of the orders that returns are wanted of. ``came_from`` says how many delivered units of a line each location
    shipped.
    """

    history: History
    delivered_at: Mapping[UUID, datetime]
    came_from: Mapping[LineKey, Mapping[int, int]]
    network: NetworkFacts


async def authorize(tx: Tx, returns: Sequence[NewReturn], *, at: datetime) -> list[Authorized | ReturnRefused]:
    """One outcome a return, in order. What is authorized may come back within no set time."""
    past = await _past(tx, [r.order_id for r in returns])
    repeats = repeats_of(returns)
    outcomes: list[Authorized | ReturnRefused] = []
    written: list[Row] = []
    events: list[Event] = []
    for index, (wanted, return_id, event_id) in enumerate(
        zip(returns, new_ids(at, len(returns)), new_ids(at, len(returns)), strict=True)
    ):
        rows = _judge(wanted, return_id, past, at, repeated=index in repeats)
        if isinstance(rows, tuple):
            reason, detail, pointer = rows
            outcomes.append(ReturnRefused(wanted.order_id, None, reason, detail, pointer))
            continue
        written += rows
        outcome = _authorized(wanted, return_id, rows, past)
        units = [AuthorizedUnits(**structs.asdict(line)) for line in outcome.lines]
        payload = ReturnAuthorized(return_id=return_id, location=outcome.location, lines=units)
        version = past.history.orders[wanted.order_id].flow_version
        events.append(Event(wanted.order_id, event_id, at, payload, version))
        outcomes.append(outcome)
    if written:
        first = {(row.order_id, row.return_id): row.location_id for row in reversed(written)}
        await sql.write_returns(
            tx,
            order_ids=[order_id for order_id, _ in first],
            return_ids=[return_id for _, return_id in first],
            location_ids=list(first.values()),
            at=at,
        )
        await write_rows(tx, written)
        await record(tx, events)
    return outcomes


def _authorized(wanted: NewReturn, return_id: UUID, rows: Sequence[Row], past: _Past) -> Authorized:
    locations = past.network.locations
    lines = [
        AuthorizedLine(
            row.line_no, past.history.code_of(row), row.authorized, row.reason, locations[row.location_id].code
        )
        for row in rows
    ]
    places = {line.location for line in lines}
    return Authorized(wanted.order_id, return_id, places.pop() if len(places) == 1 else None, lines)


async def _past(tx: Tx, order_ids: Sequence[UUID]) -> _Past:
    history = await history_of(tx, order_ids)
    known = list(history.orders)
    came_from: dict[LineKey, dict[int, int]] = {}
    for row in await sql.came_from(tx, order_ids=known):
        came_from.setdefault((row["order_id"], row["line_no"]), {})[row["location_id"]] = row["quantity"]
    return _Past(
        history=history,
        delivered_at={row["order_id"]: row["at"] for row in await sql.last_delivered(tx, order_ids=known)},
        came_from=came_from,
        network=await facts(tx),
    )


def _judge(wanted: NewReturn, return_id: UUID, past: _Past, at: datetime, *, repeated: bool) -> list[Row] | Refusal:
    """What is written for a return, or why nothing is. Later returns of the batch are judged after it."""
    if repeated:
        return ReturnRefusal.REPEATED, "The same return appears earlier in this batch; it is authorized once.", ""
    wrong = _wrong(wanted, past) or _late(wanted, past, at)
    if wrong is not None:
        return wrong
    all_rows = past.history.rows.setdefault(wanted.order_id, [])
    before = len(all_rows)
    for index, line in enumerate(wanted.lines):
        rows = _rows(wanted, index, line, return_id, past)
        if isinstance(rows, tuple):
            del all_rows[before:]
            return rows
        all_rows += rows
    return all_rows[before:]


def _wrong(wanted: NewReturn, past: _Past) -> Refusal | None:
    """What is named that is not there, or makes no sense."""
    order_id = wanted.order_id
    if order_id not in past.history.orders:
        return ReturnRefusal.UNKNOWN, f"There is no order {order_id}.", "/order_id"
    if wanted.location is not None and wanted.location not in past.network.location_ids:
        return ReturnRefusal.UNKNOWN, f"There is no location {wanted.location!r}.", "/location"
    if not wanted.lines:
        return ReturnRefusal.INVALID, "Name the lines that are to come back.", "/lines"
    seen: set[tuple[int, str | None]] = set()
    for index, line in enumerate(wanted.lines):
        pointer = f"/lines/{index}"
        if wrong := line_fault(past.history, (order_id, line.line_no), line.component, seen, pointer):
            return wrong
        if not 1 <= line.quantity <= MAX_UNITS:
            return (
                ReturnRefusal.INVALID,
                f"Return at least one unit, not {line.quantity}.",
                f"{pointer}/quantity",
            )
    return None


def line_fault(
    history: History, line: LineKey, component: str | None, seen: set[tuple[int, str | None]], pointer: str
) -> Refusal | None:
    """Whether a line of the order, or a component of it, is named that is not there, or that was ``seen`` before."""
    line_no = line[1]
    if line not in history.lines:
        return ReturnRefusal.UNKNOWN, f"The order has no line {line_no}.", f"{pointer}/line_no"
    if history.component_named(line, component) is None:
        there = [part.code for part in history.components.get(line, {}).values()]
        detail = f"Line {line_no} is not a kit; leave out `component`."
        if there:
            detail = f"The kit of line {line_no} has no component {component!r}; it was made of {', '.join(there)}."
        return ReturnRefusal.UNKNOWN, detail, f"{pointer}/component"
    if (line_no, component) in seen:
        what = f"Line {line_no}" if component is None else f"The component {component!r} of line {line_no}"
        return ReturnRefusal.INVALID, f"{what} is named twice; name it once, with all its units.", f"{pointer}/line_no"
    seen.add((line_no, component))
    return None


def _late(wanted: NewReturn, past: _Past, at: datetime) -> Refusal | None:
    """The window counts from the last delivery of the order: the customer decides with everything in hand."""
    days = past.network.channels_by_id[past.history.orders[wanted.order_id].channel_id].return_window_days
    delivered_at = past.delivered_at.get(wanted.order_id)
    if delivered_at is None or at <= delivered_at + timedelta(days=days):
        return None
    detail = f"The order was delivered on {delivered_at:%Y-%m-%d}; returns are accepted for {days} days after that."
    return ReturnRefusal.TOO_LATE, detail, ""


def _rows(wanted: NewReturn, index: int, line: ReturnLine, return_id: UUID, past: _Past) -> list[Row] | Refusal:
    """One row for each location that units of the line go to."""
    key = (wanted.order_id, line.line_no)
    component = past.history.component_named(key, line.component)
    assert component is not None, "what is named was found"
    left = past.history.left(key)
    can = whole(left, past.history.per_unit(key)) if component == ITSELF else left[component]
    if line.quantity > can:
        what = f"line {line.line_no}, only {can} delivered units"
        if line.component is not None:
            what = f"the component {line.component!r} of line {line.line_no}, only {can} delivered units"
        detail = f"Of {what} can still be returned, not {line.quantity}."
        return ReturnRefusal.TOO_MANY, detail, f"/lines/{index}/quantity"
    if wanted.location is not None:
        places = {past.network.location_ids[wanted.location]: line.quantity}
    else:
        places = _places(key, component, line.quantity, past)
    for location_id in places:
        location = past.network.locations[location_id]
        if not location.active:
            if wanted.location is not None:
                detail = f"The location {location.code!r} is switched off; name another one for the return."
                return ReturnRefusal.CLOSED, detail, "/location"
            detail = (
                f"Units of line {line.line_no} were shipped from {location.code!r}, which is switched off; name another "
                "`location` for the return."
            )
            return ReturnRefusal.CLOSED, detail, f"/lines/{index}"
    return [
        Row(
            order_id=wanted.order_id,
            return_id=return_id,
            line_no=line.line_no,
            component_sku_id=component,
            kept_location_id=location_id,
            sku_id=past.history.lines[key].sku_id,
            reason=line.reason,
            authorized=units,
            location_id=location_id,
        )
        for location_id, units in places.items()
    ]


def _places(line: LineKey, component: int, quantity: int, past: _Past) -> dict[int, int]:
    """Location id -> units that go back there: those that it shipped, less those that are back there or on their way."""
    per_unit, rows = past.history.per_unit(line), past.history.of_line(line)
    left_at: dict[int, int] = {}
    for location_id, shipped in past.came_from[line].items():
        there = [row for row in rows if row.location_id == location_id]
        claimed = pieces(there, per_unit, lambda row: row.claimed)
        left = {piece: max(0, shipped * each - claimed[piece]) for piece, each in per_unit.items()}
        left_at[location_id] = whole(left, per_unit) if component == ITSELF else left[component]
    places: dict[int, int] = {}
    by_most = sorted(left_at, key=lambda location_id: (-left_at[location_id], location_id))
    for location_id in by_most:
        if units := min(quantity, left_at[location_id]):
            places[location_id] = units
            quantity -= units
    if quantity:  # others of these units went elsewhere by name, or make up a whole kit only together
        places[by_most[0]] = places.get(by_most[0], 0) + quantity
    return places
