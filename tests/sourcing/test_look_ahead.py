"""What the last units are worth, worked by hand; and as the tests of the cost use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from ordino.core.database import Database
from ordino.orders.outlook import PositionOutlook, foresee, load_outlook
from ordino.orders.place import place
from ordino.sourcing.look_ahead import prices
from ordino.sourcing.outlook import outlook_for
from steps import in_one
from world import PLACES, small_world

COSTS = {("near", "town"): 300, ("far", "town"): 700, ("far", "plains"): 400}


def test_a_scarce_unit_is_worth_what_its_absence_costs() -> None:
    # two are wanted in town, one lies near: the other comes from far, for 400 more
    assert prices({"near": 1, "far": 9}, {"town": 2.0}, COSTS, 5000, draws=0) == {"near": 400, "far": 0}


def test_where_more_lies_than_is_wanted_a_unit_is_worth_nothing() -> None:
    assert prices({"near": 5, "far": 9}, {"town": 2.0}, COSTS, 5000, draws=0) == {"near": 0, "far": 0}


def test_a_unit_that_is_missed_everywhere_is_worth_the_miss() -> None:
    # one near and one far for three in town: one goes missing; a unit near saves 5,000 - 300, one far 5,000 - 700
    assert prices({"near": 1, "far": 1}, {"town": 3.0}, COSTS, 5000, draws=0) == {"near": 4700, "far": 4300}


def test_nobody_can_be_served_from_nowhere() -> None:
    assert prices({"near": 3}, {"plains": 2.0}, COSTS, 5000, draws=0) == {"near": 0}
    assert prices({}, {"town": 2.0}, COSTS, 5000, draws=0) == {}


def test_a_last_unit_is_worth_what_it_costs_as_often_as_it_is_missed() -> None:
    # one lies near, and 0.5 are expected: in 39 of 100 cases somebody asks (1 - exp(-0.5)), and a unit from far costs 400 more
    expected = {"town": 0.5}
    assert prices({"near": 1, "far": 9}, expected, COSTS, 5000, draws=0) == {"near": 0, "far": 0}
    found = prices({"near": 1, "far": 9}, expected, COSTS, 5000, draws=2000)
    assert found["far"] == 0
    assert abs(found["near"] - 400 * 0.3935) < 12
    assert prices({"near": 1, "far": 9}, expected, COSTS, 5000) == prices({"near": 1, "far": 9}, expected, COSTS, 5000)


def test_what_is_not_there_has_no_price() -> None:
    assert prices({"near": 0, "far": 9}, {"town": 2.0}, COSTS, 5000) == {"near": 0, "far": 0}


async def test_an_outlook_is_worked_out_from_orders_and_can_be_loaded(database: Database) -> None:
    at = datetime(2027, 3, 1, 15, tzinfo=UTC)
    # Columbus has 4 left of 10 after six orders to Columbus in a week; New York has plenty
    world = await small_world(
        database, prefix="la-", locations=5, skus=1, stock={("la-sku-1", "la-loc-1"): 10, ("la-sku-1", "la-loc-5"): 50}
    )
    for _ in range(6):
        await in_one(
            database, place, [world.order(f"la-{uuid4()}", 1, postal_code=PLACES[0][0])], at - timedelta(days=1)
        )
    done = await database.transact(lambda tx: foresee(tx, at=at, weeks=1, horizon_weeks=1.0))
    assert done.positions >= 2
    sku, (near, far) = world.sku_ids["la-sku-1"], (world.location_ids["la-loc-1"], world.location_ids["la-loc-5"])
    seen = await database.read(lambda tx: outlook_for(tx, True, [sku]))
    assert seen.weekly == {(sku, near): 6.0, (sku, far): 0.0}
    # six are expected and four lie near: whoever asks for a fourth costs a unit from New York, 768 km away, for 800 instead of
    # 500; that happens in 85 of 100 cases
    assert seen.prices.keys() == {(sku, near)}
    assert 180 <= seen.prices[sku, near] <= 300
    assert seen.currencies[sku, near] == "USD"  # the channels sell in it
    assert (await database.read(lambda tx: outlook_for(tx, False, [sku]))).weekly == {}
    mine = PositionOutlook(sku="la-sku-1", location="la-loc-1", weekly_units=2.5, price_minor=77)
    wrong = PositionOutlook(sku="nope", location="la-loc-1", weekly_units=1)
    unknown = PositionOutlook(sku="la-sku-1", location="la-loc-1", weekly_units=1, currency="XYZ")
    answers = await in_one(database, load_outlook, [mine, wrong, unknown], at)
    assert [answers[n].pointer for n in (1, 2)] == ["/sku", "/currency"]
    seen = await database.read(lambda tx: outlook_for(tx, True, [sku]))
    assert (seen.weekly[sku, near], seen.prices[sku, near]) == (2.5, 77)
