-- name: write_fulfillment_orders
-- New fulfillment orders with their lines: everything is open.
WITH f AS (
    INSERT INTO warehouse.fulfillment_orders (order_id, fulfillment_order_id, location_id, service_id, released_at, cut_off_at,
        ship_by_at, promised_at, handling_cost_minor, quantity, open, picked, packed, shipped, short, cancelled, handling_currency)
    SELECT order_id, fulfillment_order_id, location_id, service_id, :at::timestamptz, cut_off_at, ship_by_at, promised_at,
           handling_cost, quantity, quantity, 0, 0, 0, 0, 0, handling_currency
    FROM unnest(:order_ids::uuid[], :fulfillment_order_ids::uuid[], :location_ids::int[], :service_ids::int[],
                :cut_off_ats::timestamptz[], :ship_by_ats::timestamptz[], :promised_ats::timestamptz[], :handling_costs::bigint[],
                :quantities::bigint[], :handling_currencies::text[])
        AS f (order_id, fulfillment_order_id, location_id, service_id, cut_off_at, ship_by_at, promised_at, handling_cost, quantity,
              handling_currency)
)
INSERT INTO warehouse.fulfillment_lines (order_id, fulfillment_order_id, line_no, sku_id, quantity, open, picked, packed, shipped,
    short, cancelled)
SELECT order_id, fulfillment_order_id, line_no, sku_id, quantity, quantity, 0, 0, 0, 0, 0
FROM unnest(:line_order_ids::uuid[], :line_fulfillment_order_ids::uuid[], :line_nos::int[], :line_sku_ids::int[],
            :line_quantities::bigint[]) AS l (order_id, fulfillment_order_id, line_no, sku_id, quantity);

-- name: fulfillment_lines
-- The lines of these orders' fulfillment orders with their counts.
SELECT f.order_id, f.fulfillment_order_id, f.location_id, f.service_id, f.promised_at, l.line_no, l.sku_id, l.open, l.picked,
       l.packed, l.shipped, l.short
FROM warehouse.fulfillment_orders f JOIN warehouse.fulfillment_lines l USING (order_id, fulfillment_order_id)
WHERE f.order_id = any(:order_ids::uuid[]) /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
ORDER BY f.order_id, f.fulfillment_order_id, l.line_no;

-- name: move_lines
-- Units of fulfillment orders change their state: the lines' counts and the sums of the fulfillment orders in one statement.
WITH m AS (
    SELECT * FROM unnest(:order_ids::uuid[], :fulfillment_order_ids::uuid[], :line_nos::int[], :open::bigint[], :picked::bigint[],
                         :packed::bigint[], :shipped::bigint[], :short::bigint[], :cancelled::bigint[])
        AS m (order_id, fulfillment_order_id, line_no, open, picked, packed, shipped, short, cancelled)
), moved AS (
    UPDATE warehouse.fulfillment_lines l
    SET open = l.open + m.open, picked = l.picked + m.picked, packed = l.packed + m.packed, shipped = l.shipped + m.shipped,
        short = l.short + m.short, cancelled = l.cancelled + m.cancelled
    FROM m
    WHERE l.order_id = m.order_id AND l.fulfillment_order_id = m.fulfillment_order_id AND l.line_no = m.line_no
      /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
), d AS (
    SELECT order_id, fulfillment_order_id, sum(open)::bigint AS open, sum(picked)::bigint AS picked, sum(packed)::bigint AS packed,
           sum(shipped)::bigint AS shipped, sum(short)::bigint AS short, sum(cancelled)::bigint AS cancelled
    FROM m GROUP BY order_id, fulfillment_order_id
), w AS (
    SELECT * FROM unnest(:worked_order_ids::uuid[], :worked_fulfillment_order_ids::uuid[], :labor_seconds::bigint[])
        AS w (order_id, fulfillment_order_id, labor_seconds)
)
UPDATE warehouse.fulfillment_orders f
SET open = f.open + d.open, picked = f.picked + d.picked, packed = f.packed + d.packed, shipped = f.shipped + d.shipped,
    short = f.short + d.short, cancelled = f.cancelled + d.cancelled, labor_seconds = f.labor_seconds + w.labor_seconds,
    picked_at = coalesce(:picked_at::timestamptz, f.picked_at), packed_at = coalesce(:packed_at::timestamptz, f.packed_at),
    shipped_at = coalesce(:shipped_at::timestamptz, f.shipped_at)
FROM d JOIN w USING (order_id, fulfillment_order_id)
WHERE f.order_id = d.order_id AND f.fulfillment_order_id = d.fulfillment_order_id
  /* on shards: AND f.order_id = any(:order_ids::uuid[]) */
RETURNING f.order_id, f.fulfillment_order_id, f.status;

-- name: work_at_closed_locations
-- Open work that lies where its channel has nothing open and that nobody was told of; ``open_*`` are the pairs of locations and
-- channels that are open.
SELECT f.order_id, f.fulfillment_order_id, f.location_id, o.channel_id
FROM warehouse.fulfillment_orders f JOIN orders.orders o USING (order_id)
LEFT JOIN unnest(:open_location_ids::int[], :open_channel_ids::int[]) AS p (location_id, channel_id)
       ON p.location_id = f.location_id AND p.channel_id = o.channel_id
LEFT JOIN orders.exceptions x ON x.order_id = f.order_id AND x.fulfillment_order_id = f.fulfillment_order_id
                             AND (x.resolved_at IS NULL OR x.resolution = 'close')
WHERE f.location_id = any(:location_ids::int[]) AND f.status IN ('released', 'picking') AND p.location_id IS NULL AND x.order_id IS NULL
ORDER BY f.order_id, f.fulfillment_order_id LIMIT :limit::int;

-- name: open_work
-- How many units of these fulfillment orders are open.
SELECT f.order_id, f.fulfillment_order_id, f.open
FROM unnest(:order_ids::uuid[], :fulfillment_order_ids::uuid[]) AS w (order_id, fulfillment_order_id)
JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
/* on shards: WHERE f.order_id = any(:order_ids::uuid[]) */;

-- name: told_closed
-- The open exceptions of work at closed locations, and what is left of the work.
SELECT x.order_id, x.exception_id, x.location_id, o.channel_id, f.open
FROM orders.exceptions x
JOIN orders.orders o ON o.order_id = x.order_id
JOIN warehouse.fulfillment_orders f ON f.order_id = x.order_id AND f.fulfillment_order_id = x.fulfillment_order_id
WHERE x.kind = 'location_closed' AND x.resolved_at IS NULL ORDER BY x.order_id LIMIT :limit::int;

-- name: short_reasons
-- Why units can be short, and what that says of the stock.
SELECT code, sentence, stock_effect, excludes_location FROM warehouse.short_reasons ORDER BY code;

-- name: write_short_reasons
-- A row comes back if it is new or differed.
INSERT INTO warehouse.short_reasons AS r (code, sentence, stock_effect, excludes_location)
SELECT * FROM unnest(:codes::text[], :sentences::text[], :stock_effects::text[], :excludes::boolean[])
    AS w (code, sentence, stock_effect, excludes_location)
ORDER BY w.code
ON CONFLICT (code) DO UPDATE
SET sentence = excluded.sentence, stock_effect = excluded.stock_effect, excludes_location = excluded.excludes_location
WHERE r.* IS DISTINCT FROM excluded.*
RETURNING r.code, r.xmax = 0 AS new;

-- name: sku_weights
-- What a unit of each SKU weighs.
SELECT sku_id, weight_grams FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]);

-- name: write_packages
-- New packages with what they hold.
WITH p AS (
    INSERT INTO warehouse.packages (order_id, package_id, fulfillment_order_id, carton, weight_grams, packed_at)
    SELECT p.*, :at::timestamptz
    FROM unnest(:order_ids::uuid[], :package_ids::uuid[], :fulfillment_order_ids::uuid[], :cartons::text[], :weights::bigint[]) AS p
)
INSERT INTO warehouse.package_lines (order_id, package_id, line_no, quantity)
SELECT * FROM unnest(:line_order_ids::uuid[], :line_package_ids::uuid[], :line_nos::int[], :quantities::bigint[]);

-- name: waiting_packages
-- Packages of these orders that did not leave yet, with what they hold, oldest first.
SELECT p.order_id, p.fulfillment_order_id, p.package_id, p.weight_grams, l.line_no, l.quantity
FROM warehouse.packages p JOIN warehouse.package_lines l USING (order_id, package_id)
WHERE p.order_id = any(:order_ids::uuid[]) AND p.shipment_id IS NULL AND l.quantity > 0
  /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
ORDER BY p.order_id, p.package_id, l.line_no;

-- name: known_packages
-- Where packages stand that cannot be shipped now.
SELECT p.order_id, p.fulfillment_order_id, p.package_id, p.shipment_id
FROM unnest(:order_ids::uuid[], :package_ids::uuid[]) AS w (order_id, package_id)
JOIN warehouse.packages p USING (order_id, package_id) /* on shards: WHERE p.order_id = any(:order_ids::uuid[]) */;

-- name: write_shipments
-- Shipments leave with their packages.
WITH s AS (
    INSERT INTO warehouse.shipments (order_id, shipment_id, fulfillment_order_id, service_id, tracking_number, cost_minor,
        weight_grams, promised_at, cost_currency, shipped_at)
    SELECT s.*, :at::timestamptz
    FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :fulfillment_order_ids::uuid[], :service_ids::int[],
                :tracking_numbers::text[], :costs::bigint[], :weights::bigint[], :promised_ats::timestamptz[],
                :cost_currencies::text[]) AS s
)
UPDATE warehouse.packages p SET shipment_id = l.shipment_id
FROM unnest(:package_order_ids::uuid[], :package_ids::uuid[], :package_shipment_ids::uuid[]) AS l (order_id, package_id, shipment_id)
WHERE p.order_id = l.order_id AND p.package_id = l.package_id
  /* on shards: AND p.order_id = any(:package_order_ids::uuid[]) */;

-- name: number_owners
-- Who was first under these tracking numbers, and since when each is closed.
SELECT tracking_number, order_id, shipment_id, closed_at FROM warehouse.tracking_numbers
WHERE tracking_number = any(:tracking_numbers::text[]) AND first;

-- name: services_of_shipments
-- By which service these shipments went.
SELECT s.shipment_id, s.service_id
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN warehouse.shipments s USING (order_id, shipment_id) /* on shards: WHERE s.order_id = any(:order_ids::uuid[]) */;

-- name: full_destinations
-- Where these orders go, to the door.
SELECT order_id, country, postal_code, city, line1, line2, name FROM orders.addresses
WHERE order_id = any(:order_ids::uuid[]) AND kind = 'ship_to';

-- name: claim_numbers
-- Tracking numbers are taken, in their order; one that does not come back was taken by somebody else meanwhile.
INSERT INTO warehouse.tracking_numbers (tracking_number, shipment_id, order_id, first)
SELECT tracking_number, shipment_id, order_id, true
FROM unnest(:tracking_numbers::text[], :shipment_ids::uuid[], :order_ids::uuid[]) AS n (tracking_number, shipment_id, order_id)
ORDER BY tracking_number
ON CONFLICT DO NOTHING
RETURNING tracking_number, shipment_id;

-- name: hold_numbers
-- Nobody closes these tracking numbers until this transaction ends; those that are open come back.
SELECT tracking_number FROM warehouse.tracking_numbers
WHERE tracking_number = any(:tracking_numbers::text[]) AND first AND closed_at IS NULL
ORDER BY tracking_number FOR NO KEY UPDATE;

-- name: join_numbers
-- Further shipments go in parcels that have their numbers already.
INSERT INTO warehouse.tracking_numbers (tracking_number, shipment_id, order_id, first)
SELECT tracking_number, shipment_id, order_id, false
FROM unnest(:tracking_numbers::text[], :shipment_ids::uuid[], :order_ids::uuid[]) AS n (tracking_number, shipment_id, order_id);

-- name: close_numbers
-- No further shipment goes under these tracking numbers.
WITH held AS (
    SELECT tracking_number FROM warehouse.tracking_numbers
    WHERE tracking_number = any(:tracking_numbers::text[]) AND first AND closed_at IS NULL
    ORDER BY tracking_number FOR NO KEY UPDATE
)
UPDATE warehouse.tracking_numbers n SET closed_at = :at::timestamptz FROM held h
WHERE n.tracking_number = h.tracking_number AND n.first /* on shards: AND n.tracking_number = any(:tracking_numbers::text[]) */;

-- name: numbered
-- Which of these shipments are known under their tracking numbers.
SELECT n.shipment_id FROM unnest(:tracking_numbers::text[], :shipment_ids::uuid[]) AS w (tracking_number, shipment_id)
JOIN warehouse.tracking_numbers n USING (tracking_number, shipment_id)
/* on shards: WHERE n.tracking_number = any(:tracking_numbers::text[]) */;

-- name: destinations
-- Where these orders go.
SELECT order_id, country, postal_code FROM orders.addresses
WHERE order_id = any(:order_ids::uuid[]) AND kind = 'ship_to';

-- name: unpack
-- Units are taken out of packages that did not leave.
UPDATE warehouse.package_lines l SET quantity = l.quantity - u.quantity
FROM unnest(:order_ids::uuid[], :package_ids::uuid[], :line_nos::int[], :quantities::bigint[]) AS u (order_id, package_id, line_no, quantity)
WHERE l.order_id = u.order_id AND l.package_id = u.package_id AND l.line_no = u.line_no
  /* on shards: AND l.order_id = any(:order_ids::uuid[]) */;

-- reading ------------------------------------------------------------------------------------------------------------------

-- name: work_queue
-- What a location has to do, most urgent first, a page at a time.
SELECT order_id, fulfillment_order_id, service_id, status, released_at, coalesce(cut_off_at, ship_by_at) AS cut_off_at, ship_by_at,
       promised_at AS planned_at, quantity, open, picked, packed, shipped
FROM warehouse.fulfillment_orders
WHERE location_id = :location_id::int AND status IN ('released', 'picking', 'picked', 'packed')
  AND (:status::text IS NULL OR status = :status::text)
  AND (:after_at::timestamptz IS NULL
       OR (coalesce(cut_off_at, ship_by_at), fulfillment_order_id) > (:after_at::timestamptz, :after_id::uuid))
  AND (:sellers::text[] IS NULL OR order_id IN (
      SELECT o.order_id FROM orders.orders o JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
      WHERE s.code = any(:sellers::text[])))
ORDER BY coalesce(cut_off_at, ship_by_at), fulfillment_order_id LIMIT :limit::int;

-- name: fulfillment_orders
-- All fulfillment orders of one order, or one of them.
SELECT order_id, fulfillment_order_id, location_id, service_id, status, released_at, coalesce(cut_off_at, ship_by_at) AS cut_off_at,
       ship_by_at, promised_at AS planned_at, picked_at, packed_at, shipped_at, labor_seconds, handling_cost_minor,
       coalesce(handling_currency, (SELECT o.currency FROM orders.orders o WHERE o.order_id = :order_id::uuid)) AS handling_currency,
       quantity, open, picked, packed, shipped, short, cancelled
FROM warehouse.fulfillment_orders
WHERE order_id = :order_id::uuid
  AND (:fulfillment_order_id::uuid IS NULL OR fulfillment_order_id = :fulfillment_order_id::uuid)
ORDER BY fulfillment_order_id;

-- name: lines_of_order
-- The lines of an order's fulfillment orders, with the codes of their SKUs.
SELECT l.fulfillment_order_id, l.line_no, s.code AS sku, s.name, s.gtin, l.quantity, l.open, l.picked, l.packed, l.shipped,
       l.short, l.cancelled
FROM warehouse.fulfillment_lines l JOIN catalog.skus s USING (sku_id)
WHERE l.order_id = :order_id::uuid ORDER BY l.fulfillment_order_id, l.line_no;

-- name: packages_of_order
-- The packages of an order with what they hold.
SELECT p.fulfillment_order_id, p.package_id, p.carton, p.weight_grams, p.shipment_id, p.packed_at,
       array_agg(l.line_no ORDER BY l.line_no) FILTER (WHERE l.quantity > 0) AS line_nos,
       array_agg(l.quantity ORDER BY l.line_no) FILTER (WHERE l.quantity > 0) AS quantities
FROM warehouse.packages p LEFT JOIN warehouse.package_lines l USING (order_id, package_id)
WHERE p.order_id = :order_id::uuid GROUP BY p.order_id, p.package_id ORDER BY p.package_id;

-- name: shipments_of_order
-- The shipments of an order.
SELECT fulfillment_order_id, shipment_id, service_id, tracking_number, cost_minor, weight_grams, shipped_at, promised_at AS planned_at,
       coalesce(cost_currency, (SELECT o.currency FROM orders.orders o WHERE o.order_id = :order_id::uuid)) AS cost_currency
FROM warehouse.shipments WHERE order_id = :order_id::uuid ORDER BY shipment_id;

-- name: open_work_at
-- Units of a SKU, or of kits that need it, which a location is still to pick, the last placed order first.
SELECT l.order_id, l.fulfillment_order_id, l.line_no, l.open
FROM inventory.reservations r
JOIN warehouse.fulfillment_lines l ON l.order_id = r.order_id AND l.line_no = r.line_no
JOIN warehouse.fulfillment_orders f ON f.order_id = l.order_id AND f.fulfillment_order_id = l.fulfillment_order_id
WHERE r.sku_id = :sku_id::int AND r.location_id = :location_id::int AND r.expires_at IS NULL AND f.location_id = :location_id::int
  AND l.open > 0
ORDER BY l.order_id DESC, l.line_no DESC;

-- name: places_of_fulfillment_orders
-- At which locations these are worked on.
SELECT f.order_id, f.fulfillment_order_id, l.code AS location
FROM warehouse.fulfillment_orders f JOIN network.locations l USING (location_id)
WHERE f.order_id = any(:order_ids::uuid[]) AND f.fulfillment_order_id = any(:fulfillment_order_ids::uuid[]);
