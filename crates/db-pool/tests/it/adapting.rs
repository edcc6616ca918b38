//! A limit that adapts: to the load, to what the server has left, and without closing what it tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_core::DatabaseUrl;
use db_pool::{AdaptiveConfig, Pool, PoolConfig};
use db_testkit::{Cluster, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;
use tokio::task::JoinSet;

use crate::{number, open, pool_config};

fn adaptive(max: usize) -> PoolConfig {
    let adaptive = AdaptiveConfig { ask_interval: Duration::from_millis(200), ..AdaptiveConfig::default() };
    PoolConfig {
        adaptive: Some(adaptive),
        acquire_timeout: Some(Duration::from_secs(60)),
        ..pool_config(max)
    }
}

/// Callers that never stop, until they are dropped.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Callers {
    fn of(pool: &Pool, count: usize, sql: &'static str) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..count {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    pool.get().await.unwrap().batch_execute(sql).await.unwrap();
                }
            });
        }
        Callers { stop, tasks }
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = self.tasks.join_next().await {
            caller.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_are_used_while_they_bring_more_and_never_more_than_max() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), adaptive(20));
    assert_eq!(pool.status().max, 4);
    let callers = Callers::of(&pool, 40, "SELECT pg_sleep(0.02)");
    until("it has grown", async || pool.status().max >= 18).await;
    assert!(pool.status().open <= 20, "{:?}", pool.status());
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_tried_closes_no_connection() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), adaptive(12));
    let callers = Callers::of(&pool, 24, "SELECT pg_sleep(0.02)");
    until("it has grown", async || pool.status().max == 12 && pool.status().open == 12).await;
    until("it tries a smaller one", async || pool.status().parked > 0).await;
    until("it is back", async || pool.status().parked == 0).await;
    callers.end().await;
    let status = pool.status();
    assert_eq!((status.creates(), status.destroys), (12, 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_bring_nothing_are_given_back() {
    let database = TestDatabase::empty().await.unwrap();
    let config = AdaptiveConfig { start: 16.try_into().unwrap(), ..AdaptiveConfig::default() };
    let pool = open(database.url(), PoolConfig { adaptive: Some(config), ..adaptive(16) });
    // One at a time, whatever the limit is.
    let callers =
        Callers::of(&pool, 32, "BEGIN; SELECT pg_advisory_xact_lock(1); SELECT pg_sleep(0.002); COMMIT");
    until("sixteen are in service", async || pool.status().open == 16).await;
    until("only a few are", async || pool.status().open <= 8).await;
    callers.end().await;
}

#[tokio::test]
async fn a_pool_that_nobody_waits_for_keeps_its_limit() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), adaptive(20));
    let callers = Callers::of(&pool, 3, "SELECT pg_sleep(0.002)");
    until("a thousand were served", async || pool.status().acquires > 1_000).await;
    assert_eq!(pool.status().max, 4);
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_room_for_others_and_gets_back_what_they_need() {
    let cluster = Cluster::builder().setting("max_connections", "30").start().await.unwrap();
    let mut outsider = cluster.connect(0).await.unwrap();
    let taken = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname IS NOT NULL";
    let pool = open(&cluster.primary_url(), adaptive(64));
    let callers = Callers::of(&pool, 100, "SELECT pg_sleep(0.02)");
    // 30, less 3 for superusers, less 5 that stay free, less the outsider.
    until("it took what was left", async || pool.status().open >= 18).await;
    let mut others = Vec::new();
    while number(&mut outsider, taken).await < 27 {
        others.push(cluster.connect(0).await.unwrap());
    }
    until("five are free again", async || number(&mut outsider, taken).await <= 22).await;
    assert_eq!(pool.status().connect_errors, 0);
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_lowers_the_limit() {
    let cluster = Cluster::builder().start().await.unwrap();
    // A limit that the server does not tell when it is asked how many are left.
    let role = "CREATE ROLE guest LOGIN CONNECTION LIMIT 6 PASSWORD 'guest'";
    cluster.connect(0).await.unwrap().batch_execute(role).await.unwrap();
    let pool = open(&as_guest(&cluster), adaptive(40));
    let callers = Callers::of(&pool, 50, "SELECT pg_sleep(0.02)");
    until("it was refused", async || pool.status().connect_errors > 0).await;
    until("the limit is no more than it can have", async || pool.status().max <= 6).await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_say_what_it_has_left_bounds_the_pool_by_refusing() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut admin = cluster.connect(0).await.unwrap();
    let mute = "CREATE ROLE guest LOGIN PASSWORD 'guest'; REVOKE SELECT ON pg_stat_database FROM PUBLIC";
    admin.batch_execute(mute).await.unwrap();
    let pool = open(&as_guest(&cluster), adaptive(20));
    let callers = Callers::of(&pool, 50, "SELECT pg_sleep(0.02)");
    until("it has grown", async || pool.status().max >= 18).await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_work_gets_half_of_the_limit_at_most() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), adaptive(40));
    let (one, two) = (pool.background().get().await.unwrap(), pool.background().get().await.unwrap());
    // The limit is four: two places, though half of forty would be twenty.
    let third = tokio::spawn({
        let pool = pool.background();
        async move { pool.get().await.map(drop) }
    });
    until("the third waits", async || pool.status().waiting == 1).await;
    let interactive = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(one);
    third.await.unwrap().unwrap();
    drop((two, interactive));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_shut_down_closes_what_is_parked() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), adaptive(12));
    let callers = Callers::of(&pool, 24, "SELECT pg_sleep(0.02)");
    until("it tries a smaller limit", async || pool.status().max > 6 && pool.status().parked > 0).await;
    callers.end().await;
    let drained = pool.shutdown(Duration::from_secs(10)).await;
    assert!(drained.is_clean(), "{drained:?}");
    assert_eq!(pool.status().open, 0);
}

fn as_guest(cluster: &Cluster) -> String {
    let url: DatabaseUrl = cluster.primary_url().parse().unwrap();
    let (at, name) = (&url.hosts()[0], url.database());
    format!("postgres://guest:guest@{}:{}/{name}", at.host(), at.port())
}
