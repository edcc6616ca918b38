//! `dbctl maintain` as an operator runs it.

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::run::dbctl;

#[tokio::test]
async fn a_bloated_table_is_planned_and_compacted() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    for sql in [
        "CREATE TABLE orders (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off)",
        "INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 20000) AS n; \
         DELETE FROM orders WHERE id % 4 <> 0",
        "VACUUM (ANALYZE, TRUNCATE off) orders",
    ] {
        conn.batch_execute(sql).await.unwrap();
    }
    let at = [("DATABASE_URL", database.url())];
    let plan = dbctl(&at, &["maintain", "compact", "public.orders", "--plan", "--json"]).await;
    assert_eq!(plan.code, Some(0), "{}{}", plan.out, plan.err);
    let done = dbctl(&at, &["maintain", "compact", "public.orders", "--json"]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    let done: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let bytes = |key: &str| done[key].as_i64().unwrap();
    assert!(bytes("bytes_after") * 3 < bytes("bytes_before"), "{done}");
    conn.batch_execute("CREATE PUBLICATION everyone FOR TABLE orders").await.unwrap();
    let refused = dbctl(&at, &["maintain", "compact", "public.orders"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("the publication everyone"), "{}", refused.err);
}

#[tokio::test]
async fn what_is_bloated_is_planned_with_its_figures_and_upkeep_is_a_job_of_the_agent() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    for sql in [
        "CREATE TABLE orders (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off)",
        "INSERT INTO orders SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 90000) AS n; \
         DELETE FROM orders WHERE id % 4 <> 0",
        // What was counted and not written yet would be written after the vacuum.
        "SELECT pg_stat_force_next_flush()",
        "VACUUM (ANALYZE, TRUNCATE off) orders",
        "SELECT pg_stat_force_next_flush()",
    ] {
        conn.batch_execute(sql).await.unwrap();
    }
    let at = [("DATABASE_URL", database.url()), ("MAINTENANCE_SCHEDULE", "0 2 * * *")];
    let plan = dbctl(&at, &["maintain", "plan"]).await;
    assert_eq!(plan.code, Some(3), "{}{}", plan.out, plan.err);
    assert!(plan.out.contains("compact public.orders: "), "{}", plan.out);
    // Who would see rows move keeps it from being done, and is named.
    conn.batch_execute("CREATE PUBLICATION everyone FOR TABLE orders").await.unwrap();
    let plan = dbctl(&at, &["maintain", "plan"]).await;
    assert!(plan.out.contains("left alone") && plan.out.contains("the publication everyone"), "{}", plan.out);
    conn.batch_execute("DROP PUBLICATION everyone").await.unwrap();
    let done = dbctl(&at, &["maintain", "apply"]).await;
    assert!(done.code == Some(0) && done.out.contains("done: compact"), "{}{}", done.out, done.err);
    assert_eq!(dbctl(&at, &["maintain", "plan"]).await.code, Some(0));
    let jobs = dbctl(&at, &["agent", "--plan"]).await;
    assert!(jobs.out.contains("upkeep") && jobs.out.contains("0 2 * * *"), "{}{}", jobs.out, jobs.err);
}
