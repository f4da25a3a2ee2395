"""A set of orders that share stock and capacity, decided together: a mixed-integer program, solved by HiGHS.

For order o, location l, SKU s: integer units x[o,s,l]; for each weight step k of a leg a binary t[o,l,k], at most one of them 1.
What the step holds bounds the leg's weight, its rate is the leg's carrier cost, so the cost of a leg of one parcel is the rate of
its weight, exactly; several parcels count as if their weight could be cut at will. Units of a position, orders and units of a
location's day are shared; what stays short costs more than any leg. After
Xu, Allgor and Graves (2009), "Benefits of reevaluating real-time order fulfillment decisions", the orders are given
as they stand and the program finds who is better served from elsewhere.

Costs of different currencies are not added: of a set in several, the program decides the orders in the currency that most of them
have, and the others stay as they are. Orders that a ranked strategy decides are no part of the program: their ranks decide, and
not what they cost.

Capacity pressure, stock-out risk and overstock relief are taken as they stand before the set is decided; the plan that comes out
is costed like any other, and if the decisions one by one are cheaper in all, those stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import highspy
import numpy as np
from msgspec import Struct

from ordino.inventory.rules import Book
from ordino.network.facts import NetworkFacts
from ordino.sourcing.decide import NO_OUTLOOK, Policy, decide, profile_of
from ordino.sourcing.left import NO_LIMIT, Capacity, Left, Stock
from ordino.sourcing.model import Decision, Outlook, Request
from ordino.sourcing.plans import Plan, within
from ordino.sourcing.sitting import Sitting
from ordino.sourcing.solver import solver as quiet_solver
from ordino.sourcing.view import View

CANDIDATES = 16
"""So many locations an order may choose among: the cheapest that have everything, and the cheapest a unit."""
SECONDS = 20.0
GAP = 0.0005
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


class Solved(Struct, frozen=True):
    """Decisions for all requests, in order; ``before_minor`` is what they cost one by one (or as they were), ``bound_minor`` what
    no plan over the same candidates undercuts, as long as its legs are single parcels.
    """

    decisions: list[Decision]
    cost_minor: int
    before_minor: int
    bound_minor: float
    improved: bool


def exact(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    policy: Policy,
    capacity: Capacity | None = None,
    book: Book | None = None,
    outlook: Outlook = NO_OUTLOOK,
    *,
    seconds: float = SECONDS,
    current: Mapping[int, Plan] | None = None,
) -> Solved:
    """Decide a set of orders together. Costs at most what deciding them one by one costs, or what the ``current`` plans cost
    (by the requests' places in the sequence), where they are given. Nothing passed in is changed. The costs told are those of the
    orders in the currency that most of them have.
    """
    if current is None:
        first = decide(requests, stock, facts, policy, capacity, book, outlook)
    else:
        first = follow(requests, stock, facts, policy, capacity, book, outlook, current)
    left = Left(stock, facts, capacity or {}, book)
    sittings = [Sitting(request, left, profile_of(policy, request), outlook) for request in requests]
    views: dict[int, View] = {}
    counts = Counter(request.currency for request in requests)
    currency = max(counts, key=lambda one: (counts[one], one), default="")
    for number, sitting in enumerate(sittings):
        left.hold(sitting.request)
        view = sitting.view() if sitting.request.currency == currency else None
        if view is not None and not view.strategy.ranked:
            views[number] = view
        left.hold(sitting.request, -1)
    for number, sitting in enumerate(sittings):
        # What several strategies share, ranks decide or nobody gives stays as it is.
        if number not in views:
            left.follow(sitting.request, first[number].legs, sitting.kits)
    model = _Model(left)
    for number, seen in views.items():
        left.hold(sittings[number].request)
        model.add(number, View(sittings[number], seen.strategy, seen.wanted, seen.costs.only_in_time))
        left.hold(sittings[number].request, -1)
    plans, bound = model.solve(first, seconds)
    others = {number for number, request in enumerate(requests) if request.currency != currency}
    plans |= {
        number: {leg.location_id: leg.given() for leg in first[number].legs} for number in others if first[number].legs
    }
    together = follow(requests, stock, facts, policy, capacity, book, outlook, plans)
    same = all(together[number].legs == first[number].legs for number in others)
    was, now = (
        worth([decision for number, decision in enumerate(some) if number not in others]) for some in (first, together)
    )
    if now < was and same:
        return Solved(together, now[1], was[1], bound, True)
    return Solved(first, was[1], was[1], bound, False)


def worth(decisions: Sequence[Decision]) -> tuple[int, int]:
    """(units without a location, cost): fewer units short go before less cost. All of them cost in one currency."""
    short = sum(sum(d.short.values()) + len(d.dropped) + (10**6 if d.refused else 0) for d in decisions)
    return short, sum(d.explanation.cost_minor or 0 for d in decisions)


def follow(
    requests: Sequence[Request],
    stock: Stock,
    facts: NetworkFacts,
    policy: Policy,
    capacity: Capacity | None,
    book: Book | None,
    outlook: Outlook,
    plans: Mapping[int, Plan],
) -> list[Decision]:
    """The decisions that the plans make; an order without a plan is decided by itself, after those that have one."""
    left = Left(stock, facts, capacity or {}, book)
    found: dict[int, Decision] = {}
    for number in sorted(range(len(requests)), key=lambda n: (n not in plans, n)):
        sitting = Sitting(requests[number], left, profile_of(policy, requests[number]), outlook)
        found[number] = sitting.answer(plans.get(number))
    return [found[number] for number in range(len(requests))]


class _Model:
    """The program as it is built: columns with costs and bounds, rows of (column, coefficient)."""

    def __init__(self, left: Left) -> None:
        self._left = left
        self._cost: list[float] = []
        self._upper: list[float] = []
        self._rows: list[tuple[list[int], list[float], float, float]] = []
        self._positions: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._free: dict[tuple[int, int], int] = {}
        self._days: dict[int, list[int]] = {}  # location -> legs
        self._pieces: dict[int, list[int]] = {}  # location -> units
        self._rooms: dict[int, tuple[int, int]] = {}
        self._units: dict[tuple[int, int, int], int] = {}  # (order, location, SKU) -> column
        self._steps: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (order, location) -> (column, grams)
        self._lines: dict[tuple[int, int, int], int] = {}
        self._unsplit = 0  # each leg costs a split; the first one of an order does not

    def _column(self, cost: float, upper: float) -> int:
        self._cost.append(cost)
        self._upper.append(upper)
        return len(self._cost) - 1

    def add(self, number: int, view: View) -> None:
        """An order, with the locations that it may come from."""
        costs, wanted, kits = view.costs, view.wanted, view.case.kits
        split = view.strategy.cost.split_minor
        legs: list[int] = []
        by_sku: dict[int, list[int]] = {sku_id: [] for sku_id in wanted}
        for location_id in _candidates(view):
            cover = within(wanted, view.covers[location_id])
            location = view.case.facts.locations[location_id]
            room = view.rooms.of(location_id)
            self._rooms[location_id] = (room.orders, room.units)
            mine: list[int] = []
            weights: list[float] = []
            for sku_id, units in cover.items():
                column = self._column(
                    location.handling_unit_cost_minor * bool(view.strategy.cost.handling)
                    + costs.by_unit(location_id, sku_id),
                    units,
                )
                self._units[number, location_id, sku_id] = column
                by_sku[sku_id].append(column)
                mine.append(column)
                weights.append(view.case.grams[sku_id])
                for part, each in kits.get(sku_id) or ((sku_id, 1),):
                    self._positions.setdefault((part, location_id), []).append((column, each))
                    able = self._left.able(view.case.request, part, location_id, view.strategy.fences.stock_left)
                    self._free[part, location_id] = max(able, self._free.get((part, location_id), 0))
                if view.strategy.cost.handling and location.handling_line_cost_minor:
                    line = self._lines[number, location_id, sku_id] = self._column(location.handling_line_cost_minor, 1)
                    self._rows.append(([column, line], [1.0, -float(units)], -math.inf, 0.0))
            steps = [(self._column(minor + split, 1), grams) for grams, minor in costs.steps(location_id, cover)]
            self._steps[number, location_id] = steps
            columns = [column for column, _ in steps]
            legs += columns
            # what the leg weighs fits into the step that is paid for; a leg that is not paid for holds nothing
            self._rows.append(([*mine, *columns], [*weights, *(-float(grams) for _, grams in steps)], -math.inf, 0.0))
            most = float(sum(cover.values()))
            self._rows.append(([*mine, *columns], [1.0] * len(mine) + [-most] * len(columns), -math.inf, 0.0))
            self._rows.append((columns, [1.0] * len(columns), -math.inf, 1.0))
            self._days.setdefault(location_id, []).extend(columns)
            self._pieces.setdefault(location_id, []).extend(mine)
        for sku_id, columns in by_sku.items():
            short = self._column(10.0**7, wanted[sku_id])
            self._rows.append(
                ([*columns, short], [1.0] * (len(columns) + 1), float(wanted[sku_id]), float(wanted[sku_id]))
            )
        if view.strategy.most_locations is not None:
            self._rows.append((legs, [1.0] * len(legs), -math.inf, float(view.strategy.most_locations)))
        self._unsplit += split

    def solve(self, first: Sequence[Decision], seconds: float) -> tuple[dict[int, Plan], float]:
        """Order number -> plan, of the orders that were added and get something; and the proven lower bound of the cost."""
        if not self._cost:
            return {}, 0.0
        rows = list(self._rows)
        for key, parts in self._positions.items():
            rows.append(([c for c, _ in parts], [float(e) for _, e in parts], -math.inf, float(self._free[key])))
        for location_id, (orders, units) in self._rooms.items():
            if orders < NO_LIMIT:
                columns = self._days[location_id]
                rows.append((columns, [1.0] * len(columns), -math.inf, float(orders)))
            if units < NO_LIMIT:
                columns = self._pieces[location_id]
                rows.append((columns, [1.0] * len(columns), -math.inf, float(units)))
        values = self._values_of(first)
        found, bound = _solved(self._cost, self._upper, rows, seconds, values)
        if found is None:  # a solution that presolve finds can get lost beside one to begin with
            found, bound = _solved(self._cost, self._upper, rows, seconds, None)
        if found is None:
            found = values
        plans: dict[int, Plan] = {}
        for (number, location_id, sku_id), column in self._units.items():
            if found[column] > 0:
                plans.setdefault(number, {}).setdefault(location_id, {})[sku_id] = int(found[column])
        return plans, bound - self._unsplit

    def _values_of(self, first: Sequence[Decision]) -> Values:
        """The decisions one by one, as a solution to begin with."""
        values = np.zeros(len(self._cost))
        for number, decision in enumerate(first):
            for leg in decision.legs:
                grams = 0.0
                for sku_id, units in leg.given().items():
                    column = self._units.get((number, leg.location_id, sku_id))
                    if column is not None:
                        values[column] = units
                    if (line := self._lines.get((number, leg.location_id, sku_id))) is not None:
                        values[line] = 1
                steps = self._steps.get((number, leg.location_id), [])
                grams = leg.grams
                for column, limit in steps:
                    if grams <= limit:
                        values[column] = 1
                        break
        return values


def _candidates(view: View) -> list[int]:
    costs, wanted = view.costs, view.wanted
    useful = {n: given for n, cover in view.covers.items() if (given := within(wanted, cover))}
    whole = sorted((costs.total(n, given), n) for n, given in useful.items() if given == wanted)
    parts = sorted((costs.total(n, given) / sum(given.values()), n) for n, given in useful.items())
    chosen = dict.fromkeys(n for _, n in whole[:CANDIDATES])
    for _, n in parts:
        if len(chosen) >= 2 * CANDIDATES:
            break
        chosen.setdefault(n)
    return list(chosen)


def _solved(
    cost: Sequence[float],
    upper: Sequence[float],
    rows: Sequence[tuple[list[int], list[float], float, float]],
    seconds: float,
    begin: Values | None,
) -> tuple[Values | None, float]:
    """The solution, if the solver has one that is worth what it says, and the bound."""
    solver = _solver(cost, upper, rows, seconds)
    if begin is not None:
        solution = highspy.HighsSolution()
        solution.col_value = begin.tolist()
        solver.setSolution(solution)
    solver.run()
    info = solver.getInfo()
    found = np.rint(np.asarray(solver.getSolution().col_value, dtype=np.float64))
    worth = len(found) == len(cost) and abs(float(np.dot(found, cost)) - info.objective_function_value) < 0.5
    return (found if worth else None), float(info.mip_dual_bound)


def _solver(
    cost: Sequence[float],
    upper: Sequence[float],
    rows: Sequence[tuple[list[int], list[float], float, float]],
    seconds: float,
) -> highspy.Highs:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(cost), len(rows)
    lp.col_cost_ = np.asarray(cost, dtype=np.float64)
    lp.col_lower_ = np.zeros(len(cost))
    lp.col_upper_ = np.asarray(upper, dtype=np.float64)
    lp.row_lower_ = np.array([row[2] for row in rows])
    lp.row_upper_ = np.array([row[3] for row in rows])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *(len(row[0]) for row in rows)]).astype(np.int32)
    lp.a_matrix_.index_ = np.array([column for row in rows for column in row[0]], dtype=np.int32)
    lp.a_matrix_.value_ = np.array([value for row in rows for value in row[1]])
    lp.integrality_ = [highspy.HighsVarType.kInteger] * len(cost)
    solver = quiet_solver()
    solver.setOptionValue("time_limit", float(seconds))
    solver.setOptionValue("mip_rel_gap", GAP)
    solver.passModel(lp)
    return solver
