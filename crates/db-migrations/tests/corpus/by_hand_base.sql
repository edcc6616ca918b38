CREATE SCHEMA billing;
CREATE TABLE billing.bills (id int PRIMARY KEY, total int);
CREATE TABLE teams (id int PRIMARY KEY, label text NOT NULL UNIQUE);
COMMENT ON TABLE teams IS 'Who works together.';
CREATE RULE kept AS ON DELETE TO teams DO ALSO NOTHING;
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20), email text,
    visits int NOT NULL DEFAULT 0 CHECK (visits >= 0), team int REFERENCES teams, score numeric(8,2),
    twice int GENERATED ALWAYS AS (2) STORED
);
CREATE INDEX people_name_idx ON people (name);
CREATE INDEX people_lower_idx ON people (lower(email));
CREATE STATISTICS of_both ON name, email FROM people;
CREATE TABLE loose (id int);
CREATE TABLE old (id int);
CREATE TABLE secret (id int);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (id > 0);
CREATE TABLE logs (id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_a PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE FUNCTION add_month(first date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE logs_%s PARTITION OF logs FOR VALUES FROM (%L) TO (%L)',
        to_char(first, 'YYYY_MM'), first, first + interval '1 month');
END $$;
CREATE VIEW named AS SELECT id, name FROM people;
CREATE MATERIALIZED VIEW counted AS SELECT team, count(*) AS n FROM people GROUP BY 1;
CREATE INDEX counted_team_idx ON counted (team);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE address AS (street text);
CREATE DOMAIN email_address AS text CHECK (value LIKE '%@%');
CREATE SEQUENCE numbers;
CREATE FUNCTION of_mood(mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION total(n int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE AGGREGATE sum_of(int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE TRIGGER touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION quiet();
CREATE EVENT TRIGGER known ON sql_drop EXECUTE FUNCTION event();
CREATE PUBLICATION told FOR TABLE teams;
CREATE OPERATOR FAMILY known USING btree;
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
CREATE TEXT SEARCH DICTIONARY kept_terms (TEMPLATE = simple);
CREATE FOREIGN DATA WRAPPER known;
CREATE SERVER near FOREIGN DATA WRAPPER known;
CREATE FOREIGN TABLE far (id int) SERVER near;
