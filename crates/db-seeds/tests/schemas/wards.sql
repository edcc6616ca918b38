-- Conditions over what is generated, over forms of texts, and a circle whose keys share a column.
CREATE FUNCTION is_good(text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT $1 = 'x' $$;
CREATE TABLE currencies (
    code char(3) PRIMARY KEY CHECK (code SIMILAR TO '[A-Z]{3}'),
    number char(3) NOT NULL UNIQUE CHECK (number SIMILAR TO '[0-9]{3}')
);
CREATE TABLE kinds (code varchar(10) PRIMARY KEY CHECK (code = upper(code)));
CREATE TABLE buildings (
    letter char(1) PRIMARY KEY CHECK (letter BETWEEN 'A' AND 'Z'),
    lowest int NOT NULL CHECK (lowest BETWEEN -3 AND 0),
    highest int NOT NULL CHECK (highest BETWEEN 0 AND 20),
    floors int GENERATED ALWAYS AS (highest - lowest + 1) STORED CHECK (floors >= 2)
);
CREATE TABLE departments (code varchar(6) PRIMARY KEY CHECK (code ~ '^[A-Z]{3,6}$'), head text NOT NULL);
CREATE TABLE staff (
    number varchar(8) PRIMARY KEY CHECK (number ~ '^[DN][0-9]{5}$'),
    department varchar(6) NOT NULL REFERENCES departments DEFERRABLE INITIALLY DEFERRED,
    kind text NOT NULL CHECK (kind IN ('doctor', 'nurse')),
    note text CHECK (is_good(note)),
    UNIQUE (number, department),
    CHECK (left(number, 1) = CASE kind WHEN 'doctor' THEN 'D' ELSE 'N' END)
);
ALTER TABLE departments ADD FOREIGN KEY (head, code) REFERENCES staff (number, department)
    DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE tenants (
    id int PRIMARY KEY,
    settings jsonb NOT NULL DEFAULT '{"a": [], "b": 1}'
        CHECK (settings ?& ARRAY['a', 'b'] AND jsonb_typeof(settings -> 'a') = 'array')
);
