-- Changes of a schema, one on a line. What each does to the code that runs beside it is measured, not written here.
CREATE INDEX ON people (visits)
CREATE UNIQUE INDEX ON people (id, visits)
CREATE INDEX ON people (lower(name))
CREATE INDEX ON people (team) WHERE team > 3
CREATE INDEX ON people USING brin (id)
CREATE INDEX ON people USING hash (id)
ALTER TABLE people ADD UNIQUE (id, name)
ALTER TABLE people ADD CONSTRAINT one_of EXCLUDE USING btree (id WITH =)
ALTER TABLE people ALTER visits TYPE bigint
ALTER TABLE people ALTER id TYPE numeric
ALTER TABLE people ALTER name TYPE varchar(10)
ALTER TABLE people ALTER born TYPE timestamptz
ALTER TABLE people ALTER score TYPE numeric(8,1)
ALTER TABLE people ALTER name TYPE text COLLATE "C"
ALTER TABLE people ALTER team SET NOT NULL
ALTER TABLE people ADD CHECK (visits >= 0)
ALTER TABLE people ADD CONSTRAINT named CHECK (name <> '')
ALTER TABLE people ADD FOREIGN KEY (team) REFERENCES teams
ALTER TABLE people ADD COLUMN token uuid DEFAULT gen_random_uuid()
ALTER TABLE people ADD COLUMN nr serial
ALTER TABLE people ADD COLUMN nr bigint GENERATED ALWAYS AS IDENTITY
ALTER TABLE people ADD COLUMN twice int GENERATED ALWAYS AS (visits * 2) STORED
ALTER TABLE people ADD COLUMN seen timestamptz NOT NULL DEFAULT clock_timestamp()
UPDATE people SET visits = 1
UPDATE people SET visits = visits + 1 WHERE true
UPDATE ONLY people AS p SET visits = (SELECT 1)
UPDATE people SET email = 'e' WHERE email IS NULL
DELETE FROM people
DELETE FROM notes
DELETE FROM notes WHERE true
TRUNCATE people
TRUNCATE notes, billing.bills
TRUNCATE teams CASCADE
DROP TABLE notes
DROP TABLE people CASCADE
DROP TABLE logs
DROP TABLE logs_a
DROP TABLE billing.bills
DROP SCHEMA billing CASCADE
ALTER TABLE people DROP COLUMN born
ALTER TABLE notes DROP COLUMN body
DO $$ BEGIN ALTER TABLE teams DROP COLUMN kind; END $$
DROP VIEW named
DROP MATERIALIZED VIEW counted
DROP FUNCTION total(int)
ALTER TABLE notes RENAME TO remarks
ALTER TABLE notes RENAME COLUMN body TO text
ALTER TABLE people RENAME visits TO calls
ALTER VIEW named RENAME TO called
ALTER SCHEMA billing RENAME TO money
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'
ALTER TYPE mood RENAME TO feeling
ALTER FUNCTION total(int) RENAME TO sum_of
ALTER TABLE notes SET SCHEMA billing
DO $$ BEGIN ALTER TABLE teams RENAME TO groups; END $$
ALTER TABLE notes ADD COLUMN age int NOT NULL DEFAULT 1; ALTER TABLE notes ALTER age DROP DEFAULT
ALTER TABLE notes ADD COLUMN age int; UPDATE notes SET age = 1; ALTER TABLE notes ALTER age SET NOT NULL
ALTER TABLE teams ALTER kind DROP DEFAULT
ALTER TABLE notes ADD COLUMN data json
ALTER TABLE people ADD COLUMN data json
ALTER TABLE notes ENABLE ROW LEVEL SECURITY
ALTER TABLE people ENABLE ROW LEVEL SECURITY; ALTER TABLE people FORCE ROW LEVEL SECURITY
ALTER TABLE people ADD COLUMN age int; UPDATE people SET age = 1
ALTER TABLE people ADD COLUMN age int NOT NULL DEFAULT 1; UPDATE people SET age = visits
ALTER TABLE people ADD COLUMN age int; UPDATE people SET age = visits WHERE age IS NULL
ALTER TABLE people SET UNLOGGED
CLUSTER people USING people_pkey
VACUUM FULL people
REINDEX TABLE people
REINDEX INDEX people_name_idx
REFRESH MATERIALIZED VIEW counted
ALTER TABLE people ADD CONSTRAINT p CHECK (visits >= 0) NOT VALID; ALTER TABLE people VALIDATE CONSTRAINT p
LOCK TABLE people; CREATE TABLE copied AS SELECT * FROM people
ALTER TABLE teams ADD COLUMN x int; CREATE TABLE copied AS SELECT * FROM people
ALTER TABLE teams ADD COLUMN x int; SELECT count(*) FROM people WHERE visits > 3
REVOKE INSERT ON notes FROM app_of_claims
REVOKE ALL ON people FROM app_of_claims
REVOKE USAGE ON SCHEMA billing FROM app_of_claims
ALTER TABLE people ADD COLUMN age int
ALTER TABLE people ADD COLUMN age int DEFAULT 7
ALTER TABLE people ADD COLUMN age int NOT NULL DEFAULT 7
ALTER TABLE people ADD COLUMN data jsonb
ALTER TABLE people ADD COLUMN data jsonb NOT NULL DEFAULT '{}'
ALTER TABLE people ADD COLUMN tags text[] NOT NULL DEFAULT '{}'
ALTER TABLE people ADD COLUMN seen timestamptz NOT NULL DEFAULT now()
ALTER TABLE people ADD COLUMN kind mood
ALTER TABLE people ADD COLUMN squad int REFERENCES teams
ALTER TABLE people ADD COLUMN age int, ADD COLUMN height int
ALTER TABLE teams ALTER label SET DEFAULT 'x'
ALTER TABLE people ALTER name DROP DEFAULT
ALTER TABLE people ALTER visits SET DEFAULT 2
ALTER TABLE notes ALTER body SET STATISTICS 300
ALTER TABLE people SET (fillfactor = 80)
ALTER TABLE people ALTER name TYPE varchar(40)
ALTER TABLE people ALTER name TYPE varchar
ALTER TABLE people ALTER name TYPE text
ALTER TABLE people ALTER score TYPE numeric(10,2)
ALTER TABLE people ALTER score TYPE numeric
ALTER TABLE people ADD CONSTRAINT p CHECK (visits >= 0) NOT VALID
ALTER TABLE people ADD CONSTRAINT f FOREIGN KEY (team) REFERENCES teams NOT VALID
BEGIN; ALTER TABLE people ADD CONSTRAINT p CHECK (visits >= 0) NOT VALID; COMMIT; BEGIN; ALTER TABLE people VALIDATE CONSTRAINT p; COMMIT
BEGIN; ALTER TABLE people ADD CONSTRAINT f FOREIGN KEY (team) REFERENCES teams NOT VALID; COMMIT; BEGIN; ALTER TABLE people VALIDATE CONSTRAINT f; COMMIT
BEGIN; ALTER TABLE people ADD CONSTRAINT p CHECK (team IS NOT NULL) NOT VALID; COMMIT; BEGIN; ALTER TABLE people VALIDATE CONSTRAINT p; COMMIT; ALTER TABLE people ALTER team SET NOT NULL
CREATE INDEX CONCURRENTLY ON people (visits)
CREATE INDEX CONCURRENTLY people_lower_idx ON people (lower(name))
CREATE UNIQUE INDEX CONCURRENTLY people_key ON people (id, visits)
CREATE UNIQUE INDEX CONCURRENTLY people_key ON people (id, visits); ALTER TABLE people ADD CONSTRAINT people_key UNIQUE USING INDEX people_key
DROP INDEX CONCURRENTLY people_name_idx
DROP INDEX people_name_idx
REINDEX INDEX CONCURRENTLY people_name_idx
REINDEX TABLE CONCURRENTLY people
REFRESH MATERIALIZED VIEW CONCURRENTLY counted
CREATE TABLE fresh (id int PRIMARY KEY, person bigint REFERENCES people)
CREATE TABLE fresh (id int); CREATE INDEX ON fresh (id); INSERT INTO fresh SELECT 1; UPDATE fresh SET id = 2; ALTER TABLE fresh ALTER id TYPE bigint
CREATE TABLE fresh (id int); ALTER TABLE fresh ADD UNIQUE (id); ALTER TABLE fresh ADD CHECK (id > 0); TRUNCATE fresh; DROP TABLE fresh
CREATE TABLE fresh (id int, data json); ALTER TABLE fresh ENABLE ROW LEVEL SECURITY
CREATE TABLE fresh (id int); ALTER TABLE fresh RENAME TO fresher; ALTER TABLE fresher RENAME id TO nr
CREATE TABLE fresh AS SELECT id FROM people
CREATE TEMP TABLE passing AS SELECT id FROM people; SELECT count(*) FROM passing
CREATE VIEW young AS SELECT id FROM people WHERE born > '2000-01-01'
CREATE OR REPLACE VIEW named AS SELECT email, team FROM people WHERE id IS NOT NULL
DROP VIEW named; CREATE VIEW named AS SELECT email, team FROM people; GRANT SELECT ON named TO app_of_claims
CREATE MATERIALIZED VIEW recounted AS SELECT count(*) AS n FROM people
CREATE FUNCTION plus(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'; REVOKE ALL ON FUNCTION plus(int) FROM PUBLIC
CREATE OR REPLACE FUNCTION total(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 0'
CREATE TYPE colour AS ENUM ('red'); ALTER TYPE colour RENAME VALUE 'red' TO 'blue'
ALTER TYPE mood ADD VALUE 'calm'
CREATE DOMAIN positive AS int CHECK (VALUE > 0)
CREATE SCHEMA fresh; CREATE TABLE fresh.one (id int); ALTER SCHEMA fresh RENAME TO fresher
CREATE SEQUENCE numbers; ALTER SEQUENCE numbers RENAME TO more_numbers
COMMENT ON TABLE people IS 'people'; COMMENT ON COLUMN people.name IS 'name'
GRANT SELECT ON people TO PUBLIC
ANALYZE people
VACUUM people
CREATE STATISTICS people_both ON team, visits FROM people
CREATE TABLE logs_b PARTITION OF logs FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')
ALTER TABLE logs ADD COLUMN note text
ALTER TABLE people ALTER name DROP NOT NULL
ALTER TABLE teams ALTER label DROP NOT NULL
ALTER INDEX people_name_idx RENAME TO people_called_idx
ALTER TABLE people RENAME CONSTRAINT people_pkey TO people_key
CREATE TRIGGER quiet BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION quiet()
CREATE POLICY everybody ON people USING (true)
INSERT INTO notes VALUES (-7, 'more', 1)
INSERT INTO teams SELECT -n, 'more' FROM generate_series(1, 100) n
UPDATE people SET visits = 3 WHERE id = 7
DELETE FROM notes WHERE id = -99
ALTER TABLE notes RENAME TO remarks; CREATE VIEW notes AS SELECT * FROM remarks; GRANT ALL ON notes TO app_of_claims
DROP TRIGGER IF EXISTS nothing ON people
SELECT count(*) FROM people
SET LOCAL work_mem = '64MB'; SELECT count(DISTINCT visits) FROM people
