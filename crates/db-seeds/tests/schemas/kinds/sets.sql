-- Elements of arrays, strings of bits, networks, and unique indexes over some of the rows.
CREATE TABLE networks (
    net cidr PRIMARY KEY CHECK (family(net) = 4 AND masklen(net) BETWEEN 20 AND 29 AND net <<= inet '10.0.0.0/8'),
    gateway inet NOT NULL, CHECK (gateway << net AND masklen(gateway) = 32 AND gateway <> host(net)::inet)
);
CREATE TABLE devices (id integer PRIMARY KEY, net cidr NOT NULL REFERENCES networks, address inet NOT NULL UNIQUE,
    CHECK (address << net));
CREATE TABLE policies (
    id integer PRIMARY KEY, tongues char(2)[] NOT NULL CHECK (cardinality(tongues) BETWEEN 1 AND 4 AND 'en' = ANY (tongues)),
    after integer[] NOT NULL CHECK (cardinality(after) BETWEEN 2 AND 5 AND 1 <= ALL (after) AND after[1] < after[2]),
    shares numeric(5, 2)[] NOT NULL CHECK (cardinality(shares) = cardinality(after) AND 0 < ALL (shares) AND 100 >= ALL (shares)),
    rights text[] NOT NULL CHECK (cardinality(rights) BETWEEN 1 AND 3 AND rights <@ ARRAY['r', 'w', 'x']),
    week bit(7) NOT NULL CHECK (week <> B'0000000' AND (week & B'0000011') = B'0000000'),
    flags bit(16) NOT NULL CHECK (get_bit(flags, 15) = 1), sum bytea NOT NULL CHECK (length(sum) IN (16, 32)),
    CHECK (NOT 'w' = ANY (rights) OR 'r' = ANY (rights))
);
CREATE TABLE owners (
    team integer NOT NULL CHECK (team BETWEEN 1 AND 200), person integer NOT NULL, mail text NOT NULL,
    is_owner boolean NOT NULL, gone date, PRIMARY KEY (team, person), CHECK (NOT is_owner OR gone IS NULL)
);
CREATE UNIQUE INDEX one_owner ON owners (team) WHERE is_owner;
CREATE UNIQUE INDEX one_mail ON owners (team, lower(mail)) WHERE gone IS NULL;
