"""Receiving: units of returns arrive, are restocked or scrapped, and what they cost is given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.arrivals import Arriving, Restocking, expired_of, serial_fault
from ordino.aftercare.events import ReturnedUnits, ReturnReceived
from ordino.aftercare.model import Received, ReceivedLine, ReturnReceipt, ReturnRefusal, ReturnRefused
from ordino.aftercare.repeats import repeats_of
from ordino.aftercare.returns.authorization import Refusal, line_fault
from ordino.aftercare.returns.history import ITSELF, History, LineKey, Row, RowKey, history_of, write_rows
from ordino.aftercare.returns.take import copied, expected, take
from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.inventory import ledger as stock
from ordino.inventory import named
from ordino.inventory.detail import scrap_returned
from ordino.inventory.events import StockReceived
from ordino.inventory.model import StockMove
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import LineRow, State, UnitMove

sql = statements("ordino.aftercare")


class _Known(Struct, kw_only=True):
    """What receipts are judged by."""

    history: History
    network: NetworkFacts
    of_kits: Mapping[int, object]
    names: named.Names


class _Came(NamedTuple):
    """Units of a line of a receipt that leave one row of its return."""

    line: int  # the place in the receipt
    row: Row
    restocked: int
    scrapped: int
    location_id: int


class _Arrival(Struct, kw_only=True):
    """What a receipt does: ``rows`` are those of its return after it, ``places`` the locations where its lines arrived."""

    receipt: ReturnReceipt
    event_id: UUID
    rows: list[Row]
    places: list[str]
    refund_minor: int
    given_back: dict[LineKey, int]  # for components, of lines of which no kit became whole
    parted: list[LineRow]  # lines of kits of which other parts are back than before
    unit_moves: list[UnitMove]
    stock_moves: list[StockMove]
    scrapped: list[tuple[int, Sequence[str]]]  # (SKU id, serial numbers)


async def receive(tx: Tx, receipts: Sequence[ReturnReceipt], *, at: datetime) -> list[Received | ReturnRefused]:
    """One outcome a receipt, in order. Restocked units are in stock at once; the refund follows the event."""
    history = await history_of(tx, [r.order_id for r in receipts])
    known = _Known(
        history=history,
        network=await facts(tx),
        of_kits=(await kits(tx)).parts,
        names=await named.names(tx, _named(receipts, history)),
    )
    repeats = repeats_of(receipts)
    judged: list[_Arrival | ReturnRefused] = []
    for index, (receipt, event_id) in enumerate(zip(receipts, new_ids(at, len(receipts)), strict=True)):
        arrival = _judge(receipt, event_id, known, at, repeated=index in repeats)
        judged.append(
            ReturnRefused(receipt.order_id, receipt.return_id, *arrival) if isinstance(arrival, tuple) else arrival
        )
    statuses, aside = await _write(tx, [one for one in judged if isinstance(one, _Arrival)], history, at)
    return [
        one
        if isinstance(one, ReturnRefused)
        else Received(
            one.receipt.order_id,
            one.receipt.return_id,
            sum(line.restocked for line in one.receipt.lines),
            sum(line.scrapped for line in one.receipt.lines),
            one.refund_minor,
            statuses.get(one.receipt.order_id, history.orders[one.receipt.order_id].status),
            expired_of(one.stock_moves, aside),
        )
        for one in judged
    ]


def _named(receipts: Sequence[ReturnReceipt], history: History) -> list[tuple[int, Sequence[str]]]:
    """(SKU id, serial numbers) that receipts name."""
    wanted: list[tuple[int, Sequence[str]]] = []
    for receipt in receipts:
        for line in receipt.lines:
            serials = [*(line.serials or ()), *(line.scrapped_serials or ())]
            sku_id = _sku_of(history, (receipt.order_id, line.line_no), line)
            if serials and sku_id is not None:
                wanted.append((sku_id, serials))
    return wanted


def _sku_of(history: History, key: LineKey, line: ReceivedLine) -> int | None:
    """What arrived, if there is such a line with such a component."""
    component = history.component_named(key, line.component)
    return history.lines[key].sku_id if component == ITSELF and key in history.lines else component


def _judge(
    receipt: ReturnReceipt, event_id: UUID, known: _Known, at: datetime, *, repeated: bool
) -> _Arrival | Refusal:
    """What a receipt does, or why it does nothing. Later receipts of the batch are judged after it."""
    if repeated:
        return ReturnRefusal.REPEATED, "The same receipt appears earlier in this batch; it is carried out once.", ""
    history = known.history
    rows = copied(history.of_return(receipt.order_id, receipt.return_id))
    if wrong := _wrong(receipt, rows, known):
        return wrong
    came: list[_Came] = []
    # Whole kits first: what is left of them may arrive as components.
    for index, line in sorted(enumerate(receipt.lines), key=lambda one: one[1].component is not None):
        found = _find(receipt, index, line, rows, known)
        if isinstance(found, tuple):
            return found
        for one in found:
            one.row.restocked += one.restocked
            one.row.scrapped += one.scrapped
            one.row.received_at = at
        came += found
    if wrong := _wrong_serials(receipt, known) or _wrong_kits(receipt, history, known.of_kits):
        return wrong
    return _carried_out(receipt, event_id, rows, came, known)


def _wrong(receipt: ReturnReceipt, rows: Sequence[Row], known: _Known) -> Refusal | None:
    """What is named that is not there, or makes no sense."""
    if not rows:
        detail = f"The order {receipt.order_id} has no return {receipt.return_id}; authorize it first."
        return ReturnRefusal.UNKNOWN, detail, "/return_id"
    if receipt.location is not None and receipt.location not in known.network.location_ids:
        return ReturnRefusal.UNKNOWN, f"There is no location {receipt.location!r}.", "/location"
    if not receipt.lines:
        return ReturnRefusal.INVALID, "Name the lines that came back.", "/lines"
    there = {row.line_no for row in rows}
    seen: set[tuple[int, str | None]] = set()
    for index, line in enumerate(receipt.lines):
        pointer = f"/lines/{index}"
        if line.line_no not in there:
            return ReturnRefusal.UNKNOWN, f"The return has no line {line.line_no}.", f"{pointer}/line_no"
        key = (receipt.order_id, line.line_no)
        if wrong := line_fault(known.history, key, line.component, seen, pointer):
            return wrong
        if line.restocked < 0 or line.scrapped < 0 or line.restocked + line.scrapped == 0:
            detail = f"Say how many units were restocked or scrapped, not {line.restocked} and {line.scrapped}."
            return ReturnRefusal.INVALID, detail, f"{pointer}/restocked"
    return None


def _find(
    receipt: ReturnReceipt, index: int, line: ReceivedLine, rows: list[Row], known: _Known
) -> list[_Came] | Refusal:
    """The rows that units of a line leave; the first of them have the restocked units."""
    key = (receipt.order_id, line.line_no)
    component = known.history.component_named(key, line.component)
    assert component is not None, "what is named was found"
    back, can = line.restocked + line.scrapped, expected(known.history, rows, key, component)
    if back > can:
        what = f"line {line.line_no}" if line.component is None else f"{line.component!r} of line {line.line_no}"
        detail = f"Of {what}, only {can} authorized units are still expected, not {back}; authorize the others first."
        return ReturnRefusal.TOO_MANY, detail, f"/lines/{index}"
    bound_for = sorted(
        {
            row.location_id
            for row in rows
            if row.line_no == line.line_no and row.component_sku_id in (component, ITSELF) and row.outstanding
        }
    )
    named_id = None if receipt.location is None else known.network.location_ids[receipt.location]
    if named_id is None and len(bound_for) > 1:
        places = " and ".join(repr(known.network.locations[location_id].code) for location_id in bound_for)
        detail = f"Line {line.line_no} of the return goes to {places}; name the `location` where these units arrived."
        return ReturnRefusal.INVALID, detail, "/location"
    arrived_at = bound_for[0] if named_id is None else named_id
    came, restocked = [], line.restocked
    for row, units in take(known.history, rows, key, component, back, first=arrived_at):
        shelved = min(restocked, units)
        restocked -= shelved
        came.append(_Came(index, row, shelved, units - shelved, arrived_at))
    return came


def _wrong_serials(receipt: ReturnReceipt, known: _Known) -> Refusal | None:
    arriving = []
    for line in receipt.lines:
        sku_id = _sku_of(known.history, (receipt.order_id, line.line_no), line)
        assert sku_id is not None, "what is named was found"
        arriving.append(
            Arriving(
                line_no=line.line_no,
                sku_id=sku_id,
                restocked=line.restocked,
                scrapped=line.scrapped,
                serials=line.serials,
                scrapped_serials=line.scrapped_serials,
            )
        )
    wrong = serial_fault(receipt.order_id, arriving, known.names)
    if wrong is None:
        return None
    reason = ReturnRefusal.UNKNOWN if wrong.unknown else ReturnRefusal.INVALID
    return reason, wrong.sentence, f"/lines{wrong.pointer}"


def _wrong_kits(receipt: ReturnReceipt, history: History, of_kits: Mapping[int, object]) -> Refusal | None:
    """What is stocked again must not have become a kit since it was sold."""
    for index, line in enumerate(receipt.lines):
        key = (receipt.order_id, line.line_no)
        if line.restocked and any(sku_id in of_kits for sku_id in _stocked(history, key, line)):
            what = f"The SKU of line {line.line_no}"
            if key in history.components:
                what = (
                    f"A component of the kit of line {line.line_no}" if line.component is None else repr(line.component)
                )
            detail = (
                f"{what} has become a kit since it was sold, and a kit has no stock of its own: "
                "say that the units were scrapped, and receive their components by POST /v1/receipts."
            )
            return ReturnRefusal.KIT, detail, f"/lines/{index}/restocked"
    return None


def _stocked(history: History, key: LineKey, line: ReceivedLine) -> dict[int, int]:
    """SKU id -> units of it that one restocked unit puts on the shelf."""
    sku_id = _sku_of(history, key, line)
    assert sku_id is not None, "what is named was found"
    return {sku_id: 1} if line.component is not None or key not in history.components else history.per_unit(key)


def _carried_out(
    receipt: ReturnReceipt, event_id: UUID, rows: list[Row], came: Sequence[_Came], known: _Known
) -> _Arrival:
    history, order_id = known.history, receipt.order_id
    line_nos = sorted({line.line_no for line in receipt.lines})
    back = {line_no: history.parts_back((order_id, line_no)) for line_no in line_nos}
    history.rows[order_id] = [row for row in history.rows[order_id] if row.return_id != receipt.return_id] + rows
    before = {line_no: history.lines[order_id, line_no].parts_back for line_no in line_nos}
    units, refunds = dict.fromkeys(line_nos, 0), dict.fromkeys(line_nos, 0)
    places = [""] * len(receipt.lines)
    shelves = Restocking({}, {})
    scrapped: list[tuple[int, Sequence[str]]] = []
    for line in receipt.lines:
        if line.scrapped_serials and (sku_id := _sku_of(history, (order_id, line.line_no), line)) is not None:
            scrapped.append((sku_id, line.scrapped_serials))
    for one in came:
        line, key = receipt.lines[one.line], (order_id, one.row.line_no)
        places[one.line] = known.network.locations[one.location_id].code
        coming = (one.restocked + one.scrapped) * history.parts_of(key, one.row.component_sku_id)
        last = back[one.row.line_no] + coming == history.parts_back(key)
        refund, whole = history.take_back(key, back=back[one.row.line_no], coming=coming, last=last)
        back[one.row.line_no] += coming
        one.row.refund_minor += refund
        refunds[one.row.line_no] += refund
        units[one.row.line_no] += whole
        for sku_id, each in _stocked(history, key, line).items() if one.restocked else ():
            shelves.add(sku_id, one.location_id, one.row.line_no, one.restocked * each)
    for line, place in zip(receipt.lines, places, strict=True):
        if line.serials and (sku_id := _sku_of(history, (order_id, line.line_no), line)) is not None:
            shelves.name(sku_id, known.network.location_ids[place], line.line_no, line.serials)
    unit_moves = [
        UnitMove(order_id, line_no, State.DELIVERED, State.RETURNED, whole, event_id, None, whole, 0, refunds[line_no])
        for line_no, whole in units.items()
        if whole
    ]
    return _Arrival(
        receipt=receipt,
        event_id=event_id,
        rows=rows,
        places=places,
        refund_minor=sum(refunds.values()),
        given_back={(order_id, line_no): minor for line_no, minor in refunds.items() if minor and not units[line_no]},
        parted=[row for n in line_nos if (row := history.lines[order_id, n]).parts_back != before[n]],
        unit_moves=unit_moves,
        stock_moves=shelves.moves(order_id, event_id),
        scrapped=scrapped,
    )


async def _write(
    tx: Tx, arrivals: Sequence[_Arrival], history: History, at: datetime
) -> tuple[dict[UUID, str], dict[stock.Key, int]]:
    """The orders' statuses where they changed, and how many units were set aside because their lots have expired, by position."""
    if not arrivals:
        return {}, {}
    changed: dict[RowKey, Row] = {}
    events: list[Event] = []
    for one in arrivals:
        changed |= {row.key: row for row in one.rows}
        lines = [
            ReturnedUnits(**structs.asdict(line), location=place)
            for line, place in zip(one.receipt.lines, one.places, strict=True)
        ]
        payload = ReturnReceived(return_id=one.receipt.return_id, lines=lines, refund_minor=one.refund_minor)
        version = history.orders[one.receipt.order_id].flow_version
        events.append(Event(one.receipt.order_id, one.event_id, at, payload, version))
    await write_rows(tx, list(changed.values()))
    touched = sorted({(one.receipt.order_id, one.receipt.return_id) for one in arrivals})
    await sql.mark_received(
        tx,
        order_ids=[order_id for order_id, _ in touched],
        return_ids=[return_id for _, return_id in touched],
        at=at,
    )
    given_back: dict[LineKey, int] = {}
    for one in arrivals:
        for line, minor in one.given_back.items():
            given_back[line] = given_back.get(line, 0) + minor
    await orders_ledger.give_back(tx, given_back, {})
    parted = {
        (line.order_id, line.line_no): line for one in arrivals for line in one.parted
    }  # as the last receipt leaves them
    await orders_ledger.count_parts(tx, parted.values())
    statuses = await orders_ledger.move_units(tx, [move for one in arrivals for move in one.unit_moves], at=at)
    stock_moves = [move for one in arrivals for move in one.stock_moves]
    if stock_moves:
        arrival_id = new_id(at)
        arrived = StockReceived(sku_ids=sorted({move.sku_id for move in stock_moves}))
        events.append(Event(arrival_id, arrival_id, at, arrived, await tx.plans.active(tx)))
    await record(tx, events)
    aside = await stock.post(tx, stock_moves, at=at)
    for one in arrivals:
        for sku_id, serials in one.scrapped:
            await scrap_returned(tx, sku_id, serials, cause_id=one.event_id, at=at)
    return statuses, aside
