-- Migrations whose down.sql undoes the up.sql exactly, as far as a down can: none of them may be reported. Each case
-- runs in a schema of its own, which is written as {s} here. `before` is what is there already.

--! case: a table
--! before
--! up
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, joined timestamptz DEFAULT now());
--! down
DROP TABLE people;

--! case: a table with everything on it
--! before
CREATE TABLE people (id int PRIMARY KEY);
--! up
CREATE TABLE orders (id serial PRIMARY KEY, person int NOT NULL REFERENCES people ON DELETE CASCADE, total numeric(10, 2) CHECK (total > 0),
    code text COLLATE "C" UNIQUE, size int GENERATED ALWAYS AS (length(code)) STORED);
CREATE INDEX orders_person_idx ON orders (person) INCLUDE (total) WHERE total > 100;
COMMENT ON TABLE orders IS 'what was ordered'; GRANT SELECT ON orders TO pg_monitor; ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders FOR SELECT USING (person > 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER orders_touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
--! down
DROP TABLE orders; DROP FUNCTION touch();

--! case: a table that is dropped comes back whole
--! before
CREATE TABLE people (id int CONSTRAINT people_pkey PRIMARY KEY, name varchar(30) DEFAULT 'x' NOT NULL); CREATE INDEX people_name_idx ON people (lower(name));
GRANT SELECT ON people TO pg_monitor; COMMENT ON COLUMN people.name IS 'as spoken';
--! up
DROP TABLE people;
--! down
CREATE TABLE people (id int PRIMARY KEY, name varchar(30) NOT NULL DEFAULT 'x'); CREATE INDEX people_name_idx ON people (lower(name));
GRANT SELECT ON people TO pg_monitor; COMMENT ON COLUMN people.name IS 'as spoken';

--! case: a column
--! before
CREATE TABLE people (id int);
--! up
ALTER TABLE people ADD COLUMN email text;
--! down
ALTER TABLE people DROP COLUMN email;

--! case: a column with a constant default
--! before
CREATE TABLE people (id int); INSERT INTO people VALUES (1), (2);
--! up
ALTER TABLE people ADD COLUMN active boolean NOT NULL DEFAULT true;
--! down
ALTER TABLE people DROP COLUMN active;

--! case: a column from the middle comes back at the end
--! before
CREATE TABLE people (id int, name text NOT NULL, joined date);
--! up
ALTER TABLE people DROP COLUMN name;
--! down
ALTER TABLE people ADD COLUMN name text; UPDATE people SET name = ''; ALTER TABLE people ALTER name SET NOT NULL;

--! case: a view follows a column that comes back at the end
--! before
CREATE TABLE people (id int, name text, joined date); CREATE VIEW everyone AS SELECT * FROM people;
--! up
DROP VIEW everyone; ALTER TABLE people DROP COLUMN name; CREATE VIEW everyone AS SELECT * FROM people;
--! down
DROP VIEW everyone; ALTER TABLE people ADD COLUMN name text; CREATE VIEW everyone AS SELECT * FROM people;

--! case: a column is renamed
--! before
CREATE TABLE people (id int, name text NOT NULL);
--! up
ALTER TABLE people RENAME COLUMN name TO full_name;
--! down
ALTER TABLE people RENAME COLUMN full_name TO name;

--! case: a table is renamed
--! before
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL);
--! up
ALTER TABLE people RENAME TO persons;
--! down
ALTER TABLE persons RENAME TO people;

--! case: NOT NULL goes and comes on a table that was renamed once
--! before
CREATE TABLE persons (id int NOT NULL); ALTER TABLE persons RENAME TO people;
--! up
ALTER TABLE people ALTER id DROP NOT NULL;
--! down
ALTER TABLE people ALTER id SET NOT NULL;

--! case: a type becomes wider and narrower
--! before
CREATE TABLE people (id int, name varchar(50));
--! up
ALTER TABLE people ALTER name TYPE varchar(200), ALTER id TYPE bigint;
--! down
ALTER TABLE people ALTER name TYPE varchar(50), ALTER id TYPE int;

--! case: a default
--! before
CREATE TABLE people (id int, joined date DEFAULT CURRENT_DATE);
--! up
ALTER TABLE people ALTER joined DROP DEFAULT;
--! down
ALTER TABLE people ALTER joined SET DEFAULT CURRENT_DATE;

--! case: a default in a time zone
--! before
CREATE TABLE people (joined timestamptz DEFAULT '2020-01-01 00:00:00+00');
--! up
SET timezone = 'Asia/Tokyo';
ALTER TABLE people ALTER joined DROP DEFAULT;
--! down
ALTER TABLE people ALTER joined SET DEFAULT '2020-01-01 01:00:00+01';

--! case: an index
--! before
CREATE TABLE people (id int, name text);
--! up
CREATE INDEX people_name_idx ON people USING btree (name text_pattern_ops DESC NULLS LAST);
--! down
DROP INDEX people_name_idx;

--! case: an index made concurrently
--! before
CREATE TABLE people (id int, name text); INSERT INTO people SELECT n, n FROM generate_series(1, 100) n;
--! up
CREATE INDEX CONCURRENTLY people_name_idx ON people (name);
--! down
DROP INDEX CONCURRENTLY people_name_idx;

--! case: an index dropped concurrently
--! before
CREATE TABLE people (id int, name text); CREATE INDEX people_name_idx ON people (name) WHERE id > 0;
--! up
DROP INDEX CONCURRENTLY people_name_idx;
--! down
CREATE INDEX CONCURRENTLY people_name_idx ON people (name) WHERE id > 0;

--! case: a file with statements of both kinds
--! before
CREATE TABLE people (id int, name text);
--! up
ALTER TABLE people ADD COLUMN email text;
CREATE UNIQUE INDEX CONCURRENTLY people_email_key ON people (email);
ALTER TABLE people ADD CONSTRAINT people_email_unique UNIQUE USING INDEX people_email_key;
--! down
ALTER TABLE people DROP COLUMN email;

--! case: an index is replaced under its name
--! before
CREATE TABLE people (id int, name text); CREATE INDEX people_name_idx ON people (name);
--! up
DROP INDEX people_name_idx; CREATE INDEX people_name_idx ON people (name, id);
--! down
DROP INDEX people_name_idx; CREATE INDEX people_name_idx ON people (name);

--! case: a check without and then with validation
--! before
CREATE TABLE people (age int); INSERT INTO people VALUES (1);
--! up
ALTER TABLE people ADD CONSTRAINT people_age_check CHECK (age > 0) NOT VALID; ALTER TABLE people VALIDATE CONSTRAINT people_age_check;
--! down
ALTER TABLE people DROP CONSTRAINT people_age_check;

--! case: a check changes
--! before
CREATE TABLE people (state text CONSTRAINT people_state_check CHECK (state IN ('new', 'old')));
--! up
ALTER TABLE people DROP CONSTRAINT people_state_check, ADD CONSTRAINT people_state_check CHECK (state IN ('new', 'old', 'gone'));
--! down
ALTER TABLE people DROP CONSTRAINT people_state_check, ADD CONSTRAINT people_state_check CHECK (state IN ('new', 'old'));

--! case: a foreign key
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int);
--! up
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people ON DELETE SET NULL DEFERRABLE;
--! down
ALTER TABLE orders DROP CONSTRAINT orders_person_fkey;

--! case: a foreign key is dropped
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int CONSTRAINT orders_person_fkey REFERENCES people ON UPDATE CASCADE);
--! up
ALTER TABLE orders DROP CONSTRAINT orders_person_fkey;
--! down
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people ON UPDATE CASCADE;

--! case: rows are moved while a deferred key waits
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int REFERENCES people DEFERRABLE INITIALLY DEFERRED);
INSERT INTO people VALUES (1); INSERT INTO orders VALUES (1);
--! up
INSERT INTO orders VALUES (1); ALTER TABLE people ADD COLUMN name text;
--! down
ALTER TABLE people DROP COLUMN name;

--! case: rows are written and the table is altered behind them
--! before
CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (person int REFERENCES people DEFERRABLE INITIALLY DEFERRED);
INSERT INTO people VALUES (1);
--! up
INSERT INTO orders VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE orders ADD COLUMN note text;
--! down
DELETE FROM orders; SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE orders DROP COLUMN note;

--! case: a primary key becomes another one
--! before
CREATE TABLE people (id int CONSTRAINT people_pkey PRIMARY KEY, code uuid NOT NULL DEFAULT gen_random_uuid());
--! up
ALTER TABLE people DROP CONSTRAINT people_pkey, ADD CONSTRAINT people_pkey PRIMARY KEY (code);
--! down
ALTER TABLE people DROP CONSTRAINT people_pkey, ADD CONSTRAINT people_pkey PRIMARY KEY (id);

--! case: a value of an enum, whose down makes the type again
--! before
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE people (mood mood DEFAULT 'good');
--! up
ALTER TYPE mood ADD VALUE 'so so' BEFORE 'bad';
--! down
ALTER TABLE people ALTER mood DROP DEFAULT; ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE people ALTER mood TYPE mood USING mood::text::mood; ALTER TABLE people ALTER mood SET DEFAULT 'good'; DROP TYPE mood_old;

--! case: a value of an enum is added and used
--! before
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE people (mood mood);
--! up
BEGIN; ALTER TYPE mood ADD VALUE 'so so'; COMMIT;
ALTER TABLE people ALTER mood SET DEFAULT 'so so';
--! down
ALTER TABLE people ALTER mood DROP DEFAULT; ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE people ALTER mood TYPE mood USING mood::text::mood; DROP TYPE mood_old;

--! case: a value of an enum is renamed
--! before
CREATE TYPE mood AS ENUM ('good', 'bad');
--! up
ALTER TYPE mood RENAME VALUE 'bad' TO 'sad';
--! down
ALTER TYPE mood RENAME VALUE 'sad' TO 'bad';

--! case: an enum and a table with it
--! before
--! up
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE people (mood mood DEFAULT 'good' NOT NULL);
--! down
DROP TABLE people; DROP TYPE mood;

--! case: a domain
--! before
--! up
CREATE DOMAIN email AS text CONSTRAINT email_check CHECK (VALUE ~ '@'); CREATE TABLE people (email email);
--! down
DROP TABLE people; DROP DOMAIN email;

--! case: a check of a domain
--! before
CREATE DOMAIN email AS text CONSTRAINT email_check CHECK (VALUE ~ '@');
--! up
ALTER DOMAIN email DROP CONSTRAINT email_check;
--! down
ALTER DOMAIN email ADD CONSTRAINT email_check CHECK (VALUE ~ '@');

--! case: a composite type
--! before
CREATE TYPE place AS (x int, y int);
--! up
ALTER TYPE place ADD ATTRIBUTE z int;
--! down
ALTER TYPE place DROP ATTRIBUTE z;

--! case: a range type
--! before
--! up
CREATE TYPE clock AS RANGE (subtype = time);
--! down
DROP TYPE clock;

--! case: a sequence of its own
--! before
--! up
CREATE SEQUENCE numbers AS int INCREMENT 5 MINVALUE 10 MAXVALUE 1000 CYCLE;
--! down
DROP SEQUENCE numbers;

--! case: a sequence becomes a column's
--! before
CREATE TABLE people (id int); CREATE SEQUENCE people_id_seq;
--! up
ALTER SEQUENCE people_id_seq OWNED BY people.id; ALTER TABLE people ALTER id SET DEFAULT nextval('people_id_seq');
--! down
ALTER TABLE people ALTER id DROP DEFAULT; ALTER SEQUENCE people_id_seq OWNED BY NONE;

--! case: a serial becomes an identity
--! before
CREATE TABLE people (id serial PRIMARY KEY);
--! up
ALTER TABLE people ALTER id DROP DEFAULT; DROP SEQUENCE people_id_seq; ALTER TABLE people ALTER id ADD GENERATED ALWAYS AS IDENTITY;
--! down
ALTER TABLE people ALTER id DROP IDENTITY; CREATE SEQUENCE people_id_seq AS int OWNED BY people.id;
ALTER TABLE people ALTER id SET DEFAULT nextval('people_id_seq');

--! case: a view
--! before
CREATE TABLE people (id int, name text);
--! up
CREATE VIEW names WITH (security_barrier) AS SELECT name FROM people WHERE id > 0 WITH CHECK OPTION;
--! down
DROP VIEW names;

--! case: a view changes and changes back
--! before
CREATE TABLE people (id int, name text); CREATE VIEW names AS SELECT name FROM people;
--! up
DROP VIEW names; CREATE VIEW names AS SELECT name, id FROM people ORDER BY name;
--! down
DROP VIEW names; CREATE VIEW names AS SELECT name FROM people;

--! case: views on views
--! before
CREATE TABLE people (id int, name text); CREATE VIEW names AS SELECT id, name FROM people; CREATE VIEW long_names AS SELECT name FROM names WHERE length(name) > 10;
--! up
DROP VIEW long_names, names; ALTER TABLE people ALTER name TYPE varchar(100);
CREATE VIEW names AS SELECT id, name FROM people; CREATE VIEW long_names AS SELECT name FROM names WHERE length(name) > 10;
--! down
DROP VIEW long_names, names; ALTER TABLE people ALTER name TYPE text;
CREATE VIEW names AS SELECT id, name FROM people; CREATE VIEW long_names AS SELECT name FROM names WHERE length(name) > 10;

--! case: a materialized view with its index
--! before
CREATE TABLE people (name text);
--! up
CREATE MATERIALIZED VIEW names AS SELECT DISTINCT name FROM people WITH NO DATA; CREATE UNIQUE INDEX names_key ON names (name);
--! down
DROP MATERIALIZED VIEW names;

--! case: a function is replaced
--! before
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
--! up
CREATE OR REPLACE FUNCTION price(n int) RETURNS int LANGUAGE sql AS $$ SELECT n * 3; $$;
--! down
CREATE OR REPLACE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';

--! case: a function with a body of statements
--! before
--! up
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN n > 1 THEN n ELSE 1 END; END;
--! down
DROP FUNCTION price;

--! case: a procedure and an aggregate
--! before
--! up
CREATE PROCEDURE tidy() LANGUAGE plpgsql AS 'BEGIN NULL; END'; CREATE AGGREGATE product(int) (sfunc = int4mul, stype = int, initcond = '1');
--! down
DROP AGGREGATE product(int); DROP PROCEDURE tidy;

--! case: a trigger
--! before
CREATE TABLE people (id int); CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
--! up
CREATE TRIGGER people_touch AFTER INSERT OR DELETE ON people FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION touch();
--! down
DROP TRIGGER people_touch ON people;

--! case: a constraint trigger
--! before
CREATE TABLE people (id int); CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
--! up
CREATE CONSTRAINT TRIGGER people_touch AFTER INSERT ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touch();
--! down
DROP TRIGGER people_touch ON people;

--! case: row security
--! before
CREATE TABLE notes (owner text);
--! up
ALTER TABLE notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON notes AS RESTRICTIVE FOR ALL TO pg_monitor USING (owner = CURRENT_USER) WITH CHECK (owner <> '');
--! down
DROP POLICY own ON notes; ALTER TABLE notes NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;

--! case: grants
--! before
CREATE TABLE people (id int, name text);
--! up
GRANT SELECT, UPDATE (name) ON people TO pg_monitor WITH GRANT OPTION; GRANT USAGE ON SCHEMA {s} TO pg_monitor;
--! down
REVOKE ALL ON people FROM pg_monitor; REVOKE UPDATE (name) ON people FROM pg_monitor; REVOKE USAGE ON SCHEMA {s} FROM pg_monitor;

--! case: a grant is taken and given back
--! before
CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE people (id int);
--! up
REVOKE EXECUTE ON FUNCTION secret() FROM PUBLIC; REVOKE DELETE ON people FROM CURRENT_USER;
--! down
GRANT EXECUTE ON FUNCTION secret() TO PUBLIC; GRANT DELETE ON people TO CURRENT_USER;

--! case: default privileges
--! before
--! up
ALTER DEFAULT PRIVILEGES IN SCHEMA {s} GRANT SELECT ON TABLES TO pg_monitor;
--! down
ALTER DEFAULT PRIVILEGES IN SCHEMA {s} REVOKE SELECT ON TABLES FROM pg_monitor;

--! case: comments
--! before
CREATE TABLE people (id int); COMMENT ON TABLE people IS 'everyone';
--! up
COMMENT ON TABLE people IS 'everybody'; COMMENT ON COLUMN people.id IS 'a number'; COMMENT ON SCHEMA {s} IS 'a case';
--! down
COMMENT ON TABLE people IS 'everyone'; COMMENT ON COLUMN people.id IS NULL; COMMENT ON SCHEMA {s} IS NULL;

--! case: statistics
--! before
CREATE TABLE people (city text, country text);
--! up
CREATE STATISTICS people_place (ndistinct, mcv) ON city, country FROM people; ALTER TABLE people ALTER city SET STATISTICS 500;
--! down
ALTER TABLE people ALTER city SET STATISTICS -1; DROP STATISTICS people_place;

--! case: storage parameters
--! before
CREATE TABLE people (id int, name text) WITH (fillfactor = 70);
--! up
ALTER TABLE people SET (fillfactor = 90, autovacuum_enabled = off); ALTER TABLE people ALTER name SET STORAGE EXTERNAL;
--! down
ALTER TABLE people SET (fillfactor = 70); ALTER TABLE people RESET (autovacuum_enabled); ALTER TABLE people ALTER name SET STORAGE EXTENDED;

--! case: unlogged and back
--! before
CREATE TABLE cache (id int);
--! up
ALTER TABLE cache SET UNLOGGED;
--! down
ALTER TABLE cache SET LOGGED;

--! case: partitions
--! before
CREATE TABLE days (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE INDEX days_at_idx ON days (at);
--! up
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE days_2027 (LIKE days INCLUDING ALL); ALTER TABLE days ATTACH PARTITION days_2027 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
--! down
DROP TABLE days_2026; ALTER TABLE days DETACH PARTITION days_2027; DROP TABLE days_2027;

--! case: a partition is detached and attached
--! before
CREATE TABLE days (at date) PARTITION BY RANGE (at); CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
--! up
ALTER TABLE days DETACH PARTITION days_2026;
--! down
ALTER TABLE days ATTACH PARTITION days_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');

--! case: inheritance
--! before
CREATE TABLE things (id int); CREATE TABLE books (id int, title text);
--! up
ALTER TABLE books INHERIT things;
--! down
ALTER TABLE books NO INHERIT things;

--! case: a publication
--! before
CREATE TABLE people (id int);
--! up
CREATE PUBLICATION {s}_all FOR TABLE people WITH (publish = 'insert, update');
--! down
DROP PUBLICATION {s}_all;

--! case: an extension
--! before
--! up
CREATE EXTENSION hstore SCHEMA {s}; CREATE TABLE people (tags hstore DEFAULT '');
--! down
DROP TABLE people; DROP EXTENSION hstore;

--! case: a schema with a table
--! before
--! up
CREATE SCHEMA {s}_archive; CREATE TABLE {s}_archive.people (id int); SET search_path = {s}_archive; CREATE INDEX ON people (id);
--! down
DROP SCHEMA {s}_archive CASCADE;

--! case: a table moves to another schema
--! before
CREATE TABLE people (id serial PRIMARY KEY); CREATE SCHEMA {s}_other;
--! up
ALTER TABLE people SET SCHEMA {s}_other;
--! down
ALTER TABLE {s}_other.people SET SCHEMA {s};

--! case: a rule
--! before
CREATE TABLE people (id int);
--! up
CREATE RULE keep AS ON DELETE TO people DO INSTEAD NOTHING;
--! down
DROP RULE keep ON people;

--! case: an operator and a cast
--! before
--! up
CREATE TYPE celsius AS (degrees int); CREATE FUNCTION degrees_of(celsius) RETURNS int LANGUAGE sql AS 'SELECT ($1).degrees';
CREATE CAST (celsius AS int) WITH FUNCTION degrees_of(celsius);
CREATE FUNCTION warmer(celsius, celsius) RETURNS boolean LANGUAGE sql AS 'SELECT ($1).degrees > ($2).degrees';
CREATE OPERATOR >>> (leftarg = celsius, rightarg = celsius, function = warmer);
--! down
DROP OPERATOR >>> (celsius, celsius); DROP FUNCTION warmer(celsius, celsius); DROP CAST (celsius AS int); DROP FUNCTION degrees_of(celsius); DROP TYPE celsius;

--! case: rows only
--! before
CREATE TABLE people (id int, name text); INSERT INTO people VALUES (1, 'a'), (2, NULL);
--! up
UPDATE people SET name = '' WHERE name IS NULL;
--! down
SELECT 1;

--! case: a block of code
--! before
--! up
DO $$ BEGIN FOR n IN 1..3 LOOP EXECUTE format('CREATE TABLE part_%s (id int)', n); END LOOP; END; $$;
--! down
DROP TABLE part_1, part_2, part_3;

--! case: a role that lasts beyond the database
--! before
--! up
CREATE ROLE {s}_reader; GRANT USAGE ON SCHEMA {s} TO {s}_reader; CREATE TABLE people (id int); CREATE INDEX CONCURRENTLY people_idx ON people (id);
--! down
DROP TABLE people; REVOKE USAGE ON SCHEMA {s} FROM {s}_reader; DROP ROLE {s}_reader;
