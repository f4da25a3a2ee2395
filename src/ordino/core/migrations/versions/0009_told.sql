ALTER TABLE network.locations ADD COLUMN ships_until time;

ALTER TABLE orders.orders ADD COLUMN last_promised_at timestamptz;
ALTER TABLE orders.orders ADD COLUMN ship_by_at timestamptz;
ALTER TABLE orders.orders ADD CONSTRAINT what_is_told_last_follows_what_was_told_first CHECK
    (last_promised_at IS NULL OR promised_at IS NOT NULL);
CREATE INDEX orders_by_ship_by ON orders.orders (ship_by_at) WHERE ship_by_at IS NOT NULL;

ALTER TABLE warehouse.fulfillment_orders ADD COLUMN cut_off_at timestamptz;
DROP INDEX warehouse.fulfillment_orders_by_location;
CREATE INDEX fulfillment_orders_by_location ON warehouse.fulfillment_orders (location_id, status, coalesce(cut_off_at, ship_by_at))
    WHERE status IN ('released', 'picking', 'picked', 'packed');

ALTER TABLE tracking.parcels ADD COLUMN last_promised_at timestamptz;
ALTER TABLE tracking.parcels ADD COLUMN planned_at timestamptz;
ALTER TABLE tracking.parcels ADD COLUMN behind_plan_at timestamptz;

-- Parcels so far were held to the plan; from now on they are held to what their customers were told. Those that are not late by that are
-- not late, and are looked at again when the date passes.
WITH held AS (
    UPDATE tracking.parcels p
    SET planned_at = p.promised_at, promised_at = coalesce(o.promised_at, p.promised_at),
        late_at = CASE WHEN p.late_at IS NULL OR o.promised_at IS NULL OR p.late_at >= o.promised_at
                            AND coalesce(p.delivered_at, p.lost_at) IS NULL THEN p.late_at
                       WHEN coalesce(p.delivered_at, p.lost_at) > o.promised_at THEN greatest(p.late_at, o.promised_at) END
    FROM orders.orders o WHERE o.order_id = p.order_id
    RETURNING p.order_id, p.shipment_id, p.promised_at, p.planned_at, p.status
)
INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
SELECT get_byte(uuid_send(order_id), 15) % 64, gen_random_uuid(), 'check_late', order_id, shipment_id, promised_at,
       jsonb_build_object('shipment_id', shipment_id)
FROM held WHERE status = 'in_transit' AND planned_at <> promised_at;
