ALTER TABLE core.api_keys
    ADD COLUMN roles text[] NOT NULL DEFAULT '{}',
    ADD COLUMN permissions text[] NOT NULL DEFAULT '{}',
    ADD COLUMN sellers text[],
    ADD COLUMN locations text[],
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz;

ALTER TABLE core.api_keys ADD CONSTRAINT a_narrowed_key_names_something
    CHECK (cardinality(sellers) > 0 AND cardinality(locations) > 0);
ALTER TABLE core.api_keys ADD CONSTRAINT programs_of_before_let_a_narrowed_key_do_nothing
    CHECK (scopes = '{}' OR (sellers IS NULL AND locations IS NULL AND expires_at IS NULL));
