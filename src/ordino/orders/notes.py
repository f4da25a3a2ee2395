"""What people write about an order in words of their own: why they cancel, what a refund is for, how they liked it.

Such words may name a customer, and can be erased. Events, moves and reactions are never changed, and carry codes only; a note
belongs to the event (or the survey) that has its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_id
from ordino.core.statements import statements
from ordino.orders import ledger
from ordino.orders.events import NotesErased

sql = statements("ordino.orders")
Note = Annotated[
    str,
    Meta(
        max_length=1000,
        pattern=r"^[^\x00]*$",
        description="Words of your own. They are kept with the order's notes, in no event, and can be erased.",
    ),
]


class About(StrEnum):
    """What a note is about."""

    CANCELLATION = "cancellation"
    EXCEPTION = "exception"
    REFUND = "refund"
    RETURN = "return"
    SURVEY = "survey"


class NewNote(Struct, frozen=True, kw_only=True):
    """``note_id`` is the event that it belongs to; of a survey, the order."""

    order_id: UUID
    note_id: UUID
    about: About
    text: str | None


class NoteView(Struct, frozen=True, kw_only=True):
    """One note. ``written_by`` is the name of an API key or a command; a customer's own words have none."""

    note_id: UUID
    about: About
    text: str
    written_by: str | None
    written_at: datetime


class Erased(Struct, frozen=True, kw_only=True):
    """How many notes there were."""

    order_id: UUID
    notes: int


async def write(tx: Tx, notes: Iterable[NewNote], *, at: datetime) -> None:
    """Those without words are left out. The orders exist."""
    said = [note for note in notes if note.text]
    if said:
        await sql.write_notes(
            tx,
            order_ids=[note.order_id for note in said],
            note_ids=[note.note_id for note in said],
            abouts=[note.about for note in said],
            texts=[note.text for note in said],
            written_by=tx.actor,
            at=at,
        )


async def notes_of(tx: Tx, order_id: UUID) -> list[NoteView]:
    """All that was written about an order, oldest first. Raises ``NotFound``."""
    if not await ledger.orders(tx, [order_id]):
        raise NotFound(f"There is no order {order_id}.")
    return [NoteView(**row) for row in await sql.notes_of_order(tx, order_id=order_id)]


async def erase(tx: Tx, order_id: UUID, *, at: datetime) -> Erased:
    """Nothing that was written about the order can be read any more; that it was erased is an event. Raises ``NotFound``."""
    orders = await ledger.lock(tx, [order_id])
    if not orders:
        raise NotFound(f"There is no order {order_id}.")
    erased = len(await sql.erase_notes(tx, order_id=order_id))
    if erased:
        payload = NotesErased(notes=erased)
        await record(tx, [Event(order_id, new_id(at), at, payload, orders[order_id].flow_version)])
    return Erased(order_id=order_id, notes=erased)
