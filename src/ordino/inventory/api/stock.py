"""Stock over HTTP: receipts, adjustments, counts of any length, availability."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter, QueryParameter
from msgspec import Struct

from ordino.catalog.scopes import BY_CHANNEL
from ordino.core.batcher import Batcher
from ordino.core.database import Database
from ordino.core.errors import Fault, Invalid, NotFound
from ordino.core.permissions import Permission
from ordino.core.rows import CSV, NDJSON, Rows, media_type_of
from ordino.inventory import feed as of_rows
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
from ordino.inventory.feed import Applied, FeedView
from ordino.inventory.model import LACKS_STOCK
from ordino.network.scopes import BY_LOCATION
from ordino.web import scopes
from ordino.web.answers import CALLER, command, sets_of
from ordino.web.bodies import Body, encode
from ordino.web.bulk import Limit, rows_of
from ordino.web.described import described
from ordino.web.operations import NOT_FOUND, Operation, refusals
from ordino.web.routes import get, post

RECEIPTS = Body("receipts", Receipt)
ADJUSTMENTS = Body("adjustments", Adjustment)
COUNTS = Body("counts", Count)
Reader = Batcher[Ask, Availability | NotFound]
Totaler = Batcher[Sequence[Ask], list[Availability | NotFound]]
SkuCode = Annotated[str, PathParameter(pattern=r"^[^\x00]*$", max_length=100)]


class Feeds(Struct, frozen=True):
    """Newest first, without their faults."""

    feeds: list[FeedView]


class Availabilities(Struct, frozen=True):
    """One answer a SKU, in the order asked."""

    availability: list[Availability]


ROWS = {
    NDJSON: "One JSON object a line.",
    CSV: "A header line, then a row each; the columns are those of an object, parted by a comma, a semicolon, a tab or a bar.",
}
FeedName = Annotated[
    str | None,
    QueryParameter(max_length=200, description="Names a feed of rows: sent again, what was applied is passed over."),
]


@post(
    "/v1/receipts",
    operation=Operation(
        name="stock.receive",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Receive units",
    tags=["inventory"],
    status_code=201,
    request_max_body_size=None,
    operation_class=described(RECEIPTS, Moved | StockRefused, rows=ROWS, rows_outcome=Applied),
)
async def post_receipts(
    request: Request[Any, Any, Any], database: NamedDependency[Database], feed: FeedName = None
) -> Response[bytes]:
    """One receipt, a list, or rows of any length. Who waits for the units gets them, first placed first."""
    return await _take(request, database, RECEIPTS, receive, of_rows.RECEIPTS, feed, status=201)


@post(
    "/v1/adjustments",
    operation=Operation(
        name="stock.adjust",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Adjust stock",
    tags=["inventory"],
    status_code=201,
    request_max_body_size=None,
    operation_class=described(ADJUSTMENTS, Moved | StockRefused, rows=ROWS, rows_outcome=Applied),
)
async def post_adjustments(
    request: Request[Any, Any, Any], database: NamedDependency[Database], feed: FeedName = None
) -> Response[bytes]:
    """One adjustment, a list, or rows of any length, each with a reason. What orders hold is never taken away."""
    return await _take(request, database, ADJUSTMENTS, adjust, of_rows.ADJUSTMENTS, feed, status=201)


@post(
    "/v1/counts",
    operation=Operation(
        name="stock.count",
        permission=Permission.STOCK_WRITE,
        by=BY_LOCATION,
        items=True,
        refusals=refusals(StockRefused, LACKS_STOCK),
    ),
    summary="Set stock to what was counted",
    tags=["inventory"],
    status_code=200,
    request_max_body_size=None,
    operation_class=described(COUNTS, Moved | StockRefused, rows=ROWS, rows_outcome=Applied),
)
async def post_counts(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    feed: FeedName = None,
    as_of: FromQuery[datetime | None] = None,
) -> Response[bytes]:
    """JSON, or rows of any length, zipped or not: applied in sets as they come, each durable; unchanged rows cost little. Rows
    without a time of their own were counted `as_of`, or now; what has moved since is kept."""
    return await _take(request, database, COUNTS, count, of_rows.COUNTS, feed, as_of=as_of)


async def _take(
    request: Request[Any, Any, Any],
    database: Database,
    body: Body,
    verb: Any,
    kind: of_rows.Kind,
    feed: str | None,
    *,
    status: int = 200,
    as_of: datetime | None = None,
) -> Response[bytes]:
    """A list as a command; rows as a feed."""
    media_type = media_type_of(request.headers.get("content-type", ""))
    if media_type not in (CSV, NDJSON):
        if feed is not None or as_of is not None:
            raise Invalid(f"Only rows of {CSV} or {NDJSON} are a feed; in a list, each item has its own `as_of`.")
        return await command(request, database, body, verb, StockRefused, status=status, statuses=LACKS_STOCK)
    reached, sets = scopes.locations(), sets_of(request)
    # The names that narrowed keys give are their own: nobody else's feed is met, told of, or in the way.
    name = feed if feed is None or reached is None else _own_name(feed)
    rows = rows_of(request, kind.type, decode=True)
    if reached is not None:
        rows = _within(rows, frozenset(reached))
    placer = request.app.state.placer  # orders go before feeds
    applied = await of_rows.feed(database, rows, kind, name=name, sets=sets, as_of=as_of, busy=lambda: placer.busy)
    return Response(encode(applied), media_type="application/json", status_code=200)


async def _within(rows: Rows, reached: frozenset[str]) -> Rows:
    """The rows with a fault for each at a location that a narrowed key does not reach."""
    async for line, item in rows:
        at = item.get("location") if isinstance(item, dict) else getattr(item, "location", None)
        if isinstance(item, Fault) or at is None or at in reached:  # a row without a location is no row at all
            yield line, item
        else:
            yield line, Fault("/location", f"This key is narrowed, and does not reach the location {at!r}.")


def _own_name(feed: str) -> str:
    """The name of a feed as a narrowed key gives it: no other caller has it."""
    name = f"{CALLER.get()}: {feed}"
    most = of_rows.NAME_CHARACTERS - len(name) + len(feed)
    if not 1 <= len(feed) <= most:
        raise Invalid(f"The name that a narrowed key gives to a feed has 1 to {most} characters.")
    return name


@get(
    "/v1/feeds",
    operation=Operation(name="feeds.list", permission=Permission.STOCK_READ),
    summary="Recent feeds",
    tags=["inventory"],
)
async def get_feeds(database: NamedDependency[Database], limit: Limit = 100) -> Feeds:
    """Those that had a name, newest first."""
    return Feeds(await database.read(lambda tx: of_rows.feeds(tx, limit)))


@get(
    "/v1/feeds/{name:str}",
    operation=Operation(name="feeds.get", permission=Permission.STOCK_READ, refusals=NOT_FOUND),
    summary="The report of a feed",
    tags=["inventory"],
)
async def get_feed(
    database: NamedDependency[Database],
    name: Annotated[str, PathParameter(pattern=r"^[^\x00]*$", max_length=200)],
    after: Annotated[int, QueryParameter(ge=0, le=2**62, description="Tell faults after this line.")] = 0,
) -> FeedView:
    """How many rows were applied, unchanged and refused, and up to 1,000 of the faults, with their lines."""
    return await database.read(lambda tx: of_rows.feed_of(tx, name, after=after))


@get(
    "/v1/availability/{sku:str}",
    operation=Operation(name="availability.get", permission=Permission.STOCK_READ, by=BY_CHANNEL, refusals=NOT_FOUND),
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
        shown = scopes.sellers()
        why = await database.read(lambda tx: explained(tx, ask, at=database.clock.now(), sellers=shown))
        return Response(encode(why), media_type="application/json")
    return Response(await answer_ask(request.app.state.reader, ask), media_type="application/json")


async def answer_ask(reader: Reader, ask: Ask) -> bytes:
    """The answer to one ask, read in a set with those that come at the same time. Raises ``NotFound``."""
    found = await reader.submit(ask)
    if isinstance(found, NotFound):
        raise found
    return encode(found)


@get(
    "/v1/availability",
    operation=Operation(name="availability.list", permission=Permission.STOCK_READ, by=BY_CHANNEL, refusals=NOT_FOUND),
    summary="Units that may be promised, of many SKUs",
    tags=["inventory"],
)
async def get_availabilities(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    sku: Annotated[list[str], QueryParameter(min_items=1, max_items=1000)],
    channel: FromQuery[str | None] = None,
    network: FromQuery[str | None] = None,
    locations: FromQuery[bool] = True,
) -> Availabilities:
    """`?sku=a&sku=b`, through a channel or in a network; with `locations=false`, the network's totals only."""
    asks = [Ask(code, channel, network) for code in sku]
    if locations:
        found = await database.read(lambda tx: available(tx, asks, at=database.clock.now()))
    else:
        totaler: Totaler = request.app.state.totaler
        found = await totaler.submit(asks)
    for answer in found:
        if isinstance(answer, NotFound):
            raise answer
    return Availabilities([answer for answer in found if isinstance(answer, Availability)])


routes = [
    post_receipts,
    post_adjustments,
    post_counts,
    get_feeds,
    get_feed,
    get_availability,
    get_availabilities,
]
