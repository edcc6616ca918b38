//! pool-12: how far away a server is changes how long things take, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::{LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Direction, Proxy, TestDatabase};
use diesel_async::SimpleAsyncConnection;
use serde_json::json;
use tokio::sync::Notify;

use crate::abandoned::{KEPT, LIMIT_MS, RUNS, abandon};
use crate::{Figure, Size};

/// Milliseconds each way, and how many transactions are abandoned there: on loopback pool-2 does that.
const DISTANCES: [(u64, u64); 4] = [(0, 0), (5, 60), (50, 30), (220, 10)];
/// What an abandoned transaction may cost besides, at a distance.
const ROUND_TRIPS: u32 = 4;
const MOST_KNOCKS: u64 = 6;
const NOTICED: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Ear {
    stalls: AtomicU64,
    stalled: Notify,
}

impl Observe for Ear {
    fn on_link(&self, event: &LinkEvent<'_>) {
        if matches!(event, LinkEvent::Stalled { .. }) {
            self.stalls.fetch_add(1, Ordering::Relaxed);
            self.stalled.notify_one();
        }
    }

    fn on_query(&self, _: &QueryEvent<'_>) {}
}

struct Seen {
    false_stalls: u64,
    knocks: u64,
    destroyed: u64,
    noticed: Duration,
}

pub(crate) fn measure(size: Size) -> Figure {
    let (load, statement) = if size == Size::Nightly { (600, 60) } else { (15, 6) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut wrong, mut rows) = (0, Vec::new());
    for (each_way, rounds) in DISTANCES {
        let (load, each_way) = (Duration::from_secs(load), Duration::from_millis(each_way));
        let seen = runtime.block_on(at(each_way, load, statement));
        let rounds = if size == Size::Nightly { rounds * 10 } else { rounds };
        let (p99, p50, kept) = match rounds {
            0 => (0.0, 0.0, 1.0),
            rounds => {
                let runs = (0..RUNS).map(|_| runtime.block_on(abandon(rounds, each_way)));
                runs.min_by(|one, other| one.0.total_cmp(&other.0)).unwrap()
            }
        };
        let limit = LIMIT_MS + (each_way * 2 * ROUND_TRIPS).as_secs_f64() * 1_000.0;
        wrong += u64::from(p99 >= limit) + u64::from(kept < KEPT);
        let late = seen.noticed > NOTICED + each_way * 2 * 6;
        wrong += seen.false_stalls + seen.destroyed + u64::from(seen.knocks > MOST_KNOCKS) + u64::from(late);
        rows.push(json!({
            "each_way_ms": each_way.as_millis(), "false_stalls": seen.false_stalls, "knocks": seen.knocks,
            "destroyed": seen.destroyed, "noticed_ms": seen.noticed.as_millis(),
            "abandoned": { "rounds": rounds, "p50_ms": p50, "p99_ms": p99, "limit_ms": limit, "kept": kept },
        }));
    }
    let unit = "healthy servers called stalled, connections lost, knocks too many, stops noticed late, locks freed late";
    Figure { value: wrong as f64, unit, holds: wrong == 0, detail: json!(rows) }
}

/// The line whose removal this must notice: the round trips in `RoundTrip::patience`.
async fn at(each_way: Duration, load: Duration, statement: u64) -> Seen {
    let database = TestDatabase::empty().await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.delay(Direction::ToClient, each_way, Duration::ZERO);
    proxy.delay(Direction::ToServer, each_way, Duration::ZERO);
    let url: db_core::DatabaseUrl = proxy.through(database.url()).unwrap().parse().unwrap();
    let (endpoint, ear) = (url.hosts()[0].clone(), Arc::new(Ear::default()));
    let connect = ConnectConfig {
        connect_timeout: Duration::from_secs(20),
        statement_timeout: None,
        ..ConnectConfig::default()
    };
    let connector = Connector::new(url, connect).observed_by([Arc::clone(&ear) as Arc<dyn Observe>]);
    let config = PoolConfig {
        max: 4.try_into().unwrap(),
        acquire_timeout: Some(Duration::from_secs(20)),
        ..PoolConfig::default()
    };
    let pool = Pool::open(connector, endpoint, config);

    let before = (pool.status(), proxy.counters().accepted);
    let slow = format!("SELECT pg_sleep({statement})");
    pool.get().await.unwrap().batch_execute(&slow).await.unwrap();
    let after = (pool.status(), proxy.counters().accepted);
    let knocks = (after.1 - before.1).saturating_sub(after.0.creates() - before.0.creates());

    let stop = Arc::new(AtomicBool::new(false));
    let texts = ["SELECT 1", "SELECT pg_sleep(0.4)", "BEGIN; SET search_path = evil", "SET lock_timeout = 7"];
    let callers: Vec<_> = texts
        .iter()
        .cycle()
        .take(8)
        .map(|sql| tokio::spawn(work(pool.clone(), sql, Arc::clone(&stop))))
        .collect();
    let until_then = tokio::time::Instant::now() + load;
    tokio::time::sleep_until(until_then).await;
    let (false_stalls, destroyed) = (AtomicU64::load(&ear.stalls, Ordering::Relaxed), pool.status().destroys);
    proxy.stall();
    let begun = Instant::now();
    let noticed = tokio::time::timeout(Duration::from_secs(30), ear.stalled.notified()).await;
    let noticed = if noticed.is_ok() { begun.elapsed() } else { Duration::MAX };
    stop.store(true, Ordering::Relaxed);
    proxy.heal();
    for caller in callers {
        caller.await.unwrap();
    }
    Seen { false_stalls, knocks, destroyed, noticed }
}

async fn work(pool: Pool, sql: &'static str, stop: Arc<AtomicBool>) {
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        if let Ok(mut conn) = pool.get().await {
            let _ = conn.batch_execute(sql).await;
        }
    }
}
