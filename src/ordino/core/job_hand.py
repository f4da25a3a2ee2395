"""A job in hand of a worker (``core.job_runner``), and what its rows are and come to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct

from ordino.core.errors import Refused
from ordino.core.failures import words_of
from ordino.core.jobs import JobKind, Row, RowOutcome
from ordino.core.leases import LeaseLost

log = logging.getLogger("ordino.jobs")
FAULT = "Ordino has a fault here, and it is logged. Nothing was changed for this row; it can be sent again."


class Taken(Struct, frozen=True, kw_only=True):
    """A job in hand. ``since`` is when its lease was asked for, in ``elapsed_seconds``."""

    job_id: UUID
    kind: str
    parameters: str
    state: str
    started_by: str | None
    total: int | None
    done: int
    cursor: str | None
    tries: int
    lease: UUID
    since: float


class Hand:
    """What is known of a job while it is in hand: ``size`` is how many rows are done at once."""

    def __init__(self, taken: Taken, kind: JobKind) -> None:
        self.taken = taken
        self.kind = kind
        self.parameters = msgspec.json.decode(taken.parameters, type=kind.parameters)
        self.cursor = (
            None if taken.cursor is None else msgspec.json.decode(taken.cursor, type=kind.cursor or dict[str, Any])
        )
        self.size = kind.set_size if taken.tries <= 1 else max(1, kind.set_size >> (2 * (taken.tries - 1)))
        self.tries = taken.tries
        self.over = False


def mine(rows: Sequence[Record]) -> Record | None:
    """What a fenced statement gave back. Raises ``LeaseLost`` where it gave nothing: the job is another worker's."""
    if not rows:
        raise LeaseLost
    return rows[0]


def rows_in_hand(found: Sequence[Record], kind: JobKind | None) -> list[Row]:
    """Rows in hand; without a kind, what they say is not looked at."""
    if kind is None:
        return [Row(row_no=row["row_no"], subject=row["subject"], input=None) for row in found]
    decode = msgspec.json.Decoder(kind.row).decode
    return [Row(row_no=row["row_no"], subject=row["subject"], input=decode(row["input"])) for row in found]


def refusal_of(error: Exception, hand: Hand) -> RowOutcome:
    """What a row that failed alone is refused with."""
    if isinstance(error, Refused):
        return RowOutcome(code=error.code, detail=words_of(error))
    log.error("a row of the job %s (%s) failed", hand.taken.job_id, hand.taken.kind, exc_info=error)
    return RowOutcome(code="fault", detail=FAULT)
