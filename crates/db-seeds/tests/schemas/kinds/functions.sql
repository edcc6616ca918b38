-- What functions of the server's make of other columns, or judge; check digits over long numbers; patterns that look ahead.
CREATE FUNCTION slug_of(t text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim(both '-' from lower(regexp_replace(t, '[^a-zA-Z0-9]+', '-', 'g'))) $$;
CREATE FUNCTION luhn_ok(n text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ DECLARE s int := 0; d int; BEGIN
    FOR i IN 1..length(n) LOOP
        d := substr(n, length(n) - i + 1, 1)::int;
        IF i % 2 = 0 THEN d := d * 2; IF d > 9 THEN d := d - 9; END IF; END IF;
        s := s + d;
    END LOOP;
    RETURN s % 10 = 0; END $$;
CREATE TABLE articles (
    id integer PRIMARY KEY, title text NOT NULL UNIQUE CHECK (char_length(trim(both from title)) > 0), slug text NOT NULL UNIQUE,
    body text NOT NULL, hash text NOT NULL, card text NOT NULL CHECK (card ~ '^[0-9]{16}$' AND luhn_ok(card)),
    CHECK (slug = slug_of(title) AND hash = md5(body))
);
CREATE TABLE accounts (
    iban text PRIMARY KEY CHECK (iban ~ '^DE\d{20}$' AND (substr(iban, 5) || '1314' || substr(iban, 3, 2))::numeric % 97 = 1),
    secret text NOT NULL CHECK (secret ~ '^(?=.*[A-Z])(?=.*[0-9]).{8,}$'), day date NOT NULL, month char(7) NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0), price numeric(10, 2) NOT NULL CHECK (price > 0), total numeric(14, 2) NOT NULL,
    CHECK (month ~ '^\d{4}-(0[1-9]|1[0-2])$' AND to_char(day, 'YYYY-MM') = month), CHECK (total = quantity * price)
);
