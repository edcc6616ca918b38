//! kill -9 of a runner, or of its server process, and the boot after it.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use db_migrations::check::Fingerprint;
use db_migrations::{MigrationError, Migrations};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::fixture::{migrations, migrator, number, runtime};
use crate::{Figure, Size};

/// The word that makes this program boot once: it is what gets killed.
pub(crate) const CHILD: &str = "boot";

/// So many rows that a build takes a while, and some statements of every kind that can be cut off.
const FILES: &[(&str, &str)] = &[
    (
        "1_rows/up.sql",
        "CREATE TABLE rows AS SELECT id, id % 1000 AS kind, md5(id::text) AS name FROM generate_series(1, 60000) AS id",
    ),
    (
        "2_mixed/up.sql",
        "SET work_mem = '8MB'; ALTER TABLE rows ADD COLUMN more int DEFAULT 1; \
                        CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS rows_id ON rows (id); \
                        CREATE TABLE log (at int); INSERT INTO log VALUES (1); CREATE INDEX CONCURRENTLY ON rows (name)",
    ),
    (
        "3_swap/up.sql",
        "CREATE INDEX CONCURRENTLY rows_kind ON rows (kind, name); DROP INDEX CONCURRENTLY rows_id; \
                       INSERT INTO log VALUES (2); REINDEX INDEX CONCURRENTLY rows_kind; VACUUM rows",
    ),
    ("3_swap/metadata.toml", "run_in_transaction = false"),
    (
        "4_parts/up.sql",
        "CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); \
                        ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY; INSERT INTO log VALUES (3)",
    ),
    (
        "5_unique/up.sql",
        "CREATE UNIQUE INDEX CONCURRENTLY rows_name ON rows (name, id); INSERT INTO log VALUES (4)",
    ),
    ("R__view.sql", "CREATE OR REPLACE VIEW kinds AS SELECT kind, count(*) FROM rows GROUP BY kind"),
];

const INVALID: &str = "SELECT count(*) AS n FROM pg_index WHERE NOT indisvalid";

/// What must be the same in the end: rows that were inserted twice would be a statement that ran twice.
const CONTENT: &str = "SELECT count(*) * 1000000 + (SELECT count(*) FROM log) * 1000 + (SELECT sum(at) FROM log) AS n FROM rows";

#[derive(Default)]
struct Tally {
    failed: Vec<String>,
    different: usize,
    invalid: usize,
    /// Where the kills hit: what the next boot found.
    before_the_end: usize,
    within_a_migration: usize,
    invalid_left: usize,
    slowest_boot_ms: f64,
}

pub(crate) fn boot(url: &str) -> ExitCode {
    let result = runtime().block_on(async {
        let mut conn = AsyncPgConnection::establish(url).await.map_err(|error| error.to_string())?;
        migrator(set()).apply(&mut conn, |_| ()).await.map_err(|error| error.to_string())
    });
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn set() -> Migrations {
    migrations(FILES)
}

fn child(url: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CHILD, url]).stderr(Stdio::null()).spawn().unwrap()
}

pub(crate) fn measure(size: Size) -> Figure {
    let points = if size == Size::Nightly { 200 } else { 100 };
    let tally = runtime().block_on(all(points));
    let wrong = tally.failed.len() + tally.different + tally.invalid;
    Figure {
        value: wrong as f64,
        unit: "failed boots, different schemas and INVALID indexes",
        // Kills that hit nothing would prove nothing.
        holds: wrong == 0 && tally.before_the_end * 2 > points && tally.within_a_migration * 8 > points,
        detail: json!({
            "points": points,
            "failed": tally.failed,
            "different": tally.different,
            "invalid": tally.invalid,
            "killed_before_the_end": tally.before_the_end,
            "killed_within_a_migration": tally.within_a_migration,
            "invalid_indexes_left_by_the_kill": tally.invalid_left,
            "slowest_next_boot_ms": tally.slowest_boot_ms,
        }),
    }
}

async fn all(points: usize) -> Tally {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut random = StdRng::seed_from_u64(2);
    let (url, _) = database(&cluster, "whole").await;
    let started = Instant::now();
    assert!(child(&url).wait().unwrap().success(), "a boot that nobody disturbs");
    let whole = started.elapsed();
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    let expected = (Fingerprint::of(&mut conn).await.unwrap(), number(&mut conn, CONTENT).await);
    drop(conn);
    let mut tally = Tally::default();
    for point in 0..points {
        let (url, name) = database(&cluster, &format!("point_{point}")).await;
        let after = whole.mul_f64(random.random_range(0.02..1.0));
        if point % 2 == 0 {
            kill_client(&url, after).await
        } else {
            kill_backend(&cluster, &url, &name, after).await
        }
        look(&mut tally, &cluster, &url).await;
        next_boot(&mut tally, &url, &expected).await;
        connect(&cluster).await.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        eprintln!("migrations-2: point {} of {points}", point + 1);
    }
    tally
}

async fn kill_client(url: &str, after: Duration) {
    let mut child = child(url);
    // The point is in the runner's time, which nothing but a clock can name.
    tokio::time::sleep(after).await;
    let _ = child.kill();
    child.wait().unwrap();
}

/// kill -9 of the runner's server process: the postmaster then restarts the whole server.
async fn kill_backend(cluster: &Cluster, url: &str, name: &str, after: Duration) {
    let mut observer = connect(cluster).await;
    let mut child = child(url);
    tokio::time::sleep(after).await;
    let pid =
        format!("SELECT coalesce(max(pid), 0)::bigint AS n FROM pg_stat_activity WHERE datname = '{name}'");
    let pid = number(&mut observer, &pid).await;
    if pid > 0 {
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success();
        // It may have ended by itself just now; else the server ends all sessions before it recovers.
        while killed && observer.batch_execute("SELECT 1").await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    child.wait().unwrap();
}

/// Counts what the kill left behind.
async fn look(tally: &mut Tally, cluster: &Cluster, url: &str) {
    connect(cluster).await;
    let mut conn = patiently(url).await;
    tally.invalid_left += usize::from(number(&mut conn, INVALID).await > 0);
    let under_way = "SELECT count(*) AS n FROM pg_class WHERE relname = '__db_migrations_under_way'";
    let mut within = 0;
    if number(&mut conn, under_way).await > 0 {
        within = number(&mut conn, "SELECT count(*) AS n FROM __db_migrations_under_way").await;
    }
    tally.within_a_migration += usize::from(within > 0);
    let plan = migrator(set()).plan(&mut conn).await.unwrap();
    tally.before_the_end += usize::from(!plan.is_empty());
}

async fn next_boot(tally: &mut Tally, url: &str, expected: &(Fingerprint, i64)) {
    let mut conn = patiently(url).await;
    let started = Instant::now();
    let result: Result<_, MigrationError> = migrator(set()).apply(&mut conn, |_| ()).await;
    tally.slowest_boot_ms = tally.slowest_boot_ms.max(started.elapsed().as_secs_f64() * 1_000.0);
    if let Err(error) = result {
        tally.failed.push(error.to_string());
        return;
    }
    tally.invalid += usize::from(number(&mut conn, INVALID).await > 0);
    let found = Fingerprint::of(&mut conn).await.unwrap();
    let same = expected.0.diff(&found).is_empty() && number(&mut conn, CONTENT).await == expected.1;
    tally.different += usize::from(!same);
}

async fn database(cluster: &Cluster, name: &str) -> (String, String) {
    connect(cluster).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let url = cluster.primary_url();
    let (server, _) = url.rsplit_once('/').unwrap();
    (format!("{server}/{name}"), name.to_owned())
}

async fn connect(cluster: &Cluster) -> AsyncPgConnection {
    patiently(&cluster.primary_url()).await
}

/// A connection as soon as the server takes one: after a crash it recovers first.
async fn patiently(url: &str) -> AsyncPgConnection {
    let started = Instant::now();
    loop {
        if let Ok(mut conn) = AsyncPgConnection::establish(url).await
            && conn.batch_execute("SELECT 1").await.is_ok()
        {
            return conn;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the server does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
