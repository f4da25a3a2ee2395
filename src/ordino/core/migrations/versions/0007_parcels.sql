-- Who has a tracking number, what carriers say of unknown ones, and parcels that come back to the sender.
CREATE TABLE warehouse.tracking_numbers (
    tracking_number text NOT NULL,
    shipment_id uuid NOT NULL,
    order_id uuid NOT NULL,
    first boolean NOT NULL,
    closed_at timestamptz,
    CONSTRAINT tracking_numbers_pk PRIMARY KEY (tracking_number, shipment_id),
    CONSTRAINT only_the_first_closes_a_tracking_number CHECK (closed_at IS NULL OR first)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX a_tracking_number_is_claimed_once ON warehouse.tracking_numbers (tracking_number) WHERE first;

-- Whose parcel is watched under a number has it; without one, whoever left first. The others may never have been that parcel.
INSERT INTO warehouse.tracking_numbers (tracking_number, shipment_id, order_id, first, closed_at)
SELECT DISTINCT ON (s.tracking_number) s.tracking_number, s.shipment_id, s.order_id, true, coalesce(p.delivered_at, p.lost_at)
FROM warehouse.shipments s LEFT JOIN tracking.parcels p USING (order_id, shipment_id)
ORDER BY s.tracking_number, p.order_id IS NULL, s.shipped_at, s.shipment_id;
DROP TABLE tracking.tracking_numbers;

-- A generated status does not change in place on PostgreSQL 15 and 16: the parcels move to a table that has the new one.
LOCK TABLE tracking.parcels IN ACCESS EXCLUSIVE MODE;
CREATE TEMPORARY TABLE parcels_before ON COMMIT DROP AS SELECT * FROM tracking.parcels;
DROP TABLE tracking.parcels;
CREATE TABLE tracking.parcels (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    tracking_number text NOT NULL,
    promised_at timestamptz NOT NULL,
    expected_at timestamptz NOT NULL,
    shipped_at timestamptz NOT NULL,
    late_at timestamptz,
    delivered_at timestamptz,
    lost_at timestamptz,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN received_back_at IS NOT NULL THEN 'received_back'
        WHEN delivered_at IS NOT NULL THEN 'delivered'
        WHEN lost_at IS NOT NULL THEN 'lost'
        WHEN returning_at IS NOT NULL THEN 'returning'
        WHEN late_at IS NOT NULL THEN 'late'
        ELSE 'in_transit' END) STORED,
    returning_at timestamptz,
    back_at timestamptz,
    received_back_at timestamptz,
    CONSTRAINT parcels_pk PRIMARY KEY (order_id, shipment_id),
    CONSTRAINT trk_5_what_is_delivered_does_not_come_back CHECK
        (delivered_at IS NULL OR (returning_at IS NULL AND received_back_at IS NULL)),
    CONSTRAINT only_what_comes_back_is_received_back CHECK (returning_at IS NOT NULL OR (back_at IS NULL AND received_back_at IS NULL))
) WITH (fillfactor = 80);
INSERT INTO tracking.parcels (order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, late_at, delivered_at, lost_at)
SELECT order_id, shipment_id, tracking_number, promised_at, expected_at, shipped_at, late_at, delivered_at, lost_at
FROM parcels_before;

CREATE TABLE tracking.receipts (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    receipt_id uuid NOT NULL,
    line_no int NOT NULL,
    location_id int NOT NULL,
    restocked bigint NOT NULL,
    scrapped bigint NOT NULL,
    lost bigint NOT NULL,
    next text NOT NULL,
    refund_minor bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT receipts_pk PRIMARY KEY (order_id, shipment_id, receipt_id, line_no),
    CONSTRAINT a_receipt_accounts_for_something CHECK (least(restocked, scrapped, lost, refund_minor) >= 0 AND restocked + scrapped + lost > 0),
    CONSTRAINT what_follows_a_receipt CHECK (next IN ('refund', 'send_again', 'nothing'))
);

CREATE TABLE tracking.unmatched_events (
    tracking_number text NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    place text,
    detail text,
    expected_at timestamptz,
    CONSTRAINT unmatched_events_pk PRIMARY KEY (tracking_number, kind, at)
);
CREATE INDEX unmatched_events_by_age ON tracking.unmatched_events (event_id);

ALTER TABLE orders.moves DROP CONSTRAINT exits;
ALTER TABLE orders.moves ADD CONSTRAINT exits CHECK ((from_state, to_state) IN (
    ('ordered', 'backordered'), ('ordered', 'allocated'), ('ordered', 'cancelled'),
    ('backordered', 'allocated'), ('backordered', 'cancelled'),
    ('allocated', 'backordered'), ('allocated', 'picked'), ('allocated', 'cancelled'),
    ('picked', 'packed'), ('picked', 'cancelled'),
    ('packed', 'shipped'), ('packed', 'cancelled'),
    ('shipped', 'delivered'), ('shipped', 'cancelled'), ('shipped', 'backordered'),
    ('delivered', 'returned')));

ALTER TABLE orders.exceptions ADD COLUMN shipment_id uuid;
ALTER TABLE orders.exceptions ADD COLUMN units bigint;
ALTER TABLE orders.exceptions DROP CONSTRAINT exception_kinds;
ALTER TABLE orders.exceptions ADD CONSTRAINT exception_kinds CHECK
    (kind IN ('not_sourced', 'not_servable', 'location_closed', 'returned_to_sender', 'arrived_after_loss'));
ALTER TABLE orders.exceptions DROP CONSTRAINT an_exception_is_of_a_line_or_of_work;
ALTER TABLE orders.exceptions ADD CONSTRAINT an_exception_is_of_a_line_of_work_or_of_a_parcel CHECK (
    (line_no IS NOT NULL) = (kind IN ('not_sourced', 'not_servable'))
    AND (fulfillment_order_id IS NOT NULL) = (kind = 'location_closed') AND (location_id IS NOT NULL) = (kind = 'location_closed')
    AND (shipment_id IS NOT NULL) = (kind IN ('returned_to_sender', 'arrived_after_loss'))
    AND (units IS NOT NULL) = (shipment_id IS NOT NULL));
CREATE UNIQUE INDEX one_exception_of_a_parcel_is_open ON orders.exceptions (order_id, shipment_id, kind) WHERE resolved_at IS NULL;
