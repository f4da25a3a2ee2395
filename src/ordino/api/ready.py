"""What probers ask: does the process live, and can it do its work?"""

from __future__ import annotations

from typing import Any

from litestar import Request
from msgspec import Struct

from ordino.core.readiness import Readiness
from ordino.web.operations import Operation
from ordino.web.routes import get
from ordino.web.scopes import NOBODY


class Health(Struct, frozen=True):
    """The process answers."""

    status: str


@get(
    "/health",
    operation=Operation(name="health.get", permission=None, by=NOBODY, keyless=True),
    summary="Is the process alive?",
    tags=["running"],
)
async def health() -> Health:
    """Says nothing of the database."""
    return Health("ok")


@get(
    "/ready",
    operation=Operation(name="ready.get", permission=None, by=NOBODY, keyless=True, refusals={"unavailable": 503}),
    summary="Can it do its work?",
    tags=["running"],
)
async def ready(request: Request[Any, Any, Any]) -> Health:
    """The database has every migration, a test write passed within the last second, and orders that are being placed make progress.
    Otherwise the answer is 503 and names the cause.
    """
    readiness: Readiness = request.app.state.readiness
    await readiness.check()
    return Health("ready")


routes = [health, ready]
