//! What a service is advised of its own statements and plans, and what its database holds.

use std::time::Duration;

use db_platform::insight::Insights;
use db_platform::insight::introspect::TableKind;
use db_testkit::Cluster;
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::config;
use crate::db;

const ROWS: &str = "CREATE TABLE visits (id int PRIMARY KEY, customer int NOT NULL, note text);
    INSERT INTO visits SELECT i, i % 5000, repeat('x', 100) FROM generate_series(1, 100000) i";

async fn cluster() -> Cluster {
    let cluster =
        Cluster::builder().setting("shared_preload_libraries", "pg_stat_statements").start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    conn.batch_execute(ROWS).await.unwrap();
    conn.batch_execute("VACUUM ANALYZE visits").await.unwrap();
    cluster
}

#[tokio::test]
async fn the_statements_that_the_server_counted_are_advised_and_the_database_is_introspected() {
    let cluster = cluster().await;
    let db = db(&cluster).await;
    for customer in 0..5 {
        let mut conn = db.primary().await.unwrap();
        sql_query(format!("SELECT note FROM visits WHERE customer = {customer}"))
            .execute(&mut conn)
            .await
            .unwrap();
    }
    let advice = db.analyze().await.unwrap();
    let found: Vec<&str> = advice.suggestions.iter().map(|one| one.index.as_str()).collect();
    assert_eq!(found, ["visits USING btree (customer)"], "{:?}", advice.notes);
    let shop = db.introspect().await.unwrap();
    let visits = shop.table("public", "visits").unwrap();
    assert_eq!((visits.kind, visits.estimated_rows), (TableKind::Table, Some(100_000.0)));
    assert!(db.insights().flips().is_empty(), "nobody has looked yet");
    let _ = db.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn without_counters_the_statements_of_the_process_are_advised() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute(ROWS).await.unwrap();
    conn.batch_execute("VACUUM ANALYZE visits").await.unwrap();
    let mut config = config(&cluster);
    config.monitoring.enabled = true;
    config.monitoring.metrics = true;
    let db = db_platform::Db::connect(config).await.unwrap();
    let read = db.read(async |conn: &mut diesel_async::AsyncPgConnection| {
        Ok::<_, db_platform::Error>(
            sql_query("SELECT note FROM visits WHERE customer = 7").execute(conn).await?,
        )
    });
    read.await.unwrap();
    let advice = db.analyze().await.unwrap();
    let found: Vec<&str> = advice.suggestions.iter().map(|one| one.index.as_str()).collect();
    assert_eq!(found, ["visits USING btree (customer)"], "{:?}", advice.notes);
    let _ = db.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_look_takes_each_statement_in_once_an_hour_and_keeps_no_value() {
    let cluster = cluster().await;
    let mut conn = cluster.connect(0).await.unwrap();
    let insights = Insights::default();
    sql_query("SELECT note FROM visits WHERE customer = 4177").execute(&mut conn).await.unwrap();
    assert!(insights.look_at_plans(&mut conn).await.unwrap() >= 1);
    sql_query("SELECT note FROM visits WHERE customer = 4178").execute(&mut conn).await.unwrap();
    assert_eq!(insights.look_at_plans(&mut conn).await.unwrap(), 0, "an hour is not over");
    insights.look_at_indexes(&mut conn).await.unwrap();
    let (_, advice) = insights.advice().unwrap();
    assert_eq!(advice.suggestions.len(), 1, "{:?}", advice.notes);
    let kept =
        serde_json::to_string(&insights.history()).unwrap() + &serde_json::to_string(&*advice).unwrap();
    assert!(kept.contains("visits") && !kept.contains("417"), "{kept}");
}
