-- messages -----------------------------------------------------------------------------------------------------------------

-- name: told_orders
-- What messages say of these orders, and to whom they go.
SELECT o.order_id, o.channel_id, o.external_id, o.customer_id, o.currency, o.placed_at,
       least(o.shipping_minor, o.total_minor) AS net_shipping_minor,  -- less what a discount took off it
       o.total_minor - o.dropped_minor AS accepted_total_minor, coalesce(o.last_promised_at, o.promised_at) AS promised_at,
       s.name AS seller, a.name, a.email
FROM orders.orders o
     JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
     LEFT JOIN orders.addresses a ON a.order_id = o.order_id AND a.kind = 'ship_to'
          /* on shards: AND a.order_id = any(:order_ids::uuid[]) */
WHERE o.order_id = any(:order_ids::uuid[]);

-- name: told_customers
-- Where customers can be reached whose orders do not say it.
SELECT customer_id, name, email FROM orders.customers WHERE customer_id = any(:customer_ids::uuid[]);

-- name: told_lines
-- What was ordered, and whether placement accepted it.
SELECT l.order_id, l.line_no, l.sku_id, l.ordered, l.amount_minor,
       l.cancelled = 0 OR NOT EXISTS (SELECT FROM orders.moves m WHERE m.order_id = l.order_id AND m.line_no = l.line_no
                                      AND m.from_state = 'ordered' AND m.to_state = 'cancelled') AS accepted
FROM orders.lines l
WHERE l.order_id = any(:order_ids::uuid[]) ORDER BY l.order_id, l.line_no;

-- name: sku_names
-- What things are called.
SELECT sku_id, name, unit_scale FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]);

-- name: write_messages
-- One message a fact and template. Only new ones come back.
INSERT INTO aftercare.messages (order_id, event_id, template, recipient, subject, body, written_at)
SELECT order_id, event_id, template, recipient, subject, body, :at::timestamptz
FROM unnest(:order_ids::uuid[], :event_ids::uuid[], :templates::text[], :recipients::text[], :subjects::text[], :bodies::text[])
    AS m (order_id, event_id, template, recipient, subject, body)
ON CONFLICT (order_id, event_id, template) DO NOTHING
RETURNING order_id, event_id, template;

-- name: unsent_messages
-- Messages that still wait in the outbox.
SELECT m.order_id, m.event_id, m.template, m.recipient, m.subject, m.body, m.written_at
FROM unnest(:order_ids::uuid[], :event_ids::uuid[], :templates::text[]) AS w (order_id, event_id, template)
JOIN aftercare.messages m USING (order_id, event_id, template)
WHERE m.sent_at IS NULL /* on shards: AND m.order_id = any(:order_ids::uuid[]) */;

-- name: mark_sent
-- They have left the outbox.
UPDATE aftercare.messages m SET sent_at = :at::timestamptz
FROM unnest(:order_ids::uuid[], :event_ids::uuid[], :templates::text[]) AS w (order_id, event_id, template)
WHERE m.order_id = w.order_id AND m.event_id = w.event_id AND m.template = w.template
  /* on shards: AND m.order_id = any(:order_ids::uuid[]) */;

-- name: messages_of_order
-- What the customer of an order was told, oldest first.
SELECT event_id, template, recipient, subject, body, written_at, sent_at FROM aftercare.messages
WHERE order_id = :order_id::uuid ORDER BY written_at, event_id, template;

-- name: order_exists
-- Is there such an order?
SELECT order_id FROM orders.orders WHERE order_id = :order_id::uuid;

-- returns ------------------------------------------------------------------------------------------------------------------

-- name: return_lines
-- What has been authorized of these orders, and what became of it. Their orders are locked.
SELECT l.order_id, l.return_id, l.line_no, l.component_sku_id, l.location_id AS kept_location_id, l.sku_id, l.reason, l.authorized,
       l.restocked, l.scrapped, l.cancelled, l.refund_minor, l.received_at,
       CASE l.location_id WHEN 0 THEN r.location_id ELSE l.location_id END AS location_id
FROM aftercare.return_lines l JOIN aftercare.returns r USING (order_id, return_id)
WHERE l.order_id = any(:order_ids::uuid[]) /* on shards: AND r.order_id = any(:order_ids::uuid[]) */
ORDER BY l.order_id, l.return_id, l.line_no, l.component_sku_id, l.location_id;

-- name: last_delivered
-- When parcels of these orders last arrived.
SELECT order_id, max(delivered_at) AS at FROM tracking.parcels
WHERE order_id = any(:order_ids::uuid[]) AND delivered_at IS NOT NULL GROUP BY order_id;

-- name: came_from
-- From where the delivered units of these orders were shipped, line by line.
SELECT c.order_id, c.line_no, f.location_id, sum(c.quantity)::bigint AS quantity
FROM tracking.parcels t
JOIN warehouse.packages p USING (order_id, shipment_id)
JOIN warehouse.package_lines c USING (order_id, package_id)
JOIN warehouse.fulfillment_orders f ON f.order_id = p.order_id AND f.fulfillment_order_id = p.fulfillment_order_id
WHERE t.order_id = any(:order_ids::uuid[]) AND t.delivered_at IS NOT NULL
  /* on shards: AND p.order_id = any(:order_ids::uuid[]) AND c.order_id = any(:order_ids::uuid[])
     AND f.order_id = any(:order_ids::uuid[]) */
GROUP BY c.order_id, c.line_no, f.location_id ORDER BY c.order_id, c.line_no, f.location_id;

-- name: kit_parts
-- What the kits of lines of these orders were made of when they were ordered, with the codes of the components.
SELECT k.order_id, k.line_no, k.component_sku_id, k.quantity, s.code
FROM inventory.kit_lines k JOIN catalog.skus s ON s.sku_id = k.component_sku_id
WHERE k.order_id = any(:order_ids::uuid[]) ORDER BY k.order_id, k.line_no, k.component_sku_id;

-- name: write_returns
-- Returns that were authorized.
INSERT INTO aftercare.returns (order_id, return_id, location_id, authorized_at)
SELECT r.*, :at::timestamptz FROM unnest(:order_ids::uuid[], :return_ids::uuid[], :location_ids::int[]) AS r;

-- name: write_return_lines
-- Lines of returns as they are now. Their orders are locked.
INSERT INTO aftercare.return_lines AS l (order_id, return_id, line_no, component_sku_id, location_id, sku_id, reason, authorized,
                                         restocked, scrapped, cancelled, refund_minor, received_at)
SELECT * FROM unnest(:order_ids::uuid[], :return_ids::uuid[], :line_nos::int[], :component_sku_ids::int[], :location_ids::int[],
                     :sku_ids::int[], :reasons::text[], :authorized::bigint[], :restocked::bigint[], :scrapped::bigint[],
                     :cancelled::bigint[], :refunds::bigint[], :received_ats::timestamptz[])
ON CONFLICT (order_id, return_id, line_no, component_sku_id, location_id) DO UPDATE
SET authorized = excluded.authorized, restocked = excluded.restocked, scrapped = excluded.scrapped,
    cancelled = excluded.cancelled, refund_minor = excluded.refund_minor, received_at = excluded.received_at;

-- name: mark_received
-- Units of these returns arrived.
UPDATE aftercare.returns r SET received_at = :at::timestamptz
FROM unnest(:order_ids::uuid[], :return_ids::uuid[]) AS d (order_id, return_id)
WHERE r.order_id = d.order_id AND r.return_id = d.return_id
  /* on shards: AND r.order_id = any(:order_ids::uuid[]) */;

-- name: returns_of_order
-- The returns of an order, oldest first.
SELECT return_id, authorized_at, received_at FROM aftercare.returns WHERE order_id = :order_id::uuid ORDER BY return_id;

-- name: sku_codes
-- The codes of SKUs.
SELECT sku_id, code FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]);

-- refunds ------------------------------------------------------------------------------------------------------------------

-- name: declined_charges
-- What was charged for these orders and never captured, because the provider said no.
SELECT subject_id AS order_id, sum((data->>'amount_minor')::bigint)::bigint AS amount_minor FROM core.events
WHERE subject_id = any(:order_ids::uuid[]) AND kind = 'payment_declined' AND data->>'of' = 'capture' GROUP BY subject_id;

-- name: write_refunds
-- Refunds that were asked for, with their lines.
WITH r AS (
    INSERT INTO aftercare.refunds (order_id, refund_id, amount_minor, shipping_minor, goodwill_minor, reason, asked_by, asked_at)
    SELECT r.*, :asked_by::text, :at::timestamptz
    FROM unnest(:order_ids::uuid[], :refund_ids::uuid[], :amounts::bigint[], :shipping::bigint[], :goodwill::bigint[],
                :reasons::text[]) AS r
)
INSERT INTO aftercare.refund_lines (order_id, refund_id, line_no, amount_minor)
SELECT * FROM unnest(:line_order_ids::uuid[], :line_refund_ids::uuid[], :line_nos::int[], :line_amounts::bigint[]);

-- name: refunds_of_order
-- The refunds without goods of an order, oldest first, and when the money went back.
SELECT r.refund_id, r.amount_minor, r.shipping_minor, r.goodwill_minor, r.reason, n.text AS note, r.asked_by, r.asked_at,
       m.at AS refunded_at
FROM aftercare.refunds r
LEFT JOIN orders.notes n ON n.order_id = r.order_id AND n.note_id = r.refund_id
LEFT JOIN orders.payment_moves m ON m.order_id = r.order_id AND m.cause_id = r.refund_id AND m.kind = 'refunded'
WHERE r.order_id = :order_id::uuid ORDER BY r.refund_id;

-- name: refund_lines_of_order
-- Their lines.
SELECT refund_id, line_no, amount_minor FROM aftercare.refund_lines
WHERE order_id = :order_id::uuid ORDER BY refund_id, line_no;

-- surveys ------------------------------------------------------------------------------------------------------------------

-- name: ask
-- An order is asked once. Only those come back that were not asked before.
INSERT INTO aftercare.surveys (order_id, asked_at)
SELECT order_id, :at::timestamptz FROM unnest(:order_ids::uuid[]) AS s (order_id)
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id;

-- name: surveys
-- What these orders were asked and answered.
SELECT s.order_id, s.asked_at, s.answered_at, s.answers, n.text AS comment
FROM aftercare.surveys s LEFT JOIN orders.notes n ON n.order_id = s.order_id AND n.note_id = s.order_id
WHERE s.order_id = any(:order_ids::uuid[]);

-- name: answer
-- An order answers once.
UPDATE aftercare.surveys s SET answered_at = :at::timestamptz, answers = a.answers
FROM unnest(:order_ids::uuid[], :answers::jsonb[]) AS a (order_id, answers)
WHERE s.order_id = a.order_id AND s.answered_at IS NULL /* on shards: AND s.order_id = any(:order_ids::uuid[]) */;

-- name: places_of_returns
-- Where the units of these orders' returns are to go.
SELECT DISTINCT r.order_id, r.return_id, p.code AS location
FROM aftercare.returns r
LEFT JOIN aftercare.return_lines l ON l.order_id = r.order_id AND l.return_id = r.return_id AND l.location_id <> 0
JOIN network.locations p ON p.location_id = coalesce(l.location_id, r.location_id)
WHERE r.order_id = any(:order_ids::uuid[]);
