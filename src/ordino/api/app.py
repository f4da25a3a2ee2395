"""The application assembled: routes, dependencies, errors, OpenAPI."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from asyncpg import CharacterNotInRepertoireError
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException, InternalServerException
from msgspec import structs

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
from ordino.api.adapters import get_adapters
from ordino.api.batchers import batchers_on
from ordino.api.callers import trust_of
from ordino.api.dead_letters import dead_letter_routes
from ordino.api.effects import effect_routes
from ordino.api.events import event_routes
from ordino.api.jobs import job_routes
from ordino.api.keys import key_routes
from ordino.api.names import HELD, WithSlashes, named
from ordino.api.narrow import hold_to_scope
from ordino.api.operations import operation_routes
from ordino.core.database import Database
from ordino.core.errors import Fault, Invalid, OrdinoError
from ordino.core.log import HeadWatch
from ordino.core.readiness import Readiness
from ordino.core.rows import Limits
from ordino.core.settings import Settings
from ordino.core.wording import plain_words
from ordino.web.answers import problem, render
from ordino.web.bodies import NO_NUL
from ordino.web.problems import Problem
from ordino.web.routes import table_of

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


def build(open_database: Callable[[], Any], settings: Settings, *, within: str | None = None) -> Litestar:
    """The application. ``open_database`` is awaited at start; what it returns is closed at the end. ``within`` names the command
    that calls it without a server: what that asks needs no key.
    """

    trust = trust_of(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        database: Database = await open_database()
        batchers = batchers_on(database, settings)
        app.state.update(structs.asdict(batchers))
        app.state.database = database
        placing = {"Orders that are being placed": lambda: batchers.placer.stalled_seconds}
        app.state.readiness = Readiness(database, placing)
        ring = app.state.key_ring = KeyRing(database, trust, within)
        app.state.head_watch = HeadWatch(database)
        try:
            yield
        finally:
            await batchers.close()
            await ring.uses.close()
            await database.close()

    app = Litestar(
        route_handlers=[
            *ready.routes,
            document.viewer(),
            document.viewer_script,
            *dead_letter_routes,
            *effect_routes,
            *event_routes,
            *job_routes,
            get_adapters,
            *key_routes,
            *operation_routes,
            *(route for stage in STAGES for route in stage.routes),
        ],
        dependencies={"database": Provide(_database, sync_to_thread=False)},
        lifespan=[lifespan],
        middleware=[pages.guarded, access, named],
        before_request=_look_at,
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
    app.state.row_limits = Limits.of(settings)
    app.state.body_pace = Pace(wait_seconds=settings.body_wait_seconds, bytes_a_second=settings.body_bytes_a_second)
    app.state.operations = table_of(app)
    document.complete(app)
    known.learn(app)
    app.asgi_handler = WithSlashes(app.asgi_handler)
    return app


def _database(state: State) -> Database:
    database: Database = state.database
    return database


async def _look_at(request: Request[Any, Any, Any]) -> None:
    """What is asked of every request before its handler: it names only what is known, and what its key reaches."""
    await known.refuse_unknown(request)
    await hold_to_scope(request)


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
