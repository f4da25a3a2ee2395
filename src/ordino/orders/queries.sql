-- name: lock_orders
-- Orders are taken in key order, before any of their rows and before any stock.
SELECT order_id, channel_id, external_id, customer_id, flow_version, currency, shipping_minor, total_minor, placed_at,
       promised_at, status, type, service_level, shipping_charged_minor, shipping_void_minor, shipping_refunded_minor,
       last_promised_at, ship_by_at
FROM orders.orders WHERE order_id = any(:order_ids::uuid[]) ORDER BY order_id FOR NO KEY UPDATE;

-- name: orders
-- Orders as they stand.
SELECT order_id, channel_id, external_id, customer_id, flow_version, currency, shipping_minor, total_minor, placed_at,
       promised_at, status, type, service_level, shipping_charged_minor, shipping_void_minor, shipping_refunded_minor,
       last_promised_at, ship_by_at
FROM orders.orders WHERE order_id = any(:order_ids::uuid[]);

-- name: lines
-- The lines of these orders with their counts.
SELECT order_id, line_no, sku_id, ordered, unit_price_minor, amount_minor, backordered, allocated, picked, packed, shipped,
       delivered, returned, cancelled, stop_wanted, excluded_location_ids, group_code, tries, charged_units, charged_minor,
       void_units, void_minor, refunded_units, refunded_minor, parts_per_unit, parts_back
FROM orders.lines WHERE order_id = any(:order_ids::uuid[]) ORDER BY order_id, line_no;

-- name: allocations
-- Which units of these orders are to come from where.
SELECT order_id, line_no, location_id, sku_id, quantity, released, service_id, ship_by_at, promised_at
FROM orders.allocations WHERE order_id = any(:order_ids::uuid[]) AND quantity > 0 ORDER BY order_id, line_no, location_id;

-- name: move_units
-- The demand ledger: the moves, the lines' counts and money, the orders' counts and shipping, and what is due in one statement.
WITH m AS (
    SELECT * FROM unnest(:order_ids::uuid[], :cause_ids::uuid[], :line_nos::int[], :from_states::text[], :to_states::text[],
                         :quantities::bigint[], :reasons::text[], :paid_units::bigint[], :amounts::bigint[], :refunds::bigint[])
        AS m (order_id, cause_id, line_no, from_state, to_state, quantity, reason, paid_units, amount_minor, refund_minor)
), s AS (
    SELECT * FROM unnest(:shipping_order_ids::uuid[], :shipping_charged::bigint[], :shipping_void::bigint[],
                         :shipping_refunded::bigint[]) AS s (order_id, charged, void, refunded)
), written AS (
    INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, reason, at, paid_units, amount_minor,
                              refund_minor)
    SELECT order_id, cause_id, line_no, from_state, to_state, quantity, reason, :at::timestamptz, paid_units, amount_minor,
           refund_minor
    FROM m
), signed AS (
    SELECT order_id, line_no, to_state AS state, quantity AS delta, quantity - paid_units AS new_units, paid_units, amount_minor,
           refund_minor
    FROM m
    UNION ALL SELECT order_id, line_no, from_state, -quantity, NULL, NULL, NULL, NULL FROM m
), delta AS (
    SELECT order_id, line_no,
           coalesce(sum(delta) FILTER (WHERE state = 'backordered'), 0) AS backordered,
           coalesce(sum(delta) FILTER (WHERE state = 'allocated'), 0) AS allocated,
           coalesce(sum(delta) FILTER (WHERE state = 'picked'), 0) AS picked,
           coalesce(sum(delta) FILTER (WHERE state = 'packed'), 0) AS packed,
           coalesce(sum(delta) FILTER (WHERE state = 'shipped'), 0) AS shipped,
           coalesce(sum(delta) FILTER (WHERE state = 'delivered'), 0) AS delivered,
           coalesce(sum(delta) FILTER (WHERE state = 'returned'), 0) AS returned,
           coalesce(sum(delta) FILTER (WHERE state = 'cancelled'), 0) AS cancelled,
           coalesce(sum(new_units) FILTER (WHERE state = 'shipped'), 0) AS charged_units,
           coalesce(sum(amount_minor) FILTER (WHERE state = 'shipped'), 0) AS charged_minor,
           coalesce(sum(new_units) FILTER (WHERE state = 'cancelled'), 0) AS void_units,
           coalesce(sum(amount_minor) FILTER (WHERE state = 'cancelled'), 0) AS void_minor,
           coalesce(sum(paid_units) FILTER (WHERE state <> 'shipped'), 0) AS refunded_units,
           coalesce(sum(refund_minor), 0) AS refunded_minor
    FROM signed GROUP BY order_id, line_no
), moved_lines AS (
    UPDATE orders.lines l
    SET backordered = l.backordered + d.backordered, allocated = l.allocated + d.allocated, picked = l.picked + d.picked,
        packed = l.packed + d.packed, shipped = l.shipped + d.shipped, delivered = l.delivered + d.delivered,
        returned = l.returned + d.returned, cancelled = l.cancelled + d.cancelled,
        charged_units = l.charged_units + d.charged_units, charged_minor = l.charged_minor + d.charged_minor,
        void_units = l.void_units + d.void_units, void_minor = l.void_minor + d.void_minor,
        refunded_units = l.refunded_units + d.refunded_units, refunded_minor = l.refunded_minor + d.refunded_minor
    FROM delta d WHERE l.order_id = d.order_id AND l.line_no = d.line_no
      /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
    RETURNING l.order_id
), order_delta AS (
    SELECT d.*, coalesce(s.charged, 0) AS shipping_charged, coalesce(s.void, 0) AS shipping_void,
           coalesce(s.refunded, 0) AS shipping_refunded
    FROM (SELECT order_id, sum(backordered)::bigint AS backordered, sum(allocated)::bigint AS allocated,
                 sum(picked)::bigint AS picked, sum(packed)::bigint AS packed, sum(shipped)::bigint AS shipped,
                 sum(delivered)::bigint AS delivered, sum(returned)::bigint AS returned, sum(cancelled)::bigint AS cancelled,
                 sum(void_minor)::bigint AS void_minor
          FROM delta GROUP BY order_id) d
    LEFT JOIN (SELECT order_id, sum(charged)::bigint AS charged, sum(void)::bigint AS void, sum(refunded)::bigint AS refunded
               FROM s GROUP BY order_id) s USING (order_id)
), moved_orders AS (
    UPDATE orders.orders o
    SET backordered = o.backordered + d.backordered, allocated = o.allocated + d.allocated, picked = o.picked + d.picked,
        packed = o.packed + d.packed, shipped = o.shipped + d.shipped, delivered = o.delivered + d.delivered,
        returned = o.returned + d.returned, cancelled = o.cancelled + d.cancelled,
        shipping_charged_minor = o.shipping_charged_minor + d.shipping_charged,
        shipping_void_minor = o.shipping_void_minor + d.shipping_void,
        shipping_refunded_minor = o.shipping_refunded_minor + d.shipping_refunded
    FROM order_delta d
    WHERE o.order_id = d.order_id /* on shards: AND o.order_id = any(:order_ids::uuid[]) */
    RETURNING o.order_id, o.status
), moved_payments AS (
    UPDATE orders.payments p SET due_minor = p.due_minor - d.void_minor - d.shipping_void
    FROM order_delta d
    WHERE p.order_id = d.order_id AND d.void_minor + d.shipping_void > 0
      /* on shards: AND p.order_id = any(:order_ids::uuid[]) */
)
SELECT o.order_id, o.status, (SELECT count(*) FROM moved_lines) AS lines FROM moved_orders o;

-- name: give_back
-- What is to be refunded of lines and of shipping, though no unit moves.
WITH g AS (
    SELECT * FROM unnest(:order_ids::uuid[], :line_nos::int[], :amounts::bigint[]) AS g (order_id, line_no, amount_minor)
), of_lines AS (
    UPDATE orders.lines l SET refunded_minor = l.refunded_minor + g.amount_minor
    FROM g WHERE l.order_id = g.order_id AND l.line_no = g.line_no /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
)
UPDATE orders.orders o SET shipping_refunded_minor = o.shipping_refunded_minor + s.amount_minor
FROM unnest(:shipping_order_ids::uuid[], :shipping_amounts::bigint[]) AS s (order_id, amount_minor)
WHERE o.order_id = s.order_id /* on shards: AND o.order_id = any(:shipping_order_ids::uuid[]) */;

-- name: count_parts
-- How many parts of units that are not back whole are back.
UPDATE orders.lines l SET parts_per_unit = d.parts_per_unit, parts_back = d.parts_back
FROM unnest(:order_ids::uuid[], :line_nos::int[], :parts_per_unit::int[], :parts_back::bigint[])
    AS d (order_id, line_no, parts_per_unit, parts_back)
WHERE l.order_id = d.order_id AND l.line_no = d.line_no /* on shards: AND l.order_id = any(:order_ids::uuid[]) */;

-- name: take_allocations
-- Units leave their allocation: picked, short or cancelled. Released units leave first what was released.
UPDATE orders.allocations a
SET quantity = a.quantity - d.quantity, released = a.released - d.released, picked = a.picked + d.picked
FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[], :quantities::bigint[], :released::bigint[], :picked::bigint[])
    AS d (order_id, line_no, location_id, quantity, released, picked)
WHERE a.order_id = d.order_id AND a.line_no = d.line_no AND a.location_id = d.location_id
  /* on shards: AND a.order_id = any(:order_ids::uuid[]) */;

-- name: release_allocations
-- Everything allocated so far at these locations becomes firm.
UPDATE orders.allocations a SET released = a.quantity, kept_at = NULL, release_wanted_at = NULL
FROM unnest(:order_ids::uuid[], :location_ids::int[]) AS d (order_id, location_id)
WHERE a.order_id = d.order_id AND a.location_id = d.location_id AND a.quantity > a.released
  /* on shards: AND a.order_id = any(:order_ids::uuid[]) */;

-- name: keep_allocations
-- Units that are not released stay at a closed location; those that were not kept there before come back.
WITH d AS (
    SELECT * FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[]) AS d (order_id, line_no, location_id)
), was AS (
    SELECT a.order_id, a.line_no, a.location_id FROM orders.allocations a JOIN d USING (order_id, line_no, location_id)
    WHERE a.kept_at IS NULL /* on shards: AND a.order_id = any(:order_ids::uuid[]) */
), kept AS (
    UPDATE orders.allocations a
    SET kept_at = coalesce(a.kept_at, :at::timestamptz),
        release_wanted_at = CASE WHEN :release::boolean THEN coalesce(a.release_wanted_at, :at::timestamptz) ELSE a.release_wanted_at END
    FROM d
    WHERE a.order_id = d.order_id AND a.line_no = d.line_no AND a.location_id = d.location_id
      /* on shards: AND a.order_id = any(:order_ids::uuid[]) */
)
SELECT order_id, line_no, location_id FROM was;

-- name: kept_allocations
-- What these orders keep at closed locations, or kept there until it moved.
SELECT order_id, line_no, location_id, quantity - released AS units, release_wanted_at IS NOT NULL AS release_wanted
FROM orders.allocations WHERE order_id = any(:order_ids::uuid[]) AND kept_at IS NOT NULL ORDER BY order_id, line_no, location_id;

-- name: stop_keeping
-- The location is open again, or the units are elsewhere.
UPDATE orders.allocations a SET kept_at = NULL, release_wanted_at = NULL
FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[]) AS d (order_id, line_no, location_id)
WHERE a.order_id = d.order_id AND a.line_no = d.line_no AND a.location_id = d.location_id
  /* on shards: AND a.order_id = any(:order_ids::uuid[]) */;

-- name: exclude_locations
-- These lines do not go back to where they could not be had.
UPDATE orders.lines l SET excluded_location_ids = l.excluded_location_ids || d.location_id
FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[]) AS d (order_id, line_no, location_id)
WHERE l.order_id = d.order_id AND l.line_no = d.line_no /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
  AND NOT d.location_id = any(l.excluded_location_ids);

-- name: count_tries
-- A location could not supply units of these lines.
UPDATE orders.lines l SET tries = l.tries + d.tries
FROM unnest(:order_ids::uuid[], :line_nos::int[], :tries::int[]) AS d (order_id, line_no, tries)
WHERE l.order_id = d.order_id AND l.line_no = d.line_no /* on shards: AND l.order_id = any(:order_ids::uuid[]) */;

-- name: forget_tries
-- Every location may be asked again.
UPDATE orders.lines SET tries = 0, excluded_location_ids = '{}' WHERE order_id = :order_id::uuid AND line_no = :line_no::int;

-- name: want_stops
-- Units whose cancellation the warehouse is asked for (or has answered, with a negative delta).
UPDATE orders.lines l SET stop_wanted = l.stop_wanted + d.delta
FROM unnest(:order_ids::uuid[], :line_nos::int[], :deltas::bigint[]) AS d (order_id, line_no, delta)
WHERE l.order_id = d.order_id AND l.line_no = d.line_no /* on shards: AND l.order_id = any(:order_ids::uuid[]) */;

-- name: move_money
-- The money ledger: the moves and the balances in one statement.
WITH m AS (
    SELECT * FROM unnest(:order_ids::uuid[], :cause_ids::uuid[], :kinds::text[], :amounts::bigint[], :references::text[])
        AS m (order_id, cause_id, kind, amount_minor, reference)
), written AS (
    INSERT INTO orders.payment_moves (order_id, cause_id, kind, amount_minor, reference, at)
    SELECT m.*, :at::timestamptz FROM m
), delta AS (
    SELECT order_id,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'authorized'), 0)::bigint AS authorized,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'voided'), 0)::bigint AS voided,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0)::bigint AS captured,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0)::bigint AS refunded
    FROM m GROUP BY order_id
)
UPDATE orders.payments p
SET authorized_minor = p.authorized_minor + d.authorized, voided_minor = p.voided_minor + d.voided,
    captured_minor = p.captured_minor + d.captured, refunded_minor = p.refunded_minor + d.refunded
FROM delta d WHERE p.order_id = d.order_id /* on shards: AND p.order_id = any(:order_ids::uuid[]) */
RETURNING p.order_id, p.status;

-- placement ----------------------------------------------------------------------------------------------------------

-- name: known_orders
-- Which of these orders the channels have sent before.
SELECT k.channel_id, k.external_id, k.order_id, k.digest
FROM unnest(:channel_ids::int[], :external_ids::text[]) AS w (channel_id, external_id)
JOIN orders.order_keys k USING (channel_id, external_id);

-- name: first_outcomes
-- What was answered to orders that are sent again.
SELECT order_id, status, promised_at, total_minor - dropped_minor AS accepted_total_minor
FROM orders.orders WHERE order_id = any(:order_ids::uuid[]);

-- name: dropped_lines
-- What placement dropped of these orders, and why.
SELECT m.order_id, m.line_no, k.code AS sku, m.quantity, m.reason
FROM orders.moves m JOIN orders.lines l USING (order_id, line_no) JOIN catalog.skus k USING (sku_id)
WHERE m.order_id = any(:order_ids::uuid[]) AND m.from_state = 'ordered' AND m.to_state = 'cancelled'
  /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
ORDER BY m.order_id, m.line_no;

-- name: sold_skus
-- What placement needs to know of a SKU.
SELECT sku_id, weight_grams, backorderable, active, code, category, length_mm::bigint * width_mm * height_mm AS cubic_mm, handling_classes
FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]);

-- name: claim_keys
-- First of all: an order key that does not come back was sent by somebody else meanwhile.
INSERT INTO orders.order_keys (channel_id, external_id, order_id, digest)
SELECT * FROM unnest(:channel_ids::int[], :external_ids::text[], :order_ids::uuid[], :digests::bytea[])
ON CONFLICT (channel_id, external_id) DO NOTHING
RETURNING order_id;

-- name: claim_customers
-- The first order of a customer brings them along.
WITH new AS (
    INSERT INTO orders.customer_keys (seller_id, external_id, customer_id)
    SELECT seller_id, external_id, customer_id
    FROM unnest(:seller_ids::int[], :external_ids::text[], :customer_ids::uuid[]) AS k (seller_id, external_id, customer_id)
    ORDER BY 1, 2
    ON CONFLICT (seller_id, external_id) DO NOTHING
    RETURNING customer_id
)
INSERT INTO orders.customers (customer_id, seller_id, external_id, name, email, phone, since)
SELECT c.*, :at::timestamptz
FROM unnest(:customer_ids::uuid[], :seller_ids::int[], :external_ids::text[], :names::text[], :emails::text[], :phones::text[])
    AS c (customer_id, seller_id, external_id, name, email, phone)
JOIN new USING (customer_id)
RETURNING customer_id;

-- name: forget_keys
-- Keys that were claimed for orders which were then refused. A key's order id is of its own making: nobody else has it.
DELETE FROM orders.order_keys k USING unnest(:order_ids::uuid[], :channel_ids::int[], :external_ids::text[])
    AS w (order_id, channel_id, external_id)
WHERE k.channel_id = w.channel_id AND k.external_id = w.external_id AND k.order_id = w.order_id;

-- name: forget_customers
-- Customers whom only orders have brought that were then refused.
WITH gone AS (
    DELETE FROM orders.customers WHERE customer_id = any(:customer_ids::uuid[]) RETURNING seller_id, external_id, customer_id
)
DELETE FROM orders.customer_keys k USING gone g
WHERE k.seller_id = g.seller_id AND k.external_id = g.external_id AND k.customer_id = g.customer_id;

-- name: known_customers
-- Who these customers are.
SELECT k.seller_id, k.external_id, k.customer_id
FROM unnest(:seller_ids::int[], :external_ids::text[]) AS w (seller_id, external_id)
JOIN orders.customer_keys k USING (seller_id, external_id);

-- name: write_orders
-- Everything of new orders: headers, addresses, lines, their first moves, allocations, payments.
WITH o AS (
    SELECT * FROM unnest(:order_ids::uuid[], :channel_ids::int[], :external_ids::text[], :customer_ids::uuid[],
        :flow_versions::int[], :currencies::text[], :shipping::bigint[], :tax::bigint[], :discount::bigint[],
        :total::bigint[], :promised_ats::timestamptz[], :ship_by_ats::timestamptz[], :types::text[], :service_levels::text[],
        :ordered::bigint[], :backordered::bigint[], :allocated::bigint[], :cancelled::bigint[], :dropped::bigint[],
        :providers::text[], :methods::text[])
        AS o (order_id, channel_id, external_id, customer_id, flow_version, currency, shipping, tax, discount, total,
              promised_at, ship_by_at, type, service_level, ordered, backordered, allocated, cancelled, dropped, provider, method)
), headers AS (
    INSERT INTO orders.orders (order_id, channel_id, external_id, customer_id, flow_version, currency, shipping_minor,
        tax_minor, discount_minor, total_minor, placed_at, promised_at, ship_by_at, type, service_level, ordered, backordered, allocated,
        picked, packed, shipped, delivered, returned, cancelled, dropped_minor)
    SELECT order_id, channel_id, external_id, customer_id, flow_version, currency, shipping, tax, discount, total,
           :at::timestamptz, promised_at, ship_by_at, type, service_level, ordered, backordered, allocated, 0, 0, 0, 0, 0, cancelled, dropped
    FROM o
    RETURNING order_id, status
), addresses AS (
    INSERT INTO orders.addresses (order_id, kind, name, line1, line2, city, region, postal_code, country, email, phone)
    SELECT a.order_id, 'ship_to', a.name, a.line1, a.line2, a.city, a.region, a.postal_code, a.country, a.email, a.phone
    FROM unnest(:order_ids::uuid[], :names::text[], :line1s::text[], :line2s::text[], :cities::text[], :regions::text[],
                :postal_codes::text[], :countries::text[], :emails::text[], :phones::text[])
        AS a (order_id, name, line1, line2, city, region, postal_code, country, email, phone)
), payments AS (
    INSERT INTO orders.payments (order_id, provider, currency, authorized_minor, voided_minor, captured_minor, refunded_minor,
                                 due_minor, method)
    SELECT order_id, provider, currency, 0, 0, 0, 0, total - dropped, method FROM o
), l AS (
    SELECT * FROM unnest(:line_order_ids::uuid[], :line_cause_ids::uuid[], :line_nos::int[], :line_sku_ids::int[],
        :line_ordered::bigint[], :line_prices::bigint[], :line_amounts::bigint[], :line_backordered::bigint[],
        :line_allocated::bigint[], :line_cancelled::bigint[], :line_drop_reasons::text[], :line_groups::text[])
        AS l (order_id, cause_id, line_no, sku_id, ordered, price, amount, backordered, allocated, cancelled, drop_reason, group_code)
), lines AS (
    INSERT INTO orders.lines (order_id, line_no, sku_id, ordered, unit_price_minor, amount_minor, backordered, allocated,
        picked, packed, shipped, delivered, returned, cancelled, group_code, void_units, void_minor)
    SELECT order_id, line_no, sku_id, ordered, price, amount, backordered, allocated, 0, 0, 0, 0, 0, cancelled, group_code,
           cancelled, CASE WHEN cancelled > 0 THEN amount ELSE 0 END  -- a line is dropped whole
    FROM l
), moves AS (
    INSERT INTO orders.moves (order_id, cause_id, line_no, from_state, to_state, quantity, reason, at, paid_units, amount_minor,
                              refund_minor)
    SELECT l.order_id, l.cause_id, l.line_no, 'ordered', m.state, m.quantity,
           CASE WHEN m.state = 'cancelled' THEN l.drop_reason END, :at::timestamptz,
           CASE WHEN m.state = 'cancelled' THEN 0 END, CASE WHEN m.state = 'cancelled' THEN l.amount END,
           CASE WHEN m.state = 'cancelled' THEN 0 END
    FROM l CROSS JOIN LATERAL (VALUES ('backordered', l.backordered), ('allocated', l.allocated), ('cancelled', l.cancelled))
        AS m (state, quantity)
    WHERE m.quantity > 0
), allocations AS (
    INSERT INTO orders.allocations (order_id, line_no, location_id, sku_id, quantity, released, service_id, ship_by_at, promised_at)
    SELECT order_id, line_no, location_id, sku_id, quantity, 0, service_id, ship_by_at, promised_at
    FROM unnest(:allocation_order_ids::uuid[], :allocation_line_nos::int[], :allocation_location_ids::int[],
                :allocation_sku_ids::int[], :allocation_quantities::bigint[], :allocation_service_ids::int[],
                :allocation_ship_bys::timestamptz[], :allocation_promises::timestamptz[])
        AS a (order_id, line_no, location_id, sku_id, quantity, service_id, ship_by_at, promised_at)
)
SELECT order_id, status FROM headers;

-- name: claim_capacity
-- An order takes a place of a limited location's day, and so many units of it; or more units, where it has a place.
INSERT INTO orders.capacity_claims AS c (order_id, location_id, ship_on, held_units)
SELECT * FROM unnest(:order_ids::uuid[], :location_ids::int[], :ship_ons::date[], :units::bigint[])
ON CONFLICT (order_id, location_id, ship_on) DO UPDATE SET held_units = c.held_units + excluded.held_units
RETURNING location_id, ship_on, xmax = 0 AS new;

-- name: claims
-- What these orders claim, beside what the location has still to do or has done for them: in all, and firmly.
SELECT c.order_id, c.location_id, c.ship_on, c.held_units, c.confirmed_units, coalesce(a.units, 0) AS units, coalesce(a.firm, 0) AS firm
FROM orders.capacity_claims c
LEFT JOIN (SELECT order_id, location_id, sum(quantity + picked)::bigint AS units, sum(released + picked)::bigint AS firm
           FROM orders.allocations WHERE order_id = any(:order_ids::uuid[]) GROUP BY order_id, location_id) a
       USING (order_id, location_id)
WHERE c.order_id = any(:order_ids::uuid[]) ORDER BY c.order_id, c.location_id, c.ship_on;

-- name: confirm_claims
-- What was held is firm.
UPDATE orders.capacity_claims SET confirmed_units = confirmed_units + held_units, held_units = 0
WHERE (order_id, location_id) IN (SELECT * FROM unnest(:order_ids::uuid[], :location_ids::int[])) AND held_units > 0
  /* on shards: AND order_id = any(:order_ids::uuid[]) */;

-- name: drop_claims
-- Places that are given back.
DELETE FROM orders.capacity_claims c
USING unnest(:order_ids::uuid[], :location_ids::int[], :ship_ons::date[]) AS d (order_id, location_id, ship_on)
WHERE c.order_id = d.order_id AND c.location_id = d.location_id AND c.ship_on = d.ship_on
  /* on shards: AND c.order_id = any(:order_ids::uuid[]) */;

-- name: reduce_claims
-- Units that are given back, of places that are kept.
UPDATE orders.capacity_claims c SET held_units = c.held_units - d.held, confirmed_units = c.confirmed_units - d.confirmed
FROM unnest(:order_ids::uuid[], :location_ids::int[], :ship_ons::date[], :held::bigint[], :confirmed::bigint[])
    AS d (order_id, location_id, ship_on, held, confirmed)
WHERE c.order_id = d.order_id AND c.location_id = d.location_id AND c.ship_on = d.ship_on
  /* on shards: AND c.order_id = any(:order_ids::uuid[]) */;

-- allocation of what waits ---------------------------------------------------------------------------------------------

-- name: destinations
-- Where these orders go.
SELECT a.order_id, a.postal_code, a.country, a.region, a.city FROM orders.addresses a
WHERE a.order_id = any(:order_ids::uuid[]) AND a.kind = 'ship_to';

-- name: customer_names
-- What these customers are called by their channels.
SELECT customer_id, external_id FROM orders.customers WHERE customer_id = any(:customer_ids::uuid[]);

-- name: add_allocations
-- Units find a location: a new allocation, or more units of one that is there.
INSERT INTO orders.allocations AS a (order_id, line_no, location_id, sku_id, quantity, released, service_id, ship_by_at, promised_at)
SELECT order_id, line_no, location_id, sku_id, quantity, 0, service_id, ship_by_at, promised_at
FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[], :sku_ids::int[], :quantities::bigint[],
            :service_ids::int[], :ship_bys::timestamptz[], :promises::timestamptz[])
    AS n (order_id, line_no, location_id, sku_id, quantity, service_id, ship_by_at, promised_at)
ON CONFLICT (order_id, line_no, location_id) DO UPDATE
SET quantity = a.quantity + excluded.quantity, service_id = excluded.service_id, ship_by_at = excluded.ship_by_at,
    promised_at = excluded.promised_at;

-- name: promise
-- A date for orders that had none: when the last of their packages arrives.
UPDATE orders.orders o
SET promised_at = greatest(p.promised_at, (SELECT max(a.promised_at) FROM orders.allocations a
                                           WHERE a.order_id = o.order_id AND a.quantity > 0))
FROM unnest(:order_ids::uuid[], :promised_ats::timestamptz[]) AS p (order_id, promised_at)
WHERE o.order_id = p.order_id AND o.promised_at IS NULL /* on shards: AND o.order_id = any(:order_ids::uuid[]) */;

-- name: tell_orders
-- What buyers were told of these orders, first and last.
UPDATE orders.orders o SET promised_at = t.promised_at, last_promised_at = t.last_promised_at
FROM unnest(:order_ids::uuid[], :promised_ats::timestamptz[], :last_promised_ats::timestamptz[])
    AS t (order_id, promised_at, last_promised_at)
WHERE o.order_id = t.order_id /* on shards: AND o.order_id = any(:order_ids::uuid[]) */;

-- name: units_waiting_for
-- How many units of these SKUs orders wait for.
SELECT sku_id, sum(backordered)::bigint AS quantity FROM orders.lines
WHERE sku_id = any(:sku_ids::int[]) AND backordered > 0 GROUP BY sku_id;

-- name: waiting_orders
-- Who waits for these SKUs, first placed first, a page at a time.
SELECT DISTINCT order_id FROM orders.lines
WHERE sku_id = any(:sku_ids::int[]) AND backordered > 0 AND order_id > :after::uuid ORDER BY order_id LIMIT :limit::int;

-- name: kits_waiting_for
-- Kits that orders wait for as they were made of these components when they were ordered.
SELECT DISTINCT l.sku_id
FROM (SELECT order_id, line_no, sku_id FROM orders.lines WHERE sku_id = any(:kit_ids::int[]) AND backordered > 0) l
JOIN inventory.kit_lines k USING (order_id, line_no)
WHERE k.component_sku_id = any(:sku_ids::int[]) ORDER BY l.sku_id;

-- name: waiters
-- Of what SKU these lines are, and of which channels.
SELECT l.order_id, l.line_no, l.sku_id, o.channel_id
FROM unnest(:order_ids::uuid[], :line_nos::int[]) AS d (order_id, line_no)
JOIN orders.lines l USING (order_id, line_no) JOIN orders.orders o USING (order_id)
/* on shards: WHERE l.order_id = any(:order_ids::uuid[]) */;

-- name: excluded_where_found
-- Lines that wait for these SKUs and are not to go back to a location where units of them were found.
SELECT l.order_id, l.line_no, l.sku_id, w.location_id
FROM (SELECT DISTINCT * FROM unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id)) w
JOIN orders.lines l USING (sku_id)
WHERE l.backordered > 0 AND w.location_id = any(l.excluded_location_ids) ORDER BY l.order_id, l.line_no, w.location_id;

-- name: written_off_for
-- Units of these SKUs that a short pick of one of these orders has written off, and where: nobody found them then.
SELECT DISTINCT order_id, line_no, location_id FROM inventory.moves
WHERE sku_id = any(:sku_ids::int[]) AND order_id = any(:order_ids::uuid[]) AND kind = 'adjusted';

-- name: include_locations
-- Lines may go back to a location; the try that failed there is not held against them.
UPDATE orders.lines l SET excluded_location_ids = array_remove(l.excluded_location_ids, d.location_id), tries = greatest(l.tries - 1, 0)
FROM unnest(:order_ids::uuid[], :line_nos::int[], :location_ids::int[]) AS d (order_id, line_no, location_id)
WHERE l.order_id = d.order_id AND l.line_no = d.line_no AND d.location_id = any(l.excluded_location_ids)
    /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
RETURNING l.order_id, l.line_no;

-- name: close_found
-- Exceptions of lines whose units were found are over: they are sourced again.
UPDATE orders.exceptions e SET resolved_at = :at::timestamptz, resolution = 'retry', resolved_by = :resolved_by::text
FROM unnest(:order_ids::uuid[], :line_nos::int[]) AS d (order_id, line_no)
WHERE e.order_id = d.order_id AND e.line_no = d.line_no AND e.resolved_at IS NULL
    /* on shards: AND e.order_id = any(:order_ids::uuid[]) */
RETURNING e.order_id, e.line_no, e.exception_id;

-- name: skus_of_lines
-- What some lines are of.
SELECT DISTINCT l.sku_id
FROM unnest(:order_ids::uuid[], :line_nos::int[]) AS d (order_id, line_no) JOIN orders.lines l USING (order_id, line_no)
/* on shards: WHERE l.order_id = any(:order_ids::uuid[]) */;

-- name: placed_orders
-- Orders placed within some time, oldest first, a page at a time.
SELECT order_id, channel_id, external_id, customer_id, flow_version, currency, shipping_minor, total_minor, placed_at,
       promised_at, status, type, service_level, shipping_charged_minor, shipping_void_minor, shipping_refunded_minor,
       last_promised_at, ship_by_at
FROM orders.orders
WHERE placed_at >= :after_at::timestamptz AND placed_at < :until::timestamptz
  AND (placed_at, order_id) > (:after_at::timestamptz, :after_id::uuid) AND channel_id = any(:channel_ids::int[])
ORDER BY placed_at, order_id LIMIT :limit::int;

-- name: count_placed
-- How many orders were placed within some time.
SELECT count(*) AS orders FROM orders.orders
WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz AND channel_id = any(:channel_ids::int[]);

-- name: free_before
-- What was free of some SKUs before a time, by the moves.
SELECT sku_id, location_id, sum(on_hand_delta - reserved_delta)::bigint AS free FROM inventory.moves
WHERE sku_id = any(:sku_ids::int[]) AND at < :at::timestamptz GROUP BY sku_id, location_id;

-- name: moves_between
-- What moved of some SKUs within some time, in order.
SELECT sku_id, location_id, at, cause_id, kind, on_hand_delta - reserved_delta AS delta FROM inventory.moves
WHERE sku_id = any(:sku_ids::int[]) AND at >= :since::timestamptz AND at <= :until::timestamptz
  AND on_hand_delta <> reserved_delta
ORDER BY at, cause_id;

-- name: demand_by_region
-- What was ordered since a time, by SKU and by the beginning of the postal code.
SELECT l.sku_id, a.country, left(a.postal_code, 3) AS region, min(a.postal_code) AS postal_code, sum(l.ordered)::bigint AS units
FROM orders.orders o
JOIN orders.addresses a ON a.order_id = o.order_id AND a.kind = 'ship_to'
JOIN orders.lines l ON l.order_id = o.order_id
WHERE o.placed_at >= :since::timestamptz GROUP BY l.sku_id, a.country, left(a.postal_code, 3);

-- name: units_per_order
-- How many units an order has, in the mean, since a time.
SELECT (sum(l.ordered) / nullif(count(DISTINCT o.order_id), 0))::float8 AS units
FROM orders.orders o JOIN orders.lines l ON l.order_id = o.order_id WHERE o.placed_at >= :since::timestamptz;

-- name: open_exceptions
-- One exception a line, unless one of its kind is open, or somebody has said that its units may wait.
INSERT INTO orders.exceptions (order_id, exception_id, kind, line_no, detail, at)
SELECT order_id, exception_id, :kind::text, line_no, detail, :at::timestamptz
FROM unnest(:order_ids::uuid[], :exception_ids::uuid[], :line_nos::int[], :details::text[])
    AS e (order_id, exception_id, line_no, detail)
WHERE NOT EXISTS (SELECT FROM orders.exceptions x WHERE x.order_id = e.order_id AND x.line_no = e.line_no AND x.resolution = 'close'
                  AND x.kind = :kind::text /* on shards: AND x.order_id = any(:order_ids::uuid[]) */)
ON CONFLICT (order_id, line_no, kind) WHERE resolved_at IS NULL DO NOTHING
RETURNING order_id, line_no, exception_id;

-- name: exceptions
-- One page of exceptions, newest first, with the units that they are about as they stand: those that wait, that are not released, that
-- lie open at the location, or that are in the parcel.
SELECT * FROM (
    SELECT e.exception_id, e.order_id, o.external_id, e.kind, e.line_no, s.code AS sku,
           CASE e.kind
               WHEN 'not_sourced' THEN l.backordered - l.stop_wanted
               WHEN 'not_servable' THEN l.backordered - l.stop_wanted
                   + coalesce((SELECT sum(a.quantity - a.released) FROM orders.allocations a
                               WHERE a.order_id = e.order_id AND a.line_no = e.line_no), 0)
               WHEN 'returned_to_sender' THEN e.units
               WHEN 'arrived_after_loss' THEN e.units
               ELSE coalesce((SELECT sum(a.released) FROM orders.allocations a
                              WHERE a.order_id = e.order_id AND a.location_id = e.location_id), 0)
           END::bigint AS units,
           e.detail, e.at, e.resolved_at, e.resolution, e.resolved_by, e.fulfillment_order_id, n.code AS location,
           e.shipment_id
    FROM orders.exceptions e
    JOIN orders.orders o ON o.order_id = e.order_id
    LEFT JOIN orders.lines l ON l.order_id = e.order_id AND l.line_no = e.line_no
    LEFT JOIN catalog.skus s ON s.sku_id = l.sku_id
    LEFT JOIN network.locations n ON n.location_id = e.location_id
    WHERE e.exception_id < :before::uuid AND (:all::boolean OR e.resolved_at IS NULL)
      AND (:sellers::text[] IS NULL OR o.channel_id IN (
          SELECT c.channel_id FROM catalog.channels c JOIN catalog.sellers t USING (seller_id) WHERE t.code = any(:sellers::text[])))
) AS e
WHERE :all::boolean OR e.units > 0 ORDER BY e.exception_id DESC LIMIT :limit::int;

-- name: open_work_exceptions
-- One exception a fulfillment order, unless one is open, or somebody has said that its work may wait.
INSERT INTO orders.exceptions (order_id, exception_id, kind, detail, at, fulfillment_order_id, location_id)
SELECT order_id, exception_id, 'location_closed', detail, :at::timestamptz, fulfillment_order_id, location_id
FROM unnest(:order_ids::uuid[], :exception_ids::uuid[], :fulfillment_order_ids::uuid[], :location_ids::int[], :details::text[])
    AS e (order_id, exception_id, fulfillment_order_id, location_id, detail)
WHERE (order_id, fulfillment_order_id) NOT IN (
    SELECT x.order_id, x.fulfillment_order_id FROM orders.exceptions x
    WHERE x.order_id = any(:order_ids::uuid[]) AND x.kind = 'location_closed' AND x.resolution = 'close')
ON CONFLICT (order_id, fulfillment_order_id) WHERE resolved_at IS NULL DO NOTHING
RETURNING order_id, exception_id, fulfillment_order_id, location_id;

-- name: open_parcel_exceptions
-- One exception of a kind a parcel, unless one is open.
INSERT INTO orders.exceptions (order_id, exception_id, kind, detail, at, shipment_id, units)
SELECT order_id, exception_id, :kind::text, detail, :at::timestamptz, shipment_id, units
FROM unnest(:order_ids::uuid[], :exception_ids::uuid[], :shipment_ids::uuid[], :units::bigint[], :details::text[])
    AS e (order_id, exception_id, shipment_id, units, detail)
ON CONFLICT (order_id, shipment_id, kind) WHERE resolved_at IS NULL DO NOTHING;

-- name: open_parcel_exceptions_of
-- The open exceptions of a kind that these parcels have.
SELECT e.order_id, e.exception_id
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id) JOIN orders.exceptions e USING (order_id, shipment_id)
WHERE e.kind = :kind::text AND e.resolved_at IS NULL /* on shards: AND e.order_id = any(:order_ids::uuid[]) */;

-- name: count_parcel_units
-- So many units are still in the parcels.
UPDATE orders.exceptions e SET units = w.units
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :units::bigint[]) AS w (order_id, shipment_id, units)
WHERE e.order_id = w.order_id AND e.shipment_id = w.shipment_id AND e.kind = :kind::text AND e.resolved_at IS NULL
  /* on shards: AND e.order_id = any(:order_ids::uuid[]) */;

-- name: open_exceptions_of
-- The open exceptions of a kind that some orders have.
SELECT order_id, exception_id, line_no FROM orders.exceptions
WHERE order_id = any(:order_ids::uuid[]) AND kind = :kind::text AND resolved_at IS NULL;

-- name: orders_with_exceptions
-- Orders that have an open exception of a kind, a page at a time.
SELECT DISTINCT order_id FROM orders.exceptions
WHERE kind = :kind::text AND resolved_at IS NULL AND order_id > :after::uuid ORDER BY order_id LIMIT :limit::int;

-- name: clear_exceptions
-- What stood against them is gone, without anybody's doing.
UPDATE orders.exceptions SET resolved_at = :at::timestamptz, resolution = 'cleared'
WHERE order_id = any(:order_ids::uuid[]) AND exception_id = any(:exception_ids::uuid[]) AND resolved_at IS NULL
RETURNING order_id, exception_id, line_no, fulfillment_order_id, shipment_id;

-- name: orders_that_wait
-- Orders with units that wait, a page at a time.
SELECT DISTINCT order_id FROM orders.lines
WHERE backordered > 0 AND backordered > stop_wanted AND order_id > :after::uuid ORDER BY order_id LIMIT :limit::int;

-- name: orders_that_keep
-- Orders with units that stay at closed locations, a page at a time.
SELECT DISTINCT order_id FROM orders.allocations
WHERE kept_at IS NOT NULL AND order_id > :after::uuid ORDER BY order_id LIMIT :limit::int;

-- name: orders_not_released
-- A page of orders, newest first, and whether units of them are allocated and not released.
SELECT o.order_id, o.placed_at,
       o.status IN ('allocated', 'partially_backordered', 'in_fulfillment', 'partially_shipped')
       AND EXISTS (SELECT 1 FROM orders.allocations a WHERE a.order_id = o.order_id AND a.quantity > a.released) AS tentative
FROM orders.orders o
WHERE o.placed_at >= :since::timestamptz AND (o.placed_at, o.order_id) < (:before_at::timestamptz, :before_id::uuid)
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT :limit::int;

-- name: exception
-- One exception.
SELECT order_id, line_no, kind, location_id, shipment_id, resolved_at, resolution FROM orders.exceptions WHERE exception_id = :exception_id::uuid;

-- name: resolve_exception
-- A person has seen to it.
UPDATE orders.exceptions SET resolved_at = :at::timestamptz, resolution = :resolution::text, resolved_by = :resolved_by::text
WHERE order_id = :order_id::uuid AND exception_id = :exception_id::uuid;

-- name: tentative_orders
-- Orders whose allocations nobody works on yet, first placed first, a page at a time.
SELECT o.order_id, o.placed_at, o.currency FROM orders.orders o
WHERE o.placed_at >= :since::timestamptz AND (o.placed_at, o.order_id) > (:after_at::timestamptz, :after_id::uuid)
  AND o.status IN ('allocated', 'partially_backordered')
  AND EXISTS (SELECT FROM orders.allocations a WHERE a.order_id = o.order_id AND a.quantity > 0)
  AND NOT EXISTS (SELECT FROM orders.allocations a WHERE a.order_id = o.order_id AND a.released > 0)
ORDER BY o.placed_at, o.order_id LIMIT :limit::int;

-- reading ------------------------------------------------------------------------------------------------------------

-- name: order
-- One order, by its id.
SELECT o.*, o.total_minor - o.dropped_minor AS accepted_total_minor, c.code AS channel, p.status AS payment_status, p.provider, p.method,
       p.authorized_minor, p.voided_minor, p.captured_minor, p.refunded_minor, p.due_minor
FROM orders.orders o JOIN catalog.channels c USING (channel_id) JOIN orders.payments p USING (order_id)
WHERE o.order_id = :order_id::uuid;

-- name: order_lines
-- Its lines with the codes of their SKUs.
SELECT l.*, k.code AS sku FROM orders.lines l JOIN catalog.skus k USING (sku_id) WHERE l.order_id = :order_id::uuid ORDER BY line_no;

-- name: order_address
-- Where it goes.
SELECT name, line1, line2, city, region, postal_code, country, email, phone FROM orders.addresses
WHERE order_id = :order_id::uuid AND kind = 'ship_to';

-- name: order_by_key
-- The order that a channel knows under this id.
SELECT k.order_id FROM orders.order_keys k JOIN catalog.channels c USING (channel_id)
WHERE c.code = :channel::text AND k.external_id = :external_id::text
  AND (:sellers::text[] IS NULL OR c.seller_id IN (SELECT s.seller_id FROM catalog.sellers s WHERE s.code = any(:sellers::text[])));

-- name: orders_by_keys
-- The orders that channels know under these ids.
SELECT c.code AS channel, k.external_id, k.order_id
FROM unnest(:channels::text[], :external_ids::text[]) AS n (channel, external_id)
JOIN catalog.channels c ON c.code = n.channel
JOIN orders.order_keys k ON k.channel_id = c.channel_id AND k.external_id = n.external_id;

-- name: count_exported
-- How many orders an export writes.
SELECT count(*) AS orders FROM orders.orders
WHERE placed_at >= :since::timestamptz AND placed_at < :until::timestamptz AND channel_id = any(:channel_ids::int[])
  AND (:status::text IS NULL OR status = :status::text);

-- name: export_orders
-- Orders placed within some time, oldest first, a page at a time, as they are listed.
SELECT o.order_id, c.code AS channel, o.external_id, o.status, o.placed_at, o.promised_at,
       coalesce(o.last_promised_at, o.promised_at) AS last_promised_at, o.ship_by_at, o.currency, o.total_minor,
       o.total_minor - o.dropped_minor AS accepted_total_minor
FROM orders.orders o JOIN catalog.channels c USING (channel_id)
WHERE o.placed_at >= :after_at::timestamptz AND o.placed_at < :until::timestamptz
  AND (o.placed_at, o.order_id) > (:after_at::timestamptz, :after_id::uuid) AND o.channel_id = any(:channel_ids::int[])
  AND (:status::text IS NULL OR o.status = :status::text)
ORDER BY o.placed_at, o.order_id LIMIT :limit::int;

-- name: export_lines
-- Lines of orders with the codes of their SKUs.
SELECT l.order_id, l.line_no, k.code AS sku, l.ordered, l.unit_price_minor, l.amount_minor, l.backordered, l.allocated, l.picked, l.packed,
       l.shipped, l.delivered, l.returned, l.cancelled
FROM orders.lines l JOIN catalog.skus k USING (sku_id)
WHERE l.order_id = any(:order_ids::uuid[]) ORDER BY l.order_id, l.line_no;

-- name: list_orders
-- Orders, newest first, a page at a time.
SELECT o.order_id, c.code AS channel, o.external_id, o.status, o.placed_at, o.promised_at,
       coalesce(o.last_promised_at, o.promised_at) AS last_promised_at, o.ship_by_at, o.currency, o.total_minor,
       o.total_minor - o.dropped_minor AS accepted_total_minor
FROM orders.orders o JOIN catalog.channels c USING (channel_id)
WHERE (:after_at::timestamptz IS NULL OR (o.placed_at, o.order_id) < (:after_at::timestamptz, :after_id::uuid))
  AND (:status::text IS NULL OR o.status = :status::text)
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT :limit::int;

-- name: list_orders_of_channel
-- Those of one channel, newest first, a page at a time.
SELECT o.order_id, c.code AS channel, o.external_id, o.status, o.placed_at, o.promised_at,
       coalesce(o.last_promised_at, o.promised_at) AS last_promised_at, o.ship_by_at, o.currency, o.total_minor,
       o.total_minor - o.dropped_minor AS accepted_total_minor
FROM orders.orders o JOIN catalog.channels c USING (channel_id)
WHERE o.channel_id = :channel_id::int AND (:after_at::timestamptz IS NULL OR (o.placed_at, o.order_id) < (:after_at::timestamptz, :after_id::uuid))
  AND (:status::text IS NULL OR o.status = :status::text)
ORDER BY o.placed_at DESC, o.order_id DESC LIMIT :limit::int;

-- name: channels_of_sellers
-- The channels of some sellers, or of all; or one of them.
SELECT c.channel_id FROM catalog.channels c JOIN catalog.sellers s USING (seller_id)
WHERE (:sellers::text[] IS NULL OR s.code = any(:sellers::text[])) AND (:channel::text IS NULL OR c.code = :channel::text)
ORDER BY c.channel_id;

-- payments -----------------------------------------------------------------------------------------------------------

-- name: worth
-- What these orders were accepted for. Orders of which everything was cancelled and nothing ever shipped do not come back.
SELECT o.order_id, o.total_minor - o.dropped_minor AS worth_minor
FROM orders.orders o
WHERE o.order_id = any(:order_ids::uuid[])
  AND (o.status <> 'cancelled' OR EXISTS (SELECT FROM orders.moves m WHERE m.order_id = o.order_id AND m.to_state = 'shipped'));

-- name: still_queued
-- For which of these orders a reaction of this kind is still to run.
SELECT DISTINCT subject_id FROM core.reactions
WHERE kind = :kind::text AND subject_id = any(:order_ids::uuid[]) AND dead_at IS NULL;

-- name: still_to_move
-- For which of these orders a reaction of this kind is still to run, now or once a person replays it.
SELECT DISTINCT subject_id FROM core.reactions
WHERE kind = :kind::text AND subject_id IN (SELECT * FROM unnest(:order_ids::uuid[]));

-- name: other_calls
-- Of which of these orders another reaction of this kind is being called.
SELECT DISTINCT subject_id FROM core.reactions
WHERE lease IS NOT NULL AND kind = :kind::text AND subject_id = any(:order_ids::uuid[])
  AND id NOT IN (SELECT * FROM unnest(:ids::uuid[]));

-- name: known_payment_moves
-- Which of these events have moved money already.
SELECT m.order_id, m.cause_id
FROM unnest(:order_ids::uuid[], :cause_ids::uuid[]) AS w (order_id, cause_id) JOIN orders.payment_moves m USING (order_id, cause_id)
WHERE m.kind = :kind::text /* on shards: AND m.order_id = any(:order_ids::uuid[]) */;

-- name: money_of
-- What was authorized, captured and refunded for these orders, as it stands, and what their providers are told of them.
SELECT p.order_id, p.provider, p.currency, p.authorized_minor, p.voided_minor, p.captured_minor, p.refunded_minor, p.method,
       o.external_id, c.code AS channel, s.code AS seller, t.token, a.reference AS authorization_reference
FROM orders.payments p JOIN orders.orders o USING (order_id)
JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
LEFT JOIN orders.payment_tokens t USING (order_id)
LEFT JOIN orders.payment_moves a ON a.order_id = p.order_id AND a.kind = 'authorized'
WHERE p.order_id = any(:order_ids::uuid[]);

-- name: captures_of
-- What was captured for these orders, oldest first.
SELECT order_id, reference, amount_minor FROM orders.payment_moves
WHERE order_id = any(:order_ids::uuid[]) AND kind = 'captured' ORDER BY order_id, at, cause_id;

-- name: keep_tokens
-- Tokens that came with new orders, for as long as their authorization takes.
INSERT INTO orders.payment_tokens (order_id, token) SELECT * FROM unnest(:order_ids::uuid[], :tokens::text[]);

-- name: forget_tokens
-- Tokens that have done what they were sent for.
DELETE FROM orders.payment_tokens WHERE order_id = any(:order_ids::uuid[]);

-- name: forget_idle_tokens
-- Tokens of cancelled orders, which nobody will use.
DELETE FROM orders.payment_tokens t USING orders.orders o
WHERE o.order_id = t.order_id AND o.status = 'cancelled'
  AND t.order_id NOT IN (SELECT r.subject_id FROM core.reactions r WHERE r.kind = 'authorize');

-- name: take_over
-- Authorizations that were made elsewhere: the moves and the balances in one statement.
WITH m AS (
    SELECT * FROM unnest(:order_ids::uuid[], :cause_ids::uuid[], :amounts::bigint[], :references::text[])
        AS m (order_id, cause_id, amount_minor, reference)
), written AS (
    INSERT INTO orders.payment_moves (order_id, cause_id, kind, amount_minor, reference, at)
    SELECT order_id, cause_id, 'authorized', amount_minor, reference, :at::timestamptz FROM m
)
UPDATE orders.payments p SET authorized_minor = p.authorized_minor + m.amount_minor, taken_over = true
FROM m WHERE p.order_id = m.order_id /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- name: write_notes
-- What was written about orders.
INSERT INTO orders.notes (order_id, note_id, about, text, written_by, written_at)
SELECT n.*, :written_by::text, :at::timestamptz
FROM unnest(:order_ids::uuid[], :note_ids::uuid[], :abouts::text[], :texts::text[]) AS n;

-- name: notes_of_order
-- What was written about an order, oldest first.
SELECT note_id, about, text, written_by, written_at FROM orders.notes
WHERE order_id = :order_id::uuid ORDER BY written_at, note_id;

-- name: erase_notes
-- All of it, for good.
DELETE FROM orders.notes WHERE order_id = :order_id::uuid RETURNING note_id;

-- name: units_waiting
-- How many units orders of these channels wait for, of these SKUs and of what those among them that are kits are made of.
SELECT coalesce(k.component_sku_id, l.sku_id) AS sku_id,
       sum((l.backordered - l.stop_wanted) * coalesce(k.quantity, 1))::bigint AS quantity
FROM orders.lines l JOIN orders.orders o USING (order_id) LEFT JOIN inventory.kit_lines k USING (order_id, line_no)
WHERE l.sku_id = any(:sku_ids::int[]) AND l.backordered > 0 AND o.channel_id = any(:channel_ids::int[])
GROUP BY coalesce(k.component_sku_id, l.sku_id);

-- name: reserved_at
-- Who holds units of a position.
SELECT order_id, line_no, quantity, expires_at FROM inventory.reservations
WHERE sku_id = :sku_id::int AND location_id = :location_id::int AND quantity > 0;

-- name: at_risk
-- Who holds units of a position, the last placed first: orders of some sellers, or whoever does.
SELECT r.order_id, o.external_id, r.line_no, r.quantity, coalesce(o.last_promised_at, o.promised_at) AS promised_at
FROM inventory.reservations r LEFT JOIN orders.orders o USING (order_id)
WHERE r.sku_id = :sku_id::int AND r.location_id = :location_id::int AND r.quantity > 0
  AND (:sellers::text[] IS NULL OR o.channel_id IN (
      SELECT c.channel_id FROM catalog.channels c JOIN catalog.sellers t USING (seller_id) WHERE t.code = any(:sellers::text[])))
ORDER BY r.order_id DESC, r.line_no LIMIT :limit::int;

-- name: shortfalls_page
-- One page of shortfalls, newest first, at some locations or at all.
SELECT f.shortfall_id, f.sku_id, s.code AS sku, f.location_id, f.missing, f.open, f.resolved, f.recovered, f.document, f.found_at,
       f.closed_at, f.note
FROM inventory.shortfalls f JOIN catalog.skus s USING (sku_id)
WHERE f.shortfall_id < :before::uuid AND (f.open > 0 OR :all::boolean)
  AND (:location_ids::int[] IS NULL OR f.location_id = any(:location_ids::int[]))
ORDER BY f.shortfall_id DESC LIMIT :limit::int;

-- name: sellers_of_orders
-- Whose orders these are.
SELECT o.order_id, s.code AS seller
FROM orders.orders o JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
WHERE o.order_id = any(:order_ids::uuid[]);

-- name: sellers_of_exceptions
-- Of whose orders these exceptions are.
SELECT e.exception_id, s.code AS seller
FROM orders.exceptions e JOIN orders.orders o USING (order_id)
JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
WHERE e.exception_id = any(:exception_ids::uuid[]);
