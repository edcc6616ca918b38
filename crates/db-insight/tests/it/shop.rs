//! A small shop with statistics, and advice for single statements on it.

use db_insight::indexes::{Advice, AdviceConfig, Prove, Query, advise};
use db_testkit::{TestDatabase, TestkitError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

pub(crate) const SHOP: &str = "
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL, name varchar(100), country text,
  created_at timestamptz NOT NULL, active boolean NOT NULL, org_id int);
INSERT INTO customers SELECT i, 'User' || i || '@Example.com', 'name ' || md5(i::text),
  (array['de', 'us', 'fr', 'gb'])[1 + i % 4], timestamptz '2026-01-01' - (i || ' minutes')::interval, i % 50 <> 0, i % 500
  FROM generate_series(1, 10000) i;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id), status text NOT NULL,
  total numeric(10, 2), created_at timestamptz NOT NULL, shipped_at timestamptz, note text, data jsonb, tags text[]);
INSERT INTO orders (customer_id, status, total, created_at, shipped_at, note, data, tags)
  SELECT 1 + (i * 7919::bigint) % 10000,
    CASE WHEN i % 100 = 0 THEN 'pending' WHEN i % 100 < 5 THEN 'failed' ELSE 'paid' END, (i * 31) % 100000 / 100.0,
    timestamptz '2025-01-01' + (i || ' minutes')::interval, CASE WHEN i % 50 = 0 THEN NULL ELSE timestamptz '2026-01-01' END,
    'note ' || md5(i::text), jsonb_build_object('k', i % 5000, 'src', 'web' || i % 3000), ARRAY['t' || i % 1000, 'u' || i % 7]
  FROM generate_series(1, 60000) i;
CREATE TABLE small (id int, v text);
INSERT INTO small SELECT i, 'v' || i FROM generate_series(1, 200) i;
CREATE TABLE bookings (id serial PRIMARY KEY, during tstzrange);
INSERT INTO bookings (during) SELECT tstzrange(timestamptz '2025-01-01' + (i || ' hours')::interval,
  timestamptz '2025-01-01' + (i || ' hours')::interval + interval '1 hour') FROM generate_series(1, 20000) i;
CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, user_id int) PARTITION BY RANGE (at);
CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE events_b PARTITION OF events FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
INSERT INTO events SELECT i, timestamptz '2025-01-01' + (i || ' minutes')::interval, i % 5000 FROM generate_series(1, 80000) i;
CREATE TABLE dup (id int PRIMARY KEY, a int, b int, c int, d int);
INSERT INTO dup SELECT i, i % 100, i % 1000, i, i % 10 FROM generate_series(1, 20000) i;
CREATE INDEX dup_a ON dup (a);
CREATE INDEX dup_ab ON dup (a, b);
CREATE INDEX dup_b ON dup (b);
CREATE INDEX dup_b_again ON dup (b);
CREATE INDEX dup_id ON dup (id);
CREATE UNIQUE INDEX dup_c ON dup (c);
CREATE INDEX dup_sum ON dup ((a + b));
CREATE INDEX dup_d_part ON dup (d) WHERE d = 1;
";

/// A database with the shop, analysed.
pub(crate) async fn shop() -> Result<(TestDatabase, AsyncPgConnection), TestkitError> {
    let database = TestDatabase::from_template(SHOP, async |conn: &mut AsyncPgConnection| {
        conn.batch_execute(SHOP).await
    })
    .await?;
    let mut conn = database.connect().await?;
    // Statistics do not go along with a template's rows in every version.
    conn.batch_execute("VACUUM ANALYZE").await.unwrap();
    Ok((database, conn))
}

/// Advice for these statements, each named as it is written.
pub(crate) async fn advice(
    conn: &mut AsyncPgConnection,
    prove: Prove,
    statements: &[(&str, &[&str])],
) -> Advice {
    let workload: Vec<Query> = statements
        .iter()
        .map(|(sql, params)| Query {
            id: json!(sql),
            sql: (*sql).to_owned(),
            params: params.iter().map(|param| (*param).to_owned()).collect(),
            calls_per_day: None,
        })
        .collect();
    advise(conn, &workload, &AdviceConfig { prove, ..AdviceConfig::default() }).await.unwrap()
}
