CREATE TABLE orders.notes (
    order_id uuid NOT NULL,
    note_id uuid NOT NULL,
    about text NOT NULL,
    text text NOT NULL,
    written_by text,
    written_at timestamptz NOT NULL,
    CONSTRAINT notes_pk PRIMARY KEY (order_id, note_id),
    CONSTRAINT a_note_is_about_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT what_notes_are_about CHECK (about IN ('cancellation', 'exception', 'refund', 'return', 'survey'))
);

-- A note of a refund.
INSERT INTO orders.notes (order_id, note_id, about, text, written_by, written_at)
SELECT order_id, refund_id, 'refund', note, asked_by, asked_at FROM aftercare.refunds WHERE note <> '';

-- A reason of a refund that was a sentence.
INSERT INTO orders.notes AS n (order_id, note_id, about, text, written_by, written_at)
SELECT order_id, refund_id, 'refund', reason, asked_by, asked_at FROM aftercare.refunds
WHERE reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(reason) > 50
ON CONFLICT (order_id, note_id) DO UPDATE SET text = excluded.text || E'\n' || n.text;

UPDATE aftercare.refunds SET note = NULL WHERE note IS NOT NULL;
UPDATE aftercare.refunds SET reason = 'other'
WHERE reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(reason) > 50;

-- Reasons of lines of returns that were sentences: a return's together.
INSERT INTO orders.notes (order_id, note_id, about, text, written_at)
SELECT l.order_id, l.return_id, 'return', string_agg(DISTINCT l.reason, E'\n'), min(r.authorized_at)
FROM aftercare.return_lines l JOIN aftercare.returns r USING (order_id, return_id)
WHERE l.reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(l.reason) > 50
GROUP BY l.order_id, l.return_id;
UPDATE aftercare.return_lines SET reason = 'other'
WHERE reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(reason) > 50;

INSERT INTO orders.notes (order_id, note_id, about, text, written_at)
SELECT order_id, order_id, 'survey', comment, answered_at FROM aftercare.surveys WHERE comment <> '' AND answered_at IS NOT NULL;
UPDATE aftercare.surveys SET comment = NULL WHERE comment IS NOT NULL;

-- What Ordino itself said as a sentence becomes a code.
UPDATE core.events SET data = jsonb_set(data, '{reason}', to_jsonb(replace(data->>'reason', ' ', '_')))
WHERE kind IN ('units_cancelled', 'cancellation_wanted', 'cancellation_refused', 'exception_resolved')
  AND data->>'reason' IN ('location closed', 'not sourced', 'not servable', 'units were found');
UPDATE orders.moves SET reason = replace(reason, ' ', '_') WHERE reason IN ('location closed', 'not sourced', 'not servable');

-- Reasons that were sentences leave the events. Events are never changed otherwise; here, who is spoken of comes first.
WITH said AS (
    SELECT e.subject_id, e.id, e.kind, e.at, e.data->>'reason' AS reason
    FROM core.events e JOIN orders.orders o ON o.order_id = e.subject_id
    WHERE e.kind IN ('units_cancelled', 'cancellation_wanted', 'cancellation_refused', 'return_cancelled', 'exception_resolved',
                     'refund_requested')
      AND (e.data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(e.data->>'reason') > 50)
), kept AS (
    INSERT INTO orders.notes (order_id, note_id, about, text, written_at)
    SELECT subject_id, id, CASE kind WHEN 'return_cancelled' THEN 'return' WHEN 'exception_resolved' THEN 'exception'
                                     WHEN 'refund_requested' THEN 'refund' ELSE 'cancellation' END, reason, at
    FROM said WHERE reason <> ''
    ON CONFLICT (order_id, note_id) DO NOTHING
)
UPDATE core.events e SET data = jsonb_set(e.data, '{reason}', '"other"')
FROM said s WHERE e.subject_id = s.subject_id AND e.id = s.id;

UPDATE orders.moves SET reason = 'other'
WHERE to_state = 'cancelled' AND (reason !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(reason) > 50);

-- What is still to be done about a wish to cancel carries its reason, too.
UPDATE core.reactions SET data = jsonb_set(data, '{reason}', '"other"')
WHERE jsonb_typeof(data) = 'object'
  AND (data->>'reason' !~ '^[A-Za-z0-9]+([_.-][A-Za-z0-9]+)*$' OR length(data->>'reason') > 50);
