"""How much lies where when the month begins, from what the month will ask for. All of it is invented, by seed.

The main distribution center keeps every SKU, the others the better sellers; a store keeps some of what sells best everywhere, and
half of what it sold itself in the month.
Most SKUs are stocked above the month's demand; ``SCARCE`` of them below it, so that they run short in its course.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ordino.cli.demo.baskets import Basket
from ordino.cli.demo.dice import Dice
from ordino.cli.demo.places import Place, Places, nearness

SCARCE = 0.02
SERVICE_FACTOR = 1.35
GOOD_SELLER = 4  # units a month from which a SKU is also kept at the center nearest to those who buy it
BEST_SELLER = 15  # and from which every center keeps it
STORE_SHARE = 0.5
ON_EVERY_SHELF = 25  # units a month from which every store keeps a SKU

Lot = tuple[int, int, int]
"""(product, place: 0.. for the centers, a store's number for a store, quantity)"""


def stock_up(baskets: Sequence[Basket], places: Places, stores: Sequence[int], dice: Dice) -> list[Lot]:
    """The opening stock, in order of product and place."""
    nearest = {household: _nearest_center(home, places.centers) for household, home in places.homes.items()}
    demand: dict[int, Counter[int]] = {}
    sold: dict[int, Counter[int]] = {store: Counter() for store in stores}
    for basket in baskets:
        center = nearest[basket.household_id]
        for line in basket.lines:
            demand.setdefault(line.product_id, Counter())[center] += line.quantity
            if basket.store_id in sold:
                sold[basket.store_id][line.product_id] += line.quantity
    shelf = {
        product: math.ceil(sum(by.values()) / 40) + 1
        for product, by in demand.items()
        if sum(by.values()) >= ON_EVERY_SHELF
    }
    lots: list[Lot] = []
    for product, by_center in sorted(demand.items()):
        lots += _at_centers(product, by_center, len(places.centers), dice)
    for store in stores:
        for product in sorted(sold[store].keys() | shelf.keys()):
            if dice.chance("scarce", product) >= SCARCE:
                lots.append((product, store, math.ceil(sold[store][product] * STORE_SHARE) + shelf.get(product, 0)))
    return sorted(lots)


def _at_centers(product: int, by_center: Mapping[int, int], centers: int, dice: Dice) -> list[Lot]:
    total = sum(by_center.values())
    if dice.chance("scarce", product) < SCARCE:
        enough = int(total * (0.4 + 0.5 * dice.chance("how scarce", product)))
        return [(product, 0, enough)] if enough else []
    if total >= BEST_SELLER:
        kept = {center: math.ceil(by_center.get(center, 0) * SERVICE_FACTOR) for center in range(1, centers)}
    elif total >= GOOD_SELLER:
        first = max(by_center, key=lambda center: (by_center[center], -center))
        kept = {first: math.ceil(by_center[first] * SERVICE_FACTOR)} if first else {}
    else:
        kept = {}
    main = (
        math.ceil((total - sum(by_center.get(center, 0) for center in kept)) * SERVICE_FACTOR)
        + math.ceil(total / 4)
        + 1
    )
    return [(product, 0, main)] + [(product, center, quantity) for center, quantity in kept.items() if quantity]


def _nearest_center(home: Place, centers: Sequence[Place]) -> int:
    return min(range(len(centers)), key=lambda index: nearness(home, centers[index]))
