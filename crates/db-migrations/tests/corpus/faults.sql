-- Migrations whose down.sql has a fault. Each case runs in a schema of its own, which is written as {s} here.
-- `before` is what is there already; `lost` is part of the line that must be reported.

--! case: an index that the up dropped is not made again
--! before
CREATE TABLE people (id int, name text); CREATE INDEX people_name_idx ON people (name);
--! up
DROP INDEX people_name_idx;
--! down
SELECT 1;
--! lost: lost: index {s}.people_name_idx

--! case: an index that the up made is not dropped
--! before
CREATE TABLE people (id int, name text);
--! up
CREATE INDEX people_name_idx ON people (name);
--! down
--! lost: left over: index {s}.people_name_idx

--! case: an index comes back without its condition
--! before
CREATE TABLE people (id int, name text, gone bool); CREATE INDEX people_name_idx ON people (name) WHERE NOT gone;
--! up
DROP INDEX people_name_idx;
--! down
CREATE INDEX people_name_idx ON people (name);
--! lost: changed: index {s}.people_name_idx

--! case: an index comes back without its operator class
--! before
CREATE TABLE people (id int, name text); CREATE INDEX people_name_idx ON people (name text_pattern_ops);
--! up
DROP INDEX people_name_idx;
--! down
CREATE INDEX people_name_idx ON people (name);
--! lost: changed: index {s}.people_name_idx

--! case: a unique index comes back as a plain one
--! before
CREATE TABLE people (id int, name text); CREATE UNIQUE INDEX people_name_key ON people (name);
--! up
DROP INDEX people_name_key;
--! down
CREATE INDEX people_name_key ON people (name);
--! lost: changed: index {s}.people_name_key

--! case: a trigger goes with its function and is not made again
--! before
CREATE TABLE people (id int);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER people_touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
--! up
DROP TRIGGER people_touch ON people;
--! down
SELECT 1;
--! lost: lost: trigger people_touch on {s}.people

--! case: a trigger comes back for another event
--! before
CREATE TABLE people (id int);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER people_touch BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
--! up
DROP TRIGGER people_touch ON people;
--! down
CREATE TRIGGER people_touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
--! lost: changed: trigger people_touch on {s}.people

--! case: a trigger stays disabled
--! before
CREATE TABLE people (id int);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER people_touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
--! up
ALTER TABLE people DISABLE TRIGGER people_touch;
--! down
SELECT 1;
--! lost: enabled was none, is disabled

--! case: a default is not set again
--! before
CREATE TABLE people (id int, joined date DEFAULT '2020-01-01');
--! up
ALTER TABLE people ALTER joined DROP DEFAULT;
--! down
SELECT 1;
--! lost: changed: column {s}.people.joined

--! case: a default comes back with another value
--! before
CREATE TABLE people (id int, visits int DEFAULT 1);
--! up
ALTER TABLE people ALTER visits SET DEFAULT 5;
--! down
ALTER TABLE people ALTER visits SET DEFAULT 0;
--! lost: default was 1, is 0

--! case: a check is not added again
--! before
CREATE TABLE people (id int, age int CONSTRAINT people_age_check CHECK (age > 0));
--! up
ALTER TABLE people DROP CONSTRAINT people_age_check;
--! down
SELECT 1;
--! lost: lost: constraint people_age_check on {s}.people

--! case: a check comes back weaker
--! before
CREATE TABLE people (id int, age int CONSTRAINT people_age_check CHECK (age > 0));
--! up
ALTER TABLE people DROP CONSTRAINT people_age_check;
--! down
ALTER TABLE people ADD CONSTRAINT people_age_check CHECK (age >= 0);
--! lost: changed: constraint people_age_check on {s}.people

--! case: a check comes back NOT VALID
--! before
CREATE TABLE people (id int, age int CONSTRAINT people_age_check CHECK (age > 0));
--! up
ALTER TABLE people DROP CONSTRAINT people_age_check;
--! down
ALTER TABLE people ADD CONSTRAINT people_age_check CHECK (age > 0) NOT VALID;
--! lost: NOT VALID

--! case: a foreign key comes back without ON DELETE CASCADE
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int CONSTRAINT orders_person_fkey REFERENCES people ON DELETE CASCADE);
--! up
ALTER TABLE orders DROP CONSTRAINT orders_person_fkey;
--! down
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people;
--! lost: changed: constraint orders_person_fkey on {s}.orders

--! case: a deferrable key comes back as one that is not
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int CONSTRAINT orders_person_fkey REFERENCES people DEFERRABLE INITIALLY DEFERRED);
--! up
ALTER TABLE orders DROP CONSTRAINT orders_person_fkey;
--! down
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people;
--! lost: DEFERRABLE

--! case: a primary key is gone with a column
--! before
CREATE TABLE people (id int PRIMARY KEY, name text);
--! up
ALTER TABLE people DROP COLUMN id;
--! down
ALTER TABLE people ADD COLUMN id int;
--! lost: lost: constraint people_pkey on {s}.people

--! case: a unique constraint comes back as an index
--! before
CREATE TABLE people (id int, name text CONSTRAINT people_name_key UNIQUE);
--! up
ALTER TABLE people DROP CONSTRAINT people_name_key;
--! down
CREATE UNIQUE INDEX people_name_key ON people (name);
--! lost: lost: constraint people_name_key on {s}.people

--! case: an exclusion constraint is not added again
--! before
CREATE TABLE rooms (during tsrange, CONSTRAINT rooms_during_excl EXCLUDE USING gist (during WITH &&));
--! up
ALTER TABLE rooms DROP CONSTRAINT rooms_during_excl;
--! down
SELECT 1;
--! lost: lost: constraint rooms_during_excl on {s}.rooms

--! case: NOT NULL is not set again
--! before
CREATE TABLE people (id int, name text NOT NULL);
--! up
ALTER TABLE people ALTER name DROP NOT NULL;
--! down
SELECT 1;
--! lost: not null was yes, is none

--! case: a type comes back shorter
--! before
CREATE TABLE people (id int, name varchar(50));
--! up
ALTER TABLE people ALTER name TYPE text;
--! down
ALTER TABLE people ALTER name TYPE varchar(40);
--! lost: type was character varying(50), is character varying(40)

--! case: a number comes back as another one
--! before
CREATE TABLE people (id int, visits bigint);
--! up
ALTER TABLE people ALTER visits TYPE numeric;
--! down
ALTER TABLE people ALTER visits TYPE int;
--! lost: type was bigint, is integer

--! case: a column that was renamed keeps its new name
--! before
CREATE TABLE people (id int, name text);
--! up
ALTER TABLE people RENAME name TO full_name;
--! down
SELECT 1;
--! lost: lost: column {s}.people.name

--! case: a column stays
--! before
CREATE TABLE people (id int);
--! up
ALTER TABLE people ADD COLUMN email text, ADD COLUMN phone text;
--! down
ALTER TABLE people DROP COLUMN email;
--! lost: left over: column {s}.people.phone

--! case: an identity comes back as a plain number
--! before
CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY);
--! up
ALTER TABLE people ALTER id DROP IDENTITY;
--! down
SELECT 1;
--! lost: identity was always, is none

--! case: a generated column comes back as a plain one
--! before
CREATE TABLE people (name text, size int GENERATED ALWAYS AS (length(name)) STORED);
--! up
ALTER TABLE people ALTER size DROP EXPRESSION;
--! down
SELECT 1;
--! lost: generated was

--! case: a collation is lost
--! before
CREATE TABLE people (name text COLLATE "C");
--! up
ALTER TABLE people ALTER name TYPE varchar;
--! down
ALTER TABLE people ALTER name TYPE text;
--! lost: collation was

--! case: a storage mode is lost
--! before
CREATE TABLE documents (body text); ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
--! up
ALTER TABLE documents ALTER body SET STORAGE MAIN;
--! down
ALTER TABLE documents ALTER body SET STORAGE EXTENDED;
--! lost: storage was e, is none

--! case: a grant is not given again
--! before
CREATE TABLE people (id int); GRANT SELECT ON people TO pg_monitor;
--! up
REVOKE SELECT ON people FROM pg_monitor;
--! down
SELECT 1;
--! lost: grants: lost

--! case: a table that is made again has no grants
--! before
CREATE TABLE people (id int); GRANT SELECT, INSERT ON people TO pg_monitor;
--! up
DROP TABLE people;
--! down
CREATE TABLE people (id int);
--! lost: grants: lost

--! case: a grant on a column is lost
--! before
CREATE TABLE people (id int, name text); GRANT SELECT (name) ON people TO pg_monitor;
--! up
REVOKE SELECT (name) ON people FROM pg_monitor;
--! down
SELECT 1;
--! lost: changed: column {s}.people.name

--! case: execution of a function stays with everyone
--! before
CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION secret() FROM PUBLIC;
--! up
DROP FUNCTION secret();
--! down
CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
--! lost: changed: function {s}.secret()

--! case: default privileges are not taken back
--! before
--! up
ALTER DEFAULT PRIVILEGES IN SCHEMA {s} GRANT SELECT ON TABLES TO pg_monitor;
--! down
SELECT 1;
--! lost: left over: default privileges

--! case: a comment on a table is lost
--! before
CREATE TABLE people (id int); COMMENT ON TABLE people IS 'everyone';
--! up
COMMENT ON TABLE people IS 'everybody';
--! down
COMMENT ON TABLE people IS NULL;
--! lost: comment was everyone, is none

--! case: a comment on a column is lost with the column
--! before
CREATE TABLE people (id int, name text); COMMENT ON COLUMN people.name IS 'as spoken';
--! up
ALTER TABLE people DROP COLUMN name;
--! down
ALTER TABLE people ADD COLUMN name text;
--! lost: comment was as spoken, is none

--! case: a value of an enum stays
--! before
CREATE TYPE mood AS ENUM ('good', 'bad');
--! up
ALTER TYPE mood ADD VALUE 'so so';
--! down
SELECT 1;
--! lost: changed: enum {s}.mood

--! case: the values of an enum come back in another order
--! before
CREATE TYPE mood AS ENUM ('good', 'so so', 'bad');
--! up
DROP TYPE mood;
--! down
CREATE TYPE mood AS ENUM ('good', 'bad', 'so so');
--! lost: changed: enum {s}.mood

--! case: a sequence belongs to no column any more
--! before
CREATE TABLE people (id serial);
--! up
ALTER SEQUENCE people_id_seq OWNED BY NONE;
--! down
SELECT 1;
--! lost: owned by was

--! case: a sequence comes back with another step
--! before
CREATE SEQUENCE numbers INCREMENT 10;
--! up
DROP SEQUENCE numbers;
--! down
CREATE SEQUENCE numbers;
--! lost: changed: sequence {s}.numbers

--! case: a view comes back without a column
--! before
CREATE TABLE people (id int, name text); CREATE VIEW names AS SELECT id, name FROM people;
--! up
DROP VIEW names;
--! down
CREATE VIEW names AS SELECT name FROM people;
--! lost: lost: column {s}.names.id

--! case: a view comes back with another condition
--! before
CREATE TABLE people (id int, name text); CREATE VIEW names AS SELECT name FROM people WHERE id > 0;
--! up
DROP VIEW names;
--! down
CREATE VIEW names AS SELECT name FROM people WHERE id >= 0;
--! lost: changed: view {s}.names

--! case: a view loses its security barrier
--! before
CREATE TABLE people (name text); CREATE VIEW names WITH (security_barrier) AS SELECT name FROM people;
--! up
DROP VIEW names;
--! down
CREATE VIEW names AS SELECT name FROM people;
--! lost: options: lost security_barrier=true

--! case: a materialized view comes back without its index
--! before
CREATE TABLE people (name text);
CREATE MATERIALIZED VIEW names AS SELECT name FROM people; CREATE UNIQUE INDEX names_key ON names (name);
--! up
DROP MATERIALIZED VIEW names;
--! down
CREATE MATERIALIZED VIEW names AS SELECT name FROM people;
--! lost: lost: index {s}.names_key

--! case: a function comes back with another body
--! before
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
--! up
CREATE OR REPLACE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 3';
--! down
CREATE OR REPLACE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
--! lost: changed: function {s}.price(n integer)

--! case: a function is not immutable any more
--! before
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
--! up
ALTER FUNCTION price(int) STABLE;
--! down
ALTER FUNCTION price(int) VOLATILE;
--! lost: changed: function {s}.price(n integer)

--! case: a function of another signature stays beside the old one
--! before
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
--! up
CREATE FUNCTION price(n int, m int) RETURNS int LANGUAGE sql AS 'SELECT n * m';
--! down
SELECT 1;
--! lost: left over: function {s}.price(n integer, m integer)

--! case: a policy is not made again
--! before
CREATE TABLE notes (owner text); ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = CURRENT_USER);
--! up
DROP POLICY own ON notes;
--! down
SELECT 1;
--! lost: lost: policy own on {s}.notes

--! case: row security stays off
--! before
CREATE TABLE notes (owner text); ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
--! up
ALTER TABLE notes DISABLE ROW LEVEL SECURITY;
--! down
SELECT 1;
--! lost: row security was on, is none

--! case: a domain loses its check
--! before
CREATE DOMAIN email AS text CONSTRAINT email_check CHECK (VALUE ~ '@');
--! up
ALTER DOMAIN email DROP CONSTRAINT email_check;
--! down
SELECT 1;
--! lost: lost: constraint email_check on domain {s}.email

--! case: a composite type loses a member
--! before
CREATE TYPE place AS (x int, y int);
--! up
ALTER TYPE place DROP ATTRIBUTE y;
--! down
SELECT 1;
--! lost: lost: column {s}.place.y

--! case: a statistics object is not made again
--! before
CREATE TABLE people (city text, country text); CREATE STATISTICS people_place (dependencies) ON city, country FROM people;
--! up
DROP STATISTICS people_place;
--! down
SELECT 1;
--! lost: lost: statistics {s}.people_place

--! case: a storage parameter is lost
--! before
CREATE TABLE people (id int) WITH (fillfactor = 70);
--! up
ALTER TABLE people SET (fillfactor = 90);
--! down
ALTER TABLE people RESET (fillfactor);
--! lost: options: lost fillfactor=70

--! case: a replica identity is lost
--! before
CREATE TABLE people (id int); ALTER TABLE people REPLICA IDENTITY FULL;
--! up
ALTER TABLE people REPLICA IDENTITY NOTHING;
--! down
ALTER TABLE people REPLICA IDENTITY DEFAULT;
--! lost: replica identity was f, is none

--! case: a table stays out of its publication
--! before
CREATE TABLE people (id int); CREATE TABLE orders (id int); CREATE PUBLICATION {s}_everything FOR TABLE people, orders;
--! up
ALTER PUBLICATION {s}_everything DROP TABLE orders;
--! down
SELECT 1;
--! lost: changed: publication {s}_everything

--! case: a rule is not made again
--! before
CREATE TABLE people (id int); CREATE RULE keep AS ON DELETE TO people DO INSTEAD NOTHING;
--! up
DROP RULE keep ON people;
--! down
SELECT 1;
--! lost: lost: rule keep on {s}.people

--! case: a cast stays
--! before
CREATE TYPE celsius AS (degrees int);
CREATE FUNCTION degrees_of(celsius) RETURNS int LANGUAGE sql AS 'SELECT ($1).degrees';
--! up
CREATE CAST (celsius AS int) WITH FUNCTION degrees_of(celsius);
--! down
SELECT 1;
--! lost: left over: cast

--! case: an unlogged table is not logged again
--! before
CREATE TABLE cache (id int);
--! up
ALTER TABLE cache SET UNLOGGED;
--! down
SELECT 1;
--! lost: persistence was none, is u

--! case: a partition comes back with other bounds
--! before
CREATE TABLE days (at date) PARTITION BY RANGE (at);
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
--! up
DROP TABLE days_2026;
--! down
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-12-31');
--! lost: partition was

--! case: a partition that was detached stays so
--! before
CREATE TABLE days (at date) PARTITION BY RANGE (at);
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
--! up
ALTER TABLE days DETACH PARTITION days_2026;
--! down
SELECT 1;
--! lost: changed: table {s}.days_2026

--! case: an index made concurrently stays
--! before
CREATE TABLE people (id int, name text);
--! up
CREATE INDEX CONCURRENTLY people_name_idx ON people (name);
--! down
SELECT 1;
--! lost: left over: index {s}.people_name_idx

--! case: a schema stays
--! before
--! up
CREATE SCHEMA {s}_archive;
--! down
SELECT 1;
--! lost: left over: schema {s}_archive

--! case: a second up fails because the down left the table
--! before
--! up
CREATE TABLE people (id int);
--! down
SELECT 1;
--! lost: up.sql fails after down.sql

--! case: the owner of a table is not the one before
--! before
CREATE TABLE people (id int);
--! up
ALTER TABLE people OWNER TO pg_monitor;
--! down
SELECT 1;
--! lost: owner was
