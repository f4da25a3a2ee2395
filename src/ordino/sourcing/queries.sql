-- profiles -----------------------------------------------------------------------------------------------------------

-- name: live_profiles
-- What decides now, and what decides beside it.
SELECT version, name, document, active, shadow FROM sourcing.profiles WHERE active OR shadow ORDER BY version;

-- name: profile
-- One version.
SELECT version, name, document, active, shadow, created_at, activated_at FROM sourcing.profiles WHERE version = :version::int;

-- name: profiles
-- Every version, newest first.
SELECT version, name, active, shadow, created_at, activated_at FROM sourcing.profiles ORDER BY version DESC;

-- name: draft_profile
-- A new version; what a version says never changes.
INSERT INTO sourcing.profiles (version, name, document, created_at)
SELECT coalesce(max(version), 0) + 1, :name::text, :document::text, :at::timestamptz FROM sourcing.profiles
RETURNING version;

-- name: retire_profile
-- No version of this name decides any more.
UPDATE sourcing.profiles SET active = false WHERE name = :name::text AND active RETURNING version;

-- name: activate_profile
-- From now on this version decides.
UPDATE sourcing.profiles SET active = true, activated_at = :at::timestamptz WHERE version = :version::int RETURNING version;

-- name: shadow_profile
-- A version begins or ends to decide beside the active ones.
UPDATE sourcing.profiles SET shadow = :on::boolean WHERE version = :version::int RETURNING version;

-- name: vocabulary
-- The codes that a profile may speak of.
SELECT 'location' AS kind, code FROM network.locations
UNION ALL SELECT 'tag', unnest(tags) FROM network.locations
UNION ALL SELECT 'channel', code FROM catalog.channels
UNION ALL SELECT 'seller', code FROM catalog.sellers;

-- decisions ----------------------------------------------------------------------------------------------------------

-- name: record_decisions
-- Every decision with its reasons.
INSERT INTO sourcing.decisions (order_id, cause_id, profile_version, at, explanation)
SELECT d.order_id, d.cause_id, d.profile_version, :at::timestamptz, d.explanation
FROM unnest(:order_ids::uuid[], :cause_ids::uuid[], :profile_versions::int[], :explanations::json[])
    AS d (order_id, cause_id, profile_version, explanation);

-- name: decisions
-- Why an order's units come from where they come from, oldest decision first.
SELECT cause_id, profile_version, at, explanation FROM sourcing.decisions WHERE order_id = :order_id::uuid ORDER BY at, cause_id;

-- name: outlook
-- What is expected to be asked of positions, and what a unit less costs there later.
SELECT sku_id, location_id, weekly_units, price_minor, currency FROM sourcing.outlook WHERE sku_id = any(:sku_ids::int[]);

-- name: write_outlook
-- Expected demand and prices, in place of what was expected before.
INSERT INTO sourcing.outlook (sku_id, location_id, weekly_units, price_minor, currency, at)
SELECT o.*, :at::timestamptz
FROM unnest(:sku_ids::int[], :location_ids::int[], :weekly::float8[], :prices::bigint[], :currencies::text[])
    AS o (sku_id, location_id, weekly, price, currency)
ORDER BY o.sku_id, o.location_id
ON CONFLICT (sku_id, location_id) DO UPDATE
SET weekly_units = excluded.weekly_units, price_minor = excluded.price_minor, currency = excluded.currency, at = excluded.at;

-- reevaluation -------------------------------------------------------------------------------------------------------

-- name: record_reevaluation
-- What a run has looked at, and saved.
INSERT INTO sourcing.reevaluations (reevaluation_id, at, orders, changed, before_minor, after_minor, costs)
VALUES (:reevaluation_id::uuid, :at::timestamptz, :orders::int, :changed::int, 0, 0, :costs::text::json);

-- name: reevaluations
-- One page of runs, newest first.
SELECT reevaluation_id, at, orders, changed, costs::text AS costs FROM sourcing.reevaluations
WHERE reevaluation_id < :before::uuid ORDER BY reevaluation_id DESC LIMIT :limit::int;

-- replay and shadows -------------------------------------------------------------------------------------------------

-- name: first_decisions
-- What was decided of these orders when they were placed.
SELECT DISTINCT ON (order_id) order_id, cause_id, at, explanation FROM sourcing.decisions
WHERE order_id = any(:order_ids::uuid[]) ORDER BY order_id, at, cause_id;

-- name: record_shadows
-- What candidates would have made of these orders.
INSERT INTO sourcing.shadows (order_id, version, wanted, live, shadow, at)
SELECT s.order_id, s.version, s.wanted, s.live, s.shadow, s.at
FROM unnest(:order_ids::uuid[], :versions::int[], :wanted::bigint[], :lives::json[], :shadows::json[], :ats::timestamptz[])
    AS s (order_id, version, wanted, live, shadow, at);

-- name: keep_unjudged
-- What a set of orders was decided on, until the shadows have decided on it, too.
INSERT INTO sourcing.unjudged (unjudged_id, orders, at, format, seen)
VALUES (:unjudged_id::uuid, :orders::int, :at::timestamptz, :format::smallint, :seen::bytea);

-- name: unjudged_orders
-- Of how many orders these sets are, the oldest first.
SELECT unjudged_id, orders FROM sourcing.unjudged WHERE unjudged_id = any(:ids::uuid[]) ORDER BY at, unjudged_id;

-- name: take_unjudged
-- These sets are judged in this transaction, and go.
DELETE FROM sourcing.unjudged WHERE unjudged_id = any(:ids::uuid[]) RETURNING unjudged_id, at, format, seen;

-- name: shadows
-- One page of what a candidate would have made of orders.
SELECT order_id, wanted, live, shadow FROM sourcing.shadows
WHERE version = :version::int AND order_id > :after::uuid ORDER BY order_id LIMIT :limit::int;
