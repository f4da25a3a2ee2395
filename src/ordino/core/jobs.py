"""Jobs: what people start and wait for. ``core.job_runner`` is how workers do them.

JOB-1  What a job does to a row, and what became of the row, are one transaction: no row is done twice, and none is lost.
JOB-2  A job has done as many rows as have an outcome, and has refused as many as were refused.
JOB-3  A job is done once every row has an outcome. A row that is refused, or that fails, does not end it.
JOB-4  A job is one worker's at a time, by a lease of the database's clock; a job whose worker died goes on where it stopped.
JOB-5  A cancellation takes effect between two rows, or before the first one.
JOB-6  A delayed command is either begun or revoked.

A kind of job is declared by the stage whose verb it calls (``registry.job``). Most kinds do rows: ``plan`` says which when the job
is started, ``do`` does a set of them. Others take steps: each says how far it has come, and may give lines of a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ordino.core.clock import WallClock
from ordino.core.database import Database, Tx
from ordino.core.errors import Conflict, Invalid, NotFound, OrdinoError
from ordino.core.ids import new_id
from ordino.core.keys import refuse_revoked
from ordino.core.permissions import Permission
from ordino.core.statements import statements

sql = statements("ordino.core")
encode = msgspec.json.Encoder().encode
MOST_DELAY_SECONDS = 300.0
ROWS_AT_ONCE = 2000
WAIT_FOR_RESULT = (
    "The job {job_id} is not over yet. GET /v1/jobs/{job_id} tells how far it has come; ask again once it is over."
)


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"  # No worker has begun it.
    RUNNING = "running"
    CANCELLING = "cancelling"  # It is to end, and does so before its next row.
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # It could not go on; its error says why.


EXITS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.CANCELLING, State.DONE, State.FAILED}),
    # done: everything was done before the cancellation took effect
    State.CANCELLING: frozenset({State.CANCELLED, State.DONE, State.FAILED}),
    State.DONE: frozenset(),
    State.CANCELLED: frozenset(),
    State.FAILED: frozenset(),
}
OVER = frozenset(state for state, exits in EXITS.items() if not exits)
STANDS = {
    State.QUEUED: "has not begun",
    State.RUNNING: "is running",
    State.CANCELLING: "is being cancelled",
    State.DONE: "is done",
    State.CANCELLED: "is cancelled",
    State.FAILED: "has failed",
}


class Outcome(StrEnum):
    """What became of a row."""

    OK = "ok"
    REFUSED = "refused"
    OPEN = "open"  # Nothing yet; or nothing at all, if the job is over.


# -- what kinds are made of ------------------------------------------------------------------------------------------------


class RowOutcome(Struct, frozen=True, kw_only=True):
    """What became of a row: it was done, with an ``output`` as JSON has it; or refused, with a ``code`` and a sentence."""

    code: str | None = None
    detail: str | None = None
    pointer: str | None = None
    output: Any = None


class NewRow(Struct, frozen=True, kw_only=True):
    """A row to do. ``subject`` says to people what it is about; ``input`` is JSON, and is forgotten once the row is done. One that
    cannot be done has its refusal.
    """

    row_no: int
    subject: str
    input: str | None = None
    refused: RowOutcome | None = None


class Row(Struct, frozen=True, kw_only=True):
    """A row in hand. ``input`` is of its kind's type."""

    row_no: int
    subject: str
    input: Any


class Planned(Struct, frozen=True, kw_only=True):
    """What a job has to do: its rows, and what all of them share."""

    parameters: Struct
    rows: Sequence[NewRow] = ()


class Line(Struct, frozen=True, kw_only=True):
    """A line of the file that a job writes."""

    subject: str
    output: Any


class Step(Struct, frozen=True, kw_only=True):
    """How far a job without rows has come: so many more are ``done``, of ``total``; it goes on from ``cursor``. ``lines`` are added
    to its file. The last step has ``finished``, and the ``result`` where that is one document.
    """

    done: int
    total: int | None = None
    cursor: Struct | None = None
    lines: Sequence[Line] = ()
    finished: bool = False
    result: Any = None


Plan = Callable[[Tx, Any, datetime], Awaitable[Planned]]
"""What a job is to do, by what was sent. Raises ``Refused`` for what makes no sense as a whole."""
Do = Callable[[Tx, Any, Sequence[Row], datetime], Awaitable[Sequence[RowOutcome]]]
"""Parameters and rows -> what became of each, in the transaction in which that is kept."""
Advance = Callable[[Database, Any, Any, datetime], Awaitable[Step]]
"""Parameters and the last step's cursor (None at first) -> the next step. It changes nothing."""


class Nothing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class JobKind(Struct, frozen=True, kw_only=True):
    """One kind of job. ``sent`` is what callers send, ``parameters`` what a worker needs of it besides the rows.

    With ``do``, ``row`` is the type of a row's input, and ``set_size`` rows are done at once. With ``step``, ``cursor`` is the type
    of its cursor, and ``writes_file`` says that its result is lines. ``uploaded`` makes a row of a line of NDJSON, where rows may
    be uploaded. A worker runs ``at_once`` jobs of the kind side by side. ``needs`` are what a key that starts one needs besides
    `jobs.run`, and ``shows`` what one needs besides `jobs.read` that reads its rows and its result: it shows what these permissions
    show. ``may_be_delayed`` says that it can be a delayed command.
    """

    name: str
    sentence: str
    sent: type[Struct]
    parameters: type[Struct] = Nothing
    plan: Plan
    row: Any = None
    do: Do | None = None
    set_size: int = 50
    cursor: type[Struct] | None = None
    step: Advance | None = None
    writes_file: bool = False
    uploaded: Callable[[int, Any], NewRow] | None = None
    at_once: int = 2
    needs: frozenset[Permission]
    shows: frozenset[Permission] = frozenset()
    may_be_delayed: bool = False

    @property
    def has_rows(self) -> bool:
        """Does ``core.job_rows`` hold something for each that is done?"""
        return self.do is not None or self.writes_file


# -- what is shown ---------------------------------------------------------------------------------------------------------


class JobView(Struct, frozen=True, kw_only=True):
    """A job. Times are of the database's clock. ``total`` is None until it is known; ``done`` counts what was ``refused``, too."""

    job_id: UUID
    kind: str
    parameters: dict[str, Any]
    state: State
    started_by: str | None
    created_at: datetime
    starts_at: datetime
    begun_at: datetime | None
    finished_at: datetime | None
    total: int | None
    done: int
    refused: int
    error_code: str | None
    error: str | None


class RowView(Struct, frozen=True, kw_only=True):
    """A row of a job. A refused one says why with a code and a sentence; ``pointer`` names the field."""

    row_no: int
    subject: str
    outcome: Outcome
    code: str | None
    detail: str | None
    pointer: str | None
    output: Any


JobId = Annotated[UUID, Meta(description="The job's id.")]


async def jobs(tx: Tx, *, state: State | None, kind: str | None, before: UUID, limit: int) -> list[JobView]:
    """One page, newest first."""
    return [_view(row) for row in await sql.list_jobs(tx, state=state, kind=kind, before=before, limit=limit)]


async def job(tx: Tx, job_id: UUID) -> JobView:
    """Raises ``NotFound``."""
    for row in await sql.job(tx, job_id=job_id):
        return _view(row)
    raise NotFound(f"There is no job {job_id}. Jobs that are over are forgotten after ORDINO_JOB_DAYS days.")


async def rows_of_job(tx: Tx, job_id: UUID, *, outcome: Outcome | None, after: int, limit: int) -> list[RowView]:
    """One page of a job's rows, in order. Raises ``NotFound``."""
    await job(tx, job_id)
    read = sql.job_rows if outcome is None else getattr(sql, f"job_rows_{outcome}")
    found = await read(tx, job_id=job_id, after=after, limit=limit)
    return [RowView(**{**dict(row), "output": _decoded(row["output"])}) for row in found]


class Result(Struct, frozen=True, kw_only=True):
    """What a job came to: one ``document`` as JSON, or ``lines`` of NDJSON: of its file, or what became of each row."""

    document: bytes | None = None
    lines: AsyncIterator[bytes] | None = None


async def result(database: Database, job_id: UUID, *, writes_file: bool) -> Result:
    """Raises ``NotFound``, and ``Conflict`` while the job is not over or if it came to nothing."""
    found = await database.read(lambda tx: sql.job_result(tx, job_id=job_id))
    if not found:
        await database.read(lambda tx: job(tx, job_id))
        raise NotFound(f"There is no job {job_id}.")
    [head] = found
    if head["state"] not in OVER:
        raise Conflict(WAIT_FOR_RESULT.format(job_id=job_id))
    if not head["has_rows"]:
        if head["result"] is None:
            said = f"The job {job_id} {STANDS[State(head['state'])]} and has no result; start it again to get one."
            raise Conflict(said)
        return Result(document=head["result"].encode())
    return Result(lines=_lines(database, job_id, writes_file))


class Forgotten(OrdinoError):
    """A job was forgotten while its result was being read: what was read so far is not all of it."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            f"The job {job_id} was forgotten while its result was being read, so what you have is not all of it. Start the job "
            "again; jobs are kept for ORDINO_JOB_DAYS days after they are over."
        )


async def _page(tx: Tx, job_id: UUID, after: int) -> Sequence[Any]:
    """Raises ``Forgotten`` if some rows may be gone: that is said in the transaction that deletes the first of them."""
    rows = await sql.job_rows(tx, job_id=job_id, after=after, limit=ROWS_AT_ONCE)
    found = await sql.job_result(tx, job_id=job_id)
    if not found or not found[0]["has_rows"]:
        raise Forgotten(job_id)
    return rows


async def _lines(database: Database, job_id: UUID, writes_file: bool) -> AsyncIterator[bytes]:
    """Page by page; no connection is held while somebody reads slowly. Raises ``Forgotten``: the answer breaks off."""
    after = -1
    while True:
        rows = await database.read(lambda tx, a=after: _page(tx, job_id, a))  # type: ignore[misc]
        if not rows:
            return
        if writes_file:
            yield "".join(f"{row['output']}\n" for row in rows).encode()
        else:
            yield b"".join(encode(RowView(**{**dict(row), "output": _decoded(row["output"])})) + b"\n" for row in rows)
        after = rows[-1]["row_no"]


def _view(row: Any) -> JobView:
    return JobView(**{**dict(row), "parameters": _decoded(row["parameters"]), "state": State(row["state"])})


def _decoded(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


# -- what people do --------------------------------------------------------------------------------------------------------


async def start(
    tx: Tx, kind: JobKind, sent: Any, *, at: datetime, delay_seconds: float = 0.0, key_id: UUID | None = None
) -> JobView:
    """Plan a job and put it into the queue, to begin after so many seconds of the database's clock. It ends when the key
    that starts it (None: none is used) is revoked. Raises ``Refused``.
    """
    planned = await kind.plan(tx, sent, at)
    job_id = await begin(tx, kind, planned.parameters, delay_seconds=delay_seconds, key_id=key_id)
    for first in range(0, len(planned.rows), ROWS_AT_ONCE):
        await add_rows(tx, job_id, planned.rows[first : first + ROWS_AT_ONCE])
    if kind.do is not None:
        refused = sum(row.refused is not None for row in planned.rows)
        await sql.count_job_rows(tx, job_id=job_id, total=len(planned.rows), done=refused)
    found = await job(tx, job_id)
    await refuse_revoked(tx, key_id)
    return found


async def begin(
    tx: Tx, kind: JobKind, parameters: Struct, *, delay_seconds: float = 0.0, key_id: UUID | None = None
) -> UUID:
    """A job whose rows are added in the same transaction, which ends by asking whether its key is revoked (``refuse_revoked``)."""
    job_id = new_id(WallClock().now())
    await sql.start_job(
        tx,
        job_id=job_id,
        kind=kind.name,
        parameters=encode(parameters).decode(),
        started_by=tx.actor,
        delay_seconds=delay_seconds,
        has_rows=kind.has_rows,
        total=None,
        key_id=key_id,
    )
    return job_id


async def add_rows(tx: Tx, job_id: UUID, rows: Sequence[NewRow]) -> None:
    """Rows that a job is to do; those that are refused already have their outcome."""
    if not rows:
        return
    refused = [row.refused or RowOutcome() for row in rows]
    await sql.add_job_rows(
        tx,
        job_id=job_id,
        row_nos=[row.row_no for row in rows],
        subjects=[row.subject for row in rows],
        inputs=[row.input for row in rows],
        outcomes=[None if row.refused is None else Outcome.REFUSED for row in rows],
        codes=[one.code for one in refused],
        details=[one.detail for one in refused],
        pointers=[one.pointer for one in refused],
        outputs=[None for _ in rows],
    )


async def cancel(tx: Tx, job_id: UUID) -> JobView:
    """End a job before its next row. What it has done stays done. To repeat it changes nothing. Raises ``NotFound``, and
    ``Conflict`` if the job has ended otherwise.
    """
    moved = await sql.cancel_job(tx, job_id=job_id)
    found = await job(tx, job_id)
    if moved and moved[0]["state"] == State.CANCELLED:
        await sql.forget_inputs(tx, job_id=job_id)
    if found.state in (State.DONE, State.FAILED):
        raise Conflict(f"The job {job_id} {STANDS[found.state]} and can no longer be cancelled.")
    return found


async def revoke(tx: Tx, job_id: UUID) -> JobView:
    """Take a command back that has not begun. To repeat it changes nothing. Raises ``NotFound``, and ``Conflict`` once it has
    begun.
    """
    if await sql.revoke_job(tx, job_id=job_id):
        await sql.forget_inputs(tx, job_id=job_id)
    found = await job(tx, job_id)
    if found.state is State.CANCELLED and found.begun_at is None:
        return found
    detail = f"The command {job_id} has begun and can no longer be revoked. Cancel the job, to stop what is left of it."
    if found.state in OVER:
        detail = f"The command {job_id} {STANDS[found.state]} and can no longer be revoked."
    raise Conflict(detail, code="begun")


def kind_named(known: dict[str, JobKind], name: Any) -> JobKind:
    """Raises ``Invalid`` with the kinds that there are."""
    if name not in known:
        raise Invalid(f"There is no kind of job {name!r}; the kinds are {', '.join(sorted(known))}.")
    return known[name]
