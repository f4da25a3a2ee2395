"""What can be said against a receipt of a parcel that came back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.arrivals import Arriving, serial_fault
from ordino.aftercare.model import MAX_UNITS
from ordino.aftercare.received_back.model import BackLine, BackRefusal, BackRefused, ParcelReceipt
from ordino.catalog.kits import kits
from ordino.core.database import Tx
from ordino.core.extent import extent_fault
from ordino.inventory import named
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger as orders_ledger
from ordino.orders.model import LineRow, OrderRow
from ordino.tracking.back import Back, Key, parcels_back


class Known(Struct):
    """What is known of the parcels that are received back, while a batch is judged."""

    orders: dict[UUID, OrderRow]
    lines: dict[UUID, dict[int, LineRow]]  # by order and number
    parcels: dict[Key, Back]
    network: NetworkFacts
    names: named.Names
    became_kits: dict[tuple[UUID, int], bool]  # lines of which it, or (True) a component of it, has become a kit since


class Judged(Struct, frozen=True):
    """A sound receipt: what came back, line by line, and where."""

    location_id: int
    lines: Sequence[BackLine]


async def known_of(tx: Tx, receipts: Sequence[ParcelReceipt], *, at: datetime) -> Known:
    """Lock the orders, and read what judging these receipts takes."""
    orders = await orders_ledger.lock(tx, [r.order_id for r in receipts])
    lines = await orders_ledger.lines(tx, orders)
    wanted = []
    for receipt in receipts:
        for line in receipt.lines or ():
            if row := lines.get((receipt.order_id, line.line_no)):
                wanted.append((row.sku_id, [*(line.serials or ()), *(line.scrapped_serials or ())]))
    known_kits = await kits(tx)
    frozen = await orders_ledger.lines_of_kits(tx, {key: line.sku_id for key, line in lines.items()})
    stocked = {key: [sku_id for sku_id, _ in frozen.get(key, ())] or [line.sku_id] for key, line in lines.items()}
    of_orders: dict[UUID, dict[int, LineRow]] = {order_id: {} for order_id in orders}
    for (order_id, line_no), row in lines.items():
        of_orders[order_id][line_no] = row
    return Known(
        orders,
        of_orders,
        await parcels_back(tx, [(r.order_id, r.shipment_id) for r in receipts], at=at),
        await facts(tx),
        await named.names(tx, wanted),
        {key: key in frozen for key, skus in stocked.items() if any(sku_id in known_kits.parts for sku_id in skus)},
    )


def judge(receipt: ParcelReceipt, known: Known, *, repeated: bool) -> Judged | BackRefused:
    """What came back where, or why the receipt is refused."""

    def refuse(reason: BackRefusal, detail: str, pointer: str = "") -> BackRefused:
        return BackRefused(receipt.order_id, receipt.shipment_id, reason, detail, pointer)

    if repeated:
        return refuse(BackRefusal.REPEATED, "The same receipt appears earlier in this batch; it is carried out once.")
    if receipt.order_id not in known.orders:
        return refuse(BackRefusal.UNKNOWN, f"There is no order {receipt.order_id}.", "/order_id")
    back = known.parcels.get((receipt.order_id, receipt.shipment_id))
    if back is None:
        detail = f"The order {receipt.order_id} has no shipment {receipt.shipment_id}."
        return refuse(BackRefusal.UNKNOWN, detail, "/shipment_id")
    location_id = back.location_id
    if receipt.location is not None:
        location_id = known.network.location_ids.get(receipt.location, -1)
        if location_id < 0:
            return refuse(BackRefusal.UNKNOWN, f"There is no location {receipt.location!r}.", "/location")
    if back.parcel.delivered_at is not None:
        detail = "The parcel was delivered: authorize a return for what the customer sends back."
        return refuse(BackRefusal.DELIVERED, detail)
    if not any(back.left.values()):
        return refuse(BackRefusal.DONE, "The whole parcel was already received.")
    if not known.network.locations[location_id].active and receipt.location is None:
        code = known.network.locations[location_id].code
        detail = f"The parcel left from {code!r}, which is switched off: name the `location` that has it."
        return refuse(BackRefusal.INVALID, detail, "/location")
    if fault := extent_fault("lines", receipt.lines, receipt.all, of="everything that is still in the parcel"):
        return refuse(BackRefusal.INVALID, fault.detail, fault.pointer)
    lines = receipt.lines or [BackLine(line_no=n, restocked=units) for n, units in back.left.items() if units]
    return _doubt_lines(receipt, lines, back, known) or Judged(
        location_id, [structs.replace(line, then=line.then or receipt.then) for line in lines]
    )


def _doubt_lines(receipt: ParcelReceipt, lines: Sequence[BackLine], back: Back, known: Known) -> BackRefused | None:
    def refuse(reason: BackRefusal, detail: str, pointer: str = "") -> BackRefused:
        return BackRefused(receipt.order_id, receipt.shipment_id, reason, detail, pointer)

    seen: set[int] = set()
    for index, line in enumerate(lines):
        pointer = f"/lines/{index}" if receipt.lines else ""
        if line.line_no not in back.left and line.line_no not in known.lines[receipt.order_id]:
            return refuse(BackRefusal.UNKNOWN, f"The order has no line {line.line_no}.", f"{pointer}/line_no")
        if line.line_no in seen:
            detail = f"Line {line.line_no} is named twice; say everything about it once."
            return refuse(BackRefusal.INVALID, detail, f"{pointer}/line_no")
        seen.add(line.line_no)
        counts = (line.restocked, line.scrapped, line.lost)
        if min(counts) < 0 or max(counts) > MAX_UNITS or not sum(counts):
            detail = f"Say how many units of line {line.line_no} were restocked, scrapped or lost."
            return refuse(BackRefusal.INVALID, detail, f"{pointer}/restocked")
        if fault := _doubt_next(line, receipt, back):
            return refuse(BackRefusal.INVALID, fault, f"{pointer}/then" if line.then else "/then")
        if line.restocked and (receipt.order_id, line.line_no) in known.became_kits:
            of_component = known.became_kits[receipt.order_id, line.line_no]
            what = "A component of the kit" if of_component else "The SKU"
            detail = (
                f"{what} of line {line.line_no} has become a kit since it was sold, and a kit has no stock of its own: "
                "say that the units were scrapped, and receive their components by POST /v1/receipts."
            )
            return refuse(BackRefusal.KIT, detail, f"{pointer}/restocked")
        left = back.left.get(line.line_no, 0)
        if sum(counts) > left:
            detail = f"The parcel still holds {left} units of line {line.line_no}, not {sum(counts)}."
            return refuse(BackRefusal.TOO_MANY, detail, pointer)
    arriving = [
        Arriving(
            line_no=line.line_no,
            sku_id=known.lines[receipt.order_id][line.line_no].sku_id,
            restocked=line.restocked,
            scrapped=line.scrapped,
            serials=line.serials,
            scrapped_serials=line.scrapped_serials,
        )
        for line in lines
    ]
    wrong = serial_fault(receipt.order_id, arriving, known.names)
    if wrong is None:
        return None
    reason = BackRefusal.UNKNOWN if wrong.unknown else BackRefusal.INVALID
    return refuse(reason, wrong.sentence, f"/lines{wrong.pointer}" if receipt.lines else "/all")


def _doubt_next(line: BackLine, receipt: ParcelReceipt, back: Back) -> str | None:
    then = line.then or receipt.then
    if back.parcel.lost_at is None:
        return None if then else "Say what follows for the customer: send `then` with `refund` or `send_again`."
    if then:
        return "The parcel was lost, and its units were refunded then: leave out `then`."
    return "The parcel was lost: say what was restocked or scrapped, not what is missing." if line.lost else None
