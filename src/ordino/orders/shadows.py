"""Shadows: candidate profiles that decide beside the live ones on live orders, and change nothing.

While a shadow is on, placement keeps what its decisions rested on: the requests, what was free, the days of limited locations,
rules, outlook, closures and networks. A reaction decides on that with every shadow, records what each would have made of the
orders beside what was made of them, and deletes what was kept. Locations, carrier services and postal codes are those of the
moment in which it runs. A shadow that has ended meanwhile judges nothing any more.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Tx
from ordino.core.errors import Conflict
from ordino.core.events import Due, enqueue
from ordino.core.ids import new_id
from ordino.core.reactions import Task, registry
from ordino.core.statements import statements
from ordino.inventory.rules import Book, Pages
from ordino.network.facts import NetworkFacts, Serving, facts
from ordino.sourcing.aside import takes_long
from ordino.sourcing.compare import Comparison, Outcome, Report, outcome
from ordino.sourcing.decide import decide
from ordino.sourcing.left import Capacity, Stock
from ordino.sourcing.model import Decision, Outlook, Request
from ordino.sourcing.profile import Profile
from ordino.sourcing.versions import Profiles, by_version, profiles

sql = statements("ordino.sourcing")
KIND = "judge_shadows"
AT_ONCE = 5000
"""So many orders, and whatever else was placed with the last of them, are judged in one transaction."""
FORMAT, PACKED = 1, 2
"""What is kept, in MessagePack as it is or compressed by zlib. Whoever changes ``Kept`` counts both up."""
LARGE_BYTES = 4096
FEW = 50
"""So many orders are judged without a thread of their own."""
NIL = UUID(int=0)
_NOWHERE: dict[int, Serving] = {}
_json = msgspec.json.Encoder().encode
_outcome = msgspec.json.Decoder(Outcome).decode
_pack = msgspec.msgpack.Encoder(uuid_format="bytes").encode


class Seen(Struct, frozen=True):
    """What decisions rested on, beside the network."""

    stock: Stock
    used: Capacity
    rules: Book | None
    outlook: Outlook


class Kept(Struct, frozen=True, kw_only=True, array_like=True):
    """What a set of orders was decided on, and what was decided of those that were accepted: ``placed`` are their places among the
    requests. What requests share (networks, closures by channel) is kept once.
    """

    versions: list[int]
    requests: list[Request]
    servings: dict[int, Serving]
    closed: dict[int, list[int]]
    placed: list[int]
    live: list[Outcome]
    stock: dict[int, dict[int, int]]
    used: list[tuple[int, date, int, int]]
    rules: Pages | None
    outlook: Outlook


_unpack = msgspec.msgpack.Decoder(Kept).decode


async def keep_for_shadows(
    tx: Tx,
    policy: Profiles,
    requests: Sequence[Request],
    decisions: Sequence[Decision],
    network: NetworkFacts,
    seen: Seen,
    at: datetime,
) -> None:
    """Shadows judge the accepted orders of this set after the commit."""
    placed = [n for n, decision in enumerate(decisions) if not decision.refused]
    if not placed or not policy.shadows:
        return
    closed = {request.channel_id or 0: request.closed for request in requests}
    kept = Kept(
        versions=[profile.version for profile in policy.shadows],
        requests=[replace(request, network=_bare(request.network), closed=()) for request in requests],
        servings={request.network.network_id: request.network for request in requests},
        closed={channel_id: list(location_ids) for channel_id, location_ids in closed.items()},
        placed=placed,
        live=[outcome(decisions[n], requests[n], network) for n in placed],
        stock=seen.stock,  # type: ignore[arg-type]  # it is only written
        used=[(n, day, *taken) for (n, day), taken in seen.used.items()],
        rules=None if seen.rules is None else seen.rules.pages,
        outlook=seen.outlook,
    )
    data, format_ = _pack(kept), FORMAT
    if len(data) > LARGE_BYTES:
        data, format_ = zlib.compress(data, 1), PACKED
    id_ = new_id(at)
    await sql.keep_unjudged(tx, unjudged_id=id_, orders=len(requests), at=at, format=format_, seen=data)
    await enqueue(tx, [Due(KIND, id_, id_, at)], at=at)


def _bare(serving: Serving) -> Serving:
    """The network's id alone."""
    found = _NOWHERE.get(serving.network_id)
    if found is None:
        found = _NOWHERE[serving.network_id] = Serving(serving.network_id, "", {})
    return found


@registry.reaction(KIND)
async def judge_shadows(tx: Tx, tasks: Sequence[Task], at: datetime) -> None:
    """Decide with each shadow on what was kept. What is more than ``AT_ONCE`` orders is left to another transaction."""
    counts = {
        row["unjudged_id"]: row["orders"] for row in await sql.unjudged_orders(tx, ids=[t.subject_id for t in tasks])
    }
    now: list[UUID] = []
    later: list[UUID] = []
    orders = 0
    for id_, count in counts.items():
        (later if orders >= AT_ONCE else now).append(id_)
        orders += count
    await enqueue(tx, [Due(KIND, id_, id_, at) for id_ in later], at=at)
    network, on = await facts(tx), {profile.version: profile for profile in (await profiles(tx)).shadows}
    kept = [(_read(row), row["at"]) for row in await sql.take_unjudged(tx, ids=now)]
    wanted = [(one, placed_at) for one, placed_at in kept if not on.keys().isdisjoint(one.versions)]
    if not wanted:
        return
    judge = partial(_judged, wanted, on)
    few = sum(len(one.requests) for one, _ in wanted) <= FEW
    if few and not any(takes_long(one.requests, profile) for one, _ in wanted for profile in on.values()):
        rows = judge(network)
    else:
        rows = await asyncio.to_thread(judge, network.apart())
    names = ("versions", "order_ids", "wanted", "lives", "shadows", "ats")
    await sql.record_shadows(
        tx, **{name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    )


def _read(row: Record) -> Kept:
    """Raises ``Conflict`` if another version of Ordino has written it."""
    if row["format"] not in (FORMAT, PACKED):
        raise Conflict(
            f"What shadow profiles are to judge was kept in format {row['format']}, which this version of Ordino does not read. "
            "Run workers of the version that placed the orders, or end the trial with `ordino sourcing shadow VERSION --off`."
        )
    return _unpack(zlib.decompress(row["seen"]) if row["format"] == PACKED else row["seen"])


_Row = tuple[int, UUID, int, str, str, datetime]
"""A version, an order, units wanted, what was made of it and what the version would have made of it, and when it was placed."""


def _judged(kept: Sequence[tuple[Kept, datetime]], on: Mapping[int, Profile], network: NetworkFacts) -> list[_Row]:
    rows: list[_Row] = []
    for one, placed_at in kept:
        requests = [_whole(request, one) for request in one.requests]
        used = {(n, day): (orders, units) for n, day, orders, units in one.used}
        for version in one.versions:
            if (profile := on.get(version)) is None:
                continue
            rules = None if one.rules is None else Book.of(one.rules)
            would = decide(requests, one.stock, network, profile, used, rules, one.outlook, tell=False)
            for n, live in zip(one.placed, one.live, strict=True):
                units = sum(need.quantity for need in requests[n].needs)
                other = outcome(would[n], requests[n], network)
                order_id = requests[n].request_id
                rows.append((version, order_id, units, _json(live).decode(), _json(other).decode(), placed_at))
    return rows


def _whole(request: Request, kept: Kept) -> Request:
    """The request as it was asked."""
    return replace(
        request,
        network=kept.servings[request.network.network_id],
        closed=frozenset(kept.closed[request.channel_id or 0]),
    )


async def shadow_report(tx: Tx, version: int) -> Report:
    """The live profiles (before) beside a candidate (after), over all orders that it was a shadow of. Raises ``NotFound``."""
    profile, network = await by_version(tx, version), await facts(tx)
    comparison = Comparison(profile.name, network)
    after = NIL
    while rows := await sql.shadows(tx, version=version, after=after, limit=10_000):
        for row in rows:
            live, other = _outcome(row["live"]), _outcome(row["shadow"])
            comparison.add(row["order_id"], row["wanted"], live.arrives_at, live, other)
        after = rows[-1]["order_id"]
    return comparison.report()
