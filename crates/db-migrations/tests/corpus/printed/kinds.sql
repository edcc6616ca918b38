-- Enums, domains, arrays, views, ranges, composites, partitions, and types that diesel does not have.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE "LineItem" AS (sku text, amount int);
CREATE TYPE price_range AS RANGE (subtype = numeric);
CREATE DOMAIN email AS varchar(254) CHECK (value LIKE '%@%');
CREATE DOMAIN filled AS text NOT NULL;
CREATE DOMAIN tags AS text[];
CREATE SCHEMA app;
CREATE TYPE app.state AS ENUM ('new', 'done');

CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name varchar(40) NOT NULL,
    initials char(3),
    contact email NOT NULL,
    note filled,
    labels tags,
    feels mood NOT NULL DEFAULT 'ok',
    felt mood[],
    friends bigint[] NOT NULL DEFAULT '{}',
    boss bigint REFERENCES people,
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', name)) STORED,
    born date, seen timestamptz, shift time, pause interval, at timestamp NOT NULL DEFAULT now()
);
COMMENT ON TABLE people IS 'Those who work here.

And those who did.';
COMMENT ON COLUMN people.name IS '  As they write it.';
CREATE TABLE things (
    id uuid PRIMARY KEY,
    small smallint, whole int, big bigint, approximate real, exact numeric(10, 2), double double precision,
    yes boolean NOT NULL, bytes bytea, doc json, docs jsonb, address inet, net cidr, mac macaddr, mac8 macaddr8,
    paid money, lsn pg_lsn, number oid, markup xml, place point, one name, flags varbit(5), clock timetz,
    days daterange, counts int4range, sums numrange, slots tstzrange[], prices price_range, spans int8multirange,
    item "LineItem", items "LineItem"[], state app.state, owner bigint REFERENCES people (id), words varchar(5)[]
);
CREATE TABLE orders (
    person bigint NOT NULL REFERENCES people, at date NOT NULL, thing uuid REFERENCES things,
    giver bigint, PRIMARY KEY (at, person)
);
CREATE TABLE gifts (
    id serial PRIMARY KEY, giver bigint REFERENCES people, taker bigint REFERENCES people, at date, person bigint,
    FOREIGN KEY (at, person) REFERENCES orders (at, person)
);
CREATE TABLE logs (id bigint, at date NOT NULL, thing uuid REFERENCES things, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW happy AS SELECT id, name FROM people WHERE feels = 'happy';
CREATE MATERIALIZED VIEW counted AS SELECT feels, count(*) FROM people GROUP BY feels;
CREATE TABLE __hidden (id int PRIMARY KEY);
CREATE TABLE app.tasks (id int PRIMARY KEY, state app.state NOT NULL, feels mood, person bigint REFERENCES people);
CREATE TABLE app.steps (id int PRIMARY KEY, task int NOT NULL REFERENCES app.tasks, states app.state[]);
