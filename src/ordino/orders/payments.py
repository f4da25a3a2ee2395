"""Money: what a provider is asked for, and how its answers enter the ledger.

Calls go out without a lock, with the reaction's id as idempotency key; the answer is written in the transaction in
which the reaction leaves the queue. The event behind a reaction is the cause of its money move, so that no event is
paid for twice; and it fixes the amount, so that a call that is repeated says the same again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct

from ordino.core.database import Tx
from ordino.core.effects import Answered
from ordino.core.errors import NotYet, OrdinoError, Unavailable
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.limits import Limits
from ordino.core.payloads import Payload, payload_of
from ordino.core.reactions import Effect, Task
from ordino.core.secret import Secret
from ordino.core.statements import statements
from ordino.orders import answers, ledger
from ordino.orders.events import PaymentAuthorized, PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentVoided
from ordino.orders.model import PaymentMove, PaymentMoveKind
from ordino.orders.providers import Approved, Capture, Declined, PaymentCall, providers

__all__ = ["Approved", "Declined", "authorize", "capture", "providers", "refund", "void"]

sql = statements("ordino.orders")
log = logging.getLogger("ordino.orders")
CALL_SECONDS = 30
AT_ONCE = 250
ACCOUNT = "payment provider "
"""Paused accounts are named like this, and then by the provider's name."""


class Call(Struct, frozen=True, kw_only=True):
    """What one task asks, and of which provider."""

    provider: str
    asked: PaymentCall


class _Known(Struct):
    """What is known of the orders of a set of tasks. ``done`` are moves of this kind: (order id, event id). ``queued`` are orders
    whose authorization or charge, which comes first, is still to run, ``under_way`` those that the provider is being asked about
    now. ``captures`` are those that refunds are told of. ``spoken_for`` is what the set asks for, in minor units; it fills
    while the set is decided.
    """

    payments: dict[UUID, Any]
    done: set[tuple[UUID, UUID]]
    queued: set[UUID]
    worth_minor: dict[UUID, int]
    under_way: set[UUID]
    captures: dict[UUID, list[Capture]]
    spoken_for: dict[UUID, int]


async def _known(tx: Tx, verb: str, kind: PaymentMoveKind, tasks: Sequence[Task]) -> _Known:
    order_ids, cause_ids = [t.subject_id for t in tasks], [t.event_id for t in tasks]
    # First who is being asked, then the ledger: a call that is answered in between is seen as under way.
    others = await sql.other_calls(tx, kind=verb, order_ids=order_ids, ids=[t.id for t in tasks])
    payments = {row["order_id"]: row for row in await sql.money_of(tx, order_ids=order_ids)}
    moves = await sql.known_payment_moves(tx, order_ids=order_ids, cause_ids=cause_ids, kind=kind)
    queued: set[UUID] = set()
    if doubtful := _doubtful(kind, tasks, payments):
        before = "capture" if kind is PaymentMoveKind.REFUNDED else "authorize"
        queued = {row["subject_id"] for row in await sql.still_to_move(tx, kind=before, order_ids=doubtful)}
        # What has left the queue since the first look is in the ledger at the second.
        payments |= {row["order_id"]: row for row in await sql.money_of(tx, order_ids=doubtful)}
    worth_minor: dict[UUID, int] = {}
    if kind is PaymentMoveKind.AUTHORIZED:
        worth_minor = {row["order_id"]: row["worth_minor"] for row in await sql.worth(tx, order_ids=order_ids)}
    captures: dict[UUID, list[Capture]] = {}
    if kind is PaymentMoveKind.REFUNDED:
        for row in await sql.captures_of(tx, order_ids=order_ids):
            capture = Capture(reference=row["reference"], amount_minor=row["amount_minor"])
            captures.setdefault(row["order_id"], []).append(capture)
    return _Known(
        payments=payments,
        done={(row["order_id"], row["cause_id"]) for row in moves},
        queued=queued,
        worth_minor=worth_minor,
        under_way={row["subject_id"] for row in others},
        captures=captures,
        spoken_for={},
    )


def _request(task: Task, kind: PaymentMoveKind, asked: Any, known: _Known) -> Call | OrdinoError | None:
    """What the provider is asked for, why the task has to wait, or None where nothing is to be moved."""
    order_id = task.subject_id
    if order_id in known.under_way:
        return NotYet("The provider is being asked for the same order; this follows its answer.")
    payment, worth_minor = known.payments[order_id], known.worth_minor.get(order_id)
    limit, amount = _limit(kind, payment) - known.spoken_for.get(order_id, 0), 0
    if (order_id, task.event_id) not in known.done:
        # A refund that fits what is charged already waits for no other charge.
        waits = order_id in known.queued and (kind is not PaymentMoveKind.REFUNDED or _refund_minor(task) > limit)
        asked_for = asked(task, payment, worth_minor or 0, waits)
        if isinstance(asked_for, OrdinoError):
            return asked_for
        amount = max(0, min(asked_for, limit))
    known.spoken_for[order_id] = known.spoken_for.get(order_id, 0) + amount
    free = worth_minor == 0 and payment["authorized_minor"] == 0
    if not amount and not free:
        return None
    provider = payment["provider"]
    if amount and (missing := _missing(provider)) is not None:
        # Another worker may have it. Until one does, the money waits, and no attempt is counted.
        return NotYet(missing)
    return Call(provider=provider, asked=_call(task, kind, payment, amount, known))


def _call(task: Task, kind: PaymentMoveKind, payment: Any, amount_minor: int, known: _Known) -> PaymentCall:
    first = kind is PaymentMoveKind.AUTHORIZED
    return PaymentCall(
        key=str(task.id),
        order_id=task.subject_id,
        external_id=payment["external_id"],
        channel=payment["channel"],
        seller=payment["seller"],
        payment_id=task.subject_id,  # an order's first payment has the order's own id
        amount_minor=amount_minor,
        currency=payment["currency"],
        method=payment["method"],
        token=Secret(payment["token"]) if first and payment["token"] is not None else None,
        authorization=payment["authorization_reference"],
        captures=tuple(known.captures.get(task.subject_id, ())),
    )


def _missing(provider: str) -> str | None:
    """Why this worker cannot call the provider; None if it can."""
    if provider not in providers:
        return f"This worker knows no payment provider {provider!r}; start one that does."
    lacking = providers[provider].lacking()
    return None if lacking is None else f"The payment provider {provider!r} is not set up in this worker: {lacking}"


def _effect(verb: str, kind: PaymentMoveKind, asked: Any) -> Effect:
    async def ask(tx: Tx, tasks: Sequence[Task], at: datetime) -> list[Answered | Call | OrdinoError | None]:
        known = await _known(tx, verb, kind, tasks)
        requests = [_request(task, kind, asked, known) for task in tasks]
        _warn({known.payments[t.subject_id]["provider"] for t, r in zip(tasks, requests, strict=True) if _waits(r)})
        return [await _answered(request, verb) for request in requests]

    async def call(task: Task, request: Call) -> tuple[Call, Approved | Declined]:
        return request, await answers.answer_of(providers[request.provider], request.provider, verb, request.asked)

    async def settle(tx: Tx, answered: Sequence[tuple[Task, tuple[Call, Approved | Declined]]], at: datetime) -> None:
        orders = await ledger.lock(tx, [task.subject_id for task, _ in answered])
        told = [_told(task, verb, kind, request.asked, answer) for task, (request, answer) in answered]
        moves = [one.move for one in told if one.move is not None]
        happened = [(one.order_id, payload) for one in told for payload in one.events]
        await ledger.move_money(tx, moves, at=at)
        if used := sorted(({move.order_id for move in moves} & _with_tokens(answered)) | _free(answered)):
            await sql.forget_tokens(tx, order_ids=used)
        events = [
            Event(order_id, id, at, payload, orders[order_id].flow_version)
            for id, (order_id, payload) in zip(new_ids(at, len(happened)), happened, strict=True)
        ]
        await record(tx, events)

    return Effect(ask, call, settle, account=_account, call_seconds=CALL_SECONDS, at_once=AT_ONCE, limits=_limits)


async def _answered(request: Call | OrdinoError | None, verb: str) -> Answered | Call | OrdinoError | None:
    """The answer in the place of the request, where nobody has to be called for it."""
    if not isinstance(request, Call):
        return request
    if not request.asked.amount_minor:
        return Answered((request, Approved("")))  # where nothing is due, nobody is asked
    provider = providers[request.provider]
    if not getattr(provider, "calls_nobody", False):
        return request
    try:
        return Answered((request, await answers.answer_of(provider, request.provider, verb, request.asked)))
    except Exception:
        return request  # it fails as a call, by itself


class _Told(Struct, frozen=True, kw_only=True):
    """What an answer means: the move in the ledger, if there is one, and the events."""

    order_id: UUID
    move: PaymentMove | None
    events: list[Payload]


def _told(task: Task, verb: str, kind: PaymentMoveKind, asked: PaymentCall, answer: Approved | Declined) -> _Told:
    """A provider that approves less than was asked has declined the rest."""
    if isinstance(answer, Declined):
        declined = _declined(verb, asked.amount_minor, answer)
        return _Told(order_id=task.subject_id, move=None, events=[declined])
    amount = asked.amount_minor if answer.amount_minor is None else answer.amount_minor
    move = PaymentMove(task.subject_id, task.event_id, kind, amount, answer.reference) if amount else None
    events: list[Payload] = [_MOVED[kind](amount_minor=amount, reference=answer.reference or None)]
    if rest := asked.amount_minor - amount:
        events.append(_declined(verb, rest, Declined("partially_approved")))
    return _Told(order_id=task.subject_id, move=move, events=events)


_MOVED: dict[PaymentMoveKind, type[PaymentAuthorized | PaymentCaptured | PaymentVoided | PaymentRefunded]] = {
    PaymentMoveKind.AUTHORIZED: PaymentAuthorized,
    PaymentMoveKind.CAPTURED: PaymentCaptured,
    PaymentMoveKind.VOIDED: PaymentVoided,
    PaymentMoveKind.REFUNDED: PaymentRefunded,
}


def _declined(verb: str, amount_minor: int, answer: Declined) -> PaymentDeclined:
    sentence = answer.sentence or UNSET
    return PaymentDeclined(amount_minor=amount_minor, reason=answer.code, of=verb, sentence=sentence)


def _with_tokens(answered: Sequence[tuple[Task, tuple[Call, Any]]]) -> set[UUID]:
    """The orders whose calls carried a token."""
    return {request.asked.order_id for _, (request, _) in answered if request.asked.token is not None}


def _free(answered: Sequence[tuple[Task, tuple[Call, Any]]]) -> set[UUID]:
    """The orders with tokens of which nothing is due: nobody will be asked with these."""
    return {
        request.asked.order_id
        for _, (request, _) in answered
        if request.asked.token is not None and not request.asked.amount_minor
    }


def _waits(request: Call | OrdinoError | None) -> bool:
    return isinstance(request, NotYet)


def _warn(waiting: set[str]) -> None:
    """A worker that could make these calls may be missing: that is said once a set."""
    for provider in sorted(waiting):
        if provider not in providers:
            log.warning("This worker knows no payment provider %r; calls to it wait for a worker that does.", provider)
        elif (missing := _missing(provider)) is not None:
            log.warning("%s Calls to it wait for a worker in which it is.", missing)


def _account(request: Call) -> str:
    return f"{ACCOUNT}{request.provider}"


def _limits(account: str) -> Limits:
    return providers.limits(account.removeprefix(ACCOUNT))


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
    amount = payload_of(task, _Amount).amount_minor
    if amount and payment["authorized_minor"] == 0:
        if queued:
            return NotYet("The payment is being authorized; the shipment is charged after that.")
        return Unavailable("The payment is not authorized; the shipment can be charged once it is.")
    return amount


def _to_void(task: Task, payment: Any, worth_minor: int, queued: bool) -> int | OrdinoError:
    """What the cancelled units were worth, once it is authorized."""
    if payment["authorized_minor"] == 0 and queued:
        return NotYet("The payment is being authorized; what was cancelled is voided after that.")
    return payload_of(task, _Amount).amount_minor


def _to_refund(task: Task, payment: Any, worth_minor: int, queued: bool) -> int | OrdinoError:
    """What the event says is to be given back. What was not captured yet cannot be."""
    if queued:
        return NotYet("The shipment is not charged yet; the refund follows the charge.")
    return _refund_minor(task)


def _refund_minor(task: Task) -> int:
    return payload_of(task, _Refund).refund_minor


class _Amount(Struct, frozen=True):
    """What a charge or a void is told, by whatever event it follows."""

    amount_minor: int


class _Refund(Struct, frozen=True):
    """What a refund is told, by whatever event it follows."""

    refund_minor: int


authorize = _effect("authorize", PaymentMoveKind.AUTHORIZED, _to_authorize)
capture = _effect("capture", PaymentMoveKind.CAPTURED, _to_capture)
void = _effect("void", PaymentMoveKind.VOIDED, _to_void)
refund = _effect("refund", PaymentMoveKind.REFUNDED, _to_refund)
