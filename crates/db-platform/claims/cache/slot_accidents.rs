//! What happens to the relay's slot while a program writes that knows no cache: missing, lost, timed out,
//! shadowed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use db_platform::Db;
use db_platform::cache::Tag;
use db_platform::cache::relay::RelayConfig;
use db_testkit::{Cluster, Redis, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// A value that is not gone by then is stale for good: the relay has long caught up.
const PATIENCE: Duration = Duration::from_secs(10);

const SLOT: &str = "SELECT pg_create_logical_replication_slot('db_cache', 'pgoutput')";

/// How many values are stale for good after each accident.
pub(super) async fn stale() -> BTreeMap<&'static str, u64> {
    let mut stale = BTreeMap::new();
    for (name, version, settings) in [
        ("missing", None, &[][..]),
        ("lost", None, &[("max_slot_wal_keep_size", "1MB"), ("wal_keep_size", "0")]),
        ("timed_out", Some(18), &[("idle_replication_slot_timeout", "1s")]),
        ("shadowed", None, &[]),
    ] {
        let builder = Cluster::builder().setting("wal_level", "logical");
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.setting(*name, *value));
        let builder = version.map_or(builder.clone(), |version| builder.version(version));
        stale.insert(name, count_after(name, builder.start().await.unwrap()).await);
    }
    stale
}

async fn count_after(accident: &str, cluster: Cluster) -> u64 {
    let redis = Redis::start().await.unwrap();
    super::make_rows(&cluster, 10).await;
    let db = super::process(super::config(&cluster), super::cache(&redis)).await;
    let relay = super::relay(&redis);
    let (runs, way) = (relay.clone(), super::open(&cluster));
    let leader = tokio::spawn(async move { runs.run(way).await });
    until("the relay is there", async || relay.status().is_caught_up).await;
    let watched = RelayConfig::default().watch_sql("public", "rows", &Tag::table("rows"));
    super::run(&cluster, &watched).await;
    // The process that leads is gone, and a program writes.
    leader.abort();
    until("its session has ended", async || {
        word(&cluster, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'").await == "0"
    })
    .await;
    for id in 1..=10 {
        assert_eq!(value(&db, id).await, "first");
    }
    super::run(&cluster, "UPDATE rows SET value = 'second'").await;
    cause(accident, &cluster).await;
    let relay = super::relay(&redis);
    let (runs, way) = (relay.clone(), super::open(&cluster));
    let leader = tokio::spawn(async move { runs.run(way).await });
    let since = Instant::now();
    let mut stale = 10;
    while stale > 0 && since.elapsed() < PATIENCE {
        stale = 0;
        for id in 1..=10 {
            stale += u64::from(value(&db, id).await != "second");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    leader.abort();
    stale
}

async fn cause(accident: &str, cluster: &Cluster) {
    match accident {
        "missing" => super::run(cluster, "SELECT pg_drop_replication_slot('db_cache')").await,
        "lost" => {
            until("the slot is lost", async || {
                super::run(cluster, "SELECT pg_switch_wal()").await;
                super::run(cluster, "CREATE TABLE filler AS SELECT 1; DROP TABLE filler; CHECKPOINT").await;
                word(cluster, "SELECT wal_status FROM pg_replication_slots").await == "lost"
            })
            .await;
        }
        "timed_out" => {
            until("the slot has timed out", async || {
                super::run(cluster, "CHECKPOINT").await;
                word(cluster, "SELECT coalesce(invalidation_reason, '') FROM pg_replication_slots").await
                    == "idle_timeout"
            })
            .await;
        }
        // Somebody has dropped it, and another database of the cluster has taken its name.
        _ => {
            super::run(cluster, "SELECT pg_drop_replication_slot('db_cache')").await;
            super::run(cluster, "CREATE DATABASE other").await;
            let url = cluster.primary_url();
            let (server, _) = url.rsplit_once('/').unwrap();
            let (client, connection) =
                tokio_postgres::connect(&format!("{server}/other"), tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute(SLOT).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
        }
    }
}

async fn value(db: &Db, id: i64) -> String {
    let load = async move |conn: &mut AsyncPgConnection| super::value_of(conn, id).await;
    db.cached(super::ROWS.key(id), load).await.unwrap().unwrap().to_string()
}

async fn word(cluster: &Cluster, sql: &str) -> String {
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    let sql = format!("SELECT ({sql}) AS value");
    sql_query(sql).get_result::<super::Row>(&mut conn).await.unwrap().value
}
