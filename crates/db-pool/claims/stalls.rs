//! pool-7: a server that is stopped, or that accepts and says nothing, is noticed at once and holds nobody up.

use std::time::{Duration, Instant};

use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Cluster, Proxy, TestDatabase, until};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

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
    let pool = open(&cluster.primary_url());
    let mut measured = Vec::new();
    for _ in 0..rounds {
        serve(&pool).await;
        let tasks = start(&pool, "SELECT pg_sleep(0.02)");
        until("tasks are at work", async || pool.status().in_use() > 0).await;
        cluster.pause(0).await.unwrap();
        let begun = Instant::now();
        until("it is noticed", async || pool.status().stalled).await;
        let noticed_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let stuck = stuck(tasks).await;
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
        let pool = open(&through);
        let begun = Instant::now();
        let tasks = start(&pool, "SELECT 1");
        until("it is noticed", async || pool.status().stalled).await;
        let noticed_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        measured.push(Round { noticed_ms, stuck: stuck(tasks).await });
        proxy.heal();
        serve(&pool).await;
    }
    measured
}

fn open(url: &str) -> Pool {
    let url: db_core::DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let connect = ConnectConfig { connect_timeout: Duration::from_secs(2), ..ConnectConfig::default() };
    let config =
        PoolConfig { max: 4.try_into().unwrap(), acquire_timeout: Some(DEADLINE), ..PoolConfig::default() };
    Pool::open(Connector::new(url, connect), endpoint, config)
}

/// The pool hands out a connection that works.
async fn serve(pool: &Pool) {
    until("the pool serves", async || match pool.get().await {
        Ok(mut conn) => conn.batch_execute("SELECT 1").await.is_ok(),
        Err(_) => false,
    })
    .await;
}

/// Tasks that work until something fails or their deadline passes; each says how long its last piece of work took.
fn start(pool: &Pool, sql: &'static str) -> Vec<tokio::task::JoinHandle<Duration>> {
    (0..TASKS).map(|_| tokio::spawn(work(pool.clone(), sql))).collect()
}

async fn work(pool: Pool, sql: &'static str) -> Duration {
    loop {
        let begun = Instant::now();
        let piece = async {
            let mut conn = pool.get().await.ok()?;
            sql_query(sql).execute(&mut conn).await.ok()
        };
        if !matches!(tokio::time::timeout(DEADLINE, piece).await, Ok(Some(_))) {
            return begun.elapsed();
        }
    }
}

async fn stuck(tasks: Vec<tokio::task::JoinHandle<Duration>>) -> usize {
    let mut stuck = 0;
    for task in tasks {
        stuck += usize::from(task.await.unwrap() > DEADLINE + SLACK);
    }
    stuck
}
