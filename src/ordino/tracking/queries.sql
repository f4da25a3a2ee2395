-- name: write_parcels
-- What was shipped is on its way, once, held to what its customer was told; nobody told him anything of an order without a date, so
-- that its parcels are held to the plan. Returns the first of these dates, at which each new parcel is looked at.
INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, planned_at,
    last_promised_at)
SELECT s.order_id, s.shipment_id, s.tracking_number, coalesce(o.promised_at, s.promised_at), s.promised_at, s.shipped_at, s.promised_at,
       o.last_promised_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN warehouse.shipments s USING (order_id, shipment_id) JOIN orders.orders o USING (order_id)
/* on shards: WHERE s.order_id = any(:order_ids::uuid[]) AND o.order_id = any(:order_ids::uuid[]) */
ON CONFLICT (order_id, shipment_id) DO NOTHING
RETURNING order_id, shipment_id, least(promised_at, planned_at, last_promised_at) AS look_at;

-- name: not_begun
-- Shipments of these orders that are no parcels yet.
SELECT s.order_id, s.shipment_id, s.tracking_number FROM warehouse.shipments s
WHERE s.order_id = any(:order_ids::uuid[])
  AND NOT EXISTS (SELECT 1 FROM tracking.parcels p WHERE p.order_id = s.order_id AND p.shipment_id = s.shipment_id
                  /* on shards: AND p.order_id = any(:order_ids::uuid[]) */)
ORDER BY s.order_id, s.shipment_id;

-- name: behind_numbers
-- Which shipments are the parcels under these numbers, the first one first.
SELECT tracking_number, order_id, shipment_id FROM warehouse.tracking_numbers
WHERE tracking_number = any(:tracking_numbers::text[])
ORDER BY tracking_number, first DESC, shipment_id;

-- name: shipped_from
-- From which locations these shipments left.
SELECT s.order_id, s.shipment_id, l.code AS location
FROM warehouse.shipments s JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
JOIN network.locations l USING (location_id)
WHERE s.order_id = any(:order_ids::uuid[]) AND s.shipment_id = any(:shipment_ids::uuid[]);

-- name: parcels
-- These parcels, with what their customers were told last. Their orders are locked.
SELECT p.order_id, p.shipment_id, p.tracking_number, p.promised_at, p.expected_at, p.shipped_at, p.late_at, p.delivered_at, p.lost_at,
       coalesce(p.last_promised_at, o.last_promised_at, p.promised_at) AS told_at,
       coalesce(p.planned_at, p.promised_at) AS planned_at, p.behind_plan_at, p.returning_at, p.back_at, p.received_back_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN tracking.parcels p USING (order_id, shipment_id) JOIN orders.orders o USING (order_id)
/* on shards: WHERE p.order_id = any(:order_ids::uuid[]) AND o.order_id = any(:order_ids::uuid[]) */;

-- name: record_events
-- What the carrier said, once. Only new words come back.
INSERT INTO tracking.tracking_events (order_id, shipment_id, kind, at, received_at, place, detail)
SELECT order_id, shipment_id, kind, at, :received_at::timestamptz, place, detail
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :kinds::text[], :ats::timestamptz[], :places::text[], :details::text[])
    AS e (order_id, shipment_id, kind, at, place, detail)
ON CONFLICT DO NOTHING
RETURNING shipment_id, kind, at;

-- name: change_parcels
-- What became of parcels.
UPDATE tracking.parcels p
SET expected_at = c.expected_at, late_at = c.late_at, delivered_at = c.delivered_at, lost_at = c.lost_at,
    returning_at = c.returning_at, back_at = c.back_at, received_back_at = c.received_back_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :expected_ats::timestamptz[], :late_ats::timestamptz[],
            :delivered_ats::timestamptz[], :lost_ats::timestamptz[], :returning_ats::timestamptz[], :back_ats::timestamptz[],
            :received_back_ats::timestamptz[])
    AS c (order_id, shipment_id, expected_at, late_at, delivered_at, lost_at, returning_at, back_at, received_back_at)
WHERE p.order_id = c.order_id AND p.shipment_id = c.shipment_id
  /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- name: contents
-- What of these shipments has not come back, line by line.
SELECT order_id, shipment_id, line_no, sum(quantity)::bigint AS quantity
FROM (SELECT p.order_id, p.shipment_id, l.line_no, l.quantity
      FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
      JOIN warehouse.packages p USING (order_id, shipment_id) JOIN warehouse.package_lines l USING (order_id, package_id)
      WHERE l.quantity > 0 /* on shards: AND p.order_id = any(:order_ids::uuid[]) AND l.order_id = any(:order_ids::uuid[]) */
      UNION ALL
      SELECT r.order_id, r.shipment_id, r.line_no, -(r.restocked + r.scrapped + r.lost)
      FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
      JOIN tracking.receipts r USING (order_id, shipment_id) /* on shards: WHERE r.order_id = any(:order_ids::uuid[]) */) c
GROUP BY order_id, shipment_id, line_no HAVING sum(quantity) > 0 ORDER BY 1, 2, 3;

-- name: said_before
-- When carriers have said this of these parcels.
SELECT e.shipment_id, e.kind, e.at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :kinds::text[]) AS w (order_id, shipment_id, kind)
JOIN tracking.tracking_events e USING (order_id, shipment_id, kind)
/* on shards: WHERE e.order_id = any(:order_ids::uuid[]) */
ORDER BY e.at;

-- name: write_receipts
-- Units of parcels came back.
INSERT INTO tracking.receipts (order_id, shipment_id, receipt_id, line_no, location_id, restocked, scrapped, lost, next, refund_minor, at)
SELECT r.*, :at::timestamptz
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :receipt_ids::uuid[], :line_nos::int[], :location_ids::int[],
            :restocked::bigint[], :scrapped::bigint[], :lost::bigint[], :nexts::text[], :refunds::bigint[]) AS r;

-- name: places_of_shipments
-- Where these shipments came from.
SELECT s.order_id, s.shipment_id, s.tracking_number, f.location_id
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN warehouse.shipments s USING (order_id, shipment_id) JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
/* on shards: WHERE s.order_id = any(:order_ids::uuid[]) AND f.order_id = any(:order_ids::uuid[]) */;

-- what nothing has left under yet ------------------------------------------------------------------------------------------

-- name: count_unmatched
-- How many events of unknown numbers are kept, up to a limit.
SELECT count(*)::int AS events FROM (SELECT 1 FROM tracking.unmatched_events LIMIT :limit::int) u;

-- name: unmatched_kinds
-- What is kept of these numbers.
SELECT tracking_number, kind, at FROM tracking.unmatched_events WHERE tracking_number = any(:tracking_numbers::text[]) ORDER BY at;

-- name: keep_unmatched
-- What a carrier said of an unknown number, once. Only new words come back.
INSERT INTO tracking.unmatched_events (tracking_number, kind, at, event_id, received_at, place, detail, expected_at)
SELECT tracking_number, kind, at, event_id, :received_at::timestamptz, place, detail, expected_at
FROM unnest(:tracking_numbers::text[], :kinds::text[], :ats::timestamptz[], :event_ids::uuid[], :places::text[],
            :details::text[], :expected_ats::timestamptz[])
    AS e (tracking_number, kind, at, event_id, place, detail, expected_at)
ORDER BY tracking_number, kind, at
ON CONFLICT DO NOTHING
RETURNING tracking_number, kind, at;

-- name: take_unmatched
-- What was kept of these numbers is no longer kept: it happens to their parcels.
WITH taken AS (
    SELECT tracking_number, kind, at FROM tracking.unmatched_events WHERE tracking_number = any(:tracking_numbers::text[])
    ORDER BY tracking_number, kind, at
    FOR UPDATE
)
DELETE FROM tracking.unmatched_events u USING taken t
WHERE u.tracking_number = t.tracking_number AND u.kind = t.kind AND u.at = t.at
  /* on shards: AND u.tracking_number = any(:tracking_numbers::text[]) */
RETURNING u.tracking_number, u.kind, u.at, u.place, u.detail, u.expected_at;

-- name: matched_numbers
-- Numbers that are known by now, though events of them are kept.
SELECT DISTINCT u.tracking_number FROM tracking.unmatched_events u JOIN warehouse.tracking_numbers n USING (tracking_number)
ORDER BY u.tracking_number LIMIT :limit::int;

-- name: forget_unmatched
-- What nobody has shipped for so long is not going to be shipped. What is taken at this moment is passed over.
WITH old AS (
    SELECT tracking_number, kind, at FROM tracking.unmatched_events WHERE event_id < :before::uuid
    ORDER BY tracking_number, kind, at
    FOR UPDATE SKIP LOCKED
)
DELETE FROM tracking.unmatched_events u USING old o
WHERE u.tracking_number = o.tracking_number AND u.kind = o.kind AND u.at = o.at;

-- name: unmatched
-- One page of what is kept, newest first.
SELECT event_id, tracking_number, kind, at, received_at, place, detail, expected_at FROM tracking.unmatched_events
WHERE event_id < :before::uuid ORDER BY event_id DESC LIMIT :limit::int;

-- name: mark_late
-- Parcels that should have arrived and did not: by what was told, or only by the plan.
UPDATE tracking.parcels p SET late_at = w.late_at, behind_plan_at = w.behind_plan_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :late_ats::timestamptz[], :behind_plan_ats::timestamptz[])
    AS w (order_id, shipment_id, late_at, behind_plan_at)
WHERE p.order_id = w.order_id AND p.shipment_id = w.shipment_id /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- name: parcels_under_way
-- The parcels of these orders that are still to arrive, with what their customers were told last. Their orders are locked.
SELECT p.order_id, p.shipment_id, coalesce(p.last_promised_at, o.last_promised_at, p.promised_at) AS told_at
FROM tracking.parcels p JOIN orders.orders o USING (order_id)
WHERE p.order_id = any(:order_ids::uuid[]) AND p.delivered_at IS NULL AND p.lost_at IS NULL AND p.returning_at IS NULL
/* on shards: AND o.order_id = any(:order_ids::uuid[]) */;

-- name: tell_parcels
-- What customers are told of these parcels from now on.
UPDATE tracking.parcels p SET last_promised_at = w.last_promised_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :last_promised_ats::timestamptz[]) AS w (order_id, shipment_id, last_promised_at)
WHERE p.order_id = w.order_id AND p.shipment_id = w.shipment_id /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- name: late_before
-- Which of these orders' numbers were late before.
SELECT DISTINCT p.order_id, p.tracking_number FROM tracking.parcels p
WHERE p.order_id = any(:order_ids::uuid[]) AND p.late_at < :at::timestamptz;

-- reading ------------------------------------------------------------------------------------------------------------------

-- name: parcels_of_order
-- The parcels of an order with their services, first shipped first.
SELECT p.shipment_id, p.tracking_number, p.status, c.carrier, c.code AS service, p.shipped_at, p.promised_at,
       coalesce(p.last_promised_at, o.last_promised_at, p.promised_at) AS last_promised_at,
       coalesce(p.planned_at, p.promised_at) AS planned_at, p.expected_at, p.behind_plan_at, p.late_at, p.delivered_at, p.lost_at,
       p.returning_at, p.back_at, p.received_back_at
FROM tracking.parcels p JOIN orders.orders o USING (order_id) JOIN warehouse.shipments s USING (order_id, shipment_id)
     LEFT JOIN network.carrier_services c USING (service_id)
WHERE p.order_id = :order_id::uuid ORDER BY p.shipped_at, p.shipment_id;

-- name: events_of_order
-- What carriers said of an order's parcels, oldest first.
SELECT shipment_id, kind, at, received_at, place, detail FROM tracking.tracking_events
WHERE order_id = :order_id::uuid ORDER BY at, received_at, kind;

-- name: order_exists
-- Is there such an order?
SELECT order_id FROM orders.orders WHERE order_id = :order_id::uuid;

-- name: receipts_of_order
-- What came back of an order's parcels, oldest first.
SELECT r.shipment_id, r.receipt_id, n.code AS location, r.line_no, r.restocked, r.scrapped, r.lost, r.next, r.refund_minor, r.at
FROM tracking.receipts r JOIN network.locations n USING (location_id)
WHERE r.order_id = :order_id::uuid ORDER BY r.receipt_id, r.line_no;
