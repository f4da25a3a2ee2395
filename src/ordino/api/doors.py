"""Doors in front of the framework, for the two requests that come by the thousand a second.

Routing, injection and validation are worth what they cost for every other request; here they would cost more than the rest of
the answer. A door takes its request in the plain form and answers what the route would answer; whatever looks unusual goes
through to the route, which is also where the request is documented.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.types import Receive, Send

from ordino.api.access import in_time, refusal_of
from ordino.api.app import FAULT
from ordino.api.pages import ALWAYS
from ordino.core.errors import OrdinoError
from ordino.core.media import foreign_charset
from ordino.inventory.api.stock import answer_ask, get_availability
from ordino.inventory.availability import Ask
from ordino.orders.api import answer_orders, post_orders
from ordino.web.answers import problem, render
from ordino.web.bodies import JSON
from ordino.web.operations import Operation
from ordino.web.problems import PROBLEM
from ordino.web.routes import declared_beside
from ordino.web.scopes import narrowed

log = logging.getLogger("ordino.api")

ORDERS = "/v1/orders"
SKU = re.compile(r"/v1/availability/([A-Za-z0-9._-]{1,100})")
SERVED = re.compile(rb"(channel|network)=([A-Za-z0-9._-]{1,100})")
Door = tuple[Operation, Callable[[Receive], Awaitable[tuple[int, bytes]]]]
"""The operation, and what answers with a status and a JSON body."""
PLACE, LOOK = declared_beside(post_orders), declared_beside(get_availability)


class _Gone(Exception):
    """The client left before the request was whole."""


class _Narrowed(Exception):
    """The key is narrowed: the route holds what is asked for to that."""


class Doors:
    """An ASGI application in front of the one that ``build`` makes."""

    def __init__(self, app: Litestar, *, body_limit_bytes: int) -> None:
        self._app = app
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        door = self._door(scope) if scope["type"] == "http" else None
        if door is None:
            await self._app(scope, receive, send)
            return
        try:
            status, media_type, headers, body = await self._answer(scope, receive, door)
        except _Gone:
            return
        except _Narrowed:
            await self._app(scope, receive, send)
            return
        told = [*((name.lower().encode(), value.encode()) for name, value in headers.items()), *ALWAYS]
        told += [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, scope: Any, receive: Receive, door: Door) -> tuple[int, str, dict[str, str], bytes]:
        """Status, media type, further headers and body."""
        try:
            operation, answer = door
            if refusal := await refusal_of(self._app.state.key_ring, scope, operation):
                raise refusal
            if narrowed():
                raise _Narrowed
            status, body = await answer(in_time(receive, self._app.state.body_pace))
            return status, JSON, {}, body
        except (_Gone, _Narrowed):
            raise
        except OrdinoError as error:
            response = problem(error)
        except Exception as error:
            log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            response = render(FAULT)
        assert response.status_code is not None, "a problem has a status"
        return response.status_code, PROBLEM, response.headers, response.content

    def _door(self, scope: Any) -> Door | None:
        """What answers this request, if it comes by the thousand and looks plain."""
        if scope["method"] == "POST" and scope["path"] == ORDERS:
            return (PLACE, self._place) if self._is_plain(scope) else None
        if scope["method"] != "GET":
            return None
        sku, served = SKU.fullmatch(scope["path"]), SERVED.fullmatch(scope["query_string"])
        if sku is None or served is None:
            return None
        by = {served[1].decode(): served[2].decode()}
        return LOOK, partial(self._look, Ask(sku[1], by.get("channel"), by.get("network")))

    def _is_plain(self, scope: Any) -> bool:
        """No query, a body of a known length, and no answer to keep."""
        if scope["query_string"]:
            return False
        told = dict(scope["headers"])
        length = told.get(b"content-length", b"")
        if not length.isdigit() or not 0 < int(length) <= self._body_limit_bytes:
            return False
        if b"idempotency-key" in told or b"content-encoding" in told:
            return False
        type_ = told.get(b"content-type", b"")
        return b";" not in type_ or foreign_charset(type_.decode("latin-1")) is None

    async def _place(self, receive: Receive) -> tuple[int, bytes]:
        return await answer_orders(self._app.state.placer, await _body(receive))

    async def _look(self, ask: Ask, receive: Receive) -> tuple[int, bytes]:
        return 200, await answer_ask(self._app.state.reader, ask)


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
