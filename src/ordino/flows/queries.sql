-- name: active_flow
-- The version under which new orders are placed.
SELECT version FROM flows.flows WHERE active;

-- name: flow
-- One version of the flow.
SELECT version, name, document, active, created_at FROM flows.flows WHERE version = :version::int;

-- name: flows
-- Every version, newest first.
SELECT version, name, active, created_at FROM flows.flows ORDER BY version DESC;

-- name: hold_flows
-- Drafts and activations take turns.
SELECT number FROM core.revisions WHERE name = 'flows' FOR UPDATE;

-- name: draft_flow
-- A new version; versions never change.
INSERT INTO flows.flows (version, name, document, active, created_at)
SELECT coalesce(max(version), 0) + 1, :name::text, :document::text, false, :at::timestamptz FROM flows.flows
RETURNING version;

-- name: deactivate_flow
-- At most one version is active.
UPDATE flows.flows SET active = false WHERE active;

-- name: activate_flow
-- From now on orders are placed under this version.
UPDATE flows.flows SET active = true WHERE version = :version::int RETURNING version;
