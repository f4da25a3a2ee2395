"""How commands are answered: with their outcomes or a problem document, and with the first answer kept for each client key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from litestar import Request, Response

from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid, OrdinoError
from ordino.core.idempotency import Key, Outcome, Sets, answer
from ordino.web import scopes
from ordino.web.bodies import JSON, Batch, Body, apart, encode
from ordino.web.problems import PROBLEM, Problem, as_error, problem_of
from ordino.web.routes import operation_of
from ordino.web.scopes import WHOLE, Narrowing

FORBIDDEN = {"forbidden": 403}
CALLER: ContextVar[str] = ContextVar("caller", default="this process")
"""Whose request it is: the id of the API key, or this machine. What is kept for one caller is told to no other."""


def problem(error: OrdinoError) -> Response[bytes]:
    """The answer that an error becomes."""
    return render(problem_of(error))


_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}  # as RFC 9110 asks


def render(document: Problem, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    headers = {**_HEADERS.get(document.status, {}), **(headers or {})}
    return Response(encode(document), status_code=document.status, media_type=PROBLEM, headers=headers)


async def answer_once(
    request: Request[Any, Any, Any],
    database: Database,
    verb: Callable[[Tx], Awaitable[Any]],
    *,
    status: int | Callable[[Any], int] = 200,
    sent: Any = None,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Response[bytes]:
    """Run ``verb`` in one transaction and answer with what it returns; ``status`` may depend on that.

    With an ``Idempotency-Key``, the answer is kept in the same transaction, and a repeat by the same caller gets it again; the
    same key with another request is a ``Conflict``. A raised refusal changes nothing and is not kept. ``sent`` is what the
    request's body was decoded to, or a function that says so when it is needed; without it, the body counts byte by byte.
    ``before`` is done in transactions of its own, unless there is an answer already.
    """

    async def run(tx: Tx) -> Outcome:
        done = await verb(tx)
        return Outcome(status(done) if callable(status) else status, encode(done))

    name = key_sent(request)
    key = None
    if name is not None:
        said = await request.body() if sent is None else sent() if callable(sent) else sent
        key = _key(request, name, said)
    answered = await answer(database, key, run, before=before)
    return Response(answered.body, status_code=answered.status, media_type=JSON)


def key_sent(request: Request[Any, Any, Any]) -> str | None:
    """The request's ``Idempotency-Key``; None where it has none, or changes nothing. Raises ``Invalid`` for several."""
    names = request.headers.getall("idempotency-key", [])
    operation = operation_of(request.route_handler)
    if not names or (operation is not None and not operation.writes(str(request.method))):
        return None
    if len(names) > 1:
        raise Invalid("Send one Idempotency-Key; this request has several.")
    return str(names[0])


def sets_of(request: Request[Any, Any, Any]) -> Sets | None:
    """What makes rows of any length safe to send again under the request's ``Idempotency-Key``; None where it has none."""
    name = key_sent(request)
    return None if name is None else Sets(_key(request, name, "rows"))


def _key(request: Request[Any, Any, Any], name: str, said: Any) -> Key:
    query = sorted(request.query_params.multi_items(), key=lambda item: item[0])
    return Key.of(CALLER.get(), name, request.method, request.url.path, query, said)


async def command(
    request: Request[Any, Any, Any],
    database: Database,
    body: Body,
    verb: Callable[..., Awaitable[Sequence[Any]]],
    refusal: type[Any],
    *,
    status: int | Callable[[Any], int] = 200,
    statuses: Mapping[str, int] = {},
) -> Response[bytes]:
    """A command as a request: the body's items through ``verb(tx, items, at=...)``, once.

    A list is answered with one outcome an item; the refusal of a single item becomes a problem document, with the HTTP
    status that ``statuses`` has for its reason.
    """
    items, alone = await apart(body.decode, await request.body())
    if alone:
        return await command_one(request, database, items[0], verb, refusal, status=status, statuses=statuses)

    async def run(tx: Tx) -> Any:
        beyond = await scopes.outside(tx, _held(request), items)
        if not beyond:
            return Batch(list(await verb(tx, items, at=database.clock.now())))
        within = [item for place, item in enumerate(items) if place not in beyond]
        done = iter(await verb(tx, within, at=database.clock.now()) if within else ())
        return Batch([beyond[place] if place in beyond else next(done) for place in range(len(items))])

    return await answer_once(request, database, run, sent=items)


async def command_one(
    request: Request[Any, Any, Any],
    database: Database,
    item: Any,
    verb: Callable[..., Awaitable[Sequence[Any]]],
    refusal: type[Any],
    *,
    status: int | Callable[[Any], int] = 200,
    statuses: Mapping[str, int] = {},
) -> Response[bytes]:
    """A command on the one thing that the URL names: ``item`` through ``verb(tx, [item], at=...)``, once."""

    async def run(tx: Tx) -> Any:
        await hold(request, tx, item)
        [outcome] = await verb(tx, [item], at=database.clock.now())
        if isinstance(outcome, refusal):
            raise as_error(outcome, statuses)
        return outcome

    return await answer_once(request, database, run, status=status, sent=item)


async def hold(request: Request[Any, Any, Any], tx: Tx, item: Any) -> None:
    """Raises ``Forbidden`` if the request's key is narrowed and does not reach what the item names."""
    if beyond := await scopes.outside(tx, _held(request), [item]):
        raise as_error(beyond[0], FORBIDDEN)


def _held(request: Request[Any, Any, Any]) -> Narrowing:
    """What each item of the body is held to, if the request's key is narrowed."""
    operation = operation_of(request.route_handler)
    return operation.by if operation is not None and operation.items else WHOLE
