"""What would be decided, promised and saved, over HTTP: previews, promises, capacity, reevaluations, replays and shadows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Meta, Struct

from ordino.catalog.scopes import BY_CHANNEL, SELLERS
from ordino.core.batcher import Batcher
from ordino.core.codes import Code
from ordino.core.database import Database, Tx
from ordino.core.permissions import Permission
from ordino.core.upserts import NotUpserted, Updated
from ordino.inventory.history import LAST
from ordino.network.scopes import BY_LOCATION
from ordino.orders.capacity import CapacityView, capacity_of
from ordino.orders.exceptions import ExceptionView, Resolve, Resolved, exceptions, resolve
from ordino.orders.jobs import document_of
from ordino.orders.outlook import MISSED_MINOR, Foreseen, PositionOutlook, foresee, load_outlook
from ordino.orders.preview import Preview, PreviewRequest, preview
from ordino.orders.promise import Promise, PromiseRefused, PromiseRequest, promise
from ordino.orders.reevaluate import Reevaluated, decide_anew, reevaluations, write_down
from ordino.orders.replay import replay
from ordino.orders.scopes import BY_EXCEPTION, BY_ORDER
from ordino.orders.shadows import shadow_report
from ordino.sourcing.compare import Report
from ordino.web import scopes
from ordino.web.answers import answer_once, command
from ordino.web.bodies import JSON, Batch, Body, apart, decode, encode
from ordino.web.bulk import Limit
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.problems import as_error
from ordino.web.routes import get, post, put

PREVIEWS = msgspec.json.Decoder(PreviewRequest)
OUTLOOKS = Body("positions", PositionOutlook)
PROMISES = Body("promises", PromiseRequest, most=500)
Promiser = Batcher[PromiseRequest, Promise | PromiseRefused]


@post(
    "/v1/sourcing/preview",
    operation=Operation(
        name="sourcing.preview",
        permission=Permission.PROMISES_ASK,
        asks=True,
        refusals={"not_found": 404, "unknown_sku": 422, "unknown_service_level": 422, "unknown_hold": 422},
    ),
    summary="Preview where an order would come from",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(PreviewRequest, Preview),
)
async def post_preview(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Preview:
    """The decision that placement would make now, with its reasons. Nothing is reserved or written."""
    wanted = decode(await request.body(), PREVIEWS)
    return await database.read(lambda tx: preview(tx, wanted, at=database.clock.now()))


@post(
    "/v1/promises",
    operation=Operation(
        name="promises.ask",
        permission=Permission.PROMISES_ASK,
        by=BY_CHANNEL,
        items=True,
        asks=True,
        refusals=refusals(PromiseRefused),
    ),
    summary="What can be promised?",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(PROMISES, Promise | PromiseRefused),
)
async def post_promises(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """Of one cart, a list, or `{"promises": [...]}`: delivery options with dates and costs, and stores to collect at. What an order
    names of an option, placement keeps. Nothing is reserved.
    """
    if scopes.narrowed():
        return await command(request, database, PROMISES, promise, PromiseRefused)
    status, body = await answer_promises(request.app.state.promiser, await request.body())
    return Response(body, status_code=status, media_type=JSON)


async def answer_promises(promiser: Promiser, body: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer. A refusal of a single question is raised; in a list it is a value."""
    asked, alone = await apart(PROMISES.decode, body)
    if not alone:
        return 200, encode(Batch(await asyncio.gather(*(promiser.submit(one) for one in asked))))
    answer = await promiser.submit(asked[0])
    if isinstance(answer, PromiseRefused):
        raise as_error(answer)
    return 200, encode(answer)


class Exceptions(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    exceptions: list[ExceptionView]
    next: UUID | None


RESOLVES = msgspec.json.Decoder(Resolve)


@get(
    "/v1/exceptions",
    operation=Operation(name="exceptions.list", permission=Permission.ORDERS_READ, by=BY_ORDER, filters=SELLERS),
    summary="Exceptions: what needs a person",
    tags=["orders"],
)
async def get_exceptions(
    database: NamedDependency[Database],
    before: FromQuery[UUID] = LAST,
    limit: Limit = 100,
    all: FromQuery[bool] = False,
) -> Exceptions:
    """Newest first; those that are open, or all."""
    found = await database.read(lambda tx: exceptions(tx, before, limit, all=all, sellers=scopes.sellers()))
    return Exceptions(found, found[-1].exception_id if len(found) == limit else None)


@post(
    "/v1/exceptions/{exception_id:uuid}/resolution",
    operation=Operation(
        name="exceptions.resolve",
        permission=Permission.ORDERS_WRITE,
        by=BY_EXCEPTION,
        refusals={"not_found": 404, "resolved": 409, "of_a_parcel": 409},
    ),
    summary="Resolve an exception",
    tags=["orders"],
    status_code=200,
    operation_class=described(Resolve, Resolved),
)
async def post_resolution(
    request: Request[Any, Any, Any], database: NamedDependency[Database], exception_id: FromPath[UUID]
) -> Response[bytes]:
    """Source again, cancel what waits, or close it."""
    wish = decode(await request.body(), RESOLVES)
    return await answer_once(
        request, database, lambda tx: resolve(tx, exception_id, wish, at=database.clock.now()), sent=wish
    )


class CapacityDays(Struct, frozen=True):
    """By location and day."""

    capacity: list[CapacityView]


@get(
    "/v1/capacity",
    operation=Operation(name="capacity.list", permission=Permission.NETWORK_READ, by=BY_LOCATION, refusals=NOT_FOUND),
    summary="Used capacity of locations, day by day",
    tags=["network"],
)
async def get_capacity(
    database: NamedDependency[Database],
    first: FromQuery[date],
    last: FromQuery[date],
    location: FromQuery[list[str] | None] = None,
) -> CapacityDays:
    """Of some locations, or of all that are limited: limits, what is held until release, what is confirmed, and what is left."""
    return CapacityDays(await database.read(lambda tx: capacity_of(tx, location or [], first, last)))


class Reevaluations(Struct, frozen=True):
    """Newest first; ``next`` is the ``before`` of the page that follows, if there may be one."""

    reevaluations: list[Reevaluated]
    next: UUID | None


@post(
    "/v1/sourcing/reevaluations",
    operation=Operation(name="sourcing.reevaluate", permission=Permission.SOURCING_RUN),
    summary="Reevaluate orders that are not released",
    tags=["sourcing"],
    status_code=201,
    operation_class=described(None, Reevaluated),
)
async def post_reevaluation(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """All orders that are not released yet, together; no promise gets worse. Workers do so by themselves, too, and once more does
    no harm.
    """
    runs: list[Reevaluated] = []

    async def decide() -> None:
        runs.append(await decide_anew(database, at=database.clock.now()))

    return await answer_once(request, database, lambda tx: write_down(tx, runs[-1]), status=201, before=decide)


@get(
    "/v1/sourcing/reevaluations",
    operation=Operation(name="sourcing.reevaluations", permission=Permission.POLICIES_READ),
    summary="What reevaluation has saved",
    tags=["sourcing"],
)
async def get_reevaluations(
    database: NamedDependency[Database], before: FromQuery[UUID] = LAST, limit: Limit = 100
) -> Reevaluations:
    """Run by run, newest first."""
    found = await database.read(lambda tx: reevaluations(tx, before, limit))
    return Reevaluations(found, found[-1].reevaluation_id if len(found) == limit else None)


class ReplayRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A candidate: a document, or a version that is kept; and the orders placed from ``since`` until before ``until``."""

    since: Annotated[datetime, Meta(tz=True)]
    until: Annotated[datetime, Meta(tz=True)]
    document: Annotated[str, Meta(max_length=50_000)] | None = None
    profile_version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    channel: Code | None = None
    most: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


REPLAYS = msgspec.json.Decoder(ReplayRequest)


@post(
    "/v1/sourcing/replays",
    operation=Operation(name="sourcing.replay", permission=Permission.SOURCING_RUN, asks=True, refusals=NOT_FOUND),
    summary="Try a routing profile on past orders",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(ReplayRequest, Report),
)
async def post_replay(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Report:
    """Against the stock as it then was: cost, splits, distance, on-time, fill rate and load beside what happened, and the orders
    that differ. Nothing is changed. A longer span is a job of the kind `replay_profile`.
    """
    wanted = decode(await request.body(), REPLAYS)
    document = await database.read(lambda tx: document_of(tx, wanted.document, wanted.profile_version))
    return await replay(database, document, wanted.since, wanted.until, channel=wanted.channel, most=wanted.most)


@get(
    "/v1/sourcing/profiles/{version:int}/report",
    operation=Operation(name="profiles.report", permission=Permission.POLICIES_READ, refusals=NOT_FOUND),
    summary="The report of a trial beside the live profiles",
    tags=["sourcing"],
)
async def get_shadow_report(database: NamedDependency[Database], version: FromPath[int]) -> Report:
    """Over all orders that were placed while the version was a shadow."""
    return await database.read(lambda tx: shadow_report(tx, version))


class ForeseeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From the orders of so many ``weeks``; ``horizon_weeks`` until the next replenishment; what a unit that is missed costs."""

    weeks: Annotated[int, Meta(ge=1, le=104)] = 8
    horizon_weeks: Annotated[float, Meta(gt=0, le=104)] = 2.0
    missed_minor: Annotated[int, Meta(ge=0, le=10**9)] = MISSED_MINOR


FORESEES = msgspec.json.Decoder(ForeseeRequest)


@post(
    "/v1/sourcing/outlook",
    operation=Operation(name="outlook.compute", permission=Permission.SOURCING_RUN),
    summary="Compute an outlook",
    tags=["sourcing"],
    status_code=200,
    operation_class=described(ForeseeRequest, Foreseen, required=False),
)
async def post_outlook(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """Weekly demand and the price of last units: profiles may count them (`stock_out_minor`, `overstock_minor`, `last_units`)."""
    body = await request.body()
    asked = decode(body, FORESEES) if body.strip() else ForeseeRequest()

    async def run(tx: Tx) -> Foreseen:
        at, horizon_weeks = database.clock.now(), asked.horizon_weeks
        return await foresee(tx, at=at, weeks=asked.weeks, horizon_weeks=horizon_weeks, missed_minor=asked.missed_minor)

    return await answer_once(request, database, run, sent=asked)


@put(
    "/v1/sourcing/outlook",
    operation=Operation(name="outlook.load", permission=Permission.SOURCING_RUN, refusals=refusals(NotUpserted)),
    summary="Load an outlook",
    tags=["sourcing"],
    operation_class=described(OUTLOOKS, Updated | NotUpserted),
)
async def put_outlook(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """From a forecast of your own: one position, a list, or `{"positions": [...]}`."""
    positions, _ = await apart(OUTLOOKS.decode, await request.body())
    at = database.clock.now()
    return await answer_once(request, database, lambda tx: _batch(load_outlook(tx, positions, at=at)), sent=positions)


async def _batch(outcomes: Awaitable[list[Any]]) -> Batch:
    return Batch(await outcomes)


routes: list[Any] = [
    get_exceptions,
    post_resolution,
    post_outlook,
    put_outlook,
    post_preview,
    post_promises,
    post_replay,
    get_shadow_report,
    post_reevaluation,
    get_reevaluations,
    get_capacity,
]
