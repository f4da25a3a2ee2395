-- Units that stay at a closed location, and what needs a person because of one.
INSERT INTO core.revisions (name, number) VALUES ('goods', 0), ('looked_at', 0), ('seen_by_warehouse', 0);

ALTER TABLE orders.exceptions ALTER COLUMN line_no DROP NOT NULL;
ALTER TABLE orders.exceptions ADD COLUMN fulfillment_order_id uuid;
ALTER TABLE orders.exceptions ADD COLUMN location_id int;
ALTER TABLE orders.exceptions DROP CONSTRAINT exception_kinds;
ALTER TABLE orders.exceptions DROP CONSTRAINT resolutions;
ALTER TABLE orders.exceptions ADD CONSTRAINT exception_kinds CHECK (kind IN ('not_sourced', 'not_servable', 'location_closed'));
ALTER TABLE orders.exceptions ADD CONSTRAINT an_exception_is_of_a_line_or_of_work CHECK ((kind = 'location_closed') = (line_no IS NULL)
    AND (line_no IS NULL) = (fulfillment_order_id IS NOT NULL) AND (line_no IS NULL) = (location_id IS NOT NULL));
ALTER TABLE orders.exceptions ADD CONSTRAINT resolutions CHECK
    (resolution IN ('retry', 'cancel', 'close', 'cleared') AND (resolution IS NULL) = (resolved_at IS NULL));
CREATE UNIQUE INDEX one_exception_of_work_is_open ON orders.exceptions (order_id, fulfillment_order_id) WHERE resolved_at IS NULL;
CREATE INDEX open_exceptions_by_kind ON orders.exceptions (kind, order_id) WHERE resolved_at IS NULL;

ALTER TABLE orders.allocations ADD COLUMN kept_at timestamptz;
ALTER TABLE orders.allocations ADD COLUMN release_wanted_at timestamptz;
ALTER TABLE orders.allocations ADD CONSTRAINT a_release_waits_only_for_units_that_are_kept CHECK
    (release_wanted_at IS NULL OR kept_at IS NOT NULL);
CREATE INDEX allocations_kept ON orders.allocations (order_id) WHERE kept_at IS NOT NULL;
