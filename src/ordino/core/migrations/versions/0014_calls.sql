CREATE INDEX reactions_leased ON core.reactions (kind, subject_id) WHERE lease IS NOT NULL;
CREATE TABLE core.paused_accounts (
    account text NOT NULL,
    failing_since timestamptz NOT NULL,
    paused_until timestamptz NOT NULL,
    failures int NOT NULL,
    reason text NOT NULL,
    CONSTRAINT paused_accounts_pk PRIMARY KEY (account)
);
CREATE TABLE core.taken_effects (
    kind text NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT taken_effects_pk PRIMARY KEY (kind)
);
