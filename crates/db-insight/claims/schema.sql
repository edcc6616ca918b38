-- What the plans of the claims are made on: large enough that faults cost milliseconds.
SET client_min_messages = warning;
CREATE TABLE customers (
    id int PRIMARY KEY,
    email text NOT NULL,
    code varchar(20) NOT NULL,
    country text NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO customers
SELECT i, 'user' || i || '@example.org', 'c' || i, (ARRAY['de','fr','at','ch'])[1 + i % 4], '2026-01-01'::timestamptz + i * interval '1 minute'
FROM generate_series(1, 20000) i;
CREATE INDEX customers_email_idx ON customers (email);
CREATE INDEX customers_created_idx ON customers (created_at);

CREATE TABLE orders (
    id int PRIMARY KEY,
    customer_id int NOT NULL,
    status text NOT NULL,
    region text NOT NULL,
    city text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    created_at timestamptz NOT NULL,
    note text
);
INSERT INTO orders
SELECT i, 1 + (i::bigint * 7919) % 20000, CASE WHEN i % 1000 = 0 THEN 'failed' WHEN i % 10 = 0 THEN 'open' ELSE 'paid' END,
    'r' || (i * 31 % 100), 'city' || (i * 31 % 100), (i % 1000)::numeric / 10, '2026-01-01'::timestamptz + i * interval '1 minute',
    'order number ' || i || ' of customer ' || (i::bigint * 7919) % 20000
FROM generate_series(1, 300000) i;
CREATE INDEX orders_created_idx ON orders (created_at);
CREATE INDEX orders_customer_idx ON orders (customer_id);

-- Its foreign key has no index.
CREATE TABLE items (
    id int PRIMARY KEY,
    order_id int NOT NULL REFERENCES orders ON DELETE CASCADE,
    product int NOT NULL,
    quantity int NOT NULL
);
INSERT INTO items SELECT i, 1 + i % 300000, (i * 13) % 1000, i % 7 FROM generate_series(1, 400000) i;

-- Its foreign key has one.
CREATE TABLE payments (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders ON DELETE CASCADE, paid bool NOT NULL);
INSERT INTO payments SELECT i, i, i % 3 = 0 FROM generate_series(1, 50000) i;
CREATE INDEX payments_order_idx ON payments (order_id);

CREATE TABLE events (id bigint NOT NULL, tenant int NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, body text NOT NULL) PARTITION BY RANGE (at);
DO $$
BEGIN
    FOR m IN 0..23 LOOP
        EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', m,
            '2025-01-01'::date + m * interval '1 month', '2025-01-01'::date + (m + 1) * interval '1 month');
    END LOOP;
END $$;
INSERT INTO events
SELECT i, i % 500, '2025-01-01'::timestamptz + i * interval '5 minutes', 'k' || i % 20, repeat('x', 40)
FROM generate_series(1, 200000) i;
CREATE INDEX events_at_idx ON events (at);

CREATE TABLE fill (id int PRIMARY KEY, grp int NOT NULL, pad text NOT NULL);
INSERT INTO fill SELECT i, (i * 7919) % 200000, repeat('p', 100) FROM generate_series(1, 200000) i;
CREATE INDEX fill_grp_idx ON fill (grp);

-- Analyzed before it was filled.
CREATE TABLE young (id int PRIMARY KEY, state int NOT NULL, at date NOT NULL);
INSERT INTO young SELECT i, 0, '2026-01-01' FROM generate_series(1, 1000) i;
CREATE INDEX young_state_idx ON young (state);
ANALYZE young;
INSERT INTO young SELECT i, 1, '2026-06-01' FROM generate_series(1001, 60000) i;

-- Never vacuumed since it was rewritten.
CREATE TABLE churned (id int PRIMARY KEY, v int NOT NULL, pad text NOT NULL);
INSERT INTO churned SELECT i, i, repeat('c', 50) FROM generate_series(1, 100000) i;
CREATE INDEX churned_v_idx ON churned (v);

CREATE TABLE watched (id int PRIMARY KEY, v int NOT NULL);
INSERT INTO watched SELECT i, 0 FROM generate_series(1, 20000) i;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE n int;
BEGIN
    SELECT count(*) INTO n FROM generate_series(1, 200);
    RETURN NULL;
END $$;
CREATE TRIGGER watched_after AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION slow();

CREATE TABLE many (id int NOT NULL, v int NOT NULL) PARTITION BY RANGE (id);
DO $$
BEGIN
    FOR m IN 0..399 LOOP
        EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', m, m * 100, (m + 1) * 100);
        EXECUTE format('CREATE INDEX ON many_%s (v)', m);
    END LOOP;
END $$;
INSERT INTO many SELECT i, i FROM generate_series(0, 39999) i;

CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, pad text NOT NULL);
INSERT INTO users SELECT i, 'user' || i || '@example.org', repeat('u', 20) FROM generate_series(1, 150000) i;
CREATE INDEX users_email_idx ON users (email);

-- A page a row, in no order: larger than the server's memory for pages.
CREATE TABLE wide (id int NOT NULL, k int NOT NULL, pad text NOT NULL) WITH (fillfactor = 10);
INSERT INTO wide SELECT i, (i::bigint * 7919) % 60000, repeat('w', 700) FROM generate_series(1, 60000) i;
CREATE INDEX wide_k_idx ON wide (k);

CREATE TABLE tags (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO tags SELECT i, 'tag' || i FROM generate_series(1, 50) i;

CREATE TABLE docs (id int PRIMARY KEY, body jsonb NOT NULL);
INSERT INTO docs SELECT i, jsonb_build_object('kind', 'k' || i % 5000, 'n', i) FROM generate_series(1, 60000) i;

-- Its rows are in no order of what BRIN remembers.
CREATE TABLE readings (id int NOT NULL, v int NOT NULL);
INSERT INTO readings SELECT i, (i::bigint * 7919) % 60000 FROM generate_series(1, 60000) i;
CREATE INDEX readings_v_brin ON readings USING brin (v);

-- The planner is told of a thousandth of the values.
CREATE TABLE visits (id int PRIMARY KEY, customer_id int NOT NULL);
INSERT INTO visits SELECT i, 1 + (i::bigint * 7919) % 20000 FROM generate_series(1, 60000) i;
ALTER TABLE visits ALTER customer_id SET (n_distinct = 20);

VACUUM (ANALYZE) customers, orders, items, payments, events, fill, users, wide, watched, many, tags, docs, readings, visits;
ANALYZE churned;
UPDATE churned SET v = v + 1;
