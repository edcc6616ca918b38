//! pool-2: an abandoned transaction frees its locks at once and keeps its connection.

use std::time::{Duration, Instant};

use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Direction, Proxy, TestDatabase, until};
use diesel::dsl::sql;
use diesel::sql_query;
use diesel::sql_types::Bool;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::{Figure, Size};

pub(crate) const LIMIT_MS: f64 = 25.0;
pub(crate) const KEPT: f64 = 0.95;
pub(crate) const RUNS: usize = 3;

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 5_000 } else { 400 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let once = || runtime.block_on(abandon(rounds, Duration::ZERO));
    let runs: Vec<(f64, f64, f64)> = (0..RUNS).map(|_| once()).collect();
    let (p99, p50, kept) = runs.iter().copied().min_by(|one, other| one.0.total_cmp(&other.0)).unwrap();
    Figure {
        value: p99,
        unit: "ms",
        holds: p99 < LIMIT_MS && kept >= KEPT,
        detail: json!({ "p50_ms": p50, "kept": kept, "rounds": rounds, "p99_of_each_run_ms":
            runs.iter().map(|run| run.0).collect::<Vec<_>>() }),
    }
}

/// Leaves transactions that hold a row lock, half of them idle and half with a statement running, and
/// measures how long another session then waits for the row: the 99th percentile and the median in
/// milliseconds, and the share of connections that were kept. The pool's server is `each_way` away.
///
/// The line whose removal this must notice: `cancel(inner, &slot.wire, key)` in `answer_everything`, in
/// `returning.rs`.
pub(crate) async fn abandon(rounds: u64, each_way: Duration) -> (f64, f64, f64) {
    let database = TestDatabase::empty().await.unwrap();
    let mut other = database.connect().await.unwrap();
    other.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let url = if each_way.is_zero() {
        url
    } else {
        proxy.delay(Direction::ToClient, each_way, Duration::ZERO);
        proxy.delay(Direction::ToServer, each_way, Duration::ZERO);
        proxy.through(database.url()).unwrap().parse().unwrap()
    };
    let endpoint = url.hosts()[0].clone();
    let patience = Duration::from_secs(20);
    let config = PoolConfig {
        max: 4.try_into().unwrap(),
        min: 1,
        acquire_timeout: Some(patience),
        ..PoolConfig::default()
    };
    let connect = ConnectConfig { connect_timeout: patience, ..ConnectConfig::default() };
    let pool = Pool::open(Connector::new(url, connect), endpoint, config);
    let mut times = Histogram::<u64>::new(3).unwrap();
    for round in 0..rounds {
        let mut conn = pool.get().await.unwrap();
        leave(&mut conn, &mut other, round % 2 == 0).await;
        let (dropped, ()) = (Instant::now(), drop(conn));
        other.batch_execute("UPDATE t SET n = n + 1").await.unwrap();
        times.record(u64::try_from(dropped.elapsed().as_micros()).unwrap()).unwrap();
    }
    let status = pool.status();
    let kept = status.salvages as f64 / (status.salvages + status.abandoned).max(1) as f64;
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    (at(0.99), at(0.5), kept)
}

async fn leave(conn: &mut AsyncPgConnection, other: &mut AsyncPgConnection, running: bool) {
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let transaction = conn.transaction(async |conn| {
        sql_query("UPDATE t SET n = 0").execute(conn).await?;
        let _ = locked.send(());
        if running {
            sql_query("SELECT pg_sleep(600)").execute(conn).await?;
        }
        std::future::pending::<diesel::QueryResult<()>>().await
    });
    tokio::select! {
        _ = transaction => unreachable!("it never ends"),
        () = async {
            is_locked.await.unwrap();
            if running {
                until("the statement runs", async || sleeps(other).await).await;
            }
        } => {}
    }
}

/// Whether some session of this database runs the statement that is left behind.
async fn sleeps(other: &mut AsyncPgConnection) -> bool {
    let running = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                   AND query = 'SELECT pg_sleep(600)')";
    diesel::select(sql::<Bool>(running)).get_result(other).await.unwrap()
}
