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
WHERE kind = :kind::text AND due_at <= :at::timestamptz AND dead_at IS NULL
  AND bucket = any(CAST(:buckets AS smallint[]))
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
-- Take due reactions while they are called: until the lease ends, by the clock of the machine, only its holder may finish them.
WITH due AS (
    SELECT bucket, id FROM core.reactions
    WHERE kind = :kind::text AND due_at <= :at::timestamptz AND dead_at IS NULL AND lease IS NULL
      AND bucket = any(CAST(:buckets AS smallint[]))
    ORDER BY due_at, id
    LIMIT :limit::int
    FOR UPDATE SKIP LOCKED
)
UPDATE core.reactions r SET due_at = :until::timestamptz, lease = :lease::uuid, attempts = attempts + 1
FROM due WHERE r.bucket = due.bucket AND r.id = due.id
RETURNING r.bucket, r.id, r.kind, r.subject_id, r.event_id, r.due_at, r.data, r.attempts;

-- name: free_expired
-- Whoever held these is gone: they are due now. What somebody settles at this moment is passed over.
WITH expired AS (
    SELECT bucket, id FROM core.reactions
    WHERE lease IS NOT NULL AND due_at <= :wall_at::timestamptz
    ORDER BY bucket, id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE core.reactions r SET lease = NULL, due_at = :at::timestamptz
FROM expired e WHERE r.bucket = e.bucket AND r.id = e.id;

-- name: finish
-- What is done leaves. Ids are unique across buckets.
DELETE FROM core.reactions
WHERE bucket = any(:buckets::smallint[]) AND id = any(:ids::uuid[]) AND lease IS NULL
RETURNING id;

-- name: finish_leased
-- What was called leaves; a row that is not returned was taken over by another lease.
DELETE FROM core.reactions r
USING unnest(:buckets::smallint[], :ids::uuid[], :leases::uuid[]) AS d (bucket, id, lease)
WHERE r.bucket = d.bucket AND r.id = d.id AND r.lease = d.lease /* on shards: AND r.bucket = any(:buckets::smallint[]) */
RETURNING r.id;

-- name: postpone
-- What is not done is due again later, or is put aside for a person. Whoever has taken it over decides for themselves.
UPDATE core.reactions r
SET attempts = p.attempts, due_at = p.due_at, last_error = p.error, dead_at = p.dead_at, lease = NULL
FROM unnest(:buckets::smallint[], :ids::uuid[], :leases::uuid[], :attempts::int[], :due_ats::timestamptz[], :errors::text[],
            :dead_ats::timestamptz[]) AS p (bucket, id, lease, attempts, due_at, error, dead_at)
WHERE r.bucket = p.bucket AND r.id = p.id AND r.lease IS NOT DISTINCT FROM p.lease
  /* on shards: AND r.bucket = any(:buckets::smallint[]) */;

-- name: dead_letters
-- What needs a person, oldest first.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at
FROM core.reactions WHERE dead_at IS NOT NULL ORDER BY dead_at, id LIMIT :limit::int;

-- name: replay
-- A person says: try these again.
WITH dead AS (
    SELECT bucket, id FROM core.reactions WHERE id = any(:ids::uuid[]) AND dead_at IS NOT NULL
    ORDER BY bucket, id
    FOR NO KEY UPDATE
)
UPDATE core.reactions r SET dead_at = NULL, attempts = 0, due_at = :at::timestamptz, lease = NULL
FROM dead d WHERE r.bucket = d.bucket AND r.id = d.id
RETURNING r.id;

-- name: due_kinds
-- Which of these kinds have something due, and the oldest due time of each: one look into the index a kind.
SELECT k.kind, r.due_at
FROM unnest(:kinds::text[]) AS k (kind)
CROSS JOIN LATERAL (
    SELECT due_at FROM core.reactions
    WHERE kind = k.kind AND due_at <= :at::timestamptz AND dead_at IS NULL AND lease IS NULL ORDER BY due_at LIMIT 1
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
-- Nobody repeats a request so old. What another worker forgets at this moment is passed over.
WITH old AS (
    SELECT key FROM core.idempotency WHERE at < :before::timestamptz ORDER BY key FOR UPDATE SKIP LOCKED
)
DELETE FROM core.idempotency i USING old o WHERE i.key = o.key;

-- name: make_api_key
-- A key is kept as its hash only.
INSERT INTO core.api_keys (key_id, name, hash, scopes, created_at, roles, permissions, sellers, locations, expires_at)
VALUES (:key_id::uuid, :name::text, :hash::bytea, :scopes::text[], :at::timestamptz, :roles::text[], :permissions::text[],
        :sellers::text[], :locations::text[], :expires_at::timestamptz);

-- name: revoke_api_key
-- A revoked key stays on record.
UPDATE core.api_keys SET revoked_at = :at::timestamptz WHERE key_id = :key_id::uuid AND revoked_at IS NULL RETURNING key_id;

-- name: api_keys
-- Some keys, or all, newest first.
SELECT key_id, name, scopes || roles AS roles, permissions, sellers, locations, created_at, expires_at, last_used_at, revoked_at
FROM core.api_keys WHERE :key_ids::uuid[] IS NULL OR key_id = any(:key_ids::uuid[]) ORDER BY created_at DESC, key_id;

-- name: api_key
-- The key with this hash that is not revoked.
SELECT key_id, name, scopes || roles AS roles, permissions, sellers, locations, expires_at, last_used_at
FROM core.api_keys WHERE hash = :hash::bytea AND revoked_at IS NULL;

-- name: note_use
-- That a key was used, unless that was written shortly before.
UPDATE core.api_keys SET last_used_at = :at::timestamptz
WHERE key_id = :key_id::uuid AND (last_used_at IS NULL OR last_used_at <= :before::timestamptz);

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

-- name: paused_accounts
-- Accounts that fail for everybody, the longest failing first.
SELECT account, failing_since, paused_until, failures, reason FROM core.paused_accounts ORDER BY failing_since, account;

-- name: paused_account
-- How long nothing is sent to an account.
SELECT paused_until FROM core.paused_accounts WHERE account = :account::text;

-- name: pause_account
-- An account fails: for a while nothing is sent to it, each time twice as long. What fails meanwhile changes nothing.
INSERT INTO core.paused_accounts AS p (account, failing_since, paused_until, failures, reason)
VALUES (:account::text, :at::timestamptz, :at::timestamptz + make_interval(secs => :first_seconds::int), 1, :reason::text)
ON CONFLICT (account) DO UPDATE
SET paused_until = :at::timestamptz
        + make_interval(secs => least(:longest_seconds::int, :first_seconds::int * power(2, least(p.failures, 20)))),
    failures = p.failures + 1, reason = excluded.reason
WHERE p.paused_until <= :at::timestamptz OR :tried::boolean
RETURNING paused_until;

-- name: try_accounts
-- The first to come tries an account whose pause is over; the others wait until that is done.
WITH over AS (
    SELECT account FROM core.paused_accounts WHERE account = any(:accounts::text[]) AND paused_until <= :at::timestamptz
    ORDER BY account
    FOR NO KEY UPDATE
)
UPDATE core.paused_accounts p SET paused_until = :until::timestamptz FROM over o WHERE p.account = o.account
RETURNING p.account;

-- name: unpause_accounts
-- These accounts serve again.
WITH serving AS (
    SELECT account FROM core.paused_accounts WHERE account = any(:accounts::text[]) ORDER BY account FOR UPDATE
)
DELETE FROM core.paused_accounts p USING serving s WHERE p.account = s.account;

-- name: end_pauses
-- Every account may be tried now.
WITH paused AS (
    SELECT account FROM core.paused_accounts WHERE paused_until > :at::timestamptz ORDER BY account FOR NO KEY UPDATE
)
UPDATE core.paused_accounts a SET paused_until = :at::timestamptz FROM paused p WHERE a.account = p.account;

-- name: take_effects
-- A worker that takes these effects is there.
INSERT INTO core.taken_effects (kind, seen_at)
SELECT kind, :at::timestamptz FROM unnest(:kinds::text[]) AS k (kind) ORDER BY kind
ON CONFLICT (kind) DO UPDATE SET seen_at = greatest(taken_effects.seen_at, excluded.seen_at);

-- name: taken_effects
-- Which effects workers take, and when one that does was last there.
SELECT kind, seen_at FROM core.taken_effects ORDER BY kind;

-- name: waiting_since
-- Which of these kinds wait, and since when.
SELECT k.kind, min(r.due_at) AS since, count(*) AS tasks
FROM unnest(:kinds::text[]) AS k (kind)
JOIN core.reactions r ON r.kind = k.kind
WHERE r.due_at <= :at::timestamptz AND r.dead_at IS NULL AND r.lease IS NULL
GROUP BY k.kind ORDER BY k.kind;

-- name: try_to_write
-- A write that says nothing, to see that writing works: each process has its row, and some share one.
INSERT INTO core.test_writes (slot, written_at) VALUES (:slot::smallint, :at::timestamptz)
ON CONFLICT (slot) DO UPDATE SET written_at = excluded.written_at;

-- name: try_room
-- A few hundred kilobytes that do not fit into memory: they need room where the database's files are, and give it back at once.
SELECT count(*) FROM generate_series(1, 16384);
