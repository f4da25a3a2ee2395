CREATE TABLE core.test_writes (
    slot smallint NOT NULL,
    written_at timestamptz NOT NULL,
    CONSTRAINT test_writes_pk PRIMARY KEY (slot),
    CONSTRAINT there_are_few_slots CHECK (slot BETWEEN 0 AND 63)
);
