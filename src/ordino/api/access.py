"""Access control. Until the first API key is made, only programs on this machine may call; from then on every call needs a key with
the permissions of the operation (``web.operations``). A narrowed key reaches only its sellers and locations (``narrow``).

A key is looked up for every request that brings one, so a revoked key is refused from the next request on. That there is no key yet
is remembered for a second: after the first one is made, this machine may call without it for a second at the longest. Keys that are
revoked stay on record, so that the door, once closed, never opens by itself again, in no process and after no restart: whoever has
lost every key makes another one on the command line of a machine that reaches the database (`ordino keys make`).
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from ordino.api.callers import Trust, may_be_called, why_not_here
from ordino.api.used import Uses
from ordino.core import keys
from ordino.core.database import ACTOR, Database
from ordino.core.errors import Forbidden, TimedOut
from ordino.web.answers import CALLER
from ordino.web.operations import Operation
from ordino.web.routes import operation_of
from ordino.web.scopes import BEARER

KEPT_SECONDS = 1.0
THIS_MACHINE = "this machine"


class KeyRing:
    """What this process asks of the keys. ``within``: the application runs within a command of this name, which has the database
    itself: its requests need no key, and act in the command's name.
    """

    def __init__(self, database: Database, trust: Trust, within: str | None = None) -> None:
        self.within = within
        self._database = database
        self.trust = trust
        self.uses = Uses(database)
        self._closed = False
        self._looked_at = -KEPT_SECONDS

    async def closed(self) -> bool:
        """Is there a key, or was there ever one? Once that is so, it stays so."""
        now = time.monotonic()
        if not self._closed and now - self._looked_at > KEPT_SECONDS:
            self._closed = await self._database.read(keys.any_made)
            self._looked_at = now
        return self._closed

    async def bearer_of(self, token: str) -> keys.Bearer | None:
        return await self._database.read(lambda tx: keys.bearer_of(tx, token))

    def now(self) -> datetime:
        return self._database.clock.now()


class Pace(Struct, frozen=True, kw_only=True):
    """How slowly a body may come: it may pause for ``wait_seconds``, and beyond those it has to come at
    ``bytes_a_second`` on average.
    """

    wait_seconds: float
    bytes_a_second: int


def in_time(receive: Receive, pace: Pace) -> Receive:
    """Receives a body and raises ``TimedOut`` if it pauses for too long or trickles. Only the time in which the sender is
    waited for counts, not that in which a feed is applied. Once the body is whole, there is nothing to be late with.
    """
    whole = False
    waited, received_bytes = 0.0, 0

    async def received() -> Any:
        nonlocal whole, waited, received_bytes
        if whole:
            return await receive()
        left = pace.wait_seconds + received_bytes / pace.bytes_a_second - waited
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(pace.wait_seconds, max(0.0, left))):
                message: Any = await receive()
        except TimeoutError as error:
            raise TimedOut(_late(pace, trickles=left < pace.wait_seconds)) from error
        waited += time.monotonic() - began
        received_bytes += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        return message

    return received


def _late(pace: Pace, *, trickles: bool) -> str:
    if trickles:
        return (
            f"The body came too slowly: fewer than {pace.bytes_a_second} bytes a second for more than {pace.wait_seconds:g} "
            "seconds. Send the request again, over a faster connection or in smaller parts."
        )
    return f"The body paused for more than {pace.wait_seconds:g} seconds; send the request again."


def access(app: ASGIApp) -> ASGIApp:
    """Middleware in front of everything but health."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            operation = operation_of(scope["route_handler"])
            if operation is None or not operation.keyless:
                refusal = await refusal_of(scope["litestar_app"].state.key_ring, scope, operation)
                if refusal is not None:
                    raise refusal
                receive = in_time(receive, scope["litestar_app"].state.body_pace)
        await app(scope, receive, send)

    return guarded


async def refusal_of(ring: KeyRing, scope: Any, operation: Operation | None) -> Forbidden | None:
    """Why this request may not come in; None where it may, and then it acts under the key's name. Without an operation, it is for
    the API's document, which any key may read.
    """
    token = _bearer(scope["headers"])
    if token is None and ring.within is not None:
        _act_as(ring.within)
        return None
    if not may_be_called(scope, ring.trust):
        return Forbidden(
            "This server does not answer to the name in the request's Host header; call it by one that ORDINO_ALLOWED_HOSTS lists."
        )
    if token is None and not await ring.closed():
        if (why := why_not_here(scope, ring.trust)) is None:
            _act_as(THIS_MACHINE)
            return None
        return Forbidden(
            "There is no API key yet, and without one Ordino answers programs on this machine only. This request is not answered: "
            f"{why}. Make a key with `ordino keys make NAME`, and send it."
        )
    if token is None or (bearer := await ring.bearer_of(token)) is None:
        return keys.revoked()
    at = ring.now()
    if bearer.expires_at is not None and bearer.expires_at <= at:
        return _unauthorized(
            f"This key expired at {bearer.expires_at:%Y-%m-%dT%H:%M:%SZ}. Send one that has not; `ordino keys make NAME` makes one."
        )
    if operation is not None and (lacking := operation.lacking(bearer.permissions)):
        words = f"the permission{'s' if len(lacking) > 1 else ''} {' and '.join(map(repr, map(str, lacking)))}"
        return Forbidden(f"This key lacks {words}, which `{operation.name}` needs. Use a key that has it.")
    ACTOR.set(bearer.name)
    CALLER.set(f"key {bearer.key_id}")
    BEARER.set(bearer)
    ring.uses.note(bearer, at)
    return None


def _act_as(name: str) -> None:
    """Whoever has no key and needs none."""
    ACTOR.set(name)
    CALLER.set(name)
    BEARER.set(None)


def _unauthorized(detail: str) -> Forbidden:
    error = Forbidden(detail, code="unauthorized")
    error.status = 401
    return error


def _bearer(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else None
    return None
