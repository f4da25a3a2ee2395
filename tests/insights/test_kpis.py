"""The KPIs, against a week that is small enough to count by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.di import Provide

from ordino.core.database import Database, Tx
from ordino.core.ids import new_id
from ordino.insights import api
from ordino.insights.kpis import DEFINITIONS, kpis
from ordino.insights.model import Kpi
from ordino.orders import ledger
from ordino.orders.model import Placed, State, UnitMove
from ordino.orders.place import place
from world import small_world

SINCE = datetime(2026, 3, 2, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=7)
PLACED = SINCE + timedelta(hours=9)


async def measured(database: Database, since: datetime = SINCE, until: datetime = UNTIL) -> dict[str, Kpi]:
    return {kpi.name: kpi for kpi in await database.read(lambda tx: kpis(tx, since=since, until=until))}


# Of two units for 2000 in all: those charged before, what is charged or no longer owed, and what is given back.
MONEY = {State.SHIPPED: (0, 2000, 0), State.CANCELLED: (0, 2000, 0), State.RETURNED: (2, 0, 2000)}


@pytest.fixture(scope="module")
async def week(database: Database) -> Database:
    """Four orders of two units at 10.00. One is delivered in time and kept, one comes late and goes back to be scrapped,
    one is still packed, one was called off whole."""
    world = await small_world(database, stock=100)
    orders = [world.order(f"o-{n}", 2, customer="ada" if n < 3 else "bob") for n in range(3)]
    orders.append(world.order("o-3", 2, channel=world.channels["backorder"], customer="bob"))
    outcomes = await database.transact(lambda tx: place(tx, orders, at=PLACED))
    kept, back, packed, off = (outcome.order_id for outcome in outcomes if isinstance(outcome, Placed))
    await _ship(database, kept, packed_by=True, late=False)
    await _ship(database, back, packed_by=True, late=True)
    await _ship(database, packed, packed_by=False, late=False)
    await _move(database, off, (State.ALLOCATED, State.CANCELLED), reason="customer_request")
    await _send_back(database, back)
    return database


async def _move(database: Database, order_id: UUID, *pairs: tuple[State, State], reason: str | None = None) -> None:
    moves = [UnitMove(order_id, 1, a, b, 2, new_id(PLACED), reason, *MONEY.get(b, ())) for a, b in pairs]

    async def write(tx: Tx) -> None:
        for move in moves:
            await ledger.move_units(tx, [move], at=PLACED)

    await database.transact(write)
    await database.pool.execute(
        "UPDATE orders.allocations SET released = 0, quantity = 0 WHERE order_id = $1", order_id
    )


async def _ship(database: Database, order_id: UUID, *, packed_by: bool, late: bool) -> None:
    """Shipped a day after placement, delivered on the second day, or on the fourth and late."""
    fulfillment_order_id, shipment_id = new_id(PLACED), new_id(PLACED)
    shipped_at = PLACED + timedelta(days=1) if packed_by else None
    due_at = PLACED + (timedelta(hours=20) if late else timedelta(days=2))
    await database.pool.execute(
        """INSERT INTO warehouse.fulfillment_orders (order_id, fulfillment_order_id, location_id, service_id, released_at,
               ship_by_at, promised_at, picked_at, packed_at, shipped_at, labor_seconds, handling_cost_minor, quantity, open,
               picked, packed, shipped, short, cancelled)
           VALUES ($1, $2, 1, 1, $3, $4, $5, $3, $3, $6, 1800, 100, 2, 0, 0, $7, $8, 0, 0)""",
        order_id,
        fulfillment_order_id,
        PLACED,
        due_at,
        PLACED + timedelta(days=3),
        shipped_at,
        0 if packed_by else 2,
        2 if packed_by else 0,
    )
    await _move(database, order_id, (State.ALLOCATED, State.PICKED), (State.PICKED, State.PACKED))
    if not packed_by:
        return
    delivered_at = PLACED + timedelta(days=4 if late else 2)
    await database.pool.execute(
        "INSERT INTO warehouse.shipments VALUES ($1, $2, $3, 1, $4, 500, 1000, $5, $6)",
        order_id,
        shipment_id,
        fulfillment_order_id,
        str(shipment_id),
        shipped_at,
        PLACED + timedelta(days=3),
    )
    await database.pool.execute(
        """INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, late_at,
               delivered_at) VALUES ($1, $2, $3, $4, $4, $5, $6, $7)""",
        order_id,
        shipment_id,
        str(shipment_id),
        PLACED + timedelta(days=3),
        shipped_at,
        PLACED + timedelta(days=3) if late else None,
        delivered_at,
    )
    await _move(database, order_id, (State.PACKED, State.SHIPPED), (State.SHIPPED, State.DELIVERED))


async def _send_back(database: Database, order_id: UUID) -> None:
    return_id = new_id(PLACED)
    await database.pool.execute(
        "INSERT INTO aftercare.returns VALUES ($1, $2, $3, $4, 1)",
        order_id,
        return_id,
        PLACED + timedelta(days=5),
        PLACED + timedelta(days=6),
    )
    await database.pool.execute(
        "INSERT INTO aftercare.return_lines VALUES ($1, $2, 1, 1, 'wrong_item', 2, 0, 2, 2000)", order_id, return_id
    )
    await _move(database, order_id, (State.DELIVERED, State.RETURNED))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("picking_accuracy", 200 / 3),  # three picked, one of them the wrong item
        ("average_order_value", 2000),  # three sales of 20.00
        ("cost_per_order", 600),  # two shipped, each 5.00 carriage and 1.00 handling
        ("internal_order_cycle_time", 24),
        ("on_time_shipping_rate", 100 / 3),  # one left in time, one late, one not yet
        ("order_fill_rate", 100),
        ("order_fulfillment_cycle_time", 72),  # two days and four days
        ("orders_picked_per_hour", 2),  # two orders, half an hour each
        ("order_placement_percentage", 75),  # three of four through the largest channel
        ("order_placement_percentage_by_revenue", 100),  # what was called off was no sale
        ("perfect_order_rate", 50),  # of the two that came to their end
        ("purchasing_frequency", 2),  # four orders of two customers
        ("rate_of_returns", 25),
        ("scrap_rate", 100),
        ("shipping_cost_per_order", 500),
    ],
)
async def test_every_kpi_is_what_a_person_would_count(week: Database, name: str, value: float) -> None:
    kpi = (await measured(week))[name]
    assert kpi.value == pytest.approx(value)
    assert kpi.missing is None
    assert kpi.above is not None
    assert kpi.below


async def test_what_cannot_be_measured_says_why(week: Database) -> None:
    found = await measured(week)
    for name in ("cart_abandonment_rate", "customer_lifetime_value"):
        assert found[name].value is None
        assert found[name].missing


async def test_a_period_without_anything_has_no_numbers(week: Database) -> None:
    empty = await measured(week, UNTIL + timedelta(days=100), UNTIL + timedelta(days=101))
    assert list(empty) == [definition.name for definition in DEFINITIONS]
    assert all(kpi.value is None and kpi.missing for kpi in empty.values())


async def test_the_end_of_a_period_belongs_to_the_next(week: Database) -> None:
    before = (await measured(week, SINCE, PLACED))["purchasing_frequency"]
    after = (await measured(week, PLACED, UNTIL))["purchasing_frequency"]
    assert before.value is None
    assert after.above == 4


async def test_parts_of_a_whole_add_up_to_it(week: Database) -> None:
    placement = (await measured(week))["order_placement_percentage"]
    assert [part.key for part in placement.parts] == ["refuse", "backorder"]
    assert sum(part.value for part in placement.parts) == pytest.approx(100)
    assert placement.key == "refuse"


async def test_kpis_are_served(week: Database) -> None:
    app = Litestar(api.routes, dependencies={"database": Provide(lambda: week, sync_to_thread=False)})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ordino") as client:
        answer = await client.get("/v1/kpis", params={"since": SINCE.isoformat(), "until": UNTIL.isoformat()})
    assert answer.status_code == 200
    body = answer.json()
    assert {kpi["name"]: kpi["value"] for kpi in body["kpis"]}["average_order_value"] == 2000


async def test_carts_that_became_no_order_are_abandoned(week: Database) -> None:
    """Of five carts that held stock: two became orders, one only at its second hold; one was let go, one expired, one is open."""
    at, later = UNTIL + timedelta(days=1), UNTIL + timedelta(days=2)
    channel = "(SELECT min(channel_id) FROM catalog.channels)"
    for cart, ended, expires, ordered in (
        ("bought", at, later, True),
        ("bought later", at, at, False),
        ("bought later", later, later, True),
        ("let go", at, later, False),
        (None, None, at + timedelta(hours=1), False),  # nobody has swept it yet
        ("still open", None, later + timedelta(days=9), False),
    ):
        await week.pool.execute(
            f"""INSERT INTO inventory.holds (hold_id, channel_id, cart, held_at, expires_at, ended_at, order_id)
                VALUES ($1, {channel}, $2, $3, $4, $5, CASE WHEN $6 THEN (SELECT min(order_id::text)::uuid FROM orders.orders) END)""",
            new_id(at),
            cart,
            at,
            expires,
            ended,
            ordered,
        )
    kpi = (await measured(week, UNTIL, later + timedelta(hours=1)))["cart_abandonment_rate"]
    assert (kpi.above, kpi.below, kpi.value) == (2, 4, 50)


async def test_deliveries_count_without_a_shipment_in_the_period(week: Database) -> None:
    """The parcels left on the second day: from the third on, two deliveries cost nothing more."""
    kpi = (await measured(week, PLACED + timedelta(days=1, hours=1), UNTIL))["shipping_cost_per_order"]
    assert (kpi.above, kpi.below, kpi.value) == (0, 2, 0)
