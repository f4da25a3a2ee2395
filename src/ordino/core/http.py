"""How commands travel: bodies in, outcomes or problem documents (RFC 9457) out, and the first answer kept for each client key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec
from litestar import Request, Response
from litestar.openapi.spec import Operation
from msgspec import Struct

from ordino.core.codes import is_plain, tidy_body
from ordino.core.database import Database, Tx
from ordino.core.digests import digest_of
from ordino.core.errors import Conflict, Fault, Invalid, OrdinoError, Refused
from ordino.core.statements import statements
from ordino.core.upserts import fault_of

T = TypeVar("T")
Thing = TypeVar("Thing", bound=Struct)
sql = statements("ordino.core")
encode = msgspec.json.Encoder().encode

JSON = "application/json"
PROBLEM = "application/problem+json"
KEY_CHARACTERS = 200
ITEMS = 10_000
ONE_BYTES = 2_000_000
"""So large may the body of a single thing be; lists may be as large as ``ORDINO_BODY_LIMIT_BYTES`` says."""
DECODED_AT_ONCE = 64 * 1024
LIST_BYTES = 2**31
CALLER: ContextVar[str] = ContextVar("caller", default="this process")
"""Whose request it is: the id of the API key, or this machine. What is kept for one caller is told to no other."""
TOO_DEEP = "The body is nested too deeply."
NO_NUL = "Texts may not hold U+0000."

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document. ``errors`` point into the request with JSON pointers."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    facts: dict[str, Any] = {}


def problem(error: OrdinoError) -> Response[bytes]:
    """The answer that an error becomes."""
    status: int = getattr(error, "status", 500)
    code: str = getattr(error, "code", "error")
    faults = error.faults if isinstance(error, Refused) else ()
    facts = error.facts if isinstance(error, Refused) else {}
    return render(Problem(f"urn:ordino:problem:{code}", getattr(error, "title", ""), status, str(error), faults, facts))


_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}  # as RFC 9110 asks


def render(document: Problem, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    headers = {**_HEADERS.get(document.status, {}), **(headers or {})}
    return Response(encode(document), status_code=document.status, media_type=PROBLEM, headers=headers)


async def apart(decode: Callable[[bytes], T], body: bytes) -> T:
    """What ``decode`` makes of a body. A large one is decoded in a thread, so that other requests are answered meanwhile."""
    return decode(body) if len(body) <= DECODED_AT_ONCE else await asyncio.to_thread(decode, body)


def decode(body: bytes, decoder: msgspec.json.Decoder[T], *, most_bytes: int = ONE_BYTES) -> T:
    """The body with its codes normalized, or ``Invalid`` with a pointer to what is wrong, as it is for more than ``most_bytes``."""
    if len(body) > most_bytes:
        raise too_large(f"A body has at most {most_bytes} bytes here, not {len(body)}.")
    if not (plain := is_plain(body)):
        body = tidy_body(body, decoder.type)
    try:
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        fault = fault_of(error)
        where = f"{fault.pointer}: " if fault.pointer else ""
        raise Invalid(f"{where}{fault.detail}", faults=[fault]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not JSON: {error}.", faults=[Fault("", str(error))]) from error
    except RecursionError as error:
        raise Invalid(TOO_DEEP, faults=[Fault("", TOO_DEEP)]) from error
    if not plain and holds_nul(body):
        faults = [Fault(pointer, NO_NUL) for pointer in _with_nul(msgspec.json.decode(body))]
        raise Invalid(f"{NO_NUL} {faults[0].pointer} does.", faults=faults)
    return decoded


def too_large(detail: str) -> Invalid:
    error = Invalid(detail, code="too_large")
    error.status, error.title = 413, "The body is too large"
    return error


def holds_nul(body: bytes) -> bool:
    """Does some text in this JSON hold U+0000? A backslash before ``u0000`` that is itself escaped does not make one."""
    return b"\\u0000" in body and _NUL.search(body) is not None


def _with_nul(value: Any, pointer: str = "") -> Iterator[str]:
    """Where texts hold U+0000."""
    if isinstance(value, str) and "\x00" in value:
        yield pointer
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _with_nul(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from [pointer] if "\x00" in name else _with_nul(item, f"{pointer}/{name}")


class Batch(msgspec.Struct, frozen=True):
    """What became of each item, in order."""

    outcomes: list[Any]


class Body:
    """Bodies of one kind of item: one object, a list of them, or a list under its plural name."""

    def __init__(self, name: str, type_: type[Any], *, most: int = ITEMS) -> None:
        self.name = name
        self.type = type_
        self.most = most
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type_)
        self._list: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[type_])  # type: ignore[valid-type]
        named = msgspec.defstruct(f"{type_.__name__}Batch", [(name, list[type_])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._named: msgspec.json.Decoder[Any] = msgspec.json.Decoder(named)
        self._begins = re.compile(rb'\s*\{\s*"' + name.encode() + rb'"\s*:\s*\[')

    def decode(self, body: bytes) -> tuple[list[Any], bool]:
        """The items, and whether one stood alone. Raises ``Invalid``."""
        if body[:1] == b"[" or body.lstrip()[:1] == b"[":
            items, alone = decode(body, self._list, most_bytes=LIST_BYTES), False
        elif self._begins.match(body):
            items, alone = getattr(decode(body, self._named, most_bytes=LIST_BYTES), self.name), False
        else:
            return [decode(body, self._one)], True
        if not items or len(items) > self.most:
            raise Invalid(f"Send 1 to {self.most} {self.name} at once, not {len(items)}.")
        return items, alone


INVALID_STATUS = 400
REFUSED_STATUS = 422


def as_error(refused: Any, statuses: Mapping[str, int] = {}) -> Refused:
    """A refusal of a single request, which is raised where a batch would carry it as a value. ``statuses`` has the HTTP status of
    some reasons; of others it is 422, and 400 of `invalid`.
    """
    pointer: str = getattr(refused, "pointer", "")
    facts: dict[str, Any] = getattr(refused, "facts", {})
    error = Refused(refused.detail, code=str(refused.reason), faults=[Fault(pointer, refused.detail)], facts=facts)
    reason = str(refused.reason)
    error.status = statuses.get(reason, INVALID_STATUS if reason == "invalid" else REFUSED_STATUS)
    return error


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
        return Batch(list(await verb(tx, items, at=database.clock.now())))

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
        [outcome] = await verb(tx, [item], at=database.clock.now())
        if isinstance(outcome, refusal):
            raise as_error(outcome, statuses)
        return outcome

    return await answer_once(request, database, run, status=status, sent=item)


def described(
    body: Body | type[Any] | None,
    outcome: Any,
    *,
    required: bool = True,
    media_type: str = JSON,
    rows: Mapping[str, str] = {},
    rows_outcome: Any = None,
) -> type[Operation]:
    """The OpenAPI operation of a handler that reads its body by itself and answers with ``outcome``.

    ``body`` is what it reads: a ``Body`` (one item, a list, or a list under its name), a single type or nothing; ``rows`` are
    the media types of rows that it reads, too, and what they hold; ``rows_outcome`` is what answers them. A tuple of outcomes
    is any one of them.
    """
    several = isinstance(body, Body)
    answered = {"anyOf": [schema_of(one) for one in outcome]} if isinstance(outcome, tuple) else schema_of(outcome)
    content: dict[str, Any] = {
        type_: {"schema": {"type": "string", "description": held}} for type_, held in rows.items()
    }
    if isinstance(body, Body):
        sent = schema_of(body.type)
        listed = {"type": "array", "items": sent, "minItems": 1, "maxItems": body.most}
        named = {
            "type": "object",
            "properties": {body.name: listed},
            "required": [body.name],
            "additionalProperties": False,
        }
        content[media_type] = {"schema": {"anyOf": [sent, named, listed]}}
        outcomes = {"type": "object", "properties": {"outcomes": {"type": "array", "items": answered}}}
        answered = {"anyOf": [answered, outcomes, *([schema_of(rows_outcome)] if rows else [])]}
    elif body is not None:
        content[media_type] = {"schema": schema_of(body)}

    @dataclass
    class Described(Operation):
        takes_body: ClassVar[bool] = body is not None or bool(rows)
        takes_rows: ClassVar[frozenset[str]] = frozenset(rows)

        def to_schema(self) -> dict[str, Any]:
            schema = super().to_schema()
            if content:
                schema["requestBody"] = {"required": required, "content": content}
            told = schema["responses"]
            [status] = [status for status in told if status.startswith("2")]
            told[status]["content"] = {JSON: {"schema": answered}}
            if several:
                told.setdefault("200", {**told[status], "description": "A list, rows, or what was there before."})
            return schema

    return Described


def schema_of(type_: Any) -> dict[str, Any]:
    """The JSON Schema of a type, with its references replaced by what they refer to."""
    [reference], definitions = msgspec.json.schema_components([type_])
    schema: dict[str, Any] = inline(reference, definitions)
    return schema


def inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with its references replaced by what they refer to."""
    if isinstance(schema, list):
        return [inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inline(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {name: inline(part, definitions) for name, part in schema.items() if name != "discriminator"}
