-- name: seller_ids
-- The keys behind sellers' codes, and the currencies in which they sell.
SELECT code, seller_id, currency FROM catalog.sellers WHERE code = any(:codes::text[]);

-- name: write_sellers
-- A row comes back if it is new or differed.
INSERT INTO catalog.sellers AS s (seller_id, code, name, currency, locale, return_window_days)
SELECT * FROM unnest(:seller_ids::int[], :codes::text[], :names::text[], :currencies::text[], :locales::text[],
                     :return_windows::int[])
ON CONFLICT (seller_id) DO UPDATE
SET name = excluded.name, currency = excluded.currency, locale = excluded.locale,
    return_window_days = excluded.return_window_days
WHERE (s.name, s.currency, s.locale, s.return_window_days)
    IS DISTINCT FROM (excluded.name, excluded.currency, excluded.locale, excluded.return_window_days)
RETURNING s.code;

-- name: sellers
-- Some sellers, by code.
SELECT code, name, currency, locale, return_window_days FROM catalog.sellers WHERE code = any(:codes::text[]) ORDER BY code;

-- name: seller_codes_after
-- One page of codes.
SELECT code FROM catalog.sellers WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: channel_ids
-- The keys behind channels' codes, whose they are, and who moves their money.
SELECT code, channel_id, seller_id, payment_provider FROM catalog.channels WHERE code = any(:codes::text[]);

-- name: write_channels
-- A row comes back if it is new or differed.
INSERT INTO catalog.channels AS c (channel_id, code, name, seller_id, short_policy, payment_provider)
SELECT * FROM unnest(:channel_ids::int[], :codes::text[], :names::text[], :seller_ids::int[], :short_policies::text[],
                     :payment_providers::text[])
ON CONFLICT (channel_id) DO UPDATE
SET name = excluded.name, short_policy = excluded.short_policy, payment_provider = excluded.payment_provider
WHERE (c.name, c.short_policy, c.payment_provider) IS DISTINCT FROM (excluded.name, excluded.short_policy, excluded.payment_provider)
RETURNING c.code;

-- name: channels
-- Some channels, by code.
SELECT c.code, c.name, s.code AS seller, c.short_policy, c.payment_provider
FROM catalog.channels c JOIN catalog.sellers s USING (seller_id) WHERE c.code = any(:codes::text[]) ORDER BY c.code;

-- name: channel_codes_after
-- One page of codes.
SELECT code FROM catalog.channels WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: sku_ids
-- The keys behind SKUs' codes.
SELECT code, sku_id FROM catalog.sku_codes WHERE code = any(:codes::text[]);

-- name: claim_sku_codes
-- The first to bring a code gives it its key; a code that does not come back was taken meanwhile.
INSERT INTO catalog.sku_codes (code, sku_id)
SELECT * FROM unnest(:codes::text[], :sku_ids::int[])
ON CONFLICT (code) DO NOTHING
RETURNING code;

-- name: hold_skus
-- SKUs that stand as they are until the transaction ends, in key order.
SELECT sku_id FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]) ORDER BY sku_id FOR NO KEY UPDATE;

-- name: hold_written
-- What is to be compared of SKUs that are written anew, held until the transaction ends, in key order.
SELECT sku_id, unit_scale, tracking, active, stop_selling_days, weight_grams, length_mm, width_mm, height_mm, handling_classes
FROM catalog.skus
WHERE sku_id = any(:sku_ids::int[]) ORDER BY sku_id FOR NO KEY UPDATE;

-- name: retired_skus
-- Every SKU that is no longer sold.
SELECT sku_id FROM catalog.skus WHERE NOT active;

-- name: write_skus
-- In key order; a row comes back if it is new or differed.
INSERT INTO catalog.skus AS s (sku_id, code, name, gtin, category, weight_grams, length_mm, width_mm, height_mm, unit_scale,
                               backorderable, active, tracking, expiry_required, handling_classes, stop_selling_days)
SELECT sku_id, code, name, gtin, category, weight, length, width, height, unit_scale, backorderable, active, tracking,
       expiry_required, handling_classes::text[], stop_selling_days
FROM unnest(:sku_ids::int[], :codes::text[], :names::text[], :gtins::text[], :categories::text[], :weights::int[],
                     :lengths::int[], :widths::int[], :heights::int[], :unit_scales::smallint[], :backorderable::boolean[],
                     :active::boolean[], :tracking::text[], :expiry_required::boolean[], :handling_classes::text[],
                     :stop_selling_days::int[])
    AS n (sku_id, code, name, gtin, category, weight, length, width, height, unit_scale, backorderable, active, tracking,
          expiry_required, handling_classes, stop_selling_days)
ORDER BY sku_id
ON CONFLICT (sku_id) DO UPDATE
SET name = excluded.name, gtin = excluded.gtin, category = excluded.category, weight_grams = excluded.weight_grams,
    length_mm = excluded.length_mm, width_mm = excluded.width_mm, height_mm = excluded.height_mm,
    backorderable = excluded.backorderable, active = excluded.active, expiry_required = excluded.expiry_required,
    handling_classes = excluded.handling_classes, stop_selling_days = excluded.stop_selling_days
WHERE (s.name, s.gtin, s.category, s.weight_grams, s.length_mm, s.width_mm, s.height_mm, s.backorderable, s.active, s.expiry_required,
       s.handling_classes, s.stop_selling_days)
    IS DISTINCT FROM (excluded.name, excluded.gtin, excluded.category, excluded.weight_grams, excluded.length_mm,
                      excluded.width_mm, excluded.height_mm, excluded.backorderable, excluded.active, excluded.expiry_required,
                      excluded.handling_classes, excluded.stop_selling_days)
RETURNING s.code;

-- name: skus
-- Some SKUs, by key.
SELECT code, name, gtin, category, weight_grams, length_mm, width_mm, height_mm, unit_scale, backorderable, active, tracking,
       expiry_required, handling_classes, stop_selling_days
FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]) ORDER BY code;

-- name: sku_codes_after
-- One page of codes.
SELECT code, sku_id FROM catalog.sku_codes WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: components_of
-- What these kits are made of.
SELECT k.sku_id, k.component_sku_id, c.code, k.quantity
FROM catalog.kit_components k JOIN catalog.skus c ON c.sku_id = k.component_sku_id
WHERE k.sku_id = any(:sku_ids::int[]) ORDER BY k.sku_id, c.code;

-- name: kits_among
-- Which of these SKUs are kits.
SELECT DISTINCT sku_id FROM catalog.kit_components WHERE sku_id = any(:sku_ids::int[]);

-- name: components_among
-- Which of these SKUs are in kits, and in which.
SELECT k.component_sku_id AS sku_id, array_agg(s.code ORDER BY s.code) AS kits
FROM catalog.kit_components k JOIN catalog.skus s USING (sku_id)
WHERE k.component_sku_id = any(:sku_ids::int[]) GROUP BY k.component_sku_id;

-- name: clear_kits
-- Kits are written whole: first what they were made of goes.
DELETE FROM catalog.kit_components WHERE sku_id = any(:sku_ids::int[]);

-- name: write_components
-- Then comes what they are made of.
INSERT INTO catalog.kit_components (sku_id, component_sku_id, quantity)
SELECT * FROM unnest(:sku_ids::int[], :component_sku_ids::int[], :quantities::bigint[]);

-- name: kits_after
-- One page of kits, by the kit's code.
SELECT DISTINCT s.code, s.sku_id FROM catalog.kit_components k JOIN catalog.skus s USING (sku_id)
WHERE s.code > :after::text ORDER BY s.code LIMIT :limit::int;

-- name: know_kits
-- Once a kit, a SKU is remembered as one.
INSERT INTO catalog.kits (sku_id) SELECT * FROM unnest(:sku_ids::int[]) ON CONFLICT DO NOTHING;

-- name: all_kits
-- Every SKU that is a kit, or was one.
SELECT sku_id FROM catalog.kits;

-- name: all_components
-- What every kit is made of.
SELECT sku_id, component_sku_id, quantity FROM catalog.kit_components ORDER BY sku_id, component_sku_id;

-- name: serial_skus
-- Which of these SKUs are tracked by serial number.
SELECT sku_id FROM catalog.skus WHERE sku_id = any(:sku_ids::int[]) AND tracking = 'serial';

-- name: sellers_of_channels
-- Whose channels these are.
SELECT c.code AS channel, s.code AS seller FROM catalog.channels c JOIN catalog.sellers s USING (seller_id)
WHERE c.code = any(:codes::text[]);
