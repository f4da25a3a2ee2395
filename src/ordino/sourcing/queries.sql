-- name: active_profile
-- The routing profile in force.
SELECT version, document FROM sourcing.profiles WHERE active;

-- name: record_decisions
-- Every decision with its reasons.
INSERT INTO sourcing.decisions (order_id, cause_id, profile_version, at, explanation)
SELECT d.order_id, d.cause_id, :profile_version::int, :at::timestamptz, d.explanation
FROM unnest(:order_ids::uuid[], :cause_ids::uuid[], :explanations::json[]) AS d (order_id, cause_id, explanation);

-- name: decisions
-- Why an order's units come from where they come from, oldest decision first.
SELECT cause_id, profile_version, at, explanation FROM sourcing.decisions WHERE order_id = :order_id::uuid ORDER BY at, cause_id;
