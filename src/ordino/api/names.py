"""Codes in URLs: a ``%2F`` belongs to the code, and what stands in paths and queries is normalized as it is in bodies.

Servers decode paths before an application sees them, and then nobody can tell ``a%2Fb`` from ``a/b``. ``WithSlashes`` looks at the
path as it was sent and holds the slashes of codes back while the framework finds the route; ``named``, behind the routing, puts
them in again.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import inspect as types

from ordino.core import cells, codes
from ordino.core.errors import Fault, Invalid, NotFound
from ordino.core.times import year_fault

HELD = "\ufdd0"
"""Stands for a slash within a code during routing. Unicode keeps it for such uses; no code holds it."""
UNKNOWN = "\ufffd"
CURSORS = frozenset({"after", "before"})
_SPOILED = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?) ([0-9]{2}:?[0-9]{2})"
)
_TYPED = frozenset(
    {cells.Kind.INTEGER, cells.Kind.DECIMAL, cells.Kind.BOOLEAN, cells.Kind.INSTANT, cells.Kind.DATE, cells.Kind.TEXT}
)
_kinds: dict[Any, dict[str, cells.Kind]] = {}


class WithSlashes:
    """An ASGI application in front of one that routes by ``scope["path"]``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or b""
            if b"%2F" in raw or b"%2f" in raw:
                parts = raw.partition(b"?")[0].decode("latin-1").split("/")
                path = "/".join(unquote(part).replace(HELD, UNKNOWN).replace("/", HELD) for part in parts)
                scope = {**scope, "path": path}
            elif HELD in scope["path"]:
                scope = {**scope, "path": scope["path"].replace(HELD, UNKNOWN)}
        await self._app(scope, receive, send)


def named(app: ASGIApp) -> ASGIApp:
    """Middleware that normalizes the codes of a path and its query. Raises ``Invalid`` with a pointer to what is none, or no number
    or time where one is expected.
    """

    async def tidied(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            segments = scope["path"].split("/")
            if held := HELD in scope["path"]:
                scope["path"] = scope["path"].replace(HELD, "/")
            if params := scope["path_params"]:  # the router keeps these: they are replaced, not changed
                scope["path_params"] = {
                    name: _in_path(name, value, segments, held=held) for name, value in params.items()
                }
            if query := scope["query_string"]:
                scope["query_string"] = _tidy_query(query, kinds_of(scope["route_handler"]))
        await app(scope, receive, send)

    return tidied


def _in_path(name: str, value: Any, segments: list[str], *, held: bool) -> Any:
    if isinstance(value, str):
        text = codes.normal(value.replace(HELD, "/") if held else value)
        if not text:
            raise _invalid(name, "A code may not be empty or white space only; send a name.")
        return text
    if isinstance(value, date) and (wrong := year_fault(value)):  # instants are dates, too
        raise _invalid(name, wrong)
    if isinstance(value, int) and str(value) not in segments:  # 1_0, +10 and digits of other scripts
        raise NotFound(f"`{name}` is a number of plain digits, as in {abs(value)}.")
    return value


def kinds_of(handler: Any) -> dict[str, cells.Kind]:
    """What the query parameters of a route hold, by their names."""
    found = _kinds.get(handler)
    if found is None:
        found = _kinds[handler] = {}
        for name, parameter in handler.parsed_fn_signature.parameters.items():
            kind = _kind(parameter.raw)
            if kind in _TYPED:
                found[name] = kind
    return found


def _kind(annotation: Any) -> cells.Kind | None:
    try:
        info = types.type_info(annotation)
    except TypeError:  # a request, a database, a dependency
        return None
    while isinstance(info, types.Metadata):
        info = info.type
    options = info.types if isinstance(info, types.UnionType) else (info,)
    [option, *_] = [one for one in options if not isinstance(one, types.NoneType)]
    return cells.kind_of(option.item_type if isinstance(option, types.ListType) else option)


def _tidy_query(query: bytes, kinds: dict[str, cells.Kind]) -> bytes:
    try:
        sent = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
    except ValueError:
        return query
    tidied = [(name, _in_query(name, value, kinds[name]) if name in kinds else value) for name, value in sent]
    if tidied == sent:
        return query
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in tidied).encode()


def _in_query(name: str, value: str, kind: cells.Kind) -> str:
    text = codes.normal(value)
    if kind is cells.Kind.TEXT:
        if not text and name not in CURSORS:
            raise _invalid(name, f"`{name}` may not be empty or white space only; leave it out, or send a value.")
        return text
    if kind is cells.Kind.INSTANT and (spoiled := _SPOILED.fullmatch(text)):
        text = f"{spoiled[1]}+{spoiled[2]}"  # a plus sign in a query that nobody has escaped arrives as a blank
    _, wrong = cells.read(text, kind)
    if wrong is not None:
        raise _invalid(name, wrong)
    return text


def _invalid(name: str, detail: str) -> Invalid:
    return Invalid(f"/{name}: {detail}", faults=[Fault(f"/{name}", detail)])
