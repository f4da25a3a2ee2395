"""Past orders under a candidate profile, against the stock as it then was.

Each order is decided as of the moment before its own decision: what was free then is worked out from the moves. One decision
does not change the stock of the next, for what the others took is what happened. Rules, closures and the network are those of
today; a limited location's days fill up as the candidate fills them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid
from ordino.core.statements import statements
from ordino.inventory.model import MoveKind
from ordino.inventory.rules import Book, book
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import ledger
from ordino.orders.asking import asked_of
from ordino.orders.model import OrderRow
from ordino.sourcing.compare import Comparison, Outcome, Report, Sums, outcome
from ordino.sourcing.decide import decide, stocked
from ordino.sourcing.document import parse
from ordino.sourcing.model import Decision, Explanation, Outlook, Request
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.profile import Profile
from ordino.sourcing.versions import vocabulary

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
AT_ONCE = 1000
MOST = 1_000_000
NIL = UUID(int=0)
_decode = msgspec.json.Decoder(Explanation).decode


class Span(Struct, frozen=True, kw_only=True):
    """A candidate's document, and the orders placed from ``since`` until before ``until``, of one channel or of all."""

    document: str
    since: datetime
    until: datetime
    channel: str | None = None


class Taken(NamedTuple):
    """What the candidate has taken on of one day of a limited location."""

    location_id: int
    day: date
    orders: int
    units: int


class Progress(Struct, frozen=True, kw_only=True):
    """How far a replay has come, as a value that can be kept: it goes on after the last order that it has seen."""

    after_at: datetime
    after_id: UUID = NIL
    seen: int = 0
    used: list[Taken] = []
    sums: Sums = msgspec.field(default_factory=Sums)


async def replay(
    database: Database, document: str, since: datetime, until: datetime, *, channel: str | None = None, most: int = MOST
) -> Report:
    """What the orders placed from ``since`` until before ``until`` would have come to. Raises ``Invalid`` for a faulty document."""
    span = Span(document=document, since=since, until=until, channel=channel)
    await check_span(database, span)
    progress: Progress | None = None
    while True:
        left = most - (progress.seen if progress else 0)
        progress, report = await advance(database, span, progress, limit=min(AT_ONCE, left))
        if report is not None:
            return report


async def check_span(source: Database | Tx, span: Span) -> None:
    """Raises ``Invalid`` for a time without an offset, an unknown channel and a faulty document."""
    if span.since.tzinfo is None or span.until.tzinfo is None or span.until <= span.since:
        raise Invalid("Say from when until when, each with its offset, as in 2026-11-01T00:00:00Z.")

    async def check(tx: Tx) -> None:
        parse(span.document, await vocabulary(tx))
        if span.channel is not None and span.channel not in (await facts(tx)).channels:
            raise Invalid(f"There is no channel {span.channel!r}.")

    await (source.read(check) if isinstance(source, Database) else check(source))


async def count(tx: Tx, span: Span) -> int:
    """How many orders a replay looks at."""
    channel_ids = _channel_ids(await facts(tx), span)
    [row] = await sql.count_placed(tx, since=span.since, until=span.until, channel_ids=channel_ids)
    orders: int = row["orders"]
    return orders


async def advance(
    database: Database, span: Span, progress: Progress | None, *, limit: int | None = None
) -> tuple[Progress, Report | None]:
    """Decide the next orders of the span, ``limit`` at most. The report comes once there are no more."""
    limit = AT_ONCE if limit is None else limit
    before = progress or Progress(after_at=span.since)
    profile = parse(span.document, await database.read(vocabulary))
    network = await database.read(facts)
    # What is added up belongs to the caller, who may try the same step again.
    sums = msgspec.convert(msgspec.to_builtins(before.sums), Sums)
    comparison = Comparison(profile.name, network, sums)
    rows: Sequence[Record] = ()
    if limit > 0:
        rows = await database.read(
            lambda tx: sql.placed_orders(
                tx,
                after_at=before.after_at,
                after_id=before.after_id,
                until=span.until,
                channel_ids=_channel_ids(network, span),
                limit=limit,
            )
        )
    if not rows:
        return before, comparison.report()
    used = {(one.location_id, one.day): (one.orders, one.units) for one in before.used}
    await database.read(lambda tx: _replayed(tx, rows, profile, used, comparison))
    now = Progress(
        after_at=rows[-1]["placed_at"],
        after_id=rows[-1]["order_id"],
        seen=before.seen + len(rows),
        used=[Taken(*place, *taken) for place, taken in used.items()],
        sums=comparison.sums,
    )
    return now, None


def _channel_ids(network: NetworkFacts, span: Span) -> list[int]:
    return [one.channel_id for code, one in network.channels.items() if span.channel in (None, code)]


async def _replayed(
    tx: Tx,
    rows: Sequence[Record],
    profile: Profile,
    used: dict[tuple[int, date], tuple[int, int]],
    comparison: Comparison,
) -> None:
    # Of the same moment as the rules, and for the thread that decides.
    network = comparison.network = (await facts(tx)).apart()
    orders = {row["order_id"]: OrderRow(**row) for row in rows}
    decided = {
        row["order_id"]: (row["cause_id"], _decode(row["explanation"]))
        for row in await sourcing_sql.first_decisions(tx, order_ids=list(orders))
    }
    asked = await asked_of(tx, list(orders.values()), await ledger.lines(tx, orders), network)
    mine = [
        replace(request, promised_at=_named(orders[request.request_id], decided[request.request_id][1]))
        for request in asked
        if request.request_id in decided
    ]
    mine.sort(key=lambda request: (request.at, decided[request.request_id][0]))
    if not mine:
        return
    sku_ids = stocked(mine)
    history = _History(
        await sql.free_before(tx, sku_ids=sku_ids, at=mine[0].at),
        await sql.moves_between(tx, sku_ids=sku_ids, since=mine[0].at, until=mine[-1].at),
    )
    rules, outlook = await book(tx, sku_ids), await outlook_for(tx, profile.looks_ahead, sku_ids)
    await asyncio.to_thread(
        _compared, mine, decided, {row["order_id"]: row["promised_at"] for row in rows}, history,
        (network, profile, rules, outlook), used, comparison,
    )  # fmt: skip


def _compared(
    mine: Sequence[Request],
    decided: Mapping[UUID, tuple[UUID, Explanation]],
    told: Mapping[UUID, datetime | None],
    history: _History,
    seen: tuple[NetworkFacts, Profile, Book | None, Outlook],
    used: dict[tuple[int, date], tuple[int, int]],
    comparison: Comparison,
) -> None:
    network, profile, rules, outlook = seen
    for request in mine:
        cause_id, was = decided[request.request_id]
        stock = _unclaimed(history.before(request.at, cause_id, stocked([request])), was)
        kept = replace(request, held=history.let_go(request.at, cause_id))
        decision = _as_of(kept, stock, network, profile, used, rules, outlook)
        routes = network.destination(request.country, request.postal_code)
        km = sum(routes.km(n) or 0.0 for n, _ in was.plan)
        cost = was.terms.get("carrier", 0) + was.terms.get("handling", 0)
        arrives_at = told[request.request_id] if was.promise_kept is not False else None  # as it was decided
        happened = Outcome(cost, was.plan, round(km, 1), arrives_at)
        wanted = sum(need.quantity for need in request.needs)
        comparison.add(
            request.request_id, wanted, told[request.request_id], happened, outcome(decision, request, network)
        )


def _unclaimed(stock: dict[int, dict[int, int]], was: Explanation) -> dict[int, dict[int, int]]:
    """Without what was left to orders that waited."""
    for sku_id, location_id, units in was.claimed:
        if location_id in (there := stock.get(sku_id, {})):
            there[location_id] -= units
    return stock


def _named(order: OrderRow, was: Explanation) -> datetime | None:
    """The date that the buyer named, if one was named: then the decision says whether it was kept, or found nothing at all."""
    named = was.promise_kept is not None or not was.plan
    return order.promised_at if named else None


def _as_of(
    request: Request,
    stock: Mapping[int, Mapping[int, int]],
    network: NetworkFacts,
    profile: Profile,
    used: dict[tuple[int, date], tuple[int, int]],
    rules: Book | None,
    outlook: Outlook,
) -> Decision:
    [decision] = decide([request], stock, network, profile, used, rules, outlook, tell=False)
    for leg in decision.legs:
        if leg.location_id in network.limited:
            orders, units = used.get((leg.location_id, leg.ship_on), (0, 0))
            used[leg.location_id, leg.ship_on] = (orders + 1, units + sum(part.quantity for part in leg.units))
    return decision


class _History:
    """What was free of some SKUs, going forward in time."""

    def __init__(self, free: Sequence[Record], moves: Sequence[Record]) -> None:
        self._free: dict[int, dict[int, int]] = defaultdict(dict)
        for row in free:
            self._free[row["sku_id"]][row["location_id"]] = row["free"]
        self._moves = moves
        self._next = 0

    def before(self, at: datetime, cause_id: UUID, sku_ids: Sequence[int]) -> dict[int, dict[int, int]]:
        """As it was before a cause; never asked of an earlier one than before."""
        while self._next < len(self._moves):
            move = self._moves[self._next]
            if (move["at"], move["cause_id"]) >= (at, cause_id):
                break
            there = self._free[move["sku_id"]]
            there[move["location_id"]] = there.get(move["location_id"], 0) + move["delta"]
            self._next += 1
        return {sku_id: {n: units for n, units in self._free[sku_id].items() if units > 0} for sku_id in sku_ids}

    def let_go(self, at: datetime, cause_id: UUID) -> dict[tuple[int, int], int]:
        """What a hold kept for the order of this cause, by position; asked after ``before``."""
        held: dict[tuple[int, int], int] = {}
        for place in range(self._next, len(self._moves)):
            move = self._moves[place]
            if (move["at"], move["cause_id"]) != (at, cause_id):
                break
            if move["kind"] == MoveKind.LET_GO:
                key = (move["sku_id"], move["location_id"])
                held[key] = held.get(key, 0) + move["delta"]
        return held
