"""What the last units of a location are worth: the opportunity cost of giving one away now.

After Acimovic and Graves (2015), "Making better fulfillment decisions on the fly in an online retail environment": until the next
replenishment, demand is served from what lies where, as cheaply as can be; that is a transportation problem, and the dual
price of a location's stock is what one unit less there will cost. Expected demand alone would make a last unit worth nothing
wherever less than one more is expected; so demand is drawn, and the price is the mean over the draws, after Talluri and van Ryzin
(1999), "A randomized linear programming method for computing network bid prices".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import highspy
import numpy as np

from ordino.sourcing.solver import solver

Place = TypeVar("Place", bound=Hashable)
Region = TypeVar("Region", bound=Hashable)
DRAWS = 10
SLACK = 0.01
"""So many units less lie there than do: the price of a unit is what its absence costs, not what one more would save."""
Demands = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def drawn(expected: Sequence[float], draws: int = DRAWS, *, seed: int = 1) -> Demands:
    """Whole units by draw and region: Poisson, the same for the same question."""
    return np.random.default_rng(seed).poisson(np.asarray(expected), (draws, len(expected))).astype(np.float64)


def prices(
    stock: Mapping[Place, int],
    demand: Mapping[Region, float],
    cost_minor: Mapping[tuple[Place, Region], int],
    missed_minor: int,
    *,
    draws: int = DRAWS,
) -> dict[Place, int]:
    """Place -> minor units that a unit less there will cost; 0 where there is more than will be asked for.

    ``demand`` are expected units until the next replenishment, ``cost_minor`` what sending one costs (pairs left out cannot
    be served), ``missed_minor`` what a unit that nobody can send costs. With ``draws`` 0, demand is just what is expected.
    """
    places = [place for place, units in stock.items() if units > 0]
    regions = [region for region, units in demand.items() if units > 0]
    pairs = [(p, r) for p in places for r in regions if (p, r) in cost_minor]
    found: dict[Place, int] = dict.fromkeys(stock, 0)
    if not pairs:
        return found
    expected = [demand[region] for region in regions]
    solve = _transport(places, regions, pairs, stock, cost_minor, missed_minor)
    asked = np.arange(len(places), len(places) + len(regions), dtype=np.int32)
    demands = drawn(expected, draws) if draws else np.array([expected], dtype=np.float64)
    duals = np.zeros(len(places))
    for units in demands:
        solve.changeRowsBounds(len(asked), asked, units, units)  # type: ignore[attr-defined]
        solve.run()
        duals -= np.asarray(solve.getSolution().row_dual[: len(places)])
    for place, price in zip(places, duals / len(demands), strict=True):
        found[place] = max(0, round(float(price)))
    return found


def _transport(
    places: Sequence[Place],
    regions: Sequence[Region],
    pairs: Sequence[tuple[Place, Region]],
    stock: Mapping[Place, int],
    cost_minor: Mapping[tuple[Place, Region], int],
    missed_minor: int,
) -> highspy.Highs:
    """The transportation problem, a row a place and a row a region; what the regions ask is still to be said."""
    row_of = {place: row for row, place in enumerate(places)}
    row_of_region = {region: len(places) + row for row, region in enumerate(regions)}
    lp = highspy.HighsLp()
    columns = len(pairs) + len(regions)
    lp.num_col_, lp.num_row_ = columns, len(places) + len(regions)
    lp.col_cost_ = np.array([*(cost_minor[pair] for pair in pairs), *[missed_minor] * len(regions)], dtype=np.float64)
    lp.col_lower_, lp.col_upper_ = np.zeros(columns), np.full(columns, highspy.kHighsInf)
    lp.row_lower_ = np.concatenate([np.full(len(places), -highspy.kHighsInf), np.zeros(len(regions))])
    lp.row_upper_ = np.concatenate([np.array([stock[p] - SLACK for p in places]), np.zeros(len(regions))])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    rows = [row for place, region in pairs for row in (row_of[place], row_of_region[region])]
    rows += [row_of_region[region] for region in regions]
    starts = [2 * n for n in range(len(pairs))] + [2 * len(pairs) + n for n in range(len(regions) + 1)]
    lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.array(rows, dtype=np.int32)
    lp.a_matrix_.value_ = np.ones(len(rows))
    solve = solver()
    solve.passModel(lp)
    return solve
