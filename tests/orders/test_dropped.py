"""Lines that placement drops: the channel is told, the buyer is told and not charged, and the books say what was accepted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from ordino.aftercare.model import Template
from ordino.aftercare.reactions import message
from ordino.catalog.model import Sku
from ordino.catalog.upsert import upsert_skus
from ordino.core.database import Database
from ordino.insights.kpis import kpis
from ordino.orders.api import routes
from ordino.orders.model import DroppedLine, DropReason, NewOrder, Placed
from ordino.orders.place import place
from steps import assert_clean, client, events, in_one, react, sure
from world import World, small_world

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture
async def world(database: Database) -> World:
    """The first SKU is too heavy for every service, of the second there is nothing, of the third enough."""
    prefix = f"{await database.pool.fetchval('SELECT count(*) FROM catalog.sellers')}-"
    stock = {(f"{prefix}sku-{n}", f"{prefix}loc-{m}"): 100 * (n != 2) for n in (1, 2, 3) for m in (1, 2)}
    world = await small_world(database, prefix=prefix, skus=3, stock=stock)
    heavy = Sku(code=world.sku, name=world.sku, weight_grams=95_000, backorderable=True)
    await in_one(database, upsert_skus, [heavy], AT)
    return world


def order(world: World, external_id: str, **more: Any) -> NewOrder:
    """1 x 10.00 that nothing can carry, 2 x 10.00 that are not there, 3 x 10.00 that are, shipping 5.00."""
    units = dict(zip(world.skus, (1, 2, 3), strict=True))
    return world.order(external_id, units, channel=world.channels["drop"], shipping_minor=500, **more)


async def put(database: Database, wanted: NewOrder) -> Placed:
    [outcome] = await in_one(database, place, [wanted], AT)
    return sure(outcome, Placed)


async def test_the_answer_lists_them_and_says_what_is_owed(database: Database, world: World) -> None:
    wanted = order(world, "told")
    first = await put(database, wanted)
    assert first.accepted_total_minor == 3500
    assert first.dropped == [
        DroppedLine(1, world.skus[0], 1, DropReason.CANNOT_SHIP),
        DroppedLine(2, world.skus[1], 2, DropReason.OUT_OF_STOCK),
    ]
    again = await put(database, wanted)
    assert (again.repeated, again.dropped, again.accepted_total_minor) == (True, first.dropped, 3500)
    whole = await put(database, world.order("whole", {world.skus[2]: 1}))
    assert (whole.accepted_total_minor, whole.dropped) == (1000, ())
    await assert_clean(database)


async def test_an_event_tells_them_with_their_worth(database: Database, world: World) -> None:
    found = await put(database, order(world, "event"))
    [told] = await events(database, found.order_id, "lines_dropped")
    assert told["accepted_total_minor"] == 3500
    assert [(line["line_no"], line["quantity"], line["reason"], line["amount_minor"]) for line in told["lines"]] == [
        (1, 1, "cannot_ship", 1000),
        (2, 2, "out_of_stock", 2000),
    ]
    assert "95000 g" in told["lines"][0]["detail"]
    [accepted] = await events(database, found.order_id, "order_placed")
    assert (accepted["total_minor"], accepted["accepted_total_minor"]) == (6500, 3500)
    whole = await put(database, world.order("nothing", {world.skus[2]: 1}))
    assert not await events(database, whole.order_id, "lines_dropped")


async def test_their_shares_of_tax_and_discount_go_with_them(database: Database, world: World) -> None:
    found = await put(database, order(world, "shares", tax_minor=601, discount_minor=300))
    amounts = await database.pool.fetch(
        "SELECT amount_minor FROM orders.lines WHERE order_id = $1 ORDER BY line_no", found.order_id
    )
    assert sum(row["amount_minor"] for row in amounts) == 6301
    assert found.accepted_total_minor == amounts[2]["amount_minor"] + 500
    await assert_clean(database)


async def test_the_order_shows_its_total_and_what_was_accepted(database: Database, world: World) -> None:
    found = await put(database, order(world, "shown"))
    async with client(database, routes) as http:
        shown = (await http.get(f"/v1/orders/{found.order_id}")).json()
        [head] = [one for one in (await http.get("/v1/orders")).json()["orders"] if one["external_id"] == "shown"]
    for told in (shown, head):
        assert (told["total_minor"], told["accepted_total_minor"]) == (6500, 3500)


async def mail(database: Database, order_id: UUID, template: Template) -> str:
    await react(database, message, order_id, "order_placed", AT, template=template)
    body: str = await database.pool.fetchval(
        "SELECT body FROM aftercare.messages WHERE order_id = $1 AND template = $2", order_id, template
    )
    return body


async def test_the_mail_says_what_is_not_available_and_the_accepted_total(database: Database, world: World) -> None:
    address = {"ship_to": _with_email(world)}
    found = await put(database, order(world, "mailed", **address))
    bought, missing = (await mail(database, found.order_id, Template.ORDER_RECEIVED)).split(
        "These items are not available."
    )
    assert f"3 x {world.skus[2]}" in bought
    assert "Total, 35.00 USD" in bought
    assert world.skus[0] not in bought
    assert f"1 x {world.skus[0]}" in missing
    assert f"2 x {world.skus[1]}" in missing
    whole = await put(database, world.order("mailed whole", {world.skus[2]: 1}, **address))
    assert "not available" not in await mail(database, whole.order_id, Template.ORDER_RECEIVED)


def _with_email(world: World) -> Any:
    return replace(world.order("address").ship_to, email="ada@example.com")


async def test_sales_count_what_was_accepted(database: Database, world: World) -> None:
    await database.pool.execute("UPDATE orders.orders SET placed_at = placed_at - interval '1 year'")
    await put(database, order(world, "dropped"))
    await put(database, world.order("whole", {world.skus[2]: 2}))
    since, until = AT.replace(hour=0), AT.replace(hour=23)
    found = {kpi.name: kpi for kpi in await database.read(lambda tx: kpis(tx, since=since, until=until))}
    assert found["average_order_value"].value == (3500 + 2000) / 2
    by_revenue = {part.key: part.value for part in found["order_placement_percentage_by_revenue"].parts}
    assert by_revenue[world.channels["drop"]] == pytest.approx(100 * 3500 / 5500)
