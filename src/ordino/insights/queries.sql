-- Every KPI is a fraction: its statement returns rows of (part, above, below) over :since up to, not including, :until.
-- A list of a KPI's orders counts the same ones: those with a reason why are below the line only.
-- The part is a currency or a channel where the KPI has such, and NULL otherwise.

-- name: picking_accuracy
-- Orders picked in the period, and those of them picked whole that did not come back as the wrong item.
WITH picked AS (
    SELECT order_id, sum(short) AS short FROM warehouse.fulfillment_orders
    WHERE picked_at >= :since::timestamptz AND picked_at < :until::timestamptz GROUP BY order_id
), wrong AS (
    SELECT DISTINCT order_id FROM aftercare.return_lines WHERE reason = 'wrong_item' AND authorized > cancelled
)
SELECT NULL::text AS part, count(*) FILTER (WHERE p.short = 0 AND w.order_id IS NULL)::float8 AS above, count(*)::float8 AS below
FROM picked p LEFT JOIN wrong w USING (order_id);

-- name: average_order_value
-- What orders placed in the period were accepted for; wholly cancelled orders are no sales.
SELECT currency AS part, sum(total_minor - dropped_minor)::float8 AS above, count(*)::float8 AS below
FROM orders.orders
WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz AND status <> 'cancelled' GROUP BY currency;

-- name: cost_per_order
-- Handling and carriage of the orders with something shipped in the period, by the currency of the costs: an order that costs in two
-- of them counts in both.
WITH shipped AS MATERIALIZED (
    SELECT order_id, cost_currency AS currency, cost_minor AS cost FROM warehouse.shipments
    WHERE shipped_at >= :since::timestamptz AND shipped_at < :until::timestamptz
), spent AS (
    SELECT order_id, currency, cost FROM shipped
    UNION ALL
    SELECT f.order_id, f.handling_currency, f.handling_cost_minor FROM warehouse.fulfillment_orders f
    WHERE f.shipped_at >= :since::timestamptz AND f.shipped_at < :until::timestamptz AND f.handling_cost_minor > 0
      AND f.order_id IN (SELECT order_id FROM shipped)
), by_order AS (
    SELECT e.order_id, coalesce(e.currency, o.currency) AS currency, sum(e.cost) AS cost
    FROM spent e JOIN orders.orders o USING (order_id) GROUP BY 1, 2
)
SELECT currency AS part, sum(cost)::float8 AS above, count(*)::float8 AS below FROM by_order GROUP BY currency;

-- name: internal_order_cycle_time
-- Seconds from placement to the last shipment, of orders whose last shipment left in the period and that wait for nothing more.
WITH candidates AS (
    SELECT DISTINCT order_id FROM warehouse.shipments
    WHERE shipped_at >= :since::timestamptz AND shipped_at < :until::timestamptz
), left_at AS (
    SELECT s.order_id, max(s.shipped_at) AS at FROM warehouse.shipments s JOIN candidates USING (order_id) GROUP BY s.order_id
)
SELECT NULL::text AS part, coalesce(sum(extract(epoch FROM l.at - o.placed_at)), 0)::float8 AS above, count(*)::float8 AS below
FROM left_at l JOIN orders.orders o USING (order_id)
WHERE l.at < :until::timestamptz AND o.backordered + o.allocated + o.picked + o.packed = 0;

-- name: on_time_shipping_rate
-- Orders whose last ship-by time lies in the period, and those of them of which everything left by its ship-by time. Work that is not
-- released yet is due, too; what was cancelled or rejected is not.
WITH work AS NOT MATERIALIZED (
    SELECT order_id, ship_by_at, shipped_at, status = 'shipped' AS shipped, status = 'shipped' AND shipped_at <= ship_by_at AS in_time
    FROM warehouse.fulfillment_orders WHERE status NOT IN ('cancelled', 'rejected')
    UNION ALL
    SELECT a.order_id, coalesce(o.ship_by_at, a.ship_by_at), NULL, false, false
    FROM orders.allocations a
    LEFT JOIN (SELECT order_id, ship_by_at FROM orders.orders WHERE ship_by_at IS NOT NULL) o USING (order_id)
    WHERE a.quantity > a.released
    UNION ALL
    SELECT order_id, ship_by_at, NULL, false, false FROM orders.orders WHERE ship_by_at IS NOT NULL AND backordered > 0
), due AS (
    SELECT order_id, bool_and(in_time) AS in_time FROM work WHERE ship_by_at >= :since::timestamptz
    GROUP BY order_id HAVING max(ship_by_at) < :until::timestamptz
), missed AS (
    SELECT DISTINCT order_id FROM work WHERE ship_by_at < :since::timestamptz AND NOT in_time
)
SELECT NULL::text AS part, count(*) FILTER (WHERE d.in_time AND m.order_id IS NULL)::float8 AS above, count(*)::float8 AS below
FROM due d LEFT JOIN missed m USING (order_id);

-- name: on_time_shipping_orders
-- The orders that the on-time shipping rate counts, and why some are not on time; a page.
WITH work AS NOT MATERIALIZED (
    SELECT order_id, ship_by_at, shipped_at, status = 'shipped' AS shipped, status = 'shipped' AND shipped_at <= ship_by_at AS in_time
    FROM warehouse.fulfillment_orders WHERE status NOT IN ('cancelled', 'rejected')
    UNION ALL
    SELECT a.order_id, coalesce(o.ship_by_at, a.ship_by_at), NULL, false, false
    FROM orders.allocations a
    LEFT JOIN (SELECT order_id, ship_by_at FROM orders.orders WHERE ship_by_at IS NOT NULL) o USING (order_id)
    WHERE a.quantity > a.released
    UNION ALL
    SELECT order_id, ship_by_at, NULL, false, false FROM orders.orders WHERE ship_by_at IS NOT NULL AND backordered > 0
), due AS (
    SELECT order_id FROM work WHERE ship_by_at >= :since::timestamptz AND order_id > :after::uuid
    GROUP BY order_id HAVING max(ship_by_at) < :until::timestamptz ORDER BY order_id LIMIT :limit::int
), judged AS (
    SELECT order_id, bool_or(shipped AND NOT in_time) AS shipped_late, bool_or(NOT shipped) AS not_shipped
    FROM due JOIN work USING (order_id) GROUP BY order_id
)
SELECT o.order_id, c.code AS channel, o.external_id,
       array_remove(ARRAY[CASE WHEN j.shipped_late THEN 'shipped_late' END, CASE WHEN j.not_shipped THEN 'not_shipped' END], NULL) AS why
FROM judged j JOIN orders.orders o USING (order_id) JOIN catalog.channels c USING (channel_id) ORDER BY o.order_id;

-- name: order_fill_rate
-- Orders placed in the period, and those of them for which every unit was found in stock at placement.
WITH short AS (
    SELECT DISTINCT m.order_id FROM orders.moves m JOIN orders.orders o USING (order_id)
    WHERE m.from_state = 'ordered' AND m.to_state <> 'allocated'
      AND o.placed_at >= :since::timestamptz AND o.placed_at < :until::timestamptz
)
SELECT NULL::text AS part, count(*) FILTER (WHERE s.order_id IS NULL)::float8 AS above, count(*)::float8 AS below
FROM orders.orders o LEFT JOIN short s USING (order_id)
WHERE o.placed_at >= :since::timestamptz AND o.placed_at < :until::timestamptz;

-- name: order_fulfillment_cycle_time
-- Seconds from placement to the last delivery, of orders whose last parcel was delivered in the period and that wait for nothing more.
WITH candidates AS (
    SELECT DISTINCT order_id FROM tracking.parcels
    WHERE delivered_at >= :since::timestamptz AND delivered_at < :until::timestamptz
), reached AS (
    SELECT p.order_id, max(p.delivered_at) AS at FROM tracking.parcels p JOIN candidates USING (order_id) GROUP BY p.order_id
)
SELECT NULL::text AS part, coalesce(sum(extract(epoch FROM r.at - o.placed_at)), 0)::float8 AS above, count(*)::float8 AS below
FROM reached r JOIN orders.orders o USING (order_id)
WHERE r.at < :until::timestamptz AND o.backordered + o.allocated + o.picked + o.packed + o.shipped = 0;

-- name: orders_picked_per_hour
-- Orders shipped in the period, and the reported hours of work on them.
SELECT NULL::text AS part, count(DISTINCT order_id)::float8 AS above, coalesce(sum(labor_seconds), 0)::float8 / 3600 AS below
FROM warehouse.fulfillment_orders
WHERE shipped_at >= :since::timestamptz AND shipped_at < :until::timestamptz AND labor_seconds > 0;

-- name: order_placement_percentage
-- Orders placed in the period by channel, of all.
SELECT c.code AS part, count(*)::float8 AS above, sum(count(*)) OVER ()::float8 AS below
FROM orders.orders o JOIN catalog.channels c USING (channel_id)
WHERE o.placed_at >= :since::timestamptz AND o.placed_at < :until::timestamptz GROUP BY c.code;

-- name: order_placement_percentage_by_revenue
-- What orders placed in the period by channel were accepted for, of all sales in the same currency; wholly cancelled orders are no sales.
WITH sales AS (
    SELECT channel_id, currency, sum(total_minor - dropped_minor) AS minor FROM orders.orders
    WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz AND status <> 'cancelled'
    GROUP BY channel_id, currency
)
SELECT CASE WHEN count(*) OVER (PARTITION BY channel_id) = 1 THEN c.code ELSE c.code || ' ' || s.currency END AS part,
       s.minor::float8 AS above, sum(s.minor) OVER (PARTITION BY s.currency)::float8 AS below
FROM sales s JOIN catalog.channels c USING (channel_id);

-- name: perfect_order_rate
-- Orders placed in the period that have reached their end, and those of them that arrived complete, in one piece, by the instant that
-- the customer was told first, and stayed. An order called off whole for the reason 'customer_request' is neither.
WITH placed AS (
    SELECT order_id, ordered, delivered, cancelled FROM orders.orders
    WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz
      AND status IN ('delivered', 'returned', 'cancelled')
), called_off AS (
    SELECT p.order_id FROM placed p JOIN orders.moves m USING (order_id)
    WHERE p.cancelled = p.ordered AND m.to_state = 'cancelled'
    GROUP BY p.order_id HAVING bool_and(m.reason = 'customer_request')
), parcels AS (
    SELECT t.order_id, bool_or(t.lost_at IS NOT NULL) AS lost, bool_or(t.returning_at IS NOT NULL) AS came_back,
           bool_or(t.delivered_at > t.promised_at) AS late
    FROM tracking.parcels t JOIN placed USING (order_id) GROUP BY t.order_id
), short AS (
    SELECT DISTINCT f.order_id FROM warehouse.fulfillment_orders f JOIN placed USING (order_id) WHERE f.short > 0
), sent_back AS (
    SELECT DISTINCT r.order_id FROM aftercare.return_lines r JOIN placed USING (order_id) WHERE r.authorized > r.cancelled
)
SELECT NULL::text AS part,
       count(*) FILTER (WHERE p.delivered = p.ordered AND NOT coalesce(t.lost OR t.came_back OR t.late, true) AND s.order_id IS NULL
                          AND b.order_id IS NULL)::float8 AS above,
       count(*)::float8 AS below
FROM placed p LEFT JOIN parcels t USING (order_id) LEFT JOIN short s USING (order_id) LEFT JOIN sent_back b USING (order_id)
     LEFT JOIN called_off c USING (order_id)
WHERE c.order_id IS NULL;

-- name: perfect_orders
-- The orders that the perfect order rate counts, and why some are not perfect; a page.
WITH placed AS (
    SELECT order_id, channel_id, external_id, ordered, delivered, returned, cancelled FROM orders.orders
    WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz
      AND status IN ('delivered', 'returned', 'cancelled') AND order_id > :after::uuid
), called_off AS (
    SELECT p.order_id FROM placed p JOIN orders.moves m USING (order_id)
    WHERE p.cancelled = p.ordered AND m.to_state = 'cancelled'
    GROUP BY p.order_id HAVING bool_and(m.reason = 'customer_request')
), parcels AS (
    SELECT t.order_id, bool_or(t.lost_at IS NOT NULL) AS lost, bool_or(t.returning_at IS NOT NULL) AS came_back,
           bool_or(t.delivered_at > t.promised_at) AS late
    FROM tracking.parcels t JOIN placed USING (order_id) GROUP BY t.order_id
), short AS (
    SELECT DISTINCT f.order_id FROM warehouse.fulfillment_orders f JOIN placed USING (order_id) WHERE f.short > 0
), sent_back AS (
    SELECT DISTINCT r.order_id FROM aftercare.return_lines r JOIN placed USING (order_id) WHERE r.authorized > r.cancelled
)
SELECT p.order_id, c.code AS channel, p.external_id,
       array_remove(ARRAY[
           CASE WHEN p.delivered + p.returned < p.ordered OR t.order_id IS NULL THEN 'incomplete' END,
           CASE WHEN t.late THEN 'late' END,
           CASE WHEN t.lost THEN 'lost' END,
           CASE WHEN t.came_back THEN 'returned_to_sender' END,
           CASE WHEN s.order_id IS NOT NULL THEN 'short_pick' END,
           CASE WHEN b.order_id IS NOT NULL OR p.returned > 0 THEN 'returned' END], NULL) AS why
FROM placed p JOIN catalog.channels c USING (channel_id) LEFT JOIN parcels t USING (order_id) LEFT JOIN short s USING (order_id)
     LEFT JOIN sent_back b USING (order_id) LEFT JOIN called_off o USING (order_id)
WHERE o.order_id IS NULL ORDER BY p.order_id LIMIT :limit::int;

-- name: purchasing_frequency
-- Orders placed in the period by known customers, and how many customers these are.
SELECT NULL::text AS part, count(*)::float8 AS above, count(DISTINCT customer_id)::float8 AS below
FROM orders.orders
WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz AND customer_id IS NOT NULL;

-- name: rate_of_returns
-- Orders placed in the period, and those of them of which something came back.
WITH back AS (
    SELECT DISTINCT order_id FROM aftercare.return_lines WHERE restocked + scrapped > 0
)
SELECT NULL::text AS part, count(*) FILTER (WHERE b.order_id IS NOT NULL)::float8 AS above, count(*)::float8 AS below
FROM orders.orders o LEFT JOIN back b USING (order_id)
WHERE o.placed_at >= :since::timestamptz AND o.placed_at < :until::timestamptz;

-- name: scrap_rate
-- Returns received in the period, and those of them with something scrapped.
WITH received AS (
    SELECT r.order_id, r.return_id, sum(l.scrapped) AS scrapped
    FROM aftercare.returns r JOIN aftercare.return_lines l USING (order_id, return_id)
    WHERE r.received_at >= :since::timestamptz AND r.received_at < :until::timestamptz GROUP BY 1, 2
)
SELECT NULL::text AS part, count(*) FILTER (WHERE scrapped > 0)::float8 AS above, count(*)::float8 AS below FROM received;

-- name: shipping_cost_per_order
-- What carriers were paid for shipments of the period, and the orders with a successful delivery in it, whenever those were shipped;
-- by the currency of the cost.
WITH paid AS (
    SELECT coalesce(s.cost_currency, o.currency) AS currency, sum(s.cost_minor) AS cost
    FROM warehouse.shipments s JOIN orders.orders o USING (order_id)
    WHERE s.shipped_at >= :since::timestamptz AND s.shipped_at < :until::timestamptz GROUP BY 1
), delivered AS (
    SELECT coalesce(s.cost_currency, o.currency) AS currency, count(DISTINCT p.order_id) AS orders
    FROM tracking.parcels p JOIN orders.orders o USING (order_id) JOIN warehouse.shipments s USING (order_id, shipment_id)
    WHERE p.delivered_at >= :since::timestamptz AND p.delivered_at < :until::timestamptz GROUP BY 1
)
SELECT currency AS part, coalesce(p.cost, 0)::float8 AS above, d.orders::float8 AS below FROM delivered d LEFT JOIN paid p USING (currency);

-- name: cart_abandonment_rate
-- Carts that held stock from some instant of the period on, and those of them that became no order. A cart that still holds stock at
-- the end of the period has come to no end and is left out; a hold without a cart's name is a cart of its own.
WITH carts AS (
    SELECT bool_or(order_id IS NOT NULL) AS ordered, bool_or(ended_at IS NULL AND expires_at > :until::timestamptz) AS open
    FROM inventory.holds
    WHERE held_at >= :since::timestamptz AND held_at < :until::timestamptz
    GROUP BY channel_id, coalesce(cart, hold_id::text), cart IS NULL
)
SELECT NULL::text AS part, count(*) FILTER (WHERE NOT ordered)::float8 AS above, count(*)::float8 AS below
FROM carts WHERE ordered OR NOT open;

-- name: orders_by_status
-- How many orders are where, how many units they hold, and what they were accepted for.
SELECT status, count(*) AS orders, sum(ordered)::bigint AS units, sum(total_minor - dropped_minor)::bigint AS total_minor
FROM orders.orders GROUP BY status ORDER BY 2 DESC, 1;

-- name: floor
-- What all locations have to do in one state, most urgent first, with their lines: for the simulated staff of the demo.
SELECT f.order_id, f.fulfillment_order_id, o.external_id, l.code AS location, f.released_at, f.ship_by_at,
       f.promised_at AS planned_at, w.line_nos, w.open
FROM warehouse.fulfillment_orders f
JOIN orders.orders o USING (order_id)
JOIN network.locations l USING (location_id)
CROSS JOIN LATERAL (
    SELECT array_agg(line_no ORDER BY line_no) AS line_nos, array_agg(open ORDER BY line_no) AS open
    FROM warehouse.fulfillment_lines w
    WHERE w.order_id = f.order_id AND w.fulfillment_order_id = f.fulfillment_order_id
) w
WHERE f.status = :status::text AND f.status IN ('released', 'picking', 'picked', 'packed')
ORDER BY coalesce(f.cut_off_at, f.ship_by_at), o.external_id, l.code, f.released_at;

-- name: waiting_units
-- Units of each SKU that orders wait for: what the buyer of the demo orders.
SELECT s.code AS sku, sum(l.backordered)::bigint AS quantity
FROM orders.lines l JOIN catalog.skus s USING (sku_id) WHERE l.backordered > 0 GROUP BY s.code ORDER BY s.code;

-- name: delivered_lines
-- What customers of these orders have in their hands: for the simulated returns of the demo.
SELECT order_id, line_no, delivered FROM orders.lines
WHERE order_id = any(:order_ids::uuid[]) AND delivered > 0 ORDER BY order_id, line_no;

-- name: asked
-- Who was asked how it was in a period and did not answer yet: for the simulated answers of the demo.
SELECT o.external_id FROM aftercare.surveys s JOIN orders.orders o USING (order_id)
WHERE s.asked_at > :since::timestamptz AND s.asked_at <= :until::timestamptz AND s.answered_at IS NULL
ORDER BY o.external_id;

-- name: unfinished
-- What is still on its way to an end: orders, and reactions that will come due (other than those put aside for a person).
SELECT (SELECT count(*) FROM orders.orders WHERE status NOT IN ('delivered', 'returned', 'cancelled')) AS orders,
       (SELECT count(*) FROM core.reactions WHERE dead_at IS NULL) AS reactions,
       (SELECT count(*) FROM core.reactions WHERE dead_at IS NOT NULL) AS dead;

-- name: is_fresh
-- Nothing was ever sold or ordered here.
SELECT NOT EXISTS (SELECT FROM catalog.skus) AND NOT EXISTS (SELECT FROM orders.orders) AS fresh;

-- name: analyze_stock
-- After the bulk load, before the first order: the planner is to know how large these tables are.
ANALYZE catalog.skus, catalog.sku_codes, inventory.stock, inventory.moves, network.postal_codes;
