"""Refunds without goods: shipping, part of a price, goodwill. What they give back is taken from what lines and shipping were
charged, so that units that come back later are refunded what is left of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from ordino.aftercare.model import (
    NewRefund,
    RefundLineView,
    RefundRefusal,
    RefundRefused,
    RefundRequested,
    RefundView,
)
from ordino.aftercare.repeats import repeats_of
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.money import amount, split_minor
from ordino.core.statements import statements
from ordino.orders import ledger, notes, value
from ordino.orders.events import RefundRequested as RefundDue
from ordino.orders.model import LineRow, OrderRow, ShippingMove
from ordino.orders.notes import About, NewNote

sql = statements("ordino.aftercare")


class Account(Struct):
    """What of an order was charged and can still be given back. Refunds of one batch take from it one after the other. Of what was
    charged, ``declined_minor`` will never be captured: the provider said no.
    """

    order: OrderRow
    lines: dict[int, LineRow]
    declined_minor: int = 0

    @property
    def left_minor(self) -> int:
        """Of all lines and of the shipping together."""
        kept = value.kept_shipping_minor(self.order) + sum(map(value.kept_minor, self.lines.values()))
        return max(0, kept - self.declined_minor)


class Parts(Struct, frozen=True):
    """What a refund takes: line number -> minor units, and minor units of the shipping."""

    lines: dict[int, int]
    shipping_minor: int

    @property
    def amount_minor(self) -> int:
        return self.shipping_minor + sum(self.lines.values())


async def refund(tx: Tx, refunds: Sequence[NewRefund], *, at: datetime) -> list[RefundRequested | RefundRefused]:
    """One outcome a refund, in order: asked for as told, or refused whole. The money follows the event ``refund_requested``."""
    accounts = await _accounts(tx, [r.order_id for r in refunds])
    outcomes: list[RefundRequested | RefundRefused] = []
    done: list[tuple[UUID, NewRefund, Parts]] = []
    repeats = repeats_of(refunds)
    for index, (wanted, refund_id) in enumerate(zip(refunds, new_ids(at, len(refunds)), strict=True)):
        parts = _judge(wanted, accounts.get(wanted.order_id), repeated=index in repeats)
        if isinstance(parts, RefundRefused):
            outcomes.append(parts)
            continue
        account = accounts[wanted.order_id]
        _take(account, parts)
        done.append((refund_id, wanted, parts))
        outcomes.append(RefundRequested(wanted.order_id, refund_id, parts.amount_minor, account.left_minor))
    if done:
        await _write(tx, done, accounts, at)
    return outcomes


async def _accounts(tx: Tx, order_ids: Sequence[UUID]) -> dict[UUID, Account]:
    accounts = {order_id: Account(order, {}) for order_id, order in (await ledger.lock(tx, order_ids)).items()}
    for (order_id, line_no), line in (await ledger.lines(tx, accounts)).items():
        accounts[order_id].lines[line_no] = line
    for row in await sql.declined_charges(tx, order_ids=list(accounts)):
        accounts[row["order_id"]].declined_minor = row["amount_minor"]
    return accounts


def _judge(wanted: NewRefund, account: Account | None, *, repeated: bool) -> Parts | RefundRefused:
    """What the refund takes of the account, or why it takes nothing."""

    def refuse(reason: RefundRefusal, detail: str, pointer: str = "", left_minor: int | None = None) -> RefundRefused:
        return RefundRefused(wanted.order_id, reason, detail, pointer, left_minor)

    def too_much(whose: str, asked: int, left: int, pointer: str) -> RefundRefused:
        currency = "" if account is None else account.order.currency
        detail = f"Only {amount(left, currency)} {whose} can still be refunded, not {amount(asked, currency)}."
        if not left:
            detail = f"Nothing {whose} can be refunded: it is not charged yet (cancel instead), or is refunded already."
        if account is not None and account.declined_minor:
            detail += f" The provider declined {amount(account.declined_minor, currency)} of what was charged."
        return refuse(RefundRefusal.TOO_MUCH, detail, pointer, left)

    if repeated:
        return refuse(RefundRefusal.REPEATED, "The same refund appears earlier in this batch; it is carried out once.")
    if account is None:
        return refuse(RefundRefusal.UNKNOWN, f"There is no order {wanted.order_id}.", "/order_id")
    asked: dict[int, int] = {}
    for index, line in enumerate(wanted.lines or ()):
        pointer = f"/lines/{index}/line_no"
        if line.line_no not in account.lines:
            return refuse(RefundRefusal.UNKNOWN, f"The order has no line {line.line_no}.", pointer)
        if line.line_no in asked:
            detail = f"Line {line.line_no} is named twice; name it once, with all that is to be refunded of it."
            return refuse(RefundRefusal.INVALID, detail, pointer)
        asked[line.line_no] = line.amount_minor
    if wanted.all_shipping and wanted.shipping_minor is not None:
        detail = "Refund a part of the shipping with `shipping_minor`, or all that is left of it with `all_shipping`, not both."
        return refuse(RefundRefusal.INVALID, detail, "/all_shipping")
    if not (asked or wanted.all_shipping or wanted.shipping_minor or wanted.goodwill_minor):
        detail = "Say what to refund: `lines`, `shipping_minor` or `all_shipping`, or `goodwill_minor`."
        return refuse(RefundRefusal.INVALID, detail)
    if min([*asked.values(), wanted.shipping_minor or 1, wanted.goodwill_minor or 1]) < 1:
        return refuse(RefundRefusal.INVALID, "Each amount must be at least 1 minor unit.")
    for index, (line_no, minor) in enumerate(asked.items()):
        if minor > (left := value.kept_minor(account.lines[line_no])):
            return too_much(f"of line {line_no}", minor, left, f"/lines/{index}/amount_minor")
    shipping_left = value.kept_shipping_minor(account.order)
    shipping = shipping_left if wanted.all_shipping else wanted.shipping_minor or 0
    if shipping > shipping_left or (wanted.all_shipping and not shipping_left):
        pointer = "/all_shipping" if wanted.all_shipping else "/shipping_minor"
        return too_much("of the shipping", shipping, shipping_left, pointer)
    goodwill, rest = wanted.goodwill_minor or 0, account.left_minor - sum(asked.values()) - shipping
    if rest < 0:
        return too_much("of the order", sum(asked.values()) + shipping, account.left_minor, "")
    if goodwill > rest:
        return too_much(
            "of the order" if rest == account.left_minor else "besides the other parts",
            goodwill,
            rest,
            "/goodwill_minor",
        )
    return _with_goodwill(account, Parts(asked, shipping), goodwill)


def _with_goodwill(account: Account, parts: Parts, goodwill_minor: int) -> Parts:
    """Goodwill comes out of what the other parts leave of every line and of the shipping, in proportion."""
    if not goodwill_minor:
        return parts
    left = [value.kept_minor(line) - parts.lines.get(line_no, 0) for line_no, line in account.lines.items()]
    shipping_left = value.kept_shipping_minor(account.order) - parts.shipping_minor
    *shares, of_shipping = split_minor(goodwill_minor, [*left, shipping_left])
    lines = {
        line_no: sum_
        for line_no, share in zip(account.lines, shares, strict=True)
        if (sum_ := parts.lines.get(line_no, 0) + share)
    }
    return Parts(lines, parts.shipping_minor + of_shipping)


def _take(account: Account, parts: Parts) -> None:
    for line_no, minor in parts.lines.items():
        line = account.lines[line_no]
        account.lines[line_no] = structs.replace(line, refunded_minor=line.refunded_minor + minor)
    move = ShippingMove(account.order.order_id, refund_minor=parts.shipping_minor)
    account.order, _ = value.move_shipping(account.order, move)


async def _write(
    tx: Tx, done: Sequence[tuple[UUID, NewRefund, Parts]], accounts: dict[UUID, Account], at: datetime
) -> None:
    amounts: dict[tuple[UUID, int], int] = {}
    shipping: dict[UUID, int] = {}
    lines: list[tuple[UUID, UUID, int, int]] = []
    events: list[Event] = []
    for refund_id, wanted, parts in done:
        order_id = wanted.order_id
        for line_no, minor in parts.lines.items():
            amounts[order_id, line_no] = amounts.get((order_id, line_no), 0) + minor
            lines.append((order_id, refund_id, line_no, minor))
        if parts.shipping_minor:
            shipping[order_id] = shipping.get(order_id, 0) + parts.shipping_minor
        payload = RefundDue(refund_minor=parts.amount_minor, reason=wanted.reason, refund_id=refund_id)
        events.append(Event(order_id, refund_id, at, payload, accounts[order_id].order.flow_version))
    await ledger.give_back(tx, amounts, shipping)
    await sql.write_refunds(
        tx,
        order_ids=[wanted.order_id for _, wanted, _ in done],
        refund_ids=[refund_id for refund_id, _, _ in done],
        amounts=[parts.amount_minor for _, _, parts in done],
        shipping=[parts.shipping_minor for _, _, parts in done],
        goodwill=[wanted.goodwill_minor or 0 for _, wanted, _ in done],
        reasons=[wanted.reason for _, wanted, _ in done],
        asked_by=tx.actor,
        at=at,
        line_order_ids=[line[0] for line in lines],
        line_refund_ids=[line[1] for line in lines],
        line_nos=[line[2] for line in lines],
        line_amounts=[line[3] for line in lines],
    )
    said = [
        NewNote(order_id=wanted.order_id, note_id=refund_id, about=About.REFUND, text=wanted.note)
        for refund_id, wanted, _ in done
    ]
    await notes.write(tx, said, at=at)
    await record(tx, events)


async def refunds_of(tx: Tx, order_id: UUID) -> list[RefundView]:
    """The refunds without goods of an order, oldest first. Raises ``NotFound``."""
    rows = await sql.refunds_of_order(tx, order_id=order_id)
    if not rows and not await sql.order_exists(tx, order_id=order_id):
        raise NotFound(f"There is no order {order_id}.")
    lines: dict[UUID, list[RefundLineView]] = {}
    for row in await sql.refund_lines_of_order(tx, order_id=order_id):
        lines.setdefault(row["refund_id"], []).append(RefundLineView(row["line_no"], row["amount_minor"]))
    return [RefundView(**row, lines=lines.get(row["refund_id"], [])) for row in rows]
