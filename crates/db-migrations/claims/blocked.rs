//! A migration that must wait for a table, and the traffic on it meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_migrations::MigratorConfig;
use db_testkit::{TestDatabase, until};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::fixture::{migrations, migrator, number, runtime};
use crate::{Figure, Size};

const RUNS: usize = 3;
const READERS: usize = 4;
const BLOCKED: &str = "BEGIN; SELECT count(*) FROM people; SELECT pg_sleep(6); COMMIT";
const SLACK_MS: f64 = 50.0;
const DONE_WITHIN_MS: f64 = 1_000.0;

struct Run {
    worst_read_ms: f64,
    reads: usize,
    /// From the blocker's end to the migration's.
    done_after_ms: f64,
}

pub(crate) fn measure(_: Size) -> Figure {
    let limit = MigratorConfig::default().lock_timeout.as_secs_f64() * 1_000.0 + SLACK_MS;
    let runs: Vec<Run> = (0..RUNS).map(|_| runtime().block_on(one())).collect();
    let worst = |run: &Run| run.worst_read_ms;
    let best = runs.iter().map(worst).fold(f64::INFINITY, f64::min);
    let holds = runs.iter().any(|run| run.worst_read_ms <= limit && run.done_after_ms <= DONE_WITHIN_MS);
    let shown: Vec<Value> = runs
        .iter()
        .map(|run| json!({ "worst_read_ms": run.worst_read_ms, "reads": run.reads, "done_after_ms": run.done_after_ms }))
        .collect();
    Figure { value: best, unit: "ms", holds, detail: json!({ "limit_ms": limit, "runs": shown }) }
}

async fn one() -> Run {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people SELECT generate_series(1, 1000)",
    )
    .await
    .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (conn, stop) = (database.connect().await.unwrap(), Arc::clone(&stop));
        readers.push(tokio::spawn(read(conn, stop)));
    }
    let mut blocker = database.connect().await.unwrap();
    let blocking = tokio::spawn(async move {
        blocker.batch_execute(BLOCKED).await.unwrap();
        Instant::now()
    });
    let sleeping = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'BEGIN; SELECT count%' \
                    AND wait_event = 'PgSleep' AND datname = current_database()";
    until("the blocker holds its lock", async || number(&mut conn, sleeping).await == 1).await;
    let column = migrations(&[("1_column/up.sql", "ALTER TABLE people ADD COLUMN born date")]);
    migrator(column).apply(&mut conn, |_| ()).await.unwrap();
    let done = Instant::now();
    let freed = blocking.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let (mut worst, mut reads) = (Duration::ZERO, 0);
    for reader in readers {
        let (slowest, count) = reader.await.unwrap();
        (worst, reads) = (worst.max(slowest), reads + count);
    }
    Run {
        worst_read_ms: worst.as_secs_f64() * 1_000.0,
        reads,
        done_after_ms: done.saturating_duration_since(freed).as_secs_f64() * 1_000.0,
    }
}

/// Reads until it is stopped; says how long the slowest read took, and how many there were.
async fn read(mut conn: AsyncPgConnection, stop: Arc<AtomicBool>) -> (Duration, usize) {
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        let started = Instant::now();
        conn.batch_execute("SELECT * FROM people WHERE id = 500").await.unwrap();
        slowest = slowest.max(started.elapsed());
        count += 1;
        // A reader in a service does other things too; two cores serve all of them and the server.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (slowest, count)
}
