//! A backfill of a large table: alone, beside an application, and killed at random points.

use std::future::pending;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_migrations::backfill::{Backfill, BackfillConfig, BackfillOutcome, Fill};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::fixture::{number, runtime};
use crate::{Figure, Size};

/// The word that makes this program run a backfill: it is what gets killed.
pub(crate) const CHILD: &str = "backfill";

const ROWS: u32 = 2_000_000;
const ROWS_A_SECOND: f64 = 30_000.0;
const MOST_SLOWDOWN: f64 = 2.0;
const CLIENTS: u64 = 4;
const WINDOW: Duration = Duration::from_secs(6);

/// Keys have gaps, and each row counts how often it was filled.
fn table(rows: u32) -> String {
    format!(
        "DROP TABLE IF EXISTS people; CREATE TABLE people (id bigint PRIMARY KEY, email text NOT NULL, \
         filled int NOT NULL DEFAULT 0, touched int NOT NULL DEFAULT 0); \
         INSERT INTO people SELECT n * 3, 'Person' || n || '@example.org' FROM generate_series(1, {rows}) AS n"
    )
}

/// What the filling of the table leaves to others is done.
async fn settle(conn: &mut AsyncPgConnection) {
    conn.batch_execute("VACUUM (ANALYZE) people").await.unwrap();
    conn.batch_execute("CHECKPOINT").await.unwrap();
}

fn backfill() -> Backfill {
    Backfill::new("people", [Fill::new("filled", "filled + 1")]).only("true")
}

async fn run(url: &str, stop: impl Future<Output = ()> + Send) -> BackfillOutcome {
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let probes = AsyncPgConnection::establish(url).await.unwrap();
    backfill().run(&mut conn, Some(probes), &BackfillConfig::default(), stop, |_| ()).await.unwrap()
}

pub(crate) fn child(url: &str) -> ExitCode {
    runtime().block_on(run(url, pending()));
    ExitCode::SUCCESS
}

pub(crate) fn measure(size: Size) -> Figure {
    let (pairs, kills) = if size == Size::Nightly { (10, 40) } else { (5, 10) };
    runtime().block_on(async {
        let cluster = Cluster::builder().start().await.unwrap();
        let url = cluster.primary_url();
        let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
        conn.batch_execute(&table(ROWS)).await.unwrap();
        settle(&mut conn).await;
        let alone = run(&url, pending()).await;
        let rate = f64::from(ROWS) / alone.elapsed.as_secs_f64();
        let all_alone = once(&mut conn, ROWS, 1).await;
        eprintln!("maintenance-3: {rate:.0} rows a second alone");

        let (slowdowns, seen_under_load) = beside_an_application(&url, &mut conn, pairs).await;
        let mut sorted = slowdowns.clone();
        sorted.sort_by(f64::total_cmp);
        let slowdown = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::INFINITY);
        eprintln!("maintenance-3: p99 {slowdown:.2} times the baseline under load");

        let (killed, wrong) = killed_at_random(&url, &mut conn, kills).await;
        let late = under_inserts(&url, &mut conn).await;
        Figure {
            value: rate,
            unit: "rows a second",
            holds: all_alone
                && rate >= ROWS_A_SECOND
                && slowdown <= MOST_SLOWDOWN
                && seen_under_load > 0
                && wrong == 0
                && killed * 2 > kills
                && late,
            detail: json!({
                "rows": ROWS,
                "p99_under_load_times_the_baseline": slowdowns,
                "rows_looked_at_under_load": seen_under_load,
                "kills": kills,
                "killed_before_the_end": killed,
                "rows_filled_twice_or_never_after_kills": wrong,
                "ended_under_inserts": late,
            }),
        }
    })
}

/// Whether each of so many rows was filled so often.
async fn once(conn: &mut AsyncPgConnection, rows: u32, times: u32) -> bool {
    let sql = format!("SELECT count(*) AS n FROM people WHERE filled = {times}");
    number(conn, &sql).await == i64::from(rows)
}

/// Windows with and without a backfill, in turn: the p99 of the application's statements in each.
async fn beside_an_application(url: &str, conn: &mut AsyncPgConnection, pairs: usize) -> (Vec<f64>, i64) {
    conn.batch_execute("DELETE FROM __db_backfills").await.unwrap();
    settle(conn).await;
    let (mut slowdowns, mut seen) = (Vec::new(), 0);
    for pair in 0..=pairs {
        let before = application(url, tokio::time::sleep(WINDOW)).await;
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let beside = async {
            let stop = async move {
                let _ = told.await;
            };
            let running = run(url, stop);
            let timing = async {
                tokio::time::sleep(WINDOW).await;
                let _ = tell.send(());
            };
            let (outcome, ()) = tokio::join!(running, timing);
            seen = outcome.rows_seen;
        };
        let with = application(url, beside).await;
        // The first pair warms up.
        if pair > 0 {
            slowdowns.push(with.as_secs_f64() / before.as_secs_f64());
        }
    }
    (slowdowns, seen)
}

/// The p99 of reads and writes by key of some clients, while something lasts.
async fn application(url: &str, lasts: impl Future<Output = ()>) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let mut conn = AsyncPgConnection::establish(url).await.unwrap();
        let stop = Arc::clone(&stop);
        clients.push(tokio::spawn(async move {
            let (mut random, mut took) = (StdRng::seed_from_u64(client), Vec::new());
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let id = random.random_range(1..=ROWS) * 3;
                let sql = match random.random_range(0..4) {
                    0 => format!("UPDATE people SET touched = touched + 1 WHERE id = {id}"),
                    _ => format!("SELECT * FROM people WHERE id = {id}"),
                };
                let started = Instant::now();
                conn.batch_execute(&sql).await.unwrap();
                took.push(started.elapsed());
                // A client in a service does other things too; two cores serve all of them and the server.
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
            took
        }));
    }
    lasts.await;
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// kill -9 of the program, and the same command again until it ends: how many kills hit, and the rows that
/// are not filled exactly once.
async fn killed_at_random(url: &str, conn: &mut AsyncPgConnection, kills: usize) -> (usize, i64) {
    // So many that the backfill lasts longer than the program lives.
    let rows = 1_000_000;
    conn.batch_execute(&format!("{}; DELETE FROM __db_backfills", table(rows))).await.unwrap();
    settle(conn).await;
    let (mut random, mut killed) = (StdRng::seed_from_u64(3), 0);
    for _ in 0..kills {
        let mut child = start(url);
        tokio::time::sleep(Duration::from_millis(random.random_range(700..1_600))).await;
        if child.try_wait().unwrap().is_none() {
            killed += 1;
            child.kill().unwrap();
        }
        child.wait().unwrap();
        let finished = "SELECT count(*) AS n FROM __db_backfills WHERE finished_at IS NOT NULL";
        if number(conn, finished).await > 0 {
            break;
        }
    }
    let finished = "SELECT count(*) AS n FROM __db_backfills WHERE finished_at IS NOT NULL";
    if number(conn, finished).await == 0 {
        assert!(start(url).wait().unwrap().success(), "a run that nobody disturbs");
    }
    (killed, number(conn, "SELECT count(*) AS n FROM people WHERE filled <> 1").await)
}

fn start(url: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CHILD, url]).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether it ends, with every row filled that was there before, while rows are inserted without a pause.
async fn under_inserts(url: &str, conn: &mut AsyncPgConnection) -> bool {
    let rows = 200_000;
    conn.batch_execute(&format!("{}; DELETE FROM __db_backfills", table(rows))).await.unwrap();
    settle(conn).await;
    let mut writer = AsyncPgConnection::establish(url).await.unwrap();
    let (tell, mut told) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut id = i64::from(rows) * 3;
        while told.try_recv().is_err() {
            let insert =
                format!("INSERT INTO people SELECT {id} + n, 'new' FROM generate_series(1, 200) AS n");
            writer.batch_execute(&insert).await.unwrap();
            id += 200;
        }
        id
    });
    let outcome = run(url, pending()).await;
    tell.send(()).unwrap();
    let grew = writing.await.unwrap() - i64::from(rows) * 3;
    let old = format!("SELECT count(*) AS n FROM people WHERE id <= {rows} * 3 AND filled <> 1");
    outcome.finished && grew > 0 && number(conn, &old).await == 0
}
