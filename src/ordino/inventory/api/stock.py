"""Stock over HTTP: receipts, adjustments, counts of any length, availability."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter, QueryParameter
from msgspec import Struct

from ordino.core.batcher import Batcher
from ordino.core.bulk import CSV, NDJSON, Kind, read_ndjson
from ordino.core.database import Database
from ordino.core.errors import NotFound
from ordino.core.http import Body, command, described, encode
from ordino.core.upserts import Outcome
from ordino.inventory.adjust import (
    Adjustment,
    Count,
    Moved,
    Receipt,
    StockRefused,
    adjust,
    count,
    receive,
)
from ordino.inventory.availability import Ask, Availability, available
from ordino.inventory.explain import Explanation
from ordino.inventory.explain import explain as explained
from ordino.inventory.feed import Applied, feed


async def _no_upsert(*_: Any, **__: Any) -> list[Outcome]:
    raise AssertionError("counts are fed, not upserted")


RECEIPTS = Body("receipts", Receipt)
ADJUSTMENTS = Body("adjustments", Adjustment)
COUNTS = Body("counts", Count)
COUNT_ROWS: Kind[Count] = Kind("counts", Count, _no_upsert)
Reader = Batcher[Ask, Availability | NotFound]
SkuCode = Annotated[str, PathParameter(pattern=r"^[^\x00]*$", max_length=100)]


class Availabilities(Struct, frozen=True):
    """One answer a SKU, in the order asked."""

    availability: list[Availability]


@post(
    "/v1/receipts",
    summary="Receive units",
    tags=["inventory"],
    status_code=201,
    operation_class=described(RECEIPTS, Moved | StockRefused),
)
async def post_receipts(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One receipt or a list. Who waits for the units gets them, first placed first."""
    return await command(request, database, RECEIPTS, receive, StockRefused, status=201)


@post(
    "/v1/adjustments",
    summary="Correct stock by a difference",
    tags=["inventory"],
    status_code=201,
    operation_class=described(ADJUSTMENTS, Moved | StockRefused),
)
async def post_adjustments(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """One adjustment or a list, each with a reason. What orders hold is never taken away."""
    return await command(request, database, ADJUSTMENTS, adjust, StockRefused, status=201)


@post(
    "/v1/counts",
    summary="Set stock to what was counted",
    tags=["inventory"],
    status_code=200,
    request_max_body_size=None,
    operation_class=described(
        COUNTS,
        Moved | StockRefused,
        rows={
            NDJSON: "One JSON object a line.",
            CSV: "A header line, then a row each; the columns are those of an object.",
        },
        rows_outcome=Applied,
    ),
)
async def post_counts(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Response[bytes]:
    """JSON, or rows of CSV or NDJSON of any length: applied in sets as they come, each durable; unchanged rows cost little."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == NDJSON:
        return Response(
            encode(await feed(database, read_ndjson(request.stream(), Count))), media_type="application/json"
        )
    if media_type == CSV:
        return Response(
            encode(await feed(database, COUNT_ROWS.read_csv(request.stream()))), media_type="application/json"
        )
    return await command(request, database, COUNTS, count, StockRefused)


@get(
    "/v1/availability/{sku:str}",
    summary="Units that may be promised",
    tags=["inventory"],
    operation_class=described(None, (Availability, Explanation)),
)
async def get_availability(
    request: Request[Any, Any, Any],
    sku: SkuCode,
    channel: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
    explain: FromQuery[bool] = False,
) -> Response[bytes]:
    """Of one SKU, through a channel or in a network, with each location's part; `explain=true` says what is behind each number."""
    ask = Ask(sku, channel, network)
    if explain:
        database: Database = request.app.state.database
        why = await database.read(lambda tx: explained(tx, ask, at=database.clock.now()))
        return Response(encode(why), media_type="application/json")
    return Response(await answer_ask(request.app.state.reader, ask), media_type="application/json")


async def answer_ask(reader: Reader, ask: Ask) -> bytes:
    """The answer to one ask, read in a set with those that come at the same time. Raises ``NotFound``."""
    found = await reader.submit(ask)
    if isinstance(found, NotFound):
        raise found
    return encode(found)


@get("/v1/availability", summary="Units that may be promised, of many SKUs", tags=["inventory"])
async def get_availabilities(
    database: NamedDependency[Database],
    sku: Annotated[list[str], QueryParameter(min_items=1, max_items=1000)],
    channel: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
) -> Availabilities:
    """`?sku=a&sku=b`, through a channel or in a network."""
    found = await database.read(
        lambda tx: available(tx, [Ask(code, channel, network) for code in sku], at=database.clock.now())
    )
    for answer in found:
        if isinstance(answer, NotFound):
            raise answer
    return Availabilities([answer for answer in found if isinstance(answer, Availability)])


routes = [post_receipts, post_adjustments, post_counts, get_availability, get_availabilities]
