//! pool-7: a server that is stopped, or that accepts and says nothing, is noticed at once and holds nobody
//! up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_core::{LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Cluster, Proxy, TestDatabase, until};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::{Figure, Size};

const NOTICED_MS: f64 = 1_000.0;
/// What each task allows itself, and what it may take beyond that on a busy machine.
const DEADLINE: Duration = Duration::from_millis(700);
const SLACK: Duration = Duration::from_millis(300);
const TASKS: usize = 20;

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 20 } else { 3 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (stopped, silent) = runtime.block_on(async { (stopped(rounds).await, silent(rounds).await) });
    let all: Vec<&Round> = stopped.iter().chain(&silent).collect();
    let worst = all.iter().map(|round| round.noticed_ms).fold(0.0, f64::max);
    let stuck: usize = all.iter().map(|round| round.stuck).sum();
    let shown = |rounds: &[Round]| -> Vec<Value> {
        rounds.iter().map(|round| json!({ "noticed_ms": round.noticed_ms, "stuck": round.stuck })).collect()
    };
    Figure {
        value: worst,
        unit: "ms until noticed, the worst",
        holds: worst <= NOTICED_MS && stuck == 0,
        detail: json!({ "stuck": stuck, "stopped": shown(&stopped), "accepts_and_says_nothing": shown(&silent) }),
    }
}

struct Round {
    noticed_ms: f64,
    stuck: usize,
}

/// Stops every process of a server with SIGSTOP while tasks work on it, and lets it go on.
async fn stopped(rounds: usize) -> Vec<Round> {
    let cluster = Cluster::builder().start().await.unwrap();
    let (pool, ear) = open(&cluster.primary_url());
    let mut measured = Vec::new();
    for _ in 0..rounds {
        serve(&pool).await;
        let callers = start(&pool, "SELECT pg_sleep(0.02)");
        until("tasks are at work", async || pool.status().in_use() > 0).await;
        cluster.pause(0).await.unwrap();
        let begun = Instant::now();
        let noticed_ms = ear.hears(begun).await;
        let stuck = stuck(callers).await;
        cluster.resume(0).await.unwrap();
        until("it is noticed that it is back", async || !pool.status().stalled).await;
        measured.push(Round { noticed_ms, stuck });
    }
    serve(&pool).await;
    measured
}

/// A server behind a proxy that goes on accepting and passes nothing on, met by a pool with nothing open.
async fn silent(rounds: usize) -> Vec<Round> {
    let database = TestDatabase::empty().await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let through = proxy.through(database.url()).unwrap();
    let mut measured = Vec::new();
    for _ in 0..rounds {
        proxy.stall();
        let (pool, ear) = open(&through);
        let begun = Instant::now();
        let callers = start(&pool, "SELECT 1");
        let noticed_ms = ear.hears(begun).await;
        measured.push(Round { noticed_ms, stuck: stuck(callers).await });
        proxy.heal();
        serve(&pool).await;
    }
    measured
}

fn open(url: &str) -> (Pool, Arc<Ear>) {
    let url: db_core::DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let connect = ConnectConfig { connect_timeout: Duration::from_secs(2), ..ConnectConfig::default() };
    let config =
        PoolConfig { max: 4.try_into().unwrap(), acquire_timeout: Some(DEADLINE), ..PoolConfig::default() };
    let ear = Arc::new(Ear::default());
    let connector = Connector::new(url, connect).observed_by([Arc::clone(&ear) as Arc<dyn Observe>]);
    (Pool::open(connector, endpoint, config), ear)
}

/// The pool hands out a connection that works.
async fn serve(pool: &Pool) {
    until("the pool serves", async || match pool.get().await {
        Ok(mut conn) => conn.batch_execute("SELECT 1").await.is_ok(),
        Err(_) => false,
    })
    .await;
}

/// Callers who come back: each asks for a connection and works, again and again, until told to stop.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Duration>>,
}

fn start(pool: &Pool, sql: &'static str) -> Callers {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = (0..TASKS).map(|_| tokio::spawn(work(pool.clone(), sql, Arc::clone(&stop)))).collect();
    Callers { stop, tasks }
}

/// The longest that the pool let this caller wait, which nothing but the pool itself bounds.
async fn work(pool: Pool, sql: &'static str, stop: Arc<AtomicBool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        let begun = Instant::now();
        let got = pool.get().await;
        longest = longest.max(begun.elapsed());
        if let Ok(mut conn) = got {
            let _ = tokio::time::timeout(DEADLINE, sql_query(sql).execute(&mut conn)).await;
        }
    }
    longest
}

async fn stuck(callers: Callers) -> usize {
    callers.stop.store(true, Ordering::Relaxed);
    let mut stuck = 0;
    for task in callers.tasks {
        let waited = tokio::time::timeout(DEADLINE * 3, task).await;
        stuck += usize::from(!waited.is_ok_and(|longest| longest.unwrap() <= DEADLINE + SLACK));
    }
    stuck
}

/// Hears that a server has stopped, as a router does.
#[derive(Default)]
struct Ear(Notify);

impl Observe for Ear {
    fn on_link(&self, event: &LinkEvent<'_>) {
        if matches!(event, LinkEvent::Stalled { .. }) {
            self.0.notify_one();
        }
    }

    fn on_query(&self, _: &QueryEvent<'_>) {}
}

impl Ear {
    /// Milliseconds until it is heard; the line whose removal this must notice: `self.stalls.look` in
    /// `upkeep.rs`.
    async fn hears(&self, begun: Instant) -> f64 {
        let heard = tokio::time::timeout(Duration::from_secs(10), self.0.notified()).await;
        heard.map_or(f64::MAX, |()| begun.elapsed().as_secs_f64() * 1_000.0)
    }
}
