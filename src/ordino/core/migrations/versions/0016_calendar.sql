-- What ends beyond the calendar has no end; what begins or ends before it did so at its first moment.
UPDATE network.closures
SET starts_at = least(greatest(starts_at, '1990-01-01 00:00Z'), '2200-12-31 00:00Z'),
    ends_at = CASE WHEN ends_at < '2201-01-02 00:00Z' THEN greatest(ends_at, '1990-01-01 00:01Z') END
WHERE starts_at < '1989-12-31 00:00Z' OR starts_at > '2200-12-31 00:00Z' OR ends_at >= '2201-01-02 00:00Z';

UPDATE inventory.lots SET expires_on = least(greatest(expires_on, '1990-01-01'), '2200-12-31')
WHERE expires_on < '1990-01-01' OR expires_on > '2200-12-31';

UPDATE inventory.feeds SET as_of = least(greatest(as_of, '1990-01-01 00:00Z'), '2200-12-31 00:00Z')
WHERE as_of < '1989-12-31 00:00Z' OR as_of > '2201-01-02 00:00Z';

ALTER TABLE network.closures ADD CONSTRAINT a_closure_lies_within_the_calendar CHECK (isfinite(starts_at) AND isfinite(ends_at));
ALTER TABLE inventory.lots ADD CONSTRAINT a_lot_expires_within_the_calendar CHECK (isfinite(expires_on));
ALTER TABLE inventory.feeds ADD CONSTRAINT a_feed_was_counted_within_the_calendar CHECK (isfinite(as_of));
