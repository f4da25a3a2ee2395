"""Upserts over HTTP: one thing, a list of them, or rows of CSV or NDJSON without an end.

A list is one transaction and one outcome an item. Rows are applied in sets (``web.loads``), each durable before the next is read;
what is wrong with a row is told with its line. To repeat a load that broke off is safe; with an ``Idempotency-Key``, what was
applied before gets its first answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.openapi.spec import Operation as Documented
from litestar.params import Parameter
from msgspec import Struct

from ordino.core.cells import cell_fault
from ordino.core.codes import is_plain, tidy
from ordino.core.database import Database, Tx
from ordino.core.digests import digest_of
from ordino.core.errors import Fault, Invalid, NotFound
from ordino.core.media import charset_of
from ordino.core.permissions import Permission
from ordino.core.rows import CSV, GZIPPED, NDJSON, Limits, RowFault, Rows, media_type_of, read_rows
from ordino.core.upserts import (
    Created,
    NotUpserted,
    Outcome,
    Reason,
    Unchanged,
    Updated,
    as_error,
    fault_of,
    pointer_to,
    refusal,
)
from ordino.web import scopes
from ordino.web.answers import answer_once, sets_of
from ordino.web.bodies import TOO_DEEP, Body, apart
from ordino.web.described import described
from ordino.web.loads import FAULTS_TOLD, Batch, Loaded, load
from ordino.web.operations import NOT_FOUND, UPSERT_STATUSES, Operation
from ordino.web.problems import too_large
from ordino.web.routes import get, post, put
from ordino.web.scopes import WHOLE, Narrowing

Thing = TypeVar("Thing", bound=Struct)

JSON_BYTES = 10_000_000
JSON_ITEMS = 10_000
LOOKED_AT_ONCE = 1000

PathCode = Annotated[str, Parameter(pattern=r"^[^\x00]*$", max_length=100)]
After = Annotated[str, Parameter(pattern=r"^[^\x00]*$", max_length=100, description="The `next` of the page before.")]
Limit = Annotated[int, Parameter(ge=1, le=1000, description="How many to list at most.")]


class Outcomes(Struct, frozen=True):
    """What became of each item, in order."""

    outcomes: list[Outcome]


class Kind(Generic[Thing]):
    """One kind of thing that can be upserted over HTTP; ``name`` is its plural, in the URL and in the body."""

    def __init__(
        self,
        name: str,
        type_: type[Thing],
        verb: Callable[..., Awaitable[list[Outcome]]],
        *,
        key: str = "code",
        flat: bool = True,
        by: Narrowing = WHOLE,
    ) -> None:
        """``by`` narrows who may upsert which of them."""
        self.name = name
        self.type = type_
        self.verb = verb
        self.key = key
        self.flat = flat
        self.by = by
        self.title = name.replace("skus", "SKUs").replace("_", " ")
        self.fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}

    async def answer(self, request: Request[Any, Any, Any], database: Database) -> Response[bytes] | Response[Loaded]:
        """Upsert what the body holds. A refusal of a single thing is raised; in a list it is a value."""
        media_type = media_type_of(request.headers.get("content-type", ""))
        if media_type in (CSV, NDJSON):
            if media_type == CSV and not self.flat:
                raise Invalid(f"One of the {self.name} does not fit into a row; send JSON or {NDJSON}.")
            lax = media_type == CSV
            loaded = await load(
                rows_of(request, self.type),
                database,
                lambda tx, batch: self._set(tx, batch, at=database.clock.now(), lax=lax),
                sets=sets_of(request),
                digest=lambda batch: self._digest(batch, lax=lax),
            )
            return Response(loaded, status_code=200)
        body = await whole(request)
        items, alone = await apart(self._items, body)
        plain = await apart(is_plain, body)

        async def run(tx: Tx) -> Outcome | Outcomes:
            outcomes = await self.upsert(tx, items, at=database.clock.now(), plain=plain)
            if not alone:
                return Outcomes(outcomes)
            [outcome] = outcomes
            if isinstance(outcome, NotUpserted):
                raise as_error(outcome)
            return outcome

        return await answer_once(
            request,
            database,
            run,
            status=lambda done: 201 if isinstance(done, Created) else 200,
            sent=lambda: self._meant(items[0] if alone else items),
        )

    def _meant(self, sent: Any, *, lax: bool = False) -> Any:
        """What was sent as the things that it means, where it is sound; as it was sent, where it is not."""
        if isinstance(sent, list):
            return [self._meant(item) for item in sent]
        try:
            return msgspec.convert(sent, self.type, strict=not lax)
        except msgspec.ValidationError:
            return sent

    def _items(self, body: bytes) -> tuple[list[Any], bool]:
        try:
            sent = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"The body is not JSON: {error}.", faults=[Fault("", str(error))]) from error
        except RecursionError as error:
            raise Invalid(TOO_DEEP) from error
        if isinstance(sent, dict) and self.name in sent and self.name not in self.fields:
            if others := [name for name in sent if name != self.name]:
                detail = f"Beside `{self.name}` there is no field {', '.join(map(repr, others))}; leave it out."
                raise Invalid(detail, faults=[Fault(pointer_to(name), detail) for name in others])
            sent = sent[self.name]
            if not isinstance(sent, list):
                detail = f"`{self.name}` must be a list."
                raise Invalid(detail, faults=[Fault(f"/{self.name}", detail)])
        if not isinstance(sent, list):
            return [sent], True
        if len(sent) > JSON_ITEMS:
            detail = f"A list has at most {JSON_ITEMS} items, this one {len(sent)}; send {NDJSON}, which may be of any length."
            raise Invalid(detail)
        return sent, False

    async def upsert(
        self, tx: Tx, items: Sequence[Any], *, at: datetime, lax: bool = False, plain: bool = False
    ) -> list[Outcome]:
        """One outcome an item. Items are what a decoder makes of JSON, or texts by field if ``lax``. ``plain``: their codes are
        known to be normal.
        """
        outcomes: dict[int, Outcome] = {}
        sound: dict[int, Thing] = {}
        for index, sent in enumerate(items):
            item, faults = (sent, []) if plain else tidy(sent, self.type)
            try:
                if faults:
                    outcomes[index] = self._refused(item, faults[0])
                    continue
                sound[index] = msgspec.convert(item, self.type, strict=not lax)
            except msgspec.ValidationError as error:
                fault = cell_fault(error, item) if lax else fault_of(error)
                outcomes[index] = self._refused(item, fault)
        beyond = await scopes.outside(tx, self.by, list(sound.values()))
        for place, index in enumerate(list(sound)):
            if place in beyond:
                fault = Fault(beyond[place].pointer, beyond[place].detail)
                outcomes[index] = refusal(getattr(sound.pop(index), self.key), fault, Reason.FORBIDDEN)
        if sound:
            done = await self.verb(tx, list(sound.values()), at=at)
            outcomes.update(zip(sound, done, strict=True))
        return [outcomes[index] for index in range(len(items))]

    def _refused(self, item: Any, fault: Fault) -> NotUpserted:
        code = item.get(self.key) if isinstance(item, dict) else None
        return refusal(code if isinstance(code, str) else "", fault)

    async def _set(self, tx: Tx, batch: Batch, *, at: datetime, lax: bool) -> Loaded:
        """What became of the rows of one set."""
        items = [item for _, item in batch if not isinstance(item, Fault)]
        done = iter(await self.upsert(tx, items, at=at, lax=lax, plain=True))
        counts: dict[type[Outcome], int] = dict.fromkeys((Created, Updated, Unchanged, NotUpserted), 0)
        faults: list[RowFault] = []
        for line, item in batch:
            outcome = (
                NotUpserted("", Reason.INVALID, item.detail, item.pointer) if isinstance(item, Fault) else next(done)
            )
            counts[type(outcome)] += 1
            if isinstance(outcome, NotUpserted) and len(faults) < FAULTS_TOLD:
                faults.append(RowFault(line, outcome.pointer, outcome.detail))
        created, updated, unchanged, refused = counts.values()
        return Loaded(len(batch), created, updated, unchanged, refused, faults)

    def _digest(self, batch: Batch, *, lax: bool) -> bytes:
        """Of rows that mean the same, in whichever form they come."""
        return digest_of([item if isinstance(item, Fault) else self._meant(item, lax=lax) for _, item in batch])


def rows_of(request: Request[Any, Any, Any], type_: type[Struct], *, decode: bool = False) -> Rows:
    """The rows of a request's body, by its headers."""
    told = request.headers.get("content-type", "")
    zipped = request.headers.get("content-encoding", "").strip().lower() in GZIPPED
    limits: Limits = request.app.state.row_limits
    return read_rows(
        request.stream(),
        media_type_of(told),
        type_,
        charset=charset_of(told),
        zipped=zipped,
        decode=decode,
        limits=limits,
    )


async def whole(request: Request[Any, Any, Any]) -> bytes:
    """The body, which must fit into memory."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > JSON_BYTES:
            raise too_large(
                f"A JSON body has at most {JSON_BYTES} bytes; send {CSV} or {NDJSON}, which may be of any length."
            )
        parts.append(part)
    return b"".join(parts)


def next_of(things: Sequence[Any], limit: int, key: str = "code") -> str | None:
    """Where the next page begins: a full page may have one."""
    return getattr(things[-1], key) if len(things) == limit else None


def routes(
    kind: Kind[Thing],
    tag: str,
    *,
    note: str,
    reads: Permission,
    writes: Permission,
    shown_by: Narrowing = WHOLE,
    by_code: Callable[[Tx, Sequence[str]], Awaitable[list[Thing]]],
    after_code: Callable[[Tx, str, int], Awaitable[list[Thing]]],
) -> list[Any]:
    """Upsert, list and one, with the permissions that they need. ``note`` tells callers what an upsert of this kind does;
    ``shown_by`` is what narrows which of them a key sees.
    """
    fields = [(kind.name, list[kind.type]), ("next", str | None)]  # type: ignore[name-defined]
    page = msgspec.defstruct(f"{kind.type.__name__}Page", fields, frozen=True)
    page.__doc__ = "One page in order of codes; `next` is the `after` of the page that follows, if there may be one."

    async def several(database: NamedDependency[Database], after: After = "", limit: Limit = 100) -> Any:
        """In order of codes, page by page."""
        found = await database.read(lambda tx: shown_after(tx, shown_by, after_code, after, limit, kind.key))
        return page(found, next_of(found, limit, kind.key))

    async def one(database: NamedDependency[Database], code: PathCode) -> Any:
        """As it was sent."""
        found = await database.read(lambda tx: shown_of(tx, code))
        if not found:
            raise NotFound(f"Nothing in {kind.name} has the code {code!r}.")
        return found[0]

    async def shown_of(tx: Tx, code: str) -> list[Thing]:
        return await reached(tx, shown_by, await by_code(tx, [code]))

    several.__annotations__["return"], one.__annotations__["return"] = page, kind.type
    path, held = f"/v1/{kind.name}", {"by": shown_by, "filters": shown_by.dimensions}
    listed = Operation(name=f"{kind.name}.list", permission=reads, **held)  # type: ignore[arg-type]
    shown = Operation(name=f"{kind.name}.get", permission=reads, refusals=NOT_FOUND, **held)  # type: ignore[arg-type]
    return [
        *upserts(kind, tag, note=note, writes=writes),
        get(path, operation=listed, summary=f"List {kind.title}", tags=[tag])(several),
        get(f"{path}/{{code:str}}", operation=shown, summary=f"One of the {kind.title}", tags=[tag])(one),
    ]


async def shown_after(
    tx: Tx,
    by: Narrowing,
    after_code: Callable[[Tx, str, int], Awaitable[list[Thing]]],
    after: str,
    limit: int,
    key: str,
) -> list[Thing]:
    """The next page of those that the key of this request may see. It is full, or the last one: where it ends at the code of
    something else, that code would be told.
    """
    if scopes.narrowed() is None:
        return await after_code(tx, after, limit)
    shown: list[Thing] = []
    while len(shown) < limit:
        found = await after_code(tx, after, LOOKED_AT_ONCE)
        shown += await reached(tx, by, found)
        if len(found) < LOOKED_AT_ONCE:
            break
        after = getattr(found[-1], key)
    return shown[:limit]


async def reached(tx: Tx, by: Narrowing, things: Sequence[Thing]) -> list[Thing]:
    """Those that the key of this request may see."""
    beyond = await scopes.outside(tx, by, things)
    return [thing for place, thing in enumerate(things) if place not in beyond]


def upserts(kind: Kind[Thing], tag: str, *, note: str, writes: Permission) -> list[Any]:
    """PUT and POST, which do the same: things are named by their codes."""

    async def upsert(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[Any]:
        return await kind.answer(request, database)

    return [
        method(
            f"/v1/{kind.name}",
            operation=Operation(
                name=f"{kind.name}.{verb}",
                permission=writes,
                by=kind.by,
                items=bool(kind.by.names),
                refusals=UPSERT_STATUSES,
            ),
            summary=f"Create or change {kind.title}",
            description=note,
            tags=[tag],
            status_code=201,  # of a thing that is new
            operation_class=_described(kind),
            request_max_body_size=None,  # rows may be of any length; what is read whole has its own limit
        )(upsert)
        for method, verb in ((put, "upsert"), (post, "upsert_by_post"))
    ]


def _described(kind: Kind[Any]) -> type[Documented]:
    """The OpenAPI operation of an upsert, whose body the handler reads by itself."""
    rows = {NDJSON: "One JSON object a line."}
    if kind.flat:
        columns = ", ".join(kind.fields)
        rows[CSV] = f"A header line, then a row each. Columns: {columns}. An empty cell leaves its field out."
    return described(Body(kind.name, kind.type, most=JSON_ITEMS), Outcome, rows=rows, rows_outcome=Loaded)
