"""How commands are answered: with their outcomes or a problem document, and with the first answer kept for each client key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from litestar import Request, Response

from ordino.core.database import Database, Tx
from ordino.core.digests import digest_of
from ordino.core.errors import Conflict, Invalid, OrdinoError
from ordino.core.statements import statements
from ordino.web import scopes
from ordino.web.bodies import JSON, Batch, Body, apart, encode
from ordino.web.problems import PROBLEM, Problem, as_error, problem_of
from ordino.web.routes import operation_of
from ordino.web.scopes import WHOLE, Narrowing

sql = statements("ordino.core")
FORBIDDEN = {"forbidden": 403}
KEY_CHARACTERS = 200
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
) -> Response[bytes]:
    """Run ``verb`` in one transaction and answer with what it returns; ``status`` may depend on that.

    With an ``Idempotency-Key``, the answer is kept in the same transaction, and a repeat by the same caller gets it again; the
    same key with another request is a ``Conflict``. A raised refusal changes nothing and is not kept. ``sent`` is what the
    request's body was decoded to, or a function that says so when it is needed; without it, the body counts byte by byte.
    """

    async def run(tx: Tx) -> tuple[int, bytes]:
        done = await verb(tx)
        return status(done) if callable(status) else status, encode(done)

    key = request.headers.get("idempotency-key")
    if key is None:
        told, answer = await database.transact(run)
        return Response(answer, status_code=told, media_type=JSON)
    if not 1 <= len(key) <= KEY_CHARACTERS or "\x00" in key:
        raise Invalid(f"An Idempotency-Key has 1 to {KEY_CHARACTERS} characters.")
    scoped = f"{CALLER.get()}\n{key}"
    query = sorted(request.query_params.multi_items(), key=lambda item: item[0])
    said = await request.body() if sent is None else sent() if callable(sent) else sent
    digest = digest_of(request.method, request.url.path, query, said)

    async def once(tx: Tx) -> tuple[int, bytes]:
        at = database.clock.now()
        if not await sql.claim_key(tx, key=scoped, digest=digest, at=at):
            [first] = await sql.first_answer(tx, key=scoped)
            if first["digest"] != digest:
                raise Conflict(
                    f"The Idempotency-Key {key!r} was already used for a different request; use a new key for a new request.",
                    code="key_reused",
                )
            return first["status"], first["body"]
        told, answer = await run(tx)
        await sql.keep_answer(tx, key=scoped, status=told, body=answer)
        return told, answer

    told, answer = await database.transact(once)
    return Response(answer, status_code=told, media_type=JSON)


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
