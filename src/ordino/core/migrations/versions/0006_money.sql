ALTER TABLE orders.orders ADD COLUMN shipping_charged_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.orders ADD COLUMN shipping_void_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.orders ADD COLUMN shipping_refunded_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN charged_units bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN charged_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN void_units bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN void_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN refunded_units bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.lines ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE orders.moves ADD COLUMN paid_units bigint;
ALTER TABLE orders.moves ADD COLUMN amount_minor bigint;
ALTER TABLE orders.moves ADD COLUMN refund_minor bigint;
ALTER TABLE orders.payments ADD COLUMN due_minor bigint;

-- What was charged and no longer owed until now: a line's amount, shared among its units in the order in which they left for good.
UPDATE orders.moves m
SET paid_units = 0, refund_minor = 0,
    amount_minor = div(l.amount_minor::numeric * (b.before + m.quantity), l.ordered) - div(l.amount_minor::numeric * b.before, l.ordered)
FROM (SELECT order_id, cause_id, line_no, from_state, to_state,
             sum(quantity) OVER (PARTITION BY order_id, line_no ORDER BY at, cause_id, from_state) - quantity AS before
      FROM orders.moves
      WHERE to_state = 'shipped' OR (to_state = 'cancelled' AND from_state <> 'shipped')) b
JOIN orders.lines l USING (order_id, line_no)
WHERE m.order_id = b.order_id AND m.cause_id = b.cause_id AND m.line_no = b.line_no AND m.from_state = b.from_state
  AND m.to_state = b.to_state;

-- What was given back until now: a line's amount, shared among the units that came back or were lost, in that order. A cent of what
-- was charged may have stayed, and so has the shipping of what was lost: ``amount_minor`` stays NULL, and says so.
UPDATE orders.moves m
SET paid_units = m.quantity,
    refund_minor = div(l.amount_minor::numeric * (b.before + m.quantity), l.ordered) - div(l.amount_minor::numeric * b.before, l.ordered)
FROM (SELECT order_id, cause_id, line_no, from_state, to_state,
             sum(quantity) OVER (PARTITION BY order_id, line_no ORDER BY at, cause_id, from_state) - quantity AS before
      FROM orders.moves
      WHERE to_state = 'returned' OR (to_state = 'cancelled' AND from_state = 'shipped')) b
JOIN orders.lines l USING (order_id, line_no)
WHERE m.order_id = b.order_id AND m.cause_id = b.cause_id AND m.line_no = b.line_no AND m.from_state = b.from_state
  AND m.to_state = b.to_state;

UPDATE orders.lines l
SET charged_units = m.charged_units, charged_minor = m.charged_minor, void_units = m.void_units, void_minor = m.void_minor,
    refunded_units = m.refunded_units, refunded_minor = m.refunded_minor
FROM (SELECT order_id, line_no,
             coalesce(sum(quantity) FILTER (WHERE to_state = 'shipped'), 0) AS charged_units,
             coalesce(sum(amount_minor) FILTER (WHERE to_state = 'shipped'), 0) AS charged_minor,
             coalesce(sum(quantity - paid_units) FILTER (WHERE to_state = 'cancelled'), 0) AS void_units,
             coalesce(sum(amount_minor) FILTER (WHERE to_state = 'cancelled'), 0) AS void_minor,
             coalesce(sum(paid_units) FILTER (WHERE to_state <> 'shipped'), 0) AS refunded_units,
             sum(refund_minor) AS refunded_minor
      FROM orders.moves WHERE to_state IN ('shipped', 'cancelled', 'returned') GROUP BY order_id, line_no) m
WHERE l.order_id = m.order_id AND l.line_no = m.line_no;

-- The shipping went with the first shipment, and was no longer owed where nothing ever shipped and all was cancelled.
UPDATE orders.orders o
SET shipping_charged_minor = CASE WHEN l.charged_units > 0 THEN least(o.shipping_minor, o.total_minor) ELSE 0 END,
    shipping_void_minor = CASE WHEN l.charged_units = 0 AND o.cancelled = o.ordered THEN least(o.shipping_minor, o.total_minor) ELSE 0 END
FROM (SELECT order_id, sum(charged_units) AS charged_units FROM orders.lines GROUP BY order_id) l
WHERE o.order_id = l.order_id AND (l.charged_units > 0 OR o.cancelled = o.ordered);

UPDATE orders.payments p SET due_minor = o.total_minor - o.shipping_void_minor - l.void_minor
FROM orders.orders o JOIN (SELECT order_id, sum(void_minor) AS void_minor FROM orders.lines GROUP BY order_id) l USING (order_id)
WHERE p.order_id = o.order_id;

ALTER TABLE orders.orders ADD CONSTRAINT mon_5_shipping_is_charged_once CHECK
    (least(shipping_charged_minor, shipping_void_minor) >= 0
     AND shipping_charged_minor + shipping_void_minor <= least(shipping_minor, total_minor)
     AND shipping_refunded_minor BETWEEN 0 AND shipping_charged_minor);
ALTER TABLE orders.lines ADD CONSTRAINT mon_6_no_unit_is_charged_and_void CHECK
    (least(charged_units, void_units) >= 0 AND charged_units + void_units <= ordered
     AND least(charged_minor, void_minor) >= 0 AND charged_minor + void_minor <= amount_minor);
ALTER TABLE orders.lines ADD CONSTRAINT mon_6_no_more_is_given_back_than_was_charged CHECK
    (refunded_units BETWEEN 0 AND charged_units AND refunded_minor BETWEEN 0 AND charged_minor);
-- PostgreSQL 17 and newer change a generated column in place; before that it is made anew.
DO $$
DECLARE
    status text := $case$CASE
        WHEN refunded_minor > 0 AND refunded_minor = captured_minor AND captured_minor + voided_minor = authorized_minor THEN 'refunded'
        WHEN refunded_minor > 0 THEN 'partially_refunded'
        WHEN authorized_minor = 0 AND due_minor = 0 THEN 'nothing_due'
        WHEN authorized_minor = 0 THEN 'pending'
        WHEN captured_minor = 0 AND voided_minor = authorized_minor THEN 'voided'
        WHEN captured_minor = 0 THEN 'authorized'
        WHEN captured_minor + voided_minor = authorized_minor THEN 'captured'
        ELSE 'partially_captured' END$case$;
BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE 'ALTER TABLE orders.payments ALTER COLUMN status SET EXPRESSION AS (' || status || ')';
    ELSE
        ALTER TABLE orders.payments DROP COLUMN status;
        EXECUTE 'ALTER TABLE orders.payments ADD COLUMN status text NOT NULL GENERATED ALWAYS AS (' || status || ') STORED';
    END IF;
END $$;

CREATE TABLE aftercare.refunds (
    order_id uuid NOT NULL,
    refund_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    shipping_minor bigint NOT NULL,
    goodwill_minor bigint NOT NULL,
    reason text NOT NULL,
    note text,
    asked_by text,
    asked_at timestamptz NOT NULL,
    CONSTRAINT refunds_pk PRIMARY KEY (order_id, refund_id),
    CONSTRAINT a_refund_gives_something_back CHECK
        (amount_minor > 0 AND shipping_minor BETWEEN 0 AND amount_minor AND goodwill_minor BETWEEN 0 AND amount_minor)
);

CREATE TABLE aftercare.refund_lines (
    order_id uuid NOT NULL,
    refund_id uuid NOT NULL,
    line_no int NOT NULL,
    amount_minor bigint NOT NULL,
    CONSTRAINT refund_lines_pk PRIMARY KEY (order_id, refund_id, line_no),
    CONSTRAINT a_refund_line_is_of_a_refund FOREIGN KEY (order_id, refund_id) REFERENCES aftercare.refunds,
    CONSTRAINT a_refund_line_gives_something_back CHECK (amount_minor > 0)
);
