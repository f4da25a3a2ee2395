"""Orders that nobody works on yet are decided anew, together: until release an allocation is tentative.

After Xu, Allgor and Graves (2009), "Benefits of reevaluating real-time order fulfillment decisions": what was best when each order
came is often not best once others have come. No order gets less than it has, and none arrives later than it was promised, or
than it would arrive as it stands. A set is solved beside everything else that goes on, with nothing locked; what comes of it is
held against what has changed meanwhile, and stock, allocations and places of days move in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Database, Tx
from ordino.core.errors import Unavailable
from ordino.core.events import Event, record
from ordino.core.ids import new_id, new_ids
from ordino.core.reactions import registry
from ordino.core.settings import Settings
from ordino.core.statements import statements
from ordino.inventory import holds
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.rules import Book
from ordino.inventory.shelf import on_shelf
from ordino.network.facts import NetworkFacts, facts
from ordino.orders import capacity, ledger
from ordino.orders.allocate import requests_of
from ordino.orders.events import OrderResourced
from ordino.orders.ledger import AllocationKey
from ordino.orders.model import AllocationRow, OrderRow
from ordino.sourcing.compare import CurrencyCosts
from ordino.sourcing.decide import Policy, stocked
from ordino.sourcing.exact import Solved, exact, follow
from ordino.sourcing.model import Decision, Leg, Outlook, Request
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.plans import Plan
from ordino.sourcing.versions import profiles

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
log = logging.getLogger("ordino.orders")
_encode = msgspec.json.Encoder().encode

SET = 100
"""So many orders are decided together."""
MOST = 5000
"""So many orders a run looks at, first placed first."""
LOOK_BACK = timedelta(days=30)
SECONDS = 2.0
"""So long may one set be solved."""
ROUNDS = 3
NIL = UUID(int=0)
_COSTS = msgspec.json.Decoder(list[CurrencyCosts])
LAST = UUID(int=(1 << 128) - 1)


class Reevaluated(Struct, frozen=True):
    """What a run has looked at, and what it saved: ``costs`` by currency, in minor units, that of the most orders first."""

    reevaluation_id: UUID
    at: datetime
    orders: int
    changed: int
    costs: list[CurrencyCosts]


class _Result(Struct):
    orders: int = 0
    changed: int = 0
    before_minor: int = 0
    after_minor: int = 0


async def reevaluate(database: Database, *, at: datetime, most: int = MOST, seconds: float = SECONDS) -> Reevaluated:
    """Look at the tentative orders, set by set; and write down what came of it."""
    run = await decide_anew(database, at=at, most=most, seconds=seconds)
    return await database.transact(lambda tx: write_down(tx, run))


async def decide_anew(database: Database, *, at: datetime, most: int = MOST, seconds: float = SECONDS) -> Reevaluated:
    """Look at the tentative orders, set by set, each in transactions of its own. To do it again does no harm."""
    costs: dict[str, CurrencyCosts] = {}
    orders, changed, after_at, after_id = 0, 0, at - LOOK_BACK, NIL
    while orders < most:
        page = await database.read(
            lambda tx, a=after_at, i=after_id, orders=orders: sql.tentative_orders(  # type: ignore[misc]
                tx, since=at - LOOK_BACK, after_at=a, after_id=i, limit=min(SET, most - orders)
            )
        )
        if not page:
            break
        after_at, after_id = page[-1]["placed_at"], page[-1]["order_id"]
        for currency in sorted({row["currency"] for row in page}):
            ids = [row["order_id"] for row in page if row["currency"] == currency]
            try:
                some = await improve(database, ids, at=at, seconds=seconds)
            except Unavailable as error:
                log.warning("a set of tentative orders stays as it is for now: %s", error)
                some = _Result(len(ids))
            orders, changed = orders + some.orders, changed + some.changed
            sums = costs.setdefault(currency, CurrencyCosts(currency))
            sums.orders += some.orders
            sums.before_minor += some.before_minor
            sums.after_minor += some.after_minor
        if len(page) < SET:
            break
    return Reevaluated(
        new_id(at), at, orders, changed, sorted(costs.values(), key=lambda one: (-one.orders, one.currency))
    )


async def write_down(tx: Tx, run: Reevaluated) -> Reevaluated:
    """Keep what came of a run."""
    costs = msgspec.json.encode(run.costs).decode()
    counts = {"orders": run.orders, "changed": run.changed, "costs": costs}
    await sourcing_sql.record_reevaluation(tx, reevaluation_id=run.reevaluation_id, at=run.at, **counts)
    return run


def _interval(settings: Settings) -> float | None:
    return 60.0 * settings.reevaluate_minutes or None


@registry.leased_duty("reevaluate", every_seconds=_interval)
async def reevaluate_again(database: Database, since: datetime, at: datetime) -> None:
    """Decide orders anew, together, that are not released yet."""
    await reevaluate(database, at=at)


async def reevaluations(tx: Tx, before: UUID = LAST, limit: int = 100) -> list[Reevaluated]:
    """One page of runs, newest first."""
    rows = await sourcing_sql.reevaluations(tx, before=before, limit=limit)
    return [
        Reevaluated(row["reevaluation_id"], row["at"], row["orders"], row["changed"], _COSTS.decode(row["costs"]))
        for row in rows
    ]


async def improve(database: Database, order_ids: Sequence[UUID], *, at: datetime, seconds: float = SECONDS) -> _Result:
    """Decide a set of orders of one currency anew: look, think beside everything else that goes on, and then move what still can be
    moved.
    """
    seen = await database.read(lambda tx: look(tx, order_ids, at=at))
    if seen is None:
        return _Result()
    better = await asyncio.to_thread(think, seen, seconds)
    if not better.plans:
        return _Result(len(seen.requests), 0, better.before_minor, better.before_minor)
    changed, saved = await database.transact(lambda tx: move(tx, seen, better.plans, at=at))
    return _Result(len(seen.requests), changed, better.before_minor, better.before_minor - saved)


class _Set(Struct, frozen=True):
    """Tentative orders with all that their decisions look at. ``plans`` says where they come from as it stands, ``free`` is what
    nobody holds, and ``used`` counts what they take on of days, which ``claims`` tells by order.
    """

    requests: list[Request]
    orders: dict[UUID, OrderRow]
    rows: dict[UUID, list[AllocationRow]]
    plans: dict[UUID, Plan]
    claims: Mapping[UUID, Sequence[tuple[int, date, int, int]]]
    free: Mapping[int, Mapping[int, int]]
    used: Mapping[tuple[int, date], tuple[int, int]]
    network: NetworkFacts
    policy: Policy
    book: Book | None
    outlook: Outlook

    def decided(self, requests: Sequence[Request], plans: Mapping[UUID, Plan]) -> list[Decision]:
        """The decisions that follow these plans, among these requests."""
        pool, left = self._without(requests)
        numbered = {number: plans[request.request_id] for number, request in enumerate(requests)}
        return follow(requests, pool, self.network, self.policy, left, self.book, self.outlook, numbered)

    def standing(self, requests: Sequence[Request]) -> list[Request]:
        """Those whose plans, made now, would be what they are: from there, by these services. What has become late or dear only
        because time has passed stays as it is.
        """
        found = list(requests)
        while found:
            same = []
            for request, decision in zip(found, self.decided(found, self.plans), strict=True):
                services = {(row.location_id, row.service_id) for row in self.rows[request.request_id]}
                if _given(decision) == self.plans[request.request_id] and services == {
                    (leg.location_id, leg.service_id) for leg in decision.legs
                }:
                    same.append(request)
            if len(same) == len(found):
                break
            found = same
        return found

    def adds(self, order_id: UUID, plan: Plan) -> bool:
        """Whether more units come from a limited location where the order has a place already, on another day maybe."""
        before = self.plans[order_id]
        return any(
            n in before and n in self.network.limited and sum(given.values()) > sum(before[n].values())
            for n, given in plan.items()
        )

    def solved(self, requests: Sequence[Request], seconds: float) -> Solved:
        """These requests decided together."""
        pool, left = self._without(requests)
        current = {number: self.plans[request.request_id] for number, request in enumerate(requests)}
        return exact(
            requests, pool, self.network, self.policy, left, self.book, self.outlook, seconds=seconds, current=current
        )

    def _without(
        self, requests: Sequence[Request]
    ) -> tuple[dict[int, dict[int, int]], dict[tuple[int, date], tuple[int, int]]]:
        """Stock and days as they would be without what these requests hold."""
        pool = {sku_id: dict(places) for sku_id, places in self.free.items()}
        left = dict(self.used)
        for request in requests:
            _add(pool, request, self.plans[request.request_id])
            for location_id, day, orders, pieces in self.claims.get(request.request_id, ()):
                before = left.get((location_id, day), (0, 0))
                left[location_id, day] = (before[0] - orders, before[1] - pieces)
        return pool, left


class _Better(Struct, frozen=True):
    """Plans of the orders that are better served from elsewhere, and what the whole set costs as it stands."""

    plans: dict[UUID, Plan]
    before_minor: int


async def look(tx: Tx, order_ids: Sequence[UUID], *, at: datetime, lock: bool = False) -> _Set | None:
    """The tentative ones of these orders; None if there are none. With ``lock``, what is seen stands until the transaction ends."""
    orders = await (ledger.lock(tx, order_ids) if lock else ledger.orders(tx, order_ids))
    rows: dict[UUID, list[AllocationRow]] = defaultdict(list)
    for row in await ledger.allocations(tx, orders):
        rows[row.order_id].append(row)
    tentative = {i: of for i, of in rows.items() if not any(row.released for row in of)}
    if not tentative:
        return None
    network = await facts(tx)
    units: dict[UUID, dict[int, int]] = {}
    for order_id, of in tentative.items():
        mine = units[order_id] = defaultdict(int)
        for row in of:
            mine[row.line_no] += row.quantity
    lines = await ledger.lines(tx, tentative)
    asked = await requests_of(tx, [orders[i] for i in order_ids if i in tentative], lines, units, network, at)
    requests = [_in_time(request, orders[request.request_id], tentative[request.request_id]) for request in asked]
    servings = {request.network.network_id: request.network for request in requests}
    policy = await profiles(tx)
    sku_ids = stocked(requests)
    # What was seen without a lock counted on what expired holds have.
    lapsed = await holds.lock_lapsed(tx, sku_ids, at=at) if lock else None
    used = await capacity.used(tx, network, servings, at, lock, policy.backlog_days, beside=list(tentative))
    if lapsed is not None and lapsed.units:
        await stock.hold(tx, {*sku_ids, *lapsed.sku_ids})
        await holds.let_lapse(tx, lapsed, at=at)
    shelf = await on_shelf(tx, sku_ids, at=at, lock=lock, decides=lock)
    outlook = await outlook_for(tx, policy.looks_ahead, sku_ids)
    claims = await capacity.claimed(tx, list(tentative))
    plans = {order_id: _plan(of) for order_id, of in tentative.items()}
    if not lock:  # it is thought about in another thread, which remembers by itself
        network, policy = network.apart(), policy.apart()
    return _Set(
        requests, orders, tentative, plans, claims, shelf.free, used, network, policy.for_request, shelf.book, outlook
    )


def think(seen: _Set, seconds: float = SECONDS) -> _Better:
    """Who of the set is better served from elsewhere. No order gets less or comes later for it."""
    candidates = seen.standing(seen.requests)
    for _ in range(ROUNDS):
        solved = seen.solved(candidates, seconds)
        worse = {
            request.request_id
            for request, decision in zip(candidates, solved.decisions, strict=True)
            if _is_worse(request, decision)
        }
        if not worse:
            break
        candidates = [request for request in candidates if request.request_id not in worse]
    else:
        return _Better({}, 0)
    plans = {decision.request_id: _given(decision) for decision in solved.decisions if solved.improved}
    changed = {order_id: plan for order_id, plan in plans.items() if plan and plan != seen.plans[order_id]}
    return _Better(changed, solved.before_minor)


async def move(tx: Tx, seen: _Set, plans: Mapping[UUID, Plan], *, at: datetime) -> tuple[int, int]:
    """Follow the plans as far as that is still possible and still saves something. Orders that were released, cancelled or changed
    since they were seen stay as they are. Returns how many came to be served from elsewhere, and what that saves.
    """
    now = await look(tx, list(plans), at=at, lock=True)
    if now is None:
        return 0, 0
    unchanged = [one for one in now.requests if now.plans[one.request_id] == seen.plans[one.request_id]]
    candidates = [one for one in now.standing(unchanged) if not now.adds(one.request_id, plans[one.request_id])]
    while candidates:
        decisions = now.decided(candidates, plans)
        wrong = {
            request.request_id
            for request, decision in zip(candidates, decisions, strict=True)
            if _is_worse(request, decision) or _given(decision) != plans[request.request_id]
        }
        if not wrong:
            saved = _cost(now.decided(candidates, now.plans)) - _cost(decisions)
            if saved <= 0:
                return 0, 0
            changed = {decision.request_id: decision for decision in decisions}
            await _move(tx, changed, now.orders, now.rows, now.network, at)
            return len(changed), saved
        candidates = [request for request in candidates if request.request_id not in wrong]
    return 0, 0


def _cost(decisions: Sequence[Decision]) -> int:
    return sum(decision.explanation.cost_minor or 0 for decision in decisions)


def _in_time(request: Request, order: OrderRow, rows: Sequence[AllocationRow]) -> Request:
    """Held to what the buyer was told last; where that is lost already, to the day on which it would arrive as it stands."""
    arrives_at = max(row.promised_at for row in rows)
    ship_by_at = order.ship_by_at and max(order.ship_by_at, *(row.ship_by_at for row in rows))
    return replace(request, promised_at=max(order.told_at or arrives_at, arrives_at), ship_by_at=ship_by_at)


def _plan(rows: Sequence[AllocationRow]) -> Plan:
    plan: Plan = {}
    for row in rows:
        there = plan.setdefault(row.location_id, {})
        there[row.sku_id] = there.get(row.sku_id, 0) + row.quantity
    return plan


def _add(pool: dict[int, dict[int, int]], request: Request, plan: Plan) -> None:
    """What an order holds is free for the set."""
    parts = {need.sku_id: need.parts or ((need.sku_id, 1),) for need in request.needs}
    for location_id, given in plan.items():
        for sku_id, units in given.items():
            for part, each in parts[sku_id]:
                there = pool.setdefault(part, {})
                there[location_id] = there.get(location_id, 0) + units * each


def _given(decision: Decision) -> Plan:
    return {leg.location_id: leg.given() for leg in decision.legs}


def _is_worse(request: Request, decision: Decision) -> bool:
    late = decision.promised_at is None or (
        request.promised_at is not None and decision.promised_at > request.promised_at
    )
    late |= decision.explanation.ship_by_kept is False
    return bool(decision.short or decision.dropped or decision.refused or late)


async def _move(
    tx: Tx,
    changed: Mapping[UUID, Decision],
    orders: Mapping[UUID, OrderRow],
    rows: Mapping[UUID, Sequence[AllocationRow]],
    network: NetworkFacts,
    at: datetime,
) -> None:
    """Reservations, allocations and places of days of these orders, from where they were to where they are better."""
    ids = dict(zip(changed, new_ids(at, len(changed)), strict=True))
    moves: list[StockMove] = []
    taken: dict[AllocationKey, tuple[int, int]] = {}
    added: list[tuple[Any, ...]] = []
    claims: list[capacity.Claim] = []
    events = []
    for order_id, decision in changed.items():
        was = {(row.line_no, row.location_id): row for row in rows[order_id]}
        now: dict[tuple[int, int], tuple[int, Leg]] = {}
        for leg in decision.legs:
            for units in leg.units:
                now[units.line_no, leg.location_id] = (units.quantity, leg)
        skus = {row.line_no: row.sku_id for row in rows[order_id]}
        stays = {location_id for _, location_id in was} & {location_id for _, location_id in now}
        for line_no, location_id in sorted({*was, *now}):
            old = was[line_no, location_id].quantity if (line_no, location_id) in was else 0
            new, to = now.get((line_no, location_id), (0, None))
            if new < old:
                taken[order_id, line_no, location_id] = (old - new, 0)
            elif new > old and to is not None:
                kept = next((row for (_, n), row in was.items() if n == location_id), None)  # its day there stays
                dates = (to.service_id, to.ship_by_at, to.promised_at)
                if kept is not None:
                    dates = (kept.service_id, kept.ship_by_at, kept.promised_at)
                added.append((order_id, line_no, location_id, skus[line_no], new - old, *dates))
            if new != old:
                kind = MoveKind.RESERVED if new > old else MoveKind.RELEASED
                moves.append(
                    StockMove(
                        skus[line_no],
                        location_id,
                        ids[order_id],
                        kind,
                        reserved_delta=new - old,
                        reason="reevaluated",
                        order_id=order_id,
                        line_no=line_no,
                        channel_id=orders[order_id].channel_id,
                    )
                )
        for leg in decision.legs:
            if leg.location_id not in stays:
                claims += capacity.claims_of(network, order_id, leg)
        payload = OrderResourced(
            from_=sorted({network.locations[n].code for _, n in was}),
            to=sorted({network.locations[n].code for _, n in now}),
        )
        events.append(Event(order_id, ids[order_id], at, payload, orders[order_id].flow_version))
    await ledger.take_allocations(tx, taken)
    await capacity.give_back(tx, network, list(changed))
    names = ("order_ids", "line_nos", "location_ids", "sku_ids", "quantities", "service_ids", "ship_bys", "promises")
    if added:
        columns = dict(zip(names, (list(column) for column in zip(*added, strict=True)), strict=True))
        await sql.add_allocations(tx, **columns)
    await sourcing_sql.record_decisions(
        tx,
        order_ids=list(changed),
        cause_ids=[ids[order_id] for order_id in changed],
        profile_versions=[decision.profile_version for decision in changed.values()],
        explanations=[_encode(decision.explanation).decode() for decision in changed.values()],
        at=at,
    )
    await record(tx, events)
    await capacity.claim(tx, network, claims)
    await stock.post(tx, moves, at=at, guarded=False)
