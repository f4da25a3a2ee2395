"""What failed too often and waits for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from asyncpg import Record
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from ordino.core.database import Database, Tx
from ordino.core.errors import NotFound
from ordino.core.failures import MEANS, Failure
from ordino.core.permissions import Permission
from ordino.core.statements import statements
from ordino.web.answers import answer_once
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post

sql = statements("ordino.core")


class DeadLetter(Struct, frozen=True):
    """A reaction that failed too often, with its last error. ``failure`` is the code of how it failed, and ``what_happened`` says
    it in words: whether what a call asked for may have been done.
    """

    id: UUID
    kind: str
    subject_id: UUID
    event_id: UUID
    data: dict[str, Any]
    attempts: int
    last_error: str
    dead_at: datetime
    failure: Failure | None
    what_happened: str | None


class DeadLetters(Struct, frozen=True):
    """Oldest first."""

    dead_letters: list[DeadLetter]


class Replayed(Struct, frozen=True):
    """The reaction is due again."""

    id: UUID


async def dead_letters(tx: Tx, limit: int) -> list[DeadLetter]:
    """Oldest first."""
    rows = await sql.dead_letters(tx, limit=limit)
    return [_letter(row) for row in rows]


def _letter(row: Record) -> DeadLetter:
    failure = None if row["failure"] is None else Failure(row["failure"])
    return DeadLetter(
        id=row["id"],
        kind=row["kind"],
        subject_id=row["subject_id"],
        event_id=row["event_id"],
        data=msgspec.json.decode(row["data"]),
        attempts=row["attempts"],
        last_error=row["last_error"],
        dead_at=row["dead_at"],
        failure=failure,
        what_happened=None if failure is None else MEANS[failure],
    )


async def replay(tx: Tx, id: UUID, *, at: datetime) -> Replayed:
    """Raises ``NotFound``."""
    if not await sql.replay(tx, ids=[id], at=at):
        raise NotFound(f"There is no dead letter {id}.")
    return Replayed(id)


@get(
    "/v1/dead_letters",
    operation=Operation(name="dead_letters.list", permission=Permission.ENGINE_READ, personal=True),
    summary="Dead letters: what failed too often",
    tags=["reactions"],
)
async def list_dead_letters(
    database: NamedDependency[Database], limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100
) -> DeadLetters:
    """Oldest first. Errors may name a customer's address."""
    return DeadLetters(await database.read(lambda tx: dead_letters(tx, limit)))


@post(
    "/v1/dead_letters/{letter_id:uuid}/replay",
    operation=Operation(name="dead_letters.replay", permission=Permission.ENGINE_MANAGE, refusals=NOT_FOUND),
    summary="Retry a dead letter",
    tags=["reactions"],
    status_code=200,
    operation_class=described(None, Replayed),
)
async def post_replay(
    request: Request[Any, Any, Any], database: NamedDependency[Database], letter_id: FromPath[UUID]
) -> Response[bytes]:
    """The reaction is due now, with all its attempts before it."""
    return await answer_once(request, database, lambda tx: replay(tx, letter_id, at=database.clock.now()))


dead_letter_routes = [list_dead_letters, post_replay]
