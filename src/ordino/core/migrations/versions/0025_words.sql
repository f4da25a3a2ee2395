-- Why a shortfall is closed is a code. What a person wrote about it stays with the shortfall, and can be erased.
ALTER TABLE inventory.shortfalls ADD COLUMN note text;

-- Reasons that were sentences leave the events.
WITH said AS (
    SELECT subject_id, id, data->>'reason' AS reason FROM core.events
    WHERE kind = 'shortfall_closed'
      AND (data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(data->>'reason') > 50)
), kept AS (
    UPDATE inventory.shortfalls f SET note = s.reason FROM said s WHERE f.shortfall_id = s.subject_id
)
UPDATE core.events e SET data = jsonb_set(e.data, '{reason}', '"other"')
FROM said s WHERE e.subject_id = s.subject_id AND e.id = s.id;

-- So do the reasons of closures, which are kept with the closures.
UPDATE core.events SET data = jsonb_set(data, '{why}', to_jsonb(regexp_replace(data->>'why', ' is closed \(.*\)', ' is closed')))
WHERE kind IN ('order_resourced', 'units_kept', 'work_at_closed_location') AND data->>'why' LIKE '% is closed (%';

UPDATE orders.exceptions SET detail = regexp_replace(detail, ' is closed \(.*\)', ' is closed')
WHERE kind = 'location_closed' AND detail LIKE '% is closed (%';

-- What is still to be done about such events carries their facts, too.
UPDATE core.reactions SET data = jsonb_set(data, '{reason}', '"other"')
WHERE jsonb_typeof(data) = 'object'
  AND (data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(data->>'reason') > 50);
UPDATE core.reactions SET data = jsonb_set(data, '{why}', to_jsonb(regexp_replace(data->>'why', ' is closed \(.*\)', ' is closed')))
WHERE jsonb_typeof(data) = 'object' AND data->>'why' LIKE '% is closed (%';

-- Which key has started a job: when it is revoked, its jobs end.
ALTER TABLE core.jobs ADD COLUMN key_id uuid;
