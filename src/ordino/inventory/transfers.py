"""Transfers between locations: requested, sent, received, with all differences told.

TRA-1  Every unit of a transfer's line is in one state, and a transfer's counts are the sums over its lines.
TRA-2  What was sent has left the origin's stock, what was received is in the destination's, and nothing else.
TRA-3  Units of a requested transfer are reserved at the origin: nobody else is promised them.
TRA-4  No more is received than is under way. What arrived beyond that is a surplus only where a receipt says so, with the last
       units of its line: a receipt that is sent again makes no stock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import kits
from ordino.core import payloads
from ordino.core.codes import Code
from ordino.core.database import Raced, Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.events import Event, record
from ordino.core.extent import extent_fault
from ordino.core.ids import new_id, new_ids
from ordino.core.statements import statements
from ordino.core.times import Instant, expected_fault
from ordino.inventory import detail, holds, ledger, named
from ordino.inventory.adjust import Document
from ordino.inventory.detail import Serials
from ordino.inventory.events import (
    StockReceived,
    TransferCancelled,
    TransferReceived,
    TransferRequested,
    TransferSent,
    TransferUnits,
)
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import NetworkFacts, facts

sql = statements("ordino.inventory")
MAX_UNITS = 10**9
MAX_LINES = 1000
DAYS = 7
DAMAGED = "damaged"
SURPLUS = "surplus"

STANDS = {
    "requested": "Nothing of the transfer was sent yet.",
    "partially_shipped": "A part of the transfer was sent.",
    "in_transit": "The whole transfer is in transit.",
    "received": "The transfer is finished.",
    "cancelled": "The transfer was cancelled.",
}
"""What a transfer's status says, as a sentence."""

Units = Annotated[int, Meta(ge=1, le=MAX_UNITS)]


class TransferLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    quantity: Units


class NewTransfer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units that are to go from a location to another; without a date, they are expected in a week."""

    origin: Code
    destination: Code
    lines: Annotated[list[TransferLine], Meta(min_length=1, max_length=MAX_LINES)]
    expected_at: Instant | None = None
    document: Document | None = None


class SentLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    line_no: int
    quantity: Units
    serials: Serials | None = None


class ShipmentBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has left: units of ``lines``, or ``all`` that is left to send."""

    lines: Annotated[list[SentLine], Meta(min_length=1, max_length=MAX_LINES)] | None = None
    all: bool = False
    expected_at: Instant | None = None


class Shipment(ShipmentBody, frozen=True, kw_only=True):
    transfer_id: UUID


class ArrivedLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``received`` units are fine, ``damaged`` ones are set aside; together no more than are under way. ``surplus`` units are fine,
    and arrived beyond those: they are told together with the last units of the line.

    Of SKUs that are tracked by lot or serial number, all are received first, and damaged or surplus ones are told of by name
    afterwards. ``serials`` names those that arrived, unless everything under way did.
    """

    line_no: int
    received: Annotated[int, Meta(ge=0, le=MAX_UNITS)] = 0
    damaged: Annotated[int, Meta(ge=0, le=MAX_UNITS)] = 0
    surplus: Annotated[int, Meta(ge=0, le=MAX_UNITS)] = 0
    serials: Serials | None = None


class ArrivalBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has arrived: units of ``lines``, or ``all`` that was sent. ``last``: what is still under way is lost."""

    lines: Annotated[list[ArrivedLine], Meta(min_length=1, max_length=MAX_LINES)] | None = None
    all: bool = False
    last: bool = False


class Arrival(ArrivalBody, frozen=True, kw_only=True):
    transfer_id: UUID


class TransferRefusal(StrEnum):
    """Why nothing was done, in the order in which the reasons are tested."""

    INVALID = "invalid"  # Neither lines nor all, or units or lines that make no sense.
    UNKNOWN = "unknown"  # No such transfer, line, location or SKU.
    KIT = "kit"  # A kit has no stock of its own.
    TOO_FEW = "too_few"  # Less is free at the origin.
    TOO_MANY = "too_many"  # More than is left to send, or under way.
    TOO_LATE = "too_late"  # Nothing is left to do.


class TransferDone(Struct, frozen=True, tag_field="outcome", tag="done"):
    """``status`` is `requested`, `partially_shipped`, `in_transit`, `received` or `cancelled`."""

    transfer_id: UUID
    status: str


class TransferRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    transfer_id: UUID | None
    reason: TransferRefusal
    detail: str
    pointer: str = ""


class TransferLineView(Struct, frozen=True):
    """``requested`` = ``open`` + ``in_transit`` + ``received`` + ``lost`` + ``cancelled``; ``surplus`` arrived beyond them."""

    line_no: int
    sku: str
    requested: int
    open: int
    in_transit: int
    received: int
    lost: int
    cancelled: int
    surplus: int


class TransferView(Struct, frozen=True):
    transfer_id: UUID
    document: str | None
    origin: str
    destination: str
    status: str
    requested_at: datetime
    expected_at: datetime
    lines: list[TransferLineView]


Outcome = TransferDone | TransferRefused


class _Came(NamedTuple):
    """Units of a line that arrived: fine ones and damaged ones of those that were sent, and fine ones beyond them."""

    fine: int = 0
    damaged: int = 0
    surplus: int = 0


class _Line(Struct):
    sku_id: int
    open: int
    in_transit: int


class _Delta(Struct):
    """How a line's counts change."""

    open: int = 0
    in_transit: int = 0
    received: int = 0
    lost: int = 0
    cancelled: int = 0
    surplus: int = 0


Key = tuple[UUID, int]


async def request(tx: Tx, transfers: Sequence[NewTransfer], *, at: datetime) -> list[Outcome]:
    """One outcome a transfer, in order; each is reserved at its origin whole, or refused. Buffers do not stop a transfer;
    what orders wait for and are still to be offered does.
    """
    network, of_kits = await facts(tx), (await kits(tx)).parts
    skus = await sku_ids(tx, [line.sku for wanted in transfers for line in wanted.lines])
    if tx.careful:
        await holds.lapse_and_hold(tx, skus.values(), at=at)
    free = (await on_shelf(tx, list(skus.values()), at=at, lock=True)).free
    if (
        not tx.careful
        and any(_refusal(wanted, network, skus, of_kits, free, at) for wanted in transfers)
        and await holds.any_lapsed(tx, skus.values(), at=at)
    ):
        raise Raced([])  # those let go before the stock is held
    outcomes: list[Outcome] = []
    granted: list[tuple[UUID, NewTransfer]] = []
    events: list[Event] = []
    moves: list[StockMove] = []
    version = await tx.plans.active(tx) if transfers else 0
    for wanted, transfer_id in zip(transfers, new_ids(at, len(transfers)), strict=True):
        refusal = _refusal(wanted, network, skus, of_kits, free, at)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        origin, event_id = network.location_ids[wanted.origin], new_id(at)
        for line_no, line in enumerate(wanted.lines, 1):
            free[skus[line.sku]][origin] -= line.quantity
            moves.append(
                _move(MoveKind.RESERVED, skus[line.sku], origin, event_id, transfer_id, line_no, wanted.document)(
                    reserved_delta=line.quantity
                )
            )
        units = [TransferUnits(line.sku, line.quantity) for line in wanted.lines]
        payload = TransferRequested(origin=wanted.origin, destination=wanted.destination, lines=units)
        events.append(Event(transfer_id, event_id, at, payload, version))
        granted.append((transfer_id, wanted))
        outcomes.append(TransferDone(transfer_id, "requested"))
    if granted:
        await _write(tx, granted, network, skus, at)
        await record(tx, events)
        await ledger.post(tx, moves, at=at)
    return outcomes


def _refusal(
    wanted: NewTransfer,
    network: NetworkFacts,
    skus: Mapping[str, int],
    of_kits: Mapping[int, Any],
    free: Mapping[int, Mapping[int, int]],
    at: datetime,
) -> TransferRefused | None:
    def refuse(reason: TransferRefusal, detail: str, pointer: str) -> TransferRefused:
        return TransferRefused(None, reason, detail, pointer)

    if wanted.origin == wanted.destination:
        return refuse(
            TransferRefusal.INVALID, "Origin and destination are the same; name another destination.", "/destination"
        )
    if wanted.expected_at is not None and (wrong := expected_fault(wanted.expected_at, at)) is not None:
        return refuse(TransferRefusal.INVALID, wrong, "/expected_at")
    for name in ("origin", "destination"):
        if (code := getattr(wanted, name)) not in network.location_ids:
            return refuse(TransferRefusal.UNKNOWN, f"There is no location {code!r}.", f"/{name}")
    asked: dict[int, int] = defaultdict(int)
    origin = network.location_ids[wanted.origin]
    for index, line in enumerate(wanted.lines):
        pointer = f"/lines/{index}"
        if not 1 <= line.quantity <= MAX_UNITS:
            return refuse(TransferRefusal.INVALID, f"Transfer 1 to {MAX_UNITS} units.", f"{pointer}/quantity")
        if line.sku not in skus:
            return refuse(TransferRefusal.UNKNOWN, f"The SKU {line.sku!r} does not exist.", f"{pointer}/sku")
        if skus[line.sku] in of_kits:
            detail = f"{line.sku!r} is a kit and has no stock of its own; name its components."
            return refuse(TransferRefusal.KIT, detail, f"{pointer}/sku")
        asked[skus[line.sku]] += line.quantity
        there = free.get(skus[line.sku], {}).get(origin, 0)
        if asked[skus[line.sku]] > there:
            detail = f"Only {there} units of {line.sku!r} are free at {wanted.origin!r}; ask for less, or cancel orders first."
            return refuse(TransferRefusal.TOO_FEW, detail, f"{pointer}/quantity")
    return None


async def _write(
    tx: Tx, granted: Sequence[tuple[UUID, NewTransfer]], network: NetworkFacts, skus: Mapping[str, int], at: datetime
) -> None:
    lines = [(id_, line_no, line) for id_, wanted in granted for line_no, line in enumerate(wanted.lines, 1)]
    await sql.write_transfers(
        tx,
        transfer_ids=[id_ for id_, _ in granted],
        documents=[wanted.document for _, wanted in granted],
        origin_ids=[network.location_ids[wanted.origin] for _, wanted in granted],
        destination_ids=[network.location_ids[wanted.destination] for _, wanted in granted],
        expected=[wanted.expected_at or at + timedelta(days=DAYS) for _, wanted in granted],
        requested=[sum(line.quantity for line in wanted.lines) for _, wanted in granted],
        line_transfer_ids=[id_ for id_, _, _ in lines],
        line_nos=[line_no for _, line_no, _ in lines],
        sku_ids=[skus[line.sku] for _, _, line in lines],
        quantities=[line.quantity for _, _, line in lines],
        at=at,
    )


async def ship(tx: Tx, shipments: Sequence[Shipment], *, at: datetime) -> list[Outcome]:
    """One outcome a shipment, in order. Units leave the origin's stock and are under way."""
    desk = await _desk(tx, [(shipment.transfer_id, shipment.lines or ()) for shipment in shipments], at)
    await desk.look_at_lots()
    for index, shipment in enumerate(shipments):
        if fault := extent_fault("lines", shipment.lines, shipment.all, of="everything that is left to send"):
            desk.outcomes[index] = _refuse_extent(shipment.transfer_id, fault)
            continue
        lines = desk.lines.get(shipment.transfer_id, {})
        sent = {n: line.open for n, line in lines.items() if line.open}
        if shipment.lines is not None:
            sent = defaultdict(int)
            for said in shipment.lines:
                sent[said.line_no] += said.quantity
        serials = _serials(shipment.lines or ())
        refusal = (
            desk.doubt(shipment.transfer_id, sent)
            or desk.doubt_sent(shipment.transfer_id, sent, serials)
            or desk.doubt_good(shipment.transfer_id, sent)
            or _doubt_expected(shipment, at)
        )
        if refusal is not None:
            desk.outcomes[index] = refusal
            continue
        event_id = desk.tell(shipment.transfer_id, TransferSent, sent)
        row = desk.rows[shipment.transfer_id]
        for line_no, quantity in sent.items():
            desk.move(shipment.transfer_id, line_no, open=-quantity, in_transit=quantity)
            move = _move(
                MoveKind.SENT,
                lines[line_no].sku_id,
                row["origin_id"],
                event_id,
                row["transfer_id"],
                line_no,
                row["document"],
            )
            desk.moves.append(move(on_hand_delta=-quantity, reserved_delta=-quantity, serials=serials.get(line_no, ())))
        if shipment.expected_at is not None:
            desk.expected[shipment.transfer_id] = shipment.expected_at
        desk.done[index] = shipment.transfer_id
    return await desk.end(len(shipments))


def _doubt_expected(shipment: Shipment, at: datetime) -> TransferRefused | None:
    wrong = None if shipment.expected_at is None else expected_fault(shipment.expected_at, at)
    if wrong is None:
        return None
    return TransferRefused(shipment.transfer_id, TransferRefusal.INVALID, wrong, "/expected_at")


def _refuse_extent(transfer_id: UUID, fault: Fault) -> TransferRefused:
    return TransferRefused(transfer_id, TransferRefusal.INVALID, fault.detail, fault.pointer)


async def receive(tx: Tx, arrivals: Sequence[Arrival], *, at: datetime) -> list[Outcome]:
    """One outcome an arrival, in order. Units are in the destination's stock at once; damaged ones are set aside there."""
    desk = await _desk(tx, [(arrival.transfer_id, arrival.lines or ()) for arrival in arrivals], at)
    of_kits = (await kits(tx)).parts
    for index, arrival in enumerate(arrivals):
        if fault := extent_fault("lines", arrival.lines, arrival.all, of="everything that was sent"):
            desk.outcomes[index] = _refuse_extent(arrival.transfer_id, fault)
            continue
        lines = desk.lines.get(arrival.transfer_id, {})
        came = {n: _Came(line.in_transit) for n, line in lines.items() if line.in_transit}
        if arrival.lines is not None:
            came = {}
            for said in arrival.lines:
                before = came.get(said.line_no, _Came())
                more = (said.received, said.damaged, said.surplus)
                came[said.line_no] = _Came(*(a + b for a, b in zip(before, more, strict=True)))
        serials = _serials(arrival.lines or ())
        refusal = (
            desk.doubt_under_way(arrival.transfer_id, came, last=arrival.last)
            or desk.doubt_kits(arrival.transfer_id, came, of_kits)
            or desk.doubt_came(arrival.transfer_id, came, serials)
        )
        if refusal is not None:
            desk.outcomes[index] = refusal
            continue
        event_id = desk.tell(arrival.transfer_id, TransferReceived, {n: sum(units) for n, units in came.items()})
        row = desk.rows[arrival.transfer_id]
        for line_no, (fine, broken, surplus) in came.items():
            units, line = fine + broken, lines[line_no]
            desk.move(arrival.transfer_id, line_no, in_transit=-units, received=units, surplus=surplus)
            if not units:
                continue
            place = (line.sku_id, row["destination_id"], event_id, row["transfer_id"], line_no, row["document"])
            desk.moves.append(_move(MoveKind.ARRIVED, *place)(on_hand_delta=units, serials=serials.get(line_no, ())))
            if broken:
                aside = _move(MoveKind.SET_ASIDE, *place)
                desk.moves.append(aside(on_hand_delta=-broken, unavailable_delta=broken, reason=DAMAGED))
            if surplus:  # by a cause of its own: it was never sent
                place = (line.sku_id, row["destination_id"], new_id(at), row["transfer_id"], line_no, row["document"])
                desk.moves.append(_move(MoveKind.ARRIVED, *place)(on_hand_delta=surplus, reason=SURPLUS))
            if fine or surplus:
                desk.arrived.add(line.sku_id)
        if arrival.last:
            for line_no, line in lines.items():
                desk.lost[event_id, arrival.transfer_id, line_no] = line.sku_id
                desk.move(arrival.transfer_id, line_no, in_transit=-line.in_transit, lost=line.in_transit)
        desk.done[index] = arrival.transfer_id
    return await desk.end(len(arrivals))


async def cancel(tx: Tx, transfer_ids: Sequence[UUID], *, at: datetime) -> list[Outcome]:
    """One outcome a transfer, in order. What has not been sent stays, and is free again."""
    desk = await _desk(tx, [(transfer_id, ()) for transfer_id in transfer_ids], at)
    for index, transfer_id in enumerate(transfer_ids):
        lines = desk.lines.get(transfer_id, {})
        left = {n: line.open for n, line in lines.items() if line.open}
        refusal = desk.doubt(transfer_id, left)
        if refusal is not None:
            desk.outcomes[index] = refusal
            continue
        event_id = desk.tell(transfer_id, TransferCancelled, left)
        row = desk.rows[transfer_id]
        for line_no, quantity in left.items():
            desk.move(transfer_id, line_no, open=-quantity, cancelled=quantity)
            move = _move(
                MoveKind.RELEASED,
                lines[line_no].sku_id,
                row["origin_id"],
                event_id,
                transfer_id,
                line_no,
                row["document"],
            )
            desk.moves.append(move(reserved_delta=-quantity))
            desk.arrived.add(lines[line_no].sku_id)
        desk.done[index] = transfer_id
    return await desk.end(len(transfer_ids))


def _move(
    kind: MoveKind, sku_id: int, location_id: int, cause_id: UUID, transfer_id: UUID, line_no: int, document: str | None
) -> Any:
    def make(**deltas: Any) -> StockMove:
        return StockMove(
            sku_id, location_id, cause_id, kind, order_id=transfer_id, line_no=line_no, document=document, **deltas
        )

    return make


def _serials(lines: Sequence[SentLine | ArrivedLine]) -> dict[int, tuple[str, ...]]:
    """Line number -> the serial numbers that are named for it."""
    serials: dict[int, tuple[str, ...]] = defaultdict(tuple)
    for said in lines:
        serials[said.line_no] += tuple(said.serials or ())
    return serials


class _Desk:
    """Some transfers, locked, and what is done to them in one transaction."""

    def __init__(
        self,
        tx: Tx,
        rows: Mapping[UUID, Any],
        lines: dict[UUID, dict[int, _Line]],
        names: named.Names,
        version: int,
        at: datetime,
    ) -> None:
        self._tx = tx
        self._version = version
        self._at = at
        self._deltas: dict[Key, _Delta] = {}
        self._events: list[Event] = []
        self.rows = rows
        self.lines = lines
        self.moves: list[StockMove] = []
        self.outcomes: dict[int, Outcome] = {}
        self.done: dict[int, UUID] = {}
        self.expected: dict[UUID, datetime] = {}
        self.arrived: set[int] = set()
        self.lost: dict[tuple[UUID, UUID, int], int] = {}  # (event id, transfer id, line) -> SKU id
        self._names = names
        self.shelves: dict[tuple[int, int], detail.Shelf] = {}  # at origins, of SKUs with lots

    def doubt(self, transfer_id: UUID, units: Mapping[int, int]) -> TransferRefused | None:
        """Why so many units of lines cannot be sent, or cancelled."""
        if (wrong := self._unknown(transfer_id, units)) is not None:
            return wrong
        lines = self.lines[transfer_id]
        if not any(line.open for line in lines.values()):
            return TransferRefused(
                transfer_id, TransferRefusal.TOO_LATE, f"{self._stands(transfer_id)} Nothing is left to send."
            )
        for line_no, quantity in units.items():
            if quantity > lines[line_no].open:
                said = f"Line {line_no} has {lines[line_no].open} units left to send, not {quantity}; send at most that many."
                return TransferRefused(transfer_id, TransferRefusal.TOO_MANY, said, "/lines")
        return None

    def doubt_under_way(self, transfer_id: UUID, came: Mapping[int, _Came], *, last: bool) -> TransferRefused | None:
        """Why so many units cannot have arrived: what was received before, or was never sent, is not under way."""

        def refuse(reason: TransferRefusal, detail: str, pointer: str = "/lines") -> TransferRefused:
            return TransferRefused(transfer_id, reason, detail, pointer)

        if (wrong := self._unknown(transfer_id, {n: sum(units) for n, units in came.items()})) is not None:
            return wrong
        lines = self.lines[transfer_id]
        if not any(line.in_transit for line in lines.values()):
            if self.rows[transfer_id]["status"] == "requested":
                detail = f"Nothing was sent yet; report the shipment first (POST /v1/transfers/{transfer_id}/shipment)."
                return refuse(TransferRefusal.INVALID, detail, "")
            said = "Nothing is in transit; receive anything else that arrived with POST /v1/receipts."
            return refuse(TransferRefusal.TOO_LATE, f"{self._stands(transfer_id)} {said}", "")
        if not last and not any(sum(units) for units in came.values()):
            detail = 'No units are named; say how many arrived, or send `"last": true` if no more will.'
            return refuse(TransferRefusal.INVALID, detail)
        for line_no, (fine, damaged, surplus) in came.items():
            under_way = lines[line_no].in_transit
            if (fine or damaged or surplus) and not under_way:
                detail = f"Nothing of line {line_no} is in transit; receive anything else that arrived with POST /v1/receipts."
                return refuse(TransferRefusal.TOO_MANY, detail)
            if fine + damaged > under_way:
                tracked = self._names.tracking(lines[line_no].sku_id) is not None
                how = "receive the others with POST /v1/receipts" if tracked else "put the extra units in `surplus`"
                detail = (
                    f"Line {line_no} has {under_way} units in transit, not {fine + damaged}. "
                    f"If more arrived than were sent, {how}."
                )
                return refuse(TransferRefusal.TOO_MANY, detail)
            if surplus and fine + damaged < under_way:
                detail = (
                    f"Line {line_no} has {under_way} units in transit, and only {fine + damaged} of them are `received` or "
                    "`damaged`. Report those first; only units beyond them are a `surplus`."
                )
                return refuse(TransferRefusal.INVALID, detail)
        return None

    def _unknown(self, transfer_id: UUID, units: Mapping[int, int]) -> TransferRefused | None:
        if transfer_id not in self.rows:
            detail = f"There is no transfer {transfer_id}."
            return TransferRefused(transfer_id, TransferRefusal.UNKNOWN, detail, "/transfer_id")
        for line_no, quantity in units.items():
            if line_no not in self.lines[transfer_id]:
                numbers = ", ".join(map(str, sorted(self.lines[transfer_id])[:20]))
                detail = f"The transfer has no line {line_no}; it has {numbers}."
                return TransferRefused(transfer_id, TransferRefusal.UNKNOWN, detail, "/lines")
            if not 0 <= quantity <= MAX_UNITS:
                return TransferRefused(transfer_id, TransferRefusal.INVALID, f"Name 0 to {MAX_UNITS} units.", "/lines")
        return None

    def _stands(self, transfer_id: UUID) -> str:
        """A transfer's status as a sentence."""
        return STANDS[self.rows[transfer_id]["status"]]

    def doubt_sent(
        self, transfer_id: UUID, units: Mapping[int, int], serials: Mapping[int, Sequence[str]]
    ) -> TransferRefused | None:
        """Why the serial numbers of lines do not fit: a SKU that is tracked so names each unit that is sent."""
        origin = self.rows[transfer_id]["origin_id"]
        return self._misnamed(
            transfer_id,
            self._namings(transfer_id, units, serials),
            lambda known, _: (known.state, known.location_id) == ("in_stock", origin),
            done="sent",
            else_="does not lie on a shelf of the origin",
        )

    def doubt_kits(
        self, transfer_id: UUID, line_nos: Iterable[int], of_kits: Mapping[int, Any]
    ) -> TransferRefused | None:
        """Why units that were found again, or came beyond what was sent, cannot be received: their SKU has become a kit since."""
        for line_no in line_nos:
            if self.lines[transfer_id][line_no].sku_id in of_kits:
                said = (
                    f"The SKU of line {line_no} has become a kit, which has no stock of its own: receive the components with "
                    "POST /v1/receipts."
                )
                return TransferRefused(transfer_id, TransferRefusal.KIT, said, "/lines")
        return None

    def doubt_good(self, transfer_id: UUID, units: Mapping[int, int]) -> TransferRefused | None:
        """Why so many units cannot be sent: those on the origin's shelves have expired."""
        origin, taken = self.rows[transfer_id]["origin_id"], list[tuple[detail.Shelf, list[tuple[str, str, int]]]]()
        for line_no, quantity in units.items():
            shelf = self.shelves.get((self.lines[transfer_id][line_no].sku_id, origin))
            if shelf is None:
                continue
            some = shelf.take(quantity, sellable=True)
            good = sum(amount for _, _, amount in some)
            if good < quantity and shelf.over:
                said = (
                    f"Of line {line_no}, only {good} units on the origin's shelves may still be sent, not {quantity}; the others "
                    "have expired. Send those, and cancel what is left."
                )
                for other, gone in taken:
                    other.less((bin_, lot, -amount) for bin_, lot, amount in gone)
                return TransferRefused(transfer_id, TransferRefusal.TOO_FEW, said, "/lines")
            shelf.less(some)
            taken.append((shelf, some))
        return None

    def doubt_came(
        self, transfer_id: UUID, units: Mapping[int, _Came], serials: Mapping[int, Sequence[str]]
    ) -> TransferRefused | None:
        """Why units that are tracked cannot be received so: which are damaged, or were never sent, no count of them can say."""
        some: dict[int, int] = {}
        for line_no, (fine, damaged, surplus) in units.items():
            line = self.lines[transfer_id][line_no]
            if self._names.tracking(line.sku_id) is not None and (damaged or surplus):
                said = (
                    f"The SKU of line {line_no} is tracked by lot or serial number. Receive those of the {line.in_transit} units "
                    "in transit that arrived; then set damaged ones aside and receive extra ones, each by lot or serial number."
                )
                return TransferRefused(transfer_id, TransferRefusal.INVALID, said, "/lines")
            if fine < line.in_transit or serials.get(line_no):
                some[line_no] = fine
        return self._misnamed(
            transfer_id,
            self._namings(transfer_id, some, serials),
            lambda known, line_no: known == ("in_transit", None, transfer_id, line_no),
            done="received",
            else_="is not in transit on this line",
        )

    def _namings(
        self, transfer_id: UUID, units: Mapping[int, int], serials: Mapping[int, Sequence[str]]
    ) -> list[named.Naming]:
        lines = self.lines[transfer_id]
        return [named.Naming(n, lines[n].sku_id, quantity, serials.get(n)) for n, quantity in units.items()]

    def _misnamed(
        self,
        transfer_id: UUID,
        namings: Sequence[named.Naming],
        fits: Callable[[named.Known, int], bool],
        *,
        done: str,
        else_: str,
    ) -> TransferRefused | None:
        wrong = self._names.take(namings, fits, done=done, else_=else_)
        if wrong is None:
            return None
        reason = TransferRefusal.UNKNOWN if wrong.unknown else TransferRefusal.INVALID
        return TransferRefused(transfer_id, reason, wrong.sentence, "/lines")

    async def look_at_lots(self) -> None:
        """What lies on the origins' shelves of SKUs that have lots."""
        keys = {
            (line.sku_id, self.rows[transfer_id]["origin_id"])
            for transfer_id, lines in self.lines.items()
            for line in lines.values()
            if self._names.tracking(line.sku_id) == "lot"
        }
        if keys:
            self.shelves = await detail.shelves_of(self._tx, sorted(keys), at=self._at)

    def tell(
        self,
        transfer_id: UUID,
        what: type[TransferSent | TransferReceived | TransferCancelled],
        units: Mapping[int, int],
    ) -> UUID:
        event_id = new_id(self._at)
        payload = what(lines=[payloads.Units(n, quantity) for n, quantity in units.items()])
        self._events.append(Event(transfer_id, event_id, self._at, payload, self._version))
        return event_id

    def move(self, transfer_id: UUID, line_no: int, **deltas: int) -> None:
        delta, line = self._deltas.setdefault((transfer_id, line_no), _Delta()), self.lines[transfer_id][line_no]
        for name, units in deltas.items():
            setattr(delta, name, getattr(delta, name) + units)
        line.open += deltas.get("open", 0)
        line.in_transit += deltas.get("in_transit", 0)

    async def end(self, count: int) -> list[Outcome]:
        tx, at = self._tx, self._at
        statuses: dict[UUID, str] = {}
        if self._deltas:
            columns = {
                name: [getattr(delta, name) for delta in self._deltas.values()] for name in _Delta.__struct_fields__
            }
            rows = await sql.move_transfers(
                tx, transfer_ids=[key[0] for key in self._deltas], line_nos=[key[1] for key in self._deltas], **columns
            )
            statuses = {row["transfer_id"]: row["status"] for row in rows}
        if self.expected:
            await sql.expect_transfers(tx, transfer_ids=list(self.expected), expected=list(self.expected.values()))
        if self.arrived:
            id_ = new_id(at)
            self._events.append(Event(id_, id_, at, StockReceived(sku_ids=sorted(self.arrived)), self._version))
        await record(tx, self._events)
        await ledger.post(tx, self.moves, at=at)
        for (event_id, transfer_id, line_no), sku_id in self.lost.items():
            if self._names.tracking(sku_id) == "serial":
                await detail.lose(tx, sku_id, transfer_id, line_no, cause_id=event_id, at=at)
        for index, transfer_id in self.done.items():
            self.outcomes[index] = TransferDone(transfer_id, statuses[transfer_id])
        return [self.outcomes[index] for index in range(count)]


async def _desk(tx: Tx, asked: Sequence[tuple[UUID, Sequence[SentLine | ArrivedLine]]], at: datetime) -> _Desk:
    rows = {row["transfer_id"]: row for row in await sql.lock_transfers(tx, transfer_ids=[id_ for id_, _ in asked])}
    lines: dict[UUID, dict[int, _Line]] = {transfer_id: {} for transfer_id in rows}
    for row in await sql.transfer_lines(tx, transfer_ids=list(rows)):
        lines[row["transfer_id"]][row["line_no"]] = _Line(row["sku_id"], row["open"], row["in_transit"])
    said = [(lines.get(id_, {}).get(line.line_no), line.serials) for id_, some in asked for line in some]
    names = await named.names(tx, [(line.sku_id, serials) for line, serials in said if line is not None])
    return _Desk(tx, rows, lines, names, await tx.plans.active(tx), at)


async def transfer_of(tx: Tx, transfer_id: UUID) -> TransferView:
    """Raises ``NotFound``."""
    rows = await sql.transfer_by_id(tx, transfer_id=transfer_id)
    if not rows:
        raise NotFound(f"There is no transfer {transfer_id}.")
    return (await _views(tx, rows))[0]


async def transfers_before(
    tx: Tx, before: UUID, limit: int, *, status: str | None, within: Sequence[str] | None = None
) -> list[TransferView]:
    """One page, newest first, of those in a state or of all; ``within``: of those from or to these locations."""
    known = (await facts(tx)).location_ids
    ids = None if within is None else [known[code] for code in within if code in known]
    return await _views(tx, await sql.transfers_page(tx, before=before, limit=limit, status=status, location_ids=ids))


async def _views(tx: Tx, rows: Sequence[Any]) -> list[TransferView]:
    places = (await facts(tx)).locations
    lines: dict[UUID, list[TransferLineView]] = defaultdict(list)
    for row in await sql.transfer_lines(tx, transfer_ids=[row["transfer_id"] for row in rows]):
        lines[row["transfer_id"]].append(TransferLineView(**{n: row[n] for n in TransferLineView.__struct_fields__}))
    return [
        TransferView(
            row["transfer_id"],
            row["document"],
            places[row["origin_id"]].code,
            places[row["destination_id"]].code,
            row["status"],
            row["requested_at"],
            row["expected_at"],
            lines[row["transfer_id"]],
        )
        for row in rows
    ]
