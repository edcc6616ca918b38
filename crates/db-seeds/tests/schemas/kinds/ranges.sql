-- Ends of ranges, their lengths, and what is read from them.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE licences (
    person integer NOT NULL, valid daterange NOT NULL, used daterange NOT NULL, ages int4range, warm numrange,
    PRIMARY KEY (person, valid),
    CHECK (NOT isempty(valid) AND NOT lower_inf(valid) AND NOT upper_inf(valid)),
    CHECK (upper(valid) - lower(valid) BETWEEN 30 AND 3653),
    CHECK (used <@ valid AND upper(used) = upper(valid)),
    CHECK (ages <@ int4range(0, 131) AND NOT isempty(ages)),
    CHECK (warm <@ '[-80,40]'::numrange AND upper(warm) - lower(warm) BETWEEN 1 AND 20),
    EXCLUDE USING gist (person WITH =, valid WITH &&)
);
CREATE TABLE shifts (
    person integer NOT NULL, kind char(1) NOT NULL CHECK (kind IN ('D', 'N')), works tsrange NOT NULL,
    PRIMARY KEY (person, works),
    CHECK (upper(works) - lower(works) BETWEEN interval '4 hours' AND interval '13 hours'),
    CHECK (CASE kind WHEN 'D' THEN EXTRACT(hour FROM lower(works)) BETWEEN 6 AND 9
        ELSE EXTRACT(hour FROM lower(works)) >= 19 END)
);
CREATE TABLE stays (
    id integer PRIMARY KEY, guest integer NOT NULL, held tstzrange NOT NULL, open boolean NOT NULL,
    CHECK (lower_inc(held) AND NOT upper_inc(held) AND open = upper_inf(held)),
    CONSTRAINT alone EXCLUDE USING gist (guest WITH =, held WITH &&) DEFERRABLE INITIALLY DEFERRED
);
CREATE UNIQUE INDEX one_open ON stays (guest) WHERE upper_inf(held);
CREATE TABLE terms (
    year integer NOT NULL CHECK (year BETWEEN 1990 AND 2060), kind char(1) NOT NULL CHECK (kind IN ('a', 'b', 'c')),
    span daterange NOT NULL, PRIMARY KEY (year, kind), EXCLUDE USING gist (span WITH &&),
    CHECK (upper(span) - lower(span) BETWEEN 56 AND 140), CHECK (EXTRACT(year FROM lower(span)) = year)
);
CREATE TABLE openings (
    id integer PRIMARY KEY, minutes int4multirange NOT NULL, days datemultirange,
    CHECK (minutes <@ int4multirange(int4range(0, 1440)) AND NOT isempty(minutes) AND upper(days) - lower(days) >= 30)
);
