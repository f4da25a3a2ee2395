"""What the last units of a location are worth: the opportunity cost of giving one away now.

After Acimovic and Graves (2015), "Making better fulfillment decisions on the fly in an online retail environment": until the next
replenishment, expected demand is served from what lies where, as cheaply as can be; that is a transportation problem, and the
dual price of a location's stock is what one unit less there will cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import highspy
import numpy as np

from ordino.sourcing.solver import solver

Place = TypeVar("Place", bound=Hashable)
Region = TypeVar("Region", bound=Hashable)


def prices(
    stock: Mapping[Place, int],
    demand: Mapping[Region, float],
    cost_minor: Mapping[tuple[Place, Region], int],
    missed_minor: int,
) -> dict[Place, int]:
    """Place -> minor units that a unit less there will cost; 0 where there is more than will be asked for.

    ``demand`` are expected units until the next replenishment, ``cost_minor`` what sending one costs (pairs left out cannot
    be served), ``missed_minor`` what a unit that nobody can send costs.
    """
    places, regions = list(stock), [region for region, units in demand.items() if units > 0]
    pairs = [(p, r) for p in places for r in regions if (p, r) in cost_minor]
    if not pairs:
        return dict.fromkeys(places, 0)
    row_of = {place: row for row, place in enumerate(places)}
    row_of_region = {region: len(places) + row for row, region in enumerate(regions)}
    lp = highspy.HighsLp()
    columns = len(pairs) + len(regions)
    lp.num_col_, lp.num_row_ = columns, len(places) + len(regions)
    lp.col_cost_ = np.array([*(cost_minor[pair] for pair in pairs), *[missed_minor] * len(regions)], dtype=np.float64)
    lp.col_lower_, lp.col_upper_ = np.zeros(columns), np.full(columns, highspy.kHighsInf)
    needed = np.array([demand[region] for region in regions], dtype=np.float64)
    lp.row_lower_ = np.concatenate([np.full(len(places), -highspy.kHighsInf), needed])
    lp.row_upper_ = np.concatenate([np.array([max(0, stock[p]) for p in places], dtype=np.float64), needed])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    rows = [row for place, region in pairs for row in (row_of[place], row_of_region[region])]
    rows += [row_of_region[region] for region in regions]
    starts = [2 * n for n in range(len(pairs))] + [2 * len(pairs) + n for n in range(len(regions) + 1)]
    lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.array(rows, dtype=np.int32)
    lp.a_matrix_.value_ = np.ones(len(rows))
    solve = solver()
    solve.passModel(lp)
    solve.run()
    duals = list(solve.getSolution().row_dual)
    return {place: max(0, round(-duals[row])) for place, row in row_of.items()}
