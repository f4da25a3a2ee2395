ALTER TABLE catalog.skus ADD COLUMN stop_selling_days int NOT NULL DEFAULT 0;
ALTER TABLE catalog.skus ADD CONSTRAINT only_lots_stop_selling
    CHECK (stop_selling_days >= 0 AND (stop_selling_days = 0 OR tracking = 'lot'));
CREATE INDEX lots_by_date ON inventory.lots (expires_on) WHERE expires_on IS NOT NULL;
INSERT INTO warehouse.short_reasons (code, sentence, stock_effect, excludes_location)
VALUES ('expired', 'The units are past their date: they are set aside as expired.', 'none', false)
ON CONFLICT DO NOTHING;
ALTER TABLE inventory.serials DROP CONSTRAINT serial_states;
ALTER TABLE inventory.serials ADD CONSTRAINT serial_states
    CHECK (state IN ('in_stock', 'picked', 'shipped', 'in_transit', 'set_aside', 'gone', 'scrapped'));
