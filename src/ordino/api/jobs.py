"""Jobs, delayed commands and the schedule over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Union
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi.spec import Operation as Documented
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from ordino.api.job_bodies import Uploaded, delayed_types, job_types, read_job
from ordino.core import jobs
from ordino.core.database import Database
from ordino.core.errors import Fault, Forbidden, Invalid
from ordino.core.jobs import JobKind, JobView, Outcome, RowView, State
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.core.rows import NDJSON, media_type_of
from ordino.core.schedule import DutyView, schedule
from ordino.inventory.history import LAST
from ordino.web.answers import answer_once
from ordino.web.bodies import JSON, apart
from ordino.web.bulk import Limit, rows_of, whole
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import delete, get, post
from ordino.web.scopes import BEARER


class Jobs(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    jobs: list[JobView]
    next: UUID | None


class JobRows(Struct, frozen=True):
    """In order; ``next`` is the ``after`` of the page that follows, if there may be one."""

    rows: list[RowView]
    next: int | None


class Duties(Struct, frozen=True):
    """All recurring work, by name."""

    schedule: list[DutyView]


def refuse_scope(kind: JobKind) -> None:
    """Raises ``Forbidden`` where the caller's key may not start such a job."""
    _refuse_lacking(kind.needs, f"a job of the kind `{kind.name}`")


def refuse_shown(name: str) -> None:
    """Raises ``Forbidden`` where the caller's key may not see what comes of such a job. Who may start it may."""
    kind, bearer = registry.jobs.get(name), BEARER.get()
    if kind is not None and bearer is not None and not kind.needs <= bearer.permissions:
        _refuse_lacking(kind.shows, f"the result of a job of the kind `{name}`")


def _refuse_lacking(needs: frozenset[Permission], what: str) -> None:
    bearer = BEARER.get()
    if bearer is not None and (lacking := sorted(needs - bearer.permissions)):
        words = " and ".join(map(repr, map(str, lacking)))
        raise Forbidden(f"This key lacks {words}, which {what} needs. Use a key that has it.")


def _key_id() -> UUID | None:
    """The key that is used: what it starts ends when it is revoked."""
    bearer = BEARER.get()
    return None if bearer is None else bearer.key_id


async def _upload(request: Request[Any, Any, Any], database: Database, name: str | None) -> Response[bytes]:
    kinds = {one: kind for one, kind in registry.jobs.items() if kind.uploaded is not None}
    if name is None or name not in kinds:
        said = f"no rows can be uploaded for {name!r}" if name else "say which kind of job the rows are for"
        raise Invalid(
            f"With {NDJSON}, {said}; add ?kind={sorted(kinds)[0]} to the path (of: {', '.join(sorted(kinds))})."
        )
    refuse_scope(kinds[name])
    uploaded = Uploaded(kinds[name])
    try:
        await uploaded.read(rows_of(request, kinds[name].row, decode=True))
        key_id = _key_id()
        return await answer_once(
            request, database, lambda tx: uploaded.start(tx, key_id), status=202, sent=lambda: uploaded.digest
        )
    finally:
        uploaded.close()


# -- jobs ------------------------------------------------------------------------------------------------------------------

_SENT: Any = Union[tuple(job_types().values())]  # noqa: UP007 - made from a tuple
_DELAYED: Any = Union[tuple(delayed_types().values())]  # noqa: UP007


@post(
    "/v1/jobs",
    operation=Operation(name="jobs.start", permission=Permission.JOBS_RUN, refusals={"invalid": 400, "forbidden": 403}),
    summary="Start a job",
    tags=["jobs"],
    status_code=202,
    operation_class=described(
        _SENT,
        JobView,
        rows={NDJSON: "Rows of the kind that `?kind=` names, such as one order a line for import_orders."},
    ),
    request_max_body_size=None,  # rows may be of any length; JSON has its own limit
)
async def post_job(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    kind: Annotated[
        str | None, QueryParameter(description="With rows of NDJSON: the kind of job that they are for.")
    ] = None,
) -> Response[bytes]:
    """Its `kind` with its parameters; or rows of NDJSON. The answer is the job in its queue; a worker does it. What makes no sense
    as a whole is refused at once; a single row is refused when it comes to it.
    """
    if media_type_of(request.headers.get("content-type", "")) == NDJSON:
        return await _upload(request, database, kind)
    if kind is not None:
        detail = f"Send `kind` in the body; the query names it for rows of {NDJSON} only."
        raise Invalid(detail, faults=[Fault("/kind", detail)])
    wanted, sent = await apart(lambda said: read_job(said, job_types()), await whole(request))
    refuse_scope(wanted)
    at, key_id = database.clock.now(), _key_id()
    said = [wanted.name, sent]
    return await answer_once(
        request, database, lambda tx: jobs.start(tx, wanted, sent, at=at, key_id=key_id), status=202, sent=said
    )


@get(
    "/v1/jobs",
    operation=Operation(name="jobs.list", permission=Permission.JOBS_READ),
    summary="List jobs",
    tags=["jobs"],
)
async def list_jobs(
    database: NamedDependency[Database],
    in_state: Annotated[State | None, QueryParameter(name="state", description="Only those in this state.")] = None,
    kind: FromQuery[str | None] = None,
    before: Annotated[UUID, QueryParameter(description="The `next` of the page before.")] = LAST,
    limit: Limit = 100,
) -> Jobs:
    """Newest first, page by page. Jobs that are over are forgotten after ORDINO_JOB_DAYS days."""
    if kind is not None:
        jobs.kind_named(registry.jobs, kind)
    found = await database.read(lambda tx: jobs.jobs(tx, state=in_state, kind=kind, before=before, limit=limit))
    return Jobs(found, found[-1].job_id if len(found) == limit else None)


@get(
    "/v1/jobs/{job_id:uuid}",
    operation=Operation(name="jobs.get", permission=Permission.JOBS_READ, refusals=NOT_FOUND),
    summary="One job",
    tags=["jobs"],
)
async def get_job(database: NamedDependency[Database], job_id: FromPath[UUID]) -> JobView:
    """How far it has come."""
    return await database.read(lambda tx: jobs.job(tx, job_id))


@get(
    "/v1/jobs/{job_id:uuid}/rows",
    operation=Operation(
        name="jobs.rows", permission=Permission.JOBS_READ, personal=True, refusals={**NOT_FOUND, "forbidden": 403}
    ),
    summary="A job's rows and their outcomes",
    tags=["jobs"],
)
async def get_job_rows(
    database: NamedDependency[Database],
    job_id: FromPath[UUID],
    outcome: Annotated[Outcome | None, QueryParameter(description="Only those with this outcome.")] = None,
    after: Annotated[int, QueryParameter(ge=-1, le=2**62, description="The `next` of the page before.")] = 0,
    limit: Limit = 100,
) -> JobRows:
    """In order. A refused row says why; of uploaded rows, the number is the line."""
    refuse_shown((await database.read(lambda tx: jobs.job(tx, job_id))).kind)
    found = await database.read(lambda tx: jobs.rows_of_job(tx, job_id, outcome=outcome, after=after, limit=limit))
    return JobRows(found, found[-1].row_no if len(found) == limit else None)


@dataclass
class _DocumentOrLines(Documented):
    """One JSON document, or lines of NDJSON."""

    answers: ClassVar[str] = "JSON | NDJSON"

    def to_schema(self) -> dict[str, Any]:
        schema = super().to_schema()
        schema["responses"]["200"]["content"] = {JSON: {"schema": {}}, NDJSON: {"schema": {"type": "string"}}}
        return schema


@get(
    "/v1/jobs/{job_id:uuid}/result",
    operation=Operation(
        name="jobs.result",
        permission=Permission.JOBS_READ,
        personal=True,
        refusals={**NOT_FOUND, "forbidden": 403, "conflict": 409},
    ),
    summary="The result of a job",
    tags=["jobs"],
    operation_class=_DocumentOrLines,
)
async def get_job_result(database: NamedDependency[Database], job_id: FromPath[UUID]) -> Response[Any]:
    """Of a job that is over: one JSON document (replay_profile), or lines of NDJSON. These are the file that it wrote
    (export_orders), or what became of each of its rows.
    """
    found = await result_of(database, job_id)
    if found.lines is not None:
        return Stream(found.lines, media_type=NDJSON)
    return Response(found.document, media_type=JSON)


async def result_of(database: Database, job_id: UUID) -> jobs.Result:
    """Raises ``NotFound``, ``Forbidden``, and ``Conflict`` while the job is not over."""
    job = await database.read(lambda tx: jobs.job(tx, job_id))
    refuse_shown(job.kind)
    kind = registry.jobs.get(job.kind)
    return await jobs.result(database, job_id, writes_file=kind is not None and kind.writes_file)


@post(
    "/v1/jobs/{job_id:uuid}/cancellation",
    operation=Operation(name="jobs.cancel", permission=Permission.JOBS_RUN, refusals={**NOT_FOUND, "conflict": 409}),
    summary="Cancel a job",
    tags=["jobs"],
    status_code=200,
    operation_class=described(None, JobView),
)
async def post_job_cancellation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], job_id: FromPath[UUID]
) -> Response[bytes]:
    """It ends before its next row; what is done stays done. To repeat it changes nothing."""
    return await answer_once(request, database, lambda tx: jobs.cancel(tx, job_id))


# -- delayed commands ------------------------------------------------------------------------------------------------------


@post(
    "/v1/delayed_commands",
    operation=Operation(
        name="delayed_commands.start", permission=Permission.JOBS_RUN, refusals={"invalid": 400, "forbidden": 403}
    ),
    summary="Start a delayed command",
    tags=["jobs"],
    status_code=202,
    operation_class=described(_DELAYED, JobView),
)
async def post_delayed_command(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """A job that begins after `delay_seconds` of the database's clock, 10 by default. Until then it can be revoked: an "undo"."""
    wanted, sent = await apart(lambda said: read_job(said, delayed_types()), await request.body())
    refuse_scope(wanted)
    at, key_id = database.clock.now(), _key_id()
    return await answer_once(
        request,
        database,
        lambda tx: jobs.start(tx, wanted, sent.parameters, at=at, delay_seconds=sent.delay_seconds, key_id=key_id),
        status=202,
        sent=[wanted.name, sent],
    )


@post(
    "/v1/delayed_commands/{job_id:uuid}/revocation",
    operation=Operation(
        name="delayed_commands.revoke", permission=Permission.JOBS_RUN, refusals={**NOT_FOUND, "conflict": 409}
    ),
    summary="Revoke a delayed command",
    tags=["jobs"],
    status_code=200,
    operation_class=described(None, JobView),
)
async def post_revocation(
    request: Request[Any, Any, Any], database: NamedDependency[Database], job_id: FromPath[UUID]
) -> Response[bytes]:
    """Until it has begun: it is either done or revoked. To repeat it changes nothing."""
    return await answer_once(request, database, lambda tx: jobs.revoke(tx, job_id))


@delete(
    "/v1/delayed_commands/{job_id:uuid}",
    operation=Operation(
        name="delayed_commands.drop", permission=Permission.JOBS_RUN, refusals={**NOT_FOUND, "conflict": 409}
    ),
    summary="Revoke a delayed command",
    tags=["jobs"],
    status_code=200,
    operation_class=described(None, JobView),
)
async def delete_delayed_command(
    request: Request[Any, Any, Any], database: NamedDependency[Database], job_id: FromPath[UUID]
) -> Response[bytes]:
    """The same as its revocation."""
    return await answer_once(request, database, lambda tx: jobs.revoke(tx, job_id))


# -- the schedule ----------------------------------------------------------------------------------------------------------


@get(
    "/v1/schedule",
    operation=Operation(name="schedule.list", permission=Permission.JOBS_READ, personal=True),
    summary="Recurring work",
    tags=["jobs"],
)
async def get_schedule(database: NamedDependency[Database]) -> Duties:
    """What workers do again and again: how often, when it was done last and is due next, and how it went."""
    return Duties(await database.read(lambda tx: schedule(tx, registry.recurring)))


job_routes: list[Any] = [
    post_job,
    list_jobs,
    get_job,
    get_job_rows,
    get_job_result,
    post_job_cancellation,
    post_delayed_command,
    post_revocation,
    delete_delayed_command,
    get_schedule,
]
