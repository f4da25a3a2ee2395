"""Surveys: an order is asked once, some days after delivery, and answers once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ordino.aftercare.events import Ratings, SurveyAnswered, SurveyAsked
from ordino.aftercare.model import (
    QUESTIONS,
    Answered,
    Answers,
    SurveyAnswer,
    SurveyRefusal,
    SurveyRefused,
    SurveyView,
)
from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.orders import ledger as orders_ledger
from ordino.orders import notes
from ordino.orders.notes import About, NewNote

sql = statements("ordino.aftercare")
_encode = msgspec.json.Encoder().encode


async def ask(tx: Tx, order_ids: Sequence[UUID], *, at: datetime) -> int:
    """Ask orders that have something delivered and were not asked before. Returns how many."""
    orders = await orders_ledger.lock(tx, order_ids)
    delivered = {order_id for (order_id, _), line in (await orders_ledger.lines(tx, orders)).items() if line.delivered}
    rows = await sql.ask(tx, order_ids=[order_id for order_id in orders if order_id in delivered], at=at)
    asked = [row["order_id"] for row in rows]
    events = [
        Event(order_id, event_id, at, SurveyAsked(), orders[order_id].flow_version)
        for event_id, order_id in zip(new_ids(at, len(asked)), asked, strict=True)
    ]
    await record(tx, events)
    return len(asked)


async def answer(tx: Tx, answers: Sequence[SurveyAnswer], *, at: datetime) -> list[Answered | SurveyRefused]:
    """One outcome an answer, in order. An order's first answer stands."""
    orders = await orders_ledger.lock(tx, [a.order_id for a in answers])
    surveys = {row["order_id"]: row["answered_at"] for row in await sql.surveys(tx, order_ids=list(orders))}
    outcomes: list[Answered | SurveyRefused] = []
    kept: dict[UUID, SurveyAnswer] = {}
    for given in answers:
        order_id = given.order_id
        ratings = [rating for rating in msgspec.structs.astuple(given.answers) if rating is not None]
        if order_id not in orders:
            detail = f"There is no order {order_id}."
            outcomes.append(SurveyRefused(order_id, SurveyRefusal.UNKNOWN_ORDER, detail, "/order_id"))
        elif order_id not in surveys:
            detail = (
                "The customer was not asked for feedback yet; that happens some days after the delivery. Send it then."
            )
            outcomes.append(SurveyRefused(order_id, SurveyRefusal.NOT_ASKED, detail))
        elif surveys[order_id] is not None or order_id in kept:
            detail = "Feedback on this order was given before, and the first answer is kept."
            outcomes.append(SurveyRefused(order_id, SurveyRefusal.ANSWERED_BEFORE, detail))
        elif not all(1 <= rating <= 5 for rating in ratings) or not (ratings or given.comment):
            detail = f"Rate at least one of {', '.join(QUESTIONS)} from 1 to 5, or leave a comment."
            outcomes.append(SurveyRefused(order_id, SurveyRefusal.INVALID, detail, "/answers"))
        else:
            kept[order_id] = given
            outcomes.append(Answered(order_id))
    if kept:
        await sql.answer(
            tx,
            order_ids=list(kept),
            answers=[_encode(given.answers).decode() for given in kept.values()],
            at=at,
        )
        said = [
            NewNote(order_id=order_id, note_id=order_id, about=About.SURVEY, text=given.comment)
            for order_id, given in kept.items()
        ]
        await notes.write(tx, said, at=at)
        events = [
            Event(
                order_id, event_id, at, SurveyAnswered(answers=_ratings(given.answers)), orders[order_id].flow_version
            )
            for event_id, (order_id, given) in zip(new_ids(at, len(kept)), kept.items(), strict=True)
        ]
        await record(tx, events)
    return outcomes


def _ratings(answers: Answers) -> Ratings:
    return Ratings(**{name: rating for name, rating in msgspec.structs.asdict(answers).items() if rating is not None})


async def survey(tx: Tx, order_id: UUID) -> SurveyView:
    """What an order was asked and answered. Raises ``NotFound``."""
    rows = await sql.surveys(tx, order_ids=[order_id])
    if not rows:
        raise NotFound(f"The order {order_id} was not asked, or does not exist.")
    row = rows[0]
    answers = None if row["answers"] is None else msgspec.json.decode(row["answers"])
    return SurveyView(QUESTIONS, row["asked_at"], row["answered_at"], answers, row["comment"])
