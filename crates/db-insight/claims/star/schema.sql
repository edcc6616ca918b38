-- A star schema with skew. Written from the issue's text by an author who had not read the advisor,
-- and frozen before the advisor ran on it. Columns carry their table's prefix, as in TPC-H.
CREATE SCHEMA star;
SET search_path = star;

-- A number in [0, 1) that depends on nothing but its arguments.
CREATE FUNCTION u(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE
  RETURN (hashint8extended(i, salt) & 1099511627775)::float8 / 1099511627776;

CREATE TABLE day (d_id int PRIMARY KEY, d_date date NOT NULL, d_year int NOT NULL, d_month int NOT NULL,
  d_week int NOT NULL, d_weekday int NOT NULL, d_holiday bool NOT NULL);
INSERT INTO day SELECT i, date '2022-01-01' + i, extract(year FROM date '2022-01-01' + i),
  extract(month FROM date '2022-01-01' + i), extract(week FROM date '2022-01-01' + i),
  extract(isodow FROM date '2022-01-01' + i), u(i, 1) < 0.03 FROM generate_series(0, 1095) i;

CREATE TABLE customer (c_id int PRIMARY KEY, c_email text NOT NULL, c_name text NOT NULL, c_country text NOT
  NULL,
  c_city int NOT NULL, c_segment text NOT NULL, c_since date NOT NULL, c_manager int);
INSERT INTO customer SELECT i, 'User' || i || '@Example.org', 'name ' || md5(i::text),
  (ARRAY['DE','FR','IT','ES','NL','BE','AT','CH','PL','SE'])[1 + floor(10 * u(i, 2) ^ 2.5)::int],
  floor(300 * u(i, 3) ^ 2)::int,
  (ARRAY['consumer','smb','enterprise','public'])[1 + floor(4 * u(i, 4) ^ 3)::int],
  date '2015-01-01' + floor(2900 * u(i, 5))::int, CASE WHEN u(i, 6) < 0.1 THEN floor(40 * u(i, 7))::int END
  FROM generate_series(1, 8000) i;

CREATE TABLE product (p_id int PRIMARY KEY, p_sku text NOT NULL, p_brand int NOT NULL, p_category int NOT
  NULL,
  p_price numeric(10,2) NOT NULL, p_launched date NOT NULL, p_retired bool NOT NULL);
INSERT INTO product SELECT i, 'SKU-' || lpad(i::text, 6, '0'), floor(150 * u(i, 8) ^ 1.5)::int,
  floor(25 * u(i, 9) ^ 2)::int, round((5 + 900 * u(i, 10) ^ 4)::numeric, 2),
  date '2018-01-01' + floor(1800 * u(i, 11))::int, u(i, 12) < 0.2 FROM generate_series(1, 3000) i;

CREATE TABLE store (st_id int PRIMARY KEY, st_name text NOT NULL, st_region int NOT NULL, st_kind text NOT
  NULL);
INSERT INTO store SELECT i, 'store ' || i, floor(12 * u(i, 13) ^ 2)::int,
  (ARRAY['street','mall','outlet','online'])[1 + floor(4 * u(i, 14))::int] FROM generate_series(1, 250) i;

CREATE TABLE promotion (pr_id int PRIMARY KEY, pr_code text NOT NULL, pr_channel text NOT NULL);
INSERT INTO promotion SELECT i, 'PROMO' || i, (ARRAY['mail','tv','web'])[1 + i % 3] FROM generate_series(1,
  60) i;

-- The great fact: customers, products and stores by a power law, days evenly, few sales with a promotion.
CREATE TABLE sales (s_id bigint PRIMARY KEY, s_day int NOT NULL REFERENCES day, s_customer int NOT NULL
  REFERENCES customer,
  s_product int NOT NULL REFERENCES product, s_store int NOT NULL REFERENCES store, s_promotion int
  REFERENCES promotion,
  s_quantity int NOT NULL, s_amount numeric(12,2) NOT NULL, s_state text NOT NULL, s_ticket int NOT NULL);
INSERT INTO sales SELECT i, floor(1096 * u(i, 20))::int, 1 + floor(8000 * u(i, 21) ^ 3)::int,
  1 + floor(3000 * u(i, 22) ^ 2.5)::int, 1 + floor(250 * u(i, 23) ^ 2)::int,
  CASE WHEN u(i, 24) < 0.04 THEN 1 + floor(60 * u(i, 25) ^ 2)::int END, 1 + floor(8 * u(i, 26) ^ 3)::int,
  round((5 + 2000 * u(i, 27) ^ 5)::numeric, 2),
  CASE WHEN u(i, 28) < 0.965 THEN 'paid' WHEN u(i, 28) < 0.99 THEN 'refunded' WHEN u(i, 28) < 0.998 THEN
  'open' ELSE 'fraud' END,
  floor(i / 2.5)::int FROM generate_series(1, 90000) i;

CREATE TABLE returned (r_id int PRIMARY KEY, r_sale bigint NOT NULL REFERENCES sales, r_day int NOT NULL
  REFERENCES day,
  r_reason int NOT NULL, r_amount numeric(12,2) NOT NULL);
INSERT INTO returned SELECT i, 1 + floor(90000 * u(i, 30))::bigint, floor(1096 * u(i, 31))::int,
  floor(15 * u(i, 32) ^ 3)::int, round((200 * u(i, 33) ^ 2)::numeric, 2) FROM generate_series(1, 9000) i;

CREATE TABLE shipment (sh_id int PRIMARY KEY, sh_sale bigint NOT NULL REFERENCES sales, sh_carrier int NOT
  NULL,
  sh_status text NOT NULL, sh_sent timestamptz NOT NULL, sh_arrived timestamptz, sh_weight int NOT NULL);
INSERT INTO shipment SELECT i, 1 + floor(90000 * u(i, 40))::bigint, floor(9 * u(i, 41) ^ 2)::int,
  CASE WHEN u(i, 42) < 0.97 THEN 'delivered' WHEN u(i, 42) < 0.99 THEN 'moving' ELSE 'lost' END,
  timestamptz '2022-01-01 00:00:00+00' + interval '1 minute' * (i * 30),
  CASE WHEN u(i, 42) < 0.97 THEN timestamptz '2022-01-01 00:00:00+00' + interval '1 minute' * (i * 30 +
  2880) END,
  floor(30000 * u(i, 43) ^ 4)::int FROM generate_series(1, 50000) i;

CREATE TABLE stock (k_day int NOT NULL REFERENCES day, k_product int NOT NULL REFERENCES product,
  k_store int NOT NULL REFERENCES store, k_level int NOT NULL, PRIMARY KEY (k_day, k_store, k_product));
INSERT INTO stock SELECT 7 * (i % 156), 1 + (i / 156) % 3000, 1 + floor(250 * u(i, 50) ^ 2)::int,
  floor(100 * u(i, 51) ^ 2)::int FROM generate_series(1, 60000) i ON CONFLICT DO NOTHING;
