-- The whole database as it stands after every migration. A test holds the two together.
-- Tables that grow carry their distribution column first in every key: order_id, sku_id, or the looked-up key.

CREATE SCHEMA core;
CREATE SCHEMA catalog;
CREATE SCHEMA network;
CREATE SCHEMA inventory;
CREATE SCHEMA sourcing;
CREATE SCHEMA orders;
CREATE SCHEMA warehouse;
CREATE SCHEMA tracking;
CREATE SCHEMA aftercare;
CREATE SCHEMA flows;

-- core ---------------------------------------------------------------------------------------------------------------

-- How often the slow-changing facts (network, flows, profiles, ...) have changed: what a process keeps of them is good for one
-- number. 'promises' counts changes that touch what may be promised of any SKU, 'published' those that the feed has told; 'retired'
-- counts changes of what is no longer sold, 'retired_published' those that the feed has told. 'network' counts every change of a part
-- of the network, and each part counts its own.
CREATE TABLE core.revisions (
    name text NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT revisions_pk PRIMARY KEY (name)
);
INSERT INTO core.revisions (name, number) VALUES ('network', 0), ('flows', 0), ('profiles', 0), ('rules', 0), ('kits', 0),
    ('promises', 0), ('published', 0), ('counting', 0), ('tracking', 0), ('retired', 1), ('retired_published', 0), ('goods', 0),
    ('looked_at', 0), ('seen_by_warehouse', 0), ('locations', 0), ('carrier_services', 0), ('channels', 0), ('postal_codes', 0),
    ('closures', 0), ('carrier_pickups', 0), ('capacity_days', 0), ('exchange_rates', 0);

-- Integer keys handed out in blocks, so that no growing table needs a sequence.
CREATE TABLE core.counters (
    name text NOT NULL,
    next bigint NOT NULL DEFAULT 1,
    CONSTRAINT counters_pk PRIMARY KEY (name)
);
INSERT INTO core.counters (name) VALUES ('seller'), ('channel'), ('sku'), ('location'), ('network'), ('service'), ('change');

-- Everything that happened; an order's timeline is the events whose subject it is. ``set_id`` is the set that an event was recorded in,
-- at ``place``: NULL is from before the log, and the default is what a program writes that does not know sets.
CREATE TABLE core.events (
    subject_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    data jsonb NOT NULL,
    set_id uuid DEFAULT '00000000-0000-0000-0000-000000000000',
    place int,
    CONSTRAINT events_pk PRIMARY KEY (subject_id, id)
);
CREATE INDEX events_by_set ON core.events (set_id, place) WHERE set_id IS NOT NULL;

-- The log: events that were recorded together, and the position that they got after their commit. ``written`` is where the server's
-- write-ahead log was: unlike its clock, that never goes back.
CREATE TABLE core.event_sets (
    set_id uuid NOT NULL,
    events int NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    written pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    position bigint,
    CONSTRAINT event_sets_pk PRIMARY KEY (set_id),
    CONSTRAINT a_set_has_events CHECK (events > 0),
    CONSTRAINT the_log_begins_at_1 CHECK (position >= 1)
);
CREATE INDEX event_sets_waiting ON core.event_sets (written, set_id) WHERE position IS NULL;
CREATE INDEX event_sets_in_order ON core.event_sets (position) WHERE position IS NOT NULL;

-- How far the log goes: one row, which whoever gives positions holds. ``log_id`` is in every cursor, ``last_before`` the last subject that
-- has events from before the log. Whatever was committed at ``drained_at`` has its position.
CREATE TABLE core.log_head (
    one boolean NOT NULL DEFAULT true,
    log_id uuid NOT NULL DEFAULT gen_random_uuid(),
    head bigint NOT NULL DEFAULT 0,
    last_before uuid,
    drained_at timestamptz,
    CONSTRAINT log_head_pk PRIMARY KEY (one),
    CONSTRAINT there_is_one_log CHECK (one)
);
INSERT INTO core.log_head DEFAULT VALUES;

-- Who follows the log, of which kinds (NULL: all), and how far each has come: everything up to this place of this position; of what
-- is from before the log, up to this event.
CREATE TABLE core.subscriptions (
    name text NOT NULL,
    reader text NOT NULL,
    kinds text[],
    position bigint NOT NULL,
    place int NOT NULL,
    subject_id uuid,
    event_id uuid,
    created_at timestamptz NOT NULL,
    moved_at timestamptz,
    CONSTRAINT subscriptions_pk PRIMARY KEY (name),
    CONSTRAINT who_reads_a_subscription CHECK (reader IN ('stage', 'program')),
    CONSTRAINT a_subscription_has_a_place CHECK (position >= 0 AND place >= 0),
    CONSTRAINT only_before_the_log_an_event_is_named CHECK ((subject_id IS NULL) = (event_id IS NULL)
        AND (subject_id IS NULL OR position = 0))
);

-- What is still to be done about what happened. A row leaves in the transaction that does the work. ``due_at`` is the business's time;
-- ``wait_until``, ``waiting_since`` and ``leased_until`` are the time of this database, whatever the business's clock says. ``account``
-- is whom an effect calls, once that is known.
CREATE TABLE core.reactions (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    subject_id uuid NOT NULL,
    event_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    lease uuid,
    last_error text,
    dead_at timestamptz,
    wait_until timestamptz,
    waiting_since timestamptz,
    leased_until timestamptz,
    failure text,
    account text,
    CONSTRAINT reactions_pk PRIMARY KEY (bucket, id),
    CONSTRAINT a_bucket_is_one_of_64 CHECK (bucket BETWEEN 0 AND 63),
    CONSTRAINT how_reactions_fail CHECK (failure IN ('refused', 'answer_lost', 'unavailable', 'fault', 'not_written_down'))
) WITH (fillfactor = 80);
CREATE INDEX reactions_due ON core.reactions (kind, due_at, coalesce(wait_until, '-infinity')) WHERE dead_at IS NULL;
CREATE INDEX reactions_dead ON core.reactions (dead_at) WHERE dead_at IS NOT NULL;
CREATE INDEX reactions_leased ON core.reactions (kind, subject_id) WHERE lease IS NOT NULL;

-- The first answer to each key of a client, so that a repeated request is answered and not done again. ``key`` is who called (an API
-- key's id, or this machine), a line break, and what they sent: nobody is told another's answer.
CREATE TABLE core.idempotency (
    key text NOT NULL,
    digest bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT idempotency_pk PRIMARY KEY (key)
);
CREATE INDEX idempotency_by_age ON core.idempotency USING brin (at);

CREATE TABLE core.api_keys (
    key_id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    scopes text[] NOT NULL,            -- the roles of a key that is for everything and for ever
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    roles text[] NOT NULL DEFAULT '{}',  -- those of any other key: programs that do not know what narrows it let it do nothing
    permissions text[] NOT NULL DEFAULT '{}',
    sellers text[],                    -- codes; NULL: all
    locations text[],                  -- codes; NULL: all
    expires_at timestamptz,
    last_used_at timestamptz,          -- written once a minute at most
    CONSTRAINT api_keys_pk PRIMARY KEY (key_id),
    CONSTRAINT api_keys_are_unique UNIQUE (hash),
    CONSTRAINT a_narrowed_key_names_something CHECK (cardinality(sellers) > 0 AND cardinality(locations) > 0),
    CONSTRAINT programs_of_before_let_a_narrowed_key_do_nothing CHECK
        (scopes = '{}' OR (sellers IS NULL AND locations IS NULL AND expires_at IS NULL))
);

-- Recurring work: when a worker did it last by the business's clock (``done_at``), and by that of the database, when it is due next,
-- how it went, and who is at it. ``lease`` is of work that outlasts a transaction.
CREATE TABLE core.duties (
    name text NOT NULL,
    done_at timestamptz NOT NULL,
    every_seconds double precision,
    next_at timestamptz,
    begun_at timestamptz,
    took_seconds double precision,
    failures int NOT NULL DEFAULT 0,
    failed_at timestamptz,
    last_error text,
    lease uuid,
    leased_until timestamptz,
    CONSTRAINT duties_pk PRIMARY KEY (name)
);

-- What people have started and wait for. Its times are of the database's clock. ``cursor`` says how far a job without rows has come;
-- ``tries`` counts how often it was taken up since it last got on.
CREATE TABLE core.jobs (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    parameters jsonb NOT NULL,
    came_from text,
    state text NOT NULL,
    started_by text,
    created_at timestamptz NOT NULL,
    starts_at timestamptz NOT NULL,
    begun_at timestamptz,
    served_at timestamptz,
    finished_at timestamptz,
    has_rows boolean NOT NULL,
    total bigint,
    done bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    cursor jsonb,
    result jsonb,
    error_code text,
    error text,
    tries int NOT NULL DEFAULT 0,
    lease uuid,
    leased_until timestamptz,
    key_id uuid,                       -- the key that has started it; NULL: none was used
    CONSTRAINT jobs_pk PRIMARY KEY (job_id),
    CONSTRAINT a_job_changes_its_state_by_an_exit CHECK (
        coalesce(came_from, '') || ' ' || state IN (
            ' queued', 'queued running', 'queued cancelled', 'running cancelling', 'running done', 'running failed',
            'cancelling cancelled', 'cancelling done', 'cancelling failed')),
    CONSTRAINT a_job_has_done_no_more_than_there_is CHECK (refused BETWEEN 0 AND done),
    CONSTRAINT a_job_that_has_ended_says_when CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'cancelled', 'failed'))),
    CONSTRAINT only_a_job_that_was_begun_is_leased CHECK (lease IS NULL OR state IN ('running', 'cancelling'))
) WITH (fillfactor = 80);
CREATE INDEX jobs_unfinished ON core.jobs (kind) WHERE state IN ('queued', 'running', 'cancelling');
CREATE INDEX jobs_finished ON core.jobs (finished_at) WHERE finished_at IS NOT NULL;

-- What a job is to do, row by row, and what became of each: NULL is still to be done. ``input`` is forgotten with the outcome. Of a job
-- that writes a file, its lines.
CREATE TABLE core.job_rows (
    job_id uuid NOT NULL,
    row_no bigint NOT NULL,
    subject text NOT NULL,
    input jsonb,
    outcome text,
    code text,
    detail text,
    pointer text,
    output jsonb,
    CONSTRAINT job_rows_pk PRIMARY KEY (job_id, row_no),
    CONSTRAINT a_row_is_of_a_job FOREIGN KEY (job_id) REFERENCES core.jobs,
    CONSTRAINT what_becomes_of_a_row CHECK (outcome IN ('ok', 'refused')),
    CONSTRAINT a_refused_row_says_why CHECK ((outcome IS NOT DISTINCT FROM 'refused') = (code IS NOT NULL AND detail IS NOT NULL))
);
CREATE INDEX job_rows_open ON core.job_rows (job_id, row_no) WHERE outcome IS NULL;
CREATE INDEX job_rows_refused ON core.job_rows (job_id, row_no) WHERE outcome = 'refused';

-- Accounts of the world outside (a mail server, a payment provider) that fail for everybody: nothing is sent there for a while.
CREATE TABLE core.paused_accounts (
    account text NOT NULL,
    failing_since timestamptz NOT NULL,
    paused_until timestamptz NOT NULL,
    failures int NOT NULL,
    reason text NOT NULL,
    CONSTRAINT paused_accounts_pk PRIMARY KEY (account)
);

-- Which effects workers are configured for, and when one that takes them was last there.
CREATE TABLE core.taken_effects (
    kind text NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT taken_effects_pk PRIMARY KEY (kind)
);

-- What `/ready` writes to see that it can: one row for each of 64 slots, which processes share.
CREATE TABLE core.test_writes (
    slot smallint NOT NULL,
    written_at timestamptz NOT NULL,
    CONSTRAINT test_writes_pk PRIMARY KEY (slot),
    CONSTRAINT there_are_few_slots CHECK (slot BETWEEN 0 AND 63)
);

-- catalog ------------------------------------------------------------------------------------------------------------

CREATE TABLE catalog.sellers (
    seller_id int NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    locale text NOT NULL,
    return_window_days int NOT NULL,
    CONSTRAINT sellers_pk PRIMARY KEY (seller_id),
    CONSTRAINT seller_codes_are_unique UNIQUE (code),
    CONSTRAINT a_return_window_has_days CHECK (return_window_days >= 0)
);

CREATE TABLE catalog.channels (
    channel_id int NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    seller_id int NOT NULL,
    short_policy text NOT NULL,
    payment_provider text NOT NULL DEFAULT 'manual',  -- of orders that name nobody else
    CONSTRAINT channels_pk PRIMARY KEY (channel_id),
    CONSTRAINT channel_codes_are_unique UNIQUE (code),
    CONSTRAINT a_channel_has_a_seller FOREIGN KEY (seller_id) REFERENCES catalog.sellers,
    CONSTRAINT short_policies CHECK (short_policy IN ('refuse', 'backorder', 'drop'))
);

-- A look-up by code, written before the SKU itself. A code never changes its SKU.
CREATE TABLE catalog.sku_codes (
    code text NOT NULL,
    sku_id int NOT NULL,
    CONSTRAINT sku_codes_pk PRIMARY KEY (code)
);

CREATE TABLE catalog.skus (
    sku_id int NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    gtin text,
    category text,
    weight_grams int NOT NULL,
    length_mm int NOT NULL,
    width_mm int NOT NULL,
    height_mm int NOT NULL,
    unit_scale smallint NOT NULL,
    backorderable boolean NOT NULL,
    active boolean NOT NULL DEFAULT true,
    tracking text NOT NULL DEFAULT 'none',
    expiry_required boolean NOT NULL DEFAULT false,
    handling_classes text[] NOT NULL DEFAULT '{}',
    stop_selling_days int NOT NULL DEFAULT 0,  -- before the date on a lot
    CONSTRAINT skus_pk PRIMARY KEY (sku_id),
    CONSTRAINT trackings CHECK (tracking IN ('none', 'lot', 'serial')),
    CONSTRAINT only_lots_stop_selling CHECK (stop_selling_days >= 0 AND (stop_selling_days = 0 OR tracking = 'lot')),
    CONSTRAINT weights_and_sizes_are_not_negative CHECK (least(weight_grams, length_mm, width_mm, height_mm) >= 0),
    CONSTRAINT a_unit_scale_is_0_to_6 CHECK (unit_scale BETWEEN 0 AND 6)
);
CREATE INDEX skus_retired ON catalog.skus (sku_id) WHERE NOT active;
CREATE INDEX skus_tracked ON catalog.skus (sku_id) WHERE tracking <> 'none';

-- Every SKU that is a kit, or was one: its order lines hold units of components.
CREATE TABLE catalog.kits (
    sku_id int NOT NULL,
    CONSTRAINT kits_pk PRIMARY KEY (sku_id),
    CONSTRAINT a_kit_was_a_sku_before FOREIGN KEY (sku_id) REFERENCES catalog.skus
);

CREATE TABLE catalog.kit_components (
    sku_id int NOT NULL,
    component_sku_id int NOT NULL,
    quantity bigint NOT NULL,
    CONSTRAINT kit_components_pk PRIMARY KEY (sku_id, component_sku_id),
    CONSTRAINT a_kit_is_a_sku FOREIGN KEY (sku_id) REFERENCES catalog.skus,
    CONSTRAINT a_kit_holds_something CHECK (quantity > 0),
    CONSTRAINT a_kit_does_not_hold_itself CHECK (sku_id <> component_sku_id)
);

-- network ------------------------------------------------------------------------------------------------------------

CREATE TABLE network.locations (
    location_id int NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    country text NOT NULL,
    postal_code text NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    timezone text NOT NULL,
    working_days smallint[] NOT NULL,  -- ISO: 1 is Monday
    cut_off time NOT NULL,             -- local: what is placed before it leaves the same working day
    daily_capacity int,                -- orders a day; NULL is no limit
    handling_cost_minor bigint NOT NULL,
    serves_countries text[] NOT NULL,
    active boolean NOT NULL DEFAULT true,
    bins boolean NOT NULL DEFAULT false,
    tags text[] NOT NULL DEFAULT '{}',
    handles text[] NOT NULL DEFAULT '{}',          -- handling classes
    serves_prefixes text[] NOT NULL DEFAULT '{}',  -- of postal codes; empty: all
    handling_line_cost_minor bigint NOT NULL DEFAULT 0,
    handling_unit_cost_minor bigint NOT NULL DEFAULT 0,
    daily_unit_capacity int,           -- units a day; NULL is no limit
    priority int NOT NULL DEFAULT 0,   -- the smaller the better
    processing_days int NOT NULL DEFAULT 0,
    holidays text,                     -- whose public holidays are kept: US, or US-OH
    pickup boolean NOT NULL DEFAULT false,
    pickup_ready_minutes int NOT NULL DEFAULT 120,
    opens time NOT NULL DEFAULT '09:00',
    closes time NOT NULL DEFAULT '20:00',
    ships_until time,                  -- until when parcels leave on a day without a pickup; NULL: 20:00, or the cut-off if later
    currency text,                     -- of the handling costs; NULL: the order's
    CONSTRAINT locations_pk PRIMARY KEY (location_id),
    CONSTRAINT location_codes_are_unique UNIQUE (code),
    CONSTRAINT location_types CHECK (type IN ('warehouse', 'distribution_center', 'store', '3pl', 'supplier')),
    CONSTRAINT coordinates_lie_on_earth CHECK (latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180),
    CONSTRAINT a_location_works_some_day CHECK (working_days <@ '{1,2,3,4,5,6,7}' AND cardinality(working_days) > 0),
    CONSTRAINT a_capacity_is_not_negative CHECK (least(daily_capacity, daily_unit_capacity) >= 0),
    CONSTRAINT handling_is_not_negative CHECK
        (least(handling_line_cost_minor, handling_unit_cost_minor, processing_days, pickup_ready_minutes) >= 0),
    CONSTRAINT a_location_opens_before_it_closes CHECK (opens < closes)
);

CREATE TABLE network.networks (
    network_id int NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    CONSTRAINT networks_pk PRIMARY KEY (network_id),
    CONSTRAINT network_codes_are_unique UNIQUE (code)
);

CREATE TABLE network.members (
    network_id int NOT NULL,
    location_id int NOT NULL,
    buffer bigint NOT NULL DEFAULT 0,
    CONSTRAINT members_pk PRIMARY KEY (network_id, location_id),
    CONSTRAINT a_member_is_of_a_network FOREIGN KEY (network_id) REFERENCES network.networks,
    CONSTRAINT a_member_is_a_location FOREIGN KEY (location_id) REFERENCES network.locations,
    CONSTRAINT a_buffer_is_not_negative CHECK (buffer >= 0)
);

-- Which network serves a channel; a channel has one.
CREATE TABLE network.channel_networks (
    channel_id int NOT NULL,
    network_id int NOT NULL,
    CONSTRAINT channel_networks_pk PRIMARY KEY (channel_id),
    CONSTRAINT a_served_channel_exists FOREIGN KEY (channel_id) REFERENCES catalog.channels,
    CONSTRAINT a_serving_network_exists FOREIGN KEY (network_id) REFERENCES network.networks
);

CREATE TABLE network.carrier_services (
    service_id int NOT NULL,
    code text NOT NULL,
    carrier text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    working_days smallint[] NOT NULL,  -- days on which parcels move, ISO
    max_grams int NOT NULL,
    active boolean NOT NULL DEFAULT true,
    level text NOT NULL DEFAULT 'standard',
    holidays text,
    dimensional_cubic_cm_per_kg int,   -- a parcel counts by its volume, if that weighs more
    max_cubic_cm int,
    carbon_grams_per_kg_km double precision NOT NULL DEFAULT 0,
    CONSTRAINT carrier_services_pk PRIMARY KEY (service_id),
    CONSTRAINT service_codes_are_unique UNIQUE (code),
    CONSTRAINT a_service_works_some_day CHECK (working_days <@ '{1,2,3,4,5,6,7}' AND cardinality(working_days) > 0),
    CONSTRAINT a_service_carries_something CHECK (max_grams > 0 AND max_cubic_cm > 0 IS NOT FALSE
                                                  AND dimensional_cubic_cm_per_kg > 0 IS NOT FALSE),
    CONSTRAINT carbon_is_not_negative CHECK (carbon_grams_per_kg_km >= 0)
);

-- A zone reaches up to a distance, and takes so many working days of the service.
CREATE TABLE network.zones (
    service_id int NOT NULL,
    zone text NOT NULL,
    up_to_km double precision,         -- NULL: reached only by a lane
    transit_days int NOT NULL,
    CONSTRAINT zones_pk PRIMARY KEY (service_id, zone),
    CONSTRAINT a_zone_is_of_a_service FOREIGN KEY (service_id) REFERENCES network.carrier_services,
    CONSTRAINT transit_takes_time CHECK (transit_days >= 0)
);

-- A pair of postal prefixes whose zone is stated; it wins over the distance. The longest prefixes win.
CREATE TABLE network.lanes (
    service_id int NOT NULL,
    origin_prefix text NOT NULL,
    destination_prefix text NOT NULL,
    zone text NOT NULL,
    CONSTRAINT lanes_pk PRIMARY KEY (service_id, origin_prefix, destination_prefix),
    CONSTRAINT a_lane_has_a_zone FOREIGN KEY (service_id, zone) REFERENCES network.zones
);

CREATE TABLE network.rates (
    service_id int NOT NULL,
    zone text NOT NULL,
    up_to_grams int NOT NULL,
    cost_minor bigint NOT NULL,
    CONSTRAINT rates_pk PRIMARY KEY (service_id, zone, up_to_grams),
    CONSTRAINT a_rate_has_a_zone FOREIGN KEY (service_id, zone) REFERENCES network.zones,
    CONSTRAINT a_rate_is_not_negative CHECK (cost_minor >= 0 AND up_to_grams > 0)
);

-- What one whole unit of a currency is worth in another one, from a day on (UTC).
CREATE TABLE network.exchange_rates (
    from_currency text NOT NULL,
    to_currency text NOT NULL,
    valid_from date NOT NULL,
    rate numeric NOT NULL,
    CONSTRAINT exchange_rates_pk PRIMARY KEY (from_currency, to_currency, valid_from),
    CONSTRAINT an_exchange_rate_is_positive CHECK (rate > 0),
    CONSTRAINT a_currency_is_exchanged_for_another_one CHECK (from_currency <> to_currency)
);

CREATE TABLE network.postal_codes (
    country text NOT NULL,
    postal_code text NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    CONSTRAINT postal_codes_pk PRIMARY KEY (country, postal_code)
);

-- When a location is switched off: for a channel or for all, until some time or until it is taken back.
CREATE TABLE network.closures (
    code text NOT NULL,
    location_id int NOT NULL,
    channel_id int,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    reason text NOT NULL,
    number bigint NOT NULL DEFAULT 0,  -- the revision of closures in which it was written last
    CONSTRAINT closures_pk PRIMARY KEY (code),
    CONSTRAINT a_location_is_closed FOREIGN KEY (location_id) REFERENCES network.locations,
    CONSTRAINT a_location_is_closed_for_a_channel FOREIGN KEY (channel_id) REFERENCES catalog.channels,
    CONSTRAINT a_closure_ends_after_it_starts CHECK (ends_at > starts_at),
    CONSTRAINT a_closure_lies_within_the_calendar CHECK (isfinite(starts_at) AND isfinite(ends_at))
);
CREATE INDEX closures_by_number ON network.closures (number);

-- Closures that were taken back lately, so that whoever keeps closures does not have to read all of them again.
CREATE TABLE network.reopened (
    code text NOT NULL,
    number bigint NOT NULL,            -- the revision of closures in which it was taken back
    CONSTRAINT reopened_pk PRIMARY KEY (code)
);

-- When a carrier collects at a location; where a service has none, its parcels leave at the cut-off.
CREATE TABLE network.carrier_pickups (
    code text NOT NULL,
    location_id int NOT NULL,
    service_id int NOT NULL,
    working_days smallint[] NOT NULL,
    at time NOT NULL,                  -- local
    CONSTRAINT carrier_pickups_pk PRIMARY KEY (code),
    CONSTRAINT a_pickup_is_at_a_location FOREIGN KEY (location_id) REFERENCES network.locations,
    CONSTRAINT a_pickup_is_by_a_service FOREIGN KEY (service_id) REFERENCES network.carrier_services,
    CONSTRAINT a_pickup_is_on_some_day CHECK (working_days <@ '{1,2,3,4,5,6,7}' AND cardinality(working_days) > 0)
);

-- What a location can take on for one day, in place of what it can on any other.
CREATE TABLE network.capacity_days (
    location_id int NOT NULL,
    ship_on date NOT NULL,
    orders int,
    units int,
    CONSTRAINT capacity_days_pk PRIMARY KEY (location_id, ship_on),
    CONSTRAINT a_capacity_day_is_of_a_location FOREIGN KEY (location_id) REFERENCES network.locations,
    CONSTRAINT a_day_is_not_negative CHECK (least(orders, units) >= 0)
);

-- What a limited location has taken on for a day of shipping: held at placement, confirmed at release.
CREATE TABLE network.capacity (
    location_id int NOT NULL,
    ship_on date NOT NULL,
    held_orders int NOT NULL DEFAULT 0,
    confirmed_orders int NOT NULL DEFAULT 0,
    held_units bigint NOT NULL DEFAULT 0,
    confirmed_units bigint NOT NULL DEFAULT 0,
    CONSTRAINT capacity_pk PRIMARY KEY (location_id, ship_on),
    CONSTRAINT capacity_used_is_not_negative CHECK (least(held_orders, confirmed_orders, held_units, confirmed_units) >= 0)
);

-- inventory ----------------------------------------------------------------------------------------------------------

-- The balance. On hand counts what is physically there, picked units included until they ship.
CREATE TABLE inventory.stock (
    sku_id int NOT NULL,
    location_id int NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL,
    picked bigint NOT NULL,
    CONSTRAINT stock_pk PRIMARY KEY (sku_id, location_id),
    CONSTRAINT inv_1_never_promise_more_than_we_have CHECK (reserved BETWEEN 0 AND on_hand),
    CONSTRAINT inv_4_only_reserved_units_are_picked CHECK (picked BETWEEN 0 AND reserved)
) WITH (fillfactor = 70);

-- The ledger beside it. One cause moves one line's units in one way at one place at most once.
CREATE TABLE inventory.moves (
    sku_id int NOT NULL,
    cause_id uuid NOT NULL,
    location_id int NOT NULL,
    line_no int NOT NULL,              -- 0 where no order line is behind it
    kind text NOT NULL,
    on_hand_delta bigint NOT NULL,
    reserved_delta bigint NOT NULL,
    picked_delta bigint NOT NULL,
    reason text,
    order_id uuid,
    at timestamptz NOT NULL,
    unavailable_delta bigint NOT NULL DEFAULT 0,
    actor text,                        -- who, where it was not an order's own course
    document text,                     -- the paper behind it, as its owner calls it
    CONSTRAINT moves_pk PRIMARY KEY (sku_id, cause_id, location_id, line_no, kind),
    CONSTRAINT move_kinds CHECK (kind IN
        ('received', 'adjusted', 'counted', 'reserved', 'released', 'picked', 'unpicked', 'shipped', 'returned', 'held', 'let_go',
         'set_aside', 'restored', 'scrapped', 'sent', 'arrived'))
);

-- What an order line or a hold (line 0) has reserved at a location, until it ships or lets go.
CREATE TABLE inventory.reservations (
    sku_id int NOT NULL,
    order_id uuid NOT NULL,            -- or the hold's id
    line_no int NOT NULL,
    location_id int NOT NULL,
    quantity bigint NOT NULL,
    channel_id int,
    expires_at timestamptz,            -- of a hold
    CONSTRAINT reservations_pk PRIMARY KEY (sku_id, order_id, line_no, location_id),
    CONSTRAINT a_reservation_is_not_negative CHECK (quantity >= 0),
    CONSTRAINT only_holds_expire CHECK ((expires_at IS NULL) = (line_no <> 0))
) WITH (fillfactor = 80);
CREATE INDEX reservations_by_hold ON inventory.reservations (order_id) WHERE expires_at IS NOT NULL;
CREATE INDEX reservations_of_holds ON inventory.reservations (sku_id, expires_at) WHERE expires_at IS NOT NULL;

-- inventory: units that wait

-- What orders of a channel wait for, of kits their components; and whether they have been asked since units became free.
CREATE TABLE inventory.waiting (
    sku_id int NOT NULL,
    channel_id int NOT NULL,
    quantity bigint NOT NULL,
    freed bigint NOT NULL,             -- how often units may have become free
    offered bigint NOT NULL,           -- how often, when the orders were last asked
    stamp bigint NOT NULL DEFAULT 0,   -- the revisions of what decides, then
    offered_at timestamptz,
    CONSTRAINT waiting_pk PRIMARY KEY (sku_id, channel_id),
    CONSTRAINT wai_1_no_less_than_nothing_waits CHECK (quantity >= 0)
) WITH (fillfactor = 70);
CREATE INDEX waiting_now ON inventory.waiting (sku_id) WHERE quantity > 0;

-- inventory: holds

-- Units held for a cart until it expires, is let go or becomes an order. Its reservations have its id and line 0.
CREATE TABLE inventory.holds (
    hold_id uuid NOT NULL,
    channel_id int NOT NULL,
    cart text,                         -- as the channel calls it
    held_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    order_id uuid,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN ended_at IS NULL THEN 'open'
        WHEN order_id IS NOT NULL THEN 'ordered'
        WHEN ended_at >= expires_at THEN 'expired'
        ELSE 'released' END) STORED,
    CONSTRAINT holds_pk PRIMARY KEY (hold_id),
    CONSTRAINT only_an_ended_hold_is_ordered CHECK (order_id IS NULL OR ended_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE TABLE inventory.hold_lines (
    hold_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    quantity bigint NOT NULL,
    CONSTRAINT hold_lines_pk PRIMARY KEY (hold_id, line_no),
    CONSTRAINT a_hold_line_is_of_a_hold FOREIGN KEY (hold_id) REFERENCES inventory.holds,
    CONSTRAINT a_hold_line_holds_something CHECK (quantity > 0)
);
CREATE INDEX holds_open ON inventory.holds (expires_at) WHERE ended_at IS NULL;

-- Which hold a cart has, or had last: looked up by what the channel calls the cart, written before the hold. One row a cart, so that a
-- cart has one open hold at most.
CREATE TABLE inventory.carts (
    channel_id int NOT NULL,
    cart text NOT NULL,
    hold_id uuid NOT NULL,
    CONSTRAINT hld_4_a_cart_has_one_hold PRIMARY KEY (channel_id, cart)
);

-- inventory: rules and closures

-- What is withheld from promising, kept for a channel, or called low. Of the rules of a kind that fit, the most specific holds.
CREATE TABLE inventory.rules (
    kind text NOT NULL,
    code text NOT NULL,
    network_id int,
    channel_id int,                    -- of an allocation, whom units are kept for; else whose orders it is about
    location_type text,
    location_id int,
    category text,
    sku_id int,
    units bigint,
    hundredths int,                    -- of a percent of what is on hand, rounded up
    CONSTRAINT rules_pk PRIMARY KEY (kind, code),
    CONSTRAINT rule_kinds CHECK (kind IN ('buffer', 'allocation', 'low_stock')),
    CONSTRAINT a_rule_names_units_or_a_share CHECK (num_nonnulls(units, hundredths) = 1 AND units >= 0 IS NOT FALSE),
    CONSTRAINT a_share_is_up_to_all CHECK (hundredths BETWEEN 0 AND 10000),
    CONSTRAINT an_allocation_is_for_a_channel CHECK (kind <> 'allocation' OR channel_id IS NOT NULL),
    CONSTRAINT one_rule_a_scope UNIQUE NULLS NOT DISTINCT
        (kind, network_id, channel_id, location_type, location_id, category, sku_id),
    CONSTRAINT a_rule_is_in_a_network FOREIGN KEY (network_id) REFERENCES network.networks,
    CONSTRAINT a_rule_is_for_a_channel FOREIGN KEY (channel_id) REFERENCES catalog.channels,
    CONSTRAINT a_rule_is_at_a_location FOREIGN KEY (location_id) REFERENCES network.locations
);
CREATE INDEX rules_of_skus ON inventory.rules (sku_id) WHERE sku_id IS NOT NULL;

-- inventory: kits

-- What a kit was made of when an order line reserved it: the line moves these components until its end.
CREATE TABLE inventory.kit_lines (
    order_id uuid NOT NULL,
    line_no int NOT NULL,
    component_sku_id int NOT NULL,
    quantity bigint NOT NULL,          -- in one kit
    CONSTRAINT kit_lines_pk PRIMARY KEY (order_id, line_no, component_sku_id),
    CONSTRAINT a_kit_line_holds_something CHECK (quantity > 0)
);

-- inventory: feeds

-- Feeds that have a name: sent again, they go on where they broke off.
CREATE TABLE inventory.feeds (
    feed text NOT NULL,
    kind text NOT NULL,
    as_of timestamptz,
    actor text,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    rows bigint NOT NULL DEFAULT 0,    -- the sums over its sets, once it is finished
    applied bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    CONSTRAINT feeds_pk PRIMARY KEY (feed),
    CONSTRAINT feed_kinds CHECK (kind IN ('counts', 'adjustments', 'receipts')),
    CONSTRAINT every_row_of_a_feed_is_accounted_for CHECK (rows = applied + unchanged + refused),
    CONSTRAINT a_feed_was_counted_within_the_calendar CHECK (isfinite(as_of))
);
CREATE INDEX feeds_by_time ON inventory.feeds (started_at, feed);

-- A set of a feed's rows, written in the transaction that applies it.
CREATE TABLE inventory.feed_sets (
    feed text NOT NULL,
    set_no int NOT NULL,
    first_line bigint NOT NULL,
    last_line bigint NOT NULL,
    digest bytea NOT NULL,
    rows bigint NOT NULL,
    applied bigint NOT NULL,
    refused bigint NOT NULL,
    faults jsonb NOT NULL,
    CONSTRAINT feed_sets_pk PRIMARY KEY (feed, set_no)
);

-- Which positions were counted as of when, changed or not, a set a row: an older count never overwrites a newer one.
CREATE TABLE inventory.counted (
    counted_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    first_sku_id int NOT NULL,
    last_sku_id int NOT NULL,
    sku_ids int[] NOT NULL,
    location_ids int[] NOT NULL,
    CONSTRAINT counted_pk PRIMARY KEY (counted_id)
);
CREATE INDEX counted_by_time ON inventory.counted (as_of);

-- inventory: counts and shortfalls

-- Units that orders hold and that were not there when somebody counted.
CREATE TABLE inventory.shortfalls (
    shortfall_id uuid NOT NULL,
    sku_id int NOT NULL,
    location_id int NOT NULL,
    missing bigint NOT NULL,
    open bigint NOT NULL,
    resolved bigint NOT NULL DEFAULT 0,   -- nobody is promised them any more
    recovered bigint NOT NULL DEFAULT 0,  -- they were there after all
    document text,
    found_at timestamptz NOT NULL,
    closed_at timestamptz,
    note text,                            -- what a person wrote who closed it; it can be erased
    CONSTRAINT shortfalls_pk PRIMARY KEY (sku_id, shortfall_id),
    CONSTRAINT sho_1_every_missing_unit_is_in_one_state CHECK (missing = open + resolved + recovered),
    CONSTRAINT sho_2_no_state_holds_less_than_nothing CHECK (least(open, resolved, recovered) >= 0)
);
CREATE INDEX shortfalls_by_id ON inventory.shortfalls (shortfall_id);
CREATE UNIQUE INDEX one_shortfall_a_position ON inventory.shortfalls (sku_id, location_id) WHERE open > 0;

CREATE TABLE inventory.count_plans (
    code text NOT NULL,
    location_id int NOT NULL,
    days int[] NOT NULL,               -- after how many SKUs of class A, B and C are due again
    lines int NOT NULL,
    accept_units bigint NOT NULL,
    accept_hundredths int NOT NULL,    -- of a percent of what is expected
    approve_above_units bigint NOT NULL,
    active boolean NOT NULL,
    CONSTRAINT count_plans_pk PRIMARY KEY (code),
    CONSTRAINT a_count_plan_is_for_a_location FOREIGN KEY (location_id) REFERENCES network.locations
);

-- The counts are the sums over the lines; the status follows from them.
CREATE TABLE inventory.count_sheets (
    sheet_id uuid NOT NULL,
    plan text NOT NULL,
    location_id int NOT NULL,
    made_at timestamptz NOT NULL,
    open int NOT NULL,
    recount int NOT NULL,
    waiting int NOT NULL,
    accepted int NOT NULL,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN open + recount > 0 THEN 'counting'
        WHEN waiting > 0 THEN 'approval'
        ELSE 'done' END) STORED,
    CONSTRAINT count_sheets_pk PRIMARY KEY (sheet_id),
    CONSTRAINT a_sheet_counts_its_lines CHECK (least(open, recount, waiting, accepted) >= 0)
);

CREATE TABLE inventory.count_lines (
    sheet_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    state text NOT NULL,
    counted bigint,
    counted_at timestamptz,
    expected bigint,
    CONSTRAINT count_lines_pk PRIMARY KEY (sheet_id, line_no),
    CONSTRAINT a_count_line_is_of_a_sheet FOREIGN KEY (sheet_id) REFERENCES inventory.count_sheets,
    CONSTRAINT a_sku_stands_once_on_a_sheet UNIQUE (sheet_id, sku_id),
    CONSTRAINT count_line_states CHECK (state IN ('open', 'recount', 'waiting', 'accepted')),
    CONSTRAINT an_open_line_is_not_counted CHECK ((state = 'open') = (counted IS NULL))
);
CREATE INDEX count_lines_of_skus ON inventory.count_lines (sku_id);

-- inventory: bins, lots and serials

CREATE TABLE inventory.bins (
    location_id int NOT NULL,
    code text NOT NULL,
    CONSTRAINT bins_pk PRIMARY KEY (location_id, code),
    CONSTRAINT a_bin_is_at_a_location FOREIGN KEY (location_id) REFERENCES network.locations
);

CREATE TABLE inventory.lots (
    sku_id int NOT NULL,
    lot text NOT NULL,
    expires_on date,
    first_at timestamptz NOT NULL,
    CONSTRAINT lots_pk PRIMARY KEY (sku_id, lot),
    CONSTRAINT a_lot_expires_within_the_calendar CHECK (isfinite(expires_on))
);
CREATE INDEX lots_by_date ON inventory.lots (expires_on) WHERE expires_on IS NOT NULL;

-- Where exactly the units of a position lie, and of which lot: the rows sum to its on hand.
CREATE TABLE inventory.detail (
    sku_id int NOT NULL,
    location_id int NOT NULL,
    bin text NOT NULL,                 -- '-' where nobody has put them away, '(picked)' until they ship
    lot text NOT NULL,                 -- '' where the SKU has none
    quantity bigint NOT NULL,
    CONSTRAINT detail_pk PRIMARY KEY (sku_id, location_id, bin, lot),
    CONSTRAINT det_1_no_bin_holds_less_than_nothing CHECK (quantity >= 0)
) WITH (fillfactor = 80);

CREATE TABLE inventory.detail_moves (
    sku_id int NOT NULL,
    cause_id uuid NOT NULL,
    location_id int NOT NULL,
    line_no int NOT NULL,
    kind text NOT NULL,
    bin text NOT NULL,
    lot text NOT NULL,
    delta bigint NOT NULL,
    order_id uuid,
    at timestamptz NOT NULL,
    CONSTRAINT detail_moves_pk PRIMARY KEY (sku_id, cause_id, location_id, line_no, kind, bin, lot)
);
CREATE INDEX detail_moves_of_orders ON inventory.detail_moves (sku_id, order_id, line_no) WHERE order_id IS NOT NULL;

CREATE TABLE inventory.serials (
    sku_id int NOT NULL,
    serial text NOT NULL,
    state text NOT NULL,
    location_id int,
    order_id uuid,                     -- that it is picked for, or went with
    line_no int,
    CONSTRAINT serials_pk PRIMARY KEY (sku_id, serial),
    CONSTRAINT serial_states CHECK (state IN ('in_stock', 'picked', 'shipped', 'in_transit', 'set_aside', 'gone', 'scrapped')),
    CONSTRAINT ser_1_a_serial_is_in_one_place CHECK ((location_id IS NOT NULL) = (state IN ('in_stock', 'picked', 'set_aside')))
) WITH (fillfactor = 80);
CREATE INDEX serials_at ON inventory.serials (sku_id, location_id, state);
CREATE INDEX serials_of_orders ON inventory.serials (sku_id, order_id, line_no) WHERE order_id IS NOT NULL;

CREATE TABLE inventory.serial_moves (
    sku_id int NOT NULL,
    serial text NOT NULL,
    cause_id uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    location_id int,
    order_id uuid,
    at timestamptz NOT NULL,
    CONSTRAINT serial_moves_pk PRIMARY KEY (sku_id, serial, cause_id, kind)
);

-- inventory: incoming, transfers and what is set aside

-- Why units that are there may not be sold.
CREATE TABLE inventory.conditions (
    code text NOT NULL,
    sentence text NOT NULL,
    CONSTRAINT conditions_pk PRIMARY KEY (code)
);
INSERT INTO inventory.conditions (code, sentence) VALUES
    ('damaged', 'The units are damaged.'),
    ('quality_control', 'The units wait for an inspection.'),
    ('expired', 'The units are past their date.'),
    ('recalled', 'The maker has called the units back.'),
    ('customs', 'The units are held by customs.'),
    ('other', 'Something else; the document says what.');

-- Units that lie at a location and may not be sold: beside on hand, not in it.
CREATE TABLE inventory.unavailable (
    sku_id int NOT NULL,
    location_id int NOT NULL,
    condition text NOT NULL,
    quantity bigint NOT NULL,
    CONSTRAINT unavailable_pk PRIMARY KEY (sku_id, location_id, condition),
    CONSTRAINT una_1_no_more_comes_back_than_was_set_aside CHECK (quantity >= 0)
);

-- What suppliers are to bring, by the document that says so.
CREATE TABLE inventory.incoming (
    sku_id int NOT NULL,
    location_id int NOT NULL,
    document text NOT NULL,
    quantity bigint NOT NULL,
    received bigint NOT NULL DEFAULT 0,
    expected_at timestamptz NOT NULL,
    announced_at timestamptz NOT NULL,
    closed boolean NOT NULL DEFAULT false,
    CONSTRAINT incoming_pk PRIMARY KEY (sku_id, location_id, document),
    CONSTRAINT incoming_is_not_negative CHECK (least(quantity, received) >= 0)
);
CREATE INDEX incoming_by_document ON inventory.incoming (document);

-- Units on their way from one location to another. The counts are the sums over the lines; the status follows from them.
CREATE TABLE inventory.transfers (
    transfer_id uuid NOT NULL,
    document text,
    origin_id int NOT NULL,
    destination_id int NOT NULL,
    requested_at timestamptz NOT NULL,
    expected_at timestamptz NOT NULL,
    requested bigint NOT NULL,
    open bigint NOT NULL,
    in_transit bigint NOT NULL,
    received bigint NOT NULL,
    lost bigint NOT NULL,
    cancelled bigint NOT NULL,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN cancelled = requested THEN 'cancelled'
        WHEN open + in_transit = 0 THEN 'received'
        WHEN in_transit + received + lost = 0 THEN 'requested'
        WHEN open > 0 THEN 'partially_shipped'
        ELSE 'in_transit' END) STORED,
    CONSTRAINT transfers_pk PRIMARY KEY (transfer_id),
    CONSTRAINT a_transfer_goes_somewhere_else CHECK (origin_id <> destination_id),
    CONSTRAINT a_transfer_accounts_for_its_units CHECK (requested = open + in_transit + received + lost + cancelled)
) WITH (fillfactor = 80);
CREATE INDEX transfers_under_way ON inventory.transfers (destination_id) WHERE status IN ('requested', 'partially_shipped', 'in_transit');
CREATE INDEX transfers_by_time ON inventory.transfers (requested_at, transfer_id);

CREATE TABLE inventory.transfer_lines (
    transfer_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    requested bigint NOT NULL,
    open bigint NOT NULL,              -- reserved at the origin
    in_transit bigint NOT NULL,
    received bigint NOT NULL,
    lost bigint NOT NULL,
    cancelled bigint NOT NULL,
    surplus bigint NOT NULL DEFAULT 0, -- arrived beyond what was sent
    CONSTRAINT transfer_lines_pk PRIMARY KEY (transfer_id, line_no),
    CONSTRAINT a_transfer_line_is_of_a_transfer FOREIGN KEY (transfer_id) REFERENCES inventory.transfers,
    CONSTRAINT tra_1_every_unit_is_in_one_state CHECK (requested = open + in_transit + received + lost + cancelled),
    CONSTRAINT tra_2_no_state_holds_less_than_nothing CHECK
        (requested > 0 AND least(open, in_transit, received, lost, cancelled, surplus) >= 0)
) WITH (fillfactor = 80);
CREATE INDEX transfer_lines_in_transit ON inventory.transfer_lines (sku_id) WHERE in_transit > 0;

-- inventory: signals and the availability feed

-- SKUs whose stock has moved, until they are published: written with the moves, taken out by one worker.
CREATE TABLE inventory.touched (
    sku_id int NOT NULL
);
CREATE INDEX touched_skus ON inventory.touched (sku_id);

-- The SKUs that are no longer sold as far as the feed has told it: what is retired or revived is found by comparing.
CREATE TABLE inventory.retired (
    sku_id int NOT NULL,
    CONSTRAINT retired_pk PRIMARY KEY (sku_id)
);

-- When each SKU changed last, in the order of publishing: what channels follow.
CREATE TABLE inventory.changes (
    sku_id int NOT NULL,
    cursor bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT changes_pk PRIMARY KEY (sku_id)
) WITH (fillfactor = 70);
CREATE INDEX changes_in_order ON inventory.changes (cursor);

-- What a network was last known to have of a SKU: what is low, out or back is told by comparison.
CREATE TABLE inventory.published (
    sku_id int NOT NULL,
    network_id int NOT NULL,
    available bigint NOT NULL,
    low boolean NOT NULL,
    since timestamptz NOT NULL,        -- low or not
    CONSTRAINT published_pk PRIMARY KEY (sku_id, network_id)
) WITH (fillfactor = 70);
CREATE INDEX published_low ON inventory.published (network_id, sku_id) WHERE low OR available = 0;

-- sourcing -----------------------------------------------------------------------------------------------------------

-- Versions of the routing profiles. Of a name, one version at most is active; a shadow decides beside it and changes nothing.
CREATE TABLE sourcing.profiles (
    version int NOT NULL,
    name text NOT NULL,
    document text NOT NULL,
    active boolean NOT NULL DEFAULT false,
    shadow boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    activated_at timestamptz,          -- last
    CONSTRAINT profiles_pk PRIMARY KEY (version)
);
CREATE UNIQUE INDEX one_version_of_a_profile_is_active ON sourcing.profiles (name) WHERE active;

CREATE TABLE sourcing.decisions (
    order_id uuid NOT NULL,
    cause_id uuid NOT NULL,
    profile_version int NOT NULL,
    at timestamptz NOT NULL,
    explanation json NOT NULL,
    CONSTRAINT decisions_pk PRIMARY KEY (order_id, cause_id)
);

-- What a candidate profile would have made of an order, beside what was made of it.
CREATE TABLE sourcing.shadows (
    order_id uuid NOT NULL,
    version int NOT NULL,
    wanted bigint NOT NULL,
    live json NOT NULL,
    shadow json NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT shadows_pk PRIMARY KEY (order_id, version)
);
CREATE INDEX shadows_by_version ON sourcing.shadows (version, order_id);

-- What sets of orders were decided on while shadows were on: a reaction decides on it with every shadow, and deletes it.
CREATE TABLE sourcing.unjudged (
    unjudged_id uuid NOT NULL,
    orders int NOT NULL,               -- how many the set has
    at timestamptz NOT NULL,
    format smallint NOT NULL,
    seen bytea NOT NULL,               -- as the format says (orders/shadows.py)
    CONSTRAINT unjudged_pk PRIMARY KEY (unjudged_id)
);
-- It is compressed already.
ALTER TABLE sourcing.unjudged ALTER COLUMN seen SET STORAGE EXTERNAL;

-- Runs that looked for better plans for orders that nobody works on yet, and what they saved.
CREATE TABLE sourcing.reevaluations (
    reevaluation_id uuid NOT NULL,
    at timestamptz NOT NULL,
    orders int NOT NULL,               -- that were looked at
    changed int NOT NULL,
    before_minor bigint NOT NULL,      -- of runs before costs were kept by currency
    after_minor bigint NOT NULL,
    costs json NOT NULL DEFAULT '[]',  -- by currency: orders, before_minor, after_minor
    CONSTRAINT reevaluations_pk PRIMARY KEY (reevaluation_id),
    CONSTRAINT a_run_never_costs CHECK (after_minor <= before_minor AND changed BETWEEN 0 AND orders)
);

-- What is expected to be asked of positions, and what a unit less costs there later; computed from demand, or loaded.
CREATE TABLE sourcing.outlook (
    sku_id int NOT NULL,
    location_id int NOT NULL,
    weekly_units double precision NOT NULL,
    price_minor bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL,
    currency text,                     -- of the price; NULL: the order's
    CONSTRAINT outlook_pk PRIMARY KEY (sku_id, location_id),
    CONSTRAINT demand_and_prices_are_not_negative CHECK (weekly_units >= 0 AND price_minor >= 0)
);

-- orders -------------------------------------------------------------------------------------------------------------

-- Written first: a missing row back means a repeat.
CREATE TABLE orders.order_keys (
    channel_id int NOT NULL,
    external_id text NOT NULL,
    order_id uuid NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT order_keys_pk PRIMARY KEY (channel_id, external_id)
);

CREATE TABLE orders.customer_keys (
    seller_id int NOT NULL,
    external_id text NOT NULL,
    customer_id uuid NOT NULL,
    CONSTRAINT customer_keys_pk PRIMARY KEY (seller_id, external_id)
);

CREATE TABLE orders.customers (
    customer_id uuid NOT NULL,
    seller_id int NOT NULL,
    external_id text NOT NULL,
    name text,
    email text,
    phone text,
    since timestamptz NOT NULL,
    CONSTRAINT customers_pk PRIMARY KEY (customer_id)
);

-- Amounts and address as placed never change. The unit counts are the sums over the lines; the status follows from them.
CREATE TABLE orders.orders (
    order_id uuid NOT NULL,
    channel_id int NOT NULL,
    external_id text NOT NULL,
    customer_id uuid,
    flow_version int NOT NULL,
    currency text NOT NULL,
    shipping_minor bigint NOT NULL,
    tax_minor bigint NOT NULL,
    discount_minor bigint NOT NULL,
    total_minor bigint NOT NULL,
    placed_at timestamptz NOT NULL,
    promised_at timestamptz,           -- what the buyer was told first: the channel's date, or else when the first plan arrives; NULL while something has no date
    type text NOT NULL DEFAULT 'home_delivery',
    service_level text,                -- what the buyer chose; NULL: whatever is cheapest
    ordered bigint NOT NULL,
    backordered bigint NOT NULL,
    allocated bigint NOT NULL,
    picked bigint NOT NULL,
    packed bigint NOT NULL,
    shipped bigint NOT NULL,
    delivered bigint NOT NULL,
    returned bigint NOT NULL,
    cancelled bigint NOT NULL,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN cancelled = ordered THEN 'cancelled'
        WHEN cancelled + returned = ordered THEN 'returned'
        WHEN cancelled + returned + delivered = ordered THEN 'delivered'
        WHEN cancelled + returned + delivered + shipped = ordered THEN 'shipped'
        WHEN returned + delivered + shipped > 0 THEN 'partially_shipped'
        WHEN picked + packed > 0 THEN 'in_fulfillment'
        WHEN backordered = 0 THEN 'allocated'
        WHEN allocated > 0 THEN 'partially_backordered'
        ELSE 'backordered' END) STORED,
    shipping_charged_minor bigint NOT NULL DEFAULT 0,
    shipping_void_minor bigint NOT NULL DEFAULT 0,      -- no longer owed
    shipping_refunded_minor bigint NOT NULL DEFAULT 0,  -- to be given back, or given back
    last_promised_at timestamptz,      -- what the buyer was told last, if he was told anything after promised_at
    ship_by_at timestamptz,            -- by when the channel wants it shipped; NULL: as the plan says
    dropped_minor bigint NOT NULL DEFAULT 0,  -- what the lines are worth that placement dropped
    CONSTRAINT orders_pk PRIMARY KEY (order_id),
    CONSTRAINT every_ordered_unit_is_in_one_state CHECK
        (ordered = backordered + allocated + picked + packed + shipped + delivered + returned + cancelled),
    CONSTRAINT no_more_is_dropped_than_was_ordered CHECK (dropped_minor BETWEEN 0 AND total_minor),
    CONSTRAINT no_state_holds_less_than_nothing CHECK
        (least(backordered, allocated, picked, packed, shipped, delivered, returned, cancelled) >= 0),
    CONSTRAINT mon_5_shipping_is_charged_once CHECK
        (least(shipping_charged_minor, shipping_void_minor) >= 0
         AND shipping_charged_minor + shipping_void_minor <= least(shipping_minor, total_minor)
         AND shipping_refunded_minor BETWEEN 0 AND shipping_charged_minor),
    CONSTRAINT what_is_told_last_follows_what_was_told_first CHECK (last_promised_at IS NULL OR promised_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX orders_by_ship_by ON orders.orders (ship_by_at) WHERE ship_by_at IS NOT NULL;
CREATE INDEX orders_by_time ON orders.orders (placed_at, order_id);
CREATE INDEX orders_by_channel ON orders.orders (channel_id, placed_at, order_id);
CREATE INDEX orders_by_customer ON orders.orders (customer_id, order_id) WHERE customer_id IS NOT NULL;

CREATE TABLE orders.addresses (
    order_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    line1 text NOT NULL,
    line2 text,
    city text NOT NULL,
    region text,
    postal_code text NOT NULL,
    country text NOT NULL,
    email text,
    phone text,
    CONSTRAINT addresses_pk PRIMARY KEY (order_id, kind),
    CONSTRAINT an_address_belongs_to_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT address_kinds CHECK (kind IN ('ship_to'))
);

-- What people write about orders in words of their own: the one place for it, so that it can be erased. ``note_id`` is the event
-- that it belongs to; of a survey, the order; of reasons that were sentences once, the return.
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

-- The balance of the demand ledger: every ordered unit is in exactly one state.
CREATE TABLE orders.lines (
    order_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    ordered bigint NOT NULL,
    unit_price_minor bigint NOT NULL,
    amount_minor bigint NOT NULL,      -- price x quantity, with the line's share of tax and discount
    backordered bigint NOT NULL,
    allocated bigint NOT NULL,
    picked bigint NOT NULL,
    packed bigint NOT NULL,
    shipped bigint NOT NULL,
    delivered bigint NOT NULL,
    returned bigint NOT NULL,
    cancelled bigint NOT NULL,
    stop_wanted bigint NOT NULL DEFAULT 0,  -- units whose cancellation the warehouse has still to answer
    excluded_location_ids int[] NOT NULL DEFAULT '{}',
    group_code text,                   -- lines that the channel wants from one location
    tries int NOT NULL DEFAULT 0,      -- how often a location could not supply units of it
    charged_units bigint NOT NULL DEFAULT 0,   -- charged when they shipped, whatever became of them
    charged_minor bigint NOT NULL DEFAULT 0,
    void_units bigint NOT NULL DEFAULT 0,      -- no longer owed
    void_minor bigint NOT NULL DEFAULT 0,
    refunded_units bigint NOT NULL DEFAULT 0,  -- charged units that are given back
    refunded_minor bigint NOT NULL DEFAULT 0,  -- to be given back, or given back; of units and of the price
    parts_per_unit int NOT NULL DEFAULT 1,     -- equal parts that a unit (a kit) comes back in, if it does not come back whole
    parts_back bigint NOT NULL DEFAULT 0,      -- parts that are back of units that are not back whole
    CONSTRAINT lines_pk PRIMARY KEY (order_id, line_no),
    CONSTRAINT a_line_belongs_to_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT a_line_orders_something CHECK (ordered > 0),
    CONSTRAINT a_stop_is_wanted_for_units_on_their_way CHECK (stop_wanted BETWEEN 0 AND ordered),
    CONSTRAINT dem_1_every_unit_is_in_one_state CHECK
        (ordered = backordered + allocated + picked + packed + shipped + delivered + returned + cancelled),
    CONSTRAINT dem_2_no_state_holds_less_than_nothing CHECK
        (least(backordered, allocated, picked, packed, shipped, delivered, returned, cancelled) >= 0),
    CONSTRAINT mon_6_no_unit_is_charged_and_void CHECK
        (least(charged_units, void_units) >= 0 AND charged_units + void_units <= ordered
         AND least(charged_minor, void_minor) >= 0 AND charged_minor + void_minor <= amount_minor),
    CONSTRAINT mon_6_no_more_is_given_back_than_was_charged CHECK
        (refunded_units BETWEEN 0 AND charged_units AND refunded_minor BETWEEN 0 AND charged_minor),
    CONSTRAINT mon_9_parts_are_no_less_than_none CHECK
        (parts_per_unit >= 1 AND parts_back >= 0)
) WITH (fillfactor = 70);
CREATE INDEX lines_waiting ON orders.lines (sku_id, order_id) WHERE backordered > 0;

-- What needs a person before it hurts a promise.
CREATE TABLE orders.exceptions (
    order_id uuid NOT NULL,
    exception_id uuid NOT NULL,
    kind text NOT NULL,
    line_no int,                       -- NULL: it is of a fulfillment order or of a parcel
    detail text NOT NULL,
    at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolution text,
    resolved_by text,
    fulfillment_order_id uuid,         -- of 'location_closed': the work, and where it lies
    location_id int,
    shipment_id uuid,                  -- of 'returned_to_sender' and 'arrived_after_loss': the parcel, and how many units it is about
    units bigint,
    CONSTRAINT exceptions_pk PRIMARY KEY (order_id, exception_id),
    CONSTRAINT an_exception_is_of_a_line FOREIGN KEY (order_id, line_no) REFERENCES orders.lines,
    CONSTRAINT exception_kinds CHECK
        (kind IN ('not_sourced', 'not_servable', 'location_closed', 'returned_to_sender', 'arrived_after_loss')),
    CONSTRAINT an_exception_is_of_a_line_of_work_or_of_a_parcel CHECK (
        (line_no IS NOT NULL) = (kind IN ('not_sourced', 'not_servable'))
        AND (fulfillment_order_id IS NOT NULL) = (kind = 'location_closed') AND (location_id IS NOT NULL) = (kind = 'location_closed')
        AND (shipment_id IS NOT NULL) = (kind IN ('returned_to_sender', 'arrived_after_loss'))
        AND (units IS NOT NULL) = (shipment_id IS NOT NULL)),
    CONSTRAINT resolutions CHECK (resolution IN ('retry', 'cancel', 'close', 'cleared') AND (resolution IS NULL) = (resolved_at IS NULL))
);
CREATE UNIQUE INDEX one_exception_of_a_kind_is_open ON orders.exceptions (order_id, line_no, kind) WHERE resolved_at IS NULL;
CREATE UNIQUE INDEX one_exception_of_work_is_open ON orders.exceptions (order_id, fulfillment_order_id) WHERE resolved_at IS NULL;
CREATE UNIQUE INDEX one_exception_of_a_parcel_is_open ON orders.exceptions (order_id, shipment_id, kind) WHERE resolved_at IS NULL;
CREATE INDEX open_exceptions_by_kind ON orders.exceptions (kind, order_id) WHERE resolved_at IS NULL;
CREATE INDEX exceptions_by_age ON orders.exceptions (exception_id);

-- The demand ledger: one cause moves a line's units between two states at most once. The first move comes from 'ordered'.
CREATE TABLE orders.moves (
    order_id uuid NOT NULL,
    cause_id uuid NOT NULL,
    line_no int NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    quantity bigint NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    paid_units bigint,                 -- of units that ship, are cancelled or come back: those that were charged before
    amount_minor bigint,               -- what the units are charged, or what is no longer owed
    refund_minor bigint,               -- what is to be given back
    CONSTRAINT demand_moves_pk PRIMARY KEY (order_id, cause_id, line_no, from_state, to_state),
    CONSTRAINT a_move_moves_something CHECK (quantity > 0),
    CONSTRAINT exits CHECK ((from_state, to_state) IN (
        ('ordered', 'backordered'), ('ordered', 'allocated'), ('ordered', 'cancelled'),
        ('backordered', 'allocated'), ('backordered', 'cancelled'),
        ('allocated', 'backordered'), ('allocated', 'picked'), ('allocated', 'cancelled'),
        ('picked', 'packed'), ('picked', 'cancelled'),
        ('packed', 'shipped'), ('packed', 'cancelled'),
        ('shipped', 'delivered'), ('shipped', 'cancelled'), ('shipped', 'backordered'),
        ('delivered', 'returned')))
);

-- Which units of a line are to come from where, and by when. Units leave the row when they are picked.
CREATE TABLE orders.allocations (
    order_id uuid NOT NULL,
    line_no int NOT NULL,
    location_id int NOT NULL,
    sku_id int NOT NULL,
    quantity bigint NOT NULL,          -- units in the state allocated, here
    released bigint NOT NULL,          -- of those, already in a fulfillment order
    picked bigint NOT NULL DEFAULT 0,  -- units that were picked here, whatever became of them
    service_id int NOT NULL,
    ship_by_at timestamptz NOT NULL,
    promised_at timestamptz NOT NULL,  -- when the plan arrives; the buyer may have been told another date
    kept_at timestamptz,               -- since when units that are not released stay at a location that is closed
    release_wanted_at timestamptz,     -- since when they would have been released there
    CONSTRAINT allocations_pk PRIMARY KEY (order_id, line_no, location_id),
    CONSTRAINT an_allocation_serves_a_line FOREIGN KEY (order_id, line_no) REFERENCES orders.lines,
    CONSTRAINT only_allocated_units_are_released CHECK (released BETWEEN 0 AND quantity),
    CONSTRAINT a_release_waits_only_for_units_that_are_kept CHECK (release_wanted_at IS NULL OR kept_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX allocations_kept ON orders.allocations (order_id) WHERE kept_at IS NOT NULL;

-- What an order claims of a limited location's day: a place, and so many units; confirmed once they are released.
CREATE TABLE orders.capacity_claims (
    order_id uuid NOT NULL,
    location_id int NOT NULL,
    ship_on date NOT NULL,
    held_units bigint NOT NULL,
    confirmed_units bigint NOT NULL DEFAULT 0,
    CONSTRAINT capacity_claims_pk PRIMARY KEY (order_id, location_id, ship_on),
    CONSTRAINT a_claim_claims_something CHECK (least(held_units, confirmed_units) >= 0 AND held_units + confirmed_units > 0)
);

-- The balance of the money ledger. What is owed follows the demand: cancelled units are not owed.
CREATE TABLE orders.payments (
    order_id uuid NOT NULL,
    provider text NOT NULL,
    currency text NOT NULL,
    authorized_minor bigint NOT NULL,
    voided_minor bigint NOT NULL,
    captured_minor bigint NOT NULL,
    refunded_minor bigint NOT NULL,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN refunded_minor > 0 AND refunded_minor = captured_minor AND captured_minor + voided_minor = authorized_minor THEN 'refunded'
        WHEN refunded_minor > 0 THEN 'partially_refunded'
        WHEN authorized_minor = 0 AND due_minor = 0 THEN 'nothing_due'
        WHEN authorized_minor = 0 THEN 'pending'
        WHEN captured_minor = 0 AND voided_minor = authorized_minor THEN 'voided'
        WHEN captured_minor = 0 THEN 'authorized'
        WHEN captured_minor + voided_minor = authorized_minor THEN 'captured'
        ELSE 'partially_captured' END) STORED,
    due_minor bigint,                  -- the order's total less what is no longer owed; NULL: it was placed before this was kept
    method text,                       -- the channel's word for the way of paying
    taken_over boolean NOT NULL DEFAULT false,  -- the authorization was made elsewhere
    CONSTRAINT payments_pk PRIMARY KEY (order_id),
    CONSTRAINT a_payment_is_for_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT mon_1_never_capture_more_than_authorized CHECK (captured_minor + voided_minor BETWEEN 0 AND authorized_minor),
    CONSTRAINT mon_2_never_refund_more_than_captured CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    CONSTRAINT amounts_are_not_negative CHECK (least(authorized_minor, voided_minor, captured_minor) >= 0)
) WITH (fillfactor = 70);

-- Secrets of new orders, each until its money is authorized. They stand apart, so that no error about a payment shows one.
CREATE TABLE orders.payment_tokens (
    order_id uuid NOT NULL,
    token text NOT NULL,
    CONSTRAINT payment_tokens_pk PRIMARY KEY (order_id),
    CONSTRAINT a_token_is_for_an_order FOREIGN KEY (order_id) REFERENCES orders.orders
);

-- One cause moves money in one way at most once.
CREATE TABLE orders.payment_moves (
    order_id uuid NOT NULL,
    cause_id uuid NOT NULL,
    kind text NOT NULL,
    amount_minor bigint NOT NULL,
    reference text,
    at timestamptz NOT NULL,
    CONSTRAINT payment_moves_pk PRIMARY KEY (order_id, cause_id, kind),
    CONSTRAINT payment_move_kinds CHECK (kind IN ('authorized', 'voided', 'captured', 'refunded')),
    CONSTRAINT an_amount_moves CHECK (amount_minor > 0)
);

-- warehouse ----------------------------------------------------------------------------------------------------------

-- Why units could not be picked, and what that says of the stock.
CREATE TABLE warehouse.short_reasons (
    code text NOT NULL,
    sentence text NOT NULL,
    stock_effect text NOT NULL,
    excludes_location boolean NOT NULL,
    CONSTRAINT short_reasons_pk PRIMARY KEY (code),
    CONSTRAINT stock_effects CHECK (stock_effect IN ('reduce', 'zero', 'none'))
);
INSERT INTO warehouse.short_reasons (code, sentence, stock_effect, excludes_location) VALUES
    ('not_found', 'The missing units are not there: on hand is reduced by them.', 'reduce', true),
    ('none_left', 'Nothing is left on the shelf: everything not reserved is written off, too.', 'zero', true),
    ('damaged', 'The units are damaged: on hand is reduced by them.', 'reduce', false),
    ('refused', 'The location cannot do the work: stock stays as it is.', 'none', true),
    ('expired', 'The units are past their date: they are set aside as expired.', 'none', false);

CREATE TABLE warehouse.fulfillment_orders (
    order_id uuid NOT NULL,
    fulfillment_order_id uuid NOT NULL,
    location_id int NOT NULL,
    service_id int NOT NULL,
    released_at timestamptz NOT NULL,
    ship_by_at timestamptz NOT NULL,   -- the order's own ship-by time, or else the plan's
    promised_at timestamptz NOT NULL,  -- when the plan arrives
    picked_at timestamptz,
    packed_at timestamptz,
    shipped_at timestamptz,
    labor_seconds bigint NOT NULL DEFAULT 0,
    handling_cost_minor bigint NOT NULL,
    quantity bigint NOT NULL,          -- the counts are the sums over the lines; the status follows from them
    open bigint NOT NULL,
    picked bigint NOT NULL,
    packed bigint NOT NULL,
    shipped bigint NOT NULL,
    short bigint NOT NULL,
    cancelled bigint NOT NULL,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN cancelled = quantity THEN 'cancelled'
        WHEN cancelled + short = quantity THEN 'rejected'
        WHEN open = quantity THEN 'released'
        WHEN open > 0 THEN 'picking'
        WHEN picked > 0 THEN 'picked'
        WHEN packed > 0 THEN 'packed'
        ELSE 'shipped' END) STORED,
    cut_off_at timestamptz,            -- what the work queue is ordered by; NULL: the ship-by time
    handling_currency text,            -- of the handling cost; NULL: the order's
    CONSTRAINT fulfillment_orders_pk PRIMARY KEY (order_id, fulfillment_order_id),
    CONSTRAINT a_fulfillment_order_accounts_for_its_units CHECK (quantity = open + picked + packed + shipped + short + cancelled)
) WITH (fillfactor = 70);
CREATE INDEX fulfillment_orders_by_location ON warehouse.fulfillment_orders (location_id, status, coalesce(cut_off_at, ship_by_at))
    WHERE status IN ('released', 'picking', 'picked', 'packed');

CREATE TABLE warehouse.fulfillment_lines (
    order_id uuid NOT NULL,
    fulfillment_order_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    quantity bigint NOT NULL,
    open bigint NOT NULL,
    picked bigint NOT NULL,
    packed bigint NOT NULL,
    shipped bigint NOT NULL,
    short bigint NOT NULL,
    cancelled bigint NOT NULL,
    CONSTRAINT fulfillment_lines_pk PRIMARY KEY (order_id, fulfillment_order_id, line_no),
    CONSTRAINT a_fulfillment_line_is_of_an_order FOREIGN KEY (order_id, fulfillment_order_id)
        REFERENCES warehouse.fulfillment_orders,
    CONSTRAINT ful_1_every_unit_is_in_one_state CHECK (quantity = open + picked + packed + shipped + short + cancelled),
    CONSTRAINT ful_2_no_state_holds_less_than_nothing CHECK (least(open, picked, packed, shipped, short, cancelled) >= 0)
) WITH (fillfactor = 70);

CREATE TABLE warehouse.shipments (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    fulfillment_order_id uuid NOT NULL,
    service_id int NOT NULL,
    tracking_number text NOT NULL,
    cost_minor bigint NOT NULL,
    weight_grams bigint NOT NULL,
    shipped_at timestamptz NOT NULL,
    promised_at timestamptz NOT NULL,  -- when the plan arrives
    cost_currency text,                -- NULL: the order's
    CONSTRAINT shipments_pk PRIMARY KEY (order_id, shipment_id),
    CONSTRAINT a_shipment_is_of_a_fulfillment_order FOREIGN KEY (order_id, fulfillment_order_id)
        REFERENCES warehouse.fulfillment_orders
);

-- The shipments under a carrier's number, which are one parcel: one was first, and others join it until it is closed.
CREATE TABLE warehouse.tracking_numbers (
    tracking_number text NOT NULL,
    shipment_id uuid NOT NULL,
    order_id uuid NOT NULL,
    first boolean NOT NULL,
    closed_at timestamptz,             -- of the first: since when the parcel has arrived, is lost or comes back
    CONSTRAINT tracking_numbers_pk PRIMARY KEY (tracking_number, shipment_id),
    CONSTRAINT only_the_first_closes_a_tracking_number CHECK (closed_at IS NULL OR first)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX a_tracking_number_is_claimed_once ON warehouse.tracking_numbers (tracking_number) WHERE first;

CREATE TABLE warehouse.packages (
    order_id uuid NOT NULL,
    package_id uuid NOT NULL,
    fulfillment_order_id uuid NOT NULL,
    carton text,
    weight_grams bigint NOT NULL,
    shipment_id uuid,
    packed_at timestamptz NOT NULL,
    CONSTRAINT packages_pk PRIMARY KEY (order_id, package_id),
    CONSTRAINT a_package_is_of_a_fulfillment_order FOREIGN KEY (order_id, fulfillment_order_id)
        REFERENCES warehouse.fulfillment_orders
) WITH (fillfactor = 80);

CREATE TABLE warehouse.package_lines (
    order_id uuid NOT NULL,
    package_id uuid NOT NULL,
    line_no int NOT NULL,
    quantity bigint NOT NULL,
    CONSTRAINT package_lines_pk PRIMARY KEY (order_id, package_id, line_no),
    CONSTRAINT a_package_line_is_in_a_package FOREIGN KEY (order_id, package_id) REFERENCES warehouse.packages,
    CONSTRAINT a_package_holds_something CHECK (quantity >= 0)
);

-- tracking -----------------------------------------------------------------------------------------------------------

-- One shipment on its way. The status follows from the instants.
CREATE TABLE tracking.parcels (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    tracking_number text NOT NULL,
    promised_at timestamptz NOT NULL,  -- what the customer was told first
    expected_at timestamptz NOT NULL,  -- when the carrier expects it; at first, when the plan does
    shipped_at timestamptz NOT NULL,
    late_at timestamptz,
    delivered_at timestamptz,
    lost_at timestamptz,
    status text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN received_back_at IS NOT NULL THEN 'received_back'
        WHEN delivered_at IS NOT NULL THEN 'delivered'
        WHEN lost_at IS NOT NULL THEN 'lost'
        WHEN returning_at IS NOT NULL THEN 'returning'
        WHEN late_at IS NOT NULL THEN 'late'
        ELSE 'in_transit' END) STORED,
    returning_at timestamptz,          -- since when it is on its way back to the sender
    back_at timestamptz,               -- when the carrier says that it reached the sender
    received_back_at timestamptz,      -- when the last of its units was accounted for there
    last_promised_at timestamptz,      -- what the customer was told last of this parcel; NULL: what holds for the order
    planned_at timestamptz,            -- when the plan arrives; NULL: at promised_at
    behind_plan_at timestamptz,        -- since when it is known to be behind the plan, while what was told still held
    CONSTRAINT parcels_pk PRIMARY KEY (order_id, shipment_id),
    CONSTRAINT trk_5_what_is_delivered_does_not_come_back CHECK
        (delivered_at IS NULL OR (returning_at IS NULL AND received_back_at IS NULL)),
    CONSTRAINT only_what_comes_back_is_received_back CHECK (returning_at IS NOT NULL OR (back_at IS NULL AND received_back_at IS NULL))
) WITH (fillfactor = 80);

-- What came back of parcels, receipt by receipt.
CREATE TABLE tracking.receipts (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    receipt_id uuid NOT NULL,          -- the event that says so
    line_no int NOT NULL,
    location_id int NOT NULL,
    restocked bigint NOT NULL,
    scrapped bigint NOT NULL,
    lost bigint NOT NULL,              -- missing in the parcel
    next text NOT NULL,                -- 'nothing': the parcel was lost, and its units were settled then
    refund_minor bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT receipts_pk PRIMARY KEY (order_id, shipment_id, receipt_id, line_no),
    CONSTRAINT a_receipt_accounts_for_something CHECK (least(restocked, scrapped, lost, refund_minor) >= 0 AND restocked + scrapped + lost > 0),
    CONSTRAINT what_follows_a_receipt CHECK (next IN ('refund', 'send_again', 'nothing'))
);

-- What carriers said of numbers under which nothing has left yet.
CREATE TABLE tracking.unmatched_events (
    tracking_number text NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    place text,
    detail text,
    expected_at timestamptz,
    CONSTRAINT unmatched_events_pk PRIMARY KEY (tracking_number, kind, at)
);
CREATE INDEX unmatched_events_by_age ON tracking.unmatched_events (event_id);

-- What the carrier said, as it said it; the same words twice are one row.
CREATE TABLE tracking.tracking_events (
    order_id uuid NOT NULL,
    shipment_id uuid NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    place text,
    detail text,
    CONSTRAINT tracking_events_pk PRIMARY KEY (order_id, shipment_id, kind, at),
    CONSTRAINT tracking_event_kinds CHECK (kind IN
        ('handed_over', 'in_transit', 'out_for_delivery', 'delivered', 'delayed', 'lost', 'returned_to_sender'))
);

-- aftercare ----------------------------------------------------------------------------------------------------------

-- What the customer was told; one message a fact.
CREATE TABLE aftercare.messages (
    order_id uuid NOT NULL,
    event_id uuid NOT NULL,
    template text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    written_at timestamptz NOT NULL,
    sent_at timestamptz,
    CONSTRAINT messages_pk PRIMARY KEY (order_id, event_id, template)
);

CREATE TABLE aftercare.returns (
    order_id uuid NOT NULL,
    return_id uuid NOT NULL,
    authorized_at timestamptz NOT NULL,
    received_at timestamptz,
    location_id int NOT NULL,          -- where units are to go whose line names no location
    CONSTRAINT returns_pk PRIMARY KEY (order_id, return_id)
);

CREATE TABLE aftercare.return_lines (
    order_id uuid NOT NULL,
    return_id uuid NOT NULL,
    line_no int NOT NULL,
    sku_id int NOT NULL,
    reason text NOT NULL,
    authorized bigint NOT NULL,
    restocked bigint NOT NULL DEFAULT 0,
    scrapped bigint NOT NULL DEFAULT 0,
    refund_minor bigint NOT NULL DEFAULT 0,
    component_sku_id int NOT NULL DEFAULT 0,  -- the units are of this component of the line's kits; 0: of the line's own SKU
    location_id int NOT NULL DEFAULT 0,       -- where these units are to go; 0: where the return goes
    cancelled bigint NOT NULL DEFAULT 0,
    received_at timestamptz,
    CONSTRAINT return_lines_pk PRIMARY KEY (order_id, return_id, line_no, component_sku_id, location_id),
    CONSTRAINT a_return_line_is_of_a_return FOREIGN KEY (order_id, return_id) REFERENCES aftercare.returns,
    CONSTRAINT ret_1_never_take_back_more_than_authorized CHECK
        (restocked >= 0 AND scrapped >= 0 AND cancelled >= 0 AND restocked + scrapped + cancelled <= authorized)
);

-- Money that goes back though no unit does: shipping, part of a price, goodwill.
CREATE TABLE aftercare.refunds (
    order_id uuid NOT NULL,
    refund_id uuid NOT NULL,           -- the event that asks for it, and the cause of its money move
    amount_minor bigint NOT NULL,
    shipping_minor bigint NOT NULL,    -- of that, for the shipping: asked, and its share of the goodwill
    goodwill_minor bigint NOT NULL,    -- of that, what was asked as goodwill
    reason text NOT NULL,
    note text,                         -- no longer written: see orders.notes
    asked_by text,
    asked_at timestamptz NOT NULL,
    CONSTRAINT refunds_pk PRIMARY KEY (order_id, refund_id),
    CONSTRAINT a_refund_gives_something_back CHECK
        (amount_minor > 0 AND shipping_minor BETWEEN 0 AND amount_minor AND goodwill_minor BETWEEN 0 AND amount_minor)
);

CREATE TABLE aftercare.refund_lines (
    order_id uuid NOT NULL,
    refund_id uuid NOT NULL,
    line_no int NOT NULL,
    amount_minor bigint NOT NULL,      -- of the line's price: asked, and its share of the goodwill
    CONSTRAINT refund_lines_pk PRIMARY KEY (order_id, refund_id, line_no),
    CONSTRAINT a_refund_line_is_of_a_refund FOREIGN KEY (order_id, refund_id) REFERENCES aftercare.refunds,
    CONSTRAINT a_refund_line_gives_something_back CHECK (amount_minor > 0)
);

CREATE TABLE aftercare.surveys (
    order_id uuid NOT NULL,
    asked_at timestamptz NOT NULL,
    answered_at timestamptz,
    answers jsonb,
    comment text,                      -- no longer written: see orders.notes
    CONSTRAINT surveys_pk PRIMARY KEY (order_id)
);

-- flows --------------------------------------------------------------------------------------------------------------

CREATE TABLE flows.flows (
    version int NOT NULL,
    name text NOT NULL,
    document text NOT NULL,
    active boolean NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT flows_pk PRIMARY KEY (version)
);
CREATE UNIQUE INDEX one_flow_is_active ON flows.flows (active) WHERE active;
