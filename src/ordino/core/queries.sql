-- name: record_events
-- Facts are only ever added.
INSERT INTO core.events (subject_id, id, kind, at, data)
SELECT * FROM unnest(:subject_ids::uuid[], :ids::uuid[], :kinds::text[], :ats::timestamptz[], :data::jsonb[]);

-- name: enqueue
-- What follows from the facts, in the transaction that made them true.
INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
SELECT * FROM unnest(:buckets::smallint[], :ids::uuid[], :kinds::text[], :subject_ids::uuid[], :event_ids::uuid[],
                     :due_ats::timestamptz[], :data::jsonb[]);

-- name: timeline
-- Everything that happened to one subject, oldest first.
SELECT id, kind, at, data FROM core.events WHERE subject_id = :subject_id::uuid ORDER BY at, id;

-- name: hold_due
-- Due reactions of one kind, locked for the rest of the transaction; what another worker holds is passed over.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts
FROM core.reactions
WHERE kind = :kind::text AND due_at <= :at::timestamptz AND dead_at IS NULL AND bucket = any(:buckets::smallint[])
ORDER BY due_at, id
LIMIT :limit::int
FOR UPDATE SKIP LOCKED;

-- name: hold_one
-- One reaction, if nobody else has it and it is still to be done.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts
FROM core.reactions
WHERE bucket = :bucket::smallint AND id = :id::uuid AND dead_at IS NULL AND due_at <= :at::timestamptz
FOR UPDATE SKIP LOCKED;

-- name: lease_due
-- Take due reactions for a while: until the lease ends they are due later, and only its holder may finish them.
WITH due AS (
    SELECT bucket, id FROM core.reactions
    WHERE kind = :kind::text AND due_at <= :at::timestamptz AND dead_at IS NULL AND bucket = any(:buckets::smallint[])
    ORDER BY due_at, id
    LIMIT :limit::int
    FOR UPDATE SKIP LOCKED
)
UPDATE core.reactions r SET due_at = :until::timestamptz, lease = :lease::uuid, attempts = attempts + 1
FROM due WHERE r.bucket = due.bucket AND r.id = due.id
RETURNING r.bucket, r.id, r.kind, r.subject_id, r.event_id, r.due_at, r.data, r.attempts;

-- name: finish
-- What is done leaves; a row that is not returned was taken over by another lease. Ids are unique across buckets.
DELETE FROM core.reactions
WHERE bucket = any(:buckets::smallint[]) AND id = any(:ids::uuid[]) AND lease IS NOT DISTINCT FROM :lease::uuid
RETURNING id;

-- name: postpone
-- A reaction that failed is due again later, or is put aside for a person when it has failed too often.
UPDATE core.reactions
SET attempts = :attempts::int, due_at = :due_at::timestamptz, last_error = :error::text, dead_at = :dead_at::timestamptz, lease = NULL
WHERE bucket = :bucket::smallint AND id = :id::uuid AND lease IS NOT DISTINCT FROM :lease::uuid;

-- name: dead_letters
-- What needs a person, oldest first.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at
FROM core.reactions WHERE dead_at IS NOT NULL ORDER BY dead_at, id LIMIT :limit::int;

-- name: replay
-- A person says: try these again.
UPDATE core.reactions SET dead_at = NULL, attempts = 0, due_at = :at::timestamptz, lease = NULL
WHERE id = any(:ids::uuid[]) AND dead_at IS NOT NULL
RETURNING id;

-- name: due_kinds
-- Which of these kinds have something due, and the oldest due time of each: one look into the index a kind.
SELECT k.kind, r.due_at
FROM unnest(:kinds::text[]) AS k (kind)
CROSS JOIN LATERAL (
    SELECT due_at FROM core.reactions
    WHERE kind = k.kind AND due_at <= :at::timestamptz AND dead_at IS NULL ORDER BY due_at LIMIT 1
) AS r;

-- name: revisions
-- How often the slow-changing facts have changed.
SELECT name, number FROM core.revisions;

-- name: bump_revision
-- Everybody who keeps these facts reads them again.
UPDATE core.revisions SET number = number + 1 WHERE name = :name::text RETURNING number;

-- name: hold_revision
-- Whoever changes these facts waits; whoever reads them does not.
SELECT number FROM core.revisions WHERE name = :name::text FOR NO KEY UPDATE;

-- name: share_revision
-- What is read of these facts stands until the transaction ends; whoever changes them waits for it.
SELECT number FROM core.revisions WHERE name = :name::text FOR SHARE;

-- name: queued
-- Whether a reaction of this kind is still to run.
SELECT EXISTS (SELECT 1 FROM core.reactions WHERE kind = :kind::text AND dead_at IS NULL) AS is_there;

-- name: take_numbers
-- A block of integer keys: the first of ``count``.
UPDATE core.counters SET next = next + :count::bigint WHERE name = :name::text RETURNING next - :count::bigint AS first;

-- name: claim_key
-- The first to bring a key may do the work; no row back means that somebody was here before.
INSERT INTO core.idempotency (key, digest, status, body, at)
VALUES (:key::text, :digest::bytea, 0, ''::bytea, :at::timestamptz)
ON CONFLICT (key) DO NOTHING RETURNING key;

-- name: keep_answer
-- The answer that every repeat of the key will get.
UPDATE core.idempotency SET status = :status::smallint, body = :body::bytea WHERE key = :key::text;

-- name: first_answer
-- What was answered to the first request with this key.
SELECT digest, status, body FROM core.idempotency WHERE key = :key::text;

-- name: forget_answers
-- Nobody repeats a request so old.
DELETE FROM core.idempotency WHERE at < :before::timestamptz;

-- name: make_api_key
-- A key is kept as its hash only.
INSERT INTO core.api_keys (key_id, name, hash, scopes, created_at)
VALUES (:key_id::uuid, :name::text, :hash::bytea, :scopes::text[], :at::timestamptz);

-- name: revoke_api_key
-- A revoked key stays on record.
UPDATE core.api_keys SET revoked_at = :at::timestamptz WHERE key_id = :key_id::uuid AND revoked_at IS NULL RETURNING key_id;

-- name: api_keys
-- All keys, newest first.
SELECT key_id, name, scopes, created_at, revoked_at FROM core.api_keys ORDER BY created_at DESC, key_id;

-- name: api_key
-- The living key with this hash.
SELECT key_id, name, scopes FROM core.api_keys WHERE hash = :hash::bytea AND revoked_at IS NULL;

-- name: any_api_key
-- Has there ever been a key? None is ever deleted.
SELECT EXISTS (SELECT FROM core.api_keys) AS is_there;

-- name: know_duty
-- A duty that nobody has done yet.
INSERT INTO core.duties (name, done_at) VALUES (:name::text, to_timestamp(0)) ON CONFLICT (name) DO NOTHING;

-- name: take_turn
-- A row comes back if nobody has done this since then: it is ours.
UPDATE core.duties SET done_at = :at::timestamptz WHERE name = :name::text AND done_at <= :since::timestamptz RETURNING name;

-- name: hold_duty
-- A duty for the rest of the transaction; no row back means that another worker is at it.
UPDATE core.duties d SET done_at = :at::timestamptz
FROM (SELECT name, done_at FROM core.duties WHERE name = :name::text FOR NO KEY UPDATE SKIP LOCKED) AS was
WHERE d.name = was.name RETURNING was.done_at AS since;

-- name: set_revision
-- What has been seen of a revision.
UPDATE core.revisions SET number = :number::bigint WHERE name = :name::text;
