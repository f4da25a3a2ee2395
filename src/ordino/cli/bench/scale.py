"""How large the world of a figure is: ``FULL`` is what is quoted, ``SMALL`` shows in seconds that every figure still runs."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ordino.core.database import Database


class Scale(Struct, frozen=True, kw_only=True):
    """The sizes of all figures. ``windows`` are measured in turns with their floors; rates are medians over them."""

    windows: int = 3
    warm_seconds: float = 3.0
    most_clients: int = 256
    skus: int = 10_000
    decided_orders: int = 4096
    """What the floor of placement writes again and again: orders that were decided beforehand."""
    last_units: int = 1000
    buyers: int = 5000
    buying_seconds: float = 6.0
    life_batch: int = 250
    store_locations: int = 1000
    store_skus: int = 1000
    store_skus_asked: int = 50
    snapshot_locations: int = 100
    verify_orders: int = 1_000_000
    sourcing_locations: int = 1000
    sourcing_locations_each: int = 65
    """So many locations have a SKU."""
    sourcing_requests: int = 20_000
    exact_sets: int = 5
    exact_orders: int = 200
    year_days: int = 364
    year_orders_a_day: int = 25


FULL = Scale()
SMALL = Scale(
    windows=1,
    warm_seconds=0.2,
    most_clients=16,
    skus=200,
    decided_orders=512,
    last_units=20,
    buyers=40,
    buying_seconds=1.0,
    life_batch=20,
    store_locations=20,
    store_skus=100,
    store_skus_asked=10,
    snapshot_locations=10,
    verify_orders=2000,
    sourcing_locations=50,
    sourcing_locations_each=10,
    sourcing_requests=500,
    exact_sets=1,
    exact_orders=6,
    year_days=14,
    year_orders_a_day=5,
)


class Bench(Struct, frozen=True, kw_only=True):
    """What a figure is measured with: an empty, migrated database, a directory for logs, and how long a window lasts."""

    url: str
    database: Database
    directory: Path
    seconds: float
    scale: Scale
