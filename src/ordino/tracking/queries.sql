-- name: claim_tracking_numbers
-- First of all: a number that does not come back belongs to another parcel.
INSERT INTO tracking.tracking_numbers (tracking_number, order_id, shipment_id)
SELECT * FROM unnest(:tracking_numbers::text[], :order_ids::uuid[], :shipment_ids::uuid[])
ON CONFLICT (tracking_number) DO NOTHING
RETURNING order_id, shipment_id;

-- name: write_parcels
-- What was shipped is on its way, held to what its customer was told; nobody told him anything of an order without a date, so that
-- its parcels are held to the plan. Returns the first of these dates, at which each parcel is looked at.
INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, planned_at,
    last_promised_at)
SELECT s.order_id, s.shipment_id, s.tracking_number, coalesce(o.promised_at, s.promised_at), s.promised_at, s.shipped_at, s.promised_at,
       o.last_promised_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN warehouse.shipments s USING (order_id, shipment_id) JOIN orders.orders o USING (order_id)
/* on shards: WHERE s.order_id = any(:order_ids::uuid[]) AND o.order_id = any(:order_ids::uuid[]) */
RETURNING order_id, shipment_id, least(promised_at, planned_at, last_promised_at) AS look_at;

-- name: behind_numbers
-- Whose parcels these are.
SELECT tracking_number, order_id, shipment_id FROM tracking.tracking_numbers WHERE tracking_number = any(:tracking_numbers::text[]);

-- name: parcels
-- These parcels, with what their customers were told last. Their orders are locked.
SELECT p.order_id, p.shipment_id, p.tracking_number, p.promised_at, p.expected_at, p.shipped_at, p.late_at, p.delivered_at, p.lost_at,
       coalesce(p.last_promised_at, o.last_promised_at, p.promised_at) AS told_at,
       coalesce(p.planned_at, p.promised_at) AS planned_at, p.behind_plan_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN tracking.parcels p USING (order_id, shipment_id) JOIN orders.orders o USING (order_id)
/* on shards: WHERE p.order_id = any(:order_ids::uuid[]) AND o.order_id = any(:order_ids::uuid[]) */;

-- name: delays
-- When a delay of these parcels was told last.
SELECT e.shipment_id, max(e.at) AS at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN tracking.tracking_events e USING (order_id, shipment_id)
WHERE e.kind = 'delayed' /* on shards: AND e.order_id = any(:order_ids::uuid[]) */
GROUP BY e.shipment_id;

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
SET expected_at = c.expected_at, late_at = c.late_at, delivered_at = c.delivered_at, lost_at = c.lost_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :expected_ats::timestamptz[], :late_ats::timestamptz[],
            :delivered_ats::timestamptz[], :lost_ats::timestamptz[])
    AS c (order_id, shipment_id, expected_at, late_at, delivered_at, lost_at)
WHERE p.order_id = c.order_id AND p.shipment_id = c.shipment_id
  /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- name: contents
-- What these shipments hold, line by line.
SELECT p.order_id, p.shipment_id, l.line_no, sum(l.quantity)::bigint AS quantity
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[]) AS w (order_id, shipment_id)
JOIN warehouse.packages p USING (order_id, shipment_id) JOIN warehouse.package_lines l USING (order_id, package_id)
WHERE l.quantity > 0 /* on shards: AND p.order_id = any(:order_ids::uuid[]) AND l.order_id = any(:order_ids::uuid[]) */
GROUP BY p.order_id, p.shipment_id, l.line_no ORDER BY 1, 2, 3;

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
WHERE p.order_id = any(:order_ids::uuid[]) AND p.delivered_at IS NULL AND p.lost_at IS NULL
/* on shards: AND o.order_id = any(:order_ids::uuid[]) */;

-- name: tell_parcels
-- What customers are told of these parcels from now on.
UPDATE tracking.parcels p SET last_promised_at = w.last_promised_at
FROM unnest(:order_ids::uuid[], :shipment_ids::uuid[], :last_promised_ats::timestamptz[]) AS w (order_id, shipment_id, last_promised_at)
WHERE p.order_id = w.order_id AND p.shipment_id = w.shipment_id /* on shards: AND p.order_id = any(:order_ids::uuid[]) */;

-- reading ------------------------------------------------------------------------------------------------------------------

-- name: parcels_of_order
-- The parcels of an order with their services, first shipped first.
SELECT p.shipment_id, p.tracking_number, p.status, c.carrier, c.code AS service, p.shipped_at, p.promised_at,
       coalesce(p.last_promised_at, o.last_promised_at, p.promised_at) AS last_promised_at,
       coalesce(p.planned_at, p.promised_at) AS planned_at, p.expected_at, p.behind_plan_at, p.late_at, p.delivered_at, p.lost_at
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
