-- locations, networks, carrier services, postal codes ---------------------------------------------------------------

-- name: location_ids
-- The keys behind locations' codes.
SELECT code, location_id FROM network.locations WHERE code = any(:codes::text[]);

-- name: write_locations
-- A row comes back if it is new or differed. Rows are JSON objects, one a location.
INSERT INTO network.locations AS l
SELECT * FROM json_populate_recordset(NULL::network.locations, :rows::json)
ON CONFLICT (location_id) DO UPDATE
SET name = excluded.name, type = excluded.type, country = excluded.country, postal_code = excluded.postal_code,
    latitude = excluded.latitude, longitude = excluded.longitude, timezone = excluded.timezone,
    working_days = excluded.working_days, cut_off = excluded.cut_off, daily_capacity = excluded.daily_capacity,
    handling_cost_minor = excluded.handling_cost_minor, serves_countries = excluded.serves_countries,
    active = excluded.active, bins = excluded.bins, tags = excluded.tags, handles = excluded.handles,
    serves_prefixes = excluded.serves_prefixes, handling_line_cost_minor = excluded.handling_line_cost_minor,
    handling_unit_cost_minor = excluded.handling_unit_cost_minor, daily_unit_capacity = excluded.daily_unit_capacity,
    priority = excluded.priority, processing_days = excluded.processing_days, holidays = excluded.holidays,
    pickup = excluded.pickup, pickup_ready_minutes = excluded.pickup_ready_minutes, opens = excluded.opens,
    closes = excluded.closes, currency = excluded.currency, ships_until = excluded.ships_until
WHERE l.* IS DISTINCT FROM excluded.*
RETURNING l.code;

-- name: locations
-- Some locations, by code.
SELECT code, name, type, country, postal_code, latitude, longitude, timezone, working_days,
       to_char(cut_off, 'HH24:MI') AS cut_off, daily_capacity, handling_cost_minor, serves_countries, active, bins, tags,
       handles, serves_prefixes, handling_line_cost_minor, handling_unit_cost_minor, daily_unit_capacity, priority,
       processing_days, holidays, pickup, pickup_ready_minutes, to_char(opens, 'HH24:MI') AS opens,
       to_char(closes, 'HH24:MI') AS closes, currency, to_char(ships_until, 'HH24:MI') AS ships_until
FROM network.locations WHERE code = any(:codes::text[]) ORDER BY code;

-- name: location_codes_after
-- One page of codes.
SELECT code FROM network.locations WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: network_ids
-- The keys behind networks' codes.
SELECT code, network_id FROM network.networks WHERE code = any(:codes::text[]);

-- name: channel_ids
-- The keys behind channels' codes.
SELECT code, channel_id FROM catalog.channels WHERE code = any(:codes::text[]);

-- name: networks
-- Some networks with their members and channels, by code.
SELECT n.code, n.name,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('location', l.code, 'buffer', m.buffer) ORDER BY l.code COLLATE "C"), '[]')
        FROM network.members m JOIN network.locations l USING (location_id) WHERE m.network_id = n.network_id) AS members,
       ARRAY(SELECT c.code FROM network.channel_networks s JOIN catalog.channels c USING (channel_id)
             WHERE s.network_id = n.network_id ORDER BY c.code COLLATE "C") AS channels
FROM network.networks n WHERE n.code = any(:codes::text[]) ORDER BY n.code;

-- name: network_codes_after
-- One page of codes.
SELECT code FROM network.networks WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: write_networks
-- The networks themselves; what belongs to them is written whole.
INSERT INTO network.networks AS n (network_id, code, name)
SELECT * FROM unnest(:network_ids::int[], :codes::text[], :names::text[])
ON CONFLICT (network_id) DO UPDATE SET name = excluded.name;

-- name: clear_members
-- Members that are about to be written whole go.
DELETE FROM network.members WHERE network_id = any(:network_ids::int[]);

-- name: write_members
-- Members come.
INSERT INTO network.members (network_id, location_id, buffer)
SELECT * FROM unnest(:network_ids::int[], :location_ids::int[], :buffers::bigint[]);

-- name: clear_channel_networks
-- What the networks served goes, and so do the channels that they are to serve from wherever they were served.
DELETE FROM network.channel_networks WHERE network_id = any(:network_ids::int[]) OR channel_id = any(:channel_ids::int[]);

-- name: write_channel_networks
-- Channels get the network that serves them.
INSERT INTO network.channel_networks (channel_id, network_id)
SELECT * FROM unnest(:channel_ids::int[], :network_ids::int[]);

-- name: service_ids
-- The keys behind carrier services' codes.
SELECT code, service_id FROM network.carrier_services WHERE code = any(:codes::text[]);

-- name: carrier_services
-- Some carrier services with zones, rates and lanes, by code.
SELECT s.code, s.carrier, s.name, s.currency, s.max_grams, s.working_days, s.active, s.level, s.holidays,
       s.dimensional_cubic_cm_per_kg, s.max_cubic_cm, s.carbon_grams_per_kg_km,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'zone', z.zone, 'up_to_km', z.up_to_km, 'transit_days', z.transit_days,
                   'rates', (SELECT coalesce(jsonb_agg(jsonb_build_object('up_to_grams', r.up_to_grams, 'cost_minor', r.cost_minor)
                                                       ORDER BY r.up_to_grams), '[]')
                             FROM network.rates r WHERE r.service_id = z.service_id AND r.zone = z.zone))
               ORDER BY z.up_to_km, z.zone COLLATE "C"), '[]')
        FROM network.zones z WHERE z.service_id = s.service_id) AS zones,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('origin_prefix', l.origin_prefix,
                                                     'destination_prefix', l.destination_prefix, 'zone', l.zone)
                                  ORDER BY l.origin_prefix COLLATE "C", l.destination_prefix COLLATE "C"), '[]')
        FROM network.lanes l WHERE l.service_id = s.service_id) AS lanes
FROM network.carrier_services s WHERE s.code = any(:codes::text[]) ORDER BY s.code;

-- name: carrier_service_codes_after
-- One page of codes.
SELECT code FROM network.carrier_services WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: write_carrier_services
-- The services themselves, as JSON objects; what belongs to them is written whole.
INSERT INTO network.carrier_services AS s
SELECT * FROM json_populate_recordset(NULL::network.carrier_services, :rows::json)
ON CONFLICT (service_id) DO UPDATE
SET carrier = excluded.carrier, name = excluded.name, currency = excluded.currency, working_days = excluded.working_days,
    max_grams = excluded.max_grams, active = excluded.active, level = excluded.level, holidays = excluded.holidays,
    dimensional_cubic_cm_per_kg = excluded.dimensional_cubic_cm_per_kg, max_cubic_cm = excluded.max_cubic_cm,
    carbon_grams_per_kg_km = excluded.carbon_grams_per_kg_km;

-- name: clear_lanes
-- Lanes, rates and zones that are about to be written whole go, in this order.
DELETE FROM network.lanes WHERE service_id = any(:service_ids::int[]);

-- name: clear_rates
-- Rates go.
DELETE FROM network.rates WHERE service_id = any(:service_ids::int[]);

-- name: clear_zones
-- Zones go.
DELETE FROM network.zones WHERE service_id = any(:service_ids::int[]);

-- name: write_zones
-- Zones come.
INSERT INTO network.zones (service_id, zone, up_to_km, transit_days)
SELECT * FROM unnest(:service_ids::int[], :zones::text[], :up_to_km::float8[], :transit_days::int[]);

-- name: write_rates
-- Rates come.
INSERT INTO network.rates (service_id, zone, up_to_grams, cost_minor)
SELECT * FROM unnest(:service_ids::int[], :zones::text[], :up_to_grams::int[], :costs::bigint[]);

-- name: write_lanes
-- Lanes come.
INSERT INTO network.lanes (service_id, origin_prefix, destination_prefix, zone)
SELECT * FROM unnest(:service_ids::int[], :origin_prefixes::text[], :destination_prefixes::text[], :zones::text[]);

-- name: known_postal_codes
-- Which of these are there.
SELECT p.country, p.postal_code FROM network.postal_codes p
JOIN unnest(:countries::text[], :postal_codes::text[]) AS w (country, postal_code) USING (country, postal_code);

-- name: write_postal_codes
-- A row comes back if it is new or differed.
INSERT INTO network.postal_codes AS p (country, postal_code, latitude, longitude)
SELECT * FROM unnest(:countries::text[], :postal_codes::text[], :latitudes::float8[], :longitudes::float8[])
ON CONFLICT (country, postal_code) DO UPDATE SET latitude = excluded.latitude, longitude = excluded.longitude
WHERE (p.latitude, p.longitude) IS DISTINCT FROM (excluded.latitude, excluded.longitude)
RETURNING p.country, p.postal_code;

-- name: postal_code
-- Where one postal code is.
SELECT country, postal_code, latitude, longitude FROM network.postal_codes
WHERE country = :country::text AND postal_code = :postal_code::text;

-- name: postal_codes_after
-- One page of a country's postal codes.
SELECT country, postal_code, latitude, longitude FROM network.postal_codes
WHERE country = :country::text AND postal_code > :after::text ORDER BY postal_code LIMIT :limit::int;

-- facts: the whole network as sourcing keeps it --------------------------------------------------------------------

-- name: all_locations
-- Every location.
SELECT location_id, code, name, type, country, postal_code, latitude, longitude, timezone, working_days, cut_off,
       daily_capacity, handling_cost_minor, serves_countries, active, bins, tags, handles, serves_prefixes,
       handling_line_cost_minor, handling_unit_cost_minor, daily_unit_capacity, priority, processing_days,
       holidays, pickup, pickup_ready_minutes, opens, closes, currency,
       coalesce(ships_until, greatest(time '20:00', cut_off)) AS ships_until
FROM network.locations;

-- name: all_services
-- Every active carrier service.
SELECT service_id, code, carrier, name, currency, working_days, max_grams, level, holidays, dimensional_cubic_cm_per_kg,
       max_cubic_cm, carbon_grams_per_kg_km
FROM network.carrier_services WHERE active ORDER BY service_id;

-- name: all_zones
-- Every zone with its rates, lightest first.
SELECT z.service_id, z.zone, z.up_to_km, z.transit_days,
       array_agg(r.up_to_grams ORDER BY r.up_to_grams) FILTER (WHERE r.zone IS NOT NULL) AS limits,
       array_agg(r.cost_minor ORDER BY r.up_to_grams) FILTER (WHERE r.zone IS NOT NULL) AS costs
FROM network.zones z JOIN network.carrier_services s USING (service_id) JOIN network.rates r USING (service_id, zone)
WHERE s.active
GROUP BY z.service_id, z.zone, z.up_to_km, z.transit_days;

-- name: all_lanes
-- Every lane whose zone has rates.
SELECT l.service_id, l.origin_prefix, l.destination_prefix, l.zone
FROM network.lanes l JOIN network.carrier_services s USING (service_id)
WHERE s.active AND EXISTS (SELECT FROM network.rates r WHERE r.service_id = l.service_id AND r.zone = l.zone);

-- name: all_networks
-- Every network with its members.
SELECT n.network_id, n.code, array_agg(m.location_id) AS location_ids, array_agg(m.buffer) AS buffers
FROM network.networks n JOIN network.members m USING (network_id) GROUP BY n.network_id, n.code;

-- name: all_channels
-- Every channel with its seller and the network that serves it.
SELECT c.channel_id, c.code, c.seller_id, s.currency, s.return_window_days, c.short_policy, n.network_id, s.code AS seller, c.payment_provider
FROM catalog.channels c JOIN catalog.sellers s USING (seller_id) LEFT JOIN network.channel_networks n USING (channel_id);

-- name: all_places
-- Where postal codes are.
SELECT country, postal_code, latitude, longitude FROM network.postal_codes;

-- name: all_exchange_rates
-- Every exchange rate, the latest first.
SELECT from_currency, to_currency, valid_from, rate::text AS rate FROM network.exchange_rates
ORDER BY from_currency, to_currency, valid_from DESC;

-- capacity ---------------------------------------------------------------------------------------------------------

-- name: capacity_used
-- What limited locations have taken on, from a day on.
SELECT location_id, ship_on, held_orders + confirmed_orders AS orders, held_units + confirmed_units AS units
FROM network.capacity WHERE location_id = any(:location_ids::int[]) AND ship_on >= :since::date;

-- name: open_capacity
-- A day begins empty; one that is there already stays.
INSERT INTO network.capacity (location_id, ship_on)
SELECT DISTINCT d.location_id, d.ship_on FROM unnest(:location_ids::int[], :ship_ons::date[]) AS d (location_id, ship_on)
ORDER BY 1, 2
ON CONFLICT DO NOTHING;

-- name: lock_capacity
-- Held until the transaction ends, in key order.
SELECT location_id, ship_on, held_orders + confirmed_orders AS orders, held_units + confirmed_units AS units
FROM network.capacity
WHERE (location_id, ship_on) IN (
    SELECT location_id, ship_on FROM network.capacity WHERE location_id = any(:location_ids::int[]) AND ship_on >= :since::date
    UNION SELECT * FROM unnest(:more_location_ids::int[], :more_ship_ons::date[])
)
ORDER BY location_id, ship_on FOR NO KEY UPDATE;

-- name: move_capacity
-- Days fill up to their limits and no further; a day that would overflow does not come back.
WITH wanted AS (
    SELECT w.*
    FROM network.capacity c
    JOIN unnest(:location_ids::int[], :ship_ons::date[], :held_orders::int[], :confirmed_orders::int[], :held_units::bigint[],
                :confirmed_units::bigint[], :order_limits::int[], :unit_limits::bigint[])
        AS w (location_id, ship_on, held_orders, confirmed_orders, held_units, confirmed_units, order_limit, unit_limit)
        USING (location_id, ship_on)
    ORDER BY 1, 2
    FOR NO KEY UPDATE OF c
)
UPDATE network.capacity c
SET held_orders = c.held_orders + w.held_orders, confirmed_orders = c.confirmed_orders + w.confirmed_orders,
    held_units = c.held_units + w.held_units, confirmed_units = c.confirmed_units + w.confirmed_units
FROM wanted w
WHERE c.location_id = w.location_id AND c.ship_on = w.ship_on
  AND (w.held_orders + w.confirmed_orders <= 0
       OR c.held_orders + c.confirmed_orders + w.held_orders + w.confirmed_orders <= w.order_limit)
  AND (w.held_units + w.confirmed_units <= 0
       OR c.held_units + c.confirmed_units + w.held_units + w.confirmed_units <= w.unit_limit)
RETURNING c.location_id, c.ship_on;

-- name: capacity_between
-- What has been taken on for some days.
SELECT location_id, ship_on, held_orders, confirmed_orders, held_units, confirmed_units
FROM network.capacity WHERE location_id = any(:location_ids::int[]) AND ship_on BETWEEN :first::date AND :last::date
ORDER BY location_id, ship_on;

-- closures ---------------------------------------------------------------------------------------------------------

-- name: write_closure
-- A row comes back if it is new or differed; without a beginning, what is closed stays closed since then. The network is held.
INSERT INTO network.closures AS c (code, location_id, channel_id, starts_at, ends_at, reason, number)
VALUES (:code::text, :location_id::int, :channel_id::int, coalesce(:starts_at::timestamptz, :at::timestamptz), :ends_at::timestamptz,
        :reason::text, (SELECT number + 1 FROM core.revisions WHERE name = 'closures'))
ON CONFLICT (code) DO UPDATE
SET location_id = excluded.location_id, channel_id = excluded.channel_id, starts_at = coalesce(:starts_at::timestamptz, c.starts_at),
    ends_at = excluded.ends_at, reason = excluded.reason, number = excluded.number
WHERE (c.location_id, c.channel_id, c.starts_at, c.ends_at, c.reason) IS DISTINCT FROM
      (excluded.location_id, excluded.channel_id, coalesce(:starts_at::timestamptz, c.starts_at), excluded.ends_at, excluded.reason)
RETURNING c.code, c.xmax = 0 AS new;

-- name: drop_closure
-- The location is open again; those who keep closures hear of it. The network is held.
WITH dropped AS (DELETE FROM network.closures WHERE code = :code::text RETURNING code)
INSERT INTO network.reopened AS r (code, number)
SELECT d.code, v.number + 1 FROM dropped d CROSS JOIN core.revisions v WHERE v.name = 'closures'
ON CONFLICT (code) DO UPDATE SET number = excluded.number
RETURNING r.code;

-- name: forget_reopened
-- Who keeps closures from so many revisions ago reads all of them again.
DELETE FROM network.reopened r USING core.revisions v
WHERE v.name = 'closures' AND r.number <= v.number - :keep::int;

-- name: closures
-- Some closures as they were sent, by code.
SELECT k.code, l.code AS location, c.code AS channel, k.starts_at, k.ends_at, k.reason
FROM network.closures k JOIN network.locations l USING (location_id) LEFT JOIN catalog.channels c USING (channel_id)
WHERE k.code = any(:codes::text[]) ORDER BY k.code;

-- name: closure_codes_after
-- One page of codes.
SELECT code FROM network.closures WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: all_closures
-- Every closure that can be calculated with: one that ends beyond the years that may be sent has no end.
SELECT code, location_id, channel_id, greatest(starts_at, '1989-12-31 00:00Z'::timestamptz) AS starts_at,
       CASE WHEN ends_at < '2201-01-02 00:00Z' THEN ends_at END AS ends_at, reason
FROM network.closures WHERE starts_at < '2201-01-02 00:00Z' AND (ends_at > '1989-12-31 00:00Z') IS NOT FALSE;

-- name: closures_since
-- What has become of closures after a revision of them: each as it stands, or that it is none to calculate with any more.
SELECT code, location_id, channel_id, greatest(starts_at, '1989-12-31 00:00Z'::timestamptz) AS starts_at,
       CASE WHEN ends_at < '2201-01-02 00:00Z' THEN ends_at END AS ends_at, reason,
       starts_at < '2201-01-02 00:00Z' AND (ends_at > '1989-12-31 00:00Z') IS NOT FALSE AS counts
FROM network.closures WHERE number > :number::bigint
UNION ALL
SELECT code, NULL, NULL, NULL, NULL, NULL, false FROM network.reopened
WHERE number > :number::bigint AND code NOT IN (SELECT code FROM network.closures WHERE number > :number::bigint);

-- name: binned
-- Which of these locations have bins.
SELECT code FROM network.locations WHERE code = any(:codes::text[]) AND bins;

-- carrier pickups and days of capacity ------------------------------------------------------------------------------

-- name: write_pickups
-- A row comes back if it is new or differed.
INSERT INTO network.carrier_pickups AS p (code, location_id, service_id, working_days, at)
SELECT code, location_id, service_id, string_to_array(working_days, ',')::smallint[], at
FROM unnest(:codes::text[], :location_ids::int[], :service_ids::int[], :working_days::text[], :ats::time[])
    AS p (code, location_id, service_id, working_days, at)
ON CONFLICT (code) DO UPDATE
SET location_id = excluded.location_id, service_id = excluded.service_id, working_days = excluded.working_days, at = excluded.at
WHERE p.* IS DISTINCT FROM excluded.*
RETURNING p.code, p.xmax = 0 AS new;

-- name: drop_pickup
-- The carrier no longer comes then.
DELETE FROM network.carrier_pickups WHERE code = :code::text RETURNING code;

-- name: pickups
-- Some pickups as they were sent, by code.
SELECT p.code, l.code AS location, s.code AS carrier_service, p.working_days, to_char(p.at, 'HH24:MI') AS at
FROM network.carrier_pickups p JOIN network.locations l USING (location_id) JOIN network.carrier_services s USING (service_id)
WHERE p.code = any(:codes::text[]) ORDER BY p.code;

-- name: pickup_codes_after
-- One page of codes.
SELECT code FROM network.carrier_pickups WHERE code > :after::text ORDER BY code LIMIT :limit::int;

-- name: all_pickups
-- Every pickup.
SELECT location_id, service_id, working_days, at FROM network.carrier_pickups;

-- name: write_capacity_days
-- A row comes back if it is new or differed.
INSERT INTO network.capacity_days AS d (location_id, ship_on, orders, units)
SELECT * FROM unnest(:location_ids::int[], :ship_ons::date[], :orders::int[], :units::int[])
ON CONFLICT (location_id, ship_on) DO UPDATE SET orders = excluded.orders, units = excluded.units
WHERE d.* IS DISTINCT FROM excluded.*
RETURNING d.location_id, d.ship_on, d.xmax = 0 AS new;

-- name: drop_capacity_day
-- The day is like any other.
DELETE FROM network.capacity_days WHERE location_id = :location_id::int AND ship_on = :ship_on::date RETURNING ship_on;

-- name: capacity_days
-- Some days as they were sent, by location and day.
SELECT l.code AS location, d.ship_on, d.orders, d.units
FROM network.capacity_days d JOIN network.locations l USING (location_id)
WHERE l.code || '/' || d.ship_on::text = any(:codes::text[]) ORDER BY l.code, d.ship_on;

-- name: capacity_day_codes_after
-- One page of them.
SELECT l.code || '/' || d.ship_on::text AS code FROM network.capacity_days d JOIN network.locations l USING (location_id)
WHERE l.code || '/' || d.ship_on::text > :after::text ORDER BY 1 LIMIT :limit::int;

-- name: all_capacity_days
-- Every day that is not like the others.
SELECT location_id, ship_on, orders, units FROM network.capacity_days;

-- exchange rates -----------------------------------------------------------------------------------------------------

-- name: write_exchange_rates
-- A row comes back if it is new or differed.
INSERT INTO network.exchange_rates AS e (from_currency, to_currency, valid_from, rate)
SELECT from_currency, to_currency, valid_from, rate::numeric
FROM unnest(:from_currencies::text[], :to_currencies::text[], :valid_froms::date[], :rates::text[])
    AS e (from_currency, to_currency, valid_from, rate)
ON CONFLICT (from_currency, to_currency, valid_from) DO UPDATE SET rate = excluded.rate
WHERE e.rate <> excluded.rate
RETURNING from_currency, to_currency, valid_from, e.xmax = 0 AS new;

-- name: exchange_rates_after
-- One page of them.
SELECT from_currency, to_currency, valid_from, trim_scale(rate)::text AS rate FROM network.exchange_rates
WHERE from_currency || '-' || to_currency || '/' || valid_from::text > :after::text
ORDER BY from_currency || '-' || to_currency || '/' || valid_from::text LIMIT :limit::int;

-- name: currencies_at_work
-- The currencies of active services, of locations with the networks that they are members of, and of channels with their seller and
-- the network that serves them.
SELECT 'service' AS what, code, currency, NULL::text AS network, true AS costs, NULL::text AS seller
FROM network.carrier_services WHERE active
UNION ALL
SELECT 'location', l.code, l.currency, n.code,
       greatest(l.handling_cost_minor, l.handling_line_cost_minor, l.handling_unit_cost_minor) > 0, NULL
FROM network.locations l LEFT JOIN network.members m USING (location_id) LEFT JOIN network.networks n USING (network_id)
UNION ALL
SELECT 'channel', c.code, s.currency, n.code, true, s.code
FROM catalog.channels c JOIN catalog.sellers s USING (seller_id) LEFT JOIN network.channel_networks USING (channel_id)
LEFT JOIN network.networks n USING (network_id);
