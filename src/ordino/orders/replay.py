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
from uuid import UUID

import msgspec
from asyncpg import Record
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
from ordino.sourcing.compare import Comparison, Outcome, Report, outcome
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


async def replay(
    database: Database, document: str, since: datetime, until: datetime, *, channel: str | None = None, most: int = MOST
) -> Report:
    """What the orders placed from ``since`` until before ``until`` would have come to. Raises ``Invalid`` for a faulty document."""
    if since.tzinfo is None or until.tzinfo is None or until <= since:
        raise Invalid("Say from when until when, each with its offset, as in 2026-11-01T00:00:00Z.")
    profile = parse(document, await database.read(vocabulary))
    network = await database.read(facts)
    if channel is not None and channel not in network.channels:
        raise Invalid(f"There is no channel {channel!r}.")
    comparison = Comparison(profile.name, network)
    channels = [one.channel_id for code, one in network.channels.items() if channel in (None, code)]
    after_at, after_id, seen = since, NIL, 0
    used: dict[tuple[int, date], tuple[int, int]] = {}
    while seen < most:
        rows = await database.read(
            lambda tx, at=after_at, i=after_id, left=most - seen: sql.placed_orders(  # type: ignore[misc]
                tx, after_at=at, after_id=i, until=until, channel_ids=channels, limit=min(AT_ONCE, left)
            )
        )
        if not rows:
            break
        await database.read(lambda tx, rows=rows: _replayed(tx, rows, profile, used, comparison))  # type: ignore[misc]
        after_at, after_id, seen = rows[-1]["placed_at"], rows[-1]["order_id"], seen + len(rows)
    return comparison.report()


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
