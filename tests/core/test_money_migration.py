"""Orders that were placed before units had a state in money get it from what was charged, no longer owed and given back then."""

from __future__ import annotations

from conftest import database_before, run_revisions
from ordino.cli.verify import examine
from ordino.core.embedded import EmbeddedPostgres

CHECKS = {
    "an_order_costs_what_its_lines_cost",
    "payments_follow_from_lines_and_shipping",
    "the_money_of_lines_is_the_sum_of_its_moves",
    "money_follows_the_units",
    "nothing_stays_behind",
    "shipping_goes_with_the_order",
    "payment_statuses_follow_from_amounts",
}
ID = "01990000-0000-7000-8000-00000000000"

# Three units for 100 and shipping of 500. Of the first order, one is cancelled (33), two ship (67 and the shipping), one comes back
# (33) and one is lost (33): so it was computed then. The second was cancelled before it was authorized; the third waits; the fourth was
# lost, and kept its shipping.
BEFORE = f"""
INSERT INTO orders.orders (order_id, channel_id, external_id, flow_version, currency, shipping_minor, tax_minor, discount_minor,
    total_minor, placed_at, ordered, backordered, allocated, picked, packed, shipped, delivered, returned, cancelled)
VALUES ('{ID}1', 1, 'one', 1, 'USD', 500, 1, 0, 600, now(), 3, 0, 0, 0, 0, 0, 0, 1, 2),
       ('{ID}2', 1, 'two', 1, 'USD', 500, 1, 0, 600, now(), 3, 0, 0, 0, 0, 0, 0, 0, 3),
       ('{ID}3', 1, 'three', 1, 'USD', 500, 1, 0, 600, now(), 3, 3, 0, 0, 0, 0, 0, 0, 0),
       ('{ID}4', 1, 'four', 1, 'USD', 500, 1, 0, 600, now(), 3, 0, 0, 0, 0, 0, 0, 0, 3);
INSERT INTO orders.lines (order_id, line_no, sku_id, ordered, unit_price_minor, amount_minor, backordered, allocated, picked, packed,
    shipped, delivered, returned, cancelled)
VALUES ('{ID}1', 1, 1, 3, 33, 100, 0, 0, 0, 0, 0, 0, 1, 2), ('{ID}2', 1, 1, 3, 33, 100, 0, 0, 0, 0, 0, 0, 0, 3),
       ('{ID}3', 1, 1, 3, 33, 100, 3, 0, 0, 0, 0, 0, 0, 0), ('{ID}4', 1, 1, 3, 33, 100, 0, 0, 0, 0, 0, 0, 0, 3);
INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, at)
VALUES ('{ID}1', '{ID}1', 1, 'ordered', 'allocated', 3, '2026-01-01'), ('{ID}1', '{ID}2', 1, 'allocated', 'cancelled', 1, '2026-01-02'),
       ('{ID}1', '{ID}3', 1, 'packed', 'shipped', 2, '2026-01-03'), ('{ID}1', '{ID}4', 1, 'shipped', 'delivered', 1, '2026-01-04'),
       ('{ID}1', '{ID}5', 1, 'delivered', 'returned', 1, '2026-01-05'), ('{ID}1', '{ID}6', 1, 'shipped', 'cancelled', 1, '2026-01-06'),
       ('{ID}2', '{ID}7', 1, 'backordered', 'cancelled', 3, '2026-01-02'),
       ('{ID}4', '{ID}8', 1, 'packed', 'shipped', 3, '2026-01-02'), ('{ID}4', '{ID}9', 1, 'shipped', 'cancelled', 3, '2026-01-03');
INSERT INTO orders.payments (order_id, provider, currency, authorized_minor, voided_minor, captured_minor, refunded_minor)
VALUES ('{ID}1', 'manual', 'USD', 600, 33, 567, 66), ('{ID}2', 'manual', 'USD', 0, 0, 0, 0), ('{ID}3', 'manual', 'USD', 0, 0, 0, 0),
       ('{ID}4', 'manual', 'USD', 600, 0, 600, 100);
"""


async def test_orders_of_before_know_their_money(cluster: EmbeddedPostgres) -> None:
    async with database_before(cluster, "0006") as connection:
        await connection.execute("SET session_replication_role = replica")  # what else an order needs is left out
        await connection.execute(BEFORE)
        await run_revisions(connection, since="0006")
        lines = await connection.fetch(
            "SELECT charged_units, charged_minor, void_units, void_minor, refunded_units, refunded_minor FROM orders.lines ORDER BY order_id"
        )
        assert [tuple(row) for row in lines] == [
            (2, 67, 1, 33, 2, 66),
            (0, 0, 3, 100, 0, 0),
            (0, 0, 0, 0, 0, 0),
            (3, 100, 0, 0, 3, 100),
        ]
        shipping = await connection.fetch(
            "SELECT shipping_charged_minor, shipping_void_minor, shipping_refunded_minor, due_minor, p.status "
            "FROM orders.orders JOIN orders.payments p USING (order_id) ORDER BY order_id"
        )
        assert [tuple(row) for row in shipping] == [
            (500, 0, 0, 567, "partially_refunded"),
            (0, 500, 0, 0, "nothing_due"),
            (0, 0, 0, 600, "pending"),
            (500, 0, 0, 600, "partially_refunded"),
        ]
        findings = [finding for finding in await examine(connection) if finding.name in CHECKS]
        assert len(findings) == len(CHECKS)
        assert [finding for finding in findings if not finding.holds] == []
