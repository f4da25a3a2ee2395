ALTER TABLE orders.orders ADD COLUMN dropped_minor bigint NOT NULL DEFAULT 0;
UPDATE orders.orders o SET dropped_minor = d.amount_minor
FROM (SELECT m.order_id, sum(l.amount_minor) AS amount_minor
      FROM orders.moves m JOIN orders.lines l USING (order_id, line_no)
      WHERE m.from_state = 'ordered' AND m.to_state = 'cancelled' GROUP BY m.order_id) d
WHERE o.order_id = d.order_id;
ALTER TABLE orders.orders ADD CONSTRAINT no_more_is_dropped_than_was_ordered CHECK (dropped_minor BETWEEN 0 AND total_minor);
