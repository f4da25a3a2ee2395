-- name: free
-- What is free of each SKU, location by location, without a lock.
SELECT sku_id, array_agg(location_id) AS location_ids, array_agg(on_hand - reserved) AS free
FROM inventory.stock WHERE sku_id = any(:sku_ids::int[]) AND on_hand > reserved GROUP BY sku_id;

-- name: lock_positions
-- Every position of these SKUs, held until the transaction ends, in key order.
SELECT sku_id, location_id, on_hand, reserved, picked FROM inventory.stock
WHERE sku_id = any(:sku_ids::int[]) ORDER BY sku_id, location_id FOR NO KEY UPDATE;

-- name: open_positions
-- A position begins empty; one that is there already stays.
INSERT INTO inventory.stock (sku_id, location_id, on_hand, reserved, picked)
SELECT p.sku_id, p.location_id, 0, 0, 0 FROM unnest(:sku_ids::int[], :location_ids::int[]) AS p (sku_id, location_id)
ORDER BY 1, 2
ON CONFLICT DO NOTHING;

-- name: move_stock
-- The guarded update: rows are taken in key order, and a row that would break a rule does not come back.
WITH wanted AS (
    SELECT s.sku_id, s.location_id, w.on_hand, w.reserved, w.picked, w.keep
    FROM inventory.stock s
    JOIN unnest(:sku_ids::int[], :location_ids::int[], :on_hand::bigint[], :reserved::bigint[], :picked::bigint[],
                :keep::bigint[]) AS w (sku_id, location_id, on_hand, reserved, picked, keep)
      USING (sku_id, location_id)
    /* on shards: WHERE s.sku_id = any(:sku_ids::int[]) */
    ORDER BY 1, 2
    FOR NO KEY UPDATE OF s
)
UPDATE inventory.stock s
SET on_hand = s.on_hand + w.on_hand, reserved = s.reserved + w.reserved, picked = s.picked + w.picked
FROM wanted w
WHERE s.sku_id = w.sku_id AND s.location_id = w.location_id /* on shards: AND s.sku_id = any(:sku_ids::int[]) */
  AND s.reserved + w.reserved BETWEEN 0 AND s.on_hand + w.on_hand - w.keep
  AND s.picked + w.picked BETWEEN 0 AND s.reserved + w.reserved
RETURNING s.sku_id, s.location_id;

-- name: record_moves
-- The ledger beside the balance.
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta,
                             reason, order_id, at)
SELECT m.*, :at::timestamptz
FROM unnest(:sku_ids::int[], :cause_ids::uuid[], :location_ids::int[], :line_nos::int[], :kinds::text[],
            :on_hand::bigint[], :reserved::bigint[], :picked::bigint[], :reasons::text[], :order_ids::uuid[]) AS m;

-- name: record_documented_moves
-- The same, of what people and other systems do: who, with which document, and what became unavailable.
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta,
                             reason, order_id, unavailable_delta, document, actor, at)
SELECT m.*, :actor::text, :at::timestamptz
FROM unnest(:sku_ids::int[], :cause_ids::uuid[], :location_ids::int[], :line_nos::int[], :kinds::text[],
            :on_hand::bigint[], :reserved::bigint[], :picked::bigint[], :reasons::text[], :order_ids::uuid[],
            :unavailable::bigint[], :documents::text[]) AS m;

-- name: hold_units
-- What a line or a hold has reserved at a location grows.
INSERT INTO inventory.reservations AS r (sku_id, order_id, line_no, location_id, quantity, channel_id, expires_at)
SELECT * FROM unnest(:sku_ids::int[], :order_ids::uuid[], :line_nos::int[], :location_ids::int[], :quantities::bigint[],
                     :channel_ids::int[], :expiries::timestamptz[])
ON CONFLICT (sku_id, order_id, line_no, location_id) DO UPDATE SET quantity = r.quantity + excluded.quantity;

-- name: let_go_units
-- What a line holds at a location shrinks; nothing held leaves no row. Naming the SKUs as an array, too, would read every
-- reservation of each.
WITH gone AS (
    SELECT * FROM unnest(:sku_ids::int[], :order_ids::uuid[], :line_nos::int[], :location_ids::int[], :quantities::bigint[])
        AS g (sku_id, order_id, line_no, location_id, quantity)
), emptied AS (
    DELETE FROM inventory.reservations r USING gone g
    WHERE r.sku_id = g.sku_id AND r.order_id = g.order_id AND r.line_no = g.line_no AND r.location_id = g.location_id
      AND r.quantity = g.quantity
    RETURNING 1
), shrunk AS (
    UPDATE inventory.reservations r SET quantity = r.quantity - g.quantity FROM gone g
    WHERE r.sku_id = g.sku_id AND r.order_id = g.order_id AND r.line_no = g.line_no AND r.location_id = g.location_id
      AND r.quantity > g.quantity
    RETURNING 1
)
SELECT (SELECT count(*) FROM emptied) + (SELECT count(*) FROM shrunk) AS touched;

-- name: sku_ids
-- The SKUs behind these codes.
SELECT code, sku_id FROM catalog.sku_codes WHERE code = any(:codes::text[]);

-- name: location_ids
-- Every location by its code.
SELECT code, location_id FROM network.locations;

-- name: lock_some
-- These positions, held until the transaction ends, in key order.
SELECT s.sku_id, s.location_id, s.on_hand, s.reserved
FROM inventory.stock s JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id)
/* on shards: WHERE s.sku_id = any(:sku_ids::int[]) */
ORDER BY 1, 2 FOR NO KEY UPDATE OF s;

-- name: stock_of
-- Every position of each of these SKUs, in one row; a SKU that has none does not come back.
SELECT sku_id, array_agg(location_id) AS location_ids, array_agg(on_hand) AS on_hand, array_agg(reserved) AS reserved
FROM inventory.stock WHERE sku_id = any(:sku_ids::int[]) GROUP BY sku_id;

-- name: snapshot_rows
-- How counted rows stand to what is there: the SKU, the place, and what is held.
SELECT w.ordinal::int AS ordinal, c.sku_id, l.location_id, coalesce(s.on_hand, 0) AS on_hand, coalesce(s.reserved, 0) AS reserved
FROM unnest(:codes::text[], :places::text[], :on_hand::bigint[]) WITH ORDINALITY AS w (code, place, on_hand, ordinal)
LEFT JOIN catalog.sku_codes c ON c.code = w.code
LEFT JOIN network.locations l ON l.code = w.place
LEFT JOIN inventory.stock s ON s.sku_id = c.sku_id AND s.location_id = l.location_id
WHERE c.sku_id IS NULL OR l.location_id IS NULL OR coalesce(s.on_hand, 0) <> w.on_hand;

-- holds ----------------------------------------------------------------------------------------------------------------

-- rules and closures ---------------------------------------------------------------------------------------------------

-- kits -----------------------------------------------------------------------------------------------------------------

-- feeds ----------------------------------------------------------------------------------------------------------------

-- counts and shortfalls ------------------------------------------------------------------------------------------------

-- bins, lots and serials -----------------------------------------------------------------------------------------------

-- incoming, transfers and what is set aside ------------------------------------------------------------------------------

-- signals and the availability feed ------------------------------------------------------------------------------------
