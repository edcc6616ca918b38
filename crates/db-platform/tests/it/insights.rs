//! What a service is advised of its own statements and plans, and what its database holds.

use std::time::Duration;

use db_platform::insight::Insights;
use db_platform::insight::introspect::TableKind;
use db_platform::insight::repeats::{RepeatsMode, RepeatsWatch};
use db_platform::monitoring::dashboard::{self, Access};
use db_statement::fingerprint;
use db_testkit::{Cluster, until};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tower_service::Service as _;

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

/// Asks the dashboard for a page, as JSON.
async fn page(pages: &mut axum::Router, path: &str) -> serde_json::Value {
    let request = axum::http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
    let Ok(answer) = pages.call(request).await;
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn panel<'a>(page: &'a serde_json::Value, key: &str) -> &'a serde_json::Value {
    let panels = page["panels"].as_array().unwrap();
    panels.iter().find(|panel| panel["key"] == key).unwrap_or_else(|| panic!("{key} in {page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_looks_and_pages_report_and_slow_queries_say_what_it_found() {
    let cluster = cluster().await;
    let mut config = config(&cluster);
    config.monitoring.enabled = true;
    config.monitoring.metrics = true;
    config.monitoring.slow_query_threshold = Some(Duration::from_micros(1));
    config.monitoring.log_slow_queries = false;
    config.monitoring.collect_every = Some(Duration::from_millis(100));
    config.monitoring.history_days = 1;
    // In tests nobody looks, unless that is asked for.
    config.insight.query_analysis = true;
    config.insight.performance_insights = true;
    config.insight.first_look = Duration::from_secs(1);
    let db = db_platform::Db::connect(config).await.unwrap();
    let watch = RepeatsWatch::new(RepeatsMode::Metric);
    db.insights().follow_repeats(&watch);
    let text = "SELECT note FROM visits WHERE customer = 4177 AND note <> 'hunter2'";
    let read = db.read(async move |conn: &mut diesel_async::AsyncPgConnection| {
        Ok::<_, db_platform::Error>(sql_query(text).execute(conn).await?)
    });
    assert_eq!(read.await.unwrap(), 20);
    let statement = fingerprint(text);
    until("the leader looked", async || db.insights().advice().is_some()).await;
    let found = db.insights().statement(statement).unwrap();
    assert!(found.tree.starts_with("Seq Scan on visits") && found.tree.contains("  >> "), "{}", found.tree);

    let slow = db.slow_queries(100).into_iter().find(|slow| slow.fingerprint == statement).unwrap();
    assert!(slow.tips.iter().any(|tip| tip.contains("(customer)")), "{:?}", slow.tips);

    let mut pages = dashboard::router(db.dashboard("shop"), Access::Layered).unwrap();
    let of_statement = page(&mut pages, &format!("/queries/{statement}.json")).await;
    let plan = panel(&of_statement, "plan").to_string();
    assert!(plan.contains("Seq Scan on visits") && plan.contains(&found.query_ids[0]), "{plan}");
    let server = of_server(&cluster, &found.query_ids[0]).await;
    assert!(server.contains("FROM visits WHERE customer = $1 AND note <> $2"), "{server}");
    let indexes = page(&mut pages, "/indexes.json").await;
    let create = &panel(&indexes, "advice")["tables"]["suggestions"][0]["create"];
    assert!(create.as_str().unwrap().contains("ON visits USING btree (customer)"), "{create}");
    assert_eq!(panel(&indexes, "repeats")["tables"]["repeats"], serde_json::json!([]));

    let report = db.report().await.to_json();
    let sections = report["sections"].to_string();
    for part in ["Slower than last week", "btree (customer)", "Repeated statements"] {
        assert!(sections.contains(part), "{part} is not in {sections}");
    }
    for shown in [of_statement.to_string(), indexes.to_string(), sections] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    // Another process goes on where this one was.
    let mut conn = cluster.connect(0).await.unwrap();
    let other = Insights::default();
    until("it is stored", async || other.restore(&mut conn).await.unwrap() > 0).await;
    assert_eq!(other.history().seen(statement).len(), 1);
    assert_eq!(other.restore(&mut conn).await.unwrap(), 0, "nothing is new");
    let _ = db.shutdown(Duration::from_secs(5)).await;
}

async fn of_server(cluster: &Cluster, query_id: &str) -> String {
    let mut conn = cluster.connect(0).await.unwrap();
    let sql = format!("SELECT query AS line FROM pg_stat_statements WHERE queryid = {query_id} LIMIT 1");
    sql_query(sql).get_result::<Line>(&mut conn).await.unwrap().line
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

#[test]
fn what_asks_for_advice_can_be_spawned() {
    fn can(_: impl Send) {}
    fn of(db: db_platform::Db) {
        can(async move { db.analyze().await.map(drop) });
    }
    let _ = of;
}
