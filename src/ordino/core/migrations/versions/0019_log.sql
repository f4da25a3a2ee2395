-- No row is rewritten: what is there stays without a set, and is read before the log. Whoever still runs the version before writes the
-- default, and its events get sets later.
ALTER TABLE core.events ADD COLUMN set_id uuid, ADD COLUMN place int;
ALTER TABLE core.events ALTER COLUMN set_id SET DEFAULT '00000000-0000-0000-0000-000000000000';
CREATE INDEX events_by_set ON core.events (set_id, place) WHERE set_id IS NOT NULL;

CREATE TABLE core.event_sets (
    set_id uuid NOT NULL,
    events int NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    written pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    position bigint,
    CONSTRAINT event_sets_pk PRIMARY KEY (set_id),
    CONSTRAINT a_set_has_events CHECK (events > 0),
    CONSTRAINT the_log_begins_at_1 CHECK (position >= 1)
);
CREATE INDEX event_sets_waiting ON core.event_sets (written, set_id) WHERE position IS NULL;
CREATE INDEX event_sets_in_order ON core.event_sets (position) WHERE position IS NOT NULL;

CREATE TABLE core.log_head (
    one boolean NOT NULL DEFAULT true,
    log_id uuid NOT NULL DEFAULT gen_random_uuid(),
    head bigint NOT NULL DEFAULT 0,
    last_before uuid,
    drained_at timestamptz,
    CONSTRAINT log_head_pk PRIMARY KEY (one),
    CONSTRAINT there_is_one_log CHECK (one)
);
INSERT INTO core.log_head (last_before) VALUES ((SELECT subject_id FROM core.events ORDER BY subject_id DESC LIMIT 1));

CREATE TABLE core.subscriptions (
    name text NOT NULL,
    reader text NOT NULL,
    kinds text[],
    position bigint NOT NULL,
    place int NOT NULL,
    subject_id uuid,
    event_id uuid,
    created_at timestamptz NOT NULL,
    moved_at timestamptz,
    CONSTRAINT subscriptions_pk PRIMARY KEY (name),
    CONSTRAINT who_reads_a_subscription CHECK (reader IN ('stage', 'program')),
    CONSTRAINT a_subscription_has_a_place CHECK (position >= 0 AND place >= 0),
    CONSTRAINT only_before_the_log_an_event_is_named CHECK ((subject_id IS NULL) = (event_id IS NULL)
        AND (subject_id IS NULL OR position = 0))
);
