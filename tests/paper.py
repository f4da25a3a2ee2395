"""A network whose costs can be added up on paper, for the tests of sourcing."""

from __future__ import annotations

from datetime import UTC, datetime, time
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from ordino.network.facts import Location, NetworkFacts, Serving
from ordino.network.rates import Service, Zone
from ordino.sourcing.model import Need, Request, ShortPolicy

MONDAY_NOON = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)  # 12:00 in New York
WEEKDAYS = frozenset({1, 2, 3, 4, 5})
# up to 1,000 g: 300 near, 700 far; up to 5,000 g: 500 near, 1,200 far
NEAR = Zone("near", 300, 1, (1000, 5000), (300, 500))
FAR = Zone("far", 9000, 3, (1000, 5000), (700, 1200))
GROUND = Service(1, "ground", "C", "Ground", "USD", WEEKDAYS, 5000, (NEAR, FAR), {})


def location(location_id: int, latitude: float, **changes: object) -> Location:
    plain = Location(
        location_id, f"L{location_id}", "", "warehouse", "US", "10001", latitude, -74.0, ZoneInfo("America/New_York"),
        WEEKDAYS, time(16, 0), None, 100, frozenset({"US"}), True,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def network(*locations: Location) -> NetworkFacts:
    places = {("US", "10001"): (40.0, -74.0), ("US", "90001"): (20.0, -74.0)}
    return NetworkFacts({at.location_id: at for at in locations}, {1: GROUND}, {}, {}, places)


def request(
    *needs: tuple[int, int],
    policy: ShortPolicy = ShortPolicy.REFUSE,
    buffers: dict[int, int] | None = None,
    **more: object,
) -> Request:
    plain = Request(
        UUID(int=1),
        Serving(1, "n", buffers or {1: 0, 2: 0, 3: 0}),
        "US",
        "10001",
        MONDAY_NOON,
        tuple(Need(n, sku_id, quantity, 400, True) for n, (sku_id, quantity) in enumerate(needs, 1)),
        policy,
    )
    return msgspec.structs.replace(plain, **more)


NEAR_1, NEAR_2, FAR_3 = location(1, 40.1), location(2, 40.2), location(3, 25.0)
