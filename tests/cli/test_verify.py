"""Every promise is held against the rows: each check names the row that breaks it, and none breaks on honest ledgers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ordino.cli.bench.synthetic import fill
from ordino.cli.verify import CHECKS, examine, verify
from ordino.core.database import Database
from ordino.core.permissions import Permission, Role

ORDERS = 200

# An order of each fate, as ``synthetic.sql`` numbers them: n % 20.
_ORDER = {
    "delivered": 1,
    "returned": 14,
    "allocated": 15,
    "released": 16,
    "packed": 17,
    "cancelled": 18,
    "backordered": 19,
}


def _of(fate: str) -> str:
    return f"(SELECT order_id FROM orders.orders WHERE external_id = 'S{_ORDER[fate]}')"


_NO_CAUSE = "'01990000-0000-7000-8000-000000000000'"

# A sound hold of one unit.
_HELD = f"""
    INSERT INTO inventory.holds (hold_id, channel_id, held_at, expires_at) VALUES ({_NO_CAUSE}, 1, now(), '2030-01-01');
    INSERT INTO inventory.hold_lines VALUES ({_NO_CAUSE}, 1, 1, 1);
    INSERT INTO inventory.reservations VALUES (1, {_NO_CAUSE}, 0, 1, 1, 1, '2030-01-01');
    INSERT INTO inventory.moves VALUES (1, {_NO_CAUSE}, 1, 0, 'held', 0, 1, 0, NULL, {_NO_CAUSE}, now());
    UPDATE inventory.stock SET reserved = reserved + 1 WHERE sku_id = 1 AND location_id = 1"""

# A sound transfer of one unit, cancelled.
_TRANSFER = f"""
    INSERT INTO inventory.transfers (transfer_id, origin_id, destination_id, requested_at, expected_at, requested, open, in_transit,
                                     received, lost, cancelled) VALUES ({_NO_CAUSE}, 1, 2, now(), now(), 1, 0, 0, 0, 0, 1);
    INSERT INTO inventory.transfer_lines VALUES ({_NO_CAUSE}, 1, 1, 1, 0, 0, 0, 0, 1)"""

# A delivered parcel that was lost instead, and comes back: its units are cancelled.
_LOST_AND_FOUND = f"""
    UPDATE tracking.parcels SET delivered_at = NULL, lost_at = now(), returning_at = now() WHERE order_id = {_of("delivered")};
    UPDATE orders.moves m SET to_state = 'cancelled', reason = 'lost', paid_units = m.quantity, amount_minor = 0, refund_minor = l.charged_minor
        FROM orders.lines l WHERE m.order_id = {_of("delivered")} AND m.to_state = 'delivered' AND l.order_id = m.order_id
            AND l.line_no = m.line_no;
    UPDATE orders.lines SET cancelled = cancelled + delivered, delivered = 0, refunded_units = charged_units, refunded_minor = charged_minor
        WHERE order_id = {_of("delivered")};
    UPDATE orders.orders SET cancelled = cancelled + delivered, delivered = 0, shipping_refunded_minor = shipping_charged_minor
        WHERE order_id = {_of("delivered")}"""

# A sound job of two rows, one of them refused.
_JOB = f"""
    INSERT INTO core.jobs (job_id, kind, parameters, came_from, state, created_at, starts_at, finished_at, has_rows, total, done, refused)
        VALUES ({_NO_CAUSE}, 'cancel_orders', '{{}}', 'running', 'done', now(), now(), now(), true, 2, 2, 1);
    INSERT INTO core.job_rows (job_id, row_no, subject, outcome, code, detail)
        VALUES ({_NO_CAUSE}, 1, 'one', 'ok', NULL, NULL), ({_NO_CAUSE}, 2, 'two', 'refused', 'too_late', 'It is shipped.')"""

# A sound key, and what breaks it.
_KEY = f"""
    INSERT INTO core.api_keys (key_id, name, hash, scopes, created_at, permissions, sellers, locations)
        SELECT {_NO_CAUSE}, 'key', 'hash', '{{}}', now(), '{{orders.read}}', (SELECT array_agg(code) FROM catalog.sellers),
               (SELECT array_agg(code) FROM network.locations);
    UPDATE core.api_keys"""

# Check -> (statements that break its promise, further checks that break with it).
CORRUPTIONS: dict[str, tuple[str, set[str]]] = {
    "keys_name_what_there_is": (f"{_KEY} SET permissions = '{{orders.read,everything}}'", set()),
    "reasons_are_codes": (
        f"UPDATE orders.moves SET reason = 'Ada is ill' WHERE order_id = {_of('cancelled')} AND to_state = 'cancelled'",
        set(),
    ),
    "jobs_count_their_rows": (
        f"{_JOB}; UPDATE core.job_rows SET outcome = 'ok', code = NULL, detail = NULL WHERE row_no = 2",
        set(),
    ),
    "done_jobs_have_done_everything": (
        f"{_JOB}; INSERT INTO core.job_rows (job_id, row_no, subject) VALUES ({_NO_CAUSE}, 3, 'three')",
        set(),
    ),
    "client_keys_have_their_answers": (
        """INSERT INTO core.idempotency (key, digest, status, body, at)
            VALUES (E'key 1\nclaimed', decode(repeat('00', 16), 'hex'), 0, '', now()),
                   (E'key 1\nwithout a body', decode(repeat('00', 16), 'hex'), 200, '', now()),
                   (E'key 1\nsound', decode(repeat('00', 16), 'hex'), 200, 'null', now())""",
        set(),
    ),
    "stock_is_the_sum_of_its_moves": (
        "UPDATE inventory.moves SET on_hand_delta = on_hand_delta + 1 WHERE kind = 'received' AND sku_id = 1 AND location_id = 1",
        set(),
    ),
    "reserved_is_the_sum_of_reservations": (
        f"""UPDATE inventory.stock SET reserved = reserved + 1 WHERE sku_id = 1 AND location_id = 1;
            INSERT INTO inventory.moves VALUES (1, {_NO_CAUSE}, 1, 0, 'reserved', 0, 1, 0, NULL, NULL, now())""",
        set(),
    ),
    "never_promise_more_than_we_have": (
        f"""ALTER TABLE inventory.stock DROP CONSTRAINT inv_1_never_promise_more_than_we_have;
            INSERT INTO inventory.moves SELECT sku_id, {_NO_CAUSE}, location_id, 0, 'adjusted', reserved - 1 - on_hand, 0, 0, 'lost',
                NULL, now() FROM inventory.stock WHERE sku_id = 1 AND location_id = 1;
            UPDATE inventory.stock SET on_hand = reserved - 1 WHERE sku_id = 1 AND location_id = 1""",
        set(),
    ),
    "only_reserved_units_are_picked": (
        f"""ALTER TABLE inventory.stock DROP CONSTRAINT inv_4_only_reserved_units_are_picked;
            INSERT INTO inventory.moves SELECT sku_id, {_NO_CAUSE}, location_id, 0, 'picked', 0, 0, reserved + 1 - picked, NULL, NULL,
                now() FROM inventory.stock WHERE sku_id = 1 AND location_id = 1;
            UPDATE inventory.stock SET picked = reserved + 1 WHERE sku_id = 1 AND location_id = 1""",
        {"picked_stock_is_in_the_warehouse"},
    ),
    "picked_stock_is_in_the_warehouse": (
        f"""INSERT INTO inventory.moves SELECT sku_id, {_NO_CAUSE}, location_id, 0, 'picked', 0, 0, 1, NULL, NULL, now()
                FROM orders.allocations WHERE order_id = {_of("allocated")} AND line_no = 1;
            UPDATE inventory.stock s SET picked = s.picked + 1 FROM orders.allocations a
                WHERE a.order_id = {_of("allocated")} AND a.line_no = 1 AND s.sku_id = a.sku_id AND s.location_id = a.location_id""",
        set(),
    ),
    "what_is_reserved_is_what_is_ordered": (
        f"UPDATE inventory.reservations SET line_no = 3 WHERE order_id = {_of('allocated')} AND line_no = 2",
        set(),
    ),
    "what_left_the_stock_is_what_shipped": (
        f"UPDATE inventory.moves SET line_no = 3 WHERE order_id = {_of('delivered')} AND line_no = 2 AND kind = 'shipped'",
        set(),
    ),
    "holds_reserve_what_they_hold": (
        f"{_HELD}; UPDATE inventory.hold_lines SET quantity = 2 WHERE hold_id = {_NO_CAUSE}",
        set(),
    ),
    "reservations_of_holds_end_with_them": (
        f"{_HELD}; UPDATE inventory.reservations SET expires_at = now() WHERE order_id = {_NO_CAUSE}",
        set(),
    ),
    "a_cart_has_one_open_hold": (
        f"""INSERT INTO inventory.holds (hold_id, channel_id, cart, held_at, expires_at)
            VALUES ({_NO_CAUSE}, 1, 'cart', now(), '2030-01-01')""",
        set(),
    ),
    "kits_have_no_stock_of_their_own": (
        "INSERT INTO catalog.kit_components SELECT sku_id, 100, 1 FROM inventory.stock WHERE on_hand > 0 AND sku_id <> 100 LIMIT 1",
        set(),
    ),
    "holds_that_became_orders_name_them": (
        f"""INSERT INTO inventory.holds (hold_id, channel_id, held_at, expires_at, ended_at, order_id)
                VALUES ({_NO_CAUSE}, 1, now(), now(), now(), {_NO_CAUSE})""",
        set(),
    ),
    "what_waits_is_what_is_backordered": (
        "UPDATE inventory.waiting SET quantity = quantity + 1 WHERE sku_id = (SELECT min(sku_id) FROM inventory.waiting)",
        set(),
    ),
    "feeds_are_the_sums_of_their_sets": (
        """INSERT INTO inventory.feeds (feed, kind, started_at, finished_at, rows, applied)
                VALUES ('monday', 'counts', now(), now(), 2, 2);
            INSERT INTO inventory.feed_sets VALUES ('monday', 1, 1, 2, '', 2, 1, 1, '[]')""",
        set(),
    ),
    "set_aside_units_are_the_sums_of_their_moves": (
        "INSERT INTO inventory.unavailable VALUES (1, 1, 'damaged', 1)",
        set(),
    ),
    "incoming_is_received_by_its_document": (
        "INSERT INTO inventory.incoming VALUES (1, 1, 'PO-1', 5, 1, now(), now())",
        set(),
    ),
    "transfers_are_the_sums_of_their_lines": (
        f"{_TRANSFER}; UPDATE inventory.transfers SET requested = 2, cancelled = 2",
        set(),
    ),
    "transfers_moved_what_they_say": (
        f"{_TRANSFER}; UPDATE inventory.transfer_lines SET cancelled = 0, lost = 1;"
        "UPDATE inventory.transfers SET cancelled = 0, lost = 1",
        set(),
    ),
    "a_surplus_is_said": (
        f"""{_TRANSFER}; UPDATE inventory.transfer_lines SET cancelled = 0, received = 1;
            UPDATE inventory.transfers SET cancelled = 0, received = 1;
            INSERT INTO inventory.moves VALUES (1, {_NO_CAUSE}, 1, 1, 'sent', -1, 0, 0, NULL, {_NO_CAUSE}, now()),
                (1, {_NO_CAUSE}, 2, 1, 'arrived', 1, 0, 0, 'surplus', {_NO_CAUSE}, now());
            UPDATE inventory.stock SET on_hand = on_hand - 1 WHERE sku_id = 1 AND location_id = 1;
            UPDATE inventory.stock SET on_hand = on_hand + 1 WHERE sku_id = 1 AND location_id = 2""",
        set(),
    ),
    "sheets_are_the_sums_of_their_lines": (
        f"INSERT INTO inventory.count_sheets VALUES ({_NO_CAUSE}, 'plan', 1, now(), 1, 0, 0, 0)",
        set(),
    ),
    "sheets_entered_what_they_accepted": (
        f"""INSERT INTO inventory.count_sheets VALUES ({_NO_CAUSE}, 'plan', 1, now(), 1, 0, 0, 0);
            INSERT INTO inventory.count_lines VALUES ({_NO_CAUSE}, 1, 1, 'open');
            UPDATE inventory.stock SET on_hand = on_hand + 1 WHERE sku_id = 1 AND location_id = 1;
            INSERT INTO inventory.moves VALUES (1, {_NO_CAUSE}, 1, 0, 'counted', 1, 0, 0, NULL, NULL, now(), 0, NULL, {_NO_CAUSE})""",
        set(),
    ),
    "detail_sums_to_what_is_there": (
        f"""INSERT INTO inventory.detail VALUES (1, 1, '-', '', 1);
            INSERT INTO inventory.detail_moves VALUES (1, {_NO_CAUSE}, 1, 0, 'received', '-', '', 1, NULL, now())""",
        set(),
    ),
    "detail_is_the_sum_of_its_moves": (
        "INSERT INTO inventory.detail SELECT sku_id, location_id, CASE n WHEN 1 THEN '-' ELSE '(picked)' END, '',"
        " CASE n WHEN 1 THEN on_hand - picked ELSE picked END"
        " FROM inventory.stock, generate_series(1, 2) n WHERE sku_id = 1 AND location_id = 1",
        set(),
    ),
    "serials_count_to_what_is_there": (
        "INSERT INTO inventory.serials VALUES (1, 'S-1', 'in_stock', 1)",
        set(),
    ),
    "serials_under_way_are_those_of_transfers": (
        f"INSERT INTO inventory.serials VALUES (1, 'S-1', 'in_transit', NULL, {_NO_CAUSE}, 1)",
        set(),
    ),
    "expired_units_that_orders_hold_lie_on_shelves": (
        f"""UPDATE catalog.skus SET tracking = 'lot' WHERE sku_id = 1;
            INSERT INTO inventory.detail SELECT sku_id, location_id, CASE n WHEN 1 THEN '-' ELSE '(picked)' END, 'L',
                CASE n WHEN 1 THEN on_hand - picked ELSE picked END
                FROM inventory.stock, generate_series(1, 2) n WHERE sku_id = 1;
            INSERT INTO inventory.detail_moves SELECT sku_id, {_NO_CAUSE}, location_id, 0, 'received', bin, lot, quantity, NULL, now()
                FROM inventory.detail;
            INSERT INTO inventory.shortfalls (shortfall_id, sku_id, location_id, missing, open, found_at)
                VALUES ({_NO_CAUSE}, 1, 1, 1, 1, now())""",
        set(),
    ),
    "lots_that_must_have_a_date_have_one": (
        f"""UPDATE catalog.skus SET tracking = 'lot', expiry_required = true WHERE sku_id = 1;
            INSERT INTO inventory.detail SELECT sku_id, location_id, CASE n WHEN 1 THEN '-' ELSE '(picked)' END, 'L',
                CASE n WHEN 1 THEN on_hand - picked ELSE picked END
                FROM inventory.stock, generate_series(1, 2) n WHERE sku_id = 1;
            INSERT INTO inventory.detail_moves SELECT sku_id, {_NO_CAUSE}, location_id, 0, 'received', bin, lot, quantity, NULL, now()
                FROM inventory.detail""",
        set(),
    ),
    "missing_units_are_in_one_state": (
        f"INSERT INTO inventory.shortfalls VALUES ({_NO_CAUSE}, 1, 1, 1, 0, 1, 0, NULL, now())",
        set(),
    ),
    "no_more_is_missing_than_is_promised": (
        f"INSERT INTO inventory.shortfalls VALUES ({_NO_CAUSE}, 1, 1, 9999999999, 9999999999, 0, 0, NULL, now())",
        set(),
    ),
    "every_unit_is_in_one_state": (
        f"""ALTER TABLE orders.lines DROP CONSTRAINT dem_2_no_state_holds_less_than_nothing;
            ALTER TABLE orders.orders DROP CONSTRAINT no_state_holds_less_than_nothing;
            INSERT INTO orders.moves VALUES ({_of("backordered")}, {_NO_CAUSE}, 1, 'backordered', 'cancelled', 5, 'wrong', now());
            UPDATE orders.lines SET backordered = backordered - 5, cancelled = cancelled + 5
                WHERE order_id = {_of("backordered")} AND line_no = 1;
            UPDATE orders.orders SET backordered = backordered - 5, cancelled = cancelled + 5 WHERE order_id = {_of("backordered")}""",
        {
            "order_statuses_follow_from_units",
            "what_waits_is_what_is_backordered",
            "money_follows_the_units",
            "the_money_of_lines_is_the_sum_of_its_moves",
        },
    ),
    "units_leave_states_by_their_exits": (
        f"""ALTER TABLE orders.moves DROP CONSTRAINT exits;
            DELETE FROM orders.moves WHERE order_id = {_of("packed")} AND line_no = 1 AND to_state = 'picked';
            UPDATE orders.moves SET from_state = 'allocated' WHERE order_id = {_of("packed")} AND line_no = 1 AND to_state = 'packed'""",
        {"allocations_know_what_was_picked"},
    ),
    "lines_are_the_sums_of_their_moves": (
        f"UPDATE orders.moves SET quantity = quantity + 1 WHERE order_id = {_of('backordered')} AND line_no = 1",
        set(),
    ),
    "orders_are_the_sums_of_their_lines": (
        f"UPDATE orders.orders SET backordered = backordered - 1, cancelled = cancelled + 1 WHERE order_id = {_of('backordered')}",
        set(),
    ),
    "order_statuses_follow_from_units": (
        f"""ALTER TABLE orders.orders ALTER COLUMN status DROP EXPRESSION;
            UPDATE orders.orders SET status = 'shipped' WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "order_keys_lead_to_their_orders": (
        f"UPDATE orders.order_keys SET external_id = 'elsewhere' WHERE order_id = {_of('allocated')}",
        set(),
    ),
    "every_order_was_placed": (
        f"DELETE FROM core.events WHERE subject_id = {_of('allocated')} AND kind = 'order_placed'",
        {"sets_have_their_events"},
    ),
    "allocations_hold_what_is_allocated": (
        f"""UPDATE orders.allocations SET sku_id = sku_id + 1 WHERE order_id = {_of("allocated")} AND line_no = 1""",
        {"what_is_reserved_is_what_is_ordered"},
    ),
    "capacity_is_what_orders_claim": (
        "INSERT INTO network.capacity (location_id, ship_on, held_orders, held_units) VALUES (1, '2026-01-01', 1, 1)",
        set(),
    ),
    "allocations_know_what_was_picked": (
        f"""UPDATE orders.allocations SET picked = picked + 1 WHERE order_id = {_of("allocated")} AND line_no = 1""",
        set(),
    ),
    "claims_are_of_allocated_units": (
        f"""INSERT INTO orders.capacity_claims VALUES ({_of("allocated")}, 1, '2026-01-01', 1000);
            INSERT INTO network.capacity (location_id, ship_on, held_orders, held_units) VALUES (1, '2026-01-01', 1, 1000)""",
        set(),
    ),
    "exceptions_have_tries_behind_them": (
        f"""INSERT INTO orders.exceptions (order_id, exception_id, kind, line_no, detail, at)
            VALUES ({_of("allocated")}, {_NO_CAUSE}, 'not_sourced', 1, '', now())""",
        set(),
    ),
    "work_exceptions_name_their_work": (
        f"""INSERT INTO orders.exceptions (order_id, exception_id, kind, detail, at, fulfillment_order_id, location_id)
            SELECT order_id, {_NO_CAUSE}, 'location_closed', '', now(), fulfillment_order_id, location_id + 1
            FROM warehouse.fulfillment_orders WHERE order_id = {_of("released")} LIMIT 1""",
        set(),
    ),
    "releases_wait_for_units_that_are_kept": (
        f"""ALTER TABLE orders.allocations DROP CONSTRAINT a_release_waits_only_for_units_that_are_kept;
            UPDATE orders.allocations SET release_wanted_at = now() WHERE order_id = {_of("allocated")}""",
        set(),
    ),
    "dropped_amounts_are_those_of_dropped_lines": (
        f"UPDATE orders.orders SET dropped_minor = 1 WHERE order_id = {_of('allocated')}",
        {"every_order_has_its_payment"},
    ),
    "an_order_costs_what_its_lines_cost": (
        f"UPDATE orders.orders SET total_minor = total_minor + 1 WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "every_order_has_its_payment": (
        f"UPDATE orders.payments SET currency = 'USD' WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "tokens_are_kept_until_the_money_is_authorized": (
        f"INSERT INTO orders.payment_tokens VALUES ({_of('delivered')}, 'tok')",
        set(),
    ),
    "what_was_taken_over_was_authorized": (
        f"""DELETE FROM orders.payment_moves WHERE order_id = {_of("allocated")};
            UPDATE orders.payments SET authorized_minor = 0, taken_over = true WHERE order_id = {_of("allocated")}""",
        set(),
    ),
    "payments_keep_within_their_bounds": (
        f"""ALTER TABLE orders.payments DROP CONSTRAINT mon_1_never_capture_more_than_authorized;
            UPDATE orders.payments SET voided_minor = 1 WHERE order_id = {_of("delivered")};
            INSERT INTO orders.payment_moves VALUES ({_of("delivered")}, {_NO_CAUSE}, 'voided', 1, NULL, now())""",
        {"payments_follow_from_lines_and_shipping"},
    ),
    "payments_are_the_sums_of_their_moves": (
        f"UPDATE orders.payment_moves SET amount_minor = amount_minor - 1 WHERE order_id = {_of('delivered')} AND kind = 'captured'",
        set(),
    ),
    "payments_follow_from_lines_and_shipping": (
        f"""UPDATE orders.payments SET captured_minor = 1 WHERE order_id = {_of("packed")};
            INSERT INTO orders.payment_moves VALUES ({_of("packed")}, {_NO_CAUSE}, 'captured', 1, NULL, now())""",
        set(),
    ),
    "the_money_of_lines_is_the_sum_of_its_moves": (
        f"UPDATE orders.moves SET refund_minor = refund_minor - 1 WHERE order_id = {_of('returned')} AND line_no = 1",
        set(),
    ),
    "money_follows_the_units": (
        f"""UPDATE orders.lines SET void_units = 0 WHERE order_id = {_of("cancelled")} AND line_no = 1;
            UPDATE orders.moves SET paid_units = quantity WHERE order_id = {_of("cancelled")} AND line_no = 1 AND to_state = 'cancelled';
            UPDATE orders.lines SET charged_units = ordered, refunded_units = 0, void_minor = 0
                WHERE order_id = {_of("cancelled")} AND line_no = 1""",
        {
            "the_money_of_lines_is_the_sum_of_its_moves",
            "nothing_stays_behind",
            "payments_follow_from_lines_and_shipping",
        },
    ),
    "parts_that_are_back_are_counted": (
        f"""UPDATE orders.lines SET parts_per_unit = 2, parts_back = 1 WHERE order_id = {_of("delivered")} AND line_no = 1""",
        set(),
    ),
    "nothing_stays_behind": (
        f"""UPDATE orders.lines SET refunded_minor = refunded_minor - ordered WHERE order_id = {_of("returned")} AND line_no = 1;
            UPDATE orders.moves SET refund_minor = refund_minor - quantity
                WHERE order_id = {_of("returned")} AND line_no = 1 AND to_state = 'returned';
            UPDATE aftercare.return_lines SET refund_minor = 0 WHERE order_id = {_of("returned")} AND line_no = 1;
            UPDATE orders.payment_moves SET amount_minor = payment_moves.amount_minor - l.ordered FROM orders.lines l
                WHERE l.order_id = {_of("returned")} AND l.line_no = 1 AND payment_moves.order_id = l.order_id AND kind = 'refunded';
            UPDATE orders.payments SET refunded_minor = payments.refunded_minor - l.ordered FROM orders.lines l
                WHERE l.order_id = {_of("returned")} AND l.line_no = 1 AND payments.order_id = l.order_id""",
        set(),
    ),
    "shipping_goes_with_the_order": (
        f"""UPDATE orders.orders SET shipping_void_minor = shipping_void_minor + 1, shipping_minor = shipping_minor + 1,
                total_minor = total_minor + 1 WHERE order_id = {_of("allocated")}""",
        set(),
    ),
    "refunds_are_what_their_parts_say": (
        f"INSERT INTO aftercare.refunds VALUES ({_of('delivered')}, {_NO_CAUSE}, 2, 0, 2, 'late', NULL, NULL, now())",
        set(),
    ),
    "payment_statuses_follow_from_amounts": (
        f"""ALTER TABLE orders.payments ALTER COLUMN status DROP EXPRESSION;
            UPDATE orders.payments SET status = 'pending' WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "every_released_unit_is_in_one_state": (
        f"""ALTER TABLE warehouse.fulfillment_lines DROP CONSTRAINT ful_1_every_unit_is_in_one_state;
            ALTER TABLE warehouse.fulfillment_orders DROP CONSTRAINT a_fulfillment_order_accounts_for_its_units;
            UPDATE warehouse.fulfillment_lines SET quantity = quantity + 1 WHERE order_id = {_of("delivered")} AND line_no = 1;
            UPDATE warehouse.fulfillment_orders SET quantity = quantity + 1 WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "fulfillment_orders_are_the_sums_of_their_lines": (
        f"UPDATE warehouse.fulfillment_orders SET shipped = shipped - 1, packed = packed + 1 WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "fulfillment_statuses_follow_from_units": (
        f"""ALTER TABLE warehouse.fulfillment_orders ALTER COLUMN status DROP EXPRESSION;
            UPDATE warehouse.fulfillment_orders SET status = 'packed' WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "released_units_are_open_in_the_warehouse": (
        f"UPDATE orders.allocations SET released = 1 WHERE order_id = {_of('allocated')} AND line_no = 1",
        set(),
    ),
    "the_warehouse_agrees_with_demand": (
        f"""UPDATE orders.moves SET to_state = 'backordered' WHERE order_id = {_of("allocated")} AND line_no = 1;
            INSERT INTO orders.moves SELECT order_id, {_NO_CAUSE}, 1, 'backordered', 'allocated', ordered, NULL, now()
                FROM orders.lines WHERE order_id = {_of("allocated")} AND line_no = 1;
            INSERT INTO orders.moves SELECT order_id, {_NO_CAUSE}, 1, 'allocated', 'picked', ordered, NULL, now()
                FROM orders.lines WHERE order_id = {_of("allocated")} AND line_no = 1;
            UPDATE orders.orders o SET allocated = o.allocated - l.allocated, picked = o.picked + l.allocated FROM orders.lines l
                WHERE o.order_id = {_of("allocated")} AND l.order_id = o.order_id AND l.line_no = 1;
            UPDATE orders.lines SET allocated = 0, picked = ordered WHERE order_id = {_of("allocated")} AND line_no = 1;
            DELETE FROM orders.allocations WHERE order_id = {_of("allocated")} AND line_no = 1""",
        {"what_is_reserved_is_what_is_ordered", "allocations_know_what_was_picked"},
    ),
    "packages_hold_what_was_packed": (
        f"UPDATE warehouse.package_lines SET quantity = quantity + 1 WHERE order_id = {_of('packed')} AND line_no = 1",
        set(),
    ),
    "shipments_carry_packages": (
        f"""INSERT INTO warehouse.shipments SELECT order_id, {_NO_CAUSE}, fulfillment_order_id, 1, 'empty', 0, 0, now(), now()
                FROM warehouse.fulfillment_orders WHERE order_id = {_of("packed")}""",
        set(),
    ),
    "parcels_are_shipments": (
        f"UPDATE warehouse.shipments SET tracking_number = 'another' WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "tracking_numbers_lead_to_their_parcels": (
        f"DELETE FROM warehouse.tracking_numbers WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "tracking_numbers_are_of_one_parcel": (
        f"""UPDATE warehouse.shipments SET tracking_number = 'shared' WHERE order_id IN ({_of("delivered")}, {_of("returned")});
            UPDATE tracking.parcels SET tracking_number = 'shared' WHERE order_id IN ({_of("delivered")}, {_of("returned")});
            UPDATE warehouse.tracking_numbers SET tracking_number = 'shared', first = order_id = {_of("delivered")},
                closed_at = NULL WHERE order_id IN ({_of("delivered")}, {_of("returned")});
            DELETE FROM orders.addresses WHERE order_id = {_of("returned")};
            INSERT INTO orders.addresses (order_id, kind, name, line1, city, postal_code, country)
                SELECT order_id, 'ship_to', 'Ada', '1 Main Street', 'Oslo', '0150', 'NO' FROM orders.orders
                WHERE order_id = {_of("returned")}""",
        set(),
    ),
    "no_more_is_received_back_than_was_sent": (
        f"""{_LOST_AND_FOUND};
            INSERT INTO tracking.receipts SELECT order_id, shipment_id, {_NO_CAUSE}, 1, 1, 0, 1000, 0, 'nothing', 0, now()
                FROM tracking.parcels WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "parcels_are_received_back_when_all_is_accounted_for": (
        f"{_LOST_AND_FOUND}; UPDATE tracking.parcels SET received_back_at = now() WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "what_came_back_was_settled": (
        f"""{_LOST_AND_FOUND};
            INSERT INTO tracking.receipts SELECT order_id, shipment_id, {_NO_CAUSE}, 1, 1, 0, 1, 0, 'refund', 0, now()
                FROM tracking.parcels WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "parcel_exceptions_name_their_parcels": (
        f"""INSERT INTO orders.exceptions (order_id, exception_id, kind, detail, at, shipment_id, units)
                SELECT order_id, {_NO_CAUSE}, 'returned_to_sender', '', now(), shipment_id, 1
                FROM tracking.parcels WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "parcel_statuses_follow_from_instants": (
        f"""ALTER TABLE tracking.parcels ALTER COLUMN status DROP EXPRESSION;
            UPDATE tracking.parcels SET status = 'lost' WHERE order_id = {_of("delivered")}""",
        set(),
    ),
    "parcels_are_late_by_what_was_told": (
        f"UPDATE tracking.parcels SET late_at = promised_at - interval '1 second' WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "work_is_due_when_the_channel_wants_it": (
        f"""UPDATE orders.orders SET ship_by_at = (SELECT min(ship_by_at) - interval '1 second'
                FROM warehouse.fulfillment_orders WHERE order_id = {_of("packed")}) WHERE order_id = {_of("packed")}""",
        set(),
    ),
    "delivered_units_arrived": (
        f"UPDATE tracking.parcels SET delivered_at = NULL, lost_at = now() WHERE order_id = {_of('delivered')}",
        set(),
    ),
    "no_more_comes_back_than_went_out": (
        f"UPDATE aftercare.return_lines SET authorized = authorized + 1 WHERE order_id = {_of('returned')} AND line_no = 1",
        set(),
    ),
    "no_more_of_a_component_comes_back_than_went_out": (
        f"""INSERT INTO aftercare.return_lines (order_id, return_id, line_no, sku_id, reason, authorized, component_sku_id)
            SELECT order_id, return_id, 1, 1, 'unwanted', 1, 2 FROM aftercare.returns WHERE order_id = {_of("returned")}""",
        set(),
    ),
    "cancelled_units_of_returns_stay_away": (
        f"""ALTER TABLE aftercare.return_lines DROP CONSTRAINT ret_1_never_take_back_more_than_authorized;
            UPDATE aftercare.return_lines SET cancelled = 1 WHERE order_id = {_of("returned")} AND line_no = 1""",
        set(),
    ),
    "no_unit_is_refunded_for_more_than_it_cost": (
        f"UPDATE aftercare.return_lines SET refund_minor = refund_minor + 1 WHERE order_id = {_of('returned')} AND line_no = 1",
        set(),
    ),
    "returned_units_came_back": (
        f"UPDATE aftercare.return_lines SET scrapped = 1, authorized = authorized + 1 WHERE order_id = {_of('returned')} AND line_no = 1",
        {"no_more_comes_back_than_went_out"},
    ),
    "restocked_units_are_in_stock": (
        f"UPDATE inventory.moves SET line_no = 3 WHERE order_id = {_of('returned')} AND line_no = 1 AND kind = 'returned'",
        set(),
    ),
    "positions_have_no_gap": ("UPDATE core.event_sets SET position = 7", set()),
    "sets_have_their_events": ("UPDATE core.event_sets SET events = events + 1", set()),
    "sets_get_their_positions": (
        f"""INSERT INTO core.events VALUES ({_NO_CAUSE}, {_NO_CAUSE}, 'stock_received', now(), '{{}}', {_NO_CAUSE}, 1);
            INSERT INTO core.event_sets (set_id, events, recorded_at) VALUES ({_NO_CAUSE}, 1, now() - interval '1 hour')""",
        set(),
    ),
    "what_is_from_before_the_log_is_read": (
        f"INSERT INTO core.events VALUES ({_NO_CAUSE}, {_NO_CAUSE}, 'stock_received', now(), '{{}}', NULL, NULL)",
        set(),
    ),
    "subscriptions_are_within_the_log": (
        "INSERT INTO core.subscriptions (name, reader, position, place, created_at) VALUES ('ahead', 'program', 7, 0, now())",
        set(),
    ),
    "what_is_kept_for_shadows_is_to_be_judged": (
        f"INSERT INTO sourcing.unjudged (unjudged_id, orders, at, format, seen) VALUES ({_NO_CAUSE}, 1, now(), 1, '')",
        set(),
    ),
    "sku_codes_lead_to_their_skus": ("UPDATE catalog.sku_codes SET code = 'renamed' WHERE sku_id = 5", set()),
    "customer_keys_lead_to_their_customers": (
        f"INSERT INTO orders.customers (customer_id, seller_id, external_id, since) VALUES ({_NO_CAUSE}, 1, 'nobody', now())",
        set(),
    ),
}


@pytest.fixture(scope="module")
async def filled_url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await fill(connection, orders=ORDERS, skus=100)
    await connection.close()
    return database_url


@pytest.fixture
async def connection(filled_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(filled_url)
    yield connection
    await connection.close()


async def test_honest_ledgers_are_clean(filled_url: str) -> None:
    async with await Database.open(filled_url, pool_size=3) as database:
        report = await verify(database)
    assert report.broken == []
    assert report.orders == ORDERS


async def test_events_that_wait_for_a_worker_are_a_notice_and_no_fault(filled_url: str) -> None:
    new = "01990000-0000-7000-8000-0000000000ff"
    async with await Database.open(filled_url, pool_size=2) as database:
        assert (await verify(database)).notices == []
        await database.pool.execute(
            f"INSERT INTO core.events VALUES ('{new}', '{new}', 'x', now(), '{{}}', '{new}', 1)"
        )
        await database.pool.execute("UPDATE core.log_head SET drained_at = now() - interval '1 hour'")
        await database.pool.execute(
            f"INSERT INTO core.event_sets (set_id, events, recorded_at) VALUES ('{new}', 1, now() - interval '2 minutes')"
        )
        report = await verify(database)
        assert report.clean
        [notice] = report.notices
        assert "1 sets of events have no place in it yet" in notice
        assert "Start `ordino work`." in notice
        await database.pool.execute(f"DELETE FROM core.events WHERE id = '{new}'")
        await database.pool.execute(f"DELETE FROM core.event_sets WHERE set_id = '{new}'")
        await database.pool.execute("UPDATE core.log_head SET drained_at = now()")


async def test_one_connection_is_enough(filled_url: str) -> None:
    async with await Database.open(filled_url, pool_size=1) as database:
        assert (await verify(database)).clean


def test_every_check_is_seen_to_find_something() -> None:
    assert set(CORRUPTIONS) == {check.name for check in CHECKS}


@pytest.mark.parametrize("name", CORRUPTIONS)
async def test_a_broken_row_is_named_by_its_check_alone(connection: Any, name: str) -> None:
    statements, others = CORRUPTIONS[name]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET LOCAL session_replication_role = replica")  # foreign keys look away
        await connection.execute(statements)
        broken = {finding.name: finding for finding in await examine(connection) if not finding.holds}
    finally:
        await transaction.rollback()
    assert set(broken) == {name} | others
    assert 1 <= len(broken[name].rows) == broken[name].count <= 2


async def test_only_so_many_rows_are_named_and_all_are_counted(connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("UPDATE orders.orders SET total_minor = total_minor + 1")
        findings = await examine(connection, rows=7)
    finally:
        await transaction.rollback()
    [finding] = [finding for finding in findings if not finding.holds]
    assert finding.name == "an_order_costs_what_its_lines_cost"
    assert (len(finding.rows), finding.count) == (7, ORDERS)


async def test_a_number_beyond_all_reason_is_a_finding(connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            f"UPDATE orders.moves SET quantity = 1::bigint << 40 WHERE order_id = {_of('delivered')}"
        )
        findings = {finding.name: finding for finding in await examine(connection)}
    finally:
        await transaction.rollback()
    assert findings["lines_are_the_sums_of_their_moves"].error == "integer out of range"
    assert findings["stock_is_the_sum_of_its_moves"].holds


KEYS: dict[str, tuple[str, str | None]] = {
    "an unknown role": ("SET roles = '{owner}'", "owner"),
    "an unknown permission": ("SET permissions = '{stock.read,everything}'", "everything"),
    "a seller that is gone": ("SET sellers = sellers || '{closed down}'", "closed down"),
    "a location that is gone": ("SET locations = '{nowhere}'", "nowhere"),
    "nothing that it may do": ("SET permissions = '{}'", "none"),
    "a sound key": ("SET roles = '{read,write,admin}'", None),
    "a revoked key": ("SET roles = '{owner}', revoked_at = now()", None),
    "a key that has expired": ("SET roles = '{owner}', expires_at = now()", None),
    "every permission": (f"SET permissions = '{{{','.join(Permission)}}}'", None),
}


@pytest.mark.parametrize("case", KEYS)
async def test_a_key_names_what_there_is_or_is_named(connection: Any, case: str) -> None:
    changes, found = KEYS[case]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"{_KEY} {changes}")
        findings = {finding.name: finding for finding in await examine(connection)}
    finally:
        await transaction.rollback()
    assert [row["found"] for row in findings["keys_name_what_there_is"].rows] == ([] if found is None else [found])


def test_the_check_of_keys_knows_every_permission_and_role() -> None:
    [check] = [check for check in CHECKS if check.name == "keys_name_what_there_is"]
    assert set(re.findall(r"'([a-z]+\.[a-z]+)'", check.statement.text)) == set(map(str, Permission))
    assert all(f"'{role}'" in check.statement.text for role in Role)


@pytest.mark.proof
async def test_a_million_orders_are_proven_in_a_minute(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for schema in ("aftercare", "tracking", "warehouse", "orders", "inventory", "network", "catalog"):
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        named = ", ".join(f"{schema}.{row['tablename']}" for row in tables if row["tablename"] != "short_reasons")
        await connection.execute(f"TRUNCATE {named} CASCADE")
    await connection.execute("TRUNCATE core.events, core.event_sets; UPDATE core.log_head SET head = 0")
    await fill(connection, orders=1_000_000)
    await connection.close()
    async with await Database.open(database_url) as database:
        report = await verify(database)
    assert report.broken == []
    assert report.seconds <= 60
