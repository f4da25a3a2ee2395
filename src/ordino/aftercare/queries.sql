-- messages -----------------------------------------------------------------------------------------------------------------

-- name: told_orders
-- What messages say of these orders, and to whom they go.
SELECT o.order_id, o.channel_id, o.external_id, o.customer_id, o.currency, o.shipping_minor, o.total_minor, o.placed_at,
       coalesce(o.last_promised_at, o.promised_at) AS promised_at, s.name AS seller, a.name, a.email
FROM orders.orders o
     JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
     LEFT JOIN orders.addresses a ON a.order_id = o.order_id AND a.kind = 'ship_to'
          /* on shards: AND a.order_id = any(:order_ids::uuid[]) */
WHERE o.order_id = any(:order_ids::uuid[]);

-- name: told_customers
-- Where customers can be reached whose orders do not say it.
SELECT customer_id, name, email FROM orders.customers WHERE customer_id = any(:customer_ids::uuid[]);

-- name: told_lines
-- What was ordered.
SELECT order_id, line_no, sku_id, ordered, amount_minor FROM orders.lines
WHERE order_id = any(:order_ids::uuid[]) ORDER BY order_id, line_no;

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

-- name: outstanding
-- Units of these orders that may still come back with returns that were authorized.
SELECT order_id, line_no, sum(authorized - restocked - scrapped)::bigint AS quantity FROM aftercare.return_lines
WHERE order_id = any(:order_ids::uuid[]) GROUP BY order_id, line_no;

-- name: last_delivered
-- When parcels of these orders last arrived.
SELECT order_id, max(delivered_at) AS at FROM tracking.parcels
WHERE order_id = any(:order_ids::uuid[]) AND delivered_at IS NOT NULL GROUP BY order_id;

-- name: came_from
-- Where these orders last shipped from.
SELECT DISTINCT ON (order_id) order_id, location_id FROM warehouse.fulfillment_orders
WHERE order_id = any(:order_ids::uuid[]) AND shipped > 0 ORDER BY order_id, shipped_at DESC, fulfillment_order_id;

-- name: write_returns
-- Returns that were authorized, with their lines.
WITH r AS (
    INSERT INTO aftercare.returns (order_id, return_id, location_id, authorized_at)
    SELECT r.*, :at::timestamptz FROM unnest(:order_ids::uuid[], :return_ids::uuid[], :location_ids::int[]) AS r
)
INSERT INTO aftercare.return_lines (order_id, return_id, line_no, sku_id, reason, authorized)
SELECT * FROM unnest(:line_order_ids::uuid[], :line_return_ids::uuid[], :line_nos::int[], :sku_ids::int[], :reasons::text[],
                     :authorized::bigint[]);

-- name: return_lines
-- The lines of these returns. Their orders are locked.
SELECT r.order_id, r.return_id, r.location_id, l.line_no, l.sku_id, l.authorized - l.restocked - l.scrapped AS outstanding
FROM unnest(:order_ids::uuid[], :return_ids::uuid[]) AS w (order_id, return_id)
JOIN aftercare.returns r USING (order_id, return_id) JOIN aftercare.return_lines l USING (order_id, return_id)
/* on shards: WHERE r.order_id = any(:order_ids::uuid[]) AND l.order_id = any(:order_ids::uuid[]) */;

-- name: receive
-- Units of returns came back.
WITH d AS (
    SELECT * FROM unnest(:order_ids::uuid[], :return_ids::uuid[], :line_nos::int[], :restocked::bigint[], :scrapped::bigint[],
                         :refunds::bigint[]) AS d (order_id, return_id, line_no, restocked, scrapped, refund)
), moved AS (
    UPDATE aftercare.return_lines l
    SET restocked = l.restocked + d.restocked, scrapped = l.scrapped + d.scrapped, refund_minor = l.refund_minor + d.refund
    FROM d WHERE l.order_id = d.order_id AND l.return_id = d.return_id AND l.line_no = d.line_no
      /* on shards: AND l.order_id = any(:order_ids::uuid[]) */
)
UPDATE aftercare.returns r SET received_at = :at::timestamptz
FROM (SELECT DISTINCT order_id, return_id FROM d) d
WHERE r.order_id = d.order_id AND r.return_id = d.return_id
  /* on shards: AND r.order_id = any(:order_ids::uuid[]) */;

-- name: returns_of_order
-- The returns of an order, oldest first.
SELECT return_id, location_id, authorized_at, received_at FROM aftercare.returns WHERE order_id = :order_id::uuid ORDER BY return_id;

-- name: return_lines_of_order
-- Their lines, with the codes of their SKUs.
SELECT l.return_id, l.line_no, s.code AS sku, l.reason, l.authorized, l.restocked, l.scrapped, l.refund_minor
FROM aftercare.return_lines l JOIN catalog.skus s USING (sku_id)
WHERE l.order_id = :order_id::uuid ORDER BY l.return_id, l.line_no;

-- surveys ------------------------------------------------------------------------------------------------------------------

-- name: ask
-- An order is asked once. Only those come back that were not asked before.
INSERT INTO aftercare.surveys (order_id, asked_at)
SELECT order_id, :at::timestamptz FROM unnest(:order_ids::uuid[]) AS s (order_id)
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id;

-- name: surveys
-- What these orders were asked and answered.
SELECT order_id, asked_at, answered_at, answers, comment FROM aftercare.surveys WHERE order_id = any(:order_ids::uuid[]);

-- name: answer
-- An order answers once.
UPDATE aftercare.surveys s SET answered_at = :at::timestamptz, answers = a.answers, comment = a.comment
FROM unnest(:order_ids::uuid[], :answers::jsonb[], :comments::text[]) AS a (order_id, answers, comment)
WHERE s.order_id = a.order_id AND s.answered_at IS NULL /* on shards: AND s.order_id = any(:order_ids::uuid[]) */;
