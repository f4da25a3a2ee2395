"""What is expected to be asked of positions, worked out from the orders of some weeks; or loaded from elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import kits
from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.money import currency_fault
from ordino.core.statements import statements
from ordino.core.upserts import CurrencyCode, NotUpserted, Outcome, Reason, Updated
from ordino.inventory import ledger
from ordino.network.facts import NetworkFacts, facts
from ordino.network.postal import normal
from ordino.orders.asking import Sku, skus_of
from ordino.sourcing.look_ahead import prices

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
MISSED_MINOR = 5000
"""What a unit that nobody can send costs, unless something else is said."""
SKUS_AT_ONCE = 500
Region = tuple[str, str]
"""Country, and the first three characters of the postal code."""


class PositionOutlook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected demand of a position, and what a unit less there costs later, in minor units of ``currency`` (left out: of each
    order's own).
    """

    sku: Code
    location: Code
    weekly_units: Annotated[float, Meta(ge=0, le=1e9)]
    price_minor: Annotated[int, Meta(ge=0, le=10**12)] = 0
    currency: CurrencyCode | None = None

    @property
    def code(self) -> str:
        return f"{self.sku} {self.location}"


class Foreseen(Struct, frozen=True):
    """Positions whose outlook was worked out anew."""

    positions: int
    weeks: int


async def load_outlook(tx: Tx, positions: Sequence[PositionOutlook], *, at: datetime) -> list[Outcome]:
    """One outcome a position, in order; what is loaded stands until it is worked out or loaded anew."""
    network = await facts(tx)
    skus = await sku_ids(tx, [one.sku for one in positions])
    outcomes: list[Outcome] = []
    rows: dict[tuple[int, int], PositionOutlook] = {}
    for one in positions:
        if one.sku not in skus or one.location not in network.location_ids:
            name, code = ("sku", one.sku) if one.sku not in skus else ("location", one.location)
            said = f"There is no {name} {code!r}; create it first."
            outcomes.append(NotUpserted(one.code, Reason.UNKNOWN, said, f"/{name}"))
            continue
        if wrong := currency_fault(one.currency):
            outcomes.append(NotUpserted(one.code, Reason.INVALID, wrong, "/currency"))
            continue
        rows[skus[one.sku], network.location_ids[one.location]] = one
        outcomes.append(Updated(one.code))
    await _write(tx, {key: (one.weekly_units, one.price_minor, one.currency) for key, one in rows.items()}, at)
    return outcomes


async def foresee(
    tx: Tx, *, at: datetime, weeks: int = 8, horizon_weeks: float = 2.0, missed_minor: int = MISSED_MINOR
) -> Foreseen:
    """Demand a week by position, from the orders of the last ``weeks``; and what a unit less costs there, by the demand that is
    expected until the next replenishment, ``horizon_weeks`` from now. A region's demand is its cheapest location's. Prices, and
    ``missed_minor``, are in the currency in which most channels sell; what costs in another one is converted.
    """
    network = await facts(tx)
    sold = Counter(channel.currency for channel in network.channels.values() if channel.network is not None)
    currency = max(sold, key=lambda one: (sold[one], one), default=None)
    if currency is not None:
        network = network.priced_in(currency, at)
    network = network.apart()  # for the thread that works it out
    demand = await _demand(tx, at - timedelta(weeks=weeks), weeks)
    shared = (await sql.units_per_order(tx, since=at - timedelta(weeks=weeks)))[0]["units"] or 1.0
    written = 0
    ids = sorted(demand)
    for start in range(0, len(ids), SKUS_AT_ONCE):
        some = ids[start : start + SKUS_AT_ONCE]
        stock, skus = await ledger.free(tx, some, at=at), await skus_of(tx, some)
        rows: dict[tuple[int, int], tuple[float, int]] = {}
        for sku_id in some:
            rows |= await asyncio.to_thread(
                _of_sku,
                skus[sku_id],
                demand[sku_id],
                stock.get(sku_id, {}),
                network,
                horizon_weeks,
                missed_minor,
                shared,
            )
        await _write(tx, {key: (*row, currency) for key, row in rows.items()}, at)
        written += len(rows)
    return Foreseen(written, weeks)


async def _demand(tx: Tx, since: datetime, weeks: int) -> dict[int, dict[Region, tuple[float, str]]]:
    """SKU id -> region -> (units a week, a postal code there); of kits, their components."""
    parts = (await kits(tx)).parts
    demand: dict[int, dict[Region, tuple[float, str]]] = defaultdict(dict)
    for row in await sql.demand_by_region(tx, since=since):
        for sku_id, each in parts.get(row["sku_id"]) or ((row["sku_id"], 1),):
            region = (row["country"], normal(row["country"], row["postal_code"])[:3])
            before = demand[sku_id].get(region, (0.0, row["postal_code"]))
            demand[sku_id][region] = (before[0] + row["units"] * each / weeks, before[1])
    return demand


def _of_sku(
    sku: Sku,
    demand: Mapping[Region, tuple[float, str]],
    stock: Mapping[int, int],
    network: NetworkFacts,
    horizon_weeks: float,
    missed_minor: int,
    shared: float,
) -> dict[tuple[int, int], tuple[float, int]]:
    """``shared``: so many units go in a package, and share what it costs."""
    costs: dict[tuple[int, Region], int] = {}
    weekly: dict[int, float] = dict.fromkeys(stock, 0.0)
    for region, (units, postal_code) in demand.items():
        routes = network.destination(region[0], postal_code)
        for n in stock:
            location = network.locations[n]
            quotes = routes[n].packed(((sku.weight_grams, sku.cubic_mm, 1),))
            if quotes and location.active and n not in network.unpriced and region[0] in location.serves_countries:
                costs[n, region] = round((quotes[0].cost_minor + location.handling_cost_minor) / shared)
        near = min((n for n in stock if (n, region) in costs), key=lambda n: (costs[n, region], n), default=None)
        if near is not None:
            weekly[near] += units
    ahead = {region: units * horizon_weeks for region, (units, _) in demand.items()}
    worth = prices(stock, ahead, costs, missed_minor)
    return {(sku.sku_id, n): (round(weekly[n], 4), worth[n]) for n in stock}


async def _write(tx: Tx, rows: Mapping[tuple[int, int], tuple[float, int, str | None]], at: datetime) -> None:
    if not rows:
        return
    keys = sorted(rows)
    await sourcing_sql.write_outlook(
        tx,
        sku_ids=[key[0] for key in keys],
        location_ids=[key[1] for key in keys],
        weekly=[rows[key][0] for key in keys],
        prices=[rows[key][1] for key in keys],
        currencies=[rows[key][2] for key in keys],
        at=at,
    )
