"""Who may call: nobody but this machine while there is no key, and only bearers of one after that.

A key is looked up for every request that brings one, so a revoked key is refused from the next request on. Whether there
is a key at all is kept for a second: after the first one is made, this machine gets in without it for a second at the longest.
"""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from ordino.core import keys
from ordino.core.database import ACTOR, Database
from ordino.core.errors import Forbidden
from ordino.core.http import CALLER

KEPT_SECONDS = 1.0
OPEN_PATHS = frozenset({"/health", "/ready"})
ADMIN_PATHS = ("/v1/flows", "/v1/dead_letters", "/v1/sourcing/profiles")
THIS_MACHINE = "this machine"
RANKS = {"read": 0, "write": 1, "admin": 2}
Loopback = frozenset({"127.0.0.1", "::1"})


class KeyRing:
    """What this process asks of the keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any: tuple[float, bool] | None = None

    async def any_living(self) -> bool:
        now = time.monotonic()
        if self._any is None or now - self._any[0] > KEPT_SECONDS:
            self._any = (now, await self._database.read(keys.any_living))
        return self._any[1]

    async def bearer_of(self, token: str) -> keys.Bearer | None:
        return await self._database.read(lambda tx: keys.bearer_of(tx, token))


def access(app: ASGIApp) -> ASGIApp:
    """Middleware in front of everything but health."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] not in OPEN_PATHS:
            refusal = await refusal_of(scope["litestar_app"].state.key_ring, scope)
            if refusal is not None:
                raise refusal
        await app(scope, receive, send)

    return guarded


async def refusal_of(ring: KeyRing, scope: Any) -> Forbidden | None:
    """Why this request may not come in; None where it may, and then it acts under the key's name."""
    token = _bearer(scope["headers"])
    if token is None and not await ring.any_living():
        if _is_loopback(scope) and not _from_a_page(scope["headers"]):
            ACTOR.set(THIS_MACHINE)
            CALLER.set(THIS_MACHINE)
            return None
        error = Forbidden(
            "There is no API key yet, and without one Ordino answers this machine only. "
            "Make one with `ordino keys make`."
        )
        error.status = 403
        return error
    if token is None or (bearer := await ring.bearer_of(token)) is None:
        error = Forbidden("Send a living API key: `Authorization: Bearer <key>`.", code="unauthorized")
        error.status = 401
        return error
    needed = _needed(scope["method"], scope["path"])
    if max((RANKS[scope_] for scope_ in bearer.scopes if scope_ in RANKS), default=-1) < RANKS[needed]:
        return Forbidden(f"This key lacks the scope {needed!r}.")
    ACTOR.set(bearer.name)
    CALLER.set(f"key {bearer.key_id}")
    return None


def _needed(method: str, path: str) -> str:
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    return "admin" if path.startswith(ADMIN_PATHS) else "write"


def _bearer(headers: Any) -> str | None:
    for name, value in headers:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" else None
    return None


def _from_a_page(headers: Any) -> bool:
    """Does a web page of another origin ask? A browser on this machine must not lend it its place."""
    named = {name: value for name, value in headers if name in (b"origin", b"host")}
    origin = named.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != named.get(b"host")


def _is_loopback(scope: Any) -> bool:
    client = scope.get("client")
    if not client:
        return False
    if client[0] in Loopback:
        return True
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:
        return False
