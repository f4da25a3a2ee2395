"""Cycle counts over HTTP: plans, sheets, counts, approvals."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid
from ordino.core.extent import extent_fault
from ordino.core.permissions import Permission
from ordino.inventory import count_sheets
from ordino.inventory.count_sheets import CountedLine, CountPlan, NewSheet, Sheet, SheetHead, Told
from ordino.inventory.history import LAST
from ordino.inventory.scopes import BY_PLAN, BY_SHEET
from ordino.network.scopes import BY_LOCATION, LOCATIONS
from ordino.web import bulk, scopes
from ordino.web.answers import answer_once, hold
from ordino.web.bodies import decode
from ordino.web.bulk import Kind, Limit
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get, post


class SheetPage(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    sheets: list[SheetHead]
    next: UUID | None


class Entries(Struct, frozen=True, forbid_unknown_fields=True):
    """What was counted."""

    counts: Annotated[list[CountedLine], Meta(min_length=1, max_length=count_sheets.MAX_LINES)]


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the lines that wait: those of ``skus``, or ``all``."""

    skus: Annotated[list[Code], Meta(min_length=1, max_length=count_sheets.MAX_LINES)] | None = None
    all: bool = False


class ToldLines(Struct, frozen=True):
    """What became of each, in order."""

    outcomes: list[Told]


_sheet = msgspec.json.Decoder(NewSheet)
_entries = msgspec.json.Decoder(Entries)
_choice = msgspec.json.Decoder(Choice)


@post(
    "/v1/count_sheets",
    operation=Operation(
        name="count_sheets.make",
        permission=Permission.STOCK_WRITE,
        by=BY_PLAN,
        items=True,
        refusals={"not_found": 404, "conflict": 409},
    ),
    summary="Make a count sheet",
    tags=["inventory"],
    status_code=201,
    operation_class=described(NewSheet, Sheet),
)
async def post_sheet(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """Of what is due by a plan, or of the SKUs that are named. Sheets of active plans are made every day by themselves."""
    wanted = decode(await request.body(), _sheet)

    async def make(tx: Tx) -> Sheet:
        await hold(request, tx, wanted)
        return await count_sheets.make_sheet(tx, wanted, at=database.clock.now())

    return await answer_once(request, database, make, status=201, sent=wanted)


@get(
    "/v1/count_sheets",
    operation=Operation(name="count_sheets.list", permission=Permission.STOCK_READ, by=BY_LOCATION, filters=LOCATIONS),
    summary="Count sheets, newest first",
    tags=["inventory"],
)
async def get_sheets(
    database: NamedDependency[Database],
    location: FromQuery[str | None] = None,
    before: FromQuery[UUID] = LAST,
    limit: Limit = 100,
) -> SheetPage:
    """Of one location, or all."""
    within = scopes.locations()
    found = await database.read(
        lambda tx: count_sheets.sheets_before(tx, before, limit, location=location, within=within)
    )
    return SheetPage(found, found[-1].sheet_id if len(found) == limit else None)


@get(
    "/v1/count_sheets/{sheet_id:uuid}",
    operation=Operation(name="count_sheets.get", permission=Permission.STOCK_READ, by=BY_SHEET, refusals=NOT_FOUND),
    summary="One count sheet",
    tags=["inventory"],
)
async def get_sheet(database: NamedDependency[Database], sheet_id: FromPath[UUID]) -> Sheet:
    """Blind: what is expected is told of no line that is still to be counted."""
    return await database.read(lambda tx: count_sheets.sheet_of(tx, sheet_id))


@post(
    "/v1/count_sheets/{sheet_id:uuid}/counts",
    operation=Operation(name="count_sheets.count", permission=Permission.STOCK_WRITE, by=BY_SHEET, refusals=NOT_FOUND),
    summary="Enter what was counted",
    tags=["inventory"],
    status_code=200,
    operation_class=described(Entries, ToldLines),
)
async def post_counts(
    request: Request[Any, Any, Any], database: NamedDependency[Database], sheet_id: FromPath[UUID]
) -> Response[bytes]:
    """What differs little is accepted; what differs much is to be counted again."""
    said = decode(await request.body(), _entries)

    async def enter(tx: Any) -> ToldLines:
        return ToldLines(await count_sheets.enter(tx, sheet_id, said.counts, at=database.clock.now()))

    return await answer_once(request, database, enter, sent=said)


@post(
    "/v1/count_sheets/{sheet_id:uuid}/approval",
    operation=Operation(
        name="count_sheets.approve", permission=Permission.STOCK_WRITE, by=BY_SHEET, refusals=NOT_FOUND
    ),
    summary="Approve variances",
    tags=["inventory"],
    status_code=200,
    operation_class=described(Choice, ToldLines),
)
async def post_approval(
    request: Request[Any, Any, Any], database: NamedDependency[Database], sheet_id: FromPath[UUID]
) -> Response[bytes]:
    """Of lines that wait, those of `skus` or with `"all": true` all: the stock becomes what was counted."""
    return await _decide(request, database, sheet_id, approve=True)


@post(
    "/v1/count_sheets/{sheet_id:uuid}/rejection",
    operation=Operation(name="count_sheets.reject", permission=Permission.STOCK_WRITE, by=BY_SHEET, refusals=NOT_FOUND),
    summary="Reject variances",
    tags=["inventory"],
    status_code=200,
    operation_class=described(Choice, ToldLines),
)
async def post_rejection(
    request: Request[Any, Any, Any], database: NamedDependency[Database], sheet_id: FromPath[UUID]
) -> Response[bytes]:
    """Of lines that wait, those of `skus` or with `"all": true` all: they are to be counted anew."""
    return await _decide(request, database, sheet_id, approve=False)


async def _decide(
    request: Request[Any, Any, Any], database: Database, sheet_id: UUID, *, approve: bool
) -> Response[bytes]:
    said = decode(await request.body() or b"{}", _choice)
    if fault := extent_fault("skus", said.skus, said.all, of="all lines that wait"):
        raise Invalid(fault.detail, faults=[fault])

    async def decide(tx: Any) -> ToldLines:
        at = database.clock.now()
        return ToldLines(await count_sheets.decide(tx, sheet_id, said.skus, approve=approve, at=at))

    return await answer_once(request, database, decide, sent=said)


routes: list[Any] = [
    *bulk.routes(
        Kind("count_plans", CountPlan, count_sheets.upsert_plans),
        "inventory",
        note="Each by its code: what is due when at a location, and what may differ by how much.",
        reads=Permission.STOCK_READ,
        writes=Permission.STOCK_WRITE,
        shown_by=BY_LOCATION,
        by_code=count_sheets.plans,
        after_code=count_sheets.plans_after,
    ),
    post_sheet,
    get_sheets,
    get_sheet,
    post_counts,
    post_approval,
    post_rejection,
]
