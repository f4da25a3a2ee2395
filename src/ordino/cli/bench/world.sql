-- What the figures are measured on: one channel with the short policy ``refuse``, 10,000 SKUs at 10 locations, a carrier with
-- three zones. The ledgers are honest from the first row on.

-- name: sellers
-- One seller.
INSERT INTO catalog.sellers (seller_id, code, name, currency, locale, return_window_days)
VALUES (1, 'bench', 'Bench', 'EUR', 'en', 30);

-- name: channels
-- One channel that refuses what is short.
INSERT INTO catalog.channels (channel_id, code, name, seller_id, short_policy) VALUES (1, 'bench', 'Bench', 1, 'refuse');

-- name: sku_codes
-- The look-up of SKUs, and one SKU more: the hot one.
INSERT INTO catalog.sku_codes (code, sku_id)
SELECT CASE WHEN n = 0 THEN 'hot' ELSE 'B' || lpad(n::text, 5, '0') END, n + 1 FROM generate_series(0, :skus::int) n;

-- name: skus
-- The SKUs.
INSERT INTO catalog.skus (sku_id, code, name, weight_grams, length_mm, width_mm, height_mm, unit_scale, backorderable)
SELECT sku_id, code, 'Bench ' || code, 200 + sku_id % 1800, 200, 150, 100, 0, false FROM catalog.sku_codes;

-- name: locations
-- Ten warehouses (or more) without a limit, open every day, spread over one country.
INSERT INTO network.locations (location_id, code, name, type, country, postal_code, latitude, longitude, timezone, working_days,
                               cut_off, handling_cost_minor, serves_countries)
SELECT n, 'W' || n, 'Warehouse ' || n, 'warehouse', 'DE', lpad((p * 9000)::text, 5, '0'),
       CASE WHEN n <= 10 THEN 48 + p * 0.6 ELSE 47.5 + n * 37 % 700 / 100.0 END,
       CASE WHEN n <= 10 THEN 8 + p * 7 % 6 ELSE 6.5 + n * 53 % 800 / 100.0 END, 'Europe/Berlin',
       '{1,2,3,4,5,6,7}', '14:00', 150 + n, '{DE}'
FROM (SELECT n, (n - 1) % 10 + 1 AS p FROM generate_series(1, :locations::int) n) w;

-- name: networks
-- One network.
INSERT INTO network.networks (network_id, code, name) VALUES (1, 'bench', 'Bench');

-- name: members
-- All locations, each with a buffer of one.
INSERT INTO network.members (network_id, location_id, buffer) SELECT 1, n, 1 FROM generate_series(1, :locations::int) n;

-- name: channel_networks
-- It serves the channel.
INSERT INTO network.channel_networks (channel_id, network_id) VALUES (1, 1);

-- name: carrier_services
-- One carrier.
INSERT INTO network.carrier_services (service_id, code, carrier, name, currency, working_days, max_grams)
VALUES (1, 'ground', 'Bench', 'Ground', 'EUR', '{1,2,3,4,5,6}', 31500);

-- name: zones
-- Near, middle, far.
INSERT INTO network.zones (service_id, zone, up_to_km, transit_days) VALUES (1, '1', 150, 1), (1, '2', 400, 2), (1, '3', 2000, 3);

-- name: rates
-- What a parcel costs.
INSERT INTO network.rates (service_id, zone, up_to_grams, cost_minor)
SELECT 1, zone::text, grams, 300 + 60 * zone + grams / 100
FROM generate_series(1, 3) zone, unnest('{1000,2000,5000,10000,31500}'::int[]) grams;

-- name: postal_codes
-- A hundred places to ship to.
INSERT INTO network.postal_codes (country, postal_code, latitude, longitude)
SELECT 'DE', lpad((n * 1000)::text, 5, '0'), 47.5 + n * 37 % 70 / 10.0, 6.5 + n * 53 % 80 / 10.0 FROM generate_series(0, 99) n;

-- name: receipts
-- Plenty of everything everywhere (or at the first ten, and of each SKU at some more), and of the hot SKU as much as was asked for, at one location.
INSERT INTO inventory.moves (sku_id, cause_id, location_id, line_no, kind, on_hand_delta, reserved_delta, picked_delta, at)
SELECT sku_id, '01970000-0000-7000-8000-000000000000'::uuid, location_id, 0, 'received', 1000000, 0, 0, timestamptz '2026-01-01'
FROM generate_series(2, :skus::int + 1) sku_id, generate_series(1, :locations::int) location_id
WHERE location_id <= 10 OR (location_id * 31 + sku_id * 17) % :locations::int < :each::int - 10
UNION ALL
SELECT 1, '01970000-0000-7000-8000-000000000000'::uuid, 1, 0, 'received', :hot::bigint, 0, 0, timestamptz '2026-01-01' WHERE :hot::bigint > 0;

-- name: stock
-- The balances.
INSERT INTO inventory.stock (sku_id, location_id, on_hand, reserved, picked)
SELECT sku_id, location_id, on_hand_delta, 0, 0 FROM inventory.moves ORDER BY 1, 2;

-- name: counters
-- Whoever adds to this world gets fresh keys.
UPDATE core.counters SET next = 1000000;

-- name: revisions
-- Everybody reads the network again.
UPDATE core.revisions SET number = number + 1 WHERE name = 'network';
