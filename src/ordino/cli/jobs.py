"""``ordino jobs``: what people start and wait for; and ``ordino schedule``: what workers do again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from ordino.cli.terminal import Json, Key, Limit, change, console, on_database, show
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, NotFound
from ordino.core.jobs import OVER, STANDS, JobKind, JobView, Outcome, State

jobs_app = App(name="jobs", help="What people start and wait for: bulk actions, replays, exports and imports.")
POLL_SECONDS = 0.2
HINT_SECONDS = 5.0
LAST = UUID(int=(1 << 128) - 1)
PART_BYTES = 64 * 1024


def body_of(kind: str, fields: Sequence[str], body: Path | None) -> dict[str, Any]:
    """What the API would be sent. A value that is JSON counts as that, anything else as text. Raises ``Invalid``."""
    said: Any = {}
    if body is not None:
        text = sys.stdin.buffer.read() if str(body) == "-" else _read(body)
        try:
            said = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise Invalid(f"{body} is not JSON: {error}.") from error
        if not isinstance(said, dict):
            raise Invalid(f"{body} must hold one JSON object, with the parameters of the job.")
    for field in fields:
        name, sign, value = field.partition("=")
        if not (name and sign):
            raise Invalid(
                f'{field!r} is not clear; write FIELD=VALUE, such as reason=fraud or \'orders=[{{"order_id": "…"}}]\'.'
            )
        try:
            said[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            said[name] = value
    return {"kind": kind, **said}


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    return path.read_bytes()


async def _parts(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


@jobs_app.command
def start(
    kind: Annotated[str, Parameter(help="One that `ordino jobs kinds` lists.")],
    fields: Annotated[
        list[str] | None, Parameter(help="FIELD=VALUE, as the API takes them; VALUE is JSON or text.")
    ] = None,
    *,
    body: Annotated[
        Path | None,
        Parameter(help="A file of JSON with the parameters; - is the standard input.", allow_leading_hyphen=True),
    ] = None,
    rows: Annotated[Path | None, Parameter(help="A file of NDJSON with the job's rows, plain or gzipped.")] = None,
    delay_seconds: Annotated[float, Parameter(help="Begin later, so that it can be revoked; up to 300.")] = 0,
    wait: Annotated[bool, Parameter(help="Wait until it is over.", negative="")] = False,
    key: Key = None,
    json: Json = False,
) -> None:
    """Start a job. A worker does it; with --wait, ends with status 1 if anything was refused."""

    if rows is not None and not rows.is_file():
        raise NotFound(f"There is no file {rows}.")

    found = _start(body_of(kind, fields or (), body), rows, delay_seconds, key=key)
    if wait:
        found = on_database(lambda database: wait_for(database, found))
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        console.print(sentence_of(found), highlight=False, soft_wrap=True, markup=False)
    if wait and (found.refused or found.state is not State.DONE):
        raise SystemExit(1)


def _start(said: dict[str, Any], rows: Path | None, delay_seconds: float, *, key: str | None) -> JobView:
    from ordino.api.job_bodies import delayed_types, job_types, read_job
    from ordino.cli import running
    from ordino.core import jobs

    running.load_stages()
    if rows is not None:
        return _start_rows(said, rows, delay_seconds, key=key)
    later: dict[str, Any] = {}
    if delay_seconds:
        body = {"kind": said.pop("kind"), "parameters": said, "delay_seconds": delay_seconds}
        kind, wanted = read_job(msgspec.json.encode(body), delayed_types())
        sent, later = wanted.parameters, {"delay_seconds": wanted.delay_seconds}
    else:
        kind, sent = read_job(msgspec.json.encode(said), job_types())

    async def run(tx: Tx, at: datetime) -> JobView:
        return await jobs.start(tx, kind, sent, at=at, **later)

    return change("jobs start", [kind.name, sent, later], run, JobView, key=key)


def _start_rows(said: dict[str, Any], rows: Path, delay_seconds: float, *, key: str | None) -> JobView:
    from ordino.api.job_bodies import Uploaded
    from ordino.core import jobs
    from ordino.core.reactions import registry
    from ordino.core.rows import NDJSON, read_rows

    kind = jobs.kind_named(registry.jobs, said["kind"])
    if kind.uploaded is None or len(said) > 1 or delay_seconds:
        raise Invalid(f"The rows of {kind.name} cannot be given as a file alone; see `ordino jobs kinds`.")
    uploaded = Uploaded(kind)
    try:
        asyncio.run(uploaded.read(read_rows(_parts(rows), NDJSON, kind.row, decode=True)))
        digest = [kind.name, uploaded.digest]
        return change("jobs start", digest, lambda tx, _: uploaded.start(tx), JobView, key=key)
    finally:
        uploaded.close()


async def wait_for(database: Database, found: JobView) -> JobView:
    """The job once it is over, with a bar meanwhile. Ctrl-C ends the waiting, not the job."""
    from ordino.core.jobs import job

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    waited = 0.0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(found.kind, total=found.total)
        while found.state not in OVER:
            await asyncio.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
            found = await database.read(lambda tx: job(tx, found.job_id))  # noqa: B023 - awaited at once
            progress.update(bar, completed=found.done, total=found.total)
            if found.begun_at is None and HINT_SECONDS <= waited < HINT_SECONDS + POLL_SECONDS:
                progress.console.print("No worker has begun it yet. Does one run (`ordino work` or `ordino up`)?")
    return found


def sentence_of(job: JobView) -> str:
    """How a job stands."""
    total = "" if job.total is None else f" of {job.total:,}"
    words = (
        f"Job {job.job_id} ({job.kind}) {STANDS[job.state]}: {job.done:,}{total} done, {job.refused:,} of them refused."
    )
    return f"{words} {job.error}" if job.error else words


@jobs_app.command
def kinds(*, json: Json = False) -> None:
    """What kinds of jobs there are, and their fields."""
    from ordino.cli import running
    from ordino.core.reactions import registry

    running.load_stages()
    found = [
        {"kind": kind.name, "sentence": kind.sentence, "fields": _fields(kind)}
        for _, kind in sorted(registry.jobs.items())
    ]

    def table() -> Table:
        table = Table("kind", "what it does", "fields")
        for one in found:
            table.add_row(str(one["kind"]), str(one["sentence"]), " ".join(one["fields"]))
        return table

    show(found, table, json=json)


def _fields(kind: JobKind) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind.sent)]


@jobs_app.command(name="list")
def list_jobs(
    *,
    state: Annotated[State | None, Parameter(help="Only those in this state.")] = None,
    kind: Annotated[str | None, Parameter(help="Only those of this kind.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Jobs, newest first."""
    from ordino.core import jobs
    from ordino.core.reactions import registry

    async def run(database: Database) -> list[JobView]:
        if kind is not None:
            jobs.kind_named(registry.jobs, kind)
        return await database.read(lambda tx: jobs.jobs(tx, state=state, kind=kind, before=LAST, limit=limit))

    found = on_database(run)

    def table() -> Table:
        table = Table(Column("job", min_width=36), "kind", "state", "done", "refused", "created", "by")
        for job in found:
            done = f"{job.done:,}" if job.total is None else f"{job.done:,} of {job.total:,}"
            created = f"{job.created_at:%Y-%m-%d %H:%M}"
            table.add_row(str(job.job_id), job.kind, job.state, done, f"{job.refused:,}", created, job.started_by or "")
        return table

    show(found, table, json=json)


@jobs_app.command(name="show")
def show_job(job_id: UUID, *, json: Json = False) -> None:
    """How far a job is."""
    from ordino.core.jobs import job

    found = on_database(lambda database: database.read(lambda tx: job(tx, job_id)))
    _tell(found, json=json)


@jobs_app.command
def rows(
    job_id: UUID,
    *,
    outcome: Annotated[Outcome | None, Parameter(help="Only those with this outcome.")] = None,
    after: Annotated[int, Parameter(help="Only those after this number.", validator=Number(gte=0, lte=2**62))] = 0,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """A job's rows and their outcomes."""
    from ordino.core.jobs import rows_of_job

    found = on_database(
        lambda database: database.read(lambda tx: rows_of_job(tx, job_id, outcome=outcome, after=after, limit=limit))
    )

    def table() -> Table:
        table = Table("row", Column("subject", overflow="fold"), "outcome", "code", "detail")
        for row in found:
            table.add_row(str(row.row_no), row.subject, row.outcome, row.code or "", row.detail or "")
        return table

    show(found, table, json=json)


@jobs_app.command(name="result")
def job_result(
    job_id: UUID,
    *,
    to: Annotated[Path | None, Parameter(help="Write it to this file; by default it is printed.")] = None,
) -> None:
    """The result of a job: a document, a file, or the outcome of each row."""
    from ordino.api.jobs import result_of

    async def run(database: Database) -> None:
        found = await result_of(database, job_id)
        with to.open("wb") if to is not None else _Printed() as out:
            if found.document is not None:
                out.write(found.document + b"\n")
            elif found.lines is not None:
                async for part in found.lines:
                    out.write(part)

    on_database(run)


class _Printed:
    """The standard output, as a file that is left open."""

    def __enter__(self) -> _Printed:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def write(self, part: bytes) -> None:
        sys.stdout.write(part.decode())


@jobs_app.command
def cancel(job_id: UUID, *, key: Key = None, json: Json = False) -> None:
    """End a job before its next row. What it has done stays done."""
    from ordino.core.jobs import cancel as cancel_job

    found = change("jobs cancel", [job_id], lambda tx, _: cancel_job(tx, job_id), JobView, key=key)
    _tell(found, json=json)


@jobs_app.command
def revoke(job_id: UUID, *, key: Key = None, json: Json = False) -> None:
    """Revoke a delayed command that has not begun."""
    from ordino.core.jobs import revoke as revoke_job

    found = change("jobs revoke", [job_id], lambda tx, _: revoke_job(tx, job_id), JobView, key=key)
    _tell(found, json=json)


def _tell(found: JobView, *, json: bool) -> None:
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        console.print(sentence_of(found), highlight=False, soft_wrap=True, markup=False)


def show_schedule(*, json: Json = False) -> None:
    """The recurring work of workers: how often, when last and next, and its last error."""
    from ordino.core.reactions import registry
    from ordino.core.schedule import schedule

    found = on_database(lambda database: database.read(lambda tx: schedule(tx, registry.recurring)))

    def table() -> Table:
        table = Table("name", "every", "last run", "took", "next", "failures", Column("last error", overflow="fold"))
        for duty in found:
            every = "never" if duty.every_seconds is None else f"{duty.every_seconds:g} s"
            took = "" if duty.took_seconds is None else f"{duty.took_seconds:.2f} s"
            last, following = (f"{at:%Y-%m-%d %H:%M:%S}" if at else "" for at in (duty.last_run_at, duty.next_at))
            last = "running" if duty.running else last
            table.add_row(duty.name, every, last, took, following, str(duty.failures), duty.last_error or "")
        return table

    show(found, table, json=json)
