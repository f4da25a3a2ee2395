INSERT INTO core.revisions (name, number) VALUES ('locations', 0), ('carrier_services', 0), ('channels', 0), ('postal_codes', 0),
    ('closures', 0), ('carrier_pickups', 0), ('capacity_days', 0), ('exchange_rates', 0);

ALTER TABLE network.closures ADD COLUMN number bigint NOT NULL DEFAULT 0;
CREATE INDEX closures_by_number ON network.closures (number);

CREATE TABLE network.reopened (
    code text NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT reopened_pk PRIMARY KEY (code)
);

CREATE TABLE sourcing.unjudged (
    unjudged_id uuid NOT NULL,
    orders int NOT NULL,
    at timestamptz NOT NULL,
    format smallint NOT NULL,
    seen bytea NOT NULL,
    CONSTRAINT unjudged_pk PRIMARY KEY (unjudged_id)
);
ALTER TABLE sourcing.unjudged ALTER COLUMN seen SET STORAGE EXTERNAL;
