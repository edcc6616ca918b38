-- Parts of texts that other columns tell, check digits, and paths.
CREATE TABLE countries (
    two char(2) PRIMARY KEY CHECK (two ~ '^[A-Z]{2}$'), three char(3) NOT NULL UNIQUE CHECK (three ~ '^[A-Z]{3}$'),
    CHECK (left(three, 1) = left(two, 1))
);
CREATE TABLE invoices (
    number char(12) PRIMARY KEY CHECK (number ~ '^INV[0-9]{4}-[0-9]{4}$'), issued date NOT NULL,
    CHECK (substr(number, 4, 4) = EXTRACT(year FROM issued)::int::text)
);
CREATE TABLE students (
    number char(8) PRIMARY KEY CHECK (number ~ '^[0-9]{2}[UGR][0-9]{5}$'), since date NOT NULL,
    CHECK (lpad((EXTRACT(year FROM since)::int % 100)::text, 2, '0') = left(number, 2))
);
CREATE TABLE books (
    isbn char(5) PRIMARY KEY CHECK (isbn ~ '^[0-9]{5}$'), serial integer NOT NULL CHECK (serial BETWEEN 1 AND 999),
    digit smallint NOT NULL CHECK (digit = serial % 7), account bigint NOT NULL CHECK (account BETWEEN 1000 AND 9999),
    CHECK ((substr(isbn, 1, 1)::int + 3 * substr(isbn, 2, 1)::int + substr(isbn, 3, 1)::int
        + 3 * substr(isbn, 4, 1)::int + substr(isbn, 5, 1)::int) % 10 = 0),
    CHECK (account % 7 = 3)
);
CREATE TABLE runways (
    id integer PRIMARY KEY, one varchar(3) NOT NULL CHECK (one ~ '^(0[1-9]|[12][0-9]|3[0-6])$'),
    other varchar(3) NOT NULL CHECK (other ~ '^(0[1-9]|[12][0-9]|3[0-6])$'),
    CHECK (abs(left(one, 2)::int - left(other, 2)::int) = 18)
);
CREATE DOMAIN tree_path AS text CHECK (VALUE ~ '^[a-z0-9]+(\.[a-z0-9]+){0,5}$');
CREATE TABLE units (
    path tree_path PRIMARY KEY, parent tree_path REFERENCES units (path) DEFERRABLE INITIALLY DEFERRED,
    CHECK ((parent IS NULL AND path !~ '\.') OR (parent IS NOT NULL AND path ~ '\.'
        AND parent = regexp_replace(path, '\.[^.]+$', '')))
);
CREATE TABLE courses (
    unit char(3) NOT NULL CHECK (unit ~ '^[A-Z]{3}$'), code text PRIMARY KEY CHECK (code ~ '^[A-Z]{3}[1-7][0-9]{3}$'),
    level smallint NOT NULL, series integer NOT NULL CHECK (series BETWEEN 1 AND 999),
    path text NOT NULL CHECK (path ~ '^/([0-9]{3}/)+$'),
    CHECK (regexp_replace(code, '[0-9]+$', '') = unit), CHECK (level = substring(code FROM '[0-9]')::int),
    CHECK (right(path, 4) = lpad(series::text, 3, '0') || '/')
);
