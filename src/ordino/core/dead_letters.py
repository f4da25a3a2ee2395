"""A job that tries many dead letters again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Fault, Invalid
from ordino.core.jobs import JobKind, NewRow, Nothing, Planned, Row, RowOutcome
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.core.statements import statements

sql = statements("ordino.core")
_encode = msgspec.json.Encoder().encode


class RetryDeadLetters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are tried again: those with these ``ids``, those of one reaction (``reaction``), or ``all``."""

    ids: Annotated[list[UUID], Meta(min_length=1, max_length=10_000)] | None = None
    reaction: Code | None = None
    all: bool = False


async def _plan(tx: Tx, sent: RetryDeadLetters, at: datetime) -> Planned:
    if sum((sent.ids is not None, sent.reaction is not None, sent.all)) != 1:
        detail = 'Say which dead letters to try again: list `ids`, name a `reaction`, or send `"all": true`; one of the three.'
        raise Invalid(detail, faults=[Fault("", detail)])
    if sent.reaction is not None and sent.reaction not in registry.names:
        known = ", ".join(sorted(registry.names))
        detail = f"There is no reaction {sent.reaction!r}; the reactions are {known}."
        raise Invalid(detail, faults=[Fault("/reaction", detail)])
    ids = sent.ids
    if ids is None:
        ids = [row["id"] for row in await sql.dead_letter_ids(tx, kind=sent.reaction)]
    rows = [
        NewRow(row_no=number, subject=str(id), input=_encode(id).decode())
        for number, id in enumerate(dict.fromkeys(ids), 1)
    ]
    return Planned(parameters=Nothing(), rows=rows)


async def _retry(tx: Tx, parameters: Nothing, rows: Sequence[Row], at: datetime) -> list[RowOutcome]:
    due = {row["id"] for row in await sql.replay(tx, ids=[row.input for row in rows], at=at)}
    return [
        RowOutcome()
        if row.input in due
        else RowOutcome(code="not_found", detail=f"There is no dead letter {row.input}.")
        for row in rows
    ]


registry.job(
    JobKind(
        name="retry_dead_letters",
        sentence="Try dead letters again, with all their attempts before them.",
        sent=RetryDeadLetters,
        plan=_plan,
        row=UUID,
        do=_retry,
        set_size=500,
        needs=frozenset({Permission.ENGINE_MANAGE}),
    )
)
