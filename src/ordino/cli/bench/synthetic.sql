-- A database full of orders whose ledgers are honest, made by the database itself: what ``verify`` is measured on.
-- Of every twenty orders of two lines: fourteen delivered, one returned, one allocated, one released, one packed, one
-- cancelled, one backordered.

-- name: world
-- One channel, its SKUs, 10 locations.
WITH seller AS (
    INSERT INTO catalog.sellers (seller_id, code, name, currency, locale, return_window_days)
    VALUES (1, 'synthetic', 'Synthetic', 'EUR', 'en', 30)
), channel AS (
    INSERT INTO catalog.channels (channel_id, code, name, seller_id, short_policy) VALUES (1, 'synthetic', 'Synthetic', 1, 'backorder')
), codes AS (
    INSERT INTO catalog.sku_codes (code, sku_id) SELECT 'S' || n, n FROM generate_series(1, :skus::bigint) n
), skus AS (
    INSERT INTO catalog.skus (sku_id, code, name, weight_grams, length_mm, width_mm, height_mm, unit_scale, backorderable)
    SELECT n, 'S' || n, 'Synthetic ' || n, 500, 100, 100, 100, 0, true FROM generate_series(1, :skus::bigint) n
)
INSERT INTO network.locations (location_id, code, name, type, country, postal_code, latitude, longitude, timezone, working_days,
                               cut_off, handling_cost_minor, serves_countries)
SELECT n, 'L' || n, 'Location ' || n, 'warehouse', 'DE', '10115', 52.5, 13.4, 'Europe/Berlin', '{1,2,3,4,5}', '14:00', 100, '{DE}'
FROM generate_series(1, 10) n;

-- name: draw
-- Every line of every order, and what became of it: the tables are filled from here.
CREATE TEMPORARY TABLE drawn AS
SELECT ('01980000' || '-' || lpad(to_hex(n >> 16), 4, '0') || '-7' || lpad(to_hex(n >> 4 & 4095), 3, '0') || '-8000-'
            || lpad(to_hex(n), 12, '0'))::uuid AS order_id,
       lpad(to_hex(n), 10, '0') AS tail,
       n::int AS n, line_no, (n * 7919 + line_no * 4999) % :skus::bigint + 1 AS sku_id, n % 10 + 1 AS location_id,
       n % 3 + 1 AS quantity, (n % 3 + 1) * 1999::bigint AS amount_minor,
       timestamptz '2026-01-01 00:00Z' + n * interval '2 seconds' AS placed_at,
       CASE WHEN n % 20 < 14 THEN 'delivered'
            ELSE ('{returned,allocated,released,packed,cancelled,backordered}'::text[])[n % 20 - 13] END AS fate
FROM generate_series(1, :orders::bigint) n, generate_series(1, 2) line_no;

-- name: ways
-- The steps that lead to each fate, with the moves of demand and stock that each of them makes.
CREATE TEMPORARY TABLE ways AS
SELECT fate, step, from_state, to_state, stock_kind, on_hand, reserved, picked FROM (VALUES
    (1, 'ordered', 'allocated', 'reserved', 0, 1, 0, '{delivered,returned,allocated,released,packed,cancelled}'::text[]),
    (1, 'ordered', 'backordered', NULL, 0, 0, 0, '{backordered}'),
    (2, 'allocated', 'cancelled', 'released', 0, -1, 0, '{cancelled}'),
    (2, 'allocated', 'picked', 'picked', 0, 0, 1, '{delivered,returned,packed}'),
    (3, 'picked', 'packed', NULL, 0, 0, 0, '{delivered,returned,packed}'),
    (4, 'packed', 'shipped', 'shipped', -1, -1, -1, '{delivered,returned}'),
    (5, 'shipped', 'delivered', NULL, 0, 0, 0, '{delivered,returned}'),
    (6, 'delivered', 'returned', 'returned', 1, 0, 0, '{returned}')
) AS way (step, from_state, to_state, stock_kind, on_hand, reserved, picked, fates), unnest(fates) AS fate;

-- name: orders
-- The orders as their lines have them.
INSERT INTO orders.orders (order_id, channel_id, external_id, flow_version, currency, shipping_minor, tax_minor, discount_minor,
                           total_minor, placed_at, promised_at, ordered, backordered, allocated, picked, packed, shipped,
                           delivered, returned, cancelled, shipping_charged_minor, shipping_void_minor)
SELECT order_id, 1, 'S' || n, 1, 'EUR', 500, 0, 0, 2 * amount_minor + 500, placed_at, placed_at + interval '3 days', 2 * quantity,
       CASE fate WHEN 'backordered' THEN 2 * quantity ELSE 0 END,
       CASE WHEN fate IN ('allocated', 'released') THEN 2 * quantity ELSE 0 END, 0,
       CASE fate WHEN 'packed' THEN 2 * quantity ELSE 0 END, 0,
       CASE fate WHEN 'delivered' THEN 2 * quantity ELSE 0 END,
       CASE fate WHEN 'returned' THEN 2 * quantity ELSE 0 END,
       CASE fate WHEN 'cancelled' THEN 2 * quantity ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN 500 ELSE 0 END, CASE fate WHEN 'cancelled' THEN 500 ELSE 0 END
FROM drawn WHERE line_no = 1;

-- name: order_keys
-- The look-up by the channel's own id.
INSERT INTO orders.order_keys (channel_id, external_id, order_id, digest)
SELECT 1, 'S' || n, order_id, '\x00' FROM drawn WHERE line_no = 1;

-- name: addresses
-- Where each order goes.
INSERT INTO orders.addresses (order_id, kind, name, line1, city, postal_code, country)
SELECT order_id, 'ship_to', 'Somebody', 'Somewhere 1', 'Berlin', '10115', 'DE' FROM drawn WHERE line_no = 1;

-- name: lines
-- Every unit in one state.
INSERT INTO orders.lines (order_id, line_no, sku_id, ordered, unit_price_minor, amount_minor, backordered, allocated, picked, packed,
                          shipped, delivered, returned, cancelled, charged_units, charged_minor, void_units, void_minor,
                          refunded_units, refunded_minor)
SELECT order_id, line_no, sku_id, quantity, 1999, amount_minor,
       CASE fate WHEN 'backordered' THEN quantity ELSE 0 END,
       CASE WHEN fate IN ('allocated', 'released') THEN quantity ELSE 0 END, 0,
       CASE fate WHEN 'packed' THEN quantity ELSE 0 END, 0,
       CASE fate WHEN 'delivered' THEN quantity ELSE 0 END,
       CASE fate WHEN 'returned' THEN quantity ELSE 0 END,
       CASE fate WHEN 'cancelled' THEN quantity ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN quantity ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN amount_minor ELSE 0 END,
       CASE fate WHEN 'cancelled' THEN quantity ELSE 0 END, CASE fate WHEN 'cancelled' THEN amount_minor ELSE 0 END,
       CASE fate WHEN 'returned' THEN quantity ELSE 0 END, CASE fate WHEN 'returned' THEN amount_minor ELSE 0 END
FROM drawn;

-- name: unit_moves
-- The demand ledger: one move a step.
INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, at, paid_units, amount_minor, refund_minor)
SELECT order_id, ('01980000-0000-7000-8' || lpad(step::text, 3, '0') || '-00' || tail)::uuid, line_no, from_state, to_state, quantity,
       placed_at + step * interval '5 hours', CASE to_state WHEN 'returned' THEN quantity WHEN 'shipped' THEN 0 WHEN 'cancelled' THEN 0 END,
       CASE to_state WHEN 'returned' THEN 0 WHEN 'shipped' THEN amount_minor WHEN 'cancelled' THEN amount_minor END,
       CASE to_state WHEN 'returned' THEN amount_minor WHEN 'shipped' THEN 0 WHEN 'cancelled' THEN 0 END
FROM drawn JOIN ways USING (fate);

-- name: events
-- One event a step, as the timeline shows them, recorded in sets of a thousand orders.
INSERT INTO core.events (subject_id, id, kind, at, data, set_id, place)
SELECT order_id, ('01980000-0000-7000-8' || lpad(step::text, 3, '0') || '-00' || tail)::uuid,
       CASE step WHEN 1 THEN 'order_placed' WHEN 2 THEN CASE fate WHEN 'cancelled' THEN 'units_cancelled' ELSE 'fulfillment_picked' END
           WHEN 3 THEN 'fulfillment_packed' WHEN 4 THEN 'shipment_shipped' WHEN 5 THEN 'shipment_delivered' ELSE 'return_received' END,
       placed_at + step * interval '5 hours', '{}', ('01980000-0000-7000-8fff-' || lpad(to_hex(n / 1000), 12, '0'))::uuid,
       row_number() OVER (PARTITION BY n / 1000 ORDER BY n, step)
FROM drawn JOIN ways USING (fate) WHERE line_no = 1;

-- name: sets
-- The sets have their positions.
INSERT INTO core.event_sets (set_id, events, position)
SELECT set_id, count(*), row_number() OVER (ORDER BY set_id) FROM core.events GROUP BY set_id;

-- name: head
-- So far the log goes.
UPDATE core.log_head SET head = (SELECT max(position) FROM core.event_sets), drained_at = clock_timestamp();

-- name: allocations
-- Units leave the row when they are picked.
INSERT INTO orders.allocations (order_id, line_no, location_id, sku_id, quantity, released, picked, service_id, ship_by_at, promised_at)
SELECT order_id, line_no, location_id, sku_id, CASE WHEN fate IN ('allocated', 'released') THEN quantity ELSE 0 END,
       CASE fate WHEN 'released' THEN quantity ELSE 0 END,
       CASE WHEN fate IN ('packed', 'delivered', 'returned') THEN quantity ELSE 0 END, 1, placed_at + interval '1 day', placed_at + interval '3 days'
FROM drawn WHERE fate <> 'backordered';

-- name: payments
-- Authorized for everything, captured for what shipped, refunded for what came back.
INSERT INTO orders.payments (order_id, provider, currency, authorized_minor, voided_minor, captured_minor, refunded_minor, due_minor)
SELECT order_id, 'manual', 'EUR', total, CASE fate WHEN 'cancelled' THEN total ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN total ELSE 0 END, CASE fate WHEN 'returned' THEN 2 * amount_minor ELSE 0 END,
       CASE fate WHEN 'cancelled' THEN 0 ELSE total END
FROM (SELECT *, 2 * amount_minor + 500 AS total FROM drawn WHERE line_no = 1) o;

-- name: payment_moves
-- The money ledger.
INSERT INTO orders.payment_moves (order_id, cause_id, kind, amount_minor, at)
SELECT order_id, ('01980000-0000-7000-8' || lpad(step::text, 3, '0') || '-00' || tail)::uuid, kind,
       2 * amount_minor + CASE kind WHEN 'refunded' THEN 0 ELSE 500 END, placed_at + step * interval '5 hours'
FROM drawn JOIN (VALUES (1, 'authorized', '{delivered,returned,allocated,released,packed,cancelled,backordered}'::text[]),
                        (2, 'voided', '{cancelled}'), (4, 'captured', '{delivered,returned}'), (6, 'refunded', '{returned}'))
    AS paid (step, kind, fates) ON fate = any(fates)
WHERE line_no = 1;

-- name: fulfillment_orders
-- What was released.
INSERT INTO warehouse.fulfillment_orders (order_id, fulfillment_order_id, location_id, service_id, released_at, ship_by_at, promised_at,
                                          picked_at, packed_at, shipped_at, handling_cost_minor, quantity, open, picked, packed,
                                          shipped, short, cancelled)
SELECT order_id, ('01980000-0000-7000-9000-00' || tail)::uuid, location_id, 1, placed_at + interval '1 hour', placed_at + interval '1 day',
       placed_at + interval '3 days', CASE WHEN fate <> 'released' THEN placed_at + interval '10 hours' END,
       CASE WHEN fate <> 'released' THEN placed_at + interval '15 hours' END,
       CASE WHEN fate IN ('delivered', 'returned') THEN placed_at + interval '20 hours' END, 100, 2 * quantity,
       CASE fate WHEN 'released' THEN 2 * quantity ELSE 0 END, 0, CASE fate WHEN 'packed' THEN 2 * quantity ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN 2 * quantity ELSE 0 END, 0, 0
FROM drawn WHERE line_no = 1 AND fate IN ('delivered', 'returned', 'released', 'packed');

-- name: fulfillment_lines
-- Its lines.
INSERT INTO warehouse.fulfillment_lines (order_id, fulfillment_order_id, line_no, sku_id, quantity, open, picked, packed, shipped, short,
                                         cancelled)
SELECT order_id, ('01980000-0000-7000-9000-00' || tail)::uuid, line_no, sku_id, quantity,
       CASE fate WHEN 'released' THEN quantity ELSE 0 END, 0, CASE fate WHEN 'packed' THEN quantity ELSE 0 END,
       CASE WHEN fate IN ('delivered', 'returned') THEN quantity ELSE 0 END, 0, 0
FROM drawn WHERE fate IN ('delivered', 'returned', 'released', 'packed');

-- name: shipments
-- One a fulfillment order that left.
INSERT INTO warehouse.shipments (order_id, shipment_id, fulfillment_order_id, service_id, tracking_number, cost_minor, weight_grams,
                                 shipped_at, promised_at)
SELECT order_id, ('01980000-0000-7000-a000-00' || tail)::uuid, ('01980000-0000-7000-9000-00' || tail)::uuid, 1, 'T' || n, 450,
       1000 * quantity, placed_at + interval '20 hours', placed_at + interval '3 days'
FROM drawn WHERE line_no = 1 AND fate IN ('delivered', 'returned');

-- name: packages
-- One a fulfillment order that was packed.
INSERT INTO warehouse.packages (order_id, package_id, fulfillment_order_id, weight_grams, shipment_id, packed_at)
SELECT order_id, ('01980000-0000-7000-b000-00' || tail)::uuid, ('01980000-0000-7000-9000-00' || tail)::uuid, 1000 * quantity,
       CASE WHEN fate <> 'packed' THEN ('01980000-0000-7000-a000-00' || tail)::uuid END, placed_at + interval '15 hours'
FROM drawn WHERE line_no = 1 AND fate IN ('delivered', 'returned', 'packed');

-- name: package_lines
-- What is inside.
INSERT INTO warehouse.package_lines (order_id, package_id, line_no, quantity)
SELECT order_id, ('01980000-0000-7000-b000-00' || tail)::uuid, line_no, quantity
FROM drawn WHERE fate IN ('delivered', 'returned', 'packed');

-- name: claimed_numbers
-- Whose tracking number it is. The parcels have arrived.
INSERT INTO warehouse.tracking_numbers (tracking_number, shipment_id, order_id, first, closed_at)
SELECT 'T' || n, ('01980000-0000-7000-a000-00' || tail)::uuid, order_id, true, placed_at + interval '25 hours'
FROM drawn WHERE line_no = 1 AND fate IN ('delivered', 'returned');

-- name: parcels
-- Every shipment arrived.
INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, delivered_at)
SELECT order_id, ('01980000-0000-7000-a000-00' || tail)::uuid, 'T' || n, placed_at + interval '3 days', placed_at + interval '3 days',
       placed_at + interval '20 hours', placed_at + interval '25 hours'
FROM drawn WHERE line_no = 1 AND fate IN ('delivered', 'returned');

-- name: returns
-- What came back.
INSERT INTO aftercare.returns (order_id, return_id, authorized_at, received_at, location_id)
SELECT order_id, ('01980000-0000-7000-b100-00' || tail)::uuid, placed_at + interval '27 hours', placed_at + interval '30 hours', location_id
FROM drawn WHERE line_no = 1 AND fate = 'returned';

-- name: return_lines
-- All of it went back to the shelf.
INSERT INTO aftercare.return_lines (order_id, return_id, line_no, sku_id, reason, authorized, restocked, refund_minor)
SELECT order_id, ('01980000-0000-7000-b100-00' || tail)::uuid, line_no, sku_id, 'unwanted', quantity, quantity, amount_minor
FROM drawn WHERE fate = 'returned';

-- name: waiting
-- What waits.
INSERT INTO inventory.waiting (sku_id, channel_id, quantity, freed, offered)
SELECT l.sku_id, o.channel_id, sum(l.backordered)::bigint, 1, -1 FROM orders.lines l JOIN orders.orders o USING (order_id)
WHERE l.backordered > 0 GROUP BY l.sku_id, o.channel_id;

-- name: reservations
-- What lines still hold.
INSERT INTO inventory.reservations (sku_id, order_id, line_no, location_id, quantity)
SELECT sku_id, order_id, line_no, location_id, quantity FROM drawn WHERE fate IN ('allocated', 'released', 'packed');

-- name: receipts
-- Enough of everything everywhere.
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta, at)
SELECT sku_id, '01970000-0000-7000-8000-000000000000', location_id, 0, 'received', 100000, 0, 0, '2026-01-01'
FROM generate_series(1, :skus::bigint) sku_id, generate_series(1, 10) location_id;

-- name: stock_moves
-- The stock ledger: what the lines took and gave back.
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta, order_id, at)
SELECT sku_id, ('01980000-0000-7000-8' || lpad(step::text, 3, '0') || '-00' || tail)::uuid, location_id, line_no, stock_kind,
       on_hand * quantity, reserved * quantity, picked * quantity, order_id, placed_at + step * interval '5 hours'
FROM drawn JOIN ways USING (fate) WHERE stock_kind IS NOT NULL;

-- name: stock
-- The balances, from the lines themselves.
INSERT INTO inventory.stock (sku_id, location_id, on_hand, reserved, picked)
SELECT sku_id, location_id, 100000 - coalesce(gone, 0), coalesce(reserved, 0), coalesce(picked, 0)
FROM generate_series(1, :skus::bigint) sku_id CROSS JOIN generate_series(1, 10) location_id
LEFT JOIN (SELECT sku_id, location_id, sum(quantity) FILTER (WHERE fate = 'delivered') AS gone,
                  sum(quantity) FILTER (WHERE fate IN ('allocated', 'released', 'packed')) AS reserved,
                  sum(quantity) FILTER (WHERE fate = 'packed') AS picked
           FROM drawn GROUP BY 1, 2) taken USING (sku_id, location_id);

-- name: forget
-- The drawing is done with.
DROP TABLE drawn, ways;
