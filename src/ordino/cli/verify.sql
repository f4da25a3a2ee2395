-- What Ordino promises of its ledgers, one statement a promise: each returns the rows that break it, and none when it holds.
-- The comment names the promise and says it in a sentence; ``ordino verify`` prints both. Columns that name a row come
-- first; ``found`` is what the row says, ``expected`` what the ledgers say. Sums of single orders' quantities are taken as
-- integers (a move has at most 10^9 units), because those of bigint are numeric and three times as slow.

-- stock ----------------------------------------------------------------------------------------------------------------

-- name: stock_is_the_sum_of_its_moves
-- INV-5: On hand, reserved and picked of every position are the sums of its moves.
SELECT sku_id, location_id,
       json_build_object('on_hand', s.on_hand, 'reserved', s.reserved, 'picked', s.picked) AS found,
       json_build_object('on_hand', m.on_hand, 'reserved', m.reserved, 'picked', m.picked) AS expected
FROM inventory.stock s
FULL JOIN (SELECT sku_id, location_id, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved, sum(picked_delta) AS picked
           FROM inventory.moves GROUP BY sku_id, location_id) m USING (sku_id, location_id)
WHERE s.sku_id IS NULL OR s.on_hand <> coalesce(m.on_hand, 0) OR s.reserved <> coalesce(m.reserved, 0)
   OR s.picked <> coalesce(m.picked, 0);

-- name: reserved_is_the_sum_of_reservations
-- INV-3: Reserved of every position is the sum of its open reservations.
SELECT sku_id, location_id, coalesce(s.reserved, 0) AS found, coalesce(r.quantity, 0) AS expected
FROM inventory.stock s
FULL JOIN (SELECT sku_id, location_id, sum(quantity) AS quantity FROM inventory.reservations GROUP BY sku_id, location_id) r
    USING (sku_id, location_id)
WHERE coalesce(s.reserved, 0) <> coalesce(r.quantity, 0);

-- name: never_promise_more_than_we_have
-- INV-1: Reserved is between nothing and what is on hand.
SELECT sku_id, location_id, reserved AS found, on_hand AS expected FROM inventory.stock WHERE reserved NOT BETWEEN 0 AND on_hand;

-- name: only_reserved_units_are_picked
-- INV-4: Picked is between nothing and what is reserved.
SELECT sku_id, location_id, picked AS found, reserved AS expected FROM inventory.stock WHERE picked NOT BETWEEN 0 AND reserved;

-- name: picked_stock_is_in_the_warehouse
-- INV-4: Picked of every position is what its location has picked or packed and not yet shipped; of kits, their components.
SELECT sku_id, location_id, coalesce(s.picked, 0) AS found, coalesce(w.quantity, 0) AS expected
FROM (SELECT sku_id, location_id, picked FROM inventory.stock WHERE picked <> 0) s
FULL JOIN (SELECT coalesce(k.component_sku_id, l.sku_id) AS sku_id, f.location_id,
                  sum((l.picked + l.packed) * coalesce(k.quantity, 1)) AS quantity
           FROM warehouse.fulfillment_lines l JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
           LEFT JOIN inventory.kit_lines k USING (order_id, line_no)
           WHERE l.picked + l.packed <> 0 GROUP BY coalesce(k.component_sku_id, l.sku_id), f.location_id) w
    USING (sku_id, location_id)
WHERE coalesce(s.picked, 0) <> coalesce(w.quantity, 0);

-- name: what_is_reserved_is_what_is_ordered
-- DEM-5, KIT-1, TRA-3: A line's reservation at a location is what it has allocated there, and picked or packed there and not yet
-- shipped; for kits, of every component what they need; a transfer's line has what it is still to send.
SELECT order_id, line_no, sku_id, location_id, sum(held) AS found, sum(owed) AS expected
FROM (SELECT order_id, line_no, sku_id, location_id, quantity AS held, 0 AS owed FROM inventory.reservations
      WHERE quantity <> 0 AND expires_at IS NULL
      UNION ALL
      SELECT l.transfer_id, l.line_no, l.sku_id, t.origin_id, 0, l.open
      FROM inventory.transfer_lines l JOIN inventory.transfers t USING (transfer_id) WHERE l.open <> 0
      UNION ALL
      SELECT a.order_id, a.line_no, coalesce(k.component_sku_id, a.sku_id), a.location_id, 0, a.quantity * coalesce(k.quantity, 1)
      FROM orders.allocations a LEFT JOIN inventory.kit_lines k USING (order_id, line_no) WHERE a.quantity <> 0
      UNION ALL
      SELECT l.order_id, l.line_no, coalesce(k.component_sku_id, l.sku_id), f.location_id, 0,
             (l.picked + l.packed) * coalesce(k.quantity, 1)
      FROM warehouse.fulfillment_lines l JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
      LEFT JOIN inventory.kit_lines k USING (order_id, line_no)
      WHERE l.picked + l.packed <> 0) both_sides
GROUP BY order_id, line_no, sku_id, location_id HAVING sum(held) <> sum(owed);

-- name: what_left_the_stock_is_what_shipped
-- FUL-5: What the stock ledger says has shipped of a line is what the warehouse says has shipped.
SELECT order_id, line_no, location_id, sum(gone)::bigint AS found, sum(shipped)::bigint AS expected
FROM (SELECT order_id, line_no, location_id, -on_hand_delta::int AS gone, 0 AS shipped FROM inventory.moves WHERE kind = 'shipped'
      UNION ALL
      SELECT l.order_id, l.line_no, f.location_id, 0, l.shipped::int * coalesce(k.units, 1)
      FROM warehouse.fulfillment_lines l JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
      LEFT JOIN (SELECT order_id, line_no, sum(quantity)::int AS units FROM inventory.kit_lines GROUP BY order_id, line_no) k
          USING (order_id, line_no)
      WHERE l.shipped <> 0) both_sides
GROUP BY order_id, line_no, location_id HAVING sum(gone) <> sum(shipped);

-- name: holds_reserve_what_they_hold
-- HLD-1: An open hold has reserved what its lines ask for, of kits their components; an ended one nothing.
SELECT hold_id, sku_id, sum(reserved) AS found, sum(wanted) AS expected
FROM (SELECT order_id AS hold_id, sku_id, quantity AS reserved, 0 AS wanted FROM inventory.reservations
      WHERE expires_at IS NOT NULL AND quantity <> 0
      UNION ALL
      SELECT l.hold_id, coalesce(k.component_sku_id, l.sku_id), 0, l.quantity * coalesce(k.quantity, 1)
      FROM inventory.hold_lines l JOIN inventory.holds h USING (hold_id)
      LEFT JOIN inventory.kit_lines k ON k.order_id = l.hold_id AND k.line_no = l.line_no
      WHERE h.ended_at IS NULL) both_sides
GROUP BY hold_id, sku_id HAVING sum(reserved) <> sum(wanted);

-- name: reservations_of_holds_end_with_them
-- HLD-1: What a hold has reserved expires when the hold does.
SELECT r.order_id AS hold_id, r.sku_id, r.location_id, r.expires_at AS found, h.expires_at AS expected
FROM inventory.reservations r LEFT JOIN inventory.holds h ON h.hold_id = r.order_id
WHERE r.expires_at IS NOT NULL AND r.expires_at IS DISTINCT FROM h.expires_at;

-- name: holds_that_became_orders_name_them
-- HLD-2: The order that a hold has become exists, and was placed through its channel.
SELECT h.hold_id, h.order_id, h.channel_id AS found, o.channel_id AS expected
FROM inventory.holds h LEFT JOIN orders.orders o USING (order_id)
WHERE h.order_id IS NOT NULL AND h.channel_id IS DISTINCT FROM o.channel_id;

-- name: what_waits_is_what_is_backordered
-- WAI-1: What inventory says orders of a channel wait for is what their lines have backordered, of kits their components.
SELECT sku_id, channel_id, sum(counted) AS found, sum(owed) AS expected
FROM (SELECT sku_id, channel_id, quantity AS counted, 0 AS owed FROM inventory.waiting WHERE quantity <> 0
      UNION ALL
      SELECT coalesce(k.component_sku_id, l.sku_id), o.channel_id, 0, l.backordered * coalesce(k.quantity, 1)
      FROM orders.lines l JOIN orders.orders o USING (order_id) LEFT JOIN inventory.kit_lines k USING (order_id, line_no)
      WHERE l.backordered <> 0) both_sides
GROUP BY sku_id, channel_id HAVING sum(counted) <> sum(owed);

-- name: a_cart_has_one_open_hold
-- HLD-4: A cart's open hold is the one that its cart leads to.
SELECT h.channel_id, h.cart, h.hold_id AS found, c.hold_id AS expected
FROM inventory.holds h LEFT JOIN inventory.carts c ON c.channel_id = h.channel_id AND c.cart = h.cart
WHERE h.ended_at IS NULL AND h.cart IS NOT NULL AND c.hold_id IS DISTINCT FROM h.hold_id;

-- rules and closures

-- kits

-- name: kits_have_no_stock_of_their_own
-- KIT-2: Nothing of a kit is on hand, set aside, under way or announced by itself.
SELECT sku_id, kind, sum(quantity) AS found
FROM (SELECT sku_id, 'on hand' AS kind, on_hand AS quantity FROM inventory.stock
      UNION ALL
      SELECT sku_id, 'set aside', quantity FROM inventory.unavailable
      UNION ALL
      SELECT sku_id, 'under way', in_transit FROM inventory.transfer_lines
      UNION ALL
      SELECT sku_id, 'announced', quantity - received FROM inventory.incoming WHERE NOT closed) u
WHERE quantity > 0 AND sku_id IN (SELECT sku_id FROM catalog.kit_components)
GROUP BY sku_id, kind;

-- name: feeds_are_the_sums_of_their_sets
-- FED-1: A finished feed has applied and refused what its sets have.
SELECT f.feed, json_build_object('rows', f.rows, 'applied', f.applied, 'refused', f.refused) AS found,
       json_build_object('rows', s.rows, 'applied', s.applied, 'refused', s.refused) AS expected
FROM inventory.feeds f
LEFT JOIN (SELECT feed, sum(rows) AS rows, sum(applied) AS applied, sum(refused) AS refused
           FROM inventory.feed_sets GROUP BY feed) s USING (feed)
WHERE f.finished_at IS NOT NULL
  AND (f.rows, f.applied, f.refused) IS DISTINCT FROM (coalesce(s.rows, 0), coalesce(s.applied, 0), coalesce(s.refused, 0));

-- name: sheets_are_the_sums_of_their_lines
-- CNT-1: A count sheet's counts are those of its lines.
SELECT sheet_id, json_build_array(s.open, s.recount, s.waiting, s.accepted) AS found,
       json_build_array(l.open, l.recount, l.waiting, l.accepted) AS expected
FROM inventory.count_sheets s
LEFT JOIN (SELECT sheet_id, count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'recount') AS recount,
                  count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'accepted') AS accepted
           FROM inventory.count_lines GROUP BY sheet_id) l USING (sheet_id)
WHERE (s.open, s.recount, s.waiting, s.accepted) IS DISTINCT FROM (l.open, l.recount, l.waiting, l.accepted);

-- name: sheets_entered_what_they_accepted
-- CNT-2: What the ledger says was counted under a sheet's name is on an accepted line of it.
SELECT m.sku_id, m.location_id, m.document AS found
FROM inventory.moves m
JOIN inventory.count_sheets s ON s.sheet_id::text = m.document
LEFT JOIN inventory.count_lines l ON l.sheet_id = s.sheet_id AND l.sku_id = m.sku_id AND l.state = 'accepted'
WHERE m.kind = 'counted' AND m.document IS NOT NULL AND (l.sheet_id IS NULL OR s.location_id <> m.location_id);

-- name: missing_units_are_in_one_state
-- SHO-1: What a shortfall missed is open, resolved or recovered, and it is closed when nothing is open.
SELECT sku_id, shortfall_id, open + resolved + recovered AS found, missing AS expected
FROM inventory.shortfalls
WHERE missing <> open + resolved + recovered OR least(open, resolved, recovered) < 0 OR (open = 0) <> (closed_at IS NOT NULL);

-- name: no_more_is_missing_than_is_promised
-- SHO-2: A shortfall is of units that are reserved: whatever frees them makes it smaller.
SELECT f.sku_id, f.location_id, f.open AS found, s.reserved AS expected
FROM inventory.shortfalls f LEFT JOIN inventory.stock s USING (sku_id, location_id)
WHERE f.open > 0 AND f.open > coalesce(s.on_hand, 0);

-- name: detail_sums_to_what_is_there
-- DET-1: The detail of a position sums to its on hand, and what lies in the bin of picked units to its picked ones.
SELECT sku_id, location_id, json_build_object('all', d.quantity, 'picked', d.picked) AS found,
       json_build_object('all', coalesce(s.on_hand, 0), 'picked', coalesce(s.picked, 0)) AS expected
FROM (SELECT sku_id, location_id, sum(quantity) AS quantity, sum(CASE bin WHEN '(picked)' THEN quantity ELSE 0 END) AS picked
      FROM inventory.detail GROUP BY sku_id, location_id) d
FULL JOIN (SELECT s.sku_id, s.location_id, s.on_hand, s.picked FROM inventory.stock s JOIN catalog.skus k USING (sku_id)
           WHERE k.tracking <> 'none'
           UNION
           SELECT s.sku_id, s.location_id, s.on_hand, s.picked
           FROM inventory.stock s JOIN (SELECT DISTINCT sku_id, location_id FROM inventory.detail) d USING (sku_id, location_id)) s
    USING (sku_id, location_id)
WHERE coalesce(d.quantity, 0) <> coalesce(s.on_hand, 0) OR coalesce(d.picked, 0) <> coalesce(s.picked, 0);

-- name: detail_is_the_sum_of_its_moves
-- DET-2: What lies in a bin, of a lot, is what its moves brought there less what they took away.
SELECT sku_id, location_id, bin, lot, coalesce(d.quantity, 0) AS found, coalesce(m.quantity, 0) AS expected
FROM inventory.detail d
FULL JOIN (SELECT sku_id, location_id, bin, lot, sum(delta) AS quantity FROM inventory.detail_moves
           GROUP BY sku_id, location_id, bin, lot) m USING (sku_id, location_id, bin, lot)
WHERE coalesce(d.quantity, 0) <> coalesce(m.quantity, 0);

-- name: serials_count_to_what_is_there
-- SER-1: At a position of a SKU with serial numbers, as many are in stock or picked as are on hand.
SELECT sku_id, location_id, coalesce(n.units, 0) AS found, coalesce(s.on_hand, 0) AS expected
FROM (SELECT sku_id, location_id, count(*) AS units FROM inventory.serials WHERE state IN ('in_stock', 'picked')
      GROUP BY sku_id, location_id) n
FULL JOIN (SELECT s.sku_id, s.location_id, s.on_hand FROM inventory.stock s JOIN catalog.skus k USING (sku_id)
           WHERE k.tracking = 'serial' AND s.on_hand <> 0) s USING (sku_id, location_id)
WHERE coalesce(n.units, 0) <> coalesce(s.on_hand, 0);

-- name: serials_under_way_are_those_of_transfers
-- SER-1: A line of a SKU with serial numbers has as many under way as it says.
SELECT transfer_id, line_no, coalesce(n.units, 0) AS found, coalesce(l.in_transit, 0) AS expected
FROM (SELECT order_id AS transfer_id, line_no, count(*) AS units FROM inventory.serials WHERE state = 'in_transit'
      GROUP BY order_id, line_no) n
FULL JOIN (SELECT l.transfer_id, l.line_no, l.in_transit FROM inventory.transfer_lines l JOIN catalog.skus k USING (sku_id)
           WHERE k.tracking = 'serial' AND l.in_transit > 0) l USING (transfer_id, line_no)
WHERE coalesce(n.units, 0) <> coalesce(l.in_transit, 0);

-- name: lots_that_must_have_a_date_have_one
-- LOT-1: Units of a SKU whose lots must have a date are of lots that have one.
SELECT DISTINCT d.sku_id, d.lot AS found
FROM inventory.detail d JOIN catalog.skus k USING (sku_id) LEFT JOIN inventory.lots l USING (sku_id, lot)
WHERE k.tracking = 'lot' AND k.expiry_required AND d.quantity > 0 AND l.expires_on IS NULL;

-- name: expired_units_that_orders_hold_lie_on_shelves
-- EXP-2: What is missing at a position of a SKU with lots lies there on shelves, of lots that have a date.
SELECT f.sku_id, f.location_id, f.open AS found, coalesce(d.quantity, 0) AS expected
FROM (SELECT sku_id, location_id, open FROM inventory.shortfalls WHERE open > 0) f
JOIN catalog.skus s ON s.sku_id = f.sku_id AND s.tracking = 'lot'
LEFT JOIN (SELECT d.sku_id, d.location_id, sum(d.quantity) AS quantity
           FROM inventory.detail d JOIN inventory.lots l USING (sku_id, lot)
           WHERE l.expires_on IS NOT NULL AND d.bin <> '(picked)' GROUP BY d.sku_id, d.location_id) d
    ON d.sku_id = f.sku_id AND d.location_id = f.location_id
WHERE f.open > coalesce(d.quantity, 0);

-- name: set_aside_units_are_the_sums_of_their_moves
-- UNA-1: What is set aside at a position in a condition is the sum of its moves.
SELECT sku_id, location_id, condition, coalesce(u.quantity, 0) AS found, coalesce(m.quantity, 0) AS expected
FROM inventory.unavailable u
FULL JOIN (SELECT sku_id, location_id, reason AS condition, sum(unavailable_delta) AS quantity FROM inventory.moves
           WHERE unavailable_delta <> 0 GROUP BY sku_id, location_id, reason) m USING (sku_id, location_id, condition)
WHERE coalesce(u.quantity, 0) <> coalesce(m.quantity, 0);

-- name: incoming_is_received_by_its_document
-- INC-1: What has come of an announcement is the sum of the receipts that name it since.
SELECT i.sku_id, i.location_id, i.document, i.received AS found, coalesce(sum(m.on_hand_delta), 0) AS expected
FROM inventory.incoming i
LEFT JOIN inventory.moves m ON m.sku_id = i.sku_id AND m.location_id = i.location_id AND m.document = i.document
    AND m.kind = 'received' AND m.at >= i.announced_at
GROUP BY i.sku_id, i.location_id, i.document, i.received HAVING i.received <> coalesce(sum(m.on_hand_delta), 0);

-- name: transfers_are_the_sums_of_their_lines
-- TRA-1: A transfer's counts are the sums over its lines, and each line's units are in one state.
SELECT transfer_id, json_build_object('requested', t.requested, 'open', t.open, 'in_transit', t.in_transit, 'received', t.received,
                                      'lost', t.lost, 'cancelled', t.cancelled) AS found, l.counts AS expected
FROM inventory.transfers t
LEFT JOIN (SELECT transfer_id, json_build_object('requested', sum(requested), 'open', sum(open), 'in_transit', sum(in_transit),
               'received', sum(received), 'lost', sum(lost), 'cancelled', sum(cancelled)) AS counts,
               sum(requested) AS requested, sum(open) AS open, sum(in_transit) AS in_transit, sum(received) AS received,
               sum(lost) AS lost, sum(cancelled) AS cancelled
           FROM inventory.transfer_lines GROUP BY transfer_id) l USING (transfer_id)
WHERE (t.requested = l.requested AND t.open = l.open AND t.in_transit = l.in_transit AND t.received = l.received
       AND t.lost = l.lost AND t.cancelled = l.cancelled) IS NOT TRUE;

-- name: transfers_moved_what_they_say
-- TRA-2: What a line says was sent and has arrived is what the stock ledger says left and came.
SELECT transfer_id, line_no, json_build_object('sent', l.sent, 'arrived', l.arrived) AS found,
       json_build_object('sent', m.sent, 'arrived', m.arrived) AS expected
FROM (SELECT transfer_id, line_no, in_transit + received + lost AS sent, received + surplus AS arrived
      FROM inventory.transfer_lines) l
FULL JOIN (SELECT order_id AS transfer_id, line_no, -sum(CASE kind WHEN 'sent' THEN on_hand_delta ELSE 0 END) AS sent,
                  sum(CASE kind WHEN 'arrived' THEN on_hand_delta ELSE 0 END) AS arrived
           FROM inventory.moves WHERE kind IN ('sent', 'arrived') GROUP BY order_id, line_no) m USING (transfer_id, line_no)
WHERE coalesce(l.sent, -1) <> coalesce(m.sent, 0) OR coalesce(l.arrived, -1) <> coalesce(m.arrived, 0);

-- name: a_surplus_is_said
-- TRA-4: What a line has received is what arrived of what was sent, and its surplus what arrived besides.
SELECT transfer_id, line_no, json_build_object('received', l.received, 'surplus', l.surplus) AS found,
       json_build_object('received', m.received, 'surplus', m.surplus) AS expected
FROM (SELECT transfer_id, line_no, received, surplus FROM inventory.transfer_lines WHERE received + surplus > 0) l
FULL JOIN (SELECT order_id AS transfer_id, line_no,
                  sum(CASE WHEN reason = 'surplus' THEN 0 ELSE on_hand_delta END) AS received,
                  sum(CASE WHEN reason = 'surplus' THEN on_hand_delta ELSE 0 END) AS surplus
           FROM inventory.moves WHERE kind = 'arrived' GROUP BY order_id, line_no) m USING (transfer_id, line_no)
WHERE coalesce(l.received, 0) <> coalesce(m.received, 0) OR coalesce(l.surplus, 0) <> coalesce(m.surplus, 0);

-- demand ---------------------------------------------------------------------------------------------------------------

-- name: every_unit_is_in_one_state
-- DEM-1: The ordered units of a line are the sum over its states, and no state holds less than nothing.
SELECT order_id, line_no, backordered + allocated + picked + packed + shipped + delivered + returned + cancelled AS found,
       ordered AS expected
FROM orders.lines
WHERE ordered <> backordered + allocated + picked + packed + shipped + delivered + returned + cancelled
   OR least(backordered, allocated, picked, packed, shipped, delivered, returned, cancelled) < 0;

-- name: units_leave_states_by_their_exits
-- DEM-2: Every move of units goes through an exit of the state that it leaves.
SELECT order_id, line_no, cause_id, from_state || ' -> ' || to_state AS found
FROM orders.moves
WHERE (from_state, to_state) NOT IN (
    ('ordered', 'backordered'), ('ordered', 'allocated'), ('ordered', 'cancelled'),
    ('backordered', 'allocated'), ('backordered', 'cancelled'),
    ('allocated', 'backordered'), ('allocated', 'picked'), ('allocated', 'cancelled'),
    ('picked', 'packed'), ('picked', 'cancelled'), ('packed', 'shipped'), ('packed', 'cancelled'),
    ('shipped', 'delivered'), ('shipped', 'cancelled'), ('shipped', 'backordered'), ('delivered', 'returned'));

-- name: lines_are_the_sums_of_their_moves
-- DEM-3: A line's count of each state is what its moves brought there less what they took away.
SELECT order_id, line_no,
       json_build_object('ordered', l.ordered, 'backordered', l.backordered, 'allocated', l.allocated, 'picked', l.picked,
           'packed', l.packed, 'shipped', l.shipped, 'delivered', l.delivered, 'returned', l.returned,
           'cancelled', l.cancelled) AS found,
       json_build_object('ordered', m.ordered, 'backordered', m.backordered, 'allocated', m.allocated, 'picked', m.picked,
           'packed', m.packed, 'shipped', m.shipped, 'delivered', m.delivered, 'returned', m.returned,
           'cancelled', m.cancelled) AS expected
FROM orders.lines l
FULL JOIN (
    SELECT order_id, line_no,
           sum(CASE WHEN from_state = 'ordered' THEN quantity::int ELSE 0 END) AS ordered,
           sum(CASE 'backordered' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS backordered,
           sum(CASE 'allocated' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS allocated,
           sum(CASE 'picked' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS picked,
           sum(CASE 'packed' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS packed,
           sum(CASE 'shipped' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS shipped,
           sum(CASE 'delivered' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS delivered,
           sum(CASE 'returned' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS returned,
           sum(CASE 'cancelled' WHEN to_state THEN quantity::int WHEN from_state THEN -quantity::int ELSE 0 END) AS cancelled
    FROM orders.moves GROUP BY order_id, line_no
) m USING (order_id, line_no)
WHERE (l.ordered = m.ordered AND l.backordered = m.backordered AND l.allocated = m.allocated AND l.picked = m.picked
       AND l.packed = m.packed AND l.shipped = m.shipped AND l.delivered = m.delivered AND l.returned = m.returned
       AND l.cancelled = m.cancelled) IS NOT TRUE;

-- name: orders_are_the_sums_of_their_lines
-- DEM-3: An order's count of each state is the sum over its lines.
SELECT order_id,
       json_build_object('ordered', o.ordered, 'backordered', o.backordered, 'allocated', o.allocated, 'picked', o.picked,
           'packed', o.packed, 'shipped', o.shipped, 'delivered', o.delivered, 'returned', o.returned,
           'cancelled', o.cancelled) AS found,
       json_build_object('ordered', l.ordered, 'backordered', l.backordered, 'allocated', l.allocated, 'picked', l.picked,
           'packed', l.packed, 'shipped', l.shipped, 'delivered', l.delivered, 'returned', l.returned,
           'cancelled', l.cancelled) AS expected
FROM orders.orders o
FULL JOIN (
    SELECT order_id, sum(ordered::int) AS ordered, sum(backordered::int) AS backordered, sum(allocated::int) AS allocated,
           sum(picked::int) AS picked, sum(packed::int) AS packed, sum(shipped::int) AS shipped, sum(delivered::int) AS delivered,
           sum(returned::int) AS returned, sum(cancelled::int) AS cancelled
    FROM orders.lines GROUP BY order_id
) l USING (order_id)
WHERE (o.ordered = l.ordered AND o.backordered = l.backordered AND o.allocated = l.allocated AND o.picked = l.picked
       AND o.packed = l.packed AND o.shipped = l.shipped AND o.delivered = l.delivered AND o.returned = l.returned
       AND o.cancelled = l.cancelled) IS NOT TRUE;

-- name: order_statuses_follow_from_units
-- DEM-3: An order's status follows from where its units are.
SELECT order_id, found, expected
FROM (SELECT order_id, status AS found,
             CASE WHEN ordered - cancelled = 0 THEN 'cancelled'
                  WHEN backordered + allocated + picked + packed = 0 THEN
                      CASE WHEN shipped > 0 THEN 'shipped' WHEN delivered > 0 THEN 'delivered' ELSE 'returned' END
                  WHEN shipped > 0 OR delivered > 0 OR returned > 0 THEN 'partially_shipped'
                  WHEN picked > 0 OR packed > 0 THEN 'in_fulfillment'
                  WHEN backordered > 0 AND allocated > 0 THEN 'partially_backordered'
                  WHEN backordered > 0 THEN 'backordered'
                  ELSE 'allocated' END AS expected
      FROM orders.orders) o
WHERE found IS DISTINCT FROM expected;

-- name: order_keys_lead_to_their_orders
-- DEM-4: Every order has its channel's key, and every key its order.
SELECT order_id, o.channel_id || ' ' || o.external_id AS found, k.channel_id || ' ' || k.external_id AS expected
FROM orders.orders o FULL JOIN orders.order_keys k USING (order_id)
WHERE (o.channel_id = k.channel_id AND o.external_id = k.external_id) IS NOT TRUE;

-- name: every_order_was_placed
-- DEM-4: Every order has the one event that says that it was placed.
SELECT order_id, coalesce(e.events, 0) AS found, CASE WHEN o.order_id IS NULL THEN 0 ELSE 1 END AS expected
FROM orders.orders o
FULL JOIN (SELECT subject_id AS order_id, count(*) AS events FROM core.events WHERE kind = 'order_placed' GROUP BY subject_id) e
    USING (order_id)
WHERE o.order_id IS NULL OR coalesce(e.events, 0) <> 1;

-- name: allocations_hold_what_is_allocated
-- DEM-5: A line's allocated units are the sum of its allocations.
SELECT order_id, line_no, coalesce(l.allocated, 0) AS found, coalesce(a.quantity, 0) AS expected
FROM (SELECT order_id, line_no, sku_id, allocated FROM orders.lines WHERE allocated <> 0) l
FULL JOIN (SELECT order_id, line_no, sku_id, sum(quantity) AS quantity FROM orders.allocations WHERE quantity <> 0
           GROUP BY order_id, line_no, sku_id) a USING (order_id, line_no, sku_id)
WHERE coalesce(l.allocated, 0) <> coalesce(a.quantity, 0);

-- name: allocations_know_what_was_picked
-- DEM-5: The units of a line that were picked are the sum of what was picked of its allocations.
SELECT order_id, line_no, coalesce(a.picked, 0) AS found, coalesce(m.picked, 0) AS expected
FROM (SELECT order_id, line_no, sum(picked) AS picked FROM orders.allocations WHERE picked <> 0 GROUP BY order_id, line_no) a
FULL JOIN (SELECT order_id, line_no, sum(quantity) AS picked FROM orders.moves
           WHERE from_state = 'allocated' AND to_state = 'picked' GROUP BY order_id, line_no) m USING (order_id, line_no)
WHERE coalesce(a.picked, 0) <> coalesce(m.picked, 0);

-- name: capacity_is_what_orders_claim
-- CAP-1: What a limited location has taken on for a day is what orders claim of it, held and confirmed, in orders and in units.
SELECT location_id, ship_on,
       json_build_array(c.held_orders, c.confirmed_orders, c.held_units, c.confirmed_units) AS found,
       json_build_array(o.held_orders, o.confirmed_orders, o.held_units, o.confirmed_units) AS expected
FROM network.capacity c
FULL JOIN (SELECT location_id, ship_on, count(*) FILTER (WHERE confirmed_units = 0) AS held_orders,
                  count(*) FILTER (WHERE confirmed_units > 0) AS confirmed_orders,
                  sum(held_units) AS held_units, sum(confirmed_units) AS confirmed_units
           FROM orders.capacity_claims GROUP BY location_id, ship_on) o USING (location_id, ship_on)
WHERE (coalesce(c.held_orders, 0), coalesce(c.confirmed_orders, 0), coalesce(c.held_units, 0), coalesce(c.confirmed_units, 0))
   IS DISTINCT FROM (coalesce(o.held_orders, 0), coalesce(o.confirmed_orders, 0), coalesce(o.held_units, 0),
                     coalesce(o.confirmed_units, 0));

-- name: claims_are_of_allocated_units
-- CAP-2: Of a limited location, an order claims what it has allocated there or was picked there at most, and has confirmed what is released or was picked at most.
SELECT order_id, location_id, json_build_array(c.units, c.confirmed) AS found,
       json_build_array(coalesce(a.quantity, 0), coalesce(a.released, 0)) AS expected
FROM (SELECT order_id, location_id, sum(held_units + confirmed_units) AS units, sum(confirmed_units) AS confirmed
      FROM orders.capacity_claims GROUP BY order_id, location_id) c
LEFT JOIN (SELECT order_id, location_id, sum(quantity + picked) AS quantity, sum(released + picked) AS released
           FROM orders.allocations WHERE order_id IN (SELECT order_id FROM orders.capacity_claims)
           GROUP BY order_id, location_id) a USING (order_id, location_id)
WHERE c.units > coalesce(a.quantity, 0) OR c.confirmed > coalesce(a.released, 0);

-- name: exceptions_have_tries_behind_them
-- EXC-1: A line with an open exception has failed at least once.
SELECT e.order_id, e.line_no, l.tries AS found, 1 AS expected
FROM orders.exceptions e JOIN orders.lines l USING (order_id, line_no)
WHERE e.resolved_at IS NULL AND e.kind = 'not_sourced' AND l.tries < 1;

-- name: work_exceptions_name_their_work
-- EXC-2: An open exception of work at a closed location names a fulfillment order of that location.
SELECT e.order_id, e.fulfillment_order_id, f.location_id AS found, e.location_id AS expected
FROM orders.exceptions e
LEFT JOIN warehouse.fulfillment_orders f ON f.order_id = e.order_id AND f.fulfillment_order_id = e.fulfillment_order_id
WHERE e.kind = 'location_closed' AND e.resolved_at IS NULL AND f.location_id IS DISTINCT FROM e.location_id;

-- name: releases_wait_for_units_that_are_kept
-- DEM-6: A release waits only for units that stay at a closed location.
SELECT order_id, line_no, location_id, release_wanted_at AS found, kept_at AS expected
FROM orders.allocations WHERE release_wanted_at IS NOT NULL AND kept_at IS NULL;

-- name: dropped_amounts_are_those_of_dropped_lines
-- DEM-7: What an order's dropped lines are worth is the amounts of the lines that placement did not accept.
SELECT order_id, o.dropped_minor AS found, coalesce(d.amount_minor, 0) AS expected
FROM orders.orders o
LEFT JOIN (SELECT m.order_id, sum(l.amount_minor) AS amount_minor
           FROM orders.moves m JOIN orders.lines l USING (order_id, line_no)
           WHERE m.from_state = 'ordered' AND m.to_state = 'cancelled' GROUP BY m.order_id) d USING (order_id)
WHERE o.dropped_minor IS DISTINCT FROM coalesce(d.amount_minor, 0);

-- money ----------------------------------------------------------------------------------------------------------------

-- name: an_order_costs_what_its_lines_cost
-- MON-4: An order's total is the amounts of its lines and its net shipping.
SELECT order_id, o.total_minor AS found, l.amount_minor + least(o.shipping_minor, o.total_minor) AS expected
FROM orders.orders o
LEFT JOIN (SELECT order_id, sum(amount_minor) AS amount_minor FROM orders.lines GROUP BY order_id) l USING (order_id)
WHERE o.total_minor IS DISTINCT FROM l.amount_minor + least(o.shipping_minor, o.total_minor);

-- name: every_order_has_its_payment
-- MON-4, MON-11: Every order has a payment in its currency, authorized for no more than it was accepted for; an authorization that was
-- made elsewhere, for no more than its total.
SELECT order_id, p.currency || ' ' || p.authorized_minor AS found, o.currency || ' ' || o.total_minor - o.dropped_minor AS expected
FROM orders.orders o FULL JOIN orders.payments p USING (order_id)
WHERE (o.currency = p.currency AND p.authorized_minor <= o.total_minor - CASE WHEN p.taken_over THEN 0 ELSE o.dropped_minor END) IS NOT TRUE;

-- name: tokens_are_kept_until_the_money_is_authorized
-- MON-10: A token is forgotten once it has done what it was sent for.
SELECT order_id, p.authorized_minor AS found, 0 AS expected
FROM orders.payment_tokens JOIN orders.payments p USING (order_id) WHERE p.authorized_minor > 0;

-- name: what_was_taken_over_was_authorized
-- MON-11: What an authorization that was taken over exceeds the order by is let go, once nothing of it waits.
SELECT order_id, p.authorized_minor - p.voided_minor AS found, o.total_minor - o.dropped_minor AS expected
FROM orders.payments p JOIN orders.orders o USING (order_id)
LEFT JOIN (SELECT DISTINCT subject_id AS order_id FROM core.reactions WHERE kind = 'void') w USING (order_id)
WHERE p.taken_over
  AND (p.authorized_minor = 0
       OR (w.order_id IS NULL AND o.dropped_minor > 0 AND p.authorized_minor - p.voided_minor > o.total_minor - o.dropped_minor
           AND (SELECT count(*) FROM core.events e WHERE e.subject_id = p.order_id AND e.kind = 'payment_declined') = 0));

-- name: payments_keep_within_their_bounds
-- MON-1, MON-2: Captured and voided never exceed what was authorized, refunded never exceeds captured.
SELECT order_id, json_build_object('authorized', authorized_minor, 'voided', voided_minor, 'captured', captured_minor,
                                   'refunded', refunded_minor) AS found
FROM orders.payments
WHERE captured_minor + voided_minor > authorized_minor OR refunded_minor > captured_minor
   OR least(authorized_minor, voided_minor, captured_minor, refunded_minor) < 0;

-- name: payments_are_the_sums_of_their_moves
-- MON-3: A payment's amounts are the sums of its moves.
SELECT order_id,
       json_build_object('authorized', p.authorized_minor, 'voided', p.voided_minor, 'captured', p.captured_minor,
                         'refunded', p.refunded_minor) AS found,
       json_build_object('authorized', m.authorized, 'voided', m.voided, 'captured', m.captured, 'refunded', m.refunded) AS expected
FROM orders.payments p
FULL JOIN (
    SELECT order_id, sum(CASE kind WHEN 'authorized' THEN amount_minor ELSE 0 END) AS authorized,
           sum(CASE kind WHEN 'voided' THEN amount_minor ELSE 0 END) AS voided,
           sum(CASE kind WHEN 'captured' THEN amount_minor ELSE 0 END) AS captured,
           sum(CASE kind WHEN 'refunded' THEN amount_minor ELSE 0 END) AS refunded
    FROM orders.payment_moves GROUP BY order_id
) m USING (order_id)
WHERE p.order_id IS NULL OR p.authorized_minor <> coalesce(m.authorized, 0) OR p.voided_minor <> coalesce(m.voided, 0)
   OR p.captured_minor <> coalesce(m.captured, 0) OR p.refunded_minor <> coalesce(m.refunded, 0);

-- name: payments_follow_from_lines_and_shipping
-- MON-5: No more is captured, voided or refunded than units and shipping say; and no less, once nothing of it waits.
-- What was declined, or is left to others by the order's flow, may be less.
SELECT order_id,
       json_build_object('captured', p.captured_minor, 'voided', p.voided_minor, 'refunded', p.refunded_minor, 'due', p.due_minor) AS found,
       json_build_object('captured', l.charged + o.shipping_charged_minor, 'voided', l.void + o.shipping_void_minor,
                         'refunded', l.refunded + o.shipping_refunded_minor,
                         'due', l.amount + least(o.shipping_minor, o.total_minor) - l.void - o.shipping_void_minor) AS expected
FROM orders.payments p
JOIN orders.orders o USING (order_id)
JOIN (SELECT order_id, sum(amount_minor) AS amount, sum(charged_minor) AS charged, sum(void_minor) AS void, sum(refunded_minor) AS refunded
      FROM orders.lines GROUP BY order_id) l USING (order_id)
LEFT JOIN (SELECT DISTINCT subject_id AS order_id FROM core.reactions WHERE kind IN ('authorize', 'capture', 'void', 'refund')) w
    USING (order_id)
WHERE p.captured_minor > l.charged + o.shipping_charged_minor
   OR p.voided_minor > l.void + o.shipping_void_minor
   OR p.refunded_minor > l.refunded + o.shipping_refunded_minor
   OR p.due_minor <> l.amount + least(o.shipping_minor, o.total_minor) - l.void - o.shipping_void_minor
   OR (w.order_id IS NULL
       AND ((p.captured_minor > 0 AND p.captured_minor < l.charged + o.shipping_charged_minor)
            OR (p.refunded_minor > 0 AND p.refunded_minor < l.refunded + o.shipping_refunded_minor))
       AND (SELECT count(*) FROM core.events e WHERE e.subject_id = p.order_id AND e.kind = 'payment_declined') = 0);

-- name: the_money_of_lines_is_the_sum_of_its_moves
-- MON-6: What a line charged, no longer owes and gives back is what its moves and its refunds say.
SELECT order_id, line_no,
       json_build_object('charged', array[l.charged_units, l.charged_minor], 'void', array[l.void_units, l.void_minor],
                         'refunded', array[l.refunded_units, l.refunded_minor]) AS found,
       json_build_object('charged', array[m.charged_units, m.charged_minor], 'void', array[m.void_units, m.void_minor],
                         'refunded', array[m.refunded_units, m.refunded_minor + coalesce(r.refunded_minor, 0)]) AS expected
FROM (SELECT order_id, line_no, charged_units, charged_minor, void_units, void_minor, refunded_units, refunded_minor
      FROM orders.lines WHERE greatest(charged_units, void_units, charged_minor, void_minor, refunded_units, refunded_minor) > 0) l
FULL JOIN (
    SELECT order_id, line_no,
           sum(CASE to_state WHEN 'shipped' THEN quantity::int - paid_units::int ELSE 0 END) AS charged_units,
           sum(CASE to_state WHEN 'shipped' THEN amount_minor ELSE 0 END) AS charged_minor,
           sum(CASE to_state WHEN 'cancelled' THEN quantity::int - paid_units::int ELSE 0 END) AS void_units,
           sum(CASE to_state WHEN 'cancelled' THEN coalesce(amount_minor, 0) ELSE 0 END) AS void_minor,
           sum(CASE to_state WHEN 'shipped' THEN 0 ELSE paid_units::int END) AS refunded_units,
           sum(refund_minor) AS refunded_minor
    FROM orders.moves WHERE to_state IN ('shipped', 'cancelled', 'returned') GROUP BY order_id, line_no
) m USING (order_id, line_no)
LEFT JOIN (
    -- Refunds without a unit: those asked for, and components that came back while their kit is not back whole.
    SELECT order_id, line_no, sum(refunded_minor) AS refunded_minor
    FROM (SELECT order_id, line_no, amount_minor AS refunded_minor FROM aftercare.refund_lines
          UNION ALL
          SELECT order_id, line_no, sum(refund_minor) - (SELECT coalesce(sum(m.refund_minor), 0) FROM orders.moves m
                                                         WHERE m.order_id = r.order_id AND m.line_no = r.line_no
                                                           AND m.to_state = 'returned')
          FROM aftercare.return_lines r GROUP BY order_id, line_no HAVING bool_or(component_sku_id <> 0)) g
    GROUP BY order_id, line_no
) r USING (order_id, line_no)
WHERE (l.charged_units = m.charged_units AND l.charged_minor = m.charged_minor AND l.void_units = m.void_units
       AND l.void_minor = m.void_minor AND l.refunded_units = m.refunded_units
       AND l.refunded_minor = m.refunded_minor + coalesce(r.refunded_minor, 0)) IS NOT TRUE;

-- name: money_follows_the_units
-- MON-7: Units that are no longer owed or were given back are the cancelled and returned ones, and what the customer has was charged.
SELECT order_id, line_no, json_build_object('gone', void_units + refunded_units, 'charged', charged_units - refunded_units) AS found,
       json_build_object('gone', cancelled + returned, 'charged', shipped + delivered) AS expected
FROM orders.lines
WHERE void_units + refunded_units <> cancelled + returned OR charged_units - refunded_units < shipped + delivered;

-- name: nothing_stays_behind
-- MON-8: With its last unit, all of a line's amount is charged or no longer owed, and all that was charged is given back.
-- Of a line with refunds from before every unit had a state in money (their ``amount_minor`` is NULL), a cent may have stayed.
SELECT order_id, line_no,
       json_build_object('settled', charged_minor + void_minor, 'refunded', refunded_minor) AS found,
       json_build_object('settled', amount_minor, 'refunded', charged_minor) AS expected
FROM orders.lines l
WHERE (charged_units + void_units = ordered AND charged_minor + void_minor <> amount_minor)
   OR (refunded_units = charged_units AND refunded_minor <> charged_minor
       AND (SELECT count(*) FROM orders.moves m WHERE m.order_id = l.order_id AND m.refund_minor IS NOT NULL
                                                  AND m.amount_minor IS NULL) = 0);

-- name: parts_that_are_back_are_counted
-- MON-9: What a line says is back of units that are not back whole is what its returns brought of their components.
SELECT order_id, line_no, coalesce(l.parts_back, 0) AS found, coalesce(b.back, 0) AS expected
FROM (SELECT order_id, line_no, parts_back FROM orders.lines WHERE parts_back <> 0) l
FULL JOIN (
    SELECT r.order_id, r.line_no, sum((r.restocked + r.scrapped) * CASE r.component_sku_id WHEN 0 THEN k.parts ELSE 1 END)
                                  - w.returned * k.parts AS back
    FROM aftercare.return_lines r
    JOIN (SELECT order_id, line_no, sum(quantity) AS parts FROM inventory.kit_lines
          WHERE (order_id, line_no) IN (SELECT order_id, line_no FROM aftercare.return_lines WHERE component_sku_id <> 0)
          GROUP BY order_id, line_no) k USING (order_id, line_no)
    JOIN orders.lines w USING (order_id, line_no)
    GROUP BY r.order_id, r.line_no, w.returned, k.parts) b USING (order_id, line_no)
WHERE coalesce(l.parts_back, 0) <> coalesce(b.back, 0);

-- name: shipping_goes_with_the_order
-- MON-8: With an order's last unit cancelled, its shipping is no longer owed, or given back; it is charged with the first shipment.
-- Orders that were lost before shipping was given back (the ``amount_minor`` of such a move is NULL) kept it.
SELECT order_id,
       json_build_object('charged', shipping_charged_minor, 'void', shipping_void_minor, 'refunded', shipping_refunded_minor) AS found,
       least(shipping_minor, total_minor) AS expected
FROM orders.orders o
WHERE (cancelled < ordered AND shipping_void_minor > 0)
   OR (shipped + delivered + returned > 0 AND shipping_charged_minor <> least(shipping_minor, total_minor))
   OR (cancelled = ordered AND shipping_void_minor + shipping_refunded_minor <> least(shipping_minor, total_minor)
       AND (SELECT count(*) FROM orders.moves m WHERE m.order_id = o.order_id AND m.refund_minor IS NOT NULL
                                                  AND m.amount_minor IS NULL) = 0);

-- name: refunds_are_what_their_parts_say
-- REF-1: A refund is the sum of its lines and its shipping, and an order's shipping gives back at least what its refunds say.
SELECT order_id, r.refund_id, r.amount_minor AS found, r.shipping_minor + coalesce(l.amount_minor, 0) AS expected
FROM aftercare.refunds r
LEFT JOIN (SELECT order_id, refund_id, sum(amount_minor) AS amount_minor FROM aftercare.refund_lines GROUP BY order_id, refund_id) l
    USING (order_id, refund_id)
WHERE r.amount_minor <> r.shipping_minor + coalesce(l.amount_minor, 0)
UNION ALL
SELECT order_id, NULL, o.shipping_refunded_minor, r.shipping_minor
FROM (SELECT order_id, sum(shipping_minor) AS shipping_minor FROM aftercare.refunds GROUP BY order_id) r
JOIN orders.orders o USING (order_id)
WHERE o.shipping_refunded_minor < r.shipping_minor;

-- name: payment_statuses_follow_from_amounts
-- MON-3: A payment's status follows from its amounts.
SELECT order_id, found, expected
FROM (SELECT order_id, status AS found,
             CASE WHEN refunded_minor > 0 THEN
                      CASE WHEN captured_minor - refunded_minor = 0 AND authorized_minor - voided_minor - captured_minor = 0
                           THEN 'refunded' ELSE 'partially_refunded' END
                  WHEN captured_minor > 0 THEN
                      CASE WHEN authorized_minor - voided_minor - captured_minor = 0 THEN 'captured' ELSE 'partially_captured' END
                  WHEN authorized_minor > 0 THEN
                      CASE WHEN authorized_minor - voided_minor = 0 THEN 'voided' ELSE 'authorized' END
                  WHEN due_minor = 0 THEN 'nothing_due'
                  ELSE 'pending' END AS expected
      FROM orders.payments) p
WHERE found IS DISTINCT FROM expected;

-- warehouse ------------------------------------------------------------------------------------------------------------

-- name: every_released_unit_is_in_one_state
-- FUL-1: The units of a fulfillment line are the sum over its states, and no state holds less than nothing.
SELECT order_id, fulfillment_order_id, line_no, open + picked + packed + shipped + short + cancelled AS found, quantity AS expected
FROM warehouse.fulfillment_lines
WHERE quantity <> open + picked + packed + shipped + short + cancelled
   OR least(open, picked, packed, shipped, short, cancelled) < 0;

-- name: fulfillment_orders_are_the_sums_of_their_lines
-- FUL-2: A fulfillment order's counts are the sums over its lines.
SELECT order_id, fulfillment_order_id,
       json_build_object('quantity', f.quantity, 'open', f.open, 'picked', f.picked, 'packed', f.packed, 'shipped', f.shipped,
                         'short', f.short, 'cancelled', f.cancelled) AS found,
       json_build_object('quantity', l.quantity, 'open', l.open, 'picked', l.picked, 'packed', l.packed, 'shipped', l.shipped,
                         'short', l.short, 'cancelled', l.cancelled) AS expected
FROM warehouse.fulfillment_orders f
FULL JOIN (
    SELECT order_id, fulfillment_order_id, sum(quantity::int) AS quantity, sum(open::int) AS open, sum(picked::int) AS picked,
           sum(packed::int) AS packed, sum(shipped::int) AS shipped, sum(short::int) AS short, sum(cancelled::int) AS cancelled
    FROM warehouse.fulfillment_lines GROUP BY order_id, fulfillment_order_id
) l USING (order_id, fulfillment_order_id)
WHERE (f.quantity = l.quantity AND f.open = l.open AND f.picked = l.picked AND f.packed = l.packed AND f.shipped = l.shipped
       AND f.short = l.short AND f.cancelled = l.cancelled) IS NOT TRUE;

-- name: fulfillment_statuses_follow_from_units
-- FUL-2: A fulfillment order's status follows from where its units are.
SELECT order_id, fulfillment_order_id, found, expected
FROM (SELECT order_id, fulfillment_order_id, status AS found,
             CASE WHEN open + picked + packed + shipped = 0 THEN CASE WHEN short > 0 THEN 'rejected' ELSE 'cancelled' END
                  WHEN open > 0 THEN
                      CASE WHEN picked + packed + shipped + short + cancelled = 0 THEN 'released' ELSE 'picking' END
                  WHEN picked > 0 THEN 'picked'
                  WHEN packed > 0 THEN 'packed'
                  ELSE 'shipped' END AS expected
      FROM warehouse.fulfillment_orders) f
WHERE found IS DISTINCT FROM expected;

-- name: released_units_are_open_in_the_warehouse
-- FUL-3: What is released of a line's allocation at a location is what is open in its fulfillment orders there.
SELECT order_id, line_no, location_id, sum(released) AS found, sum(open) AS expected
FROM (SELECT order_id, line_no, location_id, released, 0 AS open FROM orders.allocations WHERE released <> 0
      UNION ALL
      SELECT l.order_id, l.line_no, f.location_id, 0, l.open
      FROM warehouse.fulfillment_lines l JOIN warehouse.fulfillment_orders f USING (order_id, fulfillment_order_id)
      WHERE l.open <> 0) both_sides
GROUP BY order_id, line_no, location_id HAVING sum(released) <> sum(open);

-- name: the_warehouse_agrees_with_demand
-- FUL-3: What is picked, packed and shipped of a line is what its fulfillment orders say.
SELECT order_id, line_no,
       json_build_object('picked', l.picked, 'packed', l.packed, 'shipped', l.shipped) AS found,
       json_build_object('picked', f.picked, 'packed', f.packed, 'shipped', f.shipped) AS expected
FROM (SELECT l.order_id, l.line_no, l.picked, l.packed, l.shipped + l.delivered + l.returned + coalesce(back.quantity, 0) AS shipped
      FROM orders.lines l
      LEFT JOIN (SELECT order_id, line_no, sum(quantity::int) AS quantity FROM orders.moves
                 WHERE from_state = 'shipped' AND to_state IN ('cancelled', 'backordered') GROUP BY order_id, line_no) back
          USING (order_id, line_no)) l
FULL JOIN (SELECT order_id, line_no, sum(picked::int) AS picked, sum(packed::int) AS packed, sum(shipped::int) AS shipped
           FROM warehouse.fulfillment_lines GROUP BY order_id, line_no) f USING (order_id, line_no)
WHERE l.order_id IS NULL OR l.picked <> coalesce(f.picked, 0) OR l.packed <> coalesce(f.packed, 0)
   OR l.shipped <> coalesce(f.shipped, 0);

-- name: packages_hold_what_was_packed
-- FUL-4: Packages that wait hold what is packed of a fulfillment line, and packages that left hold what is shipped.
SELECT order_id, fulfillment_order_id, line_no,
       json_build_object('packed', l.packed, 'shipped', l.shipped) AS found,
       json_build_object('packed', p.packed, 'shipped', p.shipped) AS expected
FROM (SELECT order_id, fulfillment_order_id, line_no, packed, shipped FROM warehouse.fulfillment_lines WHERE packed + shipped <> 0) l
FULL JOIN (SELECT p.order_id, p.fulfillment_order_id, c.line_no,
                  sum(CASE WHEN p.shipment_id IS NULL THEN c.quantity::int ELSE 0 END) AS packed,
                  sum(CASE WHEN p.shipment_id IS NULL THEN 0 ELSE c.quantity::int END) AS shipped
           FROM warehouse.package_lines c JOIN warehouse.packages p USING (order_id, package_id)
           WHERE c.quantity <> 0
           GROUP BY p.order_id, p.fulfillment_order_id, c.line_no) p USING (order_id, fulfillment_order_id, line_no)
WHERE coalesce(l.packed, 0) <> coalesce(p.packed, 0) OR coalesce(l.shipped, 0) <> coalesce(p.shipped, 0);

-- name: shipments_carry_packages
-- FUL-4: Every shipment carries packages of its fulfillment order, and every package that left is in a shipment.
SELECT order_id, shipment_id, p.packages AS found, CASE WHEN s.shipment_id IS NULL THEN 'a shipment' ELSE 'packages' END AS expected
FROM warehouse.shipments s
FULL JOIN (SELECT order_id, fulfillment_order_id, shipment_id, count(*) AS packages FROM warehouse.packages
           WHERE shipment_id IS NOT NULL GROUP BY order_id, fulfillment_order_id, shipment_id) p
    USING (order_id, fulfillment_order_id, shipment_id)
WHERE s.shipment_id IS NULL OR p.shipment_id IS NULL;

-- name: work_is_due_when_the_channel_wants_it
-- FUL-9: A fulfillment order is due when its order's channel wants it shipped, if the channel said so, and its place in the queue is
-- not after that.
SELECT f.order_id, f.fulfillment_order_id, f.ship_by_at AS found, o.ship_by_at AS expected, f.cut_off_at
FROM warehouse.fulfillment_orders f JOIN (SELECT order_id, ship_by_at FROM orders.orders OFFSET 0) o USING (order_id)
WHERE f.ship_by_at <> o.ship_by_at OR f.cut_off_at > f.ship_by_at;

-- tracking -------------------------------------------------------------------------------------------------------------

-- name: parcels_are_shipments
-- TRK-1: Every parcel is a shipment under the same tracking number.
SELECT order_id, shipment_id, p.tracking_number AS found, s.tracking_number AS expected
FROM tracking.parcels p LEFT JOIN warehouse.shipments s USING (order_id, shipment_id)
WHERE p.tracking_number IS DISTINCT FROM s.tracking_number;

-- name: tracking_numbers_lead_to_their_parcels
-- TRK-1: Every parcel is found by its tracking number, and every number leads to a shipment that left under it.
SELECT order_id, shipment_id, n.tracking_number AS found, coalesce(p.tracking_number, s.tracking_number) AS expected
FROM tracking.parcels p
FULL JOIN warehouse.tracking_numbers n USING (order_id, shipment_id)
LEFT JOIN warehouse.shipments s USING (order_id, shipment_id)
WHERE n.tracking_number IS DISTINCT FROM coalesce(p.tracking_number, s.tracking_number);

-- name: tracking_numbers_are_of_one_parcel
-- FUL-8: The shipments under a tracking number go with the carrier of its first one, and to the same postal code of the same country.
SELECT n.order_id, n.shipment_id, c.carrier || ' to ' || a.country || ' ' || a.postal_code AS found,
       d.carrier || ' to ' || b.country || ' ' || b.postal_code AS expected
FROM (SELECT tracking_number, order_id, shipment_id FROM warehouse.tracking_numbers WHERE NOT first) n
LEFT JOIN warehouse.tracking_numbers f ON f.tracking_number = n.tracking_number AND f.first
LEFT JOIN warehouse.shipments s ON s.order_id = n.order_id AND s.shipment_id = n.shipment_id
LEFT JOIN warehouse.shipments t ON t.order_id = f.order_id AND t.shipment_id = f.shipment_id
LEFT JOIN network.carrier_services c ON c.service_id = s.service_id
LEFT JOIN network.carrier_services d ON d.service_id = t.service_id
LEFT JOIN orders.addresses a ON a.order_id = n.order_id AND a.kind = 'ship_to'
LEFT JOIN orders.addresses b ON b.order_id = f.order_id AND b.kind = 'ship_to'
WHERE f.tracking_number IS NULL OR c.carrier IS DISTINCT FROM d.carrier OR a.country IS DISTINCT FROM b.country
   OR upper(translate(left(a.postal_code, 3), ' -', '')) IS DISTINCT FROM upper(translate(left(b.postal_code, 3), ' -', ''));

-- name: parcel_statuses_follow_from_instants
-- TRK-2: A parcel's status follows from what happened to it.
SELECT order_id, shipment_id, found, expected
FROM (SELECT order_id, shipment_id, status AS found,
             CASE WHEN received_back_at IS NOT NULL THEN 'received_back'
                  WHEN delivered_at IS NULL AND lost_at IS NULL THEN
                      CASE WHEN returning_at IS NOT NULL THEN 'returning' WHEN late_at IS NULL THEN 'in_transit' ELSE 'late' END
                  WHEN delivered_at IS NULL THEN 'lost' ELSE 'delivered' END AS expected
      FROM tracking.parcels) p
WHERE found IS DISTINCT FROM expected;

-- name: delivered_units_arrived
-- TRK-4: The units of a line that were delivered are those of its delivered parcels.
SELECT order_id, line_no, coalesce(l.delivered, 0) AS found, coalesce(t.delivered, 0) AS expected
FROM (SELECT order_id, line_no, delivered + returned AS delivered FROM orders.lines WHERE delivered + returned <> 0) l
FULL JOIN (SELECT c.order_id, c.line_no, sum(c.quantity::int) AS delivered
           FROM warehouse.package_lines c
           JOIN warehouse.packages p USING (order_id, package_id)
           JOIN tracking.parcels t USING (order_id, shipment_id)
           WHERE t.delivered_at IS NOT NULL AND c.quantity <> 0 GROUP BY c.order_id, c.line_no) t USING (order_id, line_no)
WHERE coalesce(l.delivered, 0) <> coalesce(t.delivered, 0);

-- name: no_more_is_received_back_than_was_sent
-- TRK-5: No more of a shipment's line came back, or was missing when it did, than was sent.
SELECT order_id, shipment_id, line_no, r.units AS found, coalesce(p.units, 0) AS expected
FROM (SELECT order_id, shipment_id, line_no, sum(restocked + scrapped + lost) AS units FROM tracking.receipts
      GROUP BY order_id, shipment_id, line_no) r
LEFT JOIN (SELECT p.order_id, p.shipment_id, l.line_no, sum(l.quantity) AS units
           FROM warehouse.packages p JOIN warehouse.package_lines l USING (order_id, package_id)
           WHERE p.shipment_id IS NOT NULL GROUP BY p.order_id, p.shipment_id, l.line_no) p USING (order_id, shipment_id, line_no)
WHERE r.units > coalesce(p.units, 0);

-- name: parcels_are_received_back_when_all_is_accounted_for
-- TRK-6: A parcel is received back when all its units were restocked, scrapped or missing, and not before.
SELECT p.order_id, p.shipment_id, p.received_back_at AS found, coalesce(r.units, 0) AS expected
FROM (SELECT order_id, shipment_id, received_back_at FROM tracking.parcels WHERE returning_at IS NOT NULL) p
LEFT JOIN (SELECT order_id, shipment_id, sum(restocked + scrapped + lost) AS units FROM tracking.receipts
           GROUP BY order_id, shipment_id) r ON r.order_id = p.order_id AND r.shipment_id = p.shipment_id
LEFT JOIN (SELECT k.order_id, k.shipment_id, sum(l.quantity) AS units
           FROM warehouse.packages k JOIN warehouse.package_lines l USING (order_id, package_id)
           WHERE k.shipment_id IS NOT NULL GROUP BY k.order_id, k.shipment_id) s
    ON s.order_id = p.order_id AND s.shipment_id = p.shipment_id
WHERE (p.received_back_at IS NOT NULL) <> (coalesce(r.units, 0) = coalesce(s.units, 0));

-- name: what_came_back_was_settled
-- TRK-6: Units that came back to the sender are cancelled or wait to be sent again, as their receipts say.
SELECT order_id, line_no, json_build_array(coalesce(m.cancelled, 0), coalesce(m.sent_again, 0)) AS found,
       json_build_array(coalesce(r.cancelled, 0), coalesce(r.sent_again, 0)) AS expected
FROM (SELECT order_id, line_no, sum(CASE to_state WHEN 'cancelled' THEN quantity ELSE 0 END) AS cancelled,
             sum(CASE to_state WHEN 'backordered' THEN quantity ELSE 0 END) AS sent_again
      FROM orders.moves WHERE from_state = 'shipped' AND reason = 'returned_to_sender' GROUP BY order_id, line_no) m
FULL JOIN (SELECT order_id, line_no, sum(CASE next WHEN 'refund' THEN restocked + scrapped + lost ELSE 0 END) AS cancelled,
                  sum(CASE next WHEN 'send_again' THEN restocked + scrapped + lost ELSE 0 END) AS sent_again
           FROM tracking.receipts WHERE next <> 'nothing' GROUP BY order_id, line_no) r USING (order_id, line_no)
WHERE coalesce(m.cancelled, 0) <> coalesce(r.cancelled, 0) OR coalesce(m.sent_again, 0) <> coalesce(r.sent_again, 0);

-- name: reasons_are_codes
-- NTE-1: What people write in words of their own is in no event, move or reaction: those carry codes.
SELECT subject_id AS order_id, id AS event_id, kind AS found, 'a code' AS expected
FROM core.events
WHERE kind IN ('units_cancelled', 'cancellation_wanted', 'cancellation_refused', 'return_cancelled', 'exception_resolved',
               'refund_requested', 'shortfall_closed')
  AND (data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(data->>'reason') > 50)
UNION ALL
SELECT subject_id, event_id, kind, 'a code' FROM core.reactions
WHERE jsonb_typeof(data) = 'object' AND (data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(data->>'reason') > 50)
UNION ALL
SELECT order_id, cause_id, to_state, 'a code' FROM orders.moves
WHERE reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(reason) > 50;

-- name: parcel_exceptions_name_their_parcels
-- EXC-3: An open exception of a parcel names one that comes back, with the units still in it, or one that was lost.
SELECT e.order_id, e.shipment_id, e.kind AS found, p.status AS expected
FROM (SELECT order_id, shipment_id, kind, units FROM orders.exceptions WHERE shipment_id IS NOT NULL AND resolved_at IS NULL) e
LEFT JOIN tracking.parcels p ON p.order_id = e.order_id AND p.shipment_id = e.shipment_id
WHERE p.shipment_id IS NULL OR (e.kind = 'returned_to_sender' AND (p.returning_at IS NULL OR p.received_back_at IS NOT NULL))
   OR (e.kind = 'arrived_after_loss' AND p.lost_at IS NULL);

-- name: parcels_are_late_by_what_was_told
-- TRK-8: A parcel is late only after a date that its customer was told, and behind its plan only after the plan.
SELECT order_id, shipment_id, late_at, behind_plan_at, promised_at, last_promised_at, planned_at
FROM tracking.parcels
WHERE late_at < least(promised_at, last_promised_at) OR behind_plan_at < planned_at;

-- aftercare ------------------------------------------------------------------------------------------------------------

-- name: no_more_comes_back_than_went_out
-- RET-1: No more of a line is back or may come back than was delivered of it.
SELECT order_id, line_no, r.claimed AS found, coalesce(l.delivered + l.returned, 0) AS expected
FROM (SELECT order_id, line_no, sum(authorized - cancelled) AS claimed FROM aftercare.return_lines
      WHERE component_sku_id = 0 GROUP BY order_id, line_no) r
LEFT JOIN orders.lines l USING (order_id, line_no)
WHERE r.claimed > coalesce(l.delivered + l.returned, 0);

-- name: no_more_of_a_component_comes_back_than_went_out
-- RET-5: As itself and within whole kits, no more of a component is back or may come back than was delivered of it.
SELECT order_id, line_no, c.component_sku_id, c.claimed + coalesce(w.claimed, 0) * coalesce(k.quantity, 0) AS found,
       coalesce((l.delivered + l.returned) * k.quantity, 0) AS expected
FROM (SELECT order_id, line_no, component_sku_id, sum(authorized - cancelled) AS claimed FROM aftercare.return_lines
      WHERE component_sku_id <> 0 GROUP BY order_id, line_no, component_sku_id) c
LEFT JOIN (SELECT order_id, line_no, sum(authorized - cancelled) AS claimed FROM aftercare.return_lines
           WHERE component_sku_id = 0 GROUP BY order_id, line_no) w USING (order_id, line_no)
LEFT JOIN inventory.kit_lines k USING (order_id, line_no, component_sku_id)
LEFT JOIN orders.lines l USING (order_id, line_no)
WHERE c.claimed + coalesce(w.claimed, 0) * coalesce(k.quantity, 0) > coalesce((l.delivered + l.returned) * k.quantity, 0);

-- name: cancelled_units_of_returns_stay_away
-- RET-6: What came back with a line of a return and what was cancelled of it are together no more than was authorized.
SELECT order_id, return_id, line_no, component_sku_id, restocked + scrapped + cancelled AS found, authorized AS expected
FROM aftercare.return_lines
WHERE restocked + scrapped + cancelled > authorized OR least(restocked, scrapped, cancelled) < 0;

-- name: returned_units_came_back
-- RET-2: The returned units of a line are those that its returns restocked or scrapped, and the kits of which every component came back.
SELECT order_id, line_no, coalesce(l.returned, 0) AS found, coalesce(r.quantity, 0) AS expected
FROM (SELECT order_id, line_no, returned FROM orders.lines WHERE returned <> 0) l
FULL JOIN (
    SELECT order_id, line_no, sum(quantity) AS quantity
    FROM (SELECT order_id, line_no, sum(restocked + scrapped) AS quantity FROM aftercare.return_lines
          WHERE component_sku_id = 0 AND restocked + scrapped <> 0 GROUP BY order_id, line_no
          UNION ALL
          SELECT k.order_id, k.line_no, min(coalesce(c.quantity, 0) / k.quantity)
          FROM inventory.kit_lines k
          LEFT JOIN (SELECT order_id, line_no, component_sku_id, sum(restocked + scrapped)::bigint AS quantity
                     FROM aftercare.return_lines WHERE component_sku_id <> 0
                     GROUP BY order_id, line_no, component_sku_id) c USING (order_id, line_no, component_sku_id)
          WHERE (k.order_id, k.line_no) IN (SELECT order_id, line_no FROM aftercare.return_lines WHERE component_sku_id <> 0)
          GROUP BY k.order_id, k.line_no) u
    GROUP BY order_id, line_no) r USING (order_id, line_no)
WHERE coalesce(l.returned, 0) <> coalesce(r.quantity, 0);

-- name: restocked_units_are_in_stock
-- RET-3: What returns and parcels that came back restocked of a line, of kits component by component, is what the stock ledger took back.
SELECT order_id, line_no, sku_id, coalesce(m.quantity, 0) AS found, coalesce(r.quantity, 0) AS expected
FROM (SELECT order_id, line_no, sku_id, sum(on_hand_delta) AS quantity FROM inventory.moves WHERE kind = 'returned'
      GROUP BY order_id, line_no, sku_id) m
FULL JOIN (SELECT order_id, line_no, sku_id, sum(quantity) AS quantity
           FROM (SELECT r.order_id, r.line_no, coalesce(k.component_sku_id, r.sku_id) AS sku_id,
                        r.restocked * coalesce(k.quantity, 1) AS quantity
                 FROM (SELECT order_id, line_no, sku_id, restocked FROM aftercare.return_lines WHERE component_sku_id = 0
                       UNION ALL
                       SELECT order_id, line_no, l.sku_id, b.restocked
                       FROM tracking.receipts b JOIN orders.lines l USING (order_id, line_no)) r
                 LEFT JOIN inventory.kit_lines k USING (order_id, line_no)
                 WHERE r.restocked <> 0
                 UNION ALL
                 SELECT order_id, line_no, component_sku_id, restocked FROM aftercare.return_lines
                 WHERE component_sku_id <> 0 AND restocked <> 0) u
           GROUP BY order_id, line_no, sku_id) r USING (order_id, line_no, sku_id)
WHERE coalesce(m.quantity, 0) <> coalesce(r.quantity, 0);

-- name: no_unit_is_refunded_for_more_than_it_cost
-- RET-4: The refunds of a line's returns are part of what the line gives back.
SELECT order_id, line_no, r.refund_minor AS found, l.refunded_minor AS expected
FROM (SELECT order_id, line_no, sum(refund_minor) AS refund_minor FROM aftercare.return_lines GROUP BY order_id, line_no) r
JOIN orders.lines l USING (order_id, line_no)
WHERE r.refund_minor > l.refunded_minor;

-- jobs -----------------------------------------------------------------------------------------------------------------

-- name: jobs_count_their_rows
-- JOB-2: A job has done as many rows as have an outcome, and has refused as many as were refused.
SELECT job_id, json_build_object('done', j.done, 'refused', j.refused) AS found,
       json_build_object('done', coalesce(r.done, 0), 'refused', coalesce(r.refused, 0)) AS expected
FROM (SELECT job_id, done, refused FROM core.jobs WHERE has_rows) j
LEFT JOIN (SELECT job_id, count(outcome) AS done, count(*) FILTER (WHERE outcome = 'refused') AS refused
           FROM core.job_rows GROUP BY job_id) r USING (job_id)
WHERE j.done <> coalesce(r.done, 0) OR j.refused <> coalesce(r.refused, 0);

-- name: done_jobs_have_done_everything
-- JOB-3: A job that is done has an outcome for every row.
SELECT job_id, j.done AS found, coalesce(j.total, 0) + coalesce(o.open, 0) AS expected
FROM (SELECT job_id, done, total FROM core.jobs WHERE state = 'done') j
LEFT JOIN (SELECT job_id, count(*) AS open FROM core.job_rows WHERE outcome IS NULL GROUP BY job_id) o USING (job_id)
WHERE j.done IS DISTINCT FROM j.total OR o.open > 0;

-- client keys -----------------------------------------------------------------------------------------------------------

-- name: client_keys_have_their_answers
-- IDM-2: What is kept of a client key is the answer to what was done: there is none that was claimed and never answered.
SELECT replace(key, chr(10), ' ') AS key, status AS found, 'an answer' AS expected
FROM core.idempotency
WHERE status NOT BETWEEN 200 AND 299 OR octet_length(body) = 0 OR octet_length(digest) <> 16;

-- shadows --------------------------------------------------------------------------------------------------------------

-- name: what_is_kept_for_shadows_is_to_be_judged
-- SRC-8: What shadow profiles are still to judge has the reaction that judges it.
SELECT unjudged_id, orders AS found, 0 AS expected
FROM (SELECT unjudged_id, orders FROM sourcing.unjudged) u
LEFT JOIN (SELECT DISTINCT subject_id AS unjudged_id, true AS queued FROM core.reactions WHERE kind = 'judge_shadows') r
    USING (unjudged_id)
WHERE queued IS NULL;

-- look-ups -------------------------------------------------------------------------------------------------------------

-- name: sku_codes_lead_to_their_skus
-- CAT-1: Every SKU is found by its code, and every code leads to a SKU.
SELECT sku_id, s.code AS found, c.code AS expected
FROM catalog.skus s FULL JOIN catalog.sku_codes c USING (sku_id)
WHERE (s.code = c.code) IS NOT TRUE;

-- name: customer_keys_lead_to_their_customers
-- CUS-1: Every customer has the seller's key, and every key its customer.
SELECT customer_id, c.seller_id || ' ' || c.external_id AS found, k.seller_id || ' ' || k.external_id AS expected
FROM orders.customers c FULL JOIN orders.customer_keys k USING (customer_id)
WHERE (c.seller_id = k.seller_id AND c.external_id = k.external_id) IS NOT TRUE;

-- the event log ------------------------------------------------------------------------------------------------------------

-- name: positions_have_no_gap
-- LOG-3: The positions of the log are 1, 2, 3 and so on up to its head, each that of one set of events.
SELECT position, position AS found, before + 1 AS expected
FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS before FROM core.event_sets WHERE position IS NOT NULL) p
WHERE position <> before + 1
UNION ALL
SELECT head, head, last FROM core.log_head CROSS JOIN (SELECT coalesce(max(position), 0) AS last FROM core.event_sets) s
WHERE head <> last;

-- name: sets_have_their_events
-- LOG-3: A set has the events that it was recorded with, each at its place, and every event of the log has its set.
SELECT set_id, coalesce(e.events, 0) AS found, coalesce(s.events, 0) AS expected
FROM core.event_sets s
FULL JOIN (SELECT set_id, count(*) AS events, min(place) AS first, max(place) AS last, sum(place) AS places FROM core.events
           WHERE set_id <> '00000000-0000-0000-0000-000000000000' GROUP BY set_id) e USING (set_id)
WHERE s.set_id IS NULL OR e.set_id IS NULL OR e.events <> s.events OR e.first <> 1 OR e.last <> s.events
   OR e.places <> s.events::bigint * (s.events + 1) / 2 OR e.places IS NULL;

-- name: sets_get_their_positions
-- LOG-1: When a worker last gave positions to everything that was new, it left no set without one.
SELECT e.set_id, e.recorded_at AS found, h.drained_at AS expected FROM core.event_sets e CROSS JOIN core.log_head h
WHERE e.position IS NULL AND e.recorded_at < h.drained_at - interval '1 minute';

-- name: what_is_from_before_the_log_is_read
-- LOG-1: Events from before the log belong to subjects that were there before it: readers look no further.
SELECT e.subject_id, e.id AS event_id, h.last_before AS expected FROM core.events e CROSS JOIN core.log_head h
WHERE e.set_id IS NULL AND (h.last_before IS NULL OR e.subject_id > h.last_before);

-- name: subscriptions_are_within_the_log
-- SUB-3: No subscription has read further than the log goes.
SELECT s.name, s.position AS found, h.head AS expected FROM core.subscriptions s CROSS JOIN core.log_head h
WHERE s.position > h.head OR (s.subject_id IS NOT NULL AND (h.last_before IS NULL OR s.subject_id > h.last_before));

-- API keys -----------------------------------------------------------------------------------------------------------------

-- name: keys_name_what_there_is
-- KEY-4: A key that is good names roles and permissions that there are, one at least, and sellers and locations that exist.
WITH good AS (
    SELECT key_id, scopes || roles AS roles, permissions, sellers, locations FROM core.api_keys
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), named AS (
    SELECT key_id, 'role' AS noun, unnest(roles) AS code FROM good
    UNION ALL SELECT key_id, 'permission', unnest(permissions) FROM good
    UNION ALL SELECT key_id, 'seller', unnest(sellers) FROM good
    UNION ALL SELECT key_id, 'location', unnest(locations) FROM good
), there AS (
    SELECT 'role' AS noun, unnest(ARRAY['read', 'write', 'admin']) AS code
    UNION ALL SELECT 'permission', unnest(ARRAY[
        'orders.read', 'orders.write', 'customers.read', 'promises.ask', 'catalog.read', 'catalog.write',
        'network.read', 'network.write', 'stock.read', 'stock.write', 'stock.hold', 'sourcing.run', 'fulfillment.read',
        'fulfillment.work', 'tracking.write', 'returns.write', 'refunds.write', 'insights.read', 'events.read',
        'events.follow', 'jobs.read', 'jobs.run', 'policies.read', 'policies.write', 'engine.read', 'engine.manage',
        'keys.manage'])
    UNION ALL SELECT 'seller', code FROM catalog.sellers
    UNION ALL SELECT 'location', code FROM network.locations
)
SELECT n.key_id, n.noun, n.code AS found, 'one that there is' AS expected
FROM named n LEFT JOIN there t USING (noun, code) WHERE t.code IS NULL
UNION ALL
SELECT key_id, 'role', 'none', 'roles or permissions' FROM good WHERE roles = '{}' AND permissions = '{}';
