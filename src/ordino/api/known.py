"""What a request may name. A name that its route does not know is refused: left unread, a misspelt filter would mean "everything".

Bodies are held to their types by the decoders; here are query parameters, and bodies where none is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.routes import HTTPRoute

from ordino.core.errors import Fault, Invalid
from ordino.core.media import refuse_media
from ordino.core.upserts import pointer_to

LOOKED_AT_BYTES = 10_000
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_DECLARED = "query_parameters"
_SINGLE = "query_parameters_said_once"


def learn(app: Litestar) -> None:
    """Note which query parameters each route of the application declares."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, model in route.route_handler_map.values():
                declared = model.expected_query_params
                handler.opt[_DECLARED] = frozenset(one.field_alias for one in declared)
                handler.opt[_SINGLE] = frozenset(one.field_alias for one in declared if not one.is_sequence)


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Raises ``Invalid`` for query parameters that the route does not declare, for those that are there twice where one value
    counts, and for a body where the route takes none; ``UnsupportedMedia`` for a body that nobody here can read.
    """
    handler: Any = request.route_handler
    refuse_media(request.scope["headers"], rows=getattr(handler.operation_class, "takes_rows", ()))
    if not handler.resolve_include_in_schema():
        return
    if request.scope["query_string"]:
        known = handler.opt[_DECLARED]
        if unknown := [name for name in dict.fromkeys(request.query_params) if name not in known]:
            raise _unknown_parameters(request, unknown, sorted(known))
        said = Counter(name for name, _ in request.query_params.multi_items())
        if twice := [name for name in said if said[name] > 1 and name in handler.opt[_SINGLE]]:
            raise _said_twice(twice)
    if request.method in _CHANGING and not getattr(handler.operation_class, "takes_body", False):
        _refuse_body(request, await request.body())


def _unknown_parameters(request: Request[Any, Any, Any], unknown: Sequence[str], known: Sequence[str]) -> Invalid:
    which = f"the known ones are {', '.join(known)}" if known else "this path takes none"
    faults = [Fault(pointer_to(name), f"Unknown query parameter {name!r}; {which}.") for name in unknown]
    named = ", ".join(map(repr, unknown))
    return Invalid(
        f"{request.method} {request.url.path} does not know the query parameter {named}; {which}.", faults=faults
    )


def _said_twice(names: Sequence[str]) -> Invalid:
    faults = [
        Fault(pointer_to(name), f"The query parameter {name!r} is there more than once; send one value.")
        for name in names
    ]
    return Invalid(faults[0].detail, faults=faults)


def _refuse_body(request: Request[Any, Any, Any], body: bytes) -> None:
    if not body.strip():
        return
    try:
        sent = msgspec.json.decode(body) if len(body) <= LOOKED_AT_BYTES else body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        sent = body
    if sent == {}:
        return
    detail = f"{request.method} {request.url.path} takes no body; send it without one."
    names = list(sent) if isinstance(sent, dict) else []
    raise Invalid(detail, faults=[Fault(pointer_to(name), detail) for name in names] or [Fault("", detail)])
