"""Why an order's units come from where they come from, and why not from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Tx
from ordino.core.errors import NotFound
from ordino.core.statements import statements
from ordino.inventory import holds
from ordino.inventory.rules import book
from ordino.network.facts import facts
from ordino.orders import ledger
from ordino.orders.asking import asked_of, skus_of
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Candidate, Explanation, Request, ShortPolicy
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import by_version
from ordino.sourcing.why import CandidateView, Why, candidate_view, why

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
inventory_sql = statements("ordino.inventory")
_decode = msgspec.json.Decoder(Explanation).decode


class DecisionView(Struct, frozen=True):
    """One decision: by which version of a profile, when, and why."""

    cause_id: UUID
    at: datetime
    profile_version: int
    why: Why


class WhyNot(Struct, frozen=True):
    """Why not from a location. ``basis`` is `recorded` where the decision wrote down what it saw of the location, and `ledger`
    where its stock at that time was worked out again from the moves, and its fences and costs from the network of today.
    """

    location: str
    at: datetime
    basis: str
    candidate: CandidateView
    sentence: str


async def decisions(tx: Tx, order_id: UUID) -> list[DecisionView]:
    """Every decision about an order, oldest first. Raises ``NotFound``."""
    rows, codes, currency = await _decided(tx, order_id)
    network = await facts(tx)
    return [
        DecisionView(
            row["cause_id"],
            row["at"],
            row["profile_version"],
            why(_decode(row["explanation"]), network, codes, currency),
        )
        for row in rows
    ]


async def why_not(tx: Tx, order_id: UUID, location: str) -> WhyNot:
    """Why the last decision about an order takes nothing (more) from a location. Raises ``NotFound``."""
    rows, codes, currency = await _decided(tx, order_id)
    network = await facts(tx)
    location_id = network.location_id(location)
    row = rows[-1]
    told = _decode(row["explanation"])
    recorded = next((one for one in told.candidates if one.location_id == location_id), None)
    if recorded is not None or any(n == location_id for n, _ in told.plan):
        found = candidate_view(recorded or Candidate(location_id), told, network, codes, currency)
        return WhyNot(location, row["at"], "recorded", found, found.sentence)
    request = await _as_asked(tx, order_id, row["at"])
    sku_ids = stocked([request])
    free: dict[int, dict[int, int]] = {}
    claimed = {sku_id: units for sku_id, place, units in told.claimed if place == location_id}
    for sku_id in sku_ids:
        stood = {r["location_id"]: r for r in await inventory_sql.stood_at(tx, sku_id=sku_id, at=row["at"])}
        there = stood.get(location_id)
        expired = (await holds.expired_units(tx, sku_id, at=row["at"])).get(location_id, 0)
        stood_free = 0 if there is None else there["on_hand"] - there["reserved"] + expired
        free[sku_id] = {location_id: stood_free - claimed.get(sku_id, 0)}
    profile = await by_version(tx, row["profile_version"])
    outlook = await outlook_for(tx, profile.looks_ahead, sku_ids)
    [again] = await decide_aside(
        [request], free, network, profile, book=await book(tx, sku_ids, at=row["at"]), outlook=outlook
    )
    seen = next((one for one in again.explanation.candidates if one.location_id == location_id), None)
    stock = tuple((sku_id, units[location_id]) for sku_id, units in free.items())
    if seen is not None:  # what its day had left then is not known any more
        seen = replace(seen, room=None)
    found = candidate_view(seen or Candidate(location_id, stock=stock), told, network, codes, currency)
    if location_id not in request.network.buffers:
        said = f"Not from {location}, because it is not in the network {request.network.code!r}."
    elif seen is None:
        had = ", ".join(f"{units} of {codes.get(sku_id, sku_id)}" for sku_id, units in stock)
        said = f"Not from {location}, because too little was free there above what is withheld: {had}."
        if claimed:
            left = ", ".join(f"{units} of {codes.get(sku_id, sku_id)}" for sku_id, units in claimed.items())
            said = f"{said[:-1]}, beside what orders that waited have first claim to ({left})."
    else:
        said = found.sentence
    return WhyNot(location, row["at"], "ledger", found, said)


async def _decided(tx: Tx, order_id: UUID) -> tuple[list[Any], Mapping[int, str], str]:
    """The decisions, the codes of the SKUs that they speak of, and the currency."""
    rows = await sourcing_sql.decisions(tx, order_id=order_id)
    if not rows:
        raise NotFound(f"There is no decision for an order {order_id}.")
    sku_ids = {s for row in rows for one in _decode(row["explanation"]).candidates for s, _ in one.stock}
    skus = await skus_of(tx, sku_ids)
    [order] = await sql.order(tx, order_id=order_id)
    return rows, {sku_id: sku.code for sku_id, sku in skus.items()}, order["currency"]


async def _as_asked(tx: Tx, order_id: UUID, at: datetime) -> Request:
    """The order as it was placed, asked at a time."""
    network = await facts(tx)
    orders = await ledger.orders(tx, [order_id])
    lines = await ledger.lines(tx, [order_id])
    asked = await asked_of(tx, list(orders.values()), lines, network)
    if not asked:
        raise NotFound("No network serves the order's channel any more.")
    needs = tuple(
        replace(need, backorderable=True, excluded=tuple(lines[order_id, need.line_no].excluded_location_ids))
        for need in asked[0].needs
    )
    closed = network.closed(asked[0].channel_id, at)
    return replace(asked[0], at=at, needs=needs, closed=closed, short_policy=ShortPolicy.BACKORDER)
