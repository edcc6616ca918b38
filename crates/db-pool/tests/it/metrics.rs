//! What an exporter gets is what happened. That docs/metrics.md lists all of it, `db-platform` tests.

use std::collections::BTreeMap;
use std::time::Duration;

use db_pool::PoolConfig;
use db_testkit::{Exported, Figure, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;

use crate::{open, pool_config};

/// The figures of one pool, by the name of the metric and, behind a slash, the state.
fn figures(exported: &Exported, pool: &str) -> BTreeMap<String, Figure> {
    let of_pool = |figure: &Figure| {
        figure.attributes.get("db.client.connection.pool.name").is_some_and(|name| name == pool)
    };
    let named = |figure: Figure| {
        let state = figure.attributes.get("db.client.connection.state");
        (figure.name.clone() + &state.map(|state| format!("/{state}")).unwrap_or_default(), figure)
    };
    exported.figures().into_iter().filter(of_pool).map(named).collect()
}

#[tokio::test]
async fn an_exporter_gets_what_the_pool_did() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig { min: 1, acquire_timeout: Some(Duration::from_millis(200)), ..pool_config(2) };
    let (pool, other) = (open(database.url(), config), open(database.url(), pool_config(9)));
    let exported = Exported::default();
    pool.observe_with(&exported.meter(), "ours");
    other.observe_with(&exported.meter(), "other");
    pool.observe_with(&exported.meter(), "twice");

    let (mut first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    first.batch_execute("SELECT pg_sleep(0.2)").await.unwrap();
    assert!(pool.get().await.is_err(), "both are in use");
    let mut waiting = Box::pin(pool.get());
    assert!(futures_util::poll!(&mut waiting).is_pending());

    let seen = figures(&exported, "ours");
    let number = |name: &str| seen[name].value as u64;
    assert_eq!(number("db.client.connection.count/used"), 2);
    assert_eq!(number("db.client.connection.count/idle"), 0);
    assert_eq!(number("db.client.connection.max"), 2);
    assert_eq!(number("db.client.connection.idle.min"), 1);
    assert_eq!(number("db.client.connection.pending_requests"), 1);
    assert_eq!(number("db.client.connection.timeouts"), 1);
    assert_eq!(number("db_pool_acquires"), 2);
    assert!(!seen.contains_key("db.client.connection.use_time"), "none came back yet");

    first.batch_execute("SET work_mem = '1MB'").await.unwrap();
    drop(first);
    drop(waiting.await.unwrap());
    until("it is reset", async || pool.status().salvages == 1).await;
    let seen = figures(&exported, "ours");
    let created = &seen["db.client.connection.create_time"];
    assert!(
        created.count <= 2 && created.value > 0.0,
        "those opened before it was observed are not recorded"
    );
    assert_eq!(seen["db.client.connection.wait_time"].count, 3);
    let used = &seen["db.client.connection.use_time"];
    assert_eq!(used.count, 2);
    assert!((0.2..30.0).contains(&used.value), "{} s", used.value);
    assert_eq!(seen["db_pool_salvages"].value, 1.0);
    assert_eq!(seen["db.client.connection.count/idle"].value, 1.0);

    assert_eq!(figures(&exported, "other")["db.client.connection.max"].value, 9.0);
    assert!(figures(&exported, "twice").is_empty());
    drop((pool, second));
    let after = figures(&exported, "ours");
    assert!(!after.contains_key("db.client.connection.count/used"), "a pool that is gone has no connections");
}
