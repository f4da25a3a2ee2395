-- name: record_events
-- Facts are only ever added, with what follows from them. Those of one call are a set, which has no position in the log until it is
-- committed.
WITH noted AS (
    INSERT INTO core.event_sets (set_id, events) VALUES (:set_id::uuid, :events::int)
), queued AS (
    INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
    SELECT * FROM unnest(:due_buckets::smallint[], :due_ids::uuid[], :due_kinds::text[], :due_subject_ids::uuid[],
                         :due_event_ids::uuid[], :due_ats::timestamptz[], :due_data::jsonb[])
)
INSERT INTO core.events (subject_id, id, kind, at, data, set_id, place)
SELECT subject_id, id, kind, at, data, :set_id::uuid, place
FROM unnest(:subject_ids::uuid[], :ids::uuid[], :kinds::text[], :ats::timestamptz[], :data::jsonb[])
    WITH ORDINALITY AS e (subject_id, id, kind, at, data, place);

-- name: log_head
-- Whose log this is, its last position, and the last subject that has events from before the log.
SELECT log_id, head, last_before FROM core.log_head;

-- name: anything_new
-- Is there anything without a position: sets, or events that the version before the log has written?
SELECT (SELECT set_id FROM core.event_sets WHERE position IS NULL ORDER BY written, set_id LIMIT 1) IS NOT NULL AS sets,
       (SELECT set_id FROM core.events WHERE set_id = '00000000-0000-0000-0000-000000000000' ORDER BY set_id, place LIMIT 1) IS NOT NULL
           AS strays;

-- name: hold_log
-- The log for the rest of the transaction; no row back means that another worker gives positions at this moment.
SELECT head, clock_timestamp() AS at FROM core.log_head FOR NO KEY UPDATE SKIP LOCKED;

-- name: adopt_events
-- What the version before the log has written while both ran becomes a set, which comes before whatever else has no position.
WITH strays AS (
    SELECT subject_id, id, row_number() OVER (ORDER BY at, id)::int AS place
    FROM (SELECT subject_id, id, at FROM core.events WHERE set_id = '00000000-0000-0000-0000-000000000000'
          ORDER BY at, id LIMIT :limit::int) AS oldest
), adopted AS (
    UPDATE core.events e SET set_id = :set_id::uuid, place = s.place FROM strays s
    WHERE e.subject_id = s.subject_id AND e.id = s.id
    RETURNING e.id
)
INSERT INTO core.event_sets (set_id, events, written)
SELECT :set_id::uuid, count(*), '0/0' FROM adopted HAVING count(*) > 0
RETURNING events;

-- name: waiting_sets
-- Committed sets without a position, in the order in which they were written. What was written at a place that the server has not
-- reached was written by another one, from which this database was restored, and comes first.
WITH present AS (
    SELECT pg_current_wal_insert_lsn() AS reached
), waiting AS (
    (SELECT set_id, written, 0 AS turn FROM core.event_sets
     WHERE position IS NULL AND written > (SELECT reached FROM present) ORDER BY written, set_id LIMIT :limit::int)
    UNION ALL
    (SELECT set_id, written, 1 FROM core.event_sets
     WHERE position IS NULL AND written <= (SELECT reached FROM present) ORDER BY written, set_id LIMIT :limit::int)
)
SELECT set_id FROM waiting ORDER BY turn, written, set_id LIMIT :limit::int;

-- name: position_sets
-- These sets get the next positions, in this order.
UPDATE core.event_sets s SET position = :head::bigint + i.n
FROM unnest(:set_ids::uuid[]) WITH ORDINALITY AS i (set_id, n) WHERE s.set_id = i.set_id;

-- name: move_head
-- So far the log goes now. ``drained_at``: everything that was committed then has its position.
UPDATE core.log_head SET head = :head::bigint, drained_at = coalesce(:drained_at::timestamptz, drained_at) WHERE one;

-- name: sets_after
-- The sets from a position on, in order.
SELECT position, set_id, events, recorded_at FROM core.event_sets
WHERE position >= :position::bigint ORDER BY position LIMIT :limit::int;

-- name: events_of_sets
-- The events of some sets, in order, from a place of the first set on; of some kinds, or of all.
SELECT s.n, e.place, e.subject_id, e.id, e.kind, e.at, e.data
FROM unnest(:set_ids::uuid[]) WITH ORDINALITY AS s (set_id, n)
JOIN core.events e ON e.set_id = s.set_id AND e.set_id IS NOT NULL
WHERE (s.n > 1 OR e.place > :place::int)
  AND (CAST(:kinds AS text[]) IS NULL OR e.kind = any(CAST(:kinds AS text[])))
ORDER BY s.n, e.place LIMIT :limit::int;

-- name: events_before_the_log
-- Events from before the log, subject by subject.
SELECT subject_id, id, kind, at, data FROM core.events
WHERE set_id IS NULL AND (subject_id, id) > (:subject_id::uuid, :id::uuid) AND subject_id <= :last::uuid
ORDER BY subject_id, id LIMIT :limit::int;

-- name: events_by_id
-- Some events, with their places in the log.
SELECT e.subject_id, e.id, e.kind, e.at, e.data, s.position, e.place, s.events, s.recorded_at
FROM unnest(:subject_ids::uuid[], :ids::uuid[]) AS i (subject_id, id)
JOIN core.events e ON e.subject_id = i.subject_id AND e.id = i.id /* on shards: AND e.subject_id = any(:subject_ids::uuid[]) */
LEFT JOIN core.event_sets s ON s.set_id = e.set_id
ORDER BY s.position NULLS FIRST, e.place, e.subject_id, e.id;

-- name: make_subscription
-- Who follows the log, and from where: its beginning, or its end as it is now. No row back means that the name is taken.
INSERT INTO core.subscriptions (name, reader, kinds, position, place, created_at)
SELECT :name::text, :reader::text, CAST(:kinds AS text[]), CASE WHEN :from_now::boolean THEN head ELSE 0 END,
       CASE WHEN :from_now::boolean THEN 2147483647 ELSE 0 END, :at::timestamptz
FROM core.log_head
ON CONFLICT (name) DO NOTHING RETURNING name;

-- name: subscriptions
-- Who follows the log, and how far each has come.
SELECT s.name, s.reader, s.kinds, s.position, s.place, s.subject_id, s.event_id, s.created_at, s.moved_at,
       greatest(0, h.head - s.position + CASE WHEN s.place = 2147483647 THEN 0 WHEN s.position = 0 AND h.last_before IS NULL THEN 0
                                              ELSE 1 END) AS sets_behind
FROM core.subscriptions s CROSS JOIN core.log_head h
WHERE :name::text IS NULL OR s.name = :name::text
ORDER BY s.name;

-- name: subscriptions_behind
-- Which of these subscriptions have something to read.
SELECT s.name FROM core.subscriptions s CROSS JOIN core.log_head h
WHERE s.name = any(:names::text[]) AND s.reader = 'stage' AND (s.position < h.head OR s.place < 2147483647)
ORDER BY s.name;

-- name: hold_subscription
-- A subscription for the rest of the transaction; no row back means that another worker is at it.
SELECT position, place, subject_id, event_id FROM core.subscriptions
WHERE name = :name::text AND reader = 'stage' FOR NO KEY UPDATE SKIP LOCKED;

-- name: say_kinds
-- What a stage follows now.
UPDATE core.subscriptions SET kinds = CAST(:kinds AS text[])
WHERE name = :name::text AND reader = 'stage' AND kinds IS DISTINCT FROM CAST(:kinds AS text[]);

-- name: move_subscription
-- So far a subscription has come; it goes forward only. No row back means that it is there or further already.
UPDATE core.subscriptions SET position = :position::bigint, place = :place::int, subject_id = :subject_id::uuid,
    event_id = :event_id::uuid, moved_at = :at::timestamptz
WHERE name = :name::text
  AND (position, place, coalesce(subject_id, '00000000-0000-0000-0000-000000000000'),
       coalesce(event_id, '00000000-0000-0000-0000-000000000000'))
    < (:position::bigint, :place::int, coalesce(:subject_id::uuid, '00000000-0000-0000-0000-000000000000'),
       coalesce(:event_id::uuid, '00000000-0000-0000-0000-000000000000'))
RETURNING name;

-- name: drop_subscription
-- Nobody follows under this name any more.
DELETE FROM core.subscriptions WHERE name = :name::text AND reader = 'program' RETURNING name;

-- name: enqueue
-- Reactions without an event of their own, in the transaction after which they are to run.
INSERT INTO core.reactions (bucket, id, kind, subject_id, event_id, due_at, data)
SELECT * FROM unnest(:buckets::smallint[], :ids::uuid[], :kinds::text[], :subject_ids::uuid[], :event_ids::uuid[],
                     :ats::timestamptz[], :data::jsonb[]);

-- name: timeline
-- Everything that happened to one subject, oldest first.
SELECT id, kind, at, data FROM core.events WHERE subject_id = :subject_id::uuid ORDER BY at, id;

-- name: hold_due
-- Due reactions of one kind, locked for the rest of the transaction; what another worker holds is passed over.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, failure, waiting_since
FROM core.reactions
WHERE kind = :kind::text AND due_at <= :at::timestamptz AND coalesce(wait_until, '-infinity') <= :wall_at::timestamptz
  AND dead_at IS NULL AND bucket = any(CAST(:buckets AS smallint[]))
ORDER BY due_at, id
LIMIT :limit::int
FOR UPDATE SKIP LOCKED;

-- name: hold_one
-- One reaction, if nobody else has it and it is still to be done.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, failure, waiting_since
FROM core.reactions
WHERE bucket = :bucket::smallint AND id = :id::uuid AND dead_at IS NULL AND due_at <= :at::timestamptz
  AND coalesce(wait_until, '-infinity') <= :wall_at::timestamptz
FOR UPDATE SKIP LOCKED;

-- name: lease_due
-- Take due reactions while they are called: until the lease ends, by the database's clock, only its holder may finish them. What
-- calls one of ``passed_over`` accounts stays, and of each of ``accounts`` what exceeds its room.
WITH due AS (
    SELECT bucket, id, account, due_at FROM core.reactions
    WHERE kind = :kind::text AND due_at <= :at::timestamptz AND coalesce(wait_until, '-infinity') <= :wall_at::timestamptz
      AND dead_at IS NULL AND lease IS NULL
      AND (account IS NULL OR account <> all(CAST(:passed_over AS text[])))
      AND bucket = any(CAST(:buckets AS smallint[]))
    ORDER BY due_at, id
    LIMIT :limit::int
    FOR UPDATE SKIP LOCKED
), ranked AS (
    SELECT bucket, id, account, row_number() OVER (PARTITION BY account ORDER BY due_at, id) AS n FROM due
), taken AS (
    SELECT k.bucket, k.id FROM ranked k
    LEFT JOIN unnest(:accounts::text[], :rooms::int[]) AS a (account, room) ON a.account = k.account
    WHERE a.room IS NULL OR k.n <= a.room
)
UPDATE core.reactions r SET lease = :lease::uuid, leased_until = :until::timestamptz, wait_until = NULL, attempts = attempts + 1
FROM taken t WHERE r.bucket = t.bucket AND r.id = t.id
RETURNING r.bucket, r.id, r.kind, r.subject_id, r.event_id, r.due_at, r.data, r.attempts, r.failure, r.waiting_since;

-- name: unlease
-- What was leased without anybody knowing is as due as before. Nobody has called it.
WITH leased AS (
    SELECT bucket, id FROM core.reactions WHERE lease IS NOT NULL AND lease = :lease::uuid
    ORDER BY bucket, id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE core.reactions r SET lease = NULL, leased_until = NULL, attempts = greatest(0, r.attempts - 1)
FROM leased l WHERE r.bucket = l.bucket AND r.id = l.id;

-- name: without_account
-- Due effects of one kind of which nobody has found out yet whom they call. Nobody holds them.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, failure, waiting_since
FROM core.reactions
WHERE kind = :kind::text AND due_at <= :at::timestamptz AND coalesce(wait_until, '-infinity') <= :wall_at::timestamptz
  AND dead_at IS NULL AND lease IS NULL AND account IS NULL
ORDER BY due_at, id
LIMIT :limit::int;

-- name: write_accounts
-- Whom these effects call. What somebody has taken up meanwhile is passed over.
WITH found AS (
    SELECT r.bucket, r.id, f.account
    FROM core.reactions r
    JOIN unnest(:buckets::smallint[], :ids::uuid[], :accounts::text[]) AS f (bucket, id, account) USING (bucket, id)
    WHERE r.lease IS NULL AND r.account IS NULL /* on shards: AND r.bucket = any(:buckets::smallint[]) */
    ORDER BY r.bucket, r.id
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE core.reactions r SET account = f.account FROM found f WHERE r.bucket = f.bucket AND r.id = f.id;

-- name: renew_leases
-- The holder still calls these: their leases end later. What is being settled at this moment is passed over; a row that is not
-- returned was not renewed.
WITH held AS (
    SELECT r.bucket, r.id
    FROM core.reactions r
    JOIN unnest(:buckets::smallint[], :ids::uuid[], :leases::uuid[]) AS h (bucket, id, lease) USING (bucket, id, lease)
    WHERE r.lease IS NOT NULL /* on shards: AND r.bucket = any(:buckets::smallint[]) */
    ORDER BY r.bucket, r.id
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE core.reactions r SET leased_until = :until::timestamptz
FROM held h WHERE r.bucket = h.bucket AND r.id = h.id
RETURNING r.id;

-- name: free_expired
-- Whoever held these is gone: they are due, and what they asked for may have been done. What somebody settles at this moment is
-- passed over. Leases of before ``leased_until`` end at ``due_at``.
WITH expired AS (
    SELECT bucket, id FROM core.reactions
    WHERE lease IS NOT NULL AND coalesce(leased_until, due_at) <= :wall_at::timestamptz
    ORDER BY bucket, id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE core.reactions r
SET lease = NULL, leased_until = NULL, last_error = :error::text,
    failure = CASE r.failure WHEN 'not_written_down' THEN r.failure ELSE 'answer_lost' END,
    due_at = CASE WHEN r.leased_until IS NULL THEN :at::timestamptz ELSE r.due_at END
FROM expired e WHERE r.bucket = e.bucket AND r.id = e.id
RETURNING r.id;

-- name: finish
-- What is done leaves. Ids are unique across buckets.
DELETE FROM core.reactions
WHERE bucket = any(:buckets::smallint[]) AND id = any(:ids::uuid[]) AND lease IS NULL
RETURNING id;

-- name: finish_leased
-- What was called and answered leaves, also if its lease was ended meanwhile; a row that is not returned is called by another.
DELETE FROM core.reactions r
USING unnest(:buckets::smallint[], :ids::uuid[], :leases::uuid[]) AS d (bucket, id, lease)
WHERE r.bucket = d.bucket AND r.id = d.id AND (r.lease = d.lease OR (r.lease IS NULL AND r.dead_at IS NULL)) /* on shards: AND r.bucket = any(:buckets::smallint[]) */
RETURNING r.id;

-- name: postpone
-- What is not done waits, or is put aside for a person. Without a new error the last one stays. Whoever has taken it over decides
-- for themselves.
UPDATE core.reactions r
SET attempts = p.attempts, wait_until = p.wait_until, dead_at = p.dead_at, lease = NULL, leased_until = NULL,
    waiting_since = CASE WHEN p.error IS NULL THEN r.waiting_since ELSE coalesce(r.waiting_since, :wall_at::timestamptz) END,
    failure = CASE WHEN p.error IS NULL THEN r.failure ELSE p.failure END,
    last_error = coalesce(p.error, r.last_error), account = coalesce(p.account, r.account)
FROM unnest(:buckets::smallint[], :ids::uuid[], :leases::uuid[], :attempts::int[], :wait_untils::timestamptz[], :errors::text[],
            :failures::text[], :accounts::text[], :dead_ats::timestamptz[])
     AS p (bucket, id, lease, attempts, wait_until, error, failure, account, dead_at)
WHERE r.bucket = p.bucket AND r.id = p.id AND r.lease IS NOT DISTINCT FROM p.lease
  /* on shards: AND r.bucket = any(:buckets::smallint[]) */;

-- name: dead_letters
-- What needs a person, oldest first.
SELECT bucket, id, kind, subject_id, event_id, due_at, data, attempts, last_error, dead_at, failure
FROM core.reactions WHERE dead_at IS NOT NULL ORDER BY dead_at, id LIMIT :limit::int;

-- name: replay
-- A person says: try these again.
WITH dead AS (
    SELECT bucket, id FROM core.reactions WHERE id = any(:ids::uuid[]) AND dead_at IS NOT NULL
    ORDER BY bucket, id
    FOR NO KEY UPDATE
)
UPDATE core.reactions r
SET dead_at = NULL, attempts = 0, due_at = :at::timestamptz, wait_until = NULL, waiting_since = NULL, lease = NULL,
    leased_until = NULL, failure = NULL, account = NULL
FROM dead d WHERE r.bucket = d.bucket AND r.id = d.id
RETURNING r.id;

-- name: due_kinds
-- The oldest due time of each of these kinds, NULL where nothing is due: one look into the index a kind. And what time it is here.
SELECT k.kind, r.due_at, clock_timestamp() AS database_at
FROM unnest(:kinds::text[]) AS k (kind)
LEFT JOIN LATERAL (
    SELECT due_at FROM core.reactions
    WHERE kind = k.kind AND due_at <= :at::timestamptz AND coalesce(wait_until, '-infinity') <= :wall_at::timestamptz
      AND dead_at IS NULL AND lease IS NULL
    ORDER BY due_at LIMIT 1
) AS r ON true;

-- name: database_time
-- The time of the database, which leases, waits and pauses are told by.
SELECT clock_timestamp() AS at;

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
-- The first to bring a key may do the work; no row back means that somebody was here before. Keys age by the database's clock.
INSERT INTO core.idempotency (key, digest, status, body, at)
VALUES (:key::text, :digest::bytea, 0, ''::bytea, now())
ON CONFLICT (key) DO NOTHING RETURNING key;

-- name: keep_answer
-- The answer that every repeat of the key will get.
UPDATE core.idempotency SET status = :status::smallint, body = :body::bytea WHERE key = :key::text;

-- name: first_answer
-- What was answered to the first request with this key.
SELECT digest, status, body FROM core.idempotency WHERE key = :key::text;

-- name: forget_answers
-- Nobody repeats a request so old. As many at once as a statement should; what somebody has at this moment is passed over.
WITH old AS (
    SELECT key FROM core.idempotency WHERE at < now() - make_interval(days => :days::int) LIMIT :limit::int FOR UPDATE SKIP LOCKED
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

-- name: know_duties
-- Recurring work that nobody has done yet.
INSERT INTO core.duties (name, done_at) SELECT name, to_timestamp(0) FROM unnest(:names::text[]) AS n (name) ORDER BY name
ON CONFLICT (name) DO NOTHING;

-- name: set_intervals
-- How often it is to be done from now on; what is due later than that becomes due sooner. What is being done says so itself.
WITH other AS (
    SELECT d.name, n.every_seconds
    FROM core.duties d JOIN unnest(:names::text[], CAST(:intervals AS double precision[])) AS n (name, every_seconds) USING (name)
    WHERE d.every_seconds IS DISTINCT FROM n.every_seconds
    ORDER BY d.name
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE core.duties d
SET every_seconds = o.every_seconds,
    next_at = CASE WHEN d.next_at IS NOT NULL THEN least(d.next_at, now() + make_interval(secs => o.every_seconds)) END
FROM other o WHERE d.name = o.name;

-- name: duty_times
-- In how many seconds each of these is due, or its lease ends.
SELECT name, extract(epoch FROM coalesce(greatest(next_at, leased_until), now()) - now())::float8 AS in_seconds
FROM core.duties WHERE name = any(CAST(:names AS text[]));

-- name: hold_duty
-- Recurring work for the rest of the transaction, if it is due (or is to be done anyway); no row back means that another worker is at
-- it, or has just done it.
SELECT name, done_at AS since FROM core.duties
WHERE name = :name::text AND (:anyway::boolean OR next_at IS NULL OR next_at <= now()) AND (lease IS NULL OR leased_until <= now())
FOR NO KEY UPDATE SKIP LOCKED;

-- name: lease_duty
-- Recurring work for as long as the lease is renewed, if it is due (or is to be done anyway) and nobody else is at it.
WITH due AS (
    SELECT name, done_at FROM core.duties
    WHERE name = :name::text AND (:anyway::boolean OR next_at IS NULL OR next_at <= now()) AND (lease IS NULL OR leased_until <= now())
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE core.duties d
SET lease = :lease::uuid, leased_until = now() + make_interval(secs => :lease_seconds::float8), begun_at = now()
FROM due WHERE d.name = due.name RETURNING due.done_at AS since;

-- name: renew_duty
-- The lease goes on; no row back means that another worker has taken the work over.
UPDATE core.duties SET leased_until = now() + make_interval(secs => :lease_seconds::float8)
WHERE name = :name::text AND lease = :lease::uuid RETURNING name;

-- name: ask_for_duty
-- Is the lease still this worker's? Then nobody takes it over before the transaction ends.
SELECT name FROM core.duties WHERE name = :name::text AND lease = :lease::uuid FOR NO KEY UPDATE;

-- name: end_duty
-- It was done, and is due again one interval after it was begun.
UPDATE core.duties
SET done_at = :at::timestamptz, begun_at = CASE WHEN lease IS NULL THEN now() ELSE begun_at END, every_seconds = :every_seconds::float8,
    next_at = CASE WHEN lease IS NULL THEN now() ELSE begun_at END + make_interval(secs => :every_seconds::float8),
    took_seconds = :took_seconds::float8, failures = 0, lease = NULL, leased_until = NULL
WHERE name = :name::text AND lease IS NOT DISTINCT FROM :lease::uuid RETURNING name;

-- name: fail_duty
-- It failed, says why, and is tried again one interval later.
UPDATE core.duties
SET begun_at = CASE WHEN lease IS NULL THEN now() ELSE begun_at END, next_at = now() + make_interval(secs => :every_seconds::float8),
    took_seconds = :took_seconds::float8, failures = failures + 1, failed_at = now(), last_error = :error::text,
    lease = NULL, leased_until = NULL
WHERE name = :name::text AND lease IS NOT DISTINCT FROM :lease::uuid;

-- name: let_go_duty
-- Whoever was at it stops in the middle: it is as due as before.
UPDATE core.duties SET lease = NULL, leased_until = NULL WHERE name = :name::text AND lease = :lease::uuid;

-- name: duties
-- All recurring work, and how it went last.
SELECT name, every_seconds, next_at, begun_at AS last_run_at, took_seconds, failures, failed_at, last_error,
       lease IS NOT NULL AND leased_until > now() AS running
FROM core.duties ORDER BY name;

-- name: start_job
-- A job, to begin after so many seconds.
INSERT INTO core.jobs (job_id, kind, parameters, state, started_by, created_at, starts_at, has_rows, total, key_id)
VALUES (:job_id::uuid, :kind::text, :parameters::jsonb, 'queued', :started_by::text, now(),
        now() + make_interval(secs => :delay_seconds::float8), :has_rows::boolean, :total::bigint, :key_id::uuid);

-- name: share_api_key
-- Nobody revokes this key until the transaction ends; no row back means that it is revoked.
SELECT key_id FROM core.api_keys WHERE key_id = :key_id::uuid AND revoked_at IS NULL FOR SHARE;

-- name: cancel_jobs_of_key
-- What a key has started ends: what has not begun never does, what runs ends between two rows.
WITH unfinished AS (
    SELECT job_id FROM core.jobs WHERE key_id = :key_id::uuid AND state IN ('queued', 'running')
    ORDER BY job_id FOR NO KEY UPDATE
)
UPDATE core.jobs j
SET came_from = state, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END,
    finished_at = CASE state WHEN 'queued' THEN now() END, error_code = 'key_revoked', error = :error::text
FROM unfinished u WHERE j.job_id = u.job_id RETURNING j.job_id, j.state;

-- name: add_job_rows
-- What a job is to do, or has to show. A row that cannot be done is refused from the start.
INSERT INTO core.job_rows (job_id, row_no, subject, input, outcome, code, detail, pointer, output)
SELECT :job_id::uuid, r.row_no, r.subject, r.input, r.outcome, r.code, r.detail, r.pointer, r.output
FROM unnest(:row_nos::bigint[], :subjects::text[], :inputs::jsonb[], :outcomes::text[], :codes::text[], :details::text[],
            :pointers::text[], :outputs::jsonb[]) AS r (row_no, subject, input, outcome, code, detail, pointer, output);

-- name: count_job_rows
-- A job's rows are all there.
UPDATE core.jobs SET total = :total::bigint, done = :done::bigint, refused = :done::bigint
WHERE job_id = :job_id::uuid AND state = 'queued';

-- name: due_jobs
-- Which of these kinds have a job that is to be begun or gone on with.
SELECT DISTINCT kind FROM core.jobs
WHERE kind = any(CAST(:kinds AS text[])) AND state IN ('queued', 'running', 'cancelling') AND starts_at <= now()
  AND (lease IS NULL OR leased_until <= now());

-- name: lease_job
-- Of these kinds, the job that has waited the longest since it was last served. Until the lease ends, nobody else has it.
WITH due AS (
    SELECT job_id FROM core.jobs
    WHERE kind = any(CAST(:kinds AS text[])) AND state IN ('queued', 'running', 'cancelling') AND starts_at <= now()
      AND (lease IS NULL OR leased_until <= now())
    ORDER BY coalesce(served_at, starts_at), job_id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE core.jobs j
SET lease = :lease::uuid, leased_until = now() + make_interval(secs => :lease_seconds::float8), served_at = now(), tries = tries + 1,
    begun_at = coalesce(begun_at, now()), came_from = CASE state WHEN 'queued' THEN 'queued' ELSE came_from END,
    state = CASE state WHEN 'queued' THEN 'running' ELSE state END
FROM due WHERE j.job_id = due.job_id
RETURNING j.job_id, j.kind, j.parameters, j.state, j.started_by, j.total, j.done, j.cursor, j.tries;

-- name: renew_job
-- The lease goes on; no row back means that another worker has taken the job over.
UPDATE core.jobs SET leased_until = now() + make_interval(secs => :lease_seconds::float8)
WHERE job_id = :job_id::uuid AND lease = :lease::uuid RETURNING state;

-- name: open_job_rows
-- What is still to be done, in order.
SELECT row_no, subject, input FROM core.job_rows
WHERE job_id = :job_id::uuid AND outcome IS NULL ORDER BY row_no LIMIT :limit::int;

-- name: settle_job_rows
-- What became of rows, in the transaction that did it.
UPDATE core.job_rows r
SET outcome = o.outcome, code = o.code, detail = o.detail, pointer = o.pointer, output = o.output, input = NULL
FROM unnest(:row_nos::bigint[], :outcomes::text[], :codes::text[], :details::text[], :pointers::text[], :outputs::jsonb[])
     AS o (row_no, outcome, code, detail, pointer, output)
WHERE r.job_id = :job_id::uuid AND r.row_no = o.row_no;

-- name: advance_job
-- So many rows more are done; no row back means that another worker has taken the job over.
UPDATE core.jobs SET done = done + :done::bigint, refused = refused + :refused::bigint, tries = 0
WHERE job_id = :job_id::uuid AND lease = :lease::uuid RETURNING state, total, done;

-- name: keep_step
-- A job without rows has come so far; no row back means that another worker has taken it over.
UPDATE core.jobs
SET done = done + :done::bigint, cursor = :cursor::jsonb, tries = 0,
    total = CASE WHEN :finished::boolean THEN done + :done::bigint ELSE greatest(:total::bigint, done + :done::bigint) END
WHERE job_id = :job_id::uuid AND lease = :lease::uuid RETURNING state, total, done;

-- name: end_job
-- The job is over. Nobody takes it up again.
UPDATE core.jobs
SET came_from = state, state = :state::text, finished_at = now(), result = :result::jsonb,
    error_code = CASE :state::text WHEN 'cancelled' THEN error_code ELSE :error_code::text END,
    error = CASE :state::text WHEN 'cancelled' THEN error ELSE :error::text END, cursor = NULL, lease = NULL, leased_until = NULL
WHERE job_id = :job_id::uuid AND lease = :lease::uuid RETURNING job_id;

-- name: let_go_job
-- Whoever comes next goes on with it.
UPDATE core.jobs SET lease = NULL, leased_until = NULL WHERE job_id = :job_id::uuid AND lease = :lease::uuid;

-- name: cancel_job
-- One that has not begun never does; one that runs ends between two rows.
UPDATE core.jobs
SET came_from = state, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END,
    finished_at = CASE state WHEN 'queued' THEN now() END
WHERE job_id = :job_id::uuid AND state IN ('queued', 'running') RETURNING state;

-- name: revoke_job
-- It never begins; no row back means that it has begun already, or is over.
UPDATE core.jobs SET came_from = state, state = 'cancelled', finished_at = now()
WHERE job_id = :job_id::uuid AND state = 'queued' RETURNING state;

-- name: forget_inputs
-- What will not be done any more need not be known.
UPDATE core.job_rows SET input = NULL WHERE job_id = :job_id::uuid AND outcome IS NULL AND input IS NOT NULL;

-- name: list_jobs
-- Jobs, newest first, a page at a time.
SELECT job_id, kind, parameters, state, started_by, created_at, starts_at, begun_at, finished_at, total, done, refused, error_code, error
FROM core.jobs
WHERE job_id < :before::uuid AND (:state::text IS NULL OR state = :state::text) AND (:kind::text IS NULL OR kind = :kind::text)
ORDER BY job_id DESC LIMIT :limit::int;

-- name: job
-- One job.
SELECT job_id, kind, parameters, state, started_by, created_at, starts_at, begun_at, finished_at, total, done, refused, error_code, error
FROM core.jobs WHERE job_id = :job_id::uuid;

-- name: job_result
-- What a job came to.
SELECT kind, state, has_rows, result FROM core.jobs WHERE job_id = :job_id::uuid;

-- name: job_rows
-- What became of a job's rows, in order, a page at a time.
SELECT row_no, subject, coalesce(outcome, 'open') AS outcome, code, detail, pointer, output FROM core.job_rows
WHERE job_id = :job_id::uuid AND row_no > :after::bigint
ORDER BY row_no LIMIT :limit::int;

-- name: job_rows_refused
-- Those that were refused.
SELECT row_no, subject, outcome, code, detail, pointer, output FROM core.job_rows
WHERE job_id = :job_id::uuid AND row_no > :after::bigint AND outcome = 'refused'
ORDER BY row_no LIMIT :limit::int;

-- name: job_rows_ok
-- Those that were done.
SELECT row_no, subject, outcome, code, detail, pointer, output FROM core.job_rows
WHERE job_id = :job_id::uuid AND row_no > :after::bigint AND outcome = 'ok'
ORDER BY row_no LIMIT :limit::int;

-- name: job_rows_open
-- Those that are still to be done, or never will be.
SELECT row_no, subject, 'open' AS outcome, code, detail, pointer, output FROM core.job_rows
WHERE job_id = :job_id::uuid AND row_no > :after::bigint AND outcome IS NULL
ORDER BY row_no LIMIT :limit::int;

-- name: old_jobs
-- Jobs that were over so many days ago, the oldest first.
SELECT job_id FROM core.jobs WHERE finished_at < now() - make_interval(days => :days::int) ORDER BY finished_at, job_id LIMIT :limit::int;

-- name: begin_to_forget
-- From now on its rows no longer count.
UPDATE core.jobs SET has_rows = false WHERE job_id = :job_id::uuid AND has_rows;

-- name: forget_job_rows
-- Rows of a job that is over, as many at once as a statement should.
WITH old AS (
    SELECT job_id, row_no FROM core.job_rows WHERE job_id = :job_id::uuid ORDER BY row_no LIMIT :limit::int FOR UPDATE
)
DELETE FROM core.job_rows r USING old o WHERE r.job_id = o.job_id AND r.row_no = o.row_no RETURNING r.row_no;

-- name: forget_job
-- A job that is over and has no rows left.
DELETE FROM core.jobs WHERE job_id = :job_id::uuid;

-- name: dead_letter_ids
-- What failed too often, of one kind or of all.
SELECT id FROM core.reactions WHERE dead_at IS NOT NULL AND (:kind::text IS NULL OR kind = :kind::text) ORDER BY dead_at, id;

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
-- An account fails: for a while nothing is sent to it, each time twice as long, and until ``not_before`` at least. What fails
-- meanwhile changes nothing, unless the account asks for a longer pause.
INSERT INTO core.paused_accounts AS p (account, failing_since, paused_until, failures, reason)
VALUES (:account::text, :at::timestamptz,
        greatest(:at::timestamptz + make_interval(secs => :first_seconds::int), :not_before::timestamptz), 1, :reason::text)
ON CONFLICT (account) DO UPDATE
SET paused_until = greatest(
        CASE WHEN p.paused_until <= :at::timestamptz OR :tried::boolean
             THEN :at::timestamptz
                  + make_interval(secs => least(:longest_seconds::int, :first_seconds::int * power(2, least(p.failures, 20))))
             ELSE p.paused_until END,
        :not_before::timestamptz),
    failures = p.failures + CASE WHEN p.paused_until <= :at::timestamptz OR :tried::boolean THEN 1 ELSE 0 END,
    reason = excluded.reason
WHERE p.paused_until <= :at::timestamptz OR :tried::boolean OR p.paused_until < :not_before::timestamptz
RETURNING paused_until;

-- name: resume_account
-- A person says: try this account now. One call does.
UPDATE core.paused_accounts SET paused_until = least(paused_until, :at::timestamptz) WHERE account = :account::text
RETURNING account, failing_since, paused_until, failures, reason;

-- name: try_accounts
-- The first to come tries an account whose pause is over; the others wait until that is done.
WITH over AS (
    SELECT account FROM core.paused_accounts WHERE account = any(:accounts::text[]) AND paused_until <= :at::timestamptz
    ORDER BY account
    FOR NO KEY UPDATE
)
UPDATE core.paused_accounts p SET paused_until = :until::timestamptz FROM over o WHERE p.account = o.account
RETURNING p.account;

-- name: leave_untried
-- Whoever was to try these accounts found nothing out: others do. What somebody has decided meanwhile stands.
WITH claimed AS (
    SELECT p.account, c.again_at
    FROM core.paused_accounts p
    JOIN unnest(:accounts::text[], :untils::timestamptz[], :again_ats::timestamptz[]) AS c (account, until, again_at)
        ON c.account = p.account AND c.until = p.paused_until
    ORDER BY p.account
    FOR NO KEY UPDATE OF p
)
UPDATE core.paused_accounts p SET paused_until = c.again_at FROM claimed c WHERE p.account = c.account;

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

-- name: was_taken
-- Did some worker take this effect within so many seconds, in wall time?
SELECT EXISTS (
    SELECT FROM core.taken_effects
    WHERE kind = :kind::text AND seen_at >= clock_timestamp() - make_interval(secs => :seconds::float8)
) AS taken;

-- name: waiting_since
-- Which of these kinds wait, and since when.
SELECT k.kind, min(r.due_at) AS since, count(*) AS tasks
FROM unnest(:kinds::text[]) AS k (kind)
JOIN core.reactions r ON r.kind = k.kind
WHERE r.due_at <= :at::timestamptz AND coalesce(r.wait_until, '-infinity') <= :wall_at::timestamptz AND r.dead_at IS NULL
  AND r.lease IS NULL
GROUP BY k.kind ORDER BY k.kind;

-- name: failing
-- How many of these kinds failed in which way and are tried again, and how many are being called.
SELECT k.kind, r.failure, count(*) FILTER (WHERE r.failure IS NOT NULL AND r.lease IS NULL) AS tasks,
       count(*) FILTER (WHERE r.lease IS NOT NULL) AS calling
FROM unnest(:kinds::text[]) AS k (kind)
JOIN core.reactions r ON r.kind = k.kind
WHERE r.dead_at IS NULL
GROUP BY k.kind, r.failure ORDER BY k.kind, r.failure;

-- name: try_to_write
-- A write that says nothing, to see that writing works: each process has its row, and some share one.
INSERT INTO core.test_writes (slot, written_at) VALUES (:slot::smallint, :at::timestamptz)
ON CONFLICT (slot) DO UPDATE SET written_at = excluded.written_at;

-- name: try_room
-- A few hundred kilobytes that do not fit into memory: they need room where the database's files are, and give it back at once.
SELECT count(*) FROM generate_series(1, 16384);
