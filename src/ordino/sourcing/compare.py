"""Two ways to decide the same orders, side by side: what each would cost, split, send how far, and have there in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from ordino.network.facts import NetworkFacts
from ordino.sourcing.model import Decision, Request

DIFFERENCES = 200
"""So many orders that differ are told, the first ones."""


class Outcome(Struct, frozen=True, gc=False):
    """What a decision comes to. ``cost_minor`` is carrier and handling in the order's ``currency``, which every profile can be
    compared by; ``km`` is the distance that the packages go, together; ``arrives_at`` the last of them, if nothing is short.
    """

    cost_minor: int
    plan: tuple[tuple[int, int], ...]  # (location id, units)
    km: float
    arrives_at: datetime | None
    currency: str = ""


def outcome(decision: Decision, request: Request, network: NetworkFacts) -> Outcome:
    routes = network.destination(request.country, request.postal_code)
    return Outcome(
        sum(leg.carrier_cost_minor + leg.handling_cost_minor for leg in decision.legs),
        tuple((leg.location_id, sum(units.quantity for units in leg.units)) for leg in decision.legs),
        round(sum(routes.km(leg.location_id) or 0.0 for leg in decision.legs), 1),
        decision.promised_at,
        request.currency,
    )


class Side(Struct):
    """One of the two. ``split_orders`` come from several locations; ``load`` is orders by location. Costs are those of the orders
    in the report's first currency.
    """

    cost_minor: int = 0
    cost_per_order_minor: float = 0
    filled_orders: int = 0
    fill_rate: float = 0
    unit_fill_rate: float = 0
    split_orders: int = 0
    packages: int = 0
    km_per_package: float = 0
    on_time_rate: float | None = None
    load: dict[str, int] = {}


class Difference(Struct, frozen=True):
    """An order that the two decide otherwise: units by location, and what it costs."""

    order_id: UUID
    before: Mapping[str, int]
    after: Mapping[str, int]
    before_minor: int
    after_minor: int


class CurrencyCosts(Struct):
    """Carrier and handling of the orders in one currency."""

    currency: str
    orders: int = 0
    before_minor: int = 0
    after_minor: int = 0


class Report(Struct):
    """``before`` is what happened (or the live profile), ``after`` the candidate; ``on_time_rate`` is of orders that were told a
    date, by what was decided and not by what the carrier made of it. ``costs`` are told by currency, that of the most orders first;
    ``saved_minor`` is in the first one.
    """

    profile: str
    orders: int
    units: int
    differ: int
    saved_minor: int
    before: Side
    after: Side
    differences: list[Difference]
    costs: list[CurrencyCosts]


class Sums(Struct):
    """What a comparison has added up so far: a value that can be kept, and gone on with later. Pairs are before and after."""

    orders: int = 0
    units: int = 0
    differ: int = 0
    told: int = 0
    sides: tuple[Side, Side] = msgspec.field(default_factory=lambda: (Side(load={}), Side(load={})))
    given: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    km: list[float] = msgspec.field(default_factory=lambda: [0.0, 0.0])
    in_time: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    differences: list[Difference] = []
    costs: dict[str, CurrencyCosts] = {}


class Comparison:
    """Adds up, order by order, to ``sums`` where a part has been added up before."""

    def __init__(self, profile: str, network: NetworkFacts, sums: Sums | None = None) -> None:
        self._profile = profile
        self.network = network
        self.sums = sums or Sums()

    def add(self, order_id: UUID, wanted: int, promised_at: datetime | None, before: Outcome, after: Outcome) -> None:
        sums = self.sums
        sums.orders += 1
        sums.units += wanted
        sums.told += promised_at is not None
        costs = sums.costs.setdefault(after.currency, CurrencyCosts(after.currency))
        costs.orders += 1
        costs.before_minor += before.cost_minor
        costs.after_minor += after.cost_minor
        for place, one in enumerate((before, after)):
            side = sums.sides[place]
            given = sum(units for _, units in one.plan)
            sums.given[place] += given
            sums.km[place] += one.km
            side.packages += len(one.plan)
            side.split_orders += len(one.plan) > 1
            side.filled_orders += given == wanted
            if promised_at is not None and one.arrives_at is not None and one.arrives_at <= promised_at:
                sums.in_time[place] += 1
            for location_id, _ in one.plan:
                code = self.network.locations[location_id].code
                side.load[code] = side.load.get(code, 0) + 1
        if Counter(dict(before.plan)) != Counter(dict(after.plan)):
            sums.differ += 1
            if len(sums.differences) < DIFFERENCES:
                sums.differences.append(
                    Difference(order_id, self._codes(before), self._codes(after), before.cost_minor, after.cost_minor)
                )

    def _codes(self, one: Outcome) -> dict[str, int]:
        return {self.network.locations[n].code: units for n, units in one.plan}

    def report(self) -> Report:
        sums = self.sums
        costs = sorted(sums.costs.values(), key=lambda one: (-one.orders, one.currency))
        if costs:
            before, after = sums.sides
            before.cost_minor, after.cost_minor = costs[0].before_minor, costs[0].after_minor
        for place, side in enumerate(sums.sides):
            if sums.orders:
                side.cost_per_order_minor = round(side.cost_minor / costs[0].orders, 1)
                side.fill_rate = round(side.filled_orders / sums.orders, 4)
                side.unit_fill_rate = round(sums.given[place] / max(1, sums.units), 4)
            if side.packages:
                side.km_per_package = round(sums.km[place] / side.packages, 1)
            if sums.told:
                side.on_time_rate = round(sums.in_time[place] / sums.told, 4)
            side.load = dict(sorted(side.load.items(), key=lambda item: (-item[1], item[0])))
        before, after = sums.sides
        return Report(
            self._profile,
            sums.orders,
            sums.units,
            sums.differ,
            before.cost_minor - after.cost_minor,
            before,
            after,
            sums.differences,
            costs,
        )
