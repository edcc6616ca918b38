//! Time is measured, not assumed: what is slow is not taken for stopped, and what is in vain is not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::{DatabaseUrl, LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Cluster, Direction, Proxy, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;

use crate::{number, open, pool_config};

fn proxy(url: &str) -> (Proxy, String) {
    let parsed: DatabaseUrl = url.parse().unwrap();
    let proxy = Proxy::start((parsed.hosts()[0].host(), parsed.hosts()[0].port())).unwrap();
    let through = proxy.through(url).unwrap();
    (proxy, through)
}

fn slow_by(proxy: &Proxy, each_way: Duration) {
    proxy.delay(Direction::ToClient, each_way, Duration::ZERO);
    proxy.delay(Direction::ToServer, each_way, Duration::ZERO);
}

#[tokio::test]
async fn a_commit_that_waits_for_its_standby_is_not_cancelled() {
    let cluster = Cluster::builder().setting("synchronous_standby_names", "absent").start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute("SET synchronous_commit = local; CREATE TABLE t (n int)").await.unwrap();
    let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let config = PoolConfig { salvage_timeout: Duration::from_millis(300), ..pool_config(2) };
    let pool = open(&cluster.primary_url(), config);
    for (round, commit) in [(1, "COMMIT"), (2, "INSERT INTO t VALUES (2); end")] {
        let mut conn = pool.get().await.unwrap();
        conn.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        tokio::select! {
            ended = conn.batch_execute(commit) => panic!("it was not to end: {ended:?}"),
            () = until("it waits", async || number(&mut owner, waiting).await == round) => {}
        }
        drop(conn);
        until("it is closed", async || pool.status().abandoned == round.cast_unsigned()).await;
        assert_eq!(number(&mut owner, waiting).await, round, "the server goes on waiting");
    }
}

#[tokio::test]
async fn nothing_is_cancelled_where_nothing_is_unanswered() {
    let database = TestDatabase::empty().await.unwrap();
    let (proxy, through) = proxy(database.url());
    slow_by(&proxy, Duration::from_millis(10));
    let pool = open(&through, pool_config(1));
    for round in 1..=20 {
        let mut conn = pool.get().await.unwrap();
        conn.batch_execute("BEGIN; SET search_path = evil").await.unwrap();
        drop(conn);
        until("it is back", async || pool.status().salvages == round).await;
    }
    assert_eq!(proxy.counters().accepted, 1, "that of the pool, and none to cancel");
    assert_eq!(pool.status().creates(), 1);
}

#[tokio::test]
async fn a_long_statement_costs_few_knocks() {
    let database = TestDatabase::empty().await.unwrap();
    let (proxy, through) = proxy(database.url());
    let pool = open(&through, pool_config(1));
    pool.get().await.unwrap().batch_execute("SELECT pg_sleep(3)").await.unwrap();
    let knocks = proxy.counters().accepted - 1;
    assert!((1..=2).contains(&knocks), "{knocks} knocks");
}

#[derive(Default)]
struct Stalls(AtomicU64);

impl Observe for Stalls {
    fn on_link(&self, event: &LinkEvent<'_>) {
        self.0.fetch_add(u64::from(matches!(event, LinkEvent::Stalled { .. })), Ordering::Relaxed);
    }

    fn on_query(&self, _: &QueryEvent<'_>) {}
}

#[tokio::test]
async fn a_healthy_server_far_away_is_not_taken_for_stopped() {
    let database = TestDatabase::empty().await.unwrap();
    let (proxy, through) = proxy(database.url());
    slow_by(&proxy, Duration::from_millis(220));
    let url: DatabaseUrl = through.parse().unwrap();
    let (endpoint, stalls) = (url.hosts()[0].clone(), Arc::new(Stalls::default()));
    let connector = Connector::new(url, ConnectConfig::default());
    let connector = connector.observed_by([Arc::clone(&stalls) as Arc<dyn Observe>]);
    let config = PoolConfig { check_after: Some(Duration::ZERO), ..pool_config(1) };
    let pool = Pool::open(connector, endpoint, config);
    for sql in ["SELECT 1", "SELECT pg_sleep(2)", "BEGIN; SET search_path = evil"] {
        pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    }
    pool.get().await.unwrap();
    let status = pool.status();
    assert_eq!((status.creates(), status.destroys, status.abandoned), (1, 0, 0));
    assert_eq!(AtomicU64::load(&stalls.0, Ordering::Relaxed), 0);
}

/// One thread does everything, and is busy with work of its own for most of the time.
#[tokio::test]
async fn a_busy_runtime_does_not_take_the_server_for_stopped() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let (endpoint, stalls) = (url.hosts()[0].clone(), Arc::new(Stalls::default()));
    let connector = Connector::new(url, ConnectConfig::default());
    let connector = connector.observed_by([Arc::clone(&stalls) as Arc<dyn Observe>]);
    let pool = Pool::open(connector, endpoint, pool_config(1));
    let mut conn = pool.get().await.unwrap();
    let busy = tokio::spawn(async {
        loop {
            let until = std::time::Instant::now() + Duration::from_millis(700);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    });
    conn.batch_execute("SELECT pg_sleep(6)").await.unwrap();
    busy.abort();
    assert_eq!(AtomicU64::load(&stalls.0, Ordering::Relaxed), 0);
    assert_eq!(pool.status().creates(), 1);
}

#[tokio::test]
async fn connections_of_a_stopped_server_are_closed_idle_or_not() {
    let cluster = Cluster::builder().start().await.unwrap();
    let pool = open(&cluster.primary_url(), pool_config(3));
    let (mut busy, idle) =
        (pool.get().await.unwrap(), (pool.get().await.unwrap(), pool.get().await.unwrap()));
    drop(idle);
    cluster.pause(0).await.unwrap();
    let asking = tokio::spawn(async move {
        busy.batch_execute("SELECT 1").await.unwrap();
        busy
    });
    until("it is noticed", async || pool.status().stalled).await;
    assert_eq!((pool.status().open, pool.status().idle), (1, 0), "what is idle is closed at once");
    cluster.resume(0).await.unwrap();
    let busy = asking.await.unwrap();
    until("it is found again", async || !pool.status().stalled).await;
    drop(busy);
    assert_eq!(pool.status().open, 0, "what was in use is closed when it comes back");
}

#[tokio::test]
async fn a_server_that_left_a_request_unanswered_is_asked_although_nobody_waits() {
    let database = TestDatabase::empty().await.unwrap();
    let (proxy, through) = proxy(database.url());
    let config = PoolConfig { salvage_timeout: Duration::from_millis(20), ..pool_config(1) };
    let pool = open(&through, config);
    let mut conn = pool.get().await.unwrap();
    proxy.stall();
    let begun = Instant::now();
    assert!(tokio::time::timeout(Duration::from_millis(20), conn.batch_execute("SELECT 1")).await.is_err());
    drop(conn);
    until("it is noticed", async || pool.status().stalled).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    proxy.heal();
    until("it is found again", async || !pool.status().stalled).await;
}
