ALTER TABLE sourcing.reevaluations ADD COLUMN costs json NOT NULL DEFAULT '[]';
-- Runs so far counted minor units, whatever their currency: they are told as they stand where there is one currency only.
UPDATE sourcing.reevaluations r
SET costs = json_build_array(json_build_object('currency', s.currency, 'orders', r.orders, 'before_minor', r.before_minor,
                                               'after_minor', r.after_minor))
FROM (SELECT min(currency) AS currency FROM catalog.sellers HAVING count(DISTINCT currency) = 1) s;
