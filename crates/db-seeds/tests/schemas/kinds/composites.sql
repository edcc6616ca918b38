-- Conditions on fields of composite values, on domains over them, and on arrays of those.
CREATE TYPE amount AS (currency char(3), value numeric(12, 2));
CREATE TYPE place AS (name text, at_lat numeric(9, 6), at_lon numeric(9, 6));
CREATE TYPE parcel_size AS (l integer, w integer, h integer);
CREATE TYPE leg AS (origin place, far integer);
CREATE DOMAIN price AS amount CHECK (VALUE IS NULL OR ((VALUE).currency IN ('EUR', 'JPY') AND (VALUE).value >= 0
    AND ((VALUE).currency <> 'JPY' OR (VALUE).value = trunc((VALUE).value))));
CREATE FUNCTION is_outline(points place[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    $$ SELECT cardinality(points) >= 3 AND (SELECT bool_and((p).at_lat BETWEEN -90 AND 90) FROM unnest(points) AS p) $$;
CREATE TABLE offices (
    id integer PRIMARY KEY, site place NOT NULL, outline place[] CHECK (is_outline(outline)), trip leg,
    CHECK ((site).at_lat BETWEEN -90 AND 90 AND (site).at_lon BETWEEN -180 AND 180),
    CHECK ((site).at_lat IS NOT NULL AND (site).name ~ '^[A-Z]{3}$'),
    CHECK (((trip).origin).name <> '' AND (trip).far BETWEEN 5 AND 9)
);
CREATE TABLE items (
    id integer PRIMARY KEY, cost price NOT NULL CHECK ((cost).value BETWEEN 100 AND 400),
    before price NOT NULL, after price NOT NULL, taxes price[] NOT NULL CHECK (cardinality(taxes) BETWEEN 1 AND 3),
    size parcel_size, volume integer GENERATED ALWAYS AS ((size).l * (size).w) STORED,
    CHECK ((before).currency = (after).currency AND (before).value <> (after).value),
    CHECK (size IS NULL OR ((size).l + (size).w + (size).h <= 203 AND (size).l >= (size).w AND (size).h > 0))
);
