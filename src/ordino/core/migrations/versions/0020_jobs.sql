ALTER TABLE core.duties
    ADD COLUMN every_seconds double precision,
    ADD COLUMN next_at timestamptz,
    ADD COLUMN begun_at timestamptz,
    ADD COLUMN took_seconds double precision,
    ADD COLUMN failures int NOT NULL DEFAULT 0,
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN last_error text,
    ADD COLUMN lease uuid,
    ADD COLUMN leased_until timestamptz;

CREATE TABLE core.jobs (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    parameters jsonb NOT NULL,
    came_from text,
    state text NOT NULL,
    started_by text,
    created_at timestamptz NOT NULL,
    starts_at timestamptz NOT NULL,
    begun_at timestamptz,
    served_at timestamptz,
    finished_at timestamptz,
    has_rows boolean NOT NULL,
    total bigint,
    done bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    cursor jsonb,
    result jsonb,
    error_code text,
    error text,
    tries int NOT NULL DEFAULT 0,
    lease uuid,
    leased_until timestamptz,
    CONSTRAINT jobs_pk PRIMARY KEY (job_id),
    CONSTRAINT a_job_changes_its_state_by_an_exit CHECK (
        coalesce(came_from, '') || ' ' || state IN (
            ' queued', 'queued running', 'queued cancelled', 'running cancelling', 'running done', 'running failed',
            'cancelling cancelled', 'cancelling done', 'cancelling failed')),
    CONSTRAINT a_job_has_done_no_more_than_there_is CHECK (refused BETWEEN 0 AND done),
    CONSTRAINT a_job_that_has_ended_says_when CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'cancelled', 'failed'))),
    CONSTRAINT only_a_job_that_was_begun_is_leased CHECK (lease IS NULL OR state IN ('running', 'cancelling'))
) WITH (fillfactor = 80);
CREATE INDEX jobs_unfinished ON core.jobs (kind) WHERE state IN ('queued', 'running', 'cancelling');
CREATE INDEX jobs_finished ON core.jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE core.job_rows (
    job_id uuid NOT NULL,
    row_no bigint NOT NULL,
    subject text NOT NULL,
    input jsonb,
    outcome text,
    code text,
    detail text,
    pointer text,
    output jsonb,
    CONSTRAINT job_rows_pk PRIMARY KEY (job_id, row_no),
    CONSTRAINT a_row_is_of_a_job FOREIGN KEY (job_id) REFERENCES core.jobs,
    CONSTRAINT what_becomes_of_a_row CHECK (outcome IN ('ok', 'refused')),
    CONSTRAINT a_refused_row_says_why CHECK ((outcome IS NOT DISTINCT FROM 'refused') = (code IS NOT NULL AND detail IS NOT NULL))
);
CREATE INDEX job_rows_open ON core.job_rows (job_id, row_no) WHERE outcome IS NULL;
CREATE INDEX job_rows_refused ON core.job_rows (job_id, row_no) WHERE outcome = 'refused';
