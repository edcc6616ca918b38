-- Statements of known effect, from PostgreSQL's documentation and sources. Each runs in a schema of its own with the
-- tables of `ground`, which have rows. What is listed is complete: the strongest lock on each table that was there, the
-- tables written anew, those read from end to end, those whose index is built while writers wait.

--! ground
CREATE TABLE people (id int CONSTRAINT people_pkey PRIMARY KEY, name varchar(50), email text, age int, visits int NOT NULL DEFAULT 0,
    joined timestamp, price numeric(8, 2), code char(5), data json, state varchar(10), CONSTRAINT people_price_check CHECK (price > 0));
INSERT INTO people SELECT n, 'n' || n, 'e' || n, 1 + n % 90, n, '2026-01-01', n, 'abcde', '{}', 'new' FROM generate_series(1, 2000) n;
ALTER TABLE people ADD CONSTRAINT people_visits_check CHECK (visits >= 0) NOT VALID;
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL, total int, note text);
INSERT INTO orders SELECT n, n, n FROM generate_series(1, 2000) n;
CREATE INDEX orders_total_idx ON orders (total); CREATE UNIQUE INDEX orders_note_key ON orders (note);
CREATE TABLE lines (id int, order_id int CONSTRAINT lines_order_fkey REFERENCES orders);
INSERT INTO lines SELECT n, n FROM generate_series(1, 300) n;
CREATE TABLE late (person int); INSERT INTO late SELECT n FROM generate_series(1, 2000) n;
ALTER TABLE late ADD CONSTRAINT late_person_fkey FOREIGN KEY (person) REFERENCES people NOT VALID;
CREATE TABLE days (at date NOT NULL, n int) PARTITION BY RANGE (at);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO days SELECT date '2026-01-01' + n % 59, n FROM generate_series(1, 300) n;
CREATE TABLE days_3 (at date NOT NULL, n int); INSERT INTO days_3 SELECT '2026-03-05', n FROM generate_series(1, 300) n;
CREATE TABLE days_4 (at date NOT NULL, n int, CONSTRAINT days_4_check CHECK (at >= '2026-04-01' AND at < '2026-05-01'));
INSERT INTO days_4 SELECT '2026-04-05', n FROM generate_series(1, 300) n;
CREATE VIEW names AS SELECT name FROM people;
CREATE MATERIALIZED VIEW totals AS SELECT person, sum(total) AS total FROM orders GROUP BY person; CREATE UNIQUE INDEX totals_key ON totals (person);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN short AS text;
CREATE TRIGGER people_touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
ANALYZE people, orders, lines, late, days, days_1, days_2, days_3, days_4, totals;

--! case: add a column
--! up
ALTER TABLE people ADD COLUMN nick text;
--! locks: people AccessExclusive

--! case: add a column with a constant default
--! up
ALTER TABLE people ADD COLUMN active boolean NOT NULL DEFAULT true;
--! locks: people AccessExclusive

--! case: add a column with a stable default
--! up
ALTER TABLE people ADD COLUMN since timestamptz NOT NULL DEFAULT now();
--! locks: people AccessExclusive

--! case: add a column with a volatile default
--! up
ALTER TABLE people ADD COLUMN token uuid DEFAULT gen_random_uuid();
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: add a serial column
--! up
ALTER TABLE orders ADD COLUMN number serial;
--! locks: orders AccessExclusive
--! rewrites: orders
--! scans: orders

--! case: add an identity column
--! up
ALTER TABLE orders ADD COLUMN number int GENERATED ALWAYS AS IDENTITY;
--! locks: orders AccessExclusive
--! rewrites: orders
--! scans: orders

--! case: add a stored generated column
--! up
ALTER TABLE people ADD COLUMN size int GENERATED ALWAYS AS (length(name)) STORED;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: add a column with a check
--! up
ALTER TABLE people ADD COLUMN nick text CHECK (nick <> '');
--! locks: people AccessExclusive
--! scans: people

--! case: add a column with a foreign key
--! up
ALTER TABLE orders ADD COLUMN sold_by int REFERENCES people;
--! locks: orders AccessExclusive, people ShareRowExclusive

--! case: add a unique column
--! up
ALTER TABLE people ADD COLUMN nick text UNIQUE;
--! locks: people AccessExclusive
--! scans: people
--! builds: people

--! case: drop a column
--! up
ALTER TABLE people DROP COLUMN age;
--! locks: people AccessExclusive

--! case: rename a column
--! up
ALTER TABLE people RENAME COLUMN age TO years;
--! locks: people AccessExclusive

--! case: rename a table
--! up
ALTER TABLE people RENAME TO persons;
--! locks: people AccessExclusive

--! case: set a default
--! up
ALTER TABLE people ALTER age SET DEFAULT 1;
--! locks: people AccessExclusive

--! case: set NOT NULL
--! up
ALTER TABLE people ALTER email SET NOT NULL;
--! locks: people AccessExclusive
--! scans: people

--! case: set NOT NULL where a valid check says so
--! before
ALTER TABLE people ADD CONSTRAINT people_email_check CHECK (email IS NOT NULL);
--! up
ALTER TABLE people ALTER email SET NOT NULL;
--! locks: people AccessExclusive

--! case: drop NOT NULL
--! up
ALTER TABLE people ALTER visits DROP NOT NULL;
--! locks: people AccessExclusive

--! case: int to bigint without a view
--! up
ALTER TABLE people ALTER visits TYPE bigint;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: varchar becomes longer
--! up
ALTER TABLE people ALTER state TYPE varchar(20);
--! locks: people AccessExclusive

--! case: varchar becomes shorter
--! up
ALTER TABLE people ALTER state TYPE varchar(5);
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: varchar to text
--! up
ALTER TABLE people ALTER state TYPE text;
--! locks: people AccessExclusive

--! case: text to varchar
--! up
ALTER TABLE people ALTER email TYPE varchar(100);
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: text to varchar without a limit
--! up
ALTER TABLE people ALTER email TYPE varchar;
--! locks: people AccessExclusive

--! case: numeric becomes longer
--! before
ALTER TABLE people DROP CONSTRAINT people_price_check;
--! up
ALTER TABLE people ALTER price TYPE numeric(12, 2);
--! locks: people AccessExclusive

--! case: numeric becomes longer under a check
--! up
ALTER TABLE people ALTER price TYPE numeric(12, 2);
--! locks: people AccessExclusive
--! scans: people

--! case: numeric changes its scale
--! up
ALTER TABLE people ALTER price TYPE numeric(12, 3);
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: json to jsonb
--! up
ALTER TABLE people ALTER data TYPE jsonb USING data::jsonb;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: timestamp to timestamptz while the time zone is UTC
--! up
SET timezone = 'UTC'; ALTER TABLE people ALTER joined TYPE timestamptz;
--! locks: people AccessExclusive

--! case: timestamp to timestamptz elsewhere
--! up
SET timezone = 'Asia/Tokyo'; ALTER TABLE people ALTER joined TYPE timestamptz;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: char to text
--! up
ALTER TABLE people ALTER code TYPE text;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: another collation rebuilds the index
--! up
ALTER TABLE orders ALTER note TYPE text COLLATE "C";
--! locks: orders AccessExclusive
--! scans: orders
--! builds: orders

--! case: text to a domain without checks
--! up
ALTER TABLE people ALTER email TYPE short;
--! locks: people AccessExclusive

--! case: statistics target
--! up
ALTER TABLE people ALTER age SET STATISTICS 500;
--! locks: people ShareUpdateExclusive

--! case: storage of a column
--! up
ALTER TABLE people ALTER email SET STORAGE EXTERNAL;
--! locks: people AccessExclusive

--! case: fillfactor
--! up
ALTER TABLE people SET (fillfactor = 80);
--! locks: people ShareUpdateExclusive

--! case: cluster on
--! up
ALTER TABLE orders CLUSTER ON orders_pkey;
--! locks: orders ShareUpdateExclusive

--! case: unlogged
--! up
ALTER TABLE late DROP CONSTRAINT late_person_fkey; ALTER TABLE late SET UNLOGGED;
--! locks: late AccessExclusive, people AccessExclusive
--! rewrites: late
--! scans: late

--! case: owner
--! up
ALTER TABLE late OWNER TO pg_monitor;
--! locks: late AccessExclusive

--! case: schema
--! before
CREATE SCHEMA {s}_other;
--! up
ALTER TABLE late SET SCHEMA {s}_other;
--! locks: late AccessExclusive

--! case: row security
--! up
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
--! locks: people AccessExclusive

--! case: policy
--! up
CREATE POLICY own ON people USING (age > 1);
--! locks: people AccessExclusive

--! case: replica identity
--! up
ALTER TABLE people REPLICA IDENTITY FULL;
--! locks: people AccessExclusive

--! case: create an index
--! up
CREATE INDEX people_name_idx ON people (name);
--! locks: people Share
--! scans: people
--! builds: people

--! case: create an index concurrently
--! up
CREATE INDEX CONCURRENTLY people_name_idx ON people (name);
--! locks: people ShareUpdateExclusive
--! scans: people

--! case: create a unique index concurrently
--! up
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS people_name_key ON people (name);
--! locks: people ShareUpdateExclusive
--! scans: people

--! case: drop an index
--! up
DROP INDEX orders_total_idx;
--! locks: orders AccessExclusive

--! case: drop an index concurrently
--! up
DROP INDEX CONCURRENTLY orders_total_idx;
--! locks: orders ShareUpdateExclusive

--! case: rename an index
--! up
ALTER INDEX orders_total_idx RENAME TO orders_sum_idx;
--! locks: orders_total_idx ShareUpdateExclusive

--! case: reindex a table
--! up
REINDEX TABLE people;
--! locks: people Share
--! scans: people
--! builds: people

--! case: reindex an index
--! up
REINDEX INDEX orders_total_idx;
--! locks: orders Share
--! scans: orders
--! builds: orders

--! case: reindex concurrently
--! up
REINDEX TABLE CONCURRENTLY orders;
--! locks: orders ShareUpdateExclusive
--! scans: orders

--! case: an index on a partitioned table
--! up
CREATE INDEX days_n_idx ON days (n);
--! locks: days Share, days_1 Share, days_2 Share
--! scans: days_1, days_2
--! builds: days_1, days_2

--! case: an index on a partitioned table only
--! up
CREATE INDEX days_n_idx ON ONLY days (n);
--! locks: days Share

--! case: add a check
--! up
ALTER TABLE people ADD CONSTRAINT people_age_check CHECK (age > 0);
--! locks: people AccessExclusive
--! scans: people

--! case: add a check that is not valid
--! up
ALTER TABLE people ADD CONSTRAINT people_age_check CHECK (age > 0) NOT VALID;
--! locks: people AccessExclusive

--! case: validate a check
--! up
ALTER TABLE people VALIDATE CONSTRAINT people_visits_check;
--! locks: people ShareUpdateExclusive
--! scans: people

--! case: drop a check
--! up
ALTER TABLE people DROP CONSTRAINT people_price_check;
--! locks: people AccessExclusive

--! case: add a foreign key
--! up
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people;
--! locks: orders ShareRowExclusive, people ShareRowExclusive
--! scans: orders, people

--! case: add a foreign key that is not valid
--! up
ALTER TABLE orders ADD CONSTRAINT orders_person_fkey FOREIGN KEY (person) REFERENCES people NOT VALID;
--! locks: orders ShareRowExclusive, people ShareRowExclusive

--! case: validate a foreign key
--! up
ALTER TABLE late VALIDATE CONSTRAINT late_person_fkey;
--! locks: late ShareUpdateExclusive, people RowShare
--! scans: late, people

--! case: drop a foreign key
--! up
ALTER TABLE late DROP CONSTRAINT late_person_fkey;
--! locks: late AccessExclusive, people AccessExclusive

--! case: add a primary key
--! before
ALTER TABLE late ALTER person SET NOT NULL;
--! up
ALTER TABLE late ADD PRIMARY KEY (person);
--! locks: late AccessExclusive
--! scans: late
--! builds: late

--! case: add a unique constraint
--! up
ALTER TABLE people ADD CONSTRAINT people_email_key UNIQUE (email);
--! locks: people AccessExclusive
--! scans: people
--! builds: people

--! case: add a unique constraint from an index
--! up
ALTER TABLE orders ADD CONSTRAINT orders_note_key UNIQUE USING INDEX orders_note_key;
--! locks: orders AccessExclusive

--! case: add an exclusion constraint
--! up
ALTER TABLE people ADD CONSTRAINT people_id_excl EXCLUDE (email WITH =);
--! locks: people AccessExclusive
--! scans: people
--! builds: people

--! case: create a trigger
--! up
CREATE TRIGGER orders_touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
--! locks: orders ShareRowExclusive

--! case: disable a trigger
--! up
ALTER TABLE people DISABLE TRIGGER people_touch;
--! locks: people ShareRowExclusive

--! case: drop a trigger
--! up
DROP TRIGGER people_touch ON people;
--! locks: people AccessExclusive

--! case: create statistics
--! up
CREATE STATISTICS people_place ON age, visits FROM people;
--! locks: people ShareUpdateExclusive

--! case: comment
--! up
COMMENT ON TABLE people IS 'everyone'; COMMENT ON COLUMN people.age IS 'in years';
--! locks: people ShareUpdateExclusive

--! case: grant
--! up
GRANT SELECT ON people TO pg_monitor;
--! locks:
--! locks 18: people AccessShare

--! case: create a table with a foreign key
--! up
CREATE TABLE visits (person int REFERENCES people);
--! locks: people ShareRowExclusive

--! case: create a table like another
--! up
CREATE TABLE others (LIKE people INCLUDING ALL);
--! locks: people AccessShare

--! case: create a table from a query
--! up
CREATE TABLE others AS SELECT * FROM people;
--! locks: people AccessShare
--! scans: people

--! case: drop a table
--! up
DROP TABLE late;
--! locks: late AccessExclusive, people AccessExclusive

--! case: truncate
--! up
TRUNCATE late;
--! locks: late AccessExclusive

--! case: create a view
--! up
CREATE VIEW ages AS SELECT age FROM people;
--! locks: people AccessShare

--! case: replace a view
--! up
CREATE OR REPLACE VIEW names AS SELECT name, age FROM people;
--! locks: names AccessExclusive, people AccessShare

--! case: refresh a materialized view
--! up
REFRESH MATERIALIZED VIEW totals;
--! locks: totals AccessExclusive, orders AccessShare
--! rewrites: totals
--! scans: orders, totals

--! case: refresh a materialized view concurrently
--! up
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;
--! locks: totals Exclusive, orders AccessShare
--! scans: orders, totals

--! case: update of all rows
--! up
UPDATE orders SET total = 1;
--! locks: orders RowExclusive
--! scans: orders

--! case: update of one row by its key
--! up
UPDATE orders SET note = 'x' WHERE id = 7;
--! locks: orders RowExclusive

--! case: insert
--! up
INSERT INTO late VALUES (1);
--! locks: late RowExclusive, people RowShare

--! case: delete behind which a table without an index is read
--! up
DELETE FROM orders WHERE id = 2000;
--! locks: orders RowExclusive, lines RowShare
--! scans: lines

--! case: lock by hand
--! up
LOCK TABLE people IN EXCLUSIVE MODE;
--! locks: people Exclusive

--! case: vacuum
--! up
VACUUM people;
--! locks: people ShareUpdateExclusive

--! case: vacuum full
--! up
VACUUM FULL people;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: analyze
--! up
ANALYZE people;
--! locks: people ShareUpdateExclusive

--! case: cluster
--! up
CLUSTER orders USING orders_pkey;
--! locks: orders AccessExclusive
--! rewrites: orders
--! scans: orders

--! case: create a partition
--! up
CREATE TABLE days_5 PARTITION OF days FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
--! locks: days AccessExclusive

--! case: attach a table with rows
--! up
ALTER TABLE days ATTACH PARTITION days_3 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
--! locks: days ShareUpdateExclusive, days_3 AccessExclusive
--! scans: days_3

--! case: attach a table whose check proves its rows
--! up
ALTER TABLE days ATTACH PARTITION days_4 FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
--! locks: days ShareUpdateExclusive, days_4 AccessExclusive

--! case: detach
--! up
ALTER TABLE days DETACH PARTITION days_1;
--! locks: days AccessExclusive, days_1 AccessExclusive

--! case: detach concurrently
--! up
ALTER TABLE days DETACH PARTITION days_1 CONCURRENTLY;
--! locks: days ShareUpdateExclusive, days_1 AccessExclusive

--! case: a new value of an enum
--! up
ALTER TYPE mood ADD VALUE 'so so';
--! locks:

--! case: a function
--! up
CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.age := 1; RETURN NEW; END';
--! locks:

--! case: what a block of code does is seen too
--! up
DO $$ BEGIN ALTER TABLE people ALTER visits TYPE bigint; END $$;
--! locks: people AccessExclusive
--! rewrites: people
--! scans: people

--! case: what is new blocks nobody
--! up
CREATE TABLE fresh (id int, n int); CREATE INDEX ON fresh (n); ALTER TABLE fresh ALTER n TYPE bigint;
--! locks:

--! case: nothing of a table
--! up
SELECT 1; SET LOCAL work_mem = '64MB'; SELECT now(), current_user;
--! locks:

--! case: drop a default
--! up
ALTER TABLE people ALTER visits DROP DEFAULT;
--! locks: people AccessExclusive

--! case: a generated column becomes a plain one
--! before
ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (id * 2) STORED;
--! up
ALTER TABLE orders ALTER twice DROP EXPRESSION;
--! locks: orders AccessExclusive

--! case: compression of a column
--! up
ALTER TABLE people ALTER email SET COMPRESSION pglz;
--! locks: people AccessExclusive

--! case: estimate of a column
--! up
ALTER TABLE people ALTER email SET (n_distinct = 5);
--! locks: people ShareUpdateExclusive

--! case: autovacuum of a table
--! up
ALTER TABLE people SET (autovacuum_enabled = off); ALTER TABLE people RESET (autovacuum_enabled);
--! locks: people ShareUpdateExclusive

--! case: cluster on nothing
--! up
ALTER TABLE orders SET WITHOUT CLUSTER;
--! locks: orders ShareUpdateExclusive

--! case: logged again
--! before
CREATE UNLOGGED TABLE notes AS SELECT n FROM generate_series(1, 300) n; ANALYZE notes;
--! up
ALTER TABLE notes SET LOGGED;
--! locks: notes AccessExclusive
--! rewrites: notes
--! scans: notes

--! case: several changes at once
--! up
ALTER TABLE people ADD COLUMN a int, ADD COLUMN b int DEFAULT 5, DROP COLUMN data;
--! locks: people AccessExclusive

--! case: rename a constraint
--! up
ALTER TABLE people RENAME CONSTRAINT people_price_check TO price_is_positive;
--! locks: people AccessExclusive

--! case: inherit
--! before
CREATE TABLE forebear (id int, order_id int);
--! up
ALTER TABLE lines INHERIT forebear;
--! locks: lines AccessExclusive, forebear ShareUpdateExclusive

--! case: inherit no more
--! before
CREATE TABLE forebear (id int, order_id int); ALTER TABLE lines INHERIT forebear;
--! up
ALTER TABLE lines NO INHERIT forebear;
--! locks: lines AccessExclusive, forebear AccessShare

--! case: a table that inherits
--! up
CREATE TABLE more_orders () INHERITS (orders);
--! locks: orders ShareUpdateExclusive

--! case: row security for the owner too
--! up
ALTER TABLE people FORCE ROW LEVEL SECURITY;
--! locks: people AccessExclusive

--! case: change a policy
--! before
CREATE POLICY own ON people USING (age > 1);
--! up
ALTER POLICY own ON people USING (age > 2);
--! locks: people AccessExclusive

--! case: drop a policy
--! before
CREATE POLICY own ON people USING (age > 1);
--! up
DROP POLICY own ON people;
--! locks: people AccessExclusive

--! case: a rule
--! up
CREATE RULE quiet AS ON DELETE TO late DO INSTEAD NOTHING;
--! locks: late AccessExclusive

--! case: rename a trigger
--! up
ALTER TRIGGER people_touch ON people RENAME TO people_touched;
--! locks: people AccessExclusive

--! case: a trigger fires always
--! up
ALTER TABLE people ENABLE ALWAYS TRIGGER people_touch;
--! locks: people ShareRowExclusive

--! case: drop a function with its triggers
--! up
DROP FUNCTION touch() CASCADE;
--! locks: people AccessExclusive

--! case: rename a view
--! up
ALTER VIEW names RENAME TO labels;
--! locks: names AccessExclusive

--! case: drop a view
--! up
DROP VIEW names;
--! locks: names AccessExclusive

--! case: comment on a view and on an index
--! up
COMMENT ON VIEW names IS 'names'; COMMENT ON INDEX orders_total_idx IS 'sums';
--! locks: names ShareUpdateExclusive, orders_total_idx ShareUpdateExclusive

--! case: create a materialized view
--! up
CREATE MATERIALIZED VIEW sums AS SELECT sum(total) AS total FROM orders;
--! locks: orders AccessShare
--! scans: orders

--! case: create a materialized view without data
--! up
CREATE MATERIALIZED VIEW sums AS SELECT sum(total) AS total FROM orders WITH NO DATA;
--! locks: orders AccessShare

--! case: an index on a materialized view
--! up
CREATE INDEX totals_total_idx ON totals (total);
--! locks: totals Share
--! scans: totals
--! builds: totals

--! case: rename a materialized view
--! up
ALTER MATERIALIZED VIEW totals RENAME TO sums;
--! locks: totals AccessExclusive

--! case: drop a materialized view
--! up
DROP MATERIALIZED VIEW totals;
--! locks: totals AccessExclusive

--! case: a partial index on an expression
--! up
CREATE INDEX people_lower_idx ON people (lower(name)) WHERE age > 5;
--! locks: people Share
--! scans: people
--! builds: people

--! case: fillfactor of an index
--! up
ALTER INDEX orders_total_idx SET (fillfactor = 70);
--! locks: orders_total_idx ShareUpdateExclusive

--! case: reindex one index concurrently
--! up
REINDEX INDEX CONCURRENTLY orders_total_idx;
--! locks: orders ShareUpdateExclusive
--! scans: orders

--! case: drop statistics
--! before
CREATE STATISTICS people_place ON age, visits FROM people;
--! up
DROP STATISTICS people_place;
--! locks: people ShareUpdateExclusive

--! case: a check on a domain that a column has
--! before
ALTER TABLE people ALTER email TYPE short;
--! up
ALTER DOMAIN short ADD CONSTRAINT not_empty CHECK (VALUE <> '');
--! locks: people Share
--! scans: people

--! case: a check on a domain that is not valid
--! before
ALTER TABLE people ALTER email TYPE short;
--! up
ALTER DOMAIN short ADD CONSTRAINT not_empty CHECK (VALUE <> '') NOT VALID;
--! locks:

--! case: read all rows
--! up
SELECT count(*) FROM people;
--! locks: people AccessShare
--! scans: people

--! case: read through a view
--! up
SELECT count(*) FROM names;
--! locks: names AccessShare, people AccessShare
--! scans: people

--! case: what a query would do
--! up
EXPLAIN SELECT * FROM people JOIN orders ON orders.person = people.id;
--! locks: people AccessShare, orders AccessShare

--! case: lock one row
--! up
SELECT name FROM people WHERE id = 7 FOR UPDATE;
--! locks: people RowShare

--! case: fill a table from another
--! up
INSERT INTO late SELECT id FROM orders WHERE total > 1990;
--! locks: late RowExclusive, people RowShare, orders AccessShare

--! case: update by what another table says
--! up
UPDATE lines SET id = (SELECT sum(total) FROM orders);
--! locks: lines RowExclusive, orders AccessShare
--! scans: lines, orders

--! case: delete all rows
--! up
DELETE FROM late;
--! locks: late RowExclusive
--! scans: late

--! case: copy to a file
--! up
COPY orders TO '/dev/null';
--! locks: orders AccessShare
--! scans: orders

--! case: access share by hand
--! up
LOCK TABLE people IN ACCESS SHARE MODE;
--! locks: people AccessShare

--! case: share by hand
--! up
LOCK TABLE people IN SHARE MODE; LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE;
--! locks: people Share, orders ShareRowExclusive

--! case: row exclusive by hand
--! up
LOCK TABLE people IN ROW EXCLUSIVE MODE; LOCK TABLE orders IN ROW SHARE MODE;
--! locks: people RowExclusive, orders RowShare

--! case: a function whose body is parsed
--! up
CREATE FUNCTION grown() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM people WHERE age > 17; END;
--! locks: people AccessShare

--! case: a sequence of a column
--! up
CREATE SEQUENCE people_age_seq OWNED BY people.age;
--! locks: people AccessShare

--! case: a publication
--! up
CREATE PUBLICATION {s}_all FOR TABLE people;
--! locks: people ShareUpdateExclusive

--! case: a column of a partitioned table
--! up
ALTER TABLE days ADD COLUMN note text;
--! locks: days AccessExclusive, days_1 AccessExclusive, days_2 AccessExclusive

--! case: a check on a partitioned table
--! up
ALTER TABLE days ADD CONSTRAINT days_n_check CHECK (n > 0);
--! locks: days AccessExclusive, days_1 AccessExclusive, days_2 AccessExclusive
--! scans: days_1, days_2

--! case: a trigger on a partitioned table
--! up
CREATE TRIGGER days_touch BEFORE UPDATE ON days FOR EACH ROW EXECUTE FUNCTION touch();
--! locks: days ShareRowExclusive, days_1 ShareRowExclusive, days_2 ShareRowExclusive

--! case: empty a partitioned table
--! up
TRUNCATE days;
--! locks: days AccessExclusive, days_1 AccessExclusive, days_2 AccessExclusive

--! case: empty a table and what refers to it
--! up
TRUNCATE orders CASCADE;
--! locks: orders AccessExclusive, lines AccessExclusive

--! case: drop a partition
--! up
DROP TABLE days_1;
--! locks: days AccessExclusive, days_1 AccessExclusive

--! case: attach beside a default partition
--! before
CREATE TABLE days_rest PARTITION OF days DEFAULT;
--! up
ALTER TABLE days ATTACH PARTITION days_4 FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
--! locks: days ShareUpdateExclusive, days_4 AccessExclusive, days_rest AccessExclusive
--! scans: days_rest

--! case: drop a table with what depends on it
--! up
DROP TABLE orders CASCADE;
--! locks: orders AccessExclusive, lines AccessExclusive, totals AccessExclusive
