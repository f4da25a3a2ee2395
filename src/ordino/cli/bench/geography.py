"""Where a retailer's locations and buyers are: real coordinates and carrier zones if they lie on this machine, else drawn by seed.

``ORDINO_TEST_DATA`` names the folder of the real ones (``geo/stores``, ``geo/zip``, ``carrier_zones``).
"""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import Struct

from ordino.network.facts import Location, NetworkFacts, Serving, distance_km
from ordino.network.rates import Service, Zone

WEEKDAYS = frozenset({1, 2, 3, 4, 5})
LIMITS = (500, 1000, 2000, 5000, 10_000, 20_000, 31_000)
MILE_KM = 1.609344
BREAKS_MILES = (50, 150, 300, 600, 1000, 1400, 1800, 12_000)
"""Where the zones of the USPS end, in miles."""
LOADED_ZIPS = 20_000


class Geography(Struct, frozen=True):
    """A network, the postal codes of its buyers, and where all of that comes from."""

    facts: NetworkFacts
    serving: Serving
    zips: list[str]
    centers: list[int]
    source: str


def data() -> Path | None:
    folder = Path(os.environ.get("ORDINO_TEST_DATA", "../shared/data"))
    return folder if (folder / "geo").is_dir() else None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _places(
    dice: random.Random, folder: Path | None
) -> tuple[list[tuple[str, float, float]], dict[str, tuple[float, float]]]:
    """Stores (ZIP, latitude, longitude), and where ZIP codes are."""
    if folder is None:
        zips = {f"{n:05d}": (dice.uniform(26, 48), dice.uniform(-122, -70)) for n in range(500, 99_500, 5)}
        return [(code, *zips[code]) for code in dice.sample(sorted(zips), 5000)], zips
    zips = {
        row["zipCode"]: (float(row["latitude"]), float(row["longitude"]))
        for row in _rows(folder / "geo/zip/census_zcta_centroids.csv.gz")
    }
    stores = [
        (row["zip"], float(row["lat"]), float(row["lon"]))
        for row in _rows(folder / "geo/stores/us_stores.csv.gz")
        if row["brand"] == "Walmart" and row["coord_ok"] == "1" and row["zip"] in zips
    ]
    return stores, zips


def _lanes(folder: Path | None, origins: set[str]) -> dict[tuple[str, str], str]:
    if folder is None:
        return {}
    return {
        (row["origin_zip"], row["dest_zip"]): row["zone"]
        for row in _rows(folder / "carrier_zones/usps_zones_zip3.csv.gz")
        if row["origin_zip"] in origins and row["zone"] in "12345678"
    }


def _service(
    service_id: int, code: str, level: str, dearer: float, faster: bool, lanes: dict[tuple[str, str], str]
) -> Service:
    """Rates are ours: a base, more by zone and by weight."""
    zones = []
    for number, miles in enumerate(BREAKS_MILES, 1):
        costs = tuple(round(dearer * (420 + 40 * number + grams / 1000 * (35 + 14 * number))) for grams in LIMITS)
        days = 1 if faster else (1, 2, 2, 3, 4, 4, 5, 5)[number - 1]
        zones.append(Zone(str(number), miles * MILE_KM, days, LIMITS, costs))
    by_name = {zone.zone: zone for zone in zones}
    return Service(
        service_id, code, "Bench", code, "USD", WEEKDAYS, LIMITS[-1], tuple(zones),
        {pair: by_name[zone] for pair, zone in lanes.items()}, level, carbon_grams_per_kg_km=0.1,
    )  # fmt: skip


def geography(locations: int, *, centers: int = 10, seed: int = 1) -> Geography:
    """So many locations, of which ``centers`` are distribution centers spread far apart, and the others stores."""
    dice, folder = random.Random(seed), data()
    stores, zips = _places(dice, folder)
    chosen = dice.sample(stores, locations)
    far = [0]
    while len(far) < centers:  # each next center lies as far as can be from those before it
        far.append(max(range(locations), key=lambda n: min(distance_km(chosen[n][1:], chosen[m][1:]) for m in far)))
    sites = {}
    for n, (code, latitude, longitude) in enumerate(chosen):
        is_center = n in far
        sites[n + 1] = Location(
            n + 1, f"L{n + 1}", f"Location {n + 1}", "distribution_center" if is_center else "store", "US", code, latitude,
            longitude, ZoneInfo("America/Chicago"), WEEKDAYS, time(16, 0), None, 120 if is_center else 250,
            frozenset({"US"}), True, handling_line_cost_minor=20 if is_center else 40,
        )  # fmt: skip
    lanes = _lanes(folder, {code[:3] for code, _, _ in chosen})
    services = {
        1: _service(1, "ground", "standard", 1.0, False, lanes),
        2: _service(2, "air", "express", 2.6, True, lanes),
    }
    buyers = dice.sample(sorted(zips), min(LOADED_ZIPS, len(zips)))
    facts = NetworkFacts(sites, services, {}, {}, {("US", code): zips[code] for code in buyers})
    source = "US stores and ZIP centroids, USPS zones" if folder else "drawn by a seed (no real data on this machine)"
    return Geography(facts, Serving(1, "bench", dict.fromkeys(sites, 0)), buyers, [n + 1 for n in far], source)


def stock_of(geo: Geography, skus: int, dice: random.Random, *, share: float = 0.06) -> dict[int, dict[int, int]]:
    """Centers hold half of the SKUs each, in numbers; stores a few units of a share of them."""
    stores = [n for n in geo.facts.locations if n not in geo.centers]
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for sku_id in range(1, skus + 1):
        for n in dice.sample(geo.centers, len(geo.centers) // 2):
            found[sku_id][n] = dice.randint(10, 200)
        for n in dice.sample(stores, int(len(stores) * share)):
            found[sku_id][n] = dice.randint(1, 6)
    return dict(found)
