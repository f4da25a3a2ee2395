-- What waits or is being called keeps when it was due; how long it waits, and how long it is leased, is the time of the database.
ALTER TABLE core.reactions
    ADD COLUMN wait_until timestamptz,
    ADD COLUMN waiting_since timestamptz,
    ADD COLUMN leased_until timestamptz,
    ADD COLUMN failure text,
    ADD COLUMN account text,
    ADD CONSTRAINT how_reactions_fail CHECK (failure IN ('refused', 'answer_lost', 'unavailable', 'fault', 'not_written_down'));

-- Whoever looks for what is due passes over what waits within the index.
DROP INDEX core.reactions_due;
CREATE INDEX reactions_due ON core.reactions (kind, due_at, coalesce(wait_until, '-infinity')) WHERE dead_at IS NULL;
