"""Money: what a provider is asked for, and how its answers enter the ledger.

Calls go out without a lock, with the reaction's id as idempotency key; the answer is written in the transaction in
which the reaction leaves the queue. The event behind a reaction is the cause of its money move, so that no event is
paid for twice; and it fixes the amount, so that a call that is repeated says the same again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.errors import NotYet, OrdinoError, Unavailable
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.reactions import Effect, Task
from ordino.core.statements import statements
from ordino.orders import ledger
from ordino.orders.model import PaymentMove, PaymentMoveKind

sql = statements("ordino.orders")
log = logging.getLogger("ordino.orders")
CALL_SECONDS = 30
AT_ONCE = 250


class Approved(Struct, frozen=True):
    """The provider did it, under its own reference."""

    reference: str


class Declined(Struct, frozen=True):
    """The provider said no."""

    reason: str


class Provider(Protocol):
    """Who moves the money. ``key`` makes a repeated call harmless; amounts are minor units of ``currency``.

    A call may be cancelled after ``CALL_SECONDS``. It raises ``Refused`` for what can never be done, ``AccountUnavailable`` where
    the provider is away or refuses our credentials whatever is asked, and ``Unavailable`` where the same call may pass later.
    """

    async def authorize(self, key: str, amount_minor: int, currency: str) -> Approved | Declined: ...
    async def capture(self, key: str, amount_minor: int, currency: str) -> Approved | Declined: ...
    async def void(self, key: str, amount_minor: int, currency: str) -> Approved | Declined: ...
    async def refund(self, key: str, amount_minor: int, currency: str) -> Approved | Declined: ...


providers: dict[str, Provider] = {}
"""The providers of this process, by the name that payments carry."""


class Call(Struct, frozen=True):
    """What one task asks of the provider."""

    provider: str
    amount_minor: int
    currency: str


def _effect(verb: str, kind: PaymentMoveKind, asked: Any) -> Effect:
    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Call | OrdinoError | None]:
        order_ids = [t.subject_id for t in tasks]
        rows = {row["order_id"]: row for row in await sql.money_of(tx, order_ids=order_ids)}
        done = {
            (row["order_id"], row["cause_id"])
            for row in await sql.known_payment_moves(
                tx, order_ids=order_ids, cause_ids=[t.event_id for t in tasks], kind=kind
            )
        }
        doubtful = _doubtful(kind, tasks, rows)
        queued: set[UUID] = set()
        if doubtful:
            before = "capture" if kind is PaymentMoveKind.REFUNDED else "authorize"
            queued = {r["subject_id"] for r in await sql.still_to_move(tx, kind=before, order_ids=doubtful)}
            # What has left the queue since the first look is in the ledger at the second.
            rows |= {row["order_id"]: row for row in await sql.money_of(tx, order_ids=doubtful)}
        worth: dict[UUID, int] = {}
        if kind is PaymentMoveKind.AUTHORIZED:
            worth = {row["order_id"]: row["worth_minor"] for row in await sql.worth(tx, order_ids=order_ids)}
        under_way = {
            row["subject_id"]
            for row in await sql.other_calls(tx, kind=verb, order_ids=order_ids, ids=[t.id for t in tasks])
        }
        spoken_for: dict[UUID, int] = {}
        unknown: set[str] = set()
        calls: list[Call | OrdinoError | None] = []
        for task in tasks:
            order_id, payment = task.subject_id, rows[task.subject_id]
            amount = 0
            if order_id in under_way:
                calls.append(NotYet("The provider is being asked for the same order; this follows its answer."))
                continue
            limit = _limit(kind, payment) - spoken_for.get(order_id, 0)
            if (order_id, task.event_id) not in done:
                # A refund that fits what is charged already waits for no other charge.
                waits = order_id in queued and (kind is not PaymentMoveKind.REFUNDED or _refund_minor(task) > limit)
                asked_for = asked(task, payment, worth.get(order_id, 0), waits)
                if isinstance(asked_for, OrdinoError):
                    calls.append(asked_for)
                    continue
                amount = asked_for
            amount = max(0, min(amount, limit))
            spoken_for[order_id] = spoken_for.get(order_id, 0) + amount
            free = worth.get(order_id) == 0 and payment["authorized_minor"] == 0
            request = Call(payment["provider"], amount, payment["currency"])
            if amount > 0 and request.provider not in providers:
                # Another worker may know it. Until one does, the money waits, and no attempt is counted.
                unknown.add(request.provider)
                calls.append(
                    NotYet(f"This worker knows no payment provider {request.provider!r}; start one that does.")
                )
            else:
                calls.append(request if amount > 0 or free else None)
        for provider in sorted(unknown):
            log.warning("This worker knows no payment provider %r; calls to it wait for a worker that does.", provider)
        return calls

    async def call(task: Task, request: Call) -> tuple[Call, Approved | Declined]:
        if not request.amount_minor:
            return request, Approved("")  # where nothing is due, nobody is asked
        answer = await getattr(providers[request.provider], verb)(str(task.id), request.amount_minor, request.currency)
        return request, answer

    async def settle(tx: Tx, answers: Sequence[tuple[Task, tuple[Call, Approved | Declined]]], at: datetime) -> None:
        orders = await ledger.lock(tx, [task.subject_id for task, _ in answers])
        moves, events = [], []
        for event_id, (task, (request, answer)) in zip(new_ids(at, len(answers)), answers, strict=True):
            if isinstance(answer, Approved):
                if request.amount_minor:
                    moves.append(
                        PaymentMove(task.subject_id, task.event_id, kind, request.amount_minor, answer.reference)
                    )
                told = {"amount_minor": request.amount_minor, "reference": answer.reference or None}
                name, data = f"payment_{kind}", told
            else:
                name, data = (
                    "payment_declined",
                    {"amount_minor": request.amount_minor, "reason": answer.reason, "of": verb},
                )
            flow_version = orders[task.subject_id].flow_version
            events.append(Event(task.subject_id, event_id, name, at, data, flow_version))
        await ledger.move_money(tx, moves, at=at)
        await record(tx, events)

    return Effect(ask, call, settle, account=_account, call_seconds=CALL_SECONDS, at_once=AT_ONCE)


def _account(request: Call) -> str:
    return f"payment provider {request.provider}"


def _doubtful(kind: PaymentMoveKind, tasks: Sequence[Task], payments: Mapping[UUID, Any]) -> list[UUID]:
    """Orders that may have to wait: voids and charges for the authorization, refunds for charges that they need."""
    if kind in (PaymentMoveKind.VOIDED, PaymentMoveKind.CAPTURED):
        return [t.subject_id for t in tasks if payments[t.subject_id]["authorized_minor"] == 0]
    if kind is PaymentMoveKind.REFUNDED:
        wanted: dict[UUID, int] = {}
        for task in tasks:
            wanted[task.subject_id] = wanted.get(task.subject_id, 0) + _refund_minor(task)
        return [order_id for order_id, amount in wanted.items() if amount > _limit(kind, payments[order_id])]
    return []


def _limit(kind: PaymentMoveKind, payment: Any) -> int:
    """The most that the ledger bears now."""
    if kind is PaymentMoveKind.AUTHORIZED:
        return 1 << 62
    if kind is PaymentMoveKind.REFUNDED:
        return int(payment["captured_minor"] - payment["refunded_minor"])
    return int(payment["authorized_minor"] - payment["voided_minor"] - payment["captured_minor"])


def _to_authorize(task: Task, payment: Any, worth_minor: int, queued: bool) -> int:
    """All that was accepted, so that asking again asks for the same; voids take what was cancelled meanwhile."""
    return worth_minor if payment["authorized_minor"] == 0 else 0


def _to_capture(task: Task, payment: Any, worth_minor: int, queued: bool) -> int | OrdinoError:
    """What the shipment's event says it charges."""
    amount = int(task.data["amount_minor"])
    if amount and payment["authorized_minor"] == 0:
        if queued:
            return NotYet("The payment is being authorized; the shipment is charged after that.")
        return Unavailable("The payment is not authorized; the shipment can be charged once it is.")
    return amount


def _to_void(task: Task, payment: Any, worth_minor: int, queued: bool) -> int | OrdinoError:
    """What the cancelled units were worth, once it is authorized."""
    if payment["authorized_minor"] == 0 and queued:
        return NotYet("The payment is being authorized; what was cancelled is voided after that.")
    return int(task.data["amount_minor"])


def _to_refund(task: Task, payment: Any, worth_minor: int, queued: bool) -> int | OrdinoError:
    """What the event says is to be given back. What was not captured yet cannot be."""
    if queued:
        return NotYet("The shipment is not charged yet; the refund follows the charge.")
    return _refund_minor(task)


def _refund_minor(task: Task) -> int:
    return int(task.data["refund_minor"])


authorize = _effect("authorize", PaymentMoveKind.AUTHORIZED, _to_authorize)
capture = _effect("capture", PaymentMoveKind.CAPTURED, _to_capture)
void = _effect("void", PaymentMoveKind.VOIDED, _to_void)
refund = _effect("refund", PaymentMoveKind.REFUNDED, _to_refund)
