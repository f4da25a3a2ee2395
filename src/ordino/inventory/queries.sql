-- name: free
-- What is free of each SKU, location by location, without a lock.
SELECT sku_id, array_agg(location_id) AS location_ids, array_agg(on_hand - reserved) AS free
FROM inventory.stock WHERE sku_id = any(:sku_ids::int[]) AND on_hand > reserved GROUP BY sku_id;

-- name: shelf
-- What is free of each SKU, location by location, without a lock; and who waits for it.
SELECT s.sku_id, array_agg(s.location_id) AS location_ids, array_agg(s.on_hand - s.reserved) AS free, false AS lapsed,
       (SELECT json_agg(json_build_array(w.sku_id, w.channel_id, w.quantity, w.freed, w.offered, w.stamp, w.offered_at))
        FROM inventory.waiting w WHERE w.sku_id = s.sku_id AND w.quantity > 0)::text AS waiting
FROM inventory.stock s WHERE s.sku_id = any(:sku_ids::int[]) AND s.on_hand > s.reserved GROUP BY s.sku_id;

-- name: shelf_at
-- The same as it will be once holds that have expired by then have let go: what decides without writing counts on that.
SELECT s.sku_id, array_agg(s.location_id) AS location_ids, array_agg(s.on_hand - s.reserved + coalesce(l.quantity, 0)) AS free,
       coalesce(sum(l.quantity), 0) > 0 AS lapsed,
       (SELECT json_agg(json_build_array(w.sku_id, w.channel_id, w.quantity, w.freed, w.offered, w.stamp, w.offered_at))
        FROM inventory.waiting w WHERE w.sku_id = s.sku_id AND w.quantity > 0)::text AS waiting
FROM inventory.stock s
LEFT JOIN (SELECT sku_id, location_id, sum(quantity)::bigint AS quantity FROM inventory.reservations
           WHERE sku_id = any(:sku_ids::int[]) AND expires_at <= :at::timestamptz GROUP BY sku_id, location_id) l
    USING (sku_id, location_id)
WHERE s.sku_id = any(:sku_ids::int[]) AND s.on_hand > s.reserved - coalesce(l.quantity, 0) GROUP BY s.sku_id;

-- name: lock_positions
-- Every position of these SKUs, held until the transaction ends, in key order.
SELECT sku_id, location_id, on_hand, reserved, picked FROM inventory.stock
WHERE sku_id = any(:sku_ids::int[]) ORDER BY sku_id, location_id FOR NO KEY UPDATE;

-- name: positions
-- Every position of these SKUs, as this transaction sees it.
SELECT sku_id, location_id, on_hand, reserved FROM inventory.stock WHERE sku_id = any(:sku_ids::int[]);

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
RETURNING s.sku_id, s.location_id, s.on_hand > 0 AND s.on_hand = w.on_hand AS was_empty;

-- name: record_moves
-- The ledger beside the balance, and which SKUs it touches.
WITH m AS (
    SELECT * FROM unnest(:sku_ids::int[], :cause_ids::uuid[], :location_ids::int[], :line_nos::int[], :kinds::text[],
                         :on_hand::bigint[], :reserved::bigint[], :picked::bigint[], :reasons::text[], :order_ids::uuid[])
        AS m (sku_id, cause_id, location_id, line_no, kind, on_hand, reserved, picked, reason, order_id)
), touched AS (
    INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM m WHERE on_hand <> 0 OR reserved <> 0
)
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta,
                             reason, order_id, at)
SELECT m.*, :at::timestamptz FROM m;

-- name: record_documented_moves
-- The same, of what people and other systems do: who, with which document, and what became unavailable.
WITH m AS (
    SELECT * FROM unnest(:sku_ids::int[], :cause_ids::uuid[], :location_ids::int[], :line_nos::int[], :kinds::text[],
                         :on_hand::bigint[], :reserved::bigint[], :picked::bigint[], :reasons::text[], :order_ids::uuid[],
                         :unavailable::bigint[], :documents::text[])
        AS m (sku_id, cause_id, location_id, line_no, kind, on_hand, reserved, picked, reason, order_id, unavailable, document)
), touched AS (
    INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM m WHERE on_hand <> 0 OR reserved <> 0
)
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta,
                             reason, order_id, unavailable_delta, document, actor, at)
SELECT m.*, :actor::text, :at::timestamptz FROM m;

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

-- name: lock_some
-- These positions, held until the transaction ends, in key order.
SELECT s.sku_id, s.location_id, s.on_hand, s.reserved
FROM inventory.stock s JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id)
/* on shards: WHERE s.sku_id = any(:sku_ids::int[]) */
ORDER BY 1, 2 FOR NO KEY UPDATE OF s;

-- name: stock_of
-- Every position of each of these SKUs, in one row; a SKU that has none does not come back. What expired holds have is free.
SELECT s.sku_id, array_agg(s.location_id) AS location_ids, array_agg(s.on_hand) AS on_hand,
       array_agg(s.reserved - coalesce(l.quantity, 0)) AS reserved, coalesce(sum(l.quantity), 0) > 0 AS lapsed,
       (SELECT json_agg(json_build_array(w.sku_id, w.channel_id, w.quantity, w.freed, w.offered, w.stamp, w.offered_at))
        FROM inventory.waiting w WHERE w.sku_id = s.sku_id AND w.quantity > 0)::text AS waiting
FROM inventory.stock s
LEFT JOIN (SELECT sku_id, location_id, sum(quantity)::bigint AS quantity FROM inventory.reservations
           WHERE sku_id = any(:sku_ids::int[]) AND expires_at <= :at::timestamptz GROUP BY sku_id, location_id) l
    USING (sku_id, location_id)
WHERE s.sku_id = any(:sku_ids::int[]) GROUP BY s.sku_id;

-- name: versions
-- The number under which each of these SKUs was last published; none of those whose stock has moved since.
SELECT w.sku_id, coalesce(c.cursor, 0) AS version
FROM unnest(:sku_ids::int[]) AS w (sku_id) LEFT JOIN inventory.changes c USING (sku_id)
WHERE NOT EXISTS (SELECT FROM inventory.touched t WHERE t.sku_id = w.sku_id);

-- name: versioned_stock
-- Every position of these SKUs with the version at which it stands so (none while it moves), and until when, for holds expire.
SELECT s.sku_id, array_agg(s.location_id) AS location_ids, array_agg(s.on_hand - s.reserved + coalesce(l.quantity, 0)) AS free,
       EXISTS (SELECT 1 FROM inventory.waiting w WHERE w.sku_id = s.sku_id AND w.quantity > 0) AS waited_for,
       CASE WHEN EXISTS (SELECT 1 FROM inventory.touched t WHERE t.sku_id = s.sku_id) THEN NULL
            ELSE coalesce((SELECT c.cursor FROM inventory.changes c WHERE c.sku_id = s.sku_id), 0) END AS version,
       (SELECT min(r.expires_at) FROM inventory.reservations r WHERE r.sku_id = s.sku_id AND r.expires_at > :at::timestamptz) AS until
FROM inventory.stock s
LEFT JOIN (SELECT sku_id, location_id, sum(quantity)::bigint AS quantity FROM inventory.reservations
           WHERE sku_id = any(:sku_ids::int[]) AND expires_at <= :at::timestamptz GROUP BY sku_id, location_id) l
    USING (sku_id, location_id)
WHERE s.sku_id = any(:sku_ids::int[]) GROUP BY s.sku_id;

-- name: reserved_by
-- Who has reserved units of these SKUs: the largest reservations of each position, and how many there are. With sellers, those for
-- channels of others are only counted (``told`` is false).
SELECT sku_id, location_id, order_id, line_no, quantity, expires_at, reservations, told
FROM (SELECT *, row_number() OVER w AS place, count(*) OVER (PARTITION BY sku_id, location_id) AS reservations
      FROM (SELECT *, :sellers::text[] IS NULL OR channel_id IS NOT NULL AND channel_id IN (
                SELECT c.channel_id FROM catalog.channels c JOIN catalog.sellers t USING (seller_id)
                WHERE t.code = any(:sellers::text[])) AS told
            FROM inventory.reservations
            WHERE sku_id = any(:sku_ids::int[]) AND quantity > 0 AND (expires_at > :at::timestamptz) IS NOT FALSE) s
      WINDOW w AS (PARTITION BY sku_id, location_id ORDER BY told DESC, quantity DESC, order_id, line_no)) r
WHERE place <= :limit::bigint ORDER BY sku_id, location_id, place;

-- name: on_hand_of
-- What lies where of each of these SKUs.
SELECT sku_id, location_id, on_hand FROM inventory.stock WHERE sku_id = any(:sku_ids::int[]);

-- waiting units --------------------------------------------------------------------------------------------------------

-- name: waited_for
-- What orders wait for, of kits their components.
SELECT DISTINCT sku_id FROM inventory.waiting WHERE quantity > 0;

-- name: waiting_of
-- What waits for these SKUs.
SELECT sku_id, channel_id, quantity, freed, offered, stamp, offered_at FROM inventory.waiting
WHERE sku_id = any(:sku_ids::int[]) AND quantity > 0;

-- name: lock_waiting
-- All rows of these SKUs, held in key order.
SELECT 1 FROM inventory.waiting WHERE sku_id = any(:sku_ids::int[]) ORDER BY sku_id, channel_id FOR NO KEY UPDATE;

-- name: more_waiting
-- More units wait. Units may have become free, the rules may have changed, or others may have been asked at a later hour, since it was
-- decided that they do, as ``seen``, ``stamp`` and ``at`` tell: then they are to be asked, too.
WITH touched AS (
    INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM unnest(:sku_ids::int[]) AS t (sku_id)
)
INSERT INTO inventory.waiting AS w (sku_id, channel_id, quantity, freed, offered)
SELECT n.sku_id, n.channel_id, n.quantity, 1, CASE WHEN d.stamp > :stamp::bigint THEN -1 ELSE n.seen END
FROM unnest(:sku_ids::int[], :channel_ids::int[], :quantities::bigint[], :seen::bigint[]) AS n (sku_id, channel_id, quantity, seen)
CROSS JOIN (SELECT sum(number) AS stamp FROM core.revisions WHERE name = any(:names::text[])) d
ORDER BY n.sku_id, n.channel_id
ON CONFLICT (sku_id, channel_id) DO UPDATE
SET quantity = w.quantity + excluded.quantity,
    freed = w.freed + (w.freed <> excluded.offered OR w.stamp > :stamp::bigint OR (w.offered_at > :at::timestamptz) IS TRUE)::int;

-- name: waiting_at
-- SKUs that orders wait for, and of which units are free at these locations.
SELECT DISTINCT sku_id FROM inventory.waiting JOIN inventory.stock USING (sku_id)
WHERE quantity > 0 AND location_id = any(:location_ids::int[]) AND on_hand > reserved;

-- name: fewer_waiting
-- Fewer units wait. A server of the release before does not count what waits: nothing goes below 0 for it.
WITH fewer AS (
    SELECT w.sku_id, w.channel_id, n.quantity
    FROM inventory.waiting w
    JOIN unnest(:sku_ids::int[], :channel_ids::int[], :quantities::bigint[]) AS n (sku_id, channel_id, quantity)
        USING (sku_id, channel_id)
    /* on shards: WHERE w.sku_id = any(:sku_ids::int[]) */
    ORDER BY 1, 2 FOR NO KEY UPDATE OF w
), touched AS (
    INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM fewer
)
UPDATE inventory.waiting w SET quantity = greatest(w.quantity - f.quantity, 0) FROM fewer f
WHERE w.sku_id = f.sku_id AND w.channel_id = f.channel_id /* on shards: AND w.sku_id = any(:sku_ids::int[]) */;

-- name: free_for_waiting
-- Units of these SKUs have become free: who waits is to be asked.
WITH held AS (
    SELECT sku_id, channel_id FROM inventory.waiting WHERE sku_id = any(:sku_ids::int[]) ORDER BY 1, 2 FOR NO KEY UPDATE
)
UPDATE inventory.waiting w SET freed = w.freed + 1 FROM held h
WHERE w.sku_id = h.sku_id AND w.channel_id = h.channel_id /* on shards: AND w.sku_id = any(:sku_ids::int[]) */;

-- name: mark_offered
-- Who waits has been asked, so many times; what they left is available to others. If they were asked under newer rules before, but of
-- less that was free, or the other way round, nobody has asked them both: they are to be asked again.
WITH asked AS (
    SELECT w.sku_id, w.channel_id, a.freed
    FROM inventory.waiting w
    JOIN unnest(:sku_ids::int[], :channel_ids::int[], :freed::bigint[]) AS a (sku_id, channel_id, freed) USING (sku_id, channel_id)
    /* on shards: WHERE w.sku_id = any(:sku_ids::int[]) */
    ORDER BY 1, 2 FOR NO KEY UPDATE OF w
), touched AS (
    INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM asked
)
UPDATE inventory.waiting w
SET offered = a.freed, stamp = :stamp::bigint, offered_at = greatest(w.offered_at, :at::timestamptz)
FROM asked a
WHERE a.freed >= w.offered AND :stamp::bigint >= w.stamp AND w.sku_id = a.sku_id AND w.channel_id = a.channel_id /* on shards: AND w.sku_id = any(:sku_ids::int[]) */;

-- name: unserved
-- SKUs whose waiting orders have not been asked since units may have become free.
SELECT DISTINCT sku_id FROM inventory.waiting
WHERE quantity > 0 AND (offered < freed OR offered_at IS NULL OR stamp < :stamp::bigint OR offered_at < :turned::timestamptz)
ORDER BY sku_id LIMIT :limit::int;

-- holds ----------------------------------------------------------------------------------------------------------------

-- name: write_holds
-- New holds, and when changed ones are to end.
INSERT INTO inventory.holds AS h (hold_id, channel_id, cart, expires_at, held_at)
SELECT w.*, :at::timestamptz FROM unnest(:hold_ids::uuid[], :channel_ids::int[], :carts::text[], :expiries::timestamptz[]) AS w
ON CONFLICT (hold_id) DO UPDATE SET expires_at = excluded.expires_at;

-- name: claim_carts
-- The hold of each cart: the given one if the cart had none, else the one that it has or had last. Its row is held until the transaction
-- ends, so that requests for one cart take turns.
INSERT INTO inventory.carts AS c (channel_id, cart, hold_id)
SELECT * FROM unnest(:channel_ids::int[], :carts::text[], :hold_ids::uuid[]) AS w (channel_id, cart, hold_id)
ORDER BY w.channel_id, w.cart
ON CONFLICT (channel_id, cart) DO UPDATE SET hold_id = c.hold_id
RETURNING channel_id, cart, hold_id;

-- name: point_carts
-- Carts get a new hold: the one that they had has ended.
UPDATE inventory.carts c SET hold_id = w.hold_id
FROM unnest(:channel_ids::int[], :carts::text[], :hold_ids::uuid[]) AS w (channel_id, cart, hold_id)
WHERE c.channel_id = w.channel_id AND c.cart = w.cart;

-- name: forget_carts
-- Carts that were to get their first hold and were refused it have none.
DELETE FROM inventory.carts c USING unnest(:channel_ids::int[], :carts::text[], :hold_ids::uuid[]) AS w (channel_id, cart, hold_id)
WHERE c.channel_id = w.channel_id AND c.cart = w.cart AND c.hold_id = w.hold_id;

-- name: hold_of_cart
-- The hold that a cart has, or had last.
SELECT hold_id FROM inventory.carts WHERE channel_id = :channel_id::int AND cart = :cart::text;

-- name: holds_of_carts
-- The same, of several carts.
SELECT c.channel_id, c.cart, c.hold_id
FROM inventory.carts c JOIN unnest(:channel_ids::int[], :carts::text[]) AS w (channel_id, cart) USING (channel_id, cart);

-- name: holds_today
-- The holds that the carts of these holds have today, or had last.
SELECT c.hold_id FROM inventory.carts c
JOIN (SELECT channel_id, cart FROM inventory.holds WHERE hold_id = any(:hold_ids::uuid[]) OFFSET 0) h USING (channel_id, cart);

-- name: write_hold_lines
-- What carts asked for.
INSERT INTO inventory.hold_lines (hold_id, line_no, sku_id, quantity)
SELECT * FROM unnest(:hold_ids::uuid[], :line_nos::int[], :sku_ids::int[], :quantities::bigint[]);

-- name: clear_hold_lines
-- Changed holds are written whole: first what they asked for before goes.
DELETE FROM inventory.hold_lines WHERE hold_id = any(:hold_ids::uuid[]);

-- name: clear_kit_lines
-- And what their kits were made of.
DELETE FROM inventory.kit_lines WHERE order_id = any(:order_ids::uuid[]);

-- name: lock_holds
-- These holds for the rest of the transaction, in key order.
SELECT hold_id, channel_id, cart, expires_at, ended_at, order_id FROM inventory.holds
WHERE hold_id = any(:hold_ids::uuid[]) ORDER BY hold_id FOR NO KEY UPDATE;

-- name: read_holds
-- The same without a lock, for what decides and writes nothing.
SELECT hold_id, channel_id, cart, expires_at, ended_at, order_id FROM inventory.holds WHERE hold_id = any(:hold_ids::uuid[]);

-- name: expired_holds
-- Holds whose time is over, locked; what somebody else is ending is passed over.
SELECT hold_id FROM inventory.holds WHERE ended_at IS NULL AND expires_at <= :at::timestamptz
ORDER BY expires_at LIMIT :limit::int FOR NO KEY UPDATE SKIP LOCKED;

-- name: lapsed_holds
-- Expired holds that still have some of these SKUs.
SELECT DISTINCT order_id FROM inventory.reservations
WHERE sku_id = any(:sku_ids::int[]) AND expires_at <= :at::timestamptz AND quantity > 0;

-- name: held_units
-- What these holds have reserved.
SELECT order_id, sku_id, location_id, quantity FROM inventory.reservations
WHERE order_id = any(:hold_ids::uuid[]) AND expires_at IS NOT NULL AND quantity > 0;

-- name: extend_reservations
-- What a hold has reserved ends with it.
UPDATE inventory.reservations r SET expires_at = w.expires_at
FROM unnest(:sku_ids::int[], :hold_ids::uuid[], :location_ids::int[], :expiries::timestamptz[])
    AS w (sku_id, hold_id, location_id, expires_at)
WHERE r.sku_id = w.sku_id AND r.order_id = w.hold_id AND r.line_no = 0 AND r.location_id = w.location_id
  AND r.expires_at <> w.expires_at;

-- name: end_holds
-- Holds end: let go, or as orders.
UPDATE inventory.holds h SET ended_at = :at::timestamptz, order_id = w.order_id
FROM unnest(:hold_ids::uuid[], :order_ids::uuid[]) AS w (hold_id, order_id)
WHERE h.hold_id = w.hold_id AND h.ended_at IS NULL;

-- name: hold_by_id
-- One hold.
SELECT hold_id, channel_id, cart, status, held_at, expires_at, order_id FROM inventory.holds WHERE hold_id = :hold_id::uuid;

-- name: hold_lines
-- What a cart asked for.
SELECT l.line_no, l.sku_id, s.code, l.quantity FROM inventory.hold_lines l JOIN catalog.skus s USING (sku_id)
WHERE l.hold_id = :hold_id::uuid ORDER BY l.line_no;

-- rules and closures ---------------------------------------------------------------------------------------------------

-- name: general_rules
-- Every rule that is not about one SKU.
SELECT kind, code, network_id, channel_id, location_type, location_id, category, sku_id, units, hundredths
FROM inventory.rules WHERE sku_id IS NULL;

-- name: any_sku_rules
-- Of which kinds there are rules about single SKUs.
SELECT k.kind FROM unnest('{buffer,allocation,low_stock}'::text[]) AS k (kind)
WHERE EXISTS (SELECT FROM inventory.rules r WHERE r.sku_id IS NOT NULL AND r.kind = k.kind);

-- name: rules_of_skus
-- The rules about these SKUs, each beside the revision of all rules; one row with the revision alone, if there are none.
SELECT v.number, r.kind, r.code, r.network_id, r.channel_id, r.location_type, r.location_id, r.category, r.sku_id, r.units,
       r.hundredths
FROM core.revisions v LEFT JOIN inventory.rules r ON r.sku_id = any(:sku_ids::int[])
WHERE v.name = 'rules';

-- name: categories
-- What these SKUs belong to.
SELECT sku_id, category FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]) AND category IS NOT NULL;

-- name: reserved_by_channel
-- What each channel has reserved of these SKUs, location by location; without what holds that have expired ``at`` a time have, if one is
-- given.
SELECT sku_id, location_id, channel_id, sum(quantity)::bigint AS quantity FROM inventory.reservations
WHERE sku_id = any(:sku_ids::int[]) AND channel_id IS NOT NULL AND (expires_at > :at::timestamptz) IS NOT FALSE
GROUP BY sku_id, location_id, channel_id;

-- name: rules
-- Some rules of a kind as they were sent, by code.
SELECT r.code, n.code AS network, c.code AS channel, r.location_type, l.code AS location, r.category, s.code AS sku, r.units,
       r.hundredths
FROM inventory.rules r
LEFT JOIN network.networks n USING (network_id) LEFT JOIN catalog.channels c USING (channel_id)
LEFT JOIN network.locations l USING (location_id) LEFT JOIN catalog.skus s USING (sku_id)
WHERE r.kind = :kind::text AND r.code = any(:codes::text[]) ORDER BY r.code;

-- name: rule_codes_after
-- One page of codes.
SELECT code FROM inventory.rules WHERE kind = :kind::text AND code > :after::text ORDER BY code LIMIT :limit::int;

-- name: same_scope
-- Which rule of the kind says something of exactly this already.
SELECT code FROM inventory.rules
WHERE kind = :kind::text AND code <> :code::text
  AND (network_id, channel_id, location_type, location_id, category, sku_id) IS NOT DISTINCT FROM
      (:network_id::int, :channel_id::int, :location_type::text, :location_id::int, :category::text, :sku_id::int);

-- name: write_rule
-- A row comes back if it is new or differed.
INSERT INTO inventory.rules AS r (kind, code, network_id, channel_id, location_type, location_id, category, sku_id, units, hundredths)
VALUES (:kind::text, :code::text, :network_id::int, :channel_id::int, :location_type::text, :location_id::int, :category::text,
        :sku_id::int, :units::bigint, :hundredths::int)
ON CONFLICT (kind, code) DO UPDATE
SET network_id = excluded.network_id, channel_id = excluded.channel_id, location_type = excluded.location_type,
    location_id = excluded.location_id, category = excluded.category, sku_id = excluded.sku_id, units = excluded.units,
    hundredths = excluded.hundredths
WHERE (r.network_id, r.channel_id, r.location_type, r.location_id, r.category, r.sku_id, r.units, r.hundredths)
    IS DISTINCT FROM (excluded.network_id, excluded.channel_id, excluded.location_type, excluded.location_id, excluded.category,
                      excluded.sku_id, excluded.units, excluded.hundredths)
RETURNING r.code, r.xmax = 0 AS new;

-- name: drop_rule
-- A rule that no longer holds.
DELETE FROM inventory.rules WHERE kind = :kind::text AND code = :code::text RETURNING code;

-- kits -----------------------------------------------------------------------------------------------------------------

-- name: freeze_kits
-- What the kits of new order lines are made of.
INSERT INTO inventory.kit_lines (order_id, line_no, component_sku_id, quantity)
SELECT * FROM unnest(:order_ids::uuid[], :line_nos::int[], :component_sku_ids::int[], :quantities::bigint[]);

-- name: frozen_kits
-- What the kits of these lines were made of when they were ordered.
SELECT k.order_id, k.line_no, k.component_sku_id, k.quantity
FROM inventory.kit_lines k JOIN unnest(:order_ids::uuid[], :line_nos::int[]) AS w (order_id, line_no) USING (order_id, line_no)
ORDER BY k.order_id, k.line_no, k.component_sku_id;

-- name: stocked_by_themselves
-- What there is of these SKUs as plain units, in one snapshot: on hand, set aside, under way in transfers, announced by suppliers.
SELECT sku_id, kind, sum(quantity)::bigint AS quantity
FROM (SELECT sku_id, 'on_hand' AS kind, on_hand AS quantity FROM inventory.stock WHERE sku_id = any(:sku_ids::int[])
      UNION ALL
      SELECT sku_id, 'set_aside', quantity FROM inventory.unavailable WHERE sku_id = any(:sku_ids::int[])
      UNION ALL
      SELECT sku_id, 'in_transit', in_transit FROM inventory.transfer_lines WHERE sku_id = any(:sku_ids::int[]) AND in_transit > 0
      UNION ALL
      SELECT sku_id, 'announced', quantity - received FROM inventory.incoming
      WHERE sku_id = any(:sku_ids::int[]) AND NOT closed AND quantity > received) u
GROUP BY sku_id, kind HAVING sum(quantity) > 0 ORDER BY sku_id, kind;

-- feeds ----------------------------------------------------------------------------------------------------------------

-- name: begin_feed
-- A feed begins, or begins again; a row comes back in both cases.
INSERT INTO inventory.feeds AS f (feed, kind, as_of, actor, started_at)
VALUES (:feed::text, :kind::text, :as_of::timestamptz, :actor::text, :at::timestamptz)
ON CONFLICT (feed) DO UPDATE SET feed = f.feed RETURNING f.kind, f.as_of;

-- name: claim_set
-- The first to bring a set of a feed applies it; no row back means that it was applied before.
INSERT INTO inventory.feed_sets (feed, set_no, first_line, last_line, digest, rows, applied, refused, faults)
VALUES (:feed::text, :set_no::int, :first_line::bigint, :last_line::bigint, :digest::bytea, 0, 0, 0, '[]')
ON CONFLICT (feed, set_no) DO NOTHING RETURNING set_no;

-- name: first_set
-- What became of a set that was applied before.
SELECT first_line, last_line, digest, rows, applied, refused, faults FROM inventory.feed_sets
WHERE feed = :feed::text AND set_no = :set_no::int;

-- name: keep_set
-- What became of a set.
UPDATE inventory.feed_sets SET rows = :rows::bigint, applied = :applied::bigint, refused = :refused::bigint, faults = :faults::jsonb
WHERE feed = :feed::text AND set_no = :set_no::int;

-- name: end_feed
-- Everything was read: the sums over the sets.
UPDATE inventory.feeds f
SET finished_at = coalesce(f.finished_at, :at::timestamptz), rows = s.rows, applied = s.applied, refused = s.refused,
    unchanged = s.rows - s.applied - s.refused
FROM (SELECT coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(applied), 0)::bigint AS applied,
             coalesce(sum(refused), 0)::bigint AS refused
      FROM inventory.feed_sets WHERE feed = :feed::text) s
WHERE f.feed = :feed::text;

-- name: feed_by_name
-- One feed, with what its sets say so far.
SELECT f.feed, f.kind, f.as_of, f.actor, f.started_at, f.finished_at, s.rows, s.applied, s.rows - s.applied - s.refused AS unchanged,
       s.refused, s.lines
FROM inventory.feeds f,
     (SELECT coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(applied), 0)::bigint AS applied,
             coalesce(sum(refused), 0)::bigint AS refused, coalesce(max(last_line), 0) AS lines
      FROM inventory.feed_sets WHERE feed = :feed::text) s
WHERE f.feed = :feed::text;

-- name: feed_faults
-- What was wrong with a feed's rows, in the order of their lines.
SELECT (t.fault ->> 'line')::bigint AS line, t.fault ->> 'pointer' AS pointer, t.fault ->> 'detail' AS detail
FROM inventory.feed_sets s, jsonb_array_elements(s.faults) AS t (fault)
WHERE s.feed = :feed::text AND (t.fault ->> 'line')::bigint > :after::bigint ORDER BY 1 LIMIT :limit::int;

-- name: recent_feeds
-- The last feeds, newest first.
SELECT feed, kind, as_of, actor, started_at, finished_at, rows, applied, unchanged, refused FROM inventory.feeds
ORDER BY started_at DESC, feed DESC LIMIT :limit::int;

-- name: share_counting
-- Counts of now go side by side.
SELECT name FROM core.revisions WHERE name = 'counting' FOR SHARE;

-- name: hold_counting
-- A count of the past goes alone.
SELECT name FROM core.revisions WHERE name = 'counting' FOR UPDATE;

-- name: newer_counts
-- Was anything counted as of a later time than this?
SELECT EXISTS (SELECT FROM inventory.counted WHERE as_of > :as_of::timestamptz) AS there;

-- name: counted_since
-- Which of these positions were counted as of a later time than this.
SELECT DISTINCT w.sku_id, w.location_id
FROM inventory.counted c, unnest(c.sku_ids, c.location_ids) AS w (sku_id, location_id)
JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS a (sku_id, location_id) USING (sku_id, location_id)
WHERE c.as_of > :as_of::timestamptz AND c.first_sku_id <= :last_sku_id::int AND c.last_sku_id >= :first_sku_id::int;

-- name: forget_counted
-- Nobody sends a count so old.
DELETE FROM inventory.counted WHERE as_of < :before::timestamptz;

-- name: snapshot_rows
-- How counted rows stand to what is there now; that they were counted is remembered, and those that stand as counted stay here.
WITH counted AS (
    SELECT w.ordinal, w.on_hand, c.sku_id, l.location_id
    FROM unnest(:codes::text[], :places::text[], :on_hand::bigint[]) WITH ORDINALITY AS w (code, place, on_hand, ordinal)
    LEFT JOIN catalog.sku_codes c ON c.code = w.code
    LEFT JOIN network.locations l ON l.code = w.place
), remembered AS (
    INSERT INTO inventory.counted (counted_id, as_of, first_sku_id, last_sku_id, sku_ids, location_ids)
    SELECT :counted_id::uuid, :as_of::timestamptz, min(sku_id), max(sku_id), array_agg(sku_id), array_agg(location_id)
    FROM counted WHERE sku_id IS NOT NULL AND location_id IS NOT NULL HAVING count(*) > 0
)
SELECT w.ordinal::int AS ordinal, w.sku_id, w.location_id
FROM counted w LEFT JOIN inventory.stock s ON s.sku_id = w.sku_id AND s.location_id = w.location_id
WHERE w.sku_id IS NULL OR w.location_id IS NULL OR coalesce(s.on_hand, 0) <> w.on_hand
   OR (w.sku_id, w.location_id) IN (SELECT sku_id, location_id FROM inventory.shortfalls WHERE open > 0);

-- name: snapshot_rows_as_of
-- The same, of what was there at a time: without what has moved since. A cause is never older than what it moved.
WITH counted AS (
    SELECT w.ordinal, w.on_hand, c.sku_id, l.location_id
    FROM unnest(:codes::text[], :places::text[], :on_hand::bigint[]) WITH ORDINALITY AS w (code, place, on_hand, ordinal)
    LEFT JOIN catalog.sku_codes c ON c.code = w.code
    LEFT JOIN network.locations l ON l.code = w.place
), remembered AS (
    INSERT INTO inventory.counted (counted_id, as_of, first_sku_id, last_sku_id, sku_ids, location_ids)
    SELECT :counted_id::uuid, :as_of::timestamptz, min(sku_id), max(sku_id), array_agg(sku_id), array_agg(location_id)
    FROM counted WHERE sku_id IS NOT NULL AND location_id IS NOT NULL HAVING count(*) > 0
), since AS (
    SELECT m.sku_id, m.location_id, sum(m.on_hand_delta) AS delta
    FROM (SELECT DISTINCT sku_id FROM counted WHERE sku_id IS NOT NULL) k
    JOIN inventory.moves m ON m.sku_id = k.sku_id AND m.cause_id >= :floor::uuid
    WHERE m.at > :as_of::timestamptz AND m.on_hand_delta <> 0 GROUP BY m.sku_id, m.location_id
)
SELECT w.ordinal::int AS ordinal, w.sku_id, w.location_id
FROM counted w
LEFT JOIN inventory.stock s ON s.sku_id = w.sku_id AND s.location_id = w.location_id
LEFT JOIN since m ON m.sku_id = w.sku_id AND m.location_id = w.location_id
WHERE w.sku_id IS NULL OR w.location_id IS NULL OR coalesce(s.on_hand, 0) - coalesce(m.delta, 0) <> w.on_hand
   OR (w.sku_id, w.location_id) IN (SELECT sku_id, location_id FROM inventory.shortfalls WHERE open > 0);

-- name: moved_since
-- What came to these positions, less what left them, after a time.
SELECT m.sku_id, m.location_id, sum(m.on_hand_delta)::bigint AS delta
FROM inventory.moves m JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id)
WHERE m.cause_id >= :floor::uuid AND m.at > :as_of::timestamptz AND m.on_hand_delta <> 0
GROUP BY m.sku_id, m.location_id;

-- counts and shortfalls ------------------------------------------------------------------------------------------------

-- name: write_plan
-- A row comes back if it is new or differed.
INSERT INTO inventory.count_plans AS p (code, location_id, days, lines, accept_units, accept_hundredths, approve_above_units, active)
VALUES (:code::text, :location_id::int, :days::int[], :lines::int, :accept_units::bigint, :accept_hundredths::int,
        :approve_above_units::bigint, :active::boolean)
ON CONFLICT (code) DO UPDATE
SET location_id = excluded.location_id, days = excluded.days, lines = excluded.lines, accept_units = excluded.accept_units,
    accept_hundredths = excluded.accept_hundredths, approve_above_units = excluded.approve_above_units, active = excluded.active
WHERE (p.location_id, p.days, p.lines, p.accept_units, p.accept_hundredths, p.approve_above_units, p.active) IS DISTINCT FROM
      (excluded.location_id, excluded.days, excluded.lines, excluded.accept_units, excluded.accept_hundredths,
       excluded.approve_above_units, excluded.active)
RETURNING p.code, p.xmax = 0 AS new;

-- name: plans
-- Some count plans, by code.
SELECT p.code, l.code AS location, p.location_id, p.days, p.lines, p.accept_units, p.accept_hundredths, p.approve_above_units, p.active
FROM inventory.count_plans p JOIN network.locations l USING (location_id) WHERE p.code = any(:codes::text[]) ORDER BY p.code;

-- name: plan_codes_after
-- One page of codes.
SELECT code FROM inventory.count_plans WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: plans_without_sheets
-- Active plans that have no sheet in hand.
SELECT code FROM inventory.count_plans p
WHERE active AND NOT EXISTS (SELECT FROM inventory.count_sheets s WHERE s.plan = p.code AND s.status <> 'done') ORDER BY code;

-- name: due_for_count
-- What is due at a location: its class by the units that left lately, and when it was counted last; longest overdue first.
WITH there AS (
    SELECT sku_id FROM inventory.stock WHERE location_id = :location_id::int
), left_here AS (
    SELECT t.sku_id, coalesce(-sum(m.on_hand_delta), 0) AS units
    FROM there t LEFT JOIN inventory.moves m ON m.sku_id = t.sku_id AND m.location_id = :location_id::int AND m.kind = 'shipped'
        AND m.at > :since::timestamptz
    GROUP BY t.sku_id
), ranked AS (
    SELECT sku_id, units, sum(units) OVER (ORDER BY units DESC, sku_id) - units AS before, sum(units) OVER () AS total FROM left_here
), classed AS (
    SELECT sku_id, CASE WHEN units > 0 AND before < 0.80 * total THEN 1 WHEN units > 0 AND before < 0.95 * total THEN 2 ELSE 3 END
               AS class
    FROM ranked
), counted AS (
    SELECT l.sku_id, max(l.counted_at) AS counted_at
    FROM inventory.count_lines l JOIN inventory.count_sheets s USING (sheet_id)
    WHERE s.location_id = :location_id::int AND l.state = 'accepted' GROUP BY l.sku_id
)
SELECT c.sku_id, c.class FROM classed c LEFT JOIN counted d USING (sku_id)
WHERE (d.counted_at IS NULL OR d.counted_at <= :at::timestamptz - make_interval(days => (:days::int[])[c.class]))
  AND NOT EXISTS (SELECT FROM inventory.count_lines l JOIN inventory.count_sheets s USING (sheet_id)
                  WHERE l.sku_id = c.sku_id AND s.location_id = :location_id::int AND l.state <> 'accepted')
ORDER BY d.counted_at IS NOT NULL, c.class, d.counted_at, c.sku_id LIMIT :limit::int;

-- name: write_sheet
-- A new sheet with its lines.
WITH s AS (
    INSERT INTO inventory.count_sheets (sheet_id, plan, location_id, made_at, open, recount, waiting, accepted)
    VALUES (:sheet_id::uuid, :plan::text, :location_id::int, :at::timestamptz, :lines::int, 0, 0, 0) RETURNING sheet_id
)
INSERT INTO inventory.count_lines (sheet_id, line_no, sku_id, state)
SELECT s.sheet_id, w.line_no, w.sku_id, 'open' FROM s, unnest(:sku_ids::int[]) WITH ORDINALITY AS w (sku_id, line_no);

-- name: lock_sheet
-- One sheet with its plan's thresholds, for the rest of the transaction.
SELECT s.sheet_id, s.location_id, l.code AS location, p.accept_units, p.accept_hundredths, p.approve_above_units
FROM inventory.count_sheets s JOIN inventory.count_plans p ON p.code = s.plan JOIN network.locations l ON l.location_id = s.location_id
WHERE s.sheet_id = :sheet_id::uuid FOR NO KEY UPDATE OF s;

-- name: sheet_lines
-- A sheet's lines.
SELECT l.line_no, l.sku_id, s.code AS sku, l.state, l.counted, l.counted_at, l.expected
FROM inventory.count_lines l JOIN catalog.skus s USING (sku_id) WHERE l.sheet_id = :sheet_id::uuid ORDER BY l.line_no;

-- name: move_line
-- A line changes its state, and with it the sheet's counts.
WITH l AS (
    UPDATE inventory.count_lines SET state = :state::text, counted = :counted::bigint, counted_at = :counted_at::timestamptz,
                                     expected = :expected::bigint
    WHERE sheet_id = :sheet_id::uuid AND line_no = :line_no::int AND state = :was::text RETURNING sheet_id
)
UPDATE inventory.count_sheets s
SET open = s.open + (:state::text = 'open')::int - (:was::text = 'open')::int,
    recount = s.recount + (:state::text = 'recount')::int - (:was::text = 'recount')::int,
    waiting = s.waiting + (:state::text = 'waiting')::int - (:was::text = 'waiting')::int,
    accepted = s.accepted + (:state::text = 'accepted')::int - (:was::text = 'accepted')::int
FROM l WHERE s.sheet_id = l.sheet_id;

-- name: sheet_by_id
-- One sheet.
SELECT s.sheet_id, s.plan, l.code AS location, s.made_at, s.status
FROM inventory.count_sheets s JOIN network.locations l USING (location_id) WHERE s.sheet_id = :sheet_id::uuid;

-- name: sheets_page
-- One page of sheets, newest first, of one location, of some, or of all.
SELECT s.sheet_id, s.plan, l.code AS location, s.made_at, s.status, s.open, s.recount, s.waiting, s.accepted
FROM inventory.count_sheets s JOIN network.locations l USING (location_id)
WHERE s.sheet_id < :before::uuid AND (:location::text IS NULL OR l.code = :location::text)
  AND (:within::text[] IS NULL OR l.code = any(:within::text[])) ORDER BY s.sheet_id DESC LIMIT :limit::int;

-- name: open_shortfalls
-- What is missing at these positions, locked in key order.
SELECT f.shortfall_id, f.sku_id, f.location_id, f.open, f.resolved
FROM inventory.shortfalls f JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id)
WHERE f.open > 0 ORDER BY f.sku_id, f.location_id FOR NO KEY UPDATE OF f;

-- name: write_shortfalls
-- Shortfalls that are new.
INSERT INTO inventory.shortfalls (shortfall_id, sku_id, location_id, missing, open, document, found_at)
SELECT w.*, w.quantity, :document::text, :at::timestamptz
FROM unnest(:shortfall_ids::uuid[], :sku_ids::int[], :location_ids::int[], :quantities::bigint[])
    AS w (shortfall_id, sku_id, location_id, quantity);

-- name: recount_shortfalls
-- Another count has found more, or less, of what is missing.
UPDATE inventory.shortfalls f
SET missing = f.missing + greatest(w.delta, 0), open = f.open + w.delta, recovered = f.recovered + greatest(-w.delta, 0),
    closed_at = CASE WHEN f.open + w.delta = 0 THEN :at::timestamptz END
FROM unnest(:shortfall_ids::uuid[], :deltas::bigint[]) AS w (shortfall_id, delta)
WHERE f.shortfall_id = w.shortfall_id AND w.delta <> 0;

-- name: resolve_shortfalls
-- Units that nobody is promised any more are no longer missing.
UPDATE inventory.shortfalls f
SET open = f.open - w.quantity, resolved = f.resolved + w.quantity,
    closed_at = CASE WHEN f.open = w.quantity THEN :at::timestamptz END
FROM unnest(:shortfall_ids::uuid[], :quantities::bigint[]) AS w (shortfall_id, quantity)
WHERE f.shortfall_id = w.shortfall_id AND w.quantity > 0;

-- name: lock_shortfall
-- One shortfall.
SELECT open, sku_id, location_id FROM inventory.shortfalls WHERE shortfall_id = :shortfall_id::uuid FOR NO KEY UPDATE;

-- name: recover_shortfall
-- The units were there.
UPDATE inventory.shortfalls SET recovered = recovered + open, open = 0, closed_at = :at::timestamptz, note = :note::text
WHERE shortfall_id = :shortfall_id::uuid;

-- name: erase_shortfall_note
-- What somebody wrote when they closed it.
UPDATE inventory.shortfalls SET note = NULL WHERE shortfall_id = :shortfall_id::uuid AND note IS NOT NULL RETURNING shortfall_id;

-- bins, lots and serials -----------------------------------------------------------------------------------------------

-- name: tracked_skus
-- Every SKU that is tracked by lot or serial number.
SELECT sku_id, tracking, expiry_required, stop_selling_days FROM catalog.skus WHERE tracking <> 'none';

-- name: lock_detailed
-- These positions, held, with what is picked of them.
SELECT s.sku_id, s.location_id, s.on_hand, s.picked
FROM inventory.stock s JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id)
ORDER BY 1, 2 FOR NO KEY UPDATE OF s;

-- name: detail_of
-- Where exactly the units of these positions lie.
SELECT d.sku_id, d.location_id, d.bin, d.lot, d.quantity
FROM inventory.detail d JOIN unnest(:sku_ids::int[], :location_ids::int[]) AS w (sku_id, location_id) USING (sku_id, location_id);

-- name: lots_of
-- The lots of these SKUs.
SELECT sku_id, lot, expires_on FROM inventory.lots WHERE sku_id = any(:sku_ids::int[]);

-- name: know_lots
-- Lots that are new, and dates that were not known.
INSERT INTO inventory.lots AS l (sku_id, lot, expires_on, first_at)
SELECT w.*, :at::timestamptz FROM unnest(:sku_ids::int[], :lots::text[], :expires::date[]) AS w (sku_id, lot, expires_on)
ORDER BY w.sku_id, w.lot
ON CONFLICT (sku_id, lot) DO UPDATE SET expires_on = excluded.expires_on WHERE l.expires_on IS NULL AND excluded.expires_on IS NOT NULL;

-- name: move_detail
-- Units come into bins and lots, or leave them; the CHECK is the last guard.
WITH w AS (
    SELECT * FROM unnest(:sku_ids::int[], :location_ids::int[], :bins::text[], :lots::text[], :deltas::bigint[])
        AS w (sku_id, location_id, bin, lot, delta)
), changed AS (
    UPDATE inventory.detail d SET quantity = d.quantity + w.delta FROM w
    WHERE d.sku_id = w.sku_id AND d.location_id = w.location_id AND d.bin = w.bin AND d.lot = w.lot
    RETURNING d.sku_id, d.location_id, d.bin, d.lot
)
INSERT INTO inventory.detail (sku_id, location_id, bin, lot, quantity)
SELECT w.* FROM w WHERE (w.sku_id, w.location_id, w.bin, w.lot) NOT IN (SELECT * FROM changed);

-- name: record_detail_moves
-- The ledger of the detail.
INSERT INTO inventory.detail_moves (sku_id, cause_id, location_id, line_no, kind, bin, lot, order_id, delta, at)
SELECT w.*, :at::timestamptz
FROM unnest(:sku_ids::int[], :cause_ids::uuid[], :location_ids::int[], :line_nos::int[], :kinds::text[], :bins::text[],
            :lots::text[], :order_ids::uuid[], :deltas::bigint[]) AS w
ON CONFLICT (sku_id, cause_id, location_id, line_no, kind, bin, lot) DO UPDATE SET delta = detail_moves.delta + excluded.delta;

-- name: lots_that_left
-- The lots of units that left for these lines and have not come back.
SELECT m.sku_id, m.order_id, m.line_no, m.lot, -sum(m.delta)::bigint AS quantity
FROM inventory.detail_moves m
JOIN unnest(:sku_ids::int[], :order_ids::uuid[], :line_nos::int[]) AS w (sku_id, order_id, line_no) USING (sku_id, order_id, line_no)
WHERE m.kind IN ('shipped', 'sent', 'returned', 'arrived')
GROUP BY m.sku_id, m.order_id, m.line_no, m.lot HAVING sum(m.delta) < 0 ORDER BY m.lot;

-- name: bins_at
-- The bins of these locations.
SELECT location_id, code FROM inventory.bins WHERE location_id = any(:location_ids::int[]);

-- name: write_bin
-- A row comes back if it is new.
INSERT INTO inventory.bins (location_id, code) VALUES (:location_id::int, :code::text) ON CONFLICT DO NOTHING RETURNING code;

-- name: know_serials
-- Serial numbers that come for the first time.
INSERT INTO inventory.serials (sku_id, serial, state)
SELECT w.*, 'gone' FROM unnest(:sku_ids::int[], :serials::text[]) AS w (sku_id, serial) ORDER BY w.sku_id, w.serial ON CONFLICT DO NOTHING;

-- name: lock_serials
-- These serial numbers, held: others may have named some of them for units elsewhere.
SELECT s.sku_id, s.serial
FROM inventory.serials s JOIN unnest(:sku_ids::int[], :serials::text[]) AS w (sku_id, serial) USING (sku_id, serial)
ORDER BY 1, 2 FOR NO KEY UPDATE OF s;

-- name: move_serials
-- Serial numbers go from one state to another; those that are not in one of the states stay, and do not come back.
WITH held AS (
    SELECT serial FROM inventory.serials
    WHERE sku_id = :sku_id::int AND serial = any(:serials::text[]) AND state = any(:from_states::text[])
    ORDER BY serial
    FOR NO KEY UPDATE
), moved AS (
    UPDATE inventory.serials s
    SET state = :state::text, location_id = :location_id::int, order_id = :order_id::uuid, line_no = :line_no::int
    FROM held h WHERE s.sku_id = :sku_id::int AND s.serial = h.serial RETURNING s.serial
)
INSERT INTO inventory.serial_moves (sku_id, serial, cause_id, kind, state, location_id, order_id, at)
SELECT :sku_id::int, serial, :cause_id::uuid, :kind::text, :state::text, :location_id::int, :order_id::uuid, :at::timestamptz
FROM moved RETURNING serial;

-- name: serials_in
-- Serial numbers that a line has in some states.
SELECT serial FROM inventory.serials
WHERE sku_id = :sku_id::int AND order_id = :order_id::uuid AND line_no = :line_no::int AND state = any(:states::text[])
ORDER BY serial LIMIT :limit::bigint;

-- name: serials_named
-- What is known of these serial numbers.
SELECT s.sku_id, s.serial, s.state, s.location_id, s.order_id, s.line_no
FROM inventory.serials s JOIN unnest(:sku_ids::int[], :serials::text[]) AS w (sku_id, serial) USING (sku_id, serial);

-- name: serials_at
-- Serial numbers that are at a location, or somewhere.
SELECT serial FROM inventory.serials
WHERE sku_id = :sku_id::int AND (:location_id::int IS NULL OR location_id = :location_id::int) AND state IN ('in_stock', 'picked')
ORDER BY serial;

-- name: serial_by_name
-- One serial number.
SELECT s.sku_id, s.state, s.location_id, s.order_id FROM inventory.serials s JOIN catalog.sku_codes c USING (sku_id)
WHERE c.code = :sku::text AND s.serial = :serial::text;

-- name: life_of_serial
-- What happened to a serial number, oldest first.
SELECT at, kind, state, location_id, order_id FROM inventory.serial_moves
WHERE sku_id = :sku_id::int AND serial = :serial::text ORDER BY cause_id, kind;

-- name: lots_before
-- What lies on shelves of lots whose date is before a day.
SELECT d.sku_id, d.location_id, d.lot, l.expires_on, sum(d.quantity)::bigint AS quantity
FROM inventory.lots l JOIN inventory.detail d USING (sku_id, lot)
WHERE l.sku_id = any(:sku_ids::int[]) AND l.expires_on < :before::date AND d.quantity > 0 AND d.bin <> '(picked)'
GROUP BY d.sku_id, d.location_id, d.lot, l.expires_on ORDER BY l.expires_on, d.lot;

-- name: expired_positions
-- Positions with lots that may no longer be sold, but for those of which orders hold everything, and a shortfall says so. Each
-- location has its own day.
SELECT e.sku_id, e.location_id
FROM (SELECT d.sku_id, d.location_id, sum(d.quantity)::bigint AS quantity
      FROM inventory.lots l JOIN inventory.detail d USING (sku_id, lot) JOIN catalog.skus k USING (sku_id)
      JOIN unnest(:location_ids::int[], :days::date[]) AS w (location_id, today) USING (location_id)
      WHERE l.expires_on < :before::date AND l.expires_on < w.today + k.stop_selling_days AND d.quantity > 0 AND d.bin <> '(picked)'
      GROUP BY d.sku_id, d.location_id) e
JOIN inventory.stock s USING (sku_id, location_id)
LEFT JOIN inventory.shortfalls f ON f.sku_id = e.sku_id AND f.location_id = e.location_id AND f.open > 0
WHERE s.on_hand > s.reserved OR coalesce(f.open, 0) <> e.quantity
ORDER BY e.sku_id, e.location_id LIMIT :limit::int;

-- incoming, transfers and what is set aside ------------------------------------------------------------------------------

-- name: conditions
-- Why units may not be sold.
SELECT code, sentence FROM inventory.conditions ORDER BY code;

-- name: move_unavailable
-- What is set aside grows and shrinks; the CHECK is the last guard.
INSERT INTO inventory.unavailable AS u (sku_id, location_id, condition, quantity)
SELECT * FROM unnest(:sku_ids::int[], :location_ids::int[], :conditions::text[], :quantities::bigint[])
ON CONFLICT (sku_id, location_id, condition) DO UPDATE SET quantity = u.quantity + excluded.quantity;

-- name: let_in_unavailable
-- What was set aside leaves again.
UPDATE inventory.unavailable u SET quantity = u.quantity - w.quantity
FROM unnest(:sku_ids::int[], :location_ids::int[], :conditions::text[], :quantities::bigint[])
    AS w (sku_id, location_id, condition, quantity)
WHERE u.sku_id = w.sku_id AND u.location_id = w.location_id AND u.condition = w.condition;

-- name: unavailable_of
-- What is set aside of these SKUs.
SELECT sku_id, location_id, condition, quantity FROM inventory.unavailable
WHERE sku_id = any(:sku_ids::int[]) AND quantity > 0 ORDER BY sku_id, location_id, condition;

-- name: write_incoming
-- A row comes back if it is new or differed.
INSERT INTO inventory.incoming AS i (sku_id, location_id, document, quantity, expected_at, closed, announced_at)
SELECT w.*, :at::timestamptz FROM unnest(:sku_ids::int[], :location_ids::int[], :documents::text[], :quantities::bigint[],
                                        :expected::timestamptz[], :closed::boolean[])
    AS w (sku_id, location_id, document, quantity, expected_at, closed)
ORDER BY w.sku_id, w.location_id, w.document
ON CONFLICT (sku_id, location_id, document) DO UPDATE
SET quantity = excluded.quantity, expected_at = excluded.expected_at, closed = excluded.closed
WHERE (i.quantity, i.expected_at, i.closed) IS DISTINCT FROM (excluded.quantity, excluded.expected_at, excluded.closed)
RETURNING i.sku_id, i.location_id, i.document, i.xmax = 0 AS new;

-- name: take_incoming
-- Units that were announced have come, and how many more than that.
WITH w AS (
    SELECT i.sku_id, i.location_id, i.document, w.quantity
    FROM inventory.incoming i
    JOIN unnest(:sku_ids::int[], :location_ids::int[], :documents::text[], :quantities::bigint[])
        AS w (sku_id, location_id, document, quantity) USING (sku_id, location_id, document)
    /* on shards: WHERE i.sku_id = any(:sku_ids::int[]) */
    ORDER BY 1, 2, 3 FOR NO KEY UPDATE OF i
)
UPDATE inventory.incoming i SET received = i.received + w.quantity FROM w
WHERE i.sku_id = w.sku_id AND i.location_id = w.location_id AND i.document = w.document
RETURNING i.sku_id, i.location_id, i.document, i.received - i.quantity AS over;

-- name: expected
-- What is still to come of these SKUs, soonest first: from suppliers, and from other locations.
SELECT i.sku_id, i.location_id, 'purchase_order' AS source, i.document, NULL::uuid AS transfer_id, i.expected_at,
       i.quantity - i.received AS quantity
FROM inventory.incoming i
WHERE i.sku_id = any(:sku_ids::int[]) AND NOT i.closed AND i.quantity > i.received
UNION ALL
SELECT l.sku_id, t.destination_id, 'transfer', t.document, t.transfer_id, t.expected_at, l.in_transit
FROM inventory.transfer_lines l JOIN inventory.transfers t USING (transfer_id)
WHERE l.sku_id = any(:sku_ids::int[]) AND l.in_transit > 0
ORDER BY 6, 1, 2, 4;

-- name: incoming_of_document
-- What one document announced.
SELECT s.code AS sku, l.code AS location, i.document, i.quantity, i.received, i.expected_at, i.closed
FROM inventory.incoming i JOIN catalog.skus s USING (sku_id) JOIN network.locations l USING (location_id)
WHERE i.document = :document::text ORDER BY s.code, l.code;

-- name: write_transfers
-- New transfers with their lines.
WITH t AS (
    INSERT INTO inventory.transfers (transfer_id, document, origin_id, destination_id, expected_at, requested, open, in_transit,
                                     received, lost, cancelled, requested_at)
    SELECT w.transfer_id, w.document, w.origin_id, w.destination_id, w.expected_at, w.requested, w.requested, 0, 0, 0, 0,
           :at::timestamptz
    FROM unnest(:transfer_ids::uuid[], :documents::text[], :origin_ids::int[], :destination_ids::int[], :expected::timestamptz[],
                :requested::bigint[]) AS w (transfer_id, document, origin_id, destination_id, expected_at, requested)
)
INSERT INTO inventory.transfer_lines (transfer_id, line_no, sku_id, requested, open, in_transit, received, lost, cancelled)
SELECT w.transfer_id, w.line_no, w.sku_id, w.quantity, w.quantity, 0, 0, 0, 0
FROM unnest(:line_transfer_ids::uuid[], :line_nos::int[], :sku_ids::int[], :quantities::bigint[])
    AS w (transfer_id, line_no, sku_id, quantity);

-- name: lock_transfers
-- These transfers for the rest of the transaction, in key order.
SELECT transfer_id, document, origin_id, destination_id, expected_at, status FROM inventory.transfers
WHERE transfer_id = any(:transfer_ids::uuid[]) ORDER BY transfer_id FOR NO KEY UPDATE;

-- name: transfer_lines
-- The lines of these transfers.
SELECT l.transfer_id, l.line_no, l.sku_id, s.code AS sku, l.requested, l.open, l.in_transit, l.received, l.lost, l.cancelled,
       l.surplus
FROM inventory.transfer_lines l JOIN catalog.skus s USING (sku_id)
WHERE l.transfer_id = any(:transfer_ids::uuid[]) ORDER BY l.transfer_id, l.line_no;

-- name: move_transfers
-- Units of transfers change their state: the lines' counts and the transfers', which are their sums.
WITH d AS (
    SELECT * FROM unnest(:transfer_ids::uuid[], :line_nos::int[], :open::bigint[], :in_transit::bigint[], :received::bigint[],
                         :lost::bigint[], :cancelled::bigint[], :surplus::bigint[])
        AS d (transfer_id, line_no, open, in_transit, received, lost, cancelled, surplus)
), lines AS (
    UPDATE inventory.transfer_lines l
    SET open = l.open + d.open, in_transit = l.in_transit + d.in_transit, received = l.received + d.received,
        lost = l.lost + d.lost, cancelled = l.cancelled + d.cancelled, surplus = l.surplus + d.surplus
    FROM d WHERE l.transfer_id = d.transfer_id AND l.line_no = d.line_no
)
UPDATE inventory.transfers t
SET open = t.open + s.open, in_transit = t.in_transit + s.in_transit, received = t.received + s.received, lost = t.lost + s.lost,
    cancelled = t.cancelled + s.cancelled
FROM (SELECT transfer_id, sum(open)::bigint AS open, sum(in_transit)::bigint AS in_transit, sum(received)::bigint AS received,
             sum(lost)::bigint AS lost, sum(cancelled)::bigint AS cancelled FROM d GROUP BY transfer_id) s
WHERE t.transfer_id = s.transfer_id RETURNING t.transfer_id, t.status;

-- name: expect_transfers
-- When what is under way is to arrive now.
UPDATE inventory.transfers t SET expected_at = w.expected_at
FROM unnest(:transfer_ids::uuid[], :expected::timestamptz[]) AS w (transfer_id, expected_at) WHERE t.transfer_id = w.transfer_id;

-- name: transfers_page
-- One page of transfers, newest first: all, or those from or to some locations.
SELECT transfer_id, document, origin_id, destination_id, requested_at, expected_at, status FROM inventory.transfers
WHERE (:status::text IS NULL OR status = :status::text) AND transfer_id < :before::uuid
  AND (:location_ids::int[] IS NULL OR origin_id = any(:location_ids::int[]) OR destination_id = any(:location_ids::int[]))
ORDER BY transfer_id DESC LIMIT :limit::int;

-- name: transfer_by_id
-- One transfer.
SELECT transfer_id, document, origin_id, destination_id, requested_at, expected_at, status FROM inventory.transfers
WHERE transfer_id = :transfer_id::uuid;

-- name: positions_of
-- Every position of a SKU, with what is held for carts there.
SELECT s.location_id, s.on_hand, s.reserved, s.picked, coalesce(h.held, 0)::bigint AS held
FROM inventory.stock s
LEFT JOIN (SELECT sku_id, location_id, sum(quantity) AS held FROM inventory.reservations
           WHERE sku_id = :sku_id::int AND expires_at IS NOT NULL GROUP BY sku_id, location_id) h USING (sku_id, location_id)
WHERE s.sku_id = :sku_id::int ORDER BY s.location_id;

-- name: stood_at
-- How every position of a SKU stood at a time, by its moves.
SELECT location_id, sum(on_hand_delta)::bigint AS on_hand, sum(reserved_delta)::bigint AS reserved,
       sum(picked_delta)::bigint AS picked, sum(unavailable_delta)::bigint AS unavailable
FROM inventory.moves WHERE sku_id = :sku_id::int AND at <= :at::timestamptz GROUP BY location_id ORDER BY location_id;

-- name: held_at
-- What each hold had reserved of a SKU at a time, by its moves.
SELECT order_id AS hold_id, location_id, sum(reserved_delta)::bigint AS quantity FROM inventory.moves
WHERE sku_id = :sku_id::int AND at <= :at::timestamptz AND kind IN ('held', 'let_go')
GROUP BY order_id, location_id HAVING sum(reserved_delta) > 0;

-- name: moves_before
-- One page of a SKU's moves, newest first, by the time at which they were entered.
SELECT cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta, unavailable_delta, reason, order_id, actor,
       document, at
FROM inventory.moves
WHERE sku_id = :sku_id::int AND (cause_id, location_id, line_no, kind) < (:cause_id::uuid, :location_id::int, :line_no::int, :kind::text)
  AND (:only_location_id::int IS NULL OR location_id = :only_location_id::int)
ORDER BY cause_id DESC, location_id DESC, line_no DESC, kind DESC LIMIT :limit::int;

-- signals and the availability feed ------------------------------------------------------------------------------------

-- name: take_touched
-- SKUs whose stock has moved since somebody looked, so many rows at once.
WITH taken AS (
    DELETE FROM inventory.touched WHERE ctid = any(ARRAY(SELECT ctid FROM inventory.touched LIMIT :limit::int)) RETURNING sku_id
)
SELECT DISTINCT sku_id FROM taken;

-- name: touch_all
-- A rule has changed: what may be promised of any SKU may have.
INSERT INTO inventory.touched SELECT DISTINCT sku_id FROM inventory.stock;

-- name: touch_retired
-- SKUs that are no longer sold, or are sold again, since this was asked last: what may be promised of them has changed.
WITH today AS (
    SELECT sku_id FROM catalog.skus WHERE NOT active
), revived AS (
    DELETE FROM inventory.retired WHERE sku_id NOT IN (SELECT sku_id FROM today) RETURNING sku_id
), gone AS (
    INSERT INTO inventory.retired SELECT sku_id FROM today EXCEPT SELECT sku_id FROM inventory.retired RETURNING sku_id
)
INSERT INTO inventory.touched SELECT sku_id FROM revived UNION ALL SELECT sku_id FROM gone;

-- name: publish_changes
-- The SKUs get the next numbers.
INSERT INTO inventory.changes AS c (sku_id, cursor, changed_at)
SELECT sku_id, :first::bigint + ordinal - 1, :at::timestamptz
FROM unnest(:sku_ids::int[]) WITH ORDINALITY AS w (sku_id, ordinal)
ON CONFLICT (sku_id) DO UPDATE SET cursor = excluded.cursor, changed_at = excluded.changed_at;

-- name: changes_after
-- What changed after a cursor, each SKU once, in the order of its last change.
SELECT c.sku_id, s.code, c.cursor, c.changed_at FROM inventory.changes c JOIN catalog.skus s USING (sku_id)
WHERE c.cursor > :after::bigint ORDER BY c.cursor LIMIT :limit::int;

-- name: published_of
-- What networks were last known to have of these SKUs.
SELECT sku_id, network_id, available, low FROM inventory.published WHERE sku_id = any(:sku_ids::int[]);

-- name: publish
-- What networks are known to have now.
INSERT INTO inventory.published AS p (sku_id, network_id, available, low, since)
SELECT w.*, :at::timestamptz FROM unnest(:sku_ids::int[], :network_ids::int[], :available::bigint[], :low::boolean[]) AS w
ON CONFLICT (sku_id, network_id) DO UPDATE
SET available = excluded.available, low = excluded.low,
    since = CASE WHEN p.low = excluded.low AND (p.available = 0) = (excluded.available = 0) THEN p.since ELSE excluded.since END;

-- name: scarce
-- One page of what is low or out in a network and still sold, in order of SKU codes.
SELECT s.code AS sku, p.available, p.available = 0 AS is_out, p.since
FROM inventory.published p JOIN catalog.skus s USING (sku_id)
WHERE p.network_id = :network_id::int AND s.active AND (p.low OR p.available = 0) AND s.code > :after::text ORDER BY s.code LIMIT :limit::int;

-- name: codes_of
-- The codes of these SKUs.
SELECT sku_id, code FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]);

-- name: places_of_sheets
-- At which locations these sheets are counted.
SELECT s.sheet_id, l.code AS location
FROM inventory.count_sheets s JOIN network.locations l USING (location_id) WHERE s.sheet_id = any(:sheet_ids::uuid[]);

-- name: places_of_shortfalls
-- At which locations these units are missing.
SELECT f.shortfall_id, l.code AS location
FROM inventory.shortfalls f JOIN network.locations l USING (location_id) WHERE f.shortfall_id = any(:shortfall_ids::uuid[]);

-- name: places_of_transfers
-- From where to where these transfers go.
SELECT t.transfer_id, o.code AS origin, d.code AS destination
FROM inventory.transfers t
JOIN network.locations o ON o.location_id = t.origin_id JOIN network.locations d ON d.location_id = t.destination_id
WHERE t.transfer_id = any(:transfer_ids::uuid[]);

-- name: sellers_of_holds
-- For whose channels units are held.
SELECT h.hold_id, s.code AS seller
FROM inventory.holds h JOIN catalog.channels c USING (channel_id) JOIN catalog.sellers s USING (seller_id)
WHERE h.hold_id = any(:hold_ids::uuid[]);
