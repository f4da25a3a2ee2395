"""The application assembled: routes, dependencies, errors, OpenAPI."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from asyncpg import CharacterNotInRepertoireError
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, InternalServerException

import ordino.aftercare.api
import ordino.catalog.api
import ordino.flows.api
import ordino.insights.api
import ordino.inventory.api
import ordino.network.api
import ordino.orders.api
import ordino.orders.kits_api
import ordino.orders.notes_api
import ordino.orders.sourcing_api
import ordino.sourcing.api
import ordino.tracking.api
import ordino.warehouse.api
from ordino.api import document, known, pages, ready
from ordino.api.access import KeyRing, Pace, access
from ordino.api.callers import trust_of
from ordino.api.dead_letters import dead_letter_routes
from ordino.api.effects import get_effects
from ordino.api.names import HELD, WithSlashes, named
from ordino.core.batcher import Batcher
from ordino.core.database import Database
from ordino.core.errors import Fault, Invalid, NotFound, OrdinoError
from ordino.core.http import NO_NUL, Problem, problem, render
from ordino.core.readiness import Readiness
from ordino.core.rows import Limits
from ordino.core.settings import Settings
from ordino.core.wording import plain_words
from ordino.inventory.api.stock import Reader, Totaler
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.totals import totals
from ordino.orders.api import Placer
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseRefused, PromiseRequest, promise
from ordino.orders.sourcing_api import Promiser

log = logging.getLogger("ordino.api")

STAGES = (
    ordino.catalog.api,
    ordino.orders.kits_api,
    ordino.orders.notes_api,
    ordino.network.api,
    ordino.inventory.api,
    ordino.sourcing.api,
    ordino.orders.api,
    ordino.orders.sourcing_api,
    ordino.warehouse.api,
    ordino.tracking.api,
    ordino.aftercare.api,
    ordino.insights.api,
    ordino.flows.api,
)
FAULT = Problem(
    "urn:ordino:problem:fault",
    "Something went wrong",
    500,
    "Ordino has a fault here, and it is logged. Whether the request took effect is not known: send it again with the same "
    "Idempotency-Key (orders: with the same external_id), or look first.",
)
TOTALED_AT_ONCE = 32
PROMISED_AT_ONCE = 64
PLACING_LANES = READING_LANES = 2  # while one set waits for the database, another is decided


def build(open_database: Callable[[], Any], settings: Settings) -> Litestar:
    """The application. ``open_database`` is awaited at start; what it returns is closed at the end."""

    trust = trust_of(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        database: Database = await open_database()
        seconds = settings.batch_timeout_seconds

        async def run(orders: Sequence[NewOrder]) -> list[Placed | OrderRefused]:
            return await database.transact(lambda tx: place(tx, orders, at=database.clock.now()), seconds=seconds)

        async def look(asks: Sequence[Ask]) -> list[Availability | NotFound]:
            return await database.read(lambda tx: available(tx, asks, at=database.clock.now()), seconds=seconds)

        async def add_up(many: Sequence[Sequence[Ask]]) -> list[list[Availability | NotFound]]:
            asks = [ask for some in many for ask in some]
            answers = iter(await database.read(lambda tx: totals(tx, asks, at=database.clock.now()), seconds=seconds))
            return [[next(answers) for _ in some] for some in many]

        async def foresee(asked: Sequence[PromiseRequest]) -> list[Promise | PromiseRefused]:
            return await database.read(lambda tx: promise(tx, asked, at=database.clock.now()), seconds=seconds)

        promiser: Promiser = Batcher(
            foresee, size=PROMISED_AT_ONCE, lanes=READING_LANES, queue_size=settings.queue_size
        )
        totaler: Totaler = Batcher(add_up, size=TOTALED_AT_ONCE, lanes=READING_LANES, queue_size=settings.queue_size)
        placer: Placer = Batcher(run, size=settings.batch_size, lanes=PLACING_LANES, queue_size=settings.queue_size)
        reader: Reader = Batcher(look, size=settings.batch_size, lanes=READING_LANES, queue_size=settings.queue_size)
        app.state.database = database
        app.state.placer = placer
        app.state.reader = reader
        app.state.totaler = totaler
        app.state.promiser = promiser
        app.state.readiness = Readiness(database, {"Orders that are being placed": lambda: placer.stalled_seconds})
        app.state.key_ring = KeyRing(database, trust)
        try:
            yield
        finally:
            await placer.close()
            await reader.close()
            await totaler.close()
            await promiser.close()
            await database.close()

    app = Litestar(
        route_handlers=[
            *ready.routes,
            document.viewer(),
            document.viewer_script,
            *dead_letter_routes,
            get_effects,
            *(route for stage in STAGES for route in stage.routes),
        ],
        dependencies={
            "database": Provide(_database, sync_to_thread=False),
        },
        lifespan=[lifespan],
        middleware=[pages.guarded, access, named],
        before_request=known.refuse_unknown,
        exception_handlers={
            OrdinoError: _known,
            HTTPException: _http,
            CharacterNotInRepertoireError: _nul,
            Exception: _unknown,
        },
        request_max_body_size=settings.body_limit_bytes,
        openapi_config=document.configuration(),
        logging_config=None,
    )
    app.state.row_limits = Limits(ratio=settings.feed_ratio, waste_lines=settings.feed_waste_lines)
    app.state.body_pace = Pace(wait_seconds=settings.body_wait_seconds, bytes_a_second=settings.body_bytes_a_second)
    document.complete(app)
    known.learn(app)
    app.asgi_handler = WithSlashes(app.asgi_handler)
    return app


def _database(state: State) -> Database:
    database: Database = state.database
    return database


def _known(request: Request[Any, Any, Any], error: OrdinoError) -> Response[bytes]:
    return problem(error)


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses: unknown paths, wrong methods, parameters of a wrong type, bodies too large."""
    faults = []
    if isinstance(error.extra, list):
        for entry in error.extra:
            if isinstance(entry, dict):
                faults.append(Fault(f"/{entry.get('key', '')}", plain_words(str(entry.get("message", "")))))
    if isinstance(error, InternalServerException):  # the framework raises it where a body ends before it is whole
        return problem(Invalid("The body broke off before it was whole; send the request again."))
    code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "invalid")
    titles = {
        404: "There is no such thing",
        405: "The method does not fit the path",
        413: "The body is too large",
    }
    detail = error.detail
    if error.status_code == 404 and detail in ("", "Not Found"):
        path = request.url.path.replace(quote(HELD), "%2F").replace(HELD, "%2F")
        detail = f"There is nothing at {path}; /schema lists every path."
    if error.status_code == 413:
        detail = "Send less at once, in parts; rows of NDJSON or CSV, where the path takes them, may be of any length."
    if error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}; /schema lists what it takes."
    title = titles.get(error.status_code, "The request is not valid")
    document = Problem(f"urn:ordino:problem:{code}", title, error.status_code, detail, tuple(faults))
    return render(document, error.headers)


def _nul(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The one character that PostgreSQL does not keep, where no type has stopped it."""
    faults = [Fault(f"/{name}", NO_NUL) for name, value in request.query_params.multi_items() if "\x00" in value]
    return problem(Invalid(NO_NUL, faults=faults))


def _unknown(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return render(FAULT)
