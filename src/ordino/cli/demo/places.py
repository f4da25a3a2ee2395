"""Where everything is. The data has no places: all of them are invented here, on real US ZIP codes, by seed.

The region is Indiana, Kentucky and Ohio. Each store of the data gets a ZIP code of the region; a household lives in one of the
ZIP codes around the store where it shops most, and stays there; each state has a distribution center at the ZIP code in its middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from ordino.cli.demo.baskets import Basket, extra
from ordino.cli.demo.dice import Dice

REGION = ("OH", "IN", "KY")  # the first state has the main distribution center
AROUND = 12  # households live in so many of the nearest ZIP codes


class Place(Struct, frozen=True):
    """A ZIP code."""

    postal_code: str
    city: str
    region: str
    timezone: str
    latitude: float
    longitude: float


class Places(Struct, frozen=True):
    """The region, its distribution centers (main one first), the stores by number, the households by number."""

    region: list[Place]
    centers: list[Place]
    stores: dict[int, Place]
    homes: dict[int, Place]


def settle(baskets: Sequence[Basket], dice: Dice) -> Places:
    """Places for all stores and households of the baskets."""
    region = _region()
    stores = {store: dice.one_of(region, "store", store) for store in sorted({basket.store_id for basket in baskets})}
    around = {store: _nearest(region, place, AROUND) for store, place in stores.items()}
    visits: dict[int, Counter[int]] = {}
    for basket in baskets:
        visits.setdefault(basket.household_id, Counter())[basket.store_id] += 1
    homes = {
        household: dice.one_of(around[max(seen, key=lambda store: (seen[store], -store))], "home", household)
        for household, seen in sorted(visits.items())
    }
    centers = []
    for state in REGION:
        places = [place for place in region if place.region == state]
        middle = Place(
            "",
            "",
            "",
            "",
            sum(place.latitude for place in places) / len(places),
            sum(place.longitude for place in places) / len(places),
        )
        centers.append(_nearest(places, middle, 1)[0])
    return Places(region, centers, stores, homes)


def _region() -> list[Place]:
    zipcodes = extra("zipcodes")
    return sorted(
        (
            Place(zip_["zip_code"], zip_["city"], state, zip_["timezone"], float(zip_["lat"]), float(zip_["long"]))
            for state in REGION
            for zip_ in zipcodes.filter_by(state=state, active=True, zip_code_type="STANDARD")
        ),
        key=lambda place: place.postal_code,
    )


def nearness(here: Place, there: Place) -> float:
    """A squared distance, good for comparing within one region: a degree of longitude there is 0.77 of one of latitude."""
    return (here.latitude - there.latitude) ** 2 + (0.77 * (here.longitude - there.longitude)) ** 2


def _nearest(places: Sequence[Place], center: Place, count: int) -> list[Place]:
    return sorted(places, key=lambda place: (nearness(place, center), place.postal_code))[:count]
