/* =====================================================================
   MERIDIAN AIR GROUP  -  operations + cargo core
   conventions: plural tables, uuid "id", enums for states, *_id references
   ===================================================================== */

create type airport_kind     as enum ('international', 'regional', 'cargo', 'heliport');
create type aircraft_state   as enum ('ordered', 'active', 'maintenance', 'stored', 'scrapped');
create type flight_state     as enum ('scheduled', 'boarding', 'departed', 'landed', 'diverted', 'cancelled');
create type cabin            as enum ('first', 'business', 'premium', 'economy');
create type crew_role        as enum ('captain', 'first_officer', 'purser', 'attendant', 'loadmaster');
create type booking_state    as enum ('held', 'confirmed', 'ticketed', 'void');
create type parcel_state     as enum ('accepted', 'in_hub', 'loaded', 'in_transit', 'delivered', 'lost');
create type weekday          as enum ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun');
create type hazard_class     as enum ('none', 'flammable', 'corrosive', 'lithium', 'radioactive', 'dry_ice');
create type doc_kind         as enum ('passport', 'national_id', 'visa');
create type part_condition   as enum ('new', 'overhauled', 'repairable', 'condemned');

create type geo_point as (lat numeric(9,6), lon numeric(9,6));
create type money_amt as (currency char(3), amount numeric(14,2));
create type postal_address as (line1 text, line2 text, city text, postcode text, country char(2));
create type dims_cm as (l integer, w integer, h integer);

create domain iata3 as char(3) check (value ~ '^[A-Z]{3}$');
create domain icao4 as char(4) check (value ~ '^[A-Z]{4}$');
create domain price as money_amt check (
    value is null or ((value).currency in ('EUR', 'USD', 'GBP', 'JPY') and (value).amount >= 0
    and ((value).currency <> 'JPY' or (value).amount = trunc((value).amount))));

create sequence pnr_seq start 100000 increment 7;
create sequence awb_serial minvalue 1000000 maxvalue 9999999 start 1000000 cycle;

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := greatest(now(), new.created_at);
    return new;
end $$;

create function polygon_ok(pts geo_point[]) returns boolean language sql immutable as $$
    select cardinality(pts) >= 3 and (select bool_and((p).lat between -90 and 90 and (p).lon between -180 and 180) from unnest(pts) p)
$$;

-- ---------------------------------------------------------------- geography

create table regions (
    id        uuid primary key default gen_random_uuid(),
    code      text not null unique check (code ~ '^[A-Z]{2,4}$'),
    name      text not null check (length(name) between 2 and 50),
    parent_id uuid references regions (id) on delete restrict,
    depth     smallint not null default 0 check (depth between 0 and 3),
    check (parent_id is null or parent_id <> id),
    check ((parent_id is null) = (depth = 0))
);

create table cities (
    id              uuid primary key default gen_random_uuid(),
    region_id       uuid not null references regions,
    name            text not null,
    timezone        text not null check (timezone ~ '^[A-Z][A-Za-z]+/[A-Z][A-Za-z_]+$'),
    main_airport_id uuid not null,         -- cycle
    population      integer check (population > 0),
    unique nulls not distinct (region_id, name)
);

create table airports (
    id            uuid primary key default gen_random_uuid(),
    iata          iata3 not null unique,
    icao          icao4 unique,
    city_id       uuid not null references cities deferrable initially deferred,
    kind          airport_kind not null,
    location      geo_point not null,
    elevation_ft  integer not null default 0 check (elevation_ft between -1500 and 15000),
    curfew        int4range check (curfew <@ int4range(0, 1440)),
    alternate_id  uuid references airports,
    boundary      geo_point[] check (polygon_ok(boundary)),
    unique (id, city_id),
    check ((location).lat between -90 and 90 and (location).lon between -180 and 180),
    check ((location).lat is not null and (location).lon is not null),
    check (kind = 'heliport' or icao is not null),
    check (alternate_id <> id)
);

alter table cities add constraint cities_main_airport_fk
    foreign key (main_airport_id, id) references airports (id, city_id)
    deferrable initially deferred;

create table runways (
    airport_id uuid not null references airports on delete cascade,
    designator varchar(3) not null check (designator ~ '^(0[1-9]|[12][0-9]|3[0-6])[LCR]?$'),
    reciprocal varchar(3) not null check (reciprocal ~ '^(0[1-9]|[12][0-9]|3[0-6])[LCR]?$'),
    length_m   integer not null check (length_m between 300 and 6000),
    width_m    integer not null check (width_m between 15 and 80),
    closed     boolean not null default false,
    primary key (airport_id, designator),
    check (abs(left(designator, 2)::int - left(reciprocal, 2)::int) = 18),
    check (length_m >= width_m * 15)
);

create table terminals (
    id         uuid primary key default gen_random_uuid(),
    airport_id uuid not null references airports,
    label      text not null check (label ~ '^T[0-9][A-Z]?$'),
    unique (airport_id, label),
    unique (id, airport_id)
);

create table gates (
    id          uuid primary key default gen_random_uuid(),
    terminal_id uuid not null,
    airport_id  uuid not null,
    number      text not null check (number ~ '^[A-Z][1-9][0-9]?$'),
    jet_bridge  boolean not null,
    max_span_m  numeric(4,1) not null check (max_span_m > 10 and max_span_m <= 80),
    neighbours  uuid[] not null default '{}' check (cardinality(neighbours) <= 2),
    foreign key (terminal_id, airport_id) references terminals (id, airport_id),
    unique (terminal_id, number),
    unique (id, airport_id)
);

-- ---------------------------------------------------------------- company

create table airlines (
    id            uuid primary key default gen_random_uuid(),
    designator    char(2) not null unique check (designator ~ '^([A-Z][A-Z0-9]|[0-9][A-Z])$'),
    prefix        smallint not null unique check (prefix between 1 and 999),
    name          text not null,
    hub_id        uuid not null references airports,
    parent_id     uuid references airlines,
    flagship_id   uuid,                   -- cycle with aircraft
    head_office   postal_address not null,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    check ((head_office).country ~ '^[A-Z]{2}$' and (head_office).postcode ~ '^[A-Z0-9][A-Z0-9 -]{2,9}$'),
    check ((head_office).line1 is not null and (head_office).city is not null),
    check (parent_id <> id),
    check (created_at <= updated_at)
);
create unique index on airlines (lower(name));
create trigger airlines_touch before update on airlines for each row execute function touch_updated_at();

create table alliances (
    id        uuid primary key default gen_random_uuid(),
    name      text not null unique,
    lead_airline_id uuid not null references airlines,
    founded   date not null
);

create table alliance_members (
    alliance_id uuid not null references alliances on delete cascade,
    airline_id  uuid not null references airlines,
    joined      date not null,
    departed    date,
    vote_share  numeric(5,4) not null check (vote_share > 0 and vote_share <= 0.5),
    primary key (alliance_id, airline_id, joined),
    check (departed > joined)
);
create unique index one_current_alliance on alliance_members (airline_id) where departed is null;

-- three-way cycle: bases -> crew_members -> crew_contracts -> bases
create table bases (
    id          uuid primary key default gen_random_uuid(),
    airline_id  uuid not null references airlines,
    airport_id  uuid not null references airports,
    manager_id  uuid not null,
    unique (airline_id, airport_id),
    unique (id, airline_id)
);

create table crew_members (
    id            uuid primary key default gen_random_uuid(),
    airline_id    uuid not null references airlines,
    badge         varchar(9) not null check (badge ~ '^[A-Z0-9]{2}-[0-9]{5}$'),
    first_name    text not null check (first_name <> ''),
    last_name     text not null check (last_name <> ''),
    born          date not null check (born > '1940-01-01'),
    role          crew_role not null,
    supervisor_id uuid,
    contract_id   uuid not null unique,
    languages     char(2)[] not null check (cardinality(languages) between 1 and 8 and 'en' = any (languages)),
    home          postal_address,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    unique (airline_id, badge),
    unique (id, airline_id),
    unique (id, role),
    foreign key (supervisor_id, airline_id) references crew_members (id, airline_id),
    check (supervisor_id <> id),
    check (updated_at >= created_at),
    check (role <> 'captain' or supervisor_id is null or cardinality(languages) >= 2)
);

create table crew_contracts (
    id         uuid primary key default gen_random_uuid(),
    crew_id    uuid not null unique,
    airline_id uuid not null,
    base_id    uuid not null,
    starts     date not null,
    ends       date,
    notice     interval not null default '30 days' check (notice between '7 days' and '365 days'),
    salary     price not null check ((salary).amount between 12000 and 400000),
    block_hours_cap smallint not null check (block_hours_cap between 100 and 1000),
    unique (id, crew_id),
    foreign key (crew_id, airline_id) references crew_members (id, airline_id) deferrable initially deferred,
    foreign key (base_id, airline_id) references bases (id, airline_id) deferrable initially deferred,
    check (ends >= starts + 90)
);

alter table bases add foreign key (manager_id, airline_id) references crew_members (id, airline_id) deferrable initially deferred;
alter table crew_members add foreign key (contract_id, id) references crew_contracts (id, crew_id) deferrable initially deferred;

create table crew_contract_history (
    contract_id uuid not null references crew_contracts on delete cascade,
    version     integer not null check (version >= 1),
    valid       tstzrange not null check (not isempty(valid) and lower_inc(valid) and not lower_inf(valid)),
    old_salary  price not null,
    new_salary  price not null,
    primary key (contract_id, version),
    check ((old_salary).currency = (new_salary).currency and (old_salary).amount <> (new_salary).amount)
);
create unique index contract_current_version on crew_contract_history (contract_id) where upper_inf(valid);

-- ---------------------------------------------------------------- fleet

create table manufacturers (
    id    uuid primary key default gen_random_uuid(),
    code  text not null unique check (code ~ '^[A-Z]{3,6}$'),
    name  text not null unique,
    website text check (website ~ '^https://[a-z0-9.-]+\.[a-z]{2,6}(/.*)?$')
);

create table aircraft_types (
    id              uuid primary key default gen_random_uuid(),
    manufacturer_id uuid not null references manufacturers,
    icao_type       varchar(4) not null unique check (icao_type ~ '^[A-Z][A-Z0-9]{1,3}$'),
    freighter       boolean not null default false,
    seats_max       smallint not null,
    span_m          numeric(4,1) not null check (span_m between 10 and 80),
    mtow_kg         integer not null check (mtow_kg between 3000 and 600000),
    mlw_kg          integer not null,
    mzfw_kg         integer not null,
    oew_kg          integer not null,
    range_km        integer not null check (range_km between 300 and 18000),
    engines         smallint not null check (engines in (1, 2, 3, 4)),
    payload_max_kg  integer generated always as (mzfw_kg - oew_kg) stored,
    check (oew_kg < mzfw_kg and mzfw_kg <= mlw_kg and mlw_kg <= mtow_kg),
    check (freighter = (seats_max = 0)),
    check (seats_max between 0 and 900),
    check (oew_kg > mtow_kg / 3)
);

create table aircraft (
    id           uuid primary key default gen_random_uuid(),
    airline_id   uuid not null references airlines,
    type_id      uuid not null references aircraft_types,
    registration varchar(8) not null unique check (registration ~ '^([A-Z]-[A-Z]{4}|[A-Z]{2}-[A-Z]{3}|N[1-9][0-9]{0,4})$'),
    msn          integer not null check (msn > 0),
    state        aircraft_state not null default 'ordered',
    delivered    date,
    scrapped     date,
    lessor_id    uuid references airlines,
    lease        daterange,
    home_base_id uuid,
    unique (type_id, msn),
    unique (id, airline_id),
    foreign key (home_base_id, airline_id) references bases (id, airline_id),
    check ((state = 'ordered') = (delivered is null)),
    check ((state = 'scrapped') = (scrapped is not null)),
    check (scrapped > delivered),
    check (num_nonnulls(lessor_id, lease) in (0, 2)),
    check (lessor_id <> airline_id),
    check (lease is null or (delivered is not null and lower(lease) >= delivered)),
    check (state not in ('active', 'maintenance') or home_base_id is not null)
);
create unique index aircraft_msn_live on aircraft (airline_id, msn) where state <> 'scrapped';

alter table airlines add foreign key (flagship_id, id) references aircraft (id, airline_id)
    on delete set null (flagship_id) deferrable initially immediate;

create table seat_maps (
    aircraft_id uuid not null references aircraft on delete cascade,
    seat        varchar(3) not null check (seat ~ '^[1-9][0-9]?[A-K]$' and seat !~ 'I'),
    cabin       cabin not null,
    row_no      smallint not null generated always as (rtrim(seat, 'ABCDEFGHJK')::smallint) stored,
    letter      char(1) not null generated always as (right(seat, 1)) stored,
    exit_row    boolean not null default false,
    blocked     boolean not null default false,
    primary key (aircraft_id, seat),
    unique (aircraft_id, seat, cabin),
    unique (aircraft_id, row_no, letter),
    check (case cabin when 'first' then row_no between 1 and 4 when 'business' then row_no between 1 and 20
                      when 'premium' then row_no between 10 and 40 else row_no >= 15 end)
);

create table part_catalog (
    part_no     text primary key check (part_no ~ '^[0-9]{3}[A-Z]-[0-9]{4}(-[0-9]{1,2})?$'),
    title       text not null,
    superseded_by text references part_catalog (part_no) deferrable,
    life_cycles integer check (life_cycles > 0),
    life_time   interval check (life_time > '0' and life_time <= '30 years'),
    list_price  price not null,
    check (superseded_by <> part_no),
    check (life_cycles is not null or life_time is not null)
);

create table components (
    id          uuid primary key default gen_random_uuid(),
    part_no     text not null references part_catalog on update cascade,
    serial      text not null check (length(serial) between 4 and 20 and serial !~ '\s'),
    condition   part_condition not null,
    parent_id   uuid references components,      -- next higher assembly
    aircraft_id uuid references aircraft,
    position    text check (position ~ '^[A-Z]{2,4}[1-4]?$'),
    cycles      integer not null default 0 check (cycles >= 0),
    unique (part_no, serial),
    check (parent_id <> id),
    check (num_nonnulls(aircraft_id, parent_id) <= 1),
    check ((aircraft_id is null) = (position is null)),
    check (condition in ('new', 'overhauled') or aircraft_id is null)
);
create unique index component_fit on components (aircraft_id, position) where aircraft_id is not null;

create table maintenance_checks (
    id           uuid primary key default gen_random_uuid(),
    aircraft_id  uuid not null references aircraft,
    grade        char(1) not null check (grade in ('A', 'B', 'C', 'D')),
    airport_id   uuid not null references airports,
    period       tstzrange not null,
    man_hours    numeric(8,1) not null check (man_hours > 0),
    released_by  uuid references crew_members,
    released_at  timestamptz,
    next_check_id uuid unique references maintenance_checks deferrable initially deferred,
    check (not isempty(period) and not lower_inf(period) and not upper_inf(period)),
    check (upper(period) - lower(period) >= case grade when 'A' then interval '4 hours' when 'B' then interval '1 day'
                                                     when 'C' then interval '7 days' else interval '28 days' end),
    check ((released_by is null) = (released_at is null)),
    check (released_at >= upper(period)),
    exclude using gist (period with &&) where (grade = 'D')          -- one heavy bay in the company
);

create table work_orders (
    id           uuid primary key default gen_random_uuid(),
    check_id     uuid not null references maintenance_checks on delete cascade,
    line_no      smallint not null check (line_no > 0),
    depends_on   smallint,
    removed_component uuid references components,
    fitted_component  uuid references components,
    description  text not null check (length(btrim(description)) >= 5),
    est_hours    numeric(5,1) not null check (est_hours > 0),
    actual_hours numeric(5,1) check (actual_hours > 0),
    unique (check_id, line_no),
    foreign key (check_id, depends_on) references work_orders (check_id, line_no),
    check (depends_on < line_no),
    check (removed_component is distinct from fitted_component or removed_component is null),
    check (actual_hours <= est_hours * 3)
);

-- ---------------------------------------------------------------- network

create table routes (
    id          uuid primary key default gen_random_uuid(),
    airline_id  uuid not null references airlines,
    flight_no   varchar(6) not null check (flight_no ~ '^[A-Z0-9]{2}[1-9][0-9]{0,3}$'),
    origin_id   uuid not null references airports,
    destination_id uuid not null references airports,
    return_route_id uuid unique references routes deferrable initially deferred,
    distance_km integer not null check (distance_km between 50 and 18000),
    block_time  interval not null,
    unique (airline_id, flight_no),
    unique (id, airline_id),
    unique (id, origin_id, destination_id),
    check (origin_id <> destination_id),
    check (block_time >= interval '20 minutes' and block_time <= interval '20 hours'),
    check (extract(epoch from block_time) >= distance_km * 3)      -- < 1200 km/h
);

create table schedules (
    id          uuid primary key default gen_random_uuid(),
    route_id    uuid not null references routes,
    season      char(3) not null check (season ~ '^[SW][0-9]{2}$'),
    days        weekday[] not null check (cardinality(days) between 1 and 7),
    departs     time not null,
    arrives     time not null,
    overnight   boolean not null default false,
    valid       daterange not null,
    check (overnight or arrives > departs),
    check (not isempty(valid) and upper(valid) - lower(valid) between 7 and 220),
    check (case left(season, 1) when 'S' then extract(month from lower(valid)) between 3 and 10
                                else extract(month from lower(valid)) in (10, 11, 12, 1, 2, 3) end),
    unique (route_id, season, departs)
);

-- partitioned by departure date; every child reference carries the date
create table flights (
    id             uuid not null default gen_random_uuid(),
    departure_date date not null,
    route_id       uuid not null,
    origin_id      uuid not null,
    destination_id uuid not null,
    airline_id     uuid not null,
    aircraft_id    uuid,
    gate_id        uuid,
    state          flight_state not null default 'scheduled',
    sched_out      timestamp not null,
    sched_in       timestamp not null,
    actual_out     timestamp,
    actual_in      timestamp,
    diverted_to    uuid references airports,
    fuel_kg        numeric(8,1),
    delay_min      integer generated always as ((extract(epoch from actual_out - sched_out) / 60)::integer) stored,
    primary key (id, departure_date),
    unique (route_id, departure_date),
    unique (id, departure_date, aircraft_id),
    foreign key (route_id, origin_id, destination_id) references routes (id, origin_id, destination_id),
    foreign key (route_id, airline_id) references routes (id, airline_id),
    foreign key (aircraft_id, airline_id) references aircraft (id, airline_id),
    foreign key (gate_id, origin_id) references gates (id, airport_id),
    check (sched_out::date = departure_date),
    check (sched_in > sched_out and sched_in <= sched_out + interval '20 hours'),
    check (actual_in > actual_out),
    check (case when state in ('scheduled', 'boarding', 'cancelled') then num_nonnulls(actual_out, actual_in) = 0
                when state = 'departed' then actual_out is not null and actual_in is null
                else num_nulls(actual_out, actual_in) = 0 end),
    check ((state = 'diverted') = (diverted_to is not null)),
    check (diverted_to <> destination_id),
    check (state in ('scheduled', 'cancelled') or aircraft_id is not null),
    check (fuel_kg > 0 and fuel_kg < 300000)
) partition by range (departure_date);
create table flights_2024 partition of flights for values from ('2024-01-01') to ('2025-01-01');
create table flights_2025 partition of flights for values from ('2025-01-01') to ('2026-01-01');
create table flights_2026 partition of flights for values from ('2026-01-01') to ('2027-01-01');

create table flight_legs_crew (
    flight_id      uuid not null,
    departure_date date not null,
    crew_id        uuid not null,
    role           crew_role not null,
    deadhead       boolean not null default false,
    report_at      timestamp not null,
    release_at     timestamp not null,
    primary key (flight_id, departure_date, crew_id),
    foreign key (flight_id, departure_date) references flights (id, departure_date) on delete cascade,
    foreign key (crew_id, role) references crew_members (id, role),
    check (report_at::date between departure_date - 1 and departure_date),
    check (release_at - report_at between interval '1 hour' and interval '16 hours')
);

create table flight_events (
    flight_id      uuid not null,
    departure_date date not null,
    seq            integer not null check (seq between 1 and 999),
    from_state     flight_state,
    to_state       flight_state not null,
    at             timestamp not null,
    position       geo_point,
    payload        jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
    primary key (flight_id, departure_date, seq),
    foreign key (flight_id, departure_date) references flights (id, departure_date),
    check (from_state is distinct from to_state),
    check ((from_state is null) = (seq = 1)),
    check (from_state is null or to_state > from_state),
    check (at >= departure_date - interval '3 days' and at < departure_date + interval '4 days')
) partition by range (departure_date);
create table flight_events_old partition of flight_events for values from (minvalue) to ('2025-01-01');
create table flight_events_new partition of flight_events for values from ('2025-01-01') to (maxvalue);

-- ---------------------------------------------------------------- passengers

create table passengers (
    id           uuid primary key default gen_random_uuid(),
    first_name   text not null check (first_name ~ '^[[:upper:]]'),
    last_name    text not null check (last_name = upper(last_name) and last_name <> ''),
    born         date not null check (born between '1900-01-01' and '2035-01-01'),
    gender       char(1) check (gender in ('F', 'M', 'X')),
    email        text check (email ~* '^[^@\s]+@[^@\s]+\.[a-z]{2,}$'),
    phone        text check (phone ~ '^\+[1-9]\d{7,14}$'),
    guardian_id  uuid references passengers,
    address      postal_address,
    check (email is not null or phone is not null or guardian_id is not null),
    check (guardian_id <> id)
);
create unique index passengers_email on passengers (lower(email)) where email is not null;

create table travel_documents (
    id            uuid primary key default gen_random_uuid(),
    passenger_id  uuid not null references passengers on delete cascade,
    kind          doc_kind not null,
    number        text not null,
    country       char(2) not null check (country ~ '^[A-Z]{2}$'),
    issued        date not null,
    expires       date not null,
    supports_id   uuid references travel_documents,
    unique (kind, country, number),
    check (case kind when 'passport' then number ~ '^[A-Z]{1,2}[0-9]{6,8}$' when 'national_id' then number ~ '^[0-9A-Z]{8,14}$'
                     else number ~ '^V[0-9]{8}$' end),
    check ((kind = 'visa') = (supports_id is not null)),
    check (expires > issued and expires <= issued + 3660)
);

create table loyalty_tiers (
    code       text primary key check (code in ('BASE', 'SILVER', 'GOLD', 'PLATINUM')),
    rank_no    smallint not null unique check (rank_no between 1 and 4),
    min_points integer not null unique check (min_points >= 0),
    bonus_pct  numeric(5,2) not null check (bonus_pct between 0 and 150),
    check ((code = 'BASE') = (min_points = 0))
);

create table loyalty_accounts (
    passenger_id uuid primary key references passengers,
    airline_id   uuid not null references airlines,
    number       bigint not null unique check (number between 1000000000 and 9999999999 and number % 7 = 3),
    tier         text not null default 'BASE' references loyalty_tiers,
    points       integer not null default 0 check (points >= 0),
    joined       date not null
);

create table bookings (
    id           uuid primary key default gen_random_uuid(),
    pnr          char(6) not null unique default upper(lpad(to_hex(nextval('pnr_seq')), 6, '0')) check (pnr ~ '^[A-Z0-9]{6}$'),
    airline_id   uuid not null references airlines,
    booker_id    uuid not null references passengers,
    state        booking_state not null default 'held',
    hold_until   timestamptz,
    total        price,
    split_from   uuid references bookings,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    check (created_at <= updated_at),
    check ((state = 'held') = (hold_until is not null)),
    check (hold_until > created_at and hold_until <= created_at + interval '72 hours'),
    check (state <> 'ticketed' or total is not null),
    check (split_from <> id)
);
create trigger bookings_touch before update on bookings for each row execute function touch_updated_at();

create table booking_passengers (
    booking_id   uuid not null references bookings on delete cascade,
    passenger_id uuid not null references passengers,
    seq          smallint not null check (seq between 1 and 9),
    infant_of    uuid,
    document_id  uuid references travel_documents,
    primary key (booking_id, passenger_id),
    unique (booking_id, seq),
    foreign key (booking_id, infant_of) references booking_passengers (booking_id, passenger_id) deferrable,
    check (infant_of <> passenger_id)
);

create table fares (
    id         uuid primary key default gen_random_uuid(),
    route_id   uuid not null references routes,
    cabin      cabin not null,
    basis      varchar(8) not null check (basis ~ '^[FJWY][A-Z0-9]{2,7}$'),
    base       price not null,
    refund_pct numeric(5,2) not null default 0 check (refund_pct between 0 and 100),
    taxes      price[] not null default '{}' check (cardinality(taxes) <= 10),
    sale       tstzrange not null,
    unique (route_id, basis),
    unique (id, route_id, cabin),
    check (left(basis, 1) = case cabin when 'first' then 'F' when 'business' then 'J' when 'premium' then 'W' else 'Y' end),
    check ((base).amount between 1 and 30000),
    check (upper(sale) > lower(sale))
);

-- tickets are list-partitioned by cabin
create table tickets (
    number         char(13) not null check (number ~ '^[0-9]{13}$'),
    cabin          cabin not null,
    booking_id     uuid not null,
    passenger_id   uuid not null,
    route_id       uuid not null,
    fare_id        uuid not null,
    flight_id      uuid not null,
    departure_date date not null,
    coupon_status  char(1) not null default 'O' check (coupon_status in ('O', 'C', 'F', 'R', 'V')),
    paid           price not null,
    primary key (number, cabin),
    unique (flight_id, departure_date, passenger_id, cabin),
    foreign key (booking_id, passenger_id) references booking_passengers,
    foreign key (fare_id, route_id, cabin) references fares (id, route_id, cabin),
    foreign key (route_id, departure_date) references flights (route_id, departure_date),
    foreign key (flight_id, departure_date) references flights (id, departure_date),
    check ((paid).amount > 0 or coupon_status = 'V')
) partition by list (cabin);
create table tickets_front partition of tickets for values in ('first', 'business');
create table tickets_back  partition of tickets for values in ('premium', 'economy');

create table seat_assignments (
    flight_id      uuid not null,
    departure_date date not null,
    aircraft_id    uuid not null,
    seat           varchar(3) not null,
    cabin          cabin not null,
    ticket_number  char(13) not null,
    assigned_at    timestamp not null,
    primary key (flight_id, departure_date, seat),
    unique (ticket_number, flight_id),
    foreign key (flight_id, departure_date, aircraft_id) references flights (id, departure_date, aircraft_id),
    foreign key (aircraft_id, seat, cabin) references seat_maps (aircraft_id, seat, cabin),
    foreign key (ticket_number, cabin) references tickets (number, cabin),
    check (assigned_at < departure_date + interval '1 day')
);

create table bags (
    tag            char(10) primary key check (tag ~ '^[0-9]{10}$'),
    ticket_number  char(13) not null,
    cabin          cabin not null,
    weight_kg      numeric(4,1) not null check (weight_kg > 0 and weight_kg <= 32),
    size           dims_cm,
    rush           boolean not null default false,
    foreign key (ticket_number, cabin) references tickets (number, cabin),
    check (size is null or ((size).l + (size).w + (size).h <= 203 and (size).l >= (size).w and (size).w >= (size).h and (size).h > 0)),
    check (cabin <> 'economy' or weight_kg <= 23)
);

create table bag_scans (
    tag      char(10) not null references bags,
    scan_no  integer not null check (scan_no > 0),
    airport_id uuid not null references airports,
    scanned_at timestamptz not null,
    belt     varchar(4) check (belt ~ '^B[0-9]{1,3}$'),
    primary key (tag, scan_no)
) partition by hash (tag);
create table bag_scans_0 partition of bag_scans for values with (modulus 3, remainder 0);
create table bag_scans_1 partition of bag_scans for values with (modulus 3, remainder 1);
create table bag_scans_2 partition of bag_scans for values with (modulus 3, remainder 2);

-- ---------------------------------------------------------------- cargo

create table shippers (
    id        uuid primary key default gen_random_uuid(),
    code      text not null unique check (code ~ '^SH-[A-Z]{3}-[0-9]{3}$'),
    name      text not null,
    address   postal_address not null,
    vat_no    text unique check (vat_no ~ '^[A-Z]{2}[0-9A-Z]{8,12}$'),
    credit    price,
    parent_id uuid references shippers on delete set null,
    known     boolean not null default false,
    screened_until date,
    check (known = (screened_until is not null)),
    check ((address).country is not null and left(vat_no, 2) = (address).country)
);

create table uld_types (
    code       char(3) primary key check (code ~ '^[A-Z]{2}[A-Z0-9]$'),
    tare_kg    integer not null check (tare_kg between 30 and 500),
    gross_kg   integer not null,
    size       dims_cm not null,
    volume_m3  numeric(8,3) generated always as (((size).l::numeric * (size).w * (size).h) / 1000000) stored,
    check (gross_kg > tare_kg * 3),
    check ((size).l between 50 and 700 and (size).w between 50 and 320 and (size).h between 50 and 320)
);

create table ulds (
    id        uuid primary key default gen_random_uuid(),
    type_code char(3) not null references uld_types,
    serial    char(5) not null check (serial ~ '^[0-9]{5}$'),
    owner_id  uuid not null references airlines,
    last_seen_id uuid references airports,
    unique (type_code, serial, owner_id)
);

create table waybills (
    id          uuid primary key default gen_random_uuid(),
    airline_id  uuid not null references airlines,
    serial      integer not null default nextval('awb_serial') check (serial between 1000000 and 9999999),
    check_digit smallint not null check (check_digit = serial % 7),
    awb         text generated always as (lpad(serial::text, 7, '0') || check_digit::text) stored unique,
    shipper_id  uuid not null references shippers,
    consignee_id uuid not null references shippers,
    origin_id   uuid not null references airports,
    destination_id uuid not null references airports,
    master_id   uuid references waybills,
    pieces      integer not null check (pieces between 1 and 9999),
    gross_kg    numeric(9,1) not null check (gross_kg > 0),
    chargeable_kg numeric(9,1) not null,
    declared    price,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    unique (airline_id, serial),
    unique (id, origin_id, destination_id),
    check (shipper_id <> consignee_id and origin_id <> destination_id),
    check (chargeable_kg >= gross_kg),
    check (created_at <= updated_at),
    check (master_id <> id)
);

create table parcels (
    id          uuid primary key default gen_random_uuid(),
    waybill_id  uuid not null references waybills on delete cascade,
    piece_no    integer not null check (piece_no >= 1),
    state       parcel_state not null default 'accepted',
    hazard      hazard_class not null default 'none',
    un_number   char(6) check (un_number ~ '^UN[0-9]{4}$'),
    weight_kg   numeric(7,2) not null check (weight_kg > 0 and weight_kg <= 6800),
    size        dims_cm not null check ((size).l > 0 and (size).w > 0 and (size).h > 0 and (size).l <= 700),
    vol_kg      numeric(12,2) generated always as (round(((size).l::numeric * (size).w * (size).h) / 6000, 2)) stored,
    temp        numrange check (temp <@ '[-80,40]'::numrange and not isempty(temp)),
    uld_id      uuid references ulds,
    delivered_at timestamptz,
    unique (waybill_id, piece_no),
    check ((hazard = 'none') = (un_number is null)),
    check (hazard <> 'dry_ice' or (un_number = 'UN1845' and temp is not null)),
    check ((state = 'delivered') = (delivered_at is not null)),
    check (state not in ('loaded', 'in_transit') or uld_id is not null)
);

create table parcel_tracks (
    parcel_id uuid not null references parcels on delete cascade,
    at        timestamptz not null,
    state     parcel_state not null,
    previous_at timestamptz,
    airport_id uuid references airports,
    note      text,
    primary key (parcel_id, at),
    foreign key (parcel_id, previous_at) references parcel_tracks (parcel_id, at),
    check (previous_at < at),
    check ((state = 'accepted') = (previous_at is null)),
    check (state <> 'lost' or note is not null)
);
create unique index parcel_track_next on parcel_tracks (parcel_id, previous_at) nulls not distinct;

create table load_plans (
    flight_id      uuid not null,
    departure_date date not null,
    uld_id         uuid not null references ulds,
    position       varchar(3) not null check (position ~ '^[1-4][1-9]?[LRP]$'),
    waybill_ids    uuid[] not null check (cardinality(waybill_ids) between 1 and 50),
    gross_kg       integer not null check (gross_kg between 50 and 6800),
    share_pct      numeric(5,2)[] not null,
    primary key (flight_id, departure_date, position),
    unique (uld_id, departure_date),
    foreign key (flight_id, departure_date) references flights (id, departure_date),
    check (cardinality(share_pct) = cardinality(waybill_ids)),
    check (0 < all (share_pct) and 100 >= all (share_pct))
);

create table waybill_charges (
    waybill_id uuid not null references waybills,
    code       char(3) not null check (code in ('WGT', 'FUE', 'SEC', 'DGR', 'AWB')),
    charge     price not null check ((charge).amount > 0),
    payer      char(1) not null check (payer in ('S', 'C')),
    primary key (waybill_id, code)
);

-- ---------------------------------------------------------------- incidents

create table incident_types (
    code     text primary key check (code ~ '^[A-Z]{2}[0-9]{2}$'),
    title    text not null unique,
    severity smallint not null check (severity between 1 and 5)
);

create table incidents (
    id             uuid primary key default gen_random_uuid(),
    type_code      text not null references incident_types,
    flight_id      uuid,
    departure_date date,
    aircraft_id    uuid references aircraft,
    airport_id     uuid references airports,
    reported_by    uuid not null references crew_members,
    lead_action_id uuid,                    -- cycle
    occurred_at    timestamptz not null,
    reported_at    timestamptz not null,
    closed_at      timestamptz,
    foreign key (flight_id, departure_date) references flights (id, departure_date) match full,
    check (num_nonnulls(flight_id, aircraft_id, airport_id) >= 1),
    check (reported_at between occurred_at and occurred_at + interval '72 hours'),
    check (closed_at > reported_at),
    check (closed_at is null or lead_action_id is not null)
);

create table incident_actions (
    id          uuid primary key default gen_random_uuid(),
    incident_id uuid not null references incidents on delete cascade,
    owner_id    uuid not null references crew_members,
    due         date not null,
    done        date,
    blocks_id   uuid references incident_actions,
    unique (id, incident_id),
    check (blocks_id <> id)
);
alter table incidents add foreign key (lead_action_id, id) references incident_actions (id, incident_id) deferrable initially deferred;
