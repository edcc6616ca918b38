//! cache-11: what it costs that an invalidation survives a crash.
//!
//! The same transactions on two like clusters whose disks are flushed: on one the cache marks and bumps, on
//! the other they also tell the relay, in their own log, and the relay reads it beside. Both run in turns, a
//! second each.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::Db;
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Redis, until};
use serde_json::json;
use tokio::task::JoinSet;

use crate::median::median;

const CLIENTS: i64 = 32;
const ROWS: i64 = 100_000;
const MOST: f64 = 0.20;

pub(crate) fn measure(size: Size) -> Figure {
    let (rounds, turn) = match size {
        Size::Ci => (30, Duration::from_secs(1)),
        Size::Nightly => (60, Duration::from_secs(3)),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(compare(rounds, turn))
}

async fn compare(rounds: usize, turn: Duration) -> Figure {
    let redis = Redis::start().await.unwrap();
    let (plain, durable) = (cluster().await, cluster().await);
    let relay = super::relay(&redis);
    let bare = connect(&plain, None).await;
    let marked = connect(&plain, Some(super::cache(&redis))).await;
    let told = connect(&durable, Some(super::cache(&redis).relayed_by(relay.clone()))).await;
    until("the relay is there", async || relay.status().is_caught_up).await;
    let (mut losses, mut of_all, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let rate = [commits(&bare, turn).await, commits(&marked, turn).await, commits(&told, turn).await];
        losses.push(1.0 - rate[2] / rate[1]);
        of_all.push(1.0 - rate[2] / rate[0]);
        rates.push(rate);
    }
    let sent = relay.status().messages;
    until("the relay has caught up", async || relay.status().is_caught_up).await;
    let (loss, interval) = median(&mut losses);
    let (of_all, of_all_interval) = median(&mut of_all);
    let mean = |arm: usize| rates.iter().map(|rate: &[f64; 3]| rate[arm]).sum::<f64>() / rates.len() as f64;
    Figure {
        value: loss * 100.0,
        unit: "% fewer commits a second",
        holds: loss <= MOST && sent > 0,
        detail: json!({
            "interval": interval, "rounds": rounds, "messages": relay.status().messages,
            "left_alone": relay.status().confirmed, "retained_bytes": relay.status().retained_bytes,
            "without_any_cache": mean(0), "marked_and_bumped": mean(1), "and_relayed": mean(2),
            "all_of_the_cache_costs": of_all, "its_interval": of_all_interval,
        }),
    }
}

async fn cluster() -> Cluster {
    let durable = [("fsync", "on"), ("full_page_writes", "on"), ("wal_level", "logical")];
    let builder =
        durable.into_iter().fold(Cluster::builder(), |builder, (name, value)| builder.setting(name, value));
    let cluster = builder.start().await.unwrap();
    super::make_rows(&cluster, ROWS).await;
    cluster
}

async fn connect(cluster: &Cluster, cache: Option<db_platform::DbCache>) -> Db {
    let mut config = super::config(cluster);
    config.pool.max = 32.try_into().unwrap();
    match cache {
        Some(cache) => super::process(config, cache).await,
        None => Db::connect(config).await.unwrap(),
    }
}

/// Commits a second of all clients, each of a row of its own choice.
async fn commits(db: &Db, turn: Duration) -> f64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (db, done) = (db.clone(), Arc::clone(&done));
        clients.spawn(async move {
            while started.elapsed() < turn {
                // A prime step visits all rows, far from one another.
                let id = NEXT.fetch_add(7_919, Ordering::Relaxed).rem_euclid(ROWS) + 1;
                super::change(&db, id).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients.join_all().await;
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}
