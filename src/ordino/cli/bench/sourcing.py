"""Sourcing on 1,000 locations and 10,000 SKUs: decisions in-process, against the exact program, and over HTTP.

* ``sourcing``: decisions a second with ``fast``, in sets of 100, as placement makes them. The floor finds the locations that have
  everything, of the same orders, and nothing more.
* ``sourcing_exact``: sets of 200 orders that share scarce stock; the rate is orders a second of the exact program; the
  conditions say how much dearer ``fast`` is, set by set.
* ``promises``: one cart of two SKUs a request; ``place_1000``: orders of two lines, both through the real server.
"""

from __future__ import annotations

import random
import secrets
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from ordino.cli.bench import load, world
from ordino.cli.bench.figure import Figure, make, median
from ordino.cli.bench.geography import Geography, geography, stock_of
from ordino.cli.bench.scale import Bench, Scale
from ordino.sourcing.decide import decide
from ordino.sourcing.exact import exact
from ordino.sourcing.left import Left
from ordino.sourcing.model import Need, Request, ShortPolicy
from ordino.sourcing.profile import Profile

SET = 100
CLIENTS = 64
PLACING_CLIENTS = 256
NOON = datetime(2026, 3, 2, 18, tzinfo=UTC)
PROFILE = Profile("least_cost")


def requests(geo: Geography, dice: random.Random, count: int, skus: int, *, most_lines: int = 3) -> list[Request]:
    """Orders of one to three lines of one or two units, to the buyers' addresses."""
    found = []
    for n in range(count):
        lines = dice.sample(range(1, skus + 1), dice.choice((1, 2, 2, most_lines)))
        needs = tuple([Need(k, s, dice.choice((1, 1, 2)), 200 + s % 1800, True) for k, s in enumerate(lines, 1)])
        found.append(
            Request(UUID(int=n + 1), geo.serving, "US", dice.choice(geo.zips), NOON, needs, ShortPolicy.BACKORDER)
        )
    return found


async def measure(bench: Bench) -> list[Figure]:
    """Four figures."""
    scale = bench.scale
    geo = geography(scale.sourcing_locations)
    figures = [_decisions(geo, scale, bench.seconds), _exact(geo, scale)]
    await world.fill(bench.url, skus=scale.skus, locations=scale.sourcing_locations, each=scale.sourcing_locations_each)
    async with world.serving(bench.url, bench.directory) as server:
        promised = load.Plan(
            url=server.url,
            kind="promise",
            path="/v1/promises",
            run="",
            clients=min(CLIENTS, scale.most_clients),
            seconds=bench.seconds,
            skus=scale.skus,
        )
        figures.append(await _over_http(bench, "promises", "promises/s", promised))
        clients = min(PLACING_CLIENTS, scale.most_clients)
        placed = msgspec.structs.replace(promised, kind="place", path="/v1/orders", clients=clients)
        figures.append(await _over_http(bench, "place_1000", "orders/s", placed))
    return figures


def _decisions(geo: Geography, scale: Scale, seconds: float) -> Figure:
    dice = random.Random("sourcing")
    stock = stock_of(geo, scale.skus, dice)
    asked = requests(geo, dice, scale.sourcing_requests, scale.skus)
    sets = [asked[at : at + SET] for at in range(0, len(asked), SET)]

    def fast(some: list[Request]) -> None:
        decide(some, stock, geo.facts, PROFILE)

    def floor(some: list[Request]) -> None:
        left = Left(stock, geo.facts, {}, None)
        for request in some:
            left.whole(request, {need.sku_id: need.quantity for need in request.needs}, {}, {}, 0)

    def rate(work: Any) -> float:
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            for some in sets:
                work(some)
                done += len(some)
                if time.perf_counter() - started >= seconds:
                    break
        return done / (time.perf_counter() - started)

    for some in sets:  # addresses are looked up once
        fast(some)
    rates, floors = [], []
    for _ in range(scale.windows):
        floors.append(rate(floor))
        rates.append(rate(fast))
    conditions = {
        **_conditions(geo, scale),
        "orders_of_lines": "1 to 3",
        "positions_of_a_sku": median([float(len(of)) for of in stock.values()]),
        "window_seconds": seconds,
        "floor_is": "the locations that have everything, of the same orders",
    }
    return make("sourcing", rates, "decisions/s", floors, conditions)


def _exact(geo: Geography, scale: Scale) -> Figure:
    """Stock that does not suffice for everybody: each SKU of 60 lies at some 20 locations, a unit or two each."""
    rates, gaps, bounds = [], [], []
    for number in range(scale.exact_sets):
        dice = random.Random(f"exact {number}")
        stock = {s: {n: dice.randint(1, 2) for n in dice.sample(sorted(geo.facts.locations), 20)} for s in range(1, 61)}
        asked = requests(geo, dice, scale.exact_orders, 60)
        first = decide(asked, stock, geo.facts, PROFILE)
        started = time.perf_counter()
        solved = exact(asked, stock, geo.facts, PROFILE, seconds=60)
        rates.append(scale.exact_orders / (time.perf_counter() - started))
        cost = sum(d.explanation.cost_minor or 0 for d in first)
        same = [sum(sum(d.short.values()) for d in some) for some in (first, solved.decisions)]
        gaps.append({"fast": cost, "exact": solved.cost_minor, "short_fast": same[0], "short_exact": same[1]})
        bounds.append(round(100 * (cost / solved.cost_minor - 1), 2))
    conditions = {**_conditions(geo, scale), "orders_a_set": scale.exact_orders, "dearer_percent": bounds, "sets": gaps}
    fast_minor, exact_minor = (sum(gap[which] for gap in gaps) for which in ("fast", "exact"))
    conditions["dearer_percent_in_all"] = round(100 * (fast_minor / exact_minor - 1), 2)
    return make("sourcing_exact", rates, "orders/s", [], conditions)


def _conditions(geo: Geography, scale: Scale) -> dict[str, Any]:
    return {"locations": len(geo.facts.locations), "skus": scale.skus, "geography": geo.source}


async def _over_http(bench: Bench, name: str, unit: str, plan: load.Plan) -> Figure:
    scale = bench.scale
    await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4), seconds=scale.warm_seconds))
    results = [await load.run(msgspec.structs.replace(plan, run=secrets.token_hex(4))) for _ in range(scale.windows)]
    bad = sum(result.answers - result.good + result.failed for result in results)
    async with bench.database.pool.acquire() as connection:
        conditions = await world.conditions(connection)
    conditions |= {
        "client": f"{results[0].client}, {plan.clients} connections",
        "locations": scale.sourcing_locations,
        "skus": scale.skus,
        "positions_of_a_sku": scale.sourcing_locations_each,
        "window_seconds": plan.seconds,
        "refused_or_failed": bad,
    }
    latencies = (median([r.p50_ms for r in results]), median([r.p99_ms for r in results]))
    return make(name, [r.rate for r in results], unit, [], conditions, latencies_ms=latencies)
