-- Conditions of many kinds: documents, lists, parts of texts, ranges, sums, states.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS ltree; CREATE EXTENSION IF NOT EXISTS hstore;
CREATE TABLE t1 (id int PRIMARY KEY, data jsonb NOT NULL CHECK (data ? 'type'), CHECK (data->>'type' IN ('a','b')));
CREATE TABLE t2 (id int PRIMARY KEY, tags text[] NOT NULL CHECK (tags <@ ARRAY['red','green','blue']), CHECK (array_length(tags,1) >= 1), CHECK (array_position(tags, NULL) IS NULL));
CREATE TABLE t3 (id int PRIMARY KEY, month date NOT NULL CHECK (date_trunc('month', month) = month), d date CHECK (extract(isodow from d) < 6), q date CHECK (extract(day from q) = 1));
CREATE TABLE t4 (id int PRIMARY KEY, email text NOT NULL CHECK (position('@' in email) > 1), e2 text CHECK (e2 = lower(e2) AND strpos(e2,'@')>0), code text CHECK (left(code,2) = 'XX' AND length(code)=8), c2 text CHECK (starts_with(c2,'ab')), c3 text CHECK (split_part(c3,'-',1) = 'INV'), c4 text CHECK (substring(c4 from 1 for 3) = 'abc'));
CREATE TABLE t5 (id int PRIMARY KEY, digest bytea NOT NULL CHECK (octet_length(digest)=32), sha text NOT NULL CHECK (length(sha)=64), hex char(64) UNIQUE NOT NULL CHECK (hex ~ '^[0-9a-f]{64}$'));
CREATE TABLE t6 (id int PRIMARY KEY, r int4range NOT NULL CHECK (lower(r) >= 0 AND upper(r) <= 1000), ts tsrange CHECK (lower(ts) IS NOT NULL AND NOT lower_inf(ts)), n numrange CHECK (NOT isempty(n)));
CREATE TABLE t7 (id int PRIMARY KEY, path ltree NOT NULL UNIQUE, h hstore, x xml, pct real CHECK (pct BETWEEN 0 AND 1), lat numeric(9,6) CHECK (lat BETWEEN -90 AND 90), lon numeric(9,6) CHECK (lon BETWEEN -180 AND 180));
CREATE TABLE t8 (id int PRIMARY KEY, a int NOT NULL, b int NOT NULL, c int NOT NULL, CHECK (a + b + c = 100), CHECK (a >= 0 AND b >= 0 AND c >= 0));
CREATE TABLE t9 (id int PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('person','company')), first text, last text, company text, vat text,
  CHECK ((kind = 'person' AND first IS NOT NULL AND last IS NOT NULL AND company IS NULL AND vat IS NULL) OR (kind = 'company' AND company IS NOT NULL AND vat IS NOT NULL AND first IS NULL AND last IS NULL)));
CREATE TABLE t10 (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, u text UNIQUE DEFERRABLE, t1 int REFERENCES t1 DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE t11 (id int PRIMARY KEY, price numeric(10,2) NOT NULL CHECK (price > 0), sale numeric(10,2), CHECK (sale IS NULL OR sale < price * 0.9), qty int CHECK (qty % 5 = 0 AND qty > 0), score int CHECK (score BETWEEN 1 AND 5), pow int CHECK (pow & (pow-1) = 0));
CREATE TABLE t12 (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, slug text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE, name text NOT NULL);
CREATE TABLE t13 (a int REFERENCES t1, b int REFERENCES t2, c int REFERENCES t3, PRIMARY KEY (a,b,c), ord int NOT NULL, UNIQUE (a, ord));
CREATE TABLE t14 (id int PRIMARY KEY, parent int REFERENCES t14, depth int NOT NULL CHECK (depth >= 0), root bool NOT NULL, CHECK (root = (parent IS NULL)));
CREATE TABLE t15 (id int PRIMARY KEY, valid daterange NOT NULL, room int NOT NULL, EXCLUDE USING gist (int4range(room, room, '[]') WITH =, valid WITH &&));
CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE DOMAIN us_zip AS text CHECK (VALUE ~ '^\d{5}(-\d{4})?$'); CREATE DOMAIN iban AS varchar(34) CHECK (VALUE ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{10,30}$');
CREATE TABLE t16 (id posint PRIMARY KEY, zips us_zip[] NOT NULL, z us_zip, i iban UNIQUE, arr posint[] CHECK (0 < ALL (arr)), ip inet CHECK (family(ip)=4), mac macaddr, dur interval CHECK (dur > interval '0'), tod time CHECK (tod BETWEEN '08:00' AND '18:00'));
CREATE TABLE t17 (id int PRIMARY KEY, y int NOT NULL CHECK (y >= 1900 AND y <= extract(year from now())), m int CHECK (m BETWEEN 1 AND 12), s text CHECK (s ~* '^[a-z]+$' AND s !~ 'xx'), u text CHECK (upper(u) = u), nn text CHECK (trim(nn) <> '' AND length(trim(nn)) > 2), em text CHECK (em ~~* '%@%.%'));
CREATE TABLE t18 (id int PRIMARY KEY, start_at timestamptz NOT NULL, end_at timestamptz NOT NULL CHECK (end_at > start_at), CHECK (end_at - start_at <= interval '8 hours'), CHECK (end_at - start_at >= interval '15 minutes'));
CREATE TABLE t19 (LIKE t18 INCLUDING ALL, v int) PARTITION BY RANGE (id); CREATE TABLE t19a PARTITION OF t19 FOR VALUES FROM (MINVALUE) TO (50); CREATE TABLE t19b PARTITION OF t19 FOR VALUES FROM (50) TO (MAXVALUE); CREATE TABLE t20 (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE t20d PARTITION OF t20 DEFAULT;
CREATE TABLE bal (id int PRIMARY KEY, debit numeric(12,2) NOT NULL DEFAULT 0, credit numeric(12,2) NOT NULL DEFAULT 0, CHECK ((debit = 0) <> (credit = 0)), CHECK (debit >= 0 AND credit >= 0));
CREATE TABLE st (id int PRIMARY KEY, status smallint NOT NULL CHECK (status IN (0,1,2,3)), shipped timestamptz, delivered timestamptz, cancelled timestamptz,
 CHECK (status < 1 OR shipped IS NOT NULL OR cancelled IS NOT NULL), CHECK (status <> 2 OR (shipped IS NOT NULL AND delivered >= shipped)), CHECK (cancelled IS NULL OR status = 3), CHECK (NOT (shipped IS NOT NULL AND cancelled IS NOT NULL)));
CREATE UNIQUE INDEX one_default ON st (status) WHERE status = 3;
CREATE TABLE addr (id int PRIMARY KEY, t9 int NOT NULL REFERENCES t9, is_primary bool NOT NULL); CREATE UNIQUE INDEX ON addr (t9) WHERE is_primary;
